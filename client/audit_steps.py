"""What a step of a history is called: in words, its category by NIST IR 8536, where it was, and other names it gives.

IR 8536 has six categories of events and leaves it open which EPCIS business step is of which; this table is our
reading. What is said and moves nothing (a certificate, a recall) is of none.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from client.audit_kinds import Said, is_among
from client.audit_packets import Told, sent
from client.records import name_of
from ledger.errors import Refused
from ledger.event import EventView
from ledger.event_fields import ReadField
from ledger.event_values import OURS, context_items
from ledger.identifiers import canonical
from proto.chiptrace.v1.ledger_pb2 import Entry, EntryKind, Value

_WORDS: Final = {
    "Make": "commissioning creating_class_instance encoding inspecting sampling sensor_reporting repairing",
    "Assemble": "assembling collecting installing removing disassembling replacing",
    "Store": "storing stocking stock_taking cycle_counting holding reserving picking dispensing packing unpacking "
    "repackaging other",
    "Ship": "shipping departing consigning staging_outbound loading transporting void_shipping entering_exiting",
    "Receive": "receiving accepting arriving unloading",
    "Employ": "retail_selling killing decommissioning destroying",
}
# The category of each business step of CBV 2.0.
CATEGORIES: Final[Mapping[str, str]] = {
    step: name for name, steps in _WORDS.items() for step in steps.split()
}
_BY_KIND: Final[Mapping[int, str]] = {
    EntryKind.SENT: "Ship",
    EntryKind.DEPARTED_FOR_GOOD: "Ship",
    EntryKind.RETURNED: "Ship",
    EntryKind.ARRIVED: "Receive",
}
ATTESTED: Final = "attested "  # before the kind of a claim
# Names that only one thing has; the others (a marking, a customer's part number) many may share.
_OWN_NAMES: Final = ("alsoCalled", "ecid")
_SHARED_NAMES: Final = ("marking", "customerPart")
NAMES_MAX: Final = 64  # that one event gives to one thing, and to all that it begins; more are not looked at


@dataclass(frozen=True)
class Name:
    """Another name that an event gives what it names."""

    kind: str
    text: str

    @property
    def is_own(self) -> bool:
        """Whether no two things have it."""
        return self.kind in _OWN_NAMES


@dataclass(frozen=True)
class Facts:
    """What an event says beside what rules read. place: where it was, as written; empty where it does not say.

    names: by the thing that has them; without one, of all that the event begins."""

    place: str = ""
    names: Mapping[str, Sequence[Name]] = field(default_factory=dict)


NO_FACTS: Final = Facts()


def facts_of(fields: Mapping[str, ReadField]) -> Facts:
    """The facts of an event of the right shape, by its fields."""
    place = ""
    for name in ("readPoint", "bizLocation"):
        if not place and name in fields:
            told = _members(fields[name].value).get("id")
            place = "" if told is None else told.text
    names: dict[str, list[Name]] = {}
    for of, other in _names(fields) if "ilmd" in fields else ():
        given = names.setdefault(of, [])
        if len(given) < NAMES_MAX:
            given.append(other)
    return Facts(place, names) if place or names else NO_FACTS


def names_for(name: str, view: EventView | None, facts: Facts) -> tuple[Name, ...]:
    """The names that an event gives one thing: to what it begins, and to no other."""
    if view is None or not facts.names or view.error_declaration is not None:
        return ()
    if view.type == "ObjectEvent" and view.action == "ADD":
        begun = is_among(name, view.epcs, view.quantities)
    else:
        made = is_among(name, view.outputs, view.output_quantities)
        begun = made and not is_among(name, view.inputs)
    return (*facts.names.get("", ()), *facts.names.get(name, ())) if begun else ()


def _names(fields: Mapping[str, ReadField]) -> Iterable[tuple[str, Name]]:
    """Names, each with the one thing that has it."""
    prefixes = [OURS]
    for item in context_items(fields["@context"].value if "@context" in fields else None):
        prefixes += [f"{name}:" for name, value in _members(item).items() if value.text == OURS]
    for name, value in _members(fields["ilmd"].value).items():
        kind = next((name.removeprefix(prefix) for prefix in prefixes if name.startswith(prefix)), "")
        if kind not in (*_OWN_NAMES, *_SHARED_NAMES):
            continue
        yield from (("", Name(kind, text)) for text in _texts(value))
        for of, inner in _members(value).items():
            with suppress(Refused):  # it names nothing
                thing = canonical(of).text
                yield from ((thing, Name(kind, text)) for text in _texts(inner))


def _members(value: Value) -> dict[str, Value]:
    return {field.name: field.value for field in value.object.fields}


def _texts(value: Value) -> list[str]:
    return [item.text for item in (value, *value.list.items) if item.text]


# ---- words ---------------------------------------------------------------------------------------------------


def category_of(entry: Entry, view: EventView | None) -> str:
    """One of the six categories, by the business step, else by the kind of the event; empty for mere words."""
    if view is None or entry.kind == EntryKind.RETURNED:
        return _BY_KIND.get(entry.kind, "")
    if view.error_declaration is not None or entry.kind == EntryKind.FLAG:
        return ""
    if view.biz_step in CATEGORIES:
        return CATEGORIES[view.biz_step]
    if view.type == "AssociationEvent":
        return "Assemble"
    begins = view.type == "TransformationEvent" or (view.type == "ObjectEvent" and view.action == "ADD")
    return "Make" if begins else "Store"


_PREFIXES: Final[Mapping[int, str]] = {
    EntryKind.ADOPTED_EVENT: "adopted by ",
    EntryKind.FLAG: "flagged: ",
    EntryKind.CORRECTED: "error: ",
    EntryKind.UNDONE: "undone: ",
}


def what(entry: Entry, said: Said) -> str:
    """A step in a few words."""
    view, kind = said.view, entry.kind
    if view is not None:
        words = _words(view.type, view.action, view.biz_step)
        if view.error_declaration is not None and kind in (EntryKind.PACKED, EntryKind.UNPACKED):
            return f"undone: {words}"
        return _PREFIXES.get(kind, "") + words
    if said.kind == "attest":
        return f"{ATTESTED}{said.operation.attest.kind}"
    return _kind_in_words(kind)


@lru_cache(maxsize=1_024)
def _words(kind: str, action: str, biz_step: str) -> str:
    return " ".join(word for word in (kind.removesuffix("Event").lower(), action, biz_step) if word)


@lru_cache(maxsize=64)
def _kind_in_words(kind: int) -> str:
    return name_of(EntryKind, kind).lower().replace("_", " ")


def detail(entry: Entry, said: Said) -> str:
    """What else a reader wants to know of a step."""
    operation, view = said.operation, said.view
    if view is not None:
        parts = []
        if entry.container:
            parts.append(f"container {entry.container} (generation {entry.generation})")
        to = view.destination("possessing_party") or view.destination("owning_party")
        if to is not None:
            parts.append(f"to {to.text}")
        if view.inputs or view.outputs:
            parts.append(f"{len(view.inputs)} inputs, {len(view.outputs)} outputs")
        if view.dispositions_set:
            parts.append(", ".join(view.dispositions_set))
        parts += [f"{kind or 'document'} {document}" for kind, document in view.biz_transactions]
        return "; ".join(parts)
    if said.kind == "attest":
        return f"{operation.attest.id} {operation.attest.document_name}".strip()
    if said.kind == "send_part":
        return f"over client {sent(operation).client} to {sent(operation).receiver}"
    if entry.kind == EntryKind.COPIED and isinstance(said.packet, Told):
        copy = said.packet.copy
        claim = copy.record
        return f"{claim.kind} {claim.id} by {claim.issuer} of chain {copy.issuer_chain.hex()[:16]}"
    return ""
