"""A steady load, and the memory of everything that was acknowledged.

Half of the writers submit as a member does: signed, kept in the outbox, sent to whichever node answers, in the same
bytes when in doubt. The others talk to one node after the other and take its word. One operation in eight breaks a
rule on purpose, for a refusal that was acknowledged must stand as well.
"""

import os
import random
import threading
import time
from dataclasses import dataclass

import grpc

from client.clock import now_ms
from client.connection import NoAnswer
from ledger.block import sign_transaction
from ledger.errors import ChiptraceError
from proto.chiptrace.v1.ledger_pb2 import Operation, ReturnOffer
from proto.chiptrace.v1.node_pb2 import SubmitRequest
from tests.integration.testbed import commissioning, serial
from tests.perturb.network import slowness

MEMBER, PREFIX = "siliconfab", "9521001"
PAUSE_SECONDS = 0.02
ANSWER_SECONDS = 10.0
REFUSED_ONE_IN = 8


@dataclass(frozen=True)
class Acknowledged:
    height: int
    ok: bool
    seconds: float  # submit to final


class Load:
    """Members who submit one event after the other, until told to stop. `open_session()` opens a client session."""

    def __init__(
        self, open_session, seed_key, *, writers=2, pause=PAUSE_SECONDS, never=(), as_members_do_only=False
    ):
        self.acknowledged: dict[bytes, Acknowledged] = {}
        self.unanswered = 0
        self.troubles: list[str] = []
        self._open = open_session
        self._seed = seed_key
        self._pause = pause
        self._never = set(never)  # endpoints that nobody submits to
        self._stopping = threading.Event()
        ways = [self._as_members_do, self._as_members_do if as_members_do_only else self._node_by_node]
        self._threads = [threading.Thread(target=ways[n % 2], args=(n,), daemon=True) for n in range(writers)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stopping.set()
        for thread in self._threads:
            thread.join(90)
            if thread.is_alive():
                self.troubles.append("a writer does not end")

    def _as_members_do(self, _):
        with self._open() as session:
            submitter = session.submitter()
            while not self._stopping.is_set():
                began = time.monotonic()
                try:
                    recorded = submitter.submit([commissioning(serial(PREFIX))], os.urandom(16))
                    took = time.monotonic() - began
                    self.acknowledged[recorded.transaction] = Acknowledged(recorded.height, True, took)
                except NoAnswer:  # its bytes stay in the outbox
                    self.unanswered += 1
                except ChiptraceError as error:
                    self.troubles.append(repr(error))
                self._stopping.wait(self._pause)

    def _node_by_node(self, number):
        draw = random.Random(number)
        with self._open() as session:
            endpoints = [item for item in session.trust.endpoints if item not in self._never]
            while not self._stopping.is_set():
                if draw.randrange(REFUSED_ONE_IN) == 0:
                    operation = Operation(return_offer=ReturnOffer(part=serial(PREFIX)))
                else:
                    operation = commissioning(serial(PREFIX))
                key = os.urandom(16)
                data = sign_transaction(
                    session.trust.chain_id, self._seed, [operation], now_ms() + 600_000, key
                )
                stub = session.connection.stub(draw.choice(endpoints))
                began = time.monotonic()
                try:
                    request = SubmitRequest(transactions=[data], wait=True)
                    outcome = stub.Submit(request, timeout=ANSWER_SECONDS).outcomes[0]
                except grpc.RpcError:
                    self.unanswered += 1
                else:
                    if outcome.final:
                        took = time.monotonic() - began
                        said = Acknowledged(outcome.height, outcome.ok, took)
                        self.acknowledged[outcome.transaction] = said
                    else:
                        self.unanswered += 1
                self._stopping.wait(self._pause)

    @property
    def top(self) -> int:
        """The highest height that was acknowledged."""
        return max((said.height for said in list(self.acknowledged.values())), default=0)

    def goes_on(self, count=10, seconds=30.0) -> float:
        """Waits until so many more are acknowledged; how long that took. Raises TimeoutError."""
        began, before, limit = time.monotonic(), len(self.acknowledged), 0.0
        while len(self.acknowledged) < before + count:
            if time.monotonic() - began > seconds and not limit:
                limit = seconds * slowness()
            if limit and time.monotonic() - began > limit:
                raise TimeoutError(f"{len(self.acknowledged) - before} of {count} in {limit:.0f} s")
            time.sleep(0.05)
        return time.monotonic() - began
