"""Bridged chains on which EPCIS events are written down as dicts, and the reach of a thing on them is asked for."""

from client.reach import Reach
from client.reach_paths import ALL_TIME
from proto.chiptrace.v1.ledger_pb2 import Reason
from tests.bridge.two_chains import World
from tests.client.direct import verified
from tests.ledger.rules_world import World as Rules


class Factory:
    """A world of chains; `a` is the home of the prefix, its members ada, abe, amy, ann; b's are bob, ben, bea, bel."""

    def __init__(self, *names: str):
        self.world = World(*(names or ("a",)))
        self._rules = Rules()

    def event(self, member: str, *events: dict, on: str = "a"):
        """Records events, each in a transaction of its own; all must succeed. Returns the last operation."""
        chain = self.world[on]
        for told in events:
            self._rules.time_ms = chain.info.time_ms
            operation = self._rules.capture(told)
            result = chain.operate(member, operation)
            assert result.ok, f"{Reason.Name(result.reason)}: {told}"
        return operation

    def act(self, member: str, *operations, on: str = "a"):
        result = self.world[on].operate(member, *operations)
        assert result.ok, Reason.Name(result.reason)

    def refuses(self, member: str, told: dict, on: str = "a") -> str:
        """The reason for which an event is refused."""
        self._rules.time_ms = self.world[on].info.time_ms
        result = self.world[on].operate(member, self._rules.capture(told))
        assert not result.ok
        return Reason.Name(result.reason)

    def export(self, part: str, receiver: str, source: str = "a", to: str = "b", accept: bool = True):
        assert self.world.send(source, part, receiver, to=to).ok
        self.world.relay()
        if accept:
            assert self.world.accept(to, part, receiver).ok
            self.world.relay()

    @property
    def now_ms(self) -> int:
        return self.world["a"].info.time_ms

    def reach(self, name: str, on: str = "a", window=ALL_TIME, only: str = "", stubs=None, late_ms: int = 0):
        self.world.settle()
        views = {
            chain.chain_id: verified(chain, (stubs or {}).get(chain.name), late_ms=late_ms)
            for chain in self.world.chains.values()
            if not only or chain.name in only
        }
        return Reach(views).run(name, self.world[on].chain_id, lambda: 0, window)


def things(report) -> dict[tuple[str, str], str]:
    """(chain, id): what became of it, where and with whom, in one word each."""
    return {
        (thing.chain, thing.id): " ".join(
            word
            for word in (
                thing.status,
                thing.holder if thing.is_here else "",
                "holds" if thing.holds_only else "",
                "" if thing.certain or thing.holds_only else "CANDIDATE",
            )
            if word
        )
        for thing in report.reached
    }
