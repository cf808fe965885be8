"""What can be proven now: the state after each of the last heights, under the header that certifies it.

The state after height h is proven by header h + 1, which carries its app_hash, and that header's certificate;
so a height becomes provable when its successor is decided. Older heights are read from snapshots of the
store, whose number is bounded; after a restart there is only the tip's. The past beyond is proven by
histories under a newer root, never by old versions of the tree.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from ledger import rows, tree_proof
from ledger.durable_tree import Layers
from ledger.errors import Invalid, StoreError
from ledger.kv import Snapshot
from ledger.limits import PROVABLE_HEIGHTS_KEPT, PROVE_KEYS_MAX
from ledger.rows import BoundaryHeader
from ledger.store import Store
from proto.chiptrace.v1.ledger_pb2 import AppHashOpening, Block, LogLeafProof, Reason, StateProof

VIEWS_OPEN_MAX: Final = 256  # at any time, by all query sessions together
# Pages of the state tree in memory that only past heights need, of all heights served together, counted roughly: up
# to 470 MB were measured. Fewer heights are served when each changes thousands of keys, but always the newest.
PAST_PAGES_MAX: Final = 131_072


@dataclass(frozen=True, slots=True)
class KeyProof:
    """A state key with its value (None: absent) and the proof of either."""

    key: bytes
    value: bytes | None
    proof: StateProof


@dataclass(frozen=True, slots=True)
class ProvenState:
    """Keys of the state after a height, with all that is needed to believe them."""

    height: int
    head: BoundaryHeader  # header height + 1 with its certificate
    opening: AppHashOpening  # of the head's app_hash
    keys: list[KeyProof]
    last_leaf: LogLeafProof | None  # of `height`; None for the genesis state


@dataclass(slots=True)
class _Held:
    """One height's snapshot: `pins` views use it; it is closed when it is out of the window and unused."""

    snapshot: Snapshot
    layers: Layers  # of the state tree, from the moment of the snapshot
    state_root: bytes
    pins: int = 0
    dropped: bool = False


class View:
    """The state after one height. Close it soon (or use it in a `with`): it keeps old files on the disk."""

    def __init__(self, views: "Views", height: int, held: _Held) -> None:
        self._views = views
        self._held: _Held | None = held
        self.height = height

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, key: bytes) -> bytes | None:
        """The state value under a key after this height. Raises StoreError when the row is damaged."""
        row = rows.STATE + key
        stored = self._open().snapshot.get(row)
        return None if stored is None else rows.unseal(row, stored)

    @property
    def rows(self) -> Snapshot:
        """All rows of the store as they were after this height."""
        return self._open().snapshot

    @property
    def opening(self) -> AppHashOpening:
        """Of the app_hash that the head carries."""
        return AppHashOpening(
            state_root=self._open().state_root,
            log_size=self.height,
            log_root=self._views.store.log_root(self.height),
        )

    def prove(self, keys: Sequence[bytes]) -> ProvenState:
        """Values or absence of up to PROVE_KEYS_MAX keys, each checked before it is handed out.

        Raises Invalid: OVERSIZE for too many keys, HEIGHT_NOT_SERVED while the height has no successor.
        Raises StoreError when a value and the tree contradict each other.
        """
        if len(keys) > PROVE_KEYS_MAX:
            raise Invalid(
                f"{len(keys)} keys are too many; ask for {PROVE_KEYS_MAX} at a time", Reason.OVERSIZE
            )
        held, store = self._open(), self._views.store
        head = self._views.head(self.height)
        chain_id = store.tip.chain_id
        tree = store.tree_at(held.snapshot, held.layers, held.state_root)
        proofs: list[KeyProof] = []
        for key in keys:
            value, proof = self.get(key), tree.prove(key)
            try:
                tree_proof.verify(chain_id, held.state_root, key, value, proof)
            except Invalid as error:
                raise StoreError(
                    f"state value {key.hex()} at height {self.height} contradicts the tree: {error}"
                ) from error
            proofs.append(KeyProof(key, value, proof))
        last_leaf = store.log_leaf_proof(self.height, self.height) if self.height else None
        return ProvenState(self.height, head, self.opening, proofs, last_leaf)

    def close(self) -> None:
        """Releases the view; closing again does nothing."""
        if self._held is not None:
            self._views.release(self._held)
            self._held = None

    def _open(self) -> _Held:
        if self._held is None:
            raise StoreError(f"the view of height {self.height} is closed")
        return self._held


