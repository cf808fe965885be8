"""What a relayer should do next: a pure function of what the nodes of two chains answer.

A relayer is untrusted and disposable. It signs with a key of role RELAYER, which may do nothing but carry; what it
carries is proven. It keeps no state that matters: everything is planned anew from the chains themselves, by height
and sequence and never from subscriptions, so that one that was down for a day behaves as one that was not.

One round of the loop for one pair of clients (client/relay_route.py is its skin, tests/bridge/two_chains.py its twin in
memory). Pairs share nothing, whatever chains they join: a network of any shape is one loop for each pair.

1. Ask a node of each chain where it stands, and for the record of its client of the other chain.
2. Ask each for new packets, and for what it answered to the other's open ones (relayer_outbox.py remembers them, and
   says in which lane each goes). That is a `ChainView` each.
3. `plan` says what to bring to which chain, in which order, and under which header each thing is to be proven.
4. Per chain, `groups` cuts the actions into transactions. For each: headers from the other chain's GetHeaders, up to
   the planned one; keys proven there at the height below the planned header; `operation` puts them together. Submit
   the first group and wait until it is final, for the others rest on its headers.
5. What was refused is left out of the next rounds for a while (`skip_on_…`); a result names the operation that was. Then
   begin again: a redundant message is OK and changes nothing, so two relayers only share the work.

Clocks: only header times count. Whether a packet is late is the destination's to say, never this machine's.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from bridge.packet import answered_key, received_key, sent_key
from ledger import codec
from ledger.limits import OPERATIONS_PER_TRANSACTION_MAX, TRANSACTION_BYTES_MAX
from proto.chiptrace.v1.bridge_pb2 import (
    AcknowledgePacket,
    Packet,
    ReceivePacket,
    RemoteProof,
    TimeoutPacket,
    UpdateClient,
)
from proto.chiptrace.v1.consensus_pb2 import SignedHeader
from proto.chiptrace.v1.ledger_pb2 import AppHashOpening, LogLeafProof, Operation, StateProof

# A client is refreshed when this part of its trusting period has gone by without news.
_REFRESH_AFTER_THIRDS: Final = 1
# What a transaction needs beside its operations.
_ENVELOPE_BYTES: Final = 1_024
_FRAME_BYTES: Final = 16  # tags and lengths around one operation

# ---- what the nodes answered ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ClientView:
    """A chain's client of the other chain. Heights and times are the other chain's."""

    id: str
    latest_height: int
    latest_time_ms: int
    trusting_period_ms: int
    frozen: bool


@dataclass(frozen=True, slots=True)
class SentPacket:
    """A packet whose commitment is in state: neither acknowledged nor timed out."""

    packet: Packet
    height: int  # of the send


@dataclass(frozen=True, slots=True)
class ReceivedPacket:
    """A packet of the other chain that was received here, and what was answered."""

    sequence: int
    height: int  # of the receipt
    acknowledgement: bytes


@dataclass(frozen=True, slots=True)
class ChainView:
    """One chain of the pair. The state after height h is proven under header h + 1.

    `received` tells of every open packet of the other chain that was received here; one that is missing counts
    as not received, and is then brought once more for nothing.
    """

    head_height: int  # of the newest certified header
    head_time_ms: int
    proven_time_ms: int  # header time of height head_height - 1, the newest whose state can be proven
    proven_from: int  # lowest height whose state the node still proves
    client: ClientView
    open_packets: tuple[SentPacket, ...]  # ascending by sequence
    received: tuple[ReceivedPacket, ...]  # ascending by sequence


# ---- what to do -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Update:
    """Bring the other chain's headers above `from_height`: every boundary, and the one at `to_height`."""

    client: str
    from_height: int
    to_height: int


@dataclass(frozen=True, slots=True)
class Receive:
    """Bring a packet with the proof of its commitment, `key`, under the header at `header_height`."""

    packet: Packet
    header_height: int
    key: bytes


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Bring the answer to a packet with the proof of it, `key`, under the header at `header_height`."""

    packet: Packet
    acknowledgement: bytes
    header_height: int
    key: bytes


@dataclass(frozen=True, slots=True)
class TimeOut:
    """Bring the proof that a packet's receipt, `key`, is absent under the header at `header_height`."""

    packet: Packet
    header_height: int
    key: bytes


PacketAction = Receive | Acknowledge | TimeOut
Action = Update | PacketAction


@dataclass(frozen=True, slots=True)
class Plan:
    """Actions per chain, in order, and which clients nothing more can be done for by a relayer."""

    on_a: tuple[Action, ...]
    on_b: tuple[Action, ...]
    stuck: tuple[str, ...]  # for people: a frozen or expired client, named with what helps


def plan(
    a: ChainView,
    b: ChainView,
    packets_max: int = 1_000,
    skip_on_a: Collection[bytes] = frozenset(),
    skip_on_b: Collection[bytes] = frozenset(),
    clearing_on_a: Collection[bytes] = frozenset(),
    clearing_on_b: Collection[bytes] = frozenset(),
) -> Plan:
    """What to bring to each chain now; per chain at most `packets_max` packet actions of each lane.

    By the `key` of the action, `skip_on_…` names what that chain refused lately, and `clearing_on_…` what is to be brought
    to it in the clearing lane; all else is in the live lane.
    """
    on_a, stuck_a = _bring(b, a, packets_max, skip_on_a, clearing_on_a)
    on_b, stuck_b = _bring(a, b, packets_max, skip_on_b, clearing_on_b)
    return Plan(on_a, on_b, (*stuck_a, *stuck_b))


