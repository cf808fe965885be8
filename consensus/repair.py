"""Repair (rule 7): what is sent again when the height stands still, and what stragglers are answered."""

from consensus.voter import Voter
from proto.chiptrace.v1.consensus_pb2 import Certificate, PeerMessage, Tip, Vote, VoteKind

Part = Tip | Certificate | Vote


def backlog(voter: Voter, tip: Certificate | None) -> list[Part]:
    """What others may lack to go on: tip finalization, N(u) of the highest u, Z above u, own votes from u on. It may be
    of thousands of views, so nothing is made of it that is not sent."""
    parts: list[Part] = []
    if tip is not None:
        parts.append(Tip(finalization=tip))
    notarization = voter.held.highest_notarization()
    from_view = 0
    if notarization is not None:
        from_view = notarization.view
        parts.append(notarization)
    parts.extend(voter.held.nullifications(after=from_view))
    parts.extend(vote for vote in voter.own_votes if vote.view >= from_view)
    return parts


def message_of(part: Part) -> PeerMessage:
    """A part of the backlog as it is sent."""
    if isinstance(part, Tip):
        return PeerMessage(tip=part)
    return PeerMessage(vote=part) if isinstance(part, Vote) else PeerMessage(certificate=part)


def own_proposal(voter: Voter, bytes_max: int) -> list[tuple[bytes, PeerMessage]]:
    """Our proposal of the current view, while it is not notarized, for each whose notarize we lack: one lost message
    must not cost the view. Nothing where telling them all takes more than `bytes_max`: then the view may time out."""
    proposal = voter.own_proposal
    if proposal is None or proposal.view != voter.view:  # once it is notarized, its view is left
        return []
    voted = voter.tally.signers(proposal.view, VoteKind.NOTARIZE)
    validators = voter.opening.validators.validators
    lacking = [validator.key for index, validator in enumerate(validators) if index not in voted]
    if proposal.ByteSize() * len(lacking) > bytes_max:
        return []
    message = PeerMessage(proposal=proposal)
    return [(key, message) for key in lacking]


class Resender:
    """Goes round the backlog, so many bytes at a time: a long one is never sent at once, and never starves."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._next = 0  # the place in the backlog; one that grows meanwhile must not throw it back

    def next(self, parts: list[Part]) -> list[Part]:
        """What is next of the backlog: at least one part, each at most once."""
        chosen: list[Part] = []
        left = self._bytes_max
        start = self._next if self._next < len(parts) else 0
        while parts and len(chosen) < len(parts):
            part = parts[(start + len(chosen)) % len(parts)]
            left -= part.ByteSize()
            if chosen and left < 0:
                break
            chosen.append(part)
        self._next = (start + len(chosen)) % max(1, len(parts))
        return chosen


class RateLimit:
    """At most one answer per peer (and what it asked for, if the caller says so) and interval."""

    PEERS_MAX = 1_024

    def __init__(self, interval_ms: int) -> None:
        self._interval_ms = interval_ms
        self._answered_ms: dict[bytes, int] = {}

    def allow(self, peer: bytes, now_ms: int) -> bool:
        """Whether this peer may be answered now; then it counts as answered."""
        last = self._answered_ms.get(peer)
        if last is not None and 0 <= now_ms - last < self._interval_ms:
            return False
        if last is None and len(self._answered_ms) >= self.PEERS_MAX:
            self._answered_ms.clear()
        self._answered_ms[peer] = now_ms
        return True
