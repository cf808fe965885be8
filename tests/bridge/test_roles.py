"""What a key of each role may sign: every cell of the table in docs/membership.md, tried on a chain."""

from pathlib import Path

import pytest

from bridge import machine
from client.audit_kinds import ROLES as AUDITED
from proto.chiptrace.v1.ledger_pb2 import Attest, Operation, Reason, Role
from tests.bridge.two_chains import PREFIX, BridgedChain, Clock, object_event, serial
from tests.ledger.chain_fixture import ROLES, seed_of

PAGE = Path(__file__).resolve().parents[2] / "docs" / "membership.md"


def read_table() -> dict[tuple[str, str], bool]:
    lines = PAGE.read_text().split("| operation |")[1].split("\n\n")[0].splitlines()
    roles = [cell.strip() for cell in lines[0].strip("| ").split("|")]
    cells = {}
    for line in lines[2:]:
        name, *row = (cell.strip() for cell in line.strip("| ").split("|"))
        assert len(row) == len(roles)
        for role, cell in zip(roles, row, strict=True):
            assert cell in ("yes", "no")
            cells[name.strip("`"), role] = cell == "yes"
    return cells


TABLE = read_table()


def operation(name: str) -> Operation:
    """One that gets as far as the role is asked, and no further but for an event and a claim."""
    if name == "capture":
        return object_event("ADD", "commissioning", serial(1))
    if name == "attest":
        return Operation(attest=Attest(id="https://a.example/1"))
    made = Operation()
    chosen = getattr(made, name)
    if isinstance(chosen, bytes):
        setattr(made, name, b"")
    else:
        chosen.SetInParent()
    assert made.WhichOneof("kind") == name
    return made


@pytest.fixture(scope="module")
def chain() -> BridgedChain:
    return BridgedChain("a", Clock(), grants={PREFIX: "ada"})


def test_the_table_is_whole():
    roles = {Role.Name(role).lower() for role in ROLES}
    assert set(machine.operations()) == {field.name for field in Operation.DESCRIPTOR.fields}
    assert {(name, role) for name in machine.operations() for role in roles} == set(TABLE)


@pytest.mark.parametrize(("name", "role"), TABLE)
def test_a_key_of_each_role_signs_what_the_table_says(chain, name, role):
    result = chain.operate("ada", operation(name), role=role)
    assert (result.reason != Reason.ROLE_NOT_ALLOWED) == TABLE[name, role], Reason.Name(result.reason)


@pytest.mark.parametrize("name", machine.operations())
def test_an_admin_key_signs_no_transaction(chain, name):
    (result,) = chain.produce([chain.transaction("ada", operation(name), seed=seed_of("ada", "admin"))])
    assert (result.ok, result.reason) == (False, Reason.UNKNOWN_KEY)


def test_the_audit_goes_by_the_same_table():
    for name, roles in AUDITED.items():
        assert {Role.Name(role).lower() for role in roles} - {"role_unspecified"} == {
            role for (made_by, role), allowed in TABLE.items() if made_by == name and allowed
        }
