"""Bad input of every kind, through the real ports: each refused with its own reason, and the state does not move.

The state root is proven before and after each: it commits to every record, grant, client, receipt and history.
Only the log grows. After each case all four nodes are the same processes, alive and in step.
"""

import os

import grpc
import pytest

from client.clock import now_ms
from client.connection import Connection
from ledger import codec, hashes, limits
from proto.chiptrace.v1.bridge_pb2 import (
    SendPart,
)
from proto.chiptrace.v1.ledger_pb2 import (
    Attest,
    Capture,
    Change,
    Decimal,
    Field,
    Govern,
    GovernanceProposal,
    List,
    Object,
    Operation,
    PutGrant,
    Reason,
    Signature,
    Transaction,
    TransactionBody,
    Value,
)
from proto.chiptrace.v1.node_pb2 import (
    SubmitRequest,
)
from tests.integration.hostile import (
    OTHER,
    U64,
    UNKNOWN_FIELD,
    proven_root,
    told,
    unmoved_state,
)
from tests.integration.testbed import captured, commissioning, event, serial, settle

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def world(bed):
    with told(bed) as found:
        yield found


@pytest.fixture
def unmoved(world):
    with unmoved_state(world):
        yield


def test_the_comparison_sees_what_does_change(world):
    before = proven_root(world)
    assert proven_root(world) == before
    world.holder.do(observing(world.part))
    assert proven_root(world) != before


# ---- at the door ------------------------------------------------------------------------------------------


def body_of(world, **changes):
    fields = {
        "chain_id": world.session.trust.chain_id,
        "signer": hashes.public_key(world.holder.seed),
        "valid_until_ms": now_ms() + 60_000,
        "idempotency_key": os.urandom(16),
        "operations": [commissioning(serial("9525001"))],
    } | changes
    return TransactionBody(**fields)


def signed(world, body: bytes, seed=None) -> bytes:
    """These bytes as the body of a transaction with a good signature."""
    seed = seed or world.holder.seed
    signature = hashes.sign(seed, hashes.Purpose.TRANSACTION, world.session.trust.chain_id, body)
    pair = Signature(key=hashes.public_key(seed), signature=signature)
    return codec.encode(Transaction(body=body, signatures=[pair]))


def good(world) -> bytes:
    return world.holder.sign(commissioning(serial("9525001")))


def altered(world, **changes) -> bytes:
    return signed(world, codec.encode(body_of(world, **changes)))


def out_of_order(world) -> bytes:
    """The fields of the body, the first one last."""
    body = codec.encode(body_of(world))
    return signed(world, body[34:] + body[:34])


def by_another(world) -> bytes:
    """A good body of HOLDER's under a signature of somebody else."""
    body = codec.encode(body_of(world))
    own = hashes.sign(world.other.seed, hashes.Purpose.TRANSACTION, world.session.trust.chain_id, body)
    pair = Signature(key=hashes.public_key(world.holder.seed), signature=own)
    return codec.encode(Transaction(body=body, signatures=[pair]))


def replaced_body(world) -> bytes:
    found = Transaction.FromString(good(world))
    found.body = codec.encode(body_of(world))
    return codec.encode(found)


def signed_elsewhere(world) -> bytes:
    """A body for this chain, signed as if for another."""
    body = codec.encode(body_of(world))
    pair = Signature(
        key=hashes.public_key(world.holder.seed),
        signature=hashes.sign(world.holder.seed, hashes.Purpose.TRANSACTION, bytes(32), body),
    )
    return codec.encode(Transaction(body=body, signatures=[pair]))


