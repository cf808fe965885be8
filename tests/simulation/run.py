"""One run from its seed: faults for a while, then healing, after which everyone honest must go on deciding."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tests.simulation.application import TRANSACTIONS_PER_BLOCK, rotation, transaction
from tests.simulation.client import Client
from tests.simulation.keys import RealKeys, SimulatedKeys
from tests.simulation.network import CALM, Network
from tests.simulation.oracle import Oracle, Violation
from tests.simulation.replica import Pace, Replica, Setting
from tests.simulation.scenario import ACTORS, Scenario, draw, f_of
from tests.simulation.world import World

HEIGHTS_AFTER = 3
HEALING_MS_MAX = 30_000
BACKLOG_HEIGHT_MS = 1_500  # and so long for each height that what waits already will fill
# Views that a height may take once the faults have stopped, beyond those already left, and for each validator that may
# be dishonest. Among the first 1,000 seeds none took more than 7.
HEALING_VIEWS_MAX = 12
HEALING_VIEWS_PER_LIAR = 2
EVENTS_MAX = 250_000  # for ten replicas; more of them say more, by the square

Bend = Callable[[Scenario], Scenario]


@dataclass(frozen=True)
class Report:
    """What came of one seed. `violation` is empty when all held."""

    seed: int
    violation: str
    trace: str
    height: int
    views_max: int
    healing_ms: int
    healing_views: int  # the most that a height took from there on, beyond those already left
    events: int
    crashes: int
    torn: int  # ends of signing records that were cut off
    acknowledged: int  # transactions that a client was told to be final
    accused: int


class Run:
    """The replicas of one seed and what befalls them."""

    def __init__(
        self, seed: int, *, real_keys: bool = False, bend: Bend | None = None, log: bool = False
    ) -> None:
        self.seed = seed
        self.world = World(seed)
        self.world.log = [] if log else None
        scenario = draw(self.world.random)
        self.scenario = scenario = bend(scenario) if bend else scenario
        # A second key for each, for those that lose the first.
        keys = (RealKeys if real_keys else SimulatedKeys)(2 * scenario.size)
        self.network = Network(self.world, scenario.size, scenario.conditions)
        liars = dict(scenario.dishonest)
        self.oracle = Oracle(keys, scenario.sets[0], frozenset(liars))
        setting = Setting(
            self.world,
            self.network,
            keys,
            self.oracle,
            scenario.sets[0],
            scenario.settings,
            scenario.heartbeat_ms,
            scenario.pace,
            scenario.build_fails,
            scenario.rotates,
        )
        self.honest: dict[int, Replica] = {}
        self.actors = []
        for index in range(scenario.size):
            if index in liars:
                self.actors.append(ACTORS[liars[index]](setting, index, scenario.skews[index]))
            else:
                self.honest[index] = Replica(setting, index, scenario.skews[index])
        self.client = Client(self.world, self.oracle, list(self.honest.values()), self.lasting)
        self.events_max = EVENTS_MAX * max(100, scenario.size**2) // 100
        self.faults = True
        self.gone: set[int] = set()  # who has lost a disk or a record
        self.numbers = 0
        self.healing_ms = 0
        self.healing_views = 0

    # ---- phases -----------------------------------------------------------------------------------

    def go(self) -> Report:
        violation = ""
        try:
            self.suffer()
            self.recover()
        except Violation as seen:
            violation = str(seen)
        except Exception:  # whatever an honest replica raises is a violation
            violation = "honest replica raised:\n" + traceback.format_exc(limit=-4)
        return Report(
            self.seed,
            violation,
            self.world.trace_hash(),
            self.oracle.truth.height,
            max(self.oracle.view_of.values(), default=0),
            self.healing_ms,
            self.healing_views,
            self.world.events,
            sum(replica.crashes for replica in self.honest.values()),
            sum(replica.disk.torn for replica in self.honest.values()),
            len(self.oracle.acknowledged),
            len(self.oracle.accused),
        )

    def suffer(self) -> None:
        """The faults of the scenario, until its time or its heights are used up."""
        world, scenario = self.world, self.scenario
        for node in [*self.honest.values(), *self.actors]:
            world.schedule(world.random.randint(0, 50), node.start)
        for index, members in enumerate(scenario.sets[1:]):
            at = world.random.randint(100, scenario.faults_ms)
            data = transaction(10**6 + index, members)
            world.schedule(at, lambda data=data: self.give(data))
        if scenario.work != "idle":
            self.work()
        if scenario.partitions != "none":
            self.part()
        for _ in range(scenario.clogs):
            world.schedule(world.random.randint(0, scenario.faults_ms), self.clog)
        for _ in range(scenario.crashes):
            world.schedule(world.random.randint(0, scenario.faults_ms), self.crash_one)
        for _ in range(scenario.pauses):
            world.schedule(world.random.randint(0, scenario.faults_ms), self.pause)
        for _ in range(scenario.clock_jumps):
            world.schedule(world.random.randint(0, scenario.faults_ms), self.jump)
        for index, what in scenario.lost:
            at = world.random.randint(0, scenario.faults_ms)
            world.schedule(at, lambda index=index, what=what: self.lose(self.honest[index], what))
        for number in range(scenario.given):
            at = world.random.randint(0, scenario.faults_ms)
            data = transaction(2 * 10**6 + number)
            world.schedule(at, lambda data=data: self.client.give(data))
        if scenario.crash_all:
            world.schedule(world.random.randint(0, scenario.faults_ms), self.crash_all)
        world.run(scenario.faults_ms, lambda: self.highest() >= scenario.heights_max, self.events_max)

    def recover(self) -> None:
        """Faults stop, the crashed come back but for the broken; the dishonest stop or go on."""
        world, scenario = self.world, self.scenario
        for index, what in scenario.lost:
            self.lose(self.honest[index], what)  # the last moment for it
        self.faults = False
        broken = dict(scenario.broken)
        self.network.heal(scenario.afterwards, broken)
        for actor in self.actors if scenario.silent_afterwards else ():
            actor.crash()
        live = self.lasting()
        for index, replica in self.honest.items():
            if broken.get(index) == "down":
                replica.crash()
            else:
                replica.dying_in = None
                world.schedule(world.random.randint(0, 30), lambda replica=replica: self.start(replica))
        self.announce()
        begun, newest = world.now_ms, self.oracle.truth.height
        left = self.oracle.views_left(newest + 1)
        if scenario.work != "idle":
            world.schedule(world.random.randint(0, 300), self.insist)

        def done() -> bool:
            return (
                all(
                    replica.height >= newest + HEIGHTS_AFTER and replica.engine is not None
                    for replica in live
                )
                and (scenario.work == "idle" or transaction(10**8) in self.oracle.truth.included)
                and self.client.content
                and all(self.rotated(self.honest[index]) for index, _ in scenario.lost)
            )

        waiting = max((len(replica.application.pool) for replica in live), default=0)
        patience = HEALING_MS_MAX + BACKLOG_HEIGHT_MS * (waiting // TRANSACTIONS_PER_BLOCK)
        if not world.run(begun + patience, done, world.events + self.events_max):
            heights = {replica.index: replica.height for replica in live}
            asked = f"{len(self.client.open)} transactions wait" if self.client.open else "none waits"
            raise Violation(
                f"stuck {world.now_ms - begun} ms after healing above {newest}: {heights}, {asked}"
            )
        self.healing_ms = world.now_ms - begun
        for replica in live:
            self.oracle.check_store(replica.index, replica.disk.blocks)
        views = [self.oracle.view_of[newest + more] for more in range(1, HEIGHTS_AFTER + 1)]
        self.healing_views = max(views[0] - left, *views[1:])
        liars_max = max(f_of(len(members)) for members in scenario.sets)
        if self.healing_views > HEALING_VIEWS_MAX + HEALING_VIEWS_PER_LIAR * liars_max:
            raise Violation(
                f"a height took {self.healing_views} views after healing: {views}, {left} were left"
            )

    def lasting(self) -> list[Replica]:
        """The honest that are not broken in the end."""
        broken = dict(self.scenario.broken)
        return [replica for index, replica in self.honest.items() if index not in broken]

    def highest(self) -> int:
        return max(replica.height for replica in self.honest.values())

    # ---- what happens -------------------------------------------------------------------------------

    def give(self, data: bytes) -> None:
        """A transaction reaches every node, sooner or later, in no order."""
        for replica in self.honest.values():
            self.world.schedule(self.world.random.randint(0, 60), lambda replica=replica: replica.offer(data))

    def insist(self) -> None:
        """A client that gives its transaction again until it is in a block."""
        if transaction(10**8) not in self.oracle.truth.included:
            self.give(transaction(10**8))
            self.world.schedule(2_000, self.insist)

    def work(self) -> None:
        if not self.faults:
            return
        busy = self.scenario.work == "busy"
        for _ in range(1 if busy else self.world.random.randint(1, 4)):
            self.numbers += 1
            self.give(transaction(self.numbers))
        self.world.schedule(
            self.world.random.randint(20, 80) if busy else self.world.random.randint(100, 1_500), self.work
        )

    def part(self) -> None:
        if not self.faults:
            return
        choose, everyone = self.world.random, list(range(self.scenario.size))
        choose.shuffle(everyone)
        mode = self.scenario.partitions
        if mode == "wandering":
            mode = choose.choice(("isolate", "halves", "random", "none"))
        if mode == "none":
            self.reunite()
        else:
            cut = {"isolate": 1, "halves": len(everyone) // 2, "random": choose.randint(0, len(everyone))}[
                mode
            ]
            groups = [sorted(everyone[:cut]), sorted(everyone[cut:])]
            self.network.part(groups, one_way=self.scenario.one_way)
        wait = self.scenario.partition_every_ms
        self.world.schedule(choose.randint(wait // 2, 2 * wait), self.part)
        if choose.random() < 0.6:
            self.world.schedule(choose.randint(wait // 4, wait), self.reunite)

    def reunite(self) -> None:
        if self.faults:
            self.network.reunite()
            self.announce()

    def clog(self) -> None:
        if self.faults and self.scenario.size > 1:
            sender, receiver = self.world.random.sample(range(self.scenario.size), 2)
            self.network.clog(sender, receiver, self.world.random.choice((20, 200, 1_000)))

    def crash_one(self) -> None:
        if self.faults:
            self.crash(self.honest[self.world.random.choice(sorted(self.honest))])

    def crash_all(self) -> None:
        if self.faults:
            for replica in self.honest.values():
                self.crash(replica)

    def crash(self, replica: Replica) -> None:
        """At the next few effects, or when none come, soon."""
        choose = self.world.random
        replica.die_within(choose.choice((0, 0, 1, 1, 2, 3, 5)))
        self.world.schedule(80, lambda: self.faults and replica.dying_in is not None and replica.crash())
        back = 90 + choose.randint(0, self.scenario.downtime_ms)
        self.world.schedule(back, lambda: self.start(replica))

    def start(self, replica: Replica) -> None:
        if replica.engine is None:
            # Someone else that lasts has the blocks which are lost here.
            others = [other.height for other in self.lasting() if other is not replica]
            if self.world.chance(self.scenario.stores_set_back) and replica.height <= max(others, default=-1):
                replica.lose_blocks(self.world.random.choice((1, 2, replica.height)))
            replica.start()
            self.announce([replica.index])

    def lose(self, replica: Replica, what: str) -> None:
        """Its disk is gone, or the signing record alone."""
        if replica.index in self.gone:
            return
        self.gone.add(replica.index)
        replica.crash()
        if what == "record for good":
            replica.lose_record()
        else:
            replica.lose_key(self.scenario.size + replica.index, blocks=what == "all")
            self.world.schedule(self.world.random.randint(200, 1_000), lambda: self.rotate_key(replica))
        self.world.schedule(self.world.random.randint(1, 1_000), lambda: self.start(replica))

    def rotate_key(self, replica: Replica) -> None:
        """Once it follows closely, its new key is put in the place of the old one, whenever a set has that."""
        near = replica.height >= self.oracle.truth.height - 2
        if replica.engine is not None and near and not self.rotated(replica):
            self.numbers += 1
            self.give(rotation(3 * 10**6 + self.numbers, replica.index, replica.key))
        self.world.schedule(500, lambda: self.rotate_key(replica))

    def rotated(self, replica: Replica) -> bool:
        """Whether no set asks for the key that it has lost."""
        return replica.key == replica.index or replica.index not in self.oracle.truth.newest_members()

    def jump(self) -> None:
        """A clock is set, forward or back."""
        if self.faults:
            replica = self.honest[self.world.random.choice(sorted(self.honest))]
            replica.skew_ms = self.world.random.randint(-2_000, 2_000)
            self.world.note(replica.index, f"has its clock set to {replica.skew_ms}")

    def announce(self, these: Sequence[int] | None = None) -> None:
        """Connections to these (to all) stand again, and both ends are told."""
        if not self.scenario.announced:
            return
        for index, replica in self.honest.items():
            for other in range(self.scenario.size):
                if these is None or index in these or other in these:
                    replica.connected(other)

    def pause(self) -> None:
        if self.faults:
            replica = self.honest[self.world.random.choice(sorted(self.honest))]
            replica.pause(self.world.random.choice((50, 300, 2_000)))


def simulate(seed: int, *, real_keys: bool = False, bend: Bend | None = None) -> Report:
    """Run one seed to its end."""
    return Run(seed, real_keys=real_keys, bend=bend).go()


def calm(scenario: Scenario) -> Scenario:
    """The same without any fault and with a quick application: what a healthy consortium does."""
    return replace(
        scenario,
        dishonest=(),
        broken=(),
        lost=(),
        conditions=CALM,
        afterwards=CALM,
        partitions="none",
        clogs=0,
        crashes=0,
        crash_all=False,
        pauses=0,
        clock_jumps=0,
        stores_set_back=0.0,
        build_fails=0.0,
        pace=Pace(),
    )
