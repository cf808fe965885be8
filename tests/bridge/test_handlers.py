"""Packets received, acknowledged and timed out, against everything that may be sent instead.

Numbers in test names are those of the list of known exploits and bad inputs that the bridge was designed against
(1 to 30); a name without a number is a rule of our own.
"""

import pytest

from bridge import custody_transfer, handlers
from bridge.machine import changes, operations
from bridge.packet import ERROR, RECEIPT, SUCCESS, acknowledgement_commitment, packet_commitment
from bridge.proofs import verify_remote
from ledger import codec, state, tree_proof
from ledger.block import decode_header
from ledger.errors import Invalid, Refused
from ledger.hashes import ZERO
from ledger.limits import KEYS_PER_TRANSACTION_MAX, RECORDS_PER_TRANSACTION_MAX, ROWS_PER_TRANSACTION_MAX
from ledger.overlay import TOO_MUCH
from proto.chiptrace.v1.bridge_pb2 import (
    AcknowledgePacket,
    CustodyTransfer,
    Packet,
    ReceivePacket,
    RemoteProof,
    TimeoutPacket,
    UpdateClient,
)
from proto.chiptrace.v1.ledger_pb2 import (
    DEPARTED,
    IN_TRANSIT,
    LIVE,
    OFFERED,
    Operation,
    PartRecord,
    Reason,
    StateProof,
)
from tests.bridge.test_clients import forge, misbehave
from tests.bridge.two_chains import HOUR_MS, World, prove


class Sent:
    """A world in which ada of chain a has sent a part to bob of chain b, and b's client is at a's head."""

    def __init__(self, world=None, receiver="bob", timeout_ms=HOUR_MS):
        self.world = world or World()
        self.a, self.b = self.world["a"], self.world["b"]
        self.part = self.world.commission("a", "ada")
        assert self.world.send("a", self.part, receiver, to="b", timeout_ms=timeout_ms).ok
        self.packet = self.a.sent("b-1", self.a.client("b-1").next_sequence - 1)
        self.a.settle()
        self.update("b")

    @property
    def key(self):
        return state.commitment_key("b-1", self.packet.sequence)

    def update(self, name):
        """Brings the other chain's head to a chain's client."""
        host, source = (self.a, self.b) if name == "a" else (self.b, self.a)
        source.settle()
        client = f"{source.name}-1"
        message = UpdateClient(client=client, headers=source.headers_above(host.client(client).latest_height))
        if message.headers:
            result = host.operate(
                host.members[0], Operation(update_client=codec.encode(message)), role="relayer"
            )
            assert result.ok, result

    def commitment_proof(self) -> RemoteProof:
        return prove(self.a, self.b.client("a-1").latest_height, self.key)

    def receive(self, packet=None, proof=None, *, role="relayer", host=None, **changes):
        message = ReceivePacket(
            packet=changed(packet or self.packet, **changes),
            proof=self.commitment_proof() if proof is None else proof,
        )
        chain = host or self.b
        return chain.operate(chain.members[0], Operation(receive_packet=codec.encode(message)), role=role)

    def received(self):
        result = self.receive()
        assert result.ok, result
        self.update("a")
        return self

    def answer(self) -> bytes:
        return SUCCESS if self.world.part("b", self.part).status == OFFERED else ERROR

    def acknowledgement_proof(self) -> RemoteProof:
        key = state.acknowledgement_key("a-1", self.packet.sequence)
        return prove(self.b, self.a.client("b-1").latest_height, key)

    def acknowledge(self, answer=SUCCESS, proof=None, *, role="relayer", **changes):
        message = AcknowledgePacket(
            packet=changed(self.packet, **changes),
            acknowledgement=answer,
            proof=self.acknowledgement_proof() if proof is None else proof,
        )
        return self.a.operate("ada", Operation(acknowledge_packet=codec.encode(message)), role=role)

    def absence_proof(self, height=None) -> RemoteProof:
        key = state.receipt_key("a-1", self.packet.sequence)
        return prove(self.b, height or self.a.client("b-1").latest_height, key, leaf=True)

    def time_out(self, proof=None, *, role="relayer", **changes):
        message = TimeoutPacket(
            packet=changed(self.packet, **changes), proof=self.absence_proof() if proof is None else proof
        )
        return self.a.operate("ada", Operation(timeout_packet=codec.encode(message)), role=role)

    def let_time_out(self):
        self.world.clock.now_ms = self.packet.timeout_ms
        self.b.produce()
        self.b.produce()
        self.update("a")
        return self

    def statuses(self):
        return tuple(self.world.part(name, self.part).status for name in ("a", "b"))


