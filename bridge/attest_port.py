"""Port attest/1: a claim of one chain's member is told to another chain, which never takes it for its own.

    here    a record of the claim ── send_attestation, or by itself ──► packet: the record, its history's root, whose it is
    there   FOREIGN_ATTESTATION/<chain that sent it>/<issuer's chain>/<id>, entered in the history of its subject

What the copy says is the sending chain's word: the receiving chain proves that it was sent, and no more. `issuer_chain`
other than the sender is hearsay, said to be so; no policy accepts it. A claim of the receiving chain's own members is
never taken back in from outside. A copy is changed by nothing but its revocation. However many claims a chain tells about
one subject, one more is taken: else whoever may claim could fill the room, and no recall would come through.

By itself goes

- a recall, to every chain that its subject left to, in the transaction that makes it. The operation that changes what
  is true emits the packet, so that no relayer and no operator has to notice anything, and none can forget it;
- a recall that arrives, if its subject went on from here;
- a revocation, to wherever its claim was copied;
- what timed out of these, once more.

What is claimed here about a subject that is gone is listed beside the claims of other chains (its history is frozen), so
that an audit finds it here even if no packet ever goes. A client that cannot be used now stops none of this: it is noted
in `waiting`, and the notice goes out when the client is thawed, or with an update after that.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from bridge import clients
from bridge.clients import is_active, load_client
from bridge.packet import packet_commitment
from bridge.sending import send_packet
from bridge.whereabouts import left_over
from ledger import attestations, codec, state
from ledger.attestations import foreign_attestation_key, foreign_attestations_key
from ledger.context import Context
from ledger.errors import Refused
from ledger.hashes import HASH_BYTES
from ledger.history import history_root
from ledger.limits import (
    COPIES_PER_PAGE,
    PACKET_TIMEOUT_MS_MAX,
    PACKET_VALUE_BYTES_MAX,
    PASSED_ON_MAX,
    WAITING_SENT_MAX,
)
from ledger.overlay import TOO_MUCH
from ledger.state import Kind, Overlay, Reader
from proto.chiptrace.v1.bridge_pb2 import ClientRecord, Packet, SendAttestation, UpdateClient
from proto.chiptrace.v1.ledger_pb2 import (
    AUDITOR,
    COPIED,
    DEVICE,
    OPERATOR,
    REGULATOR,
    RELAYER,
    Attest,
    AttestationCopy,
    AttestationRecord,
    ForeignAttestation,
    ForeignAttestationRecord,
    ForeignAttestationsRecord,
    History,
    Reason,
    RevokeAttestation,
    ThawClient,
)

PORT: Final = "attest/1"
VERSION: Final = "attest/1"
ENCODING: Final = "application/x-protobuf"

_MEMBER_ID: Final = re.compile(r"[a-z0-9-]{1,32}\Z")
_UNUSABLE: Final = (Reason.CLIENT_FROZEN, Reason.CLIENT_EXPIRED)
Record = AttestationRecord | ForeignAttestationRecord

# ---- made here ----------------------------------------------------------------------------------------------


def attest(ctx: Context, operation: Attest) -> None:
    """Operation: records a claim; a recall follows its subject over the bridge. Raises what the ledger's `attest` does."""
    attestations.attest(ctx, operation)
    gone = left_over(ctx.overlay, operation.subject)
    if gone:
        _note(ctx, ctx.chain_id, ctx.chain_id, operation.id, operation.subject)
    if operation.kind == "recall":
        key, record = _own(ctx, operation.id)
        _follow(ctx, key, record, gone)


def revoke_attestation(ctx: Context, operation: RevokeAttestation) -> None:
    """Operation: ends a claim here and wherever it was copied. Raises what the ledger's `revoke_attestation` does."""
    attestations.revoke_attestation(ctx, operation)
    key, record = _own(ctx, operation.id)
    _follow(ctx, key, record, record.copied_to)


