"""What naive implementations get wrong when they come back, one test each; who met it first is named."""

import pytest

from consensus.effects import Persist
from ledger.errors import InvariantBroken
from proto.chiptrace.v1.consensus_pb2 import BoundaryReply, Tip
from tests.consensus import chain
from tests.consensus.lone import FINALIZE, NOTARIZE, NULLIFY, START_MS, Lone

# Height 1 of four: the leader of view 1 is validator 2, then 3, 0, 1.


def test_own_nullify_counts_after_all_crash():
    """commonware#4275: exactly a quorum is honest and all restart after nullify."""
    node = Lone(0)
    node.work()
    node.wait(1_000)
    again = Lone(0, journal=node.journal)
    assert (NULLIFY, 1, b"") in again.votes()
    again.vote(1, NULLIFY, 1)
    again.vote(3, NULLIFY, 1)
    assert again.certificates() == [(NULLIFY, 1)]


def test_records_need_not_be_in_the_order_of_views():
    """Simplex#328: resuming blindly at the last record."""
    node = Lone(0)
    block = node.block()
    node.hear(1, node.certificate(NULLIFY, 4))
    node.hear(1, node.certificate(NOTARIZE, 1, chain.hash_of(block)))
    assert node.engine.view == 5
    again = Lone(0, journal=node.journal)
    assert again.engine.view == 5


def test_timers_are_armed_after_restoring_a_nullify():
    """Simplex#328: no retry timer after restoring an empty vote."""
    node = Lone(0)
    node.work()
    node.wait(1_000)
    again = Lone(0, journal=node.journal, now=node.now)
    assert again.timer() <= again.now + 1_000
    again.now = again.timer()
    again.wait(0)
    assert (NULLIFY, 1, b"") in again.votes()


def test_several_reasons_to_nullify_make_one_vote():
    """Simplex#486."""
    node = Lone(0)
    block = node.block()
    node.propose(1, block)
    node.judge(block, valid=False)
    node.wait(1_000)
    node.wait(1)
    records = [record for record in node.journal if record.vote.kind == NULLIFY]
    assert len(records) == 1


def test_an_application_ahead_of_the_journal_opens_the_next_height():
    """commonware#3727: the node would vote in an old view for ever."""
    node = Lone(0)
    node.work()
    node.wait(1_000)
    again = Lone(0, journal=node.journal, height=1)
    assert again.engine.height == 2
    assert again.engine.view == 1
    assert again.votes() == []


def test_the_height_never_moves_backwards():
    """commonware#3727, the other way round: what was executed long ago changes nothing."""
    node = Lone(0, height=4)
    assert node.executed(bytes(32), height=4) == ()
    assert node.executed(bytes(32), height=1) == ()
    assert node.engine.height == 5
    node.hear(1, node.certificate(FINALIZE, 1, bytes(32), height=3))
    assert (node.engine.height, node.engine.finalization) == (5, node.parent_finalization)


def test_nothing_is_voted_before_the_journal_was_read():
    """malachite#850: votes handled before the replay had ended, and an equivocation went out."""
    node = Lone(0)
    first, second = node.block(1), node.block(2)
    node.propose(1, first)
    node.judge(first)
    again = Lone(0, journal=node.journal, start=False)
    again.propose(1, second)  # the driver has not even started it
    again.judge(second)
    assert NOTARIZE not in {kind for kind, _, _ in again.votes()}
    again.took(again.engine.start(again.now))
    assert {vote for vote in again.all_votes() if vote[0] == NOTARIZE} <= {
        (NOTARIZE, 1, chain.hash_of(first))
    }


def test_a_restarted_node_takes_the_blocks_of_its_height():
    """daeji#278: a restarted node refused every body, and only a wipe helped."""
    node = Lone(0)
    block = node.block()
    node.propose(1, block)
    node.judge(block)
    again = Lone(0, journal=node.journal)
    other = again.block(2)
    again.hear(3, again.proposal(2, other, nullified=[1]))
    again.judge(other)
    assert (NOTARIZE, 2, chain.hash_of(other)) in again.votes()
    again.hear(3, again.certificate(FINALIZE, 1, chain.hash_of(block)))
    assert [decide.block for decide in again.decided()] == [block]


def test_a_store_whose_finalization_is_of_another_height_does_not_open():
    """commonware#4230: a floor above what is durable."""
    from consensus.engine import Engine

    node = Lone(0, height=4)
    with pytest.raises(InvariantBroken):
        Engine(
            chain.CHAIN_ID,
            chain.key(0),
            None,
            chain.verify,
            node.engine._identity.settings,
            3,
            node.parent,
            node.parent_finalization,
            node.set,
            0,
            (),
            START_MS,
        )


def test_a_verdict_need_not_be_given_again_after_a_restart():
    """malachite adr-007: what is not deterministic is in the journal. A later clock may judge otherwise."""
    node = Lone(0)
    block = node.block()
    node.propose(1, block)
    node.judge(block)
    again = Lone(0, journal=node.journal)
    again.hear(3, again.proposal(2, block, nullified=[1]))
    assert not again.asked_to_judge()
    assert (NOTARIZE, 2, chain.hash_of(block)) in again.votes()


def test_a_block_is_durable_before_the_vote_for_it_leaves():
    """commonware#3543: a notarization exists, and nobody is able to serve the block."""
    node = Lone(0)
    block = node.block(0, [chain.transaction(1)])
    node.propose(1, block)
    node.judge(block)
    [persist] = node.of(Persist)
    assert node.effects.index(persist) == 0
    assert [record.proposal.block for record in persist.records if record.HasField("proposal")] == [block]
    again = Lone(0, journal=node.journal)
    assert again.engine._open.voter.bodies.get(chain.hash_of(block)) == block


def test_a_body_taken_over_from_the_journal_needs_no_second_record():
    node = Lone(0)
    block = node.block()
    node.propose(1, block)
    node.judge(block)
    again = Lone(0, journal=node.journal)
    again.hear(3, again.certificate(NULLIFY, 1))
    before = len(again.journal)
    again.hear(3, again.proposal(2, block, from_view=1))
    added = [record.WhichOneof("kind") for record in again.journal[before:]]
    assert "proposal" not in added
    assert added.count("vote") == 2  # finalize in view 1, notarize in view 2


def test_an_own_vote_taken_over_is_cast_no_second_time():
    node = Lone(0)
    node.work()
    node.wait(1_000)
    again = Lone(0, journal=node.journal)
    again.work()
    again.wait(1_000)
    own = [record for record in again.journal if record.vote.kind == NULLIFY and record.vote.view == 1]
    assert len(own) == 1


def test_a_restarted_node_goes_no_step_from_below_its_blocks():
    """It knows from when on its set is in force, and where its own blocks end: a boundary in between is none."""
    node = Lone(0, height=40)
    lie = node.certificate(FINALIZE, 1, bytes(32), 99)
    lie.signatures[0] = bytes(64)
    node.hear(3, Tip(finalization=lie))
    ledger = chain.Ledger(sets={1: node.set})
    node.hear(3, BoundaryReply(headers=[ledger.forged_boundary(30, chain.validators(4, start=31, first=20))]))
    node.hear(1, Tip(finalization=node.certificate(FINALIZE, 1, bytes(32), height=60)))
    assert node.engine.behind == 20
