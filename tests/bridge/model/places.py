"""The naive oracle: where every part really is, by what was answered to members and relayers. It knows no rule.

A part is at a chain, in a box, on the way in a packet, destroyed, or held by a chain whose quorum is corrupt and whose
word is nothing. Whatever moves a part must find it where it takes it from, or somebody has it twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field

AT, IN, WAY, HELD, GONE = "at", "in", "way", "held", "gone"
Place = tuple[str, object]
Key = tuple[str, str, int]  # chain that sent a packet, its client, sequence


class Violation(AssertionError):
    """Something happened that must not."""


@dataclass
class Sending:
    """A packet as its sender knows it."""

    part: str  # empty where it carries some of a lot and no part
    to: str
    returns: bool
    received: str = ""  # "success" or "error", as the receiving chain answered
    ended: str = ""  # "success", "error" or "timeout", as the sending chain heard


@dataclass
class Places:
    """`undo` holds, for each chain, what its open block has changed: a crash takes it back."""

    where: dict[str, Place] = field(default_factory=dict)
    packets: dict[Key, Sending] = field(default_factory=dict)
    frozen: set[tuple[str, str]] = field(default_factory=set)  # (chain, client)
    undo: dict[str, list] = field(default_factory=dict)
    # What a corrupt chain has ever held: where that is within honest boxes is told by its records alone.
    loose: set[str] = field(default_factory=set)
    # What was taken out with all else that was in a box: it may never have been named on that chain.
    untouched: set[str] = field(default_factory=set)

    def copy(self) -> Places:
        made = Places(dict(self.where), {}, set(self.frozen), {})
        made.packets = {
            key: Sending(item.part, item.to, item.returns, item.received, item.ended)
            for key, item in self.packets.items()
        }
        made.loose = set(self.loose)
        made.untouched = set(self.untouched)
        # What is undone names packets by key, so that copies do not share them.
        made.undo = {name: list(items) for name, items in self.undo.items()}
        return made

    # ---- reading

    def root(self, part: str) -> str:
        """The outermost thing that a part is in, or itself."""
        seen = 0
        while self.where[part][0] == IN:
            part = str(self.where[part][1])
            seen += 1
            if seen > 50:
                raise Violation(f"{part} is inside itself")
        return part

    def chain_of(self, part: str) -> str:
        """The chain that a part is at, in whatever it is; empty where it is at none."""
        kind, what = self.where[self.root(part)]
        return str(what) if kind == AT else ""

    def inside(self, box: str) -> list[str]:
        """What is directly in a box."""
        return [part for part, place in self.where.items() if place == (IN, box)]

    def tree(self, part: str) -> list[str]:
        """A part with all that is in it, at any depth."""
        found = [part]
        for item in found:
            found.extend(self.inside(item))
        return found

    # ---- writing, each in the open block of a chain

    def _put(self, chain: str, part: str, place: Place) -> None:
        self.undo.setdefault(chain, []).append(("where", part, self.where.get(part)))
        self.where[part] = place

    def _mark(self, chain: str, key: Key, name: str, value: str) -> None:
        packet = self.packets[key]
        self.undo.setdefault(chain, []).append(("packet", key, (name, getattr(packet, name))))
        setattr(packet, name, value)

    def begins(self, chain: str, part: str) -> None:
        self._put(chain, part, (AT, chain))

    def packed(self, chain: str, part: str, box: str) -> None:
        self._expect(part, (AT, chain), "packed")
        if self.chain_of(box) != chain or self.root(box) == part:
            raise Violation(f"{part} was packed on {chain} into {box}, which is {self.where[box]}")
        self._put(chain, part, (IN, box))

    def unpacked(self, chain: str, part: str, box: str) -> None:
        if part not in self.loose:
            self._expect(part, (IN, box), "unpacked")
        if self.where[box] != (AT, chain):
            raise Violation(f"{part} was taken out of {box} on {chain}, but that is {self.where[box]}")
        self._put(chain, part, (AT, chain))

    def destroyed(self, chain: str, part: str) -> None:
        self._expect(part, (AT, chain), "destroyed")
        self._put(chain, part, (GONE, chain))

    def sent(self, chain: str, part: str, key: Key, to: str, returns: bool) -> None:
        if key in self.packets:
            raise Violation(f"packet {key} was sent twice")
        self.packets[key] = Sending(part, to, returns)
        self.undo.setdefault(chain, []).append(("new packet", key, None))
        self._moves(chain, part, (AT, chain), (WAY, key), "sent")

    def received(self, chain: str, key: Key, success: bool) -> None:
        """An honest chain's packet was received."""
        packet = self.packets.get(key)
        if packet is None:
            raise Violation(f"{chain} received packet {key}, which nobody has sent")
        if packet.received:
            raise Violation(f"packet {key} was received twice")
        if packet.ended:
            raise Violation(f"packet {key} was received after it ended in {packet.ended}")
        self._mark(chain, key, "received", "success" if success else "error")
        if success:
            self._moves(chain, packet.part, (WAY, key), (AT, chain), "received")

    def answered(self, chain: str, key: Key, success: bool) -> None:
        """The answer of an honest chain was brought home."""
        packet = self._open(chain, key)
        outcome = "success" if success else "error"
        if packet.received != outcome:
            raise Violation(
                f"packet {key} ended in {outcome}, but was received: {packet.received or 'never'}"
            )
        self._mark(chain, key, "ended", outcome)
        if not success:
            self._moves(chain, packet.part, (WAY, key), (AT, chain), "back")

    def timed_out(self, chain: str, key: Key) -> None:
        packet = self._open(chain, key)
        if packet.received:
            raise Violation(f"packet {key} timed out, but was received: {packet.received}")
        self._mark(chain, key, "ended", "timeout")
        self._moves(chain, packet.part, (WAY, key), (AT, chain), "back")

    # ---- chains whose quorum is corrupt

    def believed(self, chain: str, key: Key, kind: str) -> None:
        """A packet to a corrupt chain ended here by what that chain says: "success", "error" or "timeout"."""
        packet = self._open(chain, key)
        self._mark(chain, key, "ended", kind)
        if kind != "success" or not packet.part:
            self._moves(chain, packet.part, (WAY, key), (AT, chain), "back")
            return
        self._expect(packet.part, (WAY, key), f"gone from {chain}")
        for part in self.tree(packet.part):
            self._put(chain, part, (HELD, packet.to))
            self.loose.add(part)

    def taken_from(self, chain: str, part: str, corrupt: str) -> None:
        """A part came from a corrupt chain, by itself or out of a box that it says it was in."""
        if self.where[part] != (HELD, corrupt) and part not in self.loose:
            raise Violation(f"{part} was taken on {chain} from {corrupt}, but is {self.where[part]}")
        self._put(chain, part, (AT, chain))

    def froze(self, chain: str, client: str) -> None:
        self.undo.setdefault(chain, []).append(("frozen", (chain, client), (chain, client) in self.frozen))
        self.frozen.add((chain, client))

    # ---- blocks

    def sealed(self, chain: str) -> None:
        self.undo.pop(chain, None)

    def crashed(self, chain: str) -> None:
        for kind, what, before in reversed(self.undo.pop(chain, [])):
            if kind == "where":
                if before is None:
                    del self.where[what]
                else:
                    self.where[what] = before
            elif kind == "packet":
                setattr(self.packets[what], *before)
            elif kind == "new packet":
                del self.packets[what]
            elif not before:
                self.frozen.discard(what)

    # ---- within

    def _moves(self, chain: str, part: str, before: Place, after: Place, what: str) -> None:
        if part:
            self._expect(part, before, f"{what} on {chain}")
            self._put(chain, part, after)

    def _expect(self, part: str, place: Place, what: str) -> None:
        if part in self.loose:
            return
        if self.where.get(part) != place:
            raise Violation(f"{part} was {what}, but it is {self.where.get(part)}, not {place}")

    def _open(self, chain: str, key: Key) -> Sending:
        packet = self.packets.get(key)
        if packet is None or key[0] != chain:
            raise Violation(f"packet {key} ended on {chain}, which has not sent it")
        if packet.ended:
            raise Violation(f"packet {key} ended twice: {packet.ended}, and again")
        return packet
