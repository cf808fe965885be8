"""The relayer's threads: what ends one ends all of them, and a chain that does not answer ends none."""

import socket
import threading
from dataclasses import replace

import pytest

from client.relay_end import NotReady
from ledger.errors import StoreError
from node import config, relay, relay_watch, testnet_layout
from node.config import RelayConfig
from node.relay import Relayer
from node.testnet_plan import chains


@pytest.fixture
def settings(tmp_path):
    plan = chains(("fab", "osat"), validators=1)
    network = testnet_layout.create(tmp_path / "net", None, (), plan)
    return config.read(network.config_file("relay"), RelayConfig)


def run(relayer, until):
    """Run it until something is so; whether it ended by itself."""
    stopping = threading.Event()
    thread = threading.Thread(target=relayer.run, args=(stopping,))
    thread.start()
    for _ in range(600):
        if until() or stopping.is_set():
            break
        stopping.wait(0.05)
    ended = stopping.is_set()
    stopping.set()
    thread.join(30)
    assert not thread.is_alive()
    return ended


def test_chains_that_do_not_answer_are_told_and_the_relayer_goes_on(settings):
    relayer = Relayer(settings)
    told = lambda: [text for text in relayer.metrics.health()["problems"] if "no node of chain" in text]
    assert not run(relayer, told)
    assert relayer.failed is None
    assert told()


def test_a_table_that_fails_ends_the_relayer(settings, monkeypatch):
    def save(*_):
        raise StoreError("the disk is gone")

    monkeypatch.setattr(relay.RelayTable, "save", save)
    relayer = Relayer(settings)
    assert run(relayer, lambda: False)
    assert isinstance(relayer.failed, StoreError)


def test_a_mistake_of_our_own_ends_it_too(settings, monkeypatch):
    def round_(_):
        raise ZeroDivisionError

    monkeypatch.setattr(relay.Route, "round", round_)
    relayer = Relayer(settings)
    assert run(relayer, lambda: False)
    assert isinstance(relayer.failed, ZeroDivisionError)


def test_pauses_grow_while_there_is_trouble_and_the_same_trouble_is_said_once(settings, monkeypatch, caplog):
    count = 0

    def round_(_):
        nonlocal count
        count += 1
        raise NotReady("chain osat has no client 'fab' yet")

    monkeypatch.setattr(relay.Route, "round", round_)
    monkeypatch.setattr(relay.ChainWatch, "run", lambda *_: None)
    relayer = Relayer(settings)
    with caplog.at_level("WARNING", "chiptrace.relay"):
        assert not run(relayer, lambda: count >= 4)
    said = [record for record in caplog.records if getattr(record, "cause", "").startswith("chain osat")]
    assert len(said) == 1


def test_the_same_trouble_of_a_watch_is_said_once(settings, monkeypatch, caplog):
    count = 0

    def round_(*_):
        nonlocal count
        count += 1
        raise NotReady("chain osat does not answer" if count < 8 else "another")

    monkeypatch.setattr(relay_watch.ChainWatch, "round", round_)
    monkeypatch.setattr(relay.RouteLoop, "run", lambda *_: None)
    relayer = Relayer(replace(settings, watch_ms=1))
    with caplog.at_level("WARNING", "chiptrace.relay"):
        assert not run(relayer, lambda: count >= 12)
    said = [record.cause for record in caplog.records if record.message == "the watch was cut short"]
    assert 1 <= said.count("chain osat does not answer") <= 2  # two watches
    assert len(said) <= 4


def test_an_address_that_is_taken_is_told_with_what_to_do(settings):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        there = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(OSError, match=f"cannot listen on {there}.*name another `listen`"):
            Relayer(replace(settings, listen=there)).run(threading.Event())


def test_a_client_is_watched_wherever_a_route_has_it(settings):
    relayer = Relayer(settings)
    found = {
        watch.name: [(client.host.trust.name, client.host.client) for client in watch._clients]
        for watch in relayer._watches
    }
    assert found == {"fab": [("osat", "fab")], "osat": [("fab", "osat")]}
