"""Snapshots of chains that live in memory: taken, taken apart, and loaded."""

from ledger import block, codec, snapshot
from ledger.application import Application
from ledger.kv import MemoryKV
from ledger.snapshot_load import Anchor, SnapshotLoader
from proto.chiptrace.v1.ledger_pb2 import AppHashOpening
from tests.ledger.chain_fixture import Chain, certificate_of

TABLES = snapshot.NoSideTables()


class Taken:
    """A snapshot of a chain after a height, with what certifies it."""

    def __init__(self, chain: Chain, height: int = 0, tables=TABLES):
        self.chain = chain
        store = chain.app.store
        height = height or store.tip.height
        with_view = chain.app.views._held[height].snapshot  # the tip's too, which has no successor yet
        self.chunks = list(snapshot.take(with_view, height, tables))
        self.stream = b"".join(self.chunks)
        self.tables = tables
        leaf = store.log_leaf(height)
        header = block.decode_header(block.decode_block(store.block(height)).header)
        self.anchor = Anchor(
            chain_id=chain.chain_id,
            height=height,
            time_ms=leaf.time_ms,
            block_hash=leaf.block_hash,
            opening=AppHashOpening(
                state_root=leaf.state_root, log_size=height, log_root=store.log_root(height)
            ),
            certificate=certificate_of(header),
            boundaries=[item for item in store.boundaries(0, 1_000) if item.height <= height],
        )

    @property
    def manifest(self) -> bytes:
        return manifest_of(self.chain.chain_id, self.anchor.height, self.chunks)

    def loader(self, kv, stream=None, anchor=None) -> SnapshotLoader:
        """A loader of this stream, whose manifest fits it: nothing but the certified hashes can tell."""
        chunks = self.chunks if stream is None else cut(stream)
        manifest = manifest_of(self.chain.chain_id, self.anchor.height, chunks)
        genesis = self.chain.app.store.genesis()
        return SnapshotLoader(kv, anchor or self.anchor, genesis, manifest, self.tables)

    def load(self, kv=None, stream=None, anchor=None):
        """A store made of the stream, or of the whole snapshot."""
        kv = MemoryKV() if kv is None else kv
        loader = self.loader(kv, stream, anchor)
        for index, chunk in enumerate(self.chunks if stream is None else cut(stream)):
            loader.apply(index, chunk)
        return kv

    def follower(self) -> Chain:
        """The same chain on a store made of the snapshot."""
        return on(self.chain, self.load())


def on(chain: Chain, kv, recoveries=()) -> Chain:
    """Another node of a chain, on its own store, whose operator has applied these recoveries."""
    other = object.__new__(type(chain))
    other.__dict__.update(chain.__dict__)
    other.kv = kv
    other.app = Application(kv, chain.operations, chain.changes, recoveries)
    return other


def cut(stream: bytes) -> list[bytes]:
    size = snapshot.SNAPSHOT_CHUNK_BYTES
    return [stream[start : start + size] for start in range(0, len(stream), size)]


def manifest_of(chain_id: bytes, height: int, chunks) -> bytes:
    hashes = [snapshot.chunk_hash(chain_id, chunk) for chunk in chunks]
    return snapshot.encode_manifest(chain_id, height, sum(map(len, chunks)), hashes)


def records(stream: bytes) -> list[tuple[bytes, bytes]]:
    """The stream taken apart, by its description alone."""
    found, position = [], 0
    while position < len(stream):
        end = position + 5 + int.from_bytes(stream[position + 1 : position + 5], "big")
        found.append((stream[position : position + 1], stream[position + 5 : end]))
        position = end
    assert position == len(stream)
    return found


def joined(found) -> bytes:
    return b"".join(letter + len(payload).to_bytes(4, "big") + payload for letter, payload in found)


def rewritten(manifest: bytes, **changed) -> bytes:
    """A manifest with other fields."""
    message = snapshot.SnapshotManifest.FromString(manifest)
    for name, value in changed.items():
        if name == "chunks":
            message.chunks[:] = value
        else:
            setattr(message, name, value)
    return codec.encode(message)
