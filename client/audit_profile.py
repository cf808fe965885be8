"""What an audit holds a thing against that no ledger demands: places, a speed, and the steps that should be there.

A profile is the auditor's own file, and decides nothing for anybody else:

    {"speed_kmh": 900,
     "places": {"https://id.gs1.org/414/9521234000013": "geo:52.52,13.40"},
     "expected": [{"of": "gs1:9521234", "level": "IPC-1782 level 3", "steps": ["commissioning", "inspecting"]}],
     "accredited": {"test_report": ["testlab"]}}

`of` is a class, or a prefix as grants are written. A place that is written as a geo: URI needs no entry. Of a kind of
claim that `accredited` does not name, everybody's counts.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from client.audit_report import Step, Subject
from client.audit_steps import ATTESTED, CATEGORIES
from ledger.errors import Malformed, Refused
from ledger.identifiers import canonical, canonical_grant, grant_prefixes

SPEED_KMH: Final = 1_000  # of an aeroplane
NEAR_M: Final = 1_000  # one site, however exactly its doors are told
PROFILE_BYTES_MAX: Final = 16_777_216
EXPECTED_STEPS_MAX: Final = 10_000  # in all rows: of each part or lot of an audit every one may be missing
OTHERS_NAMED: Final = 3  # of those that claim a name, in what is said of each
_EARTH_M: Final = 6_371_000
_GEO: Final = re.compile(
    r"geo:(-?[0-9]{1,3}(?:\.[0-9]{1,12})?),(-?[0-9]{1,3}(?:\.[0-9]{1,12})?)(?:[,;].*)?\Z"
)

Point = tuple[float, float]  # degrees north, degrees east
Find = Callable[[Subject, str, str, tuple[bytes, ...]], None]  # of which subject, code, message, transactions


@dataclass(frozen=True)
class Expected:
    """Business steps that the histories of a class, or of all below a prefix, should have."""

    of: str
    level: str
    steps: tuple[str, ...]

    def is_about(self, name: str) -> bool:
        """Whether it says something of this part or lot."""
        identifier = canonical(name)
        return self.of == identifier.class_text or self.of in grant_prefixes(identifier)


@dataclass(frozen=True)
class Profile:
    """What to hold things against. speed_kmh: nothing travels faster."""

    speed_kmh: int
    places: Mapping[str, Point]
    expected: tuple[Expected, ...]
    accredited: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by kind of claim, whose count


NO_PROFILE: Final = Profile(SPEED_KMH, {}, ())


def profile_file(path: Path) -> bytes:
    """The bytes of a profile's file, and no more than show that they are too many. Raises Malformed."""
    try:
        with path.open("rb") as file:
            return file.read(PROFILE_BYTES_MAX + 1)
    except OSError as error:
        raise Malformed(f"cannot read {path}: {error.strerror}; name an existing file") from None


def read_profile(path: Path) -> Profile:
    """The profile in a file. Raises Malformed naming what is wrong."""
    return parse_profile(profile_file(path), path)


def parse_profile(data: bytes, path: Path) -> Profile:
    """The profile that these bytes are. `path`: where they stand, for messages. Raises Malformed naming what is wrong."""
    if len(data) > PROFILE_BYTES_MAX:
        raise Malformed(f"{path} is larger than {PROFILE_BYTES_MAX} bytes")
    try:
        told = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"{path} is no JSON: {error}") from None
    known = {"speed_kmh", "places", "expected", "accredited"}
    if not isinstance(told, dict) or set(told) - known:
        raise Malformed(f"{path}: a profile has {', '.join(sorted(known))} and nothing else")
    speed = told.get("speed_kmh", SPEED_KMH)
    if not isinstance(speed, int) or isinstance(speed, bool) or speed <= 0:
        raise Malformed(f"{path}: speed_kmh is a whole number above zero")
    places = told.get("places", {})
    if not isinstance(places, dict):
        raise Malformed(f"{path}: places maps identifiers to geo: URIs")
    points = {_name(path, name): _point(path, name, place) for name, place in places.items()}
    rows = told.get("expected", [])
    if not isinstance(rows, list):
        raise Malformed(f"{path}: expected is a list")
    expected = tuple(_expected(path, row) for row in rows)
    steps = sum(len(row.steps) for row in expected)
    if steps > EXPECTED_STEPS_MAX:
        raise Malformed(
            f"{path}: {steps} steps are expected, {EXPECTED_STEPS_MAX} at most; leave out what this part has nothing of"
        )
    issuers = told.get("accredited", {})
    if not isinstance(issuers, dict) or not all(map(_is_names, issuers.values())):
        raise Malformed(f"{path}: accredited maps kinds of claims to lists of members")
    by_kind = {kind: tuple(members) for kind, members in issuers.items()}
    return Profile(speed, points, expected, by_kind)


def _is_names(item: object) -> bool:
    return isinstance(item, list) and all(isinstance(name, str) for name in item)


def _name(path: Path, text: str) -> str:
    try:
        return canonical(text).text
    except Refused as error:
        raise Malformed(f"{path}: places: {error}") from None


def _point(path: Path, name: str, place: object) -> Point:
    point = point_of(place) if isinstance(place, str) else None
    if point is None:
        raise Malformed(f"{path}: {name} is at {place!r}, which is no geo: URI of degrees")
    return point


