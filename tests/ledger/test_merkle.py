"""RFC 9162, against its recursive definition and against every kind of forged proof."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import merkle
from ledger.errors import Invalid, StoreError
from proto.chiptrace.v1.ledger_pb2 import InclusionProof, Reason

LEAVES = [hashlib.sha256(bytes([number])).digest() for number in range(70)]
sizes = st.integers(0, len(LEAVES))


def definition(leaves):
    """RFC 9162 2.1.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + definition(leaves[:split]) + definition(leaves[split:])).digest()


def log_of(n):
    nodes = {}
    log = merkle.MerkleLog(lambda level, index: nodes.get((level, index)), 0)
    for leaf in LEAVES[:n]:
        for level, index, node in log.append(leaf):
            assert (level, index) not in nodes, "a stored node never changes"
            nodes[level, index] = node
    return log, nodes


LOG, NODES = log_of(len(LEAVES))


def refused(call, *arguments):
    with pytest.raises(Invalid) as raised:
        call(*arguments)
    assert raised.value.reason == Reason.BAD_PROOF


def test_roots_are_those_of_the_definition():
    for n in range(len(LEAVES) + 1):
        expected = definition(LEAVES[:n])
        assert merkle.root(LEAVES[:n]) == expected
        assert LOG.root(n) == expected
        frontier = []
        for index in range(n):
            frontier = merkle.append(index, frontier, LEAVES[index])
        assert merkle.frontier_root(n, frontier) == expected


def test_no_list_shares_its_root_with_its_repetition():
    # CVE-2012-2459: pairing an odd last node with itself.
    for n in range(1, 40):
        assert merkle.root(LEAVES[:n]) != merkle.root([*LEAVES[:n], LEAVES[n - 1]])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_inclusion_is_proven_and_read_from_the_log_alike(data):
    size = data.draw(st.integers(1, len(LEAVES)))
    index = data.draw(st.integers(0, size - 1))
    proof = LOG.inclusion(index, size)
    assert list(proof.path) == merkle.inclusion_path(LEAVES[:size], index)
    merkle.verify_inclusion(LEAVES[index], proof, merkle.root(LEAVES[:size]))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_forged_inclusion_is_refused(data):
    size = data.draw(st.integers(1, len(LEAVES)))
    index = data.draw(st.integers(0, size - 1))
    proof = LOG.inclusion(index, size)
    root, leaf = merkle.root(LEAVES[:size]), LEAVES[index]
    path = list(proof.path)
    change = data.draw(st.sampled_from(["bit", "shorter", "longer", "leaf", "root", "short hash", "swap"]))
    if change == "bit" and path:
        level = data.draw(st.integers(0, len(path) - 1))
        path[level] = flip(path[level], data.draw(st.integers(0, 255)))
    elif change == "shorter" and path:
        del path[data.draw(st.integers(0, len(path) - 1))]
    elif change == "longer":
        path.insert(data.draw(st.integers(0, len(path))), data.draw(st.sampled_from([root, leaf, bytes(32)])))
    elif change == "leaf":
        leaf = flip(leaf, data.draw(st.integers(0, 255)))
    elif change == "root":
        root = flip(root, data.draw(st.integers(0, 255)))
    elif change == "short hash" and path:
        path[0] = path[0][:31]
    elif change == "swap" and len(path) > 1:
        path[0], path[1] = path[1], path[0]
    else:
        return
    refused(
        merkle.verify_inclusion, leaf, InclusionProof(index=proof.index, size=proof.size, path=path), root
    )


def test_a_leaf_is_proven_at_its_own_index_only():
    for size in range(1, 20):
        root = merkle.root(LEAVES[:size])
        for index in range(size):
            path = LOG.inclusion(index, size).path
            for claimed in [*range(size + 3), 2**63, 2**64 - 1]:
                if claimed != index:
                    refused(
                        merkle.verify_inclusion,
                        LEAVES[index],
                        InclusionProof(index=claimed, size=size, path=path),
                        root,
                    )


def test_index_equal_to_size_never_verifies():
    # Hyperbridge: the last path item, an old root, passed for the root once the leaf was dropped.
    for size in range(20):
        root = merkle.root(LEAVES[:size])
        for path in ([], [root], [root, root]):
            refused(
                merkle.verify_inclusion, LEAVES[0], InclusionProof(index=size, size=size, path=path), root
            )


def test_a_path_does_not_go_on_above_the_root():
    for size in range(1, 9):
        for index in range(size):
            proof = LOG.inclusion(index, size)
            for side in (0, 1):
                pair = (LEAVES[50], LOG.root(size))[:: 1 if side else -1]
                above = hashlib.sha256(b"\x01" + pair[0] + pair[1]).digest()
                longer = InclusionProof(index=index, size=size, path=[*proof.path, LEAVES[50]])
                refused(merkle.verify_inclusion, LEAVES[index], longer, above)


def test_an_inner_node_is_no_leaf_of_a_smaller_tree_with_the_same_size():
    size = 8
    proof = LOG.inclusion(0, size)
    inner = merkle.root(LEAVES[:2])
    shorter = InclusionProof(index=0, size=size, path=proof.path[1:])
    refused(merkle.verify_inclusion, inner, shorter, merkle.root(LEAVES[:size]))


