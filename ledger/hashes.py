"""Hashes, domain tags and signatures. Everything hashed or signed says what it is for and on which chain.

A tag is `"chiptrace/v1/" purpose 0x00 chain_id`, so that nothing made for one purpose, one chain or a re-created
testnet passes for another. Signatures are Ed25519 by libsodium (PyNaCl) and by nothing else: other libraries
accept other edge cases, and two nodes that differ on one signature have forked.
"""

import hashlib
from enum import StrEnum
from functools import lru_cache
from typing import Final

from nacl import bindings
from nacl.exceptions import BadSignatureError

from ledger.errors import Invalid, InvariantBroken
from proto.chiptrace.v1.ledger_pb2 import Reason

HASH_BYTES: Final = 32
KEY_BYTES: Final = 32
SEED_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
ZERO: Final = bytes(HASH_BYTES)


class Purpose(StrEnum):
    """Every purpose for which something is hashed or signed. Append only; values are unique for ever."""

    GENESIS = "genesis"  # the chain id; the one tag without a chain id
    BLOCK = "block"  # the id of a block: its header's bytes
    TRANSACTION = "transaction"  # the id of a body, and what its signers sign
    TRANSACTION_LEAF = "transaction-leaf"
    RESULT = "result"
    LOG_LEAF = "log-leaf"
    APP_HASH = "app-hash"
    VALIDATORS = "validators"
    STATE_KEY = "state-key"
    STATE_LEAF = "state-leaf"
    EVENT_FIELD = "event-field"
    FIELD_SALT = "field-salt"
    HISTORY = "history"
    OPERATION = "operation"
    PROPOSAL = "proposal"  # governance: its hash, and what approvers sign
    THAW = "thaw"
    EVIDENCE = "evidence"
    RECOVERY = "recovery"  # its document: the hash, and what approvers sign
    RECOVERY_MARK = "recovery-mark"  # what a header says of the recovery in its block
    NOTARIZE = "notarize"
    NULLIFY = "nullify"
    FINALIZE = "finalize"
    SNAPSHOT = "snapshot"  # the name of a snapshot: its manifest
    SNAPSHOT_CHUNK = "snapshot-chunk"
    JOIN = "join"  # a validator key that is to join says where its node stands
    LOT_SERIAL = "lot-serial"  # a leaf of the list behind a lot's root, on the chain where the lot began
    REHOME = "rehome"  # members of a lost chain give it up


_PREFIXES: Final = {
    purpose: b"chiptrace/v1/" + purpose.value.encode("ascii") + b"\x00" for purpose in Purpose
}


@lru_cache(maxsize=256)
def tag(purpose: Purpose, chain_id: bytes) -> bytes:
    """The domain tag: prefix of the purpose, then the 32-byte chain id (none for GENESIS: pass b"")."""
    if len(chain_id) != (0 if purpose is Purpose.GENESIS else HASH_BYTES):
        raise InvariantBroken(f"a chain id of {len(chain_id)} bytes was given for the tag {purpose.value}")
    return _PREFIXES[purpose] + chain_id


@lru_cache(maxsize=256)
def leaf_tag(purpose: Purpose, chain_id: bytes) -> bytes:
    """What a leaf's data is hashed behind: 0x00, then the domain tag."""
    return b"\x00" + tag(purpose, chain_id)


def sha256(data: bytes) -> bytes:
    """Plain SHA-256; for content whose place already says what it is."""
    return hashlib.sha256(data).digest()


def tagged_hash(purpose: Purpose, chain_id: bytes, data: bytes) -> bytes:
    """SHA-256 of tag and data: an id."""
    return hashlib.sha256(tag(purpose, chain_id) + data).digest()


