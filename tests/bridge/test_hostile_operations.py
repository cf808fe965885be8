"""Nothing that a member signs stops a chain: honest operations, changed in every way, are taken or refused.

An exception that is no refusal stops every node at the same height, for ever. So a scenario of all operations is
executed once more, and before each of its transactions many changed ones are, on the state of that moment. Where
signatures and proofs would end it early, they are taken as good: members, admins and a whole other chain may lie.
"""

import pytest

from bridge import client_step, handlers, light_client
from bridge.machine import changes, operations
from ledger import block, codec, decimals, genesis, hashes, state
from ledger.block import CheckedTransaction
from ledger.execute import execute_block
from ledger.history import append_entry
from ledger.identifiers import canonical
from ledger.limits import PACKET_TIMEOUT_MS_MAX
from ledger.state import Kind
from proto.chiptrace.v1.bridge_pb2 import ClientRecord, SendAttestation, UpdateClient
from proto.chiptrace.v1.consensus_pb2 import NOTARIZE, Vote
from proto.chiptrace.v1.ledger_pb2 import (
    Attest,
    AttestationRecord,
    Capture,
    Change,
    Delegate,
    DelegationRecord,
    Entry,
    Event,
    Evidence,
    ForeignAttestationRecord,
    Genesis,
    GrantRecord,
    KeyRecord,
    LotRecord,
    MemberRecord,
    Operation,
    PartRecord,
    PolicyRecord,
    PutGrant,
    PutKey,
    PutMember,
    PutPolicy,
    Reason,
    RehomingRecord,
    Result,
    ReturnOffer,
    RevokeAttestation,
    RevokeDelegation,
    RevokeGrant,
    RevokeKey,
    RevokePolicy,
    Role,
    SetParameters,
    SetValidators,
    TransformationRecord,
    Trigger,
    UnitAmount,
    Validator,
)
from tests.bridge.hostile import Mutator, certify, copy, identity
from tests.bridge.test_rehoming import bring_head, give_up, rehome
from tests.bridge.two_chains import HOUR_MS, World
from tests.ledger import rules_world as rules
from tests.ledger.chain_fixture import key_of, make_parameters
from tests.ledger.rules_world import box, lot, part, quantity

SEEDS, ROUNDS, ROUNDS_KEPT = 1, 120, 20
SUBJECTS = {
    Kind.MEMBER: MemberRecord,
    Kind.KEY: KeyRecord,
    Kind.GRANT: GrantRecord,
    Kind.PART: PartRecord,
    Kind.LOT: LotRecord,
    Kind.TRANSFORMATION: TransformationRecord,
    Kind.ATTESTATION: AttestationRecord,
    Kind.CLIENT: ClientRecord,
    Kind.DELEGATION: DelegationRecord,
    Kind.POLICY: PolicyRecord,
    Kind.FOREIGN_ATTESTATION: ForeignAttestationRecord,
    Kind.REHOMING: RehomingRecord,
}
# Components in the key of a subject, where there is more than one.
NAMES = {Kind.DELEGATION: 2, Kind.FOREIGN_ATTESTATION: 3}


def capture(number, event):
    fields = {"eventTime": "2023-11-14T22:13:20.000Z", "eventTimeZoneOffset": "+00:00"} | event
    return Operation(
        capture=Capture(
            event=codec.encode(Event(seed=number.to_bytes(16, "big"), fields=rules.to_fields(fields)))
        )
    )


