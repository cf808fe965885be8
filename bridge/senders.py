"""Who may send a part to us, by what our own records say of it. The same rule at every way in.

A part that left goes back only from the chain it is known to be on, with a hop above that at which it left. A part
without a record comes from its home only. So a chain whose validators turned corrupt can withhold what it holds, but
it can copy nothing whose home is honest.
"""

from dataclasses import dataclass

from bridge.clients import load_client
from bridge.serial_lots import Place, find_here
from ledger import custody
from ledger.containers import export_of, standing
from ledger.context import Context
from ledger.errors import Refused
from ledger.grants import grant_for
from ledger.identifiers import Identifier, canonical
from ledger.state import Reader
from proto.chiptrace.v1.bridge_pb2 import ClientRecord
from proto.chiptrace.v1.ledger_pb2 import GenerationRecord, PartRecord, PartStatus, Reason


@dataclass(frozen=True, slots=True)
class Departure:
    """How a part left this chain: to which one, at which hop, in which filling if in one.

    owner: whose it stayed here; empty where its ownership went along.
    """

    chain_id: bytes
    hop: int
    filling: GenerationRecord | None
    owner: str


def departure_of(reader: Reader, record: PartRecord) -> Departure | None:
    """How a part left that has left for good, by itself or inside others; None for any other."""
    where = standing(reader, record)
    if where.status != PartStatus.DEPARTED:
        return None
    filling = export_of(reader, record)
    if filling is not None:
        # Where it is known to have gone on, its own record tells.
        chain_id = record.gone_to or filling.destination
        owner = "" if filling.ownership_left else where.owner
        return Departure(chain_id, max(record.hop, filling.hop), filling, owner)
    chain_id = record.gone_to or load_client(reader, record.client).chain_id
    owner = "" if record.offers_ownership else where.owner
    return Departure(chain_id, record.hop, None, owner)


def departed_to(
    reader: Reader, client: ClientRecord, name: str, record: PartRecord, origin: bytes, hop: int
) -> Departure:
    """How a part left of which this client's chain may tell: it left to there, below this hop, as what is told of.

    Raises Refused: NOT_LIVE, WRONG_COUNTERPARTY, HOP_NOT_ABOVE, PACKET_MISMATCH.
    """
    departure = departure_of(reader, record)
    if departure is None:
        raise Refused(f"{name} is here already", Reason.NOT_LIVE)
    if departure.chain_id != client.chain_id:
        raise Refused(
            f"{name} is on chain {departure.chain_id.hex()}, and chain {client.chain_id.hex()} tells of it",
            Reason.WRONG_COUNTERPARTY,
        )
    if hop <= departure.hop:
        raise Refused(f"{name}: hop {hop} is not above {departure.hop}", Reason.HOP_NOT_ABOVE)
    if origin != record.origin_chain:
        raise Refused(f"{name} left with another origin than is told of it", Reason.PACKET_MISMATCH)
    return departure


def may_cross(reader: Reader, identifier: Identifier, origin: bytes, here: bytes, there: bytes) -> bool:
    """Whether a part may go between two chains: one is its home, or its grant allows long routes."""
    if origin in (here, there):
        return True
    grant = grant_for(reader, identifier)
    return grant is not None and grant.long_routes


def check_home(ctx: Context, client: ClientRecord, name: str, origin: bytes) -> None:
    """Returns only if what has no record here comes from its home. Raises Refused(NOT_FROM_HOME)."""
    grant = grant_for(ctx.overlay, canonical(name))
    if grant is None or grant.home_chain != client.chain_id or origin != client.chain_id:
        raise Refused(
            f"{name} is not known here, and no grant says that its home is chain {client.chain_id.hex()}, "
            "from which it comes",
            Reason.NOT_FROM_HOME,
        )


def check_sender(
    ctx: Context, client: ClientRecord, part: str, origin: bytes, hop: int, place: Place | None
) -> tuple[PartRecord | None, Departure | None]:
    """The record of a part that may come over this client at this hop, and how it left; None for what is new here.

    place: which serials of a lot it is. Raises Refused: NOT_FROM_HOME, NOT_LIVE for what is here, WRONG_COUNTERPARTY, HOP_NOT_ABOVE, PACKET_MISMATCH,
    INTERVAL_SPLIT.
    """
    # (1) Unknown here: from its home.
    if place is None:
        record = custody.load_part(ctx.overlay, part)
    else:
        record = find_here(ctx, client.chain_id, part, place)
    if record is None:
        check_home(ctx, client, part, origin)
        return None, None
    if place is None and record.lot:
        raise Refused(f"{part} is known here as some of {record.lot}", Reason.PACKET_MISMATCH)
    # (2) Known here: it left, and comes from where it went, with a hop never seen, as what it was.
    return record, departed_to(ctx.overlay, client, part, record, origin, hop)
