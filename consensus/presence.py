"""Who is not waited for, or not for long: local hints about leaders (rules 4 and 7). They convince nobody else and are no
evidence.

*The dead* have gone silent, and are skipped. Time counts only while a quorum was heard: a view adds its length to the
silence of those who said nothing in it, if a quorum did. So an idle chain makes nobody dead, nor does a network that
failed for us alone (the hint fails open), and it never names oneself. One long view is not enough: a network that heals
brings back one validator before the other.

*The idle* are heard and vote, and let their turns pass: their last views ended without a notarization. Their views are
a quarter as long, which an honest leader on a common line still makes, and one notarization clears them. That is all
that a hint may do, and it fails open three times over. Only the first views of a height are shortened, as many as
dishonest ones can lead in a row: from there on each has its full length, so what was decided without the hint is
decided with it, and each height that is clears the leader whose block it was. Each eighth round of turns all are given
their full length, by height and so the same one for everybody: who only ever comes late for a quarter is cleared there.
And it never names oneself either.
"""

from typing import Final

from consensus.quorum import leader, quorum
from proto.chiptrace.v1.ledger_pb2 import ValidatorSet

VIEWS_MIN: Final = 3  # silent through at least so many views before called dead
TURNS_MIN: Final = 2  # so many turns in a row that passed before called idle
FULL_ROUND: Final = 8  # of so many rounds of turns one has its full views


class Presence:
    """Silence of each validator, in milliseconds of views in which a quorum spoke, and its turns that passed."""

    def __init__(self, own_key: bytes | None, dead_ms: int) -> None:
        self._own_key = own_key
        self._dead_ms = dead_ms
        self._silent_ms: dict[bytes, int] = {}
        self._heard: set[bytes] = set()
        self._turns_passed: dict[bytes, int] = {}  # since its last block that was notarized

    def heard(self, key: bytes) -> None:
        """A validator took part in the open height (or is ahead of us)."""
        self._heard.add(key)
        self._silent_ms.pop(key, None)

    def view_ended(self, validators: ValidatorSet, length_ms: int) -> None:
        """A view that ran for `length_ms` is over."""
        keys = [validator.key for validator in validators.validators]
        # We ourselves are never silent, so never dead.
        spoke = [key for key in keys if key in self._heard or key == self._own_key]
        if len(spoke) >= quorum(len(keys)):
            counted = max(1, min(length_ms, -(-self._dead_ms // VIEWS_MIN)))
            self._silent_ms = {key: self._silent_ms.get(key, 0) + counted for key in keys if key not in spoke}
        self._heard.clear()

    def dead(self, key: bytes) -> bool:
        """Whether this validator has been silent for too long while a quorum was not."""
        return self._silent_ms.get(key, 0) >= self._dead_ms

    def proposed(self, key: bytes) -> None:
        """A quorum has notarized in a view of this leader."""
        self._turns_passed.pop(key, None)

    def turn_passed(self, validators: ValidatorSet, key: bytes) -> None:
        """A quorum has nullified a view of this leader, and no notarization of it is known."""
        keys = {validator.key for validator in validators.validators}
        self._turns_passed = {known: turns for known, turns in self._turns_passed.items() if known in keys}
        self._turns_passed[key] = self._turns_passed.get(key, 0) + 1

    def idle(self, validators: ValidatorSet, height: int, view: int) -> bool:
        """Whether the leader of this view is not waited for as long as others."""
        members = len(validators.validators)
        key = leader(validators, height, view)
        if key == self._own_key or view > members // 3 or height // members % FULL_ROUND == 0:
            return False
        return self._turns_passed.get(key, 0) >= TURNS_MIN
