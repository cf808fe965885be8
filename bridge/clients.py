"""Light clients as records in state: created and thawed by governance, updated and frozen by anyone's proof.

CLIENT/<id> holds what `TrustedState` holds, and whose keys may thaw it; CLIENT_HEADER/<id>/<height> holds each
verified header, under which packets are proven. Records are never deleted and ids never given twice, so that
an old packet cannot arrive over a new client of the same name. A stored header is never overwritten.
"""

from bridge.light_client import (
    CertifiedHeader,
    TrustedState,
    certified,
    check_misbehaviour,
    check_set,
    from_anchor,
    from_genesis,
    one_member_suffices,
    verify_header,
)
from bridge.packet import is_client_id
from ledger import codec, state
from ledger.block import block_hash, decode_header, validators_hash
from ledger.context import Context
from ledger.errors import InvariantBroken, Refused
from ledger.hashes import HASH_BYTES, ZERO, Purpose, check_public_key, signed_bytes, verify_raw
from ledger.limits import (
    CLIENT_HEADERS_KEPT,
    GOVERNANCE_KEYS_PER_CLIENT_MAX,
    HEADER_AHEAD_MS_MAX,
    HEADERS_PER_UPDATE_MAX,
    TRANSACTION_BYTES_MAX,
)
from ledger.state import Overlay, Reader, client_header_key, client_key
from proto.chiptrace.v1.bridge_pb2 import ClientHeader, ClientRecord, SubmitMisbehaviour, UpdateClient
from proto.chiptrace.v1.consensus_pb2 import Certificate, SignedHeader
from proto.chiptrace.v1.ledger_pb2 import (
    AUDITOR,
    CLIENT,
    OPERATOR,
    REGULATOR,
    RELAYER,
    CreateClient,
    Reason,
    ThawClient,
    ValidatorSet,
)

# ---- reading ------------------------------------------------------------------------------------------


def load_client(reader: Reader, client: str) -> ClientRecord:
    """The record of a client. Raises Refused(UNKNOWN_CLIENT)."""
    record = state.load(reader, client_key(client), ClientRecord) if is_client_id(client) else None
    if record is None:
        raise Refused(
            f"there is no client {client[:40]!r} here; governance creates clients", Reason.UNKNOWN_CLIENT
        )
    return record


def load_header(reader: Reader, client: str, height: int) -> ClientHeader:
    """A verified header that the client keeps. Raises Refused(UNKNOWN_HEADER)."""
    header = state.load(reader, client_header_key(client, height), ClientHeader)
    if header is None:
        raise Refused(
            f"client {client!r} holds no header of height {height}; update it or prove under one it holds",
            Reason.UNKNOWN_HEADER,
        )
    return header


def check_active(record: ClientRecord, now_ms: int) -> None:
    """Returns only if the client may be relied on now. Raises Refused: CLIENT_FROZEN or CLIENT_EXPIRED."""
    if record.frozen:
        raise Refused(
            f"client {record.id!r} is frozen by misbehaviour; governance of both chains may thaw it",
            Reason.CLIENT_FROZEN,
        )
    if now_ms - record.latest_time_ms > record.trusting_period_ms:
        raise Refused(
            f"client {record.id!r} was not updated for {now_ms - record.latest_time_ms} ms, longer than its trusting "
            "period; governance of both chains may give it a new anchor",
            Reason.CLIENT_EXPIRED,
        )


def trusted_state(reader: Reader, record: ClientRecord) -> TrustedState:
    """What the client believes, in the form that `verify_header` extends."""
    latest_block_hash = ZERO
    if record.latest_height > 0:
        latest_block_hash = load_header(reader, record.id, record.latest_height).block_hash
    return TrustedState(
        chain_id=record.chain_id,
        validators=record.validators,
        latest_height=record.latest_height,
        latest_time_ms=record.latest_time_ms,
        latest_block_hash=latest_block_hash,
        latest_validators_hash=record.latest_validators_hash,
        latest_next_validators_hash=record.latest_next_validators_hash,
        frozen=record.frozen,
    )


# ---- created by governance ------------------------------------------------------------------------------


