"""One corrupt chain: whatever its quorum certifies, an audit says verified of nothing that honest members did not sign.

Each of these was seen to be verified with its guard removed.
"""

import pytest

from client.audit_report import Verdict
from client.reach import Reach
from ledger import state
from ledger.block import decode_transaction
from ledger.history import append_entry
from proto.chiptrace.v1.bridge_pb2 import ClientHeader
from proto.chiptrace.v1.ledger_pb2 import (
    ARRIVED,
    ATTESTED,
    DEPARTED,
    DESTROYED,
    EVENT,
    EXPORT,
    LIVE,
    OFFERED,
    PACKED,
    RETURNED,
    SENT,
    UNPACK_ALL,
    UNPACKED,
    GenerationRecord,
    KeyRecord,
    LotRecord,
    Operation,
    PartRecord,
    ReturnOffer,
    Role,
)
from tests.bridge import test_amounts as amounts
from tests.bridge.two_chains import World, event, object_event, packing_event, serial, shipping_event, texts
from tests.client.corrupt import Forged
from tests.client.direct import verified
from tests.client.test_audit import audited, codes

PART, OTHER = serial(7001), serial(7002)


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


def refused(report, words):
    assert report.verdict is Verdict.NOT_VERIFIABLE
    assert words in report.problem, report.problem
    return True


def test_the_forger_can_tell_the_truth(world, lie):
    """Else the lies below would be caught for being badly made."""
    lie.part(PART, [begun(lie)], status=LIVE, holder="ada", owner="ada")
    report = told(world, lie)
    assert (report.verdict, report.problem, report.findings) == (Verdict.VERIFIED, "", [])


# ---- entries that are not what they claim ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "kind", "more"),
    [
        (object_event("OBSERVE", "inspecting", OTHER), EVENT, {}),
        (packing_event("ADD", serial(7003), OTHER), PACKED, {"container": serial(7003)}),
        (packing_event("ADD", serial(7003), PART), PACKED, {"container": serial(7004)}),
        (packing_event("ADD", serial(7003), PART), UNPACKED, {"container": serial(7003)}),
        (packing_event("DELETE", serial(7003), PART), PACKED, {"container": serial(7003)}),
        (object_event("OBSERVE", "inspecting", PART), ARRIVED, {}),
        (object_event("OBSERVE", "inspecting", PART), SENT, {}),
        (object_event("OBSERVE", "inspecting", PART), RETURNED, {}),
        (object_event("OBSERVE", "inspecting", PART), ATTESTED, {}),
        (object_event("OBSERVE", "inspecting", PART), 0, {}),
        (object_event("OBSERVE", "inspecting", PART), 99, {}),
        (object_event("OBSERVE", "inspecting", PART), EVENT, {"operation": 1}),
        (object_event("OBSERVE", "inspecting", PART), EVENT, {"digest": bytes(32)}),
        (object_event("OBSERVE", "inspecting", PART), EVENT, {"finding": 999}),
        (object_event("OBSERVE", "inspecting", PART), EVENT, {"finding": 1}),
        (object_event("OBSERVE", "inspecting", PART), EVENT, {"height": 2**63}),
        (object_event("OBSERVE", "inspecting", PART), EVENT, {"height": 1}),
        (object_event("OBSERVE", "inspecting", PART), EVENT, {"height": 0}),
        (Operation(return_offer=ReturnOffer(part=OTHER)), RETURNED, {}),
        (Operation(return_offer=ReturnOffer(part=PART)), EVENT, {}),
    ],
)
def test_an_entry_for_something_else_is_refused(world, lie, operation, kind, more):
    false = lie.entry(PART, lie.signed("ada", operation), kind, **more)
    lie.part(PART, [begun(lie), false], status=LIVE, holder="ada", owner="ada")
    report = told(world, lie)
    assert report.verdict is Verdict.NOT_VERIFIABLE
    assert report.problem_code not in ("INTERNAL", "REASON_UNSPECIFIED")


def test_an_old_transaction_is_not_entered_later(world, lie):
    old = lie.signed("ada", object_event("OBSERVE", "inspecting", PART))
    world.pass_time(120_000)
    first = begun(lie)
    lie.part(PART, [first, lie.entry(PART, old, EVENT)], status=LIVE, holder="ada", owner="ada")
    refused(told(world, lie), "not valid at that time")


