"""Random journeys of parts over two chains, with a relayer that does what it likes: nothing is ever live twice.

Every step is one of: members commission, send (also to nobody, also with short timeouts), accept, decline, ship
nothing of theirs, destroy; time goes by; the relayer brings some of what is planned in any order, brings anything
it ever brought once more, brings it changed in one bit, or tries a timeout under whatever header it finds. After
every step each part is live on exactly one chain, under way, or destroyed; in the end honest carrying brings
everything to rest. The seed in a test's name replays it.
"""

import random

import pytest

from ledger import codec, state
from proto.chiptrace.v1.bridge_pb2 import TimeoutPacket
from proto.chiptrace.v1.ledger_pb2 import DESTROYED, IN_TRANSIT, LIVE, OFFERED, Operation
from tests.bridge.two_chains import HOUR_MS, MEMBERS, OFFER_EXPIRY_MS, World, object_event, prove

STEPS = 120


class Journey:
    def __init__(self, seed, names=("a", "b"), joined=()):
        self.random = random.Random(seed)
        self.world = World(*names, joined=joined)
        self.names = names
        self.parts = []
        self.signed = {}  # part: members that commissioned or accepted it
        self.archive = []  # (chain, operation) of everything a relayer ever built
        self.taken = 0  # how many of the relayer's lies were even looked at

    # ---- members

    def commission(self):
        part = self.world.commission("a", "ada")
        self.parts.append(part)
        self.signed[part] = {"ada"}

    def send(self):
        name, part = self.anything()
        record = self.world.part(name, part)
        to = self.random.choice([other for other in self.names if other != name])
        receiver = self.random.choice([*MEMBERS[to], "nobody"])
        timeout_ms = self.random.choice([500, 2_000, HOUR_MS, HOUR_MS])
        member = record.holder if record.status == LIVE else self.random.choice(MEMBERS[name])
        result = self.world.send(name, part, receiver, to=to, member=member, timeout_ms=timeout_ms)
        assert not result.ok or record.status == LIVE

    def accept(self):
        name, part = self.anything()
        record = self.world.part(name, part)
        member = self.random.choice([record.offered_to or MEMBERS[name][0], *MEMBERS[name]])
        result = self.world.accept(name, part, member)
        if result.ok:
            assert member in {record.offered_to, record.holder}
            self.signed[part].add(member)

    def give_back(self):
        name, part = self.anything()
        record = self.world.part(name, part)
        member = self.random.choice([record.offered_to or MEMBERS[name][0], *MEMBERS[name]])
        timeout_ms = self.random.choice([500, HOUR_MS])
        self.world.give_back(name, part, member, timeout_ms=timeout_ms)

    def destroy(self):
        if self.random.random() < 0.1:
            name, part = self.anything()
            holder = self.world.part(name, part).holder or MEMBERS[name][0]
            number = self.random.getrandbits(60)
            self.world[name].operate(holder, object_event("DELETE", "destroying", part, number=number))

    def pass_time(self):
        self.world.pass_time(self.random.choice([10, 600, 2_500, OFFER_EXPIRY_MS // 2]))

    # ---- the relayer

    def carry_some(self):
        """Any part of what is planned, in any order, each by itself."""
        self.world.settle()
        for relayer in self.world.relayers.values():
            plan = relayer.plan()
            for host, source, actions in (
                (relayer.a, relayer.b, plan.on_a),
                (relayer.b, relayer.a, plan.on_b),
            ):
                chosen = [action for action in actions if self.random.random() < 0.7]
                if self.random.random() < 0.3:
                    self.random.shuffle(chosen)
                for action in chosen:
                    operation = relayer.operation(source, action)
                    self.archive.append((host, operation))
                    host.operate(host.members[0], operation, role="relayer")

    def carry_all(self):
        self.world.settle()
        for relayer in self.world.relayers.values():
            relayer.carry()

    def repeat(self):
        if self.archive:
            host, operation = self.random.choice(self.archive)
            host.operate(host.members[0], operation, role="relayer")

    def lie(self):
        if self.archive:
            host, operation = self.random.choice(self.archive)
            name = operation.WhichOneof("kind")
            data = bytearray(getattr(operation, name))
            bit = self.random.randrange(len(data) * 8)
            data[bit // 8] ^= 1 << bit % 8
            self.taken += 1
            before = host.state_root
            result = host.operate(host.members[0], Operation(**{name: bytes(data)}), role="relayer")
            assert not result.ok or host.state_root == before or name == "update_client"

    def force_timeout(self):
        """A timeout of any open packet under any header that is kept and still provable."""
        relayer = self.random.choice(list(self.world.relayers.values()))
        host, source, client, there = self.random.choice(
            [
                (relayer.a, relayer.b, relayer.client_on_a, relayer.client_on_b),
                (relayer.b, relayer.a, relayer.client_on_b, relayer.client_on_a),
            ]
        )
        packets = list(relayer.open_packets(host, client))
        served = source.app.views.served() or (0, 0)
        heights = [
            height for height in host.client(client).stored_heights if served[0] < height <= served[1] + 1
        ]
        if not packets or not heights:
            return
        sent, height = self.random.choice(packets), self.random.choice(heights)
        key = state.receipt_key(there, sent.packet.sequence)
        proof = prove(source, height, key, leaf=True)
        operation = Operation(timeout_packet=codec.encode(TimeoutPacket(packet=sent.packet, proof=proof)))
        self.archive.append((host, operation))
        host.operate(host.members[0], operation, role="relayer")

    # ---- the walk

    def anything(self):
        part = self.random.choice(self.parts)
        here = [name for name in self.names if self.world.part(name, part).status in (LIVE, OFFERED)]
        if here and self.random.random() < 0.8:
            return self.random.choice(here), part
        return self.random.choice(self.names), part

    def step(self):
        weights = {
            self.commission: 1 if len(self.parts) < 6 else 0,
            self.send: 5,
            self.accept: 4,
            self.give_back: 2,
            self.destroy: 1,
            self.pass_time: 2,
            self.carry_some: 5,
            self.carry_all: 3,
            self.repeat: 3,
            self.lie: 2,
            self.force_timeout: 2,
        }
        (act,) = self.random.choices(list(weights), list(weights.values()))
        act()
        self.check()

    def check(self):
        for part in self.parts:
            records = [self.world.part(name, part) for name in self.names]
            destroyed = sum(record.status == DESTROYED for record in records)
            assert self.world.live_copies(part) + destroyed == 1, (part, records)
            for record in records:
                if record.status == LIVE:
                    assert record.holder in self.signed[part], record

    def come_to_rest(self):
        self.world.pass_time(HOUR_MS + 10_000)
        self.world.relay()
        self.check()
        for part in self.parts:
            records = {name: self.world.part(name, part) for name in self.names}
            assert all(record.status != IN_TRANSIT for record in records.values())
            for name, record in records.items():
                if record.history.n:
                    self.world.check_history(name, part)
            live = [record for record in records.values() if record.status in (LIVE, OFFERED, DESTROYED)]
            assert len(live) == 1
            assert live[0].hop == max(record.hop for record in records.values())


@pytest.mark.parametrize("seed", range(12))
def test_two_chains_and_a_byzantine_relayer(seed):
    journey = Journey(seed)
    journey.commission()
    for _ in range(STEPS):
        journey.step()
    journey.come_to_rest()
    assert len(journey.archive) > 5


@pytest.mark.parametrize("seed", range(4))
def test_three_chains_and_a_byzantine_relayer(seed):
    journey = Journey(seed, ("a", "b", "c"), joined=(("b", "c"),))
    journey.commission()
    for _ in range(STEPS):
        journey.step()
    journey.come_to_rest()


def test_the_archive_holds_every_kind_of_thing():
    """The walk above says little if the relayer never brings some kind of message."""
    kinds = set()
    for seed in range(3):
        journey = Journey(seed)
        journey.commission()
        for _ in range(STEPS):
            journey.step()
        kinds |= {operation.WhichOneof("kind") for _, operation in journey.archive}
    assert kinds == {"update_client", "receive_packet", "acknowledge_packet", "timeout_packet"}
