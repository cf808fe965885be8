"""Claims of other chains in an audit: what they say, whose they are, and whether the other chain said it."""

import pytest

from bridge import attest_port
from client.audit_report import Verdict
from ledger import state
from ledger.attestations import foreign_attestation_key, foreign_attestations_key
from ledger.history import append_entry
from proto.chiptrace.v1.ledger_pb2 import (
    AttestationRecord,
    ForeignAttestationRecord,
    ForeignAttestationsRecord,
)
from tests.bridge.test_attest_port import (
    ID,
    attest,
    freeze,
    leaving,
    moved,
    policy,
    recall,
    revoke,
    send,
    thawed,
)
from tests.bridge.test_licences import crossing
from tests.bridge.two_chains import World
from tests.client.corrupt import Forged
from tests.client.test_audit import audited, codes


def recalled():
    world = World("a", "b")
    part = moved(world)
    assert recall(world, "a", "amy", part).ok
    world.relay()
    world.settle()
    return world, part


def test_a_recall_made_on_the_home_chain_is_told_on_the_chain_where_the_part_is():
    world, part = recalled()
    report = audited(world, part, "b")
    assert (report.verdict, codes(report)) == (Verdict.FINDINGS, {"RECALLED"}), report.problem
    here, there = sorted(report.findings, key=lambda finding: finding.chain != "b")
    assert all(word in here.message for word in ("amy", world["a"].chain_id.hex()[:16], "cracks"))
    assert (there.chain, "amy" in there.message, "cracks" in there.message) == ("a", True, True)
    assert f"recall {ID}" in report.subject.steps[-1].detail
    assert revoke(world, "a", "amy").ok
    world.relay()
    world.settle()
    assert codes(audited(world, part, "b")) == {"REVOKED_ATTESTATION"}


def test_a_recall_that_nobody_carried_is_found_where_it_was_made():
    world = World("a", "b")
    part = moved(world)
    freeze(world, "a", "b")
    assert recall(world, "a", "amy", part).ok
    assert attest(world, "a", "amy", part, attestation=f"{ID}/2").ok
    world.settle()
    assert codes(audited(world, part, "a")) == {"RECALLED"}
    assert "RECALLED" in codes(audited(world, part, "b"))
    assert revoke(world, "a", "amy").ok
    assert codes(audited(world, part, "a")) == {"REVOKED_ATTESTATION"}


def test_a_recall_behind_many_claims_is_told(monkeypatch):
    monkeypatch.setattr(attest_port, "COPIES_PER_PAGE", 2)
    world = World("a", "b")
    part = moved(world)
    for number in range(4):
        assert attest(world, "a", "abe", part, attestation=f"{ID}/{number}").ok
        assert send(world, "a", "abe", "b-1", f"{ID}/{number}").ok
    assert recall(world, "a", "amy", part).ok
    world.relay()
    world.settle()
    for name in "ab":
        assert "RECALLED" in codes(audited(world, part, name, chains=name))


def test_a_recall_that_waited_for_its_client_is_told():
    world = World("a", "b")
    part = moved(world)
    freeze(world, "a", "b")
    for number in range(20):  # more than go out with the new anchor
        assert recall(world, "a", "amy", part, f"{ID}/{number}").ok
    thawed(world)
    world.relay()
    world.settle()
    for name in "ab":
        assert codes(audited(world, part, name)) == {"RECALLED"}


def test_a_recall_that_came_before_the_part_is_told_too():
    world = World("a", "b")
    part = world.commission("a", "ada")
    assert world.send("a", part, "bob").ok
    assert recall(world, "a", "amy", part).ok
    world.settle()
    relayer = world.relayers["a", "b"]
    update, first, second = relayer.plan().on_b
    relayer.bring(world["b"], world["a"], (update, second, first))
    world.relay()
    assert world.accept("b", part, "bob").ok
    world.settle()
    assert "RECALLED" in codes(audited(world, part, "b"))


def test_a_certificate_of_another_chain_is_evidence_and_no_finding():
    world = World("a", "b")
    part = moved(world)
    assert attest(world, "a", "amy", part, scope="AEC-Q100").ok
    assert send(world, "a", "amy", "b-1").ok
    world.relay()
    world.settle()
    report = audited(world, part, "b")
    assert report.verdict is Verdict.VERIFIED, report.findings
    step = report.subject.steps[-1]
    assert step.what == "copied"


def test_a_revocation_that_nobody_carried_is_found_at_the_source():
    world = World("a", "b")
    part = moved(world)
    assert attest(world, "a", "amy", part).ok
    assert send(world, "a", "amy", "b-1").ok
    world.relay()
    assert revoke(world, "a", "amy").ok
    world.settle()
    assert codes(audited(world, part, "b")) == {"REVOKED_ATTESTATION"}


def test_what_a_third_chain_passed_on_is_said_to_be_so():
    world = World("a", "b", "c")
    part = moved(world)
    assert world.send("b", part, "ada", to="a").ok
    world.relay()
    assert world.accept("a", part, "ada").ok
    assert world.send("a", part, "cyd", to="c").ok
    world.relay()
    assert world.accept("c", part, "cyd").ok
    assert recall(world, "b", "bea", part).ok
    world.relay()
    world.settle()
    report = audited(world, part, "c")
    assert codes(report) == {"RECALLED"}, (report.problem, report.findings)
    assert any("passed it on" in finding.message for finding in report.findings)


