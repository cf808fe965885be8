"""Proofs that a key has a value in the state, or has none. One tree, one wire form, no options.

The tree is a sparse binary Merkle tree over 256-bit key hashes. A subtree with no key is ZERO, one with a single
key is that key's leaf hash, every other one is node_hash(left, right). So a proof is at most as deep as two key
hashes share bits, and absence shows either an empty slot or the one other key that lives there.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final, NoReturn

from ledger.errors import Invalid
from ledger.hashes import HASH_BYTES, ZERO, Purpose, leaf_hash, tagged_hash
from ledger.limits import TREE_DEPTH_MAX
from proto.chiptrace.v1.ledger_pb2 import Reason, StateProof

_KEY_BITS: Final = 8 * HASH_BYTES
NODES_KEPT_MAX: Final = 262_144  # of one root, by who verifies many proofs; about 50 MB
_ROOT: Final = 1
_INNER: Final = b"\x01"
_OF_HASHES: Final = frozenset((HASH_BYTES,))


def key_hash(chain_id: bytes, key: bytes) -> bytes:
    """Where a key stands in the tree."""
    return tagged_hash(Purpose.STATE_KEY, chain_id, key)


def value_hash(value: bytes) -> bytes:
    """What the tree holds of a value."""
    return sha256(value).digest()


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
        # 2. The proof's shape.
        siblings = list(proof.siblings)
        _check_shape(proof, siblings)
        # 3. The subtree at the end of the path, from the request (inclusion) or from the proof (absence).
        hashed_key = key_hash(self._chain_id, key)
        if value is None:
            found = _absent_subtree(self._chain_id, hashed_key, proof)
        else:
            if proof.other_key_hash or proof.other_value_hash:
                _refuse("an inclusion proof names another leaf")
            found = state_leaf(self._chain_id, hashed_key, value_hash(value))
        # 4. Fold up; the key hash says on which side each sibling stands.
        path = int.from_bytes(hashed_key, "big") >> (_KEY_BITS - proof.depth)
        place = 1 << proof.depth | path
        present = int.from_bytes(proof.bitmap, "big") >> (-proof.depth % 8)
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


def _check_shape(proof: StateProof, siblings: Sequence[bytes]) -> None:
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
    if bits.bit_count() != len(siblings):
        _refuse(f"{len(siblings)} siblings, {bits.bit_count()} announced")
    if ZERO in siblings or not _OF_HASHES.issuperset(map(len, siblings)):
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
