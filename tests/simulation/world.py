"""Virtual time: one heap of events, one seeded generator, and a running hash of everything that happened."""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable

LOOK_EVERY = 16  # events between two looks at whether a run is done


class World:
    """The only clock and the only source of chance of a run. Events of one millisecond run in order of entry."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now_ms = 0
        self.events = 0
        self.log: list[str] | None = None  # a readable trace, when someone wants to look
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._entered = 0
        self._trace = hashlib.blake2b(digest_size=16)

    def schedule(self, delay_ms: int, action: Callable[[], None]) -> None:
        self._entered += 1
        heapq.heappush(self._heap, (self.now_ms + max(0, delay_ms), self._entered, action))

    def run(self, until_ms: int, done: Callable[[], bool], events_max: int) -> bool:
        """Run until `done`, or until the time or the number of events is used up; say whether `done`."""
        while self.events % LOOK_EVERY or not done():
            if not self._heap or self._heap[0][0] > until_ms or self.events >= events_max:
                self.now_ms = max(self.now_ms, min(until_ms, self._heap[0][0] if self._heap else until_ms))
                return False
            self.now_ms, _, action = heapq.heappop(self._heap)
            self.events += 1
            action()
        return True

    def note(self, who: int, what: str, data: bytes = b"") -> None:
        """Enter something into the trace hash (and into the readable log, if it is kept)."""
        self._trace.update(f"{self.now_ms} {who} {what} {len(data)} ".encode() + data)
        if self.log is not None:
            self.log.append(f"{self.now_ms:>7} [{who}] {what}")

    def trace_hash(self) -> str:
        return self._trace.hexdigest()

    def chance(self, probability: float) -> bool:
        return probability > 0 and self.random.random() < probability
