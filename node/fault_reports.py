"""How a fault that was seen comes before the chain: two votes, as a transaction, by one node if possible.

Everyone who heard both votes could submit them, and all but the first would be told REPEATED. So the validators take
turns, in an order that the fault itself draws: each looks, at its turn, whether the chain knows of the fault already,
and submits it only if not. A turn is long enough for a transaction to become final; whoever is down costs one turn.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from client.clock import now_ms
from consensus import evidence
from consensus.effects import ReportFault
from ledger import codec, hashes
from ledger.errors import Invalid
from node.chain_host import ChainHost
from node.outcomes import refused_outcome
from node.signer import Signer
from proto.chiptrace.v1.ledger_pb2 import Evidence, Operation
from proto.chiptrace.v1.node_pb2 import Outcome

_LOG: Final = logging.getLogger("chiptrace.faults")
TURN_SECONDS: Final = 2.0
ROUNDS_MAX: Final = 3  # how often our turn comes while the chain does not take it
WAITING_MAX: Final = 64  # faults that wait for their turn; what is more convicts nobody whom these do not
VALID_MS: Final = 600_000
Submit = Callable[[bytes], Awaitable[Outcome]]


class FaultReports:
    """Brings faults before the chain. Owned by the event loop."""

    def __init__(self, host: ChainHost, signer: Signer) -> None:
        self._host = host
        self._signer = signer
        self._waiting = 0

    async def bring(self, fault: ReportFault, submit: Submit) -> None:
        """See to it that this fault is on chain: ours to submit, or to see that another has. Raises StoreError."""
        _LOG.error(
            "a validator has signed two votes that exclude each other",
            extra={"height": fault.height, "view": fault.first.view, "validator": fault.signer.hex()},
        )
        if not self._signer.may_vote or self._waiting >= WAITING_MAX:
            return
        self._waiting += 1
        try:
            await self._in_turn(fault, submit)
        finally:
            self._waiting -= 1

    async def _in_turn(self, fault: ReportFault, submit: Submit) -> None:
        chain_id = self._host.info.chain_id
        record_key = evidence.record_key(chain_id, fault.signer, fault.height, fault.first.view)
        keys = {validator.key for validator in self._host.info.validators.validators} - {fault.signer}
        order = turns(record_key, keys)
        turn = order.index(self._signer.key) if self._signer.key in order else len(order)
        await asyncio.sleep(turn * TURN_SECONDS)
        for _ in range(ROUNDS_MAX):
            if await self._recorded(record_key):
                return
            outcome = await self._submit(fault, submit)
            _LOG.info("evidence submitted", extra={"admitted": outcome.admitted, "detail": outcome.detail})
            await asyncio.sleep((len(order) + 1) * TURN_SECONDS)

    async def _recorded(self, record_key: bytes) -> bool:
        try:
            found = await self._host.prove([record_key], 0)
        except Invalid:
            return False  # nothing can be proven yet
        return found.keys[0].value is not None

    async def _submit(self, fault: ReportFault, submit: Submit) -> Outcome:
        first, second = codec.encode(fault.first), codec.encode(fault.second)
        operation = Operation(evidence=Evidence(height=fault.height, first=first, second=second))
        data = self._signer.transaction(self._host.info.chain_id, operation, now_ms() + VALID_MS)
        try:
            return await submit(data)
        except Invalid as error:
            return refused_outcome(error)


def turns(record_key: bytes, keys: set[bytes]) -> list[bytes]:
    """The validators in the order of their turns: drawn by the fault, so that no node does the work for all."""
    return sorted(keys, key=lambda key: hashes.sha256(record_key + key))
