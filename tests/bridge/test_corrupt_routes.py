"""Corrupt chains among honest ones where routes are long, clients freeze and expire, and chains are given up.

As tests/bridge/test_corrupt_chain.py, and besides: up to three honest chains and two corrupt ones; grants that allow long
routes or do not; lots of serials by a range, a list and a root; steps of long routes, shown truly and falsely; clients that
are frozen by two blocks of one height, or expire, and get a new anchor; corrupt chains that are given up over whatever they
left as their last state, and honest ones.

Where long routes are allowed a corrupt chain may copy what passed through it, and nothing else. More seeds:
CHIPTRACE_ROUTES_RUNS=200, beginning at CHIPTRACE_ROUTES_FROM.
"""

import itertools
import os
import random

import pytest

from bridge.client_step import has_expired, thaw_message
from bridge.clients import rehoming_key
from bridge.packet import answered_key, received_key, received_row_key
from bridge.senders import departure_of
from ledger import codec, hashes, state
from ledger.errors import Invalid, Refused
from ledger.identifiers import canonical
from ledger.intervals import is_interval
from ledger.roots import SerialList
from proto.chiptrace.v1.bridge_pb2 import (
    AcknowledgePacket,
    ProvenRow,
    RehomePart,
    SubmitMisbehaviour,
    TimeoutPacket,
)
from proto.chiptrace.v1.ledger_pb2 import (
    DEPARTED,
    IN_TRANSIT,
    LIVE,
    OFFERED,
    Change,
    ClosedBy,
    GenerationRecord,
    MemberHere,
    Operation,
    PartRecord,
    PutGrant,
    Reason,
    RehomingRecord,
    RevokeGrant,
    Signature,
    ThawClient,
)
from tests.bridge.corrupt_journey import COUNT, WAFER, Journey
from tests.bridge.crossing import follow_operation, materialise_operation, update
from tests.bridge.test_clients import forge
from tests.bridge.test_corrupt_contents import write
from tests.bridge.test_rehoming import bring_head, change_of
from tests.bridge.two_chains import MEMBERS, PREFIX, TRUSTING_MS, prove, row
from tests.ledger.chain_fixture import seed_of
from tests.ledger.rules_world import listed, root_of

RUNS = int(os.environ.get("CHIPTRACE_ROUTES_RUNS", "3"))
FIRST = int(os.environ.get("CHIPTRACE_ROUTES_FROM", "0"))
STEPS = 400
LISTED = canonical("urn:epc:class:lgtin:4012345.032345.L1").text
ROOTED = canonical("urn:epc:class:lgtin:4012345.042345.R1").text
SETTINGS = (("acd", "b"), ("ac", "bd"), ("acd", "b"), ("ac", "b"))


