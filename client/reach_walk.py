"""What a reach has found so far: things, why each is followed, by which ways they were reached, and what is certain."""

from dataclasses import dataclass, field
from enum import IntEnum

from client.reach_amounts import Spread
from client.reach_report import Reached
from ledger import decimals
from proto.chiptrace.v1.ledger_pb2 import Decimal, PartRecord

REACHED_MAX = 100_000  # things

Key = tuple[bytes, str]  # chain id, canonical id


class Mode(IntEnum):
    """Why a thing is followed, and so how far: each mode follows all that the ones below it do."""

    HOLDS = 1  # it is where something concerned is
    CONCERNED = 2  # it was made of something concerned
    WITH_CONTENTS = 3  # it was asked for, and what is in it is meant too


@dataclass
class _Way:
    """One step of the walk that led from a thing to another. making: the event, where it was made so."""

    source: Key
    target: Key
    certain: bool
    making: bytes


@dataclass
class Walk:
    """One attempt. next: what is to be followed."""

    things: dict[Key, Reached] = field(default_factory=dict)
    modes: dict[Key, Mode] = field(default_factory=dict)
    makings: dict[Key, set[bytes]] = field(
        default_factory=dict
    )  # of lots of amounts: all events that made some
    next: dict[Key, None] = field(default_factory=dict)
    left: dict[Key, tuple[bytes, PartRecord]] = field(
        default_factory=dict
    )  # what came to a chain: whence, as what
    spreads: dict[Key, Spread] = field(default_factory=dict)
    gaps: dict[str, None] = field(default_factory=dict)
    findings: dict[tuple[str, str, str], str] = field(default_factory=dict)
    _ways: list[_Way] = field(default_factory=list)
    _told: set[Key] = field(default_factory=set)  # of which a gap says that they were not followed

    def reach(
        self,
        key: Key,
        chain: str,
        mode: Mode,
        how: str,
        source: Key | None,
        *,
        certain: bool,
        making: bytes,
    ) -> None:
        """Notes a step to a thing, which is followed in its turn unless it was as far before."""
        if source is not None:
            self._ways.append(_Way(source, key, certain, making))
        if key not in self.things:
            if len(self.things) >= REACHED_MAX:
                self.gap(f"more than {REACHED_MAX} things are reached; ask for parts of it")
                return
            by = "" if source is None else source[1]
            self.things[key] = Reached(chain, key[1], how=how, by=by)
        if self.modes.get(key, 0) < mode:
            self.modes[key] = mode
            self.things[key].holds_only = mode == Mode.HOLDS
            self.next[key] = None

    def gap(self, why: str, key: Key | None = None) -> None:
        """Something that was reached (which, if it is one thing) may lead on, and was not followed."""
        self.gaps[why] = None
        if key is not None:
            self._told.add(key)

    def judge(self, asked: Key) -> None:
        """What is certain; and whether everything that left is somewhere."""
        ways: dict[Key, list[_Way]] = {}
        by: dict[Key, set[bytes]] = {}
        for way in self._ways:
            ways.setdefault(way.source, []).append(way)
            by.setdefault(way.target, set()).add(way.making)
        waiting = [asked]
        while waiting:
            key = waiting.pop()
            thing = self.things.get(key)
            if thing is None or thing.certain:
                continue
            if key != asked and not self.makings.get(key, set()) <= by[key]:
                # The lot has amounts from elsewhere too: what became of which of them nobody can say.
                continue
            thing.certain = True
            waiting += [way.target for way in ways.get(key, []) if way.certain]
        gone = ("DEPARTED", "NOT RECORDED")
        here = {thing.id for thing in self.things.values() if thing.status not in gone}
        for key, thing in self.things.items():
            if key in self._told:
                continue
            if thing.status == "DEPARTED" and thing.id not in here:
                self.gap(f"{thing.id} left chain {thing.chain}, and no chain that was asked shows it")
            elif thing.how == "came as" and thing.status == "NOT RECORDED":
                # Whoever says so lies, or it came inside a container that was only passing there.
                self.gap(f"{thing.id} is said to come from chain {thing.chain}, which knows nothing of it")
        self._compare_spreads()

    def _compare_spreads(self) -> None:
        """What a lot's home sent to another chain, less what came back, is accounted for there."""
        for (home, name), spread in self.spreads.items():
            for chain_id, sent in spread.abroad.items():
                there = self.spreads.get((chain_id, name))
                if there is None:
                    continue
                for unit in {**sent, **there.brought}:
                    told = sent.get(unit, Decimal()), there.brought.get(unit, Decimal())
                    if decimals.compare(*told) != 0:
                        says, has = map(decimals.to_text, told)
                        where = f"{says} {unit or 'pieces'} of {name} went from chain {self.things[home, name].chain}"
                        chain = self.things[chain_id, name].chain
                        self.gap(
                            f"{where} to chain {chain}, and {has} are accounted for there; some may be on its way"
                        )
