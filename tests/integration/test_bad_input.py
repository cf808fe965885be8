"""Bad input of every kind, through the real ports: each refused with its own reason, and the state does not move.

The state root is proven before and after each: it commits to every record, grant, client, receipt and history.
Only the log grows. After each case all four nodes are the same processes, alive and in step.
"""

import os
import socket
import ssl
import threading
from types import SimpleNamespace

import grpc
import pytest

from bridge import packet as packets
from bridge.relayer_plan import Receive, Update, packet_operation, update_operation
from client.clock import now_ms
from client.connection import Connection
from ledger import codec, hashes, limits, state
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
    Attest,
    Capture,
    Change,
    Decimal,
    Field,
    Govern,
    GovernanceProposal,
    List,
    Object,
    Operation,
    PartRecord,
    PartStatus,
    PutGrant,
    Reason,
    Signature,
    Transaction,
    TransactionBody,
    Value,
)
from proto.chiptrace.v1.node_pb2 import (
    BlockAtRequest,
    FollowRequest,
    HeadersRequest,
    HistoryRequest,
    LogLeavesRequest,
    PacketsRequest,
    PeerFrame,
    ProveRequest,
    SubmitRequest,
    TransactionRequest,
)
from proto.chiptrace.v1.node_pb2_grpc import PeerStub
from tests.integration.testbed import Signer, captured, commissioning, event, serial, settle
from tests.node.network import until

pytestmark = pytest.mark.processes
CHAIN, HOLDER, OTHER = "assembler", "boardworks", "drivemaker"
UNKNOWN_FIELD = b"\xfa\x07\x01x"  # number 127, one byte long
U64 = 2**64 - 1


@pytest.fixture(scope="module")
def world(bed):
    """A part of HOLDER's, and a packet on its way from the other chain that no relayer has brought yet."""
    bed.in_step(CHAIN)
    bed.processes.kill("relay")
    with bed.open(CHAIN, HOLDER) as session, bed.open("chipmaker", "siliconfab") as away:
        found = SimpleNamespace(bed=bed, session=session)
        found.holder = Signer(session, bed.seed(CHAIN, HOLDER))
        found.other = Signer(session, bed.seed(CHAIN, OTHER))
        found.relayer = Signer(session, bed.seed(CHAIN, HOLDER, "relayer"))
        found.stranger = Signer(session, os.urandom(32))
        found.part = serial("9525001")
        found.holder.do(commissioning(found.part))
        sender = Signer(away, bed.seed("chipmaker", "siliconfab"))
        found.coming = serial("9521001")
        sender.do(commissioning(found.coming))
        due = now_ms() + 3_600_000
        send = SendPart(client=CHAIN, part=found.coming, receiver=HOLDER, timeout_ms=due)
        sent = sender.do(Operation(send_part=codec.encode(send)))
        settle(away, sent.height)
        found.packet, found.receive = carried(found, away)
        found.pids = {name: item.pid for name, item in bed.processes.running().items() if CHAIN in name}
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

        until(arrived, 40)


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


def proven_root(world):
    """The state root after everything that is decided now, certified by the header of the height after it."""
    settle(world.session, world.holder.nothing().height - 1)
    return world.session.verified.snapshot().opening.state_root


@pytest.fixture
def unmoved(world):
    """Whatever happens in the test, state and nodes are as before."""
    before = proven_root(world)
    yield
    assert proven_root(world) == before
    nodes = world.bed.nodes(CHAIN)
    assert all(status and status.synced for status in nodes.values()), nodes
    running = world.bed.processes.running()
    assert {name: item.pid for name, item in running.items() if CHAIN in name} == world.pids


def test_the_comparison_sees_what_does_change(world):
    before = proven_root(world)
    assert proven_root(world) == before
    world.holder.do(observing(world.part))
    assert proven_root(world) != before


# ---- at the door ------------------------------------------------------------------------------------------


