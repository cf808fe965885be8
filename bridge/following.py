"""Long routes: a part that left is known to have gone on, so that it may come back from where it is now.

Without this a part that left goes back only over the chain it went to, and a chain that never had it takes it only
from its home. Where the grant of its class allows long routes, anyone may show here how it went on, one step at a time:

    here it DEPARTED to Y         Y shows that it departed to Z at a higher hop: from now on Z may send it here
    here it is unknown            its home shows that it departed to Y: from now on Y may send it here

Every step is proven by the chain that took it, under our client of that chain. So a chain whose validators turned
corrupt can copy what came through it, and nothing else; that is what a consortium accepts with long routes.
"""

from bridge.clients import load_client
from bridge.contents import leave_behind
from bridge.proofs import verify_past
from bridge.senders import departed_to
from bridge.transfer import check_member_id
from ledger import codec, custody, state
from ledger.containers import export_of
from ledger.context import Context
from ledger.errors import Refused
from ledger.grants import grant_for
from ledger.identifiers import canonical
from ledger.limits import CONTAINER_DEPTH_MAX, HOP_MAX, STATE_VALUE_BYTES_MAX
from ledger.ranges import note_single
from proto.chiptrace.v1.bridge_pb2 import ClientRecord, FollowPart, ProvenRecord, RemoteProof
from proto.chiptrace.v1.ledger_pb2 import (
    DEPARTED,
    DEVICE,
    FOLLOWED,
    IN_TRANSIT,
    LIVE,
    OPERATOR,
    RELAYER,
    ClosedBy,
    GenerationRecord,
    PartRecord,
    Reason,
)


def follow_part(ctx: Context, message: FollowPart) -> None:
    """Operation: notes where a part that is not here went on to. Anyone may, with the proof.

    Raises Refused or Invalid: ROLE_NOT_ALLOWED, IDENTIFIER_INVALID, NOT_FROM_HOME where the grant allows no long
    routes, NOT_LIVE, WRONG_COUNTERPARTY, HOP_NOT_ABOVE, PACKET_MISMATCH, and what `verify_past` raises.
    """
    ctx.require_role(OPERATOR, DEVICE, RELAYER)
    # (1) A class for which that is allowed here.
    identifier = canonical(message.part)
    if identifier.text != message.part or identifier.is_class or identifier.interval is not None:
        raise Refused(f"{message.part[:80]!r} names no part in canonical form", Reason.IDENTIFIER_INVALID)
    grant = grant_for(ctx.overlay, identifier)
    if grant is None or not grant.long_routes:
        raise Refused(
            f"{message.part}: no grant lets it cross between chains neither of which is its home",
            Reason.NOT_FROM_HOME,
        )
    # (2) Its record over there, and that it left for good.
    client = load_client(ctx.overlay, message.client)
    theirs, chain_id, hop = _proven_departure(ctx, client, message)
    if chain_id == ctx.chain_id:
        raise Refused(
            f"{message.part} left that chain for here: it arrives, or comes out of what arrived",
            Reason.NOT_LIVE,
        )
    # (3) The step that follows on the last one known here.
    part = custody.load_part(ctx.overlay, message.part)
    if part is None:
        home = grant.home_chain or ctx.chain_id
        if client.chain_id != home or theirs.origin_chain != home:
            raise Refused(
                f"{message.part} is not known here; its home, chain {home.hex()}, tells first where it went",
                Reason.NOT_FROM_HOME,
            )
        if theirs.lot:
            # Known without its lot it could never come, nor could the lot.
            raise Refused(
                f"{message.part} is a serial of lot {theirs.lot[:80]!r}; to this chain, which does not know it, it comes "
                "from its home only",
                Reason.NOT_FROM_HOME,
            )
        check_member_id(theirs.commissioner)
        note_single(ctx.overlay, identifier, begins=False)
        part = PartRecord(
            id=message.part,
            status=DEPARTED,
            origin_chain=theirs.origin_chain,
            adopted=theirs.adopted,
            commissioner=theirs.commissioner,
        )
    else:
        departure = departed_to(ctx.overlay, client, message.part, part, theirs.origin_chain, hop)
        # What is inside a container leaves it here: it is known to have been taken out.
        _take_out(ctx, part, departure.owner)
        part.gone_over, part.gone_hop = departure.chain_id, departure.hop
    part.hop = hop
    part.gone_to = chain_id
    ctx.enter(state.part_key(part.id), part.history, FOLLOWED)
    custody.save_part(ctx.overlay, part)


