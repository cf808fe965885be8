"""The usual health service (grpc.health.v1): SERVING while the node is in step.

Our own, because that of the library holds a lock while it writes to a watcher: one who never reads stopped the node from
saying anything to the others, and from ending.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from node.calls import Context

SERVICES: Final = ("", "chiptrace.v1.Chain")
_UNKNOWN: Final = HealthCheckResponse.SERVICE_UNKNOWN


class HealthService(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # has no types
    """Of the whole node, and of its one service for clients: they are the same. Owned by the event loop."""

    def __init__(self) -> None:
        self._status: HealthCheckResponse.ServingStatus.ValueType = HealthCheckResponse.NOT_SERVING
        self._changed = asyncio.Event()  # another one after each change
        self._closed = False

    def close(self) -> None:
        """NOT_SERVING, for good: the node stops."""
        self.say(serving=False)
        self._closed = True

    def say(self, *, serving: bool) -> None:
        """From now on this is so; waits for nobody."""
        if self._closed:
            return
        self._status = HealthCheckResponse.SERVING if serving else HealthCheckResponse.NOT_SERVING
        self._changed.set()
        self._changed = asyncio.Event()

    async def Check(self, request: HealthCheckRequest, context: Context) -> HealthCheckResponse:  # noqa: N802
        if request.service not in SERVICES:
            await context.abort(
                grpc.StatusCode.NOT_FOUND, f"no service of this name is here; there is {SERVICES[1]}"
            )
        return HealthCheckResponse(status=self._status)

    async def Watch(  # noqa: N802
        self,
        request: HealthCheckRequest,
        context: Context,  # noqa: ARG002
    ) -> AsyncIterator[HealthCheckResponse]:
        last = None
        while True:
            changed = self._changed
            status = self._status if request.service in SERVICES else _UNKNOWN
            if status != last:
                last = status
                yield HealthCheckResponse(status=status)
            else:
                await changed.wait()
