"""The one place where processes read the wall clock; everything below takes time as a number.

CHIPTRACE_CLOCK_OFFSET_MS in the environment, a whole number of milliseconds, is added to every reading. It exists for
tests that give one process a wrong clock; it is read once, when the process starts.
"""

import os
import sys
import time
from typing import Final

OFFSET_VARIABLE: Final = "CHIPTRACE_CLOCK_OFFSET_MS"


def _offset_ms() -> int:
    text = os.environ.get(OFFSET_VARIABLE, "0")
    try:
        return int(text)
    except ValueError:
        sys.exit(f"error: {OFFSET_VARIABLE} is {text!r}; it must be a whole number of milliseconds, or unset")


_OFFSET_MS: Final = _offset_ms()


def now_ms() -> int:
    """Milliseconds since 1970 (UTC), from the machine's clock."""
    return time.time_ns() // 1_000_000 + _OFFSET_MS


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
