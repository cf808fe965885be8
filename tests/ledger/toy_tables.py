"""Operations and changes of a chain whose rules fit one page, so that tests of execution and storage rest on
nothing else. `attest` writes its id and scope; its `kind` asks for something special:

    put         the value of ATTESTATION/<id> becomes the scope; one history entry per subject
    delete      removes it
    refuse      writes first, then refuses
    malformed   raises Malformed, as a decoder of hostile bytes does
    crash       raises KeyError, our own mistake
    touch       reads as many keys as valid_from_ms says
    redundant   changes nothing and says so
    huge        a value of valid_from_ms bytes
"""

from ledger import state
from ledger.context import Context
from ledger.errors import Malformed, Refused
from proto.chiptrace.v1.ledger_pb2 import (
    Attest,
    AttestationRecord,
    EntryKind,
    Govern,
    GovernanceProposal,
    GrantRecord,
    KeyRecord,
    MemberRecord,
    Operation,
    PutGrant,
    PutKey,
    PutMember,
    Reason,
    RevokeKey,
    Role,
    SetParameters,
    SetValidators,
)


def put(name: str, value: str = "x") -> Operation:
    return Operation(attest=Attest(id=name, kind="put", scope=value))


def special(kind: str, number: int = 0, name: str = "special") -> Operation:
    return Operation(attest=Attest(id=name, kind=kind, valid_from_ms=number))


def value_key(name: str) -> bytes:
    return state.attestation_key(name)


def _attest(context: Context, operation: Attest) -> None:
    context.require_role(Role.OPERATOR)
    key = value_key(operation.id)
    match operation.kind:
        case "put" | "refuse":
            record = state.load(context.overlay, key, AttestationRecord) or AttestationRecord(id=operation.id)
            record.scope = operation.scope
            context.enter(key, record.history, EntryKind.ATTESTED)
            context.side_put(b"toy/" + operation.id.encode(), operation.scope.encode())
            state.save(context.overlay, key, record)
            if operation.kind == "refuse":
                raise Refused("asked to be refused", Reason.NOT_LIVE)
        case "delete":
            context.overlay.delete(key)
            context.side_put(b"toy/" + operation.id.encode(), None)
        case "malformed":
            raise Malformed("asked to be malformed")
        case "crash":
            raise KeyError(operation.id)
        case "touch":
            for number in range(operation.valid_from_ms):
                context.overlay.get(state.attestation_key(f"{operation.id}/{number}"))
        case "huge":
            context.overlay.put(key, bytes(operation.valid_from_ms))
        case "redundant":
            context.finding(Reason.REDUNDANT)
        case unknown:
            raise Refused(f"no toy is called {unknown}", Reason.MALFORMED)


def _govern(context: Context, operation: Govern) -> None:
    for change in GovernanceProposal.FromString(operation.proposal).changes:
        name = change.WhichOneof("kind")
        if name is None:
            raise Refused("an empty change", Reason.BAD_CHANGE)
        context.changes[name](context, getattr(change, name))


def _put_member(context: Context, change: PutMember) -> None:
    record = MemberRecord(id=change.id, name=change.name, admin_keys=change.admin_keys)
    context.enter(state.member_key(change.id), record.history, EntryKind.GOVERNED)
    state.save(context.overlay, state.member_key(change.id), record)


def _put_key(context: Context, change: PutKey) -> None:
    if context.overlay.get(state.signer_key(change.key)) is not None:
        raise Refused("a key is registered once", Reason.BAD_CHANGE)
    record = KeyRecord(
        key=change.key,
        member=change.member,
        role=change.role,
        valid_from_ms=change.valid_from_ms,
        valid_until_ms=change.valid_until_ms,
    )
    context.enter(state.signer_key(change.key), record.history, EntryKind.GOVERNED)
    state.save(context.overlay, state.signer_key(change.key), record)


def _revoke_key(context: Context, change: RevokeKey) -> None:
    record = state.load(context.overlay, state.signer_key(change.key), KeyRecord)
    if record is None:
        raise Refused("no such key", Reason.UNKNOWN_KEY)
    record.revoked_at_ms = context.time_ms
    state.save(context.overlay, state.signer_key(change.key), record)


def _put_grant(context: Context, change: PutGrant) -> None:
    record = GrantRecord(prefix=change.prefix, holder=change.holder)
    state.save(context.overlay, state.grant_key(change.prefix), record)


def _set_parameters(context: Context, change: SetParameters) -> None:
    state.save(context.overlay, state.PARAMETERS_KEY, change.parameters)


def _set_validators(context: Context, change: SetValidators) -> None:
    context.schedule_validators(change.validators)


OPERATIONS = {"attest": _attest, "govern": _govern}
CHANGES = {
    "put_member": _put_member,
    "put_key": _put_key,
    "revoke_key": _revoke_key,
    "put_grant": _put_grant,
    "set_parameters": _set_parameters,
    "set_validators": _set_validators,
}
