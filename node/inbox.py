"""What waits for the engine: of each validator only so much, and all take turns.

A validator's stream is not read further while too many of its messages wait, by count or by bytes; so one that sends
faster than we work fills its own pipe, not our memory. And what waits of one is taken in turn with what waits of the
others: a flood of messages that cost much time holds up whoever sends it, and everybody else by one of them. What
comes from within (timers, results) has its turn, too, and always finds room: there is one of each kind at most for what
the engine has asked.
"""

import asyncio
from collections import Counter, deque
from typing import Final

from consensus.effects import Input, Received
from proto.chiptrace.v1.consensus_pb2 import PeerMessage

MESSAGES_PER_PEER_MAX: Final = 256  # waiting; then the peer's streams are not read
BYTES_PER_PEER_MAX: Final = 16_777_216  # and one message more of each stream, which is how it is noticed
BATCH_BYTES_MAX: Final = 131_072  # taken at once, and what the last one has more
_WITHIN: Final = b""


class Inbox:
    """Owned by the event loop."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, deque[tuple[Input, int]]] = {}  # by sender; who comes first is next
        self._bytes: Counter[bytes] = Counter()
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()

    def put(self, event: Input) -> None:
        """Something from within."""
        self._add(_WITHIN, event, 0)

    async def receive(self, sender: bytes, message: PeerMessage) -> None:
        """A validator's message. Returns when one more of the same sender may come."""
        self._add(sender, Received(sender, message), message.ByteSize())
        while self._full(sender):
            self._room.clear()
            await self._room.wait()

    async def take(self, count_max: int) -> list[Input]:
        """At most so many, one of each sender in turn and the oldest of each first; waits for one. Ends with what is
        large: it takes long, and who comes meanwhile shall not wait for more of its kind."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        taken: list[Input] = []
        taken_bytes = 0
        while self._waiting and len(taken) < count_max and taken_bytes < BATCH_BYTES_MAX:
            sender = next(iter(self._waiting))
            events = self._waiting.pop(sender)
            event, size = events.popleft()
            self._bytes[sender] -= size
            taken_bytes += size
            if events:
                self._waiting[sender] = events  # behind all others
            taken.append(event)
        self._room.set()
        return taken

    def _add(self, sender: bytes, event: Input, size: int) -> None:
        self._waiting.setdefault(sender, deque()).append((event, size))
        self._bytes[sender] += size
        self._arrived.set()

    def _full(self, sender: bytes) -> bool:
        waiting = len(self._waiting.get(sender, ()))
        return waiting >= MESSAGES_PER_PEER_MAX or self._bytes[sender] >= BYTES_PER_PEER_MAX
