"""Lists behind roots as files, proofs of their serials, and what an audit says of a lot by a root."""

import contextlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from hypothesis import assume, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from client import capture, cli_audit, cli_lots, epcis_read, serial_lists
from client.audit import Audit
from client.audit_report import Verdict
from client.locate import locate
from client.serials import find_part, tells_of
from client.submit import Recorded as Submitted
from client.verified import NotVerifiable
from ledger import state
from ledger.errors import Malformed, Refused
from ledger.identifiers import canonical, interval_text
from ledger.intervals import serial_text
from ledger.ranges import read_range
from ledger.roots import SerialList
from proto.chiptrace.v1.ledger_pb2 import Event, Membership, PartRecord, Reason
from tests.client.direct import verified
from tests.client.test_audit_honest import Recorded, check
from tests.client.test_serials import Lying, certified, lists_of_any_chain  # noqa: F401
from tests.ledger.rules_world import listed, part, quantity, root_of, seen, shipping, to_fields

LOT = canonical("urn:epc:class:lgtin:4012345.012345.R1").text
OTHER = LOT.replace("R1", "R2")
CLASS = canonical(LOT).class_text
DIES = [f"W{number * 37 % 100:02}X" for number in range(20)]


def die(place: int) -> str:
    return f"{CLASS}/21/{DIES[place]}"


@pytest.fixture
def told(monkeypatch):
    """A chain with a lot by root, of which one die was touched and some are on offer; and its list."""
    world = Recorded()
    kept = world.root(LOT, DIES)
    world.event("ada", listed(LOT.replace("R1", "L1"), ["A7", "B9"]))
    world.shown("ada", seen([die(3)]), kept.membership(die(3)))
    world.event("ada", shipping([], "bob", [quantity(interval_text(LOT, 10, 20))]))
    world.event("ada", seen([f"{CLASS}/21/B9"]))
    return SimpleNamespace(chain=certified(monkeypatch, world.done, world.time_ms), kept=kept)


def audited(told, name, *shown: Membership):
    proofs = {one.serial: one for one in shown}
    audit = Audit({told.chain.chain_id: verified(told.chain)}, shown=proofs)
    return audit.run(name, told.chain.chain_id, lambda: 0)


# ---- audits -------------------------------------------------------------------------------------------------


def test_a_touched_serial_is_verified_from_what_its_event_showed(told):
    report = audited(told, die(3))
    assert (report.problem, report.verdict) == ("", Verdict.VERIFIED)
    assert ("of lot", LOT) in [(relation, other.id) for relation, other in report.subject.related]
    for name in (f"{CLASS}/21/A7", f"{CLASS}/21/B9", LOT, interval_text(LOT, 10, 20)):
        check(audited(told, name))


def test_an_untouched_serial_needs_a_proof_and_is_not_exclusive(told):
    assert [finding.code for finding in audited(told, die(12)).findings] == ["UNKNOWN_PART"]
    report = audited(told, die(12), told.kept.membership(die(12)))
    assert [finding.code for finding in report.findings] == ["EXCLUSIVITY_NOT_PROVEN"]
    assert (report.subject.status, report.subject.holder) == ("OFFERED", "ada")
    assert "from W00X to W96X" in report.findings[0].message
    view = verified(told.chain)
    shown = {die(12): told.kept.membership(die(12))}
    assert locate({told.chain.chain_id: view}, die(12), shown) == told.chain.chain_id


def test_a_proof_that_shows_nothing(told):
    good = told.kept.membership(die(12))
    for false, why in (
        (Membership(serial=die(12), lot=LOT, place=11, path=good.path), "MEMBERSHIP_INVALID"),
        (
            Membership(serial=die(12), lot=LOT.replace("R1", "L1"), place=1, path=good.path),
            "MEMBERSHIP_INVALID",
        ),
    ):
        report = audited(told, die(12), false)
        assert (report.verdict, report.problem_code) == (Verdict.NOT_VERIFIABLE, why)
    nowhere = Membership(serial=die(12), lot=OTHER, place=12, path=good.path)
    assert [finding.code for finding in audited(told, die(12), nowhere).findings] == ["UNKNOWN_PART"]


def test_a_touched_serial_that_no_event_shows(told):
    """What a corrupt quorum could write: a record of a serial that is not in the list."""
    view = Lying(told.chain)
    record = find_part(view, die(3))
    for change in ({"start": 4, "end": 5}, {"lot": LOT.replace("R1", "L1")}):
        lied = type(record)()
        lied.CopyFrom(record)
        for field, value in change.items():
            setattr(lied, field, value)
        view.said = {state.part_key(die(3)): lied}
        report = Audit({told.chain.chain_id: view}).run(die(3), told.chain.chain_id, lambda: 0)
        assert report.verdict is not Verdict.VERIFIED


