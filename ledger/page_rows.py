"""Which rows of the store a page of the state tree is kept in: one with all of it, and over that one for each slot that changed.

In a large tree of a page below the upper ones one slot in sixteen has changed when it is written. All of it would be 0.7 to
1 kB for 64 bytes that are new, and LevelDB writes each byte some ten times until it lies where it stays. So such a page is
written whole when it comes up, and from then on by its slots alone. Read are all of its rows, which stand side by side.
"""

from collections.abc import Iterable
from typing import Final

from ledger import rows
from ledger.hashes import HASH_BYTES, ZERO
from ledger.kv import Change
from ledger.pages import (
    COUNTS_AT,
    GONE,
    LEAF_BYTES,
    MADE,
    MASKS_BYTES,
    NODES,
    SLOTS,
    damaged_page,
    encode_page,
    run_at,
)

# The pages of the first depths are written whole: they are few, and most of their slots have changed. Never to be more: of a page
# that had rows of slots these would go before what is written whole later.
WHOLE_DEPTHS: Final = 3


def touched_again(before: int, now: int) -> int:
    """What two updates did to a page, one after the other."""
    return now if now & GONE else before | now


def range_of(path: bytes) -> tuple[bytes, bytes]:
    """Where the rows of a page begin, and the key after them."""
    row = rows.PAGE + path
    return row, row + bytes((SLOTS,))


def _slot(page: bytes, slot: int) -> bytes:
    """What a slot holds: leaves, the hash of the page below, or nothing."""
    if page[COUNTS_AT + slot]:
        start, end = run_at(page, slot)
        return page[start:end]
    below = page[NODES[SLOTS + slot]]
    return b"" if below == ZERO else below


def changes_of(path: bytes, page: bytes | None, touched: int) -> list[Change]:
    """What is to be written of a page to which this was done since it was written last."""
    row = rows.PAGE + path
    whole = path[0] < WHOLE_DEPTHS
    if not whole and not touched & (MADE | GONE):
        return [
            (row + bytes((slot,)), _slot(page, slot))
            for slot in range(SLOTS)
            if page is not None and touched >> slot & 1
        ]
    found: list[Change] = [(row, None if page is None else encode_page(page))]
    if touched & GONE and not whole:
        found.extend((row + bytes((slot,)), None) for slot in range(SLOTS))
    return found


def page_of(path: bytes, found: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """A page as `encode_page` has it, of its rows in order. Raises StoreError for rows that no page has."""
    row = rows.PAGE + path
    whole: bytes | None = None
    over: list[tuple[int, bytes]] = []
    for key, value in found:
        if key == row:
            whole = value
        elif len(key) == len(row) + 1:
            over.append((key[-1], value))
        else:
            raise damaged_page(path, "has a row of another key among its rows")
    if not over:
        return whole
    if whole is None:
        raise damaged_page(path, "is missing, but for some of its slots")
    slots = _slots_of(path, whole)
    for slot, value in over:
        slots[slot] = value
    return _put_together(path, slots)


def _slots_of(path: bytes, whole: bytes) -> list[bytes]:
    """What each slot of a page holds."""
    masks = int.from_bytes(whole[:MASKS_BYTES], "big")
    leaves, below = masks >> 16, masks & 0xFFFF
    at = MASKS_BYTES + (leaves & below).bit_count()
    counts = iter(whole[MASKS_BYTES:at])
    slots = [b""] * SLOTS
    for slot in range(SLOTS):
        bit = 1 << slot
        if leaves & bit:
            size = LEAF_BYTES * (next(counts, 0) if below & bit else 1)
        elif below & bit:
            size = HASH_BYTES
        else:
            continue
        slots[slot] = whole[at : at + size]
        at += size
    if at != len(whole):
        raise damaged_page(path, "has impossible bytes")
    return slots


def _put_together(path: bytes, slots: list[bytes]) -> bytes:
    leaves = below = 0
    counts = bytearray()
    for slot, held in enumerate(slots):
        if not held:
            continue
        if len(held) == HASH_BYTES:
            below |= 1 << slot
            continue
        leaves |= 1 << slot
        count, rest = divmod(len(held), LEAF_BYTES)
        if rest or count > 255:
            raise damaged_page(path, "has impossible bytes in a slot")
        if count > 1:
            below |= 1 << slot
            counts.append(count)
    return (leaves << 16 | below).to_bytes(MASKS_BYTES, "big") + counts + b"".join(slots)
