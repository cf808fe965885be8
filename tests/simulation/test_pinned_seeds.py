"""Seeds that once found something, each with what it was. None is ever taken out.

A seed means what it means for the draws of its day: where a change of the scenarios makes one of these harmless,
the finding has a test of its own in tests/consensus.
"""

import pytest

from tests.simulation.run import simulate

PINNED = [
    (24, "a link slower than the patience for block requests: late answers were refused for ever"),
    (65, "the same, idle"),
    (132, "the same, with half of the height's bodies missing"),
    (153, "the same, with ten validators under load"),
    (268, "the same, without anyone dishonest"),
]


@pytest.mark.parametrize(("seed", "found"), PINNED)
def test_pinned_seed(seed, found):
    report = simulate(seed)
    assert not report.violation, f"{found}: {report.violation}"
