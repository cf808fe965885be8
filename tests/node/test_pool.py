"""The pool: bounded, in order, fair between members, and never holding what has left."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ledger.errors import Invalid
from node.pool import TURN, Pool, Waiting
from proto.chiptrace.v1.ledger_pb2 import Reason


def waiting(number, lane="a", size=10, until=1_000):
    return Waiting(number.to_bytes(4, "big"), number.to_bytes(4, "big") + b"x" * (size - 4), lane, until)


class PoolAgainstAList(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.pool = Pool(transactions_max=20, bytes_max=400)
        self.model = {}
        self.number = 0

    @rule(lane=st.sampled_from("abc"), size=st.integers(4, 60), until=st.integers(0, 50))
    def add(self, lane, size, until):
        self.number += 1
        item = waiting(self.number, lane, size, until)
        held = sum(len(other.data) for other in self.model.values())
        in_lane = sum(other.lane == lane for other in self.model.values())
        of_lane = sum(len(other.data) for other in self.model.values() if other.lane == lane)
        fits = len(self.model) < 20 and held + size <= 400 and in_lane < 10 and of_lane + size <= 200
        if fits:
            assert self.pool.add(item)
            self.model[item.id] = item
            return
        with pytest.raises(Invalid) as refusal:
            self.pool.add(item)
        assert refusal.value.reason == Reason.POOL_FULL

    @rule(data=st.data())
    def add_again_changes_nothing(self, data):
        if self.model:
            assert not self.pool.add(data.draw(st.sampled_from(list(self.model.values()))))

    @rule(data=st.data())
    def remove(self, data):
        if self.model:
            item = data.draw(st.sampled_from(sorted(self.model)))
            self.pool.remove([item, b"unknown"])
            del self.model[item]

    @rule(time=st.integers(0, 50))
    def expire(self, time):
        gone = {key for key, item in self.model.items() if item.valid_until_ms < time}
        assert set(self.pool.expire(time)) == gone
        for key in gone:
            del self.model[key]

    @rule(count=st.integers(0, 30), size=st.integers(0, 500))
    def take_is_bounded_and_in_order_of_arrival_within_a_lane(self, count, size):
        taken = [item.data for item in self.pool.take(count, size)]
        assert len(taken) <= count
        assert sum(map(len, taken)) <= size
        for lane in "abc":
            arrived = [item.data for item in self.model.values() if item.lane == lane]
            mine = [data for data in taken if data in arrived]
            assert mine == arrived[: len(mine)]

    @invariant()
    def holds_what_the_model_holds(self):
        assert len(self.pool) == len(self.model)
        assert {item.id for item in self.pool.take(100, 10_000)} == set(self.model)


TestPool = PoolAgainstAList.TestCase
TestPool.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


@given(st.integers(1, 400), st.integers(1, 10))
@settings(max_examples=30)
def test_a_flood_of_one_member_leaves_room_in_the_block_for_the_others(flood, few):
    pool = Pool()
    for number in range(flood):
        pool.add(waiting(number, "flood"))
    for number in range(flood, flood + few):
        pool.add(waiting(number, "quiet"))
    block = [item.data for item in pool.take(2 * TURN, 1_000_000)]
    assert (
        sum(data == waiting(number, "quiet").data for number in range(flood, flood + few) for data in block)
        == few
    )


def test_one_member_may_hold_half_of_the_pool_only():
    pool = Pool(transactions_max=10)
    for number in range(5):
        pool.add(waiting(number, "greedy"))
    with pytest.raises(Invalid, match="greedy's share"):
        pool.add(waiting(6, "greedy"))
    assert pool.add(waiting(7, "other"))
