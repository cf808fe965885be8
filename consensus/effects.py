"""What goes into the engine and what it asks for. The order of effects is their meaning: `Persist` precedes
every `Send` that rests on it."""

from collections.abc import Callable
from dataclasses import dataclass

from proto.chiptrace.v1.consensus_pb2 import Certificate, JournalRecord, PeerMessage, Vote
from proto.chiptrace.v1.ledger_pb2 import ValidatorSet

# ---- inputs -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Received:
    """A message from a validator, named by its authenticated key (never by what the message claims)."""

    sender: bytes
    message: PeerMessage


@dataclass(frozen=True, slots=True)
class TimerFired:
    """The moment named by the last `SetTimer` has come (or passed)."""


@dataclass(frozen=True, slots=True)
class WorkPending:
    """Transactions wait at this node: the height's clock starts. Given again after `Executed` while some wait;
    what is given between `Decide` and `Executed` is not remembered."""


@dataclass(frozen=True, slots=True)
class BlockBuilt:
    """Answer to `BuildBlock`; None: the application cannot build one now."""

    height: int
    view: int
    block: bytes | None
    wanted: bool  # has transactions, or one is due (certification, heartbeat, set change)


@dataclass(frozen=True, slots=True)
class BlockJudged:
    """Answer to `JudgeBlock`. Valid by rules and by our clock, or else refused."""

    height: int
    block_hash: bytes
    valid: bool


@dataclass(frozen=True, slots=True)
class Executed:
    """A decided block is executed and durable; its successor's height opens."""

    height: int
    block_hash: bytes
    validators: ValidatorSet  # in force at height + 1
    next_due_ms: int  # header time at which an empty block is due: at once (0), or the heartbeat


@dataclass(frozen=True, slots=True)
class PeerConnected:
    """A validator can be reached (again): it is told what we have decided."""

    key: bytes


Input = Received | TimerFired | WorkPending | BlockBuilt | BlockJudged | Executed | PeerConnected

# ---- effects ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Persist:
    """Append these records to the journal; they are durable (one fsync) before any later effect."""

    records: tuple[JournalRecord, ...]


@dataclass(frozen=True, slots=True)
class Send:
    """Send to one validator, or to all others when `to` is None, `besides` the one who has it. Never to oneself."""

    to: bytes | None
    message: PeerMessage
    besides: bytes | None = None


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Fire once at this time (replaces the earlier one)."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class BuildBlock:
    """Ask the application for a block on top of the last decided one."""

    height: int
    view: int


@dataclass(frozen=True, slots=True)
class JudgeBlock:
    """Ask the application whether this new block is valid on top of the last decided one."""

    height: int
    block_hash: bytes
    block: bytes


@dataclass(frozen=True, slots=True)
class Decide:
    """This block is final: execute and store it with its certificate, then answer `Executed`."""

    height: int
    block_hash: bytes
    block: bytes
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class ReportFault:
    """Two votes that convict their signer."""

    height: int
    signer: bytes
    first: Vote
    second: Vote


Effect = Persist | Send | SetTimer | BuildBlock | JudgeBlock | Decide | ReportFault

# ---- what the engine is given -----------------------------------------------------------------------

# (validator key, vote purpose bytes as signed, signature) -> valid
VerifySignature = Callable[[bytes, bytes, bytes], bool]
# bytes as signed -> signature
Sign = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Times of the engine, in milliseconds; counts and bytes where named so."""

    base_timeout_ms: int = 1_000
    timeout_factor_max: int = 8
    grace_ms: int = 200  # a leader that entered by notarization waits this long for the finalization
    resend_ms: int = (
        150  # standing still this long resends: a small part of a view, or a lost vote costs the view
    )
    resend_bytes_max: int = 262_144
    leader_dead_ms: int = 1_000
    block_request_ms: int = 500  # an answer that takes longer is late
    views_ahead_max: int = 16  # votes further ahead are dropped; certificates are not
    heights_per_request_max: int = 64
