"""Evidence of a validator's fault (rule 9): two votes that no honest validator signs together, on chain."""

from consensus.messages import check_vote_shape, signed_vote
from consensus.tally import conflict
from ledger import codec, hashes, state
from ledger.context import Context
from ledger.errors import Malformed, Refused
from ledger.hashes import Purpose
from proto.chiptrace.v1.consensus_pb2 import Vote
from proto.chiptrace.v1.ledger_pb2 import (
    EntryKind,
    Evidence,
    EvidenceRecord,
    MemberRecord,
    Reason,
    ValidatorSet,
)

VOTE_BYTES_MAX = 256


def judge(chain_id: bytes, validators: ValidatorSet, evidence: Evidence) -> bytes:
    """The key (32 bytes) of the validator convicted by these votes.

    `validators` is the set that was in force at the evidence's height. Conflicting notarizes, conflicting finalizes,
    or nullify and finalize, of one height and view; a proposal is its leader's notarize. Two finalizations of one
    height in different views convict only who nullified and finalized one view. Raises Refused(NOT_EVIDENCE).
    """
    # 1. Two votes in their canonical bytes, of a known shape.
    first, second = _vote(evidence.first, "first"), _vote(evidence.second, "second")
    # 2. Of one signer, height and view.
    places = {(vote.signer, vote.height, vote.view) for vote in (first, second)}
    if len(places) != 1 or first.height != evidence.height:
        raise _refused("the votes are not of one signer, height and view")
    # 3. In conflict.
    if not conflict(first, second):
        raise _refused("an honest validator may sign both votes")
    # 4. The signer is in the set.
    if first.signer >= len(validators.validators):
        raise _refused(f"the set of height {first.height} has no validator {first.signer}")
    key = validators.validators[first.signer].key
    # 5. Both signatures are the signer's.
    for vote in (first, second):
        if not hashes.verify_raw(key, signed_vote(chain_id, vote), vote.signature):
            raise _refused(f"a vote is not signed by validator {vote.signer} ({key.hex()})")
    return key


def record(context: Context, evidence: Evidence) -> None:
    """Handler of the operation `evidence`: enters a fault in its member's history, once per validator, height and
    view. Anyone may submit it. Faults are judged by the set of their height, which state keeps for the newest
    changes of the set; older ones, and heights not executed yet, are refused.

    Raises Refused: NOT_EVIDENCE; REPEATED when that fault is recorded; UNKNOWN_MEMBER.
    """
    validators = state.validators_at(context.overlay, evidence.height) if evidence.height else None
    if validators is None or evidence.height > context.height:
        raise _refused(f"the validator set of height {evidence.height} is not known here")
    key = judge(context.chain_id, validators, evidence)
    first = _vote(evidence.first, "first")
    at = record_key(context.chain_id, key, first.height, first.view)
    if context.overlay.get(at) is not None:
        raise Refused("this validator's fault at this height and view is recorded", Reason.REPEATED)
    names = {validator.key: validator.member for validator in validators.validators}
    member_key = state.member_key(names[key])
    member = state.load(context.overlay, member_key, MemberRecord)
    if member is None:
        raise Refused(f"validator {key.hex()} is of unknown member {names[key]!r}", Reason.UNKNOWN_MEMBER)
    context.enter(member_key, member.history, EntryKind.EVIDENCE)
    state.save(context.overlay, member_key, member)
    fault = EvidenceRecord(member=names[key], key=key, height=evidence.height, recorded_at=context.height)
    state.save(context.overlay, at, fault)


def record_key(chain_id: bytes, key: bytes, height: int, view: int) -> bytes:
    """Where the state keeps the EvidenceRecord of a validator's fault at a height and view."""
    place = key + height.to_bytes(8, "big") + view.to_bytes(8, "big")
    return state.evidence_key(hashes.tagged_hash(Purpose.EVIDENCE, chain_id, place))


def _vote(data: bytes, which: str) -> Vote:
    try:
        vote = codec.decode(Vote, data, VOTE_BYTES_MAX)
        check_vote_shape(vote)
    except Malformed as error:
        raise _refused(f"the {which} vote is none: {error}") from error
    return vote


def _refused(why: str) -> Refused:
    return Refused(f"evidence: {why}", Reason.NOT_EVIDENCE)
