"""The lines between validators: one outgoing stream to each, one incoming from each, on the consensus port.

Both ends hold the other to its pin (SHA-256 of its certificate's public key). The caller fetches the
certificate, checks authority, name and pin, and then opens its channel with that certificate as the only
trusted one; the door reads the caller's certificate from the TLS session and refuses keys that belong to no
validator. Frames are attributed to the validator whose pin matched, never to what they claim. The handshake
names chain and state version, so that a node of another chain or version is refused at once.

Queues are bounded and drop their oldest; consensus frames overtake transactions. Whatever a frame holds, the worst
it does is end its own stream, and keep its sender away for many times as long as it took to see what it is.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final

import grpc

from ledger import codec
from ledger.errors import Malformed
from ledger.limits import PEER_MESSAGE_BYTES_MAX
from node import certificates, tls_port
from node.calls import Calls, Context, bare, done_reading
from node.config import ConsensusPortConfig, PeerConfig, TlsConfig
from node.logs import Seldom
from node.peer_line import OPTIONS, Line
from proto.chiptrace.v1 import node_pb2_grpc
from proto.chiptrace.v1.consensus_pb2 import PeerMessage, TransactionFrame
from proto.chiptrace.v1.node_pb2 import PeerFrame

_LOG: Final = logging.getLogger("chiptrace.peers")
TRANSACTION_FRAME_BYTES_MAX: Final = 1_048_576
# Half of those bytes leave at a time, and no transaction has fewer than 100. Two million empty ones, which fit into one
# message, would hold up everything else while they are read.
FRAME_TRANSACTIONS_MAX: Final = 16_384
# A message costs the same whether it holds one transaction or a hundred (300 µs at both ends and in between). Where many
# come, the next frame waits longer to be filled: 8 to 5 frames per height, and nobody there notices 20 ms.
BUSY_FRAME: Final = 10  # transactions in the frame before
BUSY_DELAY_TIMES: Final = 5
STREAMS_PER_VALIDATOR_MAX: Final = 6  # two, and those whose end is not noticed yet
# What no validator sends may take long to read (8 MiB can hold millions of parts): its sender waits so many times that.
AWAY_TIMES: Final = 20
_TWICE: Final = frozenset({"vote", "proposal", "certificate"})
_SERVER_OPTIONS: Final = (
    *OPTIONS,
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.max_concurrent_streams", 4),
    ("grpc.max_metadata_size", 4_096),
)
# Of a stream. It fills a line of 100 Mbit/s and 100 ms there and back, which half of it does not, as gRPC asks for more late.
UNREAD_BYTES_MAX: Final = 2_097_152
CALLS_MAX: Final = 128  # of validators, for snapshots; their streams are counted by the door
CALLS_PER_VALIDATOR_MAX: Final = 4

Receive = Callable[[bytes, PeerMessage], Awaitable[None]]
Called = Callable[[bytes], None]


class _Door(node_pb2_grpc.PeerServicer):
    """The incoming side: who calls is decided by the certificate, and only validators may."""

    def __init__(
        self, peers: Sequence[PeerConfig], hello: grpc.aio.Metadata, receive: Receive, called: Called
    ) -> None:
        self.admit(peers)
        self._called = called
        self._hello = hello
        self._seldom = Seldom(_LOG)
        self._receive = receive
        self._streams: Counter[bytes] = Counter()
        self._away_until: dict[bytes, float] = {}  # by key, on the loop's clock

    def admit(self, peers: Sequence[PeerConfig]) -> None:
        """Let these in from now on; the streams of others end with their next frame."""
        self._keys = {peer.pin: bytes.fromhex(peer.key) for peer in peers}

    async def Exchange(  # type: ignore[override]  # noqa: N802
        self,
        request_iterator: AsyncIterator[PeerFrame],
        context: grpc.aio.ServicerContext[PeerFrame, PeerFrame],
    ) -> None:
        try:
            await self._exchange(request_iterator, context)
        except grpc.aio.AbortError as error:
            raise bare(error) from None
        finally:
            await done_reading(request_iterator)

    async def _exchange(self, frames: AsyncIterator[PeerFrame], context: Context) -> None:
        shown, key = await self.caller(context)
        if self._away(key):
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, "this validator sent what none sends; wait"
            )
        if self._streams[key] >= STREAMS_PER_VALIDATOR_MAX:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "this validator holds too many streams")
        self._streams[key] += 1
        try:
            await context.send_initial_metadata(self._hello)
            self._called(key)
            async for frame in frames:
                if self._keys.get(shown) != key:
                    raise Malformed("this node knows the caller as a validator no longer")
                if self._away(key):
                    raise Malformed("another stream of this validator brought what none sends")
                await self._take(key, frame.message)
        except Malformed as error:
            self._seldom.warning("frame refused", {"peer": key.hex(), "cause": str(error)})
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        finally:
            self._streams[key] -= 1

    async def _take(self, key: bytes, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            message = codec.decode(PeerMessage, data, PEER_MESSAGE_BYTES_MAX)
            count = len(message.transactions.transactions)
            if count > FRAME_TRANSACTIONS_MAX:
                raise Malformed(f"a frame holds {count} transactions; at most {FRAME_TRANSACTIONS_MAX} fit")
            await self._receive(key, message)
        except Malformed:
            self._away_until[key] = loop.time() + AWAY_TIMES * (loop.time() - begun)
            raise

    def _away(self, key: bytes) -> bool:
        return asyncio.get_running_loop().time() < self._away_until.get(key, 0.0)

    async def caller(self, context: Context) -> tuple[str, bytes]:
        """Pin and key of the validator that calls; ends the call of anyone else."""
        certificate = b"".join(context.auth_context().get("x509_pem_cert", ()))
        try:
            shown = certificates.pin(certificate)
        except Malformed:
            shown = ""
        key = self._keys.get(shown)
        if key is None:
            self._seldom.warning(
                "caller refused", {"peer": context.peer(), "cause": "not a pinned validator"}
            )
            await context.abort(
                grpc.StatusCode.PERMISSION_DENIED, "this certificate's key is no validator's pin"
            )
            raise Malformed("unreachable: abort raises")
        theirs = dict(context.invocation_metadata() or ())
        for name, value in self._hello:
            if theirs.get(name) != value:
                await context.abort(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    f"{name} is {value!r} here and {theirs.get(name)!r} there: another chain, or upgrade one of the nodes",
                )
        return shown, key


class Peers:
    """All lines of one node. `receive(key, message)` is awaited for every frame that comes in, `reached(key)` called
    when the line to a validator is up."""

    def __init__(
        self,
        peers: Sequence[PeerConfig],
        tls: TlsConfig,
        port: ConsensusPortConfig,
        hello: Sequence[tuple[str, str]],
        receive: Receive,
        reached: Callable[[bytes], None],
    ) -> None:
        metadata = grpc.aio.Metadata(*hello)
        self._port = port
        self._tls = tls
        self._hello = metadata
        self._reached = reached
        self._lines: dict[bytes, Line] = {}
        self._door = _Door(peers, metadata, receive, self._called)
        self._server: grpc.aio.Server | None = None
        self._services: list[Callable[[grpc.aio.Server], None]] = []
        self._filling: list[bytes] = []
        self._filling_bytes = 0
        self._flush_timer: asyncio.TimerHandle | None = None
        self._next_flush = 0.0  # not before; on the loop's clock
        self.replace(peers)

    def serve(self, add: Callable[[grpc.aio.Server], None]) -> None:
        """Offer another service on the consensus port; before `start`. It asks `caller` first."""
        self._services.append(add)

    async def caller(self, context: Context) -> bytes:
        """The key of the validator that calls; ends the call of anyone else."""
        return (await self._door.caller(context))[1]

    async def start(self) -> None:
        """Open the consensus port and call every validator. Raises OSError when the port is taken."""
        server = grpc.aio.server(
            interceptors=(Calls(CALLS_MAX, CALLS_PER_VALIDATOR_MAX),),
            options=(*_SERVER_OPTIONS, *tls_port.options(UNREAD_BYTES_MAX)),
        )
        node_pb2_grpc.add_PeerServicer_to_server(self._door, server)
        for add in self._services:
            add(server)
        tls_port.bind(server, self._port.listen, self._tls)
        await server.start()
        self._server = server
        for line in self._lines.values():
            line.start()

    def replace(self, peers: Sequence[PeerConfig]) -> tuple[list[str], list[str]]:
        """Know these validators from now on; whose line begins and whose ends, by member. Lines to those who stay
        the same are left alone; one of whom anything changed is called anew."""
        wanted = {bytes.fromhex(peer.key): peer for peer in peers}
        ended = [line for key, line in self._lines.items() if wanted.get(key) != line.peer]
        for line in ended:
            line.stop()
            del self._lines[line.key]
        fresh = [peer for key, peer in wanted.items() if key not in self._lines]
        for peer in fresh:
            line = Line(peer, self._tls, self._port, self._hello, self._reached)
            self._lines[line.key] = line
            if self._server is not None:
                line.start()
        self._door.admit(peers)
        return [peer.member for peer in fresh], [line.peer.member for line in ended]

    def send(self, to: bytes | None, message: PeerMessage, besides: bytes | None = None) -> None:
        """Queue a message for one validator, or for all others (None) `besides` the one who has it."""
        frame = message.SerializeToString(deterministic=True)
        twice = message.WhichOneof("kind") in _TWICE
        for key, line in self._lines.items():
            if to in (None, key) and key != besides:
                line.put(frame, twice=twice)

    def pass_on(self, transactions: Sequence[bytes]) -> None:
        """Let every validator know transactions admitted here; frames leave when full or after a moment."""
        for transaction in transactions:
            self._filling.append(transaction)
            self._filling_bytes += len(transaction)
            full = len(self._filling) >= self._port.frame_transactions_max
            if full or self._filling_bytes >= TRANSACTION_FRAME_BYTES_MAX // 2:
                self._flush()
        if self._filling and self._flush_timer is None:
            # At once after a quiet while; else frames leave so far apart and are filled meanwhile.
            loop = asyncio.get_running_loop()
            self._flush_timer = loop.call_at(max(self._next_flush, loop.time()), self._flush)

    def _called(self, key: bytes) -> None:
        if key in self._lines:
            self._lines[key].call()

    def knows(self, key: bytes) -> bool:
        """Whether there is a line to this validator, up or not."""
        return key in self._lines

    def connected(self) -> frozenset[bytes]:
        """The keys of the validators to which a line is up."""
        return frozenset(key for key, line in self._lines.items() if line.connected)

    async def stop(self) -> None:
        """Let the queues empty for a moment, then close lines and port."""
        self._flush()
        await asyncio.sleep(0.05)
        for line in self._lines.values():
            line.stop()
        for line in self._lines.values():
            await line.ended()
        if self._server is not None:
            await self._server.stop(0.2)

    def _flush(self) -> None:
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        if not self._filling:
            return
        times = BUSY_DELAY_TIMES if len(self._filling) >= BUSY_FRAME else 1
        self._next_flush = asyncio.get_running_loop().time() + times * self._port.frame_delay_ms / 1_000
        message = PeerMessage(transactions=TransactionFrame(transactions=self._filling))
        frame = message.SerializeToString(deterministic=True)
        self._filling = []
        self._filling_bytes = 0
        for line in self._lines.values():
            line.put(frame, twice=True, transactions=True)
