"""The state tree: hashed keys in a sparse Merkle tree (tree_proof.py), kept in pages of four levels.

A page covers the subtree below a path of nibbles: sixteen slots, each empty, a leaf, or the root of the page below.
Pages exist where two or more keys share the path (and at the root). A page is named by its path and, in memory, by
the hash of its subtree: a page read from the disk is checked against the hash its parent holds, and a page in the
cache can never be stale, whichever version of the state asks for it.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
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
# About 2.5 kB of memory each.
PAGES_CACHED_DEFAULT: Final = 32_768

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


# A page in memory, flat: node i at i (b"" is an empty subtree), the key hash of the leaf at node n at n + 16, its value
# hash at n + 32 (b"" where n holds no leaf). Plain tuples of bytes, because Python's garbage collector lets those be;
# it would walk through thousands of pages of any other make again and again.
_Page = tuple[bytes, ...]
_KEYS: Final = 16
_VALUES: Final = 32
_NO_PAGE: Final[_Page] = (_EMPTY,) * 64


def _is_leaf(page: Sequence[bytes], node: int) -> bool:
    """Whether this node is a single leaf: only such a hash stands at a child too."""
    if node >= _SLOTS:
        return page[node + _KEYS] != _EMPTY
    found = page[node]
    return found != _EMPTY and (found in (page[node << 1], page[node << 1 | 1]))


def _leaf_below(page: Sequence[bytes], node: int) -> _Item:
    """The single leaf that this node is."""
    leaf = page[node]
    while node < _SLOTS:
        node = node << 1 if page[node << 1] == leaf else node << 1 | 1
    return page[node + _KEYS], page[node + _VALUES], leaf


def _rehash(page: list[bytes], touched: list[int]) -> None:
    """Makes the inner nodes above these slots (node numbers, ascending) true again."""
    for _ in range(4):
        parents: list[int] = []
        last = 0
        for node in touched:
            parent = node >> 1
            if parent == last:
                continue
            last = parent
            parents.append(parent)
            child = parent << 1
            left, right = page[child], page[child + 1]
            if left and right:
                page[parent] = sha256(b"\x01" + left + right).digest()
            elif left:
                page[parent] = left if _is_leaf(page, child) else sha256(b"\x01" + left + ZERO).digest()
            elif right:
                page[parent] = right if _is_leaf(page, child + 1) else sha256(b"\x01" + ZERO + right).digest()
            else:
                page[parent] = _EMPTY
        touched = parents


def _encode_page(page: Sequence[bytes]) -> bytes:
    """be16 mask of leaves, be16 mask of inner slots (bit s: slot s), then slot by slot the two hashes or the one."""
    masks = 0
    parts = [_EMPTY]
    for slot in range(_SLOTS):
        node = page[_SLOTS + slot]
        if not node:
            continue
        key = page[_SLOTS + _KEYS + slot]
        if key:
            masks |= 0x10000 << slot
            parts.append(key)
            parts.append(page[_SLOTS + _VALUES + slot])
        else:
            masks |= 1 << slot
            parts.append(node)
    parts[0] = masks.to_bytes(_MASKS_BYTES, "big")
    return b"".join(parts)


def _damaged(path: bytes, why: str) -> StoreError:
    return StoreError(
        f"page {path.hex()} of the state tree {why}. Stop the node, keep the directory, and sync anew or restore "
        "a backup."
    )


def _decode_page(path: bytes, data: bytes, leaf_tag: bytes) -> _Page:
    masks = int.from_bytes(data[:_MASKS_BYTES], "big")
    leaves, inner = masks >> 16, masks & 0xFFFF
    size = _MASKS_BYTES + _LEAF_BYTES * leaves.bit_count() + HASH_BYTES * inner.bit_count()
    if len(data) != size or leaves & inner or not masks:
        raise _damaged(path, "has impossible bytes")
    page = list(_NO_PAGE)
    at = _MASKS_BYTES
    touched = []
    for slot in range(_SLOTS):
        node = _SLOTS + slot
        if leaves >> slot & 1:
            pair = data[at : at + _LEAF_BYTES]
            page[node] = sha256(leaf_tag + pair).digest()
            page[node + _KEYS], page[node + _VALUES] = pair[:HASH_BYTES], pair[HASH_BYTES:]
            at += _LEAF_BYTES
        elif inner >> slot & 1:
            page[node] = data[at : at + HASH_BYTES]
            at += HASH_BYTES
        else:
            continue
        touched.append(node)
    _rehash(page, touched)
    return tuple(page)


class PageCache:
    """Decoded pages by the hash of their subtree, the longest unused dropped first. May be shared by all trees and
    versions of one chain that are used by one thread."""

    def __init__(self, pages_max: int = PAGES_CACHED_DEFAULT) -> None:
        self._pages_max = pages_max
        self._pages: OrderedDict[bytes, _Page] = OrderedDict()

    def get(self, subtree: bytes) -> _Page | None:
        page = self._pages.get(subtree)
        if page is not None:
            self._pages.move_to_end(subtree)
        return page

    def put(self, page: _Page) -> None:
        self._pages[page[1]] = page
        if len(self._pages) > self._pages_max:
            self._pages.popitem(last=False)

    def drop(self, subtree: bytes) -> None:
        """The page was replaced; it is read again should an older version still want it."""
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
    fresh: list[_Page] = field(default_factory=list)
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
        node, _ = self._apply(work, range(len(items)), 0, _EMPTY if self._root == ZERO else self._root)
        for subtree in work.replaced:
            self._cache.drop(subtree)
        for page in work.fresh:
            self._cache.put(page)
        return TreeUpdate(node or ZERO, work.pages)

    def _apply(self, work: _Work, span: range, depth: int, subtree: bytes) -> tuple[bytes, _Item | None]:
        """Applies the items of `span` to the page `depth` nibbles down whose subtree has this hash (b"": no page).

        Returns the hash of the subtree, and its one leaf where it has come down to one (then without a page,
        unless it is the root's).
        """
        items, start, end = work.items, span.start, span.stop
        path = page_path(items[start][0], depth)
        old = self._load(path, subtree) if subtree else None
        page = list(old if old is not None else _NO_PAGE)
        touched: list[int] = []
        while start < end:
            slot = _nibble(items[start][0], depth)
            group_end = start + 1
            while group_end < end and _nibble(items[group_end][0], depth) == slot:
                group_end += 1
            if self._apply_slot(work, range(start, group_end), depth, page, slot):
                touched.append(_SLOTS + slot)
            start = group_end
        if not touched:
            return subtree, None
        _rehash(page, touched)
        if subtree:
            work.replaced.append(subtree)
        lone = _leaf_below(page, 1) if _is_leaf(page, 1) else None
        if page[1] and (lone is None or depth == 0):
            work.pages[path] = _encode_page(page)
            work.fresh.append(tuple(page))
        elif old is not None:
            work.pages[path] = None
        return page[1], lone

    def _apply_slot(self, work: _Work, span: range, depth: int, page: list[bytes], slot: int) -> bool:
        """Applies the items of `span`, all of this slot. True when the slot has changed."""
        node = _SLOTS + slot
        before, own = page[node], page[node + _KEYS]
        lone: _Item | None
        if before and not own:
            after, lone = self._apply(work, span, depth + 1, before)
        else:
            group = work.items[span.start : span.stop]
            if own and all(item[0] != own for item in group):
                group.append((own, page[node + _VALUES], before))
                group.sort()
            group = [item for item in group if item[1]]
            if len(group) > 1:
                nested = _Work(group, work.pages, work.fresh, work.replaced)
                after, lone = self._apply(nested, range(len(group)), depth + 1, _EMPTY)
            else:
                lone = group[0] if group else None
                after = lone[2] if lone else _EMPTY
        if after == before:
            return False
        page[node] = after
        page[node + _KEYS], page[node + _VALUES] = (_EMPTY, _EMPTY) if lone is None else lone[:2]
        return True

    def _load(self, path: bytes, subtree: bytes) -> _Page:
        page = self._cache.get(subtree)
        if page is not None:
            return page
        data = self._read_page(path)
        if data is None:
            raise _damaged(path, "is missing")
        page = _decode_page(path, data, self._leaf_tag)
        if page[1] != subtree:
            raise _damaged(path, "does not hash to what stands above it")
        self._cache.put(page)
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
            node = 1
            remaining = _nibble(hashed_key, page_depth)
            while node < _SLOTS and page[node] and not _is_leaf(page, node):
                node = node << 1 | remaining >> 3 & 1
                remaining = remaining << 1 & 15
                sibling = page[node ^ 1]
                depth += 1
                bits = bits << 1 | (1 if sibling else 0)
                if sibling:
                    siblings.append(sibling)
            if _is_leaf(page, node):
                leaf = _leaf_below(page, node)
        proof = StateProof(
            depth=depth, bitmap=(bits << -depth % 8).to_bytes((depth + 7) // 8, "big"), siblings=siblings
        )
        if leaf is not None and leaf[0] != hashed_key:
            proof.other_key_hash, proof.other_value_hash = leaf[:2]
        return proof

    def _descend(self, hashed_key: bytes) -> Iterator[tuple[_Page, int]]:
        """The pages on the way to a key with their depths in nibbles, down to where no page is."""
        subtree = _EMPTY if self._root == ZERO else self._root
        depth = 0
        while subtree:
            page = self._load(page_path(hashed_key, depth), subtree)
            yield page, depth
            node = _SLOTS + _nibble(hashed_key, depth)
            subtree = _EMPTY if page[node + _KEYS] else page[node]
            depth += 1
