"""A crash at each single effect of the first heights: of one validator, and of all of them at their n-th effect."""

from dataclasses import replace

import pytest

from tests.simulation.network import Conditions
from tests.simulation.run import Run, calm

BOUNDARIES = 60
SLOW = Conditions(delay_min_ms=1, delay_mean_ms=30, loss=0.1)  # so that views time out, too


def crash_at(boundary, victims, conditions, size=4):
    def bend(scenario):
        quiet = calm(scenario)
        everyone = tuple(range(size))
        return replace(
            quiet,
            size=size,
            sets=(everyone,),
            skews=(0,) * size,
            conditions=conditions,
            work="busy",
            faults_ms=700,
            heights_max=4,
        )

    run = Run(boundary, bend=bend)
    for index in victims:
        replica = run.honest[index]
        run.world.schedule(60, lambda replica=replica: replica.die_within(boundary))
        for at in range(150, 700, 50):
            run.world.schedule(at, replica.start)
    report = run.go()
    assert not report.violation, (boundary, victims, report.violation)
    return report.crashes


@pytest.mark.parametrize("conditions", [Conditions(), SLOW], ids=["quiet", "slow"])
def test_one_validator_at_each_effect(conditions):
    crashes = [crash_at(boundary, [boundary % 4], conditions) for boundary in range(BOUNDARIES)]
    assert sum(crashes) > BOUNDARIES // 2


@pytest.mark.parametrize("conditions", [Conditions(), SLOW], ids=["quiet", "slow"])
def test_all_validators_at_each_effect(conditions):
    crashes = [crash_at(boundary, range(4), conditions) for boundary in range(BOUNDARIES)]
    assert sum(crashes) > 2 * BOUNDARIES


def test_a_chain_of_one_at_each_effect():
    assert sum(crash_at(boundary, [0], Conditions(), size=1) for boundary in range(30)) > 15
