"""Heads that a relayer has seen of a chain: two certified ones of one height that differ are a fork.

Only heads that a quorum of the set really certified are remembered, so that a lying node cannot make the relayer accuse.
"""

from typing import Final

from bridge.light_client import certified
from ledger.errors import ChiptraceError
from proto.chiptrace.v1.consensus_pb2 import SignedHeader
from proto.chiptrace.v1.ledger_pb2 import ValidatorSet

HEADS_KEPT_MAX: Final = 4_096
Conflict = tuple[SignedHeader, SignedHeader]


class Heads:
    """The first certified header seen of each of the last heights."""

    def __init__(self, chain_id: bytes) -> None:
        self._chain_id = chain_id
        self._seen: dict[int, SignedHeader] = {}

    def see(self, signed: SignedHeader, validators: ValidatorSet) -> Conflict | None:
        """Two headers that no honest chain certifies both, once the second of them is seen. What this set has not
        certified is passed over."""
        try:
            height = certified(self._chain_id, validators, signed).header.height
        except ChiptraceError:
            return None
        known = self._seen.setdefault(height, signed)
        if len(self._seen) > HEADS_KEPT_MAX:
            del self._seen[next(iter(self._seen))]
        return None if known.header == signed.header else (known, signed)

    def known(self, height: int) -> SignedHeader | None:
        """The certified header of a height that was seen first."""
        return self._seen.get(height)
