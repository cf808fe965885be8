"""One end of a route: a chain as a relayer asks it, what it is made to prove before anything is brought, and the bringing.

Nothing that a node says is believed further than it costs time. Before anything is sent to another chain it is judged
here as that chain will judge it, by the same code: headers extend what its client holds, proofs open to them. So a node
that lies never makes a transaction fail, and is left for the next one; so is one whose head has grown stale.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError

from bridge.light_client import TrustedState, certified, verify_header
from bridge.packet import acknowledgement_commitment, packet_commitment, sent_key
from bridge.proofs import proven_leaf
from bridge.relayer_outbox import Outbox
from bridge.relayer_plan import (
    Action,
    ChainView,
    ClientView,
    PacketAction,
    Receive,
    TimeOut,
    Update,
    headers_together,
    packet_operation,
    update_operation,
)
from client import clock, keys
from client.connection import DETAILS_CHARACTERS_MAX, Connection
from client.reasons import known
from client.trust import ChainTrust, Trust
from ledger import codec, limits, state, tree_proof
from ledger.block import app_hash, decode_header, parse_log_leaf, sign_transaction
from ledger.errors import ChiptraceError, Invalid, Malformed
from ledger.hashes import ZERO
from proto.chiptrace.v1.bridge_pb2 import ClientRecord, RemoteProof
from proto.chiptrace.v1.consensus_pb2 import SignedHeader
from proto.chiptrace.v1.ledger_pb2 import Header, Operation, Reason, Result
from proto.chiptrace.v1.node_pb2 import (
    BlockAtRequest,
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

VALID_MS: Final = 60_000
WAIT_SECONDS: Final = 20.0
ASK_SECONDS: Final = 5.0
STALE_HEARTBEATS: Final = 3
TIMES_KEPT_MAX: Final = 1_024
HEADER_PAGES_MAX: Final = 64  # of boundary headers, for one update


class NotReady(ChiptraceError):
    """Something the relayer needs is not there yet; it tries again."""


class NodeLied(ChiptraceError):
    """A node's answer does not hold; another one of its chain is asked from now on."""


@dataclass(frozen=True, slots=True)
class Look:
    """Where a chain stands, as one node answered."""

    height: int  # of the newest header
    time_ms: int  # its time
    proven_time_ms: int  # of the height before it, whose state it certifies
    proven_from: int  # lowest height whose state the node still proves
    record: ClientRecord


@dataclass(frozen=True, slots=True)
class Built:
    """An action with the operation that carries it out, judged here already."""

    action: Action
    operation: Operation


def open_end(
    trusted: Trust, chain: str, member: str, client: str, counterparty: str, low: int = 1
) -> "RelayEnd":
    """An end as a member's relayer has it, or its operator where it has none. Raises Malformed."""
    try:
        identity = trusted.identity(chain, member, "relayer")
    except Malformed:
        identity = trusted.identity(chain, member, "operator")
    if identity.key is None:
        raise Malformed(f"the relayer's identity for {chain} has no key")
    seed = keys.read_seed(identity.key)
    connected = trusted.chain(chain)
    return RelayEnd(connected, Connection(connected, identity), seed, client, counterparty, low)


