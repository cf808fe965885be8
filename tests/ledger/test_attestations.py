import pytest

from ledger import codec, execute, limits, state
from proto.chiptrace.v1.ledger_pb2 import (
    Attest,
    AttestationRecord,
    Capture,
    Event,
    Operation,
    Reason,
    RevokeAttestation,
)
from tests.ledger.chain_fixture import START_MS, Chain
from tests.ledger.rules_world import (
    GRANTS,
    World,
    add,
    box,
    destroying,
    iso,
    lot,
    packing,
    part,
    quantity,
    refused,
    to_fields,
    unpacking,
)

ID = "urn:cert:1"


@pytest.fixture
def world() -> World:
    world = World()
    world.event("ada", add([part(1), part(2)], [quantity(lot("L"), 10)]))
    return world


def claim(**changed) -> Operation:
    fields = {
        "id": ID,
        "subject": part(1),
        "kind": "certificate",
        "scope": "AEC-Q100",
        "document_sha256": b"d" * 32,
    }
    return Operation(attest=Attest(**(fields | changed)))


def revoke(name: str = ID, why: str = "") -> Operation:
    return Operation(revoke_attestation=RevokeAttestation(id=name, why=why))


def record_of(world: World, name: str = ID) -> AttestationRecord:
    found = world.record(state.attestation_key(name), AttestationRecord)
    assert found is not None
    return found


@pytest.mark.parametrize("role", ["operator", "device", "auditor", "regulator"])
def test_any_member_may_claim_about_what_another_has(world, role):
    world.act("bob", claim(valid_from_ms=5, valid_until_ms=9, document_name="c.pdf"), role=role)
    record = record_of(world)
    assert (record.issuer, record.subject, record.valid_until_ms, record.history.n) == ("bob", part(1), 9, 1)
    assert world.story(part(1)) == ["EVENT", "ATTESTED"]
    mine, its = (world.told(key)[-1] for key in (state.attestation_key(ID), state.part_key(part(1))))
    assert mine.digest == its.digest != b""
    assert mine.subject != its.subject


def test_a_claim_about_a_lot_stands_in_its_history(world):
    world.act("bob", claim(subject=lot("L"), kind="recall"))
    assert world.lot_story(lot("L")) == ["EVENT", "ATTESTED"]


def test_a_recall_of_a_lot_is_not_hidden_by_a_part_of_its_name():
    name = "https://ada.example/lots/7"
    world = World(grants={"https://ada.example": "ada"})
    world.event("ada", add([], [quantity(name, 10)]))
    world.event("ada", add([name]))
    world.act("bob", claim(subject=name, kind="recall"))
    assert world.lot_story(name) == world.story(name) == ["EVENT", "ATTESTED"]
    world.act("bob", revoke())
    assert world.lot_story(name) == world.story(name) == ["EVENT", "ATTESTED", "ATTESTED"]


@pytest.mark.parametrize("role", ["relayer", "validator"])
def test_machines_do_not_attest(world, role):
    for operation in (claim(), revoke()):
        with refused(Reason.ROLE_NOT_ALLOWED):
            world.act("bob", operation, role=role)


@pytest.mark.parametrize(
    "changed, reason",
    [
        ({"kind": "gossip"}, Reason.ATTESTATION_INVALID),
        ({"kind": ""}, Reason.ATTESTATION_INVALID),
        ({"valid_from_ms": 9, "valid_until_ms": 9}, Reason.ATTESTATION_INVALID),
        ({"document_sha256": b"d" * 31}, Reason.ATTESTATION_INVALID),
        ({"document_name": "two\nlines"}, Reason.ATTESTATION_INVALID),
        ({"scope": "x" * 513}, Reason.ATTESTATION_INVALID),
        ({"id": ""}, Reason.IDENTIFIER_INVALID),
        ({"id": "no uri"}, Reason.IDENTIFIER_INVALID),
        ({"id": "urn:épc"}, Reason.IDENTIFIER_INVALID),
        ({"subject": "urn:epc:id:sgtin:4012345.012345.1"}, Reason.IDENTIFIER_INVALID),
        ({"subject": part(9)}, Reason.UNKNOWN_PART),
    ],
)
def test_a_claim_is_well_formed_and_about_something_here(world, changed, reason):
    with refused(reason):
        world.act("bob", claim(**changed))


