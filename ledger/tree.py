"""The state tree: hashed keys in a sparse Merkle tree (tree_proof.py), kept in pages of four levels (pages.py).

An update takes its keys in order, goes to each page on their way once, and hashes only what is above a change.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from ledger.errors import StoreError
from ledger.hashes import HASH_BYTES, ZERO, Purpose, leaf_tag, tag
from ledger.pages import (
    COUNTS_AT,
    GONE,
    LEAF_BYTES,
    LEAVES_AT,
    MADE,
    NO_PAGE,
    NODES,
    RUN_MAX,
    SLOT_BITS,
    SLOTS,
    SPANS,
    Item,
    PageCache,
    climb,
    damaged_page,
    decode_page,
    encode_page,
    items_of_run,
    masks_of,
    page_path,
    rehash,
    run_at,
    set_slot,
    subtree_of,
    subtree_of_run,
)
from proto.chiptrace.v1.ledger_pb2 import StateProof

ReadPage = Callable[[bytes], bytes | None]
# Pages as they are in memory by their paths; None: there is no such page any more.
Layer = Mapping[bytes, bytes | None]


def _nibble(hashed_key: bytes, depth: int) -> int:
    byte = hashed_key[depth >> 1]
    return byte & 15 if depth & 1 else byte >> 4


def _run(page: bytes | bytearray, slot: int) -> bytes:
    """The leaves of a slot."""
    start, end = run_at(page, slot)
    return bytes(page[start:end])


def _is_lone(taken: int, lone: int) -> bool:
    """Whether of these slots one is taken, and by one leaf: such a subtree is that leaf, however deep it is."""
    return taken != 0 and taken & (taken - 1) == 0 and taken & lone != 0


def _by_slot(items: list[Item], depth: int) -> Iterable[tuple[int, list[Item]]]:
    """The items of a page slot by slot."""
    if len(items) == 1:  # as in most pages
        return ((_nibble(items[0][0], depth), items),)
    groups: dict[int, list[Item]] = {}
    for item in items:
        groups.setdefault(_nibble(item[0], depth), []).append(item)
    return groups.items()


@dataclass(frozen=True, slots=True)
class TreeUpdate:
    """What an update comes to: the new root, the pages that changed with it, as they are in memory, and what it did to
    each (page_rows.py)."""

    root: bytes
    changed: Layer
    touched: Mapping[bytes, int]

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
    touched: dict[bytes, int] = field(default_factory=dict)
    replaced: dict[bytes, bytes] = field(default_factory=dict)


def _keep(work: _Work, path: bytes, page: bytearray, subtree: bytes, touched: int) -> bytes:
    """Keeps a page, made of the one with this subtree by changing these slots. One that has come down to a run, or to
    nothing, is none: returns the run."""
    if len(page) <= LEAVES_AT + RUN_MAX * LEAF_BYTES:
        lone, many, taken = masks_of(page)
        if taken == lone | many and (path[0] or not taken):
            if subtree != ZERO:
                work.changed[path], work.touched[path] = None, GONE
            return bytes(page[LEAVES_AT:])
    work.changed[path], work.touched[path] = bytes(page), MADE if subtree == ZERO else touched
    return b""


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
        self._leaf_tag = leaf_tag(Purpose.STATE_LEAF, chain_id)

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
            return TreeUpdate(self._root, {}, {})
        before_leaf = self._leaf_tag
        items = [
            (key, leaf := key + value, sha256(before_leaf + leaf).digest())
            if value != ZERO
            else (key, b"", ZERO)
            for key, value in sorted(hashed.items())
        ]
        work = _Work()
        root, _ = self._apply(work, items, 0, self._root)
        self._cache.renew(work.replaced, work.changed)
        return TreeUpdate(root, work.changed, work.touched)

    def _apply(self, work: _Work, items: list[Item], depth: int, subtree: bytes) -> tuple[bytes, bytes]:
        """Applies items to the page above them all, `depth` nibbles down, whose subtree has this hash (ZERO: no page).

        Returns the hash of the subtree, and its leaves where they have become so few that they are a run (then without
        a page, unless it is the root's).
        """
        if len(items) == 1 and items[0][1] and subtree != ZERO:
            return self._apply_one(work, items, depth, subtree)
        path = page_path(items[0][0], depth)
        old = NO_PAGE if subtree == ZERO else self._load(path, subtree)
        page = bytearray(old)
        touched = 0
        for slot, group in _by_slot(items, depth):
            before = old[NODES[SLOTS + slot]]
            if before == ZERO or old[COUNTS_AT + slot]:
                after, run = self._apply_run(work, group, depth, before, _run(page, slot))
            else:
                after, run = self._apply(work, group, depth + 1, before)
            if after != before:
                touched |= 1 << slot
                set_slot(page, slot, after, run)
        if not touched:
            return subtree, b""
        after = rehash(page, touched)
        if subtree != ZERO:
            work.replaced[path] = subtree
        return after, _keep(work, path, page, subtree, touched)

    def _apply_one(self, work: _Work, items: list[Item], depth: int, subtree: bytes) -> tuple[bytes, bytes]:
        """`_apply` of one key that is set: a straight way down, and up again past one sibling at each node."""
        key, first = items[0][0], subtree
        way: list[tuple[bytes, bytes, int, bytes]] = []
        while True:
            path = page_path(key, depth)
            old = self._load(path, subtree)
            slot = _nibble(key, depth)
            way.append((path, old, slot, subtree))
            after = old[NODES[SLOTS + slot]]
            if after == ZERO or old[COUNTS_AT + slot]:
                break
            subtree = after
            depth += 1
        found, run = self._apply_run(work, items, depth, after, _run(old, slot))
        if found == after:
            return first, b""
        for path, old, slot, subtree in reversed(way):
            page = bytearray(old)
            set_slot(page, slot, found, run)
            found = climb(page, slot, len(run) == LEAF_BYTES)
            work.replaced[path] = subtree
            run = _keep(work, path, page, subtree, 1 << slot)
        return found, run

    def _apply_run(
        self, work: _Work, group: list[Item], depth: int, before: bytes, run: bytes
    ) -> tuple[bytes, bytes]:
        """What a slot that holds this run, or is empty, comes to by these items: as `_apply`."""
        if len(group) == 1:
            key, leaf, after = group[0]
            if leaf and (not run or (len(run) == LEAF_BYTES and run.startswith(key))):
                return after, leaf  # as most often
        changed = {item[0] for item in group}
        there = [item for item in group if item[1]]
        for at in range(0, len(run), LEAF_BYTES):
            if (key := run[at : at + HASH_BYTES]) not in changed:
                leaf = run[at : at + LEAF_BYTES]
                there.append((key, leaf, sha256(self._leaf_tag + leaf).digest()))
        if not there:
            return ZERO, b""
        there.sort()
        made = b"".join([item[1] for item in there])
        if made == run:
            return before, run
        if len(there) > RUN_MAX:
            return self._apply(work, there, depth + 1, ZERO)
        return subtree_of_run(there, SLOT_BITS * (depth + 1)), made

    def _load(self, path: bytes, subtree: bytes) -> bytes:
        """The page at a path whose subtree has this hash, which its parent holds."""
        page = self._cache.get(path, subtree)
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
        self._cache.put(path, page)
        return page

    def prove(self, key: bytes) -> StateProof:
        """The proof for this key: of its value if it has one, else of its absence (tree_proof.verify).

        In an empty tree the proof is empty, and verifies under nothing. Raises StoreError as `update` does.
        """
        return self.prove_hashed(sha256(self._key_tag + key).digest())

    def prove_hashed(self, hashed_key: bytes) -> StateProof:
        """As `prove`, of the key with this hash."""
        try:
            return self._prove(hashed_key)
        except StoreError:
            # In a store from before there were runs, a version may have as a run what another, whose page is in the
            # cache under the same hash, has as a page below. Read anew, the pages tell whether it is no more than that.
            self._cache.clear()
            return self._prove(hashed_key)

    def _prove(self, hashed_key: bytes) -> StateProof:
        path: list[bytes] = []  # siblings from the root, ZERO where empty
        leaf = b""
        for page, page_depth in self._descend(hashed_key):
            lone, many, taken = masks_of(page)
            node = 1
            slot = remaining = _nibble(hashed_key, page_depth)
            while node < SLOTS and taken & SPANS[node] and not _is_lone(taken & SPANS[node], lone):
                node = node << 1 | remaining >> 3 & 1
                remaining = remaining << 1 & 15
                path.append(page[NODES[node ^ 1]])
            below = taken & SPANS[node]
            if _is_lone(below, lone):
                leaf = _run(page, below.bit_length() - 1)
            elif below & many and node >= SLOTS:
                leaf = self._prove_run(hashed_key, SLOT_BITS * (page_depth + 1), _run(page, slot), path)
        depth, bits = len(path), 0
        for sibling in path:
            bits = bits << 1 | (sibling != ZERO)
        proof = StateProof(
            depth=depth,
            bitmap=(bits << -depth % 8).to_bytes((depth + 7) // 8, "big"),
            siblings=[sibling for sibling in path if sibling != ZERO],
        )
        if leaf and not leaf.startswith(hashed_key):
            proof.other_key_hash, proof.other_value_hash = leaf[:HASH_BYTES], leaf[HASH_BYTES:]
        return proof

    def _prove_run(self, hashed_key: bytes, bit: int, run: bytes, path: list[bytes]) -> bytes:
        """Goes on with the path of a proof below a slot that holds several leaves; returns the one where it ends."""
        there = items_of_run(run, self._leaf_tag)
        while len(there) > 1:
            byte, mask = bit >> 3, 128 >> (bit & 7)
            side = hashed_key[byte] & mask
            beside = [item for item in there if item[0][byte] & mask != side]
            there = [item for item in there if item[0][byte] & mask == side]
            bit += 1
            path.append(subtree_of_run(beside, bit) if beside else ZERO)
        return there[0][1] if there else b""

    def _descend(self, hashed_key: bytes) -> Iterator[tuple[bytes, int]]:
        """The pages on the way to a key with their depths in nibbles, down to where no page is."""
        subtree = self._root
        depth = 0
        while subtree != ZERO:
            page = self._load(page_path(hashed_key, depth), subtree)
            yield page, depth
            slot = _nibble(hashed_key, depth)
            subtree = ZERO if page[COUNTS_AT + slot] else page[NODES[SLOTS + slot]]
            depth += 1
