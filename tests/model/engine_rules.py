"""The same transition system with the product's own safety rules deciding what an honest validator may sign.

The exploration then runs over the code that signs (consensus/safety.py), not over a description of it: what it
allows is asked for every state that can be reached, and a rule broken there shows as a fork here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from consensus.safety import Safety
from consensus.tally import Held
from proto.chiptrace.v1.consensus_pb2 import Certificate, VoteKind
from tests.model.exploration import layers
from tests.model.rules import Rules, State

CHAIN_ID = bytes(32)
HEIGHT = 7
Formed = tuple[tuple[int, int, int], ...]  # kind, view, block of each certificate that could be formed


def hash_of(block: int) -> bytes:
    return bytes([block + 1]) * 32


def certificate(kind: int, view: int, block: int) -> Certificate:
    block_hash = b"" if kind == VoteKind.NULLIFY else hash_of(block)
    return Certificate(kind=kind, height=HEIGHT, view=view + 1, block_hash=block_hash)


@dataclass(frozen=True)
class EngineRules(Rules):
    """Rules whose moves are those that `Safety` signs; the flags of `Rules` have no effect on them."""

    asked: dict[tuple[int, Formed], list[int]] = field(default_factory=dict)

    def moves(self, state: State) -> list[tuple[int, int]]:
        formed = self.formed(state)
        found = []
        for votes in set(state):
            key = (votes, formed)
            if key not in self.asked:
                self.asked[key] = [
                    bit for bit in range(self.bits * self.views) if self.signs(votes, bit, formed)
                ]
            found += [(votes, bit) for bit in self.asked[key]]
        return found

    def formed(self, state: State) -> Formed:
        found = []
        for view in range(self.views):
            blocks = [block for block in range(self.blocks) if self.notarization(state, view, block)]
            found += [(VoteKind.NOTARIZE, view, block) for block in blocks]
            if self.nullification(state, view):
                found.append((VoteKind.NULLIFY, view, 0))
        return tuple(found)

    def signs(self, votes: int, bit: int, formed: Formed) -> bool:
        """Whether a validator with these votes, holding whatever of the certificates suits it, casts this one."""
        view, place = divmod(bit, self.bits)
        if votes >> bit & 1:
            return False
        if place == self.blocks:
            return self.restored(votes).nullify(view + 1) is not None
        block = place if place < self.blocks else place - self.blocks - 1
        held = Held()  # it keeps one notarization of a view: those of the block come first
        for each in sorted(formed, key=lambda each: each[2] != block):
            held.add(certificate(*each))
        if place < self.blocks:
            return any(
                self.restored(votes).notarize(view + 1, origin, hash_of(block), held) is not None
                for origin in range(view + 1)
            )
        notarization = certificate(VoteKind.NOTARIZE, view, block)  # it may come from anyone, verified or not
        vote = self.restored(votes).finalize(notarization, held)
        return vote is not None and vote.block_hash == hash_of(block)

    def restored(self, votes: int) -> Safety:
        """The record of a validator with these votes (without the check on restoring, which mutants would fail)."""
        safety = Safety(CHAIN_ID, HEIGHT, 0, lambda signed: bytes(64))
        for view in range(self.views):
            here = votes >> view * self.bits
            for block in range(self.blocks):
                if here >> block & 1:
                    safety._notarized[view + 1] = hash_of(block)
                if here >> self.blocks + 1 + block & 1:
                    safety._finalized[view + 1] = hash_of(block)
            if here >> self.blocks & 1:
                safety._nullified.add(view + 1)
        return safety


def disagreements(rules: Rules) -> tuple[int, list[State]]:
    """Over all states of these rules: in how many ways what one has signed and what can be formed go together, and
    states where the engine would sign something else than the rules allow."""
    engine = EngineRules(views=rules.views)
    seen: dict[tuple[int, Formed], frozenset[int]] = {}
    differing = []
    for layer, _ in layers(rules):
        for state in layer:
            formed = engine.formed(state)
            if all((votes, formed) in seen for votes in state):
                continue
            allowed: dict[int, set[int]] = {}
            for votes, bit in rules.moves(state):
                allowed.setdefault(votes, set()).add(bit)
            for votes in set(state):
                seen[votes, formed] = frozenset(allowed.get(votes, ()))
                bits = range(rules.bits * rules.views)
                if seen[votes, formed] != {bit for bit in bits if engine.signs(votes, bit, formed)}:
                    differing.append(state)
    return len(seen), differing
