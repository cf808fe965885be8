"""The signing record: what was acknowledged is there after any crash; tears are cut, damage is refused."""

import contextlib
import errno
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import StoreError
from node import journal_file
from node.journal_file import JournalFile, read
from proto.chiptrace.v1.consensus_pb2 import NOTARIZE, JournalRecord, Vote

HEAD_BYTES = 24  # of the file


def vote(view, size=0):
    return JournalRecord(
        vote=Vote(kind=NOTARIZE, height=7, view=view, block_hash=b"h" * 32, signature=b"s" * size)
    )


def views(journal):
    return [record.vote.view for record in journal.records()]


def reopened(path):
    journal = JournalFile.open(path)
    try:
        return views(journal), journal.torn
    finally:
        journal.close()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 300), min_size=1, max_size=4), min_size=1, max_size=5), st.data())
def test_a_crash_at_any_byte_of_the_last_append_keeps_every_earlier_append(tmp_path_factory, appends, data):
    path = tmp_path_factory.mktemp("journal") / "journal"
    journal = JournalFile.create(path)
    for index, sizes in enumerate(appends):
        before = journal.bytes
        journal.append([vote(index, size) for size in sizes])
    journal.close()
    whole = path.read_bytes()
    cut = data.draw(st.integers(before, len(whole)))
    path.write_bytes(whole[:cut])

    found, torn = reopened(path)

    kept = appends if cut == len(whole) else appends[:-1]
    assert found == [index for index, sizes in enumerate(kept) for _ in sizes]
    assert (torn is not None) == (before < cut < len(whole))
    if torn:
        assert torn.read_bytes() == whole[before:cut]
    assert path.stat().st_size == (len(whole) if cut == len(whole) else before)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2), st.data())
def test_a_flipped_bit_before_the_last_append_is_damage_and_never_cut_away(tmp_path_factory, after, data):
    path = tmp_path_factory.mktemp("journal") / "journal"
    journal = JournalFile.create(path)
    journal.append([vote(1, 40)])
    end = journal.bytes
    for view in range(2, 3 + after):
        journal.append([vote(view, 40)])
    journal.close()
    damaged = bytearray(path.read_bytes())
    position = data.draw(st.integers(HEAD_BYTES, end - 1))
    damaged[position] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(damaged)

    with pytest.raises(StoreError, match="damaged"):
        JournalFile.open(path)
    assert path.read_bytes() == damaged


def test_bytes_that_imitate_a_frame_inside_a_torn_one_do_not_pass_for_damage(tmp_path):
    """A transaction could carry the bytes of a frame; the random marker keeps them from counting."""
    other = JournalFile.create(tmp_path / "other")
    other.append([vote(9)])
    imitation = (tmp_path / "other").read_bytes()[HEAD_BYTES:]
    journal = JournalFile.create(tmp_path / "journal")
    journal.append([JournalRecord(vote=Vote(signature=imitation))])
    journal.close()
    other.close()
    whole = (tmp_path / "journal").read_bytes()
    (tmp_path / "journal").write_bytes(whole[:-1])
    assert reopened(tmp_path / "journal")[0] == []


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(0, 200)), max_size=12), st.integers(0, 24 * 8 - 1))
def test_a_position_counts_all_that_was_ever_appended_and_its_head_is_checked(tmp_path_factory, steps, bit):
    """None: begun anew. The position grows with every append, is kept by a rotation, and found again at opening."""
    path = tmp_path_factory.mktemp("journal") / "journal"
    journal = JournalFile.create(path)
    appended = 0
    for size in steps:
        before = (journal.position, journal.bytes)
        if size is None:
            journal.rotate([])
            assert journal.position == before[0]
        else:
            journal.append([vote(1, size)])
            assert journal.position - before[0] == journal.bytes - before[1] > size
            appended += 1
    position = journal.position
    journal.close()
    assert (position > 0) == (appended > 0)
    again = JournalFile.open(path)
    assert again.position == position
    again.close()
    damaged = bytearray(path.read_bytes())
    damaged[bit // 8] ^= 1 << bit % 8
    path.write_bytes(damaged)
    with pytest.raises(StoreError, match="damaged"):
        JournalFile.open(path)


def test_reading_changes_nothing_and_tells_of_a_tail(tmp_path):
    path = tmp_path / "journal"
    journal = JournalFile.create(path)
    journal.append([vote(1)])
    journal.close()
    whole = path.read_bytes()
    path.write_bytes(whole + b"torn")
    content = read(path)
    assert (views(content), content.tail, content.whole) == ([1], b"torn", whole)
    assert path.read_bytes() == whole + b"torn"


def test_a_torn_tail_is_durable_aside_before_it_is_cut(tmp_path, monkeypatch):
    path = tmp_path / "journal"
    JournalFile.create(path).close()
    path.write_bytes(path.read_bytes() + b"torn")
    steps = []
    real = os.fsync

    def sync(handle):
        steps.append(os.readlink(f"/proc/self/fd/{handle}").rpartition("/")[2])
        real(handle)

    monkeypatch.setattr(os, "fsync", sync)
    JournalFile.open(path).close()
    assert steps == ["journal.torn-1.new", tmp_path.name, "journal.new", tmp_path.name]


@pytest.mark.parametrize("trouble", ["killed", "the disk"])
@pytest.mark.parametrize("lost", [0, 1, 30, 200])
def test_what_an_opened_record_tells_is_on_disk_though_its_append_never_was(
    tmp_path, monkeypatch, trouble, lost
):
    """The process ends between write and fsync, or that fails: what is read of the file then may be in memory alone, and
    the votes in it are sent. Only bytes that were synced since, in a file of their own, count: a failed fsync leaves pages
    that no later one of the same file writes."""
    path = tmp_path / "journal"
    journal = JournalFile.create(path)
    journal.append([vote(1)])
    before = path.stat().st_ino
    with monkeypatch.context() as patch:

        def end(_):
            raise KeyboardInterrupt if trouble == "killed" else OSError(errno.EIO, "Input/output error")

        patch.setattr(os, "fsync", end)
        with pytest.raises((KeyboardInterrupt, StoreError)):
            journal.append([vote(2)])
    size = path.stat().st_size
    os.truncate(path, max(journal.bytes, size - lost))

    synced = {}
    real = os.fsync

    def sync(handle):
        real(handle)
        synced[os.fstat(handle).st_ino] = os.fstat(handle).st_size

    monkeypatch.setattr(os, "fsync", sync)
    again = JournalFile.open(path)
    assert path.stat().st_ino != before
    assert synced[path.stat().st_ino] == path.stat().st_size == again.bytes
    assert views(again) == ([1, 2] if lost == 0 else [1])
    again.append([vote(3)])
    again.close()
    assert reopened(path)[0] == ([1, 2, 3] if lost == 0 else [1, 3])


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_disk_that_takes_nothing_is_no_damage_and_costs_the_record_nothing(tmp_path, monkeypatch, step):
    path = tmp_path / "journal"
    journal = JournalFile.create(path)
    journal.append([vote(1)])
    journal.close()

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(type(path) if step == "replace" else os, step, fail)
        with pytest.raises(OSError, match="No space left"):
            JournalFile.open(path)
    assert reopened(path) == ([1], None)


def test_a_record_is_written_anew_in_as_many_writes_as_the_system_takes(tmp_path, monkeypatch):
    """One write takes 2 GiB at most, which a height may fill that is open for hours."""
    with contextlib.closing(JournalFile.create(tmp_path / "record")) as journal:
        journal.append([vote(1, size=5_000)])
    whole, real = (tmp_path / "record").read_bytes(), os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[:1_000]))
    with contextlib.closing(JournalFile.open(tmp_path / "record")) as journal:
        assert views(journal) == [1]
    assert (tmp_path / "record").read_bytes() == whole


