"""The last state of a lost chain whose validators had turned corrupt: it stops no other chain, and makes nothing of its own."""

import pytest

from bridge.clients import rehoming_key
from ledger import codec, state
from ledger.identifiers import canonical, interval_text
from ledger.limits import HOP_MAX
from ledger.roots import SerialList
from proto.chiptrace.v1.bridge_pb2 import TimeoutPacket
from proto.chiptrace.v1.ledger_pb2 import (
    DEPARTED,
    LIVE,
    OFFERED,
    Change,
    ClosedBy,
    Evidence,
    GenerationRecord,
    Operation,
    PartRecord,
    PutGrant,
    Reason,
    RehomingRecord,
    RevokeGrant,
)
from tests.bridge.crossing import carry, destroy, follow_operation, materialise, observe, pack, update
from tests.bridge.test_containers import refused
from tests.bridge.test_custody_traces import routed
from tests.bridge.test_rehoming import HOME_OF_B, box_of_b, bring_head, give_up, moved, rehome, rows_of
from tests.bridge.test_serials import accepted, captured
from tests.bridge.two_chains import (
    HOUR_MS,
    MEMBERS,
    OFFER_EXPIRY_MS,
    PREFIX,
    World,
    object_event,
    prove,
    serial,
)
from tests.ledger.chain_fixture import START_MS
from tests.ledger.rules_world import root_of, seen

BOX = serial(77)


def forged_world(rows):
    """A part of a on chain b, whose validators put any rows into its last state; rows: from the part's record there."""
    world = World(corrupt="b")
    part = moved(world)
    forged = rows(world.part("b", part))
    for key, value in forged.items():
        evidence = Evidence(first=key, second=value)
        assert world["b"].operate("bob", Operation(evidence=evidence)).ok
    bring_head(world)
    assert give_up(world).ok
    return world, part


def put(record, **changed):
    for name, value in changed.items():
        setattr(record, name, value)
    return {state.part_key(record.id): codec.encode(record)}


def filling(**changed):
    record = GenerationRecord(container=BOX, generation=5, count=1, **changed)
    return {state.generation_key(BOX, 5): codec.encode(record)}


def inside(record, **changed):
    return put(record, container=BOX, generation=5) | filling(**changed)


KEYS = (state.generation_key(BOX, 5), state.part_key(BOX))


@pytest.mark.parametrize(
    ("rows", "more", "reason"),
    [
        (lambda part: put(part, container=BOX, generation=5), KEYS[:1], Reason.BAD_PROOF),
        (inside, KEYS, Reason.BAD_PROOF),
        (lambda part: inside(part, closed_by=ClosedBy.EMPTIED), KEYS, Reason.BAD_PROOF),
        (lambda part: inside(part, closed_by=99), KEYS, Reason.BAD_PROOF),
        (
            lambda part: (
                put(part, container=BOX, generation=5)
                | filling()
                | put(PartRecord(id=BOX, status=LIVE, container=BOX, generation=5))
            ),
            KEYS,
            Reason.BAD_PROOF,
        ),
        (lambda part: {state.part_key(part.id): b"\xff\xff\xff"}, (), Reason.BAD_PROOF),
        (lambda part: put(part, container="x" * 70_000, generation=5), (), Reason.OVERSIZE),
        (lambda part: put(part, status=99), (), Reason.NOT_LIVE),
        (lambda part: put(part, generations=HOP_MAX + 1), (), Reason.BAD_PROOF),
        (lambda part: put(part, generations=2**64 - 1), (), Reason.BAD_PROOF),
        (lambda part: put(part, generations=START_MS + 24 * HOUR_MS), (), Reason.BAD_PROOF),
        (lambda part: put(part, hop=2**64 - 1), (), Reason.HOP_NOT_ABOVE),
    ],
)
def test_records_that_contradict_each_other_are_refused(rows, more, reason):
    world, part = forged_world(rows)
    before = world.part("a", part)
    assert rehome(world, part, state.part_key(part), *more).reason == reason
    assert world.part("a", part) == before


def home_on_b(world):
    assert world.govern("b", Change(put_grant=PutGrant(prefix=HOME_OF_B, holder="bob"))).ok
    grant = PutGrant(prefix=HOME_OF_B, holder="ada", home_chain=world["b"].chain_id)
    assert world.govern("a", Change(put_grant=grant)).ok


@pytest.mark.parametrize("changed", [{"id": box_of_b(2)}, {"commissioner": "Bob & Sons"}])
def test_a_record_of_another_part_or_of_nobody_is_not_inherited(changed):
    """Under the key of a part that never was: the record of one that is live here, in other hands."""
    world = World(corrupt="b")
    home_on_b(world)
    there, here = box_of_b(1), box_of_b(2)
    assert world["b"].operate("bob", object_event("ADD", "commissioning", here, number=4)).ok
    assert world.send("b", here, "abe", to="a", member="bob").ok
    world.relay()
    assert world.accept("a", here, "abe").ok
    before = world.part("a", here)
    values = {
        "id": there,
        "status": LIVE,
        "holder": "bob",
        "owner": "bob",
        "commissioner": "bob",
        "origin_chain": world["b"].chain_id,
    }
    forged = PartRecord(**(values | changed))
    evidence = Evidence(first=state.part_key(there), second=codec.encode(forged))
    assert world["b"].operate("bob", Operation(evidence=evidence)).ok
    bring_head(world)
    assert give_up(world, heir=True).ok
    result = rehome(world, there)
    assert (result.ok, result.reason) == (False, Reason.BAD_PROOF)
    assert world.part("a", here) == before
    assert not world.part("a", there).id


