"""Generate the golden vectors and the message tables of docs/format.md, or check that they are fresh (--check).

Vectors are made by the product; tests/ledger/test_vectors.py demands the same of the independent encoder.
"""

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bridge.packet import packet_commitment, sent_key, sent_row, sent_row_key  # noqa: E402
from bridge.snapshot_tables import PacketTables  # noqa: E402
from consensus import messages as votes  # noqa: E402
from ledger import (  # noqa: E402
    block,
    codec,
    event,
    genesis,
    hashes,
    history,
    joining,
    merkle,
    ranges,
    roots,
    rows,
    snapshot,
    starts,
    state,
)
from ledger.hashes import Purpose  # noqa: E402
from ledger.identifiers import canonical  # noqa: E402
from ledger.kv import MemoryKV  # noqa: E402
from ledger.tree import StateTree  # noqa: E402
from proto.chiptrace.v1 import bridge_pb2, consensus_pb2, ledger_pb2  # noqa: E402
from scripts.format_tables import PAGE, page  # noqa: E402
from scripts.recovery_vector import recovery_vector  # noqa: E402
from tests.ledger import messages  # noqa: E402

FOLDER = ROOT / "tests" / "vectors"

CHAIN = hashes.sha256(b"vectors: chain")
SEEDS = [hashes.sha256(b"vectors: seed %d" % number) for number in range(4)]
KEYS = [hashes.public_key(seed) for seed in SEEDS]

# ---- tests/vectors ------------------------------------------------------------------------------------


def message_vectors() -> list[dict[str, Any]]:
    return [
        {
            "type": kind.DESCRIPTOR.name,
            "fields": messages.to_plain(message),
            "bytes": codec.encode(message).hex(),
        }
        for kind in messages.all_kinds()
        for message in messages.samples(kind)
    ]


def hash_vectors() -> list[dict[str, Any]]:
    data = b"vectors: data"
    found = []
    for purpose in Purpose:
        chain = b"" if purpose is Purpose.GENESIS else CHAIN
        signature = hashes.sign(SEEDS[0], purpose, chain, data)
        found.append(
            {
                "purpose": purpose.value,
                "chain_id": chain.hex(),
                "data": data.hex(),
                "tagged": hashes.tagged_hash(purpose, chain, data).hex(),
                "leaf": hashes.leaf_hash(purpose, chain, data).hex(),
                "signed": hashes.signed_bytes(purpose, chain, data).hex(),
                "seed": SEEDS[0].hex(),
                "key": KEYS[0].hex(),
                "signature": signature.hex(),
            }
        )
    return found


def merkle_vectors() -> dict[str, Any]:
    leaves = [hashes.sha256(b"vectors: leaf %d" % number) for number in range(13)]
    roots, inclusions, consistencies = [], [], []
    frontier: list[bytes] = []
    for n in range(len(leaves) + 1):
        some = leaves[:n]
        roots.append(
            {"size": n, "root": merkle.root(some).hex(), "frontier": [node.hex() for node in frontier]}
        )
        for index in range(n):
            path = merkle.inclusion_path(some, index)
            inclusions.append({"size": n, "index": index, "path": [node.hex() for node in path]})
        for old in range(1, n):
            path = merkle.consistency_path(some, old)
            consistencies.append({"old": old, "new": n, "path": [node.hex() for node in path]})
        if n < len(leaves):
            frontier = merkle.append(n, frontier, leaves[n])
    return {
        "leaves": [leaf.hex() for leaf in leaves],
        "roots": roots,
        "inclusion": inclusions,
        "consistency": consistencies,
    }


def state_tree_vectors() -> list[dict[str, Any]]:
    found = []
    for size in (0, 1, 2, 3, 50):
        content = {b"key %d" % number: b"value %d" % number for number in range(size)}
        pages: dict[bytes, bytes | None] = {}
        update = StateTree(CHAIN, pages.get, hashes.ZERO).update(dict(content))
        pages.update(update.pages)
        tree = StateTree(CHAIN, pages.get, update.root)
        asked = [*list(content)[:8], *(b"absent %d" % number for number in range(8 if size else 0))]
        proofs = []
        for key in asked:
            proof, value = tree.prove(key), content.get(key)
            proofs.append(
                {
                    "key": key.hex(),
                    "value": None if value is None else value.hex(),
                    "proof": messages.to_plain(proof),
                    "bytes": codec.encode(proof).hex(),
                }
            )
        found.append(
            {
                "chain_id": CHAIN.hex(),
                "state": {key.hex(): value.hex() for key, value in content.items()},
                "root": update.root.hex(),
                "proofs": proofs,
            }
        )
    return found


