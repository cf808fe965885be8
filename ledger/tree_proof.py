"""Proofs that a key has a value in the state, or has none. One tree, one wire form, no options.

The tree is a sparse binary Merkle tree over 256-bit key hashes. A subtree with no key is ZERO, one with a single
key is that key's leaf hash, every other one is node_hash(left, right). So a proof is at most as deep as two key
hashes share bits, and absence shows either an empty slot or the one other key that lives there.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final, NoReturn

from ledger.errors import Invalid
from ledger.hashes import HASH_BYTES, ZERO, Purpose, leaf_tag, tag
from ledger.limits import TREE_DEPTH_MAX
from proto.chiptrace.v1.ledger_pb2 import Reason, StateProof

_KEY_BITS: Final = 8 * HASH_BYTES
NODES_KEPT_MAX: Final = 262_144  # of one root, by who verifies many proofs; about 50 MB
_ROOT: Final = 1
_INNER: Final = b"\x01"
_OF_HASHES: Final = frozenset((HASH_BYTES,))


def key_hash(chain_id: bytes, key: bytes) -> bytes:
    """Where a key stands in the tree."""
    # This and the next as `tagged_hash` and `leaf_hash`, without a call more for each of many thousand proofs.
    return sha256(tag(Purpose.STATE_KEY, chain_id) + key).digest()


def value_hash(value: bytes) -> bytes:
    """What the tree holds of a value."""
    return sha256(value).digest()


def state_leaf(chain_id: bytes, hashed_key: bytes, hashed_value: bytes) -> bytes:
    """The leaf hash of a key with a value, both already hashed."""
    return sha256(leaf_tag(Purpose.STATE_LEAF, chain_id) + hashed_key + hashed_value).digest()


def _refuse(why: str) -> NoReturn:
    raise Invalid(f"state proof refused: {why}", Reason.BAD_PROOF)


def verify(chain_id: bytes, root: bytes, key: bytes, value: bytes | None, proof: StateProof) -> None:
    """Under this state root, `key` has exactly `value`; or, where `value` is None, it has none.

    Nothing is provable under a ZERO root, not even absence: no chain has an empty state, so such a root is a
    field that somebody forgot to fill.

    Raises Invalid(BAD_PROOF), and nothing else.
    """
    Proofs(chain_id, root).verify(key, value, proof)


class Proofs:
    """Proofs under one state root. Nodes that some proof led to the root are kept: a later path ends at the first of them.

    What it takes and what it refuses is what each proof would be alone: above the node that is known already, the proof
    must name the siblings that are known too.
    """

    def __init__(self, chain_id: bytes, root: bytes) -> None:
        self._chain_id = chain_id
        self._root = root
        # By place: the root has 1, the nodes below n have 2n and 2n + 1. With each node its sibling is here, and all above.
        self._nodes: dict[int, bytes] = {_ROOT: root}

    def verify(self, key: bytes, value: bytes | None, proof: StateProof) -> None:
        """As `verify` above."""
        # 1. The root can be that of a state.
        if len(self._root) != HASH_BYTES or self._root == ZERO:
            _refuse("the root is empty or has not 32 bytes")
        # 2. The proof's shape. Each field of a message is a copy, made anew: taken out once.
        depth, bitmap, siblings = proof.depth, proof.bitmap, list(proof.siblings)
        bits = int.from_bytes(bitmap, "big")
        _check_shape(depth, bitmap, bits, siblings)
        # 3. The subtree at the end of the path, from the request (inclusion) or from the proof (absence).
        other = proof.other_key_hash, proof.other_value_hash
        hashed_key = key_hash(self._chain_id, key)
        if value is None:
            found = _absent_subtree(self._chain_id, hashed_key, depth, *other)
        else:
            if other != (b"", b""):
                _refuse("an inclusion proof names another leaf")
            found = state_leaf(self._chain_id, hashed_key, sha256(value).digest())
        # 4. Fold up; the key hash says on which side each sibling stands.
        path = int.from_bytes(hashed_key, "big") >> (_KEY_BITS - depth)
        place = 1 << depth | path
        present = bits >> (-depth % 8)
        known, met = self._nodes, {}
        while known.get(place) != found:
            # 5. It is the root that was asked about.
            if place == _ROOT:
                _refuse("it leads to another root")
            sibling = siblings.pop() if present & 1 else ZERO
            met[place], met[place ^ 1] = found, sibling
            # As `node_hash`, without a call for each.
            found = sha256(_INNER + sibling + found if place & 1 else _INNER + found + sibling).digest()
            place >>= 1
            present >>= 1
        # 6. Above a node that is known, everything is.
        while place != _ROOT:
            if known[place ^ 1] != (siblings.pop() if present & 1 else ZERO):
                _refuse("it leads to another root")
            place >>= 1
            present >>= 1
        if len(known) < NODES_KEPT_MAX:
            known.update(met)


def _check_shape(depth: int, bitmap: bytes, bits: int, siblings: Sequence[bytes]) -> None:
    # 1. Depth, and a bitmap of exactly that many bits.
    if depth > TREE_DEPTH_MAX:
        _refuse(f"depth {depth}")
    if len(bitmap) != (depth + 7) // 8:
        _refuse(f"a bitmap of {len(bitmap)} bytes for depth {depth}")
    unused = -depth % 8
    if bits & ((1 << unused) - 1):
        _refuse("the bitmap has bits below its depth")
    # 2. One sibling for each bit, of 32 bytes, and never the empty one.
    if bits.bit_count() != len(siblings):
        _refuse(f"{len(siblings)} siblings, {bits.bit_count()} announced")
    if ZERO in siblings or not _OF_HASHES.issuperset(map(len, siblings)):
        _refuse("a sibling is empty or has not 32 bytes")
    # 3. The lowest sibling is there: a lone leaf stands higher up, and two empty halves are one empty slot.
    if depth and not bits >> unused & 1:
        _refuse("the lowest sibling is empty")


def _absent_subtree(
    chain_id: bytes, hashed_key: bytes, depth: int, other_key: bytes, other_value: bytes
) -> bytes:
    """What stands where the key would: nothing, or the single leaf of another key."""
    # 1. An empty slot. (At depth 0 it would be the root of an empty tree, which is never accepted.)
    if not other_key and not other_value:
        return ZERO
    # 2. Another leaf: named in full, not ours, and on our path down to the depth at which it stands alone.
    if len(other_key) != HASH_BYTES or len(other_value) != HASH_BYTES:
        _refuse("the other leaf's hashes have not 32 bytes")
    difference = int.from_bytes(hashed_key, "big") ^ int.from_bytes(other_key, "big")
    if difference == 0:
        _refuse("the other leaf is the key itself")
    shared = _KEY_BITS - difference.bit_length()
    if shared < depth:
        _refuse(f"the other leaf shares {shared} bits with the key, {depth} are needed")
    return state_leaf(chain_id, other_key, other_value)
