import pytest

from ledger import history, state
from ledger.context import VALIDATOR_SETS_KEPT, Context
from ledger.errors import Refused
from ledger.state import MappingReader, Overlay
from proto.chiptrace.v1.ledger_pb2 import (
    Entry,
    EntryKind,
    History,
    KeyRecord,
    Parameters,
    Reason,
    Role,
    Validator,
    ValidatorsRecord,
)

CHAIN = bytes(range(32))
SUBJECT = state.part_key("p")


def make(height=3, overlay=None):
    return Context(
        overlay=overlay or Overlay(MappingReader({})),
        chain_id=CHAIN,
        height=height,
        time_ms=1_000,
        transaction_id=b"t" * 32,
        operation_index=2,
        operation=b"o" * 32,
        signer=KeyRecord(member="ada", role=Role.DEVICE),
        member="ada",
        parameters=Parameters(),
        changes={},
    )


def test_an_entry_says_all_the_context_knows():
    context, head = make(), History()
    assert context.enter(SUBJECT, head, EntryKind.EVENT, b"e" * 32) == 1
    n = context.enter(
        SUBJECT,
        head,
        EntryKind.PACKED,
        inside=("box", 4, 9),
        finding=Reason.LATE_RECORD,
    )
    assert n == 2 == head.n
    assert [(subject, n) for subject, n, _ in context.entries] == [(SUBJECT, 0), (SUBJECT, 1)]
    first, second = (Entry.FromString(data) for _, _, data in context.entries)
    assert first == Entry(
        subject=SUBJECT, height=3, transaction=b"t" * 32, operation=2, digest=b"e" * 32, kind=EntryKind.EVENT
    )
    assert second.digest == b"o" * 32
    assert (second.container, second.generation, second.container_n, second.finding) == (
        "box",
        4,
        9,
        Reason.LATE_RECORD,
    )
    history.verify_history(CHAIN, head, [data for _, _, data in context.entries])


def test_roles_are_narrow():
    context = make()
    context.require_role(Role.OPERATOR, Role.DEVICE)
    with pytest.raises(Refused) as refusal:
        context.require_role(Role.OPERATOR, Role.RELAYER)
    assert refusal.value.reason == Reason.ROLE_NOT_ALLOWED
    assert "OPERATOR, RELAYER" in str(refusal.value)


def test_the_first_finding_stands():
    context = make()
    assert context.reason == Reason.REASON_UNSPECIFIED
    context.finding(Reason.REDUNDANT)
    context.finding(Reason.REPEATED_COMMISSIONING)
    assert context.reason == Reason.REDUNDANT


def schedule(overlay, height, name):
    make(height, overlay).schedule_validators([Validator(key=name, member="ada")])
    return state.load(overlay, state.VALIDATORS_KEY, ValidatorsRecord)


def test_a_set_chosen_at_genesis_governs_from_height_1():
    record = schedule(Overlay(MappingReader({})), 0, b"g")
    assert record.current == record.next
    assert record.current.in_force_from == 1
    assert list(record.starts) == [1]


def test_a_set_chosen_in_h_governs_from_h_plus_2_and_the_last_one_wins():
    overlay = Overlay(MappingReader({}))
    schedule(overlay, 0, b"g")
    schedule(overlay, 5, b"a")
    record = schedule(overlay, 5, b"b")
    assert record.current.validators[0].key == b"g"
    assert (record.next.validators[0].key, record.next.in_force_from) == (b"b", 7)
    assert list(record.starts) == [1, 7]
    assert state.validators_at(overlay, 6).validators[0].key == b"g"
    assert state.validators_at(overlay, 7).validators[0].key == b"b"


def test_the_list_of_past_sets_is_bounded():
    overlay = Overlay(MappingReader({}))
    for height in range(VALIDATOR_SETS_KEPT + 3):
        record = schedule(overlay, height, b"v")
    assert len(record.starts) == VALIDATOR_SETS_KEPT
    assert record.starts[-1] == VALIDATOR_SETS_KEPT + 4
    assert state.validators_at(overlay, 1) is None