def send_attestation(ctx: Context, message: SendAttestation) -> None:
    """Operation: copies a claim of this chain to another one. A relayer may send only what waits for its client.

    Raises Refused: ROLE_NOT_ALLOWED, UNKNOWN_ATTESTATION, UNKNOWN_CLIENT, and what `send_packet` raises.
    """
    ctx.require_role(OPERATOR, DEVICE, AUDITOR, REGULATOR, RELAYER)
    key, record = _own(ctx, message.id)
    client = load_client(ctx.overlay, message.client)
    if ctx.signer.role == RELAYER and client.id not in record.waiting:
        raise Refused(
            f"attestation {record.id} does not wait for client {client.id!r}; a member decides to copy it",
            Reason.ROLE_NOT_ALLOWED,
        )
    _send(ctx, key, record, client.id, message.timeout_ms)


def _own(ctx: Context, attestation: str) -> tuple[bytes, AttestationRecord]:
    key = state.attestation_key(attestation)
    record = state.load(ctx.overlay, key, AttestationRecord)
    if record is None:
        raise Refused(f"there is no attestation {attestation[:80]!a} here", Reason.UNKNOWN_ATTESTATION)
    return key, record


# ---- sending --------------------------------------------------------------------------------------------------


def _follow(ctx: Context, key: bytes, record: Record, over: Iterable[str]) -> None:
    """Sends a notice over each client; one that cannot be used is noted, and stops nothing."""
    for client in dict.fromkeys((*over, *record.waiting)):
        try:
            _send(ctx, key, record, client, ctx.time_ms + PACKET_TIMEOUT_MS_MAX)
        except Refused as error:
            if error.reason not in _UNUSABLE:
                raise
            if client not in record.waiting:
                _queue(ctx, client, key)
                record.waiting.append(client)
                ctx.enter(key, record.history, COPIED)  # with the digest of this operation: no packet went
                state.save(ctx.overlay, key, record)


def _send(ctx: Context, key: bytes, record: Record, client: str, timeout_ms: int) -> None:
    packet = send_packet(ctx, client, timeout_ms, PORT, VERSION, ENCODING, codec.encode(_copy(ctx, record)))
    if client not in record.copied_to:
        record.copied_to.append(client)
    if client in record.waiting:
        record.waiting.remove(client)
    ctx.enter(key, record.history, COPIED, packet_commitment(packet))
    state.save(ctx.overlay, key, record)


def _copy(ctx: Context, record: Record) -> AttestationCopy:
    """What is told of a claim: one of this chain, or one that was told to it."""
    if isinstance(record, AttestationRecord):
        copy = AttestationCopy(issuer_chain=ctx.chain_id, record=record)
        for name in ("history", "copied_to", "waiting"):
            copy.record.ClearField(name)
    else:
        copy = AttestationCopy()
        copy.CopyFrom(record.copy)
        copy.passed += 1
        copy.told_by = record.chain
    copy.history_n = record.history.n
    copy.history_root = history_root(record.history)
    return copy


# ---- what waits -------------------------------------------------------------------------------------------------


def update_client(ctx: Context, message: UpdateClient) -> None:
    """Operation: as `clients.update_client`; then some of what waits for the client goes out."""
    clients.update_client(ctx, message)
    send_waiting(ctx, message.client)


def thaw_client(ctx: Context, change: ThawClient) -> None:
    """Change: as `clients.thaw_client`; then some of what waited for it goes out, and more with each update."""
    clients.thaw_client(ctx, change)
    send_waiting(ctx, change.id)


def send_waiting(ctx: Context, client: str) -> None:
    """Sends the next of what waits for a client, once that is of use, each apart from all else: what cannot be sent is left
    out, and stays noted in its record."""
    first, end = _ends(ctx.overlay, client)
    if first == end or not is_active(load_client(ctx.overlay, client), ctx.time_ms):
        return
    last = min(end, first + WAITING_SENT_MAX)
    for number in range(first, last):
        place = waiting_key(client, number)
        key = ctx.overlay.get(place) or b""
        ctx.overlay.delete(place)
        record: Record | None
        if key[:1] == bytes((Kind.ATTESTATION,)):
            record = state.load(ctx.overlay, key, AttestationRecord)
        else:
            record = state.load(ctx.overlay, key, ForeignAttestationRecord)
        if record is None or client not in record.waiting:
            continue
        overlay = ctx.overlay.child()
        inner = replace(ctx, overlay=overlay, entries=[], side=[])
        try:
            _send(inner, key, record, client, ctx.time_ms + PACKET_TIMEOUT_MS_MAX)
        except Refused as error:
            if error.reason in TOO_MUCH:
                raise
            continue
        overlay.merge()
        ctx.entries.extend(inner.entries)
        ctx.side.extend(inner.side)
    _set_ends(ctx.overlay, client, last, end)


