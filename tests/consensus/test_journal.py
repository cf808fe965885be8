import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus import journal
from ledger.errors import InvariantBroken
from proto.chiptrace.v1.consensus_pb2 import JournalRecord, Proposal
from tests.consensus import chain
from tests.consensus.lone import NULLIFY, Lone

RECORDS = st.lists(
    st.one_of(
        st.builds(lambda view: journal.of_vote(chain.vote(NULLIFY, 0, 1, view)), st.integers(1, 5)),
        st.builds(
            lambda view: journal.of_certificate(chain.certificate(NULLIFY, range(3), 4, 1, view)),
            st.integers(1, 5),
        ),
        st.builds(lambda view: journal.of_proposal(Proposal(height=1, view=view)), st.integers(1, 5)),
    ),
    max_size=6,
)


@given(st.lists(RECORDS, min_size=1, max_size=4), st.integers(0, 2))
def test_replay_gives_the_records_of_the_open_height_in_order(by_height, idle):
    """Heights 1, 2, ... each with its records; `idle` heights passed without any."""
    written = []
    for height, records in enumerate(by_height, start=1):
        written += [journal.of_height(height), *records]
    last = len(by_height)
    read = journal.replay(written, last)
    assert read.begun
    assert [journal.of_vote(v) for v in read.votes] == [r for r in by_height[-1] if r.HasField("vote")]
    assert [journal.of_certificate(c) for c in read.certificates] == [
        r for r in by_height[-1] if r.HasField("certificate")
    ]
    assert [journal.of_proposal(p) for p in read.proposals] == [
        r for r in by_height[-1] if r.HasField("proposal")
    ]
    beyond = journal.replay(written, last + 1 + idle)
    assert beyond == journal.Replay(False, (), (), ())


@given(st.lists(RECORDS, min_size=2, max_size=4))
def test_a_store_that_lost_a_height_stops_the_node(by_height):
    written = [
        r for height, records in enumerate(by_height, 1) for r in (journal.of_height(height), *records)
    ]
    with pytest.raises(InvariantBroken):
        journal.replay(written, len(by_height) - 1)


def test_an_empty_journal_is_a_height_not_begun():
    assert journal.replay([], 7) == journal.Replay(False, (), (), ())
    assert not journal.replay([JournalRecord()], 1).begun


def test_a_height_costs_no_write_until_something_is_voted():
    node = Lone(0)
    block = node.block()
    node.propose(1, block)
    assert node.journal == []
    node.judge(block)
    assert [r.WhichOneof("kind") for r in node.journal] == ["height", "proposal", "vote"]


def test_a_journal_of_another_key_stops_the_node():
    node = Lone(0)
    node.work()
    node.wait(1_000)
    with pytest.raises(InvariantBroken):
        Lone(1, journal=node.journal)
    with pytest.raises(InvariantBroken):
        Lone(0, journal=node.journal, own=False)


def test_a_store_without_its_finalization_does_not_open():
    from consensus.engine import Engine
    from tests.consensus.lone import SETTINGS

    with pytest.raises(InvariantBroken):
        Engine(
            chain.CHAIN_ID,
            None,
            None,
            chain.verify,
            SETTINGS,
            5,
            bytes(32),
            None,
            chain.validators(4),
            0,
            [],
            0,
        )
