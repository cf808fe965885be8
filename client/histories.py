"""Complete histories of one chain: entries that hash to the (n, frontier) of a proven record, and what they rest on.

One by one, each with its transactions; or many at once, and then every transaction comes once, however many histories it
stands in: what commissioned a thousand parts is fetched and checked one time.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple

from google.protobuf.message import Message

from ledger.block import CheckedTransaction, decode_transaction
from ledger.codec import decode
from ledger.errors import Invalid, InvariantBroken
from ledger.hashes import ZERO
from ledger.history import verify_history
from ledger.limits import HISTORIES_PER_REPLY_MAX, HISTORY_ITEMS_MAX, STATE_VALUE_BYTES_MAX
from ledger.recovery import Opened
from proto.chiptrace.v1.ledger_pb2 import Entry, History, Reason, TransactionBody
from proto.chiptrace.v1.node_pb2 import (
    HistoriesRequest,
    HistoryItem,
    HistoryReply,
    HistoryRequest,
    TransactionRequest,
)
from proto.chiptrace.v1.node_pb2_grpc import ChainStub

# Stands for the transaction of what the genesis, or a recovery, put: there is none, and nobody signed it.
_OF_GENESIS = CheckedTransaction(ZERO, TransactionBody(), b"", ())

Call = Callable[[Callable[[ChainStub], Callable[..., Any]], Message], Any]
Checking = Callable[[str], AbstractContextManager[None]]


class ProvenEntry(NamedTuple):
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


class Histories:
    """The histories of one chain that were read so far. `call` asks a node, `checking` names what fails.

    recoveries: those that the chain went through, by the height before; more may be added as it is followed.
    """

    def __init__(
        self,
        chain_id: bytes,
        call: Call,
        checking: Checking,
        tally: Tally,
        recoveries: Mapping[int, Opened],
    ) -> None:
        self._chain_id = chain_id
        self._call = call
        self._checking = checking
        self._tally = tally
        self._recoveries = recoveries
        self._known: dict[bytes, tuple[History, list[ProvenEntry]]] = {}
        self._transactions: dict[bytes, CheckedTransaction] = {}

    def forget(self) -> None:
        """Histories are read anew; transactions stay, for an id names one for ever."""
        self._known.clear()

    def known(self, subject: bytes, history: History) -> list[ProvenEntry] | None:
        """What was read of this subject, if it is of this very head."""
        found = self._known.get(subject)
        return found[1] if found is not None and found[0] == history else None

    def read(self, subject: bytes, history: History) -> list[ProvenEntry]:
        """Every entry of one subject up to the proven (n, frontier): none left out, none added."""
        entries: list[bytes] = []
        carried: list[bytes] = []
        for item in self._items(subject, 0, history.n):
            entries.append(item.entry)
            carried.append(item.transaction)
        with self._checking("a history"):
            verify_history(self._chain_id, history, entries)
            decoded = self._decoded(subject, entries)
            for entry, data in zip(decoded, carried, strict=True):
                self._check(entry, data)
        return self._keep(subject, history, decoded)

    def read_many(self, wanted: Mapping[bytes, History], height: int) -> None:
        """As `read`, of many subjects in as few questions as possible; `known` has them then. height: the one under which
        the heads were proven; what came later stands behind them."""
        missing = [subject for subject, history in wanted.items() if self.known(subject, history) is None]
        while missing:
            asked, missing = missing[:HISTORIES_PER_REPLY_MAX], missing[HISTORIES_PER_REPLY_MAX:]
            request = HistoriesRequest(subjects=asked, with_transactions=True)
            reply = self._call(lambda stub: stub.GetHistories, request)
            with self._checking("histories"):
                if len(reply.histories) != len(asked):
                    raise Invalid("other histories than were asked for", Reason.BAD_PROOF)
            # A reply that is full has no room for the last ones: these are asked for again.
            full = [subject for subject, one in zip(asked, reply.histories, strict=True) if _is_left_out(one)]
            if len(full) < len(asked):
                missing = full + missing
            told: dict[bytes, list[Entry]] = {}
            carried: dict[bytes, bytes] = {}  # by the id of the transaction that they are said to be
            for subject, short in zip(asked, reply.histories, strict=True):
                if len(full) == len(asked) or not _is_left_out(short):
                    told[subject] = self._told(subject, wanted[subject], short.items, height, carried)
            for entries in told.values():
                self._take_transactions(entries, carried)
            for subject, entries in told.items():
                self._keep(subject, wanted[subject], entries)

    def _told(
        self,
        subject: bytes,
        history: History,
        items: Sequence[HistoryItem],
        height: int,
        carried: dict[bytes, bytes],
    ) -> list[Entry]:
        """The whole history of which a reply has the beginning. Transactions that came with it go to `carried`."""
        own, later = list(items[: history.n]), list(items[history.n :])
        own += self._items(subject, len(own), history.n)
        entries = [item.entry for item in own]
        with self._checking("a history"):
            verify_history(self._chain_id, history, entries)
            decoded = self._decoded(subject, entries)
            # Behind a history that is complete at a height stands only what came after it.
            behind = self._decoded(subject, [item.entry for item in later]) if later else ()
            if any(entry.height <= height for entry in behind):
                raise Invalid("an entry more than there were at that height", Reason.BAD_PROOF)
        for item, entry in zip(own, decoded, strict=True):
            came_with = item.transaction
            if came_with:
                carried.setdefault(entry.transaction, came_with)
        return decoded

    def _items(self, subject: bytes, start: int, end: int) -> Iterator[HistoryItem]:
        while start < end:
            request = HistoryRequest(
                subject=subject,
                from_n=start,
                limit=min(HISTORY_ITEMS_MAX, end - start),
                with_transactions=True,
            )
            reply = self._call(lambda stub: stub.GetHistory, request)
            if not reply.items:
                return
            yield from reply.items
            start += len(reply.items)

    def _decoded(self, subject: bytes, entries: Sequence[bytes]) -> list[Entry]:
        decoded: list[Entry] = []
        for data in entries:
            entry = decode(Entry, data, STATE_VALUE_BYTES_MAX)
            if entry.subject != subject:
                raise Invalid("an entry of another subject", Reason.BAD_PROOF)
            if decoded and entry.height < decoded[-1].height:
                raise Invalid("an entry that is older than the one before it", Reason.BAD_PROOF)
            decoded.append(entry)
        return decoded

    def _take_transactions(self, entries: Iterable[Entry], carried: Mapping[bytes, bytes]) -> None:
        """The transactions of entries, each once: one that did not come with them is asked for."""
        for entry in entries:
            if entry.transaction in self._transactions or self._is_made(entry):
                continue
            data, came_with = carried.get(entry.transaction), "a history"
            if data is None:
                came_with = "a transaction"
                request = TransactionRequest(id=entry.transaction)
                data = self._call(lambda stub: stub.GetTransaction, request).transaction
            with self._checking(came_with):
                self._check(entry, data)

    def _is_made(self, entry: Entry) -> bool:
        """Whether the genesis or a recovery put it: then no transaction brought it."""
        put = entry.height == 0 or entry.height - 1 in self._recoveries
        return entry.transaction == ZERO and put

    def _behind(self, entry: Entry) -> CheckedTransaction:
        # No body hashes to zeros, so what was made by none is not among them.
        found = self._transactions.get(entry.transaction)
        if found is None and not self._is_made(entry):
            raise InvariantBroken("an entry was kept whose transaction was not checked")
        return found or _OF_GENESIS

    def _check(self, entry: Entry, data: bytes) -> None:
        if self._is_made(entry) or entry.transaction in self._transactions:
            return
        checked = decode_transaction(self._chain_id, data)
        if checked.id != entry.transaction:
            raise Invalid("a transaction that is not the one the entry names", Reason.BAD_PROOF)
        self._tally.signatures += len(checked.signatures)
        self._transactions[checked.id] = checked

    def _keep(self, subject: bytes, history: History, decoded: Sequence[Entry]) -> list[ProvenEntry]:
        proven = [ProvenEntry(n, entry, self._behind(entry)) for n, entry in enumerate(decoded)]
        self._tally.history_entries += len(proven)
        # One that is as long as the head says; the proof above leaves no other.
        kept = History()
        kept.CopyFrom(history)
        self._known[subject] = (kept, proven)
        return proven


def _is_left_out(told: HistoryReply) -> bool:
    """Whether a reply had no room for any of this history."""
    return told.more and not told.items
