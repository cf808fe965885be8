"""A line to a validator outlives whatever its door answers with."""

import asyncio
from types import SimpleNamespace

from node import peer_line


def test_an_error_nobody_foresaw_is_logged_and_the_line_tried_again(monkeypatch):
    monkeypatch.setattr(peer_line, "RECONNECT_MS_MIN", 1)
    line = object.__new__(peer_line.Line)
    line.peer, line.connected = SimpleNamespace(member="odd"), False
    line.task, line.second, line.called = None, None, asyncio.Event()
    line._stopped, line._trouble, line._pause_ms_max = False, "", 1
    tries, lost = [], []

    async def certificate(*_):
        tries.append(1)
        if len(tries) == 3:
            line.stop()
        raise ValueError("an odd key")

    monkeypatch.setattr(peer_line, "pinned_certificate", certificate)
    line._lost, line._tls = lost.append, None
    asyncio.run(line.run())
    assert len(tries) == 3
    assert lost == ["ValueError: an odd key"] * 3
