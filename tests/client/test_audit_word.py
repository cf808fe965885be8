"""What only a corrupt chain's word stands for: an audit never tells it as what members said, did, or are.

A record that no member signed (whose key ended, which claim was revoked, whom an identifier names), a finding that no
rule enters, a decision that members let expire. Each of these was seen to be told as true with its guard removed.
"""

import pytest

from client.audit_report import Verdict
from ledger import hashes, state
from ledger.attestations import foreign_attestation_key
from ledger.event import event_digest
from ledger.history import append_entry
from proto.chiptrace.v1.ledger_pb2 import (
    ADOPTED_EVENT,
    ATTESTED,
    CONTESTED,
    CORRECTED,
    CORRECTION_PENDING,
    DELEGATION_EXCEEDED,
    EVENT,
    FLAG,
    GOVERNED,
    KEY_NOT_VALID,
    LATE_RECORD,
    LICENCE_MISSING,
    LIVE,
    NOT_GRANTED,
    NOT_IN_CUSTODY,
    OVER_RECEIPT,
    PARTY_NOT_A_MEMBER,
    REPEATED_COMMISSIONING,
    RETURNED,
    ROLE_NOT_ALLOWED,
    SEEN_AFTER_END,
    SEEN_ELSEWHERE,
    SERIAL_CLAIMED_TWICE,
    SUPERSEDES_ADOPTION,
    TAKEN_BACK,
    UNDONE,
    VOID,
    Attest,
    AttestationRecord,
    Change,
    CorrectionRecord,
    Event,
    Field,
    ForeignAttestationRecord,
    IdentifierRecord,
    KeyRecord,
    List,
    MemberRecord,
    Object,
    Operation,
    PutKey,
    PutMember,
    RevokeAttestation,
    RevokeKey,
    Role,
    Value,
)
from tests.bridge.test_attest_port import send
from tests.bridge.two_chains import World, object_event, shipping_event
from tests.client.corrupt import Forged
from tests.client.test_audit import audited, codes
from tests.client.test_audit_corrupt import PART, begun, told
from tests.ledger.chain_fixture import key_of
from tests.ledger.test_corrections import wrong

GLN = "https://id.gs1.org/417/4012345000009"
SEED = bytes(range(32))
KEY = hashes.public_key(SEED)
PUT = PutKey(key=KEY, member="ada", role=Role.OPERATOR)


@pytest.fixture
def world():
    """Chain a, the home of all parts, is corrupt; b is honest."""
    return World("a", "b", corrupt="a")


@pytest.fixture
def lie(world):
    world["a"].produce()
    return Forged(world["a"])


# ---- findings that an entry has -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "finding",
    [
        NOT_GRANTED,
        NOT_IN_CUSTODY,
        KEY_NOT_VALID,
        ROLE_NOT_ALLOWED,
        DELEGATION_EXCEEDED,
        LICENCE_MISSING,
        REPEATED_COMMISSIONING,
        SERIAL_CLAIMED_TWICE,
        SEEN_AFTER_END,
        SEEN_ELSEWHERE,
        OVER_RECEIPT,
        PARTY_NOT_A_MEMBER,
        SUPERSEDES_ADOPTION,
        CONTESTED,
        CORRECTION_PENDING,
    ],
)
@pytest.mark.parametrize("kind", [EVENT, ADOPTED_EVENT])
def test_a_chain_finds_nothing_in_an_event_that_no_rule_finds_there(world, lie, finding, kind):
    """It would be an accusation of the member who signed it."""
    seen = lie.signed("ada", object_event("OBSERVE", "inspecting", PART))
    entries = [begun(lie), lie.entry(PART, seen, kind, finding=finding)]
    if kind == ADOPTED_EVENT:
        entries = entries[1:]
    lie.part(PART, entries, status=LIVE, holder="ada", owner="ada")
    report = told(world, lie)
    assert (report.verdict, codes(report)) == (Verdict.NOT_VERIFIABLE, set())
    assert "with the finding" in report.problem


def test_a_flag_says_what_for(world, lie):
    """Else a second commissioning would stand there and not be told."""
    again = lie.signed("ada", object_event("ADD", "commissioning", PART, number=9))
    lie.part(PART, [begun(lie), lie.entry(PART, again, FLAG)], status=LIVE, holder="ada", owner="ada")
    assert told(world, lie).verdict is Verdict.NOT_VERIFIABLE


