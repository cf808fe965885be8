"""What a node does beside its chain while it runs."""

from types import SimpleNamespace

import pytest

from client.clock import now_ms
from node import certificates
from node.config import TlsConfig
from node.server import Node


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
