"""Checks of JSON values as small functions that are put together into tables (client/epcis_check.py).

A check is given a value, its path and the report; it enters what is wrong and looks no further where the value
has the wrong kind.
"""

import re
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from typing import Final

from client.epcis_findings import Code, Report
from client.epcis_json import Json
from client.epcis_vocabulary import Vocabulary
from ledger import decimals, event_values, identifiers
from ledger.errors import Refused

Check = Callable[[Json, str, Report], None]

# An absolute URI or IRI, a CURIE, or a blank node; what stands after the colon is not judged.
_URI: Final = re.compile(r"(?:_|[A-Za-z][A-Za-z0-9+.\-]*):[^\s<>\"{}|\\^`\x00-\x1f\x7f]*\Z")
_NAMESPACED: Final = re.compile(r"[^\s:]+:[^\s]+\Z")
_OFFSET: Final = re.compile(r"[+-](?:(?:0[0-9]|1[0-3]):[0-5][0-9]|14:00)\Z")
_UNIT: Final = re.compile(r"[A-Z0-9]{2,3}\Z")
_VERSION: Final = re.compile(r"[0-9]+(?:\.[0-9]+)*\Z")
_HEX: Final = re.compile(r"[A-Fa-f0-9]+\Z")
_RESERVED: Final = re.compile(r"urn:epcglobal:cbv|https?://ns\.gs1\.org/cbv/")
_WEB_VOCABULARY: Final = re.compile(r"https?://(?:www\.)?gs1\.org/voc/")

_KINDS: Final = {
    str: "text",
    bool: "true or false",
    Decimal: "number",
    list: "list",
    dict: "object",
    type(None): "null",
}


def wrong_kind(value: Json, path: str, report: Report, needed: str) -> None:
    """Enter that a value is of another kind than the one needed."""
    report.add(Code.WRONG_KIND, path, f"{needed} is needed, {_KINDS[type(value)]} given")


def text(value: Json, path: str, report: Report) -> None:
    """Any text."""
    if not isinstance(value, str):
        wrong_kind(value, path, report, "text")


def anything(value: Json, path: str, report: Report) -> None:
    """Anything at all: extensions are their owner's business."""


def boolean(value: Json, path: str, report: Report) -> None:
    """True or false."""
    if not isinstance(value, bool):
        wrong_kind(value, path, report, "true or false")


def number(value: Json, path: str, report: Report) -> None:
    """A number that the ledger keeps exactly."""
    if not isinstance(value, Decimal):
        hint = f"a number is needed, {value!r} is text" if isinstance(value, str) else "a number is needed"
        report.add(Code.BAD_NUMBER, path, hint)
        return
    try:
        decimals.from_decimal(value)
    except Refused as error:
        report.add(Code.BAD_NUMBER, path, str(error))


def amount(value: Json, path: str, report: Report) -> None:
    """A number that is not negative."""
    number(value, path, report)
    if isinstance(value, Decimal) and value < 0:
        report.add(Code.BAD_NUMBER, path, "an amount is not negative")


def uri(value: Json, path: str, report: Report) -> None:
    """An absolute URI or a CURIE."""
    if not isinstance(value, str):
        wrong_kind(value, path, report, "a URI")
    elif _URI.match(value) is None:
        report.add(Code.BAD_URI, path, f"{value!r} is no URI")


def identifier(value: Json, path: str, report: Report) -> None:
    """A URI that the ledger takes as the name of a thing or party."""
    uri(value, path, report)
    if not isinstance(value, str):
        return
    try:
        name = identifiers.canonical(value)
    except Refused as error:
        report.add(Code.BAD_IDENTIFIER, path, str(error))
        return
    if identifiers.is_own_name(value):
        report.add(Code.BAD_IDENTIFIER, path, f"{value} has a word where GS1 has a number; a name of its own")
    why = identifiers.why_not_gs1(value) if name.scheme == "web" else ""
    if why:
        report.add(Code.IDENTIFIER_NOT_GS1, path, f"taken as a plain URI, not as a GS1 key: {why}")


def instance(value: Json, path: str, report: Report) -> None:
    """The name of one thing, as a list of EPCs has them."""
    identifier(value, path, report)
    try:
        is_class = isinstance(value, str) and identifiers.canonical(value).is_class
    except Refused:
        return
    if is_class:
        report.add(
            Code.CLASS_AMONG_THINGS, path, f"{value} names a class or lot: read as an amount left open"
        )


def time(value: Json, path: str, report: Report) -> None:
    """A time with date, seconds and zone."""
    if not isinstance(value, str):
        wrong_kind(value, path, report, "a time")
        return
    try:
        event_values.parse_time(value, path)
    except Refused as error:
        report.add(Code.BAD_TIME, path, str(error).removeprefix(f"{path}: "))


