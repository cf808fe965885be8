"""What members pass from hand to hand for a recovery: the document, and each approval of it, as files.

A document is the canonical `RecoveryDocument`, the very bytes that are signed; an approval is the `Signature` of one
admin key over it, under a purpose of its own, so that it is no approval of any proposal. Both are checked when read.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from client import keys
from ledger import codec, hashes, recovery
from ledger.errors import Invalid, Malformed
from ledger.hashes import Purpose
from ledger.limits import RECOVERY_BYTES_MAX
from ledger.recovery import NONCE_BYTES, Opened, Standing
from proto.chiptrace.v1.ledger_pb2 import Recovery, RecoveryDocument, Signature, Validator

_APPROVAL_BYTES_MAX: Final = 1_024


@dataclass(frozen=True, slots=True)
class Document:
    """A document as it is signed."""

    opened: Opened  # with the approvals at hand, which may be none
    place: str  # the file

    @property
    def data(self) -> bytes:
        """The bytes that are signed."""
        return self.opened.document_bytes


def draw_up(
    here: Standing, validators: Sequence[Validator], reason: str, now_ms: int, replaces: bytes = b""
) -> bytes:
    """The bytes of a new document for a chain that stands there, unlike any other."""
    return codec.encode(
        RecoveryDocument(
            chain_id=here.chain_id,
            height=here.height,
            block_hash=here.block_hash,
            app_hash=here.app_hash,
            validators=validators,
            reason=reason,
            signed_ms=now_ms,
            nonce=secrets.token_bytes(NONCE_BYTES),
            replaces=replaces,
        )
    )


def read(path: Path, approvals: Sequence[Path] = ()) -> Document:
    """The document in a file, with the approvals in others. Raises Malformed naming the file that is wrong, OSError."""
    data = _read(path, RECOVERY_BYTES_MAX)
    what = "no recovery document; `chiptrace recover propose` writes one"
    try:
        opened = recovery.decode(codec.encode(Recovery(document=data)))
    except (Malformed, Invalid) as error:
        raise Malformed(f"{path} is {what} ({error})") from None
    signatures = [_read_approval(one, opened, path) for one in approvals]
    if len({signature.key for signature in signatures}) != len(signatures):
        raise Malformed("two of these approvals are by one key; name each once")
    whole = codec.encode(Recovery(document=data, approvals=signatures))
    return Document(recovery.decode(whole), str(path))


def approve(document: Document, key: Path) -> Signature:
    """The approval of the admin key in a key file. Raises Malformed."""
    seed = keys.read_seed(key)
    signature = hashes.sign(seed, Purpose.RECOVERY, document.opened.document.chain_id, document.data)
    return Signature(key=hashes.public_key(seed), signature=signature)


def _read_approval(path: Path, opened: Opened, document: Path) -> Signature:
    data = _read(path, _APPROVAL_BYTES_MAX)
    try:
        approval = codec.decode(Signature, data, _APPROVAL_BYTES_MAX)
    except Malformed as error:
        raise Malformed(f"{path} is no approval; `chiptrace recover sign` writes one ({error})") from None
    if not hashes.verify(
        approval.key, Purpose.RECOVERY, opened.document.chain_id, opened.document_bytes, approval.signature
    ):
        raise Malformed(f"{path} does not approve {document}: it is of another document, or damaged")
    return approval


def _read(path: Path, bytes_max: int) -> bytes:
    with path.open("rb") as file:
        return file.read(bytes_max + 1)  # one too many is told by the decoder
