"""Whom a name means: no chain alone says that it means nobody, or somebody; and honest chains are never accused for it."""

from itertools import permutations

import pytest

from client.audit_report import Verdict
from ledger import codec, hashes, state
from ledger.history import append_entry
from ledger.limits import PROPOSAL_EXPIRY_MS_MAX
from ledger.members import admin_key_key
from proto.chiptrace.v1.ledger_pb2 import (
    ADOPTED_EVENT,
    EVENT,
    GOVERNED,
    LIVE,
    OFFERED,
    PARTY_NOT_A_MEMBER,
    Change,
    Govern,
    GovernanceProposal,
    IdentifierRecord,
    MemberRecord,
    Operation,
    PutKey,
    ReturnOffer,
    RevokeKey,
    Role,
    Signature,
    Value,
)
from tests.bridge.two_chains import World, object_event, shipping_event
from tests.client.corrupt import Forged
from tests.client.test_audit import audited, codes
from tests.client.test_audit_corrupt import PART, begun, told
from tests.client.test_audit_word import GLN, KEY, SEED, named, shipped_to
from tests.ledger.chain_fixture import key_of, seed_of

URN = "urn:chiptrace:member:"
ZED = Change(put_key=PutKey(key=KEY, member="zed", role=Role.OPERATOR))


@pytest.fixture
def world():
    return World("a", "b", corrupt="a")


@pytest.fixture
def lie(world):
    world["a"].produce()
    return Forged(world["a"])


def received(part=PART, number=4, **more):
    return object_event("OBSERVE", "receiving", part, number=number, **more)


# ---- what a chain says alone --------------------------------------------------------------------------------------


def put_zed(world, *identifiers):
    assert world.govern("a", named("zed", *identifiers), ZED).ok


def shipped_outside(lie, to, kind=EVENT):
    return lie.entry(PART, lie.signed("ada", shipped_to(PART, to)), kind, finding=PARTY_NOT_A_MEMBER)


@pytest.mark.parametrize("to", [GLN, f"{URN}abe"])
def test_who_was_a_member_is_not_told_to_have_been_none(world, lie, to):
    """Else the receiver would be said to act on what she never had."""
    assert world.govern("a", named("abe", GLN)).ok
    world["a"].produce()
    taken = lie.entry(PART, lie.signed("abe", received()), EVENT)
    entries = [begun(lie), shipped_outside(lie, to), taken]
    lie.part(PART, entries, status=LIVE, holder="ada", owner="ada")
    report = told(world, lie)
    assert (report.verdict, codes(report)) == (Verdict.NOT_VERIFIABLE, set())
    assert "it was shipped to abe, and no outsider" in report.problem


@pytest.mark.parametrize("kind", [EVENT, ADOPTED_EVENT])
@pytest.mark.parametrize("to", [GLN, f"{URN}zed"])
def test_nor_a_member_that_came_later_and_whose_identifier_went_on(world, lie, to, kind):
    put_zed(world, GLN)
    world["a"].produce()
    shipped = shipped_outside(lie, to, kind)
    taken = lie.entry(PART, lie.signed("zed", received(), seed=SEED), EVENT)
    assert world.govern("a", named("zed"), named("amy", GLN)).ok
    entries = [shipped, taken] if kind == ADOPTED_EVENT else [begun(lie), shipped, taken]
    lie.part(PART, entries, status=LIVE, holder="ada", owner="ada")
    report = told(world, lie)
    assert (report.verdict, codes(report)) == (Verdict.NOT_VERIFIABLE, set())


