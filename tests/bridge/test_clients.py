"""Clients as records: who may create, update, freeze and thaw them, and what is never overwritten."""

from dataclasses import astuple, replace

import pytest

from bridge import client_step, clients
from bridge.light_client import from_genesis, verify_header
from ledger import codec, hashes, limits, merkle, state
from ledger.block import app_hash, block_hash, decode_header, log_leaf, log_leaf_hash, validators_hash
from proto.chiptrace.v1.bridge_pb2 import (
    ClientHeader,
    ShownLog,
    SubmitMisbehaviour,
    TimeoutPacket,
    UpdateClient,
)
from proto.chiptrace.v1.consensus_pb2 import SignedHeader
from proto.chiptrace.v1.ledger_pb2 import (
    DEPARTED,
    OFFERED,
    VALIDATOR,
    AppHashOpening,
    Change,
    CreateClient,
    EntryKind,
    Header,
    InclusionProof,
    LogLeafProof,
    Operation,
    PutKey,
    Reason,
    SetValidators,
    Signature,
    ThawClient,
    Validator,
    ValidatorSet,
)
from tests.bridge.certified import Keys
from tests.bridge.two_chains import MEMBERS, START_MS, TRUSTING_MS, BridgedChain, Clock, World, prove
from tests.ledger.chain_fixture import key_of, seed_of


def grown(height=7):
    """A world whose chain a has decided this many heights."""
    world = World()
    while world["a"].height < height:
        world["a"].produce()
    return world


def update(world, name, headers, *, client="a-1", member=None, role="relayer"):
    message = UpdateClient(client=client, headers=headers)
    chain = world[name]
    operation = Operation(update_client=codec.encode(message))
    return chain.operate(member or chain.members[0], operation, role=role)


def misbehave(world, first, second, *sets, client="a-1", role="auditor"):
    message = SubmitMisbehaviour(client=client, first=first, second=second, validators=sets)
    chain = world["b"]
    return chain.operate(chain.members[0], Operation(submit_misbehaviour=codec.encode(message)), role=role)


def forge(chain, height, **changes) -> SignedHeader:
    """A header of the chain at a height, changed, with everybody's real signature on it."""
    try:
        header = Header.FromString(chain.header(height).header)
    except Exception:
        header = Header.FromString(chain.header(chain.height).header)
        header.height = height
        header.time_ms += 1_000 * (height - chain.height)
    for name, value in changes.items():
        setattr(header, name, value)
    data = codec.encode(header)
    return SignedHeader(header=data, certificate=chain.certify(data))


def kept(world, height, client="a-1"):
    return world["b"].record(state.client_header_key(client, height), ClientHeader)


def frozen_world():
    world = grown()
    head = world["a"].height
    assert update(world, "b", [world["a"].header(head)]).ok
    result = misbehave(world, world["a"].header(head), forge(world["a"], head, app_hash=bytes(31) + b"x"))
    assert result.ok
    return world


# ---- creation -----------------------------------------------------------------------------------------------


def test_a_client_is_anchored_at_genesis_by_governance_and_has_a_history():
    world = World()
    record = world["b"].client("a-1")
    assert record.latest_height == 0
    assert record.latest_time_ms == START_MS
    assert record.validators == world["a"].genesis_set
    assert record.next_sequence == 1
    entries = world["b"].entries(state.client_key("a-1"))
    assert [entry.kind for entry in entries] == [EntryKind.CLIENT]


def test_a_client_is_anchored_at_a_certified_header():
    world = grown()
    head = world["a"].header(world["a"].height)
    change = world.client_of(
        "a", "b", "2", header=head.header, certificate=codec.encode(head.certificate), genesis_time_ms=0
    )
    assert world.govern("b", Change(create_client=change)).ok
    record = world["b"].client("a-2")
    header = decode_header(head.header)
    assert (record.latest_height, record.latest_time_ms) == (header.height, header.time_ms)
    assert kept(world, header.height, "a-2").block_hash == block_hash(world["a"].chain_id, head.header)


