"""Remove each guard of the engine in turn and see that some test notices: `python3 scripts/mutate.py`.

Every mutant of tests/mutation/mutants.py is made in a copy of the tree and hunted by what is most general first:
simulated seeds, then the model with the engine's code in it, then the told scenarios, then the unit tests. One line of a table for
each mutant, and one JSON object last: {"mutants": ..., "caught": ..., "uncaught": [...], "by": {...}, "seconds": ...}.
A full run takes long; it writes down what it has found and goes on there when it is started again on the same
tree. First of all the tree itself is run: where nothing is removed, nothing may be noticed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any

from environment import ROOT, VENV, prepare

SEEDS = 400
FOUND = ROOT / ".chiptrace" / "mutation.jsonl"


def earlier(path: Path) -> dict[str, dict[str, Any]]:
    """Outcomes written down, by tree, mutant and number of seeds."""
    if not path.exists():
        return {}
    entries = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    return {entry["key"]: entry["outcome"] for entry in entries}


def outcomes_of(arguments: argparse.Namespace, directory: Path) -> Iterator[Any]:
    """The tree as it is, then mutant by mutant, each process with a copy of its own."""
    from tests.mutation.hunt import Outcome, copy_tree, digest, hunt  # noqa: PLC0415 (the environment comes first)
    from tests.mutation.mutants import MUTANTS  # noqa: PLC0415 (the environment comes first)

    trees: Queue[Path] = Queue()
    for number in range(arguments.jobs):
        trees.put(directory / str(number))
        copy_tree(directory / str(number))
    state, known = digest(directory / "0"), earlier(arguments.found)

    def outcome_of(mutant: Any) -> Any:
        key = f"{state} {arguments.seeds} {mutant}"
        if key in known and not arguments.only:
            return Outcome(**known[key])
        tree = trees.get()
        outcome = hunt(tree, mutant, arguments.seeds)
        trees.put(tree)
        arguments.found.parent.mkdir(parents=True, exist_ok=True)
        with arguments.found.open("a") as file:
            file.write(json.dumps({"key": key, "outcome": outcome.entry()}) + "\n")
        return outcome

    chosen = [mutant for mutant in MUTANTS if not arguments.only or mutant.name in arguments.only]
    if arguments.only and len(chosen) != len(arguments.only):
        sys.exit("no such mutant; --list names them")
    with ThreadPoolExecutor(arguments.jobs) as pool:
        if not arguments.only:
            yield outcome_of(None)
        yield from pool.map(outcome_of, chosen)


def run(arguments: argparse.Namespace) -> dict[str, object]:
    outcomes = []
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chiptrace-mutants-") as directory:
        print(
            "| mutant | caught by | seeds to catch | seconds | what was seen |\n|---|---|---|---|---|",
            flush=True,
        )
        for outcome in outcomes_of(arguments, Path(directory)):
            print(outcome.row(), flush=True)
            if outcome.name != "nothing removed":
                outcomes.append(outcome)
            elif outcome.caught_by:
                sys.exit(f"the tree itself fails: {outcome.shown}")
    by = Counter(outcome.caught_by for outcome in outcomes if outcome.caught_by)
    return {
        "mutants": len(outcomes),
        "caught": sum(by.values()),
        "uncaught": [outcome.name for outcome in outcomes if not outcome.caught_by],
        "by": dict(by),
        "seconds": round(time.monotonic() - started, 1),
    }


def show() -> None:
    from tests.mutation.mutants import MUTANTS  # noqa: PLC0415 (the environment comes first)

    for mutant in MUTANTS:
        print(f"consensus/{mutant.file}.py: {mutant.name} ({mutant.guards})")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=SEEDS, help="simulated for each mutant, at most")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at once, each in a copy of its own")
    parser.add_argument("--only", action="append", metavar="NAME", help="this mutant, anew (may be repeated)")
    parser.add_argument("--list", action="store_true", help="name the mutants and what each guard is for")
    parser.add_argument("--found", type=Path, default=FOUND, help="where outcomes are written down")
    arguments = parser.parse_args()
    if Path(sys.prefix).resolve() != VENV.resolve():  # started with another interpreter: go on with ours
        return subprocess.run([prepare("dev"), *sys.argv], check=False).returncode
    sys.path.insert(0, str(ROOT))
    if arguments.list:
        show()
        return 0
    figures = run(arguments)
    print(json.dumps(figures))
    return 1 if figures["uncaught"] else 0


if __name__ == "__main__":
    sys.exit(main())
