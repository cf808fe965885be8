"""Whether a recovered chain is one chain: what each of its nodes holds at the first height behind a recovery.

A node on which the old set went on holds another block there than those that were recovered, final by another quorum.
Both are judged by the set that must have signed them, so that a node cannot make a fork up.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bridge.light_client import TrustedState, certified, from_genesis, verify_header
from bridge.recovered import follow_recovery, signed_on_both_sides
from client.connection import Connection, NoAnswer, NodeRefused
from ledger import genesis, recovery
from ledger.block import decode_block, decode_header
from ledger.errors import ChiptraceError, Invalid
from ledger.recovery import Opened
from proto.chiptrace.v1.consensus_pb2 import SignedHeader
from proto.chiptrace.v1.ledger_pb2 import Genesis, Reason, ValidatorSet
from proto.chiptrace.v1.node_pb2 import BlockAtRequest, HeadersRequest, StatusRequest


@dataclass(frozen=True, slots=True)
class Side:
    """What one node holds at the first height behind the recovery."""

    endpoint: str
    state: str  # recovered, old, below, no answer, or what is wrong with its answer
    signed: SignedHeader | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """All nodes, and the members that signed on both sides of a fork (None: there is no fork)."""

    opened: Opened
    sides: tuple[Side, ...]
    forked_by: tuple[str, ...] | None


def check(nodes: Sequence[Connection], chain_id: bytes, opened: Opened, now_ms: int) -> Checked:
    """Asks every node. Raises Invalid(NOT_FOUND) when none leads to the height of the recovery."""
    before = _before(nodes, chain_id, opened, now_ms)
    sides = tuple(_side(node, before, opened, now_ms) for node in nodes)
    old = next((side.signed for side in sides if side.state == "old" and side.signed), None)
    first = next((side.signed for side in sides if side.state == "recovered" and side.signed), None)
    forked_by = None
    if old is not None and first is not None:
        forked_by = signed_on_both_sides(before, old, first, opened)
    return Checked(opened, sides, forked_by)


def _before(nodes: Sequence[Connection], chain_id: bytes, opened: Opened, now_ms: int) -> TrustedState:
    """What was believed right before the recovery, from the genesis on."""
    for node in nodes:
        try:
            found = _walk(node, chain_id, opened, now_ms)
        except ChiptraceError:
            continue
        if (found.latest_height, found.latest_block_hash) == (opened.height, opened.document.block_hash):
            return found
    raise Invalid(
        f"no node leads from the genesis to height {opened.height}, block {opened.document.block_hash.hex()}",
        Reason.NOT_FOUND,
    )


def _walk(node: Connection, chain_id: bytes, opened: Opened, now_ms: int) -> TrustedState:
    status = node.call(lambda stub: stub.GetStatus, StatusRequest())
    if genesis.chain_id(status.genesis) != chain_id:
        raise Invalid("a genesis of another chain", Reason.WRONG_CHAIN)
    document = Genesis.FromString(status.genesis)
    first = ValidatorSet(in_force_from=1, validators=document.validators)
    trusted, earlier = from_genesis(chain_id, first, document.time_ms), []
    while trusted.latest_height < opened.height:
        reply = node.call(lambda stub: stub.GetHeaders, HeadersRequest(from_height=trusted.latest_height))
        before = trusted.latest_height
        for signed in reply.headers:
            if decode_header(signed.header).height > opened.height:
                return trusted
            if signed.recovery:  # an earlier one, which led to the one that is asked about
                earlier.append(recovery.decode(signed.recovery).hash)
                trusted, _ = follow_recovery(trusted, signed, earlier, now_ms)
            else:
                trusted = verify_header(trusted, signed, now_ms, None)
        if trusted.latest_height == before:
            return trusted
    return trusted


def _side(node: Connection, before: TrustedState, opened: Opened, now_ms: int) -> Side:
    try:
        reply = node.call(lambda stub: stub.GetBlock, BlockAtRequest(height=opened.height + 1))
    except NoAnswer:
        return Side(node.endpoint, "no answer")
    except NodeRefused as refusal:
        return Side(node.endpoint, "below" if refusal.reason == Reason.NOT_FOUND else str(refusal))
    try:
        content = decode_block(reply.block)
        signed = SignedHeader(header=content.header, certificate=reply.certificate, recovery=content.recovery)
        if content.recovery:
            follow_recovery(before, signed, (opened.hash,), now_ms)
            return Side(node.endpoint, "recovered", signed)
        certified(before.chain_id, before.validators, signed)
        return Side(node.endpoint, "old", signed)
    except ChiptraceError as error:
        return Side(node.endpoint, f"a false answer: {error}")
