"""A part under a policy crosses with a licence and not without."""

import pytest

from bridge.clients import load_client
from ledger import codec
from ledger.identifiers import canonical
from proto.chiptrace.v1.bridge_pb2 import SendPart
from proto.chiptrace.v1.ledger_pb2 import Attest, Change, Operation, PutPolicy, Reason, Trigger
from tests.bridge.two_chains import HOUR_MS, PREFIX, World

LICENCE = "https://amy.example/licence/1"


def policy(trigger, **more) -> Change:
    fields = {"id": "abroad", "prefix": PREFIX, "attestation": "export_licence", "issuers": ["amy"]} | more
    return Change(put_policy=PutPolicy(trigger=trigger, **fields))


def crossing(world, part, *licences) -> Operation:
    client = "b-1"
    assert load_client(world["a"].app.store, client)
    message = SendPart(
        client=client,
        part=part,
        receiver="bob",
        timeout_ms=world.clock.now_ms + HOUR_MS,
        licences=licences,
    )
    return Operation(send_part=codec.encode(message))


@pytest.mark.parametrize(
    "change",
    [
        policy(Trigger.OVER_BRIDGE),
        policy(Trigger.ANY_SHIPPING),
        policy(Trigger.SHIPPING_OUTSIDE, members=["ada", "abe"]),
    ],
)
def test_export_without_licence(change):
    world = World("a", "b")
    part = world.commission("a", "ada")
    chain = world["a"]
    assert world.govern("a", change).ok
    assert chain.operate("ada", crossing(world, part)).reason == Reason.LICENCE_MISSING
    for destination, reason in (("bob", Reason.LICENCE_MISSING), ("b-1/bob", Reason.REASON_UNSPECIFIED)):
        licence = Attest(
            id=f"{LICENCE}/{destination}",
            subject=canonical(part).class_text,
            kind="export_licence",
            destinations=[destination],
        )
        assert chain.operate("amy", Operation(attest=licence)).ok
        assert chain.operate("ada", crossing(world, part, licence.id)).reason == reason
    world.relay()
    assert world.accept("b", part, "bob").ok
