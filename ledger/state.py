"""What is true now: the keys of the state tree, and the records under them.

A key is one byte of kind, then each component with its length, so that no two lists share a key:

    key       := u8 kind ‖ component*
    component := u16 length (big-endian) ‖ bytes

Text is UTF-8; an integer is its 8 bytes big-endian, so that keys sort by it.
"""

from collections.abc import Iterable, Iterator
from enum import IntEnum
from functools import lru_cache
from typing import Any, Final, TypeVar

from google.protobuf.message import DecodeError, Message

from ledger import codec
from ledger.errors import Malformed, Refused, StoreError
from ledger.limits import KEY_COMPONENT_BYTES_MAX, U64_MAX
from ledger.overlay import MappingReader as MappingReader
from ledger.overlay import Overlay as Overlay
from ledger.overlay import Reader as Reader
from proto.chiptrace.v1.ledger_pb2 import Reason, ValidatorSet, ValidatorsRecord

M = TypeVar("M", bound=Message)

KEY_BYTES_MAX: Final = 2**16 - 1
# The keys made last: most events need each of theirs several times.
_KEYS_CACHED: Final = 65_536
# Records that are only looked at, which are kept decoded: so many, of values of so many bytes at most.
_LOOKED_AT: Final = 4_096
_LOOKED_AT_BYTES_MAX: Final = 1_024


class Kind(IntEnum):
    """What a key of the state tree is about. Append only: a number is never reused."""

    MEMBER = 1
    KEY = 2
    IDENTIFIER = 3
    GRANT = 4
    PART = 5
    LOT = 6
    BALANCE = 7
    GENERATION = 8
    TRANSFORMATION = 9
    ATTESTATION = 10
    VALIDATORS = 11
    PARAMETERS = 12
    PROPOSAL = 13
    EVIDENCE = 14
    CLIENT = 15
    CLIENT_HEADER = 16
    COMMITMENT = 17
    RECEIPT = 18
    ACKNOWLEDGEMENT = 19
    RECOVERY = 20
    SERIAL_CLASS = 21
    INTERVAL = 22
    STARTS = 23
    DELEGATION = 24
    POLICY = 25
    CORRECTION = 26
    ARRIVAL = 29
    ABROAD = 30
    INBOUND = 31
    NOTE = 34
    FOREIGN_ATTESTATION = 32
    REHOMING = 33


# ---- keys -------------------------------------------------------------------------------------------


@lru_cache(maxsize=_KEYS_CACHED)
def state_key(kind: Kind, *components: str | bytes | int) -> bytes:
    """The key of the state tree for these components.

    Raises Refused(OVERSIZE) for a component longer than an identifier or a key of 2^16 bytes or more, Refused(MALFORMED)
    for text that is not UTF-8 or an integer outside 0..2^64 - 1.
    """
    parts = [bytes((kind,))]
    for component in components:
        if isinstance(component, bytes):
            data = component
        elif isinstance(component, str):
            try:
                data = component.encode()
            except UnicodeEncodeError as error:
                raise Refused("a key holds text that is not UTF-8", Reason.MALFORMED) from error
        else:
            if not 0 <= component <= U64_MAX:
                raise Refused(f"{component} does not fit 64 bits", Reason.MALFORMED)
            data = component.to_bytes(8, "big")
        if len(data) > KEY_COMPONENT_BYTES_MAX:
            raise Refused(
                f"a key component of {len(data)} bytes exceeds {KEY_COMPONENT_BYTES_MAX}", Reason.OVERSIZE
            )
        parts.append(len(data).to_bytes(2, "big"))
        parts.append(data)
    key = b"".join(parts)
    if len(key) > KEY_BYTES_MAX:
        raise Refused(f"a state key of {len(key)} bytes exceeds {KEY_BYTES_MAX}", Reason.OVERSIZE)
    return key


