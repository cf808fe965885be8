"""Where the store keeps what: the tables of the one LevelDB, the row of the tip, and the seal on every row.

    letter and key                                  value (before its seal)
    T                                               the tip: see `Tip`
    G                                               Genesis, as given
    B  be64 height                                  Block; hashes to the height's log leaf
    C  be64 height                                  certificate of the block, opaque here
    R  be64 height                                  results of the block, framed; hash to the log leaf
    L  be64 height                                  log leaf, 112 bytes
    N  u8 level, be64 index                         node of the chain's log
    S  state key                                    state value
    P  path of nibbles, and a slot or none          page of the state tree, or a slot of it that changed since it was
                                                    written whole (page_rows.py), unsealed: the tree checks them
    U  be64 height                                  what the height changed in the tree, while its pages are not written
    E  be16 length, subject's state key, be64 n     Entry of a subject's history
    X  transaction id                               be64 height, be32 index in the block
    I  be16 length, identity, idempotency key       transaction id, be64 height, be32 index, be64 time
    Q  be64 height                                  be64 time, then the I keys written at this height, framed
    V  be64 height                                  boundary: header, certificate, next set, framed; and a recovery
    D  key given by a handler                       row of a node-side table
    O                                               this node's own note, opaque here; no part of the chain
    A                                               where the store begins, if not at height 1: be64 the first height
                                                    with block and results, be64 the first with a certificate too

A seal is the first 8 bytes of SHA-256 over the row's key and value. LevelDB's own checksums guard its blocks;
the seal also finds a value that came back under another key.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from ledger.block import CheckedTransaction, ParsedTransaction
from ledger.errors import InvariantBroken, StoreError
from ledger.hashes import HASH_BYTES
from ledger.kv import Change

TIP: Final = b"T"
GENESIS: Final = b"G"
PAGE: Final = b"P"
DELTA: Final = b"U"
STATE: Final = b"S"
SIDE: Final = b"D"
NOTE: Final = b"O"
ENTRY: Final = b"E"
BASE: Final = b"A"

_SEAL_BYTES: Final = 8
_TIP_MAGIC: Final = b"chiptrace store 4"
# 1: without deltas, which is read as one that has none yet; 2: pages in which a slot has one leaf at the most; 3: every page in
# one row.
_TIP_MAGICS_BEFORE: Final = (b"chiptrace store 1", b"chiptrace store 2", b"chiptrace store 3")


def be64(number: int) -> bytes:
    """Eight bytes, most significant first, so that rows sort by number."""
    return number.to_bytes(8, "big")


def block_row(height: int) -> bytes:
    """Key of a block."""
    return b"B" + be64(height)


def certificate_row(height: int) -> bytes:
    """Key of a block's certificate."""
    return b"C" + be64(height)


def results_row(height: int) -> bytes:
    """Key of a block's results."""
    return b"R" + be64(height)


def log_leaf_row(height: int) -> bytes:
    """Key of a height's log leaf."""
    return b"L" + be64(height)


def delta_row(height: int) -> bytes:
    """Key of what a height changed in the state tree."""
    return DELTA + be64(height)


def height_of(row: bytes) -> int:
    """The height that ends a row's key."""
    return int.from_bytes(row[-8:], "big")


def log_node_row(level: int, index: int) -> bytes:
    """Key of a node of the chain's log."""
    return b"N" + bytes((level,)) + be64(index)


def entry_row(subject: bytes, n: int) -> bytes:
    """Key of entry n (from 0) in the history of a subject, named by its state key."""
    return ENTRY + len(subject).to_bytes(2, "big") + subject + be64(n)


def subject_of(row: bytes) -> tuple[bytes, int]:
    """(subject, place) from the key of an entry."""
    return row[3:-8], int.from_bytes(row[-8:], "big")


def after(table: bytes) -> bytes:
    """The key right after all keys of a table."""
    return bytes((table[0] + 1,))


def transaction_row(transaction: bytes) -> bytes:
    """Key of a transaction's place, by its id."""
    return b"X" + transaction


def idempotency_row(identity: bytes, idempotency_key: bytes) -> bytes:
    """Key of the live entry (who, idempotency key)."""
    return b"I" + len(identity).to_bytes(2, "big") + identity + idempotency_key


def expiry_row(height: int) -> bytes:
    """Key of the list of idempotency rows that a height wrote."""
    return b"Q" + be64(height)


def boundary_row(height: int) -> bytes:
    """Key of a header at which the validator set changes."""
    return b"V" + be64(height)


# ---- seals and frames ---------------------------------------------------------------------------------


def damaged(key: bytes, why: str) -> StoreError:
    """The error for a row that cannot be what was written."""
    return StoreError(
        f"row {key.hex()} of the store {why}. "
        "Stop the node, keep the directory, and sync anew or restore a backup."
    )


def seal(key: bytes, value: bytes) -> bytes:
    """The value with its seal, as stored."""
    return value + sha256(key + value).digest()[:_SEAL_BYTES]


def unseal(key: bytes, stored: bytes) -> bytes:
    """The value of a sealed row. Raises StoreError when it is not what was written under this key."""
    value = stored[:-_SEAL_BYTES]
    if stored[-_SEAL_BYTES:] != sha256(key + value).digest()[:_SEAL_BYTES]:
        raise damaged(key, "is not what was written there")
    return value


def sealed(key: bytes, value: bytes | None) -> Change:
    """A row to write; None deletes."""
    return key, None if value is None else seal(key, value)


def frame(items: Iterable[bytes]) -> bytes:
    """Several byte strings as one: be32 length before each."""
    parts: list[bytes] = []
    for item in items:
        parts.append(len(item).to_bytes(4, "big"))
        parts.append(item)
    return b"".join(parts)


