"""Amounts of lots over chains: what leaves one balance arrives in another, and the sum over all chains stays.

    by itself          taken from the sender's balance to one of the packet's own, `client#sequence`, until it is
                       answered; there it waits for the receiver (ledger/inbound.py)
    in a container     stays where it lies until the packet is answered, which nobody can reach meanwhile; there it lies
                       in the container, or at `@container` for one further in, until that becomes a record. One arrival
                       has it there at a time, and leaves with it: what another chain names as the place may be ours

A lot comes from its home or goes to it. Its home counts what each chain has of it (AbroadRecord) and takes no more
back, so that a chain whose validators turned corrupt cannot send more of a lot than went there.
"""

from collections.abc import Iterable
from typing import Final

from bridge.contents import is_amount
from bridge.packet import packet_commitment
from bridge.senders import check_home
from ledger import custody, decimals, state
from ledger.containers import export_of, standing
from ledger.context import Context
from ledger.errors import InvariantBroken, Refused
from ledger.history import history_root
from ledger.lots import amount_at, put_amount, take_amount
from ledger.state import Kind, Overlay, Reader, state_key
from proto.chiptrace.v1.bridge_pb2 import AbroadRecord, ClientRecord, ContainedAmount, Contents, Packet
from proto.chiptrace.v1.ledger_pb2 import (
    Decimal,
    EntryKind,
    LotRecord,
    ManifestRow,
    PartRecord,
    PartStatus,
    Reason,
)

# No member id and no canonical identifier begins so.
_STAGED: Final = "@"


def abroad_key(lot: str, chain_id: bytes, unit: str, *member: str) -> bytes:
    """Key of the AbroadRecord: how much of a lot in one unit a chain may send back; to a member as a return."""
    return state_key(Kind.ABROAD, lot, chain_id, unit, *member)


def transit_place(packet: Packet) -> str:
    """Where an amount is while a packet carries it; no member id or canonical identifier has this form."""
    return f"{packet.source_client}#{packet.sequence}"


def load_lot(ctx: Context, lot: str, destination: bytes) -> LotRecord:
    """A lot of amounts that may go to a chain, and notes that it did. Raises Refused: UNKNOWN_LOT, QUANTITY_INVALID, NOT_FROM_HOME."""
    record = state.load(ctx.overlay, state.lot_key(lot), LotRecord)
    if record is None:
        raise Refused(f"lot {lot} has no record on this chain", Reason.UNKNOWN_LOT)
    if record.serials.count:
        raise Refused(
            f"{lot} is a lot of serials; name which, as {lot}?interval=i-j", Reason.QUANTITY_INVALID
        )
    if record.origin_chain not in (ctx.chain_id, destination):
        raise Refused(
            f"{lot} is at home on chain {record.origin_chain.hex()}; from here it can be sent only there",
            Reason.NOT_FROM_HOME,
        )
    if destination not in record.gone_to:
        record.gone_to.append(destination)
    return record


def enter_lots(
    ctx: Context, records: Iterable[LotRecord], kind: "EntryKind.ValueType", packet: Packet
) -> None:
    """One entry for each lot, with the packet's commitment, by which an audit links the chains' histories."""
    commitment = packet_commitment(packet)  # of up to 256 KiB, and of up to 1,024 lots: hashed once
    for record in records:
        ctx.enter(state.lot_key(record.id), record.history, kind, commitment)
        state.save(ctx.overlay, state.lot_key(record.id), record)


# ---- what another chain may send back ---------------------------------------------------------------------------


def went(
    ctx: Context, record: LotRecord, chain_id: bytes, unit: str, amount: Decimal, member: str = ""
) -> None:
    """Counts what another chain took; `member`: who sent it, where it could be returned to her."""
    if record.origin_chain == ctx.chain_id:
        _count(ctx.overlay, abroad_key(record.id, chain_id, unit), amount)
    if member:
        _count(ctx.overlay, abroad_key(record.id, chain_id, unit, member), amount)