def changed(packet: Packet, **changes) -> Packet:
    copy = Packet()
    copy.CopyFrom(packet)
    for name, value in changes.items():
        setattr(copy, name, value)
    return copy


def refused(result, reason):
    assert (result.ok, Reason.Name(result.reason)) == (False, Reason.Name(reason))


# ---- what holds ---------------------------------------------------------------------------------------------


def test_a_packet_is_received_with_receipt_and_acknowledgement():
    sent = Sent()
    assert sent.a.app.store.get(sent.key) == packet_commitment(sent.packet)
    result = sent.receive()
    assert (result.ok, result.reason) == (True, Reason.REASON_UNSPECIFIED)
    assert sent.b.app.store.get(state.receipt_key("a-1", 1)) == RECEIPT
    assert sent.b.app.store.get(state.acknowledgement_key("a-1", 1)) == acknowledgement_commitment(SUCCESS)
    assert sent.statuses() == (IN_TRANSIT, OFFERED)


def test_an_acknowledgement_closes_the_packet():
    sent = Sent().received()
    assert sent.acknowledge().ok
    assert sent.a.app.store.get(sent.key) is None
    assert sent.statuses() == (DEPARTED, OFFERED)


def test_a_timeout_closes_the_packet_and_the_part_is_back():
    sent = Sent().let_time_out()
    assert sent.time_out().ok
    assert sent.a.app.store.get(sent.key) is None
    assert sent.statuses() == (LIVE, 0)
    assert sent.world.part("a", sent.part).holder == "ada"


def test_an_error_acknowledgement_brings_the_part_back():
    sent = Sent(receiver="nobody")
    result = sent.receive()
    assert (result.ok, result.reason) == (True, Reason.UNKNOWN_MEMBER)
    sent.update("a")
    assert sent.acknowledge(ERROR).ok
    assert sent.statuses() == (LIVE, 0)


@pytest.mark.parametrize("role", ["auditor", "device", "regulator", "validator"])
def test_only_relayers_and_operators_carry(role):
    sent = Sent()
    refused(sent.receive(role=role), Reason.ROLE_NOT_ALLOWED)
    assert sent.receive(role="operator").ok
    sent.update("a")
    refused(sent.acknowledge(role=role), Reason.ROLE_NOT_ALLOWED)
    refused(sent.time_out(role=role), Reason.ROLE_NOT_ALLOWED)


# ---- once -----------------------------------------------------------------------------------------------------


def test_a_second_receive_is_redundant_and_changes_nothing():
    sent = Sent()
    assert sent.receive().ok
    before = sent.b.state_root
    for again in (sent.receive(), sent.receive(proof=RemoteProof())):
        assert (again.ok, again.reason) == (True, Reason.REDUNDANT)
    assert sent.b.state_root == before


def test_a_packet_received_as_an_error_is_not_received_again():
    sent = Sent(receiver="nobody")
    assert sent.receive().ok
    assert sent.receive().reason == Reason.REDUNDANT
    sent.update("a")
    assert sent.acknowledge(ERROR).ok
    assert sent.receive(proof=RemoteProof()).reason == Reason.REDUNDANT


def test_15_a_second_acknowledgement_or_timeout_is_redundant():
    sent = Sent().received()
    assert sent.acknowledge().ok
    before = sent.a.state_root
    for again in (sent.acknowledge(), sent.acknowledge(ERROR), sent.time_out(proof=RemoteProof())):
        assert (again.ok, again.reason) == (True, Reason.REDUNDANT)
    assert sent.a.state_root == before


