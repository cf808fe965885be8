"""Recording an EPCIS event: its type, action and bizStep choose the rule.

    ObjectEvent        ADD                                         commission
                       DELETE, or destroying, decommissioning      destroy
                       shipping | receiving, accepting             ship | receive
                       void_shipping                               take offers back
                       any other                                   observe
    AggregationEvent   ADD | DELETE | OBSERVE                      pack | unpack | observe
    AssociationEvent   ADD | DELETE | OBSERVE                      install | remove | observe
    TransactionEvent   any                                         observe
    TransformationEvent                                            consume and make
    any, with an errorDeclaration                                  correct
    an ObjectEvent or TransactionEvent that names nothing          note

Places (but for notes), business documents, dispositions and extensions never matter to a rule. An event time is a claim: it
may not lie in the future, and where it lies further back than the chain's `backdate_ms` every entry says
LATE_RECORD, unless it carries a weightier finding.
"""

from collections.abc import Callable, Mapping
from typing import Final

from ledger.commissioning import commission, destroy
from ledger.context import Context
from ledger.corrections import declare_error, original_of
from ledger.errors import Refused
from ledger.memberships import touch
from ledger.notes import names_nothing, note_place
from ledger.packing import pack_or_unpack
from ledger.recording import Recording, read_recording
from ledger.shipping import observe, receive, ship, void
from ledger.transformation import transform
from proto.chiptrace.v1.ledger_pb2 import Capture, Reason, Role

_STEPS: Final[Mapping[str, Callable[[Recording], None]]] = {
    "shipping": ship,
    "receiving": receive,
    "accepting": receive,
    "void_shipping": void,
    "destroying": destroy,
    "decommissioning": destroy,
}


def capture(context: Context, operation: Capture) -> None:
    """Records an event under the rules of its kind, signed by an operator's or a device's key.

    Raises Malformed for bytes that are no event; Refused: ROLE_NOT_ALLOWED, what `read_recording` raises, and
    what the rule raises.
    """
    context.require_role(Role.OPERATOR, Role.DEVICE)
    recording = read_recording(context, operation.event)
    if not touch(recording, operation.memberships):
        return
    view = recording.view
    if view.error_declaration is not None:
        declare_error(recording, original_of(context.chain_id, operation.event))
    elif view.type == "ObjectEvent":
        _record_object_event(recording)
    elif view.type == "TransactionEvent" and names_nothing(view):
        note_place(recording)
    elif view.type == "TransactionEvent":
        observe(recording, with_parent=True)
    elif view.type == "TransformationEvent":
        transform(recording)
    else:
        pack_or_unpack(recording)


def _record_object_event(recording: Recording) -> None:
    view = recording.view
    if names_nothing(view):
        note_place(recording)
        return
    rule = _STEPS.get(view.biz_step)
    if view.action == "ADD" and rule in (ship, receive) and recording.context.parameters.adoption:
        # Real documents commission at the first place that sees a thing, whatever that place does with it.
        rule = None
    if view.action == "OBSERVE":
        (rule or observe)(recording)
        return
    if rule not in (None, destroy) or (rule is destroy and view.action == "ADD"):
        raise Refused(
            f"bizStep: {view.biz_step} is no {view.action}; record it with action OBSERVE",
            Reason.EVENT_INVALID,
        )
    if view.action == "ADD":
        commission(recording)
    else:
        destroy(recording)
