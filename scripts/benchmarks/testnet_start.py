"""Seconds from nothing to the first final blocks of two paired chains of four validators with their relayer."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scripts.benchmarks.restart import imports_s
from scripts.benchmarks.result import Result, median, percentile, result, short
from scripts.benchmarks.testnets import ROOT

PROCESSES = 9  # eight nodes, one relayer
CORES = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=int, default=3)


def start_s() -> float:
    """Seconds that `testnet up` takes, keys, geneses and pairing included."""
    command = [sys.executable, "-m", "node.cli", "testnet"]
    with tempfile.TemporaryDirectory(prefix="chiptrace-bench-") as folder:
        home = str(Path(folder) / "net")
        began = time.perf_counter()
        try:
            subprocess.run([*command, "up", "--dir", home], cwd=ROOT, check=True, stdout=sys.stderr)
            return time.perf_counter() - began
        finally:
            subprocess.run([*command, "reset", "--dir", home], cwd=ROOT, check=False, stdout=sys.stderr)


def measure(chosen: argparse.Namespace) -> Result:
    loading = [imports_s() for _ in range(3)]
    took = [start_s() for _ in range(chosen.runs)]
    return result(
        median(took),
        "s from nothing to two paired chains with final blocks",
        median(loading) * PROCESSES / CORES,
        f"s to load {PROCESSES} programs on {CORES} cores",
        took,
        worst=short(percentile(took, 1.0)),
        budget_s=10,
    )
