"""Seeds that once found something, each with what it was. None is ever taken out.

A seed means what it means for the draws of its day: where a change of the scenarios makes one of these harmless,
the finding has a test of its own in tests/consensus.
"""

import pytest

from tests.simulation.run import simulate

PINNED = [
    (169, "a link slower than the patience for block requests: late answers were refused for ever"),
    (210, "the same, four validators"),
    (227, "the same, under load"),
    (263, "the same, with flooding"),
    (322, "the same, five validators that never got under way"),
    (
        1000032,
        "31 validators said more than the simulator had the patience for; they were neither stuck nor slow",
    ),
    (700093, "the same, nine validators"),
    (
        8948,
        "sixty transactions waited before the one that healing was measured by: heights went on, nobody was stuck",
    ),
    (100864, "a re-proposal with a garbled bitmap in a notarization that nobody looked at stopped the node"),
]


@pytest.mark.parametrize(("seed", "found"), PINNED)
def test_pinned_seed(seed, found):
    report = simulate(seed)
    assert not report.violation, f"{found}: {report.violation}"
