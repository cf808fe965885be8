"""Seconds of CPU that auditing a device of 1,000 parts over two chains takes, against its signatures and hashes alone.

The parts are commissioned on one chain, cross the bridge one by one, are accepted and installed in the device on the
other. The chains are asked once and their answers recorded as bytes; timed are audits of an auditor who knows nothing yet, with
writing the questions and parsing the answers, without gRPC (`calls` says how many there are). The limit is made of what
the audit needs: so many signatures, each as long as a bare verification takes, and so many hashes, each as long as a bare
hash. Hashes that many proofs share are needed once; `hashes_each_proof_alone` has how many there are without that.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

from google.protobuf.message import Message
from nacl import bindings

from client import log_proofs
from client.audit import Audit
from client.audit_report import Report, Verdict
from client.question import collect_seldom
from ledger import codec, hashes, merkle, tree_proof
from ledger import event as events
from proto.chiptrace.v1.bridge_pb2 import SendPart
from proto.chiptrace.v1.ledger_pb2 import Change, Operation, PutGrant, Value
from scripts.benchmarks import limits
from scripts.benchmarks.result import Result, median, result, short
from tests.bridge.two_chains import HOUR_MS, World, event, object_event, serial, texts
from tests.client.direct import DirectConnection, DirectStub, verified

PER_EVENT = 250  # parts installed by one event
SENDER, RECEIVER = "ada", "bob"
DEVICE, DEVICES = "https://id.gs1.org/01/05012345111117/21/1", "gs1:5012345"
# Where the auditor's code has its SHA-256 from.
_COUNTED = [
    (module, name)
    for module in (hashes, merkle, events, tree_proof, log_proofs)
    for name in ("hashlib", "sha256")
    if hasattr(module, name) and getattr(module, name) in (hashlib, hashlib.sha256)
]
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


class _Recorded(DirectConnection):
    """Answers as bytes, by method and question: the chain is asked once, before anything is timed. What is timed is what a
    client does with them: it writes its question, and parses the answer."""

    def __init__(self, stub: Any) -> None:
        super().__init__(stub)
        self.answers: dict[tuple[str, bytes], tuple[type[Message], bytes]] = {}
        self.asked: list[tuple[str, bytes]] = []
        self.recording = True

    def call(self, method: Any, request: Any, seconds: float = 0.0) -> Any:  # noqa: ARG002
        question = type(request).__name__, request.SerializeToString()
        self.asked.append(question)
        if self.recording and question not in self.answers:
            Counting.paused = True
            reply = method(self.stub)(request)
            self.answers[question] = type(reply), reply.SerializeToString()
            Counting.paused = False
        kind, answer = self.answers[question]
        reply = kind.FromString(answer)
        self.bytes_received += reply.ByteSize()  # as client/connection.py does
        return reply


def forget() -> None:
    """Empties what functions keep of earlier calls: an auditor begins with none of it."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("ledger", "bridge", "client"):
            for kept in vars(module).values():
                if hasattr(kept, "cache_clear"):
                    kept.cache_clear()


class Audited:
    """A device to be audited again and again, each time by an auditor who knows nothing yet."""

    def __init__(self, world: World, device: str) -> None:
        self._world, self._device = world, device
        self._lines = {chain.chain_id: _Recorded(DirectStub(chain)) for chain in world.chains.values()}
        self.run()
        for line in self._lines.values():
            line.recording = False
        # The chains are no auditor's memory: they are not to be searched for garbage on her time.
        gc.collect()
        gc.freeze()
        collect_seldom()

    def run(self) -> tuple[Report, float]:
        """The audit, and its CPU seconds."""
        forget()
        views = {}
        for chain in self._world.chains.values():
            view = views[chain.chain_id] = verified(chain)
            line = self._lines[chain.chain_id]
            line.asked, line.bytes_received = [], 0
            view.connection = line  # type: ignore[assignment]
        began = time.thread_time()
        report = Audit(views).run(self._device, self._world["b"].chain_id, lambda: 0)
        took = time.thread_time() - began
        if report.verdict is not Verdict.VERIFIED:
            raise SystemExit(f"the benchmark is wrong: {report.problem} {report.findings[:3]}")
        return report, took

    @property
    def questions(self) -> Counter[str]:
        """How many of each kind the last run asked."""
        return Counter(name for line in self._lines.values() for name, _ in line.asked)

    def parsing_s(self) -> float:
        """Seconds of parsing the answers of one run, alone."""
        answers = [line.answers[question] for line in self._lines.values() for question in line.asked]
        began = time.thread_time()
        for kind, answer in answers:
            kind.FromString(answer)
        return time.thread_time() - began


