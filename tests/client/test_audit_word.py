"""What only a corrupt chain's word stands for: an audit never tells it as what members said, did, or are.

A record that no member signed (whose key ended, which claim was revoked, whom an identifier names), a finding that no
rule enters, a decision that members let expire. Each of these was seen to be told as true with its guard removed.
"""

import pytest

from client.audit_report import Verdict
from proto.chiptrace.v1.ledger_pb2 import (
    ADOPTED_EVENT,
    CONTESTED,
    CORRECTION_PENDING,
    DELEGATION_EXCEEDED,
    EVENT,
    FLAG,
    KEY_NOT_VALID,
    LATE_RECORD,
    LICENCE_MISSING,
    LIVE,
    NOT_GRANTED,
    NOT_IN_CUSTODY,
    OVER_RECEIPT,
    PARTY_NOT_A_MEMBER,
    REPEATED_COMMISSIONING,
    ROLE_NOT_ALLOWED,
    SEEN_AFTER_END,
    SEEN_ELSEWHERE,
    SERIAL_CLAIMED_TWICE,
    SUPERSEDES_ADOPTION,
)
from tests.bridge.two_chains import World, object_event, serial
from tests.client.corrupt import Forged
from tests.client.test_audit import audited, codes

PART = serial(7001)


@pytest.fixture
def world():
    """Chain a, the home of all parts, is corrupt; b is honest."""
    return World("a", "b", corrupt="a")


@pytest.fixture
def lie(world):
    world["a"].produce()
    return Forged(world["a"])


def begun(lie, part=PART, member="ada"):
    return lie.entry(part, lie.signed(member, object_event("ADD", "commissioning", part)), EVENT)


def told(world, lie, part=PART, name="a"):
    return audited(world, part, name, stubs={"a": lie})


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
