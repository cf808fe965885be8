"""Admission: one check for all, outcomes only of what is on disk, and no sender waits in vain."""

import asyncio
from types import SimpleNamespace

from ledger.admission import Repeated
from ledger.errors import Invalid
from ledger.limits import TRANSACTION_BYTES_MAX
from ledger.rows import Place
from ledger.vouched import Vouched
from node.admission import (
    AHEAD_CHUNKS,
    CHUNK,
    VALIDATORS_CHUNKS,
    VOUCHING_SECONDS,
    WAITING_BYTES_MAX,
    WAITING_MAX,
    Admission,
)
from node.chain_host import Admissible, Committed
from node.pool import LANE_MIN, RETRY_MS, TURN, Pool
from node.verifier import Verifier
from proto.chiptrace.v1.ledger_pb2 import Reason, Result


class Host:
    """Stands for the chain: `check` answers from a table, or admits; `decide` makes a height."""

    def __init__(self):
        self.answers = {}
        self.height = 0
        self.stored = {}
        self.checked = []
        self.full = []
        self.vouched = []
        self.gate = None
        self.reads = 0

    async def check(self, transactions, now_ms, full, vouched):
        self.checked.append(list(transactions))
        self.full.append(full)
        self.vouched.append(vouched)
        if self.gate is not None:
            await self.gate.wait()
        return [self.answers.get(data) or self.admissible(data) for data in transactions]

    @staticmethod
    def admissible(data):
        body = SimpleNamespace(valid_until_ms=1_000)
        return Admissible(SimpleNamespace(id=b"id" + data, body=body), "member")

    def decide(self, *transactions, time_ms=10):
        self.height += 1
        results = {b"id" + data: Result(transaction=b"id" + data, ok=True) for data in transactions}
        for index, (transaction, result) in enumerate(results.items()):
            self.stored[transaction] = (Place(transaction, self.height, index), result)
        return Committed(SimpleNamespace(height=self.height, time_ms=time_ms), results)

    async def read(self, question):
        def results(height):
            self.reads += 1
            found = [
                (place.index, result) for place, result in self.stored.values() if place.height == height
            ]
            return [result.SerializeToString() for _, result in sorted(found, key=lambda pair: pair[0])]

        def place(transaction):
            return self.stored.get(transaction, (None,))[0]

        return question(SimpleNamespace(place=place, results=results))


class Setup:
    def __init__(self):
        self.host, self.pool = Host(), Pool(transactions_max=8)
        self.passed_on, self.woken = [], []
        self.admission = Admission(
            self.host, self.pool, self.passed_on.extend, lambda: self.woken.append(1), Verifier(b"", 0)
        )
        self.in_step = True
        self.admission.open(lambda: self.in_step)


def scenario(test):
    """Runs an async test with a fresh admission whose loop is running."""

    def run():
        async def whole():
            setup = Setup()
            loop = asyncio.create_task(setup.admission.run())
            try:
                async with asyncio.timeout(5):
                    await test(setup)
            finally:
                loop.cancel()

        asyncio.run(whole())

    run.__name__ = test.__name__
    return run


async def submitted(s, data):
    """What becomes of one transaction of a client."""
    return await s.admission.submit_one(data)


@scenario
async def test_a_clients_transaction_is_passed_on_and_a_validators_is_not(s):
    s.admission.offer([b"theirs"])
    outcome = await submitted(s, b"ours")
    assert (outcome.admitted, outcome.final) == (True, False)
    assert s.passed_on == [b"ours"]
    assert len(s.pool) == 2
    assert s.woken


async def waiting_for(s, *transactions, seconds=5):
    """A frame whose client waits for what becomes of it; all of it is admitted already."""
    task = asyncio.create_task(s.admission.submit(transactions, seconds))
    await asyncio.sleep(0.01)
    assert not task.done()
    assert all(b"id" + data in s.pool for data in transactions)
    return task


