import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st

from consensus.messages import check_shape, check_vote_shape, signed_vote
from ledger.errors import Malformed
from proto.chiptrace.v1.consensus_pb2 import (
    BlockReply,
    BlockRequest,
    BoundaryReply,
    BoundaryRequest,
    Certificate,
    PeerMessage,
    Proposal,
    SignedHeader,
    Tip,
    TransactionFrame,
    Vote,
)
from tests.consensus import chain
from tests.consensus.lone import FINALIZE, NOTARIZE, NULLIFY, Lone

HASH = bytes(range(32))


def test_the_signed_bytes_of_a_vote():
    vote = Vote(kind=NOTARIZE, height=5, view=6, block_hash=HASH, signer=3, signature=b"x")
    tag = b"chiptrace/v1/notarize\0" + chain.CHAIN_ID
    assert signed_vote(chain.CHAIN_ID, vote) == tag + bytes(7) + b"\5" + bytes(7) + b"\6" + HASH
    vote = Vote(kind=NULLIFY, height=5, view=6)
    assert signed_vote(chain.CHAIN_ID, vote) == b"chiptrace/v1/nullify\0" + chain.CHAIN_ID + (
        bytes(7) + b"\5" + bytes(7) + b"\6"
    )


@given(
    st.tuples(
        st.sampled_from([1, 3]),
        st.integers(1, 2**64 - 1),
        st.integers(1, 2**64 - 1),
        st.binary(min_size=32, max_size=32),
    ),
    st.tuples(
        st.sampled_from([1, 3]),
        st.integers(1, 2**64 - 1),
        st.integers(1, 2**64 - 1),
        st.binary(min_size=32, max_size=32),
    ),
)
def test_different_votes_sign_different_bytes(first, second):
    def signed(parts):
        kind, height, view, block_hash = parts
        return signed_vote(chain.CHAIN_ID, Vote(kind=kind, height=height, view=view, block_hash=block_hash))

    assert (signed(first) == signed(second)) == (first == second)


@pytest.mark.parametrize("kind", [0, 4, 99])
def test_an_unknown_kind_signs_nothing(kind):
    with pytest.raises(Malformed):
        signed_vote(chain.CHAIN_ID, Vote(kind=kind, height=1, view=1))


@pytest.mark.parametrize(
    "vote",
    [
        Vote(kind=0, height=1, view=1),
        Vote(kind=NOTARIZE, height=0, view=1, block_hash=HASH),
        Vote(kind=NOTARIZE, height=1, view=0, block_hash=HASH),
        Vote(kind=NOTARIZE, height=1, view=1, block_hash=HASH[1:]),
        Vote(kind=FINALIZE, height=1, view=1),
        Vote(kind=NULLIFY, height=1, view=1, block_hash=HASH),
    ],
)
def test_votes_out_of_shape(vote):
    with pytest.raises(Malformed):
        check_vote_shape(vote)


def lawful():
    node = Lone(0, height=4)
    block = node.block()
    vote = chain.vote(NOTARIZE, 1, 5, 1, HASH)
    proposal = node.proposal(5, block, from_view=2, nullified=[3, 4])
    yield PeerMessage(vote=vote)
    yield PeerMessage(certificate=node.certificate(NULLIFY, 3))
    yield PeerMessage(proposal=proposal)
    yield PeerMessage(proposal=node.proposal(1, block))
    yield PeerMessage(tip=Tip())
    yield PeerMessage(tip=Tip(finalization=node.certificate(FINALIZE, 3, HASH)))
    yield PeerMessage(block_request=BlockRequest(block_hash=HASH))
    yield PeerMessage(block_request=BlockRequest(from_height=1, to_height=9))
    yield PeerMessage(block_reply=BlockReply(block_hash=HASH))
    final = node.certificate(FINALIZE, 3, HASH)
    yield PeerMessage(block_reply=BlockReply(from_height=7))
    yield PeerMessage(block_reply=BlockReply(blocks=[b""] * 64, earlier=[final] * 63, finalization=final))
    yield PeerMessage(boundary_request=BoundaryRequest(from_height=1))
    yield PeerMessage(boundary_reply=BoundaryReply(headers=[SignedHeader(certificate=final)] * 64))
    yield PeerMessage(transactions=TransactionFrame())


@pytest.mark.parametrize("message", list(lawful()), ids=lambda message: message.WhichOneof("kind"))
def test_what_honest_validators_say_is_in_shape(message):
    check_shape(message)


def bend(proposal, how):
    changed = Proposal()
    changed.CopyFrom(proposal)
    how(changed)
    return PeerMessage(proposal=changed)


