"""Cases that others keep by name (Avalanche's Simplex, commonware), played against our engine."""

import itertools

import pytest

from consensus.effects import Executed
from proto.chiptrace.v1.consensus_pb2 import BlockReply, Tip
from tests.consensus import chain
from tests.consensus.cluster import Cluster
from tests.consensus.lone import FINALIZE, NOTARIZE, NULLIFY, Lone

# Height 1 of four: the leader of view 1 is validator 2, then 3, 0, 1.


def test_block_not_verified_if_parent_not_notarized():
    """TestBlockNotVerifiedIfParentNotNotarized: for us the parent is final, or the block is not looked at."""
    node = Lone(0, height=5)
    block = chain.block(6, bytes(32), 7)  # on a parent that nobody knows
    proposal = node.proposal(1, block)
    proposal.parent_finalization.block_hash = bytes(32)
    node.hear(node.leader(1), proposal)
    assert not node.asked_to_judge()
    assert not node.votes()  # missing is not invalid


def test_epoch_notarize_twice_then_finalize():
    """TestEpochNotarizeTwiceThenFinalize: two views notarize the same block, and either may decide it."""
    for deciding in (1, 2):
        node = Lone(0)
        block = node.block()
        node.propose(1, block)
        node.judge(block)
        node.hear(3, node.proposal(2, block, from_view=1))
        node.hear(3, node.certificate(NOTARIZE, 2, chain.hash_of(block)))
        assert {v[1] for v in node.all_votes() if v[0] == FINALIZE} == {1, 2}
        for sender in (1, 2):
            node.vote(sender, FINALIZE, deciding, chain.hash_of(block))
        [decide] = node.decided()
        assert decide.certificate.view == deciding


def test_epoch_finalize_then_notarize():
    """TestEpochFinalizeThenNotarize: the finalization comes before the notarization it rests on."""
    node = Lone(0)
    block = node.block()
    node.propose(1, block)
    node.judge(block)
    for sender in (1, 2, 3):
        node.vote(sender, FINALIZE, 1, chain.hash_of(block))
    assert [decide.block for decide in node.decided()] == [block]
    node.hear(1, node.certificate(NOTARIZE, 1, chain.hash_of(block)))
    for sender in (1, 2, 3):
        node.vote(sender, NOTARIZE, 1, chain.hash_of(block))
    assert FINALIZE not in {kind for kind, _, _ in node.all_votes()}  # the height is decided: nothing to add


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_epoch_interleaving_messages(order):
    """TestEpochInterleavingMessages: proposal, notarizes, finalizes and verdict in any order decide."""
    node = Lone(0)
    block = node.block()
    block_hash = chain.hash_of(block)

    def notarizes():
        for sender in (1, 3):
            node.vote(sender, NOTARIZE, 1, block_hash)

    def finalizes():
        for sender in (1, 2, 3):
            node.vote(sender, FINALIZE, 1, block_hash)

    steps = [lambda: node.propose(1, block), lambda: node.judge(block), notarizes, finalizes]
    for index in order:
        steps[index]()
    decided = [effect for effect in node.all if type(effect).__name__ == "Decide"]
    assert [decide.block for decide in decided] == [block]


def test_epoch_votes_for_equivocated_votes():
    """TestEpochVotesForEquivocatedVotes: votes for both of an equivocator's blocks; a quorum of one of them stands."""
    node = Lone(0)
    ours, other = node.block(1), node.block(2)
    node.propose(1, ours)
    node.judge(ours)
    node.vote(1, NOTARIZE, 1, chain.hash_of(other))
    node.vote(3, NOTARIZE, 1, chain.hash_of(other))
    assert not node.certificates()  # the leader's own vote here is for ours
    node.hear(1, node.certificate(NOTARIZE, 1, chain.hash_of(other), signers=[1, 2, 3]))
    assert (FINALIZE, 1, chain.hash_of(other)) in node.votes()
    assert (FINALIZE, 1, chain.hash_of(ours)) not in node.all_votes()


def test_epoch_no_finalization_after_empty_vote():
    """TestEpochNoFinalizationAfterEmptyVote."""
    node = Lone(0)
    block = node.block()
    node.propose(1, block)
    node.judge(block)
    node.wait(1_000)
    assert (NULLIFY, 1, b"") in node.votes()
    node.hear(3, node.certificate(NOTARIZE, 1, chain.hash_of(block)))
    assert FINALIZE not in {kind for kind, _, _ in node.all_votes()}
    assert node.engine.view == 2  # yet it goes on from there
    again = Lone(0, journal=node.journal)
    assert FINALIZE not in {kind for kind, _, _ in again.all_votes()}


def test_split_votes():
    """TestSplitVotes: half notarize, half nullify, no quorum of either; the view after decides."""
    cluster = Cluster(4)
    cluster.judge = lambda index, effect: index == 0 or cluster.now > 1_000_050
    cluster.start()
    cluster.run_until(lambda: min(cluster.heights()) >= 1)
    assert cluster.nodes[0].ledger.finalization.view > 1
    assert not any(node.faults for node in cluster.nodes)


