"""What a node would answer, out of a passport: each thing is found under what it is, however it is asked for.

What is not there raises NotVerifiable with NOT_IN_PASSPORT, naming it: nothing that is missing counts as absent. Only a
chain that the passport does not have at all is a chain that gave no answer. What is there is checked by who asks
(client/verified.py), as a node's answers are.
"""

from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar, cast

from google.protobuf.message import Message

from client.connection import DEADLINE_SECONDS, NoAnswer
from client.passport import check_ascending, unreadable
from client.trust import ChainTrust
from client.verified import NotVerifiable, VerifiedChain
from ledger.block import decode_header, transaction_id
from ledger.codec import decode
from ledger.errors import ChiptraceError, Malformed
from ledger.hashes import HASH_BYTES, ZERO
from ledger.limits import HEADERS_PER_REPLY_MAX, STATE_VALUE_BYTES_MAX, TRANSACTION_BYTES_MAX, TREE_DEPTH_MAX
from ledger.state import parse_state_key
from proto.chiptrace.v1.ledger_pb2 import Entry, Reason, Transaction
from proto.chiptrace.v1.node_pb2 import (
    HeadersReply,
    HeadersRequest,
    HistoriesReply,
    HistoriesRequest,
    HistoryReply,
    HistoryRequest,
    LogLeavesReply,
    LogLeavesRequest,
    ProvenKey,
    ProveReply,
    ProveRequest,
    StatusReply,
    StatusRequest,
    TransactionReply,
    TransactionRequest,
)
from proto.chiptrace.v1.node_pb2_grpc import ChainStub
from proto.chiptrace.v1.passport_pb2 import PassportChain

Reply = TypeVar("Reply", bound=Message)


class Answers:
    """The reading calls of a node (proto/chiptrace/v1/node.proto), answered from one chain's part of a passport."""

    def __init__(self, chain: PassportChain) -> None:
        """Raises Malformed for what is no header, and no transaction."""
        self._chain = chain
        try:
            self._headers = [(decode_header(signed.header).height, signed) for signed in chain.headers]
            self._transactions = {
                transaction_id(chain.chain_id, decode(Transaction, data, TRANSACTION_BYTES_MAX).body): data
                for data in chain.transactions
            }
        except Malformed as error:
            raise unreadable(error) from error
        check_ascending("headers", (height for height, _ in self._headers))
        pool = chain.hashes  # once: each look at it is a copy
        self._hashes = [pool[start : start + HASH_BYTES] for start in range(0, len(pool), HASH_BYTES)]
        self._values = {value.key: value for value in chain.values}
        self._histories = {history.subject: list(history.entries) for history in chain.histories}
        self._leaves = {leaf.height: leaf for leaf in chain.leaves}

    def __getattr__(self, name: str) -> NoReturn:
        """Any other call."""
        missing(f"what a node answers to {name}")

    def GetStatus(self, _: StatusRequest) -> StatusReply:  # noqa: N802
        """The genesis."""
        return StatusReply(genesis=self._chain.genesis)

    def GetHeaders(self, request: HeadersRequest) -> HeadersReply:  # noqa: N802
        """Headers above a height."""
        above = [signed for height, signed in self._headers if height > request.from_height]
        return HeadersReply(headers=above[:HEADERS_PER_REPLY_MAX], more=len(above) > HEADERS_PER_REPLY_MAX)

    def Prove(self, request: ProveRequest) -> ProveReply:  # noqa: N802
        """Values at the one height that is here."""
        if not self._headers:
            missing("its newest header")
        height = self._headers[-1][0] - 1
        if request.height not in (0, height):
            missing(f"the state after height {request.height}, but that after {height}")
        reply = ProveReply(height=height, head=self._headers[-1][1], opening=self._chain.opening)
        for key in request.keys:
            self._prove(key, reply.keys.add())
        return reply

    def _prove(self, key: bytes, proven: ProvenKey) -> None:
        value = self._values.get(key)
        if value is None:
            missing(f"what stands under {named(key)}")
        proven.key, proven.present, proven.value = key, not value.absent, value.value
        proof = proven.proof
        proof.depth, proof.bitmap = value.depth, value.bitmap
        proof.siblings.extend(self._named(value.siblings))
        proof.other_key_hash, proof.other_value_hash = value.other_key_hash, value.other_value_hash

    def _named(self, places: Sequence[int]) -> list[bytes]:
        """The hashes that a proof names; no more than the longest proof has, for they would take memory first."""
        hashes = self._hashes
        if len(places) > TREE_DEPTH_MAX:
            raise Malformed(f"a proof of {len(places)} hashes in the passport", Reason.OVERSIZE)
        try:
            return [hashes[place] for place in places]
        except IndexError:
            raise Malformed(
                f"a proof in the passport names a hash that is not among its {len(hashes)}"
            ) from None

    def GetHistory(self, request: HistoryRequest) -> HistoryReply:  # noqa: N802
        """Entries from one on."""
        entries = self._from(request.subject, request.from_n)
        chosen = entries[: request.limit or None]
        reply = HistoryReply(more=len(chosen) < len(entries))
        self._fill(reply, chosen, set(), with_them=request.with_transactions)
        return reply

    def GetHistories(self, request: HistoriesRequest) -> HistoriesReply:  # noqa: N802
        """Whole histories, each transaction once."""
        told: set[bytes] = set()
        reply = HistoriesReply()
        for subject in request.subjects:
            entries = self._from(subject, 0)
            self._fill(reply.histories.add(), entries, told, with_them=request.with_transactions)
        return reply

    def _from(self, subject: bytes, start: int) -> list[bytes]:
        entries = self._histories.get(subject, [])
        if start >= len(entries):
            missing(f"the history of {named(subject)} from entry {start} on")
        return entries[start:]

    def _fill(self, reply: HistoryReply, entries: list[bytes], told: set[bytes], *, with_them: bool) -> None:
        for data in entries:
            item = reply.items.add(entry=data)
            name = decode(Entry, data, STATE_VALUE_BYTES_MAX).transaction if with_them else ZERO
            if name != ZERO and name not in told:  # ZERO: the genesis, or a recovery, put it
                told.add(name)
                item.transaction = self._transaction(name)

    def _transaction(self, name: bytes) -> bytes:
        if name not in self._transactions:
            missing(f"transaction {name.hex()}")
        return self._transactions[name]

    def GetTransaction(self, request: TransactionRequest) -> TransactionReply:  # noqa: N802
        """One transaction by its id."""
        return TransactionReply(transaction=self._transaction(request.id))

    def GetLogLeaves(self, request: LogLeavesRequest) -> LogLeavesReply:  # noqa: N802
        """Leaves of old heights."""
        reply, size = LogLeavesReply(), self._chain.opening.log_size
        for height in request.heights:
            leaf = self._leaves.get(height)
            if leaf is None:
                missing(f"what height {height} left in the log")
            proof = reply.leaves.add(leaf=leaf.leaf)
            proof.inclusion.index, proof.inclusion.size = height - 1, size
            proof.inclusion.path.extend(self._named(leaf.path))
        return reply


