"""The reach of a recall: from a part, a lot, serials, a container or a run forward to all that may be concerned.

1. What is asked for is found at the pinned height, or proven absent.
2. Of everything concerned the whole history is read: it names each event in which it went into something else, and
   what came out of that is concerned too (client/reach_paths.py).
3. A lot is all its amounts, or all its serials: holders partition it, so each place is proven, and the sum shows that
   there is no other (client/reach_amounts.py); the intervals of a lot of serials lie end to end.
4. What is in a container that was asked for is concerned; what a concerned thing is in only holds it.
5. What left over the bridge is followed to the chain where it went, and what came, to the chain it came from.
6. Whatever could not be followed is a gap, and the answer says that it may not be all.

Something is CERTAIN where every step to it is; it is a CANDIDATE where an event names several lots of which one or
more went in, where a run had several inputs, or where a lot has amounts from elsewhere too.
"""

from collections.abc import Callable, Iterable, Mapping

from bridge.contents import arrival_key
from client.audit_chains import present_status
from client.audit_custody import Custody
from client.audit_entries import EntryReader, Reading
from client.audit_inside import Containers
from client.audit_packets import came_over
from client.connection import NoAnswer, NodeRefused
from client.fetching import fetch_around, fetch_histories, fetch_pieces
from client.question import attempt, checked, give_budget
from client.reach_amounts import spread
from client.reach_paths import ALL_TIME, Made, Paths, Window
from client.reach_report import Reached, ReachReport
from client.reach_walk import REACHED_MAX, Key, Mode, Walk
from client.records import name_of
from client.serials import find_part, histories
from client.verified import NotVerifiable, VerifiedChain
from ledger import state
from ledger.containers import standing
from ledger.errors import ChiptraceError
from ledger.identifiers import canonical, interval_text
from ledger.intervals import is_interval, pieces
from ledger.limits import CONTAINER_DEPTH_MAX
from proto.chiptrace.v1.bridge_pb2 import ArrivalRecord, ClientRecord
from proto.chiptrace.v1.ledger_pb2 import (
    EntryKind,
    GenerationRecord,
    LotRecord,
    MemberRecord,
    Operation,
    PartRecord,
    PartStatus,
    Reason,
)

DEPTH_MAX = 256  # steps from what was asked for
Progress = Callable[[int], None]


