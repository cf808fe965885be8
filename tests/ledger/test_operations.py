"""The rules inside real blocks: outcomes, proofs of what was refused, and the whole way of a part."""

import pytest

from ledger import codec, history, state
from ledger.operations import CHANGES, OPERATIONS
from proto.chiptrace.v1.ledger_pb2 import (
    Capture,
    Change,
    Event,
    Operation,
    Parameters,
    PartRecord,
    Reason,
    SetParameters,
)
from tests.ledger.chain_fixture import START_MS, Chain, make_parameters
from tests.ledger.rules_world import (
    GRANTS,
    add,
    box,
    iso,
    packing,
    part,
    receiving,
    seen,
    shipping,
    to_fields,
    unpacking,
)


def capture(event: dict, number: int) -> Operation:
    fields = {"eventTime": iso(START_MS), "eventTimeZoneOffset": "+00:00"} | event
    made = Event(seed=number.to_bytes(16, "big"), fields=to_fields(fields))
    return Operation(capture=Capture(event=codec.encode(made)))


@pytest.fixture
def chain() -> Chain:
    return Chain(grants=GRANTS)


def test_the_tables_name_fields_of_the_wire():
    assert set(OPERATIONS) <= set(Operation.DESCRIPTOR.fields_by_name)
    assert set(CHANGES) <= set(Change.DESCRIPTOR.fields_by_name)


def test_a_part_goes_its_way_through_blocks(chain):
    steps = [
        ("ada", add([part(1)])),
        ("ada", packing(box(1), [part(1)])),
        ("ada", shipping([box(1)], "bob", owner="bob")),
        ("bob", receiving([box(1)])),
        ("bob", unpacking(box(1))),
        ("bob", seen([part(1)])),
    ]
    for number, (member, event) in enumerate(steps):
        assert chain.submit(member, capture(event, number)).ok
    record = chain.record(state.part_key(part(1)), PartRecord)
    assert record is not None
    assert (record.holder, record.owner, record.container) == ("bob", "bob", "")
    entries = [codec.encode(entry) for entry in chain.entries(state.part_key(part(1)))]
    history.verify_history(chain.chain_id, record.history, entries)
    assert len(entries) == 3


def test_a_refused_transaction_changes_no_state_and_keeps_its_reason(chain):
    assert chain.submit("ada", capture(add([part(1)]), 1)).ok
    root = chain.state_root
    refused = chain.submit("ada", capture(seen([part(1)]), 2), capture(seen([part(9)]), 3))
    assert (refused.ok, refused.reason, refused.operation) == (False, Reason.UNKNOWN_PART, 1)
    assert chain.submit("bob", capture(seen([part(1)]), 4)).reason == Reason.NOT_IN_CUSTODY
    assert chain.state_root == root


def test_a_flagged_one_is_ok_with_its_reason(chain):
    assert chain.submit("ada", capture(add([part(1)]), 1)).ok
    flagged = chain.submit("ada", capture(add([part(1)]), 2))
    assert (flagged.ok, flagged.reason) == (True, Reason.REPEATED_COMMISSIONING)


def test_governance_within_blocks(chain):
    change = Change(set_parameters=SetParameters(parameters=make_parameters(adoption=True)))
    assert chain.submit("ada", chain.govern(change)).ok
    parameters = chain.record(state.PARAMETERS_KEY, Parameters)
    assert parameters is not None
    assert parameters.adoption
    assert chain.submit("ada", capture(seen([part(1)]), 1)).ok
