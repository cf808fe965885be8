"""EPCIS 2.0 documents in: capture documents, query documents, bare events and lists of these become Events.

A strict import takes a document without errors whole, and nothing of any other. A lenient one puts right what
is merely spelled otherwise, takes every event without errors, and says what it did and what it left.

Every member of an event is kept as written. An event's seed is derived from what it says (and a secret, if one
is given), so that the same document read again gives the same bytes, and the ledger knows a repetition.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import sha256
from pathlib import Path

from client import epcis_check, epcis_context, epcis_hash_document, epcis_json, epcis_normalise
from client.epcis_context import Namespaces
from client.epcis_findings import Code, Finding, Report, errors
from client.epcis_json import Json
from ledger import codec, decimals
from ledger import event as ledger_event
from ledger.errors import ChiptraceError, Malformed, Refused
from ledger.limits import EVENT_BYTES_MAX, VALUE_DEPTH_MAX
from proto.chiptrace.v1.ledger_pb2 import Event, Field, List, Object, Reason, Value

IDEMPOTENCY_KEY_BYTES = 16
_DECLARATION = "errorDeclaration"
_SEED_DOMAIN = b"chiptrace/epcis-import/seed\0"
_KEY_DOMAIN = b"chiptrace/epcis-import/idempotency\0"


@dataclass(frozen=True, slots=True)
class ImportedEvent:
    """An event with the place it came from: file, and its index among the file's events."""

    event: Event
    file: str
    index: int


