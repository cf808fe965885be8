"""Chains that are lost for good: their members and ours give them up together, and what was there becomes live here.

    rehome_chain   governance of this chain, with the lost chain's governance keys: names the last header that counts, who
                   of ours takes over from whom of theirs, and whether this chain is the heir of what was at home there.
                   Every client of that chain is frozen for ever, and none is ever made again.
    rehome_part    part by part: its record under that header is proven, and what was live there is live here, with a hop
                   above both and an entry REHOMED that no audit passes over.
    packets        sent to that chain and never acknowledged end by proofs under that header (proofs.py), as if it were
                   late enough: no later block will take them.

What both memberships answer for, and no proof shows: that nothing was decided there after that header. Exactly once:
our own record says that the part is there, and stops saying so; what has no record here and is at home there comes only
to the one chain that its members name heir; what is at home on a third chain is taken over by that one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bridge.amount_transfer import check_may_return
from bridge.client_step import check_counterparty
from bridge.clients import clients_of, freeze_for_ever, load_client, load_header, rehoming_key
from bridge.contents import arrival_key, leave_behind
from bridge.senders import Departure, departure_of
from bridge.transfer import check_member_id
from ledger import codec, custody, state, tree_proof
from ledger.block import app_hash
from ledger.containers import Standing, export_of, standing
from ledger.context import Context
from ledger.errors import Invalid, InvariantBroken, Refused, StoreError
from ledger.grants import grant_for
from ledger.hashes import ZERO, Purpose, signed_bytes
from ledger.identifiers import canonical
from ledger.limits import CONTAINER_DEPTH_MAX, HOP_MAX, REHOMED_MEMBERS_MAX
from ledger.members import check_name, load_member
from ledger.ranges import note_single
from ledger.state import Reader, part_key
from proto.chiptrace.v1.bridge_pb2 import ArrivalRecord, ClientRecord, RehomePart
from proto.chiptrace.v1.ledger_pb2 import (
    DEPARTED,
    GOVERNED,
    IN_TRANSIT,
    LIVE,
    OFFERED,
    OPERATOR,
    REHOMED,
    GenerationRecord,
    PartRecord,
    PartStatus,
    Reason,
    RehomeChain,
    RehomingRecord,
)

# A part's record, and for each container around it the filling and the container.
ROWS_MAX: Final = 2 * CONTAINER_DEPTH_MAX + 1
_THERE: Final = (LIVE, OFFERED, IN_TRANSIT)


# ---- a chain is given up --------------------------------------------------------------------------------------


def rehome_message(host: bytes, change: RehomeChain, history_n: int) -> bytes:
    """What the lost chain's governance keys sign so that chain `host` may take over from it.

    `history_n` is the number of entries in the history of the client named.
    """
    unsigned = RehomeChain()
    unsigned.CopyFrom(change)
    unsigned.ClearField("counterparty_approvals")
    return signed_bytes(Purpose.REHOME, host, codec.encode(unsigned) + history_n.to_bytes(8, "big"))


def load_rehoming(reader: Reader, chain_id: bytes) -> RehomingRecord:
    """The record of a chain that was given up. Raises Refused(NOTHING_TO_DO) for any other."""
    record = state.load(reader, rehoming_key(chain_id), RehomingRecord)
    if record is None:
        raise Refused(f"chain {chain_id.hex()} was not given up here", Reason.NOTHING_TO_DO)
    return record


def rehome_chain(ctx: Context, change: RehomeChain) -> None:
    """Change: gives up a chain for good. Raises Refused or Invalid: UNKNOWN_CLIENT, CHAIN_REHOMED, NOT_ENOUGH_APPROVALS,
    BAD_SIGNATURE, NOT_NEWER, UNKNOWN_HEADER, BAD_PROOF, BAD_CHANGE, UNKNOWN_MEMBER."""
    client = load_client(ctx.overlay, change.client)
    key = rehoming_key(client.chain_id)
    # (1) Once, and for ever.
    if state.load(ctx.overlay, key, RehomingRecord) is not None:
        raise Refused(f"chain {client.chain_id.hex()} was given up before", Reason.CHAIN_REHOMED)
    # (2) Its own members say so too.
    message = rehome_message(ctx.chain_id, change, client.history.n)
    check_counterparty(client, message, change.counterparty_approvals)
    # (3) The newest header that any client here has of it, and the state that it certifies.
    _check_last(ctx, client, change)
    # (4) Who takes over from whom.
    _check_members(ctx, change)
    check_name(change.why, "why", Reason.BAD_CHANGE)
    # (5) Nothing of it is believed from now on.
    for name in clients_of(ctx.overlay, client.chain_id):
        freeze_for_ever(ctx, name)
    record = RehomingRecord(
        chain_id=client.chain_id,
        client=client.id,
        height=change.header_height - 1,
        state_root=change.opening.state_root,
        heir=change.heir,
        members=change.members,
        why=change.why,
        rehomed_at=ctx.height,
    )
    ctx.enter(key, record.history, GOVERNED)
    state.save(ctx.overlay, key, record)


def _check_last(ctx: Context, client: ClientRecord, change: RehomeChain) -> None:
    for name in clients_of(ctx.overlay, client.chain_id):
        newest = load_client(ctx.overlay, name).latest_height
        if newest > change.header_height:
            raise Refused(
                f"client {name!r} has a header of height {newest}, after {change.header_height}; the newest one counts",
                Reason.NOT_NEWER,
            )
    header = load_header(ctx.overlay, client.id, change.header_height)
    opening = change.opening
    if app_hash(client.chain_id, opening) != header.app_hash or opening.log_size != header.height - 1:
        raise Invalid(f"the opening is not that of height {header.height}'s app_hash", Reason.BAD_PROOF)
    if opening.state_root == ZERO:
        raise Invalid("an empty state has nothing to take over", Reason.BAD_PROOF)


def _check_members(ctx: Context, change: RehomeChain) -> None:
    there = [row.there for row in change.members]
    if len(there) > REHOMED_MEMBERS_MAX or there != sorted(set(there)):
        raise Refused(
            f"name at most {REHOMED_MEMBERS_MAX} members of the lost chain, each once, in order",
            Reason.BAD_CHANGE,
        )
    for row in change.members:
        check_name(row.there, "a member of the lost chain", Reason.BAD_CHANGE)
        load_member(ctx.overlay, row.here)


# ---- part by part -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """A part as the last state of the lost chain has it, through all that it is inside of."""

    record: PartRecord
    status: "PartStatus.ValueType"
    holder: str  # member of the lost chain; empty: it had arrived there and was not accepted
    owner: str
    hop: int
    filling: GenerationRecord | None  # in which it left there, inside something


class _Rows:
    """What is proven of the lost chain's state; nothing else of it is known."""

    def __init__(self, rows: Mapping[bytes, bytes]) -> None:
        self._rows = rows

    def get(self, key: bytes) -> bytes | None:
        """The value. Raises Refused(BAD_PROOF) for a key that no row proves."""
        if key not in self._rows:
            raise Refused(
                f"state row {key.hex()} of the lost chain is missing; send it along", Reason.BAD_PROOF
            )
        return self._rows[key] or None


