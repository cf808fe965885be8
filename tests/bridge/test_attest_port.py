"""Claims that are told to other chains: recorded as theirs, never as ours, and recalls that follow the part."""

import pytest

from bridge import attest_port
from bridge.client_step import thaw_message
from bridge.packet import ERROR, SUCCESS, acknowledgement_commitment, answered_key, packet_commitment
from ledger import codec, decimals, execute, hashes, state
from ledger.attestations import foreign_attestation_key, foreign_attestations_key
from ledger.block import decode_header
from ledger.history import history_root
from ledger.identifiers import canonical, interval_text
from ledger.limits import COPIES_PER_PAGE, PACKET_TIMEOUT_MS_MAX, PASSED_ON_MAX
from proto.chiptrace.v1.bridge_pb2 import (
    Packet,
    ReceivePacket,
    SendAttestation,
    SendPart,
    SubmitMisbehaviour,
    UpdateClient,
)
from proto.chiptrace.v1.ledger_pb2 import (
    Attest,
    AttestationCopy,
    AttestationRecord,
    Change,
    EntryKind,
    Field,
    ForeignAttestationRecord,
    ForeignAttestationsRecord,
    List,
    Object,
    Operation,
    PutPolicy,
    Reason,
    RevokeAttestation,
    Signature,
    ThawClient,
    Trigger,
    UnitAmount,
    Value,
)
from tests.bridge.crossing import update
from tests.bridge.test_clients import forge
from tests.bridge.test_licences import crossing
from tests.bridge.test_serials import DIE, LOT, captured
from tests.bridge.two_chains import (
    HOUR_MS,
    MEMBERS,
    PREFIX,
    TRUSTING_MS,
    World,
    object_event,
    packing_event,
    prove,
)
from tests.ledger.chain_fixture import seed_of
from tests.ledger.rules_world import serials_of

ID = "https://amy.example/claim/1"


def attest(world, name, member, subject, *, kind="certificate", attestation=ID, **more):
    claim = Attest(id=attestation, subject=subject, kind=kind, **more)
    return world[name].operate(member, Operation(attest=claim))


def recall(world, name, member, subject, attestation=ID):
    return attest(world, name, member, subject, kind="recall", attestation=attestation, scope="cracks")


def revoke(world, name, member, attestation=ID):
    operation = Operation(revoke_attestation=RevokeAttestation(id=attestation))
    return world[name].operate(member, operation)


def send(world, name, member, client, attestation=ID, *, role="operator", timeout_ms=HOUR_MS):
    message = SendAttestation(client=client, id=attestation, timeout_ms=world.clock.now_ms + timeout_ms)
    return world[name].operate(member, Operation(send_attestation=codec.encode(message)), role=role)


def told(world, name, source, issuer=None, attestation=ID) -> ForeignAttestationRecord | None:
    """What chain `name` knows of a claim that chain `source` told it."""
    key = foreign_attestation_key(world[source].chain_id, world[issuer or source].chain_id, attestation)
    return world[name].record(key, ForeignAttestationRecord)


def own(world, name, attestation=ID) -> AttestationRecord:
    record = world[name].record(state.attestation_key(attestation), AttestationRecord)
    assert record is not None
    return record


def kinds(world, name, part):
    return [EntryKind.Name(entry.kind) for entry in world[name].entries(state.part_key(part))]


def moved(world, receiver="bob", to="b"):
    """A part of chain a that is live on another chain, its departure acknowledged."""
    part = world.commission("a", "ada")
    assert world.send("a", part, receiver, to=to).ok
    world.relay()
    assert world.accept(to, part, receiver).ok
    return part


# ---- copied by hand -------------------------------------------------------------------------------------------


