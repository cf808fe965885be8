"""An auditor follows a recovery only if her trust file lists it, and then says so in every audit."""

import dataclasses

import pytest

from client import trust
from client.audit import Audit
from client.audit_keys import Vouching
from client.audit_recoveries import approvers, tell_recoveries
from client.audit_report import Verdict
from client.trust import AcceptedRecovery
from client.verified import NotVerifiable
from ledger import state
from ledger.errors import Malformed
from ledger.recovery import decode
from proto.chiptrace.v1.ledger_pb2 import (
    Change,
    KeyRecord,
    MemberRecord,
    PutMember,
    Reason,
    RecoveriesRecord,
    RecoveryRecord,
    Signature,
)
from tests.bridge.recovered import prepare, recover
from tests.bridge.two_chains import BridgedChain, Clock, World
from tests.client.corrupt import Forged
from tests.client.direct import DirectStub, verified
from tests.ledger.chain_fixture import key_of
from tests.ledger.recovered import approved


@pytest.fixture
def world():
    return World("a", "b")


def listed(chain, *opened, stub=None):
    view = verified(chain, stub)
    accepted = tuple(AcceptedRecovery(one.height, one.hash) for one in opened)
    view.trust = dataclasses.replace(view.trust, recoveries=accepted)
    return view


def audited(world, part, accepted=(), stub=None):

    views = [listed(world["a"], *accepted, stub=stub), verified(world["b"])]
    chains = {view.trust.chain_id: view for view in views}
    return Audit(chains, lambda text: None).run(part, world["a"].chain_id, lambda: world["a"].info.time_ms)


def test_without_the_entry_it_is_not_verifiable_and_the_message_names_the_document(world):
    part = world.commission("a", "ada")
    opened = recover(world["a"])
    report = audited(world, part)
    assert report.verdict is Verdict.NOT_VERIFIABLE
    assert report.problem_code == "RECOVERED"
    assert opened.hash.hex() in report.problem
    assert str(opened.height) in report.problem
    assert "false or broken" not in report.problem


def test_with_it_every_audit_carries_the_finding(world):
    part = world.commission("a", "ada")
    opened = recover(world["a"], reason="two machine rooms burnt down")
    later = world.commission("a", "ada")
    world["a"].settle()
    for name in (part, later):
        report = audited(world, name, [opened])
        assert report.verdict is Verdict.FINDINGS, report.problem
        (finding,) = report.findings
        assert finding.code == "RECOVERED", report.findings
        for word in ("ada, amy, ann", "burnt down", f"height {opened.height}", opened.hash.hex()):
            assert all(piece in finding.message for piece in word.split(", ")), finding.message


def test_two_recoveries_two_findings_and_both_must_be_listed(world):
    part = world.commission("a", "ada")
    first = recover(world["a"])
    second = recover(world["a"], "again")
    assert [finding.code for finding in audited(world, part, [first, second]).findings] == ["RECOVERED"] * 2
    for some in ([first], [second], []):
        assert audited(world, part, some).verdict is Verdict.NOT_VERIFIABLE


def test_another_recovery_of_the_height_is_not_the_accepted_one(world):
    part = world.commission("a", "ada")
    other = World("a", "b")
    other.commission("a", "ada")
    assert other["a"].info.block_hash == world["a"].info.block_hash
    accepted, shown = recover(other["a"], "one"), recover(world["a"], "two")
    report = audited(world, part, [accepted])
    assert report.verdict is Verdict.NOT_VERIFIABLE
    assert shown.hash.hex() in report.problem


def test_who_accepted_two_of_one_height_is_not_told_that_either_will_do(world):
    """They lead to two histories; a trust file refuses them, and so does whoever follows headers."""
    part = world.commission("a", "ada")
    other = World("a", "b")
    other.commission("a", "ada")
    both = [recover(other["a"], "one"), recover(world["a"], "two")]
    report = audited(world, part, both)
    assert (report.verdict, report.problem_code) == (Verdict.NOT_VERIFIABLE, "RECOVERY_CONFLICT")
    assert both[0].hash.hex() in report.problem


def test_the_old_set_going_on_past_an_accepted_recovery_is_a_fork_and_not_verified(world):
    """Enough of those who were believed to be lost came back; what they sign is as good as it ever was."""
    part = world.commission("a", "ada")
    other = World("a", "b")
    other.commission("a", "ada")
    accepted = recover(other["a"])
    for _ in range(3):
        world["a"].produce()
    assert audited(world, part).verdict is Verdict.VERIFIED  # by who knows of no recovery
    report = audited(world, part, [accepted])
    assert report.verdict is Verdict.NOT_VERIFIABLE
    assert report.problem_code == "RECOVERY_CONFLICT"
    assert accepted.hash.hex() in report.problem
    assert "forked" in report.problem


def test_an_accepted_recovery_of_another_height_than_its_document_has_is_told(world):
    opened = recover(world["a"])
    for height in (opened.height - 1, opened.height + 1):
        view = verified(world["a"])
        entry = AcceptedRecovery(height, opened.hash)
        view.trust = dataclasses.replace(view.trust, recoveries=(entry,))
        with pytest.raises(NotVerifiable) as caught:
            view.advance()
        assert caught.value.reason == Reason.RECOVERY_CONFLICT


def test_a_chain_recovered_before_its_first_block(world):

    chain = BridgedChain("a", Clock())
    opened = recover(chain)
    assert opened.height == 0
    assert listed(chain, opened).advance().validators == opened.validators


