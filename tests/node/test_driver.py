"""The driver's order: what a batch wants recorded is durable, by one fsync, before anything of it leaves; a failed write
ends the node, and nothing that rests on it was sent."""

import asyncio
import os
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.effects import (
    BlockJudged,
    EngineSettings,
    JudgeBlock,
    Persist,
    Received,
    ReportFault,
    Send,
    SetTimer,
)
from ledger.errors import InvariantBroken, Malformed, StoreError
from ledger.vouched import NOBODY
from node import block_size, signer
from node.driver import GATHER_SECONDS, Driver
from node.signer import Signer
from node.verifier import Verifier
from proto.chiptrace.v1.consensus_pb2 import (
    NOTARIZE,
    BlockReply,
    Certificate,
    ClockProbe,
    ClockReply,
    JournalRecord,
    PeerMessage,
    Tip,
    Vote,
)

KEY = b"k" * 32


class Clock:
    def now_ms(self):
        return 1_000


class Wire:
    """Stands for the lines to the validators; `told` is the order of all that happened."""

    def __init__(self, told):
        self.told = told

    def send(self, to, message, besides=None):
        self.told.append(("send", to, message))

    def connected(self):
        return frozenset()


def driver_of(own, told, *, voting=True):
    driver = Driver(SimpleNamespace(), [], own, EngineSettings(), Clock(), Verifier(b"", 0))
    driver.connect(Wire(told), SimpleNamespace(submit_one=None))
    driver._voting = voting
    return driver


def record(view):
    return JournalRecord(vote=Vote(kind=NOTARIZE, height=1, view=view, block_hash=b"h" * 32))


