"""Any answer changed in any way: an audit finds the same, or says that it is not verifiable, or has findings more.

A mutation takes one answer of one chain's node, of any method, and changes one field of it somewhere: a bit, a
length, a number, a flag; or drops, doubles, swaps or empties parts of lists; or the answer is one that the node
gave to another question before, or one of the other chain's node.
"""

import json
from random import Random

import grpc
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from client.audit import Audit
from client.audit_report import Verdict
from ledger import limits
from proto.chiptrace.v1.ledger_pb2 import Attest, Operation
from tests.bridge.two_chains import World, object_event, packing_event, serial
from tests.client.direct import DirectStub, verified

METHODS = ("GetStatus", "GetHeaders", "Prove", "GetHistory", "GetHistories", "GetLogLeaves")


def lived():
    """A part that was inspected, boxed, unboxed, attested, sent over and accepted."""
    world = World("a", "b")
    part = world.commission("a", "ada")
    box = serial(9000)
    chain = world["a"]
    claim = Attest(id="https://ada.example/1", subject=part, kind="certificate", valid_from_ms=1)
    for operation in (
        object_event("OBSERVE", "inspecting", part, number=1),
        packing_event("ADD", box, part, number=2),
        object_event("OBSERVE", "inspecting", box, number=3),
        packing_event("DELETE", box, part, number=4),
        Operation(attest=claim),
    ):
        assert chain.operate("ada", operation).ok
    assert world.send("a", part, "bob").ok
    world.relay()
    assert world.accept("b", part, "bob").ok
    world.relay()
    world.settle()
    return world, part


WORLD, PART = lived()


class Mutating(DirectStub):
    """Changes the answer to one call; `seen` is shared with the other chain's node."""

    def __init__(self, chain, seen, at=-1, seed=0):
        super().__init__(chain)
        self.seen = seen
        self.at = at
        self.random = Random(seed)
        self.calls = 0
        self.changed = False


def answering(name):
    def method(self, request):
        reply = getattr(DirectStub, name)(self, request)
        if self.calls == self.at:
            others = [other for kind, other in self.seen if kind == name]
            mutated = mutate(self.random, reply, others)
            self.changed = mutated != reply
        else:
            mutated = reply
        self.calls += 1
        self.seen.append((name, reply))
        return mutated

    return method


for _name in METHODS:
    setattr(Mutating, _name, answering(_name))


# ---- mutations ------------------------------------------------------------------------------------------------


