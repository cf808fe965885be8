"""One seeded run: random steps by members, a relayer that does what it likes, crashes, forgery; then the way to rest.

A seed is the same run on every machine. After every step the oracle is asked; at the end everybody is honest, all comes to
rest, and each part that the oracle knows of must be found, live, where it is.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from bridge.packet import ERROR, SUCCESS, acknowledgement_commitment
from bridge.transfer import ENCODING, PORT, VERSION
from ledger import codec, decimals, state
from ledger.containers import standing
from ledger.identifiers import canonical
from ledger.state import MappingReader
from proto.chiptrace.v1.bridge_pb2 import Contents, CustodyTransfer, Packet
from proto.chiptrace.v1.ledger_pb2 import IN_TRANSIT, LIVE, OFFERED, ManifestRow, Reason, UnitAmount
from tests.bridge.model.places import AT, HELD, IN, WAY, Violation
from tests.bridge.model.world import LOT, World, answer_of, base
from tests.bridge.two_chains import HOUR_MS, MEMBERS

TIMEOUTS_MS = (300, 1_000, 5_000, HOUR_MS, HOUR_MS)
STEPS = (18, 30, 44)


@dataclass(frozen=True)
class Setting:
    """What a run has."""

    names: tuple[str, ...]
    joined: tuple[tuple[str, str], ...] = ()
    parts: int = 2
    boxes: int = 0
    corrupt: str = ""
    lot: bool = False
    long_routes: bool = False


SETTINGS = (
    Setting(("a", "b"), parts=2),
    Setting(("a", "b"), parts=2, boxes=1),
    Setting(("a", "b"), parts=2, boxes=2),
    Setting(("a", "b"), parts=1, boxes=2, lot=True),
    Setting(("a", "b", "c"), (("b", "c"),), parts=1, boxes=2, lot=True),
    Setting(("a", "b", "c"), (("b", "c"),), parts=3),
    Setting(("a", "b", "c"), (("b", "c"),), parts=3, boxes=2),
    Setting(("a", "b", "c"), (("b", "c"),), parts=2, boxes=2, long_routes=True),
    Setting(("a", "b", "c"), (("b", "c"),), parts=2, boxes=1, corrupt="c"),
    Setting(("a", "b"), parts=2, boxes=1, corrupt="b"),
    Setting(("a", "b", "c"), (("b", "c"),), parts=1, boxes=1, corrupt="b", lot=True),
)


@dataclass
class Walk:
    seed: int
    setting: Setting
    tally: dict[str, int] = field(default_factory=dict)

    def __post_init__(self):
        self.chance = random.Random(self.seed)
        made = base(*self.setting.names, joined=self.setting.joined, long_routes=self.setting.long_routes)
        self.world = World.of(made, self.setting.parts, self.setting.boxes, self.setting.corrupt)
        self.sent = []  # (chain, client, sequence), as relayers remember them
        self.shown = []  # (chain, client, part, height), of what became a record
        self.weights = [
            (self.send, 8),
            (self.deliver, 16),
            (self.meddle, 6),
            (self.accept, 5),
            (self.give_back, 2),
            (self.pass_time, 2),
            (self.crash, 1),
            (self.destroy, 0.2),
        ]
        if self.setting.boxes:
            self.weights += [(self.pack, 6), (self.unpack, 3), (self.unpack_all, 3), (self.touch, 7)]
            self.weights += [(self.show_again, 3)]
        if self.setting.lot:
            self.weights += [(self.send_amount, 6), (self.accept_amount, 4), (self.return_amount, 2)]
            self.weights += [(self.pack_amount, 4)]
        if self.setting.long_routes:
            self.weights += [(self.follow, 5)]
        if self.setting.corrupt:
            self.weights += [(self.forge, 8), (self.show_fork, 0.3)]

    # ---- members

    def somewhere(self, things):
        """A chain and a thing, mostly where the thing is."""
        part = self.chance.choice(things)
        here = self.world.places.chain_of(part)
        if here and self.chance.random() < 0.9:
            return here, part
        return self.chance.choice(list(self.world.chains)), part

    def send(self):
        name, part = self.somewhere(self.world.things)
        part = self.world.places.root(part) if self.chance.random() < 0.8 else part
        to = self.chance.choice([there for _, there in self.world.links_from(name)])
        receiver = "nobody" if self.chance.random() < 0.1 else ""
        client = next(own for own, there in self.world.links_from(name) if there == to)
        before = self.world.client(name, client).next_sequence
        if self.world.send(name, part, to, self.chance.choice(TIMEOUTS_MS), receiver).ok:
            self.sent.append((name, client, before))
            self.count("sent")

    def accept(self):
        self.count("accepted", self.world.accept(*self.somewhere(self.world.things)).ok)

    def give_back(self):
        name, part = self.somewhere(self.world.things)
        record = self.world.record(name, part)
        if record is None or record.client not in [own for own, _ in self.world.links_from(name)]:
            return
        client, before = record.client, self.world.client(name, record.client).next_sequence
        if self.world.give_back(name, part, self.chance.choice(TIMEOUTS_MS)).ok:
            self.sent.append((name, client, before))
            self.count("returned")

    def pack(self):
        name, part = self.somewhere(self.world.things)
        there = [box for box in self.world.boxes if self.world.places.chain_of(box) == name and box != part]
        box = self.chance.choice(there if there and self.chance.random() < 0.9 else self.world.boxes)
        if box != part:
            self.count("packed", self.world.pack(name, part, box).ok)

    def unpack(self):
        name, part = self.somewhere(self.world.things)
        kind, box = self.world.places.where[part]
        if kind == IN:
            self.count("unpacked", self.world.unpack(name, part, str(box)).ok)

    def unpack_all(self):
        full = [box for box in self.world.boxes if self.world.places.inside(box)]
        name, box = self.somewhere(full or self.world.boxes)
        self.count("unpacked all", self.world.unpack_all(name, box).ok)

    def destroy(self):
        name, part = self.somewhere(self.world.parts)
        self.count("destroyed", self.world.destroy(name, part).ok)

    def send_amount(self):
        name = self.chance.choice(list(self.world.chains))
        own, to = self.chance.choice(self.world.links_from(name))
        before = self.world.client(name, own).next_sequence
        receiver = "nobody" if self.chance.random() < 0.1 else ""
        amount, timeout_ms = self.chance.randint(1, 12), self.chance.choice(TIMEOUTS_MS)
        if self.world.send_amount(name, amount, to, timeout_ms, receiver).ok:
            self.sent.append((name, own, before))
            self.count("amounts sent")

    def accept_amount(self):
        name = self.chance.choice(list(self.world.chains))
        amount = self.chance.choice((None, 1, 5))
        self.count("amounts accepted", self.world.accept_amount(name, amount).ok)

    def return_amount(self):
        name = self.chance.choice(list(self.world.chains))
        own, _ = self.chance.choice(self.world.links_from(name))
        before = self.world.client(name, own).next_sequence
        if self.world.return_amount(name, own, self.chance.choice(TIMEOUTS_MS)).ok:
            self.sent.append((name, own, before))
            self.count("amounts returned")

    def pack_amount(self):
        name, box = self.somewhere(self.world.boxes)
        self.count("amounts packed", self.world.pack_amount(name, self.chance.randint(1, 4), box).ok)

    # ---- time and faults

    def pass_time(self):
        self.world.pass_time(self.chance.choice((200, 1_000, 6_000)))

    def crash(self):
        self.world.crash(self.chance.choice(list(self.world.chains)))
        self.count("crashes")

    # ---- relayers

    def deliver(self):
        """What an honest relayer would do next for some packet, to its end or not."""
        if not self.sent:
            return
        waiting = [key for key in self.sent if not self.is_over(key)]
        self.carry(self.chance.choice(waiting if waiting and self.chance.random() < 0.95 else self.sent))

    def is_over(self, key):
        packet = self.world.places.packets.get(key)
        return packet is not None and packet.ended != ""

    def carry(self, key):
        """One step further for a packet: it is received, or its answer or its timeout is brought."""
        name, client, sequence = key
        world = self.world
        other, other_client = world.link(name, client)
        answer = answer_of(world, name, client, sequence)
        packet = world.chains[name].sent.get((client, sequence))
        if packet is None:
            return False
        if answer:
            world.seal(other)
            world.update(name, client)
            return self.bring("acknowledge", key, answer=answer)
        if world.chains[other].time_ms < packet.timeout_ms:
            world.seal(name)
            world.update(other, other_client)
            return self.bring("receive", key)
        for _ in range(2):
            world.seal(other)
        world.update(name, client)
        return self.bring("timeout", key)

    def bring(self, verb, key, height=0, answer=b""):
        result = self.world.bring(verb, *key, height=height, answer=answer)
        done = result.ok and result.reason != Reason.REDUNDANT
        if done:
            self.count(verb)
        return done

    def touch(self):
        """A part becomes a record where it came in a box, or where it did not."""
        world = self.world
        inside = [part for part in world.things if world.places.where[part][0] == IN]
        part = self.chance.choice(inside or world.things)
        name = world.places.chain_of(part)
        links = [link for link in world.links if link[0] == name] if self.chance.random() < 0.8 else []
        here, own, there, _ = self.chance.choice(links or world.links)
        height = 0
        if self.chance.random() < 0.7:
            world.seal(there)
            world.update(here, own)
        elif kept := world.client(here, own).stored_heights:
            height = self.chance.choice(kept[-8:])
        self.show(
            here, own, part, height or (kept[-1] if (kept := world.client(here, own).stored_heights) else 0)
        )

    def show(self, here, own, part, height):
        result = self.world.materialise(here, own, part, height)
        changed = result.ok and result.reason != Reason.REDUNDANT
        self.count("materialised", changed)
        if changed:
            self.shown.append((here, own, part, height))

    def show_again(self):
        """What made a record once is shown once more, whatever has become of the part."""
        if self.shown:
            self.show(*self.chance.choice(self.shown))

    def follow(self):
        """A part is shown to have gone on from where a chain believes it to be."""
        world = self.world
        here, own, there, _ = self.chance.choice(world.links)
        world.seal(there)
        world.update(here, own)
        result = world.follow(here, own, self.chance.choice(world.things))
        self.count("followed", result.ok and result.reason != Reason.REDUNDANT)

    def meddle(self):
        """Any message about any packet, under any header that is held, or the update to any height."""
        world = self.world
        if self.chance.random() < 0.3 or not self.sent:
            here, own, there, _ = self.chance.choice(world.links)
            source = world.chains[there]
            world.seal(there)
            low = max(min(source.sealed) + 1, source.height - 6)
            world.update(here, own, self.chance.randint(low, source.height))
            return
        key = self.chance.choice(self.sent)
        verb = self.chance.choice(("receive", "acknowledge", "timeout", "timeout"))
        name, client, _ = key
        other, other_client = world.link(name, client)
        host, own = (other, other_client) if verb == "receive" else (name, client)
        if self.chance.random() < 0.4:
            world.seal(world.link(host, own)[0])
            world.update(host, own)
        kept = world.client(host, own).stored_heights
        height = self.chance.choice(kept[-8:]) if kept else 0
        self.bring(verb, key, height, self.chance.choice((SUCCESS, ERROR)))

    # ---- a quorum that is corrupt

    def forge(self):
        world, name = self.world, self.setting.corrupt
        way = self.chance.random()
        own, there = self.chance.choice(world.links_from(name))
        if way < 0.5:
            self.forge_transfer(name, own, there)
        elif way < 0.75 and self.sent:
            self.forge_answer(name, self.chance.choice(self.sent))
        else:
            self.forge_record(name)
        world.seal(name)
        self.count("forged")

    def forge_transfer(self, name, own, there):
        world = self.world
        part = self.chance.choice(world.things)
        home = world.chains[self.setting.names[0]].chain_id
        record = world.record(there, part)
        hop = self.chance.choice((1, 2, 3, 9, (record.hop if record else 0) + 1))
        transfer = CustodyTransfer(
            part=part,
            origin_chain=self.chance.choice((home, home, home, world.chains[name].chain_id)),
            hop=hop,
            sender=MEMBERS[name][0],
            receiver=MEMBERS[there][0],
            history_root=bytes(range(32)),
            class_commissioner=MEMBERS["a"][0],
            ownership=True,
        )
        if self.chance.random() < 0.4:
            setattr(transfer, "return", True)
        if self.setting.boxes and self.chance.random() < 0.5:
            self.forge_contents(transfer)
        if self.setting.lot and self.chance.random() < 0.3:
            transfer = self.forge_amount(transfer)
        client = world.client(name, own)
        packet = Packet(
            source_client=own,
            destination_client=client.counterparty_client,
            sequence=client.next_sequence + self.chance.randrange(1_000, 100_000),
            timeout_ms=world.now_ms + HOUR_MS,
            source_port=PORT,
            destination_port=PORT,
            version=VERSION,
            encoding=ENCODING,
            value=codec.encode(transfer),
        )
        world.forge_packet(name, packet)
        self.sent.append((name, own, packet.sequence))

    def forge_contents(self, transfer):
        """As much inside as may be, of any class, in a filling of any number."""
        count = self.chance.choice((1, 2, 5))
        filling = Contents(generation=self.chance.choice((1, 2, 3, 7)), count=count, levels=[count])
        item_class = canonical(self.world.parts[0]).class_text
        filling.manifest.append(ManifestRow(item_class=item_class, count=count))
        transfer.contents.CopyFrom(filling)

    def forge_amount(self, transfer):
        amount = UnitAmount(amount=decimals.parse(str(self.chance.choice((1, 5, 20, 999)))))
        forged = CustodyTransfer(part=LOT, amount=amount)
        for name in ("origin_chain", "sender", "receiver", "history_root", "class_commissioner", "return"):
            setattr(forged, name, getattr(transfer, name))
        return forged

    def forge_answer(self, name, key):
        """Of a packet to the corrupt chain: received, answered as it likes, or never received at all."""
        world = self.world
        source, client, sequence = key
        other, other_client = world.link(source, client)
        if other != name:
            return
        receipt = state.receipt_key(other_client, sequence)
        answer = state.acknowledgement_key(other_client, sequence)
        way = self.chance.randrange(3)
        if way == 0:
            world.forge(name, receipt, None)
            world.forge(name, answer, None)
        else:
            world.forge(name, receipt, b"\x02")
            world.forge(name, answer, acknowledgement_commitment((SUCCESS, ERROR)[way - 1]))

    def forge_record(self, name):
        """Records of parts and boxes, as they would help it."""
        world = self.world
        part = self.chance.choice(world.things)
        key = state.part_key(part)
        record = world.record(name, part)
        if record is None:
            record = world.record(self.setting.names[0], part)
        if record is None:
            return
        if self.setting.boxes and self.chance.random() < 0.6:
            # As if it lay in a box that went over.
            record.container = self.chance.choice(world.boxes)
            record.generation = self.chance.choice((1, 2, 3, 7))
            record.open = False
            record.status = LIVE
            world.forge(name, key, codec.encode(record))
            return
        record.status = self.chance.choice((LIVE, OFFERED, IN_TRANSIT))
        record.hop = self.chance.choice((0, 1, 9))
        record.holder = MEMBERS[name][0]
        world.forge(name, key, codec.encode(record))

    def show_fork(self):
        world = self.world
        world.seal(self.setting.corrupt)
        self.count("frozen", world.show_fork(self.setting.corrupt, self.chance.choice(world.honest)).ok)

    # ---- the run

    def count(self, what, more=1):
        if more:
            self.tally[what] = self.tally.get(what, 0) + int(more)

    def run(self):
        if self.setting.boxes:
            self.set_out()
        acts, weights = [act for act, _ in self.weights], [weight for _, weight in self.weights]
        for act in self.chance.choices(acts, weights, k=self.chance.choice(STEPS)):
            act()
            self.world.check()
        self.come_to_rest()
        return self.tally

    def set_out(self):
        """Some parts are packed; half of the time the box goes to another chain, so that more steps are left for what
        happens after that."""
        for _ in range(self.chance.choice((0, 1, 2, 3))):
            self.pack()
        if self.chance.random() < 0.5:
            return
        world, home = self.world, self.setting.names[0]
        box = self.chance.choice(world.boxes)
        for part in world.parts:
            if world.places.where[part] == world.places.where[box] == (AT, home):
                world.pack(home, part, box)
        box = world.places.root(box)
        own, to = self.chance.choice(world.links_from(home))
        key = (home, own, world.client(home, own).next_sequence)
        if world.send(home, box, to).ok:
            self.sent.append(key)
            self.carry(key)
            world.accept(to, box)
            self.carry(key)

    def come_to_rest(self):
        """Everybody is honest from now on, but who is corrupt: all that can end ends, and what is there can be used."""
        world = self.world
        world.pass_time(HOUR_MS + 60_000)
        for again in (True, False, False):  # once more, too, what is over
            for key in self.sent:
                if key[0] not in world.corrupt and (again or not self.is_over(key)):
                    self.carry(key)
            world.check()
        world.materialise_all(self.setting.long_routes)
        world.check()
        for part in world.things:
            if part in world.places.loose:
                continue
            kind, what = world.places.where[world.places.root(part)]
            if kind == WAY and not self.may_stay(what):
                raise Violation(f"{part} never arrives and never comes back: {world.places.packets[what]}")
            if kind == AT:
                self.come_alive(str(what), part)
        world.check()
        world.check_histories()

    def may_stay(self, key):
        """Whether a packet may never end: its client is frozen, or the other chain is corrupt and says nothing true."""
        return (key[0], key[1]) in self.world.places.frozen or self.world.link(*key[:2])[
            0
        ] in self.world.corrupt

    def come_alive(self, name, part):
        root = self.world.places.root(part)
        around = self.world.record(name, root)
        if around is not None and around.status == OFFERED:
            self.world.accept(name, root)
        record = self.world.record(name, part)
        where = None if record is None else standing(MappingReader(self.world.chains[name].state), record)
        if where is None or (where.status, where.outermost) != (LIVE, root):
            raise Violation(f"{part} is at {name} in {root}, and nobody can use it: {where}")


def run(seed: int) -> dict[str, int]:
    """The run of a seed: its setting, too, is drawn from it. Raises Violation."""
    setting = SETTINGS[seed % len(SETTINGS)]
    return Walk(seed, setting).run()


__all__ = ["HELD", "SETTINGS", "Setting", "Walk", "run"]
