import pytest

from ledger import block
from ledger.admission import Repeated, Repetitions, VerifiedTransactions, check_expiry, keys_named
from ledger.errors import Invalid
from ledger.limits import TRANSACTION_VALIDITY_MS_MAX
from proto.chiptrace.v1.ledger_pb2 import (
    Capture,
    Change,
    Event,
    Field,
    List,
    Operation,
    PutKey,
    Reason,
    Role,
    TransactionBody,
    Value,
)
from tests.ledger import toy_tables as toy
from tests.ledger.chain_fixture import Chain, key_of, seed_of


@pytest.fixture
def chain():
    return Chain(operations=toy.OPERATIONS, changes=toy.CHANGES)


@pytest.mark.parametrize(
    "until, reason",
    [
        (999, Reason.EXPIRED),
        (0, Reason.EXPIRED),
        (1_000, None),
        (1_000 + TRANSACTION_VALIDITY_MS_MAX, None),
        (1_001 + TRANSACTION_VALIDITY_MS_MAX, Reason.NOT_YET_VALID),
        (2**64 - 1, Reason.NOT_YET_VALID),
    ],
)
def test_a_body_is_valid_for_an_hour_at_most(until, reason):
    body = TransactionBody(valid_until_ms=until)
    if reason is None:
        check_expiry(body, 1_000)
    else:
        with pytest.raises(Invalid) as refusal:
            check_expiry(body, 1_000)
        assert refusal.value.reason == reason


# ---- repetition -----------------------------------------------------------------------------------------


def take(chain, *transactions):
    repetitions = Repetitions(chain.app.store, chain.now_ms)
    return [repetitions.take(block.decode_transaction(chain.chain_id, data)) for data in transactions]


def test_one_key_is_taken_once_by_a_member_whichever_of_its_keys_signs(chain):
    key = b"k" * 16
    ada = chain.transaction("ada", toy.put("a"), idempotency_key=key)
    device = chain.transaction("ada", toy.put("b"), idempotency_key=key, role="device")
    bob = chain.transaction("bob", toy.put("a"), idempotency_key=key)
    assert take(chain, ada, bob) == [b"mada", b"mbob"]
    for pair in ((ada, ada), (ada, device), (bob, device, ada)):
        with pytest.raises(Invalid) as refusal:
            take(chain, *pair)
        assert refusal.value.reason == Reason.REPEATED


def test_what_was_decided_is_named(chain):
    key = b"k" * 16
    first = chain.transaction("ada", toy.put("a"), idempotency_key=key)
    other = chain.transaction("ada", toy.put("b"), idempotency_key=key, role="device")
    chain.produce([chain.transaction("bob", toy.put("b")), first])
    first_id = block.decode_transaction(chain.chain_id, first).id
    for data, same in ((first, True), (other, False)):
        with pytest.raises(Repeated) as refusal:
            take(chain, data)
        found = refusal.value
        assert (found.reason, found.same) == (Reason.REPEATED, same)
        assert (found.first.transaction, found.first.height, found.first.index) == (first_id, 1, 1)


def test_a_refused_transaction_has_used_its_key_too(chain):
    data = chain.transaction("ada", toy.special("refuse"))
    chain.produce([data])
    with pytest.raises(Repeated):
        take(chain, data)


def test_a_stranger_that_becomes_known_does_not_repeat_itself(chain):
    """Its idempotency key was taken for the key, not for its member; the id gives it away."""
    new = seed_of("ada", "second")
    data = chain.transaction("ada", toy.put("a"), seed=new)
    put = Change(put_key=PutKey(key=key_of("ada", "second"), member="ada", role=Role.OPERATOR))
    assert take(chain, data) == [b"k" + key_of("ada", "second")]
    (first, second) = chain.produce([data, chain.transaction("ada", chain.govern(put))])
    assert (first.reason, second.ok) == (Reason.UNKNOWN_KEY, True)
    with pytest.raises(Repeated):
        take(chain, data)


# ---- verified once ----------------------------------------------------------------------------------------


def checked(chain, count):
    return [
        block.decode_transaction(chain.chain_id, chain.transaction("ada", toy.put("a"))) for _ in range(count)
    ]


def test_the_oldest_verified_transactions_go_first(chain):
    cache = VerifiedTransactions(transactions_max=3)
    transactions = checked(chain, 5)
    for transaction in transactions:
        cache.put(transaction)
        cache.put(transaction)
    assert [cache.get(transaction.data) is not None for transaction in transactions] == [
        False,
        False,
        True,
        True,
        True,
    ]
    cache.drop(transactions)
    assert cache._bytes == 0


def test_verified_transactions_are_bounded_in_bytes(chain):
    transactions = checked(chain, 4)
    size = len(transactions[0].data)
    cache = VerifiedTransactions(bytes_max=2 * size)
    for transaction in transactions:
        cache.put(transaction)
    assert [cache.get(transaction.data) is not None for transaction in transactions] == [
        False,
        False,
        True,
        True,
    ]
    assert cache._bytes == 2 * size


def test_other_signatures_over_a_verified_body_are_not_verified(chain):
    (good,) = checked(chain, 1)
    cache = VerifiedTransactions()
    cache.put(good)
    forged = bytearray(good.data)
    forged[-1] ^= 1
    assert cache.get(bytes(forged)) is None
    with pytest.raises(Invalid) as refusal:
        cache.verify(chain.chain_id, cache.parse(chain.chain_id, bytes(forged)))
    assert refusal.value.reason == Reason.BAD_SIGNATURE
    assert cache.verify(chain.chain_id, cache.parse(chain.chain_id, good.data)) is good


# ---- keys by the bytes ----------------------------------------------------------------------------------


def event(count):
    items = [Value(text=f"urn:epc:id:sgtin:4012345.098765.{number}") for number in range(count)]
    return Event(seed=bytes(16), fields=[Field(name="epcList", value=Value(list=List(items=items)))])


def test_long_lists_count_as_the_keys_they_name(chain):
    def named(*events):
        operations = [Operation(capture=Capture(event=data)) for data in events]
        return keys_named(block.decode_transaction(chain.chain_id, chain.transaction("ada", *operations)))

    big = event(500).SerializeToString(deterministic=True)
    assert named(event(1).SerializeToString()) == 2
    assert named(big) == 502
    assert named(big, big) == 1_004
    assert named(b"\xff" * 600) == 2
