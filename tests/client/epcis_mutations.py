"""Faulty EPCIS documents, made from real ones by seeded chance, held against our check and the EPCIS 2.0 JSON schema.

Run by scripts/epcis_mutations.py in any number and by tests/client/test_epcis_mutations.py in a slice. Whatever the
schema refuses must be refused by the strict check. What the check refuses beyond that must carry a finding of a kind
listed in STRICTER, with its reason; anything else is a difference and ends the run with exit code 1.
"""

import argparse
import copy
import json
import random
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal

from client import epcis_check, epcis_json
from client.epcis_findings import Code, errors
from client.epcis_json import Json
from tests.client.epcis_material import files, refused_by_schema

STRICTER = {
    Code.BAD_TIME: "the schema leaves the format of times to format checkers",
    Code.BAD_URI: "the schema leaves the format of URIs to format checkers",
    Code.BAD_IDENTIFIER: "the ledger must be able to read what is named",
    Code.BAD_WORD: "the schema takes any URI for a word, words of the standard in their long spelling too",
    Code.BAD_NUMBER: "an amount is not negative, and a number is one that the ledger keeps exactly",
    Code.BAD_TEXT: "versions and hexadecimal texts have a form",
    Code.NO_NAMESPACE: "the members of ilmd carry a namespace",
    Code.UNKNOWN_FIELD: "extensions carry a namespace also where the schema forgets to say so",
    Code.NULL_MEMBER: "null says nothing",
    Code.CONTEXT_INVALID: "a context declares prefixes and names the standard context",
    Code.CONTEXT_UNKNOWN: "contexts are pinned",
    Code.ILMD_NOT_ALLOWED: "ilmd goes with action ADD only",
    Code.MISSING_FIELD: "packing names its parent",
    Code.NOTHING_NAMED: "an event names what it is about",
    Code.OUTPUT_REPEATS_INPUT: "what is transformed is gone",
    Code.REPEATED_ITEM: "a list of parts names each once",
    Code.WRONG_KIND: "words of dispositions are texts, a document is an object with members of known kinds",
}
_OTHERS: tuple[Json, ...] = (
    None, True, False, "", "text", "urn:epcglobal:cbv:bizstep:shipping", "https://ref.gs1.org/cbv/BizStep-shipping",
    "urn:x1:a", "shipping", "recalled", "po", "owning_party", "did_not_occur", [], ["a", "a"], ["urn:x1:a"], {},
    {"a": "b"}, {"ext:a": "b"}, {"id": "urn:x1:a"}, {"epcClass": "urn:x1:a", "quantity": Decimal(1)}, [{}], [None],
    "2025-01-01T00:00:00Z", "2025-01-01T00:00:00", "+01:00", "+15:00", "ADD", "OBSERVE", "DELETE", "add",
    "ObjectEvent", "AggregationEvent", "AssociationEvent", "TransactionEvent", "TransformationEvent",
    "urn:epc:id:sgtin:4012345.012345.1", "https://id.gs1.org/01/04012345999990/21/1", "KGM", "kg", "x",
    Decimal(0), Decimal(-1), Decimal("1.5"), Decimal("1e40"),
)  # fmt: skip
_NAMES = (
    "ilmd", "epcList", "childEPCs", "inputEPCList", "outputEPCList", "quantityList", "childQuantityList",
    "inputQuantityList", "outputQuantityList", "parentID", "persistentDisposition", "transformationID", "set", "unset",
    "type", "quantity", "uom", "epcClass", "action", "bizStep", "disposition", "readPoint", "bizLocation", "eventID",
    "recordTime", "certificationInfo", "errorDeclaration", "bizTransactionList", "sourceList", "destinationList",
    "sensorElementList", "sensorReport", "sensorMetadata", "exception", "value", "time", "id", "source", "reason",
    "declarationTime", "correctiveEventIDs", "a", "ext:a", "https://example.com/a",
)  # fmt: skip


@dataclass
class Outcome:
    """How many documents there were, how both judged them, and the differences nobody explained."""

    judged: Counter[str] = field(default_factory=Counter)
    stricter: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)

    def add(self, other: "Outcome") -> None:
        self.judged.update(other.judged)
        self.stricter.update(other.stricter)
        self.differences.extend(other.differences)


