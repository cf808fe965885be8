"""Changes that another chain's governance must consent to: a new anchor for a client of it, and giving it up.

What its admins sign is made for one chain that keeps the client, for one client, and for the state of that client's
history, so that it serves once. The change is written as a change file for `chiptrace govern propose`.
"""

from pathlib import Path

from bridge.client_step import thaw_message
from bridge.packet import ERROR, SUCCESS, acknowledgement_commitment, answered_key, received_key
from bridge.rehoming import load_rehoming, rehome_message
from client import keys
from client.anchors import newest_anchor
from client.verified import NotVerifiable, VerifiedChain
from ledger import codec, hashes, state
from ledger.containers import normalise, standing
from ledger.errors import Malformed
from proto.chiptrace.v1.bridge_pb2 import (
    AcknowledgePacket,
    ClientHeader,
    ClientRecord,
    ProvenRow,
    RehomePart,
    RemoteProof,
    TimeoutPacket,
)
from proto.chiptrace.v1.ledger_pb2 import (
    IN_TRANSIT,
    Change,
    MemberHere,
    Operation,
    PartRecord,
    Reason,
    RehomeChain,
    Signature,
    ThawClient,
)
from proto.chiptrace.v1.node_pb2 import PacketsRequest, ProveRequest


def client_of(host: VerifiedChain, client: str) -> ClientRecord:
    """The record of a client, proven. Raises Malformed, NotVerifiable."""
    record = host.record(state.client_key(client), ClientRecord)
    if record is None:
        raise Malformed(f"chain {host.trust.name} proves that it has no client {client}")
    return record


# ---- a new anchor -----------------------------------------------------------------------------------------------


def thaw(source: VerifiedChain, client: str) -> Change:
    """The change that gives a frozen or expired client the newest header of its chain as substitute."""
    signed, validators = newest_anchor(source)
    return Change(
        thaw_client=ThawClient(
            id=client,
            header=signed.header,
            certificate=codec.encode(signed.certificate),
            validators=validators,
        )
    )


def message_of(host: VerifiedChain, change: Change) -> bytes:
    """What admins of the other chain sign. Raises Malformed for a change that needs no consent."""
    match change.WhichOneof("kind"):
        case "thaw_client":
            n = client_of(host, change.thaw_client.id).history.n
            return thaw_message(host.trust.chain_id, change.thaw_client, n)
        case "rehome_chain":
            n = client_of(host, change.rehome_chain.client).history.n
            return rehome_message(host.trust.chain_id, change.rehome_chain, n)
    raise Malformed(
        "no other chain's governance consents to this change; thaw_client and rehome_chain need it"
    )


def consent(host: VerifiedChain, change: Change, key_file: Path) -> Change:
    """The change with the consent of one more admin key of the other chain. Raises Malformed."""
    message = message_of(host, change)
    seed = keys.read_seed(key_file)
    signature = Signature(key=hashes.public_key(seed), signature=hashes.sign_raw(seed, message))
    agreed = Change()
    agreed.CopyFrom(change)
    chosen = agreed.thaw_client if agreed.HasField("thaw_client") else agreed.rehome_chain
    chosen.counterparty_approvals.append(signature)
    return agreed


# ---- a chain that is lost -----------------------------------------------------------------------------------------


def give_up(
    host: VerifiedChain, lost: VerifiedChain, client: str, members: dict[str, str], why: str, *, heir: bool
) -> Change:
    """The change that gives up a chain at the newest header that this client has of it; a node of the lost chain must
    still show the state below that header. Raises Malformed, NotVerifiable."""
    record = client_of(host, client)
    header = host.record(state.client_header_key(client, record.latest_height), ClientHeader)
    if header is None:
        raise Malformed(f"client {client} never had a header; update it first, while a node still shows one")
    request = ProveRequest(height=header.height - 1)
    opening = lost.connection.call(lambda stub: stub.Prove, request).opening
    rows = [MemberHere(there=there, here=here) for there, here in sorted(members.items())]
    change = RehomeChain(
        client=client, header_height=header.height, opening=opening, heir=heir, members=rows, why=why
    )
    return Change(rehome_chain=change)


class LastState:
    """Reads the last state of a lost chain that counts, from a node that still shows it, and keeps each row with its
    proof, which the chain that takes over verifies."""

    def __init__(self, host: VerifiedChain, lost: VerifiedChain) -> None:
        self.rows: dict[bytes, ProvenRow] = {}
        self.rehoming = load_rehoming(host, lost.trust.chain_id)
        self._lost = lost

    def get(self, key: bytes) -> bytes | None:
        """The value of a key. Raises NotVerifiable, NoAnswer."""
        reply = self._lost.connection.call(lambda stub: stub.Prove, ProveRequest(keys=[key]))
        if reply.opening.state_root != self.rehoming.state_root or len(reply.keys) != 1:
            raise NotVerifiable(
                f"node {self._lost.connection.endpoint} of chain {self._lost.trust.name} has another state than the one "
                f"after height {self.rehoming.height}, which counts; ask another node",
                Reason.HEIGHT_NOT_SERVED,
            )
        proven = reply.keys[0]
        self.rows[key] = ProvenRow(key=key, value=proven.value, proof=proven.proof)
        return proven.value if proven.present else None


def taking_over(last: LastState, part: str) -> RehomePart:
    """The operation that takes a part over. Raises Malformed, Refused, NotVerifiable."""
    record = state.load(last, state.part_key(part), PartRecord)
    if record is not None:
        standing(last, normalise(last, record))
    return RehomePart(chain_id=last.rehoming.chain_id, part=part, rows=last.rows.values())


def ending(host: VerifiedChain, last: LastState, part: PartRecord) -> Operation | None:
    """The operation that ends the packet with which a part is on its way to the lost chain: the answer that was given
    there, or the proof that none was; None for a part that is not on its way. Raises Malformed, NotVerifiable."""
    if part.status != IN_TRANSIT:
        return None
    request = PacketsRequest(client=part.client, from_sequence=part.sequence, limit=1)
    items = host.connection.call(lambda stub: stub.GetPackets, request).items
    if not items or items[0].packet.sequence != part.sequence:
        raise Malformed(
            f"node {host.connection.endpoint} has no packet {part.sequence} of {part.client}; ask another"
        )
    packet = items[0].packet
    given = last.get(answered_key(packet))
    if given is None:
        last.get(received_key(packet))
        proof = RemoteProof(proof=last.rows[received_key(packet)].proof)
        return Operation(timeout_packet=codec.encode(TimeoutPacket(packet=packet, proof=proof)))
    answer = SUCCESS if given == acknowledgement_commitment(SUCCESS) else ERROR
    proof = RemoteProof(proof=last.rows[answered_key(packet)].proof)
    message = AcknowledgePacket(packet=packet, acknowledgement=answer, proof=proof)
    return Operation(acknowledge_packet=codec.encode(message))
