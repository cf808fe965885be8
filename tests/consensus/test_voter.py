"""Views, timers and proposals at the open height."""

import pytest

from ledger.errors import Malformed
from proto.chiptrace.v1.consensus_pb2 import Tip
from tests.consensus import chain
from tests.consensus.lone import FINALIZE, NOTARIZE, NULLIFY, START_MS, Lone

# Height 1 of four: the leader of view 1 is validator 2, then 3, 0, 1.


# ---- the clock (rule 8) -----------------------------------------------------------------------------


def test_an_idle_height_neither_times_out_nor_proposes():
    for index in range(4):
        node = Lone(index, due_ms=START_MS + 60_000)
        assert node.timer() == START_MS + 60_000
        node.wait(59_999)
        assert not node.all_votes()
        assert not node.asked_to_build()


def test_a_block_that_is_due_starts_the_clock_everywhere():
    leader, other = Lone(2), Lone(0)
    for node in (leader, other):
        node.wait(10_000)
    assert leader.asked_to_build()
    assert other.timer() == START_MS + 11_000
    other.wait(1_000)
    assert other.votes() == [(NULLIFY, 1, b"")]


def test_work_starts_the_clock():
    node = Lone(0)
    node.work()
    assert node.timer() == START_MS + 1_000
    node.wait(1_000)
    assert node.votes() == [(NULLIFY, 1, b"")]


@pytest.mark.parametrize("what", ["votes", "proposal", "certificate"])
def test_any_valid_word_about_the_height_starts_the_clock(what):
    node = Lone(0)
    if what == "votes":
        node.vote(1, NULLIFY, 1)
        node.vote(3, NULLIFY, 1)
    elif what == "proposal":
        node.propose(1, node.block())
    else:
        node.hear(1, node.certificate(NULLIFY, 1))
    assert node.timer() <= START_MS + 1_500
    node.now = node.timer()
    node.wait(500)
    assert NULLIFY in [vote[0] for vote in node.all_votes()]


@pytest.mark.parametrize("view", [1, 9])
def test_the_votes_of_so_few_that_they_may_lie_start_the_clock_a_view_after_the_height_opened(view):
    """One that has work, and waited for the leader in vain, loses no time; one that only wants empty blocks gets few."""
    node = Lone(2)  # leader of view 1
    node.wait(100)
    node.vote(1, NULLIFY, view)
    node.vote(1, NULLIFY, view + 4)
    assert node.timer() == START_MS + 1_000
    node.wait(899)
    assert not node.asked_to_build()
    node.wait(1)
    assert node.asked_to_build()
    late = Lone(2)
    late.wait(1_500)
    late.vote(1, NULLIFY, view)
    assert late.asked_to_build()
    others = Lone(2)
    others.vote(1, NULLIFY, view)
    others.vote(3, NULLIFY, view)
    assert others.asked_to_build()


def test_a_block_that_is_due_earlier_is_not_put_off_by_a_vote():
    node = Lone(2, due_ms=START_MS + 200)
    node.vote(1, NULLIFY, 1)
    node.wait(200)
    assert node.asked_to_build()


def test_a_proposal_of_a_view_to_come_starts_no_clock():
    """It is its leader's vote, and that of one alone."""
    node = Lone(0)
    node.propose(2, node.block())
    assert node.timer() == START_MS + 1_000


def test_words_that_do_not_verify_do_not_start_the_clock():
    node = Lone(0)
    forged = chain.vote(NULLIFY, 1, 1, 1)
    forged.signature = bytes(64)
    node.hear(1, forged)
    certificate = node.certificate(NULLIFY, 1)
    certificate.signatures[2] = bytes(64)
    node.hear(1, certificate)
    node.hear(1, Tip())
    node.wait(9_000)
    assert not node.all_votes()


def test_a_leader_proposes_no_empty_block_before_the_clock_starts():
    node = Lone(2)
    node.work()
    assert node.asked_to_build()
    node.built(node.block(), wanted=False)
    assert not node.proposals()
    node.wait(5_000)
    assert not node.all_votes()
    node.vote(0, NULLIFY, 1)  # others' clock runs
    assert node.asked_to_build()
    node.built(node.block(), wanted=False)
    assert [proposal.block for proposal in node.proposals()] == [node.block()]


