"""The same seed is the same run, bit by bit, whatever the process's hash seed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.run import simulate

ROOT = Path(__file__).resolve().parents[2]
SEEDS = (3, 11, 12, 27, 33, 58)
PROGRAM = f"from tests.simulation.run import simulate\nfor seed in {SEEDS}: print(simulate(seed))"


def test_one_process_says_the_same_twice():
    first, second = ([simulate(seed) for seed in SEEDS] for _ in range(2))
    assert first == second
    assert len({report.trace for report in first}) == len(SEEDS)


@pytest.mark.parametrize("hash_seeds", [("1", "4242")])
def test_two_processes_say_the_same(hash_seeds):
    said = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in hash_seeds
    ]
    assert said[0] == said[1]
    assert said[0].count("trace=") == len(SEEDS)
