"""Peers that lie, dawdle or say nothing, one test each. What a peer can cost is one request, and then a rest."""

import pytest

from consensus.effects import EngineSettings, PeerConnected
from ledger.limits import BLOCK_BYTES_MAX
from proto.chiptrace.v1.consensus_pb2 import (
    BlockReply,
    BoundaryReply,
    Certificate,
    PeerMessage,
    Tip,
)
from proto.chiptrace.v1.ledger_pb2 import Block
from tests.consensus import chain
from tests.consensus.serving import Serving, honest, silence

LENGTH = 640  # ten runs
LATE_MS = EngineSettings().block_request_ms


@pytest.fixture(scope="module")
def ledger():
    return chain.Ledger(sets={1: chain.validators(4)}).grow(LENGTH)


def catching_up(ledger, hostile, *, honest_peers=(1, 2), claims=True, **more):
    """Peer 3 is the hostile one; the honest have the chain."""
    serving = Serving(ledger, {**dict.fromkeys(honest_peers, honest), 3: hostile}, **more)
    if claims:
        serving.claim(3)
    for peer in honest_peers:
        serving.claim(peer)
    return serving


def blocks_asked(serving, peer):
    return [
        question.block_request
        for _, asked, question in serving.questions
        if asked == peer and question.HasField("block_request")
    ]


@pytest.fixture(scope="module")
def unhindered(ledger):
    """How long two honest peers alone take."""
    serving = Serving(ledger, {1: honest, 2: honest})
    serving.claim(1)
    serving.claim(2)
    return serving.run()


def reply_of(question, ledger):
    """What an honest peer would answer."""
    [(_, answer)] = honest(type("Has", (), {"ledger": ledger}), question)
    return answer.block_reply


def wrong_blocks(serving, question):
    """Blocks of another chain under the true finalizations: they do not hash back from the certificate."""
    if not question.block_request.from_height:
        return honest(serving, question)
    reply = reply_of(question, serving.ledger)
    other = [chain.block(reply.from_height + i, bytes(32), 7) for i in range(len(reply.blocks))]
    del reply.blocks[:]
    reply.blocks.extend(other)
    return [(0, PeerMessage(block_reply=reply))]


def swapped_bodies(serving, question):
    """The true header, and transactions that it does not commit to."""
    if not question.block_request.from_height:
        return honest(serving, question)
    reply = reply_of(question, serving.ledger)
    spoiled = Block.FromString(reply.blocks[0])
    spoiled.transactions.append(chain.transaction(1))
    reply.blocks[0] = spoiled.SerializeToString(deterministic=True)
    return [(0, PeerMessage(block_reply=reply))]


def false_finalizations(serving, question):
    """A block of its own at each height, with a certificate that nobody signed."""
    if not question.block_request.from_height:
        return honest(serving, question)
    reply = reply_of(question, serving.ledger)
    for finalization in (*reply.earlier, reply.finalization):
        finalization.signatures[0] = bytes(64)
    return [(0, PeerMessage(block_reply=reply))]


def lowered_heights(serving, question):
    """Has shown the end of the chain, and answers with blocks from its beginning."""
    if not question.block_request.from_height:
        return honest(serving, question)
    reply = reply_of(question, serving.ledger)
    del reply.blocks[:], reply.earlier[:]
    data, finalization = serving.ledger.blocks[0]
    reply.blocks.append(data)
    reply.finalization.CopyFrom(finalization)
    return [(0, PeerMessage(block_reply=reply))]


def empty_answers(serving, question):
    """Has it not, whatever it is asked."""
    if question.HasField("boundary_request"):
        return [(0, PeerMessage(boundary_reply=BoundaryReply()))]
    request = question.block_request
    return [(0, PeerMessage(block_reply=BlockReply(from_height=request.from_height)))]


def only_boundaries(serving, question):
    """Shows true boundary headers, and not one block."""
    return honest(serving, question) if question.HasField("boundary_request") else []


def too_much(serving, question):
    """More bytes than a reply may have."""
    reply = reply_of(question, serving.ledger)
    reply.blocks[0] = bytes(BLOCK_BYTES_MAX + 1)
    return [(0, PeerMessage(block_reply=reply))]


