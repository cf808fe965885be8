"""Whisperer: tells each thing to a few only, and some things late."""

from __future__ import annotations

from consensus import effects
from tests.simulation.actors.corrupted import Corrupted


class Whisperer(Corrupted):
    def emit(self, effect: effects.Send) -> None:
        message, receivers = effect.message, self.some(0.4)
        delay = self.world.random.choice((0, 0, 0, 300, 1_000))
        self.later(delay, lambda: self.tell(receivers, message))
