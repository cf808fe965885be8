"""Pages and their runs: stored as they are defined, whatever came before them, and refused where a byte is wrong."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import pages, tree
from ledger.errors import StoreError
from ledger.hashes import ZERO
from ledger.pages import RUN_MAX, UPPER_PAGES_MAX, PageCache, decode_page, encode_page, with_slot
from ledger.tree import StateTree
from tests.ledger import naive_tree

CHAIN = hashlib.sha256(b"chain").digest()
LEAF_TAG = b"\0" + naive_tree.tag(b"state-leaf", CHAIN)
BASE = hashlib.sha256(b"base").digest()


def key_sharing(bits, number):
    """A key hash that shares exactly so many bits with the base; what follows is by the number."""
    base = int.from_bytes(BASE, "big") ^ 1 << (255 - bits)
    tail = 255 - bits
    other = int.from_bytes(hashlib.sha256(b"%d %d" % (bits, number)).digest(), "big")
    return (base >> tail << tail | other & ((1 << tail) - 1)).to_bytes(32, "big")


# Runs and pages at every depth, with long ways on which there is nothing else.
SHARED = (0, 1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 13, 15, 16, 17)
DEEP = (63, 251, 252, 253, 254, 255)
HASHED = sorted(
    {BASE}
    | {key_sharing(bits, number) for bits in SHARED for number in range(4)}
    | {key_sharing(bits, 0) for bits in DEEP}
)
VALUES = [hashlib.sha256(b"%d" % number).digest() for number in range(3)]
batches = st.lists(
    st.dictionaries(st.sampled_from(HASHED), st.just(ZERO) | st.sampled_from(VALUES), max_size=30),
    max_size=10,
)


def leaves(state):
    return [
        (key, value, hashlib.sha256(LEAF_TAG + key + value).digest()) for key, value in sorted(state.items())
    ]


class Kept:
    """A tree of hashed keys, on pages as the store keeps them."""

    def __init__(self, state=None, run_max=RUN_MAX):
        self.state = dict(state or {})
        self.stored = naive_tree.pages(leaves(self.state), run_max)
        self.root = naive_tree.root(leaves(self.state))
        self.cache = PageCache(5, UPPER_PAGES_MAX)

    def tree(self):
        return StateTree(CHAIN, self.stored.get, self.root, self.cache)

    def update(self, hashed):
        found = self.tree().update_hashed(hashed)
        for path, page in found.pages.items():
            if page is None:
                del self.stored[path]
            else:
                self.stored[path] = page
        self.state = {key: value for key, value in (self.state | hashed).items() if value != ZERO}
        self.root = found.root
        assert self.root == naive_tree.root(leaves(self.state))

    def check_proofs(self, keys=HASHED):
        for tree_of in (self.tree(), StateTree(CHAIN, self.stored.get, self.root)):
            self.check_proofs_of(tree_of, keys)

    def check_proofs_of(self, tree_of, keys=HASHED):
        items = leaves(self.state)
        for key in keys:
            proof = tree_of.prove_hashed(key)
            siblings, leaf = naive_tree.prove(items, key)
            bits = "".join("1" if sibling != ZERO else "0" for sibling in siblings)
            assert proof.depth == len(siblings)
            assert list(proof.siblings) == [sibling for sibling in siblings if sibling != ZERO]
            assert proof.bitmap == bytes(
                int(bits[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(bits), 8)
            )
            other = (b"", b"") if leaf is None or leaf[0] == key else leaf
            assert (proof.other_key_hash, proof.other_value_hash) == other


def test_the_keys_of_these_tests_are_in_runs_of_all_lengths_and_in_deep_pages():
    found = naive_tree.pages(leaves(dict.fromkeys(HASHED, VALUES[0])), RUN_MAX)
    assert max(path[0] for path in found) == 63
    counts = {page[4 + at] for page in found.values() for at in range(many(page).bit_count())}
    assert counts == set(range(2, RUN_MAX + 1))


def many(page):
    return int.from_bytes(page[:2], "big") & int.from_bytes(page[2:4], "big")


@settings(max_examples=100, deadline=None)
@given(batches)
def test_pages_are_those_of_the_definition_after_any_updates(updates):
    kept = Kept()
    for hashed in updates:
        kept.update(hashed)
        assert kept.stored == naive_tree.pages(leaves(kept.state), RUN_MAX)
    kept.check_proofs()


@pytest.mark.parametrize("run_max", [1, 2, 3, 4, 8])
def test_every_run_grows_to_a_page_and_comes_down_again(run_max, monkeypatch):
    monkeypatch.setattr(tree, "RUN_MAX", run_max)
    order = sorted(HASHED[::2], key=lambda key: hashlib.sha256(key + b"%d" % run_max).digest())
    kept = Kept()
    for key in order:
        kept.update({key: VALUES[0]})
        assert kept.stored == naive_tree.pages(leaves(kept.state), run_max)
    kept.check_proofs(order)
    for number, key in enumerate(order):
        kept.update(dict.fromkeys(order[number + 1 : number + 3], VALUES[2]) | {key: ZERO})
        assert kept.stored == naive_tree.pages(leaves(kept.state), run_max)
    assert (kept.root, kept.stored) == (ZERO, {})


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.sampled_from(HASHED), st.sampled_from(VALUES)),
    st.sampled_from([1, 2, 8, 255]),
    batches,
)
def test_pages_with_shorter_and_longer_runs_are_read_and_become_as_they_are_now(state, run_max, updates):
    """1: every store that was written before there were runs."""
    kept = Kept(state, run_max)
    kept.check_proofs(HASHED[::3])
    for hashed in updates:
        kept.update(hashed)
    kept.check_proofs(HASHED[::3])
    kept.update(dict.fromkeys(kept.state, b"\1" * 32))
    assert kept.stored == naive_tree.pages(leaves(kept.state), RUN_MAX)


def test_nothing_is_written_when_nothing_changes_whatever_the_runs():
    state = dict.fromkeys(HASHED, VALUES[0])
    for run_max in (1, RUN_MAX, 255):
        kept = Kept(state, run_max)
        for hashed in (state, *({key: VALUES[0]} for key in HASHED), {key_sharing(6, 1): ZERO}):
            found = kept.tree().update_hashed(hashed)
            assert (found.root, found.pages) == (kept.root, {})


def test_a_cache_of_upper_pages_serves_each_version_its_own():
    kept, versions = Kept(), []
    for number, key in enumerate([*HASHED, *HASHED]):
        kept.update({key: VALUES[number % 2]})
        versions.append((kept.root, dict(kept.stored), leaves(kept.state)))
    for root, stored, items in versions[::-5] + versions[::7]:
        proof = StateTree(CHAIN, stored.get, root, kept.cache).prove_hashed(BASE)
        siblings, _ = naive_tree.prove(items, BASE)
        assert list(proof.siblings) == [sibling for sibling in siblings if sibling != ZERO]


@pytest.mark.parametrize("run_max", [1, 2, 3])
def test_what_was_a_page_below_and_is_a_run_is_proven_though_the_page_above_is_the_same_again(run_max):
    """A cache by hash, as past heights share it, may hold a page in the shape that it had in another version."""
    lost = 0
    for number, key in enumerate(HASHED[::3]):
        kept = Kept(dict.fromkeys(HASHED, VALUES[0]), run_max)
        cache, root, before = PageCache(1000), kept.root, dict(kept.stored)
        for seen in HASHED[number % 5 :: 5]:
            StateTree(CHAIN, before.get, root, cache).prove_hashed(seen)
        kept.update({key: VALUES[1]})
        kept.update({key: VALUES[0]})
        assert kept.root == root
        lost += len(before.keys() - kept.stored.keys())
        for stored in (kept.stored, before):
            kept.check_proofs_of(StateTree(CHAIN, stored.get, root, cache))
    assert lost


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(HASHED), st.sampled_from(VALUES), min_size=1), st.sampled_from([1, 4]))
def test_pages_come_back(state, run_max):
    for path, page in naive_tree.pages(leaves(state), run_max).items():
        assert encode_page(decode_page(path, page, LEAF_TAG)) == page


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.sampled_from(HASHED), st.sampled_from(VALUES), min_size=1),
    st.dictionaries(st.sampled_from(HASHED), st.sampled_from(VALUES), min_size=1),
    st.integers(0, 15),
)
def test_a_slot_of_another_page(state, other, slot):
    page, donor = (
        decode_page(b"\0", naive_tree.pages(leaves(one), RUN_MAX)[b"\0"], LEAF_TAG) for one in (state, other)
    )
    mixed = {key: value for key, value in state.items() if key[0] >> 4 != slot} | {
        key: value for key, value in other.items() if key[0] >> 4 == slot
    }
    made = with_slot(page, slot, donor)
    assert pages.subtree_of(made) == naive_tree.root(leaves(mixed))
    if mixed:
        assert encode_page(made) == naive_tree.pages(leaves(mixed), RUN_MAX)[b"\0"]


# ---- bytes that no page has --------------------------------------------------------------------------------------


def key(start):
    return bytes.fromhex(start).ljust(32, b"\1")


def page_of(*runs):
    """A root page with these runs of keys, all in the slots that their places in the list say."""
    held = several = 0
    counts = content = b""
    for slot, run in enumerate(runs):
        held |= (len(run) > 0) << slot
        several |= (len(run) > 1) << slot
        counts += bytes([len(run)]) if len(run) > 1 else b""
        content += b"".join(one + VALUES[0] for one in run)
    return held.to_bytes(2, "big") + several.to_bytes(2, "big") + counts + content


RUN = [key("11"), key("12"), key("1f")]


def test_a_run_as_it_should_be():
    page = decode_page(b"\0", page_of([], RUN, [key("20")]), LEAF_TAG)
    state = dict.fromkeys([*RUN, key("20")], VALUES[0])
    assert pages.subtree_of(page) == naive_tree.root(leaves(state))


@pytest.mark.parametrize("wrong", [RUN[::-1], [RUN[0], RUN[2], RUN[1]], [RUN[0], RUN[0]], [*RUN, RUN[2]]])
def test_leaves_out_of_order_or_twice(wrong):
    with pytest.raises(StoreError, match=r"out of order.*sync anew"):
        decode_page(b"\0", page_of([], wrong), LEAF_TAG)


@pytest.mark.parametrize(
    "wrong", [([], [], RUN), ([], [RUN[0], key("2f")]), ([key("10")],), ([], [key("0f"), RUN[0]])]
)
def test_a_leaf_in_the_place_of_another(wrong):
    with pytest.raises(StoreError, match=r"in the place of another.*sync anew"):
        decode_page(b"\0", page_of(*wrong), LEAF_TAG)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_leaf_under_another_path(depth):
    there = [key(("4567"[:depth] + nibble).ljust(6, "0")) for nibble in "19"]
    path = naive_tree.path(there[0], depth)
    good = naive_tree.pages([(one, VALUES[0], ZERO) for one in there], 1)[path]
    decode_page(path, good, LEAF_TAG)
    for nibble in range(depth):
        digits = list(path[1:].hex())
        digits[nibble] = "e"
        with pytest.raises(StoreError, match="in the place of another"):
            decode_page(bytes([depth]) + bytes.fromhex("".join(digits)), good, LEAF_TAG)


@pytest.mark.parametrize("count", [0, 1])
def test_a_run_of_less_than_two(count):
    run = page_of([], RUN[:2])
    wrong = run[:4] + bytes([count]) + run[5 : 5 + 64 * count]
    with pytest.raises(StoreError, match="impossible bytes"):
        decode_page(b"\0", wrong, LEAF_TAG)


def test_a_slot_that_says_it_holds_a_page_and_is_empty():
    """Beside another page it would hash to the same, until that one comes down to a single leaf."""
    kept = Kept({key(start): VALUES[0] for start in ("01", "02", "03", "04", "05")})
    good = kept.stored[b"\0"]
    assert good[:4] == b"\0\0\0\1"
    kept.stored[b"\0"] = b"\0\0\0\3" + good[4:] + ZERO
    for tree_of in (kept.tree(), StateTree(CHAIN, kept.stored.get, kept.root)):
        with pytest.raises(StoreError, match=r"an empty subtree.*sync anew"):
            tree_of.update_hashed({key(start): ZERO for start in ("02", "03", "04", "05")})


def test_no_changed_byte_of_a_run_is_ever_used():
    kept = Kept(dict.fromkeys(HASHED, VALUES[0]))
    for path, good in kept.stored.items():
        for position in range(0, len(good), 1 if many(good) and path[0] < 3 else 13):
            wrong = bytearray(good)
            wrong[position] ^= 1 << position % 8
            kept.stored[path] = bytes(wrong)
            with pytest.raises(StoreError, match="sync anew"):
                StateTree(CHAIN, kept.stored.get, kept.root).update_hashed(dict.fromkeys(HASHED, VALUES[1]))
        kept.stored[path] = good
