"""The validator's key and its signing record, which live and die together.

Both are made by `create`, in one directory that is no part of any backup. A key whose record is missing or damaged
must not vote again: the node then only follows, says so, and its operator makes a new key. A node whose database is
behind its record (it was deleted, or restored) follows until it has caught up with what it may have signed.
"""

import fcntl
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from client import keys
from ledger import hashes
from ledger.block import sign_transaction
from ledger.errors import InvariantBroken, StoreError
from node.journal_file import JournalFile
from proto.chiptrace.v1.consensus_pb2 import JournalRecord
from proto.chiptrace.v1.ledger_pb2 import Operation

_LOG: Final = logging.getLogger("chiptrace.signer")
KEY_FILE: Final = "validator.key"
RECORD_FILE: Final = "signing-record"
LOCK_FILE: Final = "lock"


def create(directory: Path) -> bytes:
    """A new validator key with its empty signing record; the public key. Raises FileExistsError for an old one."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    public_key = keys.create(directory / KEY_FILE)
    JournalFile.create(directory / RECORD_FILE).close()
    return public_key


def _locked(path: Path) -> int:
    """Two processes with one key would sign two votes that exclude each other. Raises StoreError."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise StoreError(
            f"another process votes with the key in {path.parent}; a key has one node, ever: stop the other one"
        ) from None
    return handle


class Signer:
    """Signs for one validator, or for none."""

    def __init__(self, directory: Path) -> None:
        """Takes hold of the key and its record, for itself alone.

        Raises Malformed when there is a key file that cannot be used, StoreError when another process holds it.
        """
        self.key: bytes | None = None  # public
        self._lock = -1
        self._seed = b""
        self._journal: JournalFile | None = None
        self._records: list[JournalRecord] = []
        self._last_height = 0  # the highest height of which the record speaks
        path = directory / KEY_FILE
        if not path.exists():
            _LOG.info("no validator key: this node only follows", extra={"file": str(path)})
            return
        self._seed = keys.read_seed(path)
        self.key = hashes.public_key(self._seed)
        self._lock = _locked(directory / LOCK_FILE)
        self._open(directory / RECORD_FILE)

    @property
    def may_vote(self) -> bool:
        """Whether there is a key with its whole signing record."""
        return self._journal is not None

    def votes_at(self, height: int) -> bool:
        """Whether it may vote at this open height: the record must not speak of a later one."""
        return self.may_vote and height >= self._last_height

    def take_records(self) -> Sequence[JournalRecord]:
        """What the record held when it was opened; once."""
        records, self._records = self._records, []
        return records

    def sign(self, data: bytes) -> bytes:
        """The validator's signature over these bytes."""
        if not self.may_vote:
            raise InvariantBroken("a key without its signing record was asked to sign")
        return hashes.sign_raw(self._seed, data)

    def transaction(self, chain_id: bytes, operation: Operation, valid_until_ms: int) -> bytes:
        """A transaction of this validator with one operation, the same bytes for the same arguments."""
        key = hashes.sha256(operation.SerializeToString(deterministic=True))[:16]
        return sign_transaction(chain_id, self._seed, [operation], valid_until_ms, key)

    def append(self, records: Sequence[JournalRecord]) -> None:
        """Make these records durable. Raises StoreError."""
        self._opened().append(records)

    def rotate_above(self, size: int, open_height: int) -> None:
        """Begin the record anew if it is larger; only when every height in it is stored. What stays is which height
        is open, so that a database put back to an older state does not vote again below it."""
        if self._opened().bytes > size:
            self._opened().rotate([JournalRecord(height=open_height)])

    def close(self) -> None:
        """Close the record and let go of the key."""
        if self._journal is not None:
            self._journal.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _opened(self) -> JournalFile:
        if self._journal is None:
            raise InvariantBroken("a node without a signing record was about to vote")
        return self._journal

    def _open(self, path: Path) -> None:
        try:
            journal = JournalFile.open(path)
            self._records = list(journal.records())
        except StoreError as error:
            _LOG.error(
                "this key must not vote any more, the node only follows: make a new validator key "
                "(`chiptrace node key`) and have governance replace the old one",
                extra={"cause": str(error)},
            )
            return
        if journal.torn is not None:
            _LOG.warning("a torn end of the signing record was cut off", extra={"kept": str(journal.torn)})
        self._journal = journal
        self._last_height = max((record.height for record in self._records), default=0)