def sample(kind: type, arm: int = 0) -> Any:
    """The full sample of a kind, with the given arm of its oneof."""
    return list(messages.samples(kind))[1 + arm]


def transaction_vectors() -> dict[str, Any]:
    operations = [ledger_pb2.Operation(capture=ledger_pb2.Capture(event=b"vectors: event"))]
    data = block.sign_transaction(CHAIN, SEEDS[0], operations, 1_790_000_000_000, bytes(range(16)))
    transaction = ledger_pb2.Transaction.FromString(data)
    second = hashes.sign(SEEDS[1], Purpose.TRANSACTION, CHAIN, transaction.body)
    transaction.signatures.add(key=KEYS[1], signature=second)
    both = codec.encode(transaction)
    checked = [block.decode_transaction(CHAIN, one) for one in (data, both)]
    results = [codec.encode(sample(ledger_pb2.Result)), codec.encode(ledger_pb2.Result(ok=True))]
    return {
        "chain_id": CHAIN.hex(),
        "seeds": [SEEDS[0].hex(), SEEDS[1].hex()],
        "body": messages.to_plain(checked[0].body),
        "id": checked[0].id.hex(),
        "transactions": [data.hex(), both.hex()],
        "transactions_root": block.transactions_root(CHAIN, checked).hex(),
        "results": [result.hex() for result in results],
        "results_root": block.results_root(CHAIN, results).hex(),
    }


def chain_vectors() -> dict[str, Any]:
    genesis_message, header = sample(ledger_pb2.Genesis), sample(ledger_pb2.Header)
    plain = sample(ledger_pb2.Header)  # nearly every header: behind no recovery
    plain.ClearField("recovery")
    validators, opening = sample(ledger_pb2.ValidatorSet), sample(ledger_pb2.AppHashOpening)
    parts = [hashes.sha256(b"vectors: part %d" % number) for number in range(3)]
    leaf = block.log_leaf(7, 1_790_000_000_000, *parts)
    kinds = consensus_pb2.VoteKind
    return {
        "chain_id": CHAIN.hex(),
        "genesis": {
            "fields": messages.to_plain(genesis_message),
            "chain_id": genesis.chain_id(codec.encode(genesis_message)).hex(),
        },
        "header": {
            "fields": messages.to_plain(header),
            "block_hash": block.block_hash(CHAIN, codec.encode(header)).hex(),
            "block_hash_without_recovery": block.block_hash(CHAIN, codec.encode(plain)).hex(),
        },
        "validators": {
            "fields": messages.to_plain(validators),
            "hash": block.validators_hash(CHAIN, validators).hex(),
        },
        "app_hash": {"fields": messages.to_plain(opening), "hash": block.app_hash(CHAIN, opening).hex()},
        "log_leaf": {
            "height": 7,
            "time_ms": 1_790_000_000_000,
            "parts": [part.hex() for part in parts],
            "bytes": leaf.hex(),
            "leaf": block.log_leaf_hash(CHAIN, leaf).hex(),
        },
        "votes": [
            {
                "kind": kinds.Name(kind).lower(),
                "height": 7,
                "view": 2,
                "block_hash": block_hash.hex(),
                "signed": votes.signed_vote(
                    CHAIN, consensus_pb2.Vote(kind=kind, height=7, view=2, block_hash=block_hash)
                ).hex(),
            }
            for kind, block_hash in (
                (kinds.NOTARIZE, parts[0]),
                (kinds.NULLIFY, b""),
                (kinds.FINALIZE, parts[0]),
            )
        ],
        "join": {
            "height": 7,
            "block_hash": parts[0].hex(),
            "seed": SEEDS[0].hex(),
            "signed": joining.signed_bytes(CHAIN, 7, parts[0]).hex(),
            "proof": codec.encode(
                joining.prove(CHAIN, 7, parts[0], KEYS[0], lambda data: hashes.sign_raw(SEEDS[0], data))
            ).hex(),
        },
        "recovery": recovery_vector(CHAIN, SEEDS[:2]),
    }


