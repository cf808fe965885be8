"""Seeds that once found something, each with what it was. None is ever taken out.

A seed means what it means for the draws of its day: where a change of the scenarios makes one of these harmless,
the finding has a test of its own in tests/consensus.
"""

import pytest

from tests.simulation.run import simulate

PINNED = [
    (37, "a link slower than the patience for block requests: late answers were refused for ever"),
    (169, "the same, five validators"),
    (181, "the same, and without that node there is no quorum"),
    (210, "the same, four validators"),
    (263, "the same, with flooding"),
]


@pytest.mark.parametrize(("seed", "found"), PINNED)
def test_pinned_seed(seed, found):
    report = simulate(seed)
    assert not report.violation, f"{found}: {report.violation}"
