"""The line to the nodes of one chain: mutual TLS, deadlines, the next endpoint when one does not answer.

What comes back is not believed here: client/verified.py checks it. Errors name the endpoint and what to do next.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import grpc
from google.protobuf.message import Message

from client.trust import ChainTrust, Identity
from ledger.errors import ChiptraceError
from ledger.limits import RPC_MESSAGE_BYTES_MAX
from proto.chiptrace.v1.ledger_pb2 import Reason
from proto.chiptrace.v1.node_pb2_grpc import ChainStub

DEADLINE_SECONDS = 10.0
RECONNECT_MS_MAX = 5_000  # a node that is back is found within this time
REASON_METADATA = "chiptrace-reason"
DETAILS_CHARACTERS_MAX = 500  # of what a node says for people
Reply = TypeVar("Reply", bound=Message)
_UNREACHABLE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


class NoAnswer(ChiptraceError):
    """No node of the chain answered; nothing is known about what was asked."""


class NodeRefused(ChiptraceError):
    """A node answered that it cannot or will not do this; `reason` is the stable code."""


class Line(Protocol):
    """What carries questions about one chain, and brings answers: the line to its nodes, or what stands for one."""

    @property
    def endpoint(self) -> str:
        """Who answered last."""

    @property
    def bytes_received(self) -> int:
        """Of all answers."""

    def call(
        self,
        method: Callable[[ChainStub], Callable[..., Reply]],
        request: Message,
        seconds: float = DEADLINE_SECONDS,
    ) -> Reply:
        """The answer to one question. Raises NodeRefused, NoAnswer."""


def _channel(endpoint: str, ca: Path, identity: Identity) -> grpc.Channel:
    try:
        credentials = grpc.ssl_channel_credentials(
            ca.read_bytes(), identity.tls_key.read_bytes(), identity.certificate.read_bytes()
        )
    except OSError as error:
        raise NoAnswer(
            f"cannot read {error.filename}: {error.strerror}; the trust file names the CA, the client certificate "
            "and its key: check the paths, or make them with `chiptrace testnet up`"
        ) from error
    options = [
        ("grpc.max_receive_message_length", RPC_MESSAGE_BYTES_MAX),
        ("grpc.max_send_message_length", RPC_MESSAGE_BYTES_MAX),
        ("grpc.enable_http_proxy", 0),
        ("grpc.max_reconnect_backoff_ms", RECONNECT_MS_MAX),  # gRPC's own is two minutes
    ]
    return grpc.secure_channel(endpoint, credentials, options)


class Connection:
    """Calls to one chain's nodes; `endpoint` is the one that answered last.

    `only` keeps to a single endpoint, so that an answer can be laid at one node's door.
    """

    def __init__(self, trust: ChainTrust, identity: Identity, only: str | None = None) -> None:
        self._trust = trust
        self._identity = identity
        self._endpoints = [only] if only else list(trust.endpoints)
        self._channels: dict[str, grpc.Channel] = {}
        self.endpoint = self._endpoints[0] if self._endpoints else ""
        self.bytes_received = 0

    def stub(self, endpoint: str) -> ChainStub:
        """The bare calls of one endpoint, over one channel."""
        if endpoint not in self._channels:
            self._channels[endpoint] = _channel(endpoint, self._trust.ca, self._identity)
        return ChainStub(self._channels[endpoint])

    def call(
        self,
        method: Callable[[ChainStub], Callable[..., Reply]],
        request: Message,
        seconds: float = DEADLINE_SECONDS,
    ) -> Reply:
        """The reply of the first endpoint that answers, beginning with the one that answered last.

        One that refuses, or does not serve what is asked, does not keep the others from answering. Raises
        NodeRefused with the first reason given when none answers, NoAnswer when none gives a reason either.
        """
        order = [self.endpoint, *(e for e in self._endpoints if e != self.endpoint)]
        problems = []
        refusals: list[NodeRefused] = []
        for endpoint in order:
            try:
                reply = method(self.stub(endpoint))(request, timeout=seconds)
            except grpc.RpcError as error:
                refusal = _refusal(endpoint, error)
                if refusal.reason or error.code() not in _UNREACHABLE:
                    refusals.append(refusal)
                problems.append(f"{endpoint}: {_details(error)}")
                continue
            self.endpoint = endpoint
            self.bytes_received += reply.ByteSize()
            return reply
        if refusals:
            raise refusals[0]
        raise NoAnswer(
            f"no node of chain {self._trust.name} answered ({'; '.join(problems)}). Is it running "
            "(`chiptrace testnet status`), and is your certificate from its consortium's CA and in date?"
        )

    def close(self) -> None:
        """Close every channel."""
        for channel in self._channels.values():
            channel.close()
        self._channels.clear()


def _details(error: grpc.RpcError) -> str:
    """What the line or the node says, cut to a sentence."""
    return str(error.details() or error.code().name)[:DETAILS_CHARACTERS_MAX]


def _refusal(endpoint: str, error: grpc.RpcError) -> NodeRefused:
    """The node's reason from the trailing metadata; REASON_UNSPECIFIED where it gave none we know."""
    reason: Reason.ValueType = Reason.REASON_UNSPECIFIED
    metadata: Any = error.trailing_metadata() or ()
    told = {str(key): str(value) for key, value in metadata}
    if told.get(REASON_METADATA) in Reason.keys():  # noqa: SIM118
        reason = Reason.Value(told[REASON_METADATA])
    return NodeRefused(f"{endpoint}: {_details(error)}", reason)
