"""By which right something was made: judged by the grants and delegations in force at its height, not by today's.

Both are told again from their own complete histories:

1. each entry of a grant's history is one change of a governance proposal, or the genesis; so it is known from which
   height to which one each holder held it, and whether enough members' admin keys approved (client/audit_keys.py);
2. each entry of a delegation's history is the operation of a holder that made or ended it, or an event of the
   delegate that drew on it; so it is known, event by event, what was left.

What these histories lead to must be what the records say. Within one height a grant's history is not ordered against
other transactions: there a grant counts as in force, also if it was put after the event or revoked before it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from client.audit_keys import Vouching
from client.histories import ProvenEntry
from client.verified import NotVerifiable, VerifiedChain
from ledger import codec, decimals, hashes, state
from ledger.errors import ChiptraceError
from ledger.event import EventView, Quantity, event_digest, read_event
from ledger.grants import outer_prefixes
from ledger.identifiers import Identifier, canonical, grant_prefixes, matches_grant
from ledger.limits import EVENT_BYTES_MAX, TRANSACTION_BYTES_MAX, TRANSACTION_VALIDITY_MS_MAX
from ledger.lots import require_amount
from proto.chiptrace.v1.ledger_pb2 import (
    Change,
    Decimal,
    Delegate,
    DelegationRecord,
    Entry,
    EntryKind,
    Event,
    GovernanceProposal,
    GrantRecord,
    Operation,
    Reason,
)

Find = Callable[[VerifiedChain, str, str, str, tuple[bytes, ...]], None]
Signer = Callable[
    [str, ProvenEntry, Operation, int], str
]  # the member whose key signed; it finds what is wrong
Problem = tuple[str, str]  # code of a finding, and what to say
_MADE_BY: Final[Mapping[int, tuple[str, ...]]] = {
    EntryKind.DELEGATED: ("delegate", "revoke_delegation"),
    EntryKind.DRAWN: ("capture",),
}


@dataclass(frozen=True)
class Term:
    """From where to where a grant was in force, once. Heights, both inclusive; ends: None while it is."""

    prefix: str
    holder: str
    home_chain: bytes
    begins: int
    approved: bool
    ends: int | None = None

    def covers(self, height: int) -> bool:
        """Whether it was in force at a height, or for a part of it."""
        return self.begins <= height and (self.ends is None or height <= self.ends)


@dataclass
class _Left:
    """What is left of a delegation while its history is told."""

    order: Delegate | None = None
    term: Term | None = None  # of the grant under which it was made
    serials: int = 0
    amounts: dict[str, Decimal] = field(default_factory=dict)
    uses: dict[tuple[bytes, int], list[Problem]] = field(default_factory=dict)  # by transaction and operation


class Rights:
    """Judges who might commission what on one chain. What was told once is kept."""

    def __init__(self, chain: VerifiedChain, find: Find, vouching: Vouching, signer: Signer) -> None:
        self._chain = chain
        self._find = find
        self._vouching = vouching
        self._signer = signer
        self._terms: dict[str, list[Term]] = {}
        self._over: dict[tuple[str, ...], list[Term]] = {}  # by prefixes
        self._uses: dict[tuple[str, str], dict[tuple[bytes, int], list[Problem]] | None] = {}

    def check(self, name: str, member: str, entry: Entry) -> None:
        """What this entry made, or adopted, was the member's to make: as holder of the grant, here, or as delegate."""
        prefixes = grant_prefixes(canonical(name))
        held = [term for term in self._terms_over(prefixes) if term.holder == member]
        then = [term for term in held if term.covers(entry.height)]
        here = [term for term in then if not term.home_chain]
        transactions = (entry.transaction,)

        def found(code: str, text: str) -> None:
            self._find(self._chain, name, code, text, transactions)

        if here:
            if not any(term.approved for term in here):
                text = f"neither the genesis nor enough admin keys vouch for the grant of {here[0].prefix} to {member}"
                found("GRANT_NOT_APPROVED", text)
        elif then:
            found("NOT_HOME_CHAIN", f"{name} was made here, but its home was another chain")
        elif entry.kind != EntryKind.ADOPTED_EVENT and self._delegated(name, member, entry, prefixes):
            return
        elif any(term.ends is not None and term.ends < entry.height for term in held):
            text = f"the grant under which {member} made {name} at height {entry.height} had been revoked"
            found("GRANT_REVOKED", text)
        else:
            text = f"{member} made {name} at height {entry.height} and held no grant for it then"
            found("NOT_GRANTED", text)

    # ---- grants -------------------------------------------------------------------------------------------

    def _terms_over(self, prefixes: tuple[str, ...]) -> list[Term]:
        """The terms of all these prefixes, in their order: thousands of serials have the same."""
        if prefixes not in self._over:
            self._chain.values(map(state.grant_key, prefixes))
            self._over[prefixes] = [term for prefix in prefixes for term in self.terms(prefix)]
        return self._over[prefixes]

    def terms(self, prefix: str) -> list[Term]:
        """Each time that the grant of a prefix was in force, in order. Raises NotVerifiable."""
        if prefix not in self._terms:
            record = self._chain.record(state.grant_key(prefix), GrantRecord)
            self._terms[prefix] = [] if record is None else self._told(prefix, record)
        return self._terms[prefix]

    def _told(self, prefix: str, record: GrantRecord) -> list[Term]:
        terms: list[Term] = []
        seen: dict[tuple[bytes, int], int] = {}  # changes of this prefix that a proposal has made so far
        what = f"the grant of {prefix}"
        entries = self._chain.history(state.grant_key(prefix), record.history)
        self._chain.times(proven.entry.height for proven in entries if proven.entry.height)
        for proven in entries:
            entry = proven.entry
            place = (entry.transaction, entry.operation)
            changes = self._changes(what, prefix, proven)
            nth = seen[place] = seen.get(place, -1) + 1
            if entry.kind != EntryKind.GOVERNED or nth >= len(changes):
                raise self._broken(what, proven, "no change of its proposal makes it")
            change, begun = changes[nth], bool(terms) and terms[-1].ends is None
            if (change.WhichOneof("kind") == "put_grant") == begun:
                raise self._broken(what, proven, "it is put while in force, or revoked while it is not")
            if begun:
                terms[-1] = replace(terms[-1], ends=entry.height)
                continue
            put = change.put_grant
            approved = entry.height == 0 or bool(self._vouching.approved(proven))
            home = b"" if put.home_chain == self._chain.trust.chain_id else put.home_chain
            terms.append(Term(prefix, put.holder, home, entry.height, approved))
        last = terms[-1] if terms else Term(prefix, "", b"", 0, False)
        told = (last.holder, last.home_chain, last.ends is not None)
        if told != (record.holder, record.home_chain, record.revoked):
            raise NotVerifiable(
                f"chain {self._chain.trust.name}: {what} is another one by its record than by its history. "
                "The chain's own members let this stand; ask them.",
                Reason.BAD_PROOF,
            )
        return terms

    def _changes(self, what: str, prefix: str, proven: ProvenEntry) -> list[Change]:
        """The changes about a prefix that made an entry of its grant, in order."""
        if proven.entry.height == 0:
            grants = self._chain.genesis.grants if self._chain.genesis is not None else ()
            return [Change(put_grant=grant) for grant in grants if grant.prefix == prefix]
        operation = self._operation(what, proven, self._time(proven))
        try:
            if operation.WhichOneof("kind") != "govern":
                raise self._broken(what, proven, "no proposal made it")
            proposal = codec.decode(GovernanceProposal, operation.govern.proposal, TRANSACTION_BYTES_MAX)
        except NotVerifiable:
            raise
        except ChiptraceError as error:
            raise self._broken(what, proven, f"its proposal cannot be read: {error}") from error
        return [
            change
            for change in proposal.changes
            if prefix in (change.put_grant.prefix, change.revoke_grant.prefix)
        ]

    # ---- delegations --------------------------------------------------------------------------------------

    def _delegated(self, name: str, member: str, entry: Entry, prefixes: Sequence[str]) -> bool:
        """Whether an entry drew on a delegation; whatever was wrong with that is found."""
        self._chain.values(state.delegation_key(member, prefix) for prefix in prefixes)
        for prefix in prefixes:
            problems = (self._drawn(member, prefix) or {}).get((entry.transaction, entry.operation))
            if problems is not None:
                for code, text in problems:
                    self._find(self._chain, name, code, text, (entry.transaction,))
                return True
        return False

    def _drawn(self, member: str, prefix: str) -> dict[tuple[bytes, int], list[Problem]] | None:
        """What drew on a delegation, with what was wrong with each; None where there never was one."""
        place = (member, prefix)
        if place not in self._uses:
            key = state.delegation_key(member, prefix)
            record = self._chain.record(key, DelegationRecord)
            self._uses[place] = None if record is None else self._retold(key, record)
        return self._uses[place]

    def _retold(self, key: bytes, record: DelegationRecord) -> dict[tuple[bytes, int], list[Problem]]:
        left = _Left()
        what = f"the delegation of {record.prefix} to {record.member}"
        entries = self._chain.history(key, record.history)
        self._chain.times(proven.entry.height for proven in entries)
        for proven in entries:
            time_ms = self._time(proven)
            operation = self._operation(what, proven, time_ms)
            if operation.WhichOneof("kind") not in _MADE_BY.get(proven.entry.kind, ()):
                raise self._broken(what, proven, "its operation makes no such entry")
            member = self._signer(what, proven, operation, time_ms)
            if proven.entry.kind == EntryKind.DELEGATED:
                self._govern(what, record, left, proven, operation, member)
            elif member == record.member:
                left.uses[proven.entry.transaction, proven.entry.operation] = self._draw(
                    what, record.prefix, left, proven, operation, time_ms
                )
            else:
                raise self._broken(what, proven, f"member {member} draws on it")
        kept = {row.unit: row.amount for row in record.amounts_left}
        if (left.order is None) != record.revoked or not (
            left.order is None or (record.serials_left, kept) == (left.serials, left.amounts)
        ):
            text = f"what is left of {what} by its record is not what its history leaves"
            self._find(self._chain, record.prefix, "CONTRADICTION", text, ())
        return left.uses

    def _govern(
        self,
        what: str,
        record: DelegationRecord,
        left: _Left,
        proven: ProvenEntry,
        operation: Operation,
        member: str,
    ) -> None:
        """The entry in which a holder made it, or ended it."""
        made, ended = operation.delegate, operation.revoke_delegation
        about = (record.prefix, record.member)
        digest = hashes.tagged_hash(
            hashes.Purpose.OPERATION, self._chain.trust.chain_id, codec.encode(operation)
        )
        if proven.entry.digest != digest or about not in (
            (made.prefix, made.member),
            (ended.prefix, ended.member),
        ):
            raise self._broken(what, proven, "its operation is not the one the entry was made for")
        left.order = left.term = None
        if operation.WhichOneof("kind") != "delegate":
            return
        left.order, left.serials = made, made.serials
        left.amounts = {row.unit: row.amount for row in made.amounts}
        covering = (record.prefix, *outer_prefixes(record.prefix))
        self._chain.values(map(state.grant_key, covering))
        terms = [term for prefix in covering for term in self.terms(prefix) if term.holder == member]
        left.term = next((term for term in terms if term.covers(proven.entry.height)), None)

    def _draw(
        self,
        what: str,
        prefix: str,
        left: _Left,
        proven: ProvenEntry,
        operation: Operation,
        time_ms: int,
    ) -> list[Problem]:
        """The entry of an event of the delegate: what was wrong with it."""
        view = self._event(what, proven, operation)
        order, height = left.order, proven.entry.height
        if order is None:
            return [("DELEGATION_REVOKED", f"{what} had been revoked at height {height}")]
        problems: list[Problem] = []
        if left.term is None or not left.term.covers(height):
            text = f"{what} was made by nobody who held the grant, or the grant had ended at height {height}"
            problems.append(("DELEGATION_REVOKED", text))
        elif not left.term.approved:
            text = (
                f"neither the genesis nor enough admin keys vouch for the grant under which {what} was made"
            )
            problems.append(("GRANT_NOT_APPROVED", text))
        if time_ms < order.valid_from_ms or 0 < order.valid_until_ms < time_ms:
            problems.append(("DELEGATION_NOT_VALID", f"{what} was not valid at height {height}"))
        serials, amounts = commissioned(view, prefix)
        left.serials -= serials
        short = left.serials < 0
        for quantity in amounts:
            before = left.amounts.get(quantity.unit, Decimal())
            left.amounts[quantity.unit] = decimals.subtract(before, quantity.amount or Decimal())
            short = short or decimals.sign(left.amounts[quantity.unit]) < 0
        if short:
            text = f"with the event at height {height} more was made than {what} allowed"
            problems.append(("DELEGATION_EXCEEDED", text))
        return problems

    def _event(self, what: str, proven: ProvenEntry, operation: Operation) -> EventView:
        try:
            event = codec.decode(Event, operation.capture.event, EVENT_BYTES_MAX)
            view = read_event(event)
            digest = event_digest(self._chain.trust.chain_id, event)
        except ChiptraceError as error:
            raise self._broken(what, proven, f"its event cannot be read: {error}") from error
        if digest != proven.entry.digest:
            raise self._broken(what, proven, "its operation is not the one the entry was made for")
        return view

    # ---- entries ------------------------------------------------------------------------------------------

    def _time(self, proven: ProvenEntry) -> int:
        return self._chain.times([proven.entry.height])[proven.entry.height]

    def _operation(self, what: str, proven: ProvenEntry, time_ms: int) -> Operation:
        body = proven.transaction.body
        if proven.entry.operation >= len(body.operations):
            raise self._broken(what, proven, "its transaction has no such operation")
        if not time_ms <= body.valid_until_ms <= time_ms + TRANSACTION_VALIDITY_MS_MAX:
            raise self._broken(what, proven, "its transaction was not valid at that time")
        return body.operations[proven.entry.operation]

    def _broken(self, what: str, proven: ProvenEntry, why: str) -> NotVerifiable:
        return NotVerifiable(
            f"chain {self._chain.trust.name}: entry {proven.n} of {what} (height {proven.entry.height}): {why}. "
            "The chain's own members let this stand; ask them.",
            Reason.BAD_PROOF,
        )


def commissioned(view: EventView, prefix: str) -> tuple[int, list[Quantity]]:
    """What an event that was recorded under a delegation made of it: how many serials, and which amounts."""
    things: Sequence[Identifier] = ()
    quantities: Sequence[Quantity] = ()
    if view.type == "TransformationEvent":
        things = [item for item in view.outputs if item not in view.inputs]
        quantities = view.output_quantities
    elif view.type == "ObjectEvent" and view.action == "ADD":
        things, quantities = view.epcs, view.quantities
    elif view.type == "AggregationEvent" and view.parent is not None:
        # A box that packing brings into being; into one that is there nothing is drawn, and no entry is made.
        things = [view.parent]
    serials = sum(matches_grant(item, prefix) for item in things)
    amounts = [quantity for quantity in quantities if matches_grant(quantity.of, prefix)]
    if view.serials is not None:
        # Of a lot of serials each is drawn as one, not its amount.
        return serials + sum(decimals.to_int(require_amount(item)) for item in amounts), []
    return serials, amounts
