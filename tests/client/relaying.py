"""A relayer's route over two chains in one process: nodes that answer honestly, and lines and nodes that do not.

route = route_over(world)                              # good lines, honest nodes
route = route_over(world, Fate(seed).line)             # lines and nodes that lie, stall, replay, reorder and die
"""

import random
import threading
from pathlib import Path

from google.protobuf.message import DecodeError

from client.connection import NoAnswer, NodeRefused
from client.relay_end import RelayEnd
from client.relay_route import Route
from client.trust import ChainTrust
from node.services import _packets
from proto.chiptrace.v1.ledger_pb2 import Reason
from proto.chiptrace.v1.node_pb2 import (
    BlockAtReply,
    Outcome,
    PacketsReply,
    ProveReply,
    SubmitReply,
    TransactionReply,
)
from tests.bridge.two_chains import on_the_wire
from tests.client.direct import DirectStub
from tests.ledger.chain_fixture import seed_of

NODES = ("node-1", "node-2")
HEARTBEAT_MS = 10_000


class RelayStub(DirectStub):
    """What a relayer asks beyond an auditor, answered honestly; a submission makes its block, and the next one."""

    def GetStatus(self, request):
        served = self.chain.app.views.served()
        reply = super().GetStatus(request)
        reply.head.CopyFrom(self.chain.header(self.chain.height))
        reply.proof_height_min = served[0] if served else self.chain.height
        return reply

    def GetPackets(self, request):
        return _packets(self.chain.app.store, request)

    def GetBlock(self, request):
        return BlockAtReply(head=on_the_wire(self.chain.app.views.signed_header(request.height)))

    def GetTransaction(self, request):
        found = self.chain.app.store.transaction(request.id)
        if found is None:
            raise NodeRefused("no such transaction", Reason.NOT_FOUND)
        return TransactionReply(transaction=found.data, result=found.result)

    def Submit(self, request):
        outcomes = []
        for data in request.transactions:
            (result,) = self.chain.produce([data])
            self.chain.settle()
            outcomes.append(
                Outcome(
                    transaction=result.transaction,
                    final=True,
                    admitted=True,
                    ok=result.ok,
                    reason=result.reason,
                )
            )
        return SubmitReply(outcomes=outcomes)


class Line:
    """The connection of a relayer to honest nodes, one call at a time."""

    lock = threading.Lock()

    def __init__(self, chain):
        self.chain = chain
        self.stub = RelayStub(chain)
        self.endpoint = NODES[0]

    def call(self, method, request, seconds=0.0):
        with self.lock:
            return self.answer(method(self.stub), request)

    def answer(self, method, request):
        return method(request)

    def close(self):
        pass


class Killed(BaseException):
    """The relayer dies here."""


class Fate:
    """Decides by a seed what goes wrong at each call. `rate`: how often, in a hundred."""

    def __init__(self, seed, rate=15, *, deadly=True):
        self.random = random.Random(seed)
        self.rate = rate
        self.deadly = deadly
        self.quiet = False
        self.done = set()  # what was done, for the test to see that it is not idle

    def line(self, chain):
        return TossedLine(chain, self)


class TossedLine(Line):
    """A line and nodes that do wrong when fate will have it."""

    def __init__(self, chain, fate):
        super().__init__(chain)
        self.fate = fate
        self.before = {}  # answers given before, by kind

    def answer(self, method, request):
        kind = type(request).__name__
        if self.fate.quiet or self.fate.random.randrange(100) >= self.fate.rate:
            reply = method(request)
            self.before.setdefault(kind, []).append(reply)
            return reply
        chosen = self.fate.random.choice(("stall", "lost", "replay", "lie", "die", "die after"))
        self.fate.done.add(f"{chosen} {kind}")
        if chosen == "stall":
            raise NoAnswer("no node answers")
        if chosen == "die" and self.fate.deadly:
            raise Killed
        if chosen == "replay" and self.before.get(kind):
            return self.fate.random.choice(self.before[kind])
        if chosen == "lie" and kind == "SubmitRequest":
            return self.lie(None, request)
        reply = method(request)
        if chosen == "lost":
            raise NoAnswer("the answer was lost")
        if chosen == "die after" and self.fate.deadly:
            raise Killed
        return self.lie(reply, request) if chosen == "lie" else reply

    def lie(self, reply, request):
        toss = self.fate.random
        if reply is None:
            outcome = Outcome(final=True, admitted=True, ok=toss.random() < 0.5, transaction=bytes(32))
            return SubmitReply(outcomes=[outcome] * len(request.transactions))
        copy = type(reply)()
        copy.CopyFrom(reply)
        if isinstance(copy, PacketsReply) and copy.items:
            self.lie_about_packets(copy, toss)
        elif isinstance(copy, ProveReply) and toss.random() < 0.5 and copy.keys:
            key = toss.choice(copy.keys)
            key.present, key.value = not key.present, toss.randbytes(8)
        else:
            data = bytearray(copy.SerializeToString())
            for _ in range(toss.randrange(1, 4)):
                data[toss.randrange(len(data))] ^= 1 << toss.randrange(8)
            try:
                copy = type(reply).FromString(bytes(data))
            except DecodeError:
                raise NoAnswer("what came could not be read") from None
        return copy

    @staticmethod
    def lie_about_packets(copy, toss):
        item = toss.choice(copy.items)
        match toss.randrange(6):
            case 0:
                item.open = not item.open
            case 1:
                item.packet.value += b"more"
            case 2:
                item.height = toss.randrange(2**40)
            case 3:
                item.acknowledgement = toss.randbytes(1)
            case 4:
                items = list(copy.items)
                toss.shuffle(items)
                del copy.items[:]
                copy.items.extend(items)
            case 5:
                kept = [item for item in copy.items if toss.random() < 0.5]
                del copy.items[:]
                copy.items.extend(kept)


def route_over(world, line=Line, *, names=("a", "b"), low=None, told=lambda *_: None, **options):
    """A route between two chains of a world; `low`: cursors that a table has kept, by chain."""
    pair = world.relayers[names]
    ends = []
    for chain, client, counterparty in (
        (pair.a, pair.client_on_a, pair.client_on_b),
        (pair.b, pair.client_on_b, pair.client_on_a),
    ):
        trust = ChainTrust(chain.name, chain.chain_id, NODES, Path("ca.pem"), HEARTBEAT_MS)
        seed = seed_of(chain.members[0], "relayer")
        now = lambda: world.clock.now_ms
        kept = (low or {}).get(chain.name, 1)
        ends.append(RelayEnd(trust, line(chain), seed, client, counterparty, kept, now))
    options = {"clear_ms": 500} | options
    return Route(*ends, told=told, **options)


def carried(route, world, rounds=40):
    """Carry until nothing is open and nothing left to do; how many rounds it took."""
    for done in range(rounds):
        world.settle()
        if route.round() == 0 and not len(route.first.outbox) + len(route.second.outbox):
            return done
        world.clock.now_ms += 1_000
    raise AssertionError(f"still open: {len(route.first.outbox)} and {len(route.second.outbox)}")
