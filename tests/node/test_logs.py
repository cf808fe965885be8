"""What a stranger can bring about again and again does not fill the log."""

import logging

from node import logs
from node.logs import Seldom


def test_the_same_is_said_once_in_a_while_with_how_often_it_was_left_out(caplog, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: now[0])
    seldom = Seldom(logging.getLogger("seldom"))
    for _ in range(1_000):
        seldom.warning("caller refused", {"peer": "a"})
    seldom.warning("frame refused", {"peer": "b"})
    now[0] += logs.SELDOM_SECONDS
    seldom.warning("caller refused", {"peer": "c"})
    told = [(line.message, line.peer, getattr(line, "left_out", 0)) for line in caplog.records]
    assert told == [("caller refused", "a", 0), ("frame refused", "b", 0), ("caller refused", "c", 999)]