class Views:
    """The snapshots of the last heights. Used by the thread that commits; a View is handed to one thread."""

    def __init__(self, store: Store, heights_kept: int = PROVABLE_HEIGHTS_KEPT) -> None:
        self.store = store
        self._heights_kept = heights_kept
        self._held: dict[int, _Held] = {}
        self._open = 0

    def advance(self) -> None:
        """Takes hold of the tip, which was just committed or opened, and lets go of what is too old."""
        tip = self.store.tip
        self._held[tip.height] = _Held(self.store.snapshot(), self.store.layers, tip.state_root)
        # The tip itself is not provable yet, so that one more is held than is served.
        pages = 0
        for height in sorted(self._held, reverse=True):
            pages += self._held[height].layers.own_pages
            if height >= tip.height - (self._heights_kept if pages <= PAST_PAGES_MAX else 1):
                continue
            held = self._held.pop(height)
            held.dropped = True
            self._close_unused(held)

    def served(self) -> tuple[int, int] | None:
        """The lowest and the highest provable height, or None when there is none."""
        last = self.store.tip.height - 1
        return (min(self._held), last) if last in self._held else None

    def view(self, height: int = 0, *, own: bool = False) -> View:
        """The state after a height; 0 means the newest that is provable. own: for the node itself, which is refused
        none because others hold too many.

        Raises Invalid(HEIGHT_NOT_SERVED) naming the served range, Invalid(POOL_FULL) when too many are open.
        """
        served = self.served()
        if served is None:
            raise Invalid(
                "no height is provable yet: the tip needs a successor, which is due at once",
                Reason.HEIGHT_NOT_SERVED,
            )
        wanted = height or served[1]
        if not served[0] <= wanted <= served[1]:
            raise Invalid(
                f"state of height {wanted} is not served; heights {served[0]} to {served[1]} are",
                Reason.HEIGHT_NOT_SERVED,
            )
        if self._open >= VIEWS_OPEN_MAX and not own:
            raise Invalid(f"{VIEWS_OPEN_MAX} views are open; close some or try again", Reason.POOL_FULL)
        held = self._held[wanted]
        held.pins += 1
        self._open += 1
        return View(self, wanted, held)

    def head(self, height: int) -> BoundaryHeader:
        """Header height + 1, which certifies the state after `height`, with its certificate."""
        if height >= self.store.tip.height:
            raise Invalid(f"height {height} has no successor yet", Reason.HEIGHT_NOT_SERVED)
        return self.signed_header(height + 1)

    def signed_header(self, height: int) -> BoundaryHeader:
        """The header of a decided height with its certificate, and the next set where it is another.

        Raises Invalid(NOT_FOUND).
        """
        boundary = self.store.boundary(height)
        if boundary is not None:
            return boundary
        header = Block.FromString(self.store.block(height)).header
        return BoundaryHeader(height, header, self.store.certificate(height), b"")

    def close(self) -> None:
        """Closes every snapshot; views that are still open cannot be read any more."""
        for held in self._held.values():
            held.snapshot.close()
        self._held = {}

    def release(self, held: _Held) -> None:
        """Gives up one pin of a snapshot, which is closed once it is out of the window too."""
        held.pins -= 1
        self._open -= 1
        self._close_unused(held)

    @staticmethod
    def _close_unused(held: _Held) -> None:
        if held.dropped and held.pins == 0:
            held.snapshot.close()
