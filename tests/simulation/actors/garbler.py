"""Garbler: flips bits of what it says, and of what it heard."""

from __future__ import annotations

from consensus import effects
from proto.chiptrace.v1.consensus_pb2 import PeerMessage
from tests.simulation.actors.corrupted import Corrupted


class Garbler(Corrupted):
    def garbled(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self.world.random.randint(1, 3)):
            if changed:
                changed[self.world.random.randrange(len(changed))] ^= 1 << self.world.random.randrange(8)
        return bytes(changed)

    def emit(self, effect: effects.Send) -> None:
        super().emit(effect)
        data = effect.message.SerializeToString(deterministic=True)
        for receiver in self.some():
            self.network.send(self.index, receiver, self.garbled(data))

    def overhear(self, message: PeerMessage) -> None:
        if self.world.chance(0.3):
            data = message.SerializeToString(deterministic=True)
            for receiver in self.some():
                self.network.send(self.index, receiver, self.garbled(data))
