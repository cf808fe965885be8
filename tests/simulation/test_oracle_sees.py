"""The oracle is no ornament: with one dishonest validator too many, or one rule less, it sees what follows.

Mutants of the four safety rules are found by the exhaustive exploration, every one of them, over the code that
signs (tests/model/test_engine_rules.py). Seeds alone miss some, as the engine around it asks for few votes that
the rules forbid. What only whole runs have is broken here.
"""

import ast
from dataclasses import replace
from pathlib import Path

from consensus import bodies
from consensus.bodies import Bodies
from consensus.catchup import Catchup
from consensus.effects import Persist
from consensus.outbox import Outbox
from consensus.repair import Resender
from consensus.safety import Safety
from consensus.voter import Voter
from proto.chiptrace.v1.consensus_pb2 import VoteKind
from tests.model import test_engine_rules as mutants
from tests.simulation import application, keys, oracle
from tests.simulation.network import Conditions
from tests.simulation.run import Run, calm
from tests.simulation.scenario import draw
from tests.simulation.world import World

SEEDS = 60


def four(scenario, names, **change):
    """Four validators of which the first ones are these, on a quiet network."""
    dishonest = tuple(enumerate(names))
    return replace(
        calm(scenario),
        size=4,
        sets=((0, 1, 2, 3),),
        dishonest=dishonest,
        skews=(0, 0, 0, 0),
        work="busy",
        **change,
    )


def rough(scenario, names):
    """The same with loss, crashes and short timeouts."""
    conditions = Conditions(delay_min_ms=5, delay_mean_ms=25, loss=0.2)
    return four(scenario, names, conditions=conditions, crashes=6, partitions="wandering", faults_ms=3_000)


def violations(names, *, bend=four, strict=True, prepare=lambda run: None):
    for seed in range(SEEDS):
        run = Run(seed, bend=lambda scenario: bend(scenario, names))
        run.oracle.strict = strict
        prepare(run)
        yield run.go().violation


def test_one_dishonest_validator_too_many_forks():
    """The two honest ones hear nothing of each other for a while."""

    def divide(run):
        run.network.cut = {(2, 3), (3, 2)}

    assert any("fork at" in each for each in violations(["supporter"] * 2, strict=False, prepare=divide))


def test_a_lost_journal_is_seen():
    def lose(run):
        for replica in run.honest.values():
            replica.loses_journal = True

    assert any(
        "casts" in each or "both" in each for each in violations(["supporter"], bend=rough, prepare=lose)
    )


def test_seeds_find_a_finalize_after_nullify(monkeypatch):
    mutants.finalize_after_nullify(monkeypatch)
    assert any("both nullifies and finalizes" in each for each in violations(["supporter"], bend=rough))


def test_sending_before_it_is_durable_is_seen(monkeypatch):
    lawful = Outbox.take

    def take(self):
        effects = lawful(self)
        return tuple(sorted(effects, key=lambda effect: isinstance(effect, Persist)))

    monkeypatch.setattr(Outbox, "take", take)
    assert "before it is durable" in next(violations([]))


def test_a_vote_without_its_durable_body_is_seen(monkeypatch):
    monkeypatch.setattr(Bodies, "durable", lambda self, block_hash: True)
    assert "whose body is not durable" in next(violations([]))


def test_a_notarization_that_is_not_kept_is_seen(monkeypatch):
    lawful = Voter._keep

    def keep(self, record):
        if record.WhichOneof("kind") != "certificate":
            lawful(self, record)

    monkeypatch.setattr(Voter, "_keep", keep)
    assert any("finalizes without a durable notarization" in each for each in violations([]))


def test_votes_for_nothing_are_seen(monkeypatch):
    """A finalize before its notarization is there."""
    lawful = Voter._cast

    def cast(self, vote, now_ms, proposal=None):
        lawful(self, vote, now_ms, proposal)
        if vote.kind == VoteKind.NOTARIZE:
            lawful(self, self._safety._signed(VoteKind.FINALIZE, vote.view, vote.block_hash), now_ms)

    monkeypatch.setattr(Voter, "_cast", cast)
    assert "finalizes without a durable notarization" in next(violations([]))


def test_a_second_notarize_is_seen(monkeypatch):
    lawful = Voter._cast

    def cast(self, vote, now_ms, proposal=None):
        lawful(self, vote, now_ms, proposal)
        if vote.kind == VoteKind.NOTARIZE:
            lawful(self, self._safety._signed(VoteKind.NOTARIZE, vote.view, bytes(32)), now_ms)

    monkeypatch.setattr(Voter, "_cast", cast)
    assert "casts" in next(violations([]))


def test_standing_still_without_resending_is_seen(monkeypatch):
    monkeypatch.setattr(Resender, "next", lambda self, messages: [])
    assert any("stuck" in each for each in violations([], bend=rough))


def test_forgetting_own_votes_at_a_restart_is_seen(monkeypatch):
    monkeypatch.setattr(Safety, "restore", lambda self, vote: None)
    assert any("casts" in each or "both" in each for each in violations(["equivocator"], bend=rough))


def test_a_body_under_a_true_header_that_is_not_the_whole_block_is_seen(monkeypatch):
    monkeypatch.setattr(
        bodies, "check_body", lambda chain_id, data, _: bodies.identify(chain_id, data).header
    )
    assert any("executes other bytes" in each for each in violations(["swapper"], bend=rough))


def test_never_fetching_is_seen(monkeypatch):
    monkeypatch.setattr(Catchup, "requests", lambda self, need, now_ms: [])
    assert any("stuck" in each for each in violations([], bend=rough))


def test_a_timer_forgotten_at_a_restart_is_seen(monkeypatch):
    monkeypatch.setattr(Voter, "resume", lambda self, now_ms: None)
    assert any("stuck" in each for each in violations(["silent"], bend=rough))


def test_own_votes_not_counted_after_a_restart_are_seen(monkeypatch):
    """Three that are left, all of whom restart after voting, one vote short for ever."""

    def restore(self, vote):
        self._safety.restore(vote)
        self.own_votes.append(vote)

    monkeypatch.setattr(Voter, "_restore_vote", restore)
    assert any("stuck" in each for each in violations(["silent"], bend=rough))


def test_the_oracle_shares_nothing_with_the_engine():
    for module in (oracle, application, keys):
        tree = ast.parse(Path(module.__file__).read_text())
        imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not any(str(name).split(".")[0] == "consensus" for name in imported), module


def test_the_scenarios_differ():
    drawn = {draw(World(seed).random) for seed in range(100)}
    assert len(drawn) == 100
