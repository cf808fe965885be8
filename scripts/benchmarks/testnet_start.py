"""Seconds from nothing to the first final blocks of two paired chains of four validators with their relayer."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scripts.benchmarks.budgets import START_S
from scripts.benchmarks.restart import imports_s
from scripts.benchmarks.result import Result, median, result
from scripts.benchmarks.testnets import ROOT, TESTNET

CHAINS, RELAYERS = 2, 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--validators", type=int, default=4, help="of each chain")


def start_s(validators: int) -> float:
    """Seconds that `testnet up` takes, keys, geneses and pairing included."""
    with tempfile.TemporaryDirectory(prefix="chiptrace-bench-") as folder:
        home = str(Path(folder) / "net")
        command = [*TESTNET, "up", "--dir", home, "--validators", str(validators)]
        began = time.perf_counter()
        try:
            subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
            return time.perf_counter() - began
        finally:
            subprocess.run([*TESTNET, "reset", "--dir", home], cwd=ROOT, check=False, stdout=sys.stderr)


def measure(chosen: argparse.Namespace) -> Result:
    programs, cores = CHAINS * chosen.validators + RELAYERS, os.cpu_count() or 1
    loading = [median([imports_s() for _ in range(3)])]
    took = [start_s(chosen.validators) for _ in range(chosen.runs)]
    loading.append(median([imports_s() for _ in range(3)]))
    return result(
        median(took),
        "s from nothing to two paired chains with final blocks",
        [one * programs / cores for one in loading],
        f"s to load {programs} programs on {cores} cores",
        took,
        budget=START_S,
        validators=chosen.validators,
    )