EFFECTS = st.lists(
    st.one_of(
        st.lists(st.integers(1, 99), min_size=1, max_size=3).map(
            lambda views: Persist(tuple(record(view) for view in views))
        ),
        st.integers(1, 99).map(lambda view: Send(None, PeerMessage(vote=record(view).vote))),
        st.just(Send(KEY, PeerMessage(tip=Tip()))),
        st.just(SetTimer(10**9)),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(EFFECTS)
def test_all_records_of_a_batch_are_durable_by_one_fsync_before_anything_is_sent(tmp_path_factory, effects):
    directory = tmp_path_factory.mktemp("keys")
    signer.create(directory)
    own, told = Signer(directory), []
    real = os.fsync

    def fsync(handle):
        real(handle)
        told.append(("fsync", signer.inspect(directory).position))

    async def scenario():
        driver = driver_of(own, told)
        await driver._perform(effects)
        if driver._timer is not None:
            driver._timer.cancel()

    os.fsync = fsync
    try:
        asyncio.run(scenario())
    finally:
        os.fsync = real
        own.close()
    wanted = [item for effect in effects if isinstance(effect, Persist) for item in effect.records]
    assert [kind for kind, *_ in told].count("fsync") == (1 if wanted else 0)
    if wanted:
        assert told[0] == ("fsync", signer.inspect(directory).position)
    again = Signer(directory)
    assert list(again.take_records()) == wanted
    again.close()
    sends = [(effect.to, effect.message) for effect in effects if isinstance(effect, Send)]
    assert [(to, message) for kind, to, message in (item for item in told if item[0] == "send")] == sends


@pytest.mark.parametrize("step", ["write", "fsync"])
def test_after_a_failed_write_nothing_of_the_batch_is_sent_and_the_error_ends_the_node(
    tmp_path, monkeypatch, step
):
    signer.create(tmp_path)
    own, told = Signer(tmp_path), []

    def fail(*_):
        raise OSError(28, "No space left on device")

    async def scenario():
        driver = driver_of(own, told)
        monkeypatch.setattr(os, step, fail)
        effects = [
            Send(None, PeerMessage(tip=Tip())),
            Persist((record(1),)),
            Send(None, PeerMessage(vote=record(1).vote)),
        ]
        await driver._perform(effects)

    with pytest.raises(StoreError, match="No space left"):
        asyncio.run(scenario())
    assert told == []


def test_a_follower_that_is_about_to_vote_is_our_own_mistake_and_other_records_are_dropped(tmp_path):
    async def scenario():
        told = []
        driver = driver_of(Signer(tmp_path), told, voting=False)
        await driver._perform([Persist((JournalRecord(certificate=Certificate(height=1)),))])
        with pytest.raises(InvariantBroken, match="only follows was about to vote"):
            await driver._perform([Persist((record(1),)), Send(None, PeerMessage(vote=record(1).vote))])
        assert told == []

    asyncio.run(scenario())


def test_an_error_in_any_work_ends_the_run(tmp_path):
    """A fault report that meets a failed disk, say: whatever the driver has begun, its error is the node's."""

    async def scenario():
        driver = driver_of(Signer(tmp_path), [])

        async def fails(*_):
            raise StoreError("the disk failed")

        async def starts():
            await driver._perform([ReportFault(1, KEY, Vote(), Vote())])

        driver._faults.bring = fails
        driver._start_engine = starts
        async with asyncio.timeout(5):
            with pytest.raises(StoreError, match="the disk failed"):
                await driver.run()

    asyncio.run(scenario())


def test_clocks_are_asked_and_answered_beside_the_engine(tmp_path):
    async def scenario():
        told = []
        driver = driver_of(Signer(tmp_path), told)
        driver.reached(KEY)
        (_, to, probe) = told.pop()
        assert (to, probe.WhichOneof("kind")) == (KEY, "clock_probe")
        asked = probe.clock_probe.asked_ms
        await driver.receive(KEY, PeerMessage(clock_probe=ClockProbe(asked_ms=7)))
        (_, to, answer) = told.pop()
        assert (to, answer.clock_reply.asked_ms) == (KEY, 7)
        reply = ClockReply(asked_ms=asked, heard_ms=asked + 90_000, told_ms=asked + 90_000)
        await driver.receive(KEY, PeerMessage(clock_reply=reply))
        assert abs(driver.clocks.clock(KEY).offset_ms - 90_000) < 1_000
        # The engine hears of the line, and of no clock.
        await driver.receive(KEY, PeerMessage(tip=Tip()))
        events = await driver._inbox.take(9)
        assert [type(event).__name__ for event in events] == ["PeerConnected", "Received"]
        assert events[1] == Received(KEY, PeerMessage(tip=Tip()))

    asyncio.run(scenario())


def test_a_message_without_shape_is_refused_before_it_waits_for_the_engine(tmp_path):
    """A reply of 8 MiB may hold four million empty parts, which take hundreds of megabytes while they wait."""

    async def scenario():
        driver = driver_of(Signer(tmp_path), [])
        reply = PeerMessage(block_reply=BlockReply(blocks=[b"block"], earlier=[Certificate()] * 1_000))
        for message in (reply, PeerMessage(vote=Vote(view=1)), PeerMessage()):
            with pytest.raises(Malformed):
                await driver.receive(KEY, message)
        await driver.receive(KEY, PeerMessage(tip=Tip()))
        assert await driver._inbox.take(9) == [Received(KEY, PeerMessage(tip=Tip()))]
        assert set(driver.seen) == set()

    asyncio.run(scenario())


def test_a_proposer_takes_no_more_than_was_lately_done_in_time(tmp_path, monkeypatch):
    """Else, under more load than the chain carries, one block takes longer than the views last, and nothing is final."""
    monkeypatch.setattr(block_size, "BLOCK_MS", 5)
    asked, slow, waits = [], set(), []
    parameters = SimpleNamespace(block_bytes=1_000)
    info = SimpleNamespace(
        height=1, block_hash=b"", validators=None, next_due_ms=0, parameters=parameters, time_ms=0
    )

    class Host:
        info = SimpleNamespace(height=1, next_due_ms=0, parameters=parameters)

        async def execute(self, *_):
            await asyncio.sleep(0.1 * ("execute" in slow))
            return SimpleNamespace(info=info, results=dict.fromkeys(range(400)))

        async def judge(self, *_):
            await asyncio.sleep(0.1 * ("judge" in slow))
            return 0

        async def build(self, waiting, now_ms):
            await asyncio.sleep(0.1 * ("build" in slow))
            return SimpleNamespace(unfit=[], block=b"", transactions=1)

    class Pool(list):
        def take(self, count_max, bytes_max):
            asked.append(count_max)
            return []

    async def nothing(*_):
        pass

    async def gathered(seconds):
        waits.append(seconds)

    async def scenario():
        own = SimpleNamespace(note=lambda: b"")
        driver = Driver(Host(), Pool(), own, EngineSettings(), Clock(), Verifier(b"", 0))
        driver.connect(Wire([]), SimpleNamespace(committed=lambda _: None, drop=nothing, catch_up=gathered))
        for step in ("execute", "judge", "build", "execute", "execute", "execute"):
            slow.clear()
            slow.add(step)
            await driver._build(SimpleNamespace(height=2, view=1))
            await driver._judge(SimpleNamespace(height=2, block_hash=b"", block=b""))
            await driver._execute(SimpleNamespace(height=2, block=b"", certificate=SimpleNamespace(view=1)))

    asyncio.run(scenario())
    assert asked == [500, 250, 125, 62, 31, block_size.TRANSACTIONS_MIN]
    assert waits == [GATHER_SECONDS] * 6  # what has come in is checked first, as the pool holds too little


def test_what_turned_out_unfit_was_not_proposed_and_says_nothing_of_the_line():
    """Else who lets transactions end between admission and the block makes all blocks small, whenever he likes."""
    parameters = SimpleNamespace(block_bytes=1_000)

    class Host:
        info = SimpleNamespace(height=1, next_due_ms=2**62, parameters=parameters)

        async def build(self, waiting, now_ms):
            return SimpleNamespace(unfit=[(each, None) for each in waiting], block=b"empty", transactions=0)

    class Pool(list):
        def take(self, count_max, bytes_max):
            return list(range(count_max))

    async def nothing(*_):
        pass

    async def scenario():
        driver = Driver(
            Host(), Pool(), SimpleNamespace(), EngineSettings(base_timeout_ms=100), Clock(), Verifier(b"", 0)
        )
        driver.connect(Wire([]), SimpleNamespace(drop=nothing, catch_up=nothing))
        before = driver._block_size.transactions
        for _ in range(3):  # each time something new comes in
            await driver._build(SimpleNamespace(height=2, view=1))
            (built,) = await driver._inbox.take(1)
            assert not built.wanted
        driver._block_size.decided(2, 2, b"another")
        assert driver._block_size.transactions == before

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("early", "looks", "valid"),
    [
        ([0], 1, True),
        ([None], 1, False),
        ([40, 0], 2, True),
        ([40, 1], 2, False),
        ([101], 1, False),
        ([40], 1, None),
    ],
    ids=["valid", "never", "soon", "later than said", "too late for the view", "decided meanwhile"],
)
def test_a_block_that_is_only_early_is_judged_again_when_its_time_has_come(early, looks, valid):
    """One liar can put the chain's time as far ahead as most clocks allow. A clock that is a little behind those refuses
    nothing for that, as long as the view may wait."""
    asked = []

    class Host:
        info = SimpleNamespace(height=1, next_due_ms=0)

        async def judge(self, _, now_ms, __):
            asked.append(now_ms)
            return early[len(asked) - 1]

    async def scenario():
        driver = Driver(
            Host(), [], SimpleNamespace(), EngineSettings(base_timeout_ms=100), Clock(), Verifier(b"", 0)
        )
        judging = asyncio.create_task(driver._judge(JudgeBlock(2, b"hash", b"block")))
        await asyncio.sleep(0.01)
        if valid is None:
            driver._decided = 2
        await judging
        if valid is not None:
            assert await driver._inbox.take(1) == [BlockJudged(2, b"hash", valid)]
        assert driver._worked_ms < 10  # the wait is nobody's work, and makes no block smaller

    asyncio.run(scenario())
    assert len(asked) == looks
    assert len(asked) == 1 or asked[1] - asked[0] >= early[0]


def test_a_proposal_that_is_decided_while_the_verifier_process_looks_at_it_is_not_judged():
    """It would be judged on top of itself, and refused with a warning."""
    judged = []

    class Host:
        info = SimpleNamespace(height=1, next_due_ms=0)

        async def judge(self, *asked):
            judged.append(asked)
            return 0

        async def execute(self, *_):
            raise StoreError("as far as it is to come")

    async def scenario():
        looks = asyncio.Event()

        async def of_proposal(_):
            await looks.wait()
            return NOBODY

        own = SimpleNamespace(note=lambda: b"")
        driver = Driver(Host(), [], own, EngineSettings(), Clock(), Verifier(b"", 0))
        driver._ahead.of_proposal = of_proposal
        asked = SimpleNamespace(height=2, block_hash=b"", block=b"")
        judging = asyncio.create_task(driver._judge(asked))
        await asyncio.sleep(0)
        with pytest.raises(StoreError):
            await driver._execute(SimpleNamespace(height=2, block=b"", certificate=Certificate(view=1)))
        looks.set()
        await judging
        assert judged == []
        await driver._judge(asked)
        assert len(judged) == 1

    asyncio.run(scenario())
