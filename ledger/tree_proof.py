"""Proofs that a key has a value in the state, or has none. One tree, one wire form, no options.

The tree is a sparse binary Merkle tree over 256-bit key hashes. A subtree with no key is ZERO, one with a single
key is that key's leaf hash, every other one is node_hash(left, right). So a proof is at most as deep as two key
hashes share bits, and absence shows either an empty slot or the one other key that lives there.
"""

from typing import Final, NoReturn

from ledger.errors import Invalid
from ledger.hashes import HASH_BYTES, ZERO, Purpose, leaf_hash, node_hash, sha256, tagged_hash
from ledger.limits import TREE_DEPTH_MAX
from proto.chiptrace.v1.ledger_pb2 import Reason, StateProof

_KEY_BITS: Final = 8 * HASH_BYTES


def key_hash(chain_id: bytes, key: bytes) -> bytes:
    """Where a key stands in the tree."""
    return tagged_hash(Purpose.STATE_KEY, chain_id, key)


def value_hash(value: bytes) -> bytes:
    """What the tree holds of a value."""
    return sha256(value)


def state_leaf(chain_id: bytes, hashed_key: bytes, hashed_value: bytes) -> bytes:
    """The leaf hash of a key with a value, both already hashed."""
    return leaf_hash(Purpose.STATE_LEAF, chain_id, hashed_key + hashed_value)


def _refuse(why: str) -> NoReturn:
    raise Invalid(f"state proof refused: {why}", Reason.BAD_PROOF)


def verify(chain_id: bytes, root: bytes, key: bytes, value: bytes | None, proof: StateProof) -> None:
    """Under this state root, `key` has exactly `value`; or, where `value` is None, it has none.

    Nothing is provable under a ZERO root, not even absence: no chain has an empty state, so such a root is a
    field that somebody forgot to fill.

    Raises Invalid(BAD_PROOF), and nothing else.
    """
    # 1. The root can be that of a state.
    if len(root) != HASH_BYTES or root == ZERO:
        _refuse("the root is empty or has not 32 bytes")
    # 2. The proof's shape.
    _check_shape(proof)
    # 3. The subtree at the end of the path, from the request (inclusion) or from the proof (absence).
    hashed_key = key_hash(chain_id, key)
    if value is None:
        found = _absent_subtree(chain_id, hashed_key, proof)
    else:
        if proof.other_key_hash or proof.other_value_hash:
            _refuse("an inclusion proof names another leaf")
        found = state_leaf(chain_id, hashed_key, value_hash(value))
    # 4. Fold up to the root; the key hash says on which side each sibling stands.
    path = int.from_bytes(hashed_key, "big") >> (_KEY_BITS - proof.depth)
    present = int.from_bytes(proof.bitmap, "big") >> (-proof.depth % 8)
    remaining = len(proof.siblings)
    for _ in range(proof.depth):
        sibling = ZERO
        if present & 1:
            remaining -= 1
            sibling = proof.siblings[remaining]
        found = node_hash(sibling, found) if path & 1 else node_hash(found, sibling)
        path >>= 1
        present >>= 1
    # 5. It is the root that was asked about.
    if found != root:
        _refuse("it leads to another root")


def _check_shape(proof: StateProof) -> None:
    # 1. Depth, and a bitmap of exactly that many bits.
    if proof.depth > TREE_DEPTH_MAX:
        _refuse(f"depth {proof.depth}")
    if len(proof.bitmap) != (proof.depth + 7) // 8:
        _refuse(f"a bitmap of {len(proof.bitmap)} bytes for depth {proof.depth}")
    bits = int.from_bytes(proof.bitmap, "big")
    unused = -proof.depth % 8
    if bits & ((1 << unused) - 1):
        _refuse("the bitmap has bits below its depth")
    # 2. One sibling for each bit, of 32 bytes, and never the empty one.
    if bits.bit_count() != len(proof.siblings):
        _refuse(f"{len(proof.siblings)} siblings, {bits.bit_count()} announced")
    for sibling in proof.siblings:
        if len(sibling) != HASH_BYTES or sibling == ZERO:
            _refuse("a sibling is empty or has not 32 bytes")
    # 3. The lowest sibling is there: a lone leaf stands higher up, and two empty halves are one empty slot.
    if proof.depth and not bits >> unused & 1:
        _refuse("the lowest sibling is empty")


def _absent_subtree(chain_id: bytes, hashed_key: bytes, proof: StateProof) -> bytes:
    """What stands where the key would: nothing, or the single leaf of another key."""
    # 1. An empty slot. (At depth 0 it would be the root of an empty tree, which is never accepted.)
    if not proof.other_key_hash and not proof.other_value_hash:
        return ZERO
    # 2. Another leaf: named in full, not ours, and on our path down to the depth at which it stands alone.
    if len(proof.other_key_hash) != HASH_BYTES or len(proof.other_value_hash) != HASH_BYTES:
        _refuse("the other leaf's hashes have not 32 bytes")
    difference = int.from_bytes(hashed_key, "big") ^ int.from_bytes(proof.other_key_hash, "big")
    if difference == 0:
        _refuse("the other leaf is the key itself")
    shared = _KEY_BITS - difference.bit_length()
    if shared < proof.depth:
        _refuse(f"the other leaf shares {shared} bits with the key, {proof.depth} are needed")
    return state_leaf(chain_id, proof.other_key_hash, proof.other_value_hash)
