"""What other validators are told out of the store: decided blocks and boundary headers.

Read on the reader's thread: neither changes any more. The engine has no part in it.
"""

from consensus.answers import decided_blocks
from ledger.errors import Invalid
from ledger.limits import HEADERS_PER_REPLY_MAX
from ledger.store import Store
from node.chain_host import signed_header
from proto.chiptrace.v1.consensus_pb2 import BlockReply, BoundaryReply, Certificate, PeerMessage


def asks_store(message: PeerMessage) -> bool:
    """Whether this is a question for the store: blocks by height, or boundaries."""
    return message.HasField("boundary_request") or (
        message.HasField("block_request") and not message.block_request.block_hash
    )


def stored_answer(store: Store, question: PeerMessage) -> PeerMessage:
    """The answer to a question for the store; one without content where nothing is here."""
    if question.HasField("boundary_request"):
        above = max(1, question.boundary_request.from_height) - 1
        found = store.boundaries(above, HEADERS_PER_REPLY_MAX)
        return PeerMessage(boundary_reply=BoundaryReply(headers=[signed_header(each) for each in found]))

    def read(height: int) -> tuple[bytes, Certificate]:
        return store.block(height), Certificate.FromString(store.certificate(height))

    try:
        reply = decided_blocks(question.block_request, store.tip.height, read)
    except Invalid:
        reply = BlockReply(from_height=question.block_request.from_height)
    return PeerMessage(block_reply=reply)
