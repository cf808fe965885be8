"""Two chains, real processes, and relayers that are killed, doubled and paused; in the end every part is live exactly once.

    .venv/bin/python scripts/bridge_run.py             # 500 parts, pauses of 60 s: about five minutes
    .venv/bin/python scripts/bridge_run.py --parts 60 --pause 5

Nobody repairs anything: what was killed is started again, and that is all. Both chains are under load all the while, the
validators of both are rotated, one chain is stopped and started. Then the latency of the relay is measured, and how many
client updates a thousand packets take. Exit 1: something did not hold.
"""

import argparse
import json
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from client.session import open_all  # noqa: E402
from node import config  # noqa: E402
from node.config import RelayConfig  # noqa: E402
from node.testnet import RELAY  # noqa: E402
from proto.chiptrace.v1.ledger_pb2 import PartStatus  # noqa: E402
from scripts.bridge_sides import LONG_MS, PRESENT, SECOND_RELAY, BridgeRun, Side, say, until  # noqa: E402

SETTLE_SECONDS = 180.0

# ---- the story ------------------------------------------------------------------------------------------------------------


def storm(run: BridgeRun, sides: tuple[Side, Side], parts: int, pause: float) -> dict[str, Any]:
    """Everything that may happen to relayers and chains, with parts under way both ways."""
    first, second = sides
    run.kill_relay(RELAY)

    def wave(count: int) -> None:
        for side, other in (sides, sides[::-1]):
            made = side.commission(count // 2)
            # Every tenth has so little time that it runs out during a pause.
            side.send(made, other.member, lambda place: int(pause * 500) if place % 10 == 0 else LONG_MS)

    def below(share: float) -> None:
        begun = len(first.sent) + len(second.sent)
        until(lambda: first.open() + second.open() <= begun * share, SETTLE_SECONDS, "progress of relayers")

    wave(parts)
    in_flight = first.open() + second.open()
    say(f"{in_flight} parts in flight; two relayers start")
    run.start_relay(RELAY)
    run.start_relay(SECOND_RELAY)
    below(0.85)
    say("one relayer killed")
    run.kill_relay(RELAY)
    below(0.7)
    say("it starts again; the other one is killed and loses its table")
    run.start_relay(RELAY)
    run.kill_relay(SECOND_RELAY, lose_table=True)
    run.start_relay(SECOND_RELAY)
    wave(parts // 5)
    say(f"both paused for {pause:.0f} s")
    for name in (RELAY, SECOND_RELAY):
        run.signal(name, signal.SIGSTOP)
    run.rotate(first)
    time.sleep(pause)
    for name in (RELAY, SECOND_RELAY):
        run.signal(name, signal.SIGCONT)
    wave(parts // 5)
    say(f"chain {second.name} stopped for {pause:.0f} s")
    run.stop_chain(second.name)
    time.sleep(pause)
    run.start_chain(second.name)
    until(
        lambda: run.ask(second.name, run.network.chain(second.name).nodes[0].clients).synced,
        60,
        "the chain again",
    )
    run.rotate(second)
    began = time.monotonic()
    until(lambda: first.open() + second.open() == 0, SETTLE_SECONDS, "every packet closed")
    return {"in_flight": in_flight, "settled_seconds": round(time.monotonic() - began, 1)}


def accounted(sides: tuple[Side, Side]) -> dict[str, Any]:
    """Where every part is: received by whom it was offered to, and live on exactly one chain."""
    first, second = sides
    parts = first.sent + second.sent
    for side in sides:
        offered = [part for part, item in side.records(parts).items() if item.status == PartStatus.OFFERED]
        side.accept(offered)

    def records() -> Any:
        found = [side.records(parts) for side in sides]
        offered = any(item.status == PartStatus.OFFERED for half in found for item in half.values())
        return None if offered else found

    found = until(records, 30, "offers received")
    live = Counter(part for half in found for part, item in half.items() if item.status in PRESENT)
    stuck = [part for half in found for part, item in half.items() if item.status == PartStatus.IN_TRANSIT]
    crossed = sum(found[1][p].status == PartStatus.LIVE for p in first.sent if p in found[1])
    crossed += sum(found[0][p].status == PartStatus.LIVE for p in second.sent if p in found[0])
    return {
        "parts": len(parts),
        "live_once": sum(live[part] == 1 for part in parts),
        "stuck": len(stuck),
        "crossed": crossed,
        "came_back": len(parts) - crossed,
    }


def latency(sides: tuple[Side, Side], samples: int) -> dict[str, Any]:
    """Packet final on the first chain, to received on the second, each at a moment drawn anew."""
    first, second = sides
    moments = random.Random(1)  # noqa: S311
    took, blocks = [], []
    parts = first.commission(samples)
    sequence = max((item.packet.sequence for item in first.packets(received=False)), default=0)
    for part in parts:
        time.sleep(moments.uniform(0.2, 0.6))
        started = time.perf_counter()
        first.send([part], second.member, lambda _: LONG_MS)
        final = time.perf_counter()
        sequence += 1
        until(lambda: second.packets(received=True, first=sequence), 20, "a packet received")  # noqa: B023
        took.append((time.perf_counter() - final) * 1_000)
        blocks.append((final - started) * 1_000)
    block_ms = statistics.median(blocks)
    return {
        "relay_ms": [round(one, 1) for one in took],
        "block_ms_each": [round(one, 1) for one in blocks],
        "relay_ms_p50": round(statistics.median(took)),
        "relay_ms_p90": round(sorted(took)[int(len(took) * 0.9)]),
        "block_ms": round(block_ms),
        "budget_ms": round(2 * block_ms + 500),
        "samples": samples,
    }


def thousand(run: BridgeRun, sides: tuple[Side, Side], packets: int) -> dict[str, Any]:
    """So many packets wait when the relayer starts; how many client updates they take."""
    first, second = sides
    run.processes.stop([RELAY, SECOND_RELAY])
    place = run.network.config_file(RELAY)
    own = config.read(place, RelayConfig)
    values = {name: getattr(own, name) for name in RelayConfig.__dataclass_fields__} | {
        "packets_per_round": 1_000
    }
    config.write(place, RelayConfig(**values))
    made = first.commission(packets)
    before = len(second.packets(received=True))
    first.send(made, second.member, lambda _: LONG_MS)
    updates = second.updates()
    run.start_relay(RELAY)
    began = time.monotonic()
    until(lambda: len(second.packets(received=True)) - before >= packets, 60, "a thousand packets")
    seconds = time.monotonic() - began
    time.sleep(0.5)
    return {"packets": packets, "updates": second.updates() - updates, "seconds": round(seconds, 1)}


def main() -> None:
    """Run it, print the figures, and say whether all held."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--parts", type=int, default=500)
    parser.add_argument("--pause", type=float, default=60.0, help="seconds of each pause")
    parser.add_argument("--samples", type=int, default=60, help="of the latency")
    parser.add_argument("--packets", type=int, default=1_000, help="under one update")
    chosen = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="chiptrace-bridge-"))
    try:
        report = perform(home / "net", chosen.parts, chosen.pause, chosen.samples, chosen.packets)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print(json.dumps(report))
    raise SystemExit(0 if report["held"] else 1)


def perform(directory: Path, parts: int, pause: float, samples: int, packets: int) -> dict[str, Any]:
    """The whole run in a directory; its figures. Nothing is left running."""
    run = BridgeRun(directory)
    try:
        with open_all(run.network.trust_file) as sessions:
            first, second = (sessions[chain.chain_id] for chain in run.network.chains)
            sides = (Side(first, second.trust.name), Side(second, first.trust.name))
            with run.load(sides):
                report = storm(run, sides, parts, pause)
            report |= accounted(sides) | {"loaded": dict(run.loaded)}
            held = report["live_once"] == report["parts"] and not report["stuck"]
            if samples:
                report |= latency(sides, samples)
                held = held and report["relay_ms_p50"] <= report["budget_ms"]
            if packets:
                report |= thousand(run, sides, packets)
                held = held and report["updates"] == 1
            return report | {"held": held}
    finally:
        run.close()


if __name__ == "__main__":
    main()
