"""Events on their way to a chain: one transaction each, in order, each final before the next is sent."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from client import epcis_read
from client.epcis_context import Namespaces
from client.epcis_json import Json
from client.serial_lists import memberships_for
from client.submit import Recorded, Submitter
from ledger import codec
from ledger.errors import ChiptraceError, Refused
from ledger.identifiers import canonical
from ledger.roots import SerialList
from proto.chiptrace.v1.ledger_pb2 import Capture, Event, Membership, Operation


@dataclass(frozen=True)
class Captured:
    """What became of one event: recorded, or refused with a reason."""

    file: str
    index: int
    recorded: Recorded | None
    error: ChiptraceError | None


def capture(
    submitter: Submitter,
    events: Iterable[epcis_read.ImportedEvent],
    *,
    go_on: bool,
    told: Callable[[Captured], None],
    lists: Sequence[SerialList] = (),
) -> list[Captured]:
    """Record events in order. `told` hears of each as it is done.

    With `go_on` a refused event does not keep the following ones back; else what follows it is not sent.
    lists: behind the roots of lots, some of whose serials are named.
    """
    done: list[Captured] = []
    for item in events:
        try:
            shown = memberships_for(item.event, lists) if lists else ()
            outcome = Captured(item.file, item.index, capture_one(submitter, item.event, shown), None)
        except Refused as error:
            outcome = Captured(item.file, item.index, None, error)
        done.append(outcome)
        told(outcome)
        if outcome.error is not None and not go_on:
            break
    return done


def capture_one(submitter: Submitter, event: Event, shown: Sequence[Membership] = ()) -> Recorded:
    """Record one event, with proofs of serials of roots. Raises Refused with the chain's reason, NoAnswer."""
    operation = Operation(capture=Capture(event=codec.encode(event), memberships=shown))
    return submitter.submit([operation], epcis_read.idempotency_key([event]))


def _is_of_lot(part: str) -> bool:
    """Whether this names an amount of a lot, all there is, or an interval of its serials."""
    identifier = canonical(part)
    return identifier.is_class or identifier.interval is not None


def custody_event(
    parts: list[str],
    step: str,
    time: str,
    *,
    to: str = "",
    owner: bool = False,
    documents: Sequence[str] = (),
) -> Event:
    """The EPCIS event of a shipment or a receipt. `to`: the receiving member's short name. `time`: ISO 8601, UTC.
    `documents`: ids of licences under which it ships.

    Raises Refused where an identifier is none.
    """
    event: dict[str, Json] = {
        "type": "ObjectEvent",
        "eventTime": time,
        "eventTimeZoneOffset": "+00:00",
        "action": "OBSERVE",
        "bizStep": step,
    }
    if singles := [part for part in parts if not _is_of_lot(part)]:
        event["epcList"] = list[Json](singles)
    if of_lots := [part for part in parts if _is_of_lot(part)]:
        event["quantityList"] = [{"epcClass": part} for part in of_lots]
    if to:
        party = f"urn:chiptrace:member:{to}"
        roles = ["possessing_party", "owning_party"] if owner else ["possessing_party"]
        event["destinationList"] = [{"type": role, "destination": party} for role in roles]
    if documents:
        event["bizTransactionList"] = [{"type": "cert", "bizTransaction": text} for text in documents]
    return epcis_read.to_event(event, Namespaces())