def test_what_is_alive_was_not_seen_after_its_end(world, lie):
    seen = lie.signed("ada", object_event("OBSERVE", "inspecting", PART))
    flagged = lie.entry(PART, seen, FLAG, finding=SEEN_AFTER_END)
    lie.part(PART, [begun(lie), flagged], status=LIVE, holder="ada", owner="ada")
    assert "CONTRADICTION" in codes(told(world, lie))


def test_an_event_may_be_late(world, lie):
    seen = lie.signed("ada", object_event("OBSERVE", "inspecting", PART))
    entries = [begun(lie), lie.entry(PART, seen, EVENT, finding=LATE_RECORD)]
    lie.part(PART, entries, status=LIVE, holder="ada", owner="ada")
    assert codes(told(world, lie)) == {"LATE_RECORD"}


# ---- keys and names -----------------------------------------------------------------------------------------------


def signer(lie):
    return lie.signed("ada", object_event("OBSERVE", "inspecting", PART)).body.signer


@pytest.mark.parametrize("fields", [{"revoked_at_ms": 1}, {"compromised_since_ms": 1}])
def test_a_key_ends_by_its_members_decision(world, lie, fields):
    """Else whoever signed with it would be said to have been a thief."""
    lie.part(PART, [begun(lie)], status=LIVE, holder="ada", owner="ada")
    key = state.signer_key(signer(lie))
    record = lie.chain.record(key, KeyRecord)
    for name, value in fields.items():
        setattr(record, name, value)
    lie.put(key, record)
    assert codes(told(world, lie)) == {"KEY_NOT_APPROVED"}


@pytest.mark.parametrize("since", [0, 1])
def test_a_key_that_members_ended_is_told_as_ended(world, lie, since):
    part = world.commission("a", "ada")
    revoked = RevokeKey(key=signer(lie), compromised_since_ms=since)
    assert world.govern("a", Change(put_key=PUT)).ok
    assert world["a"].operate("abe", world["a"].govern(Change(revoke_key=revoked))).ok
    assert codes(told(world, lie, part)) == ({"KEY_COMPROMISED"} if since else set())
    # Said once more, and from earlier on.
    revoked.compromised_since_ms = since or world["a"].info.time_ms
    if not since:
        assert world["a"].operate("abe", world["a"].govern(Change(revoke_key=revoked))).ok
        assert codes(told(world, lie, part)) == set()


@pytest.mark.parametrize(("later_ms", "found"), [(0, set()), (7_200_000, {"KEY_NOT_APPROVED"})])
def test_what_members_let_expire_is_not_approved(world, lie, later_ms, found):
    """They proposed a key, thought better of it, and a corrupt quorum carries it out afterwards."""
    governing = world["a"].govern(Change(put_key=PUT))
    world.pass_time(later_ms)
    put = lie.entry("", lie.signed("amy", governing), GOVERNED, key=state.signer_key(KEY))
    record = KeyRecord(key=KEY, member="ada", role=Role.OPERATOR)
    stored = append_entry(lie.chain.chain_id, record.history, put)[1]
    lie.histories[state.signer_key(KEY)] = [stored]
    lie.put(state.signer_key(KEY), record)
    made = lie.signed("ada", object_event("ADD", "commissioning", PART), seed=SEED)
    lie.part(PART, [lie.entry(PART, made, EVENT)], status=LIVE, holder="ada", owner="ada")
    assert codes(told(world, lie)) == found


def named(member, *identifiers):
    admin = [key_of(member, "admin")]
    return Change(put_member=PutMember(id=member, name=member, identifiers=identifiers, admin_keys=admin))


def shipped_to(part, identifier):
    fields = [("destination", identifier), ("type", "possessing_party")]
    to = Object(fields=[Field(name=name, value=Value(text=text)) for name, text in fields])
    listed = Value(list=List(items=[Value(object=to)]))
    return object_event("OBSERVE", "shipping", part, number=3, destinationList=listed)


@pytest.fixture
def under_way(world, lie):
    """A part that ada shipped to whom an identifier names, which is abe."""
    assert world.govern("a", named("abe", GLN)).ok
    part = world.commission("a", "ada")
    assert world["a"].operate("ada", shipped_to(part, GLN)).ok
    return part


