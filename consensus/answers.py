"""What others are told who ask, or who are behind: tips, bodies of open blocks, decided blocks, boundary headers.

Stragglers need no asking: whatever they say of a decided height is answered with the newest finalization
(rule 5). All answers are limited per peer, so that no question costs more than it is worth.
"""

from collections.abc import Callable

from consensus.messages import HEIGHTS_PER_REQUEST_MAX
from ledger.limits import BLOCK_BYTES_MAX
from proto.chiptrace.v1.consensus_pb2 import BlockReply, BlockRequest, Certificate


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