def test_two_claims_are_told_of_both_lots(monkeypatch):
    world = Recorded()
    kept = world.root(LOT, DIES)
    other = world.root(OTHER, ["free", *DIES])
    world.shown("ada", seen([die(3)]), kept.membership(die(3)))
    world.shown("ada", seen([die(3)]), other.membership(die(3)))
    world.shown("ada", seen([f"{CLASS}/21/free"]), other.membership(f"{CLASS}/21/free"))
    found = SimpleNamespace(chain=certified(monkeypatch, world.done, world.time_ms))
    for name in (die(3), f"{CLASS}/21/free", LOT, OTHER):
        report = audited(found, name)
        assert report.problem == ""
        assert {finding.code for finding in report.findings} == {"SERIAL_CLAIMED_TWICE"}


def test_one_record_tells_in_whose_hands_an_untouched_serial_is(told):
    """Its own proof, and nothing of the lot: what the proof of one part is made of."""
    view = verified(told.chain)
    shown = told.kept.membership(die(12))
    held = view.record(state.part_key(interval_text(LOT, 10, 20)), PartRecord)
    assert tells_of(held, canonical(die(12)), shown)
    assert not tells_of(held, canonical(die(12)))
    assert not tells_of(held, canonical(die(13)), shown)
    assert not tells_of(held, canonical(die(5)), told.kept.membership(die(5)))
    assert not tells_of(
        view.record(state.part_key(die(3)), PartRecord), canonical(die(3)), told.kept.membership(die(3))
    )
    of_list = view.record(state.part_key(interval_text(LOT.replace("R1", "L1"), 0, 1)), PartRecord)
    assert not tells_of(of_list, canonical(f"{CLASS}/21/A7"))


@given(
    st.from_regex(r"[AB]?[0-9]{1,3}", fullmatch=True),
    st.integers(0, 40),
    st.from_regex(r"[AB]?[0-9]{1,3}", fullmatch=True),
)
def test_a_range_tells_of_its_serials_and_of_no_other(first, more, asked):
    digits = first.lstrip("AB")
    last = first[: len(first) - len(digits)] + str(min(int(digits) + more, 10 ** len(digits) - 1)).zfill(
        len(digits)
    )
    lot = canonical(LOT)
    serials = read_range(lot, first, last)
    assume(serials.count > 1)  # else nothing lies behind its first serial
    record = PartRecord(id=interval_text(LOT, 1, serials.count), lot=LOT, start=1, end=serials.count)
    record.serials.CopyFrom(serials)
    names = [serial_text(serials, place) for place in range(record.start, record.end)]
    name = f"{CLASS}/21/{asked}"
    assert tells_of(record, canonical(name)) == (name in names)


# ---- files and commands -------------------------------------------------------------------------------------


@given(st.lists(st.from_regex(r"[A-Za-z0-9!]{1,8}", fullmatch=True), min_size=1, max_size=9, unique=True))
def test_a_proof_is_written_and_read(serials):
    kept = SerialList(bytes(32), canonical(LOT), serials)
    for serial in serials:
        shown = kept.membership(f"{CLASS}/21/{canonical(f'{CLASS}/21/{serial}').text.rpartition('/')[2]}")
        assert serial_lists.from_json(serial_lists.to_json(shown)) == shown


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "5", '{"serial": 1, "lot": "x", "place": 0, "path": []}', '{"serial": "x"}',
     '{"serial": "x", "lot": "y", "place": true, "path": []}', '{"serial": "x", "lot": "y", "place": -1, "path": []}',
     '{"serial": "x", "lot": "y", "place": 0, "path": ["00"]}', '{"serial": "x", "lot": "y", "place": 0, "path": 5}',
     "[" * 10_000],
)  # fmt: skip
def test_what_is_no_proof(text):
    with pytest.raises(Malformed):
        serial_lists.from_json(text)


@pytest.mark.parametrize("data", [b"A\n\nB\n", b"A \nB\n", b"A\r\nB\r\n", b"\xff\n", b"\n", b""])
def test_what_is_no_list(tmp_path, data):
    file = tmp_path / "list"
    file.write_bytes(data)
    with pytest.raises((Malformed, Refused)):
        serial_lists.read_list(file, canonical(LOT), bytes(32))


def test_an_event_gets_the_proofs_of_what_it_names():
    one = SerialList(bytes(32), canonical(LOT), DIES)
    two = SerialList(bytes(32), canonical(OTHER), ["Z1", DIES[0]])
    event = Event(fields=to_fields(seen([die(3), part(1), f"{CLASS}/21/Z1"]) | {
        "eventTime": "2023-11-14T22:13:20Z", "eventTimeZoneOffset": "+00:00"}))  # fmt: skip
    found = serial_lists.memberships_for(event, [one, two])
    assert [(one.serial, one.lot) for one in found] == [(die(3), LOT), (f"{CLASS}/21/Z1", OTHER)]
    event.fields[2].CopyFrom(to_fields({"epcList": [die(0)]})[0])
    with pytest.raises(Refused, match="two of the lists"):
        serial_lists.memberships_for(event, [one, two])