class Routes(Journey):
    def __init__(self, seed):
        self.long = bool(seed % 2)
        self.passed = set()  # what a corrupt chain ever had, with all in it
        self.lost = []  # chains that were given up, by whom, and by which operations they end
        self.later = []  # operations under a last state: whose, and what is said of them
        self.gone = {}  # honest chains that were given up
        super().__init__(seed, *random.Random(seed).choice(SETTINGS))

    def make_world(self):
        world = super().make_world()
        for name in world.chains if self.long else ():
            home = b"" if name == "a" else world["a"].chain_id
            grant = PutGrant(prefix=PREFIX, holder=MEMBERS[name][0], home_chain=home, long_routes=True)
            revoke = Change(revoke_grant=RevokeGrant(prefix=PREFIX))
            assert world.govern(name, revoke, Change(put_grant=grant)).ok
        return world

    def make_lots(self):
        texts = [f"S{number * 7 % COUNT:02}X" for number in range(COUNT)]
        kept = SerialList(self.world["a"].chain_id, canonical(ROOTED), texts)
        assert self.record("a", "ada", listed(LISTED, texts)).ok
        assert self.record("a", "ada", root_of(ROOTED, kept)).ok
        numbers = [f"{number:02}" for number in range(COUNT)]
        for lot, serials in ((LISTED, texts), (ROOTED, texts), (WAFER, numbers)):
            self.serials[lot] = [f"{canonical(lot).class_text}/21/{text}" for text in serials]
        self.lists[ROOTED] = kept

    def way(self, name):
        if not self.long:
            return super().way(name)
        return self.random.choice([other for other in self.world.chains if other not in (name, *self.gone)])

    def note_touched(self, name, client):
        super().note_touched(name, client)
        self.passed |= self.touched
        before = 0
        while before != len(self.passed):
            before = len(self.passed)
            for one in [*self.honest, *self.gone]:
                for record in self.parts(one).values():
                    if record.container in self.passed:
                        self.passed.add(record.id)
                        self.passed.update((record.lot, at) for at in range(record.start, record.end))

    # ---- routes

    def follow(self, host="", source="", part=""):
        host = host or self.chain()
        source = source or self.random.choice([one for one in [*self.honest, *self.bad] if one != host])
        if not part and source in self.bad:
            part = self.random.choice(self.away(host, source) or self.names)
            self.write_departed(source, part, self.raw(host, part))
        found = [record.id for record in self.parts(source).values() if record.status == DEPARTED]
        if not part and not found:
            return 0
        part = part or self.random.choice(found)
        update(self.world, host, source)
        try:
            operation = follow_operation(self.world, host, part, source)
        except (Invalid, Refused, TypeError, ValueError):
            return 0  # nothing stands there to be proven
        return self.submit("follow", host, operation)

    def away(self, name, bad):
        """What a corrupt chain has, by the records of an honest one."""
        found = [
            (record.id, departure_of(self.world[name].app.store, record))
            for record in self.parts(name).values()
            if not is_interval(record)
        ]
        there = self.world[bad].chain_id
        return [part for part, left in found if left is not None and left.chain_id == there]

    def write_departed(self, bad, part, known):
        to = self.random.choice([name for name in self.world.chains if name != bad])
        client = f"{to}-1" if self.world[bad].app.store.get(state.client_key(f"{to}-1")) else "a-1"
        hop = self.random.randrange(1, 4) + (0 if known is None else known.hop)
        told = PartRecord(
            id=part,
            status=DEPARTED,
            origin_chain=self.world["a"].chain_id,
            commissioner="ada",
            hop=hop,
            client=client,
        )
        if self.random.random() < 0.3:
            told.gone_to = told.gone_over = self.world[self.random.choice([*self.honest])].chain_id
            told.gone_hop = hop
        write(self.world, bad, state.part_key(part), told)

    def submit(self, step, name, operation):
        """An operation by which nothing changes that is here; whether it came to something."""
        before = self.untouched(name)
        result = self.note(step, self.world[name].operate(self.honest[name][0], operation))
        self.check_untouched(name, before)
        return int(result.ok and not result.reason)

    # ---- clients

    def fork(self):
        """A corrupt chain signs two blocks of a height, and somebody shows them."""
        name, bad = self.chain(), self.bad_one()
        height = self.world[bad].height
        header = self.world[bad].header(height)
        other = forge(self.world[bad], height, app_hash=bytes(31) + b"x")
        message = SubmitMisbehaviour(client=f"{bad}-1", first=header, second=other)
        operation = Operation(submit_misbehaviour=codec.encode(message))
        self.note("fork", self.world[name].operate(self.honest[name][0], operation, role="auditor"))

    def expire(self):
        if self.random.random() < 0.3:
            self.world.pass_time(TRUSTING_MS + 1_000)
            self.done.add("expire")

    def is_active(self, name, client):
        record = self.world[name].client(client)
        return not record.frozen and not has_expired(record, self.world[name].now_ms)

    def thaw(self, always=False):
        for name in self.honest:
            for other in self.world.chains:
                if other in (name, *self.gone) or self.is_active(name, f"{other}-1"):
                    continue
                if always or self.random.random() < 0.5:
                    self.thaw_one(name, other)

    def thaw_one(self, name, other):
        self.world[other].produce()
        head = self.world[other].header(self.world[other].height)
        change = ThawClient(
            id=f"{other}-1",
            header=head.header,
            certificate=codec.encode(head.certificate),
            validators=self.world[other].genesis_set,
        )
        history_n = self.world[name].client(change.id).history.n
        message = thaw_message(self.world[name].chain_id, change, history_n)
        for member in MEMBERS[other][:3]:
            seed = seed_of(member, "admin")
            change.counterparty_approvals.append(
                Signature(key=hashes.public_key(seed), signature=hashes.sign_raw(seed, message))
            )
        result = self.world.govern(name, Change(thaw_client=change))
        assert result.ok or result.reason == Reason.CHAIN_REHOMED, result
        self.note("thaw", result)

    def answer(self):
        name = self.chain()
        if all(self.is_active(name, f"{bad}-1") for bad in self.bad):
            super().answer(name)

    # ---- chains that are given up

    def give_up(self):
        """A corrupt chain by one honest chain; or an honest one by all others."""
        name = self.chain()
        if "d" in self.honest and name != "d" and self.random.random() < 0.5:
            others = [one for one in self.honest if one != "d"]
            if all(self.is_active(one, "d-1") for one in others):
                for one in others:
                    self.give_up_one(one, "d")
                self.gone["d"] = self.honest.pop("d")
                self.world.relayers = {
                    pair: one for pair, one in self.world.relayers.items() if "d" not in pair
                }
                self.done.add("give up an honest chain")
            return
        bad = self.bad_one()
        if self.is_active(name, f"{bad}-1"):
            self.leave_behind(name, bad)
            self.give_up_one(name, bad)
            self.done.add("give up")

    def leave_behind(self, name, bad):
        """Whatever the corrupt chain wants to have had."""
        away = self.away(name, bad)
        every = [*self.names, *self.random.sample(self.serials[ROOTED], 2)]
        chosen = self.random.sample(away, min(6, len(away))) + self.random.sample(every, 3)
        for part in chosen:
            record = self.raw(name, part) or PartRecord(
                id=part, origin_chain=self.world["a"].chain_id, commissioner="ada"
            )
            record.status = self.random.choice([LIVE, LIVE, LIVE, OFFERED, IN_TRANSIT, DEPARTED])
            record.hop += self.random.randrange(3)
            record.holder = record.owner = self.random.choice(MEMBERS[bad])
            record.client = f"{self.random.choice([*self.honest])}-1"
            record.open = False
            record.container, record.generation = "", 0
            if self.random.random() < 0.3:
                box = self.random.choice(self.names)
                record.status, record.container, record.generation = LIVE, box, self.random.randrange(1, 5)
                filling = GenerationRecord(
                    container=box,
                    generation=record.generation,
                    count=1,
                    closed_by=self.random.randrange(5),
                    hop=record.hop + self.random.randrange(2),
                    destination=self.world[self.random.choice([*self.honest])].chain_id,
                    holder_at_close=record.holder,
                )
                write(self.world, bad, state.generation_key(box, record.generation), filling)
            if self.random.random() < 0.2:
                self.mutator.learn(record)
                self.mutator.change(record)
            write(self.world, bad, state.part_key(part), record)

    def give_up_one(self, name, lost):
        world = self.world
        bring_head(world, name, lost, f"{lost}-1")
        members = [
            MemberHere(there=there, here=here)
            for there, here in sorted(zip(MEMBERS[lost], MEMBERS[name], strict=True))
        ]
        change = change_of(
            world,
            host=name,
            client=f"{lost}-1",
            lost=lost,
            signers=MEMBERS[lost][:3],
            members=members,
            heir=name == "a",
        )
        assert world.govern(name, change).ok
        height = world[name].record(rehoming_key(world[lost].chain_id), RehomingRecord).height
        self.end_packets(name, lost, height)
        self.take_over(name, lost, height)

    def end_packets(self, name, lost, height):
        here, client = self.world[name], f"{lost}-1"
        last = self.world[lost].app.views.view(height)
        for sequence in range(1, here.client(client).next_sequence):
            if here.app.store.get(state.commitment_key(client, sequence)) is None:
                continue
            packet = here.sent(client, sequence)
            if last.get(answered_key(packet)) is not None:
                item = row(self.world[lost], received_row_key(packet.destination_client, sequence))
                if item is None:
                    continue  # a lie that was never told
                proof = prove(self.world[lost], height + 1, answered_key(packet))
                message = AcknowledgePacket(packet=packet, acknowledgement=item.acknowledgement, proof=proof)
                operation = Operation(acknowledge_packet=codec.encode(message))
            else:
                proof = prove(self.world[lost], height + 1, received_key(packet))
                operation = Operation(timeout_packet=codec.encode(TimeoutPacket(packet=packet, proof=proof)))
            self.later.append((name, "end", "", operation))

    def take_over(self, name, lost, height):
        """All that may be shown of the last state, for later."""
        view = self.world[lost].app.views.view(height)
        every = {*self.names, *itertools.chain(*self.serials.values())}
        every = sorted(part for part in every if view.get(state.part_key(part)) is not None)
        for part in every:
            rows = self.world[lost].app.prove(self.around(view, part), height).keys
            proven = [ProvenRow(key=item.key, value=item.value or b"", proof=item.proof) for item in rows]
            message = RehomePart(chain_id=self.world[lost].chain_id, part=part, rows=proven)
            self.later.append((name, "rehome", part, Operation(rehome_part=codec.encode(message))))
        for part in sorted({*every, *self.parts(lost)} if lost not in self.bad else every):
            for make in (materialise_operation, follow_operation):
                try:
                    operation = make(self.world, name, part, lost)
                except (Invalid, Refused, TypeError, ValueError):
                    continue
                if make is materialise_operation:
                    operation = self.with_place(operation, part)
                self.later.append((name, "after", part, operation))

    def around(self, view, part):
        """The keys of all that a part lies in there."""
        keys = [state.part_key(part)]
        for _ in range(4):
            record = PartRecord.FromString(view.get(keys[-1]) or b"")
            if not record.container or len(record.container) > 500:
                break
            filling = state.generation_key(record.container, record.generation)
            keys.append(filling)
            if GenerationRecord.FromString(view.get(filling) or b"").closed_by not in (0, ClosedBy.EXPORT):
                break
            keys.append(state.part_key(record.container))
        return keys

    def take_some(self, share=0.1):
        """Some of what was left to be shown of a lost chain's last state; how much of it came to something."""
        came = 0
        for name, kind, part, operation in self.later:
            if name in self.honest and self.random.random() < share:
                role = "relayer" if kind == "end" else "operator"
                before = self.untouched(name)
                record = self.raw(name, part) if part else None
                member = (record.offered_to if record is not None else "") or self.honest[name][0]
                result = self.world[name].operate(member, operation, role=role)
                if kind != "end" and (record is None or record.status != OFFERED):
                    self.check_untouched(name, before)
                came += result.ok and not result.reason
                if kind != "end":
                    self.note(kind, result)
        return came

    # ---- what must hold

    def check(self):
        self.conserved()
        for what, found in self.places().items():
            assert len(found) <= 1 or (self.long and what in self.passed), (what, found)

    def is_here(self, name, record):
        found = super().is_here(name, record)
        if found and self.standing(name, record).status == IN_TRANSIT and self.gone:
            return not self.on_its_way_to_the_lost(name, record)
        return found

    def on_its_way_to_the_lost(self, name, record):
        around = record
        while around.container:
            around = self.raw(name, around.container)
        return around.client.partition("-")[0] in self.gone

    def come_to_rest(self):
        for _ in range(6):
            self.take_some(1)
        self.thaw(always=True)
        self.world.pass_time(3_610_000)
        for _ in range(30):
            if not self.carry(always=True):
                break
        for _ in range(3):
            self.take_some(1)
        self.check()
        for name in self.honest:
            for record in self.parts(name).values():
                status = self.standing(name, record).status
                assert status != IN_TRANSIT or self.waits_for_a_lie(name, record), (name, record)
        for _ in range(12):
            came = sum(self.show(*pair, every=True) for pair in itertools.permutations(self.honest, 2))
            for host, source in itertools.permutations(self.honest, 2) if self.long else ():
                for part in self.names:
                    came += self.follow(host, source, part)
            if not came:
                break
        self.check()
        places = self.places()
        if not self.gone:
            for part in self.names:
                assert self.was_with_bad(part) or len(places.get(part, ())) == 1, part
        self.open_all()

    def waits_for_a_lie(self, name, record):
        """Whether only an answer ends it that a lost chain wrote and whose text nobody has."""
        return any(one == name and kind == "end" for one, kind, _, _ in self.later) or self.is_bad(
            record.client
        )

    def step(self):
        weights = {self.pack: 14, self.send: 16, self.carry: 12, self.accept: 9, self.show: 5}
        weights |= {self.lie: 12, self.show_lies: 6, self.commission: 2}
        weights |= {self.follow: 4, self.fork: 0.4, self.expire: 0.5, self.thaw: 1.5, self.give_up: 0.3}
        weights |= {self.take_some: 1 if self.later else 0}
        super().step(weights)


@pytest.mark.parametrize("seed", range(FIRST, FIRST + RUNS))
def test_no_route_lets_a_corrupt_chain_take_double_or_stop(seed):
    journey = Routes(seed)
    for _ in range(STEPS):
        journey.step()
    journey.come_to_rest()


def test_the_routes_go_everywhere():
    """They say little if some kind of step never comes to anything."""
    done = set()
    for seed in (4, 5, 7):
        journey = Routes(seed)
        for _ in range(STEPS):
            journey.step()
        journey.take_some(1)
        done |= journey.done
    assert done >= {"follow", "fork", "thaw", "expire", "give up", "give up an honest chain", "rehome"}
    assert done >= {"lie about contents", "materialise", "materialise a lie", "return"}
