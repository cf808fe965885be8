"""Known attacks on proofs, by their number in docs/bridge-testing.md: what a proof may be made to say.

Each of these tests is seen to fail with its guard removed: tests/bridge/guards.py, scripts/bridge_guards.py.
"""

import pytest

from bridge.packet import packet_commitment
from bridge.proofs import proven_leaf, verify_remote
from ledger import codec, merkle, state, tree_proof
from ledger.block import (
    LOG_LEAF_BYTES,
    app_hash,
    decode_block,
    decode_transaction,
    log_leaf_hash,
    transaction_leaf,
)
from ledger.errors import ChiptraceError, Invalid, Malformed
from ledger.hashes import ZERO, Purpose, leaf_hash, node_hash
from ledger.state import MappingReader
from proto.chiptrace.v1.bridge_pb2 import ClientHeader, ReceivePacket, RemoteProof, UpdateClient
from proto.chiptrace.v1.consensus_pb2 import SignedHeader
from proto.chiptrace.v1.ledger_pb2 import Change, Header, InclusionProof, Operation, Reason, StateProof
from tests.bridge.certified import signed_header
from tests.bridge.test_clients import forge, misbehave, thaw
from tests.bridge.test_handlers import Sent, refused
from tests.bridge.test_light_client import FIRST, genesis_state, verify
from tests.bridge.test_proofs import CHAIN, CLIENT, NOW, Certified
from tests.ledger.test_tree_proof import ABSENT, EMPTY_SLOT, OTHER_LEAF, ROOT, STATE, honest
from tests.ledger.test_tree_proof import CHAIN as CHAIN_OF_TREE


def bad(act, *arguments):
    """The one error of verifiers, and no other exception."""
    with pytest.raises(Invalid) as caught:
        act(*arguments)
    assert caught.value.reason == Reason.BAD_PROOF


