"""Events: their digest field by field, and what the rules read of them; ledger/event_fields.py has their shape.

An Event carries an EPCIS 2.0 event's JSON-LD members as written. Its digest is the RFC 9162 root over the
top-level fields in their order, each leaf salted, so that a holder may show some fields and withhold others:

    salt   = tagged_hash(FIELD_SALT, chain id, seed || name)[:16]
    leaf   = leaf_hash(EVENT_FIELD, chain id, salt || field bytes)
    digest = root(leaves)

Rules never read JSON-LD: `read_event` gives them a frozen view with canonical identifiers, vocabulary words
without their namespaces, exact amounts and milliseconds.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from operator import attrgetter
from typing import Final, NamedTuple

from ledger import codec, decimals, event_values, identifiers, merkle
from ledger.errors import Refused
from ledger.event_fields import SEED_BYTES as SEED_BYTES
from ledger.event_fields import GivenEvent, ReadField, read_field
from ledger.event_fields import check_event as check_event
from ledger.hashes import Purpose, leaf_hash, leaf_tag, tag, tagged_hash
from ledger.identifiers import Identifier
from ledger.limits import IDENTIFIER_BYTES_MAX, IDENTIFIERS_PER_EVENT_MAX
from proto.chiptrace.v1.ledger_pb2 import Decimal, Event, InclusionProof, Reason, Value

SALT_BYTES: Final = 16
ACTIONS: Final = frozenset(("ADD", "OBSERVE", "DELETE"))

_FLOWS: Final = ("inputEPCList", "inputQuantityList", "outputEPCList", "outputQuantityList")
# Which of the fields that rules read an event of each type may have.
_OWN_FIELDS: Final[dict[str, frozenset[str]]] = {
    "ObjectEvent": frozenset(("action", "epcList", "quantityList")),
    "AggregationEvent": frozenset(("action", "parentID", "childEPCs", "childQuantityList")),
    "AssociationEvent": frozenset(("action", "parentID", "childEPCs", "childQuantityList")),
    "TransactionEvent": frozenset(("action", "parentID", "epcList", "quantityList")),
    "TransformationEvent": frozenset(("action", "transformationID", *_FLOWS)),
}
_OWNED: Final = frozenset(name for names in _OWN_FIELDS.values() for name in names)
NOT_OWN: Final = {kind: _OWNED - own for kind, own in _OWN_FIELDS.items()}
_LISTS: Final = attrgetter(
    *("epcs", "children", "inputs", "outputs"),
    *("quantities", "child_quantities", "input_quantities", "output_quantities"),
)
_UNIT: Final = re.compile(r"[A-Z0-9]{2,3}\Z")


@dataclass(frozen=True, slots=True)
class Quantity:
    """An amount of a class or lot. amount: None where the event leaves it open. unit: empty for pieces."""

    of: Identifier
    amount: Decimal | None
    unit: str


@dataclass(frozen=True, slots=True)
class Party:
    """Who an event comes from or goes to. role: owning_party or possessing_party."""

    role: str
    identifier: Identifier


class EventView(NamedTuple):
    """What rules read of an event. Lists hold every thing once, in the order written, and then the intervals of
    lots' serials, which are written among the quantities; quantities, and then the classes that are written among the
    things: amounts left open. Words are bare."""

    # What most events have of their own,
    event_time_ms: int
    event_id: str
    parent: Identifier | None
    epcs: tuple[Identifier, ...]
    children: tuple[Identifier, ...]
    inputs: tuple[Identifier, ...]
    outputs: tuple[Identifier, ...]
    biz_transactions: tuple[tuple[str, str], ...]  # (type or empty, identifier as written)
    # and what they share with others.
    type: str
    action: str  # empty for a TransformationEvent
    biz_step: str
    disposition: str
    quantities: tuple[Quantity, ...]
    child_quantities: tuple[Quantity, ...]
    input_quantities: tuple[Quantity, ...]
    output_quantities: tuple[Quantity, ...]
    transformation_id: str
    sources: tuple[Party, ...]
    destinations: tuple[Party, ...]
    dispositions_set: tuple[str, ...]
    dispositions_unset: tuple[str, ...]
    error_declaration: event_values.ErrorDeclaration | None
    serials: event_values.GivenSerials | None  # of the lot that is commissioned
    run: event_values.RunClaim
    classes: tuple[Identifier, ...]  # written among the things
    read_point: str  # as written, empty where the event tells none

    def source(self, role: str) -> Identifier | None:
        """Who the event comes from in a role; None where it does not say."""
        return next((party.identifier for party in self.sources if party.role == role), None)

    def destination(self, role: str) -> Identifier | None:
        """Who the event goes to in a role; None where it does not say."""
        return next((party.identifier for party in self.destinations if party.role == role), None)


# ---- digest ---------------------------------------------------------------------------------------------------


def field_salt(chain_id: bytes, seed: bytes, name: str) -> bytes:
    """The salt of one field (16 bytes), derived from the event's seed."""
    return tagged_hash(Purpose.FIELD_SALT, chain_id, seed + name.encode())[:SALT_BYTES]


