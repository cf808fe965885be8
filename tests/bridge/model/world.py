"""Chains with clients of each other, and all that may be done to them. Every act returns what the chain said, and tells
the oracle what follows from that.

    world = World.of(base("a", "b"), parts=2, boxes=1)
    world.send("a", part, "b")
    world.bring("receive", "a", "b-1", 1)       # by a relayer, under the newest header
    world.check()                               # what the records say is what the oracle knows, or Violation

Members: each chain has one who acts, the first of its four; what they may do to each other within a chain is not
looked at here. Chains in `corrupt` have a quorum that writes whatever it likes into its own state (`forge`).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import lru_cache

from bridge.packet import (
    ERROR,
    SUCCESS,
    acknowledgement_commitment,
    answered_key,
    packet_commitment,
    received_key,
    sent_key,
)
from ledger import codec, decimals, state
from ledger.containers import standing
from ledger.custody import load_part
from ledger.errors import InvariantBroken
from ledger.history import verify_history
from ledger.identifiers import canonical
from ledger.state import Kind, MappingReader
from proto.chiptrace.v1.bridge_pb2 import (
    AcknowledgePacket,
    ClientRecord,
    CustodyTransfer,
    FollowPart,
    Materialise,
    Packet,
    ProvenRecord,
    ReceivePacket,
    ReturnPart,
    SendPart,
    SubmitMisbehaviour,
    TimeoutPacket,
    UpdateClient,
)
from proto.chiptrace.v1.ledger_pb2 import (
    IN_TRANSIT,
    LIVE,
    OFFERED,
    BalanceRecord,
    Change,
    Decimal,
    Field,
    List,
    Object,
    Operation,
    PartRecord,
    PutGrant,
    Reason,
    Result,
    RevokeGrant,
    UnitAmount,
    Value,
)
from tests.bridge import two_chains
from tests.bridge.model.chain import BLOCK_MS, ModelChain
from tests.bridge.model.places import AT, GONE, HELD, IN, WAY, Key, Place, Places, Violation
from tests.bridge.two_chains import HOUR_MS, MEMBERS, PREFIX, object_event, packing_event

REFUSED = Result(ok=False)


LOT = canonical("urn:epc:class:lgtin:4012345.012345.RESIN").text
AMOUNT = 20
OF_THE_LOT = state.state_key(Kind.BALANCE, LOT)


def listed(name: str, amount: int | None) -> dict[str, Value]:
    """A list of quantities: so many pieces of the lot, or all there are."""
    fields = {"epcClass": Value(text=LOT)}
    if amount is not None:
        fields["quantity"] = Value(number=decimals.parse(str(amount)))
    item = Object(fields=[Field(name=key, value=fields[key]) for key in sorted(fields)])
    return {name: Value(list=List(items=[Value(object=item)]))}


@lru_cache(maxsize=8)
def base(
    *names: str, joined: tuple[tuple[str, str], ...] = (), long_routes: bool = False, parts: int = 6
) -> tuple[tuple, ...]:
    """Chains set up by everything real: their governance, clients of each other, parts and a lot commissioned at home."""
    made = two_chains.World(*names, joined=joined)
    for name in names if long_routes else ():
        home = b"" if name == names[0] else made[names[0]].chain_id
        grant = PutGrant(prefix=PREFIX, holder=MEMBERS[name][0], home_chain=home, long_routes=True)
        assert made.govern(name, Change(revoke_grant=RevokeGrant(prefix=PREFIX))).ok
        assert made.govern(name, Change(put_grant=grant)).ok
    lot = two_chains.event("ObjectEvent", "ADD", "commissioning", number=1, **listed("quantityList", AMOUNT))
    assert made[names[0]].operate(MEMBERS[names[0]][0], lot).ok
    found = tuple(made.commission(names[0], MEMBERS[names[0]][0]) for _ in range(parts))
    made.settle()
    chains = tuple(ModelChain.of(made[name]) for name in names)
    now_ms = max(chain.time_ms for chain in chains)
    for chain in chains:
        chain.seal(max(BLOCK_MS, now_ms - chain.time_ms))
    links = []
    for (one, other), relayer in made.relayers.items():
        links.append((one, relayer.client_on_a, other, relayer.client_on_b))
        links.append((other, relayer.client_on_b, one, relayer.client_on_a))
    return chains, found, tuple(links)


@dataclass
class World:
    """`links`: (chain, its client, the chain that client is of, the client over there)."""

    chains: dict[str, ModelChain]
    links: tuple[tuple[str, str, str, str], ...]
    parts: tuple[str, ...]
    boxes: tuple[str, ...]
    places: Places
    corrupt: frozenset[str] = frozenset()
    number: int = 0
    acts: list[str] = field(default_factory=list)
    checked: list[int] = field(default_factory=list)  # versions of the chains at the last check

    @classmethod
    def of(cls, made, parts: int, boxes: int, corrupt: str = "") -> World:
        chains, found, links = made
        world = cls(
            {chain.name: chain.copy() for chain in chains},
            links,
            found[:parts],
            found[parts : parts + boxes],
            Places(),
            frozenset(corrupt),
        )
        for part in world.things:
            world.places.where[part] = (AT, chains[0].name)
        return world

    def copy(self) -> World:
        return World(
            {name: chain.copy() for name, chain in self.chains.items()},
            self.links,
            self.parts,
            self.boxes,
            self.places.copy(),
            self.corrupt,
            self.number,
            list(self.acts),
        )

    # ---- reading --------------------------------------------------------------------------------------------------

    @property
    def things(self) -> tuple[str, ...]:
        return self.parts + self.boxes

    @property
    def honest(self) -> list[str]:
        return [name for name in self.chains if name not in self.corrupt]

    @property
    def now_ms(self) -> int:
        return max(chain.time_ms for chain in self.chains.values())

    def record(self, name: str, part: str) -> PartRecord | None:
        if name in self.corrupt:  # it may be anything
            return state.load(MappingReader(self.chains[name].state), state.part_key(part), PartRecord)
        return load_part(MappingReader(self.chains[name].state), part)

    def client(self, name: str, client: str) -> ClientRecord:
        return ClientRecord.FromString(self.chains[name].state[state.client_key(client)])

    def link(self, name: str, client: str) -> tuple[str, str]:
        """The chain at the other end of a client, and the client over there."""
        for here, own, there, other in self.links:
            if (here, own) == (name, client):
                return there, other
        raise KeyError((name, client))

    def links_from(self, name: str) -> list[tuple[str, str]]:
        """(client, chain at its other end) of a chain."""
        return [(own, there) for here, own, there, _ in self.links if here == name]

    # ---- members --------------------------------------------------------------------------------------------------

    def send(self, name: str, part: str, to: str, timeout_ms: int = HOUR_MS, receiver: str = "") -> Result:
        chain = self.chains[name]
        client = next((own for own, there in self.links_from(name) if there == to), "")
        message = SendPart(
            client=client,
            part=part,
            receiver=receiver or MEMBERS[to][0],
            timeout_ms=chain.time_ms + timeout_ms,
        )
        sequence = self.client(name, client).next_sequence if client else 0
        result = self._act(name, Operation(send_part=codec.encode(message)), f"send {part[-2:]} to {to}")
        if result.ok and name in self.honest:
            self.places.sent(name, part, (name, client, sequence), to, returns=False)
        return result

    def give_back(self, name: str, part: str, timeout_ms: int = HOUR_MS) -> Result:
        chain = self.chains[name]
        record = self.record(name, part)
        client = record.client if record is not None else ""
        before = self.client(name, client).next_sequence if client else 0
        message = ReturnPart(part=part, timeout_ms=chain.time_ms + timeout_ms)
        result = self._act(name, Operation(return_part=codec.encode(message)), f"return {part[-2:]}")
        if result.ok and name in self.honest:
            self.places.sent(name, part, (name, client, before), self.link(name, client)[0], returns=True)
        return result

    def accept(self, name: str, part: str) -> Result:
        return self._act(name, object_event("OBSERVE", "receiving", part, number=self._next()), "accept")

    def pack(self, name: str, part: str, box: str) -> Result:
        event = packing_event("ADD", box, part, number=self._next())
        result = self._act(name, event, f"pack {part[-2:]} into {box[-2:]}")
        if result.ok and name in self.honest:
            self.places.packed(name, part, box)
        return result

    def unpack(self, name: str, part: str, box: str) -> Result:
        event = packing_event("DELETE", box, part, number=self._next())
        result = self._act(name, event, f"unpack {part[-2:]} from {box[-2:]}")
        if result.ok and name in self.honest:
            self.places.unpacked(name, part, box)
        return result

    def unpack_all(self, name: str, box: str) -> Result:
        event = two_chains.event(
            "AggregationEvent",
            "DELETE",
            "unpacking",
            number=self._next(),
            parentID=Value(text=box),
        )
        result = self._act(name, event, f"unpack all of {box[-2:]}")
        if result.ok and name in self.honest:
            for part in self.places.inside(box):
                self.places.unpacked(name, part, box)
                self.places.untouched.add(part)
        return result

    def destroy(self, name: str, part: str) -> Result:
        event = object_event("DELETE", "destroying", part, number=self._next())
        result = self._act(name, event, f"destroy {part[-2:]}")
        if result.ok and name in self.honest:
            self.places.destroyed(name, part)
        return result

    # ---- members, of the lot

    def send_amount(
        self, name: str, amount: int, to: str, timeout_ms: int = HOUR_MS, receiver: str = ""
    ) -> Result:
        chain = self.chains[name]
        client = next(own for own, there in self.links_from(name) if there == to)
        message = SendPart(
            client=client,
            part=LOT,
            receiver=receiver or MEMBERS[to][0],
            timeout_ms=chain.time_ms + timeout_ms,
            amount=UnitAmount(amount=decimals.parse(str(amount))),
        )
        sequence = self.client(name, client).next_sequence
        result = self._act(name, Operation(send_part=codec.encode(message)), f"send {amount} to {to}")
        if result.ok and name in self.honest:
            self.places.sent(name, "", (name, client, sequence), to, returns=False)
        return result

    def return_amount(self, name: str, client: str, timeout_ms: int = HOUR_MS) -> Result:
        """What the first member of the other chain sent to ours goes back."""
        there = self.link(name, client)[0]
        message = ReturnPart(
            part=LOT,
            client=client,
            sender=MEMBERS[there][0],
            receiver=MEMBERS[name][0],
            timeout_ms=self.chains[name].time_ms + timeout_ms,
        )
        sequence = self.client(name, client).next_sequence
        result = self._act(name, Operation(return_part=codec.encode(message)), f"return amounts to {there}")
        if result.ok and name in self.honest:
            self.places.sent(name, "", (name, client, sequence), there, returns=True)
        return result

    def accept_amount(self, name: str, amount: int | None = None) -> Result:
        event = two_chains.event(
            "ObjectEvent", "OBSERVE", "receiving", number=self._next(), **listed("quantityList", amount)
        )
        return self._act(name, event, f"accept amount {amount}")

    def pack_amount(self, name: str, amount: int, box: str) -> Result:
        more = {"parentID": Value(text=box)} | listed("childQuantityList", amount)
        event = two_chains.event("AggregationEvent", "ADD", "packing", number=self._next(), **more)
        return self._act(name, event, f"pack {amount} into {box[-2:]}")

    def _act(self, name: str, operation: Operation, what: str, role: str = "operator") -> Result:
        try:
            result = self.chains[name].submit(MEMBERS[name][0], operation, role)
        except InvariantBroken:
            if name not in self.corrupt:
                raise
            result = REFUSED  # its own nodes stop at what it has written
        told = "ok" if result.ok else Reason.Name(result.reason)
        self.acts.append(f"{name}: {what}: {told}")
        return result

    def _next(self) -> int:
        self.number += 1
        return self.number

    # ---- time and faults ------------------------------------------------------------------------------------------

    def seal(self, name: str) -> None:
        chain = self.chains[name]
        chain.seal(max(BLOCK_MS, self.now_ms - chain.time_ms))
        self.places.sealed(name)
        self.acts.append(f"{name}: seal {chain.height - 1}")

    def pass_time(self, ms: int) -> None:
        """Every chain makes a block, and its next one is so much later."""
        now_ms = self.now_ms + ms
        for name, chain in self.chains.items():
            chain.seal(now_ms - chain.time_ms)
            self.places.sealed(name)
        self.acts.append(f"{ms} ms pass")

    def crash(self, name: str) -> None:
        self.chains[name].crash()
        self.places.crashed(name)
        self.acts.append(f"{name}: crash")

    # ---- relayers -------------------------------------------------------------------------------------------------

    def update(self, name: str, client: str, height: int = 0) -> bool:
        """Brings the header of a height of the other chain (0: of its newest sealed state)."""
        source = self.chains[self.link(name, client)[0]]
        height = height or source.height
        if height - 1 not in source.sealed:
            return False
        message = UpdateClient(client=client, headers=[source.header(height)])
        operation = Operation(update_client=codec.encode(message))
        return self._act(name, operation, f"update {client} to {height}", "relayer").ok

    def bring(
        self, verb: str, source: str, client: str, sequence: int, height: int = 0, answer: bytes = b""
    ) -> Result:
        """Brings a packet that `source` sent over its client: "receive" to the other chain; "acknowledge" or "timeout"
        to `source`. The proof is the honest one of the key under a header that is held there (0: the newest)."""
        packet = self.chains[source].sent.get((client, sequence))
        other, other_client = self.link(source, client)
        host, host_client = (other, other_client) if verb == "receive" else (source, client)
        prover = self.chains[source if verb == "receive" else other]
        kept = self.client(host, host_client).stored_heights
        if packet is None or not kept:
            return REFUSED
        at = height or kept[-1]
        if at - 1 not in prover.sealed:
            return REFUSED
        if verb == "receive":
            proof = prover.prove(sent_key(packet), at)
            operation = Operation(receive_packet=codec.encode(ReceivePacket(packet=packet, proof=proof)))
        elif verb == "acknowledge":
            proof = prover.prove(answered_key(packet), at)
            message = AcknowledgePacket(packet=packet, acknowledgement=answer, proof=proof)
            operation = Operation(acknowledge_packet=codec.encode(message))
        else:
            proof = prover.prove(received_key(packet), at, leaf=True)
            operation = Operation(timeout_packet=codec.encode(TimeoutPacket(packet=packet, proof=proof)))
        what = f"{verb} {source} {client} {sequence} under {at}"
        result = self._act(host, operation, what, "relayer")
        if result.ok and result.reason != Reason.REDUNDANT:
            self._brought(verb, source, packet, host, answer)
        return result

    def _brought(self, verb: str, source: str, packet: Packet, host: str, answer: bytes) -> None:
        """What a packet message that changed something means to the oracle."""
        other = self.link(source, packet.source_client)[0]
        host_client = packet.destination_client if verb == "receive" else packet.source_client
        if (host, host_client) in self.places.frozen:
            raise Violation(f"{host} believed a proof under {host_client}, which is frozen")
        key: Key = (source, packet.source_client, packet.sequence)
        if host in self.corrupt:
            return
        if verb == "receive":
            written = self.chains[host].state[answered_key(packet)]
            success = written == acknowledgement_commitment(SUCCESS)
            if source not in self.corrupt:
                self.places.received(host, key, success)
            elif success:
                transfer = CustodyTransfer.FromString(packet.value)
                if not transfer.HasField("amount"):
                    self.places.taken_from(host, transfer.part, source)
        elif other in self.corrupt:
            kind = "timeout" if verb == "timeout" else "success" if answer == SUCCESS else "error"
            self.places.believed(host, key, kind)
        elif verb == "acknowledge":
            self.places.answered(host, key, answer == SUCCESS)
        else:
            self.places.timed_out(host, key)

    def materialise(self, name: str, client: str, part: str, height: int = 0) -> Result:
        """Brings what a part was on the other chain, where it lay in something that came from there."""
        kept = self.client(name, client).stored_heights
        source = self.chains[self.link(name, client)[0]]
        at = height or (kept[-1] if kept else 0)
        if at - 1 not in source.sealed:
            return REFUSED
        values = source.sealed[at - 1].values

        def shown(key: bytes) -> ProvenRecord:
            return ProvenRecord(value=values[key], proof=source.prove(key, at).proof)

        key = state.part_key(part)
        if key not in values:
            return REFUSED
        message = Materialise(
            client=client,
            part=part,
            header_height=at,
            opening=source.sealed[at - 1].opening,
            record=shown(key),
        )
        theirs = PartRecord.FromString(values[key])
        inner = state.generation_key(part, theirs.generations)
        if theirs.open and inner in values:
            message.contents.CopyFrom(shown(inner))
        operation = Operation(materialise=codec.encode(message))
        what = f"materialise {part[-2:]} of {source.name} under {at}"
        result = self._act(name, operation, what, "relayer")
        if result.ok and result.reason != Reason.REDUNDANT:
            if (name, client) in self.places.frozen:
                raise Violation(f"{name} believed a record under {client}, which is frozen")
            if source.name in self.corrupt and name in self.honest and part not in self.places.loose:
                raise Violation(f"{part} came out of a box of {source.name}, which never had it")
        return result

    def follow(self, name: str, client: str, part: str, height: int = 0) -> Result:
        """Brings the proof that a part went on from the other chain, too."""
        kept = self.client(name, client).stored_heights
        source = self.chains[self.link(name, client)[0]]
        at = height or (kept[-1] if kept else 0)
        if at - 1 not in source.sealed:
            return REFUSED
        values = source.sealed[at - 1].values
        message = FollowPart(
            client=client, part=part, header_height=at, opening=source.sealed[at - 1].opening
        )
        key = state.part_key(part)
        while True:
            if key not in values:
                return REFUSED
            message.path.append(ProvenRecord(value=values[key], proof=source.prove(key, at).proof))
            theirs = PartRecord.FromString(values[key])
            if not theirs.container or len(message.path) > 20:
                break
            key = state.generation_key(theirs.container, theirs.generation)
            if key in values:
                message.path.append(ProvenRecord(value=values[key], proof=source.prove(key, at).proof))
            key = state.part_key(theirs.container)
        over = state.client_key(theirs.client)
        if len(message.path) == 1 and over in values:
            message.over.CopyFrom(ProvenRecord(value=values[over], proof=source.prove(over, at).proof))
        operation = Operation(follow_part=codec.encode(message))
        return self._act(name, operation, f"follow {part[-2:]} over {source.name} under {at}", "relayer")

    def materialise_all(self, long_routes: bool = False) -> None:
        """Everything that lies in something that crossed becomes a record, wherever it can; where routes may be long, a
        chain is told first how it went on."""
        changed = set(self.chains)
        while changed:
            for here, own, there, _ in self.links:
                if there in changed:
                    self.seal(there)
                    self.update(here, own)
            before, changed = changed, set()
            for here, own, there, _ in self.links:
                if here in self.corrupt or there in self.corrupt or not {here, there} & before:
                    continue
                for part in self.things:
                    record = self.chains[there].state.get(state.part_key(part))
                    if record is None or not (long_routes or PartRecord.FromString(record).container):
                        continue
                    results = [self.materialise(here, own, part)]
                    if long_routes:
                        results.append(self.follow(here, own, part))
                    if any(item.ok and item.reason != Reason.REDUNDANT for item in results):
                        changed.add(here)

    # ---- a quorum that is corrupt ---------------------------------------------------------------------------------

    def forge(self, name: str, key: bytes, value: bytes | None) -> None:
        """A corrupt chain writes into its own state."""
        self.chains[name].write(key, value)
        self.acts.append(f"{name}: forge {key.hex()[:40]}")

    def forge_packet(self, name: str, packet: Packet) -> None:
        self.chains[name].sent[packet.source_client, packet.sequence] = packet
        self.forge(name, sent_key(packet), packet_commitment(packet))

    def show_fork(self, name: str, host: str) -> Result:
        """Two headers of one height of a corrupt chain are shown to another one."""
        client = next(own for own, there in self.links_from(host) if there == name)
        chain = self.chains[name]
        message = SubmitMisbehaviour(
            client=client,
            first=chain.header(chain.height),
            second=chain.header(chain.height, app=bytes(range(32))),
        )
        operation = Operation(submit_misbehaviour=codec.encode(message))
        result = self._act(host, operation, f"a fork of {name} is shown", "relayer")
        if result.ok:
            self.places.froze(host, client)
        return result

    # ---- what must hold -------------------------------------------------------------------------------------------

    def check(self) -> None:
        """The records of all honest chains against the oracle. Raises Violation."""
        versions = [chain.version for chain in self.chains.values()]
        if versions == self.checked:
            return
        self.checked = versions
        readers = {name: MappingReader(self.chains[name].state) for name in self.honest}
        for part in self.things:
            self._check_part(part, readers)

        self._check_amounts()

    def _check_amounts(self) -> None:
        """All of the lot on honest chains, but what the receiver of a packet has already and its sender still counts."""
        total = 0
        for name in self.honest:
            for key, value in self.chains[name].state.items():
                if key.startswith(OF_THE_LOT):
                    total += pieces(BalanceRecord.FromString(value).amount)
        for (name, client, sequence), packet in self.places.packets.items():
            if packet.received == "success" and not packet.ended:
                transfer = CustodyTransfer.FromString(self.chains[name].sent[client, sequence].value)
                carried = [transfer.amount.amount] if transfer.HasField("amount") else []
                carried += [item.amount for item in transfer.contents.amounts]
                total -= sum(pieces(amount) for amount in carried)
        if total > AMOUNT or (total < AMOUNT and not self.corrupt):
            raise Violation(f"there are {total} pieces of the lot; {AMOUNT} were made")

    def _check_part(self, part: str, readers: dict[str, MappingReader]) -> None:
        place = self.places.where[part if part in self.places.loose else self.places.root(part)]
        claims = []
        for name, reader in readers.items():
            record = load_part(reader, part)
            if record is None:
                continue
            where = standing(reader, record)
            if where.status in (LIVE, OFFERED):
                claims.append((AT, name))
            elif where.status == IN_TRANSIT:
                claims.extend(self._on_the_way(name, part, place))
        if len(claims) > 1:
            raise Violation(f"{part} is in {len(claims)} places: {claims}; it is {place}")
        told = claims[0] if claims else None
        if part in self.places.loose:
            return
        if told == place or (place[0] in (GONE, HELD) and told is None):
            return
        # Nobody has touched it since it arrived in a box: it has no record of its own there yet.
        if told is None and place[0] in (AT, WAY, HELD) and self.places.where[part][0] == IN:
            return
        # Or since it was taken out with everything else.
        if told is None and place[0] == AT and part in self.places.untouched:
            return
        raise Violation(f"{part} is {told}; it must be {place}")

    def _on_the_way(self, name: str, part: str, place: Place) -> list[Place]:
        """The claim of a part that is in transit from a chain: it counts until its packet is received."""
        sending = self._packet_of(name, part)
        if sending is None:
            raise Violation(f"{part} is in transit from {name} in no packet")
        key, packet = sending
        return [] if packet.received == "success" else [(WAY, key)]

    def _packet_of(self, name: str, part: str):
        """The open packet of a chain in which a part is on its way, in whatever it is."""
        reader = MappingReader(self.chains[name].state)
        current = load_part(reader, part)
        for _ in range(20):
            if current is None:
                return None
            if not current.container:
                break
            current = load_part(reader, current.container)
        if current is None or current.status != IN_TRANSIT:
            return None
        key = (name, current.client, current.sequence)
        packet = self.places.packets.get(key)
        return None if packet is None else (key, packet)

    def check_histories(self) -> None:
        """Every entry that was ever made, and no other, is in the history of its subject."""
        for name in self.honest:
            chain = self.chains[name]
            for part in self.things:
                key = state.part_key(part)
                data = chain.state.get(key)
                if data is not None:
                    history = PartRecord.FromString(data).history
                    verify_history(chain.chain_id, history, chain.entries.get(key, []))


def pieces(amount: Decimal) -> int:
    return int(decimals.to_text(amount))


def answer_of(world: World, source: str, client: str, sequence: int) -> bytes:
    """What the other chain truly answered to a packet, as its sealed or open state says; empty where it did not."""
    other, other_client = world.link(source, client)
    written = world.chains[other].state.get(state.acknowledgement_key(other_client, sequence))
    for answer in (SUCCESS, ERROR):
        if written == acknowledgement_commitment(answer):
            return answer
    return b""


def choice(chance: random.Random, items):
    return chance.choice(list(items)) if items else None