def body_of(world, **changes):
    fields = {
        "chain_id": world.session.trust.chain_id,
        "signer": hashes.public_key(world.holder.seed),
        "valid_until_ms": now_ms() + 60_000,
        "idempotency_key": os.urandom(16),
        "operations": [commissioning(serial("9525001"))],
    } | changes
    return TransactionBody(**fields)


def signed(world, body: bytes, seed=None) -> bytes:
    """These bytes as the body of a transaction with a good signature."""
    seed = seed or world.holder.seed
    signature = hashes.sign(seed, hashes.Purpose.TRANSACTION, world.session.trust.chain_id, body)
    pair = Signature(key=hashes.public_key(seed), signature=signature)
    return codec.encode(Transaction(body=body, signatures=[pair]))


def good(world) -> bytes:
    return world.holder.sign(commissioning(serial("9525001")))


def altered(world, **changes) -> bytes:
    return signed(world, codec.encode(body_of(world, **changes)))


def out_of_order(world) -> bytes:
    """The fields of the body, the first one last."""
    body = codec.encode(body_of(world))
    return signed(world, body[34:] + body[:34])


def by_another(world) -> bytes:
    """A good body of HOLDER's under a signature of somebody else."""
    body = codec.encode(body_of(world))
    own = hashes.sign(world.other.seed, hashes.Purpose.TRANSACTION, world.session.trust.chain_id, body)
    pair = Signature(key=hashes.public_key(world.holder.seed), signature=own)
    return codec.encode(Transaction(body=body, signatures=[pair]))


def replaced_body(world) -> bytes:
    found = Transaction.FromString(good(world))
    found.body = codec.encode(body_of(world))
    return codec.encode(found)


DOOR = {
    "nothing": (lambda w: b"", "WRONG_CHAIN"),
    "garbage": (lambda w: b"\xff" * 300, "MALFORMED"),
    "noise": (lambda w: b"\xff" + os.urandom(5_000), "MALFORMED"),
    "text": (lambda w: b'{"transaction": "capture"}' * 10, "MALFORMED"),
    "truncated": (lambda w: good(w)[:-1], "MALFORMED"),
    "truncated early": (lambda w: good(w)[:40], "MALFORMED"),
    "trailing bytes": (lambda w: good(w) + b"\0", "MALFORMED"),
    "unknown field outside": (lambda w: good(w) + UNKNOWN_FIELD, "MALFORMED"),
    "unknown field inside": (lambda w: signed(w, codec.encode(body_of(w)) + UNKNOWN_FIELD), "MALFORMED"),
    "a field twice": (lambda w: signed(w, codec.encode(body_of(w)) + b"\x18\x01"), "MALFORMED"),
    "fields out of order": (out_of_order, "MALFORMED"),
    "a default written out": (lambda w: altered(w, valid_until_ms=0)[:0] or signed(
        w, codec.encode(body_of(w, valid_until_ms=0)) + b"\x18\x00"), "MALFORMED"),
    "an operation of no kind": (lambda w: altered(w, operations=[Operation()]), "MALFORMED"),
    "no operation": (lambda w: altered(w, operations=[]), "MALFORMED"),
    "too many operations": (
        lambda w: altered(w, operations=[commissioning("x:")] * 1_001), "MALFORMED"),
    "a short idempotency key": (lambda w: altered(w, idempotency_key=b"123"), "MALFORMED"),
    "a short key": (lambda w: altered(w, signer=b"123"), "MALFORMED"),
    "no signature": (
        lambda w: codec.encode(Transaction(body=codec.encode(body_of(w)))), "MALFORMED"),
    "another chain": (
        lambda w: w.holder.sign(commissioning("x:"), chain_id=os.urandom(32)), "WRONG_CHAIN"),
    "no chain": (lambda w: altered(w, chain_id=b""), "WRONG_CHAIN"),
    "a signature for another chain": (
        lambda w: signed_elsewhere(w), "BAD_SIGNATURE"),
    "a signature of zeros": (
        lambda w: good(w)[:-64] + bytes(64), "BAD_SIGNATURE"),
    "a signature with a bit flipped": (
        lambda w: (data := good(w))[:-1] + bytes([data[-1] ^ 1]), "BAD_SIGNATURE"),
    "a signature by another key": (by_another, "BAD_SIGNATURE"),
    "a signature of another body": (replaced_body, "BAD_SIGNATURE"),
    "expired": (lambda w: w.holder.sign(commissioning("x:"), until_ms=-1), "EXPIRED"),
    "expired long ago": (lambda w: altered(w, valid_until_ms=0), "EXPIRED"),
    "valid too far ahead": (
        lambda w: w.holder.sign(commissioning("x:"), until_ms=3_700_000), "NOT_YET_VALID"),
    "valid for ever": (lambda w: altered(w, valid_until_ms=U64), "NOT_YET_VALID"),
    "oversize": (lambda w: good(w) + bytes(limits.TRANSACTION_BYTES_MAX), "OVERSIZE"),
    "oversize, signed": (
        lambda w: w.holder.sign(Operation(capture=Capture(event=bytes(limits.TRANSACTION_BYTES_MAX)))),
        "OVERSIZE"),
}  # fmt: skip