def subject_vectors() -> dict[str, Any]:
    happening = ledger_pb2.Event(seed=bytes(range(16)))
    for name, arm in (("action", 0), ("count", 1), ("flag", 2), ("list", 3), ("object", 4)):
        happening.fields.add(name=name, value=sample(ledger_pb2.Value, arm))
    entries = []
    record = ledger_pb2.History()
    for number in range(5):
        entry = sample(ledger_pb2.Entry)
        entry.height = number
        entries.append(history.append_entry(CHAIN, record, entry)[1].hex())
    key_parts: list[tuple[int, list[str | int]]] = [
        (state.Kind.PART, ["https://id.gs1.org/01/04012345000009/21/é1"]),
        (state.Kind.BALANCE, ["lot", "member", ""]),
        (state.Kind.COMMITMENT, ["client-1", 2**64 - 1]),
        (state.Kind.VALIDATORS, []),
        (state.Kind.VALIDATORS, [3]),
        (state.Kind.SERIAL_CLASS, ["https://id.gs1.org/01/04012345123456", 6]),
        (state.Kind.INTERVAL, ["https://id.gs1.org/01/04012345123456/10/W1", 250_000]),
        (state.Kind.INTERVAL, ["https://id.gs1.org/01/04012345123456 6 W-", 1]),
        (state.Kind.STARTS, ["https://id.gs1.org/01/04012345123456/10/W1", 2, 0]),
        (state.Kind.DELEGATION, ["packager", "gs1:401234512345"]),
    ]
    return {
        "chain_id": CHAIN.hex(),
        "event": {
            "fields": messages.to_plain(happening),
            "digest": event.event_digest(CHAIN, happening).hex(),
        },
        "history": {
            "entries": entries,
            "frontier": [node.hex() for node in record.frontier],
            "root": history.history_root(record).hex(),
        },
        "state_keys": [
            {"kind": int(kind), "components": parts, "key": state.state_key(state.Kind(kind), *parts).hex()}
            for kind, parts in key_parts
        ],
        "starts": [starts_vector(size, numbers) for size, numbers in STARTS],
        "lists": [list_vector(serials) for serials in LISTS],
        "marks": marks_vector(["7", "X9", "000000", "999999", "W-003907", "A", "1" * 20]),
    }


STARTS = [(1, [0]), (256, [0, 255, 7]), (250_000, [0, 123_456, 123_457, 249_999]), (10**19, [10**19 - 1, 5])]


def starts_vector(size: int, numbers: list[int]) -> dict[str, Any]:
    overlay = state.Overlay(state.MappingReader({}))
    for number in numbers:
        starts.add(overlay, "set", size, number)
    nodes = sorted((key.hex(), (value or b"").hex()) for key, value in overlay.changes.items())
    return {"size": str(size), "numbers": [str(number) for number in numbers], "nodes": nodes}


LISTS = [["only"], ["B2", "100", "A/9", "7"], [f"{number * 7919 % 10_000:04}" for number in range(13)]]
LOT = canonical("urn:epc:class:lgtin:4012345.012345.W1")


def list_vector(serials: list[str]) -> dict[str, Any]:
    kept = roots.SerialList(CHAIN, LOT, serials)
    names = [roots.serial_of(LOT.class_text, serial).text for serial in serials]
    return {
        "lot": LOT.text,
        "identifiers": names,
        "root": kept.given.root.hex(),
        "lowest": kept.given.lowest,
        "highest": kept.given.highest,
        "paths": [[node.hex() for node in kept.membership(name).path] for name in names],
    }


