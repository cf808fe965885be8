"""Signed claims about parts and lots: certificates, test reports, export licences, recalls.

Whoever is a member may claim; custody is not asked for. The claim is a subject with a history of its own, and
stands in its subject's history too, so that a complete history shows every recall. What is on another chain
takes no entry: it is frozen here.

A claim of another chain's member lies under a key of its own, with the chain that told it and the issuer's chain, so
that it can never be taken for one of this chain (bridge/attest_port.py).
"""

from typing import Final

from ledger import identifiers, state
from ledger.containers import normalise
from ledger.context import Context
from ledger.custody import is_frozen, load_part, save_part
from ledger.errors import InvariantBroken, Refused
from ledger.intervals import pieces, stands_in
from ledger.limits import IDENTIFIER_BYTES_MAX, NAME_BYTES_MAX, POLICY_NAMES_MAX
from ledger.members import check_name
from ledger.state import Kind, Overlay, Reader
from proto.chiptrace.v1.ledger_pb2 import (
    Attest,
    AttestationRecord,
    EntryKind,
    LotRecord,
    PartRecord,
    PartStatus,
    Reason,
    RevokeAttestation,
    Role,
)

CLAIM_PIECES_MAX: Final = (
    64  # records that stand for one carved interval, in whose histories a claim is entered
)
KINDS: Final = ("certificate", "test_report", "export_licence", "recall")

_ROLES: Final = (Role.OPERATOR, Role.DEVICE, Role.AUDITOR, Role.REGULATOR)


def foreign_attestation_key(chain_id: bytes, issuer_chain: bytes, attestation: str) -> bytes:
    """Key of the ForeignAttestationRecord of what a chain told here."""
    return state.state_key(Kind.FOREIGN_ATTESTATION, chain_id, issuer_chain, attestation)


def foreign_attestations_key(chain_id: bytes, subject: str, page: int = 0) -> bytes:
    """Key of one page, a ForeignAttestationsRecord, of what a chain told here about a subject."""
    further = (page,) if page else ()
    return state.state_key(Kind.FOREIGN_ATTESTATION, chain_id, "about", subject, *further)


def attest(context: Context, operation: Attest) -> None:
    """Records a claim about a part or lot that has a record here, or about a class of things as a whole; a recall of a
    class that stood in no part's history would be overlooked, so that names parts or lots.

    Raises Refused: ROLE_NOT_ALLOWED, ATTESTATION_INVALID, IDENTIFIER_INVALID, ATTESTATION_EXISTS,
    UNKNOWN_PART.
    """
    context.require_role(*_ROLES)
    # (1) The claim in itself.
    check_claim(operation)
    key = state.attestation_key(operation.id)
    if context.overlay.get(key) is not None:
        raise Refused(f"attestation {operation.id} exists; ids are used once", Reason.ATTESTATION_EXISTS)
    # (2) What it is about.
    stands_alone = operation.kind != "recall" and _is_whole_class(operation.subject)
    _check_pieces(context.overlay, operation.subject)
    if not enter_subject(context, operation.subject) and not stands_alone:
        raise _without_record(context.overlay, operation.subject)
    # (3) Its record and history.
    record = AttestationRecord(
        id=operation.id,
        issuer=context.member,
        subject=operation.subject,
        kind=operation.kind,
        valid_from_ms=operation.valid_from_ms,
        valid_until_ms=operation.valid_until_ms,
        scope=operation.scope,
        document_sha256=operation.document_sha256,
        document_name=operation.document_name,
        destinations=operation.destinations,
    )
    context.enter(key, record.history, EntryKind.ATTESTED)
    state.save(context.overlay, key, record)


def revoke_attestation(context: Context, operation: RevokeAttestation) -> None:
    """Ends a claim, by its issuer, for ever; entered in both histories.

    Raises Refused: ROLE_NOT_ALLOWED, UNKNOWN_ATTESTATION, NOT_OWNER for another member's, NOTHING_TO_DO when
    revoked before, ATTESTATION_INVALID for a bad reason given.
    """
    context.require_role(*_ROLES)
    if operation.why:
        check_name(operation.why, "why", Reason.ATTESTATION_INVALID)
    key = state.attestation_key(operation.id)
    record = state.load(context.overlay, key, AttestationRecord)
    if record is None:
        raise Refused(f"there is no attestation {operation.id!a}", Reason.UNKNOWN_ATTESTATION)
    if record.issuer != context.member:
        raise Refused(f"attestation {record.id} is revoked by its issuer {record.issuer}", Reason.NOT_OWNER)
    if record.revoked_at_ms:
        raise Refused(f"attestation {record.id} was revoked at {record.revoked_at_ms}", Reason.NOTHING_TO_DO)
    record.revoked_at_ms = context.time_ms
    enter_subject(context, record.subject)
    context.enter(key, record.history, EntryKind.ATTESTED)
    state.save(context.overlay, key, record)


