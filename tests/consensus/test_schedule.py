from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from consensus.effects import EngineSettings
from consensus.schedule import CERTIFYING_WAIT_MS_MAX, Schedule, grace_ms, view_timeout_ms


@given(st.integers(1, 100_000), st.integers(1, 100), st.integers(1, 10_000))
def test_timeouts_grow_by_half_up_to_the_factor(base, factor, view):
    settings = EngineSettings(base_timeout_ms=base, timeout_factor_max=factor)
    wanted = base * min(Fraction(factor), Fraction(3, 2) ** (view - 1))
    assert view_timeout_ms(settings, view) == int(wanted)


def test_by_default_they_reach_eight_times_the_base():
    settings = EngineSettings()
    assert [view_timeout_ms(settings, v) for v in range(1, 9)] == [
        1000,
        1500,
        2250,
        3375,
        5062,
        7593,
        8000,
        8000,
    ]


@given(st.integers(1, 10_000), st.integers(0, 10_000), st.integers(1, 50))
def test_the_grace_is_shorter_than_the_view(base, grace, view):
    settings = EngineSettings(base_timeout_ms=base, grace_ms=grace)
    assert grace_ms(settings, view) < view_timeout_ms(settings, view) or grace_ms(settings, view) == 0
    assert grace_ms(settings, view) <= grace


def schedule(due=10_000, now=100):
    return Schedule(EngineSettings(resend_ms=1_000), due, 1, now, now)


def test_view_1_does_not_time_out_before_the_clock_starts():
    made = schedule()
    assert made.timeout_at_ms() is None
    assert made.next_ms() == 10_000
    assert not made.resend_due(9_999)
    assert made.start(5_000)
    assert not made.start(6_000)
    assert made.timeout_at_ms() == 6_000
    assert made.next_ms() == 6_000


def test_a_new_view_has_a_timer_of_its_own():
    made = schedule()
    made.start(5_000)
    made.enter(2, 5_500, 200)
    assert made.timeout_at_ms() == 7_000
    assert made.next_ms() == 5_700
    made.propose_at_ms = None
    made.timed_out = True
    assert made.timeout_at_ms() is None
    assert made.next_ms() == 6_500
    assert made.resend_due(6_500)


def test_entering_a_view_starts_the_clock():
    made = schedule()
    made.enter(3, 700, 0)
    assert made.started_ms == 700
    assert made.propose_at_ms is None


@given(st.integers(0, 10_000))
def test_what_only_certifies_waits_as_long_as_the_height_took_and_no_longer_than_that(took):
    made = schedule()
    assert made.certifying_wait_ms(made.due_ms) == 0  # never begun here: it was fetched
    made.start(5_000)
    assert made.certifying_wait_ms(5_000 + took) == min(took, CERTIFYING_WAIT_MS_MAX)
