"""With one dishonest validator too many the oracle does see forks, so that it can see."""

import pytest

from tests.simulation.excess import FORKING, fork_of, seeds_to_fork

SEEDS = 100


@pytest.mark.parametrize("names", FORKING)
def test_one_too_many_forks(names):
    assert seeds_to_fork(names, SEEDS) is not None


def test_the_same_with_one_fewer_does_not():
    """The oracle sees no fork where one of the two is only silent."""
    assert not any("fork at" in fork_of("supporter and silent", seed) for seed in range(20))
