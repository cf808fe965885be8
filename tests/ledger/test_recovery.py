"""A chain without a quorum goes on by its members' decision, and shows it for ever."""

from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import block, codec, hashes, recovery, rows, state
from ledger.application import Application
from ledger.block import recovery_mark
from ledger.errors import ChiptraceError, Invalid, InvariantBroken, Malformed, StoreError
from ledger.genesis import VALIDATORS_MIN
from ledger.hashes import Purpose
from ledger.limits import RECOVERY_BYTES_MAX, VALIDATORS_MAX
from proto.chiptrace.v1.ledger_pb2 import (
    Block,
    Change,
    EntryKind,
    Govern,
    KeyRecord,
    MemberRecord,
    Operation,
    PutKey,
    PutMember,
    Reason,
    RecoveriesRecord,
    Recovery,
    RecoveryDocument,
    RecoveryRecord,
    Role,
    SetValidators,
    Signature,
    Validator,
    ValidatorsRecord,
)
from tests.ledger.chain_fixture import Chain, key_of, make_genesis, make_parameters, seed_of
from tests.ledger.recovered import apply, approval, approved, document_for, fresh_seeds

MEMBERS = ("ada", "bob", "cyd", "dee")


def make_chain(heights: int = 3, members=MEMBERS, **options) -> Chain:
    chain = Chain(members, parameters=make_parameters(governance_threshold=min(3, len(members))), **options)
    for _ in range(heights):
        chain.produce()
    return chain


@pytest.fixture
def chain() -> Chain:
    return make_chain()


@contextmanager
def invalid(reason):
    with pytest.raises(ChiptraceError) as caught:
        yield
    assert caught.value.reason == reason, str(caught.value)


def recover(chain: Chain, *args, **changed) -> recovery.Opened:
    return apply(chain, approved(chain, document_for(chain, *args, **changed)))


# ---- the mark ---------------------------------------------------------------------------------------------


def test_a_recovered_chain_goes_on_with_its_new_set_and_says_so_for_ever(chain):
    before = chain.record(state.VALIDATORS_KEY, ValidatorsRecord).current
    opened = recover(chain, reason="fire")
    assert chain.info.validators == chain.info.next_validators == opened.validators
    assert chain.info.next_due_ms == 0  # the first block is due at once
    chain.produce()
    # (1) In the block's bytes.
    carried = Block.FromString(chain.app.store.block(4))
    header = block.decode_header(carried.header)
    assert carried.recovery == opened.data
    assert header.recovery == recovery_mark(chain.chain_id, opened.data)
    assert header.validators_hash == block.validators_hash(chain.chain_id, opened.validators)
    assert header.next_validators_hash == header.validators_hash
    # (2) In the state.
    record = chain.record(state.recovery_key(3), RecoveryRecord)
    assert record == RecoveryRecord(
        height=3,
        document=opened.hash,
        block_hash=header.parent_hash,
        members=MEMBERS,
        governance_threshold=3,
        validators_before=block.validators_hash(chain.chain_id, before),
        validators=opened.validators,
        reason="fire",
        signed_ms=opened.document.signed_ms,
    )
    assert chain.record(state.RECOVERIES_KEY, RecoveriesRecord).heights == [3]
    # (3) In the histories of those who approved, and of the keys.
    for name in MEMBERS:
        entry = chain.entries(state.member_key(name))[-1]
        assert (entry.kind, entry.height, entry.digest) == (EntryKind.RECOVERY, 4, opened.hash)
    for validator in opened.validators.validators:
        key = chain.record(state.signer_key(validator.key), KeyRecord)
        assert (key.role, key.member) == (Role.VALIDATOR, validator.member)
    # (4) Where a light client looks: the last header of the old set, then the first of the new one.
    found = {item.height: item for item in chain.app.store.boundaries(0, 10)}
    assert list(found) == [3, 4]
    assert (found[3].recovery, found[4].recovery) == (b"", opened.data)
    assert chain.app.views.signed_header(4).recovery == opened.data
    # Nothing follows it around, and it survives the node's restarts.
    chain.produce()
    assert not Block.FromString(chain.app.store.block(5)).recovery
    chain.restart()
    assert chain.record(state.recovery_key(3), RecoveryRecord) == record
    assert chain.prove(state.recovery_key(3)).keys[0].value == codec.encode(record)


