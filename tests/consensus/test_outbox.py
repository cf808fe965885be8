from consensus import journal
from consensus.effects import BuildBlock, Decide, Persist, Send, SetTimer
from consensus.outbox import Outbox
from proto.chiptrace.v1.consensus_pb2 import BlockRequest, Certificate, PeerMessage, Proposal, Vote


def test_all_records_are_one_persist_before_anything_is_sent():
    out = Outbox()
    out.send_vote(Vote(view=1))
    out.persist(journal.of_height(1))
    out.result(Decide(1, b"", b"", Certificate()))
    out.send_certificate(Certificate(view=1))
    out.persist(journal.of_vote(Vote(view=1)))
    out.set_timer(5)
    out.ask(BuildBlock(1, 1))
    out.send_proposal(Proposal(view=1))
    out.send(b"peer", PeerMessage(block_request=BlockRequest(from_height=1)))
    effects = out.take()
    assert [type(effect) for effect in effects] == [
        BuildBlock,
        Persist,
        Send,
        Send,
        Send,
        Send,
        Decide,
        SetTimer,
    ]
    assert effects[1].records == (journal.of_height(1), journal.of_vote(Vote(view=1)))
    assert [effect.to for effect in effects[2:6]] == [None, None, None, b"peer"]
    assert out.take() == ()
