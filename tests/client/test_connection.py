"""The line to a chain's nodes: the next one when one does not answer, and errors in words with a code."""

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.connection import DETAILS_CHARACTERS_MAX, REASON_METADATA, Connection, NoAnswer, NodeRefused
from client.trust import ChainTrust, Identity
from proto.chiptrace.v1.ledger_pb2 import Reason
from proto.chiptrace.v1.node_pb2 import StatusReply, StatusRequest

ENDPOINTS = ("one:1", "two:2", "three:3")


class Failure(grpc.RpcError):
    def __init__(self, code, details="", reason=None):
        self._code, self._details, self._reason = code, details, reason

    def code(self):
        return self._code

    def details(self):
        return self._details

    def trailing_metadata(self):
        return None if self._reason is None else ((REASON_METADATA, self._reason), ("other", b"\xff"))


class Node:
    def __init__(self, answer):
        self.answer = answer
        self.asked = 0

    def GetStatus(self, request, timeout=None):
        self.asked += 1
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


DOWN = Failure(grpc.StatusCode.UNAVAILABLE, "connection refused")


def connected(*answers, only=None, home=None):
    trust = ChainTrust("a", bytes(32), ENDPOINTS, home, 1_000)
    connection = Connection(trust, Identity("a", "ada", None, home, home, "auditor"), only)
    nodes = dict(zip(ENDPOINTS, map(Node, answers), strict=False))
    connection.stub = nodes.__getitem__
    return connection, nodes


def ask(connection):
    return connection.call(lambda stub: stub.GetStatus, StatusRequest())


@given(st.lists(st.sampled_from(["down", "refused", "answers"]), min_size=3, max_size=3))
def test_the_first_that_answers_is_believed_no_more_than_any(kinds):
    answers = {
        "down": DOWN,
        "refused": Failure(grpc.StatusCode.OUT_OF_RANGE, "pruned", "HEIGHT_NOT_SERVED"),
        "answers": StatusReply(height=3),
    }
    connection, nodes = connected(*(answers[kind] for kind in kinds))
    if "answers" in kinds:
        assert ask(connection).height == 3
        assert connection.endpoint == ENDPOINTS[kinds.index("answers")]
        asked = sum(node.asked for node in nodes.values())
        ask(connection)
        assert sum(node.asked for node in nodes.values()) == asked + 1, "the one that answered is asked first"
        assert connection.bytes_received == 2 * StatusReply(height=3).ByteSize()
    elif "refused" in kinds:
        with pytest.raises(NodeRefused) as refused:
            ask(connection)
        assert refused.value.code == "HEIGHT_NOT_SERVED"
    else:
        with pytest.raises(NoAnswer, match="chiptrace testnet status") as silent:
            ask(connection)
        assert all(endpoint in str(silent.value) for endpoint in ENDPOINTS)


def test_a_node_that_is_catching_up_says_so_if_no_other_answers():
    behind = Failure(grpc.StatusCode.UNAVAILABLE, "catching up", "NOT_SYNCED")
    with pytest.raises(NodeRefused) as refused:
        ask(connected(behind, DOWN, DOWN)[0])
    assert refused.value.reason == Reason.NOT_SYNCED


@pytest.mark.parametrize("reason", [None, "", "NO_SUCH_REASON", "reason"])
def test_a_reason_nobody_knows_is_none(reason):
    with pytest.raises(NodeRefused) as refused:
        ask(connected(Failure(grpc.StatusCode.INTERNAL, "x" * 9_999, reason), DOWN, DOWN)[0])
    assert refused.value.code == "REASON_UNSPECIFIED"
    assert len(str(refused.value)) < DETAILS_CHARACTERS_MAX + 100


def test_only_one_node_is_asked_when_it_alone_was_chosen():
    connection, nodes = connected(StatusReply(), DOWN, StatusReply(), only="two:2")
    with pytest.raises(NoAnswer):
        ask(connection)
    assert [node.asked for node in nodes.values()] == [0, 1, 0]


def test_missing_certificates_are_named(tmp_path):
    trust = ChainTrust("a", bytes(32), ("localhost:1",), tmp_path / "ca.pem", 1_000)
    identity = Identity("a", "ada", None, tmp_path / "c.pem", tmp_path / "k.pem", "auditor")
    with pytest.raises(NoAnswer, match=r"ca\.pem"):
        ask(Connection(trust, identity))


def test_closing_closes_what_was_opened(tmp_path):
    connection, _ = connected(StatusReply(), home=tmp_path)
    closed = []
    connection._channels["one:1"] = type("Channel", (), {"close": lambda self: closed.append(1)})()
    connection.close()
    assert (closed, connection._channels) == ([1], {})
