"""Load on a chain: so much under way at any time (closed), or so much per second whatever comes of it (open).

In the open form a frame is sent at its moment even if none of those before it was answered, and what it takes is counted
from that moment on: who waits in a queue of the generator's waits too.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import grpc

from client.session import ChainSession
from proto.chiptrace.v1.ledger_pb2 import Reason
from proto.chiptrace.v1.node_pb2 import SubmitReply, SubmitRequest
from proto.chiptrace.v1.node_pb2_grpc import ChainStub
from scripts.benchmarks.machine import between
from scripts.benchmarks.networks import Loaded
from scripts.benchmarks.result import median, percentile, short
from scripts.benchmarks.testnets import FRAME, channels

ANSWER_S = 40.0  # longest wait for an answer: a node's own is 30 s
PAUSE_S = 0.05  # of the closed form, after a refusal
OUTSTANDING = 12  # frames under way in the closed form: 1,200 events
WARMING_S = 5.0
WARMING_PER_S = 4_000  # events made beforehand for each second of warming
MORE = 1.6  # times what was final while warming is made beforehand: a warm chain may be faster
WINDOW_S = 5.0
POINTS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)  # of a distribution of latencies


@dataclass
class Offered:
    """What became of what was offered."""

    seconds: float = 0.0
    offered: int = 0  # transactions
    final: list[float] = field(default_factory=list)  # when, in seconds from the start
    latencies_ms: list[float] = field(default_factory=list)  # of those that became final, per transaction
    refused: Counter[str] = field(default_factory=Counter)  # transactions, by reason
    refusal_ms: list[float] = field(default_factory=list)  # how long a refusal took, per frame

    def take(self, reply: SubmitReply, sent: float, began: float) -> int:
        """Counts an answer; how many became final."""
        now = time.monotonic()
        good = sum(outcome.final and outcome.ok for outcome in reply.outcomes)
        self.final.extend([now - began] * good)
        self.latencies_ms.extend([(now - sent) * 1000] * good)
        if good < len(reply.outcomes):
            self.refusal_ms.append((now - sent) * 1000)
            for outcome in reply.outcomes:
                if not (outcome.final and outcome.ok):
                    why = "not final in time" if outcome.admitted else Reason.Name(outcome.reason)
                    self.refused[why] += 1
        return good


async def _send(stub: Any, frame: list[bytes], sent: float, began: float, found: Offered) -> int:
    try:
        reply = await stub.Submit(SubmitRequest(transactions=frame, wait=True), timeout=ANSWER_S)
    except grpc.aio.AioRpcError as error:
        trailing = dict(error.trailing_metadata() or ())
        found.refused[str(trailing.get("chiptrace-reason") or error.code().name)] += len(frame)
        found.refusal_ms.append((time.monotonic() - sent) * 1000)
        return 0
    return found.take(reply, sent, began)


async def closed(
    session: ChainSession, waiting: list[bytes], seconds: float, outstanding: int, frame_size: int
) -> Offered:
    """So many frames under way all the time, sent in turn to all nodes."""
    lines = channels(session)
    stubs, found, began = [ChainStub(line) for line in lines], Offered(), time.monotonic()

    async def pump(stub: Any) -> None:
        while time.monotonic() < began + seconds and waiting:
            frame = [waiting.pop() for _ in range(min(frame_size, len(waiting)))]
            found.offered += len(frame)
            if await _send(stub, frame, time.monotonic(), began, found) < len(frame):
                await asyncio.sleep(PAUSE_S)

    await asyncio.gather(*(pump(stubs[n % len(stubs)]) for n in range(outstanding)))
    found.seconds = min(
        seconds, time.monotonic() - began
    )  # what was under way at the end is no sustained rate
    for line in lines:
        await line.close()
    return found


async def opened(
    session: ChainSession, waiting: list[bytes], seconds: float, rate: float, frame_size: int
) -> Offered:
    """So many transactions per second in frames at even distances, sent in turn to all nodes; returns when all are
    answered. `seconds` of the result is the time of offering."""
    lines = channels(session)
    stubs, found, began = [ChainStub(line) for line in lines], Offered(), time.monotonic()
    tasks = []
    for place in range(int(seconds * rate / frame_size)):
        due = began + place * frame_size / rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        frame = [waiting.pop() for _ in range(min(frame_size, len(waiting)))]
        found.offered += len(frame)
        stub = stubs[place % len(stubs)]
        tasks.append(asyncio.create_task(_send(stub, frame, due, began, found)))
    found.seconds = max(seconds, time.monotonic() - began)
    await asyncio.gather(*tasks)
    for line in lines:
        await line.close()
    return found


def saturated(
    chain: Loaded, seconds: float, events: int, *, outstanding: int = OUTSTANDING, warming: float = WARMING_S
) -> tuple[Offered, dict[str, Any]]:
    """The closed form, and what the processes used in it. A while of warming before it says how many transactions have to
    be made beforehand."""
    frame, rate = max(1, FRAME // events), WARMING_PER_S / events
    for part in (warming, seconds):
        waiting = chain.transactions(max(frame * outstanding, int(part * rate)), events)
        before = chain.moment()
        found = asyncio.run(closed(chain.session, waiting, part, outstanding, frame))
        used = between(before, chain.moment(), len(found.final), len(chain.nodes))
        rate = MORE * len(found.final) / found.seconds
    return found, used


def offered(
    chain: Loaded, seconds: float, rate: float, events: int, frame: int
) -> tuple[Offered, dict[str, Any]]:
    """So many transactions per second in the open form, and what the processes used."""
    waiting = chain.transactions(int(seconds * rate) + frame, events)
    before = chain.moment()
    found = asyncio.run(opened(chain.session, waiting, seconds, rate, max(1, frame // events)))
    return found, between(before, chain.moment(), len(found.final), len(chain.nodes))


def described(found: Offered, used: dict[str, Any], events: int) -> dict[str, Any]:
    """What became of an offer: events per second, milliseconds."""
    in_time = sum(moment <= found.seconds for moment in found.final)
    latencies = found.latencies_ms or [0.0]
    return {
        "seconds": short(found.seconds),
        "offered_per_s": short(found.offered * events / found.seconds),
        "final_per_s": short(in_time * events / found.seconds),
        "transactions_per_s": short(in_time / found.seconds),
        "final": len(found.final),
        "refused": dict(found.refused),
        "refused_part": short(sum(found.refused.values()) / max(1, found.offered)),
        "refusal_ms_p50": short(median(found.refusal_ms)) if found.refusal_ms else None,
        "latency_ms_p50": short(percentile(latencies, 0.5)),
        "latency_ms_p99": short(percentile(latencies, 0.99)),
        "latency_ms": {str(point): short(percentile(latencies, point)) for point in POINTS},
        "per_5_s": windows(found, events),
        "used": used,
    }


def windows(found: Offered, events: int) -> list[float]:
    """Final per second in each window of 5 s while it was offered."""
    counted = Counter(int(moment / WINDOW_S) for moment in found.final)
    return [counted[n] * events / WINDOW_S for n in range(int(found.seconds / WINDOW_S))]
