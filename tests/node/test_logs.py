"""What a stranger can bring about again and again does not fill the log."""

import json
import logging

import pytest

from ledger.errors import Malformed
from node import logs
from node.logs import Seldom


def test_the_same_is_said_once_in_a_while_with_how_often_it_was_left_out(caplog, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: now[0])
    seldom = Seldom(logging.getLogger("seldom"))
    for _ in range(1_000):
        seldom.warning("caller refused", {"peer": "a"})
    seldom.warning("frame refused", {"peer": "b"})
    now[0] += logs.SELDOM_SECONDS
    seldom.warning("caller refused", {"peer": "c"})
    told = [(line.message, line.peer, getattr(line, "left_out", 0)) for line in caplog.records]
    assert told == [("caller refused", "a", 0), ("frame refused", "b", 0), ("caller refused", "c", 999)]


@pytest.fixture
def kept():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_log_stands_relative_to_the_configuration_and_not_to_where_the_node_was_started(tmp_path, kept):
    logs.start("info", "node.jsonl", tmp_path)
    logging.getLogger("chiptrace.test").info("here", extra={"height": 7})
    line = json.loads((tmp_path / "node.jsonl").read_text())
    assert (line["message"], line["height"], line["level"]) == ("here", 7, "info")


def test_a_log_that_cannot_be_opened_is_told_with_what_to_do(tmp_path, kept):
    with pytest.raises(
        Malformed, match=r"log_file .*nowhere/node\.jsonl cannot be opened: .*; make its directory"
    ):
        logs.start("info", "nowhere/node.jsonl", tmp_path)


def test_of_what_grpc_logs_little_is_said_and_of_a_caller_who_left_nothing(tmp_path, kept):
    logs.start("info", "node.jsonl", tmp_path)
    grpc = logging.getLogger("grpc._cython.cygrpc")
    for number in range(100):
        grpc.error("ExecuteBatchError raised in core by servicer method [%s]", number)
    assert not (tmp_path / "node.jsonl").read_text()
    for number in range(100):
        grpc.error("Invalid encoding on %r", number)
    (line,) = map(json.loads, (tmp_path / "node.jsonl").read_text().splitlines())
    assert line["message"] == "Invalid encoding on 0"
