"""Events declared wrong, and the events that are said to correct them: what the ids in a history add up to.

A declaration may name events that say what is right (`correctiveEventIDs`). That is its writer's claim: ids of events
are not unique on a chain, and no rule follows them. An audit looks for the events among those of the same history and
says where a claim leads nowhere, or round in a circle: an event that corrects the one by which it is corrected.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from client.audit_entries import Reading
from proto.chiptrace.v1.ledger_pb2 import EntryKind

NAMED: Final = 4  # events of a circle
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
    declared: list[Reading] = []
    corrected_by: dict[str, dict[str, None]] = {}
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
            declared.append(reading)
            corrected_by.setdefault(view.event_id, {}).update(dict.fromkeys(ids))
    circles = _in_circles(corrected_by)
    if circles:
        first = ", ".join([one for one in corrected_by if one in circles][:NAMED])
        last = next(one for one in reversed(declared) if one.view and one.view.event_id in circles)
        text = f"what is to correct {first}{' and others' if len(circles) > NAMED else ''} leads round in a circle"
        yield last, "CORRECTION_LOOP", text


def _in_circles(corrected_by: Mapping[str, Iterable[str]]) -> set[str]:
    """The events of which what corrects them is never at an end: it leads back to itself."""
    corrects: dict[str, list[str]] = {}
    open_ends: dict[str, int] = {}
    for event_id, ids in corrected_by.items():
        following = [one for one in ids if one in corrected_by]
        open_ends[event_id] = len(following)
        for one in following:
            corrects.setdefault(one, []).append(event_id)
    # What nothing corrects ends there, and so does what only such events correct.
    ended = [event_id for event_id, count in open_ends.items() if not count]
    for event_id in ended:
        for before in corrects.get(event_id, ()):
            open_ends[before] -= 1
            if not open_ends[before]:
                ended.append(before)
    return set(corrected_by) - set(ended)
