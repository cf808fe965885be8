"""One chain as seen by someone who believes only its id: every answer of a node is checked before it is used.

1. The genesis hashes to the chain id of the trust file; its validators are the first trusted set.
2. Headers lead from there to the newest: each certified by exactly the set trusted before it
   (bridge/light_client.py, the same code that runs on chain).
3. A certified header opens to the state root and the log root after its parent.
4. State values, and absences, are proven under the state root.
5. A history is complete when its entries hash to the (n, frontier) of the proven record.
6. A transaction hashes to the id in its entry and carries its signer's signature.
7. The time of an old height is its log leaf's, proven under the log root.

Whatever fails raises NotVerifiable, which names the node, the chain and the step.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from google.protobuf.message import Message

from bridge.light_client import TrustedState, from_genesis, verify_header
from client.connection import Connection
from client.trust import ChainTrust
from ledger import merkle, tree_proof
from ledger.block import (
    CheckedTransaction,
    LogLeaf,
    app_hash,
    block_hash,
    decode_header,
    decode_transaction,
    log_leaf_hash,
    parse_log_leaf,
)
from ledger.codec import decode
from ledger.errors import ChiptraceError, Invalid, InvariantBroken, Malformed
from ledger.genesis import chain_id as genesis_id
from ledger.genesis import decode_genesis
from ledger.history import verify_history
from ledger.limits import HISTORY_ITEMS_MAX, LOG_LEAVES_MAX, PROVE_KEYS_MAX, STATE_VALUE_BYTES_MAX
from proto.chiptrace.v1.ledger_pb2 import (
    AppHashOpening,
    Entry,
    Genesis,
    History,
    Reason,
    ValidatorSet,
)
from proto.chiptrace.v1.node_pb2 import (
    HeadersRequest,
    HistoryRequest,
    LogLeavesRequest,
    ProveReply,
    ProveRequest,
    StatusReply,
    StatusRequest,
)

M = TypeVar("M", bound=Message)
STALE_HEARTBEATS = 3
PIN_ATTEMPTS = 3


class NotVerifiable(ChiptraceError):
    """A node's answer does not hold: what was asked is not known, and the node is named."""


@dataclass(frozen=True)
class ProvenEntry:
    """One entry of a complete history with the checked transaction behind it."""

    n: int
    entry: Entry
    transaction: CheckedTransaction


@dataclass
class Tally:
    """What was checked: counts, and the bytes of proof that came over the line."""

    signatures: int = 0
    certificates: int = 0
    state_proofs: int = 0
    history_entries: int = 0
    bytes: int = 0


@dataclass
class Snapshot:
    """The chain's state after one height, certified by the header of the next."""

    height: int
    time_ms: int  # of the certifying header
    opening: AppHashOpening
    values: dict[bytes, bytes | None] = field(default_factory=dict)


