"""How the consortium changes its own rules: a proposal, approved by the admin keys of M members.

The proposal's bytes are what admins sign, offline; whoever brings them to the chain adds no authority. Its
changes are applied together or not at all, once.
"""

from collections.abc import Sequence

from ledger import codec, hashes, joining, state
from ledger.context import Context
from ledger.errors import InvariantBroken, Refused
from ledger.genesis import VALIDATORS_MIN, check_parameters
from ledger.hashes import Purpose
from ledger.limits import (
    APPROVALS_PER_PROPOSAL_MAX,
    CHANGES_PER_PROPOSAL_MAX,
    PROPOSAL_EXPIRY_MS_MAX,
    TRANSACTION_BYTES_MAX,
    VALIDATORS_MAX,
)
from ledger.members import count_members, load_member, member_of_admin_key
from ledger.state import Reader
from proto.chiptrace.v1.ledger_pb2 import (
    Govern,
    GovernanceProposal,
    KeyRecord,
    Parameters,
    ProposalRecord,
    Reason,
    Role,
    SetParameters,
    SetValidators,
    Signature,
    Validator,
    ValidatorsRecord,
)


def govern(context: Context, operation: Govern) -> None:
    """Carries out an approved proposal.

    Raises Malformed for bytes that are no proposal, and Refused: WRONG_CHAIN, PROPOSAL_EXPIRED, NOT_YET_VALID
    (expires more than a week ahead), PROPOSAL_REPEATED, UNKNOWN_KEY, BAD_SIGNATURE, NOT_ENOUGH_APPROVALS,
    BAD_CHANGE, what a join proof is refused for (`joining.take`), JOIN_PROOF_UNUSED, or whatever a change is
    refused for.
    """
    # (1) The one encoding, made for this chain, within its time.
    proposal = codec.decode(GovernanceProposal, operation.proposal, TRANSACTION_BYTES_MAX)
    if proposal.chain_id != context.chain_id:
        raise Refused(
            f"the proposal is for chain {proposal.chain_id.hex()}, this is {context.chain_id.hex()}",
            Reason.WRONG_CHAIN,
        )
    if proposal.expires_ms < context.time_ms:
        raise Refused(f"the proposal expired at {proposal.expires_ms}; propose anew", Reason.PROPOSAL_EXPIRED)
    if proposal.expires_ms > context.time_ms + PROPOSAL_EXPIRY_MS_MAX:
        raise Refused(
            f"the proposal expires at {proposal.expires_ms}, more than {PROPOSAL_EXPIRY_MS_MAX} ms ahead",
            Reason.NOT_YET_VALID,
        )
    if len(proposal.nonce) != 16:
        raise Refused("a proposal's nonce has 16 bytes", Reason.BAD_CHANGE)
    if not 0 < len(proposal.changes) <= CHANGES_PER_PROPOSAL_MAX:
        raise Refused(f"a proposal has 1 to {CHANGES_PER_PROPOSAL_MAX} changes", Reason.BAD_CHANGE)
    # (2) Not carried out before.
    key = state.proposal_key(hashes.tagged_hash(Purpose.PROPOSAL, context.chain_id, operation.proposal))
    done = state.load(context.overlay, key, ProposalRecord)
    if done is not None:
        raise Refused(f"the proposal was carried out at height {done.height}", Reason.PROPOSAL_REPEATED)
    # (3) Approved by enough members, as they and the threshold stand before its changes.
    approving_members(
        context.overlay, Purpose.PROPOSAL, context.chain_id, operation.proposal, operation.approvals
    )
    # (4) Who joins the validators is in step.
    joining.take(context, operation.join_proofs)
    # (5) Its changes, in order; a refusal undoes the whole transaction.
    state.save(context.overlay, key, ProposalRecord(height=context.height))
    for index, change in enumerate(proposal.changes):
        name = change.WhichOneof("kind")
        handler = context.changes.get(name) if name is not None else None
        if name is None or handler is None:
            raise Refused(f"change {index} is of a kind this chain does not know", Reason.BAD_CHANGE)
        handler(context, getattr(change, name))
    # (6) No proof speaks for one who does not join.
    joining.check_all_used(context)


