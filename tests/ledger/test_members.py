import pytest

from ledger import hashes, members, state
from proto.chiptrace.v1.ledger_pb2 import (
    Change,
    EntryKind,
    KeyRecord,
    MemberRecord,
    PutKey,
    PutMember,
    Reason,
    RevokeKey,
    Role,
    SetValidators,
    Validator,
    ValidatorsRecord,
)
from tests.ledger.chain_fixture import key_of
from tests.ledger.rules_world import World, part, refused, seen

PGLN = "https://id.gs1.org/417/4012345000009"
NEW = hashes.public_key(b"n" * 32)


@pytest.fixture
def world() -> World:
    return World()


def put_member(name="eve", **changed) -> Change:
    fields = {"id": name, "name": "Eve Ltd", "identifiers": [PGLN], "admin_keys": [NEW]}
    return Change(put_member=PutMember(**(fields | changed)))


def put_key(key=NEW, member="ada", role=Role.DEVICE, **changed) -> Change:
    return Change(put_key=PutKey(key=key, member=member, role=role, **changed))


def revoke_key(key, since=0) -> Change:
    return Change(revoke_key=RevokeKey(key=key, compromised_since_ms=since))


# ---- members


def test_a_new_member_is_named_by_its_identifiers_and_its_urn(world):
    world.change(put_member())
    assert members.member_for(world.overlay, PGLN) == "eve"
    assert members.member_for(world.overlay, "urn:chiptrace:member:eve") == "eve"
    assert members.member_for(world.overlay, "urn:chiptrace:member:nobody") is None
    assert members.member_for(world.overlay, "https://id.gs1.org/417/5012345000008") is None
    assert members.member_of_admin_key(world.overlay, NEW) == "eve"
    assert members.count_members(world.overlay) == 5
    assert [entry.kind for entry in world.told(state.member_key("eve"))] == [EntryKind.GOVERNED]


def test_a_member_changes_its_name_identifiers_and_keys(world):
    other = hashes.public_key(b"o" * 32)
    world.change(put_member())
    world.change(put_member(name="eve", identifiers=[], admin_keys=[other]))
    assert members.member_for(world.overlay, PGLN) is None
    assert members.member_of_admin_key(world.overlay, NEW) is None
    assert members.member_of_admin_key(world.overlay, other) == "eve"
    assert members.count_members(world.overlay) == 5
    record = world.record(state.member_key("eve"), MemberRecord)
    assert record is not None
    assert record.history.n == 2
    with refused(Reason.BAD_CHANGE, "each once"):
        world.change(put_member(admin_keys=[other, other]))
    # A key that was taken away never comes back, to anyone.
    for name in ("eve", "fay"):
        with refused(Reason.BAD_CHANGE, "registered before"):
            world.change(put_member(name=name, identifiers=[]))


@pytest.mark.parametrize(
    "changed, reason",
    [
        ({"name": ""}, Reason.BAD_CHANGE),
        ({"name": "x" * 257}, Reason.BAD_CHANGE),
        ({"name": "two\nlines"}, Reason.BAD_CHANGE),
        ({"name": " eve"}, Reason.BAD_CHANGE),
        ({"name": "eve "}, Reason.BAD_CHANGE),
        ({"admin_keys": []}, Reason.BAD_CHANGE),
        ({"admin_keys": [NEW, NEW]}, Reason.BAD_CHANGE),
        ({"admin_keys": [bytes(32)]}, Reason.BAD_CHANGE),
        ({"admin_keys": [NEW[:31]]}, Reason.BAD_CHANGE),
        ({"admin_keys": [hashes.public_key(bytes([n]) * 32) for n in range(17)]}, Reason.BAD_CHANGE),
        ({"admin_keys": [key_of("ada", "admin")]}, Reason.BAD_CHANGE),
        ({"admin_keys": [key_of("ada", "operator")]}, Reason.BAD_CHANGE),
        ({"identifiers": [PGLN, PGLN]}, Reason.BAD_CHANGE),
        ({"identifiers": [f"urn:test:{n}" for n in range(65)]}, Reason.BAD_CHANGE),
        ({"identifiers": ["urn:epc:id:pgln:4012345.00000"]}, Reason.IDENTIFIER_INVALID),
        ({"identifiers": ["https://id.gs1.org/01/04012345123456"]}, Reason.IDENTIFIER_INVALID),
        ({"identifiers": ["urn:chiptrace:member:ada"]}, Reason.IDENTIFIER_INVALID),
        ({"identifiers": ["no uri"]}, Reason.IDENTIFIER_INVALID),
    ],
)
def test_a_member_is_put_whole_and_well_formed_or_not_at_all(world, changed, reason):
    with refused(reason):
        world.change(
            Change(put_member=PutMember(**({"id": "eve", "name": "Eve", "admin_keys": [NEW]} | changed)))
        )


