"""What every benchmark of real processes uses: a chain's name, lines to its nodes, its processes, an event for it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import grpc

from client import epcis_read
from client.epcis_context import Namespaces
from client.epcis_json import Json
from client.session import ChainSession
from ledger import codec
from proto.chiptrace.v1.ledger_pb2 import Capture, Operation

ROOT = Path(__file__).resolve().parents[2]
MEMBER, CHAIN = "siliconfab", "chipmaker"
FRAME = 100
TESTNET = (sys.executable, "-m", "node.cli", "testnet")


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


def channels(session: ChainSession) -> list[grpc.aio.Channel]:
    """One channel to each node."""
    identity = session.identity
    credentials = grpc.ssl_channel_credentials(
        session.trust.ca.read_bytes(),
        identity.tls_key.read_bytes(),
        identity.certificate.read_bytes(),
    )
    return [grpc.aio.secure_channel(endpoint, credentials) for endpoint in session.trust.endpoints]


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
