"""Proofs about another chain's state, checked under the headers that a client keeps.

The key and the value proven are built by the caller from what it acts on; a proof names neither. The header of
height h says what the state was after height h - 1.
"""

from bridge.clients import check_active, load_header, rehoming_key
from ledger import merkle, state, tree_proof
from ledger.block import LogLeaf, app_hash, log_leaf_hash, parse_log_leaf
from ledger.errors import Invalid, Refused
from ledger.state import Reader
from proto.chiptrace.v1.bridge_pb2 import ClientRecord, RemoteProof
from proto.chiptrace.v1.ledger_pb2 import Reason, RehomingRecord


def verify_ending(
    reader: Reader, client: ClientRecord, now_ms: int, proof: RemoteProof, key: bytes, value: bytes | None
) -> LogLeaf | None:
    """Returns only if a packet of ours ended so over there: as `verify_remote`, with the leaf of the proven state where
    the proof has one. Of a chain that was given up the last state that counts is proven instead, which no leaf needs
    to date: no later block will take a packet.

    Raises Refused, Malformed or Invalid as `verify_remote` and `proven_leaf`.
    """
    if verify_past(reader, client, now_ms, proof, key, value):
        return None
    return proven_leaf(client, proof) if value is None else None


def verify_past(
    reader: Reader, client: ClientRecord, now_ms: int, proof: RemoteProof, key: bytes, value: bytes | None
) -> bool:
    """As `verify_remote`; or, of a chain that was given up, under the last state that counts: True. It tells of what had
    come to pass before, and lets nothing new come from there: what still arrives is not proven by this.
    """
    lost = state.load(reader, rehoming_key(client.chain_id), RehomingRecord)
    if lost is None:
        verify_remote(reader, client, now_ms, proof, key, value)
        return False
    if proof.header_height not in (0, lost.height + 1):
        raise Refused(
            f"of a chain that was given up the header of height {lost.height + 1} counts",
            Reason.UNKNOWN_HEADER,
        )
    tree_proof.verify(lost.chain_id, lost.state_root, key, value, proof.proof)
    return True


def verify_remote(
    reader: Reader, client: ClientRecord, now_ms: int, proof: RemoteProof, key: bytes, value: bytes | None
) -> None:
    """Returns only if, under a header this client keeps, `key` has `value` (None: is absent) over there.

    Raises Refused or Invalid: CLIENT_FROZEN, CLIENT_EXPIRED, UNKNOWN_HEADER, BAD_PROOF.
    """
    # (1) The client may be relied on now.
    check_active(client, now_ms)
    # (2) The header is one that it verified.
    header = load_header(reader, client.id, proof.header_height)
    # (3) The header commits to this opening, which is of the state after the height before.
    if app_hash(client.chain_id, proof.opening) != header.app_hash:
        raise Invalid(f"the opening is not that of height {proof.header_height}'s app_hash", Reason.BAD_PROOF)
    if proof.opening.log_size != header.height - 1:
        raise Invalid(
            f"a log of {proof.opening.log_size} leaves under height {header.height}", Reason.BAD_PROOF
        )
    # (4) The state proof; the root of an empty state, under which everything is absent, proves nothing.
    tree_proof.verify(client.chain_id, proof.opening.state_root, key, value, proof.proof)


def proven_leaf(client: ClientRecord, proof: RemoteProof) -> LogLeaf:
    """The log leaf of the very state that was proven: the last one in the opening's log, with its state root.

    It says when that state was, which the header's own time does not. Call it after `verify_remote`.
    Raises Malformed or Invalid(BAD_PROOF).
    """
    opening, last = proof.opening, proof.last_leaf
    # (1) The last leaf of that log.
    if last.inclusion.size != opening.log_size or last.inclusion.index + 1 != opening.log_size:
        raise Invalid("the leaf is not the last one of the proven log", Reason.BAD_PROOF)
    merkle.verify_inclusion(log_leaf_hash(client.chain_id, last.leaf), last.inclusion, opening.log_root)
    # (2) Of the height before the header, and of this state root.
    leaf = parse_log_leaf(last.leaf)
    if leaf.height != proof.header_height - 1 or leaf.state_root != opening.state_root:
        raise Invalid("the leaf is not of the proven state", Reason.BAD_PROOF)
    return leaf
