"""A recorded audit, answered again with one byte changed: what was proven by an earlier answer covers no later lie.

An audit keeps what it has verified: nodes of the state tree that lead to the root, records, transactions, packets. Of
each answer, whatever came before it was true; the changed one is refused, or means the same.
"""

from google.protobuf.message import DecodeError

from client.audit import Audit
from client.audit_report import Verdict
from proto.chiptrace.v1.node_pb2 import ProveReply
from tests.client.direct import DirectConnection, DirectStub, verified
from tests.client.test_audit_mutated import PART, WORLD, content

STRIDE = 89  # of all bytes of all answers; every 7th was changed once by hand


class Recorded(DirectConnection):
    """Answers as bytes, by method and question. `spoiled`: what to answer at one place instead."""

    def __init__(self, stub, answers):
        super().__init__(stub)
        self.answers = answers
        self.spoiled = {}
        self.asked = []

    def call(self, method, request, seconds=0.0):
        question = self.stub.chain.name, type(request).__name__, request.SerializeToString(deterministic=True)
        if question not in self.answers:
            reply = method(self.stub)(request)
            self.answers[question] = type(reply), reply.SerializeToString(deterministic=True)
        kind, data = self.answers[question]
        place = len(self.asked)
        self.asked.append((kind, data))
        return kind.FromString(self.spoiled.get(place, data))


def audited(answers, liar="", place=0, data=b""):
    """The report, and what each chain was asked."""
    views, lines = {}, {}
    for name, chain in WORLD.chains.items():
        view = views[chain.chain_id] = verified(chain)
        view.connection = lines[name] = Recorded(DirectStub(chain), answers)
        if name == liar:
            view.connection.spoiled[place] = data
    return Audit(views).run(PART, WORLD["b"].chain_id, lambda: 0), {
        n: line.asked for n, line in lines.items()
    }


ANSWERS = {}
HONEST, ASKED = audited(ANSWERS)


def changed(kind, data, at):
    """The answer with one bit of one byte changed; None where no client could parse it, or it is none other."""
    spoiled = bytearray(data)
    spoiled[at] ^= 1 << at % 8
    try:
        other = kind.FromString(bytes(spoiled))
    except DecodeError:
        return None
    return bytes(spoiled) if other != kind.FromString(data) else None


def check(liar, place, spoiled):
    """Whether the answer was taken, which it may be where it means the same."""
    report, _ = audited(ANSWERS, liar, place, spoiled)
    assert report.problem_code != "INTERNAL", report.problem
    if report.verdict is Verdict.NOT_VERIFIABLE:
        return False
    assert content(report) == content(HONEST), (liar, place)
    return True


def test_the_recorded_audit_is_verified():
    assert (HONEST.verdict, HONEST.findings) == (Verdict.VERIFIED, [])
    again, _ = audited(ANSWERS)
    assert content(again) == content(HONEST)


def test_no_byte_of_any_answer_may_be_another():
    refused = taken = offset = 0
    for liar, asked in ASKED.items():
        for place, (kind, data) in enumerate(asked):
            for at in range(offset % STRIDE, len(data), STRIDE):
                spoiled = changed(kind, data, at)
                if spoiled is not None and check(liar, place, spoiled):
                    taken += 1
                elif spoiled is not None:
                    refused += 1
            offset += 7
    # Taken is what the asker does not read: a header that she has, the leaf beside it, what a node says of itself.
    assert refused > taken > 0


def test_no_byte_of_a_late_proof_may_be_another():
    """All but what the asker does not read: the header, which she has, and the leaf of the log beside it."""
    place, (kind, data) = max(
        (p, one) for p, one in enumerate(ASKED["a"]) if one[0] is ProveReply and len(one[1]) > 900
    )
    reply = kind.FromString(data)
    keys = ProveReply(keys=reply.keys).SerializeToString(deterministic=True)
    start = data.index(keys)
    for at in range(start, start + len(keys)):
        spoiled = changed(kind, data, at)
        assert spoiled is None or not check("a", place, spoiled), at
