"""A light client: what is believed of another chain, and the one function that extends it.

The same code judges headers on chain (clients.py), in the relayer and on the auditor's desk
(client/verified.py). It starts from a genesis (`from_genesis`) or from a header somebody trusts
(`from_anchor`), and it holds exactly one validator set: the set in force right above the newest header.

A header verifies if a quorum of exactly that set certified it. There is no rule of one third and no bisection:
where a set changes, the boundary header (the last one of the old set) must be shown with the new set that it
names. A set's hash commits to the height from which it is in force, so S -> S' -> S cannot be skipped.

A chain's client of another one is strict: it does not follow to a set that one member can certify alone. The boundary
header that names such a set freezes it, for what that member says from then on is no consortium's word. Who follows a
chain that she chose herself (an auditor, a node its own chain) follows it there, too.
"""

from dataclasses import dataclass, replace

from consensus.boundaries import SET_BYTES_MAX, check_final, named_next
from consensus.quorum import quorum
from ledger import codec, merkle
from ledger.block import (
    LogLeaf,
    app_hash,
    block_hash,
    decode_header,
    log_leaf_hash,
    parse_log_leaf,
    validators_hash,
)
from ledger.errors import Invalid
from ledger.hashes import ZERO, check_public_key, verify_raw
from ledger.limits import HEADER_AHEAD_MS_MAX, VALIDATORS_MAX
from proto.chiptrace.v1.bridge_pb2 import ShownLog, SubmitMisbehaviour
from proto.chiptrace.v1.consensus_pb2 import SignedHeader
from proto.chiptrace.v1.ledger_pb2 import Header, Reason, ValidatorSet


@dataclass(frozen=True, slots=True)
class TrustedState:
    """What is believed of a chain: its newest verified header and the set that certifies the next ones.

    Times in milliseconds of header time. At height 0 (genesis) `latest_block_hash` is 32 zero bytes.
    """

    chain_id: bytes
    validators: ValidatorSet  # in force at latest_height + 1; read it, never change it
    latest_height: int
    latest_time_ms: int
    latest_block_hash: bytes
    latest_validators_hash: bytes  # judges conflicts at latest_height
    latest_next_validators_hash: bytes  # hash of `validators`
    frozen: bool = False
    strict: bool = False  # freezes where one member's validators could certify what comes next

    def expired(self, now_ms: int, trusting_period_ms: int) -> bool:
        """Whether the newest header is older than the trusting period."""
        return now_ms - self.latest_time_ms > trusting_period_ms


@dataclass(frozen=True, slots=True)
class CertifiedHeader:
    """A header that a quorum of one named set certified, and nothing more: the set's standing is not judged."""

    header: Header
    block_hash: bytes
    signed: SignedHeader


def from_genesis(chain_id: bytes, validators: ValidatorSet, genesis_time_ms: int) -> TrustedState:
    """Trust that begins at a genesis: height 0, its validators in force from height 1.

    Raises Invalid(BAD_VALIDATORS) unless the set is sound and in force from 1.
    """
    check_set(validators)
    if validators.in_force_from != 1:
        raise Invalid("the set of a genesis is in force from height 1", Reason.BAD_VALIDATORS)
    set_hash = validators_hash(chain_id, validators)
    return TrustedState(chain_id, validators, 0, genesis_time_ms, ZERO, set_hash, set_hash)


def from_anchor(chain_id: bytes, validators: ValidatorSet, signed: SignedHeader) -> TrustedState:
    """Trust that begins at a header, certified by the very set that is in force at it and right above it.

    A boundary header is no anchor; take the one after it. Raises Invalid: as `certified` does, and
    BAD_VALIDATORS when the set changes right after this header.
    """
    check_set(validators)
    anchor = certified(chain_id, validators, signed)
    header = anchor.header
    if header.next_validators_hash != header.validators_hash:
        raise Invalid(
            f"the set changes after height {header.height}; anchor the client at a later header",
            Reason.BAD_VALIDATORS,
        )
    return TrustedState(
        chain_id,
        validators,
        header.height,
        header.time_ms,
        anchor.block_hash,
        header.validators_hash,
        header.next_validators_hash,
    )


