"""Chains as witnesses: a fork shown to a client is found, proven, and laid at the doors of those who signed both."""

from pathlib import Path

import pytest

from client import faults, witness
from client.trust import ChainTrust, Trust
from client.verified import VerifiedChain
from client.witness import Fork, Held, Unproven
from consensus.certificate import form
from consensus.messages import signed_vote
from ledger import codec, hashes, state
from ledger.block import block_hash, decode_header
from proto.chiptrace.v1.bridge_pb2 import ClientHeader, ClientRecord, SubmitMisbehaviour, UpdateClient
from proto.chiptrace.v1.consensus_pb2 import FINALIZE, SignedHeader, Vote
from proto.chiptrace.v1.ledger_pb2 import (
    VALIDATOR,
    Change,
    Operation,
    PutKey,
    SetValidators,
    Validator,
)
from tests.bridge.two_chains import MEMBERS, World
from tests.client.direct import DirectConnection
from tests.client.relaying import RelayStub
from tests.ledger.chain_fixture import key_of


def seen(chain) -> VerifiedChain:
    trust = ChainTrust(chain.name, chain.chain_id, ("nowhere:1",), Path("ca.pem"), 10_000)
    return VerifiedChain(trust, DirectConnection(RelayStub(chain)), lambda: chain.info.time_ms)


def forged(chain, height, *, signers=(0, 1, 2), view=1, mark=b"another") -> SignedHeader:
    """A second header of a height, certified by some of the chain's validators."""
    header = decode_header(chain.header(height).header)
    header.app_hash = mark.ljust(32)
    data = codec.encode(header)
    this_hash = block_hash(chain.chain_id, data)
    vote = signed_vote(chain.chain_id, Vote(kind=FINALIZE, height=height, view=view, block_hash=this_hash))
    validators = chain.info.validators.validators
    signatures = {index: hashes.sign_raw(chain.seeds[validators[index].key], vote) for index in signers}
    certificate = form(FINALIZE, height, view, this_hash, signatures, len(validators))
    return SignedHeader(header=data, certificate=certificate)


def show(world, host, client, *headers):
    """Bring headers to a client."""
    operation = Operation(update_client=codec.encode(UpdateClient(client=client, headers=headers)))
    result = world[host].operate(world[host].members[0], operation, role="relayer")
    world[host].settle()
    return result


def compared(world, watched, hosts, *, nodes=True):
    """What a comparison finds of one chain."""
    source = seen(world[watched])
    source.advance()
    chains = {host: seen(world[host]) for host in hosts}
    items = [item for host in hosts for item in witness.held(chains[host], f"{watched}-1")]

    def shown(height):
        found = witness.shown(source.connection, height) if nodes else None
        return [] if found is None else [("a node", found)]

    def fetched(item):
        return witness.brought(chains[item.by], item.client, item.header.height)

    return list(witness.compare(items, shown, fetched, lambda: faults.way_of(source)))


@pytest.fixture
def world():
    found = World("a", "b", "c", joined=(("b", "c"),))
    for _ in range(3):
        found["a"].produce()
    found.settle()
    return found


def test_one_history_is_no_fork(world):
    assert show(world, "b", "a-1", world["a"].header(4)).ok
    assert show(world, "c", "a-1", world["a"].header(5)).ok
    assert compared(world, "a", "bc") == []
    assert compared(world, "a", "bc", nodes=False) == []


def test_a_forged_header_that_one_client_holds_is_found_and_freezes_all(world):
    assert show(world, "b", "a-1", forged(world["a"], 5)).ok
    assert show(world, "c", "a-1", world["a"].header(5)).ok
    for nodes in (True, False):
        (found,) = compared(world, "a", "bc", nodes=nodes)
        assert isinstance(found, Fork)
        assert (found.height, found.same_view) == (5, True)
        # All four signed the true one, three the forged one.
        assert {fault.member for fault in found.faults} == set(world["a"].members[:3])
    for host in "bc":
        operation = found.accusation(world[host].client("a-1"))
        result = world[host].operate(world[host].members[0], operation, role="relayer")
        assert result.ok, result
        assert world[host].client("a-1").frozen


def test_who_signed_one_of_both_is_not_named(world):
    world["a"].certify = lambda header, view=1: None
    first, second = (
        forged(world["a"], 5, signers=(0, 1, 2)),
        forged(world["a"], 5, signers=(1, 2, 3), mark=b"third"),
    )
    source = seen(world["a"])
    source.advance()
    found = witness.fork(faults.way_of(source), first, second, ("one", "other"))
    assert {fault.member for fault in found.faults} == set(world["a"].members[1:3])


