"""Heights per second and core that agreement alone reaches: real engines and signatures, an application that does nothing.

All engines run in this process, over links that take no time; every message is encoded and decoded as on the wire, none
is lost, blocks are empty and built, judged and executed at once. The CPU is divided by the number of engines. The limit
is what verifying the others' two votes of each height alone would allow.
"""

from __future__ import annotations

import argparse
import time
from collections import deque
from typing import Any

from nacl.signing import SigningKey

from consensus import effects
from consensus.effects import EngineSettings
from consensus.engine import Engine
from ledger.hashes import verify_raw
from proto.chiptrace.v1.consensus_pb2 import PeerMessage
from proto.chiptrace.v1.ledger_pb2 import Validator, ValidatorSet
from scripts.benchmarks.limits import verifications
from scripts.benchmarks.result import Result, median, result, short
from tests.consensus import chain

VOTES = 2  # of each of the others, per height: for the proposal, and for its notarization
WARMING = 5  # heights
STEP_MS = 1  # of virtual time per round of messages


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--heights", type=int, default=400)
    parser.add_argument("--validators", default="4,7,10")
    parser.add_argument("--runs", type=int, default=3)


class Agreement:
    """Engines that decide one height after the other."""

    def __init__(self, count: int) -> None:
        signers = [SigningKey(bytes([index + 1]) * 32) for index in range(count)]
        self.keys = [bytes(signer.verify_key) for signer in signers]
        self.set = ValidatorSet(
            in_force_from=1,
            validators=[Validator(key=key, member=f"m{index}") for index, key in enumerate(self.keys)],
        )
        self.now = 1_000_000
        self.queue: deque[tuple[int, Any]] = deque()
        self.timers: dict[int, int] = {}
        self.heights = [0] * count
        self.tips = [chain.GENESIS] * count
        self.messages = 0
        self.engines = [self._engine(index, signer) for index, signer in enumerate(signers)]
        for index, engine in enumerate(self.engines):
            self.perform(index, engine.start(self.now))

    def _engine(self, index: int, signer: SigningKey) -> Engine:
        def sign(data: bytes) -> bytes:
            return bytes(signer.sign(data).signature)

        settings = EngineSettings()
        return Engine(
            chain.CHAIN_ID,
            self.keys[index],
            sign,
            verify_raw,
            settings,
            0,
            chain.GENESIS,
            None,
            self.set,
            0,
            (),
            self.now,
        )

    def run(self, heights: int) -> None:
        """Until all have decided so many."""
        while min(self.heights) < heights:
            if not self.queue:
                self.now += STEP_MS
                for index, due in list(self.timers.items()):
                    if due <= self.now:
                        del self.timers[index]
                        self.queue.append((index, effects.TimerFired()))
                continue
            index, event = self.queue.popleft()
            if isinstance(event, tuple):
                event = effects.Received(event[0], PeerMessage.FromString(event[1]))
            self.perform(index, self.engines[index].step(event, self.now))

    def perform(self, index: int, wanted: Any) -> None:
        """What one engine asks for, at once."""
        for effect in wanted:
            if isinstance(effect, effects.Send):
                data = effect.message.SerializeToString(deterministic=True)
                for other, key in enumerate(self.keys):
                    if other != index and effect.to in (None, key) and key != effect.besides:
                        self.messages += 1
                        self.queue.append((other, (self.keys[index], data)))
            elif isinstance(effect, effects.SetTimer):
                self.timers[index] = effect.at_ms
            elif isinstance(effect, effects.BuildBlock):
                data = chain.block(
                    effect.height, self.tips[index], self.now + effect.height, [], (self.set, self.set)
                )
                self.queue.append((index, effects.BlockBuilt(effect.height, effect.view, data, wanted=True)))
            elif isinstance(effect, effects.JudgeBlock):
                self.queue.append((index, effects.BlockJudged(effect.height, effect.block_hash, valid=True)))
            elif isinstance(effect, effects.Decide):
                self.heights[index], self.tips[index] = effect.height, effect.block_hash
                done = effects.Executed(effect.height, effect.block_hash, self.set, 0)
                self.queue.append((index, done))


def one(validators: int, heights: int) -> dict[str, float]:
    """A run of so many heights."""
    agreement = Agreement(validators)
    agreement.run(WARMING)  # caches as they are later
    messages, began = agreement.messages, time.process_time()
    agreement.run(WARMING + heights)
    spent = time.process_time() - began
    return {
        "heights_per_s": heights * validators / spent,
        "ms_per_height": spent / heights / validators * 1e3,
        "messages_per_height_and_node": (agreement.messages - messages) / heights / validators,
    }


def measure(chosen: argparse.Namespace) -> Result:
    limits = [verifications()]
    found = []
    for count in map(int, chosen.validators.split(",")):
        heights = max(20, chosen.heights * 16 // (count * count))
        runs = [one(count, heights) for _ in range(chosen.runs)]
        rates = [short(run["heights_per_s"]) for run in runs]
        middle = {name: short(median([run[name] for run in runs])) for name in runs[0]}
        found.append({"validators": count, "samples": rates} | middle)
    limits.append(verifications())
    for size in found:
        size["limit"] = short(median(bare(limits, size["validators"])))
    return result(
        found[0]["heights_per_s"],
        f"heights/s of one core, {found[0]['validators']} validators",
        bare(limits, found[0]["validators"]),
        "heights/s if only the others' votes were verified",
        found[0]["samples"],
        sizes=found,
    )


def bare(limits: list[float], validators: int) -> list[float]:
    """Heights per second if only the others' votes were verified."""
    return [limit / (VOTES * max(1, validators - 1)) for limit in limits]
