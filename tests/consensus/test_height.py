"""What the open height takes in, and what comes of it."""

import pytest

from consensus.effects import ReportFault
from proto.chiptrace.v1.consensus_pb2 import BlockReply
from proto.chiptrace.v1.ledger_pb2 import Block
from tests.consensus import chain
from tests.consensus.lone import FINALIZE, NOTARIZE, NULLIFY, Lone

# Height 1 of four: the leader of view 1 is validator 2, then 3, 0, 1.


def test_a_new_block_is_judged_then_notarized():
    node = Lone(0)
    block = node.block()
    node.propose(1, block)
    assert [(e.height, e.block_hash, e.block) for e in node.asked_to_judge()] == [
        (1, chain.hash_of(block), block)
    ]
    assert node.votes() == []
    node.judge(block)
    assert node.votes() == [(NOTARIZE, 1, chain.hash_of(block))]
    kinds = [record.WhichOneof("kind") for record in node.journal]
    assert kinds == ["height", "proposal", "vote"]
    assert node.journal[1].proposal.block == block


def test_a_refused_block_costs_the_view_at_once():
    node = Lone(0)
    block = node.block()
    node.propose(1, block)
    node.judge(block, valid=False)
    assert node.votes() == [(NULLIFY, 1, b"")]


@pytest.mark.parametrize(
    "block",
    [
        chain.block(2, chain.GENESIS, 1_000),
        chain.block(1, bytes(32), 1_000),
    ],
    ids=["another height", "another parent"],
)
def test_a_block_that_does_not_stand_on_the_tip_is_refused_without_asking(block):
    node = Lone(0)
    node.propose(1, block)
    assert not node.asked_to_judge()
    assert node.votes() == [(NULLIFY, 1, b"")]


def test_garbage_for_a_block_and_a_hash_of_another_are_refused():
    for body in (b"\xff\xff", chain.block(1, chain.GENESIS, 7)):
        node = Lone(0)
        proposal = node.proposal(1, node.block())
        proposal.block = body
        node.hear(2, proposal)
        assert node.votes() == [(NULLIFY, 1, b"")]


def test_only_the_leader_proposes():
    node = Lone(0)
    for other in (1, 3):
        node.hear(other, node.proposal(1, node.block()))
        node.hear(other, node.proposal(1, node.block(), leader=other))
        assert not node.asked_to_judge()
        assert not node.all_votes()


def test_a_proposal_whose_vote_is_not_signed_is_nothing():
    node = Lone(0)
    proposal = node.proposal(1, node.block())
    proposal.vote.signature = bytes(64)
    node.hear(2, proposal)
    assert node.effects == ()


@pytest.mark.parametrize("spoiled", [0, 1])
def test_a_proposal_with_a_certificate_that_does_not_verify_is_nothing(spoiled):
    node = Lone(0)
    proposal = node.proposal(3, node.block(), nullified=[1, 2], leader=0)
    proposal.nullifications[spoiled].signatures[0] = bytes(64)
    node = Lone(1)
    node.hear(0, proposal)
    assert not node.asked_to_judge()
    assert node.votes() == []


def test_the_second_proposal_of_a_view_is_evidence_and_gets_no_vote():
    node = Lone(0)
    first, second = node.block(1), node.block(2)
    node.propose(1, first)
    node.propose(1, second)
    assert [fault.signer for fault in node.faults()] == [chain.key(2)]
    assert not node.asked_to_judge()
    node.judge(second)
    assert node.votes() == []
    node.judge(first)
    assert node.votes() == [(NOTARIZE, 1, chain.hash_of(first))]


def test_a_fault_is_reported_once_and_its_votes_not_verified_again():
    node = Lone(0)
    node.vote(3, NULLIFY, 1)
    node.vote(3, FINALIZE, 1, bytes(32))
    assert len(node.faults()) == 1
    verified = len(node.verified)
    node.vote(3, FINALIZE, 1, bytes(32))
    node.vote(3, FINALIZE, 1, bytes(31) + b"\1")
    assert not node.faults()
    assert len(node.verified) == verified