class VerifiedChain:
    """Answers of one chain's nodes, each checked. `now_ms` is the auditor's own clock."""

    def __init__(self, trust: ChainTrust, connection: Connection, now_ms: Callable[[], int]) -> None:
        self.trust = trust
        self.connection = connection
        self.tally = Tally()
        self._now_ms = now_ms
        self._trusted: TrustedState | None = None
        self._snapshot: Snapshot | None = None
        self._times: dict[int, int] = {}
        self._transactions: dict[bytes, CheckedTransaction] = {}
        self.genesis: Genesis | None = None

    @contextmanager
    def _checking(self, what: str) -> Iterator[None]:
        try:
            yield
        except (Malformed, Invalid) as error:
            raise NotVerifiable(
                f"chain {self.trust.name}: node {self.connection.endpoint} gave a false or broken answer for {what}: "
                f"{error}. Ask another node of the chain, and tell its members about this one.",
                error.reason,
            ) from error

    # ---- the head (steps 1 and 2) -------------------------------------------------------------------

    def trusted(self) -> TrustedState:
        """The newest header this auditor has verified; the genesis before the first."""
        if self._trusted is None:
            status: StatusReply = self.connection.call(lambda stub: stub.GetStatus, StatusRequest())
            with self._checking("the genesis"):
                if genesis_id(status.genesis) != self.trust.chain_id:
                    raise Invalid(
                        "its genesis is not the one of the trust file's chain id", Reason.WRONG_CHAIN
                    )
                self.genesis = decode_genesis(status.genesis)
                first = ValidatorSet(in_force_from=1, validators=self.genesis.validators)
                self._trusted = from_genesis(self.trust.chain_id, first, self.genesis.time_ms)
        return self._trusted

    def advance(self) -> TrustedState:
        """Follow certified headers to the newest one the node has."""
        trusted = self.trusted()
        while True:
            reply = self.connection.call(
                lambda stub: stub.GetHeaders, HeadersRequest(from_height=trusted.latest_height)
            )
            before = trusted.latest_height
            with self._checking("headers"):
                for signed in reply.headers:
                    trusted = verify_header(trusted, signed, self._now_ms(), None)
                    self.tally.certificates += 1
                    self.tally.signatures += len(signed.certificate.signatures)
            self._trusted = trusted
            if not reply.more or trusted.latest_height == before:
                return trusted

    def stale_by_ms(self, time_ms: int) -> int:
        """How much older than three heartbeats this header time is by our clock; 0 or less: fresh."""
        return self._now_ms() - time_ms - STALE_HEARTBEATS * self.trust.heartbeat_ms

    # ---- state (steps 3 and 4) ----------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """The state all questions of one audit are asked of: the newest provable height, pinned at first use."""
        for attempt in range(PIN_ATTEMPTS):
            if self._snapshot is not None:
                break
            self.advance()
            try:
                self._snapshot = self._prove([], 0)
            except NotVerifiable as error:
                # The set changed between the two answers: its boundary header is among the next ones.
                if error.reason != Reason.BAD_VALIDATORS or attempt == PIN_ATTEMPTS - 1:
                    raise
        if self._snapshot is None:
            raise InvariantBroken("no height was pinned")
        return self._snapshot

    @property
    def pinned(self) -> Snapshot | None:
        """The pinned state, if any question was asked yet."""
        return self._snapshot

    def repin(self) -> None:
        """Forget the pinned height; the next question pins the newest one."""
        self._snapshot = None

    def values(self, keys: Iterable[bytes]) -> dict[bytes, bytes | None]:
        """The proven value of each key at the pinned height; None where its absence is proven."""
        pinned = self.snapshot()
        asked = list(dict.fromkeys(keys))
        wanted = [key for key in asked if key not in pinned.values]
        for start in range(0, len(wanted), PROVE_KEYS_MAX):
            self._prove(wanted[start : start + PROVE_KEYS_MAX], pinned.height, pinned)
        return {key: pinned.values[key] for key in asked}

    def record(self, key: bytes, kind: type[M]) -> M | None:
        """The proven record under a key, decoded; None where its absence is proven."""
        value = self.values([key])[key]
        with self._checking("a record"):
            return None if value is None else decode(kind, value, STATE_VALUE_BYTES_MAX)

    def _prove(self, keys: list[bytes], height: int, pinned: Snapshot | None = None) -> Snapshot:
        reply: ProveReply = self.connection.call(
            lambda stub: stub.Prove, ProveRequest(keys=keys, height=height)
        )
        with self._checking("state proofs"):
            if pinned is None:
                pinned = self._open(reply)
            elif reply.height != pinned.height:
                raise Invalid(f"asked for height {pinned.height}, got {reply.height}", Reason.BAD_PROOF)
            if [proven.key for proven in reply.keys] != keys:
                raise Invalid("other keys than were asked for", Reason.BAD_PROOF)
            for proven in reply.keys:
                value = proven.value if proven.present else None
                tree_proof.verify(
                    self.trust.chain_id, pinned.opening.state_root, proven.key, value, proven.proof
                )
                pinned.values[proven.key] = value
                self.tally.state_proofs += 1
        return pinned

    def _open(self, reply: ProveReply) -> Snapshot:
        """Check the header above `reply.height` and that it commits to the opening."""
        header = decode_header(reply.head.header)
        if header.height != reply.height + 1:
            raise Invalid("the head is not the one above the proven height", Reason.BAD_PROOF)
        trusted = self.trusted()
        if block_hash(self.trust.chain_id, reply.head.header) != trusted.latest_block_hash:
            self._trusted = verify_header(trusted, reply.head, self._now_ms(), None)
            self.tally.certificates += 1
            self.tally.signatures += len(reply.head.certificate.signatures)
        if header.app_hash != app_hash(self.trust.chain_id, reply.opening):
            raise Invalid("the header does not commit to this state", Reason.BAD_PROOF)
        return Snapshot(reply.height, header.time_ms, reply.opening)

    # ---- histories and transactions (steps 5 and 6) -------------------------------------------------

    def history(self, subject: bytes, history: History) -> list[ProvenEntry]:
        """Every entry of the subject up to the proven (n, frontier): none left out, none added."""
        entries: list[bytes] = []
        transactions: list[bytes] = []
        while len(entries) < history.n:
            request = HistoryRequest(
                subject=subject,
                from_n=len(entries),
                limit=min(HISTORY_ITEMS_MAX, history.n - len(entries)),
                with_transactions=True,
            )
            reply = self.connection.call(lambda stub: stub.GetHistory, request)
            if not reply.items:
                break
            entries.extend(item.entry for item in reply.items)
            transactions.extend(item.transaction for item in reply.items)
        with self._checking("a history"):
            verify_history(self.trust.chain_id, history, entries)
            proven = []
            for n, (data, transaction) in enumerate(zip(entries, transactions, strict=True)):
                entry = decode(Entry, data, STATE_VALUE_BYTES_MAX)
                if entry.subject != subject:
                    raise Invalid("an entry of another subject", Reason.BAD_PROOF)
                proven.append(ProvenEntry(n, entry, self._transaction(entry.transaction, transaction)))
        self.tally.history_entries += len(proven)
        return proven

    def _transaction(self, wanted: bytes, data: bytes) -> CheckedTransaction:
        if wanted not in self._transactions:
            checked = decode_transaction(self.trust.chain_id, data)
            if checked.id != wanted:
                raise Invalid("a transaction that is not the one the entry names", Reason.BAD_PROOF)
            self.tally.signatures += len(checked.signatures)
            self._transactions[wanted] = checked
        return self._transactions[wanted]

    # ---- old heights (step 7) -------------------------------------------------------------------------

    def times(self, heights: Iterable[int]) -> dict[int, int]:
        """Header time of each old height, in milliseconds, proven under the pinned log root."""
        pinned = self.snapshot()
        asked = set(heights)
        with self._checking("the heights of entries"):
            if any(height > pinned.height for height in asked):
                raise Invalid("an entry claims a height that is not decided yet", Reason.BAD_PROOF)
        wanted = sorted(height for height in asked if height and height not in self._times)
        for start in range(0, len(wanted), LOG_LEAVES_MAX):
            part = wanted[start : start + LOG_LEAVES_MAX]
            request = LogLeavesRequest(heights=part, size=pinned.opening.log_size)
            reply = self.connection.call(lambda stub: stub.GetLogLeaves, request)
            with self._checking("log leaves"):
                if len(reply.leaves) != len(part):
                    raise Invalid("fewer log leaves than were asked for", Reason.BAD_PROOF)
                for height, proof in zip(part, reply.leaves, strict=True):
                    leaf: LogLeaf = parse_log_leaf(proof.leaf)
                    if leaf.height != height or proof.inclusion.index != height - 1:
                        raise Invalid(f"a log leaf that is not height {height}'s", Reason.BAD_PROOF)
                    if proof.inclusion.size != pinned.opening.log_size:
                        raise Invalid("a log proof of another size", Reason.BAD_PROOF)
                    merkle.verify_inclusion(
                        log_leaf_hash(self.trust.chain_id, proof.leaf),
                        proof.inclusion,
                        pinned.opening.log_root,
                    )
                    self._times[height] = leaf.time_ms
        genesis_ms = self.genesis.time_ms if self.genesis is not None else 0
        return {height: self._times[height] if height else genesis_ms for height in sorted(asked)}
