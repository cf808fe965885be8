"""The values inside an event hash of CBV 2.0: times, numbers, words and identifiers, each in its one spelling.

Rules of CBV 2.0 §8.9.2 as the reference vectors apply them:

1. times in UTC with three decimals, the fourth rounding up from 5;
2. numbers in plain notation without needless zeros, exactly (the reference computes with binary floats, so a
   number of more than 15 digits, or below 0.0001, hashes otherwise there); a text that is a number counts as one;
3. words of the standard as https://ref.gs1.org/cbv/... or https://gs1.org/voc/..., however they are spelled;
4. GS1 keys, as URN or as Digital Link of any domain, as https://id.gs1.org/... of the finest key. The ledger's
   canonical form (ledger/identifiers.py) is that form, with two differences: `;` and `=` stay as they are, and a
   Digital Link with a wrong check digit is rewritten like a right one, for the hash judges nothing.
"""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Final

from ledger import gs1_keys, identifiers
from ledger.errors import Malformed, Refused
from ledger.limits import IDENTIFIER_BYTES_MAX

# Python writes 1e308 in 309 digits: no number of a sensor or a scale is longer.
NUMBER_DIGITS_MAX: Final = 400
_CACHED_LENGTH_MAX: Final = 256

_TIME: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-])([0-9]{2}):?([0-9]{2}))\Z"
)
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?\Z")
_NUMBER_STARTS: Final = frozenset("+-.0123456789")
_WORD_URNS: Final = {
    "urn:epcglobal:cbv:bizstep:": "https://ref.gs1.org/cbv/BizStep-",
    "urn:epcglobal:cbv:disp:": "https://ref.gs1.org/cbv/Disp-",
    "urn:epcglobal:cbv:btt:": "https://ref.gs1.org/cbv/BTT-",
    "urn:epcglobal:cbv:sdt:": "https://ref.gs1.org/cbv/SDT-",
    "urn:epcglobal:cbv:er:": "https://ref.gs1.org/cbv/ER-",
}
# Number or word of a primary key -> its number. The order is no matter: a path holds one.
_PRIMARY: Final = {
    "00": "00", "01": "01", "253": "253", "255": "255", "401": "401", "402": "402", "414": "414", "417": "417",
    "8003": "8003", "8004": "8004", "8006": "8006", "8010": "8010", "8017": "8017", "8018": "8018",
    "sscc": "00", "gtin": "01", "gdti": "253", "gcn": "255", "ginc": "401", "gsin": "402", "gln": "414",
    "party": "417", "grai": "8003", "giai": "8004", "itip": "8006", "cpid": "8010", "gsrnp": "8017", "gsrn": "8018",
}  # fmt: skip
_QUALIFIER_WORDS: Final = {"ser": "21", "lot": "10", "cpv": "22"}
_FINEST: Final = {"01": ("21", "235", "10"), "8006": ("21", "10"), "414": ("254",), "8010": ("8011",)}
_PRIMARY_PATTERN: Final = "|".join(_PRIMARY)
_MAY_BE_LINK: Final = re.compile(rf"/(?:{_PRIMARY_PATTERN})/[0-9]{{4}}")
_LINK: Final = re.compile(
    rf"https?://[^?#]*?/({_PRIMARY_PATTERN})/([0-9]{{4}}[^/?#]*)((?:/[^/?#]+/[^/?#]+)*)/?(?:[?#].*)?\Z",
    re.IGNORECASE,
)
_SHAPES: Final = {
    number: re.compile(pattern + r"\Z")
    for number, pattern in {
        "00": "[0-9]{18}", "01": "[0-9]{14}", "253": r"[0-9]{13}\S{0,17}", "255": "[0-9]{13,25}", "401": r"\S{4,30}",
        "402": "[0-9]{17}", "414": "[0-9]{13}", "417": "[0-9]{13}", "8003": r"[0-9]{14}\S{0,16}", "8004": r"\S{4,30}",
        "8006": "[0-9]{18}", "8010": r"\S{4,30}", "8017": "[0-9]{18}", "8018": "[0-9]{18}",
    }.items()
}  # fmt: skip


