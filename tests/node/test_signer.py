"""A key and its signing record: without the whole record the key must not vote."""

import pytest

from ledger import hashes
from ledger.errors import InvariantBroken, Malformed, StoreError
from node import signer
from node.signer import KEY_FILE, RECORD_FILE, Signer
from proto.chiptrace.v1.consensus_pb2 import JournalRecord


@pytest.fixture
def directory(tmp_path):
    signer.create(tmp_path / "keys")
    return tmp_path / "keys"


def test_a_new_key_signs_and_records(directory):
    fresh = Signer(directory)
    assert fresh.may_vote
    assert fresh.votes_at(1)
    assert hashes.verify_raw(fresh.key, b"data", fresh.sign(b"data"))
    fresh.append([JournalRecord(height=3)])
    fresh.close()
    again = Signer(directory)
    assert [record.height for record in again.take_records()] == [3]
    assert not again.take_records()
    again.close()


def test_a_database_behind_the_record_has_to_catch_up_first(directory):
    first = Signer(directory)
    first.append([JournalRecord(height=7)])
    first.close()
    again = Signer(directory)
    assert [again.votes_at(height) for height in (1, 6, 7, 8)] == [False, False, True, True]
    again.close()


def test_a_record_begun_anew_still_tells_how_far_the_key_has_voted(directory):
    first = Signer(directory)
    first.append([JournalRecord(height=7)])
    first.rotate_above(1_000_000, 8)  # not so large yet
    first.rotate_above(0, 8)
    first.close()
    again = Signer(directory)
    assert [record.height for record in again.take_records()] == [8]
    assert [again.votes_at(height) for height in (7, 8)] == [False, True]
    again.close()


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped"])
def test_without_its_whole_record_the_key_never_votes(directory, damage, request):
    record = directory / RECORD_FILE
    first = Signer(directory)
    first.append([JournalRecord(height=1)])
    first.append([JournalRecord(height=2)])
    first.close()
    data = bytearray(record.read_bytes())
    if damage == "missing":
        record.unlink()
    elif damage == "cut":
        record.write_bytes(data[:4])
    else:
        data[25] ^= 1
        record.write_bytes(data)
    again = Signer(directory)
    request.addfinalizer(again.close)
    assert not again.may_vote
    assert not again.votes_at(10**9)
    with pytest.raises(InvariantBroken):
        again.sign(b"data")
    with pytest.raises(InvariantBroken):
        again.append([JournalRecord(height=3)])
    assert again.key is not None  # it is still known whose it is


def test_no_key_at_all_is_an_observer(tmp_path):
    assert (Signer(tmp_path).key, Signer(tmp_path).may_vote) == (None, False)


def test_a_key_that_others_may_read_is_refused(directory):
    (directory / KEY_FILE).chmod(0o644)
    with pytest.raises(Malformed, match="chmod 600"):
        Signer(directory)


def test_a_key_is_never_overwritten(directory):
    with pytest.raises(FileExistsError):
        signer.create(directory)


def test_a_key_is_held_by_one_process_at_a_time(directory):
    first = Signer(directory)
    with pytest.raises(StoreError, match="another process votes with the key"):
        Signer(directory)
    first.close()
    Signer(directory).close()
