"""What a load of queries takes from a chain's throughput, on a validator and on a node that only follows.

One validator has a core of its own, the follower and whoever asks have another one (where there is but one core, all share
it, and the result says so). Proofs and histories are asked for in a closed loop while the chain is loaded in a closed
loop: of nobody, of the follower, of the validator, again and again in turn.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import time
from pathlib import Path
from typing import Any

import grpc

from ledger import state
from proto.chiptrace.v1.node_pb2 import HistoryRequest, ProveRequest
from proto.chiptrace.v1.node_pb2_grpc import ChainStub
from scripts.benchmarks import prefill
from scripts.benchmarks.machine import between
from scripts.benchmarks.networks import Loaded, network
from scripts.benchmarks.offering import FRAME, MORE, OUTSTANDING, WARMING_PER_S, Offered, closed
from scripts.benchmarks.result import Result, median, result, short
from scripts.benchmarks.testnets import channels

KEYS = 32  # proven by one question, as an audit of an assembly asks
ASKING = 4  # questions under way
NOBODY, FOLLOWER, VALIDATOR = "nobody", "the follower", "the validator"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=20.0, help="of each run")
    parser.add_argument("--repeats", type=int, default=3, help="of all three, in turn")
    parser.add_argument(
        "--parts", type=int, default=20_000, help="that are there before, and are asked about"
    )
    parser.add_argument("--folder", type=Path, help="keep filled chains here, and use what is there")


def pinned(process: int, core: int) -> None:
    """All threads of a process keep to one core, and those they begin."""
    for task in Path(f"/proc/{process}/task").iterdir():
        os.sched_setaffinity(int(task.name), {core})


async def ask(line: grpc.aio.Channel, parts: int, seconds: float) -> int:
    """How many questions one node answered."""
    stub, ends, answered = ChainStub(line), time.monotonic() + seconds, 0
    numbers = random.Random(1)  # noqa: S311 (nothing secret)

    async def one_after_the_other() -> None:
        nonlocal answered
        while time.monotonic() < ends:
            names = [prefill.CLASS + prefill.serial(numbers.randrange(parts)).decode() for _ in range(KEYS)]
            subjects = [state.part_key(name) for name in names]
            await stub.Prove(ProveRequest(keys=subjects), timeout=30)
            # From the second entry on: no chain ever decided the first of a part that was filled in.
            await stub.GetHistory(HistoryRequest(subject=subjects[0], from_n=1, limit=1), timeout=30)
            answered += 2

    await asyncio.gather(*(one_after_the_other() for _ in range(ASKING)))
    return answered


async def loaded(
    chain: Loaded, waiting: list[bytes], asked: str | None, chosen: argparse.Namespace
) -> tuple[Offered, int]:
    """The closed loop, and questions to a node meanwhile."""
    if asked is None:
        return await closed(chain.session, waiting, chosen.seconds, OUTSTANDING, FRAME), 0
    places = list(chain.endpoints())
    with chain.without(*(name for name in places if name != asked)):
        (line,) = channels(chain.session)
    found, answered = await asyncio.gather(
        closed(chain.session, waiting, chosen.seconds, OUTSTANDING, FRAME),
        ask(line, chosen.parts, chosen.seconds),
    )
    await line.close()
    return found, answered


def one(
    chain: Loaded, validator: str, asked: str | None, rate: float, chosen: argparse.Namespace
) -> dict[str, Any]:
    """One run."""
    waiting = chain.transactions(int(chosen.seconds * rate))
    before = chain.moment()
    with chain.without(*(name for name in chain.endpoints() if name != validator)):
        found, answered = asyncio.run(loaded(chain, waiting, asked, chosen))
    used = between(before, chain.moment(), len(found.final), 1)
    in_time = sum(moment <= found.seconds for moment in found.final)
    return {
        "final_per_s": short(in_time / found.seconds),
        "queries_per_s": short(answered / found.seconds),
        "used": used,
    }


def measure(chosen: argparse.Namespace) -> Result:
    cores = sorted(os.sched_getaffinity(0))
    own, others = cores[0], cores[-1]
    runs: dict[str, list[dict[str, Any]]] = {NOBODY: [], FOLLOWER: [], VALIDATOR: []}
    try:
        with network(1, chosen.parts, folder=chosen.folder, following=1) as chain:
            validator, follower = chain.endpoints()
            pinned(chain.nodes[validator], own)
            pinned(chain.nodes[follower], others)
            pinned(os.getpid(), others)
            rate: float = WARMING_PER_S
            one(chain, validator, None, rate, chosen)  # warms
            for _ in range(chosen.repeats):
                for name, asked in ((NOBODY, None), (FOLLOWER, follower), (VALIDATOR, validator)):
                    runs[name].append(one(chain, validator, asked, rate, chosen))
                rate = MORE * max(run["final_per_s"] for some in runs.values() for run in some)
    finally:
        os.sched_setaffinity(0, set(cores))
    final = {name: [run["final_per_s"] for run in some] for name, some in runs.items()}
    half = (len(final[NOBODY]) + 1) // 2
    return result(
        median(final[FOLLOWER]),
        "transactions/s, final, while the follower is asked",
        [median(final[NOBODY][:half]), median(final[NOBODY][-half:])],
        "transactions/s while nobody is asked, the first half of the runs and the second, in turn with the others",
        final[FOLLOWER],
        ratio_validator_asked=short(median(final[VALIDATOR]) / median(final[NOBODY])),
        cores_apart=own != others,
        keys_per_question=KEYS,
        runs=runs,
    )
