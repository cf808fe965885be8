import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.quorum import index_of, leader, leader_index, quorum
from ledger.errors import InvariantBroken
from tests.consensus import chain


@given(st.integers(1, 1_000))
def test_two_quorums_share_an_honest_validator_and_the_honest_alone_are_one(n):
    faulty = (n - 1) // 3
    assert 2 * quorum(n) - n > faulty
    assert quorum(n) <= n - faulty


def test_no_set_is_empty():
    with pytest.raises(InvariantBroken):
        quorum(0)


@given(st.integers(1, 31), st.integers(1, 2**63), st.integers(1, 2**63))
def test_every_validator_leads_in_turn(n, height, view):
    assert {leader_index(n, height, view + turn) for turn in range(n)} == set(range(n))
    assert {leader_index(n, height + turn, view) for turn in range(n)} == set(range(n))


def test_leader_and_index_go_by_the_order_of_the_set():
    members = chain.validators(4)
    assert leader(members, 1, 1) == chain.key(2)
    assert [index_of(members, chain.key(i)) for i in range(5)] == [0, 1, 2, 3, None]
    assert index_of(members, None) is None
