"""Remove each guard of the bridge in turn and see its test fail: `python3 scripts/bridge_guards.py`.

Every guard of tests/bridge/guards.py is removed in a copy of the tree, never in the tree itself, and the test that the
list names is run there. It must pass before, and fail without the guard. One line of a table for each, and one JSON
object last: {"guards": ..., "seen": ..., "unseen": [...], "seconds": ...}. docs/bridge-testing.md holds the table.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any

from environment import ROOT, VENV, prepare


def hunted(tree: Path, guard: Any) -> tuple[str, float]:
    """What the test says without the guard (empty: it passes), and in how many seconds."""
    from tests.mutation.hunt import PYTEST, mutated, run_tests  # noqa: PLC0415 (the environment comes first)

    originals: dict[Path, str] = {}
    started = time.monotonic()
    try:
        for edit in guard.edits():
            path = tree / f"{edit.file}.py"
            text = path.read_text()
            originals.setdefault(path, text)
            path.write_text(mutated(text, edit))
        return run_tests(tree, (*PYTEST, guard.test)), time.monotonic() - started
    except ValueError:
        return "", 0.0  # a guard is not where the list says; tests/bridge/test_guards.py says more
    finally:
        for path, text in originals.items():
            path.write_text(text)


def run(arguments: argparse.Namespace, directory: Path) -> dict[str, object]:
    from tests.bridge.guards import GUARDS  # noqa: PLC0415 (the environment comes first)
    from tests.mutation.hunt import PYTEST, copy_tree, run_tests  # noqa: PLC0415 (the environment comes first)

    os.environ["CHIPTRACE_MODEL_RUNS"] = str(arguments.runs)
    started = time.monotonic()
    trees: Queue[Path] = Queue()
    for number in range(arguments.jobs):
        copy_tree(directory / str(number))
        trees.put(directory / str(number))
    chosen = [guard for guard in GUARDS if arguments.only in ("", guard.name, str(guard.case), guard.test)]
    if not chosen:
        sys.exit("no such guard; --list names them")
    named = sorted({guard.test for guard in chosen if "test_model.py" not in guard.test})
    failing = run_tests(directory / "0", (*PYTEST, *named)) if named else ""
    if failing:
        sys.exit(f"the tree itself fails: {failing}")

    def one(guard: Any) -> tuple[Any, str, float]:
        tree = trees.get()
        try:
            return guard, *hunted(tree, guard)
        finally:
            trees.put(tree)

    print("| case | guard removed | in | test that fails | s |\n|---|---|---|---|---|", flush=True)
    unseen = []
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for guard, shown, seconds in pool.map(one, chosen):
            name = guard.test.partition("::")[2]
            seeds = re.search(r"\[(\d+)\]", shown)
            told = f"`{name}`" if shown else f"NONE: `{name}` passes"
            if "test_model.py" in guard.test and seeds:
                told = f"the model, in seeds from {seeds[1]} on"
            if not shown:
                unseen.append(guard.name)
            print(
                f"| {guard.case or ''} | {guard.name} | `{guard.file}.py` | {told} | {seconds:.1f} |",
                flush=True,
            )
    return {
        "guards": len(chosen),
        "seen": len(chosen) - len(unseen),
        "unseen": unseen,
        "seconds": round(time.monotonic() - started, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=1, help="guards at once, each in a copy of its own")
    parser.add_argument(
        "--runs", type=int, default=20_000, help="of the model, at most, for each guard of custody"
    )
    parser.add_argument("--only", metavar="CASE", default="", help="of this number, name or test")
    parser.add_argument("--list", action="store_true", help="name the guards")
    arguments = parser.parse_args()
    if Path(sys.prefix).resolve() != VENV.resolve():  # started with another interpreter: go on with ours
        return subprocess.run([prepare("dev"), *sys.argv], check=False).returncode
    sys.path.insert(0, str(ROOT))
    if arguments.list:
        from tests.bridge.guards import GUARDS  # noqa: PLC0415 (the environment comes first)

        for guard in GUARDS:
            print(f"{guard.case:02d} {guard.file}.py: {guard.name}")
        return 0
    with tempfile.TemporaryDirectory(prefix="chiptrace-guards-") as directory:
        figures = run(arguments, Path(directory))
    print(json.dumps(figures))
    return 1 if figures["unseen"] else 0


if __name__ == "__main__":
    sys.exit(main())