def signed_elsewhere(world) -> bytes:
    """A body for this chain, signed as if for another."""
    body = codec.encode(body_of(world))
    pair = Signature(
        key=hashes.public_key(world.holder.seed),
        signature=hashes.sign(world.holder.seed, hashes.Purpose.TRANSACTION, bytes(32), body),
    )
    return codec.encode(Transaction(body=body, signatures=[pair]))


@pytest.mark.parametrize("case", DOOR)
def test_what_is_no_transaction_does_not_enter(world, unmoved, case):
    make, reason = DOOR[case]
    outcome = world.holder.submit(make(world))
    assert Reason.Name(outcome.reason) == reason
    assert (outcome.admitted, outcome.final, outcome.ok, outcome.height) == (False, False, False, 0)
    assert outcome.detail


def test_a_call_larger_than_any_ends_at_the_line(world, unmoved):
    stub = world.session.connection.stub(world.session.connection.endpoint)
    with pytest.raises(grpc.RpcError) as error:
        stub.Submit(SubmitRequest(transactions=[bytes(limits.RPC_MESSAGE_BYTES_MAX + 1)]), timeout=10)
    assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_one_bad_transaction_in_a_frame_does_not_hurt_the_others(world):
    part = serial("9525001")
    frame = [b"garbage", world.holder.sign(commissioning(part)), good(world)[:-1]]
    outcomes = world.session.connection.call(
        lambda stub: stub.Submit, SubmitRequest(transactions=frame, wait=True), 20
    ).outcomes
    assert [outcome.ok for outcome in outcomes] == [False, True, False]


def test_a_duplicate_is_answered_by_the_first_and_done_once(world):
    part, key = serial("9525001"), os.urandom(16)
    data = world.holder.sign(commissioning(part), key=key)
    first = world.holder.submit(data)
    assert first.ok
    settle(world.session, first.height)
    before = proven_root(world)
    # The same bytes, through every node: the first outcome.
    for endpoint in world.session.trust.endpoints:
        connection = Connection(world.session.trust, world.session.identity, only=endpoint)
        request = SubmitRequest(transactions=[data, data], wait=True)
        again = connection.call(lambda stub: stub.Submit, request, 20).outcomes
        connection.close()
        assert [(one.transaction, one.height, one.index, one.ok) for one in again] == [
            (first.transaction, first.height, first.index, True)
        ] * 2
    # Other bytes under the same key: refused, and told which was first.
    other = world.holder.submit(world.holder.sign(commissioning(serial("9525001")), key=key))
    assert (other.reason, other.ok, other.final) == (Reason.REPEATED, False, False)
    assert (other.transaction, other.height) == (first.transaction, first.height)
    assert proven_root(world) == before


# ---- the rules -----------------------------------------------------------------------------------------------


def observing(part, **fields):
    return captured(event(**({"action": "OBSERVE", "bizStep": "inspecting", "epcList": [part]} | fields)))


