"""A relayer's route over real chains: over good lines it carries all there is; whatever goes wrong, it only delays."""

import contextlib
from collections import Counter
from itertools import pairwise

import pytest

from bridge.packet import ERROR, sent_key
from bridge.relayer_outbox import Lane
from bridge.relayer_plan import Receive, Update
from client.relay_end import NotReady
from client.relay_route import TERMINAL, Refusal
from ledger import codec, hashes, state
from ledger.block import app_hash, decode_header
from ledger.errors import ChiptraceError
from ledger.identifiers import canonical, interval_text
from ledger.limits import HEADERS_PER_UPDATE_MAX, U64_MAX
from proto.chiptrace.v1.bridge_pb2 import Packet, SubmitMisbehaviour
from proto.chiptrace.v1.consensus_pb2 import SignedHeader
from proto.chiptrace.v1.ledger_pb2 import (
    DEPARTED,
    IN_TRANSIT,
    LIVE,
    OFFERED,
    VALIDATOR,
    Change,
    Operation,
    PutKey,
    Reason,
    Result,
    SetValidators,
    Validator,
)
from proto.chiptrace.v1.node_pb2 import (
    HeadersReply,
    Outcome,
    PacketsReply,
    PacketsRequest,
    ProveRequest,
    SubmitReply,
    TransactionReply,
)
from tests.bridge.test_serials import captured
from tests.bridge.two_chains import MEMBERS, World
from tests.client.relaying import NODES, Fate, Killed, Line, RelayStub, carried, route_over
from tests.ledger.chain_fixture import key_of
from tests.ledger.rules_world import serials_of


def sent(world, count, *, name="a", member="ada", to="bob", **options):
    parts = [world.commission(name, member) for _ in range(count)]
    for part in parts:
        assert world.send(name, part, to, **options).ok
    return parts


def test_packets_cross_and_their_answers_come_back():
    world = World()
    parts = sent(world, 5)
    route = route_over(world)
    carried(route, world)
    assert all(world.part("b", part).status == OFFERED for part in parts)
    assert all(world.part("a", part).status == DEPARTED for part in parts)
    assert route.stuck == ()


def test_a_thousand_packets_go_under_one_update():
    world = World()
    parts = [world.commission("a", "ada") for _ in range(300)]
    for part in parts:
        assert world.send("a", part, "bob", timeout_ms=80_000_000).ok
    kinds = Counter()
    route = route_over(
        world, told=lambda d, actions, r: kinds.update((d.name, type(a).__name__) for a in actions)
    )
    carried(route, world)
    assert kinds["a>b", "Receive"] == kinds["b>a", "Acknowledge"] == 300
    assert kinds["a>b", "Update"] == kinds["b>a", "Update"] == 1


def test_what_is_late_comes_back():
    world = World()
    (part,) = sent(world, 1, timeout_ms=1_000)
    world.pass_time(60_000)
    carried(route_over(world), world)
    assert world.part("a", part).status == LIVE


def test_new_packets_do_not_wait_behind_a_backlog():
    world = World()
    old = sent(world, 12)
    route = route_over(world, packets_per_round=2)
    world.settle()
    route.round()
    new = sent(world, 1)
    world.settle()
    route.round()
    assert world.part("b", new[0]).status == OFFERED
    assert sum(world.part("b", part).status == OFFERED for part in old) == 4
    lanes = Counter(item.lane for item in route.first.outbox.open())
    assert lanes[Lane.CLEARING] >= 8


def test_a_refusal_leaves_the_packet_for_longer_each_time_and_the_others_go_on():
    world = World()
    parts = sent(world, 3)
    route = route_over(world)
    world.settle()
    key = None

    def refuse(direction, action):
        nonlocal key
        key = key or action.key
        route._refused(direction, action, Reason.POOL_FULL)

    route.round()
    first = route.first.outbox.open()[0]
    action = Receive(first.sent.packet, 9, b"k" * 8)
    waits = []
    for _ in range(12):
        refuse(route.forth, action)
        waits.append(route.forth.refusals[key].until_ms - world.clock.now_ms)
    assert 1_500 <= waits[0] <= 2_500
    assert all(later > earlier for earlier, later in pairwise(waits[:7]))
    assert max(waits) <= 750_000
    carried(route, world)
    assert all(world.part("b", part).status == OFFERED for part in parts)


