"""The bridge driven by seeds. scripts/test.py runs 20,000 of them by scripts/bridge_model.py, which also replays one that
fails; here are the first few, for who changes something."""

import os

import pytest

from tests.bridge.model import search, walk
from tests.bridge.model.chain import cheap_signatures
from tests.bridge.model.places import Violation

RUNS, CHUNK = int(os.environ.get("CHIPTRACE_MODEL_RUNS", "200")), 100  # more: scripts/bridge_guards.py


@pytest.mark.parametrize("first", range(0, RUNS, CHUNK))
def test_no_run_violates_anything(first):
    with cheap_signatures():
        for seed in range(first, first + CHUNK):
            try:
                walk.run(seed)
            except Violation as violation:
                pytest.fail(f"seed {seed}: {violation}\nscripts/bridge_model.py --replay {seed}")


def test_runs_do_what_they_are_for():
    """The walk says little if some kind of step hardly ever succeeds."""
    tally: dict[str, int] = {}
    with cheap_signatures():
        for seed in range(len(walk.SETTINGS) * 20):
            for what, count in walk.run(seed).items():
                tally[what] = tally.get(what, 0) + count
    least = {
        "sent": 300,
        "receive": 300,
        "acknowledge": 250,
        "timeout": 50,
        "accepted": 200,
        "returned": 25,
        "packed": 100,
        "unpacked": 10,
        "unpacked all": 25,
        "materialised": 25,
        "destroyed": 3,
        "crashes": 50,
        "forged": 150,
        "frozen": 3,
    }
    assert {what: tally.get(what, 0) for what, count in least.items() if tally.get(what, 0) < count} == {}


def test_a_run_is_the_same_every_time():
    with cheap_signatures():
        for seed in (4, 5):
            setting = walk.SETTINGS[seed % len(walk.SETTINGS)]
            first, second = walk.Walk(seed, setting), walk.Walk(seed, setting)
            first.run()
            second.run()
            assert first.world.acts == second.world.acts
            assert [chain.root for chain in first.world.chains.values()] == [
                chain.root for chain in second.world.chains.values()
            ]


@pytest.mark.parametrize(
    ("number", "depth", "states"), [(0, 8, 300), (1, 5, 100), (2, 5, 1_000), (3, 4, 800)]
)
def test_every_sequence_of_steps_within_small_bounds(number, depth, states):
    """Deeper: scripts/bridge_model.py --exhaust."""
    with cheap_signatures():
        figures = search.explore(search.BOUNDS[number], depth)
    assert figures["violations"] == []
    assert figures["states"] >= states
    assert figures["closed"] > 10
