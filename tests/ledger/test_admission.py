import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import admission, block, rows
from ledger.admission import Repeated, Repetitions, UsedKeys, VerifiedTransactions, check_expiry, keys_named
from ledger.errors import Invalid
from ledger.kv import MemoryKV
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


def outcome(take, transaction):
    try:
        return take(transaction)
    except Invalid as error:
        return str(error)


# ---- repetition -----------------------------------------------------------------------------------------


def take(chain, *transactions):
    """As the node does, with keys kept in memory; without them the same must come of it."""
    repetitions = Repetitions(chain.app.store, chain.now_ms)
    for used in (chain.app._used, UsedKeys(chain.app.store._kv)):
        kept = Repetitions(chain.app.store, chain.now_ms, used=used)
        for data in transactions:
            found = block.decode_transaction(chain.chain_id, data)
            assert outcome(kept.take, found) == outcome(repetitions.take, found)
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


# ---- keys kept in memory ----------------------------------------------------------------------------------

HOUR = TRANSACTION_VALIDITY_MS_MAX


def stored(kv, height, time_ms, keys):
    """The list that a height writes of the idempotency rows it made."""
    used = [rows.idempotency_row(b"mada", key) for key in keys]
    row = rows.expiry_row(height)
    kv.write([(row, rows.seal(row, time_ms.to_bytes(8, "big") + rows.frame(used)))])


@given(
    st.lists(st.tuples(st.integers(1, HOUR), st.integers(0, 5)), max_size=25),
    st.integers(0, HOUR + 1),
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(0, 30),
    st.integers(0, 25),
)
@settings(deadline=None)
def test_no_key_of_the_last_hour_is_ever_called_fresh(heights, later, per_part, parts, read, opened_at):
    """Whatever the heights, the bounds, and the height at which the node was started again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(admission, "_USED_BYTES", 64)
        patch.setattr(admission, "_USED_MASK", 63)
        patch.setattr(admission, "_USED_PER_PART", per_part)
        patch.setattr(admission, "_USED_PARTS_MAX", parts)
        patch.setattr(admission, "_USED_READ_MAX", read)
        kv, now, uses = MemoryKV(), 1_000, []
        used = UsedKeys(kv)
        for height, (pause, count) in enumerate(heights, start=1):
            now += pause
            keys = [random.Random(f"{height} {n}").randbytes(16) for n in range(count)]
            uses.extend((now, key) for key in keys)
            used.add(now, keys)
            if keys:
                stored(kv, height, now, keys)
            if height == opened_at:
                used = UsedKeys(kv)
        now += later
        for time_ms, key in uses:
            assert now > time_ms + HOUR or not used.fresh(key, now)


def test_other_keys_are_fresh_nearly_always_and_after_the_hour_again():
    make, used = random.Random(1), UsedKeys(MemoryKV())
    keys = [make.randbytes(16) for _ in range(5_000)]
    used.add(1_000, keys)
    assert not any(used.fresh(key, 1_001) for key in keys)
    assert sum(used.fresh(make.randbytes(16), 1_001) for _ in range(5_000)) >= 4_990
    used.add(1_001 + HOUR, [])
    assert all(used.fresh(key, 1_001 + HOUR) for key in keys)


def test_what_was_not_read_at_the_start_is_not_called_fresh_for_an_hour(monkeypatch):
    monkeypatch.setattr(admission, "_USED_READ_MAX", 2)
    kv = MemoryKV()
    stored(kv, 1, 1_000, [b"a" * 16])
    stored(kv, 2, 2_000, [b"b" * 16, b"c" * 16])
    used = UsedKeys(kv)
    assert not used.fresh(b"z" * 16, 1_000 + HOUR)
    assert used.fresh(b"z" * 16, 1_001 + HOUR)
    assert not used.fresh(b"b" * 16, 1_001 + HOUR)


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


# ---- room -------------------------------------------------------------------------------------------------


def test_a_member_without_room_is_refused_before_its_signature_is_looked_at(chain):
    known = chain.transaction("ada", toy.put("a"))
    chain.app.check_transaction(known, chain.now_ms)
    fresh = chain.transaction("ada", toy.put("b"))
    gate = chain.app.gate(chain.now_ms, {"ada": "no room, wait"})
    for data in (fresh, fresh[:-1] + bytes([fresh[-1] ^ 1])):
        with pytest.raises(Invalid) as refusal:
            gate.check(data)
        assert (refusal.value.reason, str(refusal.value)) == (Reason.POOL_FULL, "no room, wait")
    assert gate.check(known).data == known  # it costs nothing any more, and the pool may have it already
    assert gate.check(chain.transaction("bob", toy.put("b")))
    repeated = chain.transaction("ada", toy.put("c"))
    chain.produce([repeated])
    with pytest.raises(Repeated):
        chain.app.gate(chain.now_ms, {"ada": "no room, wait"}).check(repeated)
