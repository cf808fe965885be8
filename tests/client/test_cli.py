"""The commands as people and scripts see them: help with an example, one JSON object, codes, and no traceback ever."""

import io
import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from client import cli_audit, cli_crossing, cli_epcis, cli_parts, cli_recall, cli_rights, console, keys, trust
from client.session import ChainSession
from client.submit import Recorded
from client.trust import ChainTrust, Identity, Trust
from ledger.errors import Refused
from proto.chiptrace.v1.ledger_pb2 import Reason
from tests.bridge.two_chains import World
from tests.client.direct import DirectStub, verified
from tests.client.test_audit import Forging

APP = typer.Typer()
for _commands in (cli_audit, cli_recall, cli_parts, cli_crossing, cli_rights, cli_epcis):
    _commands.register(APP)

PART = "urn:epc:id:sgtin:9521234.000001.7"
ON = ("--chain", "a")
AS = (*ON, "--as", "ada")
COMMANDS = {
    ("audit",): (PART, *ON),
    ("recall", "reach"): (PART, *ON),
    ("part", "show"): (PART, *ON),
    ("part", "export"): (PART, *ON),
    ("capture",): ("DOCUMENT", *AS),
    ("ship",): (PART, "--to", "abe", *AS),
    ("receive",): (PART, *AS),
    ("return-offer",): (PART, *AS),
    ("export-part",): (PART, "--to", "b-1", "--receiver", "bob", *AS),
    ("return-part",): (PART, *AS),
    ("materialise",): (PART, "--from", "b", *AS),
    ("follow-part",): (PART, "--from", "b", *AS),
    ("attest",): (PART, "--kind", "certificate", "--id", "https://ada.example/1", *AS),
    ("resume",): AS,
    ("delegate",): ("gs1:4012345", "--to", "abe", "--serials", "3", *AS),
    ("revoke-delegation",): ("gs1:4012345", "--to", "abe", *AS),
    ("delegation",): ("gs1:4012345", "--to", "abe", *ON),
    ("epcis", "check"): ("DOCUMENT",),
    ("epcis", "hash"): ("DOCUMENT",),
    ("epcis", "convert"): ("DOCUMENT",),
}
ONLINE = [command for command in COMMANDS if command[0] != "epcis"]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CHIPTRACE_TRUST", raising=False)
    for name in ("DOCUMENT.jsonld",):
        (tmp_path / name).write_text(
            json.dumps(
                {
                    "@context": ["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"],
                    "type": "EPCISDocument",
                    "schemaVersion": "2.0",
                    "creationDate": "2026-01-01T00:00:00Z",
                    "epcisBody": {
                        "eventList": [
                            {
                                "type": "ObjectEvent",
                                "eventTime": "2026-01-01T00:00:00Z",
                                "eventTimeZoneOffset": "+00:00",
                                "epcList": [PART],
                                "action": "OBSERVE",
                                "bizStep": "inspecting",
                            }
                        ]
                    },
                }
            )
        )
    return tmp_path


def write_trust(home, *, endpoint="127.0.0.1:1"):
    keys.create(home / "key")
    chain = ChainTrust("a", bytes(32), (endpoint,), home / "ca.pem", 1_000)
    identity = Identity("a", "ada", home / "key", home / "crt", home / "tls", "operator")
    trust.write(home / "trust.json", Trust((chain,), (identity,)))
    for name in ("ca.pem", "crt", "tls"):
        (home / name).write_text("garbage")
    return home / "trust.json"


def run(command, *arguments, file=None, as_json=True):
    given = ["DOCUMENT.jsonld" if word == "DOCUMENT" else word for word in arguments]
    words = [*command, *given, *(("--trust", str(file)) if file else ()), *(("--json",) if as_json else ())]
    result = CliRunner().invoke(APP, words)
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def problem(result, code=None, exit_code=2):
    """The error of a command that was asked for JSON: one object on one line, and nothing else."""
    assert result.exit_code == exit_code, result.output
    told = json.loads(result.stdout)["error"]
    assert result.stdout.count("\n") == 1
    assert told["message"]
    assert code is None or told["code"] == code, told
    return told["message"]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(command):
    result = CliRunner().invoke(APP, [*command, "--help"], terminal_width=200)
    assert result.exit_code == 0
    assert "Example: chiptrace " + " ".join(command) in " ".join(result.stdout.replace("│", " ").split())
    assert "--json" in result.stdout


@pytest.mark.parametrize("command", ONLINE, ids=" ".join)
def test_a_missing_trust_file(command, home):
    assert "chiptrace testnet up" in problem(run(command, *COMMANDS[command]), "MALFORMED")
    assert "none.json" in problem(run(command, *COMMANDS[command], file=home / "none.json"))


@pytest.mark.parametrize("text", [b"", b"\xff\xfe", b"[]", b"{", b"[" * 50_000, b'{"version": 1}'])
@pytest.mark.parametrize("command", [("audit",), ("ship",)], ids=" ".join)
def test_a_garbage_trust_file(command, text, home):
    (home / "bad.json").write_bytes(text)
    assert "bad.json" in problem(run(command, *COMMANDS[command], file=home / "bad.json"), "MALFORMED")


