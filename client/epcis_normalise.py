"""What lenient import puts right before it looks: other spellings of what the standard writes in one way.

Every change is a finding that names the field and says what was read for what. Nothing is guessed that a rule
reads: a missing zone in an event's time, an unknown action or a word that no vocabulary holds stay as they are.
"""

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Final

from client import epcis_vocabulary
from client.epcis_context import Namespaces
from client.epcis_findings import Code, Report
from client.epcis_json import Json
from client.epcis_vocabulary import Vocabulary
from ledger import decimals

_LISTS: Final = frozenset(
    (
        "epcList",
        "childEPCs",
        "inputEPCList",
        "outputEPCList",
        "quantityList",
        "childQuantityList",
        "inputQuantityList",
        "outputQuantityList",
        "bizTransactionList",
        "sourceList",
        "destinationList",
        "sensorElementList",
    )
)
_NUMBERS: Final = frozenset(
    ("quantity", "value", "minValue", "maxValue", "meanValue", "sDev", "percRank", "percValue")
)
_TIMES_OF_EVENT: Final = frozenset(("eventTime", "recordTime"))
_TIMES: Final = _TIMES_OF_EVENT | {"declarationTime", "time", "startTime", "endTime"}
_LOOSE_TIME: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?)([Zz]|[+-][0-9]{2}:?[0-9]{2})\Z"
)
_ZONE_OF_TIME: Final = re.compile(r"([+-][0-9]{2}:[0-9]{2}|Z)\Z")
# Path with its list places left out -> the vocabulary of the word that stands there.
_WORDS: Final[dict[str, Vocabulary]] = {
    "bizStep": epcis_vocabulary.BIZ_STEP,
    "disposition": epcis_vocabulary.DISPOSITION,
    "persistentDisposition.set": epcis_vocabulary.DISPOSITION,
    "persistentDisposition.unset": epcis_vocabulary.DISPOSITION,
    "bizTransactionList.type": epcis_vocabulary.TRANSACTION_TYPE,
    "sourceList.type": epcis_vocabulary.PARTY_ROLE,
    "destinationList.type": epcis_vocabulary.PARTY_ROLE,
    "errorDeclaration.reason": epcis_vocabulary.ERROR_REASON,
    "sensorElementList.sensorReport.type": epcis_vocabulary.MEASUREMENT,
    "sensorElementList.sensorReport.exception": epcis_vocabulary.ALERT,
    "sensorElementList.sensorReport.component": epcis_vocabulary.COMPONENT,
}
_TYPE: Final = re.compile(r"(?:epcis:|https://ref\.gs1\.org/epcis/)")
_PLACES: Final = re.compile(r"\[[0-9]+\]")
# Only inside these are members other than the event's own looked at; extensions are their owner's business.
_OPENED: Final = frozenset(
    (
        *_LISTS,
        "persistentDisposition",
        "errorDeclaration",
        "sensorElementList.sensorReport",
        "sensorElementList.sensorMetadata",
    )
)


def normalise(event: Mapping[str, Json], namespaces: Namespaces, report: Report) -> dict[str, Json]:
    """The event in the standard's spelling, with a finding for every change. The argument is left as it was."""
    spelling = _Spelling(namespaces.meaning("cbv"), namespaces.meaning("gs1"), report)
    found: dict[str, Json] = {}
    for name, value in event.items():
        if value is None:
            report.add(Code.NORMALISED, name, "null is left out")
        else:
            found[name] = spelling.value(value, name)
    _complete_zone(found, report)
    return found


def _complete_zone(event: dict[str, Json], report: Report) -> None:
    time = event.get("eventTime")
    if "eventTimeZoneOffset" not in event and isinstance(time, str):
        zone = _ZONE_OF_TIME.search(time)
        if zone is not None:
            event["eventTimeZoneOffset"] = "+00:00" if zone[1] == "Z" else zone[1]
            report.add(Code.NORMALISED, "eventTimeZoneOffset", "taken from eventTime")
    elif event.get("eventTimeZoneOffset") == "Z":
        event["eventTimeZoneOffset"] = "+00:00"
        report.add(Code.NORMALISED, "eventTimeZoneOffset", "Z is read as +00:00")


class _Spelling:
    """Puts values right by where they stand."""

    def __init__(self, cbv: str, gs1: str, report: Report) -> None:
        self._cbv = cbv
        self._gs1 = gs1
        self._report = report

    def value(self, value: Json, path: str) -> Json:
        place = _PLACES.sub("", path)
        if path in _LISTS and not isinstance(value, list):
            self._report.add(Code.NORMALISED, path, "a single value is read as a list of one")
            value = [value]
        if isinstance(value, list) and (place in _OPENED or place in _WORDS):
            return [self.value(item, f"{path}[{index}]") for index, item in enumerate(value)]
        if isinstance(value, dict) and place in _OPENED:
            return self._members(value, path)
        if isinstance(value, str):
            return self._text(value, path, place)
        return value

    def _members(self, members: Mapping[str, Json], path: str) -> dict[str, Json]:
        found: dict[str, Json] = {}
        for name, value in members.items():
            if value is None:
                self._report.add(Code.NORMALISED, f"{path}.{name}", "null is left out")
            else:
                found[name] = self.value(value, f"{path}.{name}")
        return found

    def _text(self, text: str, path: str, place: str) -> Json:
        vocabulary = _WORDS.get(place)
        member = place.rpartition(".")[2]
        if vocabulary is not None:
            return self._changed(text, vocabulary.bare(text, self._cbv, self._gs1), path)
        if place == "type":
            bare = _TYPE.sub("", text)
            return self._changed(text, bare if bare.endswith("Event") else text, path)
        if place == "action":
            upper = text.upper()
            return self._changed(text, upper if upper in epcis_vocabulary.ACTIONS else text, path)
        if member in _NUMBERS and "." in place:
            return self._number(text, path)
        if member in _TIMES and (place in _TIMES_OF_EVENT or "." in place):
            match = _LOOSE_TIME.match(text)
            return text if match is None else self._changed(text, _time(match), path)
        return text

    def _changed(self, text: str, standard: str, path: str) -> str:
        if standard != text:
            self._report.add(Code.NORMALISED, path, f"{text!r} is read as {standard!r}")
        return standard

    def _number(self, text: str, path: str) -> Json:
        if len(text) > decimals.TEXT_LENGTH_MAX or not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text):
            return text
        try:
            number = Decimal(text)
        except InvalidOperation:
            return text
        self._report.add(Code.NORMALISED, path, f"the text {text!r} is read as a number")
        return number


def _time(match: re.Match[str]) -> str:
    date, clock, zone = match.groups()
    zone = zone.upper()
    if zone != "Z" and ":" not in zone:
        zone = f"{zone[:3]}:{zone[3:]}"
    return f"{date}T{clock}{zone}"
