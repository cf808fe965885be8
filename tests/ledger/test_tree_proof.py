"""State proofs: honest ones verify, everything else is refused, and nothing but Invalid(BAD_PROOF) is ever raised."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import tree_proof
from ledger.errors import Invalid
from ledger.hashes import node_hash
from proto.chiptrace.v1.ledger_pb2 import Reason, StateProof
from tests.ledger import messages, naive_tree
from tests.ledger.naive_tree import ZERO

CHAIN = hashlib.sha256(b"chain").digest()
STATE = {b"key %d" % number: b"value %d" % number for number in range(40)}
ITEMS = naive_tree.leaves(CHAIN, STATE)
ROOT = naive_tree.root(ITEMS)
ABSENT = [b"absent %d" % number for number in range(200)]


def honest(key, state=STATE):
    """The proof, built from the definition and not by the product."""
    items = naive_tree.leaves(CHAIN, state)
    own = tree_proof.key_hash(CHAIN, key)
    siblings, leaf = naive_tree.prove(items, own)
    bits = "".join("0" if sibling == ZERO else "1" for sibling in siblings)
    bits += "0" * (-len(bits) % 8)
    proof = StateProof(
        depth=len(siblings),
        bitmap=bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)),
        siblings=[sibling for sibling in siblings if sibling != ZERO],
    )
    if leaf is not None and leaf[0] != own:
        proof.other_key_hash, proof.other_value_hash = leaf
    return proof


EMPTY_SLOT = next(key for key in ABSENT if not honest(key).other_key_hash)
OTHER_LEAF = next(key for key in ABSENT if honest(key).other_key_hash)
# A key whose path has an empty sibling in the middle.
GAPPED = next(key for key in [*STATE, *ABSENT] if len(honest(key).siblings) < honest(key).depth)


def verify(key, value, proof, root=ROOT):
    tree_proof.verify(CHAIN, root, key, value, proof)


def refused(key, value, proof, root=ROOT, match=None):
    with pytest.raises(Invalid, match=match) as raised:
        verify(key, value, proof, root)
    assert raised.value.reason == Reason.BAD_PROOF


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([*STATE, *ABSENT]))
def test_honest_proofs_verify_for_what_is_true_only(key):
    proof = honest(key)
    value = STATE.get(key)
    verify(key, value, proof)
    refused(key, b"something else", proof)
    refused(key, b"", proof)
    if value is not None:
        refused(key, None, proof)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([*STATE, *ABSENT]), st.sampled_from([*STATE, *ABSENT]))
def test_a_proof_never_says_something_false_about_another_key(key, other):
    proof = honest(key)
    for value in {STATE.get(key, b"x"), None, b"x"} - {STATE.get(other)}:
        refused(other, value, proof)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([*STATE, *ABSENT]), st.data())
def test_every_changed_bit_of_a_proof_is_refused(key, data):
    proof = honest(key)
    encoded = bytearray(proof.SerializeToString())
    bit = data.draw(st.integers(0, 8 * len(encoded) - 1))
    encoded[bit // 8] ^= 1 << bit % 8
    try:
        changed = StateProof.FromString(bytes(encoded))
    except Exception:
        return
    changed.DiscardUnknownFields()
    if changed != proof:
        refused(key, STATE.get(key), changed)


@settings(max_examples=200, deadline=None)
@given(
    messages.messages(StateProof),
    st.binary(max_size=40),
    st.none() | st.binary(max_size=40),
    st.binary(max_size=40),
)
def test_nothing_but_bad_proof_is_raised(proof, key, value, root):
    refused(key, value, proof, root)


hashes32 = st.binary(min_size=32, max_size=32)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 256), st.data())
def test_well_formed_proofs_of_nothing_are_refused(depth, data):
    bits = data.draw(st.integers(0, 2**depth - 1)) | (1 if depth else 0)
    siblings = [data.draw(hashes32) for _ in range(min(bits.bit_count(), 3))] + [b"\1" * 32] * (
        bits.bit_count() - 3
    )
    proof = StateProof(
        depth=depth, bitmap=(bits << -depth % 8).to_bytes((depth + 7) // 8, "big"), siblings=siblings
    )
    if data.draw(st.booleans()):
        proof.other_key_hash, proof.other_value_hash = data.draw(hashes32), data.draw(hashes32)
    refused(b"key 1", data.draw(st.sampled_from([None, b"value 1"])), proof)


# ---- the shape, rule by rule -------------------------------------------------------------------------------


def altered(key, **fields):
    proof = honest(key)
    for name, value in fields.items():
        if name == "siblings":
            proof.siblings[:] = value
        else:
            setattr(proof, name, value)
    return proof


def test_depth_above_256():
    proof = StateProof(depth=257, bitmap=bytes(32) + b"\x80", siblings=[b"\1" * 32])
    refused(b"key 1", b"value 1", proof, match="depth 257")
    refused(b"key 1", None, StateProof(depth=2**32 - 1), match="depth 4294967295")


@pytest.mark.parametrize("key", [b"key 1", EMPTY_SLOT, OTHER_LEAF, GAPPED])
def test_bitmap_of_another_length(key):
    bitmap = honest(key).bitmap
    refused(key, STATE.get(key), altered(key, bitmap=bitmap + b"\0"), match="bitmap of")
    refused(key, STATE.get(key), altered(key, bitmap=b"\0" + bitmap), match="bitmap of")
    refused(key, STATE.get(key), altered(key, bitmap=bitmap[:-1]), match="bitmap of")


def test_unused_bits():
    key = next(key for key in STATE if honest(key).depth % 8)
    proof = honest(key)
    proof.bitmap = bytes([*proof.bitmap[:-1], proof.bitmap[-1] | 1])
    refused(key, STATE[key], proof, match="below its depth")


@pytest.mark.parametrize("key", [b"key 1", EMPTY_SLOT, OTHER_LEAF, GAPPED])
def test_number_of_siblings(key):
    siblings = list(honest(key).siblings)
    refused(key, STATE.get(key), altered(key, siblings=siblings[1:]), match="announced")
    refused(key, STATE.get(key), altered(key, siblings=siblings[:-1]), match="announced")
    refused(key, STATE.get(key), altered(key, siblings=[*siblings, b"\1" * 32]), match="announced")
    refused(key, STATE.get(key), altered(key, siblings=[]), match="announced")


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_siblings_of_another_length(length):
    siblings = list(honest(b"key 1").siblings)
    refused(
        b"key 1",
        b"value 1",
        altered(b"key 1", siblings=[bytes([1]) * length, *siblings[1:]]),
        match="32 bytes",
    )


def test_an_empty_sibling_is_never_given():
    # The same tree with the gap spelled out: an equal root, another form.
    proof = honest(GAPPED)
    depth, siblings = proof.depth, []
    bits = int.from_bytes(proof.bitmap, "big") >> -depth % 8
    given_siblings = list(proof.siblings)
    for level in range(depth):
        siblings.append(given_siblings.pop(0) if bits >> (depth - 1 - level) & 1 else ZERO)
    full = (2**depth - 1) << -depth % 8
    spelled = altered(GAPPED, siblings=siblings, bitmap=full.to_bytes((depth + 7) // 8, "big"))
    refused(GAPPED, STATE.get(GAPPED), spelled, match="sibling is empty")


def test_a_lone_leaf_does_not_stand_lower_than_it_does():
    # Were a chain of empty siblings below allowed, it would need a root that no honest tree has; refused by form.
    leaf = tree_proof.state_leaf(CHAIN, tree_proof.key_hash(CHAIN, b"a"), tree_proof.value_hash(b"b"))
    side = naive_tree.bit(tree_proof.key_hash(CHAIN, b"a"), 0)
    root = node_hash(ZERO, leaf) if side else node_hash(leaf, ZERO)
    refused(b"a", b"b", StateProof(depth=1, bitmap=b"\0"), root, match="lowest sibling")


def test_two_empty_halves_prove_no_absence():
    refused(b"a", None, StateProof(depth=1, bitmap=b"\0"), node_hash(ZERO, ZERO), match="lowest sibling")


@pytest.mark.parametrize(
    "fields", [("other_key_hash",), ("other_value_hash",), ("other_key_hash", "other_value_hash")]
)
def test_inclusion_names_no_other_leaf(fields):
    own = {
        "other_key_hash": tree_proof.key_hash(CHAIN, b"key 1"),
        "other_value_hash": tree_proof.value_hash(b"value 1"),
    }
    refused(
        b"key 1",
        b"value 1",
        altered(b"key 1", **{name: own[name] for name in fields}),
        match="names another leaf",
    )


# ---- absence ------------------------------------------------------------------------------------------------


def test_absence_by_the_key_itself_is_refused():
    # Dragonberry's aim: absence of what is there.
    proof = altered(
        b"key 1",
        other_key_hash=tree_proof.key_hash(CHAIN, b"key 1"),
        other_value_hash=tree_proof.value_hash(b"value 1"),
    )
    refused(b"key 1", None, proof, match="the key itself")


def test_absence_by_a_leaf_of_another_place_is_refused():
    # Another key's own, valid path; it shares fewer bits with ours than its depth.
    for key in STATE:
        for other in STATE:
            own, elsewhere = tree_proof.key_hash(CHAIN, key), tree_proof.key_hash(CHAIN, other)
            shared = 256 - (int.from_bytes(own, "big") ^ int.from_bytes(elsewhere, "big")).bit_length()
            if key == other or shared >= honest(other).depth:
                continue
            proof = altered(
                other, other_key_hash=elsewhere, other_value_hash=tree_proof.value_hash(STATE[other])
            )
            refused(key, None, proof, match="are needed")


def test_absence_by_a_leaf_that_is_not_there_is_refused():
    refused(
        OTHER_LEAF,
        None,
        altered(OTHER_LEAF, other_value_hash=hashlib.sha256(b"x").digest()),
        match="another root",
    )
    refused(
        OTHER_LEAF, None, altered(OTHER_LEAF, other_key_hash=b"", other_value_hash=b""), match="another root"
    )


@pytest.mark.parametrize("field", ["other_key_hash", "other_value_hash"])
@pytest.mark.parametrize("length", [0, 31, 33])
def test_the_other_leaf_is_named_in_full(field, length):
    value = getattr(honest(OTHER_LEAF), field)
    refused(OTHER_LEAF, None, altered(OTHER_LEAF, **{field: (value + b"\0")[:length]}), match="32 bytes")


def test_absence_in_a_tree_of_one():
    state = {b"only": b"value"}
    root = naive_tree.root(naive_tree.leaves(CHAIN, state))
    proof = honest(b"absent", state)
    assert proof.depth == 0
    verify(b"absent", None, proof, root)
    verify(b"only", b"value", StateProof(), root)
    refused(b"absent", None, StateProof(), root)


# ---- roots --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, b"value"])
@pytest.mark.parametrize("root", [ZERO, b"", b"\1" * 31, b"\1" * 33])
def test_nothing_is_proven_under_an_empty_root(root, value):
    # Nomad: a field left at its default was a root under which everything was proven.
    refused(b"a", value, StateProof(), root, match="the root is empty")


def test_another_chain_has_other_proofs():
    other = hashlib.sha256(b"other chain").digest()
    for key in (b"key 1", EMPTY_SLOT, OTHER_LEAF):
        with pytest.raises(Invalid):
            tree_proof.verify(other, ROOT, key, STATE.get(key), honest(key))


# ---- many under one root ------------------------------------------------------------------------------------------


def takes(verify, *claim):
    try:
        verify(*claim)
    except Invalid as error:
        if error.reason != Reason.BAD_PROOF:
            raise
        return False
    return True


def flipped(proof):
    """The proof with one byte of one field changed, each in turn."""
    for name in ("other_key_hash", "other_value_hash", "bitmap"):
        for at in range(len(getattr(proof, name))):
            changed = StateProof()
            changed.CopyFrom(proof)
            data = bytearray(getattr(proof, name))
            data[at] ^= 1 << at % 8
            setattr(changed, name, bytes(data))
            yield changed
    for number, sibling in enumerate(proof.siblings):
        for at in range(len(sibling)):
            changed = StateProof()
            changed.CopyFrom(proof)
            data = bytearray(sibling)
            data[at] ^= 1 << at % 8
            changed.siblings[number] = bytes(data)
            yield changed
    for depth in {proof.depth + 1, max(0, proof.depth - 1)} - {proof.depth}:
        changed = StateProof()
        changed.CopyFrom(proof)
        changed.depth = depth
        yield changed


def test_a_lie_is_not_covered_by_what_was_proven_before():
    """Every byte of every proof, after all of them were proven: none is taken that alone would be refused."""
    proofs = tree_proof.Proofs(CHAIN, ROOT)
    keys = [*STATE, *ABSENT[:20]]
    for key in keys:
        proofs.verify(key, STATE.get(key), honest(key))
    for key in keys:
        assert takes(proofs.verify, key, STATE.get(key), honest(key))
        assert not takes(proofs.verify, key, b"another value", honest(key))
        assert not takes(proofs.verify, key, None if key in STATE else b"value 1", honest(key))
        for changed in flipped(honest(key)):
            assert not takes(proofs.verify, key, STATE.get(key), changed)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_what_many_proofs_take_each_takes_alone(data):
    proofs = tree_proof.Proofs(CHAIN, ROOT)
    keys = [*STATE, *ABSENT]
    for _ in range(data.draw(st.integers(1, 12))):
        key, shown = data.draw(st.sampled_from(keys)), data.draw(st.sampled_from(keys))
        proof = honest(shown)
        if data.draw(st.booleans()):
            proof = data.draw(st.sampled_from(list(flipped(proof))))
        value = data.draw(st.sampled_from([STATE.get(key), STATE.get(shown), None]))
        alone = takes(tree_proof.verify, CHAIN, ROOT, key, value, proof)
        assert takes(proofs.verify, key, value, proof) == alone


def test_a_path_that_ends_early_is_still_held_against_what_is_known():
    """The siblings above the node that is known: not hashed again, and not to be made up either."""
    proofs = tree_proof.Proofs(CHAIN, ROOT)
    proofs.verify(b"key 1", STATE[b"key 1"], honest(b"key 1"))
    proof = altered(b"key 1", siblings=[b"\1" * 32, *list(honest(b"key 1").siblings)[1:]])
    with pytest.raises(Invalid, match="another root"):
        proofs.verify(b"key 1", STATE[b"key 1"], proof)


def test_what_is_kept_has_an_end(monkeypatch):
    monkeypatch.setattr(tree_proof, "NODES_KEPT_MAX", 20)
    proofs = tree_proof.Proofs(CHAIN, ROOT)
    for key in [*STATE, *ABSENT]:
        proofs.verify(key, STATE.get(key), honest(key))
        assert not takes(proofs.verify, key, b"another value", honest(key))
    assert len(proofs._nodes) < 20 + 2 * 16
