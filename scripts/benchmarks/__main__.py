"""Runs one benchmark by its name, or all that are quoted, or judges results; scripts/bench.py finds the environment first."""

from __future__ import annotations

import json
import sys

from scripts.benchmarks import budgets, quoted
from scripts.benchmarks.named import known, listing, measured

COMMANDS = {"budgets": budgets.main, "quoted": quoted.main}


def main() -> None:
    name, *words = sys.argv[1:] or ["list"]
    if name in ("list", "-h", "--help"):
        print(listing())
    elif name in COMMANDS:
        COMMANDS[name](words)
    else:
        found = measured(known(name), words)
        if "--json" not in words:
            print(json.dumps(found, indent=2))
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