def test_a_claim_is_copied_and_named_by_its_chain():
    world = World()
    part = moved(world)
    assert attest(
        world, "a", "amy", canonical(part).class_text, scope="AEC-Q100", document_sha256=b"d" * 32
    ).ok
    before = own(world, "a")
    assert send(world, "a", "abe", "b-1").ok
    world.relay()
    record = told(world, "b", "a")
    copy = record.copy
    assert (record.chain, copy.issuer_chain, copy.record.issuer) == (
        world["a"].chain_id,
        world["a"].chain_id,
        "amy",
    )
    assert (copy.record.scope, copy.record.document_sha256, copy.passed) == ("AEC-Q100", b"d" * 32, 0)
    assert (copy.history_n, copy.history_root) == (1, history_root(before.history))
    # Nothing of it is where a claim of b's own members would be.
    assert world["b"].record(state.attestation_key(ID), AttestationRecord) is None
    assert list(own(world, "a").copied_to) == ["b-1"]
    # Both chains' histories hold the packet's commitment, by which an audit finds one from the other.
    packet = world["a"].sent("b-1", world["a"].client("b-1").next_sequence - 1)
    here = world["a"].entries(state.attestation_key(ID))[-1]
    there = world["b"].entries(foreign_attestation_key(world["a"].chain_id, world["a"].chain_id, ID))[-1]
    assert here.kind == there.kind == EntryKind.COPIED
    assert here.digest == there.digest == packet_commitment(packet)
    listed = world["b"].record(
        foreign_attestations_key(world["a"].chain_id, canonical(part).class_text), ForeignAttestationsRecord
    )
    assert [name.id for name in listed.attestations] == [ID]


def test_it_stands_in_the_history_of_a_part_that_is_there():
    world = World()
    part = moved(world)
    assert attest(world, "b", "bea", part).ok
    assert send(world, "b", "bea", "a-1").ok
    part_b = moved(world)
    assert attest(world, "a", "amy", part_b, attestation=f"{ID}/2").ok
    assert send(world, "a", "amy", "b-1", f"{ID}/2").ok
    world.relay()
    # On a the part is gone: frozen. On b it is there.
    assert "COPIED" not in kinds(world, "a", part)
    assert told(world, "a", "b") is not None
    assert kinds(world, "b", part_b)[-1] == "COPIED"
    world.check_history("b", part_b)


def test_the_same_copy_again_changes_nothing_and_another_one_is_refused():
    world = corrupt()
    part = moved(world)
    assert attest(world, "a", "amy", part).ok
    for _ in range(3):
        assert send(world, "a", "ada", "b-1").ok
        world.relay()
    assert kinds(world, "b", part).count("COPIED") == 1
    # A chain that says otherwise of what it told before is not heard.
    lies = copy_of(world, own(world, "a"))
    lies.record.scope = "anything"
    assert answer(world, lies) == ERROR
    assert told(world, "b", "a").copy.record.scope == ""


def test_who_may_copy():
    world = World()
    part = moved(world)
    assert attest(world, "a", "amy", part).ok
    assert send(world, "a", "ada", "b-1", role="relayer").reason == Reason.ROLE_NOT_ALLOWED
    assert send(world, "a", "ada", "b-1", role="validator").reason == Reason.ROLE_NOT_ALLOWED
    assert send(world, "a", "ada", "b-1", f"{ID}/none").reason == Reason.UNKNOWN_ATTESTATION
    assert send(world, "a", "ada", "c-1").reason == Reason.UNKNOWN_CLIENT
    assert send(world, "a", "ada", "b-1", timeout_ms=0).reason == Reason.TIMEOUT_OUT_OF_BOUNDS
    for role in ("operator", "device", "auditor", "regulator"):
        assert send(world, "a", "ada", "b-1", role=role).ok


# ---- what a hostile chain sends --------------------------------------------------------------------------------


def copy_of(world, record: AttestationRecord, **changed) -> AttestationCopy:
    copy = AttestationCopy(
        issuer_chain=world["a"].chain_id, record=record, history_n=1, history_root=b"h" * 32
    )
    for name in ("history", "copied_to", "waiting"):
        copy.record.ClearField(name)
    for name, value in changed.items():
        setattr(copy, name, value)
    return copy


def claim_record(**changed) -> AttestationRecord:
    fields = {"id": ID, "issuer": "amy", "subject": "https://id.gs1.org/01/04012345111118/21/1"}
    return AttestationRecord(**(fields | {"kind": "certificate"} | changed))


