"""The state tree: hashed keys in a sparse Merkle tree (tree_proof.py), kept in pages of four levels (pages.py).

An update takes its keys in order, goes to each page on their way once, and hashes only what is above a change.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from ledger.hashes import HASH_BYTES, ZERO, Purpose, tag
from ledger.pages import (
    LEAF_BYTES,
    LEAVES_AT,
    NO_LEAVES,
    NO_PAGE,
    SLOTS,
    SPANS,
    PageCache,
    damaged_page,
    decode_page,
    encode_page,
    masks_of,
    page_path,
    rehash,
    set_masks,
    subtree_of,
)
from proto.chiptrace.v1.ledger_pb2 import StateProof

ReadPage = Callable[[bytes], bytes | None]
# Pages as they are in memory by their paths; None: there is no such page any more.
Layer = Mapping[bytes, bytes | None]
# (key hash, value hash, leaf hash); deleted: ZERO for the other two.
_Item = tuple[bytes, bytes, bytes]


def _nibble(hashed_key: bytes, depth: int) -> int:
    byte = hashed_key[depth >> 1]
    return byte & 15 if depth & 1 else byte >> 4


def _node(page: bytes | bytearray, node: int) -> bytes:
    """The hash of a subtree in a page; ZERO where it is empty."""
    return bytes(page[node * HASH_BYTES : (node + 1) * HASH_BYTES])


def _leaf_at(page: bytes | bytearray, slot: int) -> _Item:
    """The leaf of a slot that holds one."""
    at = LEAVES_AT + slot * LEAF_BYTES
    middle = at + HASH_BYTES
    return bytes(page[at:middle]), bytes(page[middle : at + LEAF_BYTES]), _node(page, SLOTS + slot)


def _is_lone(taken: int, leaves: int) -> bool:
    """Whether of these slots one is taken, and by a leaf: such a subtree is that leaf, however deep it is."""
    return taken != 0 and taken & (taken - 1) == 0 and taken & leaves != 0


def _by_slot(items: list[_Item], depth: int) -> Iterable[tuple[int, list[_Item]]]:
    """The items of a page slot by slot."""
    if len(items) == 1:  # as in most pages
        return ((_nibble(items[0][0], depth), items),)
    groups: dict[int, list[_Item]] = {}
    for item in items:
        groups.setdefault(_nibble(item[0], depth), []).append(item)
    return groups.items()


@dataclass(frozen=True, slots=True)
class TreeUpdate:
    """What an update comes to: the new root, and the pages that changed with it, as they are in memory."""

    root: bytes
    changed: Layer

    @property
    def pages(self) -> dict[bytes, bytes | None]:
        """The pages as they are to be written (None: to be deleted)."""
        return stored_form(self.changed)


def stored_form(layer: Layer) -> dict[bytes, bytes | None]:
    """Pages as they are to be written (None: to be deleted)."""
    return {path: None if page is None else encode_page(page) for path, page in layer.items()}


@dataclass(slots=True)
class _Work:
    """What an update under way has changed."""

    changed: dict[bytes, bytes | None] = field(default_factory=dict)
    replaced: list[bytes] = field(default_factory=list)


class StateTree:
    """One version of the state tree: its root, and where its pages are read. `update` makes the next version's
    pages and leaves this one as it is."""

    def __init__(
        self,
        chain_id: bytes,
        read_page: ReadPage,
        root: bytes,
        cache: PageCache | None = None,
        layers: Callable[[bytes], Sequence[Layer]] = lambda _: (),
    ) -> None:
        """layers: by path, where a page may be that is newer than the one that is read, the newest first."""
        self._read_page = read_page
        self._root = root
        self._cache = PageCache() if cache is None else cache
        self._layers = layers
        self._key_tag = tag(Purpose.STATE_KEY, chain_id)
        self._leaf_tag = b"\x00" + tag(Purpose.STATE_LEAF, chain_id)

    @property
    def root(self) -> bytes:
        """The hash of everything in it."""
        return self._root

    def update(self, changes: Mapping[bytes, bytes | None]) -> TreeUpdate:
        """The root and pages after setting these keys (None deletes). The order of `changes` does not matter.

        Raises StoreError when a page is missing or does not hash to what its parent says.
        """
        return self.update_hashed(self.hashed(changes))

    def hashed(self, changes: Mapping[bytes, bytes | None]) -> dict[bytes, bytes]:
        """The changes as the tree takes them: key hash to value hash, ZERO where the key is deleted."""
        key_tag = self._key_tag
        return {
            sha256(key_tag + key).digest(): ZERO if value is None else sha256(value).digest()
            for key, value in changes.items()
        }

    def update_hashed(self, hashed: Mapping[bytes, bytes]) -> TreeUpdate:
        """As `update`, of what `hashed` made."""
        if not hashed:
            return TreeUpdate(self._root, {})
        leaf_tag = self._leaf_tag
        items = [
            (key, value, ZERO if value == ZERO else sha256(leaf_tag + key + value).digest())
            for key, value in sorted(hashed.items())
        ]
        work = _Work()
        root, _ = self._apply(work, items, 0, self._root)
        self._cache.renew(work.replaced, work.changed)
        return TreeUpdate(root, work.changed)

    def _apply(
        self, work: _Work, items: list[_Item], depth: int, subtree: bytes
    ) -> tuple[bytes, _Item | None]:
        """Applies items to the page above them all, `depth` nibbles down, whose subtree has this hash (ZERO: no page).

        Returns the hash of the subtree, and its one leaf where it has come down to one (then without a page,
        unless it is the root's).
        """
        path = page_path(items[0][0], depth)
        old = NO_PAGE if subtree == ZERO else self._load(path, subtree)
        page = bytearray(old)
        leaves, taken = masks_of(old)
        touched = 0
        for slot, group in _by_slot(items, depth):
            bit, at = 1 << slot, (SLOTS + slot) * HASH_BYTES
            before = old[at : at + HASH_BYTES]
            if taken & bit & ~leaves:
                after, lone = self._apply(work, group, depth + 1, before)
            else:
                own = _leaf_at(old, slot) if leaves & bit else None
                after, lone = self._apply_slot(work, group, depth, own)
            if after == before:
                continue
            touched |= bit
            page[at : at + HASH_BYTES] = after
            if lone is not None:
                if len(page) == LEAVES_AT:
                    page += NO_LEAVES
                leaves, taken, at = leaves | bit, taken | bit, LEAVES_AT + slot * LEAF_BYTES
                page[at : at + LEAF_BYTES] = lone[0] + lone[1]
            else:
                leaves, taken = leaves & ~bit, taken & ~bit if after == ZERO else taken | bit
        if not touched:
            return subtree, None
        rehash(page, touched, leaves, taken)
        if subtree != ZERO:
            work.replaced.append(subtree)
        # A page that has come down to one leaf, or to nothing, is none.
        lone = None
        if taken & (taken - 1) == 0:
            lone = _leaf_at(page, leaves.bit_length() - 1) if leaves else None
            if not taken or (lone is not None and depth):
                if subtree != ZERO:
                    work.changed[path] = None
                return _node(page, 1), lone
        set_masks(page, leaves, taken)
        work.changed[path] = bytes(page) if leaves else bytes(page[:LEAVES_AT])
        return _node(page, 1), lone

    def _apply_slot(
        self, work: _Work, group: list[_Item], depth: int, own: _Item | None
    ) -> tuple[bytes, _Item | None]:
        """What a slot that is empty, or holds this leaf, comes to by these items: as `_apply`."""
        if len(group) == 1 and group[0][1] != ZERO and (own is None or own[0] == group[0][0]):
            return group[0][2], group[0]  # as almost always
        if own is not None and all(item[0] != own[0] for item in group):
            group = sorted((*group, own))
        there = [item for item in group if item[1] != ZERO]
        if len(there) > 1:
            return self._apply(work, there, depth + 1, ZERO)
        return (there[0][2], there[0]) if there else (ZERO, None)

    def _load(self, path: bytes, subtree: bytes) -> bytes:
        """The page at a path whose subtree has this hash, which its parent holds."""
        page = self._cache.get(subtree)
        if page is not None:
            return page
        for layer in self._layers(path):
            if path in layer:
                page = layer[path]
                break
        else:
            data = self._read_page(path)
            page = None if data is None else decode_page(path, data, self._leaf_tag)
        if page is None:
            raise damaged_page(path, "is missing")
        if subtree_of(page) != subtree:
            raise damaged_page(path, "does not hash to what stands above it")
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
            leaves, taken = masks_of(page)
            node = 1
            remaining = _nibble(hashed_key, page_depth)
            while node < SLOTS and taken & SPANS[node] and not _is_lone(taken & SPANS[node], leaves):
                node = node << 1 | remaining >> 3 & 1
                remaining = remaining << 1 & 15
                sibling = _node(page, node ^ 1)
                depth += 1
                bits = bits << 1 | (1 if sibling != ZERO else 0)
                if sibling != ZERO:
                    siblings.append(sibling)
            if _is_lone(taken & SPANS[node], leaves):
                leaf = _leaf_at(page, (taken & SPANS[node]).bit_length() - 1)
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
            subtree = ZERO if masks_of(page)[0] >> slot & 1 else _node(page, SLOTS + slot)
            depth += 1
