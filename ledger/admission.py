"""When a transaction may enter a block: its time, its idempotency key, its signatures."""

from collections import deque
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Final

from google.protobuf.message import DecodeError

from ledger import block, limits, rows, state
from ledger.block import CheckedTransaction, ParsedTransaction
from ledger.errors import Invalid, Malformed, Refused
from ledger.execute import check_signer
from ledger.kv import KeyValue
from ledger.limits import TRANSACTION_VALIDITY_MS_MAX
from ledger.overlay import Reader
from ledger.rows import Place, identity
from ledger.store import Store
from ledger.vouched import NOBODY, Vouched
from proto.chiptrace.v1.ledger_pb2 import Event, KeyRecord, Reason, TransactionBody

# Idempotency keys kept in memory: 16 parts of 2,097,152 keys are an hour of 9,000 per second, in 128 MiB.
_USED_BYTES: Final = 8_388_608
_USED_MASK: Final = _USED_BYTES - 1
_USED_PER_PART: Final = 2_097_152
_USED_PARTS_MAX: Final = 16
_USED_READ_MAX: Final = 200_000  # when a store is opened: 0.2 s; 0.8 s where each had a height of its own
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
        checked = (
            found if isinstance(found, CheckedTransaction) else block.verify_transaction(chain_id, found)
        )
        self.put(checked)
        return checked

    def learn(self, chain_id: bytes, vouched: Vouched) -> None:
        """Remembers what is vouched for."""
        for data in vouched:
            checked = None if data in self._by_data else vouched.checked(chain_id, data)
            if checked is not None:
                self.put(checked)


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


class _Bits:
    """Keys of some heights, two bits each, in 8 MiB: 32 bits per key when it is full."""

    __slots__ = ("bits", "count", "last_ms")

    def __init__(self, last_ms: int) -> None:
        self.bits = bytearray(_USED_BYTES)
        self.count = 0
        self.last_ms = last_ms  # header time of the newest height in it


class UsedKeys:
    """The idempotency keys of the last hour, in little memory: says of nearly every other one that it is fresh, which
    spares two looks on the disk (7 of 50 µs). Of one in 270 it cannot say so; then the disk is asked.

    A fresh key says the same of the transaction's id, as its body contains the key. That holds for a transaction whose
    validity was checked: what was decided more than an hour ago is not valid any more. Which bits a key has is this
    process's own affair (`hash`), and nothing but the number of looks depends on it.
    """

    def __init__(self, kv: KeyValue) -> None:
        """As the store has them, newest first, no more than are read at once: older ones are looked for on the disk."""
        self._parts: deque[_Bits] = deque()
        self._unknown_ms = -1 - TRANSACTION_VALIDITY_MS_MAX  # keys used up to this time may be missing
        found: list[tuple[int, list[bytes]]] = []
        left = _USED_READ_MAX
        lists = rows.expiry_row(0)[:1]
        for row, stored in kv.iterate(lists, rows.after(lists), reverse=True):
            data = rows.unseal(row, stored)
            time_ms, used = int.from_bytes(data[:8], "big"), rows.unframe(row, data[8:])
            if len(used) > left:
                self._unknown_ms = time_ms
                break
            left -= len(used)
            found.append((time_ms, used))
        for time_ms, used in reversed(found):
            self.add(time_ms, (key[-block.IDEMPOTENCY_KEY_BYTES :] for key in used))

    def add(self, time_ms: int, keys: Iterable[bytes]) -> None:
        """These were used at a height of this time, which is later than those before."""
        while self._parts and self._parts[0].last_ms < time_ms - TRANSACTION_VALIDITY_MS_MAX:
            self._parts.popleft()
        part = self._parts[-1] if self._parts else None
        for key in keys:
            if part is None or part.count == _USED_PER_PART:
                part = self._grown(time_ms)
            place = hash(key)
            part.bits[place >> 3 & _USED_MASK] |= 1 << (place & 7)
            part.bits[place >> 35 & _USED_MASK] |= 1 << (place >> 32 & 7)
            part.count += 1
            part.last_ms = time_ms

    def _grown(self, time_ms: int) -> _Bits:
        if len(self._parts) == _USED_PARTS_MAX:
            self._unknown_ms = self._parts.popleft().last_ms
        self._parts.append(_Bits(time_ms))
        return self._parts[-1]

    def fresh(self, key: bytes, time_ms: int) -> bool:
        """Whether this key was certainly not used in the hour before a header time, by anyone."""
        if time_ms - TRANSACTION_VALIDITY_MS_MAX <= self._unknown_ms:
            return False
        place = hash(key)
        for part in self._parts:
            bits = part.bits
            if (
                bits[place >> 3 & _USED_MASK] >> (place & 7) & 1
                and bits[place >> 35 & _USED_MASK] >> (place >> 32 & 7) & 1
            ):
                return False
        return True


