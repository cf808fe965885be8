"""A snapshot: everything that a node needs to go on from a height, as one stream of bytes cut into chunks.

The stream holds what follows from the chain alone, so that every honest node makes the same bytes of a height:

    record  := letter ‖ be32 length ‖ payload          in this order, nothing else:
    L          a log leaf, heights 1 to S
    S          a state row in order of its key:        be16 length, key, be32 length, value, what is attached to it
    E          an entry in order of subject and place: be16 length, subject, Entry
    B, R       block and results of each height of the last hour of header time, ascending; at least those of S

What is attached to a state row is the preimage of a hash that it holds (the body of an open packet); which rows
have one, the caller's `SideTables` knows. Certificates differ from node to node, and no hash of the chain names
them; they travel beside the snapshot, with the headers that certify it. The hour of blocks is what tells whether a
transaction repeats another.

Chunks are CHUNK_BYTES of the stream, the last one what is left. The manifest lists their hashes.
"""

from collections.abc import Iterable, Iterator
from typing import Final, Protocol

from google.protobuf.message import DecodeError, Message

from ledger import block, codec, rows
from ledger.errors import Invalid, InvariantBroken, Malformed
from ledger.hashes import HASH_BYTES, Purpose, tagged_hash
from ledger.kv import Snapshot
from ledger.limits import SNAPSHOT_CHUNK_BYTES, SNAPSHOT_CHUNKS_MAX, TRANSACTION_VALIDITY_MS_MAX
from ledger.state import Kind, state_key
from proto.chiptrace.v1.bridge_pb2 import ClientRecord
from proto.chiptrace.v1.ledger_pb2 import (
    AttestationRecord,
    DelegationRecord,
    ForeignAttestationRecord,
    GrantRecord,
    History,
    KeyRecord,
    LotRecord,
    MemberRecord,
    NoteRecord,
    PartRecord,
    PolicyRecord,
    Reason,
    RehomingRecord,
    SnapshotManifest,
    TransformationRecord,
)

FORMAT: Final = 1
LEAVES: Final = b"L"
STATES: Final = b"S"
ENTRIES: Final = b"E"
BLOCKS: Final = b"B"
RESULTS: Final = b"R"
RECORD_HEAD_BYTES: Final = 5
_MANIFEST_BYTES_MAX: Final = (HASH_BYTES + 2) * SNAPSHOT_CHUNKS_MAX + 64

# The records that hold a history; what else there is, also under the same kind of key, has none.
_WITH_HISTORY: Final[dict[int, type[Message]]] = {
    Kind.MEMBER: MemberRecord,
    Kind.KEY: KeyRecord,
    Kind.GRANT: GrantRecord,
    Kind.PART: PartRecord,
    Kind.LOT: LotRecord,
    Kind.TRANSFORMATION: TransformationRecord,
    Kind.ATTESTATION: AttestationRecord,
    Kind.DELEGATION: DelegationRecord,
    Kind.POLICY: PolicyRecord,
    Kind.CLIENT: ClientRecord,
    Kind.NOTE: NoteRecord,
    Kind.FOREIGN_ATTESTATION: ForeignAttestationRecord,
    Kind.REHOMING: RehomingRecord,
}
# Rows that hold no record, but the key of one (bridge/attest_port.py), which whoever made the chain in it could have made
# to look like one.
_QUEUES: Final = state_key(Kind.FOREIGN_ATTESTATION, "waiting")


class SideTables(Protocol):
    """What of the node-side tables a snapshot brings along: only what a state row proves."""

    def attach(self, key: bytes, snapshot: Snapshot) -> bytes:
        """What is attached to this state row, read from the node-side rows; empty: nothing."""

    def restore(self, key: bytes, value: bytes, attached: bytes, height: int) -> list[tuple[bytes, bytes]]:
        """The node-side rows that follow from a state row and what is attached to it, as of a height.

        Raises Invalid or Malformed unless exactly that is attached which the row proves."""


