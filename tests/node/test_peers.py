"""Lines between validators: both ends pinned, attributed by certificate, bounded, and hard to upset."""

import asyncio
import contextlib
import dataclasses
import gc
import socket
import ssl
import time

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.clock import now_ms
from ledger import codec
from node import certificates, open_files, peers, tls_port
from node.config import ConsensusPortConfig, PeerConfig, TlsConfig
from node.peer_line import TWICE_BYTES_MAX, Line
from node.peer_outbox import Outbox
from node.peers import BUSY_DELAY_TIMES, BUSY_FRAME, Peers
from proto.chiptrace.v1 import node_pb2_grpc
from proto.chiptrace.v1.consensus_pb2 import NOTARIZE, PeerMessage, Tip, TransactionFrame, Vote
from proto.chiptrace.v1.node_pb2 import PeerFrame

HELLO = (("chiptrace-chain", "00"), ("chiptrace-state-version", "1"))
HOSTS = ("localhost", "127.0.0.1")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Consortium:
    """An authority and certificates of it: of nodes a, b and c, and of d, who is nobody's validator."""

    def __init__(self, directory):
        self.directory = directory
        certificates.create_authority(directory, "test", now_ms())
        self.pins = {
            n: certificates.issue(directory, directory / f"{n}.pem", n, HOSTS, now_ms()) for n in "abcd"
        }
        self.ports = {n: free_port() for n in "abc"}

    def tls(self, name):
        d = self.directory
        return TlsConfig(ca=d / "ca.pem", certificate=d / f"{name}.pem", private_key=d / f"{name}-key.pem")

    def peer(self, name, pin=None):
        return PeerConfig(
            member=name,
            key=name.encode().hex() * 32,
            address=f"127.0.0.1:{self.ports[name]}",
            pin=pin or self.pins[name],
        )

    def port(self, name):
        return ConsensusPortConfig(listen=f"127.0.0.1:{self.ports[name]}", reconnect_ms_max=100)

    def node(self, name, others, hello=HELLO, **changes):
        inbox, reached = [], []

        async def receive(key, message):
            inbox.append((key, message))

        port = dataclasses.replace(self.port(name), **changes)
        validators = [self.peer(n) if isinstance(n, str) else n for n in others]
        node = Peers(validators, self.tls(name), port, hello, receive, reached.append)
        node.inbox, node.reached = inbox, reached
        return node


@pytest.fixture(scope="module")
def consortium(tmp_path_factory):
    return Consortium(tmp_path_factory.mktemp("consortium"))


def key(name):
    return name.encode() * 32


def vote(view=1):
    return PeerMessage(
        vote=Vote(kind=NOTARIZE, height=1, view=view, block_hash=b"h" * 32, signature=b"s" * 64)
    )


