"""Processes: exactly those that were started here are ended, by pid and start time."""

import json
import os
import subprocess
import sys

import pytest

from node import processes
from node.processes import Processes, Started


@pytest.fixture
def ours(tmp_path, monkeypatch):
    """Processes that only sleep, instead of nodes; a deaf one ignores SIGTERM."""
    monkeypatch.setattr(processes, "GRACE_SECONDS", 0.5)
    real = processes._Detached
    code = {
        "sleeper": "import time; print('up', flush=True); time.sleep(60)",
        "deaf": "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
    }
    monkeypatch.setattr(
        processes, "_Detached", lambda words, **more: real([sys.executable, "-c", code[words[-1]]], **more)
    )
    found = Processes(tmp_path)
    yield found
    found.stop(["sleeper", "deaf"])


def started(ours, tmp_path, name):
    item = ours.start(name, [name], tmp_path / "log")
    while "up" not in (tmp_path / "log").read_text():
        pass
    return item


def test_started_is_running_until_stopped(ours, tmp_path):
    item = started(ours, tmp_path, "sleeper")
    assert ours.running() == {"sleeper": item}
    assert Processes(tmp_path).running() == {"sleeper": item}  # also for the next command
    assert ours.stop(["sleeper"]) == []
    assert ours.running() == {}


def test_one_that_does_not_listen_is_ended_after_the_grace(ours, tmp_path):
    started(ours, tmp_path, "deaf")
    assert ours.stop(["deaf"]) == ["deaf"]
    assert ours.running() == {}


def test_a_pid_that_was_given_to_another_process_is_never_touched(ours, tmp_path):
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as stranger:
        real = processes._start_ticks(stranger.pid)
        ours._write([Started("sleeper", stranger.pid, real - 1)])
        assert ours.running() == {}
        ours.stop(["sleeper"])
        ours.kill("sleeper")
        processes._signal(Started("sleeper", stranger.pid, real - 1), 9)
        with pytest.raises(subprocess.TimeoutExpired):
            stranger.wait(0.2)
        stranger.kill()


def test_it_runs_in_a_session_of_its_own(ours, tmp_path):
    item = started(ours, tmp_path, "sleeper")
    assert os.getsid(item.pid) == item.pid != os.getsid(0)


def test_a_process_that_died_before_it_was_written_down_does_not_count_as_running(tmp_path):
    gone = [{"name": "a", "pid": 2**22 - 1, "start_ticks": 0}]
    (tmp_path / "processes.json").write_text(json.dumps(gone))
    processes = Processes(tmp_path)
    assert processes.running() == {}
    assert processes.stop(["a"]) == []


def test_one_that_cannot_be_remembered_does_not_run_on(ours, tmp_path, monkeypatch):
    """A full disk, or a directory that may not be written: what stands in no list would be ended by nobody."""
    begun = []
    remember = Processes._write

    def full(self, items):
        begun.extend(items)
        raise OSError(28, "No space left on device", str(tmp_path / "processes.new"))

    with monkeypatch.context() as patched:
        patched.setattr(Processes, "_write", full)
        with pytest.raises(OSError, match="No space left"):
            ours.start("sleeper", ["sleeper"], tmp_path / "log")
    assert remember is Processes._write
    assert len(begun) == 1
    assert not processes._still_runs(begun[0])
