"""The event hash of CBV 2.0 (§8.9): `ni:///sha-256;...?ver=CBV2.0`, the same for every spelling of one event.

An event is written as one string, `key=value` without separators: its fields in a fixed order, lists sorted,
values in their one spelling (client/epcis_hash_values.py), extensions as `{namespace}local=value`, sorted; then
SHA-256. Names are resolved with the pinned context, nothing is fetched and no JSON-LD processor runs.

Not hashed: eventID, recordTime, errorDeclaration, comments, contexts, and the extensions that a repository lists
in `ignoreFields`. So the hash is a name for an event and no proof of it: the ledger signs and proves other digests.

Implementations disagree about the order (docs/epcis.md), hence two profiles: `ref` agrees with the reference
vectors; `spec` follows the order as it is written down.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import StrEnum
from hashlib import sha256
from typing import ClassVar, Final

from client import epcis_hash_values, epcis_vocabulary
from client.epcis_context import Namespaces
from client.epcis_json import Json
from client.epcis_vocabulary import Vocabulary
from ledger.errors import Malformed
from ledger.limits import EPCIS_DOCUMENT_DEPTH_MAX

START: Final = "ni:///sha-256;"
END: Final = "?ver=CBV2.0"


class Profile(StrEnum):
    """In which order fields stand; see the head of this file."""

    REF = "ref"
    SPEC = "spec"


_NAMES: Final = (
    "eventTime", "eventTimeZoneOffset", "inputEPCList", "childEPCs", "quantityList", "childQuantityList",
    "inputQuantityList", "outputEPCList", "outputQuantityList", "action", "transformationID", "bizStep", "disposition",
    "persistentDisposition", "readPoint", "bizLocation",
)  # fmt: skip
# The reference sorts the lists of transactions and parties, ilmd and extensions as strings, behind all others.
_ORDER: Final = {
    Profile.REF: (
        *_NAMES[:2], "certificationInfo", "parentID", "epcList", *_NAMES[2:], "sensorElementList",
    ),
    Profile.SPEC: (
        *_NAMES[:2], "epcList", "parentID", *_NAMES[2:], "bizTransactionList", "sourceList", "destinationList",
        "sensorElementList", "ilmd",
    ),
}  # fmt: skip
_NOT_HASHED: Final = frozenset(("type", "@context", "eventID", "recordTime", "errorDeclaration"))
_LEFT_OUT: Final = {Profile.REF: _NOT_HASHED, Profile.SPEC: _NOT_HASHED | {"certificationInfo"}}
_COMMENTS: Final = frozenset(("comment", "rdfs:comment", "{http://www.w3.org/2000/01/rdf-schema#}comment"))
_METADATA: Final = (
    "time", "startTime", "endTime", "deviceID", "deviceMetadata", "rawData", "dataProcessingMethod", "bizRules",
)  # fmt: skip
_REPORT: Final = (
    "type", "exception", "deviceID", "deviceMetadata", "rawData", "dataProcessingMethod", "time", "microorganism",
    "chemicalSubstance", "value", "component", "stringValue", "booleanValue", "hexBinaryValue", "uriValue", "minValue",
    "maxValue", "meanValue", "sDev", "percRank", "percValue", "uom", "coordinateReferenceSystem",
)  # fmt: skip
_QUANTITY: Final = ("epcClass", "quantity", "uom")
_TIMES: Final = frozenset(("eventTime", "time", "startTime", "endTime"))
# The words of the standard that a member holds, by its name in its place.
_WORDS: Final[dict[str, Vocabulary]] = {
    "bizStep": epcis_vocabulary.BIZ_STEP,
    "disposition": epcis_vocabulary.DISPOSITION,
    "persistentDisposition": epcis_vocabulary.DISPOSITION,
    "bizTransactionList": epcis_vocabulary.TRANSACTION_TYPE,
    "sourceList": epcis_vocabulary.PARTY_ROLE,
    "destinationList": epcis_vocabulary.PARTY_ROLE,
    "type": epcis_vocabulary.MEASUREMENT,
    "exception": epcis_vocabulary.ALERT,
    "component": epcis_vocabulary.COMPONENT,
}
_FULL_WORDS: Final = {
    name: {word: vocabulary.web + word for word in vocabulary.words} for name, vocabulary in _WORDS.items()
}


def event_hash(
    event: Mapping[str, Json],
    namespaces: Namespaces,
    profile: Profile = Profile.REF,
    ignored: frozenset[str] = frozenset(),
) -> str:
    """The URI of an event's hash. Raises Malformed, its text beginning with the field, where it has none.

    ignored: full names of extensions that are left out (client/epcis_hash_document.py).
    """
    return Hasher(namespaces, profile, ignored).uri(event)


def claims(event_id: Json) -> bool:
    """Whether an eventID says that it is a hash of this kind."""
    return isinstance(event_id, str) and event_id.startswith(START) and event_id.endswith(END)


class Hasher:
    """Hashes events under one set of namespaces."""

    def __init__(
        self,
        namespaces: Namespaces,
        profile: Profile = Profile.REF,
        ignored: frozenset[str] = frozenset(),
    ) -> None:
        self._prefixes = namespaces.prefixes
        self._cbv = self._prefixes["cbv"]
        self._gs1 = self._prefixes["gs1"]
        self._order = _ORDER[profile]
        self._ordered = frozenset(self._order) | _LEFT_OUT[profile]
        self._ignored = ignored
        self._full: dict[str, str] = {}

    def uri(self, event: Mapping[str, Json]) -> str:
        """`event_hash` of one event."""
        return f"{START}{sha256(self.string(event).encode()).hexdigest()}{END}"

    def string(self, event: Mapping[str, Json]) -> str:
        """The string that is hashed: type, the ordered fields, then all others sorted. Raises as `event_hash`."""
        kind = event.get("type")
        if not isinstance(kind, str) or not kind:
            raise Malformed("type: an event says what it is")
        parts = [f"eventType={kind}"]
        for name in self._order:
            value = event.get(name)
            if value is not None:
                parts.append(self._field(name, value))
        rest: list[str] = []
        for name, value in event.items():
            if name in self._ordered or value is None:
                continue
            if name in self._FIELDS:
                rest.append(self._field(name, value))
            elif self.full_name(name) not in self._ignored:
                rest.extend(self._extension(name, value, name, 1))
        rest.sort()
        return "".join((*parts, *rest))

    def full_name(self, name: str) -> str:
        """The name of a member with its namespace for its prefix: `{namespace}local`; as it is without a known one."""
        full = self._full.get(name)
        if full is None:
            prefix, colon, local = name.partition(":")
            known = self._prefixes.get(prefix) if colon and not local.startswith("//") else None
            full = name if known is None else f"{{{known}}}{local}"
            self._full[name] = full
        return full

    # ---- fields, by kind; each gives its name and what stands in it, or nothing where nothing does

    def _field(self, name: str, value: Json) -> str:
        return self._FIELDS[name](self, name, value)

    def _plain(self, name: str, value: Json) -> str:
        """A single value, or several under one name each."""
        if isinstance(value, list):
            return "".join(
                sorted(self._member(name, item, f"{name}[{place}]") for place, item in enumerate(value))
            )
        return self._member(name, value, name)

    def _epcs(self, name: str, value: Json) -> str:
        epcs = sorted(
            self._member("epc", item, f"{name}[{place}]") for place, item in enumerate(_list(value))
        )
        return name + "".join(epcs) if any(epcs) else ""

    def _quantities(self, name: str, value: Json) -> str:
        found = [
            self._node("quantityElement", item, f"{name}[{place}]", _QUANTITY)
            for place, item in enumerate(_list(value))
        ]
        return name + "".join(sorted(found)) if any(found) else ""

    def _dispositions(self, name: str, value: Json) -> str:
        members = _object(value, name)
        found = [
            f"{side}={word}"
            for side in ("set", "unset")
            for word in sorted(
                self._word("persistentDisposition", item, f"{name}.{side}")
                for item in _list(members.get(side, []))
            )
        ]
        extensions = self._others(members, ("set", "unset"), name, 1)
        return name + "".join((*found, *extensions)) if found or extensions else ""

    def _place(self, name: str, value: Json) -> str:
        return self._node(name, value if isinstance(value, dict) else {"id": value}, name, ("id",))

    def _typed(self, name: str, value: Json) -> str:
        """Transactions, sources, destinations: the type stands before what it is the type of."""
        found = []
        for place, item in enumerate(_list(value)):
            path = f"{name}[{place}]"
            members = _object(item, path)
            role = members.get("type")
            text = f"type={self._word(name, role, f'{path}.type')}" if role is not None else ""
            own = name.removesuffix("List")
            if members.get(own) is not None:
                text += self._member(own, members[own], f"{path}.{own}")
            found.append(text + "".join(self._others(members, ("type", own), path, 2)))
        return name + "".join(sorted(found)) if any(found) else ""

    def _sensors(self, name: str, value: Json) -> str:
        found = []
        for place, item in enumerate(_list(value)):
            path = f"{name}[{place}]"
            members = _object(item, path)
            text = ""
            metadata = members.get("sensorMetadata")
            if metadata is not None:
                text = self._node("sensorMetadata", metadata, f"{path}.sensorMetadata", _METADATA)
            reports = _list(members.get("sensorReport", []))
            text += "".join(
                sorted(
                    self._node("sensorReport", report, f"{path}.sensorReport[{number}]", _REPORT)
                    for number, report in enumerate(reports)
                )
            )
            text += "".join(self._others(members, ("sensorMetadata", "sensorReport"), path, 2))
            found.append("sensorElement" + text if text else "")
        return name + "".join(sorted(found)) if any(found) else ""

    def _master_data(self, name: str, value: Json) -> str:
        found = self._others(_object(value, name), (), name, 1)
        return name + "".join(found) if found else ""

    # ---- what stands inside fields

    def _node(self, name: str, value: Json, path: str, order: tuple[str, ...]) -> str:
        """An object whose members have an order; its extensions follow, sorted."""
        members = _object(value, path)
        parts = [
            self._member(member, members[member], f"{path}.{member}")
            for member in order
            if members.get(member) is not None
        ]
        if len(parts) < len(members):
            parts.extend(self._others(members, order, path, 2))
        text = "".join(parts)
        return name + text if text else ""

    def _others(
        self, members: Mapping[str, Json], known: tuple[str, ...], path: str, depth: int
    ) -> list[str]:
        found = []
        for name, value in members.items():
            if name not in known and value is not None:
                found.extend(self._extension(name, value, f"{path}.{name}", depth + 1))
        found.sort()
        return found

    def _extension(self, name: str, value: Json, path: str, depth: int) -> list[str]:
        """An extension as one entry for each of its values, whatever they are."""
        if depth > EPCIS_DOCUMENT_DEPTH_MAX:
            raise Malformed(f"{path}: nested deeper than {EPCIS_DOCUMENT_DEPTH_MAX} levels")
        key = self.full_name(name)
        if key in _COMMENTS:
            return []
        if isinstance(value, list):
            return [
                entry
                for place, item in enumerate(value)
                if item is not None
                for entry in self._item(key, item, f"{path}[{place}]", depth + 1)
            ]
        return self._item(key, value, path, depth)

    def _item(self, key: str, value: Json, path: str, depth: int) -> list[str]:
        if isinstance(value, dict):
            return [key + "".join(self._others(value, (), path, depth))]
        if isinstance(value, list):
            return [key + "".join(sorted(self._extension("", value, path, depth)))]
        text = self._text(value, path)
        return [f"{key}={text}" if text else key]

    def _member(self, name: str, value: Json, path: str) -> str:
        """`name=value` of a field of the standard; nothing for an empty text."""
        if name in _TIMES:
            if not isinstance(value, str):
                raise Malformed(f"{path}: a time is needed")
            try:
                return f"{name}={epcis_hash_values.time(value)}"
            except Malformed as error:
                raise Malformed(f"{path}: {error}") from None
        if name in _WORDS:
            text = self._word(name, value, path)
        elif name == "eventTimeZoneOffset" and isinstance(value, str):
            text = value.strip()
        else:
            text = self._text(value, path)
        return f"{name}={text}" if text else ""

    def _word(self, name: str, value: Json, path: str) -> str:
        if not isinstance(value, str):
            raise Malformed(f"{path}: a word is needed")
        text = value.strip()
        full = _FULL_WORDS[name].get(text)
        if full is not None:
            return full
        bare = _WORDS[name].bare(text, self._cbv, self._gs1)
        full = _FULL_WORDS[name].get(bare)
        if full is not None:
            return full
        return self._text(text, path)

    def _text(self, value: Json, path: str) -> str:
        if isinstance(value, str):
            return epcis_hash_values.literal(self._expanded(value) if ":" in value else value)
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, Decimal):
            try:
                return epcis_hash_values.number(value)
            except Malformed as error:
                raise Malformed(f"{path}: {error}") from None
        raise Malformed(f"{path}: a single value is needed here")

    def _expanded(self, text: str) -> str:
        """A CURIE with its prefix written out."""
        prefix, colon, local = text.partition(":")
        if prefix == "urn" or not colon or prefix not in self._prefixes or local.startswith("//"):
            return text
        return text if any(map(str.isspace, local)) else self._prefixes[prefix] + local

    # Field -> what writes it.
    _FIELDS: ClassVar[dict[str, Callable[["Hasher", str, Json], str]]] = {
        **dict.fromkeys(
            ("eventTime", "eventTimeZoneOffset", "certificationInfo", "parentID", "action", "transformationID",
             "bizStep", "disposition"), _plain,
        ),
        **dict.fromkeys(("epcList", "childEPCs", "inputEPCList", "outputEPCList"), _epcs),
        **dict.fromkeys(
            ("quantityList", "childQuantityList", "inputQuantityList", "outputQuantityList"), _quantities
        ),
        "persistentDisposition": _dispositions,
        **dict.fromkeys(("readPoint", "bizLocation"), _place),
        **dict.fromkeys(("bizTransactionList", "sourceList", "destinationList"), _typed),
        "sensorElementList": _sensors,
        "ilmd": _master_data,
    }  # fmt: skip


def _list(value: Json) -> list[Json]:
    """A list without its nulls; a single value is a list of one."""
    if not isinstance(value, list):
        return [value]
    return [item for item in value if item is not None] if None in value else value


def _object(value: Json, path: str) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise Malformed(f"{path}: an object is needed")
    return value
