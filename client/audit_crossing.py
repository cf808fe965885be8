"""The step from one chain to the chain a part came from: both must tell the same story."""

from collections.abc import Mapping, Sequence

from client.audit_entries import Find, Reading
from client.audit_kinds import Carried, carried
from client.histories import ProvenEntry
from client.verified import NotVerifiable, Overtaken, VerifiedChain
from ledger import codec, merkle, state
from ledger.history import entry_leaf
from ledger.limits import TRANSACTION_BYTES_MAX
from proto.chiptrace.v1.bridge_pb2 import ClientRecord, SendPart
from proto.chiptrace.v1.ledger_pb2 import EntryKind, PartRecord, Reason


def check_crossing(
    chain: VerifiedChain, chains: Mapping[bytes, VerifiedChain], part: str, arrival: Reading, find: Find
) -> VerifiedChain | None:
    """The chain a part came from, or None (a finding) when the trust file does not know it.

    1. The arrival carries the packet whose commitment stands in its entry, and the packet names this part.
    2. The client it came over is, proven here, a client of a chain in the trust file.
    3. That chain proves the part's complete history, with exactly this packet sent at the place it claims,
       over a client that is, proven there, a client of this chain.
    4. What stands before the send hashes to the root that travelled with the part.
    5. Nothing stands after the send but that the part is gone for good, until it comes home by another crossing.

    Raises NotVerifiable when the chains contradict each other.
    """
    where = f"arrival of {part} on chain {chain.trust.name} at height {arrival.entry.height}"
    # (1)
    packet = carried(arrival.operation)
    if packet is None or arrival.entry.digest != packet.commitment or packet.transfer.part != part:
        raise NotVerifiable(f"{where}: its packet is not the one that was received", Reason.PACKET_MISMATCH)
    # (2)
    client = chain.record(state.client_key(packet.packet.destination_client), ClientRecord)
    if client is None:
        raise NotVerifiable(
            f"{where}: client {packet.packet.destination_client} has no record", Reason.UNKNOWN_CLIENT
        )
    source = chains.get(client.chain_id)
    if source is None or source is chain:
        text = f"{where}: it came from chain {client.chain_id.hex()}, which the trust file does not name; "
        text += "what happened there is not verified"
        find(chain, part, "CHAIN_NOT_TRUSTED", text, (arrival.entry.transaction,))
        return None
    # (3) to (5)
    _check_source(chain, source, part, arrival, packet, find)
    return source


def _check_source(
    chain: VerifiedChain, source: VerifiedChain, part: str, arrival: Reading, packet: Carried, find: Find
) -> None:
    where = f"arrival of {part} on chain {chain.trust.name} at height {arrival.entry.height}"
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
        if arrival.step.time_ms > source.snapshot().time_ms:
            raise Overtaken(text, Reason.PACKET_MISMATCH)
        raise NotVerifiable(text, Reason.PACKET_MISMATCH)
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
    # (5)
    if len(entries) > place + 1:
        after = entries[place + 1].entry
        if after.kind != EntryKind.DEPARTED_FOR_GOOD or after.digest != packet.commitment:
            text = f"{where}: chain {source.trust.name} shows at height {after.height} that it was not gone by then"
            find(source, part, "TAKEN_BACK", text, (arrival.entry.transaction, after.transaction))


def _client_of(entries: Sequence[ProvenEntry], place: int) -> str | None:
    """The client that a send went over: named by a send_part; for a return the one of the arrival before it."""
    sent = entries[place]
    if sent.entry.operation >= len(sent.transaction.body.operations):
        return None
    operation = sent.transaction.body.operations[sent.entry.operation]
    if operation.WhichOneof("kind") == "send_part":
        return codec.decode(SendPart, operation.send_part, TRANSACTION_BYTES_MAX).client
    for proven in reversed(entries[:place]):
        operations = proven.transaction.body.operations
        if proven.entry.kind == EntryKind.ARRIVED and proven.entry.operation < len(operations):
            arrived = carried(operations[proven.entry.operation])
            return None if arrived is None else arrived.packet.destination_client
    return None
