"""The one place where processes read the wall clock; everything below takes time as a number."""

import time


def now_ms() -> int:
    """Milliseconds since 1970 (UTC), from the machine's clock."""
    return time.time_ns() // 1_000_000
