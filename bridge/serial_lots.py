"""Serials of lots over chains: an interval, or a serial with a record of its own, with the lot it is of.

What crosses is one record. On the chain that has never seen the lot, the lot gets a record with what its serials are,
and holds only the intervals that came. An interval that arrives lies inside one record here, which left and is carved
where it comes back, or touches none; anything else is refused, and records are never put together.
"""

from dataclasses import dataclass

from ledger import custody, state
from ledger.containers import normalise
from ledger.context import Context
from ledger.errors import Refused
from ledger.event_values import GivenSerials
from ledger.identifiers import canonical, interval_text
from ledger.intervals import (
    add_piece,
    is_interval,
    last_below,
    piece_of,
    repeat_serials,
    serial_text,
    split_off,
    untouched,
)
from ledger.ranges import LISTED_MAX, WIDTH_MAX, add_range, find_range, note_single
from ledger.roots import check_membership, read_serials
from proto.chiptrace.v1.bridge_pb2 import CustodyTransfer
from proto.chiptrace.v1.ledger_pb2 import (
    EntryKind,
    LotRecord,
    Membership,
    PartRecord,
    PartStatus,
    Reason,
    Serials,
)


@dataclass(frozen=True, slots=True)
class Place:
    """Which serials of which lot something is, as another chain says."""

    lot: str
    start: int
    end: int
    serials: Serials
    shown: Membership | None = None  # of a serial of a root: where in the list it is


# ---- leaving ------------------------------------------------------------------------------------------------


def take_out(ctx: Context, name: str) -> PartRecord:
    """The record of what the signer's member sends, carved out of the interval it lies in if need be.

    Raises Refused as `custody.possess_whole` and `untouched`.
    """
    record = custody.load_part(ctx.overlay, name)
    if record is not None and record.status != PartStatus.SPLIT:
        return custody.possess_whole(ctx, name)
    piece = untouched(ctx.overlay, canonical(name))
    if piece is None:
        return custody.require_part(ctx.overlay, name)
    custody.check_free(ctx, normalise(ctx.overlay, piece))
    _carve(ctx, piece)
    return piece


def describe(
    ctx: Context, part: PartRecord, destination: bytes, transfer: CustodyTransfer, shown: Membership | None
) -> None:
    """Says in a transfer which serials of which lot the part is, and in the lot's record where some of it went.

    shown: where in the list behind a root it is. Raises Refused(MEMBERSHIP_INVALID) where that has to be shown.
    """
    if not part.lot:
        return
    lot = _load_lot(ctx, part.lot)
    if lot.serials.root and not is_interval(part) and part.carved_from and lot.origin_chain != ctx.chain_id:
        # The lot's own chain has no record of a serial that was first touched here.
        check_shown(lot, part.id, part.start, shown)
    if shown is not None:
        transfer.membership.CopyFrom(shown)
    transfer.lot, transfer.start, transfer.end = part.lot, part.start, part.end
    transfer.serials.CopyFrom(lot.serials)
    if destination not in lot.gone_to:
        lot.gone_to.append(destination)
        state.save(ctx.overlay, state.lot_key(lot.id), lot)


# ---- arriving -----------------------------------------------------------------------------------------------


def check_place(name: str, place: Place) -> None:
    """Returns only if a part can be what is said of its lot. Raises Refused: SERIALS_INVALID, IDENTIFIER_INVALID."""
    lot = canonical(place.lot)
    if lot.text != place.lot or not 0 <= place.start < place.end <= place.serials.count:
        raise _invalid(name, place)
    # (1) Serials that a commissioning can give a lot.
    if _given(place) != place.serials:
        raise _invalid(name, place)
    # (2) An interval by its name; one serial of the lot's class, and of a range the one at that place.
    identifier = canonical(name)
    if identifier.interval is not None:
        fits = name == interval_text(place.lot, place.start, place.end)
    else:
        fits = place.end == place.start + 1 and identifier.class_text == place.serials.item_class
        fits = fits and (not place.serials.width or name == serial_text(place.serials, place.start))
    if not fits:
        raise _invalid(name, place)


def _given(place: Place) -> Serials:
    """What a lot's serials would be if it were commissioned so."""
    lot, serials = canonical(place.lot), place.serials
    if serials.root:
        given = GivenSerials(root=serials.root, lowest=serials.lowest, highest=serials.highest)
    elif serials.width > WIDTH_MAX:
        raise _invalid(place.lot, place)  # before numbers of that many digits are written out
    elif serials.width:
        last = serials.first + serials.count - 1
        first_text, last_text = (
            serials.prefix + str(number).zfill(serials.width) for number in (serials.first, last)
        )
        given = GivenSerials(first=first_text, last=last_text)
    elif serials.count <= LISTED_MAX:
        # Which ones they are, only the chain on which the lot began can tell.
        return Serials(item_class=lot.class_text, count=serials.count)
    else:
        raise _invalid(place.lot, place)
    return read_serials(lot, given, serials.count)


def _invalid(name: str, place: Place) -> Refused:
    return Refused(
        f"{name[:80]!r} cannot be serials {place.start} to {place.end} of {place.lot[:80]!r}",
        Reason.SERIALS_INVALID,
    )


