"""Makes a store out of a snapshot, believing nothing of it: what is written is what the certified hashes allow.

The caller has verified headers and hands over what the snapshot must come to (`Anchor`). Chunks come in order. Each
section of the stream is checked against what it must come to as it ends, so that a lie is found as early as can be:
the log against its root, the state rows against the state root, each history against its record, each block
against its log leaf. The rows of a store are written on the way, into a key-value store that was empty; the row of
the tip, without which there is no chain, is written last and alone makes it one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ledger import block, merkle, rows, snapshot, state
from ledger.errors import Invalid, InvariantBroken, StoreError
from ledger.hashes import ZERO
from ledger.history import entry_leaf
from ledger.kv import Change, KeyValue
from ledger.limits import SNAPSHOT_RECORD_BYTES_MAX
from ledger.merkle import MerkleLog
from ledger.pages import PageCache
from ledger.rows import BoundaryHeader, Tip
from ledger.snapshot import RECORD_HEAD_BYTES, SideTables
from ledger.tree import StateTree
from proto.chiptrace.v1.ledger_pb2 import AppHashOpening, Entry, KeyRecord, Reason

_BATCH_BYTES: Final = 4_194_304
_BATCH_STATE_ROWS: Final = 16_384
# What may follow what in the stream; the end may come after results only.
_FOLLOWS: Final = {
    b"": (snapshot.LEAVES,),
    snapshot.LEAVES: (snapshot.LEAVES, snapshot.STATES),
    snapshot.STATES: (snapshot.STATES, snapshot.ENTRIES, snapshot.BLOCKS),
    snapshot.ENTRIES: (snapshot.ENTRIES, snapshot.BLOCKS),
    snapshot.BLOCKS: (snapshot.RESULTS,),
    snapshot.RESULTS: (snapshot.BLOCKS,),
}


@dataclass(frozen=True, slots=True)
class Anchor:
    """What is known of a height from headers that a quorum certified; the snapshot has to come to exactly this."""

    chain_id: bytes
    height: int
    time_ms: int
    block_hash: bytes
    opening: AppHashOpening  # of the app_hash in header height + 1
    certificate: bytes  # of the block of this height
    boundaries: Sequence[BoundaryHeader]  # every header up to this height after which the set is another
    checkpoint: tuple[int, bytes] | None = None  # (height, block hash) that somebody trusts besides


class SnapshotLoader:
    """Takes the chunks of one snapshot, in order, into an empty key-value store."""

    def __init__(
        self, kv: KeyValue, anchor: Anchor, genesis: bytes, manifest: bytes, tables: SideTables
    ) -> None:
        """Raises Malformed or Invalid for a manifest that cannot be the anchor's, StoreError unless the store is
        empty."""
        self.manifest = snapshot.decode_manifest(anchor.chain_id, manifest)
        opening = anchor.opening
        if self.manifest.height != anchor.height or opening.log_size != anchor.height:
            raise _refuse(f"it is of height {self.manifest.height}, not {anchor.height}")
        if next(iter(kv.iterate(b"", None)), None) is not None:
            raise StoreError("a snapshot is loaded into an empty store only; clear the directory")
        self._kv = kv
        self._anchor = anchor
        self._genesis = genesis
        self._tables = tables
        self._next = 0
        self._pending = bytearray()
        self._letter = b""
        self._batch: list[Change] = []
        self._batch_bytes = 0
        # The log, the tree, the history under hand and the next block, as far as they have come.
        self._log = MerkleLog(self._log_node, 0)
        self._blocks_from = 0
        self._pages = PageCache()
        self._root = ZERO
        self._states: dict[bytes, bytes | None] = {}
        self._last_key = b""
        self._histories = 0  # that the state rows hold and no entries have shown yet
        self._subject = b""
        self._entries = 0
        self._frontier: list[bytes] = []
        self._height = 0  # of the next block

    @property
    def next_chunk(self) -> int:
        """The index of the chunk to apply next."""
        return self._next

    @property
    def done(self) -> bool:
        """Whether the store is made."""
        return self._next == len(self.manifest.chunks)

    def apply(self, index: int, chunk: bytes) -> None:
        """Takes the next chunk. The last one makes the store, durably.

        Raises Invalid(BAD_PROOF) or Malformed when the snapshot is not that of the anchor: then all of it is
        worthless and what was written is to be thrown away.
        """
        if index != self._next or self.done:
            raise _refuse(f"chunk {index} was given where {self._next} is next")
        # (1) The manifest's chunk.
        snapshot.check_chunk(self._anchor.chain_id, self.manifest, index, chunk)
        # (2) Record by record, each in its place.
        self._pending += chunk
        position = self._take_records()
        del self._pending[:position]
        self._next += 1
        if self._next == len(self.manifest.chunks):
            self._finish()

    def _take_records(self) -> int:
        position = 0
        while len(self._pending) - position >= RECORD_HEAD_BYTES:
            start = position + RECORD_HEAD_BYTES
            end = start + int.from_bytes(self._pending[position + 1 : start], "big")
            if end - start > SNAPSHOT_RECORD_BYTES_MAX:
                raise _refuse(f"a record has {end - start} bytes")
            if end > len(self._pending):
                break
            self._take(bytes(self._pending[position : position + 1]), bytes(self._pending[start:end]))
            position = end
        return position

    def _take(self, letter: bytes, payload: bytes) -> None:
        if letter not in _FOLLOWS[self._letter]:
            raise _refuse(f"a record {letter!r} follows one of {self._letter!r}")
        if letter != self._letter:
            self._end_section(letter)
            self._letter = letter
        if letter == snapshot.LEAVES:
            self._take_leaf(payload)
        elif letter == snapshot.STATES:
            self._take_state(payload)
        elif letter == snapshot.ENTRIES:
            self._take_entry(payload)
        elif letter == snapshot.BLOCKS:
            self._take_block(payload)
        else:
            self._take_results(payload)

    def _end_section(self, following: bytes) -> None:
        """Whole sections come to what the anchor says."""
        if self._letter == snapshot.LEAVES:
            self._end_log()
        elif self._letter == snapshot.STATES:
            self._end_states()
        elif self._letter == snapshot.ENTRIES:
            self._end_history()
        if following == snapshot.BLOCKS and self._letter != snapshot.RESULTS:
            self._flush()
            if self._histories:
                raise _refuse(f"{self._histories} histories have no entries")
            self._height = self._blocks_from

    # ---- the log --------------------------------------------------------------------------------------------

    def _take_leaf(self, payload: bytes) -> None:
        leaf = block.parse_log_leaf(payload)
        if leaf.height != self._log.size + 1 or leaf.height > self._anchor.height:
            raise _refuse(f"the log leaf of height {leaf.height} follows {self._log.size} leaves")
        if not self._blocks_from and leaf.time_ms >= snapshot.first_block_time(self._anchor.time_ms):
            self._blocks_from = leaf.height
        nodes = self._log.append(block.log_leaf_hash(self._anchor.chain_id, payload))
        self._put(rows.log_leaf_row(leaf.height), payload)
        for level, index, node in nodes:
            self._put(rows.log_node_row(level, index), node)

    def _end_log(self) -> None:
        anchor = self._anchor
        if self._log.size != anchor.height or self._log.root() != anchor.opening.log_root:
            raise _refuse(f"{self._log.size} log leaves do not come to the certified log")
        self._flush()
        leaf = self._leaf(anchor.height)
        if (leaf.block_hash, leaf.time_ms) != (anchor.block_hash, anchor.time_ms):
            raise _refuse("the last log leaf is not that of the certified block")
        if anchor.checkpoint and self._leaf(anchor.checkpoint[0]).block_hash != anchor.checkpoint[1]:
            raise _refuse(f"the log has another block at height {anchor.checkpoint[0]} than the checkpoint")
        for boundary in anchor.boundaries:
            if self._leaf(boundary.height).block_hash != block.block_hash(anchor.chain_id, boundary.header):
                raise _refuse(f"the log has another block at height {boundary.height}, where the set changes")

    # ---- the state ------------------------------------------------------------------------------------------

    def _take_state(self, payload: bytes) -> None:
        key, value, attached = snapshot.split_state(payload)
        # Strictly ascending: no key twice. That none is missing, or false, the root tells.
        if key <= self._last_key:
            raise _refuse(f"state row {key.hex()} is out of order")
        self._last_key = key
        self._states[key] = value
        self._histories += snapshot.history_in(key, value) is not None
        self._put(rows.STATE + key, value)
        for side, row in self._tables.restore(key, value, attached, self._anchor.height):
            self._put(rows.SIDE + side, row)
        if len(self._states) >= _BATCH_STATE_ROWS:
            self._flush()

    def _end_states(self) -> None:
        self._flush()
        if self._root != self._anchor.opening.state_root:
            raise _refuse("the state rows do not come to the certified state root")

    def _update_tree(self) -> None:
        if not self._states:
            return
        tree = StateTree(
            self._anchor.chain_id, lambda path: self._kv.get(rows.PAGE + path), self._root, self._pages
        )
        update = tree.update(self._states)
        self._root = update.root
        self._states = {}
        self._batch.extend((rows.PAGE + path, page) for path, page in update.pages.items())

    # ---- histories ------------------------------------------------------------------------------------------

    def _take_entry(self, payload: bytes) -> None:
        subject, entry = snapshot.split_keyed(payload)
        if not subject:
            raise _refuse("an entry is of no subject")
        if subject != self._subject:
            self._end_history()
            if (len(subject), subject) <= (len(self._subject), self._subject):
                raise _refuse(f"entries of {subject.hex()} are out of order")
            self._subject, self._entries, self._frontier = subject, 0, []
        leaf = entry_leaf(self._anchor.chain_id, entry)
        self._frontier = merkle.append(self._entries, self._frontier, leaf)
        self._put(rows.entry_row(subject, self._entries), entry)
        self._entries += 1

    def _end_history(self) -> None:
        """The entries of a subject give the very (n, frontier) of its record."""
        if not self._subject:
            return
        value = self._get(rows.STATE + self._subject)
        history = None if value is None else snapshot.history_in(self._subject, value)
        if history is None or (history.n, list(history.frontier)) != (self._entries, self._frontier):
            raise _refuse(f"{self._entries} entries of {self._subject.hex()} are not what its record counts")
        self._histories -= 1

    # ---- blocks -----------------------------------------------------------------------------------------------

    def _take_block(self, payload: bytes) -> None:
        if self._height > self._anchor.height:
            raise _refuse(f"it holds a block of height {self._height}")
        chain_id, leaf = self._anchor.chain_id, self._leaf(self._height)
        content = block.decode_block(payload)
        if block.block_hash(chain_id, content.header) != leaf.block_hash:
            raise _refuse(f"the block of height {self._height} is another than was decided")
        header = block.decode_header(content.header)
        found = [block.parse_transaction(chain_id, data) for data in content.transactions]
        if block.transactions_root(chain_id, found) != header.transactions_root:
            raise _refuse(f"the block of height {self._height} holds other transactions than were decided")
        if block.recovery_mark(chain_id, content.recovery) != header.recovery:
            raise _refuse(f"the block of height {self._height} holds another recovery than was decided")
        owners = [self._owner(transaction.body.signer) for transaction in found]
        self._put(rows.block_row(self._height), payload)
        self._batch.extend(rows.transaction_rows(self._height, leaf.time_ms, found, owners))

    def _owner(self, signer: bytes) -> bytes:
        """Whose the idempotency key was when the block was judged, by the state before it: a key is registered
        once, and the first entry of its history says when."""
        key = state.signer_key(signer)
        record, first = self._get(rows.STATE + key), self._get(rows.entry_row(key, 0))
        if record is None or first is None or Entry.FromString(first).height >= self._height:
            return rows.identity(None, signer)
        return rows.identity(KeyRecord.FromString(record).member, signer)

    def _take_results(self, payload: bytes) -> None:
        key = rows.results_row(self._height)
        try:
            results = rows.unframe(key, payload)
        except StoreError as error:
            raise _refuse(f"the results of height {self._height} end within an item") from error
        root = block.results_root(self._anchor.chain_id, results)
        if rows.frame(results) != payload or root != self._leaf(self._height).results_root:
            raise _refuse(f"the results of height {self._height} are others than were certified")
        self._put(key, payload)
        self._height += 1

    # ---- the store --------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        # (3) The stream ends with its last record, the results of the last height.
        if self._pending or self._letter != snapshot.RESULTS or self._height != self._anchor.height + 1:
            raise _refuse("it ends too early")
        anchor, opening = self._anchor, self._anchor.opening
        for boundary in anchor.boundaries:
            self._put(rows.boundary_row(boundary.height), rows.encode_boundary(boundary))
        self._put(rows.certificate_row(anchor.height), anchor.certificate)
        self._put(rows.BASE, rows.encode_base(self._blocks_from, anchor.height))
        self._put(rows.GENESIS, self._genesis)
        self._flush()
        tip = Tip(
            anchor.chain_id,
            anchor.height,
            anchor.time_ms,
            anchor.block_hash,
            opening.state_root,
            opening.log_root,
        )
        self._kv.write([(rows.TIP, rows.encode_tip(tip))])
        # Here, and not before, these rows are a chain: everything above is on the disk, and now the tip.

    def _put(self, key: bytes, value: bytes) -> None:
        self._batch.append(rows.sealed(key, value))
        self._batch_bytes += len(key) + len(value)
        if self._batch_bytes >= _BATCH_BYTES:
            self._flush()

    def _flush(self) -> None:
        self._update_tree()
        if self._batch:
            self._kv.write(self._batch)
        self._batch, self._batch_bytes = [], 0

    def _get(self, row: bytes) -> bytes | None:
        """A row of a section that has ended: all of it is written."""
        stored = self._kv.get(row)
        return None if stored is None else rows.unseal(row, stored)

    def _leaf(self, height: int) -> block.LogLeaf:
        data = self._get(rows.log_leaf_row(height))
        if data is None:
            raise InvariantBroken(f"the log leaf of height {height} was not written")
        return block.parse_log_leaf(data)

    def _log_node(self, level: int, index: int) -> bytes | None:
        return self._get(rows.log_node_row(level, index))


def _refuse(why: str) -> Invalid:
    return Invalid(f"the snapshot is refused: {why}", Reason.BAD_PROOF)
