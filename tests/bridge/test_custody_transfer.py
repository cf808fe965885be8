"""Parts over chains: who may send, who may take, what comes back and as whose, and what a corrupt chain cannot."""

import pytest
from google.protobuf.message import Message

from bridge.custody_transfer import ENCODING, PORT, VERSION
from bridge.packet import SUCCESS, acknowledgement_commitment, packet_commitment
from ledger import codec, state
from ledger.history import append_entry, history_root
from ledger.limits import HOP_MAX
from proto.chiptrace.v1.bridge_pb2 import (
    AcknowledgePacket,
    CustodyTransfer,
    Packet,
    ReceivePacket,
    SendPart,
    SubmitMisbehaviour,
    UpdateClient,
)
from proto.chiptrace.v1.ledger_pb2 import (
    ARRIVED,
    DEPARTED,
    DEPARTED_FOR_GOOD,
    EVENT,
    IN_TRANSIT,
    LIVE,
    OFFERED,
    RETURNED,
    SENT,
    Change,
    Evidence,
    History,
    Operation,
    PartRecord,
    Reason,
    ReturnOffer,
    RevokeGrant,
)
from tests.bridge.test_clients import forge
from tests.bridge.two_chains import (
    HOUR_MS,
    OFFER_EXPIRY_MS,
    TRUSTING_MS,
    World,
    object_event,
    packing_event,
    prove,
    serial,
    shipping_event,
)


def refused(result, reason):
    assert (result.ok, Reason.Name(result.reason)) == (False, Reason.Name(reason))


def arrived(world=None, receiver="bob"):
    """A part that went from a to b and waits there for its receiver; both chains know."""
    world = world or World()
    part = world.commission("a", "ada")
    assert world.send("a", part, receiver, to="b").ok
    world.relay()
    assert world.part("b", part).status == OFFERED
    return world, part


def kinds(world, name, part):
    return [entry.kind for entry in world[name].entries(state.part_key(part))]


def transfer_of(world, name, client, sequence) -> CustodyTransfer:
    return CustodyTransfer.FromString(world[name].sent(client, sequence).value)


# ---- leaving ------------------------------------------------------------------------------------------------


def test_a_sent_part_is_in_transit_and_the_packet_tells_its_history():
    world = World()
    part = world.commission("a", "ada")
    before = world.part("a", part)
    assert world.send("a", part, "bob").ok
    record = world.part("a", part)
    assert (record.status, record.client, record.sequence, record.hop) == (IN_TRANSIT, "b-1", 1, 1)
    packet = world["a"].sent("b-1", 1)
    assert (packet.source_port, packet.destination_port) == (PORT, PORT)
    assert (packet.version, packet.encoding) == (VERSION, ENCODING)
    transfer = CustodyTransfer.FromString(packet.value)
    assert transfer == CustodyTransfer(
        part=part,
        origin_chain=world["a"].chain_id,
        hop=1,
        sender="ada",
        receiver="bob",
        history_root=history_root(before.history),
        history_n=before.history.n,
        class_commissioner="ada",
        ownership=True,
    )
    last = world["a"].entries(state.part_key(part))[-1]
    assert (last.kind, last.digest) == (SENT, packet_commitment(packet))


def test_only_the_holder_sends_and_only_with_a_key_for_it():
    world = World()
    part = world.commission("a", "ada")
    refused(world.send("a", part, "bob", member="abe"), Reason.NOT_IN_CUSTODY)
    message = SendPart(client="b-1", part=part, receiver="bob", timeout_ms=world.clock.now_ms + HOUR_MS)
    operation = Operation(send_part=codec.encode(message))
    for role in ("relayer", "auditor", "validator", "regulator"):
        refused(world["a"].operate("ada", operation, role=role), Reason.ROLE_NOT_ALLOWED)
    assert world["a"].operate("ada", operation, role="device").ok


