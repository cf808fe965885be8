"""A whole chain in one process, for every test that needs executed blocks: ledger, bridge and client alike.

    chain = Chain(members=("fab", "osat"), grants={"gs1:4012345": "fab"})
    result = chain.submit("fab", Operation(capture=...))          # one transaction in a block of its own
    results = chain.produce([chain.transaction("fab", ...), ...])  # several in one block
    record = chain.record(state.part_key(part), PartRecord)        # at the tip
    proven = chain.prove(state.part_key(part))                     # makes the successor that certifies it
    chain.restart()                                                # the same store, opened again

It runs the real Application over a MemoryKV (or the store given as `kv`), with the real operations unless
others are given (tests/ledger/toy_tables.py has some that fit one page). Only the certificates are made up:
the ledger stores them unread. Every member has one key of each role, all registered in the genesis; seeds are
hashes of "member/role".
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import TypeVar

from google.protobuf.message import Message

from ledger import block, codec, hashes, joining, state
from ledger.application import Application, Info
from ledger.context import ChangeTable, OperationTable
from ledger.execute import BlockOutcome
from ledger.kv import KeyValue, MemoryKV
from ledger.view import ProvenState
from proto.chiptrace.v1.ledger_pb2 import (
    Change,
    Entry,
    Genesis,
    Govern,
    GovernanceProposal,
    Header,
    JoinProof,
    Operation,
    Parameters,
    PutGrant,
    PutKey,
    PutMember,
    Result,
    Role,
    Signature,
    Validator,
)

M = TypeVar("M", bound=Message)

START_MS = 1_700_000_000_000
HEARTBEAT_MS = 1_000
STEP_MS = 100
MEMBERS = ("ada", "bob", "cyd", "dee")
ROLES = [role for role in Role.values() if role != Role.ROLE_UNSPECIFIED]


def seed_of(member: str, role: str = "operator") -> bytes:
    """The signing seed of a member's key: role is admin, or a Role's name in any case."""
    return sha256(f"{member}/{role.lower()}".encode()).digest()


def key_of(member: str, role: str = "operator") -> bytes:
    return hashes.public_key(seed_of(member, role))


def make_parameters(**changed: int | bool) -> Parameters:
    values: dict = {
        "governance_threshold": 1,
        "heartbeat_ms": HEARTBEAT_MS,
        "adoption": False,
        "offer_expiry_ms": 86_400_000,
        "backdate_ms": 86_400_000,
        "block_bytes": 1_048_576,
    }
    return Parameters(**(values | changed))


def make_genesis(
    members: Sequence[str] = MEMBERS,
    *,
    name: str = "test",
    identifiers: Mapping[str, Sequence[str]] | None = None,
    grants: Mapping[str, str] | None = None,
    parameters: Parameters | None = None,
) -> Genesis:
    """A genesis with one validator and a key of every role for each member; `dev` below four members."""
    named = identifiers or {}
    return Genesis(
        name=name,
        time_ms=START_MS,
        state_version=1,
        members=[
            PutMember(
                id=member,
                name=f"{member.title()} Ltd",
                identifiers=named.get(member, ()),
                admin_keys=[key_of(member, "admin")],
            )
            for member in members
        ],
        keys=[
            PutKey(key=key_of(member, Role.Name(role)), member=member, role=role)
            for member in members
            for role in ROLES
        ],
        grants=[PutGrant(prefix=prefix, holder=holder) for prefix, holder in (grants or {}).items()],
        validators=[Validator(key=key_of(member, "validator"), member=member) for member in members],
        parameters=parameters or make_parameters(),
        dev=len(members) < 4,
    )


class Chain:
    def __init__(
        self,
        members: Sequence[str] = MEMBERS,
        *,
        operations: OperationTable | None = None,
        changes: ChangeTable | None = None,
        kv: KeyValue | None = None,
        genesis: Genesis | None = None,
        **genesis_options: object,
    ) -> None:
        if operations is None or changes is None:
            from ledger.operations import CHANGES, OPERATIONS

            operations = OPERATIONS if operations is None else operations
            changes = CHANGES if changes is None else changes
        self.kv: KeyValue = MemoryKV() if kv is None else kv
        self.operations = operations
        self.changes = changes
        self.members = tuple(members)
        document = genesis or make_genesis(members, **genesis_options)  # type: ignore[arg-type]
        self.genesis = codec.encode(document)
        self.app = Application(self.kv, operations, changes)
        self.app.init_chain(self.genesis)
        self.chain_id = self.info.chain_id
        self.last_outcome: BlockOutcome | None = None
        self._used = 0

    # ---- time and state ---------------------------------------------------------------------------------

    @property
    def info(self) -> Info:
        return self.app.info()

    @property
    def height(self) -> int:
        return self.info.height

    @property
    def now_ms(self) -> int:
        """The time the next block will have: STEP_MS after the tip's."""
        return self.info.time_ms + STEP_MS

    @property
    def state_root(self) -> bytes:
        return self.app.store.tip.state_root

    def record(self, key: bytes, kind: type[M]) -> M | None:
        return state.load(self.app.store, key, kind)

    def entries(self, subject: bytes) -> list[Entry]:
        return [Entry.FromString(data) for data in self.app.store.entries(subject, 0, 10_000)]

    # ---- transactions -----------------------------------------------------------------------------------

    def transaction(
        self,
        member: str,
        *operations: Operation,
        role: str = "operator",
        seed: bytes | None = None,
        idempotency_key: bytes | None = None,
        valid_until_ms: int | None = None,
    ) -> bytes:
        """A signed transaction; every call takes a fresh idempotency key unless one is given."""
        self._used += 1
        return block.sign_transaction(
            self.chain_id,
            seed if seed is not None else seed_of(member, role),
            operations,
            valid_until_ms if valid_until_ms is not None else self.now_ms + 60_000,
            idempotency_key if idempotency_key is not None else self._used.to_bytes(16, "big"),
        )

    def govern(
        self,
        *changes: Change,
        approvers: Sequence[str] | None = None,
        nonce: bytes | None = None,
        joiners: Sequence[bytes] = (),
    ) -> Operation:
        """A governance operation approved by the admin keys of `approvers` (default: all members); `joiners` are
        the seeds of validators that join, each with a proof that its node stands at the tip."""
        self._used += 1
        proofs = [self.join_proof(seed) for seed in joiners]
        proposal = codec.encode(
            GovernanceProposal(
                chain_id=self.chain_id,
                expires_ms=self.now_ms + 3_600_000,
                nonce=nonce if nonce is not None else self._used.to_bytes(16, "big"),
                changes=changes,
            )
        )
        purpose = hashes.Purpose.PROPOSAL
        approvals = [
            Signature(
                key=key_of(member, "admin"),
                signature=hashes.sign(seed_of(member, "admin"), purpose, self.chain_id, proposal),
            )
            for member in (self.members if approvers is None else approvers)
        ]
        return Operation(govern=Govern(proposal=proposal, approvals=approvals, join_proofs=proofs))

    def join_proof(self, seed: bytes, height: int = 0) -> JoinProof:
        """What the node of a validator key says that has decided this height (0: the tip)."""
        if not self.height:
            self.produce()
        leaf = self.app.store.log_leaf(height or self.height)
        key = hashes.public_key(seed)
        return joining.prove(
            self.chain_id, leaf.height, leaf.block_hash, key, lambda data: hashes.sign_raw(seed, data)
        )

    # ---- blocks -----------------------------------------------------------------------------------------

    def propose(self, transactions: Sequence[bytes] = (), now_ms: int | None = None) -> bytes:
        """A block on the tip that holds all of these transactions, or an AssertionError."""
        data = self.app.prepare_proposal(transactions, self.now_ms if now_ms is None else now_ms)
        taken = list(block.decode_block(data).transactions)
        assert taken == list(transactions), (
            f"{len(transactions) - len(taken)} transactions do not fit the block"
        )
        return data

    def decide(self, data: bytes) -> list[Result]:
        """Executes and stores a block as decided; returns its results in order."""
        header = block.decode_header(block.decode_block(data).header)
        self.app.process_proposal(data, header.time_ms)
        outcome = self.app.finalize_block(data)
        self.app.commit(data, outcome, certificate_of(header))
        self.last_outcome = outcome
        return [Result.FromString(result) for result in outcome.results]

    def produce(self, transactions: Sequence[bytes] = (), now_ms: int | None = None) -> list[Result]:
        """Makes the next block of these transactions; returns their results in order."""
        return self.decide(self.propose(transactions, now_ms))

    def submit(
        self, member: str, *operations: Operation, role: str = "operator", now_ms: int | None = None
    ) -> Result:
        """One transaction by a member's key in a block of its own; returns its result."""
        data = self.transaction(member, *operations, role=role, valid_until_ms=self._until(now_ms))
        return self.produce([data], now_ms)[0]

    def prove(self, *keys: bytes, height: int = 0) -> ProvenState:
        """Proofs under the newest root; a block is made first if the tip has no successor yet."""
        if height == 0 and (self.app.views.served() is None or self.info.next_due_ms == 0):
            self.produce()
        return self.app.prove(keys, height)

    def restart(self) -> None:
        """Opens the same store again, as after a stop."""
        self.app = Application(self.kv, self.operations, self.changes)

    def _until(self, now_ms: int | None) -> int:
        return (self.now_ms if now_ms is None else now_ms) + 60_000


def certificate_of(header: Header) -> bytes:
    """What stands in for a certificate: bytes that the ledger keeps beside the block."""
    return b"certificate of height %d" % header.height
