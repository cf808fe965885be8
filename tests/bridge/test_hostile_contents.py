"""A chain that tells anything of what lies in containers stops no other: its packets, records and steps, changed in every
way and taken as proven, and what members then do with what came of them.
"""

import pytest

from bridge import arrivals, following, handlers
from ledger import codec, state
from proto.chiptrace.v1.bridge_pb2 import ClientRecord, FollowPart, Materialise, ProvenRecord
from proto.chiptrace.v1.ledger_pb2 import (
    Change,
    GenerationRecord,
    LotRecord,
    Operation,
    PartRecord,
    PutGrant,
    RevokeGrant,
    Value,
)
from tests.bridge.crossing import carry, materialise, pack, send_amount, unpack_all, update
from tests.bridge.hostile import Mutator, copy
from tests.bridge.test_amounts import LOT as RESIN
from tests.bridge.test_amounts import accept_amount, listed, quantity_event
from tests.bridge.test_hostile_operations import Replay, changed
from tests.bridge.test_serials import LOT, accepted, captured, die, whole
from tests.bridge.two_chains import PREFIX, World, event
from tests.ledger.rules_world import seen, serials_of

SEEDS, ROUNDS, ROUNDS_KEPT = 1, 30, 6


def scenario() -> World:
    """What comes to chain b in containers, what its members do with it, and some of it goes home again."""
    world = World("a", "b")
    grant = PutGrant(prefix=PREFIX, holder="bob", home_chain=world["a"].chain_id, long_routes=True)
    assert world.govern("b", Change(revoke_grant=RevokeGrant(prefix=PREFIX)), Change(put_grant=grant)).ok
    assert world["a"].operate("ada", captured(world, serials_of(LOT, "0000", "0099", 100))).ok
    assert world["a"].operate("ada", quantity_event(world, "ADD", "commissioning", 90)).ok
    for lap in range(2):
        _cross(world, 10 * lap)
    assert world.send("a", whole(40, 60), "bob", member="ada").ok
    assert send_amount(world, "a", RESIN, 20, "bob", member="ada").ok
    world.relay()
    assert accepted(world, "b", whole(40, 60), "bob").ok
    assert accept_amount(world, "b", "bob", 15).ok
    return world


def _cross(world, first):
    part, other, deep, device, chip = (world.commission("a", "ada") for _ in range(5))
    pack(world, "a", device, chip, member="ada")
    inner = pack(world, "a", world.commission("a", "ada"), deep, device)
    _put(world, inner, listed("childQuantityList", RESIN, 3))
    outer = pack(world, "a", world.commission("a", "ada"), part, other, inner)
    _put(world, outer, listed("childQuantityList", RESIN, 5))
    piece = {"parentID": outer, "childQuantityList": [{"epcClass": whole(first, first + 10)}]}
    packing = {"type": "AggregationEvent", "action": "ADD", "bizStep": "packing"}
    assert world["a"].operate("ada", captured(world, packing | piece, first)).ok
    carry(world, "a", outer, "bob")
    for name in (part, inner, deep, device, chip, whole(first, first + 10)):
        assert materialise(world, "b", name).ok
    assert world["b"].operate("bob", captured(world, seen([die(first + 3)]), first)).ok
    pack(world, "b", outer, inner, action="DELETE")
    pack(world, "b", inner, device, action="DELETE")
    unpack_all(world, "b", outer)
    pack(world, "b", inner, part, die(first + 3))
    carry(world, "b", inner, "ada")
    update(world, "a", "b")
    for name in (part, deep, die(first + 3)):
        assert materialise(world, "a", name).ok
    unpack_all(world, "a", inner)
    assert materialise(world, "b", other).ok


def _put(world, box, more):
    world._serials += 1
    packing = event(
        "AggregationEvent", "ADD", "packing", number=world._serials, parentID=Value(text=box), **more
    )
    assert world["a"].operate("ada", packing).ok


class Bare(Replay):
    """As Replay. What is carved has a history without an event, so that what it checks does not hold here."""

    def check_complete(self, outcome):
        pass


@pytest.fixture(scope="module")
def world():
    return scenario()


@pytest.fixture
def believing(monkeypatch):
    """Every proof is taken as good."""
    for module, name in (
        (arrivals, "verify_past"),
        (following, "verify_past"),
        (handlers, "verify_remote"),
        (handlers, "verify_ending"),
    ):
        monkeypatch.setattr(module, name, lambda *_: None)


RECORDS = {"record": PartRecord, "contents": GenerationRecord, "lot": LotRecord, "over": ClientRecord}


def told(mutator, shown: ProvenRecord, kind):
    """Another record than the one that is shown, as its chain would write it."""
    record = kind.FromString(shown.value)
    mutator.change(record, mutator.random.choice((0, 1, 1, 2)))
    shown.value = codec.encode(record)


def lies(mutator, body, over):
    """A transaction body in which what another chain shows was changed; now and then it is a step of a long route."""
    made = copy(body)
    for operation in made.operations:
        if not operation.HasField("materialise"):
            continue
        message = Materialise.FromString(operation.materialise)
        shown = [name for name in ("record", "contents", "lot") if message.HasField(name)]
        for name in (mutator.random.choice(shown), mutator.random.choice(shown)):
            told(mutator, getattr(message, name), RECORDS[name])
        if mutator.random.random() < 0.1:
            named = mutator.random.choice(mutator.texts)
            message.part = (
                PartRecord.FromString(message.record.value).id if mutator.random.random() < 0.5 else named
            )
        if mutator.random.random() < 0.3:
            step = FollowPart(client=message.client, part=message.part, header_height=message.header_height)
            step.path.append(message.record)
            if message.HasField("contents"):
                step.path.extend((message.contents, message.record))
            step.over.value = over
            told(mutator, step.over, ClientRecord)
            operation.CopyFrom(Operation(follow_part=codec.encode(step)))
            continue
        operation.materialise = codec.encode(message)
    return made


def learnt(replay, mutator):
    for _, transaction, _ in replay.honest:
        mutator.learn(transaction.body)
        for operation in transaction.body.operations:
            if operation.HasField("materialise"):
                message = Materialise.FromString(operation.materialise)
                for name in ("record", "contents", "lot"):
                    if message.HasField(name):
                        mutator.learn(RECORDS[name].FromString(getattr(message, name).value))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_nothing_that_is_told_of_contents_stops_the_chain(world, believing, seed):
    replay, mutator = Bare(world["b"]), Mutator(seed)
    learnt(replay, mutator)
    other = world["a"].chain_id
    over = world["b"].app.store.get(state.client_key("a-1"))
    reasons = set()

    def lie(body):
        shown = any(operation.HasField("materialise") for operation in body.operations)
        if shown and mutator.random.random() < 0.9:
            return lies(mutator, body, over)
        return changed(mutator, body, other)

    for header, transaction, _ in replay.honest:
        for _ in range(ROUNDS):
            result, _ = replay.run(header, lie(transaction.body))
            reasons.add(result.reason)
        _, outcome = replay.run(header, transaction.body, transaction.id)
        replay.keep(outcome)
    # What is changed and taken stays, one thing on the other.
    for _ in range(ROUNDS_KEPT):
        kept = Bare(world["b"])
        for header, transaction, _ in kept.honest:
            for _ in range(4):
                _, outcome = kept.run(header, lie(transaction.body))
                kept.keep(outcome)
            result, outcome = kept.run(header, transaction.body, transaction.id)
            kept.keep(outcome)
    assert len(reasons) > 20
