"""Known attacks on packets, by their number in docs/bridge-testing.md: what arrives, is answered, and times out.

Each of these tests is seen to fail with its guard removed: tests/bridge/guards.py, scripts/bridge_guards.py.
"""

from itertools import pairwise

import pytest

from bridge import handlers
from bridge.custody_transfer import ENCODING, PORT, VERSION
from bridge.machine import operations
from bridge.packet import (
    ERROR,
    SUCCESS,
    acknowledgement_commitment,
    packet_commitment,
    received_row_key,
    sent_row_key,
)
from ledger import codec, state
from ledger.block import decode_header
from ledger.errors import Refused
from ledger.hashes import ZERO, sha256
from ledger.tree import StateTree
from proto.chiptrace.v1.bridge_pb2 import (
    AcknowledgePacket,
    CustodyTransfer,
    Packet,
    ReceivePacket,
    RemoteProof,
    UpdateClient,
)
from proto.chiptrace.v1.ledger_pb2 import (
    DEPARTED,
    IN_TRANSIT,
    LIVE,
    OFFERED,
    AppHashOpening,
    Operation,
    PartRecord,
    Reason,
)
from tests.bridge.test_handlers import TAMPERED, TRANSFER, Sent, changed, refused
from tests.bridge.two_chains import HOUR_MS, World, prove, serial


def test_attack_08_the_proven_packet_is_not_the_one_acted_on():
    """Verus: a valid proof beside another amount. Every field of the packet and of what it carries is in what is proven."""
    sent = Sent()
    proof = sent.commitment_proof()
    for name, value in TAMPERED.items():
        assert not sent.receive(proof=proof, **{name: value}).ok
    for name, value in TRANSFER.items():
        transfer = CustodyTransfer.FromString(sent.packet.value)
        assert getattr(transfer, name) != value
        setattr(transfer, name, value)
        refused(sent.receive(proof=proof, value=codec.encode(transfer)), Reason.BAD_PROOF)
    assert sent.statuses() == (IN_TRANSIT, 0)
    # The same at the other end, where the stored commitment speaks.
    sent.received()
    for name, value in TAMPERED.items():
        if name != "sequence":  # there is none of another sequence: nothing to do
            assert not sent.acknowledge(**{name: value}).ok
            assert not sent.time_out(**{name: value}).ok
    assert sent.acknowledge().ok


def a_corrupt_chain(packet_fields, *, custody=True):
    """Chain b, home of nothing, commits to a packet to chain a, as its quorum is corrupt."""
    world = World("a", "b", corrupt="b")
    part = world.commission("a", "ada")
    if custody:
        assert world.send("a", part, "bob").ok
        world.relay()
        assert world.accept("b", part, "bob").ok
    fields = {
        "source_client": "a-1",
        "destination_client": "b-1",
        "sequence": 7,
        "timeout_ms": world.clock.now_ms + HOUR_MS,
        "source_port": PORT,
        "destination_port": PORT,
        "version": VERSION,
        "encoding": ENCODING,
        "value": codec.encode(transfer_of(world, part)),
    }
    packet = Packet(**(fields | packet_fields))
    world.forge("b", packet)
    world.settle()
    update = UpdateClient(
        client="b-1", headers=world["b"].headers_above(world["a"].client("b-1").latest_height)
    )
    assert world["a"].operate("ada", Operation(update_client=codec.encode(update)), role="relayer").ok
    return world, part, packet


def transfer_of(world, sent_part, **fields):
    values = {
        "part": sent_part,
        "origin_chain": world["a"].chain_id,
        "hop": 9,
        "sender": "bob",
        "receiver": "amy",
        "history_root": bytes(range(32)),
        "class_commissioner": "ada",
        "ownership": True,
    }
    return CustodyTransfer(**(values | fields))


