"""The trust file: all that a verifier believes beforehand.

For each chain its id (the hash of its genesis), where to ask, the certificate authority of its doors, and how
often a head is due. The doors and the authority only carry bytes: nothing they say is believed. Beside that
the file names the caller's own identities (key files and client certificates). Paths stand relative to it.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger.errors import Malformed

VERSION: Final = 1
_FILE_BYTES_MAX: Final = 1_048_576
_CHAIN_ID: Final = re.compile(r"[0-9a-fA-F]{64}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# host:port, or [address]:port; gRPC would take much else for an address, and ask there.
_ENDPOINT: Final = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.%]+\]):[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class AcceptedRecovery:
    """A recovery of a chain that its verifier has decided to follow (docs/recovery.md)."""

    height: int  # the last one before it
    document: bytes  # hash, 32 bytes


@dataclass(frozen=True, slots=True)
class ChainTrust:
    """One chain as its verifier knows it."""

    name: str
    chain_id: bytes  # 32 bytes
    endpoints: tuple[str, ...]  # host:port of client ports
    ca: Path  # certificate authority of those ports, PEM
    heartbeat_ms: int  # a head older than three of these is stale
    recoveries: tuple[AcceptedRecovery, ...] = ()  # none but these is followed

    def after(self, endpoint: str) -> str:
        """The endpoint that is asked when another one than this shall be."""
        return self.endpoints[(self.endpoints.index(endpoint) + 1) % len(self.endpoints)]


@dataclass(frozen=True, slots=True)
class Identity:
    """How the caller shows itself to a chain: the certificate opens the door, the key signs transactions."""

    chain: str  # name of the chain
    member: str
    key: Path | None  # Ed25519 key file of the role given; None: may only read
    certificate: Path  # X.509 client certificate, PEM
    tls_key: Path
    role: str  # operator, relayer, auditor


@dataclass(frozen=True, slots=True)
class Trust:
    """What stands in a trust file."""

    chains: tuple[ChainTrust, ...]
    identities: tuple[Identity, ...]

    def chain(self, name: str) -> ChainTrust:
        """The chain of this name (or hexadecimal id). Raises Malformed naming those there are."""
        for chain in self.chains:
            if name in (chain.name, chain.chain_id.hex()):
                return chain
        known = ", ".join(chain.name for chain in self.chains)
        raise Malformed(f"the trust file names no chain '{name}'; it has: {known}")

    def chain_by_id(self, chain_id: bytes) -> ChainTrust | None:
        """The chain with this id, or None when it is not trusted."""
        return next((chain for chain in self.chains if chain.chain_id == chain_id), None)

    def identity(self, chain: str, member: str = "", role: str = "") -> Identity:
        """The identity for a chain, the first that fits where member or role is left open. Raises Malformed
        naming those there are."""
        for identity in self.identities:
            fits = identity.chain == chain and member in ("", identity.member) and role in ("", identity.role)
            if fits:
                return identity
        known = ", ".join(f"{i.chain}/{i.member} ({i.role})" for i in self.identities)
        raise Malformed(f"the trust file has no identity for {chain}/{member or 'anyone'}; it has: {known}")


def read(path: Path) -> Trust:
    """The trust file at `path`. Raises Malformed, naming the file and the field."""
    if path.exists() and not path.is_file():  # it is read more than once, and beside it lie keys
        raise Malformed(f"trust file {path} is a directory, a pipe or a device; name a file")
    try:
        with path.open("rb") as file:
            text = file.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise Malformed(
            f"trust file {path} cannot be read ({error.strerror}); `chiptrace testnet up` writes one"
        ) from None
    if len(text) > _FILE_BYTES_MAX:
        raise Malformed(f"trust file {path} is larger than {_FILE_BYTES_MAX} bytes")
    try:
        document = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise Malformed(
            f"trust file {path} is not JSON: {error}; `chiptrace testnet up` writes one"
        ) from None
    where = _Fields(document, path, "the file")
    where.only("version", "chains", "identities")
    if where.number("version") != VERSION:
        raise Malformed(f"{path}: version must be {VERSION}")
    chains = tuple(_chain(fields, path.parent) for fields in where.objects("chains"))
    identities = tuple(_identity(fields, path.parent) for fields in where.objects("identities"))
    if len({chain.name for chain in chains}) != len(chains):
        raise Malformed(f"{path}: two chains have one name")
    if len({chain.chain_id for chain in chains}) != len(chains):
        raise Malformed(f"{path}: one chain id stands under two names")
    return Trust(chains, identities)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object whose fields stand once each: else one is read by people, and another one believed."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(
            f"'{next(name for name in names if names.count(name) > 1)}' stands twice in one object"
        )
    return found


def write(path: Path, trust: Trust) -> None:
    """Write the trust file; paths under its directory are made relative."""
    home = path.parent.resolve()
    document = {
        "version": VERSION,
        "chains": [
            {
                "name": chain.name,
                "chain_id": chain.chain_id.hex(),
                "endpoints": list(chain.endpoints),
                "ca": _relative(chain.ca, home),
                "heartbeat_ms": chain.heartbeat_ms,
                **({"recoveries": _recoveries_json(chain)} if chain.recoveries else {}),
            }
            for chain in trust.chains
        ],
        "identities": [
            {
                "chain": identity.chain,
                "member": identity.member,
                "role": identity.role,
                **({"key": _relative(identity.key, home)} if identity.key else {}),
                "certificate": _relative(identity.certificate, home),
                "tls_key": _relative(identity.tls_key, home),
            }
            for identity in trust.identities
        ],
    }
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _recoveries_json(chain: ChainTrust) -> list[dict[str, object]]:
    return [{"height": item.height, "document": item.document.hex()} for item in chain.recoveries]


def _relative(path: Path, home: Path) -> str:
    whole = path.resolve()
    return str(whole.relative_to(home) if whole.is_relative_to(home) else whole)


def _chain(fields: "_Fields", home: Path) -> ChainTrust:
    fields.only("name", "chain_id", "endpoints", "ca", "heartbeat_ms", "recoveries")
    endpoints = fields.texts("endpoints")
    if not endpoints or not all(map(_ENDPOINT.fullmatch, endpoints)):
        raise fields.wrong("endpoints", "a list of host:port, or [address]:port, with at least one entry")
    if len(set(endpoints)) != len(endpoints):  # they are asked in turn, and as so many voices
        raise fields.wrong("endpoints", "a list of nodes, each named once")
    if _CHAIN_ID.fullmatch(fields.text("chain_id")) is None:
        raise fields.wrong("chain_id", "64 hexadecimal digits")
    # It stands in commands, in reports and in names of files.
    if _NAME.fullmatch(fields.text("name")) is None or _CHAIN_ID.fullmatch(fields.text("name")):
        raise fields.wrong(
            "name", "1 to 64 letters, digits and . _ - beginning with a letter or digit, and no chain id"
        )
    return ChainTrust(
        name=fields.text("name"),
        chain_id=bytes.fromhex(fields.text("chain_id")),
        endpoints=endpoints,
        ca=home / fields.text("ca"),
        heartbeat_ms=fields.number("heartbeat_ms"),
        recoveries=_recoveries(fields) if "recoveries" in fields.values else (),
    )


def _recoveries(fields: "_Fields") -> tuple[AcceptedRecovery, ...]:
    found: dict[int, AcceptedRecovery] = {}
    for item in fields.objects("recoveries"):
        item.only("height", "document")
        height = item.number("height", 0)
        if _CHAIN_ID.fullmatch(item.text("document")) is None:
            raise item.wrong("document", "64 hexadecimal digits")
        if height in found:
            raise fields.wrong(
                "recoveries",
                f"one decision per height, and two stand for height {height}: they lead to two histories, of which one "
                "can be true; ask the members which, and strike the other out",
            )
        found[height] = AcceptedRecovery(height, bytes.fromhex(item.text("document")))
    return tuple(found.values())


def _identity(fields: "_Fields", home: Path) -> Identity:
    fields.only("chain", "member", "role", "key", "certificate", "tls_key")
    return Identity(
        chain=fields.text("chain"),
        member=fields.text("member"),
        key=home / fields.text("key") if "key" in fields.values else None,
        certificate=home / fields.text("certificate"),
        tls_key=home / fields.text("tls_key"),
        role=fields.text("role"),
    )


class _Fields:
    """A JSON object read strictly; every complaint names the file and the field."""

    def __init__(self, values: object, path: Path, place: str) -> None:
        if not isinstance(values, dict):
            raise Malformed(f"{path}: {place} must be a JSON object")
        self.values: Mapping[str, object] = values
        self._path = path
        self._place = place

    def wrong(self, name: str, expected: str) -> Malformed:
        return Malformed(f"{self._path}: {self._place}: '{name}' must be {expected}")

    def only(self, *names: str) -> None:
        for name in self.values:
            if name not in names:
                raise Malformed(f"{self._path}: {self._place}: unknown field '{name}'")

    def text(self, name: str) -> str:
        value = self.values.get(name)
        if not isinstance(value, str) or not value:
            raise self.wrong(name, "a text that is not empty")
        return value

    def number(self, name: str, least: int = 1) -> int:
        value = self.values.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise self.wrong(name, f"a whole number from {least}")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        value = self.values.get(name)
        if not isinstance(value, list):
            raise self.wrong(name, "a list of texts")
        texts = [item for item in value if isinstance(item, str) and item]
        if len(texts) != len(value):
            raise self.wrong(name, "a list of texts")
        return tuple(texts)

    def objects(self, name: str) -> list["_Fields"]:
        value = self.values.get(name)
        if not isinstance(value, list):
            raise self.wrong(name, "a list of objects")
        return [_Fields(item, self._path, f"{name}[{index}]") for index, item in enumerate(value)]
