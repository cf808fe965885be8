"""The proof with which this node's key may join the validators: who makes it, and who asks for it.

Only the running node makes it, as only it knows whether it is in step, and only it holds the key: it stands in the
node's status as long as the node is in step and its key is not in the newest set. It says nothing that is secret and
gives nobody a right: what lets a key in is the members' approval.
"""

import ipaddress
from typing import Final

import grpc

from client import keys
from client.tree_view import time_text
from client.verified import STALE_HEARTBEATS
from ledger import genesis, joining
from ledger.application import Info
from ledger.errors import Invalid, Malformed
from ledger.limits import RPC_MESSAGE_BYTES_MAX, TIME_PRECISION_MS
from node import certificates
from node.config import NodeConfig, split_address
from node.signer import KEY_FILE, Signer
from proto.chiptrace.v1.ledger_pb2 import JoinProof, Reason
from proto.chiptrace.v1.node_pb2 import StatusReply, StatusRequest
from proto.chiptrace.v1.node_pb2_grpc import ChainStub

ASK_SECONDS: Final = 5.0


def made(info: Info, signer: Signer, now_ms: int) -> JoinProof | None:
    """The proof of a node that is in step at this tip; None where its key need not join, or must not vote, or where
    the tip is stale by our clock.

    The caller answers for "in step" (`NodeStatus.synced`), which a node that was just started may believe of itself
    until it has heard of the others' tip: the age of its own tells better.
    """
    if now_ms - info.time_ms > STALE_HEARTBEATS * info.parameters.heartbeat_ms + TIME_PRECISION_MS:
        return None
    if signer.key is None or not signer.votes_at(info.height + 1) or not info.height:
        return None
    if any(validator.key == signer.key for validator in info.next_validators.validators):
        return None
    return joining.prove(info.chain_id, info.height, info.block_hash, signer.key, signer.sign)


def asked(config: NodeConfig) -> JoinProof:
    """The proof, from the running node of this configuration.

    Raises Malformed or Invalid saying why there is none: no key, the node is not running, of another chain, not in
    step, must not vote, or a validator already.
    """
    # (1) What it must be for: this chain, this key.
    try:
        chain_id = genesis.chain_id(config.genesis.read_bytes())
    except OSError as error:
        raise Malformed(f"genesis {config.genesis} cannot be read: {error.strerror}") from None
    key_file = config.key_dir / KEY_FILE
    if not key_file.exists():
        raise Malformed(f"there is no validator key in {config.key_dir}; make it with `chiptrace node key`")
    key = keys.public_key(key_file)
    # (2) What the node says of itself.
    status = _status(config)
    if status.chain_id != chain_id:
        raise Invalid(
            f"the node on {config.clients.listen} follows chain {status.chain_id.hex()}, not {chain_id.hex()}",
            Reason.WRONG_CHAIN,
        )
    if not status.HasField("join_proof"):
        raise _why_none(status)
    # (3) It is for that chain and by that key.
    if status.join_proof.key != key:
        raise Invalid(
            f"the node on {config.clients.listen} was started with the key {status.join_proof.key.hex()}, not with "
            f"the one in {key_file}; restart it",
            Reason.BAD_SIGNATURE,
        )
    joining.check_signature(chain_id, status.join_proof)
    return status.join_proof


def _why_none(status: StatusReply) -> Invalid:
    if not status.synced:
        return Invalid(
            f"the node is not in step: it stands at height {status.height} and reaches "
            f"{sum(peer.connected for peer in status.peers)} of {status.validators} validators; wait until "
            "`chiptrace node join-proof` gives a proof, and see that the others have a [[peers]] entry for it",
            Reason.NOT_SYNCED,
        )
    if status.not_voting:
        return Invalid(f"the node's key cannot join now: {status.not_voting}", Reason.KEY_NOT_VALID)
    if status.index >= 0:
        return Invalid(
            "the node's key is in the validator set and votes; it needs no proof", Reason.NOTHING_TO_DO
        )
    return Invalid(
        "the node's key is in the newest validator set; or the node was started without it (restart it then); or the "
        f"chain stands still: its newest block here is of {time_text(status.time_ms)}",
        Reason.NOTHING_TO_DO,
    )


def _status(config: NodeConfig) -> StatusReply:
    """From the node's own client port, shown the node's own certificate; whatever name that port goes by outside."""
    tls = config.tls
    try:
        credentials = grpc.ssl_channel_credentials(
            tls.ca.read_bytes(), tls.private_key.read_bytes(), tls.certificate.read_bytes()
        )
    except OSError as error:
        raise Malformed(f"{error.filename} cannot be read: {error.strerror}") from None
    options = (
        ("grpc.ssl_target_name_override", certificates.names(tls.certificate)[0]),
        ("grpc.max_receive_message_length", RPC_MESSAGE_BYTES_MAX),
        ("grpc.enable_http_proxy", 0),
    )
    with grpc.secure_channel(dialled(config.clients.listen), credentials, options) as channel:
        try:
            reply: StatusReply = ChainStub(channel).GetStatus(StatusRequest(), timeout=ASK_SECONDS)
        except grpc.RpcError as error:
            raise Invalid(
                f"no node answers on {config.clients.listen} ({error.details()}); start it: chiptrace node run",
                Reason.NOT_SYNCED,
            ) from None
    return reply


def dialled(listen: str) -> str:
    """Where to call a port that listens here: a wildcard is called on this machine."""
    host, port = split_address(listen)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return listen
    if address.is_unspecified:
        return f"127.0.0.1:{port}" if address.version == 4 else f"[::1]:{port}"
    return listen
