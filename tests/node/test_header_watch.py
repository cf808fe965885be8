"""Heads seen of a chain: two certified heads of one height are an accusation; nothing else is."""

from node.header_watch import HEADS_KEPT_MAX, Heads
from tests.bridge.certified import CHAIN, Keys, signed_header

KEYS = Keys()


def other(height, **changes):
    return signed_header(height, KEYS, app_hash=b"another".ljust(32), **changes)


def test_two_certified_blocks_of_one_height_are_a_conflict():
    heads, first, second = Heads(CHAIN), signed_header(7, KEYS), other(7)
    assert heads.see(first, KEYS.set) is None
    assert heads.see(second, KEYS.set) == (first, second)


def test_the_same_block_from_another_view_or_node_is_none():
    heads = Heads(CHAIN)
    for view in (1, 1, 3):
        assert heads.see(signed_header(7, KEYS, view=view), KEYS.set) is None


def test_what_a_quorum_has_not_certified_is_passed_over():
    heads = Heads(CHAIN)
    assert heads.see(other(7, signers=[0, 1]), KEYS.set) is None
    assert heads.see(signed_header(7, KEYS), KEYS.set) is None
    assert heads.see(other(7, signers=[0, 1]), KEYS.set) is None
    assert heads.see(signed_header(7, Keys("wxyz")), KEYS.set) is None


def test_memory_is_bounded_and_keeps_the_newest(monkeypatch):
    monkeypatch.setattr("node.header_watch.HEADS_KEPT_MAX", 3)
    assert HEADS_KEPT_MAX > 3
    heads = Heads(CHAIN)
    for height in range(1, 8):
        heads.see(signed_header(height, KEYS), KEYS.set)
    assert len(heads._seen) == 3
    assert heads.see(other(7), KEYS.set) is not None
    assert heads.see(other(1), KEYS.set) is None


def test_what_was_seen_first_is_what_is_known():
    heads, first = Heads(CHAIN), signed_header(7, KEYS)
    assert heads.known(7) is None
    heads.see(other(7, signers=[0, 1]), KEYS.set)
    assert heads.known(7) is None
    heads.see(first, KEYS.set)
    heads.see(other(7), KEYS.set)
    assert heads.known(7) == first