def test_a_member_is_no_outsider_for_what_nobody_approved(world, lie):
    """An identifier taken from her by the chain alone leaves her the one whom it names."""
    put_zed(world, GLN)
    key = state.member_key("zed")
    record, entries = lie.chain.record(key, MemberRecord), lie.chain.entries(key)
    for entry in entries:
        lie.transactions[entry.transaction] = lie.chain.app.store.transaction(entry.transaction).data
    world["a"].produce()
    taken_away = lie.signed("amy", world["a"].govern(named("zed"), approvers=[]))
    entries.append(lie.entry("", taken_away, GOVERNED, key=key))
    record.history.Clear()
    lie.histories[key] = [append_entry(lie.chain.chain_id, record.history, one)[1] for one in entries]
    lie.put(key, record)
    taken = lie.signed("zed", received(), seed=SEED)
    lie.part(
        PART,
        [begun(lie), shipped_outside(lie, GLN), lie.entry(PART, taken, EVENT)],
        status=LIVE,
        holder="ada",
        owner="ada",
    )
    report = told(world, lie)
    assert (report.verdict, codes(report)) == (Verdict.NOT_VERIFIABLE, set())


def test_what_was_shipped_to_nobody_has_no_party(world, lie):
    seen = lie.signed("ada", object_event("OBSERVE", "shipping", PART))
    entries = [begun(lie), lie.entry(PART, seen, EVENT, finding=PARTY_NOT_A_MEMBER)]
    lie.part(PART, entries, status=LIVE, holder="ada", owner="ada")
    report = told(world, lie)
    assert (report.verdict, codes(report)) == (Verdict.NOT_VERIFIABLE, set())


@pytest.mark.parametrize("to", [GLN, f"{URN}zed"])
def test_who_was_no_member_yet_was_offered_nothing(world, lie, to):
    """The chain leaves the finding out, and makes a member of the name afterwards."""
    entries = [begun(lie), lie.entry(PART, lie.signed("ada", shipped_to(PART, to)), EVENT)]
    world["a"].produce()
    put_zed(world, GLN)
    entries.append(lie.entry(PART, lie.signed("zed", received(), seed=SEED), EVENT))
    lie.part(PART, entries, status=LIVE, holder="zed", owner="ada")
    assert codes(told(world, lie)) == {"CONTRADICTION"}


# ---- honest stories -----------------------------------------------------------------------------------------------


def clean(world, part, name="a", expected=frozenset()):
    report = audited(world, part, name)
    assert (report.problem, codes(report)) == ("", set(expected)), report.findings


def block(world, *signed):
    """One block of (member, operations, seed) in this order; each succeeds or not as the ledger says."""
    chain = world["a"]
    made = [chain.transaction(member, operation, seed=seed) for member, operation, seed in signed]
    return [result.ok for result in chain.produce(made)]


@pytest.mark.parametrize("to", [GLN, f"{URN}zed"])
def test_shipped_before_and_after_a_member_joined(world, to):
    part = world.commission("a", "ada")
    assert world["a"].operate("ada", shipped_to(part, to)).ok
    put_zed(world, GLN)
    clean(world, part, expected={"PARTY_NOT_A_MEMBER"})
    again = object_event("OBSERVE", "inspecting", part)
    assert world["a"].operate("ada", again).ok
    assert world["a"].operate("ada", shipping_event(part, "zed", number=9)).ok
    clean(world, part, expected={"PARTY_NOT_A_MEMBER"})
    assert block(world, ("zed", received(part), SEED)) == [True]
    clean(world, part, expected={"PARTY_NOT_A_MEMBER"})


@pytest.mark.parametrize("to", [GLN, f"{URN}zed"])
@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_one_block_puts_a_member_ships_and_receives(world, to, order):
    part = world.commission("a", "ada")
    governing = world["a"].govern(named("zed", GLN), ZED)
    signed = ("amy", governing, None), ("ada", shipped_to(part, to), None), ("zed", received(part), SEED)
    block(world, *(signed[place] for place in order))
    report = audited(world, part, "a")
    assert (report.problem, codes(report) - {"PARTY_NOT_A_MEMBER"}) == ("", set()), report.findings


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("before", ["ada", "abe", ""])
@pytest.mark.parametrize("after", ["ada", "abe", "amy", ""])
def test_an_identifier_goes_on_in_the_block_of_a_shipping(world, before, after, first):
    """To and from the shipper, another, nobody; before the shipping and after it."""
    part = world.commission("a", "ada")
    if before:
        assert world.govern("a", named(before, GLN)).ok
    changes = [named(before)] if before else []
    changes += [named(after, GLN)] if after else []
    if not changes:
        return
    signed = [("ann", world["a"].govern(*changes), None), ("ada", shipped_to(part, GLN), None)]
    assert block(world, *(signed if first else signed[::-1])) == [True, True]
    named_then = after if first else before
    if named_then not in ("", "ada"):
        clean(world, part)
        assert world["a"].operate(named_then, received(part)).ok
    else:
        assert world["a"].operate("ada", object_event("OBSERVE", "inspecting", part)).ok
    clean(world, part, expected=set() if named_then else {"PARTY_NOT_A_MEMBER"})


