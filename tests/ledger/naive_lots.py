"""Lots of serials as plainly as they can be said: every serial is a thing of its own, with everything written on it.

Where the ledger keeps one record for many serials and carves it, this model changes each serial by itself. Of the
intervals it knows only which serials stand together: a mark on each, the same on all of one interval.
Methods return the name of the refusal, or None after doing what was asked.
"""

from dataclasses import dataclass, field, replace


@dataclass
class Serial:
    holder: str
    owner: str
    together: int  # the interval it stands in
    alone: bool = False  # it has a record of its own
    status: str = "LIVE"
    inside: str = ""
    offered_to: str = ""
    sells: bool = False
    log: list[int] = field(default_factory=list)


@dataclass
class Box:
    holder: str
    status: str = "LIVE"
    offered_to: str = ""
    opened: bool = False  # something was in it once
    log: list[int] = field(default_factory=list)


# Serials of a lot: its name, from, to. Alone: a serial under its own identifier.
Target = tuple[str, int, int, bool]


class NaiveLots:
    def __init__(self) -> None:
        self.lots: dict[str, list[Serial]] = {}
        self.boxes: dict[str, Box] = {}
        self.seen = 0  # height of the event, for logs
        self.marks = 0

    def commission(self, lot: str, count: int, member: str) -> None:
        self.marks += 1
        first = Serial(member, member, self.marks, log=[self.seen])
        self.lots[lot] = [replace(first, log=[self.seen]) for _ in range(count)]

    # ---- looking

    def serials(self, target: Target) -> list[Serial]:
        return self.lots[target[0]][target[1] : target[2]]

    def inside(self, box: str) -> list[Serial]:
        return [serial for lot in self.lots.values() for serial in lot if serial.inside == box]

    def find(self, target: Target) -> str | None:
        lot, _, end, alone = target
        if end > len(self.lots[lot]):
            return "UNKNOWN_PART" if alone else "SERIALS_INVALID"
        found = self.serials(target)
        if alone:
            return None
        if found[0].alone or any(serial.together != found[0].together for serial in found):
            return "INTERVAL_SPLIT"
        return None

    def possession(self, target: Target, member: str, free: bool) -> str | None:
        reason = self.find(target)
        if reason:
            return reason
        first = self.serials(target)[0]
        if first.status != "LIVE":
            return "NOT_LIVE"
        if first.holder != member:
            return "NOT_IN_CUSTODY"
        return "INSIDE_CONTAINER" if free and first.inside else None

    # ---- doing

    def stand_out(self, target: Target) -> list[Serial]:
        """The serials of a target stand apart from those they stood with."""
        lot, start, end, alone = target
        mark = self.lots[lot][start].together
        for place, serial in enumerate(self.lots[lot]):
            if serial.together == mark and not serial.alone:
                serial.together = self.marks + (1 if place < start else 2 if place < end else 3)
        self.marks += 3
        found = self.serials(target)
        for serial in found:
            serial.alone = serial.alone or alone
        return found

    def write(self, targets: list[Target]) -> list[Serial]:
        found = [serial for target in targets for serial in self.stand_out(target)]
        for serial in found:
            serial.log.append(self.seen)
        return found

    def write_box(self, box: str) -> None:
        self.boxes[box].log.append(self.seen)
        for serial in self.inside(box):
            serial.log.append(self.seen)

    def observe(self, targets: list[Target], member: str) -> str | None:
        for target in targets:
            reason = self.possession(target, member, free=False)
            if reason:
                return reason
        self.write(targets)
        return None

    def end(self, targets: list[Target], member: str, status: str) -> str | None:
        for target in targets:
            reason = self.possession(target, member, free=True)
            if reason:
                return reason
        for serial in self.write(targets):
            serial.status = status
        return None

    def ship(self, targets: list[Target], member: str, receiver: str, sells: bool) -> str | None:
        if receiver == member:
            return self.observe(targets, member)
        for target in targets:
            reason = self.find(target)
            if reason:
                return reason
            first = self.serials(target)[0]
            if first.status == "OFFERED" and first.holder == member and not first.inside:
                return "ALREADY_OFFERED"
            reason = self.possession(target, member, free=True)
            if reason:
                return reason
            if sells and first.owner not in (receiver, member):
                return "NOT_OWNER"
        for serial in self.write(targets):
            serial.status, serial.offered_to = "OFFERED", receiver
            serial.sells = sells and serial.owner != receiver
        return None

    def receive(self, target: Target, member: str) -> str | None:
        reason = self.find(target)
        if reason:
            return reason
        first = self.serials(target)[0]
        if first.status == "OFFERED" and first.offered_to == member and not first.inside:
            for serial in self.write([target]):
                if serial.sells:
                    serial.owner = member
                serial.status, serial.holder = "LIVE", member
                serial.offered_to, serial.sells = "", False
            return None
        if self.possession(target, member, free=False) is None:
            self.write([target])
            return None
        offered = first.inside and self.boxes[first.inside].offered_to == member
        return "INSIDE_CONTAINER" if offered else "NOT_OFFERED_TO_YOU"

    def give_back(self, target: Target, member: str) -> str | None:
        reason = self.find(target)
        if reason:
            return reason
        first = self.serials(target)[0]
        if first.status != "OFFERED" or first.inside:
            return "NOTHING_TO_DO"
        if first.holder != member:
            return "NOT_IN_CUSTODY"
        for serial in self.write([target]):
            serial.status, serial.offered_to, serial.sells = "LIVE", "", False
        return None

    # ---- boxes, which always belong to whom their contents belong to, or to nobody in particular

    def pack(self, box: str, targets: list[Target], member: str) -> str | None:
        reason = self.box_of(box, member)
        if reason:
            return reason
        for target in targets:
            reason = self.possession(target, member, free=True)
            if reason:
                return reason
        self.write_box(box)
        for serial in self.write(targets):
            serial.inside = box
        self.boxes[box].opened = True
        return None

    def unpack(self, box: str, targets: list[Target], member: str) -> str | None:
        reason = self.box_of(box, member)
        if reason:
            return reason
        if not self.inside(box):
            return "GENERATION_CLOSED" if self.boxes[box].opened else "NOT_INSIDE"
        for target in targets:
            reason = self.find(target)
            if reason:
                return reason
            if self.serials(target)[0].inside != box:
                return "NOT_INSIDE"
        taken = [serial for target in targets for serial in self.stand_out(target)]
        # What is taken out has this event once: as its own, or its box's.
        self.write_box(box)
        for serial in taken or self.inside(box):
            serial.inside = ""
        return None

    def box_of(self, box: str, member: str) -> str | None:
        if self.boxes[box].status != "LIVE":
            return "NOT_LIVE"
        return None if self.boxes[box].holder == member else "NOT_IN_CUSTODY"

    def ship_box(self, box: str, member: str, receiver: str) -> str | None:
        found = self.boxes[box]
        if receiver == member:
            reason = self.box_of(box, member)
            if reason is None:
                self.write_box(box)
            return reason
        if found.status == "OFFERED" and found.holder == member:
            return "ALREADY_OFFERED"
        reason = self.box_of(box, member)
        if reason:
            return reason
        self.write_box(box)
        found.status, found.offered_to = "OFFERED", receiver
        for serial in self.inside(box):
            serial.status = "OFFERED"
        return None

    def receive_box(self, box: str, member: str) -> str | None:
        found = self.boxes[box]
        if found.status == "OFFERED" and found.offered_to == member:
            self.write_box(box)
            found.status, found.holder, found.offered_to = "LIVE", member, ""
            for serial in self.inside(box):
                serial.status, serial.holder = "LIVE", member
            return None
        if self.box_of(box, member) is None:
            self.write_box(box)
            return None
        return "NOT_OFFERED_TO_YOU"

    def end_box(self, box: str, member: str) -> str | None:
        reason = self.box_of(box, member)
        if reason is None:
            self.write_box(box)
            self.boxes[box].status = "DESTROYED"
            for serial in self.inside(box):
                serial.status = "DESTROYED"
        return reason
