"""What is inside a container crosses with it, whole and at once, however much it is.

    leaving     the open generation is closed by EXPORT; its manifest and its amounts travel in the packet
    arriving    a new generation is opened, with that manifest, and an ArrivalRecord of it is kept for ever
    children    become records here when they are first touched (bridge/arrivals.py): each then counts against what
                the arrival was said to hold, so that no chain can take more out than it put in

The new generation's number is above every number used for the container on either chain. A generation that is
still open here, because the container left inside another one, is closed first: as exported with that one.
"""

from bisect import bisect_left
from typing import Final

from ledger import decimals, state
from ledger.containers import Filling, load_generation, standing
from ledger.context import Context
from ledger.errors import Refused
from ledger.grants import grant_for
from ledger.hashes import HASH_BYTES
from ledger.identifiers import canonical
from ledger.limits import CONTAINER_DEPTH_MAX, HOP_MAX, MANIFEST_ROWS_MAX
from ledger.state import Kind, Overlay, state_key
from proto.chiptrace.v1.bridge_pb2 import ArrivalRecord, ClientRecord, Contents
from proto.chiptrace.v1.ledger_pb2 import ClosedBy, GenerationRecord, ManifestRow, PartRecord, Reason

# Of everything that is counted: no honest container holds as much.
COUNT_MAX: Final = 2**48

Row = tuple[str, str, str, str]  # class, lot, unit, place


def arrival_key(chain_id: bytes, container: str, generation: int) -> bytes:
    """Key of the ArrivalRecord of a container that a chain exported with this filling, by its number there."""
    return state_key(Kind.ARRIVAL, chain_id, container, generation)


def row_key(row: ManifestRow) -> Row:
    """What a row of a manifest is about."""
    return row.item_class, row.lot, row.unit, row.place


def is_amount(row: ManifestRow) -> bool:
    """Whether a row tells of an amount of a lot, not of parts."""
    return bool(row.place)


def home_of(ctx: Context, row: ManifestRow) -> bytes:
    """The chain on which things of a row's class are commissioned, as far as the grants known here tell."""
    grant = grant_for(ctx.overlay, canonical(row.item_class)) if row.item_class else None
    if grant is None:
        return b""
    return grant.home_chain or ctx.chain_id


# ---- leaving ------------------------------------------------------------------------------------------------


def export(ctx: Context, container: PartRecord, destination: bytes) -> Contents | None:
    """Closes the open generation because the container is sent off; None where nothing is inside.

    The container has its new hop, and its next entry is the one about sending it. Amounts are the caller's. Raises
    Refused(TOO_MANY_ROWS).
    """
    filling = Filling.load(ctx.overlay, container)
    if filling is None:
        return None
    ctx.overlay.go_through(len(filling.record.manifest))
    filling.export(destination, container.history.n + 1, container.offers_ownership)
    filling.save(ctx.overlay)
    return contents_of(filling.record)


def contents_of(record: GenerationRecord) -> Contents:
    """What a generation holds, without its amounts."""
    return Contents(
        generation=record.generation,
        count=record.count,
        levels=record.levels,
        manifest=record.manifest,
        installed=record.installed,
        foreign=record.foreign > 0,
    )


def reopen(ctx: Context, container: PartRecord, contents: Contents) -> None:
    """The container never left: what was exported with it is inside as before."""
    record = load_generation(ctx.overlay, container.id, contents.generation)
    filling = Filling(container, record)
    filling.reopen()
    filling.save(ctx.overlay)


# ---- arriving -----------------------------------------------------------------------------------------------


def check_contents(contents: Contents, container: str) -> None:
    """Returns only for what a container can hold. Raises Refused: CONTENTS_INVALID, IDENTIFIER_INVALID."""
    # (1) A filling, numbered so that there is always a next number.
    if not 1 <= contents.generation <= HOP_MAX:
        raise _invalid(container, f"no filling has number {contents.generation}")
    # (2) Rows in the one order, each of a class and its lot, or of an amount and its place.
    rows = contents.manifest
    if not 1 <= len(rows) <= MANIFEST_ROWS_MAX:
        raise _invalid(container, f"a manifest of {len(rows)} rows")
    previous: Row | None = None
    parts = 0
    for row in rows:
        key = row_key(row)
        if previous is not None and key <= previous:
            raise _invalid(container, "rows that are not in ascending order")
        previous = key
        _check_row(row, container)
        parts += row.count
    # (3) As many children, and no more things in them, than the rows tell.
    levels = contents.levels
    if len(levels) > CONTAINER_DEPTH_MAX or (levels and not levels[-1]) or max(levels, default=0) > COUNT_MAX:
        raise _invalid(container, "levels that no container has")
    if sum(levels) != contents.count or contents.count > parts:
        raise _invalid(container, f"{contents.count} children, {sum(levels)} by level, {parts} by class")


def _check_row(row: ManifestRow, container: str) -> None:
    for text in (row.item_class, row.lot, row.place):
        if text and canonical(text).text != text:
            raise _invalid(container, f"{text[:80]!r}, which is not in canonical form")
    if is_amount(row):
        if row.item_class or not row.lot or row.count or len(row.unit) > 3:
            raise _invalid(container, f"an amount at {row.place[:80]!r} that is of no lot")
    elif row.unit or not 1 <= row.count <= COUNT_MAX or (row.lot and not row.item_class):
        raise _invalid(container, f"{row.count} parts of {row.item_class[:80]!r}")


