"""TransformationEvent: inputs cease, outputs begin, and the run ties them together.

Every input, every output and the run itself are given an entry with the same digest, so that an audit walks
from an output to the event, and from there to its inputs. What is named on both sides goes on living as itself
(a repaired board). Amounts are taken from the member's in the very unit that is named, so no more goes in than
is there; outputs need the member's grant, as commissioning does.

What goes in may come with a declared yield (dies of a wafer, say), in `ilmd` and in our namespace: yield, scrap and
samples, by unit. Then, over all events of the run and exactly, declared = made + scrap + samples + what is left; more
than was declared is refused. A run that declares nothing is not bounded. closesRun ends a run for good.

Where nobody knows which of several lots went in (two reels at one feeder), `ilmd` names them all as candidates; the one
that is booked stands among the inputs, too. Nothing is taken of a candidate, but its history says that it may be in
what was made, so that a recall of it finds that.
"""

from typing import Final

from ledger import codec, decimals, lots, state
from ledger.commissioning import commission_output
from ledger.custody import check_empty, check_free, check_possession, find_or_adopt
from ledger.errors import Refused
from ledger.event import EventView, Quantity
from ledger.limits import RUN_UNITS_MAX
from ledger.recording import Recording
from proto.chiptrace.v1.ledger_pb2 import (
    Decimal,
    EntryKind,
    PartRecord,
    PartStatus,
    Reason,
    RunBalance,
    TransformationRecord,
)

# A run that names no transformationID is this one event.
EVENT_URN: Final = "urn:chiptrace:event:"


def transform(recording: Recording) -> None:
    """Consumes inputs and commissions outputs; partial runs share a transformationID.

    Outputs belong to the owner of the consumed parts if they all have one, else to the member.

    Raises Refused: NOTHING_TO_DO, NOT_IN_CUSTODY for another member's run, EVENT_INVALID for a run named like
    those that have no name, UNKNOWN_PART, NOT_LIVE,
    INSIDE_CONTAINER, NOT_FREE_STANDING for an input with contents, NOT_GRANTED, NOT_HOME_CHAIN,
    ALREADY_COMMISSIONED, UNKNOWN_LOT, QUANTITY_INVALID, QUANTITY_EXCEEDED, EVENT_REPEATED, YIELD_INVALID,
    YIELD_EXCEEDED, RUN_CLOSED.
    """
    view = recording.view
    inputs = {identifier.text for identifier in view.inputs}
    outputs = {identifier.text for identifier in view.outputs}
    if not (inputs or outputs or view.input_quantities or view.output_quantities):
        raise Refused("inputEPCList: neither inputs nor outputs are named", Reason.NOTHING_TO_DO)
    run = _enter_run(recording)
    _account(recording, run)
    state.save(recording.context.overlay, state.transformation_key(run.id), run)
    _enter_candidates(recording)
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
        # Of how much went in a chain that adopts may hear nothing: the lot tells of it, and nothing is taken.
        is_open = quantity.amount is None and recording.context.parameters.adoption
        take = lots.hold_amount if is_open else lots.spend_amount
        recording.enter_lot(take(recording, quantity))
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


def _enter_candidates(recording: Recording) -> None:
    """What may have gone in, and is no input by name, is the member's, and is given the event."""
    view, overlay = recording.view, recording.context.overlay
    named = {*view.inputs, *view.outputs, *(quantity.of for quantity in view.input_quantities)}
    units = sorted({quantity.unit for quantity in view.input_quantities} or {""})
    for identifier in view.run.candidates:
        if identifier in named:
            continue
        if not identifier.is_class:
            record = find_or_adopt(recording, identifier)
            check_possession(recording.context, record)
            recording.enter_part(record)
            continue
        held = [
            u for u in units if decimals.sign(lots.amount_at(overlay, identifier.text, recording.member, u))
        ]
        quantity = Quantity(identifier, None, held[0] if held else units[0])
        recording.enter_lot(lots.hold_amount(recording, quantity))


def run_name(view: EventView, digest: bytes) -> str:
    """The run that an event with this digest belongs to."""
    return view.transformation_id or EVENT_URN + digest.hex()


