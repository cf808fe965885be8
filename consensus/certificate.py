"""A quorum's votes in one message. Whoever holds the validator set verifies it alone: validators, nodes that
catch up, light clients on other chains, auditors."""

from collections.abc import Callable, Mapping

from consensus.messages import check_vote_shape, signed_vote
from consensus.quorum import quorum
from ledger.errors import Invalid, Malformed
from ledger.hashes import SIGNATURE_BYTES, verify_raw
from proto.chiptrace.v1.consensus_pb2 import Certificate, Vote, VoteKind
from proto.chiptrace.v1.ledger_pb2 import Reason, ValidatorSet


def bitmap(indexes: Mapping[int, bytes], validators: int) -> bytes:
    """The signers' bitmap: index i is bit 7 - i % 8 of byte i // 8."""
    data = bytearray((validators + 7) // 8)
    for index in indexes:
        data[index // 8] |= 0x80 >> index % 8
    return bytes(data)


def signers(certificate: Certificate, validators: int) -> tuple[int, ...]:
    """Indexes of the signers, ascending. Raises Invalid(BAD_CERTIFICATE) for a bitmap of another set's length
    or with bits beyond the set."""
    data = certificate.signers
    if len(data) != (validators + 7) // 8:
        raise _bad(certificate, f"its bitmap has {len(data)} bytes for {validators} validators")
    indexes = tuple(index for index in range(len(data) * 8) if data[index // 8] & 0x80 >> index % 8)
    if indexes and indexes[-1] >= validators:
        raise _bad(certificate, f"its bitmap names signer {indexes[-1]} of {validators}")
    return indexes


def votes(certificate: Certificate, validators: int) -> list[Vote]:
    """The votes that a verified certificate is made of, by ascending signer."""
    return [
        Vote(
            kind=certificate.kind,
            height=certificate.height,
            view=certificate.view,
            block_hash=certificate.block_hash,
            signer=index,
            signature=signature,
        )
        for index, signature in zip(signers(certificate, validators), certificate.signatures, strict=True)
    ]


def form(
    kind: "VoteKind.ValueType",
    height: int,
    view: int,
    block_hash: bytes,
    signatures: Mapping[int, bytes],
    validators: int,
) -> Certificate:
    """The certificate of these verified signatures, by signer index."""
    return Certificate(
        kind=kind,
        height=height,
        view=view,
        block_hash=block_hash,
        signers=bitmap(signatures, validators),
        signatures=[signatures[index] for index in sorted(signatures)],
    )


def verify_certificate(
    chain_id: bytes,
    validators: ValidatorSet,
    certificate: Certificate,
    verify: Callable[[bytes, bytes, bytes], bool] = verify_raw,
) -> None:
    """Returns only if a quorum of exactly this set signed what the certificate says.

    `verify` is called as (key, signed bytes, signature). The caller has made sure that the set is the one in
    force at the certificate's height, and looks itself at kind, height, view and block hash.
    Raises Invalid(BAD_CERTIFICATE).
    """
    n = len(validators.validators)
    # 1. Kind, height, view and block hash have their shape.
    try:
        check_vote_shape(certificate)
    except Malformed as error:
        raise _bad(certificate, str(error)) from error
    # 2. The bitmap is this set's, without a bit beyond it.
    indexes = signers(certificate, n)
    # 3. A quorum, and one signature for each signer.
    if len(indexes) < quorum(n):
        raise _bad(certificate, f"{len(indexes)} of {n} signed; {quorum(n)} are needed")
    if len(certificate.signatures) != len(indexes):
        raise _bad(certificate, f"{len(certificate.signatures)} signatures stand for {len(indexes)} signers")
    # 4. Every signature verifies: a certificate with one bad signature is none, even if a quorum is good.
    signed = signed_vote(chain_id, certificate)
    for index, signature in zip(indexes, certificate.signatures, strict=True):
        key = validators.validators[index].key
        if len(signature) != SIGNATURE_BYTES or not verify(key, signed, signature):
            raise _bad(certificate, f"the signature of validator {index} ({key.hex()}) is not valid")


def _bad(certificate: Certificate, why: str) -> Invalid:
    place = f"{certificate.kind} at height {certificate.height}, view {certificate.view}"
    return Invalid(f"certificate of kind {place}: {why}", Reason.BAD_CERTIFICATE)
