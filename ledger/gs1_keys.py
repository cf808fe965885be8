"""GS1 keys: their digits, check digits, and the two spellings (EPC URN, Digital Link) in one canonical form.

The canonical form is the Digital Link under https://id.gs1.org, cut to the finest key that names the thing:
GTIN in 14 digits, qualifiers that only repeat or detail the key dropped, values percent-encoded in one way.
A URN says how long its company prefix is, a Digital Link does not; so rights are compared on the key's digits
at the company prefix's position (`Key.digits`), never on text.

Sources: GS1 EPC Tag Data Standard (URN forms), GS1 Digital Link URI syntax, GS1 General Specifications
(application identifiers, check digit, character sets 82 and 39).
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from ledger.errors import Refused
from proto.chiptrace.v1.ledger_pb2 import Reason

ROOT: Final = "https://id.gs1.org/"

SET_82: Final = frozenset(
    "!\"%&'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
)
SET_39: Final = frozenset("#-/0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")
DIGITS: Final = frozenset("0123456789")
_MODEL_WEIGHTS: Final = (
    2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83,
)  # fmt: skip
_MODEL_CHECKS: Final = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
_UNESCAPED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~'")
_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


class Key(NamedTuple):
    """One GS1 key in canonical form.

    text: the Digital Link. digits: the key's leading decimal digits from the company prefix on, without the
    check digit. class_text: the class the thing belongs to, itself for a class, empty where there is none.
    lot: of a lot, else empty. prefix: the company prefix where the spelling told (a URN), else empty.
    """

    text: str
    scheme: str
    digits: str
    is_class: bool = False
    class_text: str = ""
    lot: str = ""
    prefix: str = ""


def refused(message: str) -> Refused:
    """The refusal of an identifier, to be raised by the caller."""
    return Refused(message, Reason.IDENTIFIER_INVALID)


@lru_cache(maxsize=16_384)  # the same class stands before most serials
def check_digit(digits: str) -> str:
    """The GS1 check digit (modulo 10, weights 3 and 1 from the right) for `digits` without one."""
    # By the codes of the digits, from 48 on: four times as fast as by their numbers.
    data = digits.encode()
    total = 3 * sum(data[::-2]) + sum(data[-2::-2]) - 48 * (3 * len(data[::-2]) + len(data) // 2)
    return str(-total % 10)


def check_characters(text: str) -> str:
    """The two check characters of a GMN for `text` without them (weights are primes, modulo 1021)."""
    order = "".join(sorted(SET_82))
    total = sum(
        order.index(character) * weight
        for character, weight in zip(reversed(text), _MODEL_WEIGHTS, strict=False)
    )
    first, second = divmod(total % 1021, 32)
    return _MODEL_CHECKS[first] + _MODEL_CHECKS[second]


def escape(value: str) -> str:
    """The one percent-encoding of a decoded value: everything but letters, digits and -._~' is escaped."""
    if _UNESCAPED.issuperset(value):
        return value
    return "".join(c if c in _UNESCAPED else "".join(f"%{b:02X}" for b in c.encode()) for c in value)


def unescape(value: str, where: str) -> str:
    """Decode percent-encoding exactly once. Raises Refused for stray percent signs or non-ASCII bytes."""
    if "%" not in value and value.isascii():
        return value
    if _ESCAPE.search(value):
        raise refused(f"{where}: a percent sign is not followed by two hexadecimal digits")
    decoded = unquote_to_bytes(value)
    if not decoded.isascii():
        raise refused(f"{where}: only ASCII is allowed")
    return decoded.decode("ascii")


def characters(text: str, allowed: frozenset[str], length_max: int, where: str) -> str:
    """The text, if it has 1 to `length_max` of the allowed characters. Raises Refused otherwise."""
    if not 1 <= len(text) <= length_max:
        raise refused(f"{where}: 1 to {length_max} characters are allowed, {len(text)} given")
    if not allowed.issuperset(text):
        raise refused(f"{where}: {text!r} holds a character that GS1 does not allow here")
    return text


def numeric(text: str, length: int, where: str) -> str:
    """The text, if it is so many digits. Raises Refused otherwise."""
    if len(text) != length or not DIGITS.issuperset(text):
        raise refused(f"{where}: {length} digits are needed, {text!r} given")
    return text


