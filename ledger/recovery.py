"""How a chain goes on that has lost its quorum for good: by a decision of its members, outside the chain.

With more than a third of the validators gone nothing is decided any more, and no new set can be voted. Then the
members sign, with the same admin keys and in the same number as for a proposal, a document: after which block the
chain goes on, with which validators, and why. Each operator gives it to her own node; nothing makes a node take it
from another. The first block after it carries the document with its approvals, its header says so, and the state
keeps a record: who follows the chain cannot overlook it, and nobody can take it away.

The new set consists of keys that this chain has never seen. A vote names chain, height, view and block, not the set
it is cast under; a key of the old set may have voted at the very height at which the new one begins, and its old
votes would count again, under another quorum. Fresh keys have no past: what either set signs is worth nothing in the
other (docs/recovery.md has the argument, tests/consensus/test_recovered_height.py the counterexample).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ledger import codec, hashes, state
from ledger.block import recovery_mark, validators_hash
from ledger.context import Context
from ledger.errors import Invalid, InvariantBroken, Refused
from ledger.genesis import VALIDATORS_MIN
from ledger.governance import approving_members
from ledger.hashes import HASH_BYTES, ZERO, Purpose
from ledger.limits import (
    APPROVALS_PER_PROPOSAL_MAX,
    RECOVERY_BYTES_MAX,
    U64_MAX,
    VALIDATORS_MAX,
)
from ledger.members import check_name, load_member, put_key
from ledger.state import Overlay, Reader
from proto.chiptrace.v1.ledger_pb2 import (
    EntryKind,
    KeyRecord,
    Parameters,
    PutKey,
    Reason,
    RecoveriesRecord,
    Recovery,
    RecoveryDocument,
    RecoveryRecord,
    Role,
    Signature,
    ValidatorSet,
    ValidatorsRecord,
)

NONCE_BYTES: Final = 16
REASON_BYTES_MAX: Final = 1_024


@dataclass(frozen=True, slots=True)
class Opened:
    """A recovery whose bytes are in order. Whether anybody had the right to approve it is `check`'s to say."""

    data: bytes  # Recovery, as carried
    document: RecoveryDocument
    document_bytes: bytes
    hash: bytes  # of the document: the name of the recovery
    approvals: tuple[Signature, ...]

    @property
    def height(self) -> int:
        """The last height before it."""
        return self.document.height

    @property
    def validators(self) -> ValidatorSet:
        """The set that it puts in force."""
        return ValidatorSet(in_force_from=self.document.height + 1, validators=self.document.validators)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a chain stands: what a recovery must be made for."""

    chain_id: bytes
    height: int
    time_ms: int
    block_hash: bytes  # ZERO at height 0
    app_hash: bytes  # after it


# ---- bytes ------------------------------------------------------------------------------------------------


def document_hash(chain_id: bytes, document: bytes) -> bytes:
    """The name of a recovery: approvals do not change it."""
    return hashes.tagged_hash(Purpose.RECOVERY, chain_id, document)


def decode(data: bytes) -> Opened:
    """A recovery in its one encoding, with every field in bounds.

    Raises Malformed (also OVERSIZE), and Invalid: BAD_RECOVERY, BAD_VALIDATORS, KEY_NOT_VALID.
    """
    # (1) The one encoding of envelope and document.
    recovery = codec.decode(Recovery, data, RECOVERY_BYTES_MAX)
    document = codec.decode(RecoveryDocument, recovery.document, RECOVERY_BYTES_MAX)
    # (2) Lengths.
    lengths = (
        ("chain_id", document.chain_id, (HASH_BYTES,)),
        ("block_hash", document.block_hash, (HASH_BYTES,)),
        ("app_hash", document.app_hash, (HASH_BYTES,)),
        ("nonce", document.nonce, (NONCE_BYTES,)),
        ("replaces", document.replaces, (0, HASH_BYTES)),
    )
    for name, value, allowed in lengths:
        if len(value) not in allowed:
            raise _bad(f"its {name} has {len(value)} bytes")
    if document.height >= U64_MAX:
        raise _bad(f"no height follows {document.height}")
    # (3) A reason that people can read.
    try:
        check_name(document.reason, "the reason of a recovery", Reason.BAD_RECOVERY, REASON_BYTES_MAX)
    except Refused as refusal:
        raise Invalid(str(refusal), refusal.reason) from refusal
    # (4) Validators with sound keys, each once. How few may be is for the chain's state to say.
    if not 0 < len(document.validators) <= VALIDATORS_MAX:
        raise Invalid(
            f"a recovery names 1 to {VALIDATORS_MAX} validators, not {len(document.validators)}",
            Reason.BAD_VALIDATORS,
        )
    if len({validator.key for validator in document.validators}) != len(document.validators):
        raise Invalid("a recovery names one validator key twice", Reason.BAD_VALIDATORS)
    for validator in document.validators:
        hashes.check_public_key(validator.key)
    # (5) No more approvals than are read.
    if len(recovery.approvals) > APPROVALS_PER_PROPOSAL_MAX:
        raise _bad(
            f"it has {len(recovery.approvals)} approvals, at most {APPROVALS_PER_PROPOSAL_MAX} are read"
        )
    return Opened(
        data=data,
        document=document,
        document_bytes=recovery.document,
        hash=document_hash(document.chain_id, recovery.document),
        approvals=tuple(recovery.approvals),
    )


# ---- right ------------------------------------------------------------------------------------------------


def check(reader: Reader, here: Standing, opened: Opened) -> RecoveryRecord:
    """The mark that this recovery leaves on the chain as it stands here. Changes nothing.

    Raises Invalid: WRONG_CHAIN, BAD_RECOVERY, UNKNOWN_KEY, BAD_SIGNATURE, NOT_ENOUGH_APPROVALS, BAD_VALIDATORS,
    UNKNOWN_MEMBER, BAD_CHANGE.
    """
    # (1) to (3) It is for the chain as it stands here.
    _check_place(here, opened.document)
    # (4) Approved by enough members, as they and the threshold stand after that block, (5) with validators that
    #     can be: seen by what it would do.
    return _seen(reader, here, opened, approving(reader, opened))


def preview(reader: Reader, here: Standing, opened: Opened) -> RecoveryRecord:
    """As `check`, of a document that nobody has approved yet. Raises as it, but for what approvals are refused for."""
    _check_place(here, opened.document)
    return _seen(reader, here, opened, ())


def approving(reader: Reader, opened: Opened) -> tuple[str, ...]:
    """The members that approved it, if they are enough. Raises Invalid: UNKNOWN_KEY, BAD_SIGNATURE,
    NOT_ENOUGH_APPROVALS."""
    document = opened.document
    try:
        found = approving_members(
            reader, Purpose.RECOVERY, document.chain_id, opened.document_bytes, opened.approvals
        )
    except Refused as refusal:
        raise Invalid(f"recovery {opened.hash.hex()}: {refusal}", refusal.reason) from refusal
    return tuple(sorted(found))


def _check_place(here: Standing, document: RecoveryDocument) -> None:
    # (1) For this chain, (2) from this very block on, (3) whose outcome is the same here.
    if document.chain_id != here.chain_id:
        raise Invalid(
            f"the recovery is for chain {document.chain_id.hex()}, this is {here.chain_id.hex()}",
            Reason.WRONG_CHAIN,
        )
    if (document.height, document.block_hash) != (here.height, here.block_hash):
        raise _bad(
            f"it goes on from height {document.height}, block {document.block_hash.hex()}; here the chain ends at "
            f"height {here.height}, block {here.block_hash.hex()}"
        )
    if document.app_hash != here.app_hash:
        raise _bad(
            f"its app_hash is {document.app_hash.hex()}, after height {here.height} it is {here.app_hash.hex()}"
        )


def _seen(reader: Reader, here: Standing, opened: Opened, members: Sequence[str]) -> RecoveryRecord:
    overlay = Overlay(reader)
    try:
        _put_in_force(overlay, here.time_ms, opened, members)
    except Refused as refusal:
        raise Invalid(f"recovery {opened.hash.hex()}: {refusal}", refusal.reason) from refusal
    record = state.load(overlay, state.recovery_key(opened.height), RecoveryRecord)
    if record is None:
        raise InvariantBroken("a recovery left no mark")
    return record


# ---- effect -----------------------------------------------------------------------------------------------


def carry_out(overlay: Overlay, time_ms: int, opened: Opened) -> list[tuple[bytes, int, bytes]]:
    """What the first block after the recovery does before anything else; the entries it makes in histories.

    Raises Invalid and Refused for what `check` refuses; a block that was judged has none of it.
    """
    return _put_in_force(overlay, time_ms, opened, approving(overlay, opened))


def _put_in_force(
    overlay: Overlay, time_ms: int, opened: Opened, members: Sequence[str]
) -> list[tuple[bytes, int, bytes]]:
    document = opened.document
    parameters = state.load(overlay, state.PARAMETERS_KEY, Parameters)
    record = state.load(overlay, state.VALIDATORS_KEY, ValidatorsRecord)
    if parameters is None or record is None:
        raise InvariantBroken("the state has no validators or parameters; the genesis state was never stored")
    context = Context(
        overlay=overlay,
        chain_id=document.chain_id,
        height=document.height + 1,
        time_ms=time_ms,
        transaction_id=ZERO,  # no transaction does it, as none does what the genesis puts
        operation_index=0,
        operation=opened.hash,
        signer=KeyRecord(),
        member="",
        parameters=parameters,
        changes={},
    )
    # (1) As many as survive one fault, unless the genesis said otherwise.
    least = 1 if overlay.get(state.DEV_KEY) is not None else VALIDATORS_MIN
    if len(document.validators) < least:
        raise Refused(
            f"{len(document.validators)} validators; a chain goes on with {least} to {VALIDATORS_MAX}",
            Reason.BAD_VALIDATORS,
        )
    # (2) Keys never seen before, each of a member.
    for validator in document.validators:
        put_key(context, PutKey(key=validator.key, member=validator.member, role=Role.VALIDATOR))
    # (3) The set is in force at once, and what was to follow the old one does not.
    _replace_validators(overlay, record, opened.validators)
    # (4) The mark, for ever; and in the history of each member that approved.
    _leave_mark(
        overlay,
        RecoveryRecord(
            height=document.height,
            document=opened.hash,
            block_hash=document.block_hash,
            members=members,
            governance_threshold=parameters.governance_threshold,
            validators_before=validators_hash(document.chain_id, record.current),
            validators=opened.validators,
            reason=document.reason,
            signed_ms=document.signed_ms,
            replaces=document.replaces,
        ),
    )
    for name in members:
        member = load_member(overlay, name)
        context.enter(state.member_key(name), member.history, EntryKind.RECOVERY)
        state.save(overlay, state.member_key(name), member)
    return context.entries


def _replace_validators(overlay: Overlay, before: ValidatorsRecord, validators: ValidatorSet) -> None:
    first = validators.in_force_from
    for start in before.starts:
        if start > first:
            overlay.delete(state.validator_set_key(start))
    starts = [start for start in before.starts if start < first]
    record = ValidatorsRecord(current=validators, next=validators, starts=[*starts, first])
    state.save(overlay, state.validator_set_key(first), validators)
    state.save(overlay, state.VALIDATORS_KEY, record)


def _leave_mark(overlay: Overlay, record: RecoveryRecord) -> None:
    found = state.load(overlay, state.RECOVERIES_KEY, RecoveriesRecord) or RecoveriesRecord()
    found.heights.append(record.height)
    state.save(overlay, state.RECOVERIES_KEY, found)
    state.save(overlay, state.recovery_key(record.height), record)


# ---- what the operator of a node has decided ----------------------------------------------------------------


class Applied:
    """The recoveries given to one node, by the height after which they stand."""

    def __init__(self, recoveries: Iterable[bytes] = ()) -> None:
        """Raises Malformed or Invalid: RECOVERY_CONFLICT for two of one height."""
        self._by_height: dict[int, Opened] = {}
        for data in recoveries:
            opened = decode(data)
            other = self._by_height.setdefault(opened.height, opened)
            if other is not opened:
                raise Invalid(
                    f"two recoveries for height {opened.height} are given: {other.hash.hex()} and {opened.hash.hex()}; "
                    "a node follows one",
                    Reason.RECOVERY_CONFLICT,
                )

    def at(self, height: int) -> Opened | None:
        """The recovery that stands after this height."""
        return self._by_height.get(height)

    def check_past(self, reader: Reader, height: int) -> None:
        """Returns only if the chain, which has decided `height` here, went through each recovery given for a height
        below. Raises Invalid(RECOVERY_CONFLICT)."""
        for opened in self._by_height.values():
            if opened.height < height:
                check_carried(reader, opened)


def check_carried(reader: Reader, opened: Opened) -> None:
    """Returns only if the chain, which has decided the height after it, went through this recovery.

    Raises Invalid(RECOVERY_CONFLICT).
    """
    record = state.load(reader, state.recovery_key(opened.height), RecoveryRecord)
    if record is not None and record.document == opened.hash:
        return
    instead = "without a recovery" if record is None else f"with the recovery {record.document.hex()}"
    raise Invalid(
        f"recovery {opened.hash.hex()} goes on from height {opened.height}, but height {opened.height + 1} is final here "
        f"{instead}: applying it would fork the chain. Bring what this node holds before the members that signed",
        Reason.RECOVERY_CONFLICT,
    )


def check_in_block(
    reader: Reader, here: Standing, applied: Opened | None, carried: bytes, header_mark: bytes
) -> None:
    """Returns only if the next block carries what was applied here after the tip: that document, or nothing.

    Its approvals may be others than ours, as long as they are enough. Raises Malformed; Invalid: RECOVERY_MISSING,
    RECOVERY_CONFLICT, BAD_ROOT, and what `check` raises.
    """
    # (1) The header binds every byte of it.
    if recovery_mark(here.chain_id, carried) != header_mark:
        raise Invalid("the recovery is not the one that the header names", Reason.BAD_ROOT)
    # (2) Exactly where one was applied.
    if applied is None:
        if carried:
            raise Invalid(
                f"the block carries the recovery {decode(carried).hash.hex()}, which was not applied here: see "
                "docs/recovery.md before you do",
                Reason.RECOVERY_MISSING,
            )
        return
    if not carried:
        raise Invalid(
            f"the block lacks the recovery {applied.hash.hex()}, which was applied here",
            Reason.RECOVERY_MISSING,
        )
    # (3) The same document, and (4) approved.
    opened = decode(carried)
    if opened.document_bytes != applied.document_bytes:
        raise Invalid(
            f"the block carries the recovery {opened.hash.hex()}; applied here is {applied.hash.hex()}",
            Reason.RECOVERY_CONFLICT,
        )
    if opened.data != applied.data:
        check(reader, here, opened)


def _bad(why: str) -> Invalid:
    return Invalid(f"this recovery cannot be used: {why}", Reason.BAD_RECOVERY)