@pytest.mark.parametrize("length", [0, 31, 33])
def test_claims_have_32_bytes(length):
    proof = InclusionProof(index=0, size=1)
    refused(merkle.verify_inclusion, bytes(length), proof, LEAVES[0])
    refused(merkle.verify_inclusion, LEAVES[0], proof, bytes(length))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_consistency_is_proven_and_its_forgery_refused(data):
    new = data.draw(sizes)
    old = data.draw(st.integers(0, new))
    path = LOG.consistency(old, new)
    assert path == merkle.consistency_path(LEAVES[:new], old)
    roots = merkle.root(LEAVES[:old]), merkle.root(LEAVES[:new])
    merkle.verify_consistency(old, roots[0], new, roots[1], path)
    which = data.draw(st.integers(0, len(path) + 1))
    bit = data.draw(st.integers(0, 255))
    forged, old_root, new_root = list(path), *roots
    if which < len(path):
        forged[which] = flip(forged[which], bit)
    elif which == len(path):
        old_root = flip(old_root, bit)
    elif old:
        new_root = flip(new_root, bit)
    else:
        return
    refused(merkle.verify_consistency, old, old_root, new, new_root, forged)
    refused(merkle.verify_consistency, old, roots[0], new, roots[1], [*path, LEAVES[0]])
    if path:
        refused(merkle.verify_consistency, old, roots[0], new, roots[1], path[:-1])
        refused(merkle.verify_consistency, old, roots[0], new, roots[1], path[1:])


def test_another_past_is_not_consistent():
    for old in range(1, 12):
        rewritten = [*LEAVES[: old - 1], LEAVES[60]]
        for new in range(old, 16):
            path = LOG.consistency(old, new)
            refused(merkle.verify_consistency, old, merkle.root(rewritten), new, LOG.root(new), path)


def test_sizes_that_cannot_be():
    root = merkle.root(LEAVES[:4])
    refused(merkle.verify_consistency, 5, root, 4, root, [])
    refused(merkle.verify_consistency, 4, root, 3, root, [])
    refused(merkle.verify_consistency, -1, root, 4, root, [])
    refused(merkle.verify_consistency, 0, root, 4, root, [])
    refused(merkle.verify_consistency, 0, merkle.EMPTY_ROOT, 0, root, [])
    refused(merkle.verify_consistency, 3, root, 4, root, [])
    refused(merkle.verify_consistency, 4, root, 4, root, [root])
    refused(merkle.verify_consistency, 4, root[:31], 4, root[:31], [])
    merkle.verify_consistency(0, merkle.EMPTY_ROOT, 4, root, [])
    merkle.verify_consistency(0, merkle.EMPTY_ROOT, 0, merkle.EMPTY_ROOT, [])


def test_paths_outside_the_tree_are_refused():
    refused(merkle.inclusion_path, LEAVES, len(LEAVES))
    refused(merkle.inclusion_path, [], 0)
    refused(merkle.inclusion_path, LEAVES, -1)
    refused(merkle.consistency_path, LEAVES[:3], 4)
    refused(LOG.inclusion, 5, 5)
    refused(LOG.inclusion, -1, 5)
    refused(LOG.inclusion, 0, len(LEAVES) + 1)
    refused(LOG.consistency, 6, 5)
    refused(LOG.root, len(LEAVES) + 1)
    refused(LOG.leaf, len(LEAVES))


@pytest.mark.parametrize(
    "n, frontier", [(0, LEAVES[:1]), (1, []), (3, LEAVES[:1]), (4, LEAVES[:2]), (1, [b"short"])]
)
def test_a_frontier_has_one_hash_per_bit(n, frontier):
    refused(merkle.append, n, frontier, LEAVES[0])
    refused(merkle.frontier_root, n, frontier)


def test_append_leaves_the_old_frontier_alone():
    frontier = merkle.append(0, [], LEAVES[0])
    before = list(frontier)
    merkle.append(1, frontier, LEAVES[1])
    assert frontier == before


@settings(max_examples=50, deadline=None)
@given(sizes)
def test_a_log_continues_where_it_was_stored(n):
    _, nodes = log_of(n)
    log = merkle.MerkleLog(lambda level, index: nodes.get((level, index)), n)
    assert log.size == n
    assert log.root() == definition(LEAVES[:n])
    assert [log.leaf(index) for index in range(n)] == LEAVES[:n]
    assert merkle.frontier_root(n, log.frontier) == log.root()


def test_a_log_stores_fewer_than_two_nodes_for_a_leaf_and_appends_without_reading():
    assert len(NODES) < 2 * len(LEAVES)

    def unreadable(_level, _index):
        raise AssertionError("append reads nothing")

    log = merkle.MerkleLog(unreadable, 0)
    for leaf in LEAVES:
        log.append(leaf)
    assert log.root() == LOG.root()


def test_a_missing_or_damaged_node_stops_the_node():
    for bad in (None, b"short"):
        with pytest.raises(StoreError, match="sync anew"):
            merkle.MerkleLog(lambda _level, _index: bad, 3)


def flip(data, bit):
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("size", range(40))
def test_a_frontier_at_once_is_that_of_appending(size):
    leaves = [hashlib.sha256(b"%d" % n).digest() for n in range(size)]
    frontier = []
    for n, leaf in enumerate(leaves):
        frontier = merkle.append(n, frontier, leaf)
    assert merkle.frontier(leaves) == frontier
