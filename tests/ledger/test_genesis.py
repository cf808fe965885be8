import pytest

from ledger import codec, genesis, hashes, state
from ledger.errors import Invalid, InvariantBroken, Malformed, Refused
from ledger.limits import BLOCK_BYTES_MAX, GENESIS_BYTES_MAX
from ledger.state import MappingReader
from proto.chiptrace.v1.ledger_pb2 import (
    KeyRecord,
    MemberRecord,
    Parameters,
    PutGrant,
    PutKey,
    Reason,
    Role,
    Validator,
    ValidatorsRecord,
)
from tests.ledger import toy_tables
from tests.ledger.chain_fixture import MEMBERS, key_of, make_genesis, make_parameters


def decode(document):
    return genesis.decode_genesis(codec.encode(document))


def test_the_chain_id_is_the_hash_of_the_document_and_of_nothing_else():
    data = codec.encode(make_genesis())
    assert genesis.chain_id(data) == hashes.sha256(b"chiptrace/v1/genesis\0" + data)
    assert genesis.chain_id(data) != genesis.chain_id(codec.encode(make_genesis(name="other")))


def test_a_good_document_is_taken_as_it_is():
    document = make_genesis(grants={"gs1:4012345": "ada"})
    assert decode(document) == document
    assert decode(make_genesis(("solo",))).dev


def add_validator(document, **fields):
    document.validators.append(Validator(**({"key": key_of("eve"), "member": "ada"} | fields)))


SMALL_ORDER = bytes([1]) + bytes(31)

