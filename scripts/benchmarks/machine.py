"""What the machine is, and what it and our processes did meanwhile: CPU by thread, steal, what others used, bytes written
and compacted."""

from __future__ import annotations

import os
import platform
import re
import resource
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.benchmarks.limits import fsyncs_ms
from scripts.benchmarks.result import median, short

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_COMPACTED = re.compile(r"Compacted .* => (\d+) bytes")
_FLUSHED = re.compile(r"Level-0 table #\d+: (\d+) bytes")


@dataclass(frozen=True)
class Moment:
    """What was used until now, by these processes and by the machine."""

    at: float
    threads: dict[str, float]  # CPU seconds of the processes, by thread
    busy_s: float  # CPU seconds of the machine
    steal_s: float  # what the host gave to others
    own_s: float  # this process, which makes the load
    children_s: float  # processes that it waited for
    written: int  # bytes that the processes handed to the disk
    flushed: int  # bytes of LevelDB's first tables
    compacted: int  # bytes of tables that LevelDB wrote again
    resident_mib: dict[str, int] = field(
        default_factory=dict
    )  # of the process with most: its own, files mapped


def moment(processes: Iterable[int], stores: Iterable[Path] = ()) -> Moment:
    """Now. `stores`: LevelDB's folders of the processes."""
    threads: Counter[str] = Counter()
    written, resident = 0, {"own": 0, "mapped": 0}
    for process in processes:
        threads.update(_threads(process))
        written += _number(Path(f"/proc/{process}/io"), "write_bytes:")
        status = Path(f"/proc/{process}/status")
        own, mapped = _number(status, "RssAnon:") // 1024, _number(status, "RssFile:") // 1024
        if own > resident["own"]:
            resident = {"own": own, "mapped": mapped}
    logs = [_log(store) for store in stores]
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = [int(word) / TICKS_PER_S for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return Moment(
        time.monotonic(),
        dict(threads),
        cpu[0] + cpu[1] + cpu[2] + cpu[5] + cpu[6],
        cpu[7],
        time.process_time(),
        children.ru_utime + children.ru_stime,
        written,
        sum(flushed for flushed, _ in logs),
        sum(compacted for _, compacted in logs),
        resident,
    )


def between(before: Moment, after: Moment, transactions: int, nodes: int) -> dict[str, Any]:
    """What happened from one moment to the other, for so many transactions at so many nodes."""
    seconds = after.at - before.at
    spent = {name: used - before.threads.get(name, 0.0) for name, used in after.threads.items()}
    own = after.own_s - before.own_s
    foreign = max(0.0, after.busy_s - before.busy_s - sum(spent.values()) - own)
    per = max(1, transactions * nodes)
    return {
        "seconds": round(seconds, 1),
        "cpu_us_per_transaction_and_node": round(sum(spent.values()) / per * 1e6, 1),
        "cpu_us_by_thread": {
            name: round(used / per * 1e6, 1)
            for name, used in sorted(spent.items(), key=lambda item: -item[1])
            if used / per >= 0.05e-6
        },
        "load_generator_cpu_us_per_transaction": round(own / max(1, transactions) * 1e6, 1),
        "cores_of_nodes": round(sum(spent.values()) / seconds, 2),
        "cores_of_load_generator": round(own / seconds, 2),
        "cores_of_others": round(foreign / seconds, 2),
        "cores_stolen": round((after.steal_s - before.steal_s) / seconds, 3),
        "bytes_written_per_transaction_and_node": round((after.written - before.written) / per),
        "bytes_flushed_per_transaction_and_node": round((after.flushed - before.flushed) / per),
        "bytes_compacted_per_node": round((after.compacted - before.compacted) / max(1, nodes)),
        "resident_mib": after.resident_mib,
    }


# ---- of a whole run -----------------------------------------------------------------------------------------

_ENDED: list[Moment] = []  # what processes and stores had used when a benchmark was done with them


def note(processes: Iterable[int], stores: Iterable[Path] = ()) -> None:
    """Counts these for `meanwhile`: to be called just before processes are ended or stores closed."""
    _ENDED.append(moment(processes, stores))


def now() -> Moment:
    """This moment, as seen by a benchmark that begins or ends; what was noted before counts no more."""
    _ENDED.clear()
    return moment([os.getpid()])


def meanwhile(before: Moment) -> dict[str, Any]:
    """What happened since then: this process, the processes it waited for, and those that it noted."""
    after, ended = moment([os.getpid()]), list(_ENDED)
    seconds = after.at - before.at
    threads: Counter[str] = Counter()
    for name, used in after.threads.items():
        threads[f"benchmark: {name}"] = used - before.threads.get(name, 0.0)
    threads["benchmark: processes it waited for"] = after.children_s - before.children_s
    for one in ended:
        threads.update({f"nodes: {name}": used for name, used in one.threads.items()})
    run = sum(threads.values())
    return {
        "seconds": round(seconds, 1),
        "cores_of_run": round(run / seconds, 2),
        "cores_of_others": round(max(0.0, after.busy_s - before.busy_s - run) / seconds, 2),
        "cores_stolen": round((after.steal_s - before.steal_s) / seconds, 3),
        "cpu_s_by_thread": {name: round(used, 2) for name, used in threads.most_common() if used >= 0.01},
        "bytes_written": after.written - before.written + sum(one.written for one in ended),
        "bytes_flushed": sum(one.flushed for one in ended),
        "bytes_compacted": sum(one.compacted for one in ended),
    }


# ---- what it is ---------------------------------------------------------------------------------------------


def about(folder: Path) -> dict[str, Any]:
    """The machine, and the disk that this folder lies on."""
    models = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    fsyncs = fsyncs_ms(folder, 50)
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "memory_gib": round(_number(Path("/proc/meminfo"), "MemTotal:") / 2**20, 1),
        "python": platform.python_version(),
        "disk": _disk(folder.resolve()),
        "fsync_ms_p50": short(median(fsyncs)),
    }


