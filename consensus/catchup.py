"""Always-on catch-up (rule 11): what others have decided is fetched and goes through the same door as what we
decide ourselves.

Up to a height that is proven (boundaries.py), heights are asked for in runs, and every block comes with its own
finalization. Nothing of an answer is believed: when a height opens, exactly its set verifies the finalization, and
the block must hash to what that names. So set changes need no care here, every height keeps its own certificate,
and what one peer sent wrongly is asked of another.

No peer is asked for two things at once, so each can be in the way with one request only. A late answer frees its
heights for others (patience.py); the runs after it are fetched meanwhile. Of those who may be asked, first who has
failed least, then who was quickest by the height: a peer that answers at the last moment, or with one block where many
were asked for, is asked last. Nobody is asked for what it has not shown to be decided, unless all who have shown it
have failed.

Memory is bounded: FETCHED_BYTES_MAX holds for what is at hand together with what the runs under way may bring.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from consensus.effects import EngineSettings
from consensus.messages import HEIGHTS_PER_REQUEST_MAX
from consensus.patience import PEERS_MAX, Patience
from ledger.limits import BLOCK_BYTES_MAX
from proto.chiptrace.v1.consensus_pb2 import BlockReply, BlockRequest, Certificate

RUNS_AHEAD_MAX: Final = 4  # under way, or fetched and not yet executed
FETCHED_BYTES_MAX: Final = RUNS_AHEAD_MAX * BLOCK_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a peer sent for a height: nothing of it is verified."""

    height: int
    peer: bytes
    block: bytes
    finalization: Certificate
    ends_answer: bool  # the last one of what its peer sent at once


@dataclass(frozen=True, slots=True)
class Need:
    """What the engine lacks now."""

    first_height: int  # the first height whose block is not at hand
    target: int  # proven to be decided
    validators: Sequence[bytes]  # whom to ask where nobody who has shown the height is of use


@dataclass(slots=True)
class _Run:
    """Heights asked of a peer that has not answered yet."""

    first: int
    last: int
    asked_ms: int
    late: bool = False  # others may be asked for them
    given_up: bool = False  # its peer may be asked for others


