"""`scripts/demo.py` as a visitor runs it: the story, other people's documents, and what an impatient one leaves."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from tests.integration.testbed import DOCUMENTS, ROOT, leftover
from tests.node.network import until

pytestmark = pytest.mark.processes
SECONDS_MAX = 120


class Demo:
    """The demo in a process group of its own, its files in a directory of its own."""

    def __init__(self, folder, *words):
        # A shell starts what it puts into the background with SIGINT ignored, and children inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.folder = folder
        self.lines = []
        self.process = subprocess.Popen(
            [sys.executable, "scripts/demo.py", *words],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=lambda: self.lines.extend(self.process.stdout), daemon=True)
        self._reader.start()

    @property
    def text(self):
        return "".join(self.lines)

    def ended(self, seconds=SECONDS_MAX):
        code = self.process.wait(seconds)
        self._reader.join(5)
        return code

    def nothing_is_left(self):
        assert not leftover(str(self.folder)), self.text
        assert not list(self.folder.glob("chiptrace-demo-*"))


@contextmanager
def demo(folder, *words):
    running = Demo(folder, *words)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()
        running.process.stdout.close()
        for item in leftover(str(folder)):  # ours: their command line names the directory of this test
            os.kill(item.pid, signal.SIGKILL)


def test_the_story_ends_verified_with_every_lie_caught_and_nothing_left(tmp_path):
    began = time.monotonic()
    with demo(tmp_path) as running:
        assert running.ended() == 0, running.text
        assert time.monotonic() - began < SECONDS_MAX
        running.nothing_is_left()
    said = re.search(r"audit of (\S+): (\w+), lies caught: (\d) of (\d)", running.text)
    assert said.groups()[1:] == ("verified", "5", "5")
    caught = {line.split(":")[1].split()[0] for line in running.lines if line.strip().startswith("caught")}
    assert caught == {"BAD_SIGNATURE", "ALREADY_COMMISSIONED", "REDUNDANT", "BAD_PROOF", "STALE_HEAD"}
    assert "NOT CAUGHT" not in running.text
    # Down to the wafer, over both chains.
    assert "https://id.gs1.org/8004/9521001W26A071-08" in running.text or "W26A071-08" in running.text
    assert "as of chain chipmaker" in running.text
    assert "as of chain assembler" in running.text


def files_are_made(running):
    return list(running.folder.glob("chiptrace-demo-*/testnet/chains/*/ca.pem"))


def a_node_is_started(running):
    return [item for item in leftover(str(running.folder)) if "run --config" in item.line]


def the_story_is_told(running):
    return "final" in running.text


INTERRUPTIONS = [
    (files_are_made, "group"),
    (a_node_is_started, "group"),
    (a_node_is_started, "alone"),
    (the_story_is_told, "group"),
]


@pytest.mark.parametrize("moment, whom", INTERRUPTIONS)
def test_an_interrupted_demo_leaves_nothing(tmp_path, moment, whom):
    """As Ctrl-C does, the signal goes to everybody in the foreground; or a supervisor sends it to one alone."""
    with demo(tmp_path) as running:
        until(lambda: moment(running), 60)
        if whom == "group":
            os.killpg(running.process.pid, signal.SIGINT)
        else:
            os.kill(running.process.pid, signal.SIGINT)
        assert running.ended(40) == 130, running.text
        running.nothing_is_left()
        assert "Traceback" not in running.text


def test_a_document_of_others_is_captured_and_audited(tmp_path):
    path = DOCUMENTS[0]
    if not path.exists():
        pytest.skip(f"no EPCIS documents at {path.parent}")
    with demo(tmp_path, "--epcis", str(path)) as running:
        assert running.ended() == 0, running.text
        running.nothing_is_left()
    assert re.search(r"2 of 2 events recorded; worst verdict: (\w+)", running.text), running.text
    assert "UNKNOWN_ORIGIN" in running.text
