import pytest

from ledger import block, merkle, state, tree, tree_proof, view
from ledger.errors import Invalid, StoreError
from ledger.kv import MemoryKV
from ledger.limits import PROVABLE_HEIGHTS_KEPT, PROVE_KEYS_MAX
from ledger.view import VIEWS_OPEN_MAX, View, Views
from proto.chiptrace.v1.ledger_pb2 import AttestationRecord, Header, Reason
from tests.ledger import toy_tables as toy
from tests.ledger.chain_fixture import Chain
from tests.ledger.faulty_kv import Disk, FaultyKV

KEY = toy.value_key("a")


def toy_chain(kv=None):
    return Chain(operations=toy.OPERATIONS, changes=toy.CHANGES, kv=kv)


@pytest.fixture
def chain():
    return toy_chain()


def believe(chain, proven):
    """What an auditor does with it, from the header on (whose certificate the ledger knows nothing about)."""
    header = Header.FromString(proven.head.header)
    assert header.height == proven.height + 1 == proven.head.height
    assert proven.head.certificate == b"certificate of height %d" % header.height
    assert block.app_hash(chain.chain_id, proven.opening) == header.app_hash
    assert proven.opening.log_size == proven.height
    for item in proven.keys:
        tree_proof.verify(chain.chain_id, proven.opening.state_root, item.key, item.value, item.proof)
    if proven.height == 0:
        assert proven.last_leaf is None
        assert proven.opening.log_root == merkle.EMPTY_ROOT
        return
    leaf = block.parse_log_leaf(proven.last_leaf.leaf)
    assert (leaf.height, leaf.state_root) == (proven.height, proven.opening.state_root)
    assert proven.last_leaf.inclusion.size == proven.height
    assert proven.last_leaf.inclusion.index == proven.height - 1
    leaf_hash = block.log_leaf_hash(chain.chain_id, proven.last_leaf.leaf)
    merkle.verify_inclusion(leaf_hash, proven.last_leaf.inclusion, proven.opening.log_root)


def scope_of(proven):
    return AttestationRecord.FromString(proven.keys[0].value).scope


def test_every_height_proves_its_own_values(chain):
    for height in range(1, 8):
        chain.submit("ada", toy.put("a", str(height)))
    assert chain.app.views.served() == (0, 6)
    for height in range(1, 7):
        proven = chain.prove(KEY, toy.value_key("absent"), height=height)
        believe(chain, proven)
        assert scope_of(proven) == str(height)
        assert proven.keys[1].value is None


def test_the_genesis_state_is_proven_by_header_1(chain):
    with pytest.raises(Invalid) as refusal:
        chain.app.prove([KEY])
    assert refusal.value.reason == Reason.HEIGHT_NOT_SERVED
    chain.produce()
    proven = chain.app.prove([state.PARAMETERS_KEY, KEY])
    assert proven.height == 0
    believe(chain, proven)


def test_zero_means_the_newest_height_with_a_successor(chain):
    for height in range(1, 5):
        chain.submit("ada", toy.put("a", str(height)))
    proven = chain.app.prove([KEY])
    believe(chain, proven)
    assert proven.height == 3


@pytest.mark.parametrize(("pages", "served"), [(0, 1), (9, 2), (30, 9), (10**6, 21)])
def test_fewer_heights_are_served_when_each_changed_many_pages(chain, monkeypatch, pages, served):
    monkeypatch.setattr(view, "PAST_PAGES_MAX", pages)
    monkeypatch.setattr(tree, "RUN_MAX", 1)  # so that a few keys have more pages than the root's
    for height in range(1, 22):
        chain.submit("ada", toy.put("a", str(height)))
    changed = {held.layers.own_pages for height, held in chain.app.views._held.items() if height}
    assert changed == {3}  # and one of these heights is the tip, which is not served
    lowest, highest = chain.app.views.served()
    assert highest == 20
    assert highest - lowest + 1 == served
    for height in range(max(1, lowest), highest + 1):
        proven = chain.prove(KEY, height=height)
        believe(chain, proven)
    with pytest.raises(Invalid) as refusal:
        chain.app.views.view(lowest - 1) if lowest else chain.app.views.view(21)
    assert refusal.value.reason == Reason.HEIGHT_NOT_SERVED