EVENTS = (
    (
        "ada",
        rules.add(
            [part(n) for n in range(1, 9)], [quantity(lot("L"), 100), quantity(lot("L"), "2.5", "KGM")]
        ),
    ),
    ("ada", rules.packing(box(1), [part(1), part(2)], [quantity(lot("L"), "1.25", "KGM")])),
    ("ada", rules.packing(box(2), [box(1), part(3)])),
    ("ada", rules.packing(part(4), [part(5)], kind="Association")),
    ("ada", rules.shipping([box(2), part(4)], "abe", [quantity(lot("L"), 40)], owner="abe")),
    ("abe", rules.receiving([box(2), part(4)], [quantity(lot("L"), 40)], sender="ada")),
    ("abe", rules.unpacking(box(2), [part(3)])),
    ("abe", rules.unpacking(box(2))),
    ("abe", rules.unpacking(box(1))),
    ("abe", rules.seen([part(1)], errorDeclaration={"declarationTime": "2023-11-14T22:13:20.000Z"})),
    ("abe", rules.holding("OBSERVE", part(4), [part(5)], kind="Association")),
    ("abe", rules.shipping([part(1)], "amy")),
    ("abe", rules.object_event("OBSERVE", [part(1)], "void_shipping")),
    ("abe", rules.destroying([part(2)], [quantity(lot("L"), 1)])),
    (
        "ada",
        rules.making([part(6)], [part(20)], [quantity(lot("L"), 5)], [quantity(lot("M"), 9)], "urn:run:1"),
    ),
    ("ada", {"type": "TransactionEvent", "action": "ADD", "epcList": [part(7)], "parentID": part(20)}),
)


def scenario(adoption: bool) -> World:
    """Two chains on which every operation and change was carried out; chain a is looked at."""
    world = World()
    a = world["a"]
    parameters = make_parameters(adoption=adoption, offer_expiry_ms=HOUR_MS)
    assert a.operate("ada", a.govern(Change(set_parameters=SetParameters(parameters=parameters)))).ok
    for number, (member, event) in enumerate(EVENTS):
        result = a.operate(member, capture(number, event))
        assert result.ok, (number, result)
    claim = Attest(id="urn:claim:1", subject=part(1), kind="recall", scope="all", document_sha256=bytes(32))
    assert a.operate("ada", Operation(attest=claim)).ok
    assert a.operate("ada", Operation(revoke_attestation=RevokeAttestation(id="urn:claim:1", why="no"))).ok
    assert a.operate("ada", capture(100, rules.shipping([part(7)], "ann", [quantity(lot("L"), 3)]))).ok
    assert a.operate("ann", Operation(return_offer=ReturnOffer(part=part(7)))).ok
    offer = ReturnOffer(part=lot("L"), sender="ada", receiver="ann")
    assert a.operate("ann", Operation(return_offer=offer)).ok
    _delegate(a)
    _license(a)
    _govern(world)
    _cross(world)
    _tell(world)
    _give_up(world)
    return world


def _delegate(a):
    left = UnitAmount(unit="KGM", amount=decimals.parse("2.5"))
    order = Delegate(prefix="gs1:40123450", member="amy", serials=5, amounts=[left])
    assert a.operate("ada", Operation(delegate=order)).ok
    made = rules.add([part(30), part(31)], [quantity(lot("K"), "0.5", "KGM")])
    order.prefix = "gs1:4012345"
    assert a.operate("ada", Operation(delegate=order)).reason == Reason.GRANT_OVERLAPS
    ending = RevokeDelegation(prefix="gs1:40123450", member="amy")
    assert a.operate("ada", Operation(revoke_delegation=ending)).ok
    assert a.operate("ada", Operation(delegate=order)).ok
    assert a.operate("amy", capture(200, made)).ok


def _license(a):
    item_class = canonical(part(30)).class_text
    policy = PutPolicy(
        id="p",
        prefix="gs1:4012345",
        trigger=Trigger.SHIPPING_OUTSIDE,
        members=["amy"],
        attestation="export_licence",
        issuers=["ann"],
    )
    licence = Attest(id="urn:licence:1", subject=item_class, kind="export_licence", destinations=["abe"])
    assert a.operate("ada", a.govern(Change(put_policy=policy))).ok
    assert a.operate("ann", Operation(attest=licence)).ok
    named = {"bizTransactionList": [{"type": "cert", "bizTransaction": "urn:licence:1"}]}
    assert a.operate("amy", capture(201, rules.shipping([part(30)], "abe", **named))).ok
    assert a.operate("ada", a.govern(Change(revoke_policy=RevokePolicy(id="p")))).ok


