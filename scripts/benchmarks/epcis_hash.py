"""Event hashes of CBV 2.0 per second of one core, over the documents of ../shared/epcis."""

from __future__ import annotations

import argparse
import copy
import itertools
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from client import epcis_check, epcis_context, epcis_json
from client.epcis_hash import Hasher, Profile
from client.epcis_hash_document import hash_file
from client.epcis_json import Json
from scripts.benchmarks import limits
from scripts.benchmarks.result import Result, median, result

ROOT = Path(__file__).resolve().parents[2]
REAL = ROOT.parent / "shared" / "epcis"
_SERIAL = re.compile(r"(urn:epc:id:(?:sgtin|sgln|grai|gdti|cpi):[0-9]+\.[^.]*\.|/21/|/254/|/8011/)[^/?*]+\Z")


def documents() -> list[Path]:
    """The real documents where they lie beside the project, else the samples."""
    found = [
        path for folder in ("documents", "hash-vectors") for path in sorted((REAL / folder).glob("*.json*"))
    ]
    return found or sorted((ROOT / "docs" / "samples").glob("*.jsonld"))


def events(paths: list[Path]) -> Iterator[tuple[Hasher, dict[str, Json]]]:
    """Every event with the hasher of its document or, where it declares namespaces itself, its own."""
    for path in paths:
        document = epcis_json.parse(path.read_bytes())
        assert isinstance(document, dict)
        outer = document.get("@context")
        shared = Hasher(epcis_context.namespaces(outer))
        for event in epcis_check.events_of(document):
            assert isinstance(event, dict)
            own = event.get("@context")
            yield shared if own is None else Hasher(epcis_context.namespaces(outer, own)), event


def renumbered(value: Json, numbers: Iterator[int]) -> Json:
    """The same event about things that no event before named: every serial is new."""
    if isinstance(value, dict):
        return {name: renumbered(item, numbers) for name, item in value.items()}
    if isinstance(value, list):
        return [renumbered(item, numbers) for item in value]
    if isinstance(value, str):
        return _SERIAL.sub(lambda match: f"{match[1]}{next(numbers)}", value)
    return value


def per_second(work: Callable[[], int], seconds: float) -> float:
    """Units of work per second of CPU time of this process, after one round that counts for nothing."""
    work()
    done, begun = 0, time.process_time()
    while (spent := time.process_time() - begun) < seconds:
        done += work()
    return done / spent


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=3.0)


def measure(chosen: argparse.Namespace) -> Result:
    paths = documents()
    data = [path.read_bytes() for path in paths]
    known = list(events(paths))
    numbers = itertools.count(1)
    # New names defeat every cache; they are made beforehand, for making them is not what is measured.
    fresh = iter(
        [(hasher, renumbered(copy.deepcopy(event), numbers)) for _ in range(400) for hasher, event in known]
    )

    def hash_known() -> int:
        for hasher, event in known:
            hasher.uri(event)
        return len(known)

    def hash_fresh() -> int:
        for hasher, event in itertools.islice(fresh, len(known)):
            hasher.uri(event)
        return len(known)

    def parse_and_hash() -> int:
        return sum(len(hash_file(text, Profile.REF, "")[0]) for text in data)

    rounds = min(390, int(chosen.seconds * 80))
    hash_fresh()
    begun = time.process_time()
    for _ in range(rounds):
        hash_fresh()
    fresh_rate = rounds * len(known) / (time.process_time() - begun)
    bare = [limits.hashes()]
    rates = [per_second(hash_known, chosen.seconds) for _ in range(3)]
    bare.append(limits.hashes())
    return result(
        median(rates),
        "event hashes/s of one core",
        bare,
        "bare SHA-256/s",
        rates,
        events=len(known),
        hash_of_things_never_named_before_per_s=round(fresh_rate),
        parse_and_hash_per_s=round(per_second(parse_and_hash, chosen.seconds)),
    )
