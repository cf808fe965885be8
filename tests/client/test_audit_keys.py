"""A key is a member's by the genesis or by admin keys; a corrupt quorum's word for it is a finding.

Seen to be verified with the guard removed: a key that the chain invented, one that too few approved, one that was
approved under another chain's id, one whose role was changed.
"""

import pytest

from client.audit_report import Verdict
from ledger import hashes, state
from ledger.history import append_entry
from proto.chiptrace.v1.ledger_pb2 import (
    EVENT,
    GOVERNED,
    LIVE,
    Change,
    History,
    IdentifierRecord,
    KeyRecord,
    MemberRecord,
    PutKey,
    PutMember,
    Role,
)
from tests.bridge import two_chains
from tests.bridge.two_chains import BridgedChain, World, object_event, serial
from tests.client.corrupt import Forged
from tests.client.test_audit import audited, codes
from tests.ledger.chain_fixture import key_of, make_genesis, make_parameters

PART = serial(7101)
SEED = bytes(range(32))
KEY = hashes.public_key(SEED)
PUT = PutKey(key=KEY, member="ada", role=Role.OPERATOR)


@pytest.fixture
def world(monkeypatch):
    """Governance of chain a, which is corrupt, needs three members."""
    world = World("a", "b")
    genesis = make_genesis(
        two_chains.MEMBERS["a"],
        name="a",
        grants={two_chains.PREFIX: "ada"},
        parameters=make_parameters(governance_threshold=3),
    )
    genesis_of = make_genesis
    monkeypatch.setattr(two_chains, "make_genesis", lambda *_, **__: genesis)
    world.chains = {"a": BridgedChain("a", world.clock, corrupt=True)}
    monkeypatch.setattr(two_chains, "make_genesis", genesis_of)
    world["a"].produce()
    return world


def act(world, seed=SEED):
    part = world["a"].submit("ada", object_event("ADD", "commissioning", PART))
    assert part.ok
    data = world["a"].transaction("ada", object_event("OBSERVE", "inspecting", PART), seed=seed)
    (result,) = world["a"].produce([data])
    assert result.ok


def put(lie, record, *operations):
    """Certify a record with a history of these governance operations, each signed by an operator of ada's."""
    history, stored = History(), []
    key = state.signer_key(record.key) if isinstance(record, KeyRecord) else state.member_key(record.id)
    for operation in operations:
        entry = lie.entry("", lie.signed("ada", operation), GOVERNED, key=key)
        stored.append(append_entry(lie.chain.chain_id, history, entry)[1])
    record.history.CopyFrom(history)
    lie.put(key, record)
    lie.histories[key] = stored


def test_a_key_that_members_approved_is_theirs(world):
    assert world.govern("a", Change(put_key=PUT)).ok
    act(world)
    assert audited(world, PART, "a").verdict is Verdict.VERIFIED


def test_admin_keys_that_were_put_later_approve_too(world):
    chain = world["a"]
    fresh = {name: bytes([n]) * 32 for n, name in enumerate(("abe", "amy", "new"), 1)}
    for name, seed in fresh.items():
        change = PutMember(id=name, name=name.title(), admin_keys=[hashes.public_key(seed)])
        approvers = ["ada", "ann", "abe" if name == "abe" else "amy"]
        assert (
            chain.operate("ada", chain.govern(Change(put_member=change), approvers=approvers)).ok
            if name != "new"
            else True
        )
    operation = chain.govern(Change(put_key=PUT), approvers=["ada"])
    for name in ("abe", "amy"):
        approval = operation.govern.approvals.add(key=hashes.public_key(fresh[name]))
        approval.signature = hashes.sign(
            fresh[name], hashes.Purpose.PROPOSAL, chain.chain_id, operation.govern.proposal
        )
    assert chain.operate("ada", operation).ok
    act(world)
    report = audited(world, PART, "a")
    assert (report.verdict, report.problem, report.findings) == (Verdict.VERIFIED, "", [])


def lies(chain):
    """Governance operations for PUT that do not give anyone a key."""
    good = chain.govern(Change(put_key=PUT))
    other = chain.govern(Change(put_key=PutKey(key=KEY, member="abe", role=Role.OPERATOR)))
    few = chain.govern(Change(put_key=PUT), approvers=["ada", "abe"])
    twice = chain.govern(Change(put_key=PUT), approvers=["ada", "ada", "ada"])
    spoilt = chain.govern(Change(put_key=PUT))
    for approval in spoilt.govern.approvals[1:]:
        approval.signature = approval.signature[:-1] + bytes([approval.signature[-1] ^ 1])
    own = chain.govern(Change(put_key=PUT), approvers=["ada"])
    for n in (1, 2):
        seed = bytes([n]) * 32
        signature = hashes.sign(seed, hashes.Purpose.PROPOSAL, chain.chain_id, own.govern.proposal)
        own.govern.approvals.add(key=hashes.public_key(seed), signature=signature)
    return {
        "nothing": [],
        "an event": [object_event("OBSERVE", "inspecting", PART)],
        "another member": [other],
        "too few": [few],
        "one thrice": [twice],
        "spoilt": [spoilt],
        "nobody's keys": [own],
        "good": [good],
    }


@pytest.mark.parametrize("kind", lies(World("a", "b")["a"]))
def test_what_the_chain_alone_says_is_a_finding(world, kind):
    chain = world["a"]
    lie = Forged(chain)
    put(lie, KeyRecord(key=KEY, member="ada", role=Role.OPERATOR), *lies(chain)[kind])
    act(world)
    report = audited(world, PART, "a", stubs={"a": lie})
    assert codes(report) == (set() if kind == "good" else {"KEY_NOT_APPROVED"}), report.problem


def test_a_role_that_the_genesis_did_not_give(world):
    lie = Forged(world["a"])
    chain = world["a"]
    first = lie.entry(
        PART, lie.signed("ada", object_event("ADD", "commissioning", PART), role="auditor"), EVENT
    )
    lie.part(PART, [first], status=LIVE, holder="ada", owner="ada")
    record = chain.record(state.signer_key(key_of("ada", "auditor")), KeyRecord)
    record.role = Role.OPERATOR
    lie.put(state.signer_key(record.key), record)
    assert codes(audited(world, PART, "a", stubs={"a": lie})) == {"KEY_NOT_APPROVED"}


def test_an_admin_key_that_the_chain_invented(world):
    """The chain says that two members have new admin keys, by proposals nobody approved."""
    chain = world["a"]
    lie = Forged(chain)
    own = chain.govern(Change(put_key=PUT), approvers=["ada"])
    for n, name in enumerate(("abe", "amy"), 1):
        seed = bytes([n]) * 32
        key = hashes.public_key(seed)
        change = PutMember(id=name, name=name, admin_keys=[key])
        record = MemberRecord(id=name, name=name, admin_keys=[key])
        put(lie, record, chain.govern(Change(put_member=change), approvers=["ada"]))
        lie.put(state.state_key(state.Kind.IDENTIFIER, "admin", key), IdentifierRecord(member=name))
        signature = hashes.sign(seed, hashes.Purpose.PROPOSAL, chain.chain_id, own.govern.proposal)
        own.govern.approvals.add(key=key, signature=signature)
    put(lie, KeyRecord(key=KEY, member="ada", role=Role.OPERATOR), own)
    act(world)
    assert codes(audited(world, PART, "a", stubs={"a": lie})) == {"KEY_NOT_APPROVED"}
