"""Five lies told on the demo's testnet, each of which must be caught by name."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import lying_node
from rich.console import Console

from client import epcis_read
from client.audit_report import Report, Verdict
from client.capture import capture_one
from client.cli_parts import utc_now
from client.connection import Connection
from client.epcis_context import Namespaces
from client.session import open_chain
from ledger import codec, state
from ledger.errors import Refused
from proto.chiptrace.v1.ledger_pb2 import EntryKind, Operation, PartRecord, Reason
from proto.chiptrace.v1.node_pb2_grpc import ChainStub

Auditor = Callable[[Path, str, str, dict[str, str] | None], Report]
STALE_SECONDS = 15.0


@dataclass
class Lies:
    """Tells lies on a testnet; each method returns whether its lie was caught."""

    out: Console
    trust: Path
    home: Path
    audit: Auditor

    def _caught(self, lie: str, code: str, how: str) -> bool:
        self.out.print(f"  [green]caught[/] {lie}: [bold]{code}[/] {how}", markup=True)
        return True

    def _missed(self, lie: str, what: str) -> bool:
        self.out.print(f"  [red]NOT CAUGHT[/] {lie}: {what}", markup=True)
        return False

    @contextmanager
    def _liar(self, chain: str, lie: str) -> Iterator[str]:
        """A lying node of a chain, with a real node's certificate; its endpoint."""
        with open_chain(self.trust, chain) as session:
            node = node_folder(self.home, chain)
            pair = ((node / "node-key.pem").read_bytes(), (node / "node.pem").read_bytes())
            credentials = grpc.ssl_server_credentials(
                [pair], session.trust.ca.read_bytes(), require_client_auth=True
            )
            server, endpoint = lying_node.serve(lie, stub(session.connection), credentials)
            try:
                yield endpoint
            finally:
                server.stop(None)

    def forged_event(self, liar: str, chain: str, part: str) -> bool:
        """A node changes an event in the middle of a history."""
        lie = f"an event forged in the middle of a history by a node of {liar}"
        with self._liar(liar, "forge") as endpoint:
            return self._not_verifiable(lie, self.audit(self.trust, chain, part, {liar: endpoint}))

    def hidden_event(self, liar: str, chain: str, part: str) -> bool:
        """A node leaves an event out of a history."""
        lie = f"an event hidden by a node of {liar}"
        with self._liar(liar, "hide") as endpoint:
            return self._not_verifiable(lie, self.audit(self.trust, chain, part, {liar: endpoint}))

    def _not_verifiable(self, lie: str, report: Report) -> bool:
        if report.verdict is not Verdict.NOT_VERIFIABLE:
            return self._missed(lie, f"the audit said {report.verdict}")
        return self._caught(lie, report.problem_code, report.problem)

    @contextmanager
    def old_head(self, chain: str, lie: str) -> Iterator[str]:
        """A node that stops the clock here and shows this head as the newest from now on; its endpoint."""
        with self._liar(chain, lie) as endpoint:
            yield endpoint

    def stale_head(self, endpoint: str, chain: str, part: str) -> bool:
        """The old head is shown as new."""
        lie = f"an old head shown as new by a node of {chain}"
        deadline = time.monotonic() + STALE_SECONDS
        while time.monotonic() < deadline:
            report = self.audit(self.trust, chain, part, {chain: endpoint})
            stale = [finding for finding in report.findings if finding.code == "STALE_HEAD"]
            if stale:
                return self._caught(lie, stale[0].code, stale[0].message)
            time.sleep(0.5)
        return self._missed(lie, "no finding")

    def cloned_serial(self, chain: str, member: str, part: str) -> bool:
        """Somebody commissions a serial that exists."""
        lie = f"a serial cloned by {member}"
        event = {
            "type": "ObjectEvent",
            "eventTime": utc_now(),
            "eventTimeZoneOffset": "+00:00",
            "epcList": [part],
            "action": "ADD",
            "bizStep": "commissioning",
        }
        with open_chain(self.trust, chain, member) as session:
            try:
                capture_one(session.submitter(), epcis_read.to_event(event, Namespaces()))
            except Refused as error:
                return self._caught(lie, error.code, str(error))
        return self._missed(lie, "the chain took it")

    def replayed_packet(self, chain: str, member: str, part: str) -> bool:
        """The packet that brought a part is brought once more."""
        lie = f"the packet of {part.rpartition('/')[2]} replayed"
        key = state.part_key(part)
        with open_chain(self.trust, chain, member) as session:
            before = session.verified.record(key, PartRecord)
            if before is None:
                return self._missed(lie, "the part is not there")
            entries = session.verified.history(key, before.history)
            arrival = next(proven for proven in entries if proven.entry.kind == EntryKind.ARRIVED)
            operation = arrival.transaction.body.operations[arrival.entry.operation]
            recorded = session.submitter().submit(
                [Operation(receive_packet=operation.receive_packet)], b"\xee" * 16
            )
            session.verified.repin()
            while session.verified.snapshot().height < recorded.height:
                time.sleep(0.05)
                session.verified.repin()
            after = session.verified.record(key, PartRecord)
        if (
            recorded.finding != Reason.REDUNDANT
            or after is None
            or codec.encode(after) != codec.encode(before)
        ):
            return self._missed(lie, "it changed something")
        return self._caught(lie, "REDUNDANT", "the receipt is kept for ever; nothing changed")


def stub(connection: Connection) -> ChainStub:
    """The stub of the first endpoint of a connection."""
    return connection.stub(connection.endpoint)


def node_folder(home: Path, chain: str) -> Path:
    """Where the first node of a chain keeps its certificate."""
    return min((home / "nodes").glob(f"{chain}-*"))
