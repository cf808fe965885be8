"""Containers and lots over the chains of two_chains.World: what members and a relayer do, in one line each."""

from bridge.contents import arrival_key
from bridge.relayer_plan import Update
from ledger import codec, decimals, state
from ledger.limits import CONTAINER_DEPTH_MAX
from proto.chiptrace.v1.bridge_pb2 import (
    ArrivalRecord,
    FollowPart,
    Materialise,
    ProvenRecord,
    ReturnPart,
    SendPart,
)
from proto.chiptrace.v1.ledger_pb2 import (
    AppHashOpening,
    GenerationRecord,
    LotRecord,
    Operation,
    PartRecord,
    UnitAmount,
    Value,
)
from tests.bridge.two_chains import HOUR_MS, PREFIX, event, object_event, packing_event

__all__ = ["PREFIX"]


class Proven:
    """Records of a chain, all under the newest header that another chain's client keeps of it."""

    def __init__(self, world, host, source, height=None):
        self.client = f"{source}-1"
        self.chain = world[source]
        self.height = height or world[host].client(self.client).latest_height
        self.opening = AppHashOpening()

    def record(self, key) -> ProvenRecord:
        proven = self.chain.app.prove([key], self.height - 1)
        self.opening = proven.opening
        with self.chain.app.views.view(self.height - 1) as view:
            value = view.get(key)
        return ProvenRecord(value=value, proof=proven.keys[0].proof)


def materialise_operation(world, host, part, source, height=None) -> Operation:
    """The honest operation that makes a record on `host` of what came inside a container from `source`."""
    proven = Proven(world, host, source, height)
    message = Materialise(client=proven.client, part=part, header_height=proven.height)
    message.record.CopyFrom(proven.record(state.part_key(part)))
    message.opening.CopyFrom(proven.opening)
    theirs = PartRecord.FromString(message.record.value)
    if theirs.open:
        message.contents.CopyFrom(proven.record(state.generation_key(part, theirs.generations)))
    if theirs.lot:
        message.lot.CopyFrom(proven.record(state.lot_key(theirs.lot)))
    return Operation(materialise=codec.encode(message))


def materialise(world, host, part, source=None, *, member=None, height=None):
    """Shows the source's record of a part; returns the result."""
    chain = world[host]
    operation = materialise_operation(world, host, part, source or world.other(host), height)
    return chain.operate(member or chain.members[0], operation)


def update(world, host, source):
    """The host's client of the source learns the newest header."""
    world.settle()
    (relayer,) = (r for pair, r in world.relayers.items() if set(pair) == {host, source})
    client = f"{source}-1"
    height = world[source].info.height
    known = world[host].client(client).latest_height
    if height > known:
        relayer.bring(world[host], world[source], [Update(client, known, height)])


def pack(world, name, container, *children, member=None, action="ADD"):
    """Puts children into a container (or takes them out); returns the container."""
    member = member or world.part(name, container).holder or world[name].members[0]
    world._serials += 1
    result = world[name].operate(member, packing_event(action, container, *children, number=world._serials))
    assert result.ok, result
    return container


def unpack_all(world, name, container, member=None):
    member = member or world.part(name, container).holder
    world._serials += 1
    more = {"parentID": Value(text=container)}
    result = world[name].operate(
        member, event("AggregationEvent", "DELETE", "unpacking", number=world._serials, **more)
    )
    assert result.ok, result


def destroy(world, name, part, member=None):
    member = member or world.part(name, part).holder
    world._serials += 1
    return world[name].operate(member, object_event("DELETE", "destroying", part, number=world._serials))


def observe(world, name, part, member):
    world._serials += 1
    return world[name].operate(member, object_event("OBSERVE", "inspecting", part, number=world._serials))


def carry(world, name, part, receiver, **more):
    """Sends, relays and accepts; returns the chain's name it is on then."""
    to = more.get("to") or world.other(name)
    assert world.send(name, part, receiver, **more).ok
    world.relay()
    assert world.accept(to, part, receiver).ok
    return to


def tote(world, name="a", member="ada", children=2):
    """A container with fresh parts in it: (container, children)."""
    box = world.commission(name, member)
    inside = [world.commission(name, member) for _ in range(children)]
    return pack(world, name, box, *inside, member=member), inside


def generation(world, name, container, number) -> GenerationRecord:
    return world[name].record(state.generation_key(container, number), GenerationRecord) or GenerationRecord()


def arrival(world, name, source, container, number) -> ArrivalRecord:
    key = arrival_key(world[source].chain_id, container, number)
    return world[name].record(key, ArrivalRecord) or ArrivalRecord()


def lot_record(world, name, lot) -> LotRecord:
    return world[name].record(state.lot_key(lot), LotRecord) or LotRecord()


def send_amount(world, name, lot, amount, receiver, *, member, to=None, unit="", timeout_ms=HOUR_MS):
    message = SendPart(
        client=f"{to or world.other(name)}-1",
        part=lot,
        receiver=receiver,
        timeout_ms=world.clock.now_ms + timeout_ms,
        amount=UnitAmount(unit=unit, amount=decimals.parse(str(amount))),
    )
    return world[name].operate(member, Operation(send_part=codec.encode(message)))


def return_amount(world, name, lot, *, client, sender, receiver, by, unit="", role="operator"):
    message = ReturnPart(
        part=lot,
        client=client,
        sender=sender,
        receiver=receiver,
        unit=unit,
        timeout_ms=world.clock.now_ms + HOUR_MS,
    )
    return world[name].operate(by, Operation(return_part=codec.encode(message)), role=role)


def follow_operation(world, host, part, source) -> Operation:
    """The honest proof that a part departed from `source` too."""
    proven = Proven(world, host, source)
    message = FollowPart(client=proven.client, part=part, header_height=proven.height)
    name = part
    for _ in range(2 * CONTAINER_DEPTH_MAX):  # a corrupt chain may say that a box lies in itself
        shown = proven.record(state.part_key(name))
        message.path.append(shown)
        theirs = PartRecord.FromString(shown.value)
        if not theirs.container:
            break
        message.path.append(proven.record(state.generation_key(theirs.container, theirs.generation)))
        name = theirs.container
    if len(message.path) == 1:
        message.over.CopyFrom(proven.record(state.client_key(theirs.client)))
    message.opening.CopyFrom(proven.opening)
    return Operation(follow_part=codec.encode(message))
