"""Whether a recovered chain is one chain: what each of its nodes holds at the first height behind a recovery.

A node on which the old set went on, or which was given another recovery, holds another block there, final by another
quorum. Each is judged by the set that must have signed it, so that a node cannot make a fork up.

A recovery's set is what its document says, names and all, and any node can write a document. So members are named only
where a set is the chain's own, or of a recovery that the asker has accepted, or of one that the same admin keys approved as
an accepted one. Of any other it is told that it is shown, and nobody is accused by it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import combinations

from bridge.light_client import TrustedState, certified, from_genesis, verify_header
from bridge.recovered import Final, follow_recovery, signed_on_both_sides
from client.connection import Connection, NoAnswer, NodeRefused
from ledger import genesis, hashes, recovery
from ledger.block import decode_block, decode_header
from ledger.errors import ChiptraceError, Invalid
from ledger.hashes import Purpose
from ledger.recovery import Opened
from proto.chiptrace.v1.consensus_pb2 import SignedHeader
from proto.chiptrace.v1.ledger_pb2 import Genesis, Reason, ValidatorSet
from proto.chiptrace.v1.node_pb2 import BlockAtRequest, HeadersRequest, StatusRequest

RECOVERED = "recovered"
OLD = "the old set went on"


@dataclass(frozen=True, slots=True)
class Side:
    """What one node holds at the first height behind the recovery; `final` where a set really made it final."""

    endpoint: str
    state: str  # in words
    final: Final | None = None
    judged: bool = False  # whether its set had the right to make it final


@dataclass(frozen=True, slots=True)
class Checked:
    """All nodes, and the members proven to have signed on both sides of a fork (None: none is shown)."""

    opened: Opened
    sides: tuple[Side, ...]
    forked_by: tuple[str, ...] | None


def check(
    nodes: Sequence[Connection], chain_id: bytes, opened: Opened, now_ms: int, accepted: Collection[bytes]
) -> Checked:
    """Asks every node. `accepted` are hashes of documents that the asker follows. Raises Invalid(NOT_FOUND) when none
    leads to the height of the recovery."""
    before = _before(nodes, chain_id, opened, now_ms)
    sides = tuple(_side(node, before, opened, now_ms, accepted) for node in nodes)
    blocks = {side.final.signed.header: side for side in sides if side.final is not None}
    forked_by: set[str] | None = None
    for one, other in combinations(blocks.values(), 2):
        forked_by = forked_by or set()
        if one.judged and other.judged and one.final is not None and other.final is not None:
            forked_by |= set(signed_on_both_sides(chain_id, opened.height + 1, one.final, other.final))
    return Checked(opened, sides, None if forked_by is None else tuple(sorted(forked_by)))


def _is_right(there: Opened, opened: Opened, accepted: Collection[bytes]) -> bool:
    """Whether a recovery was accepted, or approved by all the admin keys that approved an accepted one."""
    if there.hash in accepted:
        return True
    return opened.hash in accepted and _approvers(opened) <= _approvers(there)


def _approvers(opened: Opened) -> set[bytes]:
    place = Purpose.RECOVERY, opened.document.chain_id, opened.document_bytes
    return {item.key for item in opened.approvals if hashes.verify(item.key, *place, item.signature)}


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


def _side(
    node: Connection, before: TrustedState, opened: Opened, now_ms: int, accepted: Collection[bytes]
) -> Side:
    try:
        reply = node.call(lambda stub: stub.GetBlock, BlockAtRequest(height=opened.height + 1))
    except NoAnswer:
        return Side(node.endpoint, "no answer")
    except NodeRefused as refusal:
        return Side(node.endpoint, "below" if refusal.reason == Reason.NOT_FOUND else str(refusal))
    try:
        content = decode_block(reply.block)
        signed = SignedHeader(header=content.header, certificate=reply.certificate, recovery=content.recovery)
        if not content.recovery:
            certified(before.chain_id, before.validators, signed)
            return Side(node.endpoint, OLD, Final(before.validators, signed), judged=True)
        there = recovery.decode(content.recovery)
        # Whatever another document is worth, the blocks behind it are final by its own set.
        follow_recovery(before, signed, (there.hash,), now_ms)
    except ChiptraceError as error:
        return Side(node.endpoint, f"a false answer: {error}")
    state = RECOVERED if there.hash == opened.hash else f"another recovery, {there.hash.hex()}"
    judged = _is_right(there, opened, accepted)
    return Side(node.endpoint, state, Final(there.validators, signed), judged)
