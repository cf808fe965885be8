"""Beginning with a snapshot among validators of whom some lie: what is tried, in which order, and what it costs."""

import asyncio
import random
import shutil
from types import SimpleNamespace

import pytest

from bridge import anchor as anchors
from bridge import machine
from ledger import rows, snapshot
from ledger.application import Application
from ledger.block import decode_header
from ledger.errors import Invalid, StoreError
from ledger.leveldb import LevelKV
from ledger.limits import SNAPSHOT_CHUNK_BYTES, TRANSACTION_VALIDITY_MS_MAX
from ledger.snapshot_load import SnapshotLoader
from ledger.store import Store
from node import server, snapshot_fetch, state_sync, testnet_layout
from node.config import NodeConfig, SnapshotConfig, read
from node.services import _history as stored_history
from node.snapshot_fetch import Failed
from node.state_sync import StateSync, candidates, clear, install, is_to_begin_anew
from node.testnet_plan import one_chain
from proto.chiptrace.v1.consensus_pb2 import BoundaryReply, SignedHeader
from proto.chiptrace.v1.ledger_pb2 import Reason, SnapshotManifest
from proto.chiptrace.v1.node_pb2 import HistoryRequest, SnapshotListReply, SnapshotOffer, SnapshotReply
from tests.bridge.offered import Shown, taken, turn_set
from tests.bridge.recovered import recover
from tests.bridge.two_chains import BridgedChain, Clock, object_event, on_the_wire, serial
from tests.ledger import toy_tables as toy
from tests.ledger.chain_fixture import Chain
from tests.ledger.snapshot_fixture import Taken, manifest_of, rewritten

MEMBERS = "abcd"


