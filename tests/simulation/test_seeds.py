"""Seeds in every test run: whatever is drawn, no oracle objects and everyone honest goes on deciding."""

import pytest

from tests.simulation.run import calm, simulate
from tests.simulation.scenario import ACTORS, draw
from tests.simulation.world import World

SEEDS = 500
PAGE = 10
REAL_SEEDS = 10


def line(report):
    return f"seed {report.seed}: {report.violation}\npython3 scripts/simulate.py --replay {report.seed}"


@pytest.mark.parametrize("page", range(SEEDS // PAGE))
def test_seeds(page):
    reports = [simulate(seed) for seed in range(page * PAGE, (page + 1) * PAGE)]
    failed = [line(report) for report in reports if report.violation]
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize("seed", range(10**6, 10**6 + REAL_SEEDS))
def test_seeds_with_real_signatures(seed):
    report = simulate(seed, real_keys=True)
    assert not report.violation, line(report)


@pytest.mark.parametrize("seed", range(20))
def test_without_faults_views_are_few_and_healing_is_nothing(seed):
    report = simulate(seed, bend=calm)
    assert not report.violation, line(report)
    assert report.accused == 0
    assert report.views_max <= 3


def test_the_seeds_draw_what_they_should():
    """Every fault and every actor occurs among the seeds run above."""
    drawn = [draw(World(seed).random) for seed in range(SEEDS)]
    actors = {name for scenario in drawn for _, name in scenario.dishonest}
    assert actors == set(ACTORS)
    assert {scenario.partitions for scenario in drawn} == {"none", "isolate", "halves", "random", "wandering"}
    assert {scenario.conditions.loss for scenario in drawn} == {0.0, 0.02, 0.1, 0.3, 0.5}
    assert sum(scenario.work == "idle" for scenario in drawn) > SEEDS // 10
    assert sum(bool(scenario.broken) for scenario in drawn) > SEEDS // 20
    assert sum(scenario.crash_all for scenario in drawn) > SEEDS // 20
    assert sum(len(scenario.sets) > 1 for scenario in drawn) > SEEDS // 10
    assert all(
        3 * (len(scenario.broken) + len(scenario.dishonest)) < min(map(len, scenario.sets))
        for scenario in drawn
    )
