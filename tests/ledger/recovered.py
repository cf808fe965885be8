"""Recoveries for tests: documents for a chain of chain_fixture, approved by its members' admin keys."""

from collections.abc import Sequence
from hashlib import sha256

from ledger import codec, hashes
from ledger.application import Application
from ledger.hashes import Purpose
from ledger.recovery import Opened, decode
from proto.chiptrace.v1.ledger_pb2 import Recovery, RecoveryDocument, Signature, Validator
from tests.ledger.chain_fixture import key_of, seed_of


def fresh_seeds(members: Sequence[str], salt: str = "fresh") -> list[bytes]:
    """Seeds of validator keys that no chain has seen."""
    return [sha256(f"{salt}/{number}/{member}".encode()).digest() for number, member in enumerate(members)]


def document_for(chain, members: Sequence[str] = (), salt: str = "fresh", **changed) -> bytes:
    """What a recovery of this chain at its tip says; any field may be another."""
    names = members or chain.members
    info = chain.info
    fields = {
        "chain_id": info.chain_id,
        "height": info.height,
        "block_hash": info.block_hash,
        "app_hash": info.app_hash,
        "validators": [
            Validator(key=hashes.public_key(seed), member=member)
            for member, seed in zip(names, fresh_seeds(names, salt), strict=True)
        ],
        "reason": "two machine rooms burnt down",
        "signed_ms": info.time_ms + 1,
        "nonce": bytes(16),
    }
    return codec.encode(RecoveryDocument(**(fields | changed)))


def approval(document: bytes, member: str, chain_id: bytes, purpose: Purpose = Purpose.RECOVERY) -> Signature:
    """A member's approval with its admin key."""
    seed = seed_of(member, "admin")
    return Signature(key=key_of(member, "admin"), signature=hashes.sign(seed, purpose, chain_id, document))


def approved(chain, document: bytes, approvers: Sequence[str] | None = None) -> bytes:
    """The document with approvals (default: of all members): a Recovery."""
    names = chain.members if approvers is None else approvers
    approvals = [approval(document, name, chain.chain_id) for name in names]
    return codec.encode(Recovery(document=document, approvals=approvals))


def apply(chain, *recoveries: bytes) -> Opened:
    """Opens the chain's store again with these recoveries, as after its operator applied them."""
    chain.app = Application(chain.kv, chain.operations, chain.changes, recoveries)
    return decode(recoveries[0])
