import pytest

from ledger import codec, hashes, state
from proto.chiptrace.v1.ledger_pb2 import (
    Change,
    Govern,
    GovernanceProposal,
    Operation,
    Parameters,
    ProposalRecord,
    PutKey,
    PutMember,
    Reason,
    RevokeKey,
    Role,
    SetParameters,
    SetValidators,
    ThawClient,
    Validator,
    ValidatorsRecord,
)
from tests.ledger.chain_fixture import key_of, make_genesis, make_parameters, seed_of
from tests.ledger.rules_world import HOUR_MS, World, refused

WEEK_MS = 7 * 24 * HOUR_MS


@pytest.fixture
def world() -> World:
    return World(governance_threshold=2)


def parameters(**changed) -> Change:
    return Change(set_parameters=SetParameters(parameters=make_parameters(governance_threshold=2, **changed)))


def now(world: World) -> Parameters:
    found = world.record(state.PARAMETERS_KEY, Parameters)
    assert found is not None
    return found


def test_enough_members_change_the_rules_once(world):
    operation = world.govern(parameters(adoption=True), approvers=("ada", "bob"))
    world.act("cyd", operation, role="relayer")
    assert now(world).adoption
    done = hashes.tagged_hash(hashes.Purpose.PROPOSAL, world.chain_id, operation.govern.proposal)
    record = world.record(state.proposal_key(done), ProposalRecord)
    assert record is not None
    assert record.height == world.height
    with refused(Reason.PROPOSAL_REPEATED):
        world.act("ada", operation)
    # The same bytes with other approvals are the same proposal.
    again = Operation(govern=Govern(proposal=operation.govern.proposal))
    again.govern.approvals.extend(world.approval(name, again.govern.proposal) for name in ("cyd", "dee"))
    with refused(Reason.PROPOSAL_REPEATED):
        world.act("ada", again)


def test_members_count_not_keys(world):
    second = hashes.public_key(b"2" * 32)
    put = PutMember(id="ada", name="Ada", admin_keys=[key_of("ada", "admin"), second])
    world.act("ada", world.govern(Change(put_member=put)))
    operation = world.govern(parameters(), approvers=("ada",))
    signature = hashes.sign(b"2" * 32, hashes.Purpose.PROPOSAL, world.chain_id, operation.govern.proposal)
    operation.govern.approvals.add(key=second, signature=signature)
    operation.govern.approvals.append(operation.govern.approvals[0])
    with refused(Reason.NOT_ENOUGH_APPROVALS, "1 members approve, 2 are needed"):
        world.act("ada", operation)


def spoiled(world: World, spoil) -> Operation:
    operation = world.govern(parameters())
    spoil(operation.govern)
    return operation


def as_operator(govern: Govern) -> None:
    govern.approvals[3].key = key_of("dee", "operator")


def bad_signature(govern: Govern) -> None:
    """The fourth of which two are needed."""
    govern.approvals[3].signature = bytes(64)


def other_signer(govern: Govern) -> None:
    govern.approvals[3].key = key_of("ada", "admin")


def too_many(govern: Govern) -> None:
    govern.approvals.extend([govern.approvals[0]] * 125)


def none(govern: Govern) -> None:
    del govern.approvals[:]


def trailing(govern: Govern) -> None:
    govern.proposal += b"\x00"


@pytest.mark.parametrize(
    "spoil, reason",
    [
        (as_operator, Reason.UNKNOWN_KEY),
        (bad_signature, Reason.BAD_SIGNATURE),
        (other_signer, Reason.BAD_SIGNATURE),
        (too_many, Reason.NOT_ENOUGH_APPROVALS),
        (none, Reason.NOT_ENOUGH_APPROVALS),
        (trailing, Reason.MALFORMED),
    ],
)
def test_one_bad_approval_refuses_all(world, spoil, reason):
    with refused(reason):
        world.act("ada", spoiled(world, spoil))


def test_an_approval_for_another_chain_or_purpose_is_none(world):
    operation = world.govern(parameters(), approvers=("ada",))
    proposal = operation.govern.proposal
    for signature in (
        world.approval("bob", proposal, chain_id=b"c" * 32).signature,
        hashes.sign(seed_of("bob", "admin"), hashes.Purpose.TRANSACTION, world.chain_id, proposal),
    ):
        spoilt = Operation.FromString(codec.encode(operation))
        spoilt.govern.approvals.add(key=key_of("bob", "admin"), signature=signature)
        with refused(Reason.BAD_SIGNATURE):
            world.act("ada", spoilt)


@pytest.mark.parametrize(
    "changed, reason",
    [
        ({"chain_id": b"c" * 32}, Reason.WRONG_CHAIN),
        ({"chain_id": b""}, Reason.WRONG_CHAIN),
        ({"nonce": b"short"}, Reason.BAD_CHANGE),
        ({"changes": []}, Reason.BAD_CHANGE),
        ({"changes": [Change()]}, Reason.BAD_CHANGE),
        ({"changes": [parameters()] * 1_001}, Reason.BAD_CHANGE),
        # Known to other tables, but not to this one.
        ({"changes": [Change(thaw_client=ThawClient(id="x"))]}, Reason.BAD_CHANGE),
    ],
)
def test_a_proposal_that_is_wrong_is_refused(world, changed, reason):
    with refused(reason):
        world.act("ada", world.govern(parameters(), **changed))