def test_packets_that_touch_too_much_together_go_in_smaller_transactions():
    """None of them is at fault, and none waits for it."""
    world = World()
    count = 24
    for number in range(count):
        lot = canonical(f"urn:epc:class:lgtin:4012345.012345.W{number}").text
        first, last = f"{1_000 * number:07}", f"{1_000 * number + 999:07}"
        made = captured(world, serials_of(lot, first, last, 1_000), number)
        assert world["a"].operate("ada", made).ok
        assert world.send("a", interval_text(lot, 0, 1_000), "bob", member="ada").ok
    said = Counter()
    route = route_over(world, told=lambda d, _, result: said.update([(d.name, result.reason)]))
    rounds = carried(route, world)
    assert rounds <= 5
    assert not route.forth.refusals
    assert said["a>b", Reason.TOO_MANY_KEYS] <= 4
    # What is light goes together again.
    for _ in range(8):
        sent(world, 10)
        carried(route, world)
    assert route.forth.together_max > 9


@pytest.mark.parametrize("reason", sorted(TERMINAL))
def test_terminal_reasons_are_not_tried_again(reason):
    world = World()
    sent(world, 1)
    route = route_over(world)
    world.settle()
    for end in (route.first, route.second):
        route._choose(end)
        end.look()
        route._find(end)
    (found,) = route.first.outbox.open()
    key = sent_key(found.sent.packet)
    route.forth.refusals[key] = Refusal(1, 1 << 63, reason)
    assert route.round() == 0
    route = route_over(world)  # only by who begins anew, as `bridge clear` does
    assert route.round() == 1 + 1
    # One node's word is not enough: it is said by another one, too.
    asked = route.second.connection.endpoint
    for endpoint, terminal in ((asked, False), (asked, False), (None, True)):
        route.second.connection.endpoint = endpoint or route.second.connection.endpoint
        route._refused(route.forth, Receive(found.sent.packet, 9, key), reason)
        assert route.second.connection.endpoint != asked or terminal  # another one is asked next
        assert route.forth.refusals[key].terminal == terminal


def test_a_frozen_client_is_told_and_nothing_is_tried():
    world = World()
    (part,) = sent(world, 1)
    first, second = (world["a"].header(2), world["a"].header(2))
    forged = decode_header(second.header)
    forged.app_hash = b"another".ljust(32)
    second = SignedHeader(header=codec.encode(forged))
    second.certificate.CopyFrom(world["a"].certify(second.header))
    message = SubmitMisbehaviour(client="a-1", first=first, second=second)
    operation = Operation(submit_misbehaviour=codec.encode(message))
    assert world["b"].operate("bob", operation, role="relayer").ok
    route = route_over(world)
    for _ in range(3):
        world.settle()
        assert route.round() == 0
    assert "frozen" in route.stuck[0]
    assert world.part("a", part).status == IN_TRANSIT


def test_a_client_of_another_pair_is_told():
    world = World()
    route = route_over(world)
    route.first.outbox.counterparty = "somebody"
    world.settle()
    with pytest.raises(NotReady, match="pairs with"):
        route.round()


def test_two_relayers_side_by_side_do_no_harm():
    world = World()
    parts = sent(world, 6) + sent(world, 2, timeout_ms=1_000)
    world.pass_time(2_000)
    refused = Counter()

    def told(direction, actions, result):
        if not result.ok:
            refused[Reason.Name(result.reason)] += 1

    both = [route_over(world, told=told, packets_per_round=3) for _ in range(2)]
    for _ in range(30):
        world.settle()
        for route in both:
            route.round()
        world.clock.now_ms += 400
    assert [len(end.outbox) for route in both for end in (route.first, route.second)] == [0] * 4
    assert all(world.live_copies(part) == 1 for part in parts)
    assert not refused


def test_a_table_that_was_lost_costs_a_scan_and_one_that_was_kept_costs_none():
    world = World()
    parts = sent(world, 4)
    route = route_over(world)
    carried(route, world)
    for _ in range(4):
        world.clock.now_ms += 1_000
        route.round()
    low = route.first.outbox.low
    assert low == 5
    fresh = sent(world, 1)
    for kept in ({}, {"a": low}):
        again = route_over(world, low=kept)
        world.settle()
        again._choose(again.first)
        again.first.look()
        asked = []
        packets = again.first.packets
        again.first.packets = lambda first, packets=packets, asked=asked, **more: (
            asked.append(first) or packets(first, **more)
        )
        again._find(again.first)
        assert asked[1] == kept.get("a", 1)
        assert [item.sequence for item in again.first.outbox.open()] == [5]
    carried(route_over(world, low={"a": low}), world)
    assert all(world.part("b", part).status == OFFERED for part in parts + fresh)


