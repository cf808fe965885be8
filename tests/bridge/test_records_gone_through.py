"""What a thousand operations on the same keys cost: records that a transaction, or a block, goes through are bounded."""

import pytest

from bridge.sending import BYTES_PER_RECORD
from ledger import codec, decimals, execute
from ledger.corrections import LOOKED_THROUGH_MAX
from ledger.errors import Refused
from ledger.event_values import OURS
from ledger.identifiers import canonical, interval_text
from ledger.limits import (
    IDENTIFIERS_PER_EVENT_MAX,
    KEYS_PER_TRANSACTION_MAX,
    LICENCES_NAMED_MAX,
    PACKET_VALUE_BYTES_MAX,
    RECORDS_PER_BLOCK_MAX,
    RECORDS_PER_TRANSACTION_MAX,
)
from ledger.overlay import MappingReader, Overlay
from proto.chiptrace.v1.bridge_pb2 import SendAttestation
from proto.chiptrace.v1.ledger_pb2 import Attest, Change, Operation, PutPolicy, Reason, Trigger
from tests.bridge.test_containers import refused
from tests.bridge.test_serials import captured
from tests.bridge.two_chains import HOUR_MS, World
from tests.ledger.rules_world import add, making, quantity, seen, serials_of, shipping

RUN = "00000000-0000-0000-0000-000000000001"
LOT = "https://id.gs1.org/01/04012345111118/10/W1"
WRONG = {"errorDeclaration": {"declarationTime": "2023-11-14T22:13:20.000Z"}}


def claim(number: int, subject: str) -> Operation:
    name = f"urn:uuid:00000000-0000-0000-0000-{number:012}"
    return Operation(attest=Attest(id=name, subject=subject, kind="certificate"))


@pytest.fixture
def world(monkeypatch):
    """A lot of serials in three pieces, where a transaction may go through 20 records and a block through 50."""
    world = World()
    world.whole = interval_text(LOT, 0, 100)
    for event in (
        serials_of(LOT, "001", "100", 100),
        seen([], [{"epcClass": world.whole}]),
        seen([], [{"epcClass": interval_text(LOT, 10, 20)}]),
    ):
        assert world["a"].operate("ada", captured(world, event)).ok
    monkeypatch.setattr(execute, "RECORDS_PER_TRANSACTION_MAX", 20)
    monkeypatch.setattr(execute, "RECORDS_PER_BLOCK_MAX", 50)
    return world


def test_entries_in_the_same_history(world):
    part = world.commission("a", "ada")
    events = [captured(world, seen([part], comment=str(number))) for number in range(21)]
    result = world["a"].operate("ada", *events)
    refused(result, Reason.TOO_MANY_RECORDS)
    assert result.operation == 20
    assert world.part("a", part).history.n == 1
    assert world["a"].operate("ada", *events[:20]).ok


def test_claims_about_a_carved_interval(world):
    """Its three pieces are looked at twice and entered once, and the claim has a history of its own."""
    refused(
        world["a"].operate("ada", *[claim(number, world.whole) for number in range(3)]),
        Reason.TOO_MANY_RECORDS,
    )
    assert world["a"].operate("ada", *[claim(number, world.whole) for number in range(2)]).ok


def test_declarations_about_pieces_are_counted_also_where_they_are_refused(world):
    """Who has nothing to do with them is refused after all of them were looked at."""
    said = seen([], [{"epcClass": world.whole}, {"epcClass": interval_text(LOT, 20, 100)}]) | WRONG
    orders = [world["a"].transaction("abe", captured(world, said, number)) for number in range(14)]
    reasons = [result.reason for result in world["a"].produce(orders)]
    # Four are looked at each time.
    assert reasons == [*[Reason.CORRECTION_NOT_APPLICABLE] * 12, *[Reason.TOO_MANY_RECORDS] * 2]


