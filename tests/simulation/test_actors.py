"""What comes of each actor: nobody is harmed, and exactly those are accused who sign what convicts."""

from dataclasses import replace

import pytest

from tests.simulation.network import Conditions
from tests.simulation.run import Run, calm
from tests.simulation.scenario import ACTORS

SEEDS = range(3)
# They sign two votes that exclude each other, and show both: each of them is convicted in each of these runs.
CONVICTED = {"equivocator", "nuller", "conflicter", "supporter", "flooder"}
# They sign such votes only when something else happens, too. The last two tell others something else than they count
# for themselves, which shows where a certificate that they pass on holds the vote they kept back.
AT_TIMES = {"twins", "mixer", "backdater", "nullify_only", "reconfigurer"}
HARMLESS = sorted(set(ACTORS) - CONVICTED - AT_TIMES)


def run_with(seed, names, size=4, **change):
    """A quiet run with these dishonest ones among `size`; the oracle objects if anyone honest is ever accused."""

    def bend(scenario):
        quiet = replace(
            calm(scenario), size=size, sets=(tuple(range(size)),), skews=(0,) * size, silent_afterwards=False
        )
        changed = {"work": "busy", "faults_ms": 2_000, "heights_max": 10, **change}
        return replace(quiet, dishonest=tuple(enumerate(names)), **changed)

    run = Run(seed, bend=bend)
    report = run.go()
    assert not report.violation, (names, seed, report.violation)
    return run


def test_every_actor_has_its_place():
    assert set(ACTORS) > CONVICTED | AT_TIMES
    named = {"impersonator", "invalid_signatures", "outdated", "silent", "withholder", "liar_in_sync"}
    assert named < set(HARMLESS)


@pytest.mark.parametrize("name", sorted(CONVICTED))
def test_who_signs_what_convicts_is_accused_and_nobody_else(name):
    for seed in SEEDS:
        assert run_with(seed, [name]).oracle.accused == {0}


@pytest.mark.parametrize("name", sorted(AT_TIMES))
def test_who_may_sign_what_convicts_is_accused_or_nobody(name):
    for seed in SEEDS:
        assert run_with(seed, [name]).oracle.accused <= {0}


@pytest.mark.parametrize("name", HARMLESS)
def test_who_signs_nothing_that_convicts_is_never_accused(name):
    for seed in SEEDS:
        assert run_with(seed, [name]).oracle.accused == set()


@pytest.mark.parametrize(
    "name", ["impersonator", "invalid_signatures", "outdated", "reconfigurer", "liar_in_sync"]
)
def test_who_only_says_what_nobody_can_use_costs_hardly_a_view(name):
    """The others decide as if it were silent: no height needs more views than the dishonest one leads."""
    for seed in SEEDS:
        run = run_with(seed, [name])
        assert max(run.oracle.view_of.values()) <= 3, (seed, run.oracle.view_of)


@pytest.mark.parametrize("seed", range(6))
def test_as_many_as_may_be_mixed(seed):
    """Two of seven and three of ten, each of another kind, on links that lose."""
    names, lossy = sorted(ACTORS), Conditions(delay_min_ms=2, delay_mean_ms=10, loss=0.05)
    for size, count in ((7, 2), (10, 3)):
        chosen = [names[(seed * 5 + place * 7) % len(names)] for place in range(count)]
        heights = 4 if size == 7 else 2
        run = run_with(
            seed, chosen, size, conditions=lossy, heights_max=heights, faults_ms=1_000, work="bursts"
        )
        assert run.oracle.accused <= set(range(count))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_liar_in_sync_holds_nobody_up_for_long(seed):
    """A node that was cut off for twenty heights asks the liar, too, and is back within a second or two."""

    def bend(scenario):
        quiet = replace(calm(scenario), size=4, sets=((0, 1, 2, 3),), skews=(0, 0, 0, 0), work="busy")
        return replace(quiet, dishonest=((0, "liar_in_sync"),), faults_ms=6_000, heights_max=20, rotates=1.0)

    run = Run(seed, bend=bend)
    run.network.cut = {pair for other in range(3) for pair in ((3, other), (other, 3))}
    # Three of four are needed, so the liar has to vote: its engine is honest.
    report = run.go()
    assert not report.violation, report.violation
    assert report.healing_ms < 8_000
