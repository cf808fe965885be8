"""Nullify-only: gives up every view of which it hears, and votes for no block."""

from __future__ import annotations

from consensus import effects
from proto.chiptrace.v1.consensus_pb2 import PeerMessage
from tests.simulation.actors.corrupted import Corrupted
from tests.simulation.oracle import NULLIFY


class NullifyOnly(Corrupted):
    def start(self) -> None:
        self.given_up: set[tuple[int, int]] = set()
        super().start()

    def emit(self, effect: effects.Send) -> None:
        if effect.message.WhichOneof("kind") not in {"vote", "proposal"}:
            super().emit(effect)

    def overhear(self, message: PeerMessage) -> None:
        kind = message.WhichOneof("kind")
        if kind not in {"vote", "proposal", "certificate"}:
            return
        said = getattr(message, kind)
        later = 1 if kind == "certificate" else 0
        for view in (said.view, said.view + later):
            if (said.height, view) not in self.given_up:
                self.given_up.add((said.height, view))
                self.cast(self.others(), NULLIFY, said.height, view)
