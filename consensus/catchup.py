"""Always-on catch-up (rule 11): what others have decided is fetched and goes through the same door as what we
decide ourselves.

A finalization above the open height tells that there is something to fetch. One that the set in force here
verifies is the target, and any validator may be asked. One that it does not verify is perhaps of another set,
perhaps nothing: it is its sender's claim, and only the sender is asked. Either way nothing is believed: every block
is asked for together with its own finalization, which is verified by exactly the set of its height once that
height opens. So set changes need no walk ahead, every height keeps its own certificate, and a lie costs its teller
one request.

Also here: the body of a block of the open height that a quorum notarized or finalized and we lack, by its hash.

Requests go round the peers by height and number of tries. An answer that is late, empty or bad costs one request and
moves on to the next peer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from consensus.effects import EngineSettings
from ledger.limits import BLOCK_BYTES_MAX
from proto.chiptrace.v1.consensus_pb2 import BlockReply, BlockRequest, Certificate

HEIGHTS_ASKED_MAX: Final = 16  # asked for and not answered, or answered and not yet executed
FETCHED_BYTES_MAX: Final = 4 * BLOCK_BYTES_MAX
CLAIMS_MAX: Final = 256
PATIENCE_DOUBLINGS_MAX: Final = (
    4  # 16 times block_request_ms: 8 s by default, and no longer for a peer that is gone
)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a peer sent for a height: nothing of it is verified."""

    height: int
    peer: bytes
    block: bytes
    finalization: Certificate


@dataclass(frozen=True, slots=True)
class Need:
    """What the engine lacks now."""

    first_height: int  # the first height whose block is not at hand
    body_hash: bytes | None  # of the open height
    body_height: int
    body_decided: bool  # then it may also be asked for by height
    body_peers: Sequence[bytes]
    validators: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class _Request:
    peer: bytes
    deadline_ms: int


