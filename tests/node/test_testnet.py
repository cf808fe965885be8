"""A test network's directory: made whole or begun anew, and changed by one command at a time."""

import threading
import time

import pytest

from client import keys
from ledger.errors import Malformed
from node import testnet_layout
from node.testnet import Testnet
from node.testnet_plan import one_chain

PLAN = one_chain(1)


@pytest.fixture
def home(tmp_path):
    return tmp_path / "net"


def broken_off(home, monkeypatch, what="create", where=keys):
    """Making it ends in the middle, as with Ctrl-C."""

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(where, what, interrupted)
        testnet_layout.create(home, None, (), PLAN)
    assert testnet_layout.is_unfinished(home)
    assert list((home / "chains").iterdir())


@pytest.mark.parametrize(
    ("what", "where"), [("create", keys), ("_write_trust", testnet_layout), ("_write_node", testnet_layout)]
)
def test_what_was_broken_off_is_begun_anew(home, monkeypatch, what, where):
    broken_off(home, monkeypatch, what, where)
    made = testnet_layout.create(home, None, (), PLAN)
    assert testnet_layout.read(home) == made
    assert not testnet_layout.is_unfinished(home)


def test_what_was_broken_off_while_it_was_cleared_is_cleared(home, monkeypatch):
    broken_off(home, monkeypatch)
    broken_off(home, monkeypatch, "rmtree", testnet_layout.shutil)
    testnet_layout.create(home, None, (), PLAN)


def test_what_was_broken_off_can_be_removed(home, monkeypatch):
    broken_off(home, monkeypatch)
    with pytest.raises(Malformed, match="no test network"):
        Testnet(home).down()
    Testnet(home).reset()
    assert not home.exists()


def test_what_is_of_somebody_else_is_neither_cleared_nor_removed(home):
    home.mkdir()
    (home / "thesis.txt").write_text("mine")
    with pytest.raises(Malformed, match="not empty"):
        testnet_layout.create(home, None, (), PLAN)
    with pytest.raises(Malformed, match="no test network"):
        Testnet(home).reset()
    assert (home / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("change", ["down", "reset", "kill", "start"])
def test_a_command_waits_for_the_one_that_changes_the_same_network(home, change):
    testnet_layout.create(home, None, (), PLAN)
    arguments = ["nobody"] if change in ("kill", "start") else []
    ended = []

    def run():
        try:
            getattr(Testnet(home), change)(*arguments)
        except Malformed as error:
            assert arguments
            ended.append(error)
        else:
            ended.append(None)

    other = threading.Thread(target=run)
    with Testnet(home).held():
        other.start()
        time.sleep(0.2)
        assert not ended
    other.join(10)
    assert ended


def test_who_waited_while_all_was_removed_holds_what_stands_there_now(home):
    testnet_layout.create(home, None, (), PLAN)
    held = threading.Event()

    def wait():
        with Testnet(home).held():
            held.set()
            time.sleep(0.3)

    other = threading.Thread(target=wait)
    with Testnet(home).held():
        other.start()
        time.sleep(0.1)
        Testnet(home)._processes.stop([])
        testnet_layout.shutil.rmtree(home)
        testnet_layout.create(home, None, (), PLAN)
    assert held.wait(10)
    begun = time.monotonic()
    with Testnet(home).held():
        assert time.monotonic() - begun > 0.1
    other.join(10)
