"""What was made is judged by the grants and delegations of its height, each told from its own history."""

import pytest

from client.audit import Audit
from client.audit_report import Verdict
from ledger import decimals, state
from ledger.history import append_entry
from proto.chiptrace.v1.ledger_pb2 import (
    Change,
    Delegate,
    DelegationRecord,
    EntryKind,
    GrantRecord,
    History,
    Operation,
    PutGrant,
    Reason,
    RevokeDelegation,
    RevokeGrant,
    UnitAmount,
)
from tests.bridge import two_chains
from tests.bridge.two_chains import PREFIX, World, object_event, serial
from tests.client.corrupt import Forged
from tests.client.direct import verified
from tests.client.test_audit_corrupt import told
from tests.ledger import rules_world
from tests.ledger.rules_world import add, box, lot, making, packing, part, quantity

EVENT, GOVERNED, DELEGATED, DRAWN = (
    EntryKind.EVENT,
    EntryKind.GOVERNED,
    EntryKind.DELEGATED,
    EntryKind.DRAWN,
)
OTHER = "gs1:5012345"


def put(holder, prefix=PREFIX, home=b"") -> Change:
    return Change(put_grant=PutGrant(prefix=prefix, holder=holder, home_chain=home))


def revoke(prefix=PREFIX) -> Change:
    return Change(revoke_grant=RevokeGrant(prefix=prefix))


def delegating(member="abe", serials=3, **more) -> Operation:
    return Operation(delegate=Delegate(prefix=PREFIX, member=member, serials=serials, **more))


def ending(member="abe") -> Operation:
    return Operation(revoke_delegation=RevokeDelegation(prefix=PREFIX, member=member))


class Recorded:
    """One chain, with transactions that must succeed, one block each unless said otherwise."""

    def __init__(self, **options):
        self.world = World("a", **options)
        self.chain = self.world["a"]
        self.number = 0

    def act(self, member, *operations):
        self.settled(self.chain.transaction(member, *operations))

    def settled(self, *transactions):
        for result in self.chain.produce(list(transactions)):
            assert result.ok, Reason.Name(result.reason)

    def change(self, *changes):
        self.act("ada", self.chain.govern(*changes))

    def made(self, member, *parts):
        self.number += 1
        return object_event("ADD", "commissioning", *parts, number=self.number)

    def commission(self, member, *parts):
        self.act(member, self.made(member, *parts))

    def codes(self, name):
        self.chain.settle()
        report = Audit({self.chain.chain_id: verified(self.chain)}).run(name, self.chain.chain_id, lambda: 0)
        assert report.problem == ""
        return {finding.code for finding in report.findings}


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


def test_what_was_made_under_a_grant_stays_right_when_it_ends(recorded):
    recorded.commission("ada", serial(1))
    recorded.change(revoke())
    assert recorded.codes(serial(1)) == set()
    recorded.change(put("abe"))
    recorded.commission("abe", serial(2))
    recorded.change(revoke(), put("amy"))
    recorded.commission("amy", serial(3))
    for number in (1, 2, 3):
        assert recorded.codes(serial(number)) == set()


def test_grants_change_at_the_height_of_a_commissioning(recorded):
    """Before and after in one block: both are in force there, nobody else is."""
    chain = recorded.chain
    recorded.settled(
        chain.transaction("ada", recorded.made("ada", serial(1))),
        chain.transaction("amy", chain.govern(revoke(), put("abe"))),
        chain.transaction("abe", recorded.made("abe", serial(2))),
        chain.transaction("amy", chain.govern(revoke(), put("ada"), revoke(), put("amy"))),
        chain.transaction("amy", recorded.made("amy", serial(3))),
    )
    for number in (1, 2, 3):
        assert recorded.codes(serial(number)) == set()


def test_a_delegate_is_verified(recorded):
    recorded.act("ada", delegating())
    recorded.commission("abe", serial(1), serial(2))
    recorded.commission("abe", serial(3))
    recorded.act("ada", ending())
    recorded.act("ada", delegating())
    recorded.commission("abe", serial(4), serial(5), serial(6))
    recorded.change(revoke(), put("ann"))
    recorded.act("ann", delegating(serials=1))
    recorded.commission("abe", serial(7))
    for number in range(1, 8):
        assert recorded.codes(serial(number)) == set()