def test_an_id_is_used_once(world):
    world.act("bob", claim())
    for member in ("bob", "cyd"):
        with refused(Reason.ATTESTATION_EXISTS):
            world.act(member, claim(subject=part(2)))


def test_its_issuer_revokes_it_once(world):
    world.act("bob", claim())
    with refused(Reason.NOT_OWNER, "by its issuer bob"):
        world.act("ada", revoke())
    with refused(Reason.UNKNOWN_ATTESTATION):
        world.act("bob", revoke("urn:cert:2"))
    with refused(Reason.ATTESTATION_INVALID):
        world.act("bob", revoke(why="\x00"))
    world.act("bob", revoke(why="superseded"), role="auditor")
    assert record_of(world).revoked_at_ms == world.time_ms
    assert record_of(world).history.n == 2
    assert world.story(part(1)) == ["EVENT", "ATTESTED", "ATTESTED"]
    with refused(Reason.NOTHING_TO_DO):
        world.act("bob", revoke())


def test_what_is_over_is_still_recalled_and_what_is_elsewhere_takes_no_entry(world):
    world.event("ada", destroying([part(2)]))
    world.act("bob", claim(subject=part(2), kind="recall"))
    assert world.story(part(2))[-1] == "ATTESTED"
    world.event("ada", packing(box(1), [part(1)]))
    world.set_status(box(1), "DEPARTED")
    world.act("bob", claim(id="urn:cert:2"))
    assert world.story(part(1)) == ["EVENT", "PACKED"]
    assert record_of(world, "urn:cert:2").history.n == 1
    world.act("bob", revoke("urn:cert:2"))
    assert record_of(world, "urn:cert:2").revoked_at_ms


def test_a_freed_part_is_brought_up_to_date_first(world):
    world.event("ada", packing(box(1), [part(1)]), unpacking(box(1)))
    world.act("bob", claim())
    assert world.part(part(1)).container == ""
    world.event("ada", packing(box(2), [part(1)]))
    assert world.story(part(1)) == ["EVENT", "PACKED", "ATTESTED", "PACKED"]


def test_ending_long_claims_counts_as_much_as_they_are_long(monkeypatch):
    # Short operations made every node read, hold and write 33 kB each.
    monkeypatch.setattr(execute, "KEYS_PER_TRANSACTION_MAX", 80)
    chain = Chain(grants=GRANTS)
    event = Event(seed=bytes(16), fields=to_fields({"eventTime": iso(START_MS)} | add([part(1)])))
    assert chain.submit("ada", Operation(capture=Capture(event=codec.encode(event)))).ok
    to = [f"{number:03}".ljust(limits.IDENTIFIER_BYTES_MAX, "x") for number in range(limits.POLICY_NAMES_MAX)]
    names = [f"urn:cert:{number}" for number in range(5)]
    for name in names:
        assert chain.submit("ada", claim(id=name, destinations=to)).ok
    assert chain.submit("ada", *map(revoke, names)).reason == Reason.TOO_MANY_KEYS
    assert chain.submit("ada", *map(revoke, names[:4])).ok
    # Who only looks at them counts them, too, and the block does whoever looks.
    monkeypatch.setattr(execute, "KEYS_PER_BLOCK_MAX", 80)
    looks = [chain.transaction(member, revoke(name)) for name in names for member in ("bob", "cyd")]
    reasons = [result.reason for result in chain.produce(looks)]
    assert reasons == [Reason.NOT_OWNER] * 8 + [Reason.TOO_MANY_KEYS] * 2
