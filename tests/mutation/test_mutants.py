"""The list of mutants fits the engine as it stands, and hunting them works: a few are made, run and caught."""

from collections import Counter

import pytest

from tests.mutation.hunt import ROOT, copy_tree, hunt, mutated
from tests.mutation.mutants import MUTANTS

NAMED = {mutant.name: mutant for mutant in MUTANTS}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_guard_is_where_the_list_says(mutant):
    """Its text occurs once, and what remains without it is a program."""
    text = (ROOT / "consensus" / f"{mutant.file}.py").read_text()
    changed = mutated(text, mutant)
    assert changed != text
    compile(changed, mutant.file, "exec")


def test_names_tell_mutants_apart_and_no_file_is_left_out():
    assert Counter(mutant.name for mutant in MUTANTS).most_common(1)[0][1] == 1
    files = {path.stem for path in (ROOT / "consensus").glob("*.py")}
    assert files - {mutant.file for mutant in MUTANTS} == {"__init__", "effects"}  # they decide nothing


def test_a_guard_that_is_gone_or_not_unique_is_told():
    mutant = NAMED["notarize twice"]
    for text in ("", 2 * mutant.old):
        with pytest.raises(ValueError, match="notarize twice: its text occurs"):
            mutated(text, mutant)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    made = tmp_path_factory.mktemp("tree")
    copy_tree(made)
    return made


def test_nothing_is_noticed_where_nothing_is_removed(tree):
    outcome = hunt(tree, None, seeds=3, means=("seeds",))
    assert (outcome.caught_by, outcome.seeds) == ("", 3)


@pytest.mark.parametrize("name", ["sent before durable", "own votes not durable", "voted body not durable"])
def test_a_mutant_is_caught_by_seeds_and_undone(tree, name):
    path = tree / "consensus" / f"{NAMED[name].file}.py"
    before = path.read_text()
    outcome = hunt(tree, NAMED[name], seeds=5, means=("seeds",))
    assert outcome.caught_by == "seeds"
    assert 1 <= outcome.seeds <= 5
    assert outcome.shown
    assert path.read_text() == before


def test_a_mutant_that_seeds_do_not_see_is_caught_by_a_test(tree):
    outcome = hunt(tree, NAMED["evidence unsigned"], seeds=0, means=("seeds", "unit tests"))
    assert outcome.caught_by == "unit tests"
    assert "tests/consensus/" in outcome.shown