def test_a_chain_does_not_say_whom_an_identifier_names(world, lie, under_way):
    """Else a member who helps it would have what was shipped to another, and nobody would be told."""
    lie.put(state.identifier_key(GLN), IdentifierRecord(member="amy"))
    taken = lie.signed("amy", object_event("OBSERVE", "receiving", under_way, number=4))
    entries = [*lie.real(under_way), lie.entry(under_way, taken, EVENT)]
    lie.part(under_way, entries, status=LIVE, holder="amy", offered_to="", offered_at_ms=0)
    assert "CONTRADICTION" in codes(told(world, lie, under_way))


def test_nor_with_a_change_that_no_member_approved(world, lie, under_way):
    sent = lie.real(under_way)
    change = named("amy", GLN)
    proposal = world["a"].govern(change, approvers=[])
    key = state.member_key("amy")
    record = lie.chain.record(key, MemberRecord)
    stored = lie.chain.app.store.entries(key, 0, 10)
    early = lie.entry("", lie.signed("amy", proposal), GOVERNED, key=key, height=sent[-1].height)
    stored.append(append_entry(lie.chain.chain_id, record.history, early)[1])
    lie.histories[key] = stored
    lie.transactions[hashes.ZERO] = b""  # of the genesis
    lie.put(key, record)
    taken = lie.signed("amy", object_event("OBSERVE", "receiving", under_way, number=4))
    entries = [*sent, lie.entry(under_way, taken, EVENT)]
    lie.part(under_way, entries, status=LIVE, holder="amy", offered_to="", offered_at_ms=0)
    assert codes(told(world, lie, under_way)) == {"PARTY_NOT_APPROVED"}


@pytest.mark.parametrize("received", [False, True])
def test_an_identifier_that_names_another_member_since(world, under_way, received):
    """Who had it then received it; nobody is accused."""
    if received:
        assert world["a"].operate("abe", object_event("OBSERVE", "receiving", under_way, number=4)).ok
    assert world.govern("a", named("abe"), named("amy", GLN)).ok
    report = audited(world, under_way, "a")
    assert (report.verdict, report.findings) == (Verdict.VERIFIED, [])


def test_who_did_not_ship_takes_nothing_back(world, lie):
    for member, found in (("ada", set()), ("ann", {"NOT_IN_CUSTODY"})):
        shipped, back = shipping_event(PART, "abe"), object_event("OBSERVE", "void_shipping", PART)
        entries = [begun(lie), lie.entry(PART, lie.signed("ada", shipped), EVENT)]
        entries.append(lie.entry(PART, lie.signed(member, back), RETURNED))
        lie.part(PART, entries, status=LIVE, holder="ada", owner="ada")
        assert codes(told(world, lie)) == found


# ---- claims -------------------------------------------------------------------------------------------------------

ID = "https://amy.example/1"


def claimed(world, part, kind="recall", by="amy", **more):
    claim = Attest(id=ID, subject=part, kind=kind, valid_from_ms=1, scope="cracks", **more)
    assert world["a"].operate(by, Operation(attest=claim)).ok


def changed(lie, **fields):
    """Certify the record of the claim with other fields."""
    key = state.attestation_key(ID)
    record = lie.chain.record(key, AttestationRecord)
    for name, value in fields.items():
        setattr(record, name, value)
    lie.put(key, record)


@pytest.mark.parametrize(
    "fields",
    [
        {"revoked_at_ms": 1_700_000_000_500},
        {"kind": "certificate"},
        {"scope": "none of them"},
        {"valid_from_ms": 2},
        {"valid_until_ms": 3},
        {"document_name": "all is well"},
        {"document_sha256": bytes(32)},
        {"issuer": "ann"},
    ],
)
def test_a_claim_is_as_its_issuer_signed_it(world, lie, fields):
    """A recall would be one that is over."""
    part = world.commission("a", "ada")
    claimed(world, part)
    assert codes(told(world, lie, part)) == {"RECALLED"}
    changed(lie, **fields)
    report = told(world, lie, part)
    assert (report.verdict, codes(report)) == (Verdict.NOT_VERIFIABLE, set())