async def until(condition, seconds=30.0):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 (what is awaited is another party's doing)
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def running(*nodes):
    for node in nodes:
        await node.start()
    try:
        yield
    finally:
        for node in nodes:
            await node.stop()


def test_messages_arrive_in_order_and_carry_the_callers_key(consortium, run):
    async def scenario():
        a, b = consortium.node("a", "b"), consortium.node("b", "a")
        async with running(a, b):
            await until(lambda: a.connected() and b.connected())
            for view in range(50):
                a.send(None, vote(view))
            b.send(key("a"), vote(7))
            b.send(key("c"), vote(8))
            await until(lambda: len(b.inbox) == 50 and a.inbox)
        assert [message.vote.view for _, message in b.inbox] == list(range(50))
        assert {sender for sender, _ in b.inbox} == {key("a")}
        assert a.inbox == [(key("b"), vote(7))]
        assert (a.reached, b.reached) == ([key("b")], [key("a")])

    run(scenario())


def test_transactions_leave_in_full_frames_or_after_a_moment(consortium, run):
    async def scenario():
        a = consortium.node("a", "b", frame_transactions_max=10, frame_delay_ms=20)
        b = consortium.node("b", "a")
        async with running(a, b):
            await until(a.connected)
            for number in range(25):
                a.pass_on([b"%d" % number])
            await until(lambda: len(b.inbox) == 3)
        frames = [list(message.transactions.transactions) for _, message in b.inbox]
        assert [len(frame) for frame in frames] == [10, 10, 5]
        assert [t for frame in frames for t in frame] == [b"%d" % number for number in range(25)]

    run(scenario())


def test_after_a_frame_of_many_the_next_one_is_filled_for_longer(consortium, run):
    async def scenario():
        a = consortium.node("a", "b", frame_delay_ms=20)
        b = consortium.node("b", "a")
        async with running(a, b):
            await until(a.connected)
            loop = asyncio.get_running_loop()
            for count, times in ((1, 1), (BUSY_FRAME - 1, 1), (BUSY_FRAME, BUSY_DELAY_TIMES), (1, 1)):
                frames = len(b.inbox)
                a.pass_on([b"%d" % number for number in range(count)])
                begun, leaves_in = loop.time(), a._flush_timer.when() - loop.time()
                await until(lambda frames=frames: len(b.inbox) == frames + 1)
                assert len(b.inbox[-1][1].transactions.transactions) == count
                assert loop.time() - begun >= leaves_in - 0.01
                assert a._next_flush - loop.time() <= times * 0.02
            assert a._next_flush - loop.time() <= 0.02

    run(scenario())


def test_a_validator_that_comes_back_is_reached_again(consortium, run):
    async def scenario():
        a, b = consortium.node("a", "b"), consortium.node("b", "a")
        async with running(a):
            async with running(b):
                await until(a.connected)
            await until(lambda: not a.connected())
            again = consortium.node("b", "a")
            async with running(again):
                await until(a.connected)
                a.send(None, vote())
                await until(lambda: again.inbox)

    run(scenario())


def test_a_validator_that_calls_is_called_back_at_once(consortium, run):
    """However long the pause has grown: who calls is there, and cannot wait for what we have to say."""

    async def scenario():
        node_a = consortium.node("a", ["b"], reconnect_ms_max=600_000)
        async with running(node_a):
            line = node_a._lines[key("b")]
            await until(lambda: line._trouble)
            line._pause_ms_max, pauses = 600_000, []
            line._pause = lambda seconds: pauses.append(seconds) or Line._pause(line, 600)
            await until(lambda: pauses)
            async with running(consortium.node("b", ["a"])):
                await until(lambda: node_a.connected() == {key("b")}, 2)

    run(scenario())


def test_small_frames_go_over_both_streams_and_one_that_hangs_holds_up_nothing(consortium, run):
    """The second stream has a connection of its own: what is said comes even while the first is stuck."""

    async def scenario():
        node_a = consortium.node("a", ["b"], streams_per_validator=2)
        node_b = consortium.node("b", ["a"])
        async with running(node_a, node_b):
            line = node_a._lines[key("b")]
            await until(lambda: line.connected and line.second.connected)
            assert node_b._door._streams[key("a")] == 2
            node_a.send(None, vote(1))
            await until(lambda: len(node_b.inbox) == 2)
            assert node_a.reached == [key("b")]
            large = PeerMessage(vote=Vote(signature=bytes(TWICE_BYTES_MAX)))
            node_a.send(None, large)
            node_a.send(None, PeerMessage(tip=Tip()))
            await until(lambda: len(node_b.inbox) == 4)
            await asyncio.sleep(0.1)
            assert [message for _, message in node_b.inbox[2:]] == [large, PeerMessage(tip=Tip())]
            line.outbox.get = asyncio.Event().wait  # stuck from the next frame on
            node_a.send(None, vote(2))
            node_a.send(None, vote(3))
            await until(lambda: (key("a"), vote(3)) in node_b.inbox)
            assert line.connected

    run(scenario())


def test_the_caller_refuses_a_server_with_another_key_than_the_pinned_one(consortium, caplog, run):
    async def scenario():
        wrong = consortium.peer("b", pin=consortium.pins["c"])
        a, b = consortium.node("a", [wrong]), consortium.node("b", "a")
        async with running(a, b):
            await until(lambda: any("shows the key" in str(getattr(r, "cause", "")) for r in caplog.records))
            assert not a.connected()

    run(scenario())


def test_the_door_refuses_a_certificate_of_the_authority_that_is_no_validators(consortium, caplog, run):
    async def scenario():
        b, c = consortium.node("b", "a"), consortium.node("c", "b")
        async with running(b, c):
            await until(
                lambda: any("PERMISSION_DENIED" in str(getattr(r, "cause", "")) for r in caplog.records)
            )
            assert not c.connected()
            assert b.inbox == []

    run(scenario())


@pytest.mark.parametrize(
    "other", [(("chiptrace-chain", "01"), HELLO[1]), (HELLO[0], ("chiptrace-state-version", "2"))]
)
def test_another_chain_or_version_is_refused_at_the_handshake(consortium, caplog, other, run):
    async def scenario():
        a, b = consortium.node("a", "b", hello=other), consortium.node("b", "a")
        async with running(a, b):
            await until(lambda: any("another chain" in str(getattr(r, "cause", "")) for r in caplog.records))
            assert not a.connected()

    run(scenario())


def test_a_stranger_or_plain_bytes_do_not_get_in_or_hurt(consortium, tmp_path, run):
    certificates.create_authority(tmp_path, "elsewhere", now_ms())
    certificates.issue(tmp_path, tmp_path / "a.pem", "a", HOSTS, now_ms())

    async def scenario():
        a, b = consortium.node("a", "b"), consortium.node("b", "a")
        async with running(a, b):
            await until(a.connected)
            for garbage in (
                b"\x00" * 5_000,
                b"GET / HTTP/1.1\r\n\r\n",
                b"\x16\x03\x01\x40\x00" + b"\xff" * 16_384,
            ):
                _, writer = await asyncio.open_connection("127.0.0.1", consortium.ports["b"])
                writer.write(garbage)
                with contextlib.suppress(ConnectionError):
                    await writer.drain()
                writer.close()
            stranger = grpc.ssl_channel_credentials(
                (consortium.directory / "ca.pem").read_bytes(),
                (tmp_path / "a-key.pem").read_bytes(),
                (tmp_path / "a.pem").read_bytes(),
            )
            async with grpc.aio.secure_channel(f"127.0.0.1:{consortium.ports['b']}", stranger) as channel:
                call = node_pb2_grpc.PeerStub(channel).Exchange(metadata=grpc.aio.Metadata(*HELLO), timeout=2)
                with pytest.raises(grpc.aio.AioRpcError):
                    await call.read()
            a.send(None, vote())
            await until(lambda: b.inbox)

    run(scenario())


def test_strangers_take_a_part_of_the_files_only_and_not_for_long(consortium, run, monkeypatch):
    """A node that can open no file when its store begins a new one has to end; to connect needs no certificate."""
    monkeypatch.setattr(open_files, "connections_max", lambda: 6)
    monkeypatch.setattr(tls_port, "HANDSHAKE_MS_MAX", 1_000)

    async def scenario():
        a, b = consortium.node("a", "b"), consortium.node("b", "a")
        async with running(a, b):
            await until(a.connected)
            strangers = [await asyncio.open_connection("127.0.0.1", consortium.ports["b"]) for _ in range(30)]
            ends = [asyncio.create_task(reader.read()) for reader, _ in strangers]
            done, waiting = await asyncio.wait(ends, timeout=0.5)
            assert len(done) >= 24
            assert waiting
            assert len((await asyncio.wait(ends, timeout=5))[0]) == 30  # and these came no further
            a.send(None, vote())
            await until(lambda: b.inbox)
            for _, writer in strangers:
                writer.close()

    run(scenario())


def test_a_certificate_alone_keeps_no_connection(consortium, run, monkeypatch):
    """Any of the authority's opens one, at the port of validators too; who is no validator may make no call there."""
    monkeypatch.setattr(open_files, "connections_max", lambda: 6)
    monkeypatch.setattr(tls_port, "IDLE_MS_MAX", 500)

    async def scenario():
        a, b, c = (consortium.node(name, "abc".replace(name, "")) for name in "abc")
        tls = consortium.tls("d")
        context = ssl.create_default_context(cafile=str(tls.ca))
        context.load_cert_chain(tls.certificate, tls.private_key)
        context.set_alpn_protocols(["h2"])
        async with running(b, a):
            await until(a.connected)
            port = consortium.ports["b"]
            silent = [await asyncio.open_connection("127.0.0.1", port, ssl=context) for _ in range(5)]
            for _, writer in silent:  # all that makes a connection, and no more
                writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
            async with running(c):
                await until(lambda: key("b") in c.connected())
            assert a.connected()  # a line that is used stays
            for _, writer in silent:
                writer.transport.abort()

    run(scenario())


def test_a_renewed_certificate_is_shown_and_accepted_without_a_restart(tmp_path, run):
    consortium = Consortium(tmp_path)

    async def scenario():
        a, b = consortium.node("a", "b"), consortium.node("b", "a")
        async with running(b):
            certificates.issue(tmp_path, tmp_path / "b.pem", "b renewed", HOSTS, now_ms())
            async with running(a):
                await until(a.connected)
            context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
            context.load_cert_chain(tmp_path / "a.pem", tmp_path / "a-key.pem")
            _, writer = await asyncio.open_connection("127.0.0.1", consortium.ports["b"], ssl=context)
            shown = writer.get_extra_info("ssl_object").getpeercert()
            writer.transport.abort()
            assert shown["subject"] == ((("commonName", "b renewed"),),)

    run(scenario())


def passed_on(count):
    return PeerMessage(transactions=TransactionFrame(transactions=[b""] * count)).SerializeToString()


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff" * 40,
        b"\x12\x02\x08\x01\x12\x02\x08\x01",
        b"\x9a\x06\x00",
        passed_on(peers.FRAME_TRANSACTIONS_MAX + 1),
    ],
    ids=["no message", "not canonical", "unknown", "more transactions than are sent"],
)
def test_a_frame_that_is_no_message_ends_its_own_stream_only(consortium, garbage, run):
    async def scenario():
        b = consortium.node("b", "a")
        tls = consortium.tls("a")
        credentials = grpc.ssl_channel_credentials(
            tls.ca.read_bytes(), tls.private_key.read_bytes(), tls.certificate.read_bytes()
        )
        async with (
            running(b),
            grpc.aio.secure_channel(f"127.0.0.1:{consortium.ports['b']}", credentials) as channel,
        ):
            stub = node_pb2_grpc.PeerStub(channel)
            call = stub.Exchange(metadata=grpc.aio.Metadata(*HELLO))
            await call.write(PeerFrame(message=garbage))
            assert await call.code() == grpc.StatusCode.INVALID_ARGUMENT
            await asyncio.sleep(peers.AWAY_TIMES * 0.01)
            call = stub.Exchange(metadata=grpc.aio.Metadata(*HELLO))
            await call.write(PeerFrame(message=vote().SerializeToString(deterministic=True)))
            await until(lambda: b.inbox)
            assert b.inbox == [(key("a"), vote())]

    run(scenario())


