"""The document a chain starts from. Its hash is the chain id, so it names no chain id itself.

The first state is made by the same change handlers that governance runs later: there is one way to put a
member, a key or a grant.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from ledger import codec, hashes
from ledger.context import ChangeTable, Context
from ledger.errors import ChiptraceError, Invalid, InvariantBroken, Malformed, Refused, StoreError
from ledger.hashes import ZERO, Purpose
from ledger.limits import (
    BLOCK_BYTES_MAX,
    GENESIS_BYTES_MAX,
    NAME_BYTES_MAX,
    TRANSACTION_BYTES_MAX,
    VALIDATORS_MAX,
)
from ledger.state import DEV_KEY, MappingReader, Overlay
from proto.chiptrace.v1.ledger_pb2 import (
    Change,
    Genesis,
    KeyRecord,
    Parameters,
    Reason,
    Role,
    SetParameters,
    SetValidators,
)

STATE_VERSION: Final = 1
VALIDATORS_MIN: Final = 4  # the fewest that survive one fault
HEARTBEAT_MS_MIN: Final = 100
HEARTBEAT_MS_MAX: Final = 600_000
OFFER_EXPIRY_MS_MAX: Final = 31_536_000_000  # a year
BACKDATE_MS_MAX: Final = 315_360_000_000
# A block must be able to carry the greatest transaction beside its header.
BLOCK_BYTES_MIN: Final = TRANSACTION_BYTES_MAX + 4_096
TIME_MS_MAX: Final = 2**53  # header times stay exact in every JSON reader


@dataclass(frozen=True, slots=True)
class GenesisState:
    """The state before height 1: values by state key, and (subject key, n, Entry bytes) of the histories."""

    changes: dict[bytes, bytes | None]
    entries: list[tuple[bytes, int, bytes]]
    side: list[tuple[bytes, bytes | None]]


def chain_id(genesis: bytes) -> bytes:
    """The chain id (32 bytes) of a genesis document, from its bytes as they are."""
    return hashes.tagged_hash(Purpose.GENESIS, b"", genesis)


def decode_genesis(data: bytes) -> Genesis:
    """A genesis document whose every part has been checked, save what the change handlers check.

    Raises Malformed for bytes that are not the one encoding, Invalid naming the part that is wrong.
    """
    # (1) The one accepted encoding.
    genesis = codec.decode(Genesis, data, GENESIS_BYTES_MAX)
    # (2) Rules this build can execute.
    if genesis.state_version != STATE_VERSION:
        raise Invalid(
            f"genesis has state version {genesis.state_version}, this build executes {STATE_VERSION}",
            Reason.WRONG_VERSION,
        )
    # (3) A name and a time.
    if not 0 < len(genesis.name.encode()) <= NAME_BYTES_MAX:
        raise _invalid(f"its name must have 1 to {NAME_BYTES_MAX} bytes")
    if not 0 < genesis.time_ms <= TIME_MS_MAX:
        raise _invalid(f"time_ms is {genesis.time_ms}; give milliseconds since 1970")
    # (4) Members, named once, each with a key to govern with.
    if not genesis.members:
        raise _invalid("it names no member")
    _check_unique("member", (member.id for member in genesis.members))
    _check_unique("identifier", (text for member in genesis.members for text in member.identifiers))
    for member in genesis.members:
        if not member.admin_keys:
            raise _invalid(f"member {member.id!r} has no admin key")
        _check_unique(f"admin key of {member.id!r}", member.admin_keys)
        for key in member.admin_keys:
            _check_key(key, f"an admin key of {member.id!r}")
    known = {member.id for member in genesis.members}
    # (5) Keys, each once and of a known member.
    _check_unique("key", (put.key for put in genesis.keys))
    for put in genesis.keys:
        _check_key(put.key, f"a key of {put.member!r}")
        if put.member not in known:
            raise Invalid(f"genesis: key of unknown member {put.member!r}", Reason.UNKNOWN_MEMBER)
        if put.role == Role.ROLE_UNSPECIFIED or put.role not in Role.values():
            raise _invalid(f"a key of {put.member!r} has no role")
    # (6) Grants on this chain: other chains have no id before their own genesis exists.
    for grant in genesis.grants:
        if grant.holder not in known:
            raise Invalid(f"genesis: grant of unknown member {grant.holder!r}", Reason.UNKNOWN_MEMBER)
        if grant.home_chain:
            raise _invalid(f"grant {grant.prefix!r} names another chain; such grants come by governance")
    # (7) Validators, and (8) parameters.
    _check_validators(genesis, known)
    if not genesis.HasField("parameters"):
        raise _invalid("it has no parameters")
    try:
        check_parameters(genesis.parameters, len(genesis.members))
    except Refused as refusal:
        raise Invalid(f"genesis: {refusal}", refusal.reason) from refusal
    return genesis


def check_parameters(parameters: Parameters, members: int) -> None:
    """Returns only if the parameters are within bounds for this number of members; Refused(BAD_CHANGE)."""
    bounds: tuple[tuple[str, int, int, int], ...] = (
        ("governance_threshold", parameters.governance_threshold, 1, members),
        ("heartbeat_ms", parameters.heartbeat_ms, HEARTBEAT_MS_MIN, HEARTBEAT_MS_MAX),
        ("offer_expiry_ms", parameters.offer_expiry_ms, 1, OFFER_EXPIRY_MS_MAX),
        ("backdate_ms", parameters.backdate_ms, 1, BACKDATE_MS_MAX),
        ("block_bytes", parameters.block_bytes, BLOCK_BYTES_MIN, BLOCK_BYTES_MAX),
    )
    for name, value, least, most in bounds:
        if not least <= value <= most:
            raise Refused(f"parameter {name} is {value}, allowed are {least} to {most}", Reason.BAD_CHANGE)


def genesis_state(genesis_chain_id: bytes, genesis: Genesis, changes: ChangeTable) -> GenesisState:
    """The state before height 1, made by running the document's parts through the change handlers in order:
    members, parameters, keys, grants, validators. Raises Invalid where a handler refuses its part."""
    overlay = Overlay(MappingReader({}))
    if genesis.dev:
        overlay.put(DEV_KEY, b"\x01")
    context = Context(
        overlay=overlay,
        chain_id=genesis_chain_id,
        height=0,
        time_ms=genesis.time_ms,
        transaction_id=ZERO,
        operation_index=0,
        operation=ZERO,
        signer=KeyRecord(),
        member="",
        parameters=genesis.parameters,
        changes=changes,
    )
    for index, change in enumerate(_parts(genesis)):
        name = change.WhichOneof("kind")
        if name is None or name not in changes:
            raise InvariantBroken(f"no handler for change {name}; compose the chain with the full table")
        context.operation_index = index
        context.operation = change
        _run(changes[name], context, getattr(change, name), f"part {index} ({name})")
    return GenesisState(dict(overlay.changes), context.entries, context.side)


def _parts(genesis: Genesis) -> Iterator[Change]:
    for member in genesis.members:
        yield Change(put_member=member)
    yield Change(set_parameters=SetParameters(parameters=genesis.parameters))
    for key in genesis.keys:
        yield Change(put_key=key)
    for grant in genesis.grants:
        yield Change(put_grant=grant)
    yield Change(set_validators=SetValidators(validators=genesis.validators))


def _run(handler: Callable[[Context, Any], None], context: Context, change: Any, place: str) -> None:
    try:
        handler(context, change)
    except (Refused, Invalid, Malformed) as error:
        raise Invalid(f"genesis: {place}: {error}", error.reason) from error
    except (StoreError, InvariantBroken):
        raise
    except Exception as error:
        raise InvariantBroken(f"genesis: {place} failed: {error!r}") from error


def _check_validators(genesis: Genesis, known: set[str]) -> None:
    least = 1 if genesis.dev else VALIDATORS_MIN
    if not least <= len(genesis.validators) <= VALIDATORS_MAX:
        raise Invalid(
            f"genesis has {len(genesis.validators)} validators, allowed are {least} to {VALIDATORS_MAX}; "
            "fewer than four need dev = true",
            Reason.BAD_VALIDATORS,
        )
    _check_unique("validator key", (validator.key for validator in genesis.validators), Reason.BAD_VALIDATORS)
    for validator in genesis.validators:
        _check_key(validator.key, f"a validator key of {validator.member!r}")
        if validator.member not in known:
            raise Invalid(f"genesis: validator of unknown member {validator.member!r}", Reason.UNKNOWN_MEMBER)


def _check_key(key: bytes, what: str) -> None:
    try:
        hashes.check_public_key(key)
    except ChiptraceError as error:
        raise Invalid(f"genesis: {what} is no usable Ed25519 key: {error}", error.reason) from error


def _check_unique(
    what: str, items: "Iterable[str | bytes]", reason: "Reason.ValueType" = Reason.BAD_CHANGE
) -> None:
    seen: set[str | bytes] = set()
    for item in items:
        if item in seen:
            name = item.hex() if isinstance(item, bytes) else item
            raise Invalid(f"genesis: {what} {name} stands there twice", reason)
        seen.add(item)


def _invalid(why: str) -> Invalid:
    return Invalid(f"genesis is not usable: {why}", Reason.BAD_CHANGE)
