"""A network between nodes, as one process: each validator's lines to the others run through it, and it misbehaves.

    python -m tests.perturb.proxy PLAN.json        # {"seed": 7, "links": [{"from", "to", "port"} ...]} -> PLAN.ports

For every ordered pair of nodes the proxy listens on a port of its own and passes bytes on to the callee's consensus
port; it writes where it listens beside the plan. It sees only TLS records: both ends still hold each other to their
pins, so what it changes must end the stream. Conditions hold for bytes that travel from one node to another, in
whichever stream (a stream has two directions), and come over a control port, one JSON object per line:

    {"links": [["a", "b"], ...], "set": {"delay_ms": 50, "loss": 0.05}}    conditions from then on, the others kept
    {"links": [...], "cut": true}                                          streams from a to b end now
    {}                                                                     answers with what was done so far

What a condition means to a stream of bytes:

delay_ms     one way; a connection is made after a round trip
loss         the chance that a segment of 1,448 bytes is lost. TCP hides losses and pays with time: the segment and
             all bytes behind it come after a retransmission, max(200 ms, 2 round trips), twice that when the
             retransmission is lost too, and so on. Fast retransmits, which need more bytes under way than votes are,
             are left out: this is the harsher reading. A lost SYN costs a second.
black_hole   bytes are held, as unacknowledged bytes are, until this ends or the stream does; no new stream is made
refuse       the callee cannot be reached: streams end, and new ones end at once
corrupt      the chance that a byte of what was just read is changed
rate         bytes per second of all streams together, 0 for as many as come
"""

import asyncio
import contextlib
import json
import random
import sys
from collections import Counter
from dataclasses import dataclass, field, fields
from pathlib import Path

SEGMENT_BYTES = 1_448
READ_BYTES = 65_536
HELD_BYTES_MAX = 4_194_304  # of one direction; then its sender has to wait
RETRANSMIT_MS_MIN = 200
SYN_LOST_SECONDS = 1.0
RETRANSMITS_MAX = 6


@dataclass
class Conditions:
    """What happens to bytes from one node to another."""

    delay_ms: float = 0
    loss: float = 0
    black_hole: bool = False
    refuse: bool = False
    corrupt: float = 0
    rate: float = 0


@dataclass
class Link:
    """From one node to another."""

    conditions: Conditions = field(default_factory=Conditions)
    passable: asyncio.Event = field(default_factory=asyncio.Event)
    streams: set = field(default_factory=set)  # tasks of the streams in which bytes of this link travel
    free_at: float = 0  # when the bytes before have passed at the given rate

    def change(self, values):
        known = {item.name for item in fields(Conditions)}
        assert set(values) <= known, f"conditions are {sorted(known)}"
        for name, value in values.items():
            setattr(self.conditions, name, value)
        (self.passable.clear if self.conditions.black_hole else self.passable.set)()
        if self.conditions.refuse:
            self.cut()

    def cut(self):
        for stream in list(self.streams):
            stream.cancel()