def _bring(
    source: ChainView,
    host: ChainView,
    packets_max: int,
    skip: Collection[bytes],
    clearing: Collection[bytes],
) -> tuple[tuple[Action, ...], tuple[str, ...]]:
    """What to bring from `source` to `host`, whose client of it is `host.client`."""
    client = host.client
    # (1) Terminal states are terminal: no relayer thaws a client.
    if client.frozen:
        return (), (
            f"client {client.id} is frozen; governance of both chains may thaw it, unless its chain was given up",
        )
    age_ms = host.head_time_ms - client.latest_time_ms
    if age_ms > client.trusting_period_ms:
        return (), (f"client {client.id} has expired; governance of both chains may give it a new anchor",)
    if source.head_height < client.latest_height:
        return (), ()  # this node is behind what the client has seen; ask again
    # (2) What there is to bring, each with the lowest header that it can be proven under.
    wanted = [item for item in _packet_actions(source, host) if item[1].key not in skip]
    needed = _share(wanted, packets_max, clearing)
    # (3) The header to prove under: the one the client has where it serves all and is young, else the newest.
    serves = source.proven_from < client.latest_height and all(
        needs <= client.latest_height for needs, _ in needed
    )
    old = age_ms * 3 >= client.trusting_period_ms * _REFRESH_AFTER_THIRDS
    height = client.latest_height if serves and not old else source.head_height
    actions: list[Action] = [replace(action, header_height=height) for _, action in needed]
    # (4) Headers only where something rests on them, or where the client grows old.
    if height > client.latest_height and (actions or old):
        actions.insert(0, Update(client.id, client.latest_height, height))
    return tuple(actions), ()


def _share(
    wanted: Sequence[tuple[int, PacketAction]], packets_max: int, clearing: Collection[bytes]
) -> list[tuple[int, PacketAction]]:
    """So many of each lane, in the order in which they are wanted: no backlog, however long, holds up what is new."""
    left = {True: packets_max, False: packets_max}
    needed = []
    for item in wanted:
        lane = item[1].key in clearing
        if left[lane]:
            left[lane] -= 1
            needed.append(item)
    return needed


def _packet_actions(source: ChainView, host: ChainView) -> Iterator[tuple[int, PacketAction]]:
    """What the host lacks, each with the lowest header of the source that proves it.

    Ends come before beginnings: a part that comes home must find its departure acknowledged.
    """
    head = source.head_height
    received = {item.sequence: item for item in source.received}
    # (1) Answers to the host's packets, and the proof that there will be none.
    for sent in host.open_packets:
        answer = received.get(sent.packet.sequence)
        if answer is not None:
            if answer.height < head:
                key = answered_key(sent.packet)
                yield answer.height + 1, Acknowledge(sent.packet, answer.acknowledgement, head, key)
        elif source.proven_time_ms >= sent.packet.timeout_ms:
            yield head, TimeOut(sent.packet, head, received_key(sent.packet))
    # (2) Packets for the host that it has not received and still may.
    taken = {item.sequence for item in host.received}
    for sent in source.open_packets:
        late = host.head_time_ms >= sent.packet.timeout_ms
        if sent.packet.sequence not in taken and not late and sent.height < head:
            yield sent.height + 1, Receive(sent.packet, head, sent_key(sent.packet))


# ---- how to do it -------------------------------------------------------------------------------------------


def groups(
    actions: Iterable[Action],
    bytes_of: Callable[[Action], int],
    together_max: int = OPERATIONS_PER_TRANSACTION_MAX,
) -> tuple[tuple[Action, ...], ...]:
    """The actions cut into transactions, in order, of so many at most. `bytes_of` says how long the operation of an action
    is."""
    cut: list[tuple[Action, ...]] = []
    group: list[Action] = []
    room = 0
    for action in actions:
        size = bytes_of(action) + _FRAME_BYTES
        if group and (size > room or len(group) == together_max):
            cut.append(tuple(group))
            group = []
        if not group:
            room = TRANSACTION_BYTES_MAX - _ENVELOPE_BYTES
        group.append(action)
        room -= size
    if group:
        cut.append(tuple(group))
    return tuple(cut)


def headers_together(headers: Sequence[SignedHeader]) -> list[SignedHeader]:
    """As many, from the first on, as one transaction carries: of 31 validators with long names, each
    change of the set takes four kilobytes."""
    room = TRANSACTION_BYTES_MAX - _ENVELOPE_BYTES
    kept: list[SignedHeader] = []
    for signed in headers:
        room -= signed.ByteSize() + _FRAME_BYTES
        if kept and room < 0:
            break
        kept.append(signed)
    return kept


def update_operation(action: Update, headers: Sequence[SignedHeader]) -> Operation:
    """The operation that brings these headers (at most HEADERS_PER_UPDATE_MAX)."""
    return Operation(update_client=codec.encode(UpdateClient(client=action.client, headers=headers)))


def packet_operation(
    action: PacketAction, opening: AppHashOpening, proof: StateProof, last_leaf: LogLeafProof | None
) -> Operation:
    """The operation of a packet action, with the proof of its `key` under its header.

    `opening` and `last_leaf` are those of the height below the header; the leaf goes along with timeouts only.
    """
    remote = RemoteProof(header_height=action.header_height, opening=opening, proof=proof)
    if isinstance(action, Receive):
        return Operation(receive_packet=codec.encode(ReceivePacket(packet=action.packet, proof=remote)))
    if isinstance(action, Acknowledge):
        acknowledge = AcknowledgePacket(
            packet=action.packet, acknowledgement=action.acknowledgement, proof=remote
        )
        return Operation(acknowledge_packet=codec.encode(acknowledge))
    if last_leaf is not None:
        remote.last_leaf.CopyFrom(last_leaf)
    return Operation(timeout_packet=codec.encode(TimeoutPacket(packet=action.packet, proof=remote)))
