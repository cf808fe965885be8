"""A node that catches up executes one block while the signatures of the next are verified beside it; or, without such a
process, or with one that fails, comes to the very same."""

import asyncio
import os
import signal
from types import SimpleNamespace

import pytest

from client.clock import SteadyClock
from consensus.answers import decided_blocks
from consensus.certificate import form
from consensus.effects import EngineSettings
from consensus.messages import signed_vote
from ledger import block, hashes
from ledger.kv import MemoryKV
from node import verifier
from node.admission import Admission
from node.chain_host import ChainHost
from node.driver import Driver
from node.pool import Pool
from node.verifier import Verifier
from proto.chiptrace.v1.consensus_pb2 import FINALIZE, PeerMessage, Tip, Vote
from tests.ledger import toy_tables as toy
from tests.ledger.chain_fixture import Chain, seed_of

BLOCKS, PER_BLOCK = 30, 40


def finalization(chain_id, members, height, block_hash):
    vote = Vote(kind=FINALIZE, height=height, view=1, block_hash=block_hash)
    signed = signed_vote(chain_id, vote)
    signatures = {
        place: hashes.sign_raw(seed_of(member, "validator"), signed)
        for place, member in enumerate(members[:3])
    }
    return form(FINALIZE, height, 1, block_hash, signatures, len(members))


@pytest.fixture(scope="module")
def decided():
    """A chain and the blocks that it decided, each with its finalization."""
    chain = Chain(operations=toy.OPERATIONS, changes=toy.CHANGES)
    members = [validator.member for validator in chain.info.validators.validators]
    found = []
    for height in range(1, BLOCKS + 1):
        many = [chain.transaction("ada", toy.put(f"{height} {number}")) for number in range(PER_BLOCK)]
        proposed = chain.app.prepare_proposal(many, chain.now_ms)
        block_hash = block.block_hash(chain.chain_id, block.decode_block(proposed).header)
        certificate = finalization(chain.chain_id, members, height, block_hash)
        chain.app.commit(proposed, chain.app.finalize_block(proposed), certificate.SerializeToString())
        found.append((proposed, certificate))
    return chain, found


class Follower:
    """Stands for the signing record of a node without a key."""

    may_vote, key, sign, retired = False, None, None, ()

    def votes_at(self, height):
        return False

    def note(self):
        return b""


class Others:
    """Stands for the lines to validators who have everything."""

    def __init__(self, found):
        self.found, self.driver = found, None

    def connected(self):
        return frozenset()

    def send(self, to, message, besides=None):
        if message.HasField("block_request"):
            reply = decided_blocks(
                message.block_request, len(self.found), lambda height: self.found[height - 1]
            )
            answering = self.driver.receive(to, PeerMessage(block_reply=reply))
            asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(answering))


async def caught_up(chain, found, verifiers, meanwhile=lambda beside: None):
    """The tip of a node that began with nothing, and its verifier."""
    host = ChainHost(MemoryKV, toy.OPERATIONS, toy.CHANGES)
    info = await host.start(chain.genesis)
    beside, pool, others = Verifier(info.chain_id, verifiers), Pool(), Others(found)
    driver = others.driver = Driver(host, pool, Follower(), EngineSettings(), SteadyClock(), beside)
    driver.connect(others, Admission(host, pool, lambda _: None, driver.work_pending, beside))
    tasks = [asyncio.create_task(beside.run()), asyncio.create_task(driver.run())]
    try:
        async with asyncio.timeout(60):
            while not driver.started or (verifiers and not beside.ready):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            teller = info.validators.validators[0].key
            await driver.receive(teller, PeerMessage(tip=Tip(finalization=found[-1][1])))
            while host.info.height < len(found):
                meanwhile(beside)
                await driver.height_above(host.info.height)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await host.stop()
    return host.info, beside


@pytest.fixture(autouse=True)
def patiently(monkeypatch):
    monkeypatch.setattr(verifier, "ANSWER_SECONDS", 20.0)  # however busy the machine


@pytest.fixture
def verified_here(monkeypatch):
    """How many transactions this process verifies."""
    counted = SimpleNamespace(transactions=0)
    real = block.verify_transaction

    def counting(*given):
        counted.transactions += 1
        return real(*given)

    monkeypatch.setattr(block, "verify_transaction", counting)
    return counted


def test_all_blocks_but_the_first_are_verified_beside_it(decided, verified_here):
    chain, found = decided
    info, beside = asyncio.run(caught_up(chain, found, 1))
    assert (info.height, info.app_hash) == (chain.info.height, chain.info.app_hash)
    assert verified_here.transactions <= PER_BLOCK
    assert beside.vouched >= (BLOCKS - 1) * PER_BLOCK
    assert beside.failures == 0


def test_without_such_a_process_all_are_verified_here(decided, verified_here):
    chain, found = decided
    info, _ = asyncio.run(caught_up(chain, found, 0))
    assert info.app_hash == chain.info.app_hash
    assert verified_here.transactions == BLOCKS * PER_BLOCK


def test_killed_on_the_way_the_rest_is_verified_here(decided, verified_here):
    chain, found = decided

    def kill(beside):
        if beside.ready:
            os.kill(beside._process.pid, signal.SIGKILL)

    info, beside = asyncio.run(caught_up(chain, found, 1, kill))
    assert info.app_hash == chain.info.app_hash
    assert beside.failures >= 1
    assert verified_here.transactions >= PER_BLOCK
