"""The store against a disk that fails, forgets, tears and lies."""

from dataclasses import replace

import pytest

from ledger import block, durable_tree, merkle, rows, state
from ledger.application import Application
from ledger.errors import Invalid, InvariantBroken, StoreError
from ledger.hashes import ZERO
from ledger.kv import MemoryKV
from ledger.leveldb import LevelKV
from ledger.limits import TRANSACTION_VALIDITY_MS_MAX
from ledger.rows import identity
from ledger.store import EXPIRED_HEIGHTS_PER_BATCH, Store
from proto.chiptrace.v1.ledger_pb2 import Change, Reason, SetValidators, Validator
from tests.ledger import toy_tables as toy
from tests.ledger.chain_fixture import Chain, certificate_of, key_of
from tests.ledger.faulty_kv import Disk, Failure, FaultyKV

NAMES = ("a", "b", "c")


def toy_chain(kv=None, **options):
    return Chain(operations=toy.OPERATIONS, changes=toy.CHANGES, kv=kv, **options)


def step(chain, height):
    """What the scripted chain does at a height: writes, deletes, refusals, a set change, an empty block."""
    match height:
        case 1:
            operations = [[toy.put(name, name)] for name in NAMES]
        case 2:
            operations = [[toy.put("a", "2"), toy.put("d")], [toy.special("refuse", name="b")]]
        case 3:
            fewer = SetValidators(
                validators=[Validator(key=key_of(m, "validator"), member=m) for m in ("bob", "ada")]
            )
            operations = [
                [chain.govern(Change(set_validators=fewer), nonce=bytes(16))],
                [toy.special("delete", name="c")],
            ]
        case 4:
            operations = []
        case _:
            operations = [[toy.put("a", str(height))]]
    return [
        chain.transaction("ada", *items, idempotency_key=bytes([height, index]) * 8)
        for index, items in enumerate(operations)
    ]


SCRIPT_HEIGHTS = 6


def play(chain):
    while chain.height < SCRIPT_HEIGHTS:
        chain.produce(step(chain, chain.height + 1))
    return chain


