"""Where a node's CPU goes: microseconds per stage, thread by thread. Off unless CHIPTRACE_STAGES=1 is in the environment.

A thread is always at one stage: what it does between two changes of stage is what that stage costs. Stages are entered
by the calls in CALLS, which are wrapped here when tracing is on and untouched when it is off, and on the event loop by
whatever callback runs. So each thread's stages add up to what the thread used, and the system's own account of
it (/proc/self/task) says whether they do. What is not Python's (LevelDB, gRPC) is accounted for by thread.

While the node runs, and once more when it ends, all of it is written to stages.json in data_dir: sums since the start, so
that the difference of two readings is what happened between them.
"""

import asyncio
import functools
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Generator
from pathlib import Path
from typing import Any, Final

from consensus.engine import Engine
from ledger import block, vouched
from ledger.admission import Gate
from ledger.application import Application
from ledger.durable_tree import DurableTree
from ledger.leveldb import LevelKV
from node import peers, services
from node.admission import Admission
from node.chain_host import ChainHost, Committed
from node.pool import Pool
from node.signer import Signer

VARIABLE: Final = "CHIPTRACE_STAGES"
FILE: Final = "stages.json"
WRITE_SECONDS: Final = 1.0
LOOP: Final = "event loop"  # what the loop itself does: waiting on sockets, choosing what runs next
HAND_OVER: Final = "hand-over"  # between threads: queues, waking the other side
_CALIBRATIONS: Final = 5_000

# (where, name, stage). Of functions that are looked up in a module: where is that module.
CALLS: Final[tuple[tuple[Any, str, str], ...]] = (
    (block, "parse_transaction", "decode"),
    (block, "verify_transaction", "verify"),
    (vouched, "read_again", "decode"),
    (Gate, "check", "admit"),
    (Admission, "submit", "admit"),
    (Admission, "offer", "admit"),
    (Pool, "add", "admit"),
    (Pool, "take", "propose"),
    (ChainHost, "_build", "propose"),
    (Application, "process_proposal", "validate"),
    (Application, "finalize_block", "execute"),
    (Application, "commit", "rows"),
    (DurableTree, "update", "tree"),
    (LevelKV, "__init__", "store"),
    (LevelKV, "write", "store"),
    (ChainHost, "_take_view", "views"),
    (ChainHost, "_hand_over", "views"),
    (peers.Peers, "pass_on", "gossip"),
    (peers.Peers, "_flush", "gossip"),
    (peers.Peers, "send", "gossip"),
    (Engine, "step", "agreement"),
    (Signer, "append", "journal"),
    (Admission, "committed", "reply"),
)
# The same for coroutines that run inside another's task: gRPC's.
STEPS: Final[tuple[tuple[Any, str, str], ...]] = (
    (peers._Door, "_take", "receive"),  # noqa: SLF001 (frames of validators come in here)
    (services.ChainService, "_submit", "reply"),
)
# Tasks and callbacks of the event loop, by their code's name. All others are called by that name.
CALLBACKS: Final = {
    "Driver._loop": "agreement",
    "Driver._execute": "agreement",
    "Driver._judge": "agreement",
    "Driver._build": "propose",
    "Admission.run": "admit",
    "Verifier.run": "verifier",
    "Verifier.ask": "verifier",
    "BlocksAhead._ask": "verifier",
    "_SelectorSocketTransport._read_ready": "verifier",  # all other sockets are gRPC's own
    "Line._write": "gossip",
    "Peers._flush": "gossip",
    "_settle": HAND_OVER,
    "_chain_future.<locals>._set_state": HAND_OVER,
    "BaseSelectorEventLoop._read_from_self": HAND_OVER,
}
GRPC: Final = "gRPC"  # callbacks whose code is gRPC's
OTHER: Final = "other callbacks"