def test_what_is_not_live_free_and_empty_is_not_sent():
    world = World()
    refused(world.send("a", serial(999), "bob", member="ada"), Reason.UNKNOWN_PART)
    part = world.commission("a", "ada")
    assert world.send("a", part, "bob").ok
    refused(world.send("a", part, "bob", member="ada"), Reason.NOT_LIVE)
    gone = world.commission("a", "ada")
    assert world["a"].operate("ada", object_event("DELETE", "destroying", gone)).ok
    refused(world.send("a", gone, "bob", member="ada"), Reason.NOT_LIVE)


def test_what_is_inside_something_is_not_sent_without_it():
    world = World()
    box, child = world.commission("a", "ada"), world.commission("a", "ada")
    assert world["a"].operate("ada", packing_event("ADD", box, child)).ok
    refused(world.send("a", child, "bob", member="ada"), Reason.INSIDE_CONTAINER)
    assert world["a"].operate("ada", packing_event("DELETE", box, child)).ok
    assert world.send("a", box, "bob").ok
    assert world.send("a", child, "bob", member="ada").ok
    world.relay()
    assert world.part("b", box).status == world.part("b", child).status == OFFERED


@pytest.mark.parametrize("timeout_ms", [0, -1, 25 * HOUR_MS])
def test_28_a_part_is_sent_with_a_timeout_within_a_day(timeout_ms):
    world = World()
    part = world.commission("a", "ada")
    refused(world.send("a", part, "bob", timeout_ms=timeout_ms), Reason.TIMEOUT_OUT_OF_BOUNDS)
    assert world.part("a", part).hop == 0


@pytest.mark.parametrize("receiver", ["", "Bob", "b ob", "x" * 33, "bob\n"])
def test_a_receiver_is_a_member_id(receiver):
    world = World()
    part = world.commission("a", "ada")
    refused(world.send("a", part, receiver), Reason.UNKNOWN_MEMBER)


def test_unknown_frozen_and_expired_clients_send_nothing():
    world = World()
    part = world.commission("a", "ada")
    refused(world.send("a", part, "bob", client="c-1"), Reason.UNKNOWN_CLIENT)
    height = world["b"].height
    forks = [forge(world["b"], height, app_hash=bytes(31) + tail) for tail in (b"x", b"y")]
    message = SubmitMisbehaviour(client="b-1", first=forks[0], second=forks[1])
    assert world["a"].operate("ada", Operation(submit_misbehaviour=codec.encode(message))).ok
    refused(world.send("a", part, "bob"), Reason.CLIENT_FROZEN)
    expired = World()
    part = expired.commission("a", "ada")
    expired.clock.now_ms += TRUSTING_MS + 1_000
    refused(expired.send("a", part, "bob"), Reason.CLIENT_EXPIRED)


def test_28_a_timeout_that_the_other_chains_clock_has_passed_is_refused():
    world = World()
    part = world.commission("a", "ada")
    now_ms = world.clock.now_ms
    world["b"].produce(now_ms=now_ms + 20_000)
    update = UpdateClient(client="b-1", headers=[world["b"].header(world["b"].height)])
    world.clock.now_ms = now_ms
    assert world["a"].operate("ada", Operation(update_client=codec.encode(update)), role="relayer").ok
    refused(world.send("a", part, "bob", timeout_ms=10_000), Reason.TIMEOUT_OUT_OF_BOUNDS)
    assert world.send("a", part, "bob", timeout_ms=30_000).ok


def test_nothing_happens_to_a_part_under_way_or_away():
    world = World()
    part = world.commission("a", "ada")
    assert world.send("a", part, "bob").ok
    for _ in range(2):
        before = world.part("a", part)
        for operation in (
            object_event("OBSERVE", "inspecting", part, number=77),
            object_event("DELETE", "destroying", part, number=78),
            object_event("OBSERVE", "receiving", part, number=79),
            Operation(return_offer=ReturnOffer(part=part)),
        ):
            assert not world["a"].operate("ada", operation).ok
        assert not world.give_back("a", part, "ada").ok
        assert world.part("a", part) == before
        world.relay()


# ---- arriving -------------------------------------------------------------------------------------------------