def test_a_leader_asks_again_when_there_was_nothing_and_then_is():
    node = Lone(2)
    node.work()
    node.work()
    assert not node.asked_to_build()  # the first answer is awaited
    node.built(node.block(), wanted=False)
    node.work()
    assert node.asked_to_build()


def test_a_leader_whose_application_cannot_build_asks_once_more_and_times_out():
    node = Lone(2)
    node.work()
    node.built(None, wanted=False)
    assert len(node.asked_to_build()) == 1
    node.built(None, wanted=False)
    assert not node.asked_to_build()
    node.wait(1_000)
    assert node.votes() == [(NULLIFY, 1, b"")]


# ---- views (rules 3, 4) -------------------------------------------------------------------------------


def test_on_a_notarization_it_is_kept_passed_on_finalized_and_left_behind():
    node = Lone(0)
    node.hear(1, node.certificate(NOTARIZE, 1, bytes(32)))
    assert [record.WhichOneof("kind") for record in node.journal] == ["height", "certificate", "vote"]
    assert node.certificates() == [(NOTARIZE, 1)]
    assert node.votes() == [(FINALIZE, 1, bytes(32))]
    assert node.engine.view == 2
    node.hear(2, node.certificate(NOTARIZE, 1, bytes(32)))
    assert node.effects == ()


def test_a_notarization_of_an_old_view_is_still_finalized():
    node = Lone(0)
    node.hear(1, node.certificate(NULLIFY, 7))
    node.hear(1, node.certificate(NOTARIZE, 3, bytes(32)))
    assert node.votes() == [(FINALIZE, 3, bytes(32))]
    assert node.engine.view == 8


def test_a_view_we_nullified_is_not_finalized():
    node = Lone(0)
    node.work()
    node.wait(1_000)
    node.hear(1, node.certificate(NOTARIZE, 1, bytes(32)))
    assert FINALIZE not in [vote[0] for vote in node.votes()]
    assert node.engine.view == 2


def test_holding_a_nullification_we_did_not_vote_for_is_no_obstacle_to_finalize():
    node = Lone(0)
    node.hear(1, node.certificate(NULLIFY, 1))
    node.hear(1, node.certificate(NOTARIZE, 1, bytes(32)))
    assert node.votes() == [(FINALIZE, 1, bytes(32))]


def test_views_time_out_later_and_later_and_only_the_current_one_is_nullified():
    node = Lone(1)
    node.work()
    for view, timeout in ((1, 1_000), (2, 1_500), (3, 2_250)):
        node.wait(timeout - 1)
        assert (NULLIFY, view, b"") not in node.all_votes()
        node.wait(1)
        assert (NULLIFY, view, b"") in node.votes()
        node.hear(3, node.certificate(NULLIFY, view))
        assert node.engine.view == view + 1
    node.wait(10_000)
    assert {vote[1] for vote in node.all_votes()} == {1, 2, 3, 4}


def test_timers_run_in_views_above_1_without_any_work():
    node = Lone(1)
    node.hear(3, node.certificate(NULLIFY, 1))
    node.wait(1_500)
    assert (NULLIFY, 2, b"") in node.votes()


# ---- proposing (rules 1, 3) -----------------------------------------------------------------------------


def test_a_new_block_goes_out_with_everything():
    node = Lone(3, height=4)  # height 5: leader of view 2
    node.hear(0, node.certificate(NULLIFY, 1))
    [asked] = node.asked_to_build()
    assert (asked.height, asked.view) == (5, 2)
    block = node.block()
    node.built(block)
    [proposal] = node.proposals()
    assert proposal == node.proposal(2, block, nullified=[1])
    assert [record.WhichOneof("kind") for record in node.journal] == [
        "height",
        "certificate",
        "proposal",
        "vote",
    ]


