"""Custody told again from the entries alone: who had the part when, and whether its record says the same.

The rules are the ledger's (ledger/custody.py, shipping.py, packing.py, bridge/custody_transfer.py), read from the
other side: each entry, in order, must have been possible after those before it, by the one who signed it. A chain
whose quorum is honest never shows anything else; a corrupt one would need the keys of the members it speaks for.
"""

from collections.abc import Callable
from dataclasses import dataclass

from client.audit_entries import Reading
from client.audit_kinds import is_among, is_whole
from client.records import name_of
from ledger.corrections import original_of
from ledger.event import EventView
from ledger.members import MEMBER_URN
from proto.chiptrace.v1.ledger_pb2 import (
    ClosedBy,
    EntryKind,
    PartRecord,
    PartStatus,
    Reason,
)

NOBODY = PartStatus.PART_STATUS_UNSPECIFIED  # before the first entry
# Who passes a thing back sooner, and does nothing with it, hardly had it.
DWELL_MS_MIN = 3_600_000
_GONE = (PartStatus.IN_TRANSIT, PartStatus.DEPARTED)


@dataclass(frozen=True)
class Closing:
    """How a container's filling ended. height: of the event that closed it; 0 while it is open."""

    closed_by: "ClosedBy.ValueType"
    height: int
    holder: str
    hop: int


Wrong = Callable[[Reading, str, str], None]  # the entry, the finding's code, what is wrong