def test_many_set_changes_come_over_several_updates(monkeypatch):
    monkeypatch.setattr("ledger.limits.HEADERS_PER_UPDATE_MAX", 2)
    assert HEADERS_PER_UPDATE_MAX > 2
    world = World()
    for number in range(7, 12):
        seed = bytes([number]) * 32
        key = hashes.public_key(seed)
        world["a"].seeds[key] = seed
        members = [Validator(key=key_of(member, "validator"), member=member) for member in MEMBERS["a"][:3]]
        put = Change(put_key=PutKey(key=key, member="ann", role=VALIDATOR))
        change = Change(set_validators=SetValidators(validators=[*members, Validator(key=key, member="ann")]))
        assert world.govern("a", put, change, joiners=[seed]).ok
    (part,) = sent(world, 1)
    updates = []
    route = route_over(
        world, told=lambda d, actions, r: updates.extend(a for a in actions if isinstance(a, Update))
    )
    carried(route, world)
    assert world.part("b", part).status == OFFERED
    assert len(updates) >= 3


class TwoNodes(Line):
    """A chain of which one node answers as `wrong` does, and the other honestly."""

    wrong, liar = RelayStub, NODES[0]

    def call(self, method, request, seconds=0.0):
        with self.lock:
            stub = self.wrong(self.chain) if self.endpoint == self.liar else self.stub
            return method(stub)(request)


def over(wrong, liar):
    return type("Wrong", (TwoNodes,), {"wrong": wrong, "liar": liar})


class KeepsBack(RelayStub):
    def GetPackets(self, request):
        return PacketsReply(next_sequence=request.from_sequence)


class SaysClosed(RelayStub):
    """It says that nothing is open."""

    def GetPackets(self, request):
        reply = super().GetPackets(request)
        for item in reply.items:
            item.open = False
        return reply


class StandsStill(RelayStub):
    """It stands at height 2, whatever the chain does."""

    def Prove(self, request):
        return super().Prove(ProveRequest(keys=request.keys, height=1) if not request.height else request)


class MakesUp(RelayStub):
    """It lists packets that were never sent, and proves what it likes."""

    def GetPackets(self, request):
        reply = super().GetPackets(request)
        for item in reply.items:
            item.packet.value += b"more"
        return reply


class AnswersForThem(RelayStub):
    """It says that everything was received, and refused."""

    def GetPackets(self, request):
        if not request.received:
            return super().GetPackets(request)
        other = self.other
        sent = PacketsRequest(client=other.chain.client(self.pair).id, from_sequence=request.from_sequence)
        reply = other.GetPackets(sent)
        for item in reply.items:
            item.height, item.acknowledgement, item.open = 2, ERROR, False
        return reply


class ProvesAnything(RelayStub):
    """Proofs of packets are such that the value said to be there looks right."""

    def Prove(self, request):
        reply = super().Prove(request)
        for key in reply.keys:
            if len(reply.keys) > 1 or not key.key.startswith(state.client_key("")[:1]):
                key.proof.siblings.append(bytes(32))
        return reply


class ShowsAnyState(RelayStub):
    """It shows a header of its own making, with a state under it of its own making too."""

    def Prove(self, request):
        reply = super().Prove(request)
        if request.height:
            reply.opening.state_root = bytes(32)
        return reply


class MakesHeaders(RelayStub):
    """It shows a header of its own making, to which its proofs open."""

    def Prove(self, request):
        reply = super().Prove(request)
        if request.height and request.keys:
            reply.opening.log_root = bytes(32)
            header = decode_header(reply.head.header)
            header.app_hash = app_hash(self.chain.chain_id, reply.opening)
            reply.head.header = codec.encode(header)
        return reply


class MixesHeights(RelayStub):
    """Its proofs are true, of another height than the header beside them."""

    def Prove(self, request):
        reply = super().Prove(request)
        if request.height > 1 and request.keys:
            older = super().Prove(ProveRequest(keys=request.keys, height=request.height - 1))
            reply.opening.CopyFrom(older.opening)
            for key, other in zip(reply.keys, older.keys, strict=True):
                key.CopyFrom(other)
        return reply


class ShowsAnyHeader(RelayStub):
    """Its headers are such that nobody has certified them."""

    def GetHeaders(self, request):
        reply = super().GetHeaders(request)
        for signed in reply.headers:
            signed.certificate.signatures[0] = bytes(64)
        return reply

    def Prove(self, request):
        reply = super().Prove(request)
        reply.head.certificate.signatures[0] = bytes(64)
        return reply


