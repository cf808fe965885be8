"""What the benchmarks measure with: accounts that add up, chains that are filled before they start, pictures."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from bridge import machine as rules
from consensus.certificate import verify_certificate
from ledger import state
from ledger.application import Application
from ledger.leveldb import LevelKV
from node import testnet_layout, testnet_plan
from node.config import NodeConfig, read
from node.state_sync import STORE
from proto.chiptrace.v1.consensus_pb2 import Certificate
from proto.chiptrace.v1.ledger_pb2 import PartRecord
from proto.chiptrace.v1.node_pb2 import Outcome, SubmitReply
from scripts.benchmarks import machine, networks, offering, prefill, stages

CHAIN = "chipmaker"
ROOT = Path(__file__).resolve().parents[2]


def test_a_chain_is_filled_alike_at_all_its_nodes_and_certified_by_their_validators(tmp_path):
    network = testnet_layout.create(tmp_path / "net", None, [], testnet_plan.one_chain(4))
    prefill.fill(network, CHAIN, 120)
    tips = []
    for node in network.chain(CHAIN).nodes:
        config = read(network.config_file(node.name), NodeConfig)
        app = Application(LevelKV(config.data_dir / STORE), rules.operations(), rules.changes())
        info = app.info()
        tips.append((info.height, info.app_hash))
        assert app.init_chain(network.genesis_file(CHAIN).read_bytes()) == info
        for number in range(120):
            name = prefill.CLASS + prefill.serial(number).decode()
            part = state.load(app.store, state.part_key(name), PartRecord)
            assert (part.id, part.holder) == (name, "siliconfab")
        for height in range(1, info.height + 1):
            certificate = Certificate.FromString(app.store.certificate(height))
            verify_certificate(info.chain_id, info.validators, certificate)
        app.close()
    assert len(set(tips)) == 1


def test_a_node_that_only_follows_is_filled_and_certifies_nothing(tmp_path):
    network = testnet_layout.create(tmp_path / "net", None, [], testnet_plan.one_chain(1, joining=1))
    prefill.fill(network, CHAIN, 10)
    for node in network.chain(CHAIN).nodes:
        config = read(network.config_file(node.name), NodeConfig)
        app = Application(LevelKV(config.data_dir / STORE), rules.operations(), rules.changes())
        certificate = Certificate.FromString(app.store.certificate(app.info().height))
        verify_certificate(app.info().chain_id, app.info().validators, certificate)
        app.close()


def test_a_filled_chain_is_kept_and_copied(tmp_path):
    plan = testnet_plan.one_chain(1)
    kept = networks._kept(tmp_path / "n1", plan, 10)
    marker = kept / "testnet.json"
    made = marker.stat().st_mtime_ns
    assert networks._kept(tmp_path / "n1", plan, 10) == kept
    assert marker.stat().st_mtime_ns == made
    copy = prefill.copied(kept, tmp_path / "copy")
    layout = testnet_layout.read(copy)
    config = read(layout.config_file(layout.nodes[0].name), NodeConfig)
    assert config.data_dir.is_relative_to(copy)
    app = Application(LevelKV(config.data_dir / STORE), rules.operations(), rules.changes())
    assert state.load(app.store, state.part_key(prefill.CLASS + prefill.serial(9).decode()), PartRecord)
    app.close()


def test_copies_of_a_store_that_was_closed_while_it_compacted_share_only_what_never_changes(tmp_path):
    store = tmp_path / "store"
    kv = LevelKV(store)
    kv.write([(b"key", bytes(1_000))])
    kv.close()
    LevelKV(store).close()  # moves the key into a table
    again = LevelKV(store)
    again.write([(b"later", bytes(1_000))])
    again.close()
    (finished,) = store.glob("*.ldb")
    left = [store / f"{number:06}.ldb" for number in range(int(finished.stem) + 1, 40)]
    with (store / "LOG").open("a") as log:
        log.write("Compacted 1@0 + 0@1 files => 1 bytes\n")
        for table in left:
            table.write_bytes(b"left")
            log.write(f"Generated table #{int(table.stem)}@1: 1 keys, 4 bytes\n")
    for name in ("one", "two"):
        copy = LevelKV(prefill.copied(store, tmp_path / name))  # writes a table of a number that is there
        assert copy.get(b"key") == copy.get(b"later") == bytes(1_000)
        assert (tmp_path / name / finished.name).samefile(finished)
        assert {table.read_bytes() for table in left} == {b"left"}
        copy.close()


def test_serials_are_the_same_each_time_and_lie_anywhere():
    found = [prefill.serial(number) for number in range(1_000)]
    assert found == [prefill.serial(number) for number in range(1_000)]
    assert len(set(found)) == 1_000
    firsts = Counter(serial[:1] for serial in found)
    assert len(firsts) == 16
    assert max(firsts.values()) < 120


def test_what_a_process_uses_is_counted_by_thread():
    before = machine.moment([os.getpid()])
    until = time.process_time() + 0.2
    while time.process_time() < until:
        pass
    used = machine.between(before, machine.moment([os.getpid()]), transactions=10, nodes=2)
    assert used["cpu_us_per_transaction_and_node"] * 20 == pytest.approx(200_000, rel=0.3)
    assert used["cpu_us_by_thread"]["event loop"] * 20 == pytest.approx(200_000, rel=0.3)
    assert used["cores_stolen"] >= 0


def test_what_leveldb_compacts_is_read_from_its_log(tmp_path):
    (tmp_path / "LOG").write_text(
        "2026 1 Level-0 table #5: started\n2026 1 Level-0 table #5: 1000 bytes OK\n"
        "2026 1 Compacting 4@0 + 1@1 files\n2026 1 Compacted 4@0 + 1@1 files => 7000 bytes\n"
    )
    found = machine.moment([], [tmp_path, tmp_path / "none"])
    assert (found.flushed, found.compacted) == (1_000, 7_000)


def test_an_answer_is_counted_by_what_became_of_each():
    found = offering.Offered()
    outcomes = [
        Outcome(final=True, ok=True),
        Outcome(admitted=True),
        Outcome(reason=107),
        Outcome(final=True, ok=True),
    ]
    now = time.monotonic()
    assert found.take(SubmitReply(outcomes=outcomes), now - 0.5, now - 2.0) == 2
    assert found.final == pytest.approx([2.0, 2.0], abs=0.1)
    assert found.latencies_ms == pytest.approx([500, 500], abs=100)
    assert sum(found.refused.values()) == 2
    assert found.refused["not final in time"] == 1


def test_windows_are_of_the_time_of_offering_only():
    found = offering.Offered(seconds=10.0, final=[0.1, 4.9, 5.1, 30.0])
    assert offering.windows(found, events=10) == [4.0, 2.0]


def test_an_open_loop_sends_at_its_moments_whatever_comes_of_it(monkeypatch):
    sent = []

    class Stub:
        def __init__(self, line):
            pass

        async def Submit(self, request, timeout):  # noqa: ASYNC109
            sent.append(time.monotonic())
            await asyncio.sleep(0.3)  # longer than until the next
            return SubmitReply(outcomes=[Outcome(final=True, ok=True)] * len(request.transactions))

    async def close():
        pass

    monkeypatch.setattr(offering, "channels", lambda _: [SimpleNamespace(close=close)])
    monkeypatch.setattr(offering, "ChainStub", Stub)
    found = asyncio.run(offering.opened(None, [b"t"] * 100, 0.5, 100, 10))
    assert found.offered == len(found.final) == 50
    assert sent[-1] - sent[0] == pytest.approx(0.4, abs=0.15)
    assert min(found.latencies_ms) >= 290


def reading(scale: float) -> dict:
    stages_of = {
        "execute": {"cpu_s": 2.0 * scale, "calls": 10},
        "hand-over": {"cpu_s": 1.0 * scale, "calls": 0},
    }
    return {
        "process_cpu_s": 5.0 * scale,
        "transactions": int(1_000 * scale),
        "heights": int(10 * scale),
        "threads": {
            "writer": {"cpu_s": 3.1 * scale, "stages": stages_of},
            "LevelDB": {"cpu_s": 1.5 * scale, "stages": {}},
        },
    }


def test_the_table_of_stages_is_what_happened_between_two_readings():
    difference = stages.difference(reading(1), reading(3))
    table = stages.table([difference, difference], 1_000)
    assert table["us_by_stage"] == {"execute": 2_000.0, "LevelDB": 1_500.0, "hand-over": 1_000.0}
    assert table["explained"] == 0.9
    assert (table["us_of_process"], table["transactions_per_height"]) == (5_000.0, 100)
    with pytest.raises(SystemExit, match="no transaction"):
        stages.table([stages.difference(reading(1), reading(1))], 1_000)


def test_results_become_pictures(tmp_path):
    points = {str(part): 10.0 + part for part in (0.1, 0.5, 0.99)}
    share = {"latency_ms_p50": 10.0, "latency_ms_p99": 20.0, "latency_ms": points}
    shares = [
        share | {"share": part, "offered_per_s": part * 10, "final_per_s": part * 9}
        for part in (25, 100, 300)
    ]
    of_all = {"commit": "abc", "machine": {"python": "3", "cores": 2}, "load_before": 1, "load_after": 2}
    offered = of_all | {"name": "offered-load", "events_per_transaction": 1, "parts": 1_000}
    offered |= {"sweeps": [{"validators": 4, "shares": shares}, {"validators": 7, "shares": shares}]}
    staged = of_all | {"name": "stages", "us_of_process": 300.0, "explained": 0.97}
    staged |= {
        "rows": [
            {"thread": "writer", "stage": "tree", "us": 20.0},
            {"thread": "LevelDB", "stage": "", "us": 9.0},
        ]
    }
    files = []
    for found in (offered, staged, of_all | {"name": "audit"}):
        files.append(tmp_path / f"{found['name']}.json")
        files[-1].write_text("said before\n" + json.dumps(found) + "\n")
    command = [sys.executable, "scripts/bench_plots.py", *map(str, files), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "nothing is drawn of audit" in done.stderr
    pictures = [Path(line).read_text() for line in done.stdout.splitlines()]
    assert len(pictures) == 4
    assert all(picture.lstrip().startswith("<?xml") for picture in pictures)
