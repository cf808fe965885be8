"""The oracle is no ornament: with one dishonest validator too many, or one rule less, it sees what follows.

Every mutant here is also found by the exhaustive exploration (tests/model/test_engine_rules.py), but for the lost
journal, which only whole runs have.
"""

from dataclasses import replace

import pytest

from tests.model import test_engine_rules as mutants
from tests.simulation.run import Run, calm
from tests.simulation.scenario import draw
from tests.simulation.world import World

SEEDS = 60


def corrupted(scenario, names):
    """Four validators of which the first ones are these."""
    return replace(
        calm(scenario),
        size=4,
        sets=((0, 1, 2, 3),),
        dishonest=tuple(enumerate(names)),
        skews=(0, 0, 0, 0),
        work="busy",
    )


def violations(seeds, names, *, strict=True, prepare=lambda run: None):
    for seed in seeds:
        run = Run(seed, bend=lambda scenario: corrupted(scenario, names))
        run.oracle.strict = strict
        prepare(run)
        yield run.go().violation


@pytest.mark.parametrize(
    "names", [("supporter", "supporter"), ("equivocator", "supporter"), ("twins", "twins")]
)
def test_one_dishonest_validator_too_many_forks(names):
    assert any("fork at" in each for each in violations(range(SEEDS), names, strict=False))


def test_as_many_as_allowed_do_not():
    assert not any(violations(range(10), ("supporter",)))


@pytest.mark.parametrize(
    "mutate",
    [
        mutants.double_notarize,
        mutants.finalize_after_nullify,
        mutants.nullify_after_finalize,
        mutants.finalize_without_notarization,
        mutants.no_gap_check,
        mutants.last_gap_not_checked,
        mutants.proposal_not_proved,
    ],
)
def test_what_seeds_find_of_the_mutants(monkeypatch, mutate):
    """Which of them the seeds of a test run find; the exhaustive exploration finds all."""
    mutate(monkeypatch)
    found = sum(bool(each) for each in violations(range(SEEDS), ("supporter",)))
    print(mutate.__name__, found)


def test_a_lost_journal_is_seen():
    def lose(run):
        for replica in run.honest.values():
            replica.loses_journal = True
            for at in range(200, 3_000, 200):
                run.world.schedule(at + replica.index, lambda replica=replica: run.crash(replica))

    assert any(
        "casts" in each or "both" in each for each in violations(range(SEEDS), ("supporter",), prepare=lose)
    )


def test_the_scenarios_differ():
    drawn = {draw(World(seed).random) for seed in range(100)}
    assert len(drawn) == 100
