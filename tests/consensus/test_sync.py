"""Catching up through the whole engine: with honest peers, across changes of the set, and while the chain goes on."""

import pytest

from consensus.effects import EngineSettings
from proto.chiptrace.v1.consensus_pb2 import BlockReply, BlockRequest, PeerMessage, Tip
from proto.chiptrace.v1.ledger_pb2 import Block
from tests.consensus import chain
from tests.consensus.cluster import SETTINGS, Cluster
from tests.consensus.lone import FINALIZE, NOTARIZE, NULLIFY, START_MS, Lone
from tests.consensus.serving import Serving, honest


def chain_of(length, transactions=None):
    blocks, parent = [], chain.GENESIS
    for height in range(1, length + 1):
        blocks.append(chain.block(height, parent, START_MS + height, transactions))
        parent = chain.hash_of(blocks[-1])
    return blocks


def behind(length=3, transactions=None):
    """A node that was told of `length` heights, and whom it asked for them."""
    node = Lone(0)
    blocks = chain_of(length, transactions)
    node.hear(3, Tip(finalization=node.certificate(FINALIZE, 1, chain.hash_of(blocks[-1]), height=length)))
    assert node.engine.behind == length
    [(peer, request)] = node.requests()
    assert (request.from_height, request.to_height) == (1, length)
    return node, blocks, peer


def serve(node, peer, blocks, finalizations=None):
    """The answer to what was asked from height 1 on."""
    sender = next(i for i in range(4) if chain.key(i) == peer)
    made = finalizations or [
        node.certificate(FINALIZE, 1, chain.hash_of(block), height=height)
        for height, block in enumerate(blocks, start=1)
    ]
    return node.hear(
        sender, BlockReply(blocks=blocks, earlier=made[:-1], finalization=made[-1], from_height=1)
    )


@pytest.mark.parametrize("what", ["finalization", "body", "both", "other chain"])
def test_a_block_that_does_not_verify_is_asked_of_another(what):
    node, blocks, peer = behind(transactions=[chain.transaction(1)])
    finalizations = [
        node.certificate(FINALIZE, 1, chain.hash_of(block), height=height)
        for height, block in enumerate(blocks, start=1)
    ]
    if what in {"finalization", "both"}:
        finalizations[0].signatures[0] = bytes(64)
    if what in {"body", "both"}:
        swapped = Block.FromString(blocks[0])
        swapped.transactions[0] = chain.transaction(2)
        blocks[0] = swapped.SerializeToString(deterministic=True)
    if what == "other chain":
        blocks[0] = chain.block(1, chain.GENESIS, 77)
        finalizations[0] = node.certificate(FINALIZE, 1, chain.hash_of(blocks[0]), height=1, signers=[0, 1])
    serve(node, peer, blocks, finalizations)
    assert not node.decided()
    assert [to for to, _ in node.requests()]
    assert peer not in [to for to, _ in node.requests()]


def test_while_behind_it_votes_at_no_height_but_the_open_one():
    node, blocks, peer = behind()
    later = chain.block(4, chain.hash_of(blocks[-1]), START_MS)
    for height in (2, 3, 4):
        node.vote(1, NULLIFY, 1, height=height)
    proposal = node.proposal(1, later)
    proposal.height = proposal.vote.height = 4
    node.hear(1, proposal)
    serve(node, peer, blocks)
    for height in (1, 2, 3):
        assert not node.all_votes()
        assert not node.certificates()  # others have it
        assert not node.asked_to_build()
        node.executed(chain.hash_of(blocks[height - 1]), height=height)
    node.propose(1, chain.block(4, chain.hash_of(blocks[-1]), START_MS + 9))
    assert node.engine.behind == 0


def test_a_node_that_was_away_for_long_catches_up_faster_than_the_chain_goes_on():
    cluster = Cluster(4)
    for node in cluster.nodes:
        node.ledger.heartbeat_ms = 1
    cluster.start(0, 1, 2)
    cluster.run(4_000)
    tip, begun = max(cluster.heights()), cluster.now
    rate = tip / 4_000
    cluster.nodes[3].start()
    cluster.run_until(lambda: cluster.nodes[3].ledger.height >= max(cluster.heights()[:3]) - 1)
    caught = cluster.nodes[3].ledger.height
    assert caught >= tip > 100
    assert caught / (cluster.now - begun) >= 5 * rate
    heights_then = cluster.heights()
    cluster.run(1_000)
    assert min(cluster.heights()) > max(heights_then)


def test_a_thousand_heights_over_a_slow_link_cost_the_round_trips_of_a_few_runs():
    ledger = chain.Ledger(sets={1: chain.validators(4)}).grow(1_000)
    serving = Serving(ledger, {1: honest, 2: honest, 3: honest}, link_ms=50, execute_ms=0)
    for peer in (1, 2, 3):
        serving.claim(peer)
    took = serving.run()
    assert sum(serving.asked.values()) == 1_000 // 64 + 1
    assert took <= 100 * 8  # three runs to a round trip


