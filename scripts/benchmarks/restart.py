"""Seconds from the start of a node that was killed (SIGKILL) under load until it is in step and answers again."""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
from pathlib import Path

from node.testnet import Testnet
from scripts.benchmarks.budgets import RESTART_S
from scripts.benchmarks.networks import Loaded, network
from scripts.benchmarks.offering import OUTSTANDING, closed
from scripts.benchmarks.result import Result, median, result
from scripts.benchmarks.testnets import FRAME, ROOT

IMPORTS = "import node.cli, node.cli_node, node.server, bridge.machine"
RATE = 4_000  # transactions made for every second of load
UNDER_S = 0.5  # the load goes on for so long after the kill
POLL_S = 0.01
WAIT_MAX_S = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=5.0, help="of load before each kill")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--validators", type=int, default=4)
    parser.add_argument("--parts", type=int, default=0, help="that are there before; these are observed")
    parser.add_argument("--folder", type=Path, help="keep filled chains here, and use what is there")


def imports_s() -> float:
    """Seconds in which Python loads a node's program and does nothing."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", IMPORTS], cwd=ROOT, check=True)
    return time.perf_counter() - started


def in_step(chain: Loaded, name: str) -> None:
    """Returns once this node answers that it is in step."""
    deadline = time.monotonic() + WAIT_MAX_S
    while time.monotonic() < deadline:
        reply = chain.status(name)
        if reply is not None and reply.synced:
            return
        time.sleep(POLL_S)
    raise SystemExit(f"{name} is not in step after {WAIT_MAX_S:.0f} s")


async def killed_under_load(chain: Loaded, testnet: Testnet, name: str, seconds: float) -> int:
    """Transactions that became final meanwhile."""
    waiting = chain.transactions(int((seconds + UNDER_S) * RATE))
    load = asyncio.create_task(closed(chain.session, waiting, seconds + UNDER_S, OUTSTANDING, FRAME))
    await asyncio.sleep(seconds)
    await asyncio.to_thread(testnet.kill, name)
    return len((await load).final)


def killed_and_started(chain: Loaded, testnet: Testnet, seconds: float) -> tuple[float, int]:
    """Seconds until a node that was killed under load serves again, and what became final before."""
    name = next(iter(chain.nodes))
    final = asyncio.run(killed_under_load(chain, testnet, name, seconds))
    began = time.perf_counter()
    testnet.start(name)
    in_step(chain, name)
    return time.perf_counter() - began, final


def measure(chosen: argparse.Namespace) -> Result:
    loading = [median([imports_s() for _ in range(3)])]
    with network(chosen.validators, chosen.parts, folder=chosen.folder) as chain:
        testnet = Testnet(chain.home)
        runs = [killed_and_started(chain, testnet, chosen.seconds) for _ in range(chosen.runs)]
    loading.append(median([imports_s() for _ in range(3)]))
    took = [seconds for seconds, _ in runs]
    return result(
        median(took),
        "s from start to in step and answering",
        loading,
        "s to load the program",
        took,
        budget=RESTART_S,
        parts=chosen.parts,
        transactions=[final for _, final in runs],
    )