def test_every_way_to_draw_is_counted_as_the_ledger_counts(monkeypatch):
    """What the replay leaves is compared with the record: one counted too many or too few is a contradiction."""
    monkeypatch.setitem(two_chains.MEMBERS, "m", ("ada", "bob", "cyd", "dee"))
    amounts = [
        UnitAmount(amount=decimals.parse("500")),
        UnitAmount(unit="KGM", amount=decimals.parse("2.5")),
    ]
    world = rules_world.World()
    chain = two_chains.BridgedChain(
        "m", two_chains.Clock(world.time_ms + 3_600_000), grants=rules_world.GRANTS
    )

    def act(member, *operations):
        (result,) = chain.produce([chain.transaction(member, *operations)])
        assert result.ok, Reason.Name(result.reason)

    act("ada", Operation(delegate=Delegate(prefix=PREFIX, member="bob", serials=9, amounts=amounts)))
    for event in (
        add(
            [part(1), part(2), part(9, "bob")],
            [quantity(lot("L"), 100), quantity(lot("B", "bob"), 7), quantity(lot("M"), "0.25", "KGM")],
        ),
        packing(box(1), [part(1), part(2)]),
        packing(box(1, "bob"), [part(9, "bob")]),
        making(
            [], [part(3), part(8, "bob")], used=[quantity(lot("B", "bob"), 1)], made=[quantity(lot("L"), 9)]
        ),
        making([part(3)], [part(3), part(4)], used=[quantity(lot("B", "bob"), 1)]),
    ):
        act("bob", world.capture(event))
    chain.settle()
    record = chain.record(state.delegation_key("bob", PREFIX), DelegationRecord)
    assert record.serials_left == 4
    assert [decimals.to_text(row.amount) for row in record.amounts_left] == ["391", "2.25"]
    for name in (
        part(1),
        part(2),
        part(3),
        part(4),
        box(1),
        lot("L"),
        lot("M"),
        part(9, "bob"),
        box(1, "bob"),
    ):
        report = Audit({chain.chain_id: verified(chain)}).run(name, chain.chain_id, lambda: 0)
        assert (report.problem, report.findings) == ("", [])
        assert report.verdict is Verdict.VERIFIED


# ---- a corrupt quorum -----------------------------------------------------------------------------------------


@pytest.fixture
def world():
    return World("a", corrupt="a")


@pytest.fixture
def lie(world):
    world["a"].produce()
    return Forged(world["a"])


def history(lie, kind, key, record, entries):
    """Certify a record with exactly these entries."""
    told_of = History()
    lie.histories[key] = [append_entry(lie.chain.chain_id, told_of, entry)[1] for entry in entries]
    record.history.CopyFrom(told_of)
    lie.put(key, record)


def real(lie, key):
    entries = lie.chain.entries(key)
    for entry in entries:
        if entry.height:
            lie.transactions[entry.transaction] = lie.chain.app.store.transaction(entry.transaction).data
        else:
            lie.transactions[entry.transaction] = b""
    return entries


def granted(lie, holder, entries, *, revoked=False, prefix=PREFIX, home=b""):
    record = GrantRecord(prefix=prefix, holder=holder, revoked=revoked, home_chain=home)
    history(lie, GrantRecord, state.grant_key(prefix), record, entries)


def governed(lie, *changes, approvers=None):
    """Entries of a grant that a proposal makes, one for each change."""
    signed = lie.signed("amy", lie.chain.govern(*changes, approvers=approvers))
    return [lie.entry("", signed, GOVERNED, key=state.grant_key(PREFIX)) for _ in changes]


def commissioned(lie, member, name=serial(1)):
    made = lie.signed(member, object_event("ADD", "commissioning", name))
    entry = lie.entry(name, made, EVENT)
    lie.part(name, [entry], status=two_chains.LIVE, holder=member, owner=member, commissioner=member)
    return entry


def found(world, lie, name=serial(1)):
    report = told(world, lie, name)
    assert report.problem == "", report.problem
    return {finding.code for finding in report.findings}


def broken(world, lie, match):
    report = told(world, lie, serial(1))
    assert report.verdict is Verdict.NOT_VERIFIABLE
    assert report.problem_code == "BAD_PROOF"
    assert match in report.problem


def test_a_former_holder_makes_nothing_right(world, lie):
    chain = world["a"]
    assert chain.operate("ada", chain.govern(revoke())).ok
    world.pass_time(1_000)
    chain.produce()
    commissioned(lie, "ada")
    assert found(world, lie) == {"GRANT_REVOKED"}


