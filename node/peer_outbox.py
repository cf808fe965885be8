"""What waits to be sent to one validator."""

import asyncio
from collections import deque


class Outbox:
    """What waits for one validator: bounded by messages and bytes, consensus first, the oldest dropped."""

    def __init__(self, messages_max: int, bytes_max: int) -> None:
        self._messages_max = messages_max
        self._bytes_max = bytes_max
        self._consensus: deque[bytes] = deque()
        self._transactions: deque[bytes] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()
        self.dropped = 0

    def put(self, frame: bytes, *, transactions: bool) -> None:
        """Queue one frame; what no longer fits is dropped, transactions before consensus, oldest first."""
        (self._transactions if transactions else self._consensus).append(frame)
        self._bytes += len(frame)
        while (
            len(self._consensus) + len(self._transactions) > self._messages_max
            or self._bytes > self._bytes_max
        ):
            self._bytes -= len((self._transactions or self._consensus).popleft())
            self.dropped += 1
        self._filled.set()

    async def get(self) -> bytes:
        """The next frame to send; waits for one."""
        while not self._consensus and not self._transactions:
            self._filled.clear()
            await self._filled.wait()
        frame = (self._consensus or self._transactions).popleft()
        self._bytes -= len(frame)
        return frame

    def clear(self) -> None:
        """Drop everything: the line was down, and what is still needed will be sent again."""
        self._consensus.clear()
        self._transactions.clear()
        self._bytes = 0
