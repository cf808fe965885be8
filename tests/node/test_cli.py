"""The command line of nodes: errors name what to do, nothing of value is overwritten, everything has help."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from node import cli, signer, testnet_layout
from node.cli import application
from node.signer import Signer
from proto.chiptrace.v1.consensus_pb2 import FINALIZE, NOTARIZE, JournalRecord, Vote

ROOT = Path(__file__).resolve().parents[2]


def chiptrace(*words, directory):
    """The command run in this process, which is quicker than a process of its own."""
    before = Path.cwd()
    os.chdir(directory)
    try:
        result = CliRunner(env={"COLUMNS": "200"}).invoke(application(words[0]), words)
    finally:
        os.chdir(before)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return testnet_layout.create(tmp_path_factory.mktemp("cli") / "net", None, ())


def test_help_lists_the_commands_of_nodes_and_of_clients(tmp_path):
    code, text = chiptrace("--help", directory=tmp_path)
    assert code == 0
    assert all(word in text for word in ("node", "relay", "testnet", "capture", "audit", "epcis"))


def test_interrupted_while_it_loads_it_ends_at_once_without_a_traceback():
    program = (
        "import importlib, os, signal, node.cli\n"
        "importlib.import_module = lambda name: os.kill(os.getpid(), signal.SIGINT)\n"
        "node.cli.main()"
    )
    command = [sys.executable, "-c", program, "audit"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, "", "")


def test_a_consortium_makes_its_authority_certificates_and_keys(tmp_path):
    assert chiptrace("node", "authority", "ca", "--name", "test", directory=tmp_path)[0] == 0
    words = ("node", "certificate", "tls/node.pem", "--authority", "ca", "--name", "n", "--host", "localhost")
    code, pin = chiptrace(*words, directory=tmp_path)
    assert (code, len(pin.strip())) == (0, 64)
    assert chiptrace(*words, directory=tmp_path) == (0, pin)  # renewed, for the same key
    code, key = chiptrace("node", "key", "keys", directory=tmp_path)
    assert (code, len(key.strip())) == (0, 64)
    for again in (("node", "key", "keys"), ("node", "authority", "ca", "--name", "x")):
        code, text = chiptrace(*again, directory=tmp_path)
        assert (code, "never overwritten" in text) == (1, True)


def test_check_tells_what_a_node_would_be_and_what_is_missing(network, tmp_path):
    node = network.nodes[0]
    code, text = chiptrace(
        "node", "check", "--config", str(network.config_file(node.name)), directory=tmp_path
    )
    assert code == 0
    assert f"validator of {node.member}" in text
    assert network.chains[0].chain_id.hex() in text
    assert "missing      -" in text
    (network.node_directory(node.name) / "node.pem").rename(tmp_path / "node.pem")
    code, text = chiptrace(
        "node", "check", "--config", str(network.config_file(node.name)), directory=tmp_path
    )
    assert (code, "node.pem" in text) == (1, True)
    command = [sys.executable, "-m", "node.cli", "node", "run", "--config", network.config_file(node.name)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, "issue the certificate" in ended.stderr) == (1, True)
    (tmp_path / "node.pem").rename(network.node_directory(node.name) / "node.pem")


@pytest.mark.parametrize("words", [("node", "run"), ("node", "check"), ("relay", "run")])
def test_a_configuration_that_is_not_there_is_named(words, tmp_path):
    code, text = chiptrace(*words, "--config", "nowhere.toml", directory=tmp_path)
    assert (code, "nowhere.toml" in text) == (1, True)


@pytest.mark.parametrize(
    "words",
    [
        ("key", "file/keys"),
        ("authority", "file/ca", "--name", "x"),
        ("authority", "ca", "--name", "x" * 65),
        ("certificate", "file/x.pem", "--authority", "ca", "--name", "x"),
        ("certificate", "x.pem", "--authority", "nowhere", "--name", "x"),
        ("certificate", "x.pem", "--authority", "given", "--name", ""),
        ("certificate", "x.pem", "--authority", "given", "--name", "x", "--host", "localhost:9000"),
        ("check", "--config", "file"),
        ("rotate-key", "--config", "file"),
        ("join-proof", "--config", "file", "-o", "proof"),
    ],
)
def test_mistakes_are_told_with_their_place_and_leave_nothing(words, tmp_path):
    (tmp_path / "file").touch()
    assert chiptrace("node", "authority", "given", "--name", "x", directory=tmp_path)[0] == 0
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    code, text = chiptrace("node", *words, "--json", directory=tmp_path)
    error = json.loads(text)["error"]
    assert (code, error["code"] in ("MALFORMED", "FILE")) == (1, True)
    assert error["message"]
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == before


def test_a_signing_state_that_cannot_be_told_is_not_one_that_must_not_vote(tmp_path):
    words = ("node", "sign-state", "show", "--config", "nowhere.toml")
    code, text = chiptrace(*words, directory=tmp_path)
    assert (code, "nowhere.toml" in text) == (2, True)


# ---- the key and what it has signed -------------------------------------------------------------------------


@pytest.fixture
def keeper(network, tmp_path):
    """A validator's configuration with keys of its own to spoil; (its file, its key directory)."""
    node = network.nodes[0]
    config = network.config_file(node.name)
    copy = tmp_path / "keys"
    shutil.copytree(config.parent / "keys", copy)
    own = config.with_name(f"{tmp_path.name}.toml")
    own.write_text(config.read_text().replace('key_dir = "keys"', f'key_dir = "{copy}"'))
    return own, copy


