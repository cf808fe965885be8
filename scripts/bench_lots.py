"""What a lot of serials costs: time and keys per event, bytes of state, bytes of proof for one die.

    python3 scripts/bench_lots.py

That a die is of a lot is proven by the lot's record and its state proof, from which its place follows by arithmetic;
who holds it, by its interval's record and its state proof. Keys are counted as bytes of the proof too.
"""

import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ledger import codec, hashes, intervals, state  # noqa: E402
from ledger.identifiers import canonical, interval_text  # noqa: E402
from ledger.tree import StateTree  # noqa: E402
from proto.chiptrace.v1.ledger_pb2 import LotRecord  # noqa: E402
from tests.ledger.rules_world import (  # noqa: E402
    World,
    box,
    packing,
    quantity,
    receiving,
    seen,
    serials_of,
    shipping,
)

LOT = canonical("urn:epc:class:lgtin:4012345.012345.W1").text
OTHER_KEYS = 100_000
ROUNDS = 200


def timed(world: World, member: str, event: dict) -> int:
    began = time.perf_counter_ns()
    world.event(member, event)
    return time.perf_counter_ns() - began


def commissioning(count: int) -> None:
    times = []
    for _ in range(20):
        world = World()
        before = dict(world.overlay.changes)
        times.append(timed(world, "ada", serials_of(LOT, "0000000", f"{count - 1:07}", count)))
    made = {key: value for key, value in world.overlay.changes.items() if key not in before}
    size = sum(len(key) + len(value or b"") for key, value in made.items())
    print(
        f"commission {count:>9,} serials: {statistics.median(times) / 1e6:.2f} ms, {len(made)} keys, {size} bytes"
    )


def touching() -> None:
    world = World()
    world.event("ada", serials_of(LOT, "000000", "249999", 250_000))
    lot = world.record(state.lot_key(LOT), LotRecord)
    before, times = dict(world.overlay.changes), []
    for number in range(ROUNDS):
        serial = intervals.serial_text(lot.serials, number * 1_237 % 250_000)
        times.append(timed(world, "ada", seen([serial])))
    made = {k: v for k, v in world.overlay.changes.items() if before.get(k) != v}
    size = sum(len(key) + len(value or b"") for key, value in made.items())
    text = f"{statistics.median(times) / 1e6:.2f} ms, {len(made) / ROUNDS:.1f} keys, {size // ROUNDS} bytes"
    print(f"touch one die of 250,000: {text} each")
    others = {hashes.sha256(b"other %d" % number): b"value" for number in range(OTHER_KEYS)}
    update = StateTree(world.chain_id, {}.get, hashes.ZERO).update(others | dict(world.overlay.changes))
    pages = {path: page for path, page in update.pages.items() if page is not None}
    proving(StateTree(world.chain_id, pages.get, update.root), world, 123_456)


def proving(tree: StateTree, world: World, place: int) -> None:
    lot = world.record(state.lot_key(LOT), LotRecord)
    held = intervals.covering(world.overlay, lot, place)
    total, what = 0, "the lot that a die is of"
    for key in (state.lot_key(LOT), state.part_key(held.id)):
        total += len(key) + len(world.overlay.get(key) or b"") + len(codec.encode(tree.prove(key)))
        print(f"proof, among {OTHER_KEYS:,} other keys, of {what}: {total} bytes")
        what = "its lot, and who holds it"


def boxes() -> None:
    for count in (10, 1_000_000):
        world = World()
        world.event("ada", serials_of(LOT, "0000000", f"{count - 1:07}", count))
        world.event("ada", packing(box(1), [], [quantity(interval_text(LOT, 0, count))]))
        times = []
        for _ in range(ROUNDS // 2):
            times.append(timed(world, "ada", shipping([box(1)], "bob")))
            world.event("bob", receiving([box(1)]))
            world.event("bob", shipping([box(1)], "ada"))
            world.event("ada", receiving([box(1)]))
        print(f"ship a box of {count:>9,} dies: {statistics.median(times) / 1e6:.2f} ms")


if __name__ == "__main__":
    for number in (10, 250_000, 1_000_000):
        commissioning(number)
    touching()
    boxes()
