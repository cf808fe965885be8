"""How many transactions a proposer puts into a block: as many as are executed, and reach the others, in time, whatever
happens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.effects import EngineSettings
from consensus.schedule import view_timeout_ms
from ledger.limits import TRANSACTIONS_PER_BLOCK_MAX
from node.block_size import BLOCK_MS, CARRIED_MIN, TRANSACTIONS_MIN, BlockSize


def steady(
    size: BlockSize,
    per_transaction_ms: float,
    fixed_ms: float,
    heights: int,
    waiting: int = 10**6,
    unfit: float = 0.0,
):
    """Blocks of a chain whose node takes so long for each; how long the last one took. `unfit`: this share of what was to
    be in each, and one more, was found to be in none."""
    took = 0.0
    for _ in range(heights):
        count = min(size.transactions, waiting)
        count -= int(count * unfit) + 1 if unfit else 0
        took = fixed_ms + count * per_transaction_ms
        size.took(count, took)
    return took


@given(st.floats(0.02, 8.0), st.floats(0.0, 50.0))
def test_under_full_load_blocks_take_what_they_may(per_transaction_ms, fixed_ms):
    took = steady(BlockSize(), per_transaction_ms, fixed_ms, 30)
    floor = fixed_ms + TRANSACTIONS_MIN * per_transaction_ms
    ceiling = fixed_ms + TRANSACTIONS_PER_BLOCK_MAX * per_transaction_ms
    assert took <= max(BLOCK_MS * 1.01, floor)
    assert took >= min(BLOCK_MS * 0.8 - 8.0, ceiling)


@given(st.floats(0.02, 2.0), st.floats(0.0, 50.0), st.floats(0.001, 0.55))
def test_transactions_that_turn_out_unfit_do_not_keep_blocks_small(per_transaction_ms, fixed_ms, unfit):
    size = BlockSize()
    for _ in range(10):
        size.took(size.transactions, 60_000)
    assert size.transactions == TRANSACTIONS_MIN
    took = steady(size, per_transaction_ms, fixed_ms, 60, unfit=unfit)
    ceiling = fixed_ms + TRANSACTIONS_PER_BLOCK_MAX * (1 - unfit) * per_transaction_ms
    assert took >= min(BLOCK_MS * 0.4, ceiling - 1)


@given(st.lists(st.tuples(st.integers(0, TRANSACTIONS_PER_BLOCK_MAX), st.floats(0, 1e6))))
def test_it_stays_within_its_bounds_and_changes_by_steps(blocks):
    size = BlockSize()
    for transactions, milliseconds in blocks:
        before = size.transactions
        size.took(transactions, milliseconds)
        assert TRANSACTIONS_MIN <= size.transactions <= TRANSACTIONS_PER_BLOCK_MAX
        assert before // 2 <= max(size.transactions, TRANSACTIONS_MIN) <= max(before * 2, TRANSACTIONS_MIN)


def test_blocks_that_are_not_full_and_quick_change_nothing():
    size = BlockSize()
    before = size.transactions
    steady(size, 0.2, 5.0, 50, waiting=100)
    size.took(0, 2.0)
    assert size.transactions == before


def test_a_slow_block_makes_the_next_smaller_even_if_it_held_more_than_ours_may():
    size = BlockSize()
    before = size.transactions
    size.took(9_000, 20 * BLOCK_MS)  # of another proposer
    assert size.transactions == before // 2 or size.transactions == 9_000 // 20
    assert size.transactions < before


def test_a_slow_block_never_makes_the_next_larger():
    size = BlockSize()
    size.took(9_000, 1.1 * BLOCK_MS)
    assert size.transactions == BlockSize().transactions


def test_one_pause_of_the_disk_is_soon_forgotten():
    size = BlockSize()
    steady(size, 0.2, 5.0, 20)
    before = size.transactions
    size.took(1, 60_000)
    assert size.transactions == before // 2
    steady(size, 0.2, 5.0, 3)
    assert size.transactions >= 0.9 * before


def chain_of_four(
    sizes: list[BlockSize], first: int, heights: int, way_ms: float
) -> tuple[list[int], list[int]]:
    """Heights of four that lead in turn, under full load: views and transactions of each. A transaction takes so long on
    the way to the others, and next to nothing there; a block that is not there as its view ends is given up."""
    views, held = [], []
    for height in range(first, first + heights):
        for view in range(1, 40):
            size = sizes[(height + view) % 4]
            count, block = size.transactions, b"%d" % view
            size.proposed(height, block, count)
            if count * way_ms < view_timeout_ms(EngineSettings(), view):
                break
        views.append(view)
        held.append(count)
        for each in sizes:
            each.decided(height, view, block)
            each.took(count, count * 0.02)
    return views, held


@pytest.mark.parametrize("fit", [120, 300, 1_000, 2_500])
def test_blocks_that_come_too_late_become_smaller_until_they_do_not(fit):
    """`fit` transactions reach the others within the first view."""
    sizes = [BlockSize() for _ in range(4)]
    chain_of_four(sizes, 1, 20, 0.01)  # until now the line was good
    assert all(size.transactions > 2 * fit for size in sizes)
    chain_of_four(sizes, 21, 20, 1_000 / fit)
    views, held = chain_of_four(sizes, 41, 100, 1_000 / fit)
    assert sum(views) <= 1.5 * len(views)
    assert sum(held) >= 0.5 * fit * len(held)
    _, healed = chain_of_four(sizes, 141, 120, 0.01)
    assert healed[-1] > 2 * fit


@pytest.mark.parametrize("fit", [300, 1_000, 2_500])
def test_what_a_line_carries_is_not_tried_anew_all_the_time(fit):
    sizes = [BlockSize() for _ in range(4)]
    chain_of_four(sizes, 1, 100, 1_000 / fit)
    views, held = chain_of_four(sizes, 101, 400, 1_000 / fit)
    assert sum(view > 1 for view in views) <= 0.08 * len(views)
    assert sum(held) >= 0.75 * fit * len(held)


def test_after_an_outage_blocks_grow_quickly():
    size = BlockSize()
    for height in range(1, 43):
        outage = height <= 20
        size.took(TRANSACTIONS_PER_BLOCK_MAX, 1)
        size.proposed(height, b"ours", size.transactions)
        size.decided(height, 1 + outage, b"another" if outage else b"ours")
        assert height != 20 or size.transactions == CARRIED_MIN
    assert size.transactions > 1_000


def test_what_is_late_for_another_reason_does_not_become_smaller_than_need_be():
    size = BlockSize()
    for height in range(1, 50):
        size.proposed(height, b"ours", size.transactions)
        size.decided(height, 2, b"another")
    assert size.transactions == CARRIED_MIN
    size = BlockSize()
    before = size.transactions
    for height in range(1, 50):
        size.proposed(height, b"empty, or nearly", height % (CARRIED_MIN + 1))
        size.decided(height, 2, b"another")
        size.proposed(height, b"of a height that was decided meanwhile", before)
    assert size.transactions == before
