"""Fetching a snapshot: whom to ask, the chunks of one snapshot from all who offer it, and the side directory.

One chunk at a time is asked of each peer, and few are kept that cannot be applied yet. Every chunk is checked as it
comes; who sends another, or none in time, is not asked again. A chunk for which all others wait is asked of another, too.
"""

import asyncio
import logging
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.message import Message

from bridge.anchor import Walk
from client.clock import now_ms
from client.keys import sync_directory
from ledger import snapshot
from ledger.block import decode_header
from ledger.errors import Invalid
from ledger.leveldb import LevelKV
from ledger.limits import HEADERS_PER_REPLY_MAX, SNAPSHOTS_OFFERED_MAX
from ledger.snapshot import SideTables
from ledger.snapshot_load import Anchor
from ledger.snapshots import SnapshotConnection
from node.config import PeerConfig
from node.snapshot_files import SnapshotFiles
from proto.chiptrace.v1.consensus_pb2 import BoundaryRequest
from proto.chiptrace.v1.ledger_pb2 import SnapshotManifest
from proto.chiptrace.v1.node_pb2 import (
    SnapshotChunkReply,
    SnapshotChunkRequest,
    SnapshotListReply,
    SnapshotListRequest,
    SnapshotReply,
    SnapshotRequest,
)
from proto.chiptrace.v1.node_pb2_grpc import SnapshotsStub

_LOG: Final = logging.getLogger("chiptrace.state_sync")
ANSWER_SECONDS: Final = 10.0  # for one answer; a chunk has 1 MiB
# Made up rows may take 15 times their size; whoever makes them up must not fill the disk of a node that would start.
ROOM_LEFT_BYTES_MIN: Final = 268_435_456
PATIENCE_SECONDS: Final = 1.0  # with one for whom all wait, before another is asked too
CHUNKS_AHEAD_MAX: Final = 8  # fetched and not yet applied, or on their way
T = TypeVar("T")


class Failed(Exception):
    """This peer's answer is of no use."""


class Peer:
    """One validator that may be asked, over a channel of its own."""

    def __init__(self, config: PeerConfig, channel: grpc.aio.Channel, hello: grpc.aio.Metadata) -> None:
        self.member = config.member
        self._stub: Any = SnapshotsStub(channel)
        self._hello = hello

    async def list(self) -> SnapshotListReply:
        """What it offers. Raises Failed, as all below."""
        reply: SnapshotListReply = await self._ask(self._stub.List, SnapshotListRequest())
        if len(reply.offers) > SNAPSHOTS_OFFERED_MAX:
            raise Failed(f"it offers {len(reply.offers)} snapshots")
        return reply

    async def describe(self, id_: bytes) -> SnapshotReply:
        """Manifest and headers of a snapshot."""
        reply: SnapshotReply = await self._ask(self._stub.Describe, SnapshotRequest(id=id_))
        return reply

    async def pass_boundaries(self, walk: Walk, height: int) -> None:
        """Takes the walk past every boundary it shows up to a height."""
        while True:
            request = BoundaryRequest(from_height=walk.trusted.latest_height + 1)
            reply = await self._ask(self._stub.Boundaries, request)
            found = [item for item in reply.headers if decode_header(item.header).height <= height]
            walk.pass_boundaries(found, now_ms())
            if len(found) < HEADERS_PER_REPLY_MAX:
                return

    async def load(self, id_: bytes, index: int) -> bytes:
        """One chunk, unchecked."""
        reply: SnapshotChunkReply = await self._ask(
            self._stub.Load, SnapshotChunkRequest(id=id_, index=index)
        )
        return reply.chunk

    async def _ask(self, method: Any, request: Message) -> Any:
        try:
            return await method(request, timeout=ANSWER_SECONDS, metadata=self._hello)
        except grpc.RpcError as error:
            raise Failed(f"{error.code().name}: {error.details()}") from None


