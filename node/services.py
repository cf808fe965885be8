"""The client port: every method decodes, asks, and encodes; nothing it answers needs to be believed.

What cannot be answered ends with a gRPC status and the stable reason code in the trailing metadata. How many calls a
client may hold, and how much of them is in memory, is for node/calls.py to say.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final, TypeVar

import grpc

from bridge.packet import received_row_key, sent_key, sent_row_key
from ledger import limits
from ledger.errors import ChiptraceError, Invalid, InvariantBroken, StoreError
from ledger.store import Store
from node.admission import Admission
from node.calls import REASON_METADATA, Context
from node.chain_host import ChainHost, signed_header
from node.config import ClientPortConfig
from node.node_status import NodeStatus
from proto.chiptrace.v1 import node_pb2_grpc
from proto.chiptrace.v1.consensus_pb2 import Certificate
from proto.chiptrace.v1.ledger_pb2 import Block, Entry, Reason
from proto.chiptrace.v1.node_pb2 import (
    BlockAtReply,
    BlockAtRequest,
    FollowReply,
    FollowRequest,
    HeadersReply,
    HeadersRequest,
    HistoriesReply,
    HistoriesRequest,
    HistoryItem,
    HistoryReply,
    HistoryRequest,
    LogLeavesReply,
    LogLeavesRequest,
    PacketItem,
    PacketsReply,
    PacketsRequest,
    ProvenKey,
    ProveReply,
    ProveRequest,
    StatusReply,
    StatusRequest,
    SubmitReply,
    SubmitRequest,
    TransactionReply,
    TransactionRequest,
)

_LOG: Final = logging.getLogger("chiptrace.services")
REPLY_BYTES_MAX: Final = limits.RPC_MESSAGE_BYTES_MAX // 2  # a list is cut off once it is longer
BLOCKS_READ_BYTES_MAX: Final = 4 * limits.BLOCK_BYTES_MAX  # for one list; then it is cut off too
ANSWER_SECONDS: Final = 0.5  # of a caller's deadline that are left for the answer itself
DETAIL_CHARACTERS_MAX: Final = 1_000  # of an error; gRPC refuses longer ones, reason and all
Reply = TypeVar("Reply")

WAITING: Final = frozenset({"/chiptrace.v1.Chain/Submit"})  # methods whose answer is waited for
_STATUS: Final = {
    Reason.MALFORMED: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.OVERSIZE: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.BAD_PROOF: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.HEIGHT_NOT_SERVED: grpc.StatusCode.OUT_OF_RANGE,
    Reason.PRUNED: grpc.StatusCode.OUT_OF_RANGE,
    Reason.POOL_FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.DISK_NEARLY_FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.NOT_SYNCED: grpc.StatusCode.UNAVAILABLE,
    Reason.SHUTTING_DOWN: grpc.StatusCode.UNAVAILABLE,
}


class ChainService(node_pb2_grpc.ChainServicer):
    """Serves one chain. `fatal` is told of what must stop the node."""

    def __init__(
        self,
        host: ChainHost,
        admission: Admission,
        status: NodeStatus,
        config: ClientPortConfig,
        fatal: Callable[[BaseException], None],
    ) -> None:
        self._host = host
        self._admission = admission
        self._status = status
        self._config = config
        self._fatal = fatal

    # ---- transactions -------------------------------------------------------------------------------------

    async def Submit(self, request: SubmitRequest, context: Context) -> SubmitReply:  # noqa: N802
        return await self._answer(context, self._submit(request, context))

    async def _submit(self, request: SubmitRequest, context: Context) -> SubmitReply:
        _check_count("transactions", len(request.transactions), limits.SUBMIT_TRANSACTIONS_MAX)
        seconds = self._config.wait_ms_max / 1_000
        remaining = context.time_remaining()
        if remaining is not None:
            seconds = max(0.0, min(seconds, remaining - ANSWER_SECONDS))
        outcomes = await self._admission.submit(request.transactions, seconds if request.wait else None)
        return SubmitReply(outcomes=outcomes)

    async def GetTransaction(self, request: TransactionRequest, context: Context) -> TransactionReply:  # noqa: N802
        def found(store: Store) -> TransactionReply:
            decided = store.transaction(request.id)
            if decided is None:
                raise Invalid(f"no decided transaction has the id {request.id.hex()}", Reason.NOT_FOUND)
            place = decided.place
            return TransactionReply(
                transaction=decided.data, height=place.height, index=place.index, result=decided.result
            )

        return await self._answer(context, self._host.read(found))

    # ---- heights --------------------------------------------------------------------------------------------

    async def GetStatus(self, request: StatusRequest, context: Context) -> StatusReply:  # noqa: N802, ARG002
        return await self._answer(context, self._status.reply())

    async def GetBlock(self, request: BlockAtRequest, context: Context) -> BlockAtReply:  # noqa: N802
        async def head() -> BlockAtReply:
            return BlockAtReply(head=await self._host.header(request.height))

        def found(store: Store) -> BlockAtReply:
            return BlockAtReply(
                block=store.block(request.height),
                certificate=Certificate.FromString(store.certificate(request.height)),
                results=store.results(request.height),
            )

        return await self._answer(context, head() if request.header_only else self._host.read(found))

    async def GetHeaders(self, request: HeadersRequest, context: Context) -> HeadersReply:  # noqa: N802
        async def headers() -> HeadersReply:
            found, more = await self._host.headers_above(request.from_height)
            return HeadersReply(headers=[signed_header(header) for header in found], more=more)

        return await self._answer(context, headers())

    async def GetLogLeaves(self, request: LogLeavesRequest, context: Context) -> LogLeavesReply:  # noqa: N802
        def found(store: Store) -> LogLeavesReply:
            _check_count("heights", len(request.heights), limits.LOG_LEAVES_MAX)
            return LogLeavesReply(leaves=[store.log_leaf_proof(h, request.size) for h in request.heights])

        return await self._answer(context, self._host.read(found))

    async def Follow(self, request: FollowRequest, context: Context) -> AsyncIterator[FollowReply]:  # noqa: N802
        try:
            height = request.from_height - 1 if request.from_height else self._host.info.height
            while True:
                tip = await self._status.height_above(height)
                while height < tip:
                    height += 1
                    yield FollowReply(
                        head=await self._host.header(height), results=await self._results(height)
                    )
        except ChiptraceError as error:
            await self._abort(context, error)

    async def _results(self, height: int) -> list[bytes]:
        return await self._host.read(lambda store: store.results(height))

    # ---- proofs -----------------------------------------------------------------------------------------------

    async def Prove(self, request: ProveRequest, context: Context) -> ProveReply:  # noqa: N802
        async def proven() -> ProveReply:
            state = await self._host.prove(list(request.keys), request.height)
            keys = [
                ProvenKey(
                    key=item.key, present=item.value is not None, value=item.value or b"", proof=item.proof
                )
                for item in state.keys
            ]
            return ProveReply(
                height=state.height,
                head=signed_header(state.head),
                opening=state.opening,
                keys=keys,
                last_leaf=state.last_leaf,
            )

        return await self._answer(context, proven())

    async def GetHistory(self, request: HistoryRequest, context: Context) -> HistoryReply:  # noqa: N802
        return await self._answer(context, self._host.read(lambda store: _history(store, request)))

    async def GetHistories(self, request: HistoriesRequest, context: Context) -> HistoriesReply:  # noqa: N802
        return await self._answer(context, self._host.read(lambda store: _histories(store, request)))

    async def GetPackets(self, request: PacketsRequest, context: Context) -> PacketsReply:  # noqa: N802
        return await self._answer(context, self._host.read(lambda store: _packets(store, request)))

    # ---- the same for all -------------------------------------------------------------------------------------

    async def _answer(self, context: Context, work: Awaitable[Reply]) -> Reply:
        """The answer, or the caller's error with its reason. What must stop the node does."""
        try:
            return await work
        except ChiptraceError as error:
            await self._abort(context, error)
            raise

    async def _abort(self, context: Context, error: ChiptraceError) -> None:
        if isinstance(error, StoreError | InvariantBroken):
            self._fatal(error)
            await context.abort(grpc.StatusCode.INTERNAL, "this node has failed and stops; ask another one")
        status = _STATUS.get(error.reason, grpc.StatusCode.FAILED_PRECONDITION)
        await context.abort(status, str(error)[:DETAIL_CHARACTERS_MAX], ((REASON_METADATA, error.code),))


