"""Events per second that one core executes, by kind, and what each writes; without network, on a real LevelDB.

Every event is signed alone and then a hundred to a transaction. `rules` is what the rules cost alone (reading the
event, its digest, rights, records, history); `all` is every stage of a node: admission with the signature, proposal,
judging, rules, state tree, one synced batch per block.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from client.epcis_json import Json
from ledger import codec
from ledger.event_values import OURS
from proto.chiptrace.v1.ledger_pb2 import Attest, Event, Operation
from scripts.benchmarks.chains import TimedChain, box, capture, lot, part, to_event
from scripts.benchmarks.limits import verifications
from scripts.benchmarks.machine import note
from scripts.benchmarks.result import Result, result

HUNDRED = 100
DIES = 250_000
Members = dict[str, Json]


@dataclass(frozen=True)
class Kind:
    """One kind of event: who records it, and the event of each number."""

    name: str
    member: str
    make: Callable[[int], Operation]


def _object(action: str, step: str, things: list[Json], **more: Json) -> Members:
    event: Members = {"type": "ObjectEvent", "action": action, "bizStep": step, "epcList": things}
    return event | more


def _to(member: str) -> list[Json]:
    return [{"type": "possessing_party", "destination": f"urn:chiptrace:member:{member}"}]


def _of(make: Callable[[int], Members]) -> Callable[[int], Operation]:
    return lambda number: capture(to_event(make(number)))


def _held(kind: str, action: str, parent: str, child: str) -> Members:
    return {"type": f"{kind}Event", "action": action, "parentID": parent, "childEPCs": [child]}


def _range(number: int) -> Members:
    first, last = number * DIES, (number + 1) * DIES - 1
    bounds: Json = {f"{OURS}firstSerial": f"{first:012}", f"{OURS}lastSerial": f"{last:012}"}
    return {
        "type": "ObjectEvent",
        "action": "ADD",
        "bizStep": "commissioning",
        "quantityList": [{"epcClass": lot(number), "quantity": Decimal(DIES)}],
        "ilmd": bounds,
    }


def _seen(number: int) -> Event:
    return to_event(_object("OBSERVE", "inspecting", [part(number)]), seed=number.to_bytes(16, "big"))


def _correction(number: int) -> Operation:
    """The declaration that an observation was wrong: the event itself, with an errorDeclaration."""
    event = _seen(number)
    said: Json = {"declarationTime": "2023-11-14T22:13:20.000Z", "reason": "did_not_occur"}
    declared = to_event({"type": "ObjectEvent", "errorDeclaration": said})
    event.fields.extend(field for field in declared.fields if field.name == "errorDeclaration")
    event.fields.sort(key=lambda field: field.name.encode())
    return capture(event)


def _claim(number: int) -> Operation:
    return Operation(
        attest=Attest(
            id=f"urn:cert:{number}",
            subject=f"https://id.gs1.org/01/04012345123456/21/{number}",
            kind="certificate",
            scope="AEC-Q100",
            document_sha256=number.to_bytes(32, "big"),
        )
    )


def kinds() -> Iterator[Kind]:
    """In an order in which each finds what it needs: part n is made, seen, packed, shipped, and used up."""
    yield Kind("commission", "ada", _of(lambda n: _object("ADD", "commissioning", [part(n)])))
    yield Kind("observe", "ada", lambda n: capture(_seen(n)))
    yield Kind("correct", "ada", _correction)
    yield Kind("pack", "ada", _of(lambda n: _held("Aggregation", "ADD", box(n), part(n))))
    yield Kind(
        "ship", "ada", _of(lambda n: _object("OBSERVE", "shipping", [box(n)], destinationList=_to("bob")))
    )
    yield Kind("receive", "bob", _of(lambda n: _object("OBSERVE", "receiving", [box(n)])))
    yield Kind("unpack", "bob", _of(lambda n: _held("Aggregation", "DELETE", box(n), part(n))))
    yield Kind(
        "transform",
        "bob",
        _of(
            lambda n: {
                "type": "TransformationEvent",
                "inputEPCList": [part(n)],
                "outputEPCList": [part(n, "5012345")],
            }
        ),
    )
    yield Kind("install", "bob", _of(lambda n: _held("Association", "ADD", box(n), part(n, "5012345"))))
    yield Kind("range of 250,000", "ada", _of(_range))


def measured(chain: TimedChain, kind: Kind, numbers: range, per: int) -> dict[str, object]:
    """Each number's event through the chain, `per` to a transaction."""
    operations = [kind.make(number) for number in numbers]
    transactions = [
        chain.signed(kind.member, operations[start : start + per]) for start in range(0, len(operations), per)
    ]
    chain.restart_counting()
    chain.refused.clear()
    chain.run(transactions)
    if chain.refused:
        raise SystemExit(f"{kind.name}: refused for {dict(chain.refused)}; the benchmark is wrong")
    events = len(operations)
    spent = chain.microseconds(events)
    written = chain.counted.bytes
    return {
        "rules_per_s": round(1e6 / spent["execute"]),
        "all_per_s": round(1e6 / sum(spent.values())),
        "us": spent,
        "state_bytes": round(written["S"] / events),
        "disk_bytes": round(sum(written.values()) / events),
        "reads": round(chain.counted.reads / events, 1),
        "event_bytes": round(sum(len(codec.encode(operation)) for operation in operations) / events),
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--events", type=int, default=2_000, help="of each kind, and as many again by hundreds"
    )
    parser.add_argument("--kind", action="append", help="report these kinds only")


def measure(chosen: argparse.Namespace) -> Result:
    limit = [verifications()]
    found: dict[str, dict[str, object]] = {}
    with tempfile.TemporaryDirectory(prefix="chiptrace-bench-") as folder:
        chain = TimedChain(Path(folder) / "store")
        for per in (1, HUNDRED):
            first = 1 if per == 1 else 1 + chosen.events
            for kind in [*kinds(), Kind("attest", "ada", _claim)]:
                name = kind.name if per == 1 else f"{kind.name}, {per} per transaction"
                figures = measured(chain, kind, range(first, first + chosen.events), per)
                if not chosen.kind or kind.name in chosen.kind:
                    found[name] = figures
        note([], [Path(folder) / "store"])
        chain.app.close()
    limit.append(verifications())
    rates = [float(str(figures["all_per_s"])) for figures in found.values()]
    head = float(str(next(iter(found.values()))["all_per_s"]))
    return result(
        head,
        "events/s of one core, commission, every stage",
        limit,
        "verifications/s of one core",
        rates,
        kinds=found,
    )
