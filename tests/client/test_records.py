"""A record that names itself stands under its own key, whichever kind it is of."""

import pytest

from bridge.clients import rehoming_key
from client.records import own_key
from ledger import state
from ledger.attestations import foreign_attestation_key
from proto.chiptrace.v1 import ledger_pb2 as pb
from proto.chiptrace.v1.bridge_pb2 import ClientRecord

PART = "https://id.gs1.org/01/09521001100175/21/1"
LOT = "https://id.gs1.org/01/09521001100175/10/1"
CHAIN, OTHER = b"\1" * 32, b"\2" * 32
COPY = pb.AttestationCopy(issuer_chain=OTHER, record=pb.AttestationRecord(id="a1"))
NAMED = [
    (pb.PartRecord(id=PART), state.part_key(PART)),
    (pb.LotRecord(id=LOT), state.lot_key(LOT)),
    (pb.BalanceRecord(lot=LOT, place="ada", unit="KGM"), state.balance_key(LOT, "ada", "KGM")),
    (pb.CorrectionRecord(original=OTHER), state.correction_key(OTHER)),
    (pb.TransformationRecord(id="urn:run:1"), state.transformation_key("urn:run:1")),
    (pb.NoteRecord(about=PART, member="ada"), state.note_key(PART, "ada")),
    (pb.GenerationRecord(container=PART, generation=2), state.generation_key(PART, 2)),
    (pb.KeyRecord(key=OTHER), state.signer_key(OTHER)),
    (pb.MemberRecord(id="ada"), state.member_key("ada")),
    (pb.GrantRecord(prefix="0952"), state.grant_key("0952")),
    (pb.DelegationRecord(member="bob", prefix="0952"), state.delegation_key("bob", "0952")),
    (pb.PolicyRecord(policy=pb.PutPolicy(id="p")), state.policy_key("p")),
    (pb.AttestationRecord(id="a1"), state.attestation_key("a1")),
    (pb.ForeignAttestationRecord(chain=CHAIN, copy=COPY), foreign_attestation_key(CHAIN, OTHER, "a1")),
    (ClientRecord(id="client-1"), state.client_key("client-1")),
    (pb.RehomingRecord(chain_id=CHAIN), rehoming_key(CHAIN)),
]


@pytest.mark.parametrize(("record", "key"), NAMED, ids=[type(record).__name__ for record, _ in NAMED])
def test_a_record_names_its_key(record, key):
    assert own_key(record) == key


def test_each_kind_names_another():
    assert len({key for _, key in NAMED}) == len(NAMED)


def test_a_record_that_does_not_say():
    assert own_key(pb.MovedRecord(member="ada")) is None
