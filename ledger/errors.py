"""What can go wrong, by whose fault.

    ChiptraceError
    ├── Malformed          bytes that no honest party makes            (theirs, permanent)
    ├── Invalid(reason)    a block or request that must not be taken   (theirs, permanent)
    ├── Refused(reason)    a rule or right forbids the operation       (theirs, stays in the block)
    ├── StoreError         the disk failed or lies                     (the world's; the node stops)
    └── InvariantBroken    our own mistake                             (the node stops)

Codes are the members of `Reason` in proto/chiptrace/v1/ledger.proto; they are never reused.
"""

from proto.chiptrace.v1.ledger_pb2 import Reason


class ChiptraceError(Exception):
    """Root of all errors raised on purpose; `reason` is the stable code, the message names cause and place."""

    def __init__(self, message: str, reason: "Reason.ValueType" = Reason.REASON_UNSPECIFIED) -> None:
        super().__init__(message)
        self.reason = reason

    @property
    def code(self) -> str:
        """The stable name of the reason, as printed to people and in JSON."""
        return Reason.Name(self.reason)


class Malformed(ChiptraceError):
    """The bytes are not the one accepted encoding of what they claim to be."""

    def __init__(self, message: str, reason: "Reason.ValueType" = Reason.MALFORMED) -> None:
        super().__init__(message, reason)


class Invalid(ChiptraceError):
    """A block, transaction or request that must not be taken; nothing was changed."""


class Refused(ChiptraceError):
    """A right or a rule forbids the operation; its transaction leaves no writes and keeps the reason."""


class StoreError(ChiptraceError):
    """The disk failed or returned something that cannot be true. The node must stop; it never retries."""


class InvariantBroken(ChiptraceError):
    """Our own mistake was caught. The node must stop before it does harm."""
