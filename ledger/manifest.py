"""The manifest of a container: how many things of which kind are inside, changed row by row in ascending order.

A few rows are changed where they stand, so that one thing more or less costs about the same whatever else is inside.
Where many change they are spread into a dictionary, and written back at the end.
"""

from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

from proto.chiptrace.v1.ledger_pb2 import GenerationRecord, ManifestRow

Row = tuple[str, str, str, str]  # class, lot, unit, place

# So many rows may be changed where they stand, however few there are.
_ROWS_IN_PLACE: Final = 24


def row_of(row: ManifestRow) -> Row:
    """What a row is about: by this the rows of a manifest ascend."""
    return row.item_class, row.lot, row.unit, row.place


class Manifest:
    """The manifest of a generation's record, worked on in memory until `write_back`."""

    def __init__(self, record: GenerationRecord) -> None:
        self._record = record
        self._changed = 0  # rows, where they stand
        self._spread: dict[Row, int] | None = None  # count by row, once they are spread

    def __len__(self) -> int:
        return len(self._record.manifest if self._spread is None else self._spread)

    def rows(self) -> Iterable[Row]:
        """What is inside, in any order."""
        return map(row_of, self._record.manifest) if self._spread is None else self._spread

    def prepare(self, more: int) -> None:
        """Says that so many rows are about to be changed: they are spread if that is likely to cost less."""
        self._changed += more
        # Finding a row costs three times what spreading and writing back one does.
        if self._spread is None and 3 * self._changed > len(self._record.manifest) + _ROWS_IN_PLACE:
            self._spread = {row_of(row): row.count for row in self._record.manifest}

    def count(self, row: Row) -> int | None:
        """The count of a row; None where there is no such row."""
        if self._spread is not None:
            return self._spread.get(row)
        at = self._find(row)
        return None if at < 0 else self._record.manifest[at].count

    def put(self, row: Row, count: int | None) -> None:
        """Sets the count of a row; None takes it out, present or not."""
        if self._spread is not None:
            if count is None:
                self._spread.pop(row, None)
            else:
                self._spread[row] = count
            return
        at = self._find(row)
        if count is None:
            if at >= 0:
                del self._record.manifest[at]
        elif at >= 0:
            self._record.manifest[at].count = count
        else:
            item_class, lot, unit, place = row
            made = ManifestRow(item_class=item_class, lot=lot, unit=unit, place=place, count=count)
            self._record.manifest.insert(-1 - at, made)

    def write_back(self) -> None:
        """Lets the record say what this says."""
        if self._spread is None:
            return
        rows, self._spread, self._changed = sorted(self._spread.items()), None, 0
        del self._record.manifest[:]
        for (item_class, lot, unit, place), count in rows:
            self._record.manifest.add(item_class=item_class, lot=lot, unit=unit, place=place, count=count)

    def _find(self, row: Row) -> int:
        """Where a row stands; -1 - i where it is missing, and would stand at i."""
        rows = self._record.manifest
        at = bisect_left(rows, row, key=row_of)
        return at if at < len(rows) and row_of(rows[at]) == row else -1 - at
