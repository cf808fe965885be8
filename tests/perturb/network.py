"""A chain of real node processes whose lines run through the proxy, for the runner and its tests.

net.start("testlab"); net.kill("testlab"); net.pause("testlab")      # by member
net.link([("testlab", "chipdist")], delay_ms=50)                    # what happens to bytes from one to the other
net.status("testlab")                                               # what it says of itself, or None
net.trouble()                                                       # processes that ended without having been told to
"""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc

from client import keys, trust
from client.clock import OFFSET_VARIABLE
from client.connection import Connection
from client.session import open_chain
from node import config, testnet_layout
from node.config import NodeConfig
from node.processes import Processes
from node.testnet_plan import one_chain
from proto.chiptrace.v1.node_pb2 import StatusRequest

CHAIN = "chipmaker"
PROXY = "proxy"
IN_STEP_SECONDS = 20.0  # after a perturbation has ended
ASK_SECONDS = 2.0
START_SECONDS_IDLE = 0.5
HEIGHTS_APART_MAX = 3
HEARTBEAT_MS = 500


class Violation(Exception):
    """Something that must never happen did."""


def slowness() -> float:
    """How many times longer than on an idle machine a node's start takes now; at least 1.

    The limits are meant for an idle machine. Before one is held against a node the machine is measured, so that what
    is told is a fault of the node, and not that twenty processes share two cores.
    """
    began = time.monotonic()
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", "import node.server"], cwd=root, check=True)
    return max(1.0, (time.monotonic() - began) / START_SECONDS_IDLE)


