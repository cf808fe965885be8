"""Reproduces hashed bytes from docs/format.md alone: no protobuf library, no code of the product.

The message tables are read from the page itself, so the page cannot be wrong without a failing test.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "format.md"
ZERO = bytes(32)
ROW = re.compile(r"\| (\d+) \| `(\w+)` \| (repeated )?(enum )?(\w+)(, in \w+)? \|")


@dataclass(frozen=True)
class Field:
    number: int
    name: str
    repeated: bool
    enum: bool
    type: str
    in_oneof: bool


def read_tables(page: str) -> dict[str, list[Field]]:
    """Message name -> fields, from the tables of §10."""
    tables: dict[str, list[Field]] = {}
    fields: list[Field] = []
    for line in page.split("<!-- generated: messages -->")[1].splitlines():
        if line.startswith("### "):
            fields = tables.setdefault(line[4:], [])
        elif found := ROW.match(line):
            number, name, repeated, enum, kind, oneof = found.groups()
            fields.append(Field(int(number), name, bool(repeated), bool(enum), kind, bool(oneof)))
    return tables


TABLES = read_tables(PAGE.read_text())
NUMBERS = {"uint32", "uint64", "sint32", "bool"}


# ---- §1 ---------------------------------------------------------------------------------------------------


def varint(number: int) -> bytes:
    out = b""
    while number >= 128:
        out += bytes([number % 128 + 128])
        number //= 128
    return out + bytes([number])


def encode(message: str, plain: dict) -> bytes:
    """The canonical bytes of a message given as plain data (bytes as hex, enums as numbers)."""
    fields = {field.name: field for field in TABLES[message]}
    assert set(plain) <= set(fields), f"{message} has no such field"
    out = b""
    for field in sorted(fields.values(), key=lambda field: field.number):
        if field.name not in plain:
            continue
        value = plain[field.name]
        if field.repeated:
            out += repeated(field, value)
        elif field.type in TABLES or field.in_oneof or value not in (0, False, ""):
            out += single(field, value)
    return out


def is_number(field: Field) -> bool:
    return field.enum or field.type in NUMBERS


def repeated(field: Field, values: list) -> bytes:
    if not is_number(field):
        return b"".join(single(field, value) for value in values)
    packed = b"".join(number_bytes(field, value) for value in values)
    return varint(field.number * 8 + 2) + varint(len(packed)) + packed if values else b""


def single(field: Field, value: object) -> bytes:
    if is_number(field):
        return varint(field.number * 8) + number_bytes(field, value)
    if field.type == "bytes":
        content = bytes.fromhex(value)
    elif field.type == "string":
        content = value.encode("utf-8")
    else:
        content = encode(field.type, value)
    return varint(field.number * 8 + 2) + varint(len(content)) + content


def number_bytes(field: Field, value: int) -> bytes:
    if field.type == "sint32":
        return varint(2 * value if value >= 0 else -2 * value - 1)
    return varint(int(value))


# ---- §2 ---------------------------------------------------------------------------------------------------


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def tag(purpose: str, chain: bytes) -> bytes:
    return b"chiptrace/v1/" + purpose.encode() + b"\0" + (b"" if purpose == "genesis" else chain)


def tagged(purpose: str, chain: bytes, data: bytes) -> bytes:
    return sha256(tag(purpose, chain) + data)


def leaf(purpose: str, chain: bytes, data: bytes) -> bytes:
    return sha256(b"\0" + tag(purpose, chain) + data)


def node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\1" + left + right)


def be16(number: int) -> bytes:
    return number.to_bytes(2, "big")


def be64(number: int) -> bytes:
    return number.to_bytes(8, "big")


# ---- §3 ---------------------------------------------------------------------------------------------------


def root(leaves: list[bytes]) -> bytes:
    if not leaves:
        return sha256(b"")
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return node(root(leaves[:k]), root(leaves[k:]))


def inclusion(index: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 9162 §2.1.3.1."""
    if len(leaves) == 1:
        return []
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    if index < k:
        return [*inclusion(index, leaves[:k]), root(leaves[k:])]
    return [*inclusion(index - k, leaves[k:]), root(leaves[:k])]


def consistency(old: int, leaves: list[bytes], whole: bool = True) -> list[bytes]:
    """RFC 9162 §2.1.4.1, for 0 < old."""
    if old == len(leaves):
        return [] if whole else [root(leaves)]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    if old <= k:
        return [*consistency(old, leaves[:k], whole), root(leaves[k:])]
    return [*consistency(old - k, leaves[k:], False), root(leaves[:k])]


def frontier(leaves: list[bytes]) -> list[bytes]:
    found, start = [], 0
    for level in range(len(leaves).bit_length() - 1, -1, -1):
        if len(leaves) >> level & 1:
            found.append(root(leaves[start : start + (1 << level)]))
            start += 1 << level
    return found


# ---- §4 ---------------------------------------------------------------------------------------------------


def log_leaf(height: int, time_ms: int, block_hash: bytes, results_root: bytes, state_root: bytes) -> bytes:
    return be64(height) + be64(time_ms) + block_hash + results_root + state_root


def vote(kind: str, chain: bytes, height: int, view: int, block_hash: bytes) -> bytes:
    return tag(kind, chain) + be64(height) + be64(view) + block_hash


# ---- §5 ---------------------------------------------------------------------------------------------------


