"""A client that keeps its transactions: it gives the same bytes again, to one node after the other, until it is told
that they are final and on disk there. What it was told, the oracle remembers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.simulation.oracle import Oracle
from tests.simulation.replica import Replica
from tests.simulation.world import World

PATIENCE_MS = (200, 600, 1_500)


class Client:
    """Several transactions at a time; each is insisted on by itself."""

    def __init__(
        self, world: World, oracle: Oracle, nodes: Sequence[Replica], lasting: Callable[[], Sequence[Replica]]
    ) -> None:
        self.world, self.oracle = world, oracle
        self.nodes, self.lasting = nodes, lasting
        self.open: set[bytes] = set()

    @property
    def content(self) -> bool:
        """Whether everything given was acknowledged."""
        return not self.open

    def give(self, data: bytes) -> None:
        """This one is to be final some day."""
        self.open.add(data)
        self._insist(data)

    def _insist(self, data: bytes) -> None:
        if data not in self.open:
            return
        # In half of the cases one of those that will be there in the end, so that it ends.
        chosen = self.world.random.choice(list(self.lasting() if self.world.chance(0.5) else self.nodes))
        if chosen.engine is not None:
            chosen.submit(data, lambda who, height: self._told(who, data, height))
        self.world.schedule(self.world.random.choice(PATIENCE_MS), lambda: self._insist(data))

    def _told(self, who: int, data: bytes, height: int) -> None:
        self.oracle.acknowledge(who, data, height)
        self.open.discard(data)
