"""A validator of a real network loses its data, begins with a snapshot of the others, and votes and serves again."""

import os
import secrets
import shutil
import threading
import time

import grpc
import pytest

from client.audit import Audit
from client.audit_report import Verdict
from client.clock import now_ms
from client.session import open_chain
from ledger.genesis import HEARTBEAT_MS_MAX
from ledger.state import part_key
from node import testnet_layout
from node.testnet_plan import one_chain
from proto.chiptrace.v1.consensus_pb2 import BoundaryRequest
from proto.chiptrace.v1.node_pb2 import (
    BlockAtRequest,
    FollowRequest,
    HistoryRequest,
    SnapshotChunkRequest,
    SnapshotListRequest,
    SnapshotRequest,
    TransactionRequest,
)
from proto.chiptrace.v1.node_pb2_grpc import SnapshotsStub
from tests.integration.testbed import commissioning, serial
from tests.node.network import CHAIN, MEMBERS, RealChain, until

pytestmark = pytest.mark.processes
EVERY = 10
VICTIM = MEMBERS[3]


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """Four validators that take a snapshot every few heights, with a history longer than that."""
    directory = tmp_path_factory.mktemp("statesync") / ".chiptrace"
    # Nothing is decided unless a test submits it: a snapshot is taken when a test wants one, and at no other time.
    testnet_layout.create(directory, 0, (), one_chain(4, heartbeat_ms=HEARTBEAT_MS_MAX))
    for path in directory.glob("nodes/*/node.toml"):
        text = path.read_text()
        assert "every_heights = 10000\n" in text
        path.write_text(text.replace("every_heights = 10000\n", f"every_heights = {EVERY}\n"))
    found = RealChain(directory)
    try:
        found.start()
        found.in_step()
        found.parts = [record(found) for _ in range(5)]
        while found.status().height < 2 * EVERY + 2:
            found.submit()
        until(lambda: all(snapshots(found, member) for member in MEMBERS))
        yield found
    finally:
        found.close()
        found.stop()


def record(net, member=MEMBERS[0]):
    """A part that is commissioned, and the height at which."""
    part = serial("9521001")
    with open_chain(net.network.trust_file, CHAIN, MEMBERS[0]) as session:
        recorded = session.submitter().submit([commissioning(part)], os.urandom(16))
    return part, recorded.height


def snapshots(net, member):
    place = net.place(member) / "data" / "snapshots"
    return sorted(int(path.parent.name) for path in place.glob("[0-9]*/manifest"))


def wipe(net, member):
    net.kill(member)
    shutil.rmtree(net.place(member) / "data")


def said(net, member, since):
    return net.log(member)[since:]


def refusal(call, *arguments):
    with pytest.raises(grpc.RpcError) as error:
        call(*arguments, timeout=20)
    return dict(error.value.trailing_metadata())["chiptrace-reason"], error.value.details()


def votes(net, member):
    """Whether the others see this node's votes for new heights."""
    index = MEMBERS.index(member)
    before = net.status().height

    def seen():
        net.submit()
        status = net.status()
        return any(
            peer.member == status_member(net, index) and peer.last_height > before for peer in status.peers
        )

    return until(seen)


def status_member(net, index):
    return net.network.chains[0].nodes[index].member


def test_a_validator_without_data_begins_with_a_snapshot_while_the_chain_goes_on(net):
    wipe(net, VICTIM)
    since = len(net.log(VICTIM))
    stopping = threading.Event()
    count = [0]

    def load():
        while not stopping.is_set():
            assert net.submit().final
            count[0] += 1
            time.sleep(0.02)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        until(lambda: count[0] >= 3)
        net.start(VICTIM)
        net.in_step()
        went_on = count[0]
        until(lambda: count[0] >= went_on + 5)
    finally:
        stopping.set()
        thread.join()
    assert "snapshot loaded" in said(net, VICTIM, since)
    status = net.status(VICTIM)
    assert status.base > EVERY
    assert status.base % EVERY == 0
    assert status.index == MEMBERS.index(VICTIM)
    assert not status.not_voting
    assert net.status().base == 1
    # Its key and record stayed: it votes, and is needed for a quorum when another is gone.
    assert votes(net, VICTIM)
    net.kill(MEMBERS[1])
    try:
        assert net.submit().final
    finally:
        net.start(MEMBERS[1])
        net.in_step()


