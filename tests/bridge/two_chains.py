"""Chains that follow each other, in one process: real applications, real certificates, a real relayer.

    world = World("a", "b")                       # chain a is the home of PREFIX; each knows the other
    part = world.commission("a", "ada")           # a fresh part, live with a's member ada
    world.send("a", part, "bob")                  # ada sends it to b's member bob
    world.relay()                                 # blocks are made and everything is carried until nothing is left
    world.accept("b", part, "bob")
    world.part("b", part).status                  # LIVE

Each chain has four members, named by the chain's letter (ada, abe, amy, ann; bob, ben, bea, bel; ...), each with a
validator and a key of every role. Any validator's finalize vote is really signed, so light clients judge the
chains as they would judge processes. Time is the world's: every block takes it and moves it on a little.

`Relayer` is the loop of bridge/relayer_plan.py without a network; `carry` executes one plan. A test that wants to
lie builds operations itself: `prove` gives the honest pieces.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from bridge import relayer_plan
from bridge.machine import changes, operations
from bridge.packet import packet_commitment, received_row_key, sent_key, sent_row_key
from consensus.certificate import form
from consensus.messages import signed_vote
from ledger import codec, hashes, state
from ledger.block import block_hash, decode_block, decode_header
from ledger.history import verify_history
from proto.chiptrace.v1.bridge_pb2 import ClientRecord, Packet, RemoteProof, ReturnPart, SendPart
from proto.chiptrace.v1.consensus_pb2 import FINALIZE, Certificate, SignedHeader, Vote
from proto.chiptrace.v1.ledger_pb2 import (
    IN_TRANSIT,
    LIVE,
    OFFERED,
    Capture,
    Change,
    CreateClient,
    Event,
    Evidence,
    Field,
    Genesis,
    List,
    Object,
    Operation,
    PartRecord,
    PutGrant,
    Result,
    ValidatorSet,
    Value,
)
from proto.chiptrace.v1.node_pb2 import PacketItem
from tests.ledger.chain_fixture import (
    START_MS,
    STEP_MS,
    Chain,
    key_of,
    make_genesis,
    make_parameters,
    seed_of,
)

PREFIX = "gs1:4012345"
MEMBERS = {
    "a": ("ada", "abe", "amy", "ann"),
    "b": ("bob", "ben", "bea", "bel"),
    "c": ("cyd", "cal", "cam", "coe"),
    "d": ("dan", "dee", "dot", "dov"),
}
TRUSTING_MS = 14 * 86_400_000
OFFER_EXPIRY_MS = 3_600_000
HOUR_MS = 3_600_000


@dataclass
class Clock:
    now_ms: int = START_MS


class BridgedChain(Chain):
    """A chain in one process whose blocks are certified by all its validators."""

    def __init__(self, name, clock, *, grants=None, dev=False, corrupt=False):
        self.name = name
        self.clock = clock
        chosen = MEMBERS[name]
        self.seeds = {key_of(member, "validator"): seed_of(member, "validator") for member in chosen}
        genesis = make_genesis(
            chosen, name=name, grants=grants, parameters=make_parameters(offer_expiry_ms=OFFER_EXPIRY_MS)
        )
        if dev:
            genesis.dev = True
        table = operations() | {"evidence": write_anything} if corrupt else operations()
        super().__init__(chosen, operations=table, changes=changes(), genesis=genesis)

    @property
    def now_ms(self):
        return max(self.info.time_ms + 1, self.clock.now_ms)

    @property
    def genesis_set(self) -> ValidatorSet:
        return ValidatorSet(in_force_from=1, validators=Genesis.FromString(self.genesis).validators)

    def decide(self, data: bytes) -> list[Result]:
        content = decode_block(data)
        header = decode_header(content.header)
        self.app.process_proposal(data, header.time_ms)
        certificate = self.certify(content.header)
        outcome = self.app.finalize_block(data)
        self.app.commit(data, outcome, codec.encode(certificate))
        self.last_outcome = outcome
        self.clock.now_ms = max(self.clock.now_ms, header.time_ms) + STEP_MS
        return [Result.FromString(result) for result in outcome.results]

    def certify(self, header: bytes, view: int = 1) -> Certificate:
        """The finalization of any header of this chain by all validators of the next block."""
        height = decode_header(header).height
        this_hash = block_hash(self.chain_id, header)
        signed = signed_vote(
            self.chain_id, Vote(kind=FINALIZE, height=height, view=view, block_hash=this_hash)
        )
        validators = self.info.validators.validators
        signatures = {
            index: hashes.sign_raw(self.seeds[validator.key], signed)
            for index, validator in enumerate(validators)
        }
        return form(FINALIZE, height, view, this_hash, signatures, len(validators))

    def header(self, height: int) -> SignedHeader:
        """A decided header as the wire has it."""
        return on_the_wire(self.app.views.signed_header(height))

    def headers_above(self, height: int) -> list[SignedHeader]:
        found, more = self.app.headers_above(height)
        assert not more
        return [on_the_wire(item) for item in found]

    def client(self, client: str) -> ClientRecord:
        record = self.record(state.client_key(client), ClientRecord)
        assert record is not None
        return record

    def sent(self, client: str, sequence: int) -> Packet:
        """The body of a packet sent over a client."""
        data = self.app.store.side(sent_row_key(client, sequence))
        assert data is not None
        return PacketItem.FromString(data).packet

    def settle(self):
        """Makes the block that certifies the tip's state, where one is due at once."""
        while self.info.next_due_ms == 0 or self.height < 2:
            self.produce()

    def operate(self, member, *chosen: Operation, role="operator") -> Result:
        return self.submit(member, *chosen, role=role)


