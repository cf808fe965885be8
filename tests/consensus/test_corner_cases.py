"""What naive implementations of Simplex get wrong, one test each."""

from dataclasses import replace

from consensus.effects import Send
from consensus.quorum import quorum
from proto.chiptrace.v1.consensus_pb2 import BlockReply, BoundaryReply, Tip
from tests.consensus import chain
from tests.consensus.lone import FINALIZE, NOTARIZE, NULLIFY, SETTINGS, START_MS, Lone

# Height 1 of four: the leader of view 1 is validator 2, then 3, 0, 1.


def test_missing_ancestry_is_no_reason_to_nullify():
    node = Lone(0)
    block = node.block()
    node.vote(3, NULLIFY, 1)
    proposal = node.proposal(2, block)  # of view 2, without Z(1)
    node.hear(3, proposal)
    assert node.engine.view == 1
    assert node.votes() == []
    node.hear(3, node.proposal(2, block, nullified=[1]))
    assert node.engine.view == 2
    node.judge(block)
    assert node.votes() == [(NOTARIZE, 2, chain.hash_of(block))]


def test_a_gap_that_nobody_has_proven_is_no_reason_to_nullify():
    node = Lone(0)
    block = node.block()
    node.hear(1, node.certificate(NULLIFY, 4))
    assert node.engine.view == 5
    node.propose(5, block, nullified=[2, 3])
    node.judge(block)
    assert node.votes() == []
    node.hear(1, node.certificate(NULLIFY, 1))  # the proposal is waiting for it
    assert node.votes() == [(NOTARIZE, 5, chain.hash_of(block))]


def test_a_missing_parent_finalization_is_no_reason_to_nullify():
    node = Lone(0, height=5)
    block = node.block()
    proposal = node.proposal(1, block)
    proposal.ClearField("parent_finalization")
    node.hear(node.leader(1), proposal)
    assert node.votes() == []
    assert not node.asked_to_judge()
    node.propose(1, block)
    assert node.asked_to_judge()


def test_notarize_then_nullify_is_legal_and_no_fault():
    node = Lone(0)
    block = node.block()
    node.propose(1, block)
    node.judge(block)
    assert node.votes() == [(NOTARIZE, 1, chain.hash_of(block))]
    node.wait(1_000)
    assert (NULLIFY, 1, b"") in node.votes()
    node.vote(1, NOTARIZE, 1, chain.hash_of(block))
    node.vote(1, NULLIFY, 1)
    assert not node.faults()
    node.vote(3, NULLIFY, 1)
    node.vote(3, NOTARIZE, 1, chain.hash_of(block))
    assert not node.faults()


def test_leader_equivocates_and_the_certificate_is_for_the_other_block():
    node = Lone(0)
    ours, other = node.block(1), node.block(2)
    node.propose(1, ours)
    node.judge(ours)
    node.hear(3, node.certificate(NOTARIZE, 1, chain.hash_of(other), signers=[1, 2, 3]))
    assert (FINALIZE, 1, chain.hash_of(other)) in node.votes()
    assert node.engine.view == 2
    node.hear(3, node.certificate(FINALIZE, 1, chain.hash_of(other)))
    assert not node.decided()
    [(peer, request)] = node.requests()
    assert request.block_hash == chain.hash_of(other)
    sender = next(i for i in range(4) if chain.key(i) == peer)
    node.hear(sender, BlockReply(blocks=[other], block_hash=request.block_hash))
    assert [effect.block for effect in node.decided()] == [other]


def test_a_verdict_for_a_proposal_of_a_view_left_is_dropped_also_when_it_is_a_rejection():
    for valid in (True, False):
        node = Lone(0)
        block = node.block()
        node.propose(1, block)
        node.hear(1, node.certificate(NULLIFY, 1))
        assert node.engine.view == 2
        node.judge(block, valid)
        assert node.votes() == []
        node.judge(block, valid, height=7)
        assert node.votes() == []


