"""The lines between validators: one outgoing stream to each, one incoming from each, on the consensus port.

Both ends hold the other to its pin (SHA-256 of its certificate's public key). The caller fetches the
certificate, checks authority, name and pin, and then opens its channel with that certificate as the only
trusted one; the door reads the caller's certificate from the TLS session and refuses keys that belong to no
validator. Frames are attributed to the validator whose pin matched, never to what they claim. The handshake
names chain and state version, so that a node of another chain or version is refused at once.

Queues are bounded and drop their oldest; consensus frames overtake transactions. Whatever a frame holds, the
worst it does is end its own stream.
"""

import asyncio
import contextlib
import logging
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final

import grpc

from ledger import codec
from ledger.errors import Malformed
from ledger.limits import PEER_MESSAGE_BYTES_MAX
from node import certificates, tls_port
from node.config import ConsensusPortConfig, PeerConfig, TlsConfig, split_address
from node.peer_outbox import Outbox
from proto.chiptrace.v1 import node_pb2_grpc
from proto.chiptrace.v1.consensus_pb2 import PeerMessage, TransactionFrame
from proto.chiptrace.v1.node_pb2 import PeerFrame

_LOG: Final = logging.getLogger("chiptrace.peers")
FRAME_BYTES_MAX: Final = PEER_MESSAGE_BYTES_MAX + 64
TRANSACTION_FRAME_BYTES_MAX: Final = 1_048_576
RECONNECT_MS_MIN: Final = 50
HANDSHAKE_SECONDS: Final = 5.0
STREAMS_PER_VALIDATOR_MAX: Final = 4  # one, and those whose end is not noticed yet
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", FRAME_BYTES_MAX),
    ("grpc.max_send_message_length", FRAME_BYTES_MAX),
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.enable_http_proxy", 0),
)
_SERVER_OPTIONS: Final = (
    *_OPTIONS,
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.max_concurrent_streams", 4),
    ("grpc.max_metadata_size", 4_096),
    ("grpc.so_reuseport", 0),
)

Receive = Callable[[bytes, PeerMessage], Awaitable[None]]
Called = Callable[[bytes], None]
Context = grpc.aio.ServicerContext[Any, Any]


async def pinned_certificate(peer: PeerConfig, tls: TlsConfig) -> bytes:
    """The validator's certificate (PEM), checked: authority, host, dates, pin. Raises OSError, Malformed."""
    host, port = split_address(peer.address)
    context = ssl.create_default_context(cafile=str(tls.ca))
    context.load_cert_chain(tls.certificate, tls.private_key)
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
    try:
        session = writer.get_extra_info("ssl_object")
        certificate: bytes = session.getpeercert(binary_form=True)
    finally:
        writer.transport.abort()
    found = certificates.pin(certificate)
    if found != peer.pin:
        raise Malformed(
            f"{peer.address} shows the key {found}, but the pin of {peer.member} is {peer.pin}: "
            "someone else answers there, or its key was changed without telling"
        )
    return ssl.DER_cert_to_PEM_cert(certificate).encode("ascii")


def pinned_channel(peer: PeerConfig, tls: TlsConfig, certificate: bytes) -> grpc.aio.Channel:
    """A channel to a validator that trusts this certificate of it and no other."""
    credentials = grpc.ssl_channel_credentials(
        certificate, tls.private_key.read_bytes(), tls.certificate.read_bytes()
    )
    return grpc.aio.secure_channel(peer.address, credentials, _OPTIONS)


