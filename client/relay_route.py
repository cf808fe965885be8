"""A route: two chains, the pair of clients between them, and one round of carrying (bridge/relayer_plan.py plans it).

A round asks both chains where they stand, plans, and brings to both at once; the steps are numbered in `round`. What was
refused is left alone for a while, longer each time, with a jitter, so that several relayers do not keep step; what can
never be taken is not tried again at all. Nothing of it needs to be kept: another relayer, or this one anew, goes on from
what the chains say.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from bridge import relayer_plan
from bridge.packet import answered_key, received_key, sent_key
from bridge.relayer_outbox import Lane
from bridge.relayer_plan import Acknowledge, Action, PacketAction, TimeOut, Update
from client.relay_end import NotReady, RelayEnd
from ledger import limits
from ledger.errors import ChiptraceError, Invalid
from ledger.overlay import TOO_MUCH
from proto.chiptrace.v1.ledger_pb2 import Reason, Result

REFUSED_MS_MIN: Final = 2_000
REFUSED_MS_MAX: Final = 600_000
REFUSALS_KEPT_MAX: Final = 20_000
SCAN_PAGES: Final = 4  # of the clearing lane, in one round
PAGES_MAX: Final = 80  # of new packets, and of answers, in one round: as many as an outbox holds
SCAN_TIMES: Final = 10  # a scan is not repeated before so many times as long as it took,
SCAN_REST_MS_MAX: Final = (
    600_000  # or so long, whatever it took: what a node kept back waits for the next one
)
VOICES: Final = 2  # nodes that have to say so before an action is given up
# Of no packet that is refused for these does another try help: only another packet, another key or other rules would.
TERMINAL: Final = frozenset(
    {
        Reason.MALFORMED,
        Reason.OVERSIZE,
        Reason.WRONG_COUNTERPARTY,
        Reason.PORT_NOT_ALLOWED,
    }
)
# Of operations in one request; what is signed around them takes less than a quarter of as much.
REQUEST_BYTES_MAX: Final = limits.RPC_MESSAGE_BYTES_MAX // 2
QUIET_PAUSE_SECONDS: Final = 0.1
NEVER_MS: Final = limits.U64_MAX >> 1


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a chain said against an action, and until when it is not tried again."""

    tries: int
    until_ms: int
    reason: "Reason.ValueType"

    @property
    def terminal(self) -> bool:
        """Whether it is not tried again at all."""
        return self.until_ms == NEVER_MS


@dataclass(slots=True)
class Direction:
    """What is brought from one end to the other, and how that goes."""

    source: RelayEnd
    host: RelayEnd
    refusals: dict[bytes, Refusal] = field(
        default_factory=dict
    )  # by the chain that is `host`, by key of the action
    # Which of the host's nodes said that it can never take an action.
    given_up_by: dict[bytes, set[str]] = field(default_factory=dict)
    # What the host was said to have taken in the round before.
    said_taken: set[bytes | int] = field(default_factory=set)
    # How many actions go into one transaction: what each of them touches shows only when they are executed.
    together_max: int = limits.OPERATIONS_PER_TRANSACTION_MAX

    @property
    def name(self) -> str:
        """For people: from where to where."""
        return f"{self.source.trust.name}>{self.host.trust.name}"


# (direction, actions, result): told of every transaction that is final.
Told = Callable[[Direction, Sequence[Action], Result], None]


@dataclass(slots=True)
class _Scans:
    """When the outbox of an end is read anew from its low cursor, and by whom."""

    rounds_each: int  # one after another, before the next node is asked
    due_ms: int = 0
    turn: int = -1  # whose it is to answer, in rounds
    asked: str = ""  # the node of this round; empty: no scan is due
    spent_ms: int = 0  # on the scan that is due, whoever was asked


