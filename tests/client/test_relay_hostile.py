"""One lying node of each chain, by seeds: everything is carried all the same, and nothing but delay comes of it."""

import contextlib
import random

import pytest

from bridge.sending import send_packet
from client.connection import NodeRefused
from client.relay_end import NodeLied, NotReady
from ledger import codec
from ledger.errors import ChiptraceError
from ledger.limits import RPC_MESSAGE_BYTES_MAX
from node.relay_metrics import RelayMetrics
from node.relay_table import RelayTable
from proto.chiptrace.v1.bridge_pb2 import Packet
from proto.chiptrace.v1.ledger_pb2 import DEPARTED, OFFERED, Change, Evidence, Operation, Reason, Result
from proto.chiptrace.v1.node_pb2 import Outcome, SubmitReply, TransactionReply
from tests.bridge import two_chains
from tests.bridge.two_chains import MEMBERS, PREFIX, BridgedChain, World
from tests.client.hostile_nodes import altered, one_lies, parallel
from tests.client.relaying import NODES, Line, RelayStub, route_over
from tests.client.test_relay_route import SaysClosed, over, sent

ROUNDS_MAX = 40  # a packet that a node keeps back waits for the next scan, here three rounds off, and for an honest pair


def through(world, parts):
    return all(world.part("b", part).status == OFFERED for part in parts) and all(
        world.part("a", part).status == DEPARTED for part in parts
    )


def rounds(route, world, count, step_ms):
    for _ in range(count):
        world.settle()
        with contextlib.suppress(ChiptraceError):
            route.round()
        world.clock.now_ms += step_ms


# ---- whatever a node writes into its answers -----------------------------------------------------------------------


@pytest.mark.parametrize("seed", [*range(24), 233, 365, 389])
def test_no_answer_of_one_node_ends_a_relayer_or_keeps_anything_from_being_carried(seed, tmp_path):
    """As the process does it (node/relay.py): what is no ChiptraceError would end it."""
    toss = random.Random(seed)
    world = World()
    parts = sent(world, 3)
    line = one_lies(altered(toss, toss.choice((0.1, 0.4, 1.0))), toss.choice(NODES))
    metrics, table = RelayMetrics(60_000), RelayTable(tmp_path / "relay.db")
    route = route_over(world, line, told=metrics.carried)
    for number in range(ROUNDS_MAX):
        world.settle()
        if number == 8:
            parts += sent(world, 2)
        trouble = ""
        try:
            route.round()
        except ChiptraceError as error:
            trouble = str(error)
        table.save((route.forth, route.back))
        metrics.round(route, 1.0, trouble)
        metrics.health()
        world.clock.now_ms += 10_000
        if number > 8 and through(world, parts):
            break
    assert through(world, parts)
    route.close()
    table.close()


class NamesNoReason(RelayStub):
    """It says that everything was refused, for reasons that have no name."""

    def Submit(self, request):
        return SubmitReply(outcomes=[Outcome(final=True, transaction=bytes(32))] * len(request.transactions))

    def GetTransaction(self, request):
        return TransactionReply(result=codec.encode(Result(transaction=request.id, reason=9_999)))


@pytest.mark.parametrize("liar", NODES)
def test_a_reason_that_has_no_name_is_counted_under_none(liar):
    world = World()
    parts = sent(world, 2)
    metrics = RelayMetrics(60_000)
    bad = over(NamesNoReason, liar)
    seen = set()

    def told(direction, actions, result):
        seen.add(result.reason)
        metrics.carried(direction, actions, result)

    route = route_over(world, lambda chain: bad(chain) if chain.name == "b" else Line(chain), told=told)
    rounds(route, world, 20, 20_000)
    assert Reason.REASON_UNSPECIFIED in seen
    assert through(world, parts)


# ---- a history of its own ----------------------------------------------------------------------------------------------


def strangers():
    """The same chains, that know nothing of each other."""
    world = World()
    world.chains = {
        name: BridgedChain(name, world.clock, grants={PREFIX: MEMBERS[name][0]} if name == "a" else None)
        for name in world.chains
    }
    for chain in world.chains.values():
        for _ in range(4):
            chain.produce()
    return world


