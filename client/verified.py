"""One chain as seen by someone who believes only its id: every answer of a node is checked before it is used.

1. The genesis hashes to the chain id of the trust file; its validators are the first trusted set.
2. Headers lead from there to the newest: each certified by exactly the set trusted before it
   (bridge/light_client.py, the same code that runs on chain), past no recovery that the trust file does not list.
3. A certified header opens to the state root and the log root after its parent.
4. State values, and absences, are proven under the state root.
5. A history is complete when its entries hash to the (n, frontier) of the proven record.
6. A transaction hashes to the id in its entry and carries its signer's signature.
7. The time of an old height is its log leaf's, proven under the log root.

Whatever fails raises NotVerifiable, which names the node, the chain and the step.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

from google.protobuf.message import Message

from bridge.light_client import TrustedState, from_genesis, verify_header
from bridge.recovered import check_passed, follow_recovery
from client.connection import Line
from client.histories import Histories, ProvenEntry, Tally
from client.log_proofs import LogProofs
from client.records import own_key, proven_leaf
from client.trust import ChainTrust
from ledger.block import LogLeaf, app_hash, block_hash, decode_header
from ledger.codec import decode
from ledger.errors import ChiptraceError, Invalid, InvariantBroken, Malformed, Refused
from ledger.genesis import chain_id as genesis_id
from ledger.genesis import decode_genesis
from ledger.limits import (
    HEADERS_PER_REPLY_MAX,
    LOG_LEAVES_MAX,
    PROVE_KEYS_MAX,
    STATE_VALUE_BYTES_MAX,
)
from ledger.recovery import Opened
from ledger.tree_proof import Proofs
from proto.chiptrace.v1.consensus_pb2 import SignedHeader
from proto.chiptrace.v1.ledger_pb2 import (
    AppHashOpening,
    Genesis,
    History,
    Reason,
    ValidatorSet,
)
from proto.chiptrace.v1.node_pb2 import (
    HeadersRequest,
    LogLeavesRequest,
    ProveReply,
    ProveRequest,
    StatusReply,
    StatusRequest,
)
from proto.chiptrace.v1.node_pb2_grpc import ChainStub

M = TypeVar("M", bound=Message)
R = TypeVar("R", bound=Message)
STALE_HEARTBEATS = 3
PIN_ATTEMPTS = 3
HISTORY_ENTRIES_MAX = 100_000  # of one subject; a chain that claims more is not followed
# What came between two answers of an honest node: a set change, or another node that lags a little.
_PIN_AGAIN = (Reason.BAD_VALIDATORS, Reason.NOT_NEWER, Reason.RECOVERED)


class NotVerifiable(ChiptraceError):
    """A node's answer does not hold: what was asked is not known, and the node is named."""


class Overtaken(NotVerifiable):
    """What was pinned is older than what it is compared with; asking anew may well give an answer."""


@dataclass
class Budget:
    """How much one question may cost, whatever nodes answer; time in milliseconds of the asker's clock."""

    until_ms: int
    calls: int
    bytes: int


@dataclass
class Snapshot:
    """The chain's state after one height, certified by the header of the next."""

    height: int
    time_ms: int  # of the certifying header
    opening: AppHashOpening
    tree: Proofs  # under the opening's state root
    log: LogProofs  # under its log root
    values: dict[bytes, bytes | None] = field(default_factory=dict)
    records: dict[tuple[bytes, type[Message]], Message | None] = field(default_factory=dict)


class _Checking:
    """Whatever is refused within is a false answer of the node. A class, for it is entered ten times for each part."""

    __slots__ = ("_chain", "_what")

    def __init__(self, chain: "VerifiedChain", what: str) -> None:
        self._chain = chain
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _where: object) -> None:
        if not isinstance(error, Malformed | Invalid | Refused):
            return
        name = self._chain.trust.name
        if error.reason in (Reason.RECOVERED, Reason.RECOVERY_CONFLICT):
            raise NotVerifiable(f"chain {name}: {error}", error.reason) from error
        blame = self._chain.blame(self._what, error)
        if error.reason == Reason.BAD_TIME:
            blame += " Is the clock of this machine right? It is what times are held against."
        raise NotVerifiable(f"chain {name}: {blame}", error.reason) from error


