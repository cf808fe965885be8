"""JSON as EPCIS documents need it: exact numbers, no repeated member names, bounded size and depth.

Numbers are Python decimals when read and are written in plain notation, so that nothing is rounded on the way.
"""

import json
import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final

from ledger import decimals
from ledger.errors import Malformed
from ledger.limits import EPCIS_DOCUMENT_BYTES_MAX, EPCIS_DOCUMENT_DEPTH_MAX
from proto.chiptrace.v1.ledger_pb2 import Reason

# What `parse` gives: no int and no float, every number is a Decimal.
Json = bool | str | Decimal | list["Json"] | dict[str, "Json"] | None

# The only way for half of a surrogate pair into a text whose bytes were UTF-8.
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


def read_file(path: Path) -> bytes:
    """The bytes of a document's file, and no more than show that they are too many for `parse`. Raises OSError."""
    with path.open("rb") as file:
        return file.read(EPCIS_DOCUMENT_BYTES_MAX + 1)


def parse(data: bytes) -> Json:
    """The value of a JSON text in UTF-8 (a byte order mark is passed over).

    Raises Malformed: too large, nested too deep, not UTF-8, not JSON, a member named twice, a number too long
    or not finite, or text that is no Unicode.
    """
    if len(data) > EPCIS_DOCUMENT_BYTES_MAX:
        raise Malformed(
            f"more than the {EPCIS_DOCUMENT_BYTES_MAX} bytes that a document may have; split it",
            Reason.OVERSIZE,
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Malformed(f"not UTF-8: {error}") from error
    try:
        value: Json = json.loads(
            text,
            parse_int=_number,
            parse_float=_number,
            parse_constant=_no_constant,
            object_pairs_hook=_object,
        )
    except json.JSONDecodeError as error:
        raise Malformed(f"not JSON: {error.msg}, line {error.lineno}, column {error.colno}") from error
    except RecursionError:
        raise _too_deep() from None
    _check_depth(value)
    if _SURROGATE.search(text):
        _check_texts(value)
    return value


def _too_deep() -> Malformed:
    return Malformed(f"nested deeper than {EPCIS_DOCUMENT_DEPTH_MAX} levels", Reason.OVERSIZE)


def _check_depth(value: Json) -> None:
    """Demand a bounded nesting, level by level, before anything of ours reads the value by recursion.

    json's own recursion is bounded by the interpreter, which gives up with RecursionError.
    """
    level: list[Json] = [value]
    for _ in range(EPCIS_DOCUMENT_DEPTH_MAX):
        inner: list[Json] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend(item.values())
            elif isinstance(item, list):
                inner.extend(item)
        level = [item for item in inner if isinstance(item, (dict, list))]
        if not level:
            return
    raise _too_deep()


def _number(text: str) -> Decimal:
    if len(text) > decimals.TEXT_LENGTH_MAX:
        raise Malformed(f"a number of {len(text)} characters, at most {decimals.TEXT_LENGTH_MAX} are read")
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise Malformed(f"the number {text} is out of range") from error


def _no_constant(text: str) -> Decimal:
    raise Malformed(f"{text} is no JSON number")


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for name, value in pairs:
        if name in found:
            raise Malformed(f"the member {name!r} stands twice in one object")
        found[name] = value
    return found


def _check_texts(value: Json) -> None:
    """Refuse halves of surrogate pairs, which JSON's escapes can smuggle in and no UTF-8 can carry."""
    pending: list[Json] = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            _check_text(item)
        elif isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, dict):
            for name in item:
                _check_text(name)
            pending.extend(item.values())


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Malformed(f"a text holds half of a surrogate pair at character {error.start}") from error


def to_text(value: Json, *, indent: int = 2) -> str:
    """The JSON text of a value, members in their order, numbers in plain notation. No line end at its end."""
    return "".join(_parts(value, " " * indent, "\n"))


def _parts(value: Json, indent: str, line: str) -> Iterator[str]:
    if isinstance(value, Decimal):
        yield number_text(value)
    elif isinstance(value, (list, dict)) and value:
        opening, closing = ("[", "]") if isinstance(value, list) else ("{", "}")
        yield opening
        inner = line + indent
        for place, item in enumerate(value):
            yield ("," if place else "") + inner
            if isinstance(value, dict):
                yield json.dumps(item, ensure_ascii=False) + ": "
                yield from _parts(value[str(item)], indent, inner)
            else:
                yield from _parts(item, indent, inner)
        yield line + closing
    else:
        yield json.dumps(value, ensure_ascii=False)


def number_text(value: Decimal) -> str:
    """A number as JSON writes it: in plain notation, unless that would be absurdly long."""
    return format(value, "f") if abs(value.adjusted()) <= decimals.TEXT_LENGTH_MAX else str(value)
