"""A chain is given up by both memberships, and what was live there becomes live here, once."""

import pytest

from bridge import rehoming
from bridge.clients import rehoming_key
from ledger import codec, hashes, state
from ledger.hashes import ZERO
from ledger.identifiers import canonical, interval_text
from ledger.limits import HOP_MAX
from proto.chiptrace.v1.bridge_pb2 import (
    AcknowledgePacket,
    ProvenRow,
    ReceivePacket,
    RehomePart,
    RemoteProof,
    TimeoutPacket,
    UpdateClient,
)
from proto.chiptrace.v1.ledger_pb2 import (
    DEPARTED,
    DESTROYED,
    IN_TRANSIT,
    LIVE,
    OFFERED,
    Change,
    EntryKind,
    Evidence,
    GenerationRecord,
    MemberHere,
    Operation,
    PartRecord,
    PutGrant,
    Reason,
    RehomeChain,
    RehomingRecord,
    Signature,
    ThawClient,
)
from tests.bridge.test_serials import accepted, captured
from tests.bridge.two_chains import (
    HOUR_MS,
    MEMBERS,
    World,
    object_event,
    packing_event,
    prove,
)
from tests.ledger.chain_fixture import seed_of
from tests.ledger.rules_world import seen, serials_of

OF_B = [MemberHere(there="bea", here="abe"), MemberHere(there="bob", here="ada")]
HOME_OF_B = "gs1:7654321"


def box_of_b(number: int) -> str:
    """The canonical id of a part at home on chain b."""
    return f"https://id.gs1.org/01/07654321111117/21/{number}"


def moved(world, receiver="bob", to="b"):
    part = world.commission("a", "ada")
    assert world.send("a", part, receiver, to=to).ok
    world.relay()
    assert world.accept(to, part, receiver).ok
    return part


def bring_head(world, host="a", lost="b", client="b-1"):
    """The newest header of the lost chain, before it is lost, comes to the client."""
    world.settle()
    chain = world[lost]
    headers = [*chain.headers_above(world[host].client(client).latest_height), chain.header(chain.height)]
    update = UpdateClient(client=client, headers={item.header: item for item in headers}.values())
    operation = Operation(update_client=codec.encode(update))
    assert world[host].operate(world[host].members[0], operation, role="relayer").ok


def change_of(
    world, *, host="a", client="b-1", lost="b", signers=MEMBERS["b"][:3], history_n=None, **changed
):
    """The change that gives up a chain, approved by its members."""
    record = world[host].client(client)
    height = changed.get("header_height", record.latest_height)
    values = {
        "client": client,
        "header_height": height,
        "opening": world[lost].app.prove([], height - 1).opening,
        "members": OF_B,
        "why": "the machine rooms burnt down",
    }
    change = RehomeChain(**(values | changed))
    n = record.history.n if history_n is None else history_n
    message = rehoming.rehome_message(world[host].chain_id, change, n)
    for member in signers:
        seed = seed_of(member, "admin")
        change.counterparty_approvals.append(
            Signature(key=hashes.public_key(seed), signature=hashes.sign_raw(seed, message))
        )
    return Change(rehome_chain=change)


def give_up(world, host="a", **changed):
    return world.govern(host, change_of(world, host=host, **changed))


def lost_world(*, heir=False):
    """A world in which chain b was given up, with a part of a live there."""
    world = World()
    part = moved(world)
    bring_head(world)
    assert give_up(world, heir=heir).ok
    return world, part


def rows_of(world, *keys, host="a", lost="b"):
    """Rows of the lost chain's last state."""
    record = world[host].record(rehoming_key(world[lost].chain_id), RehomingRecord)
    proven = world[lost].app.prove(list(keys), record.height)
    return [ProvenRow(key=item.key, value=item.value or b"", proof=item.proof) for item in proven.keys]


def rehome(world, part, *keys, member="ada", host="a", lost="b", role="operator", rows=None):
    found = (
        rows if rows is not None else rows_of(world, *(keys or [state.part_key(part)]), host=host, lost=lost)
    )
    message = RehomePart(chain_id=world[lost].chain_id, part=part, rows=found)
    return world[host].operate(member, Operation(rehome_part=codec.encode(message)), role=role)


# ---- a chain is given up ----------------------------------------------------------------------------------------


