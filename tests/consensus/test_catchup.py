from dataclasses import replace

import pytest

from consensus.catchup import CLAIMS_MAX, FETCHED_BYTES_MAX, HEIGHTS_ASKED_MAX, Catchup, Need
from consensus.effects import EngineSettings
from proto.chiptrace.v1.consensus_pb2 import BlockReply, Tip
from proto.chiptrace.v1.ledger_pb2 import Block
from tests.consensus import chain
from tests.consensus.cluster import SETTINGS, Cluster
from tests.consensus.lone import FINALIZE, NOTARIZE, NULLIFY, START_MS, Lone

KEYS = [chain.key(i) for i in range(4)]


def made(**settings):
    return Catchup(KEYS[0], EngineSettings(block_request_ms=100, **settings))


def need(first, body=None):
    return Need(first, body, first - 1, body is not None, KEYS[1:3], KEYS)


def reply(height, data=b"block", **more):
    return BlockReply(
        blocks=[data],
        finalization=chain.certificate(FINALIZE, range(3), 4, height, 1, bytes(32)),
        from_height=height,
        **more,
    )


def heights(asked):
    return [request.from_height for _, request in asked]


def test_nothing_is_asked_while_nobody_is_ahead():
    assert made().requests(need(1), 0) == []
    assert made().next_ms(need(1), 0) is None


def test_a_claim_is_asked_of_its_teller_only_and_a_verified_target_of_anyone():
    catchup = made()
    catchup.claim(KEYS[3], 5, 0, verified=False)
    asked = catchup.requests(need(1), 0)
    assert heights(asked) == [1, 2, 3, 4, 5]
    assert {peer for peer, _ in asked} == {KEYS[3]}
    for now in (100, 300, 700):
        asked = catchup.requests(need(1), now)
    assert asked == []
    catchup.claim(KEYS[3], 5, 700, verified=True)
    seen = set()
    for turn in range(1, 8):
        seen |= {peer for peer, _ in catchup.requests(need(1), 700 + 10_000 * turn)}
    assert seen == set(KEYS[1:])


def test_so_many_heights_are_asked_for_ahead_and_no_more():
    catchup = made()
    catchup.claim(KEYS[1], 1_000, 0, verified=True)
    assert heights(catchup.requests(need(1), 0)) == list(range(1, HEIGHTS_ASKED_MAX + 1))
    assert catchup.requests(need(1), 1) == []
    narrow = made(heights_per_request_max=2)
    narrow.claim(KEYS[1], 1_000, 0, verified=True)
    assert heights(narrow.requests(need(7), 0)) == [7, 8]