@pytest.mark.parametrize("command", [command for command in ONLINE if command != ("resume",)], ids=" ".join)
def test_a_node_that_cannot_be_reached(command, home, monkeypatch):
    monkeypatch.setattr("client.submit.WAIT_SECONDS", 0.0)
    result = run(command, *COMMANDS[command], file=write_trust(home))
    assert result.exit_code == 2
    told = json.loads(result.stdout)
    if command == ("audit",):
        assert told["verdict"] == "not verifiable"
        assert told["problem"]
    elif command == ("recall", "reach"):
        assert told["problem_code"]
        assert not told["complete"]
    elif command == ("capture",):
        assert told["error"]["message"]
    else:
        assert problem(result)


@pytest.mark.parametrize("command", ONLINE, ids=" ".join)
def test_an_unknown_chain_or_member(command, home):
    file = write_trust(home)
    words = ["nowhere" if word == "a" else word for word in COMMANDS[command]]
    assert "it has: a" in problem(run(command, *words, file=file))
    if "--as" in COMMANDS[command]:
        words = ["nobody" if word == "ada" else word for word in COMMANDS[command]]
        assert "a/ada" in problem(run(command, *words, file=file))


@pytest.mark.parametrize(
    "name", ["", "urn:epc:id:sgtin:1.2", "\x1b[2J", "\udcff", "a" * 10_000, "https://id.gs1.org/01/1"]
)
@pytest.mark.parametrize("command", [c for c in ONLINE if COMMANDS[c][0] == PART], ids=" ".join)
def test_a_bad_identifier(command, name, home):
    result = run(command, name, *COMMANDS[command][1:], file=write_trust(home))
    assert result.exit_code == 2
    told = json.loads(result.stdout)
    assert (told.get("error") or {"message": told.get("problem")})["message"]
    shown = run(command, name, *COMMANDS[command][1:], file=home / "trust.json", as_json=False)
    assert shown.exit_code == 2
    assert "\x1b[2J" not in shown.output


@pytest.mark.parametrize("command", [("epcis", "check"), ("epcis", "convert"), ("capture",)], ids=" ".join)
def test_a_document_that_cannot_be_read(command, home):
    (home / "bad.jsonld").write_bytes(b"\xff{")
    for name in ("none.jsonld", ".", "bad.jsonld"):
        words = [name if word == "DOCUMENT" else word for word in COMMANDS[command]]
        result = run(command, *words)
        assert result.exit_code in (1, 2)
        assert json.loads(result.stdout)


def test_a_path_that_cannot_be_written(home):
    result = run(("epcis", "convert"), "DOCUMENT", "--out", str(home / "no" / "out.jsonld"))
    assert "name a path" in problem(result, "FILE")


def test_a_key_that_others_may_read(home):
    file = write_trust(home)
    (home / "key").chmod(0o644)
    assert "chmod 600" in problem(run(("ship",), *COMMANDS["ship",], file=file), "MALFORMED")


def test_a_node_to_ask_is_written_as_chain_and_endpoint(home):
    file = write_trust(home)
    for choice in ("127.0.0.1:1", "a=", "nowhere=127.0.0.1:1"):
        assert problem(run(("audit",), PART, *ON, "--node", choice, file=file), "MALFORMED")


@pytest.mark.parametrize(
    ("error", "code", "exit_code"),
    [
        (KeyboardInterrupt(), "INTERRUPTED", 130),
        (RuntimeError("\x1b[2J"), "INTERNAL", 2),
        (OSError(28, "no space"), "FILE", 2),
    ],
)
def test_whatever_happens_is_told_in_words(error, code, exit_code, home, monkeypatch):
    def broken(*_arguments, **_options):
        raise error

    monkeypatch.setattr("client.cli_audit.open_all", broken)
    assert problem(run(("part", "show"), PART, *ON), code, exit_code)
    monkeypatch.setattr(console, "ERR", console.Console(file=(shown := io.StringIO()), width=200))
    result = run(("part", "show"), PART, *ON, as_json=False)
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert code in shown.getvalue()
    assert "\x1b[2J" not in shown.getvalue()
    assert (home / "chiptrace-error.txt").exists() == (code == "INTERNAL")


def test_errors_go_to_the_error_output(home):
    result = run(("part", "show"), PART, *ON, as_json=False)
    assert (result.exit_code, result.stdout) == (2, "")
    words = " ".join(result.stderr.split())
    assert words.startswith("error MALFORMED trust file")
    assert "`chiptrace testnet up` writes one" in words


# ---- with chains behind them ---------------------------------------------------------------------------------------


