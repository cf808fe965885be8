"""The relayer: carries between two chains what bridge/relayer_plan.py says is to be carried.

It is believed by nobody and keeps nothing that matters. Every round asks both chains where they stand, plans, and
submits; what was refused is left alone for a while, and the rest goes on. A chain that does not answer costs a
pause, never the process. Beside it both chains are watched for forks (header_watch.py). The state file only saves reading packets that were closed long ago.
"""

import json
import logging
import secrets
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bridge import relayer_plan
from bridge.relayer_plan import (
    Action,
    ChainView,
    ClientView,
    PacketAction,
    ReceivedPacket,
    SentPacket,
    Update,
)
from client import keys, trust
from client.clock import now_ms
from client.connection import Connection
from client.trust import ChainTrust, Identity
from ledger import codec, limits, state
from ledger.block import decode_header, parse_log_leaf, sign_transaction
from ledger.errors import ChiptraceError, Invalid, Malformed
from node import config, logs
from node.config import RelayChainConfig, RelayConfig
from node.header_watch import HeaderWatch
from proto.chiptrace.v1.bridge_pb2 import ClientRecord, SubmitMisbehaviour
from proto.chiptrace.v1.consensus_pb2 import SignedHeader
from proto.chiptrace.v1.ledger_pb2 import Operation, Reason, Result, ValidatorSet
from proto.chiptrace.v1.node_pb2 import (
    HeadersRequest,
    PacketItem,
    PacketsRequest,
    ProvenKey,
    ProveReply,
    ProveRequest,
    StatusRequest,
    SubmitRequest,
    TransactionRequest,
)

_LOG: Final = logging.getLogger("chiptrace.relay")
VALID_MS: Final = 60_000
WAIT_SECONDS: Final = 20.0
SKIP_SECONDS: Final = 30.0  # what was refused is not tried again for so long
PAUSE_SECONDS_MAX: Final = 10.0  # between rounds while a chain does not answer


class NotReady(ChiptraceError):
    """Something the relayer needs is not there yet; it tries again."""


@dataclass(slots=True)
class Seen:
    """What one chain answered in a round."""

    view: ChainView
    open_items: list[PacketItem]


