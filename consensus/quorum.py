"""How many votes decide, and whose turn it is. Every validator has one vote."""

from typing import Final

from ledger.errors import InvariantBroken
from proto.chiptrace.v1.ledger_pb2 import ValidatorSet

VIEW_FIRST: Final = 1  # views of a height count from one; 0 in a proposal means "a new block"


def quorum(validators: int) -> int:
    """Votes that make a certificate: any two quorums of `validators` share an honest one while fewer than a
    third are dishonest. Not 2f + 1, which is too few where n is not 3f + 1."""
    if validators < 1:
        raise InvariantBroken("a validator set is empty")
    return 2 * validators // 3 + 1


def leader_index(validators: int, height: int, view: int) -> int:
    """Index of the validator that proposes in this view of this height."""
    return (height + view) % validators


def leader(validators: ValidatorSet, height: int, view: int) -> bytes:
    """Key (32 bytes) of the validator that proposes in this view of this height."""
    members = validators.validators
    return members[leader_index(len(members), height, view)].key


def index_of(validators: ValidatorSet, key: bytes | None) -> int | None:
    """Index of a key in the set; None when it is not a member (or there is no key)."""
    for index, validator in enumerate(validators.validators):
        if validator.key == key:
            return index
    return None
