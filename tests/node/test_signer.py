"""A key and its signing record: without the whole record the key must not vote."""

import contextlib
import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import hashes
from ledger.errors import InvariantBroken, Malformed, StoreError
from node import journal_file, signer
from node.signer import KEY_FILE, RECORD_FILE, Signer
from proto.chiptrace.v1.consensus_pb2 import FINALIZE, NOTARIZE, JournalRecord, Vote


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


# ---- a record that is older than its store ---------------------------------------------------------------


def vote(height, view, kind=NOTARIZE):
    return JournalRecord(vote=Vote(kind=kind, height=height, view=view, block_hash=b"h" * 32))


def opened(directory, request):
    found = Signer(directory)
    request.addfinalizer(found.close)
    return found


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["vote", "follow", "rotate", "restart", "copy"]), max_size=25), st.booleans())
def test_only_a_record_that_is_shorter_than_the_store_saw_is_refused(tmp_path_factory, steps, put_back):
    """A node that votes, follows, restarts and rotates in any order is never refused; a copy is, exactly if the store
    was told of something that is missing in it."""
    directory = tmp_path_factory.mktemp("keys")
    signer.create(directory)
    record = directory / RECORD_FILE
    copy, ours, note, height = record.read_bytes(), Signer(directory), b"", 1
    written = copied = noted = 0  # appends: so far, when it was copied, when the store was last told
    for step in steps:
        if step == "copy":
            copy, copied = record.read_bytes(), written
        elif step == "vote":
            ours.append([JournalRecord(height=height), vote(height, 1)])
            written += 1
        elif step == "rotate":
            ours.rotate_above(0, height)
            written += 1
        elif step == "restart":
            ours.close()
            ours = Signer(directory)
            ours.compare(note)
            assert ours.may_vote
        if step in {"vote", "follow"}:
            note, height, noted = ours.note(), height + 1, written  # the height is decided and stored
    ours.close()
    if put_back:
        record.write_bytes(copy)
    again = Signer(directory)
    try:
        again.compare(note)
        assert again.may_vote == (not put_back or copied >= noted)
    finally:
        again.close()


def test_a_key_once_found_with_an_old_record_stays_refused_without_its_database(directory, request):
    first = Signer(directory)
    old = (directory / RECORD_FILE).read_bytes()
    first.append([vote(3, 1)])
    note = first.note()
    first.close()
    (directory / RECORD_FILE).write_bytes(old)
    again = Signer(directory)
    assert again.may_vote
    again.compare(note)
    assert not again.may_vote
    assert again.note() == b""  # the store keeps the note that knows more
    assert "older than the database" in again.trouble
    with pytest.raises(InvariantBroken):
        again.sign(b"data")
    again.close()
    last = opened(directory, request)
    last.compare(b"")  # the database was deleted
    assert not last.may_vote
    assert "older than the database" in signer.inspect(directory).trouble


def test_a_note_about_another_key_says_nothing(directory, request):
    ours = opened(directory, request)
    ours.compare(b"k" * 32 + (10**6).to_bytes(8, "big"))
    ours.compare(b"")
    assert ours.may_vote


def test_a_tear_below_what_the_store_saw_is_no_tear(directory, request):
    """The last append was acknowledged, and noted; then the disk spoilt its end."""
    first = Signer(directory)
    first.append([vote(3, 1)])
    note = first.note()
    first.close()
    record = directory / RECORD_FILE
    record.write_bytes(record.read_bytes()[:-1])
    again = opened(directory, request)
    assert again.may_vote
    again.compare(note)
    assert not again.may_vote


# ---- a new key -----------------------------------------------------------------------------------------------


def test_a_key_is_put_aside_with_all_that_is_known_of_it_and_a_new_one_made(directory, request):
    first = Signer(directory)
    first.append([vote(3, 1)])
    first.close()
    record = (directory / RECORD_FILE).read_bytes()
    seed = (directory / KEY_FILE).read_bytes()
    old, new = signer.retire_and_create(directory)
    assert (old, new != old) == (first.key, True)
    aside = directory / "retired" / old.hex()
    assert ((aside / KEY_FILE).read_bytes(), (aside / RECORD_FILE).read_bytes()) == (seed, record)
    ours = opened(directory, request)
    assert (ours.key, ours.may_vote, list(ours.take_records())) == (new, True, [])
    assert signer.inspect(directory).retired == [old.hex()]


