"""Snapshots on the disk: whole or not there, whatever fails or stops on the way."""

import os

import pytest

from ledger import snapshot
from ledger.errors import Invalid
from ledger.limits import SNAPSHOT_CHUNK_BYTES
from ledger.snapshots import SnapshotConnection
from node import snapshot_files
from node.snapshot_files import SNAPSHOTS_KEPT, SnapshotFiles
from proto.chiptrace.v1.ledger_pb2 import Reason, SnapshotManifest

CHAIN = bytes(range(32))
CHUNKS = [bytes([n]) * SNAPSHOT_CHUNK_BYTES for n in range(2)] + [b"the rest"]


def write(files, height, chunks=CHUNKS):
    writing = files.begin(CHAIN, height)
    for chunk in chunks:
        writing.write(chunk)
    writing.finish()
    files.drop_old()


def connection(files):
    return SnapshotConnection(CHAIN, files, snapshot.NoSideTables())


def test_what_was_written_is_listed_and_read_chunk_by_chunk(tmp_path):
    files = SnapshotFiles(tmp_path / "snapshots")
    assert files.manifests() == []
    write(files, 10)
    (manifest,) = files.manifests()
    found = snapshot.decode_manifest(CHAIN, manifest)
    assert (found.height, found.size) == (10, 2 * SNAPSHOT_CHUNK_BYTES + 8)
    assert list(found.chunks) == [snapshot.chunk_hash(CHAIN, chunk) for chunk in CHUNKS]
    giver = connection(SnapshotFiles(tmp_path / "snapshots"))
    ((id_, listed),) = giver.list_snapshots()
    assert (id_, listed) == (snapshot.manifest_id(CHAIN, manifest), manifest)
    assert [giver.load_snapshot_chunk(id_, index) for index in range(3)] == CHUNKS


def test_pieces_of_any_length_make_the_same_chunks(tmp_path):
    whole = b"".join(CHUNKS)
    files = SnapshotFiles(tmp_path)
    for height, size in ((1, 7), (2, 100_000), (3, SNAPSHOT_CHUNK_BYTES), (4, len(whole))):
        if size == 7:
            pieces = [whole[:7], whole[7:14], b"", whole[14:]]
        else:
            pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
        write(files, height, pieces)
        (manifest,) = (m for m in files.manifests() if SnapshotManifest.FromString(m).height == height)
        assert list(SnapshotManifest.FromString(manifest).chunks) == [
            snapshot.chunk_hash(CHAIN, chunk) for chunk in CHUNKS
        ]


def test_a_snapshot_too_long_to_be_loaded_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshot_files, "SNAPSHOT_CHUNKS_MAX", 2)
    writing = SnapshotFiles(tmp_path).begin(CHAIN, 1)
    writing.write(b"".join(CHUNKS))
    with pytest.raises(OSError, match="never loaded"):
        writing.finish()
    writing.abandon()
    write(SnapshotFiles(tmp_path), 2, CHUNKS[:2])


def test_the_newest_are_kept(tmp_path):
    files = SnapshotFiles(tmp_path)
    for height in (9, 10, 100, 99):
        write(files, height, [b"x"])
    assert files.heights() == [100, 99][:SNAPSHOTS_KEPT]
    write(files, 100, [b"another"])
    assert files.chunk(100, 0) == b"another"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["100", "99"]


def test_a_damaged_chunk_does_not_leave_and_is_said(tmp_path):
    files = SnapshotFiles(tmp_path)
    write(files, 10)
    giver = connection(files)
    ((id_, _),) = giver.list_snapshots()
    stream = tmp_path / "10" / "stream"
    data = bytearray(stream.read_bytes())
    data[SNAPSHOT_CHUNK_BYTES + 5] ^= 1
    stream.write_bytes(data)
    assert giver.load_snapshot_chunk(id_, 0) == CHUNKS[0]
    with pytest.raises(Invalid) as error:
        giver.load_snapshot_chunk(id_, 1)
    assert error.value.reason == Reason.BAD_PROOF
    stream.write_bytes(data[:100])
    with pytest.raises(Invalid):
        giver.load_snapshot_chunk(id_, 0)