@scenario
async def test_settled_only_once_it_is_committed(s):
    waiting = await waiting_for(s, b"a")
    s.admission.committed(s.host.decide(b"other", b"a"))
    (final,) = await waiting
    assert (final.final, final.ok, final.height, final.index) == (True, True, 1, 1)
    assert len(s.pool) == 0


@scenario
async def test_a_frame_is_told_when_all_of_it_is_final_whatever_the_order(s):
    waiting = await waiting_for(s, b"a", b"b", b"c")
    s.admission.committed(s.host.decide(b"c"))
    s.admission.committed(s.host.decide(b"a"))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    s.admission.committed(s.host.decide(b"b"))
    assert [(outcome.transaction, outcome.height) for outcome in await waiting] == [
        (b"ida", 2),
        (b"idb", 3),
        (b"idc", 1),
    ]


@scenario
async def test_two_who_wait_for_the_same_are_both_told(s):
    both = [await waiting_for(s, b"a"), await waiting_for(s, b"a")]
    assert s.passed_on == [b"a"]
    s.admission.committed(s.host.decide(b"a"))
    assert [outcome.final for (outcome,) in await asyncio.gather(*both)] == [True, True]


@scenario
async def test_the_same_twice_in_one_frame_is_told_twice(s):
    waiting = await waiting_for(s, b"a", b"a")
    assert s.passed_on == [b"a"]
    s.admission.committed(s.host.decide(b"a"))
    assert [outcome.final for outcome in await waiting] == [True, True]


@scenario
async def test_who_has_gone_is_not_waited_for_and_disturbs_nobody(s):
    gone, stays = await waiting_for(s, b"a", b"b"), await waiting_for(s, b"a")
    gone.cancel()
    s.admission.committed(s.host.decide(b"a", b"b"))
    assert [outcome.final for outcome in await stays] == [True]
    assert not s.admission._finals


@scenario
async def test_out_of_time_says_so_of_what_is_not_final_and_claims_nothing(s):
    waiting = await waiting_for(s, b"a", b"b", seconds=0.05)
    s.admission.committed(s.host.decide(b"a"))
    final, late = await waiting
    assert (final.final, late.admitted, late.final) == (True, True, False)
    assert (late.transaction, "not final after" in late.detail) == (b"idb", True)


@scenario
async def test_what_can_be_in_no_block_any_more_is_told_expired(s):
    waiting = await waiting_for(s, b"a")
    s.admission.committed(s.host.decide(time_ms=1_000))
    (outcome,) = await waiting
    assert outcome.reason == Reason.EXPIRED


@scenario
async def test_unfit_for_a_block_because_it_was_decided_meanwhile_is_told_its_outcome(s):
    waiting = await waiting_for(s, b"a")
    s.host.decide(b"a")
    await s.admission.drop([(b"ida", Repeated("decided", Place(b"ida", 1, 0), same=True))])
    (outcome,) = await waiting
    assert (outcome.final, len(s.pool)) == (True, 0)


@scenario
async def test_unfit_for_another_reason_is_told_that_reason(s):
    waiting = await waiting_for(s, b"a")
    await s.admission.drop([(b"ida", Invalid("revoked", Reason.KEY_NOT_VALID))])
    (outcome,) = await waiting
    assert outcome.reason == Reason.KEY_NOT_VALID


@scenario
async def test_repetitions_get_the_first_outcome_or_its_place(s):
    s.host.decide(b"x", b"a")
    place = Place(b"ida", 1, 1)
    s.host.answers = {
        b"same": Repeated("again", place, same=True),
        b"other": Repeated("used", place, same=False),
    }
    same, other = await submitted(s, b"same"), await submitted(s, b"other")
    assert (same.final, same.ok, same.height, same.index) == (True, True, 1, 1)
    assert (other.final, other.reason, other.transaction, other.height) == (False, Reason.REPEATED, b"ida", 1)


