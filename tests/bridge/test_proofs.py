"""Remote proofs step by step, on chains that would certify anything: each step stands by itself."""

import pytest

from bridge.proofs import proven_leaf, verify_remote
from ledger import codec, merkle
from ledger.block import app_hash, log_leaf, log_leaf_hash
from ledger.errors import ChiptraceError, Invalid
from ledger.state import MappingReader, client_header_key
from ledger.tree import StateTree
from proto.chiptrace.v1.bridge_pb2 import ClientHeader, ClientRecord, RemoteProof
from proto.chiptrace.v1.ledger_pb2 import AppHashOpening, InclusionProof, LogLeafProof, Reason
from tests.bridge.certified import CHAIN

NOW = 1_000_000
CLIENT = ClientRecord(id="a-1", chain_id=CHAIN, latest_time_ms=NOW, trusting_period_ms=1_000)
STATE = {b"key": b"value", b"other": b"thing"}


class Certified:
    """A state and a log that the header of height 6 commits to, whatever they say."""

    def __init__(self, leaves=None, log_size=None):
        self.pages: dict = {}
        update = StateTree(CHAIN, self.pages.get, bytes(32)).update(STATE)
        self.pages.update(update.pages)
        self.root = update.root
        self.leaves = leaves or [self.leaf(height) for height in range(1, 6)]
        hashes = [log_leaf_hash(CHAIN, leaf) for leaf in self.leaves]
        self.opening = AppHashOpening(
            state_root=self.root,
            log_size=len(hashes) if log_size is None else log_size,
            log_root=merkle.root(hashes),
        )
        header = ClientHeader(height=6, app_hash=app_hash(CHAIN, self.opening))
        self.reader = MappingReader({client_header_key("a-1", 6): codec.encode(header)})

    def leaf(self, height, root=None, time_ms=None):
        time_ms = 1_000 * height if time_ms is None else time_ms
        return log_leaf(height, time_ms, bytes(32), bytes(32), self.root if root is None else root)

    def proof(self, key=b"key", index=None) -> RemoteProof:
        hashes = [log_leaf_hash(CHAIN, leaf) for leaf in self.leaves]
        index = len(hashes) - 1 if index is None else index
        path = merkle.inclusion_path(hashes, index)
        return RemoteProof(
            header_height=6,
            opening=self.opening,
            proof=StateTree(CHAIN, self.pages.get, self.root).prove(key),
            last_leaf=LogLeafProof(
                leaf=self.leaves[index],
                inclusion=InclusionProof(index=index, size=len(hashes), path=path),
            ),
        )

    def verify(self, proof, key=b"key", value: bytes | None = b"value", client=CLIENT, now_ms=NOW):
        verify_remote(self.reader, client, now_ms, proof, key, value)


def refuses(reason, act, *arguments, **options):
    with pytest.raises(ChiptraceError) as caught:
        act(*arguments, **options)
    assert caught.value.reason == reason


def test_presence_absence_and_the_leaf_are_proven():
    chain = Certified()
    chain.verify(chain.proof())
    chain.verify(chain.proof(b"none"), b"none", None)
    assert proven_leaf(CLIENT, chain.proof()).time_ms == 5_000


def test_the_client_must_be_active():
    chain = Certified()
    frozen = ClientRecord()
    frozen.CopyFrom(CLIENT)
    frozen.frozen = True
    refuses(Reason.CLIENT_FROZEN, chain.verify, chain.proof(), client=frozen)
    chain.verify(chain.proof(), now_ms=NOW + 1_000)
    refuses(Reason.CLIENT_EXPIRED, chain.verify, chain.proof(), now_ms=NOW + 1_001)


@pytest.mark.parametrize("height", [0, 5, 7])
def test_the_header_must_be_kept(height):
    chain = Certified()
    proof = chain.proof()
    proof.header_height = height
    refuses(Reason.UNKNOWN_HEADER, chain.verify, proof)


@pytest.mark.parametrize("name", ["state_root", "log_root", "log_size"])
def test_the_opening_must_be_the_headers(name):
    chain = Certified()
    proof = chain.proof()
    setattr(proof.opening, name, 4 if name == "log_size" else bytes(31) + b"x")
    refuses(Reason.BAD_PROOF, chain.verify, proof)


@pytest.mark.parametrize("log_size", [0, 4, 6, 2**64 - 1])
def test_the_log_has_a_leaf_for_each_height_below_the_header(log_size):
    chain = Certified(log_size=log_size)
    refuses(Reason.BAD_PROOF, chain.verify, chain.proof())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"key", b"thing"),
        (b"key", None),
        (b"key", b""),
        (b"other", b"value"),
        (b"none", b"value"),
        (b"ke", b"value"),
    ],
)
def test_the_proof_is_of_this_key_and_value_alone(key, value):
    chain = Certified()
    refuses(Reason.BAD_PROOF, chain.verify, chain.proof(), key, value)
    refuses(Reason.BAD_PROOF, chain.verify, chain.proof(b"none"), b"key", None)


def test_the_leaf_must_be_the_last_one():
    """A log that repeats a later leaf in an earlier place: only the last place counts."""
    chain = Certified()
    doubled = Certified(leaves=[chain.leaf(1), chain.leaf(5), chain.leaf(3), chain.leaf(4), chain.leaf(5)])
    assert proven_leaf(CLIENT, doubled.proof()).height == 5
    refuses(Reason.BAD_PROOF, proven_leaf, CLIENT, doubled.proof(index=1))
    # The same leaf under the size of another log.
    proof = chain.proof()
    proof.last_leaf.inclusion.size = 4
    proof.last_leaf.inclusion.index = 3
    refuses(Reason.BAD_PROOF, proven_leaf, CLIENT, proof)


def test_the_leaf_must_be_in_the_log():
    chain = Certified()
    proof = chain.proof()
    proof.last_leaf.leaf = chain.leaf(5, time_ms=9_999_999)
    refuses(Reason.BAD_PROOF, proven_leaf, CLIENT, proof)


def test_the_leaf_must_be_of_the_proven_state_and_height():
    chain = Certified()
    first = [chain.leaf(height) for height in range(1, 5)]
    for last in (chain.leaf(5, root=bytes(31) + b"x"), chain.leaf(4), chain.leaf(6)):
        lying = Certified(leaves=[*first, last])
        refuses(Reason.BAD_PROOF, proven_leaf, CLIENT, lying.proof())


def test_a_leaf_of_another_length_is_malformed():
    chain = Certified()
    lying = Certified(leaves=[*(chain.leaf(height) for height in range(1, 5)), chain.leaf(5) + b"x"])
    refuses(Reason.MALFORMED, proven_leaf, CLIENT, lying.proof())


def test_nothing_is_proven_by_an_empty_message():
    with pytest.raises(Invalid):
        proven_leaf(CLIENT, RemoteProof())
