"""EPC URNs of GS1 keys: `urn:epc:id|class|idpat:...` in the canonical form of ledger/gs1_keys.py.

A URN writes a key in parts: company prefix, reference, serial. The lengths of the numeric parts are checked here,
everything else where the key is built.
"""

import re
from typing import Final

from ledger.gs1_keys import (
    DIGITS,
    SET_39,
    SET_82,
    Key,
    asset,
    characters,
    check_digit,
    component,
    consignment,
    coupon,
    document,
    numeric,
    party,
    piece,
    place,
    refused,
    returnable,
    service_relation,
    shipment,
    shipping_unit,
    trade_item,
    unescape,
)

# scheme -> (parts, digits of company prefix and reference together); 0: the reference is not numeric.
_URN_SHAPES: Final[dict[str, tuple[int, int]]] = {
    "sgtin": (3, 13), "sscc": (2, 17), "sgln": (3, 12), "pgln": (2, 12), "grai": (3, 12), "giai": (2, 0),
    "gsrn": (2, 17), "gsrnp": (2, 17), "gdti": (3, 12), "cpi": (3, 0), "sgcn": (3, 12), "ginc": (2, 0),
    "gsin": (2, 16), "itip": (5, 13), "upui": (3, 13),
}  # fmt: skip
_PATTERNS: Final = frozenset(("sgtin", "grai", "gdti", "sgcn", "cpi", "itip", "upui"))
_WORD: Final = re.compile(r"(?=.*[A-Za-z]{2})[0-9A-Za-z-]+\Z")
URN_SCHEMES: Final = frozenset(_URN_SHAPES) | {"lgtin"}


def is_own_name(kind: str, scheme: str, rest: str) -> bool:
    """Whether a URN is spelled like one of a GS1 scheme, and names something by a word where GS1 has a number.

    It is no GS1 key, and never becomes one: a name of its own, kept verbatim, as real documents have them
    (`urn:epc:class:lgtin:6000001.recycled-copper.2032-03`).
    """
    count, total = _URN_SHAPES["sgtin" if scheme == "lgtin" else scheme]
    parts = rest.split(".", count - 1)
    if kind == "idpat" or not total or len(parts) < 2:
        return False
    return DIGITS.issuperset(parts[0]) and 4 <= len(parts[0]) <= 12 and _WORD.match(parts[1]) is not None


def from_urn(kind: str, scheme: str, rest: str, where: str) -> Key:
    """The key of `urn:epc:{kind}:{scheme}:{rest}` for a GS1 scheme, `kind` being id, class or idpat.

    Raises Refused naming what is wrong.
    """
    if (kind == "class") != (scheme == "lgtin") or (kind == "idpat" and scheme not in _PATTERNS):
        raise refused(f"{where}: there is no urn:epc:{kind}:{scheme}")
    count, total = _URN_SHAPES["sgtin" if scheme == "lgtin" else scheme]
    parts = rest.split(".", count - 1)
    if len(parts) != count:
        raise refused(f"{where}: {count} parts divided by dots are needed")
    prefix, reference = parts[0], unescape(parts[1], where)
    if not 4 <= len(prefix) <= 12 or not DIGITS.issuperset(prefix):
        raise refused(f"{where}: the company prefix has 4 to 12 digits, {prefix!r} given")
    if total:
        numeric(reference, total - len(prefix), f"{where}: after the company prefix {prefix}")
    tail = [unescape(part, where) for part in parts[2:]]
    if kind == "idpat":
        if parts[-1] != "*":
            raise refused(f"{where}: a pattern ends in .* and has no other wildcard")
        tail[-1] = ""
    elif tail and not tail[-1]:
        raise refused(f"{where}: the last part is empty")
    return _from_parts(scheme, prefix, reference, tail, where)


def with_check_digit(prefix: str, reference: str) -> str:
    """The number of a company prefix and a reference whose first digit stands before it (GTIN, SSCC)."""
    moved = reference[:1] + prefix + reference[1:]
    return moved + check_digit(moved)


def _from_parts(scheme: str, prefix: str, reference: str, tail: list[str], where: str) -> Key:
    """The key of a URN's decoded parts; the lengths of the numeric ones were checked."""
    last = tail[-1] if tail else ""
    joined = prefix + reference
    if scheme in ("sgtin", "lgtin", "upui"):
        gtin = with_check_digit(prefix, reference)
        if scheme == "sgtin":
            return trade_item(gtin, where, serial=last, prefix=prefix)
        if scheme == "lgtin":
            return trade_item(gtin, where, lot=last, prefix=prefix)
        return trade_item(gtin, where, tpx=last, prefix=prefix)
    if scheme == "itip":
        number = numeric(tail[0], 2, where) + numeric(tail[1], 2, where)
        return piece(with_check_digit(prefix, reference) + number, where, last, prefix=prefix)
    if scheme == "sscc":
        return shipping_unit(with_check_digit(prefix, reference), where, prefix)
    if scheme == "giai":
        characters(reference, SET_82, 30, where)
        return asset(joined, where, prefix)
    if scheme == "ginc":
        characters(reference, SET_82, 30, where)
        return consignment(joined, where, prefix)
    if scheme == "cpi":
        characters(reference, SET_39, 30, where)
        return component(joined, where, last, prefix)
    number = joined + check_digit(joined)
    if scheme == "sgln":
        return place(number, where, last, prefix)
    if scheme in ("gsrn", "gsrnp"):
        return service_relation(number, where, scheme == "gsrnp", prefix)
    simple = {"pgln": party, "gsin": shipment}
    if scheme in simple:
        return simple[scheme](number, where, prefix)
    with_serial = {"grai": returnable, "gdti": document, "sgcn": coupon}
    return with_serial[scheme](("0" if scheme == "grai" else "") + number + last, where, prefix)
