"""Milliseconds from submit to final of one transaction at a time on an idle testnet of four validators.

At moments drawn anew: at a fixed one after the last, all would meet the block that only certifies, or none would.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time

from client.session import ChainSession, open_chain
from proto.chiptrace.v1.node_pb2 import SubmitRequest
from proto.chiptrace.v1.node_pb2_grpc import ChainStub
from scripts.benchmarks.limits import fsyncs_ms
from scripts.benchmarks.result import Result, median, percentile, result
from scripts.benchmarks.testnets import CHAIN, MEMBER, channels, testnet, transactions

WARMING = 20
FSYNCS = 3  # of one after the other on the way: proposer's journal, voters' journals, the batch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--samples", type=int, default=300)


async def one_by_one(session: ChainSession, samples: int) -> list[float]:
    """Milliseconds each took."""
    moments = random.Random(1)  # noqa: S311 (nothing secret)
    lines = channels(session)
    stubs = [ChainStub(line) for line in lines]
    took = []
    for place, data in enumerate(transactions(session, samples + WARMING)):
        started = time.perf_counter()
        request = SubmitRequest(transactions=[data], wait=True)
        reply = await stubs[place % len(stubs)].Submit(request, timeout=30)
        if not reply.outcomes[0].ok:
            raise SystemExit(f"refused: {reply.outcomes[0]}")
        took.append((time.perf_counter() - started) * 1000)
        await asyncio.sleep(moments.uniform(0.0, 0.2))
    for line in lines:
        await line.close()
    return took[WARMING:]


def measure(chosen: argparse.Namespace) -> Result:
    fsyncs = fsyncs_ms()
    with testnet() as trust, open_chain(trust, CHAIN, MEMBER) as session:
        took = asyncio.run(one_by_one(session, chosen.samples))
    fsyncs += fsyncs_ms()
    return result(
        median(took),
        "ms submit to final, p50",
        FSYNCS * median(fsyncs),
        "ms for three fsyncs one after the other",
        took,
        p90=round(percentile(took, 0.9), 1),
        p99=round(percentile(took, 0.99), 1),
        fsync_ms_p50=round(median(fsyncs), 2),
        fsync_ms_p99=round(percentile(fsyncs, 0.99), 2),
    )
