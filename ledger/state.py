"""What is true now: the keys of the state tree, and writes that are kept apart until they are decided.

A key is one byte of kind, then each component with its length, so that no two lists share a key:

    key       := u8 kind ‖ component*
    component := u16 length (big-endian) ‖ bytes

Text is UTF-8; an integer is its 8 bytes big-endian, so that keys sort by it.
"""

from collections.abc import Mapping
from enum import IntEnum
from functools import lru_cache
from typing import Final, Protocol, TypeVar

from google.protobuf.message import DecodeError, Message

from ledger import codec
from ledger.errors import InvariantBroken, Malformed, Refused, StoreError
from ledger.limits import STATE_VALUE_BYTES_MAX, U64_MAX
from proto.chiptrace.v1.ledger_pb2 import Reason, ValidatorSet, ValidatorsRecord

M = TypeVar("M", bound=Message)

KEY_BYTES_MAX: Final = 2**16 - 1
# The keys made last, of each kind that most events need several times. They are pure: a cache changes no outcome.
_KEYS_CACHED: Final = 16_384


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


def state_key(kind: Kind, *components: str | bytes | int) -> bytes:
    """The key of the state tree for these components.

    Raises Refused(OVERSIZE) for a key of 2^16 bytes or more, Refused(MALFORMED) for text that is not UTF-8 or
    an integer outside 0..2^64 - 1.
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
        if len(data) > KEY_BYTES_MAX:
            raise Refused(f"a key component of {len(data)} bytes exceeds {KEY_BYTES_MAX}", Reason.OVERSIZE)
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


@lru_cache(maxsize=_KEYS_CACHED)
def member_key(member: str) -> bytes:
    """Key of a MemberRecord."""
    return state_key(Kind.MEMBER, member)


@lru_cache(maxsize=_KEYS_CACHED)
def signer_key(key: bytes) -> bytes:
    """Key of the KeyRecord of an Ed25519 key (32 bytes)."""
    return state_key(Kind.KEY, key)


def identifier_key(canonical: str) -> bytes:
    """Key of the IdentifierRecord that says which member an identifier names."""
    return state_key(Kind.IDENTIFIER, canonical)


@lru_cache(maxsize=_KEYS_CACHED)
def grant_key(prefix: str) -> bytes:
    """Key of a GrantRecord."""
    return state_key(Kind.GRANT, prefix)


@lru_cache(maxsize=_KEYS_CACHED)
def delegation_key(member: str, prefix: str) -> bytes:
    """Key of the DelegationRecord of a prefix to a member, the delegate."""
    return state_key(Kind.DELEGATION, member, prefix)


def policy_key(policy: str) -> bytes:
    """Key of a PolicyRecord."""
    return state_key(Kind.POLICY, policy)


def policies_key(prefix: str) -> bytes:
    """Key of the PoliciesRecord of a prefix."""
    return state_key(Kind.POLICY, prefix, "at")


@lru_cache(maxsize=_KEYS_CACHED)
def part_key(canonical: str) -> bytes:
    """Key of a PartRecord."""
    return state_key(Kind.PART, canonical)


@lru_cache(maxsize=_KEYS_CACHED)
def lot_key(canonical: str) -> bytes:
    """Key of a LotRecord."""
    return state_key(Kind.LOT, canonical)


def balance_key(lot: str, place: str, unit: str) -> bytes:
    """Key of a BalanceRecord: how much of a lot in one unit is in one place."""
    return state_key(Kind.BALANCE, lot, place, unit)


@lru_cache(maxsize=_KEYS_CACHED)
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


def arrival_key(chain_id: bytes, container: str, generation: int) -> bytes:
    """Key of the ArrivalRecord of a container that a chain exported with this filling, by its number there."""
    return state_key(Kind.ARRIVAL, chain_id, container, generation)


def abroad_key(lot: str, chain_id: bytes, unit: str, *member: str) -> bytes:
    """Key of the AbroadRecord: how much of a lot in one unit a chain may send back; to a member as a return."""
    return state_key(Kind.ABROAD, lot, chain_id, unit, *member)


def inbound_key(lot: str, receiver: str, unit: str) -> bytes:
    """Key of the InboundRecord: where amounts of a lot in one unit wait for a member after a crossing."""
    return state_key(Kind.INBOUND, lot, receiver, unit)


# ---- reading and writing ------------------------------------------------------------------------------


class Reader(Protocol):
    """Anything that knows the value of a key."""

    def get(self, key: bytes) -> bytes | None:
        """The value, or None where there is none."""
        ...


class Overlay:
    """Writes on top of a reader that nobody else sees until they are merged.

    `changes` holds exactly the keys whose value differs from the reader's (None: deleted), in the order of
    their last first change; a value written back to what it was is no change. Each distinct key read or
    written counts as touched; one more than `keys_max` raises Refused(TOO_MANY_KEYS), at every level of
    overlays that has a bound. Touched keys of a child that is thrown away stay counted in its parent: the
    work was done.
    """

    __slots__ = ("_below", "_keys_max", "_parent", "_reader", "changes")

    def __init__(self, reader: Reader, keys_max: int | None = None) -> None:
        self._reader = reader
        self._parent = reader if isinstance(reader, Overlay) else None
        self._keys_max = keys_max
        self._below: dict[bytes, bytes | None] = {}  # what the reader says, by key touched
        self.changes: dict[bytes, bytes | None] = {}

    @property
    def keys_touched(self) -> int:
        """How many distinct keys were read or written."""
        return len(self._below)

    def get(self, key: bytes) -> bytes | None:
        """The value as this overlay sees it. Raises Refused(TOO_MANY_KEYS)."""
        if key in self.changes:
            return self.changes[key]
        return self._below[key] if key in self._below else self._under(key)

    def put(self, key: bytes, value: bytes) -> None:
        """Sets a value. Raises Refused: TOO_MANY_KEYS, or OVERSIZE above STATE_VALUE_BYTES_MAX."""
        if len(value) > STATE_VALUE_BYTES_MAX:
            raise Refused(
                f"a record of {len(value)} bytes exceeds {STATE_VALUE_BYTES_MAX}; split what it holds",
                Reason.OVERSIZE,
            )
        if self._under(key) == value:
            self.changes.pop(key, None)
        else:
            self.changes[key] = value

    def delete(self, key: bytes) -> None:
        """Removes a key, present or not. Raises Refused(TOO_MANY_KEYS)."""
        if self._under(key) is None:
            self.changes.pop(key, None)
        else:
            self.changes[key] = None

    def child(self, keys_max: int | None = None) -> "Overlay":
        """An overlay on top of this one: `merge` it to keep its writes, or drop it to lose them."""
        return Overlay(self, keys_max)

    def merge(self) -> None:
        """Hands the changes down to the overlay this is a child of; this one is then empty."""
        if self._parent is None:
            raise InvariantBroken("merge was called on an overlay that is no child of another")
        for key, value in self.changes.items():
            if value is None:
                self._parent.delete(key)
            else:
                self._parent.put(key, value)
        self.changes = {}
        self._below = {}

    def _under(self, key: bytes) -> bytes | None:
        if key in self._below:
            return self._below[key]
        if self._keys_max is not None and len(self._below) >= self._keys_max:
            raise Refused(
                f"more than {self._keys_max} state keys are touched; split the work", Reason.TOO_MANY_KEYS
            )
        value = self._reader.get(key)
        self._below[key] = value
        return value


class MappingReader:
    """A mapping as a Reader (initial states, tests)."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[bytes, bytes | None]) -> None:
        self._values = values

    def get(self, key: bytes) -> bytes | None:
        """The value, or None where there is none."""
        return self._values.get(key)


def load(reader: Reader, key: bytes, kind: type[M]) -> M | None:
    """The record under a key, or None. Raises StoreError when what is stored is no such record."""
    value = reader.get(key)
    if value is None:
        return None
    try:
        return kind.FromString(value)
    except DecodeError as error:
        raise StoreError(
            f"the state value under {key.hex()} is no {kind.__name__}; restore this node"
        ) from error


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