def _count(overlay: Overlay, key: bytes, amount: Decimal) -> None:
    record = state.load(overlay, key, AbroadRecord) or AbroadRecord()
    try:
        total = decimals.add(record.amount, amount)
    except Refused:
        # Too far apart for one number, which other members may have brought about: it is there all the same, and its answer
        # does not wait for ever. What is not counted does not come back.
        return
    state.save(overlay, key, AbroadRecord(amount=total))


def came(
    ctx: Context, record: LotRecord, chain_id: bytes, unit: str, amount: Decimal, member: str = ""
) -> None:
    """Counts what another chain sends, to a member as a return if one is named. Raises Refused(MORE_THAN_LEFT)."""
    if record.origin_chain == ctx.chain_id:
        _discount(ctx.overlay, abroad_key(record.id, chain_id, unit), record.id, amount)
    if member:
        _discount(ctx.overlay, abroad_key(record.id, chain_id, unit, member), record.id, amount)


def _discount(overlay: Overlay, key: bytes, lot: str, amount: Decimal) -> None:
    record = state.load(overlay, key, AbroadRecord) or AbroadRecord()
    if decimals.compare(amount, record.amount) > 0:
        raise Refused(
            f"{decimals.to_text(amount)} of {lot} come back, and only {decimals.to_text(record.amount)} went there",
            Reason.MORE_THAN_LEFT,
        )
    left = decimals.subtract(record.amount, amount)
    if left.coefficient:
        state.save(overlay, key, AbroadRecord(amount=left))
    else:
        overlay.delete(key)


def arriving_lot(
    ctx: Context, client: ClientRecord, lot: str, origin: bytes, adopted: bool, commissioner: str
) -> LotRecord:
    """The record of a lot of which a chain sends some: as it stands here, or new from its home.

    Raises Refused: NOT_FROM_HOME, PACKET_MISMATCH, QUANTITY_INVALID.
    """
    record = state.load(ctx.overlay, state.lot_key(lot), LotRecord)
    if record is None:
        check_home(ctx, client, lot, origin)
        return LotRecord(id=lot, origin_chain=origin, adopted=adopted, commissioner=commissioner)
    if record.serials.count:
        raise Refused(f"{lot} is a lot of serials here", Reason.QUANTITY_INVALID)
    if record.origin_chain != origin:
        raise Refused(f"{lot} is known here with another origin", Reason.PACKET_MISMATCH)
    if origin not in (ctx.chain_id, client.chain_id):
        raise Refused(
            f"{lot} is at home on chain {origin.hex()}, not where it comes from", Reason.NOT_FROM_HOME
        )
    if origin == client.chain_id:
        record.adopted, record.commissioner = adopted, commissioner
    return record


# ---- in containers --------------------------------------------------------------------------------------------------


def describe_contained(
    ctx: Context, contents: Contents, container: str, destination: bytes
) -> list[LotRecord]:
    """Puts into `contents` how much each row of an amount stands for; returns the lots, each once.

    The filling was closed by EXPORT before.
    """
    lots: dict[str, LotRecord] = {}
    for row in _amount_rows(contents):
        if row.lot not in lots:
            lots[row.lot] = load_lot(ctx, row.lot, destination)
        record = lots[row.lot]
        place = _place_in(ctx.overlay, row, container, contents.generation)
        amount = amount_at(ctx.overlay, row.lot, place, row.unit)
        item = ContainedAmount(
            amount=amount,
            origin_chain=record.origin_chain,
            adopted=record.adopted,
            commissioner=record.commissioner,
            history_root=history_root(record.history),
            history_n=record.history.n,
        )
        contents.amounts.append(item)
    return list(lots.values())