def mutate(random, reply, others):
    made = type(reply)()
    made.CopyFrom(reply)
    choice = random.random()
    if choice < 0.1 and others:
        return random.choice(others)
    if choice < 0.15:
        return type(reply)()
    if choice < 0.35:
        data = bytearray(made.SerializeToString())
        if data:
            bit = random.randrange(len(data) * 8)
            data[bit // 8] ^= 1 << bit % 8
        try:
            return type(reply).FromString(bytes(data))
        except DecodeError:
            return type(reply)()
    change(random, made)
    return made


def change(random, message):
    """One change at a random place of a message's fields."""
    fields = list(message.DESCRIPTOR.fields)
    random.shuffle(fields)
    for field in fields:
        value = getattr(message, field.name)
        if field.is_repeated:
            if len(value) and change_list(random, message, field, value):
                return True
        elif field.message_type is not None:
            if message.HasField(field.name) and random.random() < 0.9:
                if change(random, value):
                    return True
            else:
                message.ClearField(field.name)
                return True
        else:
            setattr(message, field.name, other(random, value))
            return True
    return False


def change_list(random, message, field, items):
    place = random.randrange(len(items))
    kept = list(items)
    match random.randrange(6):
        case 0:
            del items[place]
        case 1:
            items.extend([kept[place]] * random.choice([1, 2, 300]))
        case 2 if len(kept) > 1:
            second = random.randrange(len(kept))
            kept[place], kept[second] = kept[second], kept[place]
            del items[:]
            items.extend(kept)
        case 3:
            message.ClearField(field.name)
        case _:
            if field.message_type is None:
                items[place] = other(random, items[place])
            else:
                return change(random, items[place])
    return True


def other(random, value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return random.choice([0, 1, max(0, value - 1), value + 1, 2**31 - 1])
    if isinstance(value, str):
        return random.choice(["", value + "x", "\x1b[2J", "\u202e" * 3])
    data = bytearray(value)
    match random.randrange(5):
        case 0:
            return b""
        case 1:
            return bytes(data[:-1])
        case 2:
            return bytes(data) + random.randbytes(random.choice([1, 40]))
        case 3:
            return random.randbytes(32)
    if data:
        bit = random.randrange(len(data) * 8)
        data[bit // 8] ^= 1 << bit % 8
    return bytes(data)


# ---- the property -----------------------------------------------------------------------------------------------


def audited(stubs):
    views = {chain.chain_id: verified(chain, stubs[chain.name]) for chain in WORLD.chains.values()}
    return Audit(views).run(PART, WORLD["b"].chain_id, lambda: 0)


def content(report):
    told = report.as_json()
    del told["checked"], told["milliseconds"]
    return told


SEEN = []
HONEST_STUBS = {name: Mutating(chain, SEEN) for name, chain in WORLD.chains.items()}
HONEST = audited(HONEST_STUBS)
CALLS = {name: stub.calls for name, stub in HONEST_STUBS.items()}


def test_the_honest_report_is_verified():
    assert (HONEST.verdict, HONEST.problem, HONEST.findings) == (Verdict.VERIFIED, "", [])
    assert {name for name, _ in SEEN} == set(METHODS)
    assert len(HONEST.subjects) >= 2


@settings(max_examples=500, deadline=None)
@given(
    liar=st.sampled_from(["a", "b"]), at=st.integers(0, max(CALLS.values()) - 1), seed=st.integers(0, 2**32)
)
def test_no_changed_answer_changes_what_is_verified(liar, at, seed):
    stubs = {name: Mutating(chain, list(SEEN)) for name, chain in WORLD.chains.items()}
    stubs[liar] = Mutating(WORLD[liar], list(SEEN), at % CALLS[liar], seed)
    report = audited(stubs)
    json.dumps(report.as_json())
    assert report.problem_code != "INTERNAL", report.problem
    if report.verdict is Verdict.VERIFIED:
        assert content(report) == content(HONEST)
    elif report.verdict is Verdict.FINDINGS:
        assert report.findings
    else:
        assert report.problem_code != "REASON_UNSPECIFIED", report.problem


# ---- answers without end, and none at all ------------------------------------------------------------------------


class Dripping(DirectStub):
    """One entry per answer, and headers of which there are always more."""

    def GetHistory(self, request):
        request.limit = 1
        return super().GetHistory(request)

    def GetHeaders(self, request):
        reply = super().GetHeaders(request)
        reply.more = True
        return reply


def test_a_dripping_node_is_slow_and_nothing_else():
    report = audited({"a": Dripping(WORLD["a"]), "b": Dripping(WORLD["b"])})
    assert content(report) == content(HONEST)


class Endless(DirectStub):
    """A history of copies of one entry, as many as are asked for."""

    def GetHistory(self, request):
        reply = super().GetHistory(request)
        while len(reply.items) < limits.HISTORY_ITEMS_MAX:
            reply.items.append(reply.items[0])
        return reply


def test_more_than_was_asked_for_is_refused():
    report = audited({"a": Endless(WORLD["a"]), "b": DirectStub(WORLD["b"])})
    assert report.verdict is Verdict.NOT_VERIFIABLE


@pytest.mark.parametrize("budget", [1, 3, 7])
def test_an_audit_ends_when_its_budget_does(budget, monkeypatch):
    monkeypatch.setattr("client.question.CALLS_MAX", budget)
    report = audited({name: DirectStub(chain) for name, chain in WORLD.chains.items()})
    assert (report.verdict, report.problem_code) == (Verdict.NOT_VERIFIABLE, "OVERSIZE")


class Broken(grpc.RpcError):
    pass


def test_whatever_is_raised_below_is_not_verified():
    class Raising(DirectStub):
        def Prove(self, request):
            raise Broken("no such thing")

    report = audited({"a": DirectStub(WORLD["a"]), "b": Raising(WORLD["b"])})
    assert (report.verdict, report.problem_code) == (Verdict.NOT_VERIFIABLE, "INTERNAL")
