"""Transactions per second that a node catches up with, against the rate of the living chain; and the engine alone.

A node of a chain is killed, the others are loaded to the full, which gives the live rate; then the load ends and the node is started. By
its own log it is timed, from its first height with transactions to its last one. The others idle meanwhile, so it has their cores for itself, as on a
machine of its own: with a verifier process, unless told otherwise. The engine alone fetches heights over virtual links, with
real signatures and one of three peers silent.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from node import config
from node.config import NodeConfig
from node.testnet import LOG, Testnet
from node.testnet_layout import read
from scripts.benchmarks.budgets import TIMES_LIVE
from scripts.benchmarks.limits import verifications, verifications_by_processes
from scripts.benchmarks.machine import between, moment
from scripts.benchmarks.networks import Loaded, network
from scripts.benchmarks.offering import OUTSTANDING, closed
from scripts.benchmarks.result import Result, median, result, short
from scripts.benchmarks.testnets import CHAIN, FRAME, ROOT, nodes_of

QUORUM = 3  # signatures of a finalization of four validators
RATE = 4_000  # transactions made for every second of load
FIRST_POLL_S = 0.02
POLL_S = 0.5  # a question over a line of its own takes 10 ms of CPU: 50 in a second cost a tenth of the rate
WAIT_MAX_S = 120.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=20.0, help="of load that the node misses")
    parser.add_argument("--parts", type=int, default=0, help="that are there before; these are observed")
    parser.add_argument("--folder", type=Path, help="keep filled chains here, and use what is there")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--verifiers", type=int, default=1, help="processes beside the node that catches up")
    parser.add_argument("--heights", type=int, default=3_000, help="of the engine alone")


def caught_up(chain: Loaded, testnet: Testnet, chosen: argparse.Namespace) -> dict[str, Any]:
    """One node misses a load and comes back."""
    name, other = list(chain.nodes)[:2]
    testnet.kill(name)
    place = read(chain.home).config_file(name)
    config.write(place, replace(config.read(place, NodeConfig), verifiers=chosen.verifiers))
    with chain.without(name):
        waiting = chain.transactions(int(chosen.seconds * RATE))
        found = asyncio.run(closed(chain.session, waiting, chosen.seconds, OUTSTANDING, FRAME))
    tip = _reached(chain, other, 0, FIRST_POLL_S)
    log = place.with_name(LOG)
    missed = log.stat().st_size
    testnet.start(name)
    first = _reached(chain, name, 0, FIRST_POLL_S)
    chain.nodes = nodes_of(chain.home, CHAIN)
    before = moment([chain.nodes[name]])
    _reached(chain, name, tip, POLL_S)
    after = moment([chain.nodes[name]])
    executed = [one for one in _executed(log, missed) if one.height > first]
    if len(executed) < 2:
        raise SystemExit(f"{name} had caught up before it was asked; choose more --seconds")
    seconds = max(executed[-1].at - executed[0].at, 0.001)
    live, rate = len(found.final) / found.seconds, sum(one.transactions for one in executed[1:]) / seconds
    return {
        "live_per_s": short(live),
        "caught_up_per_s": short(rate),
        "times_live": short(rate / live),
        "heights": len(executed),
        "seconds": short(seconds),
        "used": between(before, after, sum(one.transactions for one in executed), 1),
    }


def _reached(chain: Loaded, name: str, height: int, every_s: float) -> int:
    """The height of a node, once it answers and has this one."""
    deadline = time.monotonic() + WAIT_MAX_S
    while time.monotonic() < deadline:
        reply = chain.status(name)
        if reply is not None and reply.height >= height:
            return reply.height
        time.sleep(every_s)
    raise SystemExit(f"{name} did not catch up within {WAIT_MAX_S:.0f} s; see its log in {chain.home}")


class _Height(NamedTuple):
    at: float  # when it was on the disk
    height: int
    transactions: int


def _executed(log: Path, start: int) -> list[_Height]:
    """The heights with transactions that a node logged, from a place in its log on."""
    with log.open("rb") as lines:
        lines.seek(start)
        told = [json.loads(line) for line in lines]
    return [
        _Height(datetime.fromisoformat(line["time"]).timestamp(), line["height"], line["transactions"])
        for line in told
        if line["message"] == "height decided" and line["transactions"]
    ]


def engine_alone(heights: int) -> dict[str, Any]:
    """Heights per second of one core, against verifying their finalizations alone."""
    command = [sys.executable, "scripts/catch_up.py", "--heights", str(heights)]
    command += ["--real-signatures", "--hostile"]
    bare = verifications() / QUORUM
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return found | {"finalizations_per_s": short(bare), "ratio": short(found["heights_per_second"] / bare)}


def measure(chosen: argparse.Namespace) -> Result:
    limits, runs = [verifications_by_processes(1)], []
    for _ in range(chosen.runs):
        with network(4, chosen.parts, folder=chosen.folder) as chain:
            runs.append(caught_up(chain, Testnet(chain.home), chosen))
    limits.append(verifications_by_processes(1))
    times = [run["times_live"] for run in runs]
    return result(
        median([run["caught_up_per_s"] for run in runs]),
        "transactions/s that a node catches up with",
        limits,
        "verifications/s of one process",
        [run["caught_up_per_s"] for run in runs],
        times_live=median(times),
        budget_times_live=TIMES_LIVE,
        parts=chosen.parts,
        verifiers=chosen.verifiers,
        runs=runs,
        engine=engine_alone(chosen.heights),
    )