def _disk(folder: Path) -> str:
    """File system and device."""
    mounts = [line.split()[:3] for line in Path("/proc/mounts").read_text().splitlines()]
    inside = [mount for mount in mounts if folder.is_relative_to(mount[1])]
    device, _, kind = max(inside, key=lambda mount: len(mount[1]))
    return f"{kind} on {device}"


def settle() -> None:
    """Waits until LevelDB's thread in this process has done nothing for a second. What was filled in minutes it still sorts
    for as long; a store that came to its size in years has nothing of that waiting."""
    before, spent = -1.0, _threads(os.getpid())["LevelDB"]
    while spent != before:
        time.sleep(1)
        before, spent = spent, _threads(os.getpid())["LevelDB"]


# ---- reading /proc ------------------------------------------------------------------------------------------


def _threads(process: int) -> Counter[str]:
    """CPU seconds by name of thread; the first one is the event loop's. A node's verifier process counts as one more."""
    found: Counter[str] = Counter()
    for beside in _verifiers(process):
        found["verifier process"] += sum(_threads(beside).values())
    for task in Path(f"/proc/{process}/task").glob("[0-9]*"):
        try:
            spent = int((task / "schedstat").read_text().split()[0]) / 1e9
            name = (task / "comm").read_text().strip()
        except OSError:
            continue  # it has ended
        found["event loop" if int(task.name) == process else name] += spent
    return found


def _verifiers(process: int) -> list[int]:
    """The processes that a node has verify beside it."""
    found = []
    for children in Path(f"/proc/{process}/task").glob("[0-9]*/children"):
        try:
            of_thread = children.read_text().split()
            told = [(child, Path(f"/proc/{child}/cmdline").read_bytes()) for child in of_thread]
        except OSError:
            continue  # it has ended
        found += [int(child) for child, words in told if b"node.verifying_process" in words]
    return found


def _log(store: Path) -> tuple[int, int]:
    """Bytes flushed and bytes compacted, as LevelDB's own log tells since it was opened."""
    try:
        text = (store / "LOG").read_text(errors="replace")
    except OSError:
        return 0, 0
    return tuple(sum(map(int, pattern.findall(text))) for pattern in (_FLUSHED, _COMPACTED))  # type: ignore[return-value]


def _number(path: Path, name: str) -> int:
    try:
        return next(int(line.split()[1]) for line in path.read_text().splitlines() if line.startswith(name))
    except (OSError, StopIteration):
        return 0