def _govern(world):
    a = world["a"]
    validators = [*world["a"].genesis_set.validators[1:], world["a"].genesis_set.validators[0]]
    for change in (
        Change(
            put_member=PutMember(
                id="eve", name="Eve", identifiers=["urn:example:eve"], admin_keys=[key_of("eve", "admin")]
            )
        ),
        Change(put_key=PutKey(key=key_of("eve"), member="eve", role=Role.OPERATOR)),
        Change(put_grant=PutGrant(prefix="https://x.example/parts", holder="eve")),
        Change(revoke_grant=RevokeGrant(prefix="https://x.example/parts")),
        Change(revoke_key=RevokeKey(key=key_of("eve"))),
        Change(set_validators=SetValidators(validators=validators)),
        Change(create_client=world.client_of("b", "a", "2")),
    ):
        assert a.operate("ada", a.govern(change)).ok, change
    joiner = bytes([7]) * 32
    a.seeds[hashes.public_key(joiner)] = joiner
    joins = [
        Change(put_key=PutKey(key=hashes.public_key(joiner), member="ada", role=Role.VALIDATOR)),
        Change(set_validators=SetValidators(validators=[*validators, _validator(joiner)])),
    ]
    assert a.operate("ada", a.govern(*joins, joiners=[joiner])).ok
    vote = codec.encode(_vote())
    assert not a.operate("ada", Operation(evidence=Evidence(height=3, first=vote, second=vote))).ok


def _validator(seed):
    return Validator(key=hashes.public_key(seed), member="ada")


def _vote():
    return Vote(kind=NOTARIZE, height=3, view=1, block_hash=bytes(32), signer=0, signature=bytes(64))


def _cross(world):
    assert world.send("a", part(7), "bob").ok
    world.relay()
    assert world.accept("b", part(7), "bob").ok
    assert world.send("b", part(7), "abe").ok
    world.relay()
    assert world.give_back("a", part(7), "abe").ok
    world.relay()
    assert world.send("a", part(8), "nobody").ok
    world.relay()
    assert world.send("a", part(8), "bob", timeout_ms=300).ok
    world.pass_time(1_000)
    world.relay()
    world.settle()
    update = UpdateClient(client="b-2", headers=[world["b"].header(1), world["b"].header(2)])
    assert world["a"].operate("ada", Operation(update_client=codec.encode(update)), role="relayer").ok
    assert world.send("a", part(8), "bob").ok


def _tell(world):
    """Claims cross both ways; a recall follows its part by itself, and so does its end."""
    a = world["a"]
    recall = Attest(id="urn:recall:1", subject=part(7), kind="recall", scope="all")
    assert a.operate("amy", Operation(attest=recall)).ok
    due = world.clock.now_ms + HOUR_MS
    copy = SendAttestation(client="b-1", id="urn:licence:1", timeout_ms=due)
    assert a.operate("ada", Operation(send_attestation=codec.encode(copy))).ok
    world.relay()
    assert a.operate("amy", Operation(revoke_attestation=RevokeAttestation(id="urn:recall:1"))).ok
    back = Attest(id="urn:recall:2", subject=part(7), kind="recall", scope="all")
    assert world["b"].operate("bea", Operation(attest=back)).ok
    copy = SendAttestation(client="a-1", id="urn:recall:2", timeout_ms=world.clock.now_ms + HOUR_MS)
    assert world["b"].operate("bea", Operation(send_attestation=codec.encode(copy))).ok
    world.relay()
    assert a.operate("amy", Operation(attest=Attest(id="urn:recall:3", subject=part(7), kind="recall"))).ok
    world.pass_time(PACKET_TIMEOUT_MS_MAX)
    world.relay()


def _give_up(world):
    bring_head(world)
    assert give_up(world, heir=True).ok
    assert rehome(world, part(7)).ok


