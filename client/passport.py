"""A passport: what an audit of one part rested on, as one file that verifies without any node (docs/passports.md).

It holds things under what they are (a value by its key, a history by its subject, a transaction once, a header by its
height), not what was asked and answered: a later client that asks for the same in another order, or in larger or smaller
questions, finds it. Nothing in it is believed, not even its table of contents: who reads it audits it.
"""

import errno
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Final

from google.protobuf.message import Message

from client.keys import sync_directory
from ledger import codec
from ledger.errors import Malformed
from ledger.hashes import HASH_BYTES
from proto.chiptrace.v1.consensus_pb2 import SignedHeader
from proto.chiptrace.v1.ledger_pb2 import Reason
from proto.chiptrace.v1.passport_pb2 import Passport, PassportChain

FORMAT: Final = 1
FILE_BYTES_MAX: Final = 33_554_432
PASSPORT_BYTES_MAX: Final = (
    67_108_864  # once it is unpacked: of the 10,000 subjects that an audit follows, about 45 MB
)
# Headers, their signatures, values, histories, their entries, transactions, leaves; and hashes that show serials.
ITEMS_MAX: Final = 1_000_000
_FIRST_LINE: Final = b"chiptrace passport "
_FIRST_LINE_BYTES_MAX: Final = 32
_GZIP: Final = 31  # window bits that say: the form of gzip, which other tools read too
_NUMBER: Final = 0  # how a field is encoded, as protobuf says it
_WITH_LENGTH: Final = 2


def _field(kind: type[Message], name: str) -> int:
    return kind.DESCRIPTOR.fields_by_name[name].number


# Messages whose fields are counted, by the number of the field that they stand in.
_COUNTED: Final[Mapping[int, Any]] = {
    _field(Passport, "chains"): {
        _field(PassportChain, "headers"): {_field(SignedHeader, "certificate"): {}},
        _field(PassportChain, "histories"): {},
    },
    _field(Passport, "shown"): {},
}
_VARINT_BYTES_MAX: Final = 10
_CUT_OR_CHANGED: Final = "it was cut or changed on its way; ask for it again"


def to_bytes(passport: Passport) -> bytes:
    """The file of a passport; the same for the same passport. Raises Malformed with OVERSIZE."""
    data = codec.encode(passport)
    if len(data) > PASSPORT_BYTES_MAX or _count(data) > ITEMS_MAX:
        raise _too_large(f"{len(data)} bytes")
    packing = zlib.compressobj(9, zlib.DEFLATED, _GZIP)
    return b"%s%d\n" % (_FIRST_LINE, FORMAT) + packing.compress(data) + packing.flush()


def from_bytes(file: bytes) -> Passport:
    """The passport that a file says it is. Raises Malformed, and nothing else."""
    # 1. A file of bounded length that says it is a passport of a form that this version reads.
    if len(file) > FILE_BYTES_MAX:
        raise _too_large(f"{len(file)} bytes in the file")
    _check_first_line(file)
    # 2. Unpacked, no more than so much, and nothing behind it.
    data = _unpacked(file[file.index(b"\n") + 1 :])
    # 3. So many things and no more, before any of them takes memory.
    if _count(data) > ITEMS_MAX:
        raise _too_large(f"more than {ITEMS_MAX} things")
    # 4. The one encoding.
    try:
        passport = codec.decode(Passport, data, PASSPORT_BYTES_MAX)
    except Malformed as error:
        raise unreadable(error) from error
    # 5. Each thing once, in its order.
    _check_order(passport)
    return passport


def write_passport(path: Path, file: bytes) -> None:
    """Writes what `to_bytes` made to a new file, durably; where that fails, none is left. Raises OSError."""
    target = path.open("xb")
    try:
        with target:
            target.write(file)
            target.flush()
            os.fsync(target.fileno())
        sync_directory(path.parent)
    except BaseException as error:
        path.unlink(missing_ok=True)  # half of one is no passport, and in the way of the next
        if isinstance(error, OSError):
            error.filename = str(path)
        raise


def read_passport(path: Path) -> Passport:
    """The passport in a file. Raises Malformed, OSError."""
    if path.exists() and not path.is_file():  # a pipe or a device may never end
        raise OSError(errno.EINVAL, "it is a folder, a pipe or a device, and a passport is a file", str(path))
    with path.open("rb") as file:
        return from_bytes(file.read(FILE_BYTES_MAX + 1))


