"""What an audit says of events declared wrong: both stay, and what became of the original is proven."""

import pytest

from client.audit_corrections import _in_circles
from client.audit_report import Verdict
from ledger.identifiers import interval_text
from tests.client.test_audit_honest import Recorded
from tests.client.test_serials import audited, certified
from tests.ledger.rules_world import add, box, making, packing, part, quantity, seen, serials_of
from tests.ledger.test_corrections import recorded, wrong

LOT = "https://id.gs1.org/01/04012345123456/10/W1"
WHOLE = interval_text(LOT, 0, 20)
HONEST = {
    "ERROR_DECLARED",
    "CORRECTION_PENDING",
    "CONTESTED",
    "SEEN_ELSEWHERE",
    "UNKNOWN_ORIGIN",
    "CORRECTION_LOOP",
    "CORRECTION_UNKNOWN",
}


@pytest.fixture
def world():
    return Recorded()


def report_on(monkeypatch, world, name):
    report = audited(certified(monkeypatch, world.done, world.time_ms), name)
    assert report.verdict in (Verdict.VERIFIED, Verdict.FINDINGS), report.problem
    assert {finding.code for finding in report.findings} <= HONEST, report.findings
    return report


def serial(place):
    return f"https://id.gs1.org/01/04012345123456/21/{place:04}"


def test_a_lot_that_was_taken_back_is_void_in_every_serial(monkeypatch, world):
    operation = recorded(world, "ada", serials_of(LOT, "0000", "0019", 20))
    world.act("ada", wrong(operation))
    for name in (WHOLE, serial(7), LOT):
        report = report_on(monkeypatch, world, name)
        assert "ERROR_DECLARED" in {finding.code for finding in report.findings}
    assert report_on(monkeypatch, world, serial(7)).subject.status == "VOID"


def test_serials_that_were_packed_by_mistake_are_out_again(monkeypatch, world):
    world.event("ada", serials_of(LOT, "0000", "0019", 20))
    operation = recorded(world, "ada", packing(box(1), [serial(15)], [quantity(interval_text(LOT, 3, 5))]))
    world.act("ada", wrong(operation))
    for name in (serial(15), serial(3), box(1)):
        report = report_on(monkeypatch, world, name)
        assert "undone" in " ".join(step.what for step in report.subject.steps)
        assert not [pair for pair in report.subject.related if pair[0] == "contains"]


def test_serials_that_were_consumed_by_mistake_live_again(monkeypatch, world):
    world.event("ada", serials_of(LOT, "0000", "0019", 20))
    operation = recorded(
        world, "ada", making([serial(15)], [part(900)], used=[quantity(interval_text(LOT, 3, 5))])
    )
    world.act("ada", wrong(operation))
    world.event("ada", seen([serial(15), serial(3)]))
    for name in (serial(15), serial(3)):
        assert report_on(monkeypatch, world, name).subject.status == "LIVE"
    assert report_on(monkeypatch, world, part(900)).subject.status == "VOID"


def declared(world, event_id, *correctives):
    """An event of part 1 that is recorded and declared wrong, to be corrected by others."""
    operation = recorded(world, "ada", seen([part(1)], eventID=event_id))
    world.act("ada", wrong(operation, correctiveEventIDs=list(correctives)))


def said(report, code):
    return [finding.message for finding in report.findings if finding.code == code]


def test_what_corrects_an_event_is_looked_for_in_its_history(monkeypatch, world):
    world.event("ada", add([part(1)]))
    declared(world, "urn:test:a", "urn:test:b", "urn:test:c")
    world.event("ada", seen([part(1)], eventID="urn:test:b"))
    report = report_on(monkeypatch, world, part(1))
    (message,) = said(report, "CORRECTION_UNKNOWN")
    assert "urn:test:c" in message
    assert said(report, "CORRECTION_LOOP") == []


@pytest.mark.parametrize("names", ["ab", "abc", "abcd"])
def test_corrections_that_go_in_a_circle_are_found(monkeypatch, world, names):
    world.event("ada", add([part(1)]))
    for place, name in enumerate(names):
        declared(world, f"urn:test:{name}", f"urn:test:{names[(place + 1) % len(names)]}", "urn:test:z")
    assert len(said(report_on(monkeypatch, world, part(1)), "CORRECTION_LOOP")) == 1


def test_corrections_that_lead_on_go_in_no_circle(monkeypatch, world):
    world.event("ada", add([part(1)]))
    for first, second in ("ab", "bc", "ac", "cd"):
        declared(world, f"urn:test:{first}", f"urn:test:{second}")
    assert said(report_on(monkeypatch, world, part(1)), "CORRECTION_LOOP") == []


def test_corrections_without_end_are_gone_through_once():
    """Each of so many events corrects the one before: looked through from each, they took minutes."""
    events = {f"e{number}": (f"e{number - 1}", "x") for number in range(50_000)}
    assert _in_circles(events) == set()
    events["e0"] = ("e7",)
    assert _in_circles(events) == set(events)
    events |= {f"e{number}": () for number in range(9, 100)}
    assert _in_circles(events) == {f"e{number}" for number in range(9)}
