"""Each chain as it was at any moment: nodes that show an older state, or chains asked one after the other, accuse nobody.

A story is told on two honest chains, and every pair of moments of it is audited, as if each chain's node had stood still
at one. What is found is what is true at one of the two, or nothing is verified: no part is said to be live twice, no chain
to have contradicted itself or another.
"""

from itertools import product
from random import Random

import pytest

from client.audit import Audit
from client.audit_chains import PRESENT, present_status
from client.audit_report import Verdict
from client.reach import Reach
from client.serials import find_part
from client.verified import NotVerifiable
from ledger.block import decode_header
from ledger.view import Views
from proto.chiptrace.v1.ledger_pb2 import Attest, Operation, RevokeAttestation
from tests.bridge.crossing import (
    carry,
    materialise,
    observe,
    pack,
    send_amount,
    tote,
    unpack_all,
    update,
)
from tests.bridge.test_amounts import LOT, accept_amount, quantity_event
from tests.bridge.test_serials import LOT as WAFER
from tests.bridge.test_serials import accepted, captured, die, whole
from tests.bridge.two_chains import World
from tests.client.direct import DirectStub, verified
from tests.ledger.rules_world import seen, serials_of

CASES_MAX = 70  # of a story's


@pytest.fixture(autouse=True)
def _keep_all_heights(monkeypatch):
    monkeypatch.setattr(Views.__init__, "__defaults__", (10_000,))


class Still(DirectStub):
    """A node that stood still after a height."""

    def __init__(self, chain, height):
        super().__init__(chain)
        self.height = height

    def GetHeaders(self, request):
        reply = super().GetHeaders(request)
        kept = [one for one in reply.headers if decode_header(one.header).height <= self.height + 1]
        del reply.headers[:]
        reply.headers.extend(kept)
        return reply

    def Prove(self, request):
        request.height = request.height or self.height
        return super().Prove(request)


class Story:
    """Notes how high both chains are whenever something happened."""

    def __init__(self, *names):
        self.world = World(*names)
        self.moments = []

    def then(self):
        self.world.settle()
        self.moments.append({name: chain.height - 1 for name, chain in self.world.chains.items()})


def boxed():
    """Two things in a box go over; one comes out there; the box comes home with the other, which comes out at home."""
    story = Story("a", "b")
    world = story.world
    box, (one, two) = tote(world)
    story.then()
    assert world.send("a", box, "bob").ok
    story.then()
    world.relay()
    story.then()
    assert world.accept("b", box, "bob").ok
    assert materialise(world, "b", one).ok
    assert materialise(world, "b", two).ok
    story.then()
    assert observe(world, "b", two, "bob").ok
    pack(world, "b", box, one, action="DELETE")
    story.then()
    carry(world, "b", box, "ada")
    story.then()
    world.relay()
    update(world, "a", "b")
    assert materialise(world, "a", two).ok
    story.then()
    unpack_all(world, "a", box)
    assert observe(world, "a", two, "ada").ok
    story.then()
    carry(world, "b", one, "ada")
    world.relay()
    story.then()
    return story, (box, one, two), set()


def recalled():
    """A part goes over, home, and over again; it is recalled at home meanwhile, and the recall revoked."""
    story = Story("a", "b")
    world = story.world
    part = world.commission("a", "ada")
    carry(world, "a", part, "bob")
    story.then()
    claim = Attest(id="https://amy.example/1", subject=part, kind="recall", valid_from_ms=1, scope="cracks")
    assert world["a"].operate("amy", Operation(attest=claim)).ok
    story.then()
    world.relay()
    story.then()
    carry(world, "b", part, "ada")
    story.then()
    world.relay()
    assert world["a"].operate("amy", Operation(revoke_attestation=RevokeAttestation(id=claim.id))).ok
    story.then()
    world.relay()
    carry(world, "a", part, "bob")
    story.then()
    world.relay()
    story.then()
    return story, (part,), {"RECALLED", "REVOKED_ATTESTATION"}


