"""The checklist names its tests, and they are there: each point and threat is answered, or says that it is not."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "checklist.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.splitlines()
    if line.startswith("| ")
]
POINTS = [row for row in ROWS if row[0].isdigit()]
THREATS = [row for row in ROWS if len(row) == 3 and row[0] != "threat"]


def test_all_points_are_there():
    assert [int(row[0]) for row in POINTS] == list(range(1, 41))
    assert len(THREATS) >= 20


@pytest.mark.parametrize("row", POINTS + THREATS, ids=lambda row: row[0])
def test_a_line_names_tests_that_exist(row):
    answer, named = row[-2], re.findall(r"`([a-z]+/test_[a-z_0-9]+\.py)(?:::([a-z_0-9]+))?`", row[-1])
    assert named or "not here" in answer or "no ledger can know" in answer
    assert not re.search(r"`test_", row[-1]), "a test is named with its folder"
    for path, function in named:
        text = (ROOT / "tests" / path).read_text()
        assert not function or f"def {function}(" in text, f"{path} has no {function}"