def enter_correction(recording: Recording, run: TransformationRecord) -> None:
    """Notes in the run's history that an event of it was undone, and takes back what it declared and made."""
    key = state.transformation_key(run.id)
    _add_to_balances(run, _said(recording.view), back=True)
    run.closed = run.closed and not recording.view.run.closes
    run.undone += 1
    recording.context.enter(key, run.history, EntryKind.UNDONE, recording.digest)
    state.save(recording.context.overlay, key, run)


# ---- what a run may put out ------------------------------------------------------------------------------------

_Amounts = tuple[tuple[str, Decimal], ...]  # (unit, amount)


def _account(recording: Recording, run: TransformationRecord) -> None:
    """Adds up what the event declares, makes, scraps and samples; see the head of this file.

    Raises Refused: RUN_CLOSED; YIELD_INVALID for a yield without anything going in, or after a first event without
    one, and for scrap or samples of no declared yield, or for too many units; YIELD_EXCEEDED; TOO_MANY_RECORDS.
    """
    view, claim = recording.view, recording.view.run
    if run.closed:
        raise Refused(f"run {run.id} was closed; begin another one", Reason.RUN_CLOSED)
    if claim.declared and not (view.inputs or view.input_quantities):
        raise Refused("ilmd: a yield is declared of what goes in, and nothing does", Reason.YIELD_INVALID)
    if claim.declared and run.history.n > 1 and not run.balances:
        raise Refused(f"ilmd: run {run.id} began without a declared yield", Reason.YIELD_INVALID)
    run.closed = claim.closes
    if not (claim.declared or run.balances):
        if claim.scrap or claim.samples:
            raise Refused("ilmd: scrap and samples count against a declared yield", Reason.YIELD_INVALID)
        return
    added = _said(view)
    # Every event of the run reads and writes all of them.
    units = {unit for amounts in added.values() for unit, _ in amounts} | {item.unit for item in run.balances}
    if len(units) > RUN_UNITS_MAX:
        raise Refused(f"run {run.id} has amounts in {RUN_UNITS_MAX} units at most", Reason.YIELD_INVALID)
    recording.context.overlay.go_through_records(len(units))
    _add_to_balances(run, added, back=False)
    for balance in run.balances:
        used = decimals.add(decimals.add(balance.made, balance.scrap), balance.samples)
        if decimals.compare(used, balance.declared) > 0:
            raise Refused(
                f"run {run.id}: {decimals.to_text(used)} {balance.unit or 'pieces'} made, scrapped and sampled "
                f"exceed the declared {decimals.to_text(balance.declared)}",
                Reason.YIELD_EXCEEDED,
            )


def _said(view: EventView) -> dict[str, _Amounts]:
    """By field of RunBalance what one event adds to it."""
    pieces = len(set(view.outputs) - set(view.inputs))
    made = [("", decimals.from_int(pieces))] if pieces else []
    made += [(item.unit, item.amount) for item in view.output_quantities if item.amount is not None]
    claim = view.run
    return {"declared": claim.declared, "made": tuple(made), "scrap": claim.scrap, "samples": claim.samples}


def _add_to_balances(run: TransformationRecord, said: dict[str, _Amounts], *, back: bool) -> None:
    if back and not run.balances:
        return
    balances = {balance.unit: balance for balance in run.balances}
    for field, amounts in said.items():
        for unit, amount in amounts:
            balance = balances.setdefault(unit, RunBalance(unit=unit))
            change = decimals.subtract if back else decimals.add
            getattr(balance, field).CopyFrom(change(getattr(balance, field), amount))
    # One order, whatever it was said in; copied before the list they lie in is emptied.
    kept = [codec.encode(balances[unit]) for unit in sorted(balances)]
    del run.balances[:]
    run.balances.extend(RunBalance.FromString(data) for data in kept)


def _consume(record: PartRecord) -> None:
    check_empty(record)
    record.status = PartStatus.CONSUMED


def _enter_run(recording: Recording) -> TransformationRecord:
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
    return record
