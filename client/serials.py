"""Serials of lots in an audit: what holds a serial that has no record of its own, and the history before its carving.

What is read of the chain is read with the ledger's own rules (ledger/intervals.py, ledger/ranges.py), each key of it
proven: so a serial is found in its lot, its interval is the one that covers it, and no other range has it.
"""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from client.histories import ProvenEntry
from client.verified import NotVerifiable, VerifiedChain
from ledger import state
from ledger.errors import Refused
from ledger.identifiers import Identifier, canonical, interval_text
from ledger.intervals import covering, is_interval, piece_of, pieces, untouched
from ledger.ranges import bare_serial, find_range
from ledger.roots import check_membership, check_path
from proto.chiptrace.v1.ledger_pb2 import LotRecord, Membership, PartRecord, PartStatus, Reason

CARVINGS_MAX = 10_000  # on the way of one serial
PIECES_MAX = 10_000  # of one interval

Histories = list[tuple[str, list[ProvenEntry]]]  # whose entries these are, and the entries


def find_part(
    chain: VerifiedChain, name: str, shown: Mapping[str, Membership] = MappingProxyType({})
) -> PartRecord | None:
    """The proven record of a part or an interval; else, of serials, what the interval they lie in says of them.

    shown: by serial, where in the list behind a lot's root it is. None where the chain proves that there is neither.
    Raises NotVerifiable for serials of several intervals, and for a proof that shows nothing.
    """
    record = chain.record(state.part_key(name), PartRecord)
    if record is not None:
        return record
    try:
        if name in shown:
            return _in_list(chain, canonical(name), shown[name])
        return untouched(chain, canonical(name))
    except Refused as error:
        if error.reason in (Reason.UNKNOWN_LOT, Reason.SERIALS_INVALID):
            return None
        raise NotVerifiable(f"chain {chain.trust.name}: {error}", error.reason) from error


def _in_list(chain: VerifiedChain, serial: Identifier, membership: Membership) -> PartRecord | None:
    """What is true of a serial that nobody touched, whose place in the list behind a root is shown."""
    lot = chain.record(state.lot_key(membership.lot), LotRecord)
    if lot is None:
        return None
    check_membership(lot, serial, membership)
    held = covering(chain, lot, membership.place)
    return piece_of(held, serial.text, membership.place, membership.place + 1)


def histories(chain: VerifiedChain, record: PartRecord) -> Histories:
    """The complete history of what a record stands for, oldest first: of each interval it was carved from, the
    entries up to the carving, and then its own. Raises NotVerifiable."""
    found = _own(chain, record)
    if not record.carved_from:
        return found
    # What has no record of its own lies in an interval that is still there.
    carved = chain.record(state.part_key(record.id), PartRecord) is not None
    for _ in range(CARVINGS_MAX):
        if not record.carved_from:
            return found
        origin = chain.record(state.part_key(record.carved_from), PartRecord)
        # (1) It was carved out of an interval of the same lot that it lies in, and that is no more,
        within = origin is not None and origin.start <= record.start < record.end <= origin.end
        ended = origin is not None and (origin.status == PartStatus.SPLIT or not carved)
        if origin is None or not within or not ended or origin.lot != record.lot:
            raise _broken(chain, f"{record.id} was not carved out of {record.carved_from}, which it names")
        # (2) in whose history nothing was entered afterwards: all of it is the beginning of this one.
        if origin.history.n != record.carved_n:
            raise _broken(chain, f"{origin.id} goes on after {record.id} was carved out of it")
        found = _own(chain, origin) + found
        record, carved = origin, True
    raise _broken(chain, f"{record.id} was carved out of more than {CARVINGS_MAX} intervals")


def _own(chain: VerifiedChain, record: PartRecord) -> Histories:
    if not record.history.n:
        return []
    return [(record.id, chain.history(state.part_key(record.id), record.history))]


def tells_of(record: PartRecord, serial: Identifier, shown: Membership | None = None) -> bool:
    """Whether an interval's record alone says that a serial is in it: one proof, of that record, tells whose it is.

    shown: of a root, where in its list the serial is. Of a list, whose serials stand in rows of the class, it cannot.
    """
    serials = record.serials
    if (
        not is_interval(record)
        or serial.scheme != "sgtin"
        or serial.class_text != canonical(record.lot).class_text
    ):
        return False
    if serials.root:
        try:
            check_path(record.origin_chain, serials, serial, shown or Membership())
        except Refused:
            return False
        return shown is not None and record.start <= shown.place < record.end
    bare = bare_serial(serial)
    digits = bare.removeprefix(serials.prefix)
    if (
        not serials.width
        or bare != serials.prefix + digits
        or len(digits) != serials.width
        or not digits.isdecimal()
    ):
        return False
    return record.start <= int(digits) - serials.first < record.end