def bring(world, packet):
    proof = prove(
        world["b"],
        world["a"].client("b-1").latest_height,
        state.commitment_key(packet.source_client, packet.sequence),
    )
    message = ReceivePacket(packet=packet, proof=proof)
    return world["a"].operate("ada", Operation(receive_packet=codec.encode(message)), role="relayer")


PORTS = (
    "client",
    "governance",
    "validators",
    "custody/2",
    "custody",
    "CUSTODY/1",
    "custody/1/",
    "receive_packet",
)


@pytest.mark.parametrize("port", PORTS)
def test_attack_11_a_packet_for_what_is_no_application(port):
    """Poly: a message could call the contract that held the keys. Ports are a list, and both ends must name one of it."""
    for source, destination in ((port, port), (PORT, port), (port, PORT)):
        fields = {"source_port": source, "destination_port": destination}
        world, part, packet = a_corrupt_chain(fields)
        before = {
            key: world["a"].app.store.get(key)
            for key in (
                state.part_key(part),
                state.client_key("b-1"),
                state.VALIDATORS_KEY,
                state.PARAMETERS_KEY,
            )
        }
        result = bring(world, packet)
        assert (result.ok, result.reason) == (True, Reason.PORT_NOT_ALLOWED)
        answer = world["a"].app.store.get(state.acknowledgement_key("b-1", packet.sequence))
        assert answer == acknowledgement_commitment(ERROR)
        assert {key: world["a"].app.store.get(key) for key in before} == before


def test_attack_14_what_brings_a_part_in_without_a_proof():
    """CrossCurve: a public entry that did not ask the gateway. Only a proven packet brings a part, by whatever operation
    the bytes of it are sent."""
    sent = Sent()
    transfer, packet = sent.packet.value, codec.encode(sent.packet)
    unproven = codec.encode(ReceivePacket(packet=sent.packet, proof=RemoteProof()))
    elsewhere = codec.encode(ReceivePacket(packet=sent.packet, proof=prove(sent.b, 3, state.PARAMETERS_KEY)))
    # A state of the prover's own making, in which everything is as he likes, under a header that is kept.
    pages = {}
    made = StateTree(sent.a.chain_id, pages.get, ZERO).update({sent.key: packet_commitment(sent.packet)})
    own = RemoteProof(
        header_height=sent.b.client("a-1").latest_height,
        opening=AppHashOpening(state_root=made.root, log_size=sent.a.height - 1, log_root=made.root),
    )
    home_made = codec.encode(ReceivePacket(packet=sent.packet, proof=own))
    kinds = Operation.DESCRIPTOR.oneofs_by_name["kind"].fields
    carried = [field.name for field in kinds if field.message_type is None]
    assert "receive_packet" in carried
    for name in carried:
        for data in (transfer, packet, unproven, elsewhere, home_made, b""):
            for role in ("relayer", "operator"):
                sent.b.operate("bob", Operation(**{name: data}), role=role)
    assert sent.b.record(state.part_key(sent.part), PartRecord) is None
    assert {name for name in operations() if "receive" in name} == {"receive_packet"}
    assert sent.receive().ok


def test_attack_15_an_application_that_comes_back_in():
    """The commitment is gone before the application hears: what it brings again is redundant."""
    for ending in ("acknowledged", "timed_out"):
        sent = Sent(timeout_ms=HOUR_MS)
        whole = handlers.APPLICATIONS[PORT]
        seen = []

        def again(ctx, packet, *rest, sent=sent, seen=seen, whole=whole, ending=ending):
            seen.append(ctx.overlay.get(sent.key))
            message = AcknowledgePacket(packet=packet, acknowledgement=SUCCESS, proof=RemoteProof())
            handlers.acknowledge_packet(ctx, message)
            getattr(whole, ending)(ctx, packet, *rest)

        hostile = {"receive": whole.receive, "acknowledged": whole.acknowledged, "timed_out": whole.timed_out}
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(handlers.APPLICATIONS, PORT, handlers.Application(**(hostile | {ending: again})))
            if ending == "acknowledged":
                assert sent.received().acknowledge().ok
            else:
                assert sent.let_time_out().time_out().ok
        assert seen == [None]
        assert sent.statuses() == ((DEPARTED, OFFERED) if ending == "acknowledged" else (LIVE, 0))