@pytest.mark.parametrize("ends", [True, False])
def test_what_was_offered_in_that_block_is_taken_back(world, ends):
    """By an identifier of the shipper that went to another after the shipping, or to the shipper after it."""
    part = world.commission("a", "ada")
    assert world.govern("a", named("abe", GLN)).ok
    changes = world["a"].govern(named("abe"), named("ada", GLN))
    assert block(world, ("ada", shipped_to(part, GLN), None), ("ann", changes, None)) == [True, True]
    back = Operation(return_offer=ReturnOffer(part=part)) if ends else void_shipping(part)
    assert world["a"].operate("ada", back).ok
    clean(world, part)
    assert world["a"].operate("ada", shipping_event(part, "amy", number=8)).ok
    assert world["a"].operate("amy", received(part)).ok
    clean(world, part)


def void_shipping(part):
    return object_event("OBSERVE", "void_shipping", part)


def test_own_names_offer_nothing(world, lie):
    """What stayed with its shipper is nobody's who says to have received it, nor was it on offer."""
    began = begun(lie)
    shipped = lie.entry(PART, lie.signed("ada", shipped_to(PART, f"{URN}ada")), EVENT)
    taken = lie.entry(PART, lie.signed("abe", received()), EVENT)
    lie.part(PART, [began, shipped, taken], status=LIVE, holder="abe", owner="ada")
    assert codes(told(world, lie)) == {"NOT_IN_CUSTODY", "CONTRADICTION"}
    lie.part(PART, [began, shipped], status=OFFERED, holder="ada", owner="ada", offered_to="abe")
    report = told(world, lie)
    assert codes(report) == {"CONTRADICTION"}, report.problem


def test_what_was_perhaps_offered_is_not_once_its_shipper_works_on_it(world, lie):
    part = world.commission("a", "ada")
    assert world.govern("a", named("ada", GLN)).ok
    changes = world["a"].govern(named("ada"), named("abe", GLN))
    assert block(world, ("ada", shipped_to(part, GLN), None), ("ann", changes, None)) == [True, True]
    assert world["a"].operate("ada", object_event("OBSERVE", "inspecting", part)).ok
    clean(world, part)
    taken = lie.entry(part, lie.signed("abe", received(part)), EVENT)
    lie.part(part, [*lie.real(part), taken], status=LIVE, holder="abe")
    assert codes(told(world, lie, part)) == {"NOT_IN_CUSTODY", "CONTRADICTION"}


def approved_until(chain, expires_ms, *changes):
    proposal = codec.encode(
        GovernanceProposal(
            chain_id=chain.chain_id, expires_ms=expires_ms, nonce=bytes(range(16)), changes=changes
        )
    )
    signature = hashes.sign(seed_of("amy", "admin"), hashes.Purpose.PROPOSAL, chain.chain_id, proposal)
    return Govern(proposal=proposal, approvals=[Signature(key=key_of("amy", "admin"), signature=signature)])


