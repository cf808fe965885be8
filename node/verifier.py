"""The verifier process as its node sees it: asked frame by frame, and never relied upon.

It is asked for what takes long and needs no state; what it does not answer, or not in time, the node verifies itself, and
what it does not vouch for too. So nothing waits for it for long, whatever becomes of it: killed, stopped or mad. Then it is
ended, counted, and begun anew after a pause, which is longer each time it does not last.

    1. A frame goes out by one write and comes back by one answer; a few are under way, so that it never waits for us.
    2. An answer has the number of the transactions asked about, the hash of the very bytes sent, and an id for each.
    3. Whoever uses an id computes it too (ledger/vouched.py): one that differs ends the process.
"""

import asyncio
import logging
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from ledger.hashes import HASH_BYTES, ZERO, sha256
from ledger.limits import TRANSACTION_BYTES_MAX
from ledger.vouched import NOBODY, Vouched
from node.verifying_process import LENGTH_BYTES
from proto.chiptrace.v1.consensus_pb2 import TransactionFrame

_LOG: Final = logging.getLogger("chiptrace.verifier")
_ROOT: Final = str(Path(__file__).resolve().parent.parent)  # of the packages, wherever the node was started
CORES_MIN: Final = 2  # for one node: from so many on a process beside it gains more than it costs
WORTH_ASKING: Final = 10  # transactions: the way there and back costs as much as verifying a few
FRAME_TRANSACTIONS: Final = 64
FRAME_BYTES: Final = 524_288  # and one transaction more
UNDER_WAY_MAX: Final = 4  # frames: one that it works on, and those that wait in the pipes meanwhile
START_SECONDS: Final = 20.0
ANSWER_SECONDS: Final = 1.0  # between one answer and the next; a frame takes it 5 ms, 150 ms at the worst
WATCH_SECONDS: Final = 0.1
PAUSE_SECONDS: Final = 1.0  # before it is begun anew, doubled each time
PAUSE_SECONDS_MAX: Final = 60.0


def processes_here(nodes: int = 1) -> int:
    """How many verifier processes one of so many nodes on this machine has, unless its configuration says."""
    return int(len(os.sched_getaffinity(0)) >= CORES_MIN * nodes)


class Failed(Exception):
    """The process has ended, or what it does is not what it is for."""


class _Frame:
    """Transactions that are asked about together."""

    __slots__ = ("answer", "digest", "transactions")

    def __init__(self, transactions: Sequence[bytes], loop: asyncio.AbstractEventLoop) -> None:
        self.transactions = transactions
        self.digest = b""  # of what was sent
        self.answer: asyncio.Future[list[bytes]] = loop.create_future()  # an id for each, or ZERO; or nothing

    def sent(self) -> bytes:
        """What goes over the pipe, made just before: a block's frames together would hold up the loop."""
        data = TransactionFrame(transactions=self.transactions).SerializeToString()
        self.digest = sha256(data)
        return len(data).to_bytes(LENGTH_BYTES, "big") + data

    def settle(self, ids: list[bytes]) -> None:
        if not self.answer.done():
            self.answer.set_result(ids)