def strange_keys(count=3):
    return [hashes.public_key(bytes([number]) * 32) for number in range(1, count + 1)]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": ""}, Reason.BAD_CHANGE),
        ({"id": "A"}, Reason.BAD_CHANGE),
        ({"id": "a/1"}, Reason.BAD_CHANGE),
        ({"id": "x" * 33}, Reason.BAD_CHANGE),
        ({"counterparty_client": "b 1"}, Reason.BAD_CHANGE),
        ({"chain_id": b"short"}, Reason.BAD_CHANGE),
        ({"chain_id": bytes(32)}, Reason.BAD_CHANGE),
        ({"trusting_period_ms": 0}, Reason.BAD_CHANGE),
        ({"trusting_period_ms": 1}, Reason.CLIENT_EXPIRED),
        ({"genesis_time_ms": START_MS - TRUSTING_MS}, Reason.CLIENT_EXPIRED),
        ({"genesis_time_ms": START_MS + 86_400_000}, Reason.BAD_TIME),
        ({"governance_keys": []}, Reason.BAD_CHANGE),
        ({"governance_threshold": 0}, Reason.BAD_CHANGE),
        ({"governance_threshold": 1}, Reason.CLIENT_TOO_WEAK),
        ({"governance_threshold": 5}, Reason.BAD_CHANGE),
        ({"governance_members": ["ada", "abe", "ada", "abe"]}, Reason.BAD_CHANGE),
        ({"governance_members": ["ada", "abe", "amy"]}, Reason.BAD_CHANGE),
        ({"governance_members": ["ada", "abe", "amy", ""]}, Reason.BAD_CHANGE),
        ({"governance_keys": strange_keys(1) * 3}, Reason.BAD_CHANGE),
        ({"governance_keys": strange_keys(limits.GOVERNANCE_KEYS_PER_CLIENT_MAX + 1)}, Reason.BAD_CHANGE),
        ({"governance_keys": [bytes(32), *strange_keys()]}, Reason.KEY_NOT_VALID),
        ({"certificate": b"\x08\x03"}, Reason.BAD_CHANGE),
        ({"header": b"\x00"}, Reason.MALFORMED),
        ({"validators": ValidatorSet(in_force_from=1)}, Reason.BAD_VALIDATORS),
    ],
)
def test_30_an_unsound_client_is_not_created(changes, reason):
    world = World()
    result = world.govern("b", Change(create_client=world.client_of("a", "b", "2", **changes)))
    assert (result.ok, result.reason) == (False, reason)
    assert world["b"].record(state.client_key("a-2"), CreateClient) is None


def test_a_chain_has_no_client_of_itself():
    world = World()
    change = world.client_of("a", "b", "2", chain_id=world["b"].chain_id)
    assert world.govern("b", Change(create_client=change)).reason == Reason.BAD_CHANGE


def test_25_a_client_id_is_never_given_twice():
    world = World()
    for changed in ({}, {"chain_id": bytes(31) + b"x"}):
        result = world.govern("b", Change(create_client=world.client_of("a", "b", "1", **changed)))
        assert (result.ok, result.reason) == (False, Reason.CLIENT_EXISTS)


def test_only_governance_creates_clients():
    world = World()
    change = Change(create_client=world.client_of("a", "b", "2"))
    chain = world["b"]
    result = chain.operate("bob", chain.govern(change, approvers=()))
    assert (result.ok, result.reason) == (False, Reason.NOT_ENOUGH_APPROVALS)


@pytest.mark.parametrize("owners", ["a", "aaaa", "aaab"])
def test_12_13_a_chain_that_one_member_certifies_is_too_weak(owners):
    world = World()
    weak = ValidatorSet(
        in_force_from=1,
        validators=[
            Validator(key=hashes.public_key(bytes([index + 1]) * 32), member=owner)
            for index, owner in enumerate(owners)
        ],
    )
    change = world.client_of("a", "b", "2", validators=weak)
    result = world.govern("b", Change(create_client=change))
    assert (result.ok, result.reason) == (False, Reason.CLIENT_TOO_WEAK)


def test_a_dev_chain_believes_a_weak_one():
    clock = Clock()
    chain = BridgedChain("b", clock, dev=True)
    weak = ValidatorSet(in_force_from=1, validators=[Validator(key=key_of("ada", "validator"), member="ada")])
    change = World().client_of("a", "b", "2", validators=weak)
    assert chain.operate("bob", chain.govern(Change(create_client=change))).ok


def test_an_anchor_is_verified_against_the_given_set():
    world = grown()
    head = world["a"].header(world["a"].height)
    for header, certificate in (
        (forge(world["a"], 3, time_ms=START_MS + 5).header, head.certificate),
        (head.header, world["b"].header(2).certificate),
    ):
        change = world.client_of("a", "b", "2", header=header, certificate=codec.encode(certificate))
        result = world.govern("b", Change(create_client=change))
        assert (result.ok, result.reason) == (False, Reason.BAD_CERTIFICATE)


# ---- updates ------------------------------------------------------------------------------------------------