def approving_members(
    reader: Reader, purpose: Purpose, chain_id: bytes, data: bytes, approvals: Sequence[Signature]
) -> set[str]:
    """The members whose admin keys signed these bytes for this purpose; at least as many as the threshold asks.

    Raises Refused: UNKNOWN_KEY, BAD_SIGNATURE, NOT_ENOUGH_APPROVALS.
    """
    if len(approvals) > APPROVALS_PER_PROPOSAL_MAX:
        raise Refused(
            f"{len(approvals)} approvals; at most {APPROVALS_PER_PROPOSAL_MAX} are read",
            Reason.NOT_ENOUGH_APPROVALS,
        )
    members: set[str] = set()
    verified: dict[bytes, bytes] = {}
    for approval in approvals:
        if verified.get(approval.key) == approval.signature:
            continue
        member = member_of_admin_key(reader, approval.key)
        if member is None:
            raise Refused(f"approval by {approval.key.hex()}, which is no admin key now", Reason.UNKNOWN_KEY)
        if not hashes.verify(approval.key, purpose, chain_id, data, approval.signature):
            raise Refused(
                f"the approval by {approval.key.hex()} of member {member} does not verify",
                Reason.BAD_SIGNATURE,
            )
        verified[approval.key] = approval.signature
        members.add(member)
    parameters = state.load(reader, state.PARAMETERS_KEY, Parameters)
    if parameters is None:
        raise InvariantBroken("the state has no parameters; the genesis state was never stored")
    if len(members) < parameters.governance_threshold:
        raise Refused(
            f"{len(members)} members approve, {parameters.governance_threshold} are needed",
            Reason.NOT_ENOUGH_APPROVALS,
        )
    return members


# ---- changes ----------------------------------------------------------------------------------------------


def set_parameters(context: Context, change: SetParameters) -> None:
    """Replaces the chain's parameters. Raises Refused(BAD_CHANGE) for one out of bounds."""
    check_parameters(change.parameters, count_members(context.overlay))
    state.save(context.overlay, state.PARAMETERS_KEY, change.parameters)
    # What follows in this transaction goes by the new ones.
    context.parameters = change.parameters


def set_validators(context: Context, change: SetValidators) -> None:
    """Puts a validator set in force two heights on (at genesis, from height 1).

    Raises Refused: BAD_VALIDATORS for a bad number or a repeated key, UNKNOWN_KEY, ROLE_NOT_ALLOWED,
    KEY_NOT_VALID, UNKNOWN_MEMBER, NOTHING_TO_DO for the newest set once more, JOIN_PROOF_MISSING.
    """
    # (1) As many as survive one fault, unless the genesis said otherwise.
    count = len(change.validators)
    least = 1 if context.overlay.get(state.DEV_KEY) is not None else VALIDATORS_MIN
    if not least <= count <= VALIDATORS_MAX:
        raise Refused(f"{count} validators; {least} to {VALIDATORS_MAX} are allowed", Reason.BAD_VALIDATORS)
    if len({validator.key for validator in change.validators}) != count:
        raise Refused("one validator key stands there twice", Reason.BAD_VALIDATORS)
    # (2) Each a valid validator key of the member it is said to be of.
    for validator in change.validators:
        _check_validator(context, validator)
    # (3) Something new.
    record = state.load(context.overlay, state.VALIDATORS_KEY, ValidatorsRecord)
    if record is not None and list(record.next.validators) == list(change.validators):
        raise Refused("these validators are the newest set already", Reason.NOTHING_TO_DO)
    # (4) Who joins has proven to be in step. The genesis' set starts together, with nothing to be in step with.
    if record is not None:
        newest = {validator.key for validator in record.next.validators}
        for validator in change.validators:
            if validator.key not in newest:
                joining.join(context, validator.key)
    context.schedule_validators(change.validators)


def _check_validator(context: Context, validator: Validator) -> None:
    load_member(context.overlay, validator.member)
    record = state.load(context.overlay, state.signer_key(validator.key), KeyRecord)
    if record is None or record.member != validator.member:
        raise Refused(
            f"validator key {validator.key.hex()} is not registered for member {validator.member}; "
            "put the key before the set",
            Reason.UNKNOWN_KEY,
        )
    if record.role != Role.VALIDATOR:
        raise Refused(
            f"key {validator.key.hex()} has role {Role.Name(record.role)}, a validator's has VALIDATOR",
            Reason.ROLE_NOT_ALLOWED,
        )
    ended = 0 < record.valid_until_ms <= context.time_ms
    if record.revoked_at_ms or ended or record.valid_from_ms > context.time_ms:
        raise Refused(f"validator key {validator.key.hex()} is not valid now", Reason.KEY_NOT_VALID)