def test_a_damaged_manifest_stands_in_the_way_of_no_other_snapshot(tmp_path):
    files = SnapshotFiles(tmp_path)
    for height in (10, 20):
        write(files, height)
    (tmp_path / "20" / "manifest").write_bytes(b"damaged")
    giver = connection(files)
    ((id_, manifest),) = giver.list_snapshots()
    assert SnapshotManifest.FromString(manifest).height == 10
    assert giver.load_snapshot_chunk(id_, 0) == CHUNKS[0]
    foreign = snapshot.encode_manifest(bytes(32), 20, 8, [bytes(32)])
    (tmp_path / "20" / "manifest").write_bytes(foreign)
    assert [data for _, data in giver.list_snapshots()] == [manifest]


@pytest.mark.parametrize("index", [-1, 3, 2**32 - 1])
def test_a_chunk_that_there_is_not_is_not_found(tmp_path, index):
    files = SnapshotFiles(tmp_path)
    write(files, 10)
    giver = connection(files)
    ((id_, _),) = giver.list_snapshots()
    for wrong in (id_, bytes(32), b""):
        with pytest.raises(Invalid) as error:
            giver.load_snapshot_chunk(wrong, index if wrong == id_ else 0)
        assert error.value.reason == Reason.NOT_FOUND


def test_a_snapshot_removed_meanwhile_is_not_found(tmp_path):
    files = SnapshotFiles(tmp_path)
    write(files, 10, [b"x"])
    giver = connection(files)
    ((id_, _),) = giver.list_snapshots()
    for height in (20, 30):
        write(files, height, [b"y"])
    with pytest.raises(Invalid) as error:
        giver.load_snapshot_chunk(id_, 0)
    assert error.value.reason == Reason.NOT_FOUND


def test_everything_is_synced_before_it_gets_its_name_and_the_name_after(tmp_path, monkeypatch):
    """A process that is killed cannot show a missing sync; a power cut would."""
    done = []
    real_sync, real_rename = os.fsync, os.rename

    def sync(handle):
        done.append(os.readlink(f"/proc/self/fd/{handle}"))
        real_sync(handle)

    def rename(source, target):
        done.append((str(source), str(target)))
        real_rename(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "rename", rename)
    writing = SnapshotFiles(tmp_path).begin(CHAIN, 10)
    writing.write(CHUNKS[2])
    writing.finish()
    place = str(tmp_path / "unfinished")
    assert done == [
        f"{place}/stream",
        f"{place}/manifest",
        place,
        (place, str(tmp_path / "10")),
        str(tmp_path),
    ]


class Stopped(BaseException):
    """The process is gone."""


def test_a_process_that_stops_at_any_step_leaves_the_whole_or_nothing(tmp_path, monkeypatch):
    """Every call into the system that writing makes is the last one, once before it is done and once after."""
    step = 0
    names = ["fsync", "rename"]
    real = {name: getattr(os, name) for name in names}
    outcomes = set()
    for after in (False, True):
        number = 0
        while True:
            place = tmp_path / f"{after}-{number}"
            write(SnapshotFiles(place), 10)
            step = 0

            def counted(name, *arguments, at=number, late=after, **named):
                nonlocal step
                step += 1
                if step - 1 == at and not late:
                    raise Stopped
                result = real[name](*arguments, **named)
                if step - 1 == at:
                    raise Stopped
                return result

            with monkeypatch.context() as patch:
                for name in names:
                    patch.setattr(
                        snapshot_files.os, name, lambda *a, name=name, **named: counted(name, *a, **named)
                    )
                try:
                    write(SnapshotFiles(place), 20)
                    done = True
                except Stopped:
                    done = False
            found = SnapshotFiles(place)
            assert found.heights() in ([10], [20, 10])
            outcomes.add(tuple(found.heights()))
            giver = connection(found)
            for id_, manifest in giver.list_snapshots():
                count = len(SnapshotManifest.FromString(manifest).chunks)
                assert [giver.load_snapshot_chunk(id_, index) for index in range(count)] == CHUNKS
            assert not (place / "unfinished").exists()
            if done:
                break
            number += 1
        assert number >= 4
    assert outcomes == {(10,), (20, 10)}


def test_what_cannot_be_written_is_given_up(tmp_path, monkeypatch):
    files = SnapshotFiles(tmp_path)
    write(files, 10)
    writing = files.begin(CHAIN, 20)
    writing.write(CHUNKS[0])
    writing.abandon()
    assert files.heights() == [10]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10"]
