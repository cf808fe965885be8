import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import grants, identifiers, limits, state
from proto.chiptrace.v1.ledger_pb2 import Change, GrantRecord, PutGrant, Reason, RevokeGrant
from tests.ledger.rules_world import World, add, part, refused


def put(prefix, holder="ada", home=b"") -> Change:
    return Change(put_grant=PutGrant(prefix=prefix, holder=holder, home_chain=home))


def revoke(prefix) -> Change:
    return Change(revoke_grant=RevokeGrant(prefix=prefix))


def holder(world: World, text: str) -> str | None:
    grant = grants.grant_for(world.overlay, identifiers.canonical(text))
    return None if grant is None else grant.holder


@pytest.fixture
def world() -> World:
    return World(grants={})


PREFIXES = [
    "gs1:4012", "gs1:40123", "gs1:4012345", "gs1:401234512", "gs1:5012345",
    "https://a.example", "https://a.example/parts", "https://a.example/parts/x", "https://b.example",
    "urn:fab:x", "urn:fab:x:y", "urn:fab:x.z",
]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.tuples(st.sampled_from(PREFIXES), st.booleans()), max_size=14))
def test_what_is_granted_never_overlaps(steps):
    """Against the plain rule over a list of grants in force."""
    world, in_force = World(grants={}), set()
    for prefix, putting in steps:
        if putting:
            clash = any(identifiers.grants_overlap(prefix, other) for other in in_force)
            if clash:
                with refused(Reason.GRANT_OVERLAPS):
                    world.change(put(prefix))
            else:
                world.change(put(prefix))
                in_force.add(prefix)
        elif prefix in in_force:
            world.change(revoke(prefix))
            in_force.remove(prefix)
        else:
            with refused(Reason.NOT_GRANTED):
                world.change(revoke(prefix))
    # Nothing is left over: everything can be granted again once all is revoked.
    for prefix in in_force:
        world.change(revoke(prefix))
    for prefix in PREFIXES:
        world.change(put(prefix, "bob"), revoke(prefix))


def test_a_grant_covers_by_position_only(world):
    world.change(put("gs1:4012345"))
    assert holder(world, "urn:epc:id:sgtin:4012345.012345.7") == "ada"
    assert holder(world, "https://id.gs1.org/00/040123450000000016") == "ada"
    # The digits stand elsewhere in the key.
    assert holder(world, "urn:epc:id:sgtin:0004012.345000.7") is None
    assert holder(world, "urn:epc:id:sgtin:9401234.512345.7") is None
    world.change(put("https://a.example/parts", "bob"))
    assert holder(world, "https://a.example/parts/7") == "bob"
    assert holder(world, "https://a.example/partsx/7") is None
    assert holder(world, "https://a.example.org/parts/7") is None


@pytest.mark.parametrize(
    "change, reason",
    [
        (put("gs1:401"), Reason.IDENTIFIER_INVALID),
        (put("gs1:4012345678901"), Reason.IDENTIFIER_INVALID),
        (put("gs1:40123a5"), Reason.IDENTIFIER_INVALID),
        (put("https://a.example/parts/"), Reason.IDENTIFIER_INVALID),
        (put("https://id.gs1.org/01"), Reason.IDENTIFIER_INVALID),
        (put("gs1:4012345", "nobody"), Reason.UNKNOWN_MEMBER),
        (put("gs1:4012345", home=b"x" * 31), Reason.BAD_CHANGE),
        (revoke("gs1:4012345"), Reason.NOT_GRANTED),
    ],
)
def test_a_wrong_grant_is_refused(world, change, reason):
    with refused(reason):
        world.change(change)


def test_a_grant_moves_by_revoking_and_granting_with_one_history(world):
    world.change(put("gs1:4012345"))
    with refused(Reason.GRANT_OVERLAPS, "revoke that first"):
        world.change(put("gs1:4012345", "bob"))
    world.change(revoke("gs1:4012345"), put("gs1:4012345", "bob"))
    assert holder(world, part(1)) == "bob"
    assert len(world.told(state.grant_key("gs1:4012345"))) == 3
    with refused(Reason.NOT_GRANTED, "granted to member bob"):
        world.event("ada", add([part(1)]))
    world.event("bob", add([part(1)]))
    world.change(revoke("gs1:4012345"))
    with refused(Reason.NOT_GRANTED, "no grant"):
        world.change(revoke("gs1:4012345"))
    with refused(Reason.NOT_GRANTED, "granted to nobody"):
        world.event("bob", add([part(2)]))


def test_things_are_commissioned_on_their_home_chain_only(world):
    world.change(put("gs1:4012345", home=b"h" * 32), put("gs1:5012345", "bob", home=world.chain_id))
    with refused(Reason.NOT_HOME_CHAIN, "68" * 32):
        world.event("ada", add([part(1)]))
    world.event("bob", add([part(1, "bob")]))
    record = world.record(state.grant_key("gs1:5012345"), GrantRecord)
    assert record is not None
    assert record.home_chain == b""


def test_finding_a_grant_reads_a_few_keys(world):
    world.change(put("gs1:4012345"))
    child = world.overlay.child(keys_max=9)
    assert grants.grant_for(child, identifiers.canonical("urn:epc:id:sgtin:9012345.012345.7")) is None
    assert child.keys_touched == 9


def test_however_deep_a_name_is_few_prefixes_are_looked_up_and_none_is_kept(world):
    # Every name of 250 segments was looked up under each, and what was looked up was kept: 22 kB of names took 1.6 MB.
    deep = "urn:fab:" + ".".join("s" * 240)
    deepest = "urn:fab:" + ".".join("s" * limits.PREFIXES_MAX)
    with refused(Reason.IDENTIFIER_INVALID, "at most 32 segments"):
        world.change(put(f"{deepest}.s"))
    with refused(Reason.IDENTIFIER_INVALID, "at most 32 segments"):
        world.change(put("https://a.example" + "/s" * limits.PREFIXES_MAX))
    world.change(put(deepest), put("https://a.example" + "/s" * (limits.PREFIXES_MAX - 1)))
    kept = grants._grant_keys.cache_info().currsize
    assert holder(world, deep) == holder(world, deepest) == "ada"
    assert grants._grant_keys.cache_info().currsize == kept
    child = world.overlay.child(keys_max=limits.PREFIXES_MAX)
    assert grants.grant_for(child, identifiers.canonical(deep.replace("fab", "osat"))) is None
