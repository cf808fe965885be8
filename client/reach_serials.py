"""The pieces of a lot of serials in few questions: every place where an interval begins, then all their records.

What is read here is only kept at hand: ledger/intervals.py then finds the pieces by the ledger's own rules.
"""

from client.verified import VerifiedChain
from ledger import starts, state
from ledger.errors import InvariantBroken
from ledger.intervals import covering
from proto.chiptrace.v1.ledger_pb2 import LotRecord

_PLACES = starts.NODE_BYTES * 8  # that one node of the lowest level stands for
_ROUNDS_MAX = 16  # of asking for what the rules ask for, one key after the other


class _AtHand:
    """What was proven so far; a key that was not is noted, and looks absent."""

    def __init__(self, chain: VerifiedChain) -> None:
        self._values = chain.snapshot().values
        self.missing: dict[bytes, None] = {}

    def get(self, key: bytes) -> bytes | None:
        """The value, as far as it is known."""
        if key not in self._values:
            self.missing[key] = None
        return self._values.get(key)


def fetch_pieces(chain: VerifiedChain, lot: LotRecord, start: int, end: int) -> None:
    """Proves what `pieces` from one place to another will ask for."""
    nodes = {n: state.starts_key(lot.id, 0, n) for n in range(start // _PLACES, (end - 1) // _PLACES + 1)}
    values = chain.values(nodes.values())
    begins = []
    for n, key in nodes.items():
        bits = int.from_bytes(values[key] or b"", "big")
        while bits:
            lowest = bits & -bits
            begins.append(n * _PLACES + lowest.bit_length() - 1)
            bits ^= lowest
    for _ in range(_ROUNDS_MAX):
        known = _AtHand(chain)
        begins = [place for place in begins if not _is_known(known, lot, place)]
        if not known.missing:
            return
        chain.values(known.missing)


def _is_known(known: _AtHand, lot: LotRecord, place: int) -> bool:
    before = len(known.missing)
    try:
        covering(known, lot, place)
    except InvariantBroken:
        return False
    return len(known.missing) == before
