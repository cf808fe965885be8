"""What a lot of serials costs: time and keys per event, bytes of state, bytes of proof for one die.

    python3 scripts/bench_lots.py

In whose hands a die is, and of which lot, one record proves: its own, or that of the interval it lies in, from which its
place follows by arithmetic, or by the path of its leaf. A proof is that record, its state proof, and that path.
"""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from client.serials import tells_of  # noqa: E402
from ledger import codec, hashes, intervals, state  # noqa: E402
from ledger.identifiers import canonical, interval_text  # noqa: E402
from ledger.roots import SerialList  # noqa: E402
from ledger.tree import StateTree  # noqa: E402
from proto.chiptrace.v1.ledger_pb2 import LotRecord, Membership  # noqa: E402
from tests.ledger.rules_world import (  # noqa: E402
    World,
    box,
    packing,
    quantity,
    receiving,
    root_of,
    seen,
    serials_of,
    shipping,
)

LOT = canonical("urn:epc:class:lgtin:4012345.012345.W1").text
CLASS = canonical(LOT).class_text
DIES = 250_000
OTHER_KEYS = (100_000, 1_000_000)
ROUNDS = 200


def timed(world: World, member: str, event: dict, *shown: Membership) -> int:
    operation = world.capture(event, memberships=shown)
    began = time.perf_counter_ns()
    world.act(member, operation)
    return time.perf_counter_ns() - began


def commissioning(count: int, what: str, event_of: Callable[[World, int], dict]) -> None:
    times = []
    for _ in range(20):
        world = World()
        event = event_of(world, count)
        before = dict(world.overlay.changes)
        times.append(timed(world, "ada", event))
    made = {key: value for key, value in world.overlay.changes.items() if key not in before}
    size = sum(len(key) + len(value or b"") for key, value in made.items())
    middle = statistics.median(times)
    print(
        f"commission {count:>9,} serials as a {what}: {middle / 1e6:.2f} ms, {len(made)} keys, {size} bytes, "
        f"{count * 10**9 // middle:,.0f} parts/s"
    )


def a_range(_: World, count: int) -> dict:
    return serials_of(LOT, "0000000", f"{count - 1:07}", count)


def serials(count: int) -> list[str]:
    """In no order, as a tester leaves them."""
    return [f"{number * 7_368_787 % 16**7:07X}" for number in range(count)]


LISTS: dict[int, SerialList] = {}


def a_root(world: World, count: int) -> dict:
    # Every world of this file has the same chain id: the list is made once.
    if count not in LISTS:
        began = time.perf_counter()
        LISTS[count] = SerialList(world.chain_id, canonical(LOT), serials(count))
        print(f"make the tree of a list of {count:,}, off the chain: {time.perf_counter() - began:.1f} s")
    return root_of(LOT, LISTS[count])


def touching(event: dict, names: Sequence[str], kept: SerialList | None) -> None:
    world = World()
    world.event("ada", event)
    before = dict(world.overlay.changes)
    shown = {name: [kept.membership(name)] if kept else [] for name in names}
    times = [timed(world, "ada", seen([name]), *shown[name]) for name in names]
    made = {k: v for k, v in world.overlay.changes.items() if before.get(k) != v}
    size = sum(len(key) + len(value or b"") for key, value in made.items())
    text = f"{statistics.median(times) / 1e6:.2f} ms, {len(made) / len(names):.1f} keys, {size // len(names)} bytes"
    print(f"touch one die of {DIES:,} {'of a root' if kept else 'of a range'}: {text} each")


def proving(event: dict, name: str, shown: Membership | None) -> None:
    """The proof of a die that nobody touched, and of one that somebody did, among so many other keys."""
    for others in OTHER_KEYS:
        for touched in (False, True):
            world = World()
            world.event("ada", event)
            if touched:
                world.event("ada", seen([name])) if shown is None else world.shown("ada", seen([name]), shown)
            lot = world.record(state.lot_key(LOT), LotRecord)
            place = shown.place if shown else int(name.rpartition("/")[2])
            held = intervals.covering(world.overlay, lot, place)
            assert held.id == name if touched else tells_of(held, canonical(name), shown)
            tree = a_tree(world, others)
            sizes = {
                "record": len(codec.encode(held)),
                "state proof": len(codec.encode(tree.prove(state.part_key(held.id)))),
                "path in the list": shown.ByteSize() - len(shown.serial) - len(shown.lot)
                if shown and not touched
                else 0,
            }
            said = ", ".join(f"{what} {size}" for what, size in sizes.items() if size)
            how = f"{'a root' if shown else 'a range'}, {'touched' if touched else 'untouched'}"
            print(
                f"proof of a die of {how}, among {others:,} other keys: {sum(sizes.values())} bytes ({said})"
            )


FOREST: dict[int, dict[bytes, bytes]] = {}


def a_tree(world: World, others: int) -> StateTree:
    """The state of a world among so many other keys."""
    if others not in FOREST:
        FOREST[others] = {hashes.sha256(b"other %d" % number): b"value" for number in range(others)}
    update = StateTree(world.chain_id, {}.get, hashes.ZERO).update(
        FOREST[others] | dict(world.overlay.changes)
    )
    pages = {path: page for path, page in update.pages.items() if page is not None}
    return StateTree(world.chain_id, pages.get, update.root)


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


def main() -> None:
    for number in (10, DIES, 1_000_000):
        commissioning(number, "range", a_range)
    for number in (10, DIES):
        commissioning(number, "root", a_root)
    kept, numbers = LISTS[DIES], [number * 1_237 % DIES for number in range(ROUNDS)]
    by_range, by_root = a_range(World(), DIES), root_of(LOT, kept)
    named = serials(DIES)
    touching(by_range, [f"{CLASS}/21/{number:07}" for number in numbers], None)
    touching(by_root, [f"{CLASS}/21/{named[number]}" for number in numbers], kept)
    boxes()
    proving(by_range, f"{CLASS}/21/0123456", None)
    proving(by_root, f"{CLASS}/21/{named[123_456]}", kept.membership(f"{CLASS}/21/{named[123_456]}"))


if __name__ == "__main__":
    main()
