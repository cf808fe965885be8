"""Who may commission what: namespaces by position on the canonical identifier, each with one home chain.

Grants in force never overlap, so at most one covers an identifier. It is found by reading the few prefixes
that could cover it (ledger/identifiers.py `grant_prefixes`), never by scanning; how many grants lie below a
prefix is counted along each grant's outer prefixes, so that an overlap is found the same way.
"""

from functools import lru_cache

from ledger import identifiers, state
from ledger.context import Context
from ledger.errors import InvariantBroken, Refused
from ledger.identifiers import Identifier
from ledger.members import load_member
from ledger.state import Kind, Overlay, Reader
from proto.chiptrace.v1.ledger_pb2 import (
    EntryKind,
    GrantRecord,
    GrantsBelowRecord,
    PutGrant,
    Reason,
    RevokeGrant,
)


def grant_for(reader: Reader, identifier: Identifier) -> GrantRecord | None:
    """The one grant in force that covers an identifier, or None."""
    prefixes = identifiers.grant_prefixes(identifier)
    # Of company prefixes alone they are kept together: those of other names may be long, and of each name its own.
    keys = _grant_keys(prefixes) if identifier.gs1_key_digits else map(state.grant_key, prefixes)
    for key, value in state.among(reader, keys):
        record = state.looked_at(key, value, GrantRecord)
        if not record.revoked:
            return record
    return None


@lru_cache(maxsize=16_384)
def _grant_keys(prefixes: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(map(state.grant_key, prefixes))


def covering_grant(reader: Reader, prefix: str) -> GrantRecord | None:
    """The one grant in force at a prefix (in its one spelling) or at an outer one, or None."""
    for covering in (prefix, *outer_prefixes(prefix)):
        record = state.load(reader, state.grant_key(covering), GrantRecord)
        if record is not None and not record.revoked:
            return record
    return None


def is_home(context: Context, grant: GrantRecord) -> bool:
    """Whether things under the grant are commissioned on this chain."""
    return grant.home_chain in (b"", context.chain_id)


def holds_grant(context: Context, identifier: Identifier) -> bool:
    """Whether the signer's member may commission under an identifier's namespace, wherever its home is."""
    grant = grant_for(context.overlay, identifier)
    return grant is not None and grant.holder == context.member


def require_grant(context: Context, identifier: Identifier) -> None:
    """Returns only if the signer's member may commission this identifier on this chain.

    Raises Refused: NOT_GRANTED, NOT_HOME_CHAIN.
    """
    grant = grant_for(context.overlay, identifier)
    if grant is None or grant.holder != context.member:
        whose = "nobody" if grant is None else f"member {grant.holder} (grant {grant.prefix})"
        raise Refused(
            f"{identifier.text}: its namespace is granted to {whose}, not to member {context.member}; "
            "governance grants namespaces",
            Reason.NOT_GRANTED,
        )
    _check_home(context, grant, identifier)


def commissions(context: Context, identifier: Identifier) -> bool:
    """Whether the signer's member may commission this identifier on this chain as the holder of its grant.

    Raises Refused(NOT_HOME_CHAIN) for a holder whose grant has its home elsewhere.
    """
    grant = grant_for(context.overlay, identifier)
    if grant is None or grant.holder != context.member:
        return False
    _check_home(context, grant, identifier)
    return True


def _check_home(context: Context, grant: GrantRecord, identifier: Identifier) -> None:
    if not is_home(context, grant):
        raise Refused(
            f"{identifier.text}: grant {grant.prefix} has its home on chain {grant.home_chain.hex()}; "
            "commission it there and send it over",
            Reason.NOT_HOME_CHAIN,
        )


# ---- changes ----------------------------------------------------------------------------------------------


def put_grant(context: Context, change: PutGrant) -> None:
    """Grants a namespace, new or revoked before, to a member.

    Raises Refused: IDENTIFIER_INVALID for a prefix that is not canonical, UNKNOWN_MEMBER, BAD_CHANGE for a bad
    home chain, GRANT_OVERLAPS for a prefix that lies over, under or at one in force.
    """
    # (1) Its own fields.
    prefix = identifiers.canonical_grant(change.prefix)
    load_member(context.overlay, change.holder)
    if len(change.home_chain) not in (0, 32):
        raise Refused(f"grant {prefix}: a home chain has 32 bytes, or none for this chain", Reason.BAD_CHANGE)
    # (2) No grant in force at this prefix or at an outer one,
    other = covering_grant(context.overlay, prefix)
    if other is not None:
        raise Refused(
            f"{prefix} lies within grant {other.prefix} of member {other.holder}; revoke that first",
            Reason.GRANT_OVERLAPS,
        )
    # (3) and none below.
    if _count_below(context.overlay, prefix):
        raise Refused(
            f"{prefix} covers {_count_below(context.overlay, prefix)} narrower grants; revoke those first",
            Reason.GRANT_OVERLAPS,
        )
    for covering in outer_prefixes(prefix):
        _set_below(context.overlay, covering, _count_below(context.overlay, covering) + 1)
    record = state.load(context.overlay, state.grant_key(prefix), GrantRecord) or GrantRecord(prefix=prefix)
    record.holder = change.holder
    record.home_chain = b"" if change.home_chain == context.chain_id else change.home_chain
    record.long_routes = change.long_routes
    record.revoked = False
    context.enter(state.grant_key(prefix), record.history, EntryKind.GOVERNED)
    state.save(context.overlay, state.grant_key(prefix), record)


def revoke_grant(context: Context, change: RevokeGrant) -> None:
    """Ends a grant; what was commissioned under it stays. Raises Refused(NOT_GRANTED): none is in force."""
    record = state.load(context.overlay, state.grant_key(change.prefix), GrantRecord)
    if record is None or record.revoked:
        raise Refused(f"no grant of {change.prefix!a} is in force", Reason.NOT_GRANTED)
    for covering in outer_prefixes(record.prefix):
        count = _count_below(context.overlay, covering)
        if count == 0:
            raise InvariantBroken(f"grant {record.prefix} was not counted below {covering}")
        _set_below(context.overlay, covering, count - 1)
    record.revoked = True
    context.enter(state.grant_key(record.prefix), record.history, EntryKind.GOVERNED)
    state.save(context.overlay, state.grant_key(record.prefix), record)


def outer_prefixes(prefix: str) -> tuple[str, ...]:
    """Every other prefix that covers all that this one covers."""
    if prefix.startswith("gs1:"):
        digits = prefix.removeprefix("gs1:")
        return tuple(
            f"gs1:{digits[:length]}" for length in range(identifiers.GS1_PREFIX_DIGITS_MIN, len(digits))
        )
    # A thing directly under a web prefix; elsewhere the prefix itself is shaped like a thing.
    thing = f"{prefix}/x" if prefix.startswith(("http:", "https:")) else prefix
    covering = identifiers.grant_prefixes(identifiers.canonical(thing))
    return tuple(other for other in covering if other not in (prefix, thing))


def _below_key(prefix: str) -> bytes:
    return state.state_key(Kind.GRANT, prefix, "below")


def _count_below(reader: Reader, prefix: str) -> int:
    record = state.load(reader, _below_key(prefix), GrantsBelowRecord)
    return 0 if record is None else record.grants


def _set_below(overlay: Overlay, prefix: str, count: int) -> None:
    if count:
        state.save(overlay, _below_key(prefix), GrantsBelowRecord(grants=count))
    else:
        overlay.delete(_below_key(prefix))
