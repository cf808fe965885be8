"""The outgoing side of a line between validators: it finds the right one, and keeps a stream to it up.

Where packets get lost, a stream is held up by what was lost before, again and again. A line may have a second stream
beside the first, over a connection of its own, for copies of small frames: which comes first counts, and what comes
twice costs the receiver a comparison.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from typing import Final

import grpc

from ledger.errors import Malformed
from ledger.limits import PEER_MESSAGE_BYTES_MAX
from node import certificates, tls_port
from node.config import ConsensusPortConfig, PeerConfig, TlsConfig, split_address
from node.peer_outbox import Outbox
from proto.chiptrace.v1 import node_pb2_grpc
from proto.chiptrace.v1.node_pb2 import PeerFrame

_LOG: Final = logging.getLogger("chiptrace.peers")
FRAME_BYTES_MAX: Final = PEER_MESSAGE_BYTES_MAX + 64
TWICE_BYTES_MAX: Final = 16_384  # of a frame that goes over both streams
RECONNECT_MS_MIN: Final = 50
HANDSHAKE_SECONDS: Final = 5.0
OPTIONS: Final = (
    ("grpc.max_receive_message_length", FRAME_BYTES_MAX),
    ("grpc.max_send_message_length", FRAME_BYTES_MAX),
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),  # channels to one address share no connection
)


async def pinned_certificate(peer: PeerConfig, tls: TlsConfig) -> bytes:
    """The validator's certificate (PEM), checked: authority, host, dates, pin. Raises OSError, Malformed."""
    tls_port.checked(tls)  # ssl would not say which of our own files is wrong, and how
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
    return grpc.aio.secure_channel(peer.address, credentials, OPTIONS)


class Line:
    """The outgoing stream to one validator, kept up with growing pauses, and perhaps a second one beside it.

    The second (`reached` None) carries copies: that it is up or down is neither told nor counted.
    """

    def __init__(
        self,
        peer: PeerConfig,
        tls: TlsConfig,
        port: ConsensusPortConfig,
        hello: grpc.aio.Metadata,
        reached: Callable[[bytes], None] | None,
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
        twice = reached is not None and port.streams_per_validator > 1
        self.second = Line(peer, tls, port, hello, None) if twice else None

    def put(self, frame: bytes, *, twice: bool, transactions: bool = False) -> None:
        """Queue a frame; one that may come twice goes over both streams when it is small."""
        self.outbox.put(frame, transactions=transactions)
        if twice and self.second is not None and len(frame) <= TWICE_BYTES_MAX:
            self.second.outbox.put(frame, transactions=transactions)

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
        if self.second is not None:
            self.second.start()

    def stop(self) -> None:
        """Call no more."""
        self._stopped = True
        self.connected = False
        if self.task is not None:
            self.task.cancel()
        if self.second is not None:
            self.second.stop()

    async def ended(self) -> None:
        """Returns once it runs no more, after `stop`."""
        if self.task is not None:
            await asyncio.gather(self.task, return_exceptions=True)
        if self.second is not None:
            await self.second.ended()

    def call(self) -> None:
        """The validator has called us: do not wait any longer to call it."""
        self.called.set()
        if self.second is not None:
            self.second.called.set()

    def _lost(self, trouble: str) -> None:
        """Say it once per cause, not once per attempt."""
        if self._reached is not None and (self.connected or trouble != self._trouble):
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
            if self._reached is not None:
                _LOG.info("validator reached", extra={"peer": self.peer.member})
                self._reached(self.key)
            while True:
                await call.write(PeerFrame(message=await self.outbox.get()))
        except (TimeoutError, asyncio.InvalidStateError, grpc.RpcError):
            call.cancel()
