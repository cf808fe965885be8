"""Sign a transaction, keep its bytes until its outcome is known, and send exactly those again when in doubt.

A transaction is not lost and not doubled by a line that breaks: its signed bytes stand in the outbox (one file,
durable before the first byte is sent), the chain knows them by their idempotency key, and whoever submits the
same bytes again within the hour gets the first outcome.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import DecodeError

from client import keys
from client.connection import Connection, NoAnswer, NodeRefused
from client.reasons import known, meaning
from client.trust import ChainTrust, Identity
from ledger import hashes
from ledger.block import parse_transaction, sign_transaction
from ledger.errors import ChiptraceError, Malformed, Refused
from proto.chiptrace.v1.ledger_pb2 import Operation, Reason, Result
from proto.chiptrace.v1.node_pb2 import Outcome, SubmitRequest, TransactionRequest

VALID_MS = 600_000
WAIT_SECONDS = 30.0
RETRY_SECONDS = 0.5
_TRY_AGAIN = {Reason.POOL_FULL, Reason.NOT_SYNCED, Reason.SHUTTING_DOWN, Reason.DISK_NEARLY_FULL}
# It can be in no block any more; that it is in none already is for the chain to say.
_PERHAPS_RECORDED = {Reason.EXPIRED}
_TRIES_MAX = 16  # of what was refused before, each under the next key


class RefusedBefore(Refused):
    """What used the idempotency key first was refused: nothing was recorded, and the key is used up for an hour.

    first: its id."""

    def __init__(self, message: str, reason: "Reason.ValueType", first: bytes) -> None:
        super().__init__(message, reason)
        self.first = first


@dataclass(frozen=True)
class Recorded:
    """A final outcome: where the transaction stands, and the finding it carries, if any."""

    transaction: bytes  # id
    height: int
    index: int
    finding: "Reason.ValueType"
    repeated: bool = False  # it had been recorded before


class Submitter:
    """Submits as one member of one chain. `now_ms` is the caller's clock."""

    def __init__(
        self, trust: ChainTrust, identity: Identity, connection: Connection, now_ms: Callable[[], int]
    ) -> None:
        if identity.key is None:
            raise Malformed(f"the identity {identity.chain}/{identity.member} has no key and may only read")
        self._trust = trust
        self._connection = connection
        self._seed = keys.read_seed(identity.key)
        self._outbox = identity.key.parent / "outbox"
        self._now_ms = now_ms

    def submit(self, operations: Sequence[Operation], idempotency_key: bytes) -> Recorded:
        """Sign the operations as one transaction and return when it is final and on the answering node's disk.

        Raises Refused with the chain's reason, or NoAnswer when no node gave an outcome in time: then the signed
        bytes stay in the outbox and `resume` sends them again.

        What was refused under this key before is tried again under the next one, which follows from the key and the
        transaction that was refused: so whoever tries it at the same time uses the same, and it is recorded once.
        """
        for _ in range(_TRIES_MAX):
            until_ms = self._now_ms() + VALID_MS
            data = sign_transaction(self._trust.chain_id, self._seed, operations, until_ms, idempotency_key)
            try:
                return self._send(data, self._keep(data))
            except RefusedBefore as error:
                before = error
                idempotency_key = hashes.sha256(idempotency_key + error.first)[:16]
        raise before

    def resume(self) -> list[tuple[Path, Recorded | ChiptraceError]]:
        """Send again what an earlier run left in the outbox; the outcome of each."""
        outcomes: list[tuple[Path, Recorded | ChiptraceError]] = []
        for path in sorted(self._outbox.glob(f"{self._trust.name}-*.transaction")):
            if "-" in path.name[len(self._trust.name) + 1 :]:
                continue  # of a chain whose name begins with this one's
            try:
                outcomes.append((path, self._send(path.read_bytes(), path)))
            except ChiptraceError as error:
                outcomes.append((path, error))
        return outcomes

    def _keep(self, data: bytes) -> Path:
        keys.make_directory(self._outbox, 0o700)
        name = hashes.sha256(data).hex()[:32]
        path = self._outbox / f"{self._trust.name}-{name}.transaction"
        partial = path.with_suffix(f".{os.getpid()}.partial")  # the same command may run beside this one
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
        keys.sync_directory(self._outbox)
        return path

    def _send(self, data: bytes, path: Path) -> Recorded:
        """The outcome of signed bytes that stand in the outbox; they leave it when the outcome is known.

        1. A final outcome of this very transaction ends it.
        2. So does a reason for which no node will ever admit it, unless it was recorded before.
        3. Anything else is asked again until the time is over; then the bytes stay.
        """
        wanted = parse_transaction(self._trust.chain_id, data).id
        deadline_ms = self._now_ms() + int(WAIT_SECONDS * 1000)
        while True:
            outcome = self._ask(data, wanted, path)
            if outcome.final:
                path.unlink(missing_ok=True)
                return _final(outcome)
            if not outcome.admitted and outcome.reason not in _TRY_AGAIN:
                recorded = self._recorded(wanted) if outcome.reason in _PERHAPS_RECORDED else None
                path.unlink(missing_ok=True)
                if recorded is not None:
                    return _final(recorded)
                if outcome.reason == Reason.REPEATED:
                    return self._first(outcome)
                why = outcome.detail or "the chain did not admit the transaction"
                raise Refused(f"{why}: {meaning(outcome.reason)}", outcome.reason)
            if self._now_ms() >= deadline_ms:
                last = f" ({outcome.detail})" if outcome.detail else ""
                raise NoAnswer(
                    f"no outcome for transaction {wanted.hex()[:16]} within {WAIT_SECONDS:.0f} s{last}; its signed "
                    f"bytes are kept in {path}: run `chiptrace resume` when the chain answers again",
                    outcome.reason,
                )
            time.sleep(RETRY_SECONDS)

    def _first(self, outcome: Outcome) -> Recorded:
        """What became of the transaction that was first under the key. Raises RefusedBefore."""
        first = self._recorded(outcome.transaction)
        if first is not None and not first.ok:
            raise RefusedBefore(
                f"this was refused before (height {first.height}, transaction "
                f"{first.transaction.hex()[:16]}): {meaning(first.reason)}",
                first.reason,
                first.transaction,
            )
        return Recorded(outcome.transaction, outcome.height, outcome.index, Reason.REPEATED, repeated=True)

    def _ask(self, data: bytes, wanted: bytes, path: Path) -> Outcome:
        """What a node says of the transaction; nothing final, admitted or refused where none said anything of it."""
        request = SubmitRequest(transactions=[data], wait=True)
        try:
            reply = self._connection.call(lambda stub: stub.Submit, request, WAIT_SECONDS)
        except NoAnswer as error:
            return Outcome(admitted=True, detail=str(error))
        except NodeRefused as error:
            if error.reason in _TRY_AGAIN:
                return Outcome(reason=error.reason, detail=str(error))
            raise NodeRefused(f"{error}; the signed bytes are kept in {path}", error.reason) from error
        if len(reply.outcomes) != 1:
            return Outcome(admitted=True)
        outcome = _known(reply.outcomes[0])
        # A repetition is told under the id of the transaction that was first; all else under this one's, or none.
        repeated = outcome.reason == Reason.REPEATED and not outcome.final
        told_of_this = outcome.transaction == wanted
        believable = told_of_this if outcome.final or outcome.admitted else not (repeated and told_of_this)
        return outcome if believable else Outcome(admitted=True)

    def _recorded(self, wanted: bytes) -> Outcome | None:
        """The outcome of a transaction that was decided before, as a node tells it; None where it knows none."""
        try:
            reply = self._connection.call(lambda stub: stub.GetTransaction, TransactionRequest(id=wanted))
            result = Result.FromString(reply.result)
        except DecodeError:
            return None
        except NodeRefused as error:
            if error.reason != Reason.NOT_FOUND:
                raise  # nobody has said that there is none
            return None
        if result.transaction != wanted:
            return None
        return _known(
            Outcome(
                transaction=wanted,
                final=True,
                ok=result.ok,
                reason=result.reason,
                height=reply.height,
                index=reply.index,
            )
        )


def _known(outcome: Outcome) -> Outcome:
    """The outcome, with a reason that this version has a name for."""
    outcome.reason = known(outcome.reason)
    return outcome


def _final(outcome: Outcome) -> Recorded:
    if not outcome.ok:
        raise Refused(
            f"{outcome.detail or 'the chain refused the transaction'} (height {outcome.height}, transaction "
            f"{outcome.transaction.hex()[:16]}): {meaning(outcome.reason)}",
            outcome.reason,
        )
    return Recorded(outcome.transaction, outcome.height, outcome.index, outcome.reason)
