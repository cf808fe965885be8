"""A part under a policy crosses with a licence and not without."""

import pytest

from bridge.clients import load_client
from ledger import codec
from ledger.identifiers import canonical
from proto.chiptrace.v1.bridge_pb2 import SendPart
from proto.chiptrace.v1.ledger_pb2 import Attest, Change, Operation, PutPolicy, Reason, Trigger
from tests.bridge.crossing import carry, pack
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


@pytest.mark.parametrize("over_there", [False, True])
def test_what_is_inside_leaves_under_its_licence_too(over_there):
    """The manifest tells the class, also of what arrived and is no record here yet."""
    world = World("a", "b")
    part = world.commission("a", "ada")
    box = canonical("urn:epc:id:sscc:4012345.1000000001").text
    inner = canonical("urn:epc:id:sscc:4012345.1000000002").text
    pack(world, "a", inner, part, member="ada")
    pack(world, "a", box, inner, member="ada")
    name, member, to = "a", "ada", "bob"
    if over_there:
        carry(world, "a", box, "bob")
        name, member, to = "b", "bob", "ada"
    issuer = world[name].members[1]
    change = PutPolicy(
        id="abroad",
        prefix=PREFIX,
        attestation="export_licence",
        issuers=[issuer],
        trigger=Trigger.OVER_BRIDGE,
    )
    assert world.govern(name, Change(put_policy=change)).ok
    assert world.send(name, box, to, member=member).reason == Reason.LICENCE_MISSING
    licence = Attest(id=LICENCE, subject=canonical(part).class_text, kind="export_licence")
    assert world[name].operate(issuer, Operation(attest=licence)).ok
    message = SendPart(
        client=f"{world.other(name)}-1",
        part=box,
        receiver=to,
        timeout_ms=world.clock.now_ms + HOUR_MS,
        licences=[LICENCE],
    )
    assert world[name].operate(member, Operation(send_part=codec.encode(message))).ok
