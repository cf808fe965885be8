"""Blocks, transactions and what their hashes commit to. Bytes are hashed exactly as carried."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from ledger import codec, limits, merkle
from ledger.errors import Invalid, Malformed
from ledger.hashes import (
    HASH_BYTES,
    KEY_BYTES,
    SIGNATURE_BYTES,
    Purpose,
    leaf_hash,
    public_key,
    sha256,
    sign,
    tagged_hash,
    verify,
)
from proto.chiptrace.v1.ledger_pb2 import (
    AppHashOpening,
    Block,
    Header,
    Operation,
    Reason,
    Signature,
    Transaction,
    TransactionBody,
    ValidatorSet,
)

LOG_LEAF_BYTES: Final = 112
IDEMPOTENCY_KEY_BYTES: Final = 16
HEADER_BYTES_MAX: Final = 1_024

# ---- headers and blocks -----------------------------------------------------------------------------


def block_hash(chain_id: bytes, header: bytes) -> bytes:
    """The id of a block: the hash of its header's bytes, which commit to everything else."""
    return tagged_hash(Purpose.BLOCK, chain_id, header)


def decode_header(data: bytes) -> Header:
    """A header in canonical bytes with all its hashes in place. Raises Malformed."""
    header = codec.decode(Header, data, HEADER_BYTES_MAX)
    for name in (
        "chain_id",
        "parent_hash",
        "transactions_root",
        "app_hash",
        "validators_hash",
        "next_validators_hash",
    ):
        if len(getattr(header, name)) != HASH_BYTES:
            raise Malformed(f"header.{name} has {len(getattr(header, name))} bytes, not {HASH_BYTES}")
    if len(header.recovery) not in (0, HASH_BYTES):
        raise Malformed(f"header.recovery has {len(header.recovery)} bytes; it is a hash or empty")
    if header.height == 0:
        raise Malformed("header.height is 0; the first block has height 1")
    return header


def decode_block(data: bytes) -> Block:
    """A block in canonical bytes; its header and transactions are still to be decoded. Raises Malformed."""
    block = codec.decode(Block, data, limits.BLOCK_BYTES_MAX)
    if not block.header:
        raise Malformed("the block has no header")
    if len(block.transactions) > limits.TRANSACTIONS_PER_BLOCK_MAX:
        raise Malformed(
            f"the block has {len(block.transactions)} transactions; "
            f"at most {limits.TRANSACTIONS_PER_BLOCK_MAX} are allowed",
            Reason.OVERSIZE,
        )
    return block


def recovery_mark(chain_id: bytes, recovery: bytes) -> bytes:
    """What a header says of the recovery (Recovery) in its block, approvals included; empty without one."""
    return tagged_hash(Purpose.RECOVERY_MARK, chain_id, recovery) if recovery else b""


def validators_hash(chain_id: bytes, validators: ValidatorSet) -> bytes:
    """What a header commits to: members, keys, their order, and the height from which the set is in force."""
    return tagged_hash(Purpose.VALIDATORS, chain_id, codec.encode(validators))


# ---- the log of executed heights ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LogLeaf:
    """What one executed height leaves in the log for ever."""

    height: int
    time_ms: int
    block_hash: bytes
    results_root: bytes
    state_root: bytes


def log_leaf(height: int, time_ms: int, block_hash: bytes, results_root: bytes, state_root: bytes) -> bytes:
    """The 112 bytes of a height's leaf: be64 height, be64 time, three hashes."""
    return height.to_bytes(8, "big") + time_ms.to_bytes(8, "big") + block_hash + results_root + state_root


def parse_log_leaf(data: bytes) -> LogLeaf:
    """The fields of a leaf. Raises Malformed."""
    if len(data) != LOG_LEAF_BYTES:
        raise Malformed(f"a log leaf has {LOG_LEAF_BYTES} bytes, not {len(data)}")
    return LogLeaf(
        height=int.from_bytes(data[:8], "big"),
        time_ms=int.from_bytes(data[8:16], "big"),
        block_hash=data[16:48],
        results_root=data[48:80],
        state_root=data[80:],
    )


def log_leaf_hash(chain_id: bytes, leaf: bytes) -> bytes:
    """The leaf hash in the chain's log."""
    return leaf_hash(Purpose.LOG_LEAF, chain_id, leaf)


def app_hash(chain_id: bytes, opening: AppHashOpening) -> bytes:
    """What header h + 1 says about the chain after height h: state root, and size and root of the log.

    Raises Invalid(BAD_PROOF) when a root has not 32 bytes.
    """
    if len(opening.state_root) != HASH_BYTES or len(opening.log_root) != HASH_BYTES:
        raise Invalid("the opening of an app_hash holds a root that has not 32 bytes", Reason.BAD_PROOF)
    data = opening.state_root + opening.log_size.to_bytes(8, "big") + opening.log_root
    return tagged_hash(Purpose.APP_HASH, chain_id, data)


# ---- transactions -------------------------------------------------------------------------------------


class ParsedTransaction(NamedTuple):
    """A transaction of the right shape and chain. Nobody is known to have signed it."""

    id: bytes
    body: TransactionBody
    body_bytes: bytes
    data: bytes
    signatures: tuple[Signature, ...]


class CheckedTransaction(NamedTuple):
    """A transaction whose signatures were verified. Made by `verify_transaction`, and by `vouched.read_again` of the very
    bytes that this node's verifier process did that for; by nothing else."""

    id: bytes
    body: TransactionBody
    data: bytes  # Transaction, as carried
    signatures: tuple[Signature, ...]  # the first is the signer's


class HasTransactionBytes(Protocol):
    """Parsed or checked: a block's root does not depend on who looked at it."""

    @property
    def id(self) -> bytes: ...

    @property
    def data(self) -> bytes: ...


