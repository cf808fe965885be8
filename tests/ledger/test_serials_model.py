"""Lots of serials against the naive model, step by step: same refusals, same state and same story of every serial.

Walks are random but mostly sensible: who holds something acts on it, on intervals as they stand and on parts of them.
"""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import containers, history, intervals, state
from ledger.errors import ChiptraceError
from ledger.identifiers import canonical, interval_text
from proto.chiptrace.v1.ledger_pb2 import (
    ClosedBy,
    Entry,
    EntryKind,
    LotRecord,
    Membership,
    PartRecord,
    PartStatus,
    Reason,
)
from tests.ledger.naive_lots import NaiveLots, Target
from tests.ledger.rules_world import (
    World,
    add,
    box,
    destroying,
    listed,
    making,
    object_event,
    packing,
    quantity,
    receiving,
    refused,
    seen,
    serials_of,
    shipping,
    unpacking,
)
from tests.ledger.test_custody_model import MEMBERS

LOTS = {
    canonical(f"urn:epc:class:lgtin:4012345.012345.{name}").text: (first, count)
    for name, first, count in (("A", 0, 14), ("B", 50, 9), ("C", 0, 9), ("D", 0, 12))
}
# The serials of C stand in its event, those of D in a list that is kept off the chain. E is the list of a liar.
_C, _D = list(LOTS)[2:]
_E = _D[:-1] + "E"
LISTS = {
    _C: ["70", "71", "X", "0072", "73", "0073", "X1", "X3", "X2"],
    _D: [f"D{number * 7 % 12:02}" for number in range(12)],
}
LIARS = [*reversed(LISTS[_D]), "0003", "0052", "X"]
BOXES = [box(1), box(2)]
Told = tuple[str, Entry]  # the subject whose entry it is