def answer(world, copy: AttestationCopy | bytes, **changed) -> bytes:
    """What chain b answers to a packet with this copy, to which chain a, being corrupt, has committed."""
    chain = world["a"]
    sequence = 1_000_000 + chain.height
    packet = Packet(
        source_client="b-1",
        destination_client="a-1",
        sequence=sequence,
        timeout_ms=world.clock.now_ms + HOUR_MS,
        source_port=attest_port.PORT,
        destination_port=attest_port.PORT,
        version=attest_port.VERSION,
        encoding=attest_port.ENCODING,
        value=copy if isinstance(copy, bytes) else codec.encode(copy),
    )
    for name, value in changed.items():
        setattr(packet, name, value)
    world.forge("a", packet)
    world.settle()
    head = chain.height
    update = [*chain.headers_above(world["b"].client("a-1").latest_height), chain.header(head)]
    news = Operation(update_client=codec.encode(UpdateClient(client="a-1", headers=update)))
    assert world["b"].operate("bob", news, role="relayer").ok
    message = ReceivePacket(packet=packet, proof=prove(chain, head, state.commitment_key("b-1", sequence)))
    result = world["b"].operate("bob", Operation(receive_packet=codec.encode(message)), role="relayer")
    assert result.ok, result
    written = world["b"].app.store.get(answered_key(packet))
    (found,) = (ack for ack in (ERROR, SUCCESS) if acknowledgement_commitment(ack) == written)
    return found


def corrupt() -> World:
    return World(corrupt="a")


@pytest.mark.parametrize(
    "changed",
    [
        {"issuer_chain": b"b" * 31},
        {"issuer_chain": b""},
        {"issuer_chain": b"x" * 32},  # another's, and not said to be passed on
        {"passed": 1},  # its own, and said to be passed on
        {"passed": 1, "issuer_chain": b"x" * 32},  # by nobody
        {"passed": 1, "told_by": b"y" * 32},
        {"passed": PASSED_ON_MAX + 1, "issuer_chain": b"x" * 32, "told_by": b"y" * 32},
        {"told_by": b"y" * 32},
        {"history_n": 0},
        {"history_root": b""},
        {"history_root": b"h" * 31},
    ],
)
def test_29_a_copy_that_names_its_issuer_falsely_is_answered_with_an_error(changed):
    world = corrupt()
    assert answer(world, copy_of(world, claim_record(), **changed)) == ERROR
    assert told(world, "b", "a") is None


@pytest.mark.parametrize(
    "changed",
    [
        {"issuer": ""},
        {"issuer": "Amy"},
        {"issuer": f"{'0' * 64}/amy"},
        {"issuer": "amy\n"},
        {"id": ""},
        {"id": "no uri"},
        {"subject": "urn:epc:id:sgtin:4012345.011111.1"},
        {"kind": "blessing"},
        {"valid_from_ms": 9, "valid_until_ms": 9},
        {"document_sha256": b"d"},
        {"destinations": ["x", "x"]},
        {"copied_to": ["b-1"]},
        {"waiting": ["b-1"]},
        {"history": {"n": 1}},
    ],
)
def test_a_copy_of_what_is_no_claim_is_answered_with_an_error(changed):
    world = corrupt()
    copy = copy_of(world, AttestationRecord())
    copy.record.CopyFrom(claim_record(**changed))
    assert answer(world, copy) == ERROR
    assert told(world, "b", "a") is None


def test_a_claim_of_our_own_never_comes_back_from_outside():
    world = corrupt()
    part = moved(world)
    assert attest(world, "b", "bea", part).ok
    forged = copy_of(
        world,
        claim_record(issuer="bea", subject=part, revoked_at_ms=5),
        issuer_chain=world["b"].chain_id,
        passed=1,
        told_by=world["b"].chain_id,
    )
    before = own(world, "b")
    assert answer(world, forged) == ERROR
    assert own(world, "b") == before
    # Under the same id, of its own: a record of its own.
    assert answer(world, copy_of(world, claim_record(subject=part))) == SUCCESS
    assert own(world, "b").issuer == "bea"
    assert told(world, "b", "a").copy.record.issuer == "amy"


