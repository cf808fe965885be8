"""From every reachable state, three honest validators go on to decide once the network works again, even if the
dishonest one falls silent and takes its votes with it.

To the votes of a state this adds which certificates some honest validator has seen. A vote makes what it rests on
seen, and so durable; anything else that could be formed may have been seen or not.
"""

from __future__ import annotations

from itertools import permutations

from tests.model.rules import Rules, State

Seen = frozenset[tuple[int, int]]  # (view, block) of a notarization, (view, -1) of a nullification
Known = tuple[State, Seen]
NULLIFIED = -1


def canonical(rules: Rules, state: list[int] | State, seen: Seen) -> Known:
    """The smallest over all renamings of the blocks."""
    forms = []
    for names, table in zip(permutations(range(rules.blocks)), rules.renamings, strict=True):
        votes = tuple(sorted(table[each] for each in state))
        renamed = sorted((view, block if block == NULLIFIED else names[block]) for view, block in seen)
        forms.append((votes, tuple(renamed)))
    votes, renamed = min(forms)
    return votes, frozenset(renamed)


def formable(rules: Rules, state: State) -> Seen:
    found = {
        (view, block)
        for view in range(rules.views)
        for block in range(rules.blocks)
        if rules.notarization(state, view, block)
    }
    return frozenset(
        found | {(view, NULLIFIED) for view in range(rules.views) if rules.nullification(state, view)}
    )


def proofs(rules: Rules, possible: Seen, view: int, block: int) -> list[Seen]:
    """Every set of certificates on which this block may be notarized in this view."""
    found = []
    for origin in range(-1, view):
        needed = {(gap, NULLIFIED) for gap in range(origin + 1, view)} | (
            {(origin, block)} if origin >= 0 else set()
        )
        if needed <= possible:
            found.append(frozenset(needed))
    return found


def successors(rules: Rules, known: Known) -> set[Known]:
    """One more vote, or one more certificate seen."""
    state, seen = known
    possible = formable(rules, state)
    found = {canonical(rules, state, seen | {each}) for each in possible - seen}
    for votes, bit in rules.moves(state):
        view, place = divmod(bit, rules.bits)
        if place < rules.blocks:
            grounds = proofs(rules, possible, view, place)
        elif place == rules.blocks:  # nullify the current view, which some certificate opened
            opened = [each for each in possible if each[0] == view - 1]
            grounds = [frozenset({each}) for each in opened] if view else [frozenset()]
        else:
            grounds = [frozenset({(view, place - rules.blocks - 1)})]
        successor = list(state)
        successor[state.index(votes)] = votes | 1 << bit
        found.update(canonical(rules, successor, seen | ground) for ground in grounds)
    return found


def reachable(rules: Rules) -> set[Known]:
    start = canonical(rules, rules.start(), frozenset())
    found, front = {start}, [start]
    while front:
        fresh = {each for known in front for each in successors(rules, known)} - found
        found |= fresh
        front = sorted(fresh, key=lambda known: (known[0], sorted(known[1])))
    return found


def heals(rules: Rules, known: Known) -> bool:
    """Whether the honest alone decide: they share what they hold, finalize, nullify what leads nowhere, and at
    last follow an honest leader in a view that is new to all."""
    state, seen = list(known[0]), set(known[1])
    for _ in range(2 * rules.views + 2):
        for view in range(rules.views):  # what the honest votes alone give
            for place, block in [
                *((block, block) for block in range(rules.blocks)),
                (rules.blocks, NULLIFIED),
            ]:
                if rules.count(tuple(state), view * rules.bits + place) == rules.honest:
                    seen.add((view, block))
        for view, block in [each for each in sorted(seen) if each[1] != NULLIFIED]:
            bit = view * rules.bits + rules.blocks + 1 + block
            state = [
                votes | 1 << bit
                if rules.may_finalize(votes >> view * rules.bits & (1 << rules.bits) - 1, block)
                else votes
                for votes in state
            ]
            if rules.count(tuple(state), bit) == rules.honest:
                return True
        current = max((view + 1 for view, _ in seen), default=0)
        if current == rules.views:
            origin = max((view for view, block in seen if block != NULLIFIED), default=-1)
            return all((gap, NULLIFIED) in seen for gap in range(origin + 1, current))
        bit = current * rules.bits + rules.blocks
        state = [
            votes | 1 << bit
            if rules.may_nullify(votes >> current * rules.bits & (1 << rules.bits) - 1)
            else votes
            for votes in state
        ]
    return False


def resting_on(rules: Rules, state: State, possible: Seen) -> set[Seen]:
    """The certificates on which the votes of a state rest, for every way of founding each of them.

    More than what can be reached: in which order votes and certificates came is not asked. Any state that is
    reached has seen one of these, and perhaps more of what is possible.
    """
    union = 0
    for votes in state:
        union |= votes
    found = {frozenset[tuple[int, int]]()}
    for bit in range(rules.bits * rules.views):
        if not union >> bit & 1:
            continue
        view, place = divmod(bit, rules.bits)
        if place < rules.blocks:
            grounds = proofs(rules, possible, view, place)
        elif place == rules.blocks:
            grounds = (
                [frozenset({each}) for each in possible if each[0] == view - 1] if view else [frozenset()]
            )
        else:
            grounds = [frozenset({(view, place - rules.blocks - 1)})]
        found = {seen | ground for seen in found for ground in grounds}
    return found


class Entered(Rules):
    """The rules where only a view that can have been entered is nullified: what healing starts from."""

    def moves(self, state: State) -> list[tuple[int, int]]:
        entered = {view + 1 for view, _ in formable(self, state)} | {0}
        lawful = super().moves(state)
        return [
            each for each in lawful if each[1] % self.bits != self.blocks or each[1] // self.bits in entered
        ]


class Healing:
    """Whether every state heals, from the least that may be known of its certificates and from all of it.

    For as many views as the states themselves can be explored; what lies between the least and all is covered where
    `reachable` goes, up to two views.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.checked = 0
        self._resting: dict[tuple[int, Seen], set[Seen]] = {}

    def stuck(self, state: State) -> Seen | None:
        """Certificates knowing which alone the honest cannot go on; None where there are none such."""
        possible = formable(self.rules, state)
        union = 0
        for votes in state:
            union |= votes
        key = (union, possible)
        if key not in self._resting:
            self._resting[key] = resting_on(self.rules, state, possible)
        for seen in self._resting[key] | {possible}:
            self.checked += 1
            if not heals(self.rules, (state, seen)):
                return seen
        return None