class Walk:
    def __init__(self, seed: int, liar: bool = False) -> None:
        self.random, self.liar = Random(seed), liar
        self.told: set[str] = set()  # of what the liar claims
        self.world = World()
        self.naive = NaiveLots()
        self.outcomes: list[str | None] = []
        for lot, (first, count) in LOTS.items():
            self.naive.seen += 1
            if lot == _C:
                self.world.event("ada", listed(lot, LISTS[lot]))
            elif lot == _D:
                self.kept = self.world.root(lot, LISTS[lot])
            else:
                self.world.event("ada", serials_of(lot, f"{first:04}", f"{first + count - 1:04}", count))
            self.naive.commission(lot, count, "ada")
        self.naive.seen += 1
        self.world.event("ada", add(BOXES))
        for name in BOXES:
            self.naive.boxes[name] = self.new_box()
        if liar:
            self.naive.seen += 1
            self.lie = self.world.root(_E, LIARS)

    def new_box(self):
        from tests.ledger.naive_lots import Box

        return Box("ada", log=[self.naive.seen])

    def both(self, expected: str | None, member: str, event: dict, *, any_reason: bool = False) -> None:
        """The ledger does or refuses what the model did or refused; what is refused changes nothing."""
        before, entries = dict(self.world.overlay.changes), {k: len(v) for k, v in self.world.entries.items()}
        shown = self.shown(event)
        # Who does not hold what she shows is told so, whatever else is wrong.
        any_reason = any_reason or any(
            member not in (found.holder, found.offered_to)
            for found in (self.naive.lots[_D][one.place] for one in shown)
        )
        try:
            self.world.shown(member, event, *shown)
            outcome = None
        except ChiptraceError as refusal:
            outcome = refusal.code
            assert self.world.overlay.changes == before
            assert {k: len(v) for k, v in self.world.entries.items()} == entries
        self.outcomes.append(outcome)
        assert (outcome is None) == (expected is None), (outcome, expected)
        # The ledger tells what was closed from what never was inside.
        assert any_reason or outcome == expected or (outcome, expected) == ("GENERATION_CLOSED", "NOT_INSIDE")

    def shown(self, event: dict) -> list[Membership]:
        """Proofs of the serials of D that the event names: of those without a record, and now and then of others."""
        named = [name for key in ("epcList", "childEPCs", "inputEPCList") for name in event.get(key, ())]
        found = [self.kept.membership(name) for name in dict.fromkeys(named) if name in self.kept]
        known = [self.world.overlay.get(state.part_key(one.serial)) is not None for one in found]
        return [
            one
            for one, is_known in zip(found, known, strict=True)
            if not is_known or self.random.random() < 0.2
        ]

    # ---- choices

    def target(self) -> Target:
        """Mostly an interval as it stands, some of it, or a serial; now and then anything."""
        lot = self.random.choice(list(LOTS))
        serials = self.naive.lots[lot]
        place = self.random.randrange(len(serials) + (1 if self.random.random() < 0.03 else 0))
        if place == len(serials):
            return lot, place, place + 1, self.random.random() < 0.5
        if serials[place].alone or self.random.random() < 0.2:
            return lot, place, place + 1, True
        if self.random.random() < 0.08:
            start, end = sorted(self.random.sample(range(len(serials) + 1), 2))
            return lot, start, end, False
        start = end = place
        while start > 0 and self.stand_together(serials, start - 1, place):
            start -= 1
        while end < len(serials) and self.stand_together(serials, end, place):
            end += 1
        if self.random.random() < 0.6:
            start, end = self.random.randint(start, place), self.random.randint(place + 1, end)
        return lot, start, end, False

    def stand_together(self, serials, one: int, other: int) -> bool:
        return serials[one].together == serials[other].together and not serials[one].alone

    def targets(self) -> list[Target]:
        found = [self.target()]
        if self.random.random() < 0.25:
            found.append(self.target())
        return found

    def clash(self, targets: list[Target]) -> bool:
        if len(targets) < 2 or targets[0][0] != targets[1][0]:
            return False
        (_, a, b, _), (_, c, d, _) = targets
        return a < d and c < b

    def named(self, targets: list[Target]) -> tuple[list[str], list[dict]]:
        epcs = [serial_name(lot, start) for lot, start, _, alone in targets if alone]
        amounts = [interval_text(lot, start, end) for lot, start, end, alone in targets if not alone]
        return epcs, [quantity(name) for name in amounts]

    def who(self, target: Target) -> str:
        found = self.naive.serials(target)
        return found[0].holder if found and self.random.random() < 0.9 else self.random.choice(MEMBERS)

    # ---- steps

    def act(self, does, event_of, member: str, targets: list[Target], *more) -> None:
        """Both sides; where the event names a serial twice, the ledger refuses it and the model is not asked."""
        epcs, amounts = self.named(targets)
        # Things are named before intervals, whatever the order they were chosen in.
        targets = sorted(targets, key=lambda target: not target[3])
        if self.clash(targets) and targets[0] != targets[1]:
            self.both("TWICE", member, event_of(epcs, amounts), any_reason=True)
            return
        expected = does(list(dict.fromkeys(targets)), member, *more)
        self.both(expected, member, event_of(epcs, amounts))

    def observe(self) -> None:
        targets = self.targets()
        self.act(self.naive.observe, seen, self.who(targets[0]), targets)

    def ship(self) -> None:
        targets, receiver, sells = self.targets(), self.random.choice(MEMBERS), self.random.random() < 0.5
        event = lambda epcs, amounts: shipping(epcs, receiver, amounts, owner=receiver if sells else "")
        self.act(self.naive.ship, event, self.who(targets[0]), targets, receiver, sells)

    def receive(self) -> None:
        target = self.target()
        for _ in range(8):
            found = self.naive.serials(target)
            if found and found[0].offered_to:
                break
            target = self.target()
        found = self.naive.serials(target)
        member = found[0].offered_to if found and found[0].offered_to else self.random.choice(MEMBERS)
        epcs, amounts = self.named([target])
        self.both(self.naive.receive(target, member), member, receiving(epcs, amounts))

    def give_back(self) -> None:
        target = self.target()
        epcs, amounts = self.named([target])
        member = self.who(target)
        event = object_event("OBSERVE", epcs, "void_shipping", amounts)
        self.both(self.naive.give_back(target, member), member, event)

    def pack(self) -> None:
        name, targets = self.random.choice(BOXES), self.targets()
        event = lambda epcs, amounts: packing(name, epcs, amounts)
        does = lambda chosen, member: self.naive.pack(name, chosen, member)
        self.act(does, event, self.who(targets[0]), targets)

    def unpack(self) -> None:
        name = self.random.choice(BOXES)
        targets = [] if self.random.random() < 0.3 else self.targets()
        for _ in range(8):
            if not targets or any(serial.inside == name for serial in self.naive.serials(targets[0])):
                break
            targets = self.targets()
        member = self.naive.boxes[name].holder
        event = lambda epcs, amounts: unpacking(name, epcs, amounts)
        does = lambda chosen, member: self.naive.unpack(name, chosen, member)
        self.act(does, event, member, targets)

    def move_box(self) -> None:
        name = self.random.choice(BOXES)
        found = self.naive.boxes[name]
        if found.status == "OFFERED":
            member = found.offered_to if self.random.random() < 0.9 else self.random.choice(MEMBERS)
            self.both(self.naive.receive_box(name, member), member, receiving([name]))
            return
        receiver = self.random.choice(MEMBERS)
        self.both(self.naive.ship_box(name, found.holder, receiver), found.holder, shipping([name], receiver))

    def end(self) -> None:
        if self.random.random() < 0.03:
            name = self.random.choice(BOXES)
            member = self.naive.boxes[name].holder
            self.both(self.naive.end_box(name, member), member, destroying([name]))
            return
        target = self.target()
        member = self.who(target)
        epcs, amounts = self.named([target])
        if self.random.random() < 0.5:
            self.both(self.naive.end([target], member, "DESTROYED"), member, destroying(epcs, amounts))
        else:
            event = making(epcs, used=amounts, run=f"urn:test:{member}")
            self.both(self.naive.end([target], member, "CONSUMED"), member, event)

    def commission_again(self) -> None:
        target = self.target()
        if target[2] <= len(self.naive.lots[target[0]]):
            member = self.random.choice(MEMBERS)
            event = add([serial_name(target[0], target[1])])
            self.both("ALREADY_COMMISSIONED", member, event)

    def forge(self) -> None:
        """A serial of the list without its proof, or with one that shows another place."""
        place = self.random.randrange(len(LISTS[_D]))
        serial, name = self.naive.lots[_D][place], serial_name(_D, place)
        if serial.alone:
            return
        shown = self.kept.membership(name)
        shown.place = (place + 1 + self.random.randrange(20)) % 21
        if shown.place == place:
            return
        with refused(Reason.UNKNOWN_PART):
            self.world.event(serial.holder, seen([name]))
        with refused(Reason.MEMBERSHIP_INVALID):
            self.world.shown(serial.holder, seen([name]), shown)

    def lie_once(self) -> None:
        """A list claims what is something else already: that is told, and nothing else happens."""
        serial = self.random.choice(LIARS)
        name = f"{canonical(_E).class_text}/21/{serial}"
        lot, place = next((lot, place) for lot, (_, count) in LOTS.items() for place in range(count)
                          if serial_name(lot, place) == name)  # fmt: skip
        found = self.naive.lots[lot][place]
        if lot == _D and not found.alone:
            return  # nobody knows of it yet, and the liar would have it
        before = state_of(self.world, lot), state_of(self.world, _E)
        if serial in self.told:
            with refused(Reason.ALREADY_COMMISSIONED, "both histories say so"):
                self.world.shown("ada", seen([name]), self.lie.membership(name))
            return
        self.told.add(serial)
        self.world.shown("ada", self.random.choice((seen, destroying))([name]), self.lie.membership(name))
        assert self.world.reason == Reason.SERIAL_CLAIMED_TWICE
        assert (state_of(self.world, lot), state_of(self.world, _E)) == before
        for of in (lot, _E):
            assert self.world.lot_story(of)[-1] == "FLAG!SERIAL_CLAIMED_TWICE"
        if found.alone:
            found.log.append(self.world.height)

    def step(self) -> None:
        choices = [self.observe] * 2 + [self.ship] * 4 + [self.receive] * 4 + [self.pack] * 4
        choices += [self.unpack] * 4 + [self.move_box] * 3 + [self.give_back, self.commission_again]
        choices += [self.end] if self.random.random() < 0.3 else []
        choices += [self.forge] + ([self.lie_once] if self.liar else [])
        self.naive.seen = self.world.height + 1
        self.random.choice(choices)()

    # ---- what must hold

    def check(self) -> None:
        for name, (_, count) in LOTS.items():
            lot = self.world.record(state.lot_key(name), LotRecord)
            found = intervals.pieces(self.world.overlay, lot, 0, count, count)
            assert [piece.start for piece in found] == [0, *(piece.end for piece in found[:-1])]
            assert found[-1].end == count
            for piece in found:
                self.check_piece(self.naive.lots[name][piece.start : piece.end], piece)
        for name in BOXES:
            self.check_manifest(name)

    def check_piece(self, serials, piece: PartRecord) -> None:
        where = containers.standing(self.world.overlay, piece)
        record = containers.normalise(self.world.overlay, copy_of(piece))
        story = sorted(self.life(told(self.world, piece)))
        assert intervals.is_interval(piece) != serials[0].alone
        for serial in serials:
            expected = (serial.status, serial.holder, serial.owner)
            assert (PartStatus.Name(where.status), where.holder, where.owner) == expected
            assert serial.together == serials[0].together or len(serials) == 1
            if serial.status != "DESTROYED":
                assert record.container == serial.inside
            assert record.offered_to == serial.offered_to
            assert story == serial.log

    def check_manifest(self, name: str) -> None:
        record = self.world.part(name)
        if not record.open:
            assert not self.naive.inside(name) or self.naive.boxes[name].status == "DESTROYED"
            return
        filling = self.world.generation(name, record.generations)
        expected = {
            lot: sum(serial.inside == name for serial in serials) for lot, serials in self.naive.lots.items()
        }
        assert {row.lot: row.count for row in filling.manifest} == {k: v for k, v in expected.items() if v}
        groups = {(lot, serial.together, serial.alone and i) for lot, serials in self.naive.lots.items()
                  for i, serial in enumerate(serials) if serial.inside == name}  # fmt: skip
        assert filling.count == len(groups) == sum(filling.levels)

    def life(self, entries: list[Told]) -> list[int]:
        """The heights at which something happened to the subject of these entries, and to what it was inside."""
        found = []
        for place, (_, entry) in enumerate(entries):
            found.append(entry.height)
            if entry.kind == EntryKind.PACKED:
                last = self.end_of(entry, [later for _, later in entries[place + 1 :]])
                box_entries = self.world.told(state.part_key(entry.container))[entry.container_n : last]
                found += [inner.height for inner in box_entries]
        return found

    def end_of(self, packed: Entry, later: list[Entry]) -> int:
        for entry in later:
            if entry.kind == EntryKind.UNPACKED and (entry.container, entry.generation) == (
                packed.container,
                packed.generation,
            ):
                return entry.container_n - 1
        generation = self.world.generation(packed.container, packed.generation)
        if generation.closed_by != ClosedBy.CLOSED_BY_UNSPECIFIED:
            return generation.closed_n
        return self.world.history(packed.container).n


