"""Situations that others' engines were caught by, each on a few seeds. The names are those of the trade."""

from dataclasses import replace

import pytest

from proto.chiptrace.v1.consensus_pb2 import PeerMessage
from tests.simulation.network import Conditions
from tests.simulation.oracle import FINALIZE, NOTARIZE, NULLIFY
from tests.simulation.run import Run, calm

SEEDS = range(4)
LOST = Conditions(loss=1.0)


def play(seed, size=4, dishonest=(), prepare=lambda run: None, **change):
    """A run on a quiet network but for what is changed; returns it with its report."""

    def bend(scenario):
        return replace(
            calm(scenario),
            **{
                "size": size,
                "sets": (tuple(range(size)),),
                "dishonest": tuple((index, name) for index, name in enumerate(dishonest) if name),
                "skews": (0,) * size,
                "work": "bursts",
                "heartbeat_ms": 500,
                "faults_ms": 1_500,
                **change,
            },
        )

    run = Run(seed, bend=bend)
    prepare(run)
    report = run.go()
    assert not report.violation, report.violation
    return run, report


def votes_of(data):
    """(kind, view) of what a message makes known: a vote, or a certificate of that kind."""
    message = PeerMessage.FromString(data)
    kind = message.WhichOneof("kind")
    if kind == "vote":
        return message.vote.kind, message.vote.view
    if kind == "certificate":
        return message.certificate.kind, message.certificate.view
    return (FINALIZE, 0) if kind == "tip" and message.tip.HasField("finalization") else (0, 0)


@pytest.mark.parametrize("seed", SEEDS)
def test_idle_chain_with_a_dead_leader(seed):
    """No transaction ever comes; the clock is started by votes and heartbeats alone."""
    _, report = play(seed, dishonest=["silent"], work="idle")
    assert report.healing_ms < 4_000


@pytest.mark.parametrize("seed", SEEDS)
def test_all_messages_are_lost_for_long(seed):
    """Timeouts have grown; the way back is short all the same."""
    _, report = play(seed, conditions=LOST, faults_ms=20_000)
    assert report.healing_ms < 3_000


@pytest.mark.parametrize("seed", SEEDS)
def test_all_crash_after_nullifying(seed):
    """Nobody heard anyone's nullify, and all restart: own votes must count again."""
    _, report = play(seed, conditions=LOST, crash_all=True, faults_ms=600, work="busy")
    assert report.crashes == 4


@pytest.mark.parametrize("seed", SEEDS)
def test_a_long_partition_of_seven(seed):
    _, report = play(seed, size=7, partitions="halves", partition_every_ms=10**7, faults_ms=15_000)
    assert report.healing_ms < 3_000


@pytest.mark.parametrize("seed", SEEDS)
def test_slow_and_lossy_links(seed):
    play(seed, size=5, conditions=Conditions(delay_min_ms=50, delay_mean_ms=150, loss=0.5), faults_ms=5_000)


@pytest.mark.parametrize("seed", SEEDS)
def test_hailstorm(seed):
    """Crash upon crash, everyone in turn."""
    _, report = play(seed, size=5, crashes=40, downtime_ms=100, work="busy", heights_max=200, faults_ms=2_000)
    assert report.crashes > 10


@pytest.mark.parametrize("seed", SEEDS)
def test_links_slower_than_the_patience_for_blocks(seed):
    """A node is behind, and an answer takes longer than block_request_ms."""

    def isolate(run):
        run.network.cut = {pair for other in range(3) for pair in ((3, other), (other, 3))}
        run.scenario = replace(run.scenario, afterwards=Conditions(delay_min_ms=60, delay_mean_ms=1))

    _, report = play(seed, prepare=isolate, work="busy", heights_max=8)
    assert report.healing_ms < 12_000


@pytest.mark.parametrize("seed", SEEDS)
def test_one_node_alone_has_finalized(seed):
    """Finalize votes reach node 0 only and no finalization leaves it; then nothing more is to be done."""

    def only_to_first(sender, receiver, data):
        return votes_of(data)[0] != FINALIZE or receiver == 0

    def prepare(run):
        run.network.passes = only_to_first

    play(seed, prepare=prepare, work="idle", heights_max=1, faults_ms=400)


@pytest.mark.parametrize("seed", SEEDS)
def test_split_views(seed):
    """Odd views are notarized for two and nullified for the others, even ones the other way round."""

    def split(sender, receiver, data):
        kind, view = votes_of(data)
        if kind in {NOTARIZE, NULLIFY}:
            return (kind == NOTARIZE) == ((view + receiver) % 2 == 0)
        return kind != FINALIZE

    def prepare(run):
        run.network.passes = split

    play(seed, prepare=prepare, work="busy", faults_ms=3_000)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_whole_set_is_replaced(seed):
    """Four validators hand over to four others; the first go on following."""
    run, _ = play(seed, size=8, sets=((0, 1, 2, 3), (4, 5, 6, 7)), heights_max=99, faults_ms=900)
    assert run.oracle.members(run.oracle.truth.height) == [4, 5, 6, 7]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["equivocator", "nuller", "conflicter", "flooder"])
def test_who_signs_what_convicts_is_named(name, seed):
    """And nobody else is (the oracle sees to that)."""
    _, report = play(seed, dishonest=[name], work="busy", faults_ms=4_000, heights_max=16)
    assert report.accused == 1


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["silent", "impersonator", "withholder", "garbler", "swapper", "braggart"])
def test_who_signs_nothing_that_convicts_is_not(name, seed):
    _, report = play(seed, dishonest=[name], work="busy", faults_ms=3_000)
    assert report.accused == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_boasting_makes_nobody_look_behind(seed):
    seen = []

    def watch(run):
        for at in range(500, 1_500, 50):
            run.world.schedule(
                at, lambda: seen.extend(each.engine.behind for each in run.honest.values() if each.engine)
            )

    play(seed, dishonest=["braggart"], prepare=watch, work="busy", heights_max=50)
    assert seen
    assert max(seen) <= 2


def test_a_forged_notarization_of_a_block_that_is_missing():
    """The leader of view 2 proposes view 1's block again, without its body and with a spoiled notarization, to
    one who holds the genuine notarization but not the body."""

    def hide(sender, receiver, data):
        message = PeerMessage.FromString(data)
        hidden = message.WhichOneof("kind") == "proposal" and message.proposal.view == 1 and receiver == 0
        return not hidden and votes_of(data)[0] != FINALIZE

    def prepare(run):
        run.network.passes = hide

    for seed in range(25):
        play(seed, dishonest=["", "", "", "forger"], prepare=prepare, work="busy", faults_ms=800)
