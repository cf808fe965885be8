"""JSON-LD contexts of EPCIS documents: which namespaces hold for an event, without ever fetching one.

A document's context and an event's own are read as one list. The pinned standard context is understood and left
out; what remains is what an Event keeps in its `@context` field, so that an export means the same:
adjacent namespace objects merged (a later declaration wins), other addresses kept in their place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from client import epcis_json
from client.epcis_findings import Code, Report
from client.epcis_json import Json
from client.epcis_vocabulary import GS1_CONTEXT, PINNED_CONTEXTS, STANDARD_PREFIXES

FIELD: Final = "@context"


@dataclass(frozen=True)
class Namespaces:
    """What holds for one event beyond the standard context: addresses not known here, and declarations."""

    entries: tuple[str | dict[str, Json], ...] = ()

    @property
    def prefixes(self) -> dict[str, str]:
        """Every prefix with what it stands for: the standard's, then the document's."""
        found = dict(STANDARD_PREFIXES)
        for entry in self.entries:
            if isinstance(entry, dict):
                found.update((name, _address(value)) for name, value in entry.items())
        return found

    @property
    def knowable(self) -> bool:
        """Whether every context it rests on is at hand; else a prefix may mean anything."""
        return not any(isinstance(entry, str) for entry in self.entries)

    def meaning(self, prefix: str) -> str:
        """What a prefix stands for, empty where that is not knowable."""
        return self.prefixes.get(prefix, "") if self.knowable else ""

    def value(self) -> Json:
        """The `@context` an Event keeps; None where the standard context says it all."""
        if not self.entries:
            return None
        return self.entries[0] if len(self.entries) == 1 else list(self.entries)


def _address(value: Json) -> str:
    if isinstance(value, dict):
        value = value.get("@id")
    return value if isinstance(value, str) else ""


def _items(context: Json) -> list[Json]:
    if context is None:
        return []
    return list(context) if isinstance(context, list) else [context]


def namespaces(*contexts: Json) -> Namespaces:
    """The namespaces that hold under these contexts, outermost first. Faults are the business of `check`."""
    entries: list[str | dict[str, Json]] = []
    addresses: set[str] = set()
    for item in (item for context in contexts for item in _items(context)):
        if isinstance(item, str):
            if item not in PINNED_CONTEXTS and item not in addresses:
                entries.append(item)
                addresses.add(item)
        elif isinstance(item, dict) and item:
            last = entries[-1] if entries else None
            if isinstance(last, dict):
                last.update(item)
            else:
                entries.append(dict(item))
    return Namespaces(tuple(entries))


def check(context: Json, path: str, report: Report, *, standard: bool) -> None:
    """Report what is wrong with one `@context`. `standard`: it must name the standard context."""
    items = _items(context)
    if len({epcis_json.to_text(item) for item in items}) != len(items):
        report.add(Code.CONTEXT_INVALID, path, "an entry stands twice")
    for place, item in enumerate(items):
        where = f"{path}[{place}]" if isinstance(context, list) else path
        if isinstance(item, str):
            if item not in PINNED_CONTEXTS:
                report.add(
                    Code.CONTEXT_UNKNOWN,
                    where,
                    f"the context {item} is not known here and contexts are never fetched; declare its "
                    "prefixes in the document instead",
                )
        elif isinstance(item, dict):
            _check_declarations(item, where, report)
        else:
            report.add(Code.CONTEXT_INVALID, where, "an address or an object of declarations is needed")
    if standard and not any(isinstance(item, str) and item in PINNED_CONTEXTS for item in items):
        report.add(Code.CONTEXT_INVALID, path, f"the standard context {GS1_CONTEXT} is missing")


def _check_declarations(declarations: Mapping[str, Json], path: str, report: Report) -> None:
    for name, value in declarations.items():
        where = f"{path}.{name}"
        if name.startswith("@"):
            report.add(
                Code.CONTEXT_INVALID,
                where,
                "keywords change what every name means; only prefixes may be declared",
            )
        elif not _address(value):
            report.add(Code.CONTEXT_INVALID, where, "a prefix stands for an address")
        elif name in ("cbv", "epcis") and _address(value) != STANDARD_PREFIXES[name]:
            report.add(
                Code.CONTEXT_INVALID, where, f"{name} stands for {STANDARD_PREFIXES[name]} and nothing else"
            )


def shared(contexts: Sequence[Namespaces]) -> tuple[Namespaces, list[Namespaces]]:
    """Divide the events' namespaces for export: what a document may declare once, and the rest of each event."""
    if not contexts:
        return Namespaces(), []
    if all(context == contexts[0] for context in contexts):
        return contexts[0], [Namespaces()] * len(contexts)
    declared = [_declarations(context) for context in contexts]
    plain = [item for item in declared if item is not None]
    if len(plain) != len(declared):
        return Namespaces(), list(contexts)
    common = {
        name: value for name, value in plain[0].items() if all(item.get(name) == value for item in plain)
    }
    rests = [{name: value for name, value in item.items() if name not in common} for item in plain]
    return namespaces(common), [namespaces(rest) for rest in rests]


def _declarations(context: Namespaces) -> dict[str, Json] | None:
    """The declarations of a context that holds nothing else; None where it names other contexts."""
    if not context.entries:
        return {}
    only = context.entries[0]
    return only if len(context.entries) == 1 and isinstance(only, dict) else None
