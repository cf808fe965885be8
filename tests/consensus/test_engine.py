"""Whole engines together: what the rules are for."""

from collections import defaultdict

import pytest

from consensus.effects import Executed, Persist, Send
from ledger.errors import InvariantBroken
from proto.chiptrace.v1.consensus_pb2 import PeerMessage
from tests.consensus import chain
from tests.consensus.cluster import Cluster
from tests.consensus.lone import FINALIZE, NOTARIZE, NULLIFY, Lone


def quick(count, heartbeat_ms=50):
    cluster = Cluster(count)
    for node in cluster.nodes:
        node.ledger.heartbeat_ms = heartbeat_ms
    return cluster


def votes_on_the_wire(cluster):
    """(sender, height, view) -> {(kind, hash)} of own votes in all that was sent, also by earlier lives."""
    cast = defaultdict(set)
    for _, index, effect in cluster.trace:
        if not isinstance(effect, Send):
            continue
        kind = effect.message.WhichOneof("kind")
        if kind in {"vote", "proposal"}:
            vote = effect.message.vote if kind == "vote" else effect.message.proposal.vote
            members = cluster.nodes[index].ledger.set_at(vote.height).validators
            if members[vote.signer].key == chain.key(index):
                cast[index, vote.height, vote.view].add((vote.kind, vote.block_hash))
    return cast


def check_honest(cluster):
    for place, votes in votes_on_the_wire(cluster).items():
        kinds = [kind for kind, _ in votes]
        assert kinds.count(NOTARIZE) <= 1, place
        assert kinds.count(FINALIZE) <= 1, place
        assert not {NULLIFY, FINALIZE} <= set(kinds), place
    assert not any(node.faults for node in cluster.nodes)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 10])
def test_they_decide_in_one_view_and_three_hops(count):
    cluster = Cluster(count)
    cluster.start()
    cluster.run_until(lambda: min(cluster.heights()) == 1)
    cluster.run(100)
    for node in cluster.nodes:
        node.ledger.pool.append(chain.transaction(1))
    cluster.nodes[0].submit(chain.transaction(2))
    for node in cluster.nodes[1:]:
        node.submit(chain.transaction(2))
    spent = cluster.run_until(lambda: min(cluster.heights()) == 2)
    assert spent <= 3 * cluster.link_ms + cluster.build_ms + cluster.judge_ms + cluster.execute_ms
    assert all(node.ledger.finalization.view == 1 for node in cluster.nodes)
    check_honest(cluster)


def test_a_block_with_transactions_is_followed_by_an_empty_one_and_then_it_is_quiet():
    cluster = Cluster(4)
    cluster.start()
    cluster.run(200)
    assert cluster.heights() == [1] * 4
    for node in cluster.nodes:
        node.submit(chain.transaction(1))
    cluster.run(200)
    assert cluster.heights() == [3] * 4
    events = len(cluster.trace)
    cluster.run(8_000)
    assert len(cluster.trace) == events
    cluster.run(3_000)
    assert cluster.heights() == [4] * 4


def test_every_decided_height_has_its_own_certificate():
    cluster = quick(4)
    cluster.start()
    cluster.run_until(lambda: min(cluster.heights()) >= 5)
    for node in cluster.nodes:
        for height, (block, certificate) in enumerate(node.ledger.blocks, start=1):
            assert (certificate.kind, certificate.height) == (FINALIZE, height)
            assert certificate.block_hash == chain.hash_of(block)


def test_one_fsync_per_step_and_two_per_height_and_node():
    cluster = quick(4)
    cluster.start()
    cluster.run_until(lambda: min(cluster.heights()) >= 20)
    persists = sum(isinstance(effect, Persist) for _, _, effect in cluster.trace)
    assert persists <= 2 * 4 * max(cluster.heights())


# ---- with one validator gone --------------------------------------------------------------------------


