"""Where all of a lot of amounts is: every place that its history names, and a sum that shows that there is no other.

An amount comes to lie at a place only by an event that stands in the lot's history: with who recorded or received
it, on offer to whom it was shipped, in the container it was put into. So all places are known; what lies at each is
proven, and together with what was consumed and destroyed it must be as much as was ever made.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bridge.amounts import abroad_key
from bridge.contents import arrival_key
from client.audit_chains import present_status
from client.audit_entries import Reading
from client.audit_packets import carried
from client.reach_report import Amount
from client.records import name_of
from client.verified import VerifiedChain
from ledger import codec, decimals, state
from ledger.corrections import original_of
from ledger.event import EventView, Quantity, given_digest
from ledger.event_fields import read_fields
from ledger.inbound import inbound_place
from ledger.limits import TRANSACTION_BYTES_MAX
from ledger.lots import offer_place
from ledger.members import member_for
from proto.chiptrace.v1.bridge_pb2 import AbroadRecord, ArrivalRecord, ClientRecord, ReturnPart, SendPart
from proto.chiptrace.v1.ledger_pb2 import (
    BalanceRecord,
    CorrectionRecord,
    CorrectionState,
    Decimal,
    EntryKind,
    LotRecord,
    Operation,
    PartRecord,
    PartStatus,
)

STAGED = "@"  # before a container: what is in it, and it has no record yet (bridge/amounts.py)
PACKETS_LOOKED_AT = 1_024  # the newest of one client
_HAPPENED = (EntryKind.EVENT, EntryKind.PACKED, EntryKind.UNPACKED)


@dataclass
class Spread:
    """A lot's amounts on one chain. makings: digests of the events that made some. gap: why the sum is not right.

    brought: by unit, how much is accounted for here and was not made here. abroad: by chain, what its home sent there.
    """

    amounts: list[Amount]
    makings: set[bytes] = field(default_factory=set)
    gap: str = ""
    brought: dict[str, Decimal] = field(default_factory=dict)
    abroad: dict[bytes, dict[str, Decimal]] = field(default_factory=dict)


def undone(chain: VerifiedChain, events: Iterable[tuple[EventView | None, Operation, str]]) -> set[bytes]:
    """Of a history's events, each with who signed it, the ones that were declared wrong, by who had recorded them among
    others, and taken back, by the proven record of that. What only the record says counts for nothing."""
    chain_id = chain.trust.chain_id
    told = [(view, operation.capture.event, member) for view, operation, member in events if view is not None]
    declared = {
        (original_of(chain_id, data), who) for view, data, who in told if view.error_declaration is not None
    }
    if not declared:
        return set()
    recorded = ((given_digest(chain_id, read_fields(data)), who) for _, data, who in told)
    asked = list(dict.fromkeys(digest for digest, who in recorded if (digest, who) in declared))
    chain.values(state.correction_key(digest) for digest in asked)
    found = ((digest, chain.record(state.correction_key(digest), CorrectionRecord)) for digest in asked)
    return {d for d, record in found if record is not None and record.state == CorrectionState.TAKEN_BACK}


def spread(chain: VerifiedChain, lot: LotRecord, readings: Sequence[Reading]) -> Spread:
    """Every place at which something of a lot lies now."""
    units = {q.unit for reading in readings for q in _of(lot.id, reading.view)}
    for packet in filter(None, (carried(reading.operation) for reading in readings)):
        units |= {packet.transfer.amount.unit, *(row.unit for row in packet.transfer.contents.manifest)}
    keys = [(place, unit) for place in _places(chain, readings) for unit in sorted(units)]
    chain.values(state.balance_key(lot.id, place, unit) for place, unit in keys)
    found = Spread([])
    untouched = _untouched(chain, readings)
    for place, unit in keys:
        record = chain.record(state.balance_key(lot.id, place, unit), BalanceRecord)
        if record is not None:
            found.amounts.append(_amount(chain, record, untouched))
    _account(chain, lot, readings, found)
    return found


def _places(chain: VerifiedChain, readings: Sequence[Reading]) -> list[str]:
    places: dict[str, None] = {}
    for reading in readings:
        member, view = reading.step.member, reading.view
        places[member] = None
        back = reading.operation.return_offer
        if reading.operation.WhichOneof("kind") == "return_offer":
            places[back.sender] = None
        if view is None:
            places |= dict.fromkeys(_crossing(reading))
            continue
        if reading.entry.container:
            places[reading.entry.container] = None
        elif view.parent is not None:
            places[view.parent.text] = None
        to = view.destination("possessing_party")
        receiver = None if to is None else member_for(chain, to.text)
        if receiver is not None and view.biz_step == "shipping":
            places[offer_place(member, receiver)] = None
    return [*places, *_on_the_way(chain, readings)]


def _crossing(reading: Reading) -> list[str]:
    """Where a packet may have put something: with a member, waiting for one, or in a container that it brought."""
    packet = carried(reading.operation)
    if packet is None:
        return []
    transfer = packet.transfer
    found = [transfer.sender, transfer.receiver]
    found.append(inbound_place(packet.packet.destination_client, transfer.sender, transfer.receiver))
    found.append(inbound_place(packet.packet.source_client, transfer.receiver, transfer.sender))
    for row in transfer.contents.manifest:
        found += [row.place, f"{STAGED}{row.place}"] if row.place else []
    return [place for place in found if place]


def _on_the_way(chain: VerifiedChain, readings: Sequence[Reading]) -> list[str]:
    """The places of packets that were sent and not answered: a packet's number is where its commitment stands."""
    answered = (EntryKind.DEPARTED_FOR_GOOD, EntryKind.RETURNED)
    over = {reading.entry.digest for reading in readings if reading.entry.kind in answered}
    sent = [r for r in readings if r.entry.kind == EntryKind.SENT and r.entry.digest not in over]
    found = []
    for name in dict.fromkeys(_client_of(reading) for reading in sent):
        client = chain.record(state.client_key(name), ClientRecord)
        newest = 0 if client is None else client.next_sequence
        numbers = range(max(1, newest - PACKETS_LOOKED_AT), newest)
        values = chain.values(state.commitment_key(name, number) for number in numbers)
        open_ones = {reading.entry.digest for reading in sent}
        found += [f"{name}#{n}" for n in numbers if values[state.commitment_key(name, n)] in open_ones]
    return found


