"""How a node with an empty store begins with a snapshot of the others, instead of with block 1.

    1. Ask every pinned validator what it offers; a snapshot that f + 1 offer alike, an honest one offers.
    2. Walk the headers from our genesis to the snapshot's height and the one above: the anchor (bridge/anchor.py).
    3. Fetch the chunks, one at a time from each that offers the very same, into a side directory, where they become
       a store that comes to the anchor's hashes (ledger/snapshot_load.py).
    4. The side directory takes the place of the store by one rename.

Whoever lies, stalls, or answers with nothing costs one request and is not asked again for this snapshot. Contents that
do not come to the anchor cost the snapshot and all who offered it. When nothing is left the node goes on with ordinary
block sync, which this is never a condition for. A crash leaves the store as it was, or the whole new one.
"""

import asyncio
import logging
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc

from bridge import anchor as anchors
from client.clock import now_ms
from client.keys import sync_directory
from ledger import snapshot
from ledger.errors import ChiptraceError, Invalid, Malformed, StoreError
from ledger.genesis import decode_genesis
from ledger.recovery import Opened
from ledger.snapshot import SideTables
from ledger.snapshot_load import Anchor
from node.config import NodeConfig, PeerConfig
from node.peer_line import HANDSHAKE_SECONDS, pinned_certificate, pinned_channel
from node.snapshot_fetch import Failed, Fetching, Loading, Peer
from proto.chiptrace.v1.ledger_pb2 import Reason, SnapshotManifest
from proto.chiptrace.v1.node_pb2 import SnapshotListReply

_LOG: Final = logging.getLogger("chiptrace.state_sync")
ROUNDS_MAX: Final = 3  # of asking everyone
# A chain older than this has somebody who knows it: so long a start waits for an answer.
YOUNG_MS: Final = 60_000
PATIENCE_SECONDS: Final = 10.0
RETRY_SECONDS: Final = 0.5
STORE: Final = "chain"
_SIDE: Final = "chain.loading"
_ANEW: Final = "begin-anew"  # a file with the height above which nobody keeps blocks
STUCK_SECONDS: Final = 20  # behind the others at one height, before they are asked whether they keep the next


@dataclass(slots=True)
class Candidate:
    """A snapshot with those who offer it."""

    id: bytes
    height: int
    peers: list[Peer] = field(default_factory=list)


def candidates(
    offers: Sequence[tuple[Peer, SnapshotListReply]], liars_max: int, above: int = 0
) -> list[Candidate]:
    """What to try of what lies above a height, in order: what more than may lie offer alike, highest first; then the
    rest, most offered first.

    Pure. One peer counts once for a snapshot, and not for two of one height.
    """
    found: dict[tuple[bytes, int], Candidate] = {}
    for peer, reply in offers:
        heights: set[int] = set()
        for offer in reply.offers:
            if offer.height in heights or not above < offer.height < reply.height:
                continue
            heights.add(offer.height)
            # By both: one who lies about the height of a snapshot does not stand in the way of who do not.
            candidate = found.setdefault((offer.id, offer.height), Candidate(offer.id, offer.height))
            candidate.peers.append(peer)
    return sorted(
        found.values(),
        key=lambda item: (
            len(item.peers) <= liars_max,
            -item.height if len(item.peers) > liars_max else 0,
            -len(item.peers),
            -item.height,
            item.id,
        ),
    )


