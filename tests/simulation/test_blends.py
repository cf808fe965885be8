"""Who lies in several ways at once, and a key that runs twice while the set of validators changes under it.

Actors bend what their engine sends, one after the other: so of several classes comes one that has all their ways, in
their order. Proposes two blocks, keeps the bodies of both back, and hands out others under their names, say.
"""

import random
from dataclasses import replace

import pytest

from tests.simulation.run import Run
from tests.simulation.scenario import ACTORS, f_of

SEEDS = 60
PAGE = 10
WAYS = sorted(set(ACTORS) - {"twins", "silent"})  # the first is two nodes, the second says nothing
QUIET = {"quiet_until": 0, "told_until": 0}
ACROSS = ("twins", "twins", "supporter", "equivocator", "withholder", "backdater")


def blend(names):
    return type("+".join(names), tuple(ACTORS[name] for name in names), dict(QUIET))


def violation(seed, bend):
    report = Run(seed, bend=bend).go()
    return f"seed {seed}: {report.violation}" if report.violation else ""


@pytest.mark.parametrize("page", range(SEEDS // PAGE))
def test_who_lies_in_several_ways_at_once_harms_nobody_either(page, monkeypatch):
    """The scenario of the seed, with one who lies at least."""

    def bend(scenario, draw):
        liars = [index for index, _ in scenario.dishonest]
        free = scenario.size == len(scenario.sets[0]) >= 4 and not (scenario.broken or scenario.lost or liars)
        names = {}
        for index in [draw.randrange(scenario.size)] if free else liars:
            chosen = draw.sample(WAYS, draw.choice((2, 2, 3)))
            names[index] = "+".join(chosen)
            monkeypatch.setitem(ACTORS, names[index], blend(chosen))
        return replace(scenario, dishonest=tuple(names.items()))

    seen = []
    for seed in range(2_000_000 + page * PAGE, 2_000_000 + (page + 1) * PAGE):
        draw = random.Random(f"blend {seed}")
        seen.append(violation(seed, lambda scenario, draw=draw: bend(scenario, draw)))
    assert not any(seen), "\n".join(filter(None, seen))


@pytest.mark.parametrize("page", range(SEEDS // PAGE))
def test_a_key_that_runs_twice_while_sets_change_under_it(page):
    """Three to five sets in turn, with the liars in some of them and not in others, and crashes in between: what was
    signed under one set, and what was kept for the next height, meets another set."""

    def bend(scenario, draw):
        size = draw.choice((4, 5, 5, 6, 7))
        sets = [tuple(draw.sample(range(size), draw.randint(4, size))) for _ in range(draw.randint(3, 5))]
        liars = draw.sample(range(size), min(f_of(len(members)) for members in sets))
        return replace(
            scenario,
            size=size,
            sets=tuple(sets),
            dishonest=tuple((index, draw.choice(ACROSS)) for index in liars),
            broken=(),
            lost=(),
            skews=(0,) * size,
            crashes=draw.choice((0, 6, 12)),
            heights_max=draw.choice((6, 12)),
        )

    seen = []
    for seed in range(3_000_000 + page * PAGE, 3_000_000 + (page + 1) * PAGE):
        draw = random.Random(f"across {seed}")
        seen.append(violation(seed, lambda scenario, draw=draw: bend(scenario, draw)))
    assert not any(seen), "\n".join(filter(None, seen))