def test_a_chain_that_is_not_trusted_told_it():
    world, part = recalled()
    report = audited(world, part, "b", chains="b")
    assert {"RECALLED", "CHAIN_NOT_TRUSTED"} <= codes(report)


# ---- a corrupt chain ------------------------------------------------------------------------------------------


def forged(world, part, change):
    """What a corrupt chain b certifies of the claim that chain a told it."""
    lie = Forged(world["b"])
    chain_id = world["a"].chain_id
    key = foreign_attestation_key(chain_id, chain_id, ID)
    record = world["b"].record(key, ForeignAttestationRecord)
    change(record)
    lie.put(key, record)
    return lie


def rescope(record):
    record.copy.record.scope = "a smaller one"


def other_issuer(record):
    record.copy.record.issuer = "ann"


def hidden(record):
    record.Clear()


def of_another_chain(record):
    record.chain = b"x" * 32


@pytest.mark.parametrize("change", [rescope, other_issuer, hidden, of_another_chain])
def test_a_claim_is_what_its_packet_said(change):
    world = World("a", "b", corrupt="b")
    part = moved(world)
    assert recall(world, "a", "amy", part).ok
    world.relay()
    lie = forged(world, part, change)
    world.settle()
    # Also where the chain that told it cannot be asked.
    for chains in ("ab", "b"):
        report = audited(world, part, "b", stubs={"b": lie}, chains=chains)
        assert report.verdict is Verdict.NOT_VERIFIABLE, codes(report)


@pytest.mark.parametrize("made", [False, True], ids=["never made", "never sent"])
def test_a_claim_that_the_other_chain_did_not_tell(made):
    world = World("a", "b", corrupt="b")
    part = moved(world)
    assert recall(world, "a", "amy", part).ok
    if made:
        assert attest(world, "a", "amy", part, kind="certificate", attestation=f"{ID}/invented").ok
    world.relay()
    chain_id = world["a"].chain_id
    key = foreign_attestation_key(chain_id, chain_id, ID)
    record = world["b"].record(key, ForeignAttestationRecord)
    record.copy.record.id = f"{ID}/invented"
    if made:
        record.copy.record.kind, record.copy.record.scope = "certificate", ""
    invented = foreign_attestation_key(chain_id, chain_id, record.copy.record.id)
    lie = Forged(world["b"])
    # The history is that of the real one: a packet that really came.
    (entry,) = world["b"].entries(key)
    lie.transactions[entry.transaction] = world["b"].app.store.transaction(entry.transaction).data
    entry.subject = invented
    record.history.Clear()
    lie.histories[invented] = [append_entry(world["b"].chain_id, record.history, entry)[1]]
    lie.put(invented, record)
    listed = ForeignAttestationsRecord()
    listed.attestations.add(issuer_chain=chain_id, id=record.copy.record.id)
    lie.put(foreign_attestations_key(chain_id, part), listed)
    world.settle()
    report = audited(world, part, "b", stubs={"b": lie})
    assert report.verdict is Verdict.NOT_VERIFIABLE
    assert "said no such thing" in report.problem


def test_a_claim_that_the_other_chain_takes_back_behind_our_back():
    world = World("a", "b", corrupt="a")
    part = moved(world)
    assert recall(world, "a", "amy", part).ok
    world.relay()
    key = state.attestation_key(ID)
    record = world["a"].record(key, AttestationRecord)
    record.scope = "nothing at all"
    lie = Forged(world["a"])
    lie.put(key, record)
    world.settle()
    world["b"].settle()
    report = audited(world, part, "b", stubs={"a": lie})
    assert report.verdict is Verdict.NOT_VERIFIABLE


# ---- licences -------------------------------------------------------------------------------------------------


def test_a_licence_of_another_chain_is_told_with_it():
    world = World("a", "b")
    part = moved(world)
    issuer = f"{world['a'].chain_id.hex()}/amy"
    assert world.govern("b", policy(issuer)).ok
    assert attest(world, "a", "amy", part, kind="export_licence").ok
    assert send(world, "a", "amy", "b-1").ok
    world.relay()
    assert world["b"].operate("bob", leaving(world, part)).ok
    world.settle()
    report = audited(world, part, "b")
    assert "LICENCE_MISSING" not in codes(report), report.findings
    assert any(f"export_licence {ID} by {issuer}" in step.detail for step in report.subject.steps)


def test_a_licence_that_was_copied_is_one_still():
    world = World("a", "b")
    part = world.commission("a", "ada")
    assert world.govern("a", policy("amy")).ok
    assert attest(world, "a", "amy", part, kind="export_licence").ok
    assert send(world, "a", "amy", "b-1").ok
    assert world["a"].operate("ada", crossing(world, part, ID)).ok
    world.relay()
    report = audited(world, part, "a")
    assert report.verdict is Verdict.VERIFIED, (report.problem, report.findings)
