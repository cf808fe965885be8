import pytest

from ledger import custody, genesis, state
from ledger.containers import Filling
from ledger.context import Context
from ledger.errors import InvariantBroken
from ledger.limits import U64_MAX
from ledger.operations import CHANGES
from proto.chiptrace.v1.ledger_pb2 import (
    ClosedBy,
    GenerationRecord,
    KeyRecord,
    ManifestRow,
    PartRecord,
    Reason,
)
from tests.ledger.rules_world import World, add, box, packing, part, refused, seen, shipping, unpacking


@pytest.fixture
def world() -> World:
    world = World()
    world.event("ada", add([part(1), part(2), part(3), box(1)]))
    return world


def context_of(world: World, member: str = "ada") -> Context:
    return Context(
        world.overlay,
        world.chain_id,
        1,
        1,
        bytes(32),
        0,
        bytes(32),
        KeyRecord(),
        member,
        genesis.Parameters(),
        CHANGES,
    )


def test_to_possess_is_to_have_it_whole_and_alone(world):
    context = context_of(world)
    assert custody.possess(context, part(1)).id == part(1)
    with refused(Reason.UNKNOWN_PART):
        custody.possess(context, part(9))
    with refused(Reason.NOT_IN_CUSTODY):
        custody.possess(context_of(world, "bob"), part(1))
    world.event("ada", packing(box(1), [part(1)]))
    with refused(Reason.INSIDE_CONTAINER):
        custody.possess(context, part(1))
    with refused(Reason.NOT_FREE_STANDING):
        custody.possess(context, box(1))
    assert custody.possess_whole(context, box(1)).open
    world.event("ada", unpacking(box(1)))
    assert custody.possess(context, part(1)).container == ""
    world.event("ada", shipping([part(1)], "bob"))
    with refused(Reason.NOT_LIVE):
        custody.possess(context, part(1))


@pytest.mark.parametrize("status", ["OFFERED", "IN_TRANSIT", "DEPARTED", "CONSUMED", "DESTROYED"])
def test_inside_what_is_not_live_nothing_is(world, status):
    world.event("ada", packing(box(1), [part(1)]), packing(box(2), [box(1)]))
    world.set_status(box(2), status)
    for name in (part(1), box(1)):
        with refused(Reason.NOT_LIVE, f"{status} with {box(2)}"):
            world.event("ada", seen([name]))


def close(world: World, name: str, closed_by: "ClosedBy.ValueType") -> None:
    """As the bridge will, or as nobody may."""
    container = world.part(name)
    filling = Filling.load(world.overlay, container)
    assert filling is not None
    filling.close(closed_by, container.history.n)
    filling.save(world.overlay)
    world.put_part(container)


def test_what_was_exported_inside_its_box_is_on_the_other_chain(world):
    world.event("ada", packing(box(1), [part(1)]), packing(box(2), [box(1)]))
    close(world, box(2), ClosedBy.EXPORT)
    assert world.status(box(1)) == "DEPARTED"
    for name in (part(1), box(1)):
        with refused(Reason.NOT_LIVE, "DEPARTED"):
            world.event("ada", seen([name]))
        assert custody.is_frozen(world.overlay, world.part(name))


def test_states_that_cannot_be_are_our_mistake(world):
    world.event("ada", packing(box(1), [part(1)]))
    stored = world.overlay.child()
    stored.delete(state.generation_key(box(1), 1))
    with pytest.raises(InvariantBroken, match="has no record"):
        custody.load_part(stored, part(1))
    stored = world.overlay.child()
    stored.delete(state.part_key(box(1)))
    with pytest.raises(InvariantBroken, match="has no record"):
        custody.is_frozen(stored, world.part(part(1)))
    with pytest.raises(InvariantBroken, match="never counted"):
        Filling(world.part(box(1)), world.generation(box(1))).remove_child(
            PartRecord(id=part(9)), world.generation(box(1))
        )
    with pytest.raises(InvariantBroken, match="lacks"):
        Filling(world.part(box(1)), world.generation(box(1))).remove_child(
            PartRecord(id=part(1), start=3, end=5), None
        )
    close(world, box(1), ClosedBy.EMPTIED)
    with pytest.raises(InvariantBroken, match="closed empty"):
        custody.load_part(world.overlay, part(1))


@pytest.mark.parametrize("rows", [1, 40])  # changed where they stand, and spread
def test_a_container_holds_as_much_as_can_be_counted_and_no_more(world, rows):
    world.event("ada", packing(box(1), [part(1)]))
    row = world.generation(box(1)).manifest[0]
    inner = GenerationRecord(levels=[rows])
    inner.manifest.extend(ManifestRow(item_class=f"a {n:02}", count=1) for n in range(rows - 1))
    inner.manifest.add(item_class=row.item_class, count=U64_MAX - 2)
    filling = Filling(world.part(box(1)), world.generation(box(1)))
    filling.add_child(world.part(part(2)), inner)
    filling.save(world.overlay)
    assert world.generation(box(1)).manifest[-1].count == U64_MAX
    filling = Filling(world.part(box(1)), world.generation(box(1)))
    with refused(Reason.MANIFEST_FULL, "can be counted"):
        filling.add_child(world.part(part(3)), inner if rows > 1 else None)
