"""Seconds from the start of a node that was killed (SIGKILL) under load until it is in step and answers again."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import grpc

from client.session import ChainSession, open_chain
from proto.chiptrace.v1.node_pb2 import StatusRequest
from proto.chiptrace.v1.node_pb2_grpc import ChainStub
from scripts.benchmarks.result import Result, median, result
from scripts.benchmarks.testnets import CHAIN, MEMBER, ROOT, channels, nodes_of, testnet, transactions
from scripts.benchmarks.throughput import load

IMPORTS = "import node.cli, node.cli_node, node.server, bridge.machine"
RATE = 1_500  # transactions made for every second of load
OUTSTANDING = 8
WAIT_MAX_S = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=20.0, help="of load before the first kill")
    parser.add_argument("--runs", type=int, default=5)


def imports_s() -> float:
    """Seconds in which Python loads a node's program and does nothing."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", IMPORTS], cwd=ROOT, check=True)
    return time.perf_counter() - started


async def in_step(session: ChainSession) -> None:
    """Returns once every node of the chain answers that it is in step."""
    lines = channels(session)
    for line in lines:
        while True:
            try:
                reply = await ChainStub(line).GetStatus(StatusRequest(), timeout=1, wait_for_ready=True)
                if reply.synced:
                    break
            except grpc.aio.AioRpcError:
                pass
            await asyncio.sleep(0.01)
        await line.close()


def killed_and_started(session: ChainSession, home: Path) -> float:
    """Seconds until the node serves again; its program is started by the testnet's own command."""
    name, process = next(iter(nodes_of(home, CHAIN).items()))
    os.kill(process, signal.SIGKILL)
    while Path(f"/proc/{process}").exists():
        time.sleep(0.01)
    command = [sys.executable, "-m", "node.cli", "testnet", "start", name, "--dir", str(home)]
    started = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    while name not in nodes_of(home, CHAIN):
        time.sleep(0.01)
    began = time.perf_counter()
    asyncio.run(asyncio.wait_for(in_step(session), WAIT_MAX_S))
    took = time.perf_counter() - began
    started.wait()
    return took


def measure(chosen: argparse.Namespace) -> Result:
    with testnet() as trust, open_chain(trust, CHAIN, MEMBER) as session:
        final = asyncio.run(
            load(session, transactions(session, int(chosen.seconds * RATE)), chosen.seconds, OUTSTANDING, 100)
        )
        loading = [imports_s() for _ in range(3)]
        took = [killed_and_started(session, trust.parent) for _ in range(chosen.runs)]
    return result(
        median(took),
        "s from start to in step and answering",
        median(loading),
        "s to load the program",
        took,
        transactions=len(final),
    )