def test_a_later_holder_makes_nothing_right_before(world, lie):
    chain = world["a"]
    commissioned(lie, "abe")
    chain.produce()
    assert chain.operate("ada", chain.govern(revoke(), put("abe"))).ok
    assert found(world, lie) == {"NOT_GRANTED"}


def test_a_grant_that_members_did_not_approve(world, lie):
    begun = real(lie, state.grant_key(PREFIX))
    granted(lie, "abe", begun + governed(lie, revoke(), put("abe"), approvers=[]))
    commissioned(lie, "abe")
    assert found(world, lie) == {"GRANT_NOT_APPROVED"}
    granted(lie, "abe", begun + governed(lie, revoke(), put("abe")))
    commissioned(lie, "abe", serial(2))
    assert found(world, lie, serial(2)) == set()


def test_a_grant_whose_record_says_something_else(world, lie):
    granted(lie, "abe", real(lie, state.grant_key(PREFIX)))
    commissioned(lie, "abe")
    broken(world, lie, "another one by its record than by its history")


@pytest.mark.parametrize(
    ("changes", "times", "match"),
    [
        ([put("abe")], 1, "put while in force"),
        ([revoke()], 2, "no change of its proposal"),
        ([put("abe", OTHER)], 1, "no change of its proposal"),
    ],
)
def test_a_history_of_a_grant_that_does_not_add_up(world, lie, changes, times, match):
    made = governed(lie, *changes)
    granted(lie, "ada", real(lie, state.grant_key(PREFIX)) + made * times)
    commissioned(lie, "ada")
    broken(world, lie, match)


def test_a_proposal_is_not_entered_again_later(world, lie):
    made = governed(lie, revoke(), put("abe"))
    world.pass_time(120_000)
    world["a"].produce()
    later = [type(entry).FromString(entry.SerializeToString()) for entry in made]
    for entry in later:
        entry.height = world["a"].height
    granted(lie, "abe", real(lie, state.grant_key(PREFIX)) + later)
    commissioned(lie, "abe")
    broken(world, lie, "not valid at that time")


def test_an_entry_of_another_kind_in_the_history_of_a_grant(world, lie):
    made = governed(lie, revoke(), put("abe"))
    made[1].kind = EVENT
    granted(lie, "abe", real(lie, state.grant_key(PREFIX)) + made)
    commissioned(lie, "abe")
    broken(world, lie, "no change of its proposal")


def test_something_else_in_the_history_of_a_grant(world, lie):
    signed = lie.signed("ada", object_event("OBSERVE", "inspecting", serial(1)))
    entry = lie.entry("", signed, GOVERNED, key=state.grant_key(PREFIX))
    granted(lie, "ada", [*real(lie, state.grant_key(PREFIX)), entry])
    commissioned(lie, "ada")
    broken(world, lie, "no proposal made it")


# ---- delegations of a corrupt quorum ----------------------------------------------------------------------------

KEY = state.delegation_key("abe", PREFIX)


def drawn(lie, *steps, revoked=False, left=None, **kept):
    """Certify a delegation to abe with these (member, operation, kind); the entries."""
    entries = [
        lie.entry("", lie.signed(member, operation), kind, key=KEY) for member, operation, kind in steps
    ]
    record = DelegationRecord(
        prefix=PREFIX, member="abe", holder="ada", revoked=revoked, serials_left=left or 0, **kept
    )
    history(lie, DelegationRecord, KEY, record, entries)
    return entries


def made_of(lie, entry, name=serial(1)):
    """The part that a DRAWN entry is said to have made."""
    copy = type(entry).FromString(entry.SerializeToString())
    copy.subject, copy.kind = state.part_key(name), EVENT
    lie.part(name, [copy], status=two_chains.LIVE, holder="abe", owner="abe", commissioner="abe")


def adding(*numbers):
    return object_event("ADD", "commissioning", *map(serial, numbers), number=sum(numbers))


def test_no_delegation_was_drawn_on(world, lie):
    drawn(lie, ("ada", delegating(), DELEGATED), ("abe", adding(2), DRAWN), left=2)
    commissioned(lie, "abe")
    assert found(world, lie) == {"NOT_GRANTED"}


def test_a_quorum_that_lets_a_delegate_make_more(world, lie):
    steps = [("ada", delegating(), DELEGATED), ("abe", adding(2, 3, 4), DRAWN), ("abe", adding(1), DRAWN)]
    entries = drawn(lie, *steps)
    made_of(lie, entries[-1])
    assert found(world, lie) == {"DELEGATION_EXCEEDED", "CONTRADICTION"}
    entries = drawn(lie, *steps[:2])
    made_of(lie, entries[-1], serial(2))
    assert found(world, lie, serial(2)) == set()


