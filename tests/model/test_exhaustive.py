"""No interleaving of the voting rules forks; removing any one rule does."""

import pytest

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


@pytest.mark.parametrize(
    "change", [{"notarize_after_nullify": False}, {"finalize_only_own": True}, {"finalize_twice": True}]
)
def test_harmless_changes_do_not_fork(change):
    assert explore(Rules(**change)).fork is None


@pytest.mark.parametrize(
    ("views", "change", "votes"),
    [
        (2, {"double_notarize": True}, 10),
        (2, {"finalize_after_nullify": True}, 10),
        (2, {"nullify_after_finalize": True}, 10),
        (2, {"gaps_checked": "none"}, 8),
        (2, {"gaps_checked": "first"}, 8),
        (2, {"proposal_proved": False}, 8),
        (2, {"finalize_holding_notarization": False}, 4),
    ],
)
def test_each_rule_is_needed(views, change, votes):
    """The fewest honest votes that fork once the rule is gone."""
    explored = explore(Rules(views=views, **change))
    assert explored.fork is not None
    assert explored.votes == votes


@pytest.mark.parametrize(("validators", "dishonest", "quorum"), [(6, 1, 3), (9, 2, 5)])
def test_two_f_and_one_is_no_quorum(validators, dishonest, quorum):
    rules = Rules(validators=validators, dishonest=dishonest, views=1)
    assert explore(rules).fork is None
    assert explore(Rules(validators=validators, dishonest=dishonest, views=1, quorum=quorum)).fork is not None


def test_one_dishonest_too_many_forks():
    assert explore(Rules(validators=4, dishonest=2, views=1)).fork is not None
