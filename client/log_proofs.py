"""Proofs that leaves stand in one RFC 9162 tree, many of them: what is known above a leaf is not hashed again."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final, NoReturn

from ledger.errors import Invalid
from ledger.hashes import HASH_BYTES
from proto.chiptrace.v1.ledger_pb2 import Reason

NODES_KEPT_MAX: Final = 262_144  # of one tree; about 50 MB
_ROOT: Final = 1
_INNER: Final = b"\x01"
_OF_HASHES: Final = frozenset((HASH_BYTES,))


def _refuse(why: str) -> NoReturn:
    raise Invalid(f"log proof refused: {why}", Reason.BAD_PROOF)


class LogProofs:
    """Inclusion proofs in one tree. Nodes that some proof led to the root are kept: a later path ends at the first of them.

    What it takes and what it refuses is what `verify_inclusion` (ledger/merkle.py) would of each alone: above the node that
    is known already, the path must name the siblings that are known too.
    """

    def __init__(self, size: int, root: bytes) -> None:
        self.size = size
        self.root = root
        # By place: the root has 1, the nodes below n have 2n and 2n + 1. With each node its sibling is here, and all above.
        self._nodes: dict[int, bytes] = {_ROOT: root}

    def verify(self, leaf: bytes, index: int, path: Sequence[bytes]) -> None:
        """Leaf hash `leaf` stands at `index` of the tree. Raises Invalid(BAD_PROOF)."""
        # 1. Shape: 32-byte hashes, an index inside the tree.
        siblings = list(path)
        if not len(leaf) == len(self.root) == HASH_BYTES or not _OF_HASHES.issuperset(map(len, siblings)):
            _refuse("a hash has not 32 bytes")
        if not 0 <= index < self.size:
            _refuse(f"index {index} in a tree of {self.size} leaves")
        # 2. Fold up; the index says on which side each sibling stands. An odd last node is promoted, and has none.
        first = 1 << (self.size - 1).bit_length()
        place, last, found = first | index, first | self.size - 1, leaf
        known, met = self._nodes, {}
        siblings.reverse()
        while known.get(place) != found:
            # 3. The root.
            if place == _ROOT:
                _refuse("it leads to another root")
            if place & 1 or place != last:
                if not siblings:
                    _refuse("the path is too short")
                sibling = siblings.pop()
                met[place], met[place ^ 1] = found, sibling
                # As `node_hash`, without a call for each.
                found = sha256(_INNER + sibling + found if place & 1 else _INNER + found + sibling).digest()
            place >>= 1
            last >>= 1
        # 4. Above a node that is known, everything is; the path must be used up when the root is reached.
        while place != _ROOT:
            if (place & 1 or place != last) and (not siblings or siblings.pop() != known[place ^ 1]):
                _refuse("it leads to another root, or is too short")
            place >>= 1
            last >>= 1
        if siblings:
            _refuse("the path is too long")
        if len(known) < NODES_KEPT_MAX:
            known.update(met)