@dataclass(frozen=True)
class Import:
    """What came in. headers: the members around the events of each document, which no event keeps; empty for an event by itself."""

    events: list[ImportedEvent] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    headers: list[dict[str, Json]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether nothing was left out."""
        return not errors(self.findings)


def read_files(paths: Iterable[Path], *, strict: bool, secret: bytes = b"") -> Import:
    """Import files in their order; a fault in one does not stop the others. Raises OSError for unreadable ones."""
    whole = Import()
    for path in paths:
        part = read(epcis_json.read_file(path), file=path.name, strict=strict, secret=secret)
        whole.events.extend(part.events)
        whole.findings.extend(part.findings)
        whole.headers.extend(part.headers)
    return whole


def read(data: bytes, *, file: str, strict: bool, secret: bytes = b"") -> Import:
    """Import the bytes of one document (see the head of this file). Raises nothing: faults are findings.

    secret: mixed into the seeds, so that a reader of some fields cannot guess the others by trial.
    """
    try:
        document = epcis_json.parse(data)
    except Malformed as error:
        report = Report(file, strict=strict)
        report.add(Code.OVER_LIMIT if error.reason == Reason.OVERSIZE else Code.NOT_JSON, "", str(error))
        return Import(findings=report.findings)
    return _read_document(document, Report(file, strict=strict), secret)


def _read_document(document: Json, report: Report, secret: bytes) -> Import:
    result = Import(findings=report.findings)
    index = 0
    for part in document if isinstance(document, list) else [document]:
        if not isinstance(part, dict):
            report.add(Code.NOT_EPCIS, "", "an EPCIS document, a query document or an event is needed")
            continue
        epcis_check.check_envelope(part, report)
        context = part.get(epcis_context.FIELD) if part.get("type") in epcis_check.DOCUMENT_TYPES else None
        if len(epcis_json.to_text(context)) > EVENT_BYTES_MAX:
            # Every event would carry it.
            message = f"takes more than the {EVENT_BYTES_MAX} bytes an event may have"
            report.add(Code.OVER_LIMIT, epcis_context.FIELD, message)
            continue
        header: dict[str, Json] = {}
        if context is not None or "epcisBody" in part:
            header = {name: value for name, value in part.items() if name != "epcisBody"}
            # A query document names them around its results, and what is written has none.
            within = epcis_hash_document.ignore_members(part)
            header |= {name: list(listed) for name, listed in within.items()}
        result.headers.append(header)
        ignored = epcis_hash_document.ignored_fields(part, epcis_context.namespaces(context))
        for item in epcis_check.events_of(part):
            _check_claim(item, context, ignored, report.at(index))
            event = _read_event(item, context, report.at(index), secret)
            if event is not None:
                result.events.append(ImportedEvent(event, report.file, index))
            index += 1
    faults = errors(report.findings)
    if any(report.strict or fault.event is None for fault in faults):
        result.events.clear()
    return result


def _check_claim(item: Json, context: Json, ignored: frozenset[str], report: Report) -> None:
    """Warn of an eventID that claims to be the event's hash and is not."""
    if isinstance(item, dict):
        namespaces = epcis_context.namespaces(context, item.get(epcis_context.FIELD))
        why = epcis_hash_document.differs(item, namespaces, ignored)
        if why:
            report.add(Code.HASH_DIFFERS, "eventID", why)


def _read_event(item: Json, context: Json, report: Report, secret: bytes) -> Event | None:
    """One event of a document, None where it has errors."""
    if not isinstance(item, dict):
        epcis_check.check_event(item, report)
        return None
    namespaces = epcis_context.namespaces(context, item.get(epcis_context.FIELD))
    if not report.strict:
        item = epcis_normalise.normalise(item, namespaces, report)
    epcis_check.check_event(item, report)
    _check_prefixes(item, namespaces, report)
    if report.failed:
        return None
    try:
        event = to_event(item, namespaces, secret=secret)
    except ChiptraceError as error:
        report.add(Code.OVER_LIMIT, "", str(error))
        return None
    try:
        ledger_event.read_event(event)
    except Refused as error:
        if error.reason == Reason.OVERSIZE:
            report.add(Code.OVER_LIMIT, "", str(error))
            return None
        report.add(
            Code.NOT_ACCEPTED_BY_LEDGER, str(error).split(":", 1)[0], f"the ledger will refuse this: {error}"
        )
    return event


def _check_prefixes(item: Mapping[str, Json], namespaces: Namespaces, report: Report) -> None:
    """Report names whose prefix nobody declares: they are read as addresses of their own."""
    known = namespaces.prefixes
    if not namespaces.knowable:
        return
    for path, name in _names(item):
        prefix, colon, rest = name.partition(":")
        if colon and prefix not in known and not rest.startswith("//") and prefix != "urn":
            report.add(Code.UNDECLARED_PREFIX, path, f"no context declares the prefix {prefix}")


def _names(item: Mapping[str, Json]) -> Iterable[tuple[str, str]]:
    pending: list[tuple[str, Json]] = [("", {k: v for k, v in item.items() if k != epcis_context.FIELD})]
    while pending:
        path, value = pending.pop()
        if isinstance(value, dict):
            for name, member in value.items():
                where = f"{path}.{name}".lstrip(".")
                yield where, name
                pending.append((where, member))
        elif isinstance(value, list):
            pending.extend((f"{path}[{place}]", member) for place, member in enumerate(value))


# ---- JSON to Event ----------------------------------------------------------------------------------------------


def to_event(
    item: Mapping[str, Json], namespaces: Namespaces, *, seed: bytes | None = None, secret: bytes = b""
) -> Event:
    """The Event of a JSON-LD event. seed: 16 bytes; without one it is derived from the content and `secret`.

    Raises Malformed where a limit of the ledger is exceeded, Refused for numbers out of its range.
    """
    members = {
        name: value for name, value in item.items() if value is not None and name != epcis_context.FIELD
    }
    context = namespaces.value()
    if context is not None:
        members[epcis_context.FIELD] = context
    fields = _fields(members)
    event = Event(seed=content_seed(fields, secret) if seed is None else seed, fields=fields)
    ledger_event.check_event(event)
    size = len(codec.encode(event))
    if size > EVENT_BYTES_MAX:
        raise Malformed(
            f"the event takes {size} bytes, {EVENT_BYTES_MAX} are allowed; split it", Reason.OVERSIZE
        )
    return event


def content_seed(fields: Sequence[Field], secret: bytes = b"") -> bytes:
    """The seed of an event that says this: the same for the same content and secret (16 bytes).

    An error declaration has the seed of the event that it declares wrong, by which the ledger knows which one is meant.
    """
    said = Event(fields=[field for field in fields if field.name != _DECLARATION])
    return sha256(_SEED_DOMAIN + sha256(secret).digest() + codec.encode(said)).digest()[:16]


def idempotency_key(events: Sequence[Event]) -> bytes:
    """The key under which a transaction of these events is known (16 bytes): the same for the same events."""
    digests = b"".join(sha256(codec.encode(event)).digest() for event in events)
    return sha256(_KEY_DOMAIN + digests).digest()[:IDEMPOTENCY_KEY_BYTES]


def _fields(members: Mapping[str, Json], depth: int = 1) -> list[Field]:
    ordered = sorted(members.items(), key=lambda member: member[0].encode())
    return [Field(name=name, value=_value(value, depth)) for name, value in ordered if value is not None]


def _value(value: Json, depth: int = 1) -> Value:
    if depth > VALUE_DEPTH_MAX:
        # Before the message is built: its encoder gives up at a depth of its own.
        raise Malformed(f"an event is nested deeper than {VALUE_DEPTH_MAX} levels", Reason.OVERSIZE)
    if isinstance(value, bool):
        return Value(truth=value)
    if isinstance(value, str):
        return Value(text=value)
    if isinstance(value, Decimal):
        return Value(number=decimals.from_decimal(value))
    if isinstance(value, list):
        return Value(list=List(items=[_value(item, depth + 1) for item in value if item is not None]))
    if isinstance(value, dict):
        return Value(object=Object(fields=_fields(value, depth + 1)))
    raise Malformed("null says nothing")
