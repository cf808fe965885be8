"""Transactions per second that a chain makes final: signed, over mTLS, with real fsync, at random keys of a full state.

Closed loop: so many frames under way at any time, sent in turn to all nodes; offered-load is the open one. The limit is
what as many processes that only verify Ed25519 get through on the same cores, measured before and after each run. Several
numbers of validators and of parts make a row each; the figure is the first row's.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import Any

from scripts.benchmarks.limits import verifications_by_processes
from scripts.benchmarks.networks import network
from scripts.benchmarks.offering import OUTSTANDING, WARMING_S, described, saturated
from scripts.benchmarks.result import Result, median, result, short, spread


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=30.0, help="of each run")
    parser.add_argument("--warming", type=float, default=WARMING_S, help="seconds of load before it")
    parser.add_argument("--outstanding", type=int, default=OUTSTANDING, help="frames of 100 events under way")
    parser.add_argument("--events", type=int, default=1, help="events per transaction")
    parser.add_argument("--validators", default="4", help="one number, or several with commas")
    parser.add_argument(
        "--parts", default="0", help="that are there before, and are observed; one number, or several"
    )
    parser.add_argument("--among", type=int, help="so many of them are observed; without it all are")
    parser.add_argument(
        "--verifiers", type=int, help="processes beside each node; without it the machine decides"
    )
    parser.add_argument("--repeats", type=int, default=1, help="on a fresh chain each")
    parser.add_argument("--folder", type=Path, help="keep filled chains here, and use what is there")


def run(validators: int, parts: int, chosen: argparse.Namespace) -> dict[str, Any]:
    """One run on a fresh chain, and the limit before and after it."""
    limits = [verifications_by_processes(validators)]
    with network(
        validators, parts, among=chosen.among, folder=chosen.folder, verifiers=chosen.verifiers
    ) as chain:
        found, used = saturated(
            chain,
            chosen.seconds,
            chosen.events,
            outstanding=chosen.outstanding,
            warming=chosen.warming,
        )
    limits.append(verifications_by_processes(validators))
    figures = described(found, used, chosen.events)
    return {
        "validators": validators,
        "parts": parts,
        "verifications_per_s_each": [short(limit) for limit in limits],
        "ratio": short(2 * figures["transactions_per_s"] / sum(limits)),
    } | figures


def row(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The repeats of one setting."""
    figures = [one["final_per_s"] for one in runs]
    limits = [limit for one in runs for limit in one["verifications_per_s_each"]]
    return {
        "validators": runs[0]["validators"],
        "parts": runs[0]["parts"],
        "final_per_s": spread(figures),
        "limits": limits,
        "ratio": short(median([one["ratio"] for one in runs])),
        "samples": figures,
    }


def measure(chosen: argparse.Namespace) -> Result:
    counts, sizes = ([int(word) for word in words.split(",")] for words in (chosen.validators, chosen.parts))
    settings = list(itertools.product(counts, sizes))
    runs: dict[tuple[int, int], list[dict[str, Any]]] = {setting: [] for setting in settings}
    for _ in range(chosen.repeats):  # in turn, so that what else the machine does falls on all alike
        for setting in settings:
            runs[setting].append(run(*setting, chosen))
    rows = [row(some) for some in runs.values()]
    first = rows[0]
    return result(
        first["final_per_s"]["median"],
        "events/s, final" if chosen.events > 1 else "transactions/s, final",
        [limit * chosen.events for limit in first["limits"]],
        f"verifications/s and process of {counts[0]}, times events per transaction",
        first["samples"],
        seconds=min(one["seconds"] for one in runs[settings[0]]),  # less, if what was made beforehand ran out
        parts=sizes[0],
        among=chosen.among,
        validators=counts[0],
        events_per_transaction=chosen.events,
        verifiers=chosen.verifiers,
        rows=rows,
        runs=[one for some in runs.values() for one in some],
    )
