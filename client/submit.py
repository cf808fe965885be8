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

from client import keys
from client.connection import Connection, NoAnswer
from client.reasons import meaning
from client.trust import ChainTrust, Identity
from ledger import hashes
from ledger.block import parse_transaction, sign_transaction
from ledger.errors import ChiptraceError, Malformed, Refused
from proto.chiptrace.v1.ledger_pb2 import Operation, Reason
from proto.chiptrace.v1.node_pb2 import Outcome, SubmitRequest

VALID_MS = 600_000
WAIT_SECONDS = 30.0
RETRY_SECONDS = 0.5
_TRY_AGAIN = {Reason.POOL_FULL, Reason.NOT_SYNCED, Reason.SHUTTING_DOWN}


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
        """
        valid_until_ms = self._now_ms() + VALID_MS
        data = sign_transaction(self._trust.chain_id, self._seed, operations, valid_until_ms, idempotency_key)
        path = self._keep(data)
        return self._send(data, path)

    def resume(self) -> list[tuple[Path, Recorded | ChiptraceError]]:
        """Send again what an earlier run left in the outbox; the outcome of each."""
        outcomes: list[tuple[Path, Recorded | ChiptraceError]] = []
        for path in sorted(self._outbox.glob("*.transaction")):
            try:
                outcomes.append((path, self._send(path.read_bytes(), path)))
            except (Refused, NoAnswer, Malformed) as error:
                outcomes.append((path, error))
        return outcomes

    def _keep(self, data: bytes) -> Path:
        self._outbox.mkdir(mode=0o700, exist_ok=True)
        name = hashes.sha256(data).hex()[:32]
        path = self._outbox / f"{self._trust.name}-{name}.transaction"
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
        folder = os.open(self._outbox, os.O_RDONLY)
        try:
            os.fsync(folder)  # from here on the signed bytes survive a crash of this machine
        finally:
            os.close(folder)
        return path

    def _send(self, data: bytes, path: Path) -> Recorded:
        parsed = parse_transaction(self._trust.chain_id, data)
        deadline_ms = self._now_ms() + int(WAIT_SECONDS * 1000)
        while True:
            outcome = self._ask(data)
            if outcome is not None and outcome.final:
                path.unlink(missing_ok=True)
                return _final(outcome)
            if outcome is not None and not outcome.admitted and outcome.reason not in _TRY_AGAIN:
                path.unlink(missing_ok=True)
                if outcome.reason == Reason.REPEATED and outcome.transaction != parsed.id:
                    return Recorded(
                        outcome.transaction, outcome.height, outcome.index, Reason.REPEATED, repeated=True
                    )
                why = outcome.detail or "the chain did not admit the transaction"
                raise Refused(f"{why}: {meaning(outcome.reason)}", outcome.reason)
            if self._now_ms() >= deadline_ms:
                raise NoAnswer(
                    f"no outcome for transaction {parsed.id.hex()[:16]} within {WAIT_SECONDS:.0f} s; its signed "
                    f"bytes are kept in {path}: run `chiptrace resume` when the chain answers again",
                    outcome.reason if outcome is not None else Reason.REASON_UNSPECIFIED,
                )
            time.sleep(RETRY_SECONDS)

    def _ask(self, data: bytes) -> Outcome | None:
        request = SubmitRequest(transactions=[data], wait=True)
        try:
            reply = self._connection.call(lambda stub: stub.Submit, request, WAIT_SECONDS)
        except NoAnswer:
            return None
        return reply.outcomes[0] if reply.outcomes else None


def _final(outcome: Outcome) -> Recorded:
    if not outcome.ok:
        raise Refused(
            f"{outcome.detail or 'the chain refused the transaction'} (height {outcome.height}, transaction "
            f"{outcome.transaction.hex()[:16]}): {meaning(outcome.reason)}",
            outcome.reason,
        )
    return Recorded(outcome.transaction, outcome.height, outcome.index, outcome.reason)
