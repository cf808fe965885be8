"""TransformationEvent: inputs cease, outputs begin, and the run ties them together.

Every input, every output and the run itself are given an entry with the same digest, so that an audit walks
from an output to the event, and from there to its inputs. What is named on both sides goes on living as itself
(a repaired board). Amounts are taken from the member's in the very unit that is named, so no more goes in than
is there; outputs need the member's grant, as commissioning does.
"""

from typing import Final

from ledger import lots, state
from ledger.commissioning import commission_output
from ledger.custody import check_empty, check_free, find_or_adopt
from ledger.errors import Refused
from ledger.event import EventView
from ledger.recording import Recording
from proto.chiptrace.v1.ledger_pb2 import EntryKind, PartRecord, PartStatus, Reason, TransformationRecord

# A run that names no transformationID is this one event.
EVENT_URN: Final = "urn:chiptrace:event:"


def transform(recording: Recording) -> None:
    """Consumes inputs and commissions outputs; partial runs share a transformationID.

    Outputs belong to the owner of the consumed parts if they all have one, else to the member.

    Raises Refused: NOTHING_TO_DO, NOT_IN_CUSTODY for another member's run, EVENT_INVALID for a run named like
    those that have no name, UNKNOWN_PART, NOT_LIVE,
    INSIDE_CONTAINER, NOT_FREE_STANDING for an input with contents, NOT_GRANTED, NOT_HOME_CHAIN,
    ALREADY_COMMISSIONED, UNKNOWN_LOT, QUANTITY_INVALID, QUANTITY_EXCEEDED, EVENT_REPEATED.
    """
    view = recording.view
    inputs = {identifier.text for identifier in view.inputs}
    outputs = {identifier.text for identifier in view.outputs}
    if not (inputs or outputs or view.input_quantities or view.output_quantities):
        raise Refused("inputEPCList: neither inputs nor outputs are named", Reason.NOTHING_TO_DO)
    _enter_run(recording)
    # (1) Inputs are the member's to consume, and nothing's place is lost with them.
    owners: set[str] = set()
    for identifier in view.inputs:
        record = find_or_adopt(recording, identifier)
        check_free(recording.context, record)
        if record.id not in outputs:
            _consume(record)
            owners.add(record.owner)
        recording.enter_part(record)
    for quantity in view.input_quantities:
        recording.enter_lot(lots.spend_amount(recording, quantity))
    # (2) Outputs are the member's to commission.
    owner = owners.pop() if len(owners) == 1 else recording.member
    for identifier in view.outputs:
        if identifier.text not in inputs:
            recording.enter_part(commission_output(recording, identifier, owner))
    if view.serials is not None:
        lots.commission_serials(recording, view.output_quantities, owner)
        return
    for quantity in view.output_quantities:
        recording.enter_lot(lots.commission_amount(recording, quantity))


def run_name(view: EventView, digest: bytes) -> str:
    """The run that an event with this digest belongs to."""
    return view.transformation_id or EVENT_URN + digest.hex()


def enter_correction(recording: Recording, run: TransformationRecord) -> None:
    """Notes in the run's history that an event of it was undone."""
    key = state.transformation_key(run.id)
    recording.context.enter(key, run.history, EntryKind.UNDONE, recording.digest)
    state.save(recording.context.overlay, key, run)


def _consume(record: PartRecord) -> None:
    check_empty(record)
    record.status = PartStatus.CONSUMED


def _enter_run(recording: Recording) -> None:
    """The run's own history. A name belongs to the member that used it first."""
    context = recording.context
    if recording.view.transformation_id.startswith(EVENT_URN):
        # Else another member could take the name of an event before it is recorded, which then looks repeated.
        raise Refused(
            f"transformationID: {EVENT_URN} is for runs that name none; choose another", Reason.EVENT_INVALID
        )
    run = run_name(recording.view, recording.digest)
    key = state.transformation_key(run)
    record = state.load(context.overlay, key, TransformationRecord)
    if record is None:
        record = TransformationRecord(id=run, member=recording.member)
    elif not recording.view.transformation_id:
        raise Refused("this transformation is recorded already", Reason.EVENT_REPEATED)
    elif record.member != recording.member:
        raise Refused(
            f"transformation {run} is a run of member {record.member}; name your own", Reason.NOT_IN_CUSTODY
        )
    finding = Reason.LATE_RECORD if recording.late else Reason.REASON_UNSPECIFIED
    context.enter(key, record.history, EntryKind.EVENT, recording.digest, finding=finding)
    state.save(context.overlay, key, record)