class _Line:
    """The outgoing stream to one validator, kept up with growing pauses."""

    def __init__(
        self,
        peer: PeerConfig,
        tls: TlsConfig,
        port: ConsensusPortConfig,
        hello: grpc.aio.Metadata,
        reached: Callable[[bytes], None],
    ) -> None:
        self.peer = peer
        self.key = bytes.fromhex(peer.key)
        self.outbox = Outbox(port.queue_messages_max, port.queue_bytes_max)
        self.connected = False
        self.called = asyncio.Event()  # the validator has opened its stream to us
        self._tls = tls
        self._pause_ms_max = port.reconnect_ms_max
        self._hello = hello
        self._reached = reached
        self._stopped = False
        self._trouble = ""
        self.task: asyncio.Task[None] | None = None  # that runs the line

    async def run(self) -> None:
        pause_ms = RECONNECT_MS_MIN
        while not self._stopped:
            try:
                async with asyncio.timeout(HANDSHAKE_SECONDS):
                    certificate = await pinned_certificate(self.peer, self._tls)
                await self._exchange(certificate)
                trouble = "the line was closed"
            except grpc.aio.AioRpcError as error:
                trouble = f"{error.code().name}: {error.details()}"
            except Exception as error:
                # Whatever a peer's door answers with: one that is odd today may be right tomorrow.
                trouble = f"{type(error).__name__}: {error}"
            if self.connected:
                pause_ms = RECONNECT_MS_MIN
            self._lost(trouble)
            await self._pause(pause_ms / 1_000)
            pause_ms = min(self._pause_ms_max, pause_ms * 2)

    async def _pause(self, seconds: float) -> None:
        """Before the next call: so long, or until the validator has called us, for then it is there."""
        await asyncio.sleep(RECONNECT_MS_MIN / 1_000)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.called.wait(), seconds)
        self.called.clear()

    def start(self) -> None:
        """Call from now on."""
        self.task = asyncio.create_task(self.run())

    def stop(self) -> None:
        """Call no more."""
        self._stopped = True
        self.connected = False
        if self.task is not None:
            self.task.cancel()

    def _lost(self, trouble: str) -> None:
        """Say it once per cause, not once per attempt."""
        if self.connected or trouble != self._trouble:
            _LOG.warning("validator not reached", extra={"peer": self.peer.member, "cause": trouble})
        self._trouble = trouble
        self.connected = False
        self.outbox.clear()

    async def _exchange(self, certificate: bytes) -> None:
        """One stream until it ends. Raises Malformed with the cause of its end."""
        async with pinned_channel(self.peer, self._tls, certificate) as channel:
            call = node_pb2_grpc.PeerStub(channel).Exchange(metadata=self._hello)
            writer = asyncio.create_task(self._write(call))
            try:
                code = await call.code()
                raise Malformed(f"{code.name}: {await call.details()}")
            finally:
                writer.cancel()
                call.cancel()

    async def _write(self, call: "grpc.aio.StreamStreamCall[PeerFrame, PeerFrame]") -> None:
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                theirs = dict(await call.initial_metadata())
            if any(theirs.get(name) != value for name, value in self._hello):
                return  # refused: the call ends with the cause
            self.connected = True
            self._trouble = ""
            _LOG.info("validator reached", extra={"peer": self.peer.member})
            self._reached(self.key)
            while True:
                await call.write(PeerFrame(message=await self.outbox.get()))
        except (TimeoutError, asyncio.InvalidStateError, grpc.RpcError):
            call.cancel()