def test_headers_are_kept_and_the_newest_is_believed():
    world = grown()
    chain = world["a"]
    heights = range(1, chain.height + 1)
    assert update(world, "b", [chain.header(height) for height in heights]).ok
    record = world["b"].client("a-1")
    assert list(record.stored_heights) == list(heights)
    assert record.latest_height == chain.height
    for height in heights:
        header = decode_header(chain.header(height).header)
        assert kept(world, height).app_hash == header.app_hash
        assert kept(world, height).time_ms == header.time_ms


def test_the_same_headers_again_are_redundant_and_change_nothing():
    world = grown()
    headers = [world["a"].header(2), world["a"].header(world["a"].height)]
    assert update(world, "b", headers).ok
    before = world["b"].state_root
    for again in (headers, headers[:1], headers[1:], headers[::-1]):
        result = update(world, "b", again)
        assert (result.ok, result.reason) == (True, Reason.REDUNDANT)
    assert world["b"].state_root == before


def test_a_header_twice_in_one_update_is_kept_once():
    world = grown()
    first, second = world["a"].header(2), world["a"].header(3)
    assert update(world, "b", [first, first, second, second]).ok
    assert list(world["b"].client("a-1").stored_heights) == [2, 3]
    assert len(world["b"].entries(state.client_key("a-1"))) == 2


def test_an_older_height_that_is_not_kept_is_refused():
    world = grown()
    assert update(world, "b", [world["a"].header(3)]).ok
    result = update(world, "b", [world["a"].header(2)])
    assert (result.ok, result.reason) == (False, Reason.NOT_NEWER)


def test_a_kept_header_is_never_overwritten():
    world = grown()
    assert update(world, "b", [world["a"].header(2), world["a"].header(3)]).ok
    before = world["b"].state_root
    for height in (2, 3):
        result = update(world, "b", [forge(world["a"], height, app_hash=bytes(31) + b"x")])
        assert (result.ok, result.reason) == (False, Reason.NOT_NEWER)
    assert world["b"].state_root == before


def test_one_bad_header_undoes_the_whole_update():
    world = grown()
    good = world["a"].header(2)
    bad = SignedHeader(header=world["a"].header(3).header, certificate=good.certificate)
    before = world["b"].state_root
    result = update(world, "b", [good, bad])
    assert (result.ok, result.reason) == (False, Reason.BAD_CERTIFICATE)
    assert world["b"].state_root == before


@pytest.mark.parametrize(
    ("count", "reason"), [(0, Reason.NOTHING_TO_DO), (limits.HEADERS_PER_UPDATE_MAX + 1, Reason.OVERSIZE)]
)
def test_updates_bring_a_bounded_number_of_headers(count, reason):
    world = World()
    result = update(world, "b", [world["a"].header(1)] * count)
    assert (result.ok, result.reason) == (False, reason)


@pytest.mark.parametrize("role", ["auditor", "device", "regulator", "validator"])
def test_only_relayers_and_operators_update(role):
    world = World()
    assert update(world, "b", [world["a"].header(1)], role=role).reason == Reason.ROLE_NOT_ALLOWED
    assert update(world, "b", [world["a"].header(1)], role="operator").ok


def test_unknown_clients_are_refused():
    world = World()
    for client in ("", "a-2", "A", "a-1\n", "x" * 10_000):
        assert update(world, "b", [world["a"].header(1)], client=client).reason == Reason.UNKNOWN_CLIENT


def test_operations_are_decoded_strictly():
    world = World()
    for data in (b"", b"\xff", codec.encode(UpdateClient(client="a-1")) + b"\x00"):
        result = world["b"].operate("bob", Operation(update_client=data), role="relayer")
        assert not result.ok
        assert result.reason in (Reason.MALFORMED, Reason.UNKNOWN_CLIENT)