def test_a_leader_that_entered_by_notarization_waits_for_the_finalization():
    node = Lone(3)
    block = node.block()
    node.propose(1, block)
    node.judge(block)
    node.hear(0, node.certificate(NOTARIZE, 1, chain.hash_of(block)))
    assert node.timer() == START_MS + 200
    node.wait(199)
    assert not node.proposals()
    node.wait(1)
    assert node.proposals() == [node.proposal(2, block, from_view=1)]


def test_the_finalization_within_the_grace_spares_the_view():
    node = Lone(3)
    block = node.block()
    node.propose(1, block)
    node.judge(block)
    node.hear(0, node.certificate(NOTARIZE, 1, chain.hash_of(block)))
    node.wait(100)
    node.hear(0, node.certificate(FINALIZE, 1, chain.hash_of(block)))
    node.wait(1_000)
    assert not node.proposals(node.all)


def test_a_leader_that_entered_by_nullification_does_not_wait():
    node = Lone(3)
    node.hear(0, node.certificate(NULLIFY, 1))
    assert node.asked_to_build()


def test_the_highest_notarization_is_proposed_again():
    node = Lone(1)  # leader of view 4
    blocks = [node.block(i) for i in range(2)]
    for view, block in enumerate(blocks, start=1):
        node.hear(node.leader(view), node.proposal(view, block, nullified=range(1, view)))
        node.judge(block)
        node.hear(0, node.certificate(NOTARIZE, view, chain.hash_of(block)))
        node.hear(0, node.certificate(NULLIFY, view))
    node.hear(0, node.certificate(NULLIFY, 3))
    assert node.engine.view == 4
    assert not node.asked_to_build()
    assert node.proposals() == [node.proposal(4, blocks[1], from_view=2, nullified=[3])]


def test_a_leader_without_the_proof_proposes_nothing_until_it_has_it():
    node = Lone(1)
    node.hear(0, node.certificate(NULLIFY, 3))
    assert node.engine.view == 4
    assert not node.asked_to_build()
    for view in (1, 2):
        node.hear(0, node.certificate(NULLIFY, view))
    assert node.asked_to_build()


def test_a_leader_without_the_body_fetches_it_first():
    node = Lone(3)
    block = node.block()
    node.hear(0, node.certificate(NOTARIZE, 1, chain.hash_of(block)))
    [(_, request)] = node.requests()
    assert request.block_hash == chain.hash_of(block)
    node.wait(200)
    assert not node.proposals()
    node.propose(1, block)
    assert node.proposals() == [node.proposal(2, block, from_view=1)]


def test_a_notarization_that_comes_while_a_block_is_built_goes_first():
    node = Lone(3)
    block = node.block()
    node.propose(1, block)
    node.judge(block)
    node.hear(0, node.certificate(NULLIFY, 1))
    assert node.asked_to_build()
    node.hear(0, node.certificate(NOTARIZE, 1, chain.hash_of(block)))
    assert node.proposals() == [node.proposal(2, block, from_view=1)]
    node.built(node.block(9))
    assert not node.proposals()


def test_a_block_built_while_a_notarized_one_is_fetched_is_not_proposed():
    node = Lone(3)
    block = node.block()
    node.hear(0, node.certificate(NULLIFY, 1))
    assert node.asked_to_build()
    node.hear(0, node.certificate(NOTARIZE, 1, chain.hash_of(block)))
    node.built(node.block(9))
    assert not node.proposals(node.all)


def test_a_block_built_for_a_view_we_left_is_not_proposed():
    node = Lone(2)
    node.work()
    node.hear(0, node.certificate(NULLIFY, 1))
    node.built(node.block(), view=1)
    assert not node.proposals()


def test_a_block_that_is_none_is_our_own_mistake():
    node = Lone(2)
    node.work()
    with pytest.raises(Malformed):
        node.built(b"\xff")


# ---- leaders known dead (rules 4, 7) ----------------------------------------------------------------------


def dead_leader_passed_over(node, blocks=400):
    """Decide heights without a word of validator 3, then see what view 1 under it costs."""
    for _ in range(blocks):
        if node.leader(1) == 3:
            for sender in (1, 2):
                node.vote(sender, NULLIFY, 1)
        else:
            for sender in (1, 2):
                node.vote(sender, FINALIZE, 1, bytes(32))
        node.now += 40


