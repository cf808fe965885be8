"""Answers out of the store: what is there, one at a time to each validator, and with rests, so that no question costs
more than a share of this node."""

import asyncio
from types import SimpleNamespace

import pytest

from ledger.errors import StoreError
from ledger.kv import MemoryKV
from node import stored_answers
from node.chain_host import ChainHost
from node.stored_answers import QUESTIONS_PER_PEER_MAX, StoredAnswers, asks_store
from proto.chiptrace.v1.consensus_pb2 import BlockRequest, BoundaryRequest, Certificate, PeerMessage
from tests.ledger import toy_tables as toy
from tests.ledger.chain_fixture import Chain

ADA, BOB = b"ada", b"bob"


def blocks_from(height):
    return PeerMessage(block_request=BlockRequest(from_height=height, to_height=height + 9))


class SlowHost:
    """Takes so long for each question, and says how many it had at once; fails where it is told to."""

    def __init__(self, seconds):
        self.seconds, self.failing = seconds, False
        self.now = self.most = self.done = 0
        self.began, self.ended = [], []

    async def read(self, question):
        loop = asyncio.get_running_loop()
        self.began.append(loop.time())
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(self.seconds)
        self.now -= 1
        self.done += 1
        self.ended.append(loop.time())
        if self.failing:
            raise StoreError("the disk is gone")
        return PeerMessage()


def scenario(seconds=0.001):
    def decorated(test):
        def run(monkeypatch):
            async def whole():
                s = SimpleNamespace(host=SlowHost(seconds), sent=[], tasks=[], monkeypatch=monkeypatch)
                s.answers = StoredAnswers(
                    s.host,
                    lambda work: s.tasks.append(asyncio.create_task(work)),
                    lambda to, _: s.sent.append(to),
                )
                async with asyncio.timeout(20):
                    await test(s)

            asyncio.run(whole())

        run.__name__ = test.__name__
        return run

    return decorated


@scenario()
async def test_one_validator_is_answered_one_question_at_a_time_and_two_at_once(s):
    for _ in range(4):
        s.answers.asked(ADA, blocks_from(1))
    await asyncio.gather(*s.tasks)
    assert (s.host.most, s.sent) == (1, [ADA] * 4)
    s.answers.asked(ADA, blocks_from(1))
    s.answers.asked(BOB, blocks_from(1))
    await asyncio.gather(*s.tasks)
    assert s.host.most == 2


@scenario()
async def test_so_many_questions_wait_and_more_are_dropped_until_one_is_answered(s):
    for _ in range(10 * QUESTIONS_PER_PEER_MAX):
        s.answers.asked(ADA, blocks_from(1))
    s.answers.asked(BOB, blocks_from(1))
    await asyncio.gather(*s.tasks)
    assert sorted(s.sent) == [ADA] * QUESTIONS_PER_PEER_MAX + [BOB]
    s.answers.asked(ADA, blocks_from(1))
    await asyncio.gather(*s.tasks)
    assert s.sent.count(ADA) == QUESTIONS_PER_PEER_MAX + 1


@scenario(seconds=0.02)
async def test_the_next_question_of_the_same_validator_waits_several_times_as_long_as_the_answer_took(s):
    for _ in range(3):
        s.answers.asked(ADA, blocks_from(1))
    await asyncio.gather(*s.tasks)
    for before in range(2):
        took = s.host.ended[before] - s.host.began[before]
        rest = s.host.began[before + 1] - s.host.ended[before]
        assert rest >= min(stored_answers.REST_TIMES * took, stored_answers.REST_SECONDS_MAX) - 0.002


@scenario(seconds=0.05)
async def test_a_rest_ends_however_long_the_answer_took(s):
    s.monkeypatch.setattr(stored_answers, "REST_TIMES", 10_000)
    s.monkeypatch.setattr(stored_answers, "REST_SECONDS_MAX", 0.01)
    for _ in range(3):
        s.answers.asked(ADA, blocks_from(1))
    await asyncio.gather(*s.tasks)
    assert len(s.sent) == 3


@scenario()
async def test_a_failed_read_is_told_and_leaves_nothing_behind(s):
    s.host.failing = True
    for _ in range(2):
        s.answers.asked(ADA, blocks_from(1))
    told = await asyncio.gather(*s.tasks, return_exceptions=True)
    assert [type(error) for error in told] == [StoreError] * 2
    s.host.failing = False
    for _ in range(QUESTIONS_PER_PEER_MAX):
        s.answers.asked(ADA, blocks_from(1))
    await asyncio.gather(*s.tasks[2:])
    assert len(s.sent) == QUESTIONS_PER_PEER_MAX


def test_blocks_that_are_here_are_told_with_their_finalizations_and_of_others_nothing():
    chain = Chain(operations=toy.OPERATIONS, changes=toy.CHANGES)
    answers = []

    async def ask():
        host, tasks = ChainHost(MemoryKV, toy.OPERATIONS, toy.CHANGES), []
        await host.start(chain.genesis)
        blocks = []
        for number in range(3):
            data = chain.app.prepare_proposal([chain.transaction("ada", toy.put(f"{number}"))], chain.now_ms)
            certificate = Certificate(height=number + 1)
            chain.app.commit(data, chain.app.finalize_block(data), certificate.SerializeToString())
            await host.execute(data, certificate)
            blocks.append(data)
        told = StoredAnswers(
            host,
            lambda work: tasks.append(asyncio.create_task(work)),
            lambda _, answer: answers.append(answer),
        )
        for height in (2, 4):
            told.asked(ADA, blocks_from(height))
        told.asked(ADA, PeerMessage(boundary_request=BoundaryRequest(from_height=1)))
        await asyncio.gather(*tasks)
        await host.stop()
        return blocks

    blocks = asyncio.run(ask())
    here, above, boundaries = answers
    assert list(here.block_reply.blocks) == blocks[1:]
    assert [one.height for one in (*here.block_reply.earlier, here.block_reply.finalization)] == [2, 3]
    assert (above.block_reply.from_height, len(above.block_reply.blocks)) == (4, 0)
    assert boundaries.WhichOneof("kind") == "boundary_reply"


@pytest.mark.parametrize(
    ("question", "its"),
    [
        (blocks_from(1), True),
        (PeerMessage(boundary_request=BoundaryRequest(from_height=1)), True),
        (
            PeerMessage(block_request=BlockRequest(block_hash=bytes(32))),
            False,
        ),  # a body of the open height: the engine's
        (PeerMessage(), False),
    ],
)
def test_which_questions_are_the_stores(question, its):
    assert asks_store(question) == its