@pytest.fixture(scope="module")
def chain():
    """A chain whose snapshots have several chunks, with a change of set before them."""
    found = BridgedChain("a", Clock())
    for number in range(60):
        assert found.operate("ada", object_event("ADD", "commissioning", serial(number), number=number))
    turn_set(found)
    for _ in range(4):
        found.produce()
    return found


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Chunks of a few kilobytes, and no waiting."""
    monkeypatch.setattr(snapshot, "SNAPSHOT_CHUNK_BYTES", 4_096)
    monkeypatch.setattr(state_sync, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(snapshot_fetch, "ANSWER_SECONDS", 0.2)
    assert SNAPSHOT_CHUNK_BYTES > 4_096


class Honest:
    """A peer that gives snapshots of these heights, and counts what it is asked."""

    def __init__(self, chain, *heights, member="honest"):
        self.chain, self.member = chain, member
        self.base = 1
        self.found = {}
        for height in heights or (chain.height - 2,):
            stream = b"".join(taken(chain, height)[0])
            chunks = [stream[at : at + 4_096] for at in range(0, len(stream), 4_096)]
            manifest = manifest_of(chain.chain_id, height, chunks)
            self.found[snapshot.manifest_id(chain.chain_id, manifest)] = (height, manifest, chunks)
        self.asked = []
        self.busy = 0

    async def list(self):
        self.asked.append("list")
        offers = [SnapshotOffer(height=found[0], id=id_) for id_, found in self.found.items()]
        return SnapshotListReply(offers=offers, height=self.chain.height, base=self.base)

    def shown(self, height):
        return Shown(self.chain, height)

    async def describe(self, id_):
        self.asked.append("describe")
        height, manifest, _ = self.found[id_]
        shown = self.shown(height)
        return SnapshotReply(manifest=manifest, last=shown.last, head=shown.head, opening=shown.opening)

    async def pass_boundaries(self, walk, height):
        self.asked.append("boundaries")
        walk.pass_boundaries(self.shown(height).boundaries, self.chain.info.time_ms)

    async def load(self, id_, index):
        self.asked.append(index)
        self.busy += 1
        assert self.busy == 1, "one chunk at a time"
        try:
            await asyncio.sleep(0)
            return await self.chunk(self.found[id_][2], index)
        finally:
            self.busy -= 1

    async def chunk(self, chunks, index):
        return chunks[index]

    @property
    def chunks_asked(self):
        return [item for item in self.asked if isinstance(item, int)]


class Flipper(Honest):
    async def chunk(self, chunks, index):
        return chunks[index][:-1] + bytes([chunks[index][-1] ^ 1])


class Empty(Honest):
    async def chunk(self, chunks, index):
        return b""


class Endless(Honest):
    async def chunk(self, chunks, index):
        return chunks[index] + bytes(1_000_000)


class Mixer(Honest):
    async def chunk(self, chunks, index):
        return chunks[index - 1]


class Refuser(Honest):
    async def chunk(self, chunks, index):
        raise Failed("no")


class Staller(Honest):
    async def chunk(self, chunks, index):
        await asyncio.sleep(0.05)
        raise Failed("DEADLINE_EXCEEDED")


class Quitter(Honest):
    """Gives the first chunk, then nothing."""

    async def chunk(self, chunks, index):
        if len(self.chunks_asked) > 1:
            raise Failed("gone")
        return chunks[index]


class Forger(Honest):
    """Its manifest fits its chunks, and they are those of another state."""

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        forged = {}
        for height, _, chunks in self.found.values():
            stream = bytearray(b"".join(chunks))
            stream[len(stream) * 2 // 3] ^= 1
            cut = [bytes(stream[at : at + 4_096]) for at in range(0, len(stream), 4_096)]
            manifest = manifest_of(self.chain.chain_id, height, cut)
            forged[snapshot.manifest_id(self.chain.chain_id, manifest)] = (height, manifest, cut)
        self.found = forged


class Misdescriber(Honest):
    """Describes something else: by turns another manifest, no headers, another height, another opening."""

    def __init__(self, *arguments, how=0, **named):
        super().__init__(*arguments, **named)
        self.how = how

    async def describe(self, id_):
        reply = await super().describe(id_)
        if self.how == 0:
            reply.manifest = rewritten(reply.manifest, size=5)
        elif self.how == 1:
            reply.last.CopyFrom(SignedHeader())
        elif self.how == 2:
            reply.head.CopyFrom(self.chain.header(reply_height(reply) + 2))
        elif self.how == 3:
            reply.opening.state_root = bytes(32)
        elif self.how == 4:
            raise Failed("no")
        elif self.how == 6:  # all of it right, of another height
            shown = self.shown(reply_height(reply) - 1)
            for name in ("last", "head", "opening"):
                getattr(reply, name).CopyFrom(getattr(shown, name))
        elif self.how == 5:  # well formed, and of other chunks
            found = SnapshotManifest.FromString(reply.manifest)
            reply.manifest = rewritten(reply.manifest, chunks=list(reversed(found.chunks)))
        else:
            reply.manifest = b"\xff" * 100
        return reply


class Boundless(Honest):
    async def pass_boundaries(self, walk, height):
        walk.pass_boundaries([self.chain.header(2)] * 3, self.chain.info.time_ms)


def reply_height(reply):
    return SnapshotManifest.FromString(reply.manifest).height


@pytest.fixture
def sync(chain, tmp_path, run, monkeypatch):
    """Runs a state sync among these peers; the store made, or None."""

    def synced(*peers, checkpoint=None):
        monkeypatch.setattr(state_sync, "now_ms", lambda: chain.info.time_ms)
        snapshots = SnapshotConfig()
        if checkpoint is not None:
            snapshots = SnapshotConfig(checkpoint_height=checkpoint[0], checkpoint_hash=checkpoint[1].hex())
        config = SimpleNamespace(peers=tuple(peers), data_dir=tmp_path, snapshots=snapshots)

        async def work():
            attempt = StateSync(config, chain.genesis, (), chain.chain_id, machine.side_tables())

            async def reached():
                return list(peers)

            attempt._reach = reached
            return await attempt.run()

        return run(work())

    return synced


def check(chain, directory, tmp_path):
    """What was made is the chain, and goes on with it."""
    install(tmp_path, directory)
    kv = LevelKV(tmp_path / "chain")
    try:
        app = Application(kv, chain.operations, chain.changes)
        height = app.info().height
        assert app.store.base == height
        for number in range(height + 1, chain.height + 1):
            data = chain.app.store.block(number)
            app.commit(data, app.finalize_block(data), chain.app.store.certificate(number))
        assert app.info() == chain.info
        app.views.close()
    finally:
        kv.close()
    return height


# ---- what is tried ------------------------------------------------------------------------------------------


def offers(*items, height=100):
    return SnapshotListReply(offers=[SnapshotOffer(id=i, height=h) for i, h in items], height=height)


def test_what_more_than_may_lie_offer_goes_first_the_highest_of_it():
    a, b, c, d = (SimpleNamespace(member=name) for name in MEMBERS)
    found = candidates(
        [
            (a, offers((b"new", 90), (b"old", 80))),
            (b, offers((b"new", 90), (b"old", 80))),
            (c, offers((b"old", 80), (b"lie", 99))),
            (d, offers((b"other", 90))),
        ],
        liars_max=1,
    )
    assert [item.id for item in found] == [b"new", b"old", b"lie", b"other"]
    assert [len(item.peers) for item in found] == [2, 3, 1, 1]


def test_one_peer_counts_once_and_offers_nothing_above_what_it_has_decided():
    a = SimpleNamespace(member="a")
    many = offers((b"x", 5), (b"x", 5), (b"y", 5), (b"z", 100), (b"w", 101), (b"v", 0), (b"u", 99))
    found = candidates([(a, many)], 0)
    assert [(item.id, item.height, len(item.peers)) for item in found] == [(b"u", 99, 1), (b"x", 5, 1)]


def test_who_lies_about_a_height_stands_in_nobodys_way():
    a, b, c = (SimpleNamespace(member=name) for name in "abc")
    found = candidates([(a, offers((b"x", 9))), (b, offers((b"x", 6))), (c, offers((b"x", 6)))], 1)
    assert [(item.height, item.peers) for item in found] == [(6, [b, c]), (9, [a])]


# ---- honest peers -------------------------------------------------------------------------------------------


def test_an_empty_store_begins_with_the_newest_that_all_offer(chain, sync, tmp_path):
    heights = (chain.height - 2, chain.height - 3)
    peers = [Honest(chain, *heights, member=name) for name in MEMBERS]
    assert check(chain, sync(*peers), tmp_path) == chain.height - 2
    asked = sorted(index for peer in peers for index in peer.chunks_asked)
    count = len(next(iter(peers[0].found.values()))[2])
    assert count > 10
    assert asked == list(range(count))  # each once
    assert all(peer.chunks_asked for peer in peers)  # of everyone


def test_without_an_offer_it_goes_on_without(chain, sync, tmp_path):
    peers = [Honest(chain, member=name) for name in MEMBERS]
    for peer in peers:
        peer.found = {}
    assert sync(*peers) is None
    assert sync() is None
    assert list(tmp_path.iterdir()) == []


def test_one_peer_is_enough(chain, sync, tmp_path):
    assert check(chain, sync(Honest(chain)), tmp_path) == chain.height - 2


def test_boundaries_are_asked_for_page_by_page_up_to_the_height(run, monkeypatch):
    chain = BridgedChain("a", Clock())
    turn_set(chain, 5)
    for _ in range(3):
        chain.produce()
    pages = []

    async def page(request, **_):
        found = [on_the_wire(item) for item in chain.app.store.boundaries(request.from_height - 1, 2)]
        pages.append([decode_header(item.header).height for item in found])
        return BoundaryReply(headers=found)

    monkeypatch.setattr(snapshot_fetch, "HEADERS_PER_REPLY_MAX", 2)
    monkeypatch.setattr(snapshot_fetch, "now_ms", lambda: chain.info.time_ms)
    peer = object.__new__(snapshot_fetch.Peer)
    peer._stub, peer._hello = SimpleNamespace(Boundaries=page), None
    turned = [item.height for item in chain.app.store.boundaries(0, 10)]
    assert len(turned) == 5
    for height in range(1, chain.height + 1):
        pages.clear()
        walk = anchors.begin(chain.genesis, chain.chain_id)
        run(peer.pass_boundaries(walk, height))
        assert [item.height for item in walk.boundaries] == [h for h in turned if h <= height]
        assert len(pages) <= 3


# ---- liars ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Flipper, Empty, Endless, Mixer, Refuser, Staller])
def test_whoever_sends_no_good_chunk_is_asked_once(chain, sync, tmp_path, kind):
    liar, honest = kind(chain, member="liar"), Honest(chain)
    assert check(chain, sync(liar, honest), tmp_path) == chain.height - 2
    assert len(liar.chunks_asked) == 1


def test_who_gives_up_on_the_way_costs_one_more_request(chain, sync, tmp_path):
    quitter, honest = Quitter(chain, member="quitter"), Honest(chain)
    assert check(chain, sync(quitter, honest), tmp_path) == chain.height - 2
    assert len(quitter.chunks_asked) == 2


def test_a_snapshot_that_only_liars_offer_is_refused_with_them_and_the_next_is_taken(
    chain, sync, tmp_path, caplog
):
    """Even if they are more than may lie: the hashes tell, not the number."""
    forgers = [Forger(chain, chain.height - 2, member=name) for name in "xyz"]
    honest = [Honest(chain, chain.height - 3, member=name) for name in "ab"]
    assert check(chain, sync(*forgers, *honest), tmp_path) == chain.height - 3
    assert "refused" in caplog.text


def test_with_liars_alone_the_node_goes_on_with_ordinary_sync(chain, sync, tmp_path, caplog):
    kinds = [Forger, Flipper, Empty, Refuser]
    peers = [kind(chain, member=kind.__name__) for kind in kinds]
    assert sync(*peers) is None
    assert list(tmp_path.iterdir()) == [tmp_path / "snapshots"]
    assert "fetches every block" in caplog.text
    for peer in peers[1:]:
        assert len(peer.chunks_asked) <= state_sync.ROUNDS_MAX


@pytest.mark.parametrize("how", range(8))
def test_who_describes_it_wrongly_is_left_out(chain, sync, tmp_path, how):
    liar, honest = Misdescriber(chain, how=how, member="liar"), Honest(chain)
    assert check(chain, sync(liar, honest), tmp_path) == chain.height - 2
    assert liar.asked.count("describe") == 1
    assert liar.chunks_asked == []
    assert sorted(honest.chunks_asked) == list(range(len(next(iter(honest.found.values()))[2])))


def test_who_shows_wrong_boundaries_is_left_out(chain, sync, tmp_path):
    assert check(chain, sync(Boundless(chain), Honest(chain)), tmp_path) == chain.height - 2


def test_the_checkpoint_of_the_configuration_must_be_in_the_log(chain, sync, tmp_path):
    right = chain.app.store.log_leaf(3).block_hash
    assert sync(Honest(chain), checkpoint=(3, bytes(32))) is None
    assert sync(Honest(chain), checkpoint=(chain.height, right)) is None
    assert check(chain, sync(Honest(chain), checkpoint=(3, right)), tmp_path) == chain.height - 2


def test_who_shows_the_old_set_going_on_past_a_recovery_applied_here_is_left_out(
    tmp_path, run, monkeypatch, caplog
):
    """The headers are good; but the store made of them could not be opened beside the recovery."""
    old, recovered = BridgedChain("a", Clock()), BridgedChain("a", Clock())
    opened = recover(recovered)
    for chain in (old, recovered):
        for _ in range(6):
            chain.produce()
    monkeypatch.setattr(state_sync, "now_ms", lambda: max(old.info.time_ms, recovered.info.time_ms))

    def began(*peers, recoveries=(opened,)):
        config = SimpleNamespace(peers=peers, data_dir=tmp_path, snapshots=SnapshotConfig())
        arguments = (config, old.genesis, (), old.chain_id, machine.side_tables(), recoveries)

        async def work():
            attempt = StateSync(*arguments)

            async def reached():
                return list(peers)

            attempt._reach = reached
            return await attempt.run()

        made = run(work())
        clear(tmp_path)
        return made is not None

    assert opened.height < old.height - 2
    assert not began(Honest(old))
    assert "without the recovery" in caplog.records[0].cause
    assert began(Honest(old), recoveries=())
    assert began(Honest(old), Honest(old), Honest(recovered))


def test_contents_that_upset_the_loader_cost_the_snapshot_and_not_the_node(
    chain, sync, tmp_path, monkeypatch
):
    monkeypatch.setattr(SnapshotLoader, "_take_entry", lambda *_: {}["unforeseen"])
    assert sync(Honest(chain)) is None
    assert list(tmp_path.iterdir()) == [tmp_path / "snapshots"]


def test_a_disk_that_fails_while_loading_is_no_fault_of_the_snapshot(chain, sync, monkeypatch):
    def failing(*_):
        raise StoreError("no room")

    monkeypatch.setattr(SnapshotLoader, "_flush", failing)
    with pytest.raises(StoreError):
        sync(Honest(chain))


def test_an_old_signing_record_is_refused_by_the_store_that_a_snapshot_replaces(tmp_path, run):
    """The store that saw the record last is asked before it goes: the snapshot's knows nothing of it."""
    testnet_layout.create(tmp_path / "net", 0, (), one_chain(4))
    path = next((tmp_path / "net").glob("nodes/*/node.toml"))

    async def work():
        node = server.Node(path)
        config = node._config
        made = config.data_dir / "chain.loading"

        class Attempt:
            async def run(self):
                store_of(made, b"")
                return made

        node._state_sync = lambda *_: Attempt()
        store_of(config.data_dir / "chain", node._signer.key + (10**6).to_bytes(8, "big"))
        try:
            await node._open_chain()
            assert not made.exists()
            assert "older than the database" in node._signer.trouble
        finally:
            await node._host.stop()
            node._signer.close()

    def store_of(directory, note):
        directory.parent.mkdir(exist_ok=True)
        kv = LevelKV(directory)
        genesis = read(path, NodeConfig).genesis.read_bytes()
        Application(kv, machine.operations(), machine.changes()).init_chain(genesis)
        kv.write([rows.sealed(rows.NOTE, note)] if note else [])
        kv.close()

    run(work())


