"""How a passport is made: the line to a chain's nodes keeps what it brings, and of that stays what belongs to the
pinned height, each thing once.

Kept are answers as they came; whether they hold, says the audit that asked for them. So a passport is made after an audit,
and verified itself before anybody gets it (client/passport_verify.py).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from google.protobuf.message import Message

from client.connection import DEADLINE_SECONDS, Line
from client.verified import VerifiedChain
from ledger.block import decode_header
from ledger.codec import decode
from ledger.hashes import ZERO
from ledger.limits import LOG_LEAVES_MAX, STATE_VALUE_BYTES_MAX
from proto.chiptrace.v1.consensus_pb2 import SignedHeader
from proto.chiptrace.v1.ledger_pb2 import Entry, LogLeafProof, Membership
from proto.chiptrace.v1.node_pb2 import (
    HeadersReply,
    HistoriesReply,
    HistoriesRequest,
    HistoryItem,
    HistoryReply,
    HistoryRequest,
    LogLeavesReply,
    LogLeavesRequest,
    ProvenKey,
    ProveReply,
    ProveRequest,
    StatusReply,
    TransactionReply,
    TransactionRequest,
)
from proto.chiptrace.v1.node_pb2_grpc import ChainStub
from proto.chiptrace.v1.passport_pb2 import Passport, PassportChain

Reply = TypeVar("Reply", bound=Message)


class Keeping:
    """A line that keeps all answers it brings."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self.answers: list[tuple[Message, Message]] = []

    @property
    def endpoint(self) -> str:
        """As of the line itself."""
        return self._line.endpoint

    @property
    def bytes_received(self) -> int:
        """As of the line itself."""
        return self._line.bytes_received

    def call(
        self,
        method: Callable[[ChainStub], Callable[..., Reply]],
        request: Message,
        seconds: float = DEADLINE_SECONDS,
    ) -> Reply:
        """As of the line itself."""
        reply = self._line.call(method, request, seconds)
        self.answers.append((request, reply))
        return reply


def keep_answers(chains: Mapping[bytes, VerifiedChain]) -> dict[bytes, Keeping]:
    """Has every chain, from now on, keep what its nodes answer."""
    lines = {chain_id: Keeping(chain.connection) for chain_id, chain in chains.items()}
    for chain_id, chain in chains.items():
        chain.connection = lines[chain_id]
    return lines


def make(
    asked: str, lines: Mapping[bytes, Keeping], shown: Iterable[Membership] = (), profile: bytes = b""
) -> Passport:
    """The passport of a part by canonical id, of what the lines to the chains brought. A chain that gave no answer has no
    place in it. Raises Malformed for answers that no audit can have taken; NoAnswer, NodeRefused."""
    passport = Passport(
        asked=asked, shown=sorted(shown, key=lambda membership: membership.serial), profile=profile
    )
    for chain_id, line in sorted(lines.items()):
        pins = [reply for request, reply in line.answers if _pins(request) and isinstance(reply, ProveReply)]
        if pins:
            passport.chains.append(_Chain(line, pins[-1]).told(chain_id))
    return passport


def _pins(request: Message) -> bool:
    """Whether it asks for the newest height, which all questions after it are of."""
    return isinstance(request, ProveRequest) and not request.height


