"""Chains that hold a million parts before a benchmark begins: their blocks are made up, their certificates are not.

The stores of all nodes are filled before they start, once, and then copied. The blocks are empty and their changes come
from nowhere, so an auditor who replays them finds out; the state tree, its pages, the tip and the finalizations are what
a node expects to find. The parts have random serials, so their keys lie anywhere.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from bridge import machine
from client import epcis_read, keys
from client.clock import now_ms
from client.epcis_context import Namespaces
from client.epcis_json import Json
from consensus.certificate import form
from consensus.messages import signed_vote
from ledger import block, codec, hashes, state
from ledger.application import Application
from ledger.execute import BlockOutcome
from ledger.leveldb import LevelKV
from node import testnet_layout, testnet_plan
from node.config import NodeConfig, read
from node.signer import KEY_FILE
from node.state_sync import STORE
from node.testnet_layout import Network
from proto.chiptrace.v1.consensus_pb2 import Vote, VoteKind
from proto.chiptrace.v1.ledger_pb2 import Capture, History, Operation, PartRecord, PartStatus
from scripts.benchmarks.machine import settle

PER_BLOCK = 50_000  # parts
CLASS = "https://id.gs1.org/01/09521001100175/21/"
SERIAL_BYTES = 16  # hexadecimal digits


def serial(number: int) -> bytes:
    """Of a part by its number, the same each time: keys of parts with numbers in a row lie anywhere."""
    return sha256(b"part %d" % number).hexdigest()[:SERIAL_BYTES].encode()


def observation(number: int) -> Operation:
    """An event that says that the part of this number was seen."""
    event: dict[str, Json] = {
        "type": "ObjectEvent",
        "action": "OBSERVE",
        "bizStep": "inspecting",
        "epcList": [CLASS + serial(number).decode()],
        "eventTime": "2026-01-01T00:00:00.000Z",
        "eventTimeZoneOffset": "+00:00",
    }
    made = epcis_read.to_event(event, Namespaces(), seed=os.urandom(16))
    return Operation(capture=Capture(event=codec.encode(made)))


def fill(network: Network, chain: str, parts: int) -> None:
    """Gives the first member of a chain so many parts, in the stores of all its nodes, which do not run."""
    nodes = network.chain(chain).nodes
    configs = [read(network.config_file(node.name), NodeConfig) for node in nodes]
    seeds = [keys.read_seed(config.key_dir / KEY_FILE) for config in configs]
    stores = [config.data_dir / STORE for config in configs]
    for config in configs:
        config.data_dir.mkdir(parents=True, exist_ok=True)
    application = Application(LevelKV(stores[0]), machine.operations(), machine.changes())
    application.init_chain(network.genesis_file(chain).read_bytes())
    for changes in _changes(application.info().chain_id, nodes[0].member, parts):
        _decide(application, seeds, changes)
    settle()
    application.close()
    for store in stores[1:]:
        copied(stores[0], store)


def alone(folder: Path, parts: int) -> Application:
    """A chain without a network that holds so many parts, and a block more, under which they can be proven."""
    network = testnet_layout.create(folder / "net", None, [], testnet_plan.one_chain(1))
    chain = network.chains[0]
    fill(network, chain.name, parts)
    config = read(network.config_file(chain.nodes[0].name), NodeConfig)
    application = Application(LevelKV(config.data_dir / STORE), machine.operations(), machine.changes())
    _decide(application, [keys.read_seed(config.key_dir / KEY_FILE)], {})
    return application


def copied(source: Path, target: Path) -> Path:
    """A copy of a folder with closed stores in it. Tables that LevelDB has are linked, for it never changes one. What it
    was writing when it was closed it does not have: the next opening writes files of the same numbers, through a link into
    the tables of all other copies."""

    unfinished = {table for log in source.rglob("LOG") for table in _unfinished(log)}

    def link(path: str, place: str) -> None:
        (os.link if path.endswith(".ldb") and Path(path) not in unfinished else shutil.copy)(path, place)

    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(source, target, copy_function=link))


def _unfinished(log: Path) -> set[Path]:
    """The tables of a store that LevelDB's own log names after the last compaction that was finished."""
    text = log.read_text(errors="replace")
    numbers = re.findall(r"#(\d+)", text[text.rfind(" Compacted ") + 1 :])
    return {log.with_name(f"{int(number):06}.ldb") for number in numbers}


def _changes(chain_id: bytes, member: str, parts: int) -> Iterator[dict[bytes, bytes | None]]:
    """Records of live parts, in the order in which the tree has them: so that filling is quick."""
    blank, leaf, digest = b"0" * SERIAL_BYTES, b"\x01" * 32, b"\x02" * 32
    template = codec.encode(
        PartRecord(
            id=CLASS + blank.decode(),
            status=PartStatus.LIVE,
            holder=member,
            owner=member,
            origin_chain=chain_id,
            commissioner=member,
            history=History(n=1, frontier=[leaf]),
            last_event=digest,
        )
    )
    before = state.part_key(CLASS + blank.decode())[:-SERIAL_BYTES]
    tag = hashes.tag(hashes.Purpose.STATE_KEY, chain_id)
    named = map(serial, range(parts))
    order = sorted((sha256(tag + before + name).digest()[:8], name) for name in named)
    for start in range(0, parts, PER_BLOCK):
        changes: dict[bytes, bytes | None] = {}
        for _, name in order[start : start + PER_BLOCK]:
            own = sha256(name).digest()
            value = template.replace(CLASS.encode() + blank, CLASS.encode() + name)
            changes[before + name] = value.replace(leaf, own).replace(digest, own[::-1])
        yield changes


def _decide(application: Application, seeds: Sequence[bytes], changes: dict[bytes, bytes | None]) -> None:
    """An empty block with these changes, final by the votes of all."""
    chain_id, now = application.info().chain_id, now_ms()
    data = application.prepare_proposal([], now)
    application.process_proposal(data, now)
    header = block.decode_block(data).header
    height, block_hash = application.info().height + 1, block.block_hash(chain_id, header)
    places = {
        validator.key: place for place, validator in enumerate(application.info().validators.validators)
    }
    vote = Vote(kind=VoteKind.FINALIZE, height=height, view=1, block_hash=block_hash)
    signed = signed_vote(chain_id, vote)
    own = [(hashes.public_key(seed), seed) for seed in seeds]  # of nodes that only follow too
    signatures = {places[key]: hashes.sign_raw(seed, signed) for key, seed in own if key in places}
    certificate = form(VoteKind.FINALIZE, height, 1, block_hash, signatures, len(places))
    outcome = BlockOutcome([], changes, [], [], block.results_root(chain_id, []))
    application.commit(data, outcome, codec.encode(certificate))
