"""The test network as its users have it: up, watched, hurt, used across chains, down and gone."""

import os

import pytest

from client.clock import now_ms
from client.session import open_chain
from ledger import codec, state
from ledger.errors import Malformed
from ledger.identifiers import canonical
from node import testnet_layout
from node.testnet_plan import chain_of, one_chain, two_chains
from proto.chiptrace.v1.bridge_pb2 import ClientRecord, SendPart
from proto.chiptrace.v1.ledger_pb2 import (
    DEPARTED,
    OFFERED,
    Capture,
    Event,
    Field,
    GrantRecord,
    List,
    Operation,
    PartRecord,
    Value,
)
from tests.node.network import MEMBERS, until

pytestmark = pytest.mark.processes
OTHER_MEMBERS = [member.id for member in chain_of("assembler", 4).members]


def test_up_tells_where_everything_is(testnet, command):
    assert [chain["name"] for chain in testnet["chains"]] == ["chipmaker", "assembler"]
    assert all(len(chain["nodes"]) == 4 for chain in testnet["chains"])
    assert (command.directory / testnet["trust"]).is_file()


def test_status_is_of_every_process(chain, command):
    code, printed = command("testnet", "status")
    assert code == 0
    assert len(printed) == 9
    assert all(item["running"] for item in printed)
    assert all(item["synced"] and item["peers_connected"] == 3 for item in printed[:8])


def test_up_again_changes_nothing_but_starts_what_does_not_run(chain, command, testnet):
    before = {name: item.pid for name, item in chain.processes.running().items()}
    assert command("testnet", "kill", "chipmaker-testlab") == (0, {"killed": "chipmaker-testlab"})
    assert command("testnet", "kill", "chipmaker-testlab") == (0, {"killed": None})
    assert command("testnet", "start", "chipmaker-siliconfab") == (0, {"started": None})
    assert command("testnet", "status")[0] == 1
    code, printed = command("testnet", "up")
    after = {name: item.pid for name, item in chain.processes.running().items()}
    assert (code, printed["chains"]) == (0, testnet["chains"])
    assert {name for name in before if before[name] != after[name]} == {"chipmaker-testlab"}


def test_an_unknown_name_is_told_with_those_there_are(testnet, command):
    code, printed = command("testnet", "start", "nobody")
    assert code == 2
    assert "chipmaker-siliconfab" in printed["error"]["message"]


def test_both_chains_have_their_client_and_the_foreign_namespaces(chain, command, testnet):
    ids = {item["name"]: bytes.fromhex(item["chain_id"]) for item in testnet["chains"]}
    for here, other in (("chipmaker", "assembler"), ("assembler", "chipmaker")):
        with open_chain(command.directory / testnet["trust"], here) as session:
            record = session.verified.record(state.client_key(other), ClientRecord)
            assert record.chain_id == ids[other]
            for prefix in member_grants(other):
                grant = session.verified.record(state.grant_key(prefix), GrantRecord)
                assert grant.home_chain == ids[other]
            for prefix in member_grants(here):
                assert not session.verified.record(state.grant_key(prefix), GrantRecord).home_chain


def member_grants(chain):
    return [member.grant for member in chain_of(chain, 4).members]


def commissioning(part):
    texts = {
        "action": "ADD",
        "bizStep": "commissioning",
        "eventTime": "2026-01-01T00:00:00.000Z",
        "eventTimeZoneOffset": "+00:00",
        "type": "ObjectEvent",
    }
    fields = {name: Value(text=text) for name, text in texts.items()}
    fields["epcList"] = Value(list=List(items=[Value(text=part)]))
    event = Event(
        seed=os.urandom(16), fields=[Field(name=name, value=fields[name]) for name in sorted(fields)]
    )
    return Operation(capture=Capture(event=codec.encode(event)))


