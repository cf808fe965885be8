"""The file of a passport: one encoding, packed, bounded; whatever else somebody sends is refused in words."""

import errno
import tracemalloc
import zlib
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client import passport as form
from client.passport import FORMAT, from_bytes, read_passport, to_bytes, write_passport
from ledger import codec
from ledger.errors import Malformed
from proto.chiptrace.v1.consensus_pb2 import Certificate, SignedHeader
from proto.chiptrace.v1.ledger_pb2 import Membership, Reason
from proto.chiptrace.v1.passport_pb2 import Passport, PassportChain
from tests.ledger import messages

LINE = b"chiptrace passport 1\n"


def small():
    passport = Passport(asked="urn:epc:id:sgtin:4012345.000001.1")
    for number in range(2):
        chain = passport.chains.add(chain_id=bytes([number]) * 32, genesis=b"g", hashes=bytes(64))
        for key in range(3):
            chain.values.add(key=bytes([key]), value=b"v", siblings=[0, 1])
            chain.histories.add(subject=bytes([key]), entries=[b"e", b"f"])
            chain.leaves.add(height=key + 1, leaf=bytes(112))
        chain.transactions.extend([b"t", b"u"])
    return passport


def packed(data, line=LINE):
    packing = zlib.compressobj(9, zlib.DEFLATED, 31)
    return line + packing.compress(data) + packing.flush()


def refused(file, reason=Reason.MALFORMED):
    with pytest.raises(Malformed) as caught:
        from_bytes(file)
    assert caught.value.reason == reason
    return str(caught.value)


def test_a_file_is_read_as_it_was_written(tmp_path):
    file = to_bytes(small())
    assert file.startswith(LINE)
    assert from_bytes(file) == small()
    assert to_bytes(from_bytes(file)) == file
    # The form that other tools read: gzip behind the first line.
    assert zlib.decompress(file[len(LINE) :], 31) == codec.encode(small())
    write_passport(tmp_path / "p", file)
    assert read_passport(tmp_path / "p") == small()
    with pytest.raises(FileExistsError):
        write_passport(tmp_path / "p", file)
    assert (tmp_path / "p").read_bytes() == file


def test_of_one_that_cannot_be_written_whole_nothing_stays(tmp_path, monkeypatch):
    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(form.os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_passport(tmp_path / "p", to_bytes(small()))
    assert caught.value.filename == str(tmp_path / "p")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    write_passport(tmp_path / "p", to_bytes(small()))


@settings(max_examples=200, deadline=None)
@given(line=st.sampled_from([b"", LINE, LINE + b"\x1f\x8b\x08"]), behind=st.binary(max_size=200))
def test_garbage_is_refused(line, behind):
    with pytest.raises(Malformed):
        from_bytes(line + behind)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300))
def test_packed_garbage_is_refused_or_the_one_encoding(data):
    try:
        passport = from_bytes(packed(data))
    except Malformed:
        return
    assert codec.encode(passport) == data


@settings(max_examples=100, deadline=None)
@given(passport=messages.messages(Passport))
def test_any_passport_in_its_order_is_read_back(passport):
    for chain in passport.chains:
        chain.hashes = chain.hashes[: len(chain.hashes) // 32 * 32]
        for things, name in ((chain.values, "key"), (chain.histories, "subject"), (chain.leaves, "height")):
            once = {getattr(thing, name): thing for thing in things}
            del things[:]
            things.extend(thing for _, thing in sorted(once.items()))
        transactions = dict.fromkeys(chain.transactions)
        del chain.transactions[:]
        chain.transactions.extend(transactions)
    for things, name in ((passport.chains, "chain_id"), (passport.shown, "serial")):
        once = {getattr(thing, name): thing for thing in things}
        del things[:]
        things.extend(thing for _, thing in sorted(once.items()))
    assert from_bytes(to_bytes(passport)) == passport


def test_every_cut_and_every_changed_bit_is_refused_or_changes_nothing():
    file, random = to_bytes(small()), Random(1)
    for end in range(len(file)):
        refused(file[:end])
    for place in range(len(file) * 8):
        changed = bytearray(file)
        changed[place // 8] ^= 1 << place % 8
        try:
            found = from_bytes(bytes(changed))
        except Malformed:
            continue
        assert found == small()
    refused(file + b"\x00")
    refused(file + random.randbytes(40))


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"chiptrace passport\n",
        b"chiptrace passport \n",
        b"chiptrace passport 01\n",
        b"chiptrace passport -1\n",
        b"chiptrace passport 1",
        b"chiptrace passport 1 \n",
        b"Chiptrace passport 1\n",
        b"x" * 40 + b"\n",
    ],
)
def test_what_does_not_say_that_it_is_a_passport(line):
    assert "this is no passport" in refused(packed(codec.encode(small()), line))


def test_a_passport_of_a_later_form_says_so():
    said = refused(packed(b"", b"chiptrace passport %d\n" % (FORMAT + 1)))
    assert f"has form {FORMAT + 1}" in said
    assert "newer version" in said


def encoded_with(**changes):
    passport = small()
    for name, change in changes.items():
        change(getattr(passport.chains[0], name))
    return passport