def test_the_client_follows_a_change_of_validators():
    world = World()
    chain = world["a"]
    newcomer = hashes.public_key(bytes([7]) * 32)
    chain.seeds[newcomer] = bytes([7]) * 32
    members = [Validator(key=key_of(member, "validator"), member=member) for member in MEMBERS["a"][:3]]
    following = [*members, Validator(key=newcomer, member="ann")]
    assert world.govern(
        "a",
        Change(put_key=PutKey(key=newcomer, member="ann", role=VALIDATOR)),
        Change(set_validators=SetValidators(validators=following)),
        joiners=[bytes([7]) * 32],
    ).ok
    changed_at = chain.height
    for _ in range(4):
        chain.produce()
    assert update(world, "b", [chain.header(chain.height)]).reason == Reason.BAD_VALIDATORS
    assert update(world, "b", chain.headers_above(0)).ok
    record = world["b"].client("a-1")
    assert record.validators.in_force_from == changed_at + 2
    assert list(record.validators.validators) == following
    assert record.latest_height == chain.height
    # A conflict at a height of the old set is judged by the old set, sent along.
    old = [forge_with(world, changed_at, old_set=True, app_hash=bytes(31) + tail) for tail in (b"x", b"y")]
    assert misbehave(world, *old).reason == Reason.BAD_VALIDATORS
    assert misbehave(world, *old, record.validators).reason == Reason.BAD_VALIDATORS
    assert misbehave(world, *old, chain.genesis_set).ok
    assert world["b"].client("a-1").frozen


def forge_with(world, height, *, old_set, **changes):
    chain = world["a"]
    header = Header.FromString(chain.header(height).header)
    for name, value in changes.items():
        setattr(header, name, value)
    data = codec.encode(header)
    keys = Keys("abcd")
    keys.seeds = [seed_of(member, "validator") for member in MEMBERS["a"]]
    return SignedHeader(header=data, certificate=keys.certify(data, height, chain_id=chain.chain_id))


def test_only_the_newest_headers_are_kept(monkeypatch):
    monkeypatch.setattr(client_step, "CLIENT_HEADERS_KEPT", 3)
    world = grown()
    chain = world["a"]
    assert update(world, "b", [chain.header(height) for height in range(1, 6)]).ok
    assert list(world["b"].client("a-1").stored_heights) == [3, 4, 5]
    assert kept(world, 2) is None
    assert kept(world, 3) is not None
    assert update(world, "b", [chain.header(7)]).ok
    assert list(world["b"].client("a-1").stored_heights) == [4, 5, 7]
    # What was dropped is not taken again.
    assert update(world, "b", [chain.header(2)]).reason == Reason.NOT_NEWER


def test_30_an_expired_client_is_judged_by_the_blocks_time():
    world = grown()
    assert update(world, "b", [world["a"].header(2)]).ok
    seen = decode_header(world["a"].header(2).header).time_ms
    world.clock.now_ms = seen + TRUSTING_MS + 1
    result = update(world, "b", [world["a"].header(3)])
    assert (result.ok, result.reason) == (False, Reason.CLIENT_EXPIRED)


def rotated(members, *, dev=False):
    """A world whose chain b has a client of chain a, which changes to validators of these members."""
    world = World()
    if dev:
        world.chains["b"] = BridgedChain("b", world.clock, dev=True)
        assert world.govern("b", Change(create_client=world.client_of("a", "b"))).ok
    chain = world["a"]
    seeds = [bytes([number]) * 32 for number in range(1, len(members))]
    keys = [hashes.public_key(seed) for seed in seeds]
    chain.seeds |= dict(zip(keys, seeds, strict=True))
    puts = [
        Change(put_key=PutKey(key=key, member=member, role=VALIDATOR))
        for key, member in zip(keys, members[1:], strict=True)
    ]
    following = [Validator(key=key_of(members[0], "validator"), member=members[0])]
    following += [Validator(key=key, member=member) for key, member in zip(keys, members[1:], strict=True)]
    change = Change(set_validators=SetValidators(validators=following))
    assert world.govern("a", *puts, change, joiners=seeds).ok
    for _ in range(4):
        chain.produce()
    return world


@pytest.mark.parametrize("members", [["ada"] * 4, ["ada", "ada", "ada", "abe"]])
def test_12_13_a_client_does_not_follow_to_a_set_that_one_member_certifies(members):
    world = rotated(members)
    headers = world["a"].headers_above(0)
    before = world["b"].client("a-1")
    # The relayer brings the boundary with what comes after it, which is the one member's word.
    result = update(world, "b", headers)
    assert (result.ok, result.reason) == (True, Reason.CLIENT_TOO_WEAK)
    record = world["b"].client("a-1")
    assert (record.frozen, record.frozen_for) == (True, Reason.CLIENT_TOO_WEAK)
    assert (record.latest_height, record.validators) == (before.latest_height, before.validators)
    assert update(world, "b", headers).reason == Reason.CLIENT_FROZEN
    # Nor is it recovered to such a set.
    weak = ValidatorSet(in_force_from=1, validators=[Validator(key=key_of("ada", "validator"), member="ada")])
    assert (
        world.govern("b", Change(thaw_client=thaw(world, validators=weak))).reason == Reason.CLIENT_TOO_WEAK
    )


