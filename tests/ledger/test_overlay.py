from hypothesis import given
from hypothesis import strategies as st

from ledger.overlay import KEPT_VALUE_BYTES_MAX, KeptReader, MappingReader

KEYS = st.sampled_from([b"a", b"b", b"c", b"d", b"e"])
VALUES = st.one_of(st.none(), st.binary(max_size=2), st.just(b"x" * (KEPT_VALUE_BYTES_MAX + 1)))


class Counted(MappingReader):
    """Knows how often it was asked."""

    asked = 0

    def get(self, key: bytes) -> bytes | None:
        self.asked += 1
        return super().get(key)


@given(
    st.lists(st.one_of(KEYS, st.dictionaries(KEYS, VALUES, min_size=1, max_size=3)), max_size=60),
    st.integers(1, 4),
)
def test_what_is_kept_is_never_old(steps, values_max):
    values: dict[bytes, bytes | None] = {b"a": b"1"}
    kept = KeptReader(MappingReader(values).get, values_max)
    for step in steps:
        if isinstance(step, bytes):
            assert kept.get(step) == values.get(step)
        else:
            values.update(step)
            if len(step) % 2:
                kept.keep(step)
            else:
                kept.forget(step)
    assert [kept.get(key) for key in values] == list(values.values())


def test_what_was_read_last_is_not_read_again():
    below = Counted({b"a": b"1", b"b": b"2", b"c": b"x" * KEPT_VALUE_BYTES_MAX, b"d": b"", b"e": None})
    kept = KeptReader(below.get, 2)
    assert [kept.get(key) for key in (b"a", b"b", b"a", b"b", b"a")] == [b"1", b"2", b"1", b"2", b"1"]
    assert below.asked == 2
    kept.get(b"c")  # pushes out b, the longest unused
    kept.get(b"a")
    assert below.asked == 3
    kept.get(b"b")
    assert below.asked == 4
    assert kept.get(b"absent") is kept.get(b"absent") is None
    assert below.asked == 5


def test_large_values_are_not_kept():
    below = Counted({b"a": b"x" * (KEPT_VALUE_BYTES_MAX + 1)})
    kept = KeptReader(below.get)
    assert kept.get(b"a") == kept.get(b"a")
    assert below.asked == 2


def test_what_was_written_is_not_read():
    below = Counted({b"a": b"1"})
    kept = KeptReader(below.get, 2)
    kept.keep({b"a": b"2", b"b": None, b"c": b"x" * (KEPT_VALUE_BYTES_MAX + 1)})
    assert (kept.get(b"a"), kept.get(b"b"), below.asked) == (b"2", None, 0)
    kept.keep({b"d": b"4"})  # pushes out a, the longest unused
    kept.get(b"b")
    assert below.asked == 0
    kept.get(b"a")
    assert below.asked == 1