def field_leaf(chain_id: bytes, salt: bytes, field_bytes: bytes) -> bytes:
    """The leaf of one field: what a reader recomputes who was shown its salt and bytes."""
    return leaf_hash(Purpose.EVENT_FIELD, chain_id, salt + field_bytes)


def field_leaves(chain_id: bytes, event: Event) -> list[bytes]:
    """The leaves of all top-level fields, in their order."""
    return [
        field_leaf(chain_id, field_salt(chain_id, event.seed, field.name), codec.encode(field))
        for field in event.fields
    ]


def event_digest(chain_id: bytes, event: Event) -> bytes:
    """What stands for the event in histories: the root over its fields (32 bytes)."""
    return merkle.root(field_leaves(chain_id, event))


def given_digest(chain_id: bytes, given: GivenEvent) -> bytes:
    """As `event_digest`, of an event whose fields are at hand."""
    # With the tags made once: this is done for every event of every block.
    salt_tag = tag(Purpose.FIELD_SALT, chain_id) + given.seed
    before = leaf_tag(Purpose.EVENT_FIELD, chain_id)
    return merkle.root(
        [
            sha256(before + sha256(salt_tag + field.name_bytes).digest()[:SALT_BYTES] + field.data).digest()
            for field in given.fields.values()
        ]
    )


def show_field(chain_id: bytes, event: Event, name: str) -> tuple[bytes, bytes, InclusionProof]:
    """One field for a reader who gets nothing else: (salt, field bytes, inclusion proof).

    The reader checks `verify_inclusion(field_leaf(chain_id, salt, bytes), proof, digest)`. Raises
    Refused(EVENT_INVALID) where the event has no such field.
    """
    for index, field in enumerate(event.fields):
        if field.name == name:
            path = merkle.inclusion_path(field_leaves(chain_id, event), index)
            proof = InclusionProof(index=index, size=len(event.fields), path=path)
            return field_salt(chain_id, event.seed, name), codec.encode(field), proof
    raise Refused(f"the event has no field {name}", Reason.EVENT_INVALID)


# ---- view -----------------------------------------------------------------------------------------------------


def read_event(event: Event) -> EventView:
    """The view of an event that rules read; the event passed `check_event`.

    Raises Refused with EVENT_INVALID, IDENTIFIER_INVALID, QUANTITY_INVALID, the message naming the field, or OVERSIZE.
    """
    return view_fields({field.name: read_field(codec.encode(field)) for field in event.fields})


def view_fields(fields: Mapping[str, ReadField]) -> EventView:
    """As `read_event`, of an event's fields by name."""
    view = _EventReader(fields).view()
    named = sum(map(len, _LISTS(view)))
    if named > IDENTIFIERS_PER_EVENT_MAX:
        message = f"event: names {named} things, {IDENTIFIERS_PER_EVENT_MAX} are allowed; split it"
        raise Refused(message, Reason.OVERSIZE)
    return view


def read_documents(fields: Mapping[str, ReadField]) -> tuple[tuple[str, str], ...]:
    """The view's `biz_transactions` alone. Raises Refused(EVENT_INVALID)."""
    return _EventReader(fields).biz_transactions()


