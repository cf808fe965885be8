"""One chain of so many validators as real processes, empty or full of parts, and signed load for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from client import keys
from client.clock import now_ms
from client.connection import Connection, NoAnswer
from client.session import ChainSession, open_chain
from ledger.block import sign_transaction
from node import config, testnet_layout, testnet_plan
from node.config import NodeConfig
from node.stages import VARIABLE
from node.state_sync import STORE
from proto.chiptrace.v1.ledger_pb2 import Operation
from proto.chiptrace.v1.node_pb2 import StatusReply, StatusRequest
from scripts.benchmarks import prefill
from scripts.benchmarks.machine import Moment, moment, note
from scripts.benchmarks.testnets import CHAIN, MEMBER, ROOT, TESTNET, commissioning, nodes_of

STATUS_S = 1.0
VALID_MS = 3_000_000  # of a transaction made beforehand


class Loaded:
    """A running chain and whoever loads it."""

    def __init__(self, home: Path, session: ChainSession, among: int) -> None:
        """among: so many of the parts that are there are observed."""
        self.home = home
        self.session = session
        self.nodes = nodes_of(home, CHAIN)
        self._among = among
        self._used = 0

    def data(self) -> list[Path]:
        """The data directories of the nodes."""
        return [self.home / "nodes" / name / "data" for name in self.nodes]

    def endpoints(self) -> dict[str, str]:
        """Where clients reach each node."""
        return {node.name: node.clients for node in testnet_layout.read(self.home).chain(CHAIN).nodes}

    def status(self, name: str) -> StatusReply | None:
        """What a node says of itself, if it answers."""
        line = Connection(self.session.trust, self.session.identity, only=self.endpoints()[name])
        try:
            return line.call(lambda stub: stub.GetStatus, StatusRequest(), STATUS_S)
        except NoAnswer:
            return None
        finally:
            line.close()

    @contextmanager
    def without(self, *names: str) -> Iterator[None]:
        """Load goes to the other nodes."""
        whole = self.session
        kept = tuple(address for name, address in self.endpoints().items() if name not in names)
        self.session = replace(whole, trust=replace(whole.trust, endpoints=kept))
        try:
            yield
        finally:
            self.session = whole

    def moment(self) -> Moment:
        """What its processes have used until now."""
        return moment(self.nodes.values(), [folder / STORE for folder in self.data()])

    def transactions(self, count: int, events: int = 1) -> list[bytes]:
        """Signed transactions of so many events each: parts that are there are observed, none twice before all were, in an
        order in which their keys lie anywhere; with none there, parts are commissioned."""
        session = self.session
        if session.identity.key is None:
            raise SystemExit("the identity has no key")
        seed, valid_until = keys.read_seed(session.identity.key), now_ms() + VALID_MS
        chain_id = session.trust.chain_id
        return [
            sign_transaction(chain_id, seed, self._operations(events), valid_until, os.urandom(16))
            for _ in range(count)
        ]

    def _operations(self, events: int) -> Sequence[Operation]:
        if not self._among:
            return [commissioning() for _ in range(events)]
        numbers = range(self._used, self._used + events)
        self._used += events
        return [prefill.observation(number % self._among) for number in numbers]


@contextmanager
def network(
    validators: int = 4,
    parts: int = 0,
    *,
    folder: Path | None = None,
    among: int | None = None,
    following: int = 0,
    traced: bool = False,
    verifiers: int | None = None,
) -> Iterator[Loaded]:
    """A chain with so many parts to begin with, fresh each time. `folder`: where chains that were filled once are kept and
    copied from; they fit the code that filled them. `among`: how many of the parts are observed; all, unless it is said.
    `following`: nodes that are no validators. `verifiers`: processes beside each node, unless this machine is to decide."""
    environment = {**os.environ, VARIABLE: "1" if traced else ""}
    with tempfile.TemporaryDirectory(prefix="chiptrace-bench-", dir=folder) as temporary:
        home = Path(temporary) / "net"
        plan = testnet_plan.one_chain(validators, following)
        if folder is not None and parts:
            prefill.copied(_kept(folder / f"n{validators}+{following}-{parts}", plan, parts), home)
        else:
            _made(home, plan, parts)
        if verifiers is not None:
            for place in home.glob("nodes/*/node.toml"):
                config.write(place, replace(config.read(place, NodeConfig), verifiers=verifiers))
        try:
            subprocess.run(
                [*TESTNET, "up", "--dir", str(home)], cwd=ROOT, check=True, stdout=sys.stderr, env=environment
            )
            with open_chain(home / "trust.json", CHAIN, MEMBER) as session:
                chain = Loaded(home, session, parts if among is None else min(among, parts))
                yield chain
                note(chain.nodes.values(), [place / STORE for place in chain.data()])
        finally:
            subprocess.run([*TESTNET, "reset", "--dir", str(home)], cwd=ROOT, check=False, stdout=sys.stderr)


def _made(home: Path, plan: testnet_plan.NetworkPlan, parts: int) -> None:
    """A network that was never started, its chain filled."""
    layout = testnet_layout.create(home, None, [], plan)
    if parts:
        prefill.fill(layout, CHAIN, parts)


def _kept(place: Path, plan: testnet_plan.NetworkPlan, parts: int) -> Path:
    """A network that was filled before, or is now. What is there is complete."""
    if not place.exists():
        making = place.with_suffix(".new")
        shutil.rmtree(making, ignore_errors=True)
        _made(making, plan, parts)
        making.rename(place)
    return place