@pytest.fixture(
    scope="module",
    autouse=True,
    params=[None, 4, 1],
    ids=["deltas", "some parts", "many parts"],
)
def keys_per_part(request):
    """How soon pages of the tree are written."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param is not None:
            patch.setattr(durable_tree, "KEYS_PER_PART", request.param)
        yield


@pytest.fixture(scope="module")
def played(keys_per_part):
    disk = Disk()
    chain = play(toy_chain(FaultyKV(disk)))
    return chain, disk


def everything(app):
    """All that the application can be asked, as one comparable value."""
    store = app.store
    heights = range(1, store.tip.height + 1)
    subjects = [toy.value_key(name) for name in (*NAMES, "d")]
    found = [app.info(), store.genesis()]
    for height in heights:
        data = store.block(height)
        found.append((data, store.certificate(height), store.results(height), store.log_leaf(height)))
        for result in store.results(height):
            found.append(store.transaction(result[2:34]))
        found.append(store.log_leaf_proof(height, store.tip.height).SerializeToString(deterministic=True))
    for subject in subjects:
        found.extend((store.get(subject), store.entries(subject, 0, 100)))
    found.append(list(store.side_rows(b"", b"\xff")))
    found.append(app.headers_above(0))
    for height in heights:
        for index in range(3):
            used = (identity("ada", b""), bytes([height, index]) * 8, app.info().time_ms)
            found.append(store.repetition(*used))
    return found


# ---- reopening ------------------------------------------------------------------------------------------


def test_a_reopened_chain_is_the_same_chain(played):
    chain, disk = played
    assert everything(Application(FaultyKV(disk), toy.OPERATIONS, toy.CHANGES)) == everything(chain.app)


def test_on_leveldb_too(tmp_path, played):
    kv = LevelKV(tmp_path / "chain")
    chain = play(toy_chain(kv))
    wanted = everything(chain.app)
    assert wanted == everything(played[0].app)
    chain.app.close()
    again = Application(LevelKV(tmp_path / "chain"), toy.OPERATIONS, toy.CHANGES)
    assert everything(again) == wanted
    again.close()


def test_an_empty_store_holds_no_chain():
    app = Application(MemoryKV(), toy.OPERATIONS, toy.CHANGES)
    assert app.store.empty
    for ask in (app.info, lambda: app.store.tip):
        with pytest.raises(StoreError):
            ask()


def test_a_store_is_initialised_once():
    chain = toy_chain()
    assert chain.app.init_chain(chain.genesis) == chain.info
    other = toy_chain(name="other")
    with pytest.raises(Invalid) as refusal:
        chain.app.init_chain(other.genesis)
    assert refusal.value.reason == Reason.WRONG_CHAIN
    with pytest.raises(StoreError):
        chain.app.store.initialise(chain.chain_id, chain.genesis, 1, None)


def test_heights_follow_one_another(played):
    chain = toy_chain()
    data = chain.propose()
    outcome = chain.app.finalize_block(data)
    decided = chain.app._decided(data)
    chain.produce()
    with pytest.raises(InvariantBroken):
        chain.app.store.commit(decided, outcome, b"")


# ---- the disk fails ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [Failure.NOTHING, Failure.ALL, Failure.STOP])
@pytest.mark.parametrize("write", range(1, SCRIPT_HEIGHTS + 2))
def test_a_stop_at_any_write_leaves_a_whole_height(played, write, mode):
    disk = Disk()
    kv = FaultyKV(disk, fail_write=write, mode=mode)
    with pytest.raises(StoreError):
        play(toy_chain(kv))
        kv.get(rows.TIP)  # the last write was acknowledged, and then the process was gone
    with pytest.raises(StoreError):
        kv.get(rows.TIP)
    survived = disk.after_power_cut()
    # Writes are one for the genesis and one per height, so this is all there can be.
    heights = write - 1 if mode is not Failure.NOTHING else write - 2
    store = Store(FaultyKV(survived))
    assert store.empty if heights < 0 else store.tip.height == heights
    # The normal path continues, to the very same end.
    chain = play(toy_chain(FaultyKV(survived)))
    assert everything(chain.app) == everything(played[0].app)


def test_a_disk_that_lied_about_syncing_comes_back_at_an_older_height(played):
    disk = Disk()
    play(toy_chain(FaultyKV(disk, lie_from_write=4)))
    assert len(disk.lied) == SCRIPT_HEIGHTS - 2
    chain = toy_chain(FaultyKV(disk.after_power_cut()))
    assert chain.height == 2
    assert everything(play(chain).app) == everything(played[0].app)


def test_a_torn_batch_is_found_wherever_it_tore():
    for write in range(2, SCRIPT_HEIGHTS + 2):
        torn = 1
        while True:
            disk = Disk()
            kv = FaultyKV(disk, fail_write=write, mode=Failure.TORN, torn_rows=torn)
            with pytest.raises(StoreError):
                play(toy_chain(kv))
            try:
                assert Store(FaultyKV(disk.after_power_cut())).tip.height == write - 1
                break  # the whole batch: tearing after the last row is no tearing
            except StoreError:
                torn += 1
        assert torn > 6


# ---- the disk lies --------------------------------------------------------------------------------------


def test_a_flipped_byte_anywhere_is_found_or_changes_no_answer(played):
    chain, disk = played
    wanted = everything(chain.app)
    found = 0
    for row, value in disk.values.items():
        for position in {0, len(value) // 2, len(value) - 1}:
            flipped = bytearray(value)
            flipped[position] ^= 0x10
            lying = FaultyKV(Disk(disk.values | {row: bytes(flipped)}))
            try:
                app = Application(lying, toy.OPERATIONS, toy.CHANGES)
                assert everything(app) == wanted, f"row {row.hex()} lies unnoticed"
                proven = [app.store.get(key[1:]) for key in disk.values if key[:1] == rows.STATE]
                assert len(proven) > 20
                continued = toy_chain(lying)
                continued.produce()
                continued.produce([continued.transaction("bob", toy.put(name)) for name in NAMES])
                keys = [key[1:] for key in disk.values if key[:1] == rows.STATE]
                continued.app.views.view(SCRIPT_HEIGHTS).prove(keys)
            except StoreError:
                found += 1
    assert found > 2 * len(disk.values)


def test_a_row_of_the_chain_that_went_missing_is_found(played):
    _, disk = played
    tables = {key[:1] for key in (rows.block_row(1), rows.certificate_row(1), rows.results_row(1))}
    tables |= {rows.log_leaf_row(1)[:1], rows.log_node_row(0, 0)[:1], rows.GENESIS}
    for row in [row for row in disk.values if row[:1] in tables]:
        less = dict(disk.values)
        del less[row]
        with pytest.raises(StoreError):
            everything(Application(FaultyKV(Disk(less)), toy.OPERATIONS, toy.CHANGES))


def test_a_state_value_that_went_missing_is_never_proven_absent(played):
    _, disk = played
    for row in [row for row in disk.values if row[:1] == rows.STATE]:
        less = dict(disk.values)
        del less[row]
        with pytest.raises(StoreError):
            toy_chain(FaultyKV(Disk(less))).prove(row[1:])


def test_values_from_another_place_are_found(played):
    _, disk = played
    swapped = dict(disk.values)
    first, second = rows.STATE + toy.value_key("a"), rows.STATE + toy.value_key("b")
    swapped[first], swapped[second] = swapped[second], swapped[first]
    store = Store(FaultyKV(Disk(swapped)))
    with pytest.raises(StoreError):
        store.get(toy.value_key("a"))


@pytest.mark.parametrize("table", [rows.block_row, rows.results_row])
def test_a_row_of_another_height_under_a_true_seal_is_found(played, table):
    """Blocks and results carry their own hash: a seal made for a wrong value does not help it."""
    _, disk = played
    wrong = rows.seal(table(1), rows.unseal(table(2), disk.values[table(2)]))
    store = Store(FaultyKV(Disk(disk.values | {table(1): wrong})))
    with pytest.raises(StoreError):
        store.block(1) if table is rows.block_row else store.results(1)


@pytest.mark.parametrize(
    "row",
    [
        rows.log_node_row(1, 2),
        rows.log_node_row(2, 0),
        rows.log_leaf_row(SCRIPT_HEIGHTS),
        rows.block_row(SCRIPT_HEIGHTS),
        rows.results_row(SCRIPT_HEIGHTS),
        rows.STATE + state.VALIDATORS_KEY,
    ],
)
def test_a_store_that_contradicts_its_tip_does_not_open(played, row):
    _, disk = played
    wrong = bytearray(rows.unseal(row, disk.values[row]))
    wrong[-1] ^= 1
    with pytest.raises(StoreError):
        Store(FaultyKV(Disk(disk.values | {row: rows.seal(row, bytes(wrong))})))


def test_a_tip_of_another_height_does_not_open(played):
    chain, disk = played
    tip = chain.app.store.tip
    for changed in ({"time_ms": 1}, {"block_hash": ZERO}, {"state_root": b"s" * 32}, {"log_root": b"l" * 32}):
        lie = rows.encode_tip(replace(tip, **changed))
        with pytest.raises(StoreError):
            Store(FaultyKV(Disk(disk.values | {rows.TIP: lie})))


# ---- reading --------------------------------------------------------------------------------------------


def test_heights_that_are_not_decided_are_not_found(played):
    store = played[0].app.store
    for ask in (store.block, store.certificate, store.results, store.log_leaf):
        for height in (0, SCRIPT_HEIGHTS + 1):
            with pytest.raises(Invalid) as refusal:
                ask(height)
            assert refusal.value.reason == Reason.NOT_FOUND


def test_every_transaction_is_found_by_its_id(played):
    chain, _ = played
    store = chain.app.store
    assert store.transaction(bytes(32)) is None
    for height in (1, 2, 3, 5):
        for index, data in enumerate(step(chain, height)):
            found = store.transaction(store.results(height)[index][2:34])
            assert (found.place.height, found.place.index) == (height, index)
            assert found.result == store.results(height)[index]
            if height != 3:  # governance operations differ by nonce
                assert len(found.data) == len(data)


def test_histories_are_read_in_pieces(played):
    store = played[0].app.store
    whole = store.entries(toy.value_key("a"), 0, 100)
    assert len(whole) == 4
    assert store.entries(toy.value_key("a"), 1, 2) == whole[1:3]
    assert store.entries(toy.value_key("a"), 4, 5) == []
    assert store.entries(toy.value_key("zz"), 0, 5) == []
    assert store.entries(toy.value_key("a"), 2**64 - 2, 100) == []


@pytest.mark.parametrize("far", [SCRIPT_HEIGHTS, SCRIPT_HEIGHTS + 1, 2**64 - 1])
def test_questions_about_what_cannot_be_are_answered_with_nothing(played, far):
    store = played[0].app.store
    assert store.boundaries(far, 5) == []
    assert store.entries(bytes(2**16), far, 5) == []
    assert played[0].app.headers_above(far) == ([], False)
    if far > SCRIPT_HEIGHTS:
        for ask in (
            lambda: store.log_root(far),
            lambda: store.log_leaf_proof(1, far),
            lambda: store.block(far),
        ):
            with pytest.raises(Invalid) as refusal:
                ask()
            assert refusal.value.reason == Reason.NOT_FOUND


def test_the_log_is_proven_at_every_size(played):
    store = played[0].app.store
    for size in range(1, SCRIPT_HEIGHTS + 1):
        for height in range(1, size + 1):
            proof = store.log_leaf_proof(height, size)
            leaf = block.log_leaf_hash(store.tip.chain_id, proof.leaf)
            merkle.verify_inclusion(leaf, proof.inclusion, store.log_root(size))
    assert store.log_root(0) == merkle.EMPTY_ROOT


def test_a_gap_in_a_history_is_found(played):
    _, disk = played
    less = dict(disk.values)
    del less[rows.entry_row(toy.value_key("a"), 1)]
    with pytest.raises(StoreError):
        Store(FaultyKV(Disk(less))).entries(toy.value_key("a"), 0, 100)


def test_boundaries_are_kept_with_the_set_that_follows(played):
    chain, _ = played
    store = chain.app.store
    (boundary,) = store.boundaries(0, 10)
    # Chosen in height 3, so that header 4 is the first to name it, and the last of the old set.
    assert boundary.height == 4
    assert boundary == store.boundary(4) == chain.app.views.signed_header(4)
    assert boundary.certificate == b"certificate of height 4"
    assert store.boundaries(4, 10) == []
    assert store.boundary(3) is None


# ---- idempotency rows -----------------------------------------------------------------------------------


def used(chain, key, after_ms=0):
    return chain.app.store.repetition(identity("ada", b""), key, chain.info.time_ms + after_ms)


def test_an_idempotency_key_lives_for_an_hour_of_header_time():
    chain = toy_chain()
    key = b"k" * 16
    chain.produce([chain.transaction("ada", toy.put("a"), idempotency_key=key)])
    assert used(chain, key).height == 1
    assert used(chain, key, TRANSACTION_VALIDITY_MS_MAX) is not None
    assert used(chain, key, TRANSACTION_VALIDITY_MS_MAX + 1) is None
    assert chain.app.store.repetition(identity("bob", b""), key, 0) is None


def test_expired_rows_are_deleted_a_few_heights_at_a_time():
    chain = toy_chain()
    count = EXPIRED_HEIGHTS_PER_BATCH + 3
    for number in range(count):
        chain.produce([chain.transaction("ada", toy.put("a"), idempotency_key=bytes([number]) * 16)])

    def left():
        return [len(list(chain.kv.iterate(letter, bytes([letter[0] + 1])))) for letter in (b"I", b"Q")]

    assert left() == [count, count]
    later = chain.info.time_ms + TRANSACTION_VALIDITY_MS_MAX + 1
    chain.produce(now_ms=later)
    assert left() == [3, 3]
    chain.restart()
    chain.produce()
    assert left() == [0, 0]


def test_rows_that_expired_since_the_tip_are_deleted_without_a_look(monkeypatch):
    chain = toy_chain()
    for number in range(3):
        chain.produce([chain.transaction("ada", toy.put("a"), idempotency_key=bytes([number]) * 16)])
    looked: list[bytes] = []
    plain = chain.kv.look
    monkeypatch.setattr(chain.kv, "look", lambda key: (looked.append(key), plain(key))[1])
    chain.produce(now_ms=chain.info.time_ms + TRANSACTION_VALIDITY_MS_MAX + 1)
    assert not list(chain.kv.iterate(b"I", b"J"))
    assert not [key for key in looked if key[:1] == b"I"]


def test_a_key_used_again_outlives_its_old_entry():
    chain = toy_chain()
    key = b"k" * 16
    chain.produce([chain.transaction("ada", toy.put("a"), idempotency_key=key)])
    later = chain.info.time_ms + TRANSACTION_VALIDITY_MS_MAX + 1
    again = chain.transaction("ada", toy.put("a"), idempotency_key=key, valid_until_ms=later + 5)
    chain.produce([again], now_ms=later)  # this very batch deletes the old row
    assert used(chain, key).height == 2
    chain.produce()
    assert used(chain, key).height == 2


def test_a_key_used_again_before_its_old_row_was_deleted_outlives_it():
    chain = toy_chain()
    for number in range(EXPIRED_HEIGHTS_PER_BATCH + 1):
        chain.produce([chain.transaction("ada", toy.put("a"), idempotency_key=bytes([number]) * 16)])
    last = bytes([EXPIRED_HEIGHTS_PER_BATCH]) * 16
    later = chain.info.time_ms + TRANSACTION_VALIDITY_MS_MAX + 1
    chain.produce(
        [chain.transaction("ada", toy.put("a"), idempotency_key=last, valid_until_ms=later + 5)], now_ms=later
    )
    chain.produce()  # comes to the height of the old row
    assert used(chain, last).height == EXPIRED_HEIGHTS_PER_BATCH + 2


def test_the_tip_of_the_genesis_state():
    chain = toy_chain()
    tip = chain.app.store.tip
    assert (tip.height, tip.block_hash, tip.chain_id) == (0, ZERO, chain.chain_id)
    assert tip.state_root != ZERO
    assert chain.app.store.get(state.VALIDATORS_KEY) is not None
    assert certificate_of(chain.app._info) == b"certificate of height 0"


def test_a_nodes_own_note_is_stored_with_a_height_and_is_no_part_of_the_chain():
    noting, silent = toy_chain(), toy_chain()
    for height in (1, 2, 3):
        for made, note in ((noting, b"note %d" % height if height < 3 else b""), (silent, b"")):
            data = made.propose(step(made, height))
            made.app.commit(data, made.app.finalize_block(data), b"certificate", note)
    assert (noting.app.store.note(), silent.app.store.note()) == (b"note 2", b"")
    assert noting.info == silent.info
