"""The step from one chain to the chain a part came from: both must tell the same story."""

from collections.abc import Mapping

from bridge.packet import packet_commitment
from client.audit_entries import Find, Reading
from client.verified import NotVerifiable, VerifiedChain
from ledger import codec, merkle, state
from ledger.history import entry_leaf
from ledger.limits import PACKET_VALUE_BYTES_MAX, TRANSACTION_BYTES_MAX
from proto.chiptrace.v1.bridge_pb2 import ClientRecord, CustodyTransfer, Packet, ReceivePacket
from proto.chiptrace.v1.ledger_pb2 import EntryKind, PartRecord, PartStatus, Reason

_PRESENT = (PartStatus.LIVE, PartStatus.OFFERED)


def check_crossing(
    chain: VerifiedChain,
    chains: Mapping[bytes, VerifiedChain],
    record: PartRecord,
    arrival: Reading,
    find: Find,
) -> VerifiedChain | None:
    """The chain a part came from, or None (a finding) when the trust file does not know it.

    1. The arrival carries the packet whose commitment stands in its entry, and the packet names this part.
    2. The client it came over is, proven here, a client of a chain in the trust file.
    3. That chain proves the part's complete history, with exactly this packet sent at the place it claims.
    4. What stands before the send hashes to the root that travelled with the part.
    5. The part is not present on both chains.

    Raises NotVerifiable when the chains contradict each other.
    """
    received = codec.decode(ReceivePacket, arrival.operation.receive_packet, TRANSACTION_BYTES_MAX)
    packet = received.packet
    transfer = codec.decode(CustodyTransfer, packet.value, PACKET_VALUE_BYTES_MAX)
    where = f"arrival of {record.id} on chain {chain.trust.name} at height {arrival.entry.height}"
    # (1)
    if arrival.entry.digest != packet_commitment(packet) or transfer.part != record.id:
        raise NotVerifiable(f"{where}: its packet is not the one that was received", Reason.PACKET_MISMATCH)
    # (2)
    client = chain.record(state.client_key(packet.destination_client), ClientRecord)
    if client is None:
        raise NotVerifiable(
            f"{where}: client {packet.destination_client} has no record", Reason.UNKNOWN_CLIENT
        )
    source = chains.get(client.chain_id)
    if source is None:
        find(
            chain,
            record.id,
            "CHAIN_NOT_TRUSTED",
            f"{where}: it came from chain {client.chain_id.hex()}, which the trust file does not name; what happened "
            "there is not verified",
            (arrival.entry.transaction,),
        )
        return None
    # (3) and (4)
    sent = source.record(state.part_key(record.id), PartRecord)
    if sent is None:
        raise NotVerifiable(
            f"{where}: chain {source.trust.name} proves that it never had this part", Reason.BAD_PROOF
        )
    _check_sent(source, sent, packet, transfer, where)
    # (5)
    if record.status in _PRESENT and sent.status in _PRESENT:
        find(
            chain,
            record.id,
            "LIVE_TWICE",
            f"{record.id} is present on chain {chain.trust.name} and on chain {source.trust.name}",
            (arrival.entry.transaction,),
        )
    return source


def _check_sent(
    source: VerifiedChain, sent: PartRecord, packet: Packet, transfer: CustodyTransfer, where: str
) -> None:
    digest = packet_commitment(packet)
    entries = source.history(state.part_key(sent.id), sent.history)
    place = next((p.n for p in entries if p.entry.kind == EntryKind.SENT and p.entry.digest == digest), None)
    if place is None:
        raise NotVerifiable(
            f"{where}: chain {source.trust.name} proves a complete history in which it was never sent",
            Reason.PACKET_MISMATCH,
        )
    leaves = [entry_leaf(source.trust.chain_id, codec.encode(proven.entry)) for proven in entries[:place]]
    if transfer.history_n != place or transfer.history_root != merkle.root(leaves):
        raise NotVerifiable(
            f"{where}: the history that travelled with it is not the one chain {source.trust.name} proves",
            Reason.PACKET_MISMATCH,
        )