def transaction_id(chain_id: bytes, body: bytes) -> bytes:
    """The id of a transaction: the hash of its body, so that signatures cannot change it."""
    return tagged_hash(Purpose.TRANSACTION, chain_id, body)


def parse_transaction(chain_id: bytes, data: bytes) -> ParsedTransaction:
    """A transaction of the right shape for this chain; signatures are not looked at.

    Raises Malformed (also with OVERSIZE), Invalid(WRONG_CHAIN).
    """
    # 1. Size and canonical envelope.
    transaction = codec.decode(Transaction, data, limits.TRANSACTION_BYTES_MAX)
    # 2. Canonical body. Each field of a message is a copy, or an object made anew: taken out once.
    body_bytes = transaction.body
    body = codec.decode(TransactionBody, body_bytes, limits.TRANSACTION_BYTES_MAX)
    # 3. Our chain.
    if body.chain_id != chain_id:
        raise Invalid(
            f"the transaction is for chain {body.chain_id.hex()[:64] or 'none'}, not {chain_id.hex()}",
            Reason.WRONG_CHAIN,
        )
    # 4. Between one and the allowed number of operations, each of a known kind.
    operations = body.operations
    if not 1 <= len(operations) <= limits.OPERATIONS_PER_TRANSACTION_MAX:
        raise Malformed(
            f"the transaction has {len(operations)} operations; "
            f"1 to {limits.OPERATIONS_PER_TRANSACTION_MAX} are allowed"
        )
    for index, operation in enumerate(operations):
        if operation.WhichOneof("kind") is None:
            raise Malformed(f"operation {index} is empty or of a kind unknown here")
    # 5. Lengths of the signer's key and the idempotency key.
    signer = body.signer
    if len(signer) != KEY_BYTES:
        raise Malformed(f"the signer's key has {len(signer)} bytes, not {KEY_BYTES}")
    if len(body.idempotency_key) != IDEMPOTENCY_KEY_BYTES:
        raise Malformed(
            f"the idempotency key has {len(body.idempotency_key)} bytes, not {IDEMPOTENCY_KEY_BYTES}"
        )
    # 6. Signatures: number, lengths, the signer's first, no key twice.
    signatures = tuple(transaction.signatures)
    if not 1 <= len(signatures) <= limits.SIGNATURES_PER_TRANSACTION_MAX:
        raise Malformed(
            f"the transaction has {len(signatures)} signatures; "
            f"1 to {limits.SIGNATURES_PER_TRANSACTION_MAX} are allowed"
        )
    keys: set[bytes] = set()
    for index, signature in enumerate(signatures):
        key = signature.key
        if len(key) != KEY_BYTES or len(signature.signature) != SIGNATURE_BYTES:
            raise Malformed(f"signature {index} has a key or signature of the wrong length")
        if index == 0 and key != signer:
            raise Malformed("the first signature is not by the signer named in the body")
        keys.add(key)
    if len(keys) != len(signatures):
        raise Malformed("a key signs twice")
    return ParsedTransaction(transaction_id(chain_id, body_bytes), body, body_bytes, data, signatures)


def verify_transaction(chain_id: bytes, parsed: ParsedTransaction) -> CheckedTransaction:
    """Every signature is over the body, for this chain. Raises Invalid(BAD_SIGNATURE)."""
    for index, signature in enumerate(parsed.signatures):
        if not verify(signature.key, Purpose.TRANSACTION, chain_id, parsed.body_bytes, signature.signature):
            raise Invalid(
                f"signature {index} of transaction {parsed.id.hex()} is not by key {signature.key.hex()}",
                Reason.BAD_SIGNATURE,
            )
    return CheckedTransaction(parsed.id, parsed.body, parsed.data, parsed.signatures)


def decode_transaction(chain_id: bytes, data: bytes) -> CheckedTransaction:
    """Shape, then signatures. Raises Malformed, Invalid(WRONG_CHAIN, BAD_SIGNATURE)."""
    return verify_transaction(chain_id, parse_transaction(chain_id, data))


def sign_transaction(
    chain_id: bytes,
    seed: bytes,
    operations: Sequence[Operation],
    valid_until_ms: int,
    idempotency_key: bytes,
) -> bytes:
    """The bytes of a transaction with its signer's signature; keep them and retry the same bytes."""
    key = public_key(seed)
    body = codec.encode(
        TransactionBody(
            chain_id=chain_id,
            signer=key,
            valid_until_ms=valid_until_ms,
            idempotency_key=idempotency_key,
            operations=operations,
        )
    )
    signature = Signature(key=key, signature=sign(seed, Purpose.TRANSACTION, chain_id, body))
    return codec.encode(Transaction(body=body, signatures=[signature]))


# ---- roots over a block's transactions and results ------------------------------------------------------


def transaction_leaf(chain_id: bytes, transaction: HasTransactionBytes) -> bytes:
    """Leaf hash over id and SHA-256 of the whole bytes: the block binds the signatures too."""
    return leaf_hash(Purpose.TRANSACTION_LEAF, chain_id, transaction.id + sha256(transaction.data))


def transactions_root(chain_id: bytes, transactions: Iterable[HasTransactionBytes]) -> bytes:
    """RFC 9162 root over the block's transactions, in order."""
    return merkle.root([transaction_leaf(chain_id, transaction) for transaction in transactions])


def result_leaf(chain_id: bytes, result: bytes) -> bytes:
    """Leaf hash of one transaction's Result bytes."""
    return leaf_hash(Purpose.RESULT, chain_id, result)


def results_root(chain_id: bytes, results: Iterable[bytes]) -> bytes:
    """RFC 9162 root over the Result bytes of a block, in the order of its transactions."""
    return merkle.root([result_leaf(chain_id, result) for result in results])