class Net:
    """One chain, its processes and the proxy between them."""

    def __init__(
        self,
        directory: Path,
        validators: int,
        *,
        joining: int = 0,
        seed: int = 1,
        heartbeat_ms: int = HEARTBEAT_MS,
    ):
        self.directory = directory
        plan = one_chain(validators, joining, heartbeat_ms)
        self.layout = testnet_layout.create(directory, None, (), plan)
        self.chain = self.layout.chains[0]
        self.nodes = {node.member: node for node in self.chain.nodes}
        self.members = list(self.nodes)
        self.trust = trust.read(self.layout.trust_file)
        self.processes = Processes(directory)
        self.expected: set[str] = set()  # members whose process should be running
        self.byzantine: dict[str, list[str]] = {}  # member -> its acts
        self.offsets_ms: dict[str, int] = {}
        self.hold = 10.0  # seconds that what is done to the network lasts
        self._control = None
        self._hands = (
            threading.RLock()
        )  # two perturbations at a time share the list of processes and the proxy
        self._start_proxy(seed)

    # ---- processes ------------------------------------------------------------------------------

    def name(self, member):
        return f"{CHAIN}-{member}"

    def place(self, member) -> Path:
        return self.layout.node_directory(self.name(member))

    def pid(self, member) -> int:
        found = self.processes.running().get(self.name(member))
        return found.pid if found else 0

    def start(self, *members):
        for member in members:
            self._launch(member)

    def _launch(self, member):
        with self._hands:
            self.expected.add(member)
            file = str(self.layout.config_file(self.name(member)))
            arguments, module = ["node", "run", "--config", file], "node.cli"
            if member in self.byzantine:
                arguments, module = (
                    [file, ",".join(self.byzantine[member])],
                    "tests.perturb.byzantine_node",
                )
            environment = {OFFSET_VARIABLE: str(self.offsets_ms.get(member, 0))}
            log = self.place(member) / "log.jsonl"
            self.processes.start(self.name(member), arguments, log, module=module, environment=environment)

    def kill(self, *members):
        for member in members:
            with self._hands:
                self.expected.discard(member)
                self.processes.kill(self.name(member))

    def stop(self, *members) -> list[str]:
        """Asks them to end; those that had to be forced."""
        with self._hands:
            self.expected -= set(members)
            return self.processes.stop([self.name(member) for member in members])

    def pause(self, member):
        os.kill(self.pid(member), signal.SIGSTOP)

    def resume(self, member):
        os.kill(self.pid(member), signal.SIGCONT)

    def trouble(self) -> list[str]:
        """Members whose process has ended although nobody ended it."""
        running = self.processes.running()
        return [member for member in sorted(self.expected) if self.name(member) not in running]

    def close(self):
        if self._control:
            self._control[0].close()
        running = list(self.processes.running())
        for name in running:  # a paused process does not hear SIGTERM
            os.kill(self.processes.running()[name].pid, signal.SIGCONT)
        self.processes.stop(running)

    # ---- the network ------------------------------------------------------------------------------

    def _start_proxy(self, seed):
        """Every line of every node leads to a port of the proxy; the pins stay those of the real ends."""
        pairs = [(a, b) for a in self.nodes for b in self.nodes if a != b]
        links = [
            {"from": a, "to": b, "port": int(self.nodes[b].validators.rpartition(":")[2])} for a, b in pairs
        ]
        plan = self.directory / "proxy.json"
        plan.write_text(json.dumps({"seed": seed, "links": links}))
        if not pairs:
            return
        self.processes.start(PROXY, [str(plan)], self.directory / "proxy.log", module="tests.perturb.proxy")
        ports = plan.with_suffix(".ports")
        wait_for(ports.exists, 20, "the proxy does not start")
        found = json.loads(ports.read_text())
        through = {(link["from"], link["to"]): f"127.0.0.1:{link['port']}" for link in found["links"]}
        for member in self.members:
            file = self.layout.config_file(self.name(member))
            own = config.read(file, NodeConfig)
            peers = tuple(
                dataclasses.replace(peer, address=through[member, peer.member]) for peer in own.peers
            )
            config.write(file, dataclasses.replace(own, peers=peers))
        line = socket.create_connection(("127.0.0.1", found["control"]), timeout=10)
        self._control = (line, line.makefile("rw"))

    def configure(self, change):
        """Rewrites every node's configuration before it is started; `change` takes and gives a NodeConfig."""
        for member in self.members:
            file = self.layout.config_file(self.name(member))
            config.write(file, change(config.read(file, NodeConfig)))

    def tell_proxy(self, message) -> dict:
        with self._hands:
            file = self._control[1]
            file.write(json.dumps(message) + "\n")
            file.flush()
            answer = json.loads(file.readline())
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer

    def link(self, pairs, *, cut=False, **conditions):
        self.tell_proxy({"links": [list(pair) for pair in pairs], "set": conditions, "cut": cut})

    def ways(self, member, *, into=True, out=True):
        """The links from and to one node."""
        others = [other for other in self.members if other != member]
        return [(member, other) for other in others if out] + [(other, member) for other in others if into]

    def all_ways(self):
        return [(a, b) for a in self.members for b in self.members if a != b]

    # ---- what nodes say --------------------------------------------------------------------------

    def connection(self, member) -> Connection:
        chain = self.trust.chain(CHAIN)
        return Connection(chain, self.trust.identity(CHAIN), only=self.nodes[member].clients)

    def status(self, member, seconds=ASK_SECONDS):
        connection = self.connection(member)
        try:
            return connection.stub(connection.endpoint).GetStatus(StatusRequest(), timeout=seconds)
        except grpc.RpcError:
            return None
        finally:
            connection.close()

    def statuses(self, members=None):
        return {member: self.status(member) for member in members or sorted(self.expected)}

    def heights(self, members=None):
        found = self.statuses(members)
        return {member: status.height if status else 0 for member, status in found.items()}

    def open(self, member=""):
        return open_chain(self.layout.trust_file, CHAIN, member)

    def seed_of(self, member):
        return keys.read_seed(self.trust.identity(CHAIN, member, "operator").key)

    def honest(self):
        return [member for member in sorted(self.expected) if member not in self.byzantine]

    def in_step(self, seconds=IN_STEP_SECONDS) -> float:
        """Waits until every honest node answers, is in step and near the others; how long that took.

        Raises Violation saying who was not.
        """
        began = time.monotonic()
        members = self.honest()
        limit = 0.0
        while True:
            if ended := self.trouble():
                raise Violation(f"{', '.join(ended)} ended on its own: {self.last_words(ended[0])}")
            found = self.statuses(members)
            late = [member for member, status in found.items() if not (status and status.synced)]
            heights = [status.height for status in found.values() if status]
            if not late and max(heights) - min(heights) <= HEIGHTS_APART_MAX:
                return time.monotonic() - began
            if time.monotonic() - began > seconds and not limit:
                limit = seconds * slowness()
            if limit and time.monotonic() - began > limit:
                said = {
                    member: (status.height, status.view, status.synced) if status else "no answer"
                    for member, status in found.items()
                }
                raise Violation(f"not in step after {limit:.0f} s: {said}")
            time.sleep(0.1)

    def log(self, member) -> list[dict]:
        found = []
        for line in (self.place(member) / "log.jsonl").read_text(errors="replace").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                found.append({"message": line, "level": "raw"})
        return found

    def last_words(self, member) -> str:
        return " | ".join(str(line)[:300] for line in self.log(member)[-3:])


def wait_for(condition, seconds, otherwise):
    """What the condition gives once it gives something; Violation after so long."""
    began, limit = time.monotonic(), 0.0
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() - began > seconds and not limit:
            limit = seconds * slowness()
        if limit and time.monotonic() - began > limit:
            raise Violation(f"{otherwise} ({limit:.0f} s)")
        time.sleep(0.05)