def _checked(text: str, where: str) -> str:
    if check_digit(text[:-1]) != text[-1]:
        raise refused(f"{where}: the check digit of {text} is wrong, {check_digit(text[:-1])} is right")
    return text


def _leading_digits(text: str) -> str:
    return text[: len(text) - len(text.lstrip("0123456789"))]


def _gtin(value: str, where: str) -> str:
    if len(value) not in (8, 12, 13, 14) or not DIGITS.issuperset(value):
        raise refused(f"{where}: a GTIN has 8, 12, 13 or 14 digits, {value!r} given")
    return _checked(value.zfill(14), where)


def _serial_of_component(text: str, where: str) -> str:
    characters(text, DIGITS, 12, where)
    if text[0] == "0" and text != "0":
        raise refused(f"{where}: a component's serial has no leading zeros, {text!r} given")
    return text


# ---- from values to the canonical form -----------------------------------------------------------------


def trade_item(
    gtin: str, where: str, serial: str = "", lot: str = "", tpx: str = "", prefix: str = ""
) -> Key:
    """01: a GTIN (class), its lot (10), its serial (21), or its third-party serial (235)."""
    key = _gtin(gtin, where)
    class_text = f"{ROOT}01/{key}"
    digits = key[1:13]
    if tpx:
        text = f"{class_text}/235/{escape(characters(tpx, SET_82, 28, where))}"
        return Key(text, "upui", digits, class_text=class_text, prefix=prefix)
    if serial:
        text = f"{class_text}/21/{escape(characters(serial, SET_82, 20, where))}"
        return Key(text, "sgtin", digits, class_text=class_text, prefix=prefix)
    if lot:
        text = f"{class_text}/10/{escape(characters(lot, SET_82, 20, where))}"
        return Key(text, "lgtin", digits, True, class_text, lot, prefix)
    return Key(class_text, "gtin", digits, True, class_text, prefix=prefix)


def piece(value: str, where: str, serial: str = "", lot: str = "", prefix: str = "") -> Key:
    """8006: one piece of a trade item (GTIN, piece, total), as a class, its lot (10) or with a serial (21)."""
    numeric(value, 18, where)
    key = _checked(value[:14], where) + value[14:]
    class_text = f"{ROOT}8006/{key}"
    if serial:
        text = f"{class_text}/21/{escape(characters(serial, SET_82, 20, where))}"
        return Key(text, "itip", key[1:13], class_text=class_text, prefix=prefix)
    if lot:
        text = f"{class_text}/10/{escape(characters(lot, SET_82, 20, where))}"
        return Key(text, "itip", key[1:13], True, class_text, lot, prefix)
    return Key(class_text, "itip", key[1:13], True, class_text, prefix=prefix)


def shipping_unit(value: str, where: str, prefix: str = "") -> Key:
    """00: a logistic unit."""
    key = _checked(numeric(value, 18, where), where)
    return Key(f"{ROOT}00/{key}", "sscc", key[1:17], prefix=prefix)


def place(value: str, where: str, extension: str = "", prefix: str = "") -> Key:
    """414 with 254: a location. Extension 0 means none."""
    key = _checked(numeric(value, 13, where), where)
    text = f"{ROOT}414/{key}"
    if extension and extension != "0":
        text += f"/254/{escape(characters(extension, SET_82, 20, where))}"
    return Key(text, "sgln", key[:12], prefix=prefix)


def party(value: str, where: str, prefix: str = "") -> Key:
    """417: a party."""
    key = _checked(numeric(value, 13, where), where)
    return Key(f"{ROOT}417/{key}", "pgln", key[:12], prefix=prefix)


def returnable(value: str, where: str, prefix: str = "") -> Key:
    """8003: a returnable asset, as a class (14 digits) or with a serial of 1 to 16 characters after them."""
    if value[:1] != "0":
        raise refused(f"{where}: a GRAI begins with the digit 0 and 13 digits more, {value!r} given")
    key = "0" + _checked(numeric(value[1:14], 13, where), where)
    class_text = f"{ROOT}8003/{key}"
    if len(value) > 14:
        serial = characters(value[14:], SET_82, 16, where)
        return Key(class_text + escape(serial), "grai", key[1:13], class_text=class_text, prefix=prefix)
    return Key(class_text, "grai", key[1:13], True, class_text, prefix=prefix)