def test_too_little_room_is_said_and_nothing_is_written(chain, sync, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(state_sync.shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000))
    assert sync(Honest(chain)) is None
    assert list(tmp_path.iterdir()) == []
    assert "too little room" in caplog.text


def test_a_snapshot_that_takes_more_room_than_it_said_is_given_up(chain, sync, tmp_path, monkeypatch):
    """Before the disk is full, which would end the node."""
    least = snapshot_fetch.ROOM_LEFT_BYTES_MIN
    free = [10**12, 10**12, least]
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _: SimpleNamespace(free=free.pop(0) if free else least - 1)
    )
    monkeypatch.setattr(state_sync, "ROUNDS_MAX", 1)
    assert sync(Honest(chain)) is None
    assert free == []
    assert list(tmp_path.iterdir()) == [tmp_path / "snapshots"]


class Slow(Honest):
    """Gives every chunk, each at the last moment."""

    async def chunk(self, chunks, index):
        await asyncio.sleep(3_600)
        return chunks[index]


@pytest.mark.parametrize("ahead", [2, 3, 1_000])
def test_who_is_slow_does_not_set_the_pace(chain, sync, tmp_path, monkeypatch, ahead):
    """What all wait for is asked of somebody else, as soon as there is somebody."""
    monkeypatch.setattr(snapshot_fetch, "CHUNKS_AHEAD_MAX", ahead)
    monkeypatch.setattr(snapshot_fetch, "PATIENCE_SECONDS", 0.01)
    slow, honest = Slow(chain), Honest(chain)
    assert check(chain, sync(slow, honest), tmp_path) == chain.height - 2
    count = len(next(iter(honest.found.values()))[2])
    assert count > 2 * 3
    assert (slow.chunks_asked, sorted(honest.chunks_asked)) == ([0], list(range(count)))


