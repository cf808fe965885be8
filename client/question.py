"""One question over the chains of a trust file: what it may cost, when it is asked anew, and what was checked for it."""

import gc
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from client.connection import NodeRefused
from client.verified import Budget, Overtaken, VerifiedChain
from ledger.errors import InvariantBroken
from proto.chiptrace.v1.ledger_pb2 import Reason

ATTEMPTS_MAX = 3
QUESTION_MS_MAX = 900_000
CALLS_MAX = 200_000  # per chain
BYTES_MAX = 1_073_741_824  # per chain
OBJECTS_BETWEEN = 1_000_000
A = TypeVar("A")


def collect_seldom() -> None:
    """For a process that answers one question and ends: what it reads is kept until the answer, in no circles, and looking
    through all of it for some after every 700 objects takes 10 to 20 % of an audit of a thousand parts."""
    gc.set_threshold(OBJECTS_BETWEEN)


def give_budget(chains: Iterable[VerifiedChain]) -> None:
    """Bound what nodes can make one question cost."""
    for chain in chains:
        chain.budget = Budget(chain.now_ms() + QUESTION_MS_MAX, CALLS_MAX, BYTES_MAX)


def attempt(chains: Mapping[bytes, VerifiedChain], begin: Callable[[], None], walk: Callable[[], A]) -> A:
    """The answer of a walk; begun anew, at newer heights, where the pinned ones were overtaken or are not served any more."""
    for number in range(ATTEMPTS_MAX):
        try:
            return walk()
        except (Overtaken, NodeRefused) as error:
            again = isinstance(error, Overtaken) or error.reason == Reason.HEIGHT_NOT_SERVED
            if not again or number == ATTEMPTS_MAX - 1:
                raise
        for chain in chains.values():
            chain.repin()
        begin()
    raise InvariantBroken("a question ended without an answer")


def checked(chains: Iterable[VerifiedChain]) -> dict[str, int]:
    """What was checked of all chains together, counted; and the bytes that came."""
    asked = list(chains)
    tallies = [vars(chain.tally) for chain in asked]
    found = {name: sum(tally[name] for tally in tallies) for name in tallies[0]} if tallies else {}
    return {**found, "bytes": sum(chain.connection.bytes_received for chain in asked)}
