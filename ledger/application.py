"""The chain as the consensus engine sees it, in the vocabulary of ABCI 2.0.

    info, init_chain                  where the chain stands; its first state
    check_transaction                 admission to the pool
    prepare_proposal                  a block on top of the tip
    process_proposal                  whether another's block may be voted for; changes nothing
    finalize_block, commit            a decided block: execute, then make durable
    prove, headers_above              what may be believed without trusting this node
    list_, load_, offer_, apply_snapshot...    snapshots.py: a connection of its own, beside or before a chain

Only decided blocks are executed. The header of height h + 1 carries the app_hash after height h. Nothing here
knows of votes: a certificate is bytes stored beside its block.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ledger import block, codec, genesis, limits, state
from ledger.admission import Gate, Repetitions, UsedKeys, VerifiedTransactions, check_expiry, keys_named
from ledger.block import CheckedTransaction
from ledger.context import ChangeTable, OperationTable
from ledger.errors import Invalid, InvariantBroken, Malformed, StoreError
from ledger.execute import BlockOutcome, execute_block
from ledger.genesis import STATE_VERSION
from ledger.kv import KeyValue
from ledger.overlay import KeptReader
from ledger.recovery import Applied, Opened, Standing, check, check_in_block
from ledger.rows import BoundaryHeader
from ledger.store import DecidedBlock, Store
from ledger.view import ProvenState, Views
from ledger.vouched import NOBODY, Vouched
from proto.chiptrace.v1.ledger_pb2 import (
    AppHashOpening,
    Block,
    Genesis,
    Header,
    Parameters,
    Reason,
    ValidatorSet,
    ValidatorsRecord,
)

_HEADER_FRAME_BYTES: Final = 8  # at most, around the header in a block
_TRANSACTION_FRAME_BYTES: Final = 6  # at most, around a transaction in a block


class AheadOfClock(Invalid):
    """A block that is valid but for its time, which is too far ahead of our clock: it is valid `ahead_ms` later."""

    def __init__(self, time_ms: int, ahead_ms: int) -> None:
        text = f"block time {time_ms} is {ahead_ms} ms too far ahead of our clock; check both clocks"
        super().__init__(text, Reason.BAD_TIME)
        self.ahead_ms = ahead_ms


@dataclass(frozen=True, slots=True)
class Info:
    """Where the chain stands here. Height 0 is the genesis state, whose block hash is ZERO."""

    chain_id: bytes
    name: str
    height: int
    time_ms: int  # header time of the tip
    block_hash: bytes
    app_hash: bytes  # after the tip; the next header carries it
    validators: ValidatorSet  # of the next block
    next_validators: ValidatorSet  # of the block after
    next_due_ms: int  # header time at which an empty block is due; 0: at once
    parameters: Parameters
    state_version: int
    recovery: Opened | None = None  # was applied here after the tip: the next block carries it


class Application:
    """One chain on one key-value store, with the operations it executes. One thread at a time."""

    def __init__(
        self,
        kv: KeyValue,
        operations: OperationTable,
        changes: ChangeTable,
        recoveries: Iterable[bytes] = (),
    ) -> None:
        """Opens the chain that the store holds, if any; `recoveries` (Recovery) are those its operator has applied.

        Raises StoreError when the store does not hold together, Malformed or Invalid for a recovery that is not
        this chain's.
        """
        self.store = Store(kv)
        self._state = KeptReader(self.store.look)
        self.views = Views(self.store)
        self._operations = operations
        self._changes = changes
        self._applied = Applied(recoveries)
        self._verified = VerifiedTransactions()
        self._used = UsedKeys(kv)
        self._judged: DecidedBlock | None = None  # the last block that was found valid on the tip
        self._info: Info | None = None
        self._name = ""
        if not self.store.empty:
            self._applied.check_past(self.store, self.store.tip.height)
            self._advance()

    # ---- where the chain stands ---------------------------------------------------------------------------

    def info(self) -> Info:
        """Where the chain stands. Raises StoreError before `init_chain`."""
        if self._info is None:
            raise StoreError("the store holds no chain; initialise it from a genesis document")
        return self._info

    def init_chain(self, genesis_bytes: bytes) -> Info:
        """Makes and stores the state before height 1; with the same genesis again it does nothing.

        Raises Malformed or Invalid for a genesis that is not usable, Invalid(WRONG_CHAIN) for another one
        than the store was made from.
        """
        chain_id = genesis.chain_id(genesis_bytes)
        if not self.store.empty:
            if chain_id != self.store.tip.chain_id:
                raise Invalid(
                    f"this store holds chain {self.store.tip.chain_id.hex()}, "
                    f"the genesis makes {chain_id.hex()}; use another directory",
                    Reason.WRONG_CHAIN,
                )
            return self.info()
        document = genesis.decode_genesis(genesis_bytes)
        first = genesis.genesis_state(chain_id, document, self._changes)
        self.store.initialise(chain_id, genesis_bytes, document.time_ms, first)
        return self._advance()

    # ---- admission --------------------------------------------------------------------------------------

    def check_transaction(self, data: bytes, now_ms: int) -> CheckedTransaction:
        """A transaction that the next block could take, judged at the later of our clock and the tip's time.

        Raises Invalid: MALFORMED, OVERSIZE, WRONG_CHAIN, EXPIRED, NOT_YET_VALID, UNKNOWN_KEY, KEY_NOT_VALID,
        BAD_SIGNATURE; Repeated naming the first transaction that used the idempotency key.
        """
        return self.gate(now_ms, {}).check(data)

    def gate(self, now_ms: int, full: Mapping[str, str], vouched: Vouched = NOBODY) -> Gate:
        """The same for many: what they share is asked once. For use until the next commit; `full` are members for
        whose transactions there is no room, which is said before their signatures are looked at, and how."""
        info = self.info()
        time_ms = max(info.time_ms + 1, now_ms)
        repetitions = self._repetitions(time_ms)
        return Gate(
            info.chain_id, time_ms, self._verified, repetitions, self._state, self._operations, full, vouched
        )

    def learn(self, vouched: Vouched) -> None:
        """A block comes of which these transactions are vouched for: their signatures need not be verified again."""
        self._verified.learn(self.info().chain_id, vouched)

    def _repetitions(self, time_ms: int) -> Repetitions:
        return Repetitions(self.store, time_ms, self._state, self._used)

    # ---- proposals --------------------------------------------------------------------------------------

    def prepare_proposal(self, transactions: Iterable[bytes], now_ms: int) -> bytes:
        """A valid block on top of the tip with these transactions, in order, as many as fit.

        Transactions that cannot be in it (bad bytes, expired, repeated) are left out. The header's time is
        now, or one millisecond after the parent's if that is later.
        """
        info = self.info()
        time_ms = max(info.time_ms + 1, now_ms)
        repetitions = self._repetitions(time_ms)
        recovery = b"" if info.recovery is None else info.recovery.data
        room = info.parameters.block_bytes - block.HEADER_BYTES_MAX - _HEADER_FRAME_BYTES - len(recovery)
        keys = limits.KEYS_PER_BLOCK_MAX
        chosen: list[CheckedTransaction] = []
        for data in transactions:
            try:
                found = self._verified.parse(info.chain_id, data)
                check_expiry(found.body, time_ms)
                checked = self._verified.verify(info.chain_id, found)
                repetitions.take(checked)
            except (Malformed, Invalid):
                continue
            room -= len(data) + _TRANSACTION_FRAME_BYTES
            keys -= keys_named(checked)
            if room < 0 or (chosen and keys < 0) or len(chosen) == limits.TRANSACTIONS_PER_BLOCK_MAX:
                break
            chosen.append(checked)
        header = Header(
            chain_id=info.chain_id,
            state_version=info.state_version,
            height=info.height + 1,
            time_ms=time_ms,
            parent_hash=info.block_hash,
            transactions_root=block.transactions_root(info.chain_id, chosen),
            app_hash=info.app_hash,
            validators_hash=block.validators_hash(info.chain_id, info.validators),
            next_validators_hash=block.validators_hash(info.chain_id, info.next_validators),
            recovery=block.recovery_mark(info.chain_id, recovery),
        )
        transactions = [checked.data for checked in chosen]
        return codec.encode(Block(header=codec.encode(header), transactions=transactions, recovery=recovery))

    def process_proposal(self, data: bytes, now_ms: int) -> None:
        """Returns only if the block may be voted for on top of the tip. Changes nothing.

        Raises Invalid with the reason of the first step that fails; AheadOfClock when only its time is wrong,
        and only for now.
        """
        decided = self._judge(data)
        ahead_ms = decided.header.time_ms - now_ms - limits.TIME_PRECISION_MS
        if ahead_ms > 0:
            raise AheadOfClock(decided.header.time_ms, ahead_ms)

    def _judge(self, data: bytes) -> DecidedBlock:
        """The block, checked in every respect but our clock. Raises Invalid."""
        if self._judged is None or self._judged.data != data:
            try:
                self._judged = self._check_block(data)
            except Malformed as error:
                raise Invalid(str(error), error.reason) from error
        return self._judged

    def _check_block(self, data: bytes) -> DecidedBlock:
        info = self.info()
        # (1) Size, as the parameters have it.
        if len(data) > info.parameters.block_bytes:
            raise Invalid(
                f"the block has {len(data)} bytes, {info.parameters.block_bytes} are allowed", Reason.OVERSIZE
            )
        # (2) Canonical bytes of block and header.
        content = block.decode_block(data)
        header = block.decode_header(content.header)
        # (3) to (9) The header continues our chain, which nobody recovers but the operator of each node.
        self._check_header(header, info)
        check_in_block(self.store, _standing(info), info.recovery, content.recovery, header.recovery)
        # (10) Every transaction has the right shape and chain.
        found = [self._verified.parse(info.chain_id, item) for item in content.transactions]
        # (11) They are what the header commits to.
        if header.transactions_root != block.transactions_root(info.chain_id, found):
            raise Invalid("the transactions are not those of transactions_root", Reason.BAD_ROOT)
        # (12) Each is valid at the header's time, and (13) none was there before.
        repetitions = self._repetitions(header.time_ms)
        identities: list[bytes] = []
        for transaction in found:
            check_expiry(transaction.body, header.time_ms)
            identities.append(repetitions.take(transaction))
        # (14) Every signature is good; those that were verified before are not verified again.
        checked = [self._verified.verify(info.chain_id, transaction) for transaction in found]
        return DecidedBlock(
            data=data,
            header=header,
            header_bytes=content.header,
            block_hash=block.block_hash(info.chain_id, content.header),
            transactions=checked,
            identities=identities,
            recovery=content.recovery,
        )

    @staticmethod
    def _check_header(header: Header, info: Info) -> None:
        # (3) Our chain, (4) by rules we can execute.
        if header.chain_id != info.chain_id:
            raise Invalid(f"the block is of chain {header.chain_id.hex()}", Reason.WRONG_CHAIN)
        if header.state_version != info.state_version:
            raise Invalid(
                f"the block has state version {header.state_version}, here it is {info.state_version}",
                Reason.WRONG_VERSION,
            )
        # (5) The next height, (6) on our tip, (7) later than it.
        if header.height != info.height + 1:
            raise Invalid(
                f"the block has height {header.height}, next is {info.height + 1}", Reason.BAD_PARENT
            )
        if header.parent_hash != info.block_hash:
            raise Invalid(f"the block's parent is {header.parent_hash.hex()}, not our tip", Reason.BAD_PARENT)
        if header.time_ms <= info.time_ms:
            raise Invalid(f"block time {header.time_ms} is not after its parent's", Reason.BAD_TIME)
        # (8) It has seen the same state, and (9) knows the same validators.
        if header.app_hash != info.app_hash:
            raise Invalid(
                f"app_hash is {header.app_hash.hex()}, "
                f"ours after height {info.height} is {info.app_hash.hex()}",
                Reason.BAD_ROOT,
            )
        if header.validators_hash != block.validators_hash(info.chain_id, info.validators):
            raise Invalid("validators_hash is not that of the next height's set", Reason.BAD_VALIDATORS)
        if header.next_validators_hash != block.validators_hash(info.chain_id, info.next_validators):
            raise Invalid("next_validators_hash is not that of the set after", Reason.BAD_VALIDATORS)

    # ---- decided blocks ---------------------------------------------------------------------------------

    def finalize_block(self, data: bytes) -> BlockOutcome:
        """What a decided block does; nothing is stored yet. It is checked in full unless it just was.

        Raises InvariantBroken when a quorum has decided a block that is not valid here: the node must stop.
        """
        decided = self._decided(data)
        return execute_block(
            self._state,
            self.info().chain_id,
            decided.header,
            decided.transactions,
            self._operations,
            self._changes,
            self.store.log_leaf,
            decided.recovery,
        )

    def commit(self, data: bytes, outcome: BlockOutcome, certificate: bytes, note: bytes = b"") -> Info:
        """Makes a decided and executed block durable, with the node's own note, and moves the tip to it."""
        decided = self._decided(data)
        self.store.commit(decided, outcome, certificate, note)
        self._state.keep(outcome.changes)
        self._judged = None
        self._verified.drop(decided.transactions)
        self._used.add(
            decided.header.time_ms, (checked.body.idempotency_key for checked in decided.transactions)
        )
        return self._advance()

    def _decided(self, data: bytes) -> DecidedBlock:
        try:
            return self._judge(data)
        except Invalid as error:
            raise InvariantBroken(
                f"the block decided for height {self.info().height + 1} is not valid here: {error}. "
                "This node executes other rules than the quorum, or its store is wrong; "
                "keep the directory and sync anew"
            ) from error

    # ---- answers ----------------------------------------------------------------------------------------

    def prove(self, keys: Sequence[bytes], height: int = 0) -> ProvenState:
        """Keys of the state after a height (0: the newest provable) with all that is needed to believe them.

        Raises Invalid: HEIGHT_NOT_SERVED with the served range, OVERSIZE for too many keys.
        """
        with self.views.view(height) as view:
            return view.prove(keys)

    def headers_above(
        self, height: int, limit: int = limits.HEADERS_PER_REPLY_MAX
    ) -> tuple[list[BoundaryHeader], bool]:
        """What leads a light client from a height to the tip: every header above it at which the set changes,
        then the newest; and whether there is more than `limit`."""
        tip = self.store.tip.height
        found = self.store.boundaries(height, limit)
        if len(found) == limit and found[-1].height < tip:
            return found, True
        if tip > height and (not found or found[-1].height < tip):
            found.append(self.views.signed_header(tip))
        return found, False

    def close(self) -> None:
        """Releases the store."""
        self.views.close()
        self.store.close()

    # ---- the tip ----------------------------------------------------------------------------------------

    def _advance(self) -> Info:
        """Takes the store's tip as the chain's; the same after a commit as after opening."""
        self.views.advance()
        tip = self.store.tip
        if self._info is None:
            self._name = Genesis.FromString(self.store.genesis()).name
        record = state.load(self.store, state.VALIDATORS_KEY, ValidatorsRecord)
        parameters = state.load(self.store, state.PARAMETERS_KEY, Parameters)
        if record is None or parameters is None:
            raise StoreError("the state holds no validators or no parameters; restore this node")
        opening = AppHashOpening(state_root=tip.state_root, log_size=tip.height, log_root=tip.log_root)
        eventful = tip.height == 0 or self.store.is_eventful(tip.height)
        recovery = self._applied.at(tip.height)
        validators, following = record.current, record.next
        if recovery is not None:
            validators = following = recovery.validators
        info = Info(
            chain_id=tip.chain_id,
            name=self._name,
            height=tip.height,
            time_ms=tip.time_ms,
            block_hash=tip.block_hash,
            app_hash=block.app_hash(tip.chain_id, opening),
            validators=validators,
            next_validators=following,
            next_due_ms=0 if eventful or recovery else tip.time_ms + parameters.heartbeat_ms,
            parameters=parameters,
            state_version=STATE_VERSION,
            recovery=recovery,
        )
        if recovery is not None:
            check(self.store, _standing(info), recovery)
        self._info = info
        return info


def _standing(info: Info) -> Standing:
    return Standing(info.chain_id, info.height, info.time_ms, info.block_hash, info.app_hash)