def asset(value: str, where: str, prefix: str = "") -> Key:
    """8004: an individual asset; company prefix and up to 30 characters in all."""
    characters(value, SET_82, 30, where)
    digits = _leading_digits(value)
    if len(digits) < 4:
        raise refused(f"{where}: a GIAI begins with a company prefix, {value!r} given")
    return Key(f"{ROOT}8004/{escape(value)}", "giai", digits[:12], prefix=prefix)


def service_relation(value: str, where: str, provider: bool, prefix: str = "") -> Key:
    """8017 (provider) or 8018 (recipient): a service relation."""
    key = _checked(numeric(value, 18, where), where)
    ai, scheme = ("8017", "gsrnp") if provider else ("8018", "gsrn")
    return Key(f"{ROOT}{ai}/{key}", scheme, key[:12], prefix=prefix)


def document(value: str, where: str, prefix: str = "") -> Key:
    """253: a document type (13 digits), or a document with a serial of 1 to 17 characters after them."""
    key = _checked(numeric(value[:13], 13, where), where)
    class_text = f"{ROOT}253/{key}"
    if len(value) > 13:
        serial = characters(value[13:], SET_82, 17, where)
        return Key(class_text + escape(serial), "gdti", key[:12], class_text=class_text, prefix=prefix)
    return Key(class_text, "gdti", key[:12], True, class_text, prefix=prefix)


def coupon(value: str, where: str, prefix: str = "") -> Key:
    """255: a coupon (13 digits), with a numeric serial of 1 to 12 digits after them."""
    key = _checked(numeric(value[:13], 13, where), where)
    class_text = f"{ROOT}255/{key}"
    if len(value) > 13:
        serial = characters(value[13:], DIGITS, 12, where)
        return Key(class_text + serial, "sgcn", key[:12], class_text=class_text, prefix=prefix)
    return Key(class_text, "sgcn", key[:12], True, class_text, prefix=prefix)


def component(value: str, where: str, serial: str = "", prefix: str = "") -> Key:
    """8010 with 8011: a component or part of a customer's design, as a class or with a numeric serial."""
    characters(value, SET_39, 30, where)
    digits = _leading_digits(value)
    if len(digits) < 4:
        raise refused(f"{where}: a CPID begins with a company prefix, {value!r} given")
    class_text = f"{ROOT}8010/{escape(value)}"
    if serial:
        text = f"{class_text}/8011/{_serial_of_component(serial, where)}"
        return Key(text, "cpi", digits[:12], class_text=class_text, prefix=prefix)
    return Key(class_text, "cpi", digits[:12], True, class_text, prefix=prefix)


def consignment(value: str, where: str, prefix: str = "") -> Key:
    """401: a consignment; company prefix and up to 30 characters in all."""
    characters(value, SET_82, 30, where)
    digits = _leading_digits(value)
    if len(digits) < 4:
        raise refused(f"{where}: a GINC begins with a company prefix, {value!r} given")
    return Key(f"{ROOT}401/{escape(value)}", "ginc", digits[:12], prefix=prefix)


def shipment(value: str, where: str, prefix: str = "") -> Key:
    """402: a shipment."""
    key = _checked(numeric(value, 17, where), where)
    return Key(f"{ROOT}402/{key}", "gsin", key[:12], prefix=prefix)


def model(value: str, where: str) -> Key:
    """8013: a model; company prefix, reference and two check characters, up to 25 characters in all."""
    characters(value, SET_82, 25, where)
    digits = _leading_digits(value[:-2])
    if len(digits) < 4:
        raise refused(f"{where}: a GMN begins with a company prefix, {value!r} given")
    right = check_characters(value[:-2])
    if value[-2:] != right:
        raise refused(f"{where}: the check characters of {value} are wrong, {right} is right")
    text = f"{ROOT}8013/{escape(value)}"
    return Key(text, "gmn", digits[:12], True, text)


