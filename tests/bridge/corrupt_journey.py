"""Random journeys among honest chains and corrupt ones.

A corrupt chain stores whatever it likes and proves it: packets grown out of true ones by a change or two (names, hops,
fillings, rows, amounts, places, serials), the same again, answers to packets that it never looked at, records of things
inside what it sent. Honest members on a, the home of everything, and on the other honest chains pack, ship, receive, send
to each other and to a corrupt chain, give back and take back meanwhile. What must hold then: `Journey.check`.
"""

import itertools
import random

from bridge.packet import ERROR, SUCCESS, acknowledgement_commitment, answered_key
from bridge.relayer_plan import Receive
from ledger import codec, decimals, rows, state
from ledger.containers import export_of, standing
from ledger.errors import Invalid, Refused
from ledger.identifiers import canonical, interval_text
from ledger.intervals import is_interval
from ledger.state import Kind
from proto.chiptrace.v1.bridge_pb2 import (
    AbroadRecord,
    AcknowledgePacket,
    CustodyTransfer,
    Materialise,
    SendPart,
)
from proto.chiptrace.v1.ledger_pb2 import (
    DEPARTED,
    IN_TRANSIT,
    LIVE,
    OFFERED,
    SPLIT,
    BalanceRecord,
    Evidence,
    GenerationRecord,
    ManifestRow,
    Operation,
    PartRecord,
)
from tests.bridge.crossing import (
    generation,
    lot_record,
    materialise_operation,
    return_amount,
    send_amount,
    update,
)
from tests.bridge.hostile import Mutator
from tests.bridge.test_corrupt_contents import write
from tests.bridge.test_custody_transfer import Corrupt
from tests.bridge.test_serials import captured
from tests.bridge.two_chains import HOUR_MS, MEMBERS, OFFER_EXPIRY_MS, World, prove
from tests.ledger.rules_world import (
    add,
    object_event,
    packing,
    quantity,
    receiving,
    serials_of,
    shipping,
    unpacking,
)
from tests.ledger.test_corrections import wrong

STEPS, MADE, COUNT = 300, 1_000, 16
MARK = len(rows.STATE + state.state_key(Kind.BALANCE, bytes(32)))  # of events that moved amounts
RESIN = canonical("urn:epc:class:lgtin:4012345.012345.RESIN").text
WAFER = canonical("urn:epc:class:lgtin:4012345.022345.W1").text
UNITS = ("", "", "", "KGM")