def test_a_retired_key_never_votes_again_even_with_its_record(directory, request):
    old, _ = signer.retire_and_create(directory)
    aside = directory / "retired" / old.hex()
    for name in (KEY_FILE, RECORD_FILE):
        (aside / name).rename(directory / name)
    ours = opened(directory, request)
    assert (ours.key, ours.may_vote) == (old, False)
    assert "retired" in ours.trouble


@pytest.mark.parametrize("step", range(3))
def test_a_rotation_that_is_cut_off_leaves_no_key_that_votes_twice_and_can_be_done_again(
    directory, monkeypatch, step, request
):
    ours = Signer(directory)
    ours.append([vote(3, 1)])
    ours.close()
    moved = []
    real = type(directory).rename

    def rename(path, target):
        if len(moved) == step:
            raise KeyboardInterrupt
        moved.append(path)
        return real(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(type(directory), "rename", rename)
        with contextlib.suppress(KeyboardInterrupt):
            signer.retire_and_create(directory)
    cut = Signer(directory)
    assert not cut.may_vote or cut.key != ours.key
    cut.close()
    _, new = signer.retire_and_create(directory)
    last = opened(directory, request)
    assert (last.key, last.may_vote) == (new, True)
    kept = directory / "retired" / ours.key.hex()
    assert {KEY_FILE, RECORD_FILE} <= {item.name for item in kept.iterdir()}


def test_a_key_is_not_replaced_while_a_node_holds_it(directory, request):
    ours = opened(directory, request)
    before = (directory / KEY_FILE).read_bytes()
    with pytest.raises(StoreError, match="another process votes"):
        signer.retire_and_create(directory)
    assert (directory / KEY_FILE).read_bytes() == before
    assert ours.may_vote


def test_where_there_never_was_a_key_none_is_replaced(tmp_path):
    with pytest.raises(Malformed, match="chiptrace node key"):
        signer.retire_and_create(tmp_path)


# ---- what people see -------------------------------------------------------------------------------------------


def test_the_directory_tells_backups_to_skip_it(directory):
    assert (
        (directory / "CACHEDIR.TAG").read_bytes().startswith(b"Signature: 8a477f597d28d172789f06886806bc55\n")
    )


def test_the_signing_state_is_read_beside_a_running_node_and_changes_nothing(directory, request):
    ours = opened(directory, request)
    ours.append([JournalRecord(height=3), vote(3, 1)])
    ours.append([JournalRecord(height=4), vote(4, 1), vote(4, 1, FINALIZE)])
    before = {path: path.read_bytes() for path in directory.iterdir()}
    found = signer.inspect(directory)
    assert (found.key, found.trouble, found.height) == (ours.key, "", 4)
    assert [(v.height, v.view, v.kind) for v in found.votes] == [(4, 1, NOTARIZE), (4, 1, FINALIZE)]
    assert found.last_vote == found.votes[-1]
    assert (found.size, found.tail_bytes) == ((directory / RECORD_FILE).stat().st_size, 0)
    assert {path: path.read_bytes() for path in directory.iterdir()} == before


def test_the_last_vote_outlives_a_record_begun_anew(directory, request):
    ours = opened(directory, request)
    ours.append([JournalRecord(height=3), vote(3, 2)])
    position = signer.inspect(directory).position
    ours.rotate_above(0, 4)
    found = signer.inspect(directory)
    assert (found.last_vote.height, found.last_vote.view, found.height, found.votes) == (3, 2, 4, [])
    assert found.position > position


def test_a_torn_tail_is_shown_before_and_after_it_is_cut(directory, request, caplog):
    record = directory / RECORD_FILE
    record.write_bytes(record.read_bytes() + b"torn")
    assert signer.inspect(directory).tail_bytes == 4
    opened(directory, request)
    found = signer.inspect(directory)
    assert (found.tail_bytes, [torn.read_bytes() for torn in found.torn]) == (0, [b"torn"])
    assert "a torn end of the signing record was cut off" in caplog.text


def test_a_full_disk_stops_the_node_and_is_nothing_against_the_key(directory, request, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(journal_file, "write_durably", full)
        with pytest.raises(StoreError, match="make room"):
            Signer(directory)
    assert opened(directory, request).may_vote


def test_a_refusal_whose_words_cannot_be_read_is_one_all_the_same(directory):
    (directory / signer.REFUSED_FILE).write_bytes(b"\xff\xff")
    found = Signer(directory)
    assert not found.may_vote
    found.close()
    assert signer.inspect(directory).trouble
