import pytest

from ledger import block, codec, execute, state
from ledger.errors import InvariantBroken, Refused
from ledger.execute import execute_block
from ledger.limits import KEYS_PER_BLOCK_MAX, KEYS_PER_TRANSACTION_MAX, STATE_VALUE_BYTES_MAX
from ledger.state import MappingReader, Overlay
from proto.chiptrace.v1.ledger_pb2 import (
    AttestationRecord,
    Change,
    Header,
    KeyRecord,
    Operation,
    PutKey,
    Reason,
    Result,
    ReturnOffer,
    RevokeKey,
    Role,
    Validator,
    ValidatorsRecord,
)
from tests.ledger import toy_tables as toy
from tests.ledger.chain_fixture import Chain, key_of, seed_of


@pytest.fixture
def chain():
    return Chain(operations=toy.OPERATIONS, changes=toy.CHANGES)


def run(chain, *transactions, operations=toy.OPERATIONS):
    """Executes transactions on the chain's tip without storing anything."""
    checked = [block.decode_transaction(chain.chain_id, data) for data in transactions]
    header = Header(chain_id=chain.chain_id, height=chain.height + 1, time_ms=chain.now_ms)
    return execute_block(
        chain.app.store,
        chain.chain_id,
        header,
        checked,
        operations,
        toy.CHANGES,
        chain.app.store.log_leaf,
    )


def results(outcome):
    return [Result.FromString(data) for data in outcome.results]


def test_results_stand_in_order_and_hash_to_their_root(chain):
    transactions = [
        chain.transaction("ada", toy.put("a")),
        chain.transaction("bob", toy.special("refuse")),
        chain.transaction("cyd", toy.put("c")),
    ]
    outcome = run(chain, *transactions)
    assert [result.ok for result in results(outcome)] == [True, False, True]
    ids = [block.decode_transaction(chain.chain_id, data).id for data in transactions]
    assert [result.transaction for result in results(outcome)] == ids
    assert outcome.results_root == block.results_root(chain.chain_id, outcome.results)


def test_a_block_without_transactions_changes_nothing(chain):
    outcome = run(chain)
    assert (outcome.results, outcome.changes, outcome.entries, outcome.side) == ([], {}, [], [])


@pytest.mark.parametrize(
    "operation, reason",
    [
        (toy.special("refuse"), Reason.NOT_LIVE),
        (toy.special("malformed"), Reason.MALFORMED),
        (toy.special("touch", KEYS_PER_TRANSACTION_MAX), Reason.TOO_MANY_KEYS),
        (toy.special("huge", STATE_VALUE_BYTES_MAX + 1), Reason.OVERSIZE),
        (Operation(return_offer=ReturnOffer(part="p")), Reason.MALFORMED),  # no handler in this table
    ],
)
def test_a_refused_operation_takes_its_whole_transaction_with_it(chain, operation, reason):
    data = chain.transaction("ada", toy.put("a"), toy.put("b"), operation, toy.put("c"))
    outcome = run(chain, data)
    (result,) = results(outcome)
    assert (result.ok, result.reason, result.operation) == (False, reason, 2)
    assert (outcome.changes, outcome.entries, outcome.side) == ({}, [], [])


def test_refusals_leave_the_state_root_as_it_was(chain):
    chain.submit("ada", toy.put("a"))
    before = chain.state_root
    for kind in ("refuse", "malformed", "unheard of"):
        assert not chain.submit("ada", toy.put("a", "other"), toy.special(kind)).ok
        assert chain.state_root == before
    assert chain.submit("ada", toy.put("a", "other")).ok
    assert chain.state_root != before


def test_later_transactions_see_earlier_ones_and_not_refused_ones(chain):
    first = chain.transaction("ada", toy.put("a", "1"))
    refused = chain.transaction("ada", toy.put("a", "2"), toy.special("refuse"))
    last = chain.transaction("bob", toy.put("a", "3"))
    outcome = run(chain, first, refused, last)
    record = AttestationRecord.FromString(outcome.changes[toy.value_key("a")])
    assert (record.scope, record.history.n) == ("3", 2)
    assert [n for _, n, _ in outcome.entries] == [0, 1]
    assert outcome.side == [(b"toy/a", b"1"), (b"toy/a", b"3")]


def test_what_is_written_and_undone_is_no_change(chain):
    outcome = run(chain, chain.transaction("ada", toy.put("a"), toy.special("delete", name="a")))
    assert results(outcome)[0].ok
    assert outcome.changes == {}


