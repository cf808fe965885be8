"""What arrived inside a container becomes a record here when it is first touched.

Nothing about a child travels in the packet but a count in the manifest. Whoever wants to name the child here shows its
record on the chain the container came from: there it lies in exactly the filling that arrived, and since that filling
left, nothing could happen to it there, until it comes back. So any proof under a header at or above the one under
which the arrival was proven says where the child was when the container crossed.

The child enters the filling opened by that arrival, even if that is closed by now, and takes its outcome: free after
an unpack-all, destroyed, or gone on to another chain. It comes home by the same rule, chain by chain. A container
that becomes a record opens a filling of its own here, out of which its children come in the same way.
"""

from bridge import serial_lots
from bridge.amounts import place_contained
from bridge.clients import load_client
from bridge.contents import arrival_key, check_contents, contents_of, leave_behind, open_arrived, take_from
from bridge.proofs import verify_past
from bridge.senders import Departure, check_sender
from bridge.serial_lots import Place, check_place
from bridge.transfer import check_member_id
from ledger import codec, custody, state
from ledger.containers import load_generation, standing
from ledger.context import Context
from ledger.errors import Refused
from ledger.identifiers import canonical
from ledger.limits import HOP_MAX, STATE_VALUE_BYTES_MAX
from ledger.ranges import note_single
from ledger.state import Reader
from proto.chiptrace.v1.bridge_pb2 import (
    ArrivalRecord,
    ClientRecord,
    Contents,
    Materialise,
    ProvenRecord,
    RemoteProof,
)
from proto.chiptrace.v1.ledger_pb2 import (
    DEVICE,
    LIVE,
    MATERIALISED,
    OPERATOR,
    RELAYER,
    ClosedBy,
    GenerationRecord,
    LotRecord,
    PartRecord,
    Reason,
)


def materialise(ctx: Context, message: Materialise) -> None:
    """Operation: makes a record of a part that arrived inside a container. Anyone may, with the proof.

    OK with REDUNDANT and without effect where the part has come this way already. Raises Refused or Invalid:
    ROLE_NOT_ALLOWED, IDENTIFIER_INVALID, NOT_ARRIVED, NOT_NEWER, CONTENTS_INVALID, MANIFEST_EXCEEDED, and what
    `verify_past` and `check_sender` raise.
    """
    ctx.require_role(OPERATOR, DEVICE, RELAYER)
    client = load_client(ctx.overlay, message.client)
    # (1) The other chain's record of it: put into a container there, and not taken out by itself.
    theirs = _proven_part(ctx, client, message)
    # (2) The arrival of that very filling of the container, by a state in which it had left.
    key = arrival_key(client.chain_id, theirs.container, theirs.generation)
    arrival = state.load(ctx.overlay, key, ArrivalRecord)
    if arrival is None:
        raise Refused(
            f"{theirs.id} lies in filling {theirs.generation} of {theirs.container} over there, which did not "
            f"arrive here over {client.id!r}; if it lies in a container that did, that comes first",
            Reason.NOT_ARRIVED,
        )
    if message.header_height < arrival.proven_height:
        raise Refused(
            f"{theirs.container} had left by height {arrival.proven_height}; {message.header_height} proves too little",
            Reason.NOT_NEWER,
        )
    # (3) Brought by somebody else already: nothing is left to do.
    if _has_come(ctx.overlay, theirs.id, arrival.hop):
        ctx.finding(Reason.REDUNDANT)
        return
    # (4) From a chain that may send it, which was true of the container and has to be of each child.
    place = _proven_place(ctx, client, message, theirs)
    known, departure = check_sender(ctx, client, theirs.id, theirs.origin_chain, arrival.hop, place)
    # (5) As whose it stayed here, if its ownership did, and as no other's.
    owner = _owner_told(ctx, arrival, theirs.id, "" if departure is None else departure.owner)
    # (6) No more than the container was said to hold.
    inner = _proven_contents(ctx, client, message, theirs)
    take_from(arrival, theirs, inner)
    state.save(ctx.overlay, key, arrival)
    # (7) Into the filling that was opened for it.
    part = PartRecord(id=theirs.id, origin_chain=theirs.origin_chain) if known is None else known
    if client.chain_id == part.origin_chain:
        part.adopted = theirs.adopted
        part.commissioner = theirs.commissioner
    if place is not None:
        serial_lots.settle(ctx, part, place, known is not None, ctx.operation_digest)
    elif known is None:
        note_single(ctx.overlay, canonical(part.id), begins=False)
    _enter_filling(ctx, part, theirs, arrival, departure)
    if inner is not None:
        open_arrived(ctx, client, part, inner, arrival.hop, message.header_height, owner)
        place_contained(ctx, part, inner)
    n = load_generation(ctx.overlay, part.container, part.generation).opened_n
    ctx.enter(
        state.part_key(part.id),
        part.history,
        MATERIALISED,
        inside=(part.container, part.generation, n),
    )
    custody.save_part(ctx.overlay, part)


# ---- what the other chain proves ------------------------------------------------------------------------------


