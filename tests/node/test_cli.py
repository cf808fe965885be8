"""The command line of nodes: errors name what to do, nothing of value is overwritten, everything has help."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from node import testnet_layout
from node.cli import application

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
