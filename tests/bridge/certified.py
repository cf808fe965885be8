"""Validator sets with their seeds, and headers certified by them: a chain without a ledger, for light clients."""

from hashlib import sha256

from consensus.certificate import form
from consensus.messages import signed_vote
from ledger import codec, hashes
from ledger.block import block_hash, validators_hash
from proto.chiptrace.v1.consensus_pb2 import FINALIZE, Certificate, SignedHeader, Vote
from proto.chiptrace.v1.ledger_pb2 import Header, Validator, ValidatorSet

CHAIN = sha256(b"the other chain").digest()
HERE = sha256(b"this chain").digest()
T0 = 1_790_000_000_000


class Keys:
    """A validator set that can sign. Members are named by letters: "abcd" is four members with a key each."""

    def __init__(self, members="abcd", in_force_from=1, salt=""):
        self.seeds = [
            sha256(f"{salt}/{index}/{member}".encode()).digest() for index, member in enumerate(members)
        ]
        self.set = ValidatorSet(
            in_force_from=in_force_from,
            validators=[
                Validator(key=hashes.public_key(seed), member=member)
                for seed, member in zip(self.seeds, members, strict=True)
            ],
        )

    def hash(self, chain_id=CHAIN):
        return validators_hash(chain_id, self.set)

    def certify(
        self, header: bytes, height, signers=None, *, chain_id=CHAIN, kind=FINALIZE, view=1
    ) -> Certificate:
        """A certificate by these signers (default: all); nothing is checked."""
        this_hash = block_hash(chain_id, header)
        signed = signed_vote(chain_id, Vote(kind=kind, height=height, view=view, block_hash=this_hash))
        chosen = range(len(self.seeds)) if signers is None else signers
        signatures = {index: hashes.sign_raw(self.seeds[index], signed) for index in chosen}
        return form(kind, height, view, this_hash, signatures, len(self.seeds))


def make_header(height, keys: Keys, following: Keys | None = None, **changes) -> bytes:
    fields = {
        "chain_id": CHAIN,
        "state_version": 1,
        "height": height,
        "time_ms": T0 + 1_000 * height,
        "parent_hash": sha256(b"parent").digest(),
        "transactions_root": sha256(b"transactions").digest(),
        "app_hash": sha256(b"app").digest(),
        "validators_hash": keys.hash(),
        "next_validators_hash": (following or keys).hash(),
    }
    return codec.encode(Header(**(fields | changes)))


def signed_header(
    height, keys: Keys, following: Keys | None = None, signers=None, view=1, **changes
) -> SignedHeader:
    """A header of the chain, certified by `keys`, with the set that follows where it changes."""
    header = make_header(height, keys, following, **changes)
    return SignedHeader(
        header=header,
        certificate=keys.certify(header, height, signers, view=view),
        next_validators=codec.encode(following.set) if following is not None else b"",
    )
