"""Sets up to the largest: grown, shrunk, swapped there and back, and rid of members that are down for good."""

import dataclasses
import time

import pytest

from consensus import certificate
from consensus.messages import check_shape
from consensus.proposals import make
from consensus.quorum import quorum
from ledger.limits import BLOCK_BYTES_MAX, PEER_MESSAGE_BYTES_MAX, VALIDATORS_MAX
from proto.chiptrace.v1.consensus_pb2 import FINALIZE, NOTARIZE, NULLIFY, PeerMessage, Vote
from tests.simulation.network import CALM
from tests.simulation.run import Run
from tests.simulation.scenario import Scenario

FOUR = (0, 1, 2, 3)
ALL = tuple(range(VALIDATORS_MAX))
SKIPPED = 64


def run_of(seed: int, size: int, *sets: tuple[int, ...], **changes) -> Run:
    """A quiet run with these sets, one after the other, unless more is changed."""

    def bend(drawn: Scenario) -> Scenario:
        names = {field.name for field in dataclasses.fields(drawn)}
        calm = {
            "size": size,
            "sets": sets,
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
            "faults_ms": 1_500,
            "heights_max": 40,
        }
        kept = {name: value for name, value in (calm | changes).items() if name in names}
        return dataclasses.replace(drawn, **kept)

    return Run(seed, bend=bend)


def held(run: Run) -> list[int]:
    """Plays it; the members of the last set, in the order of the oracle."""
    report = run.go()
    assert not report.violation, report.violation
    return sorted(run.oracle.members(run.oracle.truth.height))


@pytest.mark.parametrize("seed", range(4))
def test_from_four_to_the_most_and_back(seed):
    run = run_of(seed, VALIDATORS_MAX, FOUR, ALL, FOUR, faults_ms=900)
    assert tuple(held(run)) in (FOUR, ALL)


@pytest.mark.parametrize("seed", range(6))
def test_there_and_back_again(seed):
    """S -> S' -> S, in whatever order they come to be decided."""
    run = run_of(seed, 8, FOUR, (4, 5, 6, 7), FOUR)
    assert tuple(held(run)) in (FOUR, (4, 5, 6, 7))


@pytest.mark.parametrize("seed", range(6))
def test_who_is_down_is_removed_and_the_others_have_their_own_quorum(seed):
    """Of seven two are dead; once they are removed the five that are left may miss one more."""
    down = ((5, "down"), (6, "down"))
    run = run_of(seed, 7, tuple(range(7)), tuple(range(5)), broken=down)
    assert held(run) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("seed", range(2))
def test_the_most_validators_with_a_third_less_one_silent(seed):
    silent = tuple((index, "silent") for index in range(10))
    run = run_of(seed, VALIDATORS_MAX, ALL, dishonest=silent, faults_ms=500, heights_max=3)
    assert held(run) == list(ALL)


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
    run = run_of(1, size, tuple(range(size)), faults_ms=800, heights_max=8, work="busy")
    counted = [0]
    for replica in run.honest.values():
        verify = replica.setting.keys.verify
        break

    def counting(*arguments):
        counted[0] += 1
        return verify(*arguments)

    run.honest[0].setting.keys.verify = counting
    report = run.go()
    assert not report.violation
    return counted[0] / size / run.oracle.truth.height


def test_what_a_height_costs_one_validator_grows_with_the_set_and_not_with_its_square():
    began = time.monotonic()
    few, many = checks_per_height(7), checks_per_height(VALIDATORS_MAX)
    assert many / few < 2 * VALIDATORS_MAX / 7
    assert time.monotonic() - began < 60
    assert quorum(VALIDATORS_MAX) == 21
