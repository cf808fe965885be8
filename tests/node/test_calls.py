"""What one certificate may hold of a node: calls, requests that are read, answers that are not taken."""

import asyncio
import contextlib
import gc

import grpc
import pytest
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from node import calls, tls_port
from node.calls import Calls
from node.health import HealthService
from tests.node.raw_http2 import Rude

MIB = 1_048_576
CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
LONG = "/test.Test/Long"
SLOW, WAIT = (
    "/test.Test/Slow",
    "/test.Test/Wait",
)  # both answer once they are let; only the second is known to wait
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


@contextlib.asynccontextmanager
async def port(per_identity_max=128, calls_max=512):
    """A server with the health service, and methods of the test's own; (port, health). `health.let` lets SLOW and WAIT go."""
    health = HealthService()
    health.let = asyncio.Event()

    async def long(_request, _context):
        return HealthCheckRequest(service="x" * MIB)

    async def refused(request, context):
        try:
            raise LookupError(request.service[:1])
        except LookupError:
            await context.abort(grpc.StatusCode.NOT_FOUND, "not here")

    async def several(request, context):
        yield request
        await refused(request, context)

    async def slow(request, _context):
        await health.let.wait()
        return request

    methods = {
        name: grpc.unary_unary_rpc_method_handler(
            method, HealthCheckRequest.FromString, HealthCheckRequest.SerializeToString
        )
        for name, method in {"Long": long, "Slow": slow, "Wait": slow, "Refused": refused}.items()
    }
    methods["Several"] = grpc.unary_stream_rpc_method_handler(
        several, HealthCheckRequest.FromString, HealthCheckRequest.SerializeToString
    )
    server = grpc.aio.server(
        interceptors=(Calls(calls_max, per_identity_max, frozenset({WAIT})),),
        options=(("grpc.max_receive_message_length", 8 * MIB), *tls_port.options(65_536)),
    )
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", methods),))
    number = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield number, health
    finally:
        async with asyncio.timeout(5):  # nobody can hold up the end
            await server.stop(0.1)


async def asked(number, service=""):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{number}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return (await stub.Check(HealthCheckRequest(service=service), timeout=5)).status


