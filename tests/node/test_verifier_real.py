"""A real node with a verifier process: killed, stopped, alone or with its node, under load and while it catches up."""

import dataclasses
import os
import signal
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from node import config
from node.config import NodeConfig
from proto.chiptrace.v1.ledger_pb2 import Reason
from proto.chiptrace.v1.node_pb2 import BlockAtRequest, SubmitRequest
from tests.ledger.test_vouched import forged
from tests.node.network import CHAIN, MEMBERS, until

pytestmark = pytest.mark.processes
LAST = MEMBERS[-1]


def beside(pid):
    """The verifier process of a node."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rsplit(")", 1)[1].split()[1])
            words = (place / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == pid and b"node.verifying_process" in words:
            return int(place.name)
    return None


def gone(pid):
    return not Path(f"/proc/{pid}").exists()


def set_verifiers(chain, number):
    place = chain.network.config_file(f"{CHAIN}-{LAST}")
    config.write(place, dataclasses.replace(config.read(place, NodeConfig), verifiers=number))


@pytest.fixture
def with_verifier(chain):
    """The chain, the last of its nodes with a verifier process."""
    chain.stop(LAST)
    set_verifiers(chain, 1)
    chain.start(LAST)
    chain.in_step()
    until(lambda: chain.status(LAST).verifying_beside)
    yield chain
    chain.stop(LAST)
    set_verifiers(chain, 0)
    chain.start(LAST)


def submit_many(chain, count, member=LAST, make=lambda data: data):
    transactions = [make(chain.transaction()) for _ in range(count)]
    request = SubmitRequest(transactions=transactions, wait=True)
    return chain.stub(member).Submit(request, timeout=60).outcomes


@contextmanager
def loaded(chain):
    """Frames for the node with the process, one after the other; yields their outcomes."""
    outcomes, ended = [], threading.Event()

    def load():
        while not ended.is_set():
            outcomes.extend(submit_many(chain, 100))

    thread = threading.Thread(target=load)
    thread.start()
    try:
        yield outcomes
    finally:
        ended.set()
        thread.join()


def test_killed_and_stopped_under_load_every_transaction_becomes_final_and_it_comes_back(with_verifier):
    chain = with_verifier
    node = chain.process(LAST).pid
    with loaded(chain) as outcomes:
        until(lambda: outcomes and chain.status(LAST).verified_beside)
        for failures, number in ((1, signal.SIGKILL), (2, signal.SIGSTOP)):
            before, height = until(lambda: beside(node)), chain.status(LAST).height
            os.kill(before, number)
            until(lambda failures=failures: chain.status(LAST).verifier_failures >= failures)
            until(lambda before=before: gone(before))
            until(lambda height=height: chain.status(LAST).height > height + 2)
            until(lambda: chain.status(LAST).verifying_beside)
        verified = chain.status(LAST).verified_beside
        until(lambda: chain.status(LAST).verified_beside > verified)
    assert outcomes
    assert all(outcome.final for outcome in outcomes)
    assert chain.process(LAST).pid == node


def test_forged_transactions_are_refused_with_the_same_word_by_a_node_with_and_one_without(with_verifier):
    told = [
        {(one.reason, one.admitted) for one in submit_many(with_verifier, 60, member, forged)}
        for member in (LAST, MEMBERS[0])
    ]
    assert told == [{(Reason.BAD_SIGNATURE, False)}] * 2


def test_no_process_is_left_however_its_node_ends(with_verifier):
    chain = with_verifier
    for end, stopped in ((chain.stop, False), (chain.kill, False), (chain.kill, True)):
        process = until(lambda: beside(chain.process(LAST).pid))
        if stopped:
            os.kill(process, signal.SIGSTOP)
        end(LAST)
        begun = time.monotonic()
        until(lambda process=process: gone(process), 10)
        assert time.monotonic() - begun < 5
        chain.start(LAST)
        chain.in_step()
        until(lambda: chain.status(LAST).verifying_beside)


def test_a_node_that_catches_up_beside_its_verifier_process_comes_to_the_same(with_verifier):
    chain = with_verifier
    chain.kill(LAST)
    for _ in range(20):
        assert all(outcome.final for outcome in submit_many(chain, 60, MEMBERS[0]))
    chain.start(LAST)
    height = chain.in_step()
    # It votes again, so its state is the others': each header carries the root.
    assert all(outcome.final for outcome in submit_many(chain, 60))
    asked = BlockAtRequest(height=height, header_only=True)
    heads = {chain.stub(member).GetBlock(asked, timeout=20).head.header for member in MEMBERS}
    assert len(heads) == 1
