"""What waits for the engine is bounded for each validator, by count and by bytes, and nobody waits for another."""

import asyncio

import pytest

from consensus.effects import Received, TimerFired
from node.inbox import BYTES_PER_PEER_MAX, MESSAGES_PER_PEER_MAX, Inbox
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


def test_events_come_out_in_the_order_in_which_they_happened():
    async def scenario():
        inbox = Inbox()
        expected = []
        for view in range(1, 40):
            await inbox.receive(A, vote(view))
            expected.append(Received(A, vote(view)))
            if view % 3 == 0:
                inbox.put(TimerFired())
                expected.append(TimerFired())
        taken = []
        while len(taken) < len(expected):
            some = await inbox.take(7)
            assert 0 < len(some) <= 7
            taken += some
        assert taken == expected

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
