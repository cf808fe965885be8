"""Custody, containers and amounts as plainly as they can be said: everything is written down at once.

Where the ledger leaves children alone and closes generations, this model moves each thing inside; where the
ledger keeps intervals of a container's history, this model writes every event into the log of everything in it.
Methods return the name of the refusal, or None after doing what was asked.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Thing:
    holder: str
    owner: str
    status: str = "LIVE"
    inside: str = ""
    installed: bool = False  # how its contents are held
    sold: bool = False  # ownership moved while contents were inside
    packed_owner: str = ""  # whose it was when it was packed
    offered_to: str = ""
    sells: bool = False
    last: int = 0  # height of the newest event that named it
    log: list[int] = field(default_factory=list)


class NaiveCustody:
    def __init__(self) -> None:
        self.things: dict[str, Thing] = {}
        self.amounts: dict[str, int] = {}  # of the lot, by place
        self.dies: dict[str, int] = {}  # of what is made of the lot, by place
        self.declared = 0  # of the lot, ever
        self.ended = 0  # of the lot: consumed or destroyed
        self.lot_log: list[int] = []
        self.seen = 0  # height of the event, for logs

    def all_or_nothing(self, acts: list[Callable[[], str | None]]) -> str | None:
        """One after the other, and none of them where one is refused."""
        before = copy.deepcopy(vars(self))
        for act in acts:
            reason = act()
            if reason is not None:
                vars(self).update(before)
                return reason
        return None

    # ---- looking

    def contents(self, name: str) -> list[str]:
        return [child for child, thing in self.things.items() if thing.inside == name]

    def deep(self, name: str) -> list[str]:
        found = self.contents(name)
        return found + [inner for child in found for inner in self.deep(child)]

    def levels(self, name: str) -> int:
        inner = [self.levels(child) for child in self.contents(name)]
        return 1 + max(inner, default=0) if inner or self.amounts.get(name) else 0

    def filled(self, name: str) -> bool:
        return bool(self.contents(name) or self.amounts.get(name))

    def possession(self, name: str, member: str) -> str | None:
        thing = self.things.get(name)
        if thing is None:
            return "UNKNOWN_PART"
        if thing.status != "LIVE":
            return "NOT_LIVE"
        return None if thing.holder == member else "NOT_IN_CUSTODY"

    def free(self, name: str, member: str, inside: str = "INSIDE_CONTAINER") -> str | None:
        return self.possession(name, member) or (inside if self.things[name].inside else None)

    # ---- amounts

    def move(self, source: str, target: str, amount: int) -> None:
        if amount:
            self.stock(source, -amount)
            self.stock(target, amount)
            self.lot_log.append(self.seen)

    def declare(self, member: str, amount: int) -> str | None:
        if member != "ada":
            return "NOT_GRANTED"
        self.stock(member, amount)
        self.declared += amount
        self.lot_log.append(self.seen)
        return None

    def ship_amount(self, member: str, receiver: str, amount: int) -> str | None:
        if amount > self.amounts.get(member, 0):
            return "QUANTITY_EXCEEDED"
        self.move(member, f"{member}>{receiver}", amount)
        return None

    def receive_amount(self, sender: str, member: str, amount: int) -> str | None:
        """More than is on offer brings no more into being."""
        offered = self.amounts.get(f"{sender}>{member}", 0)
        if not offered:
            return "NOT_OFFERED_TO_YOU"
        self.move(f"{sender}>{member}", member, min(amount, offered))
        return None

    def return_amount(self, sender: str, receiver: str, member: str) -> str | None:
        place = f"{sender}>{receiver}"
        if not self.amounts.get(place):
            return "NOTHING_TO_DO"
        if member not in (sender, receiver):
            return "NOT_OFFERED_TO_YOU"
        self.move(place, sender, self.amounts[place])
        return None

    def end_amount(self, member: str, amount: int) -> str | None:
        if amount > self.amounts.get(member, 0):
            return "QUANTITY_EXCEEDED"
        self.stock(member, -amount)
        self.ended += amount
        self.lot_log.append(self.seen)
        return None

    def dice(self, member: str, used: int, made: int) -> str | None:
        """Some of the lot becomes dies."""
        if used > self.amounts.get(member, 0):
            return "QUANTITY_EXCEEDED"
        if member != "ada":
            return "NOT_GRANTED"
        self.end_amount(member, used)
        self.dies[member] = self.dies.get(member, 0) + made
        return None

    # ---- doing

    def write(self, name: str, skip: set[str] = frozenset()) -> None:
        """The event happens to a thing and everything inside it."""
        self.things[name].last = self.seen
        for each in [name, *self.deep(name)]:
            if each not in skip:
                self.things[each].log.append(self.seen)

    def _write_of(self, name: str) -> None:
        """Of a thing that may be over: what was destroyed with it has its peace, if it was the outermost."""
        over = self.things[name].status == "DESTROYED" and not self.things[name].inside
        last = self.things[name].last
        self.write(name, set(self.deep(name)) if over else frozenset())
        # A finding is no change: what was done last can be taken back as before.
        self.things[name].last = last

    def commission(self, name: str, member: str) -> str | None:
        """Under ada's grant; to commission once more is worth an entry and nothing else."""
        if member != "ada":
            return "ALREADY_COMMISSIONED" if name in self.things else "NOT_GRANTED"
        if name in self.things:
            self._write_of(name)
            return None
        self.things[name] = Thing(member, member)
        self.write(name)
        return None

    def stock(self, member: str, amount: int) -> None:
        self.amounts[member] = self.amounts.get(member, 0) + amount

    def observe(self, name: str, member: str) -> str | None:
        reason = self.possession(name, member)
        if reason is None:
            self.write(name)
        return reason

    def pack(self, box: str, children: list[str], amount: int, member: str, installed: bool) -> str | None:
        reason = self.free(box, member, "NOT_FREE_STANDING")
        if reason:
            return reason
        for child in children:
            reason = "SELF_CONTAINMENT" if child == box else self.free(child, member)
            if reason:
                return reason
        container = self.things[box]
        if self.filled(box) and container.installed != installed:
            return "EVENT_INVALID"
        if not self.filled(box):
            container.sold = False
        for child in children:
            if self.levels(child) + 1 > 8:
                return "TOO_DEEP"
            foreign = any(self.things[each].owner != container.owner for each in [child, *self.deep(child)])
            if foreign and container.sold:
                return "NOT_OWNER"
        if amount > self.amounts.get(member, 0):
            return "QUANTITY_EXCEEDED"
        container.installed = installed
        self._put_in(box, children)
        self.move(member, box, amount)
        return None

    def _put_in(self, box: str, children: list[str]) -> None:
        self.write(box)
        for child in children:
            self.things[child].inside = box
            self.things[child].packed_owner = self.things[child].owner
            self.things[child].last = self.seen
            # Its own entry; the container's for this event is not its.
            for each in [child, *self.deep(child)]:
                self.things[each].log.append(self.seen)

    def unpack(self, box: str, children: list[str], amount: int, member: str, installed: bool) -> str | None:
        reason = self.free(box, member, "NOT_FREE_STANDING")
        if reason:
            return reason
        if not self.filled(box):
            return "NOT_INSIDE"
        if self.things[box].installed != installed:
            return "EVENT_INVALID"
        everything = not children and not amount
        if everything:
            children, amount = self.contents(box), self.amounts.get(box, 0)
        for child in children:
            if child not in self.things:
                return "UNKNOWN_PART"
            if self.things[child].inside != box:
                return "NOT_INSIDE"
        if amount > self.amounts.get(box, 0):
            return "QUANTITY_EXCEEDED"
        self._take_out(box, children, listed=not everything)
        self.move(box, member, amount)
        return None

    def _take_out(self, box: str, children: list[str], listed: bool = True) -> None:
        self.write(box)
        for child in children:
            thing = self.things[child]
            thing.inside = ""
            thing.last = self.seen if listed else thing.last
            # Sold with the box: then what is inside the child was sold too.
            thing.sold = thing.sold or thing.owner != thing.packed_owner

    def ship(self, name: str, member: str, receiver: str, sells: bool) -> str | None:
        thing = self.things.get(name)
        if receiver == member:
            return self.observe(name, member)
        if thing is not None and thing.status == "OFFERED" and thing.holder == member and not thing.inside:
            return "ALREADY_OFFERED"
        reason = self.free(name, member)
        if reason:
            return reason
        thing = self.things[name]
        if sells and thing.owner != receiver:
            if any(self.things[each].owner != member for each in [name, *self.deep(name)]):
                return "NOT_OWNER"
            thing.sells = True
        thing.offered_to = receiver
        for each in [name, *self.deep(name)]:
            self.things[each].status = "OFFERED"
        self.write(name)
        return None

    def receive(self, names: list[str], member: str) -> str | None:
        """What is on offer is accepted, what she has is seen; what is neither is over, beside something accepted."""
        mine = [name for name in names if self._is_offered(name, member)]
        for name in mine:
            self._accept(name, member)
        rest = [name for name in names if name not in mine]
        over = [name for name in rest if self.possession(name, member) is not None]
        if over and not mine:
            outer = thing = self.things[over[0]]
            while outer.inside:
                outer = self.things[outer.inside]
            inside = outer is not thing and outer.offered_to == member
            return "INSIDE_CONTAINER" if inside else "NOT_OFFERED_TO_YOU"
        for name in names:
            if name not in over:
                self.write(name)
        return None

    def _is_offered(self, name: str, member: str) -> bool:
        thing = self.things[name]
        return thing.status == "OFFERED" and not thing.inside and thing.offered_to == member

    def _accept(self, name: str, member: str) -> None:
        thing = self.things[name]
        sold = thing.sells
        self._end_offer(name)
        thing.sold = thing.sold or (sold and self.filled(name))
        for each in [name, *self.deep(name)]:
            self.things[each].holder = member
            self.things[each].owner = member if sold else self.things[each].owner

    def give_back(self, name: str, member: str) -> str | None:
        thing = self.things.get(name)
        if thing is None:
            return "UNKNOWN_PART"
        if thing.status != "OFFERED" or thing.inside:
            return "NOTHING_TO_DO"
        if member not in (thing.holder, thing.offered_to):
            return "NOT_OFFERED_TO_YOU"
        self._end_offer(name)
        last = thing.last
        self.write(name)
        thing.last = last
        return None

    def _end_offer(self, name: str) -> None:
        self.things[name].offered_to, self.things[name].sells = "", False
        for each in [name, *self.deep(name)]:
            self.things[each].status = "LIVE"

    def end(self, name: str, member: str) -> str | None:
        reason = self.free(name, member)
        if reason is None:
            self.write(name)
            for each in [name, *self.deep(name)]:
                self.things[each].status = "DESTROYED"
        return reason

    def consume(self, name: str, member: str) -> str | None:
        reason = self.free(name, member)
        if reason is None and self.filled(name):
            reason = "NOT_FREE_STANDING"
        if reason is None:
            self.write(name)
            self.things[name].status = "CONSUMED"
        return reason

    # ---- saying that an event was wrong

    def correct(self, event: "Recorded", member: str) -> str | None:
        if event.undone:
            return "CORRECTION_NOT_APPLICABLE"
        # Ada commissioned everything, lot and parts.
        mine = [name for name in event.named if member in ("ada", self.things[name].holder)]
        lot = event.amount > 0 and (member == "ada" or self.amounts.get(member, 0) > 0)
        if not mine and not lot:
            return "CORRECTION_NOT_APPLICABLE"
        needed = self._inverse(event)
        latest = all(self.things[name].last == event.height for name in event.named)
        agreed = {*event.agreed, member}
        if needed and member in needed and needed <= agreed and (latest or len(agreed) > 1):
            event.undone = True
            self._undo(event)
            return None
        if member in event.agreed:
            return "EVENT_REPEATED"
        event.agreed.append(member)
        for name in mine:
            last = self.things[name].last
            self._write_of(name)
            self.things[name].last = last
        if lot:
            self.lot_log.append(self.seen)
        return None

    def _inverse(self, event: "Recorded") -> set[str]:
        """Who must agree that it is undone; nobody where it cannot be."""
        if event.kind == "declare":
            return {"ada"} if self.amounts.get("ada", 0) >= event.amount else set()
        if event.kind == "dice":
            return {"ada"} if self.dies.get("ada", 0) >= event.made else set()
        thing = self.things[event.named[0]]
        if thing.status != "LIVE" or thing.inside:
            return set()
        if event.kind == "commission":
            return set() if self.filled(event.named[0]) else {"ada", thing.holder, thing.owner}
        box, children = event.named[0], event.named[1:]
        if not self.filled(box) or thing.installed != event.installed:
            return set()
        if event.kind == "pack":
            here = all(self.things[child].inside == box for child in children)
            return {thing.holder} if here and self.amounts.get(box, 0) >= event.amount else set()
        free = all(
            self.things[child].status == "LIVE" and not self.things[child].inside for child in children
        )
        latest = all(self.things[name].last == event.height for name in event.named)
        enough = self.amounts.get(thing.holder, 0) >= event.amount
        return {thing.holder} if free and latest and enough else set()

    def _undo(self, event: "Recorded") -> None:
        if event.kind in ("declare", "dice"):
            self.lot_log.append(self.seen)
            back = 1 if event.kind == "dice" else -1
            self.stock("ada", back * event.amount)
            self.dies["ada"] = self.dies.get("ada", 0) - event.made
            if event.kind == "dice":
                self.ended -= event.amount
            else:
                self.declared -= event.amount
            return
        box, children = event.named[0], event.named[1:]
        if event.kind == "commission":
            self.things[box].status = "VOID"
            self.write(box)
        elif event.kind == "pack":
            self._take_out(box, children)
            self.move(box, self.things[box].holder, event.amount)
        else:
            self._put_in(box, children)
            self.move(self.things[box].holder, box, event.amount)


@dataclass
class Recorded:
    """An event that was recorded, for who may say later that it was wrong. named: the container first."""

    kind: str  # commission, pack, unpack (of what is listed), declare and dice (of the lot)
    height: int
    named: list[str]
    amount: int = 0
    installed: bool = False
    made: int = 0
    agreed: list[str] = field(default_factory=list)
    undone: bool = False
