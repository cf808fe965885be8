"""What validators sign and say to one another: the signed bytes of a vote, and the shape of every message.

A shape is what can be told from the message alone, before any signature is looked at and before anything is
stored for it: kinds, lengths, counts, and that the parts speak of the same height and view.
"""

from collections.abc import Mapping
from typing import Final

from ledger import codec, limits
from ledger.errors import Malformed
from ledger.hashes import HASH_BYTES, SIGNATURE_BYTES, Purpose, signed_bytes
from proto.chiptrace.v1 import consensus_pb2
from proto.chiptrace.v1.consensus_pb2 import (
    BlockReply,
    BlockRequest,
    BoundaryReply,
    Certificate,
    PeerMessage,
    Proposal,
    Vote,
    VoteKind,
)

codec.name_values(consensus_pb2)

# More than an honest leader carries (proposals.py) where there is anyone to read it; a liar's must not cost time.
NULLIFICATIONS_MAX: Final = 2_048
# One request for decided heights, and so the answer to it, is of at most so many.
HEIGHTS_PER_REQUEST_MAX: Final = 64

PURPOSES: Final[Mapping["VoteKind.ValueType", Purpose]] = {
    VoteKind.NOTARIZE: Purpose.NOTARIZE,
    VoteKind.NULLIFY: Purpose.NULLIFY,
    VoteKind.FINALIZE: Purpose.FINALIZE,
}


def signed_vote(chain_id: bytes, vote: Vote | Certificate) -> bytes:
    """The bytes that the signers of a vote, or of each vote in a certificate, have signed.

    Tag of the kind, then be64 height, be64 view and the block hash (none for NULLIFY). Raises Malformed for an
    unknown kind.
    """
    purpose = PURPOSES.get(vote.kind)
    if purpose is None:
        raise Malformed(f"a vote has kind {vote.kind}; known are 1 to 3")
    data = vote.height.to_bytes(8, "big") + vote.view.to_bytes(8, "big") + vote.block_hash
    return signed_bytes(purpose, chain_id, data)


def check_vote_shape(vote: Vote | Certificate) -> None:
    """Known kind, height and view from one, and a block hash exactly where the kind has one. Raises Malformed."""
    if vote.kind not in PURPOSES:
        raise Malformed(f"a vote has kind {vote.kind}; known are 1 to 3")
    if vote.height == 0 or vote.view == 0:
        raise Malformed(f"a vote is for height {vote.height} and view {vote.view}; both begin at 1")
    hash_bytes = 0 if vote.kind == VoteKind.NULLIFY else HASH_BYTES
    if len(vote.block_hash) != hash_bytes:
        raise Malformed(
            f"a vote of kind {VoteKind.Name(vote.kind)} names a block by {len(vote.block_hash)} bytes, not {hash_bytes}"
        )


def check_shape(message: PeerMessage) -> None:
    """Returns only if the message could have come from an honest validator; raises Malformed."""
    kind = message.WhichOneof("kind")
    if kind == "vote":
        _check_vote(message.vote)
    elif kind == "certificate":
        _check_certificate(message.certificate)
    elif kind == "proposal":
        _check_proposal(message.proposal)
    elif kind == "tip":
        if message.tip.HasField("finalization"):
            _check_certificate_of(message.tip.finalization, VoteKind.FINALIZE)
    elif kind == "block_request":
        _check_block_request(message.block_request)
    elif kind == "block_reply":
        _check_block_reply(message.block_reply)
    elif kind == "boundary_reply":
        _check_boundary_reply(message.boundary_reply)
    elif kind is None:
        raise Malformed("a message is empty or of a kind unknown here")


def _check_vote(vote: Vote) -> None:
    check_vote_shape(vote)
    if len(vote.signature) != SIGNATURE_BYTES:
        raise Malformed(f"a vote's signature has {len(vote.signature)} bytes, not {SIGNATURE_BYTES}")
    if vote.signer >= limits.VALIDATORS_MAX:
        raise Malformed(f"a vote is by signer {vote.signer}; a set has at most {limits.VALIDATORS_MAX}")


def _check_certificate(certificate: Certificate) -> None:
    check_vote_shape(certificate)
    if len(certificate.signers) > (limits.VALIDATORS_MAX + 7) // 8:
        raise Malformed(f"a certificate's bitmap has {len(certificate.signers)} bytes")
    if not 0 < len(certificate.signatures) <= limits.VALIDATORS_MAX:
        raise Malformed(f"a certificate has {len(certificate.signatures)} signatures")
    if any(len(signature) != SIGNATURE_BYTES for signature in certificate.signatures):
        raise Malformed(f"a certificate has a signature that has not {SIGNATURE_BYTES} bytes")


