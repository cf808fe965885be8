"""Namespaces: read without fetching anything, merged, and divided again for export."""

from hypothesis import given
from hypothesis import strategies as st

from client import epcis_context
from client.epcis_context import Namespaces, namespaces, shared
from client.epcis_vocabulary import GS1_CONTEXT, PINNED_CONTEXTS

names = st.sampled_from(["a", "b", "c", "d"])
addresses = st.sampled_from(["https://x.example/", "https://y.example/", "urn:z:"])
declarations = st.dictionaries(names, addresses, max_size=3)
entries = st.one_of(
    declarations, st.sampled_from([*sorted(PINNED_CONTEXTS), "https://other.example/context.jsonld"])
)
contexts = st.one_of(st.none(), entries, st.lists(entries, max_size=4))


def holds(*found: Namespaces) -> tuple[dict, list]:
    """What some namespaces say together, one after the other."""
    merged = namespaces(*(list(item.entries) for item in found))
    return merged.prefixes, [entry for entry in merged.entries if isinstance(entry, str)]


@given(contexts)
def test_what_an_event_keeps_means_what_was_read(context):
    found = namespaces(context)
    assert namespaces(found.value()) == found
    assert not any(entry in PINNED_CONTEXTS for entry in found.entries if isinstance(entry, str))


@given(st.lists(contexts, min_size=1, max_size=4))
def test_division_for_export_changes_no_events_namespaces(several):
    found = [namespaces(context) for context in several]
    common, rests = shared(found)
    assert len(rests) == len(found)
    for before, rest in zip(found, rests, strict=True):
        assert holds(common, rest) == holds(before)


def test_later_declarations_win():
    found = namespaces([GS1_CONTEXT, {"a": "urn:1:"}], {"a": "urn:2:"})
    assert found.meaning("a") == "urn:2:"
    assert found.entries == ({"a": "urn:2:"},)


def test_under_a_context_that_is_not_at_hand_no_prefix_is_known():
    found = namespaces([GS1_CONTEXT, "https://other.example/context.jsonld", {"a": "urn:1:"}])
    assert not found.knowable
    assert (found.meaning("a"), found.meaning("cbv")) == ("", "")
    assert namespaces([GS1_CONTEXT]).meaning("cbv") == "https://ref.gs1.org/cbv/"


def test_the_standard_context_alone_leaves_nothing_to_keep():
    for address in PINNED_CONTEXTS:
        assert namespaces(address).value() is None
    assert epcis_context.namespaces([GS1_CONTEXT, {}]).value() is None
