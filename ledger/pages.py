"""Pages of the state tree: four levels of it each, as rows of bytes in memory, as they are stored, and those kept.

A page covers the subtree below a path of nibbles: sixteen slots, each empty, a run, or the root of the page below. A run
is the leaves below a slot where there are few, in order. So pages exist where more than RUN_MAX keys share the path (and
at the root): two or three leaves in a page of their own would cost as much to read, check and write as fifteen in one.
A page is named by its path and, in memory, by the hash of its subtree: a page read from the disk is checked against
the hash its parent holds, and a page in the cache always holds what the version of the state holds that asks for it.
(Not always in the same pages below, while some are from before there were runs: `StateTree.prove_hashed`.)
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final

from ledger.errors import StoreError
from ledger.hashes import HASH_BYTES, ZERO

# Slot s of a page is node 16 + s; node i has the children 2i and 2i + 1; node 1 is the page's subtree.
SLOTS: Final = 16
SLOT_BITS: Final = 4
KEY_BITS: Final = 8 * HASH_BYTES
MASKS_BYTES: Final = 4
LEAF_BYTES: Final = 2 * HASH_BYTES
RUN_MAX: Final = 4  # leaves in a slot; a page that holds longer ones is read all the same
# A page in memory, a row of hashes: in place of the first the masks, and from its middle one byte for each slot with the
# number of its leaves; then the nodes 1 to 31 (ZERO: an empty subtree); then slot by slot the key and the value hash of
# leaves. One row and not 64 objects, because to copy it is one step, and the children of a node stand side by side
# as they are hashed. Nobody changes a page in a cache.
COUNTS_AT: Final = HASH_BYTES // 2
COUNTS_END: Final = COUNTS_AT + SLOTS
LEAVES_AT: Final = 2 * SLOTS * HASH_BYTES
NO_PAGE: Final = bytes(LEAVES_AT)
_MASKS_KEPT_BYTES: Final = 6
_INNER: Final = b"\x01"
_SLOTS_AT: Final = SLOTS * HASH_BYTES
NODES: Final = tuple(slice(node * HASH_BYTES, (node + 1) * HASH_BYTES) for node in range(2 * SLOTS))

# Pages in memory, 1 kB each and 64 bytes for each leaf. The upper ones, of the first five levels of pages, are on the way to
# every key, so that from a million keys on the many below must not push them out; one version of a tree has no more of them.
PAGES_CACHED_DEFAULT: Final = 32_768
UPPER_DEPTHS: Final = 5
UPPER_PAGES_MAX: Final = sum(16**depth for depth in range(UPPER_DEPTHS))

# What an update does to a page: the slots that it changes, as bits; and these.
MADE: Final = 1 << SLOTS  # there was none
GONE: Final = 2 << SLOTS  # there is none any more

# (key hash, leaf as it is in a page, leaf hash); deleted: nothing and ZERO for the other two.
Item = tuple[bytes, bytes, bytes]


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


def _children(node: int) -> slice:
    return slice(2 * node * HASH_BYTES, (2 * node + 2) * HASH_BYTES)


# The inner nodes from below: where each is in a row, and its children; the slots below it, and below its left child; the child.
_ABOVE_ALL: Final = tuple(
    (NODES[node], _children(node), SPANS[node], SPANS[2 * node], 2 * node) for node in range(SLOTS - 1, 0, -1)
)


def _climb(slot: int) -> tuple[tuple[slice, slice, slice, slice], ...]:
    """The nodes above a slot, from below: where each is in a row, and its children; the child towards the slot, the other."""
    nodes = [(SLOTS + slot) >> level for level in range(SLOT_BITS)]
    return tuple((NODES[n >> 1], _children(n >> 1), NODES[n], NODES[n ^ 1]) for n in nodes)


_CLIMBS: Final = tuple(_climb(slot) for slot in range(SLOTS))
_SLOTS_OF: Final = tuple(tuple(slot for slot in range(8) if mask >> slot & 1) for mask in range(256))
_SLOTS_OF_UPPER: Final = tuple(tuple(8 + slot for slot in slots) for slots in _SLOTS_OF)
_SLOT_BITS: Final = tuple((1 << slot, SLOTS + slot) for slot in range(SLOTS))  # with its node


def subtree_of(page: bytes) -> bytes:
    """The hash by which a page is known."""
    return page[NODES[1]]


def masks_of(page: bytes | bytearray) -> tuple[int, int, int]:
    """The slots that hold one leaf, those that hold several, and those that hold anything, as bits."""
    masks = int.from_bytes(page[:_MASKS_KEPT_BYTES], "big")
    return masks >> 32, masks >> 16 & 0xFFFF, masks & 0xFFFF


def run_at(page: bytes | bytearray, slot: int) -> tuple[int, int]:
    """Where the leaves of a slot begin and end."""
    start = LEAVES_AT + LEAF_BYTES * sum(page[COUNTS_AT : COUNTS_AT + slot])
    return start, start + LEAF_BYTES * page[COUNTS_AT + slot]


def set_slot(page: bytearray, slot: int, after: bytes, run: bytes) -> None:
    """Puts a subtree into a slot: one leaf or a few (`run`), or that of the page below, or none (ZERO). The nodes above
    are for `climb` or `rehash`."""
    node, count, held = NODES[SLOTS + slot], page[COUNTS_AT + slot], len(run) // LEAF_BYTES
    before = page[node]
    page[node] = after
    if held or count:
        start, end = run_at(page, slot)
        page[start:end] = run
    if held == count and after != ZERO != before:
        return  # as most often: what the slot holds is what it held
    page[COUNTS_AT + slot] = held
    bit = 1 << slot
    lone, many, taken = (mask & ~bit for mask in masks_of(page))
    if held == 1:
        lone |= bit
    elif held:
        many |= bit
    if after != ZERO:
        taken |= bit
    page[:_MASKS_KEPT_BYTES] = (lone << 32 | many << 16 | taken).to_bytes(_MASKS_KEPT_BYTES, "big")


def climb(page: bytearray, slot: int, alone: bool) -> bytes:
    """Makes the nodes above a slot true again that holds something, where nothing else has changed; the page's subtree.
    As `rehash`, without a look at the other slots. alone: the slot holds one leaf."""
    for at, children, child, other in _CLIMBS[slot]:
        if alone:
            alone = page[other] == ZERO
            if alone:
                page[at] = page[child]
                continue
        page[at] = sha256(_INNER + page[children]).digest()
    return bytes(page[NODES[1]])


def rehash(page: bytearray, touched: int) -> bytes:
    """Makes the inner nodes above these slots true again; the page's subtree."""
    lone, _, taken = masks_of(page)
    for at, children, span, left, child in _ABOVE_ALL:
        if not touched & span:
            continue
        below = taken & span
        if below & (below - 1) or below & ~lone:
            page[at] = sha256(_INNER + page[children]).digest()
        else:
            # Nothing is below, or a single leaf, which one of the children is then.
            page[at] = page[NODES[child if below & left else child + 1]]
    return bytes(page[NODES[1]])


