"""Both ends of scripts/bridge_run.py: a real network with two relayers, and a member on each chain that sends parts."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from client import governance, keys  # noqa: E402
from client import trust as trust_file  # noqa: E402
from client.clock import now_ms  # noqa: E402
from client.connection import Connection  # noqa: E402
from client.session import ChainSession, open_all  # noqa: E402
from ledger import codec, state  # noqa: E402
from ledger.errors import ChiptraceError  # noqa: E402
from node import config, testnet_plan  # noqa: E402
from node.config import RelayConfig  # noqa: E402
from node.processes import Processes  # noqa: E402
from node.testnet import RELAY, Testnet  # noqa: E402
from proto.chiptrace.v1.bridge_pb2 import ClientRecord, SendPart  # noqa: E402
from proto.chiptrace.v1.ledger_pb2 import (  # noqa: E402
    Change,
    Operation,
    PartRecord,
    PartStatus,
    SetValidators,
    Validator,
)
from proto.chiptrace.v1.node_pb2 import PacketsRequest, StatusReply, StatusRequest  # noqa: E402
from tests.integration.testbed import Signer, captured, commissioning, event, serial  # noqa: E402

SECOND_RELAY = "relay2"
FRAME = 100  # operations in one transaction
PACKETS_PER_ROUND = 25  # small, so that there is always something under way when a relayer dies
LONG_MS, PRESENT = 3_000_000, (PartStatus.LIVE, PartStatus.OFFERED)


def say(text: str) -> None:
    """Progress, for people."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def until(found: Callable[[], Any], seconds: float, what: str) -> Any:
    """Wait for something; what it was."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(ChiptraceError):
            if answer := found():
                return answer
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.05)


class Side:
    """One chain, and the member that sends and receives there."""

    def __init__(self, session: ChainSession, client: str) -> None:
        self.session = session
        self.name = session.trust.name
        self.client = client  # of the other chain
        self.member = session.identity.member
        if session.identity.key is None:
            raise SystemExit("the identity has no key")
        self.signer = Signer(session, keys.read_seed(session.identity.key))
        self.sent: list[str] = []

    def submit(self, operations: Sequence[Operation]) -> None:
        """Frame by frame, each final before the next."""
        for start in range(0, len(operations), FRAME):
            outcome = self.signer.submit(self.signer.sign(*operations[start : start + FRAME]))
            if not outcome.ok:
                raise SystemExit(f"chain {self.name} refused: {outcome}")

    def commission(self, count: int) -> list[str]:
        """New parts under the member's own prefix."""
        prefix = {"siliconfab": "9521001", "boardworks": "9525001"}[self.member]
        parts = [serial(prefix) for _ in range(count)]
        self.submit([commissioning(*parts[start : start + FRAME]) for start in range(0, count, FRAME)])
        return parts

    def send(self, parts: Sequence[str], receiver: str, timeout_ms: Callable[[int], int]) -> None:
        """Over the bridge, each with its own timeout."""
        due = [now_ms() + timeout_ms(place) for place in range(len(parts))]
        messages = [
            SendPart(client=self.client, part=part, receiver=receiver, timeout_ms=until_ms)
            for part, until_ms in zip(parts, due, strict=True)
        ]
        self.submit([Operation(send_part=codec.encode(message)) for message in messages])
        self.sent += parts

    def packets(self, *, received: bool, first: int = 1) -> list[Any]:
        """Packets over the client, as a node lists them."""
        found: list[Any] = []
        while True:
            request = PacketsRequest(client=self.client, from_sequence=first, received=received)
            items = self.session.connection.call(lambda stub: stub.GetPackets, request).items
            if not items:
                return found
            found += items
            first = items[-1].packet.sequence + 1

    def open(self) -> int:
        """How many packets sent from here are neither acknowledged nor timed out."""
        return sum(item.open for item in self.packets(received=False))

    def records(self, parts: Sequence[str]) -> dict[str, PartRecord]:
        """Proven records of those parts that the chain knows, in its newest state."""
        verified = self.session.verified
        verified.repin()
        verified.values([state.part_key(part) for part in parts])
        found = {part: verified.record(state.part_key(part), PartRecord) for part in parts}
        return {part: record for part, record in found.items() if record is not None}

    def accept(self, parts: Sequence[str]) -> None:
        """What is offered to the member is received."""
        made = [
            captured(event(action="OBSERVE", bizStep="receiving", epcList=list(parts[start : start + FRAME])))
            for start in range(0, len(parts), FRAME)
        ]
        self.submit(made)

    def updates(self) -> int:
        """How many entries the history of the client has: its making, and one for each update."""
        self.session.verified.repin()
        record = self.session.verified.record(state.client_key(self.client), ClientRecord)
        return record.history.n if record is not None else 0


