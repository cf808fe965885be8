"""`chiptrace chain`: recorded faults and evidence files, and what nodes say of themselves; one JSON object, exit codes."""

import json
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from client import cli_chain, faults, keys, trust
from client.trust import ChainTrust, Identity, Trust
from consensus.messages import signed_vote
from ledger import codec, hashes
from ledger.errors import Invalid
from proto.chiptrace.v1.consensus_pb2 import NOTARIZE, Vote
from proto.chiptrace.v1.ledger_pb2 import Evidence, Operation, Reason
from proto.chiptrace.v1.node_pb2 import PeerStatus, StatusReply
from tests.bridge.two_chains import World
from tests.client.direct import verified
from tests.ledger.chain_fixture import seed_of

APP = typer.Typer()
cli_chain.register(APP)


@pytest.fixture(scope="module")
def world():
    """Chain a, whose amy (the third validator) voted twice at height 1; chain b, where nothing happened."""
    made = World("a", "b")
    chain = made["a"]
    chain.settle()
    made["b"].settle()
    votes = [Vote(kind=NOTARIZE, height=1, view=1, block_hash=bytes([n]) * 32, signer=2) for n in (1, 2)]
    for vote in votes:
        vote.signature = hashes.sign_raw(seed_of("amy", "validator"), signed_vote(chain.chain_id, vote))
    first, second = map(codec.encode, votes)
    assert chain.operate("ada", Operation(evidence=Evidence(height=1, first=first, second=second))).ok
    chain.settle()
    return made


@pytest.fixture
def home(world, tmp_path, monkeypatch):
    """A trust file for both chains, whose nodes answer without a network."""
    keys.create(tmp_path / "key")
    chains = [
        ChainTrust(name, world[name].chain_id, (f"{name}:1", f"{name}:2"), tmp_path / "ca", 10_000)
        for name in "ab"
    ]
    identities = [
        Identity(c.name, "x", tmp_path / "key", tmp_path / "crt", tmp_path / "tls", "auditor") for c in chains
    ]
    trust.write(tmp_path / "trust.json", Trust(tuple(chains), tuple(identities)))

    @contextmanager
    def open_all(_):
        yield {
            world[name].chain_id: SimpleNamespace(trust=chain, verified=verified(world[name]))
            for name, chain in zip("ab", chains, strict=True)
        }

    monkeypatch.setattr(cli_chain, "open_all", open_all)
    monkeypatch.setattr(cli_chain, "now_ms", lambda: world["a"].info.time_ms + 10**6)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words, as_json=True):
    given = ("chain", *words, "--trust", "trust.json", *(("--json",) if as_json else ()))
    result = CliRunner().invoke(APP, given)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, json.loads(result.stdout) if as_json else result.stdout


# ---- evidence ---------------------------------------------------------------------------------------------------


def test_faults_are_listed_by_chain_with_an_exit_code_that_tells(home, world):
    code, told = run("evidence")
    assert code == 1
    assert [(item["chain"], len(item["faults"])) for item in told["chains"]] == [("a", 1), ("b", 0)]
    (fault,) = told["chains"][0]["faults"]
    assert (fault["member"], fault["height"], fault["view"], fault["kind"]) == ("amy", 1, 1, "notarize twice")
    assert fault["recorded_at"] > 1
    assert run("evidence", "--chain", "b") == (0, {"chains": [{"chain": "b", "faults": []}], "file": None})
    code, text = run("evidence", as_json=False)
    assert (code, "amy signed notarize twice at height 1, view 1" in text, "b: no faults" in text) == (
        1,
        True,
        True,
    )


def test_a_file_is_written_and_judged_without_any_node(home, monkeypatch):
    code, told = run("evidence", "--out", "faults.json")
    assert (code, told["file"]) == (1, "faults.json")

    def no_node(_):
        raise AssertionError("a node was asked")

    monkeypatch.setattr(cli_chain, "open_all", no_node)
    code, told = run("evidence", "--verify", "faults.json")
    assert (code, told["chains"][0]["chain"], told["chains"][0]["faults"][0]["member"]) == (0, "a", "amy")
    document = json.loads((home / "faults.json").read_text())
    once = document["faults"]
    swapped = {**once[0], "first": once[0]["second"], "second": once[0]["first"]}
    for again in (once[0], swapped):
        (home / "faults.json").write_text(json.dumps({**document, "faults": [*once, again]}))
        code, told = run("evidence", "--verify", "faults.json")
        assert (code, told["error"]["code"]) == (2, "NOT_EVIDENCE")
    document["faults"][0]["second"] = document["faults"][0]["first"]
    (home / "faults.json").write_text(json.dumps(document))
    code, told = run("evidence", "--verify", "faults.json")
    assert (code, told["error"]["code"]) == (2, "NOT_EVIDENCE")
    code, told = run("evidence", "--verify", "none.json")
    assert (code, told["error"]["code"]) == (2, "FILE")


