"""How many transactions a block of ours may hold, so that no height takes longer than the others wait for it.

Under more load than a chain can carry everything that waits would go into one block, which all then execute for seconds,
or which takes seconds to reach them: views end meanwhile, and nothing becomes final. So the proposer takes no more than

- what this node lately built or judged, executed and stored within BLOCK_MS; and
- what it lately got through: where another block than ours was decided although we had proposed, ours came too late for
  its view, and the next is half as large. Each that is decided at once lets the next be a little larger, and only by
  very little where one came too late before: every one that does costs a view.

It is its own affair: any block within the limits of the chain is valid.
"""

from typing import Final

from consensus.quorum import VIEW_FIRST
from ledger.limits import TRANSACTIONS_PER_BLOCK_MAX

BLOCK_MS: Final = 300  # of one height; the first view waits for three times that as a rule
TRANSACTIONS_MIN: Final = 20
_AT_FIRST: Final = 500
_STEP: Final = 2  # it grows and shrinks to no more than this many times as much at a height
_BEYOND_MEASURED: Final = 3  # nor to more than so many times what a quick block held
# Smaller ones are not late for their size: who is not heard for another reason shall not sink further.
CARRIED_MIN: Final = 100
_QUICKLY: Final = 8  # by 1/8 each time
_SLOWLY: Final = 64  # from three quarters of what came too late on
_NONE_LATE: Final = 2 * TRANSACTIONS_PER_BLOCK_MAX


class BlockSize:
    """Follows what executing takes here, and whether what we propose arrives."""

    def __init__(self) -> None:
        self._executed = _AT_FIRST
        self._carried = TRANSACTIONS_PER_BLOCK_MAX
        self._late = _NONE_LATE  # how large the last one was that came too late, until one as large did not
        # Proposed and not decided: height, block, transactions.
        self._ours: tuple[int, bytes, int] | None = None

    @property
    def transactions(self) -> int:
        """How many the next block of ours may hold."""
        return min(self._executed, self._carried)

    def proposed(self, height: int, block: bytes, transactions: int) -> None:
        """A block of so many transactions is ours to propose. An earlier one of the same height was given up."""
        self._given_up(height)
        self._ours = (height, block, transactions)

    def decided(self, height: int, view: int, block: bytes) -> None:
        """This block was decided, ours or another. Later views last longer, so there nothing speaks for larger ones."""
        if self._ours is not None and self._ours[:2] == (height, block):
            if view == VIEW_FIRST and self._ours[2] * _BEYOND_MEASURED >= self._carried:
                if self._ours[2] >= self._late:
                    self._late = _NONE_LATE
                part = _SLOWLY if self._carried * 4 >= self._late * 3 else _QUICKLY
                self._carried = min(self._carried + self._carried // part, TRANSACTIONS_PER_BLOCK_MAX)
        else:
            self._given_up(height)
        self._ours = None

    def _given_up(self, height: int) -> None:
        if self._ours is not None and self._ours[0] == height and self._ours[2] > CARRIED_MIN:
            self._carried = max(CARRIED_MIN, min(self._carried, self._ours[2]) // _STEP)
            self._late = self._ours[2] if self._carried > CARRIED_MIN else _NONE_LATE

    def took(self, transactions: int, milliseconds: float) -> None:
        """The height of a block of so many took so long here."""
        fits = int(transactions * BLOCK_MS / max(milliseconds, 0.001))
        if milliseconds > BLOCK_MS:
            # One that was smaller than it might have been says nothing in favour of larger ones.
            wanted = min(max(fits, self._executed // _STEP), self._executed)
        else:
            # It need not have been full: of what is put into a block a part may turn out unfit at the last moment, always.
            largest = min(transactions * _BEYOND_MEASURED, self._executed * _STEP)
            wanted = max(min(fits, largest), self._executed)
        self._executed = min(max(wanted, TRANSACTIONS_MIN), TRANSACTIONS_PER_BLOCK_MAX)
