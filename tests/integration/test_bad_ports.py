"""Garbage on the consensus port, and absurd questions on the client port: answered or hung up on, and no harm."""

import os
import socket
import ssl
import threading

import grpc
import pytest

from ledger import state
from proto.chiptrace.v1.node_pb2 import (
    BlockAtRequest,
    FollowRequest,
    HeadersRequest,
    HistoriesRequest,
    HistoryRequest,
    LogLeavesRequest,
    PacketsRequest,
    PeerFrame,
    ProveRequest,
    SubmitRequest,
    TransactionRequest,
)
from proto.chiptrace.v1.node_pb2_grpc import PeerStub
from tests.integration.hostile import (
    CHAIN,
    HOLDER,
    OTHER,
    U64,
    UNKNOWN_FIELD,
    told,
    unmoved_state,
)

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def world(bed):
    with told(bed) as found:
        yield found


@pytest.fixture
def unmoved(world):
    with unmoved_state(world):
        yield


# ---- the consensus port -----------------------------------------------------------------------------------


def place_of(world, member):
    return next(node for node in world.bed.network.nodes if node.name == f"{CHAIN}-{member}")


def garbage():
    yield b"\0" * 20_000
    yield os.urandom(20_000)
    yield b"GET / HTTP/1.1\r\n\r\n"
    yield b"\x16\x03\x01\xff\xff" + os.urandom(4_000)  # begins as TLS does
    yield b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + os.urandom(5_000)


def test_garbage_without_tls_on_the_consensus_port(world, unmoved):
    host, port = place_of(world, HOLDER).validators.split(":")
    for data in garbage():
        with socket.create_connection((host, int(port)), timeout=5) as line:
            line.sendall(data)
            line.settimeout(2)
            try:
                while line.recv(4_096):
                    pass
            except OSError:
                pass


def test_nobody_without_a_certificate_speaks_on_the_consensus_port(world, unmoved):
    host, port = place_of(world, HOLDER).validators.split(":")
    context = ssl.create_default_context(cafile=str(world.session.trust.ca))
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host, int(port)), timeout=5) as line,
        pytest.raises(OSError, match=r"(?i)certificate|alert|reset|EOF|closed"),
        context.wrap_socket(line, server_hostname=host) as secure,
    ):
        secure.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        while secure.recv(4_096):
            pass  # its first words, before it has seen that we show nothing
        raise OSError("closed")


def exchange(world, certificate, key, hello, frames):
    """What a call on HOLDER's consensus port ends with."""
    credentials = grpc.ssl_channel_credentials(
        world.session.trust.ca.read_bytes(), key.read_bytes(), certificate.read_bytes()
    )
    with grpc.secure_channel(place_of(world, HOLDER).validators, credentials) as channel:
        held = threading.Event()

        def sent():
            yield from frames
            held.wait(10)

        call = PeerStub(channel).Exchange(sent(), metadata=hello, timeout=8)
        try:
            for _ in call:
                pass
            return grpc.StatusCode.OK
        except grpc.RpcError as error:
            return error.code()
        finally:
            held.set()


def hello_of(world):
    return (
        ("chiptrace-chain", world.session.trust.chain_id.hex()),
        ("chiptrace-state-version", "1"),
    )


def test_a_members_certificate_opens_no_consensus_port(world, unmoved):
    identity = world.session.identity
    frames = [PeerFrame(message=b"\x0a\x00")]
    code = exchange(world, identity.certificate, identity.tls_key, hello_of(world), frames)
    assert code == grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    "message", [b"\xff" * 500, os.urandom(300_000), b"\x0a\x05hello", UNKNOWN_FIELD], ids=range(4)
)
def test_a_validator_that_speaks_garbage_is_hung_up_on(world, unmoved, message):
    place = world.bed.network.node_directory(f"{CHAIN}-{OTHER}")
    frames = [PeerFrame(message=message)]
    code = exchange(world, place / "node.pem", place / "node-key.pem", hello_of(world), frames)
    assert code == grpc.StatusCode.INVALID_ARGUMENT


