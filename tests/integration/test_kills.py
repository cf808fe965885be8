"""Processes killed, paused and ended under load: what was acknowledged is everywhere, and the chain goes on.

A steady load of single-event transactions runs through the whole time, as a member submits them: signed, kept in
the outbox, sent to whichever node answers, sent again in the same bytes when in doubt.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time

import grpc
import pytest

from client.clock import now_ms
from client.connection import Connection
from ledger import codec, state
from ledger.block import parse_log_leaf
from ledger.limits import LOG_LEAVES_MAX
from proto.chiptrace.v1.bridge_pb2 import SendPart
from proto.chiptrace.v1.ledger_pb2 import Operation, PartRecord, PartStatus
from proto.chiptrace.v1.node_pb2 import LogLeavesRequest, TransactionRequest
from tests.integration.testbed import ROOT, commissioning, serial
from tests.node.network import until
from tests.perturb.load import Load

pytestmark = pytest.mark.processes
CHAIN, MEMBER = "chipmaker", "siliconfab"
SEED = 20260301


@pytest.fixture
def load(bed):
    bed.in_step(CHAIN)
    with Load(lambda: bed.open(CHAIN, MEMBER), bed.seed(CHAIN, MEMBER), as_members_do_only=True) as found:
        found.goes_on()
        yield found
    assert not found.troubles
    whole(bed, found)


def whole(bed, load):
    """Every node is in step, has every acknowledged transaction at the height that was told, and the same blocks."""
    until(lambda: len(bed.processes.running()) == 9)
    bed.in_step(CHAIN)
    until(lambda: all(s and s.height >= load.top for s in bed.nodes(CHAIN).values()))
    with bed.open(CHAIN, MEMBER) as session:
        chains = []
        for endpoint in session.trust.endpoints:
            connection = Connection(session.trust, session.identity, only=endpoint)
            stub = connection.stub(endpoint)
            for transaction, said in load.acknowledged.items():
                found = stub.GetTransaction(TransactionRequest(id=transaction), timeout=30)
                assert found.height == said.height
            chains.append(leaves(stub, min(s.height for s in bed.nodes(CHAIN).values())))
            connection.close()
    common = min(map(len, chains))
    assert common > 10
    assert all(chain[:common] == chains[0][:common] for chain in chains)


def leaves(stub, height):
    """What every height left in a node's log: block hash, time, results, state root."""
    found = []
    for start in range(1, height + 1, LOG_LEAVES_MAX):
        heights = list(range(start, min(start + LOG_LEAVES_MAX, height + 1)))
        reply = stub.GetLogLeaves(LogLeavesRequest(heights=heights, size=height), timeout=30)
        found += [parse_log_leaf(item.leaf) for item in reply.leaves]
    assert [leaf.height for leaf in found] == list(range(1, height + 1))
    return found


def heights(bed):
    return {name: status.height if status else 0 for name, status in bed.nodes(CHAIN).items()}


def tip(bed):
    return max(heights(bed).values())


def caught_up(bed, name, height, seconds=90):
    """Waits until a node is in step at this height or above."""

    def there():
        status = bed.nodes(CHAIN)[name]
        return status is not None and status.synced and status.height >= height

    until(there, seconds)


def send_part(bed):
    """A part on its way to the other chain."""
    part = serial("9521001")
    with bed.open(CHAIN, MEMBER) as session:
        submitter = session.submitter()
        submitter.submit([commissioning(part)], os.urandom(16))
        send = SendPart(client="assembler", part=part, receiver="boardworks", timeout_ms=now_ms() + 3_600_000)
        submitter.submit([Operation(send_part=codec.encode(send))], os.urandom(16))
    return part


def arrived(bed, part, seconds=90):
    with bed.open("assembler") as away:

        def offered():
            away.verified.repin()
            record = away.verified.record(state.part_key(part), PartRecord)
            return record is not None and record.status == PartStatus.OFFERED

        until(offered, seconds)


# ---- one at a time -----------------------------------------------------------------------------------------


def test_every_process_killed_in_turn_stops_nothing_and_rejoins_by_itself(bed, load):
    """Each that came back is at once needed for every block: the next one is killed then."""
    order = [*bed.names(CHAIN), "relay"]
    random.Random(SEED).shuffle(order)
    for name in order:
        bed.processes.kill(name)
        assert name not in bed.processes.running()
        before = tip(bed)
        part = send_part(bed) if name == "relay" else ""
        load.goes_on()
        assert tip(bed) > before + 1
        if name == order[1]:  # either command brings it back; `up` starts what does not run and nothing else
            assert bed.chiptrace("testnet", "up").code == 0
        else:
            bed.start(name)
        if name == "relay":
            arrived(bed, part)
        else:
            caught_up(bed, name, tip(bed))
    assert not load.unanswered


def test_a_paused_validator_is_no_obstacle_and_catches_up(bed, load):
    name = random.Random(SEED + 2).choice(bed.names(CHAIN))
    pid = bed.processes.running()[name].pid
    os.kill(pid, signal.SIGSTOP)
    try:
        before = {other: height for other, height in heights(bed).items() if other != name}
        began = time.monotonic()
        load.goes_on()
        time.sleep(max(0.0, 5 - (time.monotonic() - began)))
        after = heights(bed)
        assert all(after[other] > height + 1 for other, height in before.items())
    finally:
        os.kill(pid, signal.SIGCONT)
    caught_up(bed, name, tip(bed))
    assert bed.processes.running()[name].pid == pid


# ---- too many at a time -------------------------------------------------------------------------------------


def test_without_two_validators_nothing_is_decided_and_nothing_acknowledged_is_lost(bed, load):
    names = bed.names(CHAIN)
    random.Random(SEED + 3).shuffle(names)
    for name in names[:2]:
        bed.processes.kill(name)
    time.sleep(1.0)  # what was under way is done or will not be
    before, count = heights(bed), len(load.acknowledged)
    time.sleep(3.0)
    assert heights(bed) == before
    assert len(load.acknowledged) == count
    # One of them returns: three of four decide again, with all that was acknowledged before.
    bed.start(names[0])
    load.goes_on(seconds=90)
    assert tip(bed) > max(before.values())
    bed.start(names[1])
    caught_up(bed, names[1], tip(bed))


# ---- ended as asked -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, kind", [("chipmaker-testlab", "node"), ("relay", "relay")])
def test_sigterm_is_clean(bed, name, kind):
    """The process runs as our child for this once, so that its exit code is ours to see."""
    bed.processes.kill(name)
    config = str(bed.network.config_file(name))
    command = [sys.executable, "-m", "node.cli", kind, "run", "--config", config]
    child = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    said = []
    reader = threading.Thread(target=lambda: said.extend(child.stderr), daemon=True)
    reader.start()
    try:
        until(lambda: any("started" in line for line in list(said)))
        if kind == "node":
            caught_up(bed, name, tip(bed))
        began = time.monotonic()
        child.terminate()
        assert child.wait(10) == 0
        assert time.monotonic() - began < 5
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        child.wait()
        reader.join(5)
        child.stderr.close()
        bed.start(name)
    assert '"stopped"' in said[-1]
    bed.in_step(CHAIN)


def test_load_can_be_told_from_silence(bed):
    """The checks above do see a transaction that is nowhere."""
    with bed.open(CHAIN) as session, pytest.raises(grpc.RpcError):
        stub = session.connection.stub(session.connection.endpoint)
        stub.GetTransaction(TransactionRequest(id=bytes(32)), timeout=5)
