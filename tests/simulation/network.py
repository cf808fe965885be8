"""Links between replicas: delay, loss, duplication, reordering, clogging and partitions of any shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.simulation.world import World

Receive = Callable[[int, bytes], None]
Passes = Callable[[int, int, bytes], bool]


@dataclass(frozen=True)
class Conditions:
    """What happens on every link. Delays are a floor plus an exponential tail, so messages overtake each other
    unless `in_order`."""

    delay_min_ms: int = 1
    delay_mean_ms: int = 8
    loss: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0  # one bit is flipped
    in_order: bool = False


CALM = Conditions()


class Network:
    """Carries encoded messages from one replica to another, names the true sender, and cuts what is cut."""

    def __init__(self, world: World, size: int, conditions: Conditions) -> None:
        self.world = world
        self.size = size
        self.conditions = conditions
        self.cut: set[tuple[int, int]] = set()  # ordered pairs: nothing passes
        self.lossy: set[int] = set()  # whose links lose half of everything, for ever
        self.clogged_until: dict[tuple[int, int], int] = {}  # nothing passes before this time, then all does
        self.passes: Passes | None = (
            None  # (sender, receiver, message): for scenarios told message by message
        )
        self.receivers: dict[int, list[Receive]] = {}
        self._last: dict[tuple[int, int], int] = {}

    def attach(self, index: int, receive: Receive) -> None:
        """Several may answer under one name (a validator whose key runs twice)."""
        self.receivers.setdefault(index, []).append(receive)

    def send(self, sender: int, receiver: int, data: bytes) -> None:
        if sender == receiver or (sender, receiver) in self.cut or self.world.chance(self.conditions.loss):
            return
        if self.lossy and (sender in self.lossy or receiver in self.lossy) and self.world.chance(0.5):
            return
        if self.passes is not None and not self.passes(sender, receiver, data):
            return
        self._carry(sender, receiver, data)
        if self.world.chance(self.conditions.duplicate):
            self._carry(sender, receiver, data)

    def _carry(self, sender: int, receiver: int, data: bytes) -> None:
        now, link = self.world.now_ms, (sender, receiver)
        tail = self.world.random.expovariate(1 / max(1, self.conditions.delay_mean_ms))
        arrival = max(now, self.clogged_until.get(link, 0)) + self.conditions.delay_min_ms + int(tail)
        if self.conditions.in_order:
            arrival = max(arrival, self._last.get(link, 0))
            self._last[link] = arrival
        if self.world.chance(self.conditions.corrupt):
            changed = bytearray(data)
            changed[self.world.random.randrange(len(data))] ^= 1 << self.world.random.randrange(8)
            data = bytes(changed)
        self.world.schedule(arrival - now, lambda: self._arrive(sender, receiver, data))

    def _arrive(self, sender: int, receiver: int, data: bytes) -> None:
        for receive in self.receivers.get(receiver, ()):
            receive(sender, data)

    # ---- faults ---------------------------------------------------------------------------------

    def part(self, groups: list[list[int]], *, one_way: bool) -> None:
        """Only members of one group hear each other; one-way: the first group still hears all the others."""
        home = {index: number for number, group in enumerate(groups) for index in group}
        self.cut = {
            (sender, receiver)
            for sender in range(self.size)
            for receiver in range(self.size)
            if home[sender] != home[receiver] and not (one_way and home[receiver] == 0)
        }
        self.world.note(-1, f"partition {groups}{' one way' if one_way else ''}")

    def clog(self, sender: int, receiver: int, duration_ms: int) -> None:
        self.clogged_until[sender, receiver] = self.world.now_ms + duration_ms
        self.world.note(-1, f"clog {sender}->{receiver} for {duration_ms}")

    def reunite(self) -> None:
        self.cut = set()
        self.world.note(-1, "reunite")

    def heal(self, conditions: Conditions, broken: dict[int, str]) -> None:
        """No more faults but of those that stay broken: cut off, deaf, mute or lossy. What is under way still
        arrives when it was going to."""
        self.clogged_until, self.passes, self.conditions = {}, None, conditions
        self.lossy = {index for index, how in broken.items() if how == "lossy"}
        self.cut = {
            (sender, receiver)
            for sender in range(self.size)
            for receiver in range(self.size)
            if broken.get(sender) in {"cut off", "mute"} or broken.get(receiver) in {"cut off", "deaf"}
        }
        self.world.note(-1, "heal")
