"""Guards of the engine that nothing else missed when they were taken away (scripts/mutate.py)."""

import pytest

from consensus import journal
from ledger.errors import InvariantBroken
from tests.consensus import chain
from tests.consensus.lone import FINALIZE, NOTARIZE, NULLIFY, Lone


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


def test_a_verdict_that_nobody_asked_for_is_none():
    node = Lone(0)
    block = node.block()
    node.judge(block)
    node.propose(1, block)
    assert node.asked_to_judge()
    assert node.votes() == []
    node.judge(block)
    assert node.votes() == [(NOTARIZE, 1, chain.hash_of(block))]
    assert node.journal[1].proposal.block == block


def test_a_refusal_after_the_decision_gives_up_no_view():
    node = Lone(0)
    block = node.block()
    node.propose(1, block)
    node.hear(1, node.certificate(FINALIZE, 1, chain.hash_of(block)))
    assert node.decided()
    node.judge(block, valid=False)
    assert node.votes() == []


def test_a_notarized_block_that_is_proposed_as_a_new_one_is_judged_all_the_same():
    """Its body is at hand, as others have notarized it; whether it is valid on our clock we have not said yet."""
    node = Lone(0)
    block = node.block()
    node.hear(1, node.certificate(NOTARIZE, 1, chain.hash_of(block)))
    node.hear(1, node.certificate(NULLIFY, 1))
    node.propose(1, block)
    node.propose(2, block, nullified=[1])
    assert node.asked_to_judge()
    assert node.votes() == []
    node.judge(block)
    assert node.votes() == [(NOTARIZE, 2, chain.hash_of(block))]