class Journey:
    def __init__(self, seed, honest="ac", bad="b"):
        self.random = random.Random(seed)
        self.honest = {name: MEMBERS[name][:2] for name in honest}
        self.bad = bad
        self.world = self.make_world()
        self.corrupt = Corrupt(self.world)
        self.mutator = Mutator(seed)
        self.recorded = []  # events that members may declare wrong
        self.names = [self.world.commission("a", "ada") for _ in range(9)]  # any may hold any
        self.record("a", "ada", add([], [quantity(RESIN, MADE), quantity(RESIN, MADE, "KGM")]))
        self.record("a", "ada", serials_of(WAFER, "00", f"{COUNT - 1}", COUNT))
        self.serials = {}  # of a lot: its serials by name, where they are sent by name
        self.lists = {}  # of a lot: the list behind its root
        self.make_lots()
        self.recorded.clear()  # what was made stays made
        self.transfers = []  # what was sent to b
        self.packets = []  # everything b sent
        self.arrived = []  # (chain, container, contents) that b sent and that was taken
        self.touched = set()  # what was ever on its way to b, with all in it
        self.done = set()

    def make_world(self):
        """Every chain follows every other one."""
        names = [*self.honest, *self.bad]
        joined = [pair for pair in itertools.combinations(names[1:], 2) if not set(pair) <= set(self.bad)]
        return World(*names, corrupt=self.bad, joined=joined)

    def make_lots(self):
        """Other lots of serials than the range."""

    # ---- what there is

    def rows_of(self, name, kind, form):
        start = rows.STATE + bytes([kind])
        for key, stored in (
            self.world[name].app.store.snapshot().iterate(start, rows.STATE + bytes([kind + 1]))
        ):
            if len(key) != MARK:
                yield form.FromString(rows.unseal(key, stored))

    def parts(self, name):
        """Every record of a part or an interval."""
        found = self.rows_of(name, Kind.PART, PartRecord)
        return {record.id: record for record in found if record.status != SPLIT}

    def standing(self, name, record):
        return standing(self.world[name].app.store, record)

    def balances(self, name):
        """Of each (lot, place, unit) how much lies there."""
        found = self.rows_of(name, Kind.BALANCE, BalanceRecord)
        return {(one.lot, one.place, one.unit): as_number(one.amount) for one in found}

    # ---- members

    def record(self, name, member, event):
        self.world._serials += 1
        operation = captured(self.world, event, self.world._serials)
        named = {one for key in ("epcList", "childEPCs") for one in event.get(key, [])}
        operation.capture.memberships.extend(
            shown for one in sorted(named) if (shown := self.place(one)) is not None
        )
        result = self.world[name].operate(member, operation)
        if result.ok:
            self.recorded.append((name, member, operation))
        return result

    def place(self, part):
        """Where in the list behind a root a serial is, or nothing."""
        for kept in self.lists.values():
            if part in kept:
                return kept.membership(part)
        return None

    def with_place(self, operation, part):
        """A materialising that shows it too."""
        shown = self.place(part)
        if shown is None:
            return operation
        message = Materialise.FromString(operation.materialise)
        message.membership.CopyFrom(shown)
        return Operation(materialise=codec.encode(message))

    def mine(self, name, often_free=0.8):
        """Something that somebody on an honest chain has, and who."""
        free, inside = [], []
        for record in self.parts(name).values():
            where = self.standing(name, record)
            if where.status == LIVE and where.holder:
                (inside if record.container else free).append((record, where.holder))
        found = free if self.random.random() < often_free else free + inside
        return self.random.choice(found) if found else (None, None)

    def some_of(self, record):
        if not is_interval(record) or self.random.random() < 0.3:
            return record.id
        start = self.random.randrange(record.start, record.end)
        if self.random.random() < 0.3 and record.lot in self.serials:
            return self.serials[record.lot][start]
        return interval_text(record.lot, start, self.random.randrange(start, record.end) + 1)

    def commission(self):
        if len(self.places()) < COUNT * (1 + len(self.serials)) + 16:
            self.names.append(self.world.commission("a", "ada"))

    def chain(self):
        return self.random.choice(["a", *self.honest])

    def bad_one(self):
        return self.random.choice(self.bad)

    def is_bad(self, client):
        """Whether it is a client of a corrupt chain."""
        return client.partition("-")[0] in self.bad

    def pack(self):
        name = self.chain()
        box, member = self.mine(name)
        free = [
            self.some_of(record)
            for record in self.parts(name).values()
            if record.status == LIVE and not record.container and record.holder == member
        ]
        if box is None or is_interval(box):
            return
        free = [part for part in free if part != box.id]
        inside, amounts = [], []
        if self.random.random() < 0.5:
            amounts = [quantity(RESIN, self.random.randrange(1, 30), self.random.choice(UNITS))]
        if free and (not amounts or self.random.random() < 0.5):
            inside = self.random.sample(free, min(len(free), self.random.choice([1, 2, 3])))
        amounts += [{"epcClass": part} for part in inside if "interval" in part]
        inside = [part for part in inside if "interval" not in part]
        self.note("pack", self.record(name, member, packing(box.id, inside, amounts)))

    def unpack(self):
        name = self.chain()
        record, member = self.mine(name, 0.3)
        if record is None:
            return
        if record.open and not record.container and self.random.random() < 0.5:
            amounts = [quantity(RESIN, self.random.randrange(1, 9), self.random.choice(UNITS))]
            amounts = amounts if self.random.random() < 0.3 else []
            self.note("unpack_all", self.record(name, member, unpacking(record.id, [], amounts)))
        elif record.container:
            part = self.some_of(record)
            inside = ([], [{"epcClass": part}]) if "interval" in part else ([part],)
            self.note("unpack", self.record(name, member, unpacking(record.container, *inside)))

    def ship(self):
        name = self.chain()
        record, member = self.mine(name)
        if record is not None:
            part, to = self.some_of(record), self.random.choice(self.honest[name])
            inside = ([], to, [{"epcClass": part}]) if "interval" in part else ([part], to)
            owner = self.random.choice(["", to])
            self.note("ship", self.record(name, member, shipping(*inside, owner=owner)))

    def accept(self):
        name = self.chain()
        for record in self.parts(name).values():
            if record.status == OFFERED and self.random.random() < 0.6:
                listed = ([], [{"epcClass": record.id}]) if is_interval(record) else ([record.id],)
                self.note("accept", self.record(name, record.offered_to, receiving(*listed)))
        for member in self.honest[name]:
            amount = [quantity(RESIN, None, self.random.choice(UNITS))]
            self.note("accept_amount", self.record(name, member, receiving([], amount)))

    def way(self, name):
        """Where something is sent from a chain: to the home of everything, or from there to any."""
        others = [*self.bad, *(other for other in self.honest if other != "a")]
        return self.random.choice(others if name == "a" else [*"aaaa", *self.bad])

    def send(self, to=""):
        name = self.chain()
        record, member = self.mine(name)
        if record is not None and not record.open:
            record, member = self.mine(name)
        to = to or self.way(name)
        receiver = self.random.choice([*self.honest.get(to, ("bob",)), "bob", "nobody"])
        until = self.world.clock.now_ms + self.random.choice([2_000, HOUR_MS, HOUR_MS])
        if self.random.random() < 0.25:
            member, amount = self.random.choice(self.honest[name]), self.random.randrange(1, 60)
            unit = self.random.choice(UNITS)
            sent = send_amount(self.world, name, RESIN, amount, receiver, member=member, to=to, unit=unit)
            self.note("send_amount", sent)
        elif record is not None and to != name:
            message = SendPart(
                client=f"{to}-1", part=self.some_of(record), receiver=receiver, timeout_ms=until
            )
            shown = self.place(message.part)
            if shown is not None:
                message.membership.CopyFrom(shown)
            sent = self.world[name].operate(member, Operation(send_part=codec.encode(message)))
            self.note("send", sent)
        else:
            return
        if sent.ok and to in self.bad:
            self.note_touched(name, f"{to}-1")

    def note_touched(self, name, client):
        """What went to a corrupt chain is that chain's to lie about."""
        packet = self.world[name].sent(client, self.world[name].client(client).next_sequence - 1)
        transfer = CustodyTransfer.FromString(packet.value)
        self.transfers.append((name, client[0], transfer))
        self.mutator.learn(transfer)
        for record in self.parts(name).values():
            if self.standing(name, record).status == IN_TRANSIT and self.goes_to_bad(name, record):
                self.touched.add(record.id)
                self.touched.update((record.lot, place) for place in range(record.start, record.end))

    def was_with_bad(self, part):
        """Whether a part was ever sent to a corrupt chain, as far as the honest know what it was in."""
        around, found = [part], {""}
        while around:
            found.add(one := around.pop())
            records = [self.raw(name, one) for name in self.honest]
            around += {record.container for record in records if record is not None} - found
        return not found.isdisjoint(self.touched)

    def raw(self, name, part):
        return self.world[name].record(state.part_key(part), PartRecord)

    def goes_to_bad(self, name, record):
        left = export_of(self.world[name].app.store, record)
        if left is None:
            return self.is_bad(record.client)
        return left.destination in {self.world[bad].chain_id for bad in self.bad}

    def give_back(self):
        name = self.chain()
        for record in self.parts(name).values():
            if record.status == OFFERED and record.arrived_offer and self.random.random() < 0.3:
                until = self.random.choice([2_000, HOUR_MS])
                self.note(
                    "return", self.world.give_back(name, record.id, record.offered_to, timeout_ms=until)
                )
                if self.is_bad(record.client):
                    self.note_touched(name, record.client)
        for (lot, place, unit), _ in self.balances(name).items():
            if "/" in place and ">" in place and self.random.random() < 0.2:
                client, _, ways = place.partition("/")
                sender, _, receiver = ways.partition(">")
                sent = return_amount(
                    self.world,
                    name,
                    lot,
                    client=client,
                    sender=sender,
                    receiver=receiver,
                    by=receiver,
                    unit=unit,
                )
                self.note("return_amount", sent)
                if sent.ok and self.is_bad(client):
                    self.note_touched(name, client)

    def correct(self):
        if self.recorded:
            name, member, operation = self.random.choice(self.recorded[-12:])
            time = f"2023-11-14T22:13:{self.random.randrange(60):02}Z"
            self.note("correct", self.world[name].operate(member, wrong(operation, time)))

    def inspect(self):
        name = self.chain()
        record, member = self.mine(name)
        if record is not None and not is_interval(record):
            self.note(
                "inspect", self.record(name, member, object_event("OBSERVE", [record.id], "inspecting"))
            )

    def note(self, step, result):
        if result.ok and not result.reason:
            self.done.add(step)
        return result

    # ---- honest relayers, and who shows what is in boxes

    def carry(self, always=False):
        """What there is for honest chains; for packets to corrupt ones only what ends them: they take none."""
        self.world.settle()
        brought = 0
        for pair, relayer in self.world.relayers.items():
            plan = relayer.plan()
            for host, source, actions in (
                (relayer.a, relayer.b, plan.on_a),
                (relayer.b, relayer.a, plan.on_b),
            ):
                if host.name in self.bad:
                    continue
                for action in actions:
                    from_bad = not set(pair).isdisjoint(self.bad) and isinstance(action, Receive)
                    if from_bad or (not always and self.random.random() < 0.2):
                        continue
                    try:
                        operation = relayer.operation(source, action)
                    except Invalid:
                        continue  # under a header from too long ago: the next round has a newer one
                    host.operate(host.members[0], operation, role="relayer")
                    brought += 1
        return brought

    def show(self, name="", source="", every=False):
        name = name or self.chain()
        source = source or self.random.choice([other for other in self.honest if other != name])
        update(self.world, name, source)
        came = 0
        for record in list(self.parts(source).values()):
            if record.container and (every or self.random.random() < 0.4):
                raw = self.world[source].record(state.part_key(record.id), PartRecord)
                if raw is None or not raw.container:
                    continue
                try:
                    operation = materialise_operation(self.world, name, record.id, source)
                except Invalid:
                    break  # under a header from too long ago: the client follows no more
                operation = self.with_place(operation, record.id)
                result = self.world[name].operate(self.honest[name][0], operation)
                came += result.ok and not result.reason
                self.note("materialise", result)
        return came

    def pass_time(self):
        self.world.pass_time(self.random.choice([10, 2_500, 2_500, OFFER_EXPIRY_MS]))

    # ---- the corrupt chain

    def lie(self):
        """A packet to an honest chain, grown out of what came from there, or out of anything that ever came."""
        if not self.transfers:
            return
        gone = [one for one in self.transfers if self.is_gone(one[0], one[2].part)]
        full = [one for one in gone if one[2].HasField("contents")]
        gone = full if full and self.random.random() < 0.6 else gone
        recent = gone if gone and self.random.random() < 0.8 else self.transfers
        host, bad, base = self.random.choice(recent[-8:] if self.random.random() < 0.7 else recent)
        if self.random.random() < 0.1:
            host, bad = self.chain(), self.bad_one()
        if self.packets and self.random.random() < 0.1:
            self.bring(*self.random.choice(self.packets))
            return
        told = CustodyTransfer.FromString(codec.encode(base))
        told.sender, told.receiver = "bob", self.random.choice(self.honest[host])
        if not told.HasField("amount"):
            told.hop += self.random.choice([1, 1, 1, 2, 40])
        if base.sender and self.random.random() < 0.3:
            told.receiver = base.sender
            setattr(told, "return", True)
            told.ownership = False
        if told.HasField("contents"):
            told.contents.generation += self.random.randrange(1, 4)
        for _ in range(self.random.choice([0, 0, 1, 1, 2, 3])):
            self.change(told)
        self.tidy(told)
        values = {"source_client": f"{host}-1", "destination_client": f"{bad}-1"}
        packet = self.corrupt.raw(told.SerializeToString(deterministic=True), **values)
        packet.timeout_ms = self.world.clock.now_ms + self.random.choice([5_000, HOUR_MS])
        self.packets.append((host, packet))
        if packet.value:
            self.bring(host, packet)

    def is_gone(self, host, part):
        record = self.parts(host).get(part)
        return record is None or self.standing(host, record).status == DEPARTED

    def change(self, told):
        name = self.random.choice([*self.names, *self.names, WAFER, interval_text(WAFER, 0, COUNT)])
        held = told.contents
        row = self.random.choice(held.manifest) if held.manifest else None
        full = sorted({place for _, place, _ in self.balances("a") if place in self.names})
        if full and self.random.random() < 0.4:
            name = self.random.choice(full)
        way = self.random.randrange(12)
        if way == 0:
            told.part = name
        elif way == 1 or row is None:
            other = self.random.choice(self.transfers)[2]
            if not told.HasField("amount"):
                told.contents.CopyFrom(other.contents)
                told.contents.generation += self.random.randrange(1, 4)
        elif way <= 4 and row.place:
            row.place = name
        elif way == 5:
            held.manifest.remove(row)
        elif way in (6, 7):
            unit = self.random.choice(UNITS)
            held.manifest.append(ManifestRow(lot=RESIN, unit=unit, place=name))
            held.amounts.add(
                amount=decimals.from_int(self.random.randrange(1, 4)),
                origin_chain=self.world["a"].chain_id,
                commissioner="ada",
                history_root=bytes(32),
            )
        elif way == 8:
            held.manifest.append(
                ManifestRow(item_class=canonical(self.names[0]).class_text, count=self.random.randrange(1, 6))
            )
            held.levels[:] = [self.random.randrange(1, 3) for _ in range(self.random.randrange(1, 4))]
            held.count = sum(held.levels)
        elif way == 9:
            held.foreign = not held.foreign
            held.installed = self.random.random() < 0.2
        elif way == 10 and held.amounts:
            self.random.choice(held.amounts).amount.CopyFrom(
                decimals.from_int(self.random.choice([1, 5, 70, 10**30]))
            )
        else:
            self.mutator.change(told)

    def tidy(self, told):
        """Rows as they have to stand, most of the time: else little would get further."""
        if not told.HasField("contents") or self.random.random() < 0.05:
            return
        held = told.contents
        amounts, found = iter(list(held.amounts)), {}
        for row in held.manifest:
            key = (row.item_class, row.lot, row.unit, row.place)
            amount = next(amounts, None) if row.place else None
            if key not in found and (amount is not None or not row.place):
                found[key] = (row, amount)
        kept = [found[key] for key in sorted(found)]
        kept = [(copied(row), None if amount is None else copied(amount)) for row, amount in kept]
        del held.manifest[:]
        del held.amounts[:]
        held.manifest.extend(row for row, _ in kept)
        held.amounts.extend(amount for _, amount in kept if amount is not None)
        parts = sum(row.count for row in held.manifest if not row.place)
        while held.levels and sum(held.levels) > parts:
            del held.levels[-1]
        while held.levels and not held.levels[-1]:
            del held.levels[-1]
        held.count = sum(held.levels)
        if not held.manifest:
            told.ClearField("contents")

    def bring(self, host, packet):
        if self.world.clock.now_ms > packet.timeout_ms:
            return
        before = self.untouched(host)
        update_needed = self.corrupt.bring(packet, packet.destination_client[0], host)
        self.check_untouched(host, before)
        if update_needed.ok and not update_needed.reason:
            self.done.add("lie")
            told = CustodyTransfer.FromString(packet.value)
            if told.HasField("contents"):
                self.done.add("lie about contents")
                self.arrived.append((host, packet.destination_client[0], told.part, told.contents))

    def answer(self, name=""):
        """A packet to a corrupt chain is answered as that likes, whatever became of it."""
        name, bad = name or self.chain(), self.bad_one()
        client = f"{bad}-1"
        (relayer,) = (one for pair, one in self.world.relayers.items() if set(pair) == {name, bad})
        found = [one.packet for one in relayer.open_packets(self.world[name], client)]
        if not found:
            return
        packet = self.random.choice(found)
        said = self.random.choice([SUCCESS, SUCCESS, SUCCESS, ERROR])
        write_raw(self.world[bad], answered_key(packet), acknowledgement_commitment(said))
        update(self.world, name, bad)
        height = self.world[name].client(client).latest_height
        proof = prove(self.world[bad], height, answered_key(packet))
        message = AcknowledgePacket(packet=packet, acknowledgement=said, proof=proof)
        operation = Operation(acknowledge_packet=codec.encode(message))
        result = self.world[name].operate(self.honest[name][0], operation, role="relayer")
        assert result.ok, result
        self.done.add("answer")

    def show_lies(self):
        """Records of things in what b sent, true ones and others."""
        if not self.arrived:
            return
        host, bad, container, contents = self.random.choice(self.arrived[-6:])
        inside = [name for name in self.parts(host) if name in self.touched] or self.names
        for name in self.random.sample(inside, min(3, len(inside))):
            record = self.parts(host).get(name) or PartRecord(
                id=name, origin_chain=self.world["a"].chain_id, commissioner="ada"
            )
            record.status, record.container, record.generation = LIVE, container, contents.generation
            record.open = False
            if is_interval(record) or record.lot:
                lot = record.lot or WAFER
                write(self.world, bad, state.lot_key(lot), lot_record(self.world, "a", lot))
            if self.random.random() < 0.6 and not is_interval(record):
                self.fill(bad, record, contents)
            if self.random.random() < 0.2:
                self.mutator.learn(record)
                self.mutator.change(record)
                record.id = name
            write(self.world, bad, state.part_key(name), record)
            update(self.world, host, bad)
            try:
                operation = self.with_place(materialise_operation(self.world, host, name, bad), name)
            except (Invalid, Refused, TypeError, ValueError):
                continue  # nothing stands there to be proven, or under no header that is known
            before = self.untouched(host)
            result = self.world[host].operate(self.honest[host][0], operation)
            self.check_untouched(host, before)
            self.note("materialise a lie", result)

    def fill(self, bad, record, contents):
        """Says that the part holds some of what its container came with."""
        chosen = [row for row in contents.manifest if self.random.random() < 0.6]
        parts = sum(row.count for row in chosen if not row.place)
        if not chosen:
            return
        record.open, record.generations = True, self.random.randrange(1, 9)
        level = self.random.choice([[], [1], [1, 1]])[:parts]
        filling = GenerationRecord(
            container=record.id,
            generation=record.generations,
            opened_n=1,
            count=len(level),
            depth=max(1, len(level)),
            levels=level,
            manifest=chosen,
            foreign=self.random.choice([0, 1]),
        )
        write(self.world, bad, state.generation_key(record.id, record.generations), filling)

    # ---- what must hold

    def untouched(self, name):
        """Everything on an honest chain that is not away with b: nobody there changes it."""
        kept = {}
        for record in self.parts(name).values():
            if self.standing(name, record).status != DEPARTED:
                filling = generation(self.world, name, record.id, record.generations)
                kept[record.id] = codec.encode(record), codec.encode(filling)
        places = self.balances(name)
        amounts = {key: value for key, value in places.items() if key[1] in kept}
        return kept, amounts, places

    def check_untouched(self, name, before):
        kept, amounts, places = before
        now, balances = self.parts(name), self.balances(name)
        for part, record in kept.items():
            filling = generation(self.world, name, part, now[part].generations)
            assert (codec.encode(now[part]), codec.encode(filling)) == record, part
        for key, value in amounts.items():
            assert balances.get(key) == value, key
        for key, value in places.items():
            assert balances.get(key, 0) >= value or key[1].startswith("@"), key
        for key in balances:
            assert key[1] not in kept or key in amounts, key

    def conserved(self):
        """By unit, how much of RESIN is on each other chain: with what is here it comes to what was made."""
        found = {}
        for unit in set(UNITS):
            here = sum(
                value for (lot, _, of), value in self.balances("a").items() if (lot, of) == (RESIN, unit)
            )
            found[unit] = away = [self.abroad(unit, to) for to in self.world.chains if to != "a"]
            assert here + sum(away) == MADE, (unit, here, away)
        return found

    def check(self):
        for unit, away in self.conserved().items():
            assert min(away) >= 0, (unit, away)
        assert all(len(found) <= 1 for found in self.places().values()), self.places()
        for name in self.honest:
            known = self.parts(name)
            for _, place, _ in self.balances(name):
                # What left took along all that lay in it.
                assert place not in known or self.standing(name, known[place]).status != DEPARTED, place

    def abroad(self, unit, to):
        key = state.state_key(Kind.ABROAD, RESIN, self.world[to].chain_id, unit)
        record = self.world["a"].record(key, AbroadRecord)
        return 0 if record is None else as_number(record.amount)

    def places(self):
        """Where each part and serial is live, offered or under way to an honest chain."""
        places = {}
        for name in self.honest:
            for record in self.parts(name).values():
                if self.is_here(name, record):
                    serials = [record.id]
                    if record.lot:
                        serials = [(record.lot, place) for place in range(record.start, record.end)]
                    for one in serials:
                        places.setdefault(one, []).append((name, record.id))
        return places

    def is_here(self, name, record):
        status = self.standing(name, record).status
        if status != IN_TRANSIT:
            return status in (LIVE, OFFERED)
        left = export_of(self.world[name].app.store, record)
        away = record if left is None else self.parts(name)[left.container]
        return not self.is_bad(away.client) and not self.world.received(self.world[name], away)

    # ---- the walk

    def step(self, more=()):
        weights = {
            self.commission: 5,
            self.pack: 9,
            self.unpack: 4,
            self.ship: 1,
            self.accept: 6,
            self.send: 8,
            self.give_back: 2,
            self.correct: 2,
            self.inspect: 1,
            self.carry: 6,
            self.show: 2,
            self.pass_time: 1,
            self.lie: 9,
            self.answer: 7,
            self.show_lies: 4,
        }
        weights |= more or {}
        (act,) = self.random.choices(list(weights), list(weights.values()))
        act()
        self.check()

    def come_to_rest(self):
        """Time runs out, everything honest is carried and shown: nothing waits for ever, nothing is lost."""
        self.world.pass_time(HOUR_MS + 10_000)
        for _ in range(30):
            if not self.carry(always=True):
                break
        self.check()
        for name in self.honest:
            for record in self.parts(name).values():
                assert self.standing(name, record).status != IN_TRANSIT, (name, record)
            assert not any("#" in place for _, place, _ in self.balances(name))
        while sum(self.show(*pair, every=True) for pair in itertools.permutations(self.honest, 2)):
            pass
        self.check()
        places = self.places()
        for part in self.names:
            assert self.was_with_bad(part) or len(places.get(part, ())) == 1, part
        for unit in set(UNITS):
            for name in self.honest:
                there = sum(value for (_, _, of), value in self.balances(name).items() if of == unit)
                assert name == "a" or there == self.abroad(unit, name), (unit, name, there)
        self.open_all()

    def open_all(self):
        """Whoever has a container gets everything out of it that is in it."""
        for name in self.honest:
            for _ in range(9):
                for record in self.parts(name).values():
                    where = self.standing(name, record)
                    if where.status == LIVE and where.outermost == record.id and record.open:
                        filling = generation(self.world, name, record.id, record.generations)
                        kind = "Association" if filling.installed else "Aggregation"
                        result = self.record(name, where.holder, unpacking(record.id, kind=kind))
                        assert result.ok, result
            self.check()


def as_number(amount):
    return int(decimals.to_text(amount))


def copied(message):
    made = type(message)()
    made.CopyFrom(message)
    return made


def write_raw(chain, key, value):
    assert chain.operate(chain.members[0], Operation(evidence=Evidence(first=key, second=value))).ok
