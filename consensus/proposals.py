"""What a proposal carries, and whether it is enough: any complete proof is good (rule 1)."""

from typing import Final

from consensus.tally import Held
from proto.chiptrace.v1.consensus_pb2 import Certificate, Proposal, Vote

# More than a hundred views of the largest set, a thousand of a small one; with the largest block it fits into a message.
NULLIFICATIONS_BYTES_MAX: Final = 262_144


def make(
    vote: Vote, from_view: int, body: bytes, held: Held, parent_finalization: Certificate | None
) -> Proposal:
    """The proposal of the leader's notarize `vote`, with its proof: N(u), each Z(w) with u < w < v, and F of the
    parent. The body always goes along: who lacks it need not ask.

    After a standstill of days there may be more Z(w) than fit. Then the newest are carried, which bring everyone to
    the view; the older ones have been sent when they formed, and are sent again to who lacks them (rule 7).
    """
    return Proposal(
        height=vote.height,
        view=vote.view,
        from_view=from_view,
        block=body,
        vote=vote,
        notarization=held.notarization(from_view),
        nullifications=_newest(held.nullifications(after=from_view, before=vote.view)),
        parent_finalization=parent_finalization,
    )


def _newest(nullifications: list[Certificate]) -> list[Certificate]:
    """As many as fit, of the highest views."""
    left = NULLIFICATIONS_BYTES_MAX
    for index in range(len(nullifications) - 1, -1, -1):
        left -= nullifications[index].ByteSize()
        if left < 0:
            return nullifications[index + 1 :]
    return nullifications


def carried(proposal: Proposal, held: Held) -> list[Certificate]:
    """The certificates of the proposal's own height that are not held yet, highest view first."""
    certificates = list(proposal.nullifications)
    if proposal.HasField("notarization"):
        certificates.append(proposal.notarization)
    certificates.sort(key=lambda certificate: certificate.view, reverse=True)
    return [certificate for certificate in certificates if not held.has(certificate)]


def stands_on(proposal: Proposal, parent_finalization: Certificate | None) -> bool:
    """Whether the proposal shows the finalization of the parent we know to be final.

    We hold one ourselves, verified; only which block it names is compared, as the same block may have been
    finalized in several views, and its signatures would tell nothing new.
    """
    if parent_finalization is None:
        return not proposal.HasField("parent_finalization")
    shown = proposal.parent_finalization
    return (shown.height, shown.block_hash) == (parent_finalization.height, parent_finalization.block_hash)
