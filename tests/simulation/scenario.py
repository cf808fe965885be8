"""What happens in a run, drawn from its seed: who takes part, who lies, what breaks, and how fast all is."""

from __future__ import annotations

import random
from dataclasses import dataclass

from consensus.effects import EngineSettings
from tests.simulation.actors.corrupted import Corrupted
from tests.simulation.actors.equivocator import Equivocator
from tests.simulation.actors.meddlers import Braggart, Flooder, Forger, Garbler, Swapper, Withholder
from tests.simulation.actors.mixer import Mixer
from tests.simulation.actors.silent import Silent
from tests.simulation.actors.supporter import Supporter
from tests.simulation.actors.twins import Twins
from tests.simulation.actors.voters import Conflicter, Impersonator, Nuller, Outdated
from tests.simulation.network import CALM, Conditions
from tests.simulation.replica import Pace

ACTORS: dict[str, type[Corrupted | Twins]] = {
    "silent": Silent,
    "equivocator": Equivocator,
    "nuller": Nuller,
    "conflicter": Conflicter,
    "outdated": Outdated,
    "impersonator": Impersonator,
    "supporter": Supporter,
    "withholder": Withholder,
    "garbler": Garbler,
    "forger": Forger,
    "swapper": Swapper,
    "mixer": Mixer,
    "flooder": Flooder,
    "braggart": Braggart,
    "twins": Twins,
}
SIZES = (1, 2, 3, *[4] * 16, 5, 5, 6, 7, 7, 7, 10)


@dataclass(frozen=True)
class Scenario:
    """One run's parameters. Times in milliseconds, counts and probabilities where named so."""

    size: int  # replicas, members of the set or not
    sets: tuple[tuple[int, ...], ...]  # the genesis set, then those that replace it in turn
    dishonest: tuple[tuple[int, str], ...]  # who, and what it does
    silent_afterwards: bool  # the dishonest stop when the faults do; else they go on for ever
    broken: tuple[int, ...]  # honest, but crashed for ever once the faults stop
    conditions: Conditions
    afterwards: Conditions  # of the links, once the faults stop
    announced: bool  # nodes are told when a connection stands again
    partitions: str  # none, isolate, halves, random, wandering
    one_way: bool
    partition_every_ms: int
    clogs: int
    crashes: int
    crash_all: bool
    pauses: int
    clocks_jump: bool  # clocks differ anew at each start, and step forward now and then
    stores_set_back: bool  # at a start the newest blocks are gone, the journal is not
    build_fails: float
    downtime_ms: int
    skews: tuple[int, ...]
    pace: Pace
    work: str  # busy, bursts, idle
    heartbeat_ms: int
    faults_ms: int
    heights_max: int  # the faults stop early at this height
    settings: EngineSettings


def f_of(members: int) -> int:
    return (members - 1) // 3


def draw(choose: random.Random) -> Scenario:
    """The scenario of this seed."""
    members = choose.choice(SIZES)
    extra = choose.choice((0, 0, 0, 1, 2)) if 4 <= members <= 6 else 0
    size = members + extra
    sets = [tuple(range(members))]
    if extra or choose.random() < 0.1:
        for _ in range(choose.randint(1, 3)):
            count = choose.randint(min(4, size), size)
            sets.append(tuple(choose.sample(range(size), count)))
    faulty_max = min(f_of(len(each)) for each in sets)
    faulty = choose.sample(
        range(size), choose.choice((faulty_max, faulty_max, choose.randint(0, faulty_max)))
    )
    liars = faulty[: choose.randint(0, len(faulty))] if choose.random() < 0.3 else faulty
    names = list(ACTORS)
    dishonest = tuple((index, choose.choice(names)) for index in sorted(liars))
    broken = tuple(index for index in faulty if index not in liars)
    return Scenario(
        size=size,
        sets=tuple(sets),
        dishonest=dishonest,
        silent_afterwards=choose.random() < 0.4,
        broken=broken,
        conditions=Conditions(
            delay_min_ms=choose.choice((0, 1, 5, 20)),
            delay_mean_ms=choose.choice((1, 5, 20, 60)),
            loss=choose.choice((0.0, 0.0, 0.02, 0.1, 0.3, 0.5)),
            duplicate=choose.choice((0.0, 0.0, 0.1, 0.3)),
            corrupt=choose.choice((0.0, 0.0, 0.0, 0.02)),
            in_order=choose.random() < 0.2,
        ),
        afterwards=choose.choice((CALM, CALM, CALM, Conditions(delay_min_ms=40, delay_mean_ms=10))),
        announced=choose.random() < 0.5,
        partitions=choose.choice(("none", "none", "isolate", "halves", "random", "wandering")),
        one_way=choose.random() < 0.3,
        partition_every_ms=choose.choice((100, 300, 1_000)),
        clogs=choose.choice((0, 0, 3, 10)),
        crashes=choose.choice((0, 1, 3, 6, 12)),
        crash_all=choose.random() < 0.15,
        pauses=choose.choice((0, 0, 2, 5)),
        clocks_jump=choose.random() < 0.2,
        stores_set_back=choose.random() < 0.15,
        build_fails=choose.choice((0.0, 0.0, 0.0, 0.3)),
        downtime_ms=choose.choice((10, 100, 500, 2_000)),
        skews=tuple(choose.choice((0, 0, choose.randint(-2_000, 2_000))) for _ in range(size)),
        pace=Pace(*(choose.choice((0, 2, 20, 150)) for _ in range(3))),
        work=choose.choice(("busy", "bursts", "bursts", "idle")),
        heartbeat_ms=choose.choice((200, 500, 1_000)),
        faults_ms=choose.choice((500, 1_500, 3_000)),
        heights_max=choose.choice((2, 3, 4, 5, 6, 6, 12)),
        settings=EngineSettings(
            base_timeout_ms=100,
            timeout_factor_max=8,
            grace_ms=choose.choice((0, 20, 40)),
            resend_ms=choose.choice((100, 200)),
            resend_bytes_max=choose.choice((1_000, 4_000, 262_144)),
            leader_dead_ms=choose.choice((200, 600, 3_000)),
            block_request_ms=choose.choice((30, 80)),
            views_ahead_max=choose.choice((2, 16)),
            heights_per_request_max=choose.choice((1, 2, 64)),
        ),
    )
