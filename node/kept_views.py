"""Which provable heights are kept for those who ask: the newest, and for a while each that was asked about.

An audit asks many questions about one height; that height must be served until the audit is done, however fast
the chain goes on. So a height that was asked about stays for a minute after the first question, and there are
never more than so many of them: the oldest goes first.
"""

from dataclasses import dataclass
from typing import Final

from ledger.view import View

KEPT_MS: Final = 60_000
KEPT_MAX: Final = 32


@dataclass(slots=True)
class _Kept:
    view: View
    until_ms: int


class KeptViews:
    """Views by height. What it lets go of is returned, to be closed by the thread that may."""

    def __init__(self) -> None:
        self._newest: View | None = None
        self._kept: dict[int, _Kept] = {}  # in the order of the first question

    def replace_newest(self, view: View | None, now_ms: int) -> list[View]:
        """A newer state has become provable."""
        former, self._newest = self._newest, view
        dropped = self._expired(now_ms)
        # By itself, not by its height: who asked for that height as it became provable was given a view of her own.
        kept = None if former is None else self._kept.get(former.height)
        if former is not None and (kept is None or kept.view is not former):
            dropped.append(former)
        return dropped

    def ask(self, height: int, now_ms: int) -> View | None:
        """The view of a height (0: the newest), which from now on is kept; None: it must be opened."""
        if height and height in self._kept:
            return self._kept[height].view
        newest = self._newest
        if newest is None or height not in (0, newest.height):
            return None
        if newest.height in self._kept:
            return newest
        self._kept[newest.height] = _Kept(newest, now_ms + KEPT_MS)
        return newest

    def keep(self, view: View, now_ms: int) -> list[View]:
        """A view that was opened because it was asked about."""
        if view.height in self._kept:
            return [view]
        self._kept[view.height] = _Kept(view, now_ms + KEPT_MS)
        return self._expired(now_ms)

    def heights(self) -> list[int]:
        """The heights that are kept, ascending."""
        return sorted(self._kept)

    def _expired(self, now_ms: int) -> list[View]:
        surplus = len(self._kept) - KEPT_MAX
        gone = [
            height
            for index, (height, kept) in enumerate(self._kept.items())
            if index < surplus or kept.until_ms <= now_ms
        ]
        views = [self._kept.pop(height).view for height in gone]
        return [view for view in views if view is not self._newest]
