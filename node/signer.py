"""The validator's key and its signing record, which live and die together.

Both are made by `create`, in one directory that is no part of any backup or snapshot and is locked by the one process
that votes. The key never votes again when its record

1. is missing, or damaged anywhere but at a torn end;
2. is an old copy: the store notes with every height how long the record was (`note`, `compare`), and it is shorter now;
3. was found to be so before (the file `refused` says why, and outlives a deleted database), or was retired.

The node then follows, says so, and its operator makes a new key (`retire_and_create`), which governance puts in the old
one's place. A node whose database is behind its record (it was deleted, or restored) follows until it has caught up
with what it may have signed.

What this cannot see: record and database put back together from one image of the machine, a record put back while the
database was deleted, and a record copied at the very height that is open. That is why the directory is marked as one
that backups skip.
"""

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from client import keys
from ledger import hashes
from ledger.block import sign_transaction
from ledger.errors import InvariantBroken, Malformed, StoreError
from node import journal_file
from node.journal_file import JournalFile
from proto.chiptrace.v1.consensus_pb2 import JournalRecord, Vote
from proto.chiptrace.v1.ledger_pb2 import Operation

_LOG: Final = logging.getLogger("chiptrace.signer")
KEY_FILE: Final = "validator.key"
RECORD_FILE: Final = "signing-record"
LOCK_FILE: Final = "lock"
REFUSED_FILE: Final = "refused"
RETIRED_DIRECTORY: Final = "retired"
BACKUP_FILE: Final = "CACHEDIR.TAG"
ROTATE: Final = (
    "This node follows and does not vote. Make a new validator key with `chiptrace node rotate-key --config FILE` "
    "(stop the node first); it says what governance has to do"
)
# The first line is what tar --exclude-caches, restic, borg and others look for.
_BACKUP_TEXT: Final = """Signature: 8a477f597d28d172789f06886806bc55
# This directory holds a validator's key and the record of what the key has signed. Keep it out of every backup and
# snapshot: a key that votes with an old copy of its record signs twice what it signed since, and that is a provable
# fault of its member. When key or record are lost, nothing else is: make a new key (chiptrace node rotate-key).
"""


