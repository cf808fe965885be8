"""What happens to the machine of a real node: a record put back from a copy, a wrong clock, a disk that is full."""

import json
import resource
import shutil
import subprocess
import sys

import pytest

from client.clock import OFFSET_VARIABLE
from ledger.limits import TIME_PRECISION_MS
from proto.chiptrace.v1.ledger_pb2 import Reason
from proto.chiptrace.v1.node_pb2 import TransactionRequest
from tests.node.network import CHAIN, MEMBERS, until

pytestmark = pytest.mark.processes
FIRST, LAST = MEMBERS[0], MEMBERS[-1]
NAME = f"{CHAIN}-{LAST}"
HOUR_MS = 3_600_000


def logged(chain, since=0):
    lines = chain.log(LAST).encode()[since:].decode().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def log_size(chain):
    return len(chain.log(LAST).encode())


def node_command(chain, *words):
    command = [
        sys.executable,
        "-m",
        "node.cli",
        "node",
        *words,
        "--config",
        str(chain.network.config_file(NAME)),
    ]
    ended = subprocess.run([*command, "--json"], capture_output=True, timeout=60, check=False)
    return ended.returncode, json.loads(ended.stdout)


def has(chain, member, outcome):
    found = chain.stub(member).GetTransaction(TransactionRequest(id=outcome.transaction), timeout=20)
    return found.height == outcome.height


def test_a_record_put_back_from_a_copy_votes_no_more_and_a_new_key_takes_its_place(chain, tmp_path):
    keys = chain.place(LAST) / "keys"
    record = keys / "signing-record"
    chain.stop(LAST)
    copy = record.read_bytes()
    chain.start(LAST)
    chain.in_step()
    height = chain.status(LAST).height
    until(lambda: chain.submit().final and chain.status(LAST).height > height + 2)
    chain.stop(LAST)
    shutil.copytree(keys, tmp_path / "whole")
    try:
        # (1) An old copy: it follows and serves, says why, and says so beside the running node too.
        record.write_bytes(copy)
        since = log_size(chain)
        chain.start(LAST)
        chain.in_step()
        status = chain.status(LAST)
        assert status.index == -1
        assert "older than the database" in status.not_voting
        assert any("must not vote any more" in line["message"] for line in logged(chain, since))
        code, found = node_command(chain, "sign-state", "show")
        assert (code, found["may_vote"], "older than the database" in found["why_not"]) == (1, False, True)
        assert chain.submit(member=LAST).final
        # (2) Its key is held by the node; stopped, it can be put aside for a new one.
        code, told = node_command(chain, "rotate-key")
        assert (code, "another process votes" in told["error"]["message"]) == (1, True)
        chain.stop(LAST)
        code, told = node_command(chain, "rotate-key")
        assert (code, told["old"]) == (0, found["key"])
        # (3) With the new key it observes, until governance puts it into the set.
        chain.start(LAST)
        chain.in_step()
        status = chain.status(LAST)
        assert (status.index, "is not in the validator set" in status.not_voting) == (-1, True)
        assert chain.submit(member=LAST).final
    finally:
        chain.stop(LAST)
        shutil.rmtree(keys)
        shutil.copytree(tmp_path / "whole", keys)
    # (4) The whole record, as it was: a node that merely followed meanwhile is not taken for one with an old copy.
    chain.start(LAST)
    chain.in_step()
    until(lambda: chain.status(LAST).index >= 0)
    assert chain.status(LAST).not_voting == ""


