"""Benchmarks by their names: each is run with what it needs to know about the machine measured around it."""

from __future__ import annotations

import argparse
import ast
import importlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scripts.benchmarks import machine
from scripts.benchmarks.limits import foreign_load
from scripts.benchmarks.result import Result

FOLDER = Path(__file__).resolve().parent
PARTS = (
    "__init__",
    "__main__",
    "named",
    "budgets",
    "quoted",
    "result",
    "limits",
    "chains",
    "testnets",
    "prefill",
    "machine",
    "networks",
    "offering",
    "simulation",
    "two_chains",
)


def names() -> dict[str, str]:
    """Every benchmark's name and what it measures: the first line of its file."""
    found = {}
    for path in sorted(FOLDER.glob("*.py")):
        if path.stem not in PARTS:
            text = ast.get_docstring(ast.parse(path.read_text())) or ""
            found[path.stem.replace("_", "-")] = text.splitlines()[0]
    return found


def _git(*words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=FOLDER, capture_output=True, text=True, check=False
    ).stdout.strip()


def measured(name: str, words: Sequence[str]) -> Result:
    """One benchmark's answer to these words of a command line, with machine, commit, command, and what happened
    meanwhile."""
    module = importlib.import_module(f"scripts.benchmarks.{name.replace('-', '_')}")
    parser = argparse.ArgumentParser(prog=f"scripts/bench.py {name}", description=names()[name])
    module.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    chosen = parser.parse_args(words)
    folder = Path(getattr(chosen, "folder", None) or tempfile.gettempdir())
    folder.mkdir(parents=True, exist_ok=True)
    about = machine.about(folder)
    load, before = foreign_load(), machine.now()
    found = module.measure(chosen)
    return {
        "name": name,
        **found,
        "machine": about,
        "commit": _git("rev-parse", "--short", "HEAD") or "unknown",
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "command": " ".join(["scripts/bench.py", name, *words]),
        "load_before": load,
        "load_after": foreign_load(),
        "meanwhile": machine.meanwhile(before),
    }


def listing() -> str:
    """All names, a line each."""
    return "\n".join(f"{name:<14}{about}" for name, about in names().items())


def known(name: str) -> str:
    """The name, if a benchmark has it."""
    if name not in names():
        sys.exit(
            f"there is no benchmark '{name}'; there are, and `budgets` and `quoted` over them:\n{listing()}"
        )
    return name
