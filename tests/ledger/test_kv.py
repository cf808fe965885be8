"""MemoryKV and LevelKV are the same store, as far as the ledger can see."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import StoreError
from ledger.kv import MemoryKV
from ledger.leveldb import LevelKV
from tests.ledger.faulty_kv import Disk, Failure, FaultyKV

keys = st.binary(min_size=1, max_size=3)
changes = st.lists(st.tuples(keys, st.none() | st.binary(max_size=4)), max_size=8)
steps = st.lists(
    st.tuples(st.just("write"), changes)
    | st.tuples(st.just("snapshot"), st.none())
    | st.tuples(st.just("look"), st.tuples(keys, st.none() | keys, st.booleans())),
    max_size=15,
)


@pytest.fixture(params=["memory", "level"])
def store(request, tmp_path):
    found = MemoryKV() if request.param == "memory" else LevelKV(tmp_path / "db")
    yield found
    found.close()


def expected(model, start, stop, reverse):
    chosen = [(k, v) for k, v in sorted(model.items()) if k >= start and (stop is None or k < stop)]
    return chosen[::-1] if reverse else chosen


def run(kv, actions):
    model, snapshots = {}, []
    for action, argument in actions:
        if action == "write":
            kv.write(argument)
            for key, value in argument:
                if value is None:
                    model.pop(key, None)
                else:
                    model[key] = value
        elif action == "snapshot":
            snapshots.append((kv.snapshot(), dict(model)))
        else:
            start, stop, reverse = argument
            for view, content in [(kv, model), *snapshots]:
                assert list(view.iterate(start, stop, reverse)) == expected(content, start, stop, reverse)
                assert view.get(start) == content.get(start)
            assert kv.look(start) == model.get(start)
            # Many looks by one iterator, up and down.
            looks = [(kv.look_between, model), *((view.looking(), content) for view, content in snapshots)]
            for look_between, content in looks:
                for first, last in ((start, stop or b"\xff"), (b"", start), (start, start + b"\x10")):
                    assert look_between(first, last) == expected(content, first, last, False)
    for snapshot, content in snapshots:
        assert list(snapshot.iterate(b"", None)) == expected(content, b"", None, False)
        snapshot.close()
        snapshot.close()
    assert list(kv.iterate(b"", None)) == expected(model, b"", None, False)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_memory_does_what_a_sorted_dictionary_does(actions):
    run(MemoryKV(), actions)


@settings(max_examples=12, deadline=None)
@given(steps)
def test_leveldb_does_what_a_sorted_dictionary_does(actions):
    with tempfile.TemporaryDirectory() as folder:
        kv = LevelKV(Path(folder) / "db")
        run(kv, actions)
        content = list(kv.iterate(b"", None))
        kv.close()
        again = LevelKV(Path(folder) / "db")
        assert list(again.iterate(b"", None)) == content
        again.close()


def test_changes_of_one_batch_apply_in_order(store):
    store.write([(b"a", b"1"), (b"a", None), (b"b", None), (b"b", b"2")])
    assert list(store.iterate(b"", None)) == [(b"b", b"2")]
    store.write([])


def test_an_iterator_does_not_see_later_writes(store):
    store.write([(b"a", b"1"), (b"b", b"2")])
    found = store.iterate(b"", None)
    assert next(found) == (b"a", b"1")
    store.write([(b"b", None), (b"c", b"3")])
    assert list(found) == [(b"b", b"2")]


def test_a_closed_snapshot_refuses(store):
    store.write([(b"a", b"1")])
    snapshot = store.snapshot()
    look_between = snapshot.looking()
    assert look_between(b"a", b"b") == [(b"a", b"1")]
    snapshot.close()
    with pytest.raises(StoreError, match="closed"):
        snapshot.get(b"a")
    with pytest.raises(StoreError, match="closed"):
        list(snapshot.iterate(b"", None))
    with pytest.raises(StoreError, match="closed"):
        look_between(b"a", b"b")
    assert store.get(b"a") == b"1"


def test_a_closed_store_refuses(store):
    store.close()
    store.close()
    for call in (
        lambda: store.get(b"a"),
        lambda: store.look(b"a"),
        lambda: store.look_between(b"a", b"b"),
        lambda: list(store.iterate(b"", None)),
        lambda: store.write([]),
        store.snapshot,
    ):
        with pytest.raises(StoreError, match="closed"):
            call()


@pytest.mark.parametrize("mode, found", [(Failure.NOTHING, None), (Failure.ALL, b"2")])
def test_a_faulty_store_fails_once_and_for_all(mode, found):
    kv = FaultyKV(Disk(), fail_write=2, mode=mode)
    kv.write([(b"a", b"1")])
    with pytest.raises(StoreError):
        kv.write([(b"b", b"2")])
    for call in (
        lambda: kv.get(b"a"),
        lambda: list(kv.iterate(b"", None)),
        lambda: kv.write([]),
        kv.snapshot,
    ):
        with pytest.raises(StoreError):
            call()
    again = FaultyKV(kv.disk.after_power_cut())
    assert again.get(b"a") == b"1"
    assert again.get(b"b") == found
