"""Bridges of real processes: a storm of dying relayers and stopping chains, and a fork shown to two of three chains."""

import time

import pytest

from client import faults, keys, witness
from client import trust as trust_file
from client.clock import now_ms
from client.session import open_all
from consensus.certificate import form
from consensus.messages import signed_vote
from ledger import codec, hashes, state
from ledger.block import block_hash, decode_header
from proto.chiptrace.v1.bridge_pb2 import ClientRecord, SendPart, UpdateClient
from proto.chiptrace.v1.consensus_pb2 import FINALIZE, SignedHeader, Vote
from proto.chiptrace.v1.ledger_pb2 import DEPARTED, OFFERED, Operation, PartRecord
from proto.chiptrace.v1.node_pb2 import StatusRequest
from scripts.bridge_run import perform
from tests.integration.testbed import Signer, Testbed, commissioning, serial
from tests.node.network import until

pytestmark = pytest.mark.processes
WATCH_SECONDS = 2.0  # of the relayer's default configuration
CHAINS = ("fab", "osat", "assembler")


def test_every_part_is_live_exactly_once_whatever_happens_to_relayers_and_chains(tmp_path):
    report = perform(tmp_path / "net", parts=40, pause=3.0, samples=0, packets=0)
    assert report["in_flight"] == 40
    assert report["parts"] == report["live_once"] == 56
    assert report["stuck"] == 0
    assert report["crossed"] > 0
    assert min(report["loaded"].values()) > 0
    assert report["held"]


@pytest.fixture(scope="module")
def bed(tmp_path_factory):
    """Three chains, all pairs, one relayer."""
    found = Testbed(tmp_path_factory.mktemp("three"))
    try:
        found.up = found.done("testnet", "up", "--chains", ",".join(CHAINS))
        yield found
    finally:
        found.processes.stop(list(found.processes.running()))


@pytest.fixture(scope="module")
def sessions(bed):
    with open_all(bed.trust_file) as found:
        yield {session.trust.name: session for session in found.values()}


def signer(sessions, chain) -> Signer:
    return Signer(sessions[chain], keys.read_seed(sessions[chain].identity.key))


def send(sessions, chain, prefix, to, receiver) -> str:
    part = serial(prefix)
    signer(sessions, chain).do(commissioning(part))
    message = SendPart(client=to, part=part, receiver=receiver, timeout_ms=now_ms() + 600_000)
    signer(sessions, chain).do(Operation(send_part=codec.encode(message)))
    return part


def status(sessions, chain, part):
    verified = sessions[chain].verified
    verified.repin()
    record = verified.record(state.part_key(part), PartRecord)
    return record.status if record is not None else None


def client(sessions, chain, name) -> ClientRecord:
    verified = sessions[chain].verified
    verified.repin()
    return verified.record(state.client_key(name), ClientRecord)


def test_each_route_of_three_chains_counts_for_itself(bed, sessions):
    assert [tuple(pair) for pair in bed.up["pairs"]] == [
        ("fab", "osat"),
        ("fab", "assembler"),
        ("osat", "assembler"),
    ]
    crossing = [
        ("fab", "9522001", "osat", "packager"),
        ("fab", "9522001", "assembler", "boardworks"),
        ("osat", "9523001", "fab", "waferworks"),
        ("assembler", "9525001", "osat", "packager"),
    ]
    parts = [(home, to, send(sessions, home, prefix, to, who)) for home, prefix, to, who in crossing]
    for home, to, part in parts:
        until(lambda to=to, part=part: status(sessions, to, part) == OFFERED)
        until(lambda home=home, part=part: status(sessions, home, part) == DEPARTED)
    for home, _, to, _ in crossing:
        assert client(sessions, home, to).next_sequence == 2
    traced = bed.done("bridge", "trace", parts[0][2])
    assert [step["text"].split()[0] for step in traced["steps"]] == ["sent", "arrived", "departed:"]
    assert {item["chain"]: item["status"] for item in traced["standings"]} == {
        "fab": "DEPARTED",
        "osat": "OFFERED",
    }
    assert len(bed.done("bridge", "clients")["clients"]) == 6
    assert bed.done("bridge", "health", "--at", bed.up["relay"]["metrics"])["healthy"]
    packet = bed.done("bridge", "packet", "1", "--chain", "fab", "--client", "osat")
    assert (packet["state"], [step["done"] for step in packet["steps"]]) == ("delivered", [True] * 5)


def test_a_part_on_its_way_says_what_it_waits_for_and_is_cleared_by_hand(bed, sessions):
    assert bed.done("testnet", "kill", "relay")["killed"] == "relay"
    part = send(sessions, "osat", "9523001", "assembler", "boardworks")
    traced = until(lambda: (found := bed.chiptrace("bridge", "trace", part, "--json").json) and found)
    (standing,) = traced["standings"]
    assert (standing["status"], standing["packet"]["state"]) == ("IN_TRANSIT", "sent")
    assert "a relayer has not brought it" in standing["why"]
    ended = bed.chiptrace("bridge", "pending", "--json")
    assert (ended.code, sum(route["open"] for route in ended.json["routes"])) == (1, 1)
    assert bed.done("bridge", "clear")["routes"]
    assert status(sessions, "assembler", part) == OFFERED
    assert bed.chiptrace("bridge", "pending").code == 0
    assert bed.done("testnet", "start", "relay")["started"] == "relay"


