"""The golden vector of a recovery: its document, what approves it, and what the header of its block says."""

from collections.abc import Sequence
from typing import Any

from ledger import block, codec, hashes, recovery
from ledger.hashes import Purpose
from proto.chiptrace.v1.ledger_pb2 import Recovery, RecoveryDocument, Signature
from tests.ledger import messages


def recovery_vector(chain_id: bytes, seeds: Sequence[bytes]) -> dict[str, Any]:
    """A document of every field, approved by these seeds' keys."""
    document = list(messages.samples(RecoveryDocument))[1]
    data = codec.encode(document)
    approvals = [
        Signature(key=hashes.public_key(seed), signature=hashes.sign(seed, Purpose.RECOVERY, chain_id, data))
        for seed in seeds
    ]
    whole = codec.encode(Recovery(document=data, approvals=approvals))
    return {
        "fields": messages.to_plain(document),
        "seeds": [seed.hex() for seed in seeds],
        "document": recovery.document_hash(chain_id, data).hex(),
        "bytes": whole.hex(),
        "mark": block.recovery_mark(chain_id, whole).hex(),
    }
