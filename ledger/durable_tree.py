"""The state tree as it is on the disk: pages of some height, and for each height since then what it changed.

A height's batch holds one row, its delta: the hashed keys and values that it set, with the root before and the root
after. The pages that it changed stay in memory, as a layer over those on the disk. When the deltas come to more than
KEYS_BEHIND_MAX keys, a height's batch instead writes the pages of all layers and deletes the deltas. So a page
under the root, which every height changes, is written once for many heights.

Opening applies the deltas to the pages on the disk, which leads to the tip's root or to nothing. Who reads an older
height holds its snapshot of the rows and, from the same moment, its layers; neither ever changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ledger import rows
from ledger.errors import StoreError
from ledger.hashes import HASH_BYTES
from ledger.kv import Change, KeyValue, Snapshot
from ledger.pages import PAGES_CACHED_DEFAULT, UPPER_PAGES_MAX, PageCache
from ledger.tree import Layer, StateTree, stored_form

# Opening a store takes about 50 µs for each of these keys, and the batch that writes the pages about two pages.
KEYS_BEHIND_MAX: Final = 8_192
PROOF_PAGES_CACHED: Final = 4_096  # decoded; apart from the writer's, whose thread they must not meet
_ITEM_BYTES: Final = 2 * HASH_BYTES

Layers = tuple[Layer, ...]  # the newest first


def encode_delta(before: bytes, after: bytes, hashed: Mapping[bytes, bytes]) -> bytes:
    """A delta's row: both roots, then key hash ‖ value hash (ZERO: deleted), in order of the keys."""
    items = [item for pair in sorted(hashed.items()) for item in pair]
    return b"".join((before, after, *items))


def decode_delta(row: bytes, data: bytes) -> tuple[bytes, bytes, dict[bytes, bytes]]:
    """(root before, root after, changes) of a delta. Raises StoreError."""
    if len(data) <= _ITEM_BYTES or len(data) % _ITEM_BYTES:
        raise rows.damaged(row, "ends within an item")
    hashed = {
        data[at : at + HASH_BYTES]: data[at + HASH_BYTES : at + _ITEM_BYTES]
        for at in range(_ITEM_BYTES, len(data), _ITEM_BYTES)
    }
    return data[:HASH_BYTES], data[HASH_BYTES:_ITEM_BYTES], hashed


def stacked(newest: Layer, layers: Layers) -> Layers:
    """The layers with one more on top. Those that are not much larger than what comes over them become one with it,
    so that there are never more than some fifteen, and a page is copied from dict to dict as seldom."""
    while layers and len(layers[0]) <= 2 * len(newest):
        newest, layers = {**layers[0], **newest}, layers[1:]
    return (newest, *layers)


@dataclass(frozen=True, slots=True)
class TreeStep:
    """What a height does to the tree: its root, its rows, and what stands here once these are on the disk."""

    root: bytes
    rows: list[Change]
    layers: Layers
    deltas: tuple[bytes, ...]  # the rows of those that are on the disk then
    keys_behind: int


class DurableTree:
    """The tree of a store. `update` changes nothing; `written` is told that its rows are on the disk."""

    def __init__(self, kv: KeyValue) -> None:
        self._kv = kv
        self._pages = PageCache(PAGES_CACHED_DEFAULT, UPPER_PAGES_MAX)
        self._proof_pages = PageCache(PROOF_PAGES_CACHED)
        self._layers: Layers = ()
        self._deltas: tuple[bytes, ...] = ()
        self._keys_behind = 0

    @property
    def layers(self) -> Layers:
        """Pages of the tip that are not on the disk; belongs to a snapshot that the writer takes at this moment."""
        return self._layers

    def open(self, chain_id: bytes, root: bytes) -> None:
        """Brings the tree from the pages on the disk to this root. Raises StoreError when the deltas do not."""
        hashed: dict[bytes, bytes] = {}
        found: list[bytes] = []
        first = last = root
        # (1) Each delta is whole and in its place, and goes on where the one before it ended.
        for row, stored in self._kv.iterate(rows.DELTA, rows.after(rows.DELTA)):
            before, after, changes = decode_delta(row, rows.unseal(row, stored))
            if not found:
                first = before
            elif before != last:
                raise rows.damaged(row, "does not follow on the one before it")
            last = after
            found.append(row)
            hashed.update(changes)
            self._keys_behind += len(changes)
        # (2) They end at the tip, by their own word, (3) and by their content, from pages that hash to the first root.
        update = self.tree(chain_id, first).update_hashed(hashed)
        if last != root or update.root != root:
            raise StoreError(
                f"the pages of the state tree and the {len(found)} rows of changes since do not lead to the tip. "
                "Stop the node, keep the directory, and sync anew or restore a backup."
            )
        self._layers = stacked(update.changed, ()) if found else ()
        self._deltas = tuple(found)
        # (4) The root's page is there, also where nothing changed since.
        self.tree(chain_id, root).prove(b"")

    def tree(self, chain_id: bytes, root: bytes) -> StateTree:
        """The tree of the tip, for the thread that writes."""
        return StateTree(
            chain_id, lambda path: self._kv.look(rows.PAGE + path), root, self._pages, self._layers
        )

    def past(self, chain_id: bytes, root: bytes, snapshot: Snapshot, layers: Layers) -> StateTree:
        """The tree as it was when snapshot and layers were taken, for the thread that proves."""
        return StateTree(
            chain_id, lambda path: snapshot.get(rows.PAGE + path), root, self._proof_pages, layers
        )

    def update(
        self, chain_id: bytes, root: bytes, height: int, changes: Mapping[bytes, bytes | None]
    ) -> TreeStep:
        """What a height comes to that changes these keys of the tip, whose root this is."""
        tree = self.tree(chain_id, root)
        hashed = tree.hashed(changes)
        update = tree.update_hashed(hashed)
        keys_behind = self._keys_behind + len(hashed)
        if keys_behind > KEYS_BEHIND_MAX:
            everything: dict[bytes, bytes | None] = {}
            for layer in (*reversed(self._layers), update.changed):
                everything.update(layer)
            batch: list[Change] = [(rows.PAGE + path, page) for path, page in stored_form(everything).items()]
            batch.extend((row, None) for row in self._deltas)
            return TreeStep(update.root, batch, (), (), 0)
        if not hashed:
            return TreeStep(update.root, [], self._layers, self._deltas, keys_behind)
        row = rows.delta_row(height)
        return TreeStep(
            update.root,
            [rows.sealed(row, encode_delta(root, update.root, hashed))],
            stacked(update.changed, self._layers),
            (*self._deltas, row),
            keys_behind,
        )

    def written(self, step: TreeStep) -> None:
        """The step's rows are durable."""
        self._layers, self._deltas, self._keys_behind = step.layers, step.deltas, step.keys_behind
