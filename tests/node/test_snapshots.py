"""When a node takes snapshots, and what it does when it cannot."""

import asyncio
import errno

import pytest

from ledger import snapshot
from ledger.errors import Invalid, StoreError
from ledger.limits import PROVABLE_HEIGHTS_KEPT
from node.snapshot_files import SnapshotFiles
from node.snapshots import SnapshotTaker
from proto.chiptrace.v1.ledger_pb2 import Reason
from tests.ledger import toy_tables as toy
from tests.ledger.chain_fixture import Chain
from tests.ledger.snapshot_fixture import Taken

EVERY = 5


class Host:
    """A chain that grows by one block whenever the taker waits for the next height."""

    def __init__(self, blocks):
        self.chain = Chain(operations=toy.OPERATIONS, changes=toy.CHANGES)
        self.blocks = blocks
        self.open = 0
        self.held = []

    @property
    def info(self):
        return self.chain.info

    async def hold(self, height):
        self.held.append((height, self.chain.height))
        view = self.chain.app.views.view(height)
        self.open += 1
        return view

    def release(self, view):
        self.open -= 1
        view.close()

    async def background(self, job):
        return job()

    async def height_above(self, height):
        while self.chain.height <= height:
            if not self.blocks:
                raise asyncio.CancelledError
            self.blocks -= 1
            self.chain.submit("ada", toy.put(f"n{self.chain.height % 7}", "x" * 500))
        return self.chain.height


def taken(run, host, files, every=EVERY):
    taker = SnapshotTaker(host, files, snapshot.NoSideTables(), every, host.height_above)
    with pytest.raises(asyncio.CancelledError):
        run(taker.run())
    assert host.open == 0
    return files.heights()


@pytest.mark.parametrize("blocks", [EVERY, EVERY + 1, 2 * EVERY + 1, 23])
def test_every_multiple_is_taken_as_soon_as_its_successor_is_decided(tmp_path, run, blocks):
    host = Host(blocks)
    expected = list(range(EVERY, blocks, EVERY))
    assert taken(run, host, SnapshotFiles(tmp_path)) == expected[::-1][:2]
    assert host.held == [(height, height + 1) for height in expected]


def test_what_is_taken_is_the_snapshot_of_that_height(tmp_path, run):
    host = Host(13)
    files = SnapshotFiles(tmp_path)
    assert taken(run, host, files) == [10, 5]
    assert files.manifests()[0] == Taken(host.chain, 10).manifest
    assert files.chunk(10, 0) == Taken(host.chain, 10).chunks[0]


def test_one_that_is_there_is_not_taken_again(tmp_path, run):
    host = Host(13)
    files = SnapshotFiles(tmp_path)
    taken(run, host, files)
    host.held.clear()
    host.blocks = 4
    taken(run, host, files)
    assert host.held == [(15, 16)]


def test_a_height_out_of_reach_is_left_out(tmp_path, run):
    """After a restart, or while the node catches up."""
    host = Host(3)
    for _ in range(PROVABLE_HEIGHTS_KEPT + 2 * EVERY):
        host.chain.produce()
    host.chain.restart()
    (tip, _) = (host.chain.height, host.chain.produce())
    taken(run, host, SnapshotFiles(tmp_path))
    assert all(height >= tip - EVERY for height, _ in host.held)


def test_a_full_disk_costs_the_snapshot_and_nothing_else(tmp_path, run, monkeypatch, caplog):
    host, files = Host(13), SnapshotFiles(tmp_path)
    real, failing = files.begin, [True, False]

    def begin(chain_id, height):
        writing = real(chain_id, height)
        if failing.pop(0):

            def full(_):
                raise OSError(errno.ENOSPC, "No space left on device")

            monkeypatch.setattr(writing, "write", full)
        return writing

    monkeypatch.setattr(files, "begin", begin)
    assert taken(run, host, files) == [10]
    assert "no snapshot was taken" in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10"]


def test_a_damaged_row_stops_the_node(tmp_path, run, monkeypatch):
    """What cannot be read for a snapshot cannot be believed for anything else."""
    host = Host(7)

    def damaged(*_):
        yield b"L"
        raise StoreError("row is not what was written there")

    monkeypatch.setattr(snapshot, "stream", damaged)
    taker = SnapshotTaker(host, SnapshotFiles(tmp_path), snapshot.NoSideTables(), EVERY, host.height_above)
    with pytest.raises(StoreError):
        run(taker.run())
    assert host.open == 0
    assert SnapshotFiles(tmp_path).heights() == []


def test_a_view_refused_is_tried_again_at_the_next_multiple(tmp_path, run):
    host, real = Host(13), Host.hold
    refused = [True, False]

    async def hold(height):
        if refused.pop(0):
            raise Invalid("256 views are open; close some or try again", Reason.POOL_FULL)
        return await real(host, height)

    host.hold = hold
    assert taken(run, host, SnapshotFiles(tmp_path)) == [10]