class Ledger:
    """What one thread used, stage by stage, in nanoseconds of its CPU."""

    __slots__ = ("_last", "_stack", "_stage", "calls", "spent")

    def __init__(self, rest: str) -> None:
        """`rest`: the stage of what is in no other."""
        self.spent: Counter[str] = Counter({rest: time.thread_time_ns()})
        self.calls: Counter[str] = Counter()
        self._stack: list[str] = []
        self._stage = rest
        self._last = self.spent[rest]

    def enter(self, stage: str) -> None:
        """From here on it is at this stage."""
        now = time.thread_time_ns()
        self.spent[self._stage] += now - self._last
        self._stack.append(self._stage)
        self._stage, self._last = stage, now
        self.calls[stage] += 1

    def leave(self) -> None:
        """From here on it is at the stage before."""
        now = time.thread_time_ns()
        self.spent[self._stage] += now - self._last
        self._stage, self._last = self._stack.pop(), now


class _Steps:
    """A coroutine, each step of which is at a stage."""

    __slots__ = ("_coroutine", "_stage", "_stages")

    def __init__(self, stages: "Stages", stage: str, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._stages, self._stage, self._coroutine = stages, stage, coroutine

    def __await__(self) -> Generator[Any, Any, Any]:
        ledger = self._stages.of_thread()  # a task stays on its thread
        step: Callable[[], Any] = functools.partial(self._coroutine.send, None)
        while True:
            ledger.enter(self._stage)
            try:
                wanted = step()
            except StopIteration as ended:
                return ended.value
            finally:
                ledger.leave()
            try:
                step = functools.partial(self._coroutine.send, (yield wanted))
            except GeneratorExit:
                self._coroutine.close()
                raise
            except BaseException as error:
                step = functools.partial(self._coroutine.throw, error)


class Stages:
    """The accounts of all threads of this process. Made once, on the event loop's thread, before the node."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._ledgers: dict[int, Ledger] = {}  # by the system's number of the thread
        self._names: dict[int, str] = {}
        self._before: list[tuple[Any, str, Any]] = []
        self._main = threading.get_native_id()
        self.transactions = self.heights = 0  # final here since then
        self._began = time.monotonic()
        self._pair_ns = _calibrated()

    def of_thread(self) -> Ledger:
        """The account of the thread that asks."""
        found: Ledger | None = getattr(self._local, "ledger", None)
        if found is None:
            number = threading.get_native_id()
            main = number == self._main
            name = "event loop" if main else threading.current_thread().name
            found = self._local.ledger = self._ledgers[number] = Ledger(LOOP if main else HAND_OVER)
            self._names[number] = name
        return found

    def install(self) -> None:
        """Wrap what CALLS and STEPS name, and the event loop's callbacks."""
        for where, name, stage in CALLS:
            self._replace(where, name, self._timed(stage, getattr(where, name)))
        for where, name, stage in STEPS:
            self._replace(where, name, self._stepped(stage, getattr(where, name)))
        self._replace(Admission, "committed", self._counted(Admission.committed))
        self._replace(asyncio.Handle, "_run", self._called(asyncio.Handle._run))  # noqa: SLF001
        self.of_thread()

    def uninstall(self) -> None:
        """Everything as it was before."""
        while self._before:
            where, name, before = self._before.pop()
            setattr(where, name, before)

    def reading(self) -> dict[str, Any]:
        """All accounts now, as they are written."""
        # Threads of the same name count as one.
        python = {thread.native_id: thread.name for thread in threading.enumerate()}
        threads: dict[str, dict[str, Any]] = {}
        for number, name, seconds in _tasks():
            shown = self._names.get(number) or python.get(number) or name
            one = threads.setdefault(shown, {"cpu_s": 0.0, "stages": {}})
            one["cpu_s"] = round(one["cpu_s"] + seconds, 4)
            ledger = self._ledgers.get(number)
            if ledger is None:
                continue
            for stage, spent in list(ledger.spent.items()):
                counted = one["stages"].setdefault(stage, {"cpu_s": 0.0, "calls": 0})
                counted["cpu_s"] = round(counted["cpu_s"] + spent / 1e9, 6)
                counted["calls"] += ledger.calls[stage]
        return {
            "seconds": round(time.monotonic() - self._began, 3),
            "process_cpu_s": round(time.process_time(), 4),
            "transactions": self.transactions,
            "heights": self.heights,
            "tracer_ns_per_call": self._pair_ns,
            "threads": threads,
        }

    def write(self, directory: Path) -> None:
        """Put the accounts into the directory, whole."""
        fresh = directory / f"{FILE}.new"
        fresh.write_text(json.dumps(self.reading()) + "\n", encoding="utf-8")
        fresh.replace(directory / FILE)

    async def run(self, directory: Path) -> None:
        """Write them again and again, and when it ends."""
        try:
            while True:
                self.write(directory)
                await asyncio.sleep(WRITE_SECONDS)
        finally:
            self.write(directory)

    # ---- wrapping -----------------------------------------------------------------------------------------

    def _replace(self, where: Any, name: str, wrapped: Any) -> None:
        self._before.append((where, name, getattr(where, name)))
        setattr(where, name, wrapped)

    def _timed(self, stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
        of_thread = self.of_thread

        @functools.wraps(call)
        def timed(*arguments: Any, **named: Any) -> Any:
            ledger = of_thread()
            ledger.enter(stage)
            try:
                return call(*arguments, **named)
            finally:
                ledger.leave()

        return timed

    def _stepped(self, stage: str, call: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
        @functools.wraps(call)
        async def stepped(*arguments: Any, **named: Any) -> Any:
            return await _Steps(self, stage, call(*arguments, **named))

        return stepped

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def counted(admission: Admission, committed: Committed) -> None:
            self.transactions += len(committed.results)
            self.heights += 1
            call(admission, committed)

        return counted

    def _called(self, run: Callable[[Any], None]) -> Callable[[Any], None]:
        of_thread, stages = self.of_thread, dict(CALLBACKS)

        def called(handle: Any) -> None:
            name = _code_name(handle._callback)  # noqa: SLF001 (what the handle is about to call)
            ledger = of_thread()
            ledger.enter(stages.get(name) or stages.setdefault(name, _stage_of(handle._callback)))  # noqa: SLF001
            try:
                run(handle)
            finally:
                ledger.leave()

        return called


def begun() -> Stages | None:
    """Stages at work, if the environment asks for them."""
    if os.environ.get(VARIABLE) != "1":
        return None
    stages = Stages()
    stages.install()
    return stages


def _code_of(callback: Any) -> Any:
    """The coroutine of a task's step; of a plain callback itself."""
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        return owner.get_coro()
    while isinstance(callback, functools.partial):
        callback = callback.func
    return callback


def _code_name(callback: Any) -> str:
    code = _code_of(callback)
    return str(getattr(code, "__qualname__", type(code).__qualname__))


def _stage_of(callback: Any) -> str:
    """The stage of a callback that CALLBACKS does not name."""
    code = _code_of(callback)
    where = str(getattr(code, "__module__", "") or type(code).__module__)
    return GRPC if where.startswith("grpc") or "grpc" in _code_name(callback).lower() else OTHER


def _calibrated() -> int:
    """Nanoseconds that entering and leaving a stage take."""
    ledger = Ledger(LOOP)
    begun_ns = time.thread_time_ns()
    for _ in range(_CALIBRATIONS):
        ledger.enter(LOOP)
        ledger.leave()
    return (time.thread_time_ns() - begun_ns) // _CALIBRATIONS


def _tasks() -> list[tuple[int, str, float]]:
    """Number, name and CPU seconds of every thread of this process, as the system counts them."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        try:
            spent = int((task / "schedstat").read_text().split()[0])  # nanoseconds
            found.append((int(task.name), (task / "comm").read_text().strip(), spent / 1e9))
        except OSError:
            continue  # it has ended
    return found
