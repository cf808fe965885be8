"""An audit shows under which policy and licence something left, and finds where there was none."""

import pytest

from client.audit_report import Verdict
from ledger import state
from ledger.identifiers import canonical
from proto.chiptrace.v1.ledger_pb2 import (
    Attest,
    AttestationRecord,
    Change,
    EntryKind,
    List,
    Object,
    Operation,
    PolicyRecord,
    PutPolicy,
    Reason,
    RevokeAttestation,
    RevokePolicy,
    Trigger,
    Value,
)
from tests.bridge.test_licences import crossing
from tests.bridge.test_licences import policy as abroad
from tests.bridge.two_chains import OFFERED, PREFIX, World, object_event, packing_event, serial
from tests.client.corrupt import Forged
from tests.client.test_audit import audited, codes
from tests.client.test_audit_rights import history
from tests.ledger import rules_world

CLASS = canonical(serial(1)).class_text
LICENCE = "https://amy.example/licence/1"
EVENT = EntryKind.EVENT


def policy(**more) -> Change:
    fields = {"id": "chips", "prefix": PREFIX, "attestation": "export_licence", "issuers": ["amy"]} | more
    return Change(put_policy=PutPolicy(trigger=Trigger.ANY_SHIPPING, **fields))


def licence(subject=CLASS, **more) -> Operation:
    return Operation(attest=Attest(**({"id": LICENCE, "kind": "export_licence", "subject": subject} | more)))


def shipped(part, to="abe", *documents, number=0) -> Operation:
    """A shipping that names documents; the destination is a member or a URI."""

    def rows(kind, *pairs):
        return Value(
            list=List(
                items=[
                    Value(object=Object(fields=rules_world.to_fields({kind: text, "type": what})))
                    for what, text in pairs
                ]
            )
        )

    more = {"destinationList": rows("destination", ("possessing_party", rules_world.party(to)))}
    if documents:
        more["bizTransactionList"] = rows("bizTransaction", *(("cert", text) for text in documents))
    return object_event("OBSERVE", "shipping", part, number=number, **more)


def act(world, member, *operations):
    result = world["a"].operate(member, *operations)
    assert result.ok, Reason.Name(result.reason)


def change(world, *changes):
    act(world, "ada", world["a"].govern(*changes))


@pytest.fixture
def world():
    return World("a")


def said(report):
    return [step.detail for step in report.subject.steps if step.leaving is not None]


def test_it_says_on_which_licence_a_shipping_rested(world):
    first, second = world.commission("a", "ada"), world.commission("a", "ada")
    act(world, "ada", shipped(first))  # before there was a policy
    change(world, policy())
    act(world, "amy", licence())
    act(world, "ada", shipped(second, "abe", "order 7", LICENCE))
    report = audited(world, second, "a")
    assert (codes(report), report.problem) == (set(), "")
    assert f"policy chips: export_licence {LICENCE} by amy" in said(report)[0]
    assert codes(audited(world, first, "a")) == set()
    # A policy that ended binds what left while it was in force, and nothing after it.
    change(world, Change(revoke_policy=RevokePolicy(id="chips")))
    third = world.commission("a", "ada")
    act(world, "ada", shipped(third))
    for part in (first, second, third):
        assert codes(audited(world, part, "a")) == set()
    # Somebody thought better of it.
    act(world, "amy", Operation(revoke_attestation=RevokeAttestation(id=LICENCE)))
    report = audited(world, second, "a")
    assert codes(report) == {"REVOKED_ATTESTATION"}
    assert "which was revoked since" in report.findings[0].message
    assert codes(audited(world, third, "a")) == set()


def test_where_it_asks_for_none(world):
    part = world.commission("a", "ada")
    region = PutPolicy(
        id="region",
        prefix=PREFIX,
        trigger=Trigger.SHIPPING_OUTSIDE,
        members=["ada", "abe"],
        attestation="export_licence",
        issuers=["amy"],
    )
    change(world, Change(put_policy=region), abroad(Trigger.OVER_BRIDGE))
    act(world, "ada", shipped(part, "abe"))
    report = audited(world, part, "a")
    assert (codes(report), said(report)) == (set(), ["to urn:chiptrace:member:abe"])


def test_to_oneself_nothing_leaves(world):
    part = world.commission("a", "ada")
    change(world, policy())
    act(world, "ada", shipped(part, "ada"))
    report = audited(world, part, "a")
    assert (codes(report), said(report)) == (set(), [])


