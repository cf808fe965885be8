"""Two chains of one validator each and their relayer as real processes, each chain on a core of its own, under full load."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

from client.clock import now_ms
from client.session import open_all
from ledger import codec
from ledger.block import sign_transaction
from node import testnet_plan
from node.state_sync import STORE
from node.testnet import Testnet
from proto.chiptrace.v1.bridge_pb2 import SendPart
from proto.chiptrace.v1.ledger_pb2 import Operation
from scripts.benchmarks.machine import note
from scripts.benchmarks.networks import VALID_MS
from scripts.benchmarks.offering import MORE, OUTSTANDING, WARMING_PER_S, WARMING_S, Offered, closed
from scripts.benchmarks.query_nodes import pinned
from scripts.benchmarks.result import short
from scripts.benchmarks.testnets import FRAME, nodes_of
from scripts.bridge_sides import Side
from tests.integration.testbed import commissioning, serial

PREFIX = {"siliconfab": "9521001", "boardworks": "9525001"}
SEED = 7
TOGETHER = 4_000  # parts commissioned by one transaction


class Mixed:
    """The load of one chain: parts are commissioned, and so many of all transactions send one that was before."""

    def __init__(self, side: Side, receiver: str) -> None:
        self._side, self._receiver = side, receiver
        self._random = random.Random(SEED)  # noqa: S311 (nothing secret)

    def transactions(self, count: int, crossing: float) -> list[bytes]:
        """Signed ones, each of one event or one send."""
        side = self._side
        sends = round(count * crossing)
        sent = (
            part for at in range(0, sends, TOGETHER) for part in side.commission(min(TOGETHER, sends - at))
        )
        kinds = [number < sends for number in range(count)]
        self._random.shuffle(kinds)
        until = now_ms() + VALID_MS
        return [
            sign_transaction(
                side.session.trust.chain_id,
                side.signer.seed,
                [self._send(next(sent), until) if crosses else commissioning(serial(PREFIX[side.member]))],
                until,
                os.urandom(16),
            )
            for crosses in kinds
        ]

    def _send(self, part: str, until: int) -> Operation:
        message = SendPart(client=self._side.client, part=part, receiver=self._receiver, timeout_ms=until)
        return Operation(send_part=codec.encode(message))

    async def load(self, waiting: list[bytes], seconds: float) -> Offered:
        """The closed form."""
        return await closed(self._side.session, waiting, seconds, OUTSTANDING, FRAME)


def phase(mixed: list[Mixed], crossing: float, seconds: float, rate: float) -> list[float]:
    """Transactions per second of each chain."""
    waiting = [one.transactions(int(rate * seconds), crossing) for one in mixed]

    async def both() -> list[Offered]:
        return await asyncio.gather(
            *(one.load(some, seconds) for one, some in zip(mixed, waiting, strict=True))
        )

    return [
        sum(moment <= found.seconds for moment in found.final) / found.seconds
        for found in asyncio.run(both())
    ]


def measured(crossing: float, seconds: float) -> dict[str, Any]:
    """Events per second of both chains, without crossings and with so many, and how many packets were received."""
    with tempfile.TemporaryDirectory(prefix="chiptrace-bench-") as folder:
        home = Path(folder) / "net"
        testnet = Testnet(home)
        try:
            network = testnet.up(
                None, [], lambda text: print(text, file=sys.stderr), testnet_plan.two_chains(1)
            )
            cores, processes = sorted(os.sched_getaffinity(0)), []
            for chain, core in zip(network.chains, (cores[0], cores[-1]), strict=True):
                (process,) = nodes_of(home, chain.name).values()
                pinned(process, core)
                processes.append(process)
            with open_all(network.trust_file) as sessions:
                first, second = (sessions[chain.chain_id] for chain in network.chains)
                sides = [Side(first, second.trust.name), Side(second, first.trust.name)]
                mixed = [Mixed(side, other.member) for side, other in zip(sides, sides[::-1], strict=True)]
                warm = phase(mixed, 0.0, WARMING_S, WARMING_PER_S)
                local = phase(mixed, 0.0, seconds, MORE * max(warm))
                crossed = phase(mixed, crossing, seconds, MORE * max(warm))
                received = sum(len(side.packets(received=True)) for side in sides)
            note(processes, home.glob(f"nodes/*/data/{STORE}"))
        finally:
            testnet.down()
    return {
        "seconds": seconds,
        "crossing": crossing,
        "local_per_s": short(sum(local)),
        "events_per_s": short(sum(crossed)),
        "received_per_s": short(received / seconds),
    }
