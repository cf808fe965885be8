"""A slice of the mutations that scripts/epcis_mutations.py runs by the ten thousand."""

import random

import pytest

from client.epcis_findings import Code
from tests.client import epcis_mutations
from tests.client.epcis_material import needs_material

pytestmark = needs_material


@pytest.mark.parametrize("seed", range(4))
def test_our_check_and_the_schema_agree_but_for_differences_with_a_reason(seed):
    outcome = epcis_mutations.run(seed, 250)
    assert outcome.differences == []
    # Chance must reach all three ways to judge, or the run says nothing.
    assert all(number > 20 for number in outcome.judged.values())
    assert len(outcome.judged) == 3


def test_a_difference_is_seen(monkeypatch):
    monkeypatch.setattr(epcis_mutations.epcis_check, "check", lambda document, *, strict: [])
    assert len(epcis_mutations.run(1, 40).differences) > 10
    monkeypatch.undo()
    monkeypatch.setattr(epcis_mutations, "STRICTER", {Code.NOT_JSON: "never"})
    assert any("refused here only" in text for text in epcis_mutations.run(1, 40).differences)


def test_every_base_is_left_as_it_was():
    bases = epcis_mutations.bases()
    before = [epcis_mutations.epcis_json.to_text(base) for base in bases]
    chance = random.Random(1)
    for base in bases:
        epcis_mutations.mutated(base, chance)
    assert [epcis_mutations.epcis_json.to_text(base) for base in bases] == before