def test_an_arrival_is_offered_and_nobody_acts_on_it_before_the_receiver_signs():
    world, part = arrived()
    before = world.part("b", part)
    assert (before.holder, before.owner, before.offered_to, before.shipper) == ("", "", "bob", "ada")
    assert before.origin_chain == world["a"].chain_id
    assert before.arrived_offer
    for member in ("bob", "ben"):
        for operation in (
            object_event("OBSERVE", "inspecting", part, number=77),
            object_event("DELETE", "destroying", part, number=78),
            Operation(return_offer=ReturnOffer(part=part)),
        ):
            assert not world["b"].operate(member, operation).ok
        assert not world.send("b", part, "ada", member=member).ok
    refused(world.accept("b", part, "ben"), Reason.NOT_OFFERED_TO_YOU)
    assert world.part("b", part) == before
    assert world.accept("b", part, "bob").ok
    after = world.part("b", part)
    assert (after.status, after.holder, after.owner, after.arrived_offer) == (LIVE, "bob", "bob", False)
    refused(world.accept("b", part, "ben"), Reason.NOT_OFFERED_TO_YOU)


def test_entries_of_both_chains_are_linked_by_the_packets_commitment():
    world, part = arrived()
    assert world.accept("b", part, "bob").ok
    assert kinds(world, "a", part) == [EVENT, SENT, DEPARTED_FOR_GOOD]
    assert kinds(world, "b", part) == [ARRIVED, EVENT]
    here, there = (world[name].entries(state.part_key(part)) for name in ("a", "b"))
    commitment = packet_commitment(world["a"].sent("b-1", 1))
    assert [here[1].digest, here[2].digest, there[0].digest] == [commitment] * 3
    # The packet tells the history up to the send, by which an audit goes on over there.
    transfer = transfer_of(world, "a", "b-1", 1)
    partial = History()
    for entry in here[:1]:
        append_entry(world["a"].chain_id, partial, entry)
    assert (transfer.history_n, transfer.history_root) == (1, history_root(partial))
    world.check_history("a", part)
    world.check_history("b", part)


def test_ownership_stays_where_it_was_when_another_holds_the_part():
    world = World()
    part = world.commission("a", "ada")
    assert world["a"].operate("ada", shipping_event(part, "abe")).ok
    assert world.accept("a", part, "abe").ok
    record = world.part("a", part)
    assert (record.holder, record.owner) == ("abe", "ada")
    # The carrier sends it over: custody moves, ownership does not.
    assert world.send("a", part, "bob").ok
    world.relay()
    assert world.accept("b", part, "bob").ok
    there = world.part("b", part)
    assert (there.holder, there.owner) == ("bob", "")
    # And home again: still ada's.
    assert world.send("b", part, "amy").ok
    world.relay()
    assert world.accept("a", part, "amy").ok
    assert (world.part("a", part).holder, world.part("a", part).owner) == ("amy", "ada")


def test_ownership_that_went_along_does_not_come_back_as_the_old_owners():
    world, part = arrived()
    assert world.accept("b", part, "bob").ok
    assert world.send("b", part, "amy").ok
    world.relay()
    assert (world.part("a", part).owner, world.part("a", part).offered_to) == ("", "amy")
    assert world.accept("a", part, "amy").ok
    assert world.part("a", part).owner == "amy"


# ---- coming back --------------------------------------------------------------------------------------------------


def test_an_error_brings_the_part_back_with_its_hop_burnt():
    world = World()
    part = world.commission("a", "ada")
    assert world.send("a", part, "nobody").ok
    world.relay()
    record = world.part("a", part)
    assert (record.status, record.holder, record.owner, record.hop) == (LIVE, "ada", "ada", 1)
    assert (record.client, record.sequence) == ("", 0)
    assert world.part("b", part) == PartRecord()
    assert kinds(world, "a", part) == [EVENT, SENT, RETURNED]
    assert world.send("a", part, "bob").ok
    world.relay()
    assert world.part("b", part).hop == 2


