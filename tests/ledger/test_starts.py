import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import starts, state
from ledger.errors import InvariantBroken
from ledger.state import MappingReader, Overlay

SIZES = [1, 2, 255, 256, 257, 65_536, 65_537, 250_000, 10**19]


def empty() -> Overlay:
    return Overlay(MappingReader({}))


@given(st.data(), st.sampled_from(SIZES))
def test_the_nearest_number_at_or_below_is_found(data, size):
    numbers = st.integers(0, size - 1)
    overlay, plain = empty(), set()
    for number in data.draw(st.lists(numbers, max_size=30)):
        starts.add(overlay, "s", size, number)
        plain.add(number)
    near = [number + step for number in plain for step in (-1, 0, 1) if 0 <= number + step < size]
    for asked in [*near, *data.draw(st.lists(numbers, max_size=10))]:
        expected = max((number for number in plain if number <= asked), default=None)
        assert starts.at_or_below(overlay, "s", size, asked) == expected


@pytest.mark.parametrize("size", SIZES)
def test_a_few_keys_are_touched_however_many_numbers_there_are(size):
    overlay, rng = empty(), random.Random(size)
    numbers = (
        rng.sample(range(size), 500)
        if size < 10**9 and size > 500
        else [rng.randrange(size) for _ in range(500)]
    )
    levels = max(1, -(-(size - 1).bit_length() // 8))
    for number in numbers:
        kept = overlay.child(levels)
        starts.add(kept, "s", size, number)
        kept.merge()
        looked = overlay.child(2 * levels)
        assert starts.at_or_below(looked, "s", size, number) == number


def test_sets_of_different_names_are_apart():
    overlay = empty()
    starts.add(overlay, "a", 1000, 7)
    assert starts.at_or_below(overlay, "b", 1000, 900) is None
    assert overlay.changes.keys() == {state.starts_key("a", 0, 0), state.starts_key("a", 1, 0)}
    starts.add(overlay, "a", 1000, 7)
    assert len(overlay.changes) == 2


@pytest.mark.parametrize("number", [-1, 10])
def test_a_number_beyond_the_size_is_an_error_of_ours(number):
    with pytest.raises(InvariantBroken):
        starts.add(empty(), "s", 10, number)
    with pytest.raises(InvariantBroken):
        starts.at_or_below(empty(), "s", 10, number)


def test_a_set_with_a_hole_stops_the_node():
    overlay = empty()
    starts.add(overlay, "s", 1000, 300)
    overlay.delete(state.starts_key("s", 0, 1))
    with pytest.raises(InvariantBroken):
        starts.at_or_below(overlay, "s", 1000, 900)
