"""Packets and headers that the other chain never committed to, brought by whoever may: none is believed."""

import pytest

from bridge import packet as packets
from bridge.relayer_plan import Receive, Update, packet_operation, update_operation
from client.clock import now_ms
from ledger import codec, state
from ledger.block import decode_header
from proto.chiptrace.v1.bridge_pb2 import (
    AcknowledgePacket,
    ClientRecord,
    ReceivePacket,
    SendPart,
    TimeoutPacket,
    UpdateClient,
)
from proto.chiptrace.v1.ledger_pb2 import (
    Operation,
    PartRecord,
    PartStatus,
    Reason,
)
from proto.chiptrace.v1.node_pb2 import (
    PacketsRequest,
    ProveRequest,
)
from tests.integration.hostile import CHAIN, HOLDER, U64, UNKNOWN_FIELD, told, unmoved_state
from tests.integration.testbed import Signer, commissioning, serial, settle
from tests.node.network import until

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def world(bed):
    """A part of HOLDER's, and a packet on its way from the other chain that no relayer has brought yet."""
    bed.in_step("chipmaker")
    bed.processes.kill("relay")
    with told(bed) as found, bed.open("chipmaker", "siliconfab") as away:
        sender = Signer(away, bed.seed("chipmaker", "siliconfab"))
        found.coming = serial("9521001")
        sender.do(commissioning(found.coming))
        due = now_ms() + 3_600_000
        send = SendPart(client=CHAIN, part=found.coming, receiver=HOLDER, timeout_ms=due)
        sent = sender.do(Operation(send_part=codec.encode(send)))
        settle(away, sent.height)
        found.packet, found.receive = carried(found, away)
        try:
            yield found
        finally:
            assert bed.chiptrace("testnet", "start", "relay").code == 0
    # What was forged did the true packet no harm: it arrives now, as HOLDER's to accept.
    with bed.open(CHAIN, HOLDER) as session:

        def arrived():
            session.verified.repin()
            record = session.verified.record(state.part_key(found.coming), PartRecord)
            return record is not None and record.status == PartStatus.OFFERED

        until(arrived)


def carried(world, away):
    """The packet sent last, and the message that would bring it, whose header the client has."""
    stub = away.connection.stub(away.connection.endpoint)
    sent = list(stub.GetPackets(PacketsRequest(client=CHAIN, from_sequence=1)).items)[-1].packet
    key = packets.sent_key(sent)
    proof = stub.Prove(ProveRequest(keys=[key]))
    height = decode_header(proof.head.header).height
    world.session.verified.repin()
    known = world.session.verified.record(state.client_key("chipmaker"), ClientRecord).latest_height
    world.holder.do(update_operation(Update("chipmaker", known, height), [proof.head]))
    operation = packet_operation(Receive(sent, height, key), proof.opening, proof.keys[0].proof, None)
    return sent, ReceivePacket.FromString(operation.receive_packet)


@pytest.fixture
def unmoved(world):
    with unmoved_state(world):
        yield


# ---- the bridge -----------------------------------------------------------------------------------------------


def received(world, change) -> Operation:
    """The true message that brings the packet, with a change."""
    message = ReceivePacket()
    message.CopyFrom(world.receive)
    change(message)
    return Operation(receive_packet=codec.encode(message))


