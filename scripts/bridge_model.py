"""Drive the bridge by chance and by exhaustion: `python3 scripts/bridge_model.py --runs 20000 --jobs 2`.

The real operations of bridge and ledger on chains in memory (tests/bridge/model), with a relayer that brings anything
ever provable in any order, crashes, timeouts that race receipts, and chains whose quorum is corrupt. An oracle that knows
only where things are objects to whatever must not be. The same seed is the same run on every machine:

    scripts/bridge_model.py --runs 20000 --jobs 2 [--first SEED]      seeds in order
    scripts/bridge_model.py --replay SEED                             one of them, told step by step
    scripts/bridge_model.py --exhaust 6                               every sequence of so many steps, two chains
                                                                      (more where there is less to do at each)

One JSON object last: what was run, how often each kind of step succeeded, and the seeds that violated anything.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from environment import ROOT, VENV, prepare

CHUNK = 50


def chunk(first: int, count: int) -> tuple[dict[str, int], list[tuple[int, str]]]:
    """Seeds in order: how often each kind of step succeeded, and what was violated."""
    sys.path.insert(0, str(ROOT))
    from tests.bridge.model import walk  # noqa: PLC0415 (the environment comes first)
    from tests.bridge.model.chain import cheap_signatures  # noqa: PLC0415 (the environment comes first)
    from tests.bridge.model.places import Violation  # noqa: PLC0415 (the environment comes first)

    tally: dict[str, int] = {}
    violations = []
    started_by = multiprocessing.parent_process()
    with cheap_signatures():
        for seed in range(first, first + count):
            if started_by is not None and not started_by.is_alive():
                os._exit(1)  # nobody would hear what is found
            try:
                for what, times in walk.run(seed).items():
                    tally[what] = tally.get(what, 0) + times
            except Violation as violation:
                violations.append((seed, str(violation)))
    return tally, violations


def runs(arguments: argparse.Namespace) -> dict[str, Any]:
    started = time.monotonic()
    firsts = range(arguments.first, arguments.first + arguments.runs, CHUNK)
    last = arguments.first + arguments.runs
    counts = [min(CHUNK, last - first) for first in firsts]
    tally: dict[str, int] = {}
    violations: list[tuple[int, str]] = []
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for found, violated in pool.map(chunk, firsts, counts):
            for what, times in found.items():
                tally[what] = tally.get(what, 0) + times
            for seed, text in violated:
                print(f"seed {seed}: {text}", flush=True)
            violations += violated
    seconds = round(time.monotonic() - started, 1)
    return {
        "first": arguments.first,
        "runs": arguments.runs,
        "steps": tally,
        "violations": [seed for seed, _ in violations],
        "seconds": seconds,
    }


def replay(seed: int) -> dict[str, Any]:
    from tests.bridge.model import walk  # noqa: PLC0415 (the environment comes first)
    from tests.bridge.model.chain import cheap_signatures  # noqa: PLC0415 (the environment comes first)
    from tests.bridge.model.places import Violation  # noqa: PLC0415 (the environment comes first)

    one = walk.Walk(seed, walk.SETTINGS[seed % len(walk.SETTINGS)])
    print(one.setting)
    violations = []
    with cheap_signatures():
        try:
            one.run()
        except Violation as violation:
            violations.append(str(violation))
    print("\n".join(one.world.acts))
    return {"seed": seed, "steps": one.tally, "violations": violations}


def exhaust(depth: int) -> dict[str, Any]:
    from tests.bridge.model import search  # noqa: PLC0415 (the environment comes first)
    from tests.bridge.model.chain import cheap_signatures  # noqa: PLC0415 (the environment comes first)

    found = []
    with cheap_signatures():
        for bounds in search.BOUNDS:
            started = time.monotonic()
            figures = search.explore(bounds, depth + bounds.more)
            figures["seconds"] = round(time.monotonic() - started, 1)
            print(json.dumps(figures), flush=True)
            found.append(figures)
    return {
        "depth": depth,
        "found": found,
        "violations": [item for one in found for item in one["violations"]],
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="seed")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--replay", type=int, metavar="SEED")
    parser.add_argument("--exhaust", type=int, metavar="STEPS")
    arguments = parser.parse_args()
    if Path(sys.prefix).resolve() != VENV.resolve():  # started with another interpreter: go on with ours
        return subprocess.run([prepare("dev"), *sys.argv], check=False).returncode
    sys.path.insert(0, str(ROOT))
    if arguments.replay is not None:
        figures = replay(arguments.replay)
    elif arguments.exhaust is not None:
        figures = exhaust(arguments.exhaust)
    else:
        figures = runs(arguments)
    print(json.dumps(figures))
    return 1 if figures["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
