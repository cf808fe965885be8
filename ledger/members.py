"""Who takes part: members, the identifiers that name them, their admin keys and their role-narrow keys.

A key is registered once and for ever: as one member's admin key or as one signing key of one role, never both,
never again. What a key may do is asked of its record; an admin key signs nothing but governance.
"""

import re
from typing import Final

from ledger import hashes, identifiers, state
from ledger.context import Context
from ledger.errors import Invalid, InvariantBroken, Refused
from ledger.limits import ADMIN_KEYS_PER_MEMBER_MAX, IDENTIFIERS_PER_MEMBER_MAX, NAME_BYTES_MAX
from ledger.state import Kind, Reader
from proto.chiptrace.v1.ledger_pb2 import (
    ConsortiumRecord,
    EntryKind,
    IdentifierRecord,
    KeyRecord,
    MemberRecord,
    PutKey,
    PutMember,
    Reason,
    RevokeKey,
    Role,
    ValidatorsRecord,
)

CONSORTIUM_KEY: Final = state.state_key(Kind.MEMBER)
# Names a member by its id where an identifier is wanted; needs no registration.
MEMBER_URN: Final = "urn:chiptrace:member:"

_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_MEMBER_ID: Final = re.compile(r"[a-z0-9-]{1,32}\Z")


# ---- reading ----------------------------------------------------------------------------------------------


def load_member(reader: Reader, member: str) -> MemberRecord:
    """The record of a member. Raises Refused(UNKNOWN_MEMBER)."""
    record = state.load(reader, state.member_key(member), MemberRecord)
    if record is None:
        raise Refused(f"{member!a} is no member of this chain", Reason.UNKNOWN_MEMBER)
    return record


def member_for(reader: Reader, identifier: str) -> str | None:
    """The member that a canonical identifier names, or None.

    An identifier is a registered one, or `urn:chiptrace:member:` and a member id.
    """
    if identifier.startswith(MEMBER_URN):
        member = identifier.removeprefix(MEMBER_URN)
        return member if reader.get(state.member_key(member)) is not None else None
    record = state.load(reader, state.identifier_key(identifier), IdentifierRecord)
    return None if record is None else record.member


def admin_key_key(key: bytes) -> bytes:
    """Key of the IdentifierRecord that says whose admin key an Ed25519 key is or once was."""
    return state.state_key(Kind.IDENTIFIER, "admin", key)


def member_of_admin_key(reader: Reader, key: bytes) -> str | None:
    """The member for which an Ed25519 key may approve proposals now, or None."""
    row = state.load(reader, admin_key_key(key), IdentifierRecord)
    if row is None:
        return None
    return row.member if key in load_member(reader, row.member).admin_keys else None


def count_members(reader: Reader) -> int:
    """How many members the chain has."""
    record = state.load(reader, CONSORTIUM_KEY, ConsortiumRecord)
    return 0 if record is None else record.members


# ---- changes ----------------------------------------------------------------------------------------------


def check_name(text: str, what: str, reason: "Reason.ValueType", bytes_max: int = NAME_BYTES_MAX) -> None:
    """Returns only for 1 to `bytes_max` bytes of one line without outer spaces; else raises Refused.

    What counts as a control character is said here, not by the Unicode tables of one Python version.
    """
    if not 0 < len(text.encode()) <= bytes_max:
        raise Refused(f"{what} must have 1 to {bytes_max} bytes", reason)
    if _CONTROL.search(text) or text[0] == " " or text[-1] == " ":
        raise Refused(f"{what} {text!a} must be one line that neither begins nor ends with a space", reason)


def put_member(context: Context, change: PutMember) -> None:
    """Adds a member, or replaces its name, identifiers and admin keys.

    Raises Refused: BAD_CHANGE, IDENTIFIER_INVALID.
    """
    # (1) Its own fields.
    if _MEMBER_ID.match(change.id) is None:
        raise Refused(f"member id {change.id!a} must match [a-z0-9-]{{1,32}}", Reason.BAD_CHANGE)
    check_name(change.name, f"the name of member {change.id}", Reason.BAD_CHANGE)
    record = state.load(context.overlay, state.member_key(change.id), MemberRecord)
    if record is None:
        record = MemberRecord(id=change.id)
        totals = ConsortiumRecord(members=count_members(context.overlay) + 1)
        state.save(context.overlay, CONSORTIUM_KEY, totals)
    # (2) Identifiers name one member each.
    _put_identifiers(context, record, change)
    # (3) Admin keys are new for ever, or this member's already.
    _put_admin_keys(context, record, change)
    record.name = change.name
    context.enter(state.member_key(record.id), record.history, EntryKind.GOVERNED)
    state.save(context.overlay, state.member_key(record.id), record)


