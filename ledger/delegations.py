"""Who may commission under another's grant: a delegate of its holder, within a quantity and a time.

A delegation is an operation of the holder, signed by an operator's key, and not of governance: it gives nobody a right
that the holder does not have, and no more of it than the holder says. Whose key is stolen could commission anyway.
Governance says whose a namespace is; a production order is between its holder and the one who makes it.

It is about a prefix, the grant's own or one within it, compared by position like the grant's. Of the delegations to one
member that stand no two cover one identifier, so it is clear which one an event draws on; several members may be
delegates for one prefix, for each has a quantity of its own. It stands until it is revoked, or until the grant ends
under which it was made: who is given the grant later has made none, even if it is the same member. A delegate passes
nothing on, adopts nothing, and flags nothing by commissioning once more.

Every event that draws on a delegation has an entry in its history, so that the holder sees each use, and an audit
adds them up.
"""

import re
from typing import Final

from ledger import decimals, identifiers, state
from ledger.context import Context
from ledger.errors import InvariantBroken, Refused
from ledger.event import Quantity
from ledger.grants import (
    commissions,
    covering_grant,
    grant_for,
    holds_grant,
    is_home,
    outer_prefixes,
    require_grant,
)
from ledger.identifiers import Identifier
from ledger.limits import DELEGATED_UNITS_MAX
from ledger.members import load_member
from ledger.recording import Recording
from ledger.state import Kind, Overlay, Reader
from proto.chiptrace.v1.ledger_pb2 import (
    Decimal,
    Delegate,
    DelegationRecord,
    DelegationsBelowRecord,
    EntryKind,
    GrantRecord,
    Reason,
    RevokeDelegation,
    Role,
)

_UNIT: Final = re.compile(r"[A-Z0-9]{2,3}\Z")


# ---- the right to commission --------------------------------------------------------------------------------


def may_commission(context: Context, identifier: Identifier) -> bool:
    """Whether the signer's member holds the grant, or a delegation that stands, whatever is left of it."""
    return holds_grant(context, identifier) or any(
        _stands(context.overlay, record) for record in _made_for(context, identifier)
    )


def require_right(context: Context, identifier: Identifier) -> bool:
    """Returns only if the signer's member may commission under an identifier's namespace here and now: as the holder
    of its grant (True), or as a delegate. What is left of a delegation is for the drawing to say.

    Raises Refused: NOT_GRANTED, NOT_HOME_CHAIN, NOT_DELEGATED, DELEGATION_REVOKED, DELEGATION_NOT_VALID.
    """
    held = commissions(context, identifier)
    if not held:
        _require_delegation(context, identifier)
    return held


def draw_serials(recording: Recording, identifier: Identifier, count: int = 1) -> None:
    """Takes serials that are commissioned from what the member may commission: nothing from a grant's holder.

    The identifier is one serial, or what all of them lie under. Raises Refused as `require_right`, and
    DELEGATION_EXCEEDED.
    """
    if commissions(recording.context, identifier):
        return
    record = _require_delegation(recording.context, identifier)
    if count > record.serials_left:
        asked = f"{count} serial{'' if count == 1 else 's'}"
        raise _exceeded(record, identifier, asked, f"{record.serials_left} of {record.serials}")
    record.serials_left -= count
    _enter_drawn(recording, record)


def draw_amount(recording: Recording, quantity: Quantity, amount: Decimal) -> None:
    """Takes an amount of a lot that is commissioned from what the member may commission, in its very unit.

    Raises Refused as `require_right`, and DELEGATION_EXCEEDED.
    """
    if commissions(recording.context, quantity.of):
        return
    record = _require_delegation(recording.context, quantity.of)
    asked = f"{decimals.to_text(amount)} {quantity.unit or 'pieces'}"
    row = next((item for item in record.amounts_left if item.unit == quantity.unit), None)
    if row is None or decimals.compare(amount, row.amount) > 0:
        left = "nothing in that unit" if row is None else decimals.to_text(row.amount)
        raise _exceeded(record, quantity.of, asked, left)
    row.amount.CopyFrom(decimals.subtract(row.amount, amount))
    _enter_drawn(recording, record)


def _exceeded(record: DelegationRecord, identifier: Identifier, asked: str, left: str) -> Refused:
    return Refused(
        f"{identifier.text}: {asked} cannot be commissioned under the delegation of {record.prefix} by member "
        f"{record.holder}: left of it is {left}; {record.holder} delegates more",
        Reason.DELEGATION_EXCEEDED,
    )