def _invalid(container: str, why: str) -> Refused:
    return Refused(f"{container[:80]} is said to hold {why}", Reason.CONTENTS_INVALID)


def leave_behind(overlay: Overlay, record: PartRecord, left: GenerationRecord | None) -> None:
    """Closes what is still open here of a container that is away; `left`: the filling in which it left, if any."""
    if not record.open:
        return
    if left is None:
        raise Refused(f"{record.id} is open and never left", Reason.NOT_LIVE)
    where = standing(overlay, record)
    filling = load_generation(overlay, record.id, record.generations)
    filling.closed_by = ClosedBy.EXPORT
    filling.closed_n = record.history.n
    filling.hop = left.hop
    filling.destination = left.destination
    filling.ownership_left = left.ownership_left
    filling.holder_at_close = where.holder
    filling.owner_at_close = "" if filling.foreign else where.owner
    state.save(overlay, state.generation_key(record.id, record.generations), filling)
    record.open = False
    record.contents_follow = False


def open_arrived(
    ctx: Context,
    client: ClientRecord,
    record: PartRecord,
    contents: Contents,
    hop: int,
    proven_height: int,
    owner: str,
) -> GenerationRecord:
    """Opens a generation for what a container brings, before its entry about arriving; the caller saves the record.

    owner: of the container, also by what it lies in; empty: nobody who is known here. Raises Refused(CONTENTS_INVALID) for
    a filling that arrived before, and for a number that no filling has by now.
    """
    # (1) Once, under a number above which there are others, also for the chains that it goes to from here: no honest
    #     container was filled as often as there are milliseconds.
    if contents.generation > ctx.time_ms:
        raise _invalid(record.id, f"filling {contents.generation}")
    key = arrival_key(client.chain_id, record.id, contents.generation)
    if ctx.overlay.get(key) is not None:
        raise _invalid(record.id, f"filling {contents.generation}, which arrived before")
    # (2) A number that neither chain ever used.
    record.generations = max(record.generations, contents.generation) + 1
    record.open = True
    record.contents_follow = not contents.foreign
    generation = GenerationRecord(
        container=record.id,
        generation=record.generations,
        opened_n=record.history.n,
        count=contents.count,
        depth=max(1, len(contents.levels)),
        installed=contents.installed,
        manifest=contents.manifest,
        foreign=max(1, contents.count) if contents.foreign else 0,
        levels=contents.levels,
        from_chain=client.chain_id,
        from_hop=hop,
        from_generation=contents.generation,
    )
    state.save(ctx.overlay, state.generation_key(record.id, record.generations), generation)
    # (3) What it stands for, for ever.
    arrival = ArrivalRecord(
        container=record.id,
        chain_id=client.chain_id,
        hop=hop,
        source_generation=contents.generation,
        generation=record.generations,
        proven_height=proven_height,
        left_count=contents.count,
        left_levels=contents.levels,
        left=[row for row in contents.manifest if not is_amount(row) or row.place != record.id],
        owner=owner,
    )
    state.save(ctx.overlay, key, arrival)
    return generation


# ---- taking out of an arrival -----------------------------------------------------------------------------------


def take_from(arrival: ArrivalRecord, child: PartRecord, inner: Contents | None) -> None:
    """Counts a child, with what is in it, against what the arrival still holds. Raises Refused(MANIFEST_EXCEEDED)."""
    # (1) One child with so many levels below it.
    level = 0 if inner is None else max(1, len(inner.levels))
    if arrival.left_count == 0 or level >= len(arrival.left_levels) or arrival.left_levels[level] == 0:
        raise _exceeded(arrival, f"a child with {level} levels below it")
    arrival.left_count -= 1
    arrival.left_levels[level] -= 1
    # (2) Of its class and lot, and so all that is in it.
    own: Row = (canonical(child.id).class_text, child.lot, "", "")
    wanted: list[tuple[Row, int]] = [(own, max(1, child.end - child.start))]
    if inner is not None:
        wanted.extend((row_key(row), row.count) for row in inner.manifest)
    for key, count in wanted:
        # The rows are in ascending order, as they were in the packet.
        at = bisect_left(arrival.left, key, key=row_key)
        row = arrival.left[at] if at < len(arrival.left) else None
        if row is None or row_key(row) != key or row.count < count:
            raise _exceeded(arrival, " ".join(text for text in key if text) or "parts of no class")
        row.count -= count
        if row.count == 0:
            del arrival.left[at]


def _exceeded(arrival: ArrivalRecord, what: str) -> Refused:
    return Refused(
        f"{arrival.container} arrived at hop {arrival.hop} with no more {what} than came out of it already",
        Reason.MANIFEST_EXCEEDED,
    )


def check_amounts(contents: Contents, container: str) -> None:
    """Returns only if each row of an amount has its amount. Raises Refused(CONTENTS_INVALID), Malformed."""
    rows = [row for row in contents.manifest if is_amount(row)]
    if len(rows) != len(contents.amounts):
        raise _invalid(container, f"{len(contents.amounts)} amounts in {len(rows)} rows")
    for row, item in zip(rows, contents.amounts, strict=True):
        decimals.check(item.amount)
        whole = row.unit or decimals.is_whole(item.amount)
        if decimals.sign(item.amount) <= 0 or not whole:
            raise _invalid(container, f"an impossible amount of {row.lot[:80]}")
        if len(item.origin_chain) != HASH_BYTES or len(item.history_root) != HASH_BYTES:
            raise _invalid(container, f"some of {row.lot[:80]} that has no origin or no history")
