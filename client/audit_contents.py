"""What a thing is made of, and what is in it: each is a subject of its own, and says the same in its own history."""

from collections.abc import Callable, Iterator, Sequence

from client.audit_corrections import doubts
from client.audit_entries import Find, Reading
from client.audit_kinds import is_among
from client.audit_report import Subject
from client.serials import as_recorded, take_out
from client.verified import VerifiedChain
from ledger import state
from ledger.containers import standing
from ledger.identifiers import canonical
from proto.chiptrace.v1.ledger_pb2 import EntryKind, GenerationRecord, PartRecord, PartStatus, Reason

_WITH_CONTENTS = (
    EntryKind.DEPARTED_FOR_GOOD,
    EntryKind.ARRIVED,
    EntryKind.MATERIALISED,
    EntryKind.FOLLOWED,
    EntryKind.REHOMED,
)
_AWAY = (PartStatus.IN_TRANSIT, PartStatus.DEPARTED)
Refer = Callable[[VerifiedChain, str], Subject]
Wrong = Callable[[VerifiedChain, str, Reading, str, str], None]  # chain, subject, entry, code, why


class Contents:
    """Step 6 of an audit. `refer` makes a subject of a name, `find` and `wrong` take what is found."""

    def __init__(self, find: Find, refer: Refer, wrong: Wrong) -> None:
        self._find = find
        self._refer = refer
        self._wrong = wrong
        self._digests: dict[tuple[bytes, str], set[bytes]] = {}
        self._inputs: list[tuple[VerifiedChain, str, str, Reading]] = []  # chain, what was made, input, event

    def tell(
        self, chain: VerifiedChain, subject: Subject, readings: Sequence[Reading], record: PartRecord | None
    ) -> None:
        """Inputs of the transformation that made it, and what may have been one; children that are in it now."""
        self._digests[chain.trust.chain_id, subject.id] = {reading.entry.digest for reading in readings}
        inside: dict[str, str] = {}
        left: dict[str, None] = {}
        for reading in readings:
            if reading.entry.kind in _WITH_CONTENTS:
                # What was in it went with it; what it brings back has no name until somebody shows one.
                left |= dict.fromkeys(inside)
                inside.clear()
            view = reading.view
            if view is None:
                continue  # no event: it put nothing in, and nothing was made by it
            if view.type == "TransformationEvent":
                self._made(chain, subject, reading)
            if view.parent is None:
                continue  # nothing goes in or out
            relation, added, removed = reading.contents(subject.id)
            if removed is None:
                inside.clear()
            else:
                for name in removed:
                    take_out(chain, inside, name)
            if reading.entry.finding == Reason.SEEN_ELSEWHERE:
                added = _here(chain, subject.id, added)
            inside.update(dict.fromkeys(added, relation))
        for reading in readings:
            if _is_left_open(reading, subject.id):
                why = "how much of it went in nobody said, so what was made of it is not held against it"
                self._wrong(chain, subject.id, reading, "AMOUNT_LEFT_OPEN", why)
        for reading, code, why in doubts(readings):
            self._wrong(chain, subject.id, reading, code, why)
        for reading in _repeated(subject.id, readings) if record is None else ():
            self._wrong(chain, subject.id, reading, "DUPLICATE_EVENT", "the same event was entered before")
        inside = as_recorded(chain, inside)
        for name, relation in inside.items():
            subject.related.append((relation, self._refer(chain, name)))
        for name in as_recorded(chain, dict.fromkeys(left, "")):
            subject.related.append(("held when it left", self._refer(chain, name)))
        # With nothing inside, by its history and by its record, there is nothing to compare.
        if record is not None and (inside or record.open) and standing(chain, record).status not in _AWAY:
            self._check_inside(chain, record, [name for name in inside if not canonical(name).is_class])

    def _made(self, chain: VerifiedChain, subject: Subject, reading: Reading) -> None:
        for relation, names in (
            ("made from", reading.made(subject.id)),
            ("perhaps made from", reading.perhaps_made(subject.id)),
        ):
            for name in names:
                if name != subject.id:
                    self._inputs.append((chain, subject.id, name, reading))
                    subject.related.append((relation, self._refer(chain, name)))

    def _check_inside(self, chain: VerifiedChain, record: PartRecord, children: Sequence[str]) -> None:
        """What its history puts into it says that it is there, and nothing else does."""
        chain.values(state.part_key(name) for name in children)
        for name in children:
            child = chain.record(state.part_key(name), PartRecord)
            if child is not None and (child.container, child.generation) != (record.id, record.generations):
                text = f"{record.id} holds {name} by its history, which is elsewhere by its own record"
                self._find(chain, record.id, "CONTRADICTION", text, ())
        if not record.open:
            return
        filling = chain.record(state.generation_key(record.id, record.generations), GenerationRecord)
        if filling is not None and filling.from_chain and filling.count >= len(children):
            return  # the rest came with it; each that shows itself counts against what the packet told
        if filling is None or filling.closed_by or filling.count != len(children):
            count = 0 if filling is None else filling.count
            text = f"{record.id} holds {len(children)} parts by its history, and {count} by its record"
            self._find(chain, record.id, "CONTRADICTION", text, ())

    def check_inputs(self) -> None:
        """What went into something has that event in its own history, too."""
        for chain, made, name, reading in self._inputs:
            digests = self._digests.get((chain.trust.chain_id, name))
            view = reading.view
            named = view is not None and is_among(
                name, view.inputs, view.input_quantities, view.run.candidates
            )
            if digests is not None and (not named or reading.entry.digest not in digests):
                self._wrong(
                    chain,
                    name,
                    reading,
                    "CONTRADICTION",
                    f"it went into {made}, and its history does not say so",
                )


def _repeated(lot: str, readings: Sequence[Reading]) -> Iterator[Reading]:
    """Entries for what an operation has entered there already, and for a making that was entered before."""
    seen: set[tuple[bytes, int, int] | bytes] = set()
    for reading in readings:
        entry = reading.entry
        place = entry.transaction, entry.operation, entry.kind
        makes = reading.adds_to(lot)
        if reading.view is not None and (place in seen or (makes and entry.digest in seen)):
            yield reading
        seen.add(place)
        if makes:
            seen.add(entry.digest)


def _is_left_open(reading: Reading, lot: str) -> bool:
    """Whether an event used some of a lot and does not say how much."""
    view = reading.view
    if view is None or view.error_declaration is not None:
        return False
    return any(item.of.text == lot and item.amount is None for item in view.input_quantities)


def _here(chain: VerifiedChain, container: str, children: Sequence[str]) -> list[str]:
    """Which of these are in a container by their own records: of what was flagged, its own history tells."""
    chain.values(state.part_key(name) for name in children)
    records = {name: chain.record(state.part_key(name), PartRecord) for name in children}
    return [name for name, record in records.items() if record is None or record.container == container]