def _enter_drawn(recording: Recording, record: DelegationRecord) -> None:
    key = state.delegation_key(record.member, record.prefix)
    if key not in recording.entered:
        recording.context.enter(key, record.history, EntryKind.DRAWN, recording.digest)
        recording.entered.add(key)
    state.save(recording.context.overlay, key, record)


def load_delegation(reader: Reader, member: str, prefix: str) -> DelegationRecord | None:
    """The delegation of a prefix to a member, whether it stands or not."""
    return state.load(reader, state.delegation_key(member, prefix), DelegationRecord)


def _stands(reader: Reader, record: DelegationRecord) -> bool:
    """Whether it was neither revoked nor outlived its grant; its time is another question."""
    grant = state.load(reader, state.grant_key(record.grant), GrantRecord)
    # A grant's history has an entry for each time it was put or revoked, and no other.
    return not record.revoked and grant is not None and grant.history.n == record.grant_n


def _made_for(context: Context, identifier: Identifier) -> list[DelegationRecord]:
    prefixes = identifiers.grant_prefixes(identifier)
    found = (load_delegation(context.overlay, context.member, prefix) for prefix in prefixes)
    return [record for record in found if record is not None]


def _require_delegation(context: Context, identifier: Identifier) -> DelegationRecord:
    """The delegation that the signer's member draws on."""
    # (1) One that covers it; who was delegated nothing at all is told whose the grant is.
    made = _made_for(context, identifier)
    grant = grant_for(context.overlay, identifier)
    if not made:
        if grant is None or not _count_below(context.overlay, context.member, grant.prefix):
            require_grant(context, identifier)
        raise Refused(
            f"{identifier.text}: what was delegated to member {context.member} lies under other prefixes; "
            "the holder of the grant delegates",
            Reason.NOT_DELEGATED,
        )
    # (2) It stands,
    record = next((one for one in made if _stands(context.overlay, one)), None)
    if record is None:
        raise Refused(
            f"{identifier.text}: the delegation of {made[0].prefix} to member {context.member} was revoked, or the "
            "grant under which it was made has ended; the holder of the grant delegates anew",
            Reason.DELEGATION_REVOKED,
        )
    # (3) now.
    if context.time_ms < record.valid_from_ms or 0 < record.valid_until_ms < context.time_ms:
        raise Refused(
            f"{identifier.text}: the delegation of {record.prefix} is valid from {record.valid_from_ms} to "
            f"{record.valid_until_ms or 'any time'} only, and it is {context.time_ms}",
            Reason.DELEGATION_NOT_VALID,
        )
    return record


# ---- operations ---------------------------------------------------------------------------------------------


def delegate(context: Context, operation: Delegate) -> None:
    """Lets a member commission under a prefix of the signer's member, so much and no more.

    Raises Refused: ROLE_NOT_ALLOWED, IDENTIFIER_INVALID, UNKNOWN_MEMBER, NOTHING_TO_DO for oneself or for nothing,
    QUANTITY_INVALID, DELEGATION_NOT_VALID for a time that is over, NOT_GRANTED, NOT_HOME_CHAIN, GRANT_OVERLAPS.
    """
    context.require_role(Role.OPERATOR)
    # (1) Its own fields.
    prefix = identifiers.canonical_grant(operation.prefix)
    load_member(context.overlay, operation.member)
    _check_order(context, operation)
    # (2) It is the signer's to give.
    grant = covering_grant(context.overlay, prefix)
    if grant is None or grant.holder != context.member:
        whose = "nobody" if grant is None else f"member {grant.holder} (grant {grant.prefix})"
        raise Refused(
            f"{prefix} is granted to {whose}, not to member {context.member}; only the holder of a grant delegates, "
            "and a delegate passes nothing on",
            Reason.NOT_GRANTED,
        )
    if not is_home(context, grant):
        raise Refused(
            f"{prefix}: grant {grant.prefix} has its home on chain {grant.home_chain.hex()}; delegate it there",
            Reason.NOT_HOME_CHAIN,
        )
    # (3) No other one to that member that stands covers any of it.
    _check_overlap(context, operation.member, prefix)
    # (4) A new one, or one that is over begun anew; its history goes on.
    record = load_delegation(context.overlay, operation.member, prefix)
    if record is None or record.revoked:
        _count(context.overlay, operation.member, prefix, 1)
    made = DelegationRecord(
        prefix=prefix,
        member=operation.member,
        holder=context.member,
        grant=grant.prefix,
        grant_n=grant.history.n,
        serials=operation.serials,
        serials_left=operation.serials,
        amounts=operation.amounts,
        amounts_left=operation.amounts,
        valid_from_ms=operation.valid_from_ms,
        valid_until_ms=operation.valid_until_ms,
    )
    if record is not None:
        made.history.CopyFrom(record.history)
    _enter_governed(context, made)


