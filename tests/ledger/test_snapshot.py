"""Snapshots of random chains: what is loaded is the chain, whoever took it, and nothing else loads."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import block, codec, hashes, limits, rows, snapshot, state
from ledger.errors import Invalid, Malformed, StoreError
from ledger.identifiers import canonical
from ledger.kv import MemoryKV
from ledger.limits import SNAPSHOT_CHUNK_BYTES
from ledger.snapshot_load import SnapshotLoader
from ledger.state import Kind
from ledger.store import Store
from proto.chiptrace.v1 import bridge_pb2, ledger_pb2
from proto.chiptrace.v1.ledger_pb2 import (
    Capture,
    Change,
    Event,
    ForeignAttestationRecord,
    Genesis,
    Operation,
    PutKey,
    Reason,
    Role,
    SetValidators,
    Validator,
)
from tests.ledger import toy_tables as toy
from tests.ledger.chain_fixture import Chain
from tests.ledger.faulty_kv import Disk, Failure, FaultyKV
from tests.ledger.rules_world import iso, object_event, to_fields
from tests.ledger.snapshot_fixture import Taken, cut, joined, manifest_of, on, records, rewritten

HOUR_MS = limits.TRANSACTION_VALIDITY_MS_MAX
LATE_SEED = hashes.sha256(b"a key that is registered late")


def grow(chain, random_, blocks):
    """Blocks of random toys; now and then a key is registered, the set changes, or more than an hour passes."""
    late = Change(put_key=PutKey(key=hashes.public_key(LATE_SEED), member="ada", role=Role.OPERATOR))
    for _ in range(blocks):
        pause = random_.choice([1, 100, 100, 10_000, HOUR_MS // 2, HOUR_MS, 2 * HOUR_MS])
        now_ms = chain.info.time_ms + pause
        data = []
        for _ in range(random_.randrange(4)):
            name = random_.choice("abcde")
            operation = random_.choice(
                [toy.put(name, random_.choice("xyz") * random_.randrange(1, 2_000))] * 5
                + [toy.special("delete", name=name), toy.special("redundant"), toy.special("malformed")]
                + [chain.govern(late)]
            )
            seed = random_.choice([None, None, LATE_SEED])
            member = random_.choice(chain.members)
            data.append(chain.transaction(member, operation, seed=seed, valid_until_ms=now_ms + 60_000))
        if random_.random() < 0.1:
            keys = [hashes.public_key(random_.randbytes(32)) for _ in range(4)]
            change = Change(
                set_validators=SetValidators(validators=[Validator(key=k, member="ada") for k in keys])
            )
            data.append(chain.transaction("ada", chain.govern(change), valid_until_ms=now_ms + 60_000))
        chain.produce(data, now_ms)


def random_chain(seed, blocks=12):
    chain = Chain(operations=toy.OPERATIONS, changes=toy.CHANGES)
    grow(chain, random.Random(seed), blocks)
    return chain


@pytest.fixture(scope="module")
def taken():
    return Taken(random_chain(7))


def refused(taken, stream=None, why=""):
    """The stream is refused, and what was written is no chain."""
    kv = MemoryKV()
    with pytest.raises((Invalid, Malformed), match=why or None):
        taken.load(kv, stream)
    assert Store(kv).empty


# ---- what is loaded is the chain ------------------------------------------------------------------------


@given(st.integers(0, 2**32), st.integers(1, 20))
@settings(max_examples=30, deadline=None)
def test_a_loaded_snapshot_is_the_chain_and_goes_on_with_it(seed, blocks):
    chain = random_chain(seed, blocks)
    other = Taken(chain).follower()
    ours, theirs = chain.app.store, other.app.store
    assert other.info == chain.info
    assert theirs.tip == ours.tip
    assert theirs.base == chain.height
    assert [theirs.log_leaf(h) for h in range(1, chain.height + 1)] == [
        ours.log_leaf(h) for h in range(1, chain.height + 1)
    ]
    assert theirs.boundaries(0, 100) == ours.boundaries(0, 100)
    assert table(other, rows.STATE) == table(chain, rows.STATE)
    for key in table(chain, rows.STATE):
        history = snapshot.history_in(key, ours.get(key))
        if history is not None:
            assert theirs.entries(key, 0, history.n) == ours.entries(key, 0, history.n)
    # Both execute the same blocks to the same end, and both can still prove it.
    follow(chain, other, seed)
    key = state.member_key("ada")
    assert other.app.prove([key], chain.height - 1) == chain.app.prove([key], chain.height - 1)
    other.restart()
    assert other.info == chain.info


def table(chain, letter):
    return {key[1:]: rows.unseal(key, value) for key, value in chain.kv.iterate(letter, rows.after(letter))}


def follow(chain, other, seed):
    random_ = random.Random(seed + 1)
    for _ in range(3):
        before = chain.height
        grow(chain, random_, 1)
        other.decide(chain.app.store.block(before + 1))
        assert other.info == chain.info
        assert other.app.store.results(before + 1) == chain.app.store.results(before + 1)


@given(st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_what_would_repeat_a_transaction_is_known_to_both(seed):
    """For every transaction there ever was: admission says the same of it, and of its key used by another."""
    chain = random_chain(seed)
    other = Taken(chain).follower()
    for height in range(1, chain.height + 1):
        for data in block.decode_block(chain.app.store.block(height)).transactions:
            found = block.parse_transaction(chain.chain_id, data).body
            for member in ("ada", "bob"):
                again = chain.transaction(
                    member,
                    toy.put("again"),
                    idempotency_key=found.idempotency_key,
                    valid_until_ms=chain.info.time_ms + 60_000,
                    seed=LATE_SEED if found.signer == hashes.public_key(LATE_SEED) else None,
                )
                assert told(other, again) == told(chain, again)
            assert told(other, data) == told(chain, data)


def told(chain, data):
    try:
        return chain.app.check_transaction(data, chain.info.time_ms + 1).id
    except Invalid as error:
        return error.reason, getattr(error, "first", None)


def test_a_key_registered_within_the_hour_counts_for_its_member_from_then_on_only():
    """Both before and after: what was used by a key of nobody stays that key's."""
    chain = Chain(operations=toy.OPERATIONS, changes=toy.CHANGES)
    late = Change(put_key=PutKey(key=hashes.public_key(LATE_SEED), member="ada", role=Role.OPERATOR))
    first = chain.transaction("ada", toy.put("a"), seed=LATE_SEED, idempotency_key=b"1" * 16)
    chain.produce([first])
    chain.submit("ada", chain.govern(late))
    chain.produce([chain.transaction("ada", toy.put("a"), seed=LATE_SEED, idempotency_key=b"2" * 16)])
    other = Taken(chain).follower()
    for key in (b"1" * 16, b"2" * 16):
        data = chain.transaction("ada", toy.put("b"), idempotency_key=key)
        assert told(other, data) == told(chain, data)
    assert table(other, b"I") == table(chain, b"I")


