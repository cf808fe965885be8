"""A storm of what members say, on honest chains among corrupt ones: events of every kind, declarations, claims, sendings.

The walk is that of tests/bridge/test_corrupt_routes.py. Between its steps members of honest chains say things that nobody
in his right mind would say: of parts that are elsewhere, of serials and intervals that never came, of boxes that are none,
twice under one seed, and that any of it was wrong, also of events that never were recorded.

What is asserted: (1) whatever is said is recorded or refused; anything else that is raised, which would halt a chain, fails
the run. (2) After each storm what the walk asserts after each step: of RESIN, which no storm makes or uses up, there is as
much as there was, and no part and no serial is in two places. (3) In the end every holder can open every container of his.

More seeds: CHIPTRACE_STORM_RUNS=200, beginning at CHIPTRACE_STORM_FROM.
"""

import os
from collections import Counter

import pytest

from ledger import codec
from ledger.identifiers import canonical, interval_text
from ledger.intervals import is_interval
from proto.chiptrace.v1.bridge_pb2 import SendPart
from proto.chiptrace.v1.ledger_pb2 import Attest, Operation, Reason
from tests.bridge.corrupt_journey import COUNT, RESIN, UNITS, WAFER
from tests.bridge.test_corrupt_routes import LISTED, ROOTED, Routes
from tests.bridge.test_serials import captured
from tests.bridge.two_chains import HOUR_MS
from tests.ledger.rules_world import (
    add,
    destroying,
    holding,
    making,
    quantity,
    receiving,
    seen,
    shipping,
    unpacking,
)
from tests.ledger.test_corrections import wrong

RUNS = int(os.environ.get("CHIPTRACE_STORM_RUNS", "8"))
FIRST = int(os.environ.get("CHIPTRACE_STORM_FROM", "0"))
STEPS = 150
SAID = 8  # in one storm
STORMY = 0.35  # of all steps
GLUE = canonical("urn:epc:class:lgtin:4012345.012345.GLUE").text  # may be made and used up
LOTS = (LISTED, ROOTED, WAFER)
KINDS = ("Aggregation", "Association")


