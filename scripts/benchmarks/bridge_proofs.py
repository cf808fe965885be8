"""What another chain's word costs: bytes and microseconds to verify a header, a packet, and that there is no receipt."""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bridge.light_client import TrustedState, verify_header
from bridge.packet import packet_commitment, received_key, sent_key
from bridge.proofs import verify_remote
from ledger import state
from ledger.block import app_hash, block_hash
from ledger.hashes import ZERO
from ledger.state import MappingReader
from ledger.tree import StateTree
from proto.chiptrace.v1.bridge_pb2 import ClientHeader, ClientRecord, Packet, RemoteProof
from proto.chiptrace.v1.consensus_pb2 import SignedHeader
from proto.chiptrace.v1.ledger_pb2 import AppHashOpening
from scripts.benchmarks import limits
from scripts.benchmarks.result import Result, median, result, short
from tests.bridge.certified import CHAIN, T0, Keys, make_header

HEIGHT = 1_000_000
BATCH = 50_000


def microseconds(work: Callable[[], object], seconds: float) -> list[float]:
    """CPU time of one call, three times over."""
    work()
    samples = []
    for _ in range(3):
        done, begun = 0, time.process_time()
        while (spent := time.process_time() - begun) < seconds:
            for _ in range(20):
                work()
            done += 20
        samples.append(spent / done * 1e6)
    return samples


def header(validators: int, seconds: float) -> dict[str, Any]:
    """A header certified by a quorum of so many, judged by a client that trusts the set."""
    keys = Keys([f"member-{number}" for number in range(validators)])
    quorum = 2 * validators // 3 + 1
    below, data = make_header(HEIGHT - 1, keys), make_header(HEIGHT, keys)
    signed = SignedHeader(header=data, certificate=keys.certify(data, HEIGHT, range(quorum)))
    trusted = TrustedState(
        CHAIN,
        keys.set,
        HEIGHT - 1,
        T0 + 1_000 * (HEIGHT - 1),
        block_hash(CHAIN, below),
        keys.hash(),
        keys.hash(),
    )
    now_ms = T0 + 1_000 * HEIGHT

    def judged() -> None:
        assert verify_header(trusted, signed, now_ms, 86_400_000).latest_height == HEIGHT

    us = median(microseconds(judged, seconds))
    return {"validators": validators, "signatures": quorum, "bytes": signed.ByteSize(), "us": short(us)}


def filled(keys: int, more: Mapping[bytes, bytes]) -> StateTree:
    """A state tree of so many keys, in memory, and these."""
    pages: dict[bytes, bytes] = {}
    root = ZERO
    numbers = range(keys)
    parts = [
        {b"part %d" % number: b"value" for number in numbers[at : at + BATCH]} for at in numbers[::BATCH]
    ]
    for changes in [*parts, more]:
        update = StateTree(CHAIN, pages.get, root).update(dict(changes))
        root = update.root
        for path, page in update.pages.items():
            if page is None:
                del pages[path]
            else:
                pages[path] = page
    return StateTree(CHAIN, pages.get, root)


def packet() -> Packet:
    """A packet with a payload as large as a part's."""
    return Packet(
        sequence=7,
        source_client="assembler-1",
        destination_client="chipmaker-1",
        timeout_ms=T0 + 3_600_000,
        source_port="custody/1",
        destination_port="custody/1",
        version="custody/1",
        encoding="application/x-protobuf",
        value=bytes(200),
    )


def proofs(keys: int, seconds: float) -> dict[str, dict[str, float]]:
    """A packet's commitment, and the absence of its receipt, proven under a kept header in a state of so many keys."""
    sent = packet()
    commitment = packet_commitment(sent)
    tree = filled(keys, {sent_key(sent): commitment})
    opening = AppHashOpening(
        state_root=tree.root, log_size=HEIGHT - 1, log_root=hashlib.sha256(b"log").digest()
    )
    record = ClientRecord(
        id="chipmaker-1",
        chain_id=CHAIN,
        latest_height=HEIGHT,
        latest_time_ms=T0,
        trusting_period_ms=86_400_000,
    )
    kept = ClientHeader(height=HEIGHT, time_ms=T0, app_hash=app_hash(CHAIN, opening))
    reader = MappingReader({state.client_header_key(record.id, HEIGHT): kept.SerializeToString()})
    found = {}
    cases: Sequence[tuple[str, bytes, bytes | None]] = (
        ("packet", sent_key(sent), commitment),
        ("absence", received_key(sent), None),
    )
    for name, key, value in cases:
        proof = RemoteProof(header_height=HEIGHT, opening=opening, proof=tree.prove(key))

        def judged(proof: RemoteProof = proof, key: bytes = key, value: bytes | None = value) -> None:
            verify_remote(reader, record, T0, proof, key, value)

        us = median(microseconds(judged, seconds))
        found[name] = {"bytes": proof.ByteSize(), "us": short(us), "levels": proof.proof.depth}
    return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keys", type=int, default=1_000_000, help="in the other chain's state")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each of three samples")


def measure(chosen: argparse.Namespace) -> Result:
    rates = [limits.verifications()]
    headers = [header(validators, chosen.seconds) for validators in (4, 7, 31)]
    rates.append(limits.verifications())
    found = proofs(chosen.keys, chosen.seconds)
    own = headers[0]
    return result(
        own["us"],
        "µs to verify a header of four validators",
        [own["signatures"] / rate * 1e6 for rate in rates],
        "µs for its signatures alone",
        [own["us"]],
        keys=chosen.keys,
        headers=headers,
        **found,
    )
