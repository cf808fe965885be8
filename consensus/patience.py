"""How long an answer is waited for, and how long who failed us is left alone.

An answer that is late frees others to be asked for the same, but not its peer to be asked for more: so a slow peer
ties up nothing but itself, and a slow link still delivers. Who answers with nothing, wrongly, or not at all, rests,
longer each time: it costs one request now and then, and never a loop. One good answer makes good for all failures
before it.
"""

from typing import Final

# Of the time after which an answer is late: the first rest is a sixteenth of it, the longest sixteen times it.
REST_SHORTEST_PART: Final = 16
REST_LONGEST_TIMES: Final = 16
# So many times that time an answer is waited for at all.
WAIT_TIMES: Final = 16
PEERS_MAX: Final = 256


class Patience:
    """Failures of each peer since its last good answer, and until when it is asked nothing."""

    def __init__(self, request_ms: int) -> None:
        self._late_ms = request_ms
        self._shortest_ms = max(1, request_ms // REST_SHORTEST_PART)
        self._longest_ms = request_ms * REST_LONGEST_TIMES
        self._failures: dict[bytes, int] = {}
        self._rests_until: dict[bytes, int] = {}

    def late_at_ms(self, asked_ms: int) -> int:
        """From when on others may be asked for the same."""
        return asked_ms + self._late_ms

    def given_up_at_ms(self, asked_ms: int) -> int:
        """From when on the answer is not waited for."""
        return asked_ms + self._late_ms * WAIT_TIMES

    def failed(self, peer: bytes, now_ms: int) -> None:
        """An answer was empty, wrong, or never came."""
        failures = self._failures.pop(peer, 0)
        if len(self._failures) >= PEERS_MAX:
            self.forgive(next(iter(self._failures)))
        self._failures[peer] = failures + 1
        # Beyond 16 doublings no rest grows.
        self._rests_until[peer] = now_ms + min(self._longest_ms, self._shortest_ms << min(failures, 16))

    def forgive(self, peer: bytes) -> None:
        """It has served us well: what it failed before says nothing."""
        self._failures.pop(peer, None)
        self._rests_until.pop(peer, None)

    def wake(self, peer: bytes) -> None:
        """Its line is up anew: it may be asked at once. Its failures stand, or hanging up would undo them."""
        self._rests_until.pop(peer, None)

    def failures(self, peer: bytes) -> int:
        """How often in a row it failed."""
        return self._failures.get(peer, 0)

    def rests_until_ms(self, peer: bytes) -> int:
        """From when on it may be asked again."""
        return self._rests_until.get(peer, 0)