def test_three_of_four_go_on_and_pass_over_the_dead_leader():
    cluster = quick(4)
    cluster.start(0, 1, 2)
    cluster.run(5_000)
    before, begun = cluster.heights()[0], cluster.now
    assert before > 20
    cluster.run_until(lambda: cluster.heights()[0] >= before + 40)
    # Ten of these forty had the dead leader first, at 100 ms each, were it not known dead.
    assert cluster.now - begun < 40 * (50 + 40)


def test_a_killed_validator_rejoins_by_itself_while_the_chain_goes_on():
    cluster = quick(4)
    cluster.start()
    cluster.run_until(lambda: min(cluster.heights()) >= 5)
    for turn in range(12):
        node = cluster.nodes[turn % 4]
        node.crash()
        before = max(cluster.heights())
        cluster.run(700)
        assert max(cluster.heights()) > before + 3
        node.start()
        cluster.run(700)
        assert max(cluster.heights()) - node.ledger.height <= 1
    check_honest(cluster)


def test_all_killed_at_once_go_on():
    cluster = quick(4)
    cluster.start()
    for moment in range(40):
        cluster.run(37 + moment)
        for node in cluster.nodes:
            node.crash()
        before = max(cluster.heights())
        cluster.start()
        cluster.run_until(lambda before=before: min(cluster.heights()) > before)
    check_honest(cluster)


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("boundary", range(24))
def test_a_crash_at_any_persist_is_survived(count, boundary):
    """Right before, or right after, the n-th Persist of a validator, at its first heights."""
    cluster = quick(count)
    victim = cluster.nodes[2 % count]
    victim.crash_at_persist = boundary
    cluster.start()
    cluster.run_until(lambda: victim.engine is None)
    cluster.run(5)
    victim.crash_at_persist = None
    victim.start()
    target = max(cluster.heights()) + 4
    cluster.run_until(lambda: min(cluster.heights()) >= target)
    check_honest(cluster)


@pytest.mark.parametrize("boundary", range(8))
def test_all_crash_at_the_same_persist(boundary):
    cluster = quick(4)
    for node in cluster.nodes:
        node.crash_at_persist = boundary
    cluster.start()
    cluster.run_until(lambda: all(node.engine is None for node in cluster.nodes))
    for node in cluster.nodes:
        node.crash_at_persist = None
        node.start()
    cluster.run_until(lambda: min(cluster.heights()) >= 5)
    check_honest(cluster)


# ---- what the model found (reference) -------------------------------------------------------------------


def test_a_node_alone_with_a_decision_tells_it_while_idle():
    """No answer for decided heights: stuck whenever one node alone had finalized."""
    cluster = Cluster(4)
    finalize_to_0 = lambda sender, to, m: (
        to == 0 or (not (m.HasField("vote") and m.vote.kind == FINALIZE) and not m.HasField("certificate"))
    )
    cluster.deliver = finalize_to_0
    cluster.start()
    cluster.run_until(lambda: sorted(cluster.heights()) == [0, 0, 0, 1])
    assert cluster.nodes[0].ledger.height == 1
    cluster.deliver = lambda sender, to, message: True
    cluster.run(500)
    assert cluster.heights() == [1] * 4


def test_lost_messages_are_repaired_by_resending():
    """No standstill resend: stuck."""
    for lost in ("vote", "certificate"):
        cluster = Cluster(4)
        until = cluster.now + 300
        cluster.deliver = lambda sender, to, m, lost=lost, until=until, cluster=cluster: (
            cluster.now > until or not m.HasField(lost)
        )
        cluster.start()
        cluster.run_until(lambda cluster=cluster: min(cluster.heights()) >= 1)


def test_a_dead_leader_on_an_idle_chain_is_noticed_by_all():
    """The clock started by own transactions only: stuck, when one node alone has the transaction."""
    cluster = Cluster(4)
    cluster.start()
    cluster.run_until(lambda: min(cluster.heights()) == 1)
    cluster.run(100)
    leader = (2 + 1) % 4
    cluster.nodes[leader].crash()
    cluster.nodes[0].submit(chain.transaction(1))
    spent = cluster.run_until(lambda: sorted(cluster.heights())[1] >= 2)
    assert spent < 600
    cluster.run(3_000)
    assert cluster.nodes[0].included() == {chain.transaction(1)}