def test_below_its_base_blocks_are_pruned_and_all_else_is_there(net):
    status = net.status(VICTIM)
    stub, whole = net.stub(VICTIM), net.stub()
    base = status.base
    assert base > 1
    part, height = net.parts[0]
    assert height < base
    for call, request in (
        (stub.GetBlock, BlockAtRequest(height=1)),
        (stub.GetBlock, BlockAtRequest(height=base - 1)),
    ):
        reason, details = refusal(call, request)
        assert reason == "PRUNED"
        assert f"base {base}" in details
    with pytest.raises(grpc.RpcError) as error:
        next(iter(stub.Follow(FollowRequest(from_height=1), timeout=20)))
    assert dict(error.value.trailing_metadata())["chiptrace-reason"] == "PRUNED"
    assert stub.GetBlock(BlockAtRequest(height=base), timeout=20).block
    assert refusal(stub.GetBlock, BlockAtRequest(height=base + 10_000))[0] == "NOT_FOUND"
    # This chain is younger than an hour, so that every transaction of it is known here.
    assert refusal(stub.GetTransaction, TransactionRequest(id=secrets.token_bytes(32)))[0] == "NOT_FOUND"
    # What is within the hour is there with its transactions, as admission needs it.
    request = HistoryRequest(subject=part_key(part), with_transactions=True)
    assert stub.GetHistory(request, timeout=20) == whole.GetHistory(request, timeout=20)


def test_an_audit_through_it_verifies(net):
    """Of a part from before its base, and of one from after."""
    after = record(net)
    net.submit()
    net.in_step()
    only = net.endpoint(VICTIM)
    for part, _ in (net.parts[1], after):
        with open_chain(net.network.trust_file, CHAIN, MEMBERS[0], only) as session:
            chain_id = session.trust.chain_id
            report = Audit({chain_id: session.verified}).run(part, chain_id, now_ms)
            assert report.verdict is Verdict.VERIFIED, report


def test_it_gives_the_same_snapshots_as_the_others(net):
    """Files compared byte by byte, of a height that both have."""
    before = net.status(VICTIM).height
    while net.status().height < before + 2 * EVERY:
        net.submit()
    net.in_step()

    def common():
        heights = set(snapshots(net, VICTIM)) & set(snapshots(net, MEMBERS[0]))
        return max((height for height in heights if height > before), default=0)

    height = until(common)
    for name in ("manifest", "stream"):
        found = {
            (net.place(member) / "data" / "snapshots" / str(height) / name).read_bytes()
            for member in (VICTIM, MEMBERS[0])
        }
        assert len(found) == 1


def test_another_begins_with_its_snapshot_and_a_damaged_file_is_passed_over(net):
    """The only whole offer is that of the node which began with one itself: the others' files are damaged."""
    victim = MEMBERS[2]
    wipe(net, victim)
    since = {member: len(net.log(member)) for member in MEMBERS}
    # None is being taken, nor is one due before the victim asks: it would be whole everywhere.
    while not 2 <= net.status().height % EVERY <= EVERY // 2:
        net.submit()
    newest = net.status().height // EVERY * EVERY
    until(lambda: all(max(snapshots(net, member)) == newest for member in (*MEMBERS[:2], VICTIM)))
    for member in MEMBERS[:2]:
        for stream in (net.place(member) / "data" / "snapshots").glob("*/stream"):
            data = bytearray(stream.read_bytes())
            data[len(data) // 2] ^= 1
            stream.write_bytes(data)
    net.start(victim)
    net.in_step()
    assert "snapshot loaded" in said(net, victim, since[victim])
    assert net.status(victim).base > 1
    # The first one asked noticed what its disk did, and the next one was asked.
    assert "chunk refused" in said(net, victim, since[victim])
    assert "a snapshot here is damaged" in said(net, MEMBERS[0], since[MEMBERS[0]])
    assert votes(net, victim)


def test_only_pinned_validators_are_given_anything(net):
    """Whoever else has a certificate of the consortium is refused, at each question."""
    node = net.network.chains[0].nodes[0]
    credentials = grpc.ssl_channel_credentials(
        net.chain.ca.read_bytes(), net.identity.tls_key.read_bytes(), net.identity.certificate.read_bytes()
    )
    with grpc.secure_channel(node.validators, credentials) as channel:
        stub = SnapshotsStub(channel)
        for call, request in (
            (stub.List, SnapshotListRequest()),
            (stub.Describe, SnapshotRequest()),
            (stub.Boundaries, BoundaryRequest()),
            (stub.Load, SnapshotChunkRequest()),
        ):
            with pytest.raises(grpc.RpcError) as error:
                call(request, timeout=20)
            assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_a_node_that_is_to_keep_everything_fetches_every_block(net):
    victim = MEMBERS[1]
    wipe(net, victim)
    path = net.network.config_file(f"{CHAIN}-{victim}")
    text = path.read_text()
    path.write_text(text.replace("begin_with = true", "begin_with = false"))
    since = len(net.log(victim))
    try:
        net.start(victim)
        net.in_step(40)
    finally:
        path.write_text(text)
    assert "snapshot loaded" not in said(net, victim, since)
    assert net.status(victim).base == 1
    assert net.stub(victim).GetBlock(BlockAtRequest(height=1), timeout=20).block
