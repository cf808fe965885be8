"""Runs of heights: what is asked of whom, and what is kept of the answers."""

import itertools

import pytest

from consensus.catchup import FETCHED_BYTES_MAX, RUNS_AHEAD_MAX, Catchup, Need
from consensus.effects import EngineSettings
from consensus.messages import HEIGHTS_PER_REQUEST_MAX
from consensus.patience import PEERS_MAX, WAIT_TIMES, Patience
from proto.chiptrace.v1.consensus_pb2 import BlockReply
from tests.consensus import chain
from tests.consensus.lone import FINALIZE

KEYS = [chain.key(i) for i in range(8)]
LATE_MS = 160


def made(**settings):
    return Catchup(KEYS[0], EngineSettings(block_request_ms=LATE_MS, **settings), Patience(LATE_MS))


def need(first, target, validators=KEYS[:4]):
    return Need(first, target, validators)


def reply(first, count=1, data=b"block", start=None):
    finalizations = [
        chain.certificate(FINALIZE, range(3), 4, height, 1, bytes(32))
        for height in range(first, first + count)
    ]
    return BlockReply(
        blocks=[data] * count,
        earlier=finalizations[:-1],
        finalization=finalizations[-1] if finalizations else None,
        from_height=first if start is None else start,
    )


def runs(asked):
    return {peer: (request.from_height, request.to_height) for peer, request in asked}


def test_nothing_is_asked_while_nothing_is_proven_to_be_ahead():
    catchup = made()
    catchup.shown(KEYS[1], 2**64 - 1)
    assert catchup.requests(need(1, 0), 0) == []
    assert catchup.next_ms(need(1, 0), 0) is None


def test_runs_follow_each_other_over_the_peers_and_never_two_to_one():
    catchup = made()
    for key in KEYS[1:4]:
        catchup.shown(key, 1_000)
    asked = catchup.requests(need(1, 1_000), 0)
    assert sorted(runs(asked).values()) == [(1, 64), (65, 128), (129, 192)]
    assert {peer for peer, _ in asked} == set(KEYS[1:4])
    assert catchup.requests(need(1, 1_000), 1) == []
    first = next(peer for peer, request in asked if request.from_height == 1)
    catchup.answered(first, reply(1, 64), need(1, 1_000), 5)
    assert runs(catchup.requests(need(1, 1_000), 5)) == {first: (193, 256)}


def test_so_many_heights_are_fetched_ahead_and_no_more():
    catchup = made(heights_per_request_max=2)
    catchup.shown(KEYS[1], 1_000)
    wanted = need(7, 1_000)
    for turn in range(RUNS_AHEAD_MAX):
        [(peer, request)] = catchup.requests(wanted, turn)
        assert (request.from_height, request.to_height) == (7 + 2 * turn, 8 + 2 * turn)
        catchup.answered(peer, reply(request.from_height, 2), wanted, turn)
    assert catchup.requests(wanted, 9) == []
    assert runs(catchup.requests(need(9, 1_000), 9)) == {KEYS[1]: (15, 16)}


def test_the_settings_cannot_ask_for_more_than_an_answer_may_hold():
    catchup = made(heights_per_request_max=10_000)
    catchup.shown(KEYS[1], 10_000)
    [(_, request)] = catchup.requests(need(1, 10_000), 0)
    assert request.to_height == HEIGHTS_PER_REQUEST_MAX


def test_a_run_ends_at_the_target_and_before_what_is_at_hand():
    catchup = made()
    catchup.shown(KEYS[1], 70)
    catchup.shown(KEYS[2], 70)
    asked = runs(catchup.requests(need(1, 70), 0))
    assert sorted(asked.values()) == [(1, 64), (65, 70)]
    [lowest] = [peer for peer, run in asked.items() if run[0] == 1]
    catchup.answered(lowest, reply(1, 10), need(1, 70), 1)
    assert runs(catchup.requests(need(1, 70), 1)) == {lowest: (11, 64)}