def test_heights_are_judged_by_the_set_that_was_theirs(chain):
    old = [validator.key for validator in chain.info.validators.validators]
    opened = recover(chain, MEMBERS)
    chain.produce()
    new = [validator.key for validator in opened.validators.validators]
    for height, wanted in ((1, old), (3, old), (4, new), (5, new), (6, new)):
        found = state.validators_at(chain.app.store, height)
        assert [validator.key for validator in found.validators] == wanted, height
    assert chain.record(state.VALIDATORS_KEY, ValidatorsRecord).starts == [1, 4]


@pytest.mark.parametrize("change_at", [2, 3], ids=["in force at the first lost height", "after it"])
def test_a_set_that_was_to_come_is_forgotten(change_at):
    chain = make_chain(0)
    while chain.height < change_at - 1:
        chain.produce()
    fewer = [Validator(key=key_of(name, "validator"), member=name) for name in reversed(MEMBERS)]
    assert chain.submit("ada", chain.govern(Change(set_validators=SetValidators(validators=fewer)))).ok
    while chain.height < 3:
        chain.produce()
    assert chain.record(state.VALIDATORS_KEY, ValidatorsRecord).starts == [1, change_at + 2]
    opened = recover(chain, MEMBERS)
    for _ in range(3):
        chain.produce()
        assert chain.info.validators == chain.info.next_validators == opened.validators
    assert chain.record(state.VALIDATORS_KEY, ValidatorsRecord).starts == [1, 4]
    assert chain.app.store.get(state.validator_set_key(5)) is None


def test_a_chain_that_never_had_a_block_can_be_recovered():
    chain = make_chain(0)
    recover(chain, MEMBERS)
    chain.produce()
    chain.produce()
    assert chain.record(state.RECOVERIES_KEY, RecoveriesRecord).heights == [0]
    assert [item.height for item in chain.app.store.boundaries(0, 10)] == [1]


def test_a_chain_can_be_recovered_again(chain):
    recover(chain, MEMBERS)
    chain.produce()
    chain.produce()
    recover(chain, MEMBERS, "again")
    chain.produce()
    assert chain.record(state.RECOVERIES_KEY, RecoveriesRecord).heights == [3, 5]
    assert chain.record(state.VALIDATORS_KEY, ValidatorsRecord).starts == [1, 4, 6]


def test_governance_goes_on_after_it(chain):
    recover(chain, MEMBERS)
    chain.produce()
    change = Change(put_key=PutKey(key=key_of("new", "device"), member="ada", role=Role.DEVICE))
    assert chain.submit("bob", chain.govern(change)).ok


# ---- what makes a recovery one for this chain -----------------------------------------------------------------


def refused(chain: Chain, reason, data: bytes) -> None:
    """A node stopped at this tip does not take it, and its chain is as it was."""
    with invalid(reason):
        apply(chain, data)
    chain.restart()
    chain.produce()


def test_too_few_members(chain):
    refused(chain, Reason.NOT_ENOUGH_APPROVALS, approved(chain, document_for(chain), ("ada", "bob")))


def test_one_member_twice_is_one_member(chain):
    document = document_for(chain)
    approvals = [approval(document, name, chain.chain_id) for name in ("ada", "bob", "bob", "ada")]
    refused(
        chain,
        Reason.NOT_ENOUGH_APPROVALS,
        codec.encode(Recovery(document=document, approvals=approvals)),
    )


def test_a_key_that_is_no_admin_key_of_the_state_at_the_height(chain):
    document = document_for(chain)
    good = [approval(document, name, chain.chain_id) for name in ("ada", "bob", "cyd")]
    seed = seed_of("dee", "operator")
    signature = hashes.sign(seed, Purpose.RECOVERY, chain.chain_id, document)
    stranger = Signature(key=hashes.public_key(seed), signature=signature)
    data = codec.encode(Recovery(document=document, approvals=[*good, stranger]))
    refused(chain, Reason.UNKNOWN_KEY, data)


def test_an_admin_key_that_was_replaced_before_the_height(chain):
    replaced = Change(put_member=PutMember(id="ada", name="Ada Ltd", admin_keys=[key_of("ada", "admin two")]))
    assert chain.submit("bob", chain.govern(replaced)).ok
    refused(chain, Reason.UNKNOWN_KEY, approved(chain, document_for(chain)))


