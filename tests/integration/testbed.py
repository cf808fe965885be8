"""A whole test network as its three kinds of users have it, for the acceptance tests.

bed.chiptrace("part", "show", ID, "--chain", "chipmaker")   # a real command; Ended(code, text, json)
bed.open("assembler", "boardworks")                          # a session of the client library
bed.nodes("assembler")                                       # name -> status reply, None where none came
bed.root("assembler")                                        # the proven state root, after all that was decided
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import grpc

from client import keys, trust
from client.clock import now_ms
from client.connection import Connection
from client.session import open_chain
from ledger.block import sign_transaction
from node import testnet_layout
from node.processes import Processes
from node.testnet import Testnet
from proto.chiptrace.v1.ledger_pb2 import Capture, Event, Field, List, Operation, ReturnOffer, Value
from proto.chiptrace.v1.node_pb2 import StatusRequest, SubmitRequest
from tests.node.network import until

ROOT = Path(__file__).resolve().parents[2]
EPCIS = ROOT.parent / "shared" / "epcis"
# One document for each event type, and the electronics life cycle.
DOCUMENTS = [
    EPCIS / "documents" / "ObjectEvent.json",
    EPCIS / "documents" / "AggregationEvent_with_sensorData.json",
    EPCIS / "documents" / "AssociationEvent_all_possible_fields.json",
    EPCIS / "documents" / "TransactionEvent_all_possible_fields.json",
    EPCIS / "documents" / "TransformationEvent.json",
    EPCIS / "lifecycle" / "electronics-commissioning.jsonld",
    EPCIS / "lifecycle" / "electronics-component-replacement.jsonld",
    EPCIS / "lifecycle" / "electronics-ownership-transfer.jsonld",
]


@dataclass(frozen=True)
class Ended:
    code: int
    text: str
    errors: str

    @property
    def json(self):
        return json.loads(self.text)


class Testbed:
    __test__ = False

    def __init__(self, home: Path):
        self.home = home
        self.directory = home / ".chiptrace"

    # ---- commands -------------------------------------------------------------------------------

    def chiptrace(self, *words, timeout=90) -> Ended:
        """A command, run in the home directory as a person would."""
        ended = subprocess.run(
            [sys.executable, "-m", "node.cli", *map(str, words)],
            cwd=self.home,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(self.home)},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    def done(self, *words):
        """A command that succeeds; what it printed as JSON."""
        ended = self.chiptrace(*words, "--json")
        assert ended.code == 0, ended
        return ended.json

    # ---- chains -------------------------------------------------------------------------------------

    @property
    def network(self):
        return testnet_layout.read(self.directory)

    @property
    def processes(self) -> Processes:
        return Processes(self.directory)

    def start(self, name) -> None:
        """What `chiptrace testnet start NAME` does."""
        Testnet(self.directory).start(name)

    @property
    def trust_file(self) -> Path:
        return self.network.trust_file

    def open(self, chain, member="", only=None):
        return open_chain(self.trust_file, chain, member, only)

    def seed(self, chain, member, role="operator") -> bytes:
        return keys.read_seed(trust.read(self.trust_file).identity(chain, member, role).key)

    def names(self, chain) -> list[str]:
        return [node.name for node in self.network.nodes if node.chain == chain]

    def nodes(self, chain):
        """What each node of a chain says of itself, by name; None where nothing came."""
        trusted = trust.read(self.trust_file)
        found = {}
        for node in self.network.nodes:
            if node.chain == chain:
                connection = Connection(trusted.chain(chain), trusted.identity(chain), only=node.clients)
                try:
                    found[node.name] = connection.stub(node.clients).GetStatus(StatusRequest(), timeout=2)
                except grpc.RpcError:
                    found[node.name] = None
                finally:
                    connection.close()
        return found

    def until_provable(self, chain, height) -> None:
        """Waits until the state after this height can be proven."""
        with self.open(chain) as session:
            settle(session, height)

    def in_step(self, chain, seconds=90) -> int:
        """Waits until all four nodes are in step, at most two heights apart; the lowest height."""

        def settled():
            found = list(self.nodes(chain).values())
            if not all(status and status.synced for status in found):
                return 0
            heights = [status.height for status in found]
            return min(heights) if max(heights) - min(heights) <= 2 else 0

        return until(settled, seconds)


def record_after(session, height, key, kind):
    """A proven record at this height or later."""
    settle(session, height)
    return session.verified.record(key, kind)


def settle(session, height, seconds=60):
    """Pins a provable state that is not older than this height."""
    deadline = time.monotonic() + seconds
    session.verified.repin()
    while session.verified.snapshot().height < height:
        assert time.monotonic() < deadline, f"height {height} is not provable after {seconds} s"
        time.sleep(0.02)
        session.verified.repin()


def event(**fields) -> Event:
    """An EPCIS event as the chain carries it: texts, and lists of texts; nothing is checked."""

    def value(found):
        if isinstance(found, str):
            return Value(text=found)
        if isinstance(found, bool):
            return Value(truth=found)
        if isinstance(found, list):
            return Value(list=List(items=[value(item) for item in found]))
        return found

    given = {
        "type": "ObjectEvent",
        "eventTime": "2026-01-01T00:00:00.000Z",
        "eventTimeZoneOffset": "+00:00",
    } | fields
    ordered = [
        Field(name=name, value=value(given[name])) for name in sorted(given) if given[name] is not None
    ]
    return Event(seed=os.urandom(16), fields=ordered)


def commissioning(*parts) -> Operation:
    made = event(action="ADD", bizStep="commissioning", epcList=list(parts))
    return captured(made)


def captured(made: Event) -> Operation:
    return Operation(capture=Capture(event=made.SerializeToString(deterministic=True)))


def serial(prefix: str, item: int = 1) -> str:
    """A new serial under a company prefix of seven digits."""
    digits = f"0{prefix}{item:05d}"
    check = -sum(int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(digits)) % 10
    return f"https://id.gs1.org/01/{digits}{check}/21/{os.urandom(7).hex()}"


class Signer:
    """Signs for one chain with one key, and submits to one node or to any."""

    def __init__(self, session, seed):
        self.session = session
        self.seed = seed

    def sign(self, *operations, until_ms=60_000, key=None, chain_id=None) -> bytes:
        chain = self.session.trust.chain_id if chain_id is None else chain_id
        return sign_transaction(chain, self.seed, operations, now_ms() + until_ms, key or os.urandom(16))

    def submit(self, data, *, wait=True):
        request = SubmitRequest(transactions=[data], wait=wait)
        return self.session.connection.call(lambda stub: stub.Submit, request, 20).outcomes[0]

    def do(self, *operations):
        """Operations that the chain takes; their outcome."""
        outcome = self.submit(self.sign(*operations))
        assert outcome.ok, outcome
        return outcome

    def nothing(self):
        """A transaction that is final and changes nothing: it makes the chain certify the state before it."""
        part = "https://id.gs1.org/01/09521001000013/21/none"
        return self.submit(self.sign(Operation(return_offer=ReturnOffer(part=part))))


def leftover(marker: str) -> list[SimpleNamespace]:
    """Processes whose command line holds a marker."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            line = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if marker in line:
            found.append(SimpleNamespace(pid=int(place.name), line=line))
    return found