def raw_event(world, spoil) -> Operation:
    """A commissioning whose event's bytes are spoilt."""
    data = event(action="ADD", bizStep="commissioning", epcList=[serial("9525001")]).SerializeToString(
        deterministic=True
    )
    return Operation(capture=Capture(event=spoil(data)))


def spoilt(world, **fields) -> Operation:
    return captured(
        event(**({"action": "ADD", "bizStep": "commissioning", "epcList": [serial("9525001")]} | fields))
    )


def unsorted(world) -> Operation:
    made = event(action="ADD", bizStep="commissioning", epcList=[serial("9525001")])
    fields = list(reversed(made.fields))
    del made.fields[:]
    made.fields.extend(fields)
    return captured(made)


def seeded(world, seed) -> Operation:
    made = event(action="ADD", bizStep="commissioning", epcList=[serial("9525001")])
    made.seed = seed
    return captured(made)


def amount(world, number) -> Operation:
    item = Object(
        fields=[
            Field(name="epcClass", value=Value(text=f"{serial('9525001').rpartition('/21/')[0]}/10/L1")),
            Field(name="quantity", value=number),
        ]
    )
    quantities = Value(list=List(items=[Value(object=item)]))
    return captured(event(action="ADD", bizStep="commissioning", quantityList=quantities))


def deep(world) -> Operation:
    value = Value(text="x")
    for _ in range(40):
        value = Value(list=List(items=[value]))
    return spoilt(world, **{"ext:deep": value})


def packed(world, parent, child) -> Operation:
    made = event(type="AggregationEvent", action="ADD", bizStep="packing", parentID=parent, childEPCs=[child])
    return captured(made)


def ungoverned(world) -> Operation:
    change = Change(put_grant=PutGrant(prefix="gs1:9529999", holder=OTHER))
    proposal = GovernanceProposal(
        chain_id=world.session.trust.chain_id,
        expires_ms=now_ms() + 60_000,
        nonce=os.urandom(16),
        changes=[change],
    )
    return Operation(govern=Govern(proposal=codec.encode(proposal)))


def attesting(subject, kind="certificate") -> Operation:
    name = f"https://boardworks.example/c/{os.urandom(4).hex()}"
    return Operation(attest=Attest(id=name, subject=subject, kind=kind, valid_from_ms=now_ms()))


def sending(world, **changes) -> Operation:
    fields = {
        "client": "chipmaker",
        "part": world.part,
        "receiver": "siliconfab",
        "timeout_ms": now_ms() + 3_600_000,
    } | changes
    return Operation(send_part=codec.encode(SendPart(**fields)))