@pytest.mark.parametrize("later, kept", [(HOUR_MS - 1, True), (HOUR_MS, False)])
def test_the_hour_is_kept_to_the_millisecond(later, kept):
    """A key used at u is used up for blocks until u + 1 h; the next block is a millisecond after the tip at least."""
    chain = Chain(operations=toy.OPERATIONS, changes=toy.CHANGES)
    chain.produce([])
    chain.produce([chain.transaction("ada", toy.put("a"), idempotency_key=b"1" * 16)])
    used = chain.height
    chain.produce([], chain.info.time_ms + later)
    other = Taken(chain).follower()
    again = chain.transaction("ada", toy.put("b"), idempotency_key=b"1" * 16)
    assert told(other, again) == told(chain, again)
    assert isinstance(told(other, again), bytes) is not kept
    first = other.app.store._blocks_from
    assert first == (used if kept else chain.height)


# ---- the same bytes everywhere ---------------------------------------------------------------------------


@given(st.integers(0, 2**32), st.integers(2, 12))
@settings(max_examples=20, deadline=None)
def test_nodes_that_came_by_different_ways_give_the_same_bytes(seed, more):
    """One was there from the start and kept everything; one began with a snapshot; other certificates."""
    chain = random_chain(seed, 8)
    other = Taken(chain).follower()
    for _ in range(more):
        grow(chain, random.Random(seed + chain.height), 1)
        data = chain.app.store.block(chain.height)
        other.app.commit(data, other.app.finalize_block(data), b"another certificate")
    theirs = Taken(other)
    assert theirs.chunks == Taken(chain).chunks
    third = theirs.follower()
    assert Taken(third).chunks == theirs.chunks
    assert third.info == chain.info


