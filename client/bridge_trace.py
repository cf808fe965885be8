"""Where a part is between chains: its crossings as the histories of all chains prove them, and what it waits for now."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from client.bridge_status import PacketStatus, Place, packet_status
from client.serials import find_part, histories
from client.verified import VerifiedChain
from ledger import state
from ledger.limits import CONTAINER_DEPTH_MAX
from proto.chiptrace.v1.bridge_pb2 import ClientRecord
from proto.chiptrace.v1.ledger_pb2 import EntryKind, PartRecord, PartStatus

CROSSING: Final = (
    EntryKind.SENT,
    EntryKind.ARRIVED,
    EntryKind.DEPARTED_FOR_GOOD,
    EntryKind.RETURNED,
    EntryKind.FOLLOWED,
)
_WORDS: Final = {
    EntryKind.SENT: "sent over the bridge",
    EntryKind.ARRIVED: "arrived over the bridge",
    EntryKind.DEPARTED_FOR_GOOD: "departed: the other chain has it",
    EntryKind.RETURNED: "returned: refused there, timed out, or the offer was given back",
    EntryKind.FOLLOWED: "known to have gone on from another chain",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a chain has recorded of a part's crossings."""

    time_ms: int
    chain: str
    height: int
    text: str


@dataclass(frozen=True, slots=True)
class Standing:
    """What one chain says of the part now."""

    chain: str
    record: PartRecord
    why: str
    packet: PacketStatus | None


@dataclass(frozen=True, slots=True)
class Trace:
    """A part's crossings over all chains, oldest first, and where it stands on each."""

    steps: tuple[Step, ...]
    standings: tuple[Standing, ...]


def trace(chains: Mapping[str, VerifiedChain], name: str) -> Trace:
    """Follow a part, by canonical id, over the chains. Raises NotVerifiable, NoAnswer."""
    steps: list[Step] = []
    standings = []
    for chain in chains.values():
        record = find_part(chain, name)
        if record is None:
            continue
        proven = [
            item for _, entries in histories(chain, record) for item in entries if item.entry.kind in CROSSING
        ]
        times = chain.times({item.entry.height for item in proven})
        steps += [
            Step(times[item.entry.height], chain.trust.name, item.entry.height, _WORDS[item.entry.kind])
            for item in proven
        ]
        standings.append(_standing(chains, chain, record))
    return Trace(tuple(sorted(steps, key=lambda step: (step.time_ms, step.chain))), tuple(standings))


def _standing(chains: Mapping[str, VerifiedChain], chain: VerifiedChain, record: PartRecord) -> Standing:
    """Why the part stands there as it does; what is inside something goes by the outermost thing that has it."""
    outermost = record
    for _ in range(CONTAINER_DEPTH_MAX):
        above = find_part(chain, outermost.container) if outermost.container else None
        if above is None:
            break
        outermost = above
    packet = None
    if outermost.status == PartStatus.IN_TRANSIT:
        client = chain.record(state.client_key(outermost.client), ClientRecord)
        other = next(
            (
                item.trust.name
                for item in chains.values()
                if client and item.trust.chain_id == client.chain_id
            ),
            "",
        )
        if other:
            place = Place(chain.trust.name, outermost.client, other)
            packet = packet_status(chains, place, outermost.sequence)
    why = _why(chains, outermost, packet)
    if outermost is not record:
        why = f"inside {outermost.id}, which {'is ' if not why.startswith('is ') else ''}{why}"
    return Standing(chain.trust.name, record, why, packet)


def _why(chains: Mapping[str, VerifiedChain], record: PartRecord, packet: PacketStatus | None) -> str:
    if record.status == PartStatus.IN_TRANSIT:
        if packet is None:
            return f"under way over client '{record.client}', whose chain the trust file does not name"
        return f"under way as packet {packet.sequence} over client '{record.client}': {packet.state}; {packet.why}".rstrip(
            "; "
        )
    if record.status == PartStatus.DEPARTED and record.gone_to:
        names = [item.trust.name for item in chains.values() if item.trust.chain_id == record.gone_to]
        return f"known to have gone on to chain {(names or [record.gone_to.hex()])[0]}"
    if record.status == PartStatus.DEPARTED:
        return f"on the chain that client '{record.client}' follows (packet {record.sequence})"
    if record.status == PartStatus.OFFERED:
        whose = "arrived over the bridge and is offered" if record.arrived_offer else "offered"
        return f"{whose} to {record.offered_to}, who has not received it yet"
    if record.status == PartStatus.LIVE:
        return f"present, with {record.holder}"
    return PartStatus.Name(record.status).lower()