def test_a_part_crosses_even_when_the_relayer_was_down_as_it_left(chain, command, testnet):
    trust = command.directory / testnet["trust"]
    part = canonical(f"https://id.gs1.org/01/09521001000017/21/{os.urandom(6).hex()}").text
    key = state.part_key(part)
    with open_chain(trust, "chipmaker", "siliconfab") as home, open_chain(trust, "assembler") as away:
        home.submitter().submit([commissioning(part)], os.urandom(16))
        assert command("testnet", "kill", "relay")[0] == 0
        sending = SendPart(
            client="assembler", part=part, receiver="boardworks", timeout_ms=now_ms() + 600_000
        )
        home.submitter().submit([Operation(send_part=codec.encode(sending))], os.urandom(16))
        assert command("testnet", "start", "relay")[0] == 0

        def arrived():
            away.verified.repin()
            record = away.verified.record(key, PartRecord)
            return record is not None and record.status == OFFERED

        def departed():
            home.verified.repin()
            return home.verified.record(key, PartRecord).status == DEPARTED

        until(arrived)
        until(departed)
        record = away.verified.record(key, PartRecord)
        assert (record.offered_to, record.origin_chain) == ("boardworks", home.trust.chain_id)


def test_grants_for_documents_are_taken_from_their_namespaces(tmp_path):
    grants = ("gs1:0614141", "gs1:9521001")  # the second is a member's own
    network = testnet_layout.create(tmp_path / "net", None, grants)
    from ledger.genesis import decode_genesis

    first, second = (decode_genesis(network.genesis_file(c.name).read_bytes()) for c in network.chains)
    held = {grant.prefix: grant.holder for grant in first.grants}
    assert (held["gs1:0614141"], held["gs1:9521001"]) == ("siliconfab", "siliconfab")
    assert (first.parameters.adoption, second.parameters.adoption) == (True, False)


def test_reset_leaves_alone_what_is_no_test_network(command, tmp_path):
    (tmp_path / "mine").write_text("precious")
    for word in ("reset", "down"):
        code, printed = command("testnet", word, "--dir", str(tmp_path))
        assert (code, "no test network" in printed["error"]["message"]) == (2, True)
    code, printed = command("testnet", "up", "--dir", str(tmp_path))
    assert (code, "not empty" in printed["error"]["message"]) == (2, True)
    assert (tmp_path / "mine").read_text() == "precious"


@pytest.mark.parametrize("validators", [1, 3, 4, 7, 31])
def test_a_network_of_any_size_has_a_sound_genesis_and_the_four_names_first(tmp_path, validators):
    network = testnet_layout.create(tmp_path / "net", None, (), two_chains(validators))
    assert network == testnet_layout.read(tmp_path / "net")
    for chain, names in zip(network.chains, (MEMBERS, OTHER_MEMBERS), strict=True):
        document = network.genesis(chain.name)
        assert len(document.validators) == len(chain.nodes) == validators
        assert [node.member for node in chain.nodes][:4] == list(names)[:validators]
        assert document.dev == (validators < 4)
        assert document.parameters.governance_threshold * 2 > validators
    ports = [address for node in network.nodes for address in (node.clients, node.validators)]
    assert len(set(ports)) == 4 * validators


def test_members_who_may_join_have_a_node_but_no_vote(tmp_path):
    network = testnet_layout.create(tmp_path / "net", None, (), one_chain(4, joining=2, heartbeat_ms=250))
    document = network.genesis("chipmaker")
    assert ([v.member for v in document.validators], len(document.members)) == (list(MEMBERS), 6)
    assert (len(network.nodes), network.relayed, document.parameters.heartbeat_ms) == (6, False, 250)
    assert not (tmp_path / "net" / "relay").exists()


@pytest.mark.parametrize("validators, joining", [(0, 0), (32, 0), (30, 2), (0, 1)])
def test_a_number_of_validators_that_no_chain_has_is_refused(validators, joining):
    with pytest.raises(Malformed, match="1 to 31"):
        one_chain(validators, joining)


def test_one_validator_is_a_network_and_stays_one(tmp_path, command):
    """The smallest one, up, used by the relayer's pairing, refused under another size, and gone."""
    place = ("--dir", str(tmp_path / "small"))
    try:
        code, printed = command("testnet", "up", "--validators", "1", *place)
        assert code == 0, printed
        code, status = command("testnet", "status", *place)
        assert (code, [item["running"] for item in status]) == (0, [True] * 3)
        code, printed = command("testnet", "up", "--validators", "4", *place)
        assert (code, "another number of validators" in printed["error"]["message"]) == (2, True)
    finally:
        assert command("testnet", "reset", *place)[0] == 0
