"""What keeps a chain going, and what keeps it quiet: one test for each thing that was found missing somewhere."""

from dataclasses import replace

import pytest

from consensus.effects import BuildBlock
from consensus.schedule import CERTIFYING_WAIT_MS_MAX, view_timeout_ms
from proto.chiptrace.v1.consensus_pb2 import PeerMessage
from proto.chiptrace.v1.ledger_pb2 import Block
from tests.consensus import chain
from tests.consensus.cluster import Cluster
from tests.consensus.lone import FINALIZE, NOTARIZE, NULLIFY, SETTINGS, Lone

# Height 1 of four: the leader of view 1 is validator 2, then 3, 0, 1.


def all_idle(count=4, heights=1):
    cluster = Cluster(count)
    cluster.start()
    cluster.run_until(lambda: min(cluster.heights()) == heights)
    cluster.run(100)
    return cluster


# ---- repair (rule 7) ----------------------------------------------------------------------------------


def test_standing_still_everything_is_sent_again_round_and_round_within_the_budget():
    budget = 1_000
    node = Lone(0, settings=replace(SETTINGS, resend_bytes_max=budget, base_timeout_ms=100_000))
    for view in range(1, 12):
        node.hear(1, node.certificate(NULLIFY, view))
    rounds = []
    for _ in range(40):
        node.wait(1_000)
        sent = node.sent()
        assert 0 < sum(message.ByteSize() for message in sent) <= budget
        rounds.append([message.certificate.view for message in sent if message.HasField("certificate")])
    assert sorted({view for views in rounds for view in views}) == list(range(1, 12))
    counts = [sum(views.count(view) for views in rounds) for view in range(1, 12)]
    assert max(counts) - min(counts) <= 1


def test_progress_puts_off_what_is_sent_again():
    node = Lone(0)
    node.work()
    node.wait(900)
    node.hear(1, node.certificate(NULLIFY, 1))
    node.wait(900)
    assert not node.certificates()
    node.wait(100)
    assert (NULLIFY, 1) in node.certificates()


def test_timeouts_grow_are_capped_and_begin_anew_with_the_next_height():
    node = Lone(0)
    times = []
    node.work()
    for view in range(1, 10):
        begun = node.now
        while (NULLIFY, view, b"") not in node.all_votes():
            node.now = max(node.timer(), node.now + 1)
            node.wait(0)
        times.append(node.now - begun)
        node.hear(1, node.certificate(NULLIFY, view))
    assert times == [view_timeout_ms(SETTINGS, view) for view in range(1, 10)]
    assert times[:3] == [1_000, 1_500, 2_250]
    assert times[-2:] == [8_000, 8_000]
    block = node.block()
    node.hear(3, node.certificate(NOTARIZE, 10, chain.hash_of(block)))
    node.hear(3, node.proposal(11, block, from_view=10))
    node.hear(3, node.certificate(FINALIZE, 10, chain.hash_of(block)))
    node.hear(node.leader(10), node.proposal(10, block, nullified=range(1, 10)))
    node.executed(chain.hash_of(block))
    node.work()
    begun = node.now
    node.wait(1_000)
    assert (NULLIFY, 1, b"") in node.votes()


# ---- leaders known dead (rules 4 and 7) -------------------------------------------------------------------


def silent_views(node, speaking, views):
    """Views pass in which only these speak."""
    for view in range(node.engine.view, node.engine.view + views):
        node.now += 1_000
        for sender in speaking:
            node.vote(sender, NULLIFY, view)
        node.wait(0)
        node.hear(speaking[0], node.certificate(NULLIFY, view))


def test_a_leader_that_a_quorum_outlived_is_passed_over_and_welcomed_back():
    node = Lone(0)
    node.work()
    silent_views(node, (1, 3), 8)
    while node.leader(node.engine.view) != 2:
        silent_views(node, (1, 3), 1)
    view = node.engine.view
    assert (NULLIFY, view, b"") in node.all_votes()  # at once
    node.vote(2, NULLIFY, view)
    silent_views(node, (1, 3), 4)
    while node.leader(node.engine.view + 1) != 2:
        silent_views(node, (1, 3), 1)
    node.vote(2, NULLIFY, node.engine.view)  # one word is enough, even where no quorum says any
    node.hear(2, node.certificate(NULLIFY, node.engine.view))
    assert node.leader(node.engine.view) == 2
    assert (NULLIFY, node.engine.view, b"") not in node.all_votes()