@pytest.mark.parametrize(
    ("by", "what", "is_so"), [("amy", ID, True), ("ann", ID, False), ("amy", f"{ID}0", False)]
)
def test_its_issuer_revoked_it_and_no_other(world, lie, by, what, is_so):
    part = world.commission("a", "ada")
    claimed(world, part)
    key = state.attestation_key(ID)
    record = lie.chain.record(key, AttestationRecord)
    entries = lie.chain.entries(key)
    for entry in entries:
        lie.transactions[entry.transaction] = lie.chain.app.store.transaction(entry.transaction).data
    ended = lie.signed(by, Operation(revoke_attestation=RevokeAttestation(id=what)))
    entries.append(lie.entry("", ended, ATTESTED, key=key))
    record.revoked_at_ms = lie.chain.info.time_ms
    record.history.Clear()
    lie.histories[key] = [append_entry(lie.chain.chain_id, record.history, one)[1] for one in entries]
    lie.put(key, record)
    report = told(world, lie, part)
    assert codes(report) == ({"REVOKED_ATTESTATION"} if is_so else set()), report.problem


def test_what_was_revoked_is_over(world, lie):
    part = world.commission("a", "ada")
    claimed(world, part)
    assert world["a"].operate("amy", Operation(revoke_attestation=RevokeAttestation(id=ID))).ok
    assert codes(told(world, lie, part)) == {"REVOKED_ATTESTATION"}
    changed(lie, revoked_at_ms=0)
    assert told(world, lie, part).verdict is Verdict.NOT_VERIFIABLE


def at_b(world):
    part = world.commission("a", "ada")
    assert world.send("a", part, "bob").ok
    world.relay()
    assert world.accept("b", part, "bob").ok
    world.relay()
    return part


def test_a_claim_that_a_chain_told_was_signed_there(world, lie):
    """The home of the part says of its own member that she recalls it, and tells the chain where it is."""
    part = at_b(world)
    claimed(world, part, kind="certificate")
    changed(lie, issuer="ann", kind="recall")
    assert send(world, "a", "ann", "b-1", ID).ok
    world.relay()
    report = told(world, lie, part, "b")
    assert report.verdict is Verdict.NOT_VERIFIABLE
    assert "it is not what amy signed" in report.problem


def test_a_claim_of_another_chain_is_in_force_as_long_as_that_one_says():
    """Where the part is the chain is corrupt: it says that the recall it was told of is over."""
    world = World("a", "b", corrupt="b")
    part = at_b(world)
    claimed(world, part)
    world.relay()
    chain_id = world["a"].chain_id
    key = foreign_attestation_key(chain_id, chain_id, ID)
    record = world["b"].record(key, ForeignAttestationRecord)
    record.copy.record.revoked_at_ms = world["b"].info.time_ms
    lie = Forged(world["b"])
    lie.put(key, record)
    report = audited(world, part, "b", stubs={"b": lie})
    assert report.verdict is Verdict.NOT_VERIFIABLE
    assert "in force" in report.problem


# ---- what is taken back -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("agreed", [False, True])
def test_who_has_it_says_so_too_before_it_never_was(world, lie, agreed):
    """The seller and a corrupt chain declare that what was sold had never been made."""
    made = object_event("ADD", "commissioning", PART)
    shipped, taken = shipping_event(PART, "abe"), object_event("OBSERVE", "receiving", PART)
    entries = [
        lie.entry(PART, lie.signed(member, operation), EVENT)
        for member, operation in (("ada", made), ("ada", shipped), ("abe", taken))
    ]
    wrong_event = wrong(made, "2023-11-14T22:13:22Z")
    members = ["abe", "ada"] if agreed else ["ada"]
    for member in members:
        kind = UNDONE if member == "ada" else CORRECTED
        entries.append(lie.entry(PART, lie.signed(member, wrong_event), kind))
    original = event_digest(lie.chain.chain_id, Event.FromString(made.capture.event))
    record = CorrectionRecord(original=original, state=TAKEN_BACK, members=members, height=lie.chain.height)
    lie.put(state.correction_key(original), record)
    lie.part(PART, entries, status=VOID, holder="abe", owner="ada")
    found = {"ERROR_DECLARED"} if agreed else {"ERROR_DECLARED", "NOT_IN_CUSTODY"}
    report = told(world, lie)
    assert codes(report) == found, report.problem


def test_one_declaration_that_two_members_sign_is_no_event_twice():
    world = World("a", "b")
    part = world.commission("a", "ada")
    made = object_event("ADD", "commissioning", part)
    assert world["a"].operate("ada", shipping_event(part, "abe")).ok
    assert world["a"].operate("abe", object_event("OBSERVE", "receiving", part)).ok
    for member in ("ada", "abe"):
        assert world["a"].operate(member, wrong(made, "2023-11-14T22:13:22Z")).ok
    assert codes(audited(world, part, "a")) == {"ERROR_DECLARED", "CORRECTION_PENDING"}