def test_both_memberships_give_up_a_chain_for_ever():
    world, _ = lost_world()
    chain_id = world["b"].chain_id
    record = world["a"].record(rehoming_key(chain_id), RehomingRecord)
    opening = world["b"].app.prove([], record.height).opening
    assert (record.chain_id, record.client, record.state_root) == (chain_id, "b-1", opening.state_root)
    assert record.why == "the machine rooms burnt down"
    client = world["a"].client("b-1")
    assert (client.frozen, client.frozen_for) == (True, Reason.CHAIN_REHOMED)
    # Nothing brings it back: no header, no thaw, no other client, no second time.
    update = UpdateClient(client="b-1", headers=[world["b"].header(world["b"].height)])
    world["b"].produce()
    update.headers.append(world["b"].header(world["b"].height))
    operation = Operation(update_client=codec.encode(update))
    assert world["a"].operate("ada", operation, role="relayer").reason == Reason.CLIENT_FROZEN
    thawing = Change(thaw_client=ThawClient(id="b-1"))
    assert world.govern("a", thawing).reason == Reason.CHAIN_REHOMED
    again = Change(create_client=world.client_of("b", "a", "2"))
    assert world.govern("a", again).reason == Reason.CHAIN_REHOMED
    assert world.govern("a", change_of(world)).reason == Reason.CHAIN_REHOMED


def test_every_client_of_the_chain_is_frozen_and_the_newest_header_counts():
    world = World()
    for host, source in (("a", "b"), ("b", "a")):
        assert world.govern(host, Change(create_client=world.client_of(source, host, "2"))).ok
    bring_head(world)
    world["b"].produce()
    bring_head(world, client="b-2")
    assert give_up(world).reason == Reason.NOT_NEWER
    assert give_up(world, client="b-2").ok
    for client in ("b-1", "b-2"):
        assert world["a"].client(client).frozen_for == Reason.CHAIN_REHOMED


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"signers": ()}, Reason.NOT_ENOUGH_APPROVALS),
        ({"signers": ("bob", "ben")}, Reason.NOT_ENOUGH_APPROVALS),
        ({"signers": ("bob", "bob", "bob")}, Reason.NOT_ENOUGH_APPROVALS),
        ({"signers": ("bob", "ben", "ada")}, Reason.NOT_ENOUGH_APPROVALS),
        ({"history_n": 1}, Reason.BAD_SIGNATURE),
        ({"client": "c-1"}, Reason.UNKNOWN_CLIENT),
        ({"why": ""}, Reason.BAD_CHANGE),
        ({"members": OF_B[::-1]}, Reason.BAD_CHANGE),
        ({"members": [OF_B[0], OF_B[0]]}, Reason.BAD_CHANGE),
        ({"members": [MemberHere(there="bob", here="bob")]}, Reason.UNKNOWN_MEMBER),
        ({"members": [MemberHere(there="", here="ada")]}, Reason.BAD_CHANGE),
    ],
)
def test_a_chain_is_given_up_by_its_own_members_and_ours(changed, reason):
    world = World()
    bring_head(world)
    client = changed.pop("client", "")
    change = change_of(world, **changed)
    if client:
        change.rehome_chain.client = client
    result = world.govern("a", change)
    assert (result.ok, result.reason) == (False, reason)
    assert not world["a"].client("b-1").frozen


def test_the_state_is_the_one_of_the_header():
    world = World()
    moved(world)
    bring_head(world)
    for name, value in (
        ("state_root", b"x" * 32),
        ("state_root", ZERO),
        ("log_size", 1),
        ("log_root", b"y" * 32),
    ):
        opening = world["b"].app.prove([], world["a"].client("b-1").latest_height - 1).opening
        setattr(opening, name, value)
        assert give_up(world, opening=opening).reason == Reason.BAD_PROOF


def test_approvals_for_one_chain_serve_no_other():
    world = World("a", "b", "c")
    world.join("b", "c")
    bring_head(world)
    bring_head(world, host="c", client="b-1")
    change = change_of(world, heir=True, members=[])
    assert world.govern("a", change).ok
    assert world.govern("c", change).reason == Reason.BAD_SIGNATURE


def test_governance_of_this_chain_must_approve():
    world = World()
    bring_head(world)
    chain = world["a"]
    result = chain.operate("ada", chain.govern(change_of(world), approvers=()))
    assert result.reason == Reason.NOT_ENOUGH_APPROVALS


# ---- part by part -----------------------------------------------------------------------------------------------


