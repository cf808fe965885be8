"""Blocks as the engine sees them: a hash, a height, a parent, and a body that may be at hand or not."""

from dataclasses import dataclass

from ledger.block import block_hash as hash_of_header
from ledger.block import decode_block, decode_header, recovery_mark, transaction_id, transactions_root
from ledger.errors import Invalid, Malformed
from ledger.limits import TRANSACTION_BYTES_MAX
from proto.chiptrace.v1.ledger_pb2 import Header, Reason, Transaction


@dataclass(frozen=True, slots=True)
class Identified:
    """What a block's header says of it."""

    block_hash: bytes
    header: Header


@dataclass(frozen=True, slots=True)
class _Carried:
    id: bytes
    data: bytes


def identify(chain_id: bytes, data: bytes) -> Identified:
    """The hash and the header of a block; its transactions are not looked at. Raises Malformed."""
    header = decode_block(data).header
    return Identified(hash_of_header(chain_id, header), decode_header(header))


def check_body(chain_id: bytes, data: bytes, block_hash: bytes) -> Header:
    """Returns the header only if `data` is the whole block of this hash, transactions and signatures included.

    For bodies that the application will not judge. Raises Malformed, Invalid(BAD_ROOT).
    """
    block = decode_block(data)
    # 1. The header is the one that was asked for.
    if hash_of_header(chain_id, block.header) != block_hash:
        raise Invalid(f"a body is not that of block {block_hash.hex()}", Reason.BAD_ROOT)
    # 2. The transactions are those it commits to; the root binds every byte of them.
    header = decode_header(block.header)
    carried = []
    for transaction in block.transactions:
        if len(transaction) > TRANSACTION_BYTES_MAX:
            raise Malformed(f"a transaction of block {block_hash.hex()} is too long", Reason.OVERSIZE)
        carried.append(_Carried(transaction_id(chain_id, _body_of(transaction)), transaction))
    if transactions_root(chain_id, carried) != header.transactions_root:
        raise Invalid(f"the transactions are not those of block {block_hash.hex()}", Reason.BAD_ROOT)
    # 3. So is the recovery, where there is one.
    if recovery_mark(chain_id, block.recovery) != header.recovery:
        raise Invalid(f"the recovery is not that of block {block_hash.hex()}", Reason.BAD_ROOT)
    return header


def _body_of(transaction: bytes) -> bytes:
    message = Transaction()
    try:
        message.MergeFromString(transaction)
    except Exception as error:
        raise Malformed(f"a transaction cannot be parsed: {error}") from error
    return message.body


class Bodies:
    """Bodies of the open height that may be served, voted for and executed: judged valid, or checked against
    the hash of a block that a quorum notarized or finalized."""

    def __init__(self) -> None:
        self._bodies: dict[bytes, bytes] = {}
        self._durable: set[bytes] = set()
        self._judged: set[bytes] = set()

    def get(self, block_hash: bytes) -> bytes | None:
        """The body, if at hand."""
        return self._bodies.get(block_hash)

    def put(self, block_hash: bytes, data: bytes, *, judged: bool = False, durable: bool = False) -> None:
        """Keeps a body. `judged`: the application has called it valid; `durable`: the journal has it."""
        self._bodies.setdefault(block_hash, data)
        if judged:
            self._judged.add(block_hash)
        if durable:
            self._durable.add(block_hash)

    def judged(self, block_hash: bytes) -> bool:
        """Whether the application has called this block valid."""
        return block_hash in self._judged

    def durable(self, block_hash: bytes) -> bool:
        """Whether the journal has this body."""
        return block_hash in self._durable
