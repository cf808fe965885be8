"""The state tree: hashed keys in a sparse Merkle tree (tree_proof.py), kept in pages of four levels.

A page covers the subtree below a path of nibbles: sixteen slots, each empty, a leaf, or the root of the page below.
Pages exist where two or more keys share the path (and at the root). A page is named by its path and, in memory, by
the hash of its subtree: a page read from the disk is checked against the hash its parent holds, and a page in the
cache can never be stale, whichever version of the state asks for it.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from ledger.errors import StoreError
from ledger.hashes import HASH_BYTES, ZERO, Purpose, tag
from proto.chiptrace.v1.ledger_pb2 import StateProof

# Slot s of a page is node 16 + s; node i has the children 2i and 2i + 1; node 1 is the page's subtree.
_SLOTS: Final = 16
_EMPTY: Final = b""
_LEAF_BYTES: Final = 2 * HASH_BYTES
_MASKS_BYTES: Final = 4
# Pages in memory, about 2.1 kB each. The upper ones, of the first five levels of pages, are on the way to every key, so
# that from a million keys on the many below must not push them out; one version of a tree has no more of them.
PAGES_CACHED_DEFAULT: Final = 32_768
UPPER_DEPTHS: Final = 5
UPPER_PAGES_MAX: Final = sum(16**depth for depth in range(UPPER_DEPTHS))

ReadPage = Callable[[bytes], bytes | None]
# (key hash, value hash, leaf hash); an empty value hash deletes.
_Item = tuple[bytes, bytes, bytes]


def page_path(hashed_key: bytes, depth: int) -> bytes:
    """The store's key of the page `depth` nibbles down towards a key: one byte depth, then the nibbles, packed."""
    half = depth >> 1
    if depth & 1:
        return bytes((depth,)) + hashed_key[:half] + bytes((hashed_key[half] & 0xF0,))
    return bytes((depth,)) + hashed_key[:half]


def _nibble(hashed_key: bytes, depth: int) -> int:
    byte = hashed_key[depth >> 1]
    return byte & 15 if depth & 1 else byte >> 4


# A page in memory, 64 hashes in one row of bytes: first the masks and nothing else, then the nodes 1 to 31 (ZERO: an
# empty subtree), then by slot the key hashes of leaves, then their value hashes. One row and not 64 objects, because
# to copy it is one step, and the children of a node stand side by side as they are hashed. Nobody changes a page that
# is in a cache.
_PAGE_BYTES: Final = 64 * HASH_BYTES
_KEYS: Final = 32 * HASH_BYTES
_VALUES: Final = 48 * HASH_BYTES
_NO_PAGE: Final = bytes(_PAGE_BYTES)


def _span(node: int) -> int:
    """The slots below a node, as bits."""
    slots = _SLOTS >> (node.bit_length() - 1)
    return ((1 << slots) - 1) << (node * slots - _SLOTS)


_SPANS: Final = (0, *map(_span, range(1, 32)))


def _masks(page: bytes | bytearray) -> tuple[int, int]:
    """The slots that hold a leaf, and those that hold anything, as bits."""
    masks = int.from_bytes(page[:_MASKS_BYTES], "big")
    return masks >> 16, masks & 0xFFFF


def _node(page: bytes | bytearray, node: int) -> bytes:
    """The hash of a subtree in a page; ZERO where it is empty."""
    return bytes(page[node * HASH_BYTES : (node + 1) * HASH_BYTES])


def _leaf_at(page: bytes | bytearray, slot: int) -> _Item:
    """The leaf of a slot that holds one."""
    at = slot * HASH_BYTES
    key = page[_KEYS + at : _KEYS + at + HASH_BYTES]
    return bytes(key), bytes(page[_VALUES + at : _VALUES + at + HASH_BYTES]), _node(page, _SLOTS + slot)


def _is_lone(taken: int, leaves: int) -> bool:
    """Whether of these slots one is taken, and by a leaf: such a subtree is that leaf, however deep it is."""
    return taken != 0 and taken & (taken - 1) == 0 and taken & leaves != 0


