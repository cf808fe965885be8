"""What a local test network consists of, as files: consortia of fictional members, two as a rule (testnet_plan.py).

    testnet.json                      marks the directory; names, ports, chain ids
    trust.json                        what clients believe, and their identities
    chains/CHAIN/genesis, ca.pem      the chain's first document and its authority (ca-key.pem beside it)
    members/CHAIN/MEMBER/             operator.key, admin.key, client.pem (and relayer.key of the first member)
    nodes/CHAIN-MEMBER/               node.toml, node.pem, keys/ (validator key, signing record), data/, logs
    relay/                            relay.toml, table, logs (where chains are paired)

The marker is last, by one rename. Until then a file of another name says that all in the directory is of a network that
was never finished: who makes one there begins anew.
"""

import json
import secrets
import shutil
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from client import keys, trust
from client.clock import now_ms
from client.trust import ChainTrust, Identity, Trust
from ledger import codec, genesis, identifiers
from ledger.errors import Malformed
from ledger.limits import BLOCK_BYTES_MAX
from node import certificates, config, signer
from node.config import (
    ClientPortConfig,
    ConsensusPortConfig,
    NodeConfig,
    PeerConfig,
    RelayChainConfig,
    RelayConfig,
    RelayRouteConfig,
    TlsConfig,
)
from node.testnet_plan import TWO_CHAINS, ChainPlan, NetworkPlan
from node.verifier import processes_here
from proto.chiptrace.v1.ledger_pb2 import Genesis, Parameters, PutGrant, PutKey, PutMember, Role, Validator

MARKER: Final = "testnet.json"
UNFINISHED: Final = "testnet.unfinished"
VERSION: Final = 2
HOSTS: Final = ("localhost", "127.0.0.1")
DAY_MS: Final = 86_400_000
BACKDATE_MS: Final = 3_650 * DAY_MS
PORTS: Final = range(21_000, 31_000)


@dataclass(frozen=True, slots=True)
class NodePlace:
    """Where one node lives and listens."""

    chain: str
    member: str
    clients: str  # host:port
    validators: str  # host:port

    @property
    def name(self) -> str:
        """The name in commands and of its directory."""
        return f"{self.chain}-{self.member}"


@dataclass(frozen=True, slots=True)
class ChainPlace:
    """One chain of the network."""

    name: str
    chain_id: bytes
    nodes: tuple[NodePlace, ...]


@dataclass(frozen=True, slots=True)
class Network:
    """A test network in a directory."""

    directory: Path
    chains: tuple[ChainPlace, ...]
    grants: tuple[str, ...]  # prefixes granted beyond the members' own
    pairs: tuple[tuple[str, str], ...] = ()  # chains that follow each other, by name
    relay_listen: str = ""  # host:port of the relayer's metrics

    @property
    def nodes(self) -> tuple[NodePlace, ...]:
        """All nodes of all chains."""
        return tuple(node for chain in self.chains for node in chain.nodes)

    @property
    def relayed(self) -> bool:
        """Whether chains are paired, and so a relayer runs between them."""
        return bool(self.pairs)

    def chain(self, name: str) -> ChainPlace:
        """The chain of this name."""
        return next(chain for chain in self.chains if chain.name == name)

    @property
    def trust_file(self) -> Path:
        """What clients read."""
        return self.directory / "trust.json"

    def node_directory(self, name: str) -> Path:
        """Where a node, or the relayer ("relay"), keeps its files."""
        return self.directory / "relay" if name == "relay" else self.directory / "nodes" / name

    def config_file(self, name: str) -> Path:
        """The configuration of a node, or of the relayer."""
        return self.node_directory(name) / ("relay.toml" if name == "relay" else "node.toml")

    def genesis_file(self, chain: str) -> Path:
        """The genesis of a chain."""
        return self.directory / "chains" / chain / "genesis"

    def genesis(self, chain: str) -> Genesis:
        """The genesis of a chain, decoded."""
        return genesis.decode_genesis(self.genesis_file(chain).read_bytes())

    def member_directory(self, chain: str, member: str) -> Path:
        """Where a member keeps its keys."""
        return self.directory / "members" / chain / member


def exists(directory: Path) -> bool:
    """Whether there is a test network in this directory."""
    return (directory / MARKER).is_file()


def is_unfinished(directory: Path) -> bool:
    """Whether making a test network there was begun, and broken off."""
    return (directory / UNFINISHED).is_file() and not exists(directory)


