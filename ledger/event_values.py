"""Typed access to the values of an event's fields; every refusal names the field.

Times are read by arithmetic alone: no locale, no clock, no calendar library decides what a text means.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from ledger.errors import Refused
from ledger.identifiers import Identifier, canonical
from ledger.limits import CANDIDATES_MAX, IDENTIFIER_BYTES_MAX, RUN_UNITS_MAX
from proto.chiptrace.v1.ledger_pb2 import Decimal, Reason, Value

_TIME: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}):([0-9]{2})(?:\.([0-9]{1,18}))?(Z|[+-][0-9]{2}:[0-9]{2})\Z"
)
_HASH: Final = re.compile(r"[0-9a-f]{64}\Z")
_DAYS_BEFORE_MONTH: Final = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)
CBV: Final = "https://ref.gs1.org/cbv/"
# The namespaces under which CBV words are also written: (URN, web vocabulary).
BIZ_STEP: Final = ("urn:epcglobal:cbv:bizstep:", "BizStep-")
DISPOSITION: Final = ("urn:epcglobal:cbv:disp:", "Disp-")
PARTY_ROLE: Final = ("urn:epcglobal:cbv:sdt:", "SDT-")
TRANSACTION_TYPE: Final = ("urn:epcglobal:cbv:btt:", "BTT-")
ERROR_REASON: Final = ("urn:epcglobal:cbv:er:", "ER-")


# The namespace of what this ledger adds to an event.
OURS: Final = "urn:chiptrace:epcis:"


def invalid(name: str, message: str) -> Refused:
    """The refusal of a field, to be raised by the caller."""
    return Refused(f"{name}: {message}", Reason.EVENT_INVALID)


def word(text: str, vocabulary: tuple[str, str], cbv: str = CBV) -> str:
    """The bare word of a CBV vocabulary, however it is spelled; a custom word as written.

    cbv: what the prefix `cbv:` stands for where the word is written, empty if that cannot be known.
    """
    if ":" not in text:
        return text
    urn, web = vocabulary
    full = cbv + text[4:] if text.startswith("cbv:") and cbv else text
    for start in (urn, CBV + web, "https://ns.gs1.org/cbv/" + web, "http://ns.gs1.org/cbv/" + web):
        if full.startswith(start):
            return full[len(start) :]
    return text


@lru_cache(maxsize=1_024)  # the minutes of an hour repeat
def _minutes_before(text: str) -> int | None:
    """Minutes from 1970 to a minute YYYY-MM-DDThh:mm, below zero before it; None for one that there is not."""
    days = _days_before(int(text[:4]), int(text[5:7]), int(text[8:10]))
    hour, minute = int(text[11:13]), int(text[14:16])
    return None if days is None or hour > 23 or minute > 59 else (days * 24 + hour) * 60 + minute


@lru_cache(maxsize=64)
def _zone_minutes(text: str) -> int | None:
    """How many minutes a zone is ahead: Z, or +hh:mm or -hh:mm; None beyond 14 hours."""
    if text == "Z":
        return 0
    hours, minutes = int(text[1:3]), int(text[4:6])
    if hours > 14 or minutes > 59 or (hours == 14 and minutes):
        return None
    return (hours * 60 + minutes) * (1 if text[0] == "+" else -1)


def _days_before(year: int, month: int, day: int) -> int | None:
    """Days from 1970 to a day of the calendar, below zero before it; None for a day that there is not."""
    if not 1 <= month <= 12:
        return None
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    ends = (*_DAYS_BEFORE_MONTH[1:], 365)
    days_in_month = ends[month - 1] - _DAYS_BEFORE_MONTH[month - 1] + (1 if leap and month == 2 else 0)
    if not 1 <= day <= days_in_month:
        return None
    before = year - 1
    days = before * 365 + before // 4 - before // 100 + before // 400 - 719_162
    return days + _DAYS_BEFORE_MONTH[month - 1] + (1 if leap and month > 2 else 0) + day - 1


def parse_time(text: str, name: str) -> int:
    """Milliseconds since 1970 of an ISO 8601 time with zone; finer digits are cut.

    Raises Refused(EVENT_INVALID) naming the field.
    """
    match = _TIME.match(text)
    if match is None:
        raise invalid(name, f"{text!r} is no time such as 2025-01-15T14:25:00.000+01:00")
    minute, second_text, fraction, zone = match.groups()
    minutes, second, ahead = _minutes_before(minute), int(second_text), _zone_minutes(zone)
    if minutes is None or second > 60:
        raise invalid(name, f"{text!r} is no time of any day")
    if ahead is None:
        raise invalid(name, f"{text!r} has a zone beyond 14 hours")
    milliseconds = int(fraction.ljust(3, "0")[:3]) if fraction else 0
    result = ((minutes - ahead) * 60 + second) * 1000 + milliseconds
    if result < 0:
        raise invalid(name, f"{text!r} is before 1970")
    return result


def text_of(value: Value, name: str) -> str:
    """The text a value holds. Raises Refused(EVENT_INVALID) where it holds something else."""
    if value.WhichOneof("kind") != "text":
        raise invalid(name, "a text is needed")
    return value.text


def object_of(value: Value, name: str) -> dict[str, Value]:
    """The members of a value by name. Raises Refused(EVENT_INVALID) where it is no object."""
    if value.WhichOneof("kind") != "object":
        raise invalid(name, "an object is needed")
    return {field.name: field.value for field in value.object.fields}


def list_of(value: Value, name: str) -> Sequence[Value]:
    """The items of a value. Raises Refused(EVENT_INVALID) where it is no list."""
    if value.WhichOneof("kind") != "list":
        raise invalid(name, "a list is needed")
    return value.list.items


def text_in(members: Mapping[str, Value], member: str, place: str) -> str:
    """A member's text, empty where there is none. Raises Refused(EVENT_INVALID) where it is no text."""
    value = members.get(member)
    return "" if value is None else text_of(value, f"{place}.{member}")