def test_a_proposal_has_its_time(world):
    at = world.time_ms + 100
    with refused(Reason.PROPOSAL_EXPIRED):
        world.act("ada", world.govern(parameters(), expires_ms=at - 1))
    world.act("ada", world.govern(parameters(), expires_ms=world.time_ms + 100))
    with refused(Reason.NOT_YET_VALID):
        world.act("ada", world.govern(parameters(), expires_ms=world.time_ms + 100 + WEEK_MS + 1))
    world.act("ada", world.govern(parameters(), expires_ms=world.time_ms + 100 + WEEK_MS))


def test_all_changes_happen_or_none(world):
    with refused(Reason.UNKNOWN_MEMBER):
        world.act("ada", world.govern(parameters(adoption=True), Change(put_key=PutKey(member="nobody"))))
    assert not now(world).adoption


def test_the_threshold_of_before_decides_and_the_new_one_holds_within_the_transaction(world):
    lower = world.govern(
        Change(set_parameters=SetParameters(parameters=make_parameters())), approvers=("ada",)
    )
    with refused(Reason.NOT_ENOUGH_APPROVALS):
        world.act("ada", lower)
    lower = world.govern(
        Change(set_parameters=SetParameters(parameters=make_parameters())), approvers=("ada", "bob")
    )
    alone = world.govern(parameters(), approvers=("ada",))
    world.act("ada", lower, alone)
    assert now(world).governance_threshold == 2


@pytest.mark.parametrize(
    "changed",
    [
        {"governance_threshold": 0}, {"governance_threshold": 5}, {"heartbeat_ms": 0}, {"offer_expiry_ms": 0},
        {"backdate_ms": 0}, {"block_bytes": 1}, {"block_bytes": 2**31},
    ],
)  # fmt: skip
def test_parameters_have_bounds(world, changed):
    with refused(Reason.BAD_CHANGE):
        world.change(Change(set_parameters=SetParameters(parameters=make_parameters(**changed))))


# ---- validators


def validators(*members: str, keys: dict | None = None) -> Change:
    made = [Validator(key=(keys or {}).get(name, key_of(name, "validator")), member=name) for name in members]
    return Change(set_validators=SetValidators(validators=made))


def test_a_validator_set_is_scheduled(world):
    world.change(validators("dee", "cyd", "bob", "ada"))
    record = world.record(state.VALIDATORS_KEY, ValidatorsRecord)
    assert record is not None
    assert [validator.member for validator in record.next.validators] == ["dee", "cyd", "bob", "ada"]
    assert record.next.in_force_from == world.height + 2
    assert [validator.member for validator in record.current.validators] == ["ada", "bob", "cyd", "dee"]
    with refused(Reason.NOTHING_TO_DO):
        world.change(validators("dee", "cyd", "bob", "ada"))


@pytest.mark.parametrize(
    "change, reason",
    [
        (validators("ada", "bob", "cyd"), Reason.BAD_VALIDATORS),
        (validators(), Reason.BAD_VALIDATORS),
        (validators("ada", "bob", "cyd", "dee", "ada"), Reason.BAD_VALIDATORS),
        (validators(*["ada"] * 32), Reason.BAD_VALIDATORS),
        (validators("ada", "bob", "cyd", "dee", "nobody"), Reason.UNKNOWN_MEMBER),
        (validators("ada", "bob", "cyd", "dee", keys={"dee": b"k" * 32}), Reason.UNKNOWN_KEY),
        (validators("ada", "bob", "cyd", "dee", keys={"dee": key_of("bob", "device")}), Reason.UNKNOWN_KEY),
        (
            validators("ada", "bob", "cyd", "dee", keys={"dee": key_of("dee", "operator")}),
            Reason.ROLE_NOT_ALLOWED,
        ),
    ],
)
def test_a_wrong_validator_set_is_refused(world, change, reason):
    with refused(reason):
        world.change(change)


@pytest.mark.parametrize("times", [{"valid_from_ms": 2**50}, {"valid_until_ms": 5}])
def test_a_validator_key_must_be_valid_now(world, times):
    key = hashes.public_key(b"v" * 32)
    world.change(Change(put_key=PutKey(key=key, member="dee", role=Role.VALIDATOR, **times)))
    with refused(Reason.KEY_NOT_VALID):
        world.change(validators("ada", "bob", "cyd", "dee", keys={"dee": key}))


def test_a_revoked_key_votes_never_again(world):
    key = hashes.public_key(b"v" * 32)
    world.change(Change(put_key=PutKey(key=key, member="dee", role=Role.VALIDATOR)))
    world.change(Change(revoke_key=RevokeKey(key=key)))
    with refused(Reason.KEY_NOT_VALID):
        world.change(validators("ada", "bob", "cyd", "dee", keys={"dee": key}))


@pytest.mark.parametrize("dev, outcome", [(True, None), (False, Reason.BAD_VALIDATORS)])
def test_fewer_than_four_validators_need_a_dev_genesis(dev, outcome):
    document = make_genesis()
    document.dev = dev
    world = World(document=document)
    if outcome is None:
        world.change(validators("ada"))
    else:
        with refused(outcome):
            world.change(validators("ada"))


def test_a_proposal_of_another_kind_of_bytes_is_malformed(world):
    operation = Operation(govern=Govern(proposal=b"\xff\xff"))
    with refused(Reason.MALFORMED):
        world.act("ada", operation)
    assert GovernanceProposal().changes == []
