"""Ed25519 key files: one line of text, readable by their owner only.

    chiptrace-ed25519-seed-1 <64 hexadecimal digits>

The seed is the private key; whoever reads the file signs as its owner.
"""

import os
import secrets
import stat
from pathlib import Path
from typing import Final

from ledger import hashes
from ledger.errors import Malformed

HEADER: Final = "chiptrace-ed25519-seed-1"
_FILE_BYTES_MAX: Final = 256


def create(path: Path) -> bytes:
    """Make a new key, store its seed at `path` (0600, durable, never over an existing file); the public key.

    Raises FileExistsError when there is a file already.
    """
    seed = secrets.token_bytes(32)
    make_directory(path.parent)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(f"{HEADER} {seed.hex()}\n")
        file.flush()
        os.fsync(file.fileno())
    sync_directory(path.parent)
    return hashes.public_key(seed)


def make_directory(path: Path, mode: int = 0o777) -> None:
    """A directory that is there from here on, with those above it, whatever happens to the machine."""
    missing = [one for one in (path, *path.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(mode=mode, exist_ok=True)
        sync_directory(one.parent)
    path.mkdir(exist_ok=True)  # raises FileExistsError where a file stands


def sync_directory(path: Path) -> None:
    """What was made, renamed or removed in a directory is on the disk from here on."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_seed(path: Path) -> bytes:
    """The 32-byte seed in a key file. Raises Malformed, naming the file, when it is missing, open to others,
    or not a key file."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise Malformed(f"key file {path} is no ordinary file; name one that `chiptrace` wrote")
        with path.open("rb") as file:
            text = file.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise Malformed(f"key file {path} cannot be read ({error.strerror}); name an existing one") from None
    if stat.S_IMODE(mode) & 0o077:
        raise Malformed(f"key file {path} may be read by others; run: chmod 600 {path}")
    words = text.decode("ascii", "replace").split()
    if len(words) != 2 or words[0] != HEADER or len(words[1]) != 64:
        raise Malformed(f"{path} is not a key file: it must hold one line '{HEADER} <64 hex digits>'")
    try:
        return bytes.fromhex(words[1])
    except ValueError:
        raise Malformed(f"{path}: the seed is not hexadecimal") from None


def public_key(path: Path) -> bytes:
    """The public key (32 bytes) that belongs to the key file."""
    return hashes.public_key(read_seed(path))