def test_taking_an_old_height_is_not_touched_by_what_came_after():
    chain = random_chain(3)
    before = Taken(chain)
    grow(chain, random.Random(4), 3)
    assert Taken(chain, before.anchor.height).chunks == before.chunks


# ---- histories ----------------------------------------------------------------------------------------------


def test_every_record_with_a_history_brings_its_entries_along():
    """One that were forgotten would stop every node at its next snapshot."""
    with_history = {
        message
        for file in (ledger_pb2, bridge_pb2)
        for message in file.DESCRIPTOR.message_types_by_name.values()
        for field in message.fields
        if field.message_type is not None and field.message_type.name == "History"
    }
    assert {kind.DESCRIPTOR for kind in snapshot._WITH_HISTORY.values()} == with_history


def test_what_only_looks_like_a_record_has_no_history():
    """The key of a claim that waits holds the id of a chain: whoever makes a chain chooses its id by trying."""
    chain_id = bytes([0, 0x3A, 4, 0x08, 1, 0x50, 0, 0x7A, 23]) + bytes(23)
    key = state.state_key(Kind.FOREIGN_ATTESTATION, chain_id)
    assert ForeignAttestationRecord.FromString(key).history.n == 1
    assert snapshot.history_in(state.state_key(Kind.FOREIGN_ATTESTATION, "waiting", "b-1", 0), key) is None
    assert snapshot.history_in(key, key).n == 1


def test_a_chain_with_notes_is_taken_and_loaded():
    chain = Chain(grants={"gs1:4012345": "ada"})
    place = "urn:epc:id:sgln:4012345.00001.0"
    reading = {"eventTime": iso(chain.info.time_ms), "readPoint": {"id": place}}
    event = Event(seed=bytes(16), fields=to_fields(object_event("OBSERVE") | reading))
    assert chain.submit("ada", Operation(capture=Capture(event=codec.encode(event)))).ok
    subject = state.note_key(canonical(place).text, "ada")
    assert len(chain.entries(subject)) == 1
    other = Taken(chain).follower()
    assert other.entries(subject) == chain.entries(subject)


# ---- where blocks end ---------------------------------------------------------------------------------------


def test_below_the_base_blocks_are_pruned_and_say_so():
    chain = random_chain(5, 3)
    old = chain.transaction("ada", toy.put("old"))
    chain.produce([old])
    for _ in range(3):
        chain.produce([], chain.info.time_ms + HOUR_MS)
    fresh = chain.transaction("ada", toy.put("fresh"))
    chain.produce([fresh])
    chain.produce([])
    store = Taken(chain).follower().app.store
    base = store.base
    assert base == chain.height
    asked = [
        lambda: store.block(1),
        lambda: store.results(1),
        lambda: store.certificate(1),
        lambda: store.certificate(base - 1),
        lambda: store.transaction(block.parse_transaction(chain.chain_id, old).id),
    ]
    for ask in asked:
        with pytest.raises(Invalid, match=f"base {base}") as error:
            ask()
        assert error.value.reason == Reason.PRUNED
    # What is not decided yet is no more there than before, and the hour is there.
    with pytest.raises(Invalid) as error:
        store.block(base + 1)
    assert error.value.reason == Reason.NOT_FOUND
    assert store.block(base)
    assert store.certificate(base)
    found = store.transaction(block.parse_transaction(chain.chain_id, fresh).id)
    assert (found.place.height, found.data) == (base - 1, fresh)
    assert Store(chain.kv).base == 1


# ---- nothing else loads -------------------------------------------------------------------------------------


