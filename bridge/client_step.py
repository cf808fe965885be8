"""A client of another chain as one pure function: (client, message, now) -> (client, what to keep).

    create      CreateClient        anchored at a genesis or at a certified header; several members certify that chain
    update      UpdateClient        headers in ascending order, each judged by light_client.verify_header
    freeze      SubmitMisbehaviour  two certified headers that no honest chain has both of
    recover     ThawClient          a substitute header, approved by the governance of both chains

A client without news for its trusting period expires. A header that is kept is never replaced. Updates never go back; a
thaw may, and nothing comes twice by it: receipts and ended packets stay, and its own leaf dates an old state. The chain that
keeps the client calls this (clients.py); who doubts the chain calls it with the same messages, and has the same record.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bridge.light_client import (
    CertifiedHeader,
    TrustedState,
    certified,
    check_set,
    check_shown,
    from_anchor,
    from_genesis,
    one_member_suffices,
    verify_header,
)
from bridge.packet import is_client_id
from ledger import codec
from ledger.block import block_hash, decode_header, validators_hash
from ledger.errors import Invalid, InvariantBroken, Refused
from ledger.hashes import HASH_BYTES, ZERO, Purpose, check_public_key, signed_bytes, verify_raw
from ledger.limits import (
    CLIENT_HEADERS_KEPT,
    GOVERNANCE_KEYS_PER_CLIENT_MAX,
    HEADER_AHEAD_MS_MAX,
    HEADERS_PER_UPDATE_MAX,
    TRANSACTION_BYTES_MAX,
)
from ledger.members import check_name
from proto.chiptrace.v1.bridge_pb2 import ClientHeader, ClientRecord, SubmitMisbehaviour, UpdateClient
from proto.chiptrace.v1.consensus_pb2 import Certificate, SignedHeader
from proto.chiptrace.v1.ledger_pb2 import CreateClient, Reason, Signature, ThawClient, ValidatorSet

Message = CreateClient | UpdateClient | SubmitMisbehaviour | ThawClient


@dataclass(frozen=True, slots=True)
class Known:
    """What is known where the client is kept.

    `header` reads one that the client keeps, by height. `strict`: it freezes rather than follow to a set that one
    member can certify alone, and is created for no such chain.
    """

    host: bytes  # id of the chain that keeps the client
    header: Callable[[int], ClientHeader | None]
    strict: bool = True


@dataclass(frozen=True, slots=True)
class Effects:
    """What the step did beside the client itself: headers to forget, and then to keep; `reason`: what is said of it."""

    keep: tuple[ClientHeader, ...] = ()
    forget: tuple[int, ...] = ()
    reason: "Reason.ValueType" = Reason.REASON_UNSPECIFIED


def step(
    client: ClientRecord | None, message: Message, now_ms: int, known: Known
) -> tuple[ClientRecord, Effects]:
    """The client after a message, a new record; it is equal to the one before when the message changes nothing.

    `client` is None for CreateClient only. Its history is the caller's to continue. Raises Malformed, Refused or
    Invalid, as each of the four says.
    """
    if isinstance(message, CreateClient):
        return _created(message, now_ms, known)
    if client is None:
        raise InvariantBroken("only a creation needs no client")
    after = ClientRecord()
    after.CopyFrom(client)
    if isinstance(message, UpdateClient):
        return after, _updated(after, message, now_ms, known)
    if isinstance(message, SubmitMisbehaviour):
        return after, _frozen(after, message, now_ms, known)
    return after, _thawed(after, message, now_ms, known)


def trusted_state(client: ClientRecord, known: Known) -> TrustedState:
    """What the client believes, in the form that `verify_header` extends."""
    latest_block_hash = ZERO
    if client.latest_height > 0:
        latest_block_hash = _kept(client, known, client.latest_height).block_hash
    return TrustedState(
        chain_id=client.chain_id,
        validators=client.validators,
        latest_height=client.latest_height,
        latest_time_ms=client.latest_time_ms,
        latest_block_hash=latest_block_hash,
        latest_validators_hash=client.latest_validators_hash,
        latest_next_validators_hash=client.latest_next_validators_hash,
        frozen=client.frozen,
        strict=known.strict,
    )


def has_expired(client: ClientRecord, now_ms: int) -> bool:
    """Whether the client had no news for longer than its trusting period."""
    return now_ms - client.latest_time_ms > client.trusting_period_ms


# ---- created --------------------------------------------------------------------------------------------------


def _created(change: CreateClient, now_ms: int, known: Known) -> tuple[ClientRecord, Effects]:
    """Raises Refused or Invalid: BAD_CHANGE, CLIENT_TOO_WEAK, CLIENT_EXPIRED, BAD_TIME, and what `from_anchor` raises."""
    # (1) Names, and a chain that is not this one.
    for what, name in (("client", change.id), ("counterparty's client", change.counterparty_client)):
        if not is_client_id(name):
            raise Refused(
                f"{name[:40]!r} cannot name the {what}: use 1 to 32 of a-z, 0-9, -", Reason.BAD_CHANGE
            )
    if len(change.chain_id) != HASH_BYTES or change.chain_id in (known.host, ZERO):
        raise Refused("a client follows another chain, named by its 32-byte id", Reason.BAD_CHANGE)
    # (2) Who may thaw it, and how long it may go without news.
    _check_governance_keys(change, known)
    if change.trusting_period_ms == 0:
        raise Refused("a client has a trusting period", Reason.BAD_CHANGE)
    # (3) A chain that several members certify.
    _check_strength(known, change.validators)
    # (4) The anchor, not older than the trusting period.
    client = ClientRecord(
        id=change.id,
        chain_id=change.chain_id,
        counterparty_client=change.counterparty_client,
        trusting_period_ms=change.trusting_period_ms,
        governance_keys=change.governance_keys,
        governance_members=change.governance_members,
        governance_threshold=change.governance_threshold,
        next_sequence=1,
    )
    if not change.header:
        if change.certificate:
            raise Refused("a certificate without its header is no anchor", Reason.BAD_CHANGE)
        _believe(client, from_genesis(change.chain_id, change.validators, change.genesis_time_ms))
        _check_anchor(client, now_ms)
        return client, Effects()
    return client, _anchor(client, change.validators, change.header, change.certificate, now_ms)


def _check_governance_keys(change: CreateClient, known: Known) -> None:
    keys, members = change.governance_keys, change.governance_members
    # A member may have several keys: what counts is how many members.
    few = not 1 <= change.governance_threshold <= len(set(members))
    if few or not len(set(keys)) == len(keys) == len(members) <= GOVERNANCE_KEYS_PER_CLIENT_MAX:
        why = f"give up to {GOVERNANCE_KEYS_PER_CLIENT_MAX} distinct keys, whose each is, and how many members consent"
        raise Refused(why, Reason.BAD_CHANGE)
    for key, member in zip(keys, members, strict=True):
        check_public_key(key)
        check_name(member, "a member of the counterparty", Reason.BAD_CHANGE)
    if known.strict and change.governance_threshold == 1:
        raise Refused("one member of that chain would speak for all of them", Reason.CLIENT_TOO_WEAK)


def _check_strength(known: Known, validators: ValidatorSet) -> None:
    check_set(validators)
    if known.strict and one_member_suffices(validators):
        raise Refused(
            "one member's validators can certify that chain alone; only a chain with dev genesis believes such a chain",
            Reason.CLIENT_TOO_WEAK,
        )


def _anchor(
    client: ClientRecord, validators: ValidatorSet, header: bytes, certificate: bytes, now_ms: int
) -> Effects:
    signed = SignedHeader(
        header=header, certificate=codec.decode(Certificate, certificate, TRANSACTION_BYTES_MAX)
    )
    _believe(client, from_anchor(client.chain_id, validators, signed))
    _check_anchor(client, now_ms)
    client.stored_heights[:] = [client.latest_height]
    return Effects(keep=(_header(client, signed),))


def _check_anchor(client: ClientRecord, now_ms: int) -> None:
    if has_expired(client, now_ms):
        raise Refused(
            f"the anchor is of {client.latest_time_ms}, longer ago than the trusting period of "
            f"{client.trusting_period_ms} ms; take a newer one",
            Reason.CLIENT_EXPIRED,
        )
    if client.latest_time_ms > now_ms + HEADER_AHEAD_MS_MAX:
        raise Refused(f"the anchor is of {client.latest_time_ms}, which is yet to come", Reason.BAD_TIME)


# ---- updated --------------------------------------------------------------------------------------------------


def _updated(client: ClientRecord, message: UpdateClient, now_ms: int, known: Known) -> Effects:
    """Headers that are kept already change nothing. Raises Refused or Invalid: NOTHING_TO_DO, OVERSIZE, NOT_NEWER, and
    what `verify_header` raises."""
    if not message.headers:
        raise Refused("the update brings no header", Reason.NOTHING_TO_DO)
    if len(message.headers) > HEADERS_PER_UPDATE_MAX:
        raise Refused(
            f"an update brings at most {HEADERS_PER_UPDATE_MAX} headers; send it in parts", Reason.OVERSIZE
        )
    trusted = trusted_state(client, known)
    fresh: list[SignedHeader] = []
    weak = False
    for signed in message.headers:
        if _is_kept(client, known, signed):
            continue
        believed = verify_header(trusted, signed, now_ms, client.trusting_period_ms)
        # The header just before once more verifies too, and is kept once.
        if believed.latest_height > trusted.latest_height:
            fresh.append(signed)
        trusted = believed
        if trusted.frozen:
            weak = True
            break  # what comes after is one member's word
    if not fresh and not weak:
        return Effects(reason=Reason.REDUNDANT)
    _believe(client, trusted)
    client.stored_heights.extend(decode_header(signed.header).height for signed in fresh)
    forget = tuple(client.stored_heights[:-CLIENT_HEADERS_KEPT])
    del client.stored_heights[:-CLIENT_HEADERS_KEPT]
    reason = Reason.REASON_UNSPECIFIED
    if weak:
        client.frozen, client.frozen_for = True, Reason.CLIENT_TOO_WEAK
        reason = Reason.CLIENT_TOO_WEAK
    headers = (_header(client, signed) for signed in fresh)
    return Effects(tuple(header for header in headers if header.height not in forget), forget, reason)


def _is_kept(client: ClientRecord, known: Known, signed: SignedHeader) -> bool:
    height = decode_header(signed.header).height
    kept = known.header(height)
    if kept is None:
        return False
    if kept.block_hash != block_hash(client.chain_id, signed.header):
        raise Refused(
            f"client {client.id!r} holds another header of height {height}; if this one is certified too, submit both "
            "as misbehaviour",
            Reason.NOT_NEWER,
        )
    return True


# ---- frozen by proof of misbehaviour ---------------------------------------------------------------------------


def _frozen(client: ClientRecord, message: SubmitMisbehaviour, now_ms: int, known: Known) -> Effects:
    """Each header must be certified by the set that this client knows was in force at its height; a set that it no
    longer holds is sent along and recognised by its hash. Raises Refused or Invalid: OVERSIZE, CLIENT_EXPIRED,
    BAD_VALIDATORS, BAD_CERTIFICATE, BAD_PROOF, NOT_MISBEHAVIOUR."""
    if client.frozen:
        return Effects(reason=Reason.REDUNDANT)
    if len(message.validators) > 2:
        raise Refused("two headers need two sets at most", Reason.OVERSIZE)
    sets = {client.latest_next_validators_hash: client.validators}
    for validators in message.validators:
        check_set(validators)
        sets[validators_hash(client.chain_id, validators)] = validators
    first, second = (
        _judged(client, known, sets, signed, now_ms) for signed in (message.first, message.second)
    )
    check_shown(client.chain_id, first, second, message)
    client.frozen, client.frozen_for = True, Reason.MISBEHAVED
    return Effects()


def _judged(
    client: ClientRecord, known: Known, sets: dict[bytes, ValidatorSet], signed: SignedHeader, now_ms: int
) -> CertifiedHeader:
    """The header, certified by the set that was in force at its height, as this client verified it."""
    height = decode_header(signed.header).height
    # (1) What set was in force? Above the newest header the trusted one. Below, the kept header at this height or
    #     the next one above names its set, and the set's hash commits to the height from which it was in force:
    #     `certified` refuses heights below that.
    wanted, seen_ms = client.latest_next_validators_hash, client.latest_time_ms
    for kept in client.stored_heights:
        if kept >= height:
            header = _kept(client, known, kept)
            wanted, seen_ms = header.validators_hash, header.time_ms
            break
    # (2) A set retired longer ago than the trusting period judges nobody.
    if now_ms - seen_ms > client.trusting_period_ms:
        raise Refused(
            f"what client {client.id!r} knows of height {height} is older than its trusting period",
            Reason.CLIENT_EXPIRED,
        )
    # (3) It is at hand.
    validators = sets.get(wanted)
    if validators is None:
        raise Refused(
            f"send the validator set of height {height} along; the client knows its hash only",
            Reason.BAD_VALIDATORS,
        )
    return certified(client.chain_id, validators, signed)


# ---- recovered by the governance of both chains -----------------------------------------------------------------


def thaw_message(host: bytes, change: ThawClient, history_n: int) -> bytes:
    """What the counterparty's governance keys sign so that chain `host` may thaw its client of them.

    `history_n` is the number of entries in the client's history: an approval serves once.
    """
    unsigned = ThawClient()
    unsigned.CopyFrom(change)
    unsigned.ClearField("counterparty_approvals")
    return signed_bytes(Purpose.THAW, host, codec.encode(unsigned) + history_n.to_bytes(8, "big"))


def check_counterparty(client: ClientRecord, message: bytes, approvals: Sequence[Signature]) -> None:
    """Returns only if enough of the counterparty's members signed this very message, each with a governance key of hers.

    Raises Refused: NOT_ENOUGH_APPROVALS, BAD_SIGNATURE.
    """
    members = dict(zip(client.governance_keys, client.governance_members, strict=True))
    approved: list[bytes] = []
    for approval in approvals:
        if approval.key in approved or approval.key not in client.governance_keys:
            raise Refused(
                "an approval is repeated or by a key that may not approve", Reason.NOT_ENOUGH_APPROVALS
            )
        if not verify_raw(approval.key, message, approval.signature):
            raise Refused(
                f"the approval by {approval.key.hex()} is not for this change", Reason.BAD_SIGNATURE
            )
        approved.append(approval.key)
    agreed = len({members[key] for key in approved})
    if agreed < client.governance_threshold:
        why = f"{agreed} of {client.governance_threshold} members of the counterparty approve"
        raise Refused(why, Reason.NOT_ENOUGH_APPROVALS)


def _thawed(client: ClientRecord, change: ThawClient, now_ms: int, known: Known) -> Effects:
    """All headers kept so far are dropped; packets are proven under new ones. Raises Refused or Invalid: CHAIN_REHOMED,
    NOTHING_TO_DO, BAD_SIGNATURE, NOT_ENOUGH_APPROVALS, CLIENT_TOO_WEAK, CLIENT_EXPIRED, NOT_NEWER, and what
    `from_anchor` raises."""
    # (1) There is something to thaw, and the chain was not given up.
    if client.frozen_for == Reason.CHAIN_REHOMED:
        raise Refused(
            f"the chain of client {client.id!r} was given up, and its parts may be live here; that is for ever",
            Reason.CHAIN_REHOMED,
        )
    if not client.frozen and not has_expired(client, now_ms):
        raise Refused(f"client {client.id!r} is neither frozen nor expired", Reason.NOTHING_TO_DO)
    # (2) Enough of the counterparty's governance approve of exactly this.
    message = thaw_message(known.host, change, client.history.n)
    check_counterparty(client, message, change.counterparty_approvals)
    # (3) The new anchor, of a chain that several members certify.
    _check_strength(known, change.validators)
    before = tuple(client.stored_heights)
    effects = _anchor(client, change.validators, change.header, change.certificate, now_ms)
    # (4) Nothing that was believed before counts any longer; but what was kept of a height is not replaced.
    (anchor,) = effects.keep
    same = known.header(anchor.height)
    if same is not None and same.block_hash != anchor.block_hash:
        raise Refused(
            f"client {client.id!r} kept another header of height {anchor.height}; take a substitute of another height",
            Reason.NOT_NEWER,
        )
    client.frozen, client.frozen_for = False, Reason.REASON_UNSPECIFIED
    return Effects(keep=effects.keep, forget=before)


# ---- records ------------------------------------------------------------------------------------------------------


def _believe(client: ClientRecord, trusted: TrustedState) -> None:
    client.validators.CopyFrom(trusted.validators)
    client.latest_height = trusted.latest_height
    client.latest_time_ms = trusted.latest_time_ms
    client.latest_validators_hash = trusted.latest_validators_hash
    client.latest_next_validators_hash = trusted.latest_next_validators_hash


def _kept(client: ClientRecord, known: Known, height: int) -> ClientHeader:
    header = known.header(height)
    if header is None:
        raise Invalid(f"client {client.id!r} keeps no header of height {height}", Reason.UNKNOWN_HEADER)
    return header


def _header(client: ClientRecord, signed: SignedHeader) -> ClientHeader:
    header = decode_header(signed.header)
    return ClientHeader(
        height=header.height,
        time_ms=header.time_ms,
        block_hash=block_hash(client.chain_id, signed.header),
        app_hash=header.app_hash,
        validators_hash=header.validators_hash,
        next_validators_hash=header.next_validators_hash,
    )