def marks_vector(serials: list[str]) -> dict[str, Any]:
    """What the state says of serials that were commissioned one by one."""
    overlay = state.Overlay(state.MappingReader({}))
    for serial in serials:
        ranges.note_single(overlay, roots.serial_of(LOT.class_text, serial))
    rows = sorted((key.hex(), (value or b"").hex()) for key, value in overlay.changes.items())
    return {"class": LOT.class_text, "serials": serials, "records": rows}


def snapshot_vectors() -> dict[str, Any]:
    times = [1_790_000_000_000, 1_790_000_000_001 + 3_600_000, 1_790_000_000_002 + 3_600_000]
    leaves = [
        block.log_leaf(height, time_ms, bytes([height]) * 32, bytes([height + 16]) * 32, bytes(32))
        for height, time_ms in enumerate(times, 1)
    ]
    subject = state.part_key("https://id.gs1.org/01/04012345000009/21/1")
    entries = [codec.encode(ledger_pb2.Entry(subject=subject, height=n)) for n in range(2)]
    part = codec.encode(
        ledger_pb2.PartRecord(id="part", history=ledger_pb2.History(n=2, frontier=[bytes(32)]))
    )
    packet = sample(bridge_pb2.Packet)
    commitment = sent_key(packet)
    states = sorted(
        [(subject, part), (commitment, packet_commitment(packet)), (state.VALIDATORS_KEY, b"set")]
    )
    blocks = {height: (b"block %d" % height, [b"result"] * height) for height in (2, 3)}
    kv = MemoryKV()
    found = [(rows.log_leaf_row(height), leaf) for height, leaf in enumerate(leaves, 1)]
    found += [(rows.STATE + key, value) for key, value in states]
    found += [(rows.entry_row(subject, n), entry) for n, entry in enumerate(entries)]
    item = codec.encode(sent_row(packet, 1))
    found.append((rows.SIDE + sent_row_key(packet.source_client, packet.sequence), item))
    for height, (body, results) in blocks.items():
        found.append((rows.block_row(height), body))
        found.append((rows.results_row(height), rows.frame(results)))
    kv.write([rows.sealed(key, value) for key, value in found])
    chunks = list(snapshot.take(kv.snapshot(), 3, PacketTables()))
    stream = b"".join(chunks)
    hashed = [snapshot.chunk_hash(CHAIN, chunk) for chunk in chunks]
    manifest = snapshot.encode_manifest(CHAIN, 3, len(stream), hashed)
    return {
        "chain_id": CHAIN.hex(),
        "leaves": [leaf.hex() for leaf in leaves],
        "states": [
            {
                "key": key.hex(),
                "value": value.hex(),
                "attached": codec.encode(packet).hex() if key == commitment else "",
            }
            for key, value in states
        ],
        "entries": [{"subject": subject.hex(), "entry": entry.hex()} for entry in entries],
        "blocks": [
            {"block": body.hex(), "results": [result.hex() for result in results]}
            for body, results in blocks.values()
        ],
        "stream": stream.hex(),
        "chunks": [item.hex() for item in hashed],
        "manifest": manifest.hex(),
        "id": snapshot.manifest_id(CHAIN, manifest).hex(),
    }


def files() -> dict[Path, str]:
    """Every generated file with its content."""
    made = {
        "messages": message_vectors(),
        "hashes": hash_vectors(),
        "merkle": merkle_vectors(),
        "state_tree": state_tree_vectors(),
        "transaction": transaction_vectors(),
        "chain": chain_vectors(),
        "subjects": subject_vectors(),
        "snapshot": snapshot_vectors(),
    }
    found = {
        FOLDER / f"{name}.json": json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        for name, content in made.items()
    }
    return {**found, PAGE: page()}


def main() -> int:
    FOLDER.mkdir(exist_ok=True)
    made = files()
    stale = [path for path, content in made.items() if not path.exists() or path.read_text() != content]
    names = ", ".join(str(path.relative_to(ROOT)) for path in stale)
    if "--check" in sys.argv[1:]:
        if stale:
            print(
                f"Stale: {names}. If the format was meant to change, run: python scripts/generate_vectors.py"
            )
            return 1
        print(f"Vectors are fresh ({len(made)} files).")
        return 0
    for path in stale:
        path.write_text(made[path])
    print(f"Wrote {names or 'nothing: all fresh'}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
