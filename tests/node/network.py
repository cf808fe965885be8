"""A real chain of four node processes, for tests: part of a test network, hurt and healed by its users.

chain.submit()             # a transaction of siliconfab, final and on disk; its Outcome
chain.status("testlab")    # what that node says of itself, None if it does not answer
chain.kill("testlab")      # SIGKILL
chain.start("testlab")     # and back
chain.in_step()            # waits until all that run are in step at one height
"""

import secrets
import signal
import time
from contextlib import contextmanager
from pathlib import Path

import grpc

from client import keys, trust
from client.clock import now_ms
from ledger.block import sign_transaction
from ledger.limits import RPC_MESSAGE_BYTES_MAX
from node import testnet_layout
from node.processes import Processes, Started
from node.testnet_plan import chain_of
from proto.chiptrace.v1.ledger_pb2 import Operation, ReturnOffer
from proto.chiptrace.v1.node_pb2 import StatusRequest, SubmitRequest
from proto.chiptrace.v1.node_pb2_grpc import ChainStub

CHAIN = "chipmaker"
MEMBERS = tuple(member.id for member in chain_of(CHAIN, 4).members)
PART = "https://id.gs1.org/01/09521001000013/21/none"


class RealChain:
    def __init__(self, directory: Path):
        self.network = testnet_layout.read(directory)
        self.processes = Processes(directory)
        self.trust = trust.read(self.network.trust_file)
        self.chain = self.trust.chain(CHAIN)
        self.identity = self.trust.identity(CHAIN, MEMBERS[0], "operator")
        self.seed = keys.read_seed(self.identity.key)
        self._channels = {}

    # ---- processes ------------------------------------------------------------------------------

    def place(self, member):
        return self.network.node_directory(f"{CHAIN}-{member}")

    def start(self, *members) -> None:
        for member in members or MEMBERS:
            name = f"{CHAIN}-{member}"
            if name not in self.processes.running():
                arguments = ["node", "run", "--config", str(self.network.config_file(name))]
                self.processes.start(name, arguments, self.place(member) / "log.jsonl")

    def process(self, member) -> Started | None:
        return self.processes.running().get(f"{CHAIN}-{member}")

    def kill(self, member) -> None:
        self.processes.kill(f"{CHAIN}-{member}")

    def stop(self, *members) -> list[str]:
        return self.processes.stop([f"{CHAIN}-{member}" for member in members or MEMBERS])

    def log(self, member) -> str:
        return (self.place(member) / "log.jsonl").read_text()

    def close(self) -> None:
        for channel in self._channels.values():
            channel.close()

    # ---- calls ------------------------------------------------------------------------------------

    def endpoint(self, member=MEMBERS[0]) -> str:
        return self.chain.endpoints[MEMBERS.index(member)]

    def channel(self, member, ca=None, certificate=None, key=None):
        credentials = grpc.ssl_channel_credentials(
            (ca or self.chain.ca).read_bytes(),
            (key or self.identity.tls_key).read_bytes(),
            (certificate or self.identity.certificate).read_bytes(),
        )
        options = [("grpc.max_receive_message_length", RPC_MESSAGE_BYTES_MAX), ("grpc.enable_http_proxy", 0)]
        return grpc.secure_channel(self.endpoint(member), credentials, options)

    def stub(self, member=MEMBERS[0]) -> ChainStub:
        if member not in self._channels:
            self._channels[member] = self.channel(member)
        return ChainStub(self._channels[member])

    def transaction(self, *, until_ms=60_000, idempotency_key=None, part=PART) -> bytes:
        operation = Operation(return_offer=ReturnOffer(part=part))
        key = idempotency_key or secrets.token_bytes(16)
        return sign_transaction(self.chain.chain_id, self.seed, [operation], now_ms() + until_ms, key)

    def submit(self, data=None, member=MEMBERS[0], *, wait=True, timeout=60):
        """A transaction (one that the rules refuse, unless given), and its outcome."""
        request = SubmitRequest(transactions=[self.transaction() if data is None else data], wait=wait)
        return self.stub(member).Submit(request, timeout=timeout).outcomes[0]

    def status(self, member=MEMBERS[0]):
        try:
            return self.stub(member).GetStatus(StatusRequest(), timeout=2)
        except grpc.RpcError:
            return None

    def in_step(self, seconds=60) -> int:
        """Waits until every node that runs is in step, has reached all others, and is at most one height behind;
        the lowest height."""
        running = [member for member in MEMBERS if self.process(member)]

        def settled():
            found = [self.status(member) for member in running]
            whole = all(
                status
                and status.synced
                and status.height
                and sum(peer.connected for peer in status.peers) == len(running) - 1
                for status in found
            )
            if whole:
                heights = [status.height for status in found]
                return min(heights) if max(heights) - min(heights) <= 1 else 0
            return 0

        return until(settled, seconds)


def until(condition, seconds=60, default=None):
    """What the condition gives once it gives something; after so long the default, if there is one."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            assert default is not None, "it did not come about in time"
            return default
        time.sleep(0.05)


@contextmanager
def paused(process: Started):
    """SIGSTOP: the process is there, and does nothing."""
    import os

    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process.pid, signal.SIGCONT)