def contained_answered(
    ctx: Context, client: ClientRecord, packet: Packet, contents: Contents, container: str, success: bool
) -> None:
    """What lay in a container is gone with it, or never went."""
    lots: dict[str, LotRecord] = {}
    for row, item in zip(_amount_rows(contents), contents.amounts, strict=True):
        record = lots.get(row.lot) or state.load(ctx.overlay, state.lot_key(row.lot), LotRecord)
        if record is None:
            raise InvariantBroken(f"lot {row.lot} was sent and has no record")
        lots[row.lot] = record
        if success:
            _take(ctx, row, container, contents.generation, item.amount)
            went(ctx, record, client.chain_id, row.unit, item.amount)
    kind = EntryKind.DEPARTED_FOR_GOOD if success else EntryKind.RETURNED
    enter_lots(ctx, lots.values(), kind, packet)


def _place_in(reader: Reader, row: ManifestRow, container: str, generation: int) -> str:
    """Where the amount of a row of an exported filling lies: in what the row names, if that is known to be in this filling;
    else where it waits for that to become a record. What bears the name and is elsewhere is not the row's."""
    if row.place == container:
        return container
    inner = custody.load_part(reader, row.place)
    left = None if inner is None else export_of(reader, inner)
    inside = left is not None and (left.container, left.generation) == (container, generation)
    return row.place if inside else _STAGED + row.place


def _take(ctx: Context, row: ManifestRow, container: str, generation: int, amount: Decimal) -> None:
    """From where it lies by now, and what is missing there from where it waited: what it lies in may have become a record
    meanwhile, also as one that has nothing of it."""
    place = _place_in(ctx.overlay, row, container, generation)
    there = amount_at(ctx.overlay, row.lot, place, row.unit)
    first = there if decimals.compare(there, amount) < 0 else amount
    for where, part in ((place, first), (_STAGED + row.place, decimals.subtract(amount, first))):
        if part.coefficient:
            take_amount(ctx.overlay, row.lot, where, row.unit, part)


def contained_arrived(
    ctx: Context, client: ClientRecord, packet: Packet, contents: Contents, container: str
) -> None:
    """Puts what a container brings where it lies. Raises Refused as `arriving_lot` and `came`, and CONTENTS_INVALID."""
    lots: dict[str, LotRecord] = {}
    for row, item in zip(_amount_rows(contents), contents.amounts, strict=True):
        if row.lot not in lots:
            lots[row.lot] = arriving_lot(
                ctx, client, row.lot, item.origin_chain, item.adopted, item.commissioner
            )
        record = lots[row.lot]
        came(ctx, record, client.chain_id, row.unit, item.amount)
        place = row.place if row.place == container else _STAGED + row.place
        if place != container and amount_at(ctx.overlay, row.lot, place, row.unit).coefficient:
            # Two fillings would each take all that waits there.
            raise Refused(
                f"{container} is said to hold some of {row.lot} in {row.place}, of which some arrived already in another "
                "container that is here; it can come once that has left, or been opened up",
                Reason.CONTENTS_INVALID,
            )
        put_amount(ctx.overlay, row.lot, place, row.unit, item.amount)
    enter_lots(ctx, lots.values(), EntryKind.ARRIVED, packet)


def place_contained(ctx: Context, container: PartRecord, contents: Contents) -> None:
    """What arrived inside a container that now becomes a record lies in it; where that has left again, it left too, and
    what waits under the name came with something later."""
    if standing(ctx.overlay, container).status == PartStatus.DEPARTED:
        return
    for row in _amount_rows(contents):
        if row.place == container.id:
            amount = amount_at(ctx.overlay, row.lot, _STAGED + row.place, row.unit)
            if amount.coefficient:
                take_amount(ctx.overlay, row.lot, _STAGED + row.place, row.unit, amount)
                put_amount(ctx.overlay, row.lot, row.place, row.unit, amount)


def _amount_rows(contents: Contents) -> list[ManifestRow]:
    return [row for row in contents.manifest if is_amount(row)]