def test_any_mixture_with_one_honest_peer_gets_there(chain, sync, tmp_path):
    random_ = random.Random(5)
    kinds = [Flipper, Empty, Mixer, Refuser, Quitter, Forger, Misdescriber, Boundless]
    for _ in range(6):
        peers = [random_.choice(kinds)(chain, member=str(n)) for n in range(3)] + [Honest(chain)]
        random_.shuffle(peers)
        directory = sync(*peers)
        assert directory is not None
        clear(tmp_path)


# ---- the place of the store -------------------------------------------------------------------------------------


def test_a_crash_before_the_rename_leaves_a_store_without_a_chain(chain, sync, tmp_path):
    made = sync(Honest(chain))
    (tmp_path / "chain").mkdir()
    clear(tmp_path)  # as the next start does
    assert not made.exists()
    kv = LevelKV(tmp_path / "chain")
    assert Store(kv).empty
    kv.close()


def test_a_half_loaded_store_is_never_taken_for_one(chain, sync, tmp_path, monkeypatch):
    """The process dies between two chunks: what is there has no tip, is no chain, and is cleared."""
    left = []
    real = snapshot_fetch.Loading.abandon

    async def died(self):
        self._kv.close()
        kv = LevelKV(self._directory)
        left.append(Store(kv).empty)
        kv.close()
        await real(self)

    monkeypatch.setattr(snapshot_fetch.Loading, "abandon", died)
    assert sync(Quitter(chain)) is None
    assert left == [True] * len(left)
    assert left


