"""Every sequence of steps within small bounds, on two chains: no chance, no step left out.

A step is one thing that a member does, or one message that a relayer brings, or time that passes; every step is a block of
its own, and every header is known to the other chain at once. That leaves nothing out: a relayer that holds a header back
could only do less, and any fact that was ever provable may still be brought, for all headers are kept. States that differ
in nothing but times, heights and histories are one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256

from bridge.packet import ERROR, SUCCESS
from ledger import codec, state
from ledger.state import Kind
from proto.chiptrace.v1.bridge_pb2 import ArrivalRecord
from proto.chiptrace.v1.ledger_pb2 import GenerationRecord, PartRecord
from tests.bridge.model.chain import ModelChain
from tests.bridge.model.places import AT, IN, Violation
from tests.bridge.model.walk import Setting, Walk
from tests.bridge.model.world import World, base

TIMEOUT_MS = 1_000
Step = tuple[str, Callable[[World], object]]
# What is read of a record, without what only tells when.
FORGOTTEN = {
    PartRecord: ("history", "offered_at_ms"),
    GenerationRecord: ("opened_n", "closed_n"),
    ArrivalRecord: ("proven_height",),
}


@dataclass(frozen=True)
class Bounds:
    name: str
    parts: int
    boxes: int
    packed: tuple[tuple[int, int], ...] = ()  # (thing, box), packed before it begins
    packets: int = 3
    more: int = 0  # steps, where there is less to do at each


BOUNDS = (
    Bounds("one part", 1, 0, packets=4, more=6),
    Bounds("two parts", 2, 0, packets=3, more=1),
    Bounds("one part in a box", 1, 1, ((0, 1),)),
    Bounds("one part in a box in a box", 1, 2, ((0, 1), (1, 2)), more=-1),
)


@dataclass
class Search:
    bounds: Bounds
    close_every: int = 16  # the way to rest is gone from one state in so many
    seen: dict[bytes, int] = field(default_factory=dict)
    transitions: int = 0
    closed: int = 0
    violations: list[str] = field(default_factory=list)

    def start(self) -> World:
        world = World.of(base("a", "b"), self.bounds.parts, self.bounds.boxes)
        for thing, box in self.bounds.packed:
            assert world.pack("a", world.things[thing], world.things[box]).ok
        settle(world)
        return world

    def explore(self, world: World, depth: int) -> None:
        key = key_of(world)
        if self.seen.get(key, -1) >= depth or self.violations:
            return
        fresh = key not in self.seen
        self.seen[key] = depth
        if fresh and key[0] % self.close_every == 0:
            self.close(world)
        if depth == 0:
            return
        for what, act in steps(world, self.bounds):
            after = world.copy()
            self.transitions += 1
            try:
                if not act(after):
                    continue
                settle(after)
                after.check()
            except Violation as violation:
                self.violations.append(f"{violation}; steps: {after.acts}; last: {what}")
                return
            self.explore(after, depth - 1)

    def close(self, world: World) -> None:
        self.closed += 1
        walk = Walk(0, Setting(("a", "b")))
        walk.world = world.copy()
        walk.sent = list(world.places.packets)
        try:
            walk.come_to_rest()
        except Violation as violation:
            self.violations.append(f"{violation}; at rest; steps: {walk.world.acts}")


def settle(world: World) -> None:
    """Every chain ends its block, and every header is told."""
    for name in world.chains:
        world.seal(name)
    for here, own, _, _ in world.links:
        world.update(here, own)


def done(result) -> bool:
    """Whether something changed: what was refused leads nowhere new."""
    return bool(result.ok)


def steps(world: World, bounds: Bounds) -> Iterator[Step]:
    """All that may be done next."""
    names = list(world.chains)
    for name in names:
        other = next(each for each in names if each != name)
        for part in world.things:
            if world.places.where[part] == (AT, name):
                if len(world.places.packets) < bounds.packets:
                    yield "send", lambda w, n=name, p=part, o=other: done(w.send(n, p, o, TIMEOUT_MS))
                    yield "give back", lambda w, n=name, p=part: done(w.give_back(n, p, TIMEOUT_MS))
                yield "accept", lambda w, n=name, p=part: done(w.accept(n, p))
                for box in world.boxes:
                    if box != part and world.places.where[box] == (AT, name):
                        yield "pack", lambda w, n=name, p=part, b=box: done(w.pack(n, p, b))
            elif world.places.where[part][0] == IN and world.places.chain_of(part) == name:
                box = str(world.places.where[part][1])
                yield "unpack", lambda w, n=name, p=part, b=box: done(w.unpack(n, p, b))
        for box in world.boxes:
            if world.places.inside(box) and world.places.where[box] == (AT, name):
                yield "unpack all", lambda w, n=name, b=box: done(w.unpack_all(n, b))
    yield from brought(world)
    if any(not packet.ended for packet in world.places.packets.values()):
        yield "time", lambda w: w.pass_time(2 * TIMEOUT_MS) is None


def brought(world: World) -> Iterator[Step]:
    """Everything ever provable, once for each thing that it says."""
    for key in world.places.packets:
        name, client, sequence = key
        other, _ = world.link(name, client)
        yield "receive", lambda w, k=key: done(w.bring("receive", *k))
        for answer in (SUCCESS, ERROR):
            yield "answer", lambda w, k=key, a=answer: done(w.bring("acknowledge", *k, answer=a))
        for height in absent_at(world.chains[other], world.chains[name], client, sequence, world):
            yield "timeout", lambda w, k=key, h=height: done(w.bring("timeout", *k, height=h))
    if world.boxes:
        for here, own, there, _ in world.links:
            for part in world.things:
                for height in told_at(world.chains[there], part):
                    yield (
                        "materialise",
                        lambda w, n=here, c=own, p=part, h=height: done(w.materialise(n, c, p, h)),
                    )


def absent_at(prover: ModelChain, source: ModelChain, client: str, sequence: int, world: World):
    """Headers of the last state without the receipt at or after the timeout, and of the last one before it."""
    packet = source.sent[client, sequence]
    receipt = state.receipt_key(packet.destination_client, sequence)
    without = [item for item in prover.sealed.values() if receipt not in item.values]
    for late in (True, False):
        heights = [item.height for item in without if (item.time_ms >= packet.timeout_ms) == late]
        if heights:
            yield max(heights) + 1


def told_at(prover: ModelChain, part: str):
    """Headers under which a part's record says something new, the last for each."""
    key, found = state.part_key(part), {}
    for item in prover.sealed.values():
        value = item.values.get(key)
        if value is not None and PartRecord.FromString(value).container:
            found[value] = item.height + 1
    return sorted(found.values())


