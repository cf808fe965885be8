"""Files that a port can be opened with, and what is said of those it cannot."""

import shutil
import socket

import grpc
import pytest

from client.clock import now_ms
from ledger.errors import Malformed
from node import certificates, tls_port
from node.config import TlsConfig


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    directory = tmp_path_factory.mktemp("authority")
    certificates.create_authority(directory, "test", now_ms())
    for name in "ab":
        certificates.issue(directory, directory / f"{name}.pem", name, ["127.0.0.1"], now_ms())
    (directory / "elsewhere").mkdir()
    certificates.create_authority(directory / "elsewhere", "elsewhere", now_ms())
    return directory


@pytest.fixture
def files(made, tmp_path):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return TlsConfig(
        ca=tmp_path / "ca.pem", certificate=tmp_path / "a.pem", private_key=tmp_path / "a-key.pem"
    )


def cut(path):
    path.write_bytes(path.read_bytes()[:200])


SPOILED = {
    "a missing certificate": (lambda tls: tls.certificate.unlink(), r"a\.pem cannot be read"),
    "half a certificate": (lambda tls: cut(tls.certificate), r"a\.pem is not a certificate in PEM"),
    "a missing key": (lambda tls: tls.private_key.unlink(), r"a-key\.pem cannot be read"),
    "half a key": (lambda tls: cut(tls.private_key), r"a-key\.pem is no private key"),
    "half an authority": (lambda tls: cut(tls.ca), r"ca\.pem is not a certificate"),
    "another's certificate": (
        lambda tls: shutil.copy(tls.ca.parent / "b.pem", tls.certificate),
        r"a\.pem is not of the key .*a-key\.pem",
    ),
    "another authority": (
        lambda tls: shutil.copy(tls.ca.parent / "elsewhere" / "ca.pem", tls.ca),
        r"a\.pem is not from the authority .*ca\.pem",
    ),
}


@pytest.mark.parametrize("case", SPOILED)
def test_files_that_do_not_fit_are_named_with_what_to_do(files, case):
    tls_port.checked(files)
    spoil, said = SPOILED[case]
    spoil(files)
    with pytest.raises(Malformed, match=f"{said}.*chiptrace node certificate"):
        tls_port.checked(files)


def test_an_authority_may_be_one_of_several_and_stand_behind_the_certificate(files):
    own, other = files.ca.read_bytes(), (files.ca.parent / "elsewhere" / "ca.pem").read_bytes()
    files.ca.write_bytes(other + own)
    tls_port.checked(files)
    files.ca.write_bytes(other)
    files.certificate.write_bytes(files.certificate.read_bytes() + own)
    tls_port.checked(files)


@pytest.mark.parametrize("case", SPOILED)
def test_a_renewed_certificate_that_does_not_fit_is_not_taken_and_told(
    made, files, case, caplog, monkeypatch
):
    served = tls_port._Served(files)
    before = served.current
    SPOILED[case][0](files)
    if files.certificate.exists():
        files.certificate.touch()
    assert served.renewed() is None
    assert served.current is before
    assert "the old one is shown" in caplog.text
    shutil.copytree(made, files.ca.parent, dirs_exist_ok=True)
    files.certificate.touch()
    assert served.renewed() is not None


@pytest.mark.parametrize(
    ("before_its_end_ms", "said"),
    [
        (30 * tls_port.DAY_MS + 60_000, ""),
        (30 * tls_port.DAY_MS - 60_000, "ends in 29 days"),
        (60_000, "ends in 0 days"),
        (-60_000, "has ended, and nobody speaks with this node"),
    ],
)
def test_a_certificate_that_ends_is_told_of(files, before_its_end_ms, said):
    end_ms = certificates.expires_ms(certificates.read_certificate(files.certificate))
    text = tls_port.ending(files, end_ms - before_its_end_ms)
    assert (said in text) if said else text == ""


@pytest.mark.parametrize(
    ("address", "said"),
    [("127.0.0.1:{taken}", "in use"), ("192.0.2.1:21000", "annot assign"), ("[::1]:{taken}", "listen")],
)
def test_an_address_that_cannot_be_had_is_said_with_the_systems_reason(files, run, address, said):
    async def scenario(listen):
        server = grpc.aio.server(options=tls_port.options(65_536))
        with pytest.raises(OSError, match=said) as refused:
            tls_port.bind(server, listen, files)
        assert f"cannot listen on {listen}: " in str(refused.value)
        assert "GRPC_VERBOSITY" not in str(refused.value)

    host = "::1" if "[" in address else "127.0.0.1"
    family = socket.AF_INET6 if "[" in address else socket.AF_INET
    try:
        taken = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with taken:
        run(scenario(address.format(taken=taken.getsockname()[1])))


def test_what_is_shown_is_what_was_checked_though_the_file_changes_meanwhile(files, monkeypatch):
    certificate, read = files.certificate.read_bytes(), certificates.read_pem

    def then_changed(path):
        data = read(path)
        if path == files.certificate:
            path.write_bytes(b"half of the next")
        return data

    monkeypatch.setattr(certificates, "read_pem", then_changed)
    assert tls_port.checked(files).certificate == certificate