def test_a_part_that_was_live_there_is_live_here():
    world, part = lost_world()
    before = world.part("a", part)
    there = world.part("b", part)
    assert rehome(world, part).ok
    record = world.part("a", part)
    assert (record.status, record.holder, record.owner) == (LIVE, "ada", "ada")
    assert record.hop == there.hop + 1 > before.hop
    assert (record.client, record.container, record.origin_chain) == ("", "", world["a"].chain_id)
    assert [entry.kind for entry in world["a"].entries(state.part_key(part))][-1] == EntryKind.REHOMED
    world.check_history("a", part)
    # It is somebody's again.
    assert world["a"].operate("ada", object_event("OBSERVE", "inspecting", part, number=77)).ok


def test_once():
    world, part = lost_world()
    assert rehome(world, part).ok
    assert rehome(world, part).reason == Reason.NOT_LIVE
    assert world["a"].operate("ada", object_event("DELETE", "destroying", part, number=5)).ok
    assert rehome(world, part).reason == Reason.NOT_LIVE
    assert world.part("a", part).status == DESTROYED


def test_a_part_that_had_come_home_is_not_taken_over_again():
    world = World()
    part = moved(world)
    assert world.send("b", part, "ada").ok
    world.relay()
    assert world.accept("a", part, "ada").ok
    bring_head(world)
    assert give_up(world).ok
    assert world.part("b", part).status == DEPARTED
    assert rehome(world, part).reason == Reason.NOT_LIVE


def test_a_part_that_went_on_to_a_third_chain_is_not_taken_over():
    world = World("a", "b", "c")
    part = moved(world)
    bring_head(world)
    # The last header of b says that it is live there; but it came home after that, and went to c.
    assert world.send("b", part, "ada", to="a").ok
    world.relay()
    assert world.accept("a", part, "ada").ok
    assert world.send("a", part, "cyd", to="c").ok
    world.relay()
    assert give_up(world, header_height=world["a"].client("b-1").latest_height).ok
    assert rehome(world, part).reason == Reason.NOT_LIVE
    assert world.live_copies(part) == 1


def test_only_the_last_state_counts():
    world = World()
    part = moved(world)
    bring_head(world)
    early = world["a"].client("b-1").latest_height
    rows = world["b"].app.prove([state.part_key(part)], early - 1).keys
    assert world["b"].operate("bob", object_event("DELETE", "destroying", part, number=9)).ok
    bring_head(world)
    assert give_up(world).ok
    old = [ProvenRow(key=item.key, value=item.value or b"", proof=item.proof) for item in rows]
    assert rehome(world, part, rows=old).reason == Reason.BAD_PROOF
    assert rehome(world, part).reason == Reason.NOT_LIVE


@pytest.mark.parametrize("role", ["device", "auditor", "relayer"])
def test_who_may_take_over(role):
    world, part = lost_world()
    assert rehome(world, part, role=role).reason == Reason.ROLE_NOT_ALLOWED
    assert rehome(world, part, member="ann").ok  # whoever brings the proof; it goes to whom governance named


def test_rows_are_proven_and_few():
    world, part = lost_world()
    (row,) = rows_of(world, state.part_key(part))
    forged = PartRecord.FromString(row.value)
    forged.holder = "bea"
    for rows, reason in (
        ([], Reason.OVERSIZE),
        ([row] * (rehoming.ROWS_MAX + 1), Reason.OVERSIZE),
        ([ProvenRow(key=row.key, value=codec.encode(forged), proof=row.proof)], Reason.BAD_PROOF),
        ([ProvenRow(key=row.key, proof=row.proof)], Reason.BAD_PROOF),
        (
            [ProvenRow(key=state.part_key("https://a.example/1"), value=row.value, proof=row.proof)],
            Reason.BAD_PROOF,
        ),
        (rows_of(world, state.part_key("https://a.example/1")), Reason.BAD_PROOF),
    ):
        assert rehome(world, part, rows=rows).reason == reason
    absent = "https://id.gs1.org/01/04012345111118/21/999"
    assert rehome(world, absent).reason == Reason.UNKNOWN_PART
    assert rehome(world, "urn:epc:id:sgtin:4012345.011111.1", rows=[row]).reason == Reason.IDENTIFIER_INVALID
    assert rehome(world, part, lost="a", rows=[row]).reason == Reason.NOTHING_TO_DO


def test_a_member_from_whom_nobody_takes_over():
    world = World()
    part = moved(world, receiver="ben")
    bring_head(world)
    assert give_up(world).ok
    assert rehome(world, part).reason == Reason.UNKNOWN_MEMBER