def parse_state_key(key: bytes) -> tuple[Kind, tuple[bytes, ...]]:
    """The kind and the components (as bytes) of a key; raises Malformed unless `state_key` can make it."""
    if not key:
        raise Malformed("a state key has at least one byte")
    try:
        kind = Kind(key[0])
    except ValueError as error:
        raise Malformed(f"no kind of state key has number {key[0]}") from error
    components: list[bytes] = []
    position = 1
    while position < len(key):
        end = position + 2 + int.from_bytes(key[position : position + 2], "big")
        if position + 2 > len(key) or end > len(key):
            raise Malformed("a state key ends within a component")
        components.append(key[position + 2 : end])
        position = end
    return kind, tuple(components)


VALIDATORS_KEY: Final = state_key(Kind.VALIDATORS)
PARAMETERS_KEY: Final = state_key(Kind.PARAMETERS)
# Present where the genesis says dev; nothing can put it there later.
DEV_KEY: Final = state_key(Kind.PARAMETERS, "dev")


def validator_set_key(in_force_from: int) -> bytes:
    """Key of the ValidatorSet that is in force from a height on."""
    return state_key(Kind.VALIDATORS, in_force_from)


def member_key(member: str) -> bytes:
    """Key of a MemberRecord."""
    return state_key(Kind.MEMBER, member)


def signer_key(key: bytes) -> bytes:
    """Key of the KeyRecord of an Ed25519 key (32 bytes)."""
    return state_key(Kind.KEY, key)


def identifier_key(canonical: str) -> bytes:
    """Key of the IdentifierRecord that says which member an identifier names."""
    return state_key(Kind.IDENTIFIER, canonical)


def grant_key(prefix: str) -> bytes:
    """Key of a GrantRecord."""
    return state_key(Kind.GRANT, prefix)


def delegation_key(member: str, prefix: str) -> bytes:
    """Key of the DelegationRecord of a prefix to a member, the delegate."""
    return state_key(Kind.DELEGATION, member, prefix)


def policy_key(policy: str) -> bytes:
    """Key of a PolicyRecord."""
    return state_key(Kind.POLICY, policy)


def policies_key(prefix: str) -> bytes:
    """Key of the PoliciesRecord of a prefix."""
    return state_key(Kind.POLICY, prefix, "at")


def part_key(canonical: str) -> bytes:
    """Key of a PartRecord."""
    return state_key(Kind.PART, canonical)


def lot_key(canonical: str) -> bytes:
    """Key of a LotRecord."""
    return state_key(Kind.LOT, canonical)


def balance_key(lot: str, place: str, unit: str) -> bytes:
    """Key of a BalanceRecord: how much of a lot in one unit is in one place."""
    return state_key(Kind.BALANCE, lot, place, unit)


def serial_class_key(item_class: str, width: int) -> bytes:
    """Key of the SerialClassRecord of the serials of a class that end in so many digits."""
    return state_key(Kind.SERIAL_CLASS, item_class, width)


def interval_key(name: str, start: int) -> bytes:
    """Key of the IntervalRecord of what begins at a place: of a lot, or of a row of serials of a class."""
    return state_key(Kind.INTERVAL, name, start)


def starts_key(name: str, level: int, above: int) -> bytes:
    """Key of a node (32 bytes) of the set of places where something begins (ledger/starts.py)."""
    return state_key(Kind.STARTS, name, level, above)


def generation_key(container: str, generation: int) -> bytes:
    """Key of a GenerationRecord: one filling of a container."""
    return state_key(Kind.GENERATION, container, generation)


def transformation_key(transformation: str) -> bytes:
    """Key of a TransformationRecord."""
    return state_key(Kind.TRANSFORMATION, transformation)


def correction_key(original: bytes) -> bytes:
    """Key of the CorrectionRecord of an event by its digest (32 bytes)."""
    return state_key(Kind.CORRECTION, original)


def note_key(about: str, member: str) -> bytes:
    """Key of the NoteRecord of a member about a place or an event."""
    return state_key(Kind.NOTE, about, member)


def attestation_key(attestation: str) -> bytes:
    """Key of an AttestationRecord."""
    return state_key(Kind.ATTESTATION, attestation)


