"""What happens in a run, drawn from its seed: who takes part, who lies, what breaks, and how fast all is."""

from __future__ import annotations

import random
from dataclasses import dataclass

from consensus.effects import EngineSettings
from tests.simulation.actors.backdater import Backdater
from tests.simulation.actors.braggart import Braggart
from tests.simulation.actors.conflicter import Conflicter
from tests.simulation.actors.corrupted import Corrupted
from tests.simulation.actors.equivocator import Equivocator
from tests.simulation.actors.flooder import Flooder
from tests.simulation.actors.forger import Forger
from tests.simulation.actors.garbler import Garbler
from tests.simulation.actors.impersonator import Impersonator
from tests.simulation.actors.invalid_signatures import InvalidSignatures
from tests.simulation.actors.liar_in_sync import LiarInSync
from tests.simulation.actors.mixer import Mixer
from tests.simulation.actors.nuller import Nuller
from tests.simulation.actors.nullify_only import NullifyOnly
from tests.simulation.actors.outdated import Outdated
from tests.simulation.actors.reconfigurer import Reconfigurer
from tests.simulation.actors.silent import Silent
from tests.simulation.actors.skipper import Skipper
from tests.simulation.actors.supporter import Supporter
from tests.simulation.actors.swapper import Swapper
from tests.simulation.actors.twins import Twins
from tests.simulation.actors.whisperer import Whisperer
from tests.simulation.actors.withholder import Withholder
from tests.simulation.network import CALM, Conditions
from tests.simulation.replica import Pace

ACTORS: dict[str, type[Corrupted | Twins]] = {
    "silent": Silent,
    "equivocator": Equivocator,
    "nuller": Nuller,
    "nullify_only": NullifyOnly,
    "conflicter": Conflicter,
    "outdated": Outdated,
    "backdater": Backdater,
    "impersonator": Impersonator,
    "reconfigurer": Reconfigurer,
    "invalid_signatures": InvalidSignatures,
    "skipper": Skipper,
    "supporter": Supporter,
    "withholder": Withholder,
    "whisperer": Whisperer,
    "garbler": Garbler,
    "forger": Forger,
    "swapper": Swapper,
    "mixer": Mixer,
    "flooder": Flooder,
    "braggart": Braggart,
    "liar_in_sync": LiarInSync,
    "twins": Twins,
}
SIZES = (1, 2, 3, *[4] * 24, 5, 5, 6, 7, 7, 8, 9, 10)
LARGE = (13, 16, 22, 31)
BROKEN = ("down", "down", "cut off", "deaf", "mute", "lossy")  # for ever, once the faults stop
LOST = ("all", "all", "record", "record for good")


@dataclass(frozen=True)
class Scenario:
    """One run's parameters. Times in milliseconds, counts and probabilities where named so."""

    size: int  # replicas, members of the set or not
    sets: tuple[tuple[int, ...], ...]  # the genesis set, then those that replace it in turn
    dishonest: tuple[tuple[int, str], ...]  # who, and what it does
    silent_afterwards: bool  # the dishonest stop when the faults do; else they go on for ever
    broken: tuple[tuple[int, str], ...]  # honest, but never well again once the faults stop, and how
    lost: tuple[tuple[int, str], ...]  # honest; loses its disk, or its signing record only, and so its key
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
    clock_jumps: int  # forward and back, while the node runs
    stores_set_back: (
        float  # how often, at a start, the newest blocks or all are gone; the signing record is not
    )
    rotates: float  # how often a record whose heights are all stored begins anew
    given: int  # transactions that a client insists on
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


def draw_sets(choose: random.Random) -> tuple[int, list[tuple[int, ...]]]:
    """How many replicas there are, and which of them are validators, one set after the other."""
    if choose.random() < 0.03:  # four hand over to four others
        return 8, [(0, 1, 2, 3), (4, 5, 6, 7)]
    members = choose.choice(LARGE) if choose.random() < 0.012 else choose.choice(SIZES)
    extra = choose.choice((0, 0, 0, 1, 2)) if 4 <= members <= 6 else 0
    size = members + extra
    sets = [tuple(range(members))]
    if extra or choose.random() < 0.1:
        for _ in range(choose.randint(1, 3)):
            count = choose.randint(min(4, size), size)
            sets.append(tuple(choose.sample(range(size), count)))
    return size, sets


def draw_fates(
    choose: random.Random, size: int, sets: list[tuple[int, ...]]
) -> dict[str, tuple[tuple[int, str], ...]]:
    """Who is dishonest, broken or has lost its key: together never more than a quorum can do without."""
    faulty_max = min(f_of(len(each)) for each in sets)
    count = choose.choice((faulty_max, faulty_max, choose.randint(0, faulty_max)))
    fates: dict[str, list[tuple[int, str]]] = {"dishonest": [], "broken": [], "lost": []}
    all_alike = choose.choice(("dishonest", "dishonest", "dishonest", "lost", ""))
    for index in sorted(choose.sample(range(size), count)):
        fate = all_alike or choose.choice(("dishonest", "broken", "lost"))
        how = {"dishonest": tuple(ACTORS), "broken": BROKEN, "lost": LOST}[fate]
        fates[fate].append((index, choose.choice(how)))
    return {fate: tuple(who) for fate, who in fates.items()}


def draw(choose: random.Random) -> Scenario:
    """The scenario of this seed."""
    size, sets = draw_sets(choose)
    large = size > 10
    return Scenario(
        size=size,
        sets=tuple(sets),
        **draw_fates(choose, size, sets),
        silent_afterwards=choose.random() < 0.4,
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
        clock_jumps=choose.choice((0, 0, 0, 2, 6)),
        stores_set_back=choose.choice((0.0, 0.0, 0.0, 0.0, 0.5, 1.0)),
        rotates=choose.choice((1.0, 0.3, 0.0)),
        given=choose.choice((0, 2, 6)),
        build_fails=choose.choice((0.0, 0.0, 0.0, 0.3)),
        downtime_ms=choose.choice((10, 100, 500, 2_000)),
        skews=tuple(choose.choice((0, 0, choose.randint(-2_000, 2_000))) for _ in range(size)),
        pace=Pace(
            *(choose.choice((0, 2, 20, 150)) for _ in range(3)), persist_ms=choose.choice((0, 0, 2, 20, 60))
        ),
        work=choose.choice(("busy", "bursts", "bursts", "idle")),
        heartbeat_ms=choose.choice((200, 500, 1_000)),
        faults_ms=500 if large else choose.choice((500, 1_500, 3_000)),
        heights_max=2 if large else choose.choice((2, 3, 4, 5, 6, 6, 12)),
        settings=EngineSettings(
            base_timeout_ms=100,
            timeout_factor_max=8,
            grace_ms=choose.choice((0, 20, 40)),
            resend_ms=choose.choice((20, 100, 100, 200, 200, 200)),
            resend_bytes_max=choose.choice((1_000, 4_000, 262_144)),
            leader_dead_ms=choose.choice((200, 600, 3_000)),
            block_request_ms=choose.choice((30, 80)),
            views_ahead_max=choose.choice((2, 16)),
            heights_per_request_max=choose.choice((1, 2, 64)),
        ),
    )