def _hash_node(page: bytearray, node: int, leaves: int, taken: int) -> None:
    """Makes an inner node true again whose children are."""
    below, child = taken & _SPANS[node], 2 * node * HASH_BYTES
    if below & (below - 1) == 0 and (below == 0 or below & leaves):
        # Nothing is below, or a single leaf, which one of the children is then.
        at = child if below & _SPANS[2 * node] else child + HASH_BYTES
        page[node * HASH_BYTES : (node + 1) * HASH_BYTES] = page[at : at + HASH_BYTES]
    else:
        hashed = sha256(b"\x01" + page[child : child + 2 * HASH_BYTES]).digest()
        page[node * HASH_BYTES : (node + 1) * HASH_BYTES] = hashed


def _rehash(page: bytearray, touched: int, leaves: int, taken: int) -> None:
    """Makes the inner nodes above these slots true again."""
    if touched & (touched - 1) == 0:  # as in most pages
        node = _SLOTS - 1 + touched.bit_length()
        for parent in (node >> 1, node >> 2, node >> 3, 1):
            _hash_node(page, parent, leaves, taken)
        return
    for node in range(_SLOTS - 1, 0, -1):
        if touched & _SPANS[node]:
            _hash_node(page, node, leaves, taken)


def _encode_page(page: bytearray, leaves: int, taken: int) -> bytes:
    """be16 mask of leaves, be16 mask of inner slots (bit s: slot s), then slot by slot the two hashes or the one."""
    masks = (leaves << 16 | taken ^ leaves).to_bytes(_MASKS_BYTES, "big")
    if taken == 0xFFFF and not leaves:
        return masks + page[_SLOTS * HASH_BYTES : _KEYS]
    parts: list[bytes | bytearray] = [masks]
    while taken:
        lowest = taken & -taken
        at = (lowest.bit_length() - 1) * HASH_BYTES
        if leaves & lowest:
            parts.append(page[_KEYS + at : _KEYS + at + HASH_BYTES])
            parts.append(page[_VALUES + at : _VALUES + at + HASH_BYTES])
        else:
            parts.append(page[_SLOTS * HASH_BYTES + at : (_SLOTS + 1) * HASH_BYTES + at])
        taken ^= lowest
    return b"".join(parts)


def _damaged(path: bytes, why: str) -> StoreError:
    return StoreError(
        f"page {path.hex()} of the state tree {why}. Stop the node, keep the directory, and sync anew or restore "
        "a backup."
    )


def _decode_page(path: bytes, data: bytes, leaf_tag: bytes) -> bytes:
    masks = int.from_bytes(data[:_MASKS_BYTES], "big")
    leaves, inner = masks >> 16, masks & 0xFFFF
    size = _MASKS_BYTES + _LEAF_BYTES * leaves.bit_count() + HASH_BYTES * inner.bit_count()
    if len(data) != size or leaves & inner or not masks:
        raise _damaged(path, "has impossible bytes")
    # As lists, for every cold read comes through here; the same rules as `_hash_node`.
    nodes, keys, values = [ZERO] * 32, [ZERO] * _SLOTS, [ZERO] * _SLOTS
    taken, at = leaves | inner, _MASKS_BYTES
    for slot in range(_SLOTS):
        if leaves >> slot & 1:
            middle, end = at + HASH_BYTES, at + _LEAF_BYTES
            nodes[_SLOTS + slot] = sha256(leaf_tag + data[at:end]).digest()
            keys[slot], values[slot] = data[at:middle], data[middle:end]
            at = end
        elif taken >> slot & 1:
            nodes[_SLOTS + slot] = data[at : at + HASH_BYTES]
            at += HASH_BYTES
    for node in range(_SLOTS - 1, 0, -1):
        below = taken & _SPANS[node]
        if below == 0:
            continue
        left, right = nodes[2 * node], nodes[2 * node + 1]
        if below & (below - 1) == 0 and below & leaves:
            nodes[node] = left if below & _SPANS[2 * node] else right
        else:
            nodes[node] = sha256(b"\x01" + left + right).digest()
    nodes[0] = (leaves << 16 | taken).to_bytes(_MASKS_BYTES, "big").ljust(HASH_BYTES, b"\0")
    return b"".join(nodes) + b"".join(keys) + b"".join(values)


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
        page = self._upper.get(subtree)
        if page is not None:
            return page
        page = self._pages.get(subtree)
        if page is not None:
            self._pages.move_to_end(subtree)
        return page

    def put(self, page: bytes, depth: int) -> None:
        subtree = page[HASH_BYTES : 2 * HASH_BYTES]
        if depth < UPPER_DEPTHS and self._upper_max:
            self._upper[subtree] = page
            if len(self._upper) > self._upper_max:
                del self._upper[next(iter(self._upper))]
            return
        self._pages[subtree] = page
        if len(self._pages) > self._pages_max:
            self._pages.popitem(last=False)

    def drop(self, subtree: bytes) -> None:
        """The page was replaced; it is read again should an older version still want it."""
        if self._upper.pop(subtree, None) is None:
            self._pages.pop(subtree, None)


