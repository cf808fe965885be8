"""What a node does beside its chain while it runs."""

from types import SimpleNamespace

import pytest

from client.clock import now_ms
from ledger.errors import Malformed
from node import certificates, config, server, testnet_layout
from node.config import TlsConfig
from node.server import Node
from node.testnet_plan import one_chain


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda _: None, ""),
        (lambda tls: tls.certificate.unlink(), "cannot be read"),
        (lambda tls: tls.certificate.write_text("-----BEGIN CERTIFICATE-----"), "not a certificate in PEM"),
    ],
)
def test_a_certificate_that_is_looked_at_while_it_is_replaced_ends_no_node(tmp_path, caplog, spoil, said):
    certificates.create_authority(tmp_path, "test", now_ms())
    tls = TlsConfig(
        ca=tmp_path / "ca.pem", certificate=tmp_path / "a.pem", private_key=tmp_path / "a-key.pem"
    )
    certificates.issue(tmp_path, tls.certificate, "a", ["127.0.0.1"], now_ms())
    spoil(tls)
    Node._warn_of_expiry(SimpleNamespace(_config=SimpleNamespace(tls=tls)))
    assert [said in line.cause for line in caplog.records] == [True] * bool(said)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.unlink(), "cannot be read: No such file"),
        (lambda path: path.write_bytes(b"nonsense"), "cannot be parsed"),
        (lambda path: path.write_bytes(b""), "state version 0"),
        (lambda path: path.write_bytes(path.read_bytes()[:-40]), "cannot be parsed"),
    ],
)
def test_a_genesis_that_is_none_is_named_before_anything_is_opened(tmp_path, spoil, said):
    network = testnet_layout.create(tmp_path / "net", None, (), one_chain(1))
    path = network.genesis_file("chipmaker")
    assert config.read_genesis(path) == path.read_bytes()
    spoil(path)
    with pytest.raises(Malformed, match=f"genesis .*genesis.*{said}.*the file that all nodes"):
        config.read_genesis(path)
    with pytest.raises(Malformed, match="the file that all nodes"):
        server.describe(network.config_file(network.nodes[0].name))


@pytest.mark.parametrize(
    ("days", "said"), [(0, "ends 2"), (-366, "has ended on"), (1, "is not valid before")]
)
def test_what_a_node_would_be_says_whether_its_certificate_counts_today(tmp_path, days, said):
    network = testnet_layout.create(tmp_path / "net", None, (), one_chain(1))
    path = network.config_file(network.nodes[0].name)
    tls = config.read(path, config.NodeConfig).tls
    certificates.issue(tls.ca.parent, tls.certificate, "a", ["127.0.0.1"], now_ms() + days * 86_400_000)
    assert f"{tls.certificate}, {said}" in dict(server.describe(path))["certificate"]


@pytest.mark.parametrize("which", ["data_dir", "key_dir"])
def test_a_directory_that_is_a_file_is_told_with_what_it_is_for(tmp_path, which, run, caplog):
    network = testnet_layout.create(tmp_path / "net", None, (), one_chain(1))
    path = network.config_file(network.nodes[0].name)
    (path.parent / "file").touch()
    old = f'{which} = "{"data" if which == "data_dir" else "keys"}"'
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, f'{which} = "file"'))
    assert run(server._run(path)) == server.EXIT_FAILED
    (line,) = [line for line in caplog.records if line.message == "the node cannot start"]
    assert "file" in line.cause
    assert which in line.cause