def write_anything(ctx, evidence):
    """What a chain with a corrupt quorum can do: put any value under any key of its own state."""
    ctx.overlay.put(evidence.first, evidence.second)


def on_the_wire(item) -> SignedHeader:
    return SignedHeader(
        header=item.header,
        certificate=Certificate.FromString(item.certificate),
        next_validators=item.next_validators,
        recovery=item.recovery,
    )


# ---- events ---------------------------------------------------------------------------------------------------


def event(kind, action, biz_step, *, number=0, **more: Value) -> Operation:
    """A minimal EPCIS event; `more` are further members. The number tells events apart that say the same."""
    fields = more | {
        "action": Value(text=action),
        "bizStep": Value(text=biz_step),
        "eventTime": Value(text="2023-11-14T22:13:20.000Z"),
        "eventTimeZoneOffset": Value(text="+00:00"),
        "type": Value(text=kind),
    }
    content = Event(
        seed=number.to_bytes(16, "big"),
        fields=[Field(name=name, value=fields[name]) for name in sorted(fields)],
    )
    return Operation(capture=Capture(event=codec.encode(content)))


def texts(*items: str) -> Value:
    return Value(list=List(items=[Value(text=item) for item in items]))


def object_event(action, biz_step, *parts, number=0, **more: Value) -> Operation:
    return event("ObjectEvent", action, biz_step, number=number, epcList=texts(*parts), **more)


def packing_event(action, parent, *children, number=0) -> Operation:
    step = "packing" if action == "ADD" else "unpacking"
    more = {"parentID": Value(text=parent), "childEPCs": texts(*children)}
    return event("AggregationEvent", action, step, number=number, **more)


def shipping_event(part, receiver, *, number=0) -> Operation:
    """Custody, and custody alone, is offered to a member of the same chain."""
    to = Object(
        fields=[
            Field(name="destination", value=Value(text=f"urn:chiptrace:member:{receiver}")),
            Field(name="type", value=Value(text="possessing_party")),
        ]
    )
    destinations = Value(list=List(items=[Value(object=to)]))
    return object_event("OBSERVE", "shipping", part, number=number, destinationList=destinations)


def serial(number: int) -> str:
    """The canonical id of a part under PREFIX."""
    return f"https://id.gs1.org/01/04012345111118/21/{number}"


# ---- the relayer ------------------------------------------------------------------------------------------------


def prove(source: BridgedChain, header_height: int, key: bytes, *, leaf: bool = False) -> RemoteProof:
    """The honest proof of a key of `source` under a header."""
    proven = source.app.prove([key], header_height - 1)
    proof = RemoteProof(header_height=header_height, opening=proven.opening, proof=proven.keys[0].proof)
    if leaf:
        proof.last_leaf.CopyFrom(proven.last_leaf)
    return proof