def leaf_hash(purpose: Purpose, chain_id: bytes, data: bytes) -> bytes:
    """RFC 9162 leaf: SHA-256(0x00 || tag || data)."""
    return hashlib.sha256(leaf_tag(purpose, chain_id) + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 9162 inner node: SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def signed_bytes(purpose: Purpose, chain_id: bytes, data: bytes) -> bytes:
    """What Ed25519 signs: tag and data."""
    return tag(purpose, chain_id) + data


# ---- Ed25519 ------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _key_pair(seed: bytes) -> tuple[bytes, bytes]:
    """(public key, libsodium's secret key). Kept, because deriving it costs as much as the signature itself."""
    if len(seed) != SEED_BYTES:
        raise InvariantBroken(f"a seed has {len(seed)} bytes; it must have {SEED_BYTES}")
    return bindings.crypto_sign_seed_keypair(seed)


def public_key(seed: bytes) -> bytes:
    """The public key (32 bytes) of a seed (32 bytes)."""
    return _key_pair(seed)[0]


def sign_raw(seed: bytes, signed: bytes) -> bytes:
    """Signature (64 bytes) over exactly these bytes, which must come from `signed_bytes`."""
    return bindings.crypto_sign(signed, _key_pair(seed)[1])[:SIGNATURE_BYTES]


def sign(seed: bytes, purpose: Purpose, chain_id: bytes, data: bytes) -> bytes:
    """Signature (64 bytes) of the seed's key for this purpose on this chain."""
    return sign_raw(seed, signed_bytes(purpose, chain_id, data))


def verify_raw(key: bytes, signed: bytes, signature: bytes) -> bool:
    """Whether libsodium's strict rules hold: canonical S and points, no small order, cofactorless equation."""
    # libsodium reads 32 and 64 bytes whatever it is given.
    if len(key) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        bindings.crypto_sign_open(signature + signed, key)
    except BadSignatureError:
        return False
    return True


def verify(key: bytes, purpose: Purpose, chain_id: bytes, data: bytes, signature: bytes) -> bool:
    """Whether `signature` is this key's for this purpose on this chain."""
    return verify_raw(key, signed_bytes(purpose, chain_id, data), signature)


_FIELD_PRIME: Final = 2**255 - 19
# The y of all eight points of small order; the sign bit of x is masked off before comparing.
_SMALL_ORDER_Y: Final = (
    0,
    1,
    _FIELD_PRIME - 1,
    int.from_bytes(
        bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
    ),
    int.from_bytes(
        bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little"
    ),
)


def check_public_key(key: bytes) -> None:
    """Holds for every key that an honest key generation makes. Applied before a key is registered anywhere.

    Raises Invalid(KEY_NOT_VALID) for a wrong length, a non-canonical encoding, a point of small order, or a point
    outside the prime-order group.
    """
    # 1. Length.
    if len(key) != KEY_BYTES:
        raise Invalid(f"an Ed25519 key has {KEY_BYTES} bytes, not {len(key)}", Reason.KEY_NOT_VALID)
    # 2. Canonical: y below the field's prime.
    y = int.from_bytes(key, "little") & (2**255 - 1)
    if y >= _FIELD_PRIME:
        raise Invalid(f"key {key.hex()} is not in its canonical encoding", Reason.KEY_NOT_VALID)
    # 3. Not of small order: such a key verifies one signature for many messages.
    if y in _SMALL_ORDER_Y:
        raise Invalid(f"key {key.hex()} is a point of small order", Reason.KEY_NOT_VALID)
    # 4. On the curve and in the prime-order group, as libsodium sees it.
    if not bindings.crypto_core_ed25519_is_valid_point(key):
        raise Invalid(f"key {key.hex()} is not a point of the prime-order group", Reason.KEY_NOT_VALID)


# (message, key, R, S, valid under libsodium's rules): the twelve published vectors of
# https://github.com/novifinancial/ed25519-speccheck (cases.txt), from "Taming the many EdDSAs".
_SMALL_A: Final = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"
_MIXED_A: Final = "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d"
_LARGE_S_A: Final = "442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623"
_ODD_A: Final = "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43"
_ALL_ONES_A: Final = "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
EDGE_VECTORS: Final = (
    # 0: S = 0, A and R of small order.
    (
        "8c93255d71dcab10e8f379c26200f3c7bd5f09d9bc3068d3ef4edeb4853022b6",
        _SMALL_A,
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "0000000000000000000000000000000000000000000000000000000000000000",
        False,
    ),
    # 1: A of small order, R mixed.
    (
        "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
        _SMALL_A,
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04",
        False,
    ),
    # 2: A mixed, R of small order.
    (
        "aebf3f2601a0c8c5d39cc7d8911642f740b78168218da8471772b35f9d35b9ab",
        _ODD_A,
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "8c4bd45aecaca5b24fb97bc10ac27ac8751a7dfe1baff8b953ec9f5833ca260e",
        False,
    ),
    # 3: A and R mixed, both equations hold.
    (
        "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
        _MIXED_A,
        "9046a64750444938de19f227bb80485e92b83fdb4b6506c160484c016cc1852f",
        "87909e14428a7a1d62e9f22f3d3ad7802db02eb2e688b6c52fcd6648a98bd009",
        True,
    ),
    # 4: A and R mixed, only the cofactored equation holds.
    (
        "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
        _MIXED_A,
        "160a1cb0dc9c0258cd0a7d23e94d8fa878bcb1925f2c64246b2dee1796bed512",
        "5ec6bc982a269b723e0668e540911a9a6a58921d6925e434ab10aa7940551a09",
        False,
    ),
    # 5: the cofactored equation holds only without reducing 8k.
    (
        "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
        _MIXED_A,
        "21122a84e0b5fca4052f5b1235c80a537878b38f3142356b2c2384ebad4668b7",
        "e40bc836dac0f71076f9abe3a53f9c03c1ceeeddb658d0030494ace586687405",
        False,
    ),
    # 6: S above the group's order.
    (
        "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
        _LARGE_S_A,
        "e96f66be976d82e60150baecff9906684aebb1ef181f67a7189ac78ea23b6c0e",
        "547f7690a0e2ddcd04d87dbc3490dc19b3b3052f7ff0538cb68afb369ba3a514",
        False,
    ),
    # 7: S far above the group's order.
    (
        "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
        _LARGE_S_A,
        "8ce5b96c8f26d0ab6c47958c9e68b937104cd36e13c33566acd2fe8d38aa1942",
        "7e71f98a473474f2f13f06f97c20d58cc3f54b8bd0d272f42b695dd7e89a8c22",
        False,
    ),
    # 8: R not canonical, hashed as carried.
    (
        "9bedc267423725d473888631ebf45988bad3db83851ee85c85e241a07d148b41",
        _ODD_A,
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "03be9678ac102edcd92b0210bb34d7428d12ffc5df5f37e359941266a4e35f0f",
        False,
    ),
    # 9: R not canonical, hashed reduced.
    (
        "9bedc267423725d473888631ebf45988bad3db83851ee85c85e241a07d148b41",
        _ODD_A,
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "ca8c5b64cd208982aa38d4936621a4775aa233aa0505711d8fdcfdaa943d4908",
        False,
    ),
    # 10: A not canonical, hashed reduced.
    (
        "e96b7021eb39c1a163b6da4e3093dcd3f21387da4cc4572be588fafae23c155b",
        _ALL_ONES_A,
        "a9d55260f765261eb9b84e106f665e00b867287a761990d7135963ee0a7d59dc",
        "a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04",
        False,
    ),
    # 11: A not canonical, hashed as carried.
    (
        "39a591f5321bbe07fd5a23dc2f39d025d74526615746727ceefd6e82ae65c06f",
        _ALL_ONES_A,
        "a9d55260f765261eb9b84e106f665e00b867287a761990d7135963ee0a7d59dc",
        "a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04",
        False,
    ),
)


def self_test() -> None:
    """The libraries at hand judge the published edge vectors as every other node does. Run at start-up.

    Raises InvariantBroken naming the first vector that is judged otherwise.
    """
    for number, (message, key, point, scalar, valid) in enumerate(EDGE_VECTORS):
        found = verify_raw(bytes.fromhex(key), bytes.fromhex(message), bytes.fromhex(point + scalar))
        if found is not valid:
            raise InvariantBroken(
                f"Ed25519 edge vector {number} verifies as {found}, expected {valid}: this libsodium would fork "
                "from the other nodes. Install the pinned PyNaCl wheel (requirements/runtime.txt)."
            )
    seed = bytes(range(SEED_BYTES))
    signature_made = sign_raw(seed, b"self test")
    if not verify_raw(public_key(seed), b"self test", signature_made):
        raise InvariantBroken("Ed25519 does not verify its own signature. Install the pinned PyNaCl wheel.")
    check_public_key(public_key(seed))