def found_there(rehoming: RehomingRecord, message: RehomePart) -> Found:
    """The part in the last state of the lost chain. Raises Refused or Invalid: OVERSIZE, BAD_PROOF, UNKNOWN_PART."""
    if not 1 <= len(message.rows) <= ROWS_MAX:
        raise Refused(f"{len(message.rows)} rows; 1 to {ROWS_MAX} tell where a part is", Reason.OVERSIZE)
    for row in message.rows:
        tree_proof.verify(rehoming.chain_id, rehoming.state_root, row.key, row.value or None, row.proof)
    try:
        record, where, filling = _read(_Rows({row.key: row.value for row in message.rows}), message.part)
    except (InvariantBroken, StoreError) as error:
        # Theirs, not ours: what validators that turned corrupt left behind must not stop this chain.
        raise Invalid(
            f"the lost chain's own records of {message.part} contradict each other: {error}", Reason.BAD_PROOF
        ) from error
    if record.id != message.part or record.generations > HOP_MAX:
        raise Refused(f"the record of {message.part} over there is of no such part", Reason.BAD_PROOF)
    hop = max(record.hop, 0 if filling is None else filling.hop)
    return Found(record, where.status, where.holder, where.owner, hop, filling)


def _read(reader: Reader, name: str) -> tuple[PartRecord, Standing, GenerationRecord | None]:
    record = custody.load_part(reader, name)
    if record is None:
        raise Refused(
            f"{name} had no record of its own on the lost chain; take over what it was inside of",
            Reason.UNKNOWN_PART,
        )
    return record, standing(reader, record), export_of(reader, record)