def test_a_chain_that_stands_still_holds_up_its_own_routes_only(bed, sessions):
    for name in bed.names("assembler"):
        bed.processes.kill(name)
    late = send(sessions, "fab", "9522001", "assembler", "boardworks")
    part = send(sessions, "fab", "9522001", "osat", "packager")
    until(lambda: status(sessions, "osat", part) == OFFERED)
    until(lambda: status(sessions, "fab", part) == DEPARTED)
    for name in bed.names("assembler"):
        bed.start(name)
    until(lambda: status(sessions, "fab", late) == DEPARTED, 60)
    assert status(sessions, "assembler", late) == OFFERED


def forge(bed, true: SignedHeader, signers) -> SignedHeader:
    """Another header of the same height and view, signed with the keys of some validators."""
    network = bed.network
    fab = network.chain("fab")
    header = decode_header(true.header)
    header.app_hash = hashes.sha256(b"another past")
    data = codec.encode(header)
    this_hash = block_hash(fab.chain_id, data)
    height, view = header.height, true.certificate.view
    vote = signed_vote(fab.chain_id, Vote(kind=FINALIZE, height=height, view=view, block_hash=this_hash))
    signatures = {
        index: hashes.sign_raw(
            keys.read_seed(network.node_directory(fab.nodes[index].name) / "keys" / "validator.key"), vote
        )
        for index in signers
    }
    return SignedHeader(
        header=data, certificate=form(FINALIZE, height, view, this_hash, signatures, len(fab.nodes))
    )


def test_a_fork_shown_to_two_chains_is_frozen_within_an_interval_and_names_who_signed_both(bed, sessions):
    """Last of this module: chain fab is not believed any more afterwards."""
    checkpoints = bed.home / "checkpoints.json"
    assert bed.done("bridge", "checkpoints", checkpoints)["checkpoints"] > 0
    assert bed.chiptrace("bridge", "evidence", "--against", checkpoints).code == 0
    until(lambda: bed.done("bridge", "health", "--at", bed.up["relay"]["metrics"])["healthy"])
    # The true past to the assembler, another one to the osat, both certified by a quorum.
    head = sessions["fab"].connection.call(lambda stub: stub.GetStatus, StatusRequest()).head
    true = witness.shown(sessions["fab"].connection, head.certificate.height)
    forgers = (0, 1, 2)
    began = time.monotonic()
    for chain, signed in (("assembler", true), ("osat", forge(bed, true, forgers))):
        update = UpdateClient(client="fab", headers=[signed])
        signer(sessions, chain).do(Operation(update_client=codec.encode(update)))
    shown = time.monotonic()
    for chain in ("osat", "assembler"):
        until(lambda chain=chain: client(sessions, chain, "fab").frozen)
    took = time.monotonic() - shown
    # One interval and two blocks, as long as two blocks take on this machine just now.
    assert took < 2 * WATCH_SECONDS + max(3.0, 3 * (shown - began))
    # Who is guilty: those who signed both. The relayer has written a file that proves it by itself.
    path = next((bed.directory / "relay").glob("fork-fab-*.json"))
    name, found = faults.read(path, trust_file.read(bed.trust_file), now_ms())
    members = [node.member for node in bed.network.chain("fab").nodes]
    forging = {members[index] for index in forgers}
    assert name == "fab"
    assert found
    assert {fault.member for fault in found} <= forging
    assert bed.chiptrace("chain", "evidence", "--verify", path).code == 0
    # Anyone else finds it too; and only what concerns fab is frozen.
    ended = bed.chiptrace("bridge", "evidence", "--json")
    assert ended.code == 1
    forks = {chain["chain"]: chain["differences"] for chain in ended.json["chains"]}
    assert [item["height"] for item in forks["fab"]] == [head.certificate.height]
    # Nodes keep certificates of different signers, so who is proven differs by whom one asks; never an honest one.
    named = {one["member"] for one in forks["fab"][0]["guilty"]}
    assert named
    assert named <= forging
    assert forks["osat"] == forks["assembler"] == []
    ended = bed.chiptrace("bridge", "clients", "--json")
    assert ended.code == 1
    frozen = {(item["chain"], item["client"]) for item in ended.json["clients"] if item["state"] == "frozen"}
    assert frozen == {("osat", "fab"), ("assembler", "fab")}
    assert bed.chiptrace("bridge", "health", "--at", bed.up["relay"]["metrics"]).code == 1
    part = send(sessions, "osat", "9523001", "assembler", "boardworks")
    until(lambda: status(sessions, "assembler", part) == OFFERED)