def read(directory: Path) -> Network:
    """The test network in a directory. Raises Malformed when there is none."""
    try:
        document = json.loads((directory / MARKER).read_bytes())
        if document["version"] != VERSION:
            raise Malformed(f"{directory} holds a test network of another version; use another --dir")
        chains = tuple(
            ChainPlace(
                chain["name"],
                bytes.fromhex(chain["chain_id"]),
                tuple(
                    NodePlace(chain["name"], node["member"], node["clients"], node["validators"])
                    for node in chain["nodes"]
                ),
            )
            for chain in document["chains"]
        )
        pairs = tuple((first, second) for first, second in document["pairs"])
        return Network(directory, chains, tuple(document["grants"]), pairs, document["relay_listen"])
    except OSError:
        raise Malformed(
            f"there is no test network in {directory}; `chiptrace testnet up` makes one"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise Malformed(f"{directory / MARKER} cannot be read: {error!r}") from None


def create(
    directory: Path, base_port: int | None, grants: Sequence[str], plan: NetworkPlan = TWO_CHAINS
) -> Network:
    """Make all files of a new network. `grants`: prefixes for the first member of the first chain, which then
    also adopts parts of unknown origin. Raises Malformed when the directory holds something else."""
    if is_unfinished(directory):
        _clear(directory)
    if directory.exists() and any(directory.iterdir()):
        raise Malformed(f"{directory} is not empty and no test network; use another --dir")
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    unfinished = directory / UNFINISHED
    unfinished.touch()
    (directory / ".gitignore").write_text("*\n", encoding="utf-8")
    total = plan.ports
    ports = iter(range(base_port, base_port + total) if base_port else _free_ports(total))
    chains = []
    for index, chain in enumerate(plan.chains):
        nodes = tuple(
            NodePlace(chain.name, member.id, f"127.0.0.1:{next(ports)}", f"127.0.0.1:{next(ports)}")
            for member in chain.members
        )
        chains.append(_create_chain(directory, plan, chain, nodes, grants if index == 0 else ()))
    listen = f"127.0.0.1:{next(ports)}" if plan.pairs else ""
    network = Network(directory, tuple(chains), tuple(grants), plan.pairs, listen)
    _write_trust(network, plan.heartbeat_ms)
    if network.relayed:
        _write_relay(network)
    document = {
        "version": VERSION,
        "chains": [
            {
                "name": chain.name,
                "chain_id": chain.chain_id.hex(),
                "nodes": [
                    {"member": node.member, "clients": node.clients, "validators": node.validators}
                    for node in chain.nodes
                ],
            }
            for chain in network.chains
        ],
        "grants": list(network.grants),
        "pairs": [list(pair) for pair in network.pairs],
        "relay_listen": network.relay_listen,
    }
    unfinished.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    unfinished.rename(directory / MARKER)
    return network


def _clear(directory: Path) -> None:
    """Empty it of what was never finished, its mark last."""
    for item in directory.iterdir():
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        elif item.name != UNFINISHED:
            item.unlink()
    (directory / UNFINISHED).unlink()


def _create_chain(
    directory: Path, plan: NetworkPlan, chain: ChainPlan, nodes: Sequence[NodePlace], grants: Sequence[str]
) -> ChainPlace:
    """All nodes have a key and know each other; the first `chain.validators` of them stand in the genesis."""
    home = directory / "chains" / chain.name
    home.mkdir(parents=True)
    certificates.create_authority(home, chain.name, now_ms())
    document = _genesis(directory, plan, chain, grants)
    pins: dict[str, str] = {}
    validator_keys: dict[str, str] = {}
    for index, node in enumerate(nodes):
        place = directory / "nodes" / node.name
        place.mkdir(parents=True)
        key = signer.create(place / "keys")
        validator_keys[node.member] = key.hex()
        if index < chain.validators:
            document.validators.append(Validator(key=key, member=node.member))
        document.keys.append(PutKey(key=key, member=node.member, role=Role.VALIDATOR))
        pins[node.member] = certificates.issue(home, place / "node.pem", node.name, HOSTS, now_ms())
    data = codec.encode(document)
    genesis.decode_genesis(data)
    (home / "genesis").write_bytes(data)
    for node in nodes:
        peers = tuple(
            PeerConfig(
                member=other.member,
                key=validator_keys[other.member],
                address=other.validators,
                pin=pins[other.member],
            )
            for other in nodes
            if other != node
        )
        _write_node(directory, node, peers, processes_here(plan.nodes))
    return ChainPlace(chain.name, genesis.chain_id(data), tuple(nodes))


def _genesis(directory: Path, plan: NetworkPlan, chain: ChainPlan, grants: Sequence[str]) -> Genesis:
    """Members with their keys, their own prefixes and the additional ones; validators come with the nodes."""
    home = directory / "chains" / chain.name
    document = Genesis(
        name=chain.name,
        time_ms=now_ms(),
        state_version=genesis.STATE_VERSION,
        dev=chain.dev,
        parameters=Parameters(
            governance_threshold=chain.governance_threshold,
            heartbeat_ms=plan.heartbeat_ms,
            adoption=bool(grants),
            offer_expiry_ms=7 * DAY_MS,
            backdate_ms=BACKDATE_MS,  # documents of any age are tried out here; a consortium allows a day
            block_bytes=BLOCK_BYTES_MAX,
        ),
    )
    first = chain.members[0].id
    for member in chain.members:
        place = directory / "members" / chain.name / member.id
        admin = keys.create(place / "admin.key")
        operator = keys.create(place / "operator.key")
        party = identifiers.canonical(f"urn:epc:id:pgln:{member.prefix}.00000").text
        document.members.append(
            PutMember(id=member.id, name=member.name, identifiers=[party], admin_keys=[admin])
        )
        document.keys.append(PutKey(key=operator, member=member.id, role=Role.OPERATOR))
        if member.id == first:
            relayer = keys.create(place / "relayer.key")
            document.keys.append(PutKey(key=relayer, member=member.id, role=Role.RELAYER))
        document.grants.append(PutGrant(prefix=member.grant, holder=member.id))
        certificates.issue(home, place / "client.pem", f"{member.id} client", (), now_ms())
    for prefix in grants:
        if all(not identifiers.grants_overlap(prefix, member.grant) for member in chain.members):
            document.grants.append(PutGrant(prefix=prefix, holder=first))
    certificates.issue(
        home, _made(directory / "members" / chain.name / "auditor") / "client.pem", "auditor", (), now_ms()
    )
    return document


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _write_node(directory: Path, node: NodePlace, peers: tuple[PeerConfig, ...], verifiers: int) -> None:
    place = directory / "nodes" / node.name
    config.write(
        place / "node.toml",
        NodeConfig(
            name=node.name,
            genesis=directory / "chains" / node.chain / "genesis",
            data_dir=place / "data",
            key_dir=place / "keys",
            verifiers=verifiers,
            tls=TlsConfig(
                ca=directory / "chains" / node.chain / "ca.pem",
                certificate=place / "node.pem",
                private_key=place / "node-key.pem",
            ),
            clients=ClientPortConfig(listen=node.clients),
            consensus_port=ConsensusPortConfig(listen=node.validators),
            peers=peers,
        ),
    )


def _write_trust(network: Network, heartbeat_ms: int) -> None:
    chains = tuple(
        ChainTrust(
            name=chain.name,
            chain_id=chain.chain_id,
            endpoints=tuple(node.clients for node in chain.nodes),
            ca=network.directory / "chains" / chain.name / "ca.pem",
            heartbeat_ms=heartbeat_ms,
        )
        for chain in network.chains
    )
    identities: list[Identity] = []
    for chain in network.chains:
        members = [node.member for node in chain.nodes]
        roles = [(member, "operator") for member in members] + [
            (members[0], "relayer"),
            ("auditor", "auditor"),
        ]
        for member, role in roles:
            place = network.member_directory(chain.name, member)
            key = None if role == "auditor" else place / f"{role}.key"
            identities.append(
                Identity(chain.name, member, key, place / "client.pem", place / "client-key.pem", role)
            )
    trust.write(network.trust_file, Trust(chains, tuple(identities)))


def _write_relay(network: Network) -> None:
    """One relayer for all pairs; each client is named after the chain that it follows."""
    place = _made(network.node_directory("relay"))
    paired = {name for pair in network.pairs for name in pair}
    config.write(
        place / "relay.toml",
        RelayConfig(
            trust=network.trust_file,
            table=place / "relay.db",
            listen=network.relay_listen,
            chains=tuple(
                RelayChainConfig(name=chain.name, member=chain.nodes[0].member)
                for chain in network.chains
                if chain.name in paired
            ),
            routes=tuple(
                RelayRouteConfig(first=first, first_client=second, second=second, second_client=first)
                for first, second in network.pairs
            ),
        ),
    )


def _free_ports(count: int) -> list[int]:
    """Ports free at this moment, below those the system gives to outgoing calls, so that they stay free."""
    start = PORTS.start + secrets.randbelow(len(PORTS) // 2)
    found: list[int] = []
    for port in range(start, PORTS.stop):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise Malformed(f"fewer than {count} of the ports {start} to {PORTS.stop} are free; name a --base-port")