class Verifier:
    """One verifier process of one chain, or none. Owned by the event loop."""

    def __init__(self, chain_id: bytes, processes: int = 1, command: Sequence[str] = ()) -> None:
        """`command`: another program in its place."""
        self._chain_id = chain_id
        self._wanted = processes > 0
        self._command = command or (sys.executable, "-P", "-m", "node.verifying_process", chain_id.hex())
        self._process: subprocess.Popen[bytes] | None = None  # once it can be asked
        self._questions: asyncio.StreamWriter | None = None
        self._waiting: deque[_Frame] = deque()
        self._asked: deque[_Frame] = deque()  # those sent, oldest first
        self._moved = 0.0  # when the first of them was sent, or the last answer came; on the loop's clock
        self.failures = 0  # since the node started
        self.vouched = 0  # transactions

    @property
    def ready(self) -> bool:
        """Whether it can be asked now."""
        return self._process is not None

    def worth_asking(self, transactions: Sequence[bytes]) -> bool:
        """Whether asking about these costs less than verifying them here."""
        return self.ready and len(transactions) >= WORTH_ASKING

    async def ask(self, transactions: Sequence[bytes], seconds: float | None = None) -> Vouched:
        """For which of these it vouches, as far as it says so within so many seconds (None: until it has answered or
        failed, which it does soon). For none when it is not there. Never raises. Who waits no more has nothing sent."""
        # One that is too large is good for nothing, and would make a frame that it does not take.
        transactions = [data for data in transactions if len(data) <= TRANSACTION_BYTES_MAX]
        if not self.worth_asking(transactions):
            return NOBODY
        loop = asyncio.get_running_loop()
        frames = [_Frame(some, loop) for some in _framed(transactions)]
        self._waiting.extend(frames)
        self._send()
        ids: dict[bytes, bytes] = {}
        try:
            async with asyncio.timeout(seconds):
                for frame in frames:
                    told = zip(frame.transactions, await frame.answer, strict=False)
                    ids.update((data, id_) for data, id_ in told if id_ != ZERO)
        except TimeoutError:
            pass  # what is known by then
        finally:
            for frame in frames:
                frame.answer.cancel()
        self.vouched += len(ids)
        return Vouched(ids)

    def used(self, vouched: Vouched) -> None:
        """What it said was used. An id that was not its transaction's ends it."""
        if vouched.contradicted:
            self._kill("it told an id that its transaction does not have")

    async def run(self) -> None:
        """Keep it going, for ever; nothing to do where none is wanted."""
        pause, loop = PAUSE_SECONDS, asyncio.get_running_loop()
        while self._wanted:
            begun = loop.time()
            try:
                await self._serve()
            except (Failed, OSError) as error:
                self.failures += 1
                _LOG.warning(
                    "the verifier process failed; this node verifies by itself until it is begun anew",
                    extra={"cause": str(error), "failures": self.failures, "pause_s": pause},
                )
            if loop.time() - begun > PAUSE_SECONDS_MAX:
                pause = PAUSE_SECONDS
            await asyncio.sleep(pause)
            pause = min(2 * pause, PAUSE_SECONDS_MAX)

    # ---- one process ------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        """From its start to its end; raises Failed. Leaves no process and no frame behind."""
        ours, theirs = socket.socketpair()
        with theirs:
            answers, questions = await asyncio.open_connection(sock=ours)
            process = self._begin(theirs, questions)
        watching = asyncio.create_task(self._watch())
        try:
            async with asyncio.timeout(START_SECONDS):
                if await answers.readexactly(HASH_BYTES) != sha256(self._chain_id):
                    raise Failed("it is for another chain")
            self._process, self._questions = process, questions
            _LOG.info("verifier process begun", extra={"verifier": process.pid})
            await self._read(answers)
        except TimeoutError:
            raise Failed(f"it had not begun after {START_SECONDS:.0f} s") from None
        except (asyncio.IncompleteReadError, ConnectionError):
            raise Failed("it has ended, or was made to") from None
        finally:
            self._process = self._questions = None
            watching.cancel()
            for frame in (*self._asked, *self._waiting):
                frame.settle([])
            self._asked.clear()
            self._waiting.clear()
            questions.transport.abort()
            process.kill()  # a stopped one too
            process.wait()

    def _begin(self, theirs: socket.socket, questions: asyncio.StreamWriter) -> subprocess.Popen[bytes]:
        """A new interpreter, so that nothing of this process's threads and locks is in it."""
        paths = (_ROOT, os.environ.get("PYTHONPATH", ""))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        end = theirs.fileno()
        try:
            return subprocess.Popen(self._command, stdin=end, stdout=end, env=environment)
        except OSError:
            questions.transport.abort()
            raise

    async def _read(self, answers: asyncio.StreamReader) -> None:
        """Answers, in the order of the questions."""
        while True:
            count = int.from_bytes(await answers.readexactly(LENGTH_BYTES), "big")
            if not self._asked:
                raise Failed("it answers what nobody asked")
            frame = self._asked[0]
            # (1) One id for each.
            if count != len(frame.transactions):
                raise Failed(f"it told {count} ids of {len(frame.transactions)} transactions")
            told = await answers.readexactly(HASH_BYTES * (1 + count))
            # (2) Of the very bytes that were sent.
            if told[:HASH_BYTES] != frame.digest:
                raise Failed("its answer is to another frame")
            self._asked.popleft()
            self._moved = asyncio.get_running_loop().time()
            frame.settle(
                [told[start : start + HASH_BYTES] for start in range(HASH_BYTES, len(told), HASH_BYTES)]
            )
            self._send()

    def _send(self) -> None:
        """As many frames as may be under way."""
        if self._questions is None:
            return
        if not self._asked:
            self._moved = asyncio.get_running_loop().time()
        while self._waiting and len(self._asked) < UNDER_WAY_MAX:
            frame = self._waiting.popleft()
            if not frame.answer.cancelled():
                self._asked.append(frame)
                self._questions.write(frame.sent())

    async def _watch(self) -> None:
        """Ends it when it does not answer."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if self._asked and loop.time() - self._moved > ANSWER_SECONDS:
                self._kill(f"it did not answer for {ANSWER_SECONDS} s")

    def _kill(self, why: str) -> None:
        """Its output ends then, and the node hears of it as of any other end."""
        if self._process is not None:
            _LOG.warning("the verifier process is ended", extra={"cause": why})
            self._process.kill()


def _framed(transactions: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """In frames, in order."""
    start, size = 0, 0
    for place, data in enumerate(transactions):
        if place - start == FRAME_TRANSACTIONS or size > FRAME_BYTES:
            yield transactions[start:place]
            start, size = place, 0
        size += len(data)
    yield transactions[start:]
