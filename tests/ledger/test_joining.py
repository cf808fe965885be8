"""Who joins the validators has proven to be in step; what is refused changes nothing."""

import random

import pytest

from ledger import codec, hashes, joining, state
from ledger.block import LogLeaf
from ledger.context import nothing_decided
from ledger.errors import InvariantBroken, Refused
from ledger.limits import JOIN_PROOF_AGE_MS_MAX, JOIN_PROOF_HEIGHTS_MAX, VALIDATORS_MAX
from proto.chiptrace.v1.ledger_pb2 import (
    Change,
    JoinProof,
    PutKey,
    Reason,
    RevokeKey,
    Role,
    SetValidators,
    Validator,
    ValidatorsRecord,
)
from tests.ledger.chain_fixture import Chain, key_of, make_genesis, seed_of
from tests.ledger.rules_world import World, refused
from tests.ledger.snapshot_fixture import Taken

SEED = b"j" * 32
KEY = hashes.public_key(SEED)
MEMBERS = ("ada", "bob", "cyd", "dee")


@pytest.fixture
def world() -> World:
    made = World()
    made.change(put_key(KEY))
    return made


def put_key(key: bytes, member: str = "dee") -> Change:
    return Change(put_key=PutKey(key=key, member=member, role=Role.VALIDATOR))


def validators(*members: str, more: tuple[bytes, ...] = (KEY,)) -> Change:
    chosen = [Validator(key=key_of(name, "validator"), member=name) for name in members]
    chosen += [Validator(key=key, member="dee") for key in more]
    return Change(set_validators=SetValidators(validators=chosen))


def newest(world: World) -> list[bytes]:
    record = world.record(state.VALIDATORS_KEY, ValidatorsRecord)
    assert record is not None
    return [validator.key for validator in record.next.validators]


def join(world: World, *proofs: JoinProof) -> None:
    world.change(validators(*MEMBERS), join_proofs=proofs)


def changed(proof: JoinProof, **fields) -> JoinProof:
    copy = JoinProof()
    copy.CopyFrom(proof)
    for name, value in fields.items():
        setattr(copy, name, value)
    return copy


def test_a_key_joins_with_a_proof_and_not_without(world):
    with refused(Reason.JOIN_PROOF_MISSING, "chiptrace node join-proof"):
        join(world)
    assert KEY not in newest(world)
    join(world, world.join_proof(SEED))
    assert newest(world)[-1] == KEY


def test_a_key_registered_and_joining_by_one_proposal(world):
    other = hashes.public_key(b"o" * 32)
    both = put_key(other), validators(*MEMBERS, more=(other,))
    world.change(*both, join_proofs=[world.join_proof(b"o" * 32)])
    assert newest(world)[-1] == other


def test_a_key_that_stays_needs_no_proof_and_may_have_none(world):
    join(world, world.join_proof(SEED))
    world.change(validators("dee", "cyd", "bob"))
    with refused(Reason.JOIN_PROOF_UNUSED, "does not join"):
        world.change(validators("cyd", "dee", "bob"), join_proofs=[world.join_proof(SEED)])
    world.change(validators("cyd", "dee", "bob"))


def test_a_key_that_was_in_the_set_once_joins_like_any_other(world):
    world.change(validators("ada", "bob", "cyd"), join_proofs=[world.join_proof(SEED)])
    with refused(Reason.JOIN_PROOF_MISSING, key_of("dee", "validator").hex()):
        world.change(validators(*MEMBERS))
    world.change(validators(*MEMBERS), join_proofs=[world.join_proof(seed_of("dee", "validator"))])


def test_within_a_proposal_the_set_before_each_change_counts(world):
    leaves, joins = validators("ada", "bob", "cyd", "dee", more=()), validators(*MEMBERS)
    with refused(Reason.JOIN_PROOF_MISSING):
        world.change(joins)
    world.change(joins, leaves, join_proofs=[world.join_proof(SEED)])
    assert KEY not in newest(world)
    out = validators("ada", "bob", "cyd")
    with refused(Reason.JOIN_PROOF_MISSING, key_of("dee", "validator").hex()):
        world.change(out, joins, join_proofs=[world.join_proof(SEED)])