def shortened(proof: StateProof, depth: int) -> StateProof:
    """The top of a path: its first `depth` levels with their siblings."""
    bits = int.from_bytes(proof.bitmap, "big") >> (8 * len(proof.bitmap) - depth)
    bitmap = (bits << -depth % 8).to_bytes((depth + 7) // 8, "big")
    return StateProof(depth=depth, bitmap=bitmap, siblings=proof.siblings[: bits.bit_count()])


def forked(world, height):
    """Another block of chain a at a height, signed by all of it."""
    return forge(world["a"], height, app_hash=bytes(31) + b"x")


def thaw_change(world, signers):
    return Change(thaw_client=thaw(world, signers=signers))


def flips(data: bytes):
    """The data with one bit changed, for every bit."""
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def test_attack_01_something_rides_along_that_no_hash_covers():
    """A leaf that the hash left out made 2 million BNB: every bit of an accepted proof counts, and none can be added."""
    chain = Certified()
    good = codec.encode(chain.proof())
    accepted = []
    for changed in flips(good):
        try:
            proof = codec.decode(RemoteProof, changed, 10_000)
            chain.verify(proof)
            proven_leaf(CLIENT, proof)
        except ChiptraceError:
            continue
        accepted.append(changed)
    assert accepted == []
    # The second leaf itself: an inclusion that carries another one beside its own.
    for fields in (
        {"other_key_hash": bytes(range(32)), "other_value_hash": bytes(range(32))},
        {"other_key_hash": tree_proof.key_hash(CHAIN, b"key")},
        {"other_value_hash": tree_proof.value_hash(b"thing")},
    ):
        proof = chain.proof()
        proof.proof.MergeFrom(StateProof(**fields))
        bad(chain.verify, proof)
    # Nor does anything ride along with a header.
    for more in ({"recovery": b"x"}, {"next_validators": b"x"}, {"next_validators": codec.encode(FIRST.set)}):
        riding = signed_header(1, FIRST)
        verify(genesis_state(), riding)
        riding.MergeFrom(SignedHeader(**more))
        with pytest.raises(Invalid):
            verify(genesis_state(), riding)


def test_attack_02_a_proof_of_another_kind():
    """Range and batch proofs were what broke; there is one kind here, and what is unknown in it is refused."""
    sent = Sent()
    good = codec.encode(ReceivePacket(packet=sent.packet, proof=sent.commitment_proof()))
    extra = StateProof.FromString(b"\x3a\x04more")  # a field 7 that no version has
    assert extra.ByteSize() == 6
    message = ReceivePacket.FromString(good)
    message.proof.proof.MergeFromString(b"\x3a\x04more")
    for data in (
        message.SerializeToString(deterministic=True),  # within the proof
        good + b"\x1a\x02\x08\x01",  # a second kind of proof beside the first
        good
        + codec.encode(ReceivePacket(proof=sent.commitment_proof())),  # the same field once more: a batch
    ):
        before = sent.b.state_root
        refused(sent.b.operate("bob", Operation(receive_packet=data), role="relayer"), Reason.MALFORMED)
        assert sent.b.state_root == before
    assert sent.b.operate("bob", Operation(receive_packet=good), role="relayer").ok


def test_attack_03_absence_of_what_is_there():
    """Dragonberry: a forged absence is a forged timeout, and the part is live twice."""
    for key, value in STATE.items():
        own = honest(key)
        # The key's own leaf as the other one that stands in its place.
        own.other_key_hash = tree_proof.key_hash(CHAIN_OF_TREE, key)
        own.other_value_hash = tree_proof.value_hash(value)
        bad(tree_proof.verify, CHAIN_OF_TREE, ROOT, key, None, own)
        # Its path cut anywhere, ended by nothing or by its own leaf.
        for depth in range(own.depth):
            for other in ((b"", b""), (own.other_key_hash, own.other_value_hash)):
                cut = shortened(own, depth)
                cut.other_key_hash, cut.other_value_hash = other
                bad(tree_proof.verify, CHAIN_OF_TREE, ROOT, key, None, cut)
    # The neighbours' proofs, whose leaves are truly there.
    for neighbour in STATE:
        bad(tree_proof.verify, CHAIN_OF_TREE, ROOT, b"key 1", None, honest(neighbour))
    # And on chain: a received packet never times out.
    sent = Sent()
    assert sent.receive().ok
    sent.let_time_out()
    proof = sent.absence_proof()
    refused(sent.time_out(proof), Reason.BAD_PROOF)
    receipt = state.receipt_key("a-1", 1)
    proof.proof.other_key_hash = tree_proof.key_hash(sent.b.chain_id, receipt)
    proof.proof.other_value_hash = tree_proof.value_hash(sent.b.app.store.get(receipt))
    refused(sent.time_out(proof), Reason.BAD_PROOF)


def test_attack_04_empty_proofs_and_empty_trees():
    """A proof over nothing proves nothing: not under an empty root, and not where the path is left out."""
    for root in (ZERO, b"", bytes(31), bytes(33)):
        for value in (None, b"", b"value"):
            bad(tree_proof.verify, CHAIN, root, b"key", value, StateProof())
    for key in (b"key 1", EMPTY_SLOT, OTHER_LEAF):
        for value in (None, b"", STATE[b"key 1"]):
            bad(tree_proof.verify, CHAIN_OF_TREE, ROOT, key, value, StateProof())
    for root in (merkle.EMPTY_ROOT, ZERO, b""):
        bad(merkle.verify_inclusion, merkle.EMPTY_ROOT, InclusionProof(), root)
    # Even were an empty state certified, no timeout follows from it.
    lying = Certified()
    lying.opening.state_root = ZERO
    header = ClientHeader(height=6, app_hash=app_hash(CHAIN, lying.opening))
    reader = MappingReader({state.client_header_key("a-1", 6): codec.encode(header)})
    nothing = RemoteProof(header_height=6, opening=lying.opening)
    bad(verify_remote, reader, CLIENT, NOW, nothing, b"receipt", None)
    sent = Sent()
    refused(
        sent.receive(proof=RemoteProof(header_height=sent.b.client("a-1").latest_height)), Reason.BAD_PROOF
    )


def test_attack_05_depths_and_lengths_are_not_the_provers_to_choose():
    """Deeper than the tree, longer than the key, odd lengths: refused, never a crash."""
    sibling = b"\1" * 32
    for depth in (257, 258, 264, 2**16, 2**32 - 1):
        bits = 1 << (-depth % 8)
        length = (depth + 7) // 8 if depth < 1_000 else 33
        proof = StateProof(depth=depth, bitmap=bits.to_bytes(length, "big"), siblings=[sibling])
        for value in (None, b"value 1"):
            bad(tree_proof.verify, CHAIN_OF_TREE, ROOT, b"key 1", value, proof)
    good = honest(b"key 1")
    for siblings in ([*good.siblings, sibling], list(good.siblings)[:-1], [b"", *list(good.siblings)[1:]]):
        changed = StateProof(depth=good.depth, bitmap=good.bitmap, siblings=siblings)
        bad(tree_proof.verify, CHAIN_OF_TREE, ROOT, b"key 1", b"value 1", changed)
    for bitmap in (b"", good.bitmap + b"\0", b"\0" + good.bitmap):
        changed = StateProof(depth=good.depth, bitmap=bitmap, siblings=good.siblings)
        bad(tree_proof.verify, CHAIN_OF_TREE, ROOT, b"key 1", b"value 1", changed)


def test_attack_06_an_index_beyond_the_tree():
    """Hyperbridge: index = size dropped the leaf, and the next item of the proof became the root."""
    for size in range(1, 9):
        leaves = [leaf_hash(Purpose.LOG_LEAF, CHAIN, bytes([number])) for number in range(size)]
        root = merkle.root(leaves)
        for index in (size, size + 1, 2 * size, 2**32, 2**64 - 1):
            # The root itself as the leaf, and as an item of the path.
            for leaf, path in (
                (root, []),
                (leaves[0], [root]),
                (leaves[-1], merkle.inclusion_path(leaves, size - 1)),
            ):
                for claimed in (size, 0, 1):
                    if index >= claimed:
                        proof = InclusionProof(index=index, size=claimed, path=path)
                        bad(merkle.verify_inclusion, leaf, proof, root)
    # Items left over.
    leaves = [leaf_hash(Purpose.LOG_LEAF, CHAIN, bytes([number])) for number in range(5)]
    for index in range(5):
        path = merkle.inclusion_path(leaves, index)
        for changed in ([*path, merkle.root(leaves)], path[:-1]):
            proof = InclusionProof(index=index, size=5, path=changed)
            bad(merkle.verify_inclusion, leaves[index], proof, merkle.root(leaves))
    # Not bound to what was asked: the leaf of another height for a timeout.
    sent = Sent().let_time_out()
    for size, index in ((0, 0), (1, 0), (1, 1), (2**64 - 1, 2**64 - 2)):
        proof = sent.absence_proof()
        proof.last_leaf.inclusion.size, proof.last_leaf.inclusion.index = size, index
        refused(sent.time_out(proof), Reason.BAD_PROOF)


def test_attack_07_nothing_and_the_same_twice():
    """An empty list is no proof, and what counts once does not count twice."""
    sent = Sent()
    for message in (UpdateClient(client="a-1"), UpdateClient()):
        result = sent.b.operate("bob", Operation(update_client=codec.encode(message)), role="relayer")
        assert not result.ok
    # One signer, named three times by approvals of a thaw.
    world = sent.world
    head = world["b"].client("a-1").latest_height
    fork = forked(world, head)
    assert misbehave(world, world["a"].header(head), fork).ok
    for signers in ((), ("ada", "ada", "ada"), ("ada", "abe", "abe")):
        result = world.govern("b", thaw_change(world, signers))
        refused(result, Reason.NOT_ENOUGH_APPROVALS)
    assert world["b"].client("a-1").frozen


def test_attack_09_a_value_that_stands_for_nothing_is_believed():
    """Nomad: the zero root was a trusted one after an upgrade. A new anchor leaves nothing provable that was not
    verified under it, and no default value is ever what is asked for."""
    sent = Sent()
    old = sent.commitment_proof()
    never_sent = sent.packet.sequence + 1
    for proof in (RemoteProof(), RemoteProof(header_height=old.header_height)):
        refused(
            sent.receive(proof=proof), Reason.UNKNOWN_HEADER if not proof.header_height else Reason.BAD_PROOF
        )
    refused(sent.receive(sequence=never_sent), Reason.BAD_PROOF)
    zero = RemoteProof()
    zero.CopyFrom(old)
    zero.opening.state_root = ZERO
    refused(sent.receive(proof=zero), Reason.BAD_PROOF)
    # Frozen and anchored anew: the old header is gone, with all that was proven under it.
    world = sent.world
    assert misbehave(world, sent.a.header(old.header_height), forked(world, old.header_height)).ok
    sent.a.produce()
    assert world.govern("b", thaw_change(world, ("ada", "abe", "amy"))).ok
    refused(sent.receive(proof=old), Reason.UNKNOWN_HEADER)
    fresh = sent.commitment_proof()
    verify_remote(
        sent.b.app.store,
        sent.b.client("a-1"),
        sent.b.info.time_ms,
        fresh,
        sent.key,
        packet_commitment(sent.packet),
    )


def test_attack_21_the_last_leaf_paired_with_itself():
    """CVE-2012-2459: where an odd node is doubled, two lists of transactions share one root."""
    for size in range(1, 34):
        leaves = [leaf_hash(Purpose.TRANSACTION_LEAF, CHAIN, bytes([number])) for number in range(size)]
        root = merkle.root(leaves)
        for doubled in range(1, size + 1):
            assert merkle.root([*leaves, *leaves[-doubled:]]) != root
    # And a block that repeats a transaction is refused whatever its root.
    sent = Sent()
    data = sent.a.transaction("ada", Operation(send_part=b""))
    block = sent.a.propose([data])
    twice = decode_block(block)
    twice.transactions.append(data)
    header = Header.FromString(twice.header)
    leaf = transaction_leaf(sent.a.chain_id, decode_transaction(sent.a.chain_id, data))
    header.transactions_root = merkle.root([leaf, leaf])
    twice.header = codec.encode(header)
    with pytest.raises((Invalid, Malformed)):
        sent.a.app.process_proposal(codec.encode(twice), sent.a.now_ms)


def test_attack_22_an_inner_node_as_a_leaf():
    """A leaf and a node are hashed apart, so no part of a tree is a leaf of a smaller one."""
    leaves = [leaf_hash(Purpose.LOG_LEAF, CHAIN, bytes([number]) * LOG_LEAF_BYTES) for number in range(4)]
    root = merkle.root(leaves)
    left, right = node_hash(leaves[0], leaves[1]), node_hash(leaves[2], leaves[3])
    # The two halves of a node as the data of a leaf.
    for data, index in ((leaves[0] + leaves[1], 0), (leaves[2] + leaves[3], 1)):
        proof = InclusionProof(index=index, size=2, path=[(right, left)[index]])
        bad(merkle.verify_inclusion, log_leaf_hash(CHAIN, data), proof, root)
        assert leaf_hash(Purpose.LOG_LEAF, CHAIN, data) != node_hash(data[:32], data[32:])
    # The node itself where a leaf hash belongs, in the tree's true size.
    for index in range(4):
        proof = InclusionProof(index=index, size=4, path=[right])
        bad(merkle.verify_inclusion, left, proof, root)
    # The state tree: the hashes of a key and a value are no node either.
    key, value = tree_proof.key_hash(CHAIN, b"key"), tree_proof.value_hash(b"value")
    assert tree_proof.state_leaf(CHAIN, key, value) != node_hash(key, value)


def test_attack_23_absence_shown_by_a_leaf_of_elsewhere():
    """The other leaf must stand on the key's own path, down to where it stands alone."""
    tried = 0
    for key in STATE:
        for other in STATE:
            own, elsewhere = (tree_proof.key_hash(CHAIN_OF_TREE, item) for item in (key, other))
            shared = 256 - (int.from_bytes(own, "big") ^ int.from_bytes(elsewhere, "big")).bit_length()
            proof = honest(other)
            if key == other or shared >= proof.depth:
                continue
            # The path of the other leaf, offered for our key; and our own path's siblings folded from its side.
            proof.other_key_hash = elsewhere
            proof.other_value_hash = tree_proof.value_hash(STATE[other])
            bad(tree_proof.verify, CHAIN_OF_TREE, ROOT, key, None, proof)
            tried += 1
    assert tried > 1_000
    # A prover that chooses the root's shape: the leaf of elsewhere at the end of our own path.
    for key in ABSENT:
        own = tree_proof.key_hash(CHAIN_OF_TREE, key)
        elsewhere = bytes([own[0] ^ 0x80]) + own[1:]
        leaf = bytes(range(1, 33))
        found = tree_proof.state_leaf(CHAIN_OF_TREE, elsewhere, bytes(range(32)))
        root = node_hash(leaf, found) if own[0] & 0x80 else node_hash(found, leaf)
        proof = StateProof(
            depth=1,
            bitmap=b"\x80",
            siblings=[leaf],
            other_key_hash=elsewhere,
            other_value_hash=bytes(range(32)),
        )
        bad(tree_proof.verify, CHAIN_OF_TREE, root, key, None, proof)