def test_inside_a_box_too(world):
    part, box = world.commission("a", "ada"), "https://id.gs1.org/00/040123450000000016"
    change(world, policy())
    act(world, "ada", packing_event("ADD", box, part))
    act(world, "amy", licence())
    act(world, "ada", shipped(box, "abe", LICENCE))
    report = audited(world, part, "a")
    assert (codes(report), report.problem) == (set(), "")
    assert said(report) == [
        f"to urn:chiptrace:member:abe; cert {LICENCE}; policy chips: export_licence {LICENCE} by amy"
    ]


def test_over_the_bridge():
    world = World("a", "b")
    part = world.commission("a", "ada")
    change(world, abroad(Trigger.OVER_BRIDGE))
    act(world, "amy", licence(destinations=["b-1/bob"]))
    act(world, "ada", crossing(world, part, LICENCE))
    world.relay()
    report = audited(world, part, "a")
    assert (codes(report), report.problem) == (set(), "")
    assert "policy abroad: export_licence" in said(report)[0]


# ---- a corrupt quorum -----------------------------------------------------------------------------------------


@pytest.fixture
def corrupt():
    world = World("a", corrupt="a")
    change(world, policy())
    return world


def let_go(world, lie, *documents, wait=True):
    """A shipping that the chain should have refused."""
    if wait:
        world["a"].produce()
    entries = [
        lie.entry(serial(1), lie.signed("ada", object_event("ADD", "commissioning", serial(1))), EVENT),
        lie.entry(serial(1), lie.signed("ada", shipped(serial(1), "abe", *documents)), EVENT),
    ]
    lie.part(
        serial(1), entries, status=OFFERED, holder="ada", owner="ada", offered_to="abe", commissioner="ada"
    )
    report = audited(world, serial(1), "a", stubs={"a": lie})
    assert report.problem == "", report.problem
    return report


def test_export_without_licence(corrupt):
    report = let_go(corrupt, Forged(corrupt["a"]))
    assert codes(report) == {"LICENCE_MISSING"}
    assert "policy chips asks for export_licence of amy; none is named" in report.findings[0].message
    assert said(report)[0].endswith("policy chips: no licence")


@pytest.mark.parametrize(
    ("member", "fields", "why"),
    [
        ("amy", {"valid_until_ms": 1}, "it has expired"),
        ("amy", {"valid_from_ms": 2**45}, "it is not valid yet"),
        ("abe", {}, "it is of issuer abe"),
        ("amy", {"kind": "certificate"}, "it is of kind certificate"),
        ("amy", {"destinations": ["ann"]}, "it is for ann"),
        ("amy", {"subject": "https://id.gs1.org/01/04012345222227"}, "it is about"),
    ],
)
def test_a_licence_that_is_none(corrupt, member, fields, why):
    """licence_expired, licence_of_another_issuer and the like, let through by the chain."""
    act(corrupt, member, licence(**fields))
    report = let_go(corrupt, Forged(corrupt["a"]), LICENCE)
    assert codes(report) == {"LICENCE_MISSING"}
    assert why in report.findings[0].message


def test_a_licence_that_nobody_signed(corrupt):
    lie, key = Forged(corrupt["a"]), state.attestation_key(LICENCE)
    corrupt["a"].produce()
    for signer, claim in (
        ("abe", licence()),
        ("amy", licence(destinations=["ann"])),
        ("amy", licence(id="https://amy.example/2")),
        ("amy", licence(valid_until_ms=1)),
        ("amy", licence(serial(2))),
    ):
        signed = lie.signed(signer, claim)
        record = AttestationRecord(id=LICENCE, issuer="amy", subject=CLASS, kind="export_licence")
        history(lie, AttestationRecord, key, record, [lie.entry("", signed, EntryKind.ATTESTED, key=key)])
        entries = [
            lie.entry(serial(1), lie.signed("ada", object_event("ADD", "commissioning", serial(1))), EVENT),
            lie.entry(serial(1), lie.signed("ada", shipped(serial(1), "abe", LICENCE)), EVENT),
        ]
        lie.part(serial(1), entries, status=OFFERED, holder="ada", owner="ada", offered_to="abe")
        report = audited(corrupt, serial(1), "a", stubs={"a": lie})
        assert report.verdict is Verdict.NOT_VERIFIABLE
        assert "is not what" in report.problem


def test_a_licence_whose_revocation_is_kept_back(corrupt):
    chain, lie, key = corrupt["a"], Forged(corrupt["a"]), state.attestation_key(LICENCE)
    act(corrupt, "amy", licence())
    act(corrupt, "amy", Operation(revoke_attestation=RevokeAttestation(id=LICENCE)))
    record = chain.record(key, AttestationRecord)
    record.revoked_at_ms = 0
    lie.put(key, record)
    chain.produce()
    entries = [
        lie.entry(serial(1), lie.signed("ada", object_event("ADD", "commissioning", serial(1))), EVENT),
        lie.entry(serial(1), lie.signed("ada", shipped(serial(1), "abe", LICENCE)), EVENT),
    ]
    lie.part(serial(1), entries, status=OFFERED, holder="ada", owner="ada", offered_to="abe")
    report = audited(corrupt, serial(1), "a", stubs={"a": lie})
    assert "do not agree" in report.problem


