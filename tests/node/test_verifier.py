"""The verifier process: what it says is what would be found here, and whatever becomes of it costs a moment and no more."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ledger.errors import Invalid
from ledger.limits import TRANSACTION_BYTES_MAX
from ledger.vouched import judged
from node import verifier, verifying_process
from node.chain_host import ChainHost
from node.verifier import FRAME_BYTES, FRAME_TRANSACTIONS, WORTH_ASKING, Verifier, _framed, processes_here
from proto.chiptrace.v1.consensus_pb2 import TransactionFrame
from proto.chiptrace.v1.ledger_pb2 import Reason
from tests.ledger import toy_tables as toy
from tests.ledger.chain_fixture import Chain
from tests.ledger.test_vouched import forged

CHAIN = Chain(operations=toy.OPERATIONS, changes=toy.CHANGES)
GOOD = [CHAIN.transaction("ada", toy.put(str(number))) for number in range(150)]


@pytest.fixture(autouse=True)
def quickly(monkeypatch, caplog):
    caplog.set_level(logging.INFO)  # as a node logs
    monkeypatch.setattr(verifier, "PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(verifier, "ANSWER_SECONDS", 20.0)  # however busy the machine


def gone(process):
    """Whether there is no such process, nor its remains."""
    return not Path(f"/proc/{process}").exists()


def with_verifier(test, **options):
    """Runs an async test with a verifier that has begun, and sees that nothing is left of it."""
    seen = []

    async def scenario():
        beside = Verifier(CHAIN.chain_id, **options)
        running = asyncio.create_task(beside.run())
        try:
            async with asyncio.timeout(60):
                await begun(beside, seen)
                await test(beside)
                if beside.ready:
                    seen.append(beside._process.pid)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scenario())
    assert all(map(gone, seen))


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 (what is waited for is in another process)
            await asyncio.sleep(0.01)


async def begun(beside, seen=None):
    """Once it can be asked; the number of its process."""
    await until(lambda: beside.ready)
    if seen is not None:
        seen.append(beside._process.pid)
    return beside._process.pid


async def vouches_for_all(beside):
    vouched = await beside.ask(GOOD)
    return len(vouched) == len(GOOD) and all(vouched.checked(CHAIN.chain_id, data) for data in GOOD)


def test_it_vouches_for_what_is_good_and_for_nothing_else():
    bad = [forged(GOOD[0]), b"", b"\xff" * 50, GOOD[1] + b"\x00"]
    mixed = [*GOOD[:70], *bad, *GOOD[70:]]

    async def test(beside):
        vouched = await beside.ask(mixed)
        assert [vouched.checked(CHAIN.chain_id, data) is not None for data in mixed] == [
            judged(CHAIN.chain_id, data) is not None for data in mixed
        ]
        assert len(vouched) == len(GOOD) == beside.vouched
        assert not vouched.contradicted
        assert beside.failures == 0

    with_verifier(test)


def test_a_few_are_not_worth_asking_about_and_where_none_is_wanted_nobody_is_asked():
    async def test(beside):
        assert len(await beside.ask(GOOD[: WORTH_ASKING - 1])) == 0
        assert len(await beside.ask(GOOD[:WORTH_ASKING])) == WORTH_ASKING

    async def without():
        beside = Verifier(CHAIN.chain_id, 0)
        await asyncio.wait_for(beside.run(), 1)
        assert not beside.ready
        assert len(await beside.ask(GOOD)) == 0

    with_verifier(test)
    asyncio.run(without())


def test_several_who_ask_at_the_same_time_are_each_told_of_their_own():
    async def test(beside):
        parts = [GOOD[start : start + 30] for start in range(0, 150, 30)]
        told = await asyncio.gather(*map(beside.ask, parts))
        for part, vouched in zip(parts, told, strict=True):
            assert len(vouched) == len(part)
            assert all(vouched.checked(CHAIN.chain_id, data) for data in part)

    with_verifier(test)


def test_killed_under_load_nobody_waits_and_it_is_begun_anew():
    async def test(beside):
        for failures in (1, 2):
            process = await begun(beside)
            asking = [asyncio.create_task(beside.ask(GOOD)) for _ in range(20)]
            await asyncio.sleep(0.02)
            os.kill(process, signal.SIGKILL)
            begun_at = time.monotonic()
            told = await asyncio.gather(*asking)
            assert time.monotonic() - begun_at < 10
            assert min(map(len, told)) == 0  # of those it did not come to, nothing is said
            await until(lambda failures=failures: beside.failures == failures)
            assert await begun(beside) != process
            assert await vouches_for_all(beside)

    with_verifier(test)


def test_stopped_it_is_ended_after_a_moment(monkeypatch):
    monkeypatch.setattr(verifier, "ANSWER_SECONDS", 0.3)

    async def test(beside):
        process = await begun(beside)
        os.kill(process, signal.SIGSTOP)
        begun_at = time.monotonic()
        assert len(await beside.ask(GOOD)) == 0
        assert 0.3 <= time.monotonic() - begun_at < 10
        await until(lambda: beside.failures == 1)
        assert gone(process)
        await begun(beside)
        assert await vouches_for_all(beside)

    with_verifier(test)


def test_whoever_can_wait_no_longer_is_told_what_is_known_by_then():
    async def test(beside):
        os.kill(beside._process.pid, signal.SIGSTOP)
        begun_at = time.monotonic()
        assert len(await beside.ask(GOOD * 4, 0.1)) == 0
        assert time.monotonic() - begun_at < 10
        os.kill(beside._process.pid, signal.SIGCONT)
        assert await vouches_for_all(beside)  # what nobody waits for any more disturbs nobody
        assert beside.failures == 0

    with_verifier(test)


def test_what_is_too_large_for_any_transaction_is_not_sent_and_ends_nothing():
    async def test(beside):
        mixed = [*GOOD, bytes(verifying_process.FRAME_BYTES_MAX), *GOOD, bytes(8_000_000)]
        vouched = await beside.ask(mixed)
        assert len(vouched) == len(GOOD)
        assert len(await beside.ask([bytes(TRANSACTION_BYTES_MAX)] * WORTH_ASKING)) == 0
        assert len(await beside.ask([bytes(TRANSACTION_BYTES_MAX + 1)] * WORTH_ASKING)) == 0
        assert await vouches_for_all(beside)
        assert beside.failures == 0

    with_verifier(test)


def test_what_is_given_up_is_not_sent():
    async def test(beside):
        process = beside._process.pid
        os.kill(process, signal.SIGSTOP)
        given_up = [asyncio.create_task(beside.ask(GOOD)) for _ in range(20)]
        await asyncio.sleep(0)
        for asking in given_up:
            asking.cancel()
        await asyncio.wait(given_up)
        asking = asyncio.create_task(beside.ask(GOOD))
        await asyncio.sleep(0)
        sent = []
        real = beside._questions.write
        beside._questions.write = lambda data: (sent.append(data), real(data))
        os.kill(process, signal.SIGCONT)
        assert len(await asking) == len(GOOD)
        assert len(sent) == len(list(_framed(GOOD)))  # its own, and none of what nobody waits for

    with_verifier(test)


def test_one_that_is_slow_and_not_dead_holds_up_nobody_who_says_how_long():
    """Every answer comes in time for the watch, and all these would take it a quarter of an hour."""

    async def test(beside):
        begun_at = time.monotonic()
        told = await asyncio.gather(*(beside.ask(GOOD, 0.2) for _ in range(300)))
        assert time.monotonic() - begun_at < 10
        assert sum(map(len, told)) < len(GOOD)
        assert beside.failures == 0

    with_verifier(test, command=stand_in("__import__('time').sleep(0.9); return told"))


def test_idle_its_end_is_noticed_at_once():
    async def test(beside):
        os.kill(beside._process.pid, signal.SIGKILL)
        await until(lambda: beside.failures)

    with_verifier(test)


STAND_IN = """
import hashlib, os, sys
sys.stdout.buffer.write(hashlib.sha256(bytes.fromhex(sys.argv[1])).digest()); sys.stdout.buffer.flush()
from node import verifying_process
def answer(chain_id, frame, real=verifying_process.answer):
    told = real(chain_id, frame)
    {what}
