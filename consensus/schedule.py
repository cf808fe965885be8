"""When something is due at the open height. Numbers only: the driver owns the clock.

Times are milliseconds of the driver's clock, which must not go backwards.
"""

from dataclasses import dataclass
from typing import Final

from consensus.effects import EngineSettings
from consensus.quorum import VIEW_FIRST

# 1.5^32 is far above any factor allowed; beyond it the power need not be computed.
_EXPONENT_MAX = 32
CERTIFYING_WAIT_MS_MAX: Final = 250
IDLE_PART: Final = 4  # of a view whose leader is called idle


def view_timeout_ms(settings: EngineSettings, view: int) -> int:
    """How long a view may take: base * min(factor_max, 1.5^(view - 1)), rounded down (rule 7).

    It grows with the view of the height only, so that validators agree on it without a message.
    """
    exponent = min(view - 1, _EXPONENT_MAX)
    grown: int = settings.base_timeout_ms * 3**exponent // 2**exponent
    return max(1, min(settings.base_timeout_ms * settings.timeout_factor_max, grown))


def grace_ms(settings: EngineSettings, view: int) -> int:
    """How long a leader that entered by notarization waits for the finalization: always shorter than the view
    (rule 3), else the wait itself would cost the view."""
    return min(settings.grace_ms, view_timeout_ms(settings, view) // 2)


@dataclass(slots=True)
class Schedule:
    """The clock of one height (rule 8) and the timers of its views."""

    settings: EngineSettings
    due_ms: int  # an empty block is due from here on
    view: int
    entered_ms: int
    progress_ms: int  # of the last progress or resend
    started_ms: int | None = None
    propose_at_ms: int | None = None  # end of a leader's grace
    timed_out: bool = False  # this view's timer has fired
    idle: bool = False  # this view's leader let its last turns pass (presence.py)

    def start(self, now_ms: int) -> bool:
        """The clock runs from now on; says whether it did not before."""
        if self.started_ms is not None:
            return False
        self.started_ms = now_ms
        self.progress_ms = max(self.progress_ms, now_ms)
        return True

    def enter(self, view: int, now_ms: int, grace: int, *, idle: bool = False) -> None:
        """A new view: its timer starts, the old one is gone."""
        self.start(now_ms)
        self.view = view
        self.entered_ms = self.progress_ms = now_ms
        self.propose_at_ms = now_ms + grace if grace else None
        self.timed_out = False
        self.idle = idle

    def timeout_at_ms(self) -> int | None:
        """When the current view times out; None while it cannot (rule 3: always running above view 1)."""
        if self.timed_out or self.started_ms is None:
            return None
        since = self.started_ms if self.view == VIEW_FIRST else self.entered_ms
        return since + max(1, view_timeout_ms(self.settings, self.view) // (IDLE_PART if self.idle else 1))

    def certifying_wait_ms(self, now_ms: int) -> int:
        """How long a next block that has nothing to do but certify this height is held back: as long as this height
        took, so that what comes meanwhile goes into it and need not wait for the one after."""
        took = 0 if self.started_ms is None else now_ms - self.started_ms
        return min(took, CERTIFYING_WAIT_MS_MAX)

    def resend_due(self, now_ms: int) -> bool:
        """Whether the height has stood still for so long that others may lack something (rule 7)."""
        return self.started_ms is not None and now_ms >= self.progress_ms + self.settings.resend_ms

    def next_ms(self) -> int:
        """The next moment at which something is due."""
        if self.started_ms is None:
            return self.due_ms
        moments = (self.timeout_at_ms(), self.propose_at_ms, self.progress_ms + self.settings.resend_ms)
        return min(moment for moment in moments if moment is not None)