def test_a_licence_with_another_operation_behind_it(corrupt):
    lie, key = Forged(corrupt["a"]), state.attestation_key(LICENCE)
    corrupt["a"].produce()
    for operation, fields in (
        (licence(), {"digest": bytes(32)}),
        (Operation(revoke_attestation=RevokeAttestation(id=LICENCE)), {}),
    ):
        signed = lie.signed("amy", operation)
        record = AttestationRecord(id=LICENCE, issuer="amy", subject=CLASS, kind="export_licence")
        entry = lie.entry("", signed, EntryKind.ATTESTED, key=key, **fields)
        history(lie, AttestationRecord, key, record, [entry])
        entries = [
            lie.entry(serial(1), lie.signed("ada", object_event("ADD", "commissioning", serial(1))), EVENT),
            lie.entry(serial(1), lie.signed("ada", shipped(serial(1), "abe", LICENCE)), EVENT),
        ]
        lie.part(serial(1), entries, status=OFFERED, holder="ada", owner="ada", offered_to="abe")
        report = audited(corrupt, serial(1), "a", stubs={"a": lie})
        assert "no operation attest made entry 0" in report.problem


def test_a_policy_said_to_be_younger(corrupt):
    chain, lie = corrupt["a"], Forged(corrupt["a"])
    record = chain.record(state.policy_key("chips"), PolicyRecord)
    record.put_at = 2**40
    lie.put(state.policy_key("chips"), record)
    chain.produce()
    entries = [
        lie.entry(serial(1), lie.signed("ada", object_event("ADD", "commissioning", serial(1))), EVENT),
        lie.entry(serial(1), lie.signed("ada", shipped(serial(1), "abe")), EVENT),
    ]
    lie.part(serial(1), entries, status=OFFERED, holder="ada", owner="ada", offered_to="abe")
    report = audited(corrupt, serial(1), "a", stubs={"a": lie})
    assert "another one than its history makes" in report.problem


def test_a_policy_said_to_have_ended(corrupt):
    """Which its history does not say."""
    chain, lie = corrupt["a"], Forged(corrupt["a"])
    record = chain.record(state.policy_key("chips"), PolicyRecord)
    record.revoked_at = record.put_at
    lie.put(state.policy_key("chips"), record)
    chain.produce()
    entries = [
        lie.entry(serial(1), lie.signed("ada", object_event("ADD", "commissioning", serial(1))), EVENT),
        lie.entry(serial(1), lie.signed("ada", shipped(serial(1), "abe")), EVENT),
    ]
    lie.part(serial(1), entries, status=OFFERED, holder="ada", owner="ada", offered_to="abe")
    report = audited(corrupt, serial(1), "a", stubs={"a": lie})
    assert "another one than its history makes" in report.problem


def test_a_policy_that_nobody_ended(corrupt):
    chain, lie, key = corrupt["a"], Forged(corrupt["a"]), state.policy_key("chips")
    (begun,) = chain.entries(key)
    lie.transactions[begun.transaction] = chain.app.store.transaction(begun.transaction).data
    unapproved = lie.signed("amy", chain.govern(Change(revoke_policy=RevokePolicy(id="chips")), approvers=[]))
    ended = lie.entry("", unapproved, EntryKind.GOVERNED, key=key)
    record = chain.record(key, PolicyRecord)
    record.revoked_at = ended.height
    history(lie, PolicyRecord, key, record, [begun, ended])
    assert codes(let_go(corrupt, lie)) == {"POLICY_NOT_APPROVED"}
    approved = lie.signed("amy", chain.govern(Change(revoke_policy=RevokePolicy(id="chips"))))
    history(
        lie,
        PolicyRecord,
        key,
        record,
        [begun, lie.entry("", approved, EntryKind.GOVERNED, key=key, height=ended.height)],
    )
    assert codes(let_go(corrupt, lie)) == set()


def test_a_policy_made_milder_than_members_approved(corrupt):
    chain, lie = corrupt["a"], Forged(corrupt["a"])
    record = chain.record(state.policy_key("chips"), PolicyRecord)
    record.policy.issuers.append("abe")
    lie.put(state.policy_key("chips"), record)
    act(corrupt, "abe", licence())
    assert codes(let_go(corrupt, lie, LICENCE)) == {"POLICY_NOT_APPROVED"}
