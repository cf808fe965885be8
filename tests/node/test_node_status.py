"""What a node says of itself while it starts: ports are open before the first block is read and the engine made."""

import asyncio
from types import SimpleNamespace

from consensus.effects import EngineSettings
from node.driver import Driver
from node.node_status import NodeStatus
from proto.chiptrace.v1.ledger_pb2 import Validator, ValidatorSet

KEYS = [bytes([index]) * 32 for index in range(4)]


def test_asked_before_its_engine_is_made_a_node_is_out_of_step_and_goes_on():
    async def scenario():
        validators = ValidatorSet(validators=[Validator(member="m", key=key) for key in KEYS])
        info = SimpleNamespace(chain_id=bytes(32), name="n", height=0, time_ms=1, validators=validators)
        host = SimpleNamespace(info=info, served=None)
        peers = SimpleNamespace(connected=lambda: frozenset(KEYS))
        driver = Driver(host, [], SimpleNamespace(), EngineSettings(), SimpleNamespace())
        status = NodeStatus(host, [], driver, peers, KEYS[0], b"genesis", lambda _: None)
        assert not status.synced
        reply = await status.reply()
        assert (reply.view, reply.synced, len(reply.peers)) == (0, False, 3)
        driver._engine = SimpleNamespace(view=3, behind=0)
        assert status.synced
        assert (await status.reply()).view == 3

    asyncio.run(scenario())