def signed(keys, *records):
    own = Signer(keys)
    own.append(records)
    own.close()


def test_the_signing_state_is_shown_with_the_votes_of_its_height(keeper, tmp_path):
    config, keys = keeper
    votes = [Vote(kind=kind, height=7, view=2, block_hash=b"h" * 32) for kind in (NOTARIZE, FINALIZE)]
    signed(keys, JournalRecord(height=7), *(JournalRecord(vote=vote) for vote in votes))
    words = ("node", "sign-state", "show", "--config", str(config))
    code, text = chiptrace(*words, "--json", directory=tmp_path)
    found = json.loads(text)
    assert (code, found["may_vote"], found["height"], found["view"]) == (0, True, 7, 2)
    assert [vote["kind"] for vote in found["votes"]] == ["NOTARIZE", "FINALIZE"]
    assert found["last_signed"] == found["votes"][1]
    assert found["bytes"] == (keys / "signing-record").stat().st_size
    code, text = chiptrace(*words, directory=tmp_path)
    assert (code, f"FINALIZE height 7 view 2 block {'68' * 32}" in text, "may vote     yes" in text) == (
        0,
        True,
        True,
    )


def test_a_key_without_its_record_is_named_with_its_remedy_by_check_and_sign_state(keeper, tmp_path):
    config, keys = keeper
    (keys / "signing-record").unlink()
    code, text = chiptrace("node", "sign-state", "show", "--config", str(config), directory=tmp_path)
    assert (code, "cannot be read" in text, "chiptrace node rotate-key" in text) == (1, True, True)
    code, text = chiptrace("node", "check", "--config", str(config), directory=tmp_path)
    assert (code, "must not vote" in text, "chiptrace node rotate-key" in text) == (0, True, True)


def test_a_new_key_comes_with_the_words_of_what_governance_has_to_do(keeper, network, tmp_path):
    config, keys = keeper
    node = network.nodes[0]
    before = signer.inspect(keys).key.hex()
    code, text = chiptrace("node", "rotate-key", "--config", str(config), "--json", directory=tmp_path)
    told = json.loads(text)
    assert (code, told["old"], told["key"] != before) == (0, before, True)
    assert signer.inspect(keys).key.hex() == told["key"]
    change = told["steps"][2]
    begin, end = change.index("[[change]]"), change.index("validators = [")
    (put,) = [part for part in tomllib.loads(change[begin:end])["change"] if part["kind"] == "put_key"]
    assert put == {"kind": "put_key", "key": told["key"], "member": node.member, "role": "validator"}
    assert before in change[change.index("revoke_key") :]
    assert "SIGHUP" in told["steps"][3]
    code, text = chiptrace(
        "node", "sign-state", "show", "--config", str(config), "--json", directory=tmp_path
    )
    assert (code, json.loads(text)["retired"]) == (0, [before])


def test_a_key_that_a_node_holds_is_not_replaced(keeper, tmp_path):
    config, keys = keeper
    held = Signer(keys)
    try:
        code, text = chiptrace("node", "rotate-key", "--config", str(config), directory=tmp_path)
        assert (code, "another process votes with the key" in text) == (1, True)
        assert signer.inspect(keys).key == held.key
    finally:
        held.close()


@pytest.mark.parametrize(
    ("word", "loaded", "spared"),
    [
        ("chain", "client.cli_chain", "node.server"),
        ("node", "node.cli_node", "client.cli_chain"),
        ("audit", "client.cli_audit", "client.cli_chain"),
        ("attest", "client.cli_parts", "node.server"),
    ],
)
def test_a_command_loads_no_more_than_it_needs(word, loaded, spared):
    program = f"import sys; from node.cli import application; application({word!r}); print(*sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    modules = ended.stdout.split()
    assert (loaded in modules, spared in modules) == (True, False)


def test_a_word_that_is_loaded_alone_has_all_its_commands():
    whole = get_command(application("")).commands
    for word in cli._ALONE:
        alone = get_command(application(word)).commands[word]
        assert shape(alone) == shape(whole[word]), word


def shape(command):
    """A command's options, and the commands under it."""
    options = sorted(name for parameter in command.params for name in (*parameter.opts, parameter.name))
    return options, {name: shape(below) for name, below in getattr(command, "commands", {}).items()}