def check_claim(operation: Attest | AttestationRecord) -> None:
    """Returns only for a claim that is sound in itself. Raises Refused: IDENTIFIER_INVALID, ATTESTATION_INVALID."""
    for what, text in (("id", operation.id), ("subject", operation.subject)):
        if identifiers.canonical(text).text != text:
            raise Refused(f"{what} {text!a} is not in canonical form", Reason.IDENTIFIER_INVALID)
    if operation.kind not in KINDS:
        raise Refused(f"kind {operation.kind!a} is none of {', '.join(KINDS)}", Reason.ATTESTATION_INVALID)
    if 0 < operation.valid_until_ms <= operation.valid_from_ms:
        raise Refused("it would end before it begins to be valid", Reason.ATTESTATION_INVALID)
    if len(operation.document_sha256) not in (0, 32):
        raise Refused("document_sha256 has 32 bytes, or none without a document", Reason.ATTESTATION_INVALID)
    if operation.document_name:
        check_name(operation.document_name, "document_name", Reason.ATTESTATION_INVALID, NAME_BYTES_MAX)
    destinations = operation.destinations
    if len(destinations) > POLICY_NAMES_MAX or len(set(destinations)) != len(destinations):
        raise Refused(f"at most {POLICY_NAMES_MAX} destinations, each once", Reason.ATTESTATION_INVALID)
    for destination in destinations:
        check_name(destination, "a destination", Reason.ATTESTATION_INVALID, IDENTIFIER_BYTES_MAX)
    if operation.scope:
        check_name(operation.scope, "scope", Reason.ATTESTATION_INVALID, IDENTIFIER_BYTES_MAX)


def _is_whole_class(subject: str) -> bool:
    """Whether it names a class of things and no lot of it: such a claim is entered in no history but its own."""
    identifier = identifiers.canonical(subject)
    return identifier.is_class and identifier.text == identifier.class_text


def enter_subject(
    context: Context,
    subject: str,
    kind: "EntryKind.ValueType" = EntryKind.ATTESTED,
    digest: bytes | None = None,
) -> bool:
    """Enters the claim in the history of the part or lot, unless frozen; whether there is such a record.

    A plain URI may name both, and does not tell which is meant: then both histories say it. Of an interval that was
    carved, what stands for it now says it, unless that is too much.
    """
    part = load_part(context.overlay, subject)
    parts = [] if part is None else [part]
    if part is not None and part.status == PartStatus.SPLIT:
        # Another chain cannot know of the carving: the list of what it told names the interval.
        parts = _pieces(context.overlay, part) if kind == EntryKind.ATTESTED else []
        parts = parts if len(parts) <= CLAIM_PIECES_MAX else []
    for one in parts:
        if not is_frozen(context.overlay, one):
            context.enter(state.part_key(one.id), one.history, kind, digest)
            save_part(context.overlay, one)
    lot = state.load(context.overlay, state.lot_key(subject), LotRecord)
    if lot is not None:
        context.enter(state.lot_key(subject), lot.history, kind, digest)
        state.save(context.overlay, state.lot_key(subject), lot)
    return part is not None or lot is not None


# ---- serials of lots ------------------------------------------------------------------------------------------


def _pieces(overlay: Overlay, interval: PartRecord) -> list[PartRecord]:
    """What stands for a carved interval now: at most one record more than a claim enters."""
    lot = state.load(overlay, state.lot_key(interval.lot), LotRecord)
    if lot is None:
        raise InvariantBroken(f"{interval.id} is of {interval.lot}, which has no record")
    found = pieces(overlay, lot, interval.start, interval.end, CLAIM_PIECES_MAX + 1)
    return [normalise(overlay, piece) for piece in found]


def _check_pieces(overlay: Overlay, subject: str) -> None:
    part = load_part(overlay, subject)
    if part is None or part.status != PartStatus.SPLIT:
        return
    found = [piece.id for piece in _pieces(overlay, part)]
    if len(found) > CLAIM_PIECES_MAX:
        raise Refused(
            f"{subject} was carved into more than {CLAIM_PIECES_MAX} records, of which the first are "
            f"{', '.join(found[:3])}; make the claim about its lot, or about them one by one",
            Reason.INTERVAL_SPLIT,
        )


def _without_record(reader: Reader, subject: str) -> Refused:
    """Why a subject without a record takes no claim; of serials, which record they lie in."""
    try:
        held = stands_in(reader, identifiers.canonical(subject))
    except Refused as error:
        return error
    if held:
        return Refused(
            f"{subject} has no record of its own: it lies in {held}; make the claim about that or the lot, or once "
            "its holder recorded an event on it",
            Reason.UNKNOWN_PART,
        )
    return Refused(
        f"{subject} is neither a class nor a part or lot recorded on this chain", Reason.UNKNOWN_PART
    )
