"""Guards of the engine that nothing else missed when they were taken away (scripts/mutate.py)."""

import pytest

from consensus import journal
from ledger.errors import InvariantBroken
from tests.consensus import chain
from tests.consensus.lone import NULLIFY, Lone


def record_of(signer, index=0):
    """A signing record with one nullify, by this key under that index."""
    vote = chain.vote(NULLIFY, signer, 1, 1, index=index)
    return [journal.of_height(1), journal.of_vote(vote)]


def test_a_record_that_another_key_has_signed_stops_the_node():
    """The index alone says nothing: in another set it was another's."""
    assert Lone(0, journal=record_of(0)).engine.height == 1
    with pytest.raises(InvariantBroken, match="not by this node's key"):
        Lone(0, journal=record_of(1))


def test_a_node_without_a_key_does_not_start_from_a_record_of_votes():
    with pytest.raises(InvariantBroken, match=r"not by this node's key \(none\)"):
        Lone(0, own=False, journal=record_of(0))
