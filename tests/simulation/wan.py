"""A wide-area consortium in simulated time: four validators, one of which is dead, far apart, on lossy links.

The settings are those that a node has by default (node/config.py). Clients come when they come, whether or not the
chain keeps up (an open loop), each to one validator; the time counted is from there until that validator has the
transaction in a decided block on disk. Consensus messages that a link loses are lost for good. Transactions, which
nodes pass on once, travel like the rest, but what a link loses comes after a retransmission, as by TCP.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from consensus.effects import EngineSettings
from node.config import ConsensusConfig
from tests.simulation.actors.silent import Silent
from tests.simulation.application import transaction
from tests.simulation.keys import SimulatedKeys
from tests.simulation.network import Conditions, Network
from tests.simulation.oracle import Oracle
from tests.simulation.replica import Pace, Replica, Setting
from tests.simulation.world import World

ONE_WAY_MS = 50
LOSS = 0.05
RETRANSMITTED_AFTER_MS = 250  # TCP: no sooner than 200 ms, and a round trip
SUBMITTED_EVERY_MS = 300  # on average
HEARTBEAT_MS = 10_000
P99_MS_MAX = 1_000
SIZE = 4
SILENT = 3


@dataclass(frozen=True)
class Figures:
    """What came of some runs; times in simulated milliseconds from submission to final and durable. The first seconds,
    in which the dead one is not yet known to be dead and each of its views times out, are counted like the rest."""

    heights: int
    transactions: int
    p50_ms: int
    p99_ms: int
    max_ms: int
    over_p99_max: int  # transactions that took as long as no more than one in a hundred may
    views_max: int
    simulated_s: int


def settings() -> EngineSettings:
    """Those of a node that is not told otherwise."""
    return EngineSettings(**asdict(ConsensusConfig()))


class WideArea:
    """The consortium, its clients and what they waited."""

    def __init__(self, seed: int, heights: int, *, loss: float = LOSS, log: bool = False) -> None:
        self.world = World(seed)
        self.world.log = [] if log else None
        self.heights, self.loss = heights, loss
        keys = SimulatedKeys(SIZE)
        conditions = Conditions(delay_min_ms=ONE_WAY_MS, delay_mean_ms=1, loss=loss)
        network = Network(self.world, SIZE, conditions)
        everyone = tuple(range(SIZE))
        self.oracle = Oracle(keys, everyone, frozenset({SILENT}))
        setting = Setting(
            self.world, network, keys, self.oracle, everyone, settings(), HEARTBEAT_MS, Pace(2, 2, 4)
        )
        self.honest = [Replica(setting, index, 0) for index in everyone if index != SILENT]
        self.silent = Silent(setting, SILENT, 0)
        self.submitted: dict[bytes, tuple[int, Replica]] = {}
        self.waited: list[tuple[int, int]] = []  # (milliseconds, submitted at)

    def go(self) -> None:
        for node in [*self.honest, self.silent]:
            self.world.schedule(0, node.start)
        self.world.schedule(500, self.submit)
        while len(self.waited) < len(self.submitted) or self.oracle.truth.height < self.heights:
            self.world.run(self.world.now_ms + 10, lambda: False, 10**9)
            self.collect()

    def submit(self) -> None:
        """One transaction to one validator, which passes it on once."""
        if self.oracle.truth.height >= self.heights:
            return
        draw = self.world.random
        data, at = transaction(len(self.submitted) + 1), draw.choice(self.honest)
        self.submitted[data] = (self.world.now_ms, at)
        at.offer(data)
        for other in self.honest:
            if other is not at:
                late = ONE_WAY_MS
                while self.world.chance(self.loss):
                    late += RETRANSMITTED_AFTER_MS
                self.world.schedule(late, lambda other=other: other.offer(data))
        self.world.schedule(int(draw.expovariate(1 / SUBMITTED_EVERY_MS)), self.submit)

    def collect(self) -> None:
        """Who has got an answer by now; looked at every 10 ms, which the figure includes."""
        for data, (since, at) in self.submitted.items():
            if since >= 0 and data in at.application.included:
                self.waited.append((self.world.now_ms - since, since))
                self.submitted[data] = (-1, at)


def measure(seeds: Iterable[int], heights: int, *, loss: float = LOSS) -> Figures:
    """So many heights for each seed, all of their transactions together."""
    runs = [WideArea(seed, heights, loss=loss) for seed in seeds]
    for run in runs:
        run.go()
    waited = sorted(ms for run in runs for ms, _ in run.waited)
    return Figures(
        heights=sum(run.oracle.truth.height for run in runs),
        transactions=len(waited),
        p50_ms=waited[len(waited) * 50 // 100],
        p99_ms=waited[len(waited) * 99 // 100],
        max_ms=waited[-1],
        over_p99_max=sum(ms >= P99_MS_MAX for ms in waited),
        views_max=max(max(run.oracle.view_of.values()) for run in runs),
        simulated_s=sum(run.world.now_ms for run in runs) // 1_000,
    )