def serial_name(lot: str, place: int) -> str:
    serial = f"{LOTS[lot][0] + place:04}"
    if lot in LISTS:
        serial = LISTS[lot][place] if place < len(LISTS[lot]) else "none"
    return f"{canonical(lot).class_text}/21/{serial}"


def state_of(world: World, name: str) -> list[bytes]:
    """What stands for a lot now, but for the histories and what was entered last."""
    lot = world.record(state.lot_key(name), LotRecord)
    found = intervals.pieces(world.overlay, lot, 0, lot.serials.count, lot.serials.count)
    for piece in found:
        # Up to date with the closing of its container, which is written at its first touch.
        containers.normalise(world.overlay, piece)
        piece.ClearField("history")
        piece.ClearField("last_event")
    return [piece.SerializeToString(deterministic=True) for piece in found]


def copy_of(record: PartRecord) -> PartRecord:
    made = PartRecord()
    made.CopyFrom(record)
    return made


def told(world: World, record: PartRecord) -> list[Told]:
    """The whole history of what a record stands for: its interval's entries up to the carving, and then its own."""
    before: list[Told] = []
    if record.carved_from:
        origin = world.record(state.part_key(record.carved_from), PartRecord)
        assert origin is not None
        assert origin.status == PartStatus.SPLIT
        assert origin.start <= record.start < record.end <= origin.end
        before = told(world, origin)
        assert record.carved_n == origin.history.n  # nothing is entered after the carving
    key = state.part_key(record.id)
    history.verify_history(world.chain_id, record.history, world.entries.get(key, [])[: record.history.n])
    return before + [(record.id, entry) for entry in world.told(key)[: record.history.n]]


def run(seed: int, steps: int) -> Walk:
    walk = Walk(seed, liar=seed % 2 == 0)
    for number in range(steps):
        walk.step()
        if number % 10 == 9:
            walk.check()
    walk.check()
    return walk


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 120))
def test_the_ledger_and_the_naive_model_agree(seed, steps):
    run(seed, steps)


@pytest.mark.parametrize("seed", range(20))
def test_they_agree_over_long_walks(seed):
    run(seed, 200)


def test_the_walks_do_all_there_is_to_do():
    """Most steps succeed, and every refusal that intervals can meet is met."""
    outcomes = [outcome for seed in range(8) for outcome in run(seed, 150).outcomes]
    assert outcomes.count(None) > len(outcomes) // 3
    expected = {
        "INTERVAL_SPLIT", "NOT_LIVE", "NOT_IN_CUSTODY", "INSIDE_CONTAINER", "NOT_INSIDE", "ALREADY_OFFERED",
        "NOT_OFFERED_TO_YOU", "NOTHING_TO_DO", "SERIALS_INVALID", "ALREADY_COMMISSIONED", "GENERATION_CLOSED",
    }  # fmt: skip
    assert expected <= set(outcomes)
