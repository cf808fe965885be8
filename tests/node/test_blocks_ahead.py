"""What is known of a block before its turn: in order, within bounds, of exactly its bytes, and never waited for in vain."""

import asyncio
from types import SimpleNamespace

import pytest

from consensus.catchup import Fetched
from ledger.limits import TRANSACTIONS_PER_BLOCK_MAX
from ledger.vouched import NOBODY, Vouched
from node import blocks_ahead
from node.blocks_ahead import BlocksAhead
from node.pool import Pool, Waiting
from node.verifier import Verifier
from proto.chiptrace.v1.consensus_pb2 import Certificate
from proto.chiptrace.v1.ledger_pb2 import Block


class Beside:
    """Stands for the verifier process: vouches for all that it is asked about, once it may answer."""

    def __init__(self):
        self.ready = True
        self.asked, self.seconds = [], []
        self.may_answer = asyncio.Event()

    async def ask(self, transactions, seconds=None):
        self.asked.append(list(transactions))
        self.seconds.append(seconds)
        await self.may_answer.wait()
        return Vouched({data: b"id of " + data for data in transactions})


def block_of(*transactions):
    return Block(header=b"header", transactions=transactions).SerializeToString()


def fetched(height, block):
    return Fetched(height, b"peer", block, Certificate(height=height), True)


def scenario(test):
    def run():
        async def whole():
            setup = SimpleNamespace(beside=Beside(), pool=Pool())
            setup.ahead = BlocksAhead(setup.beside, setup.pool)
            async with asyncio.timeout(5):
                await test(setup)

        asyncio.run(whole())

    run.__name__ = test.__name__
    return run


def run_of(first, last, size=1):
    blocks = {
        height: block_of(*(b"%d of %d" % (n, height) for n in range(size)))
        for height in range(first, last + 1)
    }
    return {height: fetched(height, blocks[height]) for height in sorted(blocks, reverse=True)}


@scenario
async def test_each_block_is_asked_about_once_and_in_order(s):
    waiting = run_of(5, 9)
    s.ahead.look(waiting, 5)
    s.ahead.look(waiting, 5)
    await asyncio.sleep(0)
    assert s.beside.asked == [[b"0 of %d" % height] for height in range(5, 10)]
    assert s.beside.seconds == [blocks_ahead.AHEAD_SECONDS] * 5
    s.beside.may_answer.set()
    vouched = await s.ahead.of_decided(5, waiting[5].block)
    assert vouched._ids == {b"0 of 5": b"id of 0 of 5"}


@scenario
async def test_the_block_that_is_executed_waits_for_what_is_said_of_it(s):
    waiting = run_of(5, 6)
    s.ahead.look(waiting, 5)
    asking = asyncio.create_task(s.ahead.of_decided(5, waiting[5].block))
    await asyncio.sleep(0.01)
    assert not asking.done()
    s.beside.may_answer.set()
    assert len(await asking) == 1


@scenario
async def test_taken_for_its_height_it_is_kept_until_it_is_executed(s):
    waiting = run_of(5, 6)
    s.beside.may_answer.set()
    s.ahead.look(waiting, 5)
    block = waiting.pop(5).block  # the engine has it now, to decide it
    s.ahead.look(waiting, 5)
    assert len(await s.ahead.of_decided(5, block)) == 1


@scenario
async def test_another_block_of_that_height_is_not_vouched_for(s):
    s.beside.may_answer.set()
    s.ahead.look(run_of(5, 5), 5)
    assert await s.ahead.of_decided(5, block_of(b"another")) is NOBODY
    assert await s.ahead.of_decided(6, block_of(b"0 of 6")) is NOBODY


@scenario
async def test_what_was_refuted_is_forgotten_and_what_comes_in_its_place_asked_about(s):
    s.beside.may_answer.set()
    s.ahead.look(run_of(5, 9), 5)
    better = {7: fetched(7, block_of(b"better"))}
    s.ahead.look(better, 5)
    assert set(s.ahead._asked) == {5, 7}
    assert (await s.ahead.of_decided(7, better[7].block))._ids == {b"better": b"id of better"}
    s.ahead.look({}, 8)
    assert (s.ahead._asked, s.ahead._bytes) == ({}, 0)


@scenario
async def test_no_more_is_asked_about_than_so_many_bytes_ahead(s):
    waiting = run_of(1, 50, size=20)
    size = len(waiting[1].block)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks_ahead, "AHEAD_BYTES_MAX", 10 * size)
        s.beside.may_answer.set()
        for height in range(1, 51):
            s.ahead.look(waiting, height)
            assert (
                s.ahead._bytes == sum(len(asked.block) for asked in s.ahead._asked.values()) <= 10 * size + 40
            )
            assert len(await s.ahead.of_decided(height, waiting.pop(height).block)) == 20
        patch.setattr(blocks_ahead, "AHEAD_BYTES_MAX", 1)
        s.ahead.look(run_of(60, 70), 60)
        assert set(s.ahead._asked) == {60}  # one always


@scenario
async def test_of_a_proposal_only_what_does_not_wait_here_is_asked_about_and_for_a_moment(s):
    s.pool.add(Waiting(b"id", b"known", "lane", 10**15))
    s.beside.may_answer.set()
    vouched = await s.ahead.of_proposal(block_of(b"known", b"unseen"))
    assert vouched._ids == {b"unseen": b"id of unseen"}
    assert s.beside.seconds == [blocks_ahead.PROPOSAL_SECONDS]


@scenario
async def test_what_is_no_block_is_nothing_to_ask_about(s):
    s.beside.may_answer.set()
    s.ahead.look({5: fetched(5, b"\xff" * 9)}, 5)
    assert len(await s.ahead.of_decided(5, b"\xff" * 9)) == 0
    assert len(await s.ahead.of_proposal(b"\xff" * 9)) == 0


@scenario
async def test_a_block_of_too_many_transactions_is_nothing_to_ask_about(s):
    """Two million empty ones fit into a block: a frame for each few would hold up the loop."""
    s.beside.may_answer.set()
    full = block_of(*[b""] * TRANSACTIONS_PER_BLOCK_MAX)
    await s.ahead.of_proposal(full)
    assert len(s.beside.asked.pop()) == TRANSACTIONS_PER_BLOCK_MAX
    more = block_of(*[b""] * (TRANSACTIONS_PER_BLOCK_MAX + 1))
    await s.ahead.of_proposal(more)
    s.ahead.look({5: fetched(5, more)}, 5)
    await s.ahead.of_decided(5, more)
    assert s.beside.asked == [[], []]


@scenario
async def test_of_what_was_refuted_nobody_is_asked_any_more(s):
    """Else the verifier process would be busy with wrong blocks, while those in their place wait."""
    s.ahead.look(run_of(5, 9), 5)
    asked = {height: one.answer for height, one in s.ahead._asked.items()}
    await asyncio.sleep(0)
    s.ahead.look({}, 5)
    assert await s.ahead.of_decided(5, block_of(b"another")) is NOBODY
    await asyncio.wait(asked.values())
    assert all(answer.cancelled() for answer in asked.values())


@scenario
async def test_without_a_verifier_process_nothing_is_asked(s):
    s.beside.ready = False
    s.ahead.look(run_of(1, 5), 1)
    assert await s.ahead.of_proposal(block_of(b"a")) is NOBODY
    assert (s.beside.asked, s.ahead._asked) == ([], {})
    ahead = BlocksAhead(Verifier(b"", 0), s.pool)
    ahead.look(run_of(1, 5), 1)
    assert ahead._asked == {}
