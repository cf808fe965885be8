"""Configuration: every key explained, nothing unknown, nothing of the wrong kind."""

import dataclasses
import os

import pytest

from ledger.errors import Malformed
from node import config, testnet_layout
from node.config import NodeConfig, RelayConfig


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "sched_getaffinity", lambda _: {0, 1})  # eight nodes on two cores
        return testnet_layout.create(tmp_path_factory.mktemp("layout") / "net", None, ())


@pytest.fixture
def file(network, tmp_path):
    """A copy of a node's configuration, to be spoilt."""
    text = network.config_file(network.nodes[0].name).read_text()
    copy = tmp_path / "node.toml"
    copy.write_text(text)
    return copy


def test_what_is_written_is_read_back(network):
    for name, kind in ((network.nodes[0].name, NodeConfig), ("relay", RelayConfig)):
        path = network.config_file(name)
        read = config.read(path, kind)
        config.write(path, read)
        assert config.read(path, kind) == read


def test_every_key_has_its_explanation_above_it(network):
    lines = network.config_file(network.nodes[0].name).read_text().splitlines()
    for number, line in enumerate(lines):
        if " = " in line and not line.startswith("#"):
            assert lines[number - 1].startswith("# "), line
            assert len(lines[number - 1]) > 12, line


def test_one_port_is_not_for_both(network, tmp_path):
    text = network.config_file(network.nodes[0].name).read_text()
    node = network.nodes[0]
    path = tmp_path / "node.toml"
    path.write_text(text.replace(node.validators, node.clients))
    with pytest.raises(Malformed, match=f"both listen on {node.clients}; give each a port of its own"):
        config.read(path, NodeConfig)


def test_paths_stand_relative_to_the_file_so_that_the_directory_may_move(network):
    assert str(network.directory) not in network.config_file(network.nodes[0].name).read_text()


@pytest.mark.parametrize(
    "old, new, complaint",
    [
        ('name = "', 'nmae = "', "unknown key 'nmae'"),
        ("[clients]", "[clints]", "unknown key 'clints'"),
        ("calls_max = 512", 'calls_max = "512"', "'calls_max' must be a whole number"),
        ("calls_max = 512", "calls_max = true", "'calls_max' must be a whole number"),
        ("calls_max = 512", "calls_max = 0", "'calls_max' must be above zero"),
        ("every_heights = 10000", "every_heights = -1", "'every_heights' must not be below zero"),
        ("checkpoint_height = 0", "checkpoint_height = 1", "checkpoint_hash"),
        (
            "base_timeout_ms = 1000",
            "base_timeout_ms = 60001",
            "base_timeout_ms of [consensus] is more than 60000 ms",
        ),
        ("grace_ms = 200", "grace_ms = 60001", "grace_ms of [consensus]"),
        ('log_level = "info"', 'log_level = "loud"', "log_level must be"),
        ("genesis = ", "# genesis = ", "'genesis' is missing"),
        ("verifiers = 0", "verifiers = 2", "verifiers must be 0 or 1"),
        ("verifiers = 0", "verifiers = true", "'verifiers' must be a whole number"),
        ("verifiers = 0", "verifiers = -1", "'verifiers' must not be below zero"),
        ('listen = "127.0.0.1:', 'listen = "127.0.0.1', "listen of [clients]: '127.0.0.1"),
        ('address = "127.0.0.1:', 'address = "::1:', "address of peer"),
        ('genesis = "', 'genesis = "\\u0000', "top level: 'genesis' must be 4096 characters at most"),
        ('data_dir = "', 'data_dir = "\\u202e', "'data_dir' must be 4096 characters at most, all of them pr"),
        ('member = "', f'member = "{"m" * 4_097}', "[peers]: 'member' must be 4096 characters at most"),
        ('key_dir = "keys"', 'key_dir = "data/keys"', "key_dir lies in data_dir"),
        ("calls_max = 512", f"calls_max = 1{'0' * 5_000}", "is not TOML"),
        ("calls_max = 512", f"calls_max = {'[' * 100_000}", "is not TOML"),
        (
            "streams_per_connection_max = 256",
            f"streams_per_connection_max = {2**31}",
            "streams_per_connection_max of [clients] is more than 65536",
        ),
        ('pin = "', 'pin = "zz', "pin of peer"),
        ("[tls]", "[[tls]]", "must be a section"),
        ("[tls]", "[tls", "is not TOML"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_key(file, old, new, complaint):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(Malformed) as error:
        config.read(file, NodeConfig)
    assert complaint in str(error.value)
    assert str(file) in str(error.value)


def test_what_may_be_left_out_is_explained_all_the_same(file):
    file.write_text(file.read_text().replace("verifiers = 0", "verifiers = 1"))
    told = config.read(file, NodeConfig)
    assert told.verifiers == 1
    config.write(file, dataclasses.replace(told, verifiers=None))
    assert config.read(file, NodeConfig).verifiers is None
    explained, line = file.read_text().split("# verifiers", 1)
    assert "verify signatures" in explained.splitlines()[-1]
    assert "\nverifiers" not in explained + line


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(Malformed, match="nowhere"):
        config.read(tmp_path / "nowhere.toml", NodeConfig)


@pytest.mark.parametrize(
    "address",
    [
        *("localhost", ":80", "host:", "host:0", "host:65536", "host:8o", "a b:80", "http://a:80"),
        *("::1:80", ":::80", "[]:80", "[:80", "[::1:80", "a]:80", "[[::1]]:80"),
        *("host:１２３４", "host:+5", "host:" + "9" * 5_000),
    ],
)
def test_addresses_that_are_none(address):
    with pytest.raises(Malformed):
        config.split_address(address)


def test_addresses():
    assert config.split_address("a.b:1") == ("a.b", 1)
    assert config.split_address("[::1]:65535") == ("::1", 65_535)
    assert config.split_address("[fe80::1%eth0]:1") == ("fe80::1%eth0", 1)
