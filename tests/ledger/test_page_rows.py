"""Pages in rows: whatever was written of them when, they come to the pages by the definition, or are refused."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import durable_tree, page_rows, rows
from ledger.durable_tree import DurableTree
from ledger.errors import StoreError
from ledger.hashes import ZERO
from ledger.kv import MemoryKV
from ledger.page_rows import WHOLE_DEPTHS, changes_of, page_of, range_of, touched_again
from ledger.pages import GONE, MADE, RUN_MAX, decode_page
from ledger.tree import StateTree, stored_form
from tests.ledger import naive_tree
from tests.ledger.test_durable_tree import behind, proves
from tests.ledger.test_pages import CHAIN, LEAF_TAG, batches, leaves

PATH = bytes((WHOLE_DEPTHS,)) + bytes((WHOLE_DEPTHS + 1) // 2)
ROW = rows.PAGE + PATH


def slot_row(slot):
    return ROW + bytes((slot,))


def keys_of(slot, count):
    """Key hashes below a slot of the page at PATH, in order."""
    digits = "0" * WHOLE_DEPTHS + f"{slot:x}"
    found = [hashlib.sha256(b"%d %d" % (slot, number)).hexdigest() for number in range(count)]
    return sorted(bytes.fromhex(digits + one[len(digits) :]) for one in found)


def page_with(counts):
    """The page at PATH, as it is stored and as it is in memory, with so many leaves by slot."""
    state = {
        key: hashlib.sha256(key).digest() for slot, count in counts.items() for key in keys_of(slot, count)
    }
    stored = naive_tree.pages(leaves(state), RUN_MAX, WHOLE_DEPTHS)[PATH]
    return stored, decode_page(PATH, stored, LEAF_TAG)


counts = st.dictionaries(st.integers(0, 15), st.integers(0, RUN_MAX + 2), min_size=1).filter(
    lambda found: sum(found.values()) > RUN_MAX
)


def of(kv):
    return page_of(PATH, kv.look_between(*range_of(PATH)))


@given(st.lists(counts, min_size=1, max_size=6))
def test_a_page_is_what_was_written_of_its_slots(steps):
    kv = MemoryKV()
    before = {}
    for number, step in enumerate(steps):
        stored, page = page_with(step)
        touched = sum(1 << slot for slot in range(16) if before.get(slot, 0) != step.get(slot, 0))
        changes = changes_of(PATH, page, touched if number else MADE)
        assert len(changes) == (touched.bit_count() if number else 1)
        kv.write(changes)
        assert of(kv) == stored
        before = step
    kv.write(changes_of(PATH, None, GONE))
    assert list(kv.iterate(b"", None)) == []
    kv.write(changes_of(PATH, page, GONE | MADE))
    assert (of(kv), len(list(kv.iterate(b"", None)))) == (stored, 1)


@given(counts, counts, counts)
def test_what_comes_in_the_place_of_a_page_has_nothing_of_it(first, second, third):
    kv = MemoryKV()
    kv.write(changes_of(PATH, page_with(first)[1], MADE))
    kv.write(changes_of(PATH, page_with(second)[1], 0xFFFF))
    assert of(kv) == page_with(second)[0]
    stored, page = page_with(third)
    kv.write(changes_of(PATH, page, touched_again(touched_again(7, GONE), MADE) | 1))
    assert (of(kv), len(list(kv.iterate(b"", None)))) == (stored, 1)


def test_two_updates_add_up_and_what_is_gone_was_nothing_before():
    assert touched_again(5, 2) == 7
    assert touched_again(MADE, 2) == MADE | 2
    assert touched_again(MADE | 5, GONE) == GONE
    assert touched_again(GONE, MADE) == GONE | MADE


def test_pages_high_up_are_written_whole():
    _, page = page_with({1: 3, 2: 3})
    for depth in range(WHOLE_DEPTHS):
        path = bytes((depth,)) + bytes((depth + 1) // 2)
        assert [key for key, _ in changes_of(path, page, 2)] == [rows.PAGE + path]
        assert changes_of(path, None, GONE) == [(rows.PAGE + path, None)]
    assert [key for key, _ in changes_of(PATH, page, 2)] == [slot_row(1)]


def test_rows_that_no_page_has_are_refused():
    stored, page = page_with({1: 3, 2: 3, 4: 9})
    kept = dict(changes_of(PATH, page, 0xFFFF))
    assert page_of(PATH, [(ROW, stored), *sorted(kept.items())]) == stored
    leaf = keys_of(1, 1)[0] * 2
    for wrong, why in (
        ([(slot_row(1), leaf)], "is missing, but for some of its slots"),
        ([(ROW, stored), (slot_row(1) + b"\1", leaf)], "a row of another key"),
        ([(ROW, stored), (slot_row(1), leaf[:-1])], "impossible bytes in a slot"),
        ([(ROW, stored), (slot_row(1), leaf + leaf[:32])], "impossible bytes in a slot"),
        ([(ROW, stored), (slot_row(1), leaf * 256)], "impossible bytes in a slot"),
        ([(ROW, stored + b"1"), (slot_row(1), leaf)], "has impossible bytes"),
        ([(ROW, stored[:-1]), (slot_row(1), leaf)], "has impossible bytes"),
        ([(ROW, b""), (slot_row(1), leaf)], "has impossible bytes"),
        ([(ROW, b"\xff" * 4), (slot_row(1), leaf)], "has impossible bytes"),  # ends before its counts
        ([(ROW, b"\xff" * 19), (slot_row(1), leaf)], "has impossible bytes"),
    ):
        with pytest.raises(StoreError, match=why):
            page_of(PATH, wrong)


# ---- in the tree on the disk ------------------------------------------------------------------------------------


def pages_on(kv):
    table = dict(kv.iterate(rows.PAGE, rows.after(rows.PAGE)))
    paths = {row[1 : 2 + (row[1] + 1) // 2] for row in table}
    return {path: page_of(path, kv.look_between(*range_of(path))) for path in sorted(paths)}


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([1, 2, 7]), st.sampled_from([1, 3]), batches, st.integers(0, 3))
def test_the_pages_on_the_disk_are_the_definition_however_deep(bound, whole_depths, steps, again):
    """By keys that share up to all of their bits, so that pages come and go at every depth."""
    kv, state, root = MemoryKV(), {}, ZERO
    tree = DurableTree(kv)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(durable_tree, "KEYS_PER_PART", bound)
        patch.setattr(page_rows, "WHOLE_DEPTHS", whole_depths)
        patch.setattr(StateTree, "hashed", lambda _, changes: changes)
        for height, hashed in enumerate(steps, 1):
            step = tree.update(CHAIN, root, height, hashed)
            kv.write(step.rows)
            tree.written(step)
            state = {key: value for key, value in (state | hashed).items() if value != ZERO}
            root = step.root
            assert root == naive_tree.root(leaves(state))
            if again and height % again == 0:
                tree = DurableTree(kv)
                tree.open(CHAIN, root)
            found = pages_on(kv)
            for stack in tree.layers.stacks:
                for layer in reversed(stack):
                    found.update(stored_form(layer))
            now = {path: page for path, page in found.items() if page is not None}
            assert now == naive_tree.pages(leaves(state), RUN_MAX)


def slots_on(keeper):
    return {key: value for key, value in keeper.table(rows.PAGE).items() if len(key) > 2 + (key[1] + 1) // 2}


def changed_after(keeper):
    """A store of which slots were written, and that is opened again."""
    keeper.height_with({b"%d" % number: b"other" for number in range(0, 600, 9)})
    assert len(slots_on(keeper)) > 40
    keeper.open_again()
    return keeper


@pytest.mark.parametrize(
    "change",
    [
        lambda held: None,
        lambda held: held[:-1] + bytes((held[-1] ^ 1,)),
        lambda held: held[:-1],
        lambda _: b"",
    ],
)
def test_a_damaged_slot_is_found_as_soon_as_it_is_read(change):
    def read():
        keeper.open_again()
        tree = keeper.tree.tree(CHAIN, keeper.root)
        for number in range(600):
            tree.prove(b"%d" % number)

    keeper = changed_after(behind(bound=1, heights=0, keys=600, whole_depths=1))
    read()
    for row, held in list(slots_on(keeper).items())[::9]:
        keeper.kv.write([(row, change(held))])
        with pytest.raises(StoreError):
            read()
        keeper.kv.write([(row, held)])
    read()
    proves(keeper.tree.tree(CHAIN, keeper.root), keeper.state, [b"1", b"9", b"none"])


def test_rows_that_changed_places_or_are_too_many_are_found_as_soon_as_they_are_read():
    def read():
        keeper.open_again()
        for number in range(600):
            keeper.tree.tree(CHAIN, keeper.root).prove(b"%d" % number)

    keeper = changed_after(behind(bound=1, heights=0, keys=600, whole_depths=1))
    table = keeper.table(rows.PAGE)
    slots = sorted(slots_on(keeper))
    wholes = sorted(table.keys() - slots_on(keeper).keys())
    swaps = [*zip(slots[::9], slots[1::9], strict=False), *zip(wholes[1::6], slots[5::9], strict=False)]
    wrong = [{one: table[other], other: table[one]} for one, other in swaps if table[one] != table[other]]
    # A row of a slot where none was written, of what another holds.
    extra = [whole + bytes((slot,)) for whole in wholes[2::5] for slot in (0, 9)]
    wrong += [{row: table[slots[0]]} for row in extra if row not in table]
    assert len(wrong) > 20
    for changed in wrong:
        keeper.kv.write(list(changed.items()))
        with pytest.raises(StoreError, match="sync anew"):
            read()
        keeper.kv.write([(row, table.get(row)) for row in changed])
    read()


def test_pages_that_go_leave_no_row_and_come_back_without_what_they_were():
    keeper = changed_after(behind(bound=1, heights=0, keys=600, whole_depths=1))
    kept = {b"%d" % number: b"kept" for number in range(0, 600, 40)}
    before = dict(keeper.state)
    keeper.height_with({key: kept.get(key) for key in before})
    assert keeper.pages_on_disk() == keeper.pages() == naive_tree.pages(leaves_of(keeper.state), RUN_MAX)
    assert slots_on(keeper) == {}
    keeper.height_with(before)
    keeper.open_again()
    assert keeper.pages_on_disk() == naive_tree.pages(leaves_of(before), RUN_MAX)
    keeper.height_with(dict.fromkeys(before))
    assert keeper.table(rows.PAGE) == {}


def leaves_of(state):
    return naive_tree.leaves(CHAIN, state)
