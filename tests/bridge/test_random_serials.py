"""Random journeys of a lot of serials over two chains: a range, a list, or the root of a list.

Every step is one of: who has some of the lot inspects it, ships it, packs it, takes it out, sends it over the bridge, by
interval or by serial, whole or in part; receivers accept some, or give back; anyone shows what came inside a box; time goes
by; a relayer brings some of what there is. After every step each serial is in one record on a chain at most, and live on one
chain at most; in the end, with everything carried and shown, on exactly one. More seeds: CHIPTRACE_SERIAL_RUNS=200.
"""

import os
import random

import pytest

from ledger import codec
from ledger.containers import export_of, standing
from ledger.identifiers import canonical, interval_text
from ledger.intervals import is_interval, pieces
from ledger.roots import SerialList
from proto.chiptrace.v1.bridge_pb2 import Materialise, SendPart
from proto.chiptrace.v1.ledger_pb2 import IN_TRANSIT, LIVE, OFFERED, Operation
from tests.bridge.crossing import lot_record, materialise_operation, update
from tests.bridge.test_serials import captured
from tests.bridge.two_chains import HOUR_MS, MEMBERS, OFFER_EXPIRY_MS, World
from tests.ledger.rules_world import listed, object_event, packing, root_of, serials_of, unpacking

COUNT, STEPS, NAMES = 24, 110, ("a", "b")
LOT = canonical("urn:epc:class:lgtin:4012345.012345.S1").text
CLASS = canonical(LOT).class_text
RUNS = int(os.environ.get("CHIPTRACE_SERIAL_RUNS", "3"))


