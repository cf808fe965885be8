"""What a node says of itself: before its engine is made, why it does not vote, and whose clock is wrong."""

import asyncio
from types import SimpleNamespace

import pytest

from consensus.effects import EngineSettings
from node import signer
from node.driver import Driver
from node.node_status import NodeStatus
from node.peer_clocks import PeerClocks
from node.signer import Signer
from node.verifier import Verifier
from proto.chiptrace.v1.consensus_pb2 import ClockReply, JournalRecord
from proto.chiptrace.v1.ledger_pb2 import Validator, ValidatorSet

KEYS = [bytes([index]) * 32 for index in range(4)]


def status_of(own, keys=tuple(KEYS), height=0):
    validators = ValidatorSet(validators=[Validator(member="m", key=key) for key in keys])
    info = SimpleNamespace(chain_id=bytes(32), name="n", height=height, time_ms=1, validators=validators)
    host = SimpleNamespace(info=info, served=None, base=1)
    peers = SimpleNamespace(connected=lambda: frozenset(keys))
    verifier = Verifier(b"", 0)
    driver = Driver(host, [], SimpleNamespace(), EngineSettings(), SimpleNamespace(), verifier)
    return NodeStatus(host, [], driver, peers, own, verifier, b"genesis", lambda _: None), driver


def quiet(key):
    return SimpleNamespace(key=key, trouble="", votes_at=lambda _: True, retired=frozenset())


def test_asked_before_its_engine_is_made_a_node_is_out_of_step_and_goes_on():
    async def scenario():
        status, driver = status_of(quiet(KEYS[0]))
        assert not status.synced
        reply = await status.reply()
        assert (reply.view, reply.synced, len(reply.peers)) == (0, False, 3)
        driver._engine = SimpleNamespace(view=3, behind=0)
        assert status.synced
        assert (await status.reply()).view == 3

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("none", ""),
        ("votes", ""),
        ("missing", "cannot be read"),
        ("behind", "the database is behind the signing record"),
        ("joins", "is not in the validator set of height 4"),
    ],
)
def test_a_node_says_why_it_does_not_vote(tmp_path, case, said):
    async def scenario():
        if case != "none":
            signer.create(tmp_path)
        if case == "missing":
            (tmp_path / signer.RECORD_FILE).unlink()
        own = Signer(tmp_path)
        if case == "behind":
            own.append([JournalRecord(height=9)])
            own.close()
            own = Signer(tmp_path)
        keys = [*KEYS[1:], own.key or KEYS[0]] if case != "joins" else KEYS
        status, _ = status_of(own, keys, height=3)
        text = status.not_voting
        assert said in text
        assert bool(text) == bool(said)
        own.close()

    asyncio.run(scenario())


def test_an_own_key_that_was_put_aside_is_no_peer(tmp_path):
    async def scenario():
        signer.create(tmp_path)
        old, _ = signer.retire_and_create(tmp_path)
        own = Signer(tmp_path)
        status, _ = status_of(own, [*KEYS[1:], old])
        assert [peer.key for peer in (await status.reply()).peers] == KEYS[1:]
        own.close()

    asyncio.run(scenario())


def test_offsets_of_the_others_clocks_are_told_and_their_median():
    async def scenario():
        status, driver = status_of(quiet(KEYS[0]))
        assert not (await status.reply()).clock_known
        driver.clocks = PeerClocks(lambda: 1_000_000, lambda: 5.0)
        for key, offset in zip(KEYS[1:], (3_000, 3_100, -900_000), strict=True):
            asked = driver.clocks.probe(key).clock_probe.asked_ms
            driver.clocks.heard(
                key, ClockReply(asked_ms=asked, heard_ms=1_000_000 + offset, told_ms=1_000_000 + offset)
            )
        reply = await status.reply()
        assert (reply.clock_known, reply.clock_offset_ms) == (True, 3_000)
        assert [peer.clock_offset_ms for peer in reply.peers] == [3_000, 3_100, -900_000]
        assert all(peer.clock_known for peer in reply.peers)

    asyncio.run(scenario())
