"""The golden vectors hold for the product, and for an encoder that knows nothing but docs/format.md."""

import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import block, codec, hashes, merkle, state, tree_proof
from ledger.errors import Invalid
from ledger.hashes import Purpose
from ledger.tree import StateTree
from proto.chiptrace.v1.ledger_pb2 import InclusionProof, StateProof
from scripts import generate_vectors
from tests.ledger import independent_encoder as independent
from tests.ledger import messages

FOLDER = Path(__file__).resolve().parents[1] / "vectors"


def vectors(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


def unhex(items):
    return [bytes.fromhex(item) for item in items]


def test_vectors_and_tables_are_fresh():
    for path, content in generate_vectors.files().items():
        assert path.read_text() == content, (
            f"{path.name} is stale: python scripts/generate_vectors.py --check"
        )


# ---- messages ------------------------------------------------------------------------------------------------


def test_every_message_has_vectors():
    assert {vector["type"] for vector in vectors("messages")} == {
        k.DESCRIPTOR.name for k in messages.all_kinds()
    }


@pytest.mark.parametrize("kind", messages.all_kinds(), ids=lambda kind: kind.DESCRIPTOR.name)
def test_messages(kind):
    name = kind.DESCRIPTOR.name
    for vector in vectors("messages"):
        if vector["type"] != name:
            continue
        data = bytes.fromhex(vector["bytes"])
        message = messages.from_plain(kind, vector["fields"])
        assert codec.encode(message) == data
        assert codec.decode(kind, data, len(data)) == message
        assert independent.encode(name, vector["fields"]) == data


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_the_independent_encoder_agrees_on_any_message(data):
    kind = data.draw(st.sampled_from(messages.all_kinds()))
    message = data.draw(messages.messages(kind))
    plain = messages.to_plain(message)
    assert messages.from_plain(kind, plain) == message
    assert independent.encode(kind.DESCRIPTOR.name, plain) == codec.encode(message)


# ---- hashes, tags, signatures --------------------------------------------------------------------------------


def test_the_page_names_every_purpose_and_every_kind_of_key():
    page = independent.PAGE.read_text()
    section = page.split("## 2. Domain tags")[1].split("## 3.")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`([\w-]+)`", row)} == {p.value for p in Purpose}
    kinds = dict(
        re.findall(r"^\| ([A-Z_]+) \| (\d+) \|", page.split("### Keys")[1].split("### Tree")[0], re.MULTILINE)
    )
    assert {name: int(number) for name, number in kinds.items()} == {
        kind.name: int(kind) for kind in state.Kind
    }


def test_hashes_and_signatures():
    found = vectors("hashes")
    assert [vector["purpose"] for vector in found] == [purpose.value for purpose in Purpose]
    for vector in found:
        purpose, chain, data = (
            vector["purpose"],
            bytes.fromhex(vector["chain_id"]),
            bytes.fromhex(vector["data"]),
        )
        assert independent.tagged(purpose, chain, data).hex() == vector["tagged"]
        assert independent.leaf(purpose, chain, data).hex() == vector["leaf"]
        signed = independent.tag(purpose, chain) + data
        assert signed.hex() == vector["signed"]
        # Another library signs the same; it would not verify the same.
        private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(vector["seed"]))
        assert private.sign(signed).hex() == vector["signature"]
        assert private.public_key().public_bytes_raw().hex() == vector["key"]
        key, signature = bytes.fromhex(vector["key"]), bytes.fromhex(vector["signature"])
        assert hashes.verify(key, Purpose(purpose), chain, data, signature)


# ---- trees ---------------------------------------------------------------------------------------------------


def test_merkle_trees():
    found = vectors("merkle")
    leaves = unhex(found["leaves"])
    roots = {}
    for vector in found["roots"]:
        some = leaves[: vector["size"]]
        roots[vector["size"]] = bytes.fromhex(vector["root"])
        assert independent.root(some) == merkle.root(some) == roots[vector["size"]]
        assert independent.frontier(some) == unhex(vector["frontier"])
    for vector in found["inclusion"]:
        size, index, path = vector["size"], vector["index"], unhex(vector["path"])
        assert independent.inclusion(index, leaves[:size]) == path
        merkle.verify_inclusion(leaves[index], InclusionProof(index=index, size=size, path=path), roots[size])
    for vector in found["consistency"]:
        old, new, path = vector["old"], vector["new"], unhex(vector["path"])
        assert independent.consistency(old, leaves[:new]) == path
        merkle.verify_consistency(old, roots[old], new, roots[new], path)
    assert len(found["roots"]) == 14