def state_key(kind: int, components: list) -> bytes:
    out = bytes([kind])
    for component in components:
        data = be64(component) if isinstance(component, int) else component
        data = data.encode() if isinstance(data, str) else data
        out += be16(len(data)) + data
    return out


def state_items(chain: bytes, state: dict[bytes, bytes]) -> list[tuple[str, bytes, bytes]]:
    """(bits of the key hash, leaf, key hash || value hash) of every key."""
    found = []
    for key, value in state.items():
        pair = tagged("state-key", chain, key) + sha256(value)
        found.append((f"{int.from_bytes(pair[:32], 'big'):0256b}", leaf("state-leaf", chain, pair), pair))
    return found


def subtree(items: list[tuple[str, bytes, bytes]], depth: int = 0) -> bytes:
    if not items:
        return ZERO
    if len(items) == 1:
        return items[0][1]
    return node(
        subtree([item for item in items if item[0][depth] == "0"], depth + 1),
        subtree([item for item in items if item[0][depth] == "1"], depth + 1),
    )


def state_proof(chain: bytes, state: dict[bytes, bytes], key: bytes) -> dict:
    """StateProof as plain data."""
    items, own = state_items(chain, state), tagged("state-key", chain, key)
    path = f"{int.from_bytes(own, 'big'):0256b}"
    bits, siblings, depth = "", [], 0
    while len(items) > 1:
        sibling = subtree([item for item in items if item[0][depth] != path[depth]], depth + 1)
        items = [item for item in items if item[0][depth] == path[depth]]
        depth += 1
        bits += "0" if sibling == ZERO else "1"
        if sibling != ZERO:
            siblings.append(sibling.hex())
    bits += "0" * (-depth % 8)
    proof = {"depth": depth, "bitmap": bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)).hex()}
    proof["siblings"] = siblings
    if items and items[0][2][:32] != own:
        proof["other_key_hash"], proof["other_value_hash"] = items[0][2][:32].hex(), items[0][2][32:].hex()
    return proof


# ---- §6 to §8 -----------------------------------------------------------------------------------------------


def event_digest(chain: bytes, event: dict) -> bytes:
    leaves = []
    for field in event["fields"]:
        salt = tagged("field-salt", chain, bytes.fromhex(event["seed"]) + field["name"].encode())[:16]
        leaves.append(leaf("event-field", chain, salt + encode("Field", field)))
    return root(leaves)


def packet_commitment(packet: dict) -> bytes:
    names = ("source_port", "destination_port", "version", "encoding")
    parts = b"".join(sha256(packet[name].encode()) for name in names) + sha256(bytes.fromhex(packet["value"]))
    client, timeout = packet["destination_client"].encode(), be64(packet["timeout_ms"])
    return sha256(b"\2" + sha256(client) + sha256(timeout) + sha256(sha256(parts)))


# ---- snapshots -----------------------------------------------------------------------------------------


def be32(number: int) -> bytes:
    return number.to_bytes(4, "big")


def snapshot(plain: dict) -> bytes:
    """The stream of a snapshot whose parts are given."""

    def record(letter: bytes, payload: bytes) -> bytes:
        return letter + be32(len(payload)) + payload

    def keyed(key: str) -> bytes:
        return be16(len(bytes.fromhex(key))) + bytes.fromhex(key)

    parts = [record(b"L", bytes.fromhex(leaf)) for leaf in plain["leaves"]]
    for row in plain["states"]:
        value = bytes.fromhex(row["value"])
        parts.append(
            record(b"S", keyed(row["key"]) + be32(len(value)) + value + bytes.fromhex(row["attached"]))
        )
    for row in plain["entries"]:
        parts.append(record(b"E", keyed(row["subject"]) + bytes.fromhex(row["entry"])))
    for row in plain["blocks"]:
        results = [bytes.fromhex(result) for result in row["results"]]
        parts.append(record(b"B", bytes.fromhex(row["block"])))
        parts.append(record(b"R", b"".join(be32(len(result)) + result for result in results)))
    return b"".join(parts)


# ---- sets of places -----------------------------------------------------------------------------------------


def starts(kind, name, size, numbers):
    """Nodes (key, value) of a set as docs/format.md §7a has it: each number sets one bit at every level."""
    nodes = {}
    levels = max(1, (len(bin(size - 1)) - 2 + 7) // 8) if size > 1 else 1
    for level in range(levels):
        for number in numbers:
            place = (level, number // 256 ** (level + 1))
            nodes[place] = nodes.get(place, 0) | 2 ** (number // 256**level % 256)
    found = []
    for (level, above), node in nodes.items():
        found.append((state_key(kind, [name, level, above]).hex(), f"{node:064x}"))
    return sorted(found)


def marks(kind, item_class, serials):
    """Section 7a: by number of digits, which 256ths of the numbers have a serial outside of runs."""
    bits = {}
    for serial in serials:
        digits = re.search(r"[0-9]{0,19}\Z", serial)[0]
        part = 256 * int(digits or 0) // 10 ** len(digits)
        bits[len(digits)] = bits.get(len(digits), 0) | 1 << part
    rows = []
    for width, found in bits.items():
        record = encode("SerialClassRecord", {"singles": found.to_bytes(32, "big").hex()})
        rows.append((state_key(kind, [item_class, width]).hex(), record.hex()))
    return sorted(rows)