class Repetitions:
    """Finds transactions that were in a block before, or are in the block under hand.

    Identities are those of the state after the parent block. An identity can change in between (a key that
    was unknown is registered), so a transaction is looked for by its id too.
    """

    def __init__(
        self, store: Store, time_ms: int, reader: Reader | None = None, used: UsedKeys | None = None
    ) -> None:
        """reader: of the store's state, for who keeps what was read before. used: of the store, too; then only
        transactions whose validity was checked may be looked for."""
        self._used = used
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
        self._check_new(transaction, owner)
        self._taken.add((owner, body.idempotency_key))
        self._ids.add(transaction.id)
        return owner

    def check_new(self, transaction: CheckedTransaction | ParsedTransaction) -> None:
        """Returns only if nothing like it was decided; takes nothing. Raises Repeated."""
        self._check_new(transaction, None)

    def _check_new(self, transaction: CheckedTransaction | ParsedTransaction, owner: bytes | None) -> None:
        body = transaction.body
        key = body.idempotency_key
        if self._used is not None and self._used.fresh(key, self._time_ms):
            return
        first = self._store.place(transaction.id, own=True)
        if first is None:
            owner = self._identity(body.signer) if owner is None else owner
            first = self._store.repetition(owner, key, self._time_ms)
        if first is not None:
            raise Repeated(
                f"the idempotency key was used by transaction {first.transaction.hex()} "
                f"at height {first.height}",
                first,
                same=first.transaction == transaction.id,
            )

    def _identity(self, signer: bytes) -> bytes:
        owner = self._identities.get(signer)
        if owner is None:
            record = state.load(self._reader, state.signer_key(signer), KeyRecord)
            owner = identity(record.member if record is not None else None, signer)
            self._identities[signer] = owner
        return owner


class Gate:
    """What admission asks of transactions at one time. What many of them share is asked of the state once."""

    def __init__(
        self,
        chain_id: bytes,
        time_ms: int,
        verified: VerifiedTransactions,
        repetitions: Repetitions,
        reader: Reader,
        kinds: Container[str],
        full: Mapping[str, str],
        vouched: Vouched = NOBODY,
    ) -> None:
        """`kinds` of operations this chain executes; `full`: members for whose transactions there is no room,
        and what to say of that; `vouched`: whose shape and signatures are known to be good."""
        self._chain_id = chain_id
        self._time_ms = time_ms
        self._verified = verified
        self._repetitions = repetitions
        self._reader = reader
        self._kinds = kinds
        self._full = full
        self._vouched = vouched
        self._members: dict[bytes, str] = {}  # of keys that may sign now

    def check(self, data: bytes) -> CheckedTransaction:
        """A transaction that the next block could take.

        Raises Invalid: MALFORMED, OVERSIZE, WRONG_CHAIN, EXPIRED, NOT_YET_VALID, UNKNOWN_KEY, KEY_NOT_VALID,
        POOL_FULL, BAD_SIGNATURE; Repeated naming the first transaction that used the idempotency key.
        """
        known = self._verified.get(data)
        try:
            # (1) Shape and chain.
            vouched = known or self._vouched.checked(self._chain_id, data)
            found = vouched or block.parse_transaction(self._chain_id, data)
            body = found.body
            for operation in body.operations:
                if operation.WhichOneof("kind") not in self._kinds:
                    raise Invalid("an operation is of a kind this chain does not execute", Reason.MALFORMED)
            # (2) Time.
            check_expiry(body, self._time_ms)
            # (3) Nothing like it was decided.
            self._repetitions.check_new(found)
            # (4) A key that may sign now: blocks are not for strangers.
            member = self.member(body.signer)
        except (Malformed, Refused) as error:
            raise Invalid(str(error), error.reason) from error
        # (5) There is room for it.
        if member in self._full and known is None:
            raise Invalid(self._full[member], Reason.POOL_FULL)
        # (6) Signatures last: they cost the most.
        return self._verified.verify(self._chain_id, found)

    def member(self, signer: bytes) -> str:
        """Whose key it is. Raises Refused: UNKNOWN_KEY, KEY_NOT_VALID."""
        member = self._members.get(signer)
        if member is None:
            member = self._members[signer] = check_signer(self._reader, signer, self._time_ms).member
        return member


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
