"""How far the validators' clocks are from ours, for people: blocks are judged by clocks, so a wrong one must be seen.

Every few seconds each validator is asked for its time over the line between us, as NTP does: asked at a, heard there at
b, told there at c, back here after d. Its clock is then (b - a + c - (a + d)) / 2 ahead of ours, wrong by at most half
of what the way took, d - (c - b); so of the last few answers the one with the shortest way counts. Our own waiting is
measured by the monotonic clock. Answers that cannot all be right tell that a clock was set in between: then only the
newer ones count.

A validator can say what it likes. That moves its own figure; what is said of our clock is the median of all, which
fewer liars than agreement bears cannot move past the honest ones. None of this is ever used by agreement.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from ledger.limits import TIME_PRECISION_MS
from proto.chiptrace.v1.consensus_pb2 import ClockProbe, ClockReply, PeerMessage

PROBE_SECONDS: Final = 5.0
ANSWERS_KEPT: Final = 8
ANSWER_SECONDS_MAX: Final = 60.0  # older ones count no more
ANSWER_EVERY_SECONDS: Final = 0.5  # one validator's probes are answered no more often
OFFSET_MS_WARNED: Final = TIME_PRECISION_MS // 2
DRIFT_MS_MAX: Final = 50  # of two honest clocks while answers are kept, and of rounding
TIME_MS_MAX: Final = 2**53  # of any clock; no honest one comes near


@dataclass(frozen=True, slots=True)
class PeerClock:
    """One validator's clock, by its own word."""

    offset_ms: int  # its clock less ours
    round_trip_ms: (
        int  # of the answer that counts: the offset is right to half of it, if the answer is honest
    )


@dataclass(frozen=True, slots=True)
class _Answer:
    clock: PeerClock
    at: float  # monotonic


class PeerClocks:
    """Owned by the event loop. `monotonic` in seconds, `now_ms` the wall clock."""

    def __init__(self, now_ms: Callable[[], int], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._now_ms = now_ms
        self._monotonic = monotonic
        self._asked: dict[bytes, tuple[int, float]] = {}
        self._answers: dict[bytes, deque[_Answer]] = {}
        self._answered_at: dict[bytes, float] = {}

    def probe(self, key: bytes) -> PeerMessage:
        """The question to a validator; an answer to an earlier one counts no more."""
        asked_ms = max(0, self._now_ms())
        self._asked[key] = (asked_ms, self._monotonic())
        return PeerMessage(clock_probe=ClockProbe(asked_ms=asked_ms))

    def answer(self, key: bytes, probe: ClockProbe) -> PeerMessage | None:
        """The answer to a validator's question; None while it asks too often."""
        now = self._monotonic()
        if now - self._answered_at.get(key, -ANSWER_EVERY_SECONDS) < ANSWER_EVERY_SECONDS:
            return None
        self._answered_at[key] = now
        now_ms = max(0, self._now_ms())
        return PeerMessage(clock_reply=ClockReply(asked_ms=probe.asked_ms, heard_ms=now_ms, told_ms=now_ms))

    def heard(self, key: bytes, reply: ClockReply) -> None:
        """A validator's answer. One that was not asked for, or cannot be, is dropped."""
        asked = self._asked.pop(key, None)
        if asked is None or reply.asked_ms != asked[0]:
            return
        now = self._monotonic()
        waited_ms = round((now - asked[1]) * 1_000)
        held_ms = reply.told_ms - reply.heard_ms
        # One millisecond more than we waited is what two clocks of whole milliseconds may show.
        if not 0 <= held_ms <= waited_ms + 1 or reply.told_ms > TIME_MS_MAX:
            return
        back_ms = asked[0] + waited_ms
        offset_ms = (reply.heard_ms - asked[0] + reply.told_ms - back_ms) // 2
        clock = PeerClock(offset_ms, max(0, waited_ms - held_ms))
        kept = self._answers.setdefault(key, deque(maxlen=ANSWERS_KEPT))
        if any(_was_set_between(earlier.clock, clock) for earlier in kept):
            kept.clear()
        kept.append(_Answer(clock, now))

    def clock(self, key: bytes) -> PeerClock | None:
        """A validator's clock; None when it has not answered of late."""
        oldest = self._monotonic() - ANSWER_SECONDS_MAX
        recent = [answer.clock for answer in self._answers.get(key, ()) if answer.at >= oldest]
        return min(recent, key=lambda found: found.round_trip_ms, default=None)

    def median_ms(self, peers: Iterable[bytes], liars_max: int) -> int | None:
        """The median of these validators' clocks less ours; None while too few have answered to outweigh the liars.

        Of two in the middle the one nearer to ours. With twice as many answers as liars that is one of an honest
        validator, or nearer to us than one.
        """
        offsets = sorted(clock.offset_ms for clock in map(self.clock, peers) if clock is not None)
        if len(offsets) < max(1, 2 * liars_max):
            return None
        middle = offsets[(len(offsets) - 1) // 2 : len(offsets) // 2 + 1]
        return 0 if middle[0] < 0 < middle[-1] else min(middle, key=abs)


def _was_set_between(earlier: PeerClock, later: PeerClock) -> bool:
    """Whether two answers are further apart than their ways, and the drift of clocks, explain."""
    explained = (earlier.round_trip_ms + later.round_trip_ms) // 2 + DRIFT_MS_MAX
    return abs(earlier.offset_ms - later.offset_ms) > explained


def warning(offset_ms: int | None) -> str:
    """What to do about our own clock; empty: nothing."""
    if offset_ms is None or abs(offset_ms) <= OFFSET_MS_WARNED:
        return ""
    behind = "behind" if offset_ms > 0 else "ahead of"
    return (
        f"this machine's clock is {abs(offset_ms)} ms {behind} the other validators' (median). Set it by NTP (chrony, "
        f"systemd-timesyncd; `timedatectl` tells): beyond {TIME_PRECISION_MS} ms this validator refuses good blocks, or "
        "has its own refused"
    )