# case -> (who signs, the operation, the reason)
RULES = {
    "a relayer's key captures": ("relayer", lambda w: observing(w.part), "ROLE_NOT_ALLOWED"),
    "a relayer's key attests": ("relayer", lambda w: attesting(w.part), "ROLE_NOT_ALLOWED"),
    "a relayer's key sends": ("relayer", sending, "ROLE_NOT_ALLOWED"),
    "another's namespace": ("other", lambda w: commissioning(serial("9525001")), "NOT_GRANTED"),
    "nobody's namespace": ("holder", lambda w: commissioning(serial("9529999")), "NOT_GRANTED"),
    "a name outside every namespace": (
        "holder", lambda w: commissioning("https://elsewhere.example/part/1"), "NOT_GRANTED"),
    "another's web namespace": (
        "holder", lambda w: commissioning(f"https://boardworks.example/p/{os.urandom(4).hex()}"), "NOT_GRANTED"),
    "the namespace of another chain": (
        "holder", lambda w: commissioning(serial("9521001")), "NOT_HOME_CHAIN"),
    "observed, not in custody": ("other", lambda w: observing(w.part), "NOT_IN_CUSTODY"),
    "shipped, not in custody": (
        "other", lambda w: observing(w.part, bizStep="shipping"), "NOT_IN_CUSTODY"),
    "destroyed, not in custody": (
        "other", lambda w: observing(w.part, action="DELETE", bizStep="destroying"), "NOT_IN_CUSTODY"),
    "received, not offered": (
        "other", lambda w: observing(w.part, bizStep="receiving"), "NOT_OFFERED_TO_YOU"),
    "packed, not in custody": (
        "other", lambda w: packed(w, serial("9525002"), w.part), "NOT_IN_CUSTODY"),
    "a part inside itself": ("holder", lambda w: packed(w, w.part, w.part), "SELF_CONTAINMENT"),
    "unknown part": ("holder", lambda w: observing(serial("9525001")), "UNKNOWN_PART"),
    "attested, unknown part": ("holder", lambda w: attesting(serial("9525001")), "UNKNOWN_PART"),
    "an attestation of no kind": ("holder", lambda w: attesting(w.part, "praise"), "ATTESTATION_INVALID"),
    "a cloned serial": ("other", lambda w: commissioning(w.part), "ALREADY_COMMISSIONED"),
    "bytes that are no event": (
        "holder", lambda w: Operation(capture=Capture(event=b"\xff" * 80)), "MALFORMED"),
    "an event cut short": ("holder", lambda w: raw_event(w, lambda data: data[:-3]), "MALFORMED"),
    "an event with an unknown field": (
        "holder", lambda w: raw_event(w, lambda data: data + UNKNOWN_FIELD), "MALFORMED"),
    "an event with no fields": ("holder", lambda w: Operation(capture=Capture(event=b"")), "MALFORMED"),
    "an event with a short seed": ("holder", lambda w: seeded(w, b"123"), "MALFORMED"),
    "fields out of order in an event": ("holder", unsorted, "MALFORMED"),
    "an event nested too deep": ("holder", deep, "MALFORMED"),
    "an event too large": (
        "holder", lambda w: spoilt(w, **{"ext:large": ["x" * 60_000] * 3}), "OVERSIZE"),
    "no type": ("holder", lambda w: spoilt(w, type=None), "EVENT_INVALID"),
    "an unknown type": ("holder", lambda w: spoilt(w, type="WishEvent"), "EVENT_INVALID"),
    "an unknown action": ("holder", lambda w: spoilt(w, action="ENLARGE"), "EVENT_INVALID"),
    "no time": ("holder", lambda w: spoilt(w, eventTime=None), "EVENT_INVALID"),
    "a time that is none": ("holder", lambda w: spoilt(w, eventTime="yesterday"), "EVENT_INVALID"),
    "a list that is a text": ("holder", lambda w: spoilt(w, epcList=serial("9525001")), "EVENT_INVALID"),
    "a time in the future": (
        "holder", lambda w: spoilt(w, eventTime="2199-01-01T00:00:00.000Z"), "EVENT_TIME_OUT_OF_BOUNDS"),
    "an identifier that is none": ("holder", lambda w: spoilt(w, epcList=["no identifier"]), "IDENTIFIER_INVALID"),
    "a wrong check digit": (
        "holder", lambda w: spoilt(w, epcList=["https://id.gs1.org/01/09525001000012/21/x"]), "IDENTIFIER_INVALID"),
    "a class where a part is meant": (
        "holder", lambda w: spoilt(w, epcList=[serial("9525001").rpartition("/21/")[0]]), "IDENTIFIER_INVALID"),
    "no part at all": ("holder", lambda w: spoilt(w, epcList=[]), "NOTHING_TO_DO"),
    "an amount that is a text": ("holder", lambda w: amount(w, Value(text="many")), "QUANTITY_INVALID"),
    "an amount below zero": (
        "holder",
        lambda w: amount(w, Value(number=Decimal(negative=True, coefficient=b"\x05"))),
        "QUANTITY_INVALID"),
    "governed without approvals": ("holder", ungoverned, "NOT_ENOUGH_APPROVALS"),
    "sent over no client": ("holder", lambda w: sending(w, client="nowhere"), "UNKNOWN_CLIENT"),
    "sent, not in custody": ("other", sending, "NOT_IN_CUSTODY"),
    "sent, unknown part": ("holder", lambda w: sending(w, part=serial("9525001")), "UNKNOWN_PART"),
    "sent with a timeout gone by": ("holder", lambda w: sending(w, timeout_ms=1), "TIMEOUT_OUT_OF_BOUNDS"),
    "sent with no timeout": ("holder", lambda w: sending(w, timeout_ms=U64), "TIMEOUT_OUT_OF_BOUNDS"),
}  # fmt: skip


