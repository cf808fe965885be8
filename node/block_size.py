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
_BEYOND_MEASURED: Final = 3  # nor to more than so many times what a quick block held


class BlockSize:
    """Follows what executing takes here."""

    def __init__(self) -> None:
        self.transactions = _AT_FIRST

    def took(self, transactions: int, milliseconds: float) -> None:
        """The height of a block of so many took so long here."""
        fits = int(transactions * BLOCK_MS / max(milliseconds, 0.001))
        if milliseconds > BLOCK_MS:
            # One that was smaller than it might have been says nothing in favour of larger ones.
            wanted = min(max(fits, self.transactions // _STEP), self.transactions)
        else:
            # It need not have been full: of what is put into a block a part may turn out unfit at the last moment, always.
            largest = min(transactions * _BEYOND_MEASURED, self.transactions * _STEP)
            wanted = max(min(fits, largest), self.transactions)
        self.transactions = min(max(wanted, TRANSACTIONS_MIN), TRANSACTIONS_PER_BLOCK_MAX)