# ---- what such a node answers -------------------------------------------------------------------------------------


def test_entries_come_with_their_transactions_or_with_the_reason_why_not():
    """An audit without the transaction behind an entry would end in doubt; so it is sent to another node."""
    whole = toy_chain()
    whole.submit("ada", toy.put("old"))
    whole.produce([], whole.info.time_ms + 2 * TRANSACTION_VALIDITY_MS_MAX)
    whole.submit("ada", toy.put("new"))
    whole.produce([])
    store = Taken(whole).follower().app.store
    for name in ("old", "new"):
        request = HistoryRequest(subject=toy.value_key(name))
        assert stored_history(store, request) == stored_history(whole.app.store, request)
        request.with_transactions = True
        ours = stored_history(whole.app.store, request)
        assert all(item.transaction for item in ours.items)
        if name == "new":
            assert stored_history(store, request) == ours
            continue
        with pytest.raises(Invalid, match=f"base {store.base}") as error:
            stored_history(store, request)
        assert error.value.reason == Reason.PRUNED


def toy_chain():
    return Chain(operations=toy.OPERATIONS, changes=toy.CHANGES)


def test_a_node_told_to_stop_while_it_loads_leaves_nothing_behind(chain, tmp_path, run, monkeypatch):
    class Slow(Honest):
        async def chunk(self, chunks, index):
            if index:
                waiting.set()
                await asyncio.sleep(60)
            return chunks[index]

    waiting = asyncio.Event()

    async def work():
        monkeypatch.setattr(state_sync, "now_ms", lambda: chain.info.time_ms)
        peer = Slow(chain)
        config = SimpleNamespace(peers=(peer,), data_dir=tmp_path, snapshots=SnapshotConfig())
        attempt = StateSync(config, chain.genesis, (), chain.chain_id, machine.side_tables())

        async def reached():
            return [peer]

        attempt._reach = reached
        task = asyncio.create_task(attempt.run())
        await waiting.wait()
        assert (tmp_path / "chain.loading").exists()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()

    run(work())
    assert not (tmp_path / "chain.loading").exists()