@given(st.data())
@settings(max_examples=120, deadline=None)
def test_any_record_changed_dropped_doubled_moved_or_cut_is_refused(taken, data):
    """By whoever makes a manifest to go with it: the certified hashes tell, or the form does."""
    found = records(taken.stream)
    index = data.draw(st.integers(0, len(found) - 1))
    letter, payload = found[index]
    what = data.draw(
        st.sampled_from(["flip", "drop", "double", "swap", "shorten", "lengthen", "letter", "end"])
    )
    if what == "flip":
        place = data.draw(st.integers(0, len(payload) - 1))
        bit = data.draw(st.integers(0, 7))
        changed = bytearray(payload)
        changed[place] ^= 1 << bit
        found[index] = letter, bytes(changed)
    elif what == "drop":
        del found[index]
    elif what == "double":
        found.insert(index, found[index])
    elif what == "swap":
        other = data.draw(st.integers(0, len(found) - 1))
        if found[index] == found[other]:
            return
        found[index], found[other] = found[other], found[index]
    elif what == "shorten":
        found[index] = letter, payload[:-1]
    elif what == "lengthen":
        found[index] = letter, payload + b"\0"
    elif what == "letter":
        found[index] = data.draw(st.sampled_from([b"L", b"S", b"E", b"B", b"R", b"D", b"\0"])), payload
        if found[index][0] == letter:
            return
    else:
        found.append((data.draw(st.sampled_from([b"L", b"S", b"E", b"B", b"R"])), payload))
    refused(taken, joined(found))


def test_a_flip_anywhere_in_a_block_or_its_results_is_refused(taken):
    """Its header, too: what stands there is what the log says of it."""
    found = records(taken.stream)
    random_ = random.Random(3)
    for index, (letter, payload) in enumerate(found):
        if letter not in b"BR":
            continue
        for place in random_.sample(range(len(payload)), min(len(payload), 25)):
            changed = bytearray(payload)
            changed[place] ^= 1 << random_.randrange(8)
            refused(taken, joined([*found[:index], (letter, bytes(changed)), *found[index + 1 :]]))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_raw_bytes_cut_or_added_anywhere_are_refused(taken, data):
    stream = taken.stream
    place = data.draw(st.integers(0, len(stream) - 1))
    more = data.draw(st.binary(min_size=1, max_size=40))
    refused(taken, stream[:place] + stream[place + len(more) :])
    refused(taken, stream[:place] + more + stream[place:])


def test_a_block_with_a_recovery_that_its_header_does_not_name_is_refused(taken):
    """The header's hash does not cover it: such a store could never be opened."""
    found = records(taken.stream)
    index = max(place for place, (letter, _) in enumerate(found) if letter == b"B")
    content = block.decode_block(found[index][1])
    content.recovery = b"any"
    changed = codec.encode(content)
    refused(taken, joined([*found[:index], (b"B", changed), *found[index + 1 :]]), "another recovery")


def test_entries_of_no_subject_are_refused(taken):
    """No record counts them."""
    found = records(taken.stream)
    index = min(place for place, (letter, _) in enumerate(found) if letter == b"E")
    more = (b"E", snapshot.keyed(b"", b"any"))
    refused(taken, joined([*found[:index], more, *found[index:]]), "no subject")


def test_a_snapshot_of_another_chain_or_height_is_refused(taken):
    foreign = Taken(random_chain(8))
    refused(taken, foreign.stream)
    earlier = Taken(taken.chain, taken.anchor.height - 1)
    refused(taken, earlier.stream)


def test_what_lies_beside_the_checkpoint_or_the_boundaries_is_refused(taken):
    height = taken.anchor.height
    right = taken.chain.app.store.log_leaf(2).block_hash
    assert not Store(taken.load(anchor=replace(taken.anchor, checkpoint=(2, right)))).empty
    for anchor in (
        replace(taken.anchor, checkpoint=(2, bytes(32))),
        replace(taken.anchor, checkpoint=(height, right)),
        replace(taken.anchor, block_hash=bytes(32)),
        replace(taken.anchor, time_ms=taken.anchor.time_ms + 1),
        replace(taken.anchor, boundaries=[rows.BoundaryHeader(2, b"header", b"", b"")]),
    ):
        with pytest.raises(Invalid):
            taken.load(anchor=anchor)


