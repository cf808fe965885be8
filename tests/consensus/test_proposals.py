from consensus import proposals
from consensus.messages import check_shape
from consensus.tally import Held
from proto.chiptrace.v1.consensus_pb2 import PeerMessage
from tests.consensus import chain
from tests.consensus.lone import FINALIZE, NOTARIZE, NULLIFY

BLOCK = chain.block(1, chain.GENESIS, 1_000)
HASH = chain.hash_of(BLOCK)


def holding():
    held = Held()
    held.add(chain.certificate(NOTARIZE, range(3), 4, 1, 2, HASH))
    for view in (1, 3, 4):
        held.add(chain.certificate(NULLIFY, range(3), 4, 1, view))
    return held


def test_it_carries_exactly_the_proof():
    vote = chain.vote(NOTARIZE, 1, 1, 5, HASH)
    proposal = proposals.make(vote, 2, BLOCK, holding(), None)
    check_shape(PeerMessage(proposal=proposal))
    assert proposal.notarization.view == 2
    assert [z.view for z in proposal.nullifications] == [3, 4]
    assert not proposal.HasField("parent_finalization")
    new = proposals.make(chain.vote(NOTARIZE, 1, 1, 2, HASH), 0, BLOCK, holding(), None)
    check_shape(PeerMessage(proposal=new))
    assert not new.HasField("notarization")
    assert [z.view for z in new.nullifications] == [1]


def test_only_what_is_not_held_is_looked_at_highest_first():
    vote = chain.vote(NOTARIZE, 1, 1, 5, HASH)
    proposal = proposals.make(vote, 2, BLOCK, holding(), None)
    assert [c.view for c in proposals.carried(proposal, Held())] == [4, 3, 2]
    held = Held()
    held.add(proposal.nullifications[1])
    assert [c.view for c in proposals.carried(proposal, held)] == [3, 2]
    assert proposals.carried(proposal, holding()) == []


def test_it_stands_on_the_parent_whatever_the_view_of_its_finalization():
    ours = chain.certificate(FINALIZE, range(3), 4, 6, 1, HASH)
    theirs = chain.certificate(FINALIZE, range(1, 4), 4, 6, 3, HASH)
    other = chain.certificate(FINALIZE, range(3), 4, 6, 1, bytes(32))
    proposal = proposals.make(chain.vote(NOTARIZE, 1, 7, 1, HASH), 0, BLOCK, Held(), theirs)
    assert proposals.stands_on(proposal, ours)
    assert not proposals.stands_on(proposal, other)
    assert not proposals.stands_on(proposal, None)
    first = proposals.make(chain.vote(NOTARIZE, 1, 1, 1, HASH), 0, BLOCK, Held(), None)
    assert proposals.stands_on(first, None)
    assert not proposals.stands_on(first, ours)