# ---- behind what anyone keeps -------------------------------------------------------------------------------------


def lost(chain, tmp_path, run, *peers, height):
    config = SimpleNamespace(peers=peers, data_dir=tmp_path, snapshots=SnapshotConfig())
    attempt = StateSync(config, chain.genesis, (), chain.chain_id, machine.side_tables())

    async def reached():
        return list(peers)

    attempt._reach = reached
    return run(attempt.lost(height))


def test_a_height_is_lost_when_nobody_who_decided_it_keeps_it_and_a_snapshot_is_offered(chain, tmp_path, run):
    def peers(*bases):
        found = [Honest(chain, member=str(base)) for base in bases]
        for peer, base in zip(found, bases, strict=True):
            peer.base = base
        return found

    assert lost(chain, tmp_path, run, *peers(50, 50, 60), height=40)
    assert not lost(chain, tmp_path, run, *peers(50, 50, 40), height=40)  # one keeps it
    assert not lost(chain, tmp_path, run, *peers(50), *[silent(chain)] * 2, height=40)  # one may lie
    assert not lost(chain, tmp_path, run, *peers(99, 99, 99), height=chain.height + 1)  # not decided yet
    without = peers(50, 50, 60)
    for peer in without:
        peer.found = {}
    assert not lost(chain, tmp_path, run, *without, height=40)  # nothing to begin with