def test_a_client_follows_to_a_set_that_two_members_certify():
    world = rotated(["ada", "ada", "abe", "abe"])
    assert update(world, "b", world["a"].headers_above(0)).ok
    record = world["b"].client("a-1")
    assert (record.frozen, record.latest_height) == (False, world["a"].height)


def test_a_dev_chain_follows_to_a_weak_set():
    world = rotated(["ada"] * 4, dev=True)
    result = update(world, "b", world["a"].headers_above(0))
    assert (result.ok, result.reason) == (True, Reason.REASON_UNSPECIFIED)
    assert not world["b"].client("a-1").frozen


# ---- misbehaviour -------------------------------------------------------------------------------------------


def settled_world():
    world = grown()
    assert update(world, "b", [world["a"].header(2), world["a"].header(3)]).ok
    return world


def test_a_fork_at_a_kept_height_freezes():
    world = settled_world()
    result = misbehave(world, world["a"].header(3), forge(world["a"], 3, app_hash=bytes(31) + b"x"))
    assert result.ok
    record = world["b"].client("a-1")
    assert (record.frozen, record.frozen_for) == (True, Reason.MISBEHAVED)
    assert update(world, "b", [world["a"].header(4)]).reason == Reason.CLIENT_FROZEN
    assert update(world, "b", [world["a"].header(3)]).reason == Reason.REDUNDANT


@pytest.mark.parametrize("height", [1, 2, 3, 4, 1_000])
def test_a_fork_at_any_height_freezes(height):
    world = settled_world()
    forks = [forge(world["a"], height, app_hash=bytes(31) + tail) for tail in (b"x", b"y")]
    assert misbehave(world, *forks).ok
    assert world["b"].client("a-1").frozen


def test_time_going_back_freezes():
    world = settled_world()
    early = forge(world["a"], 9, time_ms=decode_header(world["a"].header(3).header).time_ms)
    assert misbehave(world, world["a"].header(3), early).ok
    assert world["b"].client("a-1").frozen


def forked_log(world, leaf_height, **changed):
    """A log of chain a with another leaf at a height, its proof, and what a header commits to with it."""
    chain = world["a"]
    leaves = [log_leaf(*astuple(chain.app.store.log_leaf(height))) for height in range(1, chain.height)]
    leaves[leaf_height - 1] = log_leaf(*astuple(replace(chain.app.store.log_leaf(leaf_height), **changed)))
    hashed = [log_leaf_hash(chain.chain_id, leaf) for leaf in leaves]
    opening = AppHashOpening(state_root=b"s" * 32, log_size=len(leaves), log_root=merkle.root(hashed))
    path = merkle.inclusion_path(hashed, leaf_height - 1)
    inclusion = InclusionProof(index=leaf_height - 1, size=len(leaves), path=path)
    return ShownLog(opening=opening, leaf=LogLeafProof(leaf=leaves[leaf_height - 1], inclusion=inclusion))


def honest_log(world, leaf_height):
    chain = world["a"]
    opening = chain.app.prove([], chain.height - 1).opening
    leaf = chain.app.store.log_leaf_proof(leaf_height, opening.log_size)
    return ShownLog(opening=opening, leaf=leaf)


def accuse(world, first, second, **logs):
    message = SubmitMisbehaviour(client="a-1", first=first, second=second, **logs)
    operation = Operation(submit_misbehaviour=codec.encode(message))
    return world["b"].operate("bob", operation, role="auditor")


def test_a_log_with_another_block_than_a_header_freezes():
    world = settled_world()
    chain, head = world["a"], world["a"].height
    log = forked_log(world, 3, block_hash=b"x" * 32)
    # Its own height has one header only; what it says of height 3 is another past.
    other = forge(chain, head, app_hash=app_hash(chain.chain_id, log.opening))
    assert accuse(world, chain.header(3), other, second_log=log).ok
    assert world["b"].client("a-1").frozen_for == Reason.MISBEHAVED


def test_two_logs_with_different_leaves_freeze():
    world = settled_world()
    chain, head = world["a"], world["a"].height
    log = forked_log(world, 3, state_root=b"x" * 32)
    other = forge(chain, head + 1, app_hash=app_hash(chain.chain_id, log.opening))
    honest = honest_log(world, 3)
    assert accuse(world, chain.header(head), other, first_log=honest, second_log=log).ok
    assert world["b"].client("a-1").frozen