def test_one_peer_alone_serves_a_whole_run_in_each_round_trip():
    ledger = chain.Ledger(sets={1: chain.validators(4)}).grow(640)
    serving = Serving(ledger, {2: honest}, link_ms=50, execute_ms=1)
    serving.claim(2)
    assert serving.run() <= 100 * 11 + 100
    assert serving.asked == {2: 10}


def test_a_link_slower_than_an_answer_should_take_still_delivers():
    ledger = chain.Ledger(sets={1: chain.validators(4)}).grow(300)
    serving = Serving(ledger, {1: honest, 2: honest, 3: honest}, link_ms=1_500, execute_ms=0)
    for peer in (1, 2, 3):
        serving.claim(peer)
    assert serving.run() <= 3_000 * 4


def test_catching_up_goes_on_over_changes_of_the_set_that_were_proven_first():
    sets = {1: chain.validators(4), 100: chain.validators(4, start=100, first=3)}
    sets[101] = chain.validators(5, start=101, first=3)
    sets[200] = chain.validators(4, start=200, first=6)  # none of them is known at height 1
    ledger = chain.Ledger(sets=sets).grow(300)
    serving = Serving(ledger, dict.fromkeys(range(1, 10), honest))
    serving.claim(9)
    serving.wait(30)
    assert serving.engine.behind + serving.engine.height - 300 in (-1, 0, 1)
    assert serving.engine.behind > 250
    assert serving.run() < 1_500
    walked = [peer for _, peer, question in serving.questions if question.HasField("boundary_request")]
    assert walked == [9]


def test_in_a_living_chain_over_changes_of_the_set():
    cluster = Cluster(6)
    sets = {1: chain.validators(4), 5: chain.validators(4, start=5, first=1), 9: chain.validators(5, start=9)}
    sets[30] = chain.validators(4, start=30, first=2)
    for node in cluster.nodes:
        node.ledger.sets = dict(sets)
        node.ledger.heartbeat_ms = 1
    cluster.start(0, 1, 2, 3, 4)
    cluster.run_until(lambda: max(cluster.heights()) >= 40)
    cluster.nodes[5].start()
    cluster.run_until(lambda: cluster.nodes[5].ledger.height >= 40)
    cluster.run_until(lambda: min(cluster.heights()) >= 60)  # the removed follow as well
    for node in cluster.nodes:
        for height, (_, certificate) in enumerate(node.ledger.blocks, start=1):
            assert certificate.height == height


def test_after_ten_idle_seconds_a_node_left_behind_learns_of_it():
    """All messages about a height to one node are lost, and then the chain is idle."""
    cluster = Cluster(4)
    cluster.deliver = lambda sender, to, message: to != 3
    cluster.start()
    cluster.run_until(lambda: sorted(cluster.heights()) == [0, 1, 1, 1])
    cluster.run(50)
    cluster.deliver = lambda sender, to, message: True
    cluster.run(5_000)
    assert cluster.heights() == [1, 1, 1, 1]


def test_messages_of_the_next_height_wait_until_it_opens():
    node = Lone(0)
    block = node.block()
    after = chain.block(2, chain.hash_of(block), START_MS + 5)
    finalization = node.certificate(FINALIZE, 1, chain.hash_of(block))
    node.propose(1, block)
    node.judge(block)
    ahead = Lone(3, height=1)  # to make messages of height 2
    ahead.parent_finalization = finalization
    node.hear(3, ahead.proposal(1, after))
    assert [decide.height for decide in node.decided()] == [1]  # the proposal carried its finalization
    for sender in (1, 2, 3):
        node.vote(sender, NOTARIZE, 1, chain.hash_of(after), height=2)
    node.executed(chain.hash_of(block))
    assert node.engine.height == 2
    assert (FINALIZE, 1, chain.hash_of(after)) in node.votes()
    for sender in (1, 2):
        node.vote(sender, FINALIZE, 1, chain.hash_of(after))
    assert [decide.block for decide in node.decided()] == [after]