@pytest.mark.parametrize(
    "changed",
    [
        {"version": "attest/2"},
        {"encoding": "application/json"},
        {"destination_port": "custody/1"},
        {"source_port": "client/1", "destination_port": "client/1"},
        {"source_port": "governance", "destination_port": "governance"},
        {"source_port": "validators", "destination_port": "validators"},
    ],
)
def test_11_no_packet_reaches_anything_but_an_application(changed):
    world = corrupt()
    keys = (state.VALIDATORS_KEY, state.PARAMETERS_KEY)
    before = [world["b"].app.store.get(key) for key in keys]
    assert answer(world, copy_of(world, claim_record()), **changed) == ERROR
    assert told(world, "b", "a") is None
    assert before == [world["b"].app.store.get(key) for key in keys]


def test_no_number_of_claims_about_a_subject_keeps_a_recall_out(monkeypatch):
    """Any member may claim, and send her claims: she must not use up the room for another's recall."""
    monkeypatch.setattr(attest_port, "COPIES_PER_PAGE", 3)
    assert COPIES_PER_PAGE == 64
    world = corrupt()
    for number in range(10):
        assert answer(world, copy_of(world, claim_record(id=f"{ID}/{number}"))) == SUCCESS
    recalled = claim_record(id=f"{ID}/recall", kind="recall")
    assert answer(world, copy_of(world, recalled)) == SUCCESS
    chain_id, listed = world["a"].chain_id, []
    pages = [
        world["b"].record(
            foreign_attestations_key(chain_id, recalled.subject, page), ForeignAttestationsRecord
        )
        for page in range(4)
    ]
    assert pages[0].pages == 3
    listed = [name.id for page in pages for name in page.attestations]
    assert listed == [*(f"{ID}/{number}" for number in range(10)), f"{ID}/recall"]
    assert max(len(page.attestations) for page in pages) == 3


# ---- revocation ---------------------------------------------------------------------------------------------------


def test_a_revocation_follows_every_copy():
    world = World()
    part = moved(world)
    assert attest(world, "a", "amy", part).ok
    assert send(world, "a", "amy", "b-1").ok
    world.relay()
    assert revoke(world, "a", "amy").ok
    world.relay()
    assert told(world, "b", "a").copy.record.revoked_at_ms == own(world, "a").revoked_at_ms > 0
    assert kinds(world, "b", part)[-2:] == ["COPIED", "COPIED"]


def test_a_revocation_that_overtakes_the_claim_stays():
    world = World()
    part = moved(world)
    assert attest(world, "a", "amy", part).ok
    assert send(world, "a", "amy", "b-1").ok
    assert revoke(world, "a", "amy").ok
    world.settle()
    relayer = world.relayers["a", "b"]
    plan = relayer.plan()
    # The second packet first, and then the first one.
    update, first, second = plan.on_b
    relayer.bring(world["b"], world["a"], (update, second))
    assert told(world, "b", "a").copy.record.revoked_at_ms
    relayer.bring(world["b"], world["a"], (first,))
    assert told(world, "b", "a").copy.record.revoked_at_ms
    world.relay()
    assert kinds(world, "b", part).count("COPIED") == 1


def test_what_was_never_copied_is_revoked_without_a_packet():
    world = World()
    part = moved(world)
    assert attest(world, "a", "amy", part).ok
    before = world["a"].client("b-1").next_sequence
    assert revoke(world, "a", "amy").ok
    assert world["a"].client("b-1").next_sequence == before


# ---- recalls follow by themselves --------------------------------------------------------------------------------


def test_a_recall_follows_a_part_that_departed():
    world = World()
    part = moved(world)
    assert recall(world, "a", "amy", part).ok
    world.relay()
    assert told(world, "b", "a").copy.record.kind == "recall"
    assert kinds(world, "b", part)[-1] == "COPIED"


def test_a_recall_of_what_is_under_way_comes_before_it_or_after():
    world = World()
    part = world.commission("a", "ada")
    assert world.send("a", part, "bob").ok
    assert recall(world, "a", "amy", part).ok
    world.relay()
    assert told(world, "b", "a") is not None


