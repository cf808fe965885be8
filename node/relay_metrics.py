"""What the relayer says of itself: metrics for Prometheus, and a health that means progress.

Health is not that the process runs. It is unhealthy while a backlog ages and nothing of it is carried, while a chain does
not answer, while a client is frozen or expired (a relayer cannot help there; people must), and once a fork was found.
"""

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from bridge.relayer_outbox import Lane
from bridge.relayer_plan import Action, Update
from client.clock import now_ms
from client.relay_route import Direction, Route
from node.config import split_address
from proto.chiptrace.v1.ledger_pb2 import Reason, Result

_PREFIX: Final = "chiptrace_relay_"
_BUCKETS: Final = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300)
REQUEST_SECONDS: Final = 5


@dataclass(slots=True)
class RouteHealth:
    """How one route goes on."""

    progress_ms: int  # when something was carried last, or there was nothing to carry
    trouble: str = ""  # why the last round was cut short
    stuck: tuple[str, ...] = ()
    backlog: dict[str, dict[str, int]] = field(default_factory=dict)  # per direction and lane
    waiting: frozenset[tuple[str, int, bool]] = frozenset()  # direction, sequence, whether no answer is known


class RelayMetrics:
    """Figures and health of one relayer process; every thread may tell it something."""

    def __init__(self, unhealthy_ms: int) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._unhealthy_ms = unhealthy_ms
        self._lock = threading.Lock()
        self._routes: dict[str, RouteHealth] = {}
        self._forks: dict[str, str] = {}
        self._watch_troubles: dict[str, str] = {}
        self.registry = CollectorRegistry()
        registry = self.registry

        def gauge(name: str, meaning: str, *labels: str) -> Gauge:
            return Gauge(_PREFIX + name, meaning, labels, registry=registry)

        def counter(name: str, meaning: str, *labels: str) -> Counter:
            return Counter(_PREFIX + name, meaning, labels, registry=registry)

        self._size = gauge("backlog_size", "Open packets not carried yet.", "direction", "lane")
        self._oldest = gauge("backlog_oldest_seconds", "Age of the oldest of them.", "direction", "lane")
        self._unacknowledged = gauge(
            "unacknowledged", "Packets received, whose answer is not back yet.", "direction"
        )
        self._actions = counter("actions", "Actions that a chain took.", "direction", "kind")
        self._redundant = counter("redundant", "Transactions others had made needless.", "direction")
        self._refused = counter("refused", "Transactions refused.", "direction", "reason")
        self._updates = counter("client_updates", "Client updates taken.", "direction")
        self._client_age = gauge("client_age_seconds", "Age of a client's newest header.", "direction")
        self._client_left = gauge("client_expires_seconds", "Until a client expires.", "direction")
        self._frozen = gauge("client_frozen", "Whether a client is frozen.", "direction")
        self._rounds = Histogram(
            _PREFIX + "round_seconds", "Length of a round.", ["route"], buckets=_BUCKETS, registry=registry
        )
        self._cut = counter("rounds_cut_short", "Rounds that ended with an error.", "route")
        self._lies = gauge("node_lies", "Answers of a chain's nodes that did not hold.", "route", "chain")
        self._compared = counter("headers_compared", "Headers compared by the watch.", "chain")
        self._found = counter("forks_found", "Forks found by the watch.", "chain")
        self._healthy = gauge("healthy", "1: all is well.")

    # ---- told by the routes --------------------------------------------------------------------------------

    def carried(self, direction: Direction, actions: Sequence[Action], result: Result) -> None:
        """A transaction is final."""
        name = direction.name
        if not result.ok:
            self._refused.labels(name, Reason.Name(result.reason)).inc()
            return
        if result.reason == Reason.REDUNDANT:
            self._redundant.labels(name).inc()
        for action in actions:
            if isinstance(action, Update):
                self._updates.labels(name).inc()
            else:
                self._actions.labels(name, type(action).__name__.lower()).inc()

    def round(self, route: Route, seconds: float, trouble: str) -> None:
        """A round is over; `trouble`: what cut it short."""
        now = now_ms()
        self._rounds.labels(route.name).observe(seconds)
        if trouble:
            self._cut.labels(route.name).inc()
        for end in (route.first, route.second):
            self._lies.labels(route.name, end.trust.name).set(end.lies)
        backlog: dict[str, dict[str, int]] = {}
        waiting: set[tuple[str, int, bool]] = set()
        for direction in (route.forth, route.back):
            backlog |= self._look(direction, now)
            opened = direction.source.outbox.open()
            waiting |= {(direction.name, item.sequence, item.answer is None) for item in opened}
        with self._lock:
            known = self._routes.setdefault(route.name, RouteHealth(now))
            # Something that waited does not any more, or nothing waits: whoever carried it, that is progress.
            if not waiting or known.waiting - waiting:
                known.progress_ms = now
            known.waiting, known.backlog = frozenset(waiting), backlog
            known.trouble, known.stuck = trouble, route.stuck

    def _look(self, direction: Direction, now: int) -> dict[str, dict[str, int]]:
        """Size and age of what is open in each lane, and how old the client is."""
        source, host, name = direction.source, direction.host, direction.name
        opened = source.outbox.open()
        found = {}
        for lane in Lane:
            items = [item for item in opened if item.lane == lane]
            time_ms = source.time_of(min(item.sent.height for item in items)) if items else 0
            oldest_ms = max(0, now - time_ms) if time_ms else 0
            self._size.labels(name, lane.value).set(len(items))
            self._oldest.labels(name, lane.value).set(oldest_ms / 1_000)
            found[f"{name} {lane.value}"] = {"open": len(items), "oldest_ms": oldest_ms}
        self._unacknowledged.labels(name).set(sum(item.answer is not None for item in opened))
        if host.record is not None:
            age_ms = now - host.record.latest_time_ms
            self._client_age.labels(name).set(age_ms / 1_000)
            self._client_left.labels(name).set((host.record.trusting_period_ms - age_ms) / 1_000)
            self._frozen.labels(name).set(int(host.record.frozen))
        return found

    # ---- told by the watches -------------------------------------------------------------------------------

    def watched(self, chain: str, compared: int, trouble: str) -> None:
        """A watch has compared so many headers; `trouble`: what kept it from going on."""
        self._compared.labels(chain).inc(compared)
        with self._lock:
            self._watch_troubles[chain] = trouble

    def fork(self, chain: str, text: str) -> None:
        """A fork was found. It stays until the process ends: people must look."""
        self._found.labels(chain).inc()
        with self._lock:
            self._forks[chain] = text

    # ---- health --------------------------------------------------------------------------------------------

    def health(self) -> dict[str, Any]:
        """Whether all is well, and what is not, in words."""
        now = now_ms()
        with self._lock:
            problems = [f"fork: {text}" for text in self._forks.values()]
            problems += [f"watch of {chain}: {text}" for chain, text in self._watch_troubles.items() if text]
            if not self._routes:
                problems.append("no round is through yet")
            for name, route in self._routes.items():
                problems += [f"route {name}: {text}" for text in route.stuck]
                quiet_ms = now - route.progress_ms
                if quiet_ms > self._unhealthy_ms:
                    why = f"; {route.trouble}" if route.trouble else ""
                    problems.append(
                        f"route {name}: {len(route.waiting)} packets wait, nothing moved for {quiet_ms // 1_000} s{why}"
                    )
                elif route.trouble:
                    problems.append(f"route {name}: {route.trouble}")
            routes = {
                name: {"backlog": route.backlog, "progress_ms_ago": now - route.progress_ms}
                for name, route in self._routes.items()
            }
        self._healthy.set(int(not problems))
        return {"healthy": not problems, "problems": problems, "routes": routes}

    def serve(self, listen: str) -> ThreadingHTTPServer:
        """Answer GET /metrics and /health (503: not healthy) on a thread of its own. Raises OSError."""
        metrics = self

        class Handler(BaseHTTPRequestHandler):
            """Two pages, for whoever may reach the port; nothing can be changed here."""

            timeout = REQUEST_SECONDS

            def do_GET(self) -> None:
                """Answer one question."""
                found = metrics.health()
                if self.path == "/metrics":
                    self._answer(200, CONTENT_TYPE_LATEST, generate_latest(metrics.registry))
                elif self.path == "/health":
                    code = 200 if found["healthy"] else 503
                    self._answer(code, "application/json", json.dumps(found).encode())
                else:
                    self._answer(404, "text/plain", b"ask for /metrics or /health\n")

            def _answer(self, code: int, kind: str, body: bytes) -> None:
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:  # requests are no news
                return

        server = ThreadingHTTPServer(split_address(listen), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
        return server
