"""Identifiers in one canonical form, and the namespaces that grants give rights over.

Two spellings of one thing must never look like two things, and no spelling may look like another's thing:

1. GS1 keys, as EPC URN or as Digital Link of any domain, become the Digital Link of ledger/gs1_keys.py; what
   only resembles a Digital Link (a wrong check digit, say) names nothing under id.gs1.org, and is a URI like
   any other under other domains; so is a URN that has a word where GS1 has a number;
2. every other URI is kept verbatim, after a strict check that leaves it one spelling: lower-case scheme and
   host, no default port, no user, no fragment, no empty or dotted path segment, no needless escapes.

The serials of a lot are named together by places: the Digital Link of the lot with `?interval=i-j`, from place i up to
but not including j. Who does not know the word reads the lot, as of any other query.

A grant is `gs1:` and the digits of a company prefix, compared at the prefix's position in the key, or a URI
of an authority and whole segments. Substrings and text prefixes inside a segment match nothing.
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from ledger import gs1_keys, gs1_urns
from ledger.errors import Refused
from ledger.limits import IDENTIFIER_BYTES_MAX, PREFIXES_MAX
from proto.chiptrace.v1.ledger_pb2 import Reason

GS1_PREFIX_DIGITS_MIN: Final = 4
GS1_PREFIX_DIGITS_MAX: Final = 12

_PRINTABLE: Final = re.compile(r"[!-~]+\Z")
_COMPANY_PREFIX: Final = re.compile(r"[0-9]{4,12}\Z")
_WEB: Final = re.compile(r"(https?)://([^/?#]*)([^?#]*)(\?[^#]*)?(#.*)?\Z", re.IGNORECASE)
_HOST: Final = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*\Z"
)
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}\Z")
_OTHER: Final = re.compile(r"[a-z][a-z0-9+.-]*:[^/?#].*\Z")
_URN: Final = re.compile(r"urn:[a-z0-9][a-z0-9-]{0,30}[a-z0-9]:(?!:).+\Z")
_URI_TEXT: Final = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-F]{2})*\Z")
_INTERVAL: Final = re.compile(r"(0|[1-9][0-9]{0,18})-([1-9][0-9]{0,18})\Z")
_ESCAPED: Final = re.compile(r"%([0-9A-F]{2})")
_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
# Serialised trade items and logistic units in their two spellings, where nothing needs an escape. What does not match
# may be one too.
_SERIAL_LINK: Final = re.compile(r"(https://id\.gs1\.org/01/([0-9]{14}))/21/[A-Za-z0-9\-._']{1,20}\Z")
_SERIAL_URN: Final = re.compile(r"urn:epc:id:sgtin:([0-9]{4,12})\.([0-9]{1,9})\.([A-Za-z0-9\-._']{1,20})\Z")
_UNIT_LINK: Final = re.compile(r"https://id\.gs1\.org/00/([0-9]{18})\Z")
_UNIT_URN: Final = re.compile(r"urn:epc:id:sscc:([0-9]{4,12})\.([0-9]{5,13})\Z")
_EPC: Final = re.compile(r"urn:epc:(id|class|idpat):([a-z0-9]+):(.*)\Z", re.IGNORECASE)
_OTHER_EPC: Final = re.compile(r"urn:epc:(id|idpat|class):[a-z0-9]+(?::[^:]+)*\Z")
_EPC_CLASSES: Final = ("urn:epc:idpat:", "urn:epc:class:")
_SEGMENT_ENDS: Final = "/:."


class Identifier(NamedTuple):
    """A name in canonical form. Two identifiers are equal exactly when they name the same thing.

    text: the canonical URI. scheme: sgtin, gtin, lgtin, sscc, sgln, pgln, grai, giai, gdti, gsrn, gsrnp, cpi,
    sgcn, ginc, gsin, itip, upui, gmn for GS1 keys, interval for serials of a lot, else urn, web or uri. is_class: names a class or lot, not one
    thing. is_pattern: a class spelled as a pattern that has no other spelling. gs1_key_digits: the key's
    digits from the company prefix on, empty for other URIs. class_text: the class it belongs to, if the name
    tells. lot: of a lot. interval: [from, to) of the serials of that lot, whose identifier is `lot_text`.
    company_prefix: where the spelling told its length (a claim: never a right).
    """

    text: str
    scheme: str
    is_class: bool = False
    is_pattern: bool = False
    gs1_key_digits: str = ""
    class_text: str = ""
    lot: str = ""
    interval: tuple[int, int] | None = None
    company_prefix: str = ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identifier) and self[:-1] == other[:-1]

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.text)

    @property
    def lot_text(self) -> str:
        """Canonical identifier of the lot that an interval is of."""
        return self.text.partition("?")[0]


def interval_text(lot: str, start: int, end: int) -> str:
    """Canonical identifier of the serials of a lot from place `start` up to but not including `end`."""
    return f"{lot}?interval={start}-{end}"


def _refused(message: str) -> Refused:
    return Refused(message, Reason.IDENTIFIER_INVALID)


@lru_cache(maxsize=16_384)
def canonical(text: str) -> Identifier:
    """The canonical form of an identifier as written. Raises Refused(IDENTIFIER_INVALID) saying what is wrong."""
    common = _serial(text) or _unit(text)
    if common is not None:
        return common
    # 1. Bounds and characters, before any parsing.
    if not text or len(text) > IDENTIFIER_BYTES_MAX:
        raise _refused(f"an identifier has 1 to {IDENTIFIER_BYTES_MAX} bytes, {len(text)} given")
    if _PRINTABLE.match(text) is None:
        raise _refused(f"{text!a} holds a character other than printable ASCII; percent-encode it")
    # 2. GS1 keys, in either spelling.
    epc = _EPC.match(text)
    own = epc is not None and is_own_name(text)
    if epc is not None and epc[2].lower() in gs1_urns.URN_SCHEMES and not own:
        return _from_key(gs1_urns.from_urn(epc[1].lower(), epc[2].lower(), epc[3], text))
    web = _WEB.match(text)
    if web is not None:
        return _web(text, web)
    # 3. Other URIs, verbatim.
    _check_spelling(text)
    if text.startswith("urn:"):
        return _urn(text, own)
    if _OTHER.match(text) is None or text.startswith(("http:", "https:")):
        raise _refused(f"{text} is no absolute URI")
    return Identifier(text, "uri")


def _serial(text: str) -> Identifier | None:
    """A serialised trade item, in one step: what its class comes to was worked out for the serial before it."""
    link = _SERIAL_LINK.match(text)
    if link is not None:
        item_class, gtin = link.groups()
        if gs1_keys.check_digit(gtin[:-1]) == gtin[-1]:
            return Identifier(text, "sgtin", gs1_key_digits=gtin[1:13], class_text=item_class)
    urn = _SERIAL_URN.match(text)
    if urn is None:
        return None
    prefix, reference, serial = urn.groups()
    found = _class_of(prefix, reference)
    if found is None:
        return None
    item_class, digits = found
    text = f"{item_class}/21/{serial}"
    return Identifier(text, "sgtin", gs1_key_digits=digits, class_text=item_class, company_prefix=prefix)


def _unit(text: str) -> Identifier | None:
    """A logistic unit, in one step too."""
    link, urn = _UNIT_LINK.match(text), _UNIT_URN.match(text)
    if link is not None:
        key = link[1]
        if gs1_keys.check_digit(key[:-1]) == key[-1]:
            return Identifier(text, "sscc", gs1_key_digits=key[1:17])
    if urn is None or len(urn[1]) + len(urn[2]) != 17:
        return None
    key = gs1_urns.with_check_digit(urn[1], urn[2])
    return Identifier(f"{gs1_keys.ROOT}00/{key}", "sscc", gs1_key_digits=key[1:17], company_prefix=urn[1])


@lru_cache(maxsize=4_096)
def _class_of(prefix: str, reference: str) -> tuple[str, str] | None:
    """Of a trade item by company prefix and reference: the class, and the digits of its key. None for what is none."""
    if len(prefix) + len(reference) != 13:
        return None
    key = gs1_keys.trade_item(gs1_urns.with_check_digit(prefix, reference), prefix)
    return key.text, key.digits


def is_own_name(text: str) -> bool:
    """Whether a URN is spelled like a GS1 key and has a word where that has a number: a URI like any other."""
    epc = _EPC.match(text)
    if epc is None or epc[2] not in gs1_urns.URN_SCHEMES:
        return False
    return gs1_urns.is_own_name(epc[1], epc[2], epc[3])


def _from_key(key: gs1_keys.Key) -> Identifier:
    if len(key.text) > IDENTIFIER_BYTES_MAX:
        raise _refused(f"an identifier has at most {IDENTIFIER_BYTES_MAX} bytes")
    return Identifier(
        key.text,
        key.scheme,
        key.is_class,
        gs1_key_digits=key.digits,
        class_text=key.class_text,
        lot=key.lot,
        company_prefix=key.prefix,
    )


def _web(text: str, match: re.Match[str]) -> Identifier:
    """An http(s) URI: a Digital Link if its path is one, else kept verbatim."""
    scheme, authority, path, query, fragment = match.groups(default="")
    host, _, port = authority.lower().partition(":")
    if _HOST.match(host) is None:
        raise _refused(f"{text}: the host is no plain domain name")
    if ":" in authority and (_PORT.match(port) is None or int(port) > 65_535):
        raise _refused(f"{text}: the port is no number from 1 to 65535")
    if fragment:
        raise _refused(f"{text}: an identifier has no fragment")
    segments = path.split("/")[1:]
    try:
        link = gs1_keys.split_link(segments)
        if link is not None:
            if host == "id.gs1.org" and len(segments) != 2 + 2 * len(link[2]):
                raise _refused("nothing may stand before the key")
            _check_link_query(query)
    except Refused as error:
        raise _refused(f"{text}: {error}") from error
    if link is not None:
        try:
            return _in_lot(_from_key(gs1_keys.from_link(*link, text)), query, text)
        except Refused:
            # A path that breaks GS1's rules is no Digital Link. Elsewhere it is a URI like any other, in the
            # namespace of its own domain; under id.gs1.org it is nothing.
            if host == "id.gs1.org":
                raise
    if host == "id.gs1.org":
        raise _refused(f"{text}: the path is no GS1 key known here")
    _check_spelling(text)
    if text != f"{scheme.lower()}://{authority.lower()}{path}{query}":
        raise _refused(f"{text}: scheme and host are written in lower case")
    if (scheme, port) in (("https", "443"), ("http", "80")):
        raise _refused(f"{text}: the default port is left out")
    if not path or not all(segments) or not all(map(_is_plain_segment, segments)):
        raise _refused(f"{text}: the path has at least one segment, and none that is empty, '.' or '..'")
    return Identifier(text, "web")


def _in_lot(key: Identifier, query: str, text: str) -> Identifier:
    """The interval of a lot's serials that a Digital Link's query names, or the key itself."""
    named = [part[9:] for part in query[1:].split("&") if part.startswith("interval=")]
    if key.scheme != "lgtin" or not named:
        return key
    found = _INTERVAL.match(named[0])
    start, end = (int(found[1]), int(found[2])) if found is not None else (0, 0)
    if len(named) > 1 or start >= end:
        raise _refused(f"{text}: an interval of a lot is written once, interval=i-j, i below j")
    return Identifier(
        interval_text(key.text, start, end),
        "interval",
        gs1_key_digits=key.gs1_key_digits,
        class_text=key.class_text,
        lot=key.lot,
        interval=(start, end),
    )


def why_not_gs1(text: str) -> str:
    """Why a web address that looks like a Digital Link is kept as a plain URI; empty where it does not."""
    web = _WEB.match(text)
    try:
        link = gs1_keys.split_link(web[3].split("/")[1:]) if web is not None else None
        if link is not None:
            gs1_keys.from_link(*link, text)
    except Refused as error:
        return str(error)
    return ""


def _is_plain_segment(segment: str) -> bool:
    return segment not in (".", "..")


def _check_link_query(query: str) -> None:
    """A Digital Link's query may carry anything but a part of the key."""
    if not query:
        return
    names = {
        unquote_to_bytes(part.split("=", 1)[0]).decode("ascii", "replace") for part in query[1:].split("&")
    }
    clash = names & gs1_keys.NUMBERS
    if clash:
        raise _refused(f"{min(clash)} is part of the key and belongs in the path, not in the query")