def rehome_part(ctx: Context, message: RehomePart) -> None:
    """Operation: takes a part over, free-standing and with nothing in it; what was in it is taken over by itself.

    Raises Refused or Invalid: ROLE_NOT_ALLOWED, NOTHING_TO_DO, IDENTIFIER_INVALID, NOT_LIVE, NOT_FROM_HOME, NO_HEIR,
    HOP_NOT_ABOVE, UNKNOWN_MEMBER, and what `found_there` raises.
    """
    ctx.require_role(OPERATOR)
    rehoming = load_rehoming(ctx.overlay, message.chain_id)
    name = canonical(message.part)
    if name.text != message.part or name.is_class or name.interval is not None:
        raise Refused(
            f"{message.part[:80]!r} names no single part in canonical form", Reason.IDENTIFIER_INVALID
        )
    there = found_there(rehoming, message)
    part = custody.load_part(ctx.overlay, message.part)
    if part is not None and part.status == OFFERED and part.arrived_offer:
        _decline(ctx, rehoming, part, there)
        return
    # (1) It was live there, or on its way from there to us, and had not come.
    if there.status not in _THERE or (there.status == IN_TRANSIT and not _to_us(ctx, rehoming, there)):
        raise Refused(
            f"{message.part} has status {there.status} on the lost chain, so it is not lost with it",
            Reason.NOT_LIVE,
        )
    if there.filling is not None and _came_in(ctx, rehoming, there.filling):
        raise Refused(
            f"{message.part} lies in {there.filling.container}, which came here from the lost chain: materialise it",
            Reason.NOT_LIVE,
        )
    # (2) EXACTLY ONCE: here it is known to be there, and not for longer; or here it is not known, and we are its heir.
    left: Departure | None = None
    if part is None:
        part = _inherited(ctx, rehoming, there.record)
    else:
        left = departure_of(ctx.overlay, part)
        if left is None or left.chain_id != rehoming.chain_id:
            raise Refused(f"{part.id} is not on the lost chain by our own record", Reason.NOT_LIVE)
    _check_home(ctx, rehoming, part)
    left_at = part.hop if left is None else left.hop
    if there.hop < left_at or there.hop >= ctx.time_ms:
        raise Refused(
            f"{part.id} is at hop {there.hop} there, and left here at {left_at}", Reason.HOP_NOT_ABOVE
        )
    if there.record.generations >= ctx.time_ms:
        # Of what is put into it here the next chain would take nothing out.
        raise Refused(f"{part.id} was filled {there.record.generations} times there", Reason.BAD_PROOF)
    # (3) What left in it is not in it any more: each is taken over by itself, from where it is by then.
    leave_behind(ctx.overlay, part, None if left is None else left.filling)
    # (4) Whoever takes over from its holder has it, free-standing; its old hop is burnt.
    if there.holder:
        part.holder = taken_by(rehoming, there.holder)
        part.owner = taken_by(rehoming, there.owner or there.holder)
    elif not part.holder:
        raise Refused(f"{part.id} was with nobody, neither here nor there", Reason.UNKNOWN_MEMBER)
    part.hop = there.hop + 1
    part.generations = max(part.generations, there.record.generations)
    part.container, part.generation, part.open, part.contents_follow = "", 0, False, False
    part.gone_to, part.gone_over, part.gone_hop = b"", b"", 0
    _live(ctx, part)