DOOR = {
    "nothing": (lambda w: b"", "WRONG_CHAIN"),
    "garbage": (lambda w: b"\xff" * 300, "MALFORMED"),
    "noise": (lambda w: b"\xff" + os.urandom(5_000), "MALFORMED"),
    "text": (lambda w: b'{"transaction": "capture"}' * 10, "MALFORMED"),
    "truncated": (lambda w: good(w)[:-1], "MALFORMED"),
    "truncated early": (lambda w: good(w)[:40], "MALFORMED"),
    "trailing bytes": (lambda w: good(w) + b"\0", "MALFORMED"),
    "unknown field outside": (lambda w: good(w) + UNKNOWN_FIELD, "MALFORMED"),
    "unknown field inside": (lambda w: signed(w, codec.encode(body_of(w)) + UNKNOWN_FIELD), "MALFORMED"),
    "a field twice": (lambda w: signed(w, codec.encode(body_of(w)) + b"\x18\x01"), "MALFORMED"),
    "fields out of order": (out_of_order, "MALFORMED"),
    "a default written out": (
        lambda w: signed(w, codec.encode(body_of(w, valid_until_ms=0)) + b"\x18\x00"), "MALFORMED"),
    "an operation of no kind": (lambda w: altered(w, operations=[Operation()]), "MALFORMED"),
    "no operation": (lambda w: altered(w, operations=[]), "MALFORMED"),
    "too many operations": (
        lambda w: altered(w, operations=[commissioning("x:")] * 1_001), "MALFORMED"),
    "a short idempotency key": (lambda w: altered(w, idempotency_key=b"123"), "MALFORMED"),
    "a short key": (lambda w: altered(w, signer=b"123"), "MALFORMED"),
    "no signature": (
        lambda w: codec.encode(Transaction(body=codec.encode(body_of(w)))), "MALFORMED"),
    "another chain": (
        lambda w: w.holder.sign(commissioning("x:"), chain_id=os.urandom(32)), "WRONG_CHAIN"),
    "no chain": (lambda w: altered(w, chain_id=b""), "WRONG_CHAIN"),
    "a signature for another chain": (
        signed_elsewhere, "BAD_SIGNATURE"),
    "a signature of zeros": (
        lambda w: good(w)[:-64] + bytes(64), "BAD_SIGNATURE"),
    "a signature with a bit flipped": (
        lambda w: (data := good(w))[:-1] + bytes([data[-1] ^ 1]), "BAD_SIGNATURE"),
    "a signature by another key": (by_another, "BAD_SIGNATURE"),
    "a signature of another body": (replaced_body, "BAD_SIGNATURE"),
    "expired": (lambda w: w.holder.sign(commissioning("x:"), until_ms=-1), "EXPIRED"),
    "expired long ago": (lambda w: altered(w, valid_until_ms=0), "EXPIRED"),
    "valid too far ahead": (
        lambda w: w.holder.sign(commissioning("x:"), until_ms=3_700_000), "NOT_YET_VALID"),
    "valid for ever": (lambda w: altered(w, valid_until_ms=U64), "NOT_YET_VALID"),
    "oversize": (lambda w: good(w) + bytes(limits.TRANSACTION_BYTES_MAX), "OVERSIZE"),
    "oversize, signed": (
        lambda w: w.holder.sign(Operation(capture=Capture(event=bytes(limits.TRANSACTION_BYTES_MAX)))),
        "OVERSIZE"),
}  # fmt: skip


@pytest.mark.parametrize("case", DOOR)
def test_what_is_no_transaction_does_not_enter(world, unmoved, case):
    make, reason = DOOR[case]
    outcome = world.holder.submit(make(world))
    assert Reason.Name(outcome.reason) == reason
    assert (outcome.admitted, outcome.final, outcome.ok, outcome.height) == (False, False, False, 0)
    assert outcome.detail


def test_a_call_larger_than_any_ends_at_the_line(world, unmoved):
    stub = world.session.connection.stub(world.session.connection.endpoint)
    with pytest.raises(grpc.RpcError) as error:
        stub.Submit(SubmitRequest(transactions=[bytes(limits.RPC_MESSAGE_BYTES_MAX + 1)]), timeout=10)
    assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_one_bad_transaction_in_a_frame_does_not_hurt_the_others(world):
    part = serial("9525001")
    frame = [b"garbage", world.holder.sign(commissioning(part)), good(world)[:-1]]
    outcomes = world.session.connection.call(
        lambda stub: stub.Submit, SubmitRequest(transactions=frame, wait=True), 20
    ).outcomes
    assert [outcome.ok for outcome in outcomes] == [False, True, False]


def test_a_duplicate_is_answered_by_the_first_and_done_once(world):
    part, key = serial("9525001"), os.urandom(16)
    data = world.holder.sign(commissioning(part), key=key)
    first = world.holder.submit(data)
    assert first.ok
    settle(world.session, first.height)
    before = proven_root(world)
    # The same bytes, through every node: the first outcome.
    for endpoint in world.session.trust.endpoints:
        connection = Connection(world.session.trust, world.session.identity, only=endpoint)
        request = SubmitRequest(transactions=[data, data], wait=True)
        again = connection.call(lambda stub: stub.Submit, request, 20).outcomes
        connection.close()
        assert [(one.transaction, one.height, one.index, one.ok) for one in again] == [
            (first.transaction, first.height, first.index, True)
        ] * 2
    # Other bytes under the same key: refused, and told which was first.
    other = world.holder.submit(world.holder.sign(commissioning(serial("9525001")), key=key))
    assert (other.reason, other.ok, other.final) == (Reason.REPEATED, False, False)
    assert (other.transaction, other.height) == (first.transaction, first.height)
    assert proven_root(world) == before


# ---- the rules -----------------------------------------------------------------------------------------------


