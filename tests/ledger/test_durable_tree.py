"""The tree on the disk, whatever was written of it when: never another root, and for each moment its own proofs."""

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import durable_tree, page_rows, rows, tree_proof
from ledger.durable_tree import Delta, DurableTree, decode_delta, encode_delta, stacked
from ledger.errors import StoreError
from ledger.hashes import ZERO
from ledger.kv import MemoryKV
from ledger.page_rows import page_of
from ledger.pages import RUN_MAX
from ledger.tree import StateTree, stored_form
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

    def __init__(self, kv, bound, whole_depths=page_rows.WHOLE_DEPTHS):
        self.kv, self.bound, self.whole_depths = kv, bound, whole_depths
        self.tree, self.root, self.height, self.state = DurableTree(kv), ZERO, 0, {}
        self.moments = []  # (snapshot, layers, root, state)

    def height_with(self, changed, *, arrives=True):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(durable_tree, "KEYS_PER_PART", self.bound)
            patch.setattr(page_rows, "WHOLE_DEPTHS", self.whole_depths)
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
        found = self.pages_on_disk()
        for stack in self.tree.layers.stacks:
            for layer in reversed(stack):
                found.update(stored_form(layer))
        return {path: page for path, page in found.items() if page is not None}

    def pages_on_disk(self):
        """The pages that the rows on the disk come to."""
        table = self.table(rows.PAGE)
        paths = {row[1 : 2 + (row[1] + 1) // 2] for row in table}
        return {
            path: page_of(path, [(key, table[key]) for key in sorted(table) if key.startswith(b"P" + path)])
            for path in paths
        }

    def deltas(self):
        return {
            row: decode_delta(row, rows.unseal(row, stored)) for row, stored in self.table(rows.DELTA).items()
        }


def proves(tree, state, keys=KEYS):
    items = naive_tree.leaves(CHAIN, state)
    assert tree.root == naive_tree.root(items)
    for key in keys if state else ():
        proof = tree.prove(key)
        siblings, _ = naive_tree.prove(items, tree_proof.key_hash(CHAIN, key))
        assert [proof.depth, list(proof.siblings)] == [len(siblings), [s for s in siblings if s != ZERO]]
        tree_proof.verify(CHAIN, tree.root, key, state.get(key), proof)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([1, 2, 3, 7, 1000]), st.sampled_from([1, 3]), steps)
def test_every_moment_is_the_definition_whatever_is_written_when(bound, whole_depths, script):
    keeper = Keeper(MemoryKV(), bound, whole_depths)
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
        assert sum(len(delta.hashed) for delta in keeper.deltas().values()) < 16 * bound + bound + 6
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


def behind(bound=1000, heights=6, keys=300, whole_depths=page_rows.WHOLE_DEPTHS):
    """A store with all pages on the disk, and deltas since."""
    keeper = Keeper(FaultyKV(Disk()), 1, whole_depths)
    keeper.height_with({b"%d" % number: b"old" for number in range(keys)})
    assert keeper.table(rows.DELTA) == {}
    assert keeper.pages_on_disk() == built_from_scratch(keeper.state).stored
    keeper.bound = bound
    for number in range(heights):
        changed = {b"%d" % (number * 7 + k): b"new %d" % number for k in range(5)}
        keeper.height_with(changed | {b"same": b"%d" % number})
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


def test_parts_are_written_in_turn_and_deltas_go_when_no_part_needs_them():
    keeper = behind(heights=0)
    keeper.bound = 10
    for height in range(2, 199):
        keeper.height_with({b"%d" % (height * 3 + k): b"later" for k in range(5)})
        rows_now = [rows.height_of(row) for row in keeper.table(rows.DELTA)]
        # One part at every odd height, so that a round is 32 of them.
        last_written = height if height % 2 else height - 1
        assert rows_now == list(range(max(2, last_written - 29), height + 1))
        assert sum(len(stack) > 0 for stack in keeper.tree.layers.stacks) <= 17
    written = [delta.written for delta in keeper.deltas().values()]
    assert all(mask.bit_count() <= 1 for mask in written)
    assert sum(mask.bit_count() for mask in written) == 15
    # Who opens the store again goes on where the other would have.
    was = keeper.tree._disk
    assert was.keys == 5
    keeper.open_again()
    again = keeper.tree._disk
    assert (again.deltas, again.keys, again.root_page) == (was.deltas, was.keys, was.root_page)
    assert sorted(range(16), key=lambda part: again.heights[part]) == sorted(
        range(16), key=lambda part: was.heights[part]
    )
    proves(keeper.tree.tree(CHAIN, keeper.root), keeper.state, [b"1", b"2", b"none"])


def test_a_height_with_many_keys_writes_all_parts_and_no_delta():
    keeper = behind(bound=10)
    keeper.height_with({b"many %d" % number: b"x" for number in range(160)})
    assert keeper.table(rows.DELTA) == {}
    assert not any(keeper.tree.layers.stacks[:16])
    assert keeper.tree.layers.own_pages == 1  # the root's
    assert keeper.pages_on_disk() == built_from_scratch(keeper.state).stored
    keeper.height_with(dict.fromkeys(keeper.state))
    assert (keeper.table(rows.DELTA), keeper.table(rows.PAGE), keeper.root) == ({}, {}, ZERO)


def test_a_part_is_written_where_the_pages_on_the_disk_were_those_of_the_tip():
    keeper = behind(bound=1, heights=0)
    keeper.open_again()
    assert not any(keeper.tree.layers.stacks)
    keeper.height_with({b"1": b"old"})  # which it was before
    assert keeper.pages() == built_from_scratch(keeper.state).stored
    keeper.open_again()


def test_a_store_without_deltas_is_one_as_it_was_written_before():
    keeper = Keeper(MemoryKV(), 1000)
    keeper.state = {b"%d" % number: b"old" for number in range(300)}
    made = built_from_scratch(keeper.state)
    keeper.kv.write([(rows.PAGE + path, page) for path, page in made.stored.items()])
    keeper.root = made.root
    keeper.open_again()
    keeper.height_with({b"1": b"new"})
    keeper.open_again()
    proves(keeper.tree.tree(CHAIN, keeper.root), keeper.state, [b"1", b"2", b"none"])


@pytest.mark.parametrize("bound", [1, 30, 1000])
def test_a_store_whose_pages_have_no_runs_goes_on(bound):
    """As every store was before its tip said `chiptrace store 3`."""
    keeper = Keeper(FaultyKV(Disk()), bound)
    keeper.state = {b"%d" % number: b"old" for number in range(300)}
    items = naive_tree.leaves(CHAIN, keeper.state)
    before = naive_tree.pages(items, 1)
    assert len(before) > 100 > len(naive_tree.pages(items, RUN_MAX))
    keeper.kv.write([(rows.PAGE + path, page) for path, page in before.items()])
    keeper.root = naive_tree.root(items)
    keeper.open_again()
    for height in range(12):
        keeper.height_with(
            {b"%d" % (height * 25 + k): None if k % 7 == height % 7 else b"%d" % height for k in range(50)}
        )
        if height % 3 == 0:
            keeper.open_again()
        proves(keeper.tree.tree(CHAIN, keeper.root), keeper.state, [b"%d" % (height * 19), b"1", b"299"])
    assert keeper.pages() == naive_tree.pages(naive_tree.leaves(CHAIN, keeper.state), RUN_MAX)


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
    every = list(behind().table(rows.DELTA))
    for missing in (
        [[row] for row in every] + [every[:n] for n in range(2, 7)] + [every[n:] for n in range(5)]
    ):
        keeper = behind()
        keeper.kv.write([(row, None) for row in missing])
        refused(keeper)


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
    foreign = StateTree(OTHER, {}.get, ZERO).hashed({b"0": b"x"})
    for row, delta in behind().deltas().items():
        one = next(
            key for key in delta.hashed if key != tree_proof.key_hash(CHAIN, b"same")
        )  # nothing sets it later
        for content in (
            foreign,
            foreign | delta.hashed,
            delta.hashed | {one: bytes(31) + b"\1"},
            delta.hashed | {one: ZERO},
        ):
            keeper = behind()
            keeper.kv.write([resealed(row, encode_delta(replace(delta, hashed=content)))])
            refused(keeper)
        for root in (delta.after, ZERO):
            keeper = behind()
            keeper.kv.write([resealed(row, encode_delta(replace(delta, before=root)))])
            if row == min(keeper.table(rows.DELTA)):
                keeper.open_again()  # what came before it is on the disk in many heights, and has no root of its own
            else:
                refused(keeper)
        keeper = behind()
        keeper.kv.write([resealed(row, encode_delta(replace(delta, after=delta.before)))])
        refused(keeper)


def test_pages_of_another_time_do_not_open():
    wanted = behind(keys=600)
    there = wanted.table(rows.PAGE)
    newer = built_from_scratch(wanted.state).stored
    different = [path for path, page in newer.items() if there[rows.PAGE + path] != page]
    assert len(different) > 15
    for path in different[::2]:
        keeper = behind(keys=600)
        keeper.kv.write([(rows.PAGE + path, newer[path])])
        with pytest.raises(StoreError):
            keeper.open_again()
            proves(
                keeper.tree.tree(CHAIN, keeper.root), keeper.state, [b"%d" % number for number in range(600)]
            )


@pytest.mark.parametrize(
    "change", [lambda page: page[:-1], lambda page: page[:-1] + b"x", lambda _: b"", lambda _: None]
)
def test_a_damaged_root_page_does_not_open(change):
    for keeper in (behind(), behind(heights=0)):
        row = rows.PAGE + b"\0"
        keeper.kv.write([(row, change(keeper.kv.get(row)))])
        refused(keeper)


HASHES = st.binary(min_size=32, max_size=32)


@given(HASHES, HASHES, st.integers(0, 2**16 - 1), st.dictionaries(HASHES, HASHES, min_size=1))
def test_deltas_come_back(before, after, written, hashed):
    delta = Delta(before, after, written, hashed)
    encoded = encode_delta(delta)
    assert decode_delta(b"row", encoded) == delta
    for wrong in (encoded[:-1], encoded + b"1", encoded[:66], b""):
        with pytest.raises(StoreError):
            decode_delta(b"row", wrong)
