"""The relayer process: one thread for each route that carries, one for each chain that watches, and a page of figures.

It is believed by nobody and keeps nothing that matters (node/relay_table.py). Routes share nothing, so a chain that does
not answer holds up its own routes and no other. A round that was cut short is followed by a pause, longer each time, with
a jitter; a table that cannot be written ends the process.
"""

import functools
import logging
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Final

from bridge.relayer_plan import Action
from client import trust
from client.relay_end import RelayEnd, open_end
from client.relay_route import Direction, Route
from client.trust import Trust
from ledger.errors import ChiptraceError, StoreError
from node import config, logs
from node.config import RelayConfig, RelayRouteConfig
from node.relay_metrics import RelayMetrics
from node.relay_table import RelayTable
from node.relay_watch import ChainWatch, WatchedClient
from proto.chiptrace.v1.ledger_pb2 import Reason, Result

_LOG: Final = logging.getLogger("chiptrace.relay")
PAUSE_SECONDS_MAX: Final = (
    10.0  # between rounds while a chain does not answer, or nothing more can be carried
)


class RouteLoop:
    """Carries over one route until told to stop."""

    def __init__(
        self, trusted: Trust, settings: RelayConfig, wanted: RelayRouteConfig, metrics: RelayMetrics
    ) -> None:
        self._settings = settings
        self._wanted = wanted
        self._trusted = trusted
        self._metrics = metrics
        self._said: tuple[str, ...] = ()
        self.name = f"{wanted.first}-{wanted.second}"

    def run(self, stopping: threading.Event) -> None:
        """Raises StoreError: the relayer must stop."""
        table = RelayTable(self._settings.table)
        route = self._open(table)
        try:
            self._carry(route, table, stopping)
        finally:
            route.close()
            table.close()

    def _carry(self, route: Route, table: RelayTable, stopping: threading.Event) -> None:
        usual = self._settings.poll_ms / 1_000
        pause = 0.0
        while not stopping.wait(pause * random.uniform(0.75, 1.25)):  # noqa: S311
            began, trouble, brought = time.monotonic(), "", 0
            try:
                brought = route.round()
            except StoreError:
                raise
            except ChiptraceError as error:
                trouble = str(error)
            table.save((route.forth, route.back))
            self._metrics.round(route, time.monotonic() - began, trouble)
            self._say(route, trouble)
            if trouble:
                pause = min(PAUSE_SECONDS_MAX, max(usual, pause * 2))
            elif len(route.stuck) == 2:
                pause = PAUSE_SECONDS_MAX
            else:
                pause = 0.0 if brought else usual

    def _open(self, table: RelayTable) -> Route:
        names = (
            (self._wanted.first, self._wanted.first_client, self._wanted.second_client),
            (self._wanted.second, self._wanted.second_client, self._wanted.first_client),
        )
        first, second = (self._end(table, *item) for item in names)
        route = Route(
            first,
            second,
            packets_per_round=self._settings.packets_per_round,
            clear_ms=self._settings.clear_ms,
            told=self._told,
        )
        for direction in (route.forth, route.back):
            host = direction.host
            direction.refusals |= table.refusals(host.trust.chain_id, host.client)
        return route

    def _end(self, table: RelayTable, chain: str, client: str, counterparty: str) -> RelayEnd:
        low = table.low(self._trusted.chain(chain).chain_id, client)
        member = self._settings.member(chain)
        return open_end(self._trusted, chain, member, client, counterparty, low)

    def _told(self, direction: Direction, actions: Sequence[Action], result: Result) -> None:
        kinds = [type(action).__name__ for action in actions]
        _LOG.info(
            "carried" if result.ok else "refused",
            extra={
                "from": direction.source.trust.name,
                "to": direction.host.trust.name,
                "actions": {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
                "reason": Reason.Name(result.reason),
                "transaction": result.transaction.hex(),
            },
        )
        self._metrics.carried(direction, actions, result)

    def _say(self, route: Route, trouble: str) -> None:
        """Each trouble once, not once a round."""
        said = (*route.stuck, *([trouble] if trouble else []))
        for text in said:
            if text not in self._said:
                _LOG.warning("a route is held up", extra={"route": self.name, "cause": text})
        self._said = said


class Relayer:
    """All threads of one relayer."""

    def __init__(self, settings: RelayConfig) -> None:
        """Raises Malformed when the trust file, an identity or a key cannot be used; StoreError for the table."""
        self._settings = settings
        self._trusted = trust.read(settings.trust)
        self.metrics = RelayMetrics(settings.unhealthy_ms)
        RelayTable(settings.table).close()
        self._loops = [RouteLoop(self._trusted, settings, item, self.metrics) for item in settings.routes]
        self._watches = [self._watch(chain.name) for chain in settings.chains]
        self.failed: BaseException | None = None

    def run(self, stopping: threading.Event) -> None:
        """Until told to stop, or until something failed that must stop it. Raises OSError for an address that is not to be
        had."""
        server = self._serve() if self._settings.listen else None
        open_table = functools.partial(RelayTable, self._settings.table)
        jobs: list[tuple[str, Callable[[], None]]] = [
            (f"route {loop.name}", functools.partial(loop.run, stopping)) for loop in self._loops
        ]
        jobs += [
            (
                f"watch {watch.name}",
                functools.partial(watch.run, stopping, self._settings.watch_ms, open_table),
            )
            for watch in self._watches
        ]
        threads = [
            threading.Thread(target=self._guarded, args=(stopping, job), name=name, daemon=True)
            for name, job in jobs
        ]
        for thread in threads:
            thread.start()
        stopping.wait()
        for thread in threads:
            thread.join(PAUSE_SECONDS_MAX)
        if server is not None:
            server.shutdown()
            server.server_close()

    def _serve(self) -> ThreadingHTTPServer:
        try:
            return self.metrics.serve(self._settings.listen)
        except OSError as error:
            raise OSError(
                f"cannot listen on {self._settings.listen}: {error.strerror or error}; name another `listen` in the "
                "relayer's configuration, or stop what listens there"
            ) from error

    def _guarded(self, stopping: threading.Event, job: Callable[[], None]) -> None:
        """What ends a thread ends the relayer: one that does half of its work would look like a whole one."""
        try:
            job()
        except BaseException as error:  # told, and the process ends with it
            self.failed = error
            _LOG.critical("the relayer stops", exc_info=error, extra={"cause": str(error)})
            stopping.set()

    def _watch(self, chain: str) -> ChainWatch:
        clients = []
        for route in self._settings.routes:
            ends = (
                (route.first, route.second, route.second_client, route.first_client),
                (route.second, route.first, route.first_client, route.second_client),
            )
            for watched, host, client, counterparty in ends:
                if watched == chain:
                    member = self._settings.member(host)
                    clients.append(WatchedClient(open_end(self._trusted, host, member, client, counterparty)))
        trusted = self._trusted.chain(chain)
        identity = self._trusted.identity(chain, self._settings.member(chain), "relayer")
        return ChainWatch(trusted, identity, clients, self.metrics, self._settings.table.parent)


def run(path: Path) -> int:
    """Run the relayer of a configuration file until it is told to stop; the exit code."""
    settings = config.read(path, RelayConfig)
    logs.start(settings.log_level, settings.log_file, path.parent)
    relayer = Relayer(settings)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    _LOG.info("relayer started", extra={"routes": [f"{r.first}-{r.second}" for r in settings.routes]})
    relayer.run(stopping)
    _LOG.info("stopped")
    return 0 if relayer.failed is None else 1
