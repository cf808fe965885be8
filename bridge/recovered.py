"""Past a recovery: how a light client goes on with a chain whose validators its members replaced by hand.

The set of the next height is not the one that the headers before commit to, so nobody who only follows headers goes
past it. Whoever has decided to accept a recovery names the hash of its document, from where it trusts the members to
publish it, and goes on here. The client that a chain keeps of another one never does: it stays below, until the
governance of both chains gives it a new anchor (clients.py, `thaw_client`).
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from bridge.light_client import TrustedState, certified
from consensus.certificate import signers
from ledger import recovery
from ledger.block import decode_header, recovery_mark
from ledger.errors import Invalid
from ledger.limits import HEADER_AHEAD_MS_MAX
from ledger.recovery import Opened
from proto.chiptrace.v1.consensus_pb2 import SignedHeader
from proto.chiptrace.v1.ledger_pb2 import Reason, ValidatorSet


@dataclass(frozen=True, slots=True)
class Final:
    """A header that a set is said to have made final."""

    validators: ValidatorSet
    signed: SignedHeader


def follow_recovery(
    trusted: TrustedState, signed: SignedHeader, accepted: Collection[bytes], now_ms: int
) -> tuple[TrustedState, Opened]:
    """What is believed after the first header of a recovered chain, and the recovery.

    `accepted` are hashes of documents. Members' right to approve is not judged here: who accepts a document has
    judged it, and can look again with the state in hand (client/audit_recoveries.py).
    Raises Malformed, or Invalid: CLIENT_FROZEN, WRONG_CHAIN, BAD_ROOT, RECOVERED (not accepted), BAD_RECOVERY,
    BAD_TIME, BAD_VALIDATORS, BAD_CERTIFICATE.
    """
    # (1) A header with the very recovery that it names.
    if trusted.frozen:
        raise Invalid("the client is frozen", Reason.CLIENT_FROZEN)
    header = decode_header(signed.header)
    if not signed.recovery or recovery_mark(trusted.chain_id, signed.recovery) != header.recovery:
        raise Invalid("the recovery sent along is not the one that the header names", Reason.BAD_ROOT)
    opened = recovery.decode(signed.recovery)
    # (2) It was accepted beforehand.
    if opened.hash not in accepted:
        raise Invalid(
            f"the node shows that the chain was recovered after height {opened.height}: those who sign its blocks since "
            f"then were not chosen by those before, but by a document {opened.hash.hex()} of its members. It is followed "
            "only if you accept it: ask the members, and see docs/recovery.md",
            Reason.RECOVERED,
        )
    # (3) It goes on from exactly what is believed.
    document = opened.document
    believed = (trusted.chain_id, trusted.latest_height, trusted.latest_block_hash)
    if (document.chain_id, document.height, document.block_hash) != believed:
        raise Invalid(
            f"the recovery {opened.hash.hex()} goes on from height {document.height}, block "
            f"{document.block_hash.hex()}; believed is height {trusted.latest_height}, block "
            f"{trusted.latest_block_hash.hex()}",
            Reason.BAD_RECOVERY,
        )
    # (4) The header is the next one, on that block and its outcome, and later.
    if (header.height, header.parent_hash) != (document.height + 1, document.block_hash):
        raise Invalid("the header does not follow the block of the recovery", Reason.BAD_RECOVERY)
    if header.app_hash != document.app_hash:
        raise Invalid("the header carries another app_hash than the recovery", Reason.BAD_RECOVERY)
    if not trusted.latest_time_ms < header.time_ms <= now_ms + HEADER_AHEAD_MS_MAX:
        raise Invalid(f"time {header.time_ms} of height {header.height} cannot be", Reason.BAD_TIME)
    # (5) It is of that chain, a quorum of exactly the recovery's set certified it, and that set goes on.
    first = certified(trusted.chain_id, opened.validators, signed)
    if header.next_validators_hash != header.validators_hash or signed.next_validators:
        raise Invalid("no other set follows right after a recovery", Reason.BAD_VALIDATORS)
    return (
        replace(
            trusted,
            validators=opened.validators,
            latest_height=header.height,
            latest_time_ms=header.time_ms,
            latest_block_hash=first.block_hash,
            latest_validators_hash=header.validators_hash,
            latest_next_validators_hash=header.next_validators_hash,
        ),
        opened,
    )


class Accepted(Protocol):
    """A recovery that somebody has decided to follow."""

    @property
    def height(self) -> int:
        """The last height before it."""

    @property
    def document(self) -> bytes:
        """Its hash."""


def check_passed(accepted: Iterable[Accepted], passed: Mapping[int, Opened], height: int) -> None:
    """Returns only if headers that lead to this height went through every recovery accepted for a height below it; `passed`
    are those they went through, by the height before. Raises Invalid(RECOVERY_CONFLICT).

    A set that was believed to be lost may have gone on, and what it signs leads from the genesis as well.
    """
    for item in accepted:
        there = passed.get(item.height)
        if item.height < height and (there is None or there.hash != item.document):
            raise Invalid(
                f"the node shows headers up to height {height} that never went through the recovery "
                f"{item.document.hex()}, which is accepted after height {item.height}. Either the entry is wrong, or the "
                "validators from before went on and the chain is forked: see `chiptrace recover check`, and tell the members",
                Reason.RECOVERY_CONFLICT,
            )


def signed_on_both_sides(chain_id: bytes, height: int, one: Final, other: Final) -> tuple[str, ...]:
    """The members whose validators made two blocks final at one height: the first behind a recovery, by the set that was
    believed to be lost and by the recovery's, or by the sets of two recoveries. Their keys differ, for a recovery has
    fresh ones; their names do not.

    Raises Malformed, or Invalid: BAD_VALIDATORS or BAD_CERTIFICATE where one of them was not made final by its set,
    NOT_MISBEHAVIOUR where they are no two blocks of that height.
    """
    judged = [certified(chain_id, side.validators, side.signed) for side in (one, other)]
    if {item.header.height for item in judged} != {height} or len({item.block_hash for item in judged}) == 1:
        raise Invalid(
            f"these are not two blocks of height {height}: there is no fork", Reason.NOT_MISBEHAVIOUR
        )
    return tuple(sorted(_names(one) & _names(other)))


def _names(side: Final) -> set[str]:
    members = side.validators.validators
    return {members[index].member for index in signers(side.signed.certificate, len(members))}
