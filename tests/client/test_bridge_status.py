"""What operators are told of clients, packets and parts between chains: each state by name, with what it waits for."""

import pytest

from client import bridge_status
from client.bridge_status import Place, client_status, packet_status, places
from client.bridge_trace import trace
from client.trust import Trust
from ledger import codec, state
from ledger.errors import Malformed
from ledger.limits import U64_MAX
from proto.chiptrace.v1.bridge_pb2 import SubmitMisbehaviour
from proto.chiptrace.v1.ledger_pb2 import Operation
from tests.bridge.crossing import carry
from tests.bridge.test_custody_traces import follow, routed
from tests.bridge.two_chains import TRUSTING_MS, World
from tests.client.relaying import carried, route_over
from tests.client.test_witness import forged, seen

PLACE = Place("a", "b-1", "b")


def chains(world):
    world.settle()
    return {name: seen(chain) for name, chain in world.chains.items()}


def sent(world, **options):
    part = world.commission("a", "ada")
    assert world.send("a", part, "bob", **options).ok
    return part


def told(world, sequence=1, place=PLACE):
    return packet_status(chains(world), place, sequence)


def done(status):
    return [step[1] for step in status.steps]


def test_a_packet_that_nobody_has_carried():
    world = World()
    sent(world)
    status = told(world)
    assert (status.state, done(status)) == ("sent", [True, False, False, False, False])
    assert "a relayer has not brought it to b" in status.why
    assert "left" in status.why
    assert status.packet.value


def test_a_packet_whose_answer_is_not_back():
    world = World()
    sent(world)
    route = route_over(world)
    world.settle()
    route.round()
    status = told(world)
    assert (status.state, done(status)) == ("answered", [True, True, True, False, False])
    assert "success waits to be brought back to a" in status.why


@pytest.mark.parametrize(("receiver", "wanted"), [("bob", "delivered"), ("nobody", "refused")])
def test_a_packet_that_is_closed(receiver, wanted):
    world = World()
    part = world.commission("a", "ada")
    assert world.send("a", part, receiver).ok
    carried(route_over(world), world)
    status = told(world)
    assert (status.state, status.why, done(status)) == (wanted, "", [True] * 5)


def test_a_packet_that_is_late_and_one_that_came_back():
    world = World()
    sent(world, timeout_ms=1_000)
    world.pass_time(120_000)
    status = told(world)
    assert status.state == "late"
    assert "never arrived" in status.why
    carried(route_over(world), world)
    status = told(world)
    assert (status.state, done(status)[2], done(status)[4]) == ("timed out", False, True)


def freeze(world, host="b", client="a-1", watched="a"):
    chain = world[watched]
    message = SubmitMisbehaviour(client=client, first=chain.header(2), second=forged(chain, 2))
    operation = Operation(submit_misbehaviour=codec.encode(message))
    assert world[host].operate(world[host].members[0], operation, role="relayer").ok


def test_a_frozen_client_is_the_reason_that_is_told():
    world = World()
    sent(world)
    freeze(world)
    status = told(world)
    assert status.state == "sent"
    assert "caught contradicting itself" in status.why
    found = client_status(chains(world), Place("b", "a-1", "a"))
    assert (found.state, found.help) == ("frozen", status.why)


