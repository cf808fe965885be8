"""Measures a real testnet; run it through scripts/bench.py. The last line is one JSON object."""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from nacl.signing import SigningKey

from client import epcis_read, keys
from client.clock import now_ms
from client.epcis_context import Namespaces
from client.session import ChainSession, open_chain
from ledger import codec
from ledger.block import sign_transaction
from proto.chiptrace.v1.ledger_pb2 import Capture, Operation
from proto.chiptrace.v1.node_pb2 import SubmitRequest
from proto.chiptrace.v1.node_pb2_grpc import ChainStub

ROOT = Path(__file__).resolve().parent.parent
MEMBER, CHAIN = "siliconfab", "chipmaker"
FRAME = 100
VERIFY_SECONDS = 3.0


@contextmanager
def testnet() -> Iterator[Path]:
    """A fresh testnet in a temporary folder; its trust file."""
    command = [sys.executable, "-m", "node.cli", "testnet"]
    with tempfile.TemporaryDirectory(prefix="chiptrace-bench-") as folder:
        home = str(Path(folder) / "net")
        try:
            subprocess.run([*command, "up", "--dir", home], cwd=ROOT, check=True, stdout=sys.stderr)
            yield Path(home) / "trust.json"
        finally:
            subprocess.run([*command, "reset", "--dir", home], cwd=ROOT, check=False, stdout=sys.stderr)


def transactions(session: ChainSession, count: int) -> list[bytes]:
    """Signed transactions, each commissioning one random part by an EPCIS event."""
    if session.identity.key is None:
        raise SystemExit("the identity has no key")
    seed = keys.read_seed(session.identity.key)
    valid_until = now_ms() + 1_800_000
    made = []
    for _ in range(count):
        serial = os.urandom(8).hex()
        event = epcis_read.to_event(
            {
                "type": "ObjectEvent",
                "action": "ADD",
                "bizStep": "commissioning",
                "epcList": [f"https://id.gs1.org/01/09521001100175/21/{serial}"],
                "eventTime": "2026-01-01T00:00:00.000Z",
                "eventTimeZoneOffset": "+00:00",
            },
            Namespaces(),
        )
        operation = Operation(capture=Capture(event=codec.encode(event)))
        made.append(sign_transaction(session.trust.chain_id, seed, [operation], valid_until, os.urandom(16)))
    return made


def channels(session: ChainSession) -> list[grpc.aio.Channel]:
    """One channel to each node."""
    identity = session.identity
    credentials = grpc.ssl_channel_credentials(
        session.trust.ca.read_bytes(),
        identity.tls_key.read_bytes(),
        identity.certificate.read_bytes(),
    )
    return [grpc.aio.secure_channel(endpoint, credentials) for endpoint in session.trust.endpoints]


async def latency(session: ChainSession, samples: int) -> dict[str, Any]:
    """Submit to final, one at a time, on the idle chain; milliseconds.

    At moments drawn anew each time: at a fixed one after the last, all would meet the certifying block, or none.
    """
    moments = random.Random(1)  # noqa: S311 (nothing secret)
    made = transactions(session, samples + 20)
    lines = channels(session)
    stubs = [ChainStub(line) for line in lines]
    took = []
    for place, data in enumerate(made):
        started = time.perf_counter()
        reply = await stubs[place % len(stubs)].Submit(
            SubmitRequest(transactions=[data], wait=True), timeout=30
        )
        if not reply.outcomes[0].ok:
            raise SystemExit(f"refused: {reply.outcomes[0]}")
        took.append((time.perf_counter() - started) * 1000)
        await asyncio.sleep(moments.uniform(0.0, 0.2))
    for line in lines:
        await line.close()
    took = sorted(took[20:])
    return {
        "figure": round(statistics.median(took), 1),
        "unit": "ms submit to final, p50",
        "p99": round(took[int(len(took) * 0.99)], 1),
        "samples": len(took),
    }


async def throughput(session: ChainSession, seconds: float, outstanding: int) -> dict[str, Any]:
    """Closed loop: so many frames of 100 transactions under way at any time, for so long."""
    lines = channels(session)
    stubs = [ChainStub(line) for line in lines]
    final = 0
    stop = time.monotonic() + seconds
    waiting = transactions(session, int(seconds * 2_000) + outstanding * FRAME)

    async def pump(stub: Any) -> None:
        nonlocal final
        while time.monotonic() < stop and waiting:
            frame = [waiting.pop() for _ in range(min(FRAME, len(waiting)))]
            reply = await stub.Submit(SubmitRequest(transactions=frame, wait=True), timeout=60)
            good = sum(outcome.final and outcome.ok for outcome in reply.outcomes)
            final += good
            if good < len(frame):
                await asyncio.sleep(0.1)

    stop = time.monotonic() + seconds
    started = time.monotonic()
    await asyncio.gather(*(pump(stubs[n % len(stubs)]) for n in range(outstanding)))
    took = time.monotonic() - started
    for line in lines:
        await line.close()
    return {
        "figure": round(final / took),
        "unit": "transactions/s, final",
        "final": final,
        "seconds": round(took, 1),
    }


def verifications(_: int) -> int:
    """How many Ed25519 verifications one process does in VERIFY_SECONDS."""
    key = SigningKey.generate()
    signed = key.sign(b"x" * 400)
    done, stop = 0, time.perf_counter() + VERIFY_SECONDS
    while time.perf_counter() < stop:
        key.verify_key.verify(signed)
        done += 1
    return done


def limits() -> dict[str, float]:
    """What this machine does at most, in the same run: verification by four processes, fsync."""
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        rate = sum(pool.map(verifications, range(4))) / VERIFY_SECONDS / 4
    took = []
    with tempfile.TemporaryFile() as file:
        for _ in range(200):
            file.write(b"x" * 4096)
            started = time.perf_counter()
            file.flush()
            os.fsync(file.fileno())
            took.append((time.perf_counter() - started) * 1000)
    return {"verify_limit_per_s": round(rate), "fsync_ms_p50": round(statistics.median(took), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure a local testnet of two chains and a relayer.")
    parser.add_argument("name", choices=("latency", "throughput"))
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--outstanding", type=int, default=12, help="frames of 100 under way")
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    chosen = parser.parse_args()
    measured: dict[str, Any] = {"name": chosen.name, **limits()}
    with testnet() as trust, open_chain(trust, CHAIN, MEMBER) as session:
        if chosen.name == "latency":
            measured |= asyncio.run(latency(session, chosen.samples))
        else:
            measured |= asyncio.run(throughput(session, chosen.seconds, chosen.outstanding))
            measured["ratio"] = round(measured["figure"] / measured["verify_limit_per_s"], 3)
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