def create(directory: Path) -> bytes:
    """A new validator key with its empty signing record; the public key. Raises FileExistsError for an old one."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    keys.sync_directory(directory.parent)
    public_key = keys.create(directory / KEY_FILE)
    journal_file.write_durably(directory / BACKUP_FILE, _BACKUP_TEXT.encode())
    JournalFile.create(
        directory / RECORD_FILE
    ).close()  # durable with it: the directory, and so the key's name
    return public_key


def retire_and_create(directory: Path) -> tuple[bytes | None, bytes]:
    """Put the key aside for good, with all that is known of its votes, and make a new one; (old, new) public keys.

    The old is None where a rotation that was cut off had put it aside already. Raises Malformed where there never was
    a key, StoreError while a node holds it.
    """
    retired = directory / RETIRED_DIRECTORY
    path = directory / KEY_FILE
    if not path.exists() and not retired.exists():
        raise Malformed(f"there is no key {path} to replace; make one with `chiptrace node key {directory}`")
    with _held(directory):
        old = None
        if path.exists():
            old = keys.public_key(path)
            aside = retired / old.hex()
            aside.mkdir(parents=True, exist_ok=True, mode=0o700)
            keys.sync_directory(retired)
            keys.sync_directory(directory)
            record = directory / RECORD_FILE
            # The key goes last: until then it is here, without its record, and does not vote.
            for name in (record, directory / REFUSED_FILE, *journal_file.torn_tails(record), path):
                if name.exists():
                    name.rename(aside / name.name)
            keys.sync_directory(aside)
            keys.sync_directory(directory)
        return old, create(directory)


@contextlib.contextmanager
def _held(directory: Path) -> Iterator[None]:
    handle = _locked(directory / LOCK_FILE)
    try:
        yield
    finally:
        os.close(handle)


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


def retired_keys(directory: Path) -> list[str]:
    """The public keys (hexadecimal) that were put aside here."""
    aside = directory / RETIRED_DIRECTORY
    names = sorted(item.name for item in aside.iterdir()) if aside.is_dir() else []
    return [name for name in names if len(name) == 64 and not set(name) - set("0123456789abcdef")]


def trouble_of(directory: Path, key: bytes) -> str:
    """Why this key must not vote, as far as files beside it tell; empty: nothing is known against it."""
    if (directory / RETIRED_DIRECTORY / key.hex()).exists():
        return f"the key {key.hex()} was retired, for good"
    with contextlib.suppress(FileNotFoundError):
        words = (directory / REFUSED_FILE).read_text(encoding="utf-8", errors="replace")
        return words.strip() or "its record was refused"
    return ""


class Signer:
    """Signs for one validator, or for none."""

    def __init__(self, directory: Path) -> None:
        """Takes hold of the key and its record, for itself alone.

        Raises Malformed when there is a key file that cannot be used, StoreError when another process holds it or the
        disk does not take its record.
        """
        self.key: bytes | None = None  # public
        self.trouble = ""  # why the key must not vote; empty: it may, or there is none
        self._directory = directory
        self._lock = -1
        self._seed = b""
        self._journal: JournalFile | None = None
        self._records: list[JournalRecord] = []
        self._last_height = 0  # the highest height of which the record speaks
        self._last_vote: Vote | None = None
        self.retired = frozenset(
            map(bytes.fromhex, retired_keys(directory))
        )  # this node's keys before this one
        path = _key_file(directory)
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

    def note(self) -> bytes:
        """For the store to keep with a height: whose record this is, and how long it is, durably. Empty for none."""
        if self._journal is None or self.key is None:
            return b""
        return self.key + self._journal.position.to_bytes(8, "big")

    def compare(self, note: bytes) -> None:
        """Compare the record with what the store noted last. One that is shorter is an old copy, and refused for good.

        A node that only follows appends nothing and notes the same length again, so that it is never taken for one.
        """
        if self._journal is None or note[:32] != self.key:
            return  # nothing was noted about this key
        noted = int.from_bytes(note[32:], "big")
        if self._journal.position >= noted:
            return
        cause = (
            f"the signing record is older than the database: it holds {self._journal.position} bytes, and the database "
            f"saw {noted}; it was put back from a copy, or its disk lost what it had confirmed"
        )
        # On disk, so that the key stays refused also when the database is deleted.
        try:
            journal_file.write_durably(self._directory / REFUSED_FILE, cause.encode())
        except OSError as error:
            raise StoreError(f"{cause}; and {REFUSED_FILE} cannot be written: {error}") from error
        self._journal.close()
        self._journal = None
        self._records = []
        self._refuse(cause)

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
        self._last_vote = _last_vote(records) or self._last_vote

    def rotate_above(self, size: int, open_height: int) -> None:
        """Begin the record anew if it is larger; only when every height in it is stored. What stays is the last vote,
        for people, and which height is open, so that a database put back to an older state does not vote again below
        it."""
        if self._opened().bytes > size:
            kept = [] if self._last_vote is None else [JournalRecord(vote=self._last_vote)]
            self._opened().rotate([*kept, JournalRecord(height=open_height)])

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
        trouble = trouble_of(self._directory, self.key or b"")
        if trouble:
            self._refuse(trouble)
            return
        try:
            journal = JournalFile.open(path)
            self._records = list(journal.records())
        except StoreError as error:
            self._refuse(str(error))
            return
        except OSError as error:
            self.close()
            raise StoreError(
                f"signing record {path} cannot be made durable: {error}; make room on its disk, or mend it, and start again"
            ) from error
        if journal.torn is not None:
            _LOG.warning("a torn end of the signing record was cut off", extra={"kept": str(journal.torn)})
        self._journal = journal
        self._last_height = max((record.height for record in self._records), default=0)
        self._last_vote = _last_vote(self._records)

    def _refuse(self, cause: str) -> None:
        self.trouble = cause
        _LOG.error("this key must not vote any more", extra={"cause": cause, "next": ROTATE})


# ---- for people ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SignState:
    """What a key directory holds, read without a lock beside a running node."""

    key: bytes | None
    trouble: str  # why the key must not vote, as far as its files tell
    height: int = 0  # the highest height of which the record speaks
    votes: Sequence[Vote] = ()  # own votes at that height, in the order of signing
    last_vote: Vote | None = None  # of any height
    size: int = 0  # of the record's file, in bytes
    position: int = 0  # bytes ever appended for this key
    tail_bytes: int = 0  # behind the last whole frame: being written, or torn and cut at the next start
    torn: Sequence[Path] = ()
    retired: Sequence[str] = ()


def _key_file(directory: Path) -> Path:
    """A file in the directory's place holds no key either; but nobody means to observe that way."""
    if directory.exists() and not directory.is_dir():
        raise Malformed(f"key_dir {directory} is no directory; name the one that `chiptrace node key` made")
    return directory / KEY_FILE


def inspect(directory: Path) -> SignState:
    """The signing state in a key directory; nothing is changed. Raises Malformed for an unusable key file."""
    retired = retired_keys(directory)
    path = directory / RECORD_FILE
    torn = journal_file.torn_tails(path)
    if not _key_file(directory).exists():
        return SignState(None, "there is no key here: the node observes", torn=torn, retired=retired)
    key = keys.public_key(directory / KEY_FILE)
    trouble = trouble_of(directory, key)
    try:
        content = journal_file.read(path)
        records = list(content.records())
    except StoreError as error:
        return SignState(key, trouble or str(error), torn=torn, retired=retired)
    height = max((record.height for record in records), default=0)
    votes = [record.vote for record in records if record.HasField("vote")]
    return SignState(
        key=key,
        trouble=trouble,
        height=height,
        votes=[vote for vote in votes if vote.height == height],
        last_vote=votes[-1] if votes else None,
        size=len(content.whole) + len(content.tail),
        position=content.position,
        tail_bytes=len(content.tail),
        torn=torn,
        retired=retired,
    )


def _last_vote(records: Sequence[JournalRecord]) -> Vote | None:
    return next((record.vote for record in reversed(records) if record.HasField("vote")), None)
