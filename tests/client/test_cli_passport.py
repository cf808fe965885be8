"""The commands: an audit writes a passport, and who has it verifies it with no node, no network and no word of belief."""

import errno
import json
import os
import re
import shlex
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
import typer
from typer.testing import CliRunner

from client import cli_audit, cli_passport, trust
from client.passport import PASSPORT_BYTES_MAX, from_bytes, to_bytes
from client.session import ChainSession
from client.trust import ChainTrust, Trust
from proto.chiptrace.v1.ledger_pb2 import Attest, Operation
from proto.chiptrace.v1.passport_pb2 import Passport
from tests.bridge.two_chains import World, serial
from tests.client.direct import DirectStub, verified
from tests.client.test_audit import Forging
from tests.client.test_audit_mutated import lived

ROOT = Path(__file__).resolve().parents[2]
APP = typer.Typer()
cli_audit.register(APP)
cli_passport.register(APP)


def run(*words):
    result = CliRunner().invoke(APP, [str(word) for word in words])
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def told(*words, code=0):
    result = run(*words, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


class Place:
    def __init__(self, home, world, part):
        self.world, self.part, self.file = world, part, home / "part.passport"
        self.stubs, self.now_ms = {}, max(chain.info.time_ms for chain in world.chains.values())
        self.trust = home / "trust.json"
        write_trust(self.trust, world)

    @property
    def from_nodes(self):
        return ("audit", self.part, "--trust", self.trust, "--bundle", self.file)

    @property
    def offline(self):
        return ("passport", "verify", self.file, "--trust", self.trust)


def write_trust(path, world, *names):
    """Ids and names, and not one identity: nobody is asked."""
    chains = [chain for chain in world.chains.values() if not names or chain.name in names]
    known = [ChainTrust(c.name, c.chain_id, ("nowhere:1",), path.parent / "none.pem", 10_000) for c in chains]
    trust.write(path, Trust(tuple(known), ()))


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CHIPTRACE_TRUST", raising=False)
    found = Place(tmp_path, *lived())

    def session(chain):
        view = verified(chain, found.stubs.get(chain.name) or DirectStub(chain))
        return ChainSession(view.trust, None, view.connection, view)

    @contextmanager
    def every(_path, _only=None):
        yield {chain.chain_id: session(chain) for chain in found.world.chains.values()}

    monkeypatch.setattr(cli_audit, "open_all", every)
    for commands in (cli_audit, cli_passport):
        monkeypatch.setattr(commands, "now_ms", lambda: found.now_ms)
    return found


def same(report):
    return {name: report[name] for name in ("verdict", "findings", "subject", "subjects", "not_known")}


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_arguments, **_options):
        raise AssertionError("a socket was opened")

    for name in ("secure_channel", "insecure_channel"):
        monkeypatch.setattr(grpc, name, refuse)
    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)


def test_an_audit_writes_a_passport_that_says_the_same(place, no_network):
    online = told(*place.from_nodes)
    assert online["verdict"] == "verified"
    assert online["bundle"] == place.file.stat().st_size
    offline = told(*place.offline)
    assert same(offline) == same(online)
    assert "cannot know" in offline["not_known"]
    for head in offline["as_of"]:
        assert head["age_ms"] == place.now_ms - head["time_ms"]
    shown = run(*place.offline)
    assert shown.exit_code == 0
    assert "VERIFIED" in shown.stdout
    assert "cannot know" in shown.stdout
    assert len(re.findall(r"as of chain [ab] height \d+, [-0-9: ]+ UTC, \d+ \w+ old", shown.stdout)) == 2


def test_findings_end_with_one(place):
    claim = Attest(
        id="https://ada.example/2", subject=place.part, kind="recall", valid_from_ms=1, scope="cracks"
    )
    assert place.world["a"].operate("ada", Operation(attest=claim)).ok
    place.world.settle()
    online = told(*place.from_nodes, code=1)
    offline = told(*place.offline, code=1)
    assert same(offline) == same(online)
    assert [finding["code"] for finding in offline["findings"]] == ["RECALLED"]
    assert run(*place.offline).exit_code == 1


def test_what_is_not_verifiable_makes_no_passport(place):
    place.stubs["a"] = Forging(place.world["a"])
    assert told(*place.from_nodes, code=2)["bundle"] is None
    assert not place.file.exists()
    shown = run(*place.from_nodes)
    assert (shown.exit_code, "no passport was written" in shown.stdout) == (2, True)


def test_a_passport_is_never_written_over_anything(place):
    place.file.write_text("mine")
    assert told(*place.from_nodes, code=2)["error"]["code"] == "FILE"
    assert place.file.read_text() == "mine"


def full_disk(*_):
    raise OSError(errno.ENOSPC, "No space left on device", "part.passport")