def test_an_operation_is_entered_once(world, lie):
    first = begun(lie)
    seen = lie.entry(PART, lie.signed("ada", object_event("OBSERVE", "inspecting", PART)), EVENT)
    lie.part(PART, [first, seen, seen], status=LIVE, holder="ada", owner="ada")
    assert codes(told(world, lie)) == {"CONTRADICTION"}


def test_an_event_is_entered_once(world, lie):
    again = [lie.signed("ada", object_event("OBSERVE", "inspecting", PART)) for _ in range(2)]
    entries = [begun(lie), *(lie.entry(PART, signed, EVENT) for signed in again)]
    lie.part(PART, entries, status=LIVE, holder="ada", owner="ada")
    assert codes(told(world, lie)) == {"DUPLICATE_EVENT"}


def test_a_relayers_key_records_no_event(world, lie):
    seen = lie.signed("ada", object_event("OBSERVE", "inspecting", PART), role="relayer")
    lie.part(PART, [begun(lie), lie.entry(PART, seen, EVENT)], status=LIVE, holder="ada", owner="ada")
    assert codes(told(world, lie)) == {"ROLE_NOT_ALLOWED"}


# ---- records that say something else than their history ---------------------------------------------------------


def acted(lie, *acts):
    """Entries by (member, operation, kind)."""
    return [begun(lie), *(lie.entry(PART, lie.signed(who, what), kind) for who, what, kind in acts)]


GONE = ("ada", object_event("DELETE", "destroying", PART), EVENT)
SHIPPED = ("ada", shipping_event(PART, "abe"), EVENT)
TAKEN = ("abe", object_event("OBSERVE", "receiving", PART), EVENT)
SEEN = ("ada", object_event("OBSERVE", "inspecting", PART, number=5), EVENT)


@pytest.mark.parametrize(
    ("acts", "record", "found"),
    [
        ([GONE], {"status": LIVE, "holder": "ada"}, {"CONTRADICTION"}),
        ([SHIPPED], {"status": LIVE, "holder": "ada"}, {"CONTRADICTION"}),
        ([SHIPPED], {"status": OFFERED, "holder": "ada", "offered_to": "amy"}, {"CONTRADICTION"}),
        ([SHIPPED, TAKEN], {"status": LIVE, "holder": "ada"}, {"CONTRADICTION"}),
        ([SHIPPED, TAKEN], {"status": LIVE, "holder": "abe"}, set()),
        ([TAKEN], {"status": LIVE, "holder": "abe"}, {"NOT_IN_CUSTODY", "CONTRADICTION"}),
        ([SHIPPED, TAKEN, SEEN], {"status": LIVE, "holder": "abe"}, {"NOT_IN_CUSTODY"}),
        ([GONE, SEEN], {"status": DESTROYED, "holder": "ada"}, {"CONTRADICTION"}),
        ([("ada", object_event("ADD", "commissioning", PART, number=9), EVENT)], {"status": LIVE, "holder": "ada"}, {"CONTRADICTION"}),
        ([SEEN], {"status": DEPARTED, "holder": "ada"}, {"CONTRADICTION"}),
    ],
)  # fmt: skip
def test_custody_is_told_by_the_entries(world, lie, acts, record, found):
    lie.part(PART, acted(lie, *acts), owner="ada", **record)
    assert codes(told(world, lie)) == found


def test_a_history_begins_with_an_origin(world, lie):
    seen = lie.signed("ada", object_event("OBSERVE", "inspecting", PART))
    lie.part(PART, [lie.entry(PART, seen, EVENT)], status=LIVE, holder="ada", owner="ada")
    assert codes(told(world, lie)) == {"NO_ORIGIN"}


def test_the_grants_holder_made_it(world, lie):
    lie.part(PART, [begun(lie, member="abe")], status=LIVE, holder="abe", owner="abe")
    assert codes(told(world, lie)) == {"NOT_GRANTED"}


def test_a_record_stands_under_its_own_key(world, lie):
    lie.part(OTHER, [begun(lie, OTHER)], key=state.part_key(PART), status=LIVE, holder="ada", owner="ada")
    refused(told(world, lie), "names another subject")