@pytest.mark.parametrize("name", ["", "Eve", "e" * 33, "eve_1", "é", "eve\n"])
def test_a_member_id_is_short_and_plain(world, name):
    with refused(Reason.BAD_CHANGE):
        world.change(put_member(name=name))


def put_named(name: str, number: int) -> Change:
    return put_member(name=name, admin_keys=[hashes.public_key(bytes([number]) * 32)])


def test_one_identifier_names_one_member(world):
    world.change(put_member())
    with refused(Reason.BAD_CHANGE, "already names member eve"):
        world.change(put_named("fay", 9))
    world.change(put_member(identifiers=[]), put_named("fay", 9))
    assert members.member_for(world.overlay, PGLN) == "fay"


# ---- keys


def test_a_key_has_one_member_and_one_role_for_ever(world):
    world.change(put_key(valid_from_ms=5, valid_until_ms=9))
    record = world.record(state.signer_key(NEW), KeyRecord)
    assert record is not None
    assert (record.member, record.role, record.valid_from_ms, record.valid_until_ms) == (
        "ada",
        Role.DEVICE,
        5,
        9,
    )
    assert [entry.kind for entry in world.told(state.signer_key(NEW))] == [EntryKind.GOVERNED]
    for change in (put_key(), put_key(member="bob", role=Role.OPERATOR), put_member()):
        with refused(Reason.BAD_CHANGE, "registered before"):
            world.change(change)
    world.change(revoke_key(NEW))
    with refused(Reason.BAD_CHANGE, "registered before"):
        world.change(put_key())


@pytest.mark.parametrize(
    "change, reason",
    [
        (put_key(member="nobody"), Reason.UNKNOWN_MEMBER),
        (put_key(key=bytes(32)), Reason.BAD_CHANGE),
        (put_key(key=b"short"), Reason.BAD_CHANGE),
        (put_key(key=key_of("bob", "admin")), Reason.BAD_CHANGE),
        (put_key(role=Role.ROLE_UNSPECIFIED), Reason.BAD_CHANGE),
        (put_key(role=99), Reason.BAD_CHANGE),
        (put_key(valid_from_ms=9, valid_until_ms=9), Reason.BAD_CHANGE),
        (revoke_key(NEW), Reason.UNKNOWN_KEY),
        (revoke_key(key_of("ada", "operator"), since=2**60), Reason.BAD_CHANGE),
        (revoke_key(key_of("ada", "validator")), Reason.BAD_CHANGE),
    ],
)
def test_a_key_change_that_is_wrong_is_refused(world, change, reason):
    with refused(reason):
        world.change(change)


def test_a_revoked_key_signs_nothing_from_then_on(world):
    world.event("bob", {"type": "ObjectEvent", "action": "ADD", "epcList": [part(1, "bob")]})
    world.change(revoke_key(key_of("bob", "operator")))
    with refused(Reason.KEY_NOT_VALID):
        world.event("bob", seen([part(1, "bob")]))
    world.event("bob", seen([part(1, "bob")]), role="device")


def test_a_compromise_may_be_told_later_and_earlier_only(world):
    key = key_of("bob", "operator")
    world.change(revoke_key(key))
    revoked = world.time_ms
    with refused(Reason.NOTHING_TO_DO):
        world.change(revoke_key(key))
    world.change(revoke_key(key, since=1_000))
    with refused(Reason.NOTHING_TO_DO):
        world.change(revoke_key(key, since=2_000))
    world.change(revoke_key(key, since=500))
    record = world.record(state.signer_key(key), KeyRecord)
    assert record is not None
    assert (record.revoked_at_ms, record.compromised_since_ms) == (revoked, 500)
    assert len(world.told(state.signer_key(key))) == 4


def test_a_voting_key_is_revoked_together_with_a_set_without_it(world):
    world.change(put_key(member="ada", role=Role.VALIDATOR))
    rest = [Validator(key=key_of(name, "validator"), member=name) for name in ("bob", "cyd", "dee")]
    validators = SetValidators(validators=[*rest, Validator(key=NEW, member="ada")])
    both = Change(set_validators=validators), revoke_key(key_of("ada", "validator"))
    world.change(*both, join_proofs=[world.join_proof(b"n" * 32)])
    record = world.record(state.VALIDATORS_KEY, ValidatorsRecord)
    assert record is not None
    assert NEW in [validator.key for validator in record.next.validators]
