"""The simulation of several chains: what it must come to where that is plain, and the same each time."""

import pytest

from scripts.benchmarks.simulation import AGREEMENT_MS, OUTSTANDING, RELAY_MS, simulated

US = {"event": 300.0, "verification": 100.0, "send": 300, "receive": 200, "acknowledge": 100, "update": 1_000}


@pytest.mark.parametrize("chains", [1, 2, 5])
def test_chains_that_share_nothing_add_up(chains):
    assert simulated(chains, 0.0, US, 5.0)["events_per_s"] == pytest.approx(chains * 1e6 / 400, rel=0.05)


def test_every_packet_costs_both_sides_what_it_costs():
    found = simulated(2, 0.2, US, 20.0)
    # Of five events one crosses: it is received and acknowledged besides; batches bring few updates.
    assert found["events_per_s"] == pytest.approx(2 * 1e6 / (400 + 0.2 * (200 + 100)), rel=0.05)
    assert found["received_per_s"] == pytest.approx(0.2 * found["events_per_s"], rel=0.1)


def test_a_packet_waits_for_its_relayer_and_for_what_waits_before_it():
    found = simulated(2, 0.05, US, 10.0)
    assert found["relay_ms_p50"] >= RELAY_MS + AGREEMENT_MS
    assert found["relay_ms_p99"] <= RELAY_MS + 4 * OUTSTANDING * 400 / 1e3


def test_it_is_the_same_each_time():
    assert simulated(4, 0.2, US, 2.0) == simulated(4, 0.2, US, 2.0)