def observing(part, **fields):
    return captured(event(**({"action": "OBSERVE", "bizStep": "inspecting", "epcList": [part]} | fields)))


def raw_event(world, spoil) -> Operation:
    """A commissioning whose event's bytes are spoilt."""
    data = event(action="ADD", bizStep="commissioning", epcList=[serial("9525001")]).SerializeToString(
        deterministic=True
    )
    return Operation(capture=Capture(event=spoil(data)))


def spoilt(world, **fields) -> Operation:
    return captured(
        event(**({"action": "ADD", "bizStep": "commissioning", "epcList": [serial("9525001")]} | fields))
    )


def unsorted(world) -> Operation:
    made = event(action="ADD", bizStep="commissioning", epcList=[serial("9525001")])
    fields = list(reversed(made.fields))
    del made.fields[:]
    made.fields.extend(fields)
    return captured(made)


def seeded(world, seed) -> Operation:
    made = event(action="ADD", bizStep="commissioning", epcList=[serial("9525001")])
    made.seed = seed
    return captured(made)


def amount(world, number) -> Operation:
    item = Object(
        fields=[
            Field(name="epcClass", value=Value(text=f"{serial('9525001').rpartition('/21/')[0]}/10/L1")),
            Field(name="quantity", value=number),
        ]
    )
    quantities = Value(list=List(items=[Value(object=item)]))
    return captured(event(action="ADD", bizStep="commissioning", quantityList=quantities))


def deep(world) -> Operation:
    value = Value(text="x")
    for _ in range(40):
        value = Value(list=List(items=[value]))
    return spoilt(world, **{"ext:deep": value})


def packed(world, parent, child) -> Operation:
    made = event(type="AggregationEvent", action="ADD", bizStep="packing", parentID=parent, childEPCs=[child])
    return captured(made)


def ungoverned(world) -> Operation:
    change = Change(put_grant=PutGrant(prefix="gs1:9529999", holder=OTHER))
    proposal = GovernanceProposal(
        chain_id=world.session.trust.chain_id,
        expires_ms=now_ms() + 60_000,
        nonce=os.urandom(16),
        changes=[change],
    )
    return Operation(govern=Govern(proposal=codec.encode(proposal)))


def attesting(subject, kind="certificate") -> Operation:
    name = f"https://boardworks.example/c/{os.urandom(4).hex()}"
    return Operation(attest=Attest(id=name, subject=subject, kind=kind, valid_from_ms=now_ms()))


def sending(world, **changes) -> Operation:
    fields = {
        "client": "chipmaker",
        "part": world.part,
        "receiver": "siliconfab",
        "timeout_ms": now_ms() + 3_600_000,
    } | changes
    return Operation(send_part=codec.encode(SendPart(**fields)))