def test_a_block_proposed_again_is_not_too_old():
    """Re-judging a block's age: stuck, since age only grows."""
    cluster = Cluster(4)
    asked = []
    cluster.judge = lambda index, effect: (asked.append((index, effect.block_hash)), True)[1]
    cluster.deliver = lambda sender, to, m: (
        not (m.HasField("vote") and m.vote.kind == FINALIZE)
        and not (m.HasField("certificate") and m.certificate.kind == FINALIZE)
    )
    cluster.start()
    cluster.run(20_000)
    assert cluster.nodes[0].engine.view > 5
    cluster.deliver = lambda sender, to, message: True
    cluster.run_until(lambda: min(cluster.heights()) == 1)
    assert len(asked) == len(set(asked)) <= 3


def test_the_same_block_may_be_final_in_two_views():
    node = Lone(0)
    block = node.block()
    node.propose(1, block)
    node.judge(block)
    node.hear(3, node.proposal(2, block, from_view=1))
    for view in (1, 2):
        node.vote(1, FINALIZE, view, chain.hash_of(block))
        node.vote(1, NOTARIZE, view, chain.hash_of(block))
    assert not node.faults()


def test_a_lost_certificate_behind_a_finalize_is_in_the_journal():
    """Certificates not durable before the vote that rests on them: states that never heal."""
    node = Lone(0)
    block = node.block()
    node.hear(1, node.certificate(NOTARIZE, 1, chain.hash_of(block)))
    again = Lone(0, journal=node.journal)
    assert (NOTARIZE, 1) in again.certificates()
    assert again.engine.view == 2


def test_split_views_do_not_lock_up():
    """commonware split_views_no_lockup: view 1 notarized for one half and nullified for the other."""
    cluster = quick(4)
    halves = {0: "N", 1: "N", 2: "Z", 3: "Z"}

    def deliver(sender, to, message):
        if cluster.now > until:
            return True
        kind = message.WhichOneof("kind")
        about = (
            message.vote.kind if kind == "vote" else message.certificate.kind if kind == "certificate" else 0
        )
        if about == NOTARIZE:
            return halves[to] == "N"
        if about == NULLIFY:
            return halves[to] == "Z"
        return about != FINALIZE

    until = cluster.now + 2_000
    cluster.deliver = deliver
    cluster.start()
    cluster.run(2_000)
    cluster.run_until(lambda: min(cluster.heights()) >= 2, limit_ms=3_000)
    check_honest(cluster)


# ---- the driver's mistakes ------------------------------------------------------------------------------


def test_an_execution_that_was_not_decided_stops_the_node():
    node = Lone(0)
    with pytest.raises(InvariantBroken):
        node.executed(bytes(32))
    block = node.block()
    node.propose(1, block)
    node.hear(1, node.certificate(FINALIZE, 1, chain.hash_of(block)))
    with pytest.raises(InvariantBroken):
        node.executed(bytes(32))
    with pytest.raises(InvariantBroken):
        node.executed(chain.hash_of(block), height=2)
    node.executed(chain.hash_of(block))
    assert node.step(Executed(1, bytes(32), node.set, 0)) == ()  # told again: no news


def test_an_empty_message_is_dropped():
    node = Lone(0)
    assert node.hear(1, PeerMessage()) == ()


def test_the_timer_is_set_again_only_when_it_changes():
    node = Lone(0)
    node.work()
    assert node.timer() == node.now + 1_000
    assert node.work() == ()
    assert len(node.wait(1)) == 1  # fired: must be set anew


def test_a_clock_set_back_harms_nothing():
    node = Lone(0)
    node.work()
    node.now -= 100_000
    node.vote(1, NULLIFY, 1)
    node.hear(1, node.certificate(NULLIFY, 1))
    assert node.engine.view == 2
    node.wait(1_500)
    assert (NULLIFY, 2, b"") in node.votes()