def test_logs_that_agree_or_prove_nothing_freeze_nothing():
    world = settled_world()
    chain, head = world["a"], world["a"].height
    honest, log = honest_log(world, 3), forked_log(world, 3, block_hash=b"x" * 32)
    forged = forge(chain, head + 1, app_hash=app_hash(chain.chain_id, log.opening))
    moved, short = ShownLog(), ShownLog()
    moved.CopyFrom(log)
    moved.leaf.inclusion.index = 3
    short.CopyFrom(log)
    short.leaf.inclusion.size -= 1
    for first, second, logs, reason in (
        (chain.header(3), chain.header(head), {"second_log": honest}, Reason.NOT_MISBEHAVIOUR),
        (chain.header(2), chain.header(head), {"second_log": honest}, Reason.NOT_MISBEHAVIOUR),
        (
            chain.header(head),
            chain.header(head),
            {"first_log": honest, "second_log": honest},
            Reason.NOT_MISBEHAVIOUR,
        ),
        (chain.header(2), forged, {"second_log": log}, Reason.NOT_MISBEHAVIOUR),
        (chain.header(3), chain.header(head), {"second_log": log}, Reason.BAD_PROOF),
        (chain.header(3), forged, {"second_log": moved}, Reason.BAD_PROOF),
        (chain.header(3), forged, {"second_log": short}, Reason.BAD_PROOF),
        (chain.header(3), forged, {"second_log": ShownLog()}, Reason.BAD_PROOF),
    ):
        result = accuse(world, first, second, **logs)
        assert (result.ok, result.reason) == (False, reason), Reason.Name(result.reason)
    assert not world["b"].client("a-1").frozen


def test_honest_headers_freeze_nothing():
    world = settled_world()
    chain = world["a"]
    other_view = SignedHeader(
        header=chain.header(3).header, certificate=chain.certify(chain.header(3).header, 2)
    )
    for first, second in (
        (chain.header(3), chain.header(3)),
        (chain.header(3), other_view),
        (chain.header(2), chain.header(3)),
        (chain.header(4), chain.header(1)),
    ):
        result = misbehave(world, first, second)
        assert (result.ok, result.reason) == (False, Reason.NOT_MISBEHAVIOUR)
    assert not world["b"].client("a-1").frozen


def test_misbehaviour_needs_the_sets_real_certificates():
    world = settled_world()
    chain = world["a"]
    fork = forge(chain, 3, app_hash=bytes(31) + b"x")
    fork.certificate.CopyFrom(chain.header(3).certificate)
    assert misbehave(world, chain.header(3), fork).reason == Reason.BAD_CERTIFICATE
    # Another chain's validators, even with their set sent along, convict nobody.
    other = world["b"]
    header = Header.FromString(chain.header(3).header)
    header.validators_hash = validators_hash(chain.chain_id, other.genesis_set)
    data = codec.encode(header)
    keys = Keys("abcd")
    keys.seeds = [seed_of(member, "validator") for member in MEMBERS["b"]]
    stranger = SignedHeader(header=data, certificate=keys.certify(data, 3, chain_id=chain.chain_id))
    result = misbehave(world, chain.header(3), stranger, other.genesis_set)
    assert (result.ok, result.reason) == (False, Reason.BAD_VALIDATORS)
    assert not world["b"].client("a-1").frozen


def test_old_news_freezes_nothing():
    world = settled_world()
    world.clock.now_ms += TRUSTING_MS + 10_000
    result = misbehave(world, world["a"].header(3), forge(world["a"], 3, app_hash=bytes(31) + b"x"))
    assert (result.ok, result.reason) == (False, Reason.CLIENT_EXPIRED)


def test_freezing_twice_is_redundant():
    world = frozen_world()
    head = world["a"].height
    result = misbehave(world, world["a"].header(head), forge(world["a"], head, app_hash=bytes(31) + b"x"))
    assert (result.ok, result.reason) == (True, Reason.REDUNDANT)


# ---- thawing ------------------------------------------------------------------------------------------------


def thaw(world, *, signers=MEMBERS["a"][:3], history_n=None, **changed) -> ThawClient:
    head = world["a"].header(world["a"].height)
    values = {
        "id": "a-1",
        "header": head.header,
        "certificate": codec.encode(head.certificate),
        "validators": world["a"].genesis_set,
    }
    change = ThawClient(**(values | changed))
    n = world["b"].client("a-1").history.n if history_n is None else history_n
    message = client_step.thaw_message(world["b"].chain_id, change, n)
    for member in signers:
        seed = seed_of(member, "admin")
        approval = Signature(key=hashes.public_key(seed), signature=hashes.sign_raw(seed, message))
        change.counterparty_approvals.append(approval)
    return change


