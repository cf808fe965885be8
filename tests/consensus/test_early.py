from consensus.early import CERTIFICATES_PER_SENDER_MAX, SENDERS_MAX, VOTES_PER_SENDER_MAX, EarlyMessages
from proto.chiptrace.v1.consensus_pb2 import Certificate, PeerMessage, Proposal, Vote


def vote(kind, view, block_hash=b""):
    return PeerMessage(vote=Vote(kind=kind, height=2, view=view, block_hash=block_hash))


def proposal(view):
    return PeerMessage(proposal=Proposal(height=2, view=view))


def certificate(view):
    return PeerMessage(certificate=Certificate(kind=2, height=2, view=view))


def test_they_come_back_once_bodies_before_votes_before_certificates():
    early = EarlyMessages()
    early.keep(b"a", 2, certificate(1))
    early.keep(b"a", 2, vote(1, 1))
    early.keep(b"b", 2, proposal(1))
    assert early.take(2) == [(b"b", proposal(1)), (b"a", vote(1, 1)), (b"a", certificate(1))]
    assert early.take(2) == []


def test_those_of_another_height_are_forgotten():
    early = EarlyMessages()
    early.keep(b"a", 2, vote(1, 1))
    assert early.take(3) == []
    early.keep(b"a", 2, vote(1, 1))
    early.keep(b"a", 3, vote(1, 2))
    assert early.take(3) == [(b"a", vote(1, 2))]


def test_each_sender_has_its_own_few_places():
    early = EarlyMessages()
    for view in range(1, 101):
        for message in (vote(1, view), certificate(view), proposal(view)):
            early.keep(b"flooder", 2, message)
    early.keep(b"honest", 2, vote(1, 1))
    taken = early.take(2)
    flooded = [message for sender, message in taken if sender == b"flooder"]
    assert len(flooded) == VOTES_PER_SENDER_MAX + CERTIFICATES_PER_SENDER_MAX + 1
    assert proposal(100) in flooded
    assert (b"honest", vote(1, 1)) in taken


def test_the_first_of_a_slot_stays():
    early = EarlyMessages()
    early.keep(b"a", 2, vote(1, 1, b"first"))
    early.keep(b"a", 2, vote(1, 1, b"second"))
    assert early.take(2) == [(b"a", vote(1, 1, b"first"))]


def test_senders_are_bounded():
    early = EarlyMessages()
    for sender in range(1_000):
        early.keep(b"%d" % sender, 2, vote(1, 1))
    assert len(early.take(2)) <= 3 * SENDERS_MAX
