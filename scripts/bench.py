"""Measure: `python3 scripts/bench.py list` names the benchmarks, `python3 scripts/bench.py NAME [--json]` runs one.

Each stands in the file of its name in scripts/benchmarks/ and prints one JSON object last: figure, unit, limit, ratio,
samples and what else it knows. Every limit is measured in the same run. Those that need a network start their own in
a temporary folder and end it. `quoted` runs all that docs/benchmarks.md quotes, `budgets` judges what they printed.
"""

from __future__ import annotations

import os
import sys

from environment import ROOT, prepare


def main() -> None:
    python = prepare("runtime")
    if {"profile", "quoted"} & set(sys.argv[1:2]):
        prepare("profile")
    os.chdir(ROOT)
    os.execv(python, [python, "-m", "scripts.benchmarks", *sys.argv[1:]])


if __name__ == "__main__":
    main()