def covers(chain: VerifiedChain, interval: str, name: str) -> bool:
    """Whether what has this name lies in an interval of a lot, whole."""
    places, record = canonical(interval).interval, chain.record(state.part_key(name), PartRecord)
    if places is None or record is None or record.lot != canonical(interval).lot_text:
        return False
    return places[0] <= record.start < record.end <= places[1]


def recorded_as(chain: VerifiedChain, like: PartRecord) -> list[PartRecord]:
    """The records in which a chain has what a record of another one stands for: that of its name, or those in which its
    serials lie there."""
    own = chain.record(state.part_key(like.id), PartRecord)
    if own is not None and own.status != PartStatus.SPLIT:
        return [own]
    lot = chain.record(state.lot_key(like.lot), LotRecord) if like.lot else None
    return [] if lot is None else pieces(chain, lot, like.start, like.end, PIECES_MAX)


def membership(chain: VerifiedChain, record: PartRecord, shown: Iterable[Membership]) -> str:
    """Why a record's lot does not hold it at the place it names; empty where it does, and for what is of no lot.

    shown: what the operations behind its own entries show of lists.
    """
    if not record.lot:
        return ""
    lot = chain.record(state.lot_key(record.lot), LotRecord)
    if lot is None or not record.start < record.end <= lot.serials.count:
        return f"lot {record.lot} has no serials {record.start} to {record.end}"
    if is_interval(record):
        return ""
    if lot.origin_chain != chain.trust.chain_id and not lot.serials.width:
        return ""  # which serials these are, the chain on which the lot began tells
    if lot.serials.root:
        if any(_shows(lot, record, one) for one in shown):
            return ""
        return f"nothing shows that it is serial {record.start} in the list of {record.lot}"
    found = find_range(chain, canonical(record.id))
    return "" if found == (record.lot, record.start) else f"among the serials of its class it is of {found}"


def _shows(lot: LotRecord, record: PartRecord, membership: Membership) -> bool:
    if (membership.lot, membership.place) != (record.lot, record.start):
        return False
    try:
        check_membership(lot, canonical(record.id), membership)
    except Refused:
        return False
    return True


def of_its_lot(
    chain: VerifiedChain, record: PartRecord, shown: Iterable[Membership]
) -> Iterator[tuple[str, str]]:
    """What an audit finds of a record that is of a lot, as (code, why): that it is not, or maybe of another one too."""
    if why := membership(chain, record, shown):
        yield "CONTRADICTION", why
        return
    lot = chain.record(state.lot_key(record.lot), LotRecord)
    untouched_serial = chain.record(state.part_key(record.id), PartRecord) is None and not is_interval(record)
    if lot is not None and lot.serials.root and untouched_serial:
        bounds = f"from {lot.serials.lowest} to {lot.serials.highest}"
        yield (
            "EXCLUSIVITY_NOT_PROVEN",
            f"nobody touched it, and of the lists of other lots, as of its own ({bounds}), the chain knows no serials",
        )


# ---- in containers ------------------------------------------------------------------------------------------


def take_out(chain: VerifiedChain, inside: dict[str, str], name: str) -> None:
    """Takes a name out of what is inside a container; serials that went in with an interval leave the rest of it."""
    if inside.pop(name, None) is not None:
        return
    record = chain.record(state.part_key(name), PartRecord)
    interval = canonical(name).interval
    if interval is not None:
        lot, (start, end) = canonical(name).lot_text, interval
    elif record is not None and record.lot:
        lot, start, end = record.lot, record.start, record.end
    else:
        return
    for other, relation in list(inside.items()):
        low, high = canonical(other).interval or (0, 0)
        if canonical(other).lot_text == lot and low <= start and end <= high:
            del inside[other]
            for left, right in ((low, start), (end, high)):
                if left < right:
                    inside[interval_text(lot, left, right)] = relation


def as_recorded(chain: VerifiedChain, inside: Mapping[str, str]) -> dict[str, str]:
    """The same things by the records that stand for them now: an interval may have been carved since."""
    found: dict[str, str] = {}
    for name, relation in inside.items():
        interval = canonical(name).interval
        lot = chain.record(state.lot_key(canonical(name).lot_text), LotRecord) if interval else None
        if interval is None or lot is None:
            found[name] = relation
            continue
        for piece in pieces(chain, lot, *interval, PIECES_MAX):
            found[piece.id] = relation
    return found


def _broken(chain: VerifiedChain, why: str) -> NotVerifiable:
    return NotVerifiable(f"chain {chain.trust.name}: {why}", Reason.BAD_PROOF)