def test_history_made_by_a_recovery_is_complete_without_a_transaction(world):
    opened = recover(world["a"])
    view = listed(world["a"], opened)
    key = opened.validators.validators[0].key

    record = view.record(state.signer_key(key), KeyRecord)
    assert len(view.history(state.signer_key(key), record.history)) == 1
    member = view.record(state.member_key("ada"), MemberRecord)
    assert view.history(state.member_key("ada"), member.history)[-1].entry.digest == opened.hash


# ---- who approved ---------------------------------------------------------------------------------------------------


def test_approvals_count_by_the_keys_of_that_height(world):
    """ada's admin key was replaced before the recovery: what it signs is nobody's approval any more."""
    part = world.commission("a", "ada")
    change = PutMember(id="ada", name="Ada Ltd", admin_keys=[key_of("ada", "admin two")])
    assert world.govern("a", Change(put_member=change)).ok
    opened = recover(world["a"], approvers=("abe", "amy"))
    view = listed(world["a"], opened)
    view.snapshot()

    assert approvers(view, Vouching(view), opened) == ["abe", "amy"]
    assert [f.code for f in audited(world, part, [opened]).findings] == ["RECOVERED"]
    old_key = dataclasses.replace(opened, approvals=recovered_by(world["a"], opened, "ada").approvals)
    assert approvers(view, Vouching(view), old_key) == []
    # Nor does a good key say anything about a document that it did not sign.
    other = recovered_by(world["a"], opened, "abe", "amy").approvals
    swapped = [
        Signature(key=one.key, signature=two.signature) for one, two in zip(other, other[::-1], strict=True)
    ]
    assert approvers(view, Vouching(view), dataclasses.replace(opened, approvals=tuple(swapped))) == []


def recovered_by(chain, opened, *members):

    return decode(approved(chain, opened.document_bytes, members))


def test_a_recovery_that_no_member_vouches_for_is_called_so(world):
    """The quorum put a member of its own; the document that it alone approved was accepted by mistake."""
    part = world.commission("a", "ada")
    opened = recover(world["a"], approvers=("ada",))
    unsigned = dataclasses.replace(opened, approvals=())
    view = listed(world["a"], opened)
    view.snapshot()
    view.recoveries[opened.height] = unsigned
    found = []

    tell_recoveries(view, lambda *args: found.append(args[2]))
    assert found == ["RECOVERED", "RECOVERY_NOT_APPROVED"]
    assert audited(world, part, [opened]).verdict is Verdict.FINDINGS


@pytest.mark.parametrize("lie", ["hidden", "another", "more"])
def test_the_state_tells_of_exactly_the_recoveries_of_the_headers(lie):
    world = World("a", "b", corrupt="a")
    part = world.commission("a", "ada")
    opened = recover(world["a"])
    forged = Forged(world["a"])
    if lie == "another":
        record = world["a"].record(state.recovery_key(opened.height), RecoveryRecord)
        record.document = bytes(32)
        forged.put(state.recovery_key(opened.height), record)
    else:
        heights = [] if lie == "hidden" else [opened.height, opened.height + 1]
        forged.put(state.RECOVERIES_KEY, RecoveriesRecord(heights=heights))
    world["a"].settle()
    report = audited(world, part, [opened], stub=forged)
    assert report.verdict is Verdict.NOT_VERIFIABLE
    assert report.problem_code == "BAD_PROOF", report.problem


def test_a_node_that_keeps_the_recovery_back_is_named(world):
    recover(world["a"])

    class Withholding(DirectStub):
        def GetHeaders(self, request):
            reply = super().GetHeaders(request)
            for signed in reply.headers:
                signed.recovery = b""
            return reply

    with pytest.raises(NotVerifiable) as caught:
        listed(world["a"], stub=Withholding(world["a"])).advance()
    assert caught.value.reason == Reason.RECOVERED


def test_while_the_old_set_is_gone_nothing_new_is_certified(world):
    opened = prepare(world["a"])
    assert listed(world["a"], opened).advance().latest_height == opened.height


# ---- the trust file ----------------------------------------------------------------------------------------------------


def written(tmp_path, *recoveries) -> trust.Trust:
    chain = trust.ChainTrust("a", bytes(32), ("h:1",), tmp_path / "ca.pem", 1_000, recoveries)
    trust.write(tmp_path / "trust.json", trust.Trust((chain,), ()))
    return trust.read(tmp_path / "trust.json")


def test_it_is_written_and_read(tmp_path):
    accepted = (AcceptedRecovery(0, bytes(range(32))), AcceptedRecovery(17, bytes(32)))
    assert written(tmp_path, *accepted).chains[0].recoveries == accepted
    assert written(tmp_path).chains[0].recoveries == ()
    assert "recoveries" not in (tmp_path / "trust.json").read_text()


def test_two_for_one_height_are_two_histories(tmp_path):
    with pytest.raises(Malformed, match="two histories"):
        written(tmp_path, AcceptedRecovery(5, bytes(32)), AcceptedRecovery(5, bytes(range(32))))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"height": 5', '"height": -1'),
        ('"height": 5', '"height": "5"'),
        ("00000000", "zz000000"),
        ('"height": 5', '"height": 5, "why": "x"'),
    ],
)
def test_bad_entries_are_named(tmp_path, old, new):
    written(tmp_path, AcceptedRecovery(5, bytes(32)))
    path = tmp_path / "trust.json"
    text = path.read_text()
    entry = text[text.index('"recoveries"') :]
    path.write_text(text.replace(entry, entry.replace(old, new, 1)))
    with pytest.raises(Malformed):
        trust.read(path)