def create_client(ctx: Context, change: CreateClient) -> None:
    """Change: a client of another chain, anchored at its genesis or at a header certified by the given set.

    Raises Refused or Invalid: BAD_CHANGE, CLIENT_EXISTS, CLIENT_TOO_WEAK, CLIENT_EXPIRED, and what
    `from_anchor` raises.
    """
    # (1) Names, and a chain that is not this one.
    for what, name in (("client", change.id), ("counterparty's client", change.counterparty_client)):
        if not is_client_id(name):
            raise Refused(
                f"{name[:40]!r} cannot name the {what}: use 1 to 32 of a-z, 0-9, -", Reason.BAD_CHANGE
            )
    if len(change.chain_id) != HASH_BYTES or change.chain_id in (ctx.chain_id, ZERO):
        raise Refused("a client follows another chain, named by its 32-byte id", Reason.BAD_CHANGE)
    # (2) Never an id that was used before.
    key = client_key(change.id)
    if ctx.overlay.get(key) is not None:
        raise Refused(f"client {change.id!r} exists; ids are never used again", Reason.CLIENT_EXISTS)
    # (3) Who may thaw it, and how long it may go without news.
    _check_governance_keys(change)
    if change.trusting_period_ms == 0:
        raise Refused("a client has a trusting period", Reason.BAD_CHANGE)
    # (4) A chain that several members certify.
    _check_strength(ctx, change.validators)
    # (5) The anchor, not older than the trusting period.
    if change.header:
        signed = _signed(change.header, change.certificate)
        trusted = from_anchor(change.chain_id, change.validators, signed)
    elif change.certificate:
        raise Refused("a certificate without its header is no anchor", Reason.BAD_CHANGE)
    else:
        signed = None
        trusted = from_genesis(change.chain_id, change.validators, change.genesis_time_ms)
    record = ClientRecord(
        id=change.id,
        chain_id=change.chain_id,
        counterparty_client=change.counterparty_client,
        trusting_period_ms=change.trusting_period_ms,
        governance_keys=change.governance_keys,
        governance_threshold=change.governance_threshold,
        next_sequence=1,
    )
    _believe(record, trusted)
    _check_anchor(ctx, record)
    if signed is not None:
        _store_headers(ctx.overlay, record, [signed])
    ctx.enter(key, record.history, CLIENT)
    state.save(ctx.overlay, key, record)


# ---- updated by whoever brings headers ----------------------------------------------------------------


def update_client(ctx: Context, message: UpdateClient) -> None:
    """Operation: verifies headers in ascending order and keeps them; headers already kept change nothing.

    Raises Refused or Invalid: ROLE_NOT_ALLOWED, UNKNOWN_CLIENT, NOTHING_TO_DO, OVERSIZE, NOT_NEWER, and what
    `verify_header` raises.
    """
    ctx.require_role(RELAYER, OPERATOR)
    record = load_client(ctx.overlay, message.client)
    if not message.headers:
        raise Refused("the update brings no header", Reason.NOTHING_TO_DO)
    if len(message.headers) > HEADERS_PER_UPDATE_MAX:
        raise Refused(
            f"an update brings at most {HEADERS_PER_UPDATE_MAX} headers; send it in parts", Reason.OVERSIZE
        )
    trusted = trusted_state(ctx.overlay, record)
    fresh: list[SignedHeader] = []
    for signed in message.headers:
        if _is_kept(ctx.overlay, record, signed):
            continue
        believed = verify_header(trusted, signed, ctx.time_ms, record.trusting_period_ms)
        # The header just before once more verifies too, and is kept once.
        if believed.latest_height > trusted.latest_height:
            fresh.append(signed)
        trusted = believed
    if not fresh:
        ctx.finding(Reason.REDUNDANT)
        return
    _believe(record, trusted)
    _store_headers(ctx.overlay, record, fresh)
    key = client_key(record.id)
    ctx.enter(key, record.history, CLIENT)
    state.save(ctx.overlay, key, record)


def _is_kept(overlay: Overlay, record: ClientRecord, signed: SignedHeader) -> bool:
    height = decode_header(signed.header).height
    kept = state.load(overlay, client_header_key(record.id, height), ClientHeader)
    if kept is None:
        return False
    if kept.block_hash != block_hash(record.chain_id, signed.header):
        raise Refused(
            f"client {record.id!r} holds another header of height {height}; if this one is certified too, submit both "
            "as misbehaviour",
            Reason.NOT_NEWER,
        )
    return True