@dataclass(slots=True)
class Shore:
    """One of the two chains, as the relayer reaches it."""

    trust: ChainTrust
    identity: Identity
    client: str
    connection: Connection
    seed: bytes
    cursor: int = 1  # the lowest sequence sent from here that may still be open
    skipped: dict[bytes, float] = field(default_factory=dict)  # until when, by key of the action
    validators: ValidatorSet | None = None  # of the other chain, as this one's client trusts them
    waiting: dict[int, int] = field(default_factory=dict)  # when an open packet was first seen, by sequence

    # ---- asking -------------------------------------------------------------------------------------------

    def open_packets(self) -> list[PacketItem]:
        """Packets sent from here and not closed, ascending; moves the cursor up to the first of them."""
        found: list[PacketItem] = []
        for item in self._packets(self.cursor, received=False):
            if item.open:
                found.append(item)
            elif not found:
                self.cursor = item.packet.sequence + 1
        now = now_ms()
        self.waiting = {s: self.waiting.get(s, now) for s in (item.packet.sequence for item in found)}
        return found

    def backlog(self) -> dict[str, int]:
        """How many packets from here are open, and how long the oldest of them has been seen so."""
        oldest = min(self.waiting.values(), default=0)
        return {"open": len(self.waiting), "oldest_ms": now_ms() - oldest if oldest else 0}

    def view(self, own: Sequence[PacketItem], others: Sequence[PacketItem]) -> ChainView:
        """Where the chain stands. `own`: its open packets; `others`: those of the other chain."""
        status = self.connection.call(lambda stub: stub.GetStatus, StatusRequest())
        proven = self.prove([state.client_key(self.client)], 0)
        if not proven.keys or not proven.keys[0].present:
            raise NotReady(
                f"chain {self.trust.name} has no client '{self.client}' yet; governance creates it"
            )
        record = ClientRecord.FromString(proven.keys[0].value)
        self.validators = record.validators
        head = decode_header(proven.head.header)
        wanted = [item.packet.sequence for item in others]
        received = []
        if wanted:
            received = [
                ReceivedPacket(item.packet.sequence, item.height, item.acknowledgement)
                for item in self._packets(wanted[0], received=True, last=wanted[-1])
                if item.packet.sequence in set(wanted)
            ]
        return ChainView(
            head_height=head.height,
            head_time_ms=head.time_ms,
            proven_time_ms=parse_log_leaf(proven.last_leaf.leaf).time_ms if proven.height else 0,
            proven_from=status.proof_height_min,
            client=ClientView(
                record.id,
                record.latest_height,
                record.latest_time_ms,
                record.trusting_period_ms,
                record.frozen,
            ),
            open_packets=tuple(SentPacket(item.packet, item.height) for item in own),
            received=tuple(received),
        )

    def prove(self, state_keys: Sequence[bytes], height: int) -> ProveReply:
        """These keys after a height, with proofs."""
        request = ProveRequest(keys=state_keys, height=height)
        return self.connection.call(lambda stub: stub.Prove, request)

    def headers(self, action: Update) -> list[SignedHeader]:
        """Every boundary above the client's header, up to and with the planned one."""
        found: list[SignedHeader] = []
        height, more = action.from_height, True
        while more and len(found) < limits.HEADERS_PER_UPDATE_MAX:
            reply = self.connection.call(lambda stub: stub.GetHeaders, HeadersRequest(from_height=height))
            for header in reply.headers:
                height = decode_header(header.header).height
                if header.recovery and height <= action.to_height:
                    raise Invalid(
                        f"chain {self.trust.name} was recovered after height {height - 1}; its client on the other chain "
                        "stays below until the governance of both chains thaws it (docs/recovery.md)",
                        Reason.RECOVERED,
                    )
                if header.next_validators and height <= action.to_height:
                    found.append(header)
            more = reply.more and height < action.to_height
        if len(found) < limits.HEADERS_PER_UPDATE_MAX:
            head = self.prove([], action.to_height - 1).head
            if not found or found[-1].header != head.header:
                found.append(head)
        return found[: limits.HEADERS_PER_UPDATE_MAX]

    def _packets(self, first: int, *, received: bool, last: int = limits.U64_MAX) -> Iterator[PacketItem]:
        sequence = first
        while sequence <= last:
            request = PacketsRequest(client=self.client, from_sequence=sequence, received=received)
            reply = self.connection.call(lambda stub: stub.GetPackets, request)
            yield from reply.items
            if not reply.items or reply.next_sequence <= sequence:
                return
            sequence = reply.next_sequence

    # ---- bringing -----------------------------------------------------------------------------------------

    def submit(self, operations: Sequence[Operation]) -> Result:
        """One transaction, signed by the relayer's key; its result once it is final. Raises ChiptraceError."""
        data = sign_transaction(
            self.trust.chain_id, self.seed, operations, now_ms() + VALID_MS, secrets.token_bytes(16)
        )
        request = SubmitRequest(transactions=[data], wait=True)
        outcome = self.connection.call(lambda stub: stub.Submit, request, WAIT_SECONDS).outcomes[0]
        if not outcome.final:
            raise NotReady(
                f"chain {self.trust.name} did not take a transaction: {outcome.detail}", outcome.reason
            )
        if outcome.ok:
            return Result(transaction=outcome.transaction, ok=True, reason=outcome.reason)
        found = self.connection.call(
            lambda stub: stub.GetTransaction, TransactionRequest(id=outcome.transaction)
        )
        return Result.FromString(found.result)

    def skips(self) -> frozenset[bytes]:
        """Keys of actions that were refused lately."""
        now = time.monotonic()
        self.skipped = {key: until for key, until in self.skipped.items() if until > now}
        return frozenset(self.skipped)