@pytest.mark.parametrize("how", ["refused", "hung up on"])
def test_of_a_frame_that_comes_to_nothing_nothing_is_kept(consortium, run, how):
    bad = how == "refused"
    sent = PeerFrame(message=b"\xff" * 999 if bad else vote().SerializeToString(deterministic=True))

    async def scenario():
        b = consortium.node("b", "a")
        taken = asyncio.Event()

        async def full(_key, _message):
            taken.set()
            await asyncio.Event().wait()

        b._door._receive = full
        tls = consortium.tls("a")
        credentials = grpc.ssl_channel_credentials(
            tls.ca.read_bytes(), tls.private_key.read_bytes(), tls.certificate.read_bytes()
        )
        address = f"127.0.0.1:{consortium.ports['b']}"
        async with running(b), grpc.aio.secure_channel(address, credentials) as channel:
            gc.collect()
            gc.disable()  # it may take long until it comes by: it counts objects, and not how large they are
            try:
                call = node_pb2_grpc.PeerStub(channel).Exchange(metadata=grpc.aio.Metadata(*HELLO))
                await call.write(sent)
                if bad:
                    assert await call.code() == grpc.StatusCode.INVALID_ARGUMENT
                else:
                    await taken.wait()
                    call.cancel()
                await asyncio.sleep(0.1)
                kept = [o for o in gc.get_objects() if isinstance(o, PeerFrame) and o == sent]
                assert len(kept) == 1  # the test's own
            finally:
                gc.enable()

    run(scenario())


