"""The general oracles on every kind of proof and header; full counts: scripts/bridge_oracles.py."""

import pytest

from tests.bridge import oracles

ACCEPTED = oracles.accepted()


@pytest.mark.parametrize("item", ACCEPTED, ids=lambda item: item.name)
def test_every_flipped_bit_is_refused(item):
    taken = [changed for changed in oracles.flips(item.data) if not item.refuses(changed)]
    assert taken == []


@pytest.mark.parametrize("item", ACCEPTED, ids=lambda item: item.name)
def test_everything_shorter_or_longer_is_refused(item):
    taken = [changed for changed in oracles.cuts_and_additions(item.data) if not item.refuses(changed)]
    assert taken == []


def test_a_proof_says_nothing_false_of_any_key_value_or_height():
    taken, looked_at = oracles.pairs(100_000, seed=5)
    assert looked_at == 100_000
    assert taken > 4_000  # what is true is accepted: the oracle does not object to everything


def test_the_tree_is_the_one_defined():
    assert oracles.trees(10_000, seed=6) == 20_000


def test_whatever_is_brought_the_verifier_says_no_in_bounded_work():
    tally = oracles.inputs(60_000, seed=7)
    assert sum(tally.values()) == 60_000
    assert tally["refused"] > 30_000
