"""LevelDB tells the truth or stops: corruption is seen, and nothing works after a failure."""

import gc
import os
import resource
import threading
from pathlib import Path

import pytest

from ledger import leveldb
from ledger.errors import StoreError
from ledger.leveldb import LevelKV

CONTENT = [(b"key %05d" % number, bytes([number % 251]) * 200) for number in range(3_000)]


def filled(path):
    kv = LevelKV(path)
    for at in range(0, len(CONTENT), 100):
        kv.write(CONTENT[at : at + 100])
    return kv


def poisoned(kv):
    for call in (
        lambda: kv.get(b"a"),
        lambda: list(kv.iterate(b"", None)),
        lambda: kv.write([]),
        kv.snapshot,
    ):
        with pytest.raises(StoreError, match="earlier"):
            call()


def flip(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 0x40
    path.write_bytes(data)


def test_a_flipped_byte_in_the_log_refuses_to_open(tmp_path):
    filled(tmp_path / "db").close()
    log = next((tmp_path / "db").glob("*.log"))
    flip(log, log.stat().st_size // 2)
    with pytest.raises(StoreError, match="Never run LevelDB's repair"):
        LevelKV(tmp_path / "db")


def test_a_flipped_byte_in_a_table_is_never_read_as_a_value(tmp_path):
    filled(tmp_path / "db").close()
    kv = LevelKV(tmp_path / "db")  # recovery moves the log into a table
    kv.close()
    table = max((tmp_path / "db").glob("*.ldb"), key=lambda path: path.stat().st_size)
    flip(table, table.stat().st_size // 2)
    kv = LevelKV(tmp_path / "db")
    with pytest.raises(StoreError, match="checksum"):
        for key, value in CONTENT:
            assert kv.get(key) == value
    poisoned(kv)
    kv.close()
    kv = LevelKV(tmp_path / "db")
    with pytest.raises(StoreError, match="checksum"):
        assert list(kv.iterate(b"", None)) == CONTENT
    poisoned(kv)
    kv.close()
    kv = LevelKV(tmp_path / "db")
    with pytest.raises(StoreError, match="checksum"):
        for key, value in CONTENT:
            assert kv.look(key) == value
    poisoned(kv)
    kv.close()
    kv = LevelKV(tmp_path / "db")
    snapshot = kv.snapshot()
    with pytest.raises(StoreError, match="checksum"):
        assert list(snapshot.iterate(b"", None, reverse=True)) == CONTENT[::-1]
    poisoned(kv)
    with pytest.raises(StoreError, match="earlier"):
        snapshot.get(b"key 00000")
    snapshot.close()
    kv.close()
    for of_snapshot in (False, True):
        kv = LevelKV(tmp_path / "db")
        snapshot = kv.snapshot()
        look_between = snapshot.looking() if of_snapshot else kv.look_between
        with pytest.raises(StoreError, match="checksum"):
            for item in CONTENT:
                assert look_between(item[0], item[0] + b"\0") == [item]
        poisoned(kv)
        with pytest.raises(StoreError, match="earlier"):
            look_between(b"key 00000", b"key 00001")
        kv.close()


def test_after_a_failed_write_nothing_is_acknowledged(tmp_path):
    # LevelDB itself would go on acknowledging synced writes on this handle, and lose them.
    kv = filled(tmp_path / "db")
    log = max((tmp_path / "db").glob("*.log"), key=lambda path: path.stat().st_size)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size + 10_000, hard))
    try:
        with pytest.raises(StoreError, match="writing failed"):
            kv.write([(b"too big", bytes(50_000))])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    poisoned(kv)
    with pytest.raises(StoreError, match="earlier writing failed"):
        kv.write([(b"later", b"1")])
    kv.close()


def test_a_batch_that_cannot_be_built_writes_nothing(tmp_path):
    kv = filled(tmp_path / "db")
    with pytest.raises(StoreError):
        kv.write([(b"first", b"1"), (b"second", "text")])
    poisoned(kv)
    kv.close()
    again = LevelKV(tmp_path / "db")
    assert again.get(b"first") is None
    again.close()


def test_a_directory_is_held_by_one(tmp_path):
    kv = filled(tmp_path / "db")
    with pytest.raises(StoreError, match="Another process holds this directory"):
        LevelKV(tmp_path / "db")
    assert kv.get(*CONTENT[0][:1]) == CONTENT[0][1]
    kv.close()


def test_a_path_that_is_no_directory(tmp_path):
    (tmp_path / "file").write_text("not a store")
    with pytest.raises(StoreError, match="opening failed") as error:
        LevelKV(tmp_path / "file")
    assert "Another process" not in str(error.value)


def test_closing_with_live_iterators_and_snapshots_is_safe(tmp_path):
    kv = filled(tmp_path / "db")
    snapshot = kv.snapshot()
    iterators = [
        kv.iterate(b"", None),
        snapshot.iterate(b"", None),
        snapshot.iterate(b"", None, reverse=True),
    ]
    for iterator in iterators:
        next(iterator)
    assert kv.look(CONTENT[0][0]) == CONTENT[0][1]
    kv.close()
    with pytest.raises(StoreError, match="closed"):
        kv.look(CONTENT[0][0])
    for iterator in iterators:
        with pytest.raises(StoreError, match="closed"):
            next(iterator)
    with pytest.raises(StoreError, match="closed"):
        snapshot.get(b"key 00000")
    snapshot.close()
    del iterators, iterator, snapshot, kv
    gc.collect()


def test_looks_outlive_neither_their_snapshot_nor_the_store(tmp_path):
    kv = filled(tmp_path / "db")
    first = [CONTENT[0]]
    ends = (CONTENT[0][0], CONTENT[1][0])
    snapshots = [kv.snapshot() for _ in range(64)]
    looks = [snapshot.looking() for snapshot in snapshots]
    assert all(look_between(*ends) == first for look_between in looks)
    kv.write([(key, None) for key, _ in CONTENT])
    snapshots[0].close()
    for look_between in (looks[0], snapshots[0].looking()):
        with pytest.raises(StoreError, match="the snapshot is closed"):
            look_between(*ends)
    assert looks[1](*ends) == first, "one that is closed is no failure of the store"
    assert kv.look_between(*ends) == []
    # Their iterators are dropped by whichever thread it is, while another reads and when the store is closed.
    dropping = threading.Thread(target=lambda: looks.__delitem__(slice(2, 50)))
    dropping.start()
    assert looks[1](*ends) == first
    dropping.join()
    kv.close()
    for look_between in (*looks[1:], snapshots[1].looking(), kv.look_between):
        with pytest.raises(StoreError, match="the store is closed"):
            look_between(*ends)
    looks.clear()
    del look_between
    gc.collect()
    snapshots[1].close()


def test_a_snapshot_closed_under_its_iterator_still_reads_what_it_saw(tmp_path):
    kv = filled(tmp_path / "db")
    snapshot = kv.snapshot()
    iterator = snapshot.iterate(b"", None)
    first = next(iterator)
    snapshot.close()
    kv.write([(key, None) for key, _ in CONTENT])
    assert [first, *iterator] == CONTENT
    kv.close()


def test_an_iterator_left_half_way_releases_what_it_holds(tmp_path):
    kv = filled(tmp_path / "db")
    for _ in range(50):
        next(kv.iterate(b"", None))
    kv.close()


def background_threads():
    """Number and CPU seconds of the threads that bear LevelDB's name."""
    tasks = Path("/proc/self/task").iterdir()
    named = [task for task in tasks if (task / "comm").read_text() == "LevelDB\n"]
    return {int(task.name): int((task / "schedstat").read_text().split()[0]) / 1e9 for task in named}


def test_what_leveldb_does_beside_the_writer_gives_way_to_it(tmp_path):
    kv = LevelKV(tmp_path / "db")
    ((thread, before),) = background_threads().items()
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, thread) == min(19, own + 10)
    for number in range(50):  # more than a write buffer, so that a table is written in the background
        kv.write([(b"%d" % number, os.urandom(1024 * 1024))])
    assert kv.look(b"0") == kv.get(b"0") is not None
    kv.close()
    assert any(table.stat().st_size > 2**24 for table in (tmp_path / "db").glob("*.ldb"))
    ((same, after),) = background_threads().items()
    assert same == thread
    assert after > before
    assert os.getpriority(os.PRIO_PROCESS, 0) == own


def test_a_system_that_knows_no_priority_of_a_thread_stops_no_store(tmp_path, monkeypatch):
    def denied(*_):
        raise PermissionError("not here")

    monkeypatch.setattr(leveldb.os, "setpriority", denied)
    leveldb._lower_background.__wrapped__()
    filled(tmp_path / "db").close()


def test_stores_that_write_the_same_do_not_compact_at_the_same_moment(tmp_path, monkeypatch):
    sizes, opened = [], leveldb.plyvel.DB

    def noted(*arguments, **options):
        sizes.append(options["write_buffer_size"])
        return opened(*arguments, **options)

    monkeypatch.setattr(leveldb.plyvel, "DB", noted)
    for _ in range(8):
        LevelKV(tmp_path / "db").close()
    assert all(24 << 20 <= size < 40 << 20 for size in sizes)
    assert len(set(sizes)) == 8
    assert max(sizes) - min(sizes) > 1 << 20  # by chance not so in 3 runs of 10^8