def test_the_approval_of_a_proposal_is_none_of_a_recovery_and_the_other_way_round(chain):
    document = document_for(chain)
    approvals = [approval(document, name, chain.chain_id, Purpose.PROPOSAL) for name in MEMBERS]
    refused(chain, Reason.BAD_SIGNATURE, codec.encode(Recovery(document=document, approvals=approvals)))
    proposal = chain.govern(Change(set_validators=SetValidators())).govern.proposal
    signed = [approval(proposal, name, chain.chain_id, Purpose.RECOVERY) for name in MEMBERS]
    result = chain.submit("ada", Operation(govern=Govern(proposal=proposal, approvals=signed)))
    assert result.reason == Reason.BAD_SIGNATURE


def test_an_approval_of_another_document(chain):
    other = document_for(chain, nonce=bytes(15) + b"\x01")
    approvals = [approval(other, name, chain.chain_id) for name in MEMBERS]
    data = codec.encode(Recovery(document=document_for(chain), approvals=approvals))
    refused(chain, Reason.BAD_SIGNATURE, data)


def test_another_chain(chain):
    other = Chain(MEMBERS, name="other", parameters=make_parameters(governance_threshold=3))
    for _ in range(3):
        other.produce()
    refused(chain, Reason.WRONG_CHAIN, approved(chain, document_for(chain, chain_id=other.chain_id)))


def test_another_block_of_that_height(chain):
    refused(chain, Reason.BAD_RECOVERY, approved(chain, document_for(chain, block_hash=bytes(32))))


def test_another_state_after_it(chain):
    refused(chain, Reason.BAD_RECOVERY, approved(chain, document_for(chain, app_hash=bytes(32))))


def test_a_height_to_come_waits_for_its_block_and_is_judged_then(chain):
    ahead = make_chain(5)
    good = approved(ahead, document_for(ahead))
    assert ahead.chain_id == chain.chain_id
    apply(chain, good)
    chain.produce()
    assert chain.info.recovery is None
    chain.produce()
    assert chain.info.recovery is not None
    chain.produce()
    assert chain.record(state.RECOVERIES_KEY, RecoveriesRecord).heights == [5]
    # One that turns out to be for another block stops the node where it belongs.
    late = make_chain(3)
    apply(late, approved(ahead, document_for(make_chain(5), block_hash=bytes(32))))
    late.produce()
    with invalid(Reason.BAD_RECOVERY):
        late.produce()


def test_a_height_that_was_passed_would_fork_the_chain(chain):
    data = approved(chain, document_for(chain))
    chain.produce()  # the old set has decided height 4 after all
    refused(chain, Reason.RECOVERY_CONFLICT, data)


def test_it_is_not_replayed_at_a_later_height(chain):
    opened = recover(chain, MEMBERS)
    chain.produce()
    chain.produce()
    with invalid(Reason.BAD_RECOVERY):
        recovery.check(chain.app.store, standing(chain), opened)


def standing(chain: Chain) -> recovery.Standing:
    info = chain.info
    return recovery.Standing(info.chain_id, info.height, info.time_ms, info.block_hash, info.app_hash)


# ---- two recoveries -------------------------------------------------------------------------------------------


def test_two_recoveries_for_one_height_are_not_given_to_one_node(chain):
    first, second = (approved(chain, document_for(chain, salt=salt)) for salt in ("one", "two"))
    with invalid(Reason.RECOVERY_CONFLICT):
        apply(chain, first, second)


def test_a_node_that_went_through_one_refuses_the_other(chain):
    first, second = (approved(chain, document_for(chain, salt=salt)) for salt in ("one", "two"))
    apply(chain, first)
    chain.produce()
    with invalid(Reason.RECOVERY_CONFLICT):
        apply(chain, second)
    apply(chain, first)


def test_a_node_that_applied_one_does_not_vote_for_the_block_of_the_other(chain):
    other = make_chain()
    first, second = (approved(chain, document_for(chain, salt=salt)) for salt in ("one", "two"))
    apply(chain, first)
    # The same set and another reason: only the document tells them apart.
    again = approved(chain, document_for(chain, salt="one", reason="another reason"))
    apply(other, again)
    with invalid(Reason.RECOVERY_CONFLICT):
        chain.app.process_proposal(other.propose(), other.now_ms)
    apply(other, second)
    with invalid(Reason.BAD_VALIDATORS):
        chain.app.process_proposal(other.propose(), other.now_ms)


