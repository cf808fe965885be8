"""Serials of lots in audits: random lives on a certified chain, and what a corrupt quorum could say of a carving."""

import contextlib
import json
from random import Random

import pytest
import typer
from typer.testing import CliRunner

from client import cli_audit, epcis_read, epcis_write
from client.audit import Audit
from client.audit_report import Verdict
from client.locate import locate
from client.serials import covers, find_part, histories, membership, take_out
from client.verified import NotVerifiable
from ledger import codec, intervals, roots, state
from ledger.identifiers import canonical, interval_text
from proto.chiptrace.v1.ledger_pb2 import (
    Attest,
    Capture,
    Delegate,
    LotRecord,
    Operation,
    PartRecord,
    PartStatus,
)
from tests.bridge import two_chains
from tests.client.direct import verified
from tests.client.test_audit_honest import Recorded, check
from tests.ledger import rules_world, test_serials_model
from tests.ledger.rules_world import box, packing, quantity, seen, serials_of, shipping
from tests.ledger.test_serials_model import LOTS, serial_name

LOT = next(iter(LOTS))


@pytest.fixture(autouse=True)
def lists_of_any_chain(monkeypatch):
    """What a world recorded is recorded again on a chain with another id: lists have the same root on both."""
    honest = roots.serial_leaf
    monkeypatch.setattr(roots, "serial_leaf", lambda _, serial: honest(bytes(32), serial))


def certified(monkeypatch, done, time_ms, seed=0, batch=1):
    """A certified chain on which these transactions were recorded, some per block."""
    monkeypatch.setitem(two_chains.MEMBERS, "m", ("ada", "bob", "cyd", "dee"))
    chain = two_chains.BridgedChain("m", two_chains.Clock(time_ms), grants=rules_world.GRANTS)
    done, random = list(done), Random(seed)
    while done:
        count = random.randint(1, batch)
        block = [chain.transaction(member, *operations) for member, operations in done[:count]]
        done = done[count:]
        assert [result for result in chain.produce(block) if not result.ok] == []
    chain.settle()
    return chain


def walked(monkeypatch, seed, steps, batch):
    monkeypatch.setattr(test_serials_model, "World", Recorded)
    walk = test_serials_model.Walk(seed)
    for _ in range(steps):
        walk.step()
    return walk, certified(monkeypatch, walk.world.done, walk.world.time_ms, seed, batch)


def audited(chain, name, shown=()):
    proofs = {one.serial: one for one in shown}
    return Audit({chain.chain_id: verified(chain)}, shown=proofs).run(name, chain.chain_id, lambda: 0)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("batch", [1, 6])
def test_every_serial_of_an_honest_chain_is_verified(monkeypatch, seed, batch):
    walk, chain = walked(monkeypatch, seed, 80, batch)
    asked = [serial_name(lot, place) for lot, (_, count) in LOTS.items() for place in range(0, count, 4)]
    for name in [*asked, *test_serials_model.BOXES]:
        # Walks hand things back and forth; and of a list that is kept off the chain nobody knows who else has it.
        shown = [walk.kept.membership(name)] if name in walk.kept else []
        check(audited(chain, name, shown), {"ROUND_TRIP", "EXCLUSIVITY_NOT_PROVEN"})
    if batch == 1:
        for lot, (_, count) in LOTS.items():
            for place in range(0, count, 4):
                name = serial_name(lot, place)
                report = audited(chain, name, [walk.kept.membership(name)] if name in walk.kept else [])
                # One block per event: the heights of a serial's steps are its naive log, to the last one.
                log = walk.naive.lots[lot][place].log
                assert len(report.subject.steps) == len(log)


@pytest.fixture
def chain(monkeypatch):
    world = Recorded()
    world.event("ada", serials_of(LOT, "0000", "0013", 14))
    world.event("ada", rules_world.add([box(1)]))
    world.event("ada", shipping([], "bob", [quantity(interval_text(LOT, 2, 9))]))
    world.event("ada", packing(box(1), [], [quantity(interval_text(LOT, 9, 14))]))
    world.event("ada", seen([serial_name(LOT, 10)]))
    return certified(monkeypatch, world.done, world.time_ms)


def test_an_untouched_serial_is_what_its_interval_is(chain):
    view = verified(chain)
    name = serial_name(LOT, 5)
    assert locate({chain.chain_id: view}, name) == chain.chain_id
    record = find_part(view, name)
    assert (record.id, record.start, record.end) == (name, 5, 6)
    assert (PartStatus.Name(record.status), record.holder, record.offered_to) == ("OFFERED", "ada", "bob")
    assert [whose for whose, _ in histories(view, record)] == [
        interval_text(LOT, 0, 14), interval_text(LOT, 2, 9),
    ]  # fmt: skip
    report = audited(chain, name)
    assert report.verdict is Verdict.VERIFIED
    assert [step.what for step in report.subject.steps] == [
        "object ADD commissioning", "object OBSERVE shipping",
    ]  # fmt: skip
    assert ("of lot", LOT) in [(relation, other.id) for relation, other in report.subject.related]