def test_state_trees():
    forms = set()
    for vector in vectors("state_tree"):
        chain, root = bytes.fromhex(vector["chain_id"]), bytes.fromhex(vector["root"])
        content = {bytes.fromhex(key): bytes.fromhex(value) for key, value in vector["state"].items()}
        assert independent.subtree(independent.state_items(chain, content)) == root
        assert StateTree(chain, {}.get, hashes.ZERO).update(content).root == root
        for proven in vector["proofs"]:
            key = bytes.fromhex(proven["key"])
            value = None if proven["value"] is None else bytes.fromhex(proven["value"])
            plain = independent.state_proof(chain, content, key)
            data = bytes.fromhex(proven["bytes"])
            assert independent.encode("StateProof", plain) == data
            proof = codec.decode(StateProof, data, 10_000)
            tree_proof.verify(chain, root, key, value, proof)
            with pytest.raises(Invalid):
                tree_proof.verify(chain, root, key, b"" if value is None else None, proof)
            forms.add((value is None, bool(proof.other_key_hash), proof.depth > 0))
    assert forms == {
        (False, False, False),
        (False, False, True),
        (True, False, True),
        (True, True, False),
        (True, True, True),
    }


# ---- transactions, blocks, subjects --------------------------------------------------------------------------


def test_transactions():
    vector = vectors("transaction")
    chain = bytes.fromhex(vector["chain_id"])
    body = independent.encode("TransactionBody", vector["body"])
    assert independent.tagged("transaction", chain, body).hex() == vector["id"]
    signed = independent.tag("transaction", chain) + body
    private = [Ed25519PrivateKey.from_private_bytes(seed) for seed in unhex(vector["seeds"])]
    signatures = [
        {"key": key.public_key().public_bytes_raw().hex(), "signature": key.sign(signed).hex()}
        for key in private
    ]
    for count, data in enumerate(vector["transactions"], start=1):
        plain = {"body": body.hex(), "signatures": signatures[:count]}
        assert independent.encode("Transaction", plain).hex() == data
        assert block.decode_transaction(chain, bytes.fromhex(data)).id.hex() == vector["id"]
    leaves = [
        independent.leaf("transaction-leaf", chain, bytes.fromhex(vector["id"]) + independent.sha256(data))
        for data in unhex(vector["transactions"])
    ]
    assert independent.root(leaves).hex() == vector["transactions_root"]
    results = [independent.leaf("result", chain, result) for result in unhex(vector["results"])]
    assert independent.root(results).hex() == vector["results_root"]


def test_chain():
    vector = vectors("chain")
    chain = bytes.fromhex(vector["chain_id"])

    def tagged(purpose, message, fields):
        return independent.tagged(purpose, chain, independent.encode(message, fields)).hex()

    assert tagged("genesis", "Genesis", vector["genesis"]["fields"]) == vector["genesis"]["chain_id"]
    assert tagged("block", "Header", vector["header"]["fields"]) == vector["header"]["block_hash"]
    plain = {name: value for name, value in vector["header"]["fields"].items() if name != "recovery"}
    assert tagged("block", "Header", plain) == vector["header"]["block_hash_without_recovery"]
    assert (
        tagged("validators", "ValidatorSet", vector["validators"]["fields"]) == vector["validators"]["hash"]
    )
    opening = vector["app_hash"]["fields"]
    data = bytes.fromhex(opening["state_root"]) + independent.be64(opening["log_size"])
    data += bytes.fromhex(opening["log_root"])
    assert independent.tagged("app-hash", chain, data).hex() == vector["app_hash"]["hash"]
    leaf = vector["log_leaf"]
    data = independent.log_leaf(leaf["height"], leaf["time_ms"], *unhex(leaf["parts"]))
    assert len(data) == 112
    assert data.hex() == leaf["bytes"]
    assert independent.leaf("log-leaf", chain, data).hex() == leaf["leaf"]
    for vote in vector["votes"]:
        signed = independent.vote(
            vote["kind"], chain, vote["height"], vote["view"], bytes.fromhex(vote["block_hash"])
        )
        assert signed.hex() == vote["signed"]
    joining = vector["join"]
    signed = independent.tag("join", chain) + independent.be64(joining["height"])
    signed += bytes.fromhex(joining["block_hash"])
    assert signed.hex() == joining["signed"]
    private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(joining["seed"]))
    plain = {"chain_id": chain.hex(), "height": joining["height"], "block_hash": joining["block_hash"]}
    plain |= {"key": private.public_key().public_bytes_raw().hex(), "signature": private.sign(signed).hex()}
    assert independent.encode("JoinProof", plain).hex() == joining["proof"]


