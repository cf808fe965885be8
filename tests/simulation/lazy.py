"""Validators that slow a chain, or drive it on, by nothing that convicts them: one that votes and never proposes, and one
that has empty blocks made. How many heights the others decide beside them, and in how many views.

Settings and links as a node's are: views of a second, links of a few or of fifty milliseconds, with and without loss.
Work comes all the time, or never.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from consensus import effects
from consensus.effects import EngineSettings
from node.config import ConsensusConfig
from tests.simulation.actors.corrupted import Corrupted
from tests.simulation.application import Stored, transaction
from tests.simulation.keys import SimulatedKeys
from tests.simulation.network import Conditions, Network
from tests.simulation.oracle import NULLIFY, Oracle
from tests.simulation.replica import Pace, Replica, Setting
from tests.simulation.world import World

NEAR = Conditions(delay_min_ms=1, delay_mean_ms=2)
FAR = Conditions(delay_min_ms=50, delay_mean_ms=5)
FAR_AND_LOSSY = Conditions(delay_min_ms=50, delay_mean_ms=5, loss=0.05)
LOSSY = Conditions(delay_min_ms=1, delay_mean_ms=2, loss=0.3)
SLOW = Conditions(delay_min_ms=200, delay_mean_ms=60, loss=0.02)  # three hops take most of a view
WORK_EVERY_MS = 100


class Lazy(Corrupted):
    """Votes for everything that others propose, and for nothing of its own."""

    def build(self, asked: effects.BuildBlock) -> None:
        self.step(effects.BlockBuilt(asked.height, asked.view, None, wanted=False))

    def emit(self, effect: effects.Send) -> None:
        if not effect.message.HasField("proposal"):
            super().emit(effect)


class Prompter(Corrupted):
    """Follows the rules, and votes for a view that never comes at each height as it opens: a word that is lawful, and
    says that somebody is waiting for a block."""

    def executed(self, stored: Stored) -> None:
        super().executed(stored)
        self.cast(self.others(), NULLIFY, stored.height + 1, 9)


@dataclass(frozen=True)
class Figures:
    """What came of one run, over all heights decided in it."""

    heights: int
    views: int  # in which they were decided, together
    minutes: float

    @property
    def heights_per_minute(self) -> float:
        return self.heights / self.minutes

    @property
    def views_per_height(self) -> float:
        return self.views / self.heights


class Consortium:
    """Validators of one chain, some of which are lazy or what they are told to be, and work for them."""

    def __init__(
        self,
        seed: int,
        size: int,
        lazy: tuple[int, ...],
        conditions: Conditions,
        *,
        way: type[Corrupted] = Lazy,
        busy: bool = True,
    ) -> None:
        self.world = World(seed)
        everyone = tuple(range(size))
        keys = SimulatedKeys(size)
        self.network = Network(self.world, size, conditions)
        self.oracle = Oracle(keys, everyone, frozenset(lazy))
        settings = EngineSettings(**asdict(ConsensusConfig()))
        setting = Setting(
            self.world, self.network, keys, self.oracle, everyone, settings, 10_000, Pace(2, 2, 4)
        )
        self.nodes = [(way if index in lazy else Replica)(setting, index, 0) for index in everyone]
        self.given, self.busy = 0, busy

    def work(self) -> None:
        self.given += 1
        data = transaction(self.given)
        for node in self.nodes:
            self.world.schedule(self.world.random.randint(0, 60), lambda node=node: node.offer(data))
        self.world.schedule(WORK_EVERY_MS, self.work)

    def go(self, seconds: int) -> Figures:
        """So many seconds, from the first on, in which nobody knows anything of anybody yet."""
        for node in self.nodes:
            self.world.schedule(0, node.start)
        if self.busy:
            self.world.schedule(1, self.work)
        self.world.run(seconds * 1_000, lambda: False, 10**9)
        views = self.oracle.view_of
        return Figures(len(views), sum(views.values()), seconds / 60)


def measure(
    size: int, lazy: tuple[int, ...], conditions: Conditions, *, seeds: range = range(3), seconds: int = 60
) -> Figures:
    """The same with each seed, all together."""
    runs = [Consortium(seed, size, lazy, conditions).go(seconds) for seed in seeds]
    return Figures(
        sum(run.heights for run in runs), sum(run.views for run in runs), sum(run.minutes for run in runs)
    )