def test_a_file_is_not_written_for_nothing(home):
    code, told = run("evidence", "--chain", "b", "--out", "faults.json")
    assert (code, told["error"]["code"]) == (2, "NOTHING_TO_DO")
    assert not (home / "faults.json").exists()


def test_evidence_that_does_not_hold_is_no_answer(home, monkeypatch):
    def false(*_):
        raise Invalid("a vote is not signed", Reason.NOT_EVIDENCE)

    monkeypatch.setattr(faults, "judge", false)
    code, told = run("evidence", "--chain", "a")
    assert (code, "does not hold" in told["error"]["message"]) == (2, True)


# ---- status -----------------------------------------------------------------------------------------------------


def reply(**changed):
    peers = [
        PeerStatus(
            index=1, member="abe", connected=True, last_height=9, last_view=1, key=bytes(32), clock_known=True
        ),
        PeerStatus(index=2, member="amy", connected=True, clock_offset_ms=0),
    ]
    values = {"height": 9, "view": 1, "synced": True, "index": 0, "peers": peers, "clock_known": True}
    return StatusReply(**(values | changed))


def asked(monkeypatch, *replies):
    waiting = list(replies)
    monkeypatch.setattr(cli_chain, "_ask", lambda *_: waiting.pop(0))


def test_every_node_of_a_chain_is_asked_and_all_is_well(home, monkeypatch):
    asked(monkeypatch, reply(), reply(height=10))
    code, told = run("status", "--chain", "a")
    assert code == 0
    assert [(node["endpoint"], node["height"], node["troubles"]) for node in told["nodes"]] == [
        ("a:1", 9, []),
        ("a:2", 10, []),
    ]
    first, second = told["nodes"][0]["validators"]
    assert (first["last_vote_height"], first["clock_offset_ms"], second["clock_offset_ms"]) == (9, 0, None)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (reply(synced=False), "out of step"),
        (reply(index=-1, not_voting="the record is older\x1b[2J"), "does not vote: the record is older"),
        (reply(not_admitting="the disk has 3 bytes"), "the disk has 3 bytes"),
        (reply(clock_offset_ms=2_501), "its clock is 2501 ms behind"),
        (reply(clock_offset_ms=-2_501), "its clock is 2501 ms ahead of"),
        (reply(peers=[PeerStatus(member="ann")]), "no line to ann"),
        ("refused", "refused"),
    ],
)
def test_what_is_not_well_is_said_and_told_by_the_exit_code(home, monkeypatch, answer, said):
    asked(monkeypatch, reply(), answer)
    code, told = run("status", "--chain", "a")
    assert (code, said in told["nodes"][1]["troubles"][0]) == (1, True)
    asked(monkeypatch, reply(), answer)
    code, text = run("status", "--chain", "a", as_json=False)
    assert (code, said in text, "\x1b[2J" in text) == (1, True, False)


def test_a_clock_is_shown_with_its_sign(home, monkeypatch):
    peers = [PeerStatus(member="abe", connected=True, clock_known=True, clock_offset_ms=-42, round_trip_ms=7)]
    asked(monkeypatch, *[reply(clock_known=True, clock_offset_ms=3_000, peers=peers)] * 2)
    _, text = run("status", "--chain", "a", as_json=False)
    assert ("+3000 ms (median)" in text, "-42 ms" in text, "7 ms" in text) == (True, True, True)


@pytest.mark.parametrize("command", ["evidence", "status"])
def test_every_command_has_help_with_an_example(command):
    result = CliRunner().invoke(APP, ["chain", command, "--help"], terminal_width=200)
    shown = " ".join(result.stdout.replace("│", " ").split())
    assert (result.exit_code, f"Example: chiptrace chain {command}" in shown) == (0, True)
