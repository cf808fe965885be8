"""A signing record cut at every byte, in its real file: whatever is left, the key never says the contrary of what it sent.

The three others do what they can to make it: once it is back they propose other blocks in the views it voted in, let
them time out, and give up those that it finalized.
"""

import itertools

import pytest

from consensus.effects import Persist, Send
from consensus.tally import conflict
from node.journal_file import JournalFile
from tests.consensus import chain
from tests.consensus.lone import NOTARIZE, NULLIFY, Lone

HEAD_BYTES = 24
VIEWS = 3


def votes_in(effects):
    messages = [effect.message for effect in effects if isinstance(effect, Send)]
    carried = [message.proposal.vote for message in messages if message.HasField("proposal")]
    return [*carried, *(message.vote for message in messages if message.HasField("vote"))]


def own(votes, index=0):
    return [vote for vote in votes if vote.signer == index]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The bytes of a record, and each vote with how long the record was when it was sent: both views it took part in,
    the second as far as a finalize, and the third that it leads."""
    path = tmp_path_factory.mktemp("record") / "record"
    lone, journal, sent = Lone(0, 4), JournalFile.create(path), []

    def happened():
        for effect in lone.all:
            if isinstance(effect, Persist):
                journal.append(effect.records)
            sent.extend((journal.bytes, vote) for vote in own(votes_in([effect])))
        lone.all.clear()

    first, second = lone.block(1), lone.block(2)
    lone.propose(1, first)
    lone.judge(first)
    happened()
    lone.wait(1_001)
    happened()
    for sender in (1, 2, 3):
        lone.vote(sender, NULLIFY, 1)
        happened()
    lone.propose(2, second, nullified=[1])
    lone.judge(second)
    happened()
    for sender in (1, 2):
        lone.vote(sender, NOTARIZE, 2, chain.hash_of(second))
        happened()
    lone.wait(3_000)
    happened()
    journal.close()
    return path.read_bytes(), sent


def said_after(records):
    """All that an engine with this record says while the others want the contrary of everything."""
    lone = Lone(0, 4, journal=records)
    for view in range(1, VIEWS + 1):
        other = lone.block(50 + view)
        if lone.leader(view) != 0:
            lone.propose(view, other, nullified=range(1, view))
            lone.judge(other)
        lone.wait(9_000)
        for sender in (1, 2, 3):
            lone.vote(sender, NULLIFY, view)
    return own(votes_in(lone.all))


def contrary(votes):
    pairs = itertools.combinations(votes, 2)
    return [pair for pair in pairs if pair[0].view == pair[1].view and conflict(*pair)]


def test_what_is_left_of_a_record_is_never_contradicted(recorded, tmp_path):
    data, sent = recorded
    assert {vote.kind for _, vote in sent} == {1, 2, 3}
    for cut in range(HEAD_BYTES, len(data) + 1):
        path = tmp_path / f"{cut}"
        path.write_bytes(data[:cut])
        journal = JournalFile.open(path)
        left = [vote for at, vote in sent if at <= cut]
        assert contrary([*left, *said_after(list(journal.records()))]) == [], cut
        journal.close()


def test_a_record_that_is_forgotten_would_be(recorded):
    """Or the test above proves nothing."""
    _, sent = recorded
    assert contrary([vote for _, vote in sent] + said_after([]))
