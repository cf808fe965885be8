"""Four validators far apart, on lossy links, one of them dead: `python3 scripts/simulate.py --wan` in short."""

from consensus import engine
from tests.simulation.wan import P99_MS_MAX, WideArea, measure

HEIGHTS = 1_000
DEAD_IS_KNOWN_MS = 5_000


def test_final_within_a_second():
    """In each chain, the first seconds included, in which nobody knows yet that the dead one is dead."""
    for seed in range(3):
        figures = measure([seed], HEIGHTS)
        assert figures.heights >= HEIGHTS
        assert figures.p99_ms < P99_MS_MAX
        assert figures.p50_ms < 400


def test_without_loss_every_hop_is_paid_once():
    """Once the dead one is known, the longest way is: a block that has just begun, then the dead one's view, then
    three hops."""
    run = WideArea(0, 200, loss=0.0)
    run.go()
    assert max(ms for ms, since in run.waited if since > DEAD_IS_KNOWN_MS) < 700


def test_a_leader_that_does_not_repeat_itself_is_too_slow(monkeypatch):
    """Each lost proposal costs a view."""
    monkeypatch.setattr(engine, "own_proposal", lambda voter, bytes_max: [])
    assert measure([0], 300).p99_ms > P99_MS_MAX