class Storm(Routes):
    """The walk of corrupt routes, with storms between its steps."""

    def __init__(self, seed):
        super().__init__(seed)
        assert self.record("a", "ada", add([], [quantity(GLUE, 1_000)])).ok
        self.recorded.clear()
        self.outcomes = Counter()

    # ---- what is named

    def name_one(self, name):
        """A part, a serial or an interval: one that is known there, or any."""
        held = list(self.parts(name).values())
        way = self.random.random()
        if way < 0.3 and held:
            return self.some_of(self.random.choice(held))
        if way < 0.5:
            return self.random.choice(self.names)
        lot = self.random.choice(LOTS)
        if way < 0.65:
            return self.random.choice(self.serials[lot])
        start = self.random.randrange(COUNT)
        end = self.random.choice([start + 1, COUNT, self.random.randrange(start, COUNT) + 1, 10**9])
        return interval_text(self.random.choice([lot, WAFER, RESIN]), start, end)

    def name_some(self, name, counts, amounts=(RESIN, GLUE)):
        """Parts and serials; and intervals and amounts, as an event lists them."""
        named = [self.name_one(name) for _ in range(self.random.choice(counts))]
        parts = [one for one in named if "interval" not in one]
        listed = [{"epcClass": one} for one in named if "interval" in one]
        if self.random.random() < 0.3:
            lot, unit = self.random.choice([*amounts, WAFER]), self.random.choice(UNITS)
            listed.append(quantity(lot, self.random.choice([None, 1, 3, 1_000]), unit))
        return parts, listed

    def box(self, name):
        """Something that is known there, for the most part; an interval now and then, which is no box."""
        held = [record.id for record in self.parts(name).values() if not is_interval(record)]
        return self.name_one(name) if self.random.random() < 0.1 else self.random.choice(held or self.names)

    # ---- what is said

    def observe(self, name):
        return seen(*self.name_some(name, (1, 1, 2)))

    def hand_over(self, name):
        to = self.random.choice(self.honest[name])
        parts, listed = self.name_some(name, (1, 1, 2))
        return shipping(parts, to, listed, owner=self.random.choice(["", to]))

    def take(self, name):
        return receiving(*self.name_some(name, (1, 1, 2)))

    def hold(self, name):
        action = self.random.choice(["ADD", "ADD", "OBSERVE", "DELETE"])
        inside = self.name_some(name, (1, 1, 2, 3))
        return holding(action, self.box(name), *inside, kind=self.random.choice(KINDS))

    def empty(self, name):
        return unpacking(self.box(name), kind=self.random.choice(KINDS))

    def destroy(self, name):
        return destroying(*self.name_some(name, (1, 1, 2), amounts=(GLUE,)))

    def begin(self, name):
        return add(*self.name_some(name, (1, 1, 2), amounts=(GLUE,)))

    def make(self, name):
        inputs, used = self.name_some(name, (1, 1, 2), amounts=(GLUE,))
        outputs, made = self.name_some(name, (0, 1, 2), amounts=(GLUE,))
        return making(inputs, outputs, used, made, run=self.random.choice(["", "urn:run:1", "urn:run:2"]))

    def event(self, name, _member):
        """One of any kind, with its proofs for the most part; or that one was wrong."""
        kinds = (
            self.observe,
            self.observe,
            self.hand_over,
            self.take,
            self.hold,
            self.hold,
            self.empty,
            self.destroy,
            self.begin,
            self.make,
        )
        said = self.random.choice(kinds)(name)
        self.world._serials += 1
        operation = captured(self.world, said, self.world._serials if self.random.random() < 0.8 else 5)
        lists = ("epcList", "childEPCs", "inputEPCList", "outputEPCList")
        for part in sorted({one for key in lists for one in said.get(key, [])}):
            shown = self.place(part)
            if shown is not None and self.random.random() < 0.9:
                operation.capture.memberships.append(shown)
        if self.random.random() < 0.5:
            return wrong(operation, f"2023-11-14T22:13:{self.random.randrange(60):02}Z")
        return operation

    def deny(self, name, member):
        """Of something that was said there lately, for the most part by the same member, that it was wrong."""
        of_all = self.random.random() < 0.3
        said = [
            operation for one, who, operation in self.recorded if one == name and (of_all or who == member)
        ][-6:]
        if not said:
            return self.event(name, member)
        return wrong(self.random.choice(said), f"2023-11-14T22:13:{self.random.randrange(60):02}Z")

    def claim(self, name, _member):
        kind, number = self.random.choice(["recall", "certificate"]), self.random.randrange(10**6)
        return Operation(attest=Attest(id=f"urn:claim:{number}", subject=self.name_one(name), kind=kind))

    def send_off(self, name, _member):
        client = f"{self.random.choice([*self.honest])}-1"
        until = self.world.clock.now_ms + HOUR_MS
        message = SendPart(client=client, part=self.name_one(name), receiver="ada", timeout_ms=until)
        return Operation(send_part=codec.encode(message))

    def storm(self):
        name = self.chain()
        for _ in range(SAID):
            member = self.random.choice(self.honest[name])
            say = self.random.choice([self.event] * 10 + [self.deny] * 4 + [self.claim, self.send_off])
            operation = say(name, member)
            result = self.world[name].operate(member, operation)
            self.outcomes[result.ok, Reason.Name(result.reason)] += 1
            if say == self.event and (result.ok or self.random.random() < 0.3):
                self.recorded.append((name, member, operation))  # now and then also what was refused
        self.check()

    def step(self):
        super().step()
        if self.random.random() < STORMY:
            self.storm()


@pytest.mark.parametrize("seed", range(FIRST, FIRST + RUNS))
def test_whatever_members_say_is_recorded_or_refused(seed):
    walk = Storm(seed)
    for _ in range(STEPS):
        walk.step()
    walk.open_all()


def test_the_storms_go_everywhere():
    """They say little if all of it is refused for one reason."""
    outcomes = Counter()
    for seed in range(3):
        walk = Storm(seed)
        for _ in range(STEPS):
            walk.step()
        outcomes += walk.outcomes
    recorded = sum(count for (ok, _), count in outcomes.items() if ok)
    assert 10 * recorded > sum(outcomes.values())
    refused = {reason for ok, reason in outcomes if not ok}
    assert refused >= {
        "ALREADY_COMMISSIONED",
        "CORRECTION_NOT_APPLICABLE",
        "INTERVAL_SPLIT",
        "NOT_IN_CUSTODY",
        "NOT_INSIDE",
        "NOT_LIVE",
        "NOT_OFFERED_TO_YOU",
        "SERIALS_INVALID",
        "UNKNOWN_LOT",
        "UNKNOWN_PART",
    }
