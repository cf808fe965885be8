"""What holds for every proof and header that is accepted: general oracles, run with small counts by the tests and with
full ones by scripts/bridge_oracles.py.

    flips and cuts      an accepted message with any bit flipped, cut anywhere, or longer, is refused
    pairs               a proof brought for any key, value, height: accepted only where that is true there
    trees               the tree against its definition: roots, and a proof for a key that is there and one that is not
    inputs              whatever is brought: the one error and no other exception, and work in proportion to its bytes

Work is counted in hashes and signatures looked at, not in seconds.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from google.protobuf.message import Message

from bridge import light_client
from bridge.light_client import from_genesis, verify_header
from bridge.proofs import proven_leaf, verify_remote
from consensus import certificate
from ledger import codec, hashes, merkle, tree_proof
from ledger.block import app_hash, log_leaf, log_leaf_hash
from ledger.errors import Invalid, Malformed, Refused
from ledger.hashes import ZERO, Purpose, leaf_hash
from ledger.state import MappingReader, client_header_key
from ledger.tree import StateTree
from proto.chiptrace.v1.bridge_pb2 import ClientHeader, ClientRecord, RemoteProof
from proto.chiptrace.v1.consensus_pb2 import SignedHeader
from proto.chiptrace.v1.ledger_pb2 import AppHashOpening, InclusionProof, LogLeafProof, Reason
from tests.bridge.certified import CHAIN, T0, Keys, signed_header
from tests.bridge.hostile import Mutator
from tests.ledger import naive_tree

OWN_ERRORS = (Invalid, Malformed, Refused)
BYTES_MAX = 1 << 20
NOW = T0 + 10_000_000
PERIOD = 14 * 86_400_000
CLIENT = ClientRecord(id="a-1", chain_id=CHAIN, latest_time_ms=NOW, trusting_period_ms=PERIOD)


class Heights:
    """A chain's states at some heights, each under its own certified header: all that can be proven of it."""

    def __init__(self, seed: int, keys: int = 48, heights: int = 8):
        self.random = random.Random(seed)
        self.names = [b"key %d" % number for number in range(2 * keys)]
        self.states: dict[int, dict[bytes, bytes]] = {}
        self.proofs: dict[tuple[int, bytes], RemoteProof] = {}
        rows = {}
        state: dict[bytes, bytes] = dict.fromkeys(self.names[:keys], b"0")
        pages: dict[bytes, bytes] = {}
        leaves: list[bytes] = []
        root = ZERO
        for height in range(1, heights + 1):
            changes: dict[bytes, bytes | None] = {
                self.random.choice(self.names): self.random.choice([None, b"%d" % height, b"0"])
                for _ in range(6)
            }
            if height == 1:
                changes = {**state, **changes}
            for name, value in changes.items():
                state[name] = value or b""
                if value is None:
                    del state[name]
            update = StateTree(CHAIN, pages.get, root).update(changes)
            root = update.root
            pages.update({path: page for path, page in update.pages.items() if page is not None})
            leaves.append(log_leaf(height, T0 + 1_000 * height, bytes(32), bytes(32), root))
            hashed = [log_leaf_hash(CHAIN, leaf) for leaf in leaves]
            opening = AppHashOpening(state_root=root, log_size=height, log_root=merkle.root(hashed))
            header = ClientHeader(height=height + 1, app_hash=app_hash(CHAIN, opening))
            rows[client_header_key("a-1", height + 1)] = codec.encode(header)
            self.states[height + 1] = dict(state)
            tree = StateTree(CHAIN, dict(pages).get, root)
            last = LogLeafProof(
                leaf=leaves[-1],
                inclusion=InclusionProof(
                    index=height - 1, size=height, path=merkle.inclusion_path(hashed, height - 1)
                ),
            )
            for name in self.names:
                self.proofs[height + 1, name] = RemoteProof(
                    header_height=height + 1, opening=opening, proof=tree.prove(name), last_leaf=last
                )
        self.reader = MappingReader(rows)

    def verify(self, proof: RemoteProof, key: bytes, value: bytes | None):
        verify_remote(self.reader, CLIENT, NOW, proof, key, value)


# ---- flips and cuts ---------------------------------------------------------------------------------------------


@dataclass
class Accepted:
    """Bytes of a kind that `judge` accepts."""

    name: str
    kind: type[Message]
    data: bytes
    judge: Callable[[Message], None]

    def refuses(self, data: bytes) -> bool:
        """Whether these other bytes are refused, by our own errors. Any other exception goes through."""
        try:
            self.judge(codec.decode(self.kind, data, BYTES_MAX))
        except OWN_ERRORS:
            return True
        return False


