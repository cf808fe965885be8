"""Kept views: what was asked about is served for a while, and every view is given back exactly once."""

from hypothesis import given, settings
from hypothesis import strategies as st

from node.kept_views import KEPT_MAX, KEPT_MS, KeptViews


class StubView:
    def __init__(self, height):
        self.height = height


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["commit", "ask", "open"]), st.integers(0, 90), st.integers(0, 9_000)))
)
def test_views_are_bounded_kept_for_a_minute_and_given_back_once(steps):
    views, now, height = KeptViews(), 0, -1  # the first to be provable is the genesis state, height 0
    held, given_back, asked_at = [], [], {}
    for step, number, passed in steps:
        now += passed
        dropped = []
        if step == "commit":
            height += 1
            held.append(StubView(height))
            dropped = views.replace_newest(held[-1], now)
        elif height >= 0 and step == "ask":
            found = views.ask(0, now)
            assert found.height == height
            asked_at.setdefault(height, now)
        elif height > 0 and step == "open":
            wanted = 1 + number % height
            if views.ask(wanted, now) is None:
                held.append(StubView(wanted))
                dropped = views.keep(held[-1], now)
                asked_at[wanted] = now
            else:
                asked_at.setdefault(wanted, now)
        given_back += dropped
        for view in dropped:
            expired = now >= asked_at.get(view.height, -KEPT_MS) + KEPT_MS
            assert expired or len(asked_at) > KEPT_MAX or view.height not in views.heights()
            asked_at.pop(view.height, None)
        assert len(views.heights()) <= KEPT_MAX + 1
    assert len({id(view) for view in given_back}) == len(given_back)
    assert not {id(view) for view in given_back} & {id(views.ask(h, now)) for h in views.heights()}


def test_a_height_asked_about_survives_many_newer_ones_and_then_goes():
    views = KeptViews()
    first = StubView(1)
    views.replace_newest(first, 0)
    assert views.ask(0, 0) is first
    for height in range(2, 200):
        assert first not in views.replace_newest(StubView(height), height)
    assert views.ask(1, KEPT_MS - 1) is first
    assert views.replace_newest(StubView(200), KEPT_MS)[0] is first
    assert views.ask(1, KEPT_MS) is None


def test_a_height_opened_as_it_became_the_newest_has_two_views_and_both_are_given_back():
    views = KeptViews()
    newest, opened = StubView(5), StubView(5)
    views.replace_newest(newest, 0)
    assert views.keep(opened, 0) == []
    assert views.replace_newest(StubView(6), 1) == [newest]
    assert views.ask(5, 2) is opened
    assert views.replace_newest(StubView(7), KEPT_MS)[0] is opened
