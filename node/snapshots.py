"""Snapshots as a node gives them: taken every so many heights, and served on the consensus port.

Taking reads the rows as they were after a height, in slices behind every answer on the reader's thread, with pauses as
long as the slices: neither agreement nor clients wait for it. A snapshot of height S is begun when S + 1 is decided,
so that what is offered is certified. Serving asks who calls, as every line between validators does, and answers each
caller one question at a time.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, TypeVar

import grpc

from ledger import snapshot
from ledger.errors import ChiptraceError, Invalid, InvariantBroken, StoreError
from ledger.limits import HEADERS_PER_REPLY_MAX, SNAPSHOTS_OFFERED_MAX
from ledger.snapshot import SideTables
from ledger.snapshots import SnapshotConnection
from node.calls import Context
from node.chain_host import ChainHost, signed_header
from node.snapshot_files import SnapshotFiles, SnapshotWriting
from proto.chiptrace.v1 import node_pb2_grpc
from proto.chiptrace.v1.consensus_pb2 import BoundaryReply, BoundaryRequest
from proto.chiptrace.v1.ledger_pb2 import Reason
from proto.chiptrace.v1.node_pb2 import (
    SnapshotChunkReply,
    SnapshotChunkRequest,
    SnapshotListReply,
    SnapshotListRequest,
    SnapshotOffer,
    SnapshotReply,
    SnapshotRequest,
)

_LOG: Final = logging.getLogger("chiptrace.snapshots")
SLICE_SECONDS: Final = 0.01  # of work between two pauses
Reply = TypeVar("Reply")
Caller = Callable[[Context], Awaitable[bytes]]


class SnapshotTaker:
    """Takes a snapshot of every height that is a multiple of `every`."""

    def __init__(
        self,
        host: ChainHost,
        files: SnapshotFiles,
        tables: SideTables,
        every: int,
        height_above: Callable[[int], Awaitable[int]],
    ) -> None:
        self._host = host
        self._files = files
        self._tables = tables
        self._every = every
        self._height_above = height_above

    async def run(self) -> None:
        """For ever. Raises StoreError when rows cannot be read: the node must stop."""
        taken = max(self._files.heights(), default=0)
        tip = self._host.info.height
        while True:
            due = (tip - 1) // self._every * self._every
            if due > taken:
                await self._take(due)
                taken = due
            tip = await self._height_above(max(tip, self._host.info.height))

    async def _take(self, height: int) -> None:
        try:
            view = await self._host.hold(height)
        except Invalid:
            return  # the node was that far behind: the next one will be in reach
        began = time.monotonic()
        try:
            pieces = snapshot.stream(view.rows, height, self._tables)
            chain_id = self._host.info.chain_id
            writing = await self._host.background(lambda: self._files.begin(chain_id, height))
            try:
                while await self._slice(writing, pieces):
                    pass
                await self._host.background(writing.finish)
                await self._host.background(self._files.drop_old)
            except BaseException:
                writing.abandon()
                raise
        except OSError as error:
            _LOG.error("no snapshot was taken", extra={"height": height, "cause": str(error)})
        else:
            seconds = round(time.monotonic() - began, 3)
            _LOG.info("snapshot taken", extra={"height": height, "bytes": writing.size, "seconds": seconds})
        finally:
            self._host.release(view)

    async def _slice(self, writing: SnapshotWriting, pieces: Iterator[bytes]) -> bool:
        """A few records, and as long a pause; False after the last one."""

        def some() -> bool:
            until = time.monotonic() + SLICE_SECONDS
            for piece in pieces:
                writing.write(piece)
                if time.monotonic() >= until:
                    return True
            return False

        began = time.monotonic()
        more = await self._host.background(some)
        await asyncio.sleep(time.monotonic() - began)
        return more


class SnapshotService(node_pb2_grpc.SnapshotsServicer):
    """Serves what `connection` lists. `fatal` is told of what must stop the node."""

    def __init__(
        self,
        host: ChainHost,
        connection: SnapshotConnection,
        caller: Caller,
        fatal: Callable[[BaseException], None],
    ) -> None:
        self._host = host
        self._connection = connection
        self._caller = caller
        self._fatal = fatal
        self._served: set[bytes] = set()  # callers whose question is being answered

    async def List(self, request: SnapshotListRequest, context: Context) -> SnapshotListReply:  # noqa: N802, ARG002
        def listed() -> SnapshotListReply:
            found = self._connection.list_snapshots()[:SNAPSHOTS_OFFERED_MAX]
            chain_id = self._host.info.chain_id
            offers = [
                SnapshotOffer(height=snapshot.decode_manifest(chain_id, manifest).height, id=id_)
                for id_, manifest in found
            ]
            return SnapshotListReply(offers=offers, height=self._host.info.height, base=self._host.base)

        return await self._answer(context, listed)

    async def Describe(self, request: SnapshotRequest, context: Context) -> SnapshotReply:  # noqa: N802
        def described() -> SnapshotReply:
            manifest = dict(self._connection.list_snapshots()).get(request.id)
            if manifest is None:
                raise Invalid("there is no such snapshot here any more", Reason.NOT_FOUND)
            height = snapshot.decode_manifest(self._host.info.chain_id, manifest).height
            last, head, opening = self._host.certified(height)
            return SnapshotReply(
                manifest=manifest, last=signed_header(last), head=signed_header(head), opening=opening
            )

        return await self._answer(context, described)

    async def Boundaries(self, request: BoundaryRequest, context: Context) -> BoundaryReply:  # noqa: N802
        def found() -> BoundaryReply:
            above = max(1, request.from_height) - 1
            return BoundaryReply(
                headers=[signed_header(item) for item in self._host.boundaries(above, HEADERS_PER_REPLY_MAX)]
            )

        return await self._answer(context, found)

    async def Load(self, request: SnapshotChunkRequest, context: Context) -> SnapshotChunkReply:  # noqa: N802
        def loaded() -> SnapshotChunkReply:
            try:
                chunk = self._connection.load_snapshot_chunk(request.id, request.index)
            except Invalid as error:
                if error.reason == Reason.BAD_PROOF:
                    _LOG.error("a snapshot here is damaged; delete it", extra={"cause": str(error)})
                raise
            return SnapshotChunkReply(chunk=chunk)

        return await self._answer(context, loaded)

    async def _answer(self, context: Context, question: Callable[[], Reply]) -> Reply:
        """The answer, given on the reader's thread behind every client's."""
        key = await self._caller(context)
        if key in self._served:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "one question at a time")
        self._served.add(key)
        try:
            return await self._host.background(question)
        except (StoreError, InvariantBroken) as error:
            self._fatal(error)
            raise
        except ChiptraceError as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error)[:200])
            raise
        finally:
            self._served.discard(key)
