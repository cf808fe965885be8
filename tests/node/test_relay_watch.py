"""The relayer's watch over chains in one process: a real fork is found and brought, whatever one lying node does."""

import random
from pathlib import Path

import pytest
from google.protobuf.message import DecodeError

from client.connection import NoAnswer
from client.relay_end import RelayEnd
from client.trust import ChainTrust
from ledger import codec
from ledger.block import decode_header
from ledger.errors import ChiptraceError
from node import relay_watch
from node.relay_metrics import RelayMetrics
from node.relay_table import RelayTable
from node.relay_watch import ChainWatch, WatchedClient
from proto.chiptrace.v1.consensus_pb2 import SignedHeader
from proto.chiptrace.v1.ledger_pb2 import Reason, Result
from proto.chiptrace.v1.node_pb2 import BlockAtReply, HeadersReply, HistoryItem, HistoryReply
from tests.bridge.two_chains import World
from tests.client.hostile_nodes import altered
from tests.client.relaying import HEARTBEAT_MS, RelayStub
from tests.client.test_witness import forged, show
from tests.ledger.chain_fixture import seed_of

NODES = ("node-1", "node-2")


class Nodes:
    """Connections to a chain of two nodes, the first of which answers as `wrong` does."""

    def __init__(self, chain, wrong=RelayStub):
        self.stubs = {NODES[0]: wrong(chain), NODES[1]: RelayStub(chain)}

    def line(self, only=None):
        return Line(self.stubs, only)


class Line:
    def __init__(self, stubs, only=None):
        self.stubs, self.only, self.endpoint = stubs, only, only or NODES[0]

    def call(self, method, request, seconds=0.0):
        try:
            return method(self.stubs[self.only or self.endpoint])(request)
        except (DecodeError, AttributeError) as error:
            raise NoAnswer(str(error)) from error


def trust_of(chain):
    return ChainTrust(chain.name, chain.chain_id, NODES, Path("ca.pem"), HEARTBEAT_MS)


class Watch:
    """A watch over chain a, which b and c keep clients of. `wrong`: how the first node of a chain answers, by name."""

    def __init__(self, world, tmp_path, monkeypatch, **wrong):
        self.world = world
        self.nodes = {name: Nodes(world[name], wrong.get(name, RelayStub)) for name in "abc"}
        monkeypatch.setattr(relay_watch, "now_ms", lambda: world.clock.now_ms)
        monkeypatch.setattr(
            relay_watch, "Connection", lambda chain, identity, only=None: self.nodes["a"].line(only)
        )
        self.ends = [
            RelayEnd(
                trust_of(world[name]),
                self.nodes[name].line(),
                seed_of(world[name].members[0], "relayer"),
                "a-1",
                f"{name}-1",
                1,
                lambda: world.clock.now_ms,
            )
            for name in "bc"
        ]
        self.table = RelayTable(tmp_path / "relay.db")
        clients = [WatchedClient(end) for end in self.ends]
        self.watch = ChainWatch(trust_of(world["a"]), None, clients, RelayMetrics(60_000), tmp_path)

    def rounds(self, count=4):
        """So many rounds; what they complained of."""
        told = []
        for _ in range(count):
            try:
                self.watch.round(self.table)
            except ChiptraceError as error:
                told.append(str(error))
            self.world.clock.now_ms += 2_000
            for name in "abc":
                self.world[name].produce()
        return told

    def frozen(self):
        return [self.world[name].client("a-1").frozen for name in "bc"]


@pytest.fixture
def world():
    found = World("a", "b", "c", joined=(("b", "c"),))
    for _ in range(3):
        found["a"].produce()
    found.settle()
    return found


@pytest.fixture
def watching(world, tmp_path, monkeypatch):
    return lambda **wrong: Watch(world, tmp_path, monkeypatch, **wrong)


def fork_on_b(world):
    assert show(world, "b", "a-1", forged(world["a"], 5)).ok
    assert show(world, "c", "a-1", world["a"].header(5)).ok


def test_honest_nodes_show_no_fork(world, watching):
    assert show(world, "b", "a-1", world["a"].header(5)).ok
    watch = watching()
    assert watch.rounds() == []
    assert watch.frozen() == [False, False]


def test_a_fork_that_one_client_holds_freezes_both_and_convicts(world, watching, tmp_path):
    fork_on_b(world)
    watch = watching()
    watch.rounds(1)
    assert watch.frozen() == [True, True]
    assert (tmp_path / "fork-a-5.json").exists()


class ShowsNoHeaders(RelayStub):
    def GetHeaders(self, request):
        return HeadersReply(headers=[SignedHeader(header=b"none")])


class ProvesNothing(RelayStub):
    def Prove(self, request):
        reply = super().Prove(request)
        reply.opening.state_root = bytes(32)
        return reply


class StandsStill(RelayStub):
    """What it shows of the chain's state is that of height 3, as long as it is asked."""

    def GetHeaders(self, request):
        reply = super().GetHeaders(request)
        kept = [signed for signed in reply.headers if decode_header(signed.header).height <= 4]
        return HeadersReply(headers=kept)

    def Prove(self, request):
        request.height = request.height or 3
        return super().Prove(request)


