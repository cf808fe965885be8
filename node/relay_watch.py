"""The relayer's watch over one chain: its nodes against each other, and against what clients of it hold elsewhere.

A lane of its own, on its own thread and lines, whether or not anything is carried. Every round:

1. every node of the chain is asked for its head; the first certified one of each height is remembered, durably;
2. each client of the chain, on every chain that the relayer serves, is asked which headers it holds; those not yet
   compared, and now and then old ones, are compared with what two nodes show and with what was remembered;
3. what contradicts itself is brought before every client of the chain, until all of them are frozen, and who is proven
   guilty is written to a file that proves it (`chiptrace chain evidence --verify`).
"""

import contextlib
import logging
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from bridge.clients import clients_of
from client import faults, witness
from client.clock import now_ms
from client.connection import Connection
from client.faults import Way
from client.relay_end import NotReady, RelayEnd
from client.trust import ChainTrust, Identity
from client.verified import VerifiedChain
from client.witness import Fork, Held, Unproven
from ledger import state
from ledger.errors import ChiptraceError, StoreError
from node.header_watch import Heads
from node.relay_metrics import RelayMetrics
from node.relay_table import RelayTable
from proto.chiptrace.v1.bridge_pb2 import ClientRecord
from proto.chiptrace.v1.consensus_pb2 import SignedHeader
from proto.chiptrace.v1.ledger_pb2 import Reason
from proto.chiptrace.v1.node_pb2 import StatusRequest

_LOG: Final = logging.getLogger("chiptrace.relay")
ANSWER_SECONDS: Final = 2.0
NEW_PER_ROUND: Final = 64  # headers of one client
OLD_PER_ROUND: Final = 4
NODES_ASKED: Final = 2
TURN_ROUNDS: Final = 15  # then other nodes are asked: what one keeps back, another tells
SEARCH_MS: Final = 5_000  # for what was brought to one client, in one round
FOUND_MAX: Final = 16  # clients on one chain that no route names
FORKS_KEPT_MAX: Final = 16
ACCUSED_MS_MIN: Final = 2_000  # before what did not freeze a client is brought once more, longer each time
ACCUSED_MS_MAX: Final = 3_600_000


class WatchedClient:
    """A client of the watched chain, on the chain that keeps it."""

    def __init__(self, host: RelayEnd) -> None:
        self.host = host
        self.verified = VerifiedChain(host.trust, host.connection, now_ms)
        self.compared = 0  # the highest held height that was compared
        self._again = 0
        self._search_until_ms = 0

    def held(self) -> list[Held]:
        """Headers it holds: those above what was compared, and a few old ones in turn."""
        self.verified.repin()
        self._search_until_ms = now_ms() + SEARCH_MS
        found = witness.held(self.verified, self.host.client, self.compared, NEW_PER_ROUND)
        old = witness.held(self.verified, self.host.client, self._again, OLD_PER_ROUND)
        self._again = old[-1].header.height if old else 0
        heights = {item.header.height for item in found}
        return found + [item for item in old if item.header.height not in heights]

    def brought(self, height: int) -> SignedHeader | None:
        """The header of a height with its certificate, as it was brought to the client."""
        found = witness.brought(self.verified, self.host.client, height, self._search_until_ms)
        if found is None:
            self.host.turn()
        return found

    def record(self) -> ClientRecord | None:
        """The client, proven."""
        return self.verified.record(state.client_key(self.host.client), ClientRecord)