@pytest.mark.parametrize(
    ("name", "fails", "code"),
    [
        ("write_passport", full_disk, "FILE"),
        ("to_bytes", lambda _: to_bytes(Passport(profile=bytes(PASSPORT_BYTES_MAX))), "OVERSIZE"),
        ("make", lambda *_: Passport(), "BAD_PROOF"),
        ("make", lambda *_: {}["nothing"], "INTERNAL"),
    ],
)
def test_what_was_found_is_told_where_no_passport_can_be_made(place, monkeypatch, name, fails, code):
    """An audit of an hour is not asked for again because a disk is full."""
    monkeypatch.setattr(cli_audit, name, fails)
    online = told(*place.from_nodes, code=2)
    assert (online["verdict"], online["bundle"], online["error"]["code"]) == ("verified", None, code)
    shown = run(*place.from_nodes)
    assert (shown.exit_code, "VERIFIED" in shown.stdout, code in shown.stderr) == (2, True, True)
    assert "wrote" not in shown.stdout
    assert not place.file.exists()


def test_a_folder_that_is_gone_at_the_end(place, monkeypatch):
    place.file = place.file.parent / "folder" / "part.passport"
    place.file.parent.mkdir()
    made = cli_audit.check_made
    monkeypatch.setattr(cli_audit, "check_made", lambda *a: (made(*a), place.file.parent.rmdir()))
    shown = run(*place.from_nodes)
    assert (shown.exit_code, "VERIFIED" in shown.stdout, "folder" in shown.stderr) == (2, True, True)


def test_a_folder_that_is_not_there_is_told_before_anybody_is_asked(place):
    place.file = place.file.parent / "folder" / "part.passport"
    error = told(*place.from_nodes, code=2)
    assert list(error) == ["error"]
    assert error["error"]["code"] == "FILE"
    assert "folder: there is no such folder" in error["error"]["message"]


def test_a_passport_is_of_a_part_wherever_it_is(place):
    assert "leave --chain out" in told(*place.from_nodes, "--chain", "a", code=2)["error"]["message"]
    assert not place.file.exists()


def test_which_part_it_must_be(place):
    told(*place.from_nodes)
    assert told(*place.offline, "--part", place.part)["verdict"] == "verified"
    report = told(*place.offline, "--part", serial(9000), code=2)
    assert (report["verdict"], report["problem_code"]) == ("not verifiable", "NOT_IN_PASSPORT")


def test_an_empty_word_is_no_question_left_out(place):
    """As a script gives it whose variable is not set: what was meant to be checked must not be passed over."""
    told(*place.from_nodes)
    assert told(*place.offline, "--part", "", code=2)["verdict"] == "not verifiable"
    assert "whole number" in told(*place.offline, "--max-age", "", code=2)["error"]["message"]


@pytest.mark.parametrize(("age", "code"), [("2h", 0), ("119m", 1), ("7199s", 1), ("1d", 0), ("100000s", 0)])
def test_a_greatest_age(place, age, code):
    told(*place.from_nodes)
    heads = told(*place.offline)["as_of"]
    place.now_ms += 7_200_000 - max(head["age_ms"] for head in heads)
    report = told(*place.offline, "--max-age", age, code=code)
    assert {finding["code"] for finding in report["findings"]} == ({"STALE_HEAD"} if code else set())
    assert told(*place.offline)["verdict"] == "verified"


@pytest.mark.parametrize("age", ["1", "h", "-1h", "1.5h", "1 h", "٣h", "9999999999s"])
def test_what_is_no_age(place, age):
    told(*place.from_nodes)
    assert "whole number" in told(*place.offline, f"--max-age={age}", code=2)["error"]["message"]


def test_only_who_asks_for_it_uses_the_makers_profile(place, tmp_path):
    """It is her own expectation, and may well hide what another auditor's would find."""
    profile = tmp_path / "profile.json"
    steps = [{"of": "gs1:4012345", "level": "ours", "steps": ["sampling"]}]
    profile.write_text(json.dumps({"expected": steps}))
    online = told(*place.from_nodes, "--profile", profile, code=1)
    assert {finding["code"] for finding in online["findings"]} == {"MISSING_STEP"}
    assert told(*place.offline)["findings"] == []
    assert "--its-profile" in run(*place.offline).stderr
    assert same(told(*place.offline, "--its-profile", code=1)) == same(online)
    assert same(told(*place.offline, "--profile", profile, code=1)) == same(online)
    both = told(*place.offline, "--its-profile", "--profile", profile, code=2)
    assert "against one" in both["error"]["message"]
    assert json.loads(told("passport", "show", place.file)["profile"])["expected"] == steps
    place.file.unlink()
    told(*place.from_nodes)
    assert "made without" in told(*place.offline, "--its-profile", code=2)["error"]["message"]


@pytest.mark.parametrize("profile", [b"{", b"[" * 50_000, b'{"speed_kmh": "9"}', b"\xff"])
def test_a_garbled_profile_of_the_maker(place, profile):
    told(*place.from_nodes)
    passport = from_bytes(place.file.read_bytes())
    passport.profile = profile
    place.file.write_bytes(to_bytes(passport))
    assert told(*place.offline, "--its-profile", code=2)["error"]["code"] == "MALFORMED"
    assert told("passport", "show", place.file)["asked"] == passport.asked