def test_a_height_asked_for_too_early_is_asked_for_again():
    """Two behind for a moment: the proposal of height 3 was not kept, and who was asked for it executes it still."""
    node = Lone(0)
    block = node.block()
    node.propose(1, block)
    node.judge(block)
    node.hear(1, node.certificate(FINALIZE, 1, chain.hash_of(block)))
    assert [decide.height for decide in node.decided()] == [1]
    after = chain.block(2, chain.hash_of(block), START_MS + 5)
    last = chain.block(3, chain.hash_of(after), START_MS + 9)
    ahead = Lone(3, height=1)  # to make messages of height 2
    ahead.parent_finalization = node.certificate(FINALIZE, 1, chain.hash_of(block))
    node.hear(3, ahead.proposal(1, after))
    node.hear(2, node.certificate(FINALIZE, 1, chain.hash_of(after), height=2))
    node.hear(2, node.certificate(FINALIZE, 1, chain.hash_of(last), height=3))
    assert [(to, (request.from_height, request.to_height)) for to, request in node.requests()] == [
        (chain.key(2), (2, 3))
    ]
    node.executed(chain.hash_of(block))
    assert [decide.height for decide in node.decided()] == [2]
    node.hear(2, BlockReply(from_height=2))
    [(other, request)] = node.requests()  # at once of somebody else
    assert (other != chain.key(2), request.from_height) == (True, 3)
    node.hear(next(i for i in range(4) if chain.key(i) == other), BlockReply(from_height=3))
    node.wait(31)
    assert [request.from_height for _, request in node.requests(node.all)][-1] == 3


def test_the_body_of_a_decided_block_is_asked_for_by_hash_first_and_by_height_too():
    node = Lone(0)
    block = node.block(0, [chain.transaction(1)])
    finalization = node.certificate(FINALIZE, 1, chain.hash_of(block))
    node.hear(3, finalization)
    [(_, request)] = node.requests()
    assert request.block_hash == chain.hash_of(block)
    node.wait(500)
    by_height = [(to, request) for to, request in node.requests() if request.from_height]
    assert [(to, request.from_height) for to, request in by_height] == [(chain.key(3), 1)]
    node.hear(3, BlockReply(blocks=[block], finalization=finalization, from_height=1))
    assert [decide.block for decide in node.decided()] == [block]
    node.wait(10_000)
    assert not node.requests()


# ---- what others are told ---------------------------------------------------------------------------


def test_a_connected_peer_is_told_our_tip():
    node = Lone(0, height=4)
    node.connected(2)
    assert node.tips() == [(chain.key(2), Tip(finalization=node.parent_finalization))]
    assert Lone(0).tips() == [(None, Tip())]


def test_two_nodes_that_meet_idle_find_out_who_is_behind():
    ahead, behind_it = Lone(0, height=1), Lone(1)
    [(_, tip)] = behind_it.tips()
    ahead.hear(1, tip)
    [(to, answer)] = ahead.tips()
    assert to == chain.key(1)
    behind_it.hear(0, answer)
    assert behind_it.engine.finalization == ahead.parent_finalization


def test_answers_to_stragglers_are_limited_and_none_goes_to_who_is_level():
    node = Lone(0, height=4)
    node.vote(1, NOTARIZE, 1, bytes(32), height=4)
    assert node.tips() == [(chain.key(1), Tip(finalization=node.parent_finalization))]
    node.vote(1, FINALIZE, 1, bytes(32), height=4)
    assert not node.tips()
    node.now += 500
    node.vote(1, FINALIZE, 1, bytes(32), height=2)
    assert node.tips()
    node.hear(2, node.parent_finalization)
    node.hear(2, Tip(finalization=node.parent_finalization))
    assert not node.tips()


def bodies_in(node):
    return [list(m.block_reply.blocks) for m in node.sent() if m.HasField("block_reply")]


def test_a_body_is_served_by_hash_while_open_and_one_height_longer():
    node = Lone(0)
    block = node.block()
    request = PeerMessage(block_request=BlockRequest(block_hash=chain.hash_of(block)))

    def served(sender):
        node.hear(sender, request)
        return bodies_in(node)

    assert served(1) == [[]]
    node.propose(1, block)
    node.judge(block)
    assert served(1) == [[block]]
    assert served(1) == []  # again at once
    assert served(2) == [[block]]
    node.hear(1, node.certificate(FINALIZE, 1, chain.hash_of(block)))
    node.now += 1_000
    assert served(1) == [[block]]
    node.executed(chain.hash_of(block))
    node.now += 1_000
    assert served(1) == [[block]]


def test_who_lacks_one_body_after_the_other_is_not_kept_waiting():
    node = Lone(0)
    block = node.block()
    node.propose(1, block)
    node.judge(block)
    node.hear(1, node.certificate(FINALIZE, 1, chain.hash_of(block)))
    node.executed(chain.hash_of(block))
    following = chain.block(2, chain.hash_of(block), START_MS + 5)
    node.parent_finalization = node.certificate(FINALIZE, 1, chain.hash_of(block), height=1)
    node.propose(1, following)
    node.judge(following)
    for wanted in (block, following):  # within one interval of the limit
        request = PeerMessage(block_request=BlockRequest(block_hash=chain.hash_of(wanted)))
        node.hear(3, request)
        assert bodies_in(node) == [[wanted]]
        node.hear(3, request)
        assert not bodies_in(node)


def test_settings_of_the_tests_are_lawful():
    assert SETTINGS.grace_ms < SETTINGS.base_timeout_ms
    assert EngineSettings().resend_ms < EngineSettings().base_timeout_ms
