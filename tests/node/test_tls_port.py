"""Files that a port can be opened with, and what is said of those it cannot."""

import os
import shutil
import socket
import time

import grpc
import pytest

from client.clock import now_ms
from ledger.errors import Malformed
from node import certificates, tls_port
from node.config import PeerConfig, TlsConfig
from node.peer_line import pinned_certificate, pinned_channel


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    directory = tmp_path_factory.mktemp("authority")
    certificates.create_authority(directory, "test", now_ms())
    for name in "ab":
        certificates.issue(directory, directory / f"{name}.pem", name, ["127.0.0.1"], now_ms())
    (directory / "elsewhere").mkdir()
    certificates.create_authority(directory / "elsewhere", "elsewhere", now_ms())
    return directory


def a_tick_later():
    """A file system tells changes apart that are a tick of its clock apart."""
    time.sleep(0.02)


@pytest.fixture
def files(made, tmp_path):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    a_tick_later()
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
    "an authority and half of the next": (
        lambda tls: tls.ca.write_bytes(tls.ca.read_bytes() + tls.ca.read_bytes()[:300]),
        r"ca\.pem is not whole",
    ),
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
    assert served.renewed() is None
    assert served.current is before
    assert "the old ones go on" in caplog.text
    shutil.copytree(made, files.ca.parent, dirs_exist_ok=True)
    assert served.renewed() is not None


def from_another_time(tls, days):
    certificates.issue(tls.ca.parent, tls.certificate, "a", ["127.0.0.1"], now_ms() + days * tls_port.DAY_MS)


def from_an_authority_that_has_ended(tls):
    old = tls.ca.parent / "old"
    old.mkdir()
    certificates.create_authority(old, "old", now_ms() - (certificates.AUTHORITY_DAYS + 1) * tls_port.DAY_MS)
    certificates.issue(old, tls.certificate, "a", ["127.0.0.1"], now_ms())
    shutil.copy(old / "ca.pem", tls.ca)


UNTIMELY = {
    "a certificate that has ended": (lambda tls: from_another_time(tls, -366), r"a\.pem has ended on"),
    "a certificate that has not begun": (
        lambda tls: from_another_time(tls, 1),
        r"a\.pem is not valid before",
    ),
    "an authority that has ended": (
        from_an_authority_that_has_ended,
        r"the authority of .*a\.pem has ended on",
    ),
}


@pytest.mark.parametrize("case", UNTIMELY)
def test_what_does_not_count_today_is_not_taken_told_once_and_the_next_good_one_is(made, files, case, caplog):
    served = tls_port._Served(files)
    before = served.current
    spoil, said = UNTIMELY[case]
    spoil(files)
    tls_port.checked(files)  # it fits; it is only not of today
    for _ in range(3):  # handshakes
        assert served.renewed() is None
    assert served.current is before
    (record,) = caplog.records
    assert "the old ones go on" in record.message
    with pytest.raises(Malformed, match=f"{said}.*chiptrace node certificate") as refused:
        tls_port.usable(files, now_ms())
    assert record.cause == str(refused.value)
    shutil.copytree(made, files.ca.parent, dirs_exist_ok=True)
    assert served.renewed() is not None
    assert served.renewed() is None
    caplog.clear()
    for _ in range(2):
        a_tick_later()
        shutil.copy(files.ca.parent / "b.pem", files.certificate)
        assert served.renewed() is None
        shutil.copytree(made, files.ca.parent, dirs_exist_ok=True)
        assert served.renewed() is not None
    told = [record for record in caplog.records if "the old ones go on" in record.message]
    assert len(told) == 2  # the same fault once more, after a good one


def test_a_certificate_that_was_put_there_early_is_taken_when_its_time_begins(files, monkeypatch):
    served = tls_port._Served(files)
    from_another_time(files, 1)
    assert served.renewed() is None
    monkeypatch.setattr(tls_port, "now_ms", lambda: now_ms() + tls_port.DAY_MS)
    assert served.renewed() is not None