WRONG = {
    "version": (lambda d: setattr(d, "state_version", 2), Reason.WRONG_VERSION),
    "no name": (lambda d: d.ClearField("name"), Reason.BAD_CHANGE),
    "long name": (lambda d: setattr(d, "name", "n" * 257), Reason.BAD_CHANGE),
    "no time": (lambda d: d.ClearField("time_ms"), Reason.BAD_CHANGE),
    "time far off": (lambda d: setattr(d, "time_ms", 2**53 + 1), Reason.BAD_CHANGE),
    "no members": (lambda d: d.ClearField("members"), Reason.BAD_CHANGE),
    "member twice": (lambda d: d.members.append(d.members[0]), Reason.BAD_CHANGE),
    "member without admin": (lambda d: d.members[1].ClearField("admin_keys"), Reason.BAD_CHANGE),
    "admin key twice": (
        lambda d: d.members[1].admin_keys.append(d.members[1].admin_keys[0]),
        Reason.BAD_CHANGE,
    ),
    "weak admin key": (lambda d: d.members[1].admin_keys.append(SMALL_ORDER), None),
    "identifier of two": (lambda d: [m.identifiers.append("urn:x:y") for m in d.members], Reason.BAD_CHANGE),
    "key twice": (lambda d: d.keys.append(d.keys[0]), Reason.BAD_CHANGE),
    "weak key": (lambda d: d.keys.append(PutKey(key=SMALL_ORDER, member="ada", role=Role.DEVICE)), None),
    "short key": (lambda d: d.keys.append(PutKey(key=bytes(31), member="ada", role=Role.DEVICE)), None),
    "key of a stranger": (
        lambda d: d.keys.append(PutKey(key=key_of("eve"), member="eve", role=Role.DEVICE)),
        Reason.UNKNOWN_MEMBER,
    ),
    "key without role": (lambda d: d.keys.append(PutKey(key=key_of("eve"), member="ada")), Reason.BAD_CHANGE),
    "grant of a stranger": (
        lambda d: d.grants.append(PutGrant(prefix="gs1:1", holder="eve")),
        Reason.UNKNOWN_MEMBER,
    ),
    "foreign grant": (
        lambda d: d.grants.append(PutGrant(prefix="gs1:1", holder="ada", home_chain=bytes(32))),
        Reason.BAD_CHANGE,
    ),
    "three validators": (lambda d: d.validators.pop(), Reason.BAD_VALIDATORS),
    "too many validators": (
        lambda d: [add_validator(d, key=key_of(f"v{n}")) for n in range(28)],
        Reason.BAD_VALIDATORS,
    ),
    "validator twice": (lambda d: d.validators.append(d.validators[0]), Reason.BAD_VALIDATORS),
    "weak validator": (lambda d: add_validator(d, key=SMALL_ORDER), None),
    "validator of a stranger": (lambda d: add_validator(d, member="eve"), Reason.UNKNOWN_MEMBER),
    "no parameters": (lambda d: d.ClearField("parameters"), Reason.BAD_CHANGE),
    "hasty heartbeat": (lambda d: setattr(d.parameters, "heartbeat_ms", 99), Reason.BAD_CHANGE),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_document_with_something_wrong_is_refused(name):
    change, reason = WRONG[name]
    document = make_genesis()
    change(document)
    with pytest.raises(Invalid) as refusal:
        decode(document)
    assert reason is None or refusal.value.reason == reason
    assert "genesis" in str(refusal.value)


def test_other_bytes_for_the_same_document_are_malformed():
    with pytest.raises(Malformed):
        genesis.decode_genesis(codec.encode(make_genesis()) + b"\x10\x01")


def test_a_document_is_bounded():
    with pytest.raises(Malformed) as refusal:
        genesis.decode_genesis(bytes(GENESIS_BYTES_MAX + 1))
    assert refusal.value.reason == Reason.OVERSIZE


@pytest.mark.parametrize(
    "wrong",
    [
        {"governance_threshold": 0},
        {"governance_threshold": 5},
        {"heartbeat_ms": 600_001},
        {"offer_expiry_ms": 0},
        {"offer_expiry_ms": 10**12},
        {"backdate_ms": 0},
        {"backdate_ms": 10**12},
        {"block_bytes": 262_144},
        {"block_bytes": BLOCK_BYTES_MAX + 1},
    ],
)
def test_parameters_have_bounds(wrong):
    genesis.check_parameters(make_parameters(), 4)
    with pytest.raises(Refused) as refusal:
        genesis.check_parameters(make_parameters(**wrong), 4)
    assert refusal.value.reason == Reason.BAD_CHANGE


def first_state(document, changes=toy_tables.CHANGES):
    data = codec.encode(document)
    return genesis.genesis_state(genesis.chain_id(data), genesis.decode_genesis(data), changes)


def test_the_first_state_holds_what_the_document_says():
    document = make_genesis(grants={"gs1:4012345": "bob"})
    made = first_state(document)
    reader = MappingReader(made.changes)
    for member in MEMBERS:
        assert state.load(reader, state.member_key(member), MemberRecord).admin_keys == [
            key_of(member, "admin")
        ]
        assert state.load(reader, state.signer_key(key_of(member, "device")), KeyRecord).role == Role.DEVICE
    assert state.load(reader, state.PARAMETERS_KEY, Parameters) == document.parameters
    assert reader.get(state.grant_key("gs1:4012345")) is not None
    validators = state.load(reader, state.VALIDATORS_KEY, ValidatorsRecord)
    assert validators.current == validators.next
    assert list(validators.current.validators) == list(document.validators)
    assert validators.current.in_force_from == 1
    # The toy enters members and keys only.
    assert [n for _, n, _ in made.entries] == [0] * (len(MEMBERS) + len(document.keys))
    assert first_state(document) == made


def test_what_a_handler_refuses_makes_the_document_unusable():
    def refuse(_context, _change):
        raise Refused("grants overlap", Reason.GRANT_OVERLAPS)

    with pytest.raises(Invalid) as refusal:
        first_state(make_genesis(grants={"gs1:4": "ada"}), toy_tables.CHANGES | {"put_grant": refuse})
    assert refusal.value.reason == Reason.GRANT_OVERLAPS
    assert "put_grant" in str(refusal.value)


def test_a_table_without_a_handler_and_a_handler_that_crashes_are_our_mistakes():
    def crash(_context, _change):
        raise KeyError("oops")

    table = dict(toy_tables.CHANGES)
    for changes in ({**table, "put_member": crash}, {k: v for k, v in table.items() if k != "put_key"}):
        with pytest.raises(InvariantBroken):
            first_state(make_genesis(), changes)


def test_members_come_before_all_that_names_them():
    order = []

    def note(name):
        def handler(context, change):
            order.append(name)
            toy_tables.CHANGES[name](context, change)

        return handler

    first_state(make_genesis(grants={"gs1:4": "ada"}), {name: note(name) for name in toy_tables.CHANGES})
    firsts = [name for index, name in enumerate(order) if name not in order[:index]]
    assert firsts == ["put_member", "set_parameters", "put_key", "put_grant", "set_validators"]