@pytest.fixture
def commands(monkeypatch, tmp_path, told):
    """The commands on this chain, in a directory with the list."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list").write_text("\n".join(DIES) + "\n")
    item = SimpleNamespace(chain_id=told.chain.chain_id, name="m")
    known = SimpleNamespace(chain=lambda _: item)
    monkeypatch.setattr(cli_lots.trust_file, "read", lambda _: known)
    session = SimpleNamespace(verified=verified(told.chain))
    monkeypatch.setattr(
        cli_audit, "open_all", lambda *_: contextlib.nullcontext({told.chain.chain_id: session})
    )
    app = typer.Typer()
    cli_lots.register(app)
    cli_audit.register(app)

    def run(*words, code=0):
        result = CliRunner().invoke(app, list(words))
        assert result.exit_code == code, result.output
        return result.stdout

    return run


def test_the_commands_prove_a_die_from_the_list(told, commands, tmp_path):
    said = json.loads(commands("lot", "root", LOT, "list", "--chain", "m", "--json"))
    assert (said["lot"], said["count"]) == (LOT, 20)
    assert said["ilmd"]["urn:chiptrace:epcis:serialsRoot"] == told.kept.given.root.hex()
    assert told.kept.given.root.hex() in commands("lot", "root", LOT, "list", "--chain", "m")
    commands("lot", "prove", LOT, "list", die(12), "--chain", "m", "--out", "12.json")
    assert (
        commands("lot", "prove", LOT, "list", die(12), "--chain", "m") == (tmp_path / "12.json").read_text()
    )
    commands("lot", "prove", LOT, "list", f"{CLASS}/21/none", "--chain", "m", code=2)
    shown = json.loads(commands("part", "show", die(12), "--shown", "12.json", "--json"))
    assert (shown["status"], shown["lot"], shown["place"]) == ("OFFERED", LOT, "12 to 13 (exclusive)")
    commands("part", "show", die(12), "--json", code=2)
    exported = json.loads(commands("part", "export", die(12), "--shown", "12.json", "--json"))
    assert exported["events"] == 2
    report = json.loads(commands("audit", die(12), "--shown", "12.json", "--json", code=1))
    assert [finding["code"] for finding in report["findings"]] == ["EXCLUSIVITY_NOT_PROVEN"]


def test_a_capture_carries_the_proofs(told, commands, monkeypatch):
    view = verified(told.chain)
    kept = serial_lists.kept_list(view, f"{LOT}=list")
    for choice, why in (
        (LOT, "LOT=FILE"),
        (f"{OTHER}=list", "no lot by a root"),
        (f"{LOT}=other", "not the list"),
    ):
        with open("other", "w") as other:
            other.write("\n".join(reversed(DIES)))
        with pytest.raises(Malformed, match=why):
            serial_lists.kept_list(view, choice)

    class Line:
        def submit(self, operations, key):
            result = told.chain.operate("ada", *operations)
            if not result.ok:
                raise Refused("no", result.reason)
            return Submitted(result.transaction, told.chain.height, 0, Reason.REASON_UNSPECIFIED)

    event = capture.custody_event([die(4)], "inspecting", "2023-11-14T22:13:20Z")
    item = epcis_read.ImportedEvent(event, "file", 0)
    (without,) = capture.capture(Line(), [item], go_on=True, told=lambda _: None)
    assert without.error.code == "UNKNOWN_PART"
    (done,) = capture.capture(Line(), [item], go_on=True, told=lambda _: None, lists=[kept])
    assert done.error is None
    told.chain.settle()
    assert find_part(verified(told.chain), die(4)).start == 4


def test_what_a_client_makes_of_a_list_is_what_the_ledger_takes(told):
    words = serial_lists.commissioning_words(told.kept)
    event = root_of(LOT, told.kept)
    assert {
        f"urn:chiptrace:epcis:{word.removeprefix('ours:')}": text for word, text in event["ilmd"].items()
    } == words


def test_not_verifiable_where_the_lot_is_no_root(told):
    view = verified(told.chain)
    shown = {die(12): Membership(serial=die(12), lot=LOT.replace("R1", "L1"), place=0)}
    with pytest.raises(NotVerifiable):
        find_part(view, die(12), shown)


def test_no_more_of_a_file_is_read_than_a_proof_has(monkeypatch):
    monkeypatch.setattr("client.serial_lists.EVENT_BYTES_MAX", 1_000)
    with pytest.raises(Malformed, match="zero: too long for a proof"):
        serial_lists.read_proofs([Path("/dev/zero")])


def test_of_a_list_no_more_is_read_than_one_may_have(monkeypatch):
    """Also where nobody can tell beforehand how much it is."""
    monkeypatch.setattr(serial_lists, "LIST_BYTES_MAX", 10)
    with pytest.raises(Malformed, match="at most 10 bytes"):
        serial_lists.read_list(Path("/dev/zero"), canonical(LOT), bytes(32))
