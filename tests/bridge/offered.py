"""What a node of a bridged chain shows beside a snapshot, and what a beginner makes of it."""

from dataclasses import dataclass, field

from bridge import anchor as anchors
from bridge.snapshot_tables import PacketTables
from ledger import snapshot
from ledger.kv import MemoryKV
from ledger.snapshot_load import Anchor, SnapshotLoader
from proto.chiptrace.v1.consensus_pb2 import SignedHeader
from proto.chiptrace.v1.ledger_pb2 import AppHashOpening, Change, SetValidators
from tests.bridge.two_chains import on_the_wire
from tests.ledger.snapshot_fixture import manifest_of, on

TABLES = PacketTables()


@dataclass
class Shown:
    """Headers and opening for a height; every field may be falsified."""

    chain: object
    height: int
    boundaries: list[SignedHeader] = field(default_factory=list)
    last: SignedHeader | None = None
    head: SignedHeader | None = None
    opening: AppHashOpening | None = None

    def __post_init__(self):
        store = self.chain.app.store
        self.boundaries = [
            on_the_wire(item) for item in store.boundaries(0, 1_000) if item.height <= self.height
        ]
        self.last, self.head = self.chain.header(self.height), self.chain.header(self.height + 1)
        leaf = store.log_leaf(self.height)
        self.opening = AppHashOpening(
            state_root=leaf.state_root, log_size=self.height, log_root=store.log_root(self.height)
        )

    def anchor(self, *, accepted=(), now_ms=None, checkpoint=None) -> Anchor:
        now_ms = self.chain.info.time_ms if now_ms is None else now_ms
        walk = anchors.begin(self.chain.genesis, self.chain.chain_id, accepted)
        walk.pass_boundaries(self.boundaries, now_ms)
        return anchors.anchor(walk, self.last, self.head, self.opening, now_ms, checkpoint)


def taken(chain, height):
    """The chunks and the manifest of a snapshot."""
    chunks = list(snapshot.take(chain.app.views.view(height).rows, height, TABLES))
    return chunks, manifest_of(chain.chain_id, height, chunks)


def begun(chain, height, recoveries=()):
    """Another node of the chain, begun with a snapshot of this height and caught up."""
    chunks, manifest = taken(chain, height)
    kv = MemoryKV()
    anchor = Shown(chain, height).anchor(accepted=[opened.hash for opened in recoveries])
    loader = SnapshotLoader(kv, anchor, chain.genesis, manifest, TABLES)
    for index, chunk in enumerate(chunks):
        loader.apply(index, chunk)
    other = on(chain, kv, [opened.data for opened in recoveries])
    for number in range(height + 1, chain.height + 1):
        data = chain.app.store.block(number)
        other.app.commit(data, other.app.finalize_block(data), chain.app.store.certificate(number))
    return other


def turn_set(chain, times=1):
    """Another validator set: the same validators, the other way round."""
    for _ in range(times):
        validators = list(reversed(chain.info.next_validators.validators))
        change = Change(set_validators=SetValidators(validators=validators))
        assert chain.operate(chain.members[0], chain.govern(change)).ok
