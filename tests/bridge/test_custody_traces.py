"""Journeys that earlier wordings of the rules got wrong, each as it was found on a model.

In each something was live twice, or honest goods were stranded, until the rule named in the test stood.
"""

import pytest

from ledger import codec, state
from ledger.identifiers import canonical, interval_text
from ledger.limits import CONTAINER_DEPTH_MAX
from proto.chiptrace.v1.bridge_pb2 import Materialise
from proto.chiptrace.v1.ledger_pb2 import (
    DEPARTED,
    LIVE,
    OFFERED,
    PART_STATUS_UNSPECIFIED,
    Change,
    ClosedBy,
    Evidence,
    Operation,
    PartRecord,
    PutGrant,
    Reason,
    RevokeGrant,
)
from tests.bridge.crossing import (
    carry,
    follow_operation,
    generation,
    materialise,
    materialise_operation,
    observe,
    pack,
    tote,
    unpack_all,
    update,
)
from tests.bridge.test_containers import refused, status
from tests.bridge.test_serials import captured
from tests.bridge.two_chains import MEMBERS, PREFIX, World
from tests.ledger.rules_world import add, serials_of


def live(world, part):
    """The chains on which the part is, live or on offer, through everything it is in."""
    return [name for name in world.chains if status(world, name, part) in (LIVE, OFFERED)]


def replayed(world, name, operation):
    """Brought again, something changes nothing: neither what is true nor what is written."""
    chain = world[name]
    before = chain.state_root
    result = chain.operate(chain.members[0], operation)
    chain.settle()
    assert not result.ok or result.reason == Reason.REDUNDANT
    assert chain.state_root == before
    return result


def test_old_proofs_of_a_container_revive_nothing():
    """The hop of a child is that of its outermost container: at materialising, at unpacking, at unpacking all."""
    world = World()
    box, (one, two) = tote(world)
    carry(world, "a", box, "bob")
    old = {part: materialise_operation(world, "b", part, "a") for part in (one, two)}
    for part in (one, two):
        assert world["b"].operate("bob", old[part]).ok
        assert world.part("b", part).hop == 1
    pack(world, "b", box, one, action="DELETE")
    unpack_all(world, "b", box)
    for part in (one, two):
        carry(world, "b", part, "ada")
        assert world.part("a", part).hop == 2
        replayed(world, "b", old[part])
        assert live(world, part) == ["a"]
        carry(world, "a", part, "bob")
        replayed(world, "b", old[part])
        assert live(world, part) == ["b"]


def test_what_was_in_a_box_that_came_far_is_not_refused_for_its_low_hop():
    world = World()
    box = world.commission("a", "ada")
    carry(world, "a", box, "bob")
    carry(world, "b", box, "ada")
    part = world.commission("a", "ada")
    pack(world, "a", box, part)
    carry(world, "a", box, "bob")
    assert materialise(world, "b", part).ok
    pack(world, "b", box, part, action="DELETE")
    assert world.part("b", part).hop == 3
    carry(world, "b", part, "ada")
    assert live(world, part) == ["a"]


def test_a_box_is_nowhere_below_the_hops_inside_it():
    """Else what came far, packed into a box that never left, would arrive at a hop that it had before."""
    world = World()
    part = world.commission("a", "ada")
    carry(world, "a", part, "bob")
    carry(world, "b", part, "ada")
    box = pack(world, "a", world.commission("a", "ada"), part)
    assert world.part("a", box).hop == 2
    carry(world, "a", box, "bob")
    assert materialise(world, "b", part).ok
    assert live(world, part) == ["b"]
    assert observe(world, "b", part, "bob").ok


def test_a_hop_is_burnt_by_a_timeout_with_everything_inside():
    """Else the old proof of what was inside then would fit the second sending."""
    world = World()
    box, (one, _) = tote(world)
    assert world.send("a", box, "bob", timeout_ms=1_000).ok
    update(world, "b", "a")
    stale = materialise_operation(world, "b", one, "a")
    world.pass_time(2_000)
    world.relay()
    pack(world, "a", box, one, action="DELETE")
    carry(world, "a", box, "bob")
    assert world.part("b", box).hop == 2
    refused(replayed(world, "b", stale), Reason.NOT_NEWER)
    refused(materialise(world, "b", one), Reason.NOT_ARRIVED)
    assert live(world, one) == ["a"]


