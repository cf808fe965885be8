"""No interleaving of the voting rules forks; removing any one rule does."""

import pytest

from tests.model.changes import FORKING, HARMLESS
from tests.model.exploration import explore
from tests.model.rules import Rules


@pytest.mark.parametrize(
    ("views", "blocks", "states"), [(1, 2, 62), (1, 3, 66), (2, 2, 10_000), (2, 3, 15_131)]
)
def test_no_interleaving_forks(views, blocks, states):
    explored = explore(Rules(views=views, blocks=blocks))
    assert explored.fork is None
    assert explored.states == states  # a smaller number would mean that the exploration lost something


@pytest.mark.parametrize(("validators", "views"), [*((n, 1) for n in range(4, 11)), (5, 2)])
def test_no_interleaving_of_more_validators_forks(validators, views):
    rules = Rules(validators=validators, dishonest=(validators - 1) // 3, views=views)
    assert explore(rules).fork is None


@pytest.mark.parametrize("change", HARMLESS, ids=lambda change: change.name)
def test_harmless_changes_do_not_fork(change):
    assert explore(change.rules).fork is None


@pytest.mark.parametrize(
    "change", [each for each in FORKING if each.rules.views < 3], ids=lambda change: change.name
)
def test_each_rule_is_needed(change):
    """The fewest honest votes that fork once the rule is gone."""
    explored = explore(change.rules)
    assert explored.fork is not None
    assert explored.votes == change.votes


@pytest.mark.parametrize(("validators", "dishonest"), [(6, 1), (9, 2)])
def test_where_two_f_and_one_is_no_quorum_ours_is(validators, dishonest):
    assert explore(Rules(validators=validators, dishonest=dishonest, views=1)).fork is None
