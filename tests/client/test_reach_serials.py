"""The reach of lots of serials, of any kind, after random walks: each serial is counted once, with who has it."""

from collections import Counter

import pytest

from client.reach import Reach
from tests.client.direct import verified
from tests.client.test_serials import lists_of_any_chain, walked
from tests.ledger.test_serials_model import LOTS

__all__ = ["lists_of_any_chain"]  # a fixture


@pytest.mark.parametrize("seed", range(6))
def test_each_serial_once(monkeypatch, seed):
    walk, chain = walked(monkeypatch, seed, 80, 6)
    for lot, (_, count) in LOTS.items():
        report = Reach({chain.chain_id: verified(chain)}).run(lot, chain.chain_id, lambda: 0)
        assert (report.problem, report.gaps) == ("", [])
        pieces = [
            thing for thing in report.reached if thing.kind in ("part", "serials") and not thing.holds_only
        ]
        assert sum(thing.count for thing in pieces) == count
        assert sum(report.counts().values()) == count
        # By status and holder, each serial by itself and each piece by its count.
        known = Counter()
        for serial in walk.naive.lots[lot]:
            box = walk.naive.boxes.get(serial.inside)
            inside = serial if box is None or serial.status != "LIVE" else box
            known[inside.status, inside.holder] += 1
        told = Counter()
        for thing in pieces:
            told[thing.status, thing.holder] += thing.count
        assert told == known
        some = Reach({chain.chain_id: verified(chain)}).run(
            f"{lot}?interval=1-{count}", chain.chain_id, lambda: 0
        )
        assert (some.problem, sum(some.counts().values())) == ("", count - 1)