def test_15_the_commitment_is_gone_before_the_application_hears(monkeypatch):
    sent = Sent().received()
    seen = []
    whole = handlers.APPLICATIONS["custody/1"]

    def acknowledged(ctx, packet, success):
        seen.append(ctx.overlay.get(sent.key))
        # An application that brings the same acknowledgement again gets nowhere.
        again = AcknowledgePacket(packet=packet, acknowledgement=SUCCESS, proof=RemoteProof())
        handlers.acknowledge_packet(ctx, again)
        whole.acknowledged(ctx, packet, success)

    application = handlers.Application(whole.receive, acknowledged, whole.timed_out)
    monkeypatch.setitem(handlers.APPLICATIONS, "custody/1", application)
    assert sent.acknowledge().ok
    assert seen == [None]


def test_all_in_one_transaction_are_all_or_nothing_but_redundant_ones_do_not_fail():
    sent = Sent()
    one = Operation(
        receive_packet=codec.encode(ReceivePacket(packet=sent.packet, proof=sent.commitment_proof()))
    )
    result = sent.b.operate("bob", one, one, role="relayer")
    assert (result.ok, result.reason) == (True, Reason.REDUNDANT)
    assert sent.statuses() == (IN_TRANSIT, OFFERED)


# ---- authentic --------------------------------------------------------------------------------------------------

TAMPERED = {
    "source_client": "b-2",
    "destination_client": "a-2",
    "sequence": 2,
    "timeout_ms": 1_800_000_000_000,
    "source_port": "custody/2",
    "destination_port": "custody/2",
    "version": "custody/2",
    "encoding": "json",
    "value": b"\x0a\x01x",
}


@pytest.mark.parametrize("name", TAMPERED)
def test_08_each_field_of_a_tampered_packet_is_noticed_at_receipt(name):
    sent = Sent()
    before = sent.b.state_root
    result = sent.receive(**{name: TAMPERED[name]})
    expected = {
        "source_client": Reason.WRONG_COUNTERPARTY,
        "destination_client": Reason.UNKNOWN_CLIENT,
    }
    refused(result, expected.get(name, Reason.BAD_PROOF))
    assert sent.b.state_root == before


TRANSFER = {
    "part": "https://id.gs1.org/01/04012345111118/21/99",
    "origin_chain": bytes(31) + b"x",
    "hop": 2,
    "sender": "eve",
    "receiver": "bea",
    "adopted": True,
    "history_root": bytes(31) + b"x",
    "history_n": 9,
    "return": True,
    "class_commissioner": "eve",
    "ownership": False,
}


@pytest.mark.parametrize("name", TRANSFER)
def test_08_each_field_of_the_payload_is_bound_to_the_proof(name):
    sent = Sent()
    transfer = CustodyTransfer.FromString(sent.packet.value)
    assert getattr(transfer, name) != TRANSFER[name]
    setattr(transfer, name, TRANSFER[name])
    refused(sent.receive(value=codec.encode(transfer)), Reason.BAD_PROOF)


@pytest.mark.parametrize("name", [name for name in TAMPERED if name != "sequence"])
def test_08_a_tampered_packet_is_not_acknowledged_or_timed_out(name):
    sent = Sent().received()
    expected = {
        "source_client": Reason.UNKNOWN_CLIENT,
        "destination_client": Reason.WRONG_COUNTERPARTY,
    }
    for result in (sent.acknowledge(**{name: TAMPERED[name]}), sent.time_out(**{name: TAMPERED[name]})):
        refused(result, expected.get(name, Reason.PACKET_MISMATCH))