@pytest.mark.parametrize("ending", ["unpacked", "taken out"])
def test_a_tote_that_went_home_still_answers_for_what_it_carried(ending):
    """Filling records are permanent: the child enters the filling that the arrival opened, even if it is closed."""
    world = World()
    box, (one, two) = tote(world)
    carry(world, "a", box, "bob")
    if ending == "unpacked":
        unpack_all(world, "b", box)
    else:
        for part in (one, two):
            assert materialise(world, "b", part).ok
            pack(world, "b", box, part, action="DELETE")
    carry(world, "b", box, "ada")
    assert world.part("a", box).open is False
    for part in (one, two):
        assert materialise(world, "b", part).ok
        assert live(world, part) == ["b"]
        assert observe(world, "b", part, "bob").ok
        # At home nothing is inside any more.
        update(world, "a", "b")
        assert status(world, "a", part) == DEPARTED
        refused(materialise(world, "a", part), Reason.NOT_ARRIVED)


def test_the_absence_of_a_record_does_not_say_that_something_is_inside():
    world = World()
    box, (one, two) = tote(world)
    carry(world, "a", box, "bob")
    assert materialise(world, "b", one).ok
    pack(world, "b", box, one, action="DELETE")
    carry(world, "b", box, "ada")
    refused(materialise(world, "a", one), Reason.NOT_ARRIVED)
    # Of the other b has no record yet; with it, chain by chain, it comes.
    refused(materialise(world, "a", two), Reason.BAD_PROOF)
    assert materialise(world, "b", two).ok
    update(world, "a", "b")
    assert materialise(world, "a", two).ok
    assert (live(world, one), live(world, two)) == (["b"], ["a"])


def test_every_container_that_comes_opens_a_new_filling():
    """Else what left an inner box over there would be back in it here."""
    world = World()
    one = world.commission("a", "ada")
    other = world.commission("a", "ada")
    inner = pack(world, "a", world.commission("a", "ada"), one, other)
    outer = pack(world, "a", world.commission("a", "ada"), inner)
    carry(world, "a", outer, "bob")
    assert materialise(world, "b", inner).ok
    assert materialise(world, "b", one).ok
    unpack_all(world, "b", outer)
    pack(world, "b", inner, one, action="DELETE", member="bob")
    pack(world, "b", outer, inner)
    carry(world, "b", outer, "ada")
    assert materialise(world, "a", inner).ok
    # The old filling left, and is closed; the new one holds what is inside.
    old, new = generation(world, "a", inner, 1), generation(world, "a", inner, 3)
    assert (old.closed_by, old.hop, old.destination) == (ClosedBy.EXPORT, 1, world["b"].chain_id)
    assert (new.closed_by, new.count) == (0, 1)
    assert live(world, one) == ["b"]
    refused(materialise(world, "a", one), Reason.NOT_ARRIVED)
    unpack_all(world, "a", outer)
    unpack_all(world, "a", inner, "ada")
    assert live(world, one) == ["b"]
    # What was in it all the time comes chain by chain.
    assert materialise(world, "b", other).ok
    update(world, "a", "b")
    assert materialise(world, "a", other).ok
    assert live(world, other) == ["a"]


