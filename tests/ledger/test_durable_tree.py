"""The tree on the disk, whatever was written of it when: never another root, and for each moment its own proofs."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import durable_tree, rows, tree_proof
from ledger.durable_tree import DurableTree, decode_delta, encode_delta, stacked
from ledger.errors import StoreError
from ledger.hashes import ZERO
from ledger.kv import MemoryKV
from ledger.tree import StateTree
from tests.ledger import naive_tree
from tests.ledger.faulty_kv import Disk, FaultyKV
from tests.ledger.test_tree import CHAIN, KEYS, apply, built_from_scratch

OTHER = hashlib.sha256(b"another chain").digest()
values = st.none() | st.sampled_from([b"", b"a", b"b"])
changes = st.dictionaries(st.sampled_from(KEYS), values, max_size=6)
steps = st.lists(
    st.tuples(st.just("height"), changes)
    | st.tuples(
        st.just("kill"), st.none()
    )  # between two batches: what was written is there, what was not is not
    | st.tuples(st.just("lost"), changes)  # a batch that never came to the disk, and then the end
    | st.tuples(st.just("look"), st.integers(0, 30)),
    max_size=25,
)


class Keeper:
    """A store that keeps nothing but its tree."""

    def __init__(self, kv, bound):
        self.kv, self.bound = kv, bound
        self.tree, self.root, self.height, self.state = DurableTree(kv), ZERO, 0, {}
        self.moments = []  # (snapshot, layers, root, state)

    def height_with(self, changed, *, arrives=True):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(durable_tree, "KEYS_BEHIND_MAX", self.bound)
            step = self.tree.update(CHAIN, self.root, self.height + 1, changed)
        if arrives:
            self.kv.write(step.rows)
            self.tree.written(step)
            self.height, self.root = self.height + 1, step.root
            apply(self.state, changed)
            self.moments.append((self.kv.snapshot(), self.tree.layers, self.root, dict(self.state)))

    def open_again(self):
        self.tree = DurableTree(self.kv)
        self.tree.open(CHAIN, self.root)

    def table(self, letter):
        return dict(self.kv.iterate(letter, rows.after(letter)))

    def pages(self):
        """The pages as they would be written now."""
        found = {key[1:]: page for key, page in self.table(rows.PAGE).items()}
        for layer in reversed(self.tree.layers):
            for path, page in durable_tree.stored_form(layer).items():
                found[path] = page
        return {path: page for path, page in found.items() if page is not None}


def proves(tree, state, keys=KEYS):
    items = naive_tree.leaves(CHAIN, state)
    assert tree.root == naive_tree.root(items)
    for key in keys if state else ():
        proof = tree.prove(key)
        siblings, _ = naive_tree.prove(items, tree_proof.key_hash(CHAIN, key))
        assert [proof.depth, list(proof.siblings)] == [len(siblings), [s for s in siblings if s != ZERO]]
        tree_proof.verify(CHAIN, tree.root, key, state.get(key), proof)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from([0, 1, 2, 7, 20, 1000]), steps)
def test_every_moment_is_the_definition_whatever_is_written_when(bound, script):
    keeper = Keeper(MemoryKV(), bound)
    for what, given_ in script:
        if what == "height":
            keeper.height_with(given_)
        elif what == "lost":
            keeper.height_with(given_, arrives=False)
            keeper.open_again()
        elif what == "kill":
            keeper.open_again()
        elif keeper.moments:
            snapshot, layers, root, state = keeper.moments[given_ % len(keeper.moments)]
            proves(keeper.tree.past(CHAIN, root, snapshot, layers), state)
        assert keeper.root == naive_tree.root(naive_tree.leaves(CHAIN, keeper.state))
        assert keeper.pages() == built_from_scratch(keeper.state).stored
        kept = sum(len(decode_delta(k, rows.unseal(k, v))[2]) for k, v in keeper.table(rows.DELTA).items())
        assert kept <= bound
    for snapshot, layers, root, state in keeper.moments:
        proves(keeper.tree.past(CHAIN, root, snapshot, layers), state, KEYS[::4])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(KEYS), values, max_size=5), max_size=30))
def test_layers_say_what_a_dict_would_and_are_few(layers):
    stack, said = (), {}
    for number, layer in enumerate(layers):
        before, copies = stack, [dict(one) for one in stack]
        stack = stacked(layer, stack)
        said |= layer
        assert {k: next(one[k] for one in stack if k in one) for k in said} == said
        assert [dict(one) for one in before] == copies, "who reads an older moment keeps what she had"
        assert len(stack) <= 1 + (number + 1).bit_length() * 3


# ---- deltas that are not what was written -----------------------------------------------------------------------


def behind(bound=1000, heights=6):
    """A store with some pages on the disk, and deltas since."""
    keeper = Keeper(FaultyKV(Disk()), 0)
    keeper.height_with({b"%d" % number: b"old" for number in range(300)})
    keeper.bound = bound
    for number in range(heights):
        keeper.height_with(
            {b"%d" % (number * 7 + k): b"new %d" % number for k in range(5)} | {b"same": b"%d" % number}
        )
    return keeper


def refused(keeper, match=None):
    with pytest.raises(StoreError, match=match) as refusal:
        keeper.open_again()
    assert "sync anew" in str(refusal.value)


def test_a_height_writes_its_delta_and_no_page():
    keeper = behind()
    assert len(keeper.table(rows.DELTA)) == 6
    stored = keeper.table(rows.PAGE)
    keeper.height_with({b"1": b"later"})
    assert keeper.table(rows.PAGE) == stored
    keeper.height_with({})
    assert len(keeper.table(rows.DELTA)) == 7  # a height that changes nothing has none
    keeper.open_again()
    assert keeper.tree.tree(CHAIN, keeper.root).root == keeper.root


def test_pages_are_written_when_the_deltas_are_many_and_the_deltas_go():
    keeper = behind()
    keeper.bound = 40
    keeper.height_with({b"1": b"later", b"2": b"later", b"3": b"later"})
    assert len(keeper.table(rows.DELTA)) == 7
    assert keeper.tree.layers
    keeper.height_with({b"1": b"last", b"4": b"last"})
    assert keeper.table(rows.DELTA) == {}
    assert keeper.tree.layers == ()
    assert {key[1:]: page for key, page in keeper.table(rows.PAGE).items()} == built_from_scratch(
        keeper.state
    ).stored
    keeper.open_again()
    proves(keeper.tree.tree(CHAIN, keeper.root), keeper.state, [b"1", b"2", b"none"])


def test_a_damaged_delta_does_not_open():
    for row in behind().table(rows.DELTA):
        keeper = behind()
        stored = keeper.table(rows.DELTA)[row]
        for position in range(0, len(stored), 37):
            wrong = bytearray(stored)
            wrong[position] ^= 4
            keeper.kv.write([(row, bytes(wrong))])
            refused(keeper, "is not what was written there")
        for changed in (stored[:-1], stored[:-32], b""):
            keeper.kv.write([(row, changed)])
            refused(keeper)


def test_a_missing_delta_does_not_open_wherever_it_was():
    for row in behind().table(rows.DELTA):
        keeper = behind()
        keeper.kv.write([(row, None)])
        refused(keeper)
    keeper = behind()
    keeper.kv.write([(row, None) for row in keeper.table(rows.DELTA)])
    refused(keeper, "does not hash to what stands above it|do not lead to the tip")


def resealed(row, data):
    return row, rows.seal(row, data)


def test_deltas_in_another_order_do_not_open_even_under_true_seals():
    deltas = [(row, rows.unseal(row, stored)) for row, stored in behind().table(rows.DELTA).items()]
    for first in range(len(deltas)):
        for second in range(first):
            keeper = behind()
            keeper.kv.write(
                [resealed(deltas[first][0], deltas[second][1]), resealed(deltas[second][0], deltas[first][1])]
            )
            refused(keeper)


def test_a_delta_of_another_chain_or_content_does_not_open_even_under_a_true_seal():
    for row, stored in behind().table(rows.DELTA).items():
        before, after, hashed = decode_delta(row, rows.unseal(row, stored))
        foreign = StateTree(OTHER, {}.get, ZERO).hashed({b"0": b"x"})
        one = next(
            key for key in hashed if key != tree_proof.key_hash(CHAIN, b"same")
        )  # no later height sets it
        for content in (foreign, hashed | foreign, hashed | {one: bytes(31) + b"\1"}, hashed | {one: ZERO}):
            keeper = behind()
            keeper.kv.write([resealed(row, encode_delta(before, after, content))])
            refused(keeper)
        for roots in ((after, after), (before, before), (ZERO, after), (before, ZERO)):
            keeper = behind()
            keeper.kv.write([resealed(row, encode_delta(*roots, hashed))])
            refused(keeper)


def test_pages_of_another_time_do_not_open():
    keeper, older = behind(), behind(heights=0)
    keeper.height_with({b"%d" % number: b"x" for number in range(300)})
    assert keeper.table(rows.PAGE) == older.table(rows.PAGE)
    for path, page in list(built_from_scratch(keeper.state).stored.items())[::9]:
        now = behind()
        if now.table(rows.PAGE)[rows.PAGE + path] != page:
            now.kv.write([(rows.PAGE + path, page)])
            with pytest.raises(StoreError):
                now.open_again()
                proves(now.tree.tree(CHAIN, now.root), now.state, [b"%d" % number for number in range(300)])


@given(st.dictionaries(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32), min_size=1))
def test_deltas_come_back(hashed):
    before, after = b"b" * 32, b"a" * 32
    encoded = encode_delta(before, after, hashed)
    assert decode_delta(b"row", encoded) == (before, after, hashed)
    for wrong in (encoded[:-1], encoded + b"1", encoded[:64], b""):
        with pytest.raises(StoreError):
            decode_delta(b"row", wrong)