def test_a_recall_of_what_is_here_goes_nowhere():
    world = World()
    part = world.commission("a", "ada")
    before = world["a"].client("b-1").next_sequence
    assert recall(world, "a", "amy", part).ok
    assert world["a"].client("b-1").next_sequence == before
    assert kinds(world, "a", part) == ["EVENT", "ATTESTED"]


def test_a_recall_follows_home_and_on_to_a_third_chain():
    world = World("a", "b", "c")
    part = moved(world)
    # From b home to a, and from there to c.
    assert world.send("b", part, "ada", to="a").ok
    world.relay()
    assert world.accept("a", part, "ada").ok
    assert world.send("a", part, "cyd", to="c").ok
    world.relay()
    assert world.accept("c", part, "cyd").ok
    assert recall(world, "b", "bea", part).ok
    world.relay()
    assert told(world, "a", "b").copy.passed == 0
    on_c = told(world, "c", "a", "b")
    assert (on_c.copy.passed, on_c.copy.told_by, on_c.copy.record.issuer) == (1, world["b"].chain_id, "bea")
    assert kinds(world, "c", part)[-1] == "COPIED"
    # And so does its end.
    assert revoke(world, "b", "bea").ok
    world.relay()
    assert told(world, "c", "a", "b").copy.record.revoked_at_ms
    # Nothing goes round and round.
    assert world.relay() == 0


def freeze(world, name, source):
    """The client of chain `source` on chain `name` is frozen by a fork."""
    height = world[source].height
    first = forge(world[source], height)
    second = forge(world[source], height, app_hash=bytes(31) + b"x")
    message = SubmitMisbehaviour(client=f"{source}-1", first=first, second=second)
    operation = Operation(submit_misbehaviour=codec.encode(message))
    assert world[name].operate(world[name].members[0], operation, role="auditor").ok


def test_a_client_of_no_use_stops_no_recall():
    world = World()
    part = moved(world)
    freeze(world, "a", "b")
    assert recall(world, "a", "amy", part).ok
    record = own(world, "a")
    assert (list(record.waiting), list(record.copied_to)) == (["b-1"], [])
    # The relayer tries, and may, but the client is frozen still.
    assert send(world, "a", "ada", "b-1", role="relayer").reason == Reason.CLIENT_FROZEN
    assert revoke(world, "a", "amy").ok
    assert list(own(world, "a").waiting) == ["b-1"]


def test_an_expired_client_stops_no_recall():
    world = World()
    part = moved(world)
    world.clock.now_ms += TRUSTING_MS + 1_000
    assert recall(world, "a", "amy", part).ok
    assert list(own(world, "a").waiting) == ["b-1"]


def thawed(world):
    """The client of b on a gets a new anchor."""
    world["b"].produce()
    head = world["b"].header(world["b"].height)
    change = ThawClient(
        id="b-1",
        header=head.header,
        certificate=codec.encode(head.certificate),
        validators=world["b"].genesis_set,
    )
    message = thaw_message(world["a"].chain_id, change, world["a"].client("b-1").history.n)
    for member in MEMBERS["b"][:3]:
        seed = seed_of(member, "admin")
        change.counterparty_approvals.append(
            Signature(key=hashes.public_key(seed), signature=hashes.sign_raw(seed, message))
        )
    assert world.govern("a", Change(thaw_client=change)).ok


def test_what_waits_goes_out_by_itself_once_the_client_is_thawed(monkeypatch):
    monkeypatch.setattr(attest_port, "WAITING_SENT_MAX", 2)
    world = World()
    part = moved(world)
    freeze(world, "a", "b")
    for number in range(4):
        assert recall(world, "a", "amy", part, f"{ID}/{number}").ok
    waiting = [list(own(world, "a", f"{ID}/{number}").waiting) for number in range(4)]
    assert waiting == [["b-1"]] * 4
    thawed(world)
    # The first ones with the anchor. Others sent one of the rest before its turn, as a relayer may.
    for number, left in enumerate(([], [], ["b-1"], ["b-1"])):
        assert list(own(world, "a", f"{ID}/{number}").waiting) == left
    assert send(world, "a", "ada", "b-1", f"{ID}/2", role="relayer").ok
    assert send(world, "a", "ada", "b-1", f"{ID}/2", role="relayer").reason == Reason.ROLE_NOT_ALLOWED
    world.relay()
    for number in range(4):
        record = own(world, "a", f"{ID}/{number}")
        assert (list(record.waiting), list(record.copied_to)) == ([], ["b-1"])
        assert told(world, "b", "a", attestation=f"{ID}/{number}") is not None
    assert len(world["a"].entries(state.attestation_key(f"{ID}/2"))) == 3  # made, noted as waiting, sent once