@pytest.mark.parametrize("height", [6, 7, 5_000])
def test_the_tip_and_what_comes_after_are_not_served(chain, height):
    for _ in range(6):
        chain.produce()
    with pytest.raises(Invalid) as refusal:
        chain.app.prove([KEY], height)
    assert refusal.value.reason == Reason.HEIGHT_NOT_SERVED
    assert "heights 0 to 5" in str(refusal.value)


def test_as_many_heights_are_served_as_the_limit_says_and_no_snapshot_stays_open():
    kv = FaultyKV(Disk())
    taken = []
    honest = kv.snapshot

    def snapshot():
        taken.append(honest())
        return taken[-1]

    kv.snapshot = snapshot
    chain = toy_chain(kv)
    for height in range(1, PROVABLE_HEIGHTS_KEPT + 10):
        chain.submit("ada", toy.put("a", str(height)))
        last = chain.height - 1
        assert chain.app.views.served() == (max(0, chain.height - PROVABLE_HEIGHTS_KEPT), last)
    low, high = chain.app.views.served()
    assert high - low + 1 == PROVABLE_HEIGHTS_KEPT
    for height in (low, high):
        assert scope_of(chain.prove(KEY, height=height)) == str(height)
    with pytest.raises(Invalid):
        chain.app.prove([KEY], low - 1)
    assert sum(not snapshot.closed for snapshot in taken) == PROVABLE_HEIGHTS_KEPT + 1
    chain.app.close()
    assert all(snapshot.closed for snapshot in taken)


def test_after_a_restart_the_tip_is_provable_with_its_successor_and_nothing_else(chain):
    for height in range(1, 5):
        chain.submit("ada", toy.put("a", str(height)))
    chain.restart()
    assert chain.app.views.served() is None
    with pytest.raises(Invalid):
        chain.app.prove([KEY], 2)
    chain.produce()
    assert chain.app.views.served() == (4, 4)
    proven = chain.app.prove([KEY])
    believe(chain, proven)
    assert scope_of(proven) == "4"


def test_too_many_keys_are_refused(chain):
    chain.produce()
    keys = [toy.value_key(str(number)) for number in range(PROVE_KEYS_MAX + 1)]
    assert len(chain.app.prove(keys[1:]).keys) == PROVE_KEYS_MAX
    with pytest.raises(Invalid) as refusal:
        chain.app.prove(keys)
    assert refusal.value.reason == Reason.OVERSIZE


def test_a_pinned_view_outlives_the_window_and_then_ends():
    chain = toy_chain()
    views = Views(chain.app.store, heights_kept=2)
    views.advance()

    def produce(value):
        chain.submit("ada", toy.put("a", value))
        views.advance()

    produce("1")
    produce("2")
    view = views.view(1)
    for number in range(3, 8):
        produce(str(number))
    assert views.served() == (5, 6)
    assert scope_of(view.prove([KEY])) == "1"
    believe(chain, view.prove([KEY]))
    view.close()
    view.close()
    with pytest.raises(StoreError):
        view.get(KEY)


def test_open_views_are_counted(chain):
    chain.produce()
    opened = [chain.app.views.view() for _ in range(VIEWS_OPEN_MAX)]
    with pytest.raises(Invalid) as refusal:
        chain.app.views.view()
    assert refusal.value.reason == Reason.POOL_FULL
    opened[0].close()
    with chain.app.views.view() as view:
        assert isinstance(view, View)


def test_a_value_that_contradicts_the_tree_is_not_handed_out():
    disk = Disk()
    chain = toy_chain(FaultyKV(disk))
    chain.submit("ada", toy.put("a"))
    from ledger import rows

    row = rows.STATE + KEY
    lie = rows.seal(row, AttestationRecord(id="a", scope="lie").SerializeToString())
    lying = toy_chain(FaultyKV(Disk(disk.values | {row: lie})))
    lying.produce()
    with pytest.raises(StoreError):
        lying.app.prove([KEY])
    lying.app.prove([state.PARAMETERS_KEY])


def test_a_snapshot_does_not_move_with_the_tip():
    chain = toy_chain(MemoryKV())
    chain.submit("ada", toy.put("a", "1"))
    chain.produce()
    with chain.app.views.view(1) as view:
        before = view.get(KEY)
        chain.submit("ada", toy.put("a", "2"))
        assert view.get(KEY) == before != chain.app.store.get(KEY)