class SaysItIsLate(RelayStub):
    """Its newest leaf is of a time when nothing is taken any more, and nothing was received yet."""

    def GetPackets(self, request):
        return PacketsReply() if request.received else super().GetPackets(request)

    def Prove(self, request):
        reply = super().Prove(request)
        if request.height == 0:
            reply.last_leaf.leaf = (
                reply.last_leaf.leaf[:8] + (2**62).to_bytes(8, "big") + reply.last_leaf.leaf[16:]
            )
        return reply


class ProvesALaterTime(SaysItIsLate):
    """And it says so again where a time has to be proven, of a chain that has received nothing."""

    def Prove(self, request):
        reply = super().Prove(request)
        if request.height:
            leaf = reply.last_leaf.leaf
            reply.last_leaf.leaf = leaf[:8] + (2**62).to_bytes(8, "big") + leaf[16:]
        return reply


class CountsTooFar(RelayStub):
    """It lists one more packet, of the highest number there can be."""

    def GetPackets(self, request):
        reply = super().GetPackets(request)
        ends = [f"{self.other.chain.name}-1", self.pair]
        source, destination = reversed(ends) if request.received else ends
        packet = Packet(sequence=U64_MAX, source_client=source, destination_client=destination)
        reply.items.add(packet=packet, height=1)
        return reply


class ShowsNoHeaders(RelayStub):
    """Its headers are no headers."""

    def GetHeaders(self, request):
        return HeadersReply(headers=[SignedHeader(header=b"none")])


class SaysItWasRecovered(RelayStub):
    """Its headers come with a recovery that there never was."""

    def GetHeaders(self, request):
        reply = super().GetHeaders(request)
        for signed in reply.headers:
            signed.recovery = b"a recovery"
        return reply


class ListsOthers(RelayStub):
    """What it lists is of another pair of clients."""

    def GetPackets(self, request):
        reply = super().GetPackets(request)
        reply.items.add(packet=Packet(sequence=request.from_sequence + 9, source_client="other"), height=1)
        return reply


LIARS = [
    SaysItIsLate,
    ProvesALaterTime,
    ShowsNoHeaders,
    SaysItWasRecovered,
    KeepsBack,
    SaysClosed,
    StandsStill,
    MakesUp,
    AnswersForThem,
    ProvesAnything,
    ShowsAnyState,
    MakesHeaders,
    MixesHeights,
    ShowsAnyHeader,
]


