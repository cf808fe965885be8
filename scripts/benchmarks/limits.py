"""What this machine does at most: bare Ed25519 verification, bare SHA-256, bare fsync. Measured beside every figure."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from nacl.signing import SigningKey

VERIFIED_BYTES = 400  # about one single-event transaction
ROUNDS = 64
CPU_S, CLOCK_S = 1.0, 3.0  # how long each is measured, of CPU and by the clock


def _per_cpu_second(work: Callable[[], object], seconds: float) -> float:
    done, begun = 0, time.process_time()
    while (spent := time.process_time() - begun) < seconds:
        for _ in range(ROUNDS):
            work()
        done += ROUNDS
    return done / spent


def verifications(seconds: float = 0.0) -> float:
    """Ed25519 verifications per second of one core's CPU time, by libsodium, the key object made once."""
    key = SigningKey.generate()
    signed = key.sign(b"x" * VERIFIED_BYTES)
    return _per_cpu_second(lambda: key.verify_key.verify(signed), seconds or CPU_S)


def verifications_by_clock(seconds: float) -> float:
    """Verifications this process gets through per second of the clock, whatever else runs."""
    key = SigningKey.generate()
    signed = key.sign(b"x" * VERIFIED_BYTES)
    done, begun = 0, time.perf_counter()
    while (spent := time.perf_counter() - begun) < seconds:
        key.verify_key.verify(signed)
        done += 1
    return done / spent


def verifications_by_processes(processes: int) -> float:
    """Verifications per second of the clock and process, by so many processes that do nothing else: what so many
    validators could finalise at most if every one of them verifies every transaction."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return sum(pool.map(verifications_by_clock, [CLOCK_S] * processes)) / processes


def hashes() -> float:
    """SHA-256 of 65 bytes (an inner node of a tree) per second of one core's CPU time, called from Python."""
    sha256, data = hashlib.sha256, b"x" * 65
    return _per_cpu_second(lambda: sha256(data).digest(), CPU_S)


def fsyncs_ms(folder: Path | None = None, count: int = 200) -> list[float]:
    """Milliseconds of appending 4 KiB and fdatasync, again and again, on the disk of this folder."""
    took = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(count):
            file.write(b"x" * 4096)
            started = time.perf_counter()
            file.flush()
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - started) * 1000)
    return took


def foreign_load() -> float:
    """Processes that wait for a core or use one, besides this: the load average of the last minute."""
    return round(os.getloadavg()[0], 1)