def _decline(ctx: Context, rehoming: RehomingRecord, part: PartRecord, there: Found) -> None:
    """What came from there and was not accepted goes, instead of back, to who takes over from its shipper, with all that
    is in it: when its receiver declines, or by anyone once the offer has expired."""
    if load_client(ctx.overlay, part.client).chain_id != rehoming.chain_id:
        raise Refused(f"{part.id} came from another chain, and is returned to it", Reason.WRONG_COUNTERPARTY)
    check_may_return(ctx, part.id, part.offered_to, part.offered_at_ms)
    # A return from here that failed has burnt a hop since.
    if there.hop > part.hop or there.status not in (IN_TRANSIT, DEPARTED) or not there.holder:
        raise Refused(f"the lost chain did not send {part.id} by hop {part.hop}", Reason.BAD_PROOF)
    part.holder = taken_by(rehoming, there.holder)
    part.owner = part.owner or taken_by(rehoming, there.owner or there.holder)
    _live(ctx, part)


def _live(ctx: Context, part: PartRecord) -> None:
    part.status = LIVE
    part.client, part.sequence, part.shipper = "", 0, ""
    part.offered_to, part.offered_at_ms, part.arrived_offer, part.offers_ownership = "", 0, False, False
    ctx.enter(part_key(part.id), part.history, REHOMED)
    custody.save_part(ctx.overlay, part)


def _came_in(ctx: Context, rehoming: RehomingRecord, filling: GenerationRecord) -> bool:
    key = arrival_key(rehoming.chain_id, filling.container, filling.generation)
    return state.load(ctx.overlay, key, ArrivalRecord) is not None


def taken_by(rehoming: RehomingRecord, there: str) -> str:
    """The member here that takes over from a member of the lost chain. Raises Refused(UNKNOWN_MEMBER)."""
    for row in rehoming.members:
        if row.there == there:
            return row.here
    raise Refused(
        f"nobody here takes over from member {there!r} of the lost chain; the proposal names who does",
        Reason.UNKNOWN_MEMBER,
    )


def _to_us(ctx: Context, rehoming: RehomingRecord, there: Found) -> bool:
    """Whether what was in transit there was on its way to this chain: by where what it is inside of went, or by the names
    that the clients pair with."""
    if there.filling is not None:
        return there.filling.destination == ctx.chain_id
    ours = clients_of(ctx.overlay, rehoming.chain_id)
    return there.record.client in (load_client(ctx.overlay, name).counterparty_client for name in ours)


def _inherited(ctx: Context, rehoming: RehomingRecord, there: PartRecord) -> PartRecord:
    """The record of a part that was never here: only of a namespace whose home is the lost chain."""
    grant = grant_for(ctx.overlay, canonical(there.id))
    if grant is None or grant.home_chain != rehoming.chain_id or there.origin_chain != rehoming.chain_id:
        raise Refused(
            f"{there.id} is not known here, and no grant says that its home is the lost chain",
            Reason.NOT_FROM_HOME,
        )
    check_member_id(there.commissioner, Reason.BAD_PROOF)
    note_single(ctx.overlay, canonical(there.id), begins=False)
    return PartRecord(
        id=there.id,
        origin_chain=there.origin_chain,
        adopted=there.adopted,
        commissioner=there.commissioner,
    )


def _check_home(ctx: Context, rehoming: RehomingRecord, part: PartRecord) -> None:
    """A part comes back to its own home; from the lost chain's own, to its heir; nobody else's."""
    if part.origin_chain == ctx.chain_id:
        return
    if part.origin_chain != rehoming.chain_id:
        raise Refused(
            f"{part.id} is at home on chain {part.origin_chain.hex()}, which takes it over",
            Reason.NOT_FROM_HOME,
        )
    if not rehoming.heir:
        raise Refused(
            f"{part.id} is at home on the lost chain, whose members did not name this chain its heir",
            Reason.NO_HEIR,
        )
