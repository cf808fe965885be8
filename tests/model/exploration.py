"""Breadth-first exploration of the voting rules up to the names of validators and blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.model.rules import Rules, State


@dataclass(frozen=True)
class Explored:
    """What was found: canonical states, transitions between them, and the first fork with its votes, if any."""

    states: int
    transitions: int
    fork: State | None
    votes: int  # cast until the fork, or in the longest run


def layers(rules: Rules) -> Iterator[tuple[set[State], int]]:
    """All canonical states by number of votes cast, with the transitions that lead out of each layer.

    Every transition casts one vote, so a state belongs to one layer only and layers need not be compared.
    """
    layer = {rules.canonical(rules.start())}
    while layer:
        following: set[State] = set()
        transitions = 0
        for state in sorted(layer):
            for votes, bit in rules.moves(state):
                successor = list(state)
                successor[state.index(votes)] = votes | 1 << bit
                following.add(rules.canonical(successor))
                transitions += 1
        yield layer, transitions
        layer = following


def explore(rules: Rules) -> Explored:
    """Explore until the first fork, or to the end. The fork found is one of the fewest votes."""
    states = transitions = votes = 0
    for votes, (layer, leading_out) in enumerate(layers(rules)):
        states += len(layer)
        transitions += leading_out
        for state in layer:
            if rules.forked(state):
                return Explored(states, transitions, state, votes)
    return Explored(states, transitions, None, votes)
