"""One chain of so many validators as real processes, empty or full of parts, perhaps with the stage tracer on."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from client import keys
from client.clock import now_ms
from client.session import ChainSession, open_chain
from ledger.block import sign_transaction
from node import testnet_layout, testnet_plan
from node.stages import VARIABLE
from node.state_sync import STORE
from proto.chiptrace.v1.ledger_pb2 import Operation
from scripts.benchmarks import prefill
from scripts.benchmarks.machine import Moment, moment
from scripts.benchmarks.testnets import CHAIN, MEMBER, ROOT, commissioning, nodes_of

_TESTNET = (sys.executable, "-m", "node.cli", "testnet")


class Loaded:
    """A running chain and whoever loads it."""

    def __init__(self, home: Path, session: ChainSession, parts: int) -> None:
        self.home = home
        self.session = session
        self.nodes = nodes_of(home, CHAIN)
        self._serials: list[bytes] = list(prefill.serials(parts))
        self._next = 0
        random.Random(5).shuffle(self._serials)  # noqa: S311 (nothing secret)

    def data(self) -> list[Path]:
        """The data directories of the nodes."""
        return [self.home / "nodes" / name / "data" for name in self.nodes]

    def moment(self) -> Moment:
        """What its processes have used until now."""
        return moment(self.nodes.values(), [folder / STORE for folder in self.data()])

    def transactions(self, count: int, events: int) -> list[bytes]:
        """Signed transactions of so many events each: parts that are there are observed, none twice, each at random; with
        none there, parts are commissioned."""
        session = self.session
        if session.identity.key is None:
            raise SystemExit("the identity has no key")
        seed, valid_until = keys.read_seed(session.identity.key), now_ms() + 3_000_000
        chain_id = session.trust.chain_id
        return [
            sign_transaction(chain_id, seed, self._operations(events), valid_until, os.urandom(16))
            for _ in range(count)
        ]

    def _operations(self, events: int) -> Sequence[Operation]:
        if not self._serials:
            return [commissioning() for _ in range(events)]
        # An endless round: a part comes again only after all others.
        places = range(self._next, self._next + events)
        self._next += events
        return [prefill.observation(self._serials[place % len(self._serials)]) for place in places]


@contextmanager
def network(validators: int = 4, parts: int = 0, *, traced: bool = False) -> Iterator[Loaded]:
    """A fresh chain in a temporary folder, with so many parts to begin with."""
    environment = {**os.environ, VARIABLE: "1" if traced else ""}
    with tempfile.TemporaryDirectory(prefix="chiptrace-bench-") as folder:
        home = Path(folder) / "net"
        layout = testnet_layout.create(home, None, [], testnet_plan.one_chain(validators))
        if parts:
            prefill.fill(layout, CHAIN, parts)
        try:
            subprocess.run(
                [*_TESTNET, "up", "--dir", str(home)],
                cwd=ROOT,
                check=True,
                stdout=sys.stderr,
                env=environment,
            )
            with open_chain(home / "trust.json", CHAIN, MEMBER) as session:
                yield Loaded(home, session, parts)
        finally:
            subprocess.run([*_TESTNET, "reset", "--dir", str(home)], cwd=ROOT, check=False, stdout=sys.stderr)
