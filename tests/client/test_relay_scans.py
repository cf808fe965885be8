"""When all that is open is read anew: what a node kept back waits for that, so nothing may put it off for long."""

import contextlib

import pytest

from client.relay_end import NotReady
from client.relay_route import SCAN_REST_MS_MAX, SCAN_TIMES
from ledger.errors import ChiptraceError
from tests.bridge.two_chains import World
from tests.client.hostile_nodes import one_lies
from tests.client.relaying import NODES, Line, RelayStub, route_over

CLEAR_MS = 30_000
STEP_MS = 10_000
HOUR = 3_600_000 // STEP_MS


def rounds(route, world, count):
    """So many; for how long at most the next scan of the first chain was put off after one of them."""
    longest = 0
    for _ in range(count):
        world.settle()
        with contextlib.suppress(ChiptraceError):
            route.round()
        longest = max(longest, route._scans[id(route.first)].due_ms - world.clock.now_ms)
        world.clock.now_ms += STEP_MS
    return longest


@pytest.mark.parametrize("liar", NODES)
def test_a_node_that_ends_a_scan_late_puts_off_the_next_no_longer_than_another(liar):
    world = World()

    class EndsLate(RelayStub):
        lies = True

        def GetPackets(self, request):
            reply = super().GetPackets(request)
            if self.lies and not request.received:
                reply.items.add()
            return reply

    bad = one_lies(EndsLate, liar)
    route = route_over(world, lambda chain: bad(chain) if chain.name == "a" else Line(chain))
    rounds(route, world, HOUR)
    EndsLate.lies = False
    assert 0 < rounds(route, world, 20) <= CLEAR_MS


def test_a_chain_that_was_away_is_scanned_as_often_as_any():
    world = World()
    route = route_over(world)
    look = route.first.look

    def away():
        raise NotReady("no node answers")

    route.first.look = away
    rounds(route, world, HOUR)
    route.first.look = look
    assert 0 < rounds(route, world, 20) <= CLEAR_MS


@pytest.mark.parametrize(
    ("page_ms", "rest_ms"),
    [(7_000, SCAN_TIMES * 7_000), (SCAN_REST_MS_MAX // SCAN_TIMES + 1, SCAN_REST_MS_MAX)],
)
def test_a_scan_is_not_repeated_before_so_many_times_as_long_as_it_took_and_never_later_than_so(
    page_ms, rest_ms
):
    world = World()

    class Slow(RelayStub):
        def GetPackets(self, request):
            world.clock.now_ms += page_ms
            return super().GetPackets(request)

    class SlowLine(Line):
        def __init__(self, chain):
            super().__init__(chain)
            self.stub = Slow(chain)

    route = route_over(world, lambda chain: SlowLine(chain) if chain.name == "a" else Line(chain))
    for _ in range(3):  # each for itself
        world.settle()
        route._choose(route.first)
        route.first.look()
        route._find(route.first)
        assert route._scans[id(route.first)].due_ms == world.clock.now_ms + rest_ms
        world.clock.now_ms += rest_ms
