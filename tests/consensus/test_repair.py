from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from consensus.effects import Send
from consensus.repair import RateLimit, Resender
from proto.chiptrace.v1.consensus_pb2 import Certificate, PeerMessage, Tip, TransactionFrame
from tests.consensus import chain
from tests.consensus.lone import FINALIZE, NOTARIZE, NULLIFY, SETTINGS, Lone


def padded(sizes):
    return [PeerMessage(transactions=TransactionFrame(transactions=[b"x" * size])) for size in sizes]


@given(st.lists(st.integers(0, 400), min_size=1, max_size=30), st.integers(1, 1_000))
def test_everything_comes_round_within_the_budget(sizes, budget):
    messages = padded(sizes)
    resender = Resender(budget)
    seen = 0
    rounds = 0
    while seen < len(messages):
        part = resender.next(messages)
        assert part == [messages[(seen + i) % len(messages)] for i in range(len(part))]
        assert 0 < len(part) <= len(messages)
        assert len(part) == 1 or sum(message.ByteSize() for message in part) <= budget
        seen += len(part)
        rounds += 1
    assert rounds <= len(messages)
    assert Resender(budget).next([]) == []


@given(st.integers(1, 40), st.integers(0, 4), st.integers(5, 9), st.integers(0, 9_999))
def test_everything_comes_round_though_the_backlog_grows(length, growth, sent, rounds_before):
    parts = [Tip(finalization=Certificate(view=view + 1)) for view in range(length)]
    assert {part.ByteSize() for part in parts} == {4}
    resender = Resender(sent * 4)
    for _ in range(rounds_before % 100):
        resender.next(parts)
    seen = set()
    for _ in range(2 * length + 2):
        seen |= {part.finalization.view for part in resender.next(parts)}
        parts = parts + [parts[0]] * growth
    assert seen == set(range(1, length + 1))


def test_answers_are_limited_by_peer():
    limit = RateLimit(100)
    assert limit.allow(b"a", 1_000)
    assert not limit.allow(b"a", 1_099)
    assert limit.allow(b"b", 1_099)
    assert limit.allow(b"a", 1_100)
    assert limit.allow(b"a", 50)  # the clock was set back


def test_answers_kept_are_bounded():
    limit = RateLimit(100)
    for peer in range(3 * RateLimit.PEERS_MAX):
        assert limit.allow(b"%d" % peer, 1_000)
    assert len(limit._answered_ms) <= RateLimit.PEERS_MAX


def test_standing_still_tip_notarization_nullifications_and_own_votes_are_sent_again():
    node = Lone(0, height=5)
    block = node.block()
    node.propose(1, block)
    node.judge(block)
    node.hear(1, node.certificate(NULLIFY, 1))
    node.hear(1, node.certificate(NULLIFY, 2))
    node.hear(1, node.certificate(NOTARIZE, 3, chain.hash_of(block)))
    node.hear(1, node.certificate(NULLIFY, 4))
    node.wait(1_000)
    sent = node.sent()
    assert node.tips() == [(None, Tip(finalization=node.parent_finalization))]
    assert node.certificates() == [(NOTARIZE, 3), (NULLIFY, 4)]
    assert [message.vote.kind for message in sent if message.HasField("vote")] == [FINALIZE]
    node.wait(999)
    assert not node.tips()
    node.wait(1)
    assert node.tips()


def test_an_idle_height_sends_nothing():
    node = Lone(0, due_ms=2_000_000)
    for _ in range(100):
        node.wait(1_000)
        assert node.effects in ((), node.effects[-1:])
        assert not node.sent()


def test_the_backlog_is_sent_in_parts():
    node = Lone(0, height=5, settings=replace(SETTINGS, resend_bytes_max=1))
    node.hear(1, node.certificate(NULLIFY, 1))
    seen = []
    for _ in range(4):
        node.wait(1_000)
        resent = [m for m in node.sent() if not m.HasField("vote") or m.vote.view < node.engine.view]
        seen += [message.WhichOneof("kind") for message in resent]
    assert {"tip", "certificate"} <= set(seen)


def proposing(**settings):
    """The leader of view 1, whose proposal is out; it resends five times within a view."""
    node = Lone(2, settings=replace(SETTINGS, resend_ms=200, **settings))
    node.work()
    node.built(node.block())
    assert proposed_to(node) == [None]
    return node


def proposed_to(node):
    return [effect.to for effect in node.of(Send, node.effects) if effect.message.HasField("proposal")]


def test_a_leader_sends_its_proposal_again_to_those_who_have_not_voted_for_it():
    node = proposing()
    [proposal] = node.proposals()
    node.vote(0, NOTARIZE, 1, proposal.vote.block_hash)
    node.wait(199)
    assert not proposed_to(node)
    node.wait(1)
    assert proposed_to(node) == [chain.key(1), chain.key(3)]
    assert node.proposals() == [proposal, proposal]
    node.vote(1, NOTARIZE, 1, proposal.vote.block_hash)  # notarized: nobody lacks it to go on
    node.wait(200)
    assert not proposed_to(node)


def test_a_proposal_is_not_sent_again_once_its_view_is_left_or_beyond_the_budget():
    node = proposing(resend_bytes_max=300)
    node.wait(200)
    assert node.sent()
    assert not proposed_to(node)
    node = proposing()
    node.hear(1, node.certificate(NULLIFY, 1))
    node.wait(200)
    assert node.sent()
    assert not proposed_to(node)