def test_both_governances_thaw_with_a_new_anchor():
    world = frozen_world()
    before = list(world["b"].client("a-1").stored_heights)
    world["a"].produce()
    assert world.govern("b", Change(thaw_client=thaw(world))).ok
    record = world["b"].client("a-1")
    assert not record.frozen
    assert record.latest_height == world["a"].height
    assert list(record.stored_heights) == [world["a"].height]
    assert all(kept(world, height) is None for height in before)
    world["a"].produce()
    assert update(world, "b", [world["a"].header(world["a"].height)]).ok


def test_an_expired_client_is_thawed_too():
    world = World()
    world.clock.now_ms += TRUSTING_MS + 1_000
    world["a"].produce()
    assert update(world, "b", [world["a"].header(world["a"].height)]).reason == Reason.CLIENT_EXPIRED
    assert world.govern("b", Change(thaw_client=thaw(world))).ok
    assert world["b"].client("a-1").latest_height == world["a"].height


def test_a_substitute_replaces_no_kept_header():
    world = frozen_world()
    height = world["a"].height
    other = forge(world["a"], height, app_hash=bytes(31) + b"x")
    change = thaw(world, header=other.header, certificate=codec.encode(other.certificate))
    result = world.govern("b", Change(thaw_client=change))
    assert (result.ok, result.reason) == (False, Reason.NOT_NEWER)
    assert kept(world, height).block_hash == block_hash(world["a"].chain_id, world["a"].header(height).header)
    assert world.govern("b", Change(thaw_client=thaw(world))).ok


@pytest.mark.parametrize("answered", [False, True])
def test_a_thaw_to_a_lower_height_brings_nothing_twice(answered):
    """Neither received once more, nor timed out after it was received."""
    world = World()
    part = world.commission("a", "ada")
    assert world.send("a", part, "bob").ok
    world.relay()
    assert world.accept("b", part, "bob").ok
    # Chain b sends it home; a takes it, late and still in time.
    low = world["a"].height
    assert update(world, "b", [world["a"].header(low)]).ok
    assert world.send("b", part, "ada", member="bob", timeout_ms=30_000).ok
    packet = world["b"].sent("a-1", world.part("b", part).sequence)
    world.settle()
    relayer = world.relayers["a", "b"]
    relayer.bring(world["a"], world["b"], relayer.plan().on_a)
    assert world.part("a", part).status == OFFERED
    if answered:
        world.relay()
    head = world["a"].height
    true = world["a"].header(head)
    assert update(world, "b", [world["a"].header(head)]).ok
    assert misbehave(world, true, forge(world["a"], head, app_hash=bytes(31) + b"x")).ok
    lower = world["a"].header(low - 1)
    change = thaw(world, header=lower.header, certificate=codec.encode(lower.certificate))
    assert world.govern("b", Change(thaw_client=change)).ok
    assert world["b"].client("a-1").latest_height == low - 1
    world.clock.now_ms += 60_000  # the timeout has passed, by every clock

    def timed_out(height):
        proof = prove(world["a"], height, state.receipt_key("b-1", packet.sequence), leaf=True)
        operation = Operation(timeout_packet=codec.encode(TimeoutPacket(packet=packet, proof=proof)))
        return world["b"].operate("bob", operation)

    early = timed_out(low - 1)
    wanted = (True, Reason.REDUNDANT) if answered else (False, Reason.TIMEOUT_NOT_REACHED)
    assert (early.ok, early.reason) == wanted
    world["a"].produce()
    world["a"].produce()
    assert update(world, "b", [world["a"].header(world["a"].height)]).ok
    late = timed_out(world["a"].height)
    assert (late.ok, late.reason) == ((True, Reason.REDUNDANT) if answered else (False, Reason.BAD_PROOF))
    world.relay()
    assert world.live_copies(part) == 1
    assert (world.part("a", part).status, world.part("b", part).status) == (OFFERED, DEPARTED)