@pytest.mark.parametrize("case", RULES)
def test_what_the_rules_forbid_stays_in_the_block_and_changes_nothing(world, unmoved, case):
    signer, make, reason = RULES[case]
    who = getattr(world, signer)
    # All or nothing: what is good in the same transaction does not count either.
    first = [observing(world.part)] if signer == "holder" else []
    outcome = who.submit(who.sign(*first, make(world)))
    assert Reason.Name(outcome.reason) == reason
    assert (outcome.admitted, outcome.final, outcome.ok) == (True, True, False)


def test_a_key_that_nobody_registered_is_not_let_in(world, unmoved):
    outcome = world.stranger.submit(world.stranger.sign(observing(world.part)))
    assert (outcome.reason, outcome.admitted, outcome.ok) == (Reason.UNKNOWN_KEY, False, False)


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


# ---- the consensus port -----------------------------------------------------------------------------------


def place_of(world, member):
    return next(node for node in world.bed.network.nodes if node.name == f"{CHAIN}-{member}")


def garbage():
    yield b"\0" * 20_000
    yield os.urandom(20_000)
    yield b"GET / HTTP/1.1\r\n\r\n"
    yield b"\x16\x03\x01\xff\xff" + os.urandom(4_000)  # begins as TLS does
    yield b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + os.urandom(5_000)


def test_garbage_without_tls_on_the_consensus_port(world, unmoved):
    host, port = place_of(world, HOLDER).validators.split(":")
    for data in garbage():
        with socket.create_connection((host, int(port)), timeout=5) as line:
            line.sendall(data)
            line.settimeout(2)
            try:
                while line.recv(4_096):
                    pass
            except OSError:
                pass


def test_nobody_without_a_certificate_speaks_on_the_consensus_port(world, unmoved):
    host, port = place_of(world, HOLDER).validators.split(":")
    context = ssl.create_default_context(cafile=str(world.session.trust.ca))
    context.set_alpn_protocols(["h2"])
    with socket.create_connection((host, int(port)), timeout=5) as line, pytest.raises(OSError):
        with context.wrap_socket(line, server_hostname=host) as secure:
            secure.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            while data := secure.recv(4_096):
                assert data  # the server's first words, before it has seen that we show nothing
            raise OSError("closed")


def exchange(world, certificate, key, hello, frames):
    """What a call on HOLDER's consensus port ends with."""
    credentials = grpc.ssl_channel_credentials(
        world.session.trust.ca.read_bytes(), key.read_bytes(), certificate.read_bytes()
    )
    with grpc.secure_channel(place_of(world, HOLDER).validators, credentials) as channel:
        held = threading.Event()

        def sent():
            yield from frames
            held.wait(10)

        call = PeerStub(channel).Exchange(sent(), metadata=hello, timeout=8)
        try:
            for _ in call:
                pass
            return grpc.StatusCode.OK
        except grpc.RpcError as error:
            return error.code()
        finally:
            held.set()


def hello_of(world):
    return (
        ("chiptrace-chain", world.session.trust.chain_id.hex()),
        ("chiptrace-state-version", "1"),
    )


def test_a_members_certificate_opens_no_consensus_port(world, unmoved):
    identity = world.session.identity
    frames = [PeerFrame(message=b"\x0a\x00")]
    code = exchange(world, identity.certificate, identity.tls_key, hello_of(world), frames)
    assert code == grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    "message", [b"\xff" * 500, os.urandom(300_000), b"\x0a\x05hello", UNKNOWN_FIELD], ids=range(4)
)
def test_a_validator_that_speaks_garbage_is_hung_up_on(world, unmoved, message):
    place = world.bed.network.node_directory(f"{CHAIN}-{OTHER}")
    frames = [PeerFrame(message=message)]
    code = exchange(world, place / "node.pem", place / "node-key.pem", hello_of(world), frames)
    assert code == grpc.StatusCode.INVALID_ARGUMENT


