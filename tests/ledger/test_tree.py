"""The paged tree equals its definition after any sequence of updates, in every page."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import tree_proof
from ledger.errors import StoreError
from ledger.hashes import ZERO
from ledger.pages import UPPER_DEPTHS, UPPER_PAGES_MAX, PageCache, page_path
from ledger.tree import StateTree
from proto.chiptrace.v1.ledger_pb2 import StateProof
from tests.ledger import naive_tree

CHAIN = hashlib.sha256(b"chain").digest()


def key_hash(key):
    return tree_proof.key_hash(CHAIN, key)


def crowded_keys():
    """Keys in groups whose hashes share four, eight, or twelve bits and more, so that pages grow deep."""
    keys = [b"k%d" % number for number in range(30_000)]
    first = key_hash(keys[0])
    by_prefix = sorted(keys, key=lambda key: common_bits(key_hash(key), first), reverse=True)
    return by_prefix[:14] + keys[1:14]


def common_bits(one, other):
    return 256 - (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_length()


KEYS = crowded_keys()
keys = st.sampled_from(KEYS)
batches = st.lists(
    st.dictionaries(keys, st.none() | st.sampled_from([b"", b"a", b"b"]), max_size=12), max_size=8
)


class Pages:
    """Pages as the store keeps them, and what has been read."""

    def __init__(self):
        self.stored = {}
        self.root = ZERO
        self.cache = PageCache(3)
        self.reads = 0

    def read(self, path):
        self.reads += 1
        return self.stored.get(path)

    def tree(self):
        return StateTree(CHAIN, self.read, self.root, self.cache)

    def tree_without_cache(self):
        return StateTree(CHAIN, self.read, self.root)

    def update(self, changes):
        found = self.tree().update(changes)
        for path, page in found.pages.items():
            if page is None:
                del self.stored[path]  # a page that was never written is never deleted
            else:
                assert page != self.stored.get(path), "only pages that change are written"
                self.stored[path] = page
        self.root = found.root
        return found


def apply(state, changes):
    for key, value in changes.items():
        if value is None:
            state.pop(key, None)
        else:
            state[key] = value


def built_from_scratch(state):
    pages = Pages()
    pages.update(state)
    return pages


def test_the_keys_of_these_tests_are_crowded():
    depths = [
        len(naive_tree.prove(naive_tree.leaves(CHAIN, dict.fromkeys(KEYS, b"")), key_hash(key))[0])
        for key in KEYS
    ]
    assert max(depths) > 12


@settings(max_examples=250, deadline=None)
@given(batches)
def test_updates_equal_the_definition_and_a_tree_from_scratch(updates):
    pages, state = Pages(), {}
    for changes in updates:
        pages.update(changes)
        apply(state, changes)
        assert pages.root == naive_tree.root(naive_tree.leaves(CHAIN, state))
        assert pages.stored == built_from_scratch(state).stored


@settings(max_examples=60, deadline=None)
@given(batches)
def test_every_key_is_proven_present_or_absent(updates):
    pages, state = Pages(), {}
    for changes in updates:
        pages.update(changes)
        apply(state, changes)
    items = naive_tree.leaves(CHAIN, state)
    tree = pages.tree()
    for key in [*KEYS, b"never there"]:
        proof = tree.prove(key)
        siblings, _ = naive_tree.prove(items, key_hash(key))
        assert proof.depth == len(siblings)
        assert list(proof.siblings) == [sibling for sibling in siblings if sibling != ZERO]
        if state:
            tree_proof.verify(CHAIN, pages.root, key, state.get(key), proof)
            assert StateProof.FromString(proof.SerializeToString()) == proof
        else:
            assert proof == StateProof()


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.binary(max_size=3), st.binary(max_size=3), max_size=200),
    st.randoms(use_true_random=False),
)
def test_the_order_of_changes_and_of_batches_does_not_matter(state, random):
    items = list(state.items())
    random.shuffle(items)
    pages = Pages()
    while items:
        count = random.randint(1, len(items))
        pages.update(dict(items[:count]))
        items = items[count:]
    assert pages.root == naive_tree.root(naive_tree.leaves(CHAIN, state))
    assert pages.stored == built_from_scratch(state).stored
    pages.update(dict.fromkeys(state))
    assert (pages.root, pages.stored) == (ZERO, {})


@settings(max_examples=60, deadline=None)
@given(batches)
def test_an_update_is_undone_by_its_inverse_and_leaves_its_tree_alone(updates):
    pages, state = Pages(), {}
    for changes in updates:
        before, root, stored = dict(state), pages.root, dict(pages.stored)
        old_tree = StateTree(CHAIN, stored.get, root, pages.cache)
        pages.update(changes)
        apply(state, changes)
        assert old_tree.root == root
        if root != ZERO:
            for key in KEYS[:5]:
                tree_proof.verify(CHAIN, root, key, before.get(key), old_tree.prove(key))
        pages.update({key: before.get(key) for key in changes})
        assert (pages.root, pages.stored) == (root, stored)
        pages.update(changes)


def test_nothing_is_written_when_nothing_changes():
    pages = built_from_scratch(dict.fromkeys(KEYS, b"value"))
    for changes in (
        {},
        dict.fromkeys(KEYS, b"value"),
        {b"not there": None},
        {KEYS[0]: b"value", b"nor there": None},
    ):
        found = pages.tree().update(changes)
        assert found.root == pages.root
        assert found.pages == {}


def test_the_empty_tree():
    tree = Pages().tree()
    assert tree.root == ZERO
    assert tree.prove(b"a") == StateProof()
    assert tree.update({b"a": None}) == tree.update({})


def test_paths_of_pages_are_unambiguous_and_sort_by_depth():
    one, other = bytes([0xAB, 0xCD] + [0] * 30), bytes([0xAB, 0xC0] + [0] * 30)
    assert page_path(one, 0) == b"\0"
    assert page_path(one, 1) == b"\1\xa0"
    assert page_path(one, 2) == b"\2\xab"
    assert page_path(one, 3) == page_path(other, 3) == b"\3\xab\xc0"
    assert page_path(one, 4) != page_path(other, 4)
    paths = [page_path(key_hash(b"%d" % number), depth) for number in range(20) for depth in range(64)]
    assert len(set(paths)) > 60 * 20
    assert all(len(path) == 1 + (path[0] + 1) // 2 for path in paths)


def stored_tree():
    return built_from_scratch({b"%d" % number: b"value" for number in range(300)})


def test_a_damaged_page_is_never_used():
    pages = stored_tree()
    for path, good in list(pages.stored.items())[::7]:
        for position in range(0, len(good), 5):
            bad = bytearray(good)
            bad[position] ^= 1 << position % 8
            pages.stored[path] = bytes(bad)
            everything = pages.tree_without_cache()
            with pytest.raises(StoreError, match="sync anew"):
                everything.update({b"%d" % number: b"new" for number in range(300)})
        pages.stored[path] = good


@pytest.mark.parametrize(
    "change", [lambda page: page + b"\0", lambda page: page[:-1], lambda _: b"", lambda _: None]
)
def test_a_page_of_another_length_or_gone_is_noticed(change):
    pages = stored_tree()
    for path in list(pages.stored)[::5]:
        kept = pages.stored[path]
        pages.stored[path] = change(kept)
        with pytest.raises(StoreError):
            pages.tree_without_cache().update({b"%d" % number: b"new" for number in range(300)})
        pages.stored[path] = kept


def test_a_slot_is_a_leaf_or_a_page_below_and_not_both():
    pages = built_from_scratch({b"one": b"1"})
    ((path, page),) = pages.stored.items()
    pages.stored[path] = page[:2] + page[:2] + page[4:] + bytes(32)
    with pytest.raises(StoreError, match="impossible bytes"):
        pages.tree_without_cache().prove(b"one")


def test_an_update_that_fails_half_way_leaves_the_cache_true():
    pages = stored_tree()
    pages.cache = PageCache(1000)
    pages.tree().prove(b"1")
    lost = max(pages.stored)
    kept = pages.stored.pop(lost)
    with pytest.raises(StoreError, match="is missing"):
        pages.tree().update({b"%d" % number: b"new" for number in range(300)})
    pages.stored[lost] = kept
    for number in range(300):
        tree_proof.verify(CHAIN, pages.root, b"%d" % number, b"value", pages.tree().prove(b"%d" % number))


def test_a_page_of_an_older_version_is_noticed():
    pages = stored_tree()
    old = dict(pages.stored)
    pages.update({b"1": b"changed"})
    for path in old:
        if pages.stored[path] != old[path]:
            kept, pages.stored[path] = pages.stored[path], old[path]
            with pytest.raises(StoreError, match="does not hash"):
                pages.tree_without_cache().prove(b"1")
            pages.stored[path] = kept


def test_only_touched_paths_are_read_and_the_cache_is_bounded():
    pages = stored_tree()
    pages.cache = PageCache(10)
    pages.reads = 0
    pages.tree().prove(b"1")
    first = pages.reads
    assert 2 <= first <= 6
    pages.tree().prove(b"1")
    assert pages.reads == first
    pages.tree().update({b"%d" % number: b"new" for number in range(300)})
    assert len(pages.cache._pages) <= 10


def test_a_cache_shared_by_versions_serves_each_its_own():
    pages = Pages()
    pages.cache = PageCache(1000)
    versions = []
    for number in range(20):
        pages.update(
            {b"key": b"%d" % number, b"other %d" % number: b"x", b"%d" % (number % 3): b"%d" % number}
        )
        versions.append((pages.root, dict(pages.stored)))
    for number, (root, stored) in enumerate(versions):
        proof = StateTree(CHAIN, stored.get, root, pages.cache).prove(b"key")
        tree_proof.verify(CHAIN, root, b"key", b"%d" % number, proof)


def test_upper_pages_are_not_pushed_out_by_those_below():
    pages = stored_tree()
    pages.cache = PageCache(2, UPPER_PAGES_MAX)
    for number in range(300):
        pages.tree().prove(b"%d" % number)
    upper = [path for path in pages.stored if path[0] < UPPER_DEPTHS]
    pages.reads = 0
    for number in range(300):
        pages.tree().prove(b"%d" % number)
    assert len(pages.cache) == len(upper)
    assert pages.reads == 0
    pages.update({b"%d" % number: b"new" for number in range(300)})
    assert len(pages.cache) == len(upper)  # those that were replaced are gone


def test_upper_pages_are_bounded_too():
    pages = stored_tree()
    pages.cache = PageCache(2, 3)
    for number in range(300):
        pages.tree().prove(b"%d" % number)
        assert len(pages.cache) <= 5
    for number in range(300):
        tree_proof.verify(CHAIN, pages.root, b"%d" % number, b"value", pages.tree().prove(b"%d" % number))