def test_clients_grow_old_and_expire():
    world = World()
    assert client_status(chains(world), PLACE).state == "active"
    assert client_status(chains(world), PLACE).help == ""
    world.pass_time(TRUSTING_MS * 3 // 4)
    assert "expires soon" in client_status(chains(world), PLACE).help
    world.pass_time(TRUSTING_MS // 2)
    found = client_status(chains(world), PLACE)
    assert (found.state, "new anchor" in found.help) == ("expired", True)
    assert client_status(chains(world), Place("a", "none-1", "b")) is None


@pytest.mark.parametrize("sequence", [0, 2, 99])
def test_a_packet_that_was_never_sent_is_told(sequence):
    world = World()
    sent(world)
    with pytest.raises(Malformed, match="1 packets were sent"):
        told(world, sequence)


def test_a_body_that_is_not_the_packets_is_not_shown(monkeypatch):
    world = World()
    sent(world)
    items = list(bridge_status.listed(chains(world)["a"], "b-1"))
    items[0].packet.value += b"more"
    monkeypatch.setattr(bridge_status, "listed", lambda *_: iter(items))
    assert told(world).packet is None


@pytest.mark.parametrize("sequence", [3, U64_MAX])
def test_no_node_lists_more_packets_than_were_sent(sequence):
    """Each page has one more, or the last number there is."""
    world = World()
    sent(world)
    sent(world)
    found = chains(world)["a"]
    honest = found.connection.stub.GetPackets
    asked = []

    def lists(request):
        asked.append(request.from_sequence)
        reply = honest(request)
        item = reply.items.add(packet=reply.items[0].packet if reply.items else None)
        item.packet.sequence = max(request.from_sequence, sequence)
        return reply

    found.connection.stub.GetPackets = lists
    assert [item.packet.sequence for item in bridge_status.listed(found, "b-1")] == [1, 2]
    assert [item.packet.sequence for item in bridge_status.listed(found, "b-1", 2)] == [2]
    assert list(bridge_status.listed(found, "b-1", 3)) == list(bridge_status.listed(found, "none-1")) == []
    assert asked == [1, 2]


def test_the_way_of_a_part_there_and_back():
    world = World()
    part = sent(world)
    found = trace(chains(world), part)
    assert [(step.chain, step.text.split()[0]) for step in found.steps] == [("a", "sent")]
    (standing,) = found.standings
    assert standing.packet.state == "sent"
    assert "under way as packet 1" in standing.why
    carried(route_over(world), world)
    found = trace(chains(world), part)
    assert [(step.chain, step.text.split()[0]) for step in found.steps] == [
        ("a", "sent"),
        ("b", "arrived"),
        ("a", "departed:"),
    ]
    assert "offered to bob" in {item.chain: item.why for item in found.standings}["b"]
    assert world.accept("b", part, "bob").ok
    assert world.send("b", part, "ada").ok
    carried(route_over(world), world)
    assert len(trace(chains(world), part).steps) == 6
    assert trace(chains(world), "https://id.gs1.org/01/04012345111118/21/nobody").standings == ()


def test_what_is_known_to_have_gone_on_is_told_with_its_chain():
    world = routed("a", "b", "c", joined=(("b", "c"),))
    part = world.commission("a", "ada")
    carry(world, "a", part, "bob", to="b")
    assert follow(world, "c", part, "a").ok
    world.settle()
    found = trace(chains(world), part)
    assert ("c", "known to have gone on from another chain") in [(one.chain, one.text) for one in found.steps]
    assert {one.chain: one.why for one in found.standings}["c"] == "known to have gone on to chain b"
    # A chain that the trust file does not name stands by its id.
    known = chains(world)
    del known["b"]
    assert (
        trace(known, part).standings[-1].why == f"known to have gone on to chain {world['b'].chain_id.hex()}"
    )


def test_places_are_named_by_a_configuration_or_by_the_chains(tmp_path):
    world = World()
    trusted = Trust(tuple(seen(chain).trust for chain in world.chains.values()), ())
    found = chains(world)
    assert places(trusted, None, found) == [PLACE, Place("b", "a-1", "a")]
    world.join("a", "b", "2")
    assert Place("b", "a-2", "a") in places(trusted, None, chains(world))
    path = tmp_path / "relay.toml"
    path.write_text('[[routes]]\nfirst = "a"\nfirst_client = "b-1"\nsecond = "b"\nsecond_client = "a-1"\n')
    assert places(trusted, path, found) == [PLACE, Place("b", "a-1", "a")]
    for wrong in ("", "[[routes]]\n", 'routes = "x"', "\0", '[[routes]]\nfirst = "nowhere"\n'):
        path.write_text(wrong)
        with pytest.raises(Malformed):
            places(trusted, path, found)


def test_it_is_said_for_scripts():
    world = World()
    sent(world)
    value = bridge_status.said(told(world))
    assert (value["chain"], value["client"], value["to"], value["sequence"]) == ("a", "b-1", "b", 1)
    assert value["port"] == "custody/1"
    assert value["timeout_ms"] > 0
    assert len(value["steps"]) == 5
    record = world["a"].record(state.client_key("b-1"), type(world["a"].client("b-1")))
    assert record.next_sequence == 2