class BridgeRun:
    """The network, its relayers, and what is done to them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        plan = testnet_plan.chains(("chipmaker", "assembler"), joining=1)
        self.testnet = Testnet(directory)
        self.network = self.testnet.up(None, [], say, plan)
        self.processes = Processes(directory)
        self.trust = trust_file.read(self.network.trust_file)
        self._relay_configs()
        self.loaded = Counter[str]()

    def close(self) -> None:
        """End every process."""
        for name in (RELAY, SECOND_RELAY):
            self.signal(name, signal.SIGCONT)
        self.processes.stop([RELAY, SECOND_RELAY])
        self.testnet.down()

    # ---- relayers ---------------------------------------------------------------------------------------------

    def _relay_configs(self) -> None:
        """The one of the network carries little in a round; the other one has a table of its own."""
        own = config.read(self.network.config_file(RELAY), RelayConfig)
        place = self.directory / SECOND_RELAY
        place.mkdir()
        values = {name: getattr(own, name) for name in RelayConfig.__dataclass_fields__}
        values["packets_per_round"] = PACKETS_PER_ROUND
        config.write(self.network.config_file(RELAY), RelayConfig(**values))
        values |= {"table": place / "relay.db", "listen": ""}
        config.write(place / "relay.toml", RelayConfig(**values))

    def start_relay(self, name: str) -> None:
        """Start a relayer that does not run."""
        place = self.directory / name
        self.processes.start(
            name, ["relay", "run", "--config", str(place / "relay.toml")], place / "log.jsonl"
        )

    def kill_relay(self, name: str, *, lose_table: bool = False) -> None:
        """End one at once, as a crash would; perhaps with its disk."""
        self.processes.kill(name)
        if lose_table:
            for path in (self.directory / name).glob("relay.db*"):
                path.unlink()

    def signal(self, name: str, number: signal.Signals) -> None:
        """To one process of ours, if it runs."""
        process = self.processes.running().get(name)
        if process is not None:
            os.kill(process.pid, number)

    # ---- chains -------------------------------------------------------------------------------------------------

    def stop_chain(self, chain: str) -> None:
        """Kill every node of a chain."""
        for node in self.network.chain(chain).nodes:
            self.processes.kill(node.name)

    def start_chain(self, chain: str) -> None:
        """Start every node of a chain, and wait until it makes blocks."""
        for node in self.network.chain(chain).nodes:
            self.testnet.start(node.name)

    def ask(self, chain: str, endpoint: str) -> StatusReply:
        """What a node says of itself."""
        line = Connection(self.trust.chain(chain), self.trust.identity(chain), only=endpoint)
        with contextlib.closing(line):
            return line.call(lambda stub: stub.GetStatus, StatusRequest(), 2.0)

    def rotate(self, side: Side) -> None:
        """The first validator leaves and the one that followed so far takes its place."""
        place = self.network.chain(side.name)
        joining = place.nodes[-1]
        status = until(
            lambda: (found := self.ask(side.name, joining.clients)).HasField("join_proof") and found,
            60,
            f"{joining.name} in step",
        )
        chosen = [
            Validator(
                key=keys.public_key(self.network.node_directory(node.name) / "keys" / "validator.key"),
                member=node.member,
            )
            for node in place.nodes[1:]
        ]
        change = Change(set_validators=SetValidators(validators=chosen))
        data = governance.propose(place.chain_id, now_ms() + 600_000, [change])
        path = self.directory / f"rotate-{side.name}"
        path.write_bytes(data)
        proposal = governance.read_proposal(path)
        threshold = self.network.genesis(side.name).parameters.governance_threshold
        approvals = [
            governance.approve(proposal, self.network.member_directory(side.name, node.member) / "admin.key")
            for node in place.nodes[:threshold]
        ]
        side.submit([governance.operation(proposal, approvals, [status.join_proof])])
        say(f"validators of {side.name} rotated")

    @contextlib.contextmanager
    def load(self, sides: Sequence[Side]) -> Iterator[None]:
        """Both chains record something else all the while."""
        stopping = threading.Event()

        def work(side: Side) -> None:
            while not stopping.wait(0.05):
                with contextlib.suppress(ChiptraceError, SystemExit):
                    side.commission(1)
                    self.loaded[side.name] += 1

        with open_all(self.network.trust_file) as sessions:
            own = [Side(sessions[side.session.trust.chain_id], side.client) for side in sides]
            threads = [threading.Thread(target=work, args=(side,)) for side in own]
            for thread in threads:
                thread.start()
            try:
                yield
            finally:
                stopping.set()
                for thread in threads:
                    thread.join()
