"""What other validators are told out of the store: decided blocks and boundary headers.

Read on the reader's thread: neither changes any more. The engine has no part in it. A question of a few bytes may be
answered with megabytes, so each validator is answered one question at a time, and none for a while after it: who asks
without end takes a share of this node that its own work hardly notices, and who catches up never notices.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine
from typing import Any, Final

from consensus.answers import decided_blocks
from ledger.errors import Invalid
from ledger.limits import HEADERS_PER_REPLY_MAX
from ledger.store import Store
from node.chain_host import ChainHost, signed_header
from proto.chiptrace.v1.consensus_pb2 import BlockReply, BoundaryReply, Certificate, PeerMessage

QUESTIONS_PER_PEER_MAX: Final = 8  # that wait; more are dropped, for who catches up has one or two
REST_TIMES: Final = 4  # of what an answer took, until the same validator's next one begins
REST_SECONDS_MAX: Final = 0.2  # where an answer takes long, others take the time


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


class StoredAnswers:
    """The answers under way. Owned by the event loop."""

    def __init__(
        self,
        host: ChainHost,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        send: Callable[[bytes, PeerMessage], None],
    ) -> None:
        self._host = host
        self._spawn = spawn
        self._send = send
        self._waiting: Counter[bytes] = Counter()
        self._turns: defaultdict[bytes, asyncio.Lock] = defaultdict(asyncio.Lock)  # one for each validator

    def asked(self, sender: bytes, question: PeerMessage) -> None:
        """A validator wants to know; the answer is sent when its turn comes."""
        if self._waiting[sender] < QUESTIONS_PER_PEER_MAX:
            self._waiting[sender] += 1
            self._spawn(self._answer(sender, question))

    async def _answer(self, sender: bytes, question: PeerMessage) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with self._turns[sender]:
                begun = loop.time()
                self._send(sender, await self._host.read(lambda store: stored_answer(store, question)))
                await asyncio.sleep(min(REST_TIMES * (loop.time() - begun), REST_SECONDS_MAX))
        finally:
            self._waiting[sender] -= 1
