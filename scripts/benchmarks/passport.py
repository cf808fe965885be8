"""Seconds of CPU that verifying the passport of a device of 1,000 parts takes, against its signatures and hashes alone.

The device is that of the benchmark `audit`: its parts come from another chain, one by one. Its passport is made of the
answers to one audit; timed is all that somebody does who has the file: unpack it, parse it, and audit the device from it,
knowing nothing yet. The limit is made of what the audit needs, as there. `file_bytes` is what she is sent,
`unpacked_bytes` what that holds, `answers_bytes` what the nodes sent to who made it.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from typing import Any

from client.audit import Audit
from client.audit_report import Report, Verdict
from client.locate import locate
from client.passport import from_bytes, to_bytes
from client.passport_making import keep_answers, make
from client.passport_verify import verify
from client.question import collect_seldom
from client.trust import Trust
from ledger import codec
from scripts.benchmarks import limits
from scripts.benchmarks.audit import Audited, Counting, bare_hash_s, forget, world_with_device
from scripts.benchmarks.result import Result, median, result, short
from tests.bridge.two_chains import World
from tests.client.direct import verified


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--parts", type=int, default=1_000)
    parser.add_argument("--together", type=int, default=1, help="parts per transaction on their way")
    parser.add_argument("--runs", type=int, default=3)


class _Made:
    """A passport of the device, and who verifies it."""

    def __init__(self, world: World, device: str) -> None:
        views = {chain.chain_id: verified(chain) for chain in world.chains.values()}
        lines = keep_answers(views)
        self.report = Audit(views).run(device, locate(views, device), lambda: 0)
        self.making_s, passport = _timed(lambda: make(device, lines))
        self.packing_s, self.file = _timed(lambda: to_bytes(passport))
        self.unpacked = len(codec.encode(passport))
        self.answers = sum(line.bytes_received for line in lines.values())
        self.things = {
            name: sum(len(getattr(chain, name)) for chain in passport.chains)
            for name in ("values", "histories", "transactions", "leaves")
        }
        self._trust = Trust(tuple(view.trust for view in views.values()), ())
        self._now_ms = max(chain.info.time_ms for chain in world.chains.values())

    def verify(self) -> tuple[float, float]:
        """CPU seconds in all, and of reading the file."""
        forget()
        began = time.thread_time()
        passport = from_bytes(self.file)
        read = time.thread_time()
        report = verify(passport, self._trust, lambda: self._now_ms)
        took = time.thread_time() - began
        _check(report, self.report)
        return took, read - began


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    began = time.thread_time()
    answer = call()
    return time.thread_time() - began, answer


def _check(offline: Report, online: Report) -> None:
    if offline.verdict is not Verdict.VERIFIED or len(offline.subjects) != len(online.subjects):
        raise SystemExit(f"the benchmark is wrong: {offline.problem} {offline.findings[:3]}")


def measure(chosen: argparse.Namespace) -> Result:
    world, device = world_with_device(chosen.parts, chosen.together)
    with Counting() as counted:
        Audited(world, device)
    made = _Made(world, device)
    gc.collect()
    gc.freeze()  # the chains are no verifier's memory
    collect_seldom()
    rates = [limits.verifications()]
    runs = [made.verify() for _ in range(chosen.runs)]
    rates.append(limits.verifications())
    took = [whole for whole, _ in runs]
    hashes_s = counted["hashes"] * bare_hash_s(counted["hashed bytes"] // counted["hashes"])
    signatures_s = [counted["signatures"] / rate for rate in rates]
    return result(
        median(took),
        f"s of CPU, verifying the passport of a device of {chosen.parts} parts over two chains",
        [seconds + hashes_s for seconds in signatures_s],
        "s for its signatures and hashes alone",
        took,
        parts=chosen.parts,
        parts_per_transaction=chosen.together,
        signatures=counted["signatures"],
        signatures_s=short(median(signatures_s)),
        hashes=counted["hashes"],
        hashes_s=short(hashes_s),
        reading_s=short(median([read for _, read in runs])),
        file_bytes=len(made.file),
        file_bytes_per_part=round(len(made.file) / chosen.parts),
        unpacked_bytes=made.unpacked,
        answers_bytes=made.answers,
        making_s=short(made.making_s),
        packing_s=short(made.packing_s),
        things=made.things,
        checked=made.report.checked,
    )
