"""Records and their places: which key of the state a record names itself, and the names of its numbers."""

from typing import Any

from google.protobuf.message import Message

from ledger import state
from proto.chiptrace.v1.bridge_pb2 import ClientRecord
from proto.chiptrace.v1.ledger_pb2 import (
    AttestationRecord,
    GenerationRecord,
    GrantRecord,
    KeyRecord,
    LotRecord,
    MemberRecord,
    PartRecord,
)


def own_key(record: Message) -> bytes | None:
    """The state key that a record says it lies under; None for one that does not say. Raises Refused."""
    match record:
        case PartRecord():
            return state.part_key(record.id)
        case LotRecord():
            return state.lot_key(record.id)
        case KeyRecord():
            return state.signer_key(record.key)
        case GrantRecord():
            return state.grant_key(record.prefix)
        case AttestationRecord():
            return state.attestation_key(record.id)
        case GenerationRecord():
            return state.generation_key(record.container, record.generation)
        case ClientRecord():
            return state.client_key(record.id)
        case MemberRecord():
            return state.member_key(record.id)
    return None


def name_of(enum: Any, number: int) -> str:
    """The name of a number of an enum (Reason, EntryKind …), or the number itself where this version knows no name for it."""
    return str(enum.Name(number)) if number in enum.values() else f"UNKNOWN_{number}"
