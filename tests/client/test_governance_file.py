"""Change files: what they say is what is signed; whatever is wrong is told by file, change and field."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client import governance_file
from client.governance_file import plain_change, read, section
from ledger.errors import Malformed
from ledger.limits import CHANGES_PER_PROPOSAL_MAX
from proto.chiptrace.v1.ledger_pb2 import (
    Change,
    PutGrant,
    PutKey,
    PutMember,
    RevokeGrant,
    RevokeKey,
    Role,
    SetParameters,
    SetValidators,
    Trigger,
    Validator,
)
from tests.ledger.chain_fixture import make_parameters

KEY = "ab" * 32
KEY_CHANGE = f'[[change]]\nkind = "put_key"\nkey = "{KEY}"\nmember = "ada"\nrole = "validator"\n'

keys = st.binary(min_size=1, max_size=32)
names = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20)
numbers = st.integers(0, 2**64 - 1)
validators = st.lists(st.builds(Validator, key=keys, member=names), min_size=1, max_size=5)
changes = st.one_of(
    st.builds(
        PutMember,
        id=names,
        name=names,
        identifiers=st.lists(names, max_size=3),
        admin_keys=st.lists(keys, max_size=3),
    ).map(lambda item: Change(put_member=item)),
    st.builds(
        PutKey,
        key=keys,
        member=names,
        role=st.sampled_from([role for role in Role.values() if role]),
        valid_from_ms=numbers,
        valid_until_ms=numbers,
    ).map(lambda item: Change(put_key=item)),
    st.builds(RevokeKey, key=keys, compromised_since_ms=numbers).map(lambda item: Change(revoke_key=item)),
    st.builds(PutGrant, prefix=names, holder=names, home_chain=st.binary(max_size=32)).map(
        lambda item: Change(put_grant=item)
    ),
    st.builds(RevokeGrant, prefix=names).map(lambda item: Change(revoke_grant=item)),
    st.builds(SetValidators, validators=validators).map(lambda item: Change(set_validators=item)),
    st.booleans().map(
        lambda adoption: Change(set_parameters=SetParameters(parameters=make_parameters(adoption=adoption)))
    ),
)


@settings(max_examples=150, deadline=None)
@given(chosen=st.lists(changes, min_size=1, max_size=4))
def test_what_is_written_is_read_again_as_toml_and_as_json(tmp_path_factory, chosen):
    home = tmp_path_factory.mktemp("changes")
    (home / "a.toml").write_text("\n".join(map(section, chosen)), encoding="utf-8")
    (home / "a.json").write_text(json.dumps({"change": list(map(plain_change, chosen))}))
    assert read(home / "a.toml") == chosen
    assert read(home / "a.json") == chosen


def test_times_may_be_written_as_times(tmp_path):
    (tmp_path / "a.toml").write_text(KEY_CHANGE + "valid_until_ms = 2026-11-22T10:00:00Z\n")
    (change,) = read(tmp_path / "a.toml")
    assert change.put_key.valid_until_ms == 1_795_341_600_000
    (tmp_path / "a.toml").write_text(KEY_CHANGE + "valid_until_ms = 2026-11-22T10:00:00\n")
    with pytest.raises(Malformed, match="a time with its zone"):
        read(tmp_path / "a.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"holds \[\[change\]\] sections and nothing else"),
        ("x = 1", "nothing else"),
        (KEY_CHANGE.replace("[[change]]", "x = 1\n[[change]]"), "nothing else"),
        ("change = []", "1 to 1000"),
        ("change = 3", "1 to 1000"),
        ("change = [3]", "change 1 must be a table"),
        ("[[change]]\n", "change 1: kind must be one of put_member"),
        ('[[change]]\nkind = "drop_everything"', "kind must be one of"),
        ("[[change]]\nkind = 7", "kind must be one of"),
        (KEY_CHANGE.replace(KEY, "AB"), "change 1 .put_key.: 'key' must be bytes in lower-case"),
        (KEY_CHANGE.replace(KEY, "abc"), "'key' must be bytes"),
        (KEY_CHANGE.replace(KEY, "ab ab"), "'key' must be bytes"),
        (KEY_CHANGE.replace(f'"{KEY}"', "7"), "'key' must be bytes"),
        (KEY_CHANGE.replace('role = "validator"', ""), "'role' is missing"),
        (KEY_CHANGE.replace("validator", "king"), "'role' must be one of operator, device"),
        (KEY_CHANGE.replace("validator", "role_unspecified"), "'role' must be one of operator, device"),
        (KEY_CHANGE.replace('"validator"', "3"), "'role' must be one of"),
        (KEY_CHANGE.replace('"ada"', "3"), "'member' must be a text"),
        (KEY_CHANGE + "valid_from_ms = -1", "must be a whole number from 0"),
        (KEY_CHANGE + "valid_from_ms = true", "must be a whole number from 0"),
        (KEY_CHANGE + "valid_from_ms = 1.0", "must be a whole number from 0"),
        (KEY_CHANGE + "valid_from_ms = 18446744073709551616", "must be a whole number from 0"),
        (KEY_CHANGE + "colour = 1", "unknown field 'colour'; known are: key, member, role"),
        (KEY_CHANGE + KEY_CHANGE + "colour = 1", "change 2 .put_key.: unknown field"),
        ('[[change]]\nkind = "set_validators"\nvalidators = 3', "'validators' must be a list"),
        ('[[change]]\nkind = "set_validators"\nvalidators = [3]', "'validators' 1 must be a table"),
        (
            '[[change]]\nkind = "set_validators"\nvalidators = [{member = "ada"}]',
            "'validators' 1: 'key' is missing",
        ),
        ('[[change]]\nkind = "set_parameters"\nparameters = 1', "'parameters' must be a table"),
        ('[[change]]\nkind = "set_parameters"\nparameters = {adoption = 1}', "must be true or false"),
        (
            '[[change]]\nkind = "set_parameters"\nparameters = {adoption = true}',
            "'governance_threshold' is missing",
        ),
        ("[[change", "cannot be read"),
        ("a" * 1_048_577, "is larger than"),
        ("x = " + "[" * 5_000, "cannot be read"),
    ],
)
def test_what_is_wrong_is_told_by_file_change_and_field(text, said, tmp_path):
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(Malformed, match=said) as told:
        read(tmp_path / "a.toml")
    assert str(told.value).startswith(str(tmp_path / "a.toml"))


def test_not_text_not_there_and_too_many(tmp_path):
    (tmp_path / "a.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(Malformed, match="cannot be read"):
        read(tmp_path / "a.toml")
    with pytest.raises(OSError, match="No such file"):
        read(tmp_path / "none.toml")
    many = {"change": [{"kind": "revoke_grant", "prefix": "x"}] * (CHANGES_PER_PROPOSAL_MAX + 1)}
    (tmp_path / "a.json").write_text(json.dumps(many))
    with pytest.raises(Malformed, match="1 to 1000"):
        read(tmp_path / "a.json")
    assert governance_file.plain_change(Change()) == {"kind": "unknown"}


def test_a_policy_as_people_write_it(tmp_path):
    path = tmp_path / "change.toml"
    page = (Path(__file__).resolve().parents[2] / "docs" / "rights.md").read_text()
    sections = page.split("## Policies")[1].split("- It is checked")[0]
    path.write_text("\n".join(line[4:] for line in sections.splitlines() if line.startswith("    ")))
    put, ended = read(path)
    assert put.put_policy.trigger == Trigger.SHIPPING_OUTSIDE
    assert (put.put_policy.attestation, ended.revoke_policy.id) == ("export_licence", "export-eu")
    path.write_text(section(put) + section(ended))
    assert read(path) == [put, ended]