class VerifiedChain:
    """Answers of one chain's nodes, each checked. `now_ms` is the auditor's own clock."""

    def __init__(self, trust: ChainTrust, connection: Line, now_ms: Callable[[], int]) -> None:
        self.trust = trust
        self.connection = connection
        self.tally = Tally()
        self._now_ms = now_ms
        self._trusted: TrustedState | None = None
        self._snapshot: Snapshot | None = None
        self._leaves: dict[int, LogLeaf] = {}
        self._in_order_at = 0  # the pinned height for which the times of all these were found to increase
        self.genesis: Genesis | None = None
        self.recoveries: dict[int, Opened] = {}  # gone through on the way to the head, by the height before
        self.budget: Budget | None = None
        self._histories = Histories(trust.chain_id, self._call, self._checking, self.tally, self.recoveries)

    def now_ms(self) -> int:
        """The asker's clock, in milliseconds."""
        return self._now_ms()

    def _call(self, method: Callable[[ChainStub], Callable[..., R]], request: Message) -> R:
        reply = self.connection.call(method, request)
        if self.budget is not None:
            self.budget.calls -= 1
            self.budget.bytes -= reply.ByteSize()
            if min(self.budget.calls, self.budget.bytes) < 0 or self._now_ms() > self.budget.until_ms:
                raise NotVerifiable(
                    f"chain {self.trust.name}: node {self.connection.endpoint} takes more time, calls or bytes than one "
                    "question is worth. Ask another node of the chain, or about a smaller part.",
                    Reason.OVERSIZE,
                )
        return reply

    def _checking(self, what: str) -> "_Checking":
        return _Checking(self, what)

    def blame(self, what: str, error: ChiptraceError) -> str:
        """Whose answer for `what` does not hold, why, and what to do."""
        return (
            f"node {self.connection.endpoint} gave a false or broken answer for {what}: "
            f"{error}. Ask another node of the chain, and tell its members about this one."
        )

    # ---- the head (steps 1 and 2) -------------------------------------------------------------------

    def trusted(self) -> TrustedState:
        """The newest header this auditor has verified; the genesis before the first."""
        if self._trusted is None:
            status: StatusReply = self._call(lambda stub: stub.GetStatus, StatusRequest())
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
            reply = self._call(
                lambda stub: stub.GetHeaders, HeadersRequest(from_height=trusted.latest_height)
            )
            before = trusted.latest_height
            with self._checking("headers"):
                if len(reply.headers) > HEADERS_PER_REPLY_MAX + 1:
                    raise Invalid(f"{len(reply.headers)} headers in one answer", Reason.OVERSIZE)
                for signed in reply.headers:
                    trusted = self._follow(trusted, signed)
            self._trusted = trusted
            if not reply.more or trusted.latest_height == before:
                return trusted

    def _follow(self, trusted: TrustedState, signed: SignedHeader) -> TrustedState:
        self.tally.certificates += 1
        self.tally.signatures += len(signed.certificate.signatures)
        if not signed.recovery or block_hash(trusted.chain_id, signed.header) == trusted.latest_block_hash:
            believed = verify_header(trusted, signed, self._now_ms(), None)
        else:
            accepted = [item.document for item in self.trust.recoveries]
            believed, opened = follow_recovery(trusted, signed, accepted, self._now_ms())
            self.recoveries[opened.height] = opened
        check_passed(self.trust.recoveries, self.recoveries, believed.latest_height)
        return believed

    def stale_by_ms(self, time_ms: int) -> int:
        """How much older than three heartbeats this header time is by our clock; 0 or less: fresh."""
        return self._now_ms() - time_ms - STALE_HEARTBEATS * self.trust.heartbeat_ms

    def stale(self, time_ms: int) -> str:
        """Why a head of this time is too old to tell what is true now; empty: it is not."""
        late_ms = self.stale_by_ms(time_ms)
        return "" if late_ms <= 0 else self._why_stale(-(-late_ms // 1000))

    def _why_stale(self, late_s: int) -> str:
        return (
            f"the newest head that {self.connection.endpoint} shows of chain {self.trust.name} is "
            f"{late_s} s older than three heartbeats: it may hide what came after; ask another node"
        )

    # ---- state (steps 3 and 4) ----------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """The state all questions of one audit are asked of: the newest provable height, pinned at first use."""
        if self._snapshot is not None:
            return self._snapshot
        for attempt in range(PIN_ATTEMPTS):
            self.advance()
            try:
                self._snapshot = self._prove([], 0)
                return self._snapshot
            except NotVerifiable as error:
                # After a set change between the two answers, its boundary header is among the next ones.
                if error.reason not in _PIN_AGAIN or attempt == PIN_ATTEMPTS - 1:
                    raise
        raise InvariantBroken("no height was pinned")

    @property
    def pinned(self) -> Snapshot | None:
        """The pinned state, if any question was asked yet."""
        return self._snapshot

    def repin(self) -> None:
        """Forget the pinned height; the next question pins the newest one."""
        self._snapshot = None
        self._histories.forget()

    def values(self, keys: Iterable[bytes]) -> dict[bytes, bytes | None]:
        """The proven value of each key at the pinned height; None where its absence is proven."""
        pinned = self.snapshot()
        asked = list(dict.fromkeys(keys))
        wanted = [key for key in asked if key not in pinned.values]
        for start in range(0, len(wanted), PROVE_KEYS_MAX):
            self._prove(wanted[start : start + PROVE_KEYS_MAX], pinned.height, pinned)
        return {key: pinned.values[key] for key in asked}

    def record(self, key: bytes, kind: type[M]) -> M | None:
        """The proven record under a key, decoded once for all who ask, so not to be changed; None where its absence is
        proven."""
        known = (self._snapshot or self.snapshot()).records
        place = key, kind
        if place not in known:
            known[place] = self._decoded(key, kind)
        return known[place]  # type: ignore[return-value]  # what was decoded as this kind

    def _decoded(self, key: bytes, kind: type[M]) -> M | None:
        value = self.get(key)
        if value is None:
            return None
        with self._checking("a record"):
            record = decode(kind, value, STATE_VALUE_BYTES_MAX)
            if own_key(record) not in (None, key):
                raise Invalid("a record that names another subject than it stands under", Reason.BAD_PROOF)
        return record

    def records(self, keys: Iterable[bytes], kind: type[M]) -> list[M]:
        """The proven records under those of the keys that have one."""
        found = (self.record(key, kind) for key in keys)
        return [record for record in found if record is not None]

    def get(self, key: bytes) -> bytes | None:
        """The proven value of one key, so that the ledger's own rules can read this chain (ledger/state.py)."""
        known = (self._snapshot or self.snapshot()).values
        return known[key] if key in known else self.values([key])[key]

    def _prove(self, keys: list[bytes], height: int, pinned: Snapshot | None = None) -> Snapshot:
        reply: ProveReply = self._call(lambda stub: stub.Prove, ProveRequest(keys=keys, height=height))
        with self._checking("state proofs"):
            if pinned is None:
                pinned = self._open(reply)
            elif reply.height != pinned.height:
                raise Invalid(f"asked for height {pinned.height}, got {reply.height}", Reason.BAD_PROOF)
            if [proven.key for proven in reply.keys] != keys:
                raise Invalid("other keys than were asked for", Reason.BAD_PROOF)
            for key, proven in zip(keys, reply.keys, strict=True):
                value = proven.value if proven.present else None
                pinned.tree.verify(key, value, proven.proof)
                pinned.values[key] = value
                self.tally.state_proofs += 1
        return pinned

    def _open(self, reply: ProveReply) -> Snapshot:
        """Check the header above `reply.height` and that it commits to the opening."""
        header = decode_header(reply.head.header)
        if header.height != reply.height + 1:
            raise Invalid("the head is not the one above the proven height", Reason.BAD_PROOF)
        if reply.height == 0:
            raise Invalid("the chain has no block that can be proven yet; ask again later", Reason.NOT_SYNCED)
        if reply.opening.log_size != reply.height:
            raise Invalid("the log has not one leaf per height", Reason.BAD_PROOF)
        trusted = self.trusted()
        if block_hash(self.trust.chain_id, reply.head.header) != trusted.latest_block_hash:
            self._trusted = self._follow(trusted, reply.head)
        if header.app_hash != app_hash(self.trust.chain_id, reply.opening):
            raise Invalid("the header does not commit to this state", Reason.BAD_PROOF)
        tree = Proofs(self.trust.chain_id, reply.opening.state_root)
        log = LogProofs(reply.opening.log_size, reply.opening.log_root)
        return Snapshot(reply.height, header.time_ms, reply.opening, tree, log)

    # ---- histories and transactions (steps 5 and 6) -------------------------------------------------

    def history(self, subject: bytes, history: History) -> list[ProvenEntry]:
        """Every entry of the subject up to the proven (n, frontier): none left out, none added."""
        self._check_length(history)
        known = self._histories.known(subject, history)
        return self._histories.read(subject, history) if known is None else known

    def read_histories(self, wanted: Mapping[bytes, History]) -> None:
        """Reads the histories of many subjects in few questions, so that `history` has them at hand."""
        for history in wanted.values():
            self._check_length(history)
        self._histories.read_many(wanted, self.snapshot().height)

    def _check_length(self, history: History) -> None:
        if history.n > HISTORY_ENTRIES_MAX:
            raise NotVerifiable(
                f"chain {self.trust.name}: a history of {history.n} entries is more than the {HISTORY_ENTRIES_MAX} that "
                "are followed; audit a smaller part",
                Reason.OVERSIZE,
            )

    # ---- old heights (step 7) -------------------------------------------------------------------------

    def times(self, heights: Iterable[int]) -> dict[int, int]:
        """Header time of each old height, in milliseconds, proven under the pinned log root."""
        return {height: leaf.time_ms for height, leaf in self.leaves(heights).items()}

    def leaves(self, heights: Iterable[int]) -> dict[int, LogLeaf]:
        """What each old height left in the log, proven under the pinned log root."""
        pinned = self.snapshot()
        asked = set(heights)
        with self._checking("the heights of entries"):
            if asked and not 1 <= min(asked) <= max(asked) <= pinned.height:
                raise Invalid("an entry claims a height that is not decided", Reason.BAD_PROOF)
        wanted = sorted(height for height in asked if height not in self._leaves)
        for start in range(0, len(wanted), LOG_LEAVES_MAX):
            part = wanted[start : start + LOG_LEAVES_MAX]
            request = LogLeavesRequest(heights=part, size=pinned.opening.log_size)
            reply = self._call(lambda stub: stub.GetLogLeaves, request)
            with self._checking("log leaves"):
                if len(reply.leaves) != len(part):
                    raise Invalid("other log leaves than were asked for", Reason.BAD_PROOF)
                for height, proof in zip(part, reply.leaves, strict=True):
                    self._leaves[height] = proven_leaf(self.trust.chain_id, pinned.log, height, proof)
        if wanted or self._in_order_at != pinned.height:
            self._check_order(pinned)
        return {height: self._leaves[height] for height in asked}

    def _check_order(self, pinned: Snapshot) -> None:
        """Step 7 for all heights that are known by now, not only those that were asked for together."""
        with self._checking("the times of heights"):
            times = [self._leaves[height].time_ms for height in sorted(self._leaves)] + [pinned.time_ms]
            if any(after <= before for before, after in pairwise(times)):
                raise Invalid("time does not increase with height", Reason.BAD_TIME)
        self._in_order_at = pinned.height


def older_or_false(source: VerifiedChain, time_ms: int, text: str) -> NotVerifiable:
    """What to raise where a chain shows nothing of what another one shows of it at a time: it may be shown as it was before."""
    if time_ms > source.snapshot().time_ms:
        why = f"{source.connection.endpoint} shows what was before that; ask again, or another node"
        return Overtaken(f"{text}: {why}", Reason.PACKET_MISMATCH)
    return NotVerifiable(f"{text}. Tell the members of both chains.", Reason.PACKET_MISMATCH)