def paired_with_others():
    world = strangers()
    for host, source in (("a", "b"), ("b", "a")):
        made = world.client_of(source, host, counterparty_client="nobody")
        assert world.govern(host, Change(create_client=made)).ok
    world.settle()
    return world


def far_ahead():
    world = World()
    sent(world, 40)
    world.settle()
    return world


@pytest.mark.parametrize("other", [strangers, paired_with_others, far_ahead])
@pytest.mark.parametrize("which", ["a", "b"])
@pytest.mark.parametrize("liar", NODES)
def test_a_history_that_nobody_certified_holds_no_route_up(other, which, liar):
    world = World()
    parts = sent(world, 3)
    bad = one_lies(parallel(other()), liar)
    route = route_over(world, lambda chain: bad(chain) if chain.name == which else Line(chain))
    rounds(route, world, 20, 20_000)
    assert through(world, parts)


class HeightsThatNeverCome(RelayStub):
    """What it lists was sent, and answered, at a height that no chain comes to; and more than there is was sent."""

    def GetPackets(self, request):
        reply = super().GetPackets(request)
        for item in reply.items:
            item.height = 2**62
        if not request.received:
            for sequence in range(max(100, request.from_sequence), 10_000, 100):
                packet = Packet(sequence=sequence, source_client=request.client, destination_client=self.pair)
                packet.timeout_ms = 2**63
                reply.items.add(packet=packet, height=2**62, open=True)
        return reply


@pytest.mark.parametrize("which", ["a", "b"])
@pytest.mark.parametrize("liar", NODES)
def test_heights_that_never_come_hold_no_packet_up(which, liar):
    world = World()
    parts = sent(world, 3)
    bad = over(HeightsThatNeverCome, liar)
    bad.wrong.pair = f"{which}-1"
    route = route_over(world, lambda chain: bad(chain) if chain.name == which else Line(chain))
    rounds(route, world, 10, 20_000)
    parts += sent(world, 2)
    rounds(route, world, 20, 20_000)
    assert through(world, parts)
    left = []
    for _ in range(4):
        rounds(route, world, 1, 20_000)
        left.append(len(route.first.outbox) + len(route.second.outbox))
    assert 0 in left  # else its health would be bad for ever


class SaysDone(RelayStub):
    """It submits nothing, and says that it is done."""

    def Submit(self, request):
        done = Outcome(final=True, ok=True, transaction=bytes(32))
        return SubmitReply(outcomes=[done] * len(request.transactions))


@pytest.mark.parametrize("liar", NODES)
def test_what_was_only_said_to_be_done_is_done_by_another_node(liar):
    world = World()
    parts = sent(world, 3)
    bad = over(SaysDone, liar)
    route = route_over(world, lambda chain: bad(chain) if chain.name == "b" else Line(chain), clear_ms=10**9)
    rounds(route, world, 1, 250)  # the scan
    route.second.connection.endpoint = liar
    rounds(route, world, 4, 250)
    assert through(world, parts)


def test_a_chain_that_only_says_that_it_is_done_is_not_asked_without_a_pause():
    """A relayer does not pause after a round that brought something."""
    world = World()
    sent(world, 3)
    bad = type(
        "Bad", (Line,), {"call": lambda self, method, request, _=0: method(SaysDone(self.chain))(request)}
    )
    route = route_over(world, lambda chain: bad(chain) if chain.name == "b" else Line(chain))
    brought = []
    for _ in range(20):
        world.settle()
        brought.append(route.round())
        world.clock.now_ms += 250
    assert brought[0] == 4
    assert set(brought[1:]) == {0}


def test_what_a_node_says_for_people_is_cut_to_a_sentence():
    class Talks(RelayStub):
        def Submit(self, request):
            return SubmitReply(
                outcomes=[Outcome(admitted=True, detail="x" * 1_000_000)] * len(request.transactions)
            )

    world = World()
    sent(world, 1)
    bad = over(Talks, NODES[0])
    route = route_over(world, lambda chain: bad(chain) if chain.name == "b" else Line(chain))
    world.settle()
    with pytest.raises(NotReady) as raised:
        route.round()
    assert 500 < len(str(raised.value)) < 700


