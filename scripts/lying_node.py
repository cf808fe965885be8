"""A node that lies, for the demo and the tests: it passes every question on to an honest node and spoils answers.

forge   changes a word of an event in the middle of each history
hide    leaves one event out of each history
old     shows an old head, and the state under it, as the newest
"""

from __future__ import annotations

from concurrent import futures
from typing import Any

import grpc

from ledger.codec import decode, encode
from ledger.limits import EVENT_BYTES_MAX, TRANSACTION_BYTES_MAX
from proto.chiptrace.v1.ledger_pb2 import Event, Transaction, TransactionBody
from proto.chiptrace.v1.node_pb2 import HeadersReply, HistoriesReply, HistoryReply, ProveReply, ProveRequest
from proto.chiptrace.v1.node_pb2_grpc import ChainServicer, ChainStub, add_ChainServicer_to_server

LIES = ("forge", "hide", "old")


def forged(data: bytes) -> bytes:
    """A transaction whose first event was changed afterwards; its signature is the old one."""
    transaction = decode(Transaction, data, TRANSACTION_BYTES_MAX)
    body = decode(TransactionBody, transaction.body, TRANSACTION_BYTES_MAX)
    for operation in body.operations:
        if operation.WhichOneof("kind") == "capture":
            event = decode(Event, operation.capture.event, EVENT_BYTES_MAX)
            for field in event.fields:
                if field.name == "eventTime":
                    field.value.text = "2020" + field.value.text[4:]
            operation.capture.event = encode(event)
    transaction.body = encode(body)
    return encode(transaction)


def forge_history(reply: HistoryReply) -> None:
    """Forge the event in the middle of those in the reply."""
    events = [item for item in reply.items if forged(item.transaction) != item.transaction]
    if events:
        middle = events[len(events) // 2]
        middle.transaction = forged(middle.transaction)


def hide_event(reply: HistoryReply) -> None:
    """Leave out the entry in the middle of the reply."""
    if reply.items:
        del reply.items[len(reply.items) // 2]


class LyingNode(ChainServicer):
    """Serves one of LIES on a free loopback port, with the certificate of a real member's node."""

    def __init__(self, lie: str, honest: ChainStub) -> None:
        self._lie = lie
        self._honest = honest
        first: ProveReply = honest.Prove(ProveRequest())
        self._old_height = first.height
        self._old_head = first.head

    def Prove(self, request: ProveRequest, context: grpc.ServicerContext) -> ProveReply:  # noqa: N802
        """An old height passes for the newest."""
        if self._lie == "old" and request.height == 0:
            request.height = self._old_height
        return self._pass_on("Prove", request, context)

    def GetHeaders(self, request: Any, context: grpc.ServicerContext) -> HeadersReply:  # noqa: N802
        """Nothing after the old head."""
        if self._lie == "old":
            return HeadersReply(headers=[self._old_head])
        return self._pass_on("GetHeaders", request, context)

    def GetHistory(self, request: Any, context: grpc.ServicerContext) -> HistoryReply:  # noqa: N802
        """A history with an event changed, or left out."""
        reply: HistoryReply = self._pass_on("GetHistory", request, context)
        self._spoil(reply)
        return reply

    def GetHistories(self, request: Any, context: grpc.ServicerContext) -> HistoriesReply:  # noqa: N802
        """The same of each of many histories."""
        reply: HistoriesReply = self._pass_on("GetHistories", request, context)
        for history in reply.histories:
            self._spoil(history)
        return reply

    def _spoil(self, reply: HistoryReply) -> None:
        if self._lie == "forge":
            forge_history(reply)
        if self._lie == "hide":
            hide_event(reply)

    def _pass_on(self, method: str, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return getattr(self._honest, method)(request, timeout=10)
        except grpc.RpcError as error:
            context.set_trailing_metadata(tuple(error.trailing_metadata() or ()))
            context.abort(error.code(), error.details() or "")


for _name in ("GetStatus", "GetTransaction", "GetLogLeaves", "GetBlock", "GetPackets"):
    setattr(
        LyingNode, _name, lambda self, request, context, name=_name: self._pass_on(name, request, context)
    )


def serve(lie: str, honest: ChainStub, credentials: grpc.ServerCredentials) -> tuple[grpc.Server, str]:
    """Start a lying node; returns the server (stop it) and its endpoint."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    add_ChainServicer_to_server(LyingNode(lie, honest), server)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    return server, f"127.0.0.1:{port}"
