"""Known attacks on trust, by their number in docs/bridge-testing.md: whose signatures, of what, and until when.

Each of these tests is seen to fail with its guard removed: tests/bridge/guards.py, scripts/bridge_guards.py.
"""

from itertools import product

import pytest

from bridge import clients
from bridge.light_client import certified, check_set, verify_header
from consensus.certificate import form, verify_certificate
from consensus.messages import signed_vote
from ledger import codec, hashes, state
from ledger.block import block_hash
from ledger.errors import ChiptraceError, Invalid
from ledger.hashes import Purpose, signed_bytes
from proto.chiptrace.v1.bridge_pb2 import ClientRecord, ReceivePacket
from proto.chiptrace.v1.consensus_pb2 import FINALIZE, NOTARIZE, NULLIFY, SignedHeader, Vote
from proto.chiptrace.v1.ledger_pb2 import (
    Change,
    CreateClient,
    Operation,
    Reason,
    Validator,
    ValidatorSet,
)
from tests.bridge.certified import CHAIN, HERE, Keys, make_header, signed_header
from tests.bridge.test_clients import forge, grown, update
from tests.bridge.test_handlers import Sent, changed, refused
from tests.bridge.test_light_client import FIRST, genesis_state, verify
from tests.bridge.two_chains import START_MS, TRUSTING_MS, World
from tests.ledger.chain_fixture import seed_of


def test_attack_10_signatures_that_were_checked_elsewhere():
    """Wormhole believed a record that said so. Here every header is judged by its signatures in the same call, and a
    header that is kept lends nothing to another of its height."""
    good = signed_header(1, FIRST)
    verify(genesis_state(), good)
    for number in range(4):
        for signature in (bytes(64), b"", bytes(63), good.certificate.signatures[(number + 1) % 4]):
            forged = SignedHeader()
            forged.CopyFrom(good)
            forged.certificate.signatures[number] = signature
            with pytest.raises(Invalid) as caught:
                verify(genesis_state(), forged)
            assert caught.value.reason == Reason.BAD_CERTIFICATE
    # On chain: the same bytes as a kept header are taken without a look, any other bytes are not.
    world = grown()
    kept = world["a"].header(3)
    assert update(world, "b", [kept]).ok
    unsigned = SignedHeader(header=kept.header)
    assert update(world, "b", [unsigned]).reason == Reason.REDUNDANT
    other = forge(world["a"], 3, app_hash=bytes(31) + b"x")
    other.certificate.CopyFrom(kept.certificate)
    refused(update(world, "b", [other]), Reason.NOT_NEWER)
    higher = SignedHeader(header=forge(world["a"], 9).header, certificate=kept.certificate)
    refused(update(world, "b", [higher]), Reason.BAD_CERTIFICATE)


