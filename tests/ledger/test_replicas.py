"""Nodes that execute the same blocks come to the same end, whatever is different about them.

One is never stopped. One is stopped now and then, and starts with other bounds: of what it keeps in memory, of the pages it
writes at a time, of the leaves in a slot. One does the same on LevelDB. One has no fast path: it looks at everything
on the disk, and reads every event as a whole. From time to time one begins with a snapshot of another. They get the
histories of the naive models' walks, so that these are about things that are there, and hostile ones.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest

from ledger import (
    admission,
    application,
    durable_tree,
    event,
    event_fields,
    limits,
    overlay,
    pages,
    recording,
    rows,
    snapshot,
    state,
    store,
    tree,
)
from ledger import block as blocks
from ledger.application import Application
from ledger.errors import Invalid
from ledger.kv import MemoryKV
from ledger.leveldb import LevelKV
from ledger.operations import CHANGES, OPERATIONS
from ledger.overlay import Overlay
from proto.chiptrace.v1.ledger_pb2 import Operation, Reason, Result
from tests.ledger import hostile, naive_tree, test_custody_model, test_serials_model
from tests.ledger.chain_fixture import START_MS, Chain, certificate_of, make_genesis, make_parameters
from tests.ledger.rules_world import GRANTS, World
from tests.ledger.snapshot_fixture import Taken, on

HOUR_MS = limits.TRANSACTION_VALIDITY_MS_MAX
Patches = list[tuple[object, str, object]]


# ---- what is different ------------------------------------------------------------------------------------------


class Unkept:
    """A KeptReader that keeps nothing."""

    def __init__(self, read, _values_max: int = 0) -> None:
        self.get = read

    def forget(self, keys) -> None:
        pass

    keep = forget


class Unused:
    """UsedKeys that know of no key whether it is fresh."""

    def __init__(self, kv) -> None:
        pass

    def add(self, time_ms: int, keys) -> None:
        pass

    def fresh(self, key: bytes, time_ms: int) -> bool:
        return False


def nothing(*_: object) -> None:
    """What a fast path says of what it leaves to the general one."""


SLOW: Patches = [
    (event_fields, "_split", nothing),
    (event_fields, "_read_texts", nothing),
    (event_fields, "_kept_field", event_fields._read_field),
    (recording, "view_event", event.view_fields),
    (state, "among", state._among),
    (state, "_decoded", lambda kind, value: kind.FromString(value)),
    (Overlay, "put_first", Overlay.put),
    (application, "KeptReader", Unkept),
    (store, "KeptReader", Unkept),
    (application, "UsedKeys", Unused),
]


def bounds(random: Random) -> Patches:
    """Some that no answer depends on."""
    return [
        (durable_tree, "KEYS_PER_PART", random.choice([1, 3, 20, 512])),
        (durable_tree, "PAGES_CACHED_DEFAULT", random.choice([1, 4, 32_768])),
        (durable_tree, "PROOF_PAGES_CACHED", random.choice([1, 10, 4_096])),
        (durable_tree, "UPPER_PAGES_MAX", random.choice([0, 1, 20, 69_905])),
        (pages, "UPPER_DEPTHS", random.choice([1, 2, 5])),
        (tree, "RUN_MAX", random.choice([1, 2, 4, 8])),
        (overlay, "KEPT_VALUE_BYTES_MAX", random.choice([0, 100, 512])),
        (admission, "_USED_READ_MAX", random.choice([0, 5, 200_000])),
    ]


@contextlib.contextmanager
def patched(patches: Patches) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        for owner, name, value in patches:
            monkeypatch.setattr(owner, name, value)
        yield


class Replica:
    """One node. What it does is done with its own bounds."""

    def __init__(self, name: str, genesis: bytes, patches: Patches, kv=MemoryKV) -> None:
        self.name, self.patches, self.opened = name, patches, kv
        self.kv = kv()
        with patched(patches):
            self.app = Application(self.kv, OPERATIONS, CHANGES)
            self.app.init_chain(genesis)

    def restart(self, patches: Patches) -> None:
        self.patches = patches
        if isinstance(self.kv, LevelKV):
            self.app.close()
            self.kv = self.opened()
        else:
            self.app.views.close()
        with patched(patches):
            self.app = Application(self.kv, OPERATIONS, CHANGES)

    def do(self, act):
        with patched(self.patches):
            return act(self.app)

    def decide(self, data: bytes):
        def deciding(app: Application):
            header = blocks.decode_header(blocks.decode_block(data).header)
            app.process_proposal(data, header.time_ms)
            outcome = app.finalize_block(data)
            app.commit(data, outcome, certificate_of(header))
            return outcome.results, outcome.changes, outcome.entries, outcome.side, app.info()

        return self.do(deciding)

    def told(self, data: bytes, now_ms: int):
        """What admission says of a transaction."""

        def checking(app: Application):
            try:
                return app.check_transaction(data, now_ms).id
            except Invalid as error:
                return type(error), error.reason, getattr(error, "first", None)

        return self.do(checking)

    def rows(self) -> dict[bytes, bytes]:
        """What a node keeps, but for how it keeps the tree."""
        found = self.kv.iterate(b"", None)
        return {key: value for key, value in found if key[:1] not in (rows.PAGE, rows.DELTA)}


# ---- what they do -----------------------------------------------------------------------------------------------


def walked(walk, steps: int):
    """What a walk asks for, operation by operation: (member, role of the key, operations)."""
    asked = []
    act = World.act

    def recorded(self, member, *operations, role="operator", wait_ms=100):
        asked.append((member, role, operations))
        act(self, member, *operations, role=role, wait_ms=wait_ms)

    with patched([(World, "act", recorded)]):
        made = walk()
        for _ in range(steps):
            made.step()
    return asked


class Network:
    def __init__(self, seed: int, directory) -> None:
        self.random = random = Random(seed)
        self.chain = Chain(genesis=make_genesis(grants=GRANTS, parameters=make_parameters()))
        genesis = self.chain.genesis
        self.plain = Replica("plain", genesis, [])
        self.others = [
            Replica("stopped", genesis, bounds(random)),
            Replica("leveldb", genesis, bounds(random), lambda: LevelKV(directory)),
            Replica("slow", genesis, SLOW),
        ]
        self.begun: list[Replica] = []  # with a snapshot, at most one at a time
        self.sent: list[bytes] = []
        self.outcomes: Counter[str] = Counter()

    def block(self, asked) -> None:
        """A block of these, and of some that were sent before; all propose, admit and execute it alike."""
        random, chain, everyone = self.random, self.chain, [self.plain, *self.others, *self.begun]
        pause = random.choice([0, 0, 0, HOUR_MS - 1, HOUR_MS, HOUR_MS + 1]) if random.random() < 0.3 else 0
        now_ms = self.plain.app.info().time_ms + 100 * len(asked) + 1 + pause
        until_ms = now_ms + random.choice([0, 60_000, HOUR_MS])
        fresh = [
            chain.transaction(
                member,
                *operations,
                role=role,
                valid_until_ms=until_ms,
                idempotency_key=self.idempotency_key(),
            )
            for member, role, operations in asked
        ]
        again = random.sample(self.sent, min(len(self.sent), 2))
        for data in (*fresh[:2], *again):
            (said,) = {repr(one.told(data, now_ms)) for one in everyone}
            self.outcomes["REPEATED"] += "Repeated" in said
        self.sent += fresh
        (data,) = {one.do(lambda app: app.prepare_proposal([*fresh, *again], now_ms)) for one in everyone}
        first = self.plain.decide(data)
        self.outcomes.update(Reason.Name(Result.FromString(result).reason) for result in first[0])
        for one in everyone[1:]:
            assert one.decide(data) == first, one.name

    def idempotency_key(self) -> bytes | None:
        """Now and then one of few, which come again, within the hour and after it; not where all begins."""
        return (
            None
            if len(self.sent) < 15 or self.random.random() < 0.85
            else self.random.randrange(6).to_bytes(16, "little")
        )

    def something_else(self) -> None:
        random = self.random
        for one in self.others:
            if random.random() < 0.2:
                one.restart(SLOW if one.name == "slow" else bounds(random))
        if random.random() < 0.1:
            self.begin_with_snapshot(random.choice(self.others))

    def begin_with_snapshot(self, giver: Replica) -> None:
        taken = [Taken(on_replica(self.chain, one)) for one in (self.plain, giver)]
        assert taken[0].chunks == taken[1].chunks
        beginner = object.__new__(Replica)
        beginner.name, beginner.patches = "begun", bounds(self.random)
        with patched(beginner.patches):
            beginner.kv = taken[1].load()
            beginner.app = Application(beginner.kv, OPERATIONS, CHANGES)
        self.begun = [beginner]

    def prove(self) -> None:
        """Any height that two can prove they prove alike."""
        named = [key[1:] for key in self.plain.rows() if key[:1] == rows.STATE]
        keys = [*self.random.sample(named, 5), state.part_key("urn:none")]
        lowest, highest = self.plain.app.views.served()
        for one in (*self.others, *self.begun):
            served = one.app.views.served()
            if served is not None:
                height = self.random.randint(max(served[0], lowest), highest)
                assert one.do(lambda app, h=height: app.prove(keys, h)) == self.plain.app.prove(keys, height)

    def compare(self) -> None:
        kept = self.plain.rows()
        for one in self.others:
            assert one.rows() == kept, one.name
        values = {key[1:]: rows.unseal(key, kept[key]) for key in kept if key[:1] == rows.STATE}
        root = naive_tree.root(naive_tree.leaves(self.chain.chain_id, values))
        assert self.plain.app.store.tip.state_root == root
        for key, value in values.items():
            history = snapshot.history_in(key, value)
            if history is not None:
                assert len(self.plain.app.store.entries(key, 0, 10_000)) == history.n

    def close(self) -> None:
        for one in (self.plain, *self.others, *self.begun):
            one.app.close()


def on_replica(chain: Chain, one: Replica) -> Chain:
    other = on(chain, MemoryKV())
    other.kv, other.app = one.kv, one.app
    return other


@pytest.mark.parametrize("seed", range(7))
def test_whatever_is_different_about_nodes_they_come_to_the_same(seed, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "EXPIRED_HEIGHTS_PER_BATCH", 2)  # so that some are left over
    random = Random(seed)
    model = hostile if seed > 5 else (test_custody_model, test_serials_model)[seed % 2]
    asked = walked(lambda: model.Walk(seed), 150 if seed < 6 else 220)
    if model is hostile:
        asked += [("ada", "operator", (Operation(),)), ("ada", "operator", (asked[0][2][0], Operation()))]
    network = Network(seed, tmp_path / "store")
    assert network.plain.app.info().time_ms == START_MS
    while asked:
        count = random.choice([1, 2, 5, 12])
        network.block(asked[:count])
        del asked[:count]
        network.something_else()
        if network.plain.app.views.served():
            network.prove()
    network.compare()
    assert network.outcomes["REASON_UNSPECIFIED"] > 25
    assert network.outcomes["REPEATED"]
    network.begin_with_snapshot(network.others[0])
    network.close()