# ---- the block that carries it ------------------------------------------------------------------------------------


def test_approvals_may_differ_from_those_at_hand_as_long_as_they_are_enough(chain):
    other = make_chain()
    document = document_for(chain)
    apply(chain, approved(chain, document, ("ada", "bob", "cyd")))
    apply(other, approved(chain, document, ("dee", "cyd", "bob", "ada")))
    chain.decide(other.propose())
    assert list(chain.record(state.recovery_key(3), RecoveryRecord).members) == list(MEMBERS)


def reworked(data: bytes, chain_id: bytes, carried: bytes, named: bytes | None = None) -> bytes:
    content = Block.FromString(data)
    header = block.decode_header(content.header)
    header.recovery = recovery_mark(chain_id, carried) if named is None else named
    content.header, content.recovery = codec.encode(header), carried
    return codec.encode(content)


def test_a_block_carries_exactly_what_was_applied(chain):
    document = document_for(chain)
    good = approved(chain, document)
    apply(chain, good)
    data, now_ms = chain.propose(), chain.now_ms

    def judged(carried: bytes, named: bytes | None = None) -> None:
        chain.app.process_proposal(reworked(data, chain.chain_id, carried, named), now_ms)

    judged(good)
    with invalid(Reason.RECOVERY_MISSING):
        judged(b"")
    with invalid(Reason.BAD_ROOT):
        judged(good, b"")
    with invalid(Reason.BAD_ROOT):
        judged(good, bytes(32))
    with invalid(Reason.BAD_ROOT):
        judged(approved(chain, document, ("ada", "bob", "cyd")), recovery_mark(chain.chain_id, good))
    with invalid(Reason.NOT_ENOUGH_APPROVALS):
        judged(approved(chain, document, ("ada", "bob")))
    with invalid(Reason.MALFORMED):
        judged(good + b"\x00")


def test_no_other_block_carries_one(chain):
    good = approved(chain, document_for(chain))
    data = chain.propose()
    with invalid(Reason.RECOVERY_MISSING):
        chain.app.process_proposal(reworked(data, chain.chain_id, good), chain.now_ms)
    with invalid(Reason.MALFORMED):
        chain.app.process_proposal(reworked(data, chain.chain_id, b"", b"\x01"), chain.now_ms)
    apply(chain, good)
    chain.produce()
    with invalid(Reason.RECOVERY_MISSING):
        chain.app.process_proposal(reworked(chain.propose(), chain.chain_id, good), chain.now_ms)


def test_without_it_the_chain_stops_where_it_was_lost(chain):
    other = make_chain()
    apply(other, approved(chain, document_for(chain)))
    with invalid(Reason.BAD_VALIDATORS):
        chain.app.process_proposal(other.propose(), other.now_ms)
    with pytest.raises(InvariantBroken):
        chain.app.finalize_block(other.propose())


def test_transactions_go_into_the_same_block(chain):
    recover(chain, MEMBERS)
    change = Change(put_key=PutKey(key=key_of("new", "device"), member="ada", role=Role.DEVICE))
    results = chain.produce([chain.transaction("ada", chain.govern(change))])
    assert results[0].ok
    assert chain.record(state.RECOVERIES_KEY, RecoveriesRecord).heights == [3]


@pytest.mark.parametrize("approvers", [None, MEMBERS[:3]], ids=["gone", "other approvals"])
def test_a_store_whose_last_block_lost_its_recovery_does_not_open(chain, approvers):
    document = document_for(chain)
    apply(chain, approved(chain, document))
    chain.produce()
    content = Block.FromString(chain.app.store.block(4))
    content.recovery = b"" if approvers is None else approved(chain, document, approvers)
    row = rows.block_row(4)
    chain.kv.write([rows.sealed(row, codec.encode(content))])
    with pytest.raises(StoreError):
        chain.restart()


# ---- the set ---------------------------------------------------------------------------------------------------


