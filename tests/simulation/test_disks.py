"""What a crash leaves on a disk, and what comes of a disk that is gone."""

import random
from dataclasses import replace

import pytest

from proto.chiptrace.v1.consensus_pb2 import FINALIZE, NOTARIZE, JournalRecord, Vote
from tests.simulation.disk import HEAD, Damaged, Disk
from tests.simulation.run import Run, calm

SEEDS = range(4)


def vote(view, kind=NOTARIZE):
    return JournalRecord(
        vote=Vote(kind=kind, height=3, view=view, block_hash=bytes(32), signer=1, signature=bytes(64))
    )


def test_a_torn_append_leaves_all_of_it_or_nothing_and_takes_nothing_with_it():
    outcomes = set()
    for seed in range(300):
        disk, draw = Disk(), random.Random(seed)
        disk.persist([JournalRecord(height=3), vote(1)])
        disk.tear([vote(2), vote(2, FINALIZE)], draw)
        found = len(disk.replay())
        assert found in {2, 4}
        assert len(disk.ever.votes) == found - 1  # the oracle knows exactly of what is there
        disk.persist([vote(3)])
        assert len(disk.replay()) == found + 1
        outcomes.add((found, disk.torn))
    assert outcomes == {(2, 0), (2, 1), (4, 0)}


def test_damage_within_is_no_torn_end():
    disk = Disk()
    disk.persist([JournalRecord(height=3), vote(1)])
    disk.persist([vote(2)])
    place = len(HEAD) + 30
    disk.written = disk.written[:place] + bytes([disk.written[place] ^ 1]) + disk.written[place + 1 :]
    with pytest.raises(Damaged):
        disk.replay()


def test_a_record_begun_anew_still_says_how_far_it_voted():
    disk = Disk()
    disk.persist([JournalRecord(height=3), vote(1)])
    disk.rotate()
    assert [record.height for record in disk.replay()] == [1]
    assert disk.height == 3


def lose(seed, what, **change):
    def bend(scenario):
        quiet = replace(calm(scenario), size=4, sets=((0, 1, 2, 3),), skews=(0,) * 4, work="busy", given=4)
        return replace(quiet, **{"lost": ((2, what),), "faults_ms": 2_500, "heights_max": 30, **change})

    run = Run(seed, bend=bend)
    report = run.go()
    assert not report.violation, (what, report.violation)
    return run


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("what", ["all", "record"])
def test_who_lost_its_key_comes_back_as_an_observer_and_joins_with_another(seed, what):
    run = lose(seed, what)
    replica = run.honest[2]
    assert replica.key == 4 + 2
    assert set(run.oracle.truth.newest_members()) == {0, 1, 3, 6}
    assert run.oracle.acknowledged


@pytest.mark.parametrize("seed", SEEDS)
def test_who_lost_its_record_alone_follows_and_never_votes_again(seed):
    run = lose(seed, "record for good", faults_ms=4_000)
    replica = run.honest[2]
    assert not replica.voting
    assert replica.height >= run.oracle.truth.height - 1
    # Nothing that its key signed is of a height above the one at which it was lost: the others have gone on since.
    assert max(height for _, height, _, _ in run.oracle.voted[2]) < run.oracle.truth.height - 2


@pytest.mark.parametrize("seed", SEEDS)
def test_a_store_that_is_gone_is_fetched_again_before_the_key_votes(seed):
    """The signing record is there: until the store has caught up with it the node follows."""
    run = lose(seed, "all", lost=(), crashes=8, stores_set_back=1.0, downtime_ms=200)
    assert all(replica.voting for replica in run.honest.values())