def _check_spelling(text: str) -> None:
    """One spelling: URI characters only, upper-case escapes, and only of what needs escaping."""
    if _URI_TEXT.match(text) is None:
        raise _refused(f"{text}: a character must be percent-encoded (with upper-case digits)")
    if any(int(code, 16) in _UNRESERVED for code in _ESCAPED.findall(text)):
        raise _refused(f"{text}: an escape stands where the plain character belongs")


def _urn(text: str, own: bool) -> Identifier:
    if _URN.match(text) is None or "#" in text or "?" in text or text[-1] in _SEGMENT_ENDS:
        raise _refused(f"{text} is no URN in its plain form (urn:namespace:name, namespace in lower case)")
    if text.startswith("urn:uuid:"):
        return Identifier(text.lower(), "urn")  # the case of its digits says nothing (RFC 9562)
    if not text.startswith("urn:epc:"):
        return Identifier(text, "urn")
    if _OTHER_EPC.match(text) is None or (text.split(":")[3] in gs1_urns.URN_SCHEMES and not own):
        raise _refused(f"{text}: of urn:epc: only id, class and idpat name things")
    kind = text.split(":")[2]
    if kind == "idpat" and not text.endswith(".*"):
        raise _refused(f"{text}: a pattern ends in .* and has no other wildcard")
    if "*" in text[:-1] or (kind != "idpat" and "*" in text):
        raise _refused(f"{text}: a pattern ends in .* and has no other wildcard")
    return Identifier(text, "urn", is_class=kind != "id", is_pattern=kind == "idpat")


