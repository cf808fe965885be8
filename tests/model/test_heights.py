"""Two heights at random: no walk forks, whatever set follows; with a rule less, or the wrong set, walks do."""

import pytest

from tests.model.changes import FORKING
from tests.model.heights import SAME, SWAPS, Chain, walk_many

WALKS = 150


@pytest.mark.parametrize("sets", [SAME, *SWAPS])
def test_no_walk_forks(sets):
    ends = walk_many(Chain(sets), range(WALKS))
    assert ends["forks"] == 0
    assert ends["both decided"] > WALKS // 10  # they come far enough to fork


def test_a_height_opened_on_a_notarization_forks():
    assert walk_many(Chain(opens_on_notarization=True), range(WALKS))["forks"]


@pytest.mark.parametrize("sets", SWAPS[:3])
def test_the_set_before_the_swap_must_not_sign_on(sets):
    assert walk_many(Chain(sets, old_set_counts=True), range(WALKS))["forks"]


@pytest.mark.parametrize(
    "change",
    [each for each in FORKING if each.rules.views == 2 and each.rules.validators == 4],
    ids=lambda change: change.name,
)
def test_walks_find_each_rule(change):
    """Also the rarest: nullify after finalize forks in 4 of 1,000."""
    chain = Chain(changes=change.flags)
    assert any(walk_many(chain, range(page, page + 100))["forks"] for page in range(0, 2_000, 100))