class Custody:
    """The state of one part, entry by entry.

    `named` tells whether an identifier named a member at a height, `closing` how a filling of a container ended; `wrong` hears of
    every entry that could not be.
    """

    def __init__(
        self,
        part: str,
        chain_id: bytes,
        named: Callable[[str, str, int], bool],
        closing: Callable[[str, int], Closing],
        wrong: Wrong,
    ) -> None:
        self._part = part
        self._chain_id = chain_id
        self._named = named
        self._closing = closing
        self._wrong = wrong
        self.status: PartStatus.ValueType = NOBODY
        self.holder = ""
        self._offered_to = ("", 0)  # an identifier, and the height at which it was shipped to whom that named
        # The same, while that named the shipper, and perhaps another in the same block.
        self._perhaps_to = ("", 0)
        self.container = ""
        self.generation = 0
        self._arrived = False  # the open offer came over the bridge
        self._adopted = False
        self._hop = 0
        self._sent = b""  # commitment of the packet that carries it away
        self._had: list[tuple[str, int, bool]] = []  # holder, since (ms), whether anything was done with it
        self._seen: set[tuple[bytes, int, int]] = set()
        # By digest and, of declarations, member: transaction.
        self._events: dict[tuple[bytes, str], bytes] = {}
        self._declared: set[tuple[bytes, str]] = set()  # events said to be wrong, and by whom
        self._unsure = False  # it was freed in the very block of an entry of its own

    def follow(self, readings: list[Reading]) -> None:
        """Take every entry of the part's history, in order."""
        for reading in readings:
            self._once(reading)
            self._normalise(reading)
            self._take(reading)

    def compare(self, record: PartRecord) -> list[str]:
        """In what a proven record differs from what its history says; empty where they agree."""
        if record.status == PartStatus.OFFERED:
            self._settle(record.offered_to)
        said: list[tuple[str, object, object]] = [("status", record.status, self.status)]
        if not self._unsure:
            said.append(("container", record.container, self.container))
            said.append(("generation", record.generation, self.generation))
            said.append(("holder", record.holder, self.holder))
        if record.status == PartStatus.OFFERED and not self._is_offered_to(record.offered_to):
            said.append(("offered_to", record.offered_to, self._offered_to[0]))
        return [
            f"{field} is {stands!r} in its record, and {told!r} by its history"
            for field, stands, told in said
            if stands != told
        ]

    # ---- one entry ------------------------------------------------------------------------------------------

    def _once(self, reading: Reading) -> None:
        entry = reading.entry
        place = (entry.transaction, entry.operation, entry.kind)
        if place in self._seen:
            self._wrong(reading, "CONTRADICTION", "its operation stands in the history twice")
        self._seen.add(place)
        if reading.view is None:
            return
        who = ""
        if reading.view.error_declaration is not None:
            who = reading.step.member  # each of whom it concerns may sign the same declaration
            self._declared.add((self._original(reading), who))
        if self._events.setdefault((entry.digest, who), entry.transaction) != entry.transaction:
            self._wrong(reading, "DUPLICATE_EVENT", "the same event was entered before")

    def _normalise(self, reading: Reading) -> None:
        """Bring it up to date with the closing of its container, as the ledger did when it was next touched."""
        if not self.container or self.status != PartStatus.LIVE or reading.entry.kind == EntryKind.UNPACKED:
            return
        closing = self._closing(self.container, self.generation)
        if closing.closed_by == ClosedBy.CLOSED_BY_UNSPECIFIED or closing.height > reading.entry.height:
            return
        self._unsure = self._unsure or closing.height == reading.entry.height
        if closing.closed_by == ClosedBy.UNPACK_ALL:
            self.container, self.generation, self.holder = "", 0, closing.holder
        elif closing.closed_by == ClosedBy.DESTROY:
            self.status, self.holder = PartStatus.DESTROYED, closing.holder
        elif closing.closed_by == ClosedBy.EXPORT:
            self.status, self.container, self.generation = PartStatus.DEPARTED, "", 0
            self._hop = max(self._hop, closing.hop)

    def _take(self, reading: Reading) -> None:
        kind = reading.entry.kind
        if self.status == NOBODY:
            self._begin(reading)
        elif kind == EntryKind.ADOPTED_EVENT:
            self._wrong(reading, "CONTRADICTION", "it was adopted when it was known already")
        elif kind in (EntryKind.ATTESTED, EntryKind.COPIED, EntryKind.CORRECTED, EntryKind.FLAG):
            over = self.status in (PartStatus.CONSUMED, PartStatus.DESTROYED)
            if self.status in _GONE or (reading.entry.finding == Reason.SEEN_AFTER_END and not over):
                self._impossible(reading)
        elif kind == EntryKind.UNDONE:
            self._undo(reading)
        elif kind == EntryKind.EVENT:
            self._event(reading)
        elif kind in (EntryKind.PACKED, EntryKind.UNPACKED):
            self._fill(reading)
        elif kind == EntryKind.SENT:
            self._send(reading)
        elif kind == EntryKind.ARRIVED:
            self._arrive(reading)
        elif kind == EntryKind.MATERIALISED:
            self._come_inside(reading)
        elif kind == EntryKind.FOLLOWED:
            if self.status != PartStatus.DEPARTED:
                self._impossible(reading)
        elif kind == EntryKind.REHOMED:
            if self.status not in (PartStatus.DEPARTED, PartStatus.OFFERED):
                self._impossible(reading)
            self._take_over(reading)
        else:
            self._end(reading)

    def _is_offered_to(self, member: str) -> bool:
        identifier, height = self._offered_to
        return self.status == PartStatus.OFFERED and self._named(identifier, member, height)

    def _settle(self, member: str) -> None:
        """What was shipped by a name that went from the shipper to this member in the same block was offered to it."""
        identifier, height = self._perhaps_to
        if (
            self.status == PartStatus.LIVE
            and member != self.holder
            and self._named(identifier, member, height)
        ):
            self.status, self._offered_to = PartStatus.OFFERED, self._perhaps_to

    def _impossible(self, reading: Reading) -> None:
        self._wrong(reading, "CONTRADICTION", f"it was {name_of(PartStatus, self.status)} at that time")

    def _possess(self, reading: Reading, *, free: bool = False) -> None:
        """The signer's member has it, live. Inside a container, the container's own history tells who had it."""
        self._perhaps_to = "", 0
        if self.status != PartStatus.LIVE:
            self._impossible(reading)
        elif self.container and free:
            self._wrong(reading, "CONTRADICTION", f"it was inside {self.container} at that time")
        elif not self.container and self.holder != reading.step.member and not self._unsure:
            self._wrong(
                reading,
                "NOT_IN_CUSTODY",
                f"{reading.step.member} acted on it, {self.holder or 'nobody'} had it",
            )

    # ---- beginning ------------------------------------------------------------------------------------------

    def _begin(self, reading: Reading) -> None:
        kind, view = reading.entry.kind, reading.view
        if kind == EntryKind.ARRIVED:
            self._arrive(reading)
            return
        if kind == EntryKind.REHOMED:
            self._take_over(reading)
            return
        if kind == EntryKind.MATERIALISED:
            self._come_inside(reading)
            return
        if kind == EntryKind.FOLLOWED:
            self.status = PartStatus.DEPARTED
            return
        self.status, self.holder = PartStatus.LIVE, reading.step.member
        self._had = [(self.holder, reading.step.time_ms, True)]
        if kind == EntryKind.ADOPTED_EVENT and view is not None:
            self._adopted = True
            if view.error_declaration is None:
                self._happen(reading, view)
        elif kind != EntryKind.EVENT or view is None or not begins(reading.name, view):
            self._wrong(reading, "NO_ORIGIN", "its history begins with this, and not with a commissioning")

    def _take_over(self, reading: Reading) -> None:
        """From a chain that was given up: live here, free-standing, with who takes over from its holder."""
        self.status, self.holder = PartStatus.LIVE, reading.taken_by or self.holder
        self.container, self.generation, self._arrived = "", 0, False
        self._had.append((self.holder, reading.step.time_ms, True))

    # ---- events ---------------------------------------------------------------------------------------------

    def _event(self, reading: Reading) -> None:
        view = reading.view
        if view is None:
            return
        receiving = _is(view, "ObjectEvent", "OBSERVE", "receiving", "accepting")
        if receiving:
            self._settle(reading.step.member)
        if receiving and self._is_offered_to(reading.step.member):
            self.status, self.holder, self._arrived = PartStatus.LIVE, reading.step.member, False
            self._pass_on(reading)
            return
        if view.type == "ObjectEvent" and view.action == "ADD":
            if not self._adopted or reading.entry.finding != Reason.SUPERSEDES_ADOPTION:
                self._wrong(reading, "CONTRADICTION", "it was commissioned when it existed already")
            self._adopted = False
            return
        if is_among(reading.name, view.outputs) and not is_among(reading.name, view.inputs):
            self._wrong(reading, "CONTRADICTION", "it was made when it existed already")
            return
        self._possess(reading, free=view.type == "TransformationEvent" or _is_moving(view))
        self._happen(reading, view)

    def _pass_on(self, reading: Reading) -> None:
        """A new holder; a finding where the last one gave it straight back."""
        member, now_ms = reading.step.member, reading.step.time_ms
        if len(self._had) > 1:
            (before, _, _), (last, since_ms, worked) = self._had[-2:]
            if before == member != last and not worked and now_ms - since_ms < DWELL_MS_MIN:
                text = f"{last} had it for {(now_ms - since_ms) // 1000} s between {before} and {member}, and did nothing"
                self._wrong(reading, "ROUND_TRIP", text)
        self._had.append((member, now_ms, False))

    def _happen(self, reading: Reading, view: EventView) -> None:
        """What an event does to a part that its signer possesses."""
        moved = _is(view, "ObjectEvent", "OBSERVE", "shipping", "receiving", "accepting")
        if self._had and not moved:
            self._had[-1] = (*self._had[-1][:2], True)
        ends = view.biz_step in ("destroying", "decommissioning")
        if view.type == "ObjectEvent" and (view.action == "DELETE" or ends):
            self.status = PartStatus.DESTROYED
        elif is_among(reading.name, view.inputs) and not is_among(reading.name, view.outputs):
            self.status = PartStatus.CONSUMED
        elif _is(view, "ObjectEvent", "OBSERVE", "shipping"):
            to = view.destination("possessing_party")
            if to is None or reading.entry.finding == Reason.PARTY_NOT_A_MEMBER:
                return
            if self._named(to.text, reading.step.member, reading.entry.height):
                self._perhaps_to = to.text, reading.entry.height
                return
            self._possess(reading, free=True)
            self.status, self._offered_to = PartStatus.OFFERED, (to.text, reading.entry.height)

    def _undo(self, reading: Reading) -> None:
        """An event declared wrong was taken back: what began with it is void, what it consumed lives again."""
        view = reading.view
        if view is not None and view.type in ("AggregationEvent", "AssociationEvent"):
            self._possess(reading, free=True)
            return
        if (self._original(reading), self.holder) not in self._declared and not self._unsure:
            text = (
                f"{self.holder or 'nobody'} had it, and did not say that the event was wrong which is undone"
            )
            self._wrong(reading, "NOT_IN_CUSTODY", text)
        if view is not None and is_among(reading.name, view.inputs):
            if self.status != PartStatus.CONSUMED:
                self._impossible(reading)
            self.status = PartStatus.LIVE
        else:
            if self.status != PartStatus.LIVE or self.container:
                self._impossible(reading)
            self.status = PartStatus.VOID

    def _original(self, reading: Reading) -> bytes:
        return original_of(self._chain_id, reading.operation.capture.event)

    def _fill(self, reading: Reading) -> None:
        entry = reading.entry
        if entry.kind == EntryKind.PACKED:
            self._possess(reading, free=True)
            self.container, self.generation = entry.container, entry.generation
            return
        if (self.container, self.generation) != (entry.container, entry.generation):
            self._wrong(reading, "CONTRADICTION", f"it was not inside {entry.container} at that time")
        self.container, self.generation, self.holder = "", 0, reading.step.member

    # ---- over the bridge, and offers that end ---------------------------------------------------------------

    def _send(self, reading: Reading) -> None:
        declined = reading.operation.WhichOneof("kind") == "return_part"
        if declined and (self.status != PartStatus.OFFERED or not self._arrived):
            self._impossible(reading)
        elif not declined:
            self._possess(reading, free=True)
        self.status, self._sent = PartStatus.IN_TRANSIT, reading.entry.digest

    def _arrive(self, reading: Reading) -> None:
        packet = reading.carried
        if packet is None:
            return
        if self.status not in (NOBODY, PartStatus.DEPARTED):
            self._impossible(reading)
        if packet.transfer.hop <= self._hop:
            self._wrong(reading, "CONTRADICTION", f"its hop {packet.transfer.hop} is not above {self._hop}")
        self._hop = packet.transfer.hop
        if getattr(packet.transfer, "return"):
            if packet.transfer.receiver != self.holder:
                self._wrong(
                    reading,
                    "CONTRADICTION",
                    f"it was returned to {packet.transfer.receiver}, not its shipper",
                )
            self.status = PartStatus.LIVE
            return
        self.status, self.holder, self._arrived = PartStatus.OFFERED, "", True
        self._offered_to = f"{MEMBER_URN}{packet.transfer.receiver}", reading.entry.height

    def _come_inside(self, reading: Reading) -> None:
        """It arrived in a container, and is where that is, or whatever became of that since."""
        if self.status not in (NOBODY, PartStatus.DEPARTED):
            self._impossible(reading)
        self.status, self.holder = PartStatus.LIVE, ""
        self.container, self.generation = reading.entry.container, reading.entry.generation

    def _end(self, reading: Reading) -> None:
        """DEPARTED_FOR_GOOD and RETURNED: of a packet, or of an offer on this chain."""
        if reading.carried is None:
            if not self._perhaps_to[0] and (self.status != PartStatus.OFFERED or self._arrived):
                self._impossible(reading)
            elif reading.view is not None and reading.step.member != self.holder:
                text = f"{reading.step.member} took back what {self.holder or 'nobody'} had shipped"
                self._wrong(reading, "NOT_IN_CUSTODY", text)
            self.status = PartStatus.LIVE
            return
        if self.status != PartStatus.IN_TRANSIT or reading.entry.digest != self._sent:
            self._wrong(reading, "CONTRADICTION", "it was not in transit by that packet")
        if reading.entry.kind == EntryKind.DEPARTED_FOR_GOOD:
            self.status, self._arrived = PartStatus.DEPARTED, False
        else:
            self.status = PartStatus.OFFERED if self._arrived else PartStatus.LIVE


def begins(part: str, view: EventView) -> bool:
    """Whether a plain event brings a part into being: it is commissioned, made, or a box that is filled first."""
    if view.type == "ObjectEvent":
        return view.action == "ADD" and (is_among(part, view.epcs) or is_whole(part, view))
    if view.type == "TransformationEvent" and is_whole(part, view):
        return True
    if view.type == "TransformationEvent":
        return is_among(part, view.outputs) and not is_among(part, view.inputs)
    filled = view.type in ("AggregationEvent", "AssociationEvent") and view.action == "ADD"
    return filled and view.parent is not None and view.parent.text == part


def _is(view: EventView, kind: str, action: str, *steps: str) -> bool:
    return view.type == kind and view.action == action and view.biz_step in steps


def _is_moving(view: EventView) -> bool:
    """Whether the part itself must stand free: shipping to somebody, destroying, filling."""
    destroying = view.biz_step in ("destroying", "decommissioning")
    if view.type == "ObjectEvent":
        return view.action == "DELETE" or (view.action == "OBSERVE" and destroying)
    return view.type in ("AggregationEvent", "AssociationEvent") and view.action in ("ADD", "DELETE")