def test_a_timeout_brings_the_part_back_with_its_hop_burnt():
    world = World()
    part = world.commission("a", "ada")
    assert world.send("a", part, "bob", timeout_ms=1_000).ok
    world.pass_time(2_000)
    world.relay()
    record = world.part("a", part)
    assert (record.status, record.holder, record.hop) == (LIVE, "ada", 1)
    assert world.part("b", part) == PartRecord()
    assert world.send("a", part, "bob").ok
    world.relay()
    assert world.part("b", part).hop == 2


def test_a_declined_part_goes_back_and_lands_live_without_acceptance():
    world, part = arrived()
    refused(world.give_back("b", part, "ben"), Reason.NOT_OFFERED_TO_YOU)
    refused(world.give_back("b", part, "bob", role="auditor"), Reason.ROLE_NOT_ALLOWED)
    assert world.give_back("b", part, "bob").ok
    assert world.part("b", part).status == IN_TRANSIT
    refused(world.accept("b", part, "bob"), Reason.NOT_OFFERED_TO_YOU)
    world.relay()
    home, there = world.part("a", part), world.part("b", part)
    assert (home.status, home.holder, home.owner, home.hop) == (LIVE, "ada", "ada", 2)
    assert (there.status, there.arrived_offer, there.offered_to) == (DEPARTED, False, "")
    assert kinds(world, "a", part) == [EVENT, SENT, DEPARTED_FOR_GOOD, ARRIVED]
    assert kinds(world, "b", part) == [ARRIVED, SENT, DEPARTED_FOR_GOOD]
    assert getattr(transfer_of(world, "b", "a-1", 1), "return")
    # And may be sent once more, to somebody else.
    assert world.send("a", part, "ben").ok
    world.relay()
    assert world.accept("b", part, "ben").ok


@pytest.mark.parametrize("role", ["operator", "device", "relayer"])
def test_an_expired_offer_is_returned_by_anyone(role):
    world, part = arrived()
    refused(world.give_back("b", part, "ben", role=role), Reason.NOT_OFFERED_TO_YOU)
    world.clock.now_ms = world.part("b", part).offered_at_ms + OFFER_EXPIRY_MS - 2
    refused(world.give_back("b", part, "ben", role=role), Reason.NOT_OFFERED_TO_YOU)
    world.clock.now_ms = world.part("b", part).offered_at_ms + OFFER_EXPIRY_MS
    assert world.give_back("b", part, "ben", role=role).ok
    world.relay()
    assert world.part("a", part).status == LIVE


def test_what_did_not_arrive_or_was_accepted_is_not_returned():
    world, part = arrived()
    refused(world.give_back("b", serial(999), "bob"), Reason.UNKNOWN_PART)
    assert world.accept("b", part, "bob").ok
    refused(world.give_back("b", part, "bob"), Reason.NOT_LIVE)
    fresh = world.commission("a", "ada")
    refused(world.give_back("a", fresh, "ada"), Reason.NOT_LIVE)


def test_a_return_that_times_out_stays_offered_and_anyone_repeats_it():
    world, part = arrived()
    assert world.give_back("b", part, "bob", timeout_ms=1_000).ok
    world.pass_time(2_000)
    world.relay()
    record = world.part("b", part)
    assert (record.status, record.offered_to, record.hop) == (OFFERED, "bob", 2)
    assert world.part("a", part).status == DEPARTED
    assert world.give_back("b", part, "ben", role="relayer").ok
    world.relay()
    assert world.part("a", part).status == LIVE
    assert world.part("a", part).hop == 3


def test_a_return_that_failed_may_still_be_accepted_instead():
    world, part = arrived()
    assert world.give_back("b", part, "bob", timeout_ms=1_000).ok
    world.pass_time(2_000)
    world.relay()
    assert world.accept("b", part, "bob").ok
    assert world.part("b", part).status == LIVE
    assert world.live_copies(part) == 1