class Reach:
    """One question over the chains of a trust file, by chain id. `progress` is told how many things were reached."""

    def __init__(self, chains: Mapping[bytes, VerifiedChain], progress: Progress = lambda _: None) -> None:
        self._chains = chains
        self._progress = progress
        self._begin()

    def _begin(self) -> None:
        self._walk = Walk()
        self._readers: dict[bytes, EntryReader] = {}
        self._paths: dict[bytes, Paths] = {}
        self._containers: dict[bytes, Containers] = {}

    def run(
        self, identifier: str, chain_id: bytes, now_ms: Callable[[], int], window: Window = ALL_TIME
    ) -> ReachReport:
        """The reach of one thing. The window is about what was asked for: what was made of it, or was in it, then.

        Never raises for what nodes say, but reports it.
        """
        started = now_ms()
        report = ReachReport(identifier, window.from_ms, window.until_ms)
        give_budget(self._chains.values())
        try:
            asked = chain_id, canonical(identifier).text
            attempt(self._chains, self._begin, lambda: self._follow(asked, window))
            self._names(report)
        except ChiptraceError as error:
            report.problem, report.problem_code = str(error), error.code
        except Exception as error:  # an answer nobody thought of is not a verified one
            report.problem = f"an error of chiptrace itself ({type(error).__name__}: {error})"
            report.problem_code = "INTERNAL"
        self._heads(report)
        report.reached = list(self._walk.things.values())
        report.gaps = list(self._walk.gaps)
        for code in self._walk.findings.values():
            report.findings[code] = report.findings.get(code, 0) + 1
        report.checked = checked(self._chains.values())
        report.milliseconds = now_ms() - started
        return report

    # ---- the walk --------------------------------------------------------------------------------------------

    def _follow(self, asked: Key, window: Window) -> None:
        walk = self._walk
        self._reach(asked, Mode.WITH_CONTENTS, "asked", None)
        for _ in range(DEPTH_MAX):
            if not walk.next:
                break
            wave, walk.next = list(walk.next), {}
            for chain_id in dict.fromkeys(key[0] for key in wave):
                names = [name for where, name in wave if where == chain_id]
                self._wave(self._chains[chain_id], names, asked, window)
            self._progress(len(walk.things))
        if walk.next:
            walk.gap(
                f"there are more than {DEPTH_MAX} steps from {asked[1]} on; ask for what was reached last"
            )
        walk.judge(asked)

    def _reach(
        self, key: Key, mode: Mode, how: str, source: Key | None, *, certain: bool = True, making: bytes = b""
    ) -> None:
        name = self._chains[key[0]].trust.name
        self._walk.reach(key, name, mode, how, source, certain=certain, making=making)

    def _wave(self, chain: VerifiedChain, names: list[str], asked: Key, window: Window) -> None:
        """Follows things of one chain one step further; what they need is asked for together."""
        chain.values(key(name) for name in names for key in (state.part_key, state.lot_key))
        parts = {name: self._record(chain, name) for name in names}
        known = [record for record in parts.values() if record is not None]
        fetch_around(chain, known)
        fetch_histories(chain, [r for r in known if self._mode(chain, r.id) > Mode.HOLDS])
        for name in names:
            key = (chain.trust.chain_id, name)
            record = self._aboard(chain, key, parts[name])
            span = window if key == asked else ALL_TIME
            lot = chain.record(state.lot_key(name), LotRecord)
            if record is not None:
                self._part(chain, key, record, span)
            if lot is not None:
                self._lot(chain, key, lot, span)
            if record is not None or lot is not None:
                continue
            if canonical(name).interval is not None:
                self._serials(chain, key, canonical(name).lot_text, *(canonical(name).interval or (0, 0)))
            elif key == asked and self._path(chain).is_run(name):
                self._run(chain, key, span)
            elif key == asked:
                raise NotVerifiable(
                    f"{name} is proven absent from chain {chain.trust.name} at height {chain.snapshot().height}",
                    Reason.UNKNOWN_PART,
                )

    def _mode(self, chain: VerifiedChain, name: str) -> Mode:
        return self._walk.modes.get((chain.trust.chain_id, name), Mode.HOLDS)

    def _record(self, chain: VerifiedChain, name: str) -> PartRecord | None:
        """The record of a part or an interval; None for serials of several intervals, whose pieces are followed."""
        record = chain.record(state.part_key(name), PartRecord)
        if record is not None and record.status == PartStatus.SPLIT:
            return None
        identifier = canonical(name)
        if record is not None or (identifier.is_class and identifier.interval is None):
            return record
        try:
            return find_part(chain, name)
        except NotVerifiable as error:
            if error.reason != Reason.INTERVAL_SPLIT:
                raise
            return None

    # ---- one thing -------------------------------------------------------------------------------------------

    def _part(self, chain: VerifiedChain, key: Key, record: PartRecord, window: Window) -> None:
        thing, mode = self._walk.things[key], self._walk.modes[key]
        thing.kind = "serials" if is_interval(record) else "part"
        thing.count = max(1, record.end - record.start)
        status, thing.holder, thing.owner = present_status(chain, record)
        thing.status = name_of(PartStatus, status)
        thing.offered_to = record.offered_to if status == PartStatus.OFFERED else ""
        if record.container:
            self._place(chain, key, thing, record)
        if mode > Mode.HOLDS:
            readings = [
                reading
                for name, entries in histories(chain, record)
                for reading in self._reader(chain).read_all(name, entries)
            ]
            self._compare(chain, key, record, readings)
            self._made(chain, key, self._path(chain).made_of(readings, window))
            for reading in readings:
                if reading.entry.kind in (EntryKind.ARRIVED, EntryKind.MATERIALISED):
                    self._came_from(chain, key, reading.operation)
                elif reading.entry.kind == EntryKind.REHOMED:
                    text = f"{record.id} was taken over from a chain that is lost: what was made of it there is not known"
                    self._walk.gap(text, key)
            if mode == Mode.WITH_CONTENTS:
                self._contents(chain, key, self._path(chain).inside(record, readings, window), window)
        went = self._path(chain).went_to(record, status)
        if went is not None:
            self._walk.left[went[1], record.id] = chain.trust.chain_id, record
            self._crossed(chain, key, *went)

    def _compare(self, chain: VerifiedChain, key: Key, record: PartRecord, readings: list[Reading]) -> None:
        """Whether a thing is where its members' own words leave it: a corrupt quorum could call it destroyed."""
        inside = self._containers.setdefault(key[0], Containers(chain, self._reader(chain)))

        def wrong(reading: Reading, code: str, why: str) -> None:
            self._found(chain, record.id, code, f"entry {reading.n}: {why}")
            if code in ("CONTRADICTION", "NOT_IN_CUSTODY"):
                self._walk.gap(f"chain {chain.trust.name}: {record.id}, entry {reading.n}: {why}", key)

        custody = Custody(record.id, key[0], self._reader(chain).named, inside.closing, wrong)
        custody.follow(readings)
        for difference in custody.compare(record) if readings else ():
            self._found(chain, record.id, "CONTRADICTION", difference)
            self._walk.gap(
                f"chain {chain.trust.name} contradicts itself about {record.id}: {difference}", key
            )

    def _place(self, chain: VerifiedChain, key: Key, thing: Reached, record: PartRecord) -> None:
        """The container it is in, and the one that stands free; one that was unpacked since holds it no more."""
        filling = chain.record(state.generation_key(record.container, record.generation), GenerationRecord)
        if filling is None:
            raise NotVerifiable(
                f"chain {chain.trust.name}: {record.id} is in a filling of {record.container} without a record",
                Reason.BAD_PROOF,
            )
        where = standing(chain, record)
        if where.outermost == record.id or thing.status == name_of(PartStatus, PartStatus.DESTROYED):
            return
        thing.place = record.container if where.outermost in ("", record.id) else where.outermost
        outermost = chain.record(state.part_key(thing.place), PartRecord)
        thing.offered_to = "" if outermost is None else outermost.offered_to
        self._reach((key[0], record.container), Mode.HOLDS, "holds", key)

    def _made(self, chain: VerifiedChain, key: Key, made: Iterable[Made]) -> None:
        for one in made:
            target = (chain.trust.chain_id, one.name)
            self._reach(target, Mode.CONCERNED, "made from", key, certain=one.certain, making=one.event)

    def _contents(self, chain: VerifiedChain, key: Key, names: Iterable[str], window: Window) -> None:
        thing = self._walk.things[key]
        for name in names:
            identifier = canonical(name)
            if not identifier.is_class or identifier.interval is not None:
                self._reach((key[0], name), Mode.WITH_CONTENTS, "inside", key)
                continue
            # Of an amount that lies inside now, this is where; of one that was inside then, nobody can say.
            lot = chain.record(state.lot_key(name), LotRecord)
            if lot is not None and window.is_all:
                entries = chain.history(state.lot_key(name), lot.history)
                found = spread(chain, lot, self._reader(chain).read_all(name, entries))
                thing.amounts += [amount for amount in found.amounts if amount.place == key[1]]
            elif lot is not None:
                self._reach((key[0], name), Mode.CONCERNED, "inside", key, certain=False)

    def _lot(self, chain: VerifiedChain, key: Key, lot: LotRecord, window: Window) -> None:
        thing = self._walk.things[key]
        thing.kind, thing.status = "lot", "LOT"
        entries = chain.history(state.lot_key(lot.id), lot.history)
        readings = self._reader(chain).read_all(lot.id, entries)
        self._made(chain, key, self._path(chain).made_of(readings, window))
        if lot.serials.count:
            self._serials(chain, key, lot.id, 0, lot.serials.count)
            return
        found = spread(chain, lot, readings)
        thing.amounts = found.amounts
        self._walk.makings[key] = found.makings
        for reading in readings:
            if reading.entry.kind == EntryKind.ARRIVED:
                self._came_from(chain, key, reading.operation)
        for chain_id in lot.gone_to:
            self._crossed(chain, key, "over the bridge", chain_id)
        self._walk.spreads[key] = found
        if found.gap:
            self._walk.gap(f"chain {chain.trust.name}: {found.gap}")
        for amount in found.amounts:
            if amount.inside:
                self._reach((key[0], amount.inside), Mode.HOLDS, "holds", key)

    def _serials(self, chain: VerifiedChain, key: Key, name: str, start: int, end: int) -> None:
        """All that the serials from one place to another are recorded in: it covers each of them, once."""
        thing = self._walk.things[key]
        if thing.kind != "lot":
            thing.kind, thing.status = "serials", "SPLIT"
        lot = chain.record(state.lot_key(name), LotRecord)
        if lot is None or end > lot.serials.count:
            raise NotVerifiable(
                f"chain {chain.trust.name}: {key[1]} is of no lot with so many serials", Reason.UNKNOWN_LOT
            )
        fetch_pieces(chain, lot, start, end)
        found = pieces(chain, lot, start, end, REACHED_MAX)
        if not found or found[-1].end < end:
            self._walk.gap(f"{name} has more than {REACHED_MAX} intervals; ask for some of its serials")
        for piece in found:
            low, high = max(start, piece.start), min(end, piece.end)
            part = piece.id if (low, high) == (piece.start, piece.end) else interval_text(name, low, high)
            self._reach((key[0], part), self._walk.modes[key], "serials of", key)

    def _run(self, chain: VerifiedChain, key: Key, window: Window) -> None:
        thing = self._walk.things[key]
        thing.kind, thing.status = "run", "RUN"
        self._made(chain, key, self._path(chain).of_run(key[1], window))

    def _aboard(self, chain: VerifiedChain, key: Key, record: PartRecord | None) -> PartRecord | None:
        """What arrived inside a container and has no record here yet, or an older one: as the arrival has it."""
        left = self._walk.left.get(key)
        if left is None:
            return record
        source, current = self._chains[left[0]], left[1]
        for _ in range(CONTAINER_DEPTH_MAX + 1):
            if not current.container:
                return record
            place = arrival_key(source.trust.chain_id, current.container, current.generation)
            arrival = chain.record(place, ArrivalRecord)
            if arrival is not None:
                break
            around = source.record(state.part_key(current.container), PartRecord)
            if around is None:
                return record
            current = around
        if arrival is None or (record is not None and record.hop >= arrival.hop):
            return record
        there = PartRecord()
        there.CopyFrom(left[1])
        there.status, there.holder, there.owner = PartStatus.LIVE, "", ""
        there.container, there.generation = current.container, arrival.generation
        there.ClearField("history")
        there.ClearField("carved_from")
        return there

    # ---- other chains ----------------------------------------------------------------------------------------

    def _crossed(self, chain: VerifiedChain, key: Key, by: str, chain_id: bytes) -> None:
        where = f"{key[1]} went from chain {chain.trust.name} {by}"
        if chain_id not in self._chains:
            text = f"{where} to chain {chain_id.hex()}, which the trust file does not name; ask its members"
            self._walk.gap(text, key)
            return
        if self._answers(chain_id, key, where):
            self._reach((chain_id, key[1]), self._walk.modes[key], "went on as", key)

    def _came_from(self, chain: VerifiedChain, key: Key, operation: Operation) -> None:
        client_id = came_over(operation)
        client = None if client_id is None else chain.record(state.client_key(client_id), ClientRecord)
        where = f"{key[1]} came to chain {chain.trust.name} over client {client_id}"
        if client is None or client.chain_id == key[0]:
            self._walk.gap(f"{where}, which would be of that chain itself, or of none", key)
        elif client.chain_id not in self._chains:
            text = f"{where} from chain {client.chain_id.hex()}, which the trust file does not name: what was made of it there"
            self._walk.gap(f"{text} is not known", key)
        elif self._answers(client.chain_id, key, where):
            self._reach((client.chain_id, key[1]), self._walk.modes[key], "came as", key)

    def _answers(self, chain_id: bytes, key: Key, where: str) -> bool:
        try:
            self._chains[chain_id].snapshot()
        except (NoAnswer, NodeRefused) as error:
            self._walk.gap(f"{where}; chain {self._chains[chain_id].trust.name} gave no answer: {error}", key)
            return False
        return True

    # ---- the answer ------------------------------------------------------------------------------------------

    def _names(self, report: ReachReport) -> None:
        """The members' own names, as the chains have them."""
        chains = {chain.trust.name: chain for chain in self._chains.values()}
        report.reached = list(self._walk.things.values())
        for row in report.holders():
            chain, member = chains[row["chain"]], row["member"]
            record = chain.record(state.member_key(member), MemberRecord)
            report.names[row["chain"], member] = member if record is None else record.name

    def _heads(self, report: ReachReport) -> None:
        for chain in self._chains.values():
            pinned = chain.pinned
            if pinned is None:
                continue
            age_ms = chain.stale_by_ms(pinned.time_ms)
            head = {"chain": chain.trust.name, "height": pinned.height, "time_ms": pinned.time_ms}
            report.heads.append({**head, "stale": age_ms > 0})
            if age_ms > 0:
                age_s = -(-age_ms // 1000)
                text = f"the newest head of chain {chain.trust.name} is {age_s} s older than three heartbeats"
                self._walk.gap(f"{text}: it may hide what came after; ask another node")

    def _path(self, chain: VerifiedChain) -> Paths:
        if chain.trust.chain_id not in self._paths:
            self._paths[chain.trust.chain_id] = Paths(chain, self._reader(chain))
        return self._paths[chain.trust.chain_id]

    def _reader(self, chain: VerifiedChain) -> EntryReader:
        if chain.trust.chain_id not in self._readers:
            self._readers[chain.trust.chain_id] = EntryReader(chain, self._found)
        return self._readers[chain.trust.chain_id]

    def _found(
        self, chain: VerifiedChain, subject: str, code: str, message: str, _: tuple[bytes, ...] = ()
    ) -> None:
        """What an audit would find of the histories that are read; an audit of each tells it."""
        self._walk.findings[chain.trust.name, subject, message] = code