@dataclass(frozen=True, slots=True)
class TreeUpdate:
    """What an update comes to: the new root, and the pages to write (None: to delete) with it."""

    root: bytes
    pages: dict[bytes, bytes | None]


@dataclass(slots=True)
class _Work:
    """One update under way: its items in order of key hash, and what it has written."""

    items: list[_Item]
    pages: dict[bytes, bytes | None] = field(default_factory=dict)
    fresh: list[tuple[int, bytes]] = field(default_factory=list)  # with their depths
    replaced: list[bytes] = field(default_factory=list)


class StateTree:
    """One version of the state tree: its root, and where its pages are read. `update` makes the next version's
    pages and leaves this one as it is."""

    def __init__(
        self, chain_id: bytes, read_page: ReadPage, root: bytes, cache: PageCache | None = None
    ) -> None:
        self._read_page = read_page
        self._root = root
        self._cache = PageCache() if cache is None else cache
        self._key_tag = tag(Purpose.STATE_KEY, chain_id)
        self._leaf_tag = b"\x00" + tag(Purpose.STATE_LEAF, chain_id)

    @property
    def root(self) -> bytes:
        return self._root

    def update(self, changes: Mapping[bytes, bytes | None]) -> TreeUpdate:
        """The root and pages after setting these keys (None deletes). The order of `changes` does not matter.

        Raises StoreError when a page is missing or does not hash to what its parent says.
        """
        key_tag, leaf_tag = self._key_tag, self._leaf_tag
        items: list[_Item] = []
        for key, value in changes.items():
            hashed_key = sha256(key_tag + key).digest()
            if value is None:
                items.append((hashed_key, _EMPTY, _EMPTY))
                continue
            hashed_value = sha256(value).digest()
            leaf = sha256(leaf_tag + hashed_key + hashed_value).digest()
            items.append((hashed_key, hashed_value, leaf))
        items.sort()
        if not items:
            return TreeUpdate(self._root, {})
        work = _Work(items)
        root, _ = self._apply(work, range(len(items)), 0, self._root)
        for subtree in work.replaced:
            self._cache.drop(subtree)
        for depth, page in work.fresh:
            self._cache.put(page, depth)
        return TreeUpdate(root, work.pages)

    def _apply(self, work: _Work, span: range, depth: int, subtree: bytes) -> tuple[bytes, _Item | None]:
        """Applies the items of `span` to the page `depth` nibbles down whose subtree has this hash (ZERO: no page).

        Returns the hash of the subtree, and its one leaf where it has come down to one (then without a page,
        unless it is the root's).
        """
        items, start, end = work.items, span.start, span.stop
        path = page_path(items[start][0], depth)
        old = _NO_PAGE if subtree == ZERO else self._load(path, subtree)
        page = bytearray(old)
        leaves, taken = _masks(old)
        touched = 0
        while start < end:
            slot = _nibble(items[start][0], depth)
            group_end = start + 1
            while group_end < end and _nibble(items[group_end][0], depth) == slot:
                group_end += 1
            bit, at = 1 << slot, (_SLOTS + slot) * HASH_BYTES
            before = old[at : at + HASH_BYTES]
            own = _leaf_at(old, slot) if leaves & bit else None
            after, lone = self._apply_slot(work, range(start, group_end), depth, before, own)
            start = group_end
            if after == before:
                continue
            touched |= bit
            page[at : at + HASH_BYTES] = after
            at = slot * HASH_BYTES
            if lone is not None:
                leaves, taken = leaves | bit, taken | bit
                page[_KEYS + at : _KEYS + at + HASH_BYTES] = lone[0]
                page[_VALUES + at : _VALUES + at + HASH_BYTES] = lone[1]
            else:
                leaves, taken = leaves & ~bit, taken & ~bit if after == ZERO else taken | bit
        if not touched:
            return subtree, None
        _rehash(page, touched, leaves, taken)
        return self._keep(work, path, subtree, page, leaves, taken)

    @staticmethod
    def _keep(
        work: _Work, path: bytes, subtree: bytes, page: bytearray, leaves: int, taken: int
    ) -> tuple[bytes, _Item | None]:
        """Notes what becomes of a page that was changed; returns as `_apply`."""
        depth = path[0]
        if subtree != ZERO:
            work.replaced.append(subtree)
        lone = _leaf_at(page, leaves.bit_length() - 1) if _is_lone(taken, leaves) else None
        if taken and (lone is None or depth == 0):
            page[:_MASKS_BYTES] = (leaves << 16 | taken).to_bytes(_MASKS_BYTES, "big")
            work.pages[path] = _encode_page(page, leaves, taken)
            work.fresh.append((depth, bytes(page)))
        elif subtree != ZERO:
            work.pages[path] = None
        return _node(page, 1), lone

    def _apply_slot(
        self, work: _Work, span: range, depth: int, before: bytes, own: _Item | None
    ) -> tuple[bytes, _Item | None]:
        """What a slot with this hash, and this leaf if it holds one, comes to by the items of `span`: as `_apply`."""
        if own is None and before != ZERO:
            return self._apply(work, span, depth + 1, before)
        group = work.items[span.start : span.stop]
        if own is not None and own[0] != group[0][0] and all(item[0] != own[0] for item in group):
            group.append(own)
            group.sort()
        if len(group) > 1 or not group[0][1]:
            group = [item for item in group if item[1]]
        if len(group) > 1:
            nested = _Work(group, work.pages, work.fresh, work.replaced)
            return self._apply(nested, range(len(group)), depth + 1, ZERO)
        return (group[0][2], group[0]) if group else (ZERO, None)

    def _load(self, path: bytes, subtree: bytes) -> bytes:
        page = self._cache.get(subtree)
        if page is not None:
            return page
        data = self._read_page(path)
        if data is None:
            raise _damaged(path, "is missing")
        page = _decode_page(path, data, self._leaf_tag)
        if page[HASH_BYTES : 2 * HASH_BYTES] != subtree:
            raise _damaged(path, "does not hash to what stands above it")
        self._cache.put(page, path[0])
        return page

    def prove(self, key: bytes) -> StateProof:
        """The proof for this key: of its value if it has one, else of its absence (tree_proof.verify).

        In an empty tree the proof is empty, and verifies under nothing. Raises StoreError as `update` does.
        """
        hashed_key = sha256(self._key_tag + key).digest()
        bits = 0
        depth = 0
        siblings: list[bytes] = []
        leaf: _Item | None = None
        for page, page_depth in self._descend(hashed_key):
            leaves, taken = _masks(page)
            node = 1
            remaining = _nibble(hashed_key, page_depth)
            while node < _SLOTS and taken & _SPANS[node] and not _is_lone(taken & _SPANS[node], leaves):
                node = node << 1 | remaining >> 3 & 1
                remaining = remaining << 1 & 15
                sibling = _node(page, node ^ 1)
                depth += 1
                bits = bits << 1 | (1 if sibling != ZERO else 0)
                if sibling != ZERO:
                    siblings.append(sibling)
            if _is_lone(taken & _SPANS[node], leaves):
                leaf = _leaf_at(page, (taken & _SPANS[node]).bit_length() - 1)
        proof = StateProof(
            depth=depth, bitmap=(bits << -depth % 8).to_bytes((depth + 7) // 8, "big"), siblings=siblings
        )
        if leaf is not None and leaf[0] != hashed_key:
            proof.other_key_hash, proof.other_value_hash = leaf[:2]
        return proof

    def _descend(self, hashed_key: bytes) -> Iterator[tuple[bytes, int]]:
        """The pages on the way to a key with their depths in nibbles, down to where no page is."""
        subtree = self._root
        depth = 0
        while subtree != ZERO:
            page = self._load(page_path(hashed_key, depth), subtree)
            yield page, depth
            slot = _nibble(hashed_key, depth)
            subtree = ZERO if _masks(page)[0] >> slot & 1 else _node(page, _SLOTS + slot)
            depth += 1