@pytest.mark.parametrize("node", [Lone(0, own=False), Lone(0)])
def test_a_refused_block_is_not_judged_again_in_its_view(node):
    block = node.block()
    for view in range(1, 65):
        node.hear(1, node.certificate(NULLIFY, view))
    proposal = node.proposal(65, block, nullified=range(1, 65))
    node.hear(node.leader(65), proposal)
    assert len(node.asked_to_judge()) == 1
    node.judge(block, valid=False)
    node.hear(node.leader(65), proposal)  # its leader sends it again, as it lacks our vote
    assert not node.asked_to_judge()
    node.hear(1, node.certificate(NULLIFY, 65))
    node.hear(node.leader(66), node.proposal(66, node.block(salt=1), nullified=range(1, 66)))
    assert len(node.asked_to_judge()) == 1


def test_of_each_signer_one_fault_of_a_height_is_reported():
    node = Lone(0)
    for view in range(1, 18):
        for signer in (1, 3):
            for kind, block_hash in ((FINALIZE, bytes(32)), (FINALIZE, bytes(31) + b"\1"), (NULLIFY, b"")):
                node.vote(signer, kind, view, block_hash)
    faults = node.of(ReportFault, node.all)
    assert [fault.signer for fault in faults] == [chain.key(1), chain.key(3)]


def test_a_fault_needs_a_valid_signature():
    node = Lone(0)
    node.vote(3, NULLIFY, 1)
    forged = chain.vote(FINALIZE, 3, 1, 1, bytes(32))
    forged.signature = bytes(64)
    node.hear(3, forged)
    assert not node.faults()


def test_a_block_proposed_again_is_not_judged_again():
    node = Lone(0)
    block = node.block()
    node.hear(3, node.proposal(2, block, from_view=1))
    assert node.engine.view == 2
    assert not node.asked_to_judge()
    assert node.votes() == [(FINALIZE, 1, chain.hash_of(block)), (NOTARIZE, 2, chain.hash_of(block))]
    assert any(record.proposal.block == block for record in node.journal)


def test_a_block_proposed_again_without_its_body_is_fetched_from_its_voters():
    node = Lone(0)
    block = node.block(1, [chain.transaction(1)])
    block_hash = chain.hash_of(block)
    node.hear(3, node.proposal(2, block, from_view=1, body=False))
    assert (NOTARIZE, 2, block_hash) not in node.votes()
    [(peer, request)] = node.requests()
    assert request.block_hash == block_hash
    other = next(i for i in range(1, 4) if chain.key(i) != peer)
    node.hear(other, BlockReply(blocks=[block], block_hash=block_hash))  # nobody asked
    assert node.votes() == []
    spoiled = Block.FromString(block)
    spoiled.transactions[0] = chain.transaction(2)
    asked = next(i for i in range(4) if chain.key(i) == peer)
    node.hear(asked, BlockReply(blocks=[spoiled.SerializeToString()], block_hash=block_hash))
    [(peer, request)] = node.requests()  # another peer at once
    asked = next(i for i in range(4) if chain.key(i) == peer)
    node.hear(asked, BlockReply(blocks=[block], block_hash=block_hash))
    assert node.votes() == [(NOTARIZE, 2, block_hash)]


def test_the_body_of_a_block_proposed_again_is_kept_once():
    node = Lone(0)
    block = node.block()
    node.propose(1, block)
    node.judge(block)
    node.hear(1, node.certificate(NULLIFY, 1))
    node.hear(3, node.proposal(2, block, from_view=1))
    assert (NOTARIZE, 2, chain.hash_of(block)) in node.votes()
    assert len([record for record in node.journal if record.proposal.block]) == 1


def test_any_complete_proof_is_good_also_below_a_notarization_we_hold():
    node = Lone(1)
    held, new = node.block(1), node.block(2)
    node.hear(3, node.certificate(NOTARIZE, 1, chain.hash_of(held)))
    node.hear(3, node.certificate(NULLIFY, 1))
    node.hear(3, node.proposal(2, new, nullified=[1]))
    node.judge(new)
    assert node.votes() == [(NOTARIZE, 2, chain.hash_of(new))]


def test_gaps_we_hold_ourselves_need_not_be_carried():
    node = Lone(1)
    block = node.block()
    node.hear(3, node.certificate(NULLIFY, 1))
    node.hear(3, node.proposal(2, block))
    node.judge(block)
    assert node.votes() == [(NOTARIZE, 2, chain.hash_of(block))]


