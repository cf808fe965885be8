"""What the sender of a transaction is told: refused and why, admitted, or what became of it."""

from ledger.admission import Repeated
from ledger.errors import Invalid
from ledger.rows import Place
from proto.chiptrace.v1.ledger_pb2 import Reason, Result
from proto.chiptrace.v1.node_pb2 import Outcome


def admitted_outcome(transaction: bytes, seconds: float | None) -> Outcome:
    """The outcome of a transaction that is admitted, after so many seconds (None: nobody waited)."""
    if seconds is None:
        return Outcome(transaction=transaction, admitted=True)
    return _not_final(transaction, seconds)


def expired_outcome(transaction: bytes) -> Outcome:
    """The outcome of a transaction that waited until its validity ended."""
    return Outcome(
        transaction=transaction,
        reason=Reason.EXPIRED,
        detail="it is in no block and can be in none any more; sign it again with the same idempotency key",
    )


def _not_final(transaction: bytes, seconds: float) -> Outcome:
    """The outcome of a transaction that waits still, after so many seconds."""
    return Outcome(
        transaction=transaction,
        admitted=True,
        detail=f"not final after {seconds:.0f} s; it still may become so: send the same bytes again",
    )


def final_outcome(place: Place, result: Result) -> Outcome:
    """The outcome of a transaction that stands in a block which is on disk here."""
    detail = "" if result.ok else f"operation {result.operation} was refused: {Reason.Name(result.reason)}"
    return Outcome(
        transaction=place.transaction,
        reason=result.reason,
        admitted=True,
        final=True,
        ok=result.ok,
        height=place.height,
        index=place.index,
        detail=detail,
    )


def refused_outcome(error: Invalid, transaction: bytes = b"") -> Outcome:
    """Nothing was decided about it, and this node does not keep it. For a repetition: what it repeats."""
    outcome = Outcome(transaction=transaction, reason=error.reason, detail=str(error))
    if isinstance(error, Repeated):
        first = error.first
        outcome.transaction, outcome.height, outcome.index = first.transaction, first.height, first.index
    return outcome
