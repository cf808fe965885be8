"""Events declared wrong, and the events that are said to correct them: what the ids in a history add up to.

A declaration may name events that say what is right (`correctiveEventIDs`). That is its writer's claim: ids of events
are not unique on a chain, and no rule follows them. An audit looks for the events among those of the same history and
says where a claim leads nowhere, or round in a circle: an event that corrects the one by which it is corrected.
"""

from collections.abc import Iterator, Sequence

from client.audit_entries import Reading
from proto.chiptrace.v1.ledger_pb2 import EntryKind

_DECLARED = (EntryKind.CORRECTED, EntryKind.UNDONE, EntryKind.PACKED, EntryKind.UNPACKED)


def doubts(readings: Sequence[Reading]) -> Iterator[tuple[Reading, str, str]]:
    """What is doubtful in the corrections that a history claims, as (the declaration, code, why)."""
    if all(reading.view is None or reading.view.error_declaration is None for reading in readings):
        return  # as in most histories
    recorded = {
        reading.view.event_id
        for reading in readings
        if reading.view is not None and reading.view.error_declaration is None
    }
    corrected_by: dict[str, tuple[str, ...]] = {}
    for reading in readings:
        view = reading.view
        if view is None or view.error_declaration is None or reading.entry.kind not in _DECLARED:
            continue
        ids = view.error_declaration.corrective_event_ids
        for corrective in ids:
            if corrective not in recorded:
                yield (
                    reading,
                    "CORRECTION_UNKNOWN",
                    f"{corrective} is to correct it, and is not in this history",
                )
        if view.event_id:
            corrected_by[view.event_id] = (*corrected_by.get(view.event_id, ()), *ids)
            if _leads_to(corrected_by, view.event_id):
                yield (
                    reading,
                    "CORRECTION_LOOP",
                    f"{view.event_id} is to be corrected by what it corrects itself",
                )


def _leads_to(corrected_by: dict[str, tuple[str, ...]], event_id: str) -> bool:
    """Whether what corrects an event is itself to be corrected by it, over any number of steps."""
    seen: set[str] = set()
    pending = list(corrected_by[event_id])
    while pending:
        following = pending.pop()
        if following == event_id:
            return True
        if following not in seen:
            seen.add(following)
            pending.extend(corrected_by.get(following, ()))
    return False