@pytest.mark.parametrize(
    "hostile",
    [
        wrong_blocks,
        swapped_bodies,
        false_finalizations,
        lowered_heights,
        empty_answers,
        silence,
        only_boundaries,
        too_much,
    ],
    ids=lambda behave: behave.__name__,
)
def test_it_costs_one_request_and_a_moment(ledger, unhindered, hostile):
    serving = catching_up(ledger, hostile)
    took = serving.run()
    lied = blocks_asked(serving, 3)
    # Each of its failures is followed by a rest twice as long as the one before.
    rests = LATE_MS // 16 * (2 ** len(lied) - 1)
    assert len(lied) <= 4
    assert len(lied) <= 1 or rests <= 2 * took + LATE_MS
    # A run that it held was asked of another at once, or when it was late: once.
    assert took <= unhindered + LATE_MS + 100
    heights = sum(request.to_height - request.from_height + 1 for request in lied)
    fetched = [request for peer in (1, 2) for request in blocks_asked(serving, peer)]
    assert sum(request.to_height - request.from_height + 1 for request in fetched) <= LENGTH + heights


def test_one_that_answers_always_just_before_it_is_late_is_asked_last(ledger, unhindered):
    slow = lambda serving, question: [(LATE_MS - 11, honest(serving, question)[0][1])]
    serving = catching_up(ledger, slow)
    took = serving.run()
    assert len(blocks_asked(serving, 3)) <= took // (LATE_MS - 10) + 1
    assert took <= unhindered + LATE_MS


def test_one_that_answers_always_just_before_it_is_late_costs_little_in_a_long_run():
    """One that takes part at its own pace never holds up more than the run it has."""
    ledger = chain.Ledger(sets={1: chain.validators(4)}).grow(3_000)
    slow = lambda serving, question: [(LATE_MS - 11, honest(serving, question)[0][1])]
    serving = catching_up(ledger, slow, execute_ms=2)
    assert serving.run() <= 3_000 * 2 * 11 // 10


