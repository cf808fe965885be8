"""What an event and a key of the state tree cost as the state grows: CPU, disk and memory at 10^4 to 10^7 parts.

A real LevelDB is filled with parts through blocks whose outcome is made up, in order of the tree, so that filling is
quick. At each size blocks of observations of random parts are then admitted, judged, executed and made durable as a node
does, once with the caches as they are after a start and once warm; and the pages of the tree are updated alone.
`--folder` keeps what was filled, and goes on with it if it is there: filling 10^7 parts takes some minutes.
"""

from __future__ import annotations

import argparse
import gc
import random
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Self

from client.epcis_json import Json
from ledger import block, codec, hashes, state
from ledger.durable_tree import DurableTree, TreeStep
from ledger.execute import BlockOutcome
from ledger.identifiers import canonical
from proto.chiptrace.v1.ledger_pb2 import History, Operation, PartRecord, PartStatus
from scripts.benchmarks.budgets import GROWTH_MAX
from scripts.benchmarks.chains import TimedChain, capture, to_event
from scripts.benchmarks.limits import verifications
from scripts.benchmarks.machine import note, settle
from scripts.benchmarks.prefill import copied
from scripts.benchmarks.result import Result, result, short

START = 1_000_000_000  # serials are of ten digits
PER_FILLING = 50_000  # keys
PER_BLOCK = 500  # events
NAME = "https://id.gs1.org/01/04012345123456/21/"
_SERIAL, _LEAF, _DIGEST = b"%d" % START, b"\x01" * 32, b"\x02" * 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sizes", default="10000,100000", help="numbers of parts, ascending")
    parser.add_argument("--blocks", type=int, default=34, help="of 500 events, at each size and warmth")
    parser.add_argument("--folder", type=Path, help="keep filled stores here, and use what is there")


# ---- filling ------------------------------------------------------------------------------------------------


def _template(chain_id: bytes) -> bytes:
    """The record of a part that ada commissioned, with places to put its own in."""
    record = PartRecord(
        id=NAME + _SERIAL.decode(),
        status=PartStatus.LIVE,
        holder="ada",
        owner="ada",
        origin_chain=chain_id,
        commissioner="ada",
        history=History(n=1, frontier=[_LEAF]),
        last_event=_DIGEST,
    )
    return codec.encode(record)


def _in_order(chain_id: bytes, numbers: range) -> list[int]:
    """The numbers in the order in which the tree has the keys of their parts."""
    tag = hashes.tag(hashes.Purpose.STATE_KEY, chain_id)
    blank = state.part_key(NAME + _SERIAL.decode())
    before = blank[: -len(_SERIAL)]
    hashed = [(sha256(tag + before + b"%d" % (START + number)).digest()[:8], number) for number in numbers]
    hashed.sort()
    return [number for _, number in hashed]


def fill(chain: TimedChain, numbers: range) -> None:
    """Makes parts with these numbers, as if they had been commissioned."""
    template = _template(chain.chain_id)
    blank = state.part_key(NAME + _SERIAL.decode())
    before = blank[: -len(_SERIAL)]
    order = _in_order(chain.chain_id, numbers)
    for start in range(0, len(order), PER_FILLING):
        changes: dict[bytes, bytes | None] = {}
        for number in order[start : start + PER_FILLING]:
            serial, leaf = b"%d" % (START + number), sha256(b"%d" % number).digest()
            value = template.replace(_SERIAL, serial).replace(_LEAF, leaf).replace(_DIGEST, leaf[::-1])
            changes[before + serial] = value
        data = chain.app.prepare_proposal([], chain.now_ms)
        chain.app.process_proposal(data, chain.now_ms)
        outcome = BlockOutcome([], changes, [], [], block.results_root(chain.chain_id, []))
        chain.app.commit(data, outcome, b"filled")


def filled(folder: Path, size: int, smaller: int) -> Path:
    """The store with so many parts; made from the one with `smaller` where it is not there yet."""
    store = folder / f"filled-{size}"
    if not store.exists():
        making = folder / "filling"
        shutil.rmtree(making, ignore_errors=True)
        if smaller:
            copied(folder / f"filled-{smaller}", making)
        chain = TimedChain(making)
        fill(chain, range(smaller, size))
        settle()
        chain.app.close()
        making.rename(store)
    return store


# ---- measuring ----------------------------------------------------------------------------------------------


def observations(numbers: Sequence[int]) -> Iterator[Operation]:
    """Operations that observe these parts."""
    for number in numbers:
        things: list[Json] = [f"{NAME}{START + number}"]
        event: dict[str, Json] = {
            "type": "ObjectEvent",
            "action": "OBSERVE",
            "bizStep": "inspecting",
            "epcList": things,
        }
        yield capture(to_event(event, seed=random.randbytes(16)))  # noqa: S311 (nothing secret)