def test_a_validator_of_another_chain_is_told_so(world, unmoved):
    place = world.bed.network.node_directory(f"{CHAIN}-{OTHER}")
    hello = (("chiptrace-chain", "00" * 32), hello_of(world)[1])
    code = exchange(world, place / "node.pem", place / "node-key.pem", hello, [])
    assert code == grpc.StatusCode.FAILED_PRECONDITION


# ---- absurd questions ---------------------------------------------------------------------------------------

ANSWERED = None
QUESTIONS = {
    "a proof of far too many keys": ("Prove", ProveRequest(keys=[b"k"] * 100_000), "OVERSIZE"),
    "a proof of the empty key": ("Prove", ProveRequest(keys=[b""]), ANSWERED),
    "a proof of a key of a megabyte": ("Prove", ProveRequest(keys=[bytes(1_000_000)]), None),
    "a proof at no height": ("Prove", ProveRequest(keys=[b"k"], height=U64), "HEIGHT_NOT_SERVED"),
    "a block of no height": ("GetBlock", BlockAtRequest(height=U64), "NOT_FOUND"),
    "headers after the end of time": ("GetHeaders", HeadersRequest(from_height=U64), ANSWERED),
    "a history of nobody": ("GetHistory", HistoryRequest(subject=os.urandom(100_000)), ANSWERED),
    "a history from its end": (
        "GetHistory", HistoryRequest(subject=state.member_key(HOLDER), from_n=U64, limit=U64), ANSWERED),
    "a history of everything": (
        "GetHistory", HistoryRequest(subject=b"", from_n=0, limit=U64, with_transactions=True), ANSWERED),
    "histories of far too many": ("GetHistories", HistoriesRequest(subjects=[b"k"] * 100_000), "OVERSIZE"),
    "histories of nobody": ("GetHistories", HistoriesRequest(subjects=[b"", bytes(100_000)]), ANSWERED),
    "a transaction of a long name": ("GetTransaction", TransactionRequest(id=bytes(500_000)), "NOT_FOUND"),
    "a transaction of no name": ("GetTransaction", TransactionRequest(id=b""), "NOT_FOUND"),
    "log leaves of no height": ("GetLogLeaves", LogLeavesRequest(heights=[0], size=5), "NOT_FOUND"),
    "log leaves beyond the log": ("GetLogLeaves", LogLeavesRequest(heights=[U64], size=U64), "NOT_FOUND"),
    "log leaves of a log too long": ("GetLogLeaves", LogLeavesRequest(heights=[1], size=U64), "NOT_FOUND"),
    "far too many log leaves": ("GetLogLeaves", LogLeavesRequest(heights=[1] * 100_000, size=1), "OVERSIZE"),
    "packets of no client": ("GetPackets", PacketsRequest(client="\0" * 10_000, limit=2**32 - 1), "OVERSIZE"),
    "packets after the last": ("GetPackets", PacketsRequest(client="chipmaker", from_sequence=U64), ANSWERED),
    "no transactions": ("Submit", SubmitRequest(wait=True), ANSWERED),
    "far too many transactions": ("Submit", SubmitRequest(transactions=[b""] * 100_000), "OVERSIZE"),
}  # fmt: skip


@pytest.mark.parametrize("case", QUESTIONS)
def test_absurd_questions_get_an_answer_or_a_reason(world, unmoved, case):
    method, request, reason = QUESTIONS[case]
    stub = world.session.connection.stub(world.session.connection.endpoint)
    call = getattr(stub, method).with_call
    try:
        _, done = call(request, timeout=10)
    except grpc.RpcError as error:
        done = error
    assert (done.code() == grpc.StatusCode.OK) == (reason is ANSWERED), done.details()
    assert dict(done.trailing_metadata() or ()).get("chiptrace-reason") == reason


def test_following_from_the_end_of_time_waits_and_hurts_nobody(world, unmoved):
    stub = world.session.connection.stub(world.session.connection.endpoint)
    with pytest.raises(grpc.RpcError) as error:
        next(stub.Follow(FollowRequest(from_height=U64), timeout=1))
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
