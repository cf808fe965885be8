"""What a check of an EPCIS document has to say: one finding per fault, naming where it is and how bad.

A finding names the file, the event's index in it, the field's path, a stable code and a sentence for people.
An `error` means that nothing is imported (strict: of the document, lenient: of the event); a `warning` means
that it is, and that the reader should know.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Code(StrEnum):
    """What kind of fault; append only, printed to people and in JSON."""

    NOT_JSON = "NOT_JSON"
    NOT_EPCIS = "NOT_EPCIS"
    OVER_LIMIT = "OVER_LIMIT"
    MISSING_FIELD = "MISSING_FIELD"
    UNKNOWN_FIELD = "UNKNOWN_FIELD"
    NO_NAMESPACE = "NO_NAMESPACE"
    UNDECLARED_PREFIX = "UNDECLARED_PREFIX"
    CONTEXT_UNKNOWN = "CONTEXT_UNKNOWN"
    CONTEXT_INVALID = "CONTEXT_INVALID"
    WRONG_KIND = "WRONG_KIND"
    BAD_TIME = "BAD_TIME"
    BAD_ZONE = "BAD_ZONE"
    BAD_WORD = "BAD_WORD"
    UNKNOWN_WORD = "UNKNOWN_WORD"
    MISPLACED_FIELD = "MISPLACED_FIELD"
    BAD_URI = "BAD_URI"
    BAD_NUMBER = "BAD_NUMBER"
    BAD_UNIT = "BAD_UNIT"
    BAD_TEXT = "BAD_TEXT"
    BAD_IDENTIFIER = "BAD_IDENTIFIER"
    IDENTIFIER_NOT_GS1 = "IDENTIFIER_NOT_GS1"
    CLASS_AMONG_THINGS = "CLASS_AMONG_THINGS"
    NOTHING_NAMED = "NOTHING_NAMED"
    ILMD_NOT_ALLOWED = "ILMD_NOT_ALLOWED"
    REPEATED_ITEM = "REPEATED_ITEM"
    OUTPUT_REPEATS_INPUT = "OUTPUT_REPEATS_INPUT"
    NULL_MEMBER = "NULL_MEMBER"
    NORMALISED = "NORMALISED"
    NOT_RECORDED = "NOT_RECORDED"
    NOT_ACCEPTED_BY_LEDGER = "NOT_ACCEPTED_BY_LEDGER"
    NOT_HASHABLE = "NOT_HASHABLE"
    HASH_DIFFERS = "HASH_DIFFERS"


_FIELD: Final = re.compile(r"[.\[]")

ERROR: Final = "error"
WARNING: Final = "warning"

# True of good documents too.
_ALWAYS_WARNING: Final = frozenset(
    (
        Code.UNDECLARED_PREFIX,
        Code.IDENTIFIER_NOT_GS1,
        Code.CLASS_AMONG_THINGS,
        Code.UNKNOWN_WORD,
        Code.MISPLACED_FIELD,
        Code.NORMALISED,
        Code.NOT_RECORDED,
        Code.NOT_ACCEPTED_BY_LEDGER,
        Code.NOT_HASHABLE,
        Code.HASH_DIFFERS,
    )
)
# What lenient import takes all the same: faults that change nothing the rules read,
_TAKEN_LENIENTLY: Final = frozenset(
    (
        Code.UNKNOWN_FIELD,
        Code.NO_NAMESPACE,
        Code.CONTEXT_UNKNOWN,
        Code.CONTEXT_INVALID,
        Code.BAD_WORD,
        Code.BAD_URI,
        Code.BAD_IDENTIFIER,  # imported as written; the ledger will say no, and the finding says so before
        Code.BAD_TEXT,
        Code.REPEATED_ITEM,
        Code.ILMD_NOT_ALLOWED,
        Code.OUTPUT_REPEATS_INPUT,
        Code.NULL_MEMBER,
    )
)
# and any fault in the fields that no rule reads.
_READ_BY_NO_RULE: Final = frozenset(
    (
        "bizLocation",
        "certificationInfo",
        "creationDate",
        "epcisHeader",
        "eventTimeZoneOffset",
        "id",
        "ilmd",
        "instanceIdentifier",
        "readPoint",
        "receiver",
        "recordTime",
        "schemaVersion",
        "sender",
        "sensorElementList",
    )
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault. event: the index in the file, None for the document itself. path: `quantityList[0].uom`."""

    file: str
    event: int | None
    path: str
    code: Code
    message: str
    severity: str

    def __str__(self) -> str:
        place = self.file if self.event is None else f"{self.file}, event {self.event}"
        return f"{self.severity}: {place}, {self.path or 'document'}: {self.message} [{self.code}]"


class Report:
    """Collects the findings of one document; `at` gives the view of one event.

    failed: whether an error was entered through this view.
    """

    def __init__(self, file: str, *, strict: bool) -> None:
        self.file = file
        self.strict = strict
        self.event: int | None = None
        self.failed = False
        self.findings: list[Finding] = []

    def at(self, event: int | None) -> "Report":
        """A report for one event that adds to the same list."""
        other = Report(self.file, strict=self.strict)
        other.event = event
        other.findings = self.findings
        return other

    def add(self, code: Code, path: str, message: str, *, grave: bool = False) -> None:
        """Enter a finding; `grave` makes it an error in lenient import too."""
        harmless = code in _TAKEN_LENIENTLY or _FIELD.split(path, 1)[0] in _READ_BY_NO_RULE
        taken = code in _ALWAYS_WARNING or (not self.strict and harmless and not grave)
        self.failed |= not taken
        self.findings.append(Finding(self.file, self.event, path, code, message, WARNING if taken else ERROR))


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Those findings that stop an import."""
    return [finding for finding in findings if finding.severity == ERROR]
