"""The list of guards fits the bridge as it stands; removing them all is scripts/bridge_guards.py."""

import re
from collections import Counter

import pytest

from tests.bridge.guards import ATTACKS, GUARDS
from tests.mutation.hunt import ROOT, mutated

EDITS = [edit for guard in GUARDS for edit in guard.edits()]


@pytest.mark.parametrize("guard", EDITS, ids=lambda guard: f"{guard.case:02d} {guard.name}")
def test_each_guard_is_where_the_list_says(guard):
    """Its text occurs once, what remains without it is a program, and the test that misses it exists."""
    text = (ROOT / f"{guard.file}.py").read_text()
    changed = mutated(text, guard)
    assert changed != text
    compile(changed, guard.file, "exec")
    file, _, name = guard.test.partition("::")
    assert f"def {name}(" in (ROOT / file).read_text()


def test_every_known_attack_has_a_test_of_its_number_and_a_guard():
    tests = "".join(path.read_text() for path in (ROOT / "tests" / "bridge").glob("test_attack_*.py"))
    named = {int(number) for number in re.findall(r"def test_attack_(\d\d)_", tests)}
    assert named == set(range(1, 31))
    assert {guard.case for guard in ATTACKS} == named
    assert Counter(guard.name for guard in GUARDS).most_common(1)[0][1] == 1