def items_of_run(run: bytes, leaf_tag: bytes) -> list[Item]:
    """The leaves of a run."""
    leaves = [run[at : at + LEAF_BYTES] for at in range(0, len(run), LEAF_BYTES)]
    return [(leaf[:HASH_BYTES], leaf, sha256(leaf_tag + leaf).digest()) for leaf in leaves]


def subtree_of_run(items: Sequence[Item], bit: int) -> bytes:
    """The hash of the subtree of one leaf or more, in order, all the bits of whose keys before this one are the same."""
    if len(items) == 1:
        return items[0][2]
    first = int.from_bytes(items[0][0], "big")
    # 1. The node where they part, for the keys are in order, (2) and its two sides.
    shared = KEY_BITS - (first ^ int.from_bytes(items[-1][0], "big")).bit_length()
    byte, mask, at = shared >> 3, 128 >> (shared & 7), 1
    while not items[at][0][byte] & mask:
        at += 1
    left, right = subtree_of_run(items[:at], shared + 1), subtree_of_run(items[at:], shared + 1)
    found = sha256(_INNER + left + right).digest()
    # 3. Above it all of them are on one side.
    for above in range(shared - 1, bit - 1, -1):
        found = sha256(
            _INNER + (ZERO + found if first >> (KEY_BITS - 1 - above) & 1 else found + ZERO)
        ).digest()
    return found


