"""Twins campaigns (arXiv 2004.10617): validators whose key runs twice, on two sides of a division that changes from
view to view, after which all hear each other and must go on deciding.

A case says who is twinned, and for each of the first views on which side each other validator is: with the first copies
(1), with the second ones (2), or with both (3), as Commonware's overlapping masks do. Either the sides cut everyone
from everyone, or the twins alone. Who leads which view follows from whom the twins replace. The two sides may be
swapped as a whole, so of two mirrored cases one is played. For four validators all cases can be listed; for seven and
ten they are drawn.
"""

from __future__ import annotations

import functools
import itertools
import random
import traceback
from collections.abc import Iterator
from dataclasses import dataclass

from consensus.effects import EngineSettings
from proto.chiptrace.v1.consensus_pb2 import PeerMessage
from tests.simulation.actors.corrupted import Corrupted
from tests.simulation.keys import SimulatedKeys
from tests.simulation.network import Conditions, Network
from tests.simulation.oracle import Oracle, Violation
from tests.simulation.replica import Pace, Replica, Setting
from tests.simulation.world import World

VIEWS = 3  # divided, of each of the first heights
HEIGHTS = 2
DECIDED_AFTERWARDS = 3
DIVIDED_MS = 1_500  # at the longest; by then the views above have timed out
TIME_MS_MAX = 20_000
EVENTS_MAX = 200_000
DELAYS_MS = (1, 10, 40)  # against views of 100 ms

Sides = tuple[tuple[int, ...], ...]  # by view, for each validator that is no twin


@dataclass(frozen=True)
class Case:
    """One campaign."""

    size: int
    twinned: tuple[int, ...]
    cut: bool  # the sides divide everyone; else only the twins
    sides: Sides


def mirrored(sides: Sides) -> Sides:
    return tuple(tuple((0, 2, 1, 3)[side] for side in view) for view in sides)


def canonical(sides: Sides) -> bool:
    return sides <= mirrored(sides)


def cases_of_four(choices: tuple[int, ...] = (1, 2)) -> Iterator[Case]:
    """Every case of four validators, one twinned, up to symmetry; (1, 2, 3) also those whose sides overlap."""
    views = list(itertools.product(choices, repeat=3))
    for twin in range(4):
        for cut in (True, False):
            for sides in itertools.product(views, repeat=VIEWS):
                if canonical(sides):
                    yield Case(4, (twin,), cut, sides)


def drawn(size: int, twins: int, draw: random.Random) -> Case:
    """A case of this many validators and twins."""
    sides = tuple(tuple(draw.choice((1, 2, 1, 2, 3)) for _ in range(size - twins)) for _ in range(VIEWS))
    twinned = tuple(sorted(draw.sample(range(size), twins)))
    return Case(size, twinned, draw.random() < 0.5, min(sides, mirrored(sides)))


@functools.cache
def listed() -> tuple[Case, ...]:
    """All of four without overlap, in an order that has no system."""
    cases = list(cases_of_four())
    random.Random(0).shuffle(cases)
    return tuple(cases)


def case_of(number: int) -> Case:
    """The case of this number: of ten, seven are of four validators, two of seven and one of ten. Those of
    four are the listed ones as far as they go, each once; then overlapping ones are drawn."""
    turn, place = divmod(number, 10)
    size = (4, 4, 4, 4, 4, 4, 4, 7, 7, 10)[place]
    if size == 4 and 7 * turn + place < len(listed()):
        return listed()[7 * turn + place]
    return drawn(size, (size - 1) // 3, random.Random(f"{number}"))


class TwinNetwork(Network):
    """Knows the copies apart: the second copy of a validator has an address of its own."""

    def __init__(self, world: World, case: Case, conditions: Conditions) -> None:
        super().__init__(world, case.size, conditions)
        self.case = case
        self.nodes: dict[int, Replica] = {}  # by address
        self.second = {twin: case.size + place for place, twin in enumerate(case.twinned)}
        self.honest = [index for index in range(case.size) if index not in case.twinned]

    def side(self, address: int, view: int) -> int:
        if address in self.second:
            return 1
        if address >= self.size:
            return 2
        return self.case.sides[view - 1][self.honest.index(address)]

    def linked(self, sender: int, receiver: int, data: bytes) -> bool:
        """Whether they hear each other in the view of which the message speaks, or else in the sender's."""
        if self.world.now_ms >= DIVIDED_MS:
            return True
        message = PeerMessage.FromString(data)
        kind = message.WhichOneof("kind")
        if kind in {"vote", "proposal", "certificate"}:
            said = getattr(message, kind)
            height, view = said.height, said.view
        else:
            engine = self.nodes[sender].engine
            height, view = (engine.height, engine.view) if engine is not None else (1, 1)
        if height > HEIGHTS or not 0 < view <= VIEWS:
            return True
        both_honest = sender in self.honest and receiver in self.honest
        if both_honest and not self.case.cut:
            return True
        return bool(self.side(sender, view) & self.side(receiver, view))

    def send(self, sender: int, receiver: int, data: bytes) -> None:
        if self.nodes[sender].key == self.nodes[receiver].key:
            return
        addresses = (receiver, self.second[receiver]) if receiver in self.second else (receiver,)
        for address in addresses:
            if self.linked(sender, address, data):
                super().send(sender, address, data)


class Campaign:
    """One case from its start to its last height."""

    def __init__(self, case: Case, seed: int = 0, *, strict: bool = True, log: bool = False) -> None:
        self.case = case
        self.world = World(seed)
        self.world.log = [] if log else None
        keys = SimulatedKeys(case.size)
        delay = self.world.random.choice(DELAYS_MS)
        network = TwinNetwork(self.world, case, Conditions(delay_min_ms=delay, delay_mean_ms=1 + delay // 4))
        everyone = tuple(range(case.size))
        self.oracle = Oracle(keys, everyone, frozenset(case.twinned))
        self.oracle.strict = strict
        settings = EngineSettings(
            base_timeout_ms=100, grace_ms=20, resend_ms=50, leader_dead_ms=600, block_request_ms=50
        )
        setting = Setting(self.world, network, keys, self.oracle, everyone, settings, 200, Pace())
        self.honest = [Replica(setting, index, 0) for index in everyone if index not in case.twinned]
        copies = []
        for twin in case.twinned:
            copies.append(Corrupted(setting, twin))
            second = Corrupted(setting, network.second[twin])
            # Another address, the same key; whoever sends to the key reaches both.
            del setting.home[second.index]
            second.key = setting.key_at[second.index] = twin
            copies.append(second)
        self.nodes = [*self.honest, *copies]
        network.nodes = {node.index: node for node in self.nodes}

    def go(self) -> str:
        """Empty, or what was violated."""
        try:
            for node in self.nodes:
                self.world.schedule(self.world.random.randint(0, 5), node.start)
            goal = HEIGHTS + DECIDED_AFTERWARDS
            done = self.world.run(
                TIME_MS_MAX, lambda: all(each.height >= goal for each in self.honest), EVENTS_MAX
            )
            if not done:
                heights = [each.height for each in self.honest]
                raise Violation(f"stuck after {self.world.now_ms} ms at {heights}")
        except Violation as seen:
            return str(seen)
        except Exception:  # whatever an honest replica raises is a violation
            return "honest replica raised:\n" + traceback.format_exc(limit=-4)
        return ""
