"""The trust file: what is written is read again, and anything else is refused with the file and the field."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import trust
from client.trust import ChainTrust, Identity, Trust
from ledger.errors import Malformed


def sample(home):
    chains = [
        ChainTrust(name, bytes([n]) * 32, ("127.0.0.1:1", "127.0.0.1:2"), home / "ca.pem", 1_000)
        for n, name in enumerate(("chipmaker", "assembler"))
    ]
    identities = [
        Identity("chipmaker", "ada", home / "ada" / "key", home / "ada.crt", home / "ada.key", "operator"),
        Identity("chipmaker", "aud", None, home / "aud.crt", home / "aud.key", "auditor"),
    ]
    return Trust(tuple(chains), tuple(identities))


def test_what_is_written_is_read_again(tmp_path):
    trust.write(tmp_path / "trust.json", sample(tmp_path))
    assert trust.read(tmp_path / "trust.json") == sample(tmp_path)
    assert str(tmp_path) not in (tmp_path / "trust.json").read_text()


def document(tmp_path):
    trust.write(tmp_path / "trust.json", sample(tmp_path))
    return json.loads((tmp_path / "trust.json").read_text())


def read(path, made):
    path.write_text(json.dumps(made))
    return trust.read(path)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(data=st.data())
def test_any_field_changed_is_read_or_refused_by_name(tmp_path_factory, data):
    home = tmp_path_factory.mktemp("trust")
    made = document(home)
    place = data.draw(st.sampled_from([made, *made["chains"], *made["identities"]]))
    field = data.draw(st.sampled_from([*place, "more"]))
    place[field] = data.draw(ANYTHING)
    try:
        found = read(home / "trust.json", made)
    except Malformed as error:
        assert "trust.json" in str(error)  # noqa: PT017
    else:
        assert all(len(chain.chain_id) == 32 and chain.heartbeat_ms > 0 for chain in found.chains)


@given(st.binary(max_size=64))
def test_garbage_is_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("trust") / "trust.json"
    path.write_bytes(data)
    with pytest.raises(Malformed, match=r"trust\.json"):
        trust.read(path)


@pytest.mark.parametrize("text", ["[" * 100_000, " " * 1_048_577, '{"version": 1}', '{"version": 2}', "[]"])
def test_hostile_files_are_refused(tmp_path, text):
    (tmp_path / "trust.json").write_text(text)
    with pytest.raises(Malformed, match=r"trust\.json"):
        trust.read(tmp_path / "trust.json")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "../../etc"),
        ("name", "a b"),
        ("name", "\x1b[2J"),
        ("name", "assembler"),
        ("chain_id", "00" * 31),
        ("chain_id", "0 " * 64),
        ("chain_id", "01" * 32),
        ("endpoints", []),
        ("endpoints", ["a:1", 7]),
        ("endpoints", ["a:1", "b:1", "a:1"]),
        ("endpoints", ["a"]),
        ("endpoints", ["unix:/tmp/socket"]),
        ("endpoints", ["a:1/b:2"]),
        ("name", "02" * 32),
        ("heartbeat_ms", 0),
        ("heartbeat_ms", True),
    ],
)
def test_each_rule_of_a_chain(tmp_path, field, value):
    made = document(tmp_path)
    made["chains"][0][field] = value
    with pytest.raises(Malformed):
        read(tmp_path / "trust.json", made)


def test_a_field_that_stands_twice_is_refused(tmp_path):
    """People read the first, and the last one would be believed."""
    text = json.dumps(document(tmp_path))
    twice = text.replace('"chain_id":', f'"chain_id": "{"dd" * 32}", "chain_id":', 1)
    (tmp_path / "trust.json").write_text(twice)
    with pytest.raises(Malformed, match="'chain_id' stands twice"):
        trust.read(tmp_path / "trust.json")


def test_choosing_names_what_there_is(tmp_path):
    known = sample(tmp_path)
    assert known.chain("assembler") is known.chains[1]
    assert known.chain("01" * 32) is known.chains[1]
    assert known.chain_by_id(bytes(32)) is known.chains[0]
    assert known.chain_by_id(b"") is None
    assert known.identity("chipmaker", role="auditor").member == "aud"
    with pytest.raises(Malformed, match="chipmaker, assembler"):
        known.chain("none")
    with pytest.raises(Malformed, match="chipmaker/ada"):
        known.identity("assembler")


def test_a_trust_file_that_is_none_is_refused_at_once(tmp_path):
    """A pipe would be waited for, or be empty when it is read again."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(Malformed, match="is a directory, a pipe or a device; name a file"):
            trust.read(path)