@pytest.mark.parametrize("which", ["ca", "certificate", "private_key"])
@pytest.mark.parametrize("way", ["in place", "by a rename", "with the old times"])
def test_a_change_of_any_of_the_three_files_is_noticed(files, which, way):
    served = tls_port._Served(files)
    assert served.renewed() is None
    path = getattr(files, which)
    old = path.stat()
    if way == "by a rename":
        fresh = path.with_suffix(".new")
        fresh.write_bytes(path.read_bytes())
        os.utime(fresh, ns=(old.st_atime_ns, old.st_mtime_ns))
        fresh.replace(path)
    else:
        path.write_bytes(path.read_bytes())
    if way == "with the old times":
        os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert served.renewed() is not None
    assert served.renewed() is None


def test_files_that_change_while_they_are_read_are_read_once_more(files, monkeypatch):
    checked = tls_port.checked

    def then_changed(tls):
        found = checked(tls)
        from_another_time(tls, 0)
        return found

    monkeypatch.setattr(tls_port, "checked", then_changed)
    served = tls_port._Served(files)
    monkeypatch.setattr(tls_port, "checked", checked)
    assert served.renewed() is not None


@pytest.mark.parametrize("case", SPOILED)
def test_a_line_says_which_of_its_own_files_is_wrong(files, run, case):
    spoil, said = SPOILED[case]
    spoil(files)
    peer = PeerConfig(member="b", key="00" * 32, address="127.0.0.1:1", pin="00" * 32)
    with pytest.raises(Malformed, match=f"{said}.*chiptrace node certificate"):
        run(pinned_certificate(peer, files))


def test_a_port_and_a_line_to_it_go_over_to_another_authority_without_a_restart(files, run):
    home = files.ca.parent
    old, new = files.ca.read_bytes(), (home / "elsewhere" / "ca.pem").read_bytes()
    for name in "xy":  # who knows only the old authority, and only the new one
        authority = home if name == "x" else home / "elsewhere"
        certificates.issue(authority, home / f"{name}.pem", name, (), now_ms())
        (home / f"{name}-ca.pem").write_bytes(old + new)
    caller = TlsConfig(ca=files.ca, certificate=home / "b.pem", private_key=home / "b-key.pem")

    async def let_in(address, tls):
        peer = PeerConfig(
            member="a", key="00" * 32, address=address, pin=certificates.pin(files.certificate.read_bytes())
        )
        channel = pinned_channel(peer, tls, await pinned_certificate(peer, tls))
        async with channel:
            try:
                await channel.unary_unary("/none/None")(b"", timeout=10)
            except grpc.aio.AioRpcError as error:
                return error.code() is grpc.StatusCode.UNIMPLEMENTED

    async def scenario():
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = f"127.0.0.1:{free.getsockname()[1]}"
        server = grpc.aio.server(options=tls_port.options(65_536))
        tls_port.bind(server, address, files)
        await server.start()
        told = []
        strangers = [
            TlsConfig(
                ca=home / f"{n}-ca.pem", certificate=home / f"{n}.pem", private_key=home / f"{n}-key.pem"
            )
            for n in "xy"
        ]

        async def now():
            told.append([await let_in(address, tls) for tls in (caller, *strangers)])

        await now()
        files.ca.write_bytes(old + new)
        await now()
        for name in "ab":
            certificates.issue(home / "elsewhere", home / f"{name}.pem", name, ["127.0.0.1"], now_ms())
        await now()
        files.ca.write_bytes(new)
        await now()
        await server.stop(0)
        return told

    assert run(scenario()) == [
        [True, True, False],
        [True, True, True],
        [True, True, True],
        [True, False, True],
    ]


@pytest.mark.parametrize(
    ("before_its_end_ms", "said"),
    [
        (30 * tls_port.DAY_MS + 60_000, ""),
        (30 * tls_port.DAY_MS - 60_000, "ends in 29 days"),
        (60_000, "ends in 0 days"),
        (-60_000, "UTC, and nobody speaks with a node that shows it"),
        (400 * tls_port.DAY_MS, "is not valid before"),
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
