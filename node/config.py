"""What an operator sets: TOML files read into frozen dataclasses, one table per section.

Every key is declared here once, with its explanation; `write` puts the explanation above each key. Unknown
keys, wrong types and missing values are errors that name the file, the section and the key. Paths stand
relative to the file.
"""

import dataclasses
import os
import re
import tomllib
import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar, get_args, get_origin, get_type_hints

from ledger.errors import ChiptraceError, Malformed
from ledger.genesis import decode_genesis

_FILE_BYTES_MAX: Final = 1_048_576
TEXT_CHARACTERS_MAX: Final = 4_096  # a path is no longer either
CONSENSUS_MS_MAX: Final = 60_000  # views grow to eight times that
STREAMS_MAX: Final = 65_536  # of one connection
_PORT: Final = re.compile(r"[0-9]{1,5}")
Section = TypeVar("Section")


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """Certificates of this process."""

    ca: Annotated[Path, "Certificate authority of the consortium (PEM); both ends must come from it."]
    certificate: Annotated[Path, "This process's certificate (PEM). It may be renewed; its key stays."]
    private_key: Annotated[Path, "Private key of the certificate (PEM, 0600)."]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientPortConfig:
    """The port for members, auditors and relayers."""

    listen: Annotated[str, "host:port on which clients are served."]
    calls_max: Annotated[int, "Calls served at the same time; one more is answered RESOURCE_EXHAUSTED."] = 512
    calls_per_identity_max: Annotated[int, "Calls at the same time of one client certificate."] = 128
    streams_per_connection_max: Annotated[int, "Streams one connection may hold open."] = 256
    wait_ms_max: Annotated[int, "Longest time a submission waits for its finalization, in milliseconds."] = (
        30_000
    )

    def __post_init__(self) -> None:
        _address(self.listen, "listen of [clients]")
        if self.streams_per_connection_max > STREAMS_MAX:
            raise Malformed(
                f"streams_per_connection_max of [clients] is more than {STREAMS_MAX}; choose less"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsensusPortConfig:
    """The port for validators; its own server, so that clients can never hold up consensus."""

    listen: Annotated[str, "host:port on which the other validators connect."]
    queue_messages_max: Annotated[int, "Messages that wait for one validator; the oldest is dropped."] = 4_096
    queue_bytes_max: Annotated[int, "Bytes that wait for one validator; the oldest is dropped."] = 33_554_432
    frame_transactions_max: Annotated[int, "Transactions passed on in one frame."] = 200
    frame_delay_ms: Annotated[int, "How long a frame of transactions is filled before it leaves."] = 4
    reconnect_ms_max: Annotated[int, "Longest pause before a lost validator is called again."] = 3_000
    streams_per_validator: Annotated[
        int, "1, or 2 where packets get lost: small frames then go twice, over connections of their own."
    ] = 1

    def __post_init__(self) -> None:
        _address(self.listen, "listen of [consensus_port]")
        if self.streams_per_validator > 2:
            raise Malformed("streams_per_validator must be 1 or 2")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsensusConfig:
    """Times of the agreement, in milliseconds; the same at every validator of a chain."""

    base_timeout_ms: Annotated[int, "How long the first view waits before it is given up."] = 1_000
    grace_ms: Annotated[int, "How long a leader waits for a finalization that is forming."] = 200
    resend_ms: Annotated[int, "Standing still this long resends the latest votes and proofs."] = 150
    leader_dead_ms: Annotated[int, "A leader unheard for this long is skipped quickly."] = 1_000

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            if getattr(self, item.name) > CONSENSUS_MS_MAX:
                raise Malformed(f"{item.name} of [consensus] is more than {CONSENSUS_MS_MAX} ms; choose less")


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotConfig:
    """Snapshots: given to validators that begin, and taken from the others to begin with."""

    every_heights: Annotated[
        int, "A snapshot of every height that is a multiple of this is kept; 0: none."
    ] = 10_000
    begin_with: Annotated[
        bool,
        "Begin with a snapshot of the others where the data directory is empty; false: fetch every block, so that this "
        "node keeps the whole chain.",
    ] = True
    checkpoint_height: Annotated[
        int, "A height whose block somebody trusted has told; a snapshot without it is refused. 0: none."
    ] = 0
    checkpoint_hash: Annotated[str, "That block's hash (64 hexadecimal digits)."] = ""

    @property
    def checkpoint(self) -> tuple[int, bytes] | None:
        """(height, block hash), if there is one."""
        return (
            (self.checkpoint_height, bytes.fromhex(self.checkpoint_hash)) if self.checkpoint_height else None
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerConfig:
    """One other validator."""

    member: Annotated[str, "Its member, for people."]
    key: Annotated[str, "Its validator key (Ed25519, 64 hexadecimal digits)."]
    address: Annotated[str, "host:port of its consensus port."]
    pin: Annotated[str, "SHA-256 of the public key of its certificate (SPKI, 64 hexadecimal digits)."]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """One node of one chain."""

    name: Annotated[str, "Name of the node, for logs."]
    genesis: Annotated[Path, "The chain's genesis (bytes of the Genesis message); its hash is the chain id."]
    data_dir: Annotated[
        Path,
        "Directory of the database. May be deleted, but for `recoveries` in it: the node then fetches the chain again.",
    ]
    key_dir: Annotated[
        Path,
        "Directory of validator.key and of its signing record (journal). Never restore it from a backup: a lost "
        "signing record means a new key. Without validator.key the node observes.",
    ]
    log_file: Annotated[str, "File for the JSON log, one object per line; empty: standard error."] = ""
    log_level: Annotated[str, "debug, info, warning or error."] = "info"
    verifiers: Annotated[
        int | None,
        "Processes beside this one that verify signatures: 0 or 1. Without this line 1 where this process may use two cores "
        "or more, and 0 where it may not, or where other nodes need them.",
    ] = None
    disk_free_bytes_min: Annotated[
        int,
        "Free bytes on the disk of data_dir or key_dir below which no transactions are taken; the node goes on voting.",
    ] = 268_435_456
    tls: TlsConfig
    clients: ClientPortConfig
    consensus_port: ConsensusPortConfig
    consensus: ConsensusConfig = ConsensusConfig()
    snapshots: SnapshotConfig = SnapshotConfig()
    peers: Annotated[tuple[PeerConfig, ...], "The other validators."] = ()

    def __post_init__(self) -> None:
        if self.log_level not in ("debug", "info", "warning", "error"):
            raise Malformed("log_level must be debug, info, warning or error")
        if self.verifiers is not None and self.verifiers > 1:
            raise Malformed("verifiers must be 0 or 1: one verifies more than a node can execute")
        if self.snapshots.checkpoint_height:
            _digest(self.snapshots.checkpoint_hash, "checkpoint_hash of [snapshots]")
        for peer in self.peers:
            _digest(peer.key, f"key of peer {peer.member}")
            _digest(peer.pin, f"pin of peer {peer.member}")
            _address(peer.address, f"address of peer {peer.member}")
        if _real(self.key_dir).is_relative_to(_real(self.data_dir)):
            raise Malformed(
                "key_dir lies in data_dir, which may be deleted and put back, as a signing record never may; "
                "choose another directory for one of them"
            )
        if split_address(self.clients.listen) == split_address(self.consensus_port.listen):
            raise Malformed(
                f"[clients] and [consensus_port] both listen on {self.clients.listen}; give each a port of its own"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayChainConfig:
    """A chain that the relayer serves."""

    name: Annotated[str, "Name of the chain in the trust file."]
    member: Annotated[str, "Whose identity of the trust file to show and to sign with."]


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayRouteConfig:
    """Two chains to carry between, and the clients by which they follow each other."""

    first: Annotated[str, "Name of one chain."]
    first_client: Annotated[str, "The client on this chain that follows the other one."]
    second: Annotated[str, "Name of the other chain."]
    second_client: Annotated[str, "The client there that follows this one."]


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayConfig:
    """A relayer between two chains or more. It is believed by nobody; several may run side by side."""

    trust: Annotated[Path, "Trust file with the chains and the relayer's identities."]
    table: Annotated[Path, "The relayer's table (SQLite). May be deleted: it then reads all packets once."]
    log_file: Annotated[str, "File for the JSON log, one object per line; empty: standard error."] = ""
    log_level: Annotated[str, "debug, info, warning or error."] = "info"
    listen: Annotated[str, "host:port of /metrics and /health; empty: none."] = ""
    poll_ms: Annotated[int, "How often both chains of a route are asked when nothing happens."] = 250
    watch_ms: Annotated[int, "How often each chain is looked at for forks."] = 2_000
    clear_ms: Annotated[int, "How often all open packets are looked up anew, asking another node."] = 30_000
    packets_per_round: Annotated[int, "Packets of one lane carried in one round under one update."] = 1_000
    unhealthy_ms: Annotated[int, "A backlog that makes no progress for so long is unhealthy."] = 60_000
    chains: Annotated[tuple[RelayChainConfig, ...], "The chains."]
    routes: Annotated[tuple[RelayRouteConfig, ...], "What is carried between."]

    def __post_init__(self) -> None:
        names = [chain.name for chain in self.chains]
        if len(set(names)) != len(names) or not self.routes:
            raise Malformed("name each chain once in [[chains]], and at least one route in [[routes]]")
        for route in self.routes:
            if route.first == route.second or not {route.first, route.second} <= set(names):
                raise Malformed(
                    f"the route {route.first}-{route.second} must join two of: {', '.join(names)}"
                )
        if self.listen:
            _address(self.listen, "listen")

    def member(self, chain: str) -> str:
        """Whose identity is used on a chain."""
        return next(item.member for item in self.chains if item.name == chain)


def split_address(address: str) -> tuple[str, int]:
    """Host and port of "host:port" ("[::1]:80" for IPv6). Raises Malformed."""
    host, _, port = address.rpartition(":")
    inner = host[1:-1] if host[:1] == "[" and host[-1:] == "]" else host
    # Colons in a host without brackets: where it ends is not known.
    plain = inner and not set(inner) & set("[]/ ") and (inner != host or ":" not in host)
    if not plain or not _PORT.fullmatch(port) or not 0 < int(port) < 65_536:
        raise Malformed(f"'{address}' is not host:port, or [address]:port for IPv6")
    return inner, int(port)


def read(path: Path, kind: type[Section]) -> Section:
    """The configuration of this kind in a TOML file. Raises Malformed naming file, section and key."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Malformed(f"configuration {path} cannot be read: {error.strerror}") from None
    if len(data) > _FILE_BYTES_MAX:
        raise Malformed(f"configuration {path} is larger than {_FILE_BYTES_MAX} bytes")
    try:
        table = tomllib.loads(data.decode("utf-8"))
    # Also for a number of 5,000 digits, and for lists in lists in lists.
    except (ValueError, RecursionError) as error:
        raise Malformed(f"configuration {path} is not TOML: {error}") from None
    try:
        return _section(kind, table, "top level", path.parent.resolve())
    except Malformed as error:
        raise Malformed(f"configuration {path}: {error}") from None


def read_genesis(path: Path) -> bytes:
    """The chain's first document, found sound. Raises Malformed naming the file."""
    what = "`genesis` in the configuration names the file that all nodes of the chain begin with"
    try:
        data = path.read_bytes()
        decode_genesis(data)
    except OSError as error:
        raise Malformed(f"genesis {path} cannot be read: {error.strerror}; {what}") from None
    except ChiptraceError as error:
        raise Malformed(f"genesis {path}: {error}; {what}") from None
    return data


def write(path: Path, config: object) -> None:
    """Write a configuration with the explanation above every key; paths become relative to its directory."""
    lines: list[str] = []
    _lines(config, "", path.parent.resolve(), lines)
    path.write_text("\n".join(lines).strip() + "\n", encoding="utf-8")


def _digest(text: str, what: str) -> None:
    if len(text) != 64 or any(digit not in "0123456789abcdef" for digit in text):
        raise Malformed(f"{what} must be 64 lower-case hexadecimal digits")


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # Path.resolve raises for a link to itself


def _address(text: str, what: str) -> None:
    try:
        split_address(text)
    except Malformed as error:
        raise Malformed(f"{what}: {error}") from None


def _abouts(kind: type) -> dict[str, str]:
    hints = get_type_hints(kind, include_extras=True)
    return {name: " ".join(getattr(hint, "__metadata__", ("a section",))) for name, hint in hints.items()}


def _section(kind: type[Section], table: Mapping[str, object], place: str, home: Path) -> Section:
    hints = get_type_hints(kind)
    abouts = _abouts(kind)
    fields = {item.name: item for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name in table:
        if name not in fields:
            raise Malformed(f"{place}: unknown key '{name}'; known are: {', '.join(fields)}")
    values: dict[str, Any] = {}
    for name, item in fields.items():
        if name in table:
            values[name] = _value(hints[name], table[name], f"{place}: '{name}'", name, home)
        elif item.default is MISSING:
            raise Malformed(f"{place}: '{name}' is missing ({abouts[name]})")
    return kind(**values)


def _value(hint: Any, value: object, place: str, name: str, home: Path) -> object:
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise Malformed(f"{place} must be a section")
        return _section(hint, value, f"[{name}]", home)  # type: ignore[arg-type]
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise Malformed(f"{place} must be a list")
        return tuple(_value(get_args(hint)[0], item, place, name, home) for item in value)
    if isinstance(hint, types.UnionType):  # a value, or no line at all
        hint = get_args(hint)[0]
    wanted = str if hint is Path else hint
    if isinstance(hint, types.GenericAlias) or type(value) is not wanted:
        raise Malformed(f"{place} must be {_TYPE_NAMES[wanted]}")
    if isinstance(value, str) and (len(value) > TEXT_CHARACTERS_MAX or not value.isprintable()):
        raise Malformed(f"{place} must be {TEXT_CHARACTERS_MAX} characters at most, all of them printable")
    if hint is int and isinstance(value, int) and (value < 0 or (value == 0 and name not in _MAY_BE_ZERO)):
        raise Malformed(f"{place} must {'not be below' if name in _MAY_BE_ZERO else 'be above'} zero")
    return home / value if hint is Path and isinstance(value, str) else value


_MAY_BE_ZERO: Final = ("every_heights", "checkpoint_height", "verifiers")
_TYPE_NAMES: Final[Mapping[Any, str]] = {str: "a text", int: "a whole number", bool: "true or false"}


def _lines(config: object, prefix: str, home: Path, lines: list[str]) -> None:
    items = dataclasses.fields(config)  # type: ignore[arg-type]
    abouts = _abouts(type(config))
    plain = [item for item in items if not _is_section(getattr(config, item.name))]
    for item in plain:
        value = getattr(config, item.name)
        line = f"# {item.name} = ..." if value is None else f"{item.name} = {_text(value, home)}"
        lines += [f"# {abouts[item.name]}", line]
    for item in items:
        value = getattr(config, item.name)
        if not _is_section(value):
            continue
        name = f"{prefix}{item.name}"
        for section in value if isinstance(value, tuple) else (value,):
            head = f"[[{name}]]" if isinstance(value, tuple) else f"[{name}]"
            lines += ["", f"# {type(section).__doc__}", head]
            _lines(section, f"{name}.", home, lines)


def _is_section(value: object) -> bool:
    return dataclasses.is_dataclass(value) or isinstance(value, tuple)


def _text(value: object, home: Path) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Path):
        value = os.path.relpath(value.resolve(), home)
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return str(value)
