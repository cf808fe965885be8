import hashlib

import pytest

from consensus import evidence
from consensus.messages import signed_vote
from ledger import hashes, state
from ledger.context import Context
from ledger.errors import Refused
from ledger.state import MappingReader, Overlay
from proto.chiptrace.v1.consensus_pb2 import Vote
from proto.chiptrace.v1.ledger_pb2 import (
    Evidence,
    EvidenceRecord,
    KeyRecord,
    MemberRecord,
    Parameters,
    Reason,
    Validator,
    ValidatorSet,
)
from tests.consensus.chain import CHAIN_ID
from tests.consensus.lone import FINALIZE, NOTARIZE, NULLIFY

SEEDS = [hashlib.sha256(b"evidence %d" % i).digest() for i in range(5)]
A, B = bytes([1]) * 32, bytes([2]) * 32


def members(*chosen, start=1):
    validators = [Validator(key=hashes.public_key(SEEDS[i]), member=f"m{i}") for i in chosen]
    return ValidatorSet(in_force_from=start, validators=validators)


SET = members(0, 1, 2, 3)


def vote(kind, view=1, block_hash=b"", signer=1, height=5, seed=None):
    made = Vote(kind=kind, height=height, view=view, block_hash=block_hash, signer=signer)
    made.signature = hashes.sign_raw(SEEDS[signer if seed is None else seed], signed_vote(CHAIN_ID, made))
    return made


def shown(first, second, height=5):
    return Evidence(height=height, first=first.SerializeToString(), second=second.SerializeToString())


FAULTS = [
    (vote(NOTARIZE, 1, A), vote(NOTARIZE, 1, B)),
    (vote(FINALIZE, 2, A), vote(FINALIZE, 2, B)),
    (vote(NULLIFY, 3), vote(FINALIZE, 3, A)),
    (vote(FINALIZE, 3, A), vote(NULLIFY, 3)),
]


@pytest.mark.parametrize(("first", "second"), FAULTS)
def test_what_convicts(first, second):
    assert evidence.judge(CHAIN_ID, SET, shown(first, second)) == hashes.public_key(SEEDS[1])
    assert evidence.judge(CHAIN_ID, SET, shown(second, first)) == hashes.public_key(SEEDS[1])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (vote(NOTARIZE, 1, A), vote(NULLIFY, 1)),
        (vote(NOTARIZE, 1, A), vote(FINALIZE, 1, B)),
        (vote(NOTARIZE, 1, A), vote(NOTARIZE, 1, A)),
        (vote(NOTARIZE, 1, A), vote(NOTARIZE, 2, B)),
        (vote(FINALIZE, 1, A), vote(FINALIZE, 2, B)),
        (vote(NULLIFY, 1), vote(FINALIZE, 2, A)),
        (vote(NOTARIZE, 1, A), vote(NOTARIZE, 1, B, signer=2)),
        (vote(NOTARIZE, 1, A), vote(NOTARIZE, 1, B, height=6)),
        (vote(NOTARIZE, 1, A), vote(NOTARIZE, 1, B, seed=2)),
        (vote(NOTARIZE, 1, A, seed=2), vote(NOTARIZE, 1, B)),
        (vote(NOTARIZE, 1, A, signer=4), vote(NOTARIZE, 1, B, signer=4)),
        (vote(NOTARIZE, 1, A[1:]), vote(NOTARIZE, 1, B)),
        (vote(NULLIFY, 1, A), vote(FINALIZE, 1, A)),
    ],
)
def test_what_does_not(first, second):
    with pytest.raises(Refused) as caught:
        evidence.judge(CHAIN_ID, SET, shown(first, second))
    assert caught.value.reason == Reason.NOT_EVIDENCE


def test_votes_of_another_height_chain_or_encoding_do_not():
    first, second = FAULTS[0]
    for wrong in (
        shown(first, second, height=6),
        Evidence(height=5, first=first.SerializeToString() + b"\0", second=second.SerializeToString()),
        Evidence(height=5, first=bytes(1_000), second=second.SerializeToString()),
        Evidence(),
    ):
        with pytest.raises(Refused):
            evidence.judge(CHAIN_ID, SET, wrong)
    with pytest.raises(Refused):
        evidence.judge(bytes(32), SET, shown(first, second))


# ---- on chain -------------------------------------------------------------------------------------------


def context(overlay, height, operation=0):
    return Context(
        overlay=overlay,
        chain_id=CHAIN_ID,
        height=height,
        time_ms=1_000,
        transaction_id=bytes(32),
        operation_index=operation,
        operation=bytes(32),
        signer=KeyRecord(),
        member="m0",
        parameters=Parameters(),
        changes={},
    )


@pytest.fixture
def ledger():
    """Sets as governance leaves them: genesis' until height 6, then without m1."""
    overlay = Overlay(MappingReader({}))
    for i in range(5):
        state.save(overlay, state.member_key(f"m{i}"), MemberRecord(id=f"m{i}"))
    context(overlay, 0).schedule_validators(list(SET.validators))
    context(overlay, 5).schedule_validators(list(members(0, 2, 3, 4).validators))
    return overlay


def test_a_fault_is_entered_with_its_member_once(ledger):
    first, second = FAULTS[0]
    ctx = context(ledger, 9)
    evidence.record(ctx, shown(first, second))
    member = state.load(ledger, state.member_key("m1"), MemberRecord)
    assert member.history.n == 1
    [key] = [key for key in ledger.changes if key[0] == state.Kind.EVIDENCE]
    assert state.load(ledger, key, EvidenceRecord) == EvidenceRecord(
        member="m1", key=hashes.public_key(SEEDS[1]), height=5, recorded_at=9
    )
    other = vote(NOTARIZE, 1, bytes(32))
    for repeated in (shown(first, second), shown(second, first), shown(first, other)):
        with pytest.raises(Refused) as caught:
            evidence.record(context(ledger, 10), repeated)
        assert caught.value.reason == Reason.REPEATED
    evidence.record(context(ledger, 10), shown(*FAULTS[1]))
    assert state.load(ledger, state.member_key("m1"), MemberRecord).history.n == 2


def test_a_fault_is_judged_by_the_set_of_its_height(ledger):
    before = shown(vote(NULLIFY, 1, signer=1, height=6), vote(FINALIZE, 1, A, signer=1, height=6), height=6)
    after = shown(
        vote(NULLIFY, 1, signer=1, height=7, seed=2),
        vote(FINALIZE, 1, A, signer=1, height=7, seed=2),
        height=7,
    )
    wrong = shown(vote(NULLIFY, 1, signer=1, height=7), vote(FINALIZE, 1, A, signer=1, height=7), height=7)
    evidence.record(context(ledger, 9), before)
    evidence.record(context(ledger, 9), after)
    assert state.load(ledger, state.member_key("m1"), MemberRecord).history.n == 1
    assert state.load(ledger, state.member_key("m2"), MemberRecord).history.n == 1
    with pytest.raises(Refused):
        evidence.record(context(ledger, 9), wrong)


@pytest.mark.parametrize("height", [0, 10, 2**63])
def test_heights_that_are_not_known_are_refused(ledger, height):
    made = shown(vote(NULLIFY, 1, height=height), vote(FINALIZE, 1, A, height=height), height=height)
    with pytest.raises(Refused) as caught:
        evidence.record(context(ledger, 9), made)
    assert caught.value.reason == Reason.NOT_EVIDENCE