class NoSideTables:
    """For a chain without node-side tables."""

    def attach(self, key: bytes, snapshot: Snapshot) -> bytes:  # noqa: ARG002
        """Nothing."""
        return b""

    def restore(self, key: bytes, value: bytes, attached: bytes, height: int) -> list[tuple[bytes, bytes]]:  # noqa: ARG002
        """Nothing; raises Invalid when something is attached."""
        if attached:
            raise Invalid(f"something is attached to state row {key.hex()}", Reason.BAD_PROOF)
        return []


# ---- the manifest ---------------------------------------------------------------------------------------


def chunk_hash(chain_id: bytes, chunk: bytes) -> bytes:
    """What the manifest says of a chunk."""
    return tagged_hash(Purpose.SNAPSHOT_CHUNK, chain_id, chunk)


def manifest_id(chain_id: bytes, manifest: bytes) -> bytes:
    """The name of a snapshot: equal for equal snapshots and for no others."""
    return tagged_hash(Purpose.SNAPSHOT, chain_id, manifest)


def encode_manifest(chain_id: bytes, height: int, size: int, chunks: Iterable[bytes]) -> bytes:
    """The manifest of a stream of `size` bytes whose chunks have these hashes."""
    return codec.encode(
        SnapshotManifest(format=FORMAT, chain_id=chain_id, height=height, size=size, chunks=chunks)
    )