@pytest.mark.parametrize("offset_ms", [-HOUR_MS, HOUR_MS])
def test_a_clock_that_is_an_hour_wrong_harms_nobody_else_and_is_reported(chain, offset_ms):
    chain.stop(LAST)
    since = log_size(chain)
    arguments = ["node", "run", "--config", str(chain.network.config_file(NAME))]
    environment = {OFFSET_VARIABLE: str(offset_ms)}
    chain.processes.start(NAME, arguments, chain.place(LAST) / "log.jsonl", environment=environment)
    try:
        until(lambda: (status := chain.status(LAST)) and status.clock_known)
        outcomes = [chain.submit() for _ in range(8)]  # each of the four leads at least once
        assert all(outcome.final for outcome in outcomes)
        # It follows, and is told of its clock, by all the others.
        until(
            lambda: (
                has(chain, LAST, outcomes[-1]) if chain.status(LAST).height >= outcomes[-1].height else False
            )
        )
        status = chain.status(LAST)
        assert abs(status.clock_offset_ms + offset_ms) < TIME_PRECISION_MS
        until(lambda: any(line["message"] == "the clock is wrong" for line in logged(chain, since)))

        # The others see whose clock it is, and that theirs are right.
        def seen():
            peers = {peer.member: peer for peer in chain.status(FIRST).peers}
            return (
                peers[LAST].clock_known and abs(peers[LAST].clock_offset_ms - offset_ms) < TIME_PRECISION_MS
            )

        until(seen)
        first = chain.status(FIRST)
        assert (first.clock_known, abs(first.clock_offset_ms) < TIME_PRECISION_MS // 2) == (True, True)
    finally:
        chain.stop(LAST)
    chain.start(LAST)
    chain.in_step()


def test_a_full_disk_stops_the_node_which_says_why_and_goes_on_when_there_is_room(chain):
    chain.stop(LAST)
    place = chain.place(LAST)
    since = log_size(chain)
    with (place / "log.jsonl").open("ab") as log:
        command = [
            sys.executable,
            "-m",
            "node.cli",
            "node",
            "run",
            "--config",
            str(chain.network.config_file(NAME)),
        ]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        until(lambda: (status := chain.status(LAST)) and status.synced and status.index >= 0)
        kept = chain.submit(member=LAST)
        # The record may grow by a little, the log by more, files of the database are new and small.
        room = (place / "keys" / "signing-record").stat().st_size + 3_000
        resource.prlimit(
            process.pid, resource.RLIMIT_FSIZE, (max(room, log_size(chain) + 10_000), resource.RLIM_INFINITY)
        )
        acknowledged = [kept]
        for _ in range(200):
            if process.poll() is not None:
                break
            try:
                acknowledged.append(chain.submit(member=LAST, timeout=5))
            except Exception:
                break
        assert process.wait(20) == 1
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    stopped = [line for line in logged(chain, since) if line["message"] == "the node stops at once"]
    assert len(stopped) == 1
    assert "File too large" in stopped[0]["cause"] or "could be written" in stopped[0]["cause"]
    chain.start(LAST)
    chain.in_step()
    assert chain.status(LAST).not_voting == ""
    assert all(outcome.final and has(chain, LAST, outcome) for outcome in acknowledged if outcome.final)
    assert kept.final


def test_a_disk_nearly_full_takes_no_transactions_and_the_node_goes_on_voting(chain, command):
    config = chain.network.config_file(NAME)
    usual = config.read_text()
    assert "disk_free_bytes_min = 268435456" in usual
    chain.stop(LAST)
    config.write_text(usual.replace("disk_free_bytes_min = 268435456", f"disk_free_bytes_min = {2**62}"))
    try:
        chain.start(LAST)
        chain.in_step()
        until(lambda: chain.status(LAST).not_admitting)
        (shown,) = [item for item in command("testnet", "status")[1] if item["name"].endswith(LAST)]
        assert "make room" in shown["not_admitting"]
        assert chain.submit(member=LAST).reason == Reason.DISK_NEARLY_FULL
        outcome = chain.submit()
        assert outcome.final
        until(
            lambda: (
                (peer := chain.status(FIRST).peers[-1]).member == LAST and peer.last_height >= outcome.height
            )
        )
    finally:
        chain.stop(LAST)
        config.write_text(usual)
    chain.start(LAST)
    chain.in_step()
    assert chain.submit(member=LAST).final
