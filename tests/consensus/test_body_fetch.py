"""The one body that the open height waits for."""

from consensus.body_fetch import BodyFetch
from consensus.effects import EngineSettings
from proto.chiptrace.v1.consensus_pb2 import BlockReply
from tests.consensus import chain

KEYS = [chain.key(i) for i in range(5)]
HASH = bytes(31) + b"\1"
LATE_MS = 160


def made(index=0):
    return BodyFetch(KEYS[index], EngineSettings(block_request_ms=LATE_MS))


def test_nothing_is_asked_while_nothing_is_missing():
    fetch = made()
    assert fetch.request(None, [], KEYS, 0) is None
    assert fetch.next_ms() is None


def test_those_first_who_must_have_it_then_all_others_and_never_oneself():
    fetch = made()
    asked, now = [], 0
    for _ in range(8):
        peer, request = fetch.request(HASH, KEYS[2:4], KEYS, now)
        assert request.block_hash == HASH
        asked.append(peer)
        now = fetch.next_ms()
    assert set(asked[:2]) == set(KEYS[2:4])
    assert set(asked[:4]) == set(KEYS[1:])
    assert asked[4:] == asked[:4]


def test_not_all_who_lack_it_ask_the_same_one():
    first = {made(index).request(HASH, KEYS[2:], KEYS, 0)[0] for index in range(5)}
    assert len(first) > 1


def test_a_late_answer_moves_on_and_leaves_more_time_to_the_next():
    fetch, now, times = made(), 0, []
    for _ in range(7):
        assert fetch.request(HASH, [], KEYS, now)
        assert fetch.request(HASH, [], KEYS, fetch.next_ms() - 1) is None
        times.append(fetch.next_ms() - now)
        now = fetch.next_ms()
    assert times == [160, 320, 640, 1_280, 2_560, 2_560, 2_560]


def test_the_body_comes_back_once_from_the_one_who_was_asked():
    fetch = made()
    peer, _ = fetch.request(HASH, KEYS[1:2], [], 0)
    answer = BlockReply(blocks=[b"body"], block_hash=HASH)
    assert fetch.answered(KEYS[2], answer, 1) is None
    assert fetch.answered(peer, BlockReply(blocks=[b"body"], block_hash=bytes(32)), 1) is None
    assert fetch.answered(peer, answer, 1) == b"body"
    assert fetch.answered(peer, answer, 1) is None


def test_empty_answers_are_asked_of_the_next_at_once_and_after_a_round_with_a_growing_pause():
    fetch, now, gaps = made(), 0, []
    for _ in range(16):
        while (asked := fetch.request(HASH, [], KEYS, now)) is None:
            now = fetch.next_ms()
        assert fetch.answered(asked[0], BlockReply(block_hash=HASH), now) is None
        gaps.append(fetch.next_ms() - now)
    assert gaps[:3] == [0, 0, 0]
    assert gaps[3::4] == [10, 20, 40, 80]
    assert sorted(gaps) == gaps


def test_another_body_begins_anew():
    fetch = made()
    fetch.request(HASH, [], KEYS, 0)
    assert fetch.request(bytes(32), [], KEYS, 1) is not None
    assert fetch.next_ms() == 1 + LATE_MS
