"""What the machine and its processes did meanwhile: CPU by thread, steal, what others used, bytes written and compacted."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
    cpu = [int(word) / TICKS_PER_S for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return Moment(
        time.monotonic(),
        dict(threads),
        cpu[0] + cpu[1] + cpu[2] + cpu[5] + cpu[6],
        cpu[7],
        time.process_time(),
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


def _threads(process: int) -> Counter[str]:
    """CPU seconds by thread. A thread that bears the writer's name without being it is LevelDB's, begun by it."""
    found: Counter[str] = Counter()
    named: dict[str, list[tuple[int, float]]] = {}
    for task in Path(f"/proc/{process}/task").glob("[0-9]*"):
        try:
            spent = int((task / "schedstat").read_text().split()[0]) / 1e9
            name = (task / "comm").read_text().strip()
        except OSError:
            continue  # it has ended
        named.setdefault("event loop" if int(task.name) == process else name, []).append(
            (int(task.name), spent)
        )
    for name, tasks in named.items():
        for place, (_, spent) in enumerate(sorted(tasks)):
            found["LevelDB" if name == "writer" and place else name] += spent
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
