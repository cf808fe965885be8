"""What waits for the engine is bounded for each validator, by count and by bytes, and nobody waits for another, neither
to be read nor to be heard."""

import asyncio

import pytest

from consensus.effects import BlockJudged, Received, TimerFired
from node.inbox import BATCH_BYTES_MAX, BYTES_PER_PEER_MAX, MESSAGES_PER_PEER_MAX, Inbox
from proto.chiptrace.v1.consensus_pb2 import PeerMessage, Proposal, Vote

A, B = b"a" * 32, b"b" * 32


def vote(view=1):
    return PeerMessage(vote=Vote(height=1, view=view))


def large(size=4_000_000):
    return PeerMessage(proposal=Proposal(block=bytes(size)))


async def stream(inbox, sender, messages, sent):
    for message in messages:
        await inbox.receive(sender, message)
        sent.append(message)


async def settled():
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("message", "waiting_max"),
    [(vote(), MESSAGES_PER_PEER_MAX), (large(), -(-BYTES_PER_PEER_MAX // large().ByteSize()))],
)
def test_a_validator_that_sends_faster_than_we_work_waits_and_no_other_does(message, waiting_max):
    async def scenario():
        inbox, sent = Inbox(), []
        task = asyncio.create_task(stream(inbox, A, [message] * (3 * waiting_max), sent))
        await settled()
        while len(sent) < waiting_max - 1:
            await settled()
        await settled()
        # The one that reached the bound is taken, and its stream waits.
        assert len(sent) == waiting_max - 1
        await asyncio.wait_for(inbox.receive(B, message), 1)
        inbox.put(TimerFired())
        taken = []
        while len(sent) < 3 * waiting_max:
            taken += await inbox.take(16)
            await settled()
        await task
        while len(taken) < 3 * waiting_max + 2:
            taken += await inbox.take(16)
        assert [event.sender for event in taken if isinstance(event, Received)].count(A) == 3 * waiting_max
        assert taken.count(TimerFired()) == 1

    asyncio.run(scenario())


def test_of_each_sender_the_oldest_comes_first():
    async def scenario():
        inbox = Inbox()
        expected = {A: [], B: [], None: []}
        for view in range(1, 40):
            sender = A if view % 3 else B
            await inbox.receive(sender, vote(view))
            expected[sender].append(Received(sender, vote(view)))
            if view % 5 == 0:
                inbox.put(BlockJudged(view, A, True))
                expected[None].append(BlockJudged(view, A, True))
        taken = {A: [], B: [], None: []}
        while taken != expected:
            some = await asyncio.wait_for(inbox.take(7), 1)
            assert 0 < len(some) <= 7
            for event in some:
                taken[getattr(event, "sender", None)].append(event)

    asyncio.run(scenario())


def test_a_flood_holds_up_nobody_but_its_sender():
    async def scenario():
        inbox = Inbox()
        for view in range(1, MESSAGES_PER_PEER_MAX):
            await inbox.receive(A, vote(view))
        await inbox.receive(B, vote())
        inbox.put(TimerFired())
        await inbox.receive(B, vote(2))
        assert await inbox.take(5) == [
            Received(A, vote(1)),
            Received(B, vote(1)),
            TimerFired(),
            Received(A, vote(2)),
            Received(B, vote(2)),
        ]

    asyncio.run(scenario())


def test_what_is_large_ends_a_batch_so_that_who_comes_next_waits_for_no_other_of_its_kind():
    async def scenario():
        inbox = Inbox()
        for _ in range(3):
            await inbox.receive(A, large(BATCH_BYTES_MAX))
        assert len(await inbox.take(16)) == 1
        await inbox.receive(B, vote())
        assert [event.sender for event in await inbox.take(16)] == [A]
        assert [event.sender for event in await inbox.take(16)] == [B, A]

    asyncio.run(scenario())


def test_taking_waits_for_something_to_happen():
    async def scenario():
        inbox = Inbox()
        task = asyncio.create_task(inbox.take(5))
        await settled()
        assert not task.done()
        inbox.put(TimerFired())
        assert await task == [TimerFired()]

    asyncio.run(scenario())