def find_here(ctx: Context, teller: bytes, name: str, place: Place) -> PartRecord | None:
    """What is known here of serials that a chain tells of: their own record, or that of the interval they lie in in
    their name.

    Raises Refused: PACKET_MISMATCH for another lot under that name, MEMBERSHIP_INVALID, INTERVAL_SPLIT.
    """
    record = custody.load_part(ctx.overlay, name)
    if record is not None and record.status != PartStatus.SPLIT:
        if (record.lot, record.start, record.end) != (place.lot, place.start, place.end):
            raise Refused(f"{name} is known here as something else", Reason.PACKET_MISMATCH)
        return record
    lot = state.load(ctx.overlay, state.lot_key(place.lot), LotRecord)
    if lot is None:
        return None
    if lot.serials != place.serials:
        raise Refused(f"{place.lot} is known here with other serials", Reason.PACKET_MISMATCH)
    _check_serial(ctx, teller, lot, name, place)
    held = last_below(ctx.overlay, lot, place.end)
    if held is None or held.end <= place.start:
        return None
    if held.start > place.start or held.end < place.end or not is_interval(held):
        raise Refused(
            f"{name} does not lie within one record here: there is {held.id}; send it back piece by piece",
            Reason.INTERVAL_SPLIT,
        )
    return piece_of(held, name, place.start, place.end)


def _check_serial(ctx: Context, teller: bytes, lot: LotRecord, name: str, place: Place) -> None:
    """Returns only if a serial without a record here is the one at its place, as far as this chain can know it: else
    another chain could give any serial of the class a second body.

    Raises Refused: MEMBERSHIP_INVALID, PACKET_MISMATCH.
    """
    identifier = canonical(name)
    if identifier.interval is not None:
        return
    found = find_range(ctx.overlay, identifier)
    if lot.serials.root:
        check_shown(lot, name, place.start, place.shown)
        if found is not None:
            raise Refused(f"{name} is a serial of {found[0]} here", Reason.PACKET_MISMATCH)
    elif lot.origin_chain == ctx.chain_id and found != (lot.id, place.start):
        raise Refused(f"{name} is not serial {place.start} of {lot.id}", Reason.PACKET_MISMATCH)
    elif not lot.serials.width and lot.origin_chain not in (ctx.chain_id, teller):
        # A chain that some of the list went on to could name as one of its serials what is elsewhere.
        raise Refused(
            f"which serial of {lot.id} {name} is, only the chain can tell on which the lot began",
            Reason.PACKET_MISMATCH,
        )


def check_shown(lot: LotRecord, name: str, start: int, shown: Membership | None) -> None:
    """Returns only if a serial is shown at its place of a root's list; else Refused(MEMBERSHIP_INVALID)."""
    if shown is None or (shown.serial, shown.lot, shown.place) != (name, lot.id, start):
        raise Refused(
            f"{name} is serial {start} in the list of {lot.id}, which has to be shown: it was first touched where its lot "
            "did not begin",
            Reason.MEMBERSHIP_INVALID,
        )
    check_membership(lot, canonical(name), shown)


def settle(ctx: Context, part: PartRecord, place: Place, known: bool, digest: bytes) -> None:
    """Puts what arrives where it belongs in its lot, which begins here if it must; the caller saves the part.

    known: there was a record of it, or of the interval it lies in. digest: of the lot's first entry here.
    Raises Refused(SERIALS_OVERLAP).
    """
    if known:
        record = custody.load_part(ctx.overlay, part.id)
        if record is None or record.status == PartStatus.SPLIT:
            _carve(ctx, part)
            _note(ctx, part)
        return
    lot = state.load(ctx.overlay, state.lot_key(place.lot), LotRecord)
    if lot is None:
        # (1) The lot, and of a range that nothing else has its serials.
        lot = LotRecord(
            id=place.lot,
            origin_chain=part.origin_chain,
            commissioner=part.commissioner,
            serials=place.serials,
        )
        if lot.serials.width:
            add_range(ctx.overlay, lot.id, lot.serials, begins=False)
        ctx.enter(state.lot_key(lot.id), lot.history, EntryKind.ARRIVED, digest)
        state.save(ctx.overlay, state.lot_key(lot.id), lot)
    # (2) The piece, which touches no other.
    part.lot, part.start, part.end = place.lot, place.start, place.end
    if is_interval(part):
        repeat_serials(part, lot)
    _note(ctx, part)
    add_piece(ctx.overlay, lot, part)


def _note(ctx: Context, part: PartRecord) -> None:
    """Notes a serial that gets a record of its own, and that no run of its lot says is there. Raises Refused(SERIALS_OVERLAP)."""
    identifier = canonical(part.id)
    if not is_interval(part) and find_range(ctx.overlay, identifier) != (part.lot, part.start):
        note_single(ctx.overlay, identifier, begins=part.origin_chain == ctx.chain_id)


def _carve(ctx: Context, piece: PartRecord) -> None:
    lot = _load_lot(ctx, piece.lot)
    held = last_below(ctx.overlay, lot, piece.end)
    if held is None:
        raise Refused(f"{piece.id} has no record on this chain", Reason.UNKNOWN_PART)
    if held.id != piece.id:
        split_off(ctx.overlay, lot, held, piece)


def _load_lot(ctx: Context, name: str) -> LotRecord:
    lot = state.load(ctx.overlay, state.lot_key(name), LotRecord)
    if lot is None:
        raise Refused(f"lot {name} has no record on this chain", Reason.UNKNOWN_LOT)
    return lot
