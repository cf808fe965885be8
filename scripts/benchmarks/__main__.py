"""Runs one benchmark by its name; scripts/bench.py finds the environment first."""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import platform
import subprocess
import sys
from pathlib import Path

from scripts.benchmarks.limits import foreign_load

FOLDER = Path(__file__).resolve().parent
PARTS = (
    "__init__",
    "__main__",
    "result",
    "limits",
    "chains",
    "testnets",
    "prefill",
    "machine",
    "networks",
    "offering",
)


def names() -> dict[str, str]:
    """Every benchmark's name and what it measures: the first line of its file."""
    found = {}
    for path in sorted(FOLDER.glob("*.py")):
        if path.stem not in PARTS:
            text = ast.get_docstring(ast.parse(path.read_text())) or ""
            found[path.stem.replace("_", "-")] = text.splitlines()[0]
    return found


def commit() -> str:
    """Which sources these are."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def main() -> None:
    known = names()
    if sys.argv[1:] in (["list"], []):
        for name, about in known.items():
            print(f"{name:<14}{about}")
        return
    parser = argparse.ArgumentParser(prog="scripts/bench.py", description="Measure one thing.")
    commands = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    for name, about in known.items():
        command = commands.add_parser(name, help=about, description=about)
        if name in sys.argv[1:2]:
            module = importlib.import_module(f"scripts.benchmarks.{name.replace('-', '_')}")
            module.add_arguments(command)
        command.add_argument("--json", action="store_true", help="only the JSON object")
    chosen = parser.parse_args()
    before = foreign_load()
    measured = module.measure(chosen)
    machine = {
        "python": platform.python_version(),
        "commit": commit(),
        "load_before": before,
        "load_after": foreign_load(),
    }
    if not chosen.json:
        print(json.dumps(measured, indent=2))
    print(json.dumps({"name": chosen.name} | measured | machine))


if __name__ == "__main__":
    main()