def test_each_torn_tail_gets_its_own_file_and_appending_goes_on(tmp_path):
    path = tmp_path / "journal"
    JournalFile.create(path).close()
    for number in (1, 2):
        path.write_bytes(path.read_bytes() + b"torn")
        journal = JournalFile.open(path)
        assert journal.torn == tmp_path / f"journal.torn-{number}"
        journal.append([vote(number)])
        journal.close()
    assert reopened(path) == ([1, 2], None)


def test_rotation_keeps_only_the_new_records_and_appends_after_them(tmp_path):
    path = tmp_path / "journal"
    journal = JournalFile.create(path)
    journal.append([vote(1)])
    journal.rotate([JournalRecord(height=8)])
    journal.append([vote(2)])
    journal.close()
    records = list(JournalFile.open(path).records())
    assert [record.WhichOneof("kind") for record in records] == ["height", "vote"]


@pytest.mark.parametrize("step", ["write", "fsync"])
def test_after_a_failed_append_the_handle_takes_nothing_more(tmp_path, monkeypatch, step):
    journal = JournalFile.create(tmp_path / "journal")
    journal.append([vote(1)])

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(StoreError, match="No space left"):
            journal.append([vote(2)])
    with pytest.raises(StoreError, match="takes nothing any more"):
        journal.append([vote(3)])
    with pytest.raises(StoreError, match="takes nothing any more"):
        journal.rotate([])


def test_a_short_write_is_a_failure(tmp_path, monkeypatch):
    journal = JournalFile.create(tmp_path / "journal")
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda handle, data: real(handle, data[:10]))
        with pytest.raises(StoreError, match="disk full"):
            journal.append([vote(2)])
    journal.close()
    assert reopened(tmp_path / "journal")[0] == []


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_failed_rotation_leaves_the_old_record_whole(tmp_path, monkeypatch, step):
    path = tmp_path / "journal"
    journal = JournalFile.create(path)
    journal.append([vote(1)])

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(type(path) if step == "replace" else os, step, fail)
        with pytest.raises(StoreError):
            journal.rotate([JournalRecord(height=8)])
    assert reopened(path) == ([1], None)


def test_append_is_durable_before_it_returns_and_in_one_fsync(tmp_path, monkeypatch):
    journal = JournalFile.create(tmp_path / "journal")
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_size))
    journal.append([vote(1), vote(2)])
    assert synced == [journal.bytes]


def test_a_key_has_one_signing_record(tmp_path):
    JournalFile.create(tmp_path / "journal").close()
    with pytest.raises(StoreError, match="exists already"):
        JournalFile.create(tmp_path / "journal")


def test_a_file_cut_inside_its_marker_is_damage(tmp_path):
    (tmp_path / "journal").write_bytes(b"1234")
    with pytest.raises(StoreError, match="damaged"):
        JournalFile.open(tmp_path / "journal")


def test_what_is_written_anew_at_opening_is_what_was_read(tmp_path, monkeypatch):
    path = tmp_path / "record"
    JournalFile.create(path).close()
    content = read(path)
    monkeypatch.setattr(journal_file, "read", lambda _: content)
    path.write_bytes(b"changed since")
    JournalFile.open(path).close()
    assert path.read_bytes() == content.whole