def with_slot(page: bytes, slot: int, other: bytes) -> bytes:
    """A page with one slot as another page has it."""
    made = bytearray(page)
    start, end = run_at(other, slot)
    set_slot(made, slot, other[NODES[SLOTS + slot]], other[start:end])
    rehash(made, 1 << slot)
    return bytes(made)


def encode_page(page: bytes) -> bytes:
    """be16 mask of the slots with leaves, be16 mask of those with a page below or several leaves (bit s: slot s); for
    each that is in both masks the number of its leaves, u8; then slot by slot the leaves or the hash of the subtree."""
    lone, many, taken = masks_of(page)
    head = ((lone | many) << 16 | taken & ~lone).to_bytes(MASKS_BYTES, "big")
    if many:
        head += bytes(count for count in page[COUNTS_AT:COUNTS_END] if count > 1)
    if taken == lone | many:
        return head + page[LEAVES_AT:]
    if taken == 0xFFFF and not lone | many:
        return head + page[_SLOTS_AT:LEAVES_AT]
    parts = [head]
    at = LEAVES_AT
    for bit, node in _SLOT_BITS:
        if count := page[COUNTS_AT - SLOTS + node]:
            parts.append(page[at : at + LEAF_BYTES * count])
            at += LEAF_BYTES * count
        elif taken & bit:
            parts.append(page[NODES[node]])
    return b"".join(parts)


def damaged_page(path: bytes, why: str) -> StoreError:
    """The error for a page that cannot be what was written."""
    return StoreError(
        f"page {path.hex()} of the state tree {why}. Stop the node, keep the directory, and sync anew or restore "
        "a backup."
    )


def decode_page(path: bytes, data: bytes, leaf_tag: bytes) -> bytes:
    """A page from its stored bytes, all its hashes computed. Raises StoreError for bytes that no page has."""
    # 1. As many bytes as the masks and counts say.
    masks = int.from_bytes(data[:MASKS_BYTES], "big")
    leaves, below = masks >> 16, masks & 0xFFFF
    many = leaves & below
    lone, inner, taken = leaves ^ many, below ^ many, leaves | below
    at = MASKS_BYTES + many.bit_count()
    several = data[MASKS_BYTES:at]
    size = at + LEAF_BYTES * (lone.bit_count() + sum(several)) + HASH_BYTES * inner.bit_count()
    if len(data) != size or not masks or (many and min(several) < 2):
        raise damaged_page(path, "has impossible bytes")
    # 2. Each slot. As lists, and only the slots that hold anything, for every cold read comes through here.
    depth, more = path[0], iter(several)
    nodes, counts = [ZERO] * (2 * SLOTS), bytearray(SLOTS)
    entries: list[bytes] = []
    places: list[int] = []  # of the leaves
    for slot in _SLOTS_OF[taken & 0xFF] + _SLOTS_OF_UPPER[taken >> 8]:
        if lone >> slot & 1:
            entry = data[at : at + LEAF_BYTES]
            nodes[SLOTS + slot] = sha256(leaf_tag + entry).digest()
            entries.append(entry)
            places.append(slot)
            counts[slot] = 1
            at += LEAF_BYTES
        elif inner >> slot & 1:
            nodes[SLOTS + slot] = data[at : at + HASH_BYTES]
            at += HASH_BYTES
        else:
            end = at + LEAF_BYTES * next(more)
            items = items_of_run(data[at:end], leaf_tag)
            keys = [item[0] for item in items]
            if len(set(keys)) < len(keys) or sorted(keys) != keys:
                raise damaged_page(path, "has leaves out of order")
            nodes[SLOTS + slot] = subtree_of_run(items, SLOT_BITS * (depth + 1))
            entries += [item[1] for item in items]
            places += [slot] * len(items)
            counts[slot] = len(items)
            at = end
    if nodes.count(ZERO) + taken.bit_count() != len(nodes):
        raise damaged_page(path, "has an empty subtree among those below")
    # 3. Each leaf stands where its key says, which the hash of a leaf that is alone in half a page would not show.
    if entries:
        low, half = depth & 1, depth >> 1
        there = [entry[half] & 15 for entry in entries] if low else [entry[half] >> 4 for entry in entries]
        # In order as they are, the first and the last share what all share.
        astray = entries != sorted(entries) or not path == page_path(entries[0], depth) == page_path(
            entries[-1], depth
        )
        if there != places or astray:
            raise damaged_page(path, "has a leaf in the place of another")
    # 4. The inner nodes, by the same rules as `rehash`.
    for node in range(SLOTS - 1, 0, -1):
        under = taken & SPANS[node]
        if under & (under - 1) or under & ~lone:
            nodes[node] = sha256(_INNER + nodes[2 * node] + nodes[2 * node + 1]).digest()
        elif under:
            nodes[node] = nodes[2 * node] if under & SPANS[2 * node] else nodes[2 * node + 1]
    kept = (lone << 32 | many << 16 | taken).to_bytes(_MASKS_KEPT_BYTES, "big")
    nodes[0] = kept.ljust(COUNTS_AT, b"\0") + counts
    return b"".join(nodes + entries)


