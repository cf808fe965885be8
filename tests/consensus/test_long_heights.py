"""A height of thousands of views: a quorum that talked and could not decide for days, as with clocks that were wrong.
Nothing of it may grow until the height cannot be decided any more."""

from dataclasses import replace

import pytest

from consensus import engine, proposals
from consensus.messages import NULLIFICATIONS_MAX, check_shape
from consensus.repair import message_of
from consensus.tally import Held
from ledger.limits import BLOCK_BYTES_MAX, PEER_MESSAGE_BYTES_MAX, VALIDATORS_MAX
from proto.chiptrace.v1.consensus_pb2 import Certificate, PeerMessage
from tests.consensus import chain
from tests.consensus.cluster import SETTINGS as CLUSTER_SETTINGS
from tests.consensus.cluster import Cluster
from tests.consensus.lone import NOTARIZE, NULLIFY, SETTINGS, Lone

VIEWS = 9_000


def nullified(views: int, validators: int) -> Held:
    signers = 2 * validators // 3 + 1
    made = chain.certificate(NULLIFY, range(signers), validators, 1, 1)
    held = Held()
    for view in range(1, views):
        z = Certificate(kind=NULLIFY, height=1, view=view, signers=made.signers, signatures=made.signatures)
        held.add(z)
    return held


@pytest.mark.parametrize("validators", [2, 4, VALIDATORS_MAX])
def test_a_proposal_always_fits_into_a_message(validators):
    held = nullified(VIEWS, validators)
    vote = chain.vote(NOTARIZE, 1, 1, VIEWS, bytes(32))
    proposal = proposals.make(vote, 0, bytes(BLOCK_BYTES_MAX), held, None)
    message = PeerMessage(proposal=proposal)
    check_shape(message)
    assert message.ByteSize() <= PEER_MESSAGE_BYTES_MAX
    # The newest are carried: they bring who lags behind to the view.
    carried = [z.view for z in proposal.nullifications]
    assert carried == list(range(VIEWS - len(carried), VIEWS))
    assert 100 < len(carried) <= NULLIFICATIONS_MAX


@pytest.mark.parametrize("by_votes", [False, True])
def test_what_a_proposal_does_not_carry_may_come_after_it(by_votes):
    node = Lone(0)
    block = node.block()
    node.hear(3, node.proposal(6, block, nullified=[2, 3, 5], leader=node.leader(6)))
    node.hear(node.leader(6), node.proposal(6, block, nullified=[2, 3, 5]))
    assert node.engine.view == 6
    node.judge(block)
    assert node.votes() == []
    node.hear(1, node.certificate(NULLIFY, 4))
    assert node.votes() == []
    if by_votes:
        for voter in (1, 2, 3):
            node.vote(voter, NULLIFY, 1)
    else:
        node.hear(1, node.certificate(NULLIFY, 1))
    assert node.votes() == [(NOTARIZE, 6, chain.hash_of(block))]


def test_an_own_proposal_takes_no_more_of_the_journal_than_its_block():
    node = Lone(0)
    block = node.block()
    for view in range(1, 59):
        node.hear(1, node.certificate(NULLIFY, view))
    assert node.leader(59) == 0
    node.built(block)
    [first] = node.proposals()
    assert len(first.nullifications) == 58
    [kept] = [record.proposal for record in node.journal if record.HasField("proposal")]
    assert kept.block == block
    assert kept.ByteSize() < len(block) + 200
    # Proposed again, it is there already; and it comes back whole.
    node.hear(1, node.certificate(NOTARIZE, 59, chain.hash_of(block)))
    for view in (60, 61, 62):
        node.hear(1, node.certificate(NULLIFY, view))
    [again] = node.proposals()
    assert (again.from_view, again.block) == (59, block)
    assert node.journal[-2].proposal.ByteSize() < 200
    back = Lone(0, journal=node.journal)
    assert back.proposals() == [again]


def test_what_is_sent_again_of_a_long_height_is_made_only_when_it_is_sent(monkeypatch):
    made = []
    monkeypatch.setattr(engine, "message_of", lambda part: made.append(part) or message_of(part))
    node = Lone(0, settings=replace(SETTINGS, resend_bytes_max=10_000))
    for view in range(1, 500):
        node.hear(1, node.certificate(NULLIFY, view))
    node.wait(1_000)
    assert 0 < len(made) < 60
    assert sum(part.ByteSize() for part in made) <= 10_000


@pytest.mark.parametrize(("view", "at_once"), [(64, True), (65, False)])
def test_views_are_not_left_as_fast_as_messages_travel_where_all_refuse(view, at_once):
    node = Lone(3)
    for earlier in range(1, view):
        node.hear(1, node.certificate(NULLIFY, earlier))
    block = node.block()
    node.propose(view, block, nullified=range(1, view))
    node.judge(block, valid=False)
    assert node.votes() == ([(NULLIFY, view, b"")] if at_once else [])
    node.wait(8_000)
    assert (NULLIFY, view, b"") in node.all_votes()


@pytest.mark.parametrize("away", [1, 2])
def test_who_slept_through_a_long_height_is_brought_to_it_though_no_proposal_carries_it_all(
    monkeypatch, away
):
    """Three of four refuse all for 150 views, the fourth hears nothing; then one of the three is gone, and all is well."""
    monkeypatch.setattr(proposals, "NULLIFICATIONS_BYTES_MAX", 1_000)
    cluster = Cluster(4, replace(CLUSTER_SETTINGS, resend_bytes_max=2_000))
    lawful, cut = False, away
    cluster.judge = lambda _index, _effect: lawful
    cluster.deliver = lambda sender, to, _message: cut not in (sender, to)
    cluster.start()
    for node in cluster.nodes:
        node.submit(chain.transaction(1))
    cluster.run_until(lambda: cluster.nodes[0].engine.view > 150, 1_000_000)
    lawful, cut = True, 3
    back = [node for node in cluster.nodes if node.index != 3]
    cluster.run_until(lambda: all(node.ledger.height for node in back), 20_000)