@pytest.mark.parametrize("wrong", LIARS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("which", ["a", "b"])
@pytest.mark.parametrize("liar", NODES)
def test_one_honest_node_of_a_chain_is_enough_and_the_other_fails_no_transaction(wrong, which, liar):
    world = World()
    parts = sent(world, 3)
    refused = []

    def told(direction, actions, result):
        if not result.ok:
            refused.append(Reason.Name(result.reason))

    bad = over(wrong, liar)
    bad.wrong.other, bad.wrong.pair = RelayStub(world["b" if which == "a" else "a"]), f"{which}-1"
    route = route_over(world, lambda chain: bad(chain) if chain.name == which else Line(chain), told=told)
    for _ in range(30):
        world.settle()
        with contextlib.suppress(ChiptraceError):
            route.round()
        world.clock.now_ms += 20_000
    assert all(world.part("b", part).status == OFFERED for part in parts)
    assert all(world.part("a", part).status == DEPARTED for part in parts)
    assert refused == []


class SaysItWasRefused(RelayStub):
    """It submits nothing, and says that the chain can never take it."""

    def Submit(self, request):
        said = Outcome(final=True, admitted=True, transaction=bytes(32), reason=Reason.MALFORMED)
        return SubmitReply(outcomes=[said] * len(request.transactions))

    def GetTransaction(self, request):
        result = Result(transaction=bytes(32), reason=Reason.MALFORMED, operation=9)
        return TransactionReply(result=codec.encode(result))


@pytest.mark.parametrize("liar", NODES)
def test_one_node_alone_has_no_packet_given_up(liar):
    world = World()
    parts = sent(world, 3)
    bad = over(SaysItWasRefused, liar)
    route = route_over(world, lambda chain: bad(chain) if chain.name == "b" else Line(chain))
    for _ in range(12):
        world["b"].produce()
        world.settle()
        with contextlib.suppress(ChiptraceError):
            route.round()
        world.clock.now_ms += 10_000
    assert all(world.part("b", part).status == OFFERED for part in parts)
    assert not any(item.terminal for item in route.forth.refusals.values())


@pytest.mark.parametrize("wrong", [CountsTooFar, ListsOthers], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("which", ["a", "b"])
@pytest.mark.parametrize("liar", NODES)
def test_a_node_whose_lists_cannot_be_does_not_keep_the_scan_to_itself(wrong, which, liar):
    world = World()
    parts = sent(world, 3)
    bad = over(wrong, liar)
    bad.wrong.other, bad.wrong.pair = RelayStub(world["b" if which == "a" else "a"]), f"{which}-1"
    route = route_over(world, lambda chain: bad(chain) if chain.name == which else Line(chain))
    for _ in range(12):
        world[which].produce()
        world.settle()
        with contextlib.suppress(ChiptraceError):
            route.round()
        world.clock.now_ms += 1_000
    assert all(world.part("b", part).status == OFFERED for part in parts)
    assert all(world.part("a", part).status == DEPARTED for part in parts)


@pytest.mark.parametrize("liar", NODES)
def test_answers_are_brought_for_no_packet_that_a_node_made_up(liar):
    world = World()
    parts = sent(world, 3)
    world.settle()
    route_over(world).round()  # received, and not acknowledged yet
    refused = []
    bad = over(MakesUp, liar)
    route = route_over(
        world,
        lambda chain: bad(chain) if chain.name == "a" else Line(chain),
        told=lambda direction, actions, result: refused.append(result.reason) if not result.ok else None,
    )
    for _ in range(10):
        world.settle()
        with contextlib.suppress(ChiptraceError):
            route.round()
        world.clock.now_ms += 20_000
    assert all(world.part("a", part).status == DEPARTED for part in parts)
    assert refused == []


def test_headers_that_another_relayer_has_overtaken_are_no_error():
    world = World()
    parts = sent(world, 2)
    slow, fast = route_over(world), route_over(world)
    world.settle()
    submit = slow.second.submit

    def late(groups):
        # Between the plan and the bringing, the other one brings newer headers.
        slow.second.submit = submit
        world["a"].produce()
        world.settle()
        fast.round()
        return submit(groups)

    slow.second.submit = late
    slow.round()
    carried(slow, world)
    assert all(world.part("b", part).status == OFFERED for part in parts)


# ---- whatever goes wrong ------------------------------------------------------------------------------------------------

SEEDS = range(25)


def lived(seed, *, keep_table, rate=15):
    """A relayer that suffers everything, then one over good lines; the world, the parts, and what was done to it."""
    world = World()
    fate = Fate(seed, rate)
    parts = sent(world, 3) + sent(world, 1, timeout_ms=20_000)
    low, refused, routes = {}, Counter(), []

    def told(direction, actions, result):
        if not result.ok:
            refused[direction.name, Reason.Name(result.reason)] += 1

    route = None
    for step in range(25):
        if route is None:
            route = route_over(
                world, fate.line, low=low if keep_table else None, told=told, packets_per_round=2
            )
            routes.append(route)
        try:
            world.settle()
            route.round()
        except ChiptraceError:
            pass
        except Killed:
            low = {end.trust.name: end.outbox.low for end in (route.first, route.second)}
            route = None
        if step == 10:
            parts += sent(world, 1)
            for part in parts:
                if world.part("b", part).status == OFFERED:
                    assert world.accept("b", part, "bob").ok
                    assert world.send("b", part, "ada", member="bob").ok
                    break
        world.clock.now_ms += fate.random.choice((100, 1_000, 5_000))
        assert all(world.live_copies(part) == 1 for part in parts), seed
    return world, parts, fate, route, refused


@pytest.mark.parametrize("keep_table", [False, True])
def test_whatever_lines_nodes_and_crashes_do_it_only_delays(keep_table):
    done = set()
    for seed in SEEDS:
        world, parts, fate, route, _ = lived(seed, keep_table=keep_table)
        done |= fate.done
        fate.quiet = True
        # The very relayer that was lied to comes to itself; with it gone, another one does.
        if route is None:
            route = route_over(world)
        with contextlib.suppress(ChiptraceError):
            route.round()
        for _ in range(40):
            world.settle()
            world.clock.now_ms += 30_000
            try:
                left = route.round()
            except ChiptraceError:
                left = 1
            if not left and not len(route.first.outbox) + len(route.second.outbox):
                break
        for part in parts:
            assert world.live_copies(part) == 1, seed
            statuses = {world.part(name, part).status for name in "ab"}
            assert statuses & {LIVE, OFFERED}, (seed, part, statuses)
    kinds = {kind.split()[0] for kind in done}
    assert {"stall", "lost", "replay", "lie", "die"} <= kinds
    assert {"lie ProveRequest", "lie PacketsRequest", "lie SubmitRequest", "lie HeadersRequest"} <= done
