"""Several bridged chains, each with a core of its own, simulated block by block from what each step costs one node.

Clients keep a fixed number of transactions waiting at each chain; so many of them begin a crossing to another chain,
drawn by a seed. A chain takes what waits, oldest first, no more than fits BLOCK_MS, and the block is final when its core
has done it, yet never sooner than AGREEMENT_MS. For each route there is a relayer: when a block is final and none of its
batches is under way, it takes all packets that wait, and submits them after RELAY_MS as one transaction with one update
of the client; acknowledgements go back the same way.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from scripts.benchmarks.result import percentile, short

OUTSTANDING = 1_200  # transactions of clients that wait at a chain
BLOCK_MS = 300.0  # node/block_size.py
AGREEMENT_MS = 15.0  # submit to final on an idle chain, less what executing takes
RELAY_MS = 100.0  # a relayer hears of a block, asks for proofs and submits
WARMING_S = 2.0  # not counted
SEED = 7


@dataclass(frozen=True)
class Item:
    """What waits at a chain: a client's event (`to`: it begins a crossing there), or a batch of a relayer."""

    us: float
    to: int = -1
    kind: str = "event"  # or "receive", "acknowledge"
    route: tuple[int, int] = (
        -1,
        -1,
    )  # of a batch: the chain that sent the packets, and the one that receives them
    packets: tuple[float, ...] = ()  # of a batch: when each was final where it was sent


@dataclass
class Outcome:
    """What became final after the warming."""

    events: int = 0
    received: int = 0
    delays_ms: list[float] = field(default_factory=list)


class Simulation:
    """So many chains, their relayers and clients."""

    def __init__(self, chains: int, crossing: float, us: Mapping[str, float]) -> None:
        self._us, self._crossing, self._chains = us, crossing if chains > 1 else 0.0, chains
        self._random = random.Random(SEED)  # noqa: S311 (nothing secret)
        self._waiting = [deque(self._event(chain) for _ in range(OUTSTANDING)) for chain in range(chains)]
        self._packets: dict[tuple[str, tuple[int, int]], list[float]] = {}  # that wait for a relayer
        self._under_way: set[tuple[str, tuple[int, int]]] = set()
        self._moments: list[
            tuple[float, int, int, Item | None]
        ] = []  # ms, number, chain, a batch that arrives
        self._blocks: list[list[Item]] = [[] for _ in range(chains)]
        self._number = 0
        self.found = Outcome()

    def run(self, seconds: float) -> Outcome:
        """From the beginning until so many seconds after the warming."""
        for chain in range(self._chains):
            self._begin(chain, 0.0)
        while self._moments:
            now, _, chain, batch = heapq.heappop(self._moments)
            if now > (WARMING_S + seconds) * 1e3:
                break
            if batch is not None:
                self._waiting[chain].append(batch)
            else:
                self._final(chain, now)
                self._begin(chain, now)
        return self.found

    def _at(self, moment: float, chain: int, batch: Item | None = None) -> None:
        self._number += 1
        heapq.heappush(self._moments, (moment, self._number, chain, batch))

    def _event(self, chain: int) -> Item:
        us = self._us
        if self._random.random() >= self._crossing:
            return Item(us["event"] + us["verification"])
        other = self._random.randrange(self._chains - 1)
        return Item(us["send"] + us["verification"], to=other + (other >= chain))

    def _begin(self, chain: int, now: float) -> None:
        """The next block of a chain."""
        waiting, block, spent = self._waiting[chain], [], 0.0
        while waiting and (not block or spent + waiting[0].us / 1e3 <= BLOCK_MS):
            block.append(waiting.popleft())
            spent += block[-1].us / 1e3
        self._blocks[chain] = block
        self._at(now + max(spent, AGREEMENT_MS), chain)

    def _final(self, chain: int, now: float) -> None:
        """All of a block, and what relayers and clients do about it."""
        counts = now >= WARMING_S * 1e3
        for item in self._blocks[chain]:
            if item.kind == "event":
                self.found.events += counts
                self._waiting[chain].append(self._event(chain))  # a client's next
                if item.to >= 0:
                    self._packets.setdefault(("receive", (chain, item.to)), []).append(now)
                continue
            self._under_way.discard((item.kind, item.route))
            if item.kind == "receive":
                self._packets.setdefault(("acknowledge", item.route), []).extend(item.packets)
                if counts:
                    self.found.received += len(item.packets)
                    self.found.delays_ms.extend(now - sent for sent in item.packets)
        for (kind, route), packets in self._packets.items():
            if packets and (kind, route) not in self._under_way:
                self._under_way.add((kind, route))
                us = self._us["update"] + self._us["verification"] + len(packets) * self._us[kind]
                batch = Item(us, kind=kind, route=route, packets=tuple(packets))
                packets.clear()
                self._at(now + RELAY_MS, route[kind == "receive"], batch)


def simulated(chains: int, crossing: float, us: Mapping[str, float], seconds: float) -> dict[str, float]:
    """Events per second of all chains, and how long a packet takes from final to received."""
    found = Simulation(chains, crossing, us).run(seconds)
    delays = found.delays_ms or [0.0]
    return {
        "chains": chains,
        "crossing": crossing,
        "events_per_s": short(found.events / seconds),
        "received_per_s": short(found.received / seconds),
        "relay_ms_p50": short(percentile(delays, 0.5)),
        "relay_ms_p99": short(percentile(delays, 0.99)),
    }
