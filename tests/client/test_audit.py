"""Audits over chains in one process: what is verified, what is found, and which lies are caught by name."""

import pytest

from client.audit import Audit
from client.audit_report import Verdict
from ledger import state
from proto.chiptrace.v1.ledger_pb2 import Attest, Operation, Reason
from scripts.lying_node import forge_history, hide_event
from tests.bridge.two_chains import World, object_event, serial
from tests.client.direct import DirectStub, verified


def audited(world, part, name, stubs=None, late_ms=0, chains=None):
    for chain in world.chains.values():
        chain.settle()
    views = {
        chain.chain_id: verified(chain, (stubs or {}).get(chain.name), late_ms=late_ms)
        for chain in world.chains.values()
        if chains is None or chain.name in chains
    }
    return Audit(views).run(part, world[name].chain_id, lambda: 0)


def codes(report):
    return {finding.code for finding in report.findings}


@pytest.fixture
def world():
    return World("a", "b")


def crossed(world):
    part = world.commission("a", "ada")
    assert world["a"].operate("ada", object_event("OBSERVE", "inspecting", part, number=77)).ok
    assert world.send("a", part, "bob").ok
    world.relay()
    assert world.accept("b", part, "bob").ok
    world.relay()
    return part


def test_a_part_that_stayed_home_is_verified(world):
    part = world.commission("a", "ada")
    report = audited(world, part, "a")
    assert (report.verdict, report.findings, report.problem) == (Verdict.VERIFIED, [], "")
    assert [step.what for step in report.subject.steps] == ["object ADD commissioning"]
    assert report.subject.steps[0].member == "ada"
    assert report.checked["signatures"] > 0


def test_a_part_that_crossed_is_followed_to_its_home(world):
    part = crossed(world)
    report = audited(world, part, "b")
    assert (report.verdict, report.problem) == (Verdict.VERIFIED, "")
    ((relation, source),) = report.subject.related
    assert (relation, source.chain, source.status) == ("came from", "a", "DEPARTED")
    assert [step.what for step in source.steps][:2] == [
        "object ADD commissioning",
        "object OBSERVE inspecting",
    ]
    assert report.as_json()["subject"]["related"][0]["subject"]["status"] == "DEPARTED"


def test_an_unknown_part_is_proven_absent(world):
    assert "UNKNOWN_PART" in codes(audited(world, serial(999), "a"))


def test_a_chain_that_is_not_trusted_is_a_finding(world):
    part = crossed(world)
    report = audited(world, part, "b", chains={"b"})
    assert codes(report) == {"CHAIN_NOT_TRUSTED"}
    assert report.verdict is Verdict.FINDINGS


def test_a_head_that_is_too_old_is_called_stale(world):
    part = world.commission("a", "ada")
    assert codes(audited(world, part, "a", late_ms=30_001, chains={"a"})) == {"STALE_HEAD"}
    assert codes(audited(world, part, "a", late_ms=30_000, chains={"a"})) == set()


def test_a_recalled_part_says_so(world):
    part = world.commission("a", "ada")
    claim = Attest(
        id="https://ada.example/recall/1", subject=part, kind="recall", valid_from_ms=1, scope="cracked dies"
    )
    result = world["a"].operate("ada", Operation(attest=claim))
    assert result.ok, Reason.Name(result.reason)
    assert codes(audited(world, part, "a")) == {"RECALLED"}


class Forging(DirectStub):
    def GetHistory(self, request):
        reply = super().GetHistory(request)
        forge_history(reply)
        return reply


class Hiding(DirectStub):
    def GetHistory(self, request):
        reply = super().GetHistory(request)
        hide_event(reply)
        return reply


class Adding(DirectStub):
    def GetHistory(self, request):
        reply = super().GetHistory(request)
        if reply.items:
            reply.items.append(reply.items[0])
        return reply


class Denying(DirectStub):
    def Prove(self, request):
        reply = super().Prove(request)
        for item in reply.keys:
            item.present, item.value = False, b""
        return reply


class Changing(DirectStub):
    def Prove(self, request):
        reply = super().Prove(request)
        for item in reply.keys:
            if item.present:
                item.value = item.value[:-1] + bytes([item.value[-1] ^ 1])
        return reply


class Uncertified(DirectStub):
    def GetHeaders(self, request):
        reply = super().GetHeaders(request)
        for head in reply.headers:
            signature = head.certificate.signatures[0]
            head.certificate.signatures[0] = bytes([signature[0] ^ 1]) + signature[1:]
        return reply


class OtherGenesis(DirectStub):
    def GetStatus(self, request):
        reply = super().GetStatus(request)
        reply.genesis += b"\x00"
        return reply


class OtherTimes(DirectStub):
    def GetLogLeaves(self, request):
        reply = super().GetLogLeaves(request)
        for leaf in reply.leaves:
            leaf.leaf = leaf.leaf[:15] + bytes([leaf.leaf[15] ^ 1]) + leaf.leaf[16:]
        return reply


@pytest.mark.parametrize(
    ("lie", "word"),
    [
        (Forging, "a history"),
        (Hiding, "a history"),
        (Denying, "state proofs"),
        (Changing, "state proofs"),
        (Uncertified, "headers"),
        (OtherGenesis, "the genesis"),
        (OtherTimes, "log leaves"),
    ],
)
@pytest.mark.parametrize("liar", ["a", "b"])
def test_a_lie_is_laid_at_the_nodes_door(world, lie, word, liar):
    part = crossed(world)
    report = audited(world, part, "b", stubs={liar: lie(world[liar])})
    assert report.verdict is Verdict.NOT_VERIFIABLE
    assert f"{liar}-node" in report.problem
    assert word in report.problem
    assert report.problem_code != "REASON_UNSPECIFIED"


def test_a_node_cannot_add_to_a_history(world):
    part = crossed(world)
    honest = audited(world, part, "b")
    padded = audited(world, part, "b", stubs={"a": Adding(world["a"])})
    assert padded.verdict is Verdict.NOT_VERIFIABLE
    assert honest.verdict is Verdict.VERIFIED


def test_an_older_head_than_one_seen_is_refused(world):
    chain = world["a"]
    view = verified(chain)
    chain.settle()
    old = DirectStub(chain).Prove(type("R", (), {"keys": [], "height": 0}))
    chain.produce()
    chain.produce()
    view.advance()

    class Old(DirectStub):
        def Prove(self, request):
            return old

    view.connection.stub = Old(chain)
    with pytest.raises(Exception, match="above"):
        view.snapshot()


def test_what_is_proven_to_be_a_part_is_not_asked_whether_it_is_a_lot(world):
    part, unknown = world.commission("a", "ada"), serial(999)
    asked = []

    class Asked(DirectStub):
        def Prove(self, request):
            asked.extend(request.keys)
            return super().Prove(request)

    assert audited(world, part, "a", {"a": Asked(world["a"])}).verdict is Verdict.VERIFIED
    assert codes(audited(world, unknown, "a", {"a": Asked(world["a"])})) == {"UNKNOWN_PART"}
    assert {state.part_key(part), state.part_key(unknown), state.lot_key(unknown)} <= set(asked)
    assert state.lot_key(part) not in asked
