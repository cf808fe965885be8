"""Guards of the engine that nothing else missed when they were taken away (scripts/mutate.py)."""

import pytest

from consensus import evidence, journal
from consensus.catchup import Catchup, Need
from consensus.effects import EngineSettings, Persist
from consensus.engine import Engine
from consensus.patience import Patience
from ledger import state
from ledger.errors import InvariantBroken, Refused
from ledger.state import MappingReader, Overlay
from proto.chiptrace.v1.consensus_pb2 import Tip, Vote
from proto.chiptrace.v1.ledger_pb2 import MemberRecord
from tests.consensus import chain
from tests.consensus.lone import FINALIZE, NOTARIZE, NULLIFY, Lone
from tests.consensus.test_evidence import SET, A, context, members, shown, vote


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


def test_a_refusal_of_a_block_whose_view_is_over_gives_up_no_other_view():
    node = Lone(0)
    block = node.block()
    node.propose(1, block)
    node.hear(1, node.certificate(NULLIFY, 1))
    assert node.engine.view == 2
    node.judge(block, valid=False)
    assert node.votes() == []


def test_a_block_that_nobody_asked_for_is_not_proposed():
    node = Lone(2)  # leader of view 1
    node.built(node.block())
    assert node.proposals() == []


def decided(node, block):
    node.propose(1, block)
    node.judge(block)
    node.hear(1, node.certificate(FINALIZE, 1, chain.hash_of(block)))
    assert node.decided()
    node.parent, node.parent_finalization = chain.hash_of(block), node.engine.finalization
    return chain.hash_of(block)


def test_a_block_built_for_the_height_before_is_not_proposed():
    node = Lone(3)  # leader of view 1 at height 2
    first = node.block()
    node.executed(decided(node, first))
    node.work()
    assert [(asked.height, asked.view) for asked in node.asked_to_build()] == [(2, 1)]
    node.built(first, view=1, height=1)
    assert node.proposals() == []
    node.built(node.block())
    assert [proposal.height for proposal in node.proposals()] == [2]


def test_after_a_change_of_the_set_the_new_one_vouches_for_what_lies_ahead():
    """Nobody is asked for a proof of what the set in force here has signed."""
    node = Lone(0)
    following = chain.validators(4, start=2, first=3)
    node.executed(decided(node, node.block()), validators=following)
    ahead = chain.certificate(FINALIZE, range(3), 4, 9, 1, bytes(32))
    ahead.signatures[:] = [chain.vote(FINALIZE, signer, 9, 1, bytes(32)).signature for signer in (3, 4, 5)]
    node.hear(4, Tip(finalization=ahead))
    assert node.engine.behind == 8
    assert node.walks() == []


def test_a_store_whose_last_block_has_another_finalization_or_none_does_not_open():
    node = Lone(0)
    for finalization in (None, node.certificate(FINALIZE, 1, bytes(32), height=1)):
        with pytest.raises(InvariantBroken, match="the store ends at height 1"):
            Engine(
                chain.CHAIN_ID,
                chain.key(0),
                None,
                chain.verify,
                EngineSettings(),
                1,
                chain.GENESIS,
                finalization,
                node.set,
                0,
                (),
                0,
            )


def test_a_vote_beyond_the_quorum_makes_no_second_certificate():
    node = Lone(0, n=7)
    for sender in range(1, 6):
        node.vote(sender, NULLIFY, 1)
    assert node.certificates() == [(NULLIFY, 1)]
    node.vote(6, NULLIFY, 1)
    assert node.certificates() == []
    assert node.of(Persist) == []


def test_a_message_without_shape_is_dropped_before_anything_is_done_with_it():
    node = Lone(0)
    shapeless = Vote(kind=0, height=1, view=1, signer=1, signature=bytes(64))
    assert node.hear(1, shapeless) == ()
    assert node.verified == []


def test_where_all_who_have_shown_a_height_failed_the_validators_are_asked_for_it():
    keys = [chain.key(index) for index in range(6)]
    catchup = Catchup(keys[0], EngineSettings(heights_per_request_max=1), Patience(100))
    catchup.shown(keys[5], 9)
    wanted = Need(8, 9, keys[:4])
    assert [peer for peer, _ in catchup.requests(wanted, 0)] == [keys[5]]
    asked = [peer for peer, _ in catchup.requests(wanted, 100)]
    assert asked
    assert set(asked) < set(keys[1:4])


@pytest.mark.parametrize(("height", "now"), [(10, 9), (2**63, 9), (10, 10)])
def test_evidence_of_a_height_to_come_is_refused_though_its_set_is_known(height, now):
    """The second one in the set that is in force from height 7 on is m2."""
    overlay = Overlay(MappingReader({}))
    state.save(overlay, state.member_key("m2"), MemberRecord(id="m2"))
    context(overlay, 0).schedule_validators(list(SET.validators))
    context(overlay, 5).schedule_validators(list(members(0, 2, 3, 4).validators))
    votes = [vote(NULLIFY, 1, height=height, seed=2), vote(FINALIZE, 1, A, height=height, seed=2)]
    if height <= now:
        evidence.record(context(overlay, now), shown(*votes, height=height))
        return
    with pytest.raises(Refused, match="is not known here"):
        evidence.record(context(overlay, now), shown(*votes, height=height))
