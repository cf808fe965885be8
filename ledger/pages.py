"""Pages of the state tree: four levels of it each, as rows of bytes in memory, as they are stored, and those kept.

A page covers the subtree below a path of nibbles: sixteen slots, each empty, a leaf, or the root of the page below.
Pages exist where two or more keys share the path (and at the root). A page is named by its path and, in memory, by
the hash of its subtree: a page read from the disk is checked against the hash its parent holds, and a page in the
cache can never be stale, whichever version of the state asks for it.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Final

from ledger.errors import StoreError
from ledger.hashes import HASH_BYTES, ZERO

# Slot s of a page is node 16 + s; node i has the children 2i and 2i + 1; node 1 is the page's subtree.
SLOTS: Final = 16
MASKS_BYTES: Final = 4
LEAF_BYTES: Final = 2 * HASH_BYTES
# A page in memory, a row of hashes: first the masks and nothing else, then the nodes 1 to 31 (ZERO: an empty subtree),
# then, if it has a leaf, by slot the key and the value hash of leaves. One row and not 64 objects, because to copy
# it is one step, and the children of a node stand side by side as they are hashed. Nobody changes a page in a cache.
LEAVES_AT: Final = 2 * SLOTS * HASH_BYTES
NO_LEAVES: Final = bytes(SLOTS * LEAF_BYTES)
NO_PAGE: Final = bytes(LEAVES_AT)
_INNER: Final = b"\x01"
_SLOTS_AT: Final = SLOTS * HASH_BYTES

# Pages in memory, 1.1 or 2.1 kB each. The upper ones, of the first five levels of pages, are on the way to every key, so
# that from a million keys on the many below must not push them out; one version of a tree has no more of them.
PAGES_CACHED_DEFAULT: Final = 32_768
UPPER_DEPTHS: Final = 5
UPPER_PAGES_MAX: Final = sum(16**depth for depth in range(UPPER_DEPTHS))


def page_path(hashed_key: bytes, depth: int) -> bytes:
    """The store's key of the page `depth` nibbles down towards a key: one byte depth, then the nibbles, packed."""
    half = depth >> 1
    if depth & 1:
        return bytes((depth,)) + hashed_key[:half] + bytes((hashed_key[half] & 0xF0,))
    return bytes((depth,)) + hashed_key[:half]


def _span(node: int) -> int:
    slots = SLOTS >> (node.bit_length() - 1)
    return ((1 << slots) - 1) << (node * slots - SLOTS)


SPANS: Final = (0, *map(_span, range(1, 32)))  # the slots below each node, as bits


def _inner(touched: int) -> tuple[tuple[int, int, int, int], ...]:
    """The inner nodes above these slots, from below: where each is in a row, and its left child; the slots below it,
    and those below its left child."""
    return tuple(
        (node * HASH_BYTES, 2 * node * HASH_BYTES, SPANS[node], SPANS[2 * node])
        for node in range(SLOTS - 1, 0, -1)
        if touched & SPANS[node]
    )


_ABOVE_ALL: Final = _inner(0xFFFF)
_ABOVE_ONE: Final = {1 << slot: _inner(1 << slot) for slot in range(SLOTS)}
_SLOT_BITS: Final = tuple((1 << slot, SLOTS + slot) for slot in range(SLOTS))  # with its node


def subtree_of(page: bytes) -> bytes:
    """The hash by which a page is known."""
    return page[HASH_BYTES : 2 * HASH_BYTES]


def masks_of(page: bytes | bytearray) -> tuple[int, int]:
    """The slots that hold a leaf, and those that hold anything, as bits."""
    masks = int.from_bytes(page[:MASKS_BYTES], "big")
    return masks >> 16, masks & 0xFFFF


def set_masks(page: bytearray, leaves: int, taken: int) -> None:
    """Writes what `masks_of` reads."""
    page[:MASKS_BYTES] = (leaves << 16 | taken).to_bytes(MASKS_BYTES, "big")


def rehash(page: bytearray, touched: int, leaves: int, taken: int) -> None:
    """Makes the inner nodes above these slots true again."""
    for at, child, span, left in _ABOVE_ONE.get(touched, _ABOVE_ALL):  # one slot, as in most pages
        if not touched & span:
            continue
        below = taken & span
        if below & (below - 1) or below & ~leaves:
            page[at : at + HASH_BYTES] = sha256(_INNER + page[child : child + 2 * HASH_BYTES]).digest()
        else:
            # Nothing is below, or a single leaf, which one of the children is then.
            child += 0 if below & left else HASH_BYTES
            page[at : at + HASH_BYTES] = page[child : child + HASH_BYTES]


def with_slot(page: bytes, slot: int, other: bytes) -> bytes:
    """A page with one slot as another page has it."""
    made = bytearray(page.ljust(LEAVES_AT + len(NO_LEAVES), b"\0"))
    leaves, taken = masks_of(page)
    other_leaves, other_taken = masks_of(other)
    bit = 1 << slot
    leaves, taken = leaves & ~bit | other_leaves & bit, taken & ~bit | other_taken & bit
    for start, size in ((_SLOTS_AT, HASH_BYTES), (LEAVES_AT, LEAF_BYTES)):
        at = start + slot * size
        made[at : at + size] = other[at : at + size].ljust(size, b"\0")
    rehash(made, bit, leaves, taken)
    set_masks(made, leaves, taken)
    return bytes(made) if leaves else bytes(made[:LEAVES_AT])