verifying_process.answer = answer
verifying_process.serve(bytes.fromhex(sys.argv[1]), sys.stdin.buffer, sys.stdout.buffer)
"""


def stand_in(what):
    return (sys.executable, "-c", STAND_IN.format(what=what), CHAIN.chain_id.hex())


@pytest.mark.parametrize(
    "what",
    [
        "return (len(told) - 68 >> 5).to_bytes(4, 'big') + told[4:-32]",  # one id too few
        "return ((len(told) - 36 >> 5) + 1).to_bytes(4, 'big') + told[4:] + bytes(32)",  # one too many
        "return bytes(4) + told[4:36]",  # none
        "return told[:4] + bytes(32) + told[36:]",  # to another frame
        "return told + told",  # twice: what nobody asked
        "return os.urandom(len(told))",
        "raise SystemExit",
    ],
)
def test_an_answer_of_the_wrong_form_ends_it_and_nothing_of_it_is_used(what):
    async def test(beside):
        told = await beside.ask(GOOD[:40])
        await until(lambda: beside.failures)
        if what != "return told + told":
            assert len(told) == 0

    with_verifier(test, command=stand_in(what))


def test_an_id_that_is_not_the_transactions_is_not_used_and_ends_it():
    swapped = "return told[:36] + told[68:100] + told[36:68] + told[100:]"

    async def test(beside):
        host = ChainHost(lambda: chain.kv, toy.OPERATIONS, toy.CHANGES)
        await host.start(chain.genesis)
        vouched = await beside.ask(many)
        assert len(vouched) == len(many)
        found = await host.check(many, chain.now_ms, {}, vouched)
        assert [one.transaction.data for one in found] == many  # by ourselves
        assert vouched.contradicted
        beside.used(vouched)
        await until(lambda: beside.failures)
        await host.stop()

    chain = Chain(operations=toy.OPERATIONS, changes=toy.CHANGES)
    many = [chain.transaction("ada", toy.put(str(number))) for number in range(20)]
    with_verifier(test, command=stand_in(swapped))


def test_what_does_not_begin_or_begins_for_another_chain_is_ended():
    async def scenario(command):
        beside = Verifier(CHAIN.chain_id, command=command)
        running = asyncio.create_task(beside.run())
        async with asyncio.timeout(20):
            while beside.failures < 2:
                assert not beside.ready
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scenario((sys.executable, "-c", "")))
    asyncio.run(scenario((sys.executable, "-m", "node.verifying_process", "00" * 32)))
    asyncio.run(scenario(("/nowhere/at/all",)))


def test_forged_signatures_are_refused_alike_with_it_and_without():
    chain = Chain(operations=toy.OPERATIONS, changes=toy.CHANGES)
    good = [chain.transaction("ada", toy.put(str(number))) for number in range(40)]
    stranger = Chain(("eve", "fay", "gus", "hal"), operations=toy.OPERATIONS, changes=toy.CHANGES)
    frame = [*good, *map(forged, good), b"", stranger.transaction("eve", toy.put("x")), good[0]]
    told = []

    def said(one):
        return (one.reason, str(one)) if isinstance(one, Invalid) else one

    async def test(beside):
        host = ChainHost(lambda: chain.kv, toy.OPERATIONS, toy.CHANGES)
        await host.start(chain.genesis)
        vouched = await beside.ask(frame)
        told.append([said(one) for one in await host.check(frame, chain.now_ms, {}, vouched)])
        await host.stop()

    with_verifier(test)
    chain.kv = None
    other = Chain(operations=toy.OPERATIONS, changes=toy.CHANGES)

    async def without():
        host = ChainHost(lambda: other.kv, toy.OPERATIONS, toy.CHANGES)
        await host.start(other.genesis)
        told.append([said(one) for one in await host.check(frame, other.now_ms, {})])
        await host.stop()

    asyncio.run(without())
    assert told[0] == told[1]
    assert [one[0] for one in told[0][40:80]] == [Reason.BAD_SIGNATURE] * 40


def test_frames_hold_so_many_and_so_many_bytes_and_lose_none():
    small, large = [b"%d" % number for number in range(200)], [bytes(200_000)] * 9
    frames = list(_framed([*small, *large]))
    assert [data for frame in frames for data in frame] == [*small, *large]
    assert all(len(frame) <= FRAME_TRANSACTIONS for frame in frames)
    assert all(sum(map(len, frame[:-1])) <= FRAME_BYTES for frame in frames)
    largest = FRAME_BYTES + 262_144 + 8 * FRAME_TRANSACTIONS
    assert largest <= verifying_process.FRAME_BYTES_MAX


@pytest.fixture
def made():
    command = [sys.executable, "-m", "node.verifying_process", CHAIN.chain_id.hex()]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as made:
        assert len(made.stdout.read(32)) == 32
        yield made


def test_it_ends_with_its_input_and_for_no_signal_of_a_terminal(made):
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        made.send_signal(number)
    frame = TransactionFrame(transactions=GOOD[:3]).SerializeToString()
    made.stdin.write(len(frame).to_bytes(4, "big") + frame)
    made.stdin.flush()
    assert made.stdout.read(4 + 32 + 3 * 32) == verifying_process.answer(CHAIN.chain_id, frame)
    made.stdin.write((1_000).to_bytes(4, "big") + b"half of a fra")
    made.stdin.close()
    assert made.wait(10) == 0
    assert made.stderr.read() == b""


def test_it_takes_no_frame_that_no_node_sends(made):
    made.stdin.write((verifying_process.FRAME_BYTES_MAX + 1).to_bytes(4, "big"))
    made.stdin.flush()
    assert made.wait(10) != 0


def test_what_upsets_it_is_left_to_the_node_and_the_rest_of_its_frame_is_not(monkeypatch):
    def upset(chain_id, data):
        if data == GOOD[1]:
            raise RuntimeError
        return judged(chain_id, data)

    monkeypatch.setattr(verifying_process, "judged", upset)
    told = verifying_process.answer(
        CHAIN.chain_id, TransactionFrame(transactions=GOOD[:3]).SerializeToString()
    )
    assert told[68:100] == bytes(32)
    assert bytes(32) not in (told[36:68], told[100:])


@pytest.mark.parametrize("cores, nodes, wanted", [(1, 1, 0), (2, 1, 1), (2, 2, 0), (7, 4, 0), (8, 4, 1)])
def test_a_node_with_two_cores_for_itself_has_one(monkeypatch, cores, nodes, wanted):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert processes_here(nodes) == wanted
