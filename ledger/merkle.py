"""RFC 9162 Merkle trees over leaf hashes: for transactions, results, the chain's log, histories and event fields.

Leaves are hashed by the caller (`hashes.leaf_hash`), so this file knows no tags. Verifiers demand index < size and
the exact length of the path, and raise nothing but Invalid(BAD_PROOF).
"""

import hashlib
from collections.abc import Callable, Iterable, MutableSequence, Sequence
from typing import Final, NoReturn

from ledger.errors import Invalid, StoreError
from ledger.hashes import HASH_BYTES, node_hash, sha256
from proto.chiptrace.v1.ledger_pb2 import InclusionProof, Reason

EMPTY_ROOT: Final = sha256(b"")


def _refuse(why: str) -> NoReturn:
    raise Invalid(f"Merkle proof refused: {why}", Reason.BAD_PROOF)


def _split(size: int) -> int:
    """The largest power of two below `size` (size >= 2): how many leaves the left subtree has."""
    return 1 << ((size - 1).bit_length() - 1)


# ---- whole trees in memory ------------------------------------------------------------------------


def root(leaves: Sequence[bytes]) -> bytes:
    """The root over leaf hashes (32 bytes each); EMPTY_ROOT when there are none."""
    if not leaves:
        return EMPTY_ROOT
    # In place, and as `node_hash` without a call for each: of every event and every block there are several.
    level, size = list(leaves), len(leaves)
    while size > 1:
        for i in range(size >> 1):
            level[i] = hashlib.sha256(b"\x01" + level[2 * i] + level[2 * i + 1]).digest()
        if size & 1:
            # An odd last node is promoted, never paired with itself: two lists never share a root.
            level[size >> 1] = level[size - 1]
        size = size + 1 >> 1
    return level[0]


def levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """All nodes of a tree of one leaf or more, the leaves first and the root last, for who proves many of them."""
    found = [list(leaves)]
    while len(found[-1]) > 1:
        found.append(_above(found[-1]))
    return found


def _above(level: list[bytes]) -> list[bytes]:
    pairs = iter(level)
    above = [node_hash(left, right) for left, right in zip(pairs, pairs, strict=False)]
    if len(level) % 2:
        above.append(level[-1])
    return above


