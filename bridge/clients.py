"""Light clients as records in state: created and thawed by governance, updated and frozen by anyone's proof.

CLIENT/<id> holds what `TrustedState` holds, and whose keys may thaw it; CLIENT_HEADER/<id>/<height> holds each
verified header, under which packets are proven; CLIENT/<chain id>/of names all clients of a chain. What a message makes
of a client is decided in client_step.py; here it is read and written. Records are never deleted and ids never given
twice, so that an old packet cannot arrive over a new client of the same name.
"""

from bridge import client_step
from bridge.client_step import Effects, Known, Message, has_expired
from bridge.light_client import TrustedState
from bridge.packet import is_client_id
from ledger import state
from ledger.context import Context
from ledger.errors import InvariantBroken, Refused
from ledger.state import Kind, Reader, client_header_key, client_key, state_key
from proto.chiptrace.v1.bridge_pb2 import (
    ClientHeader,
    ClientRecord,
    ClientsRecord,
    SubmitMisbehaviour,
    UpdateClient,
)
from proto.chiptrace.v1.ledger_pb2 import (
    AUDITOR,
    CLIENT,
    OPERATOR,
    REGULATOR,
    RELAYER,
    CreateClient,
    Reason,
    RehomingRecord,
    ThawClient,
)

# ---- reading ------------------------------------------------------------------------------------------


def clients_of_key(chain_id: bytes) -> bytes:
    """Key of the ClientsRecord of a chain."""
    return state_key(Kind.CLIENT, chain_id, "of")


def rehoming_key(chain_id: bytes) -> bytes:
    """Key of the RehomingRecord of a chain that was given up."""
    return state_key(Kind.REHOMING, chain_id)


def load_client(reader: Reader, client: str) -> ClientRecord:
    """The record of a client. Raises Refused(UNKNOWN_CLIENT)."""
    record = state.load(reader, client_key(client), ClientRecord) if is_client_id(client) else None
    if record is None:
        raise Refused(
            f"there is no client {client[:40]!r} here; governance creates clients", Reason.UNKNOWN_CLIENT
        )
    return record


def clients_of(reader: Reader, chain_id: bytes) -> list[str]:
    """Every client of a chain that there ever was, in the order in which they were made."""
    return list((state.load(reader, clients_of_key(chain_id), ClientsRecord) or ClientsRecord()).ids)


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
            f"client {record.id!r} is frozen ({Reason.Name(record.frozen_for)}); governance of both chains may thaw it, "
            "unless the chain was given up",
            Reason.CLIENT_FROZEN,
        )
    if has_expired(record, now_ms):
        raise Refused(
            f"client {record.id!r} was not updated for {now_ms - record.latest_time_ms} ms, longer than its trusting "
            "period; governance of both chains may give it a new anchor",
            Reason.CLIENT_EXPIRED,
        )


def is_active(record: ClientRecord, now_ms: int) -> bool:
    """Whether the client may be relied on now."""
    return not record.frozen and not has_expired(record, now_ms)


def trusted_state(reader: Reader, record: ClientRecord) -> TrustedState:
    """What the client believes, in the form that `verify_header` extends."""
    return client_step.trusted_state(record, _known(reader, b"", record.id))


# ---- the four messages --------------------------------------------------------------------------------------


def create_client(ctx: Context, change: CreateClient) -> None:
    """Change: a client of another chain, anchored at its genesis or at a header certified by the given set.

    Raises Refused or Invalid: CLIENT_EXISTS, CHAIN_REHOMED, and what `client_step` raises.
    """
    record, effects = client_step.step(None, change, ctx.time_ms, _known(ctx.overlay, ctx.chain_id, ""))
    # Never an id that was used before.
    if ctx.overlay.get(client_key(record.id)) is not None:
        raise Refused(f"client {record.id!r} exists; ids are never used again", Reason.CLIENT_EXISTS)
    if state.load(ctx.overlay, rehoming_key(record.chain_id), RehomingRecord) is not None:
        raise Refused(
            f"chain {record.chain_id.hex()} was given up, and its parts may be live here; that is for ever",
            Reason.CHAIN_REHOMED,
        )
    ids = [*clients_of(ctx.overlay, record.chain_id), record.id]
    state.save(ctx.overlay, clients_of_key(record.chain_id), ClientsRecord(ids=ids))
    _write(ctx, record, effects)


def update_client(ctx: Context, message: UpdateClient) -> None:
    """Operation: verifies headers in ascending order and keeps them; headers already kept change nothing.

    A boundary header that names a set which one member could certify alone freezes the client, with the finding
    CLIENT_TOO_WEAK. Raises Refused or Invalid: ROLE_NOT_ALLOWED, UNKNOWN_CLIENT, and what `client_step` raises.
    """
    ctx.require_role(RELAYER, OPERATOR)
    _apply(ctx, message.client, message)


def submit_misbehaviour(ctx: Context, message: SubmitMisbehaviour) -> None:
    """Operation: freezes the client on two certified headers that no honest chain has both of.

    Raises Refused or Invalid: ROLE_NOT_ALLOWED, UNKNOWN_CLIENT, and what `client_step` raises.
    """
    ctx.require_role(RELAYER, OPERATOR, AUDITOR, REGULATOR)
    _apply(ctx, message.client, message)


def thaw_client(ctx: Context, change: ThawClient) -> None:
    """Change: gives a frozen or expired client a new anchor, approved by the counterparty's governance.

    Raises Refused or Invalid: UNKNOWN_CLIENT, and what `client_step` raises.
    """
    _apply(ctx, change.id, change)


def freeze_for_ever(ctx: Context, client: str) -> None:
    """Ends a client whose chain was given up."""
    record = load_client(ctx.overlay, client)
    record.frozen, record.frozen_for = True, Reason.CHAIN_REHOMED
    _write(ctx, record, Effects())


def _apply(ctx: Context, client: str, message: Message) -> None:
    before = load_client(ctx.overlay, client)
    after, effects = client_step.step(
        before, message, ctx.time_ms, _known(ctx.overlay, ctx.chain_id, before.id)
    )
    if effects.reason:
        ctx.finding(effects.reason)
    if after != before:
        _write(ctx, after, effects)


# ---- records ------------------------------------------------------------------------------------------------


def _known(reader: Reader, host: bytes, client: str) -> Known:
    def header(height: int) -> ClientHeader | None:
        return state.load(reader, client_header_key(client, height), ClientHeader)

    return Known(host, header, strict=reader.get(state.DEV_KEY) is None)


def _write(ctx: Context, record: ClientRecord, effects: Effects) -> None:
    overlay = ctx.overlay
    for height in effects.forget:
        overlay.delete(client_header_key(record.id, height))
    for header in effects.keep:
        key = client_header_key(record.id, header.height)
        if overlay.get(key) is not None:
            raise InvariantBroken(
                f"client {record.id!r} would overwrite its header of height {header.height}"
            )
        state.save(overlay, key, header)
    key = client_key(record.id)
    ctx.enter(key, record.history, CLIENT)
    state.save(overlay, key, record)