def _check_first_line(file: bytes) -> None:
    line, ended, _ = file[:_FIRST_LINE_BYTES_MAX].partition(b"\n")
    said = line.removeprefix(_FIRST_LINE)
    if not ended or said == line or not said.isdigit() or said[:1] == b"0":
        raise Malformed(f"this is no passport: a passport begins with '{_FIRST_LINE.decode()}{FORMAT}'")
    if int(said) != FORMAT:
        raise Malformed(
            f"the passport has form {int(said)}, this version of chiptrace reads form {FORMAT}; use a newer version"
        )


def _unpacked(packed: bytes) -> bytes:
    unpacking = zlib.decompressobj(_GZIP)
    try:
        data = unpacking.decompress(packed, PASSPORT_BYTES_MAX + 1)
    except zlib.error as error:
        raise Malformed(f"the passport cannot be unpacked ({error}): {_CUT_OR_CHANGED}") from None
    if len(data) > PASSPORT_BYTES_MAX:
        raise _too_large(f"more than {PASSPORT_BYTES_MAX} bytes once it is unpacked")
    if not unpacking.eof:
        raise Malformed(f"the passport ends too early: {_CUT_OR_CHANGED}")
    if unpacking.unused_data:
        raise Malformed(f"something stands behind the end of the passport: {_CUT_OR_CHANGED}")
    return data


def unreadable(error: Malformed) -> Malformed:
    """What is wrong with something in a passport, as what is wrong with the passport."""
    return Malformed(f"the passport cannot be read: {error}; {_CUT_OR_CHANGED}", error.reason)


def _too_large(what: str) -> Malformed:
    return Malformed(
        f"a passport of {what}; at most {FILE_BYTES_MAX} bytes of file, {PASSPORT_BYTES_MAX} unpacked and {ITEMS_MAX} "
        "things are read. Ask for passports of smaller parts",
        Reason.OVERSIZE,
    )


# ---- how many things there are, told from the bytes ----------------------------------------------------------


def _count(data: bytes) -> int:
    """The things in all chains, counted no further than to one too many. An empty one takes 2 bytes here, and up to 60 in
    memory."""
    return sum(1 for _ in islice(_things(data, 0, len(data), _COUNTED), ITEMS_MAX + 1))


def _things(data: bytes, start: int, end: int, inside: Mapping[int, Any]) -> Iterator[int]:
    """One for each field of a message, and of those messages in it that hold as many things as somebody likes."""
    for number, begin, stop in _fields(data, start, end):
        yield begin
        if number in inside:
            yield from _things(data, begin, stop, inside[number])


def _fields(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The fields: number, begin and end of the content, none of a number. Raises Malformed for other forms."""
    while start < end:
        tag, start = _varint(data, start, end)
        length, start = _varint(data, start, end)
        if tag & 7 == _NUMBER:
            length = 0
        elif tag & 7 != _WITH_LENGTH or length > end - start:
            raise Malformed(f"the passport cannot be read: {_CUT_OR_CHANGED}")
        yield tag >> 3, start, start + length
        start += length


def _varint(data: bytes, start: int, end: int) -> tuple[int, int]:
    found = 0
    for place in range(start, min(end, start + _VARINT_BYTES_MAX)):
        found |= (data[place] & 0x7F) << 7 * (place - start)
        if data[place] < 0x80:
            return found, place + 1
    raise Malformed(f"the passport cannot be read: {_CUT_OR_CHANGED}")


# ---- each thing once ----------------------------------------------------------------------------------------------


def _check_order(passport: Passport) -> None:
    check_ascending("chains", (chain.chain_id for chain in passport.chains))
    check_ascending("proofs of serials", (membership.serial for membership in passport.shown))
    for chain in passport.chains:
        check_ascending("values", (value.key for value in chain.values))
        check_ascending("histories", (history.subject for history in chain.histories))
        check_ascending("log leaves", (leaf.height for leaf in chain.leaves))
        if len(set(chain.transactions)) < len(chain.transactions):
            raise _not_once("transactions")
        if len(chain.hashes) % HASH_BYTES:
            raise Malformed(f"a passport whose hashes have not {HASH_BYTES} bytes each: {_CUT_OR_CHANGED}")


def check_ascending(what: str, keys: Iterable[Any]) -> None:
    """Raises Malformed for things of which one is there twice, or out of order."""
    if any(after <= before for before, after in pairwise(keys)):
        raise _not_once(what)


def _not_once(what: str) -> Malformed:
    return Malformed(
        f"a passport whose {what} are not each once and in their order: made by something else than chiptrace, or "
        "changed on its way; ask for it again"
    )
