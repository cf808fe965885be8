"""What the verifier process says of blocks before they are judged or executed.

While a node catches up, one block is executed as the signatures of those after it are verified beside it: what was fetched
and waits for its height is asked about in order, so many bytes ahead. Of a proposal only the transactions are asked about
that this node has not seen, and for a moment only: no vote waits for that process.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError

from consensus.catchup import Fetched
from ledger.limits import BLOCK_BYTES_MAX, TRANSACTIONS_PER_BLOCK_MAX
from ledger.vouched import NOBODY, Vouched
from node.pool import Pool
from node.verifier import Verifier
from proto.chiptrace.v1.ledger_pb2 import Block

AHEAD_BYTES_MAX: Final = (
    BLOCK_BYTES_MAX  # of blocks asked about and not executed: half a second of it, and one block more
)
AHEAD_SECONDS: Final = 5.0  # for a block: it is asked about when two seconds of others may stand before it
PROPOSAL_SECONDS: Final = 0.15  # what is not answered by then the writer verifies


@dataclass(slots=True)
class _Asked:
    """A block that was asked about."""

    block: bytes
    answer: "asyncio.Task[Vouched]"


class BlocksAhead:
    """Owned by the event loop."""

    def __init__(self, verifier: Verifier, pool: Pool) -> None:
        self._verifier = verifier
        self._pool = pool
        self._asked: dict[int, _Asked] = {}  # by height
        self._bytes = 0

    def look(self, fetched: Mapping[int, Fetched], open_height: int) -> None:
        """These wait for their heights now: ask about the next ones, and forget those that are gone."""
        for height in [height for height in self._asked if height != open_height]:
            if height not in fetched or fetched[height].block is not self._asked[height].block:
                self._drop(self._forget(height))
        if not self._verifier.ready:
            return
        for height in sorted(fetched.keys() - self._asked.keys()):
            block = fetched[height].block
            if self._asked and self._bytes + len(block) > AHEAD_BYTES_MAX:
                return
            self._bytes += len(block)
            self._asked[height] = _Asked(block, asyncio.create_task(self._ask(block)))

    async def of_decided(self, height: int, block: bytes) -> Vouched:
        """Of the transactions of a block that is to be executed now."""
        asked = self._forget(height)
        if asked is not None and asked.block == block:
            return await asked.answer
        self._drop(asked)
        return NOBODY

    async def of_proposal(self, block: bytes) -> Vouched:
        """Of the transactions of a block that is to be judged now, and that do not wait here."""
        if not self._verifier.ready:
            return NOBODY
        unseen = [data for data in _transactions(block) if self._pool.waiting(data) is None]
        return await self._verifier.ask(unseen, PROPOSAL_SECONDS)

    async def _ask(self, block: bytes) -> Vouched:
        return await self._verifier.ask(_transactions(block), AHEAD_SECONDS)

    def _forget(self, height: int) -> _Asked | None:
        asked = self._asked.pop(height, None)
        if asked is not None:
            self._bytes -= len(asked.block)
        return asked

    @staticmethod
    def _drop(asked: _Asked | None) -> None:
        """Nobody wants to know any more: what was not sent yet is not, or wrong blocks would hold up those in their
        place."""
        if asked is not None:
            asked.answer.cancel()


def _transactions(block: bytes) -> Sequence[bytes]:
    """Of a block of which nothing is known. None of one that holds too many: two million empty ones fit in."""
    try:
        found = Block.FromString(block).transactions
    except DecodeError:
        return ()
    return found if len(found) <= TRANSACTIONS_PER_BLOCK_MAX else ()