def test_recovery():
    vector = vectors("chain")["recovery"]
    chain = bytes.fromhex(vectors("chain")["chain_id"])
    document = independent.encode("RecoveryDocument", vector["fields"])
    assert independent.tagged("recovery", chain, document).hex() == vector["document"]
    approvals = []
    for seed in vector["seeds"]:
        private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed))
        signature = private.sign(independent.tag("recovery", chain) + document)
        approvals.append({"key": private.public_key().public_bytes_raw().hex(), "signature": signature.hex()})
    whole = independent.encode("Recovery", {"document": document.hex(), "approvals": approvals})
    assert whole.hex() == vector["bytes"]
    assert independent.tagged("recovery-mark", chain, whole).hex() == vector["mark"]


def test_subjects():
    vector = vectors("subjects")
    chain = bytes.fromhex(vector["chain_id"])
    assert independent.event_digest(chain, vector["event"]["fields"]).hex() == vector["event"]["digest"]
    leaves = [independent.leaf("history", chain, entry) for entry in unhex(vector["history"]["entries"])]
    assert independent.root(leaves).hex() == vector["history"]["root"]
    assert independent.frontier(leaves) == unhex(vector["history"]["frontier"])
    for item in vector["state_keys"]:
        assert independent.state_key(item["kind"], item["components"]).hex() == item["key"]
    for item in vector["starts"]:
        assert independent.starts(23, "set", int(item["size"]), [int(n) for n in item["numbers"]]) == [
            tuple(node) for node in item["nodes"]
        ]


def test_lists_of_serials():
    vector = vectors("subjects")
    chain = bytes.fromhex(vector["chain_id"])
    for item in vector["lists"]:
        leaves = [independent.leaf("lot-serial", chain, name.encode()) for name in item["identifiers"]]
        assert independent.root(leaves).hex() == item["root"]
        for place, path in enumerate(item["paths"]):
            assert independent.inclusion(place, leaves) == unhex(path)
        serials = [unquote(name.rpartition("/21/")[2]) for name in item["identifiers"]]
        by_length = sorted(serials, key=lambda serial: (len(serial), serial))
        assert (by_length[0], by_length[-1]) == (item["lowest"], item["highest"])
    marks = vector["marks"]
    assert independent.marks(21, marks["class"], marks["serials"]) == [tuple(row) for row in marks["records"]]


def test_snapshots():
    vector = vectors("snapshot")
    chain = bytes.fromhex(vector["chain_id"])
    stream = independent.snapshot(vector)
    assert stream.hex() == vector["stream"]
    size = 1_048_576
    chunks = [stream[start : start + size] for start in range(0, len(stream), size)]
    hashes_ = [independent.tagged("snapshot-chunk", chain, chunk).hex() for chunk in chunks]
    assert hashes_ == vector["chunks"]
    plain = {"format": 1, "chain_id": chain.hex(), "height": 3, "size": len(stream), "chunks": hashes_}
    manifest = independent.encode("SnapshotManifest", plain)
    assert manifest.hex() == vector["manifest"]
    assert independent.tagged("snapshot", chain, manifest).hex() == vector["id"]


def test_packets():
    for vector in vectors("packet")["packets"]:
        packet = vector["packet"]
        assert independent.packet_commitment(packet).hex() == vector["commitment"]
        for number, name, client in (
            (17, "commitment_key", "source_client"),
            (18, "receipt_key", "destination_client"),
            (19, "acknowledgement_key", "destination_client"),
        ):
            assert independent.state_key(number, [packet[client], packet["sequence"]]).hex() == vector[name]