def decode_manifest(chain_id: bytes, data: bytes) -> SnapshotManifest:
    """A manifest that can be that of a snapshot of this chain. Raises Malformed, Invalid(WRONG_CHAIN)."""
    # (1) Canonical bytes, no more than the limit.
    manifest = codec.decode(SnapshotManifest, data, _MANIFEST_BYTES_MAX)
    # (2) Our format and our chain; a height that has a block.
    if manifest.format != FORMAT:
        raise Malformed(f"the snapshot has format {manifest.format}; {FORMAT} is known here")
    if manifest.chain_id != chain_id:
        raise Invalid(f"the snapshot is of chain {manifest.chain_id.hex()}", Reason.WRONG_CHAIN)
    if manifest.height == 0:
        raise Malformed("a snapshot is of height 1 at the earliest")
    # (3) As many chunks as the size needs, with a hash for each.
    count = -(-manifest.size // SNAPSHOT_CHUNK_BYTES)
    if not 1 <= count <= SNAPSHOT_CHUNKS_MAX or len(manifest.chunks) != count:
        raise Malformed(f"{len(manifest.chunks)} chunks are none of {manifest.size} bytes", Reason.OVERSIZE)
    if any(len(item) != HASH_BYTES for item in manifest.chunks):
        raise Malformed("a chunk's hash has not 32 bytes")
    return manifest


def check_chunk(chain_id: bytes, manifest: SnapshotManifest, index: int, chunk: bytes) -> None:
    """Returns only for the very chunk that the manifest lists there. Raises Invalid(BAD_PROOF)."""
    if not 0 <= index < len(manifest.chunks):
        raise Invalid(f"the snapshot has no chunk {index}", Reason.BAD_PROOF)
    if chunk_hash(chain_id, chunk) != manifest.chunks[index]:
        raise Invalid(f"chunk {index} is not the one that the manifest lists", Reason.BAD_PROOF)


# ---- records ----------------------------------------------------------------------------------------------


def record(letter: bytes, payload: bytes) -> bytes:
    """One record of the stream."""
    return letter + len(payload).to_bytes(4, "big") + payload


def keyed(key: bytes, data: bytes) -> bytes:
    """A payload that begins with a key."""
    return len(key).to_bytes(2, "big") + key + data


def split_keyed(payload: bytes) -> tuple[bytes, bytes]:
    """(key, what follows it). Raises Malformed."""
    end = 2 + int.from_bytes(payload[:2], "big")
    if len(payload) < 2 or len(payload) < end:
        raise Malformed("a record ends within its key")
    return payload[2:end], payload[end:]


def split_state(payload: bytes) -> tuple[bytes, bytes, bytes]:
    """(key, value, what is attached) of a state row. Raises Malformed."""
    key, rest = split_keyed(payload)
    end = 4 + int.from_bytes(rest[:4], "big")
    if len(rest) < 4 or len(rest) < end:
        raise Malformed("a record ends within its value")
    return key, rest[4:end], rest[end:]


def history_in(key: bytes, value: bytes) -> History | None:
    """The history that a state row holds; None where there is none, or not one entry."""
    kind = _WITH_HISTORY.get(key[0]) if key else None
    if kind is None or key.startswith(_QUEUES):
        return None
    try:
        history: History = kind.FromString(value).history  # type: ignore[attr-defined]
    except DecodeError:
        return None
    return history if history.n else None


def first_block_time(time_ms: int) -> int:
    """From which header time on the blocks of a snapshot are, whose own header has `time_ms`: a transaction of an
    earlier block cannot come again in any later one, because it has expired."""
    return time_ms + 1 - TRANSACTION_VALIDITY_MS_MAX


# ---- taking -----------------------------------------------------------------------------------------------


def take(rows_at: Snapshot, height: int, tables: SideTables) -> Iterator[bytes]:
    """The chunks of the snapshot of a height, in order: its stream, cut."""
    pending = bytearray()
    for item in stream(rows_at, height, tables):
        pending += item
        while len(pending) >= SNAPSHOT_CHUNK_BYTES:
            yield bytes(pending[:SNAPSHOT_CHUNK_BYTES])
            del pending[:SNAPSHOT_CHUNK_BYTES]
    if pending:
        yield bytes(pending)


def stream(rows_at: Snapshot, height: int, tables: SideTables) -> Iterator[bytes]:
    """The stream of the snapshot of a height, record by record, out of the rows as they were after it.

    Raises StoreError when a row is damaged.
    """
    last = block.parse_log_leaf(_read(rows_at, rows.log_leaf_row(height)))
    begin_ms, first = first_block_time(last.time_ms), height
    for key, stored in rows_at.iterate(rows.log_leaf_row(1), rows.log_leaf_row(height + 1)):
        leaf = rows.unseal(key, stored)
        if first == height and block.parse_log_leaf(leaf).time_ms >= begin_ms:
            first = int.from_bytes(key[1:], "big")
        yield record(LEAVES, leaf)
    for row, stored in rows_at.iterate(rows.STATE, rows.after(rows.STATE)):
        key, value = row[1:], rows.unseal(row, stored)
        data = len(value).to_bytes(4, "big") + value + tables.attach(key, rows_at)
        yield record(STATES, keyed(key, data))
    yield from _entries(rows_at)
    for number in range(first, height + 1):
        yield record(BLOCKS, _read(rows_at, rows.block_row(number)))
        yield record(RESULTS, _read(rows_at, rows.results_row(number)))


def _entries(rows_at: Snapshot) -> Iterator[bytes]:
    """The entries that records of the state count; of a record that was deleted there are none to prove."""
    subject, count = b"", 0
    for row, stored in rows_at.iterate(rows.ENTRY, rows.after(rows.ENTRY)):
        found, n = rows.subject_of(row)
        if found != subject:
            subject = found
            held = rows_at.get(rows.STATE + subject)
            history = history_in(subject, rows.unseal(rows.STATE + subject, held)) if held else None
            count = history.n if history is not None else 0
            if held and count == 0 and subject[0] not in _WITH_HISTORY:
                raise InvariantBroken(
                    f"records of kind {subject[0]} hold histories that snapshots do not know"
                )
        if n < count:
            yield record(ENTRIES, keyed(subject, rows.unseal(row, stored)))


def _read(rows_at: Snapshot, key: bytes) -> bytes:
    stored = rows_at.get(key)
    if stored is None:
        raise rows.damaged(key, "is missing")
    return rows.unseal(key, stored)
