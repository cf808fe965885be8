"""Records and their places: which key of the state a record names itself, the names of its numbers, and the leaf
that a height left in the log."""

from functools import lru_cache
from typing import Any

from google.protobuf.message import Message

from bridge.clients import rehoming_key
from client.log_proofs import LogProofs
from ledger import state
from ledger.attestations import foreign_attestation_key
from ledger.block import LogLeaf, log_leaf_hash, parse_log_leaf
from ledger.errors import Invalid
from proto.chiptrace.v1.bridge_pb2 import ClientRecord
from proto.chiptrace.v1.ledger_pb2 import (
    AttestationRecord,
    BalanceRecord,
    CorrectionRecord,
    DelegationRecord,
    ForeignAttestationRecord,
    GenerationRecord,
    GrantRecord,
    KeyRecord,
    LogLeafProof,
    LotRecord,
    MemberRecord,
    NoteRecord,
    PartRecord,
    PolicyRecord,
    Reason,
    RehomingRecord,
    TransformationRecord,
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
        case PolicyRecord():
            return state.policy_key(record.policy.id)
        case DelegationRecord():
            return state.delegation_key(record.member, record.prefix)
        case AttestationRecord():
            return state.attestation_key(record.id)
        case GenerationRecord():
            return state.generation_key(record.container, record.generation)
        case ClientRecord():
            return state.client_key(record.id)
        case ForeignAttestationRecord():
            copy = record.copy
            return foreign_attestation_key(record.chain, copy.issuer_chain, copy.record.id)
        case RehomingRecord():
            return rehoming_key(record.chain_id)
        case MemberRecord():
            return state.member_key(record.id)
        case BalanceRecord():
            return state.balance_key(record.lot, record.place, record.unit)
        case CorrectionRecord():
            return state.correction_key(record.original)
        case NoteRecord():
            return state.note_key(record.about, record.member)
        case TransformationRecord():
            return state.transformation_key(record.id)
    return None


@lru_cache(maxsize=1024)  # the library makes a list of all names, each time: 3 % of an audit
def name_of(enum: Any, number: int) -> str:
    """The name of a number of an enum (Reason, EntryKind …), or the number itself where this version knows no name for it."""
    return str(enum.Name(number)) if number in enum.values() else f"UNKNOWN_{number}"


def proven_leaf(chain_id: bytes, log: LogProofs, height: int, proof: LogLeafProof) -> LogLeaf:
    """What an old height left in the log, proven under its root. Raises Malformed, Invalid(BAD_PROOF)."""
    data, inclusion = proof.leaf, proof.inclusion
    leaf: LogLeaf = parse_log_leaf(data)
    if leaf.height != height or inclusion.index != height - 1:
        raise Invalid(f"a log leaf that is not height {height}'s", Reason.BAD_PROOF)
    if inclusion.size != log.size:
        raise Invalid("a log proof of another size", Reason.BAD_PROOF)
    log.verify(log_leaf_hash(chain_id, data), height - 1, inclusion.path)
    return leaf
