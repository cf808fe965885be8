"""The state tree by its definition, without pages, shortcuts or product code: what tree.py is compared with."""

import hashlib

ZERO = bytes(32)


def tag(purpose: bytes, chain_id: bytes) -> bytes:
    return b"chiptrace/v1/" + purpose + b"\0" + chain_id


def leaves(chain_id: bytes, state: dict[bytes, bytes]) -> list[tuple[bytes, bytes, bytes]]:
    """(key hash, value hash, leaf hash) of every key."""
    found = []
    for key, value in state.items():
        key_hash = hashlib.sha256(tag(b"state-key", chain_id) + key).digest()
        value_hash = hashlib.sha256(value).digest()
        leaf = hashlib.sha256(b"\0" + tag(b"state-leaf", chain_id) + key_hash + value_hash).digest()
        found.append((key_hash, value_hash, leaf))
    return found


def bit(key_hash: bytes, depth: int) -> int:
    return key_hash[depth // 8] >> (7 - depth % 8) & 1


def root(items: list[tuple[bytes, bytes, bytes]], depth: int = 0) -> bytes:
    if not items:
        return ZERO
    if len(items) == 1:
        return items[0][2]
    left = root([item for item in items if not bit(item[0], depth)], depth + 1)
    right = root([item for item in items if bit(item[0], depth)], depth + 1)
    return hashlib.sha256(b"\1" + left + right).digest()


def prove(
    items: list[tuple[bytes, bytes, bytes]], key_hash: bytes
) -> tuple[list[bytes], tuple[bytes, bytes] | None]:
    """(siblings from the root, ZERO where empty; key hash and value hash of the leaf at the end)."""
    siblings = []
    depth = 0
    while len(items) > 1:
        side = bit(key_hash, depth)
        siblings.append(root([item for item in items if bit(item[0], depth) != side], depth + 1))
        items = [item for item in items if bit(item[0], depth) == side]
        depth += 1
    return siblings, items[0][:2] if items else None


def nibble(key_hash: bytes, depth: int) -> int:
    return int(key_hash.hex()[depth], 16)


def path(key_hash: bytes, depth: int) -> bytes:
    digits = key_hash.hex()[:depth]
    return bytes([depth]) + bytes.fromhex(digits + "0" * (depth % 2))


def pages(items: list[tuple[bytes, bytes, bytes]], run_max: int, depth: int = 0) -> dict[bytes, bytes]:
    """The pages as they are stored where a slot holds up to `run_max` leaves; 1: as it was until `chiptrace store 2`."""
    if not items:
        return {}
    found, leaves, below, counts, content = {}, 0, 0, b"", b""
    for slot in range(16):
        there = sorted(item for item in items if nibble(item[0], depth) == slot)
        if len(there) > run_max:
            below |= 1 << slot
            content += root(there, 4 * depth + 4)
            found |= pages(there, run_max, depth + 1)
        elif there:
            leaves |= 1 << slot
            content += b"".join(item[0] + item[1] for item in there)
        if 1 < len(there) <= run_max:
            below |= 1 << slot
            counts += bytes([len(there)])
    head = leaves.to_bytes(2, "big") + below.to_bytes(2, "big")
    return found | {path(items[0][0], depth): head + counts + content}