def test_what_a_passport_says_is_shown_and_not_checked(place, no_network):
    told(*place.from_nodes)
    said = told("passport", "show", place.file)
    assert (said["checked"], said["asked"], len(said["chains"])) == (False, place.part, 2)
    assert said["bytes"] == place.file.stat().st_size
    heads = {head["chain_id"]: (head["height"], head["time_ms"]) for head in told(*place.offline)["as_of"]}
    assert {
        chain["chain_id"]: (chain["height"], chain["time_ms"]) for chain in said["chains"]
    }.keys() == heads.keys()
    for chain in said["chains"]:
        assert (chain["height"], chain["time_ms"]) == heads[chain["chain_id"]]
    shown = run("passport", "show", place.file)
    assert "nothing of it was checked" in shown.stdout


def test_what_is_no_header_is_told_as_what_is_wrong_with_the_passport(place):
    told(*place.from_nodes)
    passport = from_bytes(place.file.read_bytes())
    passport.chains[0].headers[-1].header = b"\xff"
    place.file.write_bytes(to_bytes(passport))
    shown = told("passport", "show", place.file, code=2)["error"]["message"]
    for message in (shown, told(*place.offline, code=2)["problem"]):
        assert message.startswith("the passport cannot be read: ")
        assert message.endswith("ask for it again")


def test_another_verifier_believes_her_own_trust_file(place, tmp_path):
    told(*place.from_nodes)
    write_trust(tmp_path / "other.json", World("c"))
    other = ("passport", "verify", place.file, "--trust", tmp_path / "other.json")
    assert told(*other, code=2)["problem_code"] == "WRONG_CHAIN"
    write_trust(tmp_path / "half.json", place.world, "b")
    half = ("passport", "verify", place.file, "--trust", tmp_path / "half.json")
    assert [finding["code"] for finding in told(*half, code=1)["findings"]] == ["CHAIN_NOT_TRUSTED"]


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"chiptrace passport 1\n", b"chiptrace passport 2\n", b"\x1f\x8b", b"{}"]
)
@pytest.mark.parametrize("command", ["verify", "show"])
def test_garbage_is_told_in_words(place, command, data):
    place.file.write_bytes(data)
    words = ("passport", command, place.file) + (("--trust", place.trust) if command == "verify" else ())
    assert told(*words, code=2)["error"]["code"] == "MALFORMED"
    assert run(*words).exit_code == 2


def test_a_file_that_is_not_there(place, tmp_path):
    for file in (tmp_path / "none", tmp_path):
        assert told("passport", "verify", file, "--trust", place.trust, code=2)["error"]["code"] == "FILE"


@pytest.mark.parametrize("command", ["verify", "show"])
def test_only_a_file_is_read(place, tmp_path, command):
    """A pipe into which nobody writes would be waited for, without a word."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    trusted = ("--trust", place.trust) if command == "verify" else ()
    for odd in (tmp_path / "pipe", tmp_path / "link", "/dev/zero", tmp_path):
        error = told("passport", command, odd, *trusted, code=2)["error"]
        assert error["code"] == "FILE"
        assert f"{odd}: it is a folder, a pipe or a device" in error["message"]


def test_a_link_to_a_file_is_read(place, tmp_path):
    told(*place.from_nodes)
    (tmp_path / "link").symlink_to(place.file)
    place.file = tmp_path / "link"
    assert told(*place.offline)["verdict"] == "verified"


def test_a_whole_program_verifies_it_and_opens_no_socket(place):
    """As anybody runs it: any socket of this process, or a channel to anywhere, would end it."""
    told(*place.from_nodes)
    program = f"""
import sys
def watch(event, _):
    if event.startswith("socket."):
        raise SystemExit("a socket was opened")
sys.addaudithook(watch)
import grpc
def refuse(*_, **__):
    raise SystemExit("a channel was opened")
grpc.secure_channel = grpc.insecure_channel = refuse
sys.argv = ["chiptrace", *{[*map(str, place.offline), "--json"]!r}]
from node.cli import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["verdict"] == "verified"


@pytest.mark.parametrize("command", ["verify", "show"])
def test_every_command_has_help_with_an_example(command):
    result = CliRunner().invoke(APP, ["passport", command, "--help"], terminal_width=200)
    assert result.exit_code == 0
    assert f"Example: chiptrace passport {command}" in " ".join(result.stdout.replace("│", " ").split())
    assert "--json" in result.stdout


def test_what_is_no_passport_is_named(tmp_path):
    (tmp_path / "x.passport").write_text("{}")
    write_trust(tmp_path / "trust.json", World())
    for words in (
        ("show", tmp_path / "x.passport"),
        ("verify", tmp_path / "x.passport", "--trust", tmp_path / "trust.json"),
    ):
        message = told("passport", *words, code=2)["error"]["message"]
        assert f"{tmp_path / 'x.passport'}: this is no passport" in message
        assert "audit --bundle" in message


@pytest.mark.parametrize("name", ["-x.passport", "a b.passport", "it's"])
def test_the_command_that_is_told_can_be_typed_as_it_stands(name):
    said = cli_audit._told_of_bundle(Path(name), 1)
    command = shlex.split(said.split("`")[1])
    assert command[:3] == ["chiptrace", "passport", "verify"]
    assert Path(command[3]) == Path(name)
    assert not command[3].startswith("-")