def verify_header(
    trusted: TrustedState, signed: SignedHeader, now_ms: int, trusting_period_ms: int | None
) -> TrustedState:
    """What is believed after this header: the same state when it is the newest header again; the same and frozen, where
    a strict client would come to a set that one member can certify alone.

    `now_ms` is the judge's time: the block's time on chain, a clock elsewhere. `trusting_period_ms` None means
    that the caller trusts the starting point without end (an auditor with a genesis in hand may).
    Raises Malformed, or Invalid: CLIENT_FROZEN, CLIENT_EXPIRED, WRONG_CHAIN, NOT_NEWER, BAD_TIME,
    RECOVERED, BAD_ROOT, BAD_VALIDATORS, BAD_CERTIFICATE.
    """
    # (1) There is something to build on: neither frozen nor expired.
    if trusted.frozen:
        raise Invalid("the client is frozen; governance of both chains may thaw it", Reason.CLIENT_FROZEN)
    if trusting_period_ms is not None and trusted.expired(now_ms, trusting_period_ms):
        raise Invalid(
            f"the newest trusted header is {now_ms - trusted.latest_time_ms} ms old, more than the trusting period "
            f"of {trusting_period_ms} ms; a new anchor is needed",
            Reason.CLIENT_EXPIRED,
        )
    # (2) It is a header of that chain.
    header = decode_header(signed.header)
    if header.chain_id != trusted.chain_id:
        raise Invalid(
            f"a header of chain {header.chain_id.hex()} is none of this client's", Reason.WRONG_CHAIN
        )
    # (3) It is the newest header again, which changes nothing, or it is above it.
    this_hash = block_hash(trusted.chain_id, signed.header)
    if header.height == trusted.latest_height and this_hash == trusted.latest_block_hash:
        return trusted
    if header.height <= trusted.latest_height:
        raise Invalid(
            f"height {header.height} is not above {trusted.latest_height}; older state is proven through the log",
            Reason.NOT_NEWER,
        )
    # (4) Its time is above the newest header's, and not in the judge's future.
    if header.time_ms <= trusted.latest_time_ms:
        raise Invalid(
            f"time {header.time_ms} of height {header.height} is not after {trusted.latest_time_ms}",
            Reason.BAD_TIME,
        )
    if header.time_ms > now_ms + HEADER_AHEAD_MS_MAX:
        raise Invalid(
            f"height {header.height} is {header.time_ms - now_ms} ms ahead of now; try later", Reason.BAD_TIME
        )
    # (5) It does not stand behind a recovery, which nobody follows unasked (recovered.py).
    _check_no_recovery(header, signed)
    # (6) A quorum of exactly the trusted set certified it.
    certified(trusted.chain_id, trusted.validators, signed)
    # (7) The set above it is the same, or the one that it names.
    validators = _set_above(trusted, header, signed)
    # (8) And one that no member can certify alone.
    if trusted.strict and validators is not trusted.validators and one_member_suffices(validators):
        return replace(trusted, frozen=True)
    return replace(
        trusted,
        validators=validators,
        latest_height=header.height,
        latest_time_ms=header.time_ms,
        latest_block_hash=this_hash,
        latest_validators_hash=header.validators_hash,
        latest_next_validators_hash=header.next_validators_hash,
    )


def certified(chain_id: bytes, validators: ValidatorSet, signed: SignedHeader) -> CertifiedHeader:
    """The header, if a quorum of exactly this set finalized it.

    Raises Malformed, or Invalid: WRONG_CHAIN, BAD_VALIDATORS (another set was in force), BAD_CERTIFICATE.
    """
    header = check_final(chain_id, validators, signed, verify_raw)
    return CertifiedHeader(header, block_hash(chain_id, signed.header), signed)


def check_set(validators: ValidatorSet) -> None:
    """Returns only for 1 to VALIDATORS_MAX validators with sound, distinct keys. Raises Invalid(BAD_VALIDATORS)."""
    count = len(validators.validators)
    if not 1 <= count <= VALIDATORS_MAX or len(codec.encode(validators)) > SET_BYTES_MAX:
        raise Invalid(f"{count} validators are not 1 to {VALIDATORS_MAX}", Reason.BAD_VALIDATORS)
    if validators.in_force_from < 1:
        raise Invalid("a set is in force from height 1 at the earliest", Reason.BAD_VALIDATORS)
    keys = {validator.key for validator in validators.validators}
    if len(keys) != count:
        raise Invalid("a validator key stands twice in the set", Reason.BAD_VALIDATORS)
    for validator in validators.validators:
        try:
            check_public_key(validator.key)
        except Invalid as error:
            raise Invalid(f"validator of {validator.member!r}: {error}", Reason.BAD_VALIDATORS) from error