def _client_of(reading: Reading) -> str:
    operation = reading.operation
    if operation.WhichOneof("kind") == "return_part":
        return codec.decode(ReturnPart, operation.return_part, TRANSACTION_BYTES_MAX).client
    return codec.decode(SendPart, operation.send_part, TRANSACTION_BYTES_MAX).client


def _untouched(chain: VerifiedChain, readings: Sequence[Reading]) -> dict[str, PartRecord]:
    """Containers that arrived inside others and have no record here yet, by the place of amounts in them."""
    found: dict[str, PartRecord] = {}
    for reading in readings:
        packet = carried(reading.operation)
        if packet is None or reading.entry.kind != EntryKind.ARRIVED:
            continue
        around, contents = packet.transfer.part, packet.transfer.contents
        client = chain.record(state.client_key(packet.packet.destination_client), ClientRecord)
        key = arrival_key(b"" if client is None else client.chain_id, around, contents.generation)
        arrival = chain.record(key, ArrivalRecord)
        for row in contents.manifest if arrival is not None else ():
            inside = PartRecord(id=row.place, status=PartStatus.LIVE, container=around)
            inside.generation = 0 if arrival is None else arrival.generation
            found[f"{STAGED}{row.place}"] = inside
    return found


def _amount(chain: VerifiedChain, record: BalanceRecord, untouched: Mapping[str, PartRecord]) -> Amount:
    """Whose it is by the place it lies at."""
    found = Amount(record.lot, record.unit, record.amount, record.place, record.place, "", "LIVE")
    sender, offered, receiver = record.place.partition(">")
    if "#" in record.place and not offered:
        found.holder, found.status = "", "IN_TRANSIT"
        return found
    if offered:
        found.holder, found.offered_to, found.status = sender, receiver, "OFFERED"
        return found
    container = untouched.get(record.place) or chain.record(state.part_key(record.place), PartRecord)
    if container is not None:
        found.inside = container.container if record.place in untouched else container.id
        status, found.holder, _ = present_status(chain, container)
        found.status, found.offered_to = name_of(PartStatus, status), container.offered_to
    return found


# ---- the sum -------------------------------------------------------------------------------------------------


def _of(lot: str, view: EventView | None) -> list[Quantity]:
    if view is None:
        return []
    lists = (view.quantities, view.child_quantities, view.input_quantities, view.output_quantities)
    return [quantity for one in lists for quantity in one if quantity.of.text == lot]


def _account(chain: VerifiedChain, lot: LotRecord, readings: Sequence[Reading], found: Spread) -> None:
    """As much was made as lies somewhere now, was consumed or destroyed, exactly and by unit; else a place is missing."""
    back = undone(chain, ((r.view, r.operation, r.step.member) for r in readings))
    left: dict[str, Decimal] = {}
    counted: set[bytes] = set()
    for reading in readings:
        view = reading.view
        if view is None or reading.entry.kind not in _HAPPENED or view.error_declaration is not None:
            continue
        if reading.entry.digest in back or reading.entry.digest in counted:
            continue  # what an event moves it moves once
        counted.add(reading.entry.digest)
        making = view.type == "ObjectEvent" and view.action == "ADD"
        ending = view.type == "ObjectEvent" and (
            view.action == "DELETE" or view.biz_step in ("destroying", "decommissioning")
        )
        came = [
            q for q in (*view.output_quantities, *(view.quantities if making else ())) if q.of.text == lot.id
        ]
        went = [
            q for q in (*view.input_quantities, *(view.quantities if ending else ())) if q.of.text == lot.id
        ]
        if came:
            found.makings.add(reading.entry.digest)
        for sign, quantities in ((decimals.add, came), (decimals.subtract, went)):
            for quantity in quantities:
                amount = quantity.amount or Decimal()
                left[quantity.unit] = sign(left.get(quantity.unit, Decimal()), amount)
    for lies in found.amounts:
        left[lies.unit] = decimals.subtract(left.get(lies.unit, Decimal()), lies.amount)
    if lot.adopted:
        found.gap = f"lot {lot.id} was adopted: how much of it there was before is on no ledger"
        return
    if found.makings and lot.origin_chain != chain.trust.chain_id:
        found.gap = f"lot {lot.id} was made here, and its record names another chain as origin"
    if lot.origin_chain != chain.trust.chain_id:
        # What was made elsewhere is what its home says went here (reach.py compares the two).
        found.brought = {unit: decimals.subtract(Decimal(), amount) for unit, amount in left.items()}
        return
    for chain_id in lot.gone_to:
        for unit, amount in left.items():
            there = chain.record(abroad_key(lot.id, chain_id, unit), AbroadRecord)
            if there is not None:
                found.abroad.setdefault(chain_id, {})[unit] = there.amount
                left[unit] = decimals.subtract(amount, there.amount)
    wrong = {unit: amount for unit, amount in left.items() if decimals.sign(amount) != 0}
    if wrong:
        told = ", ".join(f"{decimals.to_text(amount)} {unit or 'pieces'}" for unit, amount in wrong.items())
        found.gap = f"of lot {lot.id}, {told} are at no place that its history names"
