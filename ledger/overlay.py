"""Values of the state by key: who reads them, and writes that nobody else sees until they are decided."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Protocol

from ledger.errors import InvariantBroken, Refused
from ledger.limits import STATE_VALUE_BYTES_MAX, VALUE_BYTES_PER_KEY
from proto.chiptrace.v1.ledger_pb2 import Reason

# What the bounds of a transaction, or of its block, refuse: nothing that is carried inside it may answer for that.
TOO_MUCH: Final = frozenset((Reason.TOO_MANY_KEYS, Reason.TOO_MANY_ROWS, Reason.TOO_MANY_RECORDS))

# What a KeptReader keeps: so many values of so many bytes at most, which is about 32 MB.
VALUES_KEPT: Final = 32_768
KEPT_VALUE_BYTES_MAX: Final = 512


class Reader(Protocol):
    """Anything that knows the value of a key."""

    def get(self, key: bytes) -> bytes | None:
        """The value, or None where there is none."""
        ...


class Overlay:
    """Writes on top of a reader that nobody else sees until they are merged.

    `changes` holds exactly the keys whose value differs from the reader's (None: deleted), in the order of
    their last first change; a value written back to what it was is no change. Each distinct key read or
    written counts as touched; one more than `keys_max` raises Refused(TOO_MANY_KEYS), at every level of
    overlays that has a bound. Touched keys of a child that is thrown away stay counted in its parent: the
    work was done. A key counts once more for each VALUE_BYTES_PER_KEY of the longest value that is read or written
    under it: what a block reads lies in memory until it is executed. Counted are also rows of manifests, for what a
    container of many kinds costs shows in no key, and records that are gone through: a thousand operations may each
    enter the same things. `below` is what the reader says, by key touched.
    """

    __slots__ = (
        "_keys_max",
        "_long",
        "_more",
        "_parent",
        "_read",
        "_records",
        "_records_max",
        "_rows",
        "_rows_max",
        "below",
        "changes",
    )

    def __init__(
        self,
        reader: Reader,
        keys_max: int | None = None,
        rows_max: int | None = None,
        records_max: int | None = None,
    ) -> None:
        self._read = reader.get
        self._parent = reader if isinstance(reader, Overlay) else None
        self._keys_max = keys_max
        self._rows_max = rows_max
        self._rows = 0
        self._records_max = records_max
        self._records = 0
        self._long: dict[bytes, int] = {}  # by key: how often it counts beyond once
        self._more = 0  # all of these together
        self.below: dict[bytes, bytes | None] = {}
        self.changes: dict[bytes, bytes | None] = {}

    @property
    def keys_touched(self) -> int:
        """How many distinct keys were read or written."""
        return len(self.below)

    def get(self, key: bytes) -> bytes | None:
        """The value as this overlay sees it. Raises Refused(TOO_MANY_KEYS)."""
        changes = self.changes
        if key in changes:
            return changes[key]
        below = self.below
        return below[key] if key in below else self.touch(key)

    def among(self, keys: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """Those of these keys that have a value, with it; each is touched when it is come to, as by `get`.

        Of the prefixes that could have a grant or a policy most have none: they are asked for without a call each.
        """
        changes, below = self.changes, self.below
        for key in keys:
            if key in below:
                value = changes[key] if key in changes else below[key]
            else:
                value = self.touch(key)
            if value is not None:
                yield key, value

    def put(self, key: bytes, value: bytes) -> None:
        """Sets a value. Raises Refused: TOO_MANY_KEYS, or OVERSIZE above STATE_VALUE_BYTES_MAX."""
        if len(value) > STATE_VALUE_BYTES_MAX:
            raise Refused(
                f"a record of {len(value)} bytes exceeds {STATE_VALUE_BYTES_MAX}; split what it holds",
                Reason.OVERSIZE,
            )
        if self._under(key) == value:
            self.changes.pop(key, None)
            return
        if len(value) >= VALUE_BYTES_PER_KEY:
            self.weigh(key, value)
        self.changes[key] = value

    def delete(self, key: bytes) -> None:
        """Removes a key, present or not. Raises Refused(TOO_MANY_KEYS)."""
        if self._under(key) is None:
            self.changes.pop(key, None)
        else:
            self.changes[key] = None

    def put_first(self, key: bytes, value: bytes) -> None:
        """As `put`, of a key that never had a value, which is not looked for: a look takes up to 10 µs in a large store."""
        if key not in self.below:
            self.touch(key, look=False)
        self.put(key, value)

    def child(
        self, keys_max: int | None = None, rows_max: int | None = None, records_max: int | None = None
    ) -> "Overlay":
        """An overlay on top of this one: `merge` it to keep its writes, or drop it to lose them."""
        return Overlay(self, keys_max, rows_max, records_max)

    def go_through(self, rows: int) -> None:
        """Counts rows of a manifest that is about to be gone through. Raises Refused(TOO_MANY_ROWS)."""
        self._rows += rows
        if self._rows_max is not None and self._rows > self._rows_max:
            raise Refused(
                f"more than {self._rows_max} rows of manifests are gone through; ship, pack or send fewer containers of many "
                "kinds at once",
                Reason.TOO_MANY_ROWS,
            )
        if self._parent is not None:
            self._parent.go_through(rows)

    def go_through_records(self, records: int = 1) -> None:
        """Counts records that are about to be gone through, however often each. Raises Refused(TOO_MANY_RECORDS)."""
        self._records += records
        if self._records_max is not None and self._records > self._records_max:
            raise Refused(
                f"more than {self._records_max} records are gone through; split the work, name fewer pieces of intervals, "
                "or fewer documents",
                Reason.TOO_MANY_RECORDS,
            )
        if self._parent is not None:
            self._parent.go_through_records(records)

    def merge(self) -> None:
        """Hands the changes down to the overlay this is a child of; this one is then empty."""
        if self._parent is None:
            raise InvariantBroken("merge was called on an overlay that is no child of another")
        self._parent.absorb(self.changes)
        self.changes = {}
        self.below = {}

    def absorb(self, changes: Mapping[bytes, bytes | None]) -> None:
        """As `put` and `delete`, of values that a child has put or deleted. Raises Refused(TOO_MANY_KEYS)."""
        for key, value in changes.items():
            if self._under(key) == value:
                self.changes.pop(key, None)
            else:
                self.changes[key] = value

    def _under(self, key: bytes) -> bytes | None:
        below = self.below
        return below[key] if key in below else self.touch(key)

    def touch(self, key: bytes, *, look: bool = True) -> bytes | None:
        """What the reader says of a key that was not touched yet. look: False for one that is known to have no value
        where nobody wrote it here."""
        below = self.below
        if self._keys_max is not None and len(below) + self._more >= self._keys_max:
            raise self._too_many()
        parent = self._parent
        if parent is None:
            value = self._read(key) if look else None
        elif key not in parent.below:
            value = parent.touch(key, look=look)
        else:
            # Without a call: most of what one transaction reads another has read. Whatever changed was touched before.
            value = parent.changes[key] if key in parent.changes else parent.below[key]
        below[key] = value
        if value is not None and len(value) >= VALUE_BYTES_PER_KEY:
            self.weigh(key, value)
        return value

    def weigh(self, key: bytes, value: bytes) -> None:
        """Counts a touched key as often as a value of this length does, at every level."""
        times = len(value) // VALUE_BYTES_PER_KEY
        more = times - self._long.get(key, 0)
        if more > 0:
            if self._keys_max is not None and len(self.below) + self._more + more > self._keys_max:
                raise self._too_many()
            self._long[key] = times
            self._more += more
        if self._parent is not None:
            self._parent.weigh(key, value)

    def _too_many(self) -> Refused:
        return Refused(
            f"more than {self._keys_max} state keys are touched, of which a long record counts as one for each "
            f"{VALUE_BYTES_PER_KEY} bytes; split the work",
            Reason.TOO_MANY_KEYS,
        )


class MappingReader:
    """A mapping as a Reader (initial states, tests)."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[bytes, bytes | None]) -> None:
        self._values = values

    def get(self, key: bytes) -> bytes | None:
        """The value, or None where there is none."""
        return self._values.get(key)


