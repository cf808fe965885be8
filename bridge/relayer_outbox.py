"""What a relayer knows of the packets that one chain has sent over one client: which are open, which were answered.

Nothing here is believed: it only saves asking again. Two cursors move up: `low` (every lower sequence is closed, so a
scan begins there; the one number worth keeping over a restart) and `next` (where new packets are looked for). A node
that lies about either costs time, no more: scans from `low` ask one node after another and find what was missed, `low`
moves no further than each of the nodes has said by itself, and a wrong answer is put right by the chain's own refusal.
Losing all of it costs one scan.

A packet is in one of two lanes. LIVE: it was seen as it was sent. CLEARING: it was found by a scan, because the relayer
was not there or a try was refused; so that a backlog, however long, never holds up what is new.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from bridge.relayer_plan import ReceivedPacket, SentPacket
from ledger.errors import Invalid
from proto.chiptrace.v1.bridge_pb2 import Packet
from proto.chiptrace.v1.ledger_pb2 import Reason
from proto.chiptrace.v1.node_pb2 import PacketItem

OPEN_MAX: Final = 20_000  # packets held at a time; a longer backlog is taken from its beginning
OPEN_BYTES_MAX: Final = 67_108_864  # of their bodies
SEQUENCE_MAX: Final = 2**62  # no chain comes to send so many; whoever keeps a cursor has room for it
RUN_GAP_MAX: Final = 64  # answered packets read once more so that one question does for two


class Lane(Enum):
    """What a packet is carried among; each has its own share of a round."""

    LIVE = "live"
    CLEARING = "clearing"


@dataclass(slots=True)
class OpenPacket:
    """A packet that is neither acknowledged nor timed out, as far as is known."""

    sent: SentPacket
    lane: Lane
    answer: ReceivedPacket | None = None
    checked: bool = False  # its body was held against the commitment in state

    @property
    def sequence(self) -> int:
        """Its number among those sent over the client."""
        return self.sent.packet.sequence


@dataclass(slots=True)
class _Scan:
    """A scan under way, as one node tells it."""

    at: int  # where it goes on
    low: int = 0  # the first open sequence that it met; 0: none yet


class Outbox:
    """The packets sent over `client` to the chain that calls this one `counterparty`. `voices`: how many nodes
    must each have told a whole scan before `low` moves; where that is all of them, a single honest one is enough."""

    def __init__(self, client: str, counterparty: str, low: int = 1, voices: int = 2) -> None:
        self.client = client
        self.counterparty = counterparty
        self.low = low
        self.next = low
        self._open: dict[int, OpenPacket] = {}  # ascending, but for what a scan has found
        self._bytes = 0  # of the bodies of these
        self._scans: dict[str, _Scan] = {}  # by who tells
        self._voices = voices
        self._claims: dict[str, int] = {}  # what `low` may be, by who told a whole scan

    def __len__(self) -> int:
        return len(self._open)

    @property
    def full(self) -> bool:
        """Whether no more packets are taken in for now."""
        return len(self._open) >= OPEN_MAX or self._bytes >= OPEN_BYTES_MAX

    def scan_from(self, voice: str) -> int:
        """Where the scan that this node tells goes on. Each has its own, so that one without an end holds up no other."""
        return self._scan(voice).at

    def open(self) -> tuple[OpenPacket, ...]:
        """What is open, ascending."""
        return tuple(self._open[sequence] for sequence in sorted(self._open))

    def begin(self, next_sequence: int) -> None:
        """What was sent before this sequence is for a scan to find."""
        self.next = max(self.next, next_sequence)

    # ---- what nodes answered ------------------------------------------------------------------------------

    def see_new(self, items: Sequence[PacketItem]) -> None:
        """Packets from `next` on, as a node lists them. Raises Invalid for what no honest node answers."""
        for item in self._checked(items, self.next):
            if item.open:
                self._take(item, Lane.LIVE)
            self.next = item.packet.sequence + 1

    def see_scanned(self, items: Sequence[PacketItem], voice: str) -> bool:
        """Packets from `scan_from` on, as this node tells; True when its scan is through. `low` moves only then. Raises
        Invalid."""
        scan = self._scan(voice)
        checked = self._checked(items, scan.at)
        self._make_room(checked)
        for item in checked:
            sequence = item.packet.sequence
            if item.open:
                self._take_again(item)
                scan.low = scan.low or sequence
            else:
                self.close(sequence)
            scan.at = sequence + 1
        if checked and not self.full:
            return False
        if not self.full:
            self._claims[voice] = scan.low or scan.at
            if len(self._claims) >= self._voices:
                self.low = max(self.low, min(self._claims.values()))
            # What lies beyond is a node's word against this one; if it is there, it is found as new.
            self.next = scan.at
            for sequence in [one for one in self._open if not self.low <= one < scan.at]:
                self.close(sequence)
        del self._scans[voice]
        return True

    def see_answers(self, items: Sequence[PacketItem], first: int, last: int) -> None:
        """What the other chain wrote about packets of ours, from `first` to `last`. Raises Invalid."""
        for item in self._checked(items, first):
            found = self._open.get(item.packet.sequence)
            if found is not None and item.packet.sequence <= last:
                found.answer = ReceivedPacket(item.packet.sequence, item.height, item.acknowledgement)

    def unanswered(self) -> Iterator[tuple[int, int]]:
        """Ranges of sequences that hold every open packet without a known answer, ascending."""
        first = last = 0
        for found in self.open():
            if found.answer is not None:
                continue
            if first and found.sequence > last + RUN_GAP_MAX:
                yield first, last
                first = 0
            first, last = first or found.sequence, found.sequence
        if first:
            yield first, last

    def unchecked(self, sequences: Iterable[int]) -> list[OpenPacket]:
        """Those of these packets whose bodies are a node's word."""
        found = [self._open.get(sequence) for sequence in sequences]
        return [item for item in found if item is not None and not item.checked]

    def check(self, sequence: int, *, holds: bool) -> None:
        """Its body was held against the commitment; one that does not hold is forgotten, for a scan to find anew."""
        found = self._open.get(sequence)
        if found is not None and holds:
            found.checked = True
        elif found is not None:
            self.close(sequence)

    # ---- what became of them --------------------------------------------------------------------------------

    def close(self, sequence: int) -> None:
        """It is acknowledged or timed out, as far as is known."""
        found = self._open.pop(sequence, None)
        self._bytes -= found.sent.packet.ByteSize() if found is not None else 0

    def set_back(self, sequence: int) -> None:
        """A try was refused: what was answered is asked again, and it goes to the clearing lane."""
        found = self._open.get(sequence)
        if found is not None:
            found.answer, found.lane = None, Lane.CLEARING

    def _scan(self, voice: str) -> _Scan:
        return self._scans.setdefault(voice, _Scan(self.low))

    def _make_room(self, items: Sequence[PacketItem]) -> None:
        """For these, at the expense of what lies further on, which may be made up: a backlog is taken from its beginning."""
        size = sum(item.packet.ByteSize() for item in items)

        def wanting() -> bool:
            return len(self._open) + len(items) > OPEN_MAX or self._bytes + size > OPEN_BYTES_MAX

        if items and wanting():
            beyond = sorted(one for one in self._open if one > items[-1].packet.sequence)
            while beyond and wanting():
                self.close(beyond.pop())

    def _take(self, item: PacketItem, lane: Lane) -> None:
        if item.packet.sequence not in self._open and not self.full:
            packet = Packet()
            packet.CopyFrom(item.packet)
            self._bytes += packet.ByteSize()
            self._open[packet.sequence] = OpenPacket(SentPacket(packet, item.height), lane)

    def _take_again(self, item: PacketItem) -> None:
        """As a scan tells it. Heights are a node's word that nothing proves, of packets and of answers: whoever told one
        that will never be would hold the packet up for ever, so the last voice counts, and answers are asked for anew."""
        found = self._open.get(item.packet.sequence)
        if found is not None and found.sent == SentPacket(item.packet, item.height):
            found.answer = None
            return
        self.close(item.packet.sequence)
        self._take(item, Lane.CLEARING)

    def _checked(self, items: Iterable[PacketItem], first: int) -> list[PacketItem]:
        """Ascending from `first`, none beyond what any chain sends, and between these two clients."""
        found = list(items)
        least = first
        for item in found:
            packet = item.packet
            ends = {(packet.source_client, packet.destination_client)}
            if not least <= packet.sequence <= SEQUENCE_MAX or ends != {(self.client, self.counterparty)}:
                raise Invalid(
                    f"packet {packet.sequence} of {packet.source_client[:40]!r} was listed where one of "
                    f"{self.client!r} from {least} on was asked for",
                    Reason.MALFORMED,
                )
            least = packet.sequence + 1
        return found