class Catchup:
    """Claims, requests under way, and blocks fetched ahead."""

    def __init__(self, own_key: bytes | None, settings: EngineSettings) -> None:
        self._own_key = own_key
        self._timeout_ms = settings.block_request_ms
        self._window = max(1, min(settings.heights_per_request_max, HEIGHTS_ASKED_MAX))
        self._target = 0  # verified
        self._raised_ms = 0  # when the highest height known last rose
        self._claims: dict[bytes, int] = {}
        self._requests: dict[int | bytes, _Request] = {}  # by height, or by block hash
        self._fetched: dict[int, Fetched] = {}
        self._shown: dict[bytes, int] = {}  # the highest finalization each peer has ever shown
        self._tries: dict[int | bytes, int] = {}

    @property
    def highest(self) -> int:
        """The highest height that anyone is known, or claims, to have decided."""
        return max(self._target, max(self._claims.values(), default=0))

    def credible(self, liars_max: int) -> int:
        """The highest height that is known to be decided, or claimed by more than may lie."""
        claims = sorted(self._claims.values(), reverse=True)
        return max([self._target, *claims[liars_max : liars_max + 1]])

    @property
    def target(self) -> int:
        """The highest height of which a verified finalization was seen."""
        return self._target

    def claimed(self, peer: bytes) -> int:
        """The highest height this peer claims to have decided."""
        return self._claims.get(peer, 0)

    def claim(self, peer: bytes, height: int, now_ms: int, *, verified: bool) -> None:
        """A peer has shown a finalization of a height above the open one."""
        if height > self.highest:
            self._raised_ms = now_ms
        if verified:
            self._target = max(self._target, height)
        if peer in self._claims or len(self._claims) < CLAIMS_MAX:
            self._claims[peer] = max(height, self.claimed(peer))
        self.shown(peer, height)

    def shown(self, peer: bytes, height: int) -> None:
        """A peer has shown a finalization of the open height or above: it may have that block, whether or not it is
        a validator."""
        if peer in self._shown or len(self._shown) < CLAIMS_MAX:
            self._shown[peer] = max(height, self._shown.get(peer, 0))

    # ---- asking -----------------------------------------------------------------------------------

    def requests(self, need: Need, now_ms: int) -> list[tuple[bytes, BlockRequest]]:
        """What to ask for now, and of whom."""
        self._forget(need)
        for key in [key for key, request in self._requests.items() if now_ms >= request.deadline_ms]:
            self._failed(key)
        asked: list[tuple[bytes, BlockRequest]] = []
        for height in self._wanted_heights(need, now_ms):
            peers = self._peers_at(height, need)
            if peers:
                peer = peers[(height + self._tries.get(height, 0)) % len(peers)]
                self._requests[height] = _Request(peer, self._deadline(height, now_ms))
                asked.append((peer, BlockRequest(from_height=height, to_height=height)))
        if need.body_hash is not None and need.body_hash not in self._requests:
            asked.extend(self._ask_body(need.body_hash, need, now_ms))
        return asked

    def _ask_body(self, block_hash: bytes, need: Need, now_ms: int) -> list[tuple[bytes, BlockRequest]]:
        # Those first who must have it; not all of us the same one.
        own = self._own_key[0] if self._own_key else 0
        turn = own % len(need.body_peers) if need.body_peers else 0
        first = [*need.body_peers[turn:], *need.body_peers[:turn]]
        peers = self._others([*first, *need.validators, *self._showing(need.body_height)])
        if not peers:
            return []
        tries = self._tries.get(block_hash, 0)
        peer = peers[tries % len(peers)]
        self._requests[block_hash] = _Request(peer, self._deadline(block_hash, now_ms))
        # By hash while others have the height open, by height once they have executed it: round and round.
        if need.body_decided and tries // len(peers) % 2:
            return [(peer, BlockRequest(from_height=need.body_height, to_height=need.body_height))]
        return [(peer, BlockRequest(block_hash=block_hash))]

    def _deadline(self, key: int | bytes, now_ms: int) -> int:
        # Every failed try is given twice the time: with a constant one, a link slower than it never delivers.
        return now_ms + (self._timeout_ms << min(self._tries.get(key, 0), PATIENCE_DOUBLINGS_MAX))

    def next_ms(self, need: Need, now_ms: int) -> int | None:
        """When the next request under way is given up, or one is to be made."""
        moments = [request.deadline_ms for request in self._requests.values()]
        patience_ends = self._raised_ms + self._timeout_ms
        if self.highest >= need.first_height and patience_ends > now_ms:
            moments.append(patience_ends)
        return min(moments, default=None)

    def _wanted_heights(self, need: Need, now_ms: int) -> list[int]:
        # One height ahead is no backlog yet: it is being executed here, or its proposal is on the way. Unless it was
        # asked for before: then it was two ahead when it was proposed, and that proposal was not kept.
        highest = self.highest
        patient = highest == need.first_height and now_ms < self._raised_ms + self._timeout_ms
        if highest < need.first_height or (patient and need.first_height not in self._tries):
            return []
        window = self._window
        if sum(len(fetched.block) for fetched in self._fetched.values()) >= FETCHED_BYTES_MAX:
            window = 1
        heights = range(need.first_height, min(highest, need.first_height + window - 1) + 1)
        return [h for h in heights if h not in self._requests and h not in self._fetched]

    def _peers_at(self, height: int, need: Need) -> list[bytes]:
        claimants = self._others([peer for peer, claimed in self._claims.items() if claimed >= height])
        # Claimants first; they may all be gone, while a verified target is somewhere for certain.
        if self._target >= height and self._tries.get(height, 0) >= len(claimants):
            return self._others([*need.validators, *self._showing(height)])
        return claimants

    def _showing(self, height: int) -> list[bytes]:
        return [peer for peer, shown in self._shown.items() if shown >= height]

    def _others(self, peers: Sequence[bytes]) -> list[bytes]:
        """Each once, in order, without ourselves."""
        return [peer for peer in dict.fromkeys(peers) if peer != self._own_key]

    def _forget(self, need: Need) -> None:
        """Drops what is no longer needed."""
        for height in [height for height in self._fetched if height < need.first_height]:
            del self._fetched[height]
        for keyed in (self._requests, self._tries):
            stale = [key for key in keyed if not self._needed(key, need)]
            for key in stale:
                del keyed[key]
        for peer in [peer for peer, height in self._claims.items() if height < need.first_height]:
            del self._claims[peer]

    def _needed(self, key: int | bytes, need: Need) -> bool:
        return key >= need.first_height if isinstance(key, int) else key == need.body_hash

    # ---- answers ----------------------------------------------------------------------------------

    def answered(self, peer: bytes, reply: BlockReply, need: Need) -> bytes | None:
        """Takes in a reply to a request under way. A height's block is kept for when it opens; the body asked for
        by hash is returned. Anything else was not asked for."""
        key: int | bytes = reply.block_hash or reply.from_height
        if need.body_hash is not None and key == need.body_height and key not in self._requests:
            key = need.body_hash
        request = self._requests.get(key)
        if request is None or request.peer != peer:
            return None
        if not reply.blocks or (isinstance(key, int) and reply.finalization.height != key):
            self._failed(key)
            return None
        if isinstance(key, bytes):
            return reply.blocks[0]
        del self._requests[key]
        self._fetched[key] = Fetched(key, peer, reply.blocks[0], reply.finalization)
        return None

    def take(self, height: int) -> Fetched | None:
        """What was fetched for the height that is open now."""
        return self._fetched.pop(height, None)

    def rejected(self, key: int | bytes, peer: bytes) -> None:
        """What this peer sent did not verify."""
        self._claims.pop(peer, None)
        self._tries[key] = self._tries.get(key, 0) + 1
        self._requests.pop(key, None)

    def _failed(self, key: int | bytes) -> None:
        request = self._requests.pop(key)
        self._tries[key] = self._tries.get(key, 0) + 1
        if isinstance(key, int):
            self._claims.pop(request.peer, None)
