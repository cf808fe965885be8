"""Proposer time: the real application under the engine, each node with a wall clock of its own.

Time has an upper bound only, and only for a new block. So no pause, however long, can make what was proposed invalid.
"""

import itertools

import pytest
from nacl.signing import SigningKey

from consensus.effects import BlockBuilt, BlockJudged, Executed
from consensus.engine import Engine
from ledger.errors import Invalid
from ledger.hashes import verify_raw
from ledger.limits import TIME_PRECISION_MS
from proto.chiptrace.v1.consensus_pb2 import VoteKind
from proto.chiptrace.v1.ledger_pb2 import Block, Header
from tests.consensus.cluster import Cluster, Node
from tests.ledger import toy_tables as toy
from tests.ledger.chain_fixture import MEMBERS, START_MS, Chain, key_of, seed_of

DAY_MS = 86_400_000


class ChainNode(Node):
    """A validator with the real application; its wall clock may be off."""

    def __init__(self, cluster, index):
        super().__init__(cluster, index)
        self.key = key_of(MEMBERS[index], "validator")
        self.chain = Chain(operations=toy.OPERATIONS, changes=toy.CHANGES)
        self.off_ms = 0

    @property
    def wall_ms(self):
        return self.cluster.now + self.cluster.paused_ms + self.off_ms

    def start(self):
        info, seed = self.chain.info, SigningKey(seed_of(MEMBERS[self.index], "validator"))
        self.engine = Engine(
            info.chain_id,
            self.key,
            lambda signed: seed.sign(signed).signature,
            verify_raw,
            self.cluster.settings,
            info.height,
            info.block_hash,
            None,
            info.validators,
            info.next_due_ms,
            (),
            self.cluster.now,
        )
        self.apply(self.engine.start(self.cluster.now))

    def build(self, effect):
        block = self.chain.app.prepare_proposal([], self.wall_ms)
        self.give(BlockBuilt(effect.height, effect.view, block, wanted=True))

    def judge(self, effect):
        try:
            self.chain.app.process_proposal(effect.block, self.wall_ms)
            valid = True
        except Invalid:
            valid = False
        self.cluster.verdicts.append((self.index, self.wall_ms - time_of(effect.block), valid))
        self.give(BlockJudged(effect.height, effect.block_hash, valid))

    def execute(self, effect):
        app = self.chain.app
        outcome = app.finalize_block(effect.block)
        info = app.commit(effect.block, outcome, effect.certificate.SerializeToString())
        self.ledger.blocks.append((effect.block, effect.certificate))
        self.cluster.decided(effect)
        self.give(Executed(info.height, info.block_hash, info.validators, self.cluster.now + 200))


class Consortium(Cluster):
    """Four of them, on one network that may stand still."""

    def __init__(self):
        super().__init__(4, start_ms=START_MS + 1_000)
        self.paused_ms = 0
        self.verdicts = []
        self.nodes = [ChainNode(self, index) for index in range(4)]
        for index, node in enumerate(self.nodes):
            node.index = index

    def times(self):
        return [time_of(block) for block, _ in self.nodes[0].ledger.blocks]


def time_of(block):
    return Header.FromString(Block.FromString(block).header).time_ms


def rising(times):
    return all(first < second for first, second in itertools.pairwise(times))


def test_a_new_block_that_is_judged_after_a_long_pause_is_valid():
    """All processes stand still between the proposal and its verdict; only the wall clocks go on."""
    consortium = Consortium()
    consortium.start()
    consortium.run_until(lambda: min(consortium.heights()) >= 2)
    consortium.run_until(lambda: any(node.engine._open._judging for node in consortium.nodes))
    consortium.paused_ms = DAY_MS
    height = max(consortium.heights())
    consortium.run_until(lambda: min(consortium.heights()) >= height + 3)
    late = [valid for _, age_ms, valid in consortium.verdicts if age_ms >= DAY_MS]
    assert late
    assert all(late)
    finalizations = [finalization for _, finalization in consortium.nodes[0].ledger.blocks]
    assert all(finalization.view == 1 for finalization in finalizations)  # it cost not even a view
    assert rising(consortium.times())


def test_a_block_that_was_notarized_before_a_long_pause_is_decided_after_it():
    """It is proposed again, view after view, and its age is nobody's business any more."""
    consortium = Consortium()
    finalizes = lambda m: (
        (m.HasField("vote") and m.vote.kind == VoteKind.FINALIZE)
        or (m.HasField("certificate") and m.certificate.kind == VoteKind.FINALIZE)
    )
    consortium.deliver = lambda sender, to, message: not finalizes(message)
    consortium.start()
    consortium.run(3_000)
    assert consortium.heights() == [0] * 4
    assert consortium.nodes[0].engine.view > 2
    judged = len(consortium.verdicts)
    consortium.paused_ms = 30 * DAY_MS
    consortium.deliver = lambda sender, to, message: True
    consortium.run_until(lambda: min(consortium.heights()) >= 1)
    assert len(consortium.verdicts) == judged  # nobody looked at it again
    assert consortium.times()[0] < START_MS + DAY_MS
    consortium.run_until(lambda: min(consortium.heights()) >= 3)
    assert consortium.times()[2] > START_MS + 30 * DAY_MS
    assert rising(consortium.times())


@pytest.mark.parametrize(
    "off_ms", [-DAY_MS, -TIME_PRECISION_MS, TIME_PRECISION_MS - 50, 2 * TIME_PRECISION_MS, DAY_MS]
)
def test_one_clock_that_is_off_stalls_nobody_and_time_rises(off_ms):
    consortium = Consortium()
    consortium.nodes[1].off_ms = off_ms
    consortium.start()
    consortium.run_until(lambda: min(consortium.heights()) >= 9)
    times = consortium.times()
    assert rising(times)
    # No block that a quorum took is further ahead of the others' clocks than the precision.
    assert max(times) <= consortium.now + TIME_PRECISION_MS
    refused = {index for index, _, valid in consortium.verdicts if not valid}
    if off_ms > TIME_PRECISION_MS:
        assert refused == {0, 2, 3}  # its own proposals cost their views
    elif off_ms == -DAY_MS:
        assert refused == {1}  # and whoever lags refuses, but is not needed


def test_all_clocks_set_back_stall_nobody():
    consortium = Consortium()
    consortium.start()
    consortium.run_until(lambda: min(consortium.heights()) >= 3)
    consortium.paused_ms = -TIME_PRECISION_MS + 500
    consortium.run_until(lambda: min(consortium.heights()) >= 8)
    assert rising(consortium.times())
