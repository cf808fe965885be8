"""Milliseconds from a packet's block on one chain until it is received on the other, and a thousand under one update.

Two chains and a relayer as real processes, idle but for the packets: scripts/bridge_run.py without its storms.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from client.session import open_all
from node.state_sync import STORE
from node.testnet import RELAY
from scripts.benchmarks.budgets import RELAY_BLOCKS, RELAY_MS
from scripts.benchmarks.machine import note
from scripts.benchmarks.result import Result, median, percentile, result, short
from scripts.bridge_run import latency, thousand
from scripts.bridge_sides import BridgeRun, Side


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--samples", type=int, default=60)
    parser.add_argument("--packets", type=int, default=1_000, help="that wait for a relayer")


def measure(chosen: argparse.Namespace) -> Result:
    with tempfile.TemporaryDirectory(prefix="chiptrace-bench-") as folder:
        home = Path(folder) / "net"
        run = BridgeRun(home)
        try:
            with open_all(run.network.trust_file) as sessions:
                first, second = (sessions[chain.chain_id] for chain in run.network.chains)
                sides = (Side(first, second.trust.name), Side(second, first.trust.name))
                run.processes.stop([RELAY])  # it reads its configuration, with more packets to a round, anew
                run.start_relay(RELAY)
                found = latency(sides, chosen.samples)
                many = thousand(run, sides, chosen.packets)
            processes = [started.pid for started in run.processes.running().values()]
            note(processes, home.glob(f"nodes/*/data/{STORE}"))
        finally:
            run.close()
    took, blocks = found["relay_ms"], found["block_ms_each"]
    half = len(blocks) // 2
    return result(
        median(took),
        "ms, packet final on one chain to received on the other, p50",
        [median(blocks[:half]), median(blocks[half:])],
        "ms from submit to final on the sending chain, p50 of the first half of the packets and of the second",
        took,
        p90=short(percentile(took, 0.9)),
        p99=short(percentile(took, 0.99)),
        budget=short(RELAY_BLOCKS * median(blocks) + RELAY_MS),
        waiting=many,
    )