@pytest.mark.parametrize(
    "passport",
    [
        encoded_with(values=lambda values: values.add(key=b"\x00")),
        encoded_with(values=lambda values: values.add(key=b"\x02")),
        encoded_with(histories=lambda histories: histories.add(subject=b"\x02")),
        encoded_with(leaves=lambda leaves: leaves.add(height=2)),
        encoded_with(transactions=lambda transactions: transactions.extend([b"a", b"b", b"a"])),
        Passport(chains=[PassportChain(chain_id=b"b"), PassportChain(chain_id=b"a")]),
        Passport(chains=[PassportChain(chain_id=b"a"), PassportChain(chain_id=b"a")]),
        Passport(shown=[Membership(serial="b"), Membership(serial="a")]),
    ],
)
def test_each_thing_stands_once_and_in_its_order(passport):
    assert "in their order" in refused(packed(codec.encode(passport)))


def test_hashes_have_all_their_bytes():
    passport = small()
    passport.chains[1].hashes += b"x"
    assert "32 bytes each" in refused(packed(codec.encode(passport)))


# ---- limits ----------------------------------------------------------------------------------------------------------


def test_a_file_has_so_many_bytes(monkeypatch, tmp_path):
    file = to_bytes(small())
    monkeypatch.setattr(form, "FILE_BYTES_MAX", len(file))
    assert from_bytes(file) == small()
    monkeypatch.setattr(form, "FILE_BYTES_MAX", len(file) - 1)
    refused(file, Reason.OVERSIZE)
    (tmp_path / "p").write_bytes(file)
    with pytest.raises(Malformed):
        read_passport(tmp_path / "p")


def test_a_passport_has_so_many_bytes_once_it_is_unpacked(monkeypatch):
    file, whole = to_bytes(small()), len(codec.encode(small()))
    monkeypatch.setattr(form, "PASSPORT_BYTES_MAX", whole)
    assert from_bytes(file) == small()
    monkeypatch.setattr(form, "PASSPORT_BYTES_MAX", whole - 1)
    refused(file, Reason.OVERSIZE)
    with pytest.raises(Malformed):
        to_bytes(small())


def test_little_that_unpacks_to_much_takes_no_more_than_the_limit(monkeypatch):
    monkeypatch.setattr(form, "PASSPORT_BYTES_MAX", 10_000)
    file = packed(bytes(50_000_000))
    tracemalloc.start()
    refused(file, Reason.OVERSIZE)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1_000_000


def test_a_passport_has_so_many_things(monkeypatch):
    file = to_bytes(small())
    things = 1 + 2 + 2 * (3 + 3 * 3 + 2) + 2 * 3 * 3
    monkeypatch.setattr(form, "ITEMS_MAX", things)
    assert from_bytes(file) == small()
    monkeypatch.setattr(form, "ITEMS_MAX", things - 1)
    refused(file, Reason.OVERSIZE)
    with pytest.raises(Malformed):
        to_bytes(small())


@pytest.mark.parametrize("inside", [b"\x2a\x00" * 5_000, b"\x32\x90\x4e" + b"\x12\x00" * 5_000])
def test_things_are_counted_before_they_take_memory(inside, monkeypatch):
    """Empty values, or empty entries, take 2 bytes each, and many times that once they are parsed."""
    monkeypatch.setattr(form, "ITEMS_MAX", 1_000)
    monkeypatch.setattr(codec, "decode", lambda *_: pytest.fail("it was parsed"))
    refused(packed(b"\x12" + _varint(len(inside)) + inside), Reason.OVERSIZE)


@pytest.mark.parametrize(
    "way",
    [
        [
            (Passport, "chains"),
            (PassportChain, "headers"),
            (SignedHeader, "certificate"),
            (Certificate, "signatures"),
        ],
        [(Passport, "chains"), (PassportChain, "headers"), (SignedHeader, "certificate")],
        [(Passport, "shown"), (Membership, "path")],
    ],
)
def test_signatures_and_hashes_of_serials_are_counted_too(way, monkeypatch):
    """32 million empty ones fit, and took 1.3 GB."""
    inside = _empty(way[-1]) * 5_000
    for kind, name in reversed(way[:-1]):
        inside = _tag(kind, name) + _varint(len(inside)) + inside
    monkeypatch.setattr(form, "ITEMS_MAX", 1_000)
    monkeypatch.setattr(codec, "decode", lambda *_: pytest.fail("it was parsed"))
    refused(packed(inside), Reason.OVERSIZE)


def test_numbers_in_what_is_counted_are_passed_over():
    """And many of them are no way to make it count for long."""
    passport = small()
    certificate = Certificate(kind=3, height=2**63, view=300, signers=b"\xf0", signatures=[bytes(64)] * 3)
    passport.chains[0].headers.add(header=b"h", certificate=certificate)
    passport.shown.add(serial="s", lot="l", place=2**64 - 1, path=[bytes(32)])
    assert from_bytes(to_bytes(passport)) == passport
    refused(packed(b"\x78\x01" * 1_000_001), Reason.OVERSIZE)
    refused(packed(b"\x78\x01"))


def _tag(kind, name):
    return _varint(kind.DESCRIPTOR.fields_by_name[name].number << 3 | 2)


def _empty(place):
    return _tag(*place) + b"\x00"


@pytest.mark.parametrize("depth", [1, 99, 101, 100_000])
def test_nothing_is_nested_deeper_than_the_form_says(depth):
    refused(packed(b"\x7b" * depth + b"\x7c" * depth))  # groups in groups
    inside = b""
    for _ in range(min(depth, 2_000)):
        inside = b"\x7a" + _varint(len(inside)) + inside  # an unknown field in itself
    refused(packed(inside))


def _varint(number):
    found = b""
    while number > 0x7F:
        found += bytes([number & 0x7F | 0x80])
        number >>= 7
    return found + bytes([number])
