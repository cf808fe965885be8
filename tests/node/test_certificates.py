"""Certificates: the pin is of the key, so a renewed certificate passes; keys are readable by their owner only."""

import ssl
import stat

import pytest

from client.clock import now_ms
from ledger.errors import Malformed
from node import certificates


@pytest.fixture
def authority(tmp_path):
    certificates.create_authority(tmp_path, "test", now_ms())
    return tmp_path


def test_a_renewed_certificate_keeps_the_pin_and_another_key_has_another(authority):
    first = certificates.issue(authority, authority / "node.pem", "node", ("localhost",), now_ms())
    before = (authority / "node.pem").read_bytes()
    assert certificates.issue(authority, authority / "node.pem", "node", ("localhost",), now_ms()) == first
    assert (authority / "node.pem").read_bytes() != before
    assert certificates.issue(authority, authority / "other.pem", "node", ("localhost",), now_ms()) != first


def test_the_pin_is_the_same_of_pem_and_der(authority):
    pin = certificates.issue(authority, authority / "node.pem", "node", ("localhost",), now_ms())
    pem = (authority / "node.pem").read_text()
    assert certificates.pin(pem.encode()) == certificates.pin(ssl.PEM_cert_to_DER_cert(pem)) == pin


@pytest.mark.parametrize(
    "garbage", [b"", b"x", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_what_is_no_certificate_has_no_pin(garbage):
    with pytest.raises(Malformed):
        certificates.pin(garbage)


def test_private_keys_are_readable_by_their_owner_only(authority):
    certificates.issue(authority, authority / "client.pem", "client", (), now_ms())
    for name in ("ca-key.pem", "client-key.pem"):
        assert stat.S_IMODE((authority / name).stat().st_mode) == 0o600


def test_a_year_from_now(authority):
    certificates.issue(authority, authority / "node.pem", "node", ("127.0.0.1",), now_ms())
    left = certificates.expires_ms(certificates.read_certificate(authority / "node.pem")) - now_ms()
    assert 364 * 86_400_000 < left <= 365 * 86_400_000


@pytest.mark.parametrize("name", ["Zoë", "名", "a b", "...", "ß" * 32])
def test_whoever_only_connects_may_have_any_name(authority, name):
    certificates.issue(authority, authority / "client.pem", name, (), now_ms())
    assert certificates.names(authority / "client.pem")[0].isascii()


def test_missing_and_broken_files_are_named(tmp_path):
    with pytest.raises(Malformed, match=r"ca-key\.pem"):
        certificates.issue(tmp_path, tmp_path / "node.pem", "node", (), now_ms())
    (tmp_path / "bad.pem").write_text("nothing")
    with pytest.raises(Malformed, match=r"bad\.pem"):
        certificates.read_certificate(tmp_path / "bad.pem")
