"""Seconds of CPU that auditing a device of 1,000 parts over two chains takes, against its signatures and hashes alone.

The parts are commissioned on one chain, cross the bridge one by one, are accepted and installed in the device on the
other. The chains are in this process; what they take to answer is not counted. The limit is made of what the audit asked
for: so many signatures, each as long as a bare verification takes, and so many hashes, each as long as a bare hash.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from client.audit import Audit
from client.audit_report import Report, Verdict
from ledger import codec, hashes
from proto.chiptrace.v1.bridge_pb2 import SendPart
from proto.chiptrace.v1.ledger_pb2 import Change, Operation, PutGrant, Value
from scripts.benchmarks import limits
from scripts.benchmarks.result import Result, median, result, short
from tests.bridge.two_chains import HOUR_MS, World, event, object_event, serial, texts
from tests.client.direct import DirectConnection, verified

PER_EVENT = 250  # parts installed by one event
SENDER, RECEIVER = "ada", "bob"
DEVICE, DEVICES = "https://id.gs1.org/01/05012345111117/21/1", "gs1:5012345"
SHARE_MAX = 1.5  # the design's budget: audit / its signatures and hashes alone


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--parts", type=int, default=1_000)
    parser.add_argument("--together", type=int, default=1, help="parts per transaction on their way")
    parser.add_argument("--runs", type=int, default=3)


def chunks(parts: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """So many at a time."""
    for start in range(0, len(parts), size):
        yield parts[start : start + size]


def world_with_device(count: int, together: int) -> tuple[World, str]:
    """Two chains, and a device on the second whose parts came from the first."""
    world = World("a", "b")
    _must(world.govern("b", Change(put_grant=PutGrant(prefix=DEVICES, holder=RECEIVER))))
    parts, device = [serial(number) for number in range(1, count + 1)], DEVICE
    for some in chunks(parts, together):
        made = [object_event("ADD", "commissioning", part) for part in some]
        _must(world["a"].operate(SENDER, *made))
    for some in chunks(parts, together):
        until = world.clock.now_ms + HOUR_MS
        sent = [SendPart(client="b-1", part=part, receiver=RECEIVER, timeout_ms=until) for part in some]
        _must(world["a"].operate(SENDER, *(Operation(send_part=codec.encode(one)) for one in sent)))
    world.relay()
    for some in chunks(parts, together):
        taken = [object_event("OBSERVE", "receiving", part, number=1) for part in some]
        _must(world["b"].operate(RECEIVER, *taken))
    _must(world["b"].operate(RECEIVER, object_event("ADD", "commissioning", device)))
    for number, some in enumerate(chunks(parts, PER_EVENT)):
        inside = {"parentID": Value(text=device), "childEPCs": texts(*some)}
        _must(
            world["b"].operate(
                RECEIVER, event("AssociationEvent", "ADD", "assembling", number=number, **inside)
            )
        )
    world.settle()
    return world, device


def _must(outcome: Any) -> None:
    if not outcome.ok:
        raise SystemExit(f"the benchmark is wrong: {outcome}")


class _Timed(DirectConnection):
    """Leaves out what the chain itself takes to answer."""

    spent = 0.0
    answering = False

    def call(self, method: Any, request: Any, seconds: float = 0.0) -> Any:
        began = time.thread_time()
        _Timed.answering = True
        try:
            return super().call(method, request, seconds)
        finally:
            _Timed.answering = False
            _Timed.spent += time.thread_time() - began


def audited(world: World, device: str) -> tuple[Report, float]:
    """The audit, and its own CPU seconds."""
    views = {}
    for chain in world.chains.values():
        view = views[chain.chain_id] = verified(chain)
        view.connection = _Timed(view.connection.stub)  # type: ignore[assignment, attr-defined]
    _Timed.spent, began = 0.0, time.thread_time()
    report = Audit(views).run(device, world["b"].chain_id, lambda: 0)
    took = time.thread_time() - began - _Timed.spent
    if report.verdict is not Verdict.VERIFIED:
        raise SystemExit(f"the benchmark is wrong: {report.problem} {report.findings[:3]}")
    return report, took


@contextmanager
def counting() -> Iterator[Counter[str]]:
    """Counts what is verified and hashed by the auditor inside."""
    found: Counter[str] = Counter()
    verify, plain = hashes.bindings.crypto_sign_open, hashlib.sha256

    def counted_hash(data: bytes = b"") -> Any:
        if not _Timed.answering:
            found["hashes"] += 1
            found["hashed bytes"] += len(data)
        return plain(data)

    def counted_open(signed: bytes, key: bytes) -> bytes:
        found["signatures"] += not _Timed.answering
        return bytes(verify(signed, key))

    bindings, hashes_of = hashes.bindings, hashes.hashlib
    hashes.bindings = SimpleNamespace(**{**vars(bindings), "crypto_sign_open": counted_open})  # type: ignore[assignment]
    hashes.hashlib = SimpleNamespace(sha256=counted_hash)  # type: ignore[assignment]
    try:
        yield found
    finally:
        hashes.bindings, hashes.hashlib = bindings, hashes_of


def bare_hash_s(size: int, rounds: int = 20_000) -> float:
    """Seconds of hashing so many bytes once."""
    data, began = b"x" * size, time.thread_time()
    for _ in range(rounds):
        hashlib.sha256(data).digest()
    return (time.thread_time() - began) / rounds


def measure(chosen: argparse.Namespace) -> Result:
    world, device = world_with_device(chosen.parts, chosen.together)
    with counting() as counted:
        report, _ = audited(world, device)
    rates = [limits.verifications()]
    took = [audited(world, device)[1] for _ in range(chosen.runs)]
    rates.append(limits.verifications())
    mean = counted["hashed bytes"] // counted["hashes"]
    signatures_s = counted["signatures"] / median(rates)
    hashes_s = counted["hashes"] * bare_hash_s(mean)
    return result(
        median(took),
        f"s of CPU, audit of a device of {chosen.parts} parts over two chains",
        signatures_s + hashes_s,
        "s for its signatures and hashes alone",
        took,
        budget_ratio=SHARE_MAX,
        parts_per_transaction=chosen.together,
        signatures=counted["signatures"],
        signatures_s=short(signatures_s),
        hashes=counted["hashes"],
        hashed_bytes_each=mean,
        hashes_s=short(hashes_s),
        checked=report.checked,
    )
