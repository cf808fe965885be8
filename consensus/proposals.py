"""What a proposal carries, and whether it is enough: any complete proof is good (rule 1)."""

from consensus.tally import Held
from proto.chiptrace.v1.consensus_pb2 import Certificate, Proposal, Vote


def make(
    vote: Vote, from_view: int, body: bytes, held: Held, parent_finalization: Certificate | None
) -> Proposal:
    """The proposal of the leader's notarize `vote`, with the whole proof: N(u), each Z(w) with u < w < v, and F
    of the parent. The body always goes along: who lacks it need not ask."""
    return Proposal(
        height=vote.height,
        view=vote.view,
        from_view=from_view,
        block=body,
        vote=vote,
        notarization=held.notarization(from_view),
        nullifications=held.nullifications(after=from_view, before=vote.view),
        parent_finalization=parent_finalization,
    )


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