def test_attack_16_the_traces_of_what_was_undone(monkeypatch):
    """Huckleberry: events of a receive that was rolled back were believed. Nothing of it is left, in no table."""
    sent = Sent()
    whole = handlers.APPLICATIONS[PORT]

    def receive(ctx, client, packet):
        whole.receive(ctx, client, packet)
        ctx.side_put(b"side", b"row")
        raise Refused("after all no", Reason.NOT_LIVE)

    refusing = handlers.Application(receive, whole.acknowledged, whole.timed_out)
    monkeypatch.setitem(handlers.APPLICATIONS, PORT, refusing)
    result = sent.receive()
    assert (result.ok, result.reason) == (True, Reason.NOT_LIVE)
    written = sent.b.last_outcome
    assert set(written.changes) == {state.receipt_key("a-1", 1), state.acknowledgement_key("a-1", 1)}
    assert written.entries == []
    assert [key for key, _ in written.side] == [received_row_key("a-1", 1)]
    assert sent.b.record(state.part_key(sent.part), PartRecord) is None


def test_attack_17_bytes_that_two_nodes_read_differently():
    """ASA-2025-004: an answer decoded in two ways. There is one encoding of everything, and two answers."""
    sent = Sent()
    good = codec.encode(ReceivePacket(packet=sent.packet, proof=sent.commitment_proof()))
    packet = ReceivePacket.FromString(good).packet
    value = packet.value
    for data in (
        good[len(good) // 2 :] + good[: len(good) // 2],
        codec.encode(ReceivePacket(proof=sent.commitment_proof()))
        + codec.encode(ReceivePacket(packet=packet)),
        good + b"\x0a\x00",  # an empty packet merged into the first
        b"\x0a\x80\x00" + good,
    ):
        result = sent.b.operate("bob", Operation(receive_packet=data), role="relayer")
        assert (result.ok, result.reason) == (False, Reason.MALFORMED)
    # What a packet carries is read as strictly: another form of it is answered with the error.
    transfer = CustodyTransfer.FromString(value)
    assert codec.encode(transfer) == value
    world = World("a", "b", corrupt="a")
    part = world.commission("a", "ada")
    padded = codec.encode(transfer_of(world, part, receiver="bob", hop=1)) + b"\x30\x00"
    forged = Packet(
        source_client="b-1",
        destination_client="a-1",
        sequence=1,
        timeout_ms=world.clock.now_ms + HOUR_MS,
        source_port=PORT,
        destination_port=PORT,
        version=VERSION,
        encoding=ENCODING,
        value=padded,
    )
    world.forge("a", forged)
    world.settle()
    relayer = world.relayers["a", "b"]
    height = world["a"].height
    update = UpdateClient(client="a-1", headers=[world["a"].header(height)])
    assert world["b"].operate("bob", Operation(update_client=codec.encode(update)), role="relayer").ok
    message = ReceivePacket(packet=forged, proof=prove(world["a"], height, state.commitment_key("b-1", 1)))
    result = world["b"].operate("bob", Operation(receive_packet=codec.encode(message)), role="relayer")
    assert (result.ok, result.reason) == (True, Reason.MALFORMED)
    assert world.part("b", part).status == 0
    assert relayer.client_on_b == "a-1"
    # And an answer is one of two.
    sent.received()
    for answer in (b"", b"\x00", b"\x01\x00", b"\x02", bytes(32), b'{"result":"AQ=="}'):
        refused(sent.acknowledge(answer), Reason.PACKET_MISMATCH)


def test_attack_18_the_text_of_an_error_in_the_state():
    """Text differs between versions and machines, and forks. Every refusal is answered by one constant."""
    answers, reasons = set(), set()
    for fields in (
        {"value": b"\xff"},
        {"version": "custody/9"},
        {"destination_port": "client"},
        {"value": None, "receiver": "nobody"},
        {"value": None, "part": serial(999)},
        {"value": None, "hop": 1},
    ):
        transfer = {name: fields.pop(name) for name in ("receiver", "part", "hop") if name in fields}
        world, part, packet = a_corrupt_chain({})
        if "value" in fields and fields["value"] is None:
            fields["value"] = codec.encode(transfer_of(world, part, **transfer))
        packet = changed(packet, sequence=8, **fields)
        world.forge("b", packet)
        world.settle()
        update = UpdateClient(client="b-1", headers=[world["b"].header(world["b"].height)])
        assert world["a"].operate("ada", Operation(update_client=codec.encode(update)), role="relayer").ok
        result = bring(world, packet)
        assert result.ok
        reasons.add(result.reason)
        answers.add(world["a"].app.store.get(state.acknowledgement_key("b-1", 8)))
    assert len(reasons) >= 5
    assert Reason.REASON_UNSPECIFIED not in reasons
    assert answers == {acknowledgement_commitment(sha256(b"UNIVERSAL_ERROR_ACKNOWLEDGEMENT"))}


def test_attack_24_names_that_begin_alike():
    """`channel-1` and `channel-10`: no key is a prefix's key of another, and bytes cannot move from one part to the next."""
    names = ("a", "a1", "a10", "a-1", "a-10", "a-1-", "1", "10", "")
    made = {}
    for name in names:
        for sequence in (1, 10, 256, 2**40):
            for build in (state.commitment_key, state.receipt_key, state.acknowledgement_key):
                made.setdefault(build(name, sequence), []).append((build.__name__, name, sequence))
    assert all(len(who) == 1 for who in made.values())
    keys = sorted(made)
    assert not any(later.startswith(key) for key, later in pairwise(keys))
    for kind in (state.Kind.COMMITMENT, state.Kind.PART):
        assert state.state_key(kind, "a", "bc") != state.state_key(kind, "ab", "c")
        assert state.state_key(kind, "a", "") != state.state_key(kind, "a")
    assert sent_row_key("a-1", 10) != received_row_key("a-1", 10)
    # Two clients whose names begin alike, each with packets of its own.
    world = World("a", "b")
    world.relayers["a", "b", "1"] = world.relayers["a", "b"]
    world.join("a", "b", "10")
    parts = [world.commission("a", "ada") for _ in range(2)]
    for part, client in zip(parts, ("b-1", "b-10"), strict=True):
        assert world.send("a", part, "bob", client=client).ok
    world.relay()
    assert [world.part("b", part).client for part in parts] == ["a-1", "a-10"]
    assert [world.part("a", part).status for part in parts] == [DEPARTED, DEPARTED]


def test_attack_26_the_same_sequence_on_two_routes():
    """Two chains send their first packet to the same third one: each has its own receipt and its own answer."""
    world = World("a", "b", "c")
    parts = [world.commission("a", "ada") for _ in range(2)]
    for part, receiver, chain in zip(parts, ("bob", "cyd"), "bc", strict=True):
        assert world.send("a", part, receiver, to=chain).ok
    world.relay()
    for part, member, chain in zip(parts, ("bob", "cyd"), "bc", strict=True):
        assert world.accept(chain, part, member).ok
        assert world.send(chain, part, "amy", to="a").ok
        assert world[chain].sent("a-1", 1).sequence == 1
    world.relay()
    assert [world.part("a", part).status for part in parts] == [OFFERED, OFFERED]
    assert world.part("b", parts[0]).status == world.part("c", parts[1]).status == DEPARTED
    for client in ("b-1", "c-1"):
        assert world["a"].app.store.get(state.receipt_key(client, 1)) is not None


def test_attack_27_a_timeout_by_a_state_from_before_it():
    """A fresh header certifies the state before it. At the timeout exactly one of receipt and timeout can happen."""
    early, late = Sent(), Sent()
    early.world.clock.now_ms = early.packet.timeout_ms - 1
    assert early.receive().ok
    late.world.clock.now_ms = late.packet.timeout_ms
    refused(late.receive(), Reason.TIMED_OUT)
    # The state of the last block before the timeout, under a header after it, which was brought in good time.
    sent = Sent()
    sent.world.clock.now_ms = sent.packet.timeout_ms - 1
    sent.b.produce()
    old = sent.b.height
    sent.world.clock.now_ms = sent.packet.timeout_ms
    sent.b.produce()
    assert decode_header(sent.b.header(old + 1).header).time_ms >= sent.packet.timeout_ms
    update = UpdateClient(client="b-1", headers=[sent.b.header(old + 1)])
    assert sent.a.operate("ada", Operation(update_client=codec.encode(update)), role="relayer").ok
    refused(sent.time_out(sent.absence_proof(old + 1)), Reason.TIMEOUT_NOT_REACHED)
    assert sent.statuses() == (IN_TRANSIT, 0)
    # A head that no quorum has certified here proves nothing at all.
    sent.b.produce()
    refused(sent.time_out(sent.absence_proof(sent.b.height)), Reason.UNKNOWN_HEADER)
    sent.update("a")
    assert sent.time_out().ok


def test_attack_28_timeouts_of_other_units_and_sizes():
    """Seconds for milliseconds, nothing, the past, and what overflows: a part is not sent with it."""
    world = World()
    part = world.commission("a", "ada")
    now = world.clock.now_ms
    for timeout_ms in (
        0,
        1,
        now // 1_000,
        now - 1,
        now + 2 * 86_400_000 + 10_000,
        now * 1_000_000,
        2**63,
        2**64 - 1,
    ):
        result = world.send("a", part, "bob", timeout_ms=timeout_ms - world.clock.now_ms)
        refused(result, Reason.TIMEOUT_OUT_OF_BOUNDS)
    assert world.part("a", part).hop == 0
    assert world.send("a", part, "bob", timeout_ms=HOUR_MS).ok


def test_attack_29_a_sender_with_the_name_of_one_of_ours():
    """What another chain calls its sender gives no right here, and a return ends with who shipped the part."""
    world, part, packet = a_corrupt_chain({})
    # A corrupt chain returns the part in the name of our own member, to another than its shipper.
    for sender, receiver in (("ada", "amy"), ("ada", "abe"), ("bob", "ann")):
        transfer = transfer_of(world, part, sender=sender, receiver=receiver)
        setattr(transfer, "return", True)
        forged = changed(packet, sequence=packet.sequence + 1, value=codec.encode(transfer))
        packet = forged
        world.forge("b", forged)
        world.settle()
        update = UpdateClient(client="b-1", headers=[world["b"].header(world["b"].height)])
        assert world["a"].operate("ada", Operation(update_client=codec.encode(update)), role="relayer").ok
        result = bring(world, forged)
        assert (result.ok, result.reason) == (True, Reason.PACKET_MISMATCH)
        assert world.part("a", part).status == DEPARTED
    # An honest arrival whose sender is called like one of ours: only its receiver acts on it.
    world, part, packet = a_corrupt_chain({})
    local = changed(packet, sequence=8, value=codec.encode(transfer_of(world, part, sender="ada")))
    world.forge("b", local)
    world.settle()
    update = UpdateClient(client="b-1", headers=[world["b"].header(world["b"].height)])
    assert world["a"].operate("ada", Operation(update_client=codec.encode(update)), role="relayer").ok
    assert bring(world, local).ok
    record = world.part("a", part)
    assert (record.status, record.holder, record.offered_to) == (OFFERED, "", "amy")
    assert not world.accept("a", part, "ada").ok
    assert not world.give_back("a", part, "ada").ok
    assert world.accept("a", part, "amy").ok