def one_member_suffices(validators: ValidatorSet) -> bool:
    """Whether the validators of a single member reach a quorum, so that it could certify alone."""
    counts: dict[str, int] = {}
    for validator in validators.validators:
        counts[validator.member] = counts.get(validator.member, 0) + 1
    return max(counts.values(), default=0) >= quorum(len(validators.validators))


def check_misbehaviour(first: CertifiedHeader, second: CertifiedHeader) -> None:
    """Returns only if no honest chain certifies both headers. Raises Invalid(NOT_MISBEHAVIOUR).

    Two certificates for one block, from whatever views, are none. Whether the sets that certified them had the
    standing to do so is for the caller to judge before.
    """
    low, high = sorted((first, second), key=lambda item: item.header.height)
    if low.header.height == high.header.height:
        # (a) Two blocks at one height.
        if low.block_hash != high.block_hash:
            return
        raise Invalid("both certificates are for the same block", Reason.NOT_MISBEHAVIOUR)
    # (b) Time that does not increase.
    if low.header.time_ms >= high.header.time_ms:
        return
    raise Invalid(
        f"heights {low.header.height} and {high.header.height} do not contradict each other",
        Reason.NOT_MISBEHAVIOUR,
    )


def _check_no_recovery(header: Header, signed: SignedHeader) -> None:
    if header.recovery:
        raise Invalid(
            f"the chain was recovered before height {header.height}, with validators whom the set before did not choose; "
            "only a new anchor leads past that",
            Reason.RECOVERED,
        )
    if signed.recovery:
        raise Invalid(
            f"a recovery came along that the header of height {header.height} does not name", Reason.BAD_ROOT
        )


def check_shown(
    chain_id: bytes, first: CertifiedHeader, second: CertifiedHeader, message: SubmitMisbehaviour
) -> None:
    """Returns only if what a message shows of two certified headers, by themselves or by their logs, is misbehaviour.

    Raises Malformed, Invalid: BAD_PROOF, NOT_MISBEHAVIOUR.
    """
    if not message.HasField("first_log") and not message.HasField("second_log"):
        check_misbehaviour(first, second)
        return
    # (c) A log that has another block than a header of its height, or than the other log.
    one = shown_leaf(chain_id, first, message.first_log) if message.HasField("first_log") else first
    other = shown_leaf(chain_id, second, message.second_log) if message.HasField("second_log") else second
    check_two_pasts(one, other)


def shown_leaf(chain_id: bytes, certified: CertifiedHeader, shown: ShownLog) -> LogLeaf:
    """A leaf of the log that a certified header commits to. Raises Malformed, Invalid(BAD_PROOF)."""
    opening, inclusion = shown.opening, shown.leaf.inclusion
    if app_hash(chain_id, opening) != certified.header.app_hash:
        raise Invalid(
            f"the opening is not that of height {certified.header.height}'s app_hash", Reason.BAD_PROOF
        )
    if inclusion.size != opening.log_size:
        raise Invalid("the leaf is of a log of another size", Reason.BAD_PROOF)
    merkle.verify_inclusion(log_leaf_hash(chain_id, shown.leaf.leaf), inclusion, opening.log_root)
    leaf = parse_log_leaf(shown.leaf.leaf)
    if leaf.height != inclusion.index + 1:
        raise Invalid(f"leaf {inclusion.index} of a log is of height {leaf.height}", Reason.BAD_PROOF)
    return leaf


def check_two_pasts(one: CertifiedHeader | LogLeaf, other: CertifiedHeader | LogLeaf) -> None:
    """Returns only if two things that a chain certified tell of two blocks, or two outcomes, of one height: its headers, and
    leaves of their logs. Raises Invalid(NOT_MISBEHAVIOUR)."""
    heights = [item.height if isinstance(item, LogLeaf) else item.header.height for item in (one, other)]
    if heights[0] == heights[1]:
        if isinstance(one, LogLeaf) and isinstance(other, LogLeaf) and one != other:
            return
        if one.block_hash != other.block_hash:
            return
    raise Invalid("both tell of one past", Reason.NOT_MISBEHAVIOUR)


def _set_above(trusted: TrustedState, header: Header, signed: SignedHeader) -> ValidatorSet:
    if header.next_validators_hash == header.validators_hash:
        if signed.next_validators:
            raise Invalid(f"the set does not change after height {header.height}", Reason.BAD_VALIDATORS)
        return trusted.validators
    if not signed.next_validators:
        raise Invalid(
            f"the set changes after height {header.height}; its header must come with the next set",
            Reason.BAD_VALIDATORS,
        )
    validators = named_next(header, signed.next_validators)
    check_set(validators)
    return validators
