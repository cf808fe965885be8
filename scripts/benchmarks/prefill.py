"""Chains that hold a million parts before a benchmark begins: their blocks are made up, their certificates are not.

The stores of all nodes are filled before they start, once, and then copied. The blocks are empty and their changes come
from nowhere, so an auditor who replays them finds out; the state tree, its pages, the tip and the finalizations are what
a node expects to find. The parts have random serials, so their keys lie anywhere.
"""

from __future__ import annotations

import os
import random
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

PER_BLOCK = 50_000  # parts
SEED = 4
CLASS = "https://id.gs1.org/01/09521001100175/21/"
SERIAL_BYTES = 16  # hexadecimal digits


def serials(parts: int) -> Iterator[bytes]:
    """The same random serials each time."""
    random_ = random.Random(SEED)  # noqa: S311 (nothing secret)
    for _ in range(parts):
        yield b"%016x" % random_.getrandbits(64)


def observation(serial: bytes) -> Operation:
    """An event that says that this part was seen."""
    event: dict[str, Json] = {
        "type": "ObjectEvent",
        "action": "OBSERVE",
        "bizStep": "inspecting",
        "epcList": [CLASS + serial.decode()],
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


def copied(source: Path, target: Path) -> None:
    """A copy of a closed store. Tables are linked: LevelDB never changes one, it only makes new ones and unlinks."""
    target.mkdir(parents=True)
    for path in source.iterdir():
        if path.suffix == ".ldb":
            os.link(path, target / path.name)
        else:
            shutil.copy(path, target / path.name)


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
    order = sorted((sha256(tag + before + serial).digest()[:8], serial) for serial in serials(parts))
    for start in range(0, parts, PER_BLOCK):
        changes: dict[bytes, bytes | None] = {}
        for _, serial in order[start : start + PER_BLOCK]:
            own = sha256(serial).digest()
            value = template.replace(CLASS.encode() + blank, CLASS.encode() + serial)
            changes[before + serial] = value.replace(leaf, own).replace(digest, own[::-1])
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
    signatures = {places[hashes.public_key(seed)]: hashes.sign_raw(seed, signed) for seed in seeds}
    certificate = form(VoteKind.FINALIZE, height, 1, block_hash, signatures, len(seeds))
    outcome = BlockOutcome([], changes, [], [], block.results_root(chain_id, []))
    application.commit(data, outcome, codec.encode(certificate))