def test_certificates_of_several_nodes_together_name_more_of_the_guilty(world):
    source, chain = seen(world["a"]), seen(world["b"])
    source.advance()
    assert show(world, "b", "a-1", forged(world["a"], 5, signers=(0, 1, 2))).ok
    true = world["a"].header(5)
    validators = world["a"].info.validators.validators

    def node(*signers):
        votes = {index: true.certificate.signatures[index] for index in signers}
        copy = SignedHeader(header=true.header)
        this_hash = true.certificate.block_hash
        copy.certificate.CopyFrom(form(FINALIZE, 5, true.certificate.view, this_hash, votes, len(validators)))
        return copy

    nodes = [("one", node(0, 1, 3)), ("other", node(1, 2, 3))]
    (found,) = witness.compare(
        witness.held(chain, "a-1"),
        lambda _: nodes,
        lambda item: witness.brought(chain, item.client, item.header.height),
        lambda: faults.way_of(source),
    )
    assert [fault.member for fault in found.faults] == sorted(world["a"].members[:3])


def test_one_block_certified_in_two_views_is_no_fork(world):
    source = seen(world["a"])
    source.advance()
    first, second = forged(world["a"], 5), forged(world["a"], 5, view=4, signers=(1, 2, 3))
    assert witness.fork(faults.way_of(source), first, second, ("one", "other")) is None


def test_certificates_of_two_views_convict_nobody_but_freeze(world):
    assert show(world, "b", "a-1", forged(world["a"], 5, view=3)).ok
    (found,) = compared(world, "a", "b")
    assert (found.same_view, found.faults) == (False, ())
    operation = found.accusation(world["b"].client("a-1"))
    assert world["b"].operate("bob", operation, role="relayer").ok
    assert world["b"].client("a-1").frozen


def test_the_file_of_the_guilty_proves_them_without_a_node(world, tmp_path):
    assert show(world, "b", "a-1", forged(world["a"], 5)).ok
    (found,) = compared(world, "a", "b")
    path = tmp_path / "fork.json"
    faults.write(path, found.faults)
    trust = Trust((seen(world["a"]).trust,), ())
    name, read = faults.read(path, trust, world.clock.now_ms + 1_000_000)
    assert name == "a"
    assert {fault.member for fault in read} == set(world["a"].members[:3])


def test_a_node_that_shows_an_uncertified_header_accuses_nobody(world):
    assert show(world, "b", "a-1", world["a"].header(5)).ok
    source = seen(world["a"])
    source.advance()
    chain = seen(world["b"])
    lie = forged(world["a"], 5, signers=(0,))
    items = witness.held(chain, "a-1")
    found = list(
        witness.compare(
            items,
            lambda height: [("a liar", lie if height == 5 else world["a"].header(height))],
            lambda item: witness.brought(chain, item.client, item.header.height),
            lambda: faults.way_of(source),
        )
    )
    assert found == [Unproven(5, ("a liar", "client a-1 of chain b"))]


def test_a_checkpoint_that_differs_and_cannot_be_fetched_is_told(world):
    source = seen(world["a"])
    source.advance()
    kept = Held("x", "a-1", world["a"].chain_id, ClientHeader(height=5, block_hash=bytes(32)))
    found = list(
        witness.compare(
            [kept],
            lambda height: [("a node", world["a"].header(height))],
            lambda _: None,
            lambda: faults.way_of(source),
        )
    )
    assert found == [Unproven(5, ("a node", "client a-1 of chain x"))]


def test_the_oldest_of_many_headers_is_found_again_with_its_certificate(world):
    heights = range(world["a"].height + 1, world["a"].height + 30)
    for _ in heights:
        world["a"].produce()
        assert show(world, "b", "a-1", world["a"].header(world["a"].height)).ok
    chain = seen(world["b"])
    for height in (heights[0], heights[-1]):
        assert witness.brought(chain, "a-1", height) == world["a"].header(height)
    assert witness.brought(chain, "a-1", 2) is None
    assert witness.brought(chain, "nobody-1", 2) is None


def test_set_changes_before_the_fork_are_walked_and_old_sets_are_sent_along(world):
    fake = forged(world["a"], 5)
    assert show(world, "b", "a-1", fake).ok
    assert show(world, "c", "a-1", world["a"].header(5)).ok
    seed = b"\7" * 32
    key = hashes.public_key(seed)
    world["a"].seeds[key] = seed
    members = [Validator(key=key_of(member, "validator"), member=member) for member in MEMBERS["a"][:3]]
    put = Change(put_key=PutKey(key=key, member="ann", role=VALIDATOR))
    change = Change(set_validators=SetValidators(validators=[*members, Validator(key=key, member="ann")]))
    assert world.govern("a", put, change, joiners=[seed]).ok
    for _ in range(3):
        world["a"].produce()
    assert show(world, "c", "a-1", *world["a"].headers_above(5)).ok
    (found,) = compared(world, "a", "bc")
    record = world["c"].record(state.client_key("a-1"), ClientRecord)
    operation = found.accusation(record)
    sent = SubmitMisbehaviour.FromString(operation.submit_misbehaviour)
    assert len(sent.validators) == 1  # the client no longer holds it
    assert world["c"].operate("cyd", operation, role="relayer").ok
    assert world["c"].client("a-1").frozen
