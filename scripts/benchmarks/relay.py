"""Milliseconds from a packet's block on one chain until it is received on the other, and a thousand under one update.

This is scripts/bridge_run.py without its storms: two chains and a relayer as real processes, idle but for the packets.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

from scripts.benchmarks.result import Result, result
from scripts.benchmarks.testnets import ROOT


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--samples", type=int, default=60)
    parser.add_argument("--packets", type=int, default=1_000, help="that wait for a relayer")


def measure(chosen: argparse.Namespace) -> Result:
    command = [sys.executable, "scripts/bridge_run.py", "--parts", "10", "--pause", "1"]
    command += ["--samples", str(chosen.samples), "--packets", str(chosen.packets)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    found = json.loads(done.stdout.splitlines()[-1])
    return result(
        found["relay_ms_p50"],
        "ms, packet final on one chain to received on the other, p50",
        found["budget_ms"],
        "ms, two blocks measured in the same run and half a second",
        [found["relay_ms_p50"], found["relay_ms_p90"]],
        run=found,
    )
