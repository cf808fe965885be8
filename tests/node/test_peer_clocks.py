"""Clocks of validators: measured as NTP does, bounded by the way's length, and no liar moves more than its own figure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.peer_clocks import (
    ANSWER_EVERY_SECONDS,
    ANSWER_SECONDS_MAX,
    ANSWERS_KEPT,
    OFFSET_MS_WARNED,
    PeerClocks,
    warning,
)
from proto.chiptrace.v1.consensus_pb2 import ClockReply

U64_MAX = 2**64 - 1
BEGIN_MS = 1_800_000_000_000


class World:
    """True time, our clock (off by `ours`), and validators' answers."""

    def __init__(self, ours=0):
        self.time_ms = BEGIN_MS
        self.ours = ours
        self.clocks = PeerClocks(lambda: self.time_ms + self.ours, lambda: self.time_ms / 1_000)

    def exchange(self, key, offset=0, there=10, held=0, back=10):
        asked = self.clocks.probe(key).clock_probe.asked_ms
        self.time_ms += there
        heard = self.time_ms + offset
        self.time_ms += held
        told = self.time_ms + offset
        self.time_ms += back
        self.clocks.heard(key, ClockReply(asked_ms=asked, heard_ms=heard, told_ms=told))


@given(
    st.integers(-4_000_000, 4_000_000),
    st.integers(-4_000_000, 4_000_000),
    st.lists(
        st.tuples(st.integers(0, 900), st.integers(0, 50), st.integers(0, 900)), min_size=1, max_size=20
    ),
)
def test_an_offset_is_right_to_half_of_the_shortest_way(ours, theirs, ways):
    world = World(ours)
    for there, held, back in ways:
        world.exchange(b"a", theirs, there, held, back)
    found = world.clocks.clock(b"a")
    shortest = min(there + back for there, _, back in ways[-ANSWERS_KEPT:])
    assert abs(found.round_trip_ms - shortest) <= 1
    assert abs(found.offset_ms - (theirs - ours)) <= shortest / 2 + 2


@pytest.mark.parametrize("set_by", [-3_600_000, -300, 300, 3_600_000])
def test_a_clock_that_was_set_is_seen_by_the_next_answer_however_long_its_way(set_by):
    world = World()
    world.exchange(b"a", 0, 1, 0, 1)
    world.exchange(b"a", set_by, 100, 0, 100)
    assert world.clocks.clock(b"a").offset_ms == set_by
    world.exchange(b"a", set_by, 150, 0, 150)
    assert world.clocks.clock(b"a").round_trip_ms == 200


@given(st.integers(0, U64_MAX), st.integers(0, U64_MAX), st.integers(0, U64_MAX), st.booleans())
def test_whatever_a_validator_answers_it_moves_only_its_own_figure(asked, heard, told, honest_echo):
    world = World()
    for key in (b"b", b"c"):
        world.exchange(key, 40)
    question = world.clocks.probe(b"a").clock_probe.asked_ms
    world.time_ms += 20
    world.clocks.heard(
        b"a", ClockReply(asked_ms=question if honest_echo else asked, heard_ms=heard, told_ms=told)
    )
    assert abs(world.clocks.clock(b"b").offset_ms - 40) <= 10
    assert abs(world.clocks.median_ms([b"a", b"b", b"c"], 1) - 40) <= 40
    found = world.clocks.clock(b"a")
    if found is not None:
        assert honest_echo
        assert 0 <= told - heard <= 21
        assert abs(found.offset_ms) < 2**63  # it fits its field


def test_a_time_that_no_clock_shows_is_no_answer():
    world = World()
    asked = world.clocks.probe(b"a").clock_probe.asked_ms
    world.clocks.heard(b"a", ClockReply(asked_ms=asked, heard_ms=U64_MAX, told_ms=U64_MAX))
    assert world.clocks.clock(b"a") is None


def test_an_answer_that_was_not_asked_for_counts_nothing():
    world = World()
    world.clocks.heard(b"a", ClockReply(asked_ms=BEGIN_MS, heard_ms=BEGIN_MS, told_ms=BEGIN_MS))
    assert world.clocks.clock(b"a") is None
    asked = world.clocks.probe(b"a").clock_probe.asked_ms
    world.clocks.heard(b"b", ClockReply(asked_ms=asked, heard_ms=asked, told_ms=asked))
    assert world.clocks.clock(b"b") is None
    world.time_ms += 20
    world.clocks.heard(b"a", ClockReply(asked_ms=asked, heard_ms=asked, told_ms=asked))
    first = world.clocks.clock(b"a")
    assert first.round_trip_ms == 20
    world.time_ms += 50
    world.clocks.heard(b"a", ClockReply(asked_ms=asked, heard_ms=asked + 9_000, told_ms=asked + 9_070))
    assert world.clocks.clock(b"a") == first  # one answer to one question


def test_old_answers_count_no_more():
    world = World()
    world.exchange(b"a", 40)
    world.time_ms += int(ANSWER_SECONDS_MAX * 1_000) + 1
    assert world.clocks.clock(b"a") is None


def test_one_who_asks_again_and_again_is_answered_now_and_then():
    world = World()
    probe = World().clocks.probe(b"x").clock_probe
    answers = []
    for _ in range(1_000):
        answers.append(world.clocks.answer(b"a", probe))
        world.time_ms += 1
    given_ = [answer for answer in answers if answer is not None]
    assert 0 < len(given_) <= 1 + 1_000 / (ANSWER_EVERY_SECONDS * 1_000)
    assert world.clocks.answer(b"b", probe) is not None
    assert given_[0].clock_reply.asked_ms == probe.asked_ms


@given(st.integers(1, 10), st.integers(-500, 500), st.data())
def test_the_median_never_leaves_the_honest_ones_away_from_us(liars_max, ours, data):
    """At most `liars_max` lie, anyone may be silent: our clock is told to be no further off than an honest validator's
    clock is, on that side."""
    world = World()
    count = 3 * liars_max
    liars = data.draw(st.integers(0, liars_max))
    answering = data.draw(st.one_of(st.integers(0, count), st.just(2 * liars_max)))
    lie = data.draw(st.sampled_from([-(10**9), 10**9]))
    offsets = [lie + index if index < liars else ours + index for index in range(count)][:answering]
    for index, offset in enumerate(offsets):
        world.exchange(bytes([index]), offset, 0, 0, 0)
    found = world.clocks.median_ms([bytes([index]) for index in range(count)], liars_max)
    if found is None:
        assert answering < 2 * liars_max
    else:
        honest = offsets[liars:]
        assert min(0, *honest) <= found <= max(0, *honest)


@pytest.mark.parametrize("hour", [-3_600_000, 3_600_000])
def test_a_clock_that_is_an_hour_off_is_told_by_all_the_others(hour):
    world = World(ours=hour)
    for key in (b"a", b"b", b"c"):
        world.exchange(key)
    found = world.clocks.median_ms([b"a", b"b", b"c"], 1)
    assert abs(found + hour) <= 10
    assert ("ahead of" if hour > 0 else "behind") in warning(found)
    assert "timedatectl" in warning(found)


def test_a_small_offset_is_no_warning():
    for offset in (None, 0, OFFSET_MS_WARNED, -OFFSET_MS_WARNED):
        assert warning(offset) == ""
    assert warning(OFFSET_MS_WARNED + 1)