@pytest.mark.parametrize(
    ("order", "codes"),
    [
        (delegating(valid_from_ms=2**45), {"DELEGATION_NOT_VALID"}),
        (delegating(valid_until_ms=1), {"DELEGATION_NOT_VALID"}),
        (delegating(serials=0), {"DELEGATION_EXCEEDED"}),
        (delegating(), set()),
    ],
)
def test_a_quorum_that_forgets_the_terms(world, lie, order, codes):
    entries = drawn(lie, ("ada", order, DELEGATED), ("abe", adding(1), DRAWN), left=2)
    made_of(lie, entries[-1])
    assert found(world, lie) - {"CONTRADICTION"} == codes


def test_a_quorum_that_forgets_a_revocation(world, lie):
    steps = [("ada", delegating(), DELEGATED), ("ada", ending(), DELEGATED), ("abe", adding(1), DRAWN)]
    made_of(lie, drawn(lie, *steps, revoked=True)[-1])
    assert found(world, lie) == {"DELEGATION_REVOKED"}


def test_a_delegation_by_somebody_else(world, lie):
    made_of(lie, drawn(lie, ("amy", delegating(), DELEGATED), ("abe", adding(1), DRAWN), left=2)[-1])
    assert found(world, lie) == {"DELEGATION_REVOKED"}


def test_a_delegation_under_a_grant_that_ended(world, lie):
    chain = world["a"]
    before = lie.signed("ada", delegating())
    first = lie.entry("", before, DELEGATED, key=KEY)
    chain.produce()
    assert chain.operate("ada", chain.govern(revoke(), put("ada"))).ok
    chain.produce()
    second = lie.entry("", lie.signed("abe", adding(1)), DRAWN, key=KEY)
    record = DelegationRecord(prefix=PREFIX, member="abe", holder="ada", serials_left=2)
    history(lie, DelegationRecord, KEY, record, [first, second])
    made_of(lie, second)
    assert found(world, lie) == {"DELEGATION_REVOKED"}


def test_a_delegation_under_a_grant_that_nobody_approved(world, lie):
    begun = real(lie, state.grant_key(PREFIX))
    granted(lie, "amy", begun + governed(lie, revoke(), put("amy"), approvers=[]))
    made_of(lie, drawn(lie, ("amy", delegating(), DELEGATED), ("abe", adding(1), DRAWN), left=2)[-1])
    assert found(world, lie) == {"GRANT_NOT_APPROVED"}


@pytest.mark.parametrize(
    ("step", "match"),
    [
        (("ada", adding(1), DRAWN), "draws on it"),
        (("abe", adding(1), DELEGATED), "makes no such entry"),
        (("ada", delegating(), DRAWN), "makes no such entry"),
        (("ada", delegating(), EVENT), "makes no such entry"),
        (("ada", delegating("amy"), DELEGATED), "not the one the entry was made for"),
        (("ada", ending("amy"), DELEGATED), "not the one the entry was made for"),
    ],
)
def test_something_else_in_the_history_of_a_delegation(world, lie, step, match):
    drawn(lie, ("ada", delegating(), DELEGATED), step, left=2)
    commissioned(lie, "abe")
    broken(world, lie, match)


@pytest.mark.parametrize("place", [0, 1])
def test_an_entry_of_a_delegation_with_another_digest(world, lie, place):
    entries = drawn(lie, ("ada", delegating(), DELEGATED), ("abe", adding(1), DRAWN), left=2)
    entries[place].digest = bytes(32)
    record = DelegationRecord(prefix=PREFIX, member="abe", holder="ada", serials_left=2)
    history(lie, DelegationRecord, KEY, record, entries)
    commissioned(lie, "abe")
    broken(world, lie, "not the one the entry was made for")


def test_adopting_needs_the_grant(world, lie):
    """A delegate adopts nothing, whatever it drew."""
    entries = drawn(lie, ("ada", delegating(), DELEGATED), ("abe", adding(1), DRAWN), left=2)
    copy = type(entries[-1]).FromString(entries[-1].SerializeToString())
    copy.subject, copy.kind = state.part_key(serial(1)), EntryKind.ADOPTED_EVENT
    lie.part(
        serial(1), [copy], status=two_chains.LIVE, holder="abe", owner="abe", commissioner="abe", adopted=True
    )
    assert found(world, lie) == {"NOT_GRANTED", "UNKNOWN_ORIGIN"}
