"""Threats of the field, each acted out: what the ledger refuses, and what the audit finds of what it cannot refuse.

One test per line of the threat table that a ledger can check; those about rights (over-production by a delegate,
prefix substring, stolen keys) stand in test_delegations.py, test_grants.py and test_audit_keys.py.
"""

import pytest

from client.audit import Audit
from client.audit_profile import NO_PROFILE, Expected, Profile
from ledger import decimals
from proto.chiptrace.v1.ledger_pb2 import Attest, Operation, Reason
from scripts.lying_node import hide_event
from tests.bridge import two_chains
from tests.client.direct import DirectStub, verified
from tests.ledger import rules_world
from tests.ledger.rules_world import (
    World,
    add,
    box,
    destroying,
    lot,
    making,
    packing,
    part,
    quantity,
    receiving,
    refused,
    seen,
    shipping,
    unpacking,
)
from tests.ledger.test_corrections import wrong

MEMBERS = ("ada", "bob", "cyd", "dee")
CHIP, BOARD, LOT, DIES = part(1), part(50), lot("wafer"), lot("dies")


class Recorded(World):
    """A world that keeps what succeeded, to be done once more on a chain that can be audited."""

    def __init__(self, **options):
        super().__init__(**options)
        self.done = []

    def act(self, member, *operations, role="operator", wait_ms=100):
        super().act(member, *operations, role=role, wait_ms=wait_ms)
        self.done.append((member, operations))


@pytest.fixture
def world():
    world = Recorded()
    world.event("ada", add([CHIP, part(2), BOARD], [quantity(LOT, 25)]))
    return world


def findings(monkeypatch, world, name=CHIP, profile=NO_PROFILE) -> set[str]:
    """What an audit of a part finds after all that was recorded; the audit itself always succeeds."""
    report = audit(monkeypatch, world, name, profile)
    assert report.problem == ""
    return {finding.code for finding in report.findings}


def audit(monkeypatch, world, name=CHIP, profile=NO_PROFILE, stub=None):
    """The report about a part, by the chain's own node or by one that lies."""
    monkeypatch.setitem(two_chains.MEMBERS, "m", MEMBERS)
    chain = two_chains.BridgedChain("m", two_chains.Clock(world.time_ms), grants=rules_world.GRANTS)
    for member, operations in world.done:
        (result,) = chain.produce([chain.transaction(member, *operations)])
        assert result.ok
    chain.settle()
    view = verified(chain, None if stub is None else stub(chain))
    return Audit({chain.chain_id: view}, profile=profile).run(name, chain.chain_id, lambda: 0)


def test_a_quiet_life_has_no_findings(monkeypatch, world):
    world.give("ada", "bob", CHIP)
    world.event("bob", seen([CHIP]))
    assert findings(monkeypatch, world) == set()


def test_cloned_serial(monkeypatch, world):
    """The same code on two bodies: the second never begins, and a copy cannot be received, held or installed."""
    world.give("ada", "bob", CHIP)
    with refused(Reason.ALREADY_COMMISSIONED):
        world.event("cyd", add([CHIP]))
    for copy in (receiving([CHIP]), seen([CHIP]), shipping([CHIP], "dee")):
        with pytest.raises(Exception, match=CHIP):
            world.event("cyd", copy)
    world.event("ada", add([CHIP]))
    assert findings(monkeypatch, world) == {"REPEATED_COMMISSIONING"}


def test_a_clone_in_two_cities(monkeypatch, world):
    """Whoever scans the copy while the part is elsewhere: nothing travels so fast."""
    for place, minute in (("geo:52.52,13.40", 10), ("geo:22.99,120.21", 40)):
        seen_there = seen([CHIP], readPoint={"id": place}, eventTime=f"2023-11-14T21:{minute}:00Z")
        world.event("ada", seen_there)
    assert findings(monkeypatch, world) == {"IMPOSSIBLE_TRAVEL"}


def test_guessed_serial(monkeypatch, world):
    """A serial that was never issued: nobody but the prefix's holder can begin it, and its absence is proven."""
    with refused(Reason.NOT_GRANTED):
        world.event("cyd", add([part(77)]))
    with refused(Reason.UNKNOWN_PART):
        world.event("cyd", shipping([part(77)], "dee"))
    assert findings(monkeypatch, world, part(77)) == {"UNKNOWN_PART"}