@dataclass
class Relayer:
    """Carries between two chains over one pair of clients. `log` keeps each result with what it was for."""

    a: BridgedChain
    b: BridgedChain
    client_on_a: str
    client_on_b: str
    log: list[tuple[str, relayer_plan.Action | None, Result]] = field(default_factory=list)

    def view(self, chain: BridgedChain, client: str, other: BridgedChain, other_client: str):
        record = chain.client(client)
        served = chain.app.views.served()
        head = chain.info.height
        return relayer_plan.ChainView(
            head_height=head,
            head_time_ms=chain.info.time_ms,
            proven_time_ms=chain.app.store.log_leaf(head - 1).time_ms if head > 1 else 0,
            proven_from=head if served is None else served[0],
            client=relayer_plan.ClientView(
                id=client,
                latest_height=record.latest_height,
                latest_time_ms=record.latest_time_ms,
                trusting_period_ms=record.trusting_period_ms,
                frozen=record.frozen,
            ),
            open_packets=tuple(self.open_packets(chain, client)),
            received=tuple(
                relayer_plan.ReceivedPacket(item.packet.sequence, item.height, item.acknowledgement)
                for sent in self.open_packets(other, other_client)
                if (item := row(chain, received_row_key(client, sent.packet.sequence))) is not None
            ),
        )

    @staticmethod
    def open_packets(chain, client):
        for sequence in range(1, chain.client(client).next_sequence):
            if chain.app.store.get(state.commitment_key(client, sequence)) is not None:
                item = row(chain, sent_row_key(client, sequence))
                yield relayer_plan.SentPacket(item.packet, item.height)

    def plan(self) -> relayer_plan.Plan:
        return relayer_plan.plan(
            self.view(self.a, self.client_on_a, self.b, self.client_on_b),
            self.view(self.b, self.client_on_b, self.a, self.client_on_a),
        )

    def carry(self) -> int:
        """One round: plans, brings everything, returns how many actions there were."""
        plan = self.plan()
        for host, source, actions in ((self.a, self.b, plan.on_a), (self.b, self.a, plan.on_b)):
            self.bring(host, source, actions)
        return len(plan.on_a) + len(plan.on_b)

    def bring(self, host, source, actions):
        built = {id(action): self.operation(source, action) for action in actions}
        for group in relayer_plan.groups(actions, lambda action: built[id(action)].ByteSize()):
            result = host.operate(host.members[0], *(built[id(action)] for action in group), role="relayer")
            self.log.append((host.name, None if result.ok else group[result.operation], result))

    def operation(self, source, action) -> Operation:
        if isinstance(action, relayer_plan.Update):
            headers = [
                *(item for item in source.headers_above(action.from_height) if item.next_validators),
                source.header(action.to_height),
            ]
            unique = {item.header: item for item in headers}
            return relayer_plan.update_operation(action, list(unique.values()))
        proven = source.app.prove([action.key], action.header_height - 1)
        return relayer_plan.packet_operation(action, proven.opening, proven.keys[0].proof, proven.last_leaf)


def row(chain, key) -> PacketItem | None:
    data = chain.app.store.side(key)
    return None if data is None else PacketItem.FromString(data)


# ---- the world --------------------------------------------------------------------------------------------------