def test_08_every_bit_of_an_accepted_proof_counts():
    """Oracle: single-bit flips of the proof reject."""
    sent = Sent()
    good = codec.encode(sent.commitment_proof())
    step = max(1, len(good) * 8 // 120)
    for bit in range(0, len(good) * 8, step):
        flipped = bytearray(good)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            proof = RemoteProof.FromString(bytes(flipped))
        except Exception:
            continue
        proof.DiscardUnknownFields()
        if codec.encode(proof) == good:
            continue
        with pytest.raises(Exception) as caught:
            verify_only(sent, proof)
        assert getattr(caught.value, "reason", None) in (
            Reason.BAD_PROOF,
            Reason.UNKNOWN_HEADER,
            Reason.MALFORMED,
        )


def verify_only(sent, proof, key=None, value=None):
    verify_remote(
        sent.b.app.store,
        sent.b.client("a-1"),
        sent.b.info.time_ms,
        proof,
        key or sent.key,
        packet_commitment(sent.packet) if value is None else value,
    )


def test_04_06_empty_and_truncated_proofs_prove_nothing():
    sent = Sent()
    good = sent.commitment_proof()
    empty = RemoteProof(header_height=good.header_height, opening=good.opening, proof=StateProof())
    refused(sent.receive(proof=empty), Reason.BAD_PROOF)
    refused(sent.receive(proof=RemoteProof(header_height=good.header_height)), Reason.BAD_PROOF)
    for cut in (good.proof.siblings[:-1], [*good.proof.siblings, bytes(32)], []):
        proof = RemoteProof()
        proof.CopyFrom(good)
        del proof.proof.siblings[:]
        proof.proof.siblings.extend(cut)
        refused(sent.receive(proof=proof), Reason.BAD_PROOF)
    assert sent.receive().ok


def test_06_a_proof_of_another_key_or_value_proves_nothing():
    sent = Sent()
    other = Sent(sent.world)
    assert other.packet.sequence == 2
    height = sent.b.client("a-1").latest_height
    for key in (other.key, state.part_key(sent.part), state.client_key("b-1")):
        refused(sent.receive(proof=prove(sent.a, height, key)), Reason.BAD_PROOF)
    # The proof of the second packet serves the second packet.
    assert sent.receive(other.packet, prove(sent.a, height, other.key)).ok


def test_09_a_zero_root_is_never_acceptable():
    sent = Sent().let_time_out()
    proof = sent.absence_proof()
    proof.opening.state_root = ZERO
    refused(sent.time_out(proof), Reason.BAD_PROOF)
    # Even were it certified: an empty tree would prove the absence of everything.
    with pytest.raises(Invalid):
        tree_proof.verify(sent.b.chain_id, ZERO, state.receipt_key("a-1", 1), None, StateProof())


def test_19_the_proof_of_one_chain_is_none_of_another():
    sent = Sent()
    own = prove(sent.b, sent.b.height, state.PARAMETERS_KEY)
    for height in (own.header_height, sent.b.client("a-1").latest_height):
        own.header_height = height
        result = sent.receive(proof=own)
        assert not result.ok
        assert result.reason in (Reason.BAD_PROOF, Reason.UNKNOWN_HEADER)


@pytest.mark.parametrize("height", [0, 1, 2, 2**63, 2**64 - 1])
def test_27_a_header_that_the_client_does_not_hold_proves_nothing(height):
    sent = Sent()
    proof = sent.commitment_proof()
    proof.header_height = height
    refused(sent.receive(proof=proof), Reason.UNKNOWN_HEADER)


def test_27_a_head_that_was_not_brought_proves_nothing():
    """The source has decided more, but this chain has not verified it."""
    sent = Sent()
    sent.a.produce()
    refused(sent.receive(proof=prove(sent.a, sent.a.height, sent.key)), Reason.UNKNOWN_HEADER)


def test_a_stale_header_proves_what_was_true_then():
    """A packet is provable under any kept header after it was sent, also when newer ones are known."""
    sent = Sent()
    proof = sent.commitment_proof()
    sent.a.produce()
    sent.update("b")
    assert sent.receive(proof=proof).ok


def test_replay_on_another_client_of_the_same_chain():
    sent = Sent()
    sent.world.join("a", "b", "2")
    height = sent.b.client("a-1").latest_height
    # Another pair: the packet names the first one.
    refused(sent.receive(destination_client="a-2"), Reason.WRONG_COUNTERPARTY)
    refused(sent.receive(destination_client="a-2", source_client="b-2"), Reason.UNKNOWN_HEADER)
    assert sent.receive().ok
    assert sent.b.app.store.get(state.receipt_key("a-2", 1)) is None
    assert height == sent.b.client("a-1").latest_height


def test_26_the_same_sequence_on_two_routes_does_not_collide():
    world = World("a", "b", "c")
    first, second = world.commission("a", "ada"), world.commission("a", "ada")
    assert world.send("a", first, "bob", to="b").ok
    assert world.send("a", second, "cyd", to="c").ok
    assert world["a"].sent("b-1", 1).sequence == world["a"].sent("c-1", 1).sequence == 1
    world.relay()
    assert world.part("b", first).status == OFFERED
    assert world.part("c", second).status == OFFERED
    assert world.part("b", second).status == world.part("c", first).status == 0


def test_frozen_clients_prove_nothing():
    sent = Sent()
    height = sent.b.client("a-1").latest_height
    header = sent.a.header(height)
    assert misbehave(sent.world, header, forge(sent.a, height, app_hash=bytes(31) + b"x")).ok
    refused(sent.receive(), Reason.CLIENT_FROZEN)
    assert sent.statuses() == (IN_TRANSIT, 0)


def test_30_expired_clients_prove_nothing():
    sent = Sent()
    record = sent.b.client("a-1")
    late = record.latest_time_ms + record.trusting_period_ms + 1
    with pytest.raises(Refused) as caught:
        verify_remote(sent.b.app.store, record, late, sent.commitment_proof(), sent.key, b"")
    assert caught.value.reason == Reason.CLIENT_EXPIRED


def test_14_the_application_cannot_be_reached_but_through_the_handler():
    assert "receive" not in operations()
    reachable = {name for name in operations() if "packet" in name or "part" in name}
    assert reachable - {"rehome_part", "follow_part"} == {
        "receive_packet",
        "acknowledge_packet",
        "timeout_packet",
        "send_part",
        "return_part",
    }
    assert set(changes()) & {"create_client", "thaw_client"} == {"create_client", "thaw_client"}


# ---- ports ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ports", "reason"),
    [
        (("attest/1", "attest/1"), Reason.PORT_NOT_ALLOWED),
        (("govern", "govern"), Reason.PORT_NOT_ALLOWED),
        (("custody/1", "client"), Reason.PORT_NOT_ALLOWED),
        (("client", "custody/1"), Reason.PORT_NOT_ALLOWED),
        (("custody/2", "custody/2"), Reason.PORT_NOT_ALLOWED),
    ],
)
def test_11_packets_to_other_ports_are_answered_with_the_error(monkeypatch, ports, reason):
    world = World()
    genuine = custody_transfer.send_packet

    def elsewhere(ctx, client, timeout_ms, port, version, encoding, value):
        packet = genuine(ctx, client, timeout_ms, port, version, encoding, value)
        packet.source_port, packet.destination_port = ports
        ctx.overlay.put(state.commitment_key(client, packet.sequence), packet_commitment(packet))
        return packet

    monkeypatch.setattr(custody_transfer, "send_packet", elsewhere)
    sent = Sent(world)
    packet = changed(sent.packet, source_port=ports[0], destination_port=ports[1])
    before = world.part("b", sent.part)
    result = sent.receive(packet)
    assert (result.ok, result.reason) == (True, reason)
    assert sent.b.app.store.get(state.acknowledgement_key("a-1", 1)) == acknowledgement_commitment(ERROR)
    assert world.part("b", sent.part) == before