def test_a_block_that_has_no_room_for_what_waits_lets_it_wait(monkeypatch):
    """Left out by itself, as what cannot be sent is, a recall would never go."""
    monkeypatch.setattr(attest_port, "WAITING_SENT_MAX", 1)
    world = World()
    part = moved(world)
    freeze(world, "a", "b")
    for number in range(2):
        assert recall(world, "a", "amy", part, f"{ID}/{number}").ok
    thawed(world)
    world["b"].produce()
    monkeypatch.setattr(execute, "RECORDS_PER_BLOCK_MAX", 2)
    headers = world["b"].headers_above(world["a"].client("b-1").latest_height)
    operation = Operation(update_client=codec.encode(UpdateClient(client="b-1", headers=headers)))
    assert world["a"].operate("ada", operation).reason == Reason.TOO_MANY_RECORDS
    monkeypatch.undo()
    assert list(own(world, "a", f"{ID}/1").waiting) == ["b-1"]
    world.relay()
    assert told(world, "b", "a", attestation=f"{ID}/1") is not None


def test_what_was_passed_on_waits_and_goes_out_too():
    """A recall of chain c's that comes to a, whose client of b is of no use then."""
    world = World("a", "b", "c")
    part = world.commission("a", "ada")
    for name, member in (("c", "cyd"), ("b", "bob")):
        assert world.send("a", part, member, to=name).ok
        world.relay()
        assert world.accept(name, part, member).ok
        if name == "c":
            assert world.send("c", part, "ada", to="a").ok
            world.relay()
            assert world.accept("a", part, "ada").ok
    freeze(world, "a", "b")
    assert recall(world, "c", "coe", part).ok
    world.relay()
    assert list(told(world, "a", "c").waiting) == ["b-1"]
    thawed(world)
    assert not told(world, "a", "c").waiting
    world.relay()
    assert told(world, "b", "a", "c") is not None


def test_a_notice_that_timed_out_goes_out_once_more():
    world = World()
    part = moved(world)
    sequence = world["a"].client("b-1").next_sequence
    assert recall(world, "a", "amy", part).ok
    assert attest(world, "a", "amy", part, attestation=f"{ID}/2").ok
    assert send(world, "a", "amy", "b-1", f"{ID}/2").ok
    world.pass_time(PACKET_TIMEOUT_MS_MAX + 1_000)
    world.relay()
    # The recall was sent anew and came; the certificate was not.
    assert told(world, "b", "a") is not None
    assert told(world, "b", "a", attestation=f"{ID}/2") is None
    assert world["a"].client("b-1").next_sequence == sequence + 3
    assert not list(world.relayers["a", "b"].open_packets(world["a"], "b-1"))


# ---- policies -----------------------------------------------------------------------------------------------------


def policy(*issuers) -> Change:
    return Change(
        put_policy=PutPolicy(
            id="abroad",
            prefix=PREFIX,
            trigger=Trigger.OVER_BRIDGE,
            attestation="export_licence",
            issuers=issuers,
        )
    )


def licensed(world, *issuers):
    """Chain b, from which a part is to go home under a policy; a member of a named like b's bea grants it a licence."""
    part = moved(world)
    assert world.govern("b", policy(*issuers)).ok
    return part


def test_a_foreign_claim_satisfies_no_policy_that_names_a_member_of_this_chain():
    world = corrupt()
    part = licensed(world, "bea")
    forged = claim_record(issuer="bea", subject=part, kind="export_licence")
    assert answer(world, copy_of(world, forged)) == SUCCESS
    message = leaving(world, part)
    assert world["b"].operate("bob", message).reason == Reason.LICENCE_MISSING


