"""Who holds a part, and so may act on it: only its possessor, only while it is live and here.

Possession is a fact of the outermost container. Acting on a part itself (packing, shipping, consuming,
destroying it) needs it free-standing; naming it in an observation does not.
"""

from ledger import state
from ledger.containers import normalise, standing
from ledger.context import Context
from ledger.errors import Refused
from ledger.grants import holds_grant, require_grant
from ledger.identifiers import Identifier
from ledger.intervals import find_piece
from ledger.ranges import note_single
from ledger.recording import Recording
from ledger.state import Overlay, Reader
from proto.chiptrace.v1.ledger_pb2 import PartRecord, PartStatus, Reason

_FROZEN = (PartStatus.IN_TRANSIT, PartStatus.DEPARTED)


def load_part(reader: Reader, part: str) -> PartRecord | None:
    """The record of a part by canonical id, up to date with the closing of its container, or None."""
    return _load_at(reader, state.part_key(part))


def _load_at(reader: Reader, key: bytes) -> PartRecord | None:
    record = state.load(reader, key, PartRecord)
    # Most parts lie in nothing.
    return record if record is None or not record.container else normalise(reader, record)


def save_part(overlay: Overlay, record: PartRecord) -> None:
    """Writes the record of a part."""
    state.save(overlay, state.part_key(record.id), record)


def require_part(reader: Reader, part: str) -> PartRecord:
    """The record of a part, as `load_part`. Raises Refused(UNKNOWN_PART)."""
    record = load_part(reader, part)
    if record is None:
        raise _unknown(part)
    return record


def _unknown(part: str) -> Refused:
    return Refused(
        f"{part} was never commissioned on this chain; its grant's holder commissions it, or it is sent here; what came "
        "inside a container is made known by `chiptrace materialise`",
        Reason.UNKNOWN_PART,
    )


def is_frozen(reader: Reader, record: PartRecord) -> bool:
    """Whether a part is on its way to or on another chain, also inside a container: then nothing at all is
    entered in its history here."""
    return standing(reader, record).status in _FROZEN


# ---- possession ---------------------------------------------------------------------------------------------


def check_possession(context: Context, record: PartRecord) -> None:
    """Returns only for a part that is live and that the signer's member has, inside whatever it is.

    Raises Refused: NOT_LIVE, NOT_IN_CUSTODY.
    """
    if _is_free_with(context.member, record):
        return
    where = standing(context.overlay, record)
    if where.status != PartStatus.LIVE:
        place = f" with {where.outermost}" if where.outermost not in ("", record.id) else ""
        raise Refused(
            f"{record.id} is {PartStatus.Name(where.status)}{place}; nothing happens to it in that state",
            Reason.NOT_LIVE,
        )
    if where.holder != context.member:
        raise Refused(
            f"{record.id} is in custody of member {where.holder}, not of {context.member}; "
            "custody moves by shipping and receiving",
            Reason.NOT_IN_CUSTODY,
        )


def _is_free_with(member: str, record: PartRecord) -> bool:
    """Whether a part is live in a member's hands and inside nothing, as most are: its own record says all of it."""
    return not record.container and record.status == PartStatus.LIVE and record.holder == member


def check_free(
    context: Context, record: PartRecord, inside: "Reason.ValueType" = Reason.INSIDE_CONTAINER
) -> None:
    """Returns only for a part that the signer's member has, live and free-standing, whatever is inside it.

    Raises Refused: NOT_LIVE, NOT_IN_CUSTODY, `inside`.
    """
    if _is_free_with(context.member, record):
        return
    check_possession(context, record)
    if record.container:
        raise Refused(
            f"{record.id} is inside {record.container} (generation {record.generation}); take it out first",
            inside,
        )


def possess_whole(context: Context, part: str) -> PartRecord:
    """The record of a part that the signer's member may move, with all its contents.

    Raises Refused: UNKNOWN_PART, NOT_LIVE, NOT_IN_CUSTODY, INSIDE_CONTAINER.
    """
    record = require_part(context.overlay, part)
    check_free(context, record)
    return record


def possess(context: Context, part: str) -> PartRecord:
    """The record of a part that the signer's member may move, with nothing inside it.

    Raises Refused as `possess_whole`, and NOT_FREE_STANDING for a part with contents.
    """
    record = possess_whole(context, part)
    check_empty(record)
    return record


def check_empty(record: PartRecord) -> None:
    """Returns only for a part with nothing packed or installed in it; else Refused(NOT_FREE_STANDING)."""
    if record.open:
        raise Refused(
            f"{record.id} holds contents (generation {record.generations}), whose place would be lost with it; "
            "take them out first",
            Reason.NOT_FREE_STANDING,
        )


# ---- parts under events -------------------------------------------------------------------------------------


def find_part(recording: Recording, identifier: Identifier) -> PartRecord | None:
    """The part an event names, or None where it has no record yet.

    Serials of a lot without a record of their own are found too (ledger/intervals.py). Raises Refused:
    IDENTIFIER_INVALID for a class, EVENT_REPEATED, and for an interval UNKNOWN_LOT, SERIALS_INVALID, INTERVAL_SPLIT.
    """
    if identifier.is_class:
        raise Refused(
            f"{identifier.text} names a class; one part needs its serial, an amount a quantity list",
            Reason.IDENTIFIER_INVALID,
        )
    overlay = recording.context.overlay
    key = state.part_key(identifier.text)
    record = _load_at(overlay, key)
    if record is None or record.status == PartStatus.SPLIT:
        piece = find_piece(recording, identifier)
        record = None if piece is None else normalise(overlay, piece)
    if record is not None:
        recording.check_new(record)
        recording.named.add(key)
    return record


def find_or_adopt(recording: Recording, identifier: Identifier) -> PartRecord:
    """The part an event names; adopted by the grant's holder where the chain allows.

    Raises Refused as `find_part`, and UNKNOWN_PART, NOT_HOME_CHAIN.
    """
    record = find_part(recording, identifier)
    if record is not None:
        return record
    if not may_adopt(recording, identifier):
        raise _unknown(identifier.text)
    require_grant(recording.context, identifier)
    return new_part(recording, identifier, adopted=True)


def may_adopt(recording: Recording, identifier: Identifier) -> bool:
    """Whether the chain lets the signer's member bring an unknown part into being by naming it."""
    context = recording.context
    return context.parameters.adoption and holds_grant(context, identifier)


def new_part(recording: Recording, identifier: Identifier, adopted: bool, owner: str = "") -> PartRecord:
    """The record of a part that begins with this event; entering the event saves it. owner: of another member."""
    if adopted:
        recording.adopted.add(state.part_key(identifier.text))
    note_single(recording.context.overlay, identifier)
    return PartRecord(
        id=identifier.text,
        status=PartStatus.LIVE,
        holder=recording.member,
        owner=owner or recording.member,
        origin_chain=recording.context.chain_id,
        adopted=adopted,
        commissioner=recording.member,
    )
