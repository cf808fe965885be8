"""The clock of the engine: never backwards, never standing still, whatever is done to the wall clock."""

import subprocess
import sys
from pathlib import Path

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


def _told(offset):
    """Exit code, and what a fresh process says the time is, with this offset in its environment."""
    ended = subprocess.run(
        [sys.executable, "-c", "from client.clock import now_ms; print(now_ms())"],
        env={"PYTHONPATH": str(Path(clock.__file__).parents[1]), clock.OFFSET_VARIABLE: offset},
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout + ended.stderr


def test_a_process_may_be_given_a_wrong_clock():
    code, told = _told("-3600000")
    assert code == 0
    assert abs(int(told) - (clock.now_ms() - 3_600_000)) < 10_000


def test_an_offset_that_is_no_number_stops_the_process_and_says_so():
    code, told = _told("soon")
    assert (code, "CHIPTRACE_CLOCK_OFFSET_MS is 'soon'" in told) == (1, True)