def test_one_that_gives_one_block_where_many_were_asked_for_is_asked_last(ledger):
    def miser(serving, question):
        reply = reply_of(question, serving.ledger)
        finalization = reply.earlier[0] if reply.earlier else reply.finalization
        first = BlockReply(blocks=reply.blocks[:1], finalization=finalization, from_height=reply.from_height)
        return [(0, PeerMessage(block_reply=first))]

    serving = catching_up(ledger, miser, execute_ms=0)
    took = serving.run()
    by_others = [request for peer in (1, 2) for request in blocks_asked(serving, peer)]
    assert sum(request.to_height - request.from_height + 1 for request in by_others) >= LENGTH * 9 // 10
    assert took <= 10 * (LENGTH // 64)


def test_endless_answers_to_what_was_not_asked_are_dropped(ledger):
    serving = catching_up(ledger, honest, honest_peers=(1,), claims=False)
    asked = len(serving.questions)
    for height in range(1, 200):
        data, finalization = ledger.blocks[height - 1]
        reply = BlockReply(blocks=[data], finalization=finalization, from_height=height)
        serving.tell(3, PeerMessage(block_reply=reply))
        body = BlockReply(blocks=[data], block_hash=chain.hash_of(data))
        serving.tell(3, PeerMessage(block_reply=body))
        serving.tell(3, PeerMessage(boundary_reply=BoundaryReply()))
    serving.wait(0)
    assert len(serving.questions) == asked + 1  # what the honest one's tip is worth
    assert serving.engine.height == 1
    assert serving.run() < 2_000


def test_answers_to_what_was_asked_of_another_are_dropped(ledger):
    serving = Serving(ledger, {1: silence, 3: silence})
    serving.claim(1)
    serving.wait(0)
    [request] = blocks_asked(serving, 1)
    question = PeerMessage(block_request=request)
    serving.tell(3, PeerMessage(block_reply=reply_of(question, ledger)))
    serving.wait(LATE_MS - 1)
    assert serving.height == 0


@pytest.mark.parametrize("height", [10_000, 2**63, 2**64 - 1])
def test_one_that_claims_what_nobody_signed_is_asked_for_the_proof_once(ledger, unhindered, height):
    """Before anything else is known, and again and again."""
    lie = Certificate.FromString(ledger.finalization.SerializeToString())
    lie.height = height
    serving = Serving(ledger, {1: honest, 2: honest, 3: empty_answers})
    for _ in range(50):
        serving.claim(3, lie)
    serving.wait(20)
    assert serving.asked == {3: 1}
    assert serving.engine.behind == 0
    serving.claim(1)
    serving.claim(2)
    took = serving.run()
    assert took <= unhindered + 50
    assert not blocks_asked(serving, 3) or len(blocks_asked(serving, 3)) <= 3
    assert serving.engine.behind == 0
    serving.wait(10 * LATE_MS)
    assert len([peer for _, peer, _ in serving.questions if peer == 3]) <= 4


def test_claims_told_again_and_again_cost_one_check_each_and_no_request(ledger):
    verified = []

    def verify(*arguments):
        verified.append(arguments)
        return chain.verify(*arguments)

    lie = Certificate.FromString(ledger.finalization.SerializeToString())
    serving = Serving(ledger, {3: silence}, verify=verify)
    for height in range(1_000, 1_100):
        lie.height = height
        serving.tell(3, PeerMessage(tip=Tip(finalization=lie)))
        serving.tell(3, PeerMessage(tip=Tip(finalization=lie)))
    serving.wait(0)
    assert len(verified) == 100  # the first signature of each does not hold
    assert serving.asked == {3: 1}


def test_a_silent_teller_of_a_later_set_holds_up_the_walk_for_one_answer():
    sets = {1: chain.validators(4), 50: chain.validators(4, start=50, first=2)}
    ledger = chain.Ledger(sets=sets).grow(100)
    serving = Serving(ledger, {1: honest, 3: silence})
    serving.claim(3)
    serving.wait(1)
    serving.claim(1)
    assert serving.run() <= LATE_MS + 400
    assert [peer for _, peer, question in serving.questions if question.HasField("boundary_request")] == [
        3,
        1,
    ]


RETIRING = {
    1: chain.validators(4),
    51: chain.validators(4, start=51, first=4),
    101: chain.validators(4, start=101, first=8),
}


@pytest.mark.parametrize("follows", [False, True], ids=["one height", "always the open one"])
@pytest.mark.parametrize("height", [1, 25, 49, 75, 99])
def test_boundary_headers_of_retired_sets_do_not_hold_it_up(height, follows):
    """The liar claims first, more and more, and answers with true headers and one that a retired set signed. No honest
    claim is proven by what that leads to, and the blocks show that it was none of the chain."""
    ledger = chain.Ledger(sets=RETIRING).grow(150)

    def retired(serving, question):
        if not question.HasField("boundary_request"):
            return []
        begins = question.boundary_request.from_height
        true = ledger.boundaries(1).headers[:1] if begins <= 50 < height else []
        at = max(height, serving.height + 1) if follows else height
        forged = ledger.forged_boundary(at, chain.validators(4, start=at + 1, first=20))
        return [(0, PeerMessage(boundary_reply=BoundaryReply(headers=[*true, forged])))]

    serving = Serving(ledger, {1: honest, 2: honest, 3: retired})
    claim = Certificate.FromString(ledger.finalization.SerializeToString())
    for after_ms in range(0, 10_000, 200):
        claim.height += 1
        serving.tell(3, PeerMessage(tip=Tip(finalization=claim)), after_ms)
        for peer in (1, 2):
            serving.tell(peer, PeerMessage(tip=Tip(finalization=ledger.finalization)), after_ms + 50)
    serving.run(limit_ms=20 * LATE_MS)  # without the liar 0.2 s; some walks are in vain


def test_ten_silent_of_thirty_one_cost_one_request_each():
    ledger = chain.Ledger(sets={1: chain.validators(31)}).grow(600)
    silent, serving_peers = range(1, 11), range(11, 31)
    peers = {**dict.fromkeys(silent, silence), **dict.fromkeys(serving_peers, honest)}
    serving = Serving(ledger, peers)
    for peer in peers:
        serving.claim(peer)
    took = serving.run()
    assert all(serving.asked[peer] <= 1 for peer in silent)
    assert took <= 600 + 3 * LATE_MS


def test_one_that_hangs_up_and_comes_back_is_asked_last_all_the_same(ledger, unhindered):
    serving = catching_up(ledger, empty_answers)

    def flap():
        serving.give(PeerConnected(chain.key(3)))
        serving.after(20, flap)

    serving.after(20, flap)
    assert serving.run() <= unhindered + 100
    heights = [request.to_height - request.from_height + 1 for request in blocks_asked(serving, 3)]
    assert heights[4:] == [1] * len(heights[4:]) or len(heights) <= 7  # and for less and less


def test_alone_with_liars_it_asks_each_ever_more_rarely(ledger):
    serving = Serving(ledger, {1: empty_answers, 2: empty_answers, 3: empty_answers})
    for peer in (1, 2, 3):
        serving.claim(peer)
    serving.wait(60_000)
    first_minute = dict(serving.asked)
    serving.wait(60_000)
    assert all(count <= 16 for count in first_minute.values())
    assert all(serving.asked[peer] - first_minute[peer] <= 60_000 // (16 * LATE_MS) + 1 for peer in (1, 2, 3))
    assert serving.engine.behind == LENGTH  # it is proven that there is more, only nobody shows it


def test_a_good_answer_ends_the_rests(ledger):
    moody = {"until": 30_000}

    def at_first_empty(serving, question):
        away = serving.now < 1_000_000 + moody["until"]
        return empty_answers(serving, question) if away else honest(serving, question)

    serving = Serving(ledger, {1: at_first_empty})
    serving.claim(1)
    serving.wait(30_000)
    assert serving.height == 0
    assert serving.run() <= 16 * LATE_MS + 2_000