def test_who_sends_what_takes_long_to_refuse_stays_away_many_times_as_long(consortium, run, monkeypatch):
    seconds = 0.02

    def slow(kind, data, bytes_max):
        if data.startswith(b"\xff"):
            time.sleep(seconds)
        return decode(kind, data, bytes_max)

    decode = codec.decode
    monkeypatch.setattr(peers.codec, "decode", slow)

    async def scenario():
        b = consortium.node("b", "ac")
        async with running(b), contextlib.AsyncExitStack() as stack:
            stubs = {}
            for name in "ac":
                tls = consortium.tls(name)
                credentials = grpc.ssl_channel_credentials(
                    tls.ca.read_bytes(), tls.private_key.read_bytes(), tls.certificate.read_bytes()
                )
                address = f"127.0.0.1:{consortium.ports['b']}"
                channel = await stack.enter_async_context(grpc.aio.secure_channel(address, credentials))
                stubs[name] = node_pb2_grpc.PeerStub(channel)

            async def knock(name):
                return await stubs[name].Exchange(metadata=grpc.aio.Metadata(*HELLO)).code()

            async def send(name, frame):
                call = stubs[name].Exchange(metadata=grpc.aio.Metadata(*HELLO))
                try:
                    await call.write(PeerFrame(message=frame))
                    await call.done_writing()
                except grpc.aio.AioRpcError as error:
                    return error.code()  # whoever is turned away while writing may learn no more than that
                return await call.code()

            good = vote().SerializeToString(deterministic=True)
            began = asyncio.get_running_loop().time()
            assert await send("a", b"\xff" * 40) == grpc.StatusCode.INVALID_ARGUMENT
            assert await knock("a") == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert await send("c", good) == grpc.StatusCode.OK
            while await send("a", good) != grpc.StatusCode.OK:  # noqa: ASYNC110 (it is the door that lets us in)
                await asyncio.sleep(0.01)
            assert asyncio.get_running_loop().time() - began > seconds * peers.AWAY_TIMES
            assert b.inbox == [(key("c"), vote()), (key("a"), vote())]

    run(scenario())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=30), st.booleans()), max_size=40), st.integers(1, 10)
)
def test_the_outbox_is_bounded_prefers_consensus_and_drops_the_oldest(frames, messages_max):
    async def scenario():
        outbox = Outbox(messages_max, 100)
        consensus, transactions = [], []
        for frame, of_transactions in frames:
            outbox.put(frame, transactions=of_transactions)
            (transactions if of_transactions else consensus).append(frame)
            while (
                len(consensus) + len(transactions) > messages_max
                or sum(map(len, consensus + transactions)) > 100
            ):
                (transactions or consensus).pop(0)
        assert [await outbox.get() for _ in consensus + transactions] == consensus + transactions
        assert outbox.dropped == len(frames) - len(consensus + transactions)

    asyncio.run(scenario())


