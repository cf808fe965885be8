"""The proxy does to bytes what it says."""

import asyncio
import contextlib
import time

import pytest

from tests.perturb.proxy import SEGMENT_BYTES, Proxy

HERE = "127.0.0.1"


class Line:
    """One stream from a to b through a proxy, both ends in hand."""

    async def open(self):
        self.proxy = Proxy(["a", "b"], 1)
        accepted = asyncio.get_running_loop().create_future()
        self.server = await asyncio.start_server(lambda *ends: accepted.set_result(ends), HERE, 0)
        callee = self.server.sockets[0].getsockname()
        self.port = await self.proxy.serve("a", "b", callee)
        self.near = await asyncio.open_connection(HERE, self.port)
        self.far = await asyncio.wait_for(accepted, 5)
        self.others = []
        return self

    def close(self):
        for _, writer in (self.near, self.far, *self.others):
            writer.transport.abort()
        self.server.close()
        self.proxy.close()

    async def another(self):
        self.others.append(await asyncio.open_connection(HERE, self.port))
        return self.others[-1]

    def set(self, way="ab", **values):
        self.proxy.links[tuple(way)].change(values)

    async def there(self, data, seconds=5):
        """Sends from a to b; how long it took and what came."""
        began = time.monotonic()
        self.near[1].write(data)
        came = await asyncio.wait_for(self.far[0].readexactly(len(data)), seconds)
        return time.monotonic() - began, came

    async def back(self, data, seconds=5):
        began = time.monotonic()
        self.far[1].write(data)
        came = await asyncio.wait_for(self.near[0].readexactly(len(data)), seconds)
        return time.monotonic() - began, came


def on_a_line(test):
    def run():
        async def opened():
            line = await Line().open()
            try:
                await test(line)
            finally:
                line.close()
                await asyncio.sleep(0.01)

        asyncio.run(opened())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@on_a_line
async def test_bytes_pass_unchanged_both_ways(line):
    data = bytes(range(256)) * 4_000
    assert (await line.there(data))[1] == data
    assert (await line.back(data))[1] == data


@on_a_line
async def test_a_delay_holds_one_way_only(line):
    line.set(delay_ms=150)
    assert (await line.there(b"x"))[0] >= 0.15
    assert (await line.back(b"x"))[0] < 0.1


@on_a_line
async def test_what_is_behind_a_lost_segment_waits_for_it(line):
    line.set(delay_ms=20, loss=0.3)
    took, came = await line.there(b"y" * SEGMENT_BYTES * 40, 20)
    assert took >= 0.2
    assert came == b"y" * SEGMENT_BYTES * 40
    assert 0 < line.proxy.counted["lost"] < line.proxy.counted["segments"] * 0.7


@on_a_line
async def test_a_black_hole_is_one_way_and_gives_back_what_it_held(line):
    line.set(black_hole=True)
    with pytest.raises(TimeoutError):
        await line.there(b"one", 0.3)
    assert (await line.back(b"two"))[1] == b"two"
    line.set(black_hole=False)
    assert await asyncio.wait_for(line.far[0].readexactly(3), 2) == b"one"


@on_a_line
async def test_a_black_hole_lets_no_new_stream_through(line):
    line.set("ba", black_hole=True)
    reader, writer = await line.another()
    writer.write(b"hello")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.3)
    assert line.proxy.counted["streams"] == 1


@on_a_line
async def test_refused_streams_end_and_new_ones_do_at_once(line):
    line.set(refuse=True)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await line.far[0].readexactly(1)
    reader, _ = await line.another()
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(1), 2) == b""


@on_a_line
async def test_corruption_changes_one_bit(line):
    line.set(corrupt=1)
    _, came = await line.there(bytes(1_000))
    assert sum(byte.bit_count() for byte in came) == line.proxy.counted["corrupted"] >= 1


@on_a_line
async def test_a_clogged_link_takes_its_time(line):
    line.set(rate=100_000)
    assert (await line.there(bytes(40_000)))[0] >= 0.35


@on_a_line
async def test_an_end_that_closes_closes_the_other_after_its_last_bytes(line):
    line.set(delay_ms=50)
    line.near[1].write(b"last")
    line.near[1].close()
    assert await asyncio.wait_for(line.far[0].read(), 2) == b"last"