@scenario
async def test_many_that_are_sent_again_cost_one_look_for_each_height(s):
    first, second = [b"%d" % n for n in range(200)], [b"z%d" % n for n in range(200)]
    for part in (first, second):
        s.host.decide(*part)
        for data in part:
            place = s.host.stored[b"id" + data][0]
            s.host.answers[data] = Repeated("again", place, same=True)
    found = await s.admission.submit(first[:20] + second[:12], None)
    found += await s.admission.submit(second[12:44], None)
    assert [(one.final, one.transaction) for one in found] == [
        (True, b"id" + data) for data in first[:20] + second[:44]
    ]
    assert [(one.height, one.index) for one in found] == [
        *((1, index) for index in range(20)),
        *((2, index) for index in range(44)),
    ]
    assert s.host.reads == 2


@scenario
async def test_a_full_pool_refuses_and_keeps_what_it_has(s):
    outcomes = [await submitted(s, b"%d" % number) for number in range(6)]
    assert [outcome.admitted for outcome in outcomes] == [True] * 4 + [False] * 2  # one member, half of eight
    assert {outcome.reason for outcome in outcomes[4:]} == {Reason.POOL_FULL}


@scenario
async def test_closed_to_clients_with_the_reason(s):
    s.in_step = False
    for reason in (Reason.NOT_SYNCED, Reason.SHUTTING_DOWN):
        assert (await submitted(s, b"a")).reason == reason
        s.admission.close()
    s.admission.offer([b"b"])
    await asyncio.sleep(0.01)
    assert len(s.pool) == 0


@scenario
async def test_with_a_disk_nearly_full_none_are_taken_from_either_side_until_there_is_room(s):
    s.admission.refuse("the disk has 3 bytes left")
    refused = await submitted(s, b"a")
    assert refused.reason == Reason.DISK_NEARLY_FULL
    assert "3 bytes left; ask another" in refused.detail
    s.admission.offer([b"b"])
    await asyncio.sleep(0.01)
    assert len(s.pool) == 0
    s.admission.refuse("")
    assert (await submitted(s, b"a")).admitted


@scenario
async def test_a_flood_of_either_side_leaves_the_other_its_turn(s):
    s.pool = s.admission._pool = Pool()
    s.host.gate = asyncio.Event()
    s.admission.offer([b"first"])
    await asyncio.sleep(0.01)
    s.admission.offer([b"v%d" % number for number in range(10 * CHUNK)])
    s.host.answers = {b"client": Invalid("seen", Reason.MALFORMED)}
    client = asyncio.create_task(submitted(s, b"client"))
    await asyncio.sleep(0.01)
    s.host.gate.set()
    assert (await client).reason == Reason.MALFORMED
    assert [b"client"] in s.host.checked[1 : 2 + VALIDATORS_CHUNKS]
    flood = asyncio.create_task(s.admission.submit([b"c%d" % number for number in range(10 * CHUNK)], None))
    await asyncio.sleep(0)
    s.host.checked.clear()
    s.admission.offer([b"theirs"])
    await flood
    assert b"theirs" in [*s.host.checked[0], *s.host.checked[1]]


@scenario
async def test_of_two_floods_validators_have_most_turns_and_clients_their_share(s):
    s.pool = s.admission._pool = Pool()
    s.admission.offer([b"v%d" % number for number in range(100 * CHUNK)])
    await s.admission.submit([b"c%d" % number for number in range(5 * CHUNK)], None)
    sides = [chunk[0][:1] for chunk in s.host.checked]
    assert sides.count(b"c") == 5
    until_answered = sides[: len(sides) - sides[::-1].index(b"c")]
    assert 4 * VALIDATORS_CHUNKS <= until_answered.count(b"v") <= 6 * VALIDATORS_CHUNKS


@scenario
async def test_a_frame_of_millions_of_empty_transactions_ends_where_there_is_no_room(s):
    frame = iter([b""] * 1_000)
    s.admission.offer(frame)
    assert len(list(frame)) == 992  # the pool holds eight


