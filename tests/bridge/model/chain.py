"""One chain in memory, as the rest of the world meets it: real operations, state tree, headers and proofs.

What is left out is what a bridge cannot see: consensus, storage, transactions' signatures. Blocks are open until `seal`:
operations are executed one by one, and `crash` loses what was not sealed, as a node that stops before a block is
decided. Only sealed states can be proven. Signatures of validators are hashes of key and message (`cheap_signatures`),
and are verified at the same place and in the same way as real ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha512

import pytest

from bridge import light_client
from bridge.machine import changes, operations
from consensus.certificate import form
from consensus.messages import signed_vote
from ledger import codec, merkle, rows, state
from ledger.block import CheckedTransaction, app_hash, block_hash, log_leaf, log_leaf_hash, validators_hash
from ledger.execute import execute_block
from ledger.hashes import ZERO
from ledger.pages import PageCache
from ledger.state import MappingReader
from ledger.tree import StateTree
from proto.chiptrace.v1.bridge_pb2 import Packet, RemoteProof
from proto.chiptrace.v1.consensus_pb2 import FINALIZE, SignedHeader, Vote
from proto.chiptrace.v1.ledger_pb2 import (
    AppHashOpening,
    Header,
    InclusionProof,
    LogLeafProof,
    Operation,
    Result,
    TransactionBody,
    ValidatorsRecord,
)
from proto.chiptrace.v1.node_pb2 import PacketItem
from tests.bridge.two_chains import BridgedChain
from tests.ledger.chain_fixture import key_of

BLOCK_MS = 100
SOME_HASH = bytes(range(32))
CACHE = PageCache(4_096)  # by hash, so that all chains and runs may share it
OPERATIONS, CHANGES = operations(), changes()


def cheap_signature(key: bytes, signed: bytes) -> bytes:
    return sha512(key + signed).digest()


@contextmanager
def cheap_signatures() -> Iterator[None]:
    """Within, light clients verify what `cheap_signature` makes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            light_client, "verify_raw", lambda key, signed, given: given == cheap_signature(key, signed)
        )
        yield


@dataclass(frozen=True)
class Sealed:
    """The state after a height, as the header of the next one commits to it."""

    height: int
    time_ms: int
    next_time_ms: int  # of the header that certifies this state
    root: bytes
    pages: dict[bytes, bytes]
    values: dict[bytes, bytes]
    leaf: bytes
    opening: AppHashOpening


