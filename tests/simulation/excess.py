"""One dishonest validator too many: then there may be forks, and the oracle must see one. It is what shows that no fork
among the other seeds means something.

Four validators, the first two dishonest; the two honest ones hear nothing of each other. Those who only deceive by
themselves need one who signs whatever helps.
"""

from __future__ import annotations

import random
from dataclasses import replace

from tests.simulation.oracle import Violation
from tests.simulation.run import Run, calm
from tests.simulation.scenario import Scenario
from tests.simulation.twins_campaign import Campaign, drawn

CAMPAIGN = "twins campaign"
FORKING = (
    "supporter and supporter",
    "equivocator and supporter",
    "twins and twins",
    "twins and supporter",
    CAMPAIGN,
)


def fork_of(names: str, seed: int) -> str:
    """What the oracle says of this seed; it looks for forks only, not for the broken promises that lead there."""
    if names == CAMPAIGN:
        return Campaign(drawn(4, 2, random.Random(f"{seed}")), seed, strict=False).go()

    def bend(scenario: Scenario) -> Scenario:
        return replace(
            calm(scenario),
            size=4,
            sets=((0, 1, 2, 3),),
            dishonest=tuple(enumerate(names.split(" and "))),
            skews=(0, 0, 0, 0),
            work="busy",
            heights_max=12,
            faults_ms=3_000,
        )

    run = Run(seed, bend=bend)
    run.oracle.strict = False
    run.network.cut = {(2, 3), (3, 2)}
    try:
        run.suffer()
    except Violation as seen:
        return str(seen)
    return ""


def seeds_to_fork(names: str, seeds_max: int) -> int | None:
    """How many seeds it takes until the oracle sees a fork; None where so many do not do."""
    for seed in range(seeds_max):
        if "fork at" in fork_of(names, seed):
            return seed + 1
    return None