@scenario
async def test_what_waits_to_be_checked_is_bounded_by_count_and_bytes(s):
    queue = s.admission._from_validators
    s.pool = s.admission._pool = Pool(4 * WAITING_MAX)
    s.host.gate = asyncio.Event()
    s.admission.offer([b"held up"])
    await asyncio.sleep(0.01)
    s.admission.offer([b""] * (2 * WAITING_MAX))
    assert queue.count == WAITING_MAX
    s.host.gate.set()
    await s.admission.catch_up(5)
    s.host.gate.clear()
    s.admission.offer([b"held up"])
    await asyncio.sleep(0.01)
    big = bytes(TRANSACTION_BYTES_MAX)
    room = WAITING_BYTES_MAX // TRANSACTION_BYTES_MAX
    s.admission.offer([big] * (room + 10))
    assert (queue.count, queue._bytes) == (room, WAITING_BYTES_MAX)
    client = asyncio.create_task(s.admission.submit([big] * room, None))
    await asyncio.sleep(0.01)
    refused = await s.admission.submit([b"x", b"y"], None)
    assert [outcome.reason for outcome in refused] == [Reason.POOL_FULL] * 2
    s.host.answers = {big: Invalid("enough", Reason.MALFORMED)}
    s.host.gate.set()
    assert {outcome.reason for outcome in await client} == {Reason.MALFORMED}


@scenario
async def test_what_the_pool_has_no_room_for_is_refused_before_it_is_checked(s):
    """By the clients' own node; the others hold twice as much, and the origin keeps what they have no room for."""
    s.pool = s.admission._pool = Pool(transactions_max=1_000)
    s.pool._pace.per_second = 5.0  # so that LANE_MIN of one member may wait
    s.pool.decided(0, 1.0)
    outcomes = await s.admission.submit([b"%d" % number for number in range(60)], None)
    assert [outcome.admitted for outcome in outcomes] == [True] * LANE_MIN + [False] * 10
    assert sum(map(len, s.host.checked)) == LANE_MIN
    assert (outcomes[-1].reason, f"again in {RETRY_MS} ms" in outcomes[-1].detail) == (Reason.POOL_FULL, True)
    # The member's lane is full, the pool is not: the check is told so, and says no before it verifies.
    await submitted(s, b"one more")
    assert list(s.host.full[-1]) == ["member"]
    assert f"again in {RETRY_MS} ms" in s.host.full[-1]["member"]
    s.admission.offer([b"v%d" % number for number in range(60)])
    await s.admission.catch_up(5)
    assert s.host.full[-1] == {}
    assert len(s.pool) == 2 * LANE_MIN
    s.admission.offer([b"w"])
    await s.admission.catch_up(5)
    assert list(s.host.full[-1]) == ["member"]
    # Once some are decided there is room again.
    s.admission.committed(s.host.decide(*(b"%d" % number for number in range(LANE_MIN)), b"v1"))
    assert (await submitted(s, b"later")).admitted


@scenario
async def test_a_leader_waits_for_what_came_in_to_be_checked_and_no_longer_than_it_says(s):
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await s.admission.catch_up(60)  # nothing waits
    s.admission.offer([b"z"])
    await s.admission.catch_up(60)
    assert (len(s.pool), s.host.checked.pop()) == (1, [b"z"])
    s.host.gate = asyncio.Event()
    s.admission.offer([b"a"])
    await asyncio.sleep(0.01)
    s.admission.offer([b"b"])
    await s.admission.catch_up(0.02)
    assert (len(s.pool), s.host.checked) == (1, [[b"a"]])  # one is being checked, one waits still
    waiting = asyncio.create_task(s.admission.catch_up(60))
    s.host.gate.set()
    await waiting
    assert len(s.pool) == 3
    assert loop.time() - begun < 4


