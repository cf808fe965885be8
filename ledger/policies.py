"""What leaves its possessor only under a licence: policies that governance puts, checked when something is shipped.

A policy is about a class, by a prefix of its identifier compared by position like a grant's: whatever names that class,
a part or a lot, on its own or in the manifest of the container that leaves. It asks for an attestation of a kind, by one
of its issuers, that is valid at the header time and not revoked. The shipping names it: an event among its business
documents, a crossing in `licences`. It fits what it is about:

    subject        the part that leaves itself (not what is inside it), its lot, or its class
    destinations   everyone, or the receiver by name; `client/receiver` over the bridge

An issuer is a member of this chain. A member of another chain is one only where the policy names it with its chain, as
64 hexadecimal digits, a slash and its id; its claim counts as that very chain told it over the bridge, while the client
of that chain may be relied on.

Things whose identifier names no class (boxes, assets, plain URIs) are under no policy, for a manifest does not tell them.
Taking an offer back, declining it and returning a crossing are no shipping.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from ledger import identifiers, state
from ledger.attestations import KINDS, foreign_attestation_key
from ledger.containers import open_generation
from ledger.context import Context
from ledger.custody import load_part
from ledger.errors import Refused
from ledger.identifiers import Identifier, canonical
from ledger.intervals import lot_of
from ledger.limits import LICENCES_NAMED_MAX, POLICIES_PER_PREFIX_MAX, POLICY_NAMES_MAX
from ledger.members import load_member
from ledger.recording import Recording
from ledger.state import Reader
from proto.chiptrace.v1.bridge_pb2 import ClientRecord
from proto.chiptrace.v1.ledger_pb2 import (
    AttestationRecord,
    EntryKind,
    ForeignAttestationRecord,
    PoliciesRecord,
    PolicyRecord,
    PutPolicy,
    Reason,
    RevokePolicy,
    Trigger,
)

_POLICY_ID: Final = re.compile(r"[a-z0-9-]{1,32}\Z")
_ABROAD: Final = re.compile(r"([0-9a-f]{64})/[a-z0-9-]{1,32}\Z")
_ENDED_MAX: Final = 1_000  # per prefix


# ---- leaving ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Leaving:
    """Where something goes, and the documents that its shipping names. receiver: a member's id here, empty for others;
    destination: how a licence names it."""

    destination: str
    receiver: str
    over_bridge: bool
    documents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """Something that leaves, as a policy sees it. subjects: what a licence for it may be about."""

    name: Identifier
    subjects: frozenset[str]


def check_shipping(recording: Recording, receiver: str | None, destination: Identifier | None) -> None:
    """Returns only if every policy about what an event ships is satisfied; to oneself nothing leaves.

    Raises Refused(LICENCE_MISSING).
    """
    if receiver == recording.member:
        return
    view = recording.view
    said = "" if destination is None else destination.text
    documents = tuple(text for _, text in view.biz_transactions)
    leaving = Leaving(receiver or said, receiver or "", False, documents)
    asked = Asked(recording.context, leaving)
    for identifier in view.epcs:
        check_part(recording.context, identifier, leaving, asked)
    for quantity in view.quantities:
        asked.check(quantity.of)


def check_part(
    context: Context, identifier: Identifier, leaving: Leaving, asked: "Asked | None" = None
) -> None:
    """Returns only if every policy about a part, and about what is inside it, is satisfied.

    Raises Refused: LICENCE_MISSING, TOO_MANY_ROWS.

    asked: of the same leaving, for who asks of more than one part.
    """
    asked = asked or Asked(context, leaving)
    record = load_part(context.overlay, identifier.text)
    asked.check(identifier, lot_of(context.overlay, identifier, record))
    generation = None if record is None else open_generation(context.overlay, record)
    if generation is None:
        return
    context.overlay.go_through(len(generation.manifest))
    for row in generation.manifest:
        inside = row.item_class or row.lot
        if inside:
            asked.check(canonical(inside), row.lot)


def items_of(identifier: Identifier, lot: str = "") -> list[Item]:
    """What a policy sees of a lot, or of a part, which may be of a lot: nothing where its identifier names no class."""
    if not _is_classed(identifier):
        return []
    # Intervals fall into pieces: what some of a lot's serials leave under is about the lot, or the class.
    own = identifier.lot_text if identifier.interval is not None else identifier.text
    return [Item(identifier, frozenset({own, identifier.class_text, lot} - {""}))]


def _is_classed(identifier: Identifier) -> bool:
    return bool(identifier.class_text) or identifier.is_class


class Asked:
    """The policies and licences that one leaving was held against: looked up once, whatever a manifest lists."""

    def __init__(self, context: Context, leaving: Leaving) -> None:
        self._context = context
        self._leaving = leaving
        self._at: dict[bytes, list[PutPolicy]] = {}  # by key: those in force at a prefix that are triggered
        self._licensed: dict[str, set[str]] = {}  # by policy: what there is a licence about

    def check(self, name: Identifier, lot: str = "") -> None:
        """Returns only if every policy about a lot, or about a part, which may be of a lot, is satisfied.

        Raises Refused(LICENCE_MISSING).
        """
        if not _is_classed(name):
            return
        prefixes = identifiers.grant_prefixes(name)
        keys = _policy_keys(prefixes) if name.gs1_key_digits else map(state.policies_key, prefixes)
        for key, value in self._context.overlay.among(keys):
            for policy in self._policies_at(key, value):
                for item in items_of(name, lot):
                    if not item.subjects & self._licensed_by(policy, name):
                        raise _missing(self._context, policy, item, self._leaving)

    def _policies_at(self, key: bytes, value: bytes) -> list[PutPolicy]:
        found = self._at.get(key)
        if found is None:
            overlay, at = self._context.overlay, state.looked_at(key, value, PoliciesRecord)
            records = [state.look(overlay, state.policy_key(policy), PolicyRecord) for policy in at.in_force]
            all_there = [record.policy for record in records if record is not None]
            found = self._at[key] = [one for one in all_there if is_triggered(one, self._leaving)]
        return found

    def _licensed_by(self, policy: PutPolicy, name: Identifier) -> set[str]:
        found = self._licensed.get(policy.id)
        if found is None:
            found = self._licensed[policy.id] = set()
            for document in named(self._leaving.documents):
                for record in _look_through(self._context, policy, document):
                    # Whatever it is about, which is asked of each thing.
                    item = Item(name, frozenset((record.subject,)))
                    if not _why_not_now(self._context, policy, record, item, self._leaving, document):
                        found.add(record.subject)
        return found


@lru_cache(maxsize=16_384)
def _policy_keys(prefixes: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(map(state.policies_key, prefixes))


def is_triggered(policy: PutPolicy, leaving: Leaving) -> bool:
    """Whether a policy asks for a licence here."""
    if policy.trigger == Trigger.OVER_BRIDGE:
        return leaving.over_bridge
    # ANY_SHIPPING has no members, so nobody is among them.
    return leaving.receiver not in policy.members


def _missing(context: Context, policy: PutPolicy, item: Item, leaving: Leaving) -> Refused:
    why = [
        f"{name}: {_why_not_now(context, policy, record, item, leaving, name)}"
        for name in named(leaving.documents)
        for record in _look_through(context, policy, name)
    ]
    return Refused(
        f"{item.name.text}: policy {policy.id} lets it leave to {leaving.destination or 'nobody named'} only under an "
        f"attestation {policy.attestation} of {' or '.join(policy.issuers)}, named by the shipping; "
        f"{'; '.join(why) or 'none is named'}",
        Reason.LICENCE_MISSING,
    )


def _look_through(context: Context, policy: PutPolicy, attestation: str) -> list[AttestationRecord]:
    # What one event asks of the same documents the next one asks again.
    context.overlay.go_through_records(1 + len(foreign_chains(policy.issuers)))
    return claims(context.overlay, policy, attestation)


def _why_not_now(
    context: Context, policy: PutPolicy, record: AttestationRecord, item: Item, leaving: Leaving, name: str
) -> str:
    reason = why_not(policy, record, item, leaving.destination, context.time_ms)
    return reason or _why_doubted(context, record, name)


def _why_doubted(context: Context, record: AttestationRecord, name: str) -> str:
    """Why a claim of another chain counts for nothing now: the client over which it was told is frozen, so it may be of a
    chain that forked, or has expired, so no revocation could come. Empty for one that counts, and for one made here."""
    match = _ABROAD.match(record.issuer)
    if match is None:
        return ""
    chain_id = bytes.fromhex(match[1])
    told = state.load(
        context.overlay, foreign_attestation_key(chain_id, chain_id, name), ForeignAttestationRecord
    )
    client = (
        None if told is None else state.load(context.overlay, state.client_key(told.client), ClientRecord)
    )
    if client is None or client.frozen or context.time_ms - client.latest_time_ms > client.trusting_period_ms:
        return "its chain is not believed now"
    return ""


def named(documents: Sequence[str]) -> list[str]:
    """The documents of a shipping that can be attestations, by canonical id."""
    found: dict[str, None] = {}
    for text in documents[:LICENCES_NAMED_MAX]:
        try:
            found[canonical(text).text] = None
        except Refused:
            continue  # any text names a business document
    return list(found)


def claims(reader: Reader, policy: PutPolicy, attestation: str) -> list[AttestationRecord]:
    """What has this id and could be a licence under a policy: the claim made here, and those of the chains that the
    policy names, with the issuer as the policy names it."""
    own = state.load(reader, state.attestation_key(attestation), AttestationRecord)
    found = [] if own is None else [own]
    for chain_id in foreign_chains(policy.issuers):
        key = foreign_attestation_key(chain_id, chain_id, attestation)
        told = state.load(reader, key, ForeignAttestationRecord)
        if told is not None:
            found.append(named_abroad(told))
    return found


def foreign_chains(issuers: Iterable[str]) -> list[bytes]:
    """The other chains that issuers are named of, each once."""
    chains = [bytes.fromhex(match[1]) for match in map(_ABROAD.match, issuers) if match is not None]
    return list(dict.fromkeys(chains))


def named_abroad(told: ForeignAttestationRecord) -> AttestationRecord:
    """A claim of another chain with its issuer as a policy names it, so that it can never be taken for one made here."""
    record = AttestationRecord()
    record.CopyFrom(told.copy.record)
    record.issuer = f"{told.copy.issuer_chain.hex()}/{record.issuer}"
    return record


def why_not(policy: PutPolicy, record: AttestationRecord, item: Item, destination: str, time_ms: int) -> str:
    """Why an attestation is no licence under a policy for this to leave at a time; empty where it is one."""
    if record.kind != policy.attestation:
        return f"it is of kind {record.kind}"
    if record.issuer not in policy.issuers:
        return f"it is of issuer {record.issuer}"
    if record.subject not in item.subjects:
        return f"it is about {record.subject}"
    if record.destinations and destination not in record.destinations:
        return f"it is for {', '.join(record.destinations)}"
    if 0 < record.revoked_at_ms <= time_ms:
        return "it is revoked"
    if time_ms < record.valid_from_ms:
        return "it is not valid yet"
    if 0 < record.valid_until_ms < time_ms:
        return "it has expired"
    return ""


# ---- changes ------------------------------------------------------------------------------------------------


def put_policy(context: Context, change: PutPolicy) -> None:
    """Puts a policy in force, from the next operation on. Raises Refused: BAD_CHANGE, IDENTIFIER_INVALID, UNKNOWN_MEMBER."""
    # (1) Its own fields.
    if _POLICY_ID.match(change.id) is None:
        raise Refused(f"policy id {change.id!a} must match [a-z0-9-]{{1,32}}", Reason.BAD_CHANGE)
    identifiers.canonical_grant(change.prefix)
    if change.trigger == Trigger.TRIGGER_UNSPECIFIED or change.trigger not in Trigger.values():
        raise Refused(f"policy {change.id}: no trigger known here", Reason.BAD_CHANGE)
    if change.members and change.trigger != Trigger.SHIPPING_OUTSIDE:
        raise Refused(f"policy {change.id}: only SHIPPING_OUTSIDE has members", Reason.BAD_CHANGE)
    if change.attestation not in KINDS:
        raise Refused(
            f"policy {change.id}: attestation {change.attestation!a} is none of {', '.join(KINDS)}",
            Reason.BAD_CHANGE,
        )
    for what, names, least in (("members", change.members, 0), ("issuers", change.issuers, 1)):
        if not least <= len(names) <= POLICY_NAMES_MAX or len(set(names)) != len(names):
            raise Refused(
                f"policy {change.id}: {least} to {POLICY_NAMES_MAX} {what}, each once", Reason.BAD_CHANGE
            )
        for member in names:
            if what == "members" or _ABROAD.match(member) is None:
                load_member(context.overlay, member)
    if context.chain_id in foreign_chains(change.issuers):
        raise Refused(f"policy {change.id}: name issuers of this chain by their id alone", Reason.BAD_CHANGE)
    # (2) New for ever.
    key = state.policy_key(change.id)
    if context.overlay.get(key) is not None:
        raise Refused(f"policy {change.id} exists; an id is used once", Reason.BAD_CHANGE)
    # (3) Among those of its prefix.
    at = _policies_at(context, change.prefix)
    if len(at.in_force) >= POLICIES_PER_PREFIX_MAX or len(at.in_force) + len(at.ended) >= _ENDED_MAX:
        raise Refused(
            f"{change.prefix} has {len(at.in_force)} policies in force and {len(at.ended)} that ended; no more fit",
            Reason.BAD_CHANGE,
        )
    at.in_force[:] = sorted([*at.in_force, change.id])
    state.save(context.overlay, state.policies_key(change.prefix), at)
    record = PolicyRecord(policy=change, put_at=context.height)
    context.enter(key, record.history, EntryKind.GOVERNED)
    state.save(context.overlay, key, record)


def revoke_policy(context: Context, change: RevokePolicy) -> None:
    """Ends a policy. Raises Refused: BAD_CHANGE where there is none of that id, NOTHING_TO_DO where it ended before."""
    key = state.policy_key(change.id)
    record = state.load(context.overlay, key, PolicyRecord)
    if record is None:
        raise Refused(f"there is no policy {change.id!a}", Reason.BAD_CHANGE)
    if record.revoked_at:
        raise Refused(f"policy {change.id} ended at height {record.revoked_at}", Reason.NOTHING_TO_DO)
    at = _policies_at(context, record.policy.prefix)
    at.in_force.remove(change.id)
    at.ended.append(change.id)
    state.save(context.overlay, state.policies_key(record.policy.prefix), at)
    record.revoked_at = context.height
    context.enter(key, record.history, EntryKind.GOVERNED)
    state.save(context.overlay, key, record)


def _policies_at(context: Context, prefix: str) -> PoliciesRecord:
    return state.load(context.overlay, state.policies_key(prefix), PoliciesRecord) or PoliciesRecord()
