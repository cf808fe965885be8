"""A thread of a node does the most urgent first, and nothing waits for ever."""

import threading

import pytest

from node.chain_host import OVERTAKING_MAX, Priority, Worker


def order(run, asked):
    """In which order jobs are done that were asked for while the thread was busy."""
    done = []

    async def scenario():
        worker, go = Worker("test"), threading.Event()
        first = worker.run(Priority.AGREEMENT, go.wait)
        futures = [worker.run(priority, lambda n=n: done.append(n)) for n, priority in enumerate(asked)]
        go.set()
        for future in (first, *futures):
            await future
        await worker.stop()

    run(scenario())
    return done


def test_the_most_urgent_is_first_and_of_those_the_oldest(run):
    asked = [Priority.BACKGROUND, Priority.ANSWER, Priority.ADMISSION, Priority.AGREEMENT, Priority.ANSWER]
    assert order(run, asked) == [3, 2, 1, 4, 0]


@pytest.mark.parametrize("answers", [OVERTAKING_MAX - 1, OVERTAKING_MAX, OVERTAKING_MAX + 1, 200])
def test_answers_overtake_what_is_in_the_background_and_not_for_ever(run, answers):
    done = order(run, [Priority.ANSWER, Priority.BACKGROUND] + [Priority.ANSWER] * answers)
    assert done.index(1) == 1 + min(answers, OVERTAKING_MAX)
    assert [n for n in done if n != 1] == [0, *range(2, answers + 2)]
