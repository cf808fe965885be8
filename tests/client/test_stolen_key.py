"""A stolen key: what it signed since is flagged by name, what it signed before stays good."""

import pytest

from ledger import state
from proto.chiptrace.v1.ledger_pb2 import (
    Change,
    Delegate,
    KeyRecord,
    Operation,
    PutKey,
    Reason,
    RevokeKey,
    Role,
)
from tests.bridge.two_chains import PREFIX, World, object_event, serial
from tests.client.test_audit import audited, codes
from tests.ledger.chain_fixture import key_of, seed_of

KEY = key_of("ada")


@pytest.fixture
def world():
    return World("a")


def made(world, number, seed=None, member="ada"):
    chain = world["a"]
    operation = object_event("ADD", "commissioning", serial(number), number=number)
    (result,) = chain.produce([chain.transaction(member, operation, seed=seed)])
    return result


def revoke(world, since_ms, key=KEY, *more):
    chain = world["a"]
    change = Change(revoke_key=RevokeKey(key=key, compromised_since_ms=since_ms))
    assert chain.operate("amy", chain.govern(change, *more)).ok


def test_stolen_key(world):
    chain = world["a"]
    assert made(world, 1).ok
    before_ms = chain.info.time_ms
    assert made(world, 2).ok
    stolen_ms = chain.info.time_ms
    assert made(world, 3).ok
    assert codes(audited(world, serial(3), "a")) == set()
    successor = PutKey(key=key_of("new"), member="ada", role=Role.OPERATOR)
    revoke(world, stolen_ms, KEY, Change(put_key=successor))
    # From now on the chain refuses it, and takes its successor.
    assert made(world, 4).reason == Reason.KEY_NOT_VALID
    assert made(world, 4, seed=seed_of("new")).ok
    # At that moment and after it is flagged, with key, member and entry; before it stays good.
    for number, flagged in ((1, False), (2, True), (3, True), (4, False)):
        report = audited(world, serial(number), "a")
        assert codes(report) == ({"KEY_COMPROMISED"} if flagged else set())
        for finding in report.findings:
            assert KEY.hex() in finding.message
            assert "of ada" in finding.message
            assert f"{serial(number)}, entry 0" in finding.message
            assert finding.transactions == (report.subject.steps[0].transaction,)
    # What is learned later moves the moment back, never forward.
    assert chain.record(state.signer_key(KEY), KeyRecord).compromised_since_ms == stolen_ms
    later = Change(revoke_key=RevokeKey(key=KEY, compromised_since_ms=stolen_ms + 1))
    assert chain.operate("amy", chain.govern(later)).reason == Reason.NOTHING_TO_DO
    revoke(world, before_ms)
    assert codes(audited(world, serial(1), "a")) == {"KEY_COMPROMISED"}


def test_a_retired_key_taints_nothing(world):
    assert made(world, 1).ok
    revoke(world, 0)
    assert made(world, 2).reason == Reason.KEY_NOT_VALID
    assert codes(audited(world, serial(1), "a")) == set()


def test_what_was_made_under_a_thiefs_delegation_is_flagged(world):
    chain = world["a"]
    stolen_ms = chain.info.time_ms + 1
    delegation = Operation(delegate=Delegate(prefix=PREFIX, member="abe", serials=3))
    assert chain.operate("ada", delegation).ok
    assert made(world, 1, member="abe").ok
    assert codes(audited(world, serial(1), "a")) == set()
    revoke(world, stolen_ms)
    report = audited(world, serial(1), "a")
    assert codes(report) == {"KEY_COMPROMISED"}
    assert "the delegation of gs1:4012345 to abe, entry 0" in report.findings[0].message
