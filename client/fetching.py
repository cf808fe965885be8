"""What many things need, asked for in few questions: their containers, their histories, the pieces of a lot of serials.

What is read here is only kept at hand; who uses it finds it by the ledger's own rules.
"""

from collections.abc import Iterable

from client.verified import VerifiedChain
from ledger import starts, state
from ledger.errors import InvariantBroken
from ledger.intervals import covering
from ledger.limits import CONTAINER_DEPTH_MAX
from proto.chiptrace.v1.ledger_pb2 import LotRecord, PartRecord

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


def fetch_around(chain: VerifiedChain, records: Iterable[PartRecord]) -> None:
    """The containers around many parts, level by level."""
    for _ in range(CONTAINER_DEPTH_MAX + 1):
        inside = {(record.container, record.generation) for record in records if record.container}
        if not inside:
            return
        chain.values(state.part_key(container) for container, _ in inside)
        chain.values(state.generation_key(*place) for place in inside)
        found = [chain.record(state.part_key(container), PartRecord) for container, _ in inside]
        records = [record for record in found if record is not None]


def fetch_histories(
    chain: VerifiedChain, records: Iterable[PartRecord], lots: Iterable[LotRecord] = ()
) -> None:
    """The histories of many parts, and of the intervals they were carved from; and of lots."""
    chain.read_histories({state.lot_key(lot.id): lot.history for lot in lots if lot.history.n})
    waiting = list(records)
    while waiting:
        chain.read_histories({state.part_key(r.id): r.history for r in waiting if r.history.n})
        origins = dict.fromkeys(record.carved_from for record in waiting if record.carved_from)
        chain.values(state.part_key(name) for name in origins)
        found = [chain.record(state.part_key(name), PartRecord) for name in origins]
        waiting = [record for record in found if record is not None]
