"""Which namespaces and parties events speak of: what a test network must grant before they can be captured.

A Digital Link does not say how long its company prefix is. Where a URN in the same events says so, that length
is taken; elsewhere a prefix of seven digits, or what the key has. Prefixes that lie within another are dropped,
so that no two overlap.
"""

from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from ledger import event as ledger_event
from ledger import identifiers
from ledger.errors import Refused
from ledger.event import EventView
from ledger.identifiers import Identifier
from proto.chiptrace.v1.ledger_pb2 import Event

# The commonest length of a GS1 company prefix.
PREFIX_DIGITS: Final = 7
# Namespaces of URNs begin with so many parts: `urn:example:acme`, but `urn:epc:id:adi:2S194`.
_URN_PARTS: Final = 3
_EPC_PARTS: Final = 5


def needed_grants(events: Iterable[Event]) -> list[str]:
    """The fewest grant prefixes, sorted and without overlap, that cover everything the events name.

    Events that the rules refuse to read cannot be captured under any grant and are passed over.
    """
    named = sorted({name.text: name for view in _views(events) for name in names(view)}.items())
    told = {name.company_prefix for _, name in named if name.company_prefix}
    found = {prefix_for(name, told) for _, name in named}
    return sorted(
        p
        for p in found
        if not any(p != q and identifiers.grants_overlap(p, q) and len(q) < len(p) for q in found)
    )


def names(view: EventView) -> list[Identifier]:
    """Every part, class and container an event names."""
    found = [*view.epcs, *view.children, *view.inputs, *view.outputs]
    found += [view.parent] if view.parent is not None else []
    for quantities in (view.quantities, view.child_quantities, view.input_quantities, view.output_quantities):
        found += [quantity.of for quantity in quantities]
    return found


def prefix_for(name: Identifier, told: Iterable[str] = ()) -> str:
    """The namespace to grant for one identifier. told: company prefixes known from URNs."""
    digits = name.gs1_key_digits
    if digits:
        known = [prefix for prefix in told if digits.startswith(prefix)]
        return "gs1:" + (min(known, key=len) if known else digits[:PREFIX_DIGITS])
    prefixes = identifiers.grant_prefixes(name)
    if name.scheme == "web":
        return prefixes[-1]
    parts = _EPC_PARTS if name.text.startswith("urn:epc:") else _URN_PARTS if name.scheme == "urn" else 2
    # The shortest that has enough parts and is a namespace; a name of fewer is its own.
    enough = [prefix for prefix in prefixes if len(prefix.split(":")) >= parts and _is_namespace(prefix)]
    return enough[-1] if enough else prefixes[0]


def _is_namespace(prefix: str) -> bool:
    try:
        return identifiers.canonical_grant(prefix) == prefix
    except Refused:
        return False


def parties(events: Iterable[Event]) -> list[str]:
    """The canonical identifiers of everybody the events ship to, receive from or hand ownership to, sorted."""
    views = _views(events)
    return sorted({party.identifier.text for view in views for party in (*view.sources, *view.destinations)})


def _views(events: Iterable[Event]) -> list[EventView]:
    views = []
    for event in events:
        with suppress(Refused):
            views.append(ledger_event.read_event(event))
    return views