def test_remarked_part(monkeypatch, world):
    """What was printed on it is told for ever, so that it can be read and compared; nobody can commission it anew."""
    ours = "urn:chiptrace:epcis:"
    world.event("ada", add([part(3)], ilmd={f"{ours}marking": "XC7-2I 2335"}))
    with refused(Reason.ALREADY_COMMISSIONED):
        world.event("cyd", add([part(3)], ilmd={f"{ours}marking": "XC7-3E 2340"}))
    report = audit(monkeypatch, world, part(3))
    assert (report.findings, report.subject.also_called) == ([], ["marking XC7-2I 2335"])


def test_one_die_under_two_serials(monkeypatch, world):
    """The same ECID in two parts that meet in one audit."""
    ecid = {"urn:chiptrace:epcis:ecid": "7F01"}
    for number in (3, 4):
        world.event("ada", add([part(number)], ilmd=ecid))
    world.event("ada", packing(BOARD, [part(3), part(4)], kind="Association"))
    assert findings(monkeypatch, world, BOARD) == {"NAME_CONFLICT"}


def test_silent_omission(monkeypatch, world):
    """An entry that a node leaves out breaks the proof; a step that nobody recorded is missing by the reader's
    profile."""

    class Hiding(DirectStub):
        def GetHistory(self, request):
            reply = super().GetHistory(request)
            hide_event(reply)
            return reply

    world.give("ada", "bob", CHIP)
    assert audit(monkeypatch, world, stub=Hiding).problem_code == "BAD_PROOF"
    expected = Profile(1_000, {}, (Expected("gs1:4012345", "", ("receiving", "inspecting")),))
    assert findings(monkeypatch, world, profile=expected) == {"MISSING_STEP"}
    world.event("bob", seen([CHIP]), shipping([CHIP], "cyd"))
    assert findings(monkeypatch, world, profile=expected) == set()


def test_over_production(world):
    """More dies than the wafer's declared yield are refused, in one event or in many."""
    declared = {"ilmd": {"urn:chiptrace:epcis:yield": decimals.from_int(500)}}
    world.event("ada", making(used=[quantity(LOT, 1)], run="urn:test:run", **declared))
    world.event("ada", making(made=[quantity(DIES, 499)], run="urn:test:run"))
    for more in ([quantity(DIES, 2)], [quantity(DIES, 500)]):
        with refused(Reason.YIELD_EXCEEDED):
            world.event("ada", making(made=more, run="urn:test:run"))


def test_laundering(world):
    """No amount comes out of splitting, shipping, over-receiving, packing or consuming that did not go in."""
    world.event("ada", shipping(to="bob", amounts=[quantity(LOT, 10)]))
    world.event("bob", receiving(amounts=[quantity(LOT, 12)], sender="ada"))
    assert (world.amount(LOT, "ada"), world.amount(LOT, "bob")) == ("15", "10")
    with refused(Reason.NOT_GRANTED):
        world.event("bob", add([], [quantity(LOT, 5)]))
    for more in (
        shipping(to="cyd", amounts=[quantity(LOT, 11)]),
        making(used=[quantity(LOT, 11)]),
        destroying([], [quantity(LOT, 11)]),
    ):
        with refused(Reason.QUANTITY_EXCEEDED):
            world.event("bob", more)


def test_double_use(world):
    """One input, two outputs: the second finds it consumed; and in a box it cannot be reached."""
    world.event("ada", making([CHIP], [part(10)]))
    with refused(Reason.NOT_LIVE, "CONSUMED"):
        world.event("ada", making([CHIP], [part(11)]))
    world.event("ada", packing(box(1), [part(2)]))
    with refused(Reason.INSIDE_CONTAINER):
        world.event("ada", making([part(2)], [part(12)]))


def test_late_record(monkeypatch, world):
    """What is recorded long after it is said to have happened says so for ever; the future is refused."""
    late = {"eventTime": "2023-11-01T00:00:00Z"}
    world.event("ada", seen([CHIP], **late))
    assert findings(monkeypatch, world) == {"LATE_RECORD"}
    with refused(Reason.EVENT_TIME_OUT_OF_BOUNDS):
        world.event("ada", seen([CHIP], eventTime="2023-11-29T00:00:00Z"))


