"""Transactions per second that a chain makes final: signed, over mTLS, with real fsync, at random keys of a full state.

Closed loop: so many frames under way at any time, sent in turn to all nodes; offered-load is the open one. The limit is
what as many processes that only verify Ed25519 get through on the same cores, measured before and after.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from client.session import ChainSession
from scripts.benchmarks.limits import fsyncs_ms, verifications_by_processes
from scripts.benchmarks.machine import between
from scripts.benchmarks.networks import network
from scripts.benchmarks.offered_load import windows
from scripts.benchmarks.offering import closed
from scripts.benchmarks.result import Result, median, percentile, result, short
from scripts.benchmarks.testnets import FRAME

WARMING_S = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=30.0, help="of each run")
    parser.add_argument("--outstanding", type=int, default=12, help="frames under way")
    parser.add_argument("--events", type=int, default=1, help="events per transaction")
    parser.add_argument("--validators", default="4", help="one number, or several with commas")
    parser.add_argument("--parts", type=int, default=0, help="that are there before; these are observed")
    parser.add_argument(
        "--rate", type=int, default=4_000, help="events made beforehand per second of the run"
    )
    parser.add_argument("--repeats", type=int, default=1, help="on a fresh chain each")


async def load(
    session: ChainSession, waiting: list[bytes], seconds: float, outstanding: int, frame_size: int
) -> list[float]:
    """When each transaction became final, in seconds from the start."""
    return (await closed(session, waiting, seconds, outstanding, frame_size)).final


def run(validators: int, chosen: argparse.Namespace) -> dict[str, Any]:
    """One run on a fresh chain, and the limit before and after it."""
    limits = [verifications_by_processes(validators)]
    rate, frame = max(chosen.rate // chosen.events, 200), max(1, FRAME // chosen.events)
    with network(validators, chosen.parts) as chain:
        for seconds in (WARMING_S, chosen.seconds):
            waiting = chain.transactions(int(seconds * rate), chosen.events)
            size = round(sum(map(len, waiting)) / len(waiting))
            before = chain.moment()
            found = asyncio.run(closed(chain.session, waiting, seconds, chosen.outstanding, frame))
            if not waiting:
                raise SystemExit("too few transactions were made beforehand: choose a higher --rate")
            used = between(before, chain.moment(), len(found.final), len(chain.nodes))
    limits.append(verifications_by_processes(validators))
    in_time = sum(moment <= chosen.seconds for moment in found.final)
    return {
        "validators": validators,
        "final_per_s": short(in_time * chosen.events / chosen.seconds),
        "transactions_per_s": short(in_time / chosen.seconds),
        "verifications_per_s_each": [short(limit) for limit in limits],
        "ratio": short(in_time / chosen.seconds / min(limits)),
        "per_5_s": windows(found, chosen.events),
        "final": len(found.final),
        "refused": dict(found.refused),
        "latency_ms_p50": short(percentile(found.latencies_ms, 0.5)),
        "latency_ms_p99": short(percentile(found.latencies_ms, 0.99)),
        "bytes_per_transaction": size,
        "machine": used,
    }


def measure(chosen: argparse.Namespace) -> Result:
    fsyncs = fsyncs_ms()
    counts = [int(count) for count in chosen.validators.split(",")]
    runs = [run(count, chosen) for count in counts for _ in range(chosen.repeats)]
    first = [one for one in runs if one["validators"] == counts[0]]
    figures = [one["final_per_s"] for one in first]
    return result(
        median(figures),
        "events/s, final" if chosen.events > 1 else "transactions/s, final",
        median([min(one["verifications_per_s_each"]) for one in first]) * chosen.events,
        f"verifications/s and process of {counts[0]}, times events per transaction",
        figures,
        spread=short((max(figures) - min(figures)) / median(figures)),
        parts=chosen.parts,
        events_per_transaction=chosen.events,
        fsync_ms_p50=short(median(fsyncs)),
        runs=runs,
    )
