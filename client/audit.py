"""The audit of a part: from what is proven about it now, back to everything it was made of, over every chain.

For each subject (client/verified.py has checked all that is read here):

1. Its record is proven at the pinned height, present or absent.
2. Its history is complete; each entry's transaction is the one named and carries its signer's signature.
3. Each operation has the digest its entry carries and speaks of the subject in the way the entry says; its
   signer's key was valid, of a fitting role and of the member that is credited, at the header time of the height.
4. It came to be by right: commissioned (or made) by who held the grant for its identifier at that height, on its
   home chain, or by a delegate within what was left of the delegation (client/audit_rights.py); or it arrived over
   the bridge, in which case the source chain is asked the same questions and must show the same packet sent to this
   chain, the same history up to the send, and the part gone from there.
5. Custody told again from the entries alone leads to what the record says; while it was inside a container, the
   container's entries of that interval are its own.
6. What it was made of, and what is installed in it, is audited likewise, and says the same of it.
7. The chains agree: present on one only, one home, and each chain's past is the one that the others saw.

Findings never stop the walk; a broken proof does (NotVerifiable).
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from client.audit_chains import CAME, LEFT, PRESENT, Others, left_over, lot_elsewhere, present_status
from client.audit_contents import Contents
from client.audit_crossing import check_crossing, check_lot, check_materialised
from client.audit_custody import Custody
from client.audit_entries import EntryReader, Reading
from client.audit_inside import Containers, with_containers
from client.audit_packets import came_over, shown_by
from client.audit_profile import NO_PROFILE, Profile, judge
from client.audit_recoveries import tell_recoveries
from client.audit_report import CODES, FINDINGS_MAX, OF_GAPS, Finding, Report, Subject, Verdict
from client.fetching import fetch_histories
from client.question import attempt, checked, give_budget
from client.records import name_of
from client.serials import find_part, histories, of_its_lot
from client.verified import NotVerifiable, VerifiedChain
from ledger import state
from ledger.attestations import foreign_attestations_key
from ledger.errors import ChiptraceError, InvariantBroken
from ledger.identifiers import canonical
from proto.chiptrace.v1.bridge_pb2 import ClientRecord
from proto.chiptrace.v1.ledger_pb2 import (
    EntryKind,
    LotRecord,
    Membership,
    Parameters,
    PartRecord,
    PartStatus,
    Reason,
)

SUBJECTS_MAX = 10_000
Progress = Callable[[str], None]
_CAME_OVER = (EntryKind.ARRIVED, EntryKind.MATERIALISED)
_LOT_BEGINS = (EntryKind.ADOPTED_EVENT, EntryKind.ARRIVED)


class Audit:
    """One audit over the chains of a trust file, by chain id. `progress` is told each subject as it is read.

    shown: where serials that nobody touched are in the lists behind their lots' roots. profile: what else to hold things
    against.
    """

    def __init__(
        self,
        chains: Mapping[bytes, VerifiedChain],
        progress: Progress = lambda _: None,
        shown: Mapping[str, Membership] = MappingProxyType({}),
        profile: Profile = NO_PROFILE,
    ) -> None:
        self._chains = chains
        self._progress = progress
        self._shown = shown
        self._profile = profile
        self._begin()

    def _begin(self) -> None:
        self._subjects: dict[tuple[bytes, str], Subject] = {}
        self._fetched: dict[bytes, set[str]] = {}  # by chain, names
        self._waiting: deque[tuple[VerifiedChain, Subject]] = deque()
        self._readers: dict[bytes, EntryReader] = {}
        self._containers: dict[bytes, Containers] = {}
        self._found: dict[Finding, None] = {}
        self._contents = Contents(self._find, self._refer, self._wrong)
        self._present: dict[str, dict[VerifiedChain, PartRecord]] = {}  # by name, where, and its record there
        self._made: list[tuple[VerifiedChain, str]] = []
        self._clients: list[tuple[VerifiedChain, str]] = []
        self._left: list[tuple[VerifiedChain, str]] = []

    @property
    def findings(self) -> list[Finding]:
        """What was found, in the order found, each once; beside what is missing, what else was claimed."""
        claims = {
            (r.chain.trust.name, of): tuple(said)
            for r in self._readers.values()
            for of, said in r.evidence.items()
        }
        return [
            replace(found, evidence=claims.get((found.chain, found.subject), ()))
            if found.code in OF_GAPS
            else found
            for found in self._found
        ]

    def run(self, identifier: str, chain_id: bytes, now_ms: Callable[[], int]) -> Report:
        """Audit one part or lot on one chain. Never raises for what nodes say, but reports it."""
        started = now_ms()
        report = Report(asked=identifier)
        give_budget(self._chains.values())
        try:
            chain, name = self._chains[chain_id], canonical(identifier).text
            report.subject = attempt(self._chains, self._begin, lambda: self._walk(chain, name))
            report.subjects = list(self._subjects.values())
        except ChiptraceError as error:
            report.problem, report.problem_code = str(error), error.code
        except Exception as error:  # an answer nobody thought of is not a verified one
            report.problem = f"an error of chiptrace itself ({type(error).__name__}: {error})"
            report.problem_code = "INTERNAL"
        self._heads(report)
        report.findings = self.findings
        if report.problem_code:
            report.verdict = Verdict.NOT_VERIFIABLE
        elif report.findings:
            report.verdict = Verdict.FINDINGS
        report.checked = {**checked(self._chains.values()), "subjects": len(self._subjects)}
        report.milliseconds = now_ms() - started
        return report

    def _walk(self, chain: VerifiedChain, name: str) -> Subject:
        asked = self._refer(chain, name)
        for other in lot_elsewhere(self._chains, chain, name):
            asked.related.append(("also on", self._refer(other, name)))
        while self._waiting:
            self._fetch()
            where, subject = self._waiting.popleft()
            self._progress(f"{where.trust.name}: {subject.id}")
            self._read(where, subject)
        self._contents.check_inputs()
        places = {chain.trust.name: chain for chain in self._chains.values()}
        judge(
            self._subjects.values(),
            self._profile,
            lambda of, code, text, on: self._find(places[of.chain], of.id, code, text, on),
        )
        for reader in list(self._readers.values()):
            reader.claims.check(self._chains, lambda of, claim: self._reader(of).licences.attestation(claim))
        Others(self._chains, self._find).check(self._present, self._made, self._clients, self._left)
        for one in self._chains.values():
            if one.pinned is not None:
                tell_recoveries(one, self._find)
        return asked

    def _heads(self, report: Report) -> None:
        for chain in self._chains.values():
            pinned = chain.pinned
            if pinned is None:
                continue
            stale = chain.stale(pinned.time_ms)
            report.heads.append(
                {
                    "chain": chain.trust.name,
                    "chain_id": chain.trust.chain_id.hex(),
                    "height": pinned.height,
                    "time_ms": pinned.time_ms,
                    "stale": bool(stale),
                }
            )
            if stale:
                self._find(chain, "", "STALE_HEAD", stale)

    def _find(
        self,
        chain: VerifiedChain,
        subject: str,
        code: str,
        message: str,
        transactions: tuple[bytes, ...] = (),
    ) -> None:
        if code not in CODES:
            raise InvariantBroken(f"{code} is no finding")
        if len(self._found) < FINDINGS_MAX:
            self._found[Finding(code, message, chain.trust.name, subject, transactions)] = None
        else:
            text = f"more than {FINDINGS_MAX} findings; the first ones are listed"
            self._found[Finding("TOO_MANY_FINDINGS", text, "", "")] = None

    def _reader(self, chain: VerifiedChain) -> EntryReader:
        if chain.trust.chain_id not in self._readers:
            self._readers[chain.trust.chain_id] = EntryReader(chain, self._find)
        return self._readers[chain.trust.chain_id]

    def _inside(self, chain: VerifiedChain) -> Containers:
        if chain.trust.chain_id not in self._containers:
            self._containers[chain.trust.chain_id] = Containers(chain, self._reader(chain))
        return self._containers[chain.trust.chain_id]

    # ---- subjects -----------------------------------------------------------------------------------

    def _refer(self, chain: VerifiedChain, name: str) -> Subject:
        """The subject of this name on this chain, to be read in its turn if it was not yet."""
        key = (chain.trust.chain_id, name)
        if key not in self._subjects:
            if len(self._subjects) >= SUBJECTS_MAX:
                raise NotVerifiable(
                    f"more than {SUBJECTS_MAX} subjects are involved; audit a smaller part", Reason.OVERSIZE
                )
            self._subjects[key] = Subject(chain.trust.name, name, "unknown", "NOT RECORDED")
            self._waiting.append((chain, self._subjects[key]))
        return self._subjects[key]

    def _fetch(self) -> None:
        """What all that waits on the next subject's chain will ask for, in as few questions as possible."""
        chain, first = self._waiting[0]
        if first.id in self._fetched.get(chain.trust.chain_id, ()):
            return
        came = self._fetch_named(chain, [subject.id for where, subject in self._waiting if where is chain])
        for source, names in came.items():
            self._fetch_named(self._chains[source], names)

    def _fetch_named(self, chain: VerifiedChain, names: Iterable[str]) -> dict[bytes, list[str]]:
        """Records and histories of things on one chain; by the chain they came from, which of them did."""
        fetched = self._fetched.setdefault(chain.trust.chain_id, set())
        missing = [name for name in names if name not in fetched]
        fetched.update(missing)
        own = {name: state.part_key(name) for name in missing}
        told = [foreign_attestations_key(other, name) for name in missing for other in self._chains]
        chain.values([*own.values(), *told])
        found = {name: chain.record(key, PartRecord) for name, key in own.items()}
        parts = [part for part in found.values() if part is not None]
        # What is a part is no lot.
        maybe_lots = [state.lot_key(name) for name, part in found.items() if part is None]
        chain.values(maybe_lots)
        lots = chain.records(maybe_lots, LotRecord)
        fetch_histories(chain, parts, lots)
        heads = [(name, own[name], part.history) for name, part in found.items() if part is not None]
        heads += [(lot.id, state.lot_key(lot.id), lot.history) for lot in lots]
        entries = [(name, proven) for name, key, history in heads for proven in chain.history(key, history)]
        self._reader(chain).prepare([proven for _, proven in entries])
        came: dict[bytes, list[str]] = {}
        for name, proven in entries:
            if proven.entry.kind not in _CAME_OVER:
                continue
            operations = proven.transaction.body.operations
            if proven.entry.operation >= len(operations):
                continue
            try:
                client_id = came_over(operations[proven.entry.operation])
            except ChiptraceError:
                continue  # reading the entry tells what is wrong with it
            client = None if client_id is None else chain.record(state.client_key(client_id), ClientRecord)
            if client is not None and client.chain_id in self._chains:
                came.setdefault(client.chain_id, []).append(name)
        return came

    def _others(self, chain: VerifiedChain) -> list[bytes]:
        return [other for other in self._chains if other != chain.trust.chain_id]

    def _read(self, chain: VerifiedChain, subject: Subject) -> None:
        reader = self._reader(chain)
        reader.claims.about(subject.id, self._others(chain))
        reader.claims.made_here(subject.id, reader.licences.attestation)
        part = find_part(chain, subject.id, self._shown)
        if part is not None:
            self._part(chain, subject, part)
            return
        lot = chain.record(state.lot_key(subject.id), LotRecord)
        if lot is not None:
            self._lot(chain, subject, lot)
            return
        height = chain.snapshot().height
        text = f"{subject.id} is proven absent from chain {chain.trust.name} at height {height}"
        self._find(chain, subject.id, "UNKNOWN_PART", text)

    def _part(self, chain: VerifiedChain, subject: Subject, record: PartRecord) -> None:
        status, holder, owner = present_status(chain, record)
        subject.kind, subject.status = "part", name_of(PartStatus, status)
        subject.holder, subject.owner = holder, owner
        if status in PRESENT:
            self._present.setdefault(subject.id, {})[chain] = record
        if status in LEFT:
            self._left.append((chain, left_over(chain, record)))
        if record.adopted:
            text = (
                f"{record.id} was adopted on chain {chain.trust.name}: what came before is not on any ledger"
            )
            self._find(chain, record.id, "UNKNOWN_ORIGIN", text)
        readings: list[Reading] = []
        for name, entries in histories(chain, record):
            readings += self._reader(chain).read_all(name, entries)
        steps = with_containers(readings, self._inside(chain).steps)
        subject.steps.extend(self._reader(chain).licences.shown(record.id, record.lot, steps))
        if record.status != PartStatus.SPLIT:
            self._custody(chain, record, readings)
        self._origin(chain, subject, record, readings)
        if record.lot:
            subject.related.append(("of lot", self._refer(chain, record.lot)))
            shown = [one for reading in readings for one in shown_by(reading.operation)]
            for code, why in of_its_lot(chain, record, (*shown, *self._shown.values())):
                self._find(chain, record.id, code, f"{record.id}: {why}")
        self._contents.tell(chain, subject, readings, record)

    def _lot(self, chain: VerifiedChain, subject: Subject, record: LotRecord) -> None:
        subject.kind, subject.status = "lot", "LOT"
        if record.adopted:
            text = f"lot {record.id} was adopted on chain {chain.trust.name}: its origin is not on any ledger"
            self._find(chain, record.id, "UNKNOWN_ORIGIN", text)
        entries = chain.history(state.lot_key(record.id), record.history)
        readings = self._reader(chain).read_all(record.id, entries)
        subject.steps += self._reader(chain).licences.shown(record.id, "", [one.step for one in readings])
        makings = [reading for reading in readings if reading.adds_to(record.id)]
        if not readings:
            self._find(chain, record.id, "GAP", f"lot {record.id} has a record but no history")
        elif readings[0] not in makings and readings[0].entry.kind not in _LOT_BEGINS:
            self._wrong(
                chain, record.id, readings[0], "NO_ORIGIN", "its history does not begin with an amount of it"
            )
        for making in makings:
            self._reader(chain).check_right(record.id, making)
        if makings:
            self._made.append((chain, record.id))
            self._begun_here(chain, record, makings[0])
        for reading in readings:
            if reading.entry.kind == EntryKind.ARRIVED:
                found = check_lot(chain, self._chains, record, reading, self._find)
                self._came(chain, subject, found, record.id)
        self._contents.tell(chain, subject, readings, None)

    # ---- where it came from, and who had it ----------------------------------------------------------

    def _custody(self, chain: VerifiedChain, record: PartRecord, readings: list[Reading]) -> None:
        """Step 5. The story that the entries tell leads to the record."""
        custody = Custody(
            record.id,
            chain.trust.chain_id,
            self._reader(chain).named,
            self._inside(chain).closing,
            lambda reading, code, why: self._wrong(chain, record.id, reading, code, why),
        )
        custody.follow(readings)
        for difference in custody.compare(record):
            self._find(chain, record.id, "CONTRADICTION", f"{record.id}: {difference}")
        expiry_ms = chain.record(state.PARAMETERS_KEY, Parameters)
        if record.status == PartStatus.OFFERED and expiry_ms is not None and record.offered_at_ms:
            late = chain.snapshot().time_ms - record.offered_at_ms - expiry_ms.offer_expiry_ms
            if late > 0:
                text = f"{record.id} was offered to {record.offered_to} and not received; the offer expired "
                self._find(chain, record.id, "OFFER_EXPIRED", f"{text}{late // 1000} s ago")

    def _wrong(self, chain: VerifiedChain, name: str, reading: Reading, code: str, why: str) -> None:
        where = f"{name}, entry {reading.n} at height {reading.entry.height}"
        self._find(chain, name, code, f"{where}: {why}", (reading.entry.transaction,))

    def _origin(
        self, chain: VerifiedChain, subject: Subject, record: PartRecord, readings: list[Reading]
    ) -> None:
        """Step 4. Each arrival leads to the chain it came from."""
        first = readings[0] if readings else None
        if first is None:
            self._find(chain, record.id, "GAP", f"{record.id} has a record but no history")
        elif first.entry.kind not in CAME:
            self._reader(chain).check_right(record.id, first)
            self._made.append((chain, record.id))
            self._begun_here(chain, record, first)
            if first.entry.kind == EntryKind.ADOPTED_EVENT and not record.adopted:
                superseded = (reading.entry.finding == Reason.SUPERSEDES_ADOPTION for reading in readings)
                if not any(superseded):
                    self._wrong(chain, record.id, first, "UNKNOWN_ORIGIN", "it was adopted here")
        for arrival in readings:
            if arrival.entry.kind == EntryKind.MATERIALISED:
                found = check_materialised(chain, self._chains, arrival.name, arrival, self._find)
                self._came(chain, subject, found, arrival.name)
                subject.related.append(("came inside", self._refer(chain, arrival.entry.container)))
            if arrival.entry.kind != EntryKind.ARRIVED:
                continue
            source = check_crossing(chain, self._chains, arrival.name, arrival, self._find)
            packet = arrival.carried
            if source is not None and packet is not None:
                self._clients.append((source, packet.packet.source_client))
                self._came(chain, subject, (source, packet.packet.destination_client), arrival.name)

    def _begun_here(self, chain: VerifiedChain, record: PartRecord | LotRecord, making: Reading) -> None:
        if record.origin_chain != chain.trust.chain_id:
            self._wrong(chain, record.id, making, "CONTRADICTION", "its record names another chain as origin")

    def _came(
        self, chain: VerifiedChain, subject: Subject, found: tuple[VerifiedChain, str] | None, name: str
    ) -> None:
        """What crossed is asked about on the chain it came from, and whether that shows one past to all."""
        if found is None:
            return
        source, client = found
        self._clients.append((chain, client))
        came = ("came from", self._refer(source, name))
        if came not in subject.related:
            subject.related.append(came)
