"""A chain whose quorum is corrupt against two honest ones, at random: it takes nothing, doubles nothing, stops nobody.

What it does: tests/bridge/corrupt_journey.py. More seeds: CHIPTRACE_CORRUPT_RUNS=200, beginning at CHIPTRACE_CORRUPT_FROM.
"""

import os

import pytest

from tests.bridge.corrupt_journey import STEPS, Journey

RUNS = int(os.environ.get("CHIPTRACE_CORRUPT_RUNS", "3"))
FIRST = int(os.environ.get("CHIPTRACE_CORRUPT_FROM", "0"))


@pytest.mark.parametrize("seed", range(FIRST, FIRST + RUNS))
def test_a_corrupt_chain_takes_nothing_and_stops_nobody(seed):
    journey = Journey(seed)
    for _ in range(STEPS):
        journey.step()
    journey.come_to_rest()


def test_the_journeys_go_everywhere():
    """They say little if some kind of step never comes to anything."""
    done = set()
    for seed in range(6):
        journey = Journey(seed)
        for _ in range(STEPS):
            journey.step()
        done |= journey.done
    members = {
        "pack",
        "unpack",
        "unpack_all",
        "ship",
        "accept",
        "accept_amount",
        "inspect",
        "correct",
        "materialise",
    }
    members |= {"send", "send_amount", "return"}
    assert done >= members | {"lie", "lie about contents", "answer", "materialise a lie"}
