"""Twins: two honest engines with one key, each in a world of its own. Most of what a dishonest validator can
do comes of that alone (arXiv 2004.10617)."""

from __future__ import annotations

from tests.simulation.actors.corrupted import Corrupted
from tests.simulation.replica import Setting


class Twin(Corrupted):
    """One of the two: it hears and is heard by some, and by others later."""

    hears: frozenset[int] = frozenset()

    def receive(self, sender: int, data: bytes) -> None:
        if sender in self.hears:
            super().receive(sender, data)

    def others(self) -> list[int]:
        return sorted(self.hears)

    def emit(self, effect) -> None:
        targets = self.others() if effect.to is None else [self.keys.index[effect.to]]
        self.tell([each for each in targets if each in self.hears], effect.message)


class Twins:
    """The pair; who hears whom is drawn anew every so often. The halves may overlap."""

    def __init__(self, setting: Setting, index: int, skew_ms: int = 0) -> None:
        self.world, self.index = setting.world, index
        self.pair = [Twin(setting, index, skew_ms), Twin(setting, index, skew_ms)]
        self.down = False

    def start(self) -> None:
        self.divide()
        for twin in self.pair:
            twin.start()

    def crash(self) -> None:
        self.down = True
        for twin in self.pair:
            twin.crash()

    def divide(self) -> None:
        if self.down:
            return
        others = [index for index in range(self.pair[0].network.size) if index != self.index]
        first = [index for index in others if self.world.chance(0.5)]
        second = [index for index in others if index not in first or self.world.chance(0.2)]
        self.pair[0].hears, self.pair[1].hears = frozenset(first), frozenset(second)
        self.world.schedule(self.world.random.randint(300, 1_500), self.divide)