# ---- frozen by proof of misbehaviour ---------------------------------------------------------------------


def submit_misbehaviour(ctx: Context, message: SubmitMisbehaviour) -> None:
    """Operation: freezes the client on two certified headers that no honest chain has both of.

    Each header must be certified by the set that this client knows was in force at its height; a set that it
    no longer holds is sent along and recognised by its hash. Raises Refused or Invalid: ROLE_NOT_ALLOWED,
    UNKNOWN_CLIENT, CLIENT_EXPIRED, BAD_VALIDATORS, BAD_CERTIFICATE, NOT_MISBEHAVIOUR.
    """
    ctx.require_role(RELAYER, OPERATOR, AUDITOR, REGULATOR)
    record = load_client(ctx.overlay, message.client)
    if record.frozen:
        ctx.finding(Reason.REDUNDANT)
        return
    if len(message.validators) > 2:
        raise Refused("two headers need two sets at most", Reason.OVERSIZE)
    sets = {record.latest_next_validators_hash: record.validators}
    for validators in message.validators:
        check_set(validators)
        sets[validators_hash(record.chain_id, validators)] = validators
    check_misbehaviour(
        _judged(ctx, record, sets, message.first),
        _judged(ctx, record, sets, message.second),
    )
    record.frozen = True
    key = client_key(record.id)
    ctx.enter(key, record.history, CLIENT)
    state.save(ctx.overlay, key, record)


def _judged(
    ctx: Context, record: ClientRecord, sets: dict[bytes, ValidatorSet], signed: SignedHeader
) -> CertifiedHeader:
    """The header, certified by the set that was in force at its height, as this client verified it."""
    height = decode_header(signed.header).height
    # (1) What set was in force? Above the newest header the trusted one. Below, the kept header at this height or
    #     the next one above names its set, and the set's hash commits to the height from which it was in force:
    #     `certified` refuses heights below that.
    wanted, seen_ms = record.latest_next_validators_hash, record.latest_time_ms
    for kept in record.stored_heights:
        if kept >= height:
            header = load_header(ctx.overlay, record.id, kept)
            wanted, seen_ms = header.validators_hash, header.time_ms
            break
    # (2) A set retired longer ago than the trusting period judges nobody.
    if ctx.time_ms - seen_ms > record.trusting_period_ms:
        raise Refused(
            f"what client {record.id!r} knows of height {height} is older than its trusting period",
            Reason.CLIENT_EXPIRED,
        )
    # (3) It is at hand.
    validators = sets.get(wanted)
    if validators is None:
        raise Refused(
            f"send the validator set of height {height} along; the client knows its hash only",
            Reason.BAD_VALIDATORS,
        )
    return certified(record.chain_id, validators, signed)


# ---- thawed by the governance of both chains ----------------------------------------------------------------


def thaw_message(chain_id: bytes, change: ThawClient, history_n: int) -> bytes:
    """What the counterparty's governance keys sign so that chain `chain_id` may thaw its client of them.

    `history_n` is the number of entries in the client's history: an approval serves once.
    """
    unsigned = ThawClient()
    unsigned.CopyFrom(change)
    unsigned.ClearField("counterparty_approvals")
    return signed_bytes(Purpose.THAW, chain_id, codec.encode(unsigned) + history_n.to_bytes(8, "big"))


