"""Messages for the next height, kept until it opens, so that a validator that is one commit behind does not lose
the fast path: the leader of H + 1 proposes when *it* has executed H.

Their signatures cannot be checked yet (the set of H + 1 may be another), so they are bounded by who sent them, and
handled like any message once the height opens.
"""

from typing import Final

from proto.chiptrace.v1.consensus_pb2 import PeerMessage

VOTES_PER_SENDER_MAX: Final = 12
CERTIFICATES_PER_SENDER_MAX: Final = 6
SENDERS_MAX: Final = 64

_LIMITS: Final = {"proposal": 1, "vote": VOTES_PER_SENDER_MAX, "certificate": CERTIFICATES_PER_SENDER_MAX}


class EarlyMessages:
    """Per sender: one proposal (the newest), a few votes and certificates, of one height."""

    def __init__(self) -> None:
        self._height = 0
        self._kept: dict[tuple[bytes, str], dict[tuple[int, int], PeerMessage]] = {}

    def keep(self, sender: bytes, height: int, message: PeerMessage) -> None:
        """Keeps a proposal, vote or certificate for `height`; those of other heights are forgotten."""
        if height != self._height:
            self._height = height
            self._kept.clear()
        kind = message.WhichOneof("kind") or ""
        if kind == "proposal":
            slot = (0, message.proposal.view)
        elif kind == "vote":
            slot = (message.vote.kind, message.vote.view)
        else:
            slot = (message.certificate.kind, message.certificate.view)
        if (sender, kind) not in self._kept and len(self._kept) >= SENDERS_MAX * len(_LIMITS):
            return
        slots = self._kept.setdefault((sender, kind), {})
        if slot in slots:
            return
        if len(slots) >= _LIMITS[kind]:
            slots.pop(next(iter(slots)))
        slots[slot] = message

    def take(self, height: int) -> list[tuple[bytes, PeerMessage]]:
        """What was kept for `height`: proposals first, then votes, then certificates. Nothing is kept after."""
        taken: list[tuple[bytes, PeerMessage]] = []
        if height == self._height:
            for kind in _LIMITS:
                for (sender, of_kind), slots in self._kept.items():
                    if of_kind == kind:
                        taken.extend((sender, message) for message in slots.values())
        self._kept.clear()
        self._height = 0
        return taken
