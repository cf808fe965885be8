"""Milliseconds from submit to final of one transaction at a time on an idle chain, and then under shares of its full load.

At moments drawn anew: at a fixed one after the last, all would meet the block that only certifies, or none would. The
limit is the disk's: three fsyncs one after the other.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from pathlib import Path

from proto.chiptrace.v1.node_pb2 import StatusRequest, SubmitRequest
from proto.chiptrace.v1.node_pb2_grpc import ChainStub
from scripts.benchmarks.budgets import IDLE_P50_MS, IDLE_P99_MS
from scripts.benchmarks.limits import fsyncs_ms
from scripts.benchmarks.machine import between
from scripts.benchmarks.networks import Loaded, network
from scripts.benchmarks.offered_load import shares_of
from scripts.benchmarks.offering import POINTS, WARMING_S
from scripts.benchmarks.result import Result, median, percentile, result, short
from scripts.benchmarks.testnets import channels

FIRST = 20  # that are not counted
FSYNCS = 3  # one after the other on the way: proposer's journal, voters' journals, the batch
PAUSE_S = 0.2  # at most, between two


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--samples", type=int, default=300, help="on the idle chain")
    parser.add_argument("--validators", type=int, default=4)
    parser.add_argument("--shares", default="", help="then under so many per cent of saturation, with commas")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each share, and of saturation")
    parser.add_argument("--warming", type=float, default=WARMING_S, help="seconds of load before that")
    parser.add_argument("--events", type=int, default=1, help="events per transaction")
    parser.add_argument("--frame", type=int, default=20, help="events per frame under load")
    parser.add_argument("--parts", type=int, default=0, help="that are there before; these are observed")
    parser.add_argument("--folder", type=Path, help="keep filled chains here, and use what is there")


async def one_by_one(chain: Loaded, samples: int) -> tuple[list[float], list[float]]:
    """Milliseconds each took, in turn at all nodes; and what the same node took to answer what it knows, right before."""
    moments = random.Random(1)  # noqa: S311 (nothing secret)
    lines = channels(chain.session)
    stubs = [ChainStub(line) for line in lines]
    took, answered = [], []
    for place, data in enumerate(chain.transactions(samples + FIRST)):
        stub = stubs[place % len(stubs)]
        asked = time.perf_counter()
        await stub.GetStatus(StatusRequest(), timeout=30)
        started = time.perf_counter()
        answered.append((started - asked) * 1000)
        reply = await stub.Submit(SubmitRequest(transactions=[data], wait=True), timeout=30)
        if not reply.outcomes[0].ok:
            raise SystemExit(f"refused: {reply.outcomes[0]}")
        took.append((time.perf_counter() - started) * 1000)
        await asyncio.sleep(moments.uniform(0.0, PAUSE_S))
    for line in lines:
        await line.close()
    return took[FIRST:], answered[FIRST:]


def measure(chosen: argparse.Namespace) -> Result:
    fsyncs = [median(fsyncs_ms(chosen.folder))]
    with network(chosen.validators, chosen.parts, folder=chosen.folder) as chain:
        before = chain.moment()
        took, answered = asyncio.run(one_by_one(chain, chosen.samples))
        used = between(before, chain.moment(), chosen.samples, len(chain.nodes))
        fsyncs.append(median(fsyncs_ms(chosen.folder)))
        full, shares = shares_of(chain, chosen) if chosen.shares else ({}, [])
    limits = [FSYNCS * fsync for fsync in fsyncs]
    return result(
        median(took),
        "ms submit to final, p50, idle chain",
        limits,
        "ms for three fsyncs one after the other",
        took,
        parts=chosen.parts,
        latency_ms={str(point): short(percentile(took, point)) for point in POINTS},
        latency_ms_p99=short(percentile(took, 0.99)),
        budget=short(IDLE_P50_MS + min(limits)),
        budget_p99=short(IDLE_P99_MS + min(limits)),
        answer_ms_p50=short(median(answered)),
        fsync_ms_p50=[short(fsync) for fsync in fsyncs],
        used=used,
        saturation=full,
        shares=shares,
    )