@pytest.fixture
def chains(home, monkeypatch):
    """The commands see two bridged chains; `stubs` by name may lie."""
    world, stubs = World("a", "b"), {}
    part = world.commission("a", "ada")
    assert world.send("a", part, "bob").ok
    world.relay()
    assert world.accept("b", part, "bob").ok
    world.relay()
    world.settle()
    for commands in (cli_audit, cli_recall):
        monkeypatch.setattr(commands, "now_ms", lambda: 0)
    known = [ChainTrust(c.name, c.chain_id, ("n:1",), home / "ca", 1_000) for c in world.chains.values()]
    identities = [Identity(c.name, "ada", None, home / "crt", home / "tls", "auditor") for c in known]
    trust.write(home / "trust.json", Trust(tuple(known), tuple(identities)))

    def session(chain):
        view = verified(chain, stubs.get(chain.name) or DirectStub(chain))
        return ChainSession(view.trust, None, view.connection, view)

    @contextmanager
    def every(_path, _only=None):
        yield {chain.chain_id: session(chain) for chain in world.chains.values()}

    for commands in (cli_audit, cli_recall):
        monkeypatch.setattr(commands, "open_all", every)
    return world, stubs, part, home / "trust.json"


def test_an_audit_ends_with_its_verdict(chains):
    world, stubs, part, file = chains
    for name in ("a", "b"):
        result = run(("audit",), part, "--chain", name, file=file)
        assert (result.exit_code, json.loads(result.stdout)["verdict"]) == (0, "verified")
    answer = json.loads(run(("audit",), part, file=file).stdout)
    assert (answer["verdict"], answer["subject"]["chain"]) == ("verified", "b")
    result = run(("audit",), "urn:epc:id:sgtin:9521234.000001.7", "--chain", "a", file=file)
    assert (result.exit_code, json.loads(result.stdout)["findings"][0]["code"]) == (1, "UNKNOWN_PART")
    stubs["a"] = Forging(world["a"])
    result = run(("audit",), part, "--chain", "b", file=file)
    assert (result.exit_code, json.loads(result.stdout)["verdict"]) == (2, "not verifiable")


def test_a_reach_names_who_is_to_be_told(chains, home):
    _, _, part, file = chains
    result = run(("recall", "reach"), part, "--csv", str(home / "reach.csv"), file=file)
    told = json.loads(result.stdout)
    assert (result.exit_code, told["complete"], told["counts"]) == (0, True, {"DEPARTED": 1, "LIVE": 1})
    assert [(row["chain"], row["member"], row["certain"]) for row in told["holders"]] == [("b", "bob", 1)]
    assert len((home / "reach.csv").read_text().splitlines()) == 3
    shown = run(("recall", "reach"), part, "--chain", "a", file=file, as_json=False)
    assert "COMPLETE" in shown.stdout
    assert "whom to tell" in shown.stdout
    assert problem(run(("recall", "reach"), part, "--since", "yesterday", file=file), "MALFORMED")
    both = ("--since", "2026-01-02T00:00:00Z", "--until", "2026-01-01T00:00:00Z")
    assert "before --since" in problem(run(("recall", "reach"), part, *both, file=file), "MALFORMED")
    nothing = run(("recall", "reach"), "urn:epc:id:sgtin:9521234.000001.7", "--chain", "a", file=file)
    assert (nothing.exit_code, json.loads(nothing.stdout)["problem_code"]) == (2, "UNKNOWN_PART")


def test_a_part_is_shown_and_exported(chains):
    _, _, part, file = chains
    told = json.loads(run(("part", "show"), part, "--chain", "b", file=file).stdout)
    assert (told["status"], told["holder"], told["stale"]) == ("LIVE", "bob", False)
    assert [row["kind"] for row in told["history"]] == ["ARRIVED", "EVENT"]
    told = json.loads(run(("part", "export"), part, "--chain", "b", file=file).stdout)
    assert told["events"] == 1
    assert problem(
        run(("part", "show"), "urn:epc:id:sgtin:9521234.000001.7", "--chain", "b", file=file), "UNKNOWN_PART"
    )


def test_what_was_resumed_and_what_was_done_before_is_told_in_words(monkeypatch):
    first = Recorded(b"\x01" * 32, 7, 0, Reason.REASON_UNSPECIFIED)
    outcomes = [
        (Path("one"), first),
        (Path("two"), replace(first, finding=Reason.REPEATED, repeated=True)),
        (Path("three"), Refused("the part is gone", Reason.NOT_LIVE)),
    ]

    @contextmanager
    def open_chain(*_):
        yield SimpleNamespace(submitter=lambda: SimpleNamespace(resume=lambda: outcomes))

    monkeypatch.setattr(cli_parts, "open_chain", open_chain)
    result = run(("resume",), *AS, as_json=False)
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert "final one: height 7, 0101010101010101" in lines
    assert any(
        line.startswith("REPEATED final before now: two: height 7") and "nothing new" in line
        for line in lines
    )
    assert "refused three: NOT_LIVE the part is gone" in lines
    assert "3 transactions were waiting" in lines
    told = json.loads(run(("resume",), *AS).stdout)["resumed"]
    assert [(row["file"], row["ok"]) for row in told] == [("one", True), ("two", True), ("three", False)]
