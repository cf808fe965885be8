"""Transactions per second that a testnet of four validators makes final: signed, over mTLS, with real fsync.

Closed loop: so many frames under way at any time, sent in turn to all four nodes. The limit is what four processes
that only verify Ed25519 get through on the same cores, measured before and after.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter
from typing import Any

from client.session import ChainSession, open_chain
from proto.chiptrace.v1.node_pb2 import SubmitRequest
from proto.chiptrace.v1.node_pb2_grpc import ChainStub
from scripts.benchmarks.limits import fsyncs_ms, verifications_by_processes
from scripts.benchmarks.result import Result, median, result
from scripts.benchmarks.testnets import (
    CHAIN,
    FRAME,
    MEMBER,
    channels,
    nodes_of,
    testnet,
    transactions,
    usage,
)

WINDOW_S = 5.0  # one sample
RATE_MAX = 4_000  # transactions made beforehand per second of the run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--outstanding", type=int, default=12, help="frames under way")
    parser.add_argument("--events", type=int, default=1, help="events per transaction")


async def load(
    session: ChainSession, waiting: list[bytes], seconds: float, outstanding: int, frame_size: int
) -> list[float]:
    """When each transaction became final, in seconds from the start."""
    lines = channels(session)
    stubs = [ChainStub(line) for line in lines]
    final: list[float] = []
    started = time.monotonic()

    async def pump(stub: Any) -> None:
        while time.monotonic() < started + seconds and waiting:
            frame = [waiting.pop() for _ in range(min(frame_size, len(waiting)))]
            reply = await stub.Submit(SubmitRequest(transactions=frame, wait=True), timeout=60)
            good = sum(outcome.final and outcome.ok for outcome in reply.outcomes)
            final.extend([time.monotonic() - started] * good)
            if good < len(frame):
                await asyncio.sleep(0.1)

    await asyncio.gather(*(pump(stubs[n % len(stubs)]) for n in range(outstanding)))
    for line in lines:
        await line.close()
    return final


def measure(chosen: argparse.Namespace) -> Result:
    limits, fsyncs = [verifications_by_processes(4)], fsyncs_ms()
    rate = max(RATE_MAX // chosen.events, 200)
    frame = max(1, FRAME // chosen.events)
    with testnet() as trust, open_chain(trust, CHAIN, MEMBER) as session:
        nodes = nodes_of(trust.parent, CHAIN)
        waiting = transactions(session, int(chosen.seconds * rate), chosen.events)
        size = round(sum(map(len, waiting)) / len(waiting))
        before = {name: usage(process) for name, process in nodes.items()}
        cpu = time.process_time()
        final = asyncio.run(load(session, waiting, chosen.seconds, chosen.outstanding, frame))
        cpu = time.process_time() - cpu
        after = {name: usage(process) for name, process in nodes.items()}
    took = max(final, default=chosen.seconds)
    windows = Counter(int(moment / WINDOW_S) for moment in final)
    spent: Counter[str] = Counter()
    for name, used in after.items():
        spent.update(used.since(before[name]))
    limits.append(verifications_by_processes(4))
    per = len(final) * max(1, len(nodes))
    return result(
        len(final) * chosen.events / took,
        "events/s, final" if chosen.events > 1 else "transactions/s, final",
        min(limits),
        "verifications/s and process of four",
        [windows[n] * chosen.events / WINDOW_S for n in range(int(took / WINDOW_S))],
        final=len(final),
        seconds=round(took, 1),
        events_per_transaction=chosen.events,
        bytes_per_transaction=size,
        fsync_ms_p50=round(median(fsyncs), 2),
        cpu_us_per_transaction_and_node=round(sum(spent.values()) / per * 1e6),
        cpu_us_by_thread={name: round(used / per * 1e6, 1) for name, used in spent.most_common()},
        load_generator_cpu_us_per_transaction=round(cpu / len(final) * 1e6),
        resident_mib=max((used.resident_mib for used in after.values()), default=0.0),
    )
