"""A local test network as running processes: chains and a relayer between those that are paired, or one chain alone.

Commands that change one are alone with it, each after the other: two that start the same nodes would forget half of them.
"""

import contextlib
import fcntl
import functools
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar

from client import trust
from client.connection import Connection, NoAnswer
from client.session import open_all
from ledger.errors import ChiptraceError, Malformed
from node import pairing, testnet_layout
from node.processes import Processes
from node.testnet_layout import Network, NodePlace
from node.testnet_plan import TWO_CHAINS, NetworkPlan
from proto.chiptrace.v1.node_pb2 import StatusReply, StatusRequest

RELAY: Final = "relay"
READY_SECONDS: Final = 60.0
READY_SECONDS_PER_NODE: Final = 4.0  # of those beyond the usual eight, which share the same cores
POLL_SECONDS: Final = 0.05
STATUS_SECONDS: Final = 2.0
LOG: Final = "log.jsonl"
Say = Callable[[str], None]
P = ParamSpec("P")
T = TypeVar("T")


class NotRunning(ChiptraceError):
    """A process of the test network has ended, or does not come up."""


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One process: whether it runs, and what it says of itself (None: nothing, or it is the relayer)."""

    name: str
    pid: int  # 0: not running
    address: str
    reply: StatusReply | None


def _alone(change: "Callable[Concatenate[Testnet, P], T]") -> "Callable[Concatenate[Testnet, P], T]":
    """A method that waits until no other process changes the test network of this directory."""

    @functools.wraps(change)
    def run(self: "Testnet", /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self.held():
            return change(self, *args, **kwargs)

    return run


class Testnet:
    """The test network in one directory."""

    __test__ = False  # not a test, whatever its name begins with

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._processes = Processes(directory)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Alone with the directory, if it is there. Who held it before may have removed it, or another stands there since."""
        handle = None
        while handle is None and self._directory.is_dir():
            handle = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(handle, fcntl.LOCK_EX)
            if not self._directory.is_dir() or not os.path.samestat(os.fstat(handle), self._directory.stat()):
                os.close(handle)
                handle = None
        try:
            yield
        finally:
            if handle is not None:
                os.close(handle)

    def up(
        self, base_port: int | None, grants: Sequence[str], say: Say, plan: NetworkPlan | None = None
    ) -> Network:
        """Make the network if there is none, start what does not run, and return when all of it works.

        `plan` None: as it is, or the usual one. Raises ChiptraceError naming the process that failed and its log.
        """
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self.held():
            return self._up(base_port, grants, say, plan)

    def _up(
        self, base_port: int | None, grants: Sequence[str], say: Say, plan: NetworkPlan | None
    ) -> Network:
        if testnet_layout.exists(self._directory):
            network = testnet_layout.read(self._directory)
            if grants and not set(grants) <= set(network.grants):
                raise Malformed(
                    f"the network in {self._directory} exists, and grants come with its genesis; "
                    "`chiptrace testnet reset` first, or use another --dir"
                )
            if plan is not None and not _is_of(network, plan):
                raise Malformed(
                    f"the network in {self._directory} exists with another number of validators, other chains or other "
                    "pairs; `chiptrace testnet reset` first, or use another --dir"
                )
        else:
            say("making keys, certificates and geneses")
            network = testnet_layout.create(self._directory, base_port, grants, plan or TWO_CHAINS)
        say("starting nodes")
        for node in network.nodes:
            self._start(network, node.name)
        say("waiting for the first finalized blocks")
        self._wait(network)
        if network.relayed:
            self._pair(network, say)
            self._start(network, RELAY)
        return network

    @_alone
    def start(self, name: str) -> bool:
        """Start one process of the network; false: it runs already. Raises Malformed for an unknown name."""
        network = testnet_layout.read(self._directory)
        return self._start(network, self._known(network, name))

    @_alone
    def kill(self, name: str) -> bool:
        """End one process at once, as a crash would; false: it did not run. Raises Malformed for an unknown name."""
        known = self._known(testnet_layout.read(self._directory), name)
        runs = known in self._processes.running()
        self._processes.kill(known)
        return runs

    @_alone
    def down(self) -> list[str]:
        """End all processes of the network, the relayer first; the names of those that ran. Raises Malformed if there
        is no network."""
        testnet_layout.read(self._directory)
        return self._down()

    def _down(self) -> list[str]:
        running = list(self._processes.running())
        self._processes.stop([RELAY])
        self._processes.stop([name for name in running if name != RELAY])
        return running

    @_alone
    def reset(self) -> None:
        """End all processes and remove the directory, if it is a test network, also one that was never finished. Raises
        Malformed if it is not."""
        if not testnet_layout.is_unfinished(self._directory):
            testnet_layout.read(self._directory)
        self._down()
        shutil.rmtree(self._directory)

    def status(self) -> list[ProcessStatus]:
        """Every process, and what each node says of itself."""
        network = testnet_layout.read(self._directory)
        running = self._processes.running()
        found = []
        for node in network.nodes:
            process = running.get(node.name)
            reply = self._ask(network, node) if process else None
            found.append(ProcessStatus(node.name, process.pid if process else 0, node.clients, reply))
        if network.relayed:
            relay = running.get(RELAY)
            found.append(ProcessStatus(RELAY, relay.pid if relay else 0, "", None))
        return found

    # ---- steps ------------------------------------------------------------------------------------------------

    def _known(self, network: Network, name: str) -> str:
        names = [node.name for node in network.nodes] + [RELAY] * network.relayed
        if name not in names:
            raise Malformed(f"there is no process '{name}'; there are: {', '.join(names)}")
        return name

    def _start(self, network: Network, name: str) -> bool:
        if name in self._processes.running():
            return False
        kind = "relay" if name == RELAY else "node"
        arguments = [kind, "run", "--config", str(network.config_file(name))]
        self._processes.start(name, arguments, network.node_directory(name) / LOG)
        return True

    def _wait(self, network: Network) -> None:
        """Until every node is in step and has a block. Raises NotRunning."""
        waiting = {node.name: node for node in network.nodes}
        seconds = READY_SECONDS + READY_SECONDS_PER_NODE * max(0, len(network.nodes) - 8)
        deadline = time.monotonic() + seconds
        while waiting:
            running = self._processes.running()
            for name, node in list(waiting.items()):
                if name not in running:
                    raise NotRunning(f"{name} has ended: {self._last_words(network, name)}")
                reply = self._ask(network, node)
                if reply is not None and reply.synced and reply.proof_height_max > 0:
                    del waiting[name]
            if waiting and time.monotonic() > deadline:
                names = ", ".join(waiting)
                raise NotRunning(
                    f"{names} not in step after {seconds:.0f} s: "
                    f"{self._last_words(network, next(iter(waiting)))}"
                )
            time.sleep(POLL_SECONDS)

    def _pair(self, network: Network, say: Say) -> None:
        with open_all(network.trust_file) as sessions:
            for pair in network.pairs:
                first, second = (network.chain(name) for name in pair)
                for here, other in ((first, second), (second, first)):
                    session = sessions[here.chain_id]
                    session.verified.repin()
                    if not pairing.is_paired(session, other):
                        say(f"pairing {here.name} with {other.name}")
                        pairing.pair(network, session, sessions[other.chain_id].verified, here, other)

    def _ask(self, network: Network, node: NodePlace) -> StatusReply | None:
        trusted = trust.read(network.trust_file)
        chain = trusted.chain(node.chain)
        connection = Connection(chain, trusted.identity(node.chain), only=node.clients)
        try:
            return connection.call(lambda stub: stub.GetStatus, StatusRequest(), STATUS_SECONDS)
        except NoAnswer:
            return None
        finally:
            connection.close()

    def _last_words(self, network: Network, name: str) -> str:
        """The last thing a process logged, and where to read on."""
        log = network.node_directory(name) / LOG
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
        text = "nothing was logged"
        if lines:
            try:
                line = json.loads(lines[-1])
                text = f"{line['message']}: {line.get('cause', '')}".rstrip(": ")
            except (ValueError, KeyError, TypeError):
                text = lines[-1]
        return f"{text} (see {log})"


def _is_of(network: Network, plan: NetworkPlan) -> bool:
    chains = [(chain.name, len(chain.members)) for chain in plan.chains]
    return network.pairs == plan.pairs and chains == [
        (chain.name, len(chain.nodes)) for chain in network.chains
    ]