def texts_in(members: Mapping[str, Value], member: str, place: str) -> list[str]:
    """A member's list of texts, empty where there is none. Raises Refused(EVENT_INVALID) otherwise."""
    value = members.get(member)
    if value is None:
        return []
    return [text_of(item, f"{place}[{i}]") for i, item in enumerate(list_of(value, place))]


# ---- namespaces ---------------------------------------------------------------------------------------------


def context_items(context: Value | None) -> Sequence[Value]:
    """What an event's `@context` lists; one alone is a list of one."""
    if context is None:
        return ()
    return context.list.items if context.WhichOneof("kind") == "list" else (context,)


def cbv_namespace(context: Value | None) -> str:
    """What `cbv:` stands for here: the event's own declaration, or the standard's; empty if unknowable."""
    namespace = CBV
    for item in context_items(context):
        if item.WhichOneof("kind") != "object":
            # A context that is not the pinned one may mean anything by `cbv:`.
            namespace = ""
            continue
        for field in item.object.fields:
            if field.name == "cbv":
                namespace = field.value.text
    return namespace


@dataclass(frozen=True, slots=True)
class RunClaim:
    """What a transformation says of its run in our namespace, by unit (empty: pieces)."""

    declared: tuple[tuple[str, Decimal], ...]  # the most that may come of what goes in
    scrap: tuple[tuple[str, Decimal], ...]
    samples: tuple[tuple[str, Decimal], ...]
    closes: bool
    candidates: tuple[Identifier, ...] = ()  # of these one or more went in, and nobody knows which


_NO_CLAIM: Final = RunClaim((), (), (), False)


def run_claim(fields: Mapping[str, Value]) -> RunClaim:
    """The yield, scrap, samples, end and candidates that an event's `ilmd` declares in our namespace.

    Amounts are a number of pieces, or a list of objects with `quantity` and `uom`. Raises Refused(YIELD_INVALID) for
    anything else, EVENT_INVALID for one that stands there twice.
    """
    ilmd = fields.get("ilmd")
    if ilmd is None or ilmd.WhichOneof("kind") != "object":
        return _NO_CLAIM
    members = {field.name: field.value for field in ilmd.object.fields}
    ours = _our_beginnings(fields.get("@context"))
    declared, scrap, samples = (_amounts(members, ours, word) for word in ("yield", "scrap", "samples"))
    name = _our_name(members, ours, "closesRun")
    if name and members[name].WhichOneof("kind") != "truth":
        raise Refused(f"ilmd.{name}: true or false", Reason.YIELD_INVALID)
    closes = bool(name) and members[name].truth
    return RunClaim(declared, scrap, samples, closes, _candidates(members, ours))


def _candidates(members: Mapping[str, Value], ours: Sequence[str]) -> tuple[Identifier, ...]:
    name = _our_name(members, ours, "candidates")
    listed = texts_in(members, name, "ilmd") if name else []
    if len(listed) > CANDIDATES_MAX:
        raise invalid(f"ilmd.{name}", f"{len(listed)} things are named, {CANDIDATES_MAX} are allowed")
    return tuple(dict.fromkeys(canonical(text) for text in listed))


def _amounts(members: Mapping[str, Value], ours: Sequence[str], word: str) -> tuple[tuple[str, Decimal], ...]:
    name = _our_name(members, ours, word)
    if not name:
        return ()
    value, found = members[name], dict[str, Decimal]()
    listed = value.list.items if value.WhichOneof("kind") == "list" else (value,)
    if len(listed) > RUN_UNITS_MAX:
        raise Refused(
            f"ilmd.{name}: a run has amounts in {RUN_UNITS_MAX} units at most", Reason.YIELD_INVALID
        )
    for item in listed:
        parts = {"quantity": item}
        if item.WhichOneof("kind") == "object":
            parts = {field.name: field.value for field in item.object.fields}
        unit, amount = text_in(parts, "uom", f"ilmd.{name}"), parts.get("quantity")
        if amount is None or amount.WhichOneof("kind") != "number" or amount.number.negative or unit in found:
            raise Refused(f"ilmd.{name}: numbers of at least zero, one for each uom", Reason.YIELD_INVALID)
        if not unit and amount.number.exponent < 0:
            raise Refused(f"ilmd.{name}: pieces are whole, else name a uom", Reason.YIELD_INVALID)
        found[unit] = amount.number
    return tuple(sorted(found.items()))