def test_an_equivocator_does_not_poison_the_tally_of_others():
    node = Lone(0)
    first, second = chain.hash_of(node.block(1)), chain.hash_of(node.block(2))
    node.vote(1, NOTARIZE, 1, second)  # the equivocator
    node.vote(1, NOTARIZE, 1, first)
    [fault] = node.faults()
    assert fault.signer == chain.key(1)
    node.vote(2, NOTARIZE, 1, first)
    assert node.certificates() == []  # its second vote does not count
    block = node.block(1)
    node.propose(1, block)
    node.judge(block)
    assert node.certificates() == []
    node.vote(3, NOTARIZE, 1, first)
    assert node.certificates() == [(NOTARIZE, 1)]


def test_a_vote_relayed_by_another_does_not_block_the_real_one():
    node = Lone(0)
    forged = chain.vote(NULLIFY, 2, 1, 1)
    forged.signature = bytes(64)
    node.hear(3, forged)
    node.hear(3, chain.vote(NULLIFY, 2, 1, 1))  # genuine, but told by another
    assert not node.verified
    node.vote(1, NULLIFY, 1)
    node.vote(3, NULLIFY, 1)
    assert node.certificates() == []
    node.vote(2, NULLIFY, 1)
    assert node.certificates() == [(NULLIFY, 1)]


def test_votes_are_taken_within_a_window_and_certificates_from_any_view():
    node = Lone(0)
    for sender in (1, 2, 3):
        node.vote(sender, NULLIFY, 18)
    assert node.certificates() == []
    assert node.engine.view == 1
    for sender in (1, 2, 3):
        node.vote(sender, NULLIFY, 17)
    assert node.engine.view == 18
    node.hear(1, node.certificate(NULLIFY, 5_000))
    assert node.engine.view == 5_001


def test_the_same_certificate_is_verified_once():
    node = Lone(0)
    certificate = node.certificate(NULLIFY, 1)
    node.hear(1, certificate)
    verified = len(node.verified)
    for sender in (1, 2, 3):
        node.hear(sender, certificate)
        node.vote(sender, NULLIFY, 1)
        node.vote(sender, NULLIFY, 1)
    assert len(node.verified) == verified + 1  # the vote of the one who is not in the certificate


def test_nothing_is_kept_for_a_certificate_that_does_not_verify():
    node = Lone(0)
    certificate = node.certificate(NULLIFY, 3)
    certificate.signatures[0] = bytes(64)
    node.hear(1, certificate)
    assert node.engine.view == 1
    assert node.effects == ()
    node.hear(2, node.certificate(NULLIFY, 3))  # the slot is still free
    assert node.engine.view == 4


def test_entering_a_view_by_certificate_arms_its_timer_and_drops_the_old_one():
    node = Lone(0)
    node.work()
    node.now += 900
    node.hear(1, node.certificate(NULLIFY, 1))
    node.wait(200)
    assert (NULLIFY, 2, b"") not in node.all_votes()
    node.wait(1_299)
    assert (NULLIFY, 2, b"") not in node.all_votes()
    node.wait(1)
    assert (NULLIFY, 2, b"") in node.all_votes()


def test_a_late_finalize_of_an_old_view_decides():
    node = Lone(0)
    block = node.block()
    node.propose(1, block)
    node.judge(block)
    node.hear(1, node.certificate(NOTARIZE, 1, chain.hash_of(block)))
    for view in (2, 3, 4):
        node.hear(1, node.certificate(NULLIFY, view))
    assert node.engine.view == 5
    node.vote(2, FINALIZE, 1, chain.hash_of(block))
    node.vote(3, FINALIZE, 1, chain.hash_of(block))
    [decide] = node.decided()
    assert decide.certificate.view == 1


def test_votes_of_a_decided_height_still_convict():
    node = Lone(0)
    block, other = node.block(1), node.block(2)
    node.propose(1, block)
    node.judge(block)
    node.vote(3, NOTARIZE, 1, chain.hash_of(block))
    node.hear(1, node.certificate(FINALIZE, 1, chain.hash_of(block)))
    node.vote(3, NOTARIZE, 1, chain.hash_of(other))
    assert [fault.signer for fault in node.faults()] == [chain.key(3)]
    node.executed(chain.hash_of(block))
    late = chain.vote(NOTARIZE, 2, 1, 1, chain.hash_of(other))
    node.hear(2, late)
    assert [fault.signer for fault in node.faults()] == [chain.key(2)]