def test_a_key_record_is_of_its_key(world, lie):
    lie.part(PART, [begun(lie)], status=LIVE, holder="ada", owner="ada")
    signer = lie.signed("ada", object_event("OBSERVE", "inspecting", PART)).body.signer
    lie.put(state.signer_key(signer), KeyRecord(key=bytes(32), member="ann", role=Role.OPERATOR))
    refused(told(world, lie), "names another subject")


def test_a_huge_history_is_not_followed(world, lie):
    lie.part(PART, [begun(lie)], status=LIVE, holder="ada", owner="ada")
    record = lie.chain.record(state.part_key(PART), PartRecord)
    record.history.n = 2**60
    lie.put(state.part_key(PART), record)
    assert told(world, lie).problem_code == "OVERSIZE"


def test_what_was_used_up_says_so_itself(world, lie):
    making = event("TransformationEvent", "", "", inputEPCList=texts(OTHER), outputEPCList=texts(PART))
    lie.part(OTHER, [begun(lie, OTHER)], status=LIVE, holder="ada", owner="ada")
    made = lie.entry(PART, lie.signed("ada", making), EVENT)
    lie.part(PART, [made], status=LIVE, holder="ada", owner="ada")
    report = told(world, lie)
    assert codes(report) == {"CONTRADICTION"}
    assert any("went into" in finding.message for finding in report.findings)


def test_a_container_and_its_content_agree(world, lie):
    box = serial(7003)
    packed = lie.signed("ada", packing_event("ADD", box, PART))
    filled = [begun(lie, box), lie.entry(box, packed, EVENT)]
    lie.part(box, filled, status=LIVE, holder="ada", owner="ada")
    lie.part(PART, [begun(lie)], status=LIVE, holder="ada", owner="ada")
    found = told(world, lie, box)
    assert codes(found) == {"CONTRADICTION"}


@pytest.mark.parametrize("told_by_records", [False, True])
def test_circles_of_containers_end(world, lie, told_by_records):
    """Two boxes, each said to be inside the other; no rule allows it, and no walk may follow it for ever."""
    one, two = serial(7003), serial(7004)
    into = {
        box: lie.signed("ada", packing_event("ADD", box, other)) for box, other in ((one, two), (two, one))
    }
    for box, other in ((one, two), (two, one)):
        inside = {"container": other, "generation": 1}
        filled = lie.entry(box, into[box], EVENT)
        packed = lie.entry(box, into[other], PACKED, container_n=2, **inside)
        record = inside if told_by_records else {}
        lie.part(box, [begun(lie, box), filled, packed], status=LIVE, holder="ada", owner="ada", **record)
        lie.put(
            state.generation_key(box, 1), GenerationRecord(container=box, generation=1, count=1, opened_n=2)
        )
    refused(told(world, lie, one), "deeper than 8")


# ---- between chains ----------------------------------------------------------------------------------------------


def crossed(world):
    part = world.commission("a", "ada")
    assert world.send("a", part, "bob", to="b").ok
    world.relay()
    assert world.accept("b", part, "bob").ok
    world.relay()
    return part


def test_a_corrupt_home_cannot_keep_what_it_sent(world, lie):
    part = crossed(world)
    lie.part(part, lie.real(part)[:1], status=LIVE, holder="ada", owner="ada")
    refused(told(world, lie, part, "b"), "never sent")
    assert "LIVE_TWICE" in codes(told(world, lie, part, "a"))


def test_what_was_taken_back_did_not_arrive(world, lie):
    """The home says that the packet timed out, and destroys the part; the other chain has it."""
    part = crossed(world)
    commissioned, sent, departed = lie.real(part)
    departed.kind = RETURNED
    end = lie.entry(part, lie.signed("ada", object_event("DELETE", "destroying", part)), EVENT)
    lie.part(part, [commissioned, sent, end], status=DESTROYED)
    assert "TAKEN_BACK" in codes(told(world, lie, part, "b"))


def test_an_arrival_of_what_was_sent_elsewhere():
    """b is corrupt: it shows as its own what the honest a sent to c over a client of the same name there."""
    world = World("a", "b", "c", corrupt="b")
    part = world.commission("a", "ada")
    assert world.send("a", part, "cyd", to="c").ok
    world.relay()
    arrival = next(e for e in world["c"].entries(state.part_key(part)) if e.kind == ARRIVED)
    carried = world["c"].app.store.transaction(arrival.transaction).data
    operation = decode_transaction(world["c"].chain_id, carried).body.operations[arrival.operation]
    lie = Forged(world["b"])
    false = lie.entry(part, lie.signed("ben", operation, role="relayer"), ARRIVED)
    lie.part(part, [false], status=OFFERED, offered_to="cyd", origin_chain=world["a"].chain_id)
    refused(audited(world, part, "b", stubs={"b": lie}), "leads to another chain")