def encode_page(page: bytes) -> bytes:
    """be16 mask of leaves, be16 mask of inner slots (bit s: slot s), then slot by slot the two hashes or the one."""
    leaves, taken = masks_of(page)
    masks = (leaves << 16 | taken ^ leaves).to_bytes(MASKS_BYTES, "big")
    if taken == 0xFFFF and not leaves:
        return masks + page[_SLOTS_AT:LEAVES_AT]
    parts = [masks]
    for bit, node in _SLOT_BITS:
        if leaves & bit:
            at = node * LEAF_BYTES  # the leaves begin where a seventeenth pair of slots would
            parts.append(page[at : at + LEAF_BYTES])
        elif taken & bit:
            parts.append(page[node * HASH_BYTES : (node + 1) * HASH_BYTES])
    return b"".join(parts)


def damaged_page(path: bytes, why: str) -> StoreError:
    """The error for a page that cannot be what was written."""
    return StoreError(
        f"page {path.hex()} of the state tree {why}. Stop the node, keep the directory, and sync anew or restore "
        "a backup."
    )


def decode_page(path: bytes, data: bytes, leaf_tag: bytes) -> bytes:
    """A page from its stored bytes, all its hashes computed. Raises StoreError for bytes that no page has."""
    masks = int.from_bytes(data[:MASKS_BYTES], "big")
    leaves, inner = masks >> 16, masks & 0xFFFF
    size = MASKS_BYTES + LEAF_BYTES * leaves.bit_count() + HASH_BYTES * inner.bit_count()
    if len(data) != size or leaves & inner or not masks:
        raise damaged_page(path, "has impossible bytes")
    # As lists, for every cold read comes through here; the same rules as `rehash`.
    nodes, entries = [ZERO] * (2 * SLOTS), [NO_LEAVES[:LEAF_BYTES]] * SLOTS
    taken, at = leaves | inner, MASKS_BYTES
    for bit, node in _SLOT_BITS:
        if leaves & bit:
            entry = entries[node - SLOTS] = data[at : at + LEAF_BYTES]
            nodes[node] = sha256(leaf_tag + entry).digest()
            at += LEAF_BYTES
        elif inner & bit:
            nodes[node] = data[at : at + HASH_BYTES]
            at += HASH_BYTES
    for node in range(SLOTS - 1, 0, -1):
        below = taken & SPANS[node]
        if below & (below - 1) or below & inner:
            nodes[node] = sha256(_INNER + nodes[2 * node] + nodes[2 * node + 1]).digest()
        elif below:
            nodes[node] = nodes[2 * node] if below & SPANS[2 * node] else nodes[2 * node + 1]
    nodes[0] = (leaves << 16 | taken).to_bytes(MASKS_BYTES, "big").ljust(HASH_BYTES, b"\0")
    return b"".join(nodes + entries) if leaves else b"".join(nodes)


class PageCache:
    """Decoded pages by the hash of their subtree; of those below the upper ones the longest unused are dropped first.
    May be shared by all trees and versions of one chain that are used by one thread."""

    def __init__(self, pages_max: int = PAGES_CACHED_DEFAULT, upper_max: int = 0) -> None:
        """upper_max: how many upper pages are kept beside the others; 0: they are among them."""
        self._pages_max = pages_max
        self._upper_max = upper_max
        self._pages: OrderedDict[bytes, bytes] = OrderedDict()
        self._upper: dict[bytes, bytes] = {}

    def __len__(self) -> int:
        return len(self._pages) + len(self._upper)

    def get(self, subtree: bytes) -> bytes | None:
        """The page of a subtree, if it is kept."""
        page = self._upper.get(subtree)
        if page is not None:
            return page
        page = self._pages.get(subtree)
        if page is not None:
            self._pages.move_to_end(subtree)
        return page

    def put(self, page: bytes, depth: int) -> None:
        """Keeps a page."""
        subtree = subtree_of(page)
        if depth < UPPER_DEPTHS and self._upper_max:
            self._upper[subtree] = page
            if len(self._upper) > self._upper_max:
                del self._upper[next(iter(self._upper))]
            return
        self._pages[subtree] = page
        if len(self._pages) > self._pages_max:
            self._pages.popitem(last=False)

    def renew(self, replaced: Iterable[bytes], changed: Mapping[bytes, bytes | None]) -> None:
        """These subtrees were replaced, and are read again should an older version still want them; these pages (None:
        none any more) are new."""
        upper, pages = self._upper, self._pages
        for subtree in replaced:
            if upper.pop(subtree, None) is None:
                pages.pop(subtree, None)
        for path, page in changed.items():
            if page is not None:
                self.put(page, path[0])
