"""Chains as each other's witnesses: what their clients hold of a chain, compared with what its nodes show, and who is guilty.

A client keeps the headers that its chain has verified, out of reach of those who made them. A header which a chain's
own nodes show otherwise, or which two clients hold otherwise, is a fork. Compared are:

1. the headers that two nodes of the chain show of one height,
2. the headers that each client of the chain holds with those its nodes show,
3. and so, through the nodes or directly, what two clients hold.

Both headers must be certified by the set that was in force at their height (walked to from the genesis, client/faults.py),
so nobody can be accused by a lie; a header that a client holds is fetched, with its certificate, from the transaction
that brought it there. Who signed both in one view is guilty: two finalizations of one view are signed by no honest
validator. Where the views differ, these two certificates convict nobody (design, consensus, rule 9): an honest
validator may have signed both; then a nullification would have to be found too, and nobody is named.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Final

from google.protobuf.message import DecodeError

from bridge.light_client import CertifiedHeader, certified, check_misbehaviour
from client.connection import Connection
from client.faults import Fault, Way, judge
from client.verified import VerifiedChain
from consensus import certificate
from ledger import codec, limits, state
from ledger.block import block_hash, decode_header, parse_transaction, validators_hash
from ledger.errors import ChiptraceError, Invalid, Malformed, Refused
from proto.chiptrace.v1.bridge_pb2 import ClientHeader, ClientRecord, SubmitMisbehaviour, UpdateClient
from proto.chiptrace.v1.consensus_pb2 import SignedHeader
from proto.chiptrace.v1.ledger_pb2 import (
    CreateClient,
    Entry,
    Evidence,
    GovernanceProposal,
    Operation,
    ThawClient,
    ValidatorSet,
)
from proto.chiptrace.v1.node_pb2 import BlockAtRequest, HistoryRequest

ASK_SECONDS: Final = 5.0
SEARCH_PAGE: Final = 4  # entries of a client's history with their transactions, in one question
SEARCHED_MAX: Final = 20_000  # entries


@dataclass(frozen=True, slots=True)
class Held:
    """A header of another chain as a client holds it, proven by the client's own chain."""

    by: str  # name of the chain
    client: str
    chain_id: bytes  # of the chain that the header is of
    header: ClientHeader


@dataclass(frozen=True, slots=True)
class Fork:
    """Two certified headers that no honest chain has both of."""

    chain_id: bytes
    first: CertifiedHeader
    second: CertifiedHeader
    validators: ValidatorSet  # in force at the height
    faults: tuple[Fault, ...]  # each proven by itself
    shown_by: tuple[str, str]  # for people

    @property
    def height(self) -> int:
        """Where the chain forks, as far as is known."""
        return self.first.header.height

    @property
    def same_view(self) -> bool:
        """Whether both certificates are of one view, so that who signed both is guilty."""
        return self.first.signed.certificate.view == self.second.signed.certificate.view

    def accusation(self, record: ClientRecord) -> Operation:
        """What freezes a client of the chain."""
        known = record.latest_next_validators_hash
        wanted = validators_hash(self.chain_id, self.validators)
        message = SubmitMisbehaviour(
            client=record.id,
            first=self.first.signed,
            second=self.second.signed,
            validators=[] if wanted == known else [self.validators],
        )
        return Operation(submit_misbehaviour=codec.encode(message))


@dataclass(frozen=True, slots=True)
class Unproven:
    """Two headers of one height that differ, of which one is not shown to be certified: somebody lies, but who?"""

    height: int
    shown_by: tuple[str, str]


def held(
    host: VerifiedChain, client: str, above: int = 0, limit: int = limits.CLIENT_HEADERS_KEPT
) -> list[Held]:
    """The headers that a client of `host` holds above a height, ascending, at most so many; none where there is no
    such client. Raises NotVerifiable."""
    record = host.record(state.client_key(client), ClientRecord)
    if record is None:
        return []
    heights = [height for height in record.stored_heights if height > above][:limit]
    keys = [state.client_header_key(client, height) for height in heights]
    host.values(keys)
    headers = [host.record(key, ClientHeader) for key in keys]
    return [
        Held(host.trust.name, client, record.chain_id, header) for header in headers if header is not None
    ]


def shown(connection: Connection, height: int) -> SignedHeader | None:
    """The header of a height with its certificate, as a node shows it; None where it shows none."""
    request = BlockAtRequest(height=height, header_only=True)
    try:
        reply = connection.call(lambda stub: stub.GetBlock, request, ASK_SECONDS)
        found = decode_header(reply.head.header).height
    except ChiptraceError:
        return None
    return reply.head if found == height else None