class Route:
    """Two ends, and the loop between them. Not for more than one thread at a time."""

    def __init__(
        self,
        first: RelayEnd,
        second: RelayEnd,
        *,
        packets_per_round: int = 1_000,
        clear_ms: int = 30_000,
        told: Told = lambda *_: None,
    ) -> None:
        self.first, self.second = first, second
        self.forth = Direction(first, second)
        self.back = Direction(second, first)
        self.stuck: tuple[str, ...] = ()
        self._packets_per_round = packets_per_round
        self._clear_ms = clear_ms
        self._told = told
        # Each node of one chain comes together with each of the other: two that lie shall not take turns.
        self._scans = {id(first): _Scans(1), id(second): _Scans(len(first.trust.endpoints))}
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="bring")

    @property
    def name(self) -> str:
        """For people: both chains."""
        return f"{self.first.trust.name}-{self.second.trust.name}"

    def round(self) -> int:
        """One round; how many actions were brought. Raises ChiptraceError when a chain does not answer, or a node lied."""
        first, second = self.first, self.second
        errors: list[BaseException] = []
        # (1) Where both stand. A node that is asked for a scan is asked for all else in that round, too: what two tell
        #     does not go together where one of them lies.
        for end in (first, second):
            self._choose(end)
        first_look, second_look = first.look(), second.look()
        # (2) What is new on either chain; and now and then all that is open, asked of another node. A list that does not
        #     hold is told at the end: what is known already is brought all the same.
        # (3) What each has answered to the other's packets.
        for find, ends in (
            (self._find, (first,)),
            (self._find, (second,)),
            (self._answers, (first, second)),
            (self._answers, (second, first)),
        ):
            try:
                find(*ends)
            except ChiptraceError as problem:
                errors.append(problem)
        # (4) The plan.
        plan = relayer_plan.plan(
            first.view(first_look, second.outbox),
            second.view(second_look, first.outbox),
            self._packets_per_round,
            self._skips(self.back),
            self._skips(self.forth),
            _clearing(second, first),
            _clearing(first, second),
        )
        self.stuck = plan.stuck
        # (5) Bring to both at once; one that cannot be reached holds up the other no longer than its deadline.
        jobs = [
            self._pool.submit(self._bring, self.back, plan.on_a),
            self._pool.submit(self._bring, self.forth, plan.on_b),
        ]
        errors += [error for job in jobs if (error := job.exception()) is not None]
        if errors:
            raise errors[0]
        return sum(job.result() for job in jobs)

    def close(self) -> None:
        """Close the lines."""
        self._pool.shutdown()
        self.first.close()
        self.second.close()

    # ---- finding ------------------------------------------------------------------------------------------

    def _choose(self, end: RelayEnd) -> None:
        """Which node is asked in this round: while a scan is due, each in turn, for what one keeps back another tells."""
        scans = self._scans[id(end)]
        if end.stale:
            end.turn()
        scans.asked = ""
        if end.now_ms() >= scans.due_ms:
            scans.turn += 1
            end.ask(scans.turn // scans.rounds_each)
            scans.asked = end.connection.endpoint

    def _find(self, end: RelayEnd) -> None:
        """What is new, first: what a scan finds is in the clearing lane."""
        outbox, scans = end.outbox, self._scans[id(end)]
        try:
            for _ in range(PAGES_MAX):
                items = [] if outbox.full else end.packets(outbox.next)
                outbox.see_new(items)
                if len(items) < limits.PACKETS_PER_REPLY_MAX:
                    break
            for _ in range(SCAN_PAGES if scans.asked else 0):
                began_ms = end.now_ms()
                items = end.packets(outbox.scan_from(scans.asked))
                scans.spent_ms += end.now_ms() - began_ms
                if end.connection.endpoint != scans.asked:
                    return  # it did not answer, and what another one tells is not its word
                if outbox.see_scanned(items, scans.asked):
                    # Not of the time since this node was asked first: one that ends no scan for a day would put off the
                    # next for ten, and a chain that was away likewise.
                    rest = min(SCAN_REST_MS_MAX, SCAN_TIMES * scans.spent_ms)
                    scans.due_ms, scans.spent_ms = end.now_ms() + max(self._clear_ms, rest), 0
                    return
        except Invalid as error:
            raise end.lied(error) from error

    @staticmethod
    def _answers(sender: RelayEnd, receiver: RelayEnd) -> None:
        pages = PAGES_MAX
        for first, last in list(sender.outbox.unanswered()):
            at = first
            while at <= last and pages:
                pages -= 1
                items = receiver.packets(at, received=True)
                try:
                    sender.outbox.see_answers(items, at, last)
                except Invalid as error:
                    raise receiver.lied(error) from error
                if not items:
                    break
                at = items[-1].packet.sequence + 1

    # ---- bringing -----------------------------------------------------------------------------------------

    def _skips(self, direction: Direction) -> frozenset[bytes]:
        now = direction.host.now_ms()
        return frozenset(key for key, refusal in direction.refusals.items() if refusal.until_ms > now)

    def _bring(self, direction: Direction, actions: Sequence[Action]) -> int:
        """The first group is final before the others leave, for they rest on its headers; those leave together, as many as
        one request carries. How many actions were brought, and were not said to be before."""
        host = direction.host
        built = list(direction.source.build(actions, host))
        operations = {id(item.action): item.operation for item in built}
        groups = relayer_plan.groups(
            [item.action for item in built],
            lambda action: operations[id(action)].ByteSize(),
            direction.together_max,
        )
        # Whoever said that it was taken lied, or lags.
        before, direction.said_taken = direction.said_taken, set()
        again = sum(_name(item.action) in before for item in built)
        if again:
            host.turn()
        requests = _requests(groups, lambda action: operations[id(action)].ByteSize())
        for number, batch in enumerate(requests):
            results = host.submit([[operations[id(action)] for action in group] for group in batch])
            for group, result in zip(batch, results, strict=True):
                self._told(direction, group, result)
                self._settle(direction, group, result)
            if number == 0 and not results[0].ok:
                break
        return len(built) - again

    def _settle(self, direction: Direction, group: Sequence[Action], result: Result) -> None:
        if not result.ok and result.reason in TOO_MUCH and result.operation > 0:
            # Those before it fitted: it is no fault of the one that did not, which goes by itself if need be.
            direction.together_max = min(result.operation, direction.together_max)
            return
        if not result.ok:
            refused = group[min(result.operation, len(group) - 1)]
            if isinstance(refused, Update) and result.reason == Reason.NOT_NEWER:
                return  # another relayer was faster; its header serves
            if isinstance(refused, Update):
                direction.host.turn()
                raise NotReady(
                    f"chain {direction.host.trust.name} refused headers of chain {direction.source.trust.name}",
                    result.reason,
                )
            self._refused(direction, refused, result.reason)
            return
        if len(group) == direction.together_max:
            direction.together_max = min(2 * direction.together_max, limits.OPERATIONS_PER_TRANSACTION_MAX)
        for action in group:
            direction.said_taken.add(_name(action))
            if isinstance(action, Update):
                continue
            direction.refusals.pop(action.key, None)
            direction.given_up_by.pop(action.key, None)
            if isinstance(action, Acknowledge | TimeOut):
                direction.host.outbox.close(action.packet.sequence)

    @staticmethod
    def _refused(direction: Direction, action: PacketAction, reason: "Reason.ValueType") -> None:
        known = direction.refusals.get(action.key)
        tries = known.tries + 1 if known else 1
        wait = min(REFUSED_MS_MAX, REFUSED_MS_MIN << min(tries - 1, 20))
        now = direction.host.now_ms()
        until = now + int(wait * random.uniform(0.75, 1.25))  # noqa: S311
        if reason in TERMINAL:
            # A result is a node's word: it is for good once another node, where there is one, says so too.
            nodes = direction.given_up_by.setdefault(action.key, set())
            nodes.add(direction.host.connection.endpoint)
            if len(nodes) >= min(VOICES, len(direction.host.trust.endpoints)):
                until = NEVER_MS
                del direction.given_up_by[action.key]
            direction.host.turn()
        if known is None and len(direction.refusals) >= REFUSALS_KEPT_MAX:
            forgotten = next(iter(direction.refusals))
            del direction.refusals[forgotten]
            direction.given_up_by.pop(forgotten, None)
        direction.refusals[action.key] = Refusal(tries, until, reason)
        sender = direction.host if isinstance(action, Acknowledge | TimeOut) else direction.source
        sender.outbox.set_back(action.packet.sequence)
        if reason == Reason.PACKET_MISMATCH:
            sender.outbox.check(action.packet.sequence, holds=False)


def _name(action: Action) -> bytes | int:
    """By which an action is known that is to be brought once more."""
    return action.from_height if isinstance(action, Update) else action.key


def _requests(
    groups: Sequence[Sequence[Action]], bytes_of: Callable[[Action], int]
) -> Iterator[Sequence[Sequence[Action]]]:
    """What is submitted at once: the first group by itself, then as many as a request has room for."""
    yield from ([group] for group in groups[:1])
    request: list[Sequence[Action]] = []
    size = 0
    for group in groups[1:]:
        more = sum(map(bytes_of, group))
        full = len(request) == limits.SUBMIT_TRANSACTIONS_MAX
        if request and (full or size + more > REQUEST_BYTES_MAX):
            yield request
            request, size = [], 0
        request.append(group)
        size += more
    if request:
        yield request


def carry_all(
    route: Route, quiet_seconds: float, pause: Callable[[float], None] = time.sleep
) -> tuple[int, ChiptraceError | None]:
    """Carry what there is, until nothing is open or for so long there was nothing to do; how many actions were brought,
    and what cut it short. An answer can be brought back a block after it was written, so a pause is no end."""
    done, quiet = 0, 0.0
    try:
        while quiet < quiet_seconds:
            brought = route.round()
            done += brought
            if not brought and not len(route.first.outbox) + len(route.second.outbox):
                break
            quiet = 0.0 if brought else quiet + QUIET_PAUSE_SECONDS
            if not brought:
                pause(QUIET_PAUSE_SECONDS)
    except ChiptraceError as error:
        return done, error
    return done, None


def _clearing(source: RelayEnd, host: RelayEnd) -> frozenset[bytes]:
    """Keys of what is to be brought to the host in the clearing lane."""
    begin = [sent_key(item.sent.packet) for item in source.outbox.open() if item.lane == Lane.CLEARING]
    ends = [item.sent.packet for item in host.outbox.open() if item.lane == Lane.CLEARING]
    return frozenset(
        [*begin, *(answered_key(packet) for packet in ends), *(received_key(packet) for packet in ends)]
    )