# ---- grants -------------------------------------------------------------------------------------------------


def canonical_grant(text: str) -> str:
    """A grant's prefix in its one spelling: `gs1:` and 4 to 12 digits, or a URI of whole segments.

    Raises Refused(IDENTIFIER_INVALID): what can match nothing, or match part of a segment, is no namespace.
    """
    if text.startswith("gs1:"):
        digits = text[4:]
        if _COMPANY_PREFIX.match(digits) is None:
            raise _refused(f"{text!a}: a company prefix has 4 to 12 digits")
        return text
    web = _WEB.match(text)
    # An authority alone is checked as if one segment followed.
    probe = text + "/x" if web is not None and not web[3] else text
    identifier = canonical(probe)
    if identifier.gs1_key_digits:
        raise _refused(f"{text}: GS1 keys are granted as gs1: and the digits of the company prefix")
    if identifier.text != probe or "?" in text or text.startswith(_EPC_CLASSES):
        raise _refused(f"{text}: a namespace is an authority and whole segments")
    if text not in grant_prefixes(identifier):
        raise _refused(f"{text}: a namespace has at most {PREFIXES_MAX} segments")
    return text


def grant_prefixes(identifier: Identifier) -> tuple[str, ...]:
    """Every grant prefix that covers the identifier, longest first, so that the ledger looks up points: PREFIXES_MAX at most,
    for each is looked up whenever the identifier is named."""
    digits = identifier.gs1_key_digits
    if digits:
        return _company_prefixes(digits[:GS1_PREFIX_DIGITS_MAX])
    text = identifier.text.split("?", 1)[0].removesuffix(".*")
    for start in _EPC_CLASSES:
        # A class lies in the namespace of its things.
        if text.startswith(start):
            text = "urn:epc:id:" + text.removeprefix(start)
    if identifier.scheme == "web":
        ends = [place for place in range(text.index("://") + 3, len(text)) if text[place] == "/"]
    else:
        parts = 3 if text.startswith("urn:epc:") else 2 if text.startswith("urn:") else 1
        first = len(":".join(text.split(":", parts)[:parts])) + 1
        ends = [place for place in range(first, len(text)) if text[place] in _SEGMENT_ENDS]
    return tuple(text[:end] for end in reversed([*ends, len(text)][:PREFIXES_MAX]))


@lru_cache(maxsize=16_384)
def _company_prefixes(digits: str) -> tuple[str, ...]:
    return tuple(f"gs1:{digits[:n]}" for n in range(len(digits), GS1_PREFIX_DIGITS_MIN - 1, -1))


def matches_grant(identifier: Identifier, prefix: str) -> bool:
    """Whether the grant prefix covers the identifier: by position on key digits, or by whole segments."""
    return prefix in grant_prefixes(identifier)


def grants_overlap(first: str, second: str) -> bool:
    """Whether some identifier could be covered by both grant prefixes (each from `canonical_grant`)."""
    if first.startswith("gs1:") or second.startswith("gs1:"):
        return first.startswith(second) or second.startswith(first)
    return _covers(first, second) or _covers(second, first)


def _covers(outer: str, inner: str) -> bool:
    """Whether every identifier under `inner` is under `outer` too; both are URI prefixes."""
    if outer == inner:
        return True
    ends = "/" if outer.startswith(("http:", "https:")) else _SEGMENT_ENDS
    return inner.startswith(outer) and inner[len(outer)] in ends
