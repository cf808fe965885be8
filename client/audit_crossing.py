"""The step from one chain to the chain something came from: both must tell the same story."""

from collections.abc import Mapping, Sequence

from client.audit_entries import Find, Reading
from client.audit_packets import Carried, carried, sent
from client.histories import ProvenEntry
from client.serials import histories
from client.verified import NotVerifiable, VerifiedChain, older_or_false
from ledger import codec, merkle, state
from ledger.containers import export_of
from ledger.history import entry_leaf
from ledger.limits import TRANSACTION_BYTES_MAX
from proto.chiptrace.v1.bridge_pb2 import ClientRecord, CustodyTransfer, Materialise
from proto.chiptrace.v1.ledger_pb2 import (
    ClosedBy,
    Entry,
    EntryKind,
    GenerationRecord,
    LotRecord,
    PartRecord,
    Reason,
)


def check_crossing(
    chain: VerifiedChain, chains: Mapping[bytes, VerifiedChain], part: str, arrival: Reading, find: Find
) -> VerifiedChain | None:
    """The chain a part came from, or None (a finding) when the trust file does not know it.

    1. The arrival carries the packet whose commitment stands in its entry, and the packet names this part.
    2. The client it came over is, proven here, a client of a chain in the trust file.
    3. That chain proves the part's complete history, with exactly this packet sent at the place it claims,
       over a client that is, proven there, a client of this chain.
    4. What stands before the send hashes to the root that travelled with the part; what was said to be inside it is
       what was closed for that crossing.
    5. Nothing stands after the send but that the part is gone for good, until it comes home by another crossing.

    Raises NotVerifiable when the chains contradict each other.
    """
    where = f"arrival of {part} on chain {chain.trust.name} at height {arrival.entry.height}"
    # (1)
    packet = arrival.carried
    if packet is None or arrival.entry.digest != packet.commitment or packet.transfer.part != part:
        raise NotVerifiable(f"{where}: its packet is not the one that was received", Reason.PACKET_MISMATCH)
    # (2)
    source = _source_over(chain, chains, part, where, packet.packet.destination_client, arrival, find)
    if source is None:
        return None
    # (3) to (5)
    _check_source(chain, source, part, where, arrival, packet, find)
    return source


def _check_source(
    chain: VerifiedChain,
    source: VerifiedChain,
    part: str,
    where: str,
    arrival: Reading,
    packet: Carried,
    find: Find,
) -> None:
    record = source.record(state.part_key(part), PartRecord)
    entries = source.history(state.part_key(part), record.history) if record is not None else []
    place = next(
        (
            proven.n
            for proven in entries
            if proven.entry.kind == EntryKind.SENT and proven.entry.digest == packet.commitment
        ),
        None,
    )
    # (3)
    if place is None:
        text = f"{where}: chain {source.trust.name} proves a complete history in which it was never sent"
        raise older_or_false(source, arrival.step.time_ms, text)
    over = _client_of(entries, place)
    there = None if over is None else source.record(state.client_key(over), ClientRecord)
    if over != packet.packet.source_client or there is None or there.chain_id != chain.trust.chain_id:
        raise NotVerifiable(
            f"{where}: chain {source.trust.name} sent it over client {over or 'unknown'}, which leads to another chain",
            Reason.WRONG_COUNTERPARTY,
        )
    # (4)
    leaves = [entry_leaf(source.trust.chain_id, codec.encode(proven.entry)) for proven in entries[:place]]
    if packet.transfer.history_n != place or packet.transfer.history_root != merkle.root(leaves):
        raise NotVerifiable(
            f"{where}: the history that travelled with it is not the one chain {source.trust.name} proves",
            Reason.PACKET_MISMATCH,
        )
    if packet.transfer.HasField("contents"):
        _check_contents(chain, source, part, packet.transfer, where)
    # (5)
    if len(entries) > place + 1:
        after = entries[place + 1].entry
        if after.kind != EntryKind.DEPARTED_FOR_GOOD or after.digest != packet.commitment:
            text = f"{where}: chain {source.trust.name} shows at height {after.height} that it was not gone by then"
            find(source, part, "TAKEN_BACK", text, (arrival.entry.transaction, after.transaction))


def _check_contents(
    chain: VerifiedChain, source: VerifiedChain, part: str, transfer: CustodyTransfer, where: str
) -> None:
    """What the packet says is inside is what that chain closed for this crossing."""
    said = transfer.contents
    left = source.record(state.generation_key(part, said.generation), GenerationRecord)
    same = left is not None and (
        left.closed_by == ClosedBy.EXPORT
        and (left.hop, left.destination, left.count) == (transfer.hop, chain.trust.chain_id, said.count)
        and (list(left.levels), list(left.manifest)) == (list(said.levels), list(said.manifest))
    )
    if not same:
        raise NotVerifiable(
            f"{where}: what the packet said was inside is not what left chain {source.trust.name}",
            Reason.PACKET_MISMATCH,
        )


# ---- inside containers ------------------------------------------------------------------------------------------


