"""The clock of the engine: never backwards, never standing still, whatever is done to the wall clock."""

from hypothesis import given
from hypothesis import strategies as st

from client import clock


@given(st.lists(st.tuples(st.integers(-10_000_000, 10_000_000), st.integers(0, 5_000)), max_size=30))
def test_it_follows_the_wall_clock_forward_and_time_itself_when_that_is_set_back(steps):
    wall, steady = [1_000_000_000], [50.0]
    patched = {"now_ms": lambda: wall[0]}
    real_now, real_monotonic = clock.now_ms, clock.time.monotonic
    clock.now_ms, clock.time.monotonic = patched["now_ms"], lambda: steady[0]
    try:
        ours = clock.SteadyClock()
        told = ours.now_ms()
        for set_by, passed_ms in steps:
            wall[0] += set_by + passed_ms
            steady[0] += passed_ms / 1_000
            now = ours.now_ms()
            assert now >= told + passed_ms - 1
            assert now >= wall[0]
            told = now
    finally:
        clock.now_ms, clock.time.monotonic = real_now, real_monotonic