def _put_identifiers(context: Context, record: MemberRecord, change: PutMember) -> None:
    wanted = list(change.identifiers)
    if len(wanted) > IDENTIFIERS_PER_MEMBER_MAX or len(set(wanted)) != len(wanted):
        raise Refused(
            f"member {change.id}: at most {IDENTIFIERS_PER_MEMBER_MAX} identifiers, each once",
            Reason.BAD_CHANGE,
        )
    for text in wanted:
        identifier = identifiers.canonical(text)
        if identifier.text != text or identifier.is_class or text.startswith(MEMBER_URN):
            raise Refused(
                f"member {change.id}: {text} does not name one party in canonical form; "
                f"its canonical form is {identifier.text}",
                Reason.IDENTIFIER_INVALID,
            )
        named = member_for(context.overlay, text)
        if named not in (None, change.id):
            raise Refused(f"{text} already names member {named}; one identifier names one", Reason.BAD_CHANGE)
    for text in record.identifiers:
        if text not in wanted:
            context.overlay.delete(state.identifier_key(text))
    for text in wanted:
        state.save(context.overlay, state.identifier_key(text), IdentifierRecord(member=change.id))
    record.identifiers[:] = wanted


def _put_admin_keys(context: Context, record: MemberRecord, change: PutMember) -> None:
    wanted = list(change.admin_keys)
    if not 0 < len(wanted) <= ADMIN_KEYS_PER_MEMBER_MAX or len(set(wanted)) != len(wanted):
        raise Refused(
            f"member {change.id}: 1 to {ADMIN_KEYS_PER_MEMBER_MAX} admin keys, each once", Reason.BAD_CHANGE
        )
    for key in wanted:
        if key in record.admin_keys:
            continue
        _check_new_key(context, key)
        state.save(context.overlay, admin_key_key(key), IdentifierRecord(member=change.id))
    record.admin_keys[:] = wanted


def _check_new_key(context: Context, key: bytes) -> None:
    """Returns only for a usable Ed25519 key that was never registered on this chain; Refused(BAD_CHANGE)."""
    try:
        hashes.check_public_key(key)
    except Invalid as error:
        raise Refused(f"key {key.hex()} is no usable Ed25519 key: {error}", Reason.BAD_CHANGE) from error
    if context.overlay.get(state.signer_key(key)) or context.overlay.get(admin_key_key(key)):
        raise Refused(
            f"key {key.hex()} was registered before; a key is registered once, so make a new one",
            Reason.BAD_CHANGE,
        )


def put_key(context: Context, change: PutKey) -> None:
    """Registers a signing key of one role for a member. Raises Refused: UNKNOWN_MEMBER, BAD_CHANGE."""
    load_member(context.overlay, change.member)
    _check_new_key(context, change.key)
    if change.role == Role.ROLE_UNSPECIFIED or change.role not in Role.values():
        raise Refused(f"key {change.key.hex()} has no role known here", Reason.BAD_CHANGE)
    if 0 < change.valid_until_ms <= change.valid_from_ms:
        raise Refused(f"key {change.key.hex()} would end before it begins to be valid", Reason.BAD_CHANGE)
    record = KeyRecord(
        key=change.key,
        member=change.member,
        role=change.role,
        valid_from_ms=change.valid_from_ms,
        valid_until_ms=change.valid_until_ms,
    )
    context.enter(state.signer_key(change.key), record.history, EntryKind.GOVERNED)
    state.save(context.overlay, state.signer_key(change.key), record)


def revoke_key(context: Context, change: RevokeKey) -> None:
    """Ends a signing key at once, for ever; may say since when it was compromised, also later and earlier.

    Raises Refused: UNKNOWN_KEY; BAD_CHANGE for a key that the newest validator set holds, or a compromise in
    the future; NOTHING_TO_DO when revoked already and nothing is added.
    """
    record = state.load(context.overlay, state.signer_key(change.key), KeyRecord)
    if record is None:
        raise Refused(f"key {change.key.hex()} is not registered on this chain", Reason.UNKNOWN_KEY)
    since = change.compromised_since_ms
    if since > context.time_ms:
        raise Refused(f"key {record.key.hex()} cannot be compromised since a later time", Reason.BAD_CHANGE)
    validators = state.load(context.overlay, state.VALIDATORS_KEY, ValidatorsRecord)
    if validators is None:
        raise InvariantBroken("the state has no validators; the genesis state was never stored")
    if any(validator.key == record.key for validator in validators.next.validators):
        raise Refused(
            f"key {record.key.hex()} votes in the newest validator set; put a set without it before, "
            "in the same proposal if need be",
            Reason.BAD_CHANGE,
        )
    earlier = since != 0 and (record.compromised_since_ms == 0 or since < record.compromised_since_ms)
    if record.revoked_at_ms != 0 and not earlier:
        raise Refused(f"key {record.key.hex()} is revoked already", Reason.NOTHING_TO_DO)
    record.revoked_at_ms = record.revoked_at_ms or context.time_ms
    if earlier:
        record.compromised_since_ms = since
    context.enter(state.signer_key(record.key), record.history, EntryKind.GOVERNED)
    state.save(context.overlay, state.signer_key(record.key), record)