class KeptReader:
    """A reader that keeps the values read last in memory: those of signers, grants and parameters are read by every
    transaction. Whoever changes what is below says so. For one thread."""

    def __init__(self, read: Callable[[bytes], bytes | None], values_max: int = VALUES_KEPT) -> None:
        self._read = read
        self._values_max = values_max
        self._values: OrderedDict[bytes, bytes | None] = OrderedDict()

    def get(self, key: bytes) -> bytes | None:
        """The value, or None where there is none."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        value = self._read(key)
        if value is None or len(value) <= KEPT_VALUE_BYTES_MAX:
            self._values[key] = value
            if len(self._values) > self._values_max:
                self._values.popitem(last=False)
        return value

    def forget(self, keys: Iterable[bytes]) -> None:
        """These keys have other values now."""
        for key in keys:
            self._values.pop(key, None)

    def keep(self, changes: Mapping[bytes, bytes | None]) -> None:
        """These keys have these values now. What was just written is often what is read next: a thing is packed where it
        was inspected, and shipped in what it was packed into."""
        values = self._values
        for key, value in changes.items():
            if value is None or len(value) <= KEPT_VALUE_BYTES_MAX:
                values[key] = value
                values.move_to_end(key)
            else:
                values.pop(key, None)
        while len(values) > self._values_max:
            values.popitem(last=False)
