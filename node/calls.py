"""Calls at a port: of one certificate only so many at a time, and only so many bytes, in or out.

gRPC reads a request to its end before it asks anybody, and keeps an answer until it is taken: one connection of 256
streams would hold 2 GiB of either. So every method is served as one that reads its request by itself, in these steps:

1. The caller is counted, before anything of the request is read, and until the last byte of the answer has left.
2. A few requests of one certificate have their turn at a time; the others wait in their senders' pipes.
3. The request is read and decoded.
4. It is answered. So who asks for what takes long, a hundred times at once, holds up others by a few of them. A method that
   waits for something else than its answer gives up its turn before, and its request is kept meanwhile.
5. What is kept, such a request or an answer that has not been taken yet, is so while there is room for it; else the call
   ends with a reason.

Methods with a stream of requests read by themselves already, and count their callers themselves.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError

from ledger.limits import RPC_MESSAGE_BYTES_MAX
from proto.chiptrace.v1.ledger_pb2 import Reason

TURNS_MAX: Final = 4  # requests of one certificate that are read and answered at a time
READ_SECONDS: Final = 30.0  # for the largest, 2.2 Mbit/s
# For one certificate: requests that wait, and answers that it has not taken yet.
KEPT_BYTES_MAX: Final = 8 * RPC_MESSAGE_BYTES_MAX
REASON_METADATA: Final = "chiptrace-reason"
Context = grpc.aio.ServicerContext[Any, Any]
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]  # None for a method that is not there


class _Held:
    """What one certificate holds."""

    def __init__(self) -> None:
        self.calls = 0
        self.kept_bytes = 0
        self.turns = asyncio.Semaphore(TURNS_MAX)


class Calls(grpc.aio.ServerInterceptor):
    """The calls of one port. `waiting`: the methods that wait. Owned by the event loop."""

    def __init__(self, calls_max: int, per_identity_max: int, waiting: frozenset[str] = frozenset()) -> None:
        self._waiting = waiting
        self._calls_max = calls_max
        self._per_identity_max = per_identity_max
        self._methods: dict[str, Any] = {}  # by name; those that are there
        self._calls = 0
        self._held: defaultdict[bytes, _Held] = defaultdict(_Held)

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """The method, read and answered within its caller's bounds."""
        name = handler_call_details.method
        if name not in self._methods:
            method = await continuation(handler_call_details)
            if method is None or method.request_streaming:
                return method
            self._methods[name] = (
                grpc.stream_stream_rpc_method_handler(self._streaming(method))
                if method.response_streaming
                else grpc.stream_unary_rpc_method_handler(
                    self._answering(method, waits=name in self._waiting)
                )
            )
        return self._methods[name]

    def _answering(
        self, method: Any, *, waits: bool
    ) -> Callable[[AsyncIterator[bytes], Context], Awaitable[bytes]]:
        async def answered(context: Context) -> bytes:
            held = await self._count(context)
            async with held.turns:
                request = await _read(method, context)
                reply = None if waits else await method.unary_unary(request, context)
            if waits:
                size = request.ByteSize()
                await _keep(held, size, context, "wait for the outcomes of some of it first")
                try:
                    reply = await method.unary_unary(request, context)
                finally:
                    _let_go(held, size)
            data: bytes = method.response_serializer(reply)
            await _keep(held, len(data), context, "read the answers first")
            _at_end(context, lambda: _let_go(held, len(data)))
            return data

        async def answer(_: AsyncIterator[bytes], context: Context) -> bytes:
            try:
                return await answered(context)
            except grpc.aio.AbortError as error:
                raise bare(error) from None

        return answer

    def _streaming(self, method: Any) -> Callable[[AsyncIterator[bytes], Context], AsyncIterator[bytes]]:
        async def stream(_: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
            request = reply = None
            try:
                async with (await self._count(context)).turns:
                    request = await _read(method, context)
                async for reply in method.unary_stream(request, context):
                    yield method.response_serializer(reply)
            except grpc.aio.AbortError as error:
                request = reply = None
                raise bare(error) from None

        return stream

    async def _count(self, context: Context) -> _Held:
        """What this certificate holds, with this call; ends a call that is one too many."""
        identity = b"".join(context.auth_context().get("x509_pem_cert", ()))
        full = self._calls >= self._calls_max
        if full or (identity in self._held and self._held[identity].calls >= self._per_identity_max):
            whose = "this node serves" if full else "your certificate holds"
            await _refuse(context, f"{whose} as many calls as allowed; try again in a moment")
        held = self._held[identity]
        held.calls += 1
        self._calls += 1
        _at_end(context, lambda: self._end(identity))
        return held

    def _end(self, identity: bytes) -> None:
        self._calls -= 1
        self._held[identity].calls -= 1
        if not self._held[identity].calls:
            del self._held[identity]


async def _read(method: Any, context: Context) -> Any:
    """The request; ends a call that brings none. Not by gRPC's iterator, which costs more, and keeps what came last."""
    why = "the call brings no request of this method"
    try:
        async with asyncio.timeout(READ_SECONDS):
            data = await context.read()
        if data is not grpc.aio.EOF:
            return method.request_deserializer(data)
    except TimeoutError:
        why = f"the request did not arrive within {READ_SECONDS:.0f} s; send less at a time"
    except DecodeError:
        pass
    return await context.abort(grpc.StatusCode.INVALID_ARGUMENT, why)


def _at_end(context: Context, then: Callable[[], None]) -> None:
    """Once the last byte has left, or the caller has."""
    context.add_done_callback(lambda _: then())  # type: ignore[arg-type]  # the stubs call it by keyword


def bare(error: grpc.aio.AbortError) -> grpc.aio.AbortError:
    """Without where it came from: gRPC and the error keep each other, and so all that its traceback names, until a collector
    that does not know how large requests are comes by. Who raises it on has let go of the request."""
    error.__context__ = None
    return error.with_traceback(None)


async def done_reading(requests: AsyncIterator[Any]) -> None:
    """No more is read: gRPC's iterator and what it runs on keep each other, too, and the last that came."""
    await aiter(requests).aclose()  # type: ignore[attr-defined]  # it is a generator, which the stubs do not know


async def _keep(held: _Held, count: int, context: Context, instead: str) -> None:
    """Count so many bytes more; ends a call for which there is no room."""
    if held.kept_bytes + count > KEPT_BYTES_MAX:
        await _refuse(context, f"this node keeps as much for your certificate as it may; {instead}")
    held.kept_bytes += count


def _let_go(held: _Held, count: int) -> None:
    held.kept_bytes -= count


async def _refuse(context: Context, why: str) -> None:
    code = Reason.Name(Reason.POOL_FULL)
    await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, why, ((REASON_METADATA, code),))