def inclusion_path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The siblings of leaf `index`, lowest first."""
    if not 0 <= index < len(leaves):
        _refuse(f"index {index} of {len(leaves)} leaves")
    path: list[bytes] = []
    level = list(leaves)
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        above = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            above.append(level[-1])
        level = above
        index >>= 1
    return path


def consistency_path(leaves: Sequence[bytes], old: int) -> list[bytes]:
    """The nodes that show the tree of the first `old` leaves to be a prefix of the tree of all of them."""
    size = len(leaves)
    if not 0 <= old <= size:
        _refuse(f"old size {old} of {size} leaves")
    return _consistency(old, size, lambda start, end: root(leaves[start:end]))


def _consistency(old: int, size: int, subtree: Callable[[int, int], bytes]) -> list[bytes]:
    """RFC 9162 2.1.4.1, from the top down; `subtree` gives the root over leaves [start, end)."""
    if old in {0, size}:
        return []
    path: list[bytes] = []
    start, end, whole = 0, size, True
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(subtree(middle, end))
            end = middle
        else:
            path.append(subtree(start, middle))
            start, whole = middle, False
    if not whole:
        path.append(subtree(start, end))
    path.reverse()
    return path


# ---- verifiers --------------------------------------------------------------------------------------


def _check_hashes(hashes: Sequence[bytes], what: str) -> None:
    for item in hashes:
        if len(item) != HASH_BYTES:
            _refuse(f"{what} has a hash of {len(item)} bytes")


def verify_inclusion(leaf: bytes, proof: InclusionProof, root: bytes) -> None:
    """Leaf hash `leaf` stands at proof.index of the tree with proof.size leaves and this root.

    Raises Invalid(BAD_PROOF).
    """
    # 1. Shape: 32-byte hashes, an index inside the tree.
    _check_hashes((leaf, root), "the claim")
    _check_hashes(proof.path, "the path")
    if proof.index >= proof.size:
        _refuse(f"index {proof.index} in a tree of {proof.size} leaves")
    # 2. RFC 9162 2.1.3.2; the path must be used up exactly when the root is reached.
    index, last, found = proof.index, proof.size - 1, leaf
    for sibling in proof.path:
        if last == 0:
            _refuse("the path is too long")
        if index & 1 or index == last:
            found = node_hash(sibling, found)
            while index and not index & 1:
                index >>= 1
                last >>= 1
        else:
            found = node_hash(found, sibling)
        index >>= 1
        last >>= 1
    if last:
        _refuse("the path is too short")
    # 3. The root.
    if found != root:
        _refuse("it leads to another root")


def verify_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, path: Sequence[bytes]
) -> None:
    """The new tree starts with all leaves of the old one, unchanged. An empty old tree is a prefix of any.

    Raises Invalid(BAD_PROOF).
    """
    # 1. Shape.
    _check_hashes((old_root, new_root), "the claim")
    _check_hashes(path, "the path")
    if not 0 <= old_size <= new_size:
        _refuse(f"sizes {old_size} and {new_size}")
    # 2. The two cases without a path.
    if old_size == 0 and old_root != EMPTY_ROOT:
        _refuse("an empty tree has another root")
    if new_size == 0 and new_root != EMPTY_ROOT:
        _refuse("an empty tree has another root")
    if old_size in {0, new_size}:
        if path:
            _refuse("the path is too long")
        if old_size == new_size and old_root != new_root:
            _refuse("one size, two roots")
        return
    # 3. RFC 9162 2.1.4.2.
    nodes = list(path)
    if old_size & (old_size - 1) == 0:
        nodes.insert(0, old_root)
    if not nodes:
        _refuse("the path is too short")
    index, last = old_size - 1, new_size - 1
    while index & 1:
        index >>= 1
        last >>= 1
    found_old = found_new = nodes[0]
    for node in nodes[1:]:
        if last == 0:
            _refuse("the path is too long")
        if index & 1 or index == last:
            found_old = node_hash(node, found_old)
            found_new = node_hash(node, found_new)
            while index and not index & 1:
                index >>= 1
                last >>= 1
        else:
            found_new = node_hash(found_new, node)
        index >>= 1
        last >>= 1
    if last:
        _refuse("the path is too short")
    # 4. Both roots.
    if found_old != old_root or found_new != new_root:
        _refuse("it leads to other roots")


# ---- frontiers: a tree that only grows, in log2(n) hashes -----------------------------------------------


def check_frontier(n: int, frontier: Sequence[bytes]) -> None:
    """`frontier` can be that of a tree of n leaves: one hash per set bit of n. Raises Invalid(BAD_PROOF)."""
    if n < 0 or len(frontier) != n.bit_count():
        _refuse(f"a frontier of {len(frontier)} hashes for {n} leaves")
    _check_hashes(frontier, "the frontier")


def append(n: int, frontier: Sequence[bytes], leaf: bytes) -> list[bytes]:
    """The frontier (roots of the complete subtrees, largest first) after one more leaf hash."""
    after = list(frontier)
    append_to(n, after, leaf)
    return after


def append_to(n: int, frontier: MutableSequence[bytes], leaf: bytes) -> None:
    """As `append`, in the frontier itself."""
    check_frontier(n, frontier)
    node = leaf
    while n & 1:
        node = node_hash(frontier.pop(), node)
        n >>= 1
    frontier.append(node)


def frontier(leaves: Iterable[bytes]) -> list[bytes]:
    """The frontier of a whole tree: what appending its leaf hashes one by one comes to."""
    found: list[bytes] = []
    for n, leaf in enumerate(leaves):
        node = leaf
        while n & 1:
            node = node_hash(found.pop(), node)
            n >>= 1
        found.append(node)
    return found


def frontier_root(n: int, frontier: Sequence[bytes]) -> bytes:
    """The root of the tree of n leaves with this frontier."""
    check_frontier(n, frontier)
    if not frontier:
        return EMPTY_ROOT
    found = frontier[-1]
    for node in reversed(frontier[:-1]):
        found = node_hash(node, found)
    return found


# ---- the chain's log ----------------------------------------------------------------------------------

# (level, index) -> hash of the complete subtree over leaves [index << level, (index + 1) << level)
ReadNode = Callable[[int, int], bytes | None]


class MerkleLog:
    """A log whose complete subtrees are stored by (level, index); no stored node ever changes.

    `append` returns what to write; the owner writes it in the batch that also stores the new size.
    """

    def __init__(self, read_node: ReadNode, size: int) -> None:
        """The log of `size` leaves behind `read_node`. Raises StoreError when a node of its edge is missing."""
        self._read_node = read_node
        self._size = size
        # The right edge in memory: appending reads nothing, even before the last batch is written.
        self._frontier = self._edge(size)

    @property
    def size(self) -> int:
        return self._size

    @property
    def frontier(self) -> list[bytes]:
        return list(self._frontier)

    def append(self, leaf: bytes) -> list[tuple[int, int, bytes]]:
        """Adds a leaf hash; returns the (level, index, hash) of every subtree it completes, the leaf included."""
        nodes = [(0, self._size, leaf)]
        node, n, level = leaf, self._size, 0
        edge = self._frontier
        while n & 1:
            node = node_hash(edge.pop(), node)
            n >>= 1
            level += 1
            nodes.append((level, n, node))
        edge.append(node)
        self._size += 1
        return nodes

    def root(self, size: int | None = None) -> bytes:
        """The root over the first `size` leaves (all of them by default)."""
        if size is None or size == self._size:
            return frontier_root(self._size, self._frontier)
        self._check_size(size)
        return frontier_root(size, self._edge(size))

    def inclusion(self, index: int, size: int) -> InclusionProof:
        """Proof that leaf `index` is in the tree of the first `size` leaves. Raises Invalid(BAD_PROOF)."""
        self._check_size(size)
        if not 0 <= index < size:
            _refuse(f"index {index} of {size} leaves")
        path: list[bytes] = []
        start, end = 0, size
        while end - start > 1:
            middle = start + _split(end - start)
            if index < middle:
                path.append(self._subtree(middle, end))
                end = middle
            else:
                path.append(self._subtree(start, middle))
                start = middle
        path.reverse()
        return InclusionProof(index=index, size=size, path=path)

    def consistency(self, old: int, size: int) -> list[bytes]:
        """The path that shows the tree of the first `old` leaves to be a prefix of that of the first `size`."""
        self._check_size(size)
        if not 0 <= old <= size:
            _refuse(f"old size {old} of {size} leaves")
        return _consistency(old, size, self._subtree)

    def leaf(self, index: int) -> bytes:
        """The leaf hash at `index`."""
        if not 0 <= index < self._size:
            _refuse(f"index {index} of {self._size} leaves")
        return self._node(0, index)

    def _check_size(self, size: int) -> None:
        if not 0 <= size <= self._size:
            _refuse(f"size {size} of a log of {self._size} leaves")

    def _edge(self, size: int) -> list[bytes]:
        levels = range(size.bit_length() - 1, -1, -1)
        return [self._node(level, (size >> level) - 1) for level in levels if size >> level & 1]

    def _subtree(self, start: int, end: int) -> bytes:
        """Root over [start, end), where start is a multiple of the largest power of two within."""
        nodes: list[bytes] = []
        while start < end:
            level = (end - start).bit_length() - 1
            nodes.append(self._node(level, start >> level))
            start += 1 << level
        found = nodes.pop()
        while nodes:
            found = node_hash(nodes.pop(), found)
        return found

    def _node(self, level: int, index: int) -> bytes:
        node = self._read_node(level, index)
        if node is None or len(node) != HASH_BYTES:
            raise StoreError(
                f"the log's node at level {level}, index {index} is missing or damaged. "
                "Stop the node, keep the directory, and sync anew or restore a backup."
            )
        return node