def test_below_four_only_where_the_genesis_says_dev(chain):
    refused(chain, Reason.BAD_VALIDATORS, approved(chain, document_for(chain, MEMBERS[:3])))
    small = make_chain(members=("ada",))
    recover(small, ("ada",))
    small.produce()
    assert len(small.info.validators.validators) == 1
    assert VALIDATORS_MIN == 4


@pytest.mark.parametrize("role", ["validator", "operator", "admin"])
def test_a_key_that_the_chain_has_seen_is_no_new_one(chain, role):
    validators = RecoveryDocument.FromString(document_for(chain)).validators
    validators[2].key = key_of("cyd", role)
    refused(chain, Reason.BAD_CHANGE, approved(chain, document_for(chain, validators=validators)))


def test_validators_are_of_members(chain):
    validators = RecoveryDocument.FromString(document_for(chain)).validators
    validators[0].member = "eve"
    refused(chain, Reason.UNKNOWN_MEMBER, approved(chain, document_for(chain, validators=validators)))


def test_one_key_twice_and_too_many(chain):
    validators = RecoveryDocument.FromString(document_for(chain)).validators
    twice = [*validators, validators[0]]
    refused(chain, Reason.BAD_VALIDATORS, approved(chain, document_for(chain, validators=twice)))
    refused(chain, Reason.BAD_VALIDATORS, approved(chain, document_for(chain, validators=[])))
    many = [
        Validator(key=hashes.public_key(seed), member="ada")
        for seed in fresh_seeds(["ada"] * (VALIDATORS_MAX + 1))
    ]
    refused(chain, Reason.BAD_VALIDATORS, approved(chain, document_for(chain, validators=many)))
    recover(chain, validators=many[1:])
    chain.produce()


def test_a_key_of_small_order(chain):
    validators = RecoveryDocument.FromString(document_for(chain)).validators
    validators[0].key = bytes(32)
    refused(chain, Reason.KEY_NOT_VALID, approved(chain, document_for(chain, validators=validators)))


# ---- hostile bytes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"nonce": bytes(15)},
        {"chain_id": bytes(31)},
        {"block_hash": b""},
        {"app_hash": bytes(33)},
        {"replaces": bytes(1)},
        {"reason": ""},
        {"reason": "two\nlines"},
        {"reason": "x" * (recovery.REASON_BYTES_MAX + 1)},
        {"height": 2**64 - 1},
    ],
    ids=str,
)
def test_fields_out_of_bounds(chain, changed):
    document = document_for(chain, **changed)
    with invalid(Reason.BAD_RECOVERY):
        recovery.decode(codec.encode(Recovery(document=document)))


def test_more_approvals_than_are_read(chain):
    document = document_for(chain)
    many = [approval(document, "ada", chain.chain_id)] * 129
    with invalid(Reason.BAD_RECOVERY):
        recovery.decode(codec.encode(Recovery(document=document, approvals=many)))


def test_oversize():
    with pytest.raises(Malformed) as caught:
        recovery.decode(bytes(RECOVERY_BYTES_MAX + 1))
    assert caught.value.reason == Reason.OVERSIZE


CHAIN = make_chain()
GOOD = approved(CHAIN, document_for(CHAIN))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_flipped_byte_is_taken(data):
    place = data.draw(st.integers(0, len(GOOD) - 1))
    flipped = bytearray(GOOD)
    flipped[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ChiptraceError) as caught:
        recovery.check(CHAIN.app.store, standing(CHAIN), recovery.decode(bytes(flipped)))
    assert isinstance(caught.value, Malformed | Invalid)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=600))
def test_random_bytes_are_refused(data):
    with pytest.raises((Malformed, Invalid)):
        recovery.decode(data)


def test_the_name_of_a_recovery_does_not_depend_on_its_approvals(chain):
    document = document_for(chain)
    names = {recovery.decode(approved(chain, document, some)).hash for some in ((), MEMBERS, MEMBERS[:1])}
    assert names == {hashes.tagged_hash(Purpose.RECOVERY, chain.chain_id, document)}


def test_an_untouched_application_knows_no_recovery(chain):
    app = Application(chain.kv, chain.operations, chain.changes)
    assert app.info().recovery is None
    assert chain.record(state.RECOVERIES_KEY, RecoveriesRecord) is None
    assert make_genesis(MEMBERS).validators
    assert chain.record(state.member_key("ada"), MemberRecord).history.n == 1