def test_a_validator_of_another_chain_is_told_so(world, unmoved):
    place = world.bed.network.node_directory(f"{CHAIN}-{OTHER}")
    hello = (("chiptrace-chain", "00" * 32), hello_of(world)[1])
    code = exchange(world, place / "node.pem", place / "node-key.pem", hello, [])
    assert code == grpc.StatusCode.FAILED_PRECONDITION


# ---- absurd questions ---------------------------------------------------------------------------------------

ANSWERED = None
QUESTIONS = {
    "a proof of far too many keys": ("Prove", ProveRequest(keys=[b"k"] * 100_000), "OVERSIZE"),
    "a proof of the empty key": ("Prove", ProveRequest(keys=[b""]), ANSWERED),
    "a proof of a key of a megabyte": ("Prove", ProveRequest(keys=[bytes(1_000_000)]), None),
    "a proof at no height": ("Prove", ProveRequest(keys=[b"k"], height=U64), "HEIGHT_NOT_SERVED"),
    "a block of no height": ("GetBlock", BlockAtRequest(height=U64), "NOT_FOUND"),
    "headers after the end of time": ("GetHeaders", HeadersRequest(from_height=U64), ANSWERED),
    "a history of nobody": ("GetHistory", HistoryRequest(subject=os.urandom(100_000)), ANSWERED),
    "a history from its end": (
        "GetHistory", HistoryRequest(subject=state.member_key(HOLDER), from_n=U64, limit=U64), ANSWERED),
    "a history of everything": (
        "GetHistory", HistoryRequest(subject=b"", from_n=0, limit=U64, with_transactions=True), ANSWERED),
    "a transaction of a long name": ("GetTransaction", TransactionRequest(id=bytes(500_000)), "NOT_FOUND"),
    "a transaction of no name": ("GetTransaction", TransactionRequest(id=b""), "NOT_FOUND"),
    "log leaves of no height": ("GetLogLeaves", LogLeavesRequest(heights=[0], size=5), "NOT_FOUND"),
    "log leaves beyond the log": ("GetLogLeaves", LogLeavesRequest(heights=[U64], size=U64), "NOT_FOUND"),
    "log leaves of a log too long": ("GetLogLeaves", LogLeavesRequest(heights=[1], size=U64), "NOT_FOUND"),
    "far too many log leaves": ("GetLogLeaves", LogLeavesRequest(heights=[1] * 100_000, size=1), "OVERSIZE"),
    "packets of no client": ("GetPackets", PacketsRequest(client="\0" * 10_000, limit=2**32 - 1), None),
    "packets after the last": ("GetPackets", PacketsRequest(client="chipmaker", from_sequence=U64), ANSWERED),
    "no transactions": ("Submit", SubmitRequest(wait=True), ANSWERED),
    "far too many transactions": ("Submit", SubmitRequest(transactions=[b""] * 100_000), "OVERSIZE"),
}  # fmt: skip


@pytest.mark.parametrize("case", QUESTIONS)
def test_absurd_questions_get_an_answer_or_a_reason(world, unmoved, case):
    method, request, reason = QUESTIONS[case]
    stub = world.session.connection.stub(world.session.connection.endpoint)
    try:
        getattr(stub, method)(request, timeout=10)
        told = None
    except grpc.RpcError as error:
        told = dict(error.trailing_metadata() or ()).get("chiptrace-reason")
        assert told, (error.code(), error.details())
    assert told == reason


def test_following_from_the_end_of_time_waits_and_hurts_nobody(world, unmoved):
    stub = world.session.connection.stub(world.session.connection.endpoint)
    with pytest.raises(grpc.RpcError) as error:
        next(stub.Follow(FollowRequest(from_height=U64), timeout=1))
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
