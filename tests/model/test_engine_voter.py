"""Whatever a validator meets with in a state of the model, it signs what the model allows there, durably."""

import pytest

from consensus import voter
from consensus.effects import Persist
from consensus.outbox import Outbox
from consensus.safety import Safety
from consensus.voter import Voter
from tests.model import test_engine_rules as mutants
from tests.model.engine_voter import Broken, play_all
from tests.model.rules import Rules

RULES = Rules(notarize_after_nullify=False)


def test_the_voter_signs_what_the_model_allows():
    signed = play_all(RULES, each=4)
    assert signed["plays"] == 4 * 1_082  # fewer would mean that states were lost
    assert min(signed[kind] for kind in ("NOTARIZE", "NULLIFY", "FINALIZE")) > 100


def not_durable(patch):
    lawful = Voter._keep
    patch.setattr(
        Voter, "_keep", lambda self, record: None if record.HasField("certificate") else lawful(self, record)
    )


def sent_first(patch):
    lawful = Outbox.take
    patch.setattr(
        Outbox, "take", lambda self: tuple(sorted(lawful(self), key=lambda each: isinstance(each, Persist)))
    )


def forgotten_at_a_restart(patch):
    patch.setattr(Safety, "restore", lambda self, vote: None)


def entered_before_it_is_finalized(patch):
    """Whoever enters first may nullify the view it has left, and then owes it no finalize."""
    lawful = Voter._finalize

    def finalize(self, notarization, now_ms):
        self.nullify(now_ms)
        lawful(self, notarization, now_ms)

    patch.setattr(Voter, "_finalize", finalize)


def not_entered(patch):
    patch.setattr(Voter, "_enter", lambda self, view, now_ms, notarized: None)


def proposed_without_its_proof(patch):
    patch.setattr(voter.Held, "all_nullified", lambda self, after, before: True)


@pytest.mark.parametrize(
    "mutate",
    [
        not_durable,
        sent_first,
        forgotten_at_a_restart,
        entered_before_it_is_finalized,
        not_entered,
        proposed_without_its_proof,
        mutants.double_notarize,
        mutants.finalize_after_nullify,
    ],
)
def test_a_voter_that_does_otherwise_is_seen(monkeypatch, mutate):
    """Not among them: nullify after finalize. A view that was finalized is left in the same step, and none but
    the current one is nullified, so nothing around the rule asks for it (tests/model/test_engine_rules.py does)."""
    mutate(monkeypatch)
    with pytest.raises(Broken):
        play_all(RULES, each=4)