def test_lists_that_do_not_hold_keep_nothing_from_being_brought_that_is_known():
    world = World()
    parts = sent(world, 2)
    route = route_over(world)
    world.settle()
    for end in (route.first, route.second):
        route._choose(end)
        end.look()
        route._find(end)

    def lies(end):
        raise end.lied(ValueError("a list that cannot be"))

    route._find = lies
    with pytest.raises(NodeLied):
        route.round()
    assert all(world.part("b", part).status == OFFERED for part in parts)


def test_a_node_that_answers_in_another_ones_place_speaks_for_itself_alone():
    """Else the cursor, which lasts, would leave behind what is open."""

    class OneSilent(Line):
        def call(self, method, request, seconds=0.0):
            self.endpoint = NODES[1]
            return method(SaysClosed(self.chain))(request)

    world = World()
    parts = sent(world, 3)
    route = route_over(world, lambda chain: OneSilent(chain) if chain.name == "a" else Line(chain))
    rounds(route, world, 20, 1_000)
    assert route.first.outbox.low == 1
    again = route_over(world, low={"a": route.first.outbox.low})
    rounds(again, world, 4, 1_000)
    assert through(world, parts)


def test_a_client_that_is_said_not_to_be_there_is_asked_of_another_node_next():
    world = World()
    bad = one_lies(parallel(strangers()), NODES[1])
    route = route_over(world, lambda chain: bad(chain) if chain.name == "a" else Line(chain), clear_ms=10**9)
    world.settle()
    route.round()
    route.first.connection.endpoint = NODES[1]
    with pytest.raises(NotReady):
        route.round()
    route.round()


# ---- much, and large ------------------------------------------------------------------------------------------------------


class AsGrpc(Line):
    """No request is larger than a line carries."""

    def answer(self, method, request):
        if request.ByteSize() > RPC_MESSAGE_BYTES_MAX:
            raise NodeRefused(f"a message of {request.ByteSize()} bytes")
        return method(request)


def test_packets_that_are_too_many_bytes_for_one_request_go_in_several(monkeypatch):
    def send_anything(ctx, evidence):
        packet = Packet.FromString(evidence.first)
        send_packet(ctx, packet.source_client, packet.timeout_ms, "custody/1", "1", "proto", bytes(200_000))

    monkeypatch.setattr(two_chains, "write_anything", send_anything)
    monkeypatch.setattr("bridge.sending.BYTES_PER_RECORD", RPC_MESSAGE_BYTES_MAX)
    world = World("a", "b", corrupt="a")
    count = 45
    for _ in range(count):
        packet = Packet(source_client="b-1", timeout_ms=world.clock.now_ms + 3_600_000)
        evidence = Evidence(first=codec.encode(packet), second=b"")
        assert world["a"].operate("ada", Operation(evidence=evidence)).ok
    assert count * 200_000 > RPC_MESSAGE_BYTES_MAX
    received = []

    def told(direction, actions, result):
        if direction.name == "a>b" and result.ok:
            received.extend(action for action in actions if type(action).__name__ == "Receive")

    route = route_over(world, AsGrpc, told=told)
    world.settle()
    route.round()
    assert len(received) == count


def test_a_request_holds_so_many_transactions_and_one_refusal_keeps_back_no_other_request(monkeypatch):
    monkeypatch.setattr("ledger.limits.SUBMIT_TRANSACTIONS_MAX", 2)
    world = World()
    sent(world, 6)
    route = route_over(world)
    route.forth.together_max = 1
    submit, counts = route.second.submit, []

    def submitted(groups):
        counts.append(len(groups))
        results = submit(groups)
        if len(counts) == 2:
            results[0] = Result(reason=Reason.NOT_LIVE)
        return results

    route.second.submit = submitted
    world.settle()
    route.round()
    assert counts == [1, 2, 2, 2]  # the headers first
