"""A liar that pushes the chain's time: what that costs where an honest clock is a little behind the others."""

from dataclasses import replace

import pytest

from consensus import effects
from ledger.limits import TIME_PRECISION_MS
from proto.chiptrace.v1.consensus_pb2 import PeerMessage, Proposal
from proto.chiptrace.v1.ledger_pb2 import Block, Header
from tests.simulation.actors.corrupted import Corrupted
from tests.simulation.application import GENESIS_TIME_MS
from tests.simulation.oracle import NOTARIZE, hash_of
from tests.simulation.run import Run, calm
from tests.simulation.scenario import ACTORS

FAULTS_MS = 5_000


class Hurrier(Corrupted):
    """Its blocks are as far ahead of time as the right clocks allow. It votes for these, and for nobody else's."""

    mine = b"none yet"

    def emit(self, effect: effects.Send) -> None:
        kind = effect.message.WhichOneof("kind")
        said = getattr(effect.message, kind)
        if kind == "proposal" and said.from_view == 0:
            self.hurry(said)
        elif kind not in {"vote", "certificate", "proposal"} or self.mine in said.SerializeToString():
            super().emit(effect)

    def hurry(self, lawful: Proposal) -> None:
        proposal, block = Proposal.FromString(lawful.SerializeToString()), Block.FromString(lawful.block)
        header = Header.FromString(block.header)
        header.time_ms = max(header.time_ms, GENESIS_TIME_MS + self.world.now_ms + TIME_PRECISION_MS)
        block.header = header.SerializeToString(deterministic=True)
        proposal.block = block.SerializeToString(deterministic=True)
        self.mine = hash_of(proposal.block)
        vote = self.vote(NOTARIZE, proposal.height, proposal.view, self.mine)
        if vote is not None:
            proposal.vote.CopyFrom(vote)
            self.tell(self.others(), PeerMessage(proposal=proposal))


def heights(monkeypatch, behind_ms):
    """Decided in five seconds, with one such liar among four and one clock so far behind."""
    monkeypatch.setitem(ACTORS, "hurrier", Hurrier)

    def bend(scenario):
        times = effects.EngineSettings()  # as real nodes have them
        quiet = replace(
            calm(scenario), size=4, sets=((0, 1, 2, 3),), skews=(0, -behind_ms, 0, 0), settings=times
        )
        liars = {"dishonest": ((0, "hurrier"),), "silent_afterwards": False}
        return replace(quiet, **liars, work="busy", faults_ms=FAULTS_MS, heights_max=10**6)

    run = Run(1, bend=bend)
    run.suffer()
    assert run.oracle.accused == set()
    return run.highest()


@pytest.mark.parametrize("behind_ms", [100, 300])
def test_a_clock_that_is_a_little_behind_costs_that_little_and_no_views(monkeypatch, behind_ms):
    """Nobody is waited for longer than its clock is behind, at one height in four; it was a second and more."""
    for_four_heights = heights(monkeypatch, 0)
    assert heights(monkeypatch, behind_ms) >= 0.8 * FAULTS_MS * 4 / (
        behind_ms + FAULTS_MS * 4 / for_four_heights
    )