class Loading:
    """The side directory and what is made of it. Its work is done on a thread of its own, one job at a time."""

    def __init__(
        self, directory: Path, genesis: bytes, tables: SideTables, thread: ThreadPoolExecutor
    ) -> None:
        self._directory = directory
        self._genesis = genesis
        self._tables = tables
        self._thread = thread
        self._kv: LevelKV | None = None
        self._connection: SnapshotConnection | None = None
        self._chain_id = b""
        self.manifest = SnapshotManifest()

    async def open(self, chain_id: bytes, anchor: Anchor, manifest: bytes) -> None:
        """An empty store for this snapshot. Raises as `offer_snapshot`."""

        def opening() -> None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._kv = LevelKV(self._directory)
            archive = SnapshotFiles(self._directory.parent / "snapshots")
            self._connection = SnapshotConnection(chain_id, archive, self._tables)
            self.manifest = self._connection.offer_snapshot(self._kv, anchor, self._genesis, manifest)

        self._chain_id = chain_id
        await self._run(opening)

    def check(self, index: int, chunk: bytes) -> None:
        """Returns only for the manifest's chunk. Raises Invalid."""
        snapshot.check_chunk(self._chain_id, self.manifest, index, chunk)

    async def apply(self, index: int, chunk: bytes) -> None:
        """The next chunk. Raises Malformed, Invalid when the snapshot is refused, Failed when it takes too much room."""
        connection = self._connection
        if shutil.disk_usage(self._directory).free < ROOM_LEFT_BYTES_MIN:
            raise Failed(f"less than {ROOM_LEFT_BYTES_MIN} bytes of room are left")
        if connection is not None:
            await self._run(lambda: connection.apply_snapshot_chunk(index, chunk))

    async def close(self) -> None:
        """Closes the whole store; all of it is on the disk."""

        def closing() -> None:
            if self._kv is not None:
                self._kv.close()
            sync_directory(self._directory)

        await self._run(closing)

    async def abandon(self) -> None:
        """Throws everything away."""

        def clearing() -> None:
            if self._kv is not None:
                self._kv.close()
            shutil.rmtree(self._directory, ignore_errors=True)

        await self._run(clearing)

    async def _run(self, job: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, job)


class Fetching:
    """The chunks of one snapshot, from all who offer it."""

    def __init__(self, id_: bytes, loading: Loading, peers: Sequence[Peer]) -> None:
        self._id = id_
        self._loading = loading
        self._peers = list(peers)  # of use, and not asked at the moment
        self._tasks: dict[asyncio.Task[bytes], tuple[int, Peer]] = {}
        self._fetched: dict[int, bytes] = {}
        self._missing: list[int] = []  # asked for in vain: to be asked for again, first
        self._asked = 0  # up to here
        self._applied = 0

    async def run(self) -> None:
        """Until the last chunk is applied. Raises Failed when nobody is left to ask, Malformed and Invalid when
        the contents are refused."""
        count = len(self._loading.manifest.chunks)
        try:
            while self._applied < count:
                self._ask(count)
                if not self._tasks and self._applied not in self._fetched:
                    raise Failed("nobody is left who gives it")
                if self._tasks and self._applied not in self._fetched:
                    done, _ = await asyncio.wait(
                        self._tasks, timeout=PATIENCE_SECONDS, return_when=asyncio.FIRST_COMPLETED
                    )
                    # All wait for one answer: who is slow on purpose must not set the pace.
                    if not done and self._peers and self._awaited().count(self._applied) == 1:
                        self._ask_for(self._applied)
                    for task in done:
                        self._took(task)
                chunk = self._fetched.pop(self._applied, None)
                if chunk is not None:
                    await self._loading.apply(self._applied, chunk)
                    self._applied += 1
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ask(self, count: int) -> None:
        while self._peers and len(self._awaited()) + len(self._fetched) < CHUNKS_AHEAD_MAX:
            if self._missing:
                index = self._missing.pop(0)
            elif self._asked < count:
                index = self._asked
                self._asked += 1
            else:
                break
            self._ask_for(index)

    def _awaited(self) -> list[int]:
        """Chunks on their way that are still of use."""
        return [index for index, _ in self._tasks.values() if index >= self._applied]

    def _ask_for(self, index: int) -> None:
        peer = self._peers.pop(0)
        self._tasks[asyncio.create_task(peer.load(self._id, index))] = (index, peer)

    def _took(self, task: asyncio.Task[bytes]) -> None:
        """A chunk that is the manifest's is kept, and its sender asked again; anyone else is not."""
        index, peer = self._tasks.pop(task)
        try:
            chunk = task.result()
            self._loading.check(index, chunk)
        except (Failed, Invalid) as error:
            _LOG.warning("chunk refused", extra={"peer": peer.member, "chunk": index, "cause": str(error)})
            if index >= self._applied and index not in self._fetched and index not in self._awaited():
                self._missing.append(index)
            return
        if index >= self._applied:
            self._fetched[index] = chunk
        self._peers.append(peer)