class Catchup:
    """Who has shown which height, runs under way, and blocks fetched ahead."""

    def __init__(self, own_key: bytes | None, settings: EngineSettings, patience: Patience) -> None:
        self._own_key = own_key
        self._run_max = max(1, min(settings.heights_per_request_max, HEIGHTS_PER_REQUEST_MAX))
        self._moment_ms = settings.block_request_ms
        self._patience = patience
        self._shown: dict[bytes, int] = {}  # the highest height each peer has ever claimed, proven or not
        self._runs: dict[bytes, _Run] = {}  # by who was asked
        self._pace_us: dict[bytes, int] = {}  # what a height took in each peer's last answer
        self._fetched: dict[int, Fetched] = {}
        self._fetched_bytes = 0
        self._target = 0
        self._raised_ms = 0  # when the target last rose
        self._asked_to = 0  # the highest height ever asked for

    @property
    def fetched(self) -> Mapping[int, Fetched]:
        """What is at hand, by height: whoever can find out more about it beforehand may begin."""
        return self._fetched

    def shown(self, peer: bytes, height: int) -> None:
        """A peer has shown a finalization: it may have that block, whether or not it is a validator."""
        if peer != self._own_key and (peer in self._shown or len(self._shown) < PEERS_MAX):
            self._shown[peer] = max(height, self._shown.get(peer, 0))

    def showing(self, height: int) -> list[bytes]:
        """Who has shown that this height is decided."""
        return [peer for peer, shown in self._shown.items() if shown >= height]

    def connected(self, peer: bytes) -> None:
        """Its line is up anew: what it was asked before is lost."""
        self._runs.pop(peer, None)

    # ---- asking -----------------------------------------------------------------------------------

    def requests(self, need: Need, now_ms: int) -> list[tuple[bytes, BlockRequest]]:
        """What to ask for now, and of whom."""
        self._forget(need)
        if need.target > self._target:
            self._target, self._raised_ms = need.target, now_ms
        asked: list[tuple[bytes, BlockRequest]] = []
        if need.target < need.first_height:
            return asked
        self._look_at_the_clock(now_ms)
        while not self._patient(need, now_ms) and (first := self._lowest_wanted(need)) is not None:
            peer = self._choose(first, need, now_ms)
            if peer is None:
                break
            last = self._run_from(first, need, peer)
            self._runs[peer] = _Run(first, last, now_ms)
            self._asked_to = max(self._asked_to, last)
            asked.append((peer, BlockRequest(from_height=first, to_height=last)))
        return asked

    def next_ms(self, need: Need, now_ms: int) -> int | None:
        """When an answer under way is late or given up, or somebody may be asked (again)."""
        if need.target < need.first_height:
            return None
        moments = [self._raised_ms + self._moment_ms]
        for run in self._runs.values():
            moments += [self._patience.late_at_ms(run.asked_ms), self._patience.given_up_at_ms(run.asked_ms)]
        moments += [self._patience.rests_until_ms(peer) for peer in self._peers_at(need.first_height, need)]
        return min((moment for moment in moments if moment > now_ms), default=None)

    def _patient(self, need: Need, now_ms: int) -> bool:
        # One height ahead is no backlog yet: it is being executed here, or its proposal is on the way. Unless it was
        # asked for before: then it was two ahead when it was proposed, and that proposal was not kept.
        first = need.first_height
        return need.target == first > self._asked_to and now_ms < self._raised_ms + self._moment_ms

    def _look_at_the_clock(self, now_ms: int) -> None:
        for peer, run in self._runs.items():
            if not run.late and now_ms >= self._patience.late_at_ms(run.asked_ms):
                run.late = True
                self._patience.failed(peer, now_ms)
            # Should it come after all, it is taken.
            run.given_up = now_ms >= self._patience.given_up_at_ms(run.asked_ms)

    def _lowest_wanted(self, need: Need) -> int | None:
        waited_for = [run for run in self._runs.values() if not run.late]
        last = min(need.target, need.first_height + RUNS_AHEAD_MAX * self._run_max - 1)
        if self._fetched_bytes + len(waited_for) * BLOCK_BYTES_MAX >= FETCHED_BYTES_MAX:
            last = need.first_height  # the one that makes room
        for height in range(need.first_height, last + 1):
            if height not in self._fetched and not any(run.first <= height <= run.last for run in waited_for):
                return height
        return None

    def _run_from(self, first: int, need: Need, peer: bytes) -> int:
        # Who has failed is asked for less: a run may be too much for its line.
        length = max(1, self._run_max >> self._patience.failures(peer))
        stop = min(first + length, need.target + 1)
        begun = [height for height in self._fetched if height > first]
        begun += [run.first for run in self._runs.values() if not run.late and run.first > first]
        return min([stop, *begun]) - 1

    def _choose(self, height: int, need: Need, now_ms: int) -> bytes | None:
        peers = self._peers_at(height, need)
        # Not all who are behind begin with the same one.
        turn = self._own_key[0] if self._own_key else 0
        ranked = [
            (self._patience.failures(peer), self._pace_us.get(peer, 0), (index + turn) % len(peers), peer)
            for index, peer in enumerate(peers)
            if self._free(peer, now_ms)
        ]
        return min(ranked)[-1] if ranked else None

    def _free(self, peer: bytes, now_ms: int) -> bool:
        run = self._runs.get(peer)
        return (run is None or run.given_up) and now_ms >= self._patience.rests_until_ms(peer)

    def _peers_at(self, height: int, need: Need) -> list[bytes]:
        showing = self.showing(height)
        if any(not self._patience.failures(peer) for peer in showing):
            return showing
        # They may all be gone, or lie, while a proven height is somewhere for certain.
        return [peer for peer in dict.fromkeys([*showing, *need.validators]) if peer != self._own_key]

    def _forget(self, need: Need) -> None:
        """Drops what is no longer needed."""
        for height in [height for height in self._fetched if height < need.first_height]:
            self.take(height)

    # ---- answers ----------------------------------------------------------------------------------

    def answered(self, peer: bytes, reply: BlockReply, need: Need, now_ms: int) -> None:
        """Takes in what was asked of this peer, to be verified when its heights open. All else is dropped."""
        run = self._runs.get(peer)
        if run is None or reply.from_height != run.first:
            return  # nobody asked
        del self._runs[peer]
        finalizations = [*reply.earlier, reply.finalization]
        heights = range(run.first, min(run.last + 1, run.first + len(reply.blocks)))
        told = [finalization.height for finalization in finalizations[: len(reply.blocks)]]
        if not reply.blocks or told != list(heights):
            self._patience.failed(peer, now_ms)
            return
        self._pace_us[peer] = (now_ms - run.asked_ms) * 1_000 // len(heights)
        for height, block, finalization in zip(heights, reply.blocks, finalizations, strict=True):
            room = self._fetched_bytes + len(block) <= FETCHED_BYTES_MAX or height == need.first_height
            if height >= need.first_height and height not in self._fetched and room:
                ends = height == heights[-1]
                self._fetched[height] = Fetched(height, peer, block, finalization, ends)
                self._fetched_bytes += len(block)

    def take(self, height: int) -> Fetched | None:
        """What was fetched for the height that is open now."""
        fetched = self._fetched.pop(height, None)
        if fetched is not None:
            self._fetched_bytes -= len(fetched.block)
        return fetched

    def verified(self, fetched: Fetched) -> None:
        """What was taken is the block of its height."""
        if fetched.ends_answer:
            self._patience.forgive(fetched.peer)

    def refuted(self, fetched: Fetched, now_ms: int) -> None:
        """What was taken is not; nor is anything else believed that this peer has sent."""
        self._patience.failed(fetched.peer, now_ms)
        for height in [height for height, other in self._fetched.items() if other.peer == fetched.peer]:
            self.take(height)