def test_a_serial_that_lies_in_an_interval_here_is_claimed_twice_when_it_is_shown():
    """The lost chain, its home, could have given it a second body at any time; nobody here loses what he has."""
    world = World(corrupt="b")
    home_on_b(world)
    lot = canonical("urn:epc:class:lgtin:7654321.011111.R1").text
    kept = SerialList(world["b"].chain_id, canonical(lot), [f"R{number}X" for number in range(20)])
    name, some = f"{canonical(lot).class_text}/21/R5X", interval_text(lot, 0, 10)
    assert world["b"].operate("bob", captured(world, root_of(lot, kept))).ok
    assert world.send("b", some, "abe", to="a", member="bob").ok
    world.relay()
    assert accepted(world, "a", some, "abe").ok
    forged = PartRecord(
        id=name,
        status=LIVE,
        holder="bob",
        owner="bob",
        commissioner="bob",
        origin_chain=world["b"].chain_id,
        lot=lot,
        start=5,
        end=6,
    )
    evidence = Evidence(first=state.part_key(name), second=codec.encode(forged))
    assert world["b"].operate("bob", Operation(evidence=evidence)).ok
    bring_head(world)
    assert give_up(world, heir=True).ok
    assert rehome(world, name).ok
    assert world.part("a", name).holder == "ada"
    operation = captured(world, seen([name]), 7)
    operation.capture.memberships.append(kept.membership(name))
    result = world["a"].operate("abe", operation)
    assert (result.ok, result.reason) == (True, Reason.SERIAL_CLAIMED_TWICE)
    assert world.part("a", some).holder == "abe"


def nested():
    """A die in a box in a crate, all of a, the crate received on b and the box a record there."""
    world = World()
    die, box, crate = (world.commission("a", "ada") for _ in range(3))
    pack(world, "a", box, die)
    pack(world, "a", crate, box)
    carry(world, "a", crate, "bob")
    update(world, "b", "a")
    assert materialise(world, "b", box).ok
    return world, die, box, crate


def test_what_left_inside_a_container_that_left_inside_another_does_not_come_along():
    """That the box is taken over says nothing of the die, which was taken out and destroyed over there."""
    world, die, box, crate = nested()
    update(world, "b", "a")
    assert materialise(world, "b", die).ok
    pack(world, "b", crate, box, action="DELETE")
    pack(world, "b", box, die, action="DELETE")
    assert destroy(world, "b", die).ok
    bring_head(world)
    assert give_up(world).ok
    assert rehome(world, box).ok
    assert world.part("a", box).status == LIVE
    result = observe(world, "a", die, "ada")
    assert (result.ok, result.reason) == (False, Reason.NOT_LIVE)
    assert rehome(world, die).reason == Reason.NOT_LIVE


def test_what_was_under_way_to_us_in_a_container_is_taken_over():
    """Out of the container that is taken over, too: its packet is dead."""
    world, _, box, crate = nested()
    assert world.send("b", crate, "ada").ok
    bring_head(world)
    assert give_up(world).ok
    number = world.part("b", crate).generations
    around = (state.generation_key(crate, number), state.part_key(crate))
    assert rehome(world, crate).ok
    assert rehome(world, box, state.part_key(box), *around).ok
    for name in (crate, box):
        assert world.part("a", name).status == LIVE
        assert world.part("a", name).hop == world.part("b", crate).hop + 1


def test_what_was_under_way_to_a_third_chain_in_a_container_is_not_taken_over():
    """Its own record tells over which client it once came from here; what counts is where its container went."""
    world = World("a", "b", "c", joined=(("b", "c"),))
    for name in "abc":
        home = b"" if name == "a" else world["a"].chain_id
        grant = PutGrant(prefix=PREFIX, holder=MEMBERS[name][0], home_chain=home, long_routes=True)
        world.govern(name, Change(revoke_grant=RevokeGrant(prefix=PREFIX)), Change(put_grant=grant))
    part, box = (world.commission("a", "ada") for _ in range(2))
    for name in (part, box):
        carry(world, "a", name, "bob", to="b")
    pack(world, "b", box, part)
    assert world.part("b", part).client == "a-1"
    assert world.send("b", box, "cyd", to="c").ok
    bring_head(world)
    assert give_up(world).ok
    around = (state.generation_key(box, 1), state.part_key(box))
    for name, keys in ((box, around[1:]), (part, (state.part_key(part), *around))):
        assert rehome(world, name, *keys).reason == Reason.NOT_LIVE
        assert world.part("a", name).status == DEPARTED


# ---- what had come from there ---------------------------------------------------------------------------------------


