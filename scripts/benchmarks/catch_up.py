"""Heights per second that the engine alone catches up with, with real signatures and one of three peers silent."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

from scripts.benchmarks.limits import verifications
from scripts.benchmarks.result import Result, median, result
from scripts.benchmarks.testnets import ROOT

QUORUM = 3  # signatures of a finalization of four validators


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--heights", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)


def measure(chosen: argparse.Namespace) -> Result:
    command = [sys.executable, "scripts/catch_up.py", "--heights", str(chosen.heights)]
    command += ["--real-signatures", "--hostile"]
    limit, runs = verifications(), []
    for _ in range(chosen.runs):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    rates = [float(run["heights_per_second"]) for run in runs]
    return result(
        median(rates),
        "heights/s of one core",
        limit / QUORUM,
        "heights/s if only their finalizations were verified",
        rates,
        last_run=runs[-1],
    )