def test_an_interval_that_was_carved_and_what_never_was(chain):
    report = audited(chain, interval_text(LOT, 0, 14))
    assert (report.subject.status, report.verdict) == ("SPLIT", Verdict.VERIFIED)
    assert audited(chain, interval_text(LOT, 3, 4)).subject.status == "OFFERED"
    across = audited(chain, interval_text(LOT, 1, 4))
    assert (across.verdict, across.problem_code) == (Verdict.NOT_VERIFIABLE, "INTERVAL_SPLIT")
    above = audited(chain, interval_text(LOT, 3, 15))
    assert [finding.code for finding in above.findings] == ["UNKNOWN_PART"]
    no_serial = audited(chain, f"{canonical(LOT).class_text}/21/0014")
    assert [finding.code for finding in no_serial.findings] == ["UNKNOWN_PART"]


def asked(monkeypatch, chain, *words):
    """What a command prints about this chain, as JSON."""
    app = typer.Typer()
    cli_audit.register(app)
    monkeypatch.setattr(cli_audit, "_asked", lambda *_: contextlib.nullcontext(verified(chain)))
    result = CliRunner().invoke(app, [*words, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_commands_show_a_serial_that_was_never_touched(monkeypatch, chain):
    shown = asked(monkeypatch, chain, "part", "show", serial_name(LOT, 5))
    assert (shown["status"], shown["lot"], shown["place"]) == ("OFFERED", LOT, "5 to 6 (exclusive)")
    assert [row["kind"] for row in shown["history"]] == ["EVENT", "EVENT"]
    lot = asked(monkeypatch, chain, "part", "show", LOT)
    assert (lot["kind"], len(lot["history"])) == ("lot", 1)
    exported = asked(monkeypatch, chain, "part", "export", serial_name(LOT, 10))
    assert exported["events"] == 3


def test_a_delegates_lot_is_counted_serial_by_serial(monkeypatch):
    world = Recorded()
    world.act("ada", Operation(delegate=Delegate(prefix="gs1:4012345", member="bob", serials=15)))
    world.event("bob", serials_of(LOT, "0000", "0013", 14))
    world.event("bob", rules_world.add([f"{canonical(LOT).class_text}/21/77777"]))
    chain = certified(monkeypatch, world.done, world.time_ms)
    for name in (LOT, serial_name(LOT, 3), interval_text(LOT, 0, 14)):
        report = audited(chain, name)
        assert (report.problem, report.findings) == ("", [])


def test_a_claim_about_a_carved_interval_is_found_with_its_pieces(monkeypatch):
    world = Recorded()
    world.event("ada", serials_of(LOT, "0000", "0013", 14))
    world.event("ada", seen([serial_name(LOT, 5)]))
    whole = interval_text(LOT, 0, 14)
    world.act("dee", Operation(attest=Attest(id="urn:recall:1", subject=whole, kind="recall", scope="all")))
    world.event("ada", seen([serial_name(LOT, 9)]))
    chain = certified(monkeypatch, world.done, world.time_ms)
    for name in (serial_name(LOT, 5), serial_name(LOT, 9), serial_name(LOT, 13), interval_text(LOT, 0, 5)):
        report = audited(chain, name)
        assert (report.problem, {finding.code for finding in report.findings}) == ("", {"RECALLED"})


def test_a_box_of_serials_shows_what_stands_for_them_now(chain):
    report = audited(chain, box(1))
    assert report.verdict is Verdict.VERIFIED
    inside = {other.id for relation, other in report.subject.related if relation == "contains"}
    assert inside == {interval_text(LOT, 9, 10), serial_name(LOT, 10), interval_text(LOT, 11, 14)}


def test_taking_serials_out_leaves_the_rest_of_their_interval(chain):
    view, inside = verified(chain), {interval_text(LOT, 9, 14): "contains", box(2): "contains"}
    take_out(view, inside, serial_name(LOT, 10))
    take_out(view, inside, interval_text(LOT, 13, 14))
    take_out(view, inside, box(2))
    assert list(inside) == [interval_text(LOT, 9, 10), interval_text(LOT, 11, 13)]


# ---- documents ----------------------------------------------------------------------------------------------

_AT = {"eventTime": "2023-11-14T22:13:20.000Z", "eventTimeZoneOffset": "+00:00", "type": "ObjectEvent"}
DOCUMENT = {
    "@context": [
        "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld",
        {"chiptrace": "urn:chiptrace:epcis:"},
    ],
    "type": "EPCISDocument",
    "schemaVersion": "2.0",
    "creationDate": "2023-11-14T22:13:20.000Z",
    "epcisBody": {
        "eventList": [
            _AT
            | {
                "action": "ADD",
                "bizStep": "commissioning",
                "quantityList": [{"epcClass": LOT, "quantity": 14}],
                "ilmd": {"chiptrace:firstSerial": "0000", "chiptrace:lastSerial": "0013"},
            },
            _AT
            | {
                "action": "OBSERVE",
                "bizStep": "inspecting",
                "epcList": ["urn:epc:id:sgtin:4012345.012345.0003"],
                "quantityList": [{"epcClass": f"{LOT}?interval=4-9", "quantity": 5}],
            },
        ]
    },
}


def test_a_strict_document_commissions_a_lot_and_comes_out_as_it_went_in():
    found = epcis_read.read(json.dumps(DOCUMENT).encode(), file="lot", strict=True)
    assert found.findings == []
    world = rules_world.World()
    for event in found.events:
        world.act("ada", Operation(capture=Capture(event=codec.encode(event.event))))
    assert world.part(serial_name(LOT, 3)).holder == world.part(interval_text(LOT, 4, 9)).holder == "ada"
    written = json.loads(
        epcis_write.to_text([event.event for event in found.events], DOCUMENT["creationDate"])
    )
    assert written["epcisBody"] == DOCUMENT["epcisBody"]


# ---- a corrupt quorum ---------------------------------------------------------------------------------------


class Lying:
    """A view of a chain some of whose records are what a test says, as if they were proven."""

    def __init__(self, chain):
        self._chain, self.said = verified(chain), {}

    def __getattr__(self, name):
        return getattr(self._chain, name)

    def record(self, key, kind):
        return self.said[key] if key in self.said else self._chain.record(key, kind)


def test_a_carving_is_checked(chain):
    view = Lying(chain)
    serial, origin = serial_name(LOT, 10), interval_text(LOT, 9, 14)
    honest = find_part(view, serial)
    assert honest.carved_from == origin
    assert len(histories(view, honest)) == 3
    key = state.part_key(origin)
    for change in (
        {"start": 11},
        {"end": 10},
        {"lot": "urn:other"},
        {"status": PartStatus.LIVE},
    ):
        lied = PartRecord()
        lied.CopyFrom(view.record(key, PartRecord))
        for field, value in change.items():
            setattr(lied, field, value)
        view.said = {key: lied}
        with pytest.raises(NotVerifiable):
            histories(view, honest)
        view.said = {}
    for n in (0, 2):
        lied = PartRecord()
        lied.CopyFrom(honest)
        lied.carved_n = n
        with pytest.raises(NotVerifiable, match="goes on after"):
            histories(view, lied)
    for change in ({"lot": "urn:other"}, {"start": 8}, {"end": 15}, {"start": 2, "end": 9}):
        lied = PartRecord()
        lied.CopyFrom(honest)
        for field, value in change.items():
            setattr(lied, field, value)
        with pytest.raises(NotVerifiable, match="not carved"):
            histories(view, lied)
    view.said = {key: None}
    with pytest.raises(NotVerifiable, match="not carved"):
        histories(view, honest)


def test_a_carving_out_of_itself_ends(chain):
    view = Lying(chain)
    name = interval_text(LOT, 9, 14)
    lied = PartRecord()
    lied.CopyFrom(view.record(state.part_key(name), PartRecord))
    lied.carved_from, lied.carved_n = name, lied.history.n
    view.said = {state.part_key(name): lied}
    with pytest.raises(NotVerifiable, match="more than"):
        histories(view, find_part(view, serial_name(LOT, 10)))


def test_a_serial_stands_in_its_lot_at_its_place(chain):
    view = verified(chain)
    record = find_part(view, serial_name(LOT, 10))
    assert membership(view, record, ()) == ""
    assert membership(view, find_part(view, interval_text(LOT, 11, 14)), ()) == ""
    for change, why in (({"start": 9, "end": 10}, "among the serials"), ({"start": 14, "end": 15}, "has no serials"),
                        ({"end": 10}, "has no serials"), ({"lot": "urn:lot:x"}, "has no serials")):  # fmt: skip
        lied = PartRecord()
        lied.CopyFrom(record)
        for field, value in change.items():
            setattr(lied, field, value)
        assert why in membership(view, lied, ())


def test_a_claim_is_about_what_lies_in_its_interval_whole(chain):
    """Else a corrupt chain could enter a recall of some serials with others."""
    view = verified(chain)
    for start, end, name, whole in (
        (9, 14, serial_name(LOT, 10), True),
        (10, 11, serial_name(LOT, 10), True),
        (11, 14, serial_name(LOT, 10), False),
        (2, 10, serial_name(LOT, 10), False),
        (9, 14, interval_text(LOT, 11, 14), True),
        (9, 13, interval_text(LOT, 11, 14), False),
        (12, 14, interval_text(LOT, 11, 14), False),
        (9, 14, serial_name(LOT, 12), False),
    ):
        assert covers(view, interval_text(LOT, start, end), name) is whole
    assert not covers(view, interval_text(LOT[:-1] + "B", 9, 14), serial_name(LOT, 10))
    assert not covers(view, LOT, serial_name(LOT, 10))


def test_pieces_of_a_lot_cover_it(chain):
    view = verified(chain)
    lot = view.record(state.lot_key(LOT), LotRecord)
    found = intervals.pieces(view, lot, 0, 14, 100)
    assert [(piece.start, piece.end) for piece in found] == [(0, 2), (2, 9), (9, 10), (10, 11), (11, 14)]
