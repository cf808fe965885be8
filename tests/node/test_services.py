"""What one question may make a node read."""

import pytest

from ledger.errors import Invalid
from ledger.limits import BLOCK_BYTES_MAX, HISTORIES_PER_REPLY_MAX, RPC_MESSAGE_BYTES_MAX
from ledger.rows import Place
from node.services import BLOCKS_READ_BYTES_MAX, _histories, _history
from proto.chiptrace.v1.ledger_pb2 import Block, Entry, Reason
from proto.chiptrace.v1.node_pb2 import HistoriesRequest, HistoryRequest


class Books:
    """Stands for the store: entry n is of transaction n, `per_block` of them to a block of `block_bytes`."""

    def __init__(self, count, per_block, block_bytes=100):
        self.count, self.per_block, self.block_bytes = count, per_block, block_bytes
        self.read = []

    def entries(self, subject, from_n, limit):
        return [
            Entry(subject=subject, transaction=n.to_bytes(32, "big")).SerializeToString()
            for n in range(from_n, min(self.count, from_n + limit))
        ]

    def place(self, transaction):
        n = int.from_bytes(transaction, "big")
        return Place(transaction, 1 + n // self.per_block, n % self.per_block)

    def block(self, height):
        self.read.append(height)
        first = (height - 1) * self.per_block
        transactions = [b"transaction %d" % n for n in range(first, first + self.per_block)]
        return Block(header=bytes(self.block_bytes), transactions=transactions).SerializeToString()


def ask(books, from_n=0):
    return _history(books, HistoryRequest(subject=b"part", from_n=from_n, with_transactions=True))


def test_a_block_is_read_once_for_all_its_entries():
    books = Books(250, per_block=100)
    reply = ask(books)
    assert [item.transaction for item in reply.items] == [b"transaction %d" % n for n in range(250)]
    assert books.read == [1, 2, 3]
    assert not reply.more


def test_a_history_strewn_over_large_blocks_is_answered_in_parts():
    books = Books(12, per_block=1, block_bytes=BLOCK_BYTES_MAX - 100)
    found = []
    while True:
        books.read.clear()
        reply = ask(books, from_n=len(found))
        found += [item.transaction for item in reply.items]
        assert len(books.read) * BLOCK_BYTES_MAX <= BLOCKS_READ_BYTES_MAX + 2 * BLOCK_BYTES_MAX
        if not reply.more:
            break
    assert found == [b"transaction %d" % n for n in range(12)]


class Long(Books):
    """Entries of 20 kB."""

    def entries(self, subject, from_n, limit):
        return [Entry(subject=bytes(20_000)).SerializeToString()] * min(self.count, limit)


def test_many_histories_fit_into_one_reply():
    subjects = [b"part %d" % n for n in range(HISTORIES_PER_REPLY_MAX)]
    short = _histories(Books(2, per_block=1), HistoriesRequest(subjects=subjects))
    assert [len(history.items) for history in short.histories] == [2] * len(subjects)
    assert not any(history.more for history in short.histories)
    assert not any(item.transaction for history in short.histories for item in history.items)
    # What there is no room for is told to be missing, one place for each subject all the same.
    long = _histories(Long(300, per_block=1), HistoriesRequest(subjects=subjects))
    assert len(long.histories) == len(subjects)
    assert all(history.more for history in long.histories)
    assert long.histories[0].items
    assert not long.histories[-1].items
    assert long.ByteSize() < RPC_MESSAGE_BYTES_MAX


def test_transactions_of_many_histories_come_once():
    books, subjects = Books(3, per_block=3), [b"part %d" % n for n in range(4)]
    reply = _histories(books, HistoriesRequest(subjects=subjects, with_transactions=True))
    assert [[item.transaction for item in history.items] for history in reply.histories] == [
        [b"transaction 0", b"transaction 1", b"transaction 2"],
        *[[b"", b"", b""]] * 3,
    ]
    assert len(books.read) == 1


def test_many_histories_read_no_more_blocks_than_one():
    books = Books(12, per_block=1, block_bytes=BLOCK_BYTES_MAX - 100)
    reply = _histories(books, HistoriesRequest(subjects=[b"part 1", b"part 2"], with_transactions=True))
    first, second = reply.histories
    assert len(books.read) * BLOCK_BYTES_MAX <= BLOCKS_READ_BYTES_MAX + 2 * BLOCK_BYTES_MAX
    assert first.items
    assert first.more
    # What was told needs no block to be read; the rest is asked for again.
    assert len(second.items) == len(first.items)
    assert second.more


class Spread(Books):
    """Each subject's entries are of transactions of its own."""

    def __init__(self, *given, pruned=(), **named):
        super().__init__(*given, **named)
        self.base, self.asked, self.pruned = 2, [], pruned

    def entries(self, subject, from_n, limit):
        self.asked.append(subject)
        first = int(subject) * self.count
        return [
            Entry(subject=subject, height=1, transaction=n.to_bytes(32, "big")).SerializeToString()
            for n in range(first, first + self.count)
        ]

    def place(self, transaction):
        return None if int.from_bytes(transaction, "big") in self.pruned else super().place(transaction)

    def block(self, height):
        if self.pruned and height == 1:
            raise Invalid("before the base", Reason.PRUNED)
        return super().block(height)


def test_with_no_block_more_to_read_no_more_rows_are_read():
    books = Spread(3, per_block=1, block_bytes=BLOCK_BYTES_MAX - 100)
    subjects = [b"%d" % number for number in range(20)]
    reply = _histories(books, HistoriesRequest(subjects=subjects, with_transactions=True))
    served = [history for history in reply.histories if history.items]
    assert served == list(reply.histories[: len(served)])
    assert len(books.asked) <= len(served) + 1
    assert all(history.more for history in reply.histories[len(served) :])
    assert len(reply.histories) == len(subjects)


def test_what_is_pruned_of_one_history_costs_the_others_nothing():
    books = Spread(3, per_block=1, pruned=(5,))  # the last one of the second; blocks before the base are gone
    subjects = [b"3", b"1", b"4", b"1"]
    reply = _histories(books, HistoriesRequest(subjects=subjects, with_transactions=True))
    assert [len(history.items) for history in reply.histories] == [3, 0, 3, 0]
    assert [history.more for history in reply.histories] == [False, True, False, True]
    with pytest.raises(Invalid) as refused:
        _history(Spread(3, per_block=1, pruned=(5,)), HistoryRequest(subject=b"1", with_transactions=True))
    assert refused.value.reason == Reason.PRUNED


def test_a_history_that_could_not_be_told_has_told_nothing():
    class Shared(Spread):
        """The second and third history begin with the same transaction."""

        def entries(self, subject, from_n, limit):
            numbers = {b"1": (3, 5), b"2": (3, 4)}[subject]
            return [
                Entry(subject=subject, height=1, transaction=n.to_bytes(32, "big")).SerializeToString()
                for n in numbers
            ]

    books = Shared(3, per_block=1, pruned=(5,))
    reply = _histories(books, HistoriesRequest(subjects=[b"1", b"2"], with_transactions=True))
    assert [item.transaction for item in reply.histories[1].items] == [b"transaction 3", b"transaction 4"]


def test_too_many_histories():
    with pytest.raises(Invalid, match="257 subjects"):
        _histories(Books(1, per_block=1), HistoriesRequest(subjects=[b"x"] * 257))
