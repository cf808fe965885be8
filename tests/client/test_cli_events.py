"""The commands about events, on a chain in process: what is said is what the chain has."""

import json
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from client import cli_events
from ledger import codec, state
from proto.chiptrace.v1.ledger_pb2 import (
    Capture,
    CorrectionRecord,
    CorrectionState,
    Event,
    Operation,
    PartRecord,
    PartStatus,
)
from tests.bridge.two_chains import OFFER_EXPIRY_MS, World, serial
from tests.client.direct import verified
from tests.client.test_cli_rights import Line
from tests.ledger.rules_world import add, destroying, receiving, seen, shipping, to_fields

APP = typer.Typer()
cli_events.register(APP)
CHIP = serial(1)
NOW = "2023-11-14T22:13:20.000Z"
PLACE = "urn:epc:id:sgln:4012345.00005.0"


class Certified(Line):
    """The block that certifies what a command did follows at once, as on a chain that runs."""

    def submit(self, *words):
        try:
            return super().submit(*words)
        finally:
            self.chain.settle()


@pytest.fixture
def chain(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    chain = World("a")["a"]

    @contextmanager
    def open_chain(trust, name, member=""):
        chain.settle()
        yield SimpleNamespace(verified=verified(chain), submitter=lambda: Certified(chain, member or "ada"))

    monkeypatch.setattr(cli_events, "utc_now", lambda: NOW)
    monkeypatch.setattr(cli_events, "open_chain", open_chain)
    return chain


def record(chain, member, event):
    fields = to_fields({"eventTime": NOW, "eventTimeZoneOffset": "+00:00"} | event)
    made = Event(seed=chain.height.to_bytes(16, "big"), fields=fields)
    result = chain.operate(member, Operation(capture=Capture(event=codec.encode(made))))
    assert result.ok, result
    return result.transaction.hex()


def run(*words):
    result = CliRunner().invoke(APP, [*words, "--chain", "a"])
    assert "Traceback" not in result.output
    return result


def test_an_event_is_declared_wrong_by_its_id_and_undone(chain):
    record(chain, "ada", add([CHIP], eventID="urn:test:1"))
    told = run(
        "event", "declare-error", "urn:test:1", "--of", CHIP, "--reason", "did_not_occur", "--as", "ada"
    )
    assert told.exit_code == 0, told.output
    assert "taken back" in told.output
    assert chain.record(state.part_key(CHIP), PartRecord).status == PartStatus.VOID


def test_what_came_of_a_declaration_is_told(chain):
    record(chain, "ada", add([CHIP], eventID="urn:test:1"))
    record(chain, "ada", seen([CHIP], eventID="urn:test:2"))
    wrong = ("event", "declare-error", "--of", CHIP, "--as", "ada")
    assert "nothing was undone" in run(*wrong, "urn:test:2").output
    record(chain, "ada", shipping([CHIP], "abe"))
    record(chain, "abe", receiving([CHIP]))
    assert "waits for others" in run(*wrong, "urn:test:1").output
    record(chain, "abe", seen([CHIP], eventID="urn:test:3"))
    record(chain, "abe", destroying([CHIP]))
    assert "contested" in run(*wrong, "urn:test:3").output


@pytest.mark.parametrize("digits", [8, 64])
def test_an_event_is_named_by_its_transaction_too(chain, digits):
    record(chain, "ada", add([CHIP]))
    transaction = record(chain, "ada", seen([CHIP]))
    told = run(
        "event",
        "declare-error",
        transaction[:digits],
        "--of",
        CHIP,
        "--as",
        "ada",
        "--corrective",
        "urn:test:x",
        "--json",
    )
    assert told.exit_code == 0, told.output
    assert (
        json.loads(told.output)["height"] == chain.height - 1
        or json.loads(told.output)["height"] <= chain.height
    )


@pytest.mark.parametrize("name", ["urn:test:none", "0123456", ""])
def test_an_event_that_is_not_there_or_not_one_is_told(chain, name):
    record(chain, "ada", add([CHIP]))
    told = run("event", "declare-error", name, "--of", CHIP, "--as", "ada")
    assert told.exit_code == 2
    assert "0 events in the history" in told.output


def test_two_events_of_one_id_are_told_apart_by_their_transactions(chain):
    record(chain, "ada", add([CHIP], eventID="urn:test:1"))
    transaction = record(chain, "ada", seen([CHIP], eventID="urn:test:1"))
    told = run("event", "declare-error", "urn:test:1", "--of", CHIP, "--as", "ada")
    assert (told.exit_code, "2 events in the history" in told.output) == (2, True)
    assert run("event", "declare-error", transaction, "--of", CHIP, "--as", "ada").exit_code == 0


def test_what_waits_for_others_is_listed_until_they_say_so(chain):
    record(chain, "ada", add([CHIP], eventID="urn:test:1"))
    record(chain, "ada", shipping([CHIP], "abe"))
    record(chain, "abe", receiving([CHIP]))
    assert "0 events wait" in run("event", "pending", CHIP).output
    told = run("event", "declare-error", "urn:test:1", "--of", CHIP, "--as", "ada", "--json")
    assert told.exit_code == 0
    (row,) = json.loads(run("event", "pending", CHIP, CHIP, "--json").output)["pending"]
    assert (row["of"], row["event_id"], row["declared_by"]) == (CHIP, "urn:test:1", ["ada"])
    assert row["waits_for"] == ["abe"]
    assert "waits for abe" in run("event", "pending", CHIP).output
    assert run("event", "declare-error", "urn:test:1", "--of", CHIP, "--as", "abe").exit_code == 0
    assert json.loads(run("event", "pending", CHIP, "--json").output) == {"pending": []}
    original = bytes.fromhex(row["digest"])
    found = chain.record(state.correction_key(original), CorrectionRecord)
    assert (found.state, list(found.members)) == (CorrectionState.TAKEN_BACK, ["ada", "abe"])


def test_what_nobody_joined_in_time_waits_no_longer(chain):
    record(chain, "ada", add([CHIP], eventID="urn:test:1"))
    record(chain, "ada", shipping([CHIP], "abe"))
    record(chain, "abe", receiving([CHIP]))
    assert run("event", "declare-error", "urn:test:1", "--of", CHIP, "--as", "ada").exit_code == 0
    assert "1 events wait" in run("event", "pending", CHIP).output
    chain.clock.now_ms += OFFER_EXPIRY_MS
    record(chain, "abe", seen([CHIP]))
    assert "0 events wait" in run("event", "pending", CHIP).output


def test_a_member_that_is_named_to_paint_over_what_was_found(chain, monkeypatch):
    """As a chain with a corrupt quorum may prove it."""
    row = {"what": "x", "digest": "00", "event_id": "e", "of": CHIP, "until_ms": 0}
    names = {"declared_by": ["\x1b[2Jada"], "waits_for": ["[red]abe", "\x9b2J"]}
    monkeypatch.setattr("client.cli_events._waiting", lambda *_: [row | names])
    shown = run("event", "pending", CHIP).output
    assert "declared wrong by \\x1b[2Jada; waits for [red]abe, \\x9b2J until" in shown


def test_notes_about_a_place_are_listed(chain):
    assert "0 notes of ada" in run("event", "notes", PLACE, "--by", "ada").output
    first = record(chain, "ada", seen(readPoint={"id": PLACE}))
    record(chain, "abe", seen(readPoint={"id": PLACE}))
    told = json.loads(run("event", "notes", PLACE, "--by", "ada", "--json").output)
    assert [row["transaction"] for row in told["notes"]] == [first]
    assert "1 notes of abe" in run("event", "notes", PLACE, "--by", "abe").output


def test_a_part_that_is_unknown_is_told(chain):
    for words in (("pending", serial(9)), ("declare-error", "urn:test:1", "--of", serial(9), "--as", "ada")):
        told = run("event", *words)
        assert (told.exit_code, "proven absent" in told.output) == (2, True)
