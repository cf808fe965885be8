"""The account of a node's CPU by stage: nothing is lost, nothing stays wrapped, nothing is done when it is off."""

import asyncio
import json
import threading
import time

import pytest

from node import stages
from node.stages import CALLS, FILE, HAND_OVER, LOOP, STEPS, Ledger, Stages


@pytest.fixture
def traced():
    made = Stages()
    yield made
    made.uninstall()


def use(seconds: float) -> None:
    """CPU of this thread."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def wrapped() -> list:
    return [getattr(where, name) for where, name, _ in (*CALLS, *STEPS)] + [asyncio.Handle._run]


def test_what_a_thread_did_is_at_the_stage_where_it_did_it():
    begun = time.thread_time_ns()
    ledger = Ledger("rest")
    ledger.enter("outer")
    use(0.01)
    ledger.enter("inner")
    use(0.03)
    ledger.leave()
    use(0.01)
    ledger.leave()
    use(0.005)
    ledger.enter("outer")
    ledger.leave()
    now = time.thread_time_ns()
    assert ledger.spent["inner"] >= 0.03e9
    assert 0.02e9 <= ledger.spent["outer"] < 0.03e9
    assert ledger.spent["rest"] - begun >= 0.005e9
    assert sum(ledger.spent.values()) == pytest.approx(now, abs=2e6)
    assert ledger.calls == {"outer": 2, "inner": 1}


def test_off_nothing_is_wrapped(monkeypatch):
    monkeypatch.delenv(stages.VARIABLE, raising=False)
    before = wrapped()
    assert stages.begun() is None
    assert wrapped() == before


def test_on_all_is_wrapped_until_it_is_undone(monkeypatch):
    monkeypatch.setenv(stages.VARIABLE, "1")
    before = wrapped()
    made = stages.begun()
    assert not {id(call) for call in wrapped()} & {id(call) for call in before}
    made.uninstall()
    assert wrapped() == before


def test_a_call_answers_and_raises_as_before(traced):
    def divide(one, other=1):
        use(0.005)
        return one / other

    timed = traced._timed("divide", divide)
    assert timed(6, other=3) == 2
    with pytest.raises(ZeroDivisionError):
        timed(1, other=0)
    ledger = traced.of_thread()
    assert ledger.calls["divide"] == 2
    assert ledger.spent["divide"] >= 0.01e9
    assert ledger._stage == LOOP


def test_a_coroutine_is_counted_while_it_runs_and_not_while_it_waits(traced):
    async def work(fail):
        use(0.005)
        await asyncio.sleep(0.02)
        use(0.005)
        if fail:
            raise KeyError(fail)
        return 7

    async def other():
        use(0.01)

    async def both():
        stepped = traced._stepped("work", work)
        answers = await asyncio.gather(stepped(""), other(), stepped("why"), return_exceptions=True)
        waiting = asyncio.create_task(stepped(""))
        await asyncio.sleep(0.005)
        waiting.cancel()
        return answers, await asyncio.gather(waiting, return_exceptions=True)

    answers, cancelled = asyncio.run(both())
    assert answers[0] == 7
    assert isinstance(answers[2], KeyError)
    assert isinstance(cancelled[0], asyncio.CancelledError)
    spent = traced.of_thread().spent["work"]
    assert 0.02e9 <= spent < 0.035e9  # two whole ones and half of the third; nothing of `other`


def test_callbacks_of_the_loop_are_at_their_stage(traced):
    async def _settle():
        use(0.01)

    async def nobody_names_this():
        use(0.02)

    _settle.__qualname__ = "_settle"
    traced.install()

    async def both():
        await asyncio.gather(_settle(), nobody_names_this())

    asyncio.run(both())
    spent = traced.of_thread().spent
    assert spent[HAND_OVER] >= 0.01e9
    assert spent[stages.OTHER] >= 0.02e9


def test_the_stages_of_all_threads_explain_the_process(traced, tmp_path):
    before = traced.reading()
    timed = traced._timed("work", use)
    thread = threading.Thread(target=lambda: [timed(0.02) for _ in range(5)], name="worker")
    own = traced.of_thread()
    own.enter("reply")
    thread.start()
    use(0.1)
    thread.join()
    own.leave()
    traced.write(tmp_path)
    found = json.loads((tmp_path / FILE).read_text())
    assert found["threads"]["event loop"]["stages"]["reply"]["calls"] == 1
    spent = found["process_cpu_s"] - before["process_cpu_s"]
    assert spent >= 0.2
    # A thread that has ended is no longer among the system's; its account is.
    counted = [own.spent["reply"], *(one.spent["work"] for one in traced._ledgers.values())]
    assert 0.9 * spent <= sum(counted) / 1e9 <= 1.1 * spent


def test_entering_and_leaving_costs_little():
    assert 0 < stages._calibrated() < 20_000  # nanoseconds; 1,000 to 2,000 on a quiet machine


def test_the_account_is_written_again_and_again_and_at_the_end(traced, tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "WRITE_SECONDS", 0.01)

    async def run():
        task = asyncio.create_task(traced.run(tmp_path))
        await asyncio.sleep(0.05)
        first = json.loads((tmp_path / FILE).read_text())
        traced.transactions = 5
        (tmp_path / FILE).unlink()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return first

    assert asyncio.run(run())["transactions"] == 0
    assert json.loads((tmp_path / FILE).read_text())["transactions"] == 5
