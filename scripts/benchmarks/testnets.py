"""A testnet of real processes for a benchmark: started from nothing, loaded over mTLS, ended again."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from client import epcis_read, keys
from client.clock import now_ms
from client.epcis_context import Namespaces
from client.epcis_json import Json
from client.session import ChainSession
from ledger import codec
from ledger.block import sign_transaction
from proto.chiptrace.v1.ledger_pb2 import Capture, Operation

ROOT = Path(__file__).resolve().parents[2]
MEMBER, CHAIN = "siliconfab", "chipmaker"
FRAME = 100
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_TESTNET = (sys.executable, "-m", "node.cli", "testnet")


@contextmanager
def testnet() -> Iterator[Path]:
    """A fresh testnet in a temporary folder; its trust file."""
    with tempfile.TemporaryDirectory(prefix="chiptrace-bench-") as folder:
        home = str(Path(folder) / "net")
        try:
            subprocess.run([*_TESTNET, "up", "--dir", home], cwd=ROOT, check=True, stdout=sys.stderr)
            yield Path(home) / "trust.json"
        finally:
            subprocess.run([*_TESTNET, "reset", "--dir", home], cwd=ROOT, check=False, stdout=sys.stderr)


def commissioning() -> Operation:
    """The commissioning of one random part by an EPCIS event."""
    event: dict[str, Json] = {
        "type": "ObjectEvent",
        "action": "ADD",
        "bizStep": "commissioning",
        "epcList": [f"https://id.gs1.org/01/09521001100175/21/{os.urandom(8).hex()}"],
        "eventTime": "2026-01-01T00:00:00.000Z",
        "eventTimeZoneOffset": "+00:00",
    }
    return Operation(capture=Capture(event=codec.encode(epcis_read.to_event(event, Namespaces()))))


def transactions(session: ChainSession, count: int, events: int = 1) -> list[bytes]:
    """Signed transactions, each commissioning so many random parts, one event for each."""
    if session.identity.key is None:
        raise SystemExit("the identity has no key")
    seed = keys.read_seed(session.identity.key)
    valid_until = now_ms() + 1_800_000
    return [
        sign_transaction(
            session.trust.chain_id,
            seed,
            [commissioning() for _ in range(events)],
            valid_until,
            os.urandom(16),
        )
        for _ in range(count)
    ]


def channels(session: ChainSession) -> list[grpc.aio.Channel]:
    """One channel to each node."""
    identity = session.identity
    credentials = grpc.ssl_channel_credentials(
        session.trust.ca.read_bytes(),
        identity.tls_key.read_bytes(),
        identity.certificate.read_bytes(),
    )
    return [grpc.aio.secure_channel(endpoint, credentials) for endpoint in session.trust.endpoints]


# ---- what the processes used --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Usage:
    """CPU seconds so far by thread name, and memory, of one process."""

    threads: dict[str, float]
    resident_mib: float

    def since(self, before: Usage) -> dict[str, float]:
        """CPU seconds by thread name from then to now."""
        spent = {name: used - before.threads.get(name, 0.0) for name, used in self.threads.items()}
        return {name: round(seconds, 2) for name, seconds in spent.items() if seconds >= 0.01}


def nodes_of(home: Path, chain: str) -> dict[str, int]:
    """The process of each validator of a chain, by its folder's name: those whose command line names that folder."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        for word in words:
            text = word.decode(errors="replace")
            if text.startswith(f"{home}/nodes/{chain}-"):
                found[Path(text).parent.name] = int(process.name)
    return dict(sorted(found.items()))


def usage(process: int) -> Usage:
    """What a process has used so far, thread by thread (/proc/PID/task)."""
    threads: dict[str, float] = {}
    for task in Path(f"/proc/{process}/task").glob("[0-9]*"):
        try:
            name, _, rest = (task / "stat").read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue  # it has ended
        fields = rest.split()
        threads[name] = threads.get(name, 0.0) + (int(fields[11]) + int(fields[12])) / TICKS_PER_S
    status = Path(f"/proc/{process}/status").read_text()
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    return Usage(threads, round(resident / 1024, 1))
