"""How many transactions a block of ours may hold, so that no height takes longer than the others wait for it.

Under more load than a chain can carry everything that waits would go into one block, which all then execute for seconds:
views end meanwhile, and nothing becomes final. So the proposer takes no more than what this node lately built or
judged, executed and stored within BLOCK_MS. It is its own affair: any block within the limits of the chain is valid.
"""

from typing import Final

from ledger.limits import TRANSACTIONS_PER_BLOCK_MAX

BLOCK_MS: Final = 300  # of one height; the first view waits for three times that as a rule
TRANSACTIONS_MIN: Final = 20
_AT_FIRST: Final = 500
_STEP: Final = 2  # it grows and shrinks to no more than this many times as much at a height


class BlockSize:
    """Follows what executing takes here."""

    def __init__(self) -> None:
        self.transactions = _AT_FIRST

    def took(self, transactions: int, milliseconds: float) -> None:
        """The height of a block of so many took so long here."""
        fits = int(transactions * BLOCK_MS / max(milliseconds, 0.001))
        slow = milliseconds > BLOCK_MS
        if slow or (transactions >= self.transactions and fits > self.transactions):
            fits = min(max(fits, self.transactions // _STEP), self.transactions * _STEP)
            # A slow block that was smaller than it might have been says nothing in favour of larger ones.
            wanted = min(fits, self.transactions) if slow else fits
            self.transactions = min(max(wanted, TRANSACTIONS_MIN), TRANSACTIONS_PER_BLOCK_MAX)
