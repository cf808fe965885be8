"""Silent: says nothing at all, ever."""

from __future__ import annotations

from tests.simulation.actors.corrupted import Corrupted


class Silent(Corrupted):
    def start(self) -> None:
        self.world.note(self.index, "stays silent")