def test_a_validator_rotates_its_key_by_one_change(world):
    rotated = validators("ada", "bob", "cyd"), Change(revoke_key=RevokeKey(key=key_of("dee", "validator")))
    with refused(Reason.JOIN_PROOF_MISSING):
        world.change(*rotated)
    world.change(*rotated, join_proofs=[world.join_proof(SEED)])
    assert newest(world) == [key_of(name, "validator") for name in ("ada", "bob", "cyd")] + [KEY]


def test_a_whole_set_is_replaced_with_a_proof_of_each(world):
    seeds = [bytes([number]) * 32 for number in range(10, 14)]
    keys = tuple(hashes.public_key(seed) for seed in seeds)
    change = validators(more=keys)
    puts = [put_key(key) for key in keys]
    for left_out in range(4):
        some = [world.join_proof(seed) for number, seed in enumerate(seeds) if number != left_out]
        with refused(Reason.JOIN_PROOF_MISSING, keys[left_out].hex()):
            world.change(*puts, change, join_proofs=some)
    world.change(*puts, change, join_proofs=[world.join_proof(seed) for seed in seeds])
    assert tuple(newest(world)) == keys


def test_a_set_grows_to_the_most_and_shrinks_to_the_fewest(world):
    seeds = [bytes([number]) * 32 for number in range(10, 10 + VALIDATORS_MAX - 3)]
    keys = tuple(hashes.public_key(seed) for seed in seeds)
    world.change(*(put_key(key) for key in keys))
    proofs = [world.join_proof(seed) for seed in seeds]
    with refused(Reason.BAD_VALIDATORS, "32 validators; 4 to 31 are allowed"):
        world.change(validators(*MEMBERS, more=keys), join_proofs=proofs)
    world.change(validators(*MEMBERS, more=keys[1:]), join_proofs=proofs[1:])
    assert len(newest(world)) == VALIDATORS_MAX
    with refused(Reason.BAD_VALIDATORS, "3 validators; 4 to 31 are allowed"):
        world.change(validators(more=keys[1:4]))
    world.change(validators(more=keys[1:5]))
    assert tuple(newest(world)) == keys[1:5]


@pytest.mark.parametrize("seed", range(6))
def test_random_sets_with_random_proofs_go_by_one_plain_rule(seed):
    """A set is taken exactly if its size and keys are right, it is another one, and the proofs are the joiners'."""
    choose, world = random.Random(seed), World()
    seeds = [seed_of(name, "validator") for name in MEMBERS] + [bytes([n]) * 32 for n in range(10, 19)]
    everyone = {hashes.public_key(each): each for each in seeds}
    world.change(*(put_key(key) for key in list(everyone)[4:]))
    present, taken = newest(world), 0
    for _ in range(120):
        chosen = choose.sample(sorted(everyone), choose.randint(3, 8))
        if choose.random() < 0.5:  # like the present one, but for a few
            chosen = choose.sample(present, choose.randint(max(3, len(present) - 2), len(present)))
            chosen += choose.sample(sorted(set(everyone) - set(chosen)), choose.randint(0, 2))
        joiners = {key for key in chosen if key not in present}
        proven = set(joiners)
        if choose.random() < 0.3:
            proven ^= {choose.choice(sorted(everyone))}
        members = {key_of(name, "validator"): name for name in MEMBERS}
        change = SetValidators(
            validators=[Validator(key=key, member=members.get(key, "dee")) for key in chosen]
        )
        proofs = [world.join_proof(everyone[key]) for key in sorted(proven)]
        if len(chosen) >= 4 and chosen != present and proven == joiners:
            world.change(Change(set_validators=change), join_proofs=proofs)
            present, taken = chosen, taken + 1
        else:
            with pytest.raises(Refused):
                world.change(Change(set_validators=change), join_proofs=proofs)
        assert newest(world) == present
    assert 20 < taken < 120


