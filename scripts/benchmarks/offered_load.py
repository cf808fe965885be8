"""What a chain makes of 25 to 300 % of what it can do: throughput, latency, refusals. An open loop.

Saturation is measured first, in the closed form. Then each share of it is offered for a while whatever comes of it: below
saturation all becomes final and latency counts; above it the rest must be refused with a reason, and what becomes final
must not be less than at saturation.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from scripts.benchmarks.limits import verifications_by_processes
from scripts.benchmarks.networks import Loaded, network
from scripts.benchmarks.offering import WARMING_S, described, offered, saturated
from scripts.benchmarks.result import Result, median, result, short

PAUSE_S = 2.0  # between two shares, for what still waits


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=20.0, help="of each share, and of saturation")
    parser.add_argument("--warming", type=float, default=WARMING_S, help="seconds of load before that")
    parser.add_argument("--shares", default="25,50,80,100,150,300", help="per cent of saturation")
    parser.add_argument("--validators", default="4", help="one number, or several with commas")
    parser.add_argument("--events", type=int, default=1, help="events per transaction")
    parser.add_argument("--frame", type=int, default=20, help="events per frame of the open loop")
    parser.add_argument("--parts", type=int, default=0, help="that are there before; these are observed")
    parser.add_argument("--repeats", type=int, default=1, help="on a fresh chain each")
    parser.add_argument("--folder", type=Path, help="keep filled chains here, and use what is there")


def shares_of(chain: Loaded, chosen: argparse.Namespace) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Saturation, and each share of it. `chosen`: seconds, warming, events, frame, shares."""
    full = described(*saturated(chain, chosen.seconds, chosen.events, warming=chosen.warming), chosen.events)
    found = []
    for part in filter(None, chosen.shares.split(",")):
        time.sleep(PAUSE_S)
        rate = full["transactions_per_s"] * int(part) / 100
        offer = offered(chain, chosen.seconds, rate, chosen.events, chosen.frame)
        found.append({"share": int(part)} | described(*offer, chosen.events))
        _show(len(chain.nodes), found[-1])
    return full, found


def sweep(validators: int, chosen: argparse.Namespace) -> dict[str, Any]:
    """Saturation and all shares of it, on a fresh chain."""
    limits = [verifications_by_processes(validators)]
    with network(validators, chosen.parts, folder=chosen.folder) as chain:
        full, shares = shares_of(chain, chosen)
    limits.append(verifications_by_processes(validators))
    return {
        "validators": validators,
        "verifications_per_s_each": [short(limit) for limit in limits],
        "saturation": full,
        "ratio": short(2 * full["transactions_per_s"] / sum(limits)),
        "shares": shares,
    }


def measure(chosen: argparse.Namespace) -> Result:
    counts = [int(count) for count in chosen.validators.split(",")]
    sweeps = [sweep(count, chosen) for count in counts for _ in range(chosen.repeats)]
    first = [one for one in sweeps if one["validators"] == counts[0]]
    full = [one["saturation"]["final_per_s"] for one in first]
    return result(
        median(full),
        f"events/s, final, at saturation, {counts[0]} validators",
        [limit * chosen.events for one in first for limit in one["verifications_per_s_each"]],
        "verifications/s and process of as many (times events per transaction)",
        full,
        events_per_transaction=chosen.events,
        parts=chosen.parts,
        sweeps=sweeps,
    )


def _show(validators: int, found: dict[str, Any]) -> None:
    print(
        f"n={validators} {found['share']:>4} %  offered {found['offered_per_s']:>8}/s  final {found['final_per_s']:>8}/s  "
        f"p50 {found['latency_ms_p50']} ms  p99 {found['latency_ms_p99']} ms  refused {found['refused']}",
        file=sys.stderr,
    )