def _expected(path: Path, row: Any) -> Expected:
    if not isinstance(row, dict) or set(row) - {"of", "level", "steps"} or not isinstance(row.get("of"), str):
        raise Malformed(f"{path}: expected has objects with of, level and steps")
    steps, level = row.get("steps"), row.get("level", "")
    unknown = (
        [step for step in steps if not isinstance(step, str) or step not in CATEGORIES]
        if isinstance(steps, list)
        else ["no list"]
    )
    if unknown or not steps or not isinstance(level, str):
        raise Malformed(
            f"{path}: expected of {row['of']}: {unknown or steps} are no business steps of CBV 2.0"
        )
    of = row["of"]
    try:
        return Expected(
            canonical_grant(of) if of.startswith("gs1:") else canonical(of).text, level, tuple(steps)
        )
    except Refused as error:
        raise Malformed(f"{path}: expected of {of}: {error}") from None


def point_of(text: str) -> Point | None:
    """The point of a geo: URI; None for anything else."""
    match = _GEO.match(text)
    if match is None:
        return None
    point = float(match[1]), float(match[2])
    return point if abs(point[0]) <= 90 and abs(point[1]) <= 180 else None


def distance_m(one: Point, other: Point) -> int:
    """Metres between two points, along the surface of a round Earth (to half a percent)."""
    (north, east), (north_2, east_2) = (map(math.radians, point) for point in (one, other))
    half = math.sin((north_2 - north) / 2) ** 2
    half += math.cos(north) * math.cos(north_2) * math.sin((east_2 - east) / 2) ** 2
    return int(2 * _EARTH_M * math.asin(math.sqrt(min(1.0, half))))


# ---- judging -------------------------------------------------------------------------------------------------


def judge(subjects: Iterable[Subject], profile: Profile, find: Find) -> None:
    """Holds everything that an audit read against the profile, and against each other's names.

    A thing's steps are told together, whichever chains they stand on.
    """
    by_id: dict[str, list[Subject]] = {}
    for subject in subjects:
        by_id.setdefault(subject.id, []).append(subject)
    named: dict[tuple[str, str], dict[str, Subject]] = {}
    for name, told in by_id.items():
        steps = [step for subject in told for step in subject.steps]
        if told[0].kind == "part":
            _travels(told[0], profile, steps, find)
        _complete(told, profile, steps, find)
        _accredited(told[0], profile, steps, find)
        called: dict[str, None] = {}
        for step in steps:
            for other in step.names if not step.inside else ():
                called[f"{other.kind} {other.text}"] = None
                if other.is_own:
                    named.setdefault((other.kind, other.text), {})[name] = told[0]
        for subject in told:
            subject.also_called += called
    for (kind, text), who in named.items():
        first = sorted(who)[: OTHERS_NAMED + 1]
        for subject in who.values() if len(who) > 1 else ():
            others = [name for name in first if name != subject.id][:OTHERS_NAMED]
            more = len(who) - 1 - len(others)
            by = ", ".join(others) + (f" and {more} more" if more else "")
            find(subject, "NAME_CONFLICT", f"{kind} {text} is claimed by {subject.id} and by {by}", ())


def _travels(subject: Subject, profile: Profile, steps: Sequence[Step], find: Find) -> None:
    """From each place to the next, in the order of the times that members claim."""
    seen = [(step, _where(step, profile)) for step in steps if step.place and step.event_time_ms]
    placed = sorted(
        ((step, point) for step, point in seen if point is not None),
        key=lambda item: (item[0].event_time_ms, item[0].time_ms),
    )
    for (before, start), (after, end) in pairwise(placed):
        metres, took_ms = distance_m(start, end), after.event_time_ms - before.event_time_ms
        # metres / hour, without dividing
        if metres <= NEAR_M or metres * 3_600_000 <= profile.speed_kmh * 1_000 * took_ms:
            continue
        text = (
            f"{subject.id} is said to have been at {before.place} ({before.member}) and {took_ms // 1000} s later, "
            f"{metres // 1000} km away, at {after.place} ({after.member})"
        )
        find(subject, "IMPOSSIBLE_TRAVEL", text, (before.transaction, after.transaction))


def _where(step: Step, profile: Profile) -> Point | None:
    point = point_of(step.place)
    if point is not None or not profile.places:
        return point
    try:
        return profile.places.get(canonical(step.place).text)
    except Refused:
        return None


def _accredited(subject: Subject, profile: Profile, steps: Sequence[Step], find: Find) -> None:
    for step in steps:
        kind = step.what.removeprefix(ATTESTED)
        issuers = profile.accredited.get(kind) if kind != step.what else None
        if issuers is not None and step.member not in issuers:
            text = f"{kind} of {step.detail} about {subject.id} is by {step.member}, whose do not count"
            find(subject, "ISSUER_NOT_ACCREDITED", text, (step.transaction,))


def _complete(told: Sequence[Subject], profile: Profile, steps: Sequence[Step], find: Find) -> None:
    done = {step.biz_step for step in steps}
    for expected in profile.expected:
        if not expected.is_about(told[0].id):
            continue
        missing = [step for step in expected.steps if step not in done]
        for subject in told:
            subject.expected += len(expected.steps)
            subject.missing += missing
        if missing:
            level = f" ({expected.level})" if expected.level else ""
            text = f"{told[0].id} has no {', '.join(missing)}, which is expected of {expected.of}{level}"
            find(told[0], "MISSING_STEP", text, ())