class PageCache:
    """Decoded pages: the upper ones by their paths, each as it was used last; of the others, by the hash of their subtree, the
    longest unused are dropped first. May be shared by all trees and versions of one chain that are used by one thread."""

    def __init__(self, pages_max: int = PAGES_CACHED_DEFAULT, upper_max: int = 0) -> None:
        """upper_max: how many upper pages are kept beside the others; 0: they are among them."""
        self._pages_max = pages_max
        self._upper_max = upper_max
        self._upper_depths = UPPER_DEPTHS if upper_max else 0
        self._pages: OrderedDict[bytes, bytes] = OrderedDict()
        # By path, so that what takes a page's place pushes it out: one step for each page that changes.
        self._upper: dict[bytes, bytes] = {}

    def __len__(self) -> int:
        return len(self._pages) + len(self._upper)

    def get(self, path: bytes, subtree: bytes) -> bytes | None:
        """The page of a subtree, if it is kept."""
        if path[0] < self._upper_depths:
            page = self._upper.get(path)
            return page if page is not None and page[NODES[1]] == subtree else None
        page = self._pages.get(subtree)
        if page is not None:
            self._pages.move_to_end(subtree)
        return page

    def put(self, path: bytes, page: bytes) -> None:
        """Keeps a page."""
        if path[0] < self._upper_depths:
            self._upper[path] = page
            if len(self._upper) > self._upper_max:
                del self._upper[next(iter(self._upper))]
            return
        self._pages[subtree_of(page)] = page
        if len(self._pages) > self._pages_max:
            self._pages.popitem(last=False)

    def clear(self) -> None:
        """Keeps nothing any more."""
        self._pages.clear()
        self._upper.clear()

    def renew(self, replaced: Mapping[bytes, bytes], changed: Mapping[bytes, bytes | None]) -> None:
        """By path: these subtrees were replaced, and are read again should an older version still want them; these pages
        (None: none any more) are new."""
        for path, subtree in replaced.items():
            if path[0] >= self._upper_depths:
                self._pages.pop(subtree, None)
        upper, depths = self._upper, self._upper_depths
        for path, page in changed.items():
            if path in upper and page is not None:
                upper[path] = page  # as most often
            elif page is not None:
                self.put(path, page)
            elif path[0] < depths:
                upper.pop(path, None)