def unframe(key: bytes, data: bytes) -> list[bytes]:
    """The byte strings of a framed row. Raises StoreError when they do not end with the row."""
    items: list[bytes] = []
    position = 0
    while position < len(data):
        start = position + 4
        position = start + int.from_bytes(data[position:start], "big")
        if position > len(data):
            raise damaged(key, "ends within an item")
        items.append(data[start:position])
    return items


# ---- small rows -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tip:
    """The last height that is decided, executed and durable. Height 0, the genesis state, has no block."""

    chain_id: bytes
    height: int
    time_ms: int
    block_hash: bytes  # ZERO at height 0
    state_root: bytes
    log_root: bytes  # of the log of `height` leaves


def encode_tip(tip: Tip) -> bytes:
    """The tip's row. It is the last of its batch and carries the whole hash of itself."""
    data = b"".join(
        (
            _TIP_MAGIC,
            tip.chain_id,
            be64(tip.height),
            be64(tip.time_ms),
            tip.block_hash,
            tip.state_root,
            tip.log_root,
        )
    )
    return data + sha256(data).digest()


def decode_tip(data: bytes) -> Tip:
    """The tip from its row. Raises StoreError for bytes that `encode_tip` did not make."""
    body, position = data[:-HASH_BYTES], len(_TIP_MAGIC)
    if not data.startswith((_TIP_MAGIC, *_TIP_MAGICS_BEFORE)):
        if data.startswith(_TIP_MAGIC[:-1]):
            raise StoreError(
                f"the store was written by another version of the program ({data[: len(_TIP_MAGIC)].decode('ascii', 'replace')}). "
                "Nothing was changed: start the program that wrote it, or a newer one."
            )
        raise damaged(TIP, "is no tip")
    if len(body) != position + 4 * HASH_BYTES + 16 or sha256(body).digest() != data[-HASH_BYTES:]:
        raise damaged(TIP, "does not hash to itself")
    fields: list[bytes] = []
    for size in (HASH_BYTES, 8, 8, HASH_BYTES, HASH_BYTES, HASH_BYTES):
        fields.append(body[position : position + size])
        position += size
    return Tip(
        chain_id=fields[0],
        height=int.from_bytes(fields[1], "big"),
        time_ms=int.from_bytes(fields[2], "big"),
        block_hash=fields[3],
        state_root=fields[4],
        log_root=fields[5],
    )


@dataclass(frozen=True, slots=True)
class Place:
    """Where a transaction stands in the chain."""

    transaction: bytes  # id
    height: int
    index: int


def encode_place(height: bytes, index: int) -> bytes:
    """Height, which is encoded once for all of its transactions, and index; the id is the row's key."""
    return height + index.to_bytes(4, "big")


def decode_place(transaction: bytes, data: bytes) -> Place:
    """The place of a transaction from its row."""
    return Place(transaction, int.from_bytes(data[:8], "big"), int.from_bytes(data[8:12], "big"))


def encode_repetition(transaction: bytes, place: bytes, time: bytes) -> bytes:
    """An idempotency row: what took the key, where (`encode_place`) and at which header time (be64)."""
    return transaction + place + time


def decode_repetition(data: bytes) -> tuple[Place, int]:
    """(place, header time) from an idempotency row."""
    if len(data) != HASH_BYTES + 20:
        raise InvariantBroken(f"an idempotency row has {len(data)} bytes")
    return decode_place(data[:HASH_BYTES], data[HASH_BYTES:-8]), int.from_bytes(data[-8:], "big")


@dataclass(frozen=True, slots=True)
class BoundaryHeader:
    """A header with its certificate; `next_validators` (ValidatorSet) only where the next set is another, and
    `recovery` (Recovery) only where the header names one."""

    height: int
    header: bytes
    certificate: bytes
    next_validators: bytes
    recovery: bytes = b""


def encode_base(blocks_from: int, whole_from: int) -> bytes:
    """Where a store begins that was made from a snapshot."""
    return be64(blocks_from) + be64(whole_from)


def decode_base(data: bytes) -> tuple[int, int]:
    """(first height with block and results, first height with a certificate too)."""
    return int.from_bytes(data[:8], "big"), int.from_bytes(data[8:], "big")


def encode_boundary(boundary: BoundaryHeader) -> bytes:
    """A boundary's row; the height is its key."""
    parts = [boundary.header, boundary.certificate, boundary.next_validators]
    return frame([*parts, boundary.recovery] if boundary.recovery else parts)


def decode_boundary(key: bytes, data: bytes) -> BoundaryHeader:
    """A boundary from its row and the row's key."""
    header, certificate, following, *recovery = unframe(key, data)
    return BoundaryHeader(int.from_bytes(key[1:], "big"), header, certificate, following, *recovery)


def identity(member: str | None, signer: bytes) -> bytes:
    """Whose an idempotency key is: the member's, or the key's own while it belongs to nobody known."""
    return b"m" + member.encode() if member is not None else b"k" + signer


def transaction_rows(
    height: int,
    time_ms: int,
    transactions: Sequence[CheckedTransaction | ParsedTransaction],
    identities: Sequence[bytes],
) -> list[Change]:
    """Where the transactions of a height stand, and the idempotency keys that they use up, each for its identity."""
    batch: list[Change] = []
    used: list[bytes] = []
    at, time = be64(height), be64(time_ms)
    for index, (transaction, owner) in enumerate(zip(transactions, identities, strict=True)):
        place = encode_place(at, index)
        batch.append(sealed(transaction_row(transaction.id), place))
        key = idempotency_row(owner, transaction.body.idempotency_key)
        batch.append(sealed(key, encode_repetition(transaction.id, place, time)))
        used.append(key)
    if used:
        batch.append(sealed(expiry_row(height), time + frame(used)))
    return batch
