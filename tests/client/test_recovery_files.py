"""What members pass from hand to hand is checked when it is read, and says which file is wrong."""

import contextlib
import json
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from client import cli_recover, keys, recovery_files
from client.cli_recover import recover
from ledger import codec
from ledger.errors import Malformed
from ledger.hashes import Purpose
from ledger.limits import RECOVERY_BYTES_MAX
from ledger.recovery import Standing, decode
from proto.chiptrace.v1.ledger_pb2 import Recovery, RecoveryDocument
from tests.ledger.chain_fixture import Chain
from tests.ledger.recovered import approval, document_for

CHAIN = Chain(("ada", "bob", "cyd", "dee"))
DATA = document_for(CHAIN)


@pytest.fixture
def document(tmp_path):
    (tmp_path / "document").write_bytes(DATA)
    return tmp_path / "document"


def command(*words):
    ended = CliRunner().invoke(recover, [*map(str, words), "--json"])
    return ended.exit_code, json.loads(ended.output.splitlines()[-1])


def test_signed_offline_and_shown(document, tmp_path):
    key = keys.create(tmp_path / "admin.key")
    code, told = command("sign", document, "--key", tmp_path / "admin.key", "-o", tmp_path / "by.ada")
    assert (code, told["approvals"]) == (0, [key.hex()])
    assert command("show", document, tmp_path / "by.ada") == (0, told)
    assert told["document"] == decode_name()
    code, told = command("show", document)
    assert (code, told["approvals"], told["reason"]) == (0, [], "two machine rooms burnt down")
    assert [item["member"] for item in told["validators"]] == ["ada", "bob", "cyd", "dee"]


def decode_name():
    return decode(codec.encode(Recovery(document=DATA))).hash.hex()


def test_nothing_is_written_over(document, tmp_path):
    keys.create(tmp_path / "admin.key")
    (tmp_path / "by.ada").write_bytes(b"something else")
    code, told = command("sign", document, "--key", tmp_path / "admin.key", "-o", tmp_path / "by.ada")
    assert (code, told["error"]["code"]) == (2, "FILE")
    assert (tmp_path / "by.ada").read_bytes() == b"something else"


def test_fetch_writes_all_its_files_or_none(document, tmp_path, monkeypatch):
    approvals = [approval(DATA, member, CHAIN.chain_id) for member in CHAIN.members]
    opened = decode(codec.encode(Recovery(document=document.read_bytes(), approvals=approvals)))
    session = SimpleNamespace(connection=None, trust=SimpleNamespace(chain_id=CHAIN.chain_id))
    monkeypatch.setattr(cli_recover, "open_chain", lambda *_: contextlib.nullcontext(session))
    monkeypatch.setattr(cli_recover, "_chosen", lambda *_: opened)
    out = tmp_path / "fetched"
    in_the_way = tmp_path / "fetched.approval-2"
    in_the_way.touch()
    assert command("fetch", "--chain", "a", "-o", out)[0] == 2
    assert sorted(path.name for path in tmp_path.glob("fetched*")) == [in_the_way.name]
    in_the_way.unlink()
    assert command("fetch", "--chain", "a", "-o", out)[0] == 0
    assert out.read_bytes() == document.read_bytes()
    assert len(list(tmp_path.glob("fetched.approval-*"))) == len(approvals)


@pytest.mark.parametrize("wrong", ["other", "proposal", "flipped", "none", "large", "twice"])
def test_an_approval_that_is_none_is_named(document, tmp_path, wrong):
    good = approval(DATA, "ada", CHAIN.chain_id)
    by = tmp_path / "by.ada"
    by.write_bytes(codec.encode(good))
    if wrong == "other":
        by.write_bytes(codec.encode(approval(document_for(CHAIN, reason="other"), "ada", CHAIN.chain_id)))
    elif wrong == "proposal":
        by.write_bytes(codec.encode(approval(DATA, "ada", CHAIN.chain_id, Purpose.PROPOSAL)))
    elif wrong == "flipped":
        good.signature = good.signature[:-1] + bytes([good.signature[-1] ^ 1])
        by.write_bytes(codec.encode(good))
    elif wrong == "none":
        by.write_bytes(b"not an approval")
    elif wrong == "large":
        by.write_bytes(bytes(10_000))
    files = [by, by] if wrong == "twice" else [by]
    code, told = command("show", document, *files)
    assert (code, told["error"]["code"]) == (2, "MALFORMED")
    assert "by.ada" in told["error"]["message"] or wrong == "twice"


def test_a_document_that_is_none_is_named(tmp_path):
    path = tmp_path / "document"
    for data in (
        b"",
        b"no document",
        DATA + b"\x00",
        bytes(RECOVERY_BYTES_MAX + 1),
        document_for(CHAIN, reason=""),
    ):
        path.write_bytes(data)
        with pytest.raises(Malformed, match=str(path)):
            recovery_files.read(path)
    code, told = command("show", tmp_path / "absent")
    assert (code, told["error"]["code"]) == (2, "FILE")


@settings(max_examples=100, deadline=None)
@given(place=st.integers(0, len(DATA) - 1), flip=st.integers(1, 255))
def test_a_flipped_byte_makes_another_document_or_none(tmp_path_factory, place, flip):
    flipped = bytearray(DATA)
    flipped[place] ^= flip
    path = tmp_path_factory.mktemp("flipped") / "document"
    path.write_bytes(flipped)
    try:
        found = recovery_files.read(path)
    except Malformed:
        return
    assert found.opened.hash.hex() != decode_name()


def test_two_documents_are_never_the_same():
    info = CHAIN.info
    here = Standing(info.chain_id, info.height, info.time_ms, info.block_hash, info.app_hash)
    validators = RecoveryDocument.FromString(DATA).validators
    first, second = (recovery_files.draw_up(here, validators, "why", 5) for _ in range(2))
    assert first != second
    assert RecoveryDocument.FromString(first).signed_ms == 5
