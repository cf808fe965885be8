"""One event loop for the whole session (gRPC's asyncio layer belongs to one loop per process), one test network."""

import asyncio
import json
import shutil
import subprocess
import sys

import pytest

from node import testnet_layout
from node.processes import Processes
from tests.node.network import MEMBERS, RealChain


@pytest.fixture(scope="session")
def run():
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture(scope="session")
def command(tmp_path_factory):
    """Runs `chiptrace ...` in a directory of its own; (exit code, what it printed as JSON)."""
    directory = tmp_path_factory.mktemp("chiptrace")

    def chiptrace(*words, timeout=60):
        ended = subprocess.run(
            [sys.executable, "-m", "node.cli", *words, "--json"],
            cwd=directory,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(pytest.importorskip("node").__path__[0] + "/..")},
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        lines = ended.stdout.decode().splitlines()
        return ended.returncode, json.loads(lines[-1]) if lines else ended.stderr.decode()

    chiptrace.directory = directory
    return chiptrace


@pytest.fixture(scope="session")
def testnet(command):
    """A test network that is up: what `chiptrace testnet up` printed."""
    code, printed = command("testnet", "up")
    directory = command.directory / ".chiptrace"
    try:
        assert code == 0, printed
        yield printed
    finally:
        if testnet_layout.exists(directory):
            processes = Processes(directory)
            processes.stop(list(processes.running()))
            shutil.rmtree(directory)


@pytest.fixture(scope="session")
def session_chain(testnet, command):
    real = RealChain(command.directory / ".chiptrace")
    yield real
    real.close()


@pytest.fixture
def chain(session_chain):
    """The real chain, whole again before each test."""
    session_chain.start()
    session_chain.in_step()
    for member in MEMBERS:
        assert session_chain.process(member), session_chain.log(member)[-2_000:]
    return session_chain