class _Door(node_pb2_grpc.PeerServicer):
    """The incoming side: who calls is decided by the certificate, and only validators may."""

    def __init__(
        self, peers: Sequence[PeerConfig], hello: grpc.aio.Metadata, receive: Receive, called: Called
    ) -> None:
        self.admit(peers)
        self._called = called
        self._hello = hello
        self._receive = receive
        self._streams: Counter[bytes] = Counter()

    def admit(self, peers: Sequence[PeerConfig]) -> None:
        """Let these in from now on; the streams of others end with their next frame."""
        self._keys = {peer.pin: bytes.fromhex(peer.key) for peer in peers}

    async def Exchange(  # type: ignore[override]  # noqa: N802
        self,
        request_iterator: AsyncIterator[PeerFrame],
        context: grpc.aio.ServicerContext[PeerFrame, PeerFrame],
    ) -> None:
        shown, key = await self.caller(context)
        if self._streams[key] >= STREAMS_PER_VALIDATOR_MAX:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "this validator holds too many streams")
        self._streams[key] += 1
        try:
            await context.send_initial_metadata(self._hello)
            self._called(key)
            async for frame in request_iterator:
                if self._keys.get(shown) != key:
                    raise Malformed("this node knows the caller as a validator no longer")
                await self._receive(key, codec.decode(PeerMessage, frame.message, PEER_MESSAGE_BYTES_MAX))
        except Malformed as error:
            _LOG.warning("frame refused", extra={"peer": key.hex(), "cause": str(error)})
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        finally:
            self._streams[key] -= 1

    async def caller(self, context: Context) -> tuple[str, bytes]:
        """Pin and key of the validator that calls; ends the call of anyone else."""
        certificate = b"".join(context.auth_context().get("x509_pem_cert", ()))
        try:
            shown = certificates.pin(certificate)
        except Malformed:
            shown = ""
        key = self._keys.get(shown)
        if key is None:
            _LOG.warning("caller refused", extra={"peer": context.peer(), "cause": "not a pinned validator"})
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
        self._lines: dict[bytes, _Line] = {}
        self._door = _Door(peers, metadata, receive, self._called)
        self._server: grpc.aio.Server | None = None
        self._services: list[Callable[[grpc.aio.Server], None]] = []
        self._filling: list[bytes] = []
        self._filling_bytes = 0
        self._flush_timer: asyncio.TimerHandle | None = None
        self._flushed_at = 0.0
        self.replace(peers)

    def serve(self, add: Callable[[grpc.aio.Server], None]) -> None:
        """Offer another service on the consensus port; before `start`. It asks `caller` first."""
        self._services.append(add)

    async def caller(self, context: Context) -> bytes:
        """The key of the validator that calls; ends the call of anyone else."""
        return (await self._door.caller(context))[1]

    async def start(self) -> None:
        """Open the consensus port and call every validator. Raises OSError when the port is taken."""
        server = grpc.aio.server(options=_SERVER_OPTIONS)
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
            line = _Line(peer, self._tls, self._port, self._hello, self._reached)
            self._lines[line.key] = line
            if self._server is not None:
                line.start()
        self._door.admit(peers)
        return [peer.member for peer in fresh], [line.peer.member for line in ended]

    def send(self, to: bytes | None, message: PeerMessage, besides: bytes | None = None) -> None:
        """Queue a message for one validator, or for all others (None) `besides` the one who has it."""
        frame = message.SerializeToString(deterministic=True)
        for key, line in self._lines.items():
            if to in (None, key) and key != besides:
                line.outbox.put(frame, transactions=False)

    def pass_on(self, transaction: bytes) -> None:
        """Let every validator know a transaction admitted here; frames leave when full or after a moment."""
        self._filling.append(transaction)
        self._filling_bytes += len(transaction)
        full = len(self._filling) >= self._port.frame_transactions_max
        if full or self._filling_bytes >= TRANSACTION_FRAME_BYTES_MAX // 2:
            self._flush()
        elif self._flush_timer is None:
            # At once after a quiet while; else frames leave so far apart and are filled meanwhile.
            loop = asyncio.get_running_loop()
            due = self._flushed_at + self._port.frame_delay_ms / 1_000
            self._flush_timer = loop.call_at(max(due, loop.time()), self._flush)

    def _called(self, key: bytes) -> None:
        if key in self._lines:
            self._lines[key].called.set()

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
        tasks = [line.task for line in self._lines.values() if line.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.stop(0.2)

    def _flush(self) -> None:
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        if not self._filling:
            return
        self._flushed_at = asyncio.get_running_loop().time()
        message = PeerMessage(transactions=TransactionFrame(transactions=self._filling))
        frame = message.SerializeToString(deterministic=True)
        self._filling = []
        self._filling_bytes = 0
        for line in self._lines.values():
            line.outbox.put(frame, transactions=True)
