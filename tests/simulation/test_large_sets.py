"""Sets up to the largest: grown, shrunk, swapped there and back, and rid of members that are down for good."""

import dataclasses

import pytest

from consensus import certificate
from consensus.messages import check_shape
from consensus.proposals import make
from ledger.limits import BLOCK_BYTES_MAX, PEER_MESSAGE_BYTES_MAX, VALIDATORS_MAX
from proto.chiptrace.v1.consensus_pb2 import FINALIZE, NOTARIZE, NULLIFY, PeerMessage, Vote
from tests.simulation.application import transaction
from tests.simulation.network import CALM
from tests.simulation.run import Run
from tests.simulation.scenario import Scenario

FOUR = (0, 1, 2, 3)
ALL = tuple(range(VALIDATORS_MAX))
SKIPPED = 64
SWAP_MS = 400


def run_of(seed: int, size: int, *sets: tuple[int, ...], **changes) -> Run:
    """A quiet run with these sets, one after the other at set times, unless more is changed."""
    first, *later = sets

    def bend(drawn: Scenario) -> Scenario:
        names = {field.name for field in dataclasses.fields(drawn)}
        calm = {
            "size": size,
            "sets": (first,),
            "dishonest": (),
            "broken": (),
            "lost": (),
            "conditions": CALM,
            "afterwards": CALM,
            "announced": True,
            "partitions": "none",
            "clogs": 0,
            "crashes": 0,
            "crash_all": False,
            "pauses": 0,
            "clock_jumps": 0,
            "stores_set_back": 0.0,
            "build_fails": 0.0,
            "skews": (0,) * size,
            "work": "busy",
            "faults_ms": SWAP_MS * len(sets),
            "heights_max": 10_000,
        }
        kept = {name: value for name, value in (calm | changes).items() if name in names}
        return dataclasses.replace(drawn, **kept)

    run = Run(seed, bend=bend)
    for number, members in enumerate(later, start=1):
        data = transaction(10**7 + number, members)
        run.world.schedule(SWAP_MS * number, lambda data=data: run.give(data))
    return run


def held(run: Run) -> list[tuple[int, ...]]:
    """Plays it; the sets that were in force one after the other, each once where nothing changed."""
    report = run.go()
    assert not report.violation, report.violation
    found: list[tuple[int, ...]] = []
    for height in range(1, run.oracle.truth.height + 1):
        members = tuple(sorted(run.oracle.members(height)))
        if found[-1:] != [members]:
            found.append(members)
    return found


@pytest.mark.parametrize("seed", range(2))
def test_from_four_to_the_most_and_back(seed):
    run = run_of(seed, VALIDATORS_MAX, FOUR, ALL, FOUR)
    assert held(run) == [FOUR, ALL, FOUR]


@pytest.mark.parametrize("seed", range(6))
def test_there_and_back_again(seed):
    """S -> S' -> S -> S', whole sets that have nobody in common."""
    others = (4, 5, 6, 7)
    run = run_of(seed, 8, FOUR, others, FOUR, others)
    assert held(run) == [FOUR, others, FOUR, others]


@pytest.mark.parametrize("seed", range(3))
def test_by_one_up_and_by_one_down(seed):
    sets = [tuple(range(size)) for size in (4, 5, 6, 7, 6, 5, 4)]
    assert held(run_of(seed, 7, *sets)) == sets


@pytest.mark.parametrize("seed", range(6))
def test_who_is_down_is_removed_and_the_others_have_their_own_quorum(seed):
    """Of seven two are dead; once they are removed the five that are left may miss one more."""
    down = ((5, "down"), (6, "down"))
    run = run_of(seed, 7, tuple(range(7)), tuple(range(5)), broken=down)
    assert held(run) == [tuple(range(7)), tuple(range(5))]


def test_the_most_validators_with_a_third_less_one_silent():
    silent = tuple((index, "silent") for index in range(10))
    run = run_of(1, VALIDATORS_MAX, ALL, dishonest=silent, faults_ms=500, heights_max=3)
    assert held(run) == [ALL]


# ---- what so many cost


def full(kind, view):
    """A certificate by as many as sign at most: all of the largest set."""
    block_hash = b"" if kind == NULLIFY else b"h" * 32
    return certificate.form(kind, 2**40, view, block_hash, dict.fromkeys(ALL, b"s" * 64), VALIDATORS_MAX)


class Certificates:
    """What the leader of a view holds when every view before it was nullified, or all but the first."""

    def __init__(self, notarized: int) -> None:
        self._notarized = notarized

    def notarization(self, view):
        return full(NOTARIZE, view) if view else None

    def nullifications(self, after, before):
        return [full(NULLIFY, view) for view in range(after + 1, before)]


@pytest.mark.parametrize("from_view", [0, 1])
def test_the_largest_proposal_fits_a_message(from_view):
    """A block of the greatest size, 64 skipped views, every certificate signed by all of the largest set."""
    view = from_view + SKIPPED + 1
    vote = Vote(kind=NOTARIZE, height=2**40, view=view, block_hash=b"h" * 32, signer=30, signature=b"s" * 64)
    parent = full(FINALIZE, 3)
    parent.height -= 1
    proposal = make(vote, from_view, bytes(BLOCK_BYTES_MAX), Certificates(from_view), parent)
    message = PeerMessage(proposal=proposal)
    check_shape(message)
    assert len(proposal.nullifications) == SKIPPED
    assert BLOCK_BYTES_MAX < message.ByteSize() < BLOCK_BYTES_MAX + 200_000 < PEER_MESSAGE_BYTES_MAX


def checks_per_height(size: int) -> float:
    """Signatures that one replica verifies for a height, on a quiet network."""
    run = run_of(1, size, tuple(range(size)), faults_ms=400, heights_max=4)
    keys = run.honest[0].setting.keys
    verify, counted = keys.verify, [0]

    def counting(*arguments):
        counted[0] += 1
        return verify(*arguments)

    keys.verify = counting
    report = run.go()
    assert not report.violation, report.violation
    return counted[0] / size / run.oracle.truth.height


def test_what_a_height_costs_a_validator_grows_with_the_set_and_not_with_its_square():
    few, many = checks_per_height(7), checks_per_height(VALIDATORS_MAX)
    assert few > 7
    # Its share of two rounds of votes and of the certificates that are passed on, with room for half as much again.
    assert many / few < 1.5 * VALIDATORS_MAX / 7
