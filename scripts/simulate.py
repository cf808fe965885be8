"""Simulate whole consortia under faults, seed by seed: `python3 scripts/simulate.py --seeds 1000 --jobs 2`.

Every failing seed is printed with the line that replays it. The last line is one JSON object:
{"seeds": ..., "violations": ..., "seconds": ...}, with a few more figures. `--replay SEED` runs one seed and prints
what happened. The voting rules are explored exhaustively by scripts/model.py.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from environment import ROOT, VENV, prepare

PAGE = 10  # seeds handed to a process at once


def replay_line(seed: int, *, real: bool) -> str:
    return f"python3 scripts/simulate.py --replay {seed}{' --real-signatures' if real else ''}"


def simulate_seeds(arguments: argparse.Namespace) -> dict[str, object]:
    """Run the seeds in worker processes, print the failing ones, and return the figures."""
    from tests.simulation.run import simulate  # noqa: PLC0415 (the environment comes first)

    started = time.monotonic()
    seeds = range(arguments.start, arguments.start + arguments.seeds)
    one = partial(simulate, real_keys=arguments.real_signatures)
    with ProcessPoolExecutor(arguments.jobs) as pool:
        reports = list(shown(pool.map(one, seeds, chunksize=PAGE), arguments))
    seconds = time.monotonic() - started
    healing = sorted(report.healing_ms for report in reports if not report.violation)
    return {
        "seeds": len(reports),
        "violations": sum(bool(report.violation) for report in reports),
        "seconds": round(seconds, 1),
        "seeds_per_second": round(len(reports) / max(seconds, 1e-9), 1),
        "heights": sum(report.height for report in reports),
        "events": sum(report.events for report in reports),
        "crashes": sum(report.crashes for report in reports),
        "runs_with_accused": sum(bool(report.accused) for report in reports),
        "views_to_decide_max": max((report.views_max for report in reports), default=0),
        "healing_ms": [healing[len(healing) * part // 100] for part in (50, 99)] + healing[-1:]
        if healing
        else [],
    }


def shown(reports: Iterable[Any], arguments: argparse.Namespace) -> Iterator[Any]:
    """The reports as they come; those with a violation are printed."""
    for report in reports:
        if report.violation:
            print(f"seed {report.seed}: {report.violation}")
            print(f"  replay: {replay_line(report.seed, real=arguments.real_signatures)}", flush=True)
        yield report


def replay(arguments: argparse.Namespace) -> dict[str, object]:
    """Run one seed and print its scenario and its log."""
    from tests.simulation.run import Run  # noqa: PLC0415 (the environment comes first)

    started = time.monotonic()
    run = Run(arguments.replay, real_keys=arguments.real_signatures, log=True)
    report = run.go()
    print("\n".join(run.world.log[-arguments.lines :]))
    print(run.scenario)
    print(report)
    return {
        "seeds": 1,
        "violations": int(bool(report.violation)),
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
    parser.add_argument("--replay", type=int, help="run this seed only and print its log")
    parser.add_argument("--lines", type=int, default=2_000, help="of the log to print, from its end")
    arguments = parser.parse_args()
    if Path(sys.prefix).resolve() != VENV.resolve():  # started with another interpreter: go on with ours
        return subprocess.run([prepare("dev"), *sys.argv], check=False).returncode
    sys.path.insert(0, str(ROOT))
    if arguments.replay is not None:
        figures = replay(arguments)
    else:
        figures = simulate_seeds(arguments)
    print(json.dumps(figures))
    return 1 if figures["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