@pytest.mark.parametrize("ahead_ms", [-1, 0, PROPOSAL_EXPIRY_MS_MAX, PROPOSAL_EXPIRY_MS_MAX + 1])
def test_what_is_carried_out_in_the_last_millisecond_counts(world, ahead_ms):
    chain, part = world["a"], world.commission("a", "ada")
    govern = approved_until(chain, chain.now_ms + ahead_ms, named("zed", GLN), ZED)
    result = chain.operate("ada", Operation(govern=govern))
    assert result.ok == (0 <= ahead_ms <= PROPOSAL_EXPIRY_MS_MAX)
    assert chain.operate("ada", shipped_to(part, GLN)).ok
    if result.ok:
        assert block(world, ("zed", received(part), SEED)) == [True]
    clean(world, part, expected=set() if result.ok else {"PARTY_NOT_A_MEMBER"})


def test_an_admin_key_approves_in_the_block_that_put_it(world):
    """Its member joined and approved the next change at one height."""
    part, chain = world.commission("a", "ada"), world["a"]
    join, then = chain.govern(named("zed")), chain.govern(named("zed", GLN), ZED, approvers=["zed"])
    assert block(world, ("ada", join, None), ("ada", then, None)) == [True, True]
    assert chain.operate("ada", shipped_to(part, GLN)).ok
    assert block(world, ("zed", received(part), SEED)) == [True]
    clean(world, part)


@pytest.mark.parametrize("others", [1, 6])
def test_keys_of_one_block_do_not_vouch_for_each_other(world, lie, others):
    """Members that a chain makes up, each put by a proposal that only the others approved."""
    chain, made = world["a"], []
    members = ["zed", *(f"zoe-{number}" for number in range(others))]
    for member in members:
        key = state.member_key(member)
        proposal = chain.govern(named(member, GLN), approvers=[one for one in members if one != member])
        made.append((member, key, lie.entry("", lie.signed("amy", proposal), GOVERNED, key=key)))
    for member, key, entry in made:
        made_up = MemberRecord(id=member)
        lie.histories[key] = [append_entry(chain.chain_id, made_up.history, entry)[1]]
        lie.put(key, made_up)
        lie.put(admin_key_key(key_of(member, "admin")), IdentifierRecord(member=member))
    lie.put(state.identifier_key(GLN), IdentifierRecord(member="zed"))
    chain.produce()
    shipped = lie.entry(PART, lie.signed("ada", shipped_to(PART, GLN)), EVENT)
    lie.part(PART, [begun(lie), shipped], status=OFFERED, holder="ada", owner="ada", offered_to="zed")
    assert codes(told(world, lie)) == {"PARTY_NOT_APPROVED"}


def test_a_key_signs_in_the_block_that_ends_it(world):
    chain, part = world["a"], world.commission("a", "ada")
    put_zed(world)
    assert chain.operate("ada", shipping_event(part, "zed")).ok
    ended = chain.govern(Change(revoke_key=RevokeKey(key=KEY)))
    assert block(world, ("zed", received(part), SEED), ("ada", ended, None)) == [True, True]
    clean(world, part)


def test_a_part_arrives_for_a_member_that_joined_later(world):
    """Named by its member id, which no identifier registers."""
    part = world.commission("a", "ada")
    assert world.govern("b", named("zed"), ZED).ok
    assert world.send("a", part, "zed").ok
    world.relay()
    taken = world["b"].transaction("zed", received(part), seed=SEED)
    assert [result.ok for result in world["b"].produce([taken])] == [True]
    world.relay()
    for name in "ab":
        clean(world, part, name)


@pytest.mark.parametrize("offset", ["+14:00", "-12:00", "+00:00"])
def test_events_of_one_moment_in_any_zone(world, offset):
    part = world.commission("a", "ada")
    zone = {"eventTimeZoneOffset": Value(text=offset)}
    signed = []
    for number, (member, other) in enumerate([("ada", "abe"), ("abe", "amy")]):
        signed.append((member, shipping_event(part, other, number=number), None))
        signed.append((other, received(part, number, **zone), None))
    assert block(world, *signed) == [True] * 4
    report = audited(world, part, "a")
    assert (report.problem, codes(report), report.subject.holder) == ("", set(), "amy"), report.findings