# ---- times ------------------------------------------------------------------------------------------------------


def test_27_at_the_timeout_receipt_is_over_and_one_before_it_is_not():
    early, late = Sent(), Sent()
    early.world.clock.now_ms = early.packet.timeout_ms - 1
    assert early.receive().ok
    late.world.clock.now_ms = late.packet.timeout_ms
    refused(late.receive(), Reason.TIMED_OUT)


def test_27_receipt_and_timeout_race_and_exactly_one_wins():
    sent = Sent()
    sent.world.clock.now_ms = sent.packet.timeout_ms - 1
    assert sent.receive().ok
    sent.b.produce()
    sent.world.clock.now_ms = sent.packet.timeout_ms + 10
    sent.b.produce()
    sent.b.produce()
    sent.update("a")
    refused(sent.time_out(), Reason.BAD_PROOF)
    assert sent.acknowledge().ok
    assert sent.statuses() == (DEPARTED, OFFERED)


def test_a_fresh_header_over_an_old_state_does_not_time_out():
    sent = Sent()
    timeout = sent.packet.timeout_ms
    sent.world.clock.now_ms = timeout - 1
    sent.b.produce()  # the state of this height is before the timeout
    old = sent.b.height
    sent.world.clock.now_ms = timeout
    sent.b.produce()  # its header is at the timeout
    assert decode_header(sent.b.header(old + 1).header).time_ms >= timeout
    message = UpdateClient(client="b-1", headers=[sent.b.header(old + 1)])
    assert sent.a.operate("ada", Operation(update_client=codec.encode(message)), role="relayer").ok
    refused(sent.time_out(sent.absence_proof(old + 1)), Reason.TIMEOUT_NOT_REACHED)
    sent.b.produce()
    sent.update("a")
    assert sent.time_out().ok