def silent(chain):
    found = Honest(chain)

    async def nothing():
        raise Failed("no")

    found.list = nothing
    return found


def watched(tmp_path, run, monkeypatch, heights, *, behind=True, gone=True):
    """Runs the watch over these heights, one a second; whether it has found that the node must begin anew."""
    monkeypatch.setattr(state_sync, "STUCK_SECONDS", 5)
    left, real = list(heights), asyncio.sleep

    async def second(_):
        left.pop(0)
        if not left:
            raise asyncio.CancelledError
        await real(0)

    class Attempt:
        async def lost(self, height):
            assert height == left[0] + 1
            return gone

    async def work():
        monkeypatch.setattr(state_sync.asyncio, "sleep", second)
        try:
            await state_sync.watch(tmp_path, lambda: left[0], lambda: behind, Attempt)
        except asyncio.CancelledError:
            return False
        finally:
            monkeypatch.setattr(state_sync.asyncio, "sleep", real)

    try:
        return run(work())
    except Invalid:
        return True


def test_a_node_that_stands_still_behind_what_is_kept_says_so_and_begins_anew(tmp_path, run, monkeypatch):
    assert not watched(tmp_path, run, monkeypatch, range(30))
    assert not watched(tmp_path, run, monkeypatch, [7] * 30, behind=False)
    assert not watched(tmp_path, run, monkeypatch, [7] * 30, gone=False)
    assert not is_to_begin_anew(tmp_path, 7)
    assert watched(tmp_path, run, monkeypatch, [7] * 30)
    assert is_to_begin_anew(tmp_path, 7)
    assert not is_to_begin_anew(tmp_path, 8)  # somebody had the block after all


def test_an_old_store_stays_beside_the_new_one(chain, sync, tmp_path):
    (tmp_path / "chain").mkdir()
    (tmp_path / "chain" / "old").touch()
    (tmp_path / "begin-anew").write_text("17")
    install(tmp_path, sync(Honest(chain)), 17)
    assert (tmp_path / "chain-until-17" / "old").exists()
    assert not is_to_begin_anew(tmp_path, 17)
    kv = LevelKV(tmp_path / "chain")
    assert Store(kv).tip.height == chain.height - 2
    kv.close()


def test_only_what_lies_above_the_own_store_is_of_use():
    a = SimpleNamespace(member="a")
    found = candidates([(a, offers((b"x", 5), (b"y", 6)))], 0, above=5)
    assert [item.id for item in found] == [b"y"]
