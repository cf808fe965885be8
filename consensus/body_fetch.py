"""The body of a block of the open height that a quorum notarized or finalized and we lack, asked for by its hash.

One request at a time, first of those who must have it. A late answer moves on to the next peer and leaves it twice
the time, as with a constant one a link slower than it never delivers; when all have been asked in vain, there is a
pause that grows. Once the height is decided, catch-up asks for it by height, too: who has executed it forgets bodies.
"""

from collections.abc import Sequence
from typing import Final

from consensus.effects import EngineSettings
from proto.chiptrace.v1.consensus_pb2 import BlockReply, BlockRequest

DOUBLINGS_MAX: Final = 4
PAUSE_SHORTEST_PART: Final = 16


class BodyFetch:
    """The request under way for the one body that is missing."""

    def __init__(self, own_key: bytes | None, settings: EngineSettings) -> None:
        self._own_key = own_key
        self._answer_ms = settings.block_request_ms
        self._begin(None)

    def _begin(self, block_hash: bytes | None) -> None:
        self._block_hash = block_hash
        self._asked: bytes | None = None  # who is to answer
        self._tries = 0
        self._peers = 1  # how many there are to ask
        self._next_ms = 0  # when the answer is late, or the pause over

    def request(
        self, block_hash: bytes | None, first: Sequence[bytes], then: Sequence[bytes], now_ms: int
    ) -> tuple[bytes, BlockRequest] | None:
        """Whom to ask now for this body (None: nothing is missing): those who must have it `first`."""
        if block_hash != self._block_hash:
            self._begin(block_hash)
        if block_hash is None or now_ms < self._next_ms:
            return None
        # Not all who lack it ask the same one.
        turn = self._own_key[0] % len(first) if self._own_key and first else 0
        ordered = dict.fromkeys([*first[turn:], *first[:turn], *then])
        peers = [peer for peer in ordered if peer != self._own_key]
        if not peers:
            return None
        if self._asked is not None:
            self._tries += 1  # its answer is late
        self._peers = len(peers)
        self._asked = peers[self._tries % len(peers)]
        self._next_ms = now_ms + (self._answer_ms << min(self._tries, DOUBLINGS_MAX))
        return self._asked, BlockRequest(block_hash=block_hash)

    def next_ms(self) -> int | None:
        """When to ask again."""
        return None if self._block_hash is None else self._next_ms

    def answered(self, peer: bytes, reply: BlockReply, now_ms: int) -> bytes | None:
        """The body in a reply to the request under way, still to be checked; None if it brings none."""
        if peer != self._asked or reply.block_hash != self._block_hash:
            return None  # nobody asked
        # Until the body proves to be the one, it was one more try: the next peer may be asked, at once in the first
        # round, then after a pause that grows.
        self._asked = None
        self._tries += 1
        rounds = self._tries // self._peers
        pause = (
            max(1, self._answer_ms // PAUSE_SHORTEST_PART) << min(rounds - 1, 2 * DOUBLINGS_MAX)
            if rounds
            else 0
        )
        self._next_ms = now_ms + pause
        return reply.blocks[0] if reply.blocks else None