def check_materialised(
    chain: VerifiedChain, chains: Mapping[bytes, VerifiedChain], part: str, come: Reading, find: Find
) -> tuple[VerifiedChain, str] | None:
    """The chain from which a part came inside a container, and the client; None (a finding) for an unknown chain.

    1. The filling it entered here was opened by an arrival, over a client of that chain.
    2. That chain proves that the part was put into the filling that arrived, and not taken out of it,
    3. and that this filling left it with just that crossing for this chain.

    The container's own crossing is checked where the container is. Raises NotVerifiable.
    """
    entry = come.entry
    where = f"{part}, which came to chain {chain.trust.name} in {entry.container} (entry at height {entry.height})"
    # (1)
    filling = chain.record(state.generation_key(entry.container, entry.generation), GenerationRecord)
    shown = codec.decode(Materialise, come.operation.materialise, TRANSACTION_BYTES_MAX)
    if filling is None or not filling.from_chain or filling.opened_n != entry.container_n:
        raise NotVerifiable(f"{where}: that filling was opened by no arrival", Reason.PACKET_MISMATCH)
    found = _source_over(chain, chains, part, where, shown.client, come, find)
    if found is None:
        return None
    if found.trust.chain_id != filling.from_chain:
        raise NotVerifiable(f"{where}: the filling came from another chain", Reason.WRONG_COUNTERPARTY)
    # (2)
    record = found.record(state.part_key(part), PartRecord)
    entries = [one.entry for _, own in histories(found, record) for one in own] if record is not None else []
    place = (entry.container, filling.from_generation)
    put = [one.kind for one in entries if (one.container, one.generation) == place]
    if not put or put[-1] not in (EntryKind.PACKED, EntryKind.MATERIALISED):
        text = f"{where}: chain {found.trust.name} proves a complete history in which it was not inside"
        raise older_or_false(found, come.step.time_ms, text)
    # (3)
    inside = PartRecord(id=part, container=place[0], generation=place[1])
    left = export_of(found, inside)
    if left is None or (left.hop, left.destination) != (filling.from_hop, chain.trust.chain_id):
        text = f"{where}: by chain {found.trust.name} that filling did not leave for here at hop {filling.from_hop}"
        raise older_or_false(found, come.step.time_ms, text)
    return found, shown.client


# ---- lots -------------------------------------------------------------------------------------------------------


def check_lot(
    chain: VerifiedChain, chains: Mapping[bytes, VerifiedChain], lot: LotRecord, arrival: Reading, find: Find
) -> tuple[VerifiedChain, str] | None:
    """The chain from which some of a lot came, and the client; None (a finding) for an unknown chain.

    That chain knows the lot with the same serials; or it proves that it sent just this amount, with the history that
    travelled along. Raises NotVerifiable.
    """
    where = f"arrival of {lot.id} on chain {chain.trust.name} at height {arrival.entry.height}"
    packet = arrival.carried
    if packet is None:
        shown = codec.decode(Materialise, arrival.operation.materialise, TRANSACTION_BYTES_MAX)
        client = shown.client
    else:
        client = packet.packet.destination_client
    source = _source_over(chain, chains, lot.id, where, client, arrival, find)
    if source is None:
        return None
    theirs = source.record(state.lot_key(lot.id), LotRecord)
    if theirs is None or (theirs.origin_chain, theirs.serials) != (lot.origin_chain, lot.serials):
        text = f"{where}: chain {source.trust.name} knows no such lot, or another one"
        raise older_or_false(source, arrival.step.time_ms, text)
    if lot.serials.count or packet is None:
        return source, client
    entries = source.history(state.lot_key(lot.id), theirs.history)
    told = _history_told(packet.transfer, lot.id)
    place = next((one.n for one in entries if _is_send(one.entry, packet.commitment)), None)
    if place is None:
        text = f"{where}: chain {source.trust.name} proves a complete history in which it was not sent"
        raise older_or_false(source, arrival.step.time_ms, text)
    leaves = [entry_leaf(source.trust.chain_id, codec.encode(one.entry)) for one in entries[:place]]
    if told != (merkle.root(leaves), place):
        raise NotVerifiable(
            f"{where}: the history that travelled with it is not the one chain {source.trust.name} proves",
            Reason.PACKET_MISMATCH,
        )
    return source, client


def _is_send(entry: Entry, commitment: bytes) -> bool:
    return entry.kind == EntryKind.SENT and entry.digest == commitment


def _history_told(transfer: CustodyTransfer, lot: str) -> tuple[bytes, int]:
    if transfer.part == lot:
        return transfer.history_root, transfer.history_n
    rows = [row for row in transfer.contents.manifest if row.place]
    for row, item in zip(rows, transfer.contents.amounts, strict=False):
        if row.lot == lot:
            return item.history_root, item.history_n
    return b"", 0


def _source_over(
    chain: VerifiedChain,
    chains: Mapping[bytes, VerifiedChain],
    subject: str,
    where: str,
    over: str,
    reading: Reading,
    find: Find,
) -> VerifiedChain | None:
    """The chain behind a client of this chain, or None (a finding) when the trust file does not know it."""
    client = chain.record(state.client_key(over), ClientRecord)
    if client is None:
        raise NotVerifiable(f"{where}: client {over} has no record", Reason.UNKNOWN_CLIENT)
    source = chains.get(client.chain_id)
    if source is None or source is chain:
        text = f"{where}: it came from chain {client.chain_id.hex()}, which the trust file does not name; "
        text += "what happened there is not verified"
        find(chain, subject, "CHAIN_NOT_TRUSTED", text, (reading.entry.transaction,))
        return None
    return source


def _client_of(entries: Sequence[ProvenEntry], place: int) -> str | None:
    """The client that a send went over: named by a send_part; for a return the one of the arrival before it."""
    sending = entries[place]
    if sending.entry.operation >= len(sending.transaction.body.operations):
        return None
    operation = sending.transaction.body.operations[sending.entry.operation]
    if operation.WhichOneof("kind") == "send_part":
        return sent(operation).client
    for proven in reversed(entries[:place]):
        operations = proven.transaction.body.operations
        if proven.entry.kind == EntryKind.ARRIVED and proven.entry.operation < len(operations):
            arrived = carried(operations[proven.entry.operation])
            return None if arrived is None else arrived.packet.destination_client
    return None