def waiting_key(client: str, *number: int) -> bytes:
    """Key of the queue of what waits for a client: be64(first) ‖ be64(end); with a number, of the record's key there."""
    return state.state_key(Kind.FOREIGN_ATTESTATION, "waiting", client, *number)


def _queue(ctx: Context, client: str, key: bytes) -> None:
    first, end = _ends(ctx.overlay, client)
    ctx.overlay.put(waiting_key(client, end), key)
    _set_ends(ctx.overlay, client, first, end + 1)


def _ends(reader: Reader, client: str) -> tuple[int, int]:
    data = reader.get(waiting_key(client)) or bytes(16)
    return int.from_bytes(data[:8], "big"), int.from_bytes(data[8:], "big")


def _set_ends(overlay: Overlay, client: str, first: int, end: int) -> None:
    overlay.put(waiting_key(client), first.to_bytes(8, "big") + end.to_bytes(8, "big"))


# ---- what became of it ------------------------------------------------------------------------------------------


def acknowledged(_ctx: Context, _packet: Packet, _success: bool) -> None:
    """The other chain took the copy, or it did not: nothing rests on it here."""


def timed_out(ctx: Context, packet: Packet) -> None:
    """A notice that nobody carried in time goes out once more, as the claim stands now; any other copy does not."""
    copy = _read(packet)
    if copy.passed:
        key = foreign_attestation_key(copy.told_by, copy.issuer_chain, copy.record.id)
        record: Record | None = state.load(ctx.overlay, key, ForeignAttestationRecord)
    else:
        key = state.attestation_key(copy.record.id)
        record = state.load(ctx.overlay, key, AttestationRecord)
    if record is not None and is_notice(record):
        _follow(ctx, key, record, [packet.source_client])


def is_notice(record: Record) -> bool:
    """Whether a claim travels by itself: a recall, or what was revoked."""
    claim = record if isinstance(record, AttestationRecord) else record.copy.record
    return claim.kind == "recall" or claim.revoked_at_ms > 0


# ---- arriving ---------------------------------------------------------------------------------------------------


def receive(ctx: Context, client: ClientRecord, packet: Packet) -> None:
    """Takes a copy that a proven packet brings. Raises Malformed, Refused where it may not come; the caller undoes all."""
    # (1) A copy in the one form.
    if packet.version != VERSION or packet.encoding != ENCODING:
        raise Refused(f"{PORT} speaks {VERSION} in {ENCODING}", Reason.PORT_NOT_ALLOWED)
    copy = _read(packet)
    # (2) Whose claim it is: of the chain that sends it, or said by it to be another's, but never one of ours.
    if copy.issuer_chain == ctx.chain_id:
        raise Refused(f"{copy.record.id} is said to be a claim of this chain's own", Reason.ISSUED_HERE)
    if (copy.issuer_chain == client.chain_id) != (copy.passed == 0):
        raise Refused(
            f"chain {client.chain_id.hex()} passes on {copy.record.id} as if it were another's",
            Reason.MALFORMED,
        )
    # (3) New here; or the same once more, which changes nothing; or revoked meanwhile.
    key = foreign_attestation_key(client.chain_id, copy.issuer_chain, copy.record.id)
    record = state.load(ctx.overlay, key, ForeignAttestationRecord)
    if record is None:
        _note(ctx, client.chain_id, copy.issuer_chain, copy.record.id, copy.record.subject)
        record = ForeignAttestationRecord(chain=client.chain_id, history=History())
    elif not _revokes(record.copy.record, copy.record):
        return
    record.copy.CopyFrom(copy)
    record.client, record.sequence = client.id, packet.sequence
    # (4) In its own history and in its subject's, by the packet that an audit finds on the other chain.
    commitment = packet_commitment(packet)
    ctx.enter(key, record.history, COPIED, commitment)
    state.save(ctx.overlay, key, record)
    attestations.enter_subject(ctx, copy.record.subject, COPIED, commitment)
    # (5) On to where its subject went from here, or where it was passed on to before.
    if is_notice(record) and copy.passed < PASSED_ON_MAX:
        onward = [*left_over(ctx.overlay, copy.record.subject), *record.copied_to]
        _follow(ctx, key, record, [name for name in onward if _leads_on(ctx, client, copy, name)])