def arrived_from_lost(part_of):
    """Something that came home from b and is on offer to abe; b was given up before it heard of that."""
    world = World()
    name = part_of(world)
    assert world.send("b", name, "abe").ok
    world.relay()
    assert world.part("a", name).status == OFFERED
    bring_head(world)
    assert give_up(world).ok
    return world, name


def test_what_came_from_there_is_declined_to_who_takes_over_from_its_shipper():
    world, part = arrived_from_lost(moved)
    assert world.give_back("a", part, "abe").reason == Reason.CLIENT_FROZEN
    hop = world.part("a", part).hop
    # Only its receiver declines, until the offer has expired.
    assert rehome(world, part).reason == Reason.NOT_OFFERED_TO_YOU
    assert rehome(world, part, member="abe").ok
    record = world.part("a", part)
    assert (record.status, record.holder, record.owner, record.hop) == (LIVE, "ada", "ada", hop)
    assert rehome(world, part, member="abe").reason == Reason.NOT_LIVE
    assert world.accept("a", part, "abe").reason == Reason.NOT_OFFERED_TO_YOU
    world.check_history("a", part)


def test_after_the_expiry_anyone_declines():
    world, part = arrived_from_lost(moved)
    world.clock.now_ms += OFFER_EXPIRY_MS + 1
    assert rehome(world, part, member="ann").ok
    assert world.part("a", part).holder == "ada"


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_could_not_be_returned_in_time_is_declined_too(when):
    """The return burnt a hop, of which the lost chain never heard."""
    world = World()
    part = moved(world)
    assert world.send("b", part, "abe").ok
    world.relay()
    hop = world.part("a", part).hop
    assert world.give_back("a", part, "abe", timeout_ms=2_000).ok
    if when == "before":
        world.pass_time(5_000)
        world.relay()
    bring_head(world)
    assert give_up(world).ok
    if when == "after":
        refused(rehome(world, part, member="abe"), Reason.NOT_LIVE)
        height = world["a"].client("b-1").latest_height
        packet = world["a"].sent("b-1", world["a"].client("b-1").next_sequence - 1)
        proof = prove(world["b"], height, state.receipt_key("a-1", packet.sequence))
        ended = Operation(timeout_packet=codec.encode(TimeoutPacket(packet=packet, proof=proof)))
        assert world["a"].operate("ada", ended, role="relayer").ok
    assert world.part("a", part).hop == hop + 1
    assert rehome(world, part, member="abe").ok
    record = world.part("a", part)
    assert (record.status, record.holder, record.owner, record.hop) == (LIVE, "ada", "ada", hop + 1)


def test_what_another_chain_sent_is_not_declined_so():
    world = World("a", "b", "c")
    part = world.commission("a", "ada")
    carry(world, "a", part, "cyd", to="c")
    assert world.send("c", part, "abe", to="a").ok
    world.relay()
    bring_head(world)
    box = moved(world)
    bring_head(world)
    assert give_up(world).ok
    rows = rows_of(world, state.part_key(part))
    assert rehome(world, part, member="abe", rows=rows).reason == Reason.UNKNOWN_PART
    assert rehome(world, box).ok


def test_what_came_in_a_container_is_materialised_under_the_last_state():
    def crate(world):
        part, box = moved(world), moved(world)
        crate.part = pack(world, "b", box, part) and part
        return box

    world, box = arrived_from_lost(crate)
    part = crate.part
    assert world.accept("a", box, "abe").ok
    around = (state.generation_key(box, 1), state.part_key(box))
    # It is not free-standing with who takes over from its holder there: it is in the box, which abe has.
    assert rehome(world, part, state.part_key(part), *around).reason == Reason.NOT_LIVE
    record = world["a"].record(rehoming_key(world["b"].chain_id), RehomingRecord)
    assert materialise(world, "a", part, height=record.height).reason == Reason.UNKNOWN_HEADER
    assert materialise(world, "a", part, height=record.height + 1).ok
    assert world.part("a", part).container == box
    assert rehome(world, part, state.part_key(part), *around).reason == Reason.NOT_LIVE
    pack(world, "a", box, part, action="DELETE")
    assert world.part("a", part).holder == "abe"


def test_what_had_gone_on_from_there_comes_home_over_where_it_went():
    """Its home learns of the step from the last state of the lost chain."""
    world = routed("a", "b", "c", joined=(("b", "c"),))
    part = world.commission("a", "ada")
    carry(world, "a", part, "bob", to="b")
    update(world, "c", "a")
    assert world["c"].operate("cyd", follow_operation(world, "c", part, "a")).ok
    carry(world, "b", part, "cyd", to="c")
    bring_head(world)
    assert give_up(world).ok
    assert rehome(world, part).reason == Reason.NOT_LIVE
    world.relayers = {pair: relayer for pair, relayer in world.relayers.items() if "b" not in pair}
    assert world.send("c", part, "ada", to="a").ok
    world.relay()
    assert world.part("c", part).status == LIVE
    assert world["a"].operate("ada", follow_operation(world, "a", part, "b")).ok
    carry(world, "c", part, "ada", to="a")
    assert world.part("a", part).status == LIVE
    assert rehome(world, part).reason == Reason.NOT_LIVE