def test_replication_node_diverges():
    """TestReplicationNodeDiverges: a node notarized a block; all others decided another one."""
    node = Lone(0)
    ours, theirs = node.block(1), node.block(2)
    node.propose(1, ours)
    node.judge(ours)
    node.hear(3, Tip(finalization=node.certificate(FINALIZE, 2, chain.hash_of(theirs))))
    [(peer, request)] = node.requests()
    sender = next(i for i in range(4) if chain.key(i) == peer)
    node.hear(sender, BlockReply(blocks=[theirs], block_hash=request.block_hash))
    assert [decide.block for decide in node.decided()] == [theirs]


def test_wal_recovery_triggers_empty_vote_timeout():
    """TestWalRecoveryTriggersEmptyVoteTimeout: notarized, crashed; the view still times out after the restart."""
    node = Lone(0)
    block = node.block()
    node.propose(1, block)
    node.judge(block)
    again = Lone(0, journal=node.journal, now=node.now + 50_000)
    again.wait(1_000)
    assert (NULLIFY, 1, b"") in again.votes()


def test_epoch_stops_at_sealing_block():
    """TestEpochStopsAtSealingBlock: whoever is not in the set of the next height signs nothing for it."""
    node = Lone(0)
    block = node.block()
    node.propose(1, block)
    node.judge(block)
    node.hear(3, node.certificate(FINALIZE, 1, chain.hash_of(block)))
    others = chain.validators(4, start=2, first=1)
    finalization = node.certificate(FINALIZE, 1, chain.hash_of(block))
    node.step(Executed(1, chain.hash_of(block), others, node.now))
    votes = len(node.all_votes())
    following = chain.block(2, chain.hash_of(block), 1_000_500)
    node.parent, node.parent_finalization = chain.hash_of(block), finalization
    leader = 1 + (2 + 1) % 4
    proposal = node.proposal(1, following)
    proposal.vote.CopyFrom(chain.vote(NOTARIZE, leader, 2, 1, chain.hash_of(following), index=(2 + 1) % 4))
    node.hear(leader, proposal)
    node.judge(following)
    node.work()
    node.wait(5_000)
    assert len(node.all_votes()) == votes


def test_split_views_no_lockup_after_certificates_meet():
    """certified_split_heals: one half holds N(1), the other Z(1); told of each other's, both go on in one view."""
    first, second = Lone(0), Lone(3)
    block_hash = chain.hash_of(first.block())
    notarization, nullification = first.certificate(NOTARIZE, 1, block_hash), first.certificate(NULLIFY, 1)
    first.hear(1, notarization)
    second.hear(1, nullification)
    first.hear(3, nullification)
    second.hear(0, notarization)
    assert first.engine.view == second.engine.view == 2
    for node in (first, second):
        assert (FINALIZE, 1, block_hash) in node.all_votes()


# ---- faults seen through certificates and late proposals (commonware#2107, #2177) ---------------------------


def test_a_certificate_convicts_a_signer_that_told_us_something_else():
    node = Lone(0)
    block, other = node.block(1), node.block(2)
    node.vote(3, NOTARIZE, 1, chain.hash_of(other))
    node.hear(1, node.certificate(NOTARIZE, 1, chain.hash_of(block), signers=(1, 2, 3)))
    assert [fault.signer for fault in node.faults()] == [chain.key(3)]


def test_a_vote_convicts_a_signer_of_a_certificate_for_something_else():
    node = Lone(0)
    block, other = node.block(1), node.block(2)
    node.hear(1, node.certificate(NOTARIZE, 1, chain.hash_of(block), signers=(1, 2, 3)))
    assert not node.faults()
    node.vote(3, NOTARIZE, 1, chain.hash_of(other))
    assert [fault.signer for fault in node.faults()] == [chain.key(3)]
    node.vote(2, NULLIFY, 1)
    assert not node.faults()  # notarize, then nullify: no fault


def test_a_nullification_convicts_who_told_us_finalize():
    node = Lone(0)
    block = node.block(1)
    node.vote(3, FINALIZE, 1, chain.hash_of(block))
    node.hear(1, node.certificate(NULLIFY, 1, signers=(1, 2, 3)))
    assert [fault.signer for fault in node.faults()] == [chain.key(3)]


def test_what_others_claim_of_our_own_vote_is_not_counted_for_us():
    """A certificate with a vote of our key that is not in our journal: our own vote still counts once it is cast."""
    node = Lone(0)
    block = node.block(1)
    node.hear(1, node.certificate(NOTARIZE, 1, chain.hash_of(block), signers=(0, 1, 2)))
    own = node.engine._open.voter.tally.signers(1, NOTARIZE)
    assert own == {1, 2}


def test_a_second_proposal_after_the_decision_still_convicts():
    node = Lone(0)
    block, other = node.block(1), node.block(2)
    node.propose(1, block)
    node.judge(block)
    node.hear(1, node.certificate(FINALIZE, 1, chain.hash_of(block), signers=(0, 1, 3)))
    node.hear(2, node.proposal(1, other))
    assert [fault.signer for fault in node.faults()] == [chain.key(2)]
