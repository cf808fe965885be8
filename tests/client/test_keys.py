"""Key files: made once, for their owner only, and read strictly."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import keys
from client.passport import write_passport
from ledger import hashes
from ledger.errors import Malformed


def test_a_key_is_made_once_for_its_owner_alone(tmp_path):
    path = tmp_path / "deep" / "key"
    public = keys.create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert keys.public_key(path) == public == hashes.public_key(keys.read_seed(path))
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        keys.create(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o660, 0o602])
def test_a_key_open_to_others_is_refused(tmp_path, mode):
    keys.create(tmp_path / "key")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(Malformed, match="chmod 600"):
        keys.read_seed(tmp_path / "key")


@given(st.binary(max_size=400) | st.text(max_size=200).map(str.encode))
def test_no_other_file_passes_for_a_key(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("keys") / "key"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(Malformed, match="key"):
        keys.read_seed(path)


@pytest.mark.parametrize("seed", ["zz" * 32, "ab" * 31, "ab" * 33, "ab" * 32 + " more"])
def test_the_seed_is_64_hexadecimal_digits(tmp_path, seed):
    (tmp_path / "key").write_text(f"{keys.HEADER} {seed}\n")
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(Malformed):
        keys.read_seed(tmp_path / "key")


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("pipe", "none", "."):
        with pytest.raises(Malformed, match=name):
            keys.read_seed(tmp_path / name)


def test_a_new_file_is_on_the_disk_by_its_name_too(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("os.fsync", lambda handle: synced.append(os.readlink(f"/proc/self/fd/{handle}")))
    keys.create(tmp_path / "key")
    write_passport(tmp_path / "passport", b"x")
    names = [str(tmp_path / "key"), str(tmp_path), str(tmp_path / "passport"), str(tmp_path)]
    assert synced == names


def test_every_directory_that_is_made_is_on_the_disk_by_its_name(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(keys, "sync_directory", synced.append)
    keys.create(tmp_path / "one" / "two" / "key")
    assert synced == [tmp_path, tmp_path / "one", tmp_path / "one" / "two"]
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        keys.make_directory(tmp_path / "file")
