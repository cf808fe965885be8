"""What waits for the engine: everything that happened, in order, of each validator only so much.

A validator's stream is not read further while too many of its messages wait, by count or by bytes; so one that sends
faster than we work fills its own pipe, not our memory. What comes from within (timers, results) always finds room:
there is one of each kind at most for what the engine has asked.
"""

import asyncio
from collections import Counter, deque
from typing import Final

from consensus.effects import Input, Received
from proto.chiptrace.v1.consensus_pb2 import PeerMessage

MESSAGES_PER_PEER_MAX: Final = 256  # waiting; then the peer's streams are not read
BYTES_PER_PEER_MAX: Final = 16_777_216  # and one message more of each stream, which is how it is noticed


class Inbox:
    """Owned by the event loop."""

    def __init__(self) -> None:
        self._events: deque[tuple[Input, int]] = deque()
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._waiting: Counter[bytes] = Counter()
        self._bytes: Counter[bytes] = Counter()

    def put(self, event: Input) -> None:
        """Something from within."""
        self._events.append((event, 0))
        self._arrived.set()

    async def receive(self, sender: bytes, message: PeerMessage) -> None:
        """A validator's message. Returns when one more of the same sender may come."""
        size = message.ByteSize()
        self._events.append((Received(sender, message), size))
        self._arrived.set()
        self._waiting[sender] += 1
        self._bytes[sender] += size
        while self._waiting[sender] >= MESSAGES_PER_PEER_MAX or self._bytes[sender] >= BYTES_PER_PEER_MAX:
            self._room.clear()
            await self._room.wait()

    async def take(self, count_max: int) -> list[Input]:
        """The oldest, at most so many; waits for one."""
        while not self._events:
            self._arrived.clear()
            await self._arrived.wait()
        taken: list[Input] = []
        while self._events and len(taken) < count_max:
            event, size = self._events.popleft()
            if isinstance(event, Received):
                self._waiting[event.sender] -= 1
                self._bytes[event.sender] -= size
                self._room.set()
            taken.append(event)
        return taken