# ---- what is no proof


def spoilt(world: World) -> list[tuple[JoinProof, int]]:
    good = world.join_proof(SEED)
    other = hashes.sign_raw(b"o" * 32, joining.signed_bytes(world.chain_id, good.height, good.block_hash))
    vote = good.height.to_bytes(8, "big") + good.block_hash
    elsewhere = b"c" * 32
    return [
        (world.join_proof(SEED, chain_id=elsewhere), Reason.WRONG_CHAIN),
        (changed(world.join_proof(SEED, chain_id=elsewhere), chain_id=world.chain_id), Reason.BAD_SIGNATURE),
        (changed(good, chain_id=b""), Reason.WRONG_CHAIN),
        (changed(good, signature=other), Reason.BAD_SIGNATURE),
        (changed(good, signature=b""), Reason.BAD_SIGNATURE),
        (changed(good, signature=good.signature[:63]), Reason.BAD_SIGNATURE),
        (changed(good, key=key_of("ada", "validator")), Reason.BAD_SIGNATURE),
        (changed(good, key=b""), Reason.BAD_SIGNATURE),
        (changed(good, height=good.height - 1), Reason.BAD_SIGNATURE),
        (changed(good, block_hash=bytes(32)), Reason.BAD_SIGNATURE),
        (changed(good, block_hash=bytes(31)), Reason.MALFORMED),
        (
            changed(good, signature=hashes.sign(SEED, hashes.Purpose.NOTARIZE, world.chain_id, vote)),
            Reason.BAD_SIGNATURE,
        ),
    ]


def test_what_is_no_proof_of_this_key_on_this_chain_is_refused(world):
    world.pass_by(3)
    for number in range(len(spoilt(world))):
        proof, reason = spoilt(world)[number]
        with refused(reason):
            join(world, proof)
        assert KEY not in newest(world)


def said(world: World, height: int, block_hash: bytes) -> JoinProof:
    return joining.prove(world.chain_id, height, block_hash, KEY, lambda data: hashes.sign_raw(SEED, data))


def test_another_block_than_the_chain_decided_is_refused(world):
    world.pass_by(3)
    with refused(Reason.JOIN_PROOF_MISMATCH, "another block of height 3"):
        join(world, said(world, 3, bytes(32)))


def test_a_height_that_is_not_decided_is_refused(world):
    for ahead in (0, 2**63):
        # At execution the height itself is not decided: the log ends with its parent.
        with refused(Reason.JOIN_PROOF_MISMATCH, "heights are decided"):
            join(world, said(world, world.height + 1 + ahead, bytes(32)))
    with refused(Reason.JOIN_PROOF_MISMATCH, "heights are decided"):
        join(world, said(world, 0, bytes(32)))


def test_a_proof_is_stale_after_so_many_heights(world):
    proof = world.join_proof(SEED)
    world.pass_by(JOIN_PROOF_HEIGHTS_MAX, wait_ms=1)
    with refused(Reason.JOIN_PROOF_STALE, "10001 heights old"):
        join(world, proof)
    proof = world.join_proof(SEED)
    world.pass_by(JOIN_PROOF_HEIGHTS_MAX - 1, wait_ms=1)
    join(world, proof)


def test_a_proof_is_stale_after_so_long(world):
    proof = world.join_proof(SEED)
    world.pass_by(1, wait_ms=JOIN_PROOF_AGE_MS_MAX - 99)
    with refused(Reason.JOIN_PROOF_STALE, f"{JOIN_PROOF_AGE_MS_MAX + 1} ms old"):
        join(world, proof)
    proof = world.join_proof(SEED)
    world.pass_by(1, wait_ms=JOIN_PROOF_AGE_MS_MAX - 100)
    join(world, proof)