def test_a_return_that_overtakes_the_acknowledgement_is_refused_and_repeated():
    world = World()
    part = world.commission("a", "ada")
    assert world.send("a", part, "bob").ok
    relayer = world.relayers["a", "b"]
    world.settle()
    plan = relayer.plan()
    relayer.bring(world["b"], world["a"], plan.on_b)
    assert world.give_back("b", part, "bob").ok
    world.settle()
    plan = relayer.plan()
    # A relayer with a grudge: the return before the acknowledgement.
    update, acknowledge, receive = plan.on_a
    relayer.bring(world["a"], world["b"], [update, receive, acknowledge])
    assert world.part("a", part).status == DEPARTED
    world.relay()
    assert world.part("b", part).status == OFFERED
    assert world.give_back("b", part, "ben").ok
    world.relay()
    assert world.part("a", part).status == LIVE
    assert world.live_copies(part) == 1


def test_a_return_of_a_part_shipped_from_abroad_lands_with_its_shipper():
    world, part = arrived()
    assert world.accept("b", part, "bob").ok
    assert world.send("b", part, "amy").ok
    world.relay()
    assert world.give_back("a", part, "amy").ok
    world.relay()
    there = world.part("b", part)
    assert (there.status, there.holder, there.owner) == (LIVE, "bob", "bob")
    assert world.part("a", part).status == DEPARTED


@pytest.mark.parametrize("changes", [{"status": LIVE}, {"client": "b-2"}, {"sequence": 2}])
@pytest.mark.parametrize("ends", ["acknowledged", "timed out"])
def test_only_the_packet_that_carries_a_part_ends_its_transit(changes, ends):
    """Backs the deletion of commitments; only a state that breaks our own rules gets here."""
    world = World("a", "b", corrupt="a")
    part = world.commission("a", "ada")
    assert world.send("a", part, "bob", timeout_ms=1_000).ok
    if ends == "acknowledged":
        relayer = world.relayers["a", "b"]
        world.settle()
        relayer.bring(world["b"], world["a"], relayer.plan().on_b)
    else:
        world.pass_time(2_000)
    record = world.part("a", part)
    for name, value in changes.items():
        setattr(record, name, value)
    broken = Evidence(first=state.part_key(part), second=codec.encode(record))
    assert world["a"].operate("ada", Operation(evidence=broken)).ok
    world.settle()
    relayer = world.relayers["a", "b"]
    plan = relayer.plan()
    relayer.bring(world["a"], world["b"], plan.on_a)
    assert plan.on_a
    refused(relayer.log[-1][2], Reason.NOT_LIVE)
    assert world.part("a", part) == record


# ---- who may send it to us ------------------------------------------------------------------------------------


def three():
    """Chain a is the home; b and c know each other too."""
    world = World("a", "b", "c", joined=(("b", "c"),))
    part = world.commission("a", "ada")
    assert world.send("a", part, "bob", to="b").ok
    world.relay()
    assert world.accept("b", part, "bob").ok
    return world, part


def test_a_crossing_that_neither_starts_nor_ends_at_home_is_refused_at_once():
    world, part = three()
    refused(world.send("b", part, "cyd", to="c"), Reason.NOT_FROM_HOME)
    assert world.send("b", part, "ada", to="a").ok


def test_by_the_hub_a_part_reaches_every_chain():
    world, part = three()
    assert world.send("b", part, "ada", to="a").ok
    world.relay()
    assert world.accept("a", part, "ada").ok
    assert world.send("a", part, "cyd", to="c").ok
    world.relay()
    assert world.accept("c", part, "cyd").ok
    assert [world.part(name, part).status for name in "abc"] == [DEPARTED, DEPARTED, LIVE]
    assert world.live_copies(part) == 1


def test_without_a_grant_that_names_the_home_nothing_is_taken():
    world = World()
    assert world.govern("b", Change(revoke_grant=RevokeGrant(prefix="gs1:4012345"))).ok
    part = world.commission("a", "ada")
    assert world.send("a", part, "bob").ok
    world.relay()
    assert world.part("a", part).status == LIVE
    assert world.part("b", part) == PartRecord()


# ---- what a chain with a corrupt quorum sends -------------------------------------------------------------------


