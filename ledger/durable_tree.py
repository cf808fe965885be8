"""The state tree as it is on the disk: pages of a while ago, and for each height since then what it changed.

The sixteen subtrees below the root's page are the parts of the tree. A height's batch holds one row, its delta: the
hashed keys and values that it set. The pages that it changed stay in memory, in layers over those on the disk. After
every KEYS_PER_PART keys the batch of a height also writes what changed in the pages of one part, that which waits longest, and the
root's page on the disk then names this part as it is now and the others as they still are there. So the disk always
holds a whole tree, of which each part is of its own height, and a page high up is written once for many heights;
deltas go when no part needs them any more.

Opening applies the deltas to the tree on the disk. That leads to the tip's root, or the store does not open: a tree is
what its keys and values are, whatever the order in which they came. Who reads an older height holds its snapshot of the
rows and, from the same moment, its layers; neither ever changes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ledger import rows
from ledger.errors import StoreError
from ledger.hashes import HASH_BYTES, ZERO, Purpose, leaf_tag
from ledger.kv import Change, KeyValue, Snapshot
from ledger.page_rows import changes_of, page_of, range_of, touched_again
from ledger.pages import (
    NO_PAGE,
    PAGES_CACHED_DEFAULT,
    SLOTS,
    UPPER_PAGES_MAX,
    PageCache,
    decode_page,
    encode_page,
    subtree_of,
    with_slot,
)
from ledger.tree import Layer, StateTree

# Deltas hold up to 17 times as many keys, and opening takes up to 90 µs for each, for its pages are read cold; the batch
# that writes a part writes one or two rows for each.
KEYS_PER_PART: Final = 512
PROOF_PAGES_CACHED: Final = 4_096  # decoded; apart from the writer's, whose thread they must not meet
_PARTS: Final = SLOTS
_ROOT_PATH: Final = b"\0"
_ITEM_BYTES: Final = 2 * HASH_BYTES
_DELTA_HEAD_BYTES: Final = 2 * HASH_BYTES + 2


@dataclass(frozen=True, slots=True)
class Delta:
    """What a height changed in the tree."""

    before: bytes  # root
    after: bytes
    written: int  # the parts whose pages the height wrote, as bits
    hashed: Mapping[bytes, bytes]  # key hash to value hash, ZERO where the key is deleted


def encode_delta(delta: Delta) -> bytes:
    """Both roots, be16 parts, then key hash ‖ value hash (ZERO: deleted), in order of the keys."""
    items = [item for pair in sorted(delta.hashed.items()) for item in pair]
    return b"".join((delta.before, delta.after, delta.written.to_bytes(2, "big"), *items))


def decode_delta(row: bytes, data: bytes) -> Delta:
    """A delta from its row. Raises StoreError."""
    if len(data) <= _DELTA_HEAD_BYTES or (len(data) - _DELTA_HEAD_BYTES) % _ITEM_BYTES:
        raise rows.damaged(row, "ends within an item")
    hashed = {
        data[at : at + HASH_BYTES]: data[at + HASH_BYTES : at + _ITEM_BYTES]
        for at in range(_DELTA_HEAD_BYTES, len(data), _ITEM_BYTES)
    }
    written = int.from_bytes(data[2 * HASH_BYTES : _DELTA_HEAD_BYTES], "big")
    return Delta(data[:HASH_BYTES], data[HASH_BYTES : 2 * HASH_BYTES], written, hashed)


def stacked(newest: Layer, stack: Sequence[Layer]) -> tuple[Layer, ...]:
    """Layers, the newest first, with one more on top. Those that are not much larger than what comes over them become
    one with it, so that they stay few, and a page is copied from dict to dict as seldom."""
    count = 0
    while count < len(stack) and len(stack[count]) <= 2 * len(newest):
        newest = {**stack[count], **newest}
        count += 1
    return (newest, *stack[count:])


def _stack_of(path: bytes) -> int:
    """The part in which a page is; the root's page is in none."""
    return path[1] >> 4 if path[0] else _PARTS


