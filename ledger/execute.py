"""What a decided block does to the state: the same changes and results on every node.

The operation table decides what operations mean; consensus and bridge add theirs to the ledger's
(bridge/machine.py puts the whole table together), so this file knows none of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ledger import block, codec, hashes, state
from ledger.block import CheckedTransaction
from ledger.context import ChangeTable, Context, Decided, OperationTable
from ledger.errors import Invalid, InvariantBroken, Malformed, Refused, StoreError
from ledger.limits import (
    KEYS_PER_BLOCK_MAX,
    KEYS_PER_TRANSACTION_MAX,
    RECORDS_PER_BLOCK_MAX,
    RECORDS_PER_TRANSACTION_MAX,
    ROWS_PER_BLOCK_MAX,
    ROWS_PER_TRANSACTION_MAX,
)
from ledger.recovery import carry_out, decode
from ledger.state import PARAMETERS_KEY, VALIDATORS_KEY, Overlay, Reader
from proto.chiptrace.v1.ledger_pb2 import (
    Header,
    KeyRecord,
    Parameters,
    Reason,
    Result,
    ValidatorsRecord,
)


@dataclass(frozen=True, slots=True)
class BlockOutcome:
    """Everything that executing one block brings about. Nothing of it is stored yet."""

    results: list[bytes]  # Result, in the order of the transactions
    changes: dict[bytes, bytes | None]  # state values by key, None: deleted
    entries: list[tuple[bytes, int, bytes]]  # (subject key, place in its history, Entry)
    side: list[tuple[bytes, bytes | None]]  # rows of node-side tables
    results_root: bytes


def execute_block(
    reader: Reader,
    chain_id: bytes,
    header: Header,
    transactions: Sequence[CheckedTransaction],
    operations: OperationTable,
    changes: ChangeTable,
    decided: Decided,
    recovery: bytes = b"",
) -> BlockOutcome:
    """Executes a block's transactions in order on top of `reader`, which is the state after the parent;
    `decided` knows the log leaf of every height up to the parent's. A recovery (Recovery) comes before all else.

    A transaction that is refused leaves its reason in its result and nothing else, except that the keys it
    touched count towards KEYS_PER_BLOCK_MAX, rows of manifests towards ROWS_PER_BLOCK_MAX, and records that were gone
    through towards RECORDS_PER_BLOCK_MAX. Raises InvariantBroken when a handler fails in any way that is not a refusal,
    StoreError when the state cannot be read: either stops the node.
    """
    overlay = Overlay(reader, KEYS_PER_BLOCK_MAX, ROWS_PER_BLOCK_MAX, RECORDS_PER_BLOCK_MAX)
    results: list[bytes] = []
    entries: list[tuple[bytes, int, bytes]] = []
    if recovery:
        entries.extend(_recover(overlay, header, recovery))
    else:
        rotate_validators(overlay)
    side: list[tuple[bytes, bytes | None]] = []
    for transaction in transactions:
        kept = overlay.child(KEYS_PER_TRANSACTION_MAX, ROWS_PER_TRANSACTION_MAX, RECORDS_PER_TRANSACTION_MAX)
        result, context = _execute(kept, chain_id, header, transaction, operations, changes, decided)
        if result.ok and context is not None:
            kept.merge()
            entries.extend(context.entries)
            side.extend(context.side)
        results.append(codec.encode(result))
    return BlockOutcome(
        results=results,
        changes=dict(overlay.changes),
        entries=entries,
        side=side,
        results_root=block.results_root(chain_id, results),
    )


def rotate_validators(overlay: Overlay) -> None:
    """The first step of every height: the set that was the next one becomes the current one.

    Context.schedule_validators says how this makes a set that is chosen in H govern from H + 2 on.
    """
    record = state.load(overlay, VALIDATORS_KEY, ValidatorsRecord)
    if record is None:
        raise InvariantBroken("the state has no validators; the genesis state was never stored")
    if record.current != record.next:
        record.current.CopyFrom(record.next)
        state.save(overlay, VALIDATORS_KEY, record)


def _recover(overlay: Overlay, header: Header, data: bytes) -> list[tuple[bytes, int, bytes]]:
    try:
        return carry_out(overlay, header.time_ms, decode(data))
    except (Refused, Invalid, Malformed) as error:
        raise InvariantBroken(
            f"the recovery of height {header.height} was found good and cannot be carried out: {error}"
        ) from error


def check_signer(reader: Reader, key: bytes, time_ms: int) -> KeyRecord:
    """The record of a key that may sign at this header time.

    Raises Refused: UNKNOWN_KEY, or KEY_NOT_VALID when revoked, not valid yet or no longer.
    """
    record = state.look(reader, state.signer_key(key), KeyRecord)
    if record is None:
        raise Refused(
            f"key {key.hex()} is not registered on this chain; governance adds keys", Reason.UNKNOWN_KEY
        )
    if record.revoked_at_ms != 0:
        raise Refused(f"key {key.hex()} of {record.member} is revoked", Reason.KEY_NOT_VALID)
    if time_ms < record.valid_from_ms or 0 < record.valid_until_ms < time_ms:
        raise Refused(
            f"key {key.hex()} of {record.member} is valid from {record.valid_from_ms} "
            f"to {record.valid_until_ms or 'any time'} only, and it is {time_ms}",
            Reason.KEY_NOT_VALID,
        )
    return record


def _execute(
    overlay: Overlay,
    chain_id: bytes,
    header: Header,
    transaction: CheckedTransaction,
    operations: OperationTable,
    changes: ChangeTable,
    decided: Decided,
) -> tuple[Result, Context | None]:
    index = 0
    try:
        signer = check_signer(overlay, transaction.body.signer, header.time_ms)
        parameters = state.look(overlay, PARAMETERS_KEY, Parameters)
        if parameters is None:
            raise InvariantBroken("the state has no parameters; the genesis state was never stored")
        context = Context(
            overlay,
            chain_id,
            header.height,
            header.time_ms,
            transaction.id,
            operation_index=0,
            operation=hashes.ZERO,
            signer=signer,
            member=signer.member,
            parameters=parameters,
            changes=changes,
            decided=decided,
        )
        for index, operation in enumerate(transaction.body.operations):
            name = operation.WhichOneof("kind")
            handler = operations.get(name) if name is not None else None
            if name is None or handler is None:
                raise Refused(f"operation {index} is of a kind this chain does not execute", Reason.MALFORMED)
            context.operation_index, context.operation = index, operation
            handler(context, getattr(operation, name))
    except (Refused, Invalid, Malformed) as error:
        # Invalid and Malformed speak of bytes the sender put into the operation: a proof, a header.
        return Result(
            transaction=transaction.id, ok=False, reason=error.reason or Reason.MALFORMED, operation=index
        ), None
    except (InvariantBroken, StoreError):
        raise
    except Exception as error:
        raise InvariantBroken(
            f"operation {index} of transaction {transaction.id.hex()} at height {header.height} "
            f"failed: {error!r}"
        ) from error
    result = Result()  # field by field: twice as fast
    result.transaction, result.ok, result.reason = transaction.id, True, context.reason
    return result, context
