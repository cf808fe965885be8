import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.certificate import bitmap, form, signers, verify_certificate
from consensus.messages import signed_vote
from consensus.quorum import quorum
from ledger import hashes
from ledger.errors import Invalid
from proto.chiptrace.v1.consensus_pb2 import Certificate, Vote
from proto.chiptrace.v1.ledger_pb2 import Reason, Validator, ValidatorSet
from tests.consensus import chain
from tests.consensus.lone import FINALIZE, NOTARIZE, NULLIFY

HASH = bytes(range(32))


def check(certificate, n):
    verify_certificate(chain.CHAIN_ID, chain.validators(n), certificate, chain.verify)


def refused(certificate, n):
    with pytest.raises(Invalid) as caught:
        check(certificate, n)
    assert caught.value.reason == Reason.BAD_CERTIFICATE


@st.composite
def made(draw):
    n = draw(st.integers(1, 31))
    chosen = draw(st.sets(st.integers(0, n - 1), min_size=quorum(n), max_size=n))
    kind = draw(st.sampled_from([NOTARIZE, NULLIFY, FINALIZE]))
    view = draw(st.integers(1, 2**64 - 1))
    block_hash = b"" if kind == NULLIFY else draw(st.binary(min_size=32, max_size=32))
    return n, sorted(chosen), chain.certificate(kind, chosen, n, 7, view, block_hash)


@given(made())
def test_a_quorum_of_the_set_verifies(given_certificate):
    n, chosen, certificate = given_certificate
    check(certificate, n)
    assert list(signers(certificate, n)) == chosen


@given(made())
def test_forming_it_from_votes_gives_the_same_bytes(given_certificate):
    n, chosen, certificate = given_certificate
    votes = {i: certificate.signatures[place] for place, i in enumerate(chosen)}
    formed = form(certificate.kind, 7, certificate.view, certificate.block_hash, votes, n)
    assert formed == certificate
    assert bitmap(votes, n) == certificate.signers


@settings(max_examples=200)
@given(made(), st.data())
def test_any_change_spoils_it(given_certificate, data):
    n, chosen, certificate = given_certificate
    changed = Certificate()
    changed.CopyFrom(certificate)
    place = data.draw(st.integers(0, len(chosen) - 1))
    change = data.draw(
        st.sampled_from(
            [
                "kind",
                "height",
                "view",
                "hash",
                "bit",
                "signature",
                "drop",
                "double",
                "swap",
                "longer",
                "shorter",
            ]
        )
    )
    if change == "kind":
        changed.kind = {NOTARIZE: FINALIZE, FINALIZE: NOTARIZE, NULLIFY: FINALIZE}[certificate.kind]
    elif change == "height":
        changed.height += 1
    elif change == "view":
        changed.view -= 1
    elif change == "hash":
        changed.block_hash = b"" if certificate.block_hash else HASH
    elif change == "bit":
        bits = bytearray(changed.signers)
        bit = data.draw(st.integers(0, 8 * len(bits) - 1))
        bits[bit // 8] ^= 1 << (7 - bit % 8)
        changed.signers = bytes(bits)
    elif change == "signature":
        bad = bytearray(changed.signatures[place])
        bad[data.draw(st.integers(0, 63))] ^= 1
        changed.signatures[place] = bytes(bad)
    elif change == "drop":
        del changed.signatures[place]
    elif change == "double":
        changed.signatures.append(changed.signatures[place])
    elif change == "swap":
        other = (place + 1) % len(chosen)
        if other == place:
            return
        changed.signatures[place], changed.signatures[other] = (
            changed.signatures[other],
            changed.signatures[place],
        )
    elif change == "longer":
        changed.signers += b"\0"
    else:
        changed.signers = changed.signers[:-1]
    refused(changed, n)


@given(st.integers(2, 31))
def test_one_less_than_a_quorum_is_none(n):
    refused(chain.certificate(NOTARIZE, range(quorum(n) - 1), n, 1, 1, HASH), n)


def test_a_quorum_of_signatures_beside_a_bad_one_is_none():
    certificate = chain.certificate(NOTARIZE, range(4), 4, 1, 1, HASH)
    certificate.signatures[3] = bytes(64)
    refused(certificate, 4)


def test_another_set_another_chain_no_set():
    certificate = chain.certificate(NOTARIZE, range(4), 4, 1, 1, HASH)
    for members in (chain.validators(4, first=1), chain.validators(6), chain.validators(3)):
        with pytest.raises(Invalid):
            verify_certificate(chain.CHAIN_ID, members, certificate, chain.verify)
    with pytest.raises(Invalid):
        verify_certificate(bytes(32), chain.validators(4), certificate, chain.verify)


def test_it_verifies_with_ed25519_by_default():
    seeds = [bytes([i]) * 32 for i in range(4)]
    members = [Validator(key=hashes.public_key(seed), member=str(i)) for i, seed in enumerate(seeds)]
    vote = Vote(kind=FINALIZE, height=3, view=2, block_hash=HASH)
    signatures = {i: hashes.sign_raw(seed, signed_vote(chain.CHAIN_ID, vote)) for i, seed in enumerate(seeds)}
    del signatures[1]
    certificate = form(FINALIZE, 3, 2, HASH, signatures, 4)
    verify_certificate(chain.CHAIN_ID, ValidatorSet(validators=members), certificate)
    certificate.view = 3
    with pytest.raises(Invalid):
        verify_certificate(chain.CHAIN_ID, ValidatorSet(validators=members), certificate)
