"""Honest chains are found honest: random lives of parts, with all the rules of the ledger, audit without a finding."""

from random import Random

import pytest

from client.audit import Audit
from client.audit_report import Verdict
from ledger import state
from proto.chiptrace.v1.ledger_pb2 import GovernanceProposal, PartRecord, PartStatus
from tests.bridge import two_chains
from tests.bridge.test_random_journeys import Journey
from tests.client.direct import verified
from tests.ledger import rules_world, test_custody_model

# What may be said of honest chains, because it is so.
EXPECTED = {"OFFER_EXPIRED", "OVER_RECEIPT", "PARTY_NOT_A_MEMBER", "ROUND_TRIP", "UNKNOWN_PART"}

# What the walks of the custody model do on purpose.
MAY_BE_SAID = {
    "REPEATED_COMMISSIONING",
    "OVER_RECEIPT",
    "ROUND_TRIP",
    "ERROR_DECLARED",
    "CORRECTION_PENDING",
    "CONTESTED",
}


def audited(chains, name, part):
    views = {chain.chain_id: verified(chain) for chain in chains}
    asked = next(chain.chain_id for chain in chains if chain.name == name)
    return Audit(views).run(part, asked, lambda: 0)


def check(report, expected=frozenset()):
    found = [finding for finding in report.findings if finding.code not in expected]
    assert (report.problem, found) == ("", [])
    assert (report.verdict is Verdict.VERIFIED) == (not report.findings)


@pytest.mark.parametrize("seed", range(4))
def test_journeys_over_two_chains(seed):
    journey = Journey(seed)
    journey.commission()
    for _ in range(80):
        journey.step()
    journey.world.settle()
    for _ in range(2):
        for part in journey.parts:
            for name in journey.names:
                chains = list(journey.world.chains.values())
                report = audited(chains, name, part)
                check(report, EXPECTED)
        journey.come_to_rest()
        journey.world.settle()


class Recorded(rules_world.World):
    """The world of the custody model, which also keeps what succeeded, to be done once more on a real chain."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.done = []
        self.keys = []  # what each of these was signed with

    def act(self, member, *operations, role="operator", wait_ms=100):
        super().act(member, *operations, role=role, wait_ms=wait_ms)
        self.done.append((member, operations))
        self.keys.append(role)


def replayed(monkeypatch, seed, steps, batch):
    """A certified chain on which a random walk of the custody model was recorded, some transactions per block."""
    monkeypatch.setattr(test_custody_model, "World", Recorded)
    monkeypatch.setitem(two_chains.MEMBERS, "m", ("ada", "bob", "cyd", "dee"))
    walk = test_custody_model.Walk(seed)
    for _ in range(steps):
        walk.step()
    later = two_chains.Clock(walk.world.time_ms)
    chain = two_chains.BridgedChain("m", later, grants=rules_world.GRANTS)
    done, random = list(zip(walk.world.done, walk.world.keys, strict=True)), Random(seed)
    while done:
        count = random.randint(1, batch)
        block = [
            chain.transaction(member, *(approved(chain, one) for one in operations), role=key)
            for (member, operations), key in done[:count]
        ]
        done = done[count:]
        assert [result for result in chain.produce(block) if not result.ok] == []
    chain.settle()
    return walk, chain


def approved(chain, operation):
    """The operation, approved for this chain if it governs: a proposal names the chain that it is for."""
    if operation.WhichOneof("kind") != "govern":
        return operation
    changes = GovernanceProposal.FromString(operation.govern.proposal).changes
    return chain.govern(*changes, approvers=("ada", "bob", "cyd", "dee"))


@pytest.mark.parametrize(("seed", "batch"), [(1, 1), (2, 1), (3, 1), (4, 3), (5, 3), (6, 8)])
def test_lives_in_containers(monkeypatch, seed, batch):
    walk, chain = replayed(monkeypatch, seed, 120, batch)
    for name, thing in walk.naive.things.items():
        report = audited([chain], "m", name)
        check(report, MAY_BE_SAID)
        assert (report.subject.status, report.subject.holder) == (thing.status, thing.holder)
        assert report.subject.owner == thing.owner
        heights = [step.height for step in report.subject.steps]
        assert heights == sorted(heights)
        assert len(heights) == len(thing.log)
    check(audited([chain], "m", test_custody_model.LOT), MAY_BE_SAID)


def test_the_lives_hold_every_fate(monkeypatch):
    found = set()
    for seed in range(1, 7):
        walk, chain = replayed(monkeypatch, seed, 120, 1)
        for name in walk.naive.things:
            record = chain.record(state.part_key(name), PartRecord)
            found.add(PartStatus.Name(record.status))
            found |= {"INSIDE"} if record.container else set()
    assert found >= {"LIVE", "OFFERED", "CONSUMED", "DESTROYED", "INSIDE"}