@pytest.mark.parametrize("size", [4, 5, 6, 7, 10, 13, 31])
def test_attack_12_fewer_keys_than_a_quorum(size):
    """Ronin and Harmony: a few stolen keys were enough. Two thirds and one more are needed, each a key of its own."""
    keys = Keys("abcdefghijklmnopqrstuvwxyzABCDE"[:size])
    trusted = genesis_state(keys)
    quorum = 2 * size // 3 + 1
    assert verify(trusted, signed_header(1, keys, signers=range(quorum))).latest_height == 1
    for count in (0, 1, size // 3, size // 2, quorum - 1):
        with pytest.raises(Invalid) as caught:
            verify(trusted, signed_header(1, keys, signers=range(count)))
        assert caught.value.reason == Reason.BAD_CERTIFICATE
    # One key in several places of the set would vote several times.
    doubled = ValidatorSet(in_force_from=1, validators=[keys.set.validators[0]] * size)
    with pytest.raises(Invalid) as caught:
        check_set(doubled)
    assert caught.value.reason == Reason.BAD_VALIDATORS


@pytest.mark.parametrize("owners", ["a", "aa", "aaaa", "aaab", "aaaaabb"])
def test_attack_13_a_chain_that_one_organisation_certifies(owners):
    """KelpDAO: one attestor. A client of a chain whose quorum one member reaches is not created, nor thawed onto."""
    world = World()
    weak = ValidatorSet(
        in_force_from=1,
        validators=[
            Validator(key=hashes.public_key(bytes([index + 1]) * 32), member=owner)
            for index, owner in enumerate(owners)
        ],
    )
    change = Change(create_client=world.client_of("a", "b", "2", validators=weak))
    refused(world.govern("b", change), Reason.CLIENT_TOO_WEAK)
    assert world["b"].record(state.client_key("a-2"), CreateClient) is None


KINDS = {FINALIZE: Purpose.FINALIZE, NOTARIZE: Purpose.NOTARIZE, NULLIFY: Purpose.NULLIFY}


def test_attack_19_a_signature_for_one_thing_serves_as_another():
    """Every kind of signature is brought as every other, and for another chain, height, view and block."""
    header = make_header(7, FIRST)
    this = block_hash(CHAIN, header)
    fields = {
        "kind": [FINALIZE, NOTARIZE, NULLIFY],
        "height": [7, 6, 8],
        "view": [1, 2],
        "block_hash": [this, block_hash(HERE, header), bytes(32), b""],
        "chain": [CHAIN, HERE],
    }
    tried = accepted = 0
    for kind, height, view, named, chain in product(*fields.values()):
        # What validators signed, honestly, for something;
        signed = signed_vote(chain, Vote(kind=kind, height=height, view=view, block_hash=named))
        signatures = {index: hashes.sign_raw(seed, signed) for index, seed in enumerate(FIRST.seeds)}
        # shown as the finalization of this header, and as what it is.
        for certificate in (
            form(FINALIZE, 7, 1, this, signatures, 4),
            form(kind, height, view, named, signatures, 4),
        ):
            tried += 1
            try:
                certified(CHAIN, FIRST.set, SignedHeader(header=header, certificate=certificate))
                accepted += 1
            except Invalid:
                continue
            assert (kind, height, named, chain) == (FINALIZE, 7, this, CHAIN)
            assert certificate.view == view
    assert (tried, accepted) == (2 * 3 * 3 * 2 * 4 * 2, 3)
    # Every other purpose for which something is signed, over the very bytes of the vote and over the header.
    body = signed_vote(CHAIN, Vote(kind=FINALIZE, height=7, view=1, block_hash=this))
    for purpose in Purpose:
        chain_id = b"" if purpose is Purpose.GENESIS else CHAIN
        for data in (body, body[-48:], header, this):
            signed = signed_bytes(purpose, chain_id, data)
            signatures = {index: hashes.sign_raw(seed, signed) for index, seed in enumerate(FIRST.seeds)}
            certificate = form(FINALIZE, 7, 1, this, signatures, 4)
            if signed == body:
                assert purpose is Purpose.FINALIZE
                verify_certificate(CHAIN, FIRST.set, certificate)
                continue
            with pytest.raises(Invalid):
                verify_certificate(CHAIN, FIRST.set, certificate)


def test_attack_19_approvals_of_governance_serve_nothing_else():
    """A proposal, a thaw, a transaction, a join: signed by the same keys, and none is taken for another."""
    chain, data = World()["b"].chain_id, b"the same bytes"
    seed = seed_of("bob", "admin")
    for made, asked in product((purpose for purpose in Purpose if purpose is not Purpose.GENESIS), repeat=2):
        signature = hashes.sign(seed, made, chain, data)
        assert hashes.verify(hashes.public_key(seed), asked, chain, data, signature) == (made is asked)
        other = bytes(31) + b"x"
        assert not hashes.verify(hashes.public_key(seed), made, other, data, signature)


def test_attack_25_a_name_is_given_again():
    """A client deleted and made anew would take old packets again. Ids are given once, whatever became of them."""
    sent = Sent()
    proof = sent.commitment_proof()
    world = sent.world
    for change in (
        world.client_of("a", "b", "1"),
        world.client_of("a", "b", "1", counterparty_client="b-2"),
        world.client_of("a", "b", "1", chain_id=bytes(31) + b"x"),
    ):
        refused(world.govern("b", Change(create_client=change)), Reason.CLIENT_EXISTS)
    assert sent.receive(proof=proof).ok
    # A second pair between the same chains begins with nothing: neither old packets nor old proofs are its own.
    world.join("a", "b", "2")
    before = sent.statuses()
    for names in (
        {"destination_client": "a-2"},
        {"destination_client": "a-2", "source_client": "b-2"},
        {"source_client": "b-2"},
    ):
        message = ReceivePacket(packet=changed(sent.packet, **names), proof=proof)
        result = sent.b.operate("bob", Operation(receive_packet=codec.encode(message)), role="relayer")
        assert not result.ok
    assert sent.statuses() == before
    assert world["a"].client("b-2").next_sequence == 1


def test_attack_30_an_expired_client_or_another_ones_clock():
    """A client anchored in the past is not created; whether one has expired is told by the block's time alone."""
    world = World()
    for genesis_time_ms, reason in (
        (START_MS - TRUSTING_MS - 1, Reason.CLIENT_EXPIRED),
        (1, Reason.CLIENT_EXPIRED),
        (START_MS // 1_000, Reason.CLIENT_EXPIRED),  # seconds for milliseconds
        (START_MS + 86_400_000, Reason.BAD_TIME),
    ):
        change = world.client_of("a", "b", "2", genesis_time_ms=genesis_time_ms)
        refused(world.govern("b", Change(create_client=change)), reason)
    sent = Sent(world)
    record = sent.b.client("a-1")
    last = record.latest_time_ms + record.trusting_period_ms
    clients.check_active(record, last)
    with pytest.raises(ChiptraceError):
        clients.check_active(record, last + 1)
    proof = sent.commitment_proof()
    world.clock.now_ms = last + 1
    refused(sent.receive(proof=proof, timeout_ms=last + 10), Reason.CLIENT_EXPIRED)
    fresh = clients.trusted_state(sent.b.app.store, record)
    sent.a.produce()
    with pytest.raises(Invalid) as caught:
        verify_header(fresh, sent.a.header(sent.a.height), last + 1, record.trusting_period_ms)
    assert caught.value.reason == Reason.CLIENT_EXPIRED
    assert isinstance(record, ClientRecord)