def _pattern(pattern: re.Pattern[str], code: Code, what: str) -> Check:
    def check(value: Json, path: str, report: Report) -> None:
        if not isinstance(value, str):
            wrong_kind(value, path, report, what)
        elif pattern.match(value) is None:
            report.add(code, path, f"{value!r} is not {what}")

    return check


zone: Final = _pattern(_OFFSET, Code.BAD_ZONE, "an offset from -14:00 to +14:00, such as +01:00")
unit: Final = _pattern(_UNIT, Code.BAD_UNIT, "a UN/CEFACT unit code such as KGM")
version: Final = _pattern(_VERSION, Code.BAD_TEXT, "a version such as 2.0")
hexadecimal: Final = _pattern(_HEX, Code.BAD_TEXT, "hexadecimal text")


def one_of(words: Collection[str]) -> Check:
    """One of a few words, and nothing else."""

    def check(value: Json, path: str, report: Report) -> None:
        if not isinstance(value, str):
            wrong_kind(value, path, report, "one of " + ", ".join(words))
        elif value not in words:
            report.add(Code.BAD_WORD, path, f"{value!r} is none of {', '.join(words)}", grave=True)

    return check


def word(vocabulary: Vocabulary, *, closed: bool = True) -> Check:
    """A bare standard word, or a URI or CURIE of somebody else's vocabulary.

    `closed`: no other bare word is allowed; else it is a warning (words the standard may have gained since).
    """
    reserved = _WEB_VOCABULARY if vocabulary.web.startswith("https://gs1.org/voc/") else _RESERVED

    def check(value: Json, path: str, report: Report) -> None:
        if not isinstance(value, str):
            wrong_kind(value, path, report, "a word")
        elif value in vocabulary.words:
            return
        elif reserved.match(value):
            message = (
                f"{value!r}: words of the standard are written bare; other words come from other namespaces"
            )
            report.add(Code.BAD_WORD, path, message)
        elif _URI.match(value) is None:
            message = f"{value!r} is no standard {vocabulary.name}; another one is written as a URI"
            report.add(Code.BAD_WORD if closed else Code.UNKNOWN_WORD, path, message)

    return check


def items(check_item: Check, *, minimum: int = 0, unique: bool = False) -> Check:
    """A list whose items pass a check."""

    def check(value: Json, path: str, report: Report) -> None:
        if not isinstance(value, list):
            wrong_kind(value, path, report, "a list")
            return
        if len(value) < minimum:
            report.add(Code.NOTHING_NAMED, path, "the list is empty")
        seen: set[str] = set()
        for place, item in enumerate(value):
            where = f"{path}[{place}]"
            check_item(item, where, report)
            if unique and isinstance(item, str):
                if item in seen:
                    report.add(Code.REPEATED_ITEM, where, f"{item!r} stands twice")
                seen.add(item)

    return check


def one_or_many(check_item: Check) -> Check:
    """One value, or a list of them."""
    many = items(check_item)

    def check(value: Json, path: str, report: Report) -> None:
        (many if isinstance(value, list) else check_item)(value, path, report)

    return check


def members(fields: Mapping[str, Check], *, required: Collection[str] = (), extensible: bool = True) -> Check:
    """An object with known members; others must carry a namespace, or are not allowed at all."""

    def check(value: Json, path: str, report: Report) -> None:
        if not isinstance(value, dict):
            wrong_kind(value, path, report, "an object")
            return
        check_members(value, path, report, fields, required, extensible=extensible)

    return check


def check_members(
    value: Mapping[str, Json],
    path: str,
    report: Report,
    fields: Mapping[str, Check],
    required: Collection[str],
    *,
    extensible: bool = True,
) -> None:
    """Check an object's members by a table: required ones, known ones, and the namespaces of all others."""
    for name in required:
        if name not in value:
            report.add(Code.MISSING_FIELD, f"{path}.{name}".lstrip("."), f"{name} is required here")
    for name, item in value.items():
        where = f"{path}.{name}".lstrip(".")
        if item is None:
            report.add(Code.NULL_MEMBER, where, "null says nothing; leave the member out")
        elif name in fields:
            fields[name](item, where, report)
        elif not extensible:
            report.add(
                Code.UNKNOWN_FIELD, where, f"{name} is not allowed here; allowed are {', '.join(fields)}"
            )
        elif _NAMESPACED.match(name) is None:
            report.add(
                Code.UNKNOWN_FIELD, where, f"{name} is no field of EPCIS; an extension carries a namespace"
            )


def namespaced(value: Json, path: str, report: Report) -> None:
    """An object all of whose members carry a namespace."""
    if not isinstance(value, dict):
        wrong_kind(value, path, report, "an object")
        return
    for name, item in value.items():
        where = f"{path}.{name}"
        if item is None:
            report.add(Code.NULL_MEMBER, where, "null says nothing; leave the member out")
        if _NAMESPACED.match(name) is None:
            report.add(Code.NO_NAMESPACE, where, f"{name} carries no namespace, such as cbvmda:{name}")
