import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.messages import signed_vote
from consensus.safety import Safety, proof_complete
from consensus.tally import Held
from ledger.errors import InvariantBroken
from tests.consensus import chain
from tests.consensus.lone import FINALIZE, NOTARIZE, NULLIFY

A, B = bytes([1]) * 32, bytes([2]) * 32


def safety():
    return Safety(chain.CHAIN_ID, 1, 0, lambda signed: chain.sign(0, signed))


def holding(notarized=(), nullified=()):
    held = Held()
    for view, block in notarized:
        held.add(chain.certificate(NOTARIZE, range(3), 4, 1, view, block))
    for view in nullified:
        held.add(chain.certificate(NULLIFY, range(3), 4, 1, view))
    return held


def test_a_vote_is_signed_as_it_says():
    vote = safety().notarize(1, 0, A, holding())
    assert (vote.kind, vote.height, vote.view, vote.block_hash, vote.signer) == (NOTARIZE, 1, 1, A, 0)
    assert chain.verify(chain.key(0), signed_vote(chain.CHAIN_ID, vote), vote.signature)


def test_a_at_most_one_notarize_per_view():
    rules = safety()
    assert rules.notarize(1, 0, A, holding())
    assert rules.notarize(1, 0, B, holding()) is None
    assert rules.notarize(1, 0, A, holding()) is None


def test_b_never_both_nullify_and_finalize():
    held = holding([(1, A), (2, A)], [1])
    rules = safety()
    assert rules.nullify(1)
    assert rules.finalize(held.notarization(1), held) is None
    assert rules.finalize(held.notarization(2), held)
    assert rules.nullify(2) is None


@pytest.mark.parametrize(
    ("view", "from_view", "notarized", "nullified", "complete"),
    [
        (1, 0, [], [], True),
        (3, 0, [], [1, 2], True),
        (3, 0, [], [2], False),
        (3, 0, [], [1], False),
        (4, 0, [], [1, 3], False),
        (3, 2, [(2, A)], [], True),
        (3, 2, [(2, B)], [], False),
        (3, 2, [], [1, 2], False),
        (4, 2, [(2, A)], [], False),
        (4, 2, [(2, A), (3, B)], [3], True),
        (3, 0, [(2, B)], [1, 2], True),
        (3, 3, [(3, A)], [1, 2], False),
        (3, 4, [(4, A)], [1, 2], False),
        (3, -1, [], [1, 2], False),
    ],
)
def test_c_notarize_on_a_complete_proof_only(view, from_view, notarized, nullified, complete):
    held = holding(notarized, nullified)
    assert proof_complete(held, view, from_view, A) == complete
    assert (safety().notarize(view, from_view, A, held) is not None) == complete


def test_d_finalize_only_while_holding_the_notarization():
    rules = safety()
    certificate = chain.certificate(NOTARIZE, range(3), 4, 1, 1, A)
    assert rules.finalize(certificate, holding()) is None
    assert rules.finalize(certificate, holding([(1, B)])) is None
    assert rules.finalize(certificate, holding([(1, A)]))
    assert rules.finalize(certificate, holding([(1, A)])) is None


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["notarize", "nullify", "finalize", "restart"]),
        st.integers(1, 3),
        st.sampled_from([A, B]),
    ),
    max_size=30,
)


@settings(max_examples=200)
@given(ACTIONS, st.sets(st.integers(1, 3)), st.dictionaries(st.integers(1, 3), st.sampled_from([A, B])))
def test_whatever_is_asked_and_wherever_it_restarts_the_rules_hold(actions, nullified, notarized):
    held = holding(notarized.items(), nullified)
    rules, cast = safety(), []
    for action, view, block in actions:
        if action == "restart":
            rules = safety()
            for vote in cast:
                rules.restore(vote)
            continue
        if action == "notarize":
            vote = rules.notarize(view, max([u for u in notarized if u < view], default=0), block, held)
        elif action == "nullify":
            vote = rules.nullify(view)
        else:
            vote = rules.finalize(chain.certificate(NOTARIZE, range(3), 4, 1, view, block), held)
        if vote is not None:
            cast.append(vote)
    for view in (1, 2, 3):
        of = [vote for vote in cast if vote.view == view]
        assert len([vote for vote in of if vote.kind == NOTARIZE]) <= 1
        assert len({vote.kind for vote in of} & {NULLIFY, FINALIZE}) <= 1
        for vote in of:
            if vote.kind == FINALIZE:
                assert notarized[view] == vote.block_hash


@pytest.mark.parametrize(
    "votes",
    [
        [(NOTARIZE, 1, A), (NOTARIZE, 1, B)],
        [(FINALIZE, 1, A), (FINALIZE, 1, B)],
        [(NULLIFY, 1, b""), (FINALIZE, 1, A)],
        [(FINALIZE, 1, A), (NULLIFY, 1, b"")],
    ],
)
def test_a_record_that_breaks_the_rules_stops_the_node(votes):
    rules = safety()
    *lawful, last = [chain.vote(kind, 0, 1, view, block) for kind, view, block in votes]
    for vote in lawful:
        rules.restore(vote)
    with pytest.raises(InvariantBroken):
        rules.restore(last)


def test_a_record_of_another_height_or_signer_stops_the_node():
    for vote in (chain.vote(NULLIFY, 0, 2, 1), chain.vote(NULLIFY, 1, 1, 1)):
        with pytest.raises(InvariantBroken):
            safety().restore(vote)