@scenario
async def test_a_frame_is_answered_one_by_one_and_as_a_whole_where_none_are_taken(s):
    s.host.answers = {
        b"bad": Invalid("seen", Reason.MALFORMED),
        b"big": Invalid("too long", Reason.OVERSIZE),
    }
    good, bad, oversize = await s.admission.submit([b"good", b"bad", b"big"], None)
    assert (good.admitted, bad.reason) == (True, Reason.MALFORMED)
    assert (oversize.reason, oversize.admitted) == (Reason.OVERSIZE, False)
    s.in_step = False
    assert [outcome.reason for outcome in await s.admission.submit([b"a", b"b"], 5)] == [
        Reason.NOT_SYNCED
    ] * 2
    assert await s.admission.submit([], 5) == []


@scenario
async def test_a_frame_of_good_and_bad_ones_is_told_at_once_what_will_not_be_final(s):
    s.host.answers = {b"bad": Invalid("seen", Reason.MALFORMED)}
    assert [outcome.reason for outcome in await s.admission.submit([b"bad", b"bad"], 60)] == [
        Reason.MALFORMED
    ] * 2
    task = asyncio.create_task(s.admission.submit([b"bad", b"good"], 60))
    await asyncio.sleep(0.01)
    s.admission.committed(s.host.decide(b"good"))
    assert [(outcome.reason, outcome.final) for outcome in await task] == [
        (Reason.MALFORMED, False),
        (Reason.REASON_UNSPECIFIED, True),
    ]


@scenario
async def test_of_a_frame_that_nobody_waits_for_any_more_nothing_is_kept(s):
    for _ in range(3):
        (outcome,) = await s.admission.submit([b"a"], 0.0)
        assert (outcome.admitted, outcome.final) == (True, False)
    assert s.admission._finals == {}
    kept = await waiting_for(s, b"a", seconds=1)
    gone = await waiting_for(s, b"a", seconds=1)
    gone.cancel()
    s.host.gate = asyncio.Event()
    gone_unchecked = asyncio.create_task(s.admission.submit([b"b"], 1))
    await asyncio.sleep(0.01)
    gone_unchecked.cancel()
    await asyncio.sleep(0.01)
    s.host.gate.set()
    await asyncio.sleep(0.01)
    assert b"idb" in s.pool
    assert {id_: len(waiters) for id_, waiters in s.admission._finals.items()} == {b"ida": 1}
    s.admission.committed(s.host.decide(b"a", b"b"))
    assert [outcome.final for outcome in await kept] == [True]


@scenario
async def test_a_few_are_looked_at_however_many_of_others_wait_to_be_checked(s):
    s.host.gate = asyncio.Event()
    flood = []
    for n in range(3):  # the first is being checked, the others wait for it
        frame = [b"%d %d" % (n, k) for k in range(1_000)]
        flood.append(asyncio.create_task(s.admission.submit(frame, None)))
        await asyncio.sleep(0.01)
    assert s.admission._from_clients.count >= s.pool.lane_max
    quiet = asyncio.create_task(s.admission.submit([b"quiet"], None))
    await asyncio.sleep(0.01)
    s.host.gate.set()
    await quiet
    await asyncio.gather(*flood)
    assert any(b"quiet" in chunk for chunk in s.host.checked)
    assert sum(map(len, s.host.checked)) <= 4 * TURN


@scenario
async def test_how_much_may_wait_follows_from_what_is_decided(s):
    s.pool = s.admission._pool = Pool()
    before = s.pool.lane_max
    s.admission.committed(s.host.decide(b"a"))
    assert s.pool.lane_max > before  # it was decided without delay


class Beside:
    """Stands for the verifier process: says what it vouches for once it may, of each chunk for itself."""

    def __init__(self):
        self.ready = True
        self.asked, self.was_used = [], []
        self.answers = []

    def worth_asking(self, transactions):
        return self.ready and len(transactions) >= 10

    async def ask(self, transactions, seconds):
        assert seconds == VOUCHING_SECONDS  # one that is slow sets no pace
        self.asked.append(list(transactions))
        answer = asyncio.Event()
        self.answers.append(answer)
        await answer.wait()
        return Vouched({data: b"id" + data for data in transactions})

    def used(self, vouched):
        self.was_used.append(len(vouched))