class RelayEnd:
    """One chain of a route, over the client of the other chain that it keeps."""

    def __init__(
        self,
        trust: ChainTrust,
        connection: Connection,
        seed: bytes,
        client: str,
        counterparty: str,
        low: int = 1,
        now_ms: Callable[[], int] = clock.now_ms,
    ) -> None:
        self.trust = trust
        self.outbox = Outbox(client, counterparty, low, len(set(trust.endpoints)))
        self.connection = connection
        self.now_ms = now_ms
        self.record: ClientRecord | None = None  # of the other chain, as this one keeps it
        # The head last looked at: the round goes on with it, the next one asks another node.
        self.stale = False
        self.lies = 0
        self._seed = seed
        self._times: dict[int, int] = {}

    @property
    def client(self) -> str:
        """The id of the client on this chain that follows the other one."""
        return self.outbox.client

    def beside(self, client: str) -> "RelayEnd":
        """The same chain over the same line, by another of its clients; nothing is carried over it."""
        return RelayEnd(self.trust, self.connection, self._seed, client, "", 1, self.now_ms)

    def turn(self) -> None:
        """Ask the next node from now on."""
        self.connection.endpoint = self.trust.after(self.connection.endpoint)

    def ask(self, turn: int) -> None:
        """Ask a certain node from now on, as long as it answers."""
        self.connection.endpoint = self.trust.endpoints[turn % len(self.trust.endpoints)]

    # ---- asking -------------------------------------------------------------------------------------------

    def packets(self, first: int, *, received: bool = False) -> list[PacketItem]:
        """A page of packets sent over the client (or received over it) from a sequence on."""
        request = PacketsRequest(client=self.client, from_sequence=first, received=received)
        return list(self.connection.call(lambda stub: stub.GetPackets, request, ASK_SECONDS).items)

    def look(self) -> Look:
        """Where the chain stands, and its record of the client with a proof. Raises NotReady, NodeLied."""
        status = self.connection.call(lambda stub: stub.GetStatus, StatusRequest(), ASK_SECONDS)
        proven = self.prove([state.client_key(self.client)], 0)
        if not proven.keys[0].present:
            raise self._not_so(f"has no client '{self.client}' yet; governance creates it")
        try:
            record = codec.decode(ClientRecord, proven.keys[0].value, limits.STATE_VALUE_BYTES_MAX)
            head = decode_header(proven.head.header)
            proven_ms = parse_log_leaf(proven.last_leaf.leaf).time_ms if proven.height else 0
        except (Malformed, Invalid) as error:
            raise self.lied(error) from error
        if record.counterparty_client != self.outbox.counterparty:
            raise self._not_so(
                f"has a client '{self.client}' that pairs with '{record.counterparty_client}', not with "
                f"'{self.outbox.counterparty}'; correct the route in the relayer's configuration"
            )
        if self.record is None:
            self.outbox.begin(record.next_sequence)
        self.record = record
        self.stale = self.now_ms() - head.time_ms > STALE_HEARTBEATS * self.trust.heartbeat_ms
        return Look(head.height, head.time_ms, proven_ms, status.proof_height_min, record)

    def view(self, look: Look, other: Outbox) -> ChainView:
        """What the planner is told. `other`: what the other chain has sent here."""
        record = look.record
        return ChainView(
            head_height=look.height,
            head_time_ms=look.time_ms,
            proven_time_ms=look.proven_time_ms,
            proven_from=look.proven_from,
            client=ClientView(
                record.id,
                record.latest_height,
                record.latest_time_ms,
                record.trusting_period_ms,
                record.frozen,
            ),
            open_packets=tuple(item.sent for item in self.outbox.open()),
            received=tuple(item.answer for item in other.open() if item.answer is not None),
        )

    def prove(self, keys: Sequence[bytes], height: int) -> ProveReply:
        """These keys after a height; the proofs open to the header that came along. Raises NodeLied."""
        request = ProveRequest(keys=keys, height=height)
        reply = self.connection.call(lambda stub: stub.Prove, request, ASK_SECONDS)
        try:
            header = decode_header(reply.head.header)
            if header.app_hash != app_hash(self.trust.chain_id, reply.opening):
                raise Invalid("the header does not commit to the state shown", Reason.BAD_PROOF)
            if [item.key for item in reply.keys] != list(keys) or height not in (0, reply.height):
                raise Invalid("something else than was asked for", Reason.BAD_PROOF)
            for item in reply.keys:
                value = item.value if item.present else None
                tree_proof.verify(self.trust.chain_id, reply.opening.state_root, item.key, value, item.proof)
        except (Malformed, Invalid, DecodeError) as error:
            raise self.lied(error) from error
        return reply

    def time_of(self, height: int) -> int:
        """The header time of a height, as a node tells it; 0 where it does not."""
        if height not in self._times:
            if len(self._times) >= TIMES_KEPT_MAX:
                self._times.clear()
            request = BlockAtRequest(height=height, header_only=True)
            try:
                reply = self.connection.call(lambda stub: stub.GetBlock, request, ASK_SECONDS)
                self._times[height] = decode_header(reply.head.header).time_ms
            except ChiptraceError:
                return 0
        return self._times[height]

    # ---- what is brought from here, judged as the other chain will judge it -----------------------------------------

    def build(self, actions: Sequence[Action], host: "RelayEnd") -> Iterator[Built]:
        """The actions that hold, with headers and proofs from this chain. What turns out not to be so is put right in
        the outboxes, and planned anew. Raises NodeLied, Invalid(RECOVERED)."""
        record = host.record
        if record is None or not actions:
            return
        trusted: Header | None = None
        for action in actions:
            if isinstance(action, Update):
                headers = self._headers(action)
                trusted = self._judge_headers(record, headers)
                yield Built(action, update_operation(action, headers))
        packets = [action for action in actions if not isinstance(action, Update)]
        false = host.false_bodies(
            action.packet.sequence for action in packets if not isinstance(action, Receive)
        )
        packets = [
            action for action in packets if isinstance(action, Receive) or action.packet.sequence not in false
        ]
        for start in range(0, len(packets), limits.PROVE_KEYS_MAX):
            part = packets[start : start + limits.PROVE_KEYS_MAX]
            if trusted is not None and trusted.height < part[0].header_height:
                return  # more set changes than one update brings; the rest comes with the next one
            reply = self.prove([action.key for action in part], part[0].header_height - 1)
            self._judge_head(record, trusted, part, reply)
            for action, proven in zip(part, reply.keys, strict=True):
                if self._holds(action, proven, host):
                    yield Built(
                        action, packet_operation(action, reply.opening, proven.proof, reply.last_leaf)
                    )

    def false_bodies(self, sequences: Iterable[int]) -> set[int]:
        """Which of these packets, sent from here, are not such as the state says; they are forgotten."""
        unchecked = self.outbox.unchecked(sequences)
        false: set[int] = set()
        for start in range(0, len(unchecked), limits.PROVE_KEYS_MAX):
            part = [item.sent.packet for item in unchecked[start : start + limits.PROVE_KEYS_MAX]]
            reply = self.prove([sent_key(packet) for packet in part], 0)
            for packet, proven in zip(part, reply.keys, strict=True):
                holds = proven.present and proven.value == packet_commitment(packet)
                self.outbox.check(packet.sequence, holds=holds)
                false |= set() if holds else {packet.sequence}
        return false

    def _headers(self, action: Update) -> list[SignedHeader]:
        """Every boundary above the client's header, up to and with the planned one."""
        found: list[SignedHeader] = []
        height, more = action.from_height, True
        for _ in range(HEADER_PAGES_MAX):
            if not more or len(found) >= limits.HEADERS_PER_UPDATE_MAX:
                break
            reply = self.connection.call(
                lambda stub: stub.GetHeaders, HeadersRequest(from_height=height), ASK_SECONDS
            )
            before = height
            for header in reply.headers:
                height = self._height(header)
                if header.recovery and height <= action.to_height:
                    self.turn()  # nothing has proven it: another node is asked next
                    raise Invalid(
                        f"chain {self.trust.name} was recovered after height {height - 1}; its client on the other chain "
                        "stays below until the governance of both chains thaws it (docs/recovery.md)",
                        Reason.RECOVERED,
                    )
                if header.next_validators and height <= action.to_height:
                    found.append(header)
            more = reply.more and before < height < action.to_height
        if len(found) < limits.HEADERS_PER_UPDATE_MAX:
            head = self.prove([], action.to_height - 1).head
            if not found or found[-1].header != head.header:
                found.append(head)
        return headers_together(found[: limits.HEADERS_PER_UPDATE_MAX])

    def _height(self, signed: SignedHeader) -> int:
        try:
            return decode_header(signed.header).height
        except Malformed as error:
            raise self.lied(error) from error

    def _judge_headers(self, record: ClientRecord, headers: Sequence[SignedHeader]) -> Header:
        """The last of the headers, all of which extend what the client holds."""
        held = record.latest_height, record.latest_time_ms, ZERO  # its own header is never brought again
        sets = record.latest_validators_hash, record.latest_next_validators_hash
        trusted = TrustedState(self.trust.chain_id, record.validators, *held, *sets)
        try:
            for signed in headers:
                trusted = verify_header(trusted, signed, self.now_ms(), None)
            return decode_header(headers[-1].header)
        except (Malformed, Invalid, DecodeError) as error:
            raise self.lied(error) from error

    def _judge_head(
        self, record: ClientRecord, trusted: Header | None, actions: Sequence[PacketAction], reply: ProveReply
    ) -> None:
        """The header is the one just judged, or one that the client's set certified; what times out is late below it."""
        late = [action.packet.timeout_ms for action in actions if isinstance(action, TimeOut)]
        try:
            header = decode_header(reply.head.header)
            if trusted is not None:
                if header != trusted:
                    raise Invalid("another header than the one brought", Reason.BAD_PROOF)
            elif record.latest_validators_hash == record.latest_next_validators_hash:
                certified(self.trust.chain_id, record.validators, reply.head)
            shown = RemoteProof(header_height=header.height, opening=reply.opening, last_leaf=reply.last_leaf)
            if late and proven_leaf(record, shown).time_ms < max(late):
                raise Invalid("a state that was said to be of a later time", Reason.BAD_PROOF)
        except (Malformed, Invalid) as error:
            raise self.lied(error) from error

    def _holds(self, action: PacketAction, proven: ProvenKey, host: "RelayEnd") -> bool:
        """Whether the chain's state is as the action says; else what was thought of the packet is put right."""
        value = proven.value if proven.present else None
        sequence = action.packet.sequence
        if isinstance(action, Receive):
            # Where there is none, it is acknowledged or timed out already; where it is another, the body was made up.
            holds = value == packet_commitment(action.packet)
            self.outbox.check(sequence, holds=holds)
            return holds
        if isinstance(action, TimeOut):
            if value is not None:
                host.outbox.set_back(sequence)  # it was received after all
            return value is None
        if value != acknowledgement_commitment(action.acknowledgement):
            host.outbox.set_back(sequence)
            return False
        return True

    def lied(self, error: Exception) -> NodeLied:
        """The node that answered last is left; what is to be raised."""
        self.lies += 1
        node = self.connection.endpoint
        self.turn()
        return NodeLied(f"node {node} of chain {self.trust.name} gave an answer that does not hold: {error}")

    def _not_so(self, how: str) -> NotReady:
        """What is to be raised; nobody has judged the header it was proven under, so another node is asked next."""
        self.turn()
        return NotReady(f"chain {self.trust.name} {how}")

    # ---- bringing -----------------------------------------------------------------------------------------

    def submit(self, groups: Sequence[Sequence[Operation]]) -> list[Result]:
        """One transaction for each group, signed by the relayer's key; their results once all are final.

        Raises ChiptraceError when it is not known what became of one.
        """
        until = self.now_ms() + VALID_MS
        signed = [
            sign_transaction(self.trust.chain_id, self._seed, group, until, secrets.token_bytes(16))
            for group in groups
        ]
        request = SubmitRequest(transactions=signed, wait=True)
        outcomes = self.connection.call(lambda stub: stub.Submit, request, WAIT_SECONDS).outcomes
        if len(outcomes) != len(groups):
            raise NotReady(f"a node of chain {self.trust.name} answered about other transactions")
        results = []
        for outcome in outcomes:
            if not outcome.final:
                why = f"did not take a transaction: {outcome.detail[:DETAILS_CHARACTERS_MAX]}"
                raise NotReady(f"chain {self.trust.name} {why}", known(outcome.reason))
            result = Result(transaction=outcome.transaction, ok=True, reason=outcome.reason)
            if not outcome.ok:
                asked = TransactionRequest(id=outcome.transaction)
                found = self.connection.call(lambda stub: stub.GetTransaction, asked, ASK_SECONDS)
                result = codec.decode(Result, found.result, limits.TRANSACTION_BYTES_MAX)
            result.reason = known(result.reason)
            results.append(result)
        return results

    def close(self) -> None:
        """Close the lines."""
        self.connection.close()
