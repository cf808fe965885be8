"""What no chain can say alone, and walks that go on for long or are overtaken on the way."""

import itertools
import json

import pytest

from client.audit import Audit
from client.audit_report import Verdict
from client.connection import NoAnswer
from ledger import state
from proto.chiptrace.v1.bridge_pb2 import ClientRecord
from proto.chiptrace.v1.ledger_pb2 import Change, PutGrant, RevokeGrant
from tests.bridge.two_chains import (
    OFFER_EXPIRY_MS,
    PREFIX,
    World,
    event,
    object_event,
    packing_event,
    serial,
    shipping_event,
    texts,
)
from tests.client.corrupt import Forged
from tests.client.direct import DirectStub, verified
from tests.client.test_audit import audited, codes
from tests.client.test_audit_corrupt import crossed


@pytest.fixture
def world():
    return World("a", "b")


def test_an_offer_that_nobody_took(world):
    part = world.commission("a", "ada")
    assert world["a"].operate("ada", shipping_event(part, "abe")).ok
    world.pass_time(OFFER_EXPIRY_MS - 10_000)
    assert codes(audited(world, part, "a")) == set()
    world.pass_time(20_000)
    assert codes(audited(world, part, "a")) == {"OFFER_EXPIRED"}


def test_a_chain_that_does_not_answer_may_have_the_part_too(world):
    part = world.commission("a", "ada")

    class Silent(DirectStub):
        def GetStatus(self, request):
            raise NoAnswer("no node of chain b answered")

    report = audited(world, part, "a", stubs={"b": Silent(world["b"])})
    assert (report.verdict, codes(report)) == (Verdict.FINDINGS, {"CHAIN_NOT_ASKED"})
    assert audited(world, part, "b", stubs={"b": Silent(world["b"])}).verdict is Verdict.NOT_VERIFIABLE


def test_two_homes_of_one_prefix(world):
    part = world.commission("a", "ada")
    change = PutGrant(prefix=PREFIX, holder="bob")
    assert world.govern("b", Change(revoke_grant=RevokeGrant(prefix=PREFIX)), Change(put_grant=change)).ok
    assert codes(audited(world, part, "a")) == {"HOME_DISPUTED"}


def client_on_b(world, **changed):
    """What the corrupt chain b certifies of its client of a."""
    lie = Forged(world["b"])
    record = world["b"].record(state.client_key("a-1"), ClientRecord)
    for field, value in changed.items():
        setattr(record, field, value)
    lie.put(state.client_key("a-1"), record)
    return lie


def test_what_one_chain_saw_of_the_other_tells_that_a_head_is_old():
    world = World("a", "b", corrupt="b")
    part = crossed(world)
    seen_ms = world["a"].info.time_ms
    fresh = audited(world, part, "b", stubs={"b": client_on_b(world, latest_time_ms=seen_ms + 29_000)})
    assert codes(fresh) == set()
    old = audited(world, part, "b", stubs={"b": client_on_b(world, latest_time_ms=seen_ms + 60_000)})
    assert codes(old) == {"STALE_HEAD"}


def test_a_frozen_client_is_told():
    world = World("a", "b", corrupt="b")
    part = crossed(world)
    assert codes(audited(world, part, "b", stubs={"b": client_on_b(world, frozen=True)})) == {"CLIENT_FROZEN"}


# ---- overtaken -----------------------------------------------------------------------------------------------------


class Meanwhile(DirectStub):
    """Before it is first asked, something happens on the chains."""

    def __init__(self, chain, act):
        super().__init__(chain)
        self.act = act

    def GetStatus(self, request):
        act, self.act = self.act, None
        if act is not None:
            act()
        return super().GetStatus(request)


def test_a_part_that_goes_home_while_it_is_asked_for(world):
    part = crossed(world)

    def go_home():
        assert world.send("b", part, "ada").ok
        world.relay()
        assert world.accept("a", part, "ada").ok
        world.relay()

    report = audited(world, part, "b", stubs={"a": Meanwhile(world["a"], go_home)})
    assert (report.verdict, report.problem, report.findings) == (Verdict.VERIFIED, "", [])
    assert report.subject.status == "DEPARTED"


def test_a_part_that_leaves_while_it_is_asked_for(world):
    part = world.commission("a", "ada")

    def leave():
        assert world.send("a", part, "bob").ok
        world.relay()

    report = audited(world, part, "a", stubs={"b": Meanwhile(world["b"], leave)})
    assert (report.verdict, report.problem, report.findings) == (Verdict.VERIFIED, "", [])
    assert report.subject.status == "DEPARTED"


# ---- long walks ----------------------------------------------------------------------------------------------------


def test_hundreds_of_transformations_in_a_row(world):
    chain, count = world["a"], 400
    part = world.commission("a", "ada")
    for start in range(1, count, 50):
        steps = [
            event(
                "TransformationEvent",
                "",
                "",
                inputEPCList=texts(serial(n)),
                outputEPCList=texts(serial(n + 1)),
            )
            for n in range(start, start + 50)
        ]
        assert chain.operate("ada", *steps).ok
    assert part == serial(1)
    report = audited(world, serial(count + 1), "a", chains={"a"})
    assert (report.verdict, report.problem, len(report.subjects)) == (Verdict.VERIFIED, "", count + 1)
    assert len(json.loads(json.dumps(report.as_json()))["subjects"]) == count + 1


def test_eight_containers_deep_and_no_question_twice(world):
    chain = world["a"]
    parts = [world.commission("a", "ada") for _ in range(9)]
    for inner, outer in itertools.pairwise(parts):
        assert chain.operate("ada", packing_event("ADD", outer, inner)).ok
    assert chain.operate("ada", object_event("OBSERVE", "inspecting", parts[8], number=9)).ok
    chain.settle()
    asked = []

    class Counting(DirectStub):
        def GetHistory(self, request):
            asked.append(request.subject)
            return super().GetHistory(request)

    views = {chain.chain_id: verified(chain, Counting(chain))}
    report = Audit(views).run(parts[0], chain.chain_id, lambda: 0)
    assert (report.verdict, report.problem) == (Verdict.VERIFIED, "")
    assert report.subject.steps[-1].inside == parts[8]
    # Nine parts, and the grant under which all were made.
    assert len(asked) == len(set(asked)) == 10


def test_findings_have_an_end(world, monkeypatch):
    monkeypatch.setattr("client.audit.FINDINGS_MAX", 3)
    part = world.commission("a", "ada")
    for number in range(5):
        repeated = object_event("ADD", "commissioning", part, number=100 + number)
        world["a"].operate("ada", repeated)
    report = audited(world, part, "a")
    assert [finding.code for finding in report.findings] == ["REPEATED_COMMISSIONING"] * 3 + [
        "TOO_MANY_FINDINGS"
    ]


@pytest.mark.parametrize("limit", ["client.audit.SUBJECTS_MAX", "client.audit_inside.STEPS_MAX"])
def test_subjects_and_steps_have_an_end(world, monkeypatch, limit):
    monkeypatch.setattr(limit, 0)
    parts = [world.commission("a", "ada") for _ in range(2)]
    assert world["a"].operate("ada", packing_event("ADD", parts[1], parts[0])).ok
    assert world["a"].operate("ada", object_event("OBSERVE", "inspecting", parts[1], number=9)).ok
    report = audited(world, parts[0], "a")
    assert (report.verdict, report.problem_code) == (Verdict.NOT_VERIFIABLE, "OVERSIZE")
