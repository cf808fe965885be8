"""The audit of a part: from what is proven about it now, back to everything it was made of, over every chain.

For each subject (client/verified.py has checked all that is read here):

1. Its record is proven at the pinned height, present or absent.
2. Its history is complete; each entry's transaction is the one named and carries its signer's signature.
3. Each operation has the digest its entry carries, and its signer's key was valid, of a fitting role and of
   the member that is credited, at the header time of the entry's height.
4. It came to be by right: commissioned (or made) by a holder of a grant for its identifier on its home chain,
   or it arrived over the bridge, in which case the source chain is asked the same questions and must show the
   same packet sent, the same history up to the send, and the part departed.
5. While it was inside a container, the container's entries of that interval are its own.
6. What it was made of, and what is installed in it, is audited likewise.

Findings never stop the walk; a broken proof does (NotVerifiable).
"""

from collections.abc import Callable, Mapping

from client.audit_crossing import check_crossing
from client.audit_entries import EntryReader, Reading
from client.audit_report import Finding, Report, Step, Subject, Verdict
from client.verified import NotVerifiable, VerifiedChain
from ledger import state
from ledger.errors import ChiptraceError
from ledger.identifiers import canonical
from proto.chiptrace.v1.ledger_pb2 import (
    EntryKind,
    GenerationRecord,
    LotRecord,
    PartRecord,
    PartStatus,
    Reason,
)

SUBJECTS_MAX = 10_000
INSIDE_DEPTH_MAX = 8
Progress = Callable[[str], None]


