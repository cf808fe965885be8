"""What a relayer says of itself: health is progress, and figures are where Prometheus finds them."""

import http.client
import json
from types import SimpleNamespace

import pytest

from bridge.relayer_outbox import Outbox
from bridge.relayer_plan import Acknowledge, Receive, Update
from client.relay_route import Direction
from node import relay_metrics
from node.relay_metrics import RelayMetrics
from node.testnet_layout import _free_ports
from proto.chiptrace.v1.bridge_pb2 import ClientRecord, Packet
from proto.chiptrace.v1.ledger_pb2 import Reason, Result
from proto.chiptrace.v1.node_pb2 import PacketItem


class Clock:
    def __init__(self, monkeypatch):
        self.now = 1_000_000
        monkeypatch.setattr(relay_metrics, "now_ms", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def end(name, client, other, *, clock):
    record = ClientRecord(id=client, latest_time_ms=clock.now - 5_000, trusting_period_ms=60_000)
    return SimpleNamespace(
        trust=SimpleNamespace(name=name),
        outbox=Outbox(client, other),
        record=record,
        lies=0,
        time_of=lambda height: 900_000 + height,
    )


def route_of(clock):
    first, second = end("a", "b-1", "a-1", clock=clock), end("b", "a-1", "b-1", clock=clock)
    return SimpleNamespace(
        name="a-b",
        first=first,
        second=second,
        forth=Direction(first, second),
        back=Direction(second, first),
        stuck=(),
    )


def opened(*sequences):
    return [
        PacketItem(
            packet=Packet(source_client="b-1", destination_client="a-1", sequence=n), height=n, open=True
        )
        for n in sequences
    ]


def test_nothing_is_healthy_before_the_first_round(clock):
    metrics = RelayMetrics(60_000)
    assert not metrics.health()["healthy"]
    metrics.round(route_of(clock), 0.1, "")
    assert metrics.health()["healthy"]


def test_an_idle_relayer_stays_healthy_and_a_backlog_without_progress_is_not(clock):
    metrics, route = RelayMetrics(60_000), route_of(clock)
    for _ in range(5):
        metrics.round(route, 0.1, "")
        clock.now += 60_000
    metrics.round(route, 0.1, "")
    assert metrics.health()["healthy"]
    route.first.outbox.see_new(opened(1, 2))
    clock.now += 60_000
    metrics.round(route, 0.1, "")
    assert metrics.health()["healthy"]  # just found
    clock.now += 1_001
    metrics.round(route, 0.1, "")
    found = metrics.health()
    assert not found["healthy"]
    assert "2 packets wait" in found["problems"][0]


def test_new_packets_on_top_of_a_stuck_backlog_are_no_progress(clock):
    metrics, route = RelayMetrics(60_000), route_of(clock)
    metrics.round(route, 0.1, "")
    for step in range(1, 8):
        route.first.outbox.see_new(opened(step))
        clock.now += 10_000
        metrics.round(route, 0.1, "")
    assert not metrics.health()["healthy"]
    route.first.outbox.close(1)  # by whomever
    metrics.round(route, 0.1, "")
    assert metrics.health()["healthy"]
    clock.now += 50_000
    route.first.outbox.see_answers([PacketItem(packet=opened(2)[0].packet)], 2, 2)
    metrics.round(route, 0.1, "")
    clock.now += 50_000
    assert metrics.health()["healthy"]  # an answer was progress too


def test_troubles_stuck_clients_and_forks_are_told(clock):
    metrics, route = RelayMetrics(60_000), route_of(clock)
    metrics.round(route, 0.1, "no node of chain b answered")
    assert metrics.health()["problems"] == ["route a-b: no node of chain b answered"]
    route.stuck = ("client a-1 is frozen",)
    metrics.round(route, 0.1, "")
    assert metrics.health()["problems"] == ["route a-b: client a-1 is frozen"]
    route.stuck = ()
    metrics.round(route, 0.1, "")
    metrics.watched("a", 3, "cannot look")
    assert metrics.health()["problems"] == ["watch of a: cannot look"]
    metrics.watched("a", 3, "")
    metrics.fork("a", "two pasts")
    assert metrics.health()["problems"] == ["fork: two pasts"]


def test_pages_are_served_and_nothing_else(clock):
    metrics, route = RelayMetrics(60_000), route_of(clock)
    server = metrics.serve(f"127.0.0.1:{_free_ports(1)[0]}")
    try:

        def get(path):
            line = http.client.HTTPConnection(*server.server_address, timeout=5)
            line.request("GET", path)
            reply = line.getresponse()
            return reply.status, reply.read().decode()

        assert get("/health")[0] == 503
        route.first.outbox.begin(3)
        route.first.outbox.see_scanned(opened(1, 2), "node")
        route.first.outbox.see_new(opened(3))
        metrics.round(route, 0.1, "")
        packet = opened(1)[0].packet
        actions = [Update("a-1", 1, 2), Receive(packet, 2, b"k"), Receive(packet, 2, b"l")]
        metrics.carried(route.forth, actions, Result(ok=True))
        metrics.carried(
            route.back, [Acknowledge(packet, b"\1", 2, b"k")], Result(ok=True, reason=Reason.REDUNDANT)
        )
        metrics.carried(route.back, [], Result(ok=False, reason=Reason.POOL_FULL))
        code, body = get("/health")
        assert (code, json.loads(body)["healthy"]) == (200, True)
        code, text = get("/metrics")
        assert code == 200
        for line in (
            'chiptrace_relay_backlog_size{direction="a>b",lane="clearing"} 2.0',
            'chiptrace_relay_backlog_size{direction="a>b",lane="live"} 1.0',
            'chiptrace_relay_backlog_oldest_seconds{direction="a>b",lane="clearing"} 99.999',
            'chiptrace_relay_actions_total{direction="a>b",kind="receive"} 2.0',
            'chiptrace_relay_client_updates_total{direction="a>b"} 1.0',
            'chiptrace_relay_redundant_total{direction="b>a"} 1.0',
            'chiptrace_relay_refused_total{direction="b>a",reason="POOL_FULL"} 1.0',
            'chiptrace_relay_client_expires_seconds{direction="a>b"} 55.0',
            "chiptrace_relay_healthy 1.0",
        ):
            assert line in text.splitlines(), line
        assert get("/elsewhere")[0] == 404
    finally:
        server.shutdown()
        server.server_close()
