import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import history, merkle
from ledger.errors import Invalid
from proto.chiptrace.v1.ledger_pb2 import Entry, EntryKind, History, Reason

CHAIN = bytes(range(32))


def make(count):
    head, entries = History(), []
    for n in range(count):
        before, data = history.append_entry(
            CHAIN, head, Entry(subject=b"s", height=n + 1, kind=EntryKind.EVENT)
        )
        assert before == n
        entries.append(data)
    return head, entries


@settings(max_examples=30)
@given(st.integers(0, 40))
def test_a_history_is_the_rfc_9162_tree_of_its_entries(count):
    head, entries = make(count)
    history.verify_history(CHAIN, head, entries)
    assert head.n == count
    assert history.history_root(head) == merkle.root([history.entry_leaf(CHAIN, entry) for entry in entries])


@pytest.mark.parametrize("n, frontier", [(1, []), (0, [b"h" * 32]), (3, [b"h" * 32, b"h" * 31])])
def test_nothing_is_appended_to_what_is_no_history(n, frontier):
    head = History(n=n, frontier=frontier)
    with pytest.raises(Invalid) as refusal:
        history.append_entry(CHAIN, head, Entry(subject=b"s", kind=EntryKind.EVENT))
    assert refusal.value.reason == Reason.BAD_PROOF
    assert head == History(n=n, frontier=frontier)


@settings(max_examples=60)
@given(st.data())
def test_any_other_list_of_entries_is_refused(data):
    head, entries = make(data.draw(st.integers(1, 20)))
    index = data.draw(st.integers(0, len(entries) - 1))
    changes = [
        entries[:index] + entries[index + 1 :],
        [*entries, entries[index]],
        [*entries[:index], b"", *entries[index:]],
    ]
    altered = list(entries)
    altered[index] += b"\0"
    changes.append(altered)
    if index:
        swapped = list(entries)
        swapped[0], swapped[index] = swapped[index], swapped[0]
        changes.append(swapped)
    for wrong in changes:
        with pytest.raises(Invalid) as refusal:
            history.verify_history(CHAIN, head, wrong)
        assert refusal.value.reason == Reason.BAD_PROOF


def test_a_count_that_is_not_the_frontiers_is_refused():
    head, entries = make(3)
    with pytest.raises(Invalid):
        history.verify_history(CHAIN, History(n=5, frontier=head.frontier), entries)


def test_entries_of_another_chain_are_refused():
    head, entries = make(3)
    with pytest.raises(Invalid):
        history.verify_history(bytes(32), head, entries)


@pytest.mark.parametrize("frontier", [[], [bytes(32)], [bytes(32)] * 3, [bytes(31), bytes(32)]])
def test_a_frontier_that_does_not_fit_its_count_has_no_root(frontier):
    with pytest.raises(Invalid):
        history.history_root(History(n=3, frontier=frontier))