class StateSync:
    """One attempt to begin with a snapshot."""

    def __init__(
        self,
        config: NodeConfig,
        genesis: bytes,
        hello: Sequence[tuple[str, str]],
        chain_id: bytes,
        tables: SideTables,
        recoveries: Sequence[Opened] = (),
        above: int = 0,
    ) -> None:
        self._config = config
        self._genesis = genesis
        self._hello = grpc.aio.Metadata(*hello)
        self._chain_id = chain_id
        self._tables = tables
        self._recoveries = recoveries  # applied by the operator of this node
        self._above = above
        self._liars_max = len(config.peers) // 3
        self._loading = config.data_dir / _SIDE
        self._channels: list[grpc.aio.Channel] = []
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="state-sync")

    async def run(self) -> Path | None:
        """A directory with a whole store, closed and durable, to take the place of the node's; None: go on without.

        Raises StoreError or OSError when the disk fails.
        """
        try:
            for _ in range(ROUNDS_MAX):
                peers = await self._reach()
                found = candidates(await self._listed(peers), self._liars_max, self._above)
                if not found:
                    return None
                for candidate in found:
                    if await self._try(candidate):
                        return self._loading
                await asyncio.sleep(RETRY_SECONDS)
            _LOG.warning("no snapshot offered could be loaded: this node fetches every block instead")
            return None
        finally:
            await self._close_channels()
            self._thread.shutdown(wait=True)

    async def lost(self, height: int) -> bool:
        """Whether more than may lie have decided a height, nobody of them keeps its block, and one has a snapshot."""
        try:
            found = [reply for _, reply in await self._listed(await self._reach()) if reply.height >= height]
        finally:
            await self._close_channels()
            self._thread.shutdown(wait=False)
        offered = any(height <= offer.height for reply in found for offer in reply.offers)
        return len(found) > self._liars_max and offered and all(reply.base > height for reply in found)

    # ---- whom to ask ------------------------------------------------------------------------------------

    async def _reach(self) -> list[Peer]:
        """The validators that can be reached: at once in a young chain, else after waiting for enough of them."""
        await self._close_channels()
        born_ms = decode_genesis(self._genesis).time_ms
        patient = now_ms() - born_ms > YOUNG_MS
        deadline = asyncio.get_running_loop().time() + (PATIENCE_SECONDS if patient else 0.0)
        reached: dict[str, Peer] = {}
        while True:
            missing = [peer for peer in self._config.peers if peer.key not in reached]
            for config, peer in zip(missing, await asyncio.gather(*map(self._connect, missing)), strict=True):
                if peer is not None:
                    reached[config.key] = peer
            enough = len(reached) > self._liars_max
            if enough or asyncio.get_running_loop().time() >= deadline:
                return list(reached.values())
            await asyncio.sleep(RETRY_SECONDS)

    async def _connect(self, config: PeerConfig) -> Peer | None:
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                certificate = await pinned_certificate(config, self._config.tls)
        except (OSError, Malformed, TimeoutError) as error:
            _LOG.info("validator not reached", extra={"peer": config.member, "cause": str(error)})
            return None
        channel = pinned_channel(config, self._config.tls, certificate)
        self._channels.append(channel)
        return Peer(config, channel, self._hello)

    async def _listed(self, peers: Sequence[Peer]) -> list[tuple[Peer, SnapshotListReply]]:
        async def ask(peer: Peer) -> tuple[Peer, SnapshotListReply] | None:
            try:
                return peer, await peer.list()
            except Failed as error:
                _LOG.info("no offer", extra={"peer": peer.member, "cause": str(error)})
                return None

        found = [item for item in await asyncio.gather(*map(ask, peers)) if item is not None]
        if found and all(reply.base > 1 and not reply.offers for _, reply in found):
            bases = ", ".join(f"{peer.member}: {reply.base}" for peer, reply in found)
            _LOG.error("nobody reached keeps the first blocks or offers a snapshot", extra={"bases": bases})
        return found

    async def _close_channels(self) -> None:
        for channel in self._channels:
            await channel.close()
        self._channels.clear()

    # ---- one snapshot -------------------------------------------------------------------------------------

    async def _try(self, candidate: Candidate) -> bool:
        """Whether this snapshot is loaded, whole."""
        peers = list(candidate.peers)
        described = None
        while peers and described is None:
            described = await self._describe(candidate, peers)
        if described is None:
            return False
        anchor, manifest = described
        size = SnapshotManifest.FromString(manifest).size
        free = shutil.disk_usage(self._config.data_dir).free
        # The rows of the store have about the bytes of the stream again in hashes and pages.
        if free < 3 * size:
            _LOG.error("too little room for the snapshot", extra={"needed": 3 * size, "free": free})
            return False
        extra = {"height": candidate.height, "bytes": size, "peers": [peer.member for peer in peers]}
        _LOG.info("loading a snapshot", extra=extra)
        loading = Loading(self._loading, self._genesis, self._tables, self._thread)
        try:
            await loading.open(self._chain_id, anchor, manifest)
            await Fetching(candidate.id, loading, peers).run()
        except (Malformed, Invalid) as error:
            await loading.abandon()
            _LOG.error(
                "a snapshot was refused, with everyone who offers it", extra=extra | {"cause": str(error)}
            )
            return False
        except Failed as error:
            await loading.abandon()
            _LOG.warning("a snapshot was given up", extra=extra | {"cause": str(error)})
            return False
        except (StoreError, OSError):
            await loading.abandon()
            raise
        except Exception:
            # It went into a directory of its own, so that contents which upset us are only refused, whoever made them.
            await loading.abandon()
            _LOG.exception("a snapshot was refused: loading it failed", extra=extra)
            return False
        except BaseException:
            await loading.abandon()
            raise
        await loading.close()
        _LOG.info("snapshot loaded", extra=extra)
        return True

    async def _describe(self, candidate: Candidate, peers: list[Peer]) -> tuple[Anchor, bytes] | None:
        """Anchor and manifest from one of the peers; it is left out from then on when they are not right."""
        peer = peers[0]
        try:
            reply = await peer.describe(candidate.id)
            if snapshot.manifest_id(self._chain_id, reply.manifest) != candidate.id:
                raise Failed("it describes another snapshot")
            height = snapshot.decode_manifest(self._chain_id, reply.manifest).height
            accepted = [opened.hash for opened in self._recoveries]
            walk = anchors.begin(self._genesis, self._chain_id, accepted)
            await peer.pass_boundaries(walk, height)
            anchor = anchors.anchor(
                walk, reply.last, reply.head, reply.opening, now_ms(), self._config.snapshots.checkpoint
            )
            if anchor.height != height:
                raise Failed("it shows headers of another height")
            anchors.check_recoveries(anchor, self._recoveries)
        except (Failed, ChiptraceError) as error:
            _LOG.warning("offer refused", extra={"peer": peer.member, "cause": str(error)})
            peers.remove(peer)
            return None
        return anchor, reply.manifest


