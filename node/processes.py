"""Processes of a local test network: started detached, remembered with their start time, ended exactly.

A pid alone says little, for the system gives it away again; a process is ours only while both its pid and its
start time are those that were written down.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

GRACE_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class Started:
    """One process that was started here."""

    name: str
    pid: int
    start_ticks: int  # since boot, from /proc/PID/stat


class _Detached(subprocess.Popen[bytes]):
    """A process that is meant to outlive this one: leaving it behind is no oversight to warn of."""

    def __del__(self, *_: object) -> None:
        pass


class Processes:
    """The processes of one directory, by name."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "processes.json"
        self._children: dict[int, _Detached] = {}

    def running(self) -> dict[str, Started]:
        """Those that were started and still run."""
        return {item.name: item for item in self._read() if _still_runs(item)}

    def start(
        self,
        name: str,
        arguments: Sequence[str],
        log: Path,
        *,
        module: str = "node.cli",
        environment: Mapping[str, str] | None = None,
    ) -> Started:
        """Start `python -m MODULE ARGUMENTS`, in a session of its own, its output appended to a file. Raises OSError, and
        then nothing runs."""
        root = str(Path(__file__).resolve().parent.parent)
        environment = {**os.environ, "PYTHONPATH": root, **(environment or {})}
        with _uninterrupted(), log.open("ab") as output:
            process = _Detached(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                close_fds=True,
                env=environment,
            )
            self._children[process.pid] = process
            started = Started(name, process.pid, _start_ticks(process.pid))
            try:
                self._write([item for item in self._read() if item.name != name] + [started])
            except OSError:
                process.kill()  # what cannot be remembered would be ended by nobody
                process.wait()
                raise
        return started

    def stop(self, names: Sequence[str]) -> list[str]:
        """Ask these to end (SIGTERM), and after a grace make them; the names of those that were made to."""
        return self._end(names, signal.SIGTERM)

    def kill(self, name: str) -> None:
        """End one at once (SIGKILL), as a crash would."""
        self._end([name], signal.SIGKILL)

    def _end(self, names: Sequence[str], first: signal.Signals) -> list[str]:
        ending = [item for name, item in self.running().items() if name in names]
        for item in ending:
            _signal(item, first)
        deadline = time.monotonic() + GRACE_SECONDS
        while any(self._alive(item) for item in ending) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        stubborn = [item for item in ending if self._alive(item)]
        for item in stubborn:
            _signal(item, signal.SIGKILL)
        while any(self._alive(item) for item in stubborn):
            time.sleep(_POLL_SECONDS)
        gone = {item.name for item in ending}
        self._write([item for item in self._read() if item.name not in gone])
        return [item.name for item in stubborn]

    def _alive(self, item: Started) -> bool:
        process = self._children.get(item.pid)
        if process is not None:
            process.poll()  # our own child: take its exit code, so that it does not stay as a zombie
        return _still_runs(item)

    def _read(self) -> list[Started]:
        try:
            return [Started(**item) for item in json.loads(self._file.read_bytes())]
        except FileNotFoundError:
            return []

    def _write(self, items: Sequence[Started]) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps([asdict(item) for item in items], indent=2) + "\n", encoding="utf-8")
        fresh.replace(self._file)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C waits until the block is through, so that no process is started and forgotten."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is interrupted
        return
    pressed: list[int] = []
    usual = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
    if pressed:
        raise KeyboardInterrupt


def _still_runs(item: Started) -> bool:
    """Whether the very process that was started is there; one that died before it was written down is not."""
    return item.start_ticks != 0 and _start_ticks(item.pid) == item.start_ticks


def _start_ticks(pid: int) -> int:
    """When a process started; 0 when there is none, or only what is left of one."""
    try:
        fields = (
            Path(f"/proc/{pid}/stat")
            .read_text(encoding="ascii", errors="replace")
            .rpartition(") ")[2]
            .split()
        )
    except OSError:
        return 0
    return 0 if fields[0] == "Z" else int(fields[19])


def _signal(item: Started, number: signal.Signals) -> None:
    """To exactly this process: its pid and start time are compared last thing before."""
    if _start_ticks(item.pid) == item.start_ticks:
        with contextlib.suppress(ProcessLookupError):
            os.kill(item.pid, number)