# ---- what the other chain proves ------------------------------------------------------------------------------


def _prove(ctx: Context, client: ClientRecord, message: FollowPart, key: bytes, shown: ProvenRecord) -> bytes:
    proof = RemoteProof(header_height=message.header_height, opening=message.opening, proof=shown.proof)
    verify_past(ctx.overlay, client, ctx.time_ms, proof, key, shown.value)
    return shown.value


def _proven_departure(
    ctx: Context, client: ClientRecord, message: FollowPart
) -> tuple[PartRecord, bytes, int]:
    """The part's record there, the chain it left to, and its hop. Refused(NOT_LIVE) unless it left for good."""
    path = list(message.path)
    if not 1 <= len(path) <= 2 * CONTAINER_DEPTH_MAX + 1 or len(path) % 2 == 0:
        raise Refused(f"a path of {len(path)} records", Reason.MALFORMED)
    first = current = _part(ctx, client, message, message.part, path[0])
    # (1) Inside others: up to the filling that was exported, and is no more on its way.
    for shown_filling, shown_container in zip(path[1::2], path[2::2], strict=True):
        if not current.container or current.status != LIVE:
            raise Refused(f"{current.id} is in no container on that chain", Reason.MALFORMED)
        key = state.generation_key(current.container, current.generation)
        value = _prove(ctx, client, message, key, shown_filling)
        filling = codec.decode(GenerationRecord, value, STATE_VALUE_BYTES_MAX)
        current = _part(ctx, client, message, current.container, shown_container)
        if filling.closed_by == ClosedBy.EXPORT:
            if current.status == IN_TRANSIT and current.hop == filling.hop:
                break
            return first, _chain(ctx, filling.destination), _hop(filling.hop)
        if filling.closed_by != ClosedBy.CLOSED_BY_UNSPECIFIED:
            break
    # (2) It is known there to have come here since: then what counts is the step before.
    if current is first and current.status == DEPARTED and current.gone_to == ctx.chain_id:
        return first, _chain(ctx, current.gone_over), _hop(current.gone_hop)
    # (3) By itself: over a client of that chain's.
    if current is first and current.status == DEPARTED and not current.container and not current.gone_to:
        value = _prove(ctx, client, message, state.client_key(current.client), message.over)
        over = codec.decode(ClientRecord, value, STATE_VALUE_BYTES_MAX)
        return first, _chain(ctx, over.chain_id), _hop(current.hop)
    raise Refused(f"{message.part} did not leave that chain for good", Reason.NOT_LIVE)


def _part(
    ctx: Context, client: ClientRecord, message: FollowPart, name: str, shown: ProvenRecord
) -> PartRecord:
    value = _prove(ctx, client, message, state.part_key(name), shown)
    record = codec.decode(PartRecord, value, STATE_VALUE_BYTES_MAX)
    if record.id != name:
        raise Refused(f"the record of {name} is of {record.id[:80]!r}", Reason.PACKET_MISMATCH)
    return record


def _chain(ctx: Context, chain_id: bytes) -> bytes:
    if len(chain_id) != len(ctx.chain_id):
        raise Refused("it went to no chain", Reason.MALFORMED)
    return chain_id


def _hop(hop: int) -> int:
    if not 1 <= hop <= HOP_MAX:
        raise Refused(f"no part leaves at hop {hop}", Reason.MALFORMED)
    return hop


def _take_out(ctx: Context, part: PartRecord, owner: str) -> None:
    if part.container:
        filling = export_of(ctx.overlay, part)
        leave_behind(ctx.overlay, part, filling)
        part.container, part.generation = "", 0
        part.status = DEPARTED
    part.owner = owner
    part.offers_ownership = False
