"""The code that signs, explored over every state of two views, as it is and with each of its rules removed."""

from itertools import product

import pytest

from consensus import safety
from consensus.tally import Held
from proto.chiptrace.v1.consensus_pb2 import VoteKind
from tests.model.engine_rules import EngineRules, certificate, hash_of
from tests.model.exploration import explore, layers
from tests.model.rules import Rules


def test_what_the_engine_signs_is_what_the_rules_allow():
    engine, rules = EngineRules(), Rules(notarize_after_nullify=False)
    for layer, _ in layers(rules):
        for state in layer:
            assert sorted(engine.moves(state)) == sorted(rules.moves(state)), state


def test_the_engine_does_not_fork():
    explored = explore(EngineRules())
    assert explored.fork is None
    assert explored.states == 10_000


def test_what_the_engine_calls_a_proof_is_what_the_rules_call_one():
    """For every set of certificates of three earlier views, one notarization of a view at most."""
    rules = Rules(views=4)
    marked = [(block, nullified) for block in (None, 0, 1) for nullified in (False, True)]
    for views in product(marked, repeat=3):
        held = Held()
        for view, (block, nullified) in enumerate(views):
            if block is not None:
                held.add(certificate(VoteKind.NOTARIZE, view, block))
            if nullified:
                held.add(certificate(VoteKind.NULLIFY, view, 0))
        for block in range(2):
            shown = any(safety.proof_complete(held, 4, origin, hash_of(block)) for origin in range(4))
            state = [0, 0, 0]
            for validator in range(2):  # with the dishonest one, two make a certificate
                for view, (notarized, nullified) in enumerate(views):
                    votes = (0 if notarized is None else 1 << notarized) | (nullified << rules.blocks)
                    state[validator] |= votes << view * rules.bits
            assert shown == rules.provable(tuple(state), 3, block), (views, block)


def double_notarize(patch):
    patch.setattr(safety.Safety, "may_notarize", lambda self, view: view not in self._nullified)


def finalize_after_nullify(patch):
    lawful = safety.Safety.finalize

    def finalize(self, notarization, held):
        nullified, self._nullified = self._nullified, set()
        vote = lawful(self, notarization, held)
        self._nullified = nullified
        return vote

    patch.setattr(safety.Safety, "finalize", finalize)


def nullify_after_finalize(patch):
    def nullify(self, view):
        if view in self._nullified:
            return None
        self._nullified.add(view)
        return self._signed(VoteKind.NULLIFY, view, b"")

    patch.setattr(safety.Safety, "nullify", nullify)


def finalize_without_notarization(patch):
    def finalize(self, notarization, held):
        if notarization.view in self._nullified or notarization.view in self._finalized:
            return None
        return self._signed(VoteKind.FINALIZE, notarization.view, notarization.block_hash)

    patch.setattr(safety.Safety, "finalize", finalize)


def no_gap_check(patch):
    patch.setattr(Held, "all_nullified", lambda self, after, before: True)


def last_gap_not_checked(patch):
    lawful = Held.all_nullified
    patch.setattr(Held, "all_nullified", lambda self, after, before: lawful(self, after, before - 1))


def proposal_not_proved(patch):
    def proof_complete(held, view, from_view, block_hash):
        return 0 <= from_view < view and held.all_nullified(after=from_view, before=view)

    patch.setattr(safety, "proof_complete", proof_complete)


@pytest.mark.parametrize(
    ("mutate", "votes"),
    [
        (double_notarize, 10),
        (finalize_after_nullify, 10),
        (nullify_after_finalize, 10),
        (finalize_without_notarization, 4),
        (no_gap_check, 8),
        (last_gap_not_checked, 8),
        (proposal_not_proved, 8),
    ],
)
def test_each_line_of_the_safety_rules_is_needed(monkeypatch, mutate, votes):
    mutate(monkeypatch)
    explored = explore(EngineRules())
    assert explored.fork is not None
    assert explored.votes == votes