def leaving(world, part) -> Operation:
    operation = crossing(world, part, ID)
    sent = SendPart.FromString(operation.send_part)
    sent.client, sent.receiver = "a-1", "ada"
    return Operation(send_part=codec.encode(sent))


@pytest.mark.parametrize("says", ["a/amy", "a/abe", "b/amy", "c/amy"])
def test_a_foreign_claim_satisfies_the_policy_that_names_its_chain_and_issuer(says):
    world = World("a", "b", "c")
    name, member = says.split("/")
    part = moved(world)
    result = world.govern("b", policy(f"{world[name].chain_id.hex()}/{member}"))
    if name == "b":
        assert result.reason == Reason.BAD_CHANGE  # by its id alone
        return
    assert result.ok
    assert world["b"].operate("bob", leaving(world, part)).reason == Reason.LICENCE_MISSING
    assert attest(world, "a", "amy", part, kind="export_licence").ok
    assert send(world, "a", "amy", "b-1").ok
    world.relay()
    wanted = Reason.REASON_UNSPECIFIED if says == "a/amy" else Reason.LICENCE_MISSING
    assert world["b"].operate("bob", leaving(world, part)).reason == wanted


def expire_all_but(world, one, other):
    """Only the clients of these two chains of each other have news for longer than the trusting period."""
    for _ in range(2):
        world.pass_time(TRUSTING_MS // 2 + HOUR_MS)
        for host, source in ((one, other), (other, one)):
            update(world, host, source)


@pytest.mark.parametrize("how", ["frozen", "expired"])
def test_a_claim_of_a_chain_that_is_not_believed_now_satisfies_no_policy(how):
    """It may be of a chain that forked, and no revocation of it could come."""
    world = World("a", "b", "c", joined=(("b", "c"),))
    part = moved(world)
    assert world.govern("b", policy(f"{world['c'].chain_id.hex()}/cyd")).ok
    lot = canonical(part).class_text
    assert attest(world, "c", "cyd", lot, kind="export_licence").ok
    assert send(world, "c", "cyd", "b-1").ok
    world.relay()
    assert told(world, "b", "c") is not None
    if how == "frozen":
        freeze(world, "b", "c")
    else:
        expire_all_but(world, "a", "b")
    assert world["b"].operate("bob", leaving(world, part)).reason == Reason.LICENCE_MISSING


def test_hearsay_satisfies_no_policy():
    world = World("a", "b", "c", corrupt="a")
    part = moved(world)
    assert world.govern("b", policy(f"{world['c'].chain_id.hex()}/cyd")).ok
    said = claim_record(issuer="cyd", subject=part, kind="export_licence")
    chain_id = world["c"].chain_id
    copy = copy_of(world, said, passed=1, issuer_chain=chain_id, told_by=chain_id)
    assert answer(world, copy) == SUCCESS
    assert world["b"].operate("bob", leaving(world, part)).reason == Reason.LICENCE_MISSING


@pytest.mark.parametrize(
    "issuer", ["amy", "A" * 64 + "/amy", "a" * 63 + "/amy", "a" * 64 + "/", "a" * 64 + "/x y"]
)
def test_an_issuer_of_no_chain_is_no_issuer(issuer):
    world = World()
    assert not world.govern("b", policy(issuer)).ok


def test_a_licence_is_valid_by_the_time_of_the_chain_that_asks_for_it():
    world = World()
    part = moved(world)
    assert world.govern("b", policy(f"{world['a'].chain_id.hex()}/amy")).ok
    late = decode_header(world["b"].header(world["b"].height).header).time_ms + HOUR_MS
    assert attest(world, "a", "amy", part, kind="export_licence", valid_from_ms=late).ok
    assert send(world, "a", "amy", "b-1").ok
    world.relay()
    assert world["b"].operate("bob", leaving(world, part)).reason == Reason.LICENCE_MISSING
    world.clock.now_ms = late
    assert world["b"].operate("bob", leaving(world, part)).ok


# ---- containers and lots ------------------------------------------------------------------------------------------


def test_a_recall_follows_what_left_inside_a_container():
    world = World()
    part, box, pallet = (world.commission("a", "ada") for _ in range(3))
    for outer, inner in ((box, part), (pallet, box)):
        assert world["a"].operate("ada", packing_event("ADD", outer, inner)).ok
    assert world.send("a", pallet, "bob").ok
    # Under way, and gone; what is inside has no record on b.
    for number, subject in enumerate((part, box, pallet)):
        assert recall(world, "a", "amy", subject, f"{ID}/{number}").ok
    world.relay()
    assert recall(world, "a", "amy", part, f"{ID}/3").ok
    world.relay()
    for number in range(4):
        assert told(world, "b", "a", attestation=f"{ID}/{number}") is not None, number
    listed = world["b"].record(foreign_attestations_key(world["a"].chain_id, part), ForeignAttestationsRecord)
    assert [name.id for name in listed.attestations] == [f"{ID}/0", f"{ID}/3"]


def test_a_recall_of_a_lot_follows_every_amount_of_it():
    world = World("a", "b", "c")
    lot = "https://id.gs1.org/01/04012345111118/10/LOT-7"
    commission = object_event("ADD", "commissioning", number=1, quantityList=amount_of(lot, 10))
    assert world["a"].operate("ada", commission).ok
    assert recall(world, "a", "amy", lot, f"{ID}/0").ok
    assert told(world, "b", "a", attestation=f"{ID}/0") is None
    message = SendPart(
        client="b-1",
        part=canonical(lot).text,
        receiver="bob",
        timeout_ms=world.clock.now_ms + HOUR_MS,
        amount=UnitAmount(amount=decimals.parse("4")),
    )
    assert world["a"].operate("ada", Operation(send_part=codec.encode(message))).ok
    world.relay()
    assert recall(world, "a", "amy", canonical(lot).text).ok
    world.relay()
    assert told(world, "b", "a") is not None
    assert told(world, "c", "a") is None


def amount_of(lot: str, number: int) -> Value:
    fields = [
        Field(name="epcClass", value=Value(text=lot)),
        Field(name="quantity", value=Value(number=decimals.parse(str(number)))),
    ]
    return Value(list=List(items=[Value(object=Object(fields=fields))]))


def test_what_is_claimed_of_a_subject_that_is_gone_is_listed(monkeypatch):
    monkeypatch.setattr(attest_port, "COPIES_PER_PAGE", 2)
    world = World()
    part = moved(world)
    assert attest(world, "a", "amy", part, attestation=f"{ID}/0").ok
    assert recall(world, "a", "amy", part, f"{ID}/1").ok
    # No number of claims keeps a recall from being made, listed and sent.
    assert recall(world, "a", "amy", part, f"{ID}/2").ok
    assert list(own(world, "a", f"{ID}/2").copied_to) == ["b-1"]
    listed = []
    for page in range(2):
        key = foreign_attestations_key(world["a"].chain_id, part, page)
        listed += world["a"].record(key, ForeignAttestationsRecord).attestations
    assert [name.id for name in listed] == [f"{ID}/0", f"{ID}/1", f"{ID}/2"]
    here = world.commission("a", "ada")
    assert attest(world, "a", "amy", here, attestation=f"{ID}/3").ok
    key = foreign_attestations_key(world["a"].chain_id, here)
    assert world["a"].record(key, ForeignAttestationsRecord) is None


@pytest.mark.parametrize("inside", [False, True], ids=["by itself", "in a container"])
def test_a_recall_of_a_lot_of_serials_follows_those_that_left(inside):
    world = World("a", "b", "c")
    assert world["a"].operate("ada", captured(world, serials_of(LOT, "0000", "0099", 100))).ok
    some, box = interval_text(LOT, 10, 20), world.commission("a", "ada")
    if inside:
        assert world["a"].operate("ada", packing_event("ADD", box, DIE)).ok
    assert world.send("a", box if inside else some, "bob", to="b", member="ada").ok
    world.relay()
    assert recall(world, "a", "amy", LOT).ok
    world.relay()
    assert told(world, "b", "a") is not None
    assert told(world, "c", "a") is None
