"""Keys, blocks and a tiny application for the tests of consensus. Signatures are keyed hashes: fast, and good
enough where nobody but the tests could forge them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from consensus import certificate as certificates
from consensus.messages import signed_vote
from ledger import block as blocks
from proto.chiptrace.v1.consensus_pb2 import BoundaryReply, Certificate, SignedHeader, Vote, VoteKind
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

CHAIN_ID = hashlib.sha256(b"test chain").digest()
GENESIS = hashlib.sha256(b"genesis").digest()
HEARTBEAT_MS = 10_000


def key(index: int) -> bytes:
    return hashlib.sha256(b"key %d" % index).digest()


def sign(index: int, signed: bytes) -> bytes:
    return hashlib.blake2b(signed, key=key(index), digest_size=64).digest()


def verify(public: bytes, signed: bytes, signature: bytes) -> bool:
    return hashlib.blake2b(signed, key=public, digest_size=64).digest() == signature


def validators(count: int, start: int = 1, first: int = 0) -> ValidatorSet:
    members = [Validator(key=key(first + i), member=f"m{first + i}") for i in range(count)]
    return ValidatorSet(in_force_from=start, validators=members)


def vote(
    kind, signer: int, height: int, view: int, block_hash: bytes = b"", index: int | None = None
) -> Vote:
    made = Vote(kind=kind, height=height, view=view, block_hash=block_hash)
    made.signature = sign(signer, signed_vote(CHAIN_ID, made))
    made.signer = signer if index is None else index
    return made


def certificate(kind, signers, n: int, height: int, view: int, block_hash: bytes = b"") -> Certificate:
    bitmap = bytearray((n + 7) // 8)
    signatures = []
    for signer in sorted(signers):
        bitmap[signer // 8] |= 1 << (7 - signer % 8)
        signatures.append(vote(kind, signer, height, view, block_hash).signature)
    return Certificate(
        kind=kind,
        height=height,
        view=view,
        block_hash=block_hash,
        signers=bytes(bitmap),
        signatures=signatures,
    )


def sign_as(public: bytes, signed: bytes) -> bytes:
    """The signature that `verify` takes for that of this key."""
    return hashlib.blake2b(signed, key=public, digest_size=64).digest()


def finalization(
    validators: ValidatorSet,
    height: int,
    block_hash: bytes,
    view: int = 1,
    sign_by: Callable[[bytes, bytes], bytes] = sign_as,
) -> Certificate:
    """By the first quorum of exactly this set, whoever its members are."""
    made = Certificate(kind=VoteKind.FINALIZE, height=height, view=view, block_hash=block_hash)
    signed, n = signed_vote(CHAIN_ID, made), len(validators.validators)
    signatures = {index: sign_by(validators.validators[index].key, signed) for index in range(2 * n // 3 + 1)}
    return certificates.form(made.kind, height, view, block_hash, signatures, n)


def transaction(number: int) -> bytes:
    body = TransactionBody(
        chain_id=CHAIN_ID,
        signer=bytes(32),
        idempotency_key=number.to_bytes(16, "big"),
        operations=[Operation(update_client=b"nothing")],
    ).SerializeToString(deterministic=True)
    signature = Signature(key=bytes(32), signature=bytes(64))
    return Transaction(body=body, signatures=[signature]).SerializeToString(deterministic=True)


def block(
    height: int,
    parent: bytes,
    time_ms: int,
    transactions: list[bytes] | None = None,
    sets: tuple[ValidatorSet, ValidatorSet] | None = None,
) -> bytes:
    """`sets`: in force at this height and at the next; none of the names matters to those who know their set."""
    carried = transactions or []
    root = blocks.transactions_root(CHAIN_ID, [blocks.parse_transaction(CHAIN_ID, data) for data in carried])
    header = Header(
        chain_id=CHAIN_ID,
        state_version=1,
        height=height,
        time_ms=time_ms,
        parent_hash=parent,
        transactions_root=root,
        app_hash=bytes(32),
        validators_hash=blocks.validators_hash(CHAIN_ID, sets[0]) if sets else bytes(32),
        next_validators_hash=blocks.validators_hash(CHAIN_ID, sets[1]) if sets else bytes(32),
    ).SerializeToString(deterministic=True)
    return Block(header=header, transactions=carried).SerializeToString(deterministic=True)


def hash_of(data: bytes) -> bytes:
    return blocks.block_hash(CHAIN_ID, Block.FromString(data).header)


@dataclass
class Ledger:
    """What a node has decided, durable: survives a crash."""

    blocks: list[tuple[bytes, Certificate]] = field(default_factory=list)
    sets: dict[int, ValidatorSet] = field(default_factory=dict)
    pool: list[bytes] = field(default_factory=list)
    heartbeat_ms: int = HEARTBEAT_MS
    sign_by: Callable[[bytes, bytes], bytes] = sign_as

    @property
    def height(self) -> int:
        return len(self.blocks)

    @property
    def tip(self) -> bytes:
        return hash_of(self.blocks[-1][0]) if self.blocks else GENESIS

    @property
    def finalization(self) -> Certificate | None:
        return self.blocks[-1][1] if self.blocks else None

    def set_at(self, height: int) -> ValidatorSet:
        return self.sets[max(start for start in self.sets if start <= height)]

    def boundaries(self, from_height: int) -> BoundaryReply:
        """The headers from a height on after which another set is in force."""
        reply = BoundaryReply()
        for start in sorted(self.sets):
            if from_height < start <= self.height + 1:
                data, finalization = self.blocks[start - 2]
                following = self.sets[start].SerializeToString(deterministic=True)
                header = Block.FromString(data).header
                reply.headers.add(header=header, certificate=finalization, next_validators=following)
        return reply

    def forged_boundary(self, height: int, following: ValidatorSet) -> SignedHeader:
        """The end of the set that is in force at this height, in favour of another one: certified by its own keys, which
        may be anyone's once it has retired."""
        data = block(height, bytes(32), 5, None, (self.set_at(height), following))
        return SignedHeader(
            header=Block.FromString(data).header,
            certificate=finalization(self.set_at(height), height, hash_of(data)),
            next_validators=following.SerializeToString(deterministic=True),
        )

    def grow(self, count: int, transactions: list[bytes] | None = None) -> Ledger:
        """So many decided heights more."""
        for height in range(self.height + 1, self.height + count + 1):
            sets = (self.set_at(height), self.set_at(height + 1))
            data = block(height, self.tip, 1_000 + height, transactions, sets)
            self.blocks.append((data, finalization(sets[0], height, hash_of(data), 1, self.sign_by)))
        return self

    def due_ms(self) -> int:
        if not self.blocks:
            return 0
        newest = Block.FromString(self.blocks[-1][0])
        if newest.transactions:
            return 0
        return Header.FromString(newest.header).time_ms + self.heartbeat_ms

    def build(self, now_ms: int) -> tuple[bytes, bool]:
        included = {tx for data, _ in self.blocks for tx in Block.FromString(data).transactions}
        waiting = [tx for tx in self.pool if tx not in included]
        time_ms = now_ms
        if self.blocks:
            parent = Header.FromString(Block.FromString(self.blocks[-1][0]).header)
            time_ms = max(now_ms, parent.time_ms + 1)
        sets = (self.set_at(self.height + 1), self.set_at(self.height + 2))
        return block(self.height + 1, self.tip, time_ms, waiting, sets), bool(
            waiting
        ) or now_ms >= self.due_ms()