def test_bytes_fetched_ahead_are_bounded():
    catchup = made(heights_per_request_max=1)
    for key in KEYS[1:]:
        catchup.shown(key, 1_000)
    wanted = need(1, 1_000, KEYS)
    asked = {request.from_height: peer for peer, request in catchup.requests(wanted, 0)}
    assert sorted(asked) == [1, 2, 3, 4]
    for height in (2, 3, 4):
        catchup.answered(asked[height], reply(height, data=bytes(FETCHED_BYTES_MAX // 4)), wanted, 1)
    assert catchup.requests(wanted, 1) == []  # the lowest may be as long
    [(_, request)] = catchup.requests(wanted, LATE_MS)
    assert request.from_height == 1
    catchup.answered(asked[1], reply(1, data=bytes(FETCHED_BYTES_MAX // 2)), wanted, LATE_MS)
    assert catchup.take(1) is not None  # the one that makes room is always kept


def test_no_more_is_asked_for_than_may_be_kept():
    catchup = made()
    for key in KEYS[1:3]:
        catchup.shown(key, 1_000)
    wanted = need(1, 1_000, [])
    [(_, first), (peer, second)] = catchup.requests(wanted, 0)
    assert (first.from_height, second.from_height) == (1, 65)
    catchup.answered(peer, reply(65, 3, data=bytes(FETCHED_BYTES_MAX // 4)), wanted, 1)
    assert catchup.requests(wanted, 1) == []  # the first run may bring as much again


def test_an_answer_that_would_take_too_many_bytes_is_cut():
    catchup = made()
    catchup.shown(KEYS[1], 1_000)
    wanted = need(1, 1_000)
    catchup.requests(wanted, 0)
    catchup.answered(KEYS[1], reply(1, 8, data=bytes(FETCHED_BYTES_MAX // 4)), wanted, 1)
    assert [height for height in range(1, 9) if catchup.take(height)] == [1, 2, 3, 4]


def test_one_height_ahead_is_waited_for_a_moment():
    catchup = made()
    catchup.shown(KEYS[1], 2)
    assert catchup.requests(need(2, 2), 1_000) == []
    assert catchup.next_ms(need(2, 2), 1_000) == 1_000 + LATE_MS
    assert runs(catchup.requests(need(2, 2), 1_000 + LATE_MS)) == {KEYS[1]: (2, 2)}


def test_an_answer_counts_once_from_the_one_who_was_asked():
    catchup = made()
    catchup.shown(KEYS[1], 9)
    wanted = need(1, 9)
    catchup.requests(wanted, 0)
    catchup.answered(KEYS[2], reply(1), wanted, 0)
    assert catchup.take(1) is None
    catchup.answered(KEYS[1], reply(30), wanted, 0)
    assert catchup.take(30) is None
    catchup.answered(KEYS[1], reply(1), wanted, 0)
    fetched = catchup.take(1)
    assert (fetched.height, fetched.peer, fetched.block) == (1, KEYS[1], b"block")
    catchup.answered(KEYS[1], reply(1), wanted, 0)
    assert catchup.take(1) is None


@pytest.mark.parametrize(
    "answer",
    [
        BlockReply(from_height=1),
        BlockReply(from_height=1, blocks=[b"block"]),
        reply(2, start=1),
        reply(1, 10),
        BlockReply(from_height=1, blocks=[b"a", b"b"], finalization=reply(2).finalization),
    ],
    ids=["empty", "without finalization", "of another height", "more than asked for", "one not finalized"],
)
def test_a_bad_answer_moves_on_to_another_peer_at_once_and_its_teller_rests(answer):
    catchup = made(heights_per_request_max=4)
    for key in KEYS[1:4]:
        catchup.shown(key, 4)
    [(first, _)] = catchup.requests(need(1, 4), 0)
    catchup.answered(first, answer, need(1, 4), 1)
    assert not any(catchup.take(height) for height in range(1, 12))
    [(second, request)] = catchup.requests(need(1, 4), 1)
    assert request.from_height == 1
    assert second != first


def test_a_late_answer_frees_its_heights_but_not_its_peer_and_still_counts():
    catchup = made(heights_per_request_max=4)
    catchup.shown(KEYS[1], 4)
    catchup.shown(KEYS[2], 4)
    wanted = need(1, 4, [])
    [(slow, _)] = catchup.requests(wanted, 0)
    assert catchup.next_ms(wanted, 0) == LATE_MS
    assert catchup.requests(wanted, LATE_MS - 1) == []
    [(other, _)] = catchup.requests(wanted, LATE_MS)
    assert other != slow
    assert catchup.requests(wanted, 3 * LATE_MS) == []  # both have one thing to do
    catchup.answered(slow, reply(1, 4), wanted, 3 * LATE_MS)
    assert catchup.take(1).peer == slow


def test_who_never_answers_is_given_up_rests_and_is_asked_for_less():
    catchup = made()
    catchup.shown(KEYS[1], 64)
    wanted = need(1, 64, [])
    asked, now = [], 0
    while len(asked) < 5:
        asked += [(now, request.to_height) for _, request in catchup.requests(wanted, now)]
        now = catchup.next_ms(wanted, now)
    assert [length for _, length in asked] == [64, 32, 16, 8, 4]
    gaps = [second - first for (first, _), (second, _) in itertools.pairwise(asked)]
    assert all(gap >= WAIT_TIMES * LATE_MS for gap in gaps)


def test_who_has_failed_least_and_then_who_was_quickest_is_asked_first():
    catchup = made(heights_per_request_max=1)
    for key in KEYS[1:4]:
        catchup.shown(key, 1_000)
    first = catchup.requests(need(1, 1_000), 0)
    order = [peer for peer, _ in first]
    for (peer, request), took in zip(first, (30, 10, 20), strict=True):
        catchup.answered(peer, reply(request.from_height), need(1, 1_000), took)
    again = catchup.requests(need(4, 1_000), 40)
    assert [peer for peer, _ in again] == [order[1], order[2], order[0]]
    quickest, request = again[0]
    catchup.answered(quickest, BlockReply(from_height=request.from_height), need(4, 1_000), 41)
    for peer, request in again[1:]:
        catchup.answered(peer, reply(request.from_height), need(4, 1_000), 300)
    last = [peer for peer, _ in catchup.requests(need(7, 1_000), 300)]
    assert last[-1] == quickest


def test_a_peer_that_answers_with_one_block_of_many_is_slow():
    catchup = made()
    for key in KEYS[1:3]:
        catchup.shown(key, 10_000)
    wanted = need(1, 10_000, [])
    (miser, one), (giver, many) = catchup.requests(wanted, 0)
    catchup.answered(miser, reply(one.from_height, 1), wanted, 10)
    catchup.answered(giver, reply(many.from_height, 64), wanted, 100)
    assert [peer for peer, _ in catchup.requests(wanted, 100)] == [giver, miser]


def test_who_has_not_shown_the_height_is_asked_only_when_all_who_did_have_failed():
    catchup = made(heights_per_request_max=1)
    catchup.shown(KEYS[5], 9)
    wanted = need(8, 9)
    [(peer, _)] = catchup.requests(wanted, 0)
    assert peer == KEYS[5]
    assert catchup.requests(wanted, LATE_MS - 1) == []
    asked = catchup.requests(wanted, LATE_MS)
    assert {peer for peer, _ in asked} < set(KEYS[1:4])


def test_a_new_line_forgets_what_was_asked_over_the_old_one():
    catchup = made()
    catchup.shown(KEYS[1], 64)
    wanted = need(1, 64, [])
    assert runs(catchup.requests(wanted, 0)) == {KEYS[1]: (1, 64)}
    assert catchup.requests(wanted, 1) == []
    catchup.connected(KEYS[1])
    assert runs(catchup.requests(wanted, 1)) == {KEYS[1]: (1, 64)}


def test_what_was_refuted_takes_along_all_else_of_its_peer():
    catchup = made()
    for key in KEYS[1:3]:
        catchup.shown(key, 1_000)
    wanted = need(1, 1_000)
    for peer, request in catchup.requests(wanted, 0):
        catchup.answered(peer, reply(request.from_height, 64), wanted, 1)
    lie = catchup.take(1)
    catchup.refuted(lie, 1)
    kept = {height for height in range(1, 200) if catchup.take(height)}
    assert kept == set(range(65, 129))
    assert all(peer != lie.peer for peer, _ in catchup.requests(wanted, 1))


def test_who_was_refuted_rests_even_where_it_is_the_only_one():
    catchup = made()
    catchup.shown(KEYS[1], 1_000)
    wanted = need(1, 1_000, [])
    catchup.requests(wanted, 0)
    catchup.answered(KEYS[1], reply(1, 64), wanted, 1)
    catchup.refuted(catchup.take(1), 1)
    assert catchup.requests(wanted, LATE_MS // 16) == []
    assert runs(catchup.requests(wanted, 1 + LATE_MS // 16)) == {KEYS[1]: (1, 32)}


def test_what_is_no_longer_needed_is_forgotten():
    catchup = made(heights_per_request_max=2)
    catchup.shown(KEYS[1], 4)
    catchup.shown(KEYS[2], 4)
    asked = catchup.requests(need(1, 4), 0)
    for peer, request in asked[:1]:
        catchup.answered(peer, reply(request.from_height, 2), need(1, 4), 0)
    assert catchup.requests(need(9, 4), 1) == []
    assert catchup.next_ms(need(9, 4), 1) is None
    assert catchup.take(1) is None
    assert catchup._fetched_bytes == 0


def test_peers_remembered_are_bounded():
    catchup = made()
    for peer in range(10 * PEERS_MAX):
        catchup.shown(b"%d" % peer, 9)
    assert len(catchup.showing(1)) <= PEERS_MAX


def test_what_is_at_hand_is_told_until_it_is_taken():
    catchup = made()
    catchup.shown(KEYS[1], 9)
    [(peer, _)] = catchup.requests(need(3, 9), 0)
    assert catchup.fetched == {}
    catchup.answered(peer, reply(3, 4), need(3, 9), 1)
    assert list(catchup.fetched) == [3, 4, 5, 6]
    assert {fetched.block for fetched in catchup.fetched.values()} == {b"block"}
    taken = catchup.take(3)
    catchup.refuted(taken, 2)
    assert catchup.fetched == {}