@pytest.mark.parametrize("filled", [False, True])
def test_a_box_that_left_inside_another_and_comes_home_alone_is_not_as_full_as_it_was(filled):
    world = World()
    one, other = world.commission("a", "ada"), world.commission("a", "ada")
    inner = pack(world, "a", world.commission("a", "ada"), one, other)
    outer = pack(world, "a", world.commission("a", "ada"), inner)
    carry(world, "a", outer, "bob")
    for part in (inner, one, other):
        assert materialise(world, "b", part).ok
    unpack_all(world, "b", outer)
    taken = (one,) if filled else (one, other)
    for part in taken:
        pack(world, "b", inner, part, action="DELETE", member="bob")
    carry(world, "b", inner, "ada")
    old = generation(world, "a", inner, 1)
    assert (old.closed_by, old.hop) == (ClosedBy.EXPORT, 1)
    assert world.part("a", inner).open == filled
    for part in taken:
        assert live(world, part) == ["b"]
        carry(world, "b", part, "ada")
        assert live(world, part) == ["a"]


def test_containers_in_containers_to_the_greatest_depth():
    world = World()
    part = inside = world.commission("a", "ada")
    boxes = []
    for _ in range(CONTAINER_DEPTH_MAX):
        inside = pack(world, "a", world.commission("a", "ada"), inside)
        boxes.insert(0, inside)
    carry(world, "a", boxes[0], "bob")
    refused(materialise(world, "b", part), Reason.NOT_ARRIVED)
    for box in boxes[1:]:
        assert materialise(world, "b", box).ok
        assert generation(world, "b", box, 2).closed_by == 0
    assert materialise(world, "b", part).ok
    assert live(world, part) == ["b"]
    assert observe(world, "b", part, "bob").ok
    for box in boxes:
        unpack_all(world, "b", box, "bob")
    assert world.part("b", part).status == LIVE
    carry(world, "b", part, "ada")
    assert live(world, part) == ["a"]


def test_nothing_happens_to_contents_before_the_receivers_signature():
    world = World()
    box, (one, _) = tote(world)
    assert world.send("a", box, "bob").ok
    world.relay()
    assert materialise(world, "b", one).ok
    for member in ("bob", "ben"):
        refused(observe(world, "b", one, member), Reason.NOT_LIVE)
        refused(world.send("b", one, "ada", member=member), Reason.NOT_LIVE)
    assert status(world, "b", one) == OFFERED
    assert world.accept("b", box, "bob").ok
    assert observe(world, "b", one, "bob").ok


# ---- a chain whose validators turned corrupt ------------------------------------------------------------------


def forged_child(world, source, child: PartRecord):
    """The corrupt chain writes what it likes under the key of a part."""
    evidence = Evidence(first=state.part_key(child.id), second=codec.encode(child))
    chain = world[source]
    assert chain.operate(chain.members[0], Operation(evidence=evidence)).ok


@pytest.mark.parametrize("told", ["at home", "on another chain", "never made"])
def test_a_high_hop_is_no_evidence_for_what_is_inside(told):
    """The rule of who may send a part holds at materialising as at receipt."""
    world = World("a", "b", "c", corrupt="b")
    box, (one, _) = tote(world)
    carry(world, "a", box, "bob", to="b")
    assert materialise(world, "b", one, "a").ok
    target = world.commission("a", "ada")
    if told == "on another chain":
        carry(world, "a", target, "cyd", to="c")
    if told == "never made":
        target = target.rsplit("/", 1)[0] + "/77777"
    there = world.part("b", box)
    fake = PartRecord(
        id=target,
        status=LIVE,
        origin_chain=world["a"].chain_id,
        commissioner="ada",
        container=box,
        generation=there.generations,
        hop=50,
    )
    forged_child(world, "b", fake)
    carry(world, "b", box, "ada", to="a")
    expected = {
        "at home": Reason.NOT_LIVE,
        "on another chain": Reason.WRONG_COUNTERPARTY,
        "never made": Reason.NOT_FROM_HOME,
    }
    refused(materialise(world, "a", target, "b"), expected[told])
    assert live(world, target) == {"at home": ["a"], "on another chain": ["c"], "never made": []}[told]