@dataclass(frozen=True, slots=True)
class Layers:
    """The pages of one moment that are newer than those on the disk, part by part and those of the root's page last.
    Never changes, so that any thread may read it."""

    stacks: tuple[Sequence[Layer], ...] = ((),) * (_PARTS + 1)
    fresh: tuple[int, ...] = (0,) * (_PARTS + 1)  # of each stack: pages that came last

    @property
    def own_pages(self) -> int:
        """How many pages no earlier moment had: about what it costs to keep this one too."""
        return sum(self.fresh)

    def over(self, path: bytes) -> Sequence[Layer]:
        """The layers that a page may be in, the newest first."""
        return self.stacks[_stack_of(path)]

    def changed(self, pages: Layer) -> "Layers":
        """With these pages on top."""
        split: dict[int, dict[bytes, bytes | None]] = {}
        for path, page in pages.items():
            split.setdefault(_stack_of(path), {})[path] = page
        stacks = list(self.stacks)
        for number, newest in split.items():
            stacks[number] = stacked(newest, stacks[number])
        return Layers(tuple(stacks), tuple(len(split.get(number, ())) for number in range(_PARTS + 1)))

    def without(self, part: int) -> "Layers":
        """When the pages of a part are on the disk."""
        fresh = (*self.fresh[:part], 0, *self.fresh[part + 1 :])
        return Layers((*self.stacks[:part], (), *self.stacks[part + 1 :]), fresh)

    def newest(self, part: int) -> Layer:
        """The pages of a part, each as it is now."""
        pages: dict[bytes, bytes | None] = {}
        for layer in reversed(self.stacks[part]):
            pages.update(layer)
        return pages


@dataclass(frozen=True, slots=True)
class OnDisk:
    """How far the disk is behind the tip."""

    root_page: bytes = NO_PAGE  # as it is there
    heights: tuple[int, ...] = (-1,) * _PARTS  # of each part
    deltas: tuple[int, ...] = ()  # their heights
    keys: int = 0  # changed since a part was written last


@dataclass(frozen=True, slots=True)
class TreeStep:
    """What a height does to the tree: its root, its rows, and what stands here once these are on the disk."""

    root: bytes
    rows: list[Change]
    layers: Layers
    disk: OnDisk
    touched: Mapping[bytes, int]  # what it did to each page (page_rows.py)
    parts: Sequence[int] = ()  # that it writes


