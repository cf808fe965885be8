"""Views are given back whoever asks for them and however she goes away; nobody who asks can stop the node."""

import asyncio
import contextlib
import time

import pytest

from ledger import state, view
from ledger.errors import Invalid
from ledger.kv import MemoryKV
from ledger.operations import CHANGES, OPERATIONS
from node.chain_host import ChainHost
from node.kept_views import KEPT_MAX
from proto.chiptrace.v1.consensus_pb2 import Certificate
from tests.ledger.chain_fixture import Chain

KEYS = [state.member_key("ada")]
BEGUN = 40


@pytest.fixture(scope="module")
def chain():
    made = Chain()
    for _ in range(2 * BEGUN):
        made.produce()
    return made


async def begun(chain) -> tuple[ChainHost, list[bytes]]:
    """A host that has executed BEGUN blocks, and those after them."""
    host = ChainHost(MemoryKV, OPERATIONS, CHANGES)
    await host.start(chain.genesis)
    blocks = [chain.app.store.block(height) for height in range(1, chain.height + 1)]
    for data in blocks[:BEGUN]:
        await host.execute(data, Certificate())
    return host, blocks[BEGUN:]


async def open_views(host: ChainHost) -> int:
    """How many views are open once all that was asked for is done."""
    for _ in range(3):
        await host.read(lambda _: None)
        await host.check([], 0, {})
    return host._app.views._open


def test_who_asks_for_a_height_as_it_becomes_provable_costs_no_view(chain, run):
    async def work():
        host, blocks = await begun(chain)
        for height, data in enumerate(blocks, BEGUN):
            executed = asyncio.create_task(host.execute(data, Certificate()))
            await asyncio.sleep(0)
            asked = asyncio.create_task(host.prove(KEYS, height))
            await executed
            with contextlib.suppress(Invalid):
                assert (await asked).height == height
        assert await open_views(host) <= KEPT_MAX + 1  # the newest, too
        await host.stop()

    run(work())


def test_who_goes_away_while_her_view_is_opened_costs_no_view(chain, run):
    async def work():
        host, blocks = await begun(chain)
        for height, data in enumerate(blocks, BEGUN):
            await host.execute(data, Certificate())
            asked = asyncio.create_task(host.prove(KEYS, height - 5))
            await asyncio.sleep(0)
            time.sleep(0.002)  # noqa: ASYNC251 - the writer opens it meanwhile, and the loop is not told yet
            asked.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asked
        assert await open_views(host) == 1
        await host.stop()

    run(work())


def test_a_crowd_that_holds_every_view_stops_no_block(chain, run, monkeypatch):
    monkeypatch.setattr(view, "VIEWS_OPEN_MAX", 8)

    async def work():
        host, blocks = await begun(chain)
        assert await open_views(host) == 1
        held = [await host.hold(BEGUN - 5) for _ in range(7)]  # and the newest, of the node itself
        with pytest.raises(Invalid, match="8 views are open"):
            await host.prove(KEYS, BEGUN - 3)
        await host.execute(blocks[0], Certificate())
        assert host.info.height == BEGUN + 1
        assert (await host.prove(KEYS, 0)).height == BEGUN
        for one in held:
            host.release(one)
        assert await open_views(host) == 1
        await host.stop()

    run(work())