class Relay:
    """The loop between two shores."""

    def __init__(self, settings: RelayConfig) -> None:
        """Raises Malformed when the trust file, an identity or a key cannot be used."""
        self._settings = settings
        trusted = trust.read(settings.trust)
        self._first = _shore(trusted, settings.first)
        self._second = _shore(trusted, settings.second)
        self._stuck: tuple[str, ...] = ()
        self._read_state()

    def round(self) -> int:
        """Ask, plan, bring; how many actions there were. Raises ChiptraceError when a chain does not answer."""
        first, second = self._first, self._second
        from_first, from_second = first.open_packets(), second.open_packets()
        plan = relayer_plan.plan(
            first.view(from_first, from_second),
            second.view(from_second, from_first),
            self._settings.packets_per_round,
            first.skips(),
            second.skips(),
        )
        if plan.stuck != self._stuck:
            self._stuck = plan.stuck
            for text in plan.stuck:
                _LOG.error("nothing more can be carried", extra={"cause": text})
        self._bring(second, first, plan.on_a)
        self._bring(first, second, plan.on_b)
        self._write_state()
        return len(plan.on_a) + len(plan.on_b)

    def watches(self) -> list[HeaderWatch]:
        """One watch per chain: its endpoints are asked, and what is found is brought before the other chain."""
        return [_watch(self._first, self._second), _watch(self._second, self._first)]

    def _bring(self, source: Shore, host: Shore, actions: Sequence[Action]) -> None:
        """Bring the actions to the host, in order; the first group is final before the next leaves."""
        if not actions:
            return
        operations = dict(zip(map(id, actions), _operations(source, actions), strict=True))
        for group in relayer_plan.groups(actions, lambda action: operations[id(action)].ByteSize()):
            result = host.submit([operations[id(action)] for action in group])
            _LOG.info(
                "carried" if result.ok else "refused",
                extra={
                    "from": source.trust.name,
                    "to": host.trust.name,
                    "actions": [type(action).__name__ for action in group],
                    "reason": result.reason,
                },
            )
            if not result.ok:
                self._leave_out(host, group[min(result.operation, len(group) - 1)])
                return

    @staticmethod
    def _leave_out(host: Shore, action: Action) -> None:
        if not isinstance(action, Update):
            host.skipped[action.key] = time.monotonic() + SKIP_SECONDS

    def _read_state(self) -> None:
        try:
            cursors = json.loads(self._settings.state_file.read_bytes())["cursors"]
            self._first.cursor = max(1, int(cursors[self._first.trust.chain_id.hex()]))
            self._second.cursor = max(1, int(cursors[self._second.trust.chain_id.hex()]))
        except (OSError, ValueError, KeyError, TypeError):
            _LOG.info("no usable state file: reading all packets from the first on")

    def _write_state(self) -> None:
        shores = (self._first, self._second)
        document = {
            "cursors": {shore.trust.chain_id.hex(): shore.cursor for shore in shores},
            "backlog": {shore.trust.name: shore.backlog() for shore in shores},
            "stuck": list(self._stuck),
            "at_ms": now_ms(),
        }
        fresh = self._settings.state_file.with_suffix(".new")
        fresh.write_text(json.dumps(document) + "\n", encoding="utf-8")
        fresh.replace(self._settings.state_file)


def run(path: Path) -> int:
    """Run the relayer of a configuration file until it is told to stop; the exit code."""
    settings = config.read(path, RelayConfig)
    logs.start(settings.log_level, settings.log_file)
    relay = Relay(settings)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    for watch in relay.watches():
        watch.start(stopping)
    _LOG.info("relayer started")
    usual = settings.poll_ms / 1_000
    pause, trouble = usual, ""
    while not stopping.wait(pause):
        try:
            pause = 0.0 if relay.round() else usual
            trouble = ""
        except ChiptraceError as error:
            if str(error) != trouble:
                trouble = str(error)
                _LOG.warning("a round was cut short", extra={"cause": trouble, "reason": error.code})
            pause = min(PAUSE_SECONDS_MAX, max(usual, pause * 2))
    _LOG.info("stopped")
    return 0


def _shore(trusted: trust.Trust, settings: RelayChainConfig) -> Shore:
    chain = trusted.chain(settings.name)
    identity = trusted.identity(settings.name, settings.member, "relayer")
    if identity.key is None:
        raise Malformed(f"the relayer's identity for {settings.name} has no key")
    return Shore(chain, identity, settings.client, Connection(chain, identity), keys.read_seed(identity.key))


def _watch(watched: Shore, host: Shore) -> HeaderWatch:
    def accuse(first: SignedHeader, second: SignedHeader) -> None:
        message = SubmitMisbehaviour(client=host.client, first=first, second=second)
        result = host.submit([Operation(submit_misbehaviour=codec.encode(message))])
        _LOG.critical(
            "misbehaviour submitted",
            extra={"to": host.trust.name, "ok": result.ok, "reason": result.reason},
        )

    endpoints = [Connection(watched.trust, watched.identity, only=item) for item in watched.trust.endpoints]
    return HeaderWatch(watched.trust.chain_id, endpoints, lambda: host.validators, accuse)


def _operations(source: Shore, actions: Sequence[Action]) -> Iterator[Operation]:
    """The operation of each action, in order, with headers and proofs from the source."""
    packets = [action for action in actions if not isinstance(action, Update)]
    proofs = _proofs(source, packets)
    for action in actions:
        if isinstance(action, Update):
            yield relayer_plan.update_operation(action, source.headers(action))
        else:
            reply, proven = proofs[action.key]
            yield relayer_plan.packet_operation(action, reply.opening, proven.proof, reply.last_leaf)


def _proofs(source: Shore, actions: Sequence[PacketAction]) -> dict[bytes, tuple[ProveReply, ProvenKey]]:
    """Proofs of the actions' keys, many at a time; all of a plan are under one header."""
    found: dict[bytes, tuple[ProveReply, ProvenKey]] = {}
    for start in range(0, len(actions), limits.PROVE_KEYS_MAX):
        part = actions[start : start + limits.PROVE_KEYS_MAX]
        reply = source.prove([action.key for action in part], part[0].header_height - 1)
        found.update((item.key, (reply, item)) for item in reply.keys)
    return found