def proposal_key(proposal_hash: bytes) -> bytes:
    """Key of the ProposalRecord of a proposal that was carried out."""
    return state_key(Kind.PROPOSAL, proposal_hash)


def evidence_key(evidence_hash: bytes) -> bytes:
    """Key of the EvidenceRecord of a recorded fault."""
    return state_key(Kind.EVIDENCE, evidence_hash)


RECOVERIES_KEY: Final = state_key(Kind.RECOVERY)


def recovery_key(height: int) -> bytes:
    """Key of the RecoveryRecord of a chain that was recovered after a height."""
    return state_key(Kind.RECOVERY, height)


def client_key(client: str) -> bytes:
    """Key of the ClientRecord of another chain's light client."""
    return state_key(Kind.CLIENT, client)


def client_header_key(client: str, height: int) -> bytes:
    """Key of a ClientHeader: a verified header of another chain."""
    return state_key(Kind.CLIENT_HEADER, client, height)


def commitment_key(client: str, sequence: int) -> bytes:
    """Key of the commitment (32 bytes) of a packet sent over a client."""
    return state_key(Kind.COMMITMENT, client, sequence)


def receipt_key(client: str, sequence: int) -> bytes:
    """Key of the receipt of a packet received over a client."""
    return state_key(Kind.RECEIPT, client, sequence)


def acknowledgement_key(client: str, sequence: int) -> bytes:
    """Key of the acknowledgement's commitment (32 bytes) for a packet received over a client."""
    return state_key(Kind.ACKNOWLEDGEMENT, client, sequence)


# ---- reading and writing ------------------------------------------------------------------------------


def load(reader: Reader, key: bytes, kind: type[M]) -> M | None:
    """The record under a key, or None. Raises StoreError when what is stored is no such record."""
    value = reader.get(key)
    if value is None:
        return None
    try:
        return kind.FromString(value)
    except DecodeError as error:
        raise _no_record(key, kind) from error


def look(reader: Reader, key: bytes, kind: type[M]) -> M | None:
    """As `load`, for who only reads: the same value gives the same record, which nobody may change.

    Decoding depends on the value alone, so there is nothing to invalidate: a key that has another value has
    another record. For what most transactions read and few write: keys, grants, parameters.
    """
    value = reader.get(key)
    return None if value is None else looked_at(key, value, kind)


def among(reader: Reader, keys: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Those of these keys that have a value, with it, one after the other; for `looked_at`."""
    return reader.among(keys) if isinstance(reader, Overlay) else _among(reader, keys)


def _among(reader: Reader, keys: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    for key in keys:
        value = reader.get(key)
        if value is not None:
            yield key, value


def looked_at(key: bytes, value: bytes, kind: type[M]) -> M:
    """The record that a value under a key is, to be looked at only. Raises StoreError as `load`."""
    try:
        of: Any = kind  # a class, which the checker does not take for hashable
        found: M = _decoded(of, value) if len(value) <= _LOOKED_AT_BYTES_MAX else kind.FromString(value)
        return found
    except DecodeError as error:
        raise _no_record(key, kind) from error


@lru_cache(maxsize=_LOOKED_AT)
def _decoded(kind: Any, value: bytes) -> Any:
    return kind.FromString(value)


def _no_record(key: bytes, kind: type[Message]) -> StoreError:
    return StoreError(f"the state value under {key.hex()} is no {kind.__name__}; restore this node")


def save(overlay: Overlay, key: bytes, record: Message) -> None:
    """Puts a record under a key in its deterministic encoding. Raises Refused as `Overlay.put` does."""
    overlay.put(key, codec.encode(record))


def validators_at(reader: Reader, height: int) -> ValidatorSet | None:
    """The set in force at a height (1 to that of the tip + 2), or None when it is no longer known."""
    record = load(reader, VALIDATORS_KEY, ValidatorsRecord)
    if record is None:
        return None
    for start in reversed(record.starts):
        if start <= height:
            return load(reader, validator_set_key(start), ValidatorSet)
    return None
