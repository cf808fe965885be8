"""Microseconds of CPU per transaction and node, stage by stage and thread by thread, of a loaded chain.

The nodes' own tracer (node/stages.py) accounts for every thread; what the system counted for the process is the measure
of whether anything is missing. The same load without the tracer, before it, says what tracing costs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from node.stages import FILE
from scripts.benchmarks.limits import verifications, verifications_by_processes
from scripts.benchmarks.networks import Loaded, network
from scripts.benchmarks.offering import saturated
from scripts.benchmarks.result import Result, result, short

Reading = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=30.0, help="of each of the two runs")
    parser.add_argument("--warming", type=float, default=5.0, help="seconds of load before that")
    parser.add_argument("--validators", type=int, default=4)
    parser.add_argument("--events", type=int, default=1, help="events per transaction")
    parser.add_argument("--parts", type=int, default=0, help="that are there before")
    parser.add_argument("--folder", type=Path, help="keep filled chains here, and use what is there")


def readings(chain: Loaded) -> list[Reading]:
    """What each node's tracer wrote last."""
    return [json.loads((folder / FILE).read_text()) for folder in chain.data()]


def difference(before: Reading, after: Reading) -> Reading:
    """What happened between two readings of one node, by (thread, stage); a thread without stages is one."""
    spent: Counter[tuple[str, str]] = Counter()
    calls: Counter[tuple[str, str]] = Counter()
    system: Counter[str] = Counter()
    for name, thread in after["threads"].items():
        old = before["threads"].get(name, {"cpu_s": 0.0, "stages": {}})
        system[name] = thread["cpu_s"] - old["cpu_s"]
        for stage, counted in thread["stages"].items():
            was = old["stages"].get(stage, {"cpu_s": 0.0, "calls": 0})
            spent[name, stage] = counted["cpu_s"] - was["cpu_s"]
            calls[name, stage] = counted["calls"] - was["calls"]
        if not thread["stages"]:
            spent[name, ""] = system[name]
    return {
        "spent": spent,
        "calls": calls,
        "system": system,
        "process": after["process_cpu_s"] - before["process_cpu_s"],
        "transactions": after["transactions"] - before["transactions"],
        "heights": after["heights"] - before["heights"],
    }


def table(found: list[Reading], ns_per_call: float) -> dict[str, Any]:
    """Means of all nodes."""
    transactions = sum(one["transactions"] for one in found)
    if not transactions:
        raise SystemExit("the tracer saw no transaction; the run was too short")
    spent, calls, system = (
        sum((one[name] for one in found), Counter()) for name in ("spent", "calls", "system")
    )
    process = sum(one["process"] for one in found)

    def us(seconds: float) -> float:
        return round(seconds / transactions * 1e6, 1)

    rows = [
        {
            "thread": thread,
            "stage": stage,
            "us": us(used),
            "calls": short(calls[thread, stage] / transactions),
        }
        for (thread, stage), used in spent.most_common()
    ]
    stages: Counter[str] = Counter()
    for (thread, stage), used in spent.items():
        stages[stage or thread] += used
    return {
        "transactions_per_node": round(transactions / len(found)),
        "transactions_per_height": short(transactions / max(1, sum(one["heights"] for one in found))),
        "us_by_stage": {stage: us(used) for stage, used in stages.most_common()},
        "us_by_thread": {thread: us(used) for thread, used in system.most_common()},
        "rows": rows,
        "us_of_process": us(process),
        "explained": round(sum(spent.values()) / process, 4),
        "tracer_us": us(sum(calls.values()) * ns_per_call / 1e9),
    }


def measure(chosen: argparse.Namespace) -> Result:
    limits, bare = [verifications_by_processes(chosen.validators)], [verifications()]
    with network(chosen.validators, chosen.parts, folder=chosen.folder) as chain:
        plain, plain_used = saturated(chain, chosen.seconds, chosen.events, warming=chosen.warming)
    with network(chosen.validators, chosen.parts, folder=chosen.folder, traced=True) as chain:
        saturated(chain, 1.0, chosen.events, warming=chosen.warming)
        before = readings(chain)
        traced, used = saturated(chain, chosen.seconds, chosen.events, warming=1.0)
        after = readings(chain)
    limits.append(verifications_by_processes(chosen.validators))
    bare.append(verifications())
    pairs = zip(before, after, strict=True)
    found = table([difference(*pair) for pair in pairs], after[0]["tracer_ns_per_call"])
    cores = min(chosen.validators, os.cpu_count() or 1)
    without, with_ = (each["cpu_us_per_transaction_and_node"] for each in (plain_used, used))
    _show(found)
    return result(
        found["us_of_process"],
        "µs of CPU per transaction and node, tracer and all",
        [1e6 * cores / (limit * chosen.validators) for limit in limits],
        "µs of a bare verification, by the clock of all cores",
        [row["us"] for row in found["rows"]],
        transactions_per_s=short(len(plain.final) / plain.seconds),
        transactions_per_s_traced=short(len(traced.final) / traced.seconds),
        verification_us=[short(1e6 / rate) for rate in bare],
        cpu_us_untraced=without,
        cpu_us_traced=with_,
        **found,
        used=used,
    )


def _show(found: dict[str, Any]) -> None:
    for row in found["rows"]:
        if row["us"] >= 0.5:
            print(
                f"{row['thread']:<26}{row['stage']:<18}{row['us']:>8.1f} µs {row['calls']:>9} calls",
                file=sys.stderr,
            )
    print(f"explained: {found['explained']:.1%} of {found['us_of_process']} µs", file=sys.stderr)