class Corrupt:
    """Chain b's quorum is corrupt: it commits to any packet it likes."""

    def __init__(self, world=None):
        self.world = world or World("a", "b", corrupt="b")
        self.sequence = 100

    def packet(self, part, **changed) -> Packet:
        transfer = CustodyTransfer(
            part=part,
            origin_chain=self.world["a"].chain_id,
            hop=9,
            sender="bob",
            receiver="abe",
            history_root=bytes(31) + b"x",
            history_n=3,
            class_commissioner="ada",
            ownership=True,
        )
        for name, value in changed.items():
            if isinstance(value, Message):
                getattr(transfer, name).CopyFrom(value)
            else:
                setattr(transfer, name, value)
        return self.raw(codec.encode(transfer))

    def raw(self, value, **changed) -> Packet:
        self.sequence += 1
        fields = {
            "source_client": "a-1",
            "destination_client": "b-1",
            "sequence": self.sequence,
            "timeout_ms": self.world.clock.now_ms + HOUR_MS,
            "source_port": PORT,
            "destination_port": PORT,
            "version": VERSION,
            "encoding": ENCODING,
            "value": value,
        }
        return Packet(**(fields | changed))

    def bring(self, packet, source="b", host="a"):
        """Commits, certifies, proves and brings it: all of it in order but the content."""
        world = self.world
        world.forge(source, packet)
        world[source].settle()
        client = packet.destination_client
        above = world[host].client(client).latest_height
        headers = world[source].headers_above(above)
        proof = prove(
            world[source], world[source].height, state.commitment_key(packet.source_client, packet.sequence)
        )
        return world[host].operate(
            world[host].members[0],
            Operation(update_client=codec.encode(UpdateClient(client=client, headers=headers))),
            Operation(receive_packet=codec.encode(ReceivePacket(packet=packet, proof=proof))),
            role="relayer",
        )

    def nothing_comes_of(self, packet, reason, source="b", host="a"):
        part = CustodyTransfer.FromString(packet.value).part if packet.value[:1] == b"\n" else ""
        before = self.world.part(host, part) if part else None
        result = self.bring(packet, source, host)
        assert (result.ok, Reason.Name(result.reason)) == (True, Reason.Name(reason))
        if part:
            assert self.world.part(host, part) == before


def away(corrupt):
    """A part of a's that is on b for good, accepted there by bob."""
    world = corrupt.world
    part = world.commission("a", "ada")
    assert world.send("a", part, "bob", to="b").ok
    world.relay()
    assert world.accept("b", part, "bob").ok
    return part


def test_a_forged_part_that_never_was_is_not_taken_by_its_home():
    corrupt = Corrupt()
    corrupt.nothing_comes_of(corrupt.packet(serial(500)), Reason.NOT_FROM_HOME)


def test_a_part_that_is_live_at_home_does_not_arrive_a_second_time():
    corrupt = Corrupt()
    part = corrupt.world.commission("a", "ada")
    corrupt.nothing_comes_of(corrupt.packet(part), Reason.NOT_LIVE)


@pytest.mark.parametrize("hop", [1, 0])
def test_an_equal_or_lower_hop_is_not_taken(hop):
    corrupt = Corrupt()
    part = away(corrupt)
    corrupt.nothing_comes_of(corrupt.packet(part, hop=hop), Reason.HOP_NOT_ABOVE if hop else Reason.MALFORMED)


def test_a_part_that_came_home_does_not_come_home_again():
    corrupt = Corrupt()
    world, part = corrupt.world, away(corrupt)
    assert world.send("b", part, "abe").ok
    world.relay()
    corrupt.nothing_comes_of(corrupt.packet(part), Reason.NOT_LIVE)
    assert world.accept("a", part, "abe").ok
    corrupt.nothing_comes_of(corrupt.packet(part), Reason.NOT_LIVE)
    assert world.live_copies(part) == 1


def test_destroyed_parts_stay_destroyed():
    corrupt = Corrupt()
    part = corrupt.world.commission("a", "ada")
    assert corrupt.world["a"].operate("ada", object_event("DELETE", "destroying", part)).ok
    corrupt.nothing_comes_of(corrupt.packet(part), Reason.NOT_LIVE)