class Replay:
    """Chain a's transactions once more, on a state of our own."""

    def __init__(self, chain):
        self.chain_id = chain.chain_id
        self.log_leaf = chain.app.store.log_leaf
        first = genesis.genesis_state(chain.chain_id, Genesis.FromString(chain.genesis), changes())
        self.values = {key: value for key, value in first.changes.items() if value is not None}
        self.honest = list(self._decided(chain))
        self.executed = 0

    def _decided(self, chain):
        """(header, transaction, its result) of everything the chain executed."""
        for height in range(1, chain.height + 1):
            content = block.decode_block(chain.app.store.block(height))
            header = block.decode_header(content.header)
            for data, result in zip(content.transactions, chain.app.store.results(height), strict=True):
                yield header, block.parse_transaction(self.chain_id, data), Result.FromString(result)

    def get(self, key):
        return self.values.get(key)

    def run(self, header, body, transaction=None):
        """The result and outcome of a block of one transaction, whose histories were checked."""
        self.executed += 1
        checked = CheckedTransaction(transaction or identity(self.executed), body, b"", ())
        outcome = execute_block(
            self, self.chain_id, header, [checked], operations(), changes(), self.log_leaf
        )
        self.check_complete(outcome)
        return Result.FromString(outcome.results[0]), outcome

    def keep(self, outcome):
        for key, value in outcome.changes.items():
            if value is None:
                self.values.pop(key, None)
            else:
                self.values[key] = value

    def check_complete(self, outcome):
        """Whatever changed about a subject is told by its history, which nothing else changed."""
        entries = {}
        for key, n, data in outcome.entries:
            entries.setdefault(key, []).append((n, data))
        for key, value in outcome.changes.items():
            kind, components = state.parse_state_key(key)
            record = SUBJECTS.get(kind)
            if record is None or len(components) != NAMES.get(kind, 1) or b"about" in components:
                continue
            before, after = record.FromString(self.values.get(key, b"")), record.FromString(value)
            history = copy(before.history)
            for n, data in entries.pop(key, ()):
                assert n == append_entry(self.chain_id, history, Entry.FromString(data))[0]
            assert history == after.history, (kind, components)
            if kind == Kind.CLIENT:
                before.next_sequence = after.next_sequence  # told by the packets' commitments
            assert before.history != after.history or before == after, (kind, components)
        assert not entries


@pytest.fixture(scope="module", params=[False, True], ids=["strict", "adopting"])
def world(request):
    return scenario(request.param)


@pytest.fixture
def believing(monkeypatch):
    """Every signature and proof is taken as good."""
    monkeypatch.setattr(hashes, "verify", lambda *_: True)
    monkeypatch.setattr(hashes, "verify_raw", lambda *_: True)
    monkeypatch.setattr(client_step, "verify_raw", lambda *_: True)
    monkeypatch.setattr(handlers, "verify_remote", lambda *_: None)
    monkeypatch.setattr(light_client, "verify_raw", lambda *_: True)


def changed(mutator, body, other):
    """A transaction body whose operations were changed, from its honest one."""
    made = copy(body)
    for operation in made.operations:
        mutator.change(operation, mutator.random.choice((1, 1, 2, 4)))
        certify(other, operation)
    return made


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_changed_operation_stops_the_chain(world, believing, seed):
    replay, mutator, other = Replay(world["a"]), Mutator(seed), world["b"].chain_id
    for _, transaction, _ in replay.honest:
        mutator.learn(transaction.body)
    reasons = set()
    for header, transaction, expected in replay.honest:
        for _ in range(ROUNDS):
            result, _ = replay.run(header, changed(mutator, transaction.body, other))
            reasons.add(result.reason)
        result, outcome = replay.run(header, transaction.body, transaction.id)
        assert result == expected
        replay.keep(outcome)
    assert len(reasons) > 40
    # What is changed and taken stays, one thing on the other.
    newest = replay.honest[-1][0]
    for _, transaction, _ in replay.honest * ROUNDS_KEPT:
        _, outcome = replay.run(newest, changed(mutator, transaction.body, other))
        replay.keep(outcome)