class World:
    """Two chains or three; the first is the home of PREFIX, and a pair of clients joins it with each other one."""

    def __init__(self, *names: str, joined: tuple[tuple[str, str], ...] = (), corrupt: str = ""):
        names = names or ("a", "b")
        self.clock = Clock()
        self.home = names[0]
        self.chains = {
            name: BridgedChain(
                name,
                self.clock,
                grants={PREFIX: MEMBERS[name][0]} if name == self.home else None,
                corrupt=name in corrupt,
            )
            for name in names
        }
        self.relayers: dict[tuple[str, str], Relayer] = {}
        self._serials = 0
        for name in names[1:]:
            self.join(self.home, name)
            grant = PutGrant(prefix=PREFIX, holder=MEMBERS[name][0], home_chain=self[self.home].chain_id)
            self.govern(name, Change(put_grant=grant))
        for pair in joined:
            self.join(*pair)

    def __getitem__(self, name: str) -> BridgedChain:
        return self.chains[name]

    # ---- set up

    def join(self, one: str, other: str, suffix: str = "1"):
        """Clients `other-suffix` on one and `one-suffix` on other, which name each other."""
        for host, source in ((one, other), (other, one)):
            result = self.govern(host, Change(create_client=self.client_of(source, host, suffix)))
            assert result.ok, result
        self.relayers[one, other] = Relayer(self[one], self[other], f"{other}-{suffix}", f"{one}-{suffix}")

    def client_of(self, source: str, host: str, suffix: str = "1", **changed) -> CreateClient:
        """The change that creates a client of `source` on `host`, anchored at its genesis."""
        values = {
            "id": f"{source}-{suffix}",
            "chain_id": self[source].chain_id,
            "counterparty_client": f"{host}-{suffix}",
            "validators": self[source].genesis_set,
            "trusting_period_ms": TRUSTING_MS,
            "governance_keys": [key_of(member, "admin") for member in MEMBERS[source]],
            "governance_threshold": 3,
            "genesis_time_ms": START_MS,
        }
        made = CreateClient(**(values | changed))
        if not made.governance_members:
            made.governance_members.extend(f"member-{number}" for number in range(len(made.governance_keys)))
        return made

    def govern(self, name: str, *chosen: Change, joiners: Sequence[bytes] = ()) -> Result:
        chain = self[name]
        return chain.operate(chain.members[0], chain.govern(*chosen, joiners=joiners))

    # ---- parts

    def commission(self, name: str, member: str) -> str:
        self._serials += 1
        part = serial(self._serials)
        assert self[name].operate(member, object_event("ADD", "commissioning", part)).ok
        return part

    def send(self, name, part, receiver, *, to=None, client=None, member=None, timeout_ms=HOUR_MS) -> Result:
        """The holder sends a part over the first client to chain `to` (default: the only other one)."""
        chain = self[name]
        over = client or f"{to or self.other(name)}-1"
        by = member or self.part(name, part).holder or chain.members[0]
        message = SendPart(
            client=over, part=part, receiver=receiver, timeout_ms=self.clock.now_ms + timeout_ms
        )
        return chain.operate(by, Operation(send_part=codec.encode(message)))

    def accept(self, name, part, member) -> Result:
        self._serials += 1
        return self[name].operate(member, object_event("OBSERVE", "receiving", part, number=self._serials))

    def give_back(self, name, part, member, *, role="operator", timeout_ms=HOUR_MS) -> Result:
        message = ReturnPart(part=part, timeout_ms=self.clock.now_ms + timeout_ms)
        return self[name].operate(member, Operation(return_part=codec.encode(message)), role=role)

    def forge(self, name: str, packet: Packet):
        """A corrupt chain commits to any packet; relayers find it like any other."""
        evidence = Evidence(first=sent_key(packet), second=packet_commitment(packet))
        chain = self[name]
        assert chain.operate(chain.members[0], Operation(evidence=evidence)).ok

    def part(self, name: str, part: str) -> PartRecord:
        return self[name].record(state.part_key(part), PartRecord) or PartRecord()

    def other(self, name: str) -> str:
        (found,) = (other for other in self.chains if other != name)
        return found

    # ---- time and carrying

    def settle(self):
        for chain in self.chains.values():
            chain.settle()

    def pass_time(self, milliseconds: int):
        """Time goes by; every chain's heartbeat has made it certain afterwards."""
        self.clock.now_ms += milliseconds
        for _ in range(2):
            for chain in self.chains.values():
                chain.produce()

    def relay(self, rounds_max: int = 20) -> int:
        """Carries until nothing is left to carry; returns how many rounds had something to do."""
        for done in range(rounds_max):
            self.settle()
            if sum(relayer.carry() for relayer in self.relayers.values()) == 0:
                return done
        raise AssertionError("the relayer finds no end")

    # ---- what must hold

    def live_copies(self, part: str) -> int:
        """On how many chains the part is: live, offered, or under way and not received. Must be one."""
        count = 0
        for chain in self.chains.values():
            record = self.part(chain.name, part)
            status = record.status
            if status in (LIVE, OFFERED) or (status == IN_TRANSIT and not self.received(chain, record)):
                count += 1
        return count

    def received(self, chain: BridgedChain, record: PartRecord) -> bool:
        """Whether the chain at the other end of the client has taken the part: a success is written there."""
        client = chain.client(record.client)
        for other in self.chains.values():
            if other.chain_id == client.chain_id:
                item = row(other, received_row_key(client.counterparty_client, record.sequence))
                return item is not None and item.acknowledgement == b"\x01"
        return False

    def check_history(self, name: str, part: str):
        """The part's entries on a chain are the complete history of its record."""
        chain = self[name]
        key = state.part_key(part)
        entries = chain.app.store.entries(key, 0, 10_000)
        verify_history(chain.chain_id, self.part(name, part).history, entries)