def test_a_proposal_after_its_own_notarization_still_brings_the_body():
    node = Lone(0)
    block = node.block()
    block_hash = chain.hash_of(block)
    node.hear(3, node.certificate(NOTARIZE, 1, block_hash))
    node.propose(1, block)
    assert not node.asked_to_judge()
    node.hear(3, node.certificate(FINALIZE, 1, block_hash))
    assert [decide.block for decide in node.decided()] == [block]


def test_a_proposal_after_the_finalization_still_brings_the_body():
    node = Lone(0)
    block = node.block()
    node.hear(3, node.certificate(FINALIZE, 1, chain.hash_of(block)))
    assert node.requests()
    node.propose(1, block)
    assert [decide.block for decide in node.decided()] == [block]


def test_what_a_quorum_finalized_need_not_wait_for_our_verdict():
    node = Lone(0)
    block = node.block()
    node.propose(1, block)
    node.hear(3, node.certificate(FINALIZE, 1, chain.hash_of(block)))
    assert [decide.block for decide in node.decided()] == [block]
    node.judge(block)
    assert node.effects == ()


def test_a_body_that_was_swapped_while_it_is_judged_is_not_executed():
    node = Lone(0)
    block = node.block(1, [chain.transaction(1)])
    swapped = Block.FromString(block)
    swapped.transactions[0] = chain.transaction(2)
    proposal = node.proposal(1, block)
    proposal.block = swapped.SerializeToString(deterministic=True)
    node.hear(2, proposal)
    node.hear(3, node.certificate(FINALIZE, 1, chain.hash_of(block)))
    assert not node.decided()
    assert node.requests()


def test_a_block_once_judged_is_not_judged_again_as_a_new_one():
    node = Lone(0)
    block = node.block()
    node.propose(1, block)
    node.judge(block)
    node.hear(1, node.certificate(NULLIFY, 1))
    node.hear(3, node.proposal(2, block, nullified=[1]))
    assert not node.asked_to_judge()
    assert node.votes() == [(NOTARIZE, 2, chain.hash_of(block))]


def test_a_verdict_counts_for_the_view_it_comes_in():
    """Judged in view 1, proposed as new once more in view 2 before the verdict: one question, one vote in view 2."""
    node = Lone(0)
    block = node.block()
    node.propose(1, block)
    node.hear(1, node.certificate(NULLIFY, 1))
    node.hear(3, node.proposal(2, block, nullified=[1]))
    assert not node.asked_to_judge()
    node.judge(block)
    assert node.votes() == [(NOTARIZE, 2, chain.hash_of(block))]


def test_a_new_block_is_judged_even_if_a_notarization_of_it_is_known_here():
    node = Lone(1)
    block = node.block()
    node.hear(3, node.certificate(NOTARIZE, 1, chain.hash_of(block)))
    node.propose(1, block)  # brings the body
    node.hear(3, node.certificate(NULLIFY, 1))
    node.hear(3, node.proposal(2, block, nullified=[1]))
    assert node.asked_to_judge()
    assert NOTARIZE not in [vote[0] for vote in node.all_votes()]
    node.judge(block)
    assert node.votes() == [(NOTARIZE, 2, chain.hash_of(block))]


def test_a_vote_told_by_another_costs_no_signature_check():
    node = Lone(0)
    node.hear(3, chain.vote(NULLIFY, 2, 1, 1))
    assert not node.verified


def test_a_proposal_told_again_changes_nothing():
    node = Lone(0)
    block = node.block()
    node.propose(1, block)
    assert node.propose(1, block) == ()
    node.judge(block)
    assert node.votes() == [(NOTARIZE, 1, chain.hash_of(block))]
    assert node.propose(1, block) == ()


def test_no_notarize_after_nullify_in_one_view():
    node = Lone(0)
    node.work()
    node.wait(1_000)
    block = node.block()
    node.propose(1, block)
    node.judge(block)
    assert [vote for vote in node.all_votes() if vote[0] == NOTARIZE] == []


def test_votes_of_strangers_are_nothing():
    node = Lone(0)
    stranger = chain.vote(NULLIFY, 9, 1, 1, index=3)
    node.hear(3, stranger)
    node.hear(9, stranger)
    node.hear(9, chain.vote(NULLIFY, 9, 1, 1, index=9))
    assert not node.all_votes()
    assert node.effects == ()
