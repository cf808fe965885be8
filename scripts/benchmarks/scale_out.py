"""What several bridged chains reach on as many times the cores, by simulation, and where one chain ends: 10^9 parts.

Measured: the CPU of one node for a local event and for each step of a crossing (send, receive, acknowledge, the update of
the client that a batch brings), and the length of proofs as the state grows. The chains are simulated from these costs block by
block (simulation.py), and the simulation is held against two real chains on this machine (two_chains.py). Sizes that were
not filled are extrapolated. The answer says which is which.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ledger import codec, state
from proto.chiptrace.v1.bridge_pb2 import SendPart
from proto.chiptrace.v1.ledger_pb2 import Operation
from scripts.benchmarks import prefill, two_chains
from scripts.benchmarks.limits import verifications
from scripts.benchmarks.result import Result, median, result, short
from scripts.benchmarks.simulation import simulated
from tests.bridge.two_chains import HOUR_MS, BridgedChain, World, object_event, serial

CHAINS = (1, 2, 4, 8, 16)
CROSSING = (0.0, 0.05, 0.2)  # of all events begin a crossing
SINGLE = 5  # packets carried each under an update of its own
SIZES = (10**6, 10**7, 10**8, 10**9)
PROOFS = 200  # at each size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--parts", type=int, default=300, help="that cross, one transaction each")
    parser.add_argument(
        "--seconds", type=float, default=15.0, help="of each load on two real chains; 0: none"
    )
    parser.add_argument("--simulated", type=float, default=10.0, help="seconds of each simulation")
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
    names = [serial(number) for number in range(1, parts + SINGLE + 1)]
    made = [world["a"].transaction("ada", object_event("ADD", "commissioning", name)) for name in names]
    world["a"].produce(made)
    found = {"event": first.taken() / len(names) * 1e6}
    until = world.clock.now_ms + HOUR_MS
    sent = [SendPart(client="b-1", part=name, receiver="bob", timeout_ms=until) for name in names]
    transactions = [world["a"].transaction("ada", Operation(send_part=codec.encode(one))) for one in sent]

    def carried(some: Sequence[bytes]) -> tuple[float, float, float]:
        """Microseconds of sending so many, of receiving them under one update, of acknowledging them under one."""
        first.taken()
        world["a"].produce(some)
        sending = first.taken()
        second.taken()
        world.relay()
        return sending * 1e6, second.taken() * 1e6, first.taken() * 1e6

    single = [carried([one]) for one in transactions[:SINGLE]]
    sending, receiving, acknowledging = carried(transactions[SINGLE:])
    alone = [median([one[place] for one in single]) for place in (1, 2)]
    # One packet is an update and a packet, all of them an update and so many packets.
    found |= {
        "send": sending / parts,
        "receive": (receiving - alone[0]) / (parts - 1),
        "acknowledge": (acknowledging - alone[1]) / (parts - 1),
    }
    found["update"] = max(0.0, median([alone[0] - found["receive"], alone[1] - found["acknowledge"]]))
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


def held_against(us: dict[str, float], chosen: argparse.Namespace) -> dict[str, Any]:
    """The simulation of two chains, and two real ones. The simulated core is as fast as the real one with all that shares it:
    that much is taken from the real chains without crossings."""
    real = two_chains.measured(CROSSING[-1], chosen.seconds)
    slower = 2 * 1e6 / real["local_per_s"] / (us["event"] + us["verification"])
    found = simulated(2, CROSSING[-1], {name: one * slower for name, one in us.items()}, chosen.simulated)
    off = found["events_per_s"] / real["events_per_s"] - 1
    return {"real": real, "simulated": found, "slower_by": short(slower), "simulated_off_by": short(off)}


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
    several = [simulated(chains, part, us, chosen.simulated) for part in CROSSING for chains in CHAINS]
    by = {(one["chains"], one["crossing"]): one["events_per_s"] for one in several}
    alone = by[1, 0.0]
    return result(
        by[CHAINS[-1], CROSSING[1]] / alone,
        f"times one chain's events/s, {CHAINS[-1]} chains, {CROSSING[1]:.0%} of events begin a crossing (simulated)",
        [by[CHAINS[-1], 0.0] / alone],
        "times, if nothing crossed (simulated)",
        [one["events_per_s"] for one in several],
        us=us,
        chains_simulated=several,
        held_against=held_against(us, chosen) if chosen.seconds else None,
        proofs_measured=measured,
        proof_bytes_per_doubling=short(per_doubling),
        proofs_extrapolated=computed,
    )
