"""The whole table of operations and changes: the ledger's, the judge of evidence, and the bridge's.

Validators, auditors and simulations compose their application from here, so that all execute the same rules.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf.message import Message

from bridge import arrivals, attest_port, clients, custody_transfer, following, handlers, rehoming
from bridge.snapshot_tables import PacketTables
from consensus import evidence
from ledger import codec
from ledger import operations as ledger_operations
from ledger.context import ChangeTable, Context, Handler, OperationTable
from ledger.limits import TRANSACTION_BYTES_MAX
from ledger.snapshot import SideTables
from proto.chiptrace.v1.bridge_pb2 import (
    AcknowledgePacket,
    FollowPart,
    Materialise,
    ReceivePacket,
    RehomePart,
    ReturnPart,
    SendAttestation,
    SendPart,
    SubmitMisbehaviour,
    TimeoutPacket,
    UpdateClient,
)

M = TypeVar("M", bound=Message)


def operations() -> OperationTable:
    """Handlers by the field name of Operation, for every operation of this build."""
    return {
        **ledger_operations.OPERATIONS,
        "evidence": evidence.record,
        "attest": attest_port.attest,
        "revoke_attestation": attest_port.revoke_attestation,
        "update_client": _decoded(UpdateClient, attest_port.update_client),
        "submit_misbehaviour": _decoded(SubmitMisbehaviour, clients.submit_misbehaviour),
        "send_part": _decoded(SendPart, custody_transfer.send_part),
        "receive_packet": _decoded(ReceivePacket, handlers.receive_packet),
        "acknowledge_packet": _decoded(AcknowledgePacket, handlers.acknowledge_packet),
        "timeout_packet": _decoded(TimeoutPacket, handlers.timeout_packet),
        "return_part": _decoded(ReturnPart, custody_transfer.return_part),
        "materialise": _decoded(Materialise, arrivals.materialise),
        "follow_part": _decoded(FollowPart, following.follow_part),
        "send_attestation": _decoded(SendAttestation, attest_port.send_attestation),
        "rehome_part": _decoded(RehomePart, rehoming.rehome_part),
    }


def side_tables() -> SideTables:
    """What of the node-side tables goes into a snapshot."""
    return PacketTables()


def changes() -> ChangeTable:
    """Handlers by the field name of Change, for every change of this build."""
    return {
        **ledger_operations.CHANGES,
        "create_client": clients.create_client,
        "thaw_client": attest_port.thaw_client,
        "rehome_chain": rehoming.rehome_chain,
    }


def _decoded(kind: type[M], handler: Callable[[Context, M], None]) -> Handler:
    """The bridge's operations travel as bytes, in the one accepted encoding. Raises Malformed."""

    def handle(ctx: Context, data: Any) -> None:
        handler(ctx, codec.decode(kind, data, TRANSACTION_BYTES_MAX))

    return handle
