"""Seeds in every test run: whatever is drawn, no oracle objects and everyone honest goes on deciding."""

import pytest

from tests.simulation.run import calm, simulate
from tests.simulation.scenario import ACTORS, BROKEN, LOST, draw
from tests.simulation.world import World

SEEDS = 1_000
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
    """Every fault and every actor occurs among the seeds run above, and never more than a quorum can do without."""
    drawn = [draw(World(seed).random) for seed in range(SEEDS)]
    many = SEEDS // 20
    assert {name for scenario in drawn for _, name in scenario.dishonest} == set(ACTORS)
    assert {how for scenario in drawn for _, how in scenario.broken} == set(BROKEN)
    assert {what for scenario in drawn for _, what in scenario.lost} == set(LOST)
    assert {scenario.partitions for scenario in drawn} == {"none", "isolate", "halves", "random", "wandering"}
    assert {scenario.conditions.loss for scenario in drawn} == {0.0, 0.02, 0.1, 0.3, 0.5}
    assert {scenario.pace.persist_ms for scenario in drawn} == {0, 2, 20, 60}
    assert {len(scenario.sets[0]) for scenario in drawn} >= set(range(1, 11))
    assert any(scenario.size > 10 for scenario in drawn)
    assert any(not set(scenario.sets[0]) & set(scenario.sets[-1]) for scenario in drawn)
    for occurs in (
        lambda scenario: scenario.work == "idle",
        lambda scenario: scenario.crash_all,
        lambda scenario: scenario.one_way and scenario.partitions != "none",
        lambda scenario: scenario.clock_jumps,
        lambda scenario: scenario.stores_set_back,
        lambda scenario: len(scenario.sets) > 1,
        lambda scenario: scenario.lost,
        lambda scenario: scenario.broken,
    ):
        assert sum(bool(occurs(scenario)) for scenario in drawn) > many
    assert all(
        3 * (len(scenario.broken) + len(scenario.dishonest) + len(scenario.lost))
        < min(map(len, scenario.sets))
        for scenario in drawn
    )