def test_heights_are_delivered_in_order_and_one_at_a_time():
    node = Lone(0, settings=replace(SETTINGS, heights_per_request_max=1))
    blocks = [chain.block(1, chain.GENESIS, START_MS)]
    for height in (2, 3):
        blocks.append(chain.block(height, chain.hash_of(blocks[-1]), START_MS + height))
    hashes = [chain.hash_of(block) for block in blocks]
    for peer in (1, 2, 3):
        node.hear(peer, Tip(finalization=node.certificate(FINALIZE, 1, hashes[2], height=3)))
    asked = {request.from_height: peer for peer, request in node.requests(node.all)}
    assert set(asked) == {1, 2, 3}
    for height in (3, 2, 1):
        assert not node.decided()
        sender = next(i for i in range(4) if chain.key(i) == asked[height])
        finalization = node.certificate(FINALIZE, 1, hashes[height - 1], height=height)
        node.hear(
            sender, BlockReply(blocks=[blocks[height - 1]], finalization=finalization, from_height=height)
        )
    for height in (1, 2, 3):
        assert [effect.height for effect in node.decided()] == [height]
        node.wait(1)
        assert not node.decided()  # the next only once this one is executed
        node.executed(hashes[height - 1], height=height)


def test_a_restarted_leader_sends_the_same_proposal_and_builds_no_other():
    node = Lone(2)
    node.work()
    block = node.block()
    node.built(block)
    [proposal] = node.proposals()
    again = Lone(2, journal=node.journal)
    assert again.proposals() == [proposal]
    assert not again.asked_to_build()
    again.work()
    again.built(node.block(7))
    assert not again.proposals()
    assert {v for v in again.all_votes() if v[0] == NOTARIZE} == {(NOTARIZE, 1, chain.hash_of(block))}


def test_a_nullification_takes_nothing_from_a_notarization_of_the_same_view():
    for first_n in (True, False):
        node = Lone(0)
        block = node.block()
        certificates = [node.certificate(NOTARIZE, 1, chain.hash_of(block)), node.certificate(NULLIFY, 1)]
        for certificate in certificates if first_n else certificates[::-1]:
            node.hear(1, certificate)
        assert (FINALIZE, 1, chain.hash_of(block)) in node.all_votes()
        for sender in (1, 2):
            node.vote(sender, FINALIZE, 1, chain.hash_of(block))
        assert node.engine.finalization is not None


def test_a_height_claimed_without_a_certificate_changes_nothing():
    node = Lone(0)
    lie = node.certificate(FINALIZE, 1, bytes(32), height=1_000)
    lie.signatures[0] = bytes(64)
    node.hear(3, Tip(finalization=lie))
    assert node.engine.behind == 0
    assert node.requests() == []
    assert node.walks() == [(chain.key(3), 1)]  # another set may have signed it: its teller may show that
    block = node.block()
    node.propose(1, block)
    node.judge(block)
    assert node.votes() == [(NOTARIZE, 1, chain.hash_of(block))]
    node.hear(3, BoundaryReply())
    for _ in range(3):
        node.wait(500)
        assert node.walks() == []  # its teller had its chance


def test_own_votes_told_back_to_us_change_nothing():
    node = Lone(0)
    node.work()
    node.wait(1_000)
    own = chain.vote(NULLIFY, 0, 1, 1)
    for sender in (0, 1):
        node.hear(sender, own)
        assert node.effects == ()
    node.vote(1, NULLIFY, 1)
    assert node.certificates() == []
    late = Lone(0, height=4)
    late.vote(0, NULLIFY, 1, height=2)
    assert late.effects == ()  # nothing is ever sent to oneself


def test_quorum_is_more_than_two_thirds_and_not_2f_plus_1():
    assert [quorum(n) for n in (1, 2, 3, 4, 5, 6, 7, 9, 10, 31)] == [1, 2, 3, 3, 4, 5, 5, 7, 7, 21]