@dataclass(frozen=True, slots=True)
class GivenSerials:
    """The serials that a commissioning gives a lot, in one of three ways: a range, a list, or the root of a list."""

    first: str = ""
    last: str = ""
    listed: tuple[str, ...] = ()
    root: bytes = b""
    lowest: str = ""  # of a root: of all its serials, by length and then text
    highest: str = ""


_SERIAL_WORDS: Final = (
    "firstSerial",
    "lastSerial",
    "serials",
    "serialsRoot",
    "lowestSerial",
    "highestSerial",
)


def serials(fields: Mapping[str, Value]) -> GivenSerials | None:
    """The serials that an event's `ilmd` gives a lot, in our namespace; None where it gives none.

    Raises Refused(EVENT_INVALID) where the words do not go together, stand there twice, or hold something else.
    """
    ilmd = fields.get("ilmd")
    if ilmd is None or ilmd.WhichOneof("kind") != "object":
        return None
    members = {field.name: field.value for field in ilmd.object.fields}
    ours = _our_beginnings(fields.get("@context"))
    names = {word: _our_name(members, ours, word) for word in _SERIAL_WORDS}
    given = tuple(word for word, name in names.items() if name)
    text = {word: text_in(members, names[word], "ilmd") for word in given if word != "serials"}
    empty = [word for word, value in text.items() if not value]
    match given:
        case ():
            return None
        case _ if empty:
            raise invalid(f"ilmd.{names[empty[0]]}", "is empty")
        case ("firstSerial", "lastSerial"):
            found = GivenSerials(first=text["firstSerial"], last=text["lastSerial"])
        case ("serials",):
            found = GivenSerials(listed=tuple(texts_in(members, names["serials"], "ilmd")))
            if not found.listed:
                raise invalid(f"ilmd.{names['serials']}", "is empty")
        case ("serialsRoot", "lowestSerial", "highestSerial"):
            root = text["serialsRoot"]
            if _HASH.match(root) is None:
                raise invalid("ilmd", "serialsRoot is 64 hexadecimal digits, in lower case")
            found = GivenSerials(
                root=bytes.fromhex(root), lowest=text["lowestSerial"], highest=text["highestSerial"]
            )
        case _:
            raise invalid(
                "ilmd",
                "serials are given by firstSerial and lastSerial, or by serials, or by serialsRoot with lowestSerial "
                f"and highestSerial, and not by {', '.join(given)}",
            )
    return found


def _our_beginnings(context: Value | None) -> list[str]:
    """How a word of our namespace begins: in full, or with a prefix that stands for it. A context may be long."""
    prefixes: dict[str, str] = {}
    for item in context_items(context):
        if item.WhichOneof("kind") == "object":
            for field in item.object.fields:
                prefixes[field.name] = field.value.text
    return [OURS, *(f"{prefix}:" for prefix, stands in prefixes.items() if stands == OURS)]


def _our_name(members: Mapping[str, Value], ours: Sequence[str], word: str) -> str:
    """Under which name a word of our namespace stands there; empty where it does not."""
    found = [beginning + word for beginning in ours if beginning + word in members]
    if len(found) > 1:
        raise invalid(f"ilmd.{found[0]}", "stands there twice, under two prefixes")
    return found[0] if found else ""


def read_point(fields: Mapping[str, Value]) -> str:
    """The place where the event was read, as written; empty where it tells none, or in a way that says nothing.

    Of no meaning to any rule but one, which reads it (ledger/notes.py): no other event is refused for it.
    """
    place = fields.get("readPoint")
    if place is None or place.WhichOneof("kind") != "object":
        return ""
    named = {field.name: field.value for field in place.object.fields}.get("id")
    return "" if named is None else named.text


@dataclass(frozen=True, slots=True)
class ErrorDeclaration:
    """That an earlier event was wrong. reason: did_not_occur, incorrect_data, another URI, or empty."""

    declared_ms: int
    reason: str
    corrective_event_ids: tuple[str, ...]


def error_declaration(fields: Mapping[str, Value], cbv: str) -> ErrorDeclaration | None:
    """The declaration that an event carries; `cbv` as from `cbv_namespace`. Raises Refused(EVENT_INVALID)."""
    place = "errorDeclaration"
    if place not in fields:
        return None
    members = object_of(fields[place], place)
    ids = tuple(texts_in(members, "correctiveEventIDs", f"{place}.correctiveEventIDs"))
    if any(len(text.encode()) > IDENTIFIER_BYTES_MAX for text in ids):
        raise invalid(place, f"longer than {IDENTIFIER_BYTES_MAX} bytes")
    return ErrorDeclaration(
        declared_ms=parse_time(text_in(members, "declarationTime", place), f"{place}.declarationTime"),
        reason=word(text_in(members, "reason", place), ERROR_REASON, cbv),
        corrective_event_ids=ids,
    )
