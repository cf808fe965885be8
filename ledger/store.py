"""What is durable. One synced batch per height holds everything it brought about; rows.py names the tables.

There is no recovery code: opening reads the tip and checks it and the tree (durable_tree.py); all else is read as ever.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ledger import block, rows, state, tree_proof
from ledger.block import CheckedTransaction, LogLeaf
from ledger.boundaries import boundary_rows
from ledger.durable_tree import DurableTree, Layers, TreeStep
from ledger.errors import ChiptraceError, Invalid, InvariantBroken, StoreError
from ledger.execute import BlockOutcome
from ledger.genesis import GenesisState
from ledger.hashes import ZERO
from ledger.kv import KeyValue, Snapshot
from ledger.limits import POOL_TRANSACTIONS_MAX, TRANSACTION_VALIDITY_MS_MAX
from ledger.merkle import EMPTY_ROOT, MerkleLog
from ledger.overlay import KeptReader
from ledger.rows import BoundaryHeader, Place, Tip
from ledger.tree import StateTree
from proto.chiptrace.v1.ledger_pb2 import Block, Header, LogLeafProof, Reason, ValidatorsRecord

EXPIRED_HEIGHTS_PER_BATCH: Final = 8  # whose idempotency rows one height deletes: a long silence costs many
_Rows = list[tuple[bytes, bytes | None]]


@dataclass(frozen=True, slots=True)
class DecidedBlock:
    """A block that is final, with what is needed to store it."""

    data: bytes  # Block, as carried
    header: Header
    header_bytes: bytes
    block_hash: bytes
    transactions: Sequence[CheckedTransaction]
    identities: Sequence[bytes]  # who used each transaction's idempotency key (rows.identity)
    recovery: bytes = b""  # Recovery, in the first block of a recovered chain


@dataclass(frozen=True, slots=True)
class TransactionAt:
    """A transaction that was decided, with its outcome."""

    place: Place
    data: bytes  # Transaction
    result: bytes  # Result


class Store:
    """The chain as far as it is durable here. One thread writes. Another may read what never changes any more
    (blocks, certificates, results, entries, boundaries, the log) and make proofs of past heights."""

    def __init__(self, kv: KeyValue) -> None:
        """Opens what is there; an empty store has no tip. Raises StoreError when the tip does not hold."""
        self._kv = kv
        self._tree = DurableTree(kv)
        # Transactions that wait are looked for at admission, proposal and judging: mostly in vain, and read once.
        self._looked_for = KeptReader(lambda row: self._row(row, own=True), 2 * POOL_TRANSACTIONS_MAX)
        self._expired_to = 0  # idempotency rows of heights up to here are gone
        stored = kv.get(rows.TIP)
        self._tip = None if stored is None else rows.decode_tip(stored)
        began = self._row(rows.BASE)
        self._blocks_from, self._base = (1, 1) if began is None else rows.decode_base(began)
        height = self._tip.height if self._tip else 0
        self._log = MerkleLog(lambda level, index: self._row(rows.log_node_row(level, index)), height)
        if self._tip is not None:
            self._check_tip(self._tip)

    # ---- reading ----------------------------------------------------------------------------------------

    @property
    def tip(self) -> Tip:
        """The last durable height. Raises StoreError before `initialise`."""
        if self._tip is None:
            raise StoreError("the store holds no chain; initialise it from a genesis document")
        return self._tip

    @property
    def empty(self) -> bool:
        """Whether no genesis state was ever stored."""
        return self._tip is None

    @property
    def base(self) -> int:
        """The lowest height that is here with block, results and certificate: 1, or that of the snapshot with which
        the store began. Blocks and results go back a little further, by the hour in which transactions expire."""
        return self._base

    def get(self, key: bytes) -> bytes | None:
        """The state value under a key at the tip: the store is the Reader that blocks execute on."""
        return self._row(rows.STATE + key)

    def look(self, key: bytes) -> bytes | None:
        """As `get`, only for the thread that writes."""
        return self._row(rows.STATE + key, own=True)

    def side(self, key: bytes) -> bytes | None:
        """A row of a node-side table (Context.side_put)."""
        return self._row(rows.SIDE + key)

    def side_rows(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Rows of a node-side table with start <= key < stop, in byte order."""
        for key, stored in self._kv.iterate(rows.SIDE + start, rows.SIDE + stop):
            yield key[1:], rows.unseal(key, stored)

    def note(self) -> bytes:
        """What this node noted with the last height that it noted anything with; empty: nothing yet."""
        return self._row(rows.NOTE) or b""

    def genesis(self) -> bytes:
        """The genesis document, as given."""
        return self._must(rows.GENESIS)

    def block(self, height: int) -> bytes:
        """The block of a decided height. Raises Invalid: NOT_FOUND, PRUNED; StoreError when it is damaged."""
        leaf = self.log_leaf(height)
        self._check_kept(height, self._blocks_from)
        data = self._must(rows.block_row(height))
        if block.block_hash(self.tip.chain_id, Block.FromString(data).header) != leaf.block_hash:
            raise rows.damaged(rows.block_row(height), "is not the block that was decided")
        return data

    def certificate(self, height: int) -> bytes:
        """The certificate of a decided height, as given. Raises as `block` does."""
        self._check_height(height)
        self._check_kept(height, self._base)
        return self._must(rows.certificate_row(height))

    def results(self, height: int) -> list[bytes]:
        """The results (Result) of a decided height in order. Raises as `block` does."""
        leaf = self.log_leaf(height)
        self._check_kept(height, self._blocks_from)
        key = rows.results_row(height)
        results = rows.unframe(key, self._must(key))
        if block.results_root(self.tip.chain_id, results) != leaf.results_root:
            raise rows.damaged(key, "does not hash to the height's log leaf")
        return results

    def place(self, transaction: bytes, *, own: bool = False) -> Place | None:
        """Where it stands, by its id; None: not decided, or before blocks are kept here. own: the writer asks."""
        data = (self._looked_for.get if own else self._row)(rows.transaction_row(transaction))
        return None if data is None else rows.decode_place(transaction, data)

    def transaction(self, transaction: bytes) -> TransactionAt | None:
        """A decided transaction with its outcome, by its id; None when it was not decided.

        Raises Invalid(PRUNED) when it may stand in a block from before the base.
        """
        place = self.place(transaction)
        if place is None:
            if self._blocks_from > 1:
                self._check_kept(0, self._blocks_from)
            return None
        data = Block.FromString(self.block(place.height)).transactions[place.index]
        return TransactionAt(place, data, self.results(place.height)[place.index])

    def repetition(self, identity: bytes, idempotency_key: bytes, time_ms: int) -> Place | None:
        """Who used this idempotency key, if the entry is alive at a header time; asked by the thread that writes."""
        data = self._looked_for.get(rows.idempotency_row(identity, idempotency_key))
        if data is None:
            return None
        place, used_ms = rows.decode_repetition(data)
        return place if time_ms <= used_ms + TRANSACTION_VALIDITY_MS_MAX else None

    def entries(self, subject: bytes, from_n: int, limit: int) -> list[bytes]:
        """Up to `limit` entries (Entry) of a subject's history from place `from_n` (0-based) on, in order."""
        found: list[bytes] = []
        if len(subject) > state.KEY_BYTES_MAX:
            return found
        stop = rows.entry_row(subject, min(from_n + limit, 2**64 - 1))
        for key, stored in self._kv.iterate(rows.entry_row(subject, from_n), stop):
            if key != rows.entry_row(subject, from_n + len(found)):
                raise rows.damaged(rows.entry_row(subject, from_n + len(found)), "is missing")
            found.append(rows.unseal(key, stored))
        return found

    def boundary(self, height: int) -> BoundaryHeader | None:
        """The header of a height if the next validator set is another, with its certificate and that set."""
        key = rows.boundary_row(height)
        data = self._row(key)
        return None if data is None else rows.decode_boundary(key, data)

    def boundaries(self, above: int, limit: int) -> list[BoundaryHeader]:
        """Up to `limit` headers above a height whose next validator set is another, ascending."""
        found: list[BoundaryHeader] = []
        if above >= self.tip.height:
            return found
        start, stop = rows.boundary_row(above + 1), rows.boundary_row(self.tip.height + 1)
        for key, stored in self._kv.iterate(start, stop):
            if len(found) == limit:
                break
            found.append(rows.decode_boundary(key, rows.unseal(key, stored)))
        return found

    def is_eventful(self, height: int) -> bool:
        """Whether a height had transactions or a change of set: its outcome wants certifying soon."""
        return any(self._kv.get(row(height)) is not None for row in (rows.expiry_row, rows.boundary_row))

    def log_leaf(self, height: int) -> LogLeaf:
        """What a decided height left in the log. Raises Invalid(NOT_FOUND)."""
        self._check_height(height)
        return block.parse_log_leaf(self._must(rows.log_leaf_row(height)))

    def log_leaf_proof(self, height: int, size: int) -> LogLeafProof:
        """The leaf of a height with its place in the log of `size` leaves. Raises Invalid(NOT_FOUND)."""
        self._check_height(height)
        if size > self.tip.height:
            raise Invalid(f"the log has {self.tip.height} leaves, not {size}", Reason.NOT_FOUND)
        leaf = self._must(rows.log_leaf_row(height))
        return LogLeafProof(leaf=leaf, inclusion=self._log.inclusion(height - 1, size))

    def log_root(self, size: int) -> bytes:
        """The root of the log of the first `size` heights. Raises Invalid(NOT_FOUND)."""
        tip = self.tip
        if size > tip.height:
            raise Invalid(f"the log has {tip.height} leaves, not {size}", Reason.NOT_FOUND)
        return tip.log_root if size == tip.height else self._log.root(size)

    def snapshot(self) -> Snapshot:
        """A view of the rows at this moment; the caller closes it."""
        return self._kv.snapshot()

    @property
    def layers(self) -> Layers:
        """The pages of the state tree that a snapshot of this moment lacks; asked for by the thread that writes."""
        return self._tree.layers

    def tree_at(self, snapshot: Snapshot, layers: Layers, root: bytes) -> StateTree:
        """The state tree with this root, its pages read from the layers and the snapshot of one moment."""
        return self._tree.past(self.tip.chain_id, root, snapshot, layers)

    def close(self) -> None:
        """Releases the key-value store."""
        self._kv.close()

    # ---- writing ----------------------------------------------------------------------------------------

    def initialise(self, chain_id: bytes, genesis: bytes, time_ms: int, first: GenesisState) -> Tip:
        """Stores the genesis state as height 0. Raises StoreError when there is a chain already."""
        if self._tip is not None:
            raise StoreError(f"the store already holds chain {self._tip.chain_id.hex()}")
        step = self._tree.update(chain_id, ZERO, 0, first.changes)
        tip = Tip(chain_id, 0, time_ms, ZERO, step.root, EMPTY_ROOT)
        batch: _Rows = [rows.sealed(rows.GENESIS, genesis)]
        self._add_state(batch, first.changes, first.entries, first.side)
        self._write(batch, tip, step)
        return tip

    def commit(
        self, decided: DecidedBlock, outcome: BlockOutcome, certificate: bytes, note: bytes = b""
    ) -> Tip:
        """Makes one height durable, with everything it brought about, or nothing of it. `note` takes the place of
        this node's earlier note, unless it is empty.

        Raises StoreError when the disk fails: the store then refuses everything and the node must stop.
        """
        header, height, before = decided.header, decided.header.height, self.tip
        if height != before.height + 1 or header.parent_hash != before.block_hash:
            raise InvariantBroken(f"height {height} was committed on top of height {before.height}")
        step = self._tree.update(before.chain_id, before.state_root, height, outcome.changes)
        leaf = block.log_leaf(height, header.time_ms, decided.block_hash, outcome.results_root, step.root)
        nodes = self._log.append(block.log_leaf_hash(before.chain_id, leaf))
        batch: _Rows = [
            rows.sealed(rows.block_row(height), decided.data),
            rows.sealed(rows.certificate_row(height), certificate),
            rows.sealed(rows.results_row(height), rows.frame(outcome.results)),
            rows.sealed(rows.log_leaf_row(height), leaf),
        ]
        batch.extend(rows.sealed(rows.log_node_row(level, index), node) for level, index, node in nodes)
        # Expiry first: a key that is used again in this very block must outlive its old entry.
        used = self._expired(header.time_ms)
        used += rows.transaction_rows(height, header.time_ms, decided.transactions, decided.identities)
        batch += used
        self._add_boundary(batch, decided, outcome, certificate)
        self._add_state(batch, outcome.changes, outcome.entries, outcome.side)
        if note:
            batch.append(rows.sealed(rows.NOTE, note))
        tip = Tip(before.chain_id, height, header.time_ms, decided.block_hash, step.root, self._log.root())
        self._write(batch, tip, step)
        self._looked_for.forget(key for key, _ in used)
        return tip

    def _write(self, batch: _Rows, tip: Tip, step: TreeStep) -> None:
        batch.extend(step.rows)
        batch.append((rows.TIP, rows.encode_tip(tip)))
        self._kv.write(batch)
        # Here, and not before, the height is durable: the batch is on the disk whole, the tip's row last.
        self._tip = tip
        self._tree.written(step)

    def _add_state(
        self,
        batch: _Rows,
        changes: Mapping[bytes, bytes | None],
        entries: Sequence[tuple[bytes, int, bytes]],
        side: Sequence[tuple[bytes, bytes | None]],
    ) -> None:
        batch.extend(rows.sealed(rows.STATE + key, value) for key, value in changes.items())
        batch.extend(rows.sealed(rows.entry_row(subject, n), entry) for subject, n, entry in entries)
        batch.extend(rows.sealed(rows.SIDE + key, value) for key, value in side)

    def _expired(self, time_ms: int) -> _Rows:
        """Deletions of the idempotency rows of heights that lie more than their lifetime back."""
        batch: _Rows = []
        start, stop = rows.expiry_row(self._expired_to + 1), rows.expiry_row(self.tip.height + 1)
        for count, (key, stored) in enumerate(self._kv.iterate(start, stop)):
            data = rows.unseal(key, stored)
            used_ms = int.from_bytes(data[:8], "big")
            if count == EXPIRED_HEIGHTS_PER_BATCH or time_ms <= used_ms + TRANSACTION_VALIDITY_MS_MAX:
                break
            self._expired_to = int.from_bytes(key[1:], "big")
            # Up to the tip these keys could not be used again, unless they had expired by then and were left over.
            left_over = self.tip.time_ms > used_ms + TRANSACTION_VALIDITY_MS_MAX
            for row in rows.unframe(key, data[8:]):
                # What was left over may have been used again by a younger height; that entry lives on.
                current = self._row(row, own=True) if left_over else None
                if current is None or rows.decode_repetition(current)[1] == used_ms:
                    batch.append((row, None))
            batch.append((key, None))
        return batch

    def _add_boundary(
        self, batch: _Rows, decided: DecidedBlock, outcome: BlockOutcome, certificate: bytes
    ) -> None:
        height, before = decided.header.height, None
        if decided.recovery and height > 1:
            below = Block.FromString(self.block(height - 1)).header
            kept = BoundaryHeader(height - 1, below, self.certificate(height - 1), b"")
            before = self.boundary(height - 1) or kept
        value = outcome.changes.get(state.VALIDATORS_KEY) or self.get(state.VALIDATORS_KEY) or b""
        signed = BoundaryHeader(height, decided.header_bytes, certificate, b"", decided.recovery)
        following = ValidatorsRecord.FromString(value).current
        batch.extend(boundary_rows(decided.header, signed, following, before))

    # ---- checks -----------------------------------------------------------------------------------------

    def _check_tip(self, tip: Tip) -> None:
        """What was opened is the chain that the tip names. Raises StoreError."""
        try:
            # (1) No batch was torn: a height's block is the first row of its batch, the tip the last.
            if self._kv.get(rows.block_row(tip.height + 1)) is not None:
                raise StoreError(f"height {tip.height + 1} is half written; sync anew or restore a backup")
            # (2) The log ends with the tip, and its root is the tip's.
            if self._log.root() != tip.log_root:
                raise StoreError(f"the log of {tip.height} heights has another root than the tip")
            if tip.height:
                leaf = self.log_leaf(tip.height)
                self._check_leaf(leaf, tip)
            # (3) The state tree comes to the tip's root, (4) and leads from it to the validators' record as stored.
            self._tree.open(tip.chain_id, tip.state_root)
            tree = self._tree.tree(tip.chain_id, tip.state_root)
            value = self.get(state.VALIDATORS_KEY)
            tree_proof.verify(
                tip.chain_id, tip.state_root, state.VALIDATORS_KEY, value, tree.prove(state.VALIDATORS_KEY)
            )
        except StoreError:
            raise
        except ChiptraceError as error:
            raise StoreError(f"the store at height {tip.height} contradicts itself: {error}") from error

    def _check_leaf(self, leaf: LogLeaf, tip: Tip) -> None:
        expected = (tip.height, tip.time_ms, tip.block_hash, tip.state_root)
        if (leaf.height, leaf.time_ms, leaf.block_hash, leaf.state_root) != expected:
            raise StoreError(f"the log leaf of height {tip.height} is not the tip's")
        content = block.decode_block(self.block(tip.height))
        header = block.decode_header(content.header)
        found = [block.parse_transaction(tip.chain_id, data) for data in content.transactions]
        if block.transactions_root(tip.chain_id, found) != header.transactions_root:
            raise StoreError(f"the block of height {tip.height} holds other transactions than were decided")
        if block.recovery_mark(tip.chain_id, content.recovery) != header.recovery:
            raise StoreError(f"the block of height {tip.height} holds another recovery than was decided")
        self.results(tip.height)

    def _check_height(self, height: int) -> None:
        if not 1 <= height <= self.tip.height:
            raise Invalid(
                f"height {height} is not decided here; heights 1 to {self.tip.height} are", Reason.NOT_FOUND
            )

    def _check_kept(self, height: int, first: int) -> None:
        if height < first:
            what = f"height {height}" if height else "a transaction that stands there"
            raise Invalid(
                f"this node began with a snapshot and keeps no blocks below its base {self._base}, so not {what}; "
                "ask another node of the chain",
                Reason.PRUNED,
            )

    def _row(self, key: bytes, *, own: bool = False) -> bytes | None:
        stored = self._kv.look(key) if own else self._kv.get(key)
        return None if stored is None else rows.unseal(key, stored)

    def _must(self, key: bytes) -> bytes:
        data = self._row(key)
        if data is None:
            raise rows.damaged(key, "is missing")
        return data