@dataclass
class ModelChain:
    """`height` and `time_ms` are of the open block."""

    name: str
    chain_id: bytes
    state: dict[bytes, bytes]
    height: int
    time_ms: int
    pages: dict[bytes, bytes]
    root: bytes
    leaves: list[bytes]  # hashes, of heights 1 to height - 1
    frontier: list[bytes]
    sealed: dict[int, Sealed] = field(default_factory=dict)
    sent: dict[tuple[str, int], Packet] = field(default_factory=dict)  # of sealed blocks and the open one
    entries: dict[bytes, list[bytes]] = field(default_factory=dict)
    undo: list[tuple[bytes, bytes | None]] = field(default_factory=list)  # of the open block, oldest first
    undo_sent: list[tuple[str, int]] = field(default_factory=list)
    undo_entries: list[tuple[bytes, int]] = field(default_factory=list)
    used: int = 0
    values: dict[bytes, bytes] = field(default_factory=dict)  # of the newest sealed state
    version: int = 0  # rises with every write

    @classmethod
    def of(cls, chain: BridgedChain) -> ModelChain:
        """A chain that was set up with everything real goes on here."""
        found = {
            row[1:]: rows.unseal(row, value)
            for row, value in chain.kv.iterate(rows.STATE, b"T")  # type: ignore[attr-defined]
        }
        pages: dict[bytes, bytes] = {}
        update = StateTree(chain.chain_id, pages.get, ZERO).update(dict(found))
        assert update.root == chain.state_root
        pages.update({path: page for path, page in update.pages.items() if page is not None})
        store = chain.app.store
        leaves = [log_leaf_hash(chain.chain_id, leaf_bytes(store, at)) for at in range(1, chain.height + 1)]
        frontier: list[bytes] = []
        for size, leaf in enumerate(leaves):
            frontier = merkle.append(size, frontier, leaf)
        entries: dict[bytes, list[bytes]] = {}
        for key in found:
            if key[0] in (state.Kind.PART, state.Kind.LOT):
                entries[key] = store.entries(key, 0, 10_000)
        return cls(
            chain.name,
            chain.chain_id,
            found,
            chain.height + 1,
            chain.info.time_ms + BLOCK_MS,
            pages,
            update.root,
            leaves,
            frontier,
            entries=entries,
            values=dict(found),
        )

    def copy(self) -> ModelChain:
        """Another chain that goes on from here. Nothing is shared that either of them changes."""
        return ModelChain(
            self.name,
            self.chain_id,
            dict(self.state),
            self.height,
            self.time_ms,
            self.pages,
            self.root,
            list(self.leaves),
            self.frontier,
            dict(self.sealed),
            dict(self.sent),
            {key: list(items) for key, items in self.entries.items()},
            list(self.undo),
            list(self.undo_sent),
            list(self.undo_entries),
            self.used,
            self.values,
            self.version,
        )

    # ---- blocks -------------------------------------------------------------------------------------------------

    def submit(self, member: str, operation: Operation, role: str = "operator") -> Result:
        """One transaction in the open block."""
        self.used += 1
        transaction = CheckedTransaction(
            id=self.used.to_bytes(32, "big"),
            body=TransactionBody(signer=signer(member, role), operations=[operation]),
            data=b"",
            signatures=(),
        )
        header = Header(height=self.height, time_ms=self.time_ms)
        reader = MappingReader(self.state)
        outcome = execute_block(reader, self.chain_id, header, [transaction], OPERATIONS, CHANGES, no_past)
        for key, value in outcome.changes.items():
            self.write(key, value)
        for key, at, entry in outcome.entries:
            self.entries.setdefault(key, []).append(entry)
            self.undo_entries.append((key, at))
        for key, value in outcome.side:
            if key[0] == state.Kind.COMMITMENT and value is not None:
                packet = PacketItem.FromString(value).packet
                self.sent[packet.source_client, packet.sequence] = packet
                self.undo_sent.append((packet.source_client, packet.sequence))
        return Result.FromString(outcome.results[0])

    def write(self, key: bytes, value: bytes | None) -> None:
        """A value put into the state: by execution, or by a quorum that is corrupt."""
        self.version += 1
        self.undo.append((key, self.state.get(key)))
        if value is None:
            self.state.pop(key, None)
        else:
            self.state[key] = value

    def seal(self, wait_ms: int = BLOCK_MS) -> None:
        """Ends the open block; the next one comes after so many milliseconds."""
        changed = {key: self.state.get(key) for key, _ in self.undo}
        update = StateTree(self.chain_id, self.pages.get, self.root, CACHE).update(changed)
        if update.pages:
            pages = dict(self.pages)
            for path, page in update.pages.items():
                if page is None:
                    pages.pop(path, None)
                else:
                    pages[path] = page
            self.pages = pages
            self.values = dict(self.state)
        self.root = update.root
        leaf = log_leaf(self.height, self.time_ms, SOME_HASH, SOME_HASH, self.root)
        hashed = log_leaf_hash(self.chain_id, leaf)
        self.frontier = merkle.append(len(self.leaves), self.frontier, hashed)
        self.leaves.append(hashed)
        opening = AppHashOpening(
            state_root=self.root,
            log_size=self.height,
            log_root=merkle.frontier_root(self.height, self.frontier),
        )
        self.sealed[self.height] = Sealed(
            self.height,
            self.time_ms,
            self.time_ms + wait_ms,
            self.root,
            self.pages,
            self.values,
            leaf,
            opening,
        )
        self.undo.clear()
        self.undo_sent.clear()
        self.undo_entries.clear()
        self.height += 1
        self.time_ms += wait_ms

    def crash(self) -> None:
        """The open block is lost."""
        self.version += 1
        for key, value in reversed(self.undo):
            if value is None:
                self.state.pop(key, None)
            else:
                self.state[key] = value
        for place in self.undo_sent:
            del self.sent[place]
        for key, _ in self.undo_entries:
            self.entries[key].pop()
        self.undo.clear()
        self.undo_sent.clear()
        self.undo_entries.clear()

    # ---- what others are shown ------------------------------------------------------------------------------------

    def header(self, height: int, app: bytes | None = None) -> SignedHeader:
        """The certified header of a height above the first sealed one; with another app_hash for a fork."""
        below = self.sealed[height - 1]
        record = ValidatorsRecord.FromString(self.state[state.VALIDATORS_KEY])
        this_set = validators_hash(self.chain_id, record.current)
        data = codec.encode(
            Header(
                chain_id=self.chain_id,
                state_version=1,
                height=height,
                time_ms=below.next_time_ms,
                parent_hash=SOME_HASH,
                transactions_root=SOME_HASH,
                app_hash=app or app_hash(self.chain_id, below.opening),
                validators_hash=this_set,
                next_validators_hash=this_set,
            )
        )
        this_hash = block_hash(self.chain_id, data)
        signed = signed_vote(self.chain_id, Vote(kind=FINALIZE, height=height, view=1, block_hash=this_hash))
        validators = record.current.validators
        signatures = {
            index: cheap_signature(validator.key, signed) for index, validator in enumerate(validators)
        }
        return SignedHeader(
            header=data, certificate=form(FINALIZE, height, 1, this_hash, signatures, len(validators))
        )

    def prove(self, key: bytes, header_height: int, leaf: bool = False) -> RemoteProof:
        """The honest proof of a key under a header."""
        below = self.sealed[header_height - 1]
        proof = RemoteProof(
            header_height=header_height,
            opening=below.opening,
            proof=StateTree(self.chain_id, below.pages.get, below.root, CACHE).prove(key),
        )
        if leaf:
            size = below.height
            path = merkle.inclusion_path(self.leaves[:size], size - 1)
            proof.last_leaf.CopyFrom(
                LogLeafProof(leaf=below.leaf, inclusion=InclusionProof(index=size - 1, size=size, path=path))
            )
        return proof


_SIGNERS: dict[tuple[str, str], bytes] = {}


def signer(member: str, role: str) -> bytes:
    """The key of a member in a role."""
    found = _SIGNERS.get((member, role))
    if found is None:
        found = _SIGNERS[member, role] = key_of(member, role)
    return found


def no_past(height: int):
    raise AssertionError(f"no operation of the model looks at what height {height} left")


def leaf_bytes(store, height: int) -> bytes:
    """The stored leaf of a height, as bytes."""
    leaf = store.log_leaf(height)
    return log_leaf(leaf.height, leaf.time_ms, leaf.block_hash, leaf.results_root, leaf.state_root)