def test_a_certificate_goes_on_to_all_but_the_one_it_came_from():
    """Boomerang: sending a certificate back to who has just served it. One we formed ourselves goes to all."""
    node = Lone(0)
    for view, kind in ((1, NULLIFY), (2, NOTARIZE)):
        certificate = node.certificate(kind, view, bytes(32) if kind == NOTARIZE else b"")
        node.hear(3, certificate)
        [send] = [send for send in node.of(Send) if send.message.certificate == certificate]
        assert (send.to, send.besides) == (None, chain.key(3))
    node.hear(1, node.proposal(5, node.block(), nullified=[3, 4], leader=2))  # not by its leader
    assert not node.certificates()
    node.hear(2, node.proposal(5, node.block(), nullified=[1, 2, 3, 4]))
    carried = [send for send in node.of(Send) if send.message.HasField("certificate")]
    assert {(send.message.certificate.view, send.besides) for send in carried} == {
        (view, chain.key(2)) for view in (2, 3, 4)
    }
    for sender in (1, 2, 3):
        node.vote(sender, NULLIFY, 5)
    [send] = [send for send in node.of(Send) if send.message.HasField("certificate")]
    assert (send.message.certificate.view, send.besides) == (5, None)


def test_a_certificate_is_sent_on_once_however_often_it_is_told():
    node = Lone(0)
    block_hash = chain.hash_of(node.block())
    certificates = [
        node.certificate(NULLIFY, 1),
        node.certificate(NOTARIZE, 2, block_hash),
        node.certificate(FINALIZE, 2, block_hash),
    ]
    for certificate in certificates:
        for sender in (1, 2, 3, 1):
            node.hear(sender, certificate)
        for sender in (1, 2, 3):
            node.vote(sender, certificate.kind, certificate.view, certificate.block_hash)
    assert sorted(node.certificates(node.all)) == [(NOTARIZE, 2), (NULLIFY, 1), (FINALIZE, 2)]


def test_a_vote_that_came_a_view_early_counts_when_its_view_becomes_current():
    node = Lone(0)
    for sender in (1, 2):
        node.vote(sender, NULLIFY, 2)
    node.hear(3, node.certificate(NULLIFY, 1))
    assert node.engine.view == 2
    node.wait(1_500)
    assert (NULLIFY, 2) in node.certificates()
    assert node.engine.view == 3


def test_the_proof_travels_in_the_proposal():
    """Whoever missed all that was said before can vote on the proposal alone."""
    leader = Lone(1)  # of view 4
    block = leader.block()
    leader.hear(3, leader.certificate(NOTARIZE, 2, chain.hash_of(block)))
    leader.hear(2, leader.certificate(NULLIFY, 1))
    # Too late to be voted for, and it brings the body.
    leader.hear(3, leader.proposal(2, block, nullified=[1]))
    leader.hear(3, leader.certificate(NULLIFY, 3))
    leader.wait(0)
    [proposal] = leader.proposals(leader.all)
    assert (proposal.view, proposal.from_view) == (4, 2)
    fresh = Lone(3)
    fresh.hear(1, proposal)
    assert (NOTARIZE, 4, chain.hash_of(block)) in fresh.votes()


def test_signatures_are_not_looked_at_for_what_is_known_or_can_be_nothing():
    node = Lone(0)
    block_hash = chain.hash_of(node.block())
    vote = chain.vote(NOTARIZE, 1, 1, 1, block_hash)
    node.hear(1, vote)
    assert len(node.verified) == 1
    for _ in range(5):
        node.hear(1, vote)  # known
    node.hear(3, vote)  # told by another
    node.hear(1, chain.vote(NOTARIZE, 1, 1, 99, block_hash))  # far ahead
    node.hear(1, chain.vote(NOTARIZE, 1, 2, 1, block_hash))  # of the next height: its set is not known yet
    node.hear(1, chain.vote(NOTARIZE, 1, 9, 1, block_hash))
    node.hear(9, chain.vote(NOTARIZE, 9, 1, 1, block_hash))  # a stranger
    assert len(node.verified) == 1
    notarization = node.certificate(NOTARIZE, 1, block_hash)
    node.hear(2, notarization)
    verified = len(node.verified)
    for sender in (1, 2, 3):
        node.hear(sender, notarization)
    node.hear(3, node.proposal(2, node.block(), from_view=1))  # carries it once more
    assert len(node.verified) == verified + 1  # the proposal's own vote