def test_a_part_away_on_another_chain_yields_only_to_that_chain():
    world = World("a", "b", "c", corrupt="b")
    part = world.commission("a", "ada")
    assert world.send("a", part, "cyd", to="c").ok
    world.relay()
    corrupt = Corrupt(world)
    corrupt.nothing_comes_of(corrupt.packet(part), Reason.WRONG_COUNTERPARTY)
    assert world.live_copies(part) == 1


def test_a_chain_that_is_not_the_home_cannot_bring_an_unknown_part_anywhere():
    world = World("a", "b", "c", joined=(("b", "c"),), corrupt="b")
    part = world.commission("a", "ada")
    corrupt = Corrupt(world)
    packet = corrupt.packet(part, receiver="cyd")
    packet.source_client, packet.destination_client = "c-1", "b-1"
    corrupt.nothing_comes_of(packet, Reason.NOT_FROM_HOME, host="c")
    # Nor by naming itself as the origin.
    packet = corrupt.packet(part, receiver="cyd", origin_chain=world["b"].chain_id)
    packet.source_client, packet.destination_client = "c-1", "b-1"
    corrupt.nothing_comes_of(packet, Reason.NOT_FROM_HOME, host="c")


def test_a_corrupt_home_cannot_give_a_part_another_origin():
    world = World("a", "b", corrupt="a")
    corrupt = Corrupt(world)
    packet = corrupt.packet(serial(7), receiver="bob", origin_chain=world["b"].chain_id)
    packet.source_client, packet.destination_client = "b-1", "a-1"
    corrupt.nothing_comes_of(packet, Reason.NOT_FROM_HOME, source="a", host="b")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"receiver": "nobody"}, Reason.UNKNOWN_MEMBER),
        ({"receiver": ""}, Reason.MALFORMED),
        ({"receiver": "bob"}, Reason.UNKNOWN_MEMBER),
        ({"sender": "x" * 33}, Reason.MALFORMED),
        ({"sender": ""}, Reason.MALFORMED),
        ({"class_commissioner": "E V E"}, Reason.MALFORMED),
        ({"origin_chain": bytes(31) + b"x"}, Reason.PACKET_MISMATCH),
        ({"origin_chain": b""}, Reason.MALFORMED),
        ({"history_root": b""}, Reason.MALFORMED),
        ({"hop": HOP_MAX + 1}, Reason.MALFORMED),
        ({"hop": 2**64 - 1}, Reason.MALFORMED),
        ({"return": True, "receiver": "abe"}, Reason.PACKET_MISMATCH),
    ],
)
def test_a_part_comes_home_only_as_itself(changes, reason):
    corrupt = Corrupt()
    part = away(corrupt)
    corrupt.nothing_comes_of(corrupt.packet(part, **changes), reason)


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("", Reason.IDENTIFIER_INVALID),
        ("urn:epc:id:sgtin:4012345.011111.1", Reason.IDENTIFIER_INVALID),
        ("https://id.gs1.org/01/04012345111118", Reason.IDENTIFIER_INVALID),
        ("https://id.gs1.org/01/04012345111118/10/LOT", Reason.IDENTIFIER_INVALID),
        ("x" * 100_000, Reason.IDENTIFIER_INVALID),
        ("\x00", Reason.IDENTIFIER_INVALID),
    ],
)
def test_what_names_no_part_in_canonical_form_does_not_arrive(part, reason):
    corrupt = Corrupt()
    packet = corrupt.packet(part)
    result = corrupt.bring(packet)
    assert (result.ok, Reason.Name(result.reason)) == (True, Reason.Name(reason))


@pytest.mark.parametrize("value", [b"x", b"\xff" * 100, b"\x0a\x01\x61\xf8\x01\x01"])
def test_a_payload_in_another_form_does_not_arrive(value):
    corrupt = Corrupt()
    corrupt.nothing_comes_of(corrupt.raw(value), Reason.MALFORMED)


@pytest.mark.parametrize("changes", [{"version": "custody/2"}, {"encoding": "application/json"}])
def test_another_version_or_encoding_does_not_arrive(changes):
    corrupt = Corrupt()
    part = away(corrupt)
    value = corrupt.packet(part).value
    corrupt.nothing_comes_of(corrupt.raw(value, **changes), Reason.PORT_NOT_ALLOWED)


