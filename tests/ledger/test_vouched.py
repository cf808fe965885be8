"""What another process vouches for: exactly the bytes that were asked about, and nothing that would be refused here."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import block
from ledger.admission import VerifiedTransactions
from ledger.errors import Invalid
from ledger.vouched import NOBODY, Vouched, judged, read_again
from proto.chiptrace.v1.ledger_pb2 import Reason, Transaction
from tests.ledger import toy_tables as toy
from tests.ledger.chain_fixture import Chain

CHAIN = Chain(operations=toy.OPERATIONS, changes=toy.CHANGES)


def transaction(key="a", member="ada"):
    return CHAIN.transaction(member, toy.put(key))


def forged(data):
    """The same with one bit of its signature turned over."""
    message = Transaction.FromString(data)
    signature = message.signatures[0].signature
    message.signatures[0].signature = signature[:-1] + bytes((signature[-1] ^ 1,))
    return message.SerializeToString(deterministic=True)


def test_what_is_vouched_for_is_what_would_be_found_good_here():
    data = transaction()
    good = block.decode_transaction(CHAIN.chain_id, data)
    assert judged(CHAIN.chain_id, data) == good.id
    assert read_again(CHAIN.chain_id, data) == good


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_no_byte_of_it_can_be_changed(place, difference):
    data = bytearray(transaction())
    data[place % len(data)] ^= difference
    assert judged(CHAIN.chain_id, bytes(data)) is None


def test_nor_is_another_chains_or_what_is_no_transaction():
    assert judged(b"\1" * 32, transaction()) is None
    assert judged(CHAIN.chain_id, b"") is None
    assert judged(CHAIN.chain_id, b"\xff" * 40) is None


def test_an_id_that_is_not_its_own_is_not_believed_and_is_said():
    data = transaction()
    vouched = Vouched({data: b"\1" * 32})
    assert vouched.checked(CHAIN.chain_id, data) is None
    assert vouched.contradicted
    unreadable = Vouched({b"\xff" * 40: b"\1" * 32})
    assert unreadable.checked(CHAIN.chain_id, b"\xff" * 40) is None
    assert unreadable.contradicted


def test_other_signatures_over_the_same_body_are_not_vouched_for():
    data = transaction()
    vouched = Vouched({data: judged(CHAIN.chain_id, data)})
    gate = CHAIN.app.gate(CHAIN.now_ms, {}, vouched)
    with pytest.raises(Invalid) as refused:
        gate.check(forged(data))
    assert refused.value.reason == Reason.BAD_SIGNATURE
    assert gate.check(data).data == data
    assert not vouched.contradicted


def test_a_member_without_room_is_refused_whoever_vouches_for_its_signature():
    data = transaction()
    vouched = Vouched({data: judged(CHAIN.chain_id, data)})
    with pytest.raises(Invalid) as refused:
        CHAIN.app.gate(CHAIN.now_ms, {"ada": "no room, wait"}, vouched).check(data)
    assert refused.value.reason == Reason.POOL_FULL


def test_what_is_vouched_for_is_verified_no_second_time(monkeypatch):
    chain = Chain(operations=toy.OPERATIONS, changes=toy.CHANGES)
    many = [chain.transaction("ada", toy.put(str(number))) for number in range(5)]
    proposed = chain.app.prepare_proposal(many, chain.now_ms)
    chain.restart()
    vouched = Vouched({data: judged(chain.chain_id, data) for data in many[:3]})
    counted = []
    real = block.verify_transaction
    monkeypatch.setattr(block, "verify_transaction", lambda *given: counted.append(given) or real(*given))
    chain.app.learn(vouched)
    chain.app.process_proposal(proposed, chain.now_ms)
    assert len(counted) == 2


def test_learning_keeps_to_the_bounds_of_what_is_remembered():
    many = [transaction(str(number)) for number in range(6)]
    verified = VerifiedTransactions(transactions_max=4)
    verified.learn(CHAIN.chain_id, Vouched({data: judged(CHAIN.chain_id, data) for data in many}))
    assert [verified.get(data) is not None for data in many] == [False, False, True, True, True, True]
    verified.learn(CHAIN.chain_id, NOBODY)
    assert verified.get(many[2]) is not None