def accepted() -> list[Accepted]:
    """One of every kind of proof and header there is."""
    heights = Heights(1)
    state = heights.states[9]
    present = next(iter(state))
    absent = [name for name in heights.names if name not in state]
    empty_slot = next(name for name in absent if not heights.proofs[9, name].proof.other_key_hash)
    other_leaf = next(name for name in absent if heights.proofs[9, name].proof.other_key_hash)
    found = []
    for name, key in (("value", present), ("empty slot", empty_slot), ("other leaf", other_leaf)):
        proof = heights.proofs[9, key]

        def judge(message, key=key):
            heights.verify(message, key, state.get(key))
            proven_leaf(CLIENT, message)

        found.append(Accepted(f"remote proof: {name}", RemoteProof, codec.encode(proof), judge))
    leaves = [leaf_hash(Purpose.LOG_LEAF, CHAIN, bytes([number])) for number in range(11)]
    for index in (0, 6, 10):
        path = InclusionProof(index=index, size=11, path=merkle.inclusion_path(leaves, index))

        def included(message, index=index):
            if message.size != 11:  # every caller knows the size that the root is of: it is certified with it
                raise Invalid("of another size", Reason.BAD_PROOF)
            merkle.verify_inclusion(leaves[index], message, merkle.root(leaves))

        found.append(Accepted(f"inclusion of {index}", InclusionProof, codec.encode(path), included))
    first, second = Keys("abcd"), Keys("bcdefgh", 8)
    for name, signed in (
        ("header", signed_header(7, first)),
        ("boundary header", signed_header(7, first, second)),
        ("header of a quorum", signed_header(7, first, signers=(0, 2, 3), view=3)),
    ):
        trusted = from_genesis(CHAIN, first.set, T0)

        def believed(message, trusted=trusted):
            verify_header(trusted, message, NOW, PERIOD)

        found.append(Accepted(name, SignedHeader, codec.encode(signed), believed))
    for item in found:
        assert not item.refuses(item.data), item.name
    return found


def flips(data: bytes) -> Iterator[bytes]:
    """The data with one bit changed: every bit of every byte."""
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def cuts_and_additions(data: bytes) -> Iterator[bytes]:
    """Every shorter beginning and end, every piece left out of the middle, and what may be put behind or before."""
    for length in range(len(data)):
        yield data[:length]
        yield data[length + 1 :]
        yield data[:length] + data[length + 1 :]
    for byte in range(256):
        yield data + bytes([byte])
        yield bytes([byte]) + data
    for more in (data, data[-34:], b"\x0a\x00", b"\x3a\x01\x00", b"\x80\x01\x00", bytes(1_000)):
        yield data + more


# ---- pairs ------------------------------------------------------------------------------------------------------


def pairs(count: int, seed: int) -> tuple[int, int]:
    """(how many were accepted, how many were looked at). Raises AssertionError where something false is proven."""
    heights = Heights(seed)
    chance = random.Random(seed)
    held = list(heights.states)
    taken = 0
    for _ in range(count):
        made_at, made_for = chance.choice(held), chance.choice(heights.names)
        claimed_at, claimed = chance.choice(held), chance.choice(heights.names)
        if chance.random() < 0.3:
            claimed = made_for
        if chance.random() < 0.3:
            claimed_at = made_at
        value = chance.choice([None, b"0", b"", heights.states[claimed_at].get(claimed), b"%d" % made_at])
        proof = heights.proofs[made_at, made_for]
        if claimed_at != made_at:
            moved = RemoteProof()
            moved.CopyFrom(proof)
            moved.header_height = claimed_at
            if chance.random() < 0.5:
                moved.opening.CopyFrom(heights.proofs[claimed_at, made_for].opening)
            proof = moved
        try:
            heights.verify(proof, claimed, value)
        except Invalid:
            honest = claimed == made_for and claimed_at == made_at
            assert not (honest and heights.states[claimed_at].get(claimed) == value), (
                "what is true is refused"
            )
            continue
        taken += 1
        assert heights.states[claimed_at].get(claimed) == value, (
            made_at,
            made_for,
            claimed_at,
            claimed,
            value,
        )
        assert value is None or claimed == made_for
        assert (
            claimed_at == made_at
            or heights.states[claimed_at] == heights.states[made_at]
            or value is None
            or (heights.proofs[claimed_at, claimed].proof == heights.proofs[made_at, made_for].proof)
        )
    return taken, count


# ---- trees ------------------------------------------------------------------------------------------------------


