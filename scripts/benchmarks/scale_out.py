"""What several bridged chains reach on as many times the cores, and where one chain ends: 10^9 parts. By extrapolation.

Measured: the CPU of one node for a local event and for each step of a crossing (send, receive with its share of the
client's update, acknowledge), and the length of proofs as the state grows. From these, and from nothing else, follow the
figures for k chains, each on its own cores, and for sizes that were not filled: they are computed, not measured.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from pathlib import Path
from typing import Any

from ledger import codec, state
from proto.chiptrace.v1.bridge_pb2 import SendPart
from proto.chiptrace.v1.ledger_pb2 import Operation
from scripts.benchmarks import prefill
from scripts.benchmarks.limits import verifications
from scripts.benchmarks.result import Result, result, short
from tests.bridge.two_chains import HOUR_MS, BridgedChain, World, object_event, serial

CHAINS = (1, 2, 4, 8, 16)
CROSSING = (0.0, 0.05, 0.2)  # of all events begin a crossing
SIZES = (10**6, 10**7, 10**8, 10**9)
PROOFS = 200  # at each size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--parts", type=int, default=300, help="that cross, one transaction each")
    parser.add_argument(
        "--sizes", default="1000,10000,100000", help="parts in a state whose proofs are measured"
    )


class Clocked:
    """CPU of one chain's node: from admission until a block is stored."""

    def __init__(self, chain: BridgedChain) -> None:
        self.chain = chain
        self.spent = 0.0
        self.decide = chain.decide
        chain.decide = self._decide  # type: ignore[method-assign]

    def _decide(self, data: bytes) -> Any:
        began = time.thread_time()
        try:
            return self.decide(data)
        finally:
            self.spent += time.thread_time() - began

    def taken(self) -> float:
        """CPU seconds since it was asked last."""
        spent, self.spent = self.spent, 0.0
        return spent


def crossing_us(parts: int) -> dict[str, float]:
    """Microseconds of a node per event and per step of a crossing, and of the verification that comes on top."""
    world = World("a", "b")
    first, second = Clocked(world["a"]), Clocked(world["b"])
    verify_us = 1e6 / verifications(0.3)
    names = [serial(number) for number in range(1, parts + 1)]
    made = [world["a"].transaction("ada", object_event("ADD", "commissioning", name)) for name in names]
    world["a"].produce(made)
    found = {"event": first.taken() / parts * 1e6}
    until = world.clock.now_ms + HOUR_MS
    sent = [SendPart(client="b-1", part=name, receiver="bob", timeout_ms=until) for name in names]
    world["a"].produce(
        [world["a"].transaction("ada", Operation(send_part=codec.encode(one))) for one in sent]
    )
    found["send"] = first.taken() / parts * 1e6
    second.taken()
    world.relay()
    found["receive"] = second.taken() / parts * 1e6
    found["acknowledge"] = first.taken() / parts * 1e6
    if world.part("b", names[-1]).holder == "" and world.part("b", names[-1]).offered_to != "bob":
        raise SystemExit("the benchmark is wrong: nothing crossed")
    # What its maker proposes is verified before it is decided; a relayer's transaction carries many packets.
    return {name: short(us) for name, us in (found | {"verification": verify_us}).items()}


def proofs(sizes: list[int]) -> list[dict[str, float]]:
    """Bytes of the proof of one part among so many, its record not counted."""
    found = []
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="chiptrace-bench-") as folder:
            chain = prefill.alone(Path(folder), size)
            keys = [
                state.part_key(prefill.CLASS + prefill.serial(number).decode()) for number in range(PROOFS)
            ]
            lengths = [proven.proof.ByteSize() for proven in chain.prove(keys).keys]
            chain.close()
        found.append({"parts": size, "proof_bytes": round(sum(lengths) / len(lengths))})
    return found


def throughput(us: dict[str, float], chains: int, crossing: float) -> float:
    """Events per second of so many chains of which each has cores of its own, as far as execution goes."""
    local = us["event"] + us["verification"]
    step = us["send"] + us["verification"] + us["receive"] + us["acknowledge"] if chains > 1 else 0.0
    return chains * 1e6 / (local + crossing * step)


def measure(chosen: argparse.Namespace) -> Result:
    us = crossing_us(chosen.parts)
    measured = proofs([int(size) for size in chosen.sizes.split(",")])
    first, last = measured[0], measured[-1]
    per_doubling = (last["proof_bytes"] - first["proof_bytes"]) / math.log2(last["parts"] / first["parts"])
    computed = [
        {
            "parts": size,
            "proof_bytes": round(last["proof_bytes"] + per_doubling * math.log2(size / last["parts"])),
        }
        for size in SIZES
    ]
    several = [
        {"chains": chains, "crossing": part, "events_per_s": round(throughput(us, chains, part))}
        for chains in CHAINS
        for part in CROSSING
    ]
    most = throughput(us, CHAINS[-1], CROSSING[1])
    return result(
        most / throughput(us, 1, 0.0),
        f"times one chain's events/s, {CHAINS[-1]} chains, {CROSSING[1]:.0%} of events begin a crossing (computed)",
        [CHAINS[-1]],
        "times, if nothing crossed",
        [one["events_per_s"] for one in several],
        us=us,
        chains_computed=several,
        proofs_measured=measured,
        proof_bytes_per_doubling=short(per_doubling),
        proofs_computed=computed,
    )
