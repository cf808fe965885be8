"""Two heights in a row, walked at random: the second opens for a validator that sees the first finalized, and may
have another validator set.

The voting rules of each height are those of rules.py. A block of the second height names its parent, of which a
validator that has opened on another knows nothing. Here a validator goes on voting at a height that is decided,
which is more than the engine does. Those who left the set with the first height sign anything at the second.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

from tests.model.rules import Rules, State

BLOCKS = 2  # at the first height, and at the second on each of them


@dataclass(frozen=True)
class Sets:
    """Who is in force at either height, and who of them is dishonest."""

    first: tuple[int, ...]
    second: tuple[int, ...]
    dishonest: tuple[int, ...]


SAME = Sets((0, 1, 2, 3), (0, 1, 2, 3), (3,))
SWAPS = [
    Sets((0, 1, 2, 3), (2, 3, 4, 5), (3,)),
    Sets((0, 1, 2, 3), (2, 3, 4, 5), (0, 5)),
    Sets((0, 1, 2, 3), (3, 4, 5, 6), (0, 4)),
    Sets((0, 1, 2, 3), (0, 1, 2, 3, 4, 5, 6), (0, 6)),
    Sets((0, 1, 2, 3, 4, 5, 6), (0, 1, 2, 3), (3, 4)),
]


@dataclass(frozen=True)
class Chain:
    """The rules of two heights; the last two bend one of them."""

    sets: Sets = SAME
    views: int = 2
    changes: dict[str, object] = field(default_factory=dict)  # of `Rules`, at both heights
    opens_on_notarization: bool = False
    old_set_counts: bool = False  # a certificate of the second height by a quorum of the first's set

    def rules(self, members: tuple[int, ...], blocks: int) -> Rules:
        dishonest = sum(member in self.sets.dishonest for member in members)
        return Rules(len(members), dishonest, self.views, blocks, **self.changes)

    def honest(self, members: tuple[int, ...]) -> list[int]:
        return [member for member in members if member not in self.sets.dishonest]


@dataclass(frozen=True)
class Walked:
    """Where a walk ended."""

    forked: bool
    votes: int
    decided: int  # heights


class Walk:
    """One way through a chain's states. The votes of a height stand beside each other as in `Rules`."""

    def __init__(self, chain: Chain, seed: int) -> None:
        self.chain, self.choose = chain, random.Random(seed)
        self.members = (chain.honest(chain.sets.first), chain.honest(chain.sets.second))
        self.rules = (chain.rules(chain.sets.first, BLOCKS), chain.rules(chain.sets.second, BLOCKS**2))
        self.votes: tuple[State, State] = (self.rules[0].start(), self.rules[1].start())
        self.parents: dict[int, int] = {}  # of those who have opened the second height: on which block
        # Fair walks look alike. Each prefers some kinds of votes and some validators.
        self.kinds = [self.choose.choice((1, 1, 4, 16)) for _ in range(3)]
        everyone = {*chain.sets.first, *chain.sets.second}
        self.favour = {member: self.choose.choice((1, 1, 6)) for member in everyone}

    def go(self) -> Walked:
        votes = 0
        while not self.forked():
            self.open_some()
            moves = self.moves()
            if not moves:
                break
            weights = [self.weight(*move) for move in moves]
            height, member, bit = self.choose.choices(moves, weights)[0]
            state = list(self.votes[height])
            state[self.members[height].index(member)] |= 1 << bit
            self.votes = (tuple(state), self.votes[1]) if height == 0 else (self.votes[0], tuple(state))
            votes += 1
        return Walked(self.forked(), votes, sum(bool(self.final(height)) for height in (0, 1)))

    def final(self, height: int) -> set[int]:
        """Blocks that can be shown as final to whoever has that height open."""
        rules, state = self.rules[height], self.votes[height]
        every = [(view, block) for view in range(rules.views) for block in range(rules.blocks)]
        found = {block for view, block in every if rules.finalization(state, view, block)}
        if height and self.chain.old_set_counts:
            found |= {block for view, block in every if self.old_quorum(rules, view, block)}
        return found

    def old_quorum(self, rules: Rules, view: int, block: int) -> bool:
        """Whether the first set's members can finalize this at the second height, if they are asked."""
        bit = view * rules.bits + rules.blocks + 1 + block
        lawful = dict(zip(self.members[1], self.votes[1], strict=True))
        signs = [lawful[m] >> bit & 1 if m in lawful else 1 for m in self.chain.sets.first]
        return sum(signs) >= self.rules[0].honest_needed + self.rules[0].dishonest

    def forked(self) -> bool:
        first, second = self.final(0), self.final(1)
        return len(first) > 1 or len(second) > 1 or any(block // BLOCKS not in first for block in second)

    def open_some(self) -> None:
        """Some validators see the first height decided."""
        rules, state = self.rules[0], self.votes[0]
        parents = self.final(0)
        if self.chain.opens_on_notarization:
            views = range(rules.views)
            parents = {b for b in range(BLOCKS) if any(rules.notarization(state, v, b) for v in views)}
        for member in self.members[1]:
            if member not in self.parents and parents and self.choose.random() < 0.3:
                self.parents[member] = self.choose.choice(sorted(parents))

    def moves(self) -> list[tuple[int, int, int]]:
        """(height, validator, the bit of its vote) of every vote that may come next."""
        found = []
        for height, rules in enumerate(self.rules):
            lawful: dict[int, list[int]] = {}
            for votes, bit in rules.moves(self.votes[height]):
                lawful.setdefault(votes, []).append(bit)
            for member, votes in zip(self.members[height], self.votes[height], strict=True):
                bits = lawful.get(votes, [])
                if height:
                    bits = [bit for bit in bits if self.votes_on(member, bit)]
                found += [(height, member, bit) for bit in bits]
        return found

    def votes_on(self, member: int, bit: int) -> bool:
        """At the second height: only once it is open, and a notarize only for a block on the parent it knows."""
        place = bit % self.rules[1].bits
        parent = self.parents.get(member)
        return parent is not None and (place >= BLOCKS**2 or place // BLOCKS == parent)

    def weight(self, height: int, member: int, bit: int) -> int:
        rules = self.rules[height]
        place = bit % rules.bits
        kind = 0 if place < rules.blocks else 1 if place == rules.blocks else 2
        return self.kinds[kind] * self.favour[member]


def walk_many(chain: Chain, seeds: range) -> Counter[str]:
    """How the walks ended."""
    ends: Counter[str] = Counter()
    for seed in seeds:
        walked = Walk(chain, seed).go()
        ends["walks"] += 1
        ends["forks"] += walked.forked
        ends["votes"] += walked.votes
        ends["both decided"] += walked.decided == 2
    return ends