def test_proofs_are_bounded_and_one_for_each_key(world):
    proof = world.join_proof(SEED)
    world.pass_by()
    with refused(Reason.JOIN_PROOF_UNUSED, "of one key"):
        join(world, proof, world.join_proof(SEED))
    many = [world.join_proof(bytes([number]) * 32) for number in range(VALIDATORS_MAX + 1)]
    with refused(Reason.JOIN_PROOF_UNUSED, "at most 31"):
        join(world, *many)
    with refused(Reason.JOIN_PROOF_UNUSED, "does not join"):
        join(world, *many[:3], proof)
    join(world, proof)


def test_a_proof_serves_one_governance_operation(world):
    first = world.govern(validators(*MEMBERS))
    first.govern.join_proofs.append(world.join_proof(SEED))
    leaves = world.govern(validators(*MEMBERS, more=()))
    again = world.govern(validators(*MEMBERS))
    with refused(Reason.JOIN_PROOF_MISSING):
        world.act("ada", first, leaves, again)
    assert KEY not in newest(world)


def test_the_proof_is_not_part_of_what_the_admins_approve(world):
    operation = world.govern(validators(*MEMBERS))
    with refused(Reason.JOIN_PROOF_MISSING):
        world.act("ada", operation)
    world.pass_by(5)
    operation.govern.join_proofs.append(world.join_proof(SEED))
    world.act("ada", operation)
    assert KEY in newest(world)


def test_genesis_has_nothing_to_be_in_step_with():
    document = make_genesis()
    chain = Chain(genesis=document)
    assert len(chain.info.validators.validators) == 4
    with pytest.raises(InvariantBroken):
        nothing_decided(1)


# ---- on a real chain


def test_a_chain_takes_the_proof_of_any_recent_height_and_keeps_its_word_after_a_restart():
    chain = Chain()
    for _ in range(5):
        chain.produce()
    change = validators(*MEMBERS)
    operation = chain.govern(put_key(KEY), change)
    refusal = chain.submit("ada", operation)
    assert (refusal.ok, refusal.reason) == (False, Reason.JOIN_PROOF_MISSING)
    operation.govern.join_proofs.append(chain.join_proof(SEED, 2))
    chain.restart()
    assert chain.submit("bob", operation).ok
    assert len(chain.info.next_validators.validators) == 5


def test_a_node_that_began_with_a_snapshot_judges_proofs_from_before_it_like_the_others():
    chain = Chain()
    for _ in range(6):
        chain.produce()
    follower = Taken(chain).follower()
    assert follower.app.store.base > 2
    operation = chain.govern(put_key(KEY), validators(*MEMBERS))
    operation.govern.join_proofs.append(chain.join_proof(SEED, 2))
    wrong = chain.govern(put_key(hashes.public_key(b"w" * 32)))
    wrong.govern.join_proofs.append(chain.join_proof(b"w" * 32, 3))
    block = chain.propose([chain.transaction("ada", operation), chain.transaction("bob", wrong)])
    results = chain.decide(block)
    assert [result.reason for result in results] == [0, Reason.JOIN_PROOF_UNUSED]
    assert follower.decide(block) == results
    assert follower.info.app_hash == chain.info.app_hash


def test_any_random_damage_to_a_proof_is_refused_and_leaves_the_state_alone():
    chain, choose = Chain(), random.Random(4)
    for _ in range(3):
        chain.produce()
    chain.submit("ada", chain.govern(put_key(KEY)))
    good = codec.encode(chain.join_proof(SEED))
    for _ in range(60):
        data = bytearray(good)
        data[choose.randrange(len(data))] ^= 1 << choose.randrange(8)
        try:
            proof = JoinProof.FromString(bytes(data))
        except Exception:  # no message at all: it never gets as far as the rule
            continue
        if codec.encode(proof) == good:
            continue
        operation = chain.govern(validators(*MEMBERS))
        operation.govern.join_proofs.append(proof)
        assert not chain.submit("ada", operation).ok
        assert len(chain.info.next_validators.validators) == 4


def test_the_leaf_a_context_shows_is_of_the_chain():
    chain = Chain()
    chain.produce()
    leaf = chain.app.store.log_leaf(1)
    assert isinstance(leaf, LogLeaf)
    assert leaf.block_hash == chain.info.block_hash