def time(text: str) -> str:
    """A time in UTC with exactly three decimals. Raises Malformed for what is none, or has no zone."""
    match = _TIME.match(text.strip())
    if match is None:
        raise Malformed(f"{text!r} is no time with a zone, such as 2025-01-15T14:25:00.000+01:00")
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    digits = (match[7] or "").ljust(4, "0")
    milliseconds = int(digits[:3]) + (digits[3] >= "5")
    minutes = int(match[9]) * 60 + int(match[10]) if match[8] else 0
    # A leap second is the first second of the next minute, as in the ledger's own times.
    rest = timedelta(
        seconds=second - min(second, 59),
        milliseconds=milliseconds,
        minutes=minutes if match[8] == "-" else -minutes,
    )
    try:
        whole = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC) + rest
    except (ValueError, OverflowError):
        raise Malformed(f"{text!r} is no time of any day") from None
    if second > 60:
        raise Malformed(f"{text!r} is no time of any day")
    return whole.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def number(value: Decimal) -> str:
    """A number in plain notation without needless zeros. Raises Malformed where that would be absurdly long."""
    if not value:
        return "0"
    _, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int) or max(len(digits) + max(exponent, 0), -exponent) > NUMBER_DIGITS_MAX:
        raise Malformed(f"a number of more than {NUMBER_DIGITS_MAX} digits")
    plain = format(value, "f")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def literal(text: str) -> str:
    """Any text by rules 2 to 4; what none of them knows is kept, without the blanks around it."""
    text = text.strip()
    return _cached(text) if len(text) <= _CACHED_LENGTH_MAX else _literal(text)


def _literal(text: str) -> str:
    if not text:
        return ""
    if text[0] in _NUMBER_STARTS:
        return _number_text(text)
    if text.startswith("urn:epcglobal:cbv:"):
        for urn, web in _WORD_URNS.items():
            if text.startswith(urn):
                return web + text[len(urn) :]
        return text
    kind = text[:8].lower()
    if kind == "urn:epc:" or (kind.startswith("http") and _MAY_BE_LINK.search(text)):
        return _identifier(text)
    return text


_cached: Final = lru_cache(maxsize=16_384)(_literal)


def _number_text(text: str) -> str:
    if len(text) > NUMBER_DIGITS_MAX or _NUMBER.match(text) is None:
        return text
    try:
        return number(Decimal(text))
    except Malformed:
        return text


def _identifier(text: str) -> str:
    if len(text) > IDENTIFIER_BYTES_MAX:
        return text
    try:
        name = identifiers.canonical(text)
    except Refused:
        return _loose_link(text)
    if not name.gs1_key_digits:
        return _loose_link(text)
    return name.text.replace("%3B", ";").replace("%3D", "=") if "%3" in name.text else name.text


def _loose_link(text: str) -> str:
    """A Digital Link that the ledger does not take (a wrong check digit, say), cut to its finest key all the same."""
    match = _LINK.match(text)
    if match is None:
        return text
    primary = _PRIMARY[match[1].lower()]
    value = match[2].zfill(14) if primary == "01" and len(match[2]) in (8, 12, 13) else match[2]
    if _SHAPES[primary].match(value) is None:
        return text
    parts = match[3].split("/")[1:]
    named = {_QUALIFIER_WORDS.get(parts[n], parts[n]): parts[n + 1] for n in range(0, len(parts), 2)}
    if not named.keys() <= set(gs1_keys.QUALIFIERS[primary]):
        return text
    for qualifier in _FINEST.get(primary, ()):
        if qualifier in named:
            return f"{gs1_keys.ROOT}{primary}/{value}/{qualifier}/{named[qualifier]}"
    return f"{gs1_keys.ROOT}{primary}/{value}"