def test_a_timeout_needs_the_leaf_of_the_proven_state():
    sent = Sent()
    earlier = sent.b.app.prove([state.receipt_key("a-1", 1)], sent.b.height - 1)
    sent.let_time_out()
    good = sent.absence_proof()
    bare = RemoteProof()
    bare.CopyFrom(good)
    bare.ClearField("last_leaf")
    refused(sent.time_out(bare), Reason.BAD_PROOF)
    # The leaf of another height, with its own true place in the log.
    height = good.header_height
    store = sent.b.app.store
    for other in (1, height - 2):
        moved = RemoteProof()
        moved.CopyFrom(good)
        moved.last_leaf.CopyFrom(store.log_leaf_proof(other, height - 1))
        refused(sent.time_out(moved), Reason.BAD_PROOF)
    # A later time written into the leaf.
    forged = RemoteProof()
    forged.CopyFrom(good)
    forged.last_leaf.leaf = (
        forged.last_leaf.leaf[:8] + (2**62).to_bytes(8, "big") + forged.last_leaf.leaf[16:]
    )
    refused(sent.time_out(forged), Reason.BAD_PROOF)
    # An old state (before the timeout) with the new leaf.
    mixed = RemoteProof()
    mixed.CopyFrom(good)
    mixed.opening.state_root = earlier.opening.state_root
    mixed.proof.CopyFrom(earlier.keys[0].proof)
    refused(sent.time_out(mixed), Reason.BAD_PROOF)
    assert sent.time_out().ok


def test_06_a_leaf_beyond_the_log_is_no_leaf():
    sent = Sent().let_time_out()
    for size, index in ((0, 0), (1, 0), (1, 1), (2**64 - 1, 2**64 - 2)):
        proof = sent.absence_proof()
        proof.last_leaf.inclusion.size = size
        proof.last_leaf.inclusion.index = index
        refused(sent.time_out(proof), Reason.BAD_PROOF)


def test_03_a_received_packet_never_times_out():
    """The forged absence that made others pay twice: the receipt exists, whatever is presented."""
    sent = Sent()
    before = sent.b.client("a-1")
    assert before.next_sequence == 1
    absent_before = prove(sent.b, sent.b.height, state.receipt_key("a-1", 1), leaf=True)
    assert sent.receive().ok
    sent.let_time_out()
    refused(sent.time_out(), Reason.BAD_PROOF)
    # Absence at an old height does not help: that state is before the timeout.
    result = sent.time_out(absent_before)
    assert not result.ok
    # The proof of the neighbour's absence, of another sequence and of another client.
    height = sent.a.client("b-1").latest_height
    for key in (state.receipt_key("a-1", 2), state.receipt_key("a-2", 1), state.receipt_key("a", 1)):
        refused(sent.time_out(prove(sent.b, height, key, leaf=True)), Reason.BAD_PROOF)
    assert sent.statuses() == (IN_TRANSIT, OFFERED)


