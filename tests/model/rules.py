"""The voting rules of one height as a transition system, written from the design and not from the engine.

A state holds what the honest validators have signed, nothing else. The dishonest ones are taken to have signed
everything, and an honest one may act at any moment on any certificate that could be formed from those votes.
That covers every order of delivery, loss, withholding, and crashes whose journal survives.

One validator's votes of one view are five bits for two blocks: two for the blocks it notarized, one for
nullify, two for the blocks it finalized. A validator is its views side by side in one integer; a state is the
sorted tuple of its validators, the smallest over all renamings of the blocks, because neither validators nor
blocks differ in anything but their name.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import permutations

State = tuple[int, ...]


@dataclass(frozen=True)
class Rules:
    """Who votes and by which rules; every flag but the first three removes or bends one rule."""

    validators: int = 4
    dishonest: int = 1
    views: int = 2
    blocks: int = 2
    quorum: int = 0  # 0: floor(2n / 3) + 1
    double_notarize: bool = False  # without (a): a second, different notarize in one view
    finalize_after_nullify: bool = False  # without (b), one way round
    nullify_after_finalize: bool = False  # without (b), the other way round
    gaps_checked: str = "all"  # (c): "all", "none", "first" (all but the last), "last"
    proposal_proved: bool = True  # (c): a proposal made again carries its notarization
    finalize_holding_notarization: bool = True  # (d)
    notarize_after_nullify: bool = True  # harmless either way
    finalize_twice: bool = False  # harmless as long as each needs its notarization
    finalize_only_own: bool = False  # harmless: finalize what one notarized oneself only

    @cached_property
    def honest(self) -> int:
        return self.validators - self.dishonest

    @cached_property
    def honest_needed(self) -> int:
        """Honest votes which make a certificate together with all the dishonest ones."""
        return (self.quorum or 2 * self.validators // 3 + 1) - self.dishonest

    @cached_property
    def bits(self) -> int:
        """Bits of one view of one validator."""
        return 2 * self.blocks + 1

    @cached_property
    def renamings(self) -> list[list[int]]:
        """For each renaming of the blocks, the renamed form of every validator."""
        every = range(1 << (self.bits * self.views))
        return [[self._rename(votes, names) for votes in every] for names in permutations(range(self.blocks))]

    def _rename(self, votes: int, names: tuple[int, ...]) -> int:
        renamed = 0
        for view in range(self.views):
            for block, name in enumerate(names):
                for kind in (0, self.blocks + 1):
                    if votes >> (view * self.bits + kind + block) & 1:
                        renamed |= 1 << (view * self.bits + kind + name)
            renamed |= votes & 1 << (view * self.bits + self.blocks)
        return renamed

    def canonical(self, state: State | list[int]) -> State:
        return min(tuple(sorted(table[votes] for votes in state)) for table in self.renamings)

    def start(self) -> State:
        return (0,) * self.honest

    # ---- certificates -------------------------------------------------------------------------

    def count(self, state: State, bit: int) -> int:
        return sum(votes >> bit & 1 for votes in state)

    def notarization(self, state: State, view: int, block: int) -> bool:
        return self.count(state, view * self.bits + block) >= self.honest_needed

    def nullification(self, state: State, view: int) -> bool:
        return self.count(state, view * self.bits + self.blocks) >= self.honest_needed

    def finalization(self, state: State, view: int, block: int) -> bool:
        return self.count(state, view * self.bits + self.blocks + 1 + block) >= self.honest_needed

    def forked(self, state: State) -> bool:
        """Whether two different blocks can be shown as final."""
        final = {
            block
            for block in range(self.blocks)
            if any(self.finalization(state, view, block) for view in range(self.views))
        }
        return len(final) > 1

    # ---- votes ----------------------------------------------------------------------------------

    def moves(self, state: State) -> list[tuple[int, int]]:
        """Every vote that may come next: (votes of the validator who casts it, the bit it sets)."""
        found: list[tuple[int, int]] = []
        for view in range(self.views):
            base = view * self.bits
            provable = [block for block in range(self.blocks) if self.provable(state, view, block)]
            notarized = [block for block in range(self.blocks) if self.notarization(state, view, block)]
            for votes in set(state):
                here = votes >> base & (1 << self.bits) - 1
                found += [(votes, base + block) for block in provable if self.may_notarize(here, block)]
                if self.may_nullify(here):
                    found.append((votes, base + self.blocks))
                blocks = notarized if self.finalize_holding_notarization else range(self.blocks)
                bits = [base + self.blocks + 1 + block for block in blocks if self.may_finalize(here, block)]
                found += [(votes, bit) for bit in bits]
        return found

    def provable(self, state: State, view: int, block: int) -> bool:
        """Whether a leader of this view can show a complete proof for this block, new or made again."""
        nullified = [self.nullification(state, earlier) for earlier in range(view)]
        for origin in range(-1, view):  # -1: the block is new
            if origin >= 0 and self.proposal_proved and not self.notarization(state, origin, block):
                continue
            gaps = nullified[origin + 1 :]
            checked = {"all": gaps, "none": [], "first": gaps[:-1], "last": gaps[-1:]}[self.gaps_checked]
            if all(checked):
                return True
        return False

    def may_notarize(self, here: int, block: int) -> bool:
        """`here`: this validator's votes of the view."""
        own = here & (1 << self.blocks) - 1
        if own >> block & 1 or (own and not self.double_notarize):
            return False
        return self.notarize_after_nullify or not here >> self.blocks & 1

    def may_nullify(self, here: int) -> bool:
        finalized = here >> self.blocks + 1
        return not here >> self.blocks & 1 and (not finalized or self.nullify_after_finalize)

    def may_finalize(self, here: int, block: int) -> bool:
        """Apart from holding the notarization, which the caller has looked up."""
        finalized = here >> self.blocks + 1
        if finalized >> block & 1 or (finalized and not self.finalize_twice):
            return False
        if self.finalize_only_own and not here >> block & 1:
            return False
        return self.finalize_after_nullify or not here >> self.blocks & 1