def test_no_part_arrives_at_a_hop_above_the_time():
    """A chain that lies about its hop delays its own part and breaks nothing."""
    corrupt = Corrupt()
    part = away(corrupt)
    for hop in (HOP_MAX, corrupt.world.clock.now_ms + HOUR_MS):
        corrupt.nothing_comes_of(corrupt.packet(part, hop=hop), Reason.MALFORMED)
    assert corrupt.bring(corrupt.packet(part)).reason == 0


def test_no_part_leaves_at_a_hop_above_the_time():
    corrupt = Corrupt(World(corrupt="ab"))
    world = corrupt.world
    part = world.commission("a", "ada")
    record = world.part("a", part)
    record.hop = world.clock.now_ms + HOUR_MS
    evidence = Evidence(first=state.part_key(part), second=codec.encode(record))
    assert world["a"].operate("ada", Operation(evidence=evidence)).ok
    refused(world.send("a", part, "bob"), Reason.HOP_NOT_ABOVE)
    world.pass_time(2 * HOUR_MS)
    assert world.send("a", part, "bob").ok


def test_29_a_senders_name_is_of_its_own_chain():
    """Chain b says that `ada` shipped it; our own ada gets no right from that."""
    corrupt = Corrupt()
    world, part = corrupt.world, away(corrupt)
    assert corrupt.bring(corrupt.packet(part, sender="ada")).reason == 0
    record = world.part("a", part)
    assert (record.status, record.offered_to, record.shipper, record.holder) == (OFFERED, "abe", "ada", "")
    refused(world.give_back("a", part, "ada"), Reason.NOT_OFFERED_TO_YOU)
    refused(
        world["a"].operate("ada", Operation(return_offer=ReturnOffer(part=part))), Reason.WRONG_COUNTERPARTY
    )
    assert not world["a"].operate("ada", object_event("OBSERVE", "void_shipping", part, number=5)).ok


def test_a_return_without_a_departure_is_none():
    world = World("a", "b", corrupt="a")
    corrupt = Corrupt(world)
    packet = corrupt.packet(serial(7), receiver="bob", **{"return": True})
    packet.source_client, packet.destination_client = "b-1", "a-1"
    corrupt.nothing_comes_of(packet, Reason.UNKNOWN_PART, source="a", host="b")


def test_an_adopted_part_stays_adopted_until_its_home_knows_better():
    world = World("a", "b", corrupt="a")
    corrupt = Corrupt(world)
    for hop, adopted in ((1, True), (3, False)):
        packet = corrupt.packet(serial(7), receiver="bob", sender="ada", hop=hop, adopted=adopted)
        packet.source_client, packet.destination_client = "b-1", "a-1"
        result = corrupt.bring(packet, source="a", host="b")
        assert (result.ok, result.reason) == (True, 0)
        assert world.part("b", serial(7)).adopted is adopted
        assert world.accept("b", serial(7), "bob").ok
        if adopted:
            assert world.send("b", serial(7), "ada").ok
            # It goes home; the corrupt home says it took it.
            world["a"].settle()
            force_departed(world, serial(7))


def force_departed(world, part):
    """Carries b's packet to a, which knows no such part, and has a answer with success all the same."""
    key = state.acknowledgement_key("b-1", 1)
    value = acknowledgement_commitment(SUCCESS)
    assert world["a"].operate("ada", Operation(evidence=Evidence(first=key, second=value))).ok
    world["a"].settle()
    headers = world["a"].headers_above(world["b"].client("a-1").latest_height)
    message = AcknowledgePacket(
        packet=world["b"].sent("a-1", 1),
        acknowledgement=SUCCESS,
        proof=prove(world["a"], world["a"].height, key),
    )
    result = world["b"].operate(
        "bob",
        Operation(update_client=codec.encode(UpdateClient(client="a-1", headers=headers))),
        Operation(acknowledge_packet=codec.encode(message)),
        role="relayer",
    )
    assert result.ok
    assert world.part("b", part).status == DEPARTED
