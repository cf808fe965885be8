"""The whole table: nothing on the wire without a handler, no handler without a name on the wire."""

import pytest

from bridge.machine import changes, operations
from proto.chiptrace.v1.ledger_pb2 import Change, Operation, Reason
from tests.bridge.two_chains import World


@pytest.mark.parametrize(("message", "table"), [(Operation, operations), (Change, changes)])
def test_every_kind_has_its_handler_and_no_other(message, table):
    assert set(table()) == {field.name for field in message.DESCRIPTOR.oneofs_by_name["kind"].fields}


def test_tables_are_made_anew_each_time():
    mine = operations()
    mine.clear()
    assert operations()


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\x01a\x00", b"\xa2\x06\x00"])
def test_the_bridges_operations_have_one_encoding(data):
    world = World()
    before = world["a"].state_root
    for name in operations():
        if Operation.DESCRIPTOR.fields_by_name[name].message_type is None:
            result = world["a"].operate("ada", Operation(**{name: data}), role="operator")
            assert (result.ok, result.reason) == (False, Reason.MALFORMED), name
    assert world["a"].state_root == before
