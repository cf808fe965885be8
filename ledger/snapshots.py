"""ABCI's snapshot connection: how a chain's snapshots are given to others, and taken from them.

    list_snapshots            what this node can give
    load_snapshot_chunk       one chunk of it
    offer_snapshot            here is one of another node: may it be loaded?
    apply_snapshot_chunk      its chunks, in order; with the last one the store is made

Giving and taking share nothing but the format (snapshot.py). Where snapshots lie is the archive's business, so that
nothing here knows of files.
"""

import contextlib
from typing import Protocol

from ledger.errors import Invalid, Malformed
from ledger.kv import KeyValue
from ledger.snapshot import SideTables, check_chunk, decode_manifest, manifest_id
from ledger.snapshot_load import Anchor, SnapshotLoader
from proto.chiptrace.v1.ledger_pb2 import Reason, SnapshotManifest


class SnapshotArchive(Protocol):
    """Whole snapshots, by height."""

    def manifests(self) -> list[bytes]:
        """The manifests of all snapshots that are whole, newest first."""

    def chunk(self, height: int, index: int) -> bytes:
        """The bytes of one chunk as they are there."""


class SnapshotConnection:
    """The four calls. Used by one thread at a time."""

    def __init__(self, chain_id: bytes, archive: SnapshotArchive, tables: SideTables) -> None:
        self._chain_id = chain_id
        self._archive = archive
        self._tables = tables
        self._known: dict[bytes, SnapshotManifest] = {}  # by id, of those that are listed
        self._loader: SnapshotLoader | None = None

    # ---- giving ---------------------------------------------------------------------------------------------

    def list_snapshots(self) -> list[tuple[bytes, bytes]]:
        """(id, manifest) of every snapshot that can be loaded here, newest first. A damaged manifest, or one of another
        chain, is none."""
        found, known = [], {}
        for data in self._archive.manifests():
            id_ = manifest_id(self._chain_id, data)
            with contextlib.suppress(Malformed, Invalid):
                known[id_] = self._known.get(id_) or decode_manifest(self._chain_id, data)
                found.append((id_, data))
        self._known = known
        return found

    def load_snapshot_chunk(self, id_: bytes, index: int) -> bytes:
        """One chunk, checked against its manifest before it leaves: a disk may have lied.

        Raises Invalid: NOT_FOUND for a snapshot that is not (or no longer) there, BAD_PROOF for a damaged chunk.
        """
        manifest = self._known.get(id_)
        if manifest is None:
            self.list_snapshots()
            manifest = self._known.get(id_)
        if manifest is None or not 0 <= index < len(manifest.chunks):
            raise Invalid(f"there is no snapshot {id_.hex()[:64]} with chunk {index} here", Reason.NOT_FOUND)
        chunk = self._archive.chunk(manifest.height, index)
        check_chunk(self._chain_id, manifest, index, chunk)
        return chunk

    # ---- taking ---------------------------------------------------------------------------------------------

    def offer_snapshot(
        self, kv: KeyValue, anchor: Anchor, genesis: bytes, manifest: bytes
    ) -> SnapshotManifest:
        """Accepts a snapshot for loading into an empty store; one that was under way is forgotten.

        Raises Malformed or Invalid when the manifest cannot be that of the anchor, StoreError for a store that is
        not empty.
        """
        self._loader = SnapshotLoader(kv, anchor, genesis, manifest, self._tables)
        return self._loader.manifest

    def apply_snapshot_chunk(self, index: int, chunk: bytes) -> bool:
        """Takes the next chunk; True when it was the last one and the store is made, durably.

        Raises Malformed or Invalid when the snapshot is refused, for good.
        """
        loader = self._loader
        if loader is None:
            raise Invalid("no snapshot is being loaded", Reason.NOT_FOUND)
        try:
            loader.apply(index, chunk)
        except Exception:
            self._loader = None
            raise
        if loader.done:
            self._loader = None
        return loader.done
