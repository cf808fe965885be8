"""What the bytes of a transaction say by themselves: its shape, its chain, its id, and that its signatures are good.

That takes most of what admission costs, and needs no state. So another process may say it (node/verifying_process.py), by
the very function that says it here. It says nothing but the ids of those it finds good. What it does not vouch for is
looked at here from the beginning: a refusal, its reason and its text are always our own.

What is vouched for are exactly the bytes that were asked about, signatures included: they are the key under which the
answer is kept. The id is computed here too, and one that differs shows that the other process is not to be relied on.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from google.protobuf.message import DecodeError

from ledger import block
from ledger.block import CheckedTransaction
from ledger.errors import Invalid, Malformed
from proto.chiptrace.v1.ledger_pb2 import Transaction, TransactionBody


def judged(chain_id: bytes, data: bytes) -> bytes | None:
    """The id of a transaction of this chain whose shape and signatures are good; None: that has to be looked into."""
    try:
        return block.decode_transaction(chain_id, data).id
    except (Malformed, Invalid):
        return None


def read_again(chain_id: bytes, data: bytes) -> CheckedTransaction:
    """A transaction that was judged good: what it holds, without judging it again. Raises DecodeError."""
    transaction = Transaction.FromString(data)
    body_bytes = transaction.body
    body = TransactionBody.FromString(body_bytes)
    id_ = block.transaction_id(chain_id, body_bytes)
    return CheckedTransaction(id_, body, data, tuple(transaction.signatures))


class Vouched:
    """Transactions that another process of this node has found good, by their bytes."""

    __slots__ = ("_ids", "contradicted")

    def __init__(self, ids: Mapping[bytes, bytes]) -> None:
        self._ids = ids
        self.contradicted = (
            False  # one of its ids is not what its bytes come to: believe that process no more
        )

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[bytes]:
        """The transactions that are vouched for."""
        return iter(self._ids)

    def checked(self, chain_id: bytes, data: bytes) -> CheckedTransaction | None:
        """The transaction with exactly these bytes, if it is vouched for."""
        id_ = self._ids.get(data)
        if id_ is None:
            return None
        try:
            found = read_again(chain_id, data)
        except DecodeError:
            self.contradicted = True
            return None
        if found.id != id_:
            self.contradicted = True
            return None
        return found


NOBODY: Final = Vouched({})  # has vouched for anything
