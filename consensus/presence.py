"""Who has gone silent: a local hint by which leaders known dead are skipped (rules 4 and 7).

Time counts only while a quorum was heard: a view adds its length to the silence of those who said nothing in it,
if a quorum did. So an idle chain makes nobody dead, nor does a network that failed for us alone (the hint fails
open), and it never names oneself. One long view is not enough: a network that heals brings back one validator
before the other. It convinces nobody else and is no evidence.
"""

from typing import Final

from consensus.quorum import quorum
from proto.chiptrace.v1.ledger_pb2 import ValidatorSet

VIEWS_MIN: Final = 3  # silent through at least so many views before called dead


class Presence:
    """Silence of each validator, in milliseconds of views in which a quorum spoke."""

    def __init__(self, own_key: bytes | None, dead_ms: int) -> None:
        self._own_key = own_key
        self._dead_ms = dead_ms
        self._silent_ms: dict[bytes, int] = {}
        self._heard: set[bytes] = set()

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