def sent_back():
    """A part is declined, sent again and never taken, and comes back by its timeout."""
    story = Story("a", "b")
    world = story.world
    part = world.commission("a", "ada")
    assert world.send("a", part, "bob").ok
    world.relay()
    story.then()
    assert world.give_back("b", part, "bob").ok
    story.then()
    world.relay()
    story.then()
    assert world.send("a", part, "bob", timeout_ms=5_000).ok
    story.then()
    world.pass_time(60_000)
    world.relay()
    story.then()
    carry(world, "a", part, "ben")
    story.then()
    return story, (part,), {"TAKEN_BACK"}


def amounts():
    """Some of a lot goes over, some of that comes home, by itself and in a box."""
    story = Story("a", "b")
    world = story.world
    assert world["a"].operate("ada", quantity_event(world, "ADD", "commissioning", 100)).ok
    story.then()
    assert send_amount(world, "a", LOT, 30, "bob", member="ada").ok
    story.then()
    world.relay()
    story.then()
    assert accept_amount(world, "b", "bob").ok
    story.then()
    assert send_amount(world, "b", LOT, 12, "abe", member="bob").ok
    world.relay()
    assert accept_amount(world, "a", "abe").ok
    story.then()
    assert send_amount(world, "a", LOT, 5, "bob", member="ada", timeout_ms=5_000).ok
    story.then()
    world.pass_time(60_000)
    world.relay()
    story.then()
    return story, (LOT,), set()


def serials():
    """Serials of a lot go over, one is touched there, and some come home."""
    story = Story("a", "b")
    world = story.world
    assert world["a"].operate("ada", captured(world, serials_of(WAFER, "0000", "0099", 100))).ok
    story.then()
    assert world.send("a", whole(10, 60), "bob", member="ada").ok
    story.then()
    world.relay()
    assert accepted(world, "b", whole(10, 60), "bob").ok
    story.then()
    assert world["b"].operate("bob", captured(world, seen([die(20)]))).ok
    story.then()
    assert world.send("b", whole(30, 40), "ada", member="bob").ok
    assert world.send("b", die(20), "abe", member="bob").ok
    story.then()
    world.relay()
    assert accepted(world, "a", whole(30, 40), "ada").ok
    assert world.accept("a", die(20), "abe").ok
    story.then()
    return story, (WAFER, die(20), die(35), whole(30, 40)), set()


STORIES = {
    "boxed": boxed,
    "recalled": recalled,
    "sent back": sent_back,
    "amounts": amounts,
    "serials": serials,
}


def present(views, thing):
    """On how many chains a thing is, by the records that these show of it."""
    found = 0
    for view in views.values():
        try:
            record = find_part(view, thing)
        except NotVerifiable:  # serials of several intervals
            continue
        found += record is not None and present_status(view, record)[0] in PRESENT
    return found


@pytest.mark.parametrize("name", STORIES)
def test_no_two_moments_accuse_anybody(name):
    story, things, true = STORIES[name]()
    world = story.world
    heights = [sorted({moment[chain] for moment in story.moments}) for chain in "ab"]
    cases = list(product(heights[0], heights[1], things, "ab"))
    told = set()
    for high_a, high_b, thing, begin in Random(3).sample(cases, min(len(cases), CASES_MAX)):
        stubs = {"a": Still(world["a"], high_a), "b": Still(world["b"], high_b)}
        case = high_a, high_b, thing, begin

        def views(stubs=stubs):
            return {one.chain_id: verified(one, stubs[one.name]) for one in world.chains.values()}

        asked = views()
        report = Audit(asked).run(thing, world[begin].chain_id, lambda: 0)
        found = {finding.code for finding in report.findings}
        told.add((report.verdict, report.problem_code))
        assert not found - true - {"STALE_HEAD", "UNKNOWN_PART"}, (case, report.findings)
        assert report.problem_code != "INTERNAL", (case, report.problem)
        if report.verdict is Verdict.VERIFIED:
            assert present(asked, thing) <= 1, case
        reach = Reach(views()).run(thing, world[begin].chain_id, lambda: 0)
        assert not set(reach.findings) - true, (case, reach.findings, reach.gaps)
        assert reach.problem_code != "INTERNAL", (case, reach.problem)
    assert (Verdict.VERIFIED, "") in told
