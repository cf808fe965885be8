"""The budgets of the design, judged from the results of benchmarks: `python3 scripts/bench.py budgets FILE.json...`.

Each line names the benchmark it is judged by and the runs that count for it; what no file holds is said to be not measured.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmarks.result import Result, short

# What the benchmarks are held against.
SUSTAINED_PER_S, SUSTAINED_S, SUSTAINED_PARTS, SUSTAINED_RATIO = 2_500, 300, 1_000_000, 0.33
EVENTS_PER_S, HUNDRED = 6_000, 100
IDLE_P50_MS, IDLE_P99_MS = 20, 50  # and three fsyncs
LOADED_SHARE, LOADED_P99_MS = 80, 1_000
PARTS_PER_S = 1_000_000
GROWTH_MAX, MEMORY_MIB = 1.6, 1_024
FALL_MAX = 0.2  # of throughput, from 10^4 to 10^7 parts
RELAY_BLOCKS, RELAY_MS, PACKETS = 2, 500, 1_000
AUDIT_RATIO, AUDIT_PARTS = 1.5, 1_000
START_S = 10
RESTART_S, TIMES_LIVE = 2, 5
OVERLOAD_SHARE, OVERLOAD_LEAST = 300, 0.5  # of saturation is still final at three times the load
DIES = "range of 250,000"


@dataclass(frozen=True)
class Judged:
    """What one result says of one budget."""

    measured: str
    limit: str
    ratio: float
    met: bool


@dataclass(frozen=True)
class Budget:
    """One line: what is asked for, of which benchmark, and how a result of it is judged (None: it says nothing)."""

    what: str
    wanted: str
    name: str
    judge: Callable[[Result], Judged | None]


def _limit(found: Result) -> str:
    return f"{found['limit']:,} {found['limit_unit']}"


def _runs(found: Result) -> str:
    spread = found["spread"]
    return "" if len(found["samples"]) < 2 else f" ({spread['min']:,} to {spread['max']:,})"


def _is_full(found: Result, events: int, seconds: float) -> bool:
    said = found["events_per_transaction"], found["validators"]
    return said == (events, 4) and found["parts"] >= SUSTAINED_PARTS and found["seconds"] >= seconds


def _sustained(found: Result) -> Judged | None:
    if not _is_full(found, 1, SUSTAINED_S):
        return None
    met = found["figure"] >= SUSTAINED_PER_S and found["ratio"] >= SUSTAINED_RATIO
    return Judged(f"{found['figure']:,}/s{_runs(found)}", _limit(found), found["ratio"], met)


def _hundred(found: Result) -> Judged | None:
    if not _is_full(found, HUNDRED, 60):
        return None
    measured = f"{found['figure']:,}/s{_runs(found)}"
    return Judged(measured, _limit(found), found["ratio"], found["figure"] >= EVENTS_PER_S)


def _fall(found: Result) -> Judged | None:
    rows = sorted((row["parts"], row["final_per_s"]["median"]) for row in found["rows"])
    if found["events_per_transaction"] != 1 or rows[0][0] > 10**4 or rows[-1][0] < 10**7:
        return None
    first, last = rows[0][1], rows[-1][1]
    limit = f"{first:,}/s at {rows[0][0]:,} parts"
    return Judged(
        f"{last:,}/s at {rows[-1][0]:,}", limit, short(last / first), last >= (1 - FALL_MAX) * first
    )


def _memory(found: Result) -> Judged | None:
    runs = [run for run in found["runs"] if run["parts"] >= 10**7]
    if not runs:
        return None
    own, mapped = (max(run["used"]["resident_mib"][kind] for run in runs) for kind in ("own", "mapped"))
    return Judged(
        f"{own} MiB, and {mapped} of files mapped",
        f"{MEMORY_MIB} MiB",
        short(own / MEMORY_MIB),
        own <= MEMORY_MIB,
    )


def _idle(found: Result) -> Judged:
    met = found["figure"] <= found["budget"] and found["latency_ms_p99"] <= found["budget_p99"]
    measured = f"p50 {found['figure']} ms, p99 {found['latency_ms_p99']} ms"
    return Judged(measured, _limit(found), found["ratio"], met)


def _loaded(found: Result) -> Judged | None:
    shares = found["shares"] if "shares" in found else found["sweeps"][0]["shares"]
    p99 = [share["latency_ms_p99"] for share in shares if share["share"] == LOADED_SHARE]
    if not p99:
        return None
    return Judged(
        f"p99 {p99[0]} ms", f"{LOADED_P99_MS} ms", short(p99[0] / LOADED_P99_MS), p99[0] <= LOADED_P99_MS
    )


def _overload(found: Result) -> Judged | None:
    sweep = found["sweeps"][0]
    over = [share for share in sweep["shares"] if share["share"] == OVERLOAD_SHARE]
    if not over:
        return None
    full = sweep["saturation"]["final_per_s"]
    ratio, refused = over[0]["final_per_s"] / full, sum(over[0]["refused"].values())
    measured = f"{over[0]['final_per_s']:,}/s final, {refused:,} refused with a reason"
    return Judged(
        measured, f"{full:,}/s at saturation", short(ratio), ratio >= OVERLOAD_LEAST and refused > 0
    )


def _ranges(found: Result) -> Judged | None:
    kind = found["kinds"].get(DIES)
    if kind is None:
        return None
    rate = kind["all_per_s"] * 250_000
    return Judged(
        f"{rate:,} parts/s", _limit(found), short(kind["all_per_s"] / found["limit"]), rate >= PARTS_PER_S
    )


def _growth(found: Result) -> Judged | None:
    if found["sizes"][0]["parts"] > 10**4 or found["sizes"][-1]["parts"] < 10**7:
        return None
    return Judged(f"{found['figure']} µs", _limit(found), found["ratio"], found["ratio"] <= GROWTH_MAX)


def _relay(found: Result) -> Judged:
    measured = f"p50 {found['figure']} ms of {found['budget']}"
    return Judged(measured, _limit(found), found["ratio"], found["figure"] <= found["budget"])


def _packets(found: Result) -> Judged | None:
    many = found["waiting"]
    if many["packets"] < PACKETS:
        return None
    measured = f"{many['packets']:,} in {many['seconds']} s"
    return Judged(measured, "one update", many["updates"], many["updates"] == 1)


def _audit(found: Result) -> Judged | None:
    if found["parts"] < AUDIT_PARTS:
        return None
    return Judged(f"{found['figure']} s", _limit(found), found["ratio"], found["ratio"] <= AUDIT_RATIO)


def _at_most(budget: float, least_parts: int = 0) -> Callable[[Result], Judged | None]:
    def judge(found: Result) -> Judged | None:
        if found.get("parts", 0) < least_parts:
            return None
        return Judged(
            f"{found['figure']} s{_runs(found)}", _limit(found), found["ratio"], found["figure"] <= budget
        )

    return judge


def _catching_up(found: Result) -> Judged:
    live = found["runs"][0]["live_per_s"]
    measured = f"{found['figure']:,}/s, {found['times_live']} times the live rate of {live:,}/s"
    return Judged(measured, _limit(found), found["ratio"], found["times_live"] >= TIMES_LIVE)


BUDGETS = (
    Budget(
        "signed single-event transactions, 5 minutes, 10⁶ random keys",
        "≥ 2,500/s and ≥ 33 % of bare verification",
        "throughput",
        _sustained,
    ),
    Budget(
        "events, 100 per transaction, distinct random parts", "≥ 6,000/s (aim 10,000)", "throughput", _hundred
    ),
    Budget("submit → final, idle chain", "p50 ≤ 20 ms, p99 ≤ 50 ms, plus three fsyncs", "latency", _idle),
    Budget("submit → final at 80 % of saturation", "p99 ≤ 1 s", "latency", _loaded),
    Budget("submit → final at 80 % of saturation, swept", "p99 ≤ 1 s", "offered-load", _loaded),
    Budget("three times what saturates", "refusals with a reason, no collapse", "offered-load", _overload),
    Budget("parts commissioned as ranges", "≥ 1,000,000/s", "execution", _ranges),
    Budget("time per event at 10⁷ keys, of that at 10⁴", "≤ 1.6", "tree", _growth),
    Budget("throughput at 10⁷ keys, of that at 10⁴", "≥ 0.8", "throughput", _fall),
    Budget("memory per node at 10⁷ keys", "≤ 1 GiB", "throughput", _memory),
    Budget("relay, packet committed on A → received on B", "p50 ≤ two blocks + 0.5 s", "relay", _relay),
    Budget("1,000 packets that wait", "under one client update", "relay", _packets),
    Budget(
        "audit of a device with 1,000 parts over two chains",
        "≤ 1.5 × its signatures and hashes",
        "audit",
        _audit,
    ),
    Budget(
        "two chains × four validators and relayer, from nothing", "≤ 10 s", "testnet-start", _at_most(START_S)
    ),
    Budget("restart after SIGKILL at 10⁶ keys", "serving in ≤ 2 s", "restart", _at_most(RESTART_S, 10**6)),
    Budget("catching up", "≥ 5 × live rate", "catch-up", _catching_up),
)


def table(files: Sequence[Path]) -> Iterator[str]:
    """The lines of the summary in Markdown."""
    results = [json.loads(path.read_text().splitlines()[-1]) for path in files]
    yield "| what | budget | measured | limit in the same run | ratio | met | file |"
    yield "|---|---|---|---|---|---|---|"
    for budget in BUDGETS:
        rows = [
            (judged, path.name)
            for found, path in zip(results, files, strict=True)
            if found["name"] == budget.name and (judged := budget.judge(found)) is not None
        ]
        for judged, name in rows:
            met = "yes" if judged.met else "**no**"
            yield f"| {budget.what} | {budget.wanted} | {judged.measured} | {judged.limit} | {judged.ratio} | {met} | {name} |"
        if not rows:
            yield f"| {budget.what} | {budget.wanted} | not measured | | | | |"


def main(words: Sequence[str]) -> None:
    """`bench.py budgets FILE.json...`"""
    parser = argparse.ArgumentParser(prog="scripts/bench.py budgets", description="Judge results.")
    parser.add_argument("files", nargs="+", type=Path, help="what benchmarks printed with --json")
    print("\n".join(table(parser.parse_args(words).files)))