class ChainWatch:
    """Watches one chain. `clients`: where headers of it are held."""

    def __init__(
        self,
        chain: ChainTrust,
        identity: Identity,
        clients: Sequence[WatchedClient],
        metrics: RelayMetrics,
        folder: Path,
    ) -> None:
        self.name = chain.name
        self._clients = list(clients)
        self._metrics = metrics
        self._folder = folder
        self._nodes = [Connection(chain, identity, only=endpoint) for endpoint in chain.endpoints]
        self._line = Connection(chain, identity)
        self._source = VerifiedChain(chain, self._line, now_ms)
        self._heads = Heads(chain.chain_id)
        self._way: Way | None = None
        self._forks: list[Fork] = []
        self._written = 0
        self._conflicts: list[tuple[SignedHeader, SignedHeader, tuple[str, str]]] = []
        self._accused: dict[tuple[int, bytes, str], tuple[int, int]] = {}  # how often, and when again
        self._rounds = 0
        self._chain_id = chain.chain_id

    def round(self, table: RelayTable) -> int:
        """Look once; how many headers were compared. A chain that does not answer keeps nothing from being compared of the
        others; it is told at the end. Raises ChiptraceError."""
        troubles: list[str] = []
        self._rounds += 1
        if self._rounds % TURN_ROUNDS == 0:
            self._turn()
            for client in self._clients:
                client.host.turn()
        # (1) The chain's nodes among themselves.
        with _noted(troubles, self._turn):
            self._look_at_nodes(table)
            self._judge_conflicts()
        # (2) What clients hold: all that the other chains have of this one, whether or not anything is carried over them.
        items: list[Held] = []
        for client in list(self._clients):
            with _noted(troubles, client.host.turn):
                items += client.held()
                self._find_clients(client)
        answered: set[int] = set()

        def shown(height: int) -> list[tuple[str, SignedHeader]]:
            found = self._shown(height, table)
            if found:
                answered.add(height)
            return found

        by_name = {(client.host.trust.name, client.host.client): client for client in self._clients}

        def fetched(item: Held) -> SignedHeader | None:
            return by_name[item.by, item.client].brought(item.header.height)

        with _noted(troubles):
            for found in witness.compare(items, shown, fetched, self._walk):
                self._take(found)
            # Only what was compared to the end counts as compared.
            for client in self._clients:
                place = (client.host.trust.name, client.host.client)
                mine = [item.header.height for item in items if (item.by, item.client) == place]
                client.compared = max([client.compared, *(height for height in mine if height in answered)])
        # (3) Accuse, until every client is frozen.
        self._accuse(troubles)
        if troubles:
            raise NotReady("; ".join(dict.fromkeys(troubles)))
        return len(items)

    def run(self, stopping: threading.Event, pause_ms: int, open_table: Callable[[], RelayTable]) -> None:
        """Watch until told to stop. Raises StoreError: the relayer must stop."""
        pause = pause_ms / 1_000
        said = ""
        with contextlib.closing(open_table()) as table:
            while not stopping.wait(pause * random.uniform(0.8, 1.0)):  # noqa: S311
                compared, trouble = 0, ""
                try:
                    compared = self.round(table)
                except StoreError:
                    raise
                except ChiptraceError as error:
                    trouble = str(error)
                    if trouble != said:  # once, not once a round
                        _LOG.warning("the watch was cut short", extra={"chain": self.name, "cause": trouble})
                said = trouble
                self._metrics.watched(self.name, compared, trouble)

    def _turn(self) -> None:
        """Another node of the chain is followed from now on."""
        self._line.endpoint = self._source.trust.after(self._line.endpoint)

    # ---- steps ------------------------------------------------------------------------------------------------

    def _look_at_nodes(self, table: RelayTable) -> None:
        validators = self._source.advance().validators
        certified: dict[int, SignedHeader] = {}
        for node in self._nodes:
            try:
                head = node.call(lambda stub: stub.GetStatus, StatusRequest(), ANSWER_SECONDS).head
            except ChiptraceError:
                continue
            conflict = self._heads.see(head, validators)
            kept = self._heads.known(head.certificate.height)
            if kept is not None:
                certified[head.certificate.height] = kept
            if conflict is not None:
                self._conflicts.append((*conflict, ("a node", node.endpoint)))
        table.keep_headers(self._chain_id, certified)

    def _find_clients(self, client: WatchedClient) -> None:
        """Clients of the chain that no route names are watched, too, from the next round on."""
        host = client.host.trust.chain_id
        known = {item.host.client for item in self._clients if item.host.trust.chain_id == host}
        for name in clients_of(client.verified, self._chain_id):
            if name not in known and len(known) <= FOUND_MAX:
                known.add(name)
                self._clients.append(WatchedClient(client.host.beside(name)))

    def _shown(self, height: int, table: RelayTable) -> list[tuple[str, SignedHeader]]:
        """What was remembered of a height, and what two nodes show now."""
        kept = self._heads.known(height) or table.header(self._chain_id, height)
        found = [] if kept is None else [("this relayer's table", kept)]
        for node in random.sample(self._nodes, min(NODES_ASKED, len(self._nodes))):
            signed = witness.shown(node, height)
            if signed is not None:
                found.append((f"node {node.endpoint}", signed))
        return found

    def _walk(self) -> Way:
        """The sets of all heights up to the head."""
        newest = self._source.trusted().latest_height
        if self._way is None or self._way.height < newest:
            self._way = faults.way_of(self._source)
        return self._way

    def _judge_conflicts(self) -> None:
        """Heads that differ. One above the way is judged at once, and again when it can be said who is guilty."""
        if not self._conflicts:
            return
        way = self._walk()
        for first, second, by in self._conflicts:
            found = witness.fork(way, first, second, by)
            if found is not None:
                self._found(found)
        later = [item for item in self._conflicts if item[1].certificate.height > way.height]
        self._conflicts = sorted(later, key=lambda item: item[1].certificate.height)[:FORKS_KEPT_MAX]

    def _take(self, found: Fork | Unproven) -> None:
        if isinstance(found, Fork):
            self._found(found)
            return
        _LOG.warning(
            "headers differ, and one of them is not certified",
            extra={"chain": self.name, "height": found.height, "shown_by": found.shown_by},
        )

    def _found(self, found: Fork) -> None:
        before = [known for known in self._forks if known.height == found.height]
        if any(known.faults or not found.faults for known in before):
            return
        others = [known for known in self._forks if known not in before]
        self._forks = [*others[1 - FORKS_KEPT_MAX :], found]
        heights = {known.height for known in self._forks}
        self._accused = {place: tried for place, tried in self._accused.items() if place[0] in heights}
        names = sorted({fault.member for fault in found.faults})
        text = (
            f"chain {self.name} has certified two blocks of height {found.height}, shown by {found.shown_by[0]} and "
            f"{found.shown_by[1]}; guilty: {', '.join(names) or 'not proven by these two'}"
        )
        _LOG.critical("a chain forks", extra={"chain": self.name, "cause": text})
        self._metrics.fork(self.name, text)
        if found.faults and self._written < FORKS_KEPT_MAX:
            self._written += 1
            path = self._folder / f"fork-{self.name}-{found.height}.json"
            faults.write(path, found.faults)

    def _accuse(self, troubles: list[str]) -> None:
        for found in self._forks:
            for client in self._clients:
                with _noted(troubles, client.host.turn):
                    self._freeze(found, client)

    def _freeze(self, found: Fork, client: WatchedClient) -> None:
        record = client.record()
        if record is None or record.frozen:
            return
        # One that does not freeze by it (its chain has another set by now, or a node shows old state) costs little.
        place = (found.height, client.host.trust.chain_id, record.id)
        tries, again_ms = self._accused.get(place, (0, 0))
        if now_ms() < again_ms:
            return
        wait = min(ACCUSED_MS_MAX, ACCUSED_MS_MIN << min(tries, 20))
        self._accused[place] = (tries + 1, now_ms() + wait)
        (result,) = client.host.submit([[found.accusation(record)]])
        _LOG.critical(
            "misbehaviour submitted",
            extra={
                "chain": self.name,
                "to": client.host.trust.name,
                "ok": result.ok,
                "reason": Reason.Name(result.reason),
            },
        )


@contextlib.contextmanager
def _noted(troubles: list[str], turn: Callable[[], None] = lambda: None) -> Iterator[None]:
    """What a chain's silence or a node's lie cuts short is told later, another node is asked next, and the rest goes on."""
    try:
        yield
    except StoreError:
        raise
    except ChiptraceError as error:
        troubles.append(str(error))
        turn()