def test_the_dead_leader_hint_fails_open_when_no_quorum_is_heard():
    node = Lone(0)
    node.work()
    silent_views(node, (1,), 12)
    while node.leader(node.engine.view) != 2:
        silent_views(node, (1,), 1)
    assert (NULLIFY, node.engine.view, b"") not in node.all_votes()


def test_the_dead_leader_hint_never_names_oneself():
    node = Lone(0)
    node.work()
    silent_views(node, (1, 2, 3), 12)
    while node.leader(node.engine.view) != 0:
        silent_views(node, (1, 2, 3), 1)
    assert (NULLIFY, node.engine.view, b"") not in node.all_votes()
    assert node.of(BuildBlock, node.all)[-1].view == node.engine.view


# ---- empty blocks (rule 8) --------------------------------------------------------------------------------


def test_no_empty_block_beside_certification_and_heartbeat():
    cluster = all_idle()
    for node in cluster.nodes:
        node.submit(chain.transaction(1))
    cluster.run(25_000)  # two heartbeats and a half
    carried = [len(Block.FromString(data).transactions) for data, _ in cluster.nodes[0].ledger.blocks]
    assert carried == [0, 1, 0, 0, 0]  # the first, the transaction, what certifies it, two heartbeats
    assert not any(node.faults for node in cluster.nodes)


def decided_after(node, ms):
    """Height 1 began with a transaction and was decided so much later; what certifies it is due at once."""
    block = node.block()
    node.work()
    node.built(block)
    node.wait(ms)
    node.hear(0, PeerMessage(certificate=node.certificate(FINALIZE, 1, chain.hash_of(block))))
    node.executed(chain.hash_of(block), due_ms=0)


@pytest.mark.parametrize(("took", "waits"), [(100, 100), (700, CERTIFYING_WAIT_MS_MAX)])
def test_a_block_that_only_certifies_is_held_back_as_long_as_the_height_took(took, waits):
    node = Lone(2)
    decided_after(node, took)
    begun = node.now
    assert node.timer() == begun + waits
    node.wait(waits - 1)
    assert node.engine.height == 2
    assert node.engine.view == 1
    assert not [vote for vote in node.all_votes() if vote[0] != NOTARIZE]
    assert node.engine._open.voter.schedule.started_ms is None
    node.wait(1)
    assert node.engine._open.voter.schedule.started_ms == begun + waits


def test_a_transaction_does_not_wait_for_what_is_held_back():
    node = Lone(2)
    decided_after(node, 200)
    node.wait(10)
    node.work()
    assert node.engine._open.voter.schedule.started_ms == node.now


@pytest.mark.parametrize("told", [[0], [0, 1], [0, 1, 3]])
def test_a_pending_transaction_wakes_a_chain_whose_idle_leader_is_dead(told):
    """Also where one validator alone knows of it: its nullify starts the clock of the others."""
    cluster = all_idle()
    leader = (2 + 1) % 4
    cluster.nodes[leader].crash()
    others = [index for index in told if index != leader]
    for index in others:
        cluster.nodes[index].submit(chain.transaction(1))
    cluster.run_until(lambda: sorted(cluster.heights())[1] >= 2, limit_ms=800)
    cluster.run(3_000)
    assert cluster.nodes[0].included() == {chain.transaction(1)}


def test_a_transaction_that_turns_out_to_be_worth_no_block_costs_no_view():
    node = Lone(2)
    node.work()
    assert node.asked_to_build()
    node.built(node.block(), wanted=False)
    node.wait(5_000)
    assert not node.all_votes()


def test_a_dead_majority_comes_back_and_the_chain_goes_on():
    """Nothing that grew meanwhile (views, time-outs, rests) stands in the way for long."""
    cluster = all_idle()
    for node in cluster.nodes:
        node.submit(chain.transaction(1))
    for index in (1, 2):
        cluster.nodes[index].crash()
    cluster.run(60_000)
    height = max(cluster.heights())
    cluster.start(1, 2)
    cluster.run_until(lambda: min(cluster.heights()) > height, limit_ms=4 * 800)
