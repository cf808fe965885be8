"""What becomes of the rules when one of them is changed: some changes must fork, others must not."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from tests.model.rules import Rules


@dataclass(frozen=True)
class Change:
    """Rules with one change; `votes`: the fewest honest votes that fork, or None where nothing does."""

    name: str
    rules: Rules
    votes: int | None

    def of_views(self, views: int) -> Rules:
        """The same change with more views; a harmless one is explored as far as the rules themselves."""
        return self.rules if self.votes else replace(self.rules, views=views)

    @property
    def flags(self) -> dict[str, object]:
        """What differs from the rules."""
        named = {field.name: getattr(self.rules, field.name) for field in fields(Rules)}
        return {name: value for name, value in named.items() if value != getattr(Rules, name)}


FORKING = [
    Change("without (a): a second notarize", Rules(double_notarize=True), 10),
    Change("without (b): finalize after nullify", Rules(finalize_after_nullify=True), 10),
    Change("without (b): nullify after finalize", Rules(nullify_after_finalize=True), 10),
    Change("without (c): no gap is checked", Rules(gaps_checked="none"), 8),
    Change("without (c): the last gap is not checked", Rules(gaps_checked="first"), 8),
    Change("without (c): only the last gap is checked", Rules(views=3, gaps_checked="last"), 10),
    Change("without (c): proposed again without its notarization", Rules(proposal_proved=False), 8),
    Change("without (d): finalize without holding N", Rules(finalize_holding_notarization=False), 4),
    Change("a quorum of 2f + 1 = 3 of 6", Rules(validators=6, dishonest=1, views=1, quorum=3), 8),
    Change("a quorum of 2f + 1 = 5 of 9", Rules(validators=9, dishonest=2, views=1, quorum=5), 12),
    Change("one dishonest validator too many", Rules(dishonest=2, views=1), 4),
]
HARMLESS = [
    Change("no notarize after nullify", Rules(notarize_after_nullify=False), None),
    Change("finalize only what one notarized", Rules(finalize_only_own=True), None),
    Change("a second finalize, holding its N", Rules(finalize_twice=True), None),
]
