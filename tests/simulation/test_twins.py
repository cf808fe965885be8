"""Twins campaigns: a quick slice of `python3 scripts/simulate.py --twins N`."""

import pytest

from tests.simulation.twins_campaign import Campaign, case_of, cases_of_four, listed, mirrored

PAGES = 12
PAGE = 10


@pytest.mark.parametrize("page", range(PAGES))
def test_twins(page):
    for number in range(page * PAGE, (page + 1) * PAGE):
        violation = Campaign(case_of(number), number).go()
        assert not violation, (
            f"case {number}: {violation}\npython3 scripts/simulate.py --twins 1 --replay {number}"
        )


def test_every_case_of_four_is_listed_once_up_to_the_mirror():
    """Eight divisions of three validators in each of three views, halved by the mirror; four places for the twins;
    everyone divided or the twins alone."""
    cases = set(listed())
    assert len(cases) == len(listed()) == 8**3 // 2 * 4 * 2
    sides = {case.sides for case in cases}
    assert all(mirrored(each) == each or mirrored(each) not in sides for each in sides)
    assert len(sides | {mirrored(each) for each in sides}) == 8**3
    overlapping = sum(1 for _ in cases_of_four((1, 2, 3)))
    assert overlapping == (27**3 + 1) // 2 * 4 * 2


def test_numbers_cover_all_of_four_and_reach_seven_and_ten():
    numbers = 10 * len(listed()) // 7 + 20
    cases = [case_of(number) for number in range(numbers)]
    assert set(listed()) <= set(cases)
    assert {(case.size, len(case.twinned)) for case in cases} == {(4, 1), (7, 2), (10, 3)}
    assert any(3 in view for case in cases for view in case.sides)


def test_the_copies_do_what_convicts():
    """Both copies vote, for what each of them hears: in some cases that is told as a fault, and only of them."""
    accused = 0
    for number in range(20):
        run = Campaign(case_of(number), number)
        assert not run.go()
        assert run.oracle.accused <= set(run.case.twinned)
        accused += bool(run.oracle.accused)
    assert accused > 3