class Journey:
    def __init__(self, seed, kind):
        self.random = random.Random(seed)
        self.world = World(*NAMES)
        self.done = set()  # kinds of steps that came to something
        if kind == "range":
            serials = [f"{number:04}" for number in range(COUNT)]
            begun = serials_of(LOT, serials[0], serials[-1], COUNT)
        else:
            serials = [f"S{number * 7 % COUNT:02}X" for number in range(COUNT)]
            begun = listed(LOT, serials)
        self.kept = None
        if kind == "root":
            self.kept = SerialList(self.world["a"].chain_id, canonical(LOT), serials)
            begun = root_of(LOT, self.kept)
        self.names = [f"{CLASS}/21/{text}" for text in serials]
        assert self.world["a"].operate("ada", captured(self.world, begun)).ok
        self.boxes = [self.world.commission("a", "ada") for _ in range(2)]

    # ---- what there is

    def pieces(self, name):
        lot = lot_record(self.world, name, LOT)
        return pieces(self.world[name].app.store, lot, 0, COUNT, 1_000) if lot.serials.count else []

    def standing(self, name, record):
        return standing(self.world[name].app.store, record)

    def chosen(self, boxes=0.0):
        """A chain, something there by its name, and who has it or is offered it; or nothing."""
        name = self.random.choice(NAMES)
        if self.random.random() < boxes:
            record = self.world.part(name, self.random.choice(self.boxes))
            return (name, record.id, record.offered_to or record.holder) if record.id else None
        found = self.pieces(name)
        if not found:
            return None
        piece = self.random.choice(found)
        return name, self.some_of(piece), piece.offered_to or self.standing(name, piece).holder

    def some_of(self, piece):
        if not is_interval(piece) or self.random.random() < 0.35:
            return piece.id
        start = self.random.randrange(piece.start, piece.end)
        if self.random.random() < 0.4:
            return self.names[start]
        return interval_text(LOT, start, self.random.randrange(start, piece.end) + 1)

    def shown(self, part):
        return self.kept.membership(part) if self.kept is not None and part in self.kept else None

    # ---- members

    def record(self, step, name, member, event, part):
        self.world._serials += 1
        operation = captured(self.world, event, self.world._serials)
        shown = self.shown(part)
        if shown is not None:
            operation.capture.memberships.append(shown)
        self.operate(step, name, member, operation)

    def operate(self, step, name, member, operation):
        result = self.world[name].operate(member or MEMBERS[name][0], operation)
        if result.ok and not result.reason:
            self.done.add(step)
        return result

    def happen(self, biz_step, boxes=0.0, **more):
        found = self.chosen(boxes)
        if found is not None:
            name, part, member = found
            parts, amounts = ([], [{"epcClass": part}]) if "interval" in part else ([part], [])
            event = object_event("OBSERVE", parts, biz_step, amounts, **more)
            self.record(biz_step, name, member, event, part)

    def inspect(self):
        self.happen("inspecting")

    def accept(self):
        self.happen("receiving", boxes=0.4)

    def ship(self):
        self.happen("shipping", to=self.random.choice(["ada", "abe", "bob", "ben"]))

    def pack(self):
        found = self.chosen()
        if found is not None:
            name, part, _ = found
            box = self.random.choice(self.boxes)
            self.put(packing, name, box, part)

    def take_out(self):
        name = self.random.choice(NAMES)
        inside = [piece for piece in self.pieces(name) if piece.container]
        if inside:
            piece = self.random.choice(inside)
            self.put(unpacking, name, piece.container, self.some_of(piece))

    def put(self, make, name, box, part):
        event = make(box, [], [{"epcClass": part}]) if "interval" in part else make(box, [part])
        self.record(make.__name__, name, self.world.part(name, box).holder, event, part)

    def unpack(self):
        full = [(name, box) for name in NAMES for box in self.boxes if self.world.part(name, box).open]
        if full:
            name, box = self.random.choice(full)
            self.record("unpack_all", name, self.world.part(name, box).holder, unpacking(box), "")

    def send(self):
        found = self.chosen(boxes=0.45)
        if found is not None:
            name, part, member = found
            to = "b" if name == "a" else "a"
            until = self.world.clock.now_ms + self.random.choice([1_500, HOUR_MS])
            receiver = self.random.choice([*MEMBERS[to][:2], "nobody"])
            message = SendPart(client=f"{to}-1", part=part, receiver=receiver, timeout_ms=until)
            shown = self.shown(part)
            if shown is not None:
                message.membership.CopyFrom(shown)
            self.operate("send", name, member, Operation(send_part=codec.encode(message)))

    def give_back(self):
        name = self.random.choice(NAMES)
        records = [*self.pieces(name), *(self.world.part(name, box) for box in self.boxes)]
        offered = [record for record in records if record.status == OFFERED and record.arrived_offer]
        if offered:
            record = self.random.choice(offered)
            timeout_ms = self.random.choice([1_500, HOUR_MS])
            assert self.world.give_back(name, record.id, record.offered_to, timeout_ms=timeout_ms).ok
            self.done.add("return")

    # ---- relayers, and who shows what is in boxes

    def show(self):
        host = self.random.choice(NAMES)
        source = "b" if host == "a" else "a"
        found = [piece.id for piece in self.pieces(source) if piece.container]
        if found:
            self.materialise(host, source, [self.random.choice(found)])

    def materialise(self, host, source, found):
        update(self.world, host, source)
        came = 0
        for part in found:
            operation = materialise_operation(self.world, host, part, source)
            shown = self.shown(part)
            if shown is not None:
                message = Materialise.FromString(operation.materialise)
                message.membership.CopyFrom(shown)
                operation = Operation(materialise=codec.encode(message))
            result = self.operate("materialise", host, MEMBERS[host][0], operation)
            came += result.ok and not result.reason
        return came

    def carry(self):
        self.world.settle()
        for relayer in self.world.relayers.values():
            plan = relayer.plan()
            ways = ((relayer.a, relayer.b, plan.on_a), (relayer.b, relayer.a, plan.on_b))
            for host, source, actions in ways:
                for action in actions:
                    if self.random.random() < 0.8:
                        host.operate(host.members[0], relayer.operation(source, action), role="relayer")

    def pass_time(self):
        self.world.pass_time(self.random.choice([10, 2_000, OFFER_EXPIRY_MS]))

    # ---- the walk

    def step(self):
        weights = {
            self.inspect: 3,
            self.accept: 6,
            self.ship: 1,
            self.pack: 6,
            self.take_out: 2,
            self.send: 6,
        }
        weights |= {self.unpack: 1, self.give_back: 1, self.show: 5, self.carry: 7, self.pass_time: 1}
        (act,) = self.random.choices(list(weights), list(weights.values()))
        act()
        self.check()

    def check(self):
        places = self.places()
        assert all(len(found) <= 1 for found in places), places
        assert all(self.world.live_copies(box) == 1 for box in self.boxes)
        return places

    def places(self):
        """For each serial the chains on which it is live, offered, or under way and not received."""
        places = [[] for _ in range(COUNT)]
        for name in NAMES:
            covered = set()
            for piece in self.pieces(name):
                serials = range(piece.start, piece.end)
                assert covered.isdisjoint(serials)
                covered.update(serials)
                if self.is_here(name, piece):
                    for number in serials:
                        places[number].append((name, piece.id))
        return places

    def is_here(self, name, piece):
        status = self.standing(name, piece).status
        if status != IN_TRANSIT:
            return status in (LIVE, OFFERED)
        left = export_of(self.world[name].app.store, piece)
        away = piece if left is None else self.world.part(name, left.container)
        return not self.world.received(self.world[name], away)

    def come_to_rest(self):
        self.world.pass_time(HOUR_MS + 10_000)
        self.world.relay(60)
        for _ in range(40):
            came = 0
            for host, source in (("a", "b"), ("b", "a")):
                found = [piece.id for piece in self.pieces(source) if piece.container]
                came += self.materialise(host, source, found)
            if not came:
                break
        assert all(self.check())


@pytest.mark.parametrize("kind", ["range", "list", "root"])
@pytest.mark.parametrize("seed", range(RUNS))
def test_each_serial_is_in_one_place(seed, kind):
    journey = Journey(seed, kind)
    for _ in range(STEPS):
        journey.step()
    journey.come_to_rest()


def test_the_journeys_go_everywhere():
    """They say little if some kind of step never comes to anything."""
    done = set()
    for seed in range(4):
        journey = Journey(seed, "range")
        for _ in range(STEPS):
            journey.step()
        done |= journey.done
    steps = {"inspecting", "receiving", "shipping", "packing", "unpacking", "unpack_all"}
    assert done == steps | {"send", "return", "materialise"}
