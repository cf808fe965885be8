"""Whatever happened, the honest can go on; and what for a certificate must be durable."""

from tests.model.exploration import layers
from tests.model.healing import NULLIFIED, Entered, Healing, heals, reachable
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


def test_what_a_state_may_rest_on_is_no_less_than_what_is_reached():
    """The check that goes to three views, on two: from each state's least and from all, and nothing is left out."""
    rules = Entered(views=2)
    healing = Healing(rules)
    reached = {state for state, _ in reachable(Rules(views=2))}
    explored = {state for layer, _ in layers(rules) for state in layer}
    assert reached == explored
    assert not any(healing.stuck(state) for state in explored)
    assert healing.checked > len(explored)


def test_a_gap_that_nobody_can_show_is_seen():
    """Two honest and the dishonest one have nullified view 2, and nobody knows how they came there."""
    rules = Rules(views=2)
    nullified = 1 << rules.bits + rules.blocks
    assert Healing(rules).stuck((0, nullified, nullified)) == {(1, NULLIFIED)}