def test_documents_that_may_be_licences(world):
    """Each is looked at for each policy, and a chain that an issuer is of is asked, too."""
    policies = [
        Change(
            put_policy=PutPolicy(
                id=f"p{number}",
                prefix="gs1:4012345",
                trigger=Trigger.ANY_SHIPPING,
                attestation="export_licence",
                issuers=["ada", f"{'11' * 32}/eve"],
            )
        )
        for number in range(2)
    ]
    part = world.commission("a", "ada")
    assert world.govern("a", *policies).ok
    named = [{"bizTransaction": f"urn:uuid:00000000-0000-0000-0000-{number:012}"} for number in range(6)]
    event = shipping([part], "abe", bizTransactionList=named)
    refused(world["a"].operate("ada", captured(world, event)), Reason.TOO_MANY_RECORDS)
    event = shipping([part], "abe", bizTransactionList=named[:1])
    refused(world["a"].operate("ada", captured(world, event)), Reason.LICENCE_MISSING)


def test_the_units_of_a_run(world):
    """Every event of it adds up all of them."""
    amounts, run = canonical("urn:epc:class:lgtin:4012345.054321.RESIN").text, "urn:uuid:" + RUN
    assert world["a"].operate("ada", captured(world, add([], [quantity(amounts, 10)]))).ok
    units = ("KGM", "GRM", "MTR", "LTR", "MTK", "MTQ", "TNE", "CMT")
    given = {"ours:yield": [{"quantity": decimals.parse("5"), "uom": unit} for unit in units]}
    begun = making(used=[quantity(amounts, 1)], run=run, ilmd=given, **{"@context": [{"ours": OURS}]})
    assert world["a"].operate("ada", captured(world, begun)).ok
    # Eight units, the input and the run: ten each.
    more = making(used=[quantity(amounts, 1)], run=run)
    events = [captured(world, more, number) for number in range(1, 4)]
    refused(world["a"].operate("ada", *events), Reason.TOO_MANY_RECORDS)
    assert world["a"].operate("ada", *events[:2]).ok


def test_the_bytes_of_packets_that_are_sent(world):
    """Each is kept whole by every node, however short the operation is that sends it."""
    part = world.commission("a", "ada")
    long = claim(1, part)
    long.attest.destinations.extend(str(number) * 256 for number in range(9))
    assert world["a"].operate("ada", long).ok
    sending = SendAttestation(id=long.attest.id, client="b-1", timeout_ms=world["a"].now_ms + HOUR_MS)
    operation = Operation(send_attestation=codec.encode(sending))
    refused(world["a"].operate("ada", operation, operation), Reason.TOO_MANY_RECORDS)
    assert world["a"].operate("ada", operation).ok


def test_a_block_goes_through_so_many(world):
    part = world.commission("a", "ada")
    events = [captured(world, seen([part], comment=str(number))) for number in range(80)]
    orders = [world["a"].transaction("ada", *events[first : first + 20]) for first in range(0, 80, 20)]
    results = world["a"].produce(orders)
    # The third was refused in its middle, and what it did until then counts.
    assert [result.reason for result in results] == [0, 0, *[Reason.TOO_MANY_RECORDS] * 2]
    assert [result.operation for result in results] == [0, 0, 10, 0]
    assert world["a"].operate("ada", *events[40:60]).ok


def test_records_are_counted_at_every_level_and_stay_counted():
    block = Overlay(MappingReader({}), None, None, 10)
    one = block.child(None, None, 7)
    one.go_through_records(7)
    one.child().go_through_records(0)
    with pytest.raises(Refused) as error:
        one.child().go_through_records()
    assert error.value.reason == Reason.TOO_MANY_RECORDS
    other = block.child(None, None, 7)
    other.go_through_records(3)
    with pytest.raises(Refused, match="more than 10 records"):
        other.go_through_records()


def test_what_the_other_limits_allow_once_is_allowed():
    """The widest declaration, the fullest event, and two entries for each key that a transaction may touch but some."""
    assert RECORDS_PER_TRANSACTION_MAX >= 4 * LOOKED_THROUGH_MAX
    assert RECORDS_PER_TRANSACTION_MAX >= 8 * IDENTIFIERS_PER_EVENT_MAX
    assert RECORDS_PER_TRANSACTION_MAX > KEYS_PER_TRANSACTION_MAX
    assert RECORDS_PER_TRANSACTION_MAX >= 16 * LICENCES_NAMED_MAX
    assert RECORDS_PER_TRANSACTION_MAX >= 8 * PACKET_VALUE_BYTES_MAX // BYTES_PER_RECORD
    assert RECORDS_PER_BLOCK_MAX >= RECORDS_PER_TRANSACTION_MAX