class NamesAnyHeight(RelayStub):
    """The headers that it shows are made up, with certificates of a height that never was."""

    def GetBlock(self, request):
        reply = super().GetBlock(request)
        header = decode_header(reply.head.header)
        header.app_hash = b"any".ljust(32)
        made = SignedHeader(header=codec.encode(header), certificate=reply.head.certificate)
        made.certificate.height = 2**64 - 1
        return BlockAtReply(head=made)


class HasNoHistory(RelayStub):
    def GetHistory(self, request):
        return HistoryReply(items=[HistoryItem()])


@pytest.mark.parametrize(
    ("chain", "wrong"),
    [
        ("a", ShowsNoHeaders),
        ("a", NamesAnyHeight),
        ("b", ShowsNoHeaders),
        ("b", ProvesNothing),
        ("b", HasNoHistory),
        ("c", ProvesNothing),
    ],
)
def test_one_lying_node_hides_no_fork(world, watching, chain, wrong):
    fork_on_b(world)
    watch = watching(**{chain: wrong})
    watch.rounds(6)
    assert watch.frozen() == [True, True]


def test_a_node_that_shows_old_state_hides_no_fork_for_longer_than_it_is_asked(world, watching, monkeypatch):
    monkeypatch.setattr(relay_watch, "TURN_ROUNDS", 3)
    fork_on_b(world)
    watch = watching(b=StandsStill)
    watch.rounds(2)
    assert watch.frozen() == [False, False]
    watch.rounds(3)
    assert watch.frozen() == [True, True]


def two_heads(watch, world, height):
    """The second node shows another certified head of a height than the first."""
    other = forged(world["a"], height)
    second = watch.nodes["a"].stubs[NODES[1]]
    honest = second.GetStatus

    def status(request):
        reply = honest(request)
        reply.head.CopyFrom(other)
        return reply

    second.GetStatus = status


def test_two_heads_are_a_fork_also_above_the_headers_followed(world, watching, tmp_path):
    """Heads are asked after the headers were followed, and a busy chain is higher by then."""
    watch = watching()
    height = world["a"].height
    two_heads(watch, world, height)
    source = watch.watch._source
    advance, source.advance = source.advance, source.trusted
    source.trusted()
    watch.rounds(1)
    assert watch.frozen() == [True, True]
    assert not (tmp_path / f"fork-a-{height}.json").exists()
    source.advance = advance
    watch.rounds(1)
    assert (tmp_path / f"fork-a-{height}.json").exists()


def test_what_freezes_no_client_is_brought_ever_more_seldom(world, watching, monkeypatch):
    fork_on_b(world)
    watch = watching()
    brought = []
    for end in watch.ends:
        monkeypatch.setattr(
            end,
            "submit",
            lambda groups: brought.append(1) or [Result(ok=False, reason=Reason.BAD_VALIDATORS)],
        )
    watch.rounds(40)
    assert len(brought) <= 2 * 6


def test_a_client_that_a_corrupt_chain_names_at_any_height_ends_nothing(world, watching, monkeypatch):
    """What another chain's client holds is that chain's word."""
    fork_on_b(world)
    watch = watching()
    honest = relay_watch.witness.held

    def held(host, client, *options):
        found = honest(host, client, *options)
        for item in found[:1]:
            if item.by == "c":
                item.header.height, item.header.block_hash = 2**64 - 1, bytes(32)
        return found

    monkeypatch.setattr(relay_watch.witness, "held", held)
    watch.rounds(2)
    assert watch.frozen() == [True, True]


def test_clients_that_no_route_names_are_watched_up_to_a_number(world, watching, monkeypatch):
    monkeypatch.setattr(relay_watch, "FOUND_MAX", 3)
    watch = watching()
    monkeypatch.setattr(relay_watch, "clients_of", lambda reader, chain: [f"x-{n}" for n in range(100)])
    watch.rounds(3)
    assert len(watch.watch._clients) == 2 + 2 * 3


def test_a_search_through_a_history_that_has_no_end_has_one(world, watching):
    """A lying node's answers to a search cost no more than a client's share of a round."""
    fork_on_b(world)
    watch = watching()
    asked = []

    def nothing(request):
        asked.append(1)
        world.clock.now_ms += 1_000
        return HistoryReply()

    for stub in watch.nodes["b"].stubs.values():
        stub.GetHistory = nothing
    client = watch.watch._clients[0]
    client.held()
    record = client.record()
    record.history.n = 10**6
    assert client.brought(5) is None
    assert len(asked) <= 6


@pytest.mark.parametrize("seed", range(6))
def test_no_answer_of_one_node_of_each_chain_hides_a_fork_or_ends_a_watch(seed, world, watching):
    """Whatever stands in the fields of an answer: no error but such as a watch expects, and nobody honest is accused."""
    toss = random.Random(seed)
    liars = {name: altered(toss, toss.choice((0.1, 0.4, 1.0))) for name in toss.sample("abc", seed % 3 + 1)}
    found = watching(**liars)
    found.rounds(4)
    assert found.frozen() == [False, False]
    fork_on_b(world)
    for _ in range(15):
        found.rounds(4)
        if all(found.frozen()):
            break
    assert found.frozen() == [True, True]