def test_scrap_diversion(world):
    """What was scrapped is not seen, shipped or used again, alone or with the box it was scrapped in."""
    world.event("ada", packing(box(1), [part(2)]), destroying([CHIP, box(1)]))
    for name in (CHIP, part(2)):
        for later in (seen([name]), shipping([name], "bob"), making([name], [part(10)])):
            with refused(Reason.NOT_LIVE, "DESTROYED"):
                world.event("ada", later)


def test_recycled_part(world):
    """A chip that is on a board is not sold loose, nor installed elsewhere, until it is recorded as removed."""
    installed = packing(BOARD, [CHIP], kind="Association")
    world.event("ada", installed)
    for loose in (
        shipping([CHIP], "bob"),
        packing(part(2), [CHIP], kind="Association"),
        packing(box(1), [CHIP]),
    ):
        with refused(Reason.INSIDE_CONTAINER):
            world.event("ada", loose)
    world.event("ada", unpacking(BOARD, [CHIP], kind="Association"), shipping([CHIP], "bob"))
    assert world.story(CHIP) == ["EVENT", "PACKED", "UNPACKED", "EVENT"], (
        "and then its history shows where it was"
    )


def test_wash_transfers(monkeypatch, world):
    """There and back again with nothing done: it is allowed, and every audit says so."""
    world.give("ada", "bob", CHIP)
    world.give("bob", "ada", CHIP)
    assert findings(monkeypatch, world) == {"ROUND_TRIP"}


def test_a_return_after_work_is_no_wash_transfer(monkeypatch, world):
    world.give("ada", "bob", CHIP)
    world.event("bob", seen([CHIP]))
    world.give("bob", "ada", CHIP)
    assert findings(monkeypatch, world) == set()


@pytest.mark.parametrize(
    "written",
    [
        "urn:epc:id:sgtin:4012345.012345.1",
        "https://id.gs1.org/01/04012345123456/21/1",
        "https://example.com/some/path/01/04012345123456/21/1",
        "https://id.gs1.org/01/4012345123456/21/1",
        "https://id.gs1.org/01/04012345123456/21/%31",
    ],
)
def test_identifier_ambiguity(world, written):
    """However it is written, it is the same part: commissioning it again is a repetition, not a second part."""
    world.event("ada", add([written]))
    assert world.reason == Reason.REPEATED_COMMISSIONING


def test_error_declared_after_a_transfer(monkeypatch, world):
    """Who sold it cannot unmake it: the buyer's word is needed, and both events stay for the reader."""
    made = world.capture(add([part(3)]))
    world.act("ada", made)
    world.give("ada", "bob", part(3), sell=True)
    world.act("ada", wrong(made, "2023-11-14T22:13:22Z"))
    assert world.status(part(3)) == "LIVE"
    world.act("bob", wrong(made, "2023-11-14T22:13:23Z"))
    assert world.status(part(3)) == "VOID"
    assert findings(monkeypatch, world, part(3)) == {"ERROR_DECLARED", "CORRECTION_PENDING"}


def test_a_false_declaration_about_what_is_consumed(monkeypatch, world):
    made = world.capture(making([CHIP], [part(10)]))
    world.act("ada", made)
    world.event("ada", destroying([part(10)]))
    world.act("ada", wrong(made, "2023-11-14T22:13:22Z"))
    assert world.status(CHIP) == "CONSUMED"
    assert findings(monkeypatch, world) >= {"ERROR_DECLARED", "CONTESTED"}


def test_a_false_attestation_that_is_revoked(monkeypatch, world):
    claim = Attest(id="urn:test:cert", subject=CHIP, kind="certificate", valid_from_ms=world.time_ms)
    world.act("dee", Operation(attest=claim))
    assert findings(monkeypatch, world) == set()
    revoke = Operation()
    revoke.revoke_attestation.id, revoke.revoke_attestation.why = "urn:test:cert", "the test was never done"
    world.act("dee", revoke)
    assert findings(monkeypatch, world) == {"REVOKED_ATTESTATION"}