@pytest.mark.parametrize("answer", [b"", b"\x00", b"\x01\x00", b"\x02", bytes(32), b"ok"])
def test_17_18_an_answer_is_one_of_two(answer):
    sent = Sent().received()
    refused(sent.acknowledge(answer), Reason.PACKET_MISMATCH)


def test_the_opposite_answer_is_not_proven():
    taken, not_taken = Sent().received(), Sent(receiver="nobody").received()
    refused(taken.acknowledge(ERROR), Reason.BAD_PROOF)
    refused(not_taken.acknowledge(SUCCESS), Reason.BAD_PROOF)
    assert taken.statuses() == (IN_TRANSIT, OFFERED)


def test_an_unanswered_packet_is_not_acknowledged():
    sent = Sent()
    sent.update("a")
    refused(sent.acknowledge(), Reason.BAD_PROOF)
    refused(sent.time_out(), Reason.TIMEOUT_NOT_REACHED)


# ---- what a failing application leaves ------------------------------------------------------------------------


def test_16_a_refusing_application_leaves_nothing_but_the_answer(monkeypatch):
    sent = Sent()
    whole = handlers.APPLICATIONS["custody/1"]

    def receive(ctx, client, packet):
        whole.receive(ctx, client, packet)
        ctx.side_put(b"side", b"row")
        raise Refused("after all no", Reason.NOT_LIVE)

    monkeypatch.setitem(
        handlers.APPLICATIONS,
        "custody/1",
        handlers.Application(receive, whole.acknowledged, whole.timed_out),
    )
    result = sent.receive()
    assert (result.ok, result.reason) == (True, Reason.NOT_LIVE)
    written = sent.b.last_outcome
    assert set(written.changes) == {state.receipt_key("a-1", 1), state.acknowledgement_key("a-1", 1)}
    assert written.entries == []
    assert all(key != b"side" for key, _ in written.side)
    assert sent.b.record(state.part_key(sent.part), PartRecord) is None


@pytest.mark.parametrize("reason", sorted(TOO_MUCH))
def test_running_out_of_rows_or_records_refuses_the_transaction_and_not_the_packet(monkeypatch, reason):
    """What a block has room for is no fault of a packet, either."""
    sent = Sent()
    whole = handlers.APPLICATIONS["custody/1"]

    def receive(ctx, client, packet):
        ctx.overlay.go_through(ROWS_PER_TRANSACTION_MAX + (reason == Reason.TOO_MANY_ROWS))
        ctx.overlay.go_through_records(RECORDS_PER_TRANSACTION_MAX + (reason == Reason.TOO_MANY_RECORDS))
        for number in range(KEYS_PER_TRANSACTION_MAX):
            ctx.overlay.get(state.part_key(str(number)))

    application = handlers.Application(receive, whole.acknowledged, whole.timed_out)
    monkeypatch.setitem(handlers.APPLICATIONS, "custody/1", application)
    refused(sent.receive(), reason)
    assert sent.b.app.store.get(state.receipt_key("a-1", 1)) is None


def test_running_out_of_keys_refuses_the_transaction_and_not_the_packet(monkeypatch):
    """Else a relayer could have any packet answered with the error by crowding the transaction around it."""
    sent = Sent()
    whole = handlers.APPLICATIONS["custody/1"]

    def receive(ctx, client, packet):
        ctx.overlay.get(state.acknowledgement_key("a-1", 1))  # so that the answer itself would find room
        for number in range(20_000):
            ctx.overlay.get(state.part_key(str(number)))

    application = handlers.Application(receive, whole.acknowledged, whole.timed_out)
    monkeypatch.setitem(handlers.APPLICATIONS, "custody/1", application)
    refused(sent.receive(), Reason.TOO_MANY_KEYS)
    assert sent.b.app.store.get(state.receipt_key("a-1", 1)) is None


def test_05_rubbish_is_refused_and_nothing_else():
    sent = Sent()
    for name in ("receive_packet", "acknowledge_packet", "timeout_packet", "send_part", "return_part"):
        for data in (b"\xff", b"\x0a\x00", bytes(40), b"\x12\x02\x08\x01"):
            result = sent.b.operate("bob", Operation(**{name: data}), role="operator")
            assert not result.ok