# ---- Digital Link -----------------------------------------------------------------------------------------

# Primary key -> the qualifiers that may follow it, in this order only.
QUALIFIERS: Final[dict[str, tuple[str, ...]]] = {
    "00": (), "01": ("22", "10", "21", "235"), "253": (), "255": (), "401": (), "402": (),
    "414": ("254", "7040"), "417": ("7040",), "8003": (), "8004": ("7040",), "8006": ("22", "10", "21"),
    "8010": ("8011",), "8013": (), "8017": ("8019",), "8018": ("8019",),
}  # fmt: skip
# Every number that is part of a key.
NUMBERS: Final = frozenset(QUALIFIERS) | {name for order in QUALIFIERS.values() for name in order}
# The words older Digital Links use for the numbers.
_WORDS: Final[dict[str, str]] = {
    "sscc": "00", "gtin": "01", "gdti": "253", "gcn": "255", "ginc": "401", "gsin": "402", "gln": "414",
    "party": "417", "grai": "8003", "giai": "8004", "itip": "8006", "cpid": "8010", "gmn": "8013",
    "gsrnp": "8017",
    "gsrn": "8018", "cpv": "22", "lot": "10", "ser": "21", "glnx": "254", "cpsn": "8011", "srin": "8019",
}  # fmt: skip


def split_link(segments: Sequence[str]) -> tuple[str, str, dict[str, str]] | None:
    """The Digital Link at the end of a path: (primary key, value, qualifiers), values still encoded.

    None where the path is no Digital Link. Raises Refused where it could be read in two ways, or where the
    key and its qualifiers stand in another order than the one GS1 defines: what one reader takes for the key
    of another thing is no name.
    """
    numbers = [_WORDS.get(segment, segment) for segment in segments]
    for start in range(len(segments) - 2, -1, -2):
        order = QUALIFIERS.get(numbers[start])
        names = numbers[start + 2 :: 2]
        if (
            order is None
            or not set(names) <= set(order)
            or not _looks_like_key(numbers[start], segments[start + 1])
        ):
            continue
        places = [order.index(name) for name in names]
        if places != sorted(set(places)):
            raise refused(
                f"the qualifiers after {numbers[start]} stand in the order {', '.join(order)}, each once"
            )
        if any(number in NUMBERS for number in numbers[start % 2 : start : 2]):
            raise refused("the path can be read as two different Digital Links, or its keys are out of order")
        return numbers[start], segments[start + 1], dict(zip(names, segments[start + 3 :: 2], strict=True))
    for number, value in pairwise(segments):
        if number in QUALIFIERS and _looks_like_key(number, value):
            raise refused(f"the path holds the GS1 key {number} but is no Digital Link")
    return None


def _looks_like_key(primary: str, value: str) -> bool:
    """Whether a path segment after a primary key's number can be meant as its value, right or wrong."""
    return len(_leading_digits(value)) >= (4 if primary in ("401", "8004", "8010", "8013") else 8)


def from_link(primary: str, value: str, qualifiers: dict[str, str], where: str) -> Key:
    """The key of a Digital Link's parts (`split_link`). Raises Refused naming what is wrong."""
    text = unescape(value, where)
    more = {name: unescape(part, where) for name, part in qualifiers.items()}
    if any(not part for part in more.values()):
        raise refused(f"{where}: a key qualifier is empty")
    if primary == "01":
        if "235" in more and ("21" in more or "10" in more):
            raise refused(f"{where}: a third-party serial (235) stands alone")
        return trade_item(text, where, more.get("21", ""), more.get("10", ""), more.get("235", ""))
    if primary == "8006":
        return piece(text, where, more.get("21", ""), more.get("10", ""))
    if primary == "8010":
        return component(text, where, more.get("8011", ""))
    if primary == "414":
        return place(text, where, more.get("254", ""))
    if primary in ("8017", "8018"):
        return service_relation(text, where, provider=primary == "8017")
    simple = {
        "00": shipping_unit, "253": document, "255": coupon, "401": consignment, "402": shipment,
        "417": party, "8003": returnable, "8004": asset,
        "8013": model,
    }  # fmt: skip
    return simple[primary](text, where)