def test_the_same_two_headers_freeze_a_thawed_client_as_long_as_their_set_is_in_force():
    world = grown()
    head = world["a"].height
    first, second = world["a"].header(head), forge(world["a"], head, app_hash=bytes(31) + b"x")
    forked = world["a"].genesis_set
    assert misbehave(world, first, second).ok
    world["a"].produce()
    assert world.govern("b", Change(thaw_client=thaw(world))).ok
    assert misbehave(world, first, second).ok
    assert world["b"].client("a-1").frozen
    # Another set is in force at the new anchor: what the old one signed is over.
    validators = [Validator(member=m, key=key_of(m, "validator")) for m in reversed(MEMBERS["a"])]
    assert world.govern("a", Change(set_validators=SetValidators(validators=validators))).ok
    world["a"].produce()
    world["a"].produce()
    change = thaw(world, validators=world["a"].info.validators)
    assert world.govern("b", Change(thaw_client=change)).ok
    result = misbehave(world, first, second, forked)
    assert (result.ok, result.reason) == (False, Reason.BAD_VALIDATORS)
    assert not world["b"].client("a-1").frozen


def test_a_healthy_client_is_not_thawed():
    world = World()
    result = world.govern("b", Change(thaw_client=thaw(world)))
    assert (result.ok, result.reason) == (False, Reason.NOTHING_TO_DO)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"signers": ()}, Reason.NOT_ENOUGH_APPROVALS),
        ({"signers": ("ada", "abe")}, Reason.NOT_ENOUGH_APPROVALS),
        ({"signers": ("ada", "ada", "ada")}, Reason.NOT_ENOUGH_APPROVALS),
        ({"signers": ("ada", "abe", "bob")}, Reason.NOT_ENOUGH_APPROVALS),
        ({"history_n": 1}, Reason.BAD_SIGNATURE),
        ({"header": b"", "certificate": b""}, Reason.MALFORMED),
        ({"validators": ValidatorSet(in_force_from=1)}, Reason.BAD_VALIDATORS),
    ],
)
def test_a_thaw_needs_the_counterpartys_approvals_and_a_sound_anchor(options, reason):
    world = frozen_world()
    result = world.govern("b", Change(thaw_client=thaw(world, **options)))
    assert (result.ok, result.reason) == (False, reason)
    assert world["b"].client("a-1").frozen


@pytest.mark.parametrize(
    ("owners", "enough"), [(("ada", "ada", "ada"), False), (("ada", "ada", "abe"), True)]
)
def test_07_one_member_with_many_keys_does_not_thaw(owners, enough):
    """Threshold 2: two members, not two keys."""
    world = grown()
    seeds = [seed_of(f"key-{number}", "admin") for number in range(3)]
    change = world.client_of(
        "a",
        "b",
        "2",
        governance_keys=[hashes.public_key(seed) for seed in seeds] + [key_of("amy", "admin")],
        governance_members=[*owners, "amy"],
        governance_threshold=2,
    )
    assert world.govern("b", Change(create_client=change)).ok
    world.clock.now_ms += TRUSTING_MS + 1_000
    world["a"].produce()
    substitute = thaw(world, signers=(), id="a-2")
    n = world["b"].client("a-2").history.n
    message = client_step.thaw_message(world["b"].chain_id, substitute, n)
    for seed in seeds:
        approval = Signature(key=hashes.public_key(seed), signature=hashes.sign_raw(seed, message))
        substitute.counterparty_approvals.append(approval)
    result = world.govern("b", Change(thaw_client=substitute))
    wanted = Reason.REASON_UNSPECIFIED if enough else Reason.NOT_ENOUGH_APPROVALS
    assert (result.ok, result.reason) == (enough, wanted)


def test_approvals_of_one_thaw_do_not_serve_another():
    world = frozen_world()
    change = thaw(world)
    other = ThawClient()
    other.CopyFrom(change)
    world["a"].produce()
    head = world["a"].header(world["a"].height)
    other.header, other.certificate = head.header, codec.encode(head.certificate)
    assert world.govern("b", Change(thaw_client=other)).reason == Reason.BAD_SIGNATURE
    assert world.govern("b", Change(thaw_client=change)).ok
    # Frozen again: the very same change was approved once.
    height = world["a"].height
    assert misbehave(
        world, forge(world["a"], height), forge(world["a"], height, app_hash=bytes(31) + b"x")
    ).ok
    assert world.govern("b", Change(thaw_client=change)).reason == Reason.BAD_SIGNATURE


def test_the_record_on_chain_believes_what_the_pure_function_does():
    world = grown()
    assert update(world, "b", world["a"].headers_above(0)).ok
    record = world["b"].client("a-1")
    on_chain = clients.trusted_state(world["b"].app.store, record)
    mine = replace(from_genesis(world["a"].chain_id, world["a"].genesis_set, START_MS), strict=True)
    for signed in world["a"].headers_above(0):
        mine = verify_header(mine, signed, world.clock.now_ms, None)
    assert on_chain == mine
