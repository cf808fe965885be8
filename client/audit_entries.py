"""Entries of a history read for an audit: what was said, by whom, and whether she might say it then."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from client.audit_claims import Claims
from client.audit_keys import Vouching
from client.audit_kinds import ROLES, Said, is_among, is_filling, mismatch, undoes_filling
from client.audit_packets import Carried, Told, brought, sent
from client.audit_policies import Licences, content_of
from client.audit_rehoming import Rehomed
from client.audit_report import CODES, Step
from client.audit_rights import Rights
from client.audit_steps import NO_FACTS, Facts, category_of, detail, facts_of, names_for, what
from client.histories import ProvenEntry
from client.records import name_of
from client.serials import covers
from client.verified import NotVerifiable, VerifiedChain
from ledger import codec, hashes, state
from ledger.corrections import original_of
from ledger.errors import ChiptraceError
from ledger.event import EventView, given_digest
from ledger.event_fields import read_fields
from ledger.limits import TRANSACTION_VALIDITY_MS_MAX
from ledger.members import member_for
from ledger.plain_event import view_event
from ledger.policies import Leaving
from proto.chiptrace.v1.ledger_pb2 import (
    AttestationRecord,
    CorrectionRecord,
    CorrectionState,
    Entry,
    EntryKind,
    KeyRecord,
    Operation,
    Reason,
    Role,
)

Find = Callable[[VerifiedChain, str, str, str, tuple[bytes, ...]], None]
_SAID = (
    EntryKind.CORRECTED,
    EntryKind.UNDONE,
    EntryKind.FLAG,
    EntryKind.RETURNED,
)  # of what happened before, or not
_HAPPENED = (EntryKind.EVENT, EntryKind.ADOPTED_EVENT)  # not merely declared wrong, or flagged


class Reading(NamedTuple):
    """One entry with the operation behind it; `view` where that is an EPCIS event, `packet` where it brings one."""

    n: int
    entry: Entry
    operation: Operation
    view: EventView | None
    packet: Carried | Told | None
    step: Step
    name: str  # whose entry it is: the subject, or an interval that it was carved out of
    taken_by: str = ""  # of REHOMED: who has it since

    @property
    def carried(self) -> Carried | None:
        """The packet of custody that it brings."""
        return self.packet if isinstance(self.packet, Carried) else None

    def step_inside(self, container: str) -> Step:
        """The step as one of a subject that was in this container."""
        return self.step._replace(inside=container)

    def made(self, name: str) -> list[str]:
        """Identifiers of what went into the transformation that put out `name`; none for other events."""
        view = self._making(name)
        if view is None:
            return []
        return [item.text for item in view.inputs] + [item.of.text for item in view.input_quantities]

    def perhaps_made(self, name: str) -> list[str]:
        """Identifiers of what may have gone in instead."""
        view, known = self._making(name), set(self.made(name))
        return [] if view is None else [item.text for item in view.run.candidates if item.text not in known]

    def _making(self, name: str) -> EventView | None:
        view = self.view
        if view is None or view.type != "TransformationEvent" or self.entry.kind not in _HAPPENED:
            return None
        return view if is_among(name, view.outputs, view.output_quantities) else None

    def adds_to(self, name: str) -> bool:
        """Whether this entry brings an amount of a lot into being."""
        view = self.view
        if view is None or self.entry.kind != EntryKind.EVENT:
            return False
        added = view.type == "ObjectEvent" and view.action == "ADD" and is_among(name, view.quantities)
        return added or is_among(name, view.output_quantities)

    def contents(self, name: str) -> tuple[str, list[str], list[str] | None]:
        """What this entry put into `name` and took out of it (None: everything): (relation, in, out)."""
        view = self.view
        if view is None or view.parent is None or view.parent.text != name:
            return "", [], []
        if self.entry.kind == EntryKind.UNDONE:
            relation = "installed" if view.type == "AssociationEvent" else "contains"
            back = [item.text for item in view.children] + [item.of.text for item in view.child_quantities]
            return (relation, [], back) if undoes_filling(view) == "ADD" else (relation, back, [])
        if not is_filling(view) or self.entry.kind not in _HAPPENED:
            return "", [], []
        relation = "installed" if view.type == "AssociationEvent" else "contains"
        children = [item.text for item in view.children] + [item.of.text for item in view.child_quantities]
        if view.action == "ADD":
            return relation, children, []
        if view.action == "DELETE":
            return relation, [], children or None
        return relation, [], []


class _SigningKey(NamedTuple):
    """What a key's record says, taken out once: most entries are signed with a few keys."""

    member: str
    role: int
    is_vouched: bool
    is_ended_so: bool
    valid_from_ms: int
    valid_until_ms: int
    revoked_at_ms: int
    compromised_since_ms: int