def revoke_delegation(context: Context, operation: RevokeDelegation) -> None:
    """Ends a delegation at once: by the member that made it, or by who holds the grant over its prefix now.

    Raises Refused: ROLE_NOT_ALLOWED, NOT_DELEGATED where there is none to end, NOT_GRANTED for another's.
    """
    context.require_role(Role.OPERATOR)
    record = load_delegation(context.overlay, operation.member, operation.prefix)
    if record is None or record.revoked:
        raise Refused(
            f"there is no delegation of {operation.prefix!a} to {operation.member!a} to revoke",
            Reason.NOT_DELEGATED,
        )
    grant = covering_grant(context.overlay, record.prefix)
    if context.member != record.holder and (grant is None or context.member != grant.holder):
        raise Refused(
            f"the delegation of {record.prefix} to member {record.member} was made by member {record.holder}, who "
            "revokes it, or who holds the grant now",
            Reason.NOT_GRANTED,
        )
    record.revoked = True
    _count(context.overlay, record.member, record.prefix, -1)
    _enter_governed(context, record)


def _enter_governed(context: Context, record: DelegationRecord) -> None:
    key = state.delegation_key(record.member, record.prefix)
    context.enter(key, record.history, EntryKind.DELEGATED)
    state.save(context.overlay, key, record)


def _check_order(context: Context, operation: Delegate) -> None:
    if operation.member == context.member:
        raise Refused("a delegate is another member; the holder needs none", Reason.NOTHING_TO_DO)
    if operation.serials == 0 and not operation.amounts:
        raise Refused("neither serials nor amounts are delegated", Reason.NOTHING_TO_DO)
    units = [row.unit for row in operation.amounts]
    if len(units) > DELEGATED_UNITS_MAX or units != sorted(set(units)):
        raise Refused(
            f"amounts are in at most {DELEGATED_UNITS_MAX} units, each once, in ascending order",
            Reason.QUANTITY_INVALID,
        )
    for row in operation.amounts:
        decimals.check(row.amount)
        if row.unit and _UNIT.match(row.unit) is None:
            raise Refused(f"{row.unit!a} is no unit code", Reason.QUANTITY_INVALID)
        if decimals.sign(row.amount) <= 0 or not (row.unit or decimals.is_whole(row.amount)):
            raise Refused(
                f"{decimals.to_text(row.amount)} {row.unit or 'pieces'} cannot be delegated: say how much, above "
                "zero; pieces are whole",
                Reason.QUANTITY_INVALID,
            )
    until_ms = operation.valid_until_ms
    if 0 < until_ms < max(operation.valid_from_ms, context.time_ms):
        raise Refused(
            f"it would be over at {until_ms}, before it begins or already", Reason.DELEGATION_NOT_VALID
        )


def _check_overlap(context: Context, member: str, prefix: str) -> None:
    for covering in (prefix, *outer_prefixes(prefix)):
        other = load_delegation(context.overlay, member, covering)
        if other is not None and _stands(context.overlay, other):
            raise Refused(
                f"{prefix} lies within {covering}, which is delegated to member {member}; revoke that first",
                Reason.GRANT_OVERLAPS,
            )
    below = _count_below(context.overlay, member, prefix)
    if below:
        raise Refused(
            f"{prefix} covers {below} narrower delegations to member {member}; revoke those first",
            Reason.GRANT_OVERLAPS,
        )


def _below_key(member: str, prefix: str) -> bytes:
    return state.state_key(Kind.DELEGATION, member, prefix, "below")


def _count_below(reader: Reader, member: str, prefix: str) -> int:
    record = state.load(reader, _below_key(member, prefix), DelegationsBelowRecord)
    return 0 if record is None else record.delegations


def _count(overlay: Overlay, member: str, prefix: str, change: int) -> None:
    """Counts a delegation, or one less, along all prefixes that cover its own. Raises Refused(TOO_MANY_RECORDS)."""
    outer = outer_prefixes(prefix)
    # The same delegation may be made and revoked a thousand times.
    overlay.go_through_records(len(outer))
    for covering in outer:
        count = _count_below(overlay, member, covering) + change
        if count < 0:
            raise InvariantBroken(f"a delegation of {prefix} to {member} was not counted below {covering}")
        if count:
            state.save(overlay, _below_key(member, covering), DelegationsBelowRecord(delegations=count))
        else:
            overlay.delete(_below_key(member, covering))
