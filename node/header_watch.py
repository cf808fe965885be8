"""The relayer's watch: every endpoint of a chain is asked for its head, and two certified ones of one height that
differ are brought before the other chain, whose client then freezes.

A lane of its own, on its own thread and lines: an endpoint that does not answer holds up nothing else. Only heads
that a quorum of the set really certified are remembered, so that a lying node cannot make the relayer accuse.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final

from bridge.light_client import certified
from client.connection import Connection
from ledger.errors import ChiptraceError
from proto.chiptrace.v1.consensus_pb2 import SignedHeader
from proto.chiptrace.v1.ledger_pb2 import ValidatorSet
from proto.chiptrace.v1.node_pb2 import StatusRequest

_LOG: Final = logging.getLogger("chiptrace.relay")
HEADS_KEPT_MAX: Final = 4_096
ROUND_SECONDS: Final = 2.0
ANSWER_SECONDS: Final = 2.0
Conflict = tuple[SignedHeader, SignedHeader]


class Heads:
    """The first certified header seen of each of the last heights."""

    def __init__(self, chain_id: bytes) -> None:
        self._chain_id = chain_id
        self._seen: dict[int, SignedHeader] = {}

    def see(self, signed: SignedHeader, validators: ValidatorSet) -> Conflict | None:
        """Two headers that no honest chain certifies both, once the second of them is seen. What this set has not
        certified is passed over."""
        try:
            height = certified(self._chain_id, validators, signed).header.height
        except ChiptraceError:
            return None
        known = self._seen.setdefault(height, signed)
        if len(self._seen) > HEADS_KEPT_MAX:
            del self._seen[next(iter(self._seen))]
        return None if known.header == signed.header else (known, signed)


class HeaderWatch:
    """Watches one chain. `validators()` is the set that the other chain's client trusts now, None: not known;
    `accuse(first, second)` brings two headers before that chain."""

    def __init__(
        self,
        chain_id: bytes,
        endpoints: Sequence[Connection],
        validators: Callable[[], ValidatorSet | None],
        accuse: Callable[[SignedHeader, SignedHeader], None],
    ) -> None:
        self._heads = Heads(chain_id)
        self._endpoints = endpoints
        self._validators = validators
        self._accuse = accuse

    def start(self, stopping: threading.Event) -> None:
        """Watch until told to stop."""
        threading.Thread(target=self._run, args=(stopping,), name="header-watch", daemon=True).start()

    def round(self) -> None:
        """Ask every endpoint once."""
        validators = self._validators()
        if validators is None:
            return
        for endpoint in self._endpoints:
            try:
                status = endpoint.call(lambda stub: stub.GetStatus, StatusRequest(), ANSWER_SECONDS)
            except ChiptraceError:
                continue
            conflict = self._heads.see(status.head, validators)
            if conflict is not None:
                _LOG.critical(
                    "a chain has certified two blocks of one height",
                    extra={"chain": status.name, "height": status.head.certificate.height},
                )
                self._accuse(*conflict)

    def _run(self, stopping: threading.Event) -> None:
        while not stopping.wait(ROUND_SECONDS):
            try:
                self.round()
            except ChiptraceError as error:
                _LOG.warning("the watch was cut short", extra={"cause": str(error)})