def named(key: bytes) -> str:
    """A state key in words: its kind and its components."""
    try:
        kind, components = parse_state_key(key)
    except Malformed:
        return key.hex()
    words = (_word(part) for part in components)
    return " ".join((kind.name.lower(), *words))


def _word(component: bytes) -> str:
    try:
        text = component.decode()
    except UnicodeDecodeError:
        return component.hex()
    return text if text.isprintable() else component.hex()


def missing(what: str) -> NoReturn:
    """Raises NotVerifiable with NOT_IN_PASSPORT."""
    raise NotVerifiable(
        f"the passport lacks {what}: something was taken out of it; or it was made with a trust file that names fewer chains, "
        "or by a version of chiptrace that checked less. Ask for a new one",
        Reason.NOT_IN_PASSPORT,
    )


class PassportLine:
    """A line that ends in a passport. `part` None: it has nothing of that chain."""

    endpoint = "the passport"

    def __init__(self, trust: ChainTrust, part: PassportChain | None) -> None:
        """Raises Malformed."""
        self._trust = trust
        self._answers = None if part is None else Answers(part)
        self.bytes_received = 0 if part is None else part.ByteSize()

    def call(
        self,
        method: Callable[[ChainStub], Callable[..., Reply]],
        request: Message,
        seconds: float = DEADLINE_SECONDS,  # noqa: ARG002
    ) -> Reply:
        """The answer out of the passport. Raises NotVerifiable where it has none, NoAnswer where the chain is not in it."""
        if self._answers is None:
            raise NoAnswer(f"the passport holds nothing of chain {self._trust.name}", Reason.NOT_IN_PASSPORT)
        return method(cast("ChainStub", self._answers))(request)


class ChainInPassport(VerifiedChain):
    """One chain as a passport shows it, of the height that it was made at. max_age_ms: how old that may be by the asker's
    clock before it is a finding; None: however old."""

    def __init__(
        self,
        trust: ChainTrust,
        part: PassportChain | None,
        now_ms: Callable[[], int],
        max_age_ms: int | None = None,
    ) -> None:
        super().__init__(trust, PassportLine(trust, part), now_ms)
        self._max_age_ms = max_age_ms

    def blame(self, what: str, error: ChiptraceError) -> str:
        """As of a node's answer."""
        return (
            f"the passport does not hold for {what}: {error}. It was changed on its way, or never was true: ask who gave it "
            "for another one, or audit the part yourself."
        )

    def stale_by_ms(self, time_ms: int) -> int:
        """How much older than the greatest age that the asker takes."""
        return 0 if self._max_age_ms is None else self.now_ms() - time_ms - self._max_age_ms

    def _why_stale(self, late_s: int) -> str:
        return (
            f"what the passport shows of chain {self.trust.name} is {late_s} s older than the greatest age that was "
            "asked for: it may hide what came after; ask for a new one"
        )
