"""The commands about delegations and licences, on a chain in process: what is said is what the chain has."""

import json
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from client import cli_crossing, cli_parts, cli_rights
from client.submit import Recorded
from ledger import decimals, state
from proto.chiptrace.v1.bridge_pb2 import SendPart
from proto.chiptrace.v1.ledger_pb2 import (
    AttestationRecord,
    Capture,
    DelegationRecord,
    Operation,
    Reason,
    Trigger,
)
from tests.bridge.test_licences import policy
from tests.bridge.two_chains import PREFIX, World, object_event, serial
from tests.client.direct import verified

APP = typer.Typer()
for _commands in (cli_parts, cli_crossing, cli_rights):
    _commands.register(APP)
ON = ("--chain", "a")
AS = (*ON, "--as", "ada")
KEY = state.delegation_key("abe", PREFIX)


class Line:
    """Submits to the chain in process, and keeps what was submitted."""

    def __init__(self, chain, member):
        self.chain, self.member, self.sent = chain, member, []

    def submit(self, operations, key):
        self.sent += operations
        result = self.chain.operate(self.member, *operations)
        assert result.ok, Reason.Name(result.reason)
        return Recorded(result.transaction, self.chain.height, 0, Reason.REASON_UNSPECIFIED)


@pytest.fixture
def world(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    world = World("a")
    world.sent = []

    @contextmanager
    def open_chain(trust, chain, member=""):
        world["a"].settle()
        line = Line(world["a"], member or "ada")
        line.sent = world.sent
        yield SimpleNamespace(verified=verified(world["a"]), submitter=lambda: line)

    monkeypatch.setattr(cli_parts, "utc_now", lambda: "2023-11-14T22:13:20.000Z")
    for module in (cli_parts, cli_crossing, cli_rights):
        monkeypatch.setattr(module, "open_chain", open_chain)
    return world


def run(*words):
    result = CliRunner().invoke(APP, words)
    assert "Traceback" not in result.output
    return result


def test_delegating_and_what_is_left(world):
    chain = world["a"]
    words = ("delegate", PREFIX, "--to", "abe", "--serials", "5", "--amount", "100", "--amount", "2.5KGM")
    assert run(*words, "--valid-days", "30", *AS).exit_code == 0
    record = chain.record(KEY, DelegationRecord)
    assert (record.serials, [decimals.to_text(row.amount) for row in record.amounts]) == (5, ["100", "2.5"])
    assert record.valid_until_ms > chain.info.time_ms
    assert chain.operate("abe", object_event("ADD", "commissioning", serial(1), serial(2))).ok
    told = json.loads(run("delegation", PREFIX, "--to", "abe", *ON, "--json").stdout)
    assert (told["serials"], told["serials_left"], told["revoked"]) == (5, 3, False)
    assert (told["amounts_left"], told["holder"]) == ({"": "100", "KGM": "2.5"}, "ada")
    assert [entry["what"] for entry in told["entries"]] == ["DELEGATED", "DRAWN"]
    shown = run("delegation", PREFIX, "--to", "abe", *ON).output
    assert "3 of 5 serials, 100 of 100 pieces, 2.5 of 2.5 KGM" in " ".join(shown.split())
    assert run("revoke-delegation", PREFIX, "--to", "abe", *AS).exit_code == 0
    assert chain.record(KEY, DelegationRecord).revoked
    assert "revoked" in run("delegation", PREFIX, "--to", "abe", *ON).output


@pytest.mark.parametrize("amount", ["KGM", "", "1.5kg", "1 KGM", "x"])
def test_a_wrong_amount(world, amount):
    result = run("delegate", PREFIX, "--to", "abe", "--amount", amount, *AS)
    assert result.exit_code == 2
    assert world.sent == []


def test_one_unit_once(world):
    assert run("delegate", PREFIX, "--to", "abe", "--amount", "1", "--amount", "2", *AS).exit_code == 2
    assert world.sent == []


def test_no_delegation_is_an_answer(world):
    result = run("delegation", PREFIX, "--to", "abe", *ON)
    assert result.exit_code == 2
    assert "never delegated" in " ".join(result.output.split())


def test_a_licence_from_the_command_line(world):
    part, chain = world.commission("a", "ada"), world["a"]
    assert chain.operate("ada", chain.govern(policy(Trigger.ANY_SHIPPING))).ok
    identifier = "https://amy.example/licence/1"
    words = ("attest", part, "--kind", "export_licence", "--id", identifier, "--destination", "abe")
    assert run(*words, *ON, "--as", "amy").exit_code == 0
    record = chain.record(state.attestation_key(identifier), AttestationRecord)
    assert list(record.destinations) == ["abe"]
    assert run("ship", part, "--to", "abe", "--licence", identifier, *AS).exit_code == 0
    assert world.sent[-1].WhichOneof("kind") == "capture"
    assert identifier.encode() in Capture.FromString(world.sent[-1].capture.SerializeToString()).event


def test_a_licence_over_the_bridge(world, monkeypatch):
    monkeypatch.setattr(
        Line,
        "submit",
        lambda self, operations, key: (
            self.sent.extend(operations) or Recorded(bytes(32), 1, 0, Reason.REASON_UNSPECIFIED)
        ),
    )
    words = ("export-part", serial(1), "--to", "b-1", "--receiver", "bob")
    assert run(*words, "--licence", "https://amy.example/1", *AS).exit_code == 0
    (operation,) = world.sent
    assert isinstance(operation, Operation)
    assert list(SendPart.FromString(operation.send_part).licences) == ["https://amy.example/1"]