def test_bytes_fetched_ahead_are_bounded():
    catchup = made()
    catchup.claim(KEYS[1], 1_000, 0, verified=False)
    asked = {request.from_height: peer for peer, request in catchup.requests(need(1), 0)}
    for height in range(2, 8):
        catchup.answered(asked[height], reply(height, bytes(FETCHED_BYTES_MAX // 4)), need(1))
    again = catchup.requests(need(1), 10_000)
    assert heights(again) in ([], [1])
    catchup.claim(KEYS[1], 1_000, 10_000, verified=True)
    assert heights(again + catchup.requests(need(1), 20_000)) == [1]


def test_one_height_ahead_is_waited_for_a_moment():
    catchup = made()
    catchup.claim(KEYS[1], 2, 1_000, verified=True)
    assert catchup.requests(need(2), 1_000) == []
    assert catchup.next_ms(need(2), 1_000) == 1_100
    assert heights(catchup.requests(need(2), 1_100)) == [2]


def test_an_answer_counts_once_from_the_one_who_was_asked():
    catchup = made()
    catchup.claim(KEYS[1], 9, 0, verified=False)
    catchup.requests(need(1), 0)
    catchup.answered(KEYS[2], reply(1), need(1))
    assert catchup.take(1) is None
    catchup.answered(KEYS[1], reply(30), need(1))
    assert catchup.take(30) is None
    catchup.answered(KEYS[1], reply(1), need(1))
    fetched = catchup.take(1)
    assert (fetched.height, fetched.peer, fetched.block) == (1, KEYS[1], b"block")
    catchup.answered(KEYS[1], reply(1), need(1))
    assert catchup.take(1) is None


@pytest.mark.parametrize(
    "answer",
    [
        BlockReply(from_height=1),
        BlockReply(from_height=1, blocks=[b"block"]),
        BlockReply(from_height=1, blocks=[b"block"], finalization=reply(2).finalization),
    ],
    ids=["empty", "without finalization", "finalization of another height"],
)
def test_a_bad_answer_moves_on_to_another_peer_at_once(answer):
    catchup = made()
    for key in KEYS[1:]:
        catchup.claim(key, 9, 0, verified=True)
    first = {request.from_height: peer for peer, request in catchup.requests(need(1), 0)}[1]
    catchup.answered(first, answer, need(1))
    [(second, request)] = catchup.requests(need(1), 1)
    assert request.from_height == 1
    assert second != first


def test_a_late_answer_moves_on_and_leaves_more_time_to_the_next():
    catchup = made()
    for key in KEYS[1:]:
        catchup.claim(key, 2, 0, verified=True)
    deadlines = []
    now = 0
    for _ in range(4):
        assert catchup.requests(need(1), now)
        deadlines.append(catchup.next_ms(need(1), now) - now)
        now += deadlines[-1]
    assert deadlines == sorted(deadlines)
    assert deadlines[0] == 100
    assert deadlines[-1] > 100


def test_a_body_is_asked_of_all_by_hash_and_once_decided_of_all_by_height():
    catchup = made()
    follower = chain.key(9)  # in no set, but it has shown the finalization
    catchup.shown(follower, 7)
    wanted = need(8, body=bytes(32))
    undecided = replace(wanted, body_hash=bytes(31) + b"\1", body_decided=False)
    everyone = {*KEYS[1:], follower}
    for asking, by_height in ((wanted, everyone), (undecided, set())):
        asked = {0: set(), 7: set()}
        for turn in range(8):
            [(peer, request)] = catchup.requests(asking, 10_000 * turn)
            assert request.block_hash == (b"" if request.from_height else asking.body_hash)
            assert turn > 1 or peer in KEYS[1:3]  # those first who must have it
            asked[request.from_height].add(peer)
        assert asked == {0: everyone, 7: by_height}


def test_a_body_comes_back_by_hash_or_by_height():
    for answer in (BlockReply(blocks=[b"body"], block_hash=bytes(32)), reply(7, b"body")):
        catchup = made()
        wanted = need(8, body=bytes(32))
        [(peer, _)] = catchup.requests(wanted, 0)
        assert catchup.answered(KEYS[0], answer, wanted) is None
        assert catchup.answered(peer, answer, wanted) == b"body"


def test_what_is_no_longer_needed_is_forgotten():
    catchup = made()
    catchup.claim(KEYS[1], 4, 0, verified=False)
    asked = {request.from_height: peer for peer, request in catchup.requests(need(1, bytes(32)), 0)}
    catchup.answered(asked[2], reply(2), need(1))
    assert catchup.requests(need(9), 1) == []
    assert catchup.next_ms(need(9), 1) is None
    assert catchup.take(2) is None
    assert catchup.claimed(KEYS[1]) == 0


def test_claims_are_bounded():
    catchup = made()
    for peer in range(10 * CLAIMS_MAX):
        catchup.claim(b"%d" % peer, 9, 0, verified=False)
    assert len(catchup._claims) <= CLAIMS_MAX


# ---- in the engine ------------------------------------------------------------------------------------


def serve(node, asked, height, block, finalization=None):
    sender = next(i for i in range(4) if chain.key(i) == asked[height])
    certificate = finalization or node.certificate(FINALIZE, 1, chain.hash_of(block), height=height)
    return node.hear(sender, BlockReply(blocks=[block], finalization=certificate, from_height=height))


def chain_of(length, transactions=None):
    blocks, parent = [], chain.GENESIS
    for height in range(1, length + 1):
        blocks.append(chain.block(height, parent, START_MS + height, transactions))
        parent = chain.hash_of(blocks[-1])
    return blocks


def behind(length=3, transactions=None):
    node = Lone(0)
    blocks = chain_of(length, transactions)
    node.hear(3, Tip(finalization=node.certificate(FINALIZE, 1, chain.hash_of(blocks[-1]), height=length)))
    assert node.engine.behind == length
    return node, blocks, {request.from_height: peer for peer, request in node.requests()}


@pytest.mark.parametrize("what", ["finalization", "body", "both", "other chain"])
def test_a_block_that_does_not_verify_is_asked_of_another(what):
    node, blocks, asked = behind(transactions=[chain.transaction(1)])
    body, finalization = blocks[0], node.certificate(FINALIZE, 1, chain.hash_of(blocks[0]), height=1)
    if what in {"finalization", "both"}:
        finalization.signatures[0] = bytes(64)
    if what in {"body", "both"}:
        swapped = Block.FromString(body)
        swapped.transactions[0] = chain.transaction(2)
        body = swapped.SerializeToString(deterministic=True)
    if what == "other chain":
        body = chain.block(1, chain.GENESIS, 77)
        finalization = node.certificate(FINALIZE, 1, chain.hash_of(body), height=1, signers=[0, 1])
    serve(node, asked, 1, body, finalization)
    assert not node.decided()
    assert node.requests()


def test_while_behind_it_votes_at_no_height_but_the_open_one():
    node, blocks, asked = behind()
    later = chain.block(4, chain.hash_of(blocks[-1]), START_MS)
    for height in (2, 3, 4):
        node.vote(1, NULLIFY, 1, height=height)
    proposal = node.proposal(1, later)
    proposal.height = proposal.vote.height = 4
    node.hear(1, proposal)
    for height in (1, 2, 3):
        serve(node, asked, height, blocks[height - 1])
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


def test_catching_up_across_changes_of_the_validator_set():
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


def test_a_body_is_served_by_hash_while_open_and_one_height_longer():
    from proto.chiptrace.v1.consensus_pb2 import BlockRequest, PeerMessage

    node = Lone(0)
    block = node.block()
    request = PeerMessage(block_request=BlockRequest(block_hash=chain.hash_of(block)))

    def served(sender):
        node.hear(sender, request)
        return [
            list(message.block_reply.blocks) for message in node.sent() if message.HasField("block_reply")
        ]

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
    from proto.chiptrace.v1.consensus_pb2 import BlockRequest, PeerMessage

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
        assert [list(m.block_reply.blocks) for m in node.sent() if m.HasField("block_reply")] == [[wanted]]
        node.hear(3, request)
        assert not [m for m in node.sent() if m.HasField("block_reply")]


def test_a_height_asked_for_too_early_is_asked_for_again_at_once():
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
    assert [(to, request.from_height) for to, request in node.requests()] == [
        (chain.key(2), 2),
        (chain.key(2), 3),
    ]
    node.executed(chain.hash_of(block))
    assert [decide.height for decide in node.decided()] == [2]
    node.hear(2, BlockReply(from_height=3))
    assert [request.from_height for _, request in node.requests()] == [3]


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


def test_settings_of_the_tests_are_lawful():
    assert SETTINGS.grace_ms < SETTINGS.base_timeout_ms