class EntryReader:
    """Reads entries of one chain; what it finds goes to `find`."""

    def __init__(self, chain: VerifiedChain, find: Find) -> None:
        self.chain = self._chain = chain
        self._find = find
        self._vouching = Vouching(chain)
        self._rights = Rights(chain, find, self._vouching, self._signer)
        self._rehomed = Rehomed(chain, find, self._vouching)
        self.evidence: dict[str, list[str]] = {}  # by subject, the claims about it that are in force
        self.claims = Claims(chain, find, self.evidence)
        self.licences = Licences(chain, find, self._vouching, self._signer)
        self._read: dict[tuple[str, int], Reading] = {}
        self._keys: dict[bytes, _SigningKey | None] = {}
        self._times: dict[int, int] = {}
        # By transaction and place: an event stands in the history of everything that it names.
        self._said: dict[tuple[bytes, int], tuple[Said, Facts]] = {}

    def prepare(self, entries: Sequence[ProvenEntry]) -> None:
        """What reading these entries will ask for, of whatever subjects they are, in few questions."""
        signers = {proven.transaction.body.signer for proven in entries}
        self._chain.values(state.signer_key(signer) for signer in signers if signer not in self._keys)
        heights = {proven.entry.height for proven in entries}
        self._times.update(self._chain.times(height for height in heights if height not in self._times))

    def read_all(self, name: str, entries: Sequence[ProvenEntry]) -> list[Reading]:
        """Entries of a subject's history, in order. Raises NotVerifiable."""
        readings: list[Reading] = []
        for proven in entries:
            if proven.entry.finding == Reason.PARTY_NOT_A_MEMBER:
                self._check_outsider(name, proven, entries)
            reading = self._read.get((name, proven.n))
            if reading is None:
                height = proven.entry.height
                if height not in self._times:
                    self.prepare(entries)
                reading = self._read[name, proven.n] = self._reading(name, proven, self._times[height])
            readings.append(reading)
        return readings

    def _reading(self, name: str, proven: ProvenEntry, time_ms: int) -> Reading:
        entry, body, kind = proven.entry, proven.transaction.body, proven.entry.kind
        if not time_ms <= body.valid_until_ms <= time_ms + TRANSACTION_VALIDITY_MS_MAX:
            raise self._broken(name, proven, "its transaction was not valid at that time")
        said, facts = self._checked_operation(name, proven)
        view = said.view
        member = self._signer(name, proven, said.operation, time_ms)
        if entry.finding:
            code = name_of(Reason, entry.finding)
            if code not in CODES:
                raise self._broken(name, proven, f"{code} is no finding that an entry can have")
            self._finding(name, proven, code, f"recorded by {member}")
        if kind == EntryKind.ATTESTED:
            self._attestation(name, proven, said.operation, member)
        elif kind == EntryKind.COPIED and isinstance(said.packet, Told):
            self.claims.enter(name, said.packet)
        elif view is not None and view.error_declaration is not None and kind != EntryKind.ADOPTED_EVENT:
            self._correction(name, proven, said.operation, view, member)
        happened = view is not None and kind not in _SAID
        step = Step(
            chain=self._chain.trust.name,
            height=entry.height,
            time_ms=time_ms,
            member=member,
            what=what(entry, said),
            detail=detail(entry, said),
            transaction=entry.transaction,
            leaving=self._leaving(said, member, entry.height),
            category=category_of(entry, view),
            biz_step=view.biz_step if view is not None and happened else "",
            place=facts.place,
            event_time_ms=view.event_time_ms if view is not None and happened else 0,
            names=names_for(name, view, facts) if facts.names else (),
        )
        taken_by = self._rehomed.holder(name, proven, said.operation) if kind == EntryKind.REHOMED else ""
        return Reading(proven.n, entry, said.operation, view, said.packet, step, name, taken_by)

    def _check_outsider(self, name: str, proven: ProvenEntry, entries: Sequence[ProvenEntry]) -> None:
        """Who a chain says was no member, when a thing was shipped to him, was none; else who received it would be accused."""
        view = self._checked_operation(name, proven)[0].view
        to = None if view is None else view.destination("possessing_party")
        signers = {one.transaction.body.signer for one in entries}
        members = {key.member for key in map(self._key, signers) if key is not None}
        was = None if to is None else self._vouching.whom(to.text, proven.entry.height, members)
        if was or to is None:
            raise self._broken(name, proven, f"it was shipped to {was or 'nobody'}, and no outsider")

    def _checked_operation(self, name: str, proven: ProvenEntry) -> tuple[Said, Facts]:
        """Step 3, first half: the operation is the one whose digest stands in the entry, and speaks of the subject."""
        entry, operations = proven.entry, proven.transaction.body.operations
        if entry.operation >= len(operations):
            raise self._broken(name, proven, "its transaction has no such operation")
        try:
            said, facts = self._meaning(proven.transaction.id, entry.operation, operations[entry.operation])
            why_not = mismatch(name, entry, said)
        except ChiptraceError as error:
            raise self._broken(name, proven, f"its operation cannot be read: {error}") from error
        if why_not:
            raise self._broken(name, proven, why_not)
        # The packet that a send makes is not in its operation; the arrival must show the same commitment (step 4).
        if entry.digest != said.digest and entry.kind != EntryKind.SENT:
            raise self._broken(name, proven, "its operation is not the one the entry was made for")
        return said, facts

    def event(self, name: str, proven: ProvenEntry, time_ms: int) -> tuple[EventView, Operation, str] | None:
        """The event behind an entry of a history of no part and no lot (a run's), with its operation and who signed it; None
        for what is no event."""
        entry, operations = proven.entry, proven.transaction.body.operations
        if entry.operation >= len(operations):
            raise self._broken(name, proven, "its transaction has no such operation")
        try:
            said, _ = self._meaning(proven.transaction.id, entry.operation, operations[entry.operation])
        except ChiptraceError as error:
            raise self._broken(name, proven, f"its operation cannot be read: {error}") from error
        if said.view is None:
            return None
        if said.digest != entry.digest:
            raise self._broken(name, proven, "its operation is not the one the entry was made for")
        return said.view, said.operation, self._signer(name, proven, said.operation, time_ms)

    def _meaning(self, transaction: bytes, place: int, operation: Operation) -> tuple[Said, Facts]:
        """What an operation says, with the digest that stands for it; and the facts of an event."""
        known = self._said.get((transaction, place))
        if known is None:
            chain_id, kind, facts = self._chain.trust.chain_id, operation.WhichOneof("kind") or "", NO_FACTS
            if kind == "capture":
                given = read_fields(operation.capture.event)
                view, digest = view_event(given.fields), given_digest(chain_id, given)
                facts = facts_of(given.fields)
                said = Said(operation, kind, view, None, digest)
            elif (packet := brought(operation)) is not None:
                said = Said(operation, kind, None, packet, packet.commitment)
            else:
                digest = hashes.tagged_hash(hashes.Purpose.OPERATION, chain_id, codec.encode(operation))
                said = Said(operation, kind, None, None, digest)
            known = self._said[transaction, place] = said, facts
        return known

    def _signer(self, name: str, proven: ProvenEntry, operation: Operation, time_ms: int) -> str:
        """Step 3, second half: the key's member, if it might sign this then."""
        key = proven.transaction.body.signer
        record = self._key(key)
        if record is None:
            raise self._broken(
                name, proven, f"it is signed by key {key.hex()}, which is proven not to be registered"
            )
        if not record.is_vouched:
            text = f"neither the genesis nor enough admin keys vouch that the key is {record.member}'s"
            self._finding(name, proven, "KEY_NOT_APPROVED", text)
        made_by = operation.WhichOneof("kind") or ""
        if record.role not in ROLES[made_by]:
            role = name_of(Role, record.role)
            self._finding(name, proven, "ROLE_NOT_ALLOWED", f"a key of role {role} signed a {made_by}")
        if not record.is_ended_so:
            text = f"neither the genesis nor enough admin keys vouch that the key of {record.member} ended as its record says"
            self._finding(name, proven, "KEY_NOT_APPROVED", text)
            return record.member
        late = 0 < record.valid_until_ms < time_ms or 0 < record.revoked_at_ms < time_ms
        if time_ms < record.valid_from_ms or late:
            self._finding(
                name,
                proven,
                "KEY_NOT_VALID",
                f"key {key.hex()} of {record.member}, which signed it, was not valid at that time",
            )
        if 0 < record.compromised_since_ms <= time_ms:
            self._finding(
                name,
                proven,
                "KEY_COMPROMISED",
                f"key {key.hex()} of {record.member}, which signed it, was compromised by then",
            )
        return record.member

    def _key(self, key: bytes) -> _SigningKey | None:
        if key not in self._keys:
            self._keys[key] = self._signing_key(key)
        return self._keys[key]

    def _signing_key(self, key: bytes) -> _SigningKey | None:
        record = self._chain.record(state.signer_key(key), KeyRecord)
        if record is None:
            return None
        times = record.valid_from_ms, record.valid_until_ms, record.revoked_at_ms, record.compromised_since_ms
        vouched, ended_so = self._vouching.is_vouched(record), self._vouching.is_ended_so(record)
        return _SigningKey(record.member, record.role, vouched, ended_so, *times)

    def _leaving(self, said: Said, member: str, height: int) -> Leaving | None:
        """Where a shipping to others goes, as policies see it (ledger/policies.py)."""
        view = said.view
        if said.kind == "send_part":
            order = sent(said.operation)
            return Leaving(f"{order.client}/{order.receiver}", "", True, tuple(order.licences))
        if view is None or (view.type, view.action, view.biz_step) != ("ObjectEvent", "OBSERVE", "shipping"):
            return None
        to = view.destination("possessing_party")
        receiver = None if to is None else member_for(self._chain, to.text)
        if to is not None and (receiver is None or not self.named(to.text, receiver, height)):
            # Whom it names now it did not name then; that it named the sender can still be known.
            receiver = member if self.named(to.text, member, height) else None
        if receiver == member or view.error_declaration is not None:
            return None
        named = receiver or ("" if to is None else to.text)
        return Leaving(named, receiver or "", False, tuple(text for _, text in view.biz_transactions))

    def named(self, identifier: str, member: str, height: int) -> bool:
        """Whether an identifier named a member in events of a height; a finding where only the chain says so."""
        has, is_approved, _ = self._vouching.named(identifier, member, height)
        if has and not is_approved:
            text = f"neither the genesis nor enough admin keys vouch that {identifier} named {member} at height {height}"
            self._find(self._chain, "", "PARTY_NOT_APPROVED", text, ())
        return has

    def _attestation(self, name: str, proven: ProvenEntry, operation: Operation, member: str) -> None:
        identifier = operation.attest.id or operation.revoke_attestation.id
        record = self._chain.record(state.attestation_key(identifier), AttestationRecord)
        if record is None or not (record.subject == name or covers(self._chain, record.subject, name)):
            raise self._broken(name, proven, f"attestation {identifier} has no record about it")
        claim = operation.attest
        if claim.id and (record.issuer, *content_of(record)) != (member, *content_of(claim)):
            raise self._broken(name, proven, f"attestation {identifier} is not what {member} signed")
        if record.revoked_at_ms:
            self.licences.attestation(identifier)  # its issuer signed that, too
        elif not claim.id:
            raise self._broken(name, proven, f"attestation {identifier} is in force by its record")
        claimed = f"{record.kind} {identifier} by {record.issuer}"
        now_ms = self._chain.snapshot().time_ms
        if record.revoked_at_ms:
            self._finding(name, proven, "REVOKED_ATTESTATION", claimed)
        elif record.kind == "recall":
            self._finding(name, proven, "RECALLED", f"{identifier} by {record.issuer}: {record.scope}")
        elif 0 < record.valid_until_ms < now_ms:
            self._finding(name, proven, "EXPIRED_ATTESTATION", claimed)
        else:
            document = f", {record.document_name}" if record.document_name else ""
            self.evidence.setdefault(name, []).append(f"{claimed}{document}")

    def check_right(self, name: str, making: Reading) -> None:
        """Step 4: whoever made it might make it then, as holder of its grant on its home chain or as delegate."""
        self._rights.check(name, making.step.member, making.entry)

    def _correction(
        self, name: str, proven: ProvenEntry, operation: Operation, view: EventView, member: str
    ) -> None:
        """An error declaration: what became of the event it is about, by the proven record of that."""
        original = original_of(self._chain.trust.chain_id, operation.capture.event)
        record = self._chain.record(state.correction_key(original), CorrectionRecord)
        if record is None or member not in record.members:
            if proven.entry.kind == EntryKind.UNDONE:
                raise self._broken(name, proven, "it was undone, and the chain proves nobody's word for it")
            record = CorrectionRecord(original=original, members=[member])  # nobody joined it in time
        if proven.entry.kind == EntryKind.UNDONE and record.state != CorrectionState.TAKEN_BACK:
            raise self._broken(name, proven, "it was undone, and the chain's record of that says otherwise")
        became = name_of(CorrectionState, record.state or CorrectionState.NOTED).lower().replace("_", " ")
        said = [f"{member} declares event {original.hex()[:16]} to have been wrong ({became})"]
        if len(record.members) > 1:
            said.append(f"declared so by {', '.join(record.members)}")
        if view.error_declaration is not None and view.error_declaration.corrective_event_ids:
            said.append(f"corrected by {', '.join(view.error_declaration.corrective_event_ids)}")
        self._finding(name, proven, "ERROR_DECLARED", "; ".join(said))

    def _finding(self, name: str, proven: ProvenEntry, code: str, message: str) -> None:
        where = f"{name}, entry {proven.n} at height {proven.entry.height}"
        self._find(self._chain, name, code, f"{where}: {message}", (proven.entry.transaction,))

    def _broken(self, name: str, proven: ProvenEntry, why: str) -> NotVerifiable:
        return NotVerifiable(
            f"chain {self._chain.trust.name}: entry {proven.n} of {name} (height {proven.entry.height}): {why}. "
            "The chain's own members let this stand; ask them.",
            Reason.BAD_PROOF,
        )