class Answering(list):
    """Every answer may be given at once."""

    def append(self, answer):
        answer.set()


@scenario
async def test_the_verifier_process_looks_at_what_comes_next_while_one_chunk_is_checked(s):
    beside = s.admission._verifier = Beside()
    s.admission._pool = s.pool = Pool()
    many = [b"%03d" % number for number in range((AHEAD_CHUNKS + 2) * CHUNK)]
    s.admission.offer(many)
    await asyncio.sleep(0.01)
    assert [data for chunk in beside.asked for data in chunk] == many[: AHEAD_CHUNKS * CHUNK]
    assert s.host.checked == []
    waiting = asyncio.create_task(s.admission.catch_up(5))
    for answer in reversed(beside.answers):  # in whatever order it answers
        answer.set()
    await asyncio.sleep(0.01)
    assert not waiting.done()  # what it looks at is not checked yet
    while len(s.pool) < len(many):
        for answer in beside.answers:
            answer.set()
        await asyncio.sleep(0.01)
    await waiting
    assert [data for chunk in s.host.checked for data in chunk] == many  # in the order in which they came
    assert beside.was_used == [CHUNK] * (AHEAD_CHUNKS + 2)
    assert all(
        set(chunk) == set(vouched._ids) for chunk, vouched in zip(s.host.checked, s.host.vouched, strict=True)
    )


@scenario
async def test_a_few_are_checked_at_once_without_it(s):
    beside = s.admission._verifier = Beside()
    assert (await submitted(s, b"alone")).admitted
    assert beside.asked == []


@scenario
async def test_a_flood_that_is_refused_is_not_asked_about_and_what_is_good_again_is(s):
    """A stranger's eight good signatures cost the verifier process 25 times what it costs to refuse the stranger."""
    beside = s.admission._verifier = Beside()
    beside.answers = Answering()
    s.admission._pool = s.pool = Pool()
    good, bad = ([kind + b"%d" % number for number in range(CHUNK)] for kind in (b"good", b"bad"))
    for data in bad[: CHUNK // 2 + 1]:
        s.host.answers[data] = Invalid("a stranger", Reason.UNKNOWN_KEY)
    await s.admission.submit(bad, None)
    assert beside.asked == [bad]  # of whom nothing is known yet
    for _ in range(3):
        await s.admission.submit(bad, None)
    assert beside.asked == [bad]
    s.admission.offer(good)  # validators' are another matter
    await s.admission.catch_up(5)
    assert beside.asked == [bad, good]
    await s.admission.submit([b"more " + data for data in good], None)
    assert len(beside.asked) == 2
    await s.admission.submit(newest := [b"newest " + data for data in good], None)
    assert beside.asked[2:] == [newest]
    await s.admission.submit(newest, None)  # they wait already: known to be good
    assert len(beside.asked) == 3


@scenario
async def test_at_a_full_door_what_waits_already_is_told_so(s):
    s.pool = s.admission._pool = Pool(transactions_max=60)  # 30 of one member
    many = [b"%d" % number for number in range(60)]
    await s.admission.submit(many, None)
    frame = [b"new %d" % number for number in range(TURN)] + [many[0], b"newest", many[1]]
    outcomes = await s.admission.submit(frame, None)
    assert [(one.admitted, one.transaction) for one in outcomes[TURN:]] == [
        (True, b"id" + many[0]),
        (False, b""),
        (True, b"id" + many[1]),
    ]
    assert outcomes[TURN + 1].reason == Reason.POOL_FULL
    (*_, last) = await s.admission.submit(frame, 5.0)
    assert (last.admitted, last.final, "send the same bytes again" in last.detail) == (True, False, True)