def bases() -> list[Json]:
    """The real documents, one event at a time, so that faults fall into events of every kind alike."""
    found: list[Json] = []
    for path in files("documents", "hash-vectors"):
        document = epcis_json.parse(path.read_bytes())
        if document["type"] == "EPCISDocument":
            found.extend(
                {**document, "epcisBody": {"eventList": [event]}}
                for event in document["epcisBody"]["eventList"]
            )
        else:
            found.append(document)
    return found


def places(value: Json, path: tuple = ()) -> list[tuple]:
    """The paths of every value inside."""
    if isinstance(value, dict):
        return [path, *(place for name, item in value.items() for place in places(item, (*path, name)))]
    if isinstance(value, list):
        return [path, *(place for n, item in enumerate(value) for place in places(item, (*path, n)))]
    return [path]


def _text_changed(text: str, chance: random.Random) -> str:
    cut = chance.randrange(len(text) + 1)
    return chance.choice(
        [
            text.upper(),
            text.lower(),
            text[:cut] + text[cut + 1 :],
            text[:cut] + "x" + text[cut:],
            text + " ",
            text * 2,
        ]
    )


def mutated(base: Json, chance: random.Random) -> Json:
    """The document with one to three faults: missing, of another kind, twice, renamed, added, moved, misspelled."""
    document = copy.deepcopy(base)
    for _ in range(chance.randint(1, 3)):
        path = chance.choice(places(document))
        if not path:
            continue
        holder = document
        for step in path[:-1]:
            holder = holder[step]
        step = path[-1]
        kind = chance.choice(("drop", "replace", "repeat", "rename", "add", "text", "wrap", "copy"))
        if kind == "drop":
            del holder[step]
        elif kind == "replace":
            holder[step] = copy.deepcopy(chance.choice(_OTHERS))
        elif kind == "repeat" and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[step]))
        elif kind == "rename" and isinstance(holder, dict):
            holder[chance.choice(_NAMES)] = holder.pop(step)
        elif kind == "add" and isinstance(holder, dict):
            holder[chance.choice(_NAMES)] = copy.deepcopy(chance.choice(_OTHERS))
        elif kind == "text" and isinstance(holder[step], str):
            holder[step] = _text_changed(holder[step], chance)
        elif kind == "wrap":
            holder[step] = [holder[step]]
        elif kind == "copy" and isinstance(holder, dict):
            other = document
            for inner in chance.choice(places(document)):
                other = other[inner]
            holder[step] = copy.deepcopy(other)
    return document


def run(seed: int, count: int) -> Outcome:
    """Judge `count` faulty documents made from a seed."""
    chance = random.Random(seed)
    known = bases()
    outcome = Outcome()
    for _ in range(count):
        document = mutated(chance.choice(known), chance)
        by_schema = refused_by_schema(document)
        ours = errors(epcis_check.check(document, strict=True))
        outcome.judged[
            f"{'refused' if by_schema else 'taken'} by the schema, {'refused' if ours else 'taken'} here"
        ] += 1
        if by_schema and not ours:
            outcome.differences.append(
                f"only the schema refuses: {by_schema[0]}\n{epcis_json.to_text(document)}"
            )
        elif ours and not by_schema:
            codes = {finding.code for finding in ours}
            outcome.stricter.update(map(str, codes))
            if not codes & STRICTER.keys():
                outcome.differences.append(f"refused here only: {ours[0]}\n{epcis_json.to_text(document)}")
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(description="Hold the strict check against the EPCIS 2.0 JSON schema.")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if not bases():
        sys.exit("the real documents and the schema are not here; they lie at ../shared/epcis")
    shard = -(-given.count // 40)
    shards = [min(shard, given.count - start) for start in range(0, given.count, shard)]
    seeds = [given.seed * 1_000 + number for number in range(len(shards))]
    whole = Outcome()
    with ProcessPoolExecutor(given.processes) as pool:
        for outcome in pool.map(run, seeds, shards):
            whole.add(outcome)
    if given.json:
        print(
            json.dumps(
                {"judged": whole.judged, "stricter": whole.stricter, "differences": len(whole.differences)}
            )
        )
    else:
        for what, number in sorted(whole.judged.items()):
            print(f"{number:7}  {what}")
        print("refused here only, with the reason:")
        for code, number in whole.stricter.most_common():
            print(f"{number:7}  {code}: {STRICTER.get(Code(code), 'not explained')}")
    for difference in whole.differences[:5]:
        print(difference, file=sys.stderr)
    return 1 if whole.differences else 0


if __name__ == "__main__":
    sys.exit(main())
