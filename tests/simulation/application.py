"""A tiny deterministic application: blocks of real shape, an app hash that is a running hash, and transactions
that do nothing, or name the next set of validators."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from ledger import block as blocks
from ledger.errors import ChiptraceError
from ledger.limits import TIME_PRECISION_MS
from proto.chiptrace.v1.consensus_pb2 import Certificate
from proto.chiptrace.v1.ledger_pb2 import (
    Block,
    Header,
    Operation,
    Signature,
    Transaction,
    TransactionBody,
    Validator,
    ValidatorSet,
)

CHAIN_ID = hashlib.sha256(b"simulated chain").digest()
GENESIS_TIME_MS = 1_000_000
TRANSACTIONS_PER_BLOCK = 3


def transaction(number: int, members: tuple[int, ...] = (), asked: bytes = b"nothing") -> bytes:
    """A transaction unlike any other; `members` makes it replace the set of validators."""
    body = TransactionBody(
        chain_id=CHAIN_ID,
        signer=bytes(32),
        idempotency_key=number.to_bytes(16, "big"),
        operations=[Operation(update_client=b"set" + bytes(members) if members else asked)],
    ).SerializeToString(deterministic=True)
    signature = Signature(key=bytes(32), signature=hashlib.sha512(body).digest())
    return Transaction(body=body, signatures=[signature]).SerializeToString(deterministic=True)


@functools.lru_cache(maxsize=10_000)
def genuine(data: bytes) -> bool:
    """Whether these are the bytes of a transaction that someone made, unspoiled."""
    try:
        blocks.parse_transaction(CHAIN_ID, data)
        made = Transaction.FromString(data)
    except (ChiptraceError, DecodeError):
        return False
    return made.signatures[0].signature == hashlib.sha512(made.body).digest()


def rotation(number: int, old: int, new: int) -> bytes:
    """A transaction that puts one key in the place of another, whatever else the set is by then."""
    return transaction(number, asked=b"swp" + bytes((old, new)))


def members_named(data: bytes, newest: Callable[[], tuple[int, ...]]) -> tuple[int, ...]:
    """The set a transaction asks for, as indexes of keys, after the newest one so far; empty for most."""
    body = TransactionBody.FromString(Transaction.FromString(data).body)
    asked = body.operations[0].update_client
    if asked.startswith(b"set"):
        return tuple(asked[3:])
    if asked.startswith(b"swp"):
        old, new = asked[3:]
        members = newest()
        if old in members and new not in members:
            return tuple(new if member == old else member for member in members)
    return ()


def validator_set(public: list[bytes], members: tuple[int, ...], in_force_from: int) -> ValidatorSet:
    return ValidatorSet(
        in_force_from=in_force_from,
        validators=[Validator(key=public[index], member=f"member {index}") for index in members],
    )


def roots(transactions: list[bytes]) -> bytes:
    return blocks.transactions_root(CHAIN_ID, [parsed(data) for data in transactions])


@functools.lru_cache(maxsize=10_000)
def parsed(data: bytes) -> blocks.ParsedTransaction:
    return blocks.parse_transaction(CHAIN_ID, data)


@dataclass(frozen=True)
class Stored:
    """What one synced batch holds for a decided height."""

    height: int
    block_hash: bytes
    block: bytes
    certificate: Certificate


@dataclass
class Application:
    """State after some decided blocks. It lives in memory and is rebuilt from the stored blocks at a start."""

    public: list[bytes]
    genesis: tuple[int, ...]
    heartbeat_ms: int
    height: int = 0
    block_hash: bytes = CHAIN_ID
    time_ms: int = GENESIS_TIME_MS
    app_hash: bytes = bytes(32)
    next_due_ms: int = 0
    included: set[bytes] = field(default_factory=set)
    pool: dict[bytes, None] = field(default_factory=dict)
    _sets: dict[int, ValidatorSet] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._sets = {1: validator_set(self.public, self.genesis, 1)}

    def set_at(self, height: int) -> ValidatorSet:
        """In force at `height`, at most two above the newest executed block."""
        return self._sets[max(start for start in self._sets if start <= height)]

    def newest_members(self) -> tuple[int, ...]:
        """The set that was asked for last, in force or about to be."""
        newest = self._sets[max(self._sets)]
        return tuple(self.public.index(validator.key) for validator in newest.validators)

    # ---- before a decision ----------------------------------------------------------------------

    def build(self, now_ms: int) -> bytes:
        transactions = list(self.pool)[:TRANSACTIONS_PER_BLOCK]
        header = Header(
            chain_id=CHAIN_ID,
            state_version=1,
            height=self.height + 1,
            time_ms=max(self.time_ms + 1, now_ms),
            parent_hash=self.block_hash,
            transactions_root=roots(transactions),
            app_hash=self.app_hash,
            validators_hash=blocks.validators_hash(CHAIN_ID, self.set_at(self.height + 1)),
            next_validators_hash=blocks.validators_hash(CHAIN_ID, self.set_at(self.height + 2)),
        )
        data = header.SerializeToString(deterministic=True)
        return Block(header=data, transactions=transactions).SerializeToString(deterministic=True)

    def wanted(self, now_ms: int) -> bool:
        return bool(self.pool) or now_ms >= self.next_due_ms

    def judge(self, data: bytes, now_ms: int) -> int | None:
        """In how many milliseconds it may be voted for; None: never."""
        if not self.follows(data):
            return None
        time_ms = Header.FromString(Block.FromString(data).header).time_ms
        return max(0, time_ms - now_ms - TIME_PRECISION_MS)

    def follows(self, data: bytes) -> bool:
        """Whether the block is one that may stand on the newest one, by whatever clock."""
        try:
            block = blocks.decode_block(data)
            header = blocks.decode_header(block.header)
            root = roots(list(block.transactions))
        except ChiptraceError:
            return False
        return (
            header.chain_id == CHAIN_ID
            and header.height == self.height + 1
            and header.parent_hash == self.block_hash
            and header.time_ms > self.time_ms
            and header.app_hash == self.app_hash
            and header.transactions_root == root
            and header.validators_hash == blocks.validators_hash(CHAIN_ID, self.set_at(self.height + 1))
            and header.next_validators_hash == blocks.validators_hash(CHAIN_ID, self.set_at(self.height + 2))
            and len(set(block.transactions)) == len(block.transactions)
            and not self.included.intersection(block.transactions)
            and all(genuine(data) for data in block.transactions)
        )

    # ---- after it -------------------------------------------------------------------------------

    def execute(self, stored: Stored) -> None:
        block = Block.FromString(stored.block)
        header = Header.FromString(block.header)
        changed = False
        for data in block.transactions:
            self.included.add(data)
            self.pool.pop(data, None)
            if members := members_named(data, self.newest_members):
                start = stored.height + 2
                self._sets[start] = validator_set(self.public, members, start)
                changed = True
        self.height, self.block_hash, self.time_ms = stored.height, stored.block_hash, header.time_ms
        self.app_hash = hashlib.sha256(self.app_hash + stored.block_hash).digest()
        due_at_once = bool(block.transactions) or changed
        self.next_due_ms = 0 if due_at_once else header.time_ms + self.heartbeat_ms

    def offer(self, data: bytes) -> bool:
        if data in self.included or data in self.pool or not genuine(data):
            return False
        self.pool[data] = None
        return True
