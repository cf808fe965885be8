"""What a handler is given: the state it may change, who asks, when, and where findings go.

One Context lives as long as one transaction. Everything a handler does is done through it, so that dropping
the context (and its overlay) undoes the transaction completely.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf.message import Message

from ledger import codec, state
from ledger.block import LogLeaf
from ledger.errors import InvariantBroken, Refused
from ledger.hashes import Purpose, tagged_hash
from ledger.history import append_entry
from ledger.state import Overlay
from proto.chiptrace.v1.ledger_pb2 import (
    Entry,
    EntryKind,
    History,
    KeyRecord,
    Parameters,
    Reason,
    Role,
    Validator,
    ValidatorSet,
    ValidatorsRecord,
)

# A handler is given the context and the chosen member of the oneof (a message, or bytes for the bridge's).
# It either returns, having changed the state through the context, or raises Refused and has changed nothing
# that stays.
Handler = Callable[["Context", Any], None]
# By the field name of the oneof in Operation, and in Change.
OperationTable = Mapping[str, Handler]
ChangeTable = Mapping[str, Handler]

# What a decided height below the one under execution left in the log: the same on every node.
Decided = Callable[[int], LogLeaf]

VALIDATOR_SETS_KEPT: Final = 1_024  # of which faults can still be judged


def nothing_decided(height: int) -> LogLeaf:
    """The past of a chain that has none: of the genesis state."""
    raise InvariantBroken(f"height {height} was asked for where no height is decided")


@dataclass(slots=True)
class Context:
    """One transaction under execution. Times in milliseconds of header time; ids and digests are 32 bytes."""

    overlay: Overlay
    chain_id: bytes
    height: int  # of the block; 0 while the genesis state is made
    time_ms: int
    transaction_id: bytes
    operation_index: int
    operation: Message | bytes  # under execution, or its digest where that is all there is
    signer: KeyRecord
    member: str  # the signer's
    parameters: Parameters
    changes: ChangeTable
    decided: Decided = nothing_decided  # for heights 1 to height - 1
    # Validator keys whose nodes have proven to be in step, by the governance operation under execution; and whether
    # they joined.
    in_step: dict[bytes, bool] = field(default_factory=dict)
    # What goes beside the state once the transaction stands: (subject key, place in its history, Entry),
    entries: list[tuple[bytes, int, bytes]] = field(default_factory=list)
    # and rows of node-side tables, which nothing proves: (key, value or None).
    side: list[tuple[bytes, bytes | None]] = field(default_factory=list)
    reason: "Reason.ValueType" = Reason.REASON_UNSPECIFIED

    @property
    def operation_digest(self) -> bytes:
        """The tagged hash of the operation's bytes, made when it is first asked for: events have a digest of their own."""
        if not isinstance(self.operation, bytes):
            self.operation = tagged_hash(Purpose.OPERATION, self.chain_id, codec.encode(self.operation))
        return self.operation

    def require_role(self, *roles: "Role.ValueType") -> None:
        """Returns only if the signing key has one of these roles; else raises Refused(ROLE_NOT_ALLOWED)."""
        if self.signer.role not in roles:
            wanted = ", ".join(Role.Name(role) for role in roles)
            raise Refused(
                f"a key of role {Role.Name(self.signer.role)} may not do this; sign with one of: {wanted}",
                Reason.ROLE_NOT_ALLOWED,
            )

    def enter(
        self,
        subject_key: bytes,
        history: History,
        kind: "EntryKind.ValueType",
        digest: bytes | None = None,
        inside: tuple[str, int, int] | None = None,
        finding: "Reason.ValueType" = Reason.REASON_UNSPECIFIED,
    ) -> int:
        """Appends an entry to a subject's history (in place) and returns the new number of entries.

        The caller saves the record that holds the history afterwards. `digest` is the event's; without it the
        entry carries the digest of the operation. inside: container, its generation, and how many entries it has. A
        finding is entered here only; see `finding` for outcomes. Raises Refused(TOO_MANY_RECORDS).
        """
        self.overlay.go_through_records()
        # Field by field: twice as fast as the library's constructor.
        entry = Entry()
        entry.subject = subject_key
        entry.transaction = self.transaction_id
        entry.height, entry.operation = self.height, self.operation_index
        entry.digest = self.operation_digest if digest is None else digest
        entry.kind, entry.finding = kind, finding
        if inside is not None:
            entry.container, entry.generation, entry.container_n = inside
        n_before, data = append_entry(self.chain_id, history, entry)
        self.entries.append((subject_key, n_before, data))
        return n_before + 1

    def side_put(self, key: bytes, value: bytes | None) -> None:
        """Queues a row for the node-side tables (None deletes); kept only if the transaction stands."""
        self.side.append((key, value))

    def finding(self, reason: "Reason.ValueType") -> None:
        """Marks the outcome, which stays OK, with a finding; the first one of a transaction is kept."""
        if self.reason == Reason.REASON_UNSPECIFIED:
            self.reason = reason

    def schedule_validators(self, validators: Sequence[Validator]) -> None:
        """Puts a checked validator set in force from height + 2; at genesis, from height 1.

        The bookkeeping of sets, in full. After height H is executed the VALIDATORS record holds
        current = set(H + 1) and next = set(H + 2), and header H + 1 carries the hashes of both. Executing H
        begins with current := next (execute.py), since next was set(H + 1) until then; this call during H
        then replaces next alone, by the new set with in_force_from = H + 2. Heights 1 and 2 both use genesis'
        set. Every set also stays under its own key, so that faults of past heights can be judged
        (`state.validators_at`).
        """
        record = state.load(self.overlay, state.VALIDATORS_KEY, ValidatorsRecord)
        if record is None or self.height == 0:
            scheduled = ValidatorSet(in_force_from=1, validators=validators)
            record = ValidatorsRecord(current=scheduled, next=scheduled)
        else:
            scheduled = ValidatorSet(in_force_from=self.height + 2, validators=validators)
            record.next.CopyFrom(scheduled)
        starts = [start for start in record.starts if start != scheduled.in_force_from]
        record.starts[:] = [*starts, scheduled.in_force_from][-VALIDATOR_SETS_KEPT:]
        state.save(self.overlay, state.validator_set_key(scheduled.in_force_from), scheduled)
        state.save(self.overlay, state.VALIDATORS_KEY, record)