async def heard(rude, condition, seconds=5.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.to_thread(rude.hear)


def test_of_many_requests_that_are_never_finished_few_are_taken_in(run):
    streams = 32

    async def scenario():
        async with port() as (number, _):
            with Rude(number) as rude:
                await asyncio.to_thread(rude.hear)
                for _ in range(streams):
                    rude.half(CHECK, MIB)
                await asyncio.to_thread(rude.push, 1.5)
                # All of those that are read, and of the others what comes before anybody asks for it.
                assert rude.sent <= calls.TURNS_MAX * MIB + streams * 2 * 65_536
                assert rude.sent >= MIB  # those that are read are

    run(scenario())


def test_one_that_never_ends_its_request_is_not_waited_for(run, monkeypatch):
    monkeypatch.setattr(calls, "READ_SECONDS", 0.2)

    async def scenario():
        async with port() as (number, _):
            with Rude(number) as rude:
                begun = [rude.half(CHECK, MIB) for _ in range(calls.TURNS_MAX)]
                assert await asked(number) == NOT_SERVING  # as soon as they are out of time
                await heard(rude, lambda: set(begun) <= rude.ended)

    run(scenario())


def test_a_call_counts_until_its_answer_is_taken(run):
    async def scenario():
        async with port(per_identity_max=3) as (number, _):
            with Rude(number, window=0) as rude:
                kept = [rude.call(LONG, b"") for _ in range(3)]
                await heard(rude, lambda: len(rude.headers) == 3)
                assert not rude.ended & set(kept)
                with pytest.raises(grpc.aio.AioRpcError, match="as many calls as allowed") as refused:
                    await asked(number)
                assert dict(refused.value.trailing_metadata())[calls.REASON_METADATA] == "POOL_FULL"
                rude.reset(kept[0])
                async with asyncio.timeout(5):
                    while True:
                        with contextlib.suppress(grpc.aio.AioRpcError):
                            assert await asked(number) == NOT_SERVING
                            return

    run(scenario())


def test_all_together_hold_no_more_than_they_may(run):
    async def scenario():
        async with port(calls_max=2) as (number, _):
            with Rude(number, window=0) as rude:
                for _ in range(2):
                    rude.call(WATCH, b"")
                await heard(rude, lambda: len(rude.headers) == 2)
                with pytest.raises(grpc.aio.AioRpcError, match="this node serves as many calls"):
                    await asked(number)

    run(scenario())


def test_who_takes_no_answers_is_given_no_more_of_them(run, monkeypatch):
    monkeypatch.setattr(calls, "KEPT_BYTES_MAX", 2 * MIB + 100)

    async def scenario():
        async with port() as (number, _):
            with Rude(number, window=0) as rude:
                for _ in range(3):
                    rude.call(LONG, b"")
                await heard(rude, lambda: len(rude.ended) == 1)  # refused; an end needs no window
                assert await asked(number, "") == NOT_SERVING
            async with asyncio.timeout(5):  # it has gone, and what was kept for it, too
                while True:
                    with contextlib.suppress(grpc.aio.AioRpcError):
                        async with grpc.aio.insecure_channel(f"127.0.0.1:{number}") as channel:
                            await channel.unary_unary(LONG)(b"", timeout=5)
                            await channel.unary_unary(LONG)(b"", timeout=5)
                            return

    run(scenario())


def test_requests_that_wait_are_kept_while_there_is_room(run, monkeypatch):
    request = HealthCheckRequest(service="x" * MIB).SerializeToString()
    monkeypatch.setattr(calls, "KEPT_BYTES_MAX", 3 * len(request))

    async def scenario():
        async with port() as (number, health), grpc.aio.insecure_channel(f"127.0.0.1:{number}") as channel:
            waiting = [asyncio.ensure_future(one(channel, request)) for _ in range(3)]
            await asyncio.sleep(0.5)
            with pytest.raises(grpc.aio.AioRpcError, match="wait for the outcomes of some") as refused:
                await channel.unary_unary(WAIT)(request, timeout=5)
            assert dict(refused.value.trailing_metadata())[calls.REASON_METADATA] == "POOL_FULL"
            waiting.pop().cancel()
            await asyncio.sleep(0.3)
            waiting.append(asyncio.ensure_future(one(channel, request)))  # what it held was given back
            await asyncio.sleep(0.3)
            assert not waiting[-1].done()
            health.let.set()
            # There is room for the answers, which come where the requests were.
            assert await asyncio.gather(*waiting) == [request] * 3

    async def one(channel, request):
        return await channel.unary_unary(WAIT)(request, timeout=20)

    run(scenario())


@pytest.mark.parametrize("method", ["Refused", "Several"])
def test_of_a_request_that_is_refused_nothing_is_kept(run, method):
    request = HealthCheckRequest(service="refused")

    def kept():
        return [o for o in gc.get_objects() if isinstance(o, HealthCheckRequest) and o == request]

    async def scenario():
        async with port() as (number, _), grpc.aio.insecure_channel(f"127.0.0.1:{number}") as channel:
            gc.collect()
            gc.disable()  # it may take long until it comes by: it counts objects, and not how large they are
            try:
                for _ in range(10):
                    with pytest.raises(grpc.aio.AioRpcError, match="not here"):
                        async for _ in channel.unary_stream(f"/test.Test/{method}")(
                            request.SerializeToString()
                        ):
                            pass
                await asyncio.sleep(0.1)
                assert kept() == [request]  # the test's own
            finally:
                gc.enable()

    run(scenario())


def test_of_a_request_that_is_answered_nothing_is_kept(run):
    async def scenario():
        async with port() as (number, _):
            gc.collect()
            gc.disable()
            try:
                for _ in range(10):
                    await asked(number)
                await asyncio.sleep(0.1)
                # They have the bytes, which no collector shows.
                assert not [o for o in gc.get_objects() if type(o).__name__ == "_MessageReceiver"]
            finally:
                gc.enable()

    run(scenario())


def test_what_is_no_request_is_refused_in_words_and_logged_by_nobody(run, caplog):
    async def scenario():
        async with port() as (number, _), grpc.aio.insecure_channel(f"127.0.0.1:{number}") as channel:
            with pytest.raises(grpc.aio.AioRpcError, match="no request of this method") as refused:
                await channel.unary_unary(CHECK)(b"\xff" * 100, timeout=5)
            assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
            call = channel.stream_unary(CHECK)(timeout=5)
            await call.done_writing()  # none at all
            with pytest.raises(grpc.aio.AioRpcError, match="no request of this method"):
                await call
            with pytest.raises(grpc.aio.AioRpcError) as missing:
                await channel.unary_unary("/test.Test/Other")(b"", timeout=5)
            assert missing.value.code() == grpc.StatusCode.UNIMPLEMENTED

    run(scenario())
    assert not caplog.records


def test_who_takes_its_answers_may_go_on_asking(run, monkeypatch):
    monkeypatch.setattr(calls, "KEPT_BYTES_MAX", 2 * MIB)

    async def scenario():
        async with port() as (number, _), grpc.aio.insecure_channel(f"127.0.0.1:{number}") as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(HealthCheckRequest())
            await watch.read()  # so that this certificate always holds something
            for _ in range(6):
                await channel.unary_unary(LONG)(b"", timeout=5)

    run(scenario())


@pytest.mark.parametrize(("method", "held_up"), [(SLOW, True), (WAIT, False)])
def test_of_questions_that_take_long_few_have_their_turn_and_who_only_waits_has_none(run, method, held_up):
    async def scenario():
        async with port() as (number, health), grpc.aio.insecure_channel(f"127.0.0.1:{number}") as channel:
            slow = [channel.unary_unary(method)(b"", timeout=20) for _ in range(calls.TURNS_MAX)]
            await asyncio.sleep(0.3)
            other = asyncio.create_task(asked(number))
            await asyncio.sleep(0.3)
            assert other.done() is not held_up
            health.let.set()
            assert await other == NOT_SERVING
            assert len(await asyncio.gather(*slow)) == calls.TURNS_MAX

    run(scenario())
