"""Simulate whole consortia under faults, seed by seed: `python3 scripts/simulate.py --seeds 10000 --jobs 2`.

Every failing seed is printed with the line that replays it. The last line is one JSON object:
{"seeds": ..., "violations": ..., "seconds": ...}, with a few more figures. A run that was stopped goes on where it was:
what came of each seed is kept in a file, under a hash of the code under test, so that nothing old counts for new code
and no seed, good or bad, is run twice or left out.

    --replay SEED     run one seed and print what happened
    --twins N         N cases of validators whose key runs twice; with --replay one of them
    --excess N        one dishonest validator too many, up to N seeds of each kind: how many until a fork is seen
    --wan             five times 1,000 heights of four validators far apart, on lossy links, one of them dead
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from environment import ROOT, VENV, prepare

PAGE = 10  # seeds handed to a process at once
SAID_EVERY_S = 30
WAN_SEEDS = 5
KEPT_IN = ROOT / ".chiptrace" / "simulated.jsonl"  # not under version control


def code_hash() -> str:
    """Of all our code that a run imports: it decides what a seed does."""
    from tests.simulation import excess, run, twins_campaign, wan  # noqa: F401, PLC0415 (the environment comes first)

    files = {
        Path(module.__file__) for module in list(sys.modules.values()) if getattr(module, "__file__", None)
    }
    ours = [path for path in files if path.is_relative_to(ROOT) and not path.is_relative_to(VENV)]
    digest = hashlib.sha256()
    for path in sorted(ours):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


class Kept:
    """What came of seeds that were run before: one line of JSON each, appended as they end. Only those count that were
    run in the same way by the same code."""

    def __init__(self, path: Path, what: str) -> None:
        self.mark = {"what": what, "code": code_hash()}
        path.parent.mkdir(parents=True, exist_ok=True)
        self.rows: dict[int, dict[str, Any]] = {}
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:
                continue  # cut short when the run was stopped: that seed is run again
            if all(row.get(name) == value for name, value in self.mark.items()):
                self.rows[row["seed"]] = row
        self.file = path.open("a", encoding="utf-8")
        self.file.write("\n" if lines else "")

    def add(self, row: dict[str, Any]) -> None:
        self.rows[row["seed"]] = row
        self.file.write(json.dumps({**self.mark, **row}) + "\n")
        self.file.flush()


def one_seed(seed: int, *, real: bool) -> dict[str, Any]:
    """Run a seed in a worker process."""
    from tests.simulation.run import simulate  # noqa: PLC0415 (the environment comes first)

    report = simulate(seed, real_keys=real)
    return {name: getattr(report, name) for name in report.__dataclass_fields__}


def one_case(number: int) -> dict[str, Any]:
    """Play one Twins case in a worker process."""
    from tests.simulation import twins_campaign  # noqa: PLC0415 (the environment comes first)

    run = twins_campaign.Campaign(twins_campaign.case_of(number), number)
    violation = run.go()
    return {
        "seed": number,
        "violation": violation,
        "size": run.case.size,
        "accused": len(run.oracle.accused),
        "views_max": max(run.oracle.view_of.values(), default=0),
    }


def rows_of(
    arguments: argparse.Namespace, what: str, one: Callable[[int], dict[str, Any]], numbers: range
) -> tuple[list[dict[str, Any]], int]:
    """What came of all these numbers, and how many were run for it now."""
    kept = Kept(arguments.resume, what)
    left = [number for number in numbers if number not in kept.rows]
    if len(left) < len(numbers):
        print(f"{len(numbers) - len(left)} were run before by the same code: {arguments.resume}", flush=True)
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for row in said(pool.map(one, left, chunksize=PAGE), len(left)):
            kept.add(row)
    for number in numbers:
        if kept.rows[number]["violation"]:
            print(f"{what} {number}: {kept.rows[number]['violation']}")
            print(f"  replay: {replay_line(arguments, number)}", flush=True)
    return [kept.rows[number] for number in numbers], len(left)


def said(rows: Iterator[dict[str, Any]], total: int) -> Iterator[dict[str, Any]]:
    """The rows as they come, with a word now and then on how far it is; violations are told at once."""
    started = told = time.monotonic()
    violations = 0
    for count, row in enumerate(rows, 1):
        if row["violation"]:
            violations += 1
            print(f"{row['seed']}: {row['violation'].splitlines()[-1]}", flush=True)
        now = time.monotonic()
        if now - told > SAID_EVERY_S:
            told = now
            rate = count / (now - started)
            left = (total - count) / rate
            print(f"{count} of {total}, {violations} violations, {rate:.1f}/s, {left:.0f} s left", flush=True)
        yield row


def replay_line(arguments: argparse.Namespace, number: int) -> str:
    more = " --twins 1" if arguments.twins else ""
    more += " --real-signatures" if arguments.real_signatures else ""
    return f"python3 scripts/simulate.py{more} --replay {number}"


def simulate_seeds(arguments: argparse.Namespace) -> dict[str, object]:
    """Run the seeds and return the figures."""
    started = time.monotonic()
    seeds = range(arguments.start, arguments.start + arguments.seeds)
    what = "real-seed" if arguments.real_signatures else "seed"
    rows, ran = rows_of(arguments, what, partial(one_seed, real=arguments.real_signatures), seeds)
    seconds = time.monotonic() - started
    healing = sorted(row["healing_ms"] for row in rows if not row["violation"]) or [0]
    views = sorted(row["healing_views"] for row in rows if not row["violation"]) or [0]
    return {
        "seeds": len(rows),
        "violations": sum(bool(row["violation"]) for row in rows),
        "seconds": round(seconds, 1),
        "ran_now": ran,
        "seeds_per_second": round(ran / max(seconds, 1e-9), 1),
        "heights": sum(row["height"] for row in rows),
        "events": sum(row["events"] for row in rows),
        "crashes": sum(row["crashes"] for row in rows),
        "torn": sum(row["torn"] for row in rows),
        "acknowledged": sum(row["acknowledged"] for row in rows),
        "runs_with_accused": sum(bool(row["accused"]) for row in rows),
        "views_to_decide_max": max((row["views_max"] for row in rows), default=0),
        "healing_ms": [healing[len(healing) * part // 100] for part in (50, 99)] + healing[-1:],
        "healing_views": [views[len(views) * part // 100] for part in (50, 99)] + views[-1:],
        "code": code_hash(),
    }


def simulate_twins(arguments: argparse.Namespace) -> dict[str, object]:
    """Play the Twins cases and return the figures."""
    started = time.monotonic()
    numbers = range(arguments.start, arguments.start + arguments.twins)
    rows, ran = rows_of(arguments, "twins", one_case, numbers)
    return {
        "cases": len(rows),
        "violations": sum(bool(row["violation"]) for row in rows),
        "seconds": round(time.monotonic() - started, 1),
        "ran_now": ran,
        "by_size": {size: sum(row["size"] == size for row in rows) for size in (4, 7, 10)},
        "runs_with_accused": sum(bool(row["accused"]) for row in rows),
        "views_to_decide_max": max((row["views_max"] for row in rows), default=0),
        "code": code_hash(),
    }


def simulate_excess(arguments: argparse.Namespace) -> dict[str, object]:
    """One dishonest validator too many: the seeds it takes until the oracle sees a fork, by kind."""
    from tests.simulation.excess import FORKING, seeds_to_fork  # noqa: PLC0415 (the environment comes first)

    started = time.monotonic()
    found = {name: seeds_to_fork(name, arguments.excess) for name in FORKING}
    for name, seeds in found.items():
        print(f"{name}: {'no fork seen' if seeds is None else f'a fork after {seeds} seeds'}", flush=True)
    return {
        "seeds_to_fork": found,
        "violations": sum(seeds is None for seeds in found.values()),  # here not to see one is the failure
        "seconds": round(time.monotonic() - started, 1),
    }


def simulate_wan(arguments: argparse.Namespace) -> dict[str, object]:
    """The wide-area figure, by simulated time."""
    from tests.simulation.wan import P99_MS_MAX, measure  # noqa: PLC0415 (the environment comes first)

    started = time.monotonic()
    seeds = range(arguments.start, arguments.start + WAN_SEEDS)
    figures = measure(seeds, arguments.heights)
    return {
        "seeds": WAN_SEEDS,
        **{name: getattr(figures, name) for name in figures.__dataclass_fields__},
        "violations": int(figures.p99_ms >= P99_MS_MAX),
        "seconds": round(time.monotonic() - started, 1),
    }


def replay(arguments: argparse.Namespace) -> dict[str, object]:
    """Run one seed, or one Twins case, and print its scenario and its log."""
    from tests.simulation.run import Run  # noqa: PLC0415 (the environment comes first)
    from tests.simulation.twins_campaign import Campaign, case_of  # noqa: PLC0415 (the environment comes first)

    started = time.monotonic()
    if arguments.twins:
        case = case_of(arguments.replay)
        campaign = Campaign(case, arguments.replay, log=True)
        violation, world, told = campaign.go(), campaign.world, f"{case}"
    else:
        run = Run(arguments.replay, real_keys=arguments.real_signatures, log=True)
        report = run.go()
        violation, world, told = report.violation, run.world, f"{run.scenario}\n{report}"
    print("\n".join((world.log or [])[-arguments.lines :]))
    print(told)
    print(violation or "no violation")
    return {
        "seeds": 1,
        "violations": int(bool(violation)),
        "seconds": round(time.monotonic() - started, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=1_000, help="how many")
    parser.add_argument("--from", type=int, default=0, dest="start", help="the first")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--real-signatures", action="store_true", help="Ed25519 instead of a keyed hash")
    parser.add_argument("--resume", type=Path, default=KEPT_IN, help="the file of what was run before")
    parser.add_argument("--twins", type=int, default=0, metavar="N", help="play N Twins cases instead")
    parser.add_argument("--excess", type=int, default=0, metavar="N", help="look for forks at f + 1 instead")
    parser.add_argument("--wan", action="store_true", help="measure the wide-area figure instead")
    parser.add_argument("--heights", type=int, default=1_000, help="of each wide-area run")
    parser.add_argument("--replay", type=int, help="run this seed (or case) only and print its log")
    parser.add_argument("--lines", type=int, default=2_000, help="of the log to print, from its end")
    arguments = parser.parse_args()
    if Path(sys.prefix).resolve() != VENV.resolve():  # started with another interpreter: go on with ours
        return subprocess.run([prepare("dev"), *sys.argv], check=False).returncode
    sys.path.insert(0, str(ROOT))
    if arguments.replay is not None:
        figures = replay(arguments)
    elif arguments.twins:
        figures = simulate_twins(arguments)
    elif arguments.excess:
        figures = simulate_excess(arguments)
    elif arguments.wan:
        figures = simulate_wan(arguments)
    else:
        figures = simulate_seeds(arguments)
    print(json.dumps(figures))
    return 1 if figures["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