class Audit:
    """One audit over the chains of a trust file, by chain id. `progress` is told each subject as it is read."""

    def __init__(self, chains: Mapping[bytes, VerifiedChain], progress: Progress = lambda _: None) -> None:
        self._chains = chains
        self._progress = progress
        self._subjects: dict[tuple[bytes, str], Subject] = {}
        self._readers: dict[bytes, EntryReader] = {}
        self.findings: list[Finding] = []

    def run(self, identifier: str, chain_id: bytes, now_ms: Callable[[], int]) -> Report:
        """Audit one part or lot on one chain; never raises for what nodes say, but reports it."""
        started = now_ms()
        report = Report(asked=identifier)
        try:
            name = canonical(identifier).text
            report.subject = self._subject(self._chains[chain_id], name)
            report.verdict = Verdict.FINDINGS if self.findings else Verdict.VERIFIED
        except ChiptraceError as error:
            report.verdict = Verdict.NOT_VERIFIABLE
            report.problem, report.problem_code = str(error), error.code
        self._stale_heads(report)
        report.findings = self.findings
        if self.findings and report.verdict is Verdict.VERIFIED:
            report.verdict = Verdict.FINDINGS
        tallies = [vars(chain.tally) for chain in self._chains.values()]
        report.checked = (
            {name: sum(tally[name] for tally in tallies) for name in tallies[0]} if tallies else {}
        )
        report.checked["bytes"] = sum(chain.connection.bytes_received for chain in self._chains.values())
        report.checked["subjects"] = len(self._subjects)
        report.milliseconds = now_ms() - started
        return report

    def _stale_heads(self, report: Report) -> None:
        for chain in self._chains.values():
            pinned = chain.pinned
            if pinned is None:
                continue
            age = chain.stale_by_ms(pinned.time_ms)
            report.heads.append(
                {
                    "chain": chain.trust.name,
                    "chain_id": chain.trust.chain_id.hex(),
                    "height": pinned.height,
                    "time_ms": pinned.time_ms,
                    "stale": age > 0,
                }
            )
            if age > 0:
                self._find(
                    chain,
                    "",
                    "STALE_HEAD",
                    f"the newest head that {chain.connection.endpoint} shows of chain {chain.trust.name} is "
                    f"{age // 1000} s older than three heartbeats: it may hide what came after; ask another node",
                )

    def _find(
        self,
        chain: VerifiedChain,
        subject: str,
        code: str,
        message: str,
        transactions: tuple[bytes, ...] = (),
    ) -> None:
        finding = Finding(code, message, chain.trust.name, subject, transactions)
        if finding not in self.findings:
            self.findings.append(finding)

    def _reader(self, chain: VerifiedChain) -> EntryReader:
        if chain.trust.chain_id not in self._readers:
            self._readers[chain.trust.chain_id] = EntryReader(chain, self._find)
        return self._readers[chain.trust.chain_id]

    # ---- subjects -----------------------------------------------------------------------------------

    def _subject(self, chain: VerifiedChain, name: str) -> Subject:
        key = (chain.trust.chain_id, name)
        if key in self._subjects:
            return self._subjects[key]
        if len(self._subjects) >= SUBJECTS_MAX:
            raise NotVerifiable(f"more than {SUBJECTS_MAX} subjects are involved; audit a smaller part")
        self._progress(f"{chain.trust.name}: {name}")
        part_key, lot_key = state.part_key(name), state.lot_key(name)
        chain.values([part_key, lot_key])
        part = chain.record(part_key, PartRecord)
        if part is not None:
            return self._part(chain, part)
        lot = chain.record(lot_key, LotRecord)
        if lot is not None:
            return self._lot(chain, lot)
        subject = self._subjects[key] = Subject(chain.trust.name, name, "unknown", "NOT RECORDED")
        self._find(
            chain,
            name,
            "UNKNOWN_PART",
            f"{name} is proven absent from chain {chain.trust.name} at height {chain.snapshot().height}",
        )
        return subject

    def _part(self, chain: VerifiedChain, record: PartRecord) -> Subject:
        subject = Subject(
            chain.trust.name, record.id, "part", PartStatus.Name(record.status), record.holder, record.owner
        )
        self._subjects[chain.trust.chain_id, record.id] = subject
        if record.adopted:
            self._find(
                chain,
                record.id,
                "UNKNOWN_ORIGIN",
                f"{record.id} was adopted on chain {chain.trust.name}: what came before is not on any ledger",
            )
        entries = chain.history(state.part_key(record.id), record.history)
        readings = self._reader(chain).read_all(record.id, entries)
        self._steps(chain, subject, readings)
        self._origin(chain, subject, record, readings)
        self._related(chain, subject, readings)
        return subject

    def _lot(self, chain: VerifiedChain, record: LotRecord) -> Subject:
        subject = Subject(chain.trust.name, record.id, "lot", "LOT")
        self._subjects[chain.trust.chain_id, record.id] = subject
        if record.adopted:
            self._find(
                chain,
                record.id,
                "UNKNOWN_ORIGIN",
                f"lot {record.id} was adopted on chain {chain.trust.name}: its origin is not on any ledger",
            )
        entries = chain.history(state.lot_key(record.id), record.history)
        readings = self._reader(chain).read_all(record.id, entries)
        subject.steps.extend(reading.step for reading in readings)
        self._related(chain, subject, readings)
        return subject

    def _origin(
        self, chain: VerifiedChain, subject: Subject, record: PartRecord, readings: list[Reading]
    ) -> None:
        """Step 4. Each arrival leads to the chain it came from."""
        arrivals = [reading for reading in readings if reading.entry.kind == EntryKind.ARRIVED]
        first = readings[0] if readings else None
        if first is None:
            self._find(chain, record.id, "GAP", f"{record.id} has a record but no history")
        elif first.entry.kind != EntryKind.ARRIVED and not record.adopted:
            self._reader(chain).check_grant(record.id, first)
        for arrival in arrivals:
            crossing = check_crossing(chain, self._chains, record, arrival, self._find)
            if crossing is not None:
                subject.related.append(("came from", self._subject(crossing, record.id)))

    # ---- what happened to it, and what it is made of -------------------------------------------------

    def _steps(self, chain: VerifiedChain, subject: Subject, readings: list[Reading]) -> None:
        """Step 5. The subject's own entries with its containers' between packing and unpacking."""
        for place, reading in enumerate(readings):
            subject.steps.append(reading.step)
            if reading.entry.kind == EntryKind.PACKED:
                later = (r.entry for r in readings[place + 1 :])
                end = next(
                    (e.container_n - 1 for e in later if e.kind == EntryKind.UNPACKED and _same(e, reading)),
                    None,
                )
                entry = reading.entry
                subject.steps.extend(
                    self._inside(chain, entry.container, entry.generation, entry.container_n, end, 1)
                )
        subject.steps.sort(key=lambda step: step.height)

    def _inside(
        self, chain: VerifiedChain, container: str, generation: int, start: int, end: int | None, depth: int
    ) -> list[Step]:
        """Entries [start, end) of a container; the end of a generation that closed is its closing event's."""
        if depth > INSIDE_DEPTH_MAX:
            raise NotVerifiable(
                f"{container} stands deeper than {INSIDE_DEPTH_MAX} containers", Reason.TOO_DEEP
            )
        record = chain.record(state.part_key(container), PartRecord)
        closing = chain.record(state.generation_key(container, generation), GenerationRecord)
        if record is None or closing is None:
            raise NotVerifiable(
                f"container {container} of a recorded packing has no record", Reason.BAD_PROOF
            )
        entries = chain.history(state.part_key(container), record.history)
        if end is None:
            end = closing.closed_n if closing.closed_by else record.history.n
        if not start <= end <= len(entries):
            raise NotVerifiable(
                f"interval [{start}, {end}) is not in {container}'s history", Reason.BAD_PROOF
            )
        steps = []
        for reading in self._reader(chain).read_all(container, entries)[start:end]:
            entry = reading.entry
            steps.append(reading.step_inside(container))
            if entry.kind == EntryKind.PACKED:
                later = [proven.entry for proven in entries[reading.n + 1 : end]]
                out = next(
                    (e.container_n - 1 for e in later if e.kind == EntryKind.UNPACKED and _same(e, reading)),
                    None,
                )
                steps += self._inside(
                    chain, entry.container, entry.generation, entry.container_n, out, depth + 1
                )
        return steps

    def _related(self, chain: VerifiedChain, subject: Subject, readings: list[Reading]) -> None:
        """Step 6. Inputs of the transformation that made it; children that are in it now."""
        inside: dict[str, str] = {}
        for reading in readings:
            view = reading.view
            if view is None:
                continue
            made = reading.made(subject.id)
            for name in made:
                if name != subject.id:
                    subject.related.append(("made from", self._subject(chain, name)))
            relation, added, removed = reading.contents(subject.id)
            if removed is None:
                inside.clear()
            else:
                for name in removed:
                    inside.pop(name, None)
            inside.update(dict.fromkeys(added, relation))
        for name, relation in inside.items():
            subject.related.append((relation, self._subject(chain, name)))


def _same(entry: object, packing: Reading) -> bool:
    return (
        getattr(entry, "container", None) == packing.entry.container
        and getattr(entry, "generation", None) == packing.entry.generation
    )