# ---- who is known, changed while the node runs


def test_a_validator_is_known_from_when_it_is_named_and_until_it_is_not(consortium, run):
    async def scenario():
        a, b = consortium.node("a", ""), consortium.node("b", "a")
        async with running(a, b):
            await asyncio.sleep(0.2)
            assert not b.connected()  # a refuses a caller it does not know
            assert a.replace([consortium.peer("b")]) == (["b"], [])
            await until(lambda: a.connected() and b.connected())
            b.send(None, vote(1))
            await until(lambda: a.inbox)
            # The same again changes nothing, and no line is called anew.
            assert a.replace([consortium.peer("b")]) == ([], [])
            assert a.connected()
            assert a.replace([]) == ([], ["b"])
            assert not a.connected()
            assert not a.knows(key("b"))
            b.send(None, vote(2))
            await until(lambda: not b.connected())
        assert [message.vote.view for _, message in a.inbox] == [1]

    run(scenario())


def test_a_validator_whose_pin_changed_is_called_anew(consortium, run):
    async def scenario():
        a, b = consortium.node("a", "b"), consortium.node("b", "a")
        async with running(a, b):
            await until(lambda: a.connected() and b.connected())
            assert a.replace([consortium.peer("b", pin="0" * 64)]) == (["b"], ["b"])
            await asyncio.sleep(0.3)
            assert not a.connected()
            b.send(None, vote(2))
            await until(lambda: not b.connected())
            assert a.replace([consortium.peer("b")]) == (["b"], ["b"])
            await until(lambda: a.connected() and b.connected())
        assert not a.inbox

    run(scenario())