class Counting:
    """Counts what is verified and hashed by the auditor inside; what chains do to answer is not counted."""

    paused = False

    def __enter__(self) -> Counter[str]:
        found: Counter[str] = Counter()
        self._before = [(module, name, getattr(module, name)) for module, name in _COUNTED]
        verify, plain = hashes.bindings.crypto_sign_open, hashlib.sha256

        def counted_hash(data: bytes = b"") -> Any:
            if not Counting.paused:
                found["hashes"] += 1
                found["hashed bytes"] += len(data)
            return plain(data)

        def counted_open(signed: bytes, key: bytes) -> bytes:
            found["signatures"] += not Counting.paused
            return bytes(verify(signed, key))

        for module, name, _ in self._before:
            setattr(module, name, SimpleNamespace(sha256=counted_hash) if name == "hashlib" else counted_hash)
        hashes.bindings = SimpleNamespace(**{**vars(hashes.bindings), "crypto_sign_open": counted_open})  # type: ignore[assignment]
        return found

    def __exit__(self, *_: object) -> None:
        hashes.bindings = bindings
        for module, name, plain in self._before:
            setattr(module, name, plain)


def bare_hash_s(size: int, rounds: int = 20_000) -> float:
    """Seconds of hashing so many bytes once."""
    data, began = b"x" * size, time.thread_time()
    for _ in range(rounds):
        hashlib.sha256(data).digest()
    return (time.thread_time() - began) / rounds


def measure(chosen: argparse.Namespace) -> Result:
    world, device = world_with_device(chosen.parts, chosen.together)
    with Counting() as counted:
        device_audit = Audited(world, device)
    kept = tree_proof.NODES_KEPT_MAX, log_proofs.NODES_KEPT_MAX
    tree_proof.NODES_KEPT_MAX = log_proofs.NODES_KEPT_MAX = 0  # type: ignore[misc]
    with Counting() as each_alone:
        device_audit.run()
    tree_proof.NODES_KEPT_MAX, log_proofs.NODES_KEPT_MAX = kept  # type: ignore[misc]
    rates = [limits.verifications()]
    runs = [device_audit.run() for _ in range(chosen.runs)]
    rates.append(limits.verifications())
    took = [seconds for _, seconds in runs]
    parsing_s = min(device_audit.parsing_s() for _ in range(chosen.runs))
    mean = counted["hashed bytes"] // counted["hashes"]
    signatures_s = [counted["signatures"] / rate for rate in rates]
    hashes_s = counted["hashes"] * bare_hash_s(mean)
    return result(
        median(took),
        f"s of CPU, audit of a device of {chosen.parts} parts over two chains",
        [seconds + hashes_s for seconds in signatures_s],
        "s for its signatures and hashes alone",
        took,
        budget_ratio=SHARE_MAX,
        parts=chosen.parts,
        parts_per_transaction=chosen.together,
        signatures=counted["signatures"],
        signatures_s=short(median(signatures_s)),
        hashes=counted["hashes"],
        hashed_bytes_each=mean,
        hashes_s=short(hashes_s),
        hashes_each_proof_alone=each_alone["hashes"],
        parsing_s=short(parsing_s),
        rest_s=short(median(took) - median(signatures_s) - hashes_s - parsing_s),
        calls=dict(device_audit.questions),
        checked=runs[-1][0].checked,
    )