def test_a_handler_that_crashes_stops_the_node(chain):
    with pytest.raises(InvariantBroken) as stop:
        run(chain, chain.transaction("ada", toy.special("crash")))
    assert "operation 0" in str(stop.value)


def test_a_finding_of_a_handler_stands_in_the_result(chain):
    (result,) = results(run(chain, chain.transaction("ada", toy.special("redundant"), toy.put("a"))))
    assert (result.ok, result.reason) == (True, Reason.REDUNDANT)


def test_roles_reach_the_handler(chain):
    (result,) = results(run(chain, chain.transaction("ada", toy.put("a"), role="auditor")))
    assert result.reason == Reason.ROLE_NOT_ALLOWED


# ---- signers --------------------------------------------------------------------------------------------


def test_an_unknown_signer_is_refused(chain):
    (result,) = results(run(chain, chain.transaction("eve", toy.put("a"))))
    assert (result.ok, result.reason) == (False, Reason.UNKNOWN_KEY)


@pytest.mark.parametrize(
    "fields, time_ms, valid",
    [
        ({}, 50, True),
        ({"valid_from_ms": 50}, 49, False),
        ({"valid_from_ms": 50}, 50, True),
        ({"valid_until_ms": 50}, 50, True),
        ({"valid_until_ms": 50}, 51, False),
        ({"revoked_at_ms": 10}, 50, False),
        ({"revoked_at_ms": 10, "compromised_since_ms": 5}, 50, False),
    ],
)
def test_a_key_signs_within_its_time_only(fields, time_ms, valid):
    key = key_of("ada")
    record = KeyRecord(key=key, member="ada", role=Role.OPERATOR, **fields)
    reader = MappingReader({state.signer_key(key): codec.encode(record)})
    if valid:
        assert execute.check_signer(reader, key, time_ms) == record
    else:
        with pytest.raises(Refused) as refusal:
            execute.check_signer(reader, key, time_ms)
        assert refusal.value.reason == Reason.KEY_NOT_VALID


def test_a_key_put_and_revoked_within_one_block_counts_from_its_place_on(chain):
    new = seed_of("ada", "second")
    key = PutKey(key=key_of("ada", "second"), member="ada", role=Role.OPERATOR)
    outcome = run(
        chain,
        chain.transaction("ada", toy.put("a"), seed=new),
        chain.transaction("ada", chain.govern(Change(put_key=key))),
        chain.transaction("ada", toy.put("a"), seed=new),
        chain.transaction("ada", chain.govern(Change(revoke_key=RevokeKey(key=key.key)))),
        chain.transaction("ada", toy.put("a"), seed=new),
    )
    reasons = [result.reason for result in results(outcome)]
    assert reasons == [Reason.UNKNOWN_KEY, 0, 0, 0, Reason.KEY_NOT_VALID]


# ---- limits of the block ----------------------------------------------------------------------------------


def test_a_block_touches_a_bounded_number_of_keys_refused_or_not(chain):
    size = KEYS_PER_TRANSACTION_MAX - 10
    touch = [chain.transaction("ada", toy.special("touch", size, name=f"t{n}")) for n in range(4)]
    refused = chain.transaction("ada", toy.special("touch", size, name="r"), toy.special("refuse"))
    reasons = [result.reason for result in results(run(chain, refused, *touch))]
    assert reasons == [Reason.NOT_LIVE, 0, *[Reason.TOO_MANY_KEYS] * 3]
    assert 2 * size < KEYS_PER_BLOCK_MAX < 3 * size


# ---- validators -----------------------------------------------------------------------------------------


def test_each_height_begins_with_the_set_that_was_next(chain):
    overlay = Overlay(chain.app.store)
    record = state.load(overlay, state.VALIDATORS_KEY, ValidatorsRecord)
    record.next.validators.append(Validator(key=key_of("eve"), member="ada"))
    record.next.in_force_from = 3
    state.save(overlay, state.VALIDATORS_KEY, record)
    execute.rotate_validators(overlay)
    after = state.load(overlay, state.VALIDATORS_KEY, ValidatorsRecord)
    assert after.current == after.next == record.next


def test_a_state_without_validators_stops_the_node():
    with pytest.raises(InvariantBroken):
        execute.rotate_validators(Overlay(MappingReader({})))
