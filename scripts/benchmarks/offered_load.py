"""What a chain makes of 25 to 300 % of what it can do: throughput, latency, refusals. An open loop.

Saturation is measured first, in the closed form. Then each share of it is offered for a while whatever comes of it: below
saturation all becomes final and latency counts; above it the rest must be refused with a reason, and what becomes final
must not be less than at saturation.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from typing import Any

from scripts.benchmarks.limits import fsyncs_ms, verifications_by_processes
from scripts.benchmarks.machine import between
from scripts.benchmarks.networks import Loaded, network
from scripts.benchmarks.offering import Offered, closed, opened
from scripts.benchmarks.result import Result, median, percentile, result, short
from scripts.benchmarks.testnets import FRAME

WARMING_S = 5.0
RATE_MAX = 4_000  # transactions of one event made beforehand per second of the closed form
OUTSTANDING = 12
PAUSE_S = 2.0  # between two shares, for what still waits
POINTS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)  # of a distribution of latencies


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=20.0, help="of each share, and of saturation")
    parser.add_argument("--shares", default="25,50,80,100,150,300", help="per cent of saturation")
    parser.add_argument("--validators", default="4", help="one number, or several with commas")
    parser.add_argument("--events", type=int, default=1, help="events per transaction")
    parser.add_argument("--frame", type=int, default=20, help="events per frame of the open loop")
    parser.add_argument("--parts", type=int, default=0, help="that are there before; these are observed")
    parser.add_argument("--repeats", type=int, default=1, help="on a fresh chain each")


def saturation(chain: Loaded, seconds: float, events: int) -> dict[str, Any]:
    """The closed form, after a while of warming."""
    rate, frame = max(200, RATE_MAX // events), max(1, FRAME // events)
    for part in (WARMING_S, seconds):
        waiting = chain.transactions(int(part * rate), events)
        before = chain.moment()
        found = asyncio.run(closed(chain.session, waiting, part, OUTSTANDING, frame))
    return described(chain, found, before, events)


def share(chain: Loaded, seconds: float, rate: float, events: int, frame: int) -> dict[str, Any]:
    """So many transactions per second, open."""
    waiting = chain.transactions(int(seconds * rate) + frame, events)
    before = chain.moment()
    found = asyncio.run(opened(chain.session, waiting, seconds, rate, max(1, frame // events)))
    return described(chain, found, before, events)


def described(chain: Loaded, found: Offered, before: Any, events: int) -> dict[str, Any]:
    """What became of an offer."""
    in_time = sum(moment <= found.seconds for moment in found.final)
    latencies = found.latencies_ms or [0.0]
    return {
        "offered_per_s": short(found.offered * events / found.seconds),
        "final_per_s": short(in_time * events / found.seconds),
        "final": len(found.final),
        "refused": dict(found.refused),
        "refused_part": short(sum(found.refused.values()) / max(1, found.offered)),
        "refusal_ms_p50": short(median(found.refusal_ms)) if found.refusal_ms else None,
        "latency_ms_p50": short(percentile(latencies, 0.5)),
        "latency_ms_p99": short(percentile(latencies, 0.99)),
        "latency_ms": {str(point): short(percentile(latencies, point)) for point in POINTS},
        "per_second": windows(found, events),
        "machine": between(before, chain.moment(), len(found.final), len(chain.nodes)),
    }


def windows(found: Offered, events: int, seconds: float = 5.0) -> list[float]:
    """Final per second in each window of so many seconds while it was offered."""
    counted = Counter(int(moment / seconds) for moment in found.final)
    return [counted[n] * events / seconds for n in range(int(found.seconds / seconds))]


async def _pause() -> None:
    await asyncio.sleep(PAUSE_S)


def sweep(validators: int, chosen: argparse.Namespace) -> dict[str, Any]:
    """Saturation and all shares of it, on a fresh chain."""
    limits = [verifications_by_processes(validators)]
    with network(validators, chosen.parts) as chain:
        full = saturation(chain, chosen.seconds, chosen.events)
        rate = full["final_per_s"] / chosen.events
        shares = []
        for part in map(int, chosen.shares.split(",")):
            asyncio.run(_pause())
            found = share(chain, chosen.seconds, rate * part / 100, chosen.events, chosen.frame)
            shares.append({"share": part} | found)
            _show(validators, shares[-1])
    limits.append(verifications_by_processes(validators))
    return {
        "validators": validators,
        "verifications_per_s_each": [short(limit) for limit in limits],
        "saturation": full,
        "ratio": short(rate / min(limits)),
        "shares": shares,
    }


def measure(chosen: argparse.Namespace) -> Result:
    fsyncs = fsyncs_ms()
    counts = [int(count) for count in chosen.validators.split(",")]
    sweeps = [sweep(count, chosen) for count in counts for _ in range(chosen.repeats)]
    first = [one for one in sweeps if one["validators"] == counts[0]]
    full = [one["saturation"]["final_per_s"] for one in first]
    limit = median([min(one["verifications_per_s_each"]) for one in first])
    return result(
        median(full),
        f"events/s, final, at saturation, {counts[0]} validators",
        limit * chosen.events,
        "verifications/s and process of as many (times events per transaction)",
        full,
        events_per_transaction=chosen.events,
        parts=chosen.parts,
        spread=short((max(full) - min(full)) / median(full)),
        fsync_ms_p50=short(median(fsyncs)),
        sweeps=sweeps,
    )


def _show(validators: int, found: dict[str, Any]) -> None:
    print(
        f"n={validators} {found['share']:>4} %  offered {found['offered_per_s']:>8}/s  final {found['final_per_s']:>8}/s  "
        f"p50 {found['latency_ms_p50']} ms  p99 {found['latency_ms_p99']} ms  refused {found['refused']}",
        file=sys.stderr,
    )
