"""How many transactions a proposer puts into a block: as many as are executed in time, whatever happens."""

from hypothesis import given
from hypothesis import strategies as st

from ledger.limits import TRANSACTIONS_PER_BLOCK_MAX
from node.block_size import BLOCK_MS, TRANSACTIONS_MIN, BlockSize


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