# ---- states -----------------------------------------------------------------------------------------------------


KINDS = {Kind.PART: PartRecord, Kind.GENERATION: GenerationRecord, Kind.ARRIVAL: ArrivalRecord}


def plain(value: bytes, kind) -> bytes:
    record = kind.FromString(value)
    for name in FORGOTTEN[kind]:
        record.ClearField(name)
    return codec.encode(record)


def key_of(world: World) -> bytes:
    """What of a world decides what can happen in it."""
    told = sha256()

    def say(*items) -> None:
        told.update(repr(items).encode())

    say(sorted(world.places.where.items()))
    for key, packet in sorted(world.places.packets.items()):
        name, client, sequence = key
        source = world.chains[name]
        other = world.chains[world.link(name, client)[0]]
        late = source.sent[client, sequence].timeout_ms
        absent = [height - 1 for height in absent_at(other, source, client, sequence, world)]
        lateness = [other.sealed[height].time_ms >= late for height in absent]
        say(key, packet.received, packet.ended, other.time_ms >= late, lateness)
    for name, chain in world.chains.items():
        for row, value in sorted(chain.state.items()):
            kind = KINDS.get(row[0])
            if kind is not None:
                say(name, row, plain(value, kind))
        if world.boxes:
            for part in world.things:
                key = state.part_key(part)
                values = [item.values[key] for item in chain.sealed.values() if key in item.values]
                say(list(dict.fromkeys(plain(value, PartRecord) for value in dict.fromkeys(values))))
    return told.digest()[:16]


def explore(bounds: Bounds, depth: int, close_every: int = 16) -> dict:
    """Figures of an exploration: states, transitions, and what was violated."""
    search = Search(bounds, close_every)
    search.explore(search.start(), depth)
    return {
        "bounds": bounds.name,
        "steps": depth,
        "states": len(search.seen),
        "transitions": search.transitions,
        "closed": search.closed,
        "violations": search.violations,
    }