class Proxy:
    def __init__(self, names, seed):
        self.links = {(a, b): Link() for a in names for b in names if a != b}
        for link in self.links.values():
            link.passable.set()
        self.random = random.Random(seed)
        self.counted = Counter()
        self.servers = []

    # ---- streams ------------------------------------------------------------------------------------

    async def serve(self, caller, callee, address):
        """Listens for one node's calls to another; the port."""

        async def accepted(reader, writer):
            task = asyncio.current_task()
            ways = self.links[caller, callee], self.links[callee, caller]
            for link in ways:
                link.streams.add(task)
            try:
                await self._stream(ways, reader, writer, address)
            except (OSError, asyncio.CancelledError):
                pass  # an end vanished, or the stream was cut
            finally:
                for link in ways:
                    link.streams.discard(task)
                writer.transport.abort()

        server = await asyncio.start_server(accepted, "127.0.0.1", 0, limit=READ_BYTES)
        self.servers.append(server)
        return server.sockets[0].getsockname()[1]

    def close(self):
        """No more streams; those there are end."""
        for server in self.servers:
            server.close()
        for link in self.links.values():
            link.cut()

    async def _stream(self, ways, reader, writer, address):
        there, back = ways
        if there.conditions.refuse or back.conditions.refuse:
            return
        await there.passable.wait()
        await back.passable.wait()
        lost = 0
        while lost < RETRANSMITS_MAX and any(self.random.random() < way.conditions.loss for way in ways):
            lost += 1
        round_trip = (there.conditions.delay_ms + back.conditions.delay_ms) / 1_000
        await asyncio.sleep(lost * SYN_LOST_SECONDS + round_trip)
        self.counted["streams"] += 1
        far_reader, far_writer = await asyncio.open_connection(*address, limit=READ_BYTES)
        pumps = [
            asyncio.create_task(self._pump(there, back, reader, far_writer)),
            asyncio.create_task(self._pump(back, there, far_reader, writer)),
        ]
        try:
            # One end gone, the other is told once what was under way has arrived.
            await asyncio.gather(*pumps)
        finally:
            for pump in pumps:
                pump.cancel()
            far_writer.transport.abort()

    async def _pump(self, link, back, reader, writer):
        """Bytes of one direction: read, held as long as conditions say, written."""
        held = asyncio.Queue()
        room = asyncio.Event()
        room.set()
        waiting = 0

        async def write():
            nonlocal waiting
            while True:
                due, data = await held.get()
                await asyncio.sleep(due - asyncio.get_running_loop().time())
                await link.passable.wait()
                await self._clog(link, data)
                if data is None:
                    if writer.can_write_eof():
                        writer.write_eof()
                    return
                writer.write(data)
                await writer.drain()
                waiting -= len(data)
                room.set()

        writing = asyncio.create_task(write())
        last_due = 0.0
        try:
            while True:
                data = await reader.read(READ_BYTES)
                await link.passable.wait()
                for due, part in self._due(link, back, data):
                    last_due = max(last_due, due)  # a stream keeps its order
                    held.put_nowait((last_due, part))
                    waiting += len(part or b"")
                if not data:
                    await writing
                    return
                while waiting > HELD_BYTES_MAX:
                    room.clear()
                    await room.wait()
        finally:
            writing.cancel()

    async def _clog(self, link, data):
        """Waits until the bytes before these have passed at the rate; a rate that is lifted holds up nothing more."""
        now = asyncio.get_running_loop().time
        if link.conditions.rate and data:
            link.free_at = max(link.free_at, now()) + len(data) / link.conditions.rate
            until = link.free_at
            while link.conditions.rate and now() < until:  # noqa: ASYNC110
                await asyncio.sleep(min(0.1, until - now()))
        else:
            link.free_at = 0.0

    def _due(self, link, back, data):
        """When which part of what was read arrives; None for the end."""
        conditions = link.conditions
        now = asyncio.get_running_loop().time()
        delay = conditions.delay_ms / 1_000
        if not data:
            yield now + delay, None
            return
        if self.random.random() < conditions.corrupt:
            place = self.random.randrange(len(data))
            data = data[:place] + bytes([data[place] ^ 1 << self.random.randrange(8)]) + data[place + 1 :]
            self.counted["corrupted"] += 1
        retransmit = max(RETRANSMIT_MS_MIN, 2 * (conditions.delay_ms + back.conditions.delay_ms)) / 1_000
        for start in range(0, len(data), SEGMENT_BYTES):
            part = data[start : start + SEGMENT_BYTES]
            self.counted["segments"] += 1
            late = 0.0
            for attempt in range(RETRANSMITS_MAX):
                if self.random.random() >= conditions.loss:
                    break
                late += retransmit * 2**attempt
                self.counted["lost"] += 1
            yield now + delay + late, part

    # ---- control ------------------------------------------------------------------------------------

    async def control(self, reader, writer):
        while line := await reader.readline():
            try:
                self._told(json.loads(line))
                answer = dict(self.counted)
            except (ValueError, KeyError, AssertionError) as error:
                answer = {"error": repr(error)}
            writer.write(json.dumps(answer).encode() + b"\n")
        writer.close()

    def _told(self, wanted):
        for caller, callee in wanted.get("links", ()):
            link = self.links[caller, callee]
            link.change(wanted.get("set", {}))
            if wanted.get("cut"):
                link.cut()


async def main(plan_file):
    plan = json.loads(plan_file.read_text())
    names = sorted({item[end] for item in plan["links"] for end in ("from", "to")})
    proxy = Proxy(names, plan["seed"])
    server = await asyncio.start_server(proxy.control, "127.0.0.1", 0)
    found = {"control": server.sockets[0].getsockname()[1], "links": []}
    for item in plan["links"]:
        port = await proxy.serve(item["from"], item["to"], ("127.0.0.1", item["port"]))
        found["links"].append({"from": item["from"], "to": item["to"], "port": port})
    fresh = plan_file.with_suffix(".new")
    fresh.write_text(json.dumps(found))
    fresh.replace(plan_file.with_suffix(".ports"))
    await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(Path(sys.argv[1])))