def flip(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def each(*changes):
    """Several assignments as one change of a message."""

    def change(message):
        for path, value in changes:
            *way, last = path.split(".")
            place = message
            for name in way:
                place = getattr(place, name)
            setattr(place, last, value(getattr(place, last)) if callable(value) else value)

    return change


def a_sibling(change):
    def spoil(message):
        siblings = message.proof.proof.siblings
        siblings[0] = change(siblings[0])

    return spoil


def more_siblings(message):
    message.proof.proof.siblings.extend([bytes(32)] * 300)


def no_siblings(message):
    del message.proof.proof.siblings[:]


def header_with(world, change) -> Operation:
    """The newest header of the other chain, its certificate changed."""
    with world.bed.open("chipmaker", "siliconfab") as away:
        Signer(away, world.bed.seed("chipmaker", "siliconfab")).nothing()  # newer than what the client has
        head = away.connection.call(lambda stub: stub.Prove, ProveRequest()).head
    change(head.certificate)
    return Operation(update_client=codec.encode(UpdateClient(client="chipmaker", headers=[head])))


BRIDGE = {
    "bytes that are no packet": (lambda w: Operation(receive_packet=b"\xff" * 99), "MALFORMED"),
    "a packet with an unknown field": (
        lambda w: Operation(receive_packet=codec.encode(w.receive) + UNKNOWN_FIELD), "MALFORMED"),
    "no packet": (lambda w: Operation(receive_packet=b""), "MALFORMED"),
    "no proof": (lambda w: received(w, lambda m: m.ClearField("proof")), "UNKNOWN_HEADER"),
    "a sibling changed": (lambda w: received(w, a_sibling(flip)), "BAD_PROOF"),
    "a sibling cut": (lambda w: received(w, a_sibling(lambda s: s[:31])), "BAD_PROOF"),
    "no siblings": (lambda w: received(w, no_siblings), "BAD_PROOF"),
    "far too many siblings": (lambda w: received(w, more_siblings), "BAD_PROOF"),
    "an absurd depth": (lambda w: received(w, each(("proof.proof.depth", 2**32 - 1))), "BAD_PROOF"),
    "no depth": (lambda w: received(w, each(("proof.proof.depth", 0))), "BAD_PROOF"),
    "a bitmap cut": (lambda w: received(w, each(("proof.proof.bitmap", b""))), "BAD_PROOF"),
    "another state root": (
        lambda w: received(w, each(("proof.opening.state_root", flip))), "BAD_PROOF"),
    "a root cut": (lambda w: received(w, each(("proof.opening.state_root", b"123"))), "BAD_PROOF"),
    "another log": (lambda w: received(w, each(("proof.opening.log_size", U64))), "BAD_PROOF"),
    "a header never seen": (lambda w: received(w, each(("proof.header_height", 10**9))), "UNKNOWN_HEADER"),
    "an absence shown for a presence": (
        lambda w: received(w, each(("proof.proof.other_key_hash", bytes(32)))), "BAD_PROOF"),
    "a forged packet": (
        lambda w: received(w, each(("packet.value", lambda v: v.replace(b"boardworks", b"drivemaker")))),
        "BAD_PROOF"),
    "a packet with another timeout": (
        lambda w: received(w, each(("packet.timeout_ms", lambda t: t + 1))), "BAD_PROOF"),
    "a packet of another number": (
        lambda w: received(w, each(("packet.sequence", lambda s: s + 1_000))), "BAD_PROOF"),
    "a packet out of time": (lambda w: received(w, each(("packet.timeout_ms", 1))), "TIMED_OUT"),
    "a packet over no client": (
        lambda w: received(w, each(("packet.destination_client", "nowhere"))), "UNKNOWN_CLIENT"),
    "a packet of another pair": (
        lambda w: received(w, each(("packet.source_client", "elsewhere"))), "WRONG_COUNTERPARTY"),
    "an empty packet": (lambda w: received(w, each(("packet.value", b""))), "MALFORMED"),
    "a packet to no port": (lambda w: received(w, each(("packet.destination_port", ""))), "MALFORMED"),
    "a client that is no name": (
        lambda w: received(w, each(("packet.destination_client", "../../etc"))), "MALFORMED"),
    "an answer to a packet never sent": (
        lambda w: Operation(acknowledge_packet=codec.encode(AcknowledgePacket(
            packet=w.packet, acknowledgement=b"\x01", proof=w.receive.proof))), "UNKNOWN_CLIENT"),
    "a timeout of a packet never sent": (
        lambda w: Operation(timeout_packet=codec.encode(TimeoutPacket(
            packet=w.packet, proof=w.receive.proof))), "UNKNOWN_CLIENT"),
    "headers that are none": (
        lambda w: Operation(update_client=codec.encode(UpdateClient(client="chipmaker"))), "NOTHING_TO_DO"),
    "a header of this chain": (
        lambda w: Operation(update_client=codec.encode(UpdateClient(
            client="chipmaker", headers=[w.session.connection.stub(w.session.connection.endpoint).Prove(
                ProveRequest()).head]))), "WRONG_CHAIN"),
    "a header with a signature changed": (
        lambda w: header_with(w, lambda c: c.signatures.__setitem__(0, flip(c.signatures[0]))), "BAD_CERTIFICATE"),
    "a header with too few signatures": (
        lambda w: header_with(w, lambda c: c.signatures.pop()), "BAD_CERTIFICATE"),
    "a header certified for another view": (
        lambda w: header_with(w, lambda c: setattr(c, "view", c.view + 1)), "BAD_CERTIFICATE"),
}  # fmt: skip


@pytest.mark.parametrize("case", BRIDGE)
def test_what_no_chain_committed_to_is_not_believed(world, unmoved, case):
    make, reason = BRIDGE[case]
    outcome = world.relayer.submit(world.relayer.sign(make(world)))
    assert Reason.Name(outcome.reason) == reason
    assert (outcome.admitted, outcome.final, outcome.ok) == (True, True, False)
