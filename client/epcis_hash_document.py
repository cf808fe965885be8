"""Event hashes of whole documents, and what to say where an event has none."""

from collections.abc import Iterator, Mapping

from client import epcis_check, epcis_context, epcis_json
from client.epcis_context import Namespaces
from client.epcis_findings import ERROR, WARNING, Code, Finding
from client.epcis_hash import Hasher, Profile, claims
from client.epcis_json import Json
from ledger.errors import Malformed
from proto.chiptrace.v1.ledger_pb2 import Reason

# The index of each event that has a hash, with it; and what there is to say.
Hashes = tuple[list[tuple[int, str]], list[Finding]]


def ignored_fields(part: Mapping[str, Json], namespaces: Namespaces) -> frozenset[str]:
    """The full names of the extensions that a document's `ignoreFields` takes out of the hash.

    Only extensions: what the standard defines is hashed whatever a document says.
    """
    full_name = Hasher(namespaces).full_name
    lists = ignore_members(part).values()
    return frozenset(full_name(item) for listed in lists for item in listed if ":" in item)


def ignore_members(part: Mapping[str, Json]) -> dict[str, list[str]]:
    """The members of a document that name what is not hashed, wherever around its events they stand: texts by name."""
    found: dict[str, list[str]] = {}
    place: Mapping[str, Json] = part
    for step in ("epcisBody", "queryResults", "resultsBody", ""):
        for name, value in place.items():
            if name.endswith(":ignoreFields"):
                listed = value if isinstance(value, list) else [value]
                found.setdefault(name, []).extend(item for item in listed if isinstance(item, str))
        inner = place.get(step)
        if not isinstance(inner, dict):
            break
        place = inner
    return found


def hash_file(data: bytes, profile: Profile, file: str) -> Hashes:
    """`hash_document` of the bytes of a document. Raises nothing: faults are findings."""
    try:
        document = epcis_json.parse(data)
    except Malformed as error:
        code = Code.OVER_LIMIT if error.reason == Reason.OVERSIZE else Code.NOT_JSON
        return [], [Finding(file, None, "", code, str(error), ERROR)]
    return hash_document(document, profile, file)


def hash_document(document: Json, profile: Profile, file: str = "") -> Hashes:
    """The hashes of the events of a parsed document, query document, bare event or list of these, with their indices.

    An event that cannot be hashed is a finding instead. A prefix that no context at hand declares, where another
    context is named that is not, is a warning: the hash holds only if that context does not declare it.
    """
    hashes: list[tuple[int, str]] = []
    findings: list[Finding] = []
    index = 0
    for part in document if isinstance(document, list) else [document]:
        if not isinstance(part, dict):
            message = "an EPCIS document, a query document or an event is needed"
            findings.append(Finding(file, None, "", Code.NOT_EPCIS, message, ERROR))
            continue
        if not epcis_check.has_events(part):
            message = "a document lists its events: none are found where its type says they are"
            findings.append(Finding(file, None, "epcisBody", Code.NOT_EPCIS, message, ERROR))
            continue
        outer = part.get(epcis_context.FIELD) if part.get("type") in epcis_check.DOCUMENT_TYPES else None
        whole = epcis_context.namespaces(outer)
        ignored = ignored_fields(part, whole)
        shared = Hasher(whole, profile, ignored)
        for event in epcis_check.events_of(part):
            try:
                if not isinstance(event, dict):
                    raise Malformed("event: an object is needed")
                own = event.get(epcis_context.FIELD)
                holds = whole if own is None else epcis_context.namespaces(outer, own)
                hasher = shared if own is None else Hasher(holds, profile, ignored)
                hashes.append((index, hasher.uri(event)))
            except Malformed as error:
                path, _, message = str(error).partition(": ")
                findings.append(Finding(file, index, path, Code.NOT_HASHABLE, message, ERROR))
            else:
                findings.extend(_unknown_prefixes(event, holds, file, index))
            index += 1
    return hashes, findings


def differs(event: Mapping[str, Json], namespaces: Namespaces, ignored: frozenset[str] = frozenset()) -> str:
    """Why an eventID that claims to be the event's hash is not it, by no profile; empty where there is nothing to say."""
    claimed = event.get("eventID")
    if not claims(claimed):
        return ""
    try:
        right = [Hasher(namespaces, profile, ignored).uri(event) for profile in Profile]
    except Malformed as error:
        return f"claims to be the event's hash, and the event has none: {error}"
    return "" if claimed in right else f"claims to be the event's hash, which is {right[0]}"


def _unknown_prefixes(
    event: Mapping[str, Json], namespaces: Namespaces, file: str, index: int
) -> Iterator[Finding]:
    if namespaces.knowable:
        return
    message = "its prefix may be declared by a context that is not at hand; it is hashed as written"
    for name in event:
        prefix, colon, local = name.partition(":")
        if colon and prefix not in namespaces.prefixes and not local.startswith("//"):
            yield Finding(file, index, name, Code.UNDECLARED_PREFIX, message, WARNING)