def test_what_was_in_a_container_there_is_taken_over_by_itself():
    world = World()
    part, box = moved(world), moved(world)
    assert world["b"].operate("bob", packing_event("ADD", box, part)).ok
    bring_head(world)
    assert give_up(world).ok
    assert rehome(world, part).reason == Reason.BAD_PROOF  # where is the box?
    generation = state.generation_key(box, 1)
    keys = (state.part_key(part), generation, state.part_key(box))
    assert GenerationRecord.FromString(rows_of(world, generation)[0].value).count == 1
    assert rehome(world, part, *keys).ok
    assert rehome(world, box).ok
    for name in (part, box):
        record = world.part("a", name)
        assert (record.status, record.container, record.open) == (LIVE, "", False)
    # The box may be filled anew: its next filling has a number of its own.
    assert world["a"].operate("ada", packing_event("ADD", box, part)).ok
    assert world.part("a", box).generations == 2


def test_what_had_arrived_there_and_was_not_accepted_returns_to_its_shipper():
    world = World()
    part = world.commission("a", "ada")
    assert world.send("a", part, "ben").ok
    world.relay()
    assert world.part("b", part).status == OFFERED
    bring_head(world)
    assert give_up(world).ok
    assert rehome(world, part).ok
    assert (world.part("a", part).holder, world.part("a", part).owner) == ("ada", "ada")


def test_what_was_under_way_from_there_is_taken_over_and_its_packet_is_dead():
    world = World()
    part = moved(world)
    assert world.send("b", part, "abe").ok
    bring_head(world)
    packet = world["b"].sent("a-1", world["b"].client("a-1").next_sequence - 1)
    assert give_up(world).ok
    assert world.part("b", part).status == IN_TRANSIT
    assert rehome(world, part).ok
    assert world.part("a", part).holder == "ada"  # who takes over from bob
    height = world["a"].client("b-1").latest_height
    proof = prove(world["b"], height, state.commitment_key("a-1", packet.sequence))
    message = ReceivePacket(packet=packet, proof=proof)
    result = world["a"].operate("ada", Operation(receive_packet=codec.encode(message)), role="relayer")
    assert result.reason == Reason.CLIENT_FROZEN


def test_a_hop_that_nobody_can_rise_above_is_not_taken_over():
    world = World(corrupt="b")
    part = moved(world)
    for hop, reason in ((HOP_MAX, Reason.HOP_NOT_ABOVE), (0, Reason.HOP_NOT_ABOVE)):
        forged = world.part("b", part)
        forged.hop = hop
        evidence = Evidence(first=state.part_key(part), second=codec.encode(forged))
        assert world["b"].operate("bob", Operation(evidence=evidence)).ok
        if hop:
            continue
        bring_head(world)
        assert give_up(world).ok
        assert rehome(world, part).reason == reason


# ---- whose it is to take over -------------------------------------------------------------------------------------


def world_with_home_on_b(heir):
    """A part at home on b that was never on a."""
    world = World()
    for name, holder, home in (("b", "bob", b""), ("a", "ada", world["b"].chain_id)):
        grant = PutGrant(prefix=HOME_OF_B, holder=holder, home_chain=home)
        assert world.govern(name, Change(put_grant=grant)).ok
    part = box_of_b(1)
    assert world["b"].operate("bob", object_event("ADD", "commissioning", part, number=1)).ok
    bring_head(world)
    assert give_up(world, heir=heir).ok
    return world, part


def test_the_heir_takes_over_what_was_at_home_there():
    world, part = world_with_home_on_b(heir=True)
    assert rehome(world, part).ok
    record = world.part("a", part)
    assert (record.status, record.holder, record.commissioner) == (LIVE, "ada", "bob")
    assert record.origin_chain == world["b"].chain_id
    assert rehome(world, part).reason == Reason.NOT_LIVE


def test_nobody_else_does():
    world, part = world_with_home_on_b(heir=False)
    assert rehome(world, part).reason == Reason.NO_HEIR


def test_a_part_at_home_here_that_was_never_sent_there_is_a_forgery():
    world = World(corrupt="b")
    here = world.commission("a", "ada")
    unknown = "https://id.gs1.org/01/04012345111118/21/999"
    for part in (here, unknown):
        forged = PartRecord(
            id=part, status=LIVE, holder="bob", owner="bob", hop=9, origin_chain=world["b"].chain_id
        )
        evidence = Evidence(first=state.part_key(part), second=codec.encode(forged))
        assert world["b"].operate("bob", Operation(evidence=evidence)).ok
    bring_head(world)
    assert give_up(world, heir=True).ok
    assert rehome(world, here).reason == Reason.NOT_LIVE
    assert rehome(world, unknown).reason == Reason.NOT_FROM_HOME