class DurableTree:
    """The tree of a store. `update` changes nothing; `written` is told that its rows are on the disk."""

    def __init__(self, kv: KeyValue) -> None:
        self._kv = kv
        self._pages = PageCache(PAGES_CACHED_DEFAULT, UPPER_PAGES_MAX)
        self._proof_pages = PageCache(PROOF_PAGES_CACHED)
        self._layers = Layers()
        self._disk = OnDisk()
        # Part by part: what was done to its pages since they were written.
        self._unwritten: list[dict[bytes, int]] = [{} for _ in range(_PARTS)]

    @property
    def layers(self) -> Layers:
        """The tip's; belong to a snapshot that the writer takes at this moment."""
        return self._layers

    def open(self, chain_id: bytes, root: bytes) -> None:
        """Brings the tree on the disk to this root. Raises StoreError when what is there does not come to it."""
        # (1) Each delta is whole and in its place, and goes on where the one before it ended.
        deltas: dict[int, Delta] = {}
        hashed: dict[bytes, bytes] = {}
        heights, keys, last = [-1] * _PARTS, 0, root
        for row, stored in self._kv.iterate(rows.DELTA, rows.after(rows.DELTA)):
            delta, height = decode_delta(row, rows.unseal(row, stored)), rows.height_of(row)
            if deltas and delta.before != last:
                raise rows.damaged(row, "does not follow on the one before it")
            last, deltas[height] = delta.after, delta
            hashed.update(delta.hashed)
            heights = [height if delta.written >> part & 1 else heights[part] for part in range(_PARTS)]
            keys = 0 if delta.written else keys + len(delta.hashed)
        # (2) By their own word they end at the tip, (3) and by their content, from pages each of which hashes to what
        # stands above it; the root's page, to itself.
        data = self._kv.get(rows.PAGE + _ROOT_PATH)
        before_leaf = leaf_tag(Purpose.STATE_LEAF, chain_id)
        root_page = NO_PAGE if data is None else decode_page(_ROOT_PATH, data, before_leaf)
        update = self.tree(chain_id, subtree_of(root_page)).update_hashed(hashed)
        if last != root or update.root != root:
            raise StoreError(
                f"the pages of the state tree and the {len(deltas)} rows of changes to them do not come to the tip. "
                "Stop the node, keep the directory, and sync anew or restore a backup."
            )
        self._layers = Layers().changed(update.changed)
        self._disk = OnDisk(root_page, tuple(heights), tuple(deltas), keys)
        self._unwritten = [_with(update.touched, part, {}) for part in range(_PARTS)]

    def tree(self, chain_id: bytes, root: bytes) -> StateTree:
        """The tree of the tip, for the thread that writes."""
        return StateTree(
            chain_id,
            lambda path: page_of(path, self._kv.look_between(*range_of(path))),
            root,
            self._pages,
            self._layers.over,
        )

    def past(self, chain_id: bytes, root: bytes, snapshot: Snapshot, layers: Layers) -> StateTree:
        """The tree as it was when snapshot and layers were taken, for the thread that proves."""
        look_between = snapshot.looking()
        return StateTree(
            chain_id,
            lambda path: page_of(path, look_between(*range_of(path))),
            root,
            self._proof_pages,
            layers.over,
        )

    def update(
        self, chain_id: bytes, root: bytes, height: int, changes: Mapping[bytes, bytes | None]
    ) -> TreeStep:
        """What a height comes to that changes these keys of the tip, whose root this is."""
        tree = self.tree(chain_id, root)
        hashed = tree.hashed(changes)
        if not hashed:
            return TreeStep(root, [], self._layers.changed({}), self._disk, {})
        update = tree.update_hashed(hashed)
        layers, disk = self._layers.changed(update.changed), self._disk
        due, keys = divmod(disk.keys + len(hashed), KEYS_PER_PART)
        parts = sorted(range(_PARTS), key=lambda part: disk.heights[part])[:due]
        unwritten = {part: _with(update.touched, part, self._unwritten[part]) for part in parts}
        batch, layers, disk = _write_parts(unwritten, height, layers, replace(disk, keys=keys))
        if min(disk.heights) < height:
            written = sum(1 << part for part in parts)
            delta = Delta(root, update.root, written, hashed)
            batch.append(rows.sealed(rows.delta_row(height), encode_delta(delta)))
            disk = replace(disk, deltas=(*disk.deltas, height))
        return TreeStep(update.root, batch, layers, disk, update.touched, parts)

    def written(self, step: TreeStep) -> None:
        """The step's rows are durable."""
        self._layers, self._disk = step.layers, step.disk
        for path, touched in step.touched.items():
            if path[0]:
                unwritten = self._unwritten[_stack_of(path)]
                unwritten[path] = touched_again(unwritten.get(path, 0), touched)
        for part in step.parts:
            self._unwritten[part] = {}


def _with(touched: Mapping[bytes, int], part: int, unwritten: Mapping[bytes, int]) -> dict[bytes, int]:
    """What was done to the pages of a part, with what an update does to them after it."""
    found = dict(unwritten)
    for path, now in touched.items():
        if _stack_of(path) == part:
            found[path] = touched_again(found.get(path, 0), now)
    return found


def _write_parts(
    parts: Mapping[int, Mapping[bytes, int]], height: int, layers: Layers, disk: OnDisk
) -> tuple[list[Change], Layers, OnDisk]:
    """The rows that bring these parts on the disk to where the layers are, and delete the deltas that no part needs
    any more; and how it is then. parts: with what was done to the pages of each."""
    if not parts:
        return [], layers, disk
    batch: list[Change] = []
    root_page, heights = disk.root_page, list(disk.heights)
    # In no layer: as it is on the disk. None: the tree is empty.
    now = layers.newest(_PARTS).get(_ROOT_PATH, disk.root_page) or NO_PAGE
    for part, unwritten in parts.items():
        for path, page in layers.newest(part).items():
            batch.extend(changes_of(path, page, unwritten[path]))
        layers, heights[part] = layers.without(part), height
        root_page = with_slot(root_page, part, now)
    empty = subtree_of(root_page) == ZERO
    batch.append((rows.PAGE + _ROOT_PATH, None if empty else encode_page(root_page)))
    needed = tuple(one for one in disk.deltas if one > min(heights))
    batch.extend((rows.delta_row(one), None) for one in disk.deltas if one <= min(heights))
    return batch, layers, replace(disk, root_page=root_page, heights=tuple(heights), deltas=needed)