def trees(count: int, seed: int) -> int:
    """Random trees that were updated twice, against the definition; how many proofs were compared."""
    chance = random.Random(seed)
    compared = 0
    for _ in range(count):
        pages: dict[bytes, bytes] = {}
        state: dict[bytes, bytes] = {}
        root = ZERO
        for _ in range(2):
            changes = {
                b"%d" % chance.randrange(40): chance.choice([None, b"", b"a", b"b"])
                for _ in range(chance.randrange(1, 14))
            }
            update = StateTree(CHAIN, pages.get, root).update(changes)
            root = update.root
            for path, page in update.pages.items():
                if page is None:
                    pages.pop(path, None)
                else:
                    pages[path] = page
            for key, value in changes.items():
                if value is None:
                    state.pop(key, None)
                else:
                    state[key] = value
        items = naive_tree.leaves(CHAIN, state)
        assert root == naive_tree.root(items)
        tree = StateTree(CHAIN, pages.get, root)
        for key in (b"%d" % chance.randrange(40), b"none %d" % chance.randrange(40)):
            proof = tree.prove(key)
            siblings, leaf = naive_tree.prove(items, tree_proof.key_hash(CHAIN, key))
            given = [sibling for sibling in siblings if sibling != ZERO]
            assert (proof.depth, list(proof.siblings)) == (len(siblings), given)
            if state:
                tree_proof.verify(CHAIN, root, key, state.get(key), proof)
            else:
                with pytest.raises(Invalid):
                    tree_proof.verify(CHAIN, root, key, None, proof)
            other = (proof.other_key_hash, proof.other_value_hash)
            assert other == (leaf if leaf and key not in state else (b"", b""))
            compared += 1
    return compared


# ---- inputs -----------------------------------------------------------------------------------------------------


@dataclass
class Work:
    """What a verifier has done, counted by replacing what it calls."""

    hashes: int = 0
    signatures: int = 0
    most: dict[str, float] = field(default_factory=dict)  # of each kind: hashes for one byte, at most

    @contextmanager
    def counted(self):
        node_hash, verify_raw, sha256 = hashes.node_hash, hashes.verify_raw, tree_proof.sha256

        def counting_hash(left, right):
            self.hashes += 1
            return node_hash(left, right)

        def counting_sha256(data):
            self.hashes += 1
            return sha256(data)

        def counting_verify(*arguments):
            self.signatures += 1
            return verify_raw(*arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tree_proof, "sha256", counting_sha256)  # it makes its inner nodes itself
            patch.setattr(merkle, "node_hash", counting_hash)
            patch.setattr(light_client, "verify_raw", counting_verify)
            patch.setattr(certificate, "verify_raw", counting_verify)
            yield self


# A state proof says in one bit that a level is empty; everything else takes 32 bytes for a hash, 64 for a signature.
HASHES_PER_BYTE = 8
BYTES_PER_SIGNATURE = 64


def inputs(count: int, seed: int) -> dict[str, int]:
    """Hostile inputs to every verifier. Raises whatever a verifier raises besides its own errors, and AssertionError
    where one does more work than its bytes may cost, or accepts what differs from what is true."""
    chance, mutator = random.Random(seed), Mutator(seed)
    whole = accepted()
    known = {item.name: item.data for item in whole}
    for item in whole:
        mutator.learn(item.kind.FromString(item.data))
    tally = {"accepted again": 0, "refused": 0, "no message": 0}
    work = Work()
    with work.counted():
        for number in range(count):
            item = whole[number % len(whole)]
            message, size = _hostile(item, chance, mutator, known)
            if message is None:
                tally["no message"] += 1
                continue
            work.hashes = work.signatures = 0
            try:
                item.judge(message)
            except OWN_ERRORS:
                tally["refused"] += 1
            else:
                genuine = [each.kind.FromString(each.data) for each in whole if each.kind is item.kind]
                assert any(_same(message, each) for each in genuine), (item.name, message)
                tally["accepted again"] += 1
            assert work.hashes <= HASHES_PER_BYTE * size + 1, (item.name, work.hashes, size)
            assert work.signatures <= size // BYTES_PER_SIGNATURE + 1, (item.name, work.signatures, size)
    return tally


def _same(message: Message, genuine: Message) -> bool:
    """Whether a message that is accepted is a genuine one: of a header also with fewer of its signatures, if they are a
    quorum still."""
    if isinstance(message, SignedHeader) and isinstance(genuine, SignedHeader):
        fewer = SignedHeader()
        fewer.CopyFrom(message)
        fewer.certificate.signers = genuine.certificate.signers
        fewer.certificate.signatures[:] = genuine.certificate.signatures
        return fewer == genuine and set(message.certificate.signatures) <= set(genuine.certificate.signatures)
    return message == genuine


def _hostile(item: Accepted, chance, mutator, known) -> tuple[Message | None, int]:
    """A message of the kind that the verifier is given, and how many bytes brought it; None where bytes are no message,
    which the decoder says by its own error."""
    way = chance.random()
    if way < 0.5:  # changed in its meaning, as a liar with our code would
        message = item.kind.FromString(item.data)
        mutator.change(message, chance.choice((1, 1, 1, 2, 3)))
        return message, message.ByteSize()
    if way < 0.8:  # changed in its bytes
        data = item.data
        for _ in range(chance.choice((1, 1, 2, 5))):
            data = mutator.run_of_bytes(data)
    elif way < 0.9:  # another one's bytes, or two halves
        other = known[chance.choice(list(known))]
        data = other if chance.random() < 0.3 else item.data[: chance.randrange(len(item.data))] + other
    else:
        data = chance.randbytes(chance.randrange(300))
    try:
        return codec.decode(item.kind, data, BYTES_MAX), len(data)
    except OWN_ERRORS:
        return None, len(data)