def test_serials_of_lots_are_taken_over_only_where_nothing_of_the_lot_is_known_here():
    for some_came, reason in ((False, 0), (True, Reason.SERIALS_OVERLAP)):
        world = World()
        for name, holder, home in (("b", "bob", b""), ("a", "ada", world["b"].chain_id)):
            grant = PutGrant(prefix=HOME_OF_B, holder=holder, home_chain=home)
            assert world.govern(name, Change(put_grant=grant)).ok
        lot = canonical("urn:epc:class:lgtin:7654321.011111.W1").text
        die = f"{canonical(lot).class_text}/21/0050"
        for number, event in enumerate((serials_of(lot, "0000", "0099", 100), seen([die]))):
            assert world["b"].operate("bob", captured(world, event, number)).ok
        if some_came:
            assert world.send("b", interval_text(lot, 0, 10), "ada", member="bob").ok
            world.relay()
        bring_head(world)
        assert give_up(world, heir=True).ok
        assert rehome(world, die).reason == reason
        assert (world.part("a", die).holder, world.part("a", die).lot) == ("" if some_came else "ada", "")


def test_a_serial_first_touched_there_out_of_an_interval_from_here_is_not_taken_over():
    world = World()
    lot = canonical("urn:epc:class:lgtin:4012345.012345.W1").text
    die = f"{canonical(lot).class_text}/21/0005"
    assert world["a"].operate("ada", captured(world, serials_of(lot, "0000", "0099", 100))).ok
    assert world.send("a", interval_text(lot, 0, 10), "bob", member="ada").ok
    world.relay()
    assert accepted(world, "b", interval_text(lot, 0, 10), "bob").ok
    assert world["b"].operate("bob", captured(world, seen([die]), 1)).ok
    bring_head(world)
    assert give_up(world, heir=True).ok
    assert rehome(world, die).reason == Reason.NOT_FROM_HOME


def test_what_is_at_home_on_a_third_chain_is_left_to_it():
    world = World("a", "b", "c", corrupt="b")
    world.join("b", "c")
    part = moved(world)
    bring_head(world, host="c", client="b-1")
    members = [MemberHere(there="bob", here="cyd")]
    assert give_up(world, host="c", heir=True, members=members).ok
    result = rehome(world, part, member="cyd", host="c")
    assert result.reason == Reason.NOT_FROM_HOME


# ---- packets that were under way to it --------------------------------------------------------------------------


def ending(world, part, key, **more):
    """The end of a packet of a's, proven under b's last state."""
    packet = world["a"].sent("b-1", world.part("a", part).sequence)
    (row,) = rows_of(world, key)
    proof = RemoteProof(proof=row.proof)
    if more:
        message = AcknowledgePacket(packet=packet, proof=proof, **more)
        operation = Operation(acknowledge_packet=codec.encode(message))
    else:
        operation = Operation(timeout_packet=codec.encode(TimeoutPacket(packet=packet, proof=proof)))
    return world["a"].operate("ada", operation, role="relayer")


def test_what_never_arrived_there_is_back_without_waiting():
    world = World()
    part = world.commission("a", "ada")
    moved(world)
    assert world.send("a", part, "bob", timeout_ms=20 * HOUR_MS).ok
    bring_head(world)
    receipt = state.receipt_key("a-1", world.part("a", part).sequence)
    assert give_up(world).ok
    assert rehome(world, part).reason == Reason.UNKNOWN_PART
    assert ending(world, part, receipt).ok
    assert (world.part("a", part).status, world.part("a", part).holder) == (LIVE, "ada")


def test_what_arrived_there_departs_and_is_then_taken_over():
    world = World()
    part = world.commission("a", "ada")
    assert world.send("a", part, "bob").ok
    world.settle()
    relayer = world.relayers["a", "b"]
    relayer.bring(world["b"], world["a"], relayer.plan().on_b)
    sequence = world.part("a", part).sequence
    bring_head(world)
    assert give_up(world).ok
    assert rehome(world, part).reason == Reason.NOT_LIVE  # in transit still, by our record
    assert ending(world, part, state.receipt_key("a-1", sequence)).reason == Reason.BAD_PROOF
    answered = state.acknowledgement_key("a-1", sequence)
    assert ending(world, part, answered, acknowledgement=b"\x01").ok
    assert world.part("a", part).status == DEPARTED
    assert rehome(world, part).ok
    assert world.part("a", part).status == LIVE