def _check_count(what: str, count: int, count_max: int) -> None:
    if count > count_max:
        raise Invalid(f"{count} {what} are too many; ask for {count_max} at a time", Reason.OVERSIZE)


class _Transactions:
    """Transactions behind the entries of one reply. Each block is read once, and no more of them than a reply may cost."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._blocks: dict[int, Sequence[bytes]] = {}
        self._read = 0
        self.told: set[bytes] = set()  # ids
        self.spent = False  # one more block was too much for this reply

    def of(self, entry: Entry) -> bytes | None:
        """Empty for what no transaction made; None where one more block is too much for this reply."""
        place = self._store.place(entry.transaction)
        if place is None:
            if self._store.base > 1 and entry.height:
                self._store.block(entry.height)  # raises PRUNED below the base
            return b""
        if place.height not in self._blocks:
            if self._read > BLOCKS_READ_BYTES_MAX:
                self.spent = True
                return None
            block = self._store.block(place.height)
            self._read += len(block)
            self._blocks[place.height] = Block.FromString(block).transactions
        return self._blocks[place.height][place.index]


def _history(
    store: Store, request: HistoryRequest, transactions: _Transactions | None = None, *, once: bool = False
) -> HistoryReply:
    """`once`: no transaction that `transactions` told in this reply before."""
    limit = min(request.limit or limits.HISTORY_ITEMS_MAX, limits.HISTORY_ITEMS_MAX)
    entries = store.entries(request.subject, request.from_n, limit + 1)
    transactions = transactions or _Transactions(store)
    reply = HistoryReply()
    size = 0
    told: set[bytes] = set()  # here
    for data in entries[:limit]:
        item = HistoryItem(entry=data)
        entry = Entry.FromString(data) if request.with_transactions else Entry()
        again = once and (entry.transaction in told or entry.transaction in transactions.told)
        if request.with_transactions and not again:
            found = transactions.of(entry)
            if found is None:
                break
            item.transaction = found
        size += item.ByteSize()
        if reply.items and size > REPLY_BYTES_MAX:
            break
        reply.items.append(item)
        if item.transaction:
            told.add(entry.transaction)
    reply.more = len(reply.items) < len(entries)
    transactions.told |= told  # not before: what is refused on the way was told to nobody
    return reply


def _histories(store: Store, request: HistoriesRequest) -> HistoriesReply:
    _check_count("subjects", len(request.subjects), limits.HISTORIES_PER_REPLY_MAX)
    reply, transactions = HistoriesReply(), _Transactions(store)
    size, full = 0, False
    for subject in request.subjects:
        if full or size > REPLY_BYTES_MAX // 2:  # and the last one has its own bound
            reply.histories.add(more=True)
            continue
        asked = HistoryRequest(subject=subject, with_transactions=request.with_transactions)
        try:
            found = _history(store, asked, transactions, once=True)
        except Invalid as error:
            if error.reason != Reason.PRUNED:
                raise
            # The others are not refused for its sake; asked for alone, it is, with the reason.
            reply.histories.add(more=True)
            continue
        full = transactions.spent and not found.items
        size += found.ByteSize()
        reply.histories.append(found)
    return reply


def _packets(store: Store, request: PacketsRequest) -> PacketsReply:
    row_key = received_row_key if request.received else sent_row_key
    limit = min(request.limit or limits.PACKETS_PER_REPLY_MAX, limits.PACKETS_PER_REPLY_MAX)
    reply = PacketsReply(next_sequence=request.from_sequence)
    start, stop = row_key(request.client, request.from_sequence), row_key(request.client, limits.U64_MAX)
    size = 0
    for _, row in store.side_rows(start, stop):
        item = PacketItem.FromString(row)
        item.open = not request.received and store.get(sent_key(item.packet)) is not None
        size += item.ByteSize()
        if reply.items and (len(reply.items) == limit or size > REPLY_BYTES_MAX):
            break
        reply.items.append(item)
        reply.next_sequence = item.packet.sequence + 1
    return reply
