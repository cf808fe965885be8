"""What others are told who ask, or who are behind: tips, bodies of open blocks, decided blocks, boundary headers.

Stragglers need no asking: whatever they say of a decided height is answered with the newest finalization
(rule 5). All answers are limited per peer, so that no question costs more than it is worth.
"""

from collections.abc import Callable, Sequence

from consensus.effects import EngineSettings
from consensus.height import OpenHeight
from consensus.messages import HEIGHTS_PER_REQUEST_MAX
from consensus.outbox import Outbox
from consensus.repair import RateLimit
from ledger.limits import BLOCK_BYTES_MAX
from proto.chiptrace.v1.consensus_pb2 import BlockReply, BlockRequest, Certificate, PeerMessage, Tip


def decided_blocks(
    request: BlockRequest, tip_height: int, read: Callable[[int], tuple[bytes, Certificate]]
) -> BlockReply:
    """What a node with blocks up to `tip_height` answers to a request by heights; drivers call it beside the engine.

    As many heights as are asked for and here, each with its own finalization, within HEIGHTS_PER_REQUEST_MAX and,
    after the first, BLOCK_BYTES_MAX. No block at all says: not here.
    """
    reply = BlockReply(from_height=request.from_height)
    last = min(request.to_height, tip_height, request.from_height + HEIGHTS_PER_REQUEST_MAX - 1)
    room = BLOCK_BYTES_MAX
    for height in range(max(1, request.from_height), last + 1):
        block, finalization = read(height)
        room -= len(block)
        if reply.blocks and room < 0:
            break
        if reply.blocks:
            reply.earlier.append(reply.finalization)
        reply.blocks.append(block)
        reply.finalization.CopyFrom(finalization)
    return reply


def tip_of(finalization: Certificate | None) -> PeerMessage:
    """What we have decided, with the proof; nothing yet at the first height."""
    return PeerMessage(tip=Tip() if finalization is None else Tip(finalization=finalization))


class Answers:
    """The engine's own answers, each limited per peer."""

    def __init__(self, settings: EngineSettings, out: Outbox) -> None:
        self._out = out
        self._tips = RateLimit(max(1, settings.resend_ms // 2))
        self._bodies = RateLimit(max(1, settings.block_request_ms // 2))

    def behind(self, sender: bytes, finalization: Certificate | None, now_ms: int) -> None:
        """Who is behind is told the newest finalization (rule 5)."""
        if self._tips.allow(sender, now_ms):
            self._out.send(sender, tip_of(finalization))

    def body(self, sender: bytes, request: BlockRequest, heights: Sequence[OpenHeight], now_ms: int) -> None:
        """A body by its hash, of the open height or of the one just executed. Heights are the driver's to answer."""
        block_hash = request.block_hash
        if not block_hash:
            return
        found = [body for height in heights if (body := height.voter.bodies.get(block_hash)) is not None]
        # Of each body by itself: who is a little behind lacks one after the other, and waits in vain for no answer.
        if found and not self._bodies.allow(sender + block_hash, now_ms):
            return
        self._out.send(sender, PeerMessage(block_reply=BlockReply(blocks=found[:1], block_hash=block_hash)))