def test_a_chain_that_shows_two_pasts_is_caught_by_the_header_that_the_other_holds(world, lie):
    part = crossed(world)
    client = world["b"].client("a-1")
    height = client.latest_height
    key = state.client_header_key("a-1", height)
    held = world["b"].record(key, ClientHeader)
    assert held.block_hash
    honest = audited(world, part, "b", stubs={"a": lie})
    assert honest.verdict is Verdict.VERIFIED
    other = World("a", "b", corrupt="b")
    part = crossed(other)
    forged = Forged(other["b"])
    height = other["b"].client("a-1").latest_height
    key = state.client_header_key("a-1", height)
    held = other["b"].record(key, ClientHeader)
    held.block_hash = bytes(32)
    forged.put(key, held)
    refused(audited(other, part, "b", stubs={"b": forged}), "two pasts")


def test_a_second_chain_that_says_it_has_the_part_too():
    world = World("a", "b", corrupt="b")
    part = world.commission("a", "ada")
    lie = Forged(world["b"])
    mine = lie.signed("bob", object_event("ADD", "commissioning", part))
    lie.part(part, [lie.entry(part, mine, EVENT)], status=LIVE, holder="bob")
    assert codes(audited(world, part, "a", stubs={"b": lie})) == {"LIVE_TWICE"}
    assert codes(audited(world, part, "b", stubs={"b": lie})) >= {"LIVE_TWICE", "NOT_HOME_CHAIN"}


@pytest.mark.parametrize("longer", [False, True])
def test_the_past_of_what_was_sent_is_not_rewritten(world, lie, longer):
    part = crossed(world)
    _, sent, departed = lie.real(part)
    again = lie.signed("ada", object_event("ADD", "commissioning", part, number=42))
    past = [lie.entry(part, again, EVENT, height=sent.height)]
    if longer:
        seen = lie.signed("ada", object_event("OBSERVE", "inspecting", part, number=43))
        past.append(lie.entry(part, seen, EVENT, height=sent.height))
    lie.part(part, [*past, sent, departed])
    refused(told(world, lie, part, "b"), "travelled with it is not the one")


@pytest.mark.parametrize("container_n", [0, 1, 2, 3])
def test_a_packing_points_at_its_own_event_in_the_container(world, lie, container_n):
    """The content would lose, or gain, what happened to its container meanwhile."""
    box = serial(7003)
    packed = lie.signed("ada", packing_event("ADD", box, PART))
    seen = lie.signed("ada", object_event("OBSERVE", "inspecting", box))
    entries = [begun(lie, box), lie.entry(box, packed, EVENT), lie.entry(box, seen, EVENT)]
    lie.part(box, entries, status=LIVE, holder="ada", owner="ada", generations=1, open=True)
    lie.put(state.generation_key(box, 1), GenerationRecord(container=box, generation=1, count=1, opened_n=2))
    inside = {"container": box, "generation": 1}
    child = [begun(lie), lie.entry(PART, packed, PACKED, container_n=container_n, **inside)]
    lie.part(PART, child, status=LIVE, holder="ada", owner="ada", **inside)
    report = told(world, lie)
    if container_n == 2:
        assert (report.verdict, report.problem, report.findings) == (Verdict.VERIFIED, "", [])
    else:
        assert refused(report, "entry")


CLOSINGS = {
    "emptied by ada": (packing_event("DELETE", serial(7003)), UNPACK_ALL, "ada", 3, True),
    "emptied by another": (packing_event("DELETE", serial(7003)), UNPACK_ALL, "abe", 3, False),
    "by an inspection": (object_event("OBSERVE", "inspecting", serial(7003)), UNPACK_ALL, "ada", 3, False),
    "by the end of it": (object_event("DELETE", "destroying", serial(7003)), UNPACK_ALL, "ada", 3, False),
    "before it began": (packing_event("DELETE", serial(7003)), UNPACK_ALL, "ada", 1, False),
    "by no entry": (packing_event("DELETE", serial(7003)), UNPACK_ALL, "ada", 9, False),
    "exported": (packing_event("DELETE", serial(7003)), EXPORT, "ada", 3, False),
}


