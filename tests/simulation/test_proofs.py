"""A leader that proposes what it cannot prove: nobody votes for it, and the oracle would see it if anyone did."""

from dataclasses import replace

import pytest

from consensus import safety
from tests.simulation.network import Conditions
from tests.simulation.run import Run, calm

SEEDS = 20


def violations():
    def bend(drawn):
        return replace(
            calm(drawn),
            size=4,
            sets=((0, 1, 2, 3),),
            dishonest=((0, "skipper"),),
            skews=(0, 0, 0, 0),
            work="busy",
            conditions=Conditions(delay_min_ms=5, delay_mean_ms=25, loss=0.2),
            faults_ms=3_000,
            heights_max=12,
        )

    for seed in range(SEEDS):
        yield Run(seed, bend=bend).go().violation


def test_what_is_not_proven_is_not_voted_for():
    assert not any(violations())


def no_gap(patch):
    lawful = safety.proof_complete

    def proof_complete(held, view, from_view, block_hash):
        return from_view == 0 or lawful(held, view, from_view, block_hash)

    patch.setattr(safety, "proof_complete", proof_complete)


def no_notarization(patch):
    patch.setattr(
        safety,
        "proof_complete",
        lambda held, view, from_view, block_hash: held.all_nullified(after=from_view, before=view),
    )


@pytest.mark.parametrize("mutate", [no_gap, no_notarization])
def test_whoever_votes_for_it_is_seen(monkeypatch, mutate):
    mutate(monkeypatch)
    assert any(
        "without a complete durable proof" in each or "can be notarized" in each for each in violations()
    )