def thaw_client(ctx: Context, change: ThawClient) -> None:
    """Change: gives a frozen or expired client a new anchor, approved by the counterparty's governance.

    All headers kept so far are dropped; packets are proven under new ones. Raises Refused or Invalid:
    UNKNOWN_CLIENT, NOTHING_TO_DO, BAD_SIGNATURE, NOT_ENOUGH_APPROVALS, CLIENT_TOO_WEAK, CLIENT_EXPIRED, and
    what `from_anchor` raises.
    """
    record = load_client(ctx.overlay, change.id)
    # (1) There is something to thaw.
    if not record.frozen and ctx.time_ms - record.latest_time_ms <= record.trusting_period_ms:
        raise Refused(f"client {change.id!r} is neither frozen nor expired", Reason.NOTHING_TO_DO)
    # (2) Enough of the counterparty's governance approve of exactly this.
    message = thaw_message(ctx.chain_id, change, record.history.n)
    approved: list[bytes] = []
    for approval in change.counterparty_approvals:
        if approval.key in approved or approval.key not in record.governance_keys:
            raise Refused(
                "an approval is repeated or by a key that may not approve", Reason.NOT_ENOUGH_APPROVALS
            )
        if not verify_raw(approval.key, message, approval.signature):
            raise Refused(
                f"the approval by {approval.key.hex()} is not for this change", Reason.BAD_SIGNATURE
            )
        approved.append(approval.key)
    if len(approved) < record.governance_threshold:
        raise Refused(
            f"{len(approved)} of {record.governance_threshold} approvals by the counterparty",
            Reason.NOT_ENOUGH_APPROVALS,
        )
    # (3) The new anchor.
    _check_strength(ctx, change.validators)
    signed = _signed(change.header, change.certificate)
    trusted = from_anchor(record.chain_id, change.validators, signed)
    # (4) Nothing that was believed before counts any longer.
    for height in record.stored_heights:
        ctx.overlay.delete(client_header_key(record.id, height))
    del record.stored_heights[:]
    record.frozen = False
    _believe(record, trusted)
    _check_anchor(ctx, record)
    _store_headers(ctx.overlay, record, [signed])
    key = client_key(record.id)
    ctx.enter(key, record.history, CLIENT)
    state.save(ctx.overlay, key, record)


# ---- writing ------------------------------------------------------------------------------------------------


def _check_governance_keys(change: CreateClient) -> None:
    keys = change.governance_keys
    if not 1 <= change.governance_threshold <= len(keys) <= GOVERNANCE_KEYS_PER_CLIENT_MAX or len(
        set(keys)
    ) != len(keys):
        raise Refused(
            f"give 1 to {GOVERNANCE_KEYS_PER_CLIENT_MAX} distinct governance keys of the counterparty and a threshold among them",
            Reason.BAD_CHANGE,
        )
    for key in keys:
        check_public_key(key)


def _check_strength(ctx: Context, validators: ValidatorSet) -> None:
    check_set(validators)
    if one_member_suffices(validators) and ctx.overlay.get(state.DEV_KEY) is None:
        raise Refused(
            "one member's validators can certify that chain alone; only a chain with dev genesis believes such a chain",
            Reason.CLIENT_TOO_WEAK,
        )


def _check_anchor(ctx: Context, record: ClientRecord) -> None:
    check_active(record, ctx.time_ms)
    if record.latest_time_ms > ctx.time_ms + HEADER_AHEAD_MS_MAX:
        raise Refused(f"the anchor is of {record.latest_time_ms}, which is yet to come", Reason.BAD_TIME)


def _signed(header: bytes, certificate: bytes) -> SignedHeader:
    return SignedHeader(
        header=header, certificate=codec.decode(Certificate, certificate, TRANSACTION_BYTES_MAX)
    )


def _believe(record: ClientRecord, trusted: TrustedState) -> None:
    record.validators.CopyFrom(trusted.validators)
    record.latest_height = trusted.latest_height
    record.latest_time_ms = trusted.latest_time_ms
    record.latest_validators_hash = trusted.latest_validators_hash
    record.latest_next_validators_hash = trusted.latest_next_validators_hash


def _store_headers(overlay: Overlay, record: ClientRecord, verified: list[SignedHeader]) -> None:
    """Keeps these verified headers (ascending) and the newest CLIENT_HEADERS_KEPT of all."""
    for signed in verified:
        header = decode_header(signed.header)
        key = client_header_key(record.id, header.height)
        if overlay.get(key) is not None:
            raise InvariantBroken(
                f"client {record.id!r} would overwrite its header of height {header.height}"
            )
        kept = ClientHeader(
            height=header.height,
            time_ms=header.time_ms,
            block_hash=block_hash(record.chain_id, signed.header),
            app_hash=header.app_hash,
            validators_hash=header.validators_hash,
            next_validators_hash=header.next_validators_hash,
        )
        state.save(overlay, key, kept)
        record.stored_heights.append(header.height)
    for height in record.stored_heights[:-CLIENT_HEADERS_KEPT]:
        overlay.delete(client_header_key(record.id, height))
    del record.stored_heights[:-CLIENT_HEADERS_KEPT]