def test_no_more_comes_out_than_was_said_to_be_inside():
    """What b itself may bring out of a box is bounded by what left in it."""
    world = World(corrupt="b")
    box, (one, two) = tote(world)
    lone = world.commission("a", "ada")
    for part in (lone, box):
        carry(world, "a", part, "bob")
    for part in (one, two):
        assert materialise(world, "b", part).ok
    pack(world, "b", box, one, action="DELETE")
    there = world.part("b", box)
    fake = world.part("b", lone)
    fake.container, fake.generation = box, there.generations
    forged_child(world, "b", fake)
    carry(world, "b", box, "ada")
    assert materialise(world, "a", two).ok
    refused(materialise(world, "a", lone), Reason.MANIFEST_EXCEEDED)


def test_a_record_that_is_proven_for_another_part_brings_nothing():
    world = World()
    box, (one, two) = tote(world)
    carry(world, "a", box, "bob")
    honest = Materialise.FromString(materialise_operation(world, "b", one, "a").materialise)
    for changed in (two, box, "https://id.gs1.org/01/04012345111118/21/999"):
        lie = Materialise()
        lie.CopyFrom(honest)
        lie.part = changed
        result = world["b"].operate("bob", Operation(materialise=codec.encode(lie)))
        refused(result, Reason.BAD_PROOF)
    for field in ("container", "hop", "generation"):
        lie = Materialise()
        lie.CopyFrom(honest)
        record = PartRecord.FromString(lie.record.value)
        setattr(record, field, {"container": two, "hop": 9, "generation": 7}[field])
        lie.record.value = codec.encode(record)
        refused(world["b"].operate("bob", Operation(materialise=codec.encode(lie))), Reason.BAD_PROOF)


# ---- long routes ------------------------------------------------------------------------------------------------


def routed(*names, joined, corrupt=""):
    """A world whose grants allow long routes on every chain."""
    world = World(*names, joined=joined, corrupt=corrupt)
    for name in names:
        home = b"" if name == names[0] else world[names[0]].chain_id
        grant = PutGrant(prefix=PREFIX, holder=MEMBERS[name][0], home_chain=home, long_routes=True)
        result = world.govern(name, Change(revoke_grant=RevokeGrant(prefix=PREFIX)), Change(put_grant=grant))
        assert result.ok
    return world


def follow(world, host, part, source):
    chain = world[host]
    update(world, host, source)
    return chain.operate(chain.members[0], follow_operation(world, host, part, source))


def test_nobody_keeps_a_lot_away_by_following_one_of_its_serials():
    """Known without its lot the serial would come no more, nor could the range be entered around it."""
    world = routed("a", "b", "c", joined=(("b", "c"),))
    lot = canonical("urn:epc:class:lgtin:4012345.012345.W1").text
    one, rest = f"{canonical(lot).class_text}/21/0007", interval_text(lot, 8, 100)
    assert world["a"].operate("ada", captured(world, serials_of(lot, "0000", "0099", 100))).ok
    carry(world, "a", one, "cyd", member="ada", to="c")
    refused(follow(world, "b", one, "a"), Reason.NOT_FROM_HOME)
    assert world.send("a", rest, "bob", to="b", member="ada").ok
    world.relay()
    assert world.part("b", rest).status == OFFERED
    # What is known with its lot is followed like anything else.
    carry(world, "c", one, "ada", to="a")
    carry(world, "a", one, "bob", to="b")
    carry(world, "b", one, "ada", to="a")
    carry(world, "a", one, "cyd", to="c")
    assert follow(world, "b", one, "a").ok
    carry(world, "c", one, "bob", to="b")
    assert world.live_copies(one) == 1


def test_a_range_comes_after_a_serial_that_was_followed():
    """What was commissioned one by one on the home, of the same class, is marked as what came."""
    world = routed("a", "b", "c", joined=(("b", "c"),))
    lot = canonical("urn:epc:class:lgtin:4012345.012345.W1").text
    one, some = f"{canonical(lot).class_text}/21/X0042", interval_text(lot, 0, 10)
    for number, event in enumerate((serials_of(lot, "W0000", "W4999", 5_000), add([one]))):
        assert world["a"].operate("ada", captured(world, event, number)).ok
    carry(world, "a", one, "cyd", member="ada", to="c")
    assert follow(world, "b", one, "a").ok
    assert world.send("a", some, "bob", to="b", member="ada").ok
    world.relay()
    assert world.part("b", some).status == OFFERED


