"""The pool: bounded, in order, fair between members, and never holding what has left."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ledger.errors import Invalid
from node.pool import LANE_MIN, LANE_SECONDS, PASSED_ON_TIMES, TURN, Pace, Pool, Waiting
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
    def what_waits_is_found_by_its_bytes_and_nothing_else_is(self):
        for item in self.model.values():
            assert self.pool.waiting(item.data) is item
        assert len(self.pool._by_data) == len(self.model)

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


# ---- how much may wait ------------------------------------------------------------------------------------


class Chain:
    """Chains that decide so many transactions per second, a height every so often, on a virtual clock: members offer
    what they like to every node's pool, and what one lets in the others are told a moment later."""

    def __init__(self, nodes=1, per_second=1_000, height_ms=300):
        self.pools = [Pool() for _ in range(nodes)]
        self.per_second, self.height_ms = per_second, height_ms
        self.now_ms = 0.0
        self.number = 0
        self.admitted_ms = {}
        self.waits_ms = []
        self.refused = 0
        self.decided = 0

    def run(self, seconds, offered_per_second, lanes=("a",)):
        """Offered evenly, in turn to all nodes and by all members. What a height decides counts from now on only."""
        self.waits_ms, self.refused, self.decided = [], 0, 0
        until = self.now_ms + seconds * 1_000
        while self.now_ms < until:
            due = int(offered_per_second * (self.now_ms + self.height_ms) / 1_000)
            for _ in range(due - int(offered_per_second * self.now_ms / 1_000)):
                self.number += 1
                item = waiting(self.number, lanes[self.number % len(lanes)], 10, 10**9)
                home = self.pools[self.number // len(lanes) % len(self.pools)]
                try:
                    home.add(item)
                except Invalid:
                    self.refused += 1
                    continue
                self.admitted_ms[item.id] = self.now_ms
                for other in self.pools:
                    if other is not home:
                        with contextlib.suppress(Invalid):
                            other.add(item, passed_on=True)
            self.height()

    def height(self):
        """The nodes lead in turn."""
        leader = self.pools[int(self.now_ms / self.height_ms) % len(self.pools)]
        block = leader.take(int(self.per_second * self.height_ms / 1_000), 10**9)
        self.now_ms += self.height_ms
        for item in block:
            self.waits_ms.append(self.now_ms - self.admitted_ms[item.id])
        self.decided += len(block)
        for pool in self.pools:
            pool.remove(item.id for item in block)
            pool.decided(len(block), self.now_ms)


@given(st.integers(100, 4_000), st.floats(1.5, 5.0), st.integers(1, 4), st.integers(50, 600))
@settings(max_examples=25, deadline=None)
def test_under_any_overload_what_is_admitted_is_final_soon_and_the_chain_stays_busy(
    per_second, times, nodes, height_ms
):
    chain = Chain(nodes, per_second, height_ms)
    chain.run(20, per_second * times)
    chain.run(10, per_second * times)
    bound_s = PASSED_ON_TIMES * max(LANE_SECONDS, LANE_MIN / per_second) + 2 * height_ms / 1_000
    assert max(chain.waits_ms) <= bound_s * 1_000
    per_height = int(per_second * height_ms / 1_000)
    assert chain.decided >= 0.95 * per_height * 10_000 / height_ms
    assert chain.refused > 0


@given(st.integers(200, 3_000), st.floats(0.1, 0.9))
@settings(max_examples=20, deadline=None)
def test_a_chain_that_carries_its_load_refuses_nothing_even_after_it_was_slow(per_second, share):
    chain = Chain(2, per_second)
    chain.run(5, per_second * share)
    assert chain.refused == 0
    chain.per_second = per_second // 20  # something else needs the machine
    chain.run(10, per_second * share)
    chain.per_second = per_second
    chain.run(20, per_second * share)
    chain.run(10, per_second * share)
    assert chain.refused == 0


def test_a_flood_of_one_member_does_not_take_the_others_room():
    chain = Chain(4, 1_000)
    chain.run(20, 4_000, lanes=("flood",))
    for pool in chain.pools:
        pool.check_room("quiet", 10)


def test_what_comes_in_while_a_height_is_decided_says_nothing_of_the_pace():
    """Its proposal was drawn up before. A chain with a trickle, all of which each height takes, is as fast as it was."""
    pace = Pace(5_000.0)
    before = pace.per_second
    for height, (decided, left) in enumerate([(1, 3), (3, 2), (2, 2), (2, 4), (4, 1)] * 20, start=1):
        pace.decided(decided, left, 200.0 * height)
    assert pace.per_second >= before


def test_a_member_without_transactions_finds_room_whatever_others_have_waiting():
    """One whose own validator passes on what it likes, and any number of members that fill their shares."""
    for lanes in (["one"], ["one", "two", "three"]):
        pool = Pool()
        for first, lane in enumerate(lanes):
            with contextlib.suppress(Invalid):
                for number in range(10**6):
                    pool.add(waiting(first * 10**6 + number, lane), passed_on=True)
        assert pool.free(passed_on=False) <= 0
        for number in range(LANE_MIN):
            pool.add(waiting(10**8 + number, "quiet"))
        with pytest.raises(Invalid):
            pool.add(waiting(10**9, "quiet"))
    pool = Pool(transactions_max=4)
    for number in range(4):
        pool.add(waiting(number, str(number)))
    with pytest.raises(Invalid):
        pool.add(waiting(5, "quiet"))


def test_a_pause_of_an_idle_chain_says_nothing_of_its_pace():
    pace = Pace(5_000.0)
    before = pace.per_second
    pace.decided(100, 0, 1_000)
    pace.decided(200, 900, 61_000)  # a minute without work, then more than fits
    assert pace.per_second >= before
    pace.decided(200, 700, 61_200)
    assert 1_000 < pace.per_second < before  # 200 in 200 ms


def test_empty_heights_change_nothing_and_the_pace_stays_within_its_bounds():
    pace = Pace(3_000.0)
    before = pace.per_second
    for second in range(50):
        pace.decided(0, 0, 1_000.0 * second)
    assert pace.per_second == before
    for second in range(50, 100):
        pace.decided(1, 0, 1_000.0 * second)
    assert pace.per_second == 3_000.0
    for second in range(100, 200):
        pace.decided(1, 10, 1_000_000.0 * second)
    assert pace.per_second == 1.0


def test_who_has_no_room_is_named_with_when_to_try_again():
    pool = Pool()
    pool._pace.per_second = 1.0
    pool.decided(0, 1.0)
    for number in range(LANE_MIN):
        pool.add(waiting(number, "greedy"))
    assert list(pool.full_lanes(passed_on=False)) == ["greedy"]
    assert "send the same bytes again in 500 ms" in pool.full_lanes(passed_on=False)["greedy"]
    assert pool.full_lanes(passed_on=True) == {}
    for number in range(LANE_MIN, 2 * LANE_MIN):
        with pytest.raises(Invalid):
            pool.add(waiting(number, "greedy"))
        pool.add(waiting(number, "greedy"), passed_on=True)
    assert list(pool.full_lanes(passed_on=True)) == ["greedy"]