def test_a_leader_known_dead_is_passed_over_at_once_and_back_at_its_first_word():
    node = Lone(1)
    for view in range(1, 12):  # 3 says nothing; the views are ended by 0 and 2, and our own timeouts
        node.now = max(node.timer(), node.now)
        for sender in (0, 2):
            node.vote(sender, NULLIFY, view)
        while (NULLIFY, view, b"") not in node.all_votes():
            node.now = max(node.timer(), node.now + 1)
            node.wait(0)
        assert node.engine.view == view + 1
    while node.leader(node.engine.view) != 3:
        node.hear(0, node.certificate(NULLIFY, node.engine.view))
    view = node.engine.view
    assert (NULLIFY, view, b"") in node.votes()  # at once
    node.vote(3, NULLIFY, view)
    for next_view in range(view, view + 4):
        node.hear(0, node.certificate(NULLIFY, next_view))
    assert node.leader(view + 4) == 3
    assert (NULLIFY, view + 4, b"") not in node.votes()


# ---- following without a vote -------------------------------------------------------------------------------


def test_who_only_follows_decides_and_keeps_no_journal():
    node = Lone(own=False)
    block = node.block()
    node.work()
    node.propose(1, block)
    node.judge(block)
    for sender in (1, 2, 3):
        node.vote(sender, NOTARIZE, 1, chain.hash_of(block))
    node.wait(5_000)
    for sender in (1, 2, 3):
        node.vote(sender, FINALIZE, 1, chain.hash_of(block))
    assert [decide.block for decide in node.decided()] == [block]
    assert not node.all_votes()
    assert not node.journal


def test_a_key_outside_the_set_follows():
    node = Lone(7)
    node.work()
    node.wait(5_000)
    assert not node.all_votes()


# ---- after a restart (rule 6) -----------------------------------------------------------------------------------


def test_a_vote_cut_off_behind_its_notarization_is_cast_after_the_restart():
    node = Lone(0)
    node.hear(1, node.certificate(NOTARIZE, 1, bytes(32)))
    cut = node.journal[:2]
    assert [record.WhichOneof("kind") for record in cut] == ["height", "certificate"]
    again = Lone(0, journal=cut)
    assert (FINALIZE, 1, bytes(32)) in again.votes()
    assert [record.WhichOneof("kind") for record in again.journal[2:]] == ["vote"]


def test_a_proposal_whose_vote_was_cut_off_was_never_sent():
    node = Lone(2)
    node.work()
    node.built(node.block())
    cut = node.journal[:2]
    assert [record.WhichOneof("kind") for record in cut] == ["height", "proposal"]
    again = Lone(2, journal=cut)
    assert not again.proposals()
    assert again.asked_to_build()


def test_after_the_restart_no_second_notarize_in_the_same_view():
    node = Lone(0)
    block, other = node.block(1), node.block(2)
    node.propose(1, block)
    node.judge(block)
    again = Lone(0, journal=node.journal)
    again.propose(1, other)
    again.judge(other)
    assert {vote for vote in again.all_votes() if vote[0] == NOTARIZE} == {
        (NOTARIZE, 1, chain.hash_of(block))
    }


def test_after_the_restart_a_body_in_the_journal_is_at_hand():
    node = Lone(0)
    block = node.block()
    node.propose(1, block)
    node.judge(block)
    again = Lone(0, journal=node.journal)
    again.hear(3, again.certificate(FINALIZE, 1, chain.hash_of(block)))
    assert [decide.block for decide in again.decided()] == [block]


def test_one_validator_decides_from_its_journal():
    node = Lone(0, n=1)
    node.work()
    block = node.block()
    node.built(block)
    assert [decide.block for decide in node.decided()] == [block]
    for cut in range(len(node.journal) + 1):
        again = Lone(0, n=1, journal=node.journal[:cut])
        if not again.decided():
            again.work()
            again.built(block)
        assert [decide.block for decide in again.decided()] == [block], cut
