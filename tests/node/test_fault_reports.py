"""A fault comes before the chain once, whoever of the validators is there to bring it."""

import asyncio
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.effects import ReportFault
from ledger import hashes
from ledger.errors import Invalid
from node import fault_reports, signer
from node.fault_reports import FaultReports, turns
from proto.chiptrace.v1.consensus_pb2 import NOTARIZE, Vote
from proto.chiptrace.v1.ledger_pb2 import Reason, Transaction, TransactionBody
from proto.chiptrace.v1.node_pb2 import Outcome


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(fault_reports, "TURN_SECONDS", 0.02)


@pytest.fixture
def signers(tmp_path):
    made = []
    for index in range(4):
        signer.create(tmp_path / str(index))
        made.append(signer.Signer(tmp_path / str(index)))
    yield made
    for item in made:
        item.close()


class Ledger:
    """A chain that all nodes see; it takes each operation once, and forgets what it was told to forget."""

    def __init__(self, signers):
        validators = [SimpleNamespace(key=item.key) for item in signers]
        self.info = SimpleNamespace(
            chain_id=bytes(32), height=9, validators=SimpleNamespace(validators=validators)
        )
        self.submitted, self.recorded, self.refusing = [], False, 0

    async def prove(self, keys, height):
        if not self.recorded and not self.submitted:
            raise Invalid("nothing can be proven yet", Reason.HEIGHT_NOT_SERVED)
        return SimpleNamespace(keys=[SimpleNamespace(value=b"x" if self.recorded else None)])

    async def submit(self, data):
        if self.refusing:
            self.refusing -= 1
            raise Invalid("not in step", Reason.NOT_SYNCED)
        await asyncio.sleep(fault_reports.TURN_SECONDS / 4)  # until it is final
        body = TransactionBody.FromString(Transaction.FromString(data).body)
        self.submitted.append(body.operations[0].evidence)
        self.recorded = True
        return Outcome(admitted=True)


def fault_of(accused):
    votes = [Vote(kind=NOTARIZE, height=5, view=2, block_hash=bytes([n]) * 32) for n in (1, 2)]
    return ReportFault(5, accused, *votes)


def bring(ledger, signers, present):
    async def scenario():
        fault = fault_of(signers[0].key)
        async with asyncio.timeout(20):
            await asyncio.gather(
                *(FaultReports(ledger, signers[i]).bring(fault, ledger.submit) for i in present)
            )

    asyncio.run(scenario())


@pytest.mark.parametrize("present", [(1, 2, 3), (1,), (2, 3), (3,)])
def test_whoever_is_there_one_submits_it(quick, signers, present):
    ledger = Ledger(signers)
    bring(ledger, signers, present)
    assert len(ledger.submitted) == 1
    assert (ledger.submitted[0].height, len(ledger.submitted[0].first)) == (
        5,
        len(ledger.submitted[0].second),
    )


def test_one_whose_node_does_not_take_it_leaves_it_to_the_next(quick, signers):
    ledger = Ledger(signers)
    ledger.refusing = 1
    bring(ledger, signers, (1, 2, 3))
    assert len(ledger.submitted) == 1


def test_one_alone_tries_again_and_not_for_ever(quick, signers):
    ledger = Ledger(signers)
    ledger.refusing = 2
    bring(ledger, signers, (1,))
    assert len(ledger.submitted) == 1
    ledger = Ledger(signers)
    ledger.refusing = 99
    bring(ledger, signers, (1,))
    assert (ledger.submitted, ledger.refusing) == ([], 99 - fault_reports.ROUNDS_MAX)


def test_a_key_that_must_not_vote_accuses_nobody(quick, signers, tmp_path):
    (tmp_path / "1" / "signing-record").unlink()
    signers[1].close()
    signers[1] = signer.Signer(tmp_path / "1")
    ledger = Ledger(signers)
    bring(ledger, signers, (1,))
    assert ledger.submitted == []


def test_so_many_faults_wait_for_their_turn_and_no_more(quick, signers, monkeypatch):
    monkeypatch.setattr(fault_reports, "WAITING_MAX", 3)
    ledger = Ledger(signers)
    ledger.refusing = 10**6

    async def scenario():
        reports = FaultReports(ledger, signers[1])
        await asyncio.gather(
            *(reports.bring(fault_of(bytes([n]) * 32), ledger.submit) for n in range(10)),
        )

    asyncio.run(scenario())
    assert 10**6 - ledger.refusing == 3 * fault_reports.ROUNDS_MAX


@settings(max_examples=50)
@given(st.sets(st.binary(min_size=32, max_size=32), max_size=8), st.binary(max_size=40))
def test_all_validators_draw_the_same_order(keys, record_key):
    order = turns(record_key, keys)
    assert set(order) == keys
    assert len(order) == len(keys)
    assert turns(record_key, set(order)) == order


def test_the_first_turn_goes_round():
    keys = {hashes.sha256(bytes([n])) for n in range(4)}
    firsts = [turns(bytes([n]), keys)[0] for n in range(200)]
    assert min(firsts.count(key) for key in keys) > 20