def test_chunks_must_be_the_manifests_and_come_in_order(taken, monkeypatch):
    assert len(taken.stream) < SNAPSHOT_CHUNK_BYTES
    monkeypatch.setattr(snapshot, "SNAPSHOT_CHUNK_BYTES", 1_000)
    chunks = cut(taken.stream)
    assert len(chunks) > 10
    store = taken.chain.app.store
    manifest = manifest_of(taken.chain.chain_id, taken.anchor.height, chunks)

    def loader():
        return SnapshotLoader(MemoryKV(), taken.anchor, store.genesis(), manifest, taken.tables)

    whole = loader()
    for index, chunk in enumerate(chunks):
        assert whole.next_chunk == index
        assert not whole.done
        whole.apply(index, chunk)
    assert whole.done
    for index, chunk in ((1, chunks[1]), (0, chunks[1]), (0, chunks[0] + b"x"), (0, b""), (len(chunks), b"")):
        why = "is next" if index else "not the one that the manifest lists"
        with pytest.raises(Invalid, match=why):
            loader().apply(index, chunk)
    with pytest.raises(Invalid):
        whole.apply(len(chunks), b"")


def test_a_manifest_has_one_form(taken):
    chain_id = taken.chain.chain_id
    good = taken.manifest
    assert snapshot.decode_manifest(chain_id, good).height == taken.anchor.height
    bad = [
        rewritten(good, format=2),
        rewritten(good, chain_id=bytes(32)),
        rewritten(good, height=0),
        rewritten(good, size=0),
        rewritten(good, size=SNAPSHOT_CHUNK_BYTES + 1),
        rewritten(good, size=2**63),
        rewritten(good, chunks=[]),
        rewritten(good, chunks=[bytes(32)] * 2),
        rewritten(good, chunks=[bytes(31)]),
        good + b"\0",
        b"",
        bytes(3_000_000),
    ]
    for data in bad:
        with pytest.raises((Invalid, Malformed)):
            snapshot.decode_manifest(chain_id, data)
    with pytest.raises(Invalid):
        SnapshotLoader(
            MemoryKV(), taken.anchor, b"", rewritten(good, height=taken.anchor.height + 1), taken.tables
        )


def test_a_record_has_a_bound(taken):
    size = (limits.SNAPSHOT_RECORD_BYTES_MAX + 1).to_bytes(4, "big")
    refused(taken, b"L" + size + bytes(100), "a record has")


def test_leaves_beyond_the_height_are_refused_as_they_come(taken):
    """Not only at the end of the log: whoever sends leaves for ever is stopped at the first one too many."""
    found = records(taken.stream)
    leaves = [item for item in found if item[0] == b"L"]
    more = (leaves[-1][1][:8], leaves[-1][1][8:])
    extra = (int.from_bytes(more[0], "big") + 1).to_bytes(8, "big") + more[1]
    refused(taken, joined([*leaves, (b"L", extra)]), "the log leaf of height")
    refused(taken, joined(leaves[1:]), "the log leaf of height")


# ---- a crash leaves nothing, or all -------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [Failure.NOTHING, Failure.ALL, Failure.TORN])
def test_a_crash_at_any_write_leaves_no_chain_or_the_whole(taken, mode, monkeypatch):
    monkeypatch.setattr("ledger.snapshot_load._BATCH_BYTES", 5_000)
    disk = Disk()
    taken.load(FaultyKV(disk))
    writes, whole = count_writes(taken), disk.values
    assert writes > 5
    for number in range(1, writes + 1):
        disk = Disk()
        with pytest.raises(StoreError):
            taken.load(FaultyKV(disk, fail_write=number, mode=mode, torn_rows=3))
        found = Store(FaultyKV(disk.after_power_cut()))
        if number == writes and mode is not Failure.NOTHING:
            assert disk.values == whole
            assert found.tip.height == taken.anchor.height
        else:
            assert found.empty
            if disk.values:  # and what is left over is no ground for another attempt
                with pytest.raises(StoreError, match="empty"):
                    taken.loader(FaultyKV(disk))


def count_writes(taken):
    kv = FaultyKV(Disk())
    taken.load(kv)
    return kv.writes


def test_the_genesis_of_a_loaded_store_is_the_one_given(taken):
    follower = taken.follower()
    assert Genesis.FromString(follower.app.store.genesis()).name == "test"
    assert on(taken.chain, follower.kv).app.init_chain(taken.chain.genesis) == taken.chain.info