def _prove(
    ctx: Context, client: ClientRecord, message: Materialise, key: bytes, shown: ProvenRecord
) -> bytes:
    proof = RemoteProof(header_height=message.header_height, opening=message.opening, proof=shown.proof)
    verify_past(ctx.overlay, client, ctx.time_ms, proof, key, shown.value)
    return shown.value


def _proven_part(ctx: Context, client: ClientRecord, message: Materialise) -> PartRecord:
    identifier = canonical(message.part)
    if identifier.text != message.part or identifier.is_class:
        raise Refused(f"{message.part[:80]!r} names no part in canonical form", Reason.IDENTIFIER_INVALID)
    value = _prove(ctx, client, message, state.part_key(message.part), message.record)
    theirs = codec.decode(PartRecord, value, STATE_VALUE_BYTES_MAX)
    if theirs.id != message.part or theirs.status != LIVE or not theirs.container:
        raise Refused(f"{message.part} lies in no container on that chain", Reason.NOT_ARRIVED)
    check_member_id(theirs.commissioner)
    return theirs


def _proven_contents(
    ctx: Context, client: ClientRecord, message: Materialise, theirs: PartRecord
) -> Contents | None:
    """What is inside the part, of which its record says whether there is anything."""
    if not theirs.open:
        return None
    if canonical(theirs.id).interval is not None:
        # What is carved out of it would be open with no filling of its own.
        raise Refused(f"{theirs.id} holds nothing", Reason.CONTENTS_INVALID)
    key = state.generation_key(theirs.id, theirs.generations)
    record = codec.decode(
        GenerationRecord, _prove(ctx, client, message, key, message.contents), STATE_VALUE_BYTES_MAX
    )
    if record.closed_by != ClosedBy.CLOSED_BY_UNSPECIFIED or record.generation != theirs.generations:
        raise Refused(f"{theirs.id} is said to be open, its filling is not", Reason.CONTENTS_INVALID)
    inner = contents_of(record)
    check_contents(inner, theirs.id)
    return inner


def _proven_place(
    ctx: Context, client: ClientRecord, message: Materialise, theirs: PartRecord
) -> Place | None:
    """Which serials of which lot the part is, by the lot's record there; None for what is of none."""
    if not theirs.lot:
        if canonical(theirs.id).interval is not None:
            raise Refused(f"{theirs.id} is of a lot that its record does not tell", Reason.MALFORMED)
        return None
    value = _prove(ctx, client, message, state.lot_key(theirs.lot), message.lot)
    lot = codec.decode(LotRecord, value, STATE_VALUE_BYTES_MAX)
    if lot.origin_chain != theirs.origin_chain:
        raise Refused(f"{theirs.id} and its lot have two origins", Reason.PACKET_MISMATCH)
    shown = message.membership if message.HasField("membership") else None
    place = Place(theirs.lot, theirs.start, theirs.end, lot.serials, shown)
    check_place(theirs.id, place)
    return place


def _owner_told(ctx: Context, arrival: ArrivalRecord, part: str, owner: str) -> str:
    """Whose a part here is now, which was `owner`'s when it left without its ownership; empty: nobody's known here.

    Raises Refused(CONTENTS_INVALID) where the other chain said that all in the container is of one owner, who is another.
    """
    if load_generation(ctx.overlay, arrival.container, arrival.generation).foreign:
        return owner
    if owner not in ("", arrival.owner):
        raise Refused(
            f"{part} left as member {owner}'s, and {arrival.container} came with all in it "
            f"as {arrival.owner or 'its owner elsewhere'}'s; it is for that chain to send it by itself",
            Reason.CONTENTS_INVALID,
        )
    return arrival.owner


def _has_come(reader: Reader, part: str, hop: int) -> bool:
    """Whether the part is here at this hop or a later one, or left at one."""
    record = custody.load_part(reader, part)
    if record is None:
        return False
    if record.hop >= hop:
        return True
    # Packed since, into something that has come further.
    where = standing(reader, record)
    around = custody.load_part(reader, where.outermost) if where.outermost else None
    return around is not None and around.hop >= hop


# ---- entering -------------------------------------------------------------------------------------------------


def _enter_filling(
    ctx: Context,
    part: PartRecord,
    theirs: PartRecord,
    arrival: ArrivalRecord,
    departure: Departure | None,
) -> None:
    if theirs.generations > HOP_MAX:
        raise Refused(f"{theirs.id} was filled {theirs.generations} times", Reason.CONTENTS_INVALID)
    leave_behind(ctx.overlay, part, None if departure is None else departure.filling)
    if departure is not None:
        part.owner = departure.owner
    part.status = LIVE
    part.container = arrival.container
    part.generation = arrival.generation
    part.hop = arrival.hop
    part.holder = part.offered_to = part.client = part.shipper = ""
    part.offered_at_ms = part.sequence = 0
    part.arrived_offer = part.offers_ownership = part.contents_follow = False
    part.gone_to, part.gone_over, part.gone_hop = b"", b"", 0