class _EventReader:
    """Reads typed values out of an event's fields; every refusal names the field."""

    def __init__(self, fields: Mapping[str, ReadField]) -> None:
        self._fields = fields
        self._names: dict[str, list[Identifier]] = {}  # of the lists of things
        self._amounts: dict[str, list[Quantity]] = {}  # of the quantity lists
        self._cbv = event_values.cbv_namespace(self._value("@context"))

    def view(self) -> EventView:
        kind = self._text("type")
        if kind not in _OWN_FIELDS:
            raise event_values.invalid("type", f"{kind!r} is none of {', '.join(_OWN_FIELDS)}")
        if not NOT_OWN[kind].isdisjoint(self._fields):
            raise event_values.invalid(min(NOT_OWN[kind] & self._fields.keys()), f"is no field of {kind}")
        action = self._text("action")
        if kind == "TransformationEvent":
            # It has none by the standard; some write the only one that would not contradict it.
            if action not in ("", "ADD"):
                raise event_values.invalid("action", "a TransformationEvent has none")
            action = ""
        elif action not in ACTIONS:
            raise event_values.invalid("action", f"{action!r} is none of {', '.join(sorted(ACTIONS))}")
        parent, run = self._text("parentID"), self._text("transformationID")
        ilmd = self._values_of("ilmd")
        return EventView(
            type=kind,
            action=action,
            event_id=self._bounded(self._text("eventID"), "eventID"),
            event_time_ms=event_values.parse_time(self._text("eventTime"), "eventTime"),
            biz_step=self._word(self._text("bizStep"), event_values.BIZ_STEP),
            disposition=self._word(self._text("disposition"), event_values.DISPOSITION),
            epcs=self._things("epcList", "quantityList"),
            quantities=self._quantities("quantityList", "epcList"),
            parent=self._thing(parent, "parentID") if parent else None,
            children=self._things("childEPCs", "childQuantityList"),
            child_quantities=self._quantities("childQuantityList", "childEPCs"),
            inputs=self._things("inputEPCList", "inputQuantityList"),
            input_quantities=self._quantities("inputQuantityList", "inputEPCList"),
            outputs=self._things("outputEPCList", "outputQuantityList"),
            output_quantities=self._quantities("outputQuantityList", "outputEPCList"),
            transformation_id=self._identifier(run, "transformationID").text if run else "",
            sources=self._parties("sourceList", "source"),
            destinations=self._parties("destinationList", "destination"),
            biz_transactions=self.biz_transactions(),
            dispositions_set=self._dispositions("set"),
            dispositions_unset=self._dispositions("unset"),
            error_declaration=event_values.error_declaration(self._values_of("errorDeclaration"), self._cbv),
            serials=event_values.serials(ilmd),
            run=event_values.run_claim(ilmd),
            classes=tuple([one for named in self._names.values() for one in named if one.is_class]),
            read_point=event_values.read_point(self._values_of("readPoint")),
        )

    def _value(self, name: str) -> Value | None:
        field = self._fields.get(name)
        return None if field is None else field.value

    def _text(self, name: str) -> str:
        field = self._fields.get(name)
        if field is None:
            return ""
        return event_values.text_of(field.value, name) if field.text is None else field.text

    def _list(self, name: str) -> Sequence[Value]:
        value = self._value(name)
        return () if value is None else event_values.list_of(value, name)

    def _object(self, name: str) -> dict[str, Value]:
        value = self._value(name)
        return {} if value is None else event_values.object_of(value, name)

    def _values_of(self, name: str) -> dict[str, Value]:
        """A field and the event's context, by which its members are read; nothing where there is no such field."""
        if name not in self._fields:
            return {}
        return {one: self._fields[one].value for one in (name, "@context") if one in self._fields}

    def _bounded(self, text: str, name: str) -> str:
        if text and len(text.encode()) > IDENTIFIER_BYTES_MAX:
            raise event_values.invalid(name, f"longer than {IDENTIFIER_BYTES_MAX} bytes")
        return text

    def _word(self, text: str, vocabulary: tuple[str, str]) -> str:
        return event_values.word(text, vocabulary, self._cbv)

    def _identifier(self, text: str, name: str) -> Identifier:
        try:
            return identifiers.canonical(text)
        except Refused as error:
            raise Refused(f"{name}: {error}", error.reason) from error

    def _things(self, name: str, quantities: str) -> tuple[Identifier, ...]:
        if name not in self._fields and quantities not in self._fields:
            return ()
        named = [one for one in self._named(name) if not one.is_class]
        named += [item.of for item in self._listed(quantities) if item.of.interval is not None]
        # A list without order: naming a thing twice names it once.
        return tuple(dict.fromkeys(named)) if len(named) > 1 else tuple(named)

    def _named(self, name: str) -> list[Identifier]:
        if name not in self._fields:
            return []
        found = self._names.get(name)
        if found is None:
            texts: Sequence[str] | None = self._fields[name].texts
            if texts is None:
                texts = [
                    event_values.text_of(item, f"{name}[{i}]") for i, item in enumerate(self._list(name))
                ]
            found = self._names[name] = [self._thing(text, name, i) for i, text in enumerate(texts)]
        return found

    def _thing(self, text: str, name: str, place: int | None = None) -> Identifier:
        try:
            identifier = identifiers.canonical(text)
            if identifier.interval is not None:
                raise Refused("serials of a lot belong in a quantity list", Reason.IDENTIFIER_INVALID)
        except Refused as error:
            at = name if place is None else f"{name}[{place}]"
            raise Refused(f"{at}: {error}", error.reason) from error
        return identifier

    def _quantities(self, name: str, things: str) -> tuple[Quantity, ...]:
        if name not in self._fields and things not in self._fields:
            return ()  # most lists of most events
        amounts = [item for item in self._listed(name) if item.of.interval is None]
        classes = [one for one in self._named(things) if one.is_class]
        amounts += [Quantity(of, None, "") for of in dict.fromkeys(classes)]
        return tuple(amounts)

    def _listed(self, name: str) -> list[Quantity]:
        if name not in self._fields:
            return []
        found = self._amounts.get(name)
        if found is None:
            found = [self._quantity(item, f"{name}[{i}]") for i, item in enumerate(self._list(name))]
            self._amounts[name] = found
        return found

    def _quantity(self, item: Value, name: str) -> Quantity:
        members = event_values.object_of(item, name)
        of = self._identifier(event_values.text_in(members, "epcClass", name), f"{name}.epcClass")
        # Of a plain URI nobody can tell; a GS1 key or EPC tells.
        tells = of.gs1_key_digits or of.text.startswith("urn:epc:id:")
        if tells and of.interval is None and not of.is_class:
            raise Refused(f"{name}.epcClass: {of.text} names one thing, no class", Reason.IDENTIFIER_INVALID)
        unit = event_values.text_in(members, "uom", name)
        if "uom" in members and _UNIT.match(unit) is None:
            raise Refused(f"{name}.uom: {unit!r} is no unit code such as KGM", Reason.QUANTITY_INVALID)
        amount = members.get("quantity")
        if unit and of.interval is not None:
            raise Refused(f"{name}.uom: serials are counted in pieces", Reason.QUANTITY_INVALID)
        if amount is None:
            return Quantity(of, None, unit)
        if amount.WhichOneof("kind") != "number":
            raise Refused(f"{name}.quantity: a number is needed", Reason.QUANTITY_INVALID)
        if decimals.sign(amount.number) < 0:
            raise Refused(f"{name}.quantity: below zero", Reason.QUANTITY_INVALID)
        if of.interval is not None and amount.number != decimals.from_int(of.interval[1] - of.interval[0]):
            raise Refused(f"{name}.quantity: it is not as many as {of.text}", Reason.QUANTITY_INVALID)
        return Quantity(of, amount.number, unit)

    def _parties(self, name: str, member: str) -> tuple[Party, ...]:
        if name not in self._fields:
            return ()
        parties: dict[str, Party] = {}
        for i, item in enumerate(self._list(name)):
            place = f"{name}[{i}]"
            members = event_values.object_of(item, place)
            role = self._word(event_values.text_in(members, "type", place), event_values.PARTY_ROLE)
            if role not in ("owning_party", "possessing_party"):
                continue
            text = event_values.text_in(members, member, place)
            party = Party(role, self._identifier(text, f"{place}.{member}"))
            if parties.setdefault(role, party) != party:
                raise event_values.invalid(place, f"a second {role}; one is allowed")
        return tuple(parties.values())

    def biz_transactions(self) -> tuple[tuple[str, str], ...]:
        if "bizTransactionList" not in self._fields:
            return ()
        found = []
        for i, item in enumerate(self._list("bizTransactionList")):
            place = f"bizTransactionList[{i}]"
            members = event_values.object_of(item, place)
            kind = self._word(event_values.text_in(members, "type", place), event_values.TRANSACTION_TYPE)
            found.append((kind, self._bounded(event_values.text_in(members, "bizTransaction", place), place)))
        return tuple(found)

    def _dispositions(self, name: str) -> tuple[str, ...]:
        if "persistentDisposition" not in self._fields:
            return ()
        members, place = self._object("persistentDisposition"), f"persistentDisposition.{name}"
        texts = event_values.texts_in(members, name, place)
        return tuple(self._word(text, event_values.DISPOSITION) for text in texts)
