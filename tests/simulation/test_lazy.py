"""Who votes and never proposes costs a quarter of a view at each of its turns, and nobody honest pays for that rule. Who
has empty blocks made gets one in each length of a first view."""

import pytest

from consensus import presence
from tests.simulation.lazy import FAR, LOSSY, NEAR, SLOW, Consortium, Prompter, measure

NEVER = 10**9


@pytest.fixture
def patient(monkeypatch):
    """What all came to if every leader were waited for alike."""

    def measured(*arguments, **more):
        with monkeypatch.context() as without:
            without.setattr(presence, "TURNS_MIN", NEVER)
            return measure(*arguments, **more)

    return measured


@pytest.mark.parametrize(
    ("size", "lazy", "conditions", "times"),
    [(4, (0,), NEAR, 1.8), (4, (0,), FAR, 1.3), (7, (1, 2), NEAR, 1.8), (10, (1, 2, 3), NEAR, 1.8)],
    ids=["one of four", "one of four far away", "two of seven in a row", "three of ten in a row"],
)
def test_beside_lazy_leaders_more_is_decided(patient, size, lazy, conditions, times):
    """The turns in which it is found out are counted like the rest."""
    seeds = {"seeds": range(1), "seconds": 30}
    before, now = patient(size, lazy, conditions, **seeds), measure(size, lazy, conditions, **seeds)
    assert now.heights > times * before.heights
    # They are shortened, not skipped: who was wrongly thought idle may still propose.
    assert now.views_per_height == pytest.approx(before.views_per_height, rel=0.1)


@pytest.mark.parametrize("conditions", [LOSSY, SLOW], ids=["lossy", "slow"])
@pytest.mark.parametrize("size", [4, 7])
def test_where_all_are_honest_no_more_views_are_left(patient, size, conditions):
    seeds = {"seeds": range(1), "seconds": 20}
    before, now = patient(size, (), conditions, **seeds), measure(size, (), conditions, **seeds)
    assert now.views_per_height <= before.views_per_height * 1.05
    assert now.heights >= before.heights * 0.98


@pytest.mark.parametrize(("size", "liars"), [(4, (0,)), (7, (0, 3))])
def test_who_wants_empty_blocks_gets_few(size, liars):
    """Were its vote to start the clock at once, there would be 228 and more a minute; the heartbeat alone makes six."""
    run = Consortium(0, size, liars, NEAR, way=Prompter, busy=False)
    assert 30 < run.go(30).heights_per_minute < 70
    assert not run.oracle.accused