def brought(
    host: VerifiedChain, client: str, height: int, until_ms: int = limits.U64_MAX
) -> SignedHeader | None:
    """The header of a height that was brought to a client, with its certificate, searched from the newest entry of the
    client's history back, for as long as there is time. It proves itself; so the search need not."""
    record = host.record(state.client_key(client), ClientRecord)
    at = record.history.n if record is not None else 0
    lowest = max(0, at - SEARCHED_MAX)
    while at > lowest and host.now_ms() < until_ms:
        first = max(lowest, at - SEARCH_PAGE)
        request = HistoryRequest(
            subject=state.client_key(client), from_n=first, limit=at - first, with_transactions=True
        )
        reply = host.connection.call(lambda stub: stub.GetHistory, request)
        for item in reversed(reply.items):
            for signed in _headers_in(host.trust.chain_id, item.transaction, item.entry, client):
                try:
                    if decode_header(signed.header).height == height:
                        return signed
                except Malformed:
                    continue
        at = first
    return None


def _headers_in(chain_id: bytes, transaction: bytes, entry: bytes, client: str) -> Iterator[SignedHeader]:
    """The headers that one transaction brought to a client: an update's, or the anchor of its making or thawing."""
    try:
        operations = parse_transaction(chain_id, transaction).body.operations
        index = Entry.FromString(entry).operation
        operation = operations[index] if index < len(operations) else Operation()
        if operation.HasField("update_client"):
            message = codec.decode(UpdateClient, operation.update_client, limits.TRANSACTION_BYTES_MAX)
            yield from message.headers if message.client == client else ()
        elif operation.HasField("govern"):
            proposal = GovernanceProposal.FromString(operation.govern.proposal)
            for change in proposal.changes:
                anchor: CreateClient | ThawClient
                anchor = change.create_client if change.HasField("create_client") else change.thaw_client
                if anchor.id == client and anchor.header:
                    signed = SignedHeader(header=anchor.header)
                    signed.certificate.ParseFromString(anchor.certificate)
                    yield signed
    except (Malformed, Invalid, DecodeError):
        return


def fork(way: Way, first: SignedHeader, second: SignedHeader, shown_by: tuple[str, str]) -> Fork | None:
    """The fork that two headers of one height show, with who is proven guilty; None where they show none. Above the way
    the newest set is judged by, as a client does, and nobody is named."""
    height = second.certificate.height
    try:
        validators = way.newest if height > way.height else way.set_at(height)[0]
        both = (certified(way.chain_id, validators, first), certified(way.chain_id, validators, second))
        check_misbehaviour(*both)
    except (Malformed, Invalid):
        return None
    guilty = () if height > way.height else tuple(_guilty(way, *both))
    return Fork(way.chain_id, *both, validators, guilty, shown_by)


def _guilty(way: Way, first: CertifiedHeader, second: CertifiedHeader) -> Iterator[Fault]:
    """Who finalized two blocks in one view, each judged by the code that judges evidence on chain."""
    validators, _ = way.set_at(first.header.height)
    count = len(validators.validators)
    others = {vote.signer: vote for vote in certificate.votes(second.signed.certificate, count)}
    for vote in certificate.votes(first.signed.certificate, count):
        other = others.get(vote.signer)
        if other is None:
            continue
        pair = sorted((codec.encode(vote), codec.encode(other)))
        try:
            yield judge(way, Evidence(height=vote.height, first=pair[0], second=pair[1]))
        except Refused:
            continue


def compare(
    items: Iterable[Held],
    header_of: Callable[[int], Sequence[tuple[str, SignedHeader]]],
    header_held: Callable[[Held], SignedHeader | None],
    way: Callable[[], Way],
) -> Iterator[Fork | Unproven]:
    """Every height at which these held headers of one chain show a fork, or at least differ, lowest first.

    `header_of` gives what others show of a height, and who; `header_held` fetches a held one with its certificate.
    """
    by_height: dict[int, list[Held]] = {}
    for item in items:
        by_height.setdefault(item.header.height, []).append(item)
    for height in sorted(by_height):
        known = list(header_of(height))
        # (1) What a client holds and nobody shows is fetched.
        for item in by_height[height]:
            by = f"client {item.client} of chain {item.by}"
            hashes = {block_hash(item.chain_id, signed.header) for _, signed in known}
            if item.header.block_hash not in hashes:
                signed = header_held(item)
                if signed is not None and block_hash(item.chain_id, signed.header) == item.header.block_hash:
                    known.append((by, signed))
                elif known:
                    yield Unproven(height, (known[0][0], by))
        # (2) Any two that differ, and are both certified.
        differing = [pair for pair in combinations(known, 2) if pair[0][1].header != pair[1][1].header]
        found = [fork(way(), one[1], other[1], (one[0], other[0])) for one, other in differing]
        proven = [item for item in found if item is not None]
        if proven:
            # Nodes keep certificates of different signers for one block: who is proven guilty by any two is named.
            guilty = {fault.key: fault for item in proven for fault in item.faults}
            yield replace(proven[0], faults=tuple(sorted(guilty.values(), key=lambda fault: fault.member)))
        elif differing:
            yield Unproven(height, (differing[0][0][0], differing[0][1][0]))