NODE = Lone(0, height=4)
FINAL = NODE.certificate(FINALIZE, 1, HASH)
REPROPOSAL = NODE.proposal(5, NODE.block(), from_view=2, nullified=[3, 4])
BENT = {
    "vote of another view": lambda p: setattr(p.vote, "view", 4),
    "vote of another height": lambda p: setattr(p.vote, "height", 4),
    "no notarize": lambda p: setattr(p.vote, "kind", FINALIZE),
    "short signature": lambda p: setattr(p.vote, "signature", bytes(63)),
    "signer beyond any set": lambda p: setattr(p.vote, "signer", 31),
    "rests on itself": lambda p: setattr(p, "from_view", 5),
    "new block with a notarization": lambda p: setattr(p, "from_view", 0),
    "without its notarization": lambda p: p.ClearField("notarization"),
    "notarization of another view": lambda p: setattr(p.notarization, "view", 1),
    "notarization of another height": lambda p: setattr(p.notarization, "height", 4),
    "notarization of another block": lambda p: setattr(p.notarization, "block_hash", HASH),
    "nullification for notarization": lambda p: p.notarization.CopyFrom(p.nullifications[0]),
    "nullification twice": lambda p: p.nullifications[1].CopyFrom(p.nullifications[0]),
    "nullification of its own view": lambda p: setattr(p.nullifications[1], "view", 5),
    "nullification of another height": lambda p: setattr(p.nullifications[1], "height", 4),
    "nullification without signatures": lambda p: p.nullifications[1].ClearField("signatures"),
    "nullification with a long bitmap": lambda p: setattr(p.nullifications[1], "signers", bytes(5)),
    "nullification with a short signature": lambda p: p.nullifications[1].signatures.__setitem__(0, b""),
    "finalization of another height": lambda p: setattr(p.parent_finalization, "height", 3),
    "notarization for finalization": lambda p: setattr(p.parent_finalization, "kind", NOTARIZE),
    "too long a block": lambda p: setattr(p, "block", bytes(4_194_305)),
}


@pytest.mark.parametrize("name", BENT)
def test_proposals_out_of_shape(name):
    with pytest.raises(Malformed):
        check_shape(bend(REPROPOSAL, BENT[name]))


def test_a_flood_of_nullifications_is_refused_by_their_number():
    vote = chain.vote(NOTARIZE, 1, 5, 10**9, HASH)
    flood = [Certificate(kind=NULLIFY, height=5, view=view + 1) for view in range(2_049)]
    for nullification in flood:
        nullification.signatures.append(bytes(64))
    proposal = Proposal(height=5, view=10**9, block=b"block", vote=vote, nullifications=flood)
    with pytest.raises(Malformed, match="2049 nullifications"):
        check_shape(PeerMessage(proposal=proposal))
    del proposal.nullifications[-1]
    check_shape(PeerMessage(proposal=proposal))


@pytest.mark.parametrize(
    "message",
    [
        PeerMessage(),
        PeerMessage(proposal=Proposal()),
        PeerMessage(proposal=NODE.proposal(1, NODE.block(), body=False)),
        PeerMessage(tip=Tip(finalization=NODE.certificate(NULLIFY, 3))),
        PeerMessage(block_request=BlockRequest()),
        PeerMessage(block_request=BlockRequest(from_height=2, to_height=1)),
        PeerMessage(block_request=BlockRequest(block_hash=HASH, from_height=1, to_height=1)),
        PeerMessage(block_request=BlockRequest(block_hash=HASH[1:])),
        PeerMessage(block_reply=BlockReply(block_hash=HASH[1:])),
        PeerMessage(block_reply=BlockReply(block_hash=HASH, blocks=[bytes(4_194_305)])),
        PeerMessage(block_reply=BlockReply(block_hash=HASH, blocks=[b"", b""])),
        PeerMessage(block_reply=BlockReply(block_hash=HASH, blocks=[b""], earlier=[FINAL])),
        PeerMessage(block_reply=BlockReply(finalization=NODE.certificate(NULLIFY, 3))),
        PeerMessage(block_reply=BlockReply(blocks=[b""] * 65, earlier=[FINAL] * 64, finalization=FINAL)),
        PeerMessage(
            block_reply=BlockReply(blocks=[bytes(2_097_153)] * 2, earlier=[FINAL], finalization=FINAL)
        ),
        PeerMessage(block_reply=BlockReply(blocks=[b"", b""], finalization=FINAL)),
        PeerMessage(block_reply=BlockReply(blocks=[b""], earlier=[FINAL], finalization=FINAL)),
        PeerMessage(
            block_reply=BlockReply(
                blocks=[b""] * 2, earlier=[NODE.certificate(NULLIFY, 3)], finalization=FINAL
            )
        ),
        PeerMessage(boundary_reply=BoundaryReply(headers=[SignedHeader(certificate=FINAL)] * 65)),
        PeerMessage(boundary_reply=BoundaryReply(headers=[SignedHeader()])),
    ],
)
def test_messages_out_of_shape(message):
    with pytest.raises(Malformed):
        check_shape(message)


SAMPLES = [message.SerializeToString() for message in lawful()]


@given(st.one_of(st.binary(max_size=300), st.sampled_from(SAMPLES)), st.data())
@example(b"", None)
def test_whatever_parses_is_in_shape_or_malformed_and_an_engine_survives_it(data, draw):
    if draw is not None and data:
        changed = bytearray(data)
        for _ in range(draw.draw(st.integers(0, 3))):
            changed[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
        data = bytes(changed)
    try:
        message = PeerMessage.FromString(data)
    except DecodeError:
        return
    NODE.hear(3, message)
    try:
        check_shape(message)
    except Malformed:
        return