def _check_certificate_of(certificate: Certificate, kind: "VoteKind.ValueType") -> None:
    _check_certificate(certificate)
    if certificate.kind != kind:
        raise Malformed(
            f"a certificate of kind {VoteKind.Name(certificate.kind)} stands where {VoteKind.Name(kind)} belongs"
        )


def _check_proposal(proposal: Proposal) -> None:
    # 1. The leader's own notarize, for this height and view.
    vote = proposal.vote
    _check_vote(vote)
    if (vote.kind, vote.height, vote.view) != (VoteKind.NOTARIZE, proposal.height, proposal.view):
        raise Malformed(
            f"the proposal of {proposal.height}/{proposal.view} carries another vote than its own"
        )
    # 2. A body for a new block; an earlier view for a block proposed again.
    if len(proposal.block) > limits.BLOCK_BYTES_MAX:
        raise Malformed(f"a proposal's block has {len(proposal.block)} bytes")
    if proposal.from_view >= proposal.view:
        raise Malformed(f"a proposal of view {proposal.view} rests on view {proposal.from_view}")
    if proposal.from_view == 0 and not proposal.block:
        raise Malformed("a new block is proposed without its body")
    # 3. N(u) exactly where u > 0.
    if proposal.HasField("notarization") != (proposal.from_view > 0):
        raise Malformed("a proposal carries a notarization exactly when it proposes a block again")
    if proposal.from_view > 0:
        _check_certificate_of(proposal.notarization, VoteKind.NOTARIZE)
        if (proposal.notarization.height, proposal.notarization.view) != (
            proposal.height,
            proposal.from_view,
        ):
            raise Malformed("a proposal carries the notarization of another height or view")
        if proposal.notarization.block_hash != vote.block_hash:
            raise Malformed("a proposal carries the notarization of another block")
    # 4. Z(w) of views strictly between, each once and ascending. Which are missing is judged where they are kept.
    if len(proposal.nullifications) > NULLIFICATIONS_MAX:
        raise Malformed(f"a proposal carries {len(proposal.nullifications)} nullifications")
    last = proposal.from_view
    for nullification in proposal.nullifications:
        _check_certificate_of(nullification, VoteKind.NULLIFY)
        if nullification.height != proposal.height or not last < nullification.view < proposal.view:
            raise Malformed("a proposal carries nullifications of other views than those it skips")
        last = nullification.view
    # 5. F(H - 1), but for the first height.
    if proposal.HasField("parent_finalization"):
        _check_certificate_of(proposal.parent_finalization, VoteKind.FINALIZE)
        if proposal.parent_finalization.height + 1 != proposal.height:
            raise Malformed("a proposal carries the finalization of a height that is not its parent's")


def _check_block_request(request: BlockRequest) -> None:
    if request.block_hash:
        if len(request.block_hash) != HASH_BYTES or request.from_height or request.to_height:
            raise Malformed("a block is asked for by a hash of 32 bytes alone, or by heights alone")
    elif not 0 < request.from_height <= request.to_height:
        raise Malformed(f"blocks are asked for from {request.from_height} to {request.to_height}")


def _check_block_reply(reply: BlockReply) -> None:
    # 1. A bounded number of blocks, in a bounded number of bytes.
    if len(reply.blocks) > HEIGHTS_PER_REQUEST_MAX:
        raise Malformed(
            f"a reply holds {len(reply.blocks)} blocks; at most {HEIGHTS_PER_REQUEST_MAX} are asked for"
        )
    if sum(len(block) for block in reply.blocks) > limits.BLOCK_BYTES_MAX:
        raise Malformed(f"a reply holds blocks of more than {limits.BLOCK_BYTES_MAX} bytes")
    # 2. A body alone, by its hash; or heights, each with its own finalization.
    if reply.block_hash:
        if len(reply.block_hash) != HASH_BYTES or len(reply.blocks) > 1 or reply.earlier:
            raise Malformed("a reply to a hash of 32 bytes holds one body at most")
    elif len(reply.earlier) != max(0, len(reply.blocks) - 1):
        raise Malformed(
            f"a reply holds {len(reply.blocks)} blocks and {len(reply.earlier)} earlier finalizations"
        )
    for finalization in reply.earlier:
        _check_certificate_of(finalization, VoteKind.FINALIZE)
    if reply.HasField("finalization"):
        _check_certificate_of(reply.finalization, VoteKind.FINALIZE)


def _check_boundary_reply(reply: BoundaryReply) -> None:
    if len(reply.headers) > limits.HEADERS_PER_REPLY_MAX:
        raise Malformed(
            f"a reply holds {len(reply.headers)} headers; at most {limits.HEADERS_PER_REPLY_MAX} fit"
        )
    for signed in reply.headers:
        _check_certificate_of(signed.certificate, VoteKind.FINALIZE)
