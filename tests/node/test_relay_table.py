"""The relayer's table: what it keeps is there again, what it lost costs nothing, a damaged one is told."""

import sqlite3
from types import SimpleNamespace

import pytest

from bridge.relayer_outbox import Outbox
from client.relay_route import NEVER_MS, Direction, Refusal
from ledger.errors import StoreError
from node import relay_table
from node.relay_table import HEIGHT_MAX, RelayTable
from proto.chiptrace.v1.ledger_pb2 import Reason
from tests.bridge.certified import Keys, signed_header

A, B = b"a" * 32, b"b" * 32
KEYS = Keys()


def end(chain, client, low=1):
    trust = SimpleNamespace(chain_id=chain, name=chain[:1].decode())
    return SimpleNamespace(trust=trust, client=client, outbox=Outbox(client, "x", low))


def test_an_empty_table_begins_at_the_first_packet(tmp_path):
    table = RelayTable(tmp_path / "relay.db")
    assert table.low(A, "b-1") == 1
    assert table.refusals(A, "b-1") == {}
    assert table.header(A, 7) is None


def test_cursors_and_refusals_are_there_again_and_go_with_what_they_were_of(tmp_path):
    first, second = end(A, "b-1", 17), end(B, "a-1", 3)
    forth, back = Direction(first, second), Direction(second, first)
    refusal = Refusal(2, 5_000, Reason.POOL_FULL)
    forth.refusals = {b"k1": refusal, b"k2": Refusal(1, NEVER_MS, Reason.PACKET_MISMATCH)}
    table = RelayTable(tmp_path / "relay.db")
    table.save((forth, back))
    table.close()
    again = RelayTable(tmp_path / "relay.db")
    assert (again.low(A, "b-1"), again.low(B, "a-1"), again.low(A, "c-1")) == (17, 3, 1)
    found = again.refusals(B, "a-1")
    assert found == forth.refusals
    assert [item.terminal for item in found.values()] == [False, True]
    assert again.refusals(A, "b-1") == again.refusals(B, "c-1") == {}
    forth.refusals = {b"k1": refusal}
    first.outbox.low = 20
    again.save((forth, back))
    assert RelayTable(tmp_path / "relay.db").refusals(B, "a-1") == {b"k1": refusal}
    assert RelayTable(tmp_path / "relay.db").low(A, "b-1") == 20


def test_of_a_table_of_before_headers_alone_are_taken_over_and_once(tmp_path):
    """In the first version one lying node could move a cursor too far, or have an action given up for good."""
    first, second = end(A, "b-1", 17), end(B, "a-1")
    forth = Direction(first, second)
    forth.refusals = {b"k": Refusal(1, NEVER_MS, Reason.MALFORMED)}
    header = signed_header(5, KEYS)
    path = tmp_path / "relay.db"

    def fill(table):
        table.save((forth,))
        table.keep_headers(A, {5: header})
        table.close()

    fill(RelayTable(path))
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version = 1")
    again = RelayTable(path)
    assert again.low(A, "b-1") == 1
    assert again.refusals(B, "a-1") == {}
    assert again.header(A, 5) == header
    fill(again)
    assert RelayTable(path).low(A, "b-1") == 17
    assert RelayTable(path).refusals(B, "a-1") == forth.refusals


def test_nothing_is_written_where_nothing_changed(tmp_path, monkeypatch):
    forth = Direction(end(A, "b-1", 2), end(B, "a-1"))
    forth.refusals = {b"k": Refusal(1, 9, Reason.POOL_FULL)}
    table = RelayTable(tmp_path / "relay.db")
    table.save((forth,))
    written = []
    monkeypatch.setattr(table, "_write", written.extend)
    table.save((forth,))
    assert written == []


def test_the_first_header_of_a_height_stays_and_the_oldest_go(tmp_path, monkeypatch):
    monkeypatch.setattr(relay_table, "HEADERS_KEPT", 3)
    table = RelayTable(tmp_path / "relay.db")
    first, second = signed_header(7, KEYS), signed_header(7, KEYS, app_hash=b"another".ljust(32))
    table.keep_headers(A, {7: first})
    table.keep_headers(A, {7: second})
    assert table.header(A, 7) == first
    assert table.header(B, 7) is None
    table.keep_headers(A, {12: signed_header(12, KEYS)})
    assert table.header(A, 7) is None
    assert RelayTable(tmp_path / "relay.db").header(A, 12) == signed_header(12, KEYS)


def test_a_height_that_no_table_holds_ends_no_relayer(tmp_path):
    table = RelayTable(tmp_path / "relay.db")
    low, high = signed_header(7, KEYS), signed_header(HEIGHT_MAX + 1, KEYS, time_ms=1)
    table.keep_headers(A, {HEIGHT_MAX + 1: high})
    table.keep_headers(A, {7: low, 2**64 - 1: high})
    assert table.header(A, 7) == low
    assert table.header(A, HEIGHT_MAX + 1) is table.header(A, 2**64 - 1) is None
    last = signed_header(HEIGHT_MAX, KEYS, time_ms=1)
    table.keep_headers(A, {HEIGHT_MAX: last})
    assert table.header(A, HEIGHT_MAX) == last


def test_several_threads_of_a_relayer_use_one_file(tmp_path):
    tables = [RelayTable(tmp_path / "relay.db") for _ in range(3)]
    for low, table in enumerate(tables, start=5):
        table.save((Direction(end(A, f"c-{low}", low), end(B, "a-1")),))
    assert [tables[0].low(A, f"c-{low}") for low in (5, 6, 7)] == [5, 6, 7]


def test_a_file_that_is_no_table_is_told_with_what_to_do(tmp_path):
    path = tmp_path / "relay.db"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreError, match="delete it"):
        RelayTable(path)
    path.unlink()
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version = 9")
    with pytest.raises(StoreError, match="another version"):
        RelayTable(path)


def test_a_write_that_fails_stops_the_relayer(tmp_path):
    table = RelayTable(tmp_path / "relay.db")
    table._connection.execute("DROP TABLE cursors")
    with pytest.raises(StoreError):
        table.save((Direction(end(A, "b-1", 2), end(B, "a-1")),))
