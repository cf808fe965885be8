"""Whatever happened, the honest can go on; and what for a certificate must be durable."""

from tests.model.healing import heals, reachable
from tests.model.rules import Rules


def test_every_state_of_one_view_heals():
    rules = Rules(views=1)
    states = reachable(rules)
    assert all(heals(rules, known) for known in states)


def test_what_a_vote_rests_on_must_be_durable():
    """A validator that finalized and lost the notarization can neither nullify nor go on, and if the dishonest
    one withholds its notarize, nobody can help."""
    rules = Rules(views=1)
    stuck = [state for state, _ in reachable(rules) if not heals(rules, (state, frozenset()))]
    assert stuck
    assert all(rules.count(state, 3) or rules.count(state, 4) for state in stuck)


def test_every_state_of_two_views_heals():
    rules = Rules(views=2)
    assert all(heals(rules, known) for known in reachable(rules))
