"""The one place where processes read the wall clock; everything below takes time as a number."""

import time


def now_ms() -> int:
    """Milliseconds since 1970 (UTC), from the machine's clock."""
    return time.time_ns() // 1_000_000


class SteadyClock:
    """The wall clock, but never backwards: where it is set back, this goes on at the pace of time."""

    def __init__(self) -> None:
        self._told_ms = now_ms()
        self._steady = time.monotonic()

    def now_ms(self) -> int:
        """Milliseconds since 1970, never less than told before."""
        steady = time.monotonic()
        passed_ms = int((steady - self._steady) * 1_000)
        if passed_ms > 0:
            self._steady += passed_ms / 1_000
        self._told_ms = max(self._told_ms + passed_ms, now_ms())
        return self._told_ms