@pytest.mark.parametrize("kind", CLOSINGS)
def test_a_container_is_closed_by_what_closes_it(world, lie, kind):
    """Else a chain could put what is inside into anyone's hands."""
    operation, closed_by, holder, closed_n, true = CLOSINGS[kind]
    box = serial(7003)
    packed = lie.signed("ada", packing_event("ADD", box, PART))
    entries = [
        begun(lie, box),
        lie.entry(box, packed, EVENT),
        lie.entry(box, lie.signed("ada", operation), EVENT),
    ]
    lie.part(
        box, entries, status=DESTROYED if "end" in kind else LIVE, holder="ada", owner="ada", generations=1
    )
    generation = {
        "closed_by": closed_by,
        "closed_n": closed_n,
        "holder_at_close": holder,
        "owner_at_close": "ada",
    }
    lie.put(
        state.generation_key(box, 1), GenerationRecord(container=box, generation=1, opened_n=2, **generation)
    )
    inside = {"container": box, "generation": 1}
    child = [begun(lie), lie.entry(PART, packed, PACKED, container_n=2, **inside)]
    lie.part(PART, child, status=LIVE, holder="ada", owner="ada", **inside)
    report = told(world, lie)
    if true:
        assert (report.verdict, report.problem, report.findings) == (Verdict.VERIFIED, "", [])
    else:
        assert report.verdict is Verdict.NOT_VERIFIABLE
        assert report.problem_code == "BAD_PROOF"


def test_an_interval_does_not_end_before_it_begins(world, lie):
    """Said to have been emptied before it was filled: nothing of the container would be the content's."""
    box = serial(7003)
    packed = lie.signed("ada", packing_event("ADD", box, PART))
    emptied = lie.signed("ada", packing_event("DELETE", box, number=8))
    entries = [begun(lie, box), lie.entry(box, emptied, EVENT), lie.entry(box, packed, EVENT)]
    lie.part(box, entries, status=LIVE, holder="ada", owner="ada", generations=1)
    generation = {"closed_by": UNPACK_ALL, "closed_n": 2, "holder_at_close": "ada", "owner_at_close": "ada"}
    lie.put(
        state.generation_key(box, 1), GenerationRecord(container=box, generation=1, opened_n=2, **generation)
    )
    inside = {"container": box, "generation": 1}
    child = [begun(lie), lie.entry(PART, packed, PACKED, container_n=3, **inside)]
    lie.part(PART, child, status=LIVE, holder="ada", owner="ada", **inside)
    refused(told(world, lie), "is not in")


# ---- lots of amounts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["one entry twice", "one event twice", "from elsewhere"])
def test_a_lot_is_made_once_and_here(world, how):
    """Else one signature would stand for any amount; and what is not from here is not added up."""
    made = amounts.quantity_event(world, "ADD", "commissioning", 100)
    assert world["a"].operate("ada", made).ok
    lie = Forged(world["a"])
    key = state.lot_key(amounts.LOT)
    (first,) = lie.chain.entries(key)
    lie.transactions[first.transaction] = lie.chain.app.store.transaction(first.transaction).data
    again = {
        "one entry twice": first,
        "one event twice": lie.entry("", lie.signed("ada", made), EVENT, key=key),
    }
    record = lie.chain.record(key, LotRecord)
    record.history.Clear()
    entries = [first, again[how]] if how in again else [first]
    lie.histories[key] = [append_entry(lie.chain.chain_id, record.history, entry)[1] for entry in entries]
    if how not in again:
        record.origin_chain = world["b"].chain_id
    lie.put(key, record)
    found = codes(told(world, lie, amounts.LOT))
    assert found == ({"DUPLICATE_EVENT"} if how in again else {"CONTRADICTION"})
    for chain in world.chains.values():
        chain.settle()
    views = {
        chain.chain_id: verified(chain, lie if chain.name == "a" else None) for chain in world.chains.values()
    }
    report = Reach(views).run(amounts.LOT, world["a"].chain_id, lambda: 0)
    assert report.exit_code == (0 if how in again else 1)  # one hundred were made, and lie with ada