def test_without_a_grant_for_long_routes_every_crossing_touches_the_home():
    world = World("a", "b", "c", joined=(("b", "c"),))
    part = world.commission("a", "ada")
    carry(world, "a", part, "bob", to="b")
    refused(world.send("b", part, "cyd", to="c"), Reason.NOT_FROM_HOME)
    refused(follow(world, "c", part, "a"), Reason.NOT_FROM_HOME)


@pytest.mark.parametrize("inside", [False, True])
def test_a_part_goes_round_three_chains_and_comes_home_as_itself(inside):
    world = routed("a", "b", "c", joined=(("b", "c"),))
    part = world.commission("a", "ada")
    sent = part
    if inside:
        sent = pack(world, "a", world.commission("a", "ada"), part)
    carry(world, "a", sent, "bob", to="b")
    if inside:
        assert materialise(world, "b", part, "a").ok
        pack(world, "b", sent, part, action="DELETE")
    # c takes it from b only once its home has told where it went.
    assert world.send("b", part, "cyd", to="c").ok
    world.relay()
    assert live(world, part) == ["b"]
    assert follow(world, "c", part, "a").ok
    assert status(world, "c", part) == DEPARTED
    carry(world, "b", part, "cyd", to="c")
    assert live(world, part) == ["c"]
    # Home takes it from c only once b has told the same.
    assert world.send("c", part, "ada", to="a").ok
    world.relay()
    assert live(world, part) == ["c"]
    assert follow(world, "a", part, "b").ok
    refused(follow(world, "a", part, "b"), Reason.WRONG_COUNTERPARTY)
    carry(world, "c", part, "ada", to="a")
    assert live(world, part) == ["a"]
    home = world.part("a", part)
    assert (home.origin_chain, home.commissioner, home.gone_to) == (world["a"].chain_id, "ada", b"")
    for name in world.chains:
        world.check_history(name, part)
    assert status(world, "c", "https://id.gs1.org/01/04012345111118/21/0") == PART_STATUS_UNSPECIFIED


def test_a_step_of_a_route_is_taken_once():
    world = routed("a", "b", "c", joined=(("b", "c"),))
    part = world.commission("a", "ada")
    carry(world, "a", part, "bob", to="b")
    assert follow(world, "c", part, "a").ok
    carry(world, "b", part, "cyd", to="c")
    update(world, "a", "b")
    step = follow_operation(world, "a", part, "b")
    assert world["a"].operate("ada", step).ok
    carry(world, "c", part, "ada", to="a")
    refused(replayed(world, "a", step), Reason.NOT_LIVE)
    assert follow(world, "b", part, "c").ok
    carry(world, "a", part, "bob", to="b")
    refused(replayed(world, "a", step), Reason.HOP_NOT_ABOVE)
    carry(world, "b", part, "ada", to="a")
    assert live(world, part) == ["a"]


def test_what_may_still_come_back_has_not_gone_on():
    world = routed("a", "b", "c", joined=(("b", "c"),))
    box, (one, _) = tote(world)
    carry(world, "a", box, "bob", to="b")
    assert materialise(world, "b", one, "a").ok
    assert follow(world, "c", box, "a").ok
    assert world.send("b", box, "cyd", to="c").ok
    refused(follow(world, "a", one, "b"), Reason.NOT_LIVE)
    refused(follow(world, "a", box, "b"), Reason.NOT_LIVE)
    world.relay()
    assert world.accept("c", box, "cyd").ok
    assert follow(world, "a", one, "b").ok
    assert follow(world, "a", box, "b").ok
    # A child has to be followed like any part; its home still says over which chain it came here.
    refused(materialise(world, "c", one, "b"), Reason.NOT_FROM_HOME)
    assert follow(world, "c", one, "a").ok
    assert materialise(world, "c", one, "b").ok
    assert live(world, one) == ["c"]
