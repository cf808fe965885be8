"""What an entry of a history may mean: its kind, the operation it names, and the subject must fit together.

A history says of each entry which signed operation made it. A corrupt chain cannot forge the operation, but it
could enter an honest one where it does not belong: in another part's history, or as something that it is not.
So each entry is compared with what the operation itself says.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple

from client.audit_packets import Carried, Told, sent
from client.records import name_of
from ledger import codec, decimals
from ledger.event import EventView, Quantity
from ledger.identifiers import Identifier, canonical
from ledger.limits import STATE_VALUE_BYTES_MAX, TRANSACTION_BYTES_MAX
from proto.chiptrace.v1.bridge_pb2 import FollowPart, Materialise, RehomePart, ReturnPart
from proto.chiptrace.v1.ledger_pb2 import (
    Entry,
    EntryKind,
    Operation,
    PartRecord,
    Reason,
    Role,
)

OFFERS_BACK: Final = "void_shipping"
_EVENT_KINDS: Final = frozenset(
    (
        EntryKind.EVENT,
        EntryKind.PACKED,
        EntryKind.UNPACKED,
        EntryKind.ADOPTED_EVENT,
        EntryKind.CORRECTED,
        EntryKind.FLAG,
        EntryKind.RETURNED,
        EntryKind.UNDONE,
    )
)
# Which kinds of entry an operation can make in the history of a part or a lot, and with keys of which role.
KINDS: Final[Mapping[str, frozenset[int]]] = {
    "capture": _EVENT_KINDS,
    "attest": frozenset((EntryKind.ATTESTED,)),
    "revoke_attestation": frozenset((EntryKind.ATTESTED,)),
    "return_offer": frozenset((EntryKind.RETURNED,)),
    "send_part": frozenset((EntryKind.SENT,)),
    "return_part": frozenset((EntryKind.SENT,)),
    "rehome_part": frozenset((EntryKind.REHOMED,)),
    "materialise": frozenset((EntryKind.MATERIALISED, EntryKind.ARRIVED)),
    "follow_part": frozenset((EntryKind.FOLLOWED,)),
    "receive_packet": frozenset((EntryKind.ARRIVED, EntryKind.COPIED)),
    "acknowledge_packet": frozenset((EntryKind.DEPARTED_FOR_GOOD, EntryKind.RETURNED)),
    "timeout_packet": frozenset((EntryKind.RETURNED,)),
}
_CLAIMING: Final = frozenset((Role.OPERATOR, Role.DEVICE, Role.AUDITOR, Role.REGULATOR))
_CARRYING: Final = frozenset((Role.RELAYER, Role.OPERATOR))
ROLES: Final[Mapping[str, frozenset[int]]] = {
    "capture": frozenset((Role.OPERATOR, Role.DEVICE)),
    "attest": _CLAIMING,
    "revoke_attestation": _CLAIMING,
    "return_offer": frozenset(Role.values()),
    "delegate": frozenset((Role.OPERATOR,)),
    "revoke_delegation": frozenset((Role.OPERATOR,)),
    "send_part": frozenset((Role.OPERATOR, Role.DEVICE)),
    "return_part": frozenset((Role.OPERATOR, Role.DEVICE, Role.RELAYER)),
    "send_attestation": _CLAIMING | {Role.RELAYER},
    "rehome_part": frozenset((Role.OPERATOR,)),
    "materialise": frozenset((Role.OPERATOR, Role.DEVICE, Role.RELAYER)),
    "follow_part": frozenset((Role.OPERATOR, Role.DEVICE, Role.RELAYER)),
    "receive_packet": _CARRYING,
    "acknowledge_packet": _CARRYING,
    "timeout_packet": _CARRYING,
}


class Said(NamedTuple):
    """What an operation says: read once, for all the entries that it made."""

    operation: Operation
    kind: str  # of the operation
    view: EventView | None  # where it is an event
    packet: Carried | Told | None  # where it brings one
    digest: bytes  # that stands for it in histories


def mismatch(name: str, entry: Entry, said: Said) -> str:
    """Why this entry cannot stand in the history of `name`; empty where it can. Raises Malformed."""
    view, made_by, kind = said.view, said.kind, entry.kind
    if kind not in KINDS.get(made_by, ()):
        return f"an operation {made_by} makes no entry {name_of(EntryKind, kind)}"
    if not _may_find(entry, view):
        return (
            f"it makes no entry {name_of(EntryKind, kind)} with the finding {name_of(Reason, entry.finding)}"
        )
    if view is not None and entry.finding == Reason.SERIAL_CLAIMED_TWICE:
        fits = kind == EntryKind.FLAG and _is_claimed(name, said.operation)
        return "" if fits else f"its event shows no list that claims {name}"
    if view is not None:
        fits = _EVENT_RULES[kind](name, entry, view)
        return "" if fits else f"its event does not say {name_of(EntryKind, kind)} of {name}"
    packet = said.packet
    if made_by == "receive_packet" and (kind == EntryKind.COPIED) != isinstance(packet, Told):
        return f"its packet makes no entry {name_of(EntryKind, kind)}"
    subject = _subject(said)
    # A claim about an interval stands with what it was carved into; audit_entries.py knows what that is.
    of_interval = made_by == "attest" and subject is not None and canonical(subject).interval is not None
    if subject is not None and subject != name and not of_interval and not _carries(name, entry, said):
        return f"its operation {made_by} is about {subject}"
    if made_by == "acknowledge_packet":
        # One byte 01 is a success (bridge/packet.py); everything else brings the part back.
        success = isinstance(packet, Carried) and packet.acknowledgement == b"\x01"
        if success != (kind == EntryKind.DEPARTED_FOR_GOOD):
            return f"its acknowledgement makes no entry {name_of(EntryKind, kind)}"
    return ""


def _may_find(entry: Entry, view: EventView | None) -> bool:
    """Whether an entry may have its finding, or none: a flag always has one, and what is no event never."""
    if view is None or not entry.finding:
        return not entry.finding and entry.kind != EntryKind.FLAG
    rule = _FINDINGS.get(entry.finding)
    return rule is not None and rule(entry.kind, view)


def _is_claimed(name: str, operation: Operation) -> bool:
    """Whether an event shows that a list has this serial, or one of the class of this lot."""
    shown = operation.capture.memberships
    lots = {canonical(one.serial).class_text for one in shown}
    return any(name in (one.serial, one.lot) for one in shown) or (
        canonical(name).scheme == "lgtin" and canonical(name).class_text in lots
    )


def _carries(name: str, entry: Entry, said: Said) -> bool:
    """Whether an operation about a part is one about this lot too, some of which went with it."""
    operation = said.operation
    match said.kind:
        case "send_part":
            # What lies in a container that is sent, the packet tells and not the sending.
            return canonical(name).is_class and not sent(operation).HasField("amount")
        case "return_part":
            return canonical(name).is_class and not canonical(_subject(said) or name).is_class
        case "materialise":
            shown = codec.decode(Materialise, operation.materialise, TRANSACTION_BYTES_MAX)
            of = codec.decode(PartRecord, shown.record.value, STATE_VALUE_BYTES_MAX).lot
            return entry.kind == EntryKind.ARRIVED and name == of
    if not isinstance(said.packet, Carried):
        return False
    transfer = said.packet.transfer
    return name == transfer.lot or any(row.place and row.lot == name for row in transfer.contents.manifest)


def _subject(said: Said) -> str | None:
    """The part or lot an operation is about; None where only a record tells (a revocation)."""
    operation, packet = said.operation, said.packet
    if isinstance(packet, Carried):
        return packet.transfer.part
    if isinstance(packet, Told):
        return packet.copy.record.subject
    match said.kind:
        case "attest":
            return operation.attest.subject
        case "return_offer":
            return operation.return_offer.part
        case "send_part":
            return sent(operation).part
        case "return_part":
            return codec.decode(ReturnPart, operation.return_part, TRANSACTION_BYTES_MAX).part
        case "rehome_part":
            return codec.decode(RehomePart, operation.rehome_part, TRANSACTION_BYTES_MAX).part
        case "materialise":
            return codec.decode(Materialise, operation.materialise, TRANSACTION_BYTES_MAX).part
        case "follow_part":
            return codec.decode(FollowPart, operation.follow_part, TRANSACTION_BYTES_MAX).part
    return None


# ---- events -----------------------------------------------------------------------------------------------


def is_among(name: str, *lists: Sequence[Identifier] | Sequence[Quantity]) -> bool:
    """Whether a canonical identifier is one of these."""
    # Each list is of one type, and may be long: every part of a device asks the event that put all of them in.
    return any(one and name in map(_text_in(one[0]), one) for one in lists)


def _text_in(item: Identifier | Quantity) -> Callable[[Any], str]:
    return _OF_QUANTITY if isinstance(item, Quantity) else _OF_IDENTIFIER


_OF_IDENTIFIER: Final = attrgetter("text")
_OF_QUANTITY: Final = attrgetter("of.text")


def is_whole(name: str, view: EventView) -> bool:
    """Whether a name is the interval of all serials of a lot that the event commissions."""
    if view.serials is None:
        return False
    begun = (*view.quantities, *view.output_quantities)
    return any(
        item.amount is not None and name == f"{item.of.text}?interval=0-{decimals.to_text(item.amount)}"
        for item in begun
    )


def names(name: str, view: EventView) -> bool:
    """Whether an event names a part or a lot at all."""
    if is_whole(name, view):
        return True
    parent = () if view.parent is None else (view.parent,)
    return is_among(
        name,
        parent,
        view.epcs,
        view.children,
        view.inputs,
        view.outputs,
        view.quantities,
        view.child_quantities,
        view.input_quantities,
        view.output_quantities,
        view.run.candidates,
    )


def is_filling(view: EventView) -> bool:
    """Whether the event is of a kind that fills and empties containers."""
    return view.type in ("AggregationEvent", "AssociationEvent") and view.error_declaration is None


def _plain(name: str, _entry: Entry, view: EventView) -> bool:
    voids = view.type == "ObjectEvent" and view.biz_step == OFFERS_BACK
    return view.error_declaration is None and not voids and names(name, view)


def _adopted(name: str, _entry: Entry, view: EventView) -> bool:
    return names(name, view)


def _packed(name: str, entry: Entry, view: EventView) -> bool:
    parent = view.parent is not None and view.parent.text == entry.container
    inside = is_among(name, view.children, view.child_quantities)
    if view.error_declaration is not None:
        return undoes_filling(view) == "DELETE" and parent and inside
    return is_filling(view) and view.action == "ADD" and parent and inside


def _unpacked(name: str, entry: Entry, view: EventView) -> bool:
    if view.error_declaration is not None:
        put_in = view.parent is not None and view.parent.text == entry.container
        return (
            undoes_filling(view) == "ADD" and put_in and is_among(name, view.children, view.child_quantities)
        )
    parent = view.parent is not None and view.parent.text == entry.container
    # With nothing listed all comes out, which is entered for amounts only; a part's container answers for it.
    everything = not view.children and not view.child_quantities
    listed = everything or is_among(name, view.children, view.child_quantities)
    return is_filling(view) and view.action == "DELETE" and parent and listed


def _corrected(name: str, _entry: Entry, view: EventView) -> bool:
    return view.error_declaration is not None and names(name, view)


def undoes_filling(view: EventView) -> str:
    """The action of the packing or taking out that an error declaration is about; empty for any other event."""
    filling = view.type in ("AggregationEvent", "AssociationEvent") and view.error_declaration is not None
    return view.action if filling and view.parent is not None else ""


def _undone(name: str, _entry: Entry, view: EventView) -> bool:
    """What began is void, what was consumed lives again, what was filled gives it back."""
    if view.error_declaration is None:
        return False
    begun = view.type == "ObjectEvent" and view.action == "ADD" and is_among(name, view.epcs, view.quantities)
    flows = (view.inputs, view.outputs, view.input_quantities, view.output_quantities)
    made = view.type == "TransformationEvent" and is_among(name, *flows)
    filled = (
        undoes_filling(view) in ("ADD", "DELETE") and view.parent is not None and view.parent.text == name
    )
    return begun or made or filled or is_whole(name, view)


def _flagged(name: str, entry: Entry, view: EventView) -> bool:
    if view.error_declaration is not None:
        return False
    if entry.finding in (Reason.SEEN_AFTER_END, Reason.SEEN_ELSEWHERE) and is_filling(view):
        return view.action == "ADD" and is_among(name, view.children)
    if entry.finding == Reason.SEEN_AFTER_END:
        return view.type in ("ObjectEvent", "TransactionEvent") and names(name, view)
    return view.type == "ObjectEvent" and view.action == "ADD" and is_among(name, view.epcs)


def _offer_taken_back(name: str, _entry: Entry, view: EventView) -> bool:
    voids = view.type == "ObjectEvent" and view.action == "OBSERVE" and view.biz_step == OFFERS_BACK
    return voids and view.error_declaration is None and is_among(name, view.epcs)


# The findings that the ledger enters, with what they are found in. Any other would be a chain's word against who signed.
_PLAIN: Final = (EntryKind.EVENT, EntryKind.ADOPTED_EVENT)
_DECLARED: Final = (EntryKind.CORRECTED, EntryKind.ADOPTED_EVENT)
_FINDINGS: Final[Mapping[int, Callable[[int, EventView], bool]]] = {
    Reason.LATE_RECORD: lambda kind, _: kind != EntryKind.FLAG,
    Reason.SUPERSEDES_ADOPTION: lambda kind, view: kind == EntryKind.EVENT and view.action == "ADD",
    Reason.OVER_RECEIPT: lambda kind, view: kind in _PLAIN and view.biz_step in ("receiving", "accepting"),
    Reason.PARTY_NOT_A_MEMBER: lambda kind, view: kind in _PLAIN and view.biz_step == "shipping",
    Reason.SEEN_ELSEWHERE: lambda kind, view: kind == EntryKind.FLAG or (kind in _PLAIN and is_filling(view)),
    Reason.SEEN_AFTER_END: lambda kind, _: kind == EntryKind.FLAG,
    Reason.REPEATED_COMMISSIONING: lambda kind, _: kind == EntryKind.FLAG,
    Reason.SERIAL_CLAIMED_TWICE: lambda kind, _: kind == EntryKind.FLAG,
    Reason.CONTESTED: lambda kind, view: kind in _DECLARED and view.error_declaration is not None,
    Reason.CORRECTION_PENDING: lambda kind, view: kind in _DECLARED and view.error_declaration is not None,
}
_EVENT_RULES: Final[Mapping[int, Callable[[str, Entry, EventView], bool]]] = {
    EntryKind.EVENT: _plain,
    EntryKind.ADOPTED_EVENT: _adopted,
    EntryKind.PACKED: _packed,
    EntryKind.UNPACKED: _unpacked,
    EntryKind.CORRECTED: _corrected,
    EntryKind.UNDONE: _undone,
    EntryKind.FLAG: _flagged,
    EntryKind.RETURNED: _offer_taken_back,
}