class _Chain:
    """What belongs to one chain at the height that was pinned last. Of a header and a transaction the first copy counts:
    one that comes again is not looked at by who has it."""

    def __init__(self, line: Keeping, pin: ProveReply) -> None:
        self._line = line
        self._pin = pin
        self._genesis = b""
        self._headers: dict[int, SignedHeader] = {}
        self._values: dict[bytes, ProvenKey] = {}
        self._entries: dict[bytes, dict[int, bytes]] = {}  # by subject, then by n
        self._transactions: dict[bytes, bytes] = {}
        self._leaves: dict[int, LogLeafProof] = {}
        for request, reply in line.answers:
            self._take(request, reply)
        self._prove_leaves_again()

    def _take(self, request: Message, reply: Message) -> None:
        match request, reply:
            case _, StatusReply():
                self._genesis = reply.genesis
            case _, HeadersReply():
                for signed in reply.headers:
                    self._headers.setdefault(_height(signed), signed)
            case ProveRequest(), ProveReply() if reply is self._pin or request.height == self._pin.height:
                self._values.update((proven.key, proven) for proven in reply.keys)
            case HistoryRequest(), HistoryReply():
                self._take_items(request.subject, request.from_n, reply.items)
            case HistoriesRequest(), HistoriesReply():
                for subject, history in zip(request.subjects, reply.histories, strict=True):
                    self._take_items(subject, 0, history.items)
            case TransactionRequest(), TransactionReply():
                self._transactions.setdefault(request.id, reply.transaction)
            case LogLeavesRequest(), LogLeavesReply():
                self._leaves.update(zip(request.heights, reply.leaves, strict=True))

    def _way(self) -> list[SignedHeader]:
        """The headers that somebody needs who follows the chain to the pinned head: those that change the set, those that
        a recovery goes on from, and what it goes on with."""
        recovered = {height for height, signed in self._headers.items() if signed.recovery}
        needed = {height for height, signed in self._headers.items() if signed.next_validators}
        needed |= recovered | {height - 1 for height in recovered}
        below = sorted(height for height in needed & self._headers.keys() if height <= self._pin.height)
        head = self._headers.get(self._pin.height + 1)
        if head is None or head.header != self._pin.head.header:
            head = self._pin.head
        return [*(self._headers[height] for height in below), head]

    def _take_items(self, subject: bytes, start: int, items: Iterable[HistoryItem]) -> None:
        known = self._entries.setdefault(subject, {})
        for n, item in enumerate(items, start):
            known[n] = item.entry
            if item.transaction:
                self._transactions.setdefault(_entry(item.entry).transaction, item.transaction)

    def _prove_leaves_again(self) -> None:
        """Leaves that were proven under an earlier root, before the audit went on to a newer height."""
        size = self._pin.opening.log_size
        old = sorted(height for height, proof in self._leaves.items() if proof.inclusion.size != size)
        for start in range(0, len(old), LOG_LEAVES_MAX):
            request = LogLeavesRequest(heights=old[start : start + LOG_LEAVES_MAX], size=size)
            self._take(request, self._line.call(lambda stub: stub.GetLogLeaves, request))

    def told(self, chain_id: bytes) -> PassportChain:
        """All of it, in its order."""
        made = PassportChain(chain_id=chain_id, genesis=self._genesis, opening=self._pin.opening)
        made.headers.extend(self._way())
        hashes: dict[bytes, int] = {}
        for key, proven in sorted(self._values.items()):
            proof = proven.proof
            made.values.add(
                key=key,
                value=proven.value,
                absent=not proven.present,
                depth=proof.depth,
                bitmap=proof.bitmap,
                siblings=_places(hashes, proof.siblings),
                other_key_hash=proof.other_key_hash,
                other_value_hash=proof.other_value_hash,
            )
        transactions: dict[bytes, bytes] = {}
        for subject in sorted(self._entries):
            entries = self._history(subject)
            made.histories.add(subject=subject, entries=entries)
            for name in (_entry(data).transaction for data in entries):
                if name != ZERO and name in self._transactions:
                    transactions[name] = self._transactions[name]
        made.transactions.extend(transactions.values())
        for height, leaf in sorted(self._leaves.items()):
            made.leaves.add(height=height, leaf=leaf.leaf, path=_places(hashes, leaf.inclusion.path))
        made.hashes = b"".join(hashes)
        return made

    def _history(self, subject: bytes) -> list[bytes]:
        """Its entries up to the pinned height, from the first one on."""
        known = self._entries[subject]
        entries: list[bytes] = []
        while len(entries) in known and _entry(known[len(entries)]).height <= self._pin.height:
            entries.append(known[len(entries)])
        return entries


def _height(signed: SignedHeader) -> int:
    return decode_header(signed.header).height


def _entry(data: bytes) -> Entry:
    return decode(Entry, data, STATE_VALUE_BYTES_MAX)


def _places(hashes: dict[bytes, int], wanted: Sequence[bytes]) -> list[int]:
    """Where these stand among the hashes; those that do not are put behind them."""
    return [hashes.setdefault(one, len(hashes)) for one in wanted]