def _revokes(before: AttestationRecord, now: AttestationRecord) -> bool:
    """Whether a copy adds the revocation to what is known; False where it adds nothing. Refused(ATTESTATION_EXISTS)
    where it says something else than was told before."""
    said = AttestationRecord()
    said.CopyFrom(now)
    said.revoked_at_ms = before.revoked_at_ms
    if said != before:
        raise Refused(
            f"attestation {now.id} was told otherwise before; a claim is changed by its revocation only",
            Reason.ATTESTATION_EXISTS,
        )
    return before.revoked_at_ms == 0 and now.revoked_at_ms > 0


def _note(ctx: Context, chain_id: bytes, issuer_chain: bytes, attestation: str, subject: str) -> None:
    """Lists it where an audit finds what a chain told of a subject, and what was claimed here of one that is gone: in
    its history nothing is entered any more. The list has no end, so that nobody can fill it before a recall comes."""
    first_key = key = foreign_attestations_key(chain_id, subject)
    first = page = state.load(ctx.overlay, key, ForeignAttestationsRecord) or ForeignAttestationsRecord()
    if first.pages:
        key = foreign_attestations_key(chain_id, subject, first.pages)
        page = state.load(ctx.overlay, key, ForeignAttestationsRecord) or ForeignAttestationsRecord()
    if len(page.attestations) >= COPIES_PER_PAGE:
        first.pages += 1
        state.save(ctx.overlay, first_key, first)
        key = foreign_attestations_key(chain_id, subject, first.pages)
        page = ForeignAttestationsRecord()
    page.attestations.append(ForeignAttestation(issuer_chain=issuer_chain, id=attestation))
    state.save(ctx.overlay, key, page)


def _leads_on(ctx: Context, came_over: ClientRecord, copy: AttestationCopy, client: str) -> bool:
    """Whether a client leads to a chain that does not have the notice already: neither its sender nor its issuer's."""
    return load_client(ctx.overlay, client).chain_id not in (
        came_over.chain_id,
        copy.issuer_chain,
        copy.told_by,
    )


def _read(packet: Packet) -> AttestationCopy:
    """The copy that a packet carries. Raises Malformed, Refused(MALFORMED, ATTESTATION_INVALID, IDENTIFIER_INVALID)."""
    copy = codec.decode(AttestationCopy, packet.value, PACKET_VALUE_BYTES_MAX)
    record = copy.record
    attestations.check_claim(record)
    if _MEMBER_ID.match(record.issuer) is None:
        raise Refused(f"{record.issuer[:40]!r} cannot name a member", Reason.MALFORMED)
    if record.HasField("history") or record.copied_to or record.waiting:
        raise Refused("a copy says nothing of what its chain keeps beside the claim", Reason.MALFORMED)
    if len(copy.issuer_chain) != HASH_BYTES or len(copy.history_root) != HASH_BYTES or not copy.history_n:
        raise Refused("the copy names no chain or no history", Reason.MALFORMED)
    if copy.passed > PASSED_ON_MAX or len(copy.told_by) != (HASH_BYTES if copy.passed else 0):
        raise Refused(f"the copy was passed on {copy.passed} times, by nobody", Reason.MALFORMED)
    return copy