# case -> (who signs, the operation, the reason)
RULES = {
    "a relayer's key captures": ("relayer", lambda w: observing(w.part), "ROLE_NOT_ALLOWED"),
    "a relayer's key attests": ("relayer", lambda w: attesting(w.part), "ROLE_NOT_ALLOWED"),
    "a relayer's key sends": ("relayer", sending, "ROLE_NOT_ALLOWED"),
    "another's namespace": ("other", lambda w: commissioning(serial("9525001")), "NOT_GRANTED"),
    "nobody's namespace": ("holder", lambda w: commissioning(serial("9529999")), "NOT_GRANTED"),
    "a name outside every namespace": (
        "holder", lambda w: commissioning("https://elsewhere.example/part/1"), "NOT_GRANTED"),
    "another's web namespace": (
        "holder", lambda w: commissioning(f"https://boardworks.example/p/{os.urandom(4).hex()}"), "NOT_GRANTED"),
    "the namespace of another chain": (
        "holder", lambda w: commissioning(serial("9521001")), "NOT_HOME_CHAIN"),
    "observed, not in custody": ("other", lambda w: observing(w.part), "NOT_IN_CUSTODY"),
    "shipped, not in custody": (
        "other", lambda w: observing(w.part, bizStep="shipping"), "NOT_IN_CUSTODY"),
    "destroyed, not in custody": (
        "other", lambda w: observing(w.part, action="DELETE", bizStep="destroying"), "NOT_IN_CUSTODY"),
    "received, not offered": (
        "other", lambda w: observing(w.part, bizStep="receiving"), "NOT_OFFERED_TO_YOU"),
    "packed, not in custody": (
        "other", lambda w: packed(w, serial("9525002"), w.part), "NOT_IN_CUSTODY"),
    "a part inside itself": ("holder", lambda w: packed(w, w.part, w.part), "SELF_CONTAINMENT"),
    "unknown part": ("holder", lambda w: observing(serial("9525001")), "UNKNOWN_PART"),
    "attested, unknown part": ("holder", lambda w: attesting(serial("9525001")), "UNKNOWN_PART"),
    "an attestation of no kind": ("holder", lambda w: attesting(w.part, "praise"), "ATTESTATION_INVALID"),
    "a cloned serial": ("other", lambda w: commissioning(w.part), "ALREADY_COMMISSIONED"),
    "bytes that are no event": (
        "holder", lambda w: Operation(capture=Capture(event=b"\xff" * 80)), "MALFORMED"),
    "an event cut short": ("holder", lambda w: raw_event(w, lambda data: data[:-3]), "MALFORMED"),
    "an event with an unknown field": (
        "holder", lambda w: raw_event(w, lambda data: data + UNKNOWN_FIELD), "MALFORMED"),
    "an event with no fields": ("holder", lambda w: Operation(capture=Capture(event=b"")), "MALFORMED"),
    "an event with a short seed": ("holder", lambda w: seeded(w, b"123"), "MALFORMED"),
    "fields out of order in an event": ("holder", unsorted, "MALFORMED"),
    "an event nested too deep": ("holder", deep, "MALFORMED"),
    "an event too large": (
        "holder", lambda w: spoilt(w, **{"ext:large": ["x" * 60_000] * 3}), "OVERSIZE"),
    "no type": ("holder", lambda w: spoilt(w, type=None), "EVENT_INVALID"),
    "an unknown type": ("holder", lambda w: spoilt(w, type="WishEvent"), "EVENT_INVALID"),
    "an unknown action": ("holder", lambda w: spoilt(w, action="ENLARGE"), "EVENT_INVALID"),
    "no time": ("holder", lambda w: spoilt(w, eventTime=None), "EVENT_INVALID"),
    "a time that is none": ("holder", lambda w: spoilt(w, eventTime="yesterday"), "EVENT_INVALID"),
    "a list that is a text": ("holder", lambda w: spoilt(w, epcList=serial("9525001")), "EVENT_INVALID"),
    "a time in the future": (
        "holder", lambda w: spoilt(w, eventTime="2199-01-01T00:00:00.000Z"), "EVENT_TIME_OUT_OF_BOUNDS"),
    "an identifier that is none": ("holder", lambda w: spoilt(w, epcList=["no identifier"]), "IDENTIFIER_INVALID"),
    "a wrong check digit": (
        "holder", lambda w: spoilt(w, epcList=["https://id.gs1.org/01/09525001000012/21/x"]), "IDENTIFIER_INVALID"),
    "a class where a part is meant": (
        "holder", lambda w: spoilt(w, epcList=[serial("9525001").rpartition("/21/")[0]]), "IDENTIFIER_INVALID"),
    "no part at all": ("holder", lambda w: spoilt(w, epcList=[]), "NOTHING_TO_DO"),
    "an amount that is a text": ("holder", lambda w: amount(w, Value(text="many")), "QUANTITY_INVALID"),
    "an amount below zero": (
        "holder",
        lambda w: amount(w, Value(number=Decimal(negative=True, coefficient=b"\x05"))),
        "QUANTITY_INVALID"),
    "governed without approvals": ("holder", ungoverned, "NOT_ENOUGH_APPROVALS"),
    "sent over no client": ("holder", lambda w: sending(w, client="nowhere"), "UNKNOWN_CLIENT"),
    "sent, not in custody": ("other", sending, "NOT_IN_CUSTODY"),
    "sent, unknown part": ("holder", lambda w: sending(w, part=serial("9525001")), "UNKNOWN_PART"),
    "sent with a timeout gone by": ("holder", lambda w: sending(w, timeout_ms=1), "TIMEOUT_OUT_OF_BOUNDS"),
    "sent with no timeout": ("holder", lambda w: sending(w, timeout_ms=U64), "TIMEOUT_OUT_OF_BOUNDS"),
}  # fmt: skip


@pytest.mark.parametrize("case", RULES)
def test_what_the_rules_forbid_stays_in_the_block_and_changes_nothing(world, unmoved, case):
    signer, make, reason = RULES[case]
    who = getattr(world, signer)
    # All or nothing: what is good in the same transaction does not count either.
    first = [observing(world.part)] if signer == "holder" else []
    outcome = who.submit(who.sign(*first, make(world)))
    assert Reason.Name(outcome.reason) == reason
    assert (outcome.admitted, outcome.final, outcome.ok) == (True, True, False)


def test_a_key_that_nobody_registered_is_not_let_in(world, unmoved):
    outcome = world.stranger.submit(world.stranger.sign(observing(world.part)))
    assert (outcome.reason, outcome.admitted, outcome.ok) == (Reason.UNKNOWN_KEY, False, False)