def install(data_dir: Path, made: Path, height: int = 0) -> None:
    """Puts a whole store in the place of one that ends at a height; both are closed. An old one with blocks is kept
    beside it, under another name: nobody else may have them. Raises OSError."""
    target = data_dir / STORE
    if height:
        target.rename(data_dir / f"{STORE}-until-{height}")
    shutil.rmtree(target, ignore_errors=True)
    made.rename(target)
    sync_directory(data_dir)
    # Here, and not before, the node's store is the snapshot's. A crash before leaves an empty one, made anew.
    (data_dir / _ANEW).unlink(missing_ok=True)


def clear(data_dir: Path) -> None:
    """Removes what an earlier start did not finish."""
    shutil.rmtree(data_dir / _SIDE, ignore_errors=True)


def is_to_begin_anew(data_dir: Path, height: int) -> bool:
    """Whether this node has found that it can go on from this height only with a snapshot. One that has gone on since
    keeps its store."""
    try:
        return (data_dir / _ANEW).read_text(encoding="ascii", errors="replace") == str(height)
    except FileNotFoundError:
        return False


async def watch(
    data_dir: Path, height: Callable[[], int], is_behind: Callable[[], bool], attempt: Callable[[], StateSync]
) -> None:
    """For ever; raises Invalid(PRUNED) when the next block is to be had of nobody any more. The next start then begins
    with a snapshot."""
    seen, seconds, behind = -1, 0, False
    while True:
        await asyncio.sleep(1.0)
        if height() != seen:
            seen, seconds, behind = height(), 0, False
        seconds += 1
        behind = behind or is_behind()
        if seconds < STUCK_SECONDS or not behind:
            continue
        if await attempt().lost(seen + 1) and height() == seen:
            (data_dir / _ANEW).write_text(str(seen), encoding="ascii")
            raise Invalid(
                f"no validator keeps block {seen + 1} any more; started again, this node begins with a snapshot",
                Reason.PRUNED,
            )
        seconds, behind = 0, False
