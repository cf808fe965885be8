"""The health service: the same for all who ask or watch, whatever one of them does."""

import grpc
import pytest
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from tests.node.raw_http2 import Rude
from tests.node.test_calls import NOT_SERVING, SERVING, WATCH, asked, heard, port


@pytest.mark.parametrize("service", ["", "chiptrace.v1.Chain"])
def test_it_is_said_once_for_each_change(run, service):
    async def scenario():
        async with port() as (number, health), grpc.aio.insecure_channel(f"127.0.0.1:{number}") as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(HealthCheckRequest(service=service))
            assert (await watch.read()).status == NOT_SERVING
            health.say(serving=False)
            health.say(serving=True)
            assert (await watch.read()).status == SERVING
            assert await asked(number, service) == SERVING
            health.close()
            assert (await watch.read()).status == NOT_SERVING
            health.say(serving=True)  # it stops, whatever it hears from its chain
            assert await asked(number, service) == NOT_SERVING

    run(scenario())


def test_another_service_is_unknown(run):
    async def scenario():
        async with port() as (number, _), grpc.aio.insecure_channel(f"127.0.0.1:{number}") as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(HealthCheckRequest(service="else"))
            assert (await watch.read()).status == HealthCheckResponse.SERVICE_UNKNOWN
            with pytest.raises(grpc.aio.AioRpcError, match="there is chiptrace"):
                await asked(number, "else")

    run(scenario())


def test_a_watcher_who_never_reads_holds_nobody_up(run):
    async def scenario():
        async with port() as (number, health), grpc.aio.insecure_channel(f"127.0.0.1:{number}") as channel:
            with Rude(number, window=0) as rude:
                rude.call(WATCH, b"")
                await heard(rude, lambda: rude.headers)
                watch = health_pb2_grpc.HealthStub(channel).Watch(HealthCheckRequest(), timeout=5)
                assert (await watch.read()).status == NOT_SERVING
                health.say(serving=True)
                assert (await watch.read()).status == SERVING

    run(scenario())