class TreeTimer:
    """Counts what the state tree takes to follow its changes, and what it has to write for them, wherever it is asked."""

    def __init__(self) -> None:
        self.seconds, self.keys, self.bytes = 0.0, 0, 0

    def __enter__(self) -> Self:
        timer, update = self, DurableTree.update
        self._update = update

        def timed(
            tree: DurableTree,
            chain_id: bytes,
            root: bytes,
            height: int,
            changes: Mapping[bytes, bytes | None],
        ) -> TreeStep:
            started = time.thread_time()
            found = update(tree, chain_id, root, height, changes)
            timer.seconds += time.thread_time() - started
            timer.keys += len(changes)
            timer.bytes += sum(len(row) + len(value or b"") for row, value in found.rows)
            return found

        DurableTree.update = timed  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        DurableTree.update = self._update  # type: ignore[method-assign]


class Measured:
    """Blocks of observations of random parts in one store, and what they cost."""

    def __init__(self, chain: TimedChain, size: int) -> None:
        self.chain, self.size = chain, size
        self.stages: list[dict[str, float]] = []
        self.timer = TreeTimer()

    def block(self) -> None:
        """One block more."""
        chain = self.chain
        numbers = random.sample(range(self.size), PER_BLOCK)
        transactions = [chain.signed("ada", [operation]) for operation in observations(numbers)]
        chain.restart_counting()
        with self.timer:
            chain.run(transactions)
        if chain.refused:
            raise SystemExit(f"refused for {dict(chain.refused)}; the benchmark is wrong")
        self.stages.append(chain.microseconds(PER_BLOCK))

    def figures(self) -> dict[str, object]:
        """Means over the blocks: one in some seventeen writes the pages that all of them changed."""
        per_block = [sum(one.values()) for one in self.stages]
        timer = self.timer
        return {
            "us_per_event": short(fmean(per_block)),
            "us_per_event_samples": [short(sample) for sample in per_block],
            "stages_us": {
                stage: short(fmean([one[stage] for one in self.stages])) for stage in self.stages[0]
            },
            "tree_us_per_key": short(timer.seconds / timer.keys * 1e6),
            "tree_bytes_per_key": short(timer.bytes / timer.keys),
        }


def warm(chain: TimedChain, size: int) -> None:
    """Reads what a node has read after it has run for a while."""
    store = chain.app.store
    tree = store._tree.tree(chain.chain_id, store.tip.state_root)  # noqa: SLF001 (its cache is what is warmed)
    for _ in range(min(2 * size, 200_000)):
        key = state.part_key(f"{NAME}{START + random.randrange(size)}")  # noqa: S311 (nothing secret)
        tree.prove(key)


def resident() -> dict[str, int]:
    """MiB of memory of this process: its own, and pages of files (LevelDB's tables) that it has mapped."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(lines[name].split()[0]) // 1024 for name in ("RssAnon", "RssFile")}


def disk(folder: Path) -> int:
    """Bytes of all files of the store."""
    return sum(path.stat().st_size for path in folder.iterdir())


def opened(folder: Path, size: int, blocks: int) -> tuple[Measured, dict[str, object]]:
    """A store opened anew: what it costs at first, and how much memory once it is warm."""
    gc.collect()
    before, began = resident(), time.perf_counter()
    chain = TimedChain(folder)
    figures: dict[str, object] = {"parts": size, "opening_s": short(time.perf_counter() - began)}
    cold = Measured(chain, size)
    for _ in range(max(2, blocks // 4)):
        cold.block()
    warm(chain, size)
    gc.collect()
    more = {name: mib - before[name] for name, mib in resident().items()}
    figures |= {"after_start": cold.figures(), "resident_mib_more": more}
    figures["disk_bytes_per_part"] = round(disk(folder) / size)
    return Measured(chain, size), figures


def measure(chosen: argparse.Namespace) -> Result:
    if canonical(f"{NAME}{START}").text != f"{NAME}{START}":
        raise SystemExit("the parts' names are not canonical")
    random.seed(1)
    sizes = [int(size) for size in chosen.sizes.split(",")]
    bare, stores, found = [verifications()], [], []
    with tempfile.TemporaryDirectory(prefix="chiptrace-bench-") as temporary:
        folder = chosen.folder or Path(temporary)
        for smaller, size in pairwise([0, *sizes]):
            began = time.perf_counter()
            store = filled(folder, size, smaller)
            took = time.perf_counter() - began
            measured, figures = opened(copied(store, folder / f"measured-{size}"), size, chosen.blocks)
            stores.append(measured)
            found.append({"filling_s": short(took)} | figures)
        # In turn, so that what else the machine does falls on all sizes alike.
        for _ in range(chosen.blocks):
            for measured in stores:
                measured.block()
        for measured, figures in zip(stores, found, strict=True):
            figures["warm"] = measured.figures()
            note([], [folder / f"measured-{measured.size}"])
            measured.chain.app.close()
            shutil.rmtree(folder / f"measured-{measured.size}")
    bare.append(verifications())
    least, most = (one["warm"]["us_per_event_samples"] for one in (found[0], found[-1]))
    half = len(least) // 2
    return result(
        fmean(most),
        f"µs of CPU per event at {sizes[-1]} parts, all stages",
        [fmean(least[: half or 1]), fmean(least[half:])],
        f"µs at {sizes[0]} parts, the first half of the blocks and the second, in turn with the others",
        most,
        budget_ratio=GROWTH_MAX,
        verifications_per_s=[round(rate) for rate in bare],
        sizes=found,
    )
