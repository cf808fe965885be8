"""When a transaction may enter a block: its time, its idempotency key, its signatures."""

from collections.abc import Sequence
from typing import Final

from google.protobuf.message import DecodeError

from ledger import block, limits, state
from ledger.block import CheckedTransaction, ParsedTransaction
from ledger.errors import Invalid
from ledger.limits import TRANSACTION_VALIDITY_MS_MAX
from ledger.overlay import Reader
from ledger.rows import Place, identity
from ledger.store import Store
from proto.chiptrace.v1.ledger_pb2 import Event, KeyRecord, Reason, TransactionBody

# A transaction's own keys: its signer's record and what one plain operation names.
_KEYS_PER_OPERATION: Final = 2
# Below these bytes no event lists enough identifiers to be worth counting them.
_SMALL_OPERATION_BYTES: Final = 512


class Repeated(Invalid):
    """An idempotency key was used before. `same`: by the same body, whose first outcome answers."""

    def __init__(self, message: str, first: Place, same: bool) -> None:
        super().__init__(message, Reason.REPEATED)
        self.first = first
        self.same = same


class VerifiedTransactions:
    """Transactions whose signatures were verified here, by their bytes, so that none is verified twice
    between the pool and the block. Bounded: the oldest go first."""

    def __init__(
        self,
        transactions_max: int = limits.POOL_TRANSACTIONS_MAX,
        bytes_max: int = limits.POOL_BYTES_MAX,
    ) -> None:
        self._transactions_max = transactions_max
        self._bytes_max = bytes_max
        self._bytes = 0
        self._by_data: dict[bytes, CheckedTransaction] = {}

    def get(self, data: bytes) -> CheckedTransaction | None:
        """The transaction with exactly these bytes, signatures included, if it was verified."""
        return self._by_data.get(data)

    def put(self, transaction: CheckedTransaction) -> None:
        """Remembers a verified transaction."""
        if transaction.data in self._by_data:
            return
        self._by_data[transaction.data] = transaction
        self._bytes += len(transaction.data)
        while len(self._by_data) > self._transactions_max or self._bytes > self._bytes_max:
            oldest = next(iter(self._by_data))
            self._bytes -= len(oldest)
            del self._by_data[oldest]

    def drop(self, transactions: Sequence[CheckedTransaction]) -> None:
        """Forgets transactions that were decided."""
        for transaction in transactions:
            if self._by_data.pop(transaction.data, None) is not None:
                self._bytes -= len(transaction.data)

    def parse(self, chain_id: bytes, data: bytes) -> CheckedTransaction | ParsedTransaction:
        """A transaction of the right shape, verified if it is known. Raises as parse_transaction."""
        return self._by_data.get(data) or block.parse_transaction(chain_id, data)

    def verify(self, chain_id: bytes, found: CheckedTransaction | ParsedTransaction) -> CheckedTransaction:
        """The transaction with its signatures verified, and remembered. Raises Invalid(BAD_SIGNATURE)."""
        if isinstance(found, CheckedTransaction):
            return found
        checked = block.verify_transaction(chain_id, found)
        self.put(checked)
        return checked


def check_expiry(body: TransactionBody, time_ms: int) -> None:
    """Returns only if a body is valid at a header time: time <= valid_until_ms <= time + one hour.

    Raises Invalid: EXPIRED, NOT_YET_VALID.
    """
    if body.valid_until_ms < time_ms:
        raise Invalid(
            f"the transaction was valid until {body.valid_until_ms} and it is {time_ms}; "
            "sign it again with the same idempotency key",
            Reason.EXPIRED,
        )
    if body.valid_until_ms > time_ms + TRANSACTION_VALIDITY_MS_MAX:
        raise Invalid(
            f"the transaction is valid until {body.valid_until_ms}, more than "
            f"{TRANSACTION_VALIDITY_MS_MAX} ms after {time_ms}; sign for less or check the clock",
            Reason.NOT_YET_VALID,
        )


class Repetitions:
    """Finds transactions that were in a block before, or are in the block under hand.

    Identities are those of the state after the parent block. An identity can change in between (a key that
    was unknown is registered), so a transaction is looked for by its id too.
    """

    def __init__(self, store: Store, time_ms: int, reader: Reader | None = None) -> None:
        """reader: of the store's state, for who keeps what was read before."""
        self._store = store
        self._time_ms = time_ms
        self._reader = store if reader is None else reader
        self._identities: dict[bytes, bytes] = {}
        self._taken: set[tuple[bytes, bytes]] = set()
        self._ids: set[bytes] = set()

    def take(self, transaction: CheckedTransaction | ParsedTransaction) -> bytes:
        """Takes the idempotency key for this transaction; returns whose it is (rows.identity).

        Raises Repeated for a key used in a decided block, Invalid(REPEATED) for one used in this block.
        """
        body = transaction.body
        owner = self._identity(body.signer)
        if (owner, body.idempotency_key) in self._taken or transaction.id in self._ids:
            raise Invalid(
                f"transaction {transaction.id.hex()} repeats an idempotency key within the block",
                Reason.REPEATED,
            )
        first = self._store.place(transaction.id, own=True)
        if first is None:
            first = self._store.repetition(owner, body.idempotency_key, self._time_ms)
        if first is not None:
            raise Repeated(
                f"the idempotency key was used by transaction {first.transaction.hex()} "
                f"at height {first.height}",
                first,
                same=first.transaction == transaction.id,
            )
        self._taken.add((owner, body.idempotency_key))
        self._ids.add(transaction.id)
        return owner

    def _identity(self, signer: bytes) -> bytes:
        owner = self._identities.get(signer)
        if owner is None:
            record = state.load(self._reader, state.signer_key(signer), KeyRecord)
            owner = identity(record.member if record is not None else None, signer)
            self._identities[signer] = owner
        return owner


def keys_named(transaction: CheckedTransaction) -> int:
    """About how many state keys a transaction will touch, from its bytes: what the proposer fills blocks by.

    An estimate only; the limits themselves are enforced where keys are touched (state.Overlay).
    """
    count = 0
    for operation in transaction.body.operations:
        count += _KEYS_PER_OPERATION
        if operation.WhichOneof("kind") != "capture" or len(operation.capture.event) < _SMALL_OPERATION_BYTES:
            continue
        event = Event()
        try:
            event.ParseFromString(operation.capture.event)
        except DecodeError:
            continue  # it will be refused, touching nothing
        count += sum(len(field.value.list.items) for field in event.fields)
    return count
