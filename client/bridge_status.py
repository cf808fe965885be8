"""Where the bridge stands, as the chains prove it: clients, packets, and why a packet or a part is where it is.

Nothing here asks a relayer. Whether a packet was sent, received, answered and closed is proven by both chains; only its
body and the heights are a node's word (the body is compared with its commitment while that stands).
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bridge.clients import clients_of
from bridge.packet import (
    ERROR,
    SUCCESS,
    acknowledgement_commitment,
    packet_commitment,
)
from client.clock import now_ms
from client.connection import NoAnswer, NodeRefused
from client.trust import Trust
from client.verified import VerifiedChain
from ledger import limits, state
from ledger.errors import Malformed
from proto.chiptrace.v1.bridge_pb2 import ClientRecord, Packet
from proto.chiptrace.v1.ledger_pb2 import Reason
from proto.chiptrace.v1.node_pb2 import PacketItem, PacketsRequest

CONFIG_BYTES_MAX: Final = 1_048_576


@dataclass(frozen=True, slots=True)
class Place:
    """A client: on which chain, its id, and the name of the chain that it follows."""

    chain: str
    client: str
    other: str


def places(trust: Trust, config: Path | None, chains: Mapping[str, VerifiedChain]) -> list[Place]:
    """The clients to look at: those of a relayer's configuration; else all that the chains of the trust file have of each
    other, as each chain proves. A chain that does not answer is taken to have one named like the chain it follows, so
    that whoever asks for it is told. Raises Malformed, OSError, NotVerifiable."""
    if config is None:
        names = [chain.name for chain in trust.chains]
        pairs = [(name, other) for name in names for other in names if other != name]
        return [
            Place(name, client, other)
            for name, other in pairs
            for client in _clients(chains[name], trust.chain(other).chain_id, other)
        ]
    with config.open("rb") as file:
        data = file.read(CONFIG_BYTES_MAX)
    try:
        routes = tomllib.loads(data.decode())["routes"]
        found = []
        for route in routes:
            first, second = trust.chain(route["first"]).name, trust.chain(route["second"]).name
            found.append(Place(first, str(route["first_client"]), second))
            found.append(Place(second, str(route["second_client"]), first))
    except (ValueError, KeyError, TypeError) as error:
        raise Malformed(f"{config} is no relayer's configuration: {error!r}") from None
    return found


def _clients(chain: VerifiedChain, followed: bytes, usual: str) -> list[str]:
    try:
        return clients_of(chain, followed)
    except (NoAnswer, NodeRefused):
        return [usual]


# ---- clients --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ClientStatus:
    """A client as its chain proves it."""

    place: Place
    record: ClientRecord
    now_ms: int  # of the chain that keeps it

    @property
    def age_ms(self) -> int:
        """How old its newest header is."""
        return max(0, self.now_ms - self.record.latest_time_ms)

    @property
    def state(self) -> str:
        """active, frozen or expired."""
        if self.record.frozen:
            return "frozen"
        return "expired" if self.age_ms > self.record.trusting_period_ms else "active"

    @property
    def help(self) -> str:
        """What is to be done, if anything."""
        if self.state == "frozen":
            why = {
                Reason.CHAIN_REHOMED: "the chain it follows was given up; it stays so",
                Reason.CLIENT_TOO_WEAK: "one member could certify the chain it follows; governance of both may thaw it",
            }
            usual = "the other chain was caught contradicting itself; governance of both chains may thaw it"
            return why.get(self.record.frozen_for, usual)
        if self.state == "expired":
            return "it saw no header for too long; governance of both chains may give it a new anchor"
        if self.age_ms * 3 > self.record.trusting_period_ms * 2:
            return "no relayer refreshes it; it expires soon (`chiptrace bridge clear` does it once)"
        return ""


def client_status(chains: Mapping[str, VerifiedChain], place: Place) -> ClientStatus | None:
    """The client at a place; None where the chain proves that there is none. Raises NotVerifiable, NoAnswer."""
    chain = chains[place.chain]
    record = chain.record(state.client_key(place.client), ClientRecord)
    return None if record is None else ClientStatus(place, record, chain.snapshot().time_ms)


# ---- packets --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PacketStatus:
    """Where a packet stands, and why."""

    source: Place
    sequence: int
    packet: Packet | None
    sent_height: int
    state: str
    why: str
    steps: tuple[tuple[str, bool, str], ...]  # what, whether it is done, and a note


def listed(chain: VerifiedChain, client: str, first: int = 1) -> Iterator[PacketItem]:
    """Packets sent over a client from a sequence on, as a node lists them; none beyond those that the chain proves to have
    sent. Raises NotVerifiable, NoAnswer."""
    record = chain.record(state.client_key(client), ClientRecord)
    end = record.next_sequence if record is not None else 0
    while first < end:
        request = PacketsRequest(client=client, from_sequence=first)
        items = chain.connection.call(lambda stub: stub.GetPackets, request).items
        for item in items:
            if not first <= item.packet.sequence < end:
                return
            yield item
            first = item.packet.sequence + 1
        if not items:
            return


def packet_status(chains: Mapping[str, VerifiedChain], place: Place, sequence: int) -> PacketStatus:
    """One packet sent from a place. Raises NotVerifiable, NoAnswer, Malformed."""
    source, host = chains[place.chain], chains[place.other]
    here = client_status(chains, place)
    if here is None or not 1 <= sequence < here.record.next_sequence:
        sent = here.record.next_sequence - 1 if here else 0
        raise Malformed(
            f"{sent} packets were sent from {place.chain} over client '{place.client}'; name one of them"
        )
    there = Place(place.other, here.record.counterparty_client, place.chain)
    far = client_status(chains, there)
    item = next(
        (item for item in listed(source, place.client, sequence) if item.packet.sequence == sequence), None
    )
    commitment = source.get(state.commitment_key(place.client, sequence))
    receipt = host.get(state.receipt_key(there.client, sequence))
    answer = host.get(state.acknowledgement_key(there.client, sequence))
    packet = item.packet if item is not None else None
    if packet is not None and commitment is not None and packet_commitment(packet) != commitment:
        packet = None  # the node's body is another one
    return _judged(
        place, sequence, item, packet, here, far, (commitment, receipt, answer), host.snapshot().time_ms
    )


def _judged(
    place: Place,
    sequence: int,
    item: PacketItem | None,
    packet: Packet | None,
    here: ClientStatus,
    far: ClientStatus | None,
    proven: tuple[bytes | None, bytes | None, bytes | None],
    host_ms: int,
) -> PacketStatus:
    commitment, receipt, answer = proven
    said = {acknowledgement_commitment(SUCCESS): "success", acknowledgement_commitment(ERROR): "error"}
    answered = said.get(answer or b"", "")
    height = item.height if item is not None else 0
    timeout_ms = packet.timeout_ms if packet is not None else 0
    late = bool(timeout_ms) and host_ms >= timeout_ms
    known = far is not None and far.record.latest_height > height
    steps = (
        (f"sent from {place.chain} over client {place.client}", True, f"height {height}" if height else ""),
        (f"header of {place.chain} known on {place.other}", known or receipt is not None, _client_note(far)),
        (f"received on {place.other}", receipt is not None, answered),
        (f"header of {place.other} known on {place.chain}", commitment is None, _client_note(here)),
        (f"closed on {place.chain}", commitment is None, ""),
    )
    if commitment is None:
        word = {"success": "delivered", "error": "refused"}.get(
            answered, "timed out" if receipt is None else "closed"
        )
        return PacketStatus(place, sequence, packet, height, word, "", steps)
    if receipt is not None:
        why = (
            here.help or f"{answered or 'its answer'} waits to be brought back to {place.chain} by a relayer"
        )
        return PacketStatus(place, sequence, packet, height, "answered", why, steps)
    if late:
        why = (
            here.help
            or f"its time was up {_ago(host_ms - timeout_ms)}; a relayer brings the proof that it never arrived"
        )
        return PacketStatus(place, sequence, packet, height, "late", why, steps)
    if far is None:
        why = f"chain {place.other} has no client '{here.record.counterparty_client}'; its governance creates it"
    else:
        left = f"; it has {_ago(timeout_ms - host_ms, '')} left" if timeout_ms else ""
        why = far.help or f"a relayer has not brought it to {place.other} yet{left}"
    return PacketStatus(place, sequence, packet, height, "sent", why, steps)


def _client_note(client: ClientStatus | None) -> str:
    if client is None:
        return "no client there"
    note = f"client {client.place.client} is {client.state}, at height {client.record.latest_height}"
    return f"{note}, {_ago(client.age_ms)} old" if client.state == "active" else note


def _ago(milliseconds: int, word: str = "") -> str:
    seconds = max(0, milliseconds) // 1_000
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}{word}"
    return f"{seconds} s{word}"


def said(status: PacketStatus) -> dict[str, Any]:
    """A packet's standing for scripts."""
    packet = status.packet
    return {
        "chain": status.source.chain,
        "client": status.source.client,
        "to": status.source.other,
        "sequence": status.sequence,
        "state": status.state,
        "why": status.why,
        "sent_height": status.sent_height,
        "timeout_ms": packet.timeout_ms if packet else None,
        "port": packet.source_port if packet else None,
        "bytes": len(packet.value) if packet else None,
        "steps": [{"step": what, "done": done, "note": note} for what, done, note in status.steps],
    }


def age_ms(chain: VerifiedChain, height: int) -> int:
    """How long ago a height was decided, by the asker's clock. Raises NotVerifiable, NoAnswer."""
    pinned = chain.snapshot()
    if not 1 <= height <= min(pinned.height, limits.U64_MAX):
        return 0
    return max(0, now_ms() - chain.times([height])[height])
