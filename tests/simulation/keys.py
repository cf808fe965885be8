"""Signatures for the simulation: a keyed hash where speed matters, Ed25519 where the real thing is wanted.

The keyed hash can be made by anyone who knows the public key. No actor does: each signs with its own key only.
"""

from __future__ import annotations

import hashlib

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey


class SimulatedKeys:
    """Key i of a run. Fast: a signature costs one hash."""

    def __init__(self, count: int) -> None:
        self.public = [hashlib.sha256(b"simulated key %d" % index).digest() for index in range(count)]
        self.index = {key: index for index, key in enumerate(self.public)}

    def sign(self, index: int, signed: bytes) -> bytes:
        return hashlib.blake2b(signed, key=self.public[index], digest_size=64).digest()

    def verify(self, key: bytes, signed: bytes, signature: bytes) -> bool:
        return hashlib.blake2b(signed, key=key, digest_size=64).digest() == signature


class RealKeys(SimulatedKeys):
    """The same with Ed25519. What was verified once is remembered, as three replicas verify the same votes."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self._seeds = [SigningKey(hashlib.sha256(b"seed %d" % index).digest()) for index in range(count)]
        self.public = [bytes(seed.verify_key) for seed in self._seeds]
        self.index = {key: index for index, key in enumerate(self.public)}
        self._seen: dict[tuple[bytes, bytes, bytes], bool] = {}

    def sign(self, index: int, signed: bytes) -> bytes:
        return self._seeds[index].sign(signed).signature

    def verify(self, key: bytes, signed: bytes, signature: bytes) -> bool:
        asked = (key, signed, signature)
        if asked not in self._seen:
            try:
                VerifyKey(key).verify(signed, signature)
                self._seen[asked] = True
            except (BadSignatureError, ValueError, TypeError):
                self._seen[asked] = False
        return self._seen[asked]
