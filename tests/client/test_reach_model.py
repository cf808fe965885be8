"""Random histories: the reach that is proven from histories and records is the one that somebody who was there knows."""

from random import Random

import pytest

from ledger import decimals
from tests.client.naive_reach import Making, NaiveReach
from tests.client.reach_world import Factory
from tests.ledger.rules_world import (
    add,
    box,
    destroying,
    lot,
    making,
    packing,
    part,
    quantity,
    receiving,
    shipping,
    unpacking,
)
from tests.ledger.test_corrections import wrong

MEMBERS = ("ada", "abe")
LOTS = [lot(name) for name in ("L1", "L2", "L3")]
BOXES = [box(number) for number in range(1, 5)]
KINDS = [
    "begin",
    "make",
    "make",
    "make",
    "run",
    "pack",
    "pack",
    "install",
    "out",
    "all_out",
    "move",
    "move",
    "destroy",
    "undo",
    "export",
    "amount_in",
    "amount_move",
    "perhaps",
]
STEPS = 45
SEEDS = range(8)


class Journey:
    """One random history; each step is of a kind that the ledger allows, and is done on both sides."""

    def __init__(self, seed: int):
        self.random = Random(seed)
        self.factory, self.naive = Factory("a", "b"), NaiveReach()
        self.serial = 0
        self.runs = 0
        self.done: set[str] = set()
        for _ in range(4):
            self.begin()
        for one in LOTS[:2]:
            self.factory.event("ada", add([], [quantity(one, 50)]))
            self.naive.put(one, "ada", 50)
            self.naive.added.add(one)
        for one in BOXES:
            self.factory.event("ada", add([one]))
            self.naive.add(one, "ada")

    def new(self) -> str:
        self.serial += 1
        return part(self.serial)

    def begin(self):
        name = self.new()
        self.factory.event("ada", add([name]))
        self.naive.add(name, "ada")

    def step(self):
        name = self.random.choice(KINDS)
        if getattr(self, name)() is not False:
            self.done.add(name)

    def some(self, items, most=2):
        return self.random.sample(items, min(len(items), self.random.randint(1, most)))

    def parts(self, member="ada"):
        return [name for name in self.naive.free(member, empty=True) if name not in BOXES]

    # ---- steps

    def make(self, run="", perhaps=()):
        inputs = self.some(self.parts()) if self.parts() else []
        lots = [one for one in LOTS if self.naive.amounts.get((one, "ada"), 0) > 3]
        used = self.some(lots, 1) if lots and self.random.random() < 0.5 else []
        outputs = [self.new() for _ in range(self.random.randint(0, 2))]
        made = [self.random.choice(LOTS[1:])] if self.random.random() < 0.4 else []
        made = [one for one in made if one not in used]
        if not (inputs or used) or not (outputs or made):
            return False
        kept = [one for one in inputs if self.random.random() < 0.2]
        more = {"ilmd": {"urn:chiptrace:epcis:candidates": list(perhaps)}} if perhaps else {}
        operation = self.factory.event(
            "ada",
            making(
                inputs,
                outputs + kept,
                [quantity(one, 1) for one in used],
                [quantity(one, 5) for one in made],
                run,
            )
            | more,
        )
        self.last = (
            Making(inputs + used, outputs + made + kept, run, list(perhaps)),
            operation,
            (inputs, kept, used, made),
        )
        self.naive.makings.append(self.last[0])
        for one in inputs:
            if one not in kept:
                self.naive.parts[one][0] = "CONSUMED"
        for one in outputs:
            self.naive.add(one, "ada")
        for one in used:
            self.naive.put(one, "ada", -1)
        for one in made:
            self.naive.put(one, "ada", 5)
        return None

    def run(self):
        self.runs += self.random.random() < 0.6
        return self.make(run=f"urn:test:run:{self.runs}")

    def perhaps(self):
        lots = [one for one in LOTS if self.naive.amounts.get((one, "ada"), 0) > 3]
        return self.make(perhaps=lots[:2]) if len(lots) > 1 else False

    def undo(self):
        """Taken back at once, while it is the latest of everything it touched."""
        if self.make() is False:
            return False
        made, operation, (inputs, kept, used, amounts) = self.last
        if kept:
            return False
        self.factory.act("ada", wrong(operation, "2023-11-14T22:13:22Z"))
        self.naive.makings.remove(made)
        for one in inputs:
            self.naive.parts[one][0] = "LIVE"
        for one in made.outputs:
            if one in self.naive.parts:
                self.naive.parts[one][0] = "VOID"
        for one in used:
            self.naive.put(one, "ada", 1)
        for one in amounts:
            self.naive.put(one, "ada", -5)
        return None

    def pack(self, boxes=BOXES, kind="Aggregation"):
        member = self.random.choice(MEMBERS)
        free = self.naive.free(member)
        targets = [one for one in boxes if one in free]
        if not targets:
            return False
        target = self.random.choice(targets)
        children = self.some(
            [one for one in free if one != target and one not in boxes[: boxes.index(target)]], 3
        )
        if not children:
            return False
        self.factory.event(member, packing(target, children, kind=kind))
        for child in children:
            self.naive.parts[child][2] = target
        return None

    def install(self):
        boards = [name for name in self.naive.free("ada") if name not in BOXES and self.naive.children(name)]
        boards = boards or self.parts()[:1]
        free = [name for name in self.parts() if name not in boards]
        if not boards or not free:
            return False
        child = self.random.choice(free)
        self.factory.event("ada", packing(boards[0], [child], kind="Association"))
        self.naive.parts[child][2] = boards[0]
        return None

    def full(self):
        return [
            (m, one) for m in MEMBERS for one in self.naive.free(m) if one in BOXES and self.naive.holds(one)
        ]

    def out(self):
        choices = [(m, one) for m, one in self.full() if self.naive.children(one)]
        if not choices:
            return False
        member, one = self.random.choice(choices)
        children = self.some(self.naive.children(one))
        self.factory.event(member, unpacking(one, children))
        for child in children:
            self.naive.parts[child][1:] = [member, ""]
        return None

    def all_out(self):
        if not self.full():
            return False
        member, one = self.random.choice(self.full())
        self.factory.event(member, unpacking(one))
        for child in self.naive.children(one):
            self.naive.parts[child][1:] = [member, ""]
        for (name, place), amount in list(self.naive.amounts.items()):
            if place == one:
                self.naive.put(name, one, -amount)
                self.naive.put(name, member, amount)
        return None

    def move(self):
        sender, receiver = self.random.sample(MEMBERS, 2)
        if not self.naive.free(sender):
            return False
        name = self.random.choice(self.naive.free(sender))
        self.factory.event(sender, shipping([name], receiver))
        self.factory.event(receiver, receiving([name]))
        self.naive.parts[name][1] = receiver
        return None

    def destroy(self):
        if self.random.random() < 0.6 or not self.naive.free("abe"):
            return False
        name = self.random.choice(self.naive.free("abe"))
        self.factory.event("abe", destroying([name]))
        self.naive.parts[name][0] = "DESTROYED"
        return None

    def export(self):
        if not self.parts():
            return False
        name = self.random.choice(self.parts())
        self.factory.export(name, "bob")
        self.naive.parts[name][0] = "DEPARTED"
        self.naive.abroad[name] = "bob"
        return None

    def amount_in(self):
        free = [one for one in self.naive.free("ada") if one in BOXES]
        lots = [one for one in LOTS if self.naive.amounts.get((one, "ada"), 0) > 3]
        if not free or not lots:
            return False
        name, place = self.random.choice(lots), self.random.choice(free)
        self.factory.event("ada", packing(place, [], [quantity(name, 2)]))
        self.naive.put(name, "ada", -2)
        self.naive.put(name, place, 2)
        return None

    def amount_move(self):
        lots = [one for one in LOTS if self.naive.amounts.get((one, "ada"), 0) > 3]
        if not lots:
            return False
        name = self.random.choice(lots)
        self.factory.event("ada", shipping(to="abe", amounts=[quantity(name, 2)]))
        self.naive.put(name, "ada", -2)
        if self.random.random() < 0.5:
            self.factory.event("abe", receiving(amounts=[quantity(name, 2)], sender="ada"))
            self.naive.put(name, "abe", 2)
        else:
            self.naive.put(name, "ada>abe", 2)
        return None

    # ---- comparison

    def check(self, name: str):
        report = self.factory.reach(name)
        assert (report.problem, report.gaps) == ("", []), name
        concerned, certain, holding = self.naive.reach(name)
        here = [thing for thing in report.reached if thing.chain == "a"]
        assert {thing.id for thing in here if not thing.holds_only} == concerned, name
        assert {thing.id for thing in here if thing.holds_only} == holding, name
        assert {thing.id for thing in here if thing.certain and not thing.holds_only} == certain, name
        for thing in here:
            if thing.id in self.naive.parts:
                assert thing.status == self.naive.status(thing.id), thing
                assert not thing.is_here or thing.holder == self.naive.holder(thing.id), thing
                continue
            places = {a.place: decimals.to_text(a.amount) for a in thing.amounts}
            amounts = {p: str(n) for (one, p), n in self.naive.amounts.items() if one == thing.id and n}
            assert places == amounts, thing.id
        abroad = {thing.id: thing.holder for thing in report.reached if thing.chain == "b"}
        assert abroad == {one: who for one, who in self.naive.abroad.items() if one in concerned}


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_as_somebody_who_was_there(seed):
    journey = Journey(seed)
    for _ in range(STEPS):
        journey.step()
    names = [*journey.naive.parts, *{one for one, _ in journey.naive.amounts}]
    for name in journey.random.sample(sorted(names), min(14, len(names))):
        journey.check(name)


def test_the_walks_do_all_there_is_to_do():
    """Else the comparison would be of little."""
    done = set()
    for seed in SEEDS:
        journey = Journey(seed)
        for _ in range(STEPS):
            journey.step()
        done |= journey.done
    assert done == set(KINDS)
